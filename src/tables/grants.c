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
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_is_own);

/* ---- who sees what ---- */

/* Whether the current user sees what goes on in all streams. */
static bool
sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_DATA);
}

/* Which streams of others the current user may see, to be asked by mcs_grants_allow. */
StreamsSeen
mcs_grants_load(void)
{
	static CatalogStatement list = {.sql = "SELECT stream_name, reader FROM @.change_stream_grants"};
	StreamsSeen seen = {sees_all(), NIL};
	CatalogScope scope;
	uint64		count;
	Oid			user = GetUserId();

	/* 1.0 knows no grants */
	if (seen.all || mcs_extension_is_old())
		return seen;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		MemoryContext old;

		if (!has_privs_of_role(user, mcs_catalog_get_oid(&row, "reader")))
			continue;
		old = MemoryContextSwitchTo(scope.caller);
		seen.granted = lappend(seen.granted, makeString(mcs_catalog_get_text(&row, "stream_name")));
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return seen;
}

/* Whether the current user sees a stream, given its owner. */
bool
mcs_grants_allow(const StreamsSeen *seen, const char *stream, Oid owner)
{
	return seen->all || has_privs_of_role(GetUserId(), owner) ||
		list_member(seen->granted, makeString(unconstify(char *, stream)));
}

/* change_stream_is_own(text) -> boolean: for the policy of the grants, which a policy of change_streams reads. */
Datum
mcs_change_stream_is_own(PG_FUNCTION_ARGS)
{
	Stream	   *stream = mcs_streams_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, true);

	PG_RETURN_BOOL(stream && has_privs_of_role(GetUserId(), stream->owner));
}

/* ---- grants that end ---- */

/* Those on a stream that is dropped. */
void
mcs_grants_forget_stream(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE stream_name = $1", TEXTOID);

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run_for(&forget, stream);
}

/* Those to a role that gives up what it has, or is dropped. */
void
mcs_grants_forget_role(Oid role)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE reader = $1::pg_catalog.regrole", OIDOID);
	Datum		values[1] = {ObjectIdGetDatum(role)};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&forget, values, NULL);
}

/* Those to roles that are gone. */
void
mcs_grants_forget_missing(void)
{
	static CatalogStatement forget = {.sql = "DELETE FROM @.change_stream_grants g WHERE NOT EXISTS "
		"(SELECT FROM pg_catalog.pg_roles r WHERE r.oid = g.reader::pg_catalog.oid)"};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&forget, NULL, NULL);
}

/* ---- who may see a stream ---- */

/* Runs a statement on the pair of a stream and a reader. */
static void
change_grant(CatalogStatement *statement, const char *stream, Oid reader)
{
	Datum		values[2];

	values[0] = CStringGetTextDatum(stream);
	values[1] = ObjectIdGetDatum(reader);
	(void) mcs_catalog_run(statement, values, NULL);
}

void
mcs_grants_add(const char *stream, Oid reader)
{
	static CatalogStatement grant = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_grants (stream_name, reader) VALUES ($1, $2::pg_catalog.regrole) ON CONFLICT DO NOTHING",
		TEXTOID, OIDOID);

	change_grant(&grant, stream, reader);
}

void
mcs_grants_remove(const char *stream, Oid reader)
{
	static CatalogStatement revoke = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_grants WHERE stream_name = $1 AND reader = $2::pg_catalog.regrole", TEXTOID, OIDOID);

	change_grant(&revoke, stream, reader);
}
