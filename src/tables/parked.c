/*
 * tables/parked.c
 *	  Events that could not be written and were put aside: on_error 'park'.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A row of the events table up to when it was received: what is put aside of it. */
#define PARKED_COUNT	(ROW_RECEIVED_AT + 1)
#define PARKED_COLUMNS	"stream_name, event_id" EVENT_COLUMN_NAMES ", received_at"

#define EVENT_COLUMN_TYPE(symbol, name, type, ...) type,
#define PARKED_TYPES	TEXTOID, INT8OID, EVENT_COLUMN_LIST(EVENT_COLUMN_LEFT_OUT, EVENT_COLUMN_TYPE) TIMESTAMPTZOID

void
mcs_parked_insert(const EventRow *row, const ParkedError *error)
{
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_parked_events (" PARKED_COLUMNS ", sqlstate, error, detail, context) VALUES ($*)",
		PARKED_TYPES, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	CatalogValues values = {0};

	for (int column = 0; column < PARKED_COUNT; column++)
		mcs_catalog_add_value(&values, row->values[column], row->nulls[column]);
	mcs_catalog_add_error(&values, error->sqlstate, error->message, error->detail, error->context);
	(void) mcs_catalog_run(&insert, values.values, values.nulls);
}

List *
mcs_parked_lock(const char *stream, int64 after, int limit)
{
	/* in the order of their numbers: of two who retry at once the second waits, and does not get what the first has taken */
	static CatalogStatement lock = CATALOG_STATEMENT(
		"SELECT " PARKED_COLUMNS " FROM @.change_stream_parked_events "
		"WHERE stream_name = $1 AND event_id > $2 ORDER BY event_id LIMIT $3 FOR UPDATE",
		TEXTOID, INT8OID, INT4OID);
	CatalogScope scope;
	Datum		values[3] = {CStringGetTextDatum(stream), Int64GetDatum(after), Int32GetDatum(limit)};
	List	   *rows = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&lock, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scope.caller);
		EventRow   *row = palloc(sizeof(EventRow));
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		/* processing_* are of the gap row that stands in the event's place (mcs_events_take_gap) */
		memset(row->nulls, true, sizeof(row->nulls));
		/* by their places: PARKED_COLUMNS are the first columns of an EventRow, in its order */
		for (int column = 0; column < PARKED_COUNT; column++)
		{
			Form_pg_attribute attribute = TupleDescAttr(desc, column);
			Datum		value = SPI_getbinval(tuple, desc, column + 1, &isnull);

			/*
			 * SPI's memory goes with the scope, and what was stored out of line with
			 * the row; all other types here are passed by value.
			 */
			row->nulls[column] = isnull;
			if (!isnull && attribute->attlen == -1)
				row->values[column] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
			else if (!isnull)
				row->values[column] = value;
		}
		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	mcs_catalog_end(&scope);
	return rows;
}

void
mcs_parked_delete(const char *stream, int64 event_id)
{
	static CatalogStatement delete = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_parked_events WHERE stream_name = $1 AND event_id = $2", TEXTOID, INT8OID);
	Datum		values[2] = {CStringGetTextDatum(stream), Int64GetDatum(event_id)};

	(void) mcs_catalog_run(&delete, values, NULL);
}

void
mcs_parked_failed_again(const char *stream, int64 event_id, const ParkedError *error)
{
	static CatalogStatement update = CATALOG_STATEMENT(
		"UPDATE @.change_stream_parked_events SET sqlstate = $3, error = $4, detail = $5, context = $6, "
		"attempts = attempts + 1, failed_at = clock_timestamp() WHERE stream_name = $1 AND event_id = $2",
		TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_value(&values, Int64GetDatum(event_id), false);
	mcs_catalog_add_error(&values, error->sqlstate, error->message, error->detail, error->context);
	(void) mcs_catalog_run(&update, values.values, values.nulls);
}

int64
mcs_parked_discard(const char *stream)
{
	static CatalogStatement discard = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_parked_events WHERE stream_name = $1", TEXTOID);

	return (int64) mcs_catalog_run_for(&discard, stream);
}

/* The handlers of a stream that are past an event already, by name. */
List *
mcs_parked_passed(const char *stream, int64 event_id)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT h.handler_name FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1 AND p.last_event_id >= $2 GROUP BY 1 ORDER BY 1", TEXTOID, INT8OID);
	Datum		values[2] = {CStringGetTextDatum(stream), Int64GetDatum(event_id)};

	return mcs_catalog_names(&find, values, "handler_name");
}
