/*
 * shared/handler_slot.c
 *	  The slot of a handler's worker in shared memory.  The locks are explained
 *	  in shared/memory.c.
 *
 * A slot is there for each worker of a handler that shall run, also while it
 * has no process: a process is started when the stream's worker has committed
 * events (mcs_slot_wake_handlers), and rests, which ends it, when it has seen
 * them all and nothing has come for a while, or another waits for a process: see
 * shared/queue.c.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"

/* A person is told of a handler's dead letters at most so often. */
#define DEAD_LETTERS_INTERVAL_MS 60000

/* A process that ends to come again comes after so long at the latest, and looks: see mcs_shared_time_has_come. */
#define AWAY_MS		60000

/* With the lock held: whether a slot is of the handler that this process runs. */
static bool
is_of_this_handler(const StreamSlot *slot)
{
	return slot->in_use && slot->database == mcs_slot_mine->database && strcmp(slot->handler, mcs_slot_mine->handler) == 0;
}

/* Which handler, and which of its workers, this process is; after mcs_slot_attach. */
bool
mcs_handler_slot_attach(char *handler, int *worker)
{
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	strlcpy(handler, mcs_slot_mine->handler, NAMEDATALEN);
	*worker = mcs_slot_mine->worker;
	LWLockRelease(mcs_shared->lock);
	return handler[0] != '\0';
}

/* Publishes the event whose code is running, 0: none. */
void
mcs_handler_slot_running(int64 event_id, TimestampTz since)
{
	/* since first: who reads an event reads the time that belongs to it */
	if (event_id)
		pg_atomic_write_u64(&mcs_slot_mine->running_since, (uint64) since);
	pg_atomic_write_u64(&mcs_slot_mine->running_event, (uint64) event_id);
}

/* A position was committed: whoever waits for it looks again. */
void
mcs_handler_slot_moved(double events_per_second)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->events_per_second = mcs_slot_shown_pace(events_per_second);
	mcs_slot_mine->quick_exits = 0;
	/* what they show is what it has done, too */
	if (mcs_slot_tell_projections(mcs_slot_mine->database, mcs_slot_mine->stream, GetCurrentTimestamp()))
		mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
	ConditionVariableBroadcast(&mcs_shared->moved);
}

/* Whether what ran was cancelled because it held up its change stream. */
bool
mcs_handler_slot_take_obstructs(void)
{
	bool		obstructs;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	obstructs = mcs_slot_mine->obstructs;
	mcs_slot_mine->obstructs = false;
	LWLockRelease(mcs_shared->lock);
	return obstructs;
}

/* Notes that an event became a dead letter, to be told of by mcs_handler_slot_take_dead_letters. */
void
mcs_handler_slot_add_dead_letter(int64 event_id)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_slot_mine->dead_letters++;
	mcs_slot_mine->last_dead_letter = event_id;
	LWLockRelease(mcs_shared->lock);
}

/* Whichever of a handler's processes that has some comes first tells for all of them. */
int64
mcs_handler_slot_take_dead_letters(bool at_once, int64 *last, TimestampTz *tell_at)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz told_at = 0;
	int64		count = 0;

	*last = 0;
	*tell_at = 0;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots && mcs_slot_mine->dead_letters > 0; i++)
		if (is_of_this_handler(&mcs_shared->slots[i]))
		{
			count += mcs_shared->slots[i].dead_letters;
			*last = Max(*last, mcs_shared->slots[i].last_dead_letter);
			told_at = Max(told_at, mcs_shared->slots[i].dead_letters_told_at);
		}
	/* too early: they stay in their slots and are counted again */
	if (count > 0 && !at_once && !TimestampDifferenceExceeds(told_at, now, DEAD_LETTERS_INTERVAL_MS))
	{
		count = 0;
		*tell_at = TimestampTzPlusMilliseconds(told_at, DEAD_LETTERS_INTERVAL_MS);
	}
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots && count > 0; i++)
		if (is_of_this_handler(&mcs_shared->slots[i]))
		{
			mcs_shared->slots[i].dead_letters = 0;
			mcs_shared->slots[i].dead_letters_told_at = now;
		}
	LWLockRelease(mcs_shared->lock);
	return count;
}

/* The stream's last event of which the slot was told; to be asked before the table is looked into. */
int64
mcs_handler_slot_newest(void)
{
	int64		newest;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	newest = mcs_slot_mine->newest_event;
	LWLockRelease(mcs_shared->lock);
	return newest;
}

/*
 * Whether there is more to do than what was seen when mcs_handler_slot_newest returned
 * this.  To be asked before each wait: what PostgreSQL itself waits for in a
 * transaction may have taken the latch that told of it.
 */
bool
mcs_handler_slot_has_news(int64 newest)
{
	bool		news;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	news = mcs_slot_mine->changed || mcs_slot_mine->newest_event != newest;
	LWLockRelease(mcs_shared->lock);
	return news;
}

/* The time at which a process that ends is to be started again; 0 stays 0. */
static TimestampTz
at_latest(TimestampTz at)
{
	return at == 0 ? 0 : Min(at, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), AWAY_MS));
}

/*
 * Says that there is nothing to do, unless something has come: under one lock with
 * what mcs_slot_wake_handlers does, so that no event falls between the two.
 */
bool
mcs_handler_slot_rest(int64 newest, TimestampTz look_at)
{
	bool		rests;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	rests = !mcs_slot_mine->changed && mcs_slot_mine->newest_event == newest;
	if (rests)
	{
		mcs_slot_mine->work = false;
		mcs_slot_mine->look_at = at_latest(look_at);
		mcs_slot_mine->events_per_second = 0;
	}
	LWLockRelease(mcs_shared->lock);
	return rests;
}

/* Without the lock, as it is asked between two events. */
bool
mcs_handler_slot_gives_way(void)
{
	return pg_atomic_read_u32(&mcs_slot_mine->gives_way) != 0;
}

/* If it has something to do still, it is its turn again when a process is free: the launcher looks when this one has ended. */
bool
mcs_handler_slot_leave(int64 position, TimestampTz again_at, TimestampTz look_at)
{
	bool		leaves;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	/* what has changed is looked at first, which may end all waiting */
	leaves = pg_atomic_read_u32(&mcs_slot_mine->gives_way) != 0 && !mcs_slot_mine->changed;
	if (leaves)
	{
		/* 0: none is known, for PostgreSQL has just been started */
		mcs_slot_mine->work = mcs_slot_mine->newest_event == 0 || position < mcs_slot_mine->newest_event;
		mcs_slot_mine->not_before = at_latest(again_at);
		mcs_slot_mine->look_at = at_latest(look_at);
	}
	LWLockRelease(mcs_shared->lock);
	return leaves;
}
