/*
 * worker/retry.c
 *	  When a stream that has failed is tried again, and what ends a wait before
 *	  its time.
 *
 * Besides the slot, by which other sessions say that they have changed the
 * stream, it is PostgreSQL's invalidation messages that tell of changes: of the
 * server, a user mapping, the events table.  They do not set a latch, and come
 * only to a process that asks for them (AcceptInvalidationMessages).
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "shared/shared.h"
#include "utils/inval.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

#define RETRY_FIRST_MS		1000
#define RETRY_FORGET_MS		60000	/* a failure so long after the one before is counted as the first */
#define RETRY_ALONE_MS		5000	/* a failure so long after the one before is not its consequence */

/* How often a wait looks at what sets no latch; more often where it is for the owner to mend a table. */
#define LOOK_MS				10000
#define LOOK_MISFIT_MS		500

/* Server, mapping or role changed: the session may no longer be the right one. */
static volatile bool connection_changed = false;

/* The events table, and whether it was altered since this was last false. */
static Oid	events_relation = InvalidOid;
static volatile bool events_altered = false;

static void
relation_callback(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == events_relation)
		events_altered = true;
}

static void
connection_callback(Datum arg, int cache, uint32 hash)
{
	connection_changed = true;
}

void
mcs_worker_watch_changes(void)
{
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);
	CacheRegisterRelcacheCallback(relation_callback, (Datum) 0);
}

bool
mcs_worker_take_connection_changed(void)
{
	bool		changed = connection_changed;

	/* before the options are read again: a change after that shall be seen, too */
	connection_changed = false;
	return changed;
}

bool
mcs_worker_connection_is_changed(void)
{
	return connection_changed;
}

void
mcs_worker_set_events_table(Oid events)
{
	events_relation = events;
}

void
mcs_worker_forget_alteration(void)
{
	events_altered = false;
}

bool
mcs_worker_has_news(void)
{
	return connection_changed || mcs_slot_is_changed();
}

/* Waits for a time, or until something changes that is worth a try before. */
static void
wait_until(StreamWorker *worker, TimestampTz until)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		if (mcs_shared_time_has_come(until, now) || mcs_worker_has_news() || (worker->retry.misfit && events_altered))
			return;
		mcs_process_sleep(now, until, worker->retry.misfit ? LOOK_MISFIT_MS : LOOK_MS);
	}
}

/*
 * When to try again after the worker's latest failure: at once where it comes
 * alone, else after a time that doubles from one second to a minute, with jitter.
 */
TimestampTz
mcs_worker_next_retry(StreamWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		alone = TimestampDifferenceExceeds(worker->retry.failed_at, now, RETRY_ALONE_MS);

	if (TimestampDifferenceExceeds(worker->retry.failed_at, now, RETRY_FORGET_MS))
		worker->process.failures = 0;
	worker->retry.failed_at = now;
	if (worker->process.failures == 0 && alone)
	{
		worker->process.failures = 1;
		return now;
	}
	/* the first one, which is tried again at once, does not count */
	return mcs_process_backoff(Max(worker->process.failures++ - 1, 0), RETRY_FIRST_MS);
}

void
mcs_worker_retry(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz at)
{
	mcs_worker_set_state(worker, state, reason, error, at);
	/* it lives, and waits for others: what may kill it comes with the next try */
	mcs_slot_trusted();
	wait_until(worker, at);
}
