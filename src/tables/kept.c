/*
 * tables/kept.c
 *	  Streams whose events may stand for MongoDB's history of a collection.
 *
 * Who may read what follows the policies of change_stream_events as the
 * extension has made them, since rows are read below SQL (event/events_scan.c):
 * its owner, readers of the stream, and who reads everything.  Where somebody
 * has added a policy of his own, or dropped one of these, nobody can say here
 * whose rows are left, and only who is above policies is given any.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "mongo/mongo.h"
#include "tables/tables_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

bool		mcs_kept_enabled = true;

void
mcs_kept_init(void)
{
	DefineCustomBoolVariable("mongo_change_stream.kept_events",
							 "Lets CHANGE_STREAM read events that change streams keep, where they are those of MongoDB's history.",
							 "Off: MongoDB is always asked.",
							 &mcs_kept_enabled, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

/* The options of a stream that leave events out, or make others of them; NULL for none. */
static char *
leaving_out(const CatalogRow *row)
{
	static const char *const options[] = {"filter", "operations", "pipeline", "add_fields"};
	char	   *names = NULL;

	for (int i = 0; i < lengthof(options); i++)
	{
		bool		isnull;

		(void) mcs_catalog_get_datum(row, options[i], &isnull);
		if (!isnull)
			names = names ? psprintf("%s, %s", names, options[i]) : pstrdup(options[i]);
	}
	return names ? MemoryContextStrdup(row->target, names) : NULL;
}

/* The uri in what MongoDB said of itself. */
static char *
deployment_uri(const CatalogRow *row)
{
	Document   *deployment = mcs_catalog_get_document(row, "deployment");
	DocumentValue value;
	const char *string;
	uint32		size;

	if (deployment == NULL || DOCUMENT_TYPE(deployment) != DOCUMENT_OBJECT ||
		!mcs_document_find(DOCUMENT_VALUE(deployment), DOCUMENT_VALUE_SIZE(deployment), "uri", &value) ||
		!mcs_document_get_string(&value, &string, &size))
		return NULL;
	return MemoryContextStrdup(row->target, pnstrdup(string, size));
}

/* Which one hides fields of documents. */
static const char *
hiding(const CatalogRow *row)
{
	if (mcs_catalog_get_texts(row, "exclude_fields") != NIL)
		return "exclude_fields";
	return mcs_catalog_get_texts(row, "mask_fields") != NIL ? "mask_fields" : NULL;
}

static KeptStream *
kept_from_row(const CatalogRow *row)
{
	KeptStream *stream = MemoryContextAllocZero(row->target, sizeof(KeptStream));
	char	   *stopped = mcs_catalog_get_text(row, "stopped_state");

	stream->name = mcs_catalog_get_text(row, "stream_name");
	stream->owner = mcs_catalog_get_oid(row, "owner");
	stream->of_database = mcs_catalog_get_bool(row, "of_database");
	stream->leaves_out = leaving_out(row);
	stream->hides = hiding(row);
	stream->full_document = mcs_catalog_get_text(row, "full_document");
	stream->full_document_before_change = mcs_catalog_get_text(row, "full_document_before_change");
	stream->show_expanded_events = mcs_catalog_get_bool(row, "show_expanded_events");
	stream->restored = mcs_catalog_is_from_elsewhere(row);
	stream->history_lost = stopped && strcmp(stopped, "history_lost") == 0;
	stream->uri = deployment_uri(row);
	stream->token = mcs_catalog_get_text(row, "resume_token");
	stream->last_event_id = mcs_catalog_get_int64(row, "last_event_id");
	stream->kept_from = mcs_catalog_get_text(row, "kept_from");
	stream->kept_from_event = mcs_catalog_get_int64(row, "kept_from_event");
	return stream;
}

/* Whether a role reads all rows of the events table: it is above policies, or there are none any more. */
static bool
reads_all(Oid events, Oid userid)
{
	return check_enable_rls(events, userid, true) != RLS_ENABLED;
}

List *
mcs_kept_streams(const KeptPlace *place, Oid userid, Snapshot snapshot)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT s.*, p.resume_token, p.last_event_id, p.kept_from, p.kept_from_event, p.deployment, "
		"s.collection_name IS NULL AND $3 IS NOT NULL AS of_database "
		"FROM @.change_streams s JOIN @.change_stream_progress p ON p.stream_name = s.stream_name "
		"WHERE s.server = $1 AND s.database_name = coalesce($2, '*') AND (s.collection_name = $3 OR s.collection_name IS NULL) AND s.keep_events "
		"AND ($6 OR (pg_has_role($4, s.owner, 'USAGE') OR pg_has_role($4, 'pg_read_all_data', 'USAGE') "
		"OR EXISTS (SELECT FROM @.change_stream_grants g WHERE g.stream_name = s.stream_name AND pg_has_role($4, g.reader, 'USAGE'))) "
		"AND ARRAY(SELECT c.polname FROM pg_policy c WHERE c.polrelid = $5 ORDER BY c.polname) = ARRAY['own_events', 'read_all']::name[]) "
		/* those first of which fewer rows need to be read, and that have kept for longer */
		"ORDER BY s.collection_name IS NULL, s.paused OR s.stopped_state IS NOT NULL, s.created_at, s.stream_name",
		TEXTOID, TEXTOID, TEXTOID, OIDOID, OIDOID, BOOLOID);
	Oid			events = mcs_extension_objects()->events;
	StreamsSeen seen;
	CatalogScope scope;
	CatalogValues values = {0};
	List	   *streams = NIL;
	ListCell   *cell;
	uint64		count;

	/* 1.0 does not know from where on events are there */
	if (!OidIsValid(events) || mcs_extension_is_old() || pg_class_aclcheck(events, userid, ACL_SELECT) != ACLCHECK_OK)
		return NIL;
	mcs_catalog_add_text(&values, place->server);
	mcs_catalog_add_text(&values, place->database);
	mcs_catalog_add_text(&values, place->collection);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(userid), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(events), false);
	mcs_catalog_add_value(&values, BoolGetDatum(reads_all(events, userid)), false);
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute_snapshot(&list, values.values, values.nulls, snapshot);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		streams = mcs_catalog_append(&row, streams, kept_from_row(&row));
	}
	mcs_catalog_end(&scope);
	if (streams == NIL)
		return NIL;
	/* a view's reader is not told what its owner has */
	seen = mcs_grants_load();
	foreach(cell, streams)
	{
		KeptStream *stream = lfirst(cell);

		stream->told = mcs_grants_allow(&seen, stream->name, stream->owner);
	}
	return streams;
}

bool
mcs_kept_exist(Oid foreign_table, Oid userid)
{
	ForeignTable *table;
	ForeignServer *server;
	KeptPlace	place;
	char	   *database;
	char	   *collection;
	ListCell   *cell;

	if (get_rel_relkind(foreign_table) != RELKIND_FOREIGN_TABLE)
		return false;
	table = GetForeignTable(foreign_table);
	server = GetForeignServer(table->serverid);
	if (server->fdwid != get_foreign_data_wrapper_oid(MCS_EXTENSION, true))
		return false;
	mcs_mongo_table_place(table->options, server->options, &database, &collection);
	if (database == NULL)
		return false;
	place.server = server->servername;
	place.database = strcmp(database, "*") == 0 ? NULL : database;
	place.collection = collection;
	foreach(cell, mcs_kept_streams(&place, userid, GetActiveSnapshot()))
		if (((KeptStream *) lfirst(cell))->leaves_out == NULL)
			return true;
	return false;
}
