/*
 * stream/writer.c
 *	  One batch of events: rows, position, counters and notification, all in
 *	  the caller's transaction.  No loop over batches here, and no network.
 *
 * Exactly once
 * ------------
 * The stored position (resume_token with last_event_id) says which events the
 * table holds.  A batch is read from MongoDB after a position P and ends at a
 * position Q; its transaction inserts the rows with the event_ids that follow
 * P's and replaces P by Q, on the condition that P is still what is stored.  So
 * either the rows and Q are both there, or neither; after any crash the worker
 * goes on from what is stored, and MongoDB sends the same events in the same
 * order again, which get the same event_ids.  A second worker, or a function
 * that moved the position or has changed, paused or dropped the stream, makes
 * the condition fail, and the batch is rolled back: see tables/progress.c.
 *
 * How rows get into the table, and whose code runs by that, is in
 * event/events_table.c.  A notification is data, which nobody runs.
 *
 * A stream without keep_events numbers its events and notifies of them as any
 * other; only rows are not made of them, and the events table is not opened.
 */
#include "mongo_change_stream.h"

#include "commands/async.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

/* NOTIFY takes payloads under 8,000 bytes. */
#define PAYLOAD_MAX		7999

/* What a payload has beside the stream's name and the heads: field names, three numbers, punctuation. */
#define PAYLOAD_FRAME_MAX	150

/* Opens the events table, whose shape and indexes may be others than at the last batch. */
StreamWriter *
mcs_writer_begin(const Stream *stream)
{
	StreamWriter *writer = palloc0(sizeof(StreamWriter));
	StringInfoData name;

	initStringInfo(&name);
	writer->stream = stream;
	if (stream->keep_events)
		writer->table = mcs_events_table_open(CMD_INSERT, NULL, 0);
	writer->stream_name = CStringGetTextDatum(stream->name);
	writer->status = CStringGetTextDatum(stream->has_handlers ? "pending" : "processed");
	if (stream->notify == STREAM_NOTIFY_HEADS)
	{
		escape_json(&name, stream->name);
		/* the name's length is known now, after escapes */
		writer->heads_max = PAYLOAD_MAX - PAYLOAD_FRAME_MAX - name.len;
		initStringInfo(&writer->heads);
	}
	return writer;
}

void
mcs_writer_be_careful(StreamWriter *writer)
{
	/* without rows there is none that can't be written */
	if (!writer->stream->keep_events)
		return;
	writer->room = 64;
	writer->rows = palloc(sizeof(EventRow) * writer->room);
	writer->positions = palloc(sizeof(char *) * writer->room);
}

void
mcs_writer_at(StreamWriter *writer, const char *position)
{
	if (writer->positions)
		writer->position = position ? pstrdup(position) : NULL;
}

int
mcs_writer_count(const StreamWriter *writer)
{
	return writer->count;
}

/* A fresh row, all null. */
static EventRow *
next_row(StreamWriter *writer)
{
	EventRow   *row;

	if (writer->count == writer->room)
	{
		writer->room = writer->room ? writer->room * 2 : 64;
		/* a transaction of MongoDB's is written whole, and may have any number of events */
		writer->rows = writer->rows ? repalloc_huge(writer->rows, sizeof(EventRow) * writer->room)
			: palloc(sizeof(EventRow) * writer->room);
		if (writer->positions)
			writer->positions = repalloc_huge(writer->positions, sizeof(char *) * writer->room);
	}
	if (writer->positions)
		writer->positions[writer->count] = writer->position;
	row = &writer->rows[writer->count++];
	memset(row->nulls, true, sizeof(row->nulls));
	return row;
}

static inline void
set_column(EventRow *row, RowColumn column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

/* Adds a text column to a head, if it has a value. */
static void
add_head_text(StringInfo heads, EventColumn column, const Datum *values, const bool *nulls)
{
	if (nulls[column])
		return;
	appendStringInfo(heads, ", \"%s\": ", mcs_event_columns[column].name);
	escape_json(heads, TextDatumGetCString(values[column]));
}

/* Adds an event to the heads of the notification, as long as they fit. */
static void
add_head(StreamWriter *writer, int64 event_id, const Datum *values, const bool *nulls)
{
	StringInfo	heads = &writer->heads;
	int			before = heads->len;

	if (writer->heads_full)
		return;
	appendStringInfo(heads, "%s{\"event_id\": " INT64_FORMAT, before ? ", " : "", event_id);
	add_head_text(heads, EVENT_OPERATION_TYPE, values, nulls);
	add_head_text(heads, EVENT_COLLECTION_NAME, values, nulls);
	/* what is larger than a payload as it is stored is not made a text of */
	if (!nulls[EVENT_DOCUMENT_KEY] && VARSIZE_ANY(DatumGetPointer(values[EVENT_DOCUMENT_KEY])) < PAYLOAD_MAX)
		appendStringInfo(heads, ", \"%s\": %s", mcs_event_columns[EVENT_DOCUMENT_KEY].name,
						 mcs_document_out_text(DatumGetDocumentP(values[EVENT_DOCUMENT_KEY])));
	appendStringInfoChar(heads, '}');
	/* no head behind one that did not fit: who reads them takes them for the first so many */
	if (heads->len > writer->heads_max)
	{
		heads->len = before;
		heads->data[before] = '\0';
		writer->heads_full = true;
	}
}

bool
mcs_writer_takes_values(const StreamWriter *writer)
{
	return writer->stream->keep_events || writer->heads.data;
}

void
mcs_writer_add(StreamWriter *writer, const Datum *values, const bool *nulls, TimestampTz received_at)
{
	int64		event_id = writer->stream->last_event_id + writer->count + 1;
	EventRow   *row;

	if (writer->heads.data)
		add_head(writer, event_id, values, nulls);
	if (!writer->stream->keep_events)
	{
		writer->count++;
		return;
	}
	row = next_row(writer);
	set_column(row, ROW_STREAM_NAME, writer->stream_name);
	set_column(row, ROW_EVENT_ID, Int64GetDatum(event_id));
	for (int i = 0; i < EVENT_COLUMNS; i++)
		if (!nulls[i])
			set_column(row, ROW_EVENT + i, values[i]);
	/* the events of a reply came together: one look at the clock for all of them */
	if (received_at != writer->received_at)
	{
		int64		microseconds = Max(GetCurrentTimestamp() - received_at, 0);

		writer->received_at = received_at;
		writer->processing_time_ms = NumericGetDatum(int64_div_fast_to_numeric(microseconds, 3));
	}
	set_column(row, ROW_RECEIVED_AT, TimestampTzGetDatum(received_at));
	set_column(row, ROW_PROCESSING_STATUS, writer->status);
	/* with handlers it is their time, which they add up */
	if (!writer->stream->has_handlers)
		set_column(row, ROW_PROCESSING_TIME_MS, writer->processing_time_ms);
	set_column(row, ROW_PROCESSING_ATTEMPTS, Int32GetDatum(0));
}

static void
append_string_or_null(DocumentBuilder *builder, const char *key, const char *value)
{
	if (value)
		mcs_document_append_string(builder, key, value);
	else
		mcs_document_append_null(builder, key);
}

/* A gap row is an event of ours: operation_type "gap", and in extra which positions lie at its ends, and why. */
void
mcs_writer_gap_values(const Stream *stream, const char *token, const char *from, const char *to, const char *reason,
			   const GapCause *cause, Datum *values, bool *nulls)
{
	DocumentBuilder extra;

	memset(nulls, true, sizeof(bool) * EVENT_COLUMNS);
	values[EVENT_OPERATION_TYPE] = CStringGetTextDatum("gap");
	nulls[EVENT_OPERATION_TYPE] = false;
	values[EVENT_DATABASE_NAME] = CStringGetTextDatum(stream->database);
	nulls[EVENT_DATABASE_NAME] = strcmp(stream->database, "*") == 0;
	nulls[EVENT_COLLECTION_NAME] = stream->collection == NULL;
	if (stream->collection)
		values[EVENT_COLLECTION_NAME] = CStringGetTextDatum(stream->collection);
	nulls[EVENT_RESUME_TOKEN] = token == NULL;
	nulls[EVENT_CLUSTER_TIME] = token == NULL;
	nulls[EVENT_CHANGE_TIMESTAMP] = token == NULL;
	if (token)
	{
		uint64		time = mcs_token_time(token);

		values[EVENT_RESUME_TOKEN] = CStringGetTextDatum(token);
		values[EVENT_CLUSTER_TIME] = TimestampTzGetDatum(mcs_event_timestamp(time));
		values[EVENT_CHANGE_TIMESTAMP] = TimestampTzGetDatum(mcs_event_second(time));
	}
	values[EVENT_FULL_DOCUMENT_SOURCE] = CStringGetTextDatum("none");
	nulls[EVENT_FULL_DOCUMENT_SOURCE] = false;

	mcs_document_build(&extra);
	mcs_document_begin_object(&extra, NULL);
	append_string_or_null(&extra, "from", from);
	append_string_or_null(&extra, "to", to);
	mcs_document_append_string(&extra, "reason", reason);
	if (cause)
	{
		mcs_document_append_string(&extra, "sqlstate", cause->sqlstate);
		mcs_document_append_string(&extra, "error", cause->error);
		if (cause->constraint)
			mcs_document_append_string(&extra, "constraint", cause->constraint);
	}
	mcs_document_end(&extra);
	values[EVENT_EXTRA] = DocumentPGetDatum(mcs_document_finish(&extra));
	nulls[EVENT_EXTRA] = false;
}

void
mcs_writer_add_gap(StreamWriter *writer, const char *token, const char *from, const char *to, const char *reason, bool missing)
{
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];

	if (missing)
	{
		writer->gap_event = writer->stream->last_event_id + writer->count + 1;
		writer->gap_token = token;
	}
	mcs_writer_gap_values(writer->stream, token, from, to, reason, NULL, values, nulls);
	mcs_writer_add(writer, values, nulls, GetCurrentTimestamp());
}

/* One notification for the batch, on the common channel and on the stream's own. */
static void
notify(StreamWriter *writer, int64 first, int64 last)
{
	StringInfoData payload;

	if (writer->stream->notify == STREAM_NOTIFY_OFF)
		return;
	/* who listens reads by event_id, and finds what was not told of behind what is */
	if (mcs_alert_queue_is_full())
	{
		mcs_slot_suppressed();
		return;
	}
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"stream\": ");
	escape_json(&payload, writer->stream->name);
	appendStringInfo(&payload, ", \"count\": " INT64_FORMAT ", \"first_event_id\": " INT64_FORMAT
					 ", \"last_event_id\": " INT64_FORMAT, last - first + 1, first, last);
	if (writer->heads.data)
		appendStringInfo(&payload, ", \"events\": [%s]", writer->heads.data);
	appendStringInfoChar(&payload, '}');
	/* both: who listens to all streams need not know their names */
	Async_Notify(MCS_CHANNEL, payload.data);
	Async_Notify(writer->stream->name, payload.data);
}

void
mcs_writer_announce(StreamWriter *writer, const StreamProgress *progress)
{
	/* the user's table first: what fails there is not to be told of */
	mcs_token_table_flush();
	notify(writer, writer->stream->last_event_id + 1, progress->last_event_id);
}

bool
mcs_writer_finish(StreamWriter *writer, StreamProgress *progress)
{
	const Stream *stream = writer->stream;
	int			count = writer->count;
	bool		saved;

	progress->events = count;
	progress->last_event_id = stream->last_event_id + count;

	/* first of all the progress row: whoever else numbers events has locked it, too */
	saved = mcs_progress_save(stream, stream->last_event_id, stream->resume_token, progress);
	if (saved && writer->gap_event > 0)
		mcs_progress_keep_from(stream->name, writer->gap_token, writer->gap_event);
	if (saved && count > 0 && writer->table)
		mcs_events_table_insert(writer->table, writer->rows, count);
	if (writer->table)
		mcs_events_table_close(writer->table);
	if (saved && count > 0)
		mcs_writer_announce(writer, progress);
	return saved;
}

/*
 * In a function's transaction, with the caller's rights checked: the row is
 * written as the stream's owner, as if its worker had done it.
 */
void
mcs_writer_leave_gap(const char *name, const char *from, const char *to, const char *reason)
{
	Stream	   *stream = mcs_streams_load(name, true, false);
	StreamProgress progress = {.token = stream->resume_token,.last_event_at = GetCurrentTimestamp()};
	StreamWriter *writer;
	OwnerScope	scope;
	bool		saved;

	/* triggers and indexes of the table run by this */
	mcs_owner_begin(&scope, stream->owner, NIL, false);
	writer = mcs_writer_begin(stream);
	mcs_writer_add_gap(writer, to ? to : stream->resume_token, from, to, reason, true);
	saved = mcs_writer_finish(writer, &progress);
	mcs_owner_end(&scope);
	/* the stream's rows are locked by the caller */
	if (!saved)
		elog(ERROR, "position of change stream \"%s\" moved under its lock", name);
}
