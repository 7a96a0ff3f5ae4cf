/*
 * shared/slot.c
 *	  The slot of a stream in shared memory: what its worker publishes there and
 *	  what others read and wait for.  The locks are explained in shared/memory.c.
 *
 * What is published is what cannot be read from the tables: how far the worker is
 * within a second, what it waits for, why its last process ended.  So it costs no
 * transaction, and is forgotten when PostgreSQL restarts.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"
#include <math.h>

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* The pause before a worker that ended with an error is started again doubles between these. */
#define RELAUNCH_MIN_MS		1000
#define RELAUNCH_MAX_MS		60000

/* What projections show is believed for so long where no process of theirs looks: a view's owner may become a reader by a GRANT of PostgreSQL's. */
#define SOURCES_KNOWN_MS	600000

/* One that lives so long and saves its position is not of those that end at once. */
#define SURVIVED_MS			3000

StreamSlot *mcs_slot_mine = NULL;

/* No other process has been at this slot since PostgreSQL came back from a crash. */
static bool is_first = false;

/* What ended this process, if it is an error. */
static char end_error[512];
static emit_log_hook_type previous_emit_log = NULL;

/* ---- workers ---- */

/*
 * Remembers the message of an error that is reported: exit callbacks are told an
 * exit code only, and by then the error is gone.
 */
static void
keep_error(ErrorData *error)
{
	if (previous_emit_log)
		previous_emit_log(error);
	if (error->elevel >= ERROR && mcs_slot_mine)
		mcs_text_copy(end_error, sizeof(end_error), error->message ? error->message : "");
}

/* An error was dealt with, so it is not what this process will end by. */
void
mcs_slot_forget_error(void)
{
	end_error[0] = '\0';
}

/* Why the process ended, for who looks before the next one reports. */
static void
report_end(StreamSlot *slot)
{
	slot->report.state = slot->yields ? STREAM_STARTING : STREAM_RETRYING;
	if (slot->yields)
		mcs_text_copy(slot->report.reason, sizeof(slot->report.reason),
					  "no free worker process: it gave its own to a role that has fewer; raise max_worker_processes and restart PostgreSQL");
	else if (end_error[0])
	{
		mcs_text_format(slot->report.reason, sizeof(slot->report.reason), "its process ended and will be started again: %s", end_error);
		mcs_text_copy(slot->report.last_error, sizeof(slot->report.last_error), end_error);
	}
	else
		mcs_text_copy(slot->report.reason, sizeof(slot->report.reason), "its process ended and will be started again");
	slot->report.next_retry_at = slot->not_before;
	slot->yields = false;
}

/*
 * With the lock held, when a process leaves a slot, which is free for the next one.
 * An exit with an error soon after the start lengthens the pause before the next
 * start.
 */
void
mcs_slot_end(StreamSlot *slot, int code, TimestampTz now)
{
	slot->pid = 0;
	slot->proc = NULL;
	pg_atomic_write_u64(&slot->running_event, 0);
	if (code != 0)
	{
		double		pause;

		/* one that has worked for a while ended for another reason than those before it */
		if (TimestampDifferenceExceeds(slot->launched_at, now, RELAUNCH_MAX_MS))
			slot->quick_exits = 0;
		pause = Min(RELAUNCH_MIN_MS * pow(2, Min(slot->quick_exits, 10)), RELAUNCH_MAX_MS);
		slot->quick_exits++;
		/* not all at the same moment, if a server that many streams follow was what failed */
		slot->not_before = TimestampTzPlusMilliseconds(now, (int64) (pause * (0.5 + pg_prng_double(&pg_global_prng_state) / 2)));
		report_end(slot);
		slot->state_since = now;
	}
	else if (!slot->wanted)
		slot->in_use = false;
	slot->grouped = false;
	slot->leads = false;
	slot->at_work = false;
	slot->offered_at = 0;
}

/* At a worker's exit: its slot, or all those of a group. */
static void
detach_worker(int code, Datum arg)
{
	TimestampTz now = GetCurrentTimestamp();

	/* first of all: an error from here on must not be published into a slot that may be another's */
	mcs_slot_mine = NULL;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		bool		again;

		if (!slot->in_use || slot->pid != MyProcPid)
			continue;
		/* a group that was ended from outside comes again; but not with the stream that may be why */
		again = slot->grouped && code != 0 && slot->quick_exits < 2;
		if (again && slot->at_work)
		{
			slot->alone_until = TimestampTzPlusMilliseconds(now, SLOT_ALONE_MS);
			again = false;
		}
		mcs_slot_end(slot, code, now);
		slot->joins |= again;
	}
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
	/* who waits for the database to be empty looks again */
	ConditionVariableBroadcast(&mcs_shared->moved);
}

/* With the lock held: this process is at a slot from now on. */
void
mcs_slot_begin(StreamSlot *slot)
{
	slot->launching = false;
	slot->pid = MyProcPid;
	slot->proc = MyProc;
	/* the definition is read after this */
	slot->changed = false;
	slot->launched_at = GetCurrentTimestamp();
	slot->attached = true;
	slot->yields = false;
	slot->waits_since = 0;
	slot->refused = 0;
	slot->look_at = 0;
	slot->follows_on = false;
	pg_atomic_write_u32(&slot->gives_way, 0);
}

/* Takes the slot of a ticket; false where it is no longer this worker's. */
bool
mcs_slot_attach(SlotTicket ticket, char *stream, Oid *database, Oid *owner)
{
	StreamSlot *slot;
	bool		ours;
	bool		follows_on;

	if (ticket.index < 0 || ticket.index >= mcs_shared->max_slots)
		return false;
	slot = &mcs_shared->slots[ticket.index];
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	ours = mcs_shared_enabled && slot->in_use && slot->wanted && slot->generation == ticket.generation && slot->pid == 0 &&
		!mcs_shared_is_blocked(slot->database);
	if (ours)
	{
		is_first = mcs_shared->after_crash && !slot->attached;
		follows_on = slot->follows_on && slot->report.state == STREAM_ACTIVE;
		mcs_slot_begin(slot);
		slot->grouped = slot->leads = slot->joins;
		/* one that goes to a group is followed on without a break, and so is one that comes from there */
		if (!slot->joins)
		{
			slot->parted = false;
			if (!follows_on)
				slot->report.state = STREAM_STARTING;
			slot->report.next_retry_at = 0;
			mcs_text_copy(slot->report.reason, sizeof(slot->report.reason), "its process reads the definition and connects");
		}
		strlcpy(stream, slot->stream, NAMEDATALEN);
		*database = slot->database;
		*owner = slot->owner;
	}
	/* it is this process that was being started: the launcher need not wait for it any more */
	else if (slot->in_use && slot->generation == ticket.generation && slot->pid == 0)
		slot->launching = false;
	LWLockRelease(mcs_shared->lock);
	if (ours)
	{
		mcs_slot_mine = slot;
		previous_emit_log = emit_log_hook;
		emit_log_hook = keep_error;
		before_shmem_exit(detach_worker, (Datum) 0);
	}
	return ours;
}

/* Whether the definition may have changed since it was last read. */
bool
mcs_slot_is_changed(void)
{
	bool		changed;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	changed = mcs_slot_mine->changed;
	LWLockRelease(mcs_shared->lock);
	return changed;
}

/* The same, and takes the mark away: to be followed by reading the definition. */
bool
mcs_slot_take_changed(void)
{
	bool		changed;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	changed = mcs_slot_mine->changed;
	mcs_slot_mine->changed = false;
	LWLockRelease(mcs_shared->lock);
	return changed;
}

/* Tells the launcher that this stream shall not run, for an exit without error. */
void
mcs_slot_release(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->wanted = mcs_slot_mine->changed; /* changed again meanwhile: let the launcher look */
	LWLockRelease(mcs_shared->lock);
}

/*
 * Whether the process that was here before, if the catalog says that there was
 * one, has died: no other has been here since PostgreSQL came back from a crash.
 */
bool
mcs_slot_is_first(void)
{
	return is_first;
}

/* The process has shown that it does not die of what it does: others may be tried. */
void
mcs_slot_trusted(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	/* others may be waiting for this one to show it */
	if (mcs_slot_mine->deaths > 0)
		mcs_shared_wake_launcher();
	mcs_slot_mine->deaths = 0;
	LWLockRelease(mcs_shared->lock);
}

/* A notification was left out, since the queue is too full; a line in the log once a minute. */
void
mcs_slot_suppressed(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		told;

	/* a function of a user's that writes a row: the worker will say the same */
	if (!mcs_slot_mine)
		return;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	told = !TimestampDifferenceExceeds(mcs_slot_mine->suppressed_at, now, SLOT_SUPPRESSED_MS);
	if (!told)
		mcs_slot_mine->suppressed_at = now;
	LWLockRelease(mcs_shared->lock);
	/* not under the lock: it writes to a file or a pipe */
	if (!told)
		ereport(LOG,
				(errmsg("notifications of change stream \"%s\" are left out, since PostgreSQL's queue of them is more than half full",
						mcs_slot_mine->stream),
				 errhint("A session that listens is in a transaction since long ago: look at pg_stat_activity.xact_start. Nothing is lost that is read by event_id.")));
}

/* Publishes state, reason and error. */
void
mcs_slot_report(const StreamReport *report)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (mcs_slot_mine->report.state != report->state)
		mcs_slot_mine->state_since = GetCurrentTimestamp();
	mcs_slot_mine->report = *report;
	LWLockRelease(mcs_shared->lock);
}

/*
 * Publishes MongoDB's time as a reply has it, before what came with it is
 * written, and when that was; 0: a reply of a member that stands still, from
 * which nothing can be learned of the time.
 */
void
mcs_slot_heard(uint64 operation_time, TimestampTz heard_at)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->operation_time = Max(mcs_slot_mine->operation_time, operation_time);
	mcs_slot_mine->heard_at = Max(mcs_slot_mine->heard_at, heard_at);
	mcs_slot_mine->await_ms = 0;
	mcs_slot_mine->replied_at = GetCurrentTimestamp();
	LWLockRelease(mcs_shared->lock);
}

/* Publishes that nothing is at hand and MongoDB is asked for more, and how long it may be silent then. */
void
mcs_slot_waiting(int await_ms)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->await_ms = await_ms;
	LWLockRelease(mcs_shared->lock);
}

/* People read it, to whom more than thousandths say nothing. */
double
mcs_slot_shown_pace(double events_per_second)
{
	return rint(events_per_second * 1000) / 1000;
}

/* Publishes a position that is committed. */
void
mcs_slot_saved(uint64 saved_time, bool drained, int64 asked_at, double events_per_second)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	/* what a process finds of its position at once is no progress: it may end at the next event, as those before it */
	if (saved_time > mcs_slot_mine->saved_time || TimestampDifferenceExceeds(mcs_slot_mine->launched_at, now, SURVIVED_MS))
		mcs_slot_mine->quick_exits = 0;
	/* the position may be another one already, set by who changed the stream: what we saved must not be waited on */
	if (!mcs_slot_mine->changed)
	{
		mcs_slot_mine->saved_time = saved_time;
		mcs_slot_mine->drained = drained;
		mcs_slot_mine->asked_at = asked_at;
	}
	mcs_slot_mine->replied_at = now;
	mcs_slot_mine->events_per_second = mcs_slot_shown_pace(events_per_second);
	LWLockRelease(mcs_shared->lock);
	ConditionVariableBroadcast(&mcs_shared->moved);
}

/* Whether somebody waits for the position, so that saving it is worth a transaction. */
bool
mcs_slot_sync_wanted(void)
{
	bool		wanted;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	wanted = mcs_slot_mine->sync_until != 0 && mcs_slot_mine->sync_until > GetCurrentTimestamp();
	LWLockRelease(mcs_shared->lock);
	return wanted;
}

/* Publishes how far the oplog reaches back, and would if it were full, in microseconds. */
void
mcs_slot_oplog_window(int64 window, int64 holds)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->oplog_window = window;
	mcs_slot_mine->oplog_holds = holds;
	LWLockRelease(mcs_shared->lock);
}

/* With the lock held: tells a handler that there is something new; whether it has no process and waits for none, so that the launcher is to start one. */
bool
mcs_slot_tell(StreamSlot *slot, int64 newest_event, TimestampTz now)
{
	bool		launch = !slot->proc && !slot->work;

	slot->newest_event = newest_event;
	slot->news_at = now;
	if (slot->proc)
		SetLatch(&slot->proc->procLatch);
	/* work stays until the handler has looked: it may be on its way out just now */
	slot->work = true;
	return launch;
}

/* Whether a slot is that of an owner's projections. */
bool
mcs_slot_is_of_projections(const StreamSlot *slot)
{
	return slot->in_use && slot->stream[0] == '\0';
}

/* Which of 64 bits a stream has; two may have one, which wakes somebody in vain. */
static uint64
bit_of_stream(const char *stream)
{
	return UINT64CONST(1) << (hash_bytes((const unsigned char *) stream, strlen(stream)) % 64);
}

/*
 * With the lock held: the same for the projections of a database that may show what
 * has come for a stream, or ("") other projections; they ask the tables whether it is
 * news to them, and count how often they were told.
 */
bool
mcs_slot_tell_projections(Oid database, const char *stream, TimestampTz now)
{
	uint64		bit = bit_of_stream(stream);
	bool		launch = false;

	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (mcs_slot_is_of_projections(slot) && slot->database == database && (slot->sources_until <= now || (slot->sources & bit) != 0))
			launch |= mcs_slot_tell(slot, slot->newest_event + 1, now);
	}
	return launch;
}

/* With the lock held: what projections show is to be found out again. */
void
mcs_slot_forget_sources(Oid database)
{
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots; i++)
		if (mcs_slot_is_of_projections(&mcs_shared->slots[i]) && mcs_shared->slots[i].database == database)
		{
			mcs_shared->slots[i].sources_until = 0;
			mcs_shared->slots[i].finds_sources = false;
		}
}

/* In the process of projections, before the tables are looked into. */
void
mcs_slot_find_sources(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->finds_sources = true;
	LWLockRelease(mcs_shared->lock);
}

/* And when they were: the names of the streams, List of char *. */
void
mcs_slot_found_sources(List *streams)
{
	uint64		sources = 0;
	ListCell   *cell;

	foreach(cell, streams)
		sources |= bit_of_stream(lfirst(cell));
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->sources = sources;
	mcs_slot_mine->sources_until = mcs_slot_mine->finds_sources ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), SOURCES_KNOWN_MS) : 0;
	LWLockRelease(mcs_shared->lock);
}

/* Tells the stream's handlers, and projections, which event is committed now; those that have no worker get one. */
void
mcs_slot_wake_handlers(int64 last_event_id)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		launch;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	launch = mcs_slot_tell_projections(mcs_slot_mine->database, mcs_slot_mine->stream, now);
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->database == mcs_slot_mine->database && strcmp(slot->stream, mcs_slot_mine->stream) == 0)
			launch |= mcs_slot_tell(slot, last_event_id, now);
	}
	if (launch)
		mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
}

/* ---- functions in any backend ---- */

/*
 * Waits until a stream of this database has saved a position past a cluster
 * time, at most until a time; false where it has not.  Past means: a greater
 * time, or this time with nothing behind it, since events of one transaction
 * all have one time and may be spread over several batches.  A stream that is
 * opened while nothing happens has a position before the events of the next
 * time: an empty reply proves something of that time only if it was asked for
 * after the time was seen, or if the position has moved to that time since.
 */
bool
mcs_slot_wait_synced(const char *stream, uint64 time, int64 since, TimestampTz until)
{
	bool		synced = false;

	if (!mcs_shared)
		return false;
	/* before the first look, so that a save between the look and the sleep is not missed */
	ConditionVariablePrepareToSleep(&mcs_shared->moved);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		StreamSlot *slot;

		LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
		slot = mcs_shared_find_slot(MyDatabaseId, stream, "", 0);
		if (slot)
		{
			synced = slot->saved_time > time ||
				(slot->saved_time == time && (slot->drained || slot->asked_at >= since));
			slot->sync_until = Max(slot->sync_until, until);
		}
		LWLockRelease(mcs_shared->lock);
		if (synced || now >= until)
			break;
		/* the slot may not be there yet, so look again now and then */
		(void) ConditionVariableTimedSleep(&mcs_shared->moved, Min(mcs_shared_ms_until(now, until), 1000), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return synced;
}

/*
 * The same in parts, for who looks at the tables between two waits: begin before
 * the first look, so that nothing is missed, and end after the last.
 */
void
mcs_slot_begin_wait(void)
{
	if (mcs_shared)
		ConditionVariablePrepareToSleep(&mcs_shared->moved);
}

void
mcs_slot_wait(TimestampTz until)
{
	if (mcs_shared)
		(void) ConditionVariableTimedSleep(&mcs_shared->moved, Min(mcs_shared_ms_until(GetCurrentTimestamp(), until), 1000),
										   PG_WAIT_EXTENSION);
}

void
mcs_slot_end_wait(void)
{
	ConditionVariableCancelSleep();
}

/* With the lock held; wait_event_info is read as pg_stat_activity reads it, without one. */
static void
copy_slot(SlotView *view, StreamSlot *slot)
{
	strlcpy(view->stream, slot->stream, NAMEDATALEN);
	strlcpy(view->handler, slot->handler, NAMEDATALEN);
	view->worker = slot->worker;
	view->owner = slot->owner;
	view->pid = slot->pid;
	view->wait_event = slot->proc ? slot->proc->wait_event_info : 0;
	view->report = slot->report;
	view->state_since = slot->state_since;
	view->saved_time = slot->saved_time;
	view->operation_time = slot->operation_time;
	view->heard_at = slot->heard_at;
	view->replied_at = slot->replied_at;
	view->await_ms = slot->await_ms;
	view->events_per_second = slot->events_per_second;
	view->oplog_window = slot->oplog_window;
	view->oplog_holds = slot->oplog_holds;
	view->suppressed_at = slot->suppressed_at;
	view->alone_until = slot->alone_until;
	view->running_event = (int64) pg_atomic_read_u64(&slot->running_event);
	view->running_since = (TimestampTz) pg_atomic_read_u64(&slot->running_since);
}

/*
 * Copies, since what is done with them (rights, catalogs, names of locks) may not
 * be done with the lock held.
 */
SlotView *
mcs_slot_views(bool of_handlers, int *count)
{
	SlotView   *views;

	*count = 0;
	if (!mcs_shared)
		return NULL;
	/* before the lock is taken, with room for all there can be */
	views = palloc_extended(sizeof(SlotView) * mcs_shared->max_slots, MCXT_ALLOC_HUGE);
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->database != MyDatabaseId || (slot->handler[0] != '\0') != of_handlers)
			continue;
		/* a handler's slot stays a while after it, for what its process still says */
		if (of_handlers && !slot->wanted)
			continue;
		copy_slot(&views[(*count)++], slot);
	}
	LWLockRelease(mcs_shared->lock);
	return views;
}

/* Names of a role's streams that run in other databases than this one, whose tables cannot be read from here. */
List *
mcs_slot_streams_of_role(Oid role)
{
	List	   *names = NIL;
	char	  (*copies)[NAMEDATALEN] = palloc(NAMEDATALEN * mcs_shared->max_slots);
	int			count = 0;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].owner == role && mcs_shared->slots[i].database != MyDatabaseId &&
			mcs_shared->slots[i].handler[0] == '\0')
			strlcpy(copies[count++], mcs_shared->slots[i].stream, NAMEDATALEN);
	LWLockRelease(mcs_shared->lock);
	for (int i = 0; i < count; i++)
		names = lappend(names, copies[i]);
	return names;
}
