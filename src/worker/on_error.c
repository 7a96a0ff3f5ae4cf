/*
 * worker/on_error.c
 *	  Events that cannot be written: finding them in a batch that fails, what
 *	  becomes of them, and writing them later.
 *
 * The owner of the events table may hang constraints, indexes on expressions,
 * triggers and domains on it, and an event may break one of them.  It must not
 * take the others with it, and no failure that would pass by itself may be
 * taken for the event's.  So a transaction that fails is first tried again as it
 * is.  When it fails a second time with an error that can be an event's, its
 * rows go one by one, each in a subtransaction, with what is deferred checked in
 * there, too; an error of the other kind ends the transaction as ever.  What
 * becomes of the culprit is the stream's on_error:
 *
 *	stop	the rows before it are committed, the position is right before it,
 *			and the stream stops until somebody decides.  This is the only case in
 *			which a commit can fall between the events of one cluster time.
 *	skip	a gap row with the error takes its place and its number.
 *	park	the same, and the whole event goes to change_stream_parked_events.
 *
 * Where not even the gap row can be written, the stream stops.
 *
 * A parked event that is written later takes the place and the number of its
 * gap row, so the order of events holds; a DELETE and an INSERT do it, so that
 * triggers for INSERT see the event.  Readers and handlers that are past the
 * number do not come back for it: they have seen the gap row, and a NOTICE names
 * the handlers and how each is run on the event.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

#define CULPRIT_REASON	"this event could not be written"

/* Parked events that are taken at once, and numbers that a NOTICE lists. */
#define RETRY_CHUNK		100
#define LISTED_EVENTS	10

/* ---- one row in a subtransaction ---- */

/* One row to be written, and what is to be done beside it; NULL for nothing. */
typedef struct Attempt
{
	MemoryContext scratch;		/* for the work */
	const char *stream;
	EventRow   *row;
	const EventRow *park;		/* put this event aside */
	const ParkedError *error;	/* because of this */
	bool		from_parked;	/* it was put aside: take its gap row away, and it from there */
} Attempt;

static void
write_row(void *arg)
{
	const Attempt *attempt = arg;
	int64		event_id = DatumGetInt64(attempt->row->values[ROW_EVENT_ID]);
	EventsTable *table;

	MemoryContextSwitchTo(attempt->scratch);
	if (attempt->park)
		mcs_parked_insert(attempt->park, attempt->error);
	if (attempt->from_parked)
	{
		/* without one, since retention has taken it: the event comes back as the newest thing of that age */
		if (!mcs_events_take_gap(attempt->stream, event_id, attempt->row))
			attempt->row->values[ROW_RECEIVED_AT] = TimestampTzGetDatum(GetCurrentTimestamp());
		mcs_parked_delete(attempt->stream, event_id);
	}
	table = mcs_events_table_open(CMD_INSERT, NULL, 0);
	mcs_events_table_insert(table, attempt->row, 1);
	mcs_events_table_close(table);
	mcs_events_table_check_deferred();
	CommandCounterIncrement();
}

/* Writes one row in a subtransaction; the error where it fails by the row's own doing, else NULL. */
static ErrorData *
try_row(Attempt *attempt)
{
	ErrorData  *error;

	attempt->scratch = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream one row", ALLOCSET_DEFAULT_SIZES);
	error = mcs_attempt(write_row, attempt);
	MemoryContextDelete(attempt->scratch);
	/* a table that lost a column fits no event; that is not this one's doing either */
	if (error && (!mcs_event_is_cause(error) || mcs_events_map_take_misfit()))
		ReThrowError(error);
	return error;
}

static ParkedError
parked_error(const ErrorData *error)
{
	ParkedError parked;

	parked.sqlstate = pstrdup(unpack_sql_state(error->sqlerrcode));
	parked.message = error->message ? error->message : "";
	parked.detail = error->detail;
	parked.context = error->context;
	parked.constraint = error->constraint_name;
	return parked;
}

/* ---- a batch, row by row ---- */

/* The gap row that takes a row's place: the same number and time of receipt. */
static EventRow *
gap_row(StreamWriter *writer, int number, const char *token, const ParkedError *error)
{
	EventRow   *row = palloc(sizeof(EventRow));
	GapCause	cause = {error->sqlstate, error->message, error->constraint};

	*row = writer->rows[number];
	mcs_writer_gap_values(writer->stream, token, writer->positions[number], token, CULPRIT_REASON, &cause,
				   &row->values[ROW_EVENT], &row->nulls[ROW_EVENT]);
	return row;
}

/* What a person has to know who finds the stream stopped. */
static char *
stop_reason(const Stream *stream, const char *token, const char *message, const char *beside)
{
	const char *name = quote_literal_cstr(stream->name);

	return psprintf("event %s cannot be written%s: %s; mend that and SELECT resume_change_stream(%s), or leave it out: "
					"SELECT resume_change_stream(%s, skip => %s), or put such events aside: "
					"SELECT alter_change_stream(%s, on_error => 'park')",
					token, beside, message, name, name, quote_literal_cstr(token), name);
}

/* Deals with a row that can't be written; false where the stream stops before it. */
static bool
take_culprit(StreamWriter *writer, int number, const ErrorData *error, StreamCulprit *culprit)
{
	const Stream *stream = writer->stream;
	EventRow   *event = &writer->rows[number];
	char	   *token = TextDatumGetCString(event->values[ROW_RESUME_TOKEN]);
	ParkedError parked = parked_error(error);
	Attempt		attempt = {.stream = stream->name,.error = &parked};
	ErrorData  *again;

	culprit->count++;
	culprit->message = parked.message;
	if (stream->on_error == STREAM_ON_ERROR_STOP)
	{
		culprit->token = token;
		culprit->reason = stop_reason(stream, token, parked.message, "");
		return false;
	}
	attempt.row = gap_row(writer, number, token, &parked);
	if (stream->on_error == STREAM_ON_ERROR_PARK)
		attempt.park = event;
	again = try_row(&attempt);
	if (again)
	{
		culprit->token = token;
		culprit->message = again->message;
		culprit->reason = stop_reason(stream, token, again->message, ", nor can a gap row in its place");
		return false;
	}
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("an event of change stream \"%s\" could not be written and was %s", stream->name,
					attempt.park ? "put aside" : "skipped"),
			 errdetail("Event %s: %s", token, parked.message)));
	return true;
}

/* Whether a row is a document that was copied. */
static bool
is_snapshot(const EventRow *row)
{
	return strcmp(TextDatumGetCString(row->values[ROW_OPERATION_TYPE]), "snapshot") == 0;
}

bool
mcs_on_error_write(StreamWriter *writer, StreamProgress *progress, StreamCulprit *culprit)
{
	const Stream *stream = writer->stream;
	int			count = writer->count;
	int			written = 0;
	int64		gap = 0;

	memset(culprit, 0, sizeof(*culprit));
	/* without rows nothing is an event's own doing */
	if (!stream->keep_events)
		return mcs_writer_finish(writer, progress);
	progress->events = count;
	progress->last_event_id = stream->last_event_id + count;
	mcs_events_table_close(writer->table);
	/* first of all the progress row: whoever else numbers events has locked it, too */
	if (!mcs_progress_save(stream, stream->last_event_id, stream->resume_token, progress))
		return false;
	for (; written < count; written++)
	{
		Attempt		attempt = {.stream = stream->name,.row = &writer->rows[written]};
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		error = try_row(&attempt);
		if (error && !take_culprit(writer, written, error, culprit))
			break;
		if (error || stream->last_event_id + written + 1 == writer->gap_event)
			gap = written + 1;
	}
	if (gap > 0)
		mcs_progress_keep_from(stream->name, TextDatumGetCString(writer->rows[gap - 1].values[ROW_RESUME_TOKEN]), stream->last_event_id + gap);
	if (written < count)
	{
		/* without a position: the one before all events of that time */
		const char *before = writer->positions[written] ? writer->positions[written]
			: mcs_token_from_time(mcs_token_time(culprit->token));
		StreamProgress reached = {.token = before,.last_event_id = stream->last_event_id + written,
		.events = written - count};

		/* a document that is copied is no event that MongoDB's history has */
		reached.event_token = written > 0 && !is_snapshot(&writer->rows[written - 1])
			? TextDatumGetCString(writer->rows[written - 1].values[ROW_RESUME_TOKEN]) : stream->last_event_token;

		if (!mcs_progress_save(stream, progress->last_event_id, progress->token, &reached))
			elog(ERROR, "position of change stream \"%s\" moved under its lock", stream->name);
		progress->token = reached.token;
		progress->last_event_id = reached.last_event_id;
		progress->events = written;
	}
	if (written > 0)
		mcs_writer_announce(writer, progress);
	return true;
}

/* ---- parked events ---- */

/* Says of each handler that is past some of the events how it is run on them. */
static void
tell_passed(const char *stream, List *written)
{
	ListCell   *cell;
	List	   *handlers = written == NIL ? NIL : mcs_parked_passed(stream, *(int64 *) linitial(written));

	foreach(cell, handlers)
	{
		char	   *handler = lfirst(cell);
		StringInfoData list;

		initStringInfo(&list);
		for (int i = 0; i < Min(list_length(written), LISTED_EVENTS); i++)
			appendStringInfo(&list, "%s" INT64_FORMAT, i ? ", " : "", *(int64 *) list_nth(written, i));
		ereport(NOTICE,
				(errmsg("change handler \"%s\" is past events that are written now", handler),
				 errdetail("Events %s%s.", list.data, list_length(written) > LISTED_EVENTS ? ", ..." : ""),
				 errhint("SELECT * FROM replay_changes(%s, " INT64_FORMAT ", " INT64_FORMAT ") runs it on the first of them.",
						 quote_literal_cstr(handler), *(int64 *) linitial(written), *(int64 *) linitial(written))));
	}
}

/* Writes one parked event, or notes that it failed again. */
static bool
retry_row(const char *stream, EventRow *row)
{
	Attempt		attempt = {.stream = stream,.row = row,.from_parked = true};
	ErrorData  *error = try_row(&attempt);
	ParkedError parked;

	if (error == NULL)
		return true;
	parked = parked_error(error);
	mcs_parked_failed_again(stream, DatumGetInt64(row->values[ROW_EVENT_ID]), &parked);
	return false;
}

int64
mcs_on_error_retry_parked(const char *name)
{
	Stream	   *stream = mcs_stream_load_own(name, true);
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream parked events", ALLOCSET_DEFAULT_SIZES);
	MemoryContext context = CurrentMemoryContext;
	List	   *written = NIL;
	List	   *rows;
	int64		after = 0;
	OwnerScope	scope;

	/* what the caller has deferred is checked as the caller, and is no event's failure */
	mcs_events_table_check_deferred();
	mcs_handlers_lock_all(name);
	/* only in the owner's own session may something be deferred */
	mcs_owner_begin(&scope, stream->owner, NIL, true);
	do
	{
		ListCell   *cell;

		MemoryContextSwitchTo(chunk);
		MemoryContextReset(chunk);
		rows = mcs_parked_lock(name, after, RETRY_CHUNK);
		foreach(cell, rows)
		{
			EventRow   *row = lfirst(cell);

			CHECK_FOR_INTERRUPTS();
			after = DatumGetInt64(row->values[ROW_EVENT_ID]);
			if (!retry_row(name, row))
				continue;
			MemoryContextSwitchTo(context);
			written = lappend(written, memcpy(palloc(sizeof(int64)), &after, sizeof(int64)));
			MemoryContextSwitchTo(chunk);
		}
	} while (rows != NIL);
	MemoryContextSwitchTo(context);
	MemoryContextDelete(chunk);
	mcs_token_table_flush();
	mcs_owner_end(&scope);
	tell_passed(name, written);
	return list_length(written);
}
