/*
 * shared/blockers.c
 *	  Keeps handlers from holding up ingest.
 *
 * A handler's code may take any lock that its owner may take, and keep it while
 * it sleeps.  When the stream's worker has waited for a lock for a moment and
 * the code of a handler is what it waits for, be it through a statement of
 * somebody else that waits in between, the code is cancelled: its event fails
 * and is tried again as after any other failure.  The launcher looks for that
 * while there are processes of handlers.
 *
 * A stream's worker, in turn, may be held up by code of its owner's, a trigger on a
 * mirror's table for example, and hold up who pauses or changes the stream.
 */
#include "mongo_change_stream.h"

#include "shared/shared_internal.h"
#include <signal.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* The processes that one waits for, as pg_blocking_pids() knows them: in front of it in a queue, too. */
int
mcs_blockers_of(int pid, int32 **blockers)
{
	ArrayType  *array = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum(pid)));
	Datum	   *elements;
	int			count;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &elements, NULL, &count);
	*blockers = palloc(sizeof(int32) * Max(count, 1));
	for (int i = 0; i < count; i++)
		(*blockers)[i] = DatumGetInt32(elements[i]);
	return count;
}

/* Cancels a handler's code; false where the process is none of a handler that runs any. */
static bool
cancel_handler(int pid)
{
	bool		found = false;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || slot->pid != pid || pg_atomic_read_u64(&slot->running_event) == 0)
			continue;
		/* before the signal: the process asks for it when it deals with the cancel */
		slot->obstructs = true;
		kill(slot->pid, SIGINT);
		found = true;
	}
	LWLockRelease(mcs_shared->lock);
	return found;
}

void
mcs_blockers_cancel_worker(const char *stream)
{
	if (!mcs_shared_ready())
		return;
	LWLockAcquire(mcs_shared->lock, LW_SHARED);
	for (int i = 0; i < mcs_shared->max_streams; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		/* under the lock, so that the process is still that */
		if (slot->in_use && slot->database == MyDatabaseId && slot->pid != 0 && strcmp(slot->stream, stream) == 0 &&
			(!slot->grouped || slot->at_work))
			kill(slot->pid, SIGINT);
	}
	LWLockRelease(mcs_shared->lock);
}

/* Cancels the handlers that a stream's worker waits for, itself or behind others. */
static void
clear_way(int pid)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "change stream blockers", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int32	   *blockers;
	int			count = mcs_blockers_of(pid, &blockers);

	for (int i = 0; i < count; i++)
	{
		int32	   *behind;
		int			behind_count;

		/* 0 is a prepared transaction, which nobody runs */
		if (blockers[i] == 0 || cancel_handler(blockers[i]))
			continue;
		behind_count = mcs_blockers_of(blockers[i], &behind);
		for (int j = 0; j < behind_count; j++)
			(void) cancel_handler(behind[j]);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*
 * One look: whether there are processes of handlers, so that another look is
 * due.  A worker that waits at two looks in a row is helped.
 */
bool
mcs_blockers_look(void)
{
	int			waiting[16];
	int			count = 0;
	bool		handlers = false;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = mcs_shared->max_streams; i < mcs_shared->max_slots && !handlers; i++)
		handlers = mcs_shared->slots[i].in_use && (mcs_shared->slots[i].pid != 0 || mcs_shared->slots[i].launching);
	for (int i = 0; handlers && i < mcs_shared->max_streams; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		/* read without the lock manager's lock: what is wrong at one look is right at the next; a process of several slots is one */
		bool		waits = slot->in_use && slot->proc && slot->proc->waitLock != NULL && (!slot->grouped || slot->leads);

		if (waits && slot->waited && count < lengthof(waiting))
			waiting[count++] = slot->pid;
		slot->waited = waits;
	}
	LWLockRelease(mcs_shared->lock);
	/* not under our lock: this takes the lock manager's, all of them */
	for (int i = 0; i < count; i++)
		clear_way(waiting[i]);
	return handlers;
}
