/*
 * tables/events.c
 *	  Deleting events.
 *
 * The owner of the events table may hang triggers on it, and they run as the
 * stream's owner, whoever deletes: so rows are found and deleted here, below
 * SQL, and not by a statement of the tables' owner.
 */
#include "mongo_change_stream.h"

#include "access/tableam.h"
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

/* How many events are deleted in one transaction, and how many singly where something refers to some. */
#define EXPIRE_CHUNK	1000
#define EXPIRE_SINGLY	200

/* A deletion while it runs. */
typedef struct EventDeletion
{
	EventsTable *table;
	EventsScan	scan;
	TupleTableSlot *locked;		/* the newest version of the row that the scan found */
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
	deletion->locked = table_slot_create(deletion->table->relation, NULL);
}

/*
 * Deletes the row that the scan found, in its newest version: somebody may be
 * writing how its processing went.  False where the lock is not to be had
 * without waiting and wait is not allowed.
 */
static bool
delete_row(EventDeletion *deletion, bool wait)
{
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(deletion->table->relation, &deletion->scan.slot->tts_tid, deletion->scan.snapshot, deletion->locked,
							  GetCurrentCommandId(false), LockTupleExclusive, wait ? LockWaitBlock : LockWaitSkip,
							  TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_WouldBlock)
		return false;
	if (result != TM_Ok)
		return true;			/* somebody else has deleted it */
	mcs_events_table_delete_row(deletion->table, deletion->locked);
	return true;
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
	ExecDropSingleTupleTableSlot(deletion->locked);
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
	int64		after;			/* behind this one; moved */
	bool		more;			/* the limit was what ended it */
	int64		deleted;
} ExpiryBounds;

/* Deletes the oldest events within bounds. */
static void
delete_old(ExpiryBounds *bounds)
{
	EventDeletion deletion;
	int			looked = 0;
	int64		event_id;

	bounds->more = false;
	bounds->deleted = 0;
	begin_deletion(&deletion, bounds->stream, bounds->after);
	while ((event_id = mcs_events_scan_next(&deletion.scan)) != 0)
	{
		bool		isnull;
		Datum		received_at = mcs_events_scan_get(&deletion.scan, ROW_RECEIVED_AT, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (isnull || DatumGetTimestampTz(received_at) >= bounds->before || event_id > bounds->last)
			break;
		bounds->more = looked++ == bounds->limit;
		if (bounds->more || !delete_row(&deletion, false))
			break;
		bounds->after = event_id;
		bounds->deleted++;
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

/* The first event behind another; 0 where there is none. */
static int64
next_event_id(const char *stream, int64 after)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT min(event_id) AS event_id FROM @.change_stream_events WHERE stream_name = $1 AND event_id > $2", TEXTOID, INT8OID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(stream), Int64GetDatum(after)};
	CatalogRow	row;
	int64		next;

	mcs_catalog_begin(&scope);
	(void) mcs_catalog_execute(&find, values, NULL);
	row = mcs_catalog_row(&scope, 0);
	next = mcs_catalog_get_int64(&row, "event_id");
	mcs_catalog_end(&scope);
	return next;
}

void
mcs_events_expire(const char *stream, const Interval *retention, EventExpiry *expiry)
{
	ExpiryBounds bounds = {.stream = stream,.after = expiry->after,.limit = EXPIRE_CHUNK};
	Stream	   *current = mcs_streams_load(stream, false, true);

	expiry->after = 0;
	if (current == NULL)
		return;
	bounds.before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
															IntervalPGetDatum(retention)));
	bounds.last = Min(current->last_event_id - 1, handled_event(stream));
	if (try_delete_old(&bounds) != NULL)
	{
		/* something refers to one of them: one by one, and past those that must stay */
		bounds.limit = 1;
		for (int i = 0; i < EXPIRE_SINGLY; i++)
		{
			ErrorData  *error = try_delete_old(&bounds);

			if (error)
			{
				expiry->kept++;
				mcs_text_copy(expiry->reason, sizeof(expiry->reason), error->message ? error->message : "");
				bounds.after = next_event_id(stream, bounds.after);
				bounds.more = true;
			}
			if (!bounds.more)
				break;
		}
	}
	if (bounds.more)
		expiry->after = bounds.after;
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
