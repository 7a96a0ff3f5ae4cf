/*
 * worker/take.c
 *	  Events out of replies: joins fragments, leaves out what was written
 *	  before, evaluates filter and add_fields, and decides what is a row.
 *
 * An event is looked at where it lies, in the reply; what becomes of it is
 * copied by the writer.  So the reply may go as soon as the next one is asked for.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "access/xact.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "worker/worker_internal.h"

/* ---- the next event ---- */

/*
 * The next whole event of the replies at hand; false where there is none.  The
 * event points into the reply or the fragment context, which the caller may
 * read until it asks for the next one.
 */
static bool
next_event(StreamWorker *worker, ChangeEvent *event, Size *bytes)
{
	while (mcs_document_next(&worker->read.events))
	{
		DocumentValue *value = &worker->read.events.value;
		EventFragment fragment;
		DocumentValue *parts;
		ListCell   *cell;
		int			count = 0;

		if (value->type != DOCUMENT_OBJECT)
			mcs_document_malformed();
		*bytes += value->size;
		/* mostly it is whole, and taken apart by the same look */
		if (worker->read.fragments == NIL)
		{
			mcs_event_parse(event, value, 1);
			if (event->fragment.of == 0)
				return true;
			/* errors that come before the others do are not about it */
			memset(event, 0, sizeof(*event));
		}
		fragment = mcs_event_fragment(value->data, value->size);
		/* a whole event (0) among fragments is as wrong as one out of its turn: the event that they begin would be lost */
		if (fragment.number != list_length(worker->read.fragments) + 1)
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("fragments of a large event came out of order"),
					 errdetail("Fragment %d of %d follows %d others.", fragment.number, fragment.of,
							   list_length(worker->read.fragments))));
		/* copied, as the reply may go before the next fragment comes */
		worker->read.fragments = mcs_event_keep_fragment(worker->read.fragments, value, worker->read.fragment_context);
		if (fragment.number < fragment.of)
			continue;
		parts = palloc(sizeof(DocumentValue) * fragment.of);
		foreach(cell, worker->read.fragments)
			parts[count++] = *(DocumentValue *) lfirst(cell);
		mcs_event_parse(event, parts, count);
		return true;
	}
	return false;
}

void
mcs_take_end_reply(StreamWorker *worker)
{
	MongoBatch *batch = &worker->read.batch;

	/* the iterator ends where it can't go on, too: events behind that would be lost */
	if (worker->read.events.malformed)
		mcs_document_malformed();
	/* never back: a stream opened at a time says so with a token of that time */
	if (batch->token && worker->read.fragments == NIL &&
		(worker->read.token.len == 0 || strcmp(batch->token, worker->read.token.data) > 0))
	{
		set_token(&worker->read.token, batch->token, strlen(batch->token));
		worker->read.moved = !batch->opened;
	}
	/* an empty reply says that MongoDB had no more when it was asked; the one that opens a stream waits for nothing */
	worker->read.asked_at = batch->event_count == 0 && !batch->opened ? batch->asked_at : 0;
	worker->read.drained = worker->read.asked_at != 0 && worker->read.moved;
	worker->read.closed = batch->closed;
	mcs_gather_end_batch(worker);
}

/* Says that a server repeats events, once for a cursor. */
static void
log_repeat(StreamWorker *worker, const ChangeEvent *event)
{
	if (!worker->read.repeat_logged)
		ereport(LOG,
				(errmsg("MongoDB repeated an event to change stream \"%s\", which is not stored again", worker->process.name),
				 errdetail("Event %.*s.", (int) event->token.length, event->token.data)));
	worker->read.repeat_logged = true;
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
	const char *of_cursor = get_token(&worker->read.newest);
	const char *newest = of_cursor ? of_cursor : position;
	int			compared;

	if (newest == NULL)
		return false;
	compared = mcs_token_compare(event->token.data, event->token.length, newest, strlen(newest));
	/* the event at the position is what a start at its time begins with */
	if (compared == 0 && !of_cursor)
		return true;
	if (compared == 0 || (compared < 0 && of_cursor && mcs_token_is_of_version(event->token.data, newest)) ||
		(!of_cursor && !worker->mongo.from_time && before_last_stored(worker, event)))
	{
		log_repeat(worker, event);
		return true;
	}
	/* tokens of a time alone have another version than a group's events may have */
	if (worker->inbox)
		position = worker->inbox->passed;
	if (worker->inbox && worker->mongo.from_time && mcs_token_of_event(position) && !mcs_token_is_of_version(event->token.data, position))
		elog(ERROR, "event and position have tokens of different versions");
	return worker->mongo.from_time && position &&
		mcs_token_compare(event->token.data, event->token.length, position, strlen(position)) <= 0;
}

/* ---- filter and add_fields ---- */

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
	if (worker->stream->filter == NULL)
		return false;
	/* what MongoDB has evaluated is not evaluated again; of a document that was copied nothing was */
	if (!worker->stream->local_filter && !worker->inbox && !mcs_pipeline_must_see(event) && !mcs_event_text_is(&event->operation_type, "snapshot"))
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
		/* nothing of ours is in it: rows are written after the last event was looked at */
		ErrorData  *error = mcs_attempt_renew(context);

		/* a full disk, a cancel: that says nothing about the event, which is not to be left out for it */
		if (!mcs_event_is_cause(error))
			ReThrowError(error);
		keep = false;
		worker->write.filter_errors++;
		if (!worker->write.filter_error_logged)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("filter or add_fields of change stream \"%s\" failed on an event, which is left out", worker->process.name),
					 errdetail("Event %.*s: %s", (int) event->token.length, event->token.data, error->message),
					 errhint("Further failures are only counted, in change_stream_progress.filter_errors.")));
		worker->write.filter_error_logged = true;
		FreeErrorData(error);
	}
	PG_END_TRY();
	return keep;
}

/* ---- what an event means ---- */

/* The event's token as a string, for who keeps it. */
static char *
token_of(const ChangeEvent *event)
{
	return pnstrdup(event->token.data, event->token.length);
}

/* Whether it is the one that somebody has asked to leave out. */
static bool
is_skipped(const StreamWorker *worker, const ChangeEvent *event)
{
	return worker->stream->skip_token && mcs_token_same_event(token_of(event), worker->stream->skip_token);
}

/* Makes a row of an event, unless the filter says otherwise. */
static void
store_event(StreamWorker *worker, StreamWriter *writer, ChangeEvent *event)
{
	Stream	   *stream = worker->stream;
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];

	/* a stream without keep_events counts it */
	if (!has_expressions(stream) && !mcs_writer_takes_values(writer))
	{
		mcs_writer_add(writer, NULL, NULL, worker->read.received_at);
		return;
	}
	/* before filter and add_fields, which are not to see what is not stored */
	if (worker->mask)
		mcs_event_mask(worker->mask, event);
	mcs_event_values(event, strcmp(stream->full_document, "updateLookup") == 0, &writer->repeats, values, nulls);
	if (!has_expressions(stream) || evaluate(worker, event, values, nulls))
		mcs_writer_add(writer, values, nulls, worker->read.received_at);
}

/* Adds what an event means for this stream to the transaction: a row, a gap row, or nothing. */
static void
take_event(StreamWorker *worker, StreamWriter *writer, ChangeEvent *event)
{
	Stream	   *stream = worker->stream;

	if (is_skipped(worker, event))
	{
		char	   *token = token_of(event);

		mcs_writer_add_gap(writer, token, token, token, "this event was skipped by resume_change_stream", true);
		worker->write.skipped = true;
		return;
	}
	switch (mcs_stream_verdict(stream, event))
	{
		case STREAM_SKIP:
			return;
		case STREAM_GAP:
			mcs_writer_add_gap(writer, token_of(event), get_token(&worker->read.token), token_of(event),
							   psprintf("%.*s.%.*s was renamed onto the collection, whose documents changed without events",
										(int) event->database.length, event->database.data,
										(int) event->collection.length, event->collection.data), false);
			return;
		case STREAM_STORE:
			break;
	}
	event->too_large = worker->mongo.too_large >= TOO_LARGE_NO_IMAGES;
	if (mcs_event_text_is(&event->operation_type, "update") && mcs_worker_plan_looks_up(worker))
		(void) mcs_lookups_get(worker, event, &event->full_document);
	store_event(worker, writer, event);
}

/*
 * Remembers the event as the one that MongoDB's history must have: one of a
 * document, in the stream's own collection, is shown whatever the stream asks for.
 */
static void
note_last_event(StreamWorker *worker, const ChangeEvent *event)
{
	const char *collection = worker->stream->collection;

	if (event->document_key.type != DOCUMENT_OBJECT ||
		(collection && (event->collection.length != strlen(collection) ||
						memcmp(event->collection.data, collection, event->collection.length) != 0)))
		return;
	set_token(&worker->write.last_event, event->token.data, event->token.length);
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

/* ---- the events of one transaction ---- */

/* What a transaction has taken so far. */
typedef struct Taken
{
	bool		any;
	Size		bytes;
	uint64		time;			/* of the newest event */
	bool		singly;			/* only what was noted before is taken: see crash.c */
} Taken;

/* Whether the transaction ends before the next event, if there is one in the reply at hand. */
static bool
ends_here(const StreamWorker *worker, const StreamWriter *writer, const Taken *taken)
{
	DocumentIterator ahead = worker->read.events;

	/* what was looked up is of the events that were planned, and as of their end; a reply's end may follow them */
	if (worker->plan.events > 0)
		return worker->read.taken >= worker->plan.events && mcs_document_next(&ahead);
	/* after a death: the event that was noted, and those of its time unless one of them killed a process */
	if (taken->singly && taken->any &&
		(worker->crash.single_time == taken->time || !mcs_gather_goes_on(worker, taken->time)))
		return true;
	/* full, but a time that is begun is not parted */
	if ((mcs_writer_count(writer) >= mcs_gather_most_events(worker) || taken->bytes >= BATCH_BYTES) &&
		!mcs_gather_goes_on(worker, taken->time))
		return true;
	return mcs_gather_is_held_back(worker);
}

/* Takes a whole event, behind which reading is then; false where it was written before. */
static bool
take_whole_event(StreamWorker *worker, StreamWriter *writer, ChangeEvent *event, Taken *taken)
{
	worker->read.drained = false;
	worker->read.asked_at = 0;
	worker->read.moved = true;
	if (!event->token.data)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("an event came without a resume token"),
				 errdetail("Its _id is missing or was changed by the stream's pipeline.")));
	taken->any = true;
	worker->read.taken++;
	taken->time = mcs_token_time(event->token.data);
	if (worker->crash.singly > 0 && worker->crash.single_time != taken->time)
		worker->crash.singly--;
	if (already_written(worker, event))
		return false;
	set_token(&worker->read.newest, event->token.data, event->token.length);
	if (event->has_wall_time)
	{
		worker->process.done.last_ms = event->wall_time;
		if (worker->process.done.first_ms == 0)
			worker->process.done.first_ms = event->wall_time;
	}
	/* in this order: the writer and a gap row want the position before this event */
	mcs_writer_at(writer, get_token(&worker->read.token));
	/* mirrors first: for the stream's rows an event may be changed */
	if (worker->mirror_count > 0)
		mcs_mirroring_take(worker, event, is_skipped(worker, event));
	take_event(worker, writer, event);
	note_last_event(worker, event);
	set_token(&worker->read.token, event->token.data, event->token.length);
	return true;
}

/* Moves events from the replies at hand to the writer, up to the bounds of a transaction or of the time at which they are reached. */
static void
take_events(StreamWorker *worker, StreamWriter *writer, void *unused)
{
	Taken		taken = {.singly = worker->crash.singly > 0};
	ChangeEvent event;
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = event_context,.arg = &event};

	memset(&event, 0, sizeof(event));
	error_context_stack = &callback;
	worker->read.taken = 0;
	worker->process.done.first_ms = 0;
	for (;;)
	{
		bool		written;

		/* it points into a reply that may go now, and errors and log lines read it */
		memset(&event, 0, sizeof(event));
		if (!worker->read.have_batch && !mcs_gather_next(worker))
			break;
		if (ends_here(worker, writer, &taken))
			break;
		if (!next_event(worker, &event, &taken.bytes))
		{
			mcs_take_end_reply(worker);
			/* what the next reply begins with was not announced */
			if (worker->read.closed || (taken.singly && !taken.any))
				break;
			continue;
		}
		written = take_whole_event(worker, writer, &event, &taken);
		if (worker->read.fragments != NIL)
		{
			/* it pointed into them */
			memset(&event, 0, sizeof(event));
			mcs_gather_forget_fragments(worker);
		}
		if (written && worker->mongo.too_large >= TOO_LARGE_NO_IMAGES)
		{
			/* that was the large one: go on with all of the next */
			worker->mongo.too_large = TOO_LARGE_NO;
			worker->process.reload = true;
			break;
		}
	}
	worker->process.done.counters[NUMBER_BYTES] = taken.bytes;
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
	/* its columns are what the expressions may name */
	events = table_open(mcs_extension_events(), AccessShareLock);
	if (worker->expressions)
		mcs_expression_free(worker->expressions);
	worker->expressions = NULL;
	/* what compiling leaves behind goes with the batch */
	worker->expressions = mcs_expression_compile(events, stream->filter, stream->add_fields);
	mcs_expression_keep(worker->expressions, worker->process.definition_context);
	table_close(events, NoLock);
}

/* ---- documents ---- */

static void
take_documents(StreamWorker *worker, StreamWriter *writer, void *arg)
{
	TakenDocuments *documents = arg;
	const char *token = get_token(&worker->read.token);
	ChangeEvent event;
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = event_context,.arg = &event};

	memset(&event, 0, sizeof(event));
	error_context_stack = &callback;
	for (int i = 0; i < documents->count; i++)
	{
		DocumentBuilder key;
		Document   *document_key;

		memset(&event, 0, sizeof(event));
		mcs_document_build(&key);
		mcs_document_begin_object(&key, NULL);
		mcs_document_append_value(&key, "_id", &documents->ids[i]);
		mcs_document_end(&key);
		document_key = mcs_document_finish(&key);
		event.operation_type = (EventText) {"snapshot", strlen("snapshot")};
		event.token = (EventText) {token, strlen(token)};
		event.database = (EventText) {documents->database, strlen(documents->database)};
		event.collection = (EventText) {documents->collection, strlen(documents->collection)};
		event.document_key = mcs_document_value(document_key);
		event.full_document = documents->documents[i];
		event.cluster_time = documents->time;
		mcs_writer_at(writer, token);
		if (mcs_stream_verdict(worker->stream, &event) == STREAM_STORE)
			store_event(worker, writer, &event);
		documents->index_of[mcs_writer_count(writer)] = i + 1;
	}
	error_context_stack = callback.previous;
}

/* ---- with expressions ---- */

/*
 * Takes events, or documents, for a stream with expressions: under its creator's
 * settings, and in a subtransaction, so that an error of theirs costs one event
 * only.  It is one for all events up to such an error, as one for each would cost
 * more than evaluating does.
 */
static void
take_evaluating(StreamWorker *worker, StreamWriter *writer, void (*take) (StreamWorker *, StreamWriter *, void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			level;

	if (!has_expressions(worker->stream))
	{
		take(worker, writer, arg);
		return;
	}
	level = mcs_owner_begin_settings(worker->stream->settings);
	compile_expressions(worker);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	take(worker, writer, arg);
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	mcs_owner_end_settings(level);
}

void
mcs_take_events(StreamWorker *worker, StreamWriter *writer)
{
	take_evaluating(worker, writer, take_events, NULL);
}

void
mcs_take_documents(StreamWorker *worker, StreamWriter *writer, TakenDocuments *documents)
{
	documents->index_of[0] = 0;
	take_evaluating(worker, writer, take_documents, documents);
}
