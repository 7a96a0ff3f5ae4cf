/*
 * shared/queue.c
 *	  What the launcher does next: start a prober for a database that changed, or
 *	  a worker for a slot without one, or end them all.  The locks are explained in shared/memory.c.
 *
 * Processes are few, and others need some, so this keeps to what
 * mongo_change_stream.reserved_worker_processes leaves.  Whose turn it is goes by
 * how many processes a role has already, so that no role, and within a role no
 * database, keeps others waiting by the number of its streams.  Where none is
 * free, the role that has the most gives one to a role that has at least two
 * less; that ends when all have about the same.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"
#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define REPROBE_INTERVAL_MS		60000
#define LAUNCH_TIMEOUT_MS		60000	/* a worker that has not attached by then never will */
#define LAUNCH_RETRY_MS			5000	/* after a launch that could not be done */
#define YIELD_MS				200	/* after another was told to end */
#define LAUNCHER_NAP_MS			60000
#define SUSPECT_ALONE_MS		15000	/* a suspect that is not trusted by then is not waited for */

/* The next database that a prober shall visit, of several the one whose last turn is longest ago, or NULL. */
static DatabaseNote *
next_probe(TimestampTz now, long *wait_ms)
{
	DatabaseNote *next = NULL;

	if (OidIsValid(mcs_shared->prober_database))
	{
		if (mcs_shared->prober_pid == 0 &&
			TimestampDifferenceExceeds(mcs_shared->prober_launched_at, now, LAUNCH_TIMEOUT_MS))
			mcs_shared->prober_database = InvalidOid;
		else
			return NULL;		/* its exit wakes us */
	}
	for (int i = 0; i < mcs_shared->max_databases; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];
		TimestampTz due;

		if (!OidIsValid(note->database) || note->blocked > 0 || !(note->dirty || note->installed))
			continue;
		due = note->dirty ? note->not_before
			: TimestampTzPlusMilliseconds(note->probed_at, REPROBE_INTERVAL_MS);
		if (!mcs_shared_time_has_come(due, now))
			*wait_ms = Min(*wait_ms, mcs_shared_ms_until(now, due));
		else if (next == NULL || note->launched_at < next->launched_at)
			next = note;
	}
	return next;
}

/*
 * A death stops all processes, but who is counted as dead should be who has died.
 * So slots of which more than one has died in a row are tried alone: beside
 * nothing else that has come after a death and has still to show that it lives.
 * This is how many deaths the worst of those at work has behind it.
 */
static int
deaths_at_work(TimestampTz now)
{
	int			deaths = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && (slot->pid != 0 || slot->launching) &&
			!TimestampDifferenceExceeds(slot->launched_at, now, SUSPECT_ALONE_MS))
			deaths = Max(deaths, slot->deaths);
	}
	return deaths;
}

/* Whether a slot is a suspect that may not be tried beside those at work, or they are. */
static bool
has_to_wait(const StreamSlot *slot, int deaths)
{
	return slot->deaths > 0 && deaths > 0 && (slot->deaths > 1 || deaths > 1);
}

/* ---- whose turn it is ---- */

/* How many processes a role has, in all databases or in one; those that are told to end do not count. */
static int
running_of(Oid owner, Oid database)
{
	int			running = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && (slot->pid != 0 || slot->launching) && !slot->yields && slot->owner == owner &&
			(!OidIsValid(database) || slot->database == database))
			running++;
	}
	return running;
}

/* Whether a slot's worker shall be started, now; where that is later, *wait_ms says when. */
static bool
is_due(StreamSlot *slot, TimestampTz now, int deaths, long *wait_ms)
{
	if (!slot->in_use || !slot->wanted || slot->pid != 0 || (slot->handler[0] && !slot->work))
		return false;
	/* the postmaster took the request and no process came: it could not fork, or the process died early */
	if (slot->launching && TimestampDifferenceExceeds(slot->launched_at, now, LAUNCH_TIMEOUT_MS))
		slot->launching = false;
	if (slot->launching || mcs_shared_is_blocked(slot->database))
		return false;
	if (has_to_wait(slot, deaths))
	{
		*wait_ms = Min(*wait_ms, 1000);
		return false;
	}
	if (mcs_shared_time_has_come(slot->not_before, now))
		return true;
	*wait_ms = Min(*wait_ms, mcs_shared_ms_until(now, slot->not_before));
	return false;
}

/*
 * The next slot whose worker shall be started, or NULL: of the role that has
 * the fewest processes, in the database where it has the fewest.
 */
static StreamSlot *
next_worker(TimestampTz now, long *wait_ms)
{
	int			deaths = deaths_at_work(now);
	StreamSlot *best = NULL;
	StreamSlot *last = NULL;
	int			best_owner = 0;
	int			best_database = 0;
	int			of_owner = 0;
	int			of_database = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!is_due(slot, now, deaths, wait_ms))
			continue;
		/* slots of one role and database stand together as a rule */
		if (!last || last->owner != slot->owner || last->database != slot->database)
		{
			of_owner = running_of(slot->owner, InvalidOid);
			of_database = running_of(slot->owner, slot->database);
		}
		last = slot;
		if (best && (of_owner > best_owner || (of_owner == best_owner && of_database >= best_database)))
			continue;
		best = slot;
		best_owner = of_owner;
		best_database = of_database;
	}
	return best;
}

/*
 * How many processes may be ours at most, the launcher aside, so that others
 * find some; and the prober one, without which no change would be seen.
 */
static int
most_processes(void)
{
	int			reserved = mcs_shared_reserved_processes >= 0 ? mcs_shared_reserved_processes : Min(max_worker_processes / 8, 4);

	return Max(max_worker_processes - 1 - Max(reserved, 1), 1);
}

/* Whether a process more may be ours. */
static bool
is_room(void)
{
	int			running = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
		running += mcs_shared->slots[i].in_use && (mcs_shared->slots[i].pid != 0 || mcs_shared->slots[i].launching);
	return running < most_processes();
}

/* The role with the most processes, if those are more than a number; else InvalidOid. */
static Oid
richest(int more_than)
{
	Oid			owner = InvalidOid;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		int			running;

		if (!slot->in_use || slot->pid == 0 || slot->owner == owner)
			continue;
		running = running_of(slot->owner, InvalidOid);
		if (running > more_than)
		{
			more_than = running;
			owner = slot->owner;
		}
	}
	return owner;
}

/*
 * Lets a process end for a slot of another role: the youngest of the role that
 * has the most, where that has at least two more.  True where one ends.
 */
static bool
make_room(const StreamSlot *waiting)
{
	StreamSlot *victim = NULL;
	Oid			owner;

	/* one at a time: that which was told to end may serve this slot, too */
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].pid != 0 && mcs_shared->slots[i].yields)
			return true;
	owner = richest(running_of(waiting->owner, InvalidOid) + 1);
	if (!OidIsValid(owner))
		return false;
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->pid != 0 && slot->owner == owner && (!victim || slot->launched_at > victim->launched_at))
			victim = slot;
	}
	if (!victim)
		return false;
	victim->yields = true;
	kill(victim->pid, SIGTERM);
	return true;
}

/* There is no process for a slot: the status says so, another role may have to give one, and it is tried again. */
static void
no_process(StreamSlot *slot, TimestampTz now)
{
	bool		comes = make_room(slot);

	slot->launching = false;
	slot->not_before = TimestampTzPlusMilliseconds(now, comes ? YIELD_MS : LAUNCH_RETRY_MS);
	slot->report.state = STREAM_STARTING;
	mcs_text_format(slot->report.reason, sizeof(slot->report.reason),
					"no free worker process: raise max_worker_processes, which is %d, and restart PostgreSQL; "
					"%d of them are left to others (mongo_change_stream.reserved_worker_processes)",
					max_worker_processes, Max(max_worker_processes - 1 - most_processes(), 0));
	slot->report.next_retry_at = slot->not_before;
}

/* Marks a slot as being started: its process attaches by the ticket. */
static void
take_turn(StreamSlot *slot, TimestampTz now, Launch *launch)
{
	launch->kind = LAUNCH_WORKER;
	launch->database = slot->database;
	launch->ticket.index = (int) (slot - mcs_shared->slots);
	launch->ticket.generation = slot->generation;
	strlcpy(launch->stream, slot->stream, NAMEDATALEN);
	strlcpy(launch->handler, slot->handler, NAMEDATALEN);
	slot->launching = true;
	slot->launched_at = now;
}

/*
 * What to start now, marked as being started; with nothing to start, *wait_ms
 * says when to ask again at the latest.
 */
Launch
mcs_shared_next_launch(long *wait_ms)
{
	Launch		launch;
	TimestampTz now = GetCurrentTimestamp();
	DatabaseNote *note;
	StreamSlot *slot;

	memset(&launch, 0, sizeof(launch));
	*wait_ms = LAUNCHER_NAP_MS;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (!mcs_shared_enabled)
	{
		LWLockRelease(mcs_shared->lock);
		return launch;
	}
	/* probers first: what they find decides which workers there are to start */
	if ((note = next_probe(now, wait_ms)) != NULL)
	{
		launch.kind = LAUNCH_PROBER;
		launch.database = note->database;
		mcs_shared->prober_database = note->database;
		mcs_shared->prober_launched_at = now;
		note->launched_at = now;
	}
	else
	{
		bool		room = is_room();

		/* ends, as each slot that gets none is not due again before some time has passed */
		while ((slot = next_worker(now, wait_ms)) != NULL && !room)
			no_process(slot, now);
		if (slot)
			take_turn(slot, now, &launch);
	}
	LWLockRelease(mcs_shared->lock);
	return launch;
}

/* Takes a launch back: the postmaster had no free worker slot.  The status says so. */
void
mcs_shared_launch_failed(const Launch *launch)
{
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAUNCH_RETRY_MS);
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (launch->kind == LAUNCH_PROBER)
	{
		mcs_shared->prober_database = InvalidOid;
		note = mcs_shared_note(launch->database, false);
		if (note)
		{
			note->dirty = true;
			note->not_before = later;
		}
	}
	else
	{
		StreamSlot *slot = &mcs_shared->slots[launch->ticket.index];

		/* it may have become another stream's while the postmaster was asked */
		if (slot->in_use && slot->generation == launch->ticket.generation)
			no_process(slot, GetCurrentTimestamp());
	}
	LWLockRelease(mcs_shared->lock);
}

/* ---- the launcher as a whole ---- */

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_shared->launcher = NULL;
	mcs_shared->launcher_pid = 0;
	LWLockRelease(mcs_shared->lock);
}

/* Makes this process the one that is woken. */
void
mcs_shared_attach_launcher(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_shared->launcher = MyProc;
	mcs_shared->launcher_pid = MyProcPid;
	LWLockRelease(mcs_shared->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

/* mongo_change_stream.enabled went off: every process of ours ends but the launcher, which starts no other. */
void
mcs_shared_stop_all(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].pid != 0)
			kill(mcs_shared->slots[i].pid, SIGTERM);
	if (mcs_shared->prober_pid != 0)
		kill(mcs_shared->prober_pid, SIGTERM);
	LWLockRelease(mcs_shared->lock);
}

/* It went on: what waited because it was off starts at once. */
void
mcs_shared_start_all(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].pid == 0)
			mcs_shared->slots[i].not_before = 0;
	for (int i = 0; i < mcs_shared->max_databases; i++)
		mcs_shared->databases[i].not_before = 0;
	LWLockRelease(mcs_shared->lock);
}
