/*
 * tables/change.c
 *	  What users' functions write into the catalog tables.  Who may call them
 *	  has been asked before.
 */
#include "mongo_change_stream.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* A value by its address; NULL for null. */
static void
add_pointer(CatalogValues *values, const void *pointer)
{
	mcs_catalog_add_value(values, PointerGetDatum(pointer), pointer == NULL);
}

static const char *
notify_text(StreamNotify notify)
{
	switch (notify)
	{
		case STREAM_NOTIFY_OFF:
			return "off";
		case STREAM_NOTIFY_IDS:
			return "ids";
		case STREAM_NOTIFY_HEADS:
			return "heads";
	}
	return NULL;
}

static const char *
on_error_text(StreamOnError on_error)
{
	switch (on_error)
	{
		case STREAM_ON_ERROR_STOP:
			return "stop";
		case STREAM_ON_ERROR_SKIP:
			return "skip";
		case STREAM_ON_ERROR_PARK:
			return "park";
	}
	return NULL;
}

/* What alter_change_stream may change, in the order of insert_stream and update_definition. */
static void
add_definition(CatalogValues *values, const Stream *stream)
{
	mcs_catalog_add_text(values, stream->filter);
	mcs_catalog_add_text(values, stream->add_fields);
	mcs_catalog_add_texts(values, stream->operations, true);
	add_pointer(values, stream->pipeline);
	mcs_catalog_add_text(values, stream->full_document);
	mcs_catalog_add_text(values, stream->full_document_before_change);
	mcs_catalog_add_value(values, BoolGetDatum(stream->show_expanded_events), false);
	add_pointer(values, stream->max_await_time);
	mcs_catalog_add_value(values, Int32GetDatum(stream->batch_size), stream->batch_size == 0);
	add_pointer(values, stream->retention);
	mcs_catalog_add_text(values, notify_text(stream->notify));
	add_pointer(values, stream->pushed_filter);
	mcs_catalog_add_text(values, stream->local_filter);
	mcs_catalog_add_text(values, on_error_text(stream->on_error));
}

#define DEFINITION_COLUMNS \
	"filter, add_fields, operations, pipeline, full_document, full_document_before_change, show_expanded_events, " \
	"max_await_time, batch_size, retention, notify, pushed_filter, local_filter{, on_error|}"
#define DEFINITION_VALUES \
	"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13{, $14|}"
#define DEFINITION_TYPES \
	TEXTOID, TEXTOID, TEXTARRAYOID, InvalidOid, TEXTOID, TEXTOID, BOOLOID, \
	INTERVALOID, INT4OID, INTERVALOID, TEXTOID, InvalidOid, TEXTOID, TEXTOID

/* Whose the events are that a dropped stream of this name left; false where there are none. */
bool
mcs_streams_kept_events(const char *stream, Oid *owner, int64 *last_event_id)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT owner::pg_catalog.oid, last_event_id FROM @.change_stream_kept_events WHERE stream_name = $1 FOR UPDATE",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		found;
	bool		isnull;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(&find, values, NULL) > 0;
	if (found)
	{
		*owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		*last_event_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	mcs_catalog_end(&scope);
	return found;
}

void
mcs_streams_forget_kept_events(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_kept_events WHERE stream_name = $1",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}

/* The row of change_streams; false where there is one of that name already. */
static bool
insert_stream(const Stream *stream, const StreamOrigin *origin)
{
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_streams (" DEFINITION_COLUMNS ", stream_name, owner, server, database_name, "
		"collection_name, resume_after, start_after, start_at, initial_snapshot, paused, settings, system_identifier, "
		"database_oid, changed_at_event{, exclude_fields, mask_fields|}) "
		"VALUES (" DEFINITION_VALUES ", $15, $16::pg_catalog.regrole, $17, $18, "
		"$19, $20, $21, $22, false, $23, $24, $25, $26, $27{, $28, $29|}) ON CONFLICT DO NOTHING",
		DEFINITION_TYPES, TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID,
		TEXTARRAYOID, INT8OID, OIDOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID);
	CatalogValues values = {0};

	add_definition(&values, stream);
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_add_text(&values, stream->server);
	mcs_catalog_add_text(&values, stream->database);
	mcs_catalog_add_text(&values, stream->collection);
	mcs_catalog_add_text(&values, origin->resume_after);
	mcs_catalog_add_text(&values, origin->start_after);
	mcs_catalog_add_text(&values, origin->start_at);
	mcs_catalog_add_value(&values, BoolGetDatum(stream->paused), false);
	mcs_catalog_add_texts(&values, stream->settings, false);
	mcs_catalog_add_value(&values, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(MyDatabaseId), false);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	mcs_catalog_add_texts(&values, stream->exclude_fields, true);
	mcs_catalog_add_texts(&values, stream->mask_fields, true);
	return mcs_catalog_run(&insert, values.values, values.nulls) == 1;
}

/* The rows of a new stream; false where there is one of that name already. */
bool
mcs_streams_insert(const Stream *stream, const StreamOrigin *origin)
{
	static CatalogStatement insert_progress = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_progress (stream_name, resume_token, last_event_id) VALUES ($1, $2, $3) "
		"ON CONFLICT (stream_name) DO UPDATE SET resume_token = excluded.resume_token, last_event_id = excluded.last_event_id",
		TEXTOID, TEXTOID, INT8OID);
	static CatalogStatement insert_metrics = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_metrics (stream_name) VALUES ($1) ON CONFLICT DO NOTHING",
		TEXTOID);
	CatalogValues values = {0};

	if (!insert_stream(stream, origin))
		return false;
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_text(&values, stream->resume_token);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	(void) mcs_catalog_run(&insert_progress, values.values, values.nulls);
	(void) mcs_catalog_run(&insert_metrics, values.values, NULL);
	return true;
}

/*
 * After each change of what a stream is or whether it runs: what its process has
 * made under the old definition and not committed is not to be.  A stream that
 * is changed is looked at by somebody, so deaths of its processes are forgotten.
 */
void
mcs_progress_redefine(const char *stream)
{
	static CatalogStatement count = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET definition_version = definition_version + 1, running_token = NULL, crashes = 0, starts = 0 "
		"WHERE stream_name = $1",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&count, values, NULL);
}

/* Writes an altered definition; it holds for the events after last_event_id. */
void
mcs_streams_update(const Stream *stream)
{
	static CatalogStatement update = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET (" DEFINITION_COLUMNS ", changed_at_event{, exclude_fields, mask_fields|}) = "
		"(" DEFINITION_VALUES ", $15{, $17, $18|}) WHERE stream_name = $16",
		DEFINITION_TYPES, INT8OID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID);
	CatalogValues values = {0};

	add_definition(&values, stream);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_texts(&values, stream->exclude_fields, true);
	mcs_catalog_add_texts(&values, stream->mask_fields, true);
	(void) mcs_catalog_run(&update, values.values, values.nulls);
	mcs_progress_redefine(stream->name);
}

void
mcs_streams_pause(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = NULL, state_since = now() "
		"WHERE stream_name = $1 AND NOT paused",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&pause, values, NULL);
	mcs_progress_redefine(stream);
}

/* The stream shall run, here; skip_token NULL leaves the one that is there. */
void
mcs_streams_resume(const char *stream, const char *skip_token)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = false, paused_reason = NULL, stopped_state = NULL, stopped_reason = NULL, "
		"{stopped_token = NULL, |}"
		"state_since = CASE WHEN paused OR stopped_state IS NOT NULL THEN now() ELSE state_since END, "
		"skip_token = coalesce($2, skip_token), system_identifier = $3, database_oid = $4 WHERE stream_name = $1",
		TEXTOID, TEXTOID, INT8OID, OIDOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, skip_token);
	mcs_catalog_add_value(&values, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(MyDatabaseId), false);
	(void) mcs_catalog_run(&resume, values.values, values.nulls);
	mcs_progress_redefine(stream);
}

/* A stream that stopped at an event shall run again, unless it is paused. */
void
mcs_streams_forget_stop(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = NULL, stopped_reason = NULL, {stopped_token = NULL, |}state_since = now() "
		"WHERE stream_name = $1",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}

/* Moves a stream, in whatever history: the worker that knows another position can't save any more. */
void
mcs_progress_set_position(const char *stream, const char *token)
{
	static CatalogStatement move = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET resume_token = $2, consecutive_errors = 0, updated_at = clock_timestamp()"
		"{, last_event_token = NULL, deployment = NULL|} "
		"WHERE stream_name = $1",
		TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, token);
	(void) mcs_catalog_run(&move, values.values, values.nulls);
}

/* Everything of a stream but its events, of which a note is left where they are kept; its rows and its handlers' are locked. */
void
mcs_streams_delete(const Stream *stream, bool keep_events)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_handler_dead_letters WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handler_progress WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handlers WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_metrics WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_progress WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_streams WHERE stream_name = $1", TEXTOID)
	};
	static CatalogStatement unpark = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_parked_events WHERE stream_name = $1",
		TEXTOID);
	static CatalogStatement keep = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_kept_events (stream_name, owner, last_event_id) "
		"VALUES ($1, $2::pg_catalog.regrole, $3)",
		TEXTOID, OIDOID, INT8OID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	for (int i = 0; i < lengthof(delete); i++)
		(void) mcs_catalog_run(&delete[i], values.values, NULL);
	mcs_grants_forget_stream(stream->name);
	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&unpark, values.values, NULL);
	mcs_wake_handlers_at_commit(stream->name, NULL);
	if (keep_events)
		(void) mcs_catalog_run(&keep, values.values, NULL);
}

/* Whether this transaction itself made or changed the stream, so that nobody else sees that yet. */
bool
mcs_streams_is_uncommitted(const char *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT xmin FROM @.change_streams WHERE stream_name = $1",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		own = false;
	bool		isnull;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
		own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(
			SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	mcs_catalog_end(&scope);
	return own;
}
