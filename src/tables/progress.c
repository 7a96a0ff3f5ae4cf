/*
 * tables/progress.c
 *	  The positions of streams, with their counters and errors.
 *
 * Exactly once
 * ------------
 * A row says up to where a stream's events are in the events table, and by which
 * definition.  Whatever a worker writes is in one transaction with one UPDATE of
 * this row (mcs_progress_save), which finds it only where both are what the
 * worker began with, the position and the definition_version.  Whoever moves the
 * stream, or changes, pauses or drops it, updates or deletes the same row before
 * he commits (mcs_progress_redefine, mcs_progress_set_position).  So the two are
 * one after the other, by that row's lock and by nothing else:
 *
 * - the worker first: its batch belongs to the old definition, and the other
 *	 sees its position;
 * - the other first: the worker waits for his commit, finds no such row and rolls
 *	 back all that it has made.
 *
 * The flag in shared memory that is raised after such a commit only ends a wait,
 * or a batch that would be rolled back anyway, a little sooner.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "mongo/mongo.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Where it is not known from where on no event is missing, it is from a position that is saved. */
#define KEPT_FROM(from, position, event, from_event) \
	"kept_from = coalesce(" from ", " position "), kept_from_event = CASE WHEN " from " IS NULL THEN " event " ELSE " from_event " END"

/*
 * That one statement decides whether a transaction counts (see above).  At READ
 * COMMITTED, which workers use, it waits for whoever holds the row and then looks
 * at its condition again, in the version that he has committed.
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
		"last_event_token = coalesce($10, last_event_token), " KEPT_FROM("kept_from", "$4", "$5", "kept_from_event") "|} "
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

/* By the same condition as one.  Who has locked several rows in another order is not waited for: there would be deadlocks. */
void
mcs_progress_save_quiet(QuietProgress *quiet, int count)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress p SET resume_token = v.token, updated_at = clock_timestamp(), consecutive_errors = 0, "
		"running_token = NULL, crashes = 0, " KEPT_FROM("p.kept_from", "v.token", "p.last_event_id", "p.kept_from_event") " FROM (SELECT n.number, n.token, q.stream_name FROM "
		"ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)) "
		"WITH ORDINALITY AS n(stream_name, expected, token, event, version, number) "
		"JOIN @.change_stream_progress q USING (stream_name) "
		"WHERE q.resume_token = n.expected AND q.last_event_id = n.event AND q.definition_version = n.version "
		"FOR UPDATE OF q SKIP LOCKED) v WHERE p.stream_name = v.stream_name RETURNING v.number",
		TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID);
	CatalogScope scope;
	Datum	   *columns[5];
	Datum		values[5];
	uint64		saved;

	for (int i = 0; i < lengthof(columns); i++)
		columns[i] = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		columns[0][i] = CStringGetTextDatum(quiet[i].stream->name);
		columns[1][i] = CStringGetTextDatum(quiet[i].stream->resume_token);
		columns[2][i] = CStringGetTextDatum(quiet[i].token);
		columns[3][i] = Int64GetDatum(quiet[i].stream->last_event_id);
		columns[4][i] = Int32GetDatum(quiet[i].stream->definition_version);
		quiet[i].saved = false;
	}
	for (int i = 0; i < 3; i++)
		values[i] = PointerGetDatum(construct_array(columns[i], count, TEXTOID, -1, false, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(columns[3], count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[4] = PointerGetDatum(construct_array(columns[4], count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	mcs_catalog_begin(&scope);
	saved = mcs_catalog_execute(&save, values, NULL);
	for (uint64 i = 0; i < saved; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		quiet[mcs_catalog_get_int64(&row, "number") - 1].saved = true;
	}
	mcs_catalog_end(&scope);
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

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run_for(&count, stream);
}

/* Moves a stream, in whatever history: the worker that knows another position can't save any more. */
void
mcs_progress_set_position(const char *stream, const char *token)
{
	static CatalogStatement move = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET resume_token = $2, consecutive_errors = 0, updated_at = clock_timestamp()"
		"{, last_event_token = NULL, deployment = NULL, kept_from = $2, kept_from_event = last_event_id|} "
		"WHERE stream_name = $1",
		TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, token);
	(void) mcs_catalog_run(&move, values.values, values.nulls);
}

/* Events are missing up to a position, or a gap row with a number stands for them: only what follows is all there. */
void
mcs_progress_keep_from(const char *stream, const char *token, int64 event_id)
{
	static CatalogStatement keep = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET kept_from = $2, kept_from_event = $3 WHERE stream_name = $1",
		TEXTOID, TEXTOID, INT8OID);
	CatalogValues values = {0};

	if (mcs_extension_is_old())
		return;
	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, token);
	mcs_catalog_add_int64(&values, event_id);
	(void) mcs_catalog_run(&keep, values.values, values.nulls);
}

/* The events up to the position are of another definition than those that follow, or none were kept. */
void
mcs_progress_keep_from_here(const char *stream)
{
	static CatalogStatement keep = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET kept_from = resume_token, kept_from_event = last_event_id WHERE stream_name = $1",
		TEXTOID);

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run_for(&keep, stream);
}

uint64
mcs_progress_time(const char *token)
{
	uint64		time = mcs_token_time(token);

	/* an event's token comes behind the whole time, which is written at once; what stands for a time comes before its events */
	return mcs_token_of_event(token) || time == 0 ? time : time - 1;
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

/* Notes that a worker starts again after one that did not end on purpose; until then the position was saved each few seconds. */
void
mcs_progress_restart(const char *stream)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress p SET restarts = p.restarts + 1"
		"{, longest_outage = greatest(p.longest_outage, clock_timestamp() - p.updated_at)|} FROM @.change_streams s "
		"WHERE p.stream_name = $1 AND s.stream_name = $1 AND p.updated_at > s.state_since",
		TEXTOID);

	(void) mcs_catalog_run_for(&note, stream);
}

/* ---- after a TRUNCATE ---- */

/* The streams that have had events, and keep them, by name: List of TruncatedStream. */
List *
mcs_progress_truncated(void)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT p.stream_name, p.last_event_id, p.resume_token "
		"FROM @.change_stream_progress p JOIN @.change_streams s USING (stream_name) "
		"WHERE p.last_event_id > 0 AND {s.keep_events|true} AND s.owner IN (SELECT oid FROM pg_catalog.pg_roles) ORDER BY p.stream_name");
	CatalogScope scope;
	List	   *streams = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute_latest(&list);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		TruncatedStream *stream = MemoryContextAlloc(scope.caller, sizeof(TruncatedStream));

		stream->name = mcs_catalog_get_text(&row, "stream_name");
		stream->last_event_id = mcs_catalog_get_int64(&row, "last_event_id");
		stream->token = mcs_catalog_get_text(&row, "resume_token");
		streams = mcs_catalog_append(&row, streams, stream);
	}
	mcs_catalog_end(&scope);
	return streams;
}
