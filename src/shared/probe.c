/*
 * shared/probe.c
 *	  What a prober makes of the slots, having read a database's catalog.  The
 *	  locks are explained in shared/memory.c.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"
#include <math.h>

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#define PROBE_RETRY_MS			5000	/* after a prober that failed */
#define DEATH_MIN_MS			1000	/* after each of the first deaths, which may have come by chance; then doubling */
#define DEATH_MAX_MS			60000

/* At a prober's exit: one that failed comes again after a pause, and the next database has its turn. */
static void
detach_prober(int code, Datum arg)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (mcs_shared->prober_pid == MyProcPid)
	{
		DatabaseNote *note = mcs_shared_note(mcs_shared->prober_database, false);

		/* what it should have seen is still to be seen */
		if (note && code != 0)
		{
			note->dirty = true;
			note->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PROBE_RETRY_MS);
		}
		mcs_shared->prober_pid = 0;
		mcs_shared->prober_database = InvalidOid;
	}
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
	ConditionVariableBroadcast(&mcs_shared->moved);
}

/* Makes this process the prober of a database; false where it is no longer wanted there. */
bool
mcs_shared_attach_prober(Oid database)
{
	bool		wanted;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	wanted = mcs_shared->prober_database == database && mcs_shared->prober_pid == 0 && !mcs_shared_is_blocked(database);
	if (wanted)
	{
		DatabaseNote *note = mcs_shared_note(database, false);

		mcs_shared->prober_pid = MyProcPid;
		/* a change that commits from here on makes it dirty again */
		if (note)
		{
			note->probed_at = GetCurrentTimestamp();
			note->refused = 0;
		}
	}
	else if (mcs_shared->prober_database == database && mcs_shared->prober_pid == 0)
	{
		/* another database may be waiting for its turn */
		mcs_shared->prober_database = InvalidOid;
		mcs_shared_wake_launcher();
	}
	LWLockRelease(mcs_shared->lock);
	if (wanted)
		before_shmem_exit(detach_prober, (Datum) 0);
	return wanted;
}

/*
 * A slot whose last process has died, as far as shared memory that was made
 * after it can tell: the next one waits, the longer the more have died.
 */
static void
after_death(StreamSlot *slot, int deaths)
{
	double		pause = Min(DEATH_MIN_MS * pow(2, Min(Max(deaths - 4, 0), 10)), DEATH_MAX_MS);

	slot->deaths = deaths;
	/* counted from the restart: there is no telling when the process died */
	slot->not_before = TimestampTzPlusMilliseconds(mcs_shared->made_at,
												   (int64) (pause * (0.5 + pg_prng_double(&pg_global_prng_state) / 2)));
	slot->report.state = STREAM_RETRYING;
	slot->report.next_retry_at = slot->not_before;
	mcs_text_format(slot->report.reason, sizeof(slot->report.reason),
					deaths > 1 ? "%d processes in a row died while they worked for it; another is started soon"
					: "its process ended with PostgreSQL's restart after a crash; another is started soon", deaths);
}

/* How many slots between two are a role's. */
static int
slots_of(Oid owner, int first, int end)
{
	int			count = 0;

	for (int i = first; i < end; i++)
		count += mcs_shared->slots[i].in_use && mcs_shared->slots[i].owner == owner;
	return count;
}

/* Gives a stream or handler that shall run a slot; false where there is none for it. */
static bool
take_slot(Oid database, const StreamListed *stream)
{
	int			limit = stream->handler ? mcs_shared_max_handlers_per_role : mcs_shared_max_streams_per_role;
	int			first = stream->handler ? mcs_shared->max_streams : 0;
	int			end = stream->handler ? mcs_shared->max_slots : mcs_shared->max_streams;

	if (limit > 0 && slots_of(stream->owner, first, end) >= limit)
		return false;
	/* those of streams and of handlers are apart, so that neither leaves none to the other */
	for (int i = first; i < end; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		uint32		generation = slot->generation;

		if (slot->in_use)
			continue;
		/* nothing of the stream that had it before, except that the generation goes on */
		memset(slot, 0, sizeof(*slot));
		slot->numbers = mcs_numbers_find(database, stream->owner, stream->name, stream->handler ? stream->handler : "", stream->worker);
		slot->in_use = true;
		slot->wanted = true;
		slot->generation = generation + 1;
		slot->database = database;
		slot->owner = stream->owner;
		strlcpy(slot->stream, stream->name, NAMEDATALEN);
		slot->report.state = STREAM_STARTING;
		mcs_text_copy(slot->report.reason, sizeof(slot->report.reason), "the worker is being started");
		strlcpy(slot->handler, stream->handler ? stream->handler : "", NAMEDATALEN);
		slot->worker = stream->worker;
		slot->work = true;
		pg_atomic_init_u32(&slot->gives_way, 0);
		slot->group_key = stream->group_key;
		pg_atomic_init_u64(&slot->running_event, 0);
		pg_atomic_init_u64(&slot->running_since, 0);
		slot->state_since = GetCurrentTimestamp();
		slot->oplog_window = -1;
		slot->oplog_holds = -1;
		if (mcs_shared->after_crash && stream->deaths > 0)
			after_death(slot, stream->deaths);
		return true;
	}
	return false;
}

/*
 * Marks a database as clean before its catalog is read, so that what commits
 * meanwhile makes it dirty again.
 */
void
mcs_shared_probing(Oid database)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, false);
	if (note)
		note->dirty = false;
	LWLockRelease(mcs_shared->lock);
}

/* Makes the slots of a database match its catalog: a list of StreamListed. */
void
mcs_shared_probed(Oid database, bool installed, List *streams)
{
	DatabaseNote *note;
	ListCell   *cell;
	int			streams_without = 0;
	int			handlers_without = 0;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, true);
	if (note)
		note->installed = installed;
	/* nothing shall run but what the list names */
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].database == database)
			mcs_shared->slots[i].wanted = false;
	foreach(cell, streams)
	{
		StreamListed *stream = lfirst(cell);
		StreamSlot *slot = mcs_shared_find_slot(database, stream->name, stream->handler ? stream->handler : "", stream->worker);

		if (!stream->runnable)
			continue;
		if (slot)
		{
			slot->wanted = true;
			/* a process of the owner before sees that itself when it reads the definition */
			slot->owner = stream->owner;
			mcs_numbers_give(slot->numbers, stream->owner);
			slot->work = slot->work || stream->work;
			if (slot->group_key != stream->group_key)
			{
				slot->group_key = stream->group_key;
				slot->joins = false;
				if (slot->grouped)
				{
					slot->changed = true;
					SetLatch(&slot->proc->procLatch);
				}
			}
		}
		else if (!take_slot(database, stream))
		{
			if (stream->handler)
				handlers_without++;
			else
				streams_without++;
		}
	}
	mcs_group_slot_begin_together(database);
	/* a slot that is not wanted ends with its worker, or now */
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->database == database && !slot->wanted)
		{
			if (slot->pid == 0)
				slot->in_use = false;
			else
			{
				/* it reads its definition and leaves by itself: no signal, which would be an error to it */
				slot->changed = true;
				SetLatch(&slot->proc->procLatch);
			}
		}
	}
	LWLockRelease(mcs_shared->lock);
	/* not under the lock, which would be held while it is written */
	if (streams_without > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d change streams cannot run", streams_without),
				 errdetail("All %d slots for running change streams are taken, or those that one role may have.", mcs_shared->max_streams),
				 errhint("The view change_stream_status says which setting to raise: mongo_change_stream.max_streams or mongo_change_stream.max_streams_per_role.")));
	if (handlers_without > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d workers of change handlers cannot run", handlers_without),
				 errdetail("All %d slots for them are taken, or those that one role may have.", mcs_shared->max_slots - mcs_shared->max_streams),
				 errhint("The view change_handler_status says which setting to raise: mongo_change_stream.max_handlers or mongo_change_stream.max_handlers_per_role.")));
}

/* ---- for who has no slot ---- */

/* How far the slots are taken, and a role's part of them: why a stream that shall run has none. */
void
mcs_shared_count(Oid database, Oid owner, bool handler, SlotCount *count)
{
	int			first = handler ? mcs_shared->max_streams : 0;
	int			end = handler ? mcs_shared->max_slots : mcs_shared->max_streams;

	memset(count, 0, sizeof(*count));
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	count->launcher = mcs_shared->launcher != NULL;
	count->max_databases = mcs_shared->max_databases;
	count->databases_full = true;
	for (int i = 0; i < mcs_shared->max_databases; i++)
	{
		count->database |= mcs_shared->databases[i].database == database;
		count->databases_full &= OidIsValid(mcs_shared->databases[i].database);
	}
	count->slots = end - first;
	count->of_owner = slots_of(owner, first, end);
	for (int i = first; i < end; i++)
		count->taken += mcs_shared->slots[i].in_use;
	LWLockRelease(mcs_shared->lock);
	count->limit = handler ? mcs_shared_max_handlers_per_role : mcs_shared_max_streams_per_role;
}
