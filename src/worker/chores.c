/*
 * worker/chores.c
 *	  What a stream's worker does now and then beside following: deletes old
 *	  events, looks how far MongoDB's oplog reaches, and whether it may watch more
 *	  than it does.
 *
 * Each call does a little of it and comes back, as following has to go on: old
 * events go by chunks, and a question to MongoDB has little time where events
 * wait and is given up when somebody changes the stream.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* Old events are looked for so often; less often where some could not be deleted. */
#define EXPIRE_INTERVAL_MS	10000
#define EXPIRE_AGAIN_MS		60000

/* A chunk of them takes so long. */
#define EXPIRE_LEAST_MS		10
#define EXPIRE_MOST_MS		50

/* Where a chunk has met some that must stay, so many times what it took is left to others. */
#define EXPIRE_KEPT_PAUSE	10

/*
 * So often all are looked at, and not only those behind the last that was deleted:
 * a way through the index, whose first part may still hold entries of rows that are
 * gone.  Nothing comes there but by hand.
 */
#define EXPIRE_ALL_MS		3600000

/* The oplog is looked at so often, and a look may take so long. */
#define WINDOW_INTERVAL_MS	60000
#define WINDOW_TIMEOUT_MS	10000
#define WINDOW_BUSY_MS		2000	/* while events wait */

/*
 * A stream that watches its collection and would rather watch the database looks
 * whether it may: at most so seldom, and for so long.
 */
#define WIDEN_MAX_MS		3600000
#define WIDEN_TIMEOUT_MS	5000

/* ---- retention ---- */

/* A round of deletions is over: what could not be deleted shows in the status, and is not tried again all the time. */
static void
end_expiry(StreamWorker *worker, TimestampTz now)
{
	EventExpiry *expiry = &worker->chores.expiry;

	if (expiry->kept != worker->chores.kept)
	{
		worker->chores.kept = expiry->kept;
		mcs_text_copy(worker->chores.kept_reason, sizeof(worker->chores.kept_reason), expiry->reason);
		if (mcs_worker_is_following(worker))
			mcs_worker_show_active(worker);
	}
	if (expiry->kept)
		worker->chores.expire_at = TimestampTzPlusMilliseconds(now, EXPIRE_AGAIN_MS);
	if (now >= worker->chores.expire_all_at)
	{
		expiry->begin = 0;
		worker->chores.expire_all_at = TimestampTzPlusMilliseconds(now, EXPIRE_ALL_MS);
	}
}

bool
mcs_chores_expiry_is_due(const StreamWorker *worker, TimestampTz now)
{
	return worker->stream->retention && now >= worker->chores.expire_at;
}

long
mcs_chores_wait_ms(const StreamWorker *worker)
{
	if (!worker->stream->retention || worker->chores.expiry.after == 0)
		return CHORE_INTERVAL_MS;
	return Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), worker->chores.expire_at), CHORE_INTERVAL_MS);
}

/*
 * A chunk with each look, so that events which come meanwhile do not wait for all
 * of them: who is far behind with deleting spends half of its time with it, which
 * is more than as many events take to be written.
 */
void
mcs_chores_expire(StreamWorker *worker, TimestampTz now, TimestampTz *expired_at)
{
	EventExpiry *expiry = &worker->chores.expiry;
	int64		kept = expiry->after == 0 ? 0 : expiry->kept;
	long		others = TimestampDifferenceMilliseconds(*expired_at, now);
	TimestampTz ended;

	/* before anything can fail: a deletion that always fails must leave time to follow */
	worker->chores.expire_at = TimestampTzPlusMilliseconds(now, EXPIRE_INTERVAL_MS);
	mcs_process_begin(&worker->process);
	/* what a crash brings back is deleted again, and events that come meanwhile need not wait for the disk */
	mcs_process_commit_lazily();
	mcs_events_expire(worker->process.name, worker->stream->retention,
					  TimestampTzPlusMilliseconds(now, Min(Max(others, EXPIRE_LEAST_MS), EXPIRE_MOST_MS)), expiry);
	mcs_process_commit(&worker->process);
	ended = GetCurrentTimestamp();
	*expired_at = ended;
	if (expiry->after == 0)
		end_expiry(worker, ended);
	else
		worker->chores.expire_at = expiry->kept == kept ? ended : ended + (ended - now) * EXPIRE_KEPT_PAUSE;
}

/* ---- questions to MongoDB ---- */

/*
 * A session for a question that the stream's own, busy with the change stream,
 * can't ask; made in *context, which becomes current and is to be left to
 * close_question.
 */
static MongoSession *
open_question(StreamWorker *worker, long timeout_ms, MemoryContext *context)
{
	MongoTarget *target;
	MongoSession *session;
	MemoryContext old;

	*context = AllocSetContextCreate(worker->mongo.session_context, "mongo_change_stream question", ALLOCSET_SMALL_SIZES);
	mcs_process_begin(&worker->process);
	old = MemoryContextSwitchTo(*context);
	target = mcs_mongo_target(worker->stream->server, worker->stream->owner);
	MemoryContextSwitchTo(old);
	mcs_process_commit(&worker->process);

	MemoryContextSwitchTo(*context);
	session = mcs_session_open(target, worker->process.name);
	mcs_session_limit(session, timeout_ms, mcs_worker_has_news);
	return session;
}

static void
close_question(StreamWorker *worker, MongoSession *session, MemoryContext context)
{
	mcs_session_close(session);
	MemoryContextSwitchTo(worker->process.batch_context);
	MemoryContextDelete(context);
}

void
mcs_chores_tell_oplog(StreamWorker *worker, int64 window, int64 holds)
{
	mcs_slot_oplog_window(window, holds);
	mcs_process_begin(&worker->process);
	mcs_oplog_keep_window(worker->process.name, window, holds);
	mcs_process_commit(&worker->process);
}

/*
 * Looks how far the oplog reaches back, when the stream has nothing else to do; a
 * failure says nothing about the stream and is dropped.
 */
bool
mcs_chores_look_at_oplog(StreamWorker *worker, TimestampTz now, int64 *window_found, int64 *holds_found)
{
	Stream	   *stream = worker->stream;
	MongoSession *session;
	MongoError	error;
	MemoryContext context;
	uint64		oldest = 0;
	int64		window = -1;
	int64		holds = -1;
	int64		took;
	bool		busy = worker->read.asked_at == 0 || worker->read.have_batch;

	/* a stream that has much to do looks, too: it is the one that may be outrun */
	if (now < worker->chores.window_at || !mcs_worker_is_following(worker))
		return false;
	worker->chores.window_at = TimestampTzPlusMilliseconds(now, WINDOW_INTERVAL_MS);
	session = open_question(worker, busy ? WINDOW_BUSY_MS : WINDOW_TIMEOUT_MS, &context);
	if (mcs_mongo_oplog_oldest(session, strcmp(stream->database, "*") == 0 ? NULL : stream->database,
							   mcs_worker_watches_collection(worker) ? stream->collection : NULL, &oldest, &error) && oldest != 0)
		window = Max((int64) (worker->read.operation_time >> 32) - (int64) (oldest >> 32), 0) * USECS_PER_SEC;
	/* one that is not full loses nothing yet: what counts is how far it will reach at its pace so far */
	if (window >= 0)
	{
		double		fill = mcs_mongo_oplog_fill(session);

		/* one slow answer does not make a young oplog a full one, of which a person would be told */
		if (fill > 0)
			worker->chores.oplog_fill = fill;
		holds = (int64) Min(Max(window, USECS_PER_SEC) / worker->chores.oplog_fill, (double) OPLOG_HOLDS_MAX);
	}
	close_question(worker, session, context);
	/* without the right to read the oplog its begin has to be searched: less often then */
	took = (GetCurrentTimestamp() - now) / 1000;
	worker->chores.window_at = TimestampTzPlusMilliseconds(now, Max(WINDOW_INTERVAL_MS, took * 1000));
	*window_found = window;
	*holds_found = holds;
	return window >= 0;
}

/* A stream that watches its collection and would rather watch the database: sees whether it may. */
static void
look_at_database(StreamWorker *worker, TimestampTz now)
{
	ChangeStreamSpec spec;
	MongoSession *session;
	MongoError	error;
	MemoryContext context;

	/* only when all is well and nothing waits: it may take some seconds */
	if ((!worker->mongo.at_collection && (worker->mongo.was_wide || !worker->mongo.joins_if_wide)) ||
		now < worker->chores.widen_at || !mcs_worker_is_following(worker) || worker->read.have_batch)
		return;
	worker->chores.widen_ms = Min(Max(worker->chores.widen_ms * 2, WIDEN_MIN_MS), WIDEN_MAX_MS);
	worker->chores.widen_at = TimestampTzPlusMilliseconds(now, worker->chores.widen_ms);
	session = open_question(worker, WIDEN_TIMEOUT_MS, &context);
	memset(&spec, 0, sizeof(spec));
	mcs_stream_spec(worker->stream, false, &spec);
	spec.comment = worker->process.name;
	if (mcs_mongo_try_stream(session, &spec, NULL, NULL, NULL, &error))
	{
		worker->process.reload = worker->mongo.at_collection;
		worker->mongo.at_collection = false;
		worker->mongo.was_wide = true;
	}
	close_question(worker, session, context);
}

void
mcs_chores_do(StreamWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		window;
	int64		holds;

	mcs_process_measure(&worker->process, now);
	mcs_crash_survive(worker, now);
	/* a group asks once for all of its streams, and deletes old events of one at a time */
	if (worker->inbox)
		return;
	if (mcs_chores_expiry_is_due(worker, now))
		mcs_chores_expire(worker, now, &worker->chores.expired_at);
	if (mcs_chores_look_at_oplog(worker, now, &window, &holds))
		mcs_chores_tell_oplog(worker, window, holds);
	look_at_database(worker, now);
}
