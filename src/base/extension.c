/*
 * base/extension.c
 *	  The extension's objects in the current database: its schema, its tables and
 *	  whose they are, its type.
 *
 * The names and OIDs are kept for the session and looked up again when the
 * caches say that something moved.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/base.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* The tables that statements write, beside change_streams. */
static const char *const other_tables[] = {
	"change_stream_progress", "change_stream_kept_events", "change_stream_metrics", "change_stream_grants",
	"change_stream_parked_events", "change_stream_snapshots", "change_mirrors", "change_mirror_progress", "change_mirror_tables",
	"change_handlers", "change_handler_progress", "change_handler_dead_letters",
	"change_projections", "change_projection_progress", "change_projection_sources"
};

#define OTHER_TABLES lengthof(other_tables)

static ExtensionObjects objects;
static Oid	others[OTHER_TABLES];
static bool valid = false;
static uint64 moved = 0;		/* counts invalidations */

/* Whether a relation is one of the tables above. */
static bool
is_other_table(Oid relation)
{
	for (int i = 0; i < OTHER_TABLES; i++)
		if (others[i] == relation)
			return true;
	return false;
}

/*
 * A relation changed, or (InvalidOid) all did.  A change of the owner or the name
 * comes as one, too, and an update of the extension, which alters the tables.
 * Called whenever invalidations are taken in, also in the middle of a lookup: so
 * it takes a note, and looks nothing up itself.
 */
static void
forget_relation(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == objects.streams || relation == objects.events || is_other_table(relation))
	{
		valid = false;
		moved++;
	}
}

/* A schema was renamed.  Which one the hash would tell, but they are renamed seldom enough to look again. */
static void
forget_schema(Datum arg, int cache, uint32 hash)
{
	valid = false;
	moved++;
}

char *
mcs_base_kept_name(const char *schema, const char *name)
{
	bool		quote_all = quote_all_identifiers;
	char	   *kept = NULL;

	quote_all_identifiers = false;
	PG_TRY();
	{
		kept = quote_qualified_identifier(schema, name);
	}
	PG_FINALLY();
	{
		quote_all_identifiers = quote_all;
	}
	PG_END_TRY();
	return kept;
}

/* The extension's schema by its row in pg_extension, and whether its version is 1.0. */
static Oid
find_schema(bool *old)
{
	Oid			extension = get_extension_oid(MCS_EXTENSION, true);
	Oid			schema = InvalidOid;
	Relation	relation;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(extension))
		return InvalidOid;
	/*
	 * Only the newest minor releases have a syscache of extensions, and
	 * get_extension_schema() reads the row without its version.
	 */
	relation = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(relation, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(relation), &isnull);

		schema = ((Form_pg_extension) GETSTRUCT(tuple))->extnamespace;
		*old = !isnull && strcmp(TextDatumGetCString(version), "1.0") == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return schema;
}

Oid
mcs_base_relation_owner(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* Looks everything up, unless what is known is valid.  Without the extension it stays invalid. */
static void
find_objects(void)
{
	static bool registered = false;
	ExtensionObjects found;
	Oid			found_others[OTHER_TABLES] = {0};
	uint64		moved_before;
	char	   *schema_name;

	if (valid)
		return;
	/* all of it, since what was found is compared by its bytes below */
	memset(&found, 0, sizeof(found));
	found.version = objects.version;
	/* once a session: nothing can be unregistered, and places are few */
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_schema, (Datum) 0);
		registered = true;
	}
	/* looking up can itself let an invalidation in, after which what was found may be old */
	moved_before = moved;
	found.schema = find_schema(&found.old);
	schema_name = OidIsValid(found.schema) ? get_namespace_name(found.schema) : NULL;
	if (schema_name)
	{
		strlcpy(found.schema_name, schema_name, NAMEDATALEN);
		found.streams = get_relname_relid("change_streams", found.schema);
		found.events = get_relname_relid("change_stream_events", found.schema);
		found.document = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"),
										 ObjectIdGetDatum(found.schema));
		found.owner = mcs_base_relation_owner(found.streams);
		for (int i = 0; i < OTHER_TABLES; i++)
		{
			found_others[i] = get_relname_relid(other_tables[i], found.schema);
			/* statements would run triggers of one of them with the rights of another's owner */
			if (OidIsValid(found_others[i]) && mcs_base_relation_owner(found_others[i]) != found.owner)
				found.stray = found_others[i];
		}
		/* that of the events only reads there, and PostgreSQL computes constants in index expressions for who reads */
		if (OidIsValid(found.events) && mcs_base_relation_owner(found.events) != found.owner)
			found.stray = found.events;
		if (OidIsValid(found.stray))
			found.owner = InvalidOid;
	}
	/* statements and plans that hold OIDs compare the version to see that they are stale */
	if (memcmp(&found, &objects, sizeof(found)) != 0 || memcmp(found_others, others, sizeof(others)) != 0)
		found.version++;
	objects = found;
	memcpy(others, found_others, sizeof(others));
	/*
	 * Without the events table nothing would tell of its being made, so look again
	 * each time.  What only this transaction has made is no danger: should it be
	 * rolled back, its own invalidations are executed here.
	 */
	valid = OidIsValid(found.events) && moved_before == moved;
}

const ExtensionObjects *
mcs_extension_objects(void)
{
	find_objects();
	return &objects;
}

Oid
mcs_extension_schema(void)
{
	return mcs_extension_objects()->schema;
}

Oid
mcs_extension_events(void)
{
	Oid			events = mcs_extension_objects()->events;

	if (!OidIsValid(events))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table change_stream_events of the extension is missing"),
				 errhint("CREATE EXTENSION %s;", MCS_EXTENSION)));
	return events;
}

Oid
mcs_extension_document(void)
{
	return mcs_extension_objects()->document;
}

bool
mcs_extension_is_old(void)
{
	return mcs_extension_objects()->old;
}

/* Whether the code of a function is in a library of our name. */
static bool
is_in_library(HeapTuple function)
{
	Datum		library;
	bool		isnull;
	char	   *path;
	char	   *slash;

	if (((Form_pg_proc) GETSTRUCT(function))->prolang != ClanguageId)
		return false;
	library = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_probin, &isnull);
	if (isnull)
		return false;
	path = TextDatumGetCString(library);
	slash = strrchr(path, '/');
	return strcmp(slash ? slash + 1 : path, MCS_EXTENSION) == 0;
}

PGFunction
mcs_extension_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		ours;
	FmgrInfo	info;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	ours = is_in_library(tuple);
	ReleaseSysCache(tuple);
	/* fmgr_info would load the library of any other function, only to say that it is none of ours */
	if (!ours)
		return NULL;
	/* of one with SET or SECURITY DEFINER this is the wrapper, which is none of ours either: what it gives may depend on them */
	fmgr_info(function, &info);
	return info.fn_addr;
}
