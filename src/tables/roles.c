/*
 * tables/roles.c
 *	  The streams that a server or a role stands behind: for DROP SERVER, DROP
 *	  ROLE, DROP OWNED and REASSIGN OWNED.
 *
 * What writes here is called behind PostgreSQL's own command (stream/hook.c), which
 * has asked for the rights; an error here takes that command back, too.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* The names of the streams that a statement finds, in the caller's context. */
static List *
names_of(CatalogStatement *statement, Datum value)
{
	CatalogScope scope;
	List	   *names = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(statement, &value, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		names = mcs_catalog_append(&row, names, mcs_catalog_get_text(&row, "stream_name"));
	}
	mcs_catalog_end(&scope);
	return names;
}

/* The streams of a server that the caller may see; how many others there are is all that he learns of them. */
List *
mcs_roles_streams_of_server(const char *server, int *others)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT stream_name, owner FROM @.change_streams WHERE server = $1 ORDER BY stream_name", TEXTOID);
	Oid			user = GetUserId();
	Datum		value = CStringGetTextDatum(server);
	CatalogScope scope;
	List	   *names = NIL;
	uint64		count;

	/* who asks was noted above, since within the scope the current user is the tables' owner */
	*others = 0;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&find, &value, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		if (has_privs_of_role(user, mcs_catalog_get_oid(&row, "owner")))
			names = mcs_catalog_append(&row, names, mcs_catalog_get_text(&row, "stream_name"));
		else
			(*others)++;
	}
	mcs_catalog_end(&scope);
	return names;
}

List *
mcs_roles_streams(Oid role)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT stream_name FROM @.change_streams WHERE owner = $1::pg_catalog.regrole ORDER BY stream_name", OIDOID);

	return names_of(&find, ObjectIdGetDatum(role));
}

/* A server has got another name: its streams go on with it. */
void
mcs_roles_rename_server(const char *from, const char *to)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT stream_name FROM @.change_streams WHERE server = $1", TEXTOID);
	static CatalogStatement rename = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET server = $2 WHERE server = $1", TEXTOID, TEXTOID);
	Datum		values[2] = {CStringGetTextDatum(from), CStringGetTextDatum(to)};
	ListCell   *cell;

	/* their processes know the server by the name that it had, and read their rows again */
	foreach(cell, names_of(&find, values[0]))
		mcs_wake_at_commit(lfirst(cell));
	/* no stream is redefined: it is the same MongoDB, and what is under way may count */
	(void) mcs_catalog_run(&rename, values, NULL);
}

/* Drops the streams of a role with their events, the events that dropped ones left, and what it was granted. */
void
mcs_roles_drop_streams(Oid role)
{
	static CatalogStatement kept = CATALOG_STATEMENT(
		"SELECT stream_name FROM @.change_stream_kept_events WHERE owner = $1::pg_catalog.regrole", OIDOID);
	ListCell   *cell;

	foreach(cell, mcs_roles_streams(role))
	{
		Stream	   *stream;

		/* as drop_change_stream locks: handlers before the stream, and again those that were made before it was locked */
		mcs_handlers_lock_all(lfirst(cell));
		stream = mcs_streams_load(lfirst(cell), true, true);
		/* somebody else has dropped it meanwhile, or given it to another role */
		if (!stream || stream->owner != role)
			continue;
		mcs_handlers_lock_all(stream->name);
		/* as its owner, since triggers on the table run; before the stream, which they may look up */
		mcs_events_delete_all(stream->name, stream->owner);
		mcs_streams_delete(stream, false);
		mcs_wake_at_commit(stream->name);
	}
	foreach(cell, names_of(&kept, ObjectIdGetDatum(role)))
	{
		mcs_events_delete_all(lfirst(cell), role);
		mcs_streams_forget_kept_events(lfirst(cell));
	}
	mcs_grants_forget_role(role);
}

/* Gives the streams of a role to another; their workers start again as the new owner. */
void
mcs_roles_reassign(Oid from, Oid to)
{
	static CatalogStatement give_streams = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET owner = $2::pg_catalog.regrole WHERE owner = $1::pg_catalog.regrole", OIDOID, OIDOID);
	static CatalogStatement give_kept = CATALOG_STATEMENT(
		"UPDATE @.change_stream_kept_events SET owner = $2::pg_catalog.regrole WHERE owner = $1::pg_catalog.regrole", OIDOID, OIDOID);
	Datum		values[2] = {ObjectIdGetDatum(from), ObjectIdGetDatum(to)};
	ListCell   *cell;

	/* what processes have made as the old owner and not committed is not to be */
	foreach(cell, mcs_roles_streams(from))
	{
		mcs_handlers_lock_all(lfirst(cell));
		mcs_handlers_redefine_all(lfirst(cell));
		/* for its locks, which come behind the handlers' */
		(void) mcs_streams_load(lfirst(cell), true, true);
		mcs_progress_redefine(lfirst(cell));
		mcs_wake_at_commit(lfirst(cell));
		mcs_wake_handlers_at_commit(lfirst(cell), NULL);
	}
	(void) mcs_catalog_run(&give_streams, values, NULL);
	(void) mcs_catalog_run(&give_kept, values, NULL);
}
