/*
 * tables/handlers.c
 *	  The rows of handlers and of their workers.
 *
 * Locks are taken in one order: the handler's row, the rows of its workers, the
 * stream's rows.  A function that makes a handler has the stream's first, but
 * nobody else knows the rows that it makes then.  A handler's row is locked FOR
 * NO KEY UPDATE, so that dead letters can refer to it meanwhile (by a foreign key
 * in the schema of 1.0): they are inserted by a worker that has its own row
 * already.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* ---- handlers ---- */

/* A handler from its row; everything in the row's target context. */
static Handler *
handler_from_row(const CatalogRow *row, const char *name)
{
	Handler    *handler = MemoryContextAllocZero(row->target, sizeof(Handler));

	handler->name = MemoryContextStrdup(row->target, name);
	handler->stream = mcs_catalog_get_text(row, "stream_name");
	handler->owner = mcs_catalog_get_oid(row, "owner");
	mcs_options_read(&mcs_options_handler, row, handler);
	/* what was made of it when it was given */
	handler->translated_body = mcs_catalog_get_text(row, "translated_body");
	handler->translated_condition = mcs_catalog_get_text(row, "translated_condition");
	handler->settings = mcs_catalog_get_texts(row, "settings");
	handler->stopped_reason = mcs_catalog_get_text(row, "stopped_reason");
	handler->restored = mcs_catalog_is_from_elsewhere(row);
	return handler;
}

/* The handler, or NULL where there is none and missing_ok; for_update locks its row until the transaction's end. */
Handler *
mcs_handlers_load(const char *name, bool for_update, bool missing_ok)
{
#define HANDLER_QUERY \
		"SELECT h.*, s.owner, s.system_identifier, s.database_oid " \
		"FROM @.change_handlers h JOIN @.change_streams s USING (stream_name) WHERE h.handler_name = $1"
	/*
	 * h alone is locked: the stream comes last (see the top), and is shown by the
	 * snapshot even where h was waited for.  Of a handler whose stream a restore has
	 * not brought there is nothing to load.
	 */
	static CatalogStatement load = CATALOG_STATEMENT(HANDLER_QUERY, TEXTOID);
	static CatalogStatement load_locked = CATALOG_STATEMENT(HANDLER_QUERY " FOR NO KEY UPDATE OF h", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	Handler    *handler = NULL;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(for_update ? &load_locked : &load, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		handler = handler_from_row(&row, name);
	}
	mcs_catalog_end(&scope);
	if (handler == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change handler \"%s\" does not exist", name)));
	return handler;
}

/* The columns of change_handlers that create_change_handler and alter_change_handler have in common, behind the key. */
static void
set_definition(CatalogColumns *columns, const Handler *handler, bool update)
{
	mcs_options_write(&mcs_options_handler, handler, update, columns);
	mcs_catalog_set_text(columns, "translated_body", handler->translated_body);
	mcs_catalog_set_text(columns, "translated_condition", handler->translated_condition);
}

/* The rows of a new handler; false where there is one of that name already. */
bool
mcs_handlers_insert(const Handler *handler, int64 last_event_id)
{
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "handler_name", handler->name);
	mcs_catalog_set_text(&columns, "stream_name", handler->stream);
	set_definition(&columns, handler, false);
	mcs_catalog_set_texts(&columns, "settings", handler->settings, false);
	/* its key decides between two who make a handler of one name: the positions are of who has made the row */
	if (!mcs_catalog_insert("change_handlers", &columns))
		return false;
	mcs_handlers_set_workers(handler->name, handler->workers, last_event_id);
	return true;
}

void
mcs_handlers_update(const Handler *handler)
{
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "handler_name", handler->name);
	set_definition(&columns, handler, true);
	mcs_catalog_update("change_handlers", &columns);
}

void
mcs_handlers_pause(const char *name)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_handlers SET paused = true, state_since = now() WHERE handler_name = $1 AND NOT paused", TEXTOID);

	(void) mcs_catalog_run_for(&pause, name);
}

/* The handler shall run; an event that it has stopped at is tried anew. */
void
mcs_handlers_resume(const char *name)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_handlers SET paused = false, stopped_reason = NULL, state_since = now() "
		"WHERE handler_name = $1 AND (paused OR stopped_reason IS NOT NULL)", TEXTOID);

	(void) mcs_catalog_run_for(&resume, name);
	mcs_handlers_forget_attempts(name);
}

void
mcs_handlers_stop(const char *name, const char *reason)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_handlers SET stopped_reason = $2, state_since = clock_timestamp() WHERE handler_name = $1",
		TEXTOID, TEXTOID);
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(reason)};

	(void) mcs_catalog_run(&stop, values, NULL);
}

void
mcs_handlers_delete(const char *name)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_handler_dead_letters WHERE handler_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handler_progress WHERE handler_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handlers WHERE handler_name = $1", TEXTOID)
	};
	Datum		values[1] = {CStringGetTextDatum(name)};

	/* what refers to others first, for the foreign keys of 1.0's tables */
	for (int i = 0; i < lengthof(delete); i++)
		(void) mcs_catalog_run(&delete[i], values, NULL);
}

/* ---- positions: one for each worker ---- */

/*
 * A definition is known by the transaction that made or changed it, which no other
 * has the number of: so a handler that is dropped and made again under its name
 * is another one, and code that changes the handler which runs it, in the
 * transaction that then saves, knows its own doing.  A subtransaction has the
 * number of the whole.  By way of text, as xid8 has no cast to bigint.
 */
#define THIS_TRANSACTION "pg_current_xact_id()::text::bigint"

void
mcs_handlers_redefine(const char *name)
{
	static CatalogStatement mark = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET definition_version = " THIS_TRANSACTION " WHERE handler_name = $1", TEXTOID);

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run_for(&mark, name);
}

void
mcs_handlers_forget_attempts(const char *name)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET attempts = 0, next_retry_at = NULL "
		"WHERE handler_name = $1 AND failed_event IS NOT NULL", TEXTOID);

	(void) mcs_catalog_run_for(&forget, name);
}

HandlerPosition *
mcs_handlers_position(const char *name, int worker)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT last_event_id, failed_event, attempts, next_retry_at, sqlstate, error, detail, context, "
		"{definition_version|0::bigint AS definition_version} "
		"FROM @.change_handler_progress WHERE handler_name = $1 AND worker = $2",
		TEXTOID, INT4OID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(name), Int32GetDatum(worker)};
	HandlerPosition *position = NULL;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		position = MemoryContextAllocZero(scope.caller, sizeof(HandlerPosition));
		position->last_event_id = mcs_catalog_get_int64(&row, "last_event_id");
		position->failed_event = mcs_catalog_get_int64(&row, "failed_event");
		position->attempts = mcs_catalog_get_int32(&row, "attempts");
		position->next_retry_at = mcs_catalog_get_int64(&row, "next_retry_at");
		position->error.sqlstate = mcs_catalog_get_text(&row, "sqlstate");
		position->error.message = mcs_catalog_get_text(&row, "error");
		position->error.detail = mcs_catalog_get_text(&row, "detail");
		position->error.context = mcs_catalog_get_text(&row, "context");
		position->definition_version = mcs_catalog_get_int64(&row, "definition_version");
	}
	mcs_catalog_end(&scope);
	return position;
}

bool
mcs_handlers_lock_positions(const char *name, int64 *least, int64 *greatest)
{
	/* in one order, so that two who lock all of them do not wait for each other */
	static CatalogStatement lock = CATALOG_STATEMENT(
		"SELECT last_event_id FROM @.change_handler_progress WHERE handler_name = $1 ORDER BY worker FOR UPDATE", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	int64		low = 0,
				high = 0;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&lock, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		int64		position = mcs_catalog_get_int64(&row, "last_event_id");

		low = i == 0 ? position : Min(low, position);
		high = i == 0 ? position : Max(high, position);
	}
	mcs_catalog_end(&scope);
	if (least)
		*least = low;
	if (greatest)
		*greatest = high;
	return low == high;
}

/* Gives a handler that many workers, all at one position. */
void
mcs_handlers_set_workers(const char *name, int workers, int64 last_event_id)
{
	static CatalogStatement delete = CATALOG_STATEMENT(
		"DELETE FROM @.change_handler_progress WHERE handler_name = $1 AND worker >= $2", TEXTOID, INT4OID);
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_handler_progress (handler_name, worker, last_event_id{, definition_version|}) "
		"SELECT $1, n, $3{, " THIS_TRANSACTION "|} FROM generate_series(0, $2 - 1) n ON CONFLICT DO NOTHING",
		TEXTOID, INT4OID, INT8OID);
	Datum		values[3] = {CStringGetTextDatum(name), Int32GetDatum(workers), Int64GetDatum(last_event_id)};

	/* those that stay are at that position already: the caller has looked */
	(void) mcs_catalog_run(&delete, values, NULL);
	(void) mcs_catalog_run(&insert, values, NULL);
}

/*
 * Nobody but this transaction itself has changed the definition since it was
 * read.  That and the position are the condition of the one statement by which a
 * transaction of a worker counts or does not, as in tables/progress.c.
 */
#define SAME_DEFINITION "{definition_version|0} IN (" THIS_TRANSACTION ", "

/* A failure behind the new position stays noted: it is of an event that is still to come. */
bool
mcs_handlers_save(const char *name, int worker, const HandlerPosition *from, int64 to, int64 events)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET last_event_id = $4, events_processed = events_processed + $5, "
		"updated_at = clock_timestamp(), failed_event = CASE WHEN failed_event > $4 THEN failed_event END, "
		"attempts = CASE WHEN failed_event > $4 THEN attempts ELSE 0 END, "
		"next_retry_at = CASE WHEN failed_event > $4 THEN next_retry_at END, running_event = NULL, crashes = 0{, starts = 0|} "
		"WHERE handler_name = $1 AND worker = $2 AND last_event_id = $3 AND " SAME_DEFINITION "$6)",
		TEXTOID, INT4OID, INT8OID, INT8OID, INT8OID, INT8OID);
	Datum		values[6] = {CStringGetTextDatum(name), Int32GetDatum(worker), Int64GetDatum(from->last_event_id), Int64GetDatum(to),
		Int64GetDatum(events), Int64GetDatum(from->definition_version)};

	return mcs_catalog_run(&save, values, NULL) == 1;
}

bool
mcs_handlers_save_failure(const char *name, int worker, const HandlerPosition *position)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET failures = failures + 1, updated_at = clock_timestamp(), failed_event = $4, "
		"attempts = $5, next_retry_at = $6, sqlstate = $7, error = $8, detail = $9, context = $10, "
		"running_event = NULL, crashes = 0 "
		"WHERE handler_name = $1 AND worker = $2 AND last_event_id = $3 AND " SAME_DEFINITION "$11)",
		TEXTOID, INT4OID, INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, name);
	mcs_catalog_add_value(&values, Int32GetDatum(worker), false);
	mcs_catalog_add_int64(&values, position->last_event_id);
	mcs_catalog_add_int64(&values, position->failed_event);
	mcs_catalog_add_value(&values, Int32GetDatum(position->attempts), false);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(position->next_retry_at), position->next_retry_at == 0);
	mcs_catalog_add_error(&values, position->error.sqlstate, position->error.message, position->error.detail, position->error.context);
	mcs_catalog_add_int64(&values, position->definition_version);
	return mcs_catalog_run(&save, values.values, values.nulls) == 1;
}

/* ---- processes that may die ---- */

/*
 * Notes that a process begins to work; first says that a note of another that is
 * there is of one that has died.  True where it is; *running_event, which may be
 * 0, was then announced *repeats times more without having been done, and
 * *starts processes in a row have not come to any event.
 */
bool
mcs_handlers_begin(const char *name, int worker, bool first, int64 *running_event, int *repeats, int *starts)
{
	/* what was noted before comes from the subquery, since RETURNING has the new values only before PostgreSQL 18 */
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress p SET alive = true"
		"{, starts = CASE WHEN o.alive AND $3 AND p.running_event IS NULL THEN p.starts + 1 ELSE p.starts END|} "
		"FROM (SELECT alive FROM @.change_handler_progress WHERE handler_name = $1 AND worker = $2 FOR UPDATE) o "
		"WHERE p.handler_name = $1 AND p.worker = $2 RETURNING o.alive AND $3 AS died, p.running_event, p.crashes, {p.starts|0 AS starts}",
		TEXTOID, INT4OID, BOOLOID);
	CatalogScope scope;
	Datum		values[3] = {CStringGetTextDatum(name), Int32GetDatum(worker), BoolGetDatum(first)};
	bool		died = false;

	*running_event = 0;
	*repeats = 0;
	*starts = 0;
	/* the note is of use only if no crash takes it back: see tables/deaths.c */
	mcs_deaths_flush();
	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&note, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		died = mcs_catalog_get_bool(&row, "died");
		*running_event = mcs_catalog_get_int64(&row, "running_event");
		*repeats = mcs_catalog_get_int32(&row, "crashes");
		*starts = mcs_catalog_get_int32(&row, "starts");
	}
	mcs_catalog_end(&scope);
	return died;
}

/* Notes that a process, whose predecessors had not come so far, is ready to run events. */
void
mcs_handlers_ready(const char *name, int worker)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET starts = 0 WHERE handler_name = $1 AND worker = $2", TEXTOID, INT4OID);
	Datum		values[2] = {CStringGetTextDatum(name), Int32GetDatum(worker)};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&note, values, NULL);
}

/* Notes which event is run next, and if it was noted before that who ran it has died. */
void
mcs_handlers_announce(const char *name, int worker, int64 event_id)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET running_event = $3, "
		"crashes = CASE WHEN running_event = $3 THEN crashes + 1 ELSE 0 END{, starts = 0|} "
		"WHERE handler_name = $1 AND worker = $2",
		TEXTOID, INT4OID, INT8OID);
	Datum		values[3] = {CStringGetTextDatum(name), Int32GetDatum(worker), Int64GetDatum(event_id)};

	/* as in mcs_handlers_begin: the caller commits before the event is run */
	mcs_deaths_flush();
	(void) mcs_catalog_run(&note, values, NULL);
}

/* Notes that the process ends in order. */
void
mcs_handlers_end(const char *name, int worker)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress SET alive = false, running_event = NULL, crashes = 0{, starts = 0|} "
		"WHERE handler_name = $1 AND worker = $2", TEXTOID, INT4OID);
	Datum		values[2] = {CStringGetTextDatum(name), Int32GetDatum(worker)};

	/* not flushed by all means: if a crash takes this back, a death is counted that was none, and one alone does no harm */
	(void) mcs_catalog_run(&note, values, NULL);
}

/* ---- all handlers of one stream ---- */

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
 * the top of this file.
 */
void
mcs_handlers_lock_all(const char *stream)
{
	static CatalogStatement lock = CATALOG_STATEMENT(
		"SELECT FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1 ORDER BY p.handler_name, p.worker "
		"FOR NO KEY UPDATE OF h FOR UPDATE OF p", TEXTOID);

	(void) mcs_catalog_run_for(&lock, stream);
}

/* With a stream's handlers locked: what their workers have made and not committed is not to be (mcs_handlers_redefine). */
void
mcs_handlers_redefine_all(const char *stream)
{
	static CatalogStatement mark = CATALOG_STATEMENT(
		"UPDATE @.change_handler_progress p SET definition_version = pg_current_xact_id()::text::bigint "
		"FROM @.change_handlers h WHERE h.stream_name = $1 AND p.handler_name = h.handler_name", TEXTOID);

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run_for(&mark, stream);
}

List *
mcs_handlers_reached(const char *stream, const char *but_handler)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT h.handler_name, p.worker, h.workers, p.last_event_id, p.failed_event, h.stopped_reason IS NOT NULL AS gave_up "
		"FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1 AND h.handler_name <> $2", TEXTOID, TEXTOID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(stream), CStringGetTextDatum(but_handler)};
	List	   *others = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		HandlerReached *reached = MemoryContextAllocZero(scope.caller, sizeof(HandlerReached));

		reached->handler = mcs_catalog_get_text(&row, "handler_name");
		reached->worker = mcs_catalog_get_int32(&row, "worker");
		reached->workers = mcs_catalog_get_int32(&row, "workers");
		reached->last_event_id = mcs_catalog_get_int64(&row, "last_event_id");
		reached->failed_event = mcs_catalog_get_int64(&row, "failed_event");
		reached->gave_up = mcs_catalog_get_bool(&row, "gave_up");
		others = mcs_catalog_append(&row, others, reached);
	}
	mcs_catalog_end(&scope);
	return others;
}
