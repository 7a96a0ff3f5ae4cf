/*
 * mirror/target.c
 *	  The table of a mirror: found, made, and given the columns of a definition.
 *
 * The table is the user's.  It is looked up and made as any table of his is, by
 * the caller's rights and search_path; what the stream's process writes later is
 * written as the stream's owner, to whom it must belong.
 */
#include "mongo_change_stream.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

/* ---- finding ---- */

/* What another kind of relation than a table is called; NULL for a table. */
static const char *
other_kind(Oid relation)
{
	switch (get_rel_relkind(relation))
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			return NULL;
		case RELKIND_VIEW:
			return "a view";
		case RELKIND_MATVIEW:
			return "a materialized view";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table";
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			return "an index";
		case RELKIND_SEQUENCE:
			return "a sequence";
		default:
			return "no table";
	}
}

/* Raises where a relation is no table of the mirror's owner; asked before it is locked, which not everybody may. */
static void
check_relation(const RangeVar *name, Oid relation, Oid old_relation, void *arg)
{
	const Mirror *mirror = arg;
	const char *kind;
	Oid			owner;

	if (!OidIsValid(relation))
		return;
	owner = mcs_base_relation_owner(relation);
	/* dropped this very moment: then it is looked for again */
	if (!OidIsValid(owner))
		return;
	kind = other_kind(relation);
	if (kind)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is %s, and a mirror needs a table", name->relname, kind),
				 errhint("Name another table by the argument table_name, which is made if it does not exist.")));
	if (owner != mirror->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" does not belong to the owner of the mirror", name->relname),
				 errdetail("A mirror is written as the owner of its change stream."),
				 errhint("Name another table by the argument table_name, or ALTER TABLE %s OWNER TO %s;",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation)),
						 quote_identifier(GetUserNameFromId(mirror->owner, false)))));
}

/* Raises where what is in a table does not outlive the session, or a crash, as the stream's position does. */
static void
check_persistence(Oid table)
{
	char		persistence = get_rel_persistence(table);
	char	   *name = get_rel_name(table);

	if (persistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is temporary, and a mirror is written by another session", name),
				 errhint("Name a table by the argument table_name, with its schema.")));
	if (persistence == RELPERSISTENCE_UNLOGGED)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is unlogged", name),
				 errdetail("After a crash it would be empty, and the position of the change stream behind what was in it."),
				 errhint("ALTER TABLE %s SET LOGGED;",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), name))));
}

/*
 * Two that make a mirror of one name, or make or take one table, come one after
 * the other, so that the second finds what the first has made, and not in the
 * middle of making it.  Until the transaction's end; taken when the caller's
 * rights are known, as it holds up others.
 */
void
mcs_mirror_lock_name(const char *name, MirrorNameKind kind)
{
	/* on no object that there is: a table of ours that is no catalog, and a hash, by which others wait in vain at worst */
	LockDatabaseObject(mcs_extension_objects()->streams, hash_bytes((const unsigned char *) name, strlen(name)), kind, ExclusiveLock);
}

/* The table of a name, or where it would be made: its name with its schema goes into mirror->table. */
static Oid
look_up(Mirror *mirror, const RangeVar *name, LOCKMODE lock)
{
	Oid			table = RangeVarGetRelidExtended(name, lock, RVR_MISSING_OK, check_relation, mirror);
	Oid			namespace = OidIsValid(table) ? get_rel_namespace(table) : InvalidOid;
	char	   *schema = OidIsValid(namespace) ? get_namespace_name(namespace) : NULL;
	char	   *own_name = schema ? get_rel_name(table) : NULL;

	if (own_name)
	{
		mirror->table = mcs_base_kept_name(schema, own_name);
		return table;
	}
	namespace = RangeVarGetCreationNamespace(name);
	if (isAnyTempNamespace(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("a mirror's table cannot be temporary"),
				 errdetail("A mirror is written by another session."),
				 errhint("Name a table by the argument table_name, with its schema.")));
	mirror->table = mcs_base_kept_name(get_namespace_name(namespace), name->relname);
	return InvalidOid;
}

Oid
mcs_mirror_find_table(Mirror *mirror, const RangeVar *name)
{
	Oid			table;

	/* the name before the table, in whichever function: two that come the other way round would wait for each other */
	(void) look_up(mirror, name, NoLock);
	mcs_mirror_lock_name(mirror->table, MIRROR_NAME_OF_TABLE);
	/* writers are not held up, and another definition on the same table waits */
	table = look_up(mirror, name, ShareUpdateExclusiveLock);
	if (OidIsValid(table))
		check_persistence(table);
	return table;
}

Oid
mcs_mirror_find_again(Mirror *mirror)
{
	RangeVar   *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(mirror->table)));

	return mcs_mirror_find_table(mirror, name);
}

/* ---- its columns; whether a mirror can fill it is seen by who writes it (table.c) ---- */

/* A column of a table that is not dropped; NULL where there is none. */
static Form_pg_attribute
find_column(Relation table, const char *name)
{
	for (int i = 0; i < RelationGetNumberOfAttributes(table); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), i);

		if (!column->attisdropped && strcmp(NameStr(column->attname), name) == 0)
			return column;
	}
	return NULL;
}

/* Runs a statement as the caller, with his rights. */
static void
run(const char *statement)
{
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute(statement, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement, SPI_result_code_string(result));
	SPI_finish();
}

/* A column that the table lacks: added, by its owner whoever calls, or how that is done is told. */
static void
deal_with_missing(const Mirror *mirror, const char *name, Oid type, int32 typmod, bool add)
{
	OwnerScope	scope;

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\", and columns does not say its type", mirror->table, name),
				 errhint("Write the type behind the name, as in: %s text = ...", quote_identifier(name))));
	if (!add)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table %s has no column \"%s\"", mirror->table, name),
				 errhint("ALTER TABLE %s ADD COLUMN %s %s;", mirror->table, quote_identifier(name),
						 mcs_mirror_type_name(type, typmod, false))));
	/* the type is what the definition's search_path has of that name: if it is a domain, rows are checked by code of its owner's */
	mcs_owner_begin(&scope, mirror->owner, NIL, true);
	run(psprintf("ALTER TABLE %s ADD COLUMN %s %s", mirror->table, quote_identifier(name),
				 mcs_mirror_type_name(type, typmod, true)));
	mcs_owner_end(&scope);
}

/* Raises unless a column has the type that the definition says, if it does. */
static void
check_type(const Mirror *mirror, Relation table, const MirrorColumn *column)
{
	Form_pg_attribute found = find_column(table, column->name);

	/* as ctid, which is no user's */
	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" of table \"%s\" is a system column", column->name, RelationGetRelationName(table)),
				 errhint("Give the column another name.")));
	if (OidIsValid(column->type) && (found->atttypid != column->type || (column->typmod != -1 && found->atttypmod != column->typmod)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s, not %s", column->name, RelationGetRelationName(table),
						mcs_mirror_type_name(found->atttypid, found->atttypmod, false),
						mcs_mirror_type_name(column->type, column->typmod, false)),
				 errhint("Write %s %s = ... in columns, or ALTER TABLE %s ALTER COLUMN %s TYPE %s;", quote_identifier(column->name),
						 mcs_mirror_type_name(found->atttypid, found->atttypmod, false), mirror->table,
						 quote_identifier(column->name), mcs_mirror_type_name(column->type, column->typmod, false))));
}

/*
 * Raises where no _id of MongoDB's could be a value of the column: that takes a
 * document itself, its plain text, or what it is cast to.  Types that some text
 * happens to be a value of are not meant.
 */
static void
check_id_type(Relation table)
{
	Form_pg_attribute column = find_column(table, MIRROR_ID);
	Oid			base = column ? getBaseType(column->atttypid) : InvalidOid;

	/* that there is none, the writer says with all else that it needs */
	if (column == NULL || base == mcs_extension_document() || base == TEXTOID || base == VARCHAROID || base == BPCHAROID ||
		SearchSysCacheExists2(CASTSOURCETARGET, ObjectIdGetDatum(mcs_extension_document()), ObjectIdGetDatum(base)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"_id\" of table \"%s\" is of type %s", RelationGetRelationName(table),
					mcs_mirror_type_name(column->atttypid, column->atttypmod, false)),
			 errdetail("It can be of type document, which has every _id, or of one that a document is cast to, such as text, uuid or bigint.")));
}

/* Whether a table has any row. */
static bool
has_rows(const Mirror *mirror)
{
	bool		result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute(psprintf("SELECT FROM %s LIMIT 1", mirror->table), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for rows of %s", mirror->table);
	result = SPI_processed > 0;
	SPI_finish();
	return result;
}

/* Tells what somebody may not expect of a table that was there before: rows go, or cannot come for want of other columns. */
void
mcs_mirror_tell_of_table(const Mirror *mirror, Oid oid, List *columns)
{
	Relation	table = relation_open(oid, NoLock);

	if (has_rows(mirror))
		ereport(NOTICE,
				(errmsg("table %s has rows, which become those of the collection", mirror->table),
				 mirror->on_delete == MIRROR_ON_DELETE_MARK
				 ? errdetail("Rows whose _id MongoDB does not have are marked as deleted.")
				 : errdetail("Rows whose _id MongoDB does not have are deleted.")));

	for (int i = 0; i < RelationGetNumberOfAttributes(table); i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(table), i);
		char	   *name = NameStr(column->attname);
		bool		filled = strcmp(name, MIRROR_ID) == 0 || strcmp(name, MIRROR_DOCUMENT) == 0 || strcmp(name, MIRROR_CHANGED_AT) == 0;
		ListCell   *cell;

		foreach(cell, columns)
			filled = filled || strcmp(((MirrorColumn *) lfirst(cell))->name, name) == 0;
		if (!filled && !column->attisdropped && column->attnotnull && !column->atthasdef && !column->attidentity)
			ereport(NOTICE,
					(errmsg("the mirror does not fill column \"%s\" of table \"%s\", which must not be null", name,
							RelationGetRelationName(table)),
					 errdetail("Unless a trigger fills it, the mirror will stop at its first row."),
					 errhint("Give it a default, or name it in columns.")));
	}
	relation_close(table, NoLock);
}

/* The columns that are to be there; those that are missing are added, which nothing may have the table open for. */
static void
add_columns(const Mirror *mirror, Oid oid, List *columns, bool add)
{
	ListCell   *cell;

	foreach(cell, columns)
	{
		MirrorColumn *column = lfirst(cell);

		if (get_attnum(oid, column->name) == InvalidAttrNumber)
			deal_with_missing(mirror, column->name, column->type, column->typmod, add);
	}
	if (mirror->on_delete == MIRROR_ON_DELETE_MARK && get_attnum(oid, MIRROR_DELETED_AT) == InvalidAttrNumber)
		deal_with_missing(mirror, MIRROR_DELETED_AT, TIMESTAMPTZOID, -1, add);
}

void
mcs_mirror_check_table(const Mirror *mirror, Oid oid, List *columns, bool add)
{
	Relation	table;
	ListCell   *cell;
	char	   *other = mcs_mirrors_of_table(mirror->table, mirror->name);

	if (other)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("table %s is the table of another mirror", mirror->table),
				 errdetail("Mirror \"%s\" fills it.", other),
				 errhint("Name another table by the argument table_name.")));
	add_columns(mirror, oid, columns, add);
	table = relation_open(oid, NoLock);
	foreach(cell, columns)
		check_type(mirror, table, lfirst(cell));
	check_id_type(table);
	/* the lock stays until the transaction's end */
	relation_close(table, NoLock);
}

/* ---- making and dropping ---- */

/* The statement that makes the table. */
static char *
create_statement(const Mirror *mirror, List *columns)
{
	char	   *document = quote_qualified_identifier(get_namespace_name(mcs_extension_schema()), "document");
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	appendStringInfo(&text, "CREATE TABLE %s (_id %s PRIMARY KEY", mirror->table, document);
	foreach(cell, columns)
	{
		MirrorColumn *column = lfirst(cell);

		if (!OidIsValid(column->type))
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("column \"%s\" has no type in columns", column->name),
					 errdetail("Table %s does not exist, and is made of columns.", mirror->table),
					 errhint("Write the type behind the name, as in: %s text = ...", quote_identifier(column->name))));
		appendStringInfo(&text, ", %s %s", quote_identifier(column->name), mcs_mirror_type_name(column->type, column->typmod, true));
	}
	/* room in each page for a row's next version, which then needs no new entry in the index: a third less work for an update */
	appendStringInfo(&text, ", document %s, changed_at pg_catalog.timestamptz%s) WITH (fillfactor = 85)", document,
					 mirror->on_delete == MIRROR_ON_DELETE_MARK ? ", deleted_at pg_catalog.timestamptz" : "");
	return text.data;
}

static void
run_statement(void *arg)
{
	run(arg);
}

/*
 * Makes the table.  Somebody who makes one of its name by hand at the same time,
 * or a type, does not take our lock: PostgreSQL then tells of the index of its
 * catalog that has the name twice.
 */
static void
create_table(const Mirror *mirror, List *columns)
{
	ErrorData  *error = mcs_attempt(run_statement, create_statement(mirror, columns));

	if (error == NULL)
		return;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || error->schema_name == NULL || strcmp(error->schema_name, "pg_catalog") != 0)
		ReThrowError(error);
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("a table or type of the name %s was made meanwhile", mirror->table),
			 errdetail("It did not exist when the mirror's table was looked for."),
			 errhint("Try again, and the mirror takes that table, or name another by the argument table_name.")));
}

void
mcs_mirror_make_table(Mirror *mirror, List *columns)
{
	Oid			table;

	create_table(mirror, columns);
#ifdef USE_LZ4
	/* documents beyond 2 kB are compressed, which takes three times as long by PostgreSQL's default as all the rest of writing them */
	run(psprintf("ALTER TABLE %s ALTER COLUMN document SET COMPRESSION lz4", mirror->table));
#endif
	/* a stream of another role's: the caller can become that role, or PostgreSQL says what he lacks */
	if (mirror->owner != GetUserId())
		run(psprintf("ALTER TABLE %s OWNER TO %s", mirror->table, quote_identifier(GetUserNameFromId(mirror->owner, false))));
	/* as it is now, since event triggers may have done more */
	table = mcs_mirror_find_again(mirror);
	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s was made, and does not exist", mirror->table),
				 errdetail("An event trigger may have dropped it.")));
	mcs_mirror_check_table(mirror, table, columns, false);
}

/* Raises where the mirror's table was dropped, and somebody else has made one of its name since. */
static void
check_droppable(const RangeVar *name, Oid relation, Oid old_relation, void *arg)
{
	const Mirror *mirror = arg;
	Oid			owner = OidIsValid(relation) ? mcs_base_relation_owner(relation) : InvalidOid;

	if (OidIsValid(owner) && owner != mirror->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table %s does not belong to the owner of change mirror \"%s\"", mirror->table, mirror->name),
				 errdetail("It belongs to role \"%s\", the mirror to role \"%s\".", GetUserNameFromId(owner, true),
						   GetUserNameFromId(mirror->owner, true)),
				 errhint("To leave the table: SELECT drop_change_mirror(%s);", quote_literal_cstr(mirror->name))));
}

/* As the caller, who may be able to drop more than the mirror's owner; what depends on the table keeps it, and with it the mirror. */
void
mcs_mirror_drop_table(const Mirror *mirror)
{
	RangeVar   *name = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(mirror->table)));

	if (!OidIsValid(RangeVarGetRelidExtended(name, AccessExclusiveLock, RVR_MISSING_OK, check_droppable, unconstify(Mirror *, mirror))))
		ereport(NOTICE,
				(errmsg("table %s does not exist, so it is not dropped", mirror->table)));
	else
		run(psprintf("DROP TABLE %s", mirror->table));
}
