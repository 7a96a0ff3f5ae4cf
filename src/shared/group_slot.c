/*
 * shared/group_slot.c
 *	  Slots of streams that one process follows together: how they come to it and
 *	  how they leave.  The locks are explained in shared/memory.c.
 *
 * Streams with one group_key can be served by one cursor.  Such a stream is
 * followed by an ordinary worker first, which offers it as soon as it has caught
 * up; when another one of the key is offered, too, or a group is there, the worker
 * leaves and the slot "joins": the launcher starts a group's process for the first
 * of them, which takes the others.  Where nothing has gone wrong with several of
 * them before, they begin as a group at once.  A group gives a stream back whenever
 * something is to be done for it that others should not wait for: it is an ordinary
 * worker's again then, and may come back later.
 *
 * When PostgreSQL comes back from a crash, all of its processes have died, and who
 * was the cause is not known.  Streams begin as groups then, too: a hundred that each
 * had to show alone that it lives would take minutes.  Such a group notes whose
 * work it is at (worker/member.c), so that the next time the one is known, which is
 * an ordinary worker's then until it has shown that it lives.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

/* So long an offer is good: processes that make one renew it each second. */
#define OFFER_MS			5000

/* The key of this process's group; 0: it is none's. */
static int64 group_key = 0;

/* Whether a slot is of a stream that a slot's group could follow. */
static bool
fits(const StreamSlot *other, const StreamSlot *slot)
{
	return other != slot && other->in_use && other->wanted && other->group_key == slot->group_key && slot->group_key != 0 &&
		other->database == slot->database && other->owner == slot->owner;
}

/* Whether a slot's stream is left to a group's process that is there, which is told, or on its way. */
bool
mcs_group_slot_is_served(const StreamSlot *slot)
{
	if (!slot->joins)
		return false;
	for (int i = 0; i < mcs_shared->max_streams; i++)
	{
		const StreamSlot *other = &mcs_shared->slots[i];

		if (!fits(other, slot))
			continue;
		if (other->grouped && other->pid != 0)
		{
			SetLatch(&other->proc->procLatch);
			return true;
		}
		if (other->joins && other->launching)
			return true;
	}
	return false;
}

/* Whether a process is at a slot, or on its way, that is not counted at another. */
bool
mcs_group_slot_counts(const StreamSlot *slot)
{
	return (slot->pid != 0 || slot->launching) && (!slot->grouped || slot->leads);
}

/* One of this process's slots counts for it. */
void
mcs_group_slot_lead(void)
{
	StreamSlot *first = NULL;

	for (int i = 0; i < mcs_shared->max_streams; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->pid != MyProcPid || !slot->grouped)
			continue;
		if (slot->leads)
			return;
		if (!first)
			first = slot;
	}
	if (first)
		first->leads = true;
}

/*
 * Whether a stream that has had no process yet may begin in a group: also after one
 * death, of which nobody knows whose doing it was.  The group takes care then that
 * it is known after the next one.
 */
static bool
may_begin(const StreamSlot *slot)
{
	return !slot->attached && !slot->launching && slot->deaths <= 1;
}

/*
 * Whether a stream whose whole group parted, and which has waited for a process
 * since, may go to those that are together again, as they have shown alone that
 * they can: of a hundred streams on few processes the last would wait for minutes.
 */
static bool
may_come_back(const StreamSlot *slot, TimestampTz now)
{
	return slot->parted && slot->pid == 0 && !slot->launching && slot->deaths == 0 &&
		TimestampDifferenceExceeds(slot->parted_at, now, SLOT_PARTING_MS);
}

/* Streams of a database that have had no process yet, and no trouble, begin as groups where they can; those that wait for one since they parted follow others. */
void
mcs_group_slot_begin_together(Oid database)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < mcs_shared->max_streams; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->database != database || !slot->wanted || slot->group_key == 0 || slot->joins ||
			!(may_begin(slot) || may_come_back(slot, now)))
			continue;
		for (int j = 0; j < mcs_shared->max_streams; j++)
		{
			StreamSlot *other = &mcs_shared->slots[j];

			if (fits(other, slot) && (other->grouped || other->joins || (may_begin(slot) && may_begin(other))))
				slot->joins = true;
		}
	}
}

/* ---- the ordinary process of a stream ---- */

bool
mcs_group_slot_has_others(void)
{
	bool		others = false;

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_streams && !others; i++)
		others = fits(&mcs_shared->slots[i], mcs_slot_mine);
	LWLockRelease(mcs_shared->lock);
	return others;
}

bool
mcs_group_slot_offer(bool offers)
{
	StreamSlot *slot = mcs_slot_mine;
	TimestampTz now = GetCurrentTimestamp();

	/* what is read without the lock is right the next time */
	if (!offers && slot->offered_at == 0)
		return false;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	offers = offers && slot->group_key != 0 && slot->wanted && !slot->changed && slot->deaths == 0 &&
		mcs_shared_time_has_come(slot->alone_until, now);
	slot->offered_at = offers ? now : 0;
	for (int i = 0; i < mcs_shared->max_streams && offers && !slot->joins; i++)
	{
		StreamSlot *other = &mcs_shared->slots[i];

		if (fits(other, slot) && (other->grouped || other->joins ||
								  (other->offered_at != 0 && !TimestampDifferenceExceeds(other->offered_at, now, OFFER_MS))))
			slot->joins = true;
	}
	offers = slot->joins;
	/* those that still wait for a process go with it */
	if (offers)
		mcs_group_slot_begin_together(slot->database);
	LWLockRelease(mcs_shared->lock);
	return offers;
}

/* ---- the process of a group ---- */

int64
mcs_group_slot_attach(void)
{
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	group_key = mcs_slot_mine->group_key;
	LWLockRelease(mcs_shared->lock);
	return group_key;
}

int
mcs_group_slot_take(char *stream, StreamReport *report, bool first, bool *after_crash, bool *parted)
{
	StreamSlot *taken = NULL;

	*after_crash = mcs_slot_is_first();

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_streams && !taken; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || !slot->wanted || !slot->joins || slot->group_key != group_key || slot->database != MyDatabaseId)
			continue;
		if (first ? slot == mcs_slot_mine : (slot->pid == 0 && slot->owner == GetSessionUserId() && !mcs_shared_is_blocked(slot->database)))
			taken = slot;
	}
	if (taken)
	{
		if (!first)
		{
			*after_crash = mcs_shared->after_crash && !taken->attached;
			mcs_slot_begin(taken);
		}
		*parted = taken->parted;
		taken->parted = false;
		taken->grouped = true;
		taken->joins = false;
		strlcpy(stream, taken->stream, NAMEDATALEN);
		*report = taken->report;
		mcs_group_slot_lead();
	}
	LWLockRelease(mcs_shared->lock);
	return taken ? (int) (taken - mcs_shared->slots) : -1;
}

void
mcs_group_slot_use(int slot, bool at_work)
{
	StreamSlot *used = &mcs_shared->slots[slot];

	/* without the lock: who cancels what is done for a stream and comes too late has cancelled nothing of value */
	if (mcs_slot_mine && mcs_slot_mine != used)
		mcs_slot_mine->at_work = false;
	mcs_slot_mine = used;
	used->at_work = at_work;
}

bool
mcs_group_slot_is_foreign(void)
{
	return mcs_slot_mine->group_key != group_key;
}

void
mcs_group_slot_give(GroupEnd end)
{
	StreamSlot *slot = mcs_slot_mine;
	TimestampTz now = GetCurrentTimestamp();
	bool		alone;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	/* changed again meanwhile: let the launcher look */
	if (end == GROUP_END_STOPPED)
		slot->wanted = slot->changed;
	alone = end == GROUP_END_ALONE ||
		(end == GROUP_END_PARTED && slot->parted_at != 0 && !TimestampDifferenceExceeds(slot->parted_at, now, SLOT_PARTED_MS));
	if (alone)
		slot->alone_until = TimestampTzPlusMilliseconds(now, SLOT_ALONE_MS);
	slot->parted = end == GROUP_END_PARTED && !alone;
	if (end == GROUP_END_PARTED)
		slot->parted_at = now;
	mcs_slot_end(slot, 0, now);
	slot->follows_on = end != GROUP_END_STOPPED;
	mcs_group_slot_lead();
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
	mcs_slot_mine = NULL;
	ConditionVariableBroadcast(&mcs_shared->moved);
}

GroupNews
mcs_group_slot_news(void)
{
	GroupNews	news = {false, false, false};
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_streams; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->database != MyDatabaseId)
			continue;
		if (slot->pid == MyProcPid)
		{
			news.changed |= slot->changed;
			news.sync |= slot->sync_until > now;
		}
		else if (slot->pid == 0 && slot->joins && slot->wanted && slot->group_key == group_key && slot->owner == GetSessionUserId())
			news.joins = true;
	}
	LWLockRelease(mcs_shared->lock);
	return news;
}
