/*
 * shared/queue.c
 *	  What the launcher does next: start a prober for a database that changed, or
 *	  a worker for a slot without one, or end them all.  The locks are explained in shared/memory.c.
 *
 * Processes are few, and others need some, so this keeps to what
 * mongo_change_stream.reserved_worker_processes leaves.  Whose turn it is goes by
 * how many processes a role has already, so that no role, and within a role no
 * database, keeps others waiting by the number of its streams; then streams come
 * before handlers, and who has waited longest first.
 *
 * Where none is free, handlers give way: one that is idle at once; one that is
 * at work when it has had its turn, between two transactions (a flag that its
 * process looks at), and then it waits in turn.  A turn costs a process: how long
 * it lasts, and how long one waits before another's ends for it, bounds how many
 * are started a second by the number of those that run, however many handlers
 * there are and however often events come.  If that gives a slot none, the
 * role that has the most processes loses one, by a signal, to a role that has at
 * least two less; that ends when all have about the same.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"
#include <signal.h>

#include "miscadmin.h"
#include "replication/logicallauncher.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define REPROBE_INTERVAL_MS		60000
#define LAUNCH_TIMEOUT_MS		60000	/* a worker that has not attached by then never will */
#define REFUSED_MIN_MS			10	/* after a launch for which the postmaster had no process; then doubling */
#define REFUSED_MAX_MS			1000
#define TURN_MS					500	/* that a process is a handler's which is at work */
#define PATIENCE_MS				250	/* that a handler waits before the turn of another ends for it */
#define SETTLED_MS				200	/* a handler that was idle for so long is taken to have nothing to do */
#define ANSWER_MS				1000	/* one that has not left by then is at a long event: another is told */
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

/* Whether a process leaves its place to another, as it was told not long ago. */
static bool
is_leaving(StreamSlot *slot, TimestampTz now)
{
	if (!slot->in_use || slot->pid == 0)
		return false;
	return slot->yields ||
		(pg_atomic_read_u32(&slot->gives_way) != 0 && !TimestampDifferenceExceeds(slot->told_at, now, ANSWER_MS));
}

/* How many processes a role has, in all databases or in one; those that are told to end do not count. */
static int
running_of(Oid owner, Oid database, TimestampTz now)
{
	int			running = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && mcs_group_slot_counts(slot) && !is_leaving(slot, now) && slot->owner == owner &&
			(!OidIsValid(database) || slot->database == database))
			running++;
	}
	return running;
}

/* Whether a slot's worker shall be started, now; where that is later, *wait_ms says when. */
static bool
is_due(StreamSlot *slot, TimestampTz now, int deaths, long *wait_ms)
{
	TimestampTz due;

	if (!slot->in_use || !slot->wanted || slot->pid != 0)
		return false;
	due = slot->not_before;
	if (slot->handler[0] && !slot->work)
	{
		if (slot->look_at == 0)
			return false;
		due = Max(due, slot->look_at);
	}
	/* the postmaster took the request and no process came: it could not fork, or the process died early */
	if (slot->launching && TimestampDifferenceExceeds(slot->launched_at, now, LAUNCH_TIMEOUT_MS))
		slot->launching = false;
	if (slot->launching || mcs_shared_is_blocked(slot->database) || mcs_group_slot_is_served(slot))
		return false;
	if (has_to_wait(slot, deaths))
	{
		*wait_ms = Min(*wait_ms, 1000);
		return false;
	}
	if (mcs_shared_time_has_come(due, now))
		return true;
	*wait_ms = Min(*wait_ms, mcs_shared_ms_until(now, due));
	return false;
}

/* What decides between two slots, in this order. */
typedef struct Rank
{
	int			of_owner;		/* processes that the role has */
	bool		handler;
	int			of_database;	/* processes that it has in that database */
	TimestampTz waits_since;
} Rank;

static bool
is_before(const Rank *a, const Rank *b)
{
	if (a->of_owner != b->of_owner)
		return a->of_owner < b->of_owner;
	if (a->handler != b->handler)
		return b->handler;
	if (a->of_database != b->of_database)
		return a->of_database < b->of_database;
	return a->waits_since < b->waits_since;
}

/* The next slot whose worker shall be started, or NULL. */
static StreamSlot *
next_worker(TimestampTz now, long *wait_ms)
{
	int			deaths = deaths_at_work(now);
	StreamSlot *best = NULL;
	StreamSlot *last = NULL;
	Rank		best_rank;
	Rank		rank;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!is_due(slot, now, deaths, wait_ms))
			continue;
		/* slots of one role and database stand together as a rule */
		if (!last || last->owner != slot->owner || last->database != slot->database)
		{
			rank.of_owner = running_of(slot->owner, InvalidOid, now);
			rank.of_database = running_of(slot->owner, slot->database, now);
		}
		last = slot;
		rank.handler = slot->handler[0] != '\0';
		rank.waits_since = slot->waits_since ? slot->waits_since : now;
		if (best && !is_before(&rank, &best_rank))
			continue;
		best = slot;
		best_rank = rank;
	}
	return best;
}

/*
 * How many processes may be ours at most, the launcher and the gateway's supervisor
 * aside, and PostgreSQL's own launcher of logical replication, so that others find
 * some; and the prober one, without which no change would be seen.
 */
static int
most_processes(void)
{
	int			reserved = mcs_shared_reserved_processes >= 0 ? mcs_shared_reserved_processes : Min(max_worker_processes / 8, 4);
	int			launchers = 1 + (max_logical_replication_workers > 0) + (mcs_shared_gateway_port > 0);

	return Max(max_worker_processes - launchers - Max(reserved, 1), 1);
}

/* Whether a process more may be ours. */
static bool
is_room(void)
{
	int			running = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
		running += mcs_shared->slots[i].in_use && mcs_group_slot_counts(&mcs_shared->slots[i]);
	return running < most_processes();
}

/* ---- where there is no room ---- */

/* The role with the most processes, if those are more than a number; else InvalidOid. */
static Oid
richest(int more_than, TimestampTz now)
{
	Oid			owner = InvalidOid;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		int			running;

		if (!slot->in_use || slot->pid == 0 || slot->owner == owner)
			continue;
		running = running_of(slot->owner, InvalidOid, now);
		if (running > more_than)
		{
			more_than = running;
			owner = slot->owner;
		}
	}
	return owner;
}

/* Ends a process for a slot of another role: the youngest of the role that has the most, where that has at least two more. */
static void
take_from_richest(const StreamSlot *waiting, TimestampTz now, long *wait_ms)
{
	StreamSlot *victim = NULL;
	Oid			owner = richest(running_of(waiting->owner, InvalidOid, now) + 1, now);

	if (!OidIsValid(owner))
		return;
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->pid == 0 || slot->owner != owner)
			continue;
		/* one at a time: that which was told to end may be all there is to give */
		if (slot->yields)
			return;
		/* a group last of all: its streams would need more than it has */
		if (!victim || victim->grouped > slot->grouped ||
			(victim->grouped == slot->grouped && slot->launched_at > victim->launched_at))
			victim = slot;
	}
	if (!victim)
		return;
	victim->yields = true;
	kill(victim->pid, SIGTERM);
	*wait_ms = Min(*wait_ms, ANSWER_MS);
}

/* Whether a handler's process has nothing to do, before events come that it has not looked for yet, or an event is tried again. */
static bool
is_idle(StreamSlot *slot)
{
	return pg_atomic_read_u64(&slot->running_event) == 0 && slot->state_since >= slot->news_at &&
		(slot->report.state == STREAM_IDLE || (slot->report.state == STREAM_RETRYING && slot->report.next_retry_at != 0));
}

/* When a handler's process may be told to leave for a slot that waits, whose role has so many; 0: never. */
static TimestampTz
may_leave_at(StreamSlot *slot, const StreamSlot *waiting, int of_waiting, TimestampTz now)
{
	TimestampTz settled = is_idle(slot) ? TimestampTzPlusMilliseconds(slot->state_since, SETTLED_MS) : 0;
	TimestampTz turn;

	/* what is at work is given up to one's own role, and to one that has less */
	if (slot->owner != waiting->owner && running_of(slot->owner, InvalidOid, now) <= of_waiting)
		return settled;
	/* a stream is never at its end, and keeps what it gets */
	if (!waiting->handler[0])
		return slot->launched_at;
	turn = Max(TimestampTzPlusMilliseconds(slot->launched_at, TURN_MS),
			   TimestampTzPlusMilliseconds(waiting->waits_since, PATIENCE_MS));
	return settled != 0 ? Min(settled, turn) : turn;
}

/* Whether of two that may leave it is the first: idle ones do, and then who is so, or at work, for longest. */
static bool
leaves_before(StreamSlot *a, StreamSlot *b)
{
	bool		idle = is_idle(a);

	if (idle != is_idle(b))
		return idle;
	return idle ? a->state_since < b->state_since : a->launched_at < b->launched_at;
}

/* Lets some process end for a slot that waits for one; where that can be done later only, *wait_ms says when. */
static void
make_room(const StreamSlot *waiting, TimestampTz now, long *wait_ms)
{
	StreamSlot *victim = NULL;
	int			of_waiting = running_of(waiting->owner, InvalidOid, now);
	bool		later = false;

	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		TimestampTz at;

		if (!slot->in_use || slot->pid == 0 || slot->yields || pg_atomic_read_u32(&slot->gives_way) != 0)
			continue;
		at = may_leave_at(slot, waiting, of_waiting, now);
		if (at == 0)
			continue;
		if (!mcs_shared_time_has_come(at, now))
		{
			later = true;
			*wait_ms = Min(*wait_ms, mcs_shared_ms_until(now, at));
		}
		else if (!victim || leaves_before(slot, victim))
			victim = slot;
	}
	if (victim)
	{
		victim->told_at = now;
		pg_atomic_write_u32(&victim->gives_way, 1);
		SetLatch(&victim->proc->procLatch);
		*wait_ms = Min(*wait_ms, ANSWER_MS);
	}
	else if (!later)
		take_from_richest(waiting, now, wait_ms);
}

/* Notes that a slot waits for a process, and says so in its status. */
static void
wait_for_process(StreamSlot *slot, TimestampTz now)
{
	if (slot->waits_since != 0)
		return;
	slot->waits_since = now;
	if (slot->report.state != STREAM_STARTING)
		slot->state_since = now;
	slot->report.state = STREAM_STARTING;
	slot->report.next_retry_at = 0;
	mcs_text_format(slot->report.reason, sizeof(slot->report.reason),
					"no free worker process%s: raise max_worker_processes, which is %d, and restart PostgreSQL; "
					"%d of them are left to others (mongo_change_stream.reserved_worker_processes)",
					slot->handler[0] ? ", so handlers take turns" : "", max_worker_processes,
					Max(max_worker_processes - 1 - (mcs_shared_gateway_port > 0) - most_processes(), 0));
}

/* Whether a slot waits for a process, be it that the next try is a little later. */
static bool
is_waiting(const StreamSlot *slot)
{
	return slot->in_use && slot->wanted && slot->pid == 0 && slot->waits_since != 0;
}

/* Sees to it that processes end for those that wait for one, and for no others. */
static void
share_processes(TimestampTz now, long *wait_ms)
{
	int			deaths = deaths_at_work(now);
	int			leaving = 0;
	bool		anybody = false;

	for (int i = 0; i < mcs_shared->max_slots; i++)
		leaving += is_leaving(&mcs_shared->slots[i], now);
	/* each that leaves serves one that waits, whichever is started then */
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (is_due(slot, now, deaths, wait_ms))
		{
			wait_for_process(slot, now);
			if (leaving > 0)
				leaving--;
			else
				make_room(slot, now, wait_ms);
			*wait_ms = Min(*wait_ms, ANSWER_MS);
		}
		anybody |= is_waiting(slot);
	}
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots && !anybody; i++)
		if (mcs_shared->slots[i].in_use)
			pg_atomic_write_u32(&mcs_shared->slots[i].gives_way, 0);
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
	launch->group = slot->joins;
	slot->launching = true;
	slot->launched_at = now;
}

/* When to ask the postmaster again, which had no process so many times in a row: one of ours that leaves may just not be gone. */
static TimestampTz
after_refusal(int *refused)
{
	int			delay = Min(REFUSED_MIN_MS << Min(*refused, 10), REFUSED_MAX_MS);

	(*refused)++;
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay);
}

/* The postmaster had no process for a slot, so others have what is left of them: somebody may give one, and it is tried again soon. */
static void
refused(StreamSlot *slot, TimestampTz now)
{
	long		wait_ms = 0;

	slot->launching = false;
	slot->not_before = after_refusal(&slot->refused);
	wait_for_process(slot, now);
	make_room(slot, now, &wait_ms);
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
		if (is_room() && (slot = next_worker(now, wait_ms)) != NULL)
			take_turn(slot, now, &launch);
		else
			share_processes(now, wait_ms);
	}
	LWLockRelease(mcs_shared->lock);
	return launch;
}

/* Takes a launch back: the postmaster had no free worker slot.  The status says so. */
void
mcs_shared_launch_failed(const Launch *launch)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (launch->kind == LAUNCH_PROBER)
	{
		mcs_shared->prober_database = InvalidOid;
		note = mcs_shared_note(launch->database, false);
		if (note)
		{
			note->dirty = true;
			note->not_before = after_refusal(&note->refused);
		}
	}
	else
	{
		StreamSlot *slot = &mcs_shared->slots[launch->ticket.index];

		/* it may have become another stream's while the postmaster was asked */
		if (slot->in_use && slot->generation == launch->ticket.generation)
			refused(slot, GetCurrentTimestamp());
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
