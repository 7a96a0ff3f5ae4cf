/*
 * tables/progress.c
 *	  What workers write into the catalog tables: position, counters, errors,
 *	  and that a stream has to stop.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/*
 * That one statement decides whether a transaction counts.  Whoever changes the
 * definition or the position updates this row before he commits, so this waits
 * for him, and sees then that it is not what was expected.
 */
bool
mcs_progress_save(const Stream *stream, int64 expected_event_id, const char *expected_token,
				  const StreamProgress *progress)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET resume_token = $4, last_event_id = $5, "
		"events_processed = events_processed + $6, last_event_at = coalesce($7, last_event_at), "
		"updated_at = clock_timestamp(), filter_errors = filter_errors + $8, consecutive_errors = 0"
		"{, running_token = NULL, crashes = 0, starts = CASE WHEN $6 > 0 THEN 0 ELSE starts END, "
		"last_event_token = coalesce($10, last_event_token)|} "
		"WHERE stream_name = $1 AND last_event_id = $2 AND resume_token IS NOT DISTINCT FROM $3 AND {definition_version|0} = $9",
		TEXTOID, INT8OID, TEXTOID, TEXTOID, INT8OID, INT8OID, TIMESTAMPTZOID, INT8OID, INT4OID, TEXTOID);
	Datum		values[10];
	char		nulls[10] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};

	values[0] = CStringGetTextDatum(stream->name);
	values[1] = Int64GetDatum(expected_event_id);
	values[2] = expected_token ? CStringGetTextDatum(expected_token) : (Datum) 0;
	nulls[2] = expected_token ? ' ' : 'n';
	values[3] = progress->token ? CStringGetTextDatum(progress->token) : (Datum) 0;
	nulls[3] = progress->token ? ' ' : 'n';
	values[4] = Int64GetDatum(progress->last_event_id);
	values[5] = Int64GetDatum(progress->events);
	values[6] = TimestampTzGetDatum(progress->last_event_at);
	nulls[6] = progress->last_event_at ? ' ' : 'n';
	values[7] = Int64GetDatum(progress->filter_errors);
	values[8] = Int32GetDatum(stream->definition_version);
	values[9] = progress->event_token ? CStringGetTextDatum(progress->event_token) : (Datum) 0;
	nulls[9] = progress->event_token ? ' ' : 'n';
	return mcs_catalog_run(&save, values, nulls) == 1;
}

/* Notes a failed attempt. */
void
mcs_progress_error(const char *stream, const char *message)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET consecutive_errors = consecutive_errors + 1, last_error = $2, "
		"last_error_at = clock_timestamp() WHERE stream_name = $1",
		TEXTOID, TEXTOID);
	Datum		values[2] = {CStringGetTextDatum(stream), CStringGetTextDatum(message)};

	(void) mcs_catalog_run(&note, values, NULL);
}

/* Keeps what MongoDB says of itself. */
void
mcs_progress_deployment(const char *stream, const Document *deployment)
{
	static CatalogStatement keep = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET deployment = $2 WHERE stream_name = $1", TEXTOID, InvalidOid);
	Datum		values[2] = {CStringGetTextDatum(stream), PointerGetDatum(deployment)};

	(void) mcs_catalog_run(&keep, values, NULL);
}

/* Notes that a worker starts again after one that did not end on purpose. */
void
mcs_progress_restart(const char *stream)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress p SET restarts = p.restarts + 1 FROM @.change_streams s "
		"WHERE p.stream_name = $1 AND s.stream_name = $1 AND p.updated_at > s.state_since",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&note, values, NULL);
}

/*
 * Ends a stream until it is resumed; token is of the event that it stops at, or
 * NULL.  Locks the row of change_streams, so a
 * transaction that calls mcs_progress_error, too, calls this first: functions
 * lock in that order.
 */
void
mcs_streams_stop(const char *stream, StreamState state, const char *reason, const char *token)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = $2, stopped_reason = $3, {stopped_token = $4, |}"
		"state_since = clock_timestamp() WHERE stream_name = $1",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	Datum		values[4] = {CStringGetTextDatum(stream)};
	char		nulls[4] = {' ', ' ', ' ', token ? ' ' : 'n'};

	Assert(state == STREAM_HISTORY_LOST || state == STREAM_ERROR);
	values[1] = CStringGetTextDatum(state == STREAM_HISTORY_LOST ? "history_lost" : "error");
	values[2] = CStringGetTextDatum(reason);
	values[3] = token ? CStringGetTextDatum(token) : (Datum) 0;
	(void) mcs_catalog_run(&stop, values, nulls);
}

/* Pauses a stream that was made in another cluster or database, unless it is paused, or was resumed here a moment ago. */
void
mcs_streams_pause_restored(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = 'restored', state_since = clock_timestamp() "
		"WHERE stream_name = $1 AND paused_reason IS DISTINCT FROM 'restored' AND (system_identifier <> $2 OR database_oid <> $3)",
		TEXTOID, INT8OID, OIDOID);
	Datum		values[3] = {CStringGetTextDatum(stream), Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId)};

	(void) mcs_catalog_run(&pause, values, NULL);
}

/* Forgets the event that a stream was to leave out, once it has. */
void
mcs_streams_forget_skip(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET skip_token = NULL WHERE stream_name = $1 AND skip_token IS NOT NULL",
		TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&forget, values, NULL);
}

/* Whether a handler of the stream that runs has still to come to this event. */
bool
mcs_handlers_are_behind(const char *stream, int64 event_id)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1 AND p.last_event_id < $2 AND NOT h.paused AND h.stopped_reason IS NULL LIMIT 1",
		TEXTOID, INT8OID);
	Datum		values[2] = {CStringGetTextDatum(stream), Int64GetDatum(event_id)};

	return mcs_catalog_run(&find, values, NULL) > 0;
}

/*
 * Lets nobody change a stream's handlers, and no worker of theirs save anything,
 * until the transaction's end.  Before events are deleted: a worker that has
 * saved writes into their rows.  Before the stream's own rows are locked: see
 * tables/handlers.c.
 */
void
mcs_handlers_lock_all(const char *stream)
{
	static CatalogStatement lock = CATALOG_STATEMENT(
		"SELECT FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1 ORDER BY p.handler_name, p.worker "
		"FOR NO KEY UPDATE OF h FOR UPDATE OF p", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&lock, values, NULL);
}

/* With a stream's handlers locked: what their workers have made and not committed is not to be (mcs_handlers_redefine). */
void
mcs_handlers_redefine_all(const char *stream)
{
	static CatalogStatement mark = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress p SET definition_version = pg_current_xact_id()::text::bigint "
		"FROM @.change_handlers h WHERE h.stream_name = $1 AND p.handler_name = h.handler_name", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&mark, values, NULL);
}

/* How many events of a stream have been given up and not been dealt with. */
int64
mcs_dead_letters_count(const char *stream)
{
	static CatalogStatement count = CATALOG_STATEMENT(
		"SELECT FROM @.change_handler_dead_letters WHERE stream_name = $1 "
		"{UNION ALL SELECT FROM @.change_stream_parked_events WHERE stream_name = $1|}", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	return (int64) mcs_catalog_run(&count, values, NULL);
}

/* ---- after a TRUNCATE ---- */

/* The streams that have had events, by name: List of TruncatedStream. */
List *
mcs_progress_truncated(void)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT p.stream_name, p.last_event_id, p.resume_token "
		"FROM @.change_stream_progress p JOIN @.change_streams s USING (stream_name) "
		"WHERE p.last_event_id > 0 AND s.owner IN (SELECT oid FROM pg_catalog.pg_roles) ORDER BY p.stream_name");
	CatalogScope scope;
	List	   *streams = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute_latest(&list);
	for (uint64 i = 0; i < count; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(scope.caller);
		TruncatedStream *stream = palloc(sizeof(TruncatedStream));
		bool		isnull;
		Datum		token = SPI_getbinval(tuple, desc, 3, &isnull);

		stream->token = isnull ? NULL : TextDatumGetCString(token);
		stream->name = TextDatumGetCString(SPI_getbinval(tuple, desc, 1, &isnull));
		stream->last_event_id = DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull));
		streams = lappend(streams, stream);
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return streams;
}
