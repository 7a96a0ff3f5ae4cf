/*
 * tables/dead_letters.c
 *	  Events that a handler has given up.
 *
 * A dead letter keeps the event's columns, since the event itself may be deleted
 * before anybody looks at it.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* The columns of events as the types that dead letters keep: the events table's owner may have chosen others. */
#define ROW_COLUMN_VALUE(symbol, name, type, declaration, ...) ", e." #name "::" declaration
#define ROW_COLUMN_VALUES EVENT_COLUMN_LIST(ROW_COLUMN_VALUE, ROW_COLUMN_VALUE)

/* One for each handler and event, of which the last failure is kept. */
void
mcs_dead_letters_insert(const Handler *handler, int64 event_id, const HandlerError *error, int attempts)
{
	/* from the row itself: where that has been deleted there is nothing to keep, and no dead letter is made */
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_handler_dead_letters (handler_name" ROW_COLUMN_NAMES ", sqlstate, error, detail, context, attempts) "
		"SELECT $1" ROW_COLUMN_VALUES ", $4, $5, $6, $7, $8 FROM @.change_stream_events e "
		"WHERE stream_name = $2 AND event_id = $3 "
		"ON CONFLICT (handler_name, event_id) DO UPDATE SET sqlstate = $4, error = $5, detail = $6, context = $7, "
		"attempts = $8, failed_at = clock_timestamp()",
		TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, handler->name);
	mcs_catalog_add_text(&values, handler->stream);
	mcs_catalog_add_int64(&values, event_id);
	mcs_catalog_add_error(&values, error->sqlstate, error->message, error->detail, error->context);
	mcs_catalog_add_value(&values, Int32GetDatum(attempts), false);
	(void) mcs_catalog_run(&insert, values.values, values.nulls);
}

/* Whether a handler other than the one named has given an event up. */
bool
mcs_dead_letters_exist(const char *stream, int64 event_id, const char *but_handler)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT FROM @.change_handler_dead_letters WHERE stream_name = $1 AND event_id = $2 AND handler_name <> $3 LIMIT 1",
		TEXTOID, INT8OID, TEXTOID);
	Datum		values[3] = {CStringGetTextDatum(stream), Int64GetDatum(event_id), CStringGetTextDatum(but_handler)};

	return mcs_catalog_run(&find, values, NULL) > 0;
}

/* How many events of a stream have been given up and not been dealt with. */
int64
mcs_dead_letters_count(const char *stream)
{
	static CatalogStatement count = CATALOG_STATEMENT(
		"SELECT FROM @.change_handler_dead_letters WHERE stream_name = $1 "
		"{UNION ALL SELECT FROM @.change_stream_parked_events WHERE stream_name = $1|}", TEXTOID);

	return (int64) mcs_catalog_run_for(&count, stream);
}

/* Of each handler and each stream, also where none waits: a list of DeadLetterCount. */
List *
mcs_dead_letters_counts(void)
{
	static CatalogStatement list = {.sql =
		"SELECT s.stream_name, s.owner, h.handler_name, "
		"(SELECT count(*) FROM @.change_handler_dead_letters l WHERE l.handler_name = h.handler_name) AS waiting "
		"FROM @.change_handlers h JOIN @.change_streams s USING (stream_name) "
		"UNION ALL SELECT s.stream_name, s.owner, NULL, "
		"(SELECT count(*) FROM @.change_stream_parked_events p WHERE p.stream_name = s.stream_name) FROM @.change_streams s"};
	CatalogScope scope;
	List	   *counts = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		DeadLetterCount *one = MemoryContextAlloc(row.target, sizeof(DeadLetterCount));

		one->stream = mcs_catalog_get_text(&row, "stream_name");
		one->owner = mcs_catalog_get_oid(&row, "owner");
		one->handler = mcs_catalog_get_text(&row, "handler_name");
		one->waiting = mcs_catalog_get_int64(&row, "waiting");
		counts = mcs_catalog_append(&row, counts, one);
	}
	mcs_catalog_end(&scope);
	return counts;
}

/*
 * The event is the row of the events table where it is still there, which its
 * owner may have changed, and else what was kept of it.
 */
List *
mcs_dead_letters_lock(const char *handler, int64 after, int limit)
{
	/*
	 * OF l, as PostgreSQL locks no rows of an outer join's side that may be null: an
	 * event can be deleted meanwhile.  Its value stays whole, since a composite one
	 * holds no pointers into the TOAST table.
	 */
	static CatalogStatement lock = CATALOG_STATEMENT(
		"SELECT l.event_id, CASE WHEN e.event_id IS NULL THEN @.change_handler_dead_letter_event(l) ELSE e END AS event, l.attempts "
		"FROM @.change_handler_dead_letters l "
		"LEFT JOIN @.change_stream_events e ON e.stream_name = l.stream_name AND e.event_id = l.event_id "
		"WHERE l.handler_name = $1 AND l.event_id > $2 ORDER BY l.event_id LIMIT $3 FOR UPDATE OF l",
		TEXTOID, INT8OID, INT4OID);
	CatalogScope scope;
	Datum		values[3] = {CStringGetTextDatum(handler), Int64GetDatum(after), Int32GetDatum(limit)};
	List	   *locked = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&lock, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		MemoryContext old = MemoryContextSwitchTo(scope.caller);
		DeadLetter *dead_letter = palloc0(sizeof(DeadLetter));
		bool		isnull;
		Datum		event = mcs_catalog_get_datum(&row, "event", &isnull);

		dead_letter->event_id = mcs_catalog_get_int64(&row, "event_id");
		dead_letter->event = isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(event));
		dead_letter->attempts = mcs_catalog_get_int32(&row, "attempts");
		locked = lappend(locked, dead_letter);
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return locked;
}

void
mcs_dead_letters_delete(const char *handler, int64 event_id)
{
	static CatalogStatement delete = CATALOG_STATEMENT(
		"DELETE FROM @.change_handler_dead_letters WHERE handler_name = $1 AND event_id = $2", TEXTOID, INT8OID);
	Datum		values[2] = {CStringGetTextDatum(handler), Int64GetDatum(event_id)};

	(void) mcs_catalog_run(&delete, values, NULL);
}

void
mcs_dead_letters_failed_again(const char *handler, int64 event_id, const HandlerError *error)
{
	static CatalogStatement update = CATALOG_STATEMENT(
		"UPDATE @.change_handler_dead_letters SET sqlstate = $3, error = $4, detail = $5, context = $6, "
		"attempts = attempts + 1, failed_at = clock_timestamp() WHERE handler_name = $1 AND event_id = $2",
		TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, handler);
	mcs_catalog_add_int64(&values, event_id);
	mcs_catalog_add_error(&values, error->sqlstate, error->message, error->detail, error->context);
	(void) mcs_catalog_run(&update, values.values, values.nulls);
}

int64
mcs_dead_letters_discard(const char *handler)
{
	static CatalogStatement discard = CATALOG_STATEMENT(
		"DELETE FROM @.change_handler_dead_letters WHERE handler_name = $1", TEXTOID);

	return (int64) mcs_catalog_run_for(&discard, handler);
}
