/*
 * worker/follow.c
 *	  From a change stream's replies to transactions: takes events out of
 *	  replies, joins fragments, decides what is a row, and writes.
 *
 * The position that reading has reached (read_token) runs ahead of the stored
 * one only within a transaction: after each commit they are equal, after a
 * rollback the cursor is opened again at the stored one.  In the middle of a
 * reply the position is the token of the last whole event, at its end the
 * reply's post-batch token, unless fragments of an event that is not whole
 * yet have come: then it stays before the first of them.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "worker/worker_internal.h"

/* How often a position is saved that moves without events. */
#define SAVE_INTERVAL_MS	1000

/* What an answer may take beyond the time that MongoDB was told to hold it back for. */
#define AWAIT_MARGIN_MS		1000

static void
free_batch(StreamWorker *worker)
{
	if (worker->have_batch)
		mcs_cursor_free_batch(&worker->batch);
	worker->have_batch = false;
}

static void
forget_fragments(StreamWorker *worker)
{
	worker->fragments = NIL;
	MemoryContextReset(worker->fragment_context);
}

static void
set_read_token(StreamWorker *worker, const char *token, uint32 length)
{
	char	   *copy = MemoryContextAlloc(worker->stream_context, length + 1);

	memcpy(copy, token, length);
	copy[length] = '\0';
	if (worker->read_token && worker->read_token != worker->stream->resume_token)
		pfree(worker->read_token);
	worker->read_token = copy;
}

/* What this opening asks for beside the stream's definition. */
static void
narrow_spec(StreamWorker *worker, ChangeStreamSpec *spec)
{
	static const char *const small_fields[] = {"operationType", "clusterTime", "wallTime", "ns", "to", "documentKey",
	"collectionUUID", "txnNumber", "lsid"};
	DocumentBuilder stages;
	Document   *array;
	DocumentIterator it;

	spec->batch_size = 1;
	if (worker->too_large == TOO_LARGE_ALONE)
		return;
	mcs_document_build(&stages);
	mcs_document_begin_array(&stages, NULL);
	if (spec->stages)
	{
		mcs_document_iterate(&it, spec->stages, spec->stages_size);
		while (mcs_document_next(&it))
			mcs_document_append_value(&stages, NULL, &it.value);
	}
	mcs_document_begin_object(&stages, NULL);
	if (worker->too_large == TOO_LARGE_NO_IMAGES)
	{
		mcs_document_begin_array(&stages, "$unset");
		mcs_document_append_string(&stages, NULL, "fullDocument");
		mcs_document_append_string(&stages, NULL, "fullDocumentBeforeChange");
		mcs_document_end(&stages);
	}
	else
	{
		mcs_document_begin_object(&stages, "$project");
		for (int i = 0; i < lengthof(small_fields); i++)
			mcs_document_append_int32(&stages, small_fields[i], 1);
		mcs_document_end(&stages);
	}
	mcs_document_end(&stages);
	mcs_document_end(&stages);
	array = mcs_document_finish(&stages);
	spec->stages = DOCUMENT_VALUE(array);
	spec->stages_size = DOCUMENT_VALUE_SIZE(array);
}

/* Opens the change stream at the stored position; its reply comes later. */
void
mcs_follow_open(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	ChangeStreamSpec spec;
	MemoryContext old = MemoryContextSwitchTo(worker->batch_context);

	memset(&spec, 0, sizeof(spec));
	mcs_stream_spec(stream, worker->at_collection, &spec);
	/* of no other stream anywhere, as cursors that have it and that nobody reads are ended */
	spec.comment = psprintf("mongo_change_stream: %s (" UINT64_FORMAT "/%u)", stream->name, GetSystemIdentifier(), MyDatabaseId);
	spec.sole = true;
	spec.queue_bytes = MONGO_QUEUE_BYTES;
	spec.start = CHANGE_STREAM_NOW;
	if (stream->resume_token)
	{
		spec.start = worker->from_time ? CHANGE_STREAM_AT_TIME : CHANGE_STREAM_START_AFTER;
		spec.token = stream->resume_token;
		spec.time = mcs_token_time(stream->resume_token);
	}

	/* without images an event is too large only by a freak, such as a huge _id: it is split when it comes */
	spec.whole_events = worker->too_large == TOO_LARGE_NO &&
		spec.full_document == NULL && spec.full_document_before_change == NULL;
	/* tokens of split streams are of another version, and only those of one version can be compared */
	if (worker->from_time)
		spec.whole_events = !mcs_token_of_split_stream(spec.token);
	if (worker->too_large != TOO_LARGE_NO)
		narrow_spec(worker, &spec);
	worker->batch_size = spec.batch_size;

	MemoryContextSwitchTo(worker->session_context);
	worker->cursor = mcs_cursor_open(worker->session, &spec);
	MemoryContextSwitchTo(old);
	MemoryContextReset(worker->batch_context);
	worker->read_token = stream->resume_token;
	worker->moved = false;
	worker->drained = false;
	worker->asked_at = 0;
	worker->waiting = false;
	worker->closed = false;
	worker->failure.class = MONGO_ERROR_NONE;
	worker->held_since = 0;
	worker->held_time = 0;
	worker->newest_token = NULL;
	worker->repeat_logged = false;
}

/* Ends the cursor and forgets what was read and not written. */
void
mcs_follow_close(StreamWorker *worker)
{
	free_batch(worker);
	mcs_gather_forget(worker);
	forget_fragments(worker);
	if (worker->cursor)
		mcs_cursor_close(worker->cursor);
	worker->cursor = NULL;
	if (worker->read_token && worker->read_token != worker->stream->resume_token)
		pfree(worker->read_token);
	worker->read_token = worker->stream->resume_token;
}

/* Publishes that everything at hand is written, and that MongoDB holds its answer back until there is something. */
static void
begin_waiting(StreamWorker *worker)
{
	if (!worker->waiting)
		mcs_slot_waiting(worker->stream->max_await_ms + AWAIT_MARGIN_MS);
	worker->waiting = true;
}

/* At the end of a reply: the position is its post-batch token. */
static void
end_batch(StreamWorker *worker)
{
	MongoBatch *batch = &worker->batch;

	if (worker->events.malformed)
		mcs_document_malformed();
	/* never back: a stream opened at a time says so with a token of that time */
	if (batch->token && worker->fragments == NIL && (!worker->read_token || strcmp(batch->token, worker->read_token) > 0))
	{
		set_read_token(worker, batch->token, strlen(batch->token));
		worker->moved = !batch->opened;
	}
	worker->asked_at = batch->event_count == 0 && !batch->opened ? batch->asked_at : 0;
	worker->drained = worker->asked_at != 0 && worker->moved;
	worker->closed = batch->closed;
	free_batch(worker);
}

/*
 * The next whole event of the replies at hand; false where there is none.  The
 * event points into the reply or the fragment context, which the caller may
 * read until it asks for the next one.
 */
static bool
next_event(StreamWorker *worker, ChangeEvent *event, Size *bytes)
{
	while (mcs_document_next(&worker->events))
	{
		DocumentValue *value = &worker->events.value;
		EventFragment fragment;
		DocumentValue *parts;
		ListCell   *cell;
		int			count = 0;

		if (value->type != DOCUMENT_OBJECT)
			mcs_document_malformed();
		*bytes += value->size;
		fragment = mcs_event_fragment(value->data, value->size);
		if (fragment.of == 0 && worker->fragments == NIL)
		{
			mcs_event_parse(event, value, 1);
			return true;
		}
		/* a whole event (0) among fragments is as wrong as one out of its turn: the event that they begin would be lost */
		if (fragment.number != list_length(worker->fragments) + 1)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("fragments of a large event came out of order"),
					 errdetail("Fragment %d of %d follows %d others.", fragment.number, fragment.of,
							   list_length(worker->fragments))));
		worker->fragments = mcs_event_keep_fragment(worker->fragments, value, worker->fragment_context);
		if (fragment.number < fragment.of)
			continue;
		parts = palloc(sizeof(DocumentValue) * fragment.of);
		foreach(cell, worker->fragments)
			parts[count++] = *(DocumentValue *) lfirst(cell);
		mcs_event_parse(event, parts, count);
		return true;
	}
	return false;
}

/* Says that a server repeats events, once for a cursor. */
static void
log_repeat(StreamWorker *worker, const ChangeEvent *event)
{
	if (!worker->repeat_logged)
		ereport(LOG,
				(errmsg("MongoDB repeated an event to change stream \"%s\", which is not stored again", worker->name),
				 errdetail("Event %.*s.", (int) event->token.length, event->token.data)));
	worker->repeat_logged = true;
}

/*
 * Whether an event that a cursor begins with is before the last one stored, so
 * that the server goes back farther than it was told to.  The position alone
 * doesn't tell: it may be of a time without an event.
 */
static bool
before_last_stored(const StreamWorker *worker, const ChangeEvent *event)
{
	const char *last = worker->stream->last_event_token;
	const char *position = worker->stream->resume_token;

	return last && position && mcs_token_is_of_version(event->token.data, last) && strcmp(last, position) <= 0 &&
		mcs_token_compare(event->token.data, event->token.length, last, strlen(last)) <= 0;
}

/*
 * Whether the event is one that the stored position has passed already: after a
 * start at its time, or since the server sends it twice.  Only tokens of one
 * version have an order.
 */
static bool
already_written(StreamWorker *worker, const ChangeEvent *event)
{
	const char *position = worker->stream->resume_token;
	const char *newest = worker->newest_token ? worker->newest_token : position;
	int			compared;

	if (newest == NULL)
		return false;
	compared = mcs_token_compare(event->token.data, event->token.length, newest, strlen(newest));
	/* the event at the position is what a start at its time begins with */
	if (compared == 0 && !worker->newest_token)
		return true;
	if (compared == 0 || (compared < 0 && worker->newest_token && mcs_token_is_of_version(event->token.data, newest)) ||
		(!worker->newest_token && !worker->from_time && before_last_stored(worker, event)))
	{
		log_repeat(worker, event);
		return true;
	}
	return worker->from_time && position &&
		mcs_token_compare(event->token.data, event->token.length, position, strlen(position)) <= 0;
}

/* Remembers the newest event of this cursor. */
static void
note_event(StreamWorker *worker, const ChangeEvent *event)
{
	char	   *copy = MemoryContextAlloc(worker->stream_context, event->token.length + 1);

	memcpy(copy, event->token.data, event->token.length);
	copy[event->token.length] = '\0';
	if (worker->newest_token)
		pfree(worker->newest_token);
	worker->newest_token = copy;
}

/* Whether expressions may have to be evaluated. */
static bool
has_expressions(const Stream *stream)
{
	return stream->filter || stream->add_fields;
}

/*
 * Whether the filter is to be evaluated here: where MongoDB could not evaluate
 * all of it, or did not for this event.
 */
static bool
needs_filter(const StreamWorker *worker, const ChangeEvent *event)
{
	if (worker->stream->filter == NULL || (!worker->stream->local_filter && !mcs_pipeline_must_see(event)))
		return false;
	/* an event that is too large lacks these columns, or a part of them: nobody can say whether it passes, so it stays */
	for (int column = 0; column < EVENT_COLUMNS && event->too_large; column++)
		if (mcs_event_columns[column].has_fields && mcs_expression_filter_reads(worker->expressions, column))
			return false;
	return true;
}

/*
 * Evaluates filter and add_fields; false where the event is not kept.  An
 * error of the user's expressions counts as unknown: the event is not kept.
 * The caller has begun a subtransaction, which is renewed after an error.
 */
static bool
evaluate(StreamWorker *worker, const ChangeEvent *event, Datum *values, bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool keep = true;

	PG_TRY();
	{
		if (needs_filter(worker, event))
			keep = mcs_expression_filter(worker->expressions, values, nulls);
		if (keep && mcs_expression_has_fields(worker->expressions))
		{
			bool		isnull;
			Datum		extra = mcs_expression_extra(worker->expressions, values, nulls, &isnull);

			values[EVENT_EXTRA] = extra;
			nulls[EVENT_EXTRA] = isnull;
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		BeginInternalSubTransaction(NULL);
		MemoryContextSwitchTo(context);
		if (!mcs_event_is_cause(error))
			ReThrowError(error);
		keep = false;
		worker->filter_errors++;
		if (!worker->filter_error_logged)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("filter or add_fields of change stream \"%s\" failed on an event, which is left out", worker->name),
					 errdetail("Event %.*s: %s", (int) event->token.length, event->token.data, error->message),
					 errhint("Further failures are only counted, in change_stream_progress.filter_errors.")));
		worker->filter_error_logged = true;
		FreeErrorData(error);
	}
	PG_END_TRY();
	return keep;
}

/* Adds what an event means for this stream to the transaction: a row, a gap row, or nothing. */
static void
take_event(StreamWorker *worker, StreamWriter *writer, ChangeEvent *event)
{
	Stream	   *stream = worker->stream;
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];
	char	   *token = pnstrdup(event->token.data, event->token.length);

	if (stream->skip_token && mcs_token_same_event(token, stream->skip_token))
	{
		mcs_writer_add_gap(writer, token, token, token, "this event was skipped by resume_change_stream");
		worker->skipped = true;
		return;
	}
	switch (mcs_stream_verdict(stream, event))
	{
		case STREAM_SKIP:
			return;
		case STREAM_GAP:
			mcs_writer_add_gap(writer, token, worker->read_token, token,
							   psprintf("%.*s.%.*s was renamed onto the collection, whose documents changed without events",
										(int) event->database.length, event->database.data,
										(int) event->collection.length, event->collection.data));
			return;
		case STREAM_STORE:
			break;
	}
	event->too_large = worker->too_large >= TOO_LARGE_NO_IMAGES;
	if (worker->mask)
		mcs_event_mask(worker->mask, event);
	mcs_event_values(event, strcmp(stream->full_document, "updateLookup") == 0, values, nulls);
	if (!has_expressions(stream) || evaluate(worker, event, values, nulls))
		mcs_writer_add(writer, values, nulls, worker->received_at);
}

/*
 * Remembers the event as the one that MongoDB's history must have: one of a
 * document, in the stream's own collection, is shown whatever the stream asks for.
 */
static void
note_witness(StreamWorker *worker, const ChangeEvent *event)
{
	const char *collection = worker->stream->collection;

	if (event->document_key.type != DOCUMENT_OBJECT ||
		(collection && (event->collection.length != strlen(collection) ||
						memcmp(event->collection.data, collection, event->collection.length) != 0)))
		return;
	resetStringInfo(worker->event_token);
	appendBinaryStringInfo(worker->event_token, event->token.data, event->token.length);
}

/* Says in errors which event was at work; never its content. */
static void
event_context(void *arg)
{
	const ChangeEvent *event = arg;

	if (event->token.data)
		errcontext("processing %.*s event %.*s of %.*s.%.*s",
				   (int) event->operation_type.length, event->operation_type.data ? event->operation_type.data : "",
				   (int) event->token.length, event->token.data,
				   (int) event->database.length, event->database.data ? event->database.data : "",
				   (int) event->collection.length, event->collection.data ? event->collection.data : "");
}

/* Moves events from the replies at hand to the writer, up to the bounds of a transaction or of the time at which they are reached. */
static void
take_events(StreamWorker *worker, StreamWriter *writer)
{
	Size		bytes = 0;
	uint64		time = 0;		/* of the newest event */
	bool		written;
	bool		taken = false;
	bool		singly = worker->singly > 0;
	ChangeEvent event;
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = event_context,.arg = &event};

	memset(&event, 0, sizeof(event));
	error_context_stack = &callback;
	for (;;)
	{
		/* it points into a reply that may go now, and errors and log lines read it */
		memset(&event, 0, sizeof(event));
		if (!worker->have_batch && !mcs_gather_next(worker))
			break;
		if (singly && taken && (worker->single_time == time || !mcs_gather_goes_on(worker, time)))
			break;
		if ((mcs_writer_count(writer) >= BATCH_EVENTS || bytes >= BATCH_BYTES) && !mcs_gather_goes_on(worker, time))
			break;
		if (mcs_gather_is_held_back(worker))
			break;
		if (!next_event(worker, &event, &bytes))
		{
			end_batch(worker);
			/* what the next reply begins with was not announced */
			if (worker->closed || (singly && !taken))
				break;
			continue;
		}
		taken = true;
		worker->drained = false;
		worker->asked_at = 0;
		worker->moved = true;
		if (!event.token.data)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("an event came without a resume token"),
					 errdetail("Its _id is missing or was changed by the stream's pipeline.")));
		time = mcs_token_time(event.token.data);
		if (worker->singly > 0 && worker->single_time != time)
			worker->singly--;
		written = already_written(worker, &event);
		if (!written)
		{
			note_event(worker, &event);
			mcs_writer_at(writer, worker->read_token);
			take_event(worker, writer, &event);
			note_witness(worker, &event);
			set_read_token(worker, event.token.data, event.token.length);
		}
		if (worker->fragments != NIL)
		{
			memset(&event, 0, sizeof(event));
			forget_fragments(worker);
		}
		if (!written && worker->too_large >= TOO_LARGE_NO_IMAGES)
		{
			/* that was the large one: go on with all of the next */
			worker->too_large = TOO_LARGE_NO;
			worker->reload = true;
			break;
		}
	}
	error_context_stack = callback.previous;
}

/* Compiles filter and add_fields on first use, and when what they depend on has changed; in a transaction. */
static void
compile_expressions(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	Relation	events;

	if (!has_expressions(stream) ||
		(worker->expressions && mcs_expression_valid(worker->expressions)))
		return;
	events = table_open(mcs_extension_events(), AccessShareLock);
	if (worker->expressions)
		mcs_expression_free(worker->expressions);
	worker->expressions = NULL;
	/* what compiling leaves behind goes with the batch */
	worker->expressions = mcs_expression_compile(events, stream->filter, stream->add_fields);
	mcs_expression_keep(worker->expressions, worker->stream_context);
	table_close(events, NoLock);
}

/*
 * take_events for a stream with expressions: under its creator's settings, and
 * in a subtransaction, so that an error of theirs costs one event only.
 */
static void
take_events_evaluating(StreamWorker *worker, StreamWriter *writer)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			level = mcs_settings_begin(worker->stream->settings);

	compile_expressions(worker);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	take_events(worker, writer);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	mcs_settings_end(level);
}

/* After a commit: what is stored is what was read. */
static void
published(StreamWorker *worker, const StreamProgress *progress)
{
	Stream	   *stream = worker->stream;

	/*
	 * Of a large transaction all events have the time that was started at: more
	 * of them that are written may come.  And fragments alone are no progress,
	 * nor is the position of the reply that opens a change stream.
	 */
	if (progress->events > 0 ||
		(worker->moved && (!stream->resume_token || strcmp(stream->resume_token, worker->read_token) != 0)))
		worker->failures = 0;
	if (!stream->resume_token || strcmp(stream->resume_token, worker->read_token) != 0)
		worker->from_time = false;
	if (stream->resume_token && stream->resume_token != worker->read_token)
		pfree(stream->resume_token);
	stream->resume_token = worker->read_token;
	stream->last_event_id = progress->last_event_id;
	stream->events_processed += progress->events;
	worker->rate_events += progress->events;
	if (worker->skipped)
		stream->skip_token = NULL;
	if (worker->after_death && progress->events > 0)
	{
		worker->starts = 0;
		mcs_slot_trusted();
	}
	worker->write_failures = 0;
	worker->saved_at = GetCurrentTimestamp();
	mcs_slot_saved(mcs_token_time(stream->resume_token), worker->drained, worker->asked_at, worker->rate);
	if (stream->has_handlers && progress->events > 0)
		mcs_slot_wake_handlers(stream->last_event_id);
}

/*
 * Commits, or rolls back where another session has moved the position or
 * changed the definition meanwhile: then both are to be read again.
 */
static void
commit_progress(StreamWorker *worker, const StreamProgress *progress, bool saved)
{
	if (saved && !mcs_slot_is_changed())
	{
		mcs_worker_commit(worker);
		published(worker, progress);
	}
	else
	{
		AbortOutOfAnyTransaction();
		worker->reload = true;
	}
}

/*
 * Whether the transaction at work may commit without waiting for the disk.
 * Under a backlog that wait is a quarter of the time.  A crash may then take
 * the last transactions away as a whole, rows and position, and the same events
 * are read again: with the same numbers and content, unless what they are
 * depends on when they are read.  What follows from them in this database is
 * never durable before they are, since WAL is flushed in order.
 */
static bool
may_commit_lazily(const StreamWorker *worker, const StreamWriter *writer)
{
	const Stream *stream = worker->stream;

	return mcs_writer_count(writer) >= BATCH_EVENTS &&
		!stream->local_filter && !stream->add_fields && strcmp(stream->full_document, "updateLookup") != 0;
}

/*
 * Writes a batch that failed twice row by row.  As long as culprits are found
 * the next one goes the same way.
 */
static void
write_carefully(StreamWorker *worker, StreamWriter *writer, StreamProgress *progress)
{
	StreamCulprit culprit;
	bool		saved = mcs_culprit_write(writer, progress, &culprit);

	if (saved && culprit.reason)
	{
		/* it stops right before the event, and has not caught up */
		set_read_token(worker, progress->token, strlen(progress->token));
		worker->drained = false;
		worker->asked_at = 0;
		culprit.reason = MemoryContextStrdup(worker->stream_context, culprit.reason);
		culprit.message = MemoryContextStrdup(worker->stream_context, culprit.message);
		culprit.token = MemoryContextStrdup(worker->stream_context, culprit.token);
	}
	commit_progress(worker, progress, saved);
	worker->culprit = culprit;
	if (worker->reload)
		worker->culprit.reason = NULL;
	worker->careful = culprit.count > 0;
}

/*
 * Notes the event that comes next, since processes have died that wrote it or
 * one near it.  Only its token is read before.
 */
static void
announce_next(StreamWorker *worker)
{
	DocumentIterator it = worker->events;
	DocumentValue token;
	TokenParts	parts;
	StringInfoData text;
	MemoryContext old;

	if (!mcs_document_next(&it) || it.value.type != DOCUMENT_OBJECT ||
		!mcs_document_find(it.value.data, it.value.size, "_id", &token) || !mcs_token_parts(&token, &parts))
		return;
	/* announcing ends a transaction, and with it what is in the batch's memory */
	old = MemoryContextSwitchTo(worker->stream_context);
	initStringInfo(&text);
	mcs_token_append(&text, &parts);
	MemoryContextSwitchTo(old);
	mcs_worker_announce(worker, text.data);
	pfree(text.data);
}

/* One transaction: everything at hand up to its bounds, with the position. */
static void
write_transaction(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	StreamWriter *writer;
	StreamProgress progress;

	if (worker->singly > 0)
		announce_next(worker);
	mcs_worker_begin(worker);
	writer = mcs_writer_begin(stream);
	if (worker->careful)
		mcs_writer_be_careful(writer);
	worker->filter_errors = 0;
	worker->skipped = false;
	resetStringInfo(worker->event_token);
	if (has_expressions(stream))
		take_events_evaluating(worker, writer);
	else
		take_events(worker, writer);
	if (worker->skipped)
		mcs_streams_forget_skip(stream->name);
	if (may_commit_lazily(worker, writer))
		(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);

	memset(&progress, 0, sizeof(progress));
	progress.token = worker->read_token;
	progress.last_event_at = mcs_writer_count(writer) > 0 ? worker->received_at : 0;
	progress.filter_errors = worker->filter_errors;
	progress.event_token = worker->event_token->len > 0 ? worker->event_token->data : NULL;
	worker->writing = true;
	if (worker->careful)
		write_carefully(worker, writer, &progress);
	else
		commit_progress(worker, &progress, mcs_writer_finish(writer, &progress));
	worker->writing = false;
}

/* An empty reply: the position moved without events, and is saved now and then. */
static void
take_empty_batch(StreamWorker *worker)
{
	Stream	   *stream = worker->stream;
	StreamProgress progress;
	TimestampTz now;

	end_batch(worker);
	if (!worker->read_token)
		return;
	if (stream->resume_token && strcmp(worker->read_token, stream->resume_token) == 0)
	{
		mcs_slot_saved(mcs_token_time(stream->resume_token), worker->drained, worker->asked_at, worker->rate);
		return;
	}
	now = GetCurrentTimestamp();
	if (stream->resume_token && !worker->closed && !mcs_slot_sync_wanted() &&
		now >= worker->saved_at && !TimestampDifferenceExceeds(worker->saved_at, now, SAVE_INTERVAL_MS))
		return;
	memset(&progress, 0, sizeof(progress));
	progress.token = worker->read_token;
	progress.last_event_id = stream->last_event_id;
	mcs_worker_begin(worker);
	commit_progress(worker, &progress, mcs_progress_save(stream, stream->last_event_id, stream->resume_token, &progress));
}

bool
mcs_follow_step(StreamWorker *worker, long timeout_ms)
{
	if (!worker->have_batch && !mcs_gather_first(worker, 0))
	{
		if (worker->failure.class != MONGO_ERROR_NONE)
			return false;
		begin_waiting(worker);
		if (!mcs_gather_first(worker, timeout_ms))
			return worker->failure.class == MONGO_ERROR_NONE;
	}
	if (worker->batch.opened)
		mcs_worker_opened(worker);
	if (worker->batch.event_count > 0 && !mcs_gather(worker))
		return worker->failure.class == MONGO_ERROR_NONE;
	if (worker->batch.event_count == 0)
		take_empty_batch(worker);
	else
		write_transaction(worker);
	if (worker->too_large == TOO_LARGE_ALONE && worker->drained)
	{
		/* the large one did not come again */
		worker->too_large = TOO_LARGE_NO;
		worker->reload = true;
	}
	return worker->failure.class == MONGO_ERROR_NONE && !worker->closed && !worker->reload && !worker->culprit.reason;
}
