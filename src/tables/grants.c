/*
 * tables/grants.c
 *	  Readers: roles that may see one stream of somebody else's.
 *
 * change_stream_grants has a row for each.  The tables' policies read it, and
 * the functions that show shared memory ask here, by the same rule: a stream is
 * seen by its owner, by its readers, and by pg_monitor and pg_read_all_data; its
 * members are meant with each of them.
 *
 * A grant is worth nothing without its stream and its reader.  It goes with the
 * stream, with DROP OWNED BY and with DROP ROLE; where a role was dropped in
 * another database or without this library, the prober of this one removes what
 * is left, so that nothing is dumped as a number that means another role elsewhere.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "stream/stream_internal.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(mcs_grant_change_stream);
PG_FUNCTION_INFO_V1(mcs_revoke_change_stream);
PG_FUNCTION_INFO_V1(mcs_change_stream_is_own);

/* ---- who sees what ---- */

/* Whether the current user sees what goes on in all streams. */
static bool
sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA);
}

/* Which streams of others the current user may see, to be asked by mcs_stream_seen. */
StreamsSeen
mcs_streams_seen(void)
{
	static CatalogStatement list = {.sql = "SELECT stream_name, reader::pg_catalog.oid FROM @.change_stream_grants"};
	StreamsSeen seen = {sees_all(), NIL};
	CatalogScope scope;
	uint64		count;
	Oid			user = GetUserId();

	/* 1.0 knows no grants */
	if (seen.all || mcs_schema_is_old())
		return seen;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		bool		isnull;
		Oid			reader = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		MemoryContext old;

		if (!has_privs_of_role(user, reader))
			continue;
		old = MemoryContextSwitchTo(scope.caller);
		seen.granted = lappend(seen.granted, makeString(pstrdup(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1))));
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return seen;
}

/* Whether the current user sees a stream, given its owner. */
bool
mcs_stream_seen(const StreamsSeen *seen, const char *stream, Oid owner)
{
	return seen->all || has_privs_of_role(GetUserId(), owner) ||
		list_member(seen->granted, makeString(unconstify(char *, stream)));
}

/* change_stream_is_own(text) -> boolean: for the policy of the grants, which a policy of change_streams reads. */
Datum
mcs_change_stream_is_own(PG_FUNCTION_ARGS)
{
	Stream	   *stream = mcs_stream_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, true);

	PG_RETURN_BOOL(stream && has_privs_of_role(GetUserId(), stream->owner));
}

/* ---- grants that end ---- */

/* Those on a stream that is dropped. */
void
mcs_grants_forget_stream(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE stream_name = $1", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	if (!mcs_schema_is_old())
		(void) mcs_catalog_run(&forget, values, NULL);
}

/* Those to a role that gives up what it has, or is dropped. */
void
mcs_grants_forget_role(Oid role)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE reader = $1::pg_catalog.regrole", OIDOID);
	Datum		values[1] = {ObjectIdGetDatum(role)};

	if (!mcs_schema_is_old())
		(void) mcs_catalog_run(&forget, values, NULL);
}

/* Those to roles that are gone. */
void
mcs_grants_forget_missing(void)
{
	static CatalogStatement forget = {.sql = "DELETE FROM @.change_stream_grants g WHERE NOT EXISTS "
		"(SELECT FROM pg_catalog.pg_roles r WHERE r.oid = g.reader::pg_catalog.oid)"};

	if (!mcs_schema_is_old())
		(void) mcs_catalog_run(&forget, NULL, NULL);
}

/* ---- grant_change_stream, revoke_change_stream ---- */

/* The reader that is named; - and the number of no role are none. */
static Oid
reader_argument(FunctionCallInfo fcinfo)
{
	Oid			reader;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("reader must not be null")));
	reader = PG_GETARG_OID(1);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(reader)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", reader)));
	return reader;
}

/* Runs a statement on the pair of a stream of the caller's and a reader. */
static void
change_grant(FunctionCallInfo fcinfo, CatalogStatement *statement, const char *function)
{
	char	   *name = mcs_stream_name_argument(fcinfo);
	Datum		values[2];

	PreventCommandIfReadOnly(function);
	/* locked, so that no grant outlives a drop that goes on meanwhile */
	(void) mcs_stream_load_own(name, true);
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(reader_argument(fcinfo));
	(void) mcs_catalog_run(statement, values, NULL);
}

/* grant_change_stream(text, regrole) -> void */
Datum
mcs_grant_change_stream(PG_FUNCTION_ARGS)
{
	static CatalogStatement grant = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_grants (stream_name, reader) VALUES ($1, $2::pg_catalog.regrole) ON CONFLICT DO NOTHING",
		TEXTOID, OIDOID);

	change_grant(fcinfo, &grant, "grant_change_stream()");
	PG_RETURN_VOID();
}

/* revoke_change_stream(text, regrole) -> void */
Datum
mcs_revoke_change_stream(PG_FUNCTION_ARGS)
{
	static CatalogStatement revoke = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE stream_name = $1 AND reader = $2::pg_catalog.regrole", TEXTOID, OIDOID);

	change_grant(fcinfo, &revoke, "revoke_change_stream()");
	PG_RETURN_VOID();
}
