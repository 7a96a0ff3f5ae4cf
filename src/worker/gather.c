/*
 * worker/gather.c
 *	  The replies of one transaction: which of them end where MongoDB's
 *	  transactions do.
 *
 * All events of a MongoDB transaction have one cluster time, and no commit
 * falls between events of one time, up to 64 MB of them.  So before a
 * transaction begins here, replies are gathered until the last of them ends at a
 * time that has passed: its post-batch token is beyond the last event's time, or
 * the next reply goes on with a later one.  An event that is of no transaction is
 * alone at its time, and waits for nothing.  Behind one of a transaction, a
 * reply that is not full is all there is, as MongoDB takes a transaction apart
 * in one go; only what would not fit into the reply could follow, and that comes
 * at once: it is waited for for a moment.  The end of a full reply says nothing,
 * so the next one is waited for.  When the connection breaks meanwhile, events of
 * the time that is open are left for the next cursor, which starts before them.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* Bound of what is held together because it is of one time. */
#define WHOLE_BYTES		(64 * 1024 * 1024)

/* Behind a reply of this size the next event may just not have fitted. */
#define FULL_BYTES		(8 * 1024 * 1024)

/* How long what may follow is waited for: behind a reply that is not full, and at most behind one that is. */
#define HOLD_MS			100
#define HOLD_FULL_MS	5000
#define HOLD_STEP_MS	1000

void
mcs_gather_end_batch(StreamWorker *worker)
{
	MemoryContext old;
	MongoBatch *batch;

	if (!worker->read.have_batch)
		return;
	worker->read.have_batch = false;
	if (worker->plan.events == 0)
	{
		mcs_cursor_free_batch(&worker->read.batch);
		return;
	}
	/* lookups and mirrors borrow from it until all is written */
	old = MemoryContextSwitchTo(worker->mongo.session_context);
	batch = palloc(sizeof(MongoBatch));
	*batch = worker->read.batch;
	worker->read.spent = lappend(worker->read.spent, batch);
	MemoryContextSwitchTo(old);
}

/* Frees replies of a list, and it. */
static List *
free_replies(List *replies)
{
	ListCell   *cell;

	foreach(cell, replies)
		mcs_cursor_free_batch(lfirst(cell));
	list_free_deep(replies);
	return NIL;
}

void
mcs_gather_free_spent(StreamWorker *worker)
{
	worker->read.spent = free_replies(worker->read.spent);
}

void
mcs_gather_forget_fragments(StreamWorker *worker)
{
	worker->read.fragments = NIL;
	MemoryContextReset(worker->read.fragment_context);
}

void
mcs_gather_forget(StreamWorker *worker)
{
	mcs_gather_end_batch(worker);
	mcs_gather_forget_fragments(worker);
	mcs_gather_free_spent(worker);
	worker->read.replies = free_replies(worker->read.replies);
}

/* Makes a reply the one at hand. */
static void
take_reply(StreamWorker *worker)
{
	worker->read.have_batch = true;
	if (worker->read.batch.event_count > 0)
		worker->process.done.counters[NUMBER_BATCHES]++;
	mcs_document_iterate(&worker->read.events, worker->read.batch.events, worker->read.batch.events_size);
}

/* A group's member has no cursor: the group has read for it, and does not wait here. */
static bool
take_from_inbox(StreamWorker *worker, MongoBatch *batch)
{
	StreamInbox *inbox = worker->inbox;

	if (!inbox->full)
		return false;
	inbox->full = false;
	*batch = inbox->batch;
	worker->read.received_at = inbox->received_at;
	worker->read.operation_time = Max(worker->read.operation_time, inbox->operation_time);
	mcs_slot_heard(worker->read.operation_time, inbox->heard_at);
	return true;
}

/* Reads a reply, if one comes in time; false where none did.  A failure is kept for later. */
static bool
read_reply(StreamWorker *worker, MongoBatch *batch, long timeout_ms)
{
	MemoryContext old;
	MongoCursorResult result;

	if (worker->inbox)
		return take_from_inbox(worker, batch);
	old = MemoryContextSwitchTo(worker->mongo.session_context);
	result = mcs_cursor_next(worker->mongo.cursor, timeout_ms, batch, &worker->mongo.failure);

	MemoryContextSwitchTo(old);
	if (result != MONGO_CURSOR_BATCH)
		return false;
	worker->read.received_at = GetCurrentTimestamp();
	worker->read.operation_time = Max(worker->read.operation_time, Max(batch->operation_time, batch->set_time));
	worker->read.waiting = false;
	mcs_slot_heard(worker->read.operation_time,
				   batch->current ? worker->read.received_at - (mcs_session_clock() - batch->came_at) : 0);
	return true;
}

/* Takes the next of the replies that were gathered; false where there is none. */
bool
mcs_gather_next(StreamWorker *worker)
{
	MongoBatch *next;

	if (worker->read.replies == NIL)
		return false;
	next = linitial(worker->read.replies);
	worker->read.replies = list_delete_first(worker->read.replies);
	worker->read.batch = *next;
	pfree(next);
	take_reply(worker);
	return true;
}

/*
 * Takes the next reply, if one comes in time; false where none did.  A
 * transaction may have ended before the last of those that were gathered for
 * it (events that go singly), which come first.
 */
bool
mcs_gather_first(StreamWorker *worker, long timeout_ms)
{
	if (mcs_gather_next(worker))
		return true;
	if (!read_reply(worker, &worker->read.batch, timeout_ms))
		return false;
	take_reply(worker);
	return true;
}

int
mcs_gather_most_events(const StreamWorker *worker)
{
	return worker->stream->keep_events ? BATCH_EVENTS : BATCH_EVENTS_MOST;
}

/* ---- whole transactions ---- */

/* The cluster time in an event's token; 0 where it has none. */
static uint64
event_time(const DocumentValue *event, TokenParts *token)
{
	DocumentValue id;

	if (event->type != DOCUMENT_OBJECT || !mcs_document_find(event->data, event->size, "_id", &id) ||
		!mcs_token_parts(&id, token))
		return 0;
	return mcs_token_time(token->data);
}

/* How a reply ends. */
typedef enum ReplyEnd
{
	END_PASSED,					/* no event of its last time can follow */
	END_LIKELY,					/* one could only follow at once */
	END_OPEN
} ReplyEnd;

/* How a reply ends, and the time of its last event. */
static ReplyEnd
reply_end(const StreamWorker *worker, const MongoBatch *batch, uint64 *time)
{
	const DocumentValue *last = &batch->last;
	DocumentValue found;
	EventFragment fragment;
	TokenParts	token;
	bool		full = batch->event_count >= worker->mongo.batch_size || batch->events_size >= FULL_BYTES;
	bool		in_transaction;

	*time = 0;
	/* a group hands out whole times */
	if (worker->inbox)
		return END_PASSED;
	if (batch->closed || (*time = event_time(last, &token)) == 0)
		return END_PASSED;
	fragment = mcs_event_fragment(last->data, last->size);
	if (fragment.number < fragment.of)
		return END_OPEN;
	if (batch->token && mcs_token_time(batch->token) > *time)
		return END_PASSED;
	in_transaction = mcs_token_within_transaction(token.data, token.length) ||
		mcs_document_find(last->data, last->size, "txnNumber", &found) ||
		mcs_document_find(last->data, last->size, "lsid", &found);
	/* the user's pipeline may have taken away what tells */
	if (full && (in_transaction || worker->stream->pipeline))
		return END_OPEN;
	return in_transaction ? END_LIKELY : END_PASSED;
}

/* What is at hand, of all of which the next transaction may be. */
static Size
gathered_bytes(const StreamWorker *worker, int *events)
{
	Size		bytes = worker->read.batch.events_size;
	ListCell   *cell;

	*events = worker->read.batch.event_count;
	foreach(cell, worker->read.replies)
	{
		bytes += ((MongoBatch *) lfirst(cell))->events_size;
		*events += ((MongoBatch *) lfirst(cell))->event_count;
	}
	return bytes;
}

/* Reads one more reply behind those at hand. */
static bool
read_ahead(StreamWorker *worker, long timeout_ms)
{
	MongoBatch	batch;
	MongoBatch *kept;
	MemoryContext old;

	if (!read_reply(worker, &batch, timeout_ms))
		return false;
	old = MemoryContextSwitchTo(worker->mongo.session_context);
	kept = palloc(sizeof(MongoBatch));
	*kept = batch;
	worker->read.replies = lappend(worker->read.replies, kept);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Gathers the replies of the next transaction, beginning with the one at hand;
 * false where it has to wait longer, so that the caller may look around.
 */
bool
mcs_gather(StreamWorker *worker)
{
	/* one event is waited for then */
	if (worker->mongo.too_large != TOO_LARGE_NO)
		return true;
	for (;;)
	{
		const MongoBatch *last = worker->read.replies == NIL ? &worker->read.batch : llast(worker->read.replies);
		uint64		time;
		ReplyEnd	end = reply_end(worker, last, &time);
		int			events;
		Size		bytes = gathered_bytes(worker, &events);
		TimestampTz now;
		long		wait = 0;

		if (last->closed || bytes >= WHOLE_BYTES)
			return true;
		if (end != END_PASSED)
		{
			now = GetCurrentTimestamp();
			if (worker->read.held_since == 0)
				worker->read.held_since = now;
			wait = (end == END_LIKELY ? HOLD_MS : HOLD_FULL_MS + worker->stream->max_await_ms) -
				(long) ((now - worker->read.held_since) / 1000);
			if (wait <= 0)
			{
				worker->read.held_since = 0;
				return true;
			}
		}
		else if (events >= Max(mcs_gather_most_events(worker), worker->read.enough_events) || bytes >= worker->read.enough_bytes)
			return true;
		if (read_ahead(worker, Min(wait, HOLD_STEP_MS)))
		{
			worker->read.held_since = 0;
			continue;
		}
		if (worker->mongo.failure.class == MONGO_ERROR_NONE)
			return end == END_PASSED;
		if (end != END_PASSED && worker->mongo.failure.class == MONGO_ERROR_TRANSIENT)
			worker->read.held_time = time;
		return true;
	}
}

bool
mcs_gather_ahead(StreamWorker *worker, uint64 *before)
{
	const MongoBatch *last = worker->read.replies == NIL ? &worker->read.batch : llast(worker->read.replies);
	int			events;
	Size		bytes = gathered_bytes(worker, &events);
	uint64		time;

	/* as much as two transactions take, if it has come; behind the last one of a cursor nothing comes */
	while (events < 2 * mcs_gather_most_events(worker) && bytes < 2 * BATCH_BYTES && !last->closed && read_ahead(worker, 0))
	{
		last = llast(worker->read.replies);
		events += last->event_count;
		bytes += last->events_size;
	}
	if (worker->read.replies == NIL)
		return false;
	if (last->event_count == 0)
		return false;
	*before = reply_end(worker, last, &time) == END_PASSED ? 0 : time;
	return true;
}

bool
mcs_gather_is_open(const StreamWorker *worker)
{
	uint64		time;

	return reply_end(worker, worker->read.replies == NIL ? &worker->read.batch : llast(worker->read.replies), &time) == END_OPEN;
}

/*
 * Whether the next event of the reply at hand has the time of the last one that
 * was taken, or there is none in it.
 */
bool
mcs_gather_goes_on(const StreamWorker *worker, uint64 time)
{
	DocumentIterator ahead = worker->read.events;
	TokenParts	token;

	return worker->read.fragments != NIL || !mcs_document_next(&ahead) || event_time(&ahead.value, &token) == time;
}

/* Whether the next event of the reply at hand is one to leave for another cursor. */
bool
mcs_gather_is_held_back(const StreamWorker *worker)
{
	DocumentIterator ahead = worker->read.events;
	TokenParts	token;

	return worker->read.held_time != 0 && mcs_document_next(&ahead) && event_time(&ahead.value, &token) >= worker->read.held_time;
}
