/*
 * tables/events.c
 *	  Deleting events.
 *
 * The owner of the events table may hang triggers on it, and they run as the
 * stream's owner, whoever deletes: so rows are found and deleted here, below
 * SQL, and not by a statement of the tables' owner.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* How many events are deleted at once: at first, at most; and how many attempts are made in one transaction. */
#define EXPIRE_FIRST	1024
#define EXPIRE_MOST		16384
#define EXPIRE_ATTEMPTS	64

/* The clock is looked at with each of so many. */
#define EXPIRE_TIMED	64

/* A deletion while it runs. */
typedef struct EventDeletion
{
	EventsTable *table;
	EventsScan	scan;
} EventDeletion;

/* Of all rows of a stream behind an event. */
static void
begin_deletion(EventDeletion *deletion, const char *stream, int64 after)
{
	deletion->table = mcs_events_table_open(CMD_DELETE, NULL, 0);
	mcs_events_scan_begin(&deletion->scan, deletion->table, stream, after);
	/* for code of the table's owner that runs by the deletion */
	PushActiveSnapshot(deletion->scan.snapshot);
	mcs_events_table_begin_command(deletion->table, deletion->scan.snapshot);
}

/* Deletes the row that the scan found; false where it is locked and wait is not allowed. */
static bool
delete_row(EventDeletion *deletion, bool wait)
{
	return mcs_events_table_delete_row(deletion->table, &deletion->scan.slot->tts_tid, wait);
}

/* The operation_type of the row that the scan found. */
static const char *
operation_of(EventDeletion *deletion)
{
	bool		isnull;
	Datum		value = mcs_events_scan_get(&deletion->scan, ROW_OPERATION_TYPE, &isnull);

	return isnull ? "" : TextDatumGetCString(value);
}

static void
end_deletion(EventDeletion *deletion)
{
	mcs_events_table_end_command(deletion->table);
	PopActiveSnapshot();
	mcs_events_scan_end(&deletion->scan);
	mcs_events_table_close(deletion->table);
	CommandCounterIncrement();
}

/* The last event that every handler of a stream has seen, whether it runs or not. */
static int64
handled_event(const char *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT min(p.last_event_id) AS last_event_id FROM @.change_handlers h JOIN @.change_handler_progress p USING (handler_name) "
		"WHERE h.stream_name = $1", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	CatalogRow	row;
	Datum		least;
	bool		isnull;

	mcs_catalog_begin(&scope);
	(void) mcs_catalog_execute(&find, values, NULL);
	row = mcs_catalog_row(&scope, 0);
	least = mcs_catalog_get_datum(&row, "last_event_id", &isnull);
	mcs_catalog_end(&scope);
	/* by value, so it outlives the row */
	return isnull ? PG_INT64_MAX : DatumGetInt64(least);
}

/* Which events are too old. */
typedef struct ExpiryBounds
{
	const char *stream;
	TimestampTz before;			/* received before this */
	int64		last;			/* and not behind this one */
	int			limit;			/* at a time */
	TimestampTz until;			/* no more are begun with then */
	int64		after;			/* behind this one; moved */
	bool		more;			/* limit or time was what ended it */
} ExpiryBounds;

/* Whether it is enough for one attempt, after so many. */
static bool
is_enough(const ExpiryBounds *bounds, int deleted)
{
	return deleted == bounds->limit || (deleted > 0 && deleted % EXPIRE_TIMED == 0 && GetCurrentTimestamp() >= bounds->until);
}

/* Deletes the oldest events within bounds. */
static void
delete_old(ExpiryBounds *bounds)
{
	EventDeletion deletion;
	int			deleted = 0;
	int64		event_id;

	bounds->more = false;
	begin_deletion(&deletion, bounds->stream, bounds->after);
	while ((event_id = mcs_events_scan_next(&deletion.scan)) != 0)
	{
		bool		isnull;
		Datum		received_at = mcs_events_scan_get(&deletion.scan, ROW_RECEIVED_AT, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull || DatumGetTimestampTz(received_at) >= bounds->before || event_id > bounds->last)
			break;
		bounds->more = is_enough(bounds, deleted);
		if (bounds->more || !delete_row(&deletion, false))
			break;
		bounds->after = event_id;
		deleted++;
	}
	end_deletion(&deletion);
}

/* The same, with what triggers have deferred done, too. */
static void
delete_old_and_check(void *bounds)
{
	delete_old(bounds);
	mcs_events_table_check_deferred();
}

/* The same in a subtransaction; the error where something of the table's owner keeps it from being done, else NULL. */
static ErrorData *
try_delete_old(ExpiryBounds *bounds)
{
	ExpiryBounds attempt = *bounds;
	ErrorData  *error = mcs_attempt(delete_old_and_check, &attempt);

	if (error && !mcs_event_is_cause(error))
		ReThrowError(error);
	if (error == NULL)
		*bounds = attempt;
	return error;
}

/* The next event within bounds; 0 where there is none. */
static int64
next_event_id(const ExpiryBounds *bounds)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT event_id, received_at < $3 AS is_old FROM @.change_stream_events WHERE stream_name = $1 AND event_id > $2 ORDER BY event_id LIMIT 1",
		TEXTOID, INT8OID, TIMESTAMPTZOID);
	CatalogScope scope;
	Datum		values[3] = {CStringGetTextDatum(bounds->stream), Int64GetDatum(bounds->after), TimestampTzGetDatum(bounds->before)};
	int64		next = 0;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		if (mcs_catalog_get_bool(&row, "is_old"))
			next = mcs_catalog_get_int64(&row, "event_id");
	}
	mcs_catalog_end(&scope);
	return next <= bounds->last ? next : 0;
}

/* One that must stay is passed.  The error may be of no event: a trigger for statements raises it where nothing is old, too. */
static void
keep_one(ExpiryBounds *bounds, EventExpiry *expiry, const ErrorData *error)
{
	int64		kept = next_event_id(bounds);

	bounds->more = kept != 0;
	if (kept == 0)
		return;
	expiry->kept++;
	mcs_text_copy(expiry->reason, sizeof(expiry->reason), error->message ? error->message : "");
	bounds->after = kept;
}

/*
 * Deletes as many at once as goes well.  Where something refers to some, fewer and
 * fewer are tried until one stands alone, and then more again: so a few that must
 * stay cost a few attempts, and not one for each of the others.
 */
static void
expire_until(ExpiryBounds *bounds, EventExpiry *expiry)
{
	for (int i = 0; i < EXPIRE_ATTEMPTS; i++)
	{
		ErrorData  *error = try_delete_old(bounds);

		if (error && bounds->limit > 1)
		{
			bounds->limit = Max(bounds->limit / 8, 1);
			continue;
		}
		if (error)
			keep_one(bounds, expiry, error);
		else
			bounds->limit = Min(bounds->limit * 2, EXPIRE_MOST);
		if (!bounds->more || GetCurrentTimestamp() >= bounds->until)
			break;
	}
}

void
mcs_events_expire(const char *stream, const Interval *retention, TimestampTz until, EventExpiry *expiry)
{
	ExpiryBounds bounds = {.stream = stream,.until = until,.more = true};
	Stream	   *current = mcs_streams_load(stream, false, true);

	if (expiry->after == 0)
		expiry->kept = 0;
	bounds.after = Max(expiry->after, expiry->begin);
	bounds.limit = expiry->limit ? expiry->limit : EXPIRE_FIRST;
	expiry->after = 0;
	if (current == NULL)
		return;
	bounds.before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
															IntervalPGetDatum(retention)));
	bounds.last = Min(current->last_event_id - 1, handled_event(stream));
	expire_until(&bounds, expiry);
	expiry->limit = bounds.limit;
	if (bounds.more)
		expiry->after = bounds.after;
	else
		expiry->begin = expiry->kept == 0 ? bounds.after : 0;
}

void
mcs_events_delete_all(const char *stream, Oid owner)
{
	EventDeletion deletion;
	OwnerScope	scope;

	mcs_owner_begin(&scope, owner, NIL, false);
	begin_deletion(&deletion, stream, 0);
	while (mcs_events_scan_next(&deletion.scan) != 0)
	{
		CHECK_FOR_INTERRUPTS();
		(void) delete_row(&deletion, true);
	}
	end_deletion(&deletion);
	mcs_owner_end(&scope);
}

bool
mcs_events_take_gap(const char *stream, int64 event_id, EventRow *row)
{
	EventDeletion deletion;
	bool		found;

	begin_deletion(&deletion, stream, event_id - 1);
	found = mcs_events_scan_next(&deletion.scan) == event_id;
	for (int column = ROW_PROCESSING_STATUS; column <= ROW_PROCESSING_ERROR && found; column++)
	{
		AttrNumber	number = deletion.table->map.attributes[column];
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(deletion.table->relation), number - 1);
		Datum		value = mcs_events_scan_get(&deletion.scan, column, &row->nulls[column]);

		/* what the row becomes outlives the scan */
		if (!row->nulls[column])
			row->values[column] = datumCopy(value, attribute->attbyval, attribute->attlen);
	}
	if (found && strcmp(operation_of(&deletion), "gap") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("event " INT64_FORMAT " of change stream \"%s\" is no gap row any more", event_id, stream),
				 errdetail("The event that was put aside belongs in its place."),
				 errhint("SELECT discard_dead_letters(stream_name => %s);", quote_literal_cstr(stream))));
	if (found)
		(void) delete_row(&deletion, true);
	end_deletion(&deletion);
	return found;
}
