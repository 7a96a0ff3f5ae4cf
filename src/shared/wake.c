/*
 * shared/wake.c
 *	  Who is woken when a transaction commits that has made, changed or dropped
 *	  a stream or a handler: its process and the launcher.  The locks are
 *	  explained in shared/memory.c.
 *
 * Nobody is told before the commit: who looked at the catalog earlier would
 * still see the old state, and not look again.  What a transaction leaves to its
 * commit here are names, to find slots by: whoever commits raises flags, runs
 * nothing, and asks no rights, since the function that left the name has.
 */
#include "mongo_change_stream.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "storage/latch.h"
#include "utils/memutils.h"

/* Who is to be woken at this transaction's commit. */
typedef struct WakeUp
{
	char	   *stream;
	char	   *handler;		/* of the stream; "" for the stream itself, NULL for all its handlers */
	bool		gone;			/* nobody is woken: what was counted for it, or (NULL) for the stream, too, is forgotten */
} WakeUp;

static List *wake_ups = NIL;	/* in TopTransactionContext */

/*
 * A subtransaction that is rolled back leaves its names here: to wake somebody in
 * vain is cheap, and to keep count of subtransactions is not.
 */
static void
remember_wake_up(const char *stream, const char *handler, bool gone)
{
	MemoryContext old;
	WakeUp	   *wake_up;

	/* not preloaded: nobody to wake, and nothing that empties the list at the end of the transaction */
	if (!mcs_shared)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	wake_up = palloc(sizeof(WakeUp));
	wake_up->stream = pstrdup(stream);
	wake_up->handler = handler ? pstrdup(handler) : NULL;
	wake_up->gone = gone;
	wake_ups = lappend(wake_ups, wake_up);
	MemoryContextSwitchTo(old);
}

/*
 * Remembers that a stream was changed: at commit its worker reads it again and
 * the launcher looks at the database.
 */
void
mcs_wake_at_commit(const char *stream)
{
	remember_wake_up(stream, "", false);
}

/* The same for a handler of a stream, or for all: what they are running is cancelled. */
void
mcs_wake_handlers_at_commit(const char *stream, const char *handler)
{
	remember_wake_up(stream, handler, false);
}

/* The same for the processes of all owners' projections. */
void
mcs_wake_projections_at_commit(void)
{
	remember_wake_up("", SHARED_PROJECTIONS, false);
}

void
mcs_wake_forget_numbers_at_commit(const char *stream, const char *handler)
{
	remember_wake_up(stream, handler, true);
}

/* Whether this transaction has asked to wake a handler, so has itself changed or dropped it. */
bool
mcs_wake_is_due(const char *stream, const char *handler)
{
	ListCell   *cell;

	foreach(cell, wake_ups)
	{
		WakeUp	   *wake_up = lfirst(cell);

		if (strcmp(wake_up->stream, stream) == 0 && (!wake_up->handler || strcmp(wake_up->handler, handler) == 0))
			return true;
	}
	return false;
}

/* Tells one process that what it works on has changed. */
static void
wake_slot(StreamSlot *slot)
{
	slot->changed = true;
	/* the position may have been moved back: nothing is in the table that sync asks for before the next save */
	slot->saved_time = 0;
	slot->drained = false;
	slot->asked_at = 0;
	/* what kept it from running may be mended now: it is started at once, with no pause for earlier failures */
	slot->not_before = 0;
	slot->quick_exits = 0;
	slot->work = true;
	if (!slot->proc)
		return;
	SetLatch(&slot->proc->procLatch);
	/* a handler's code may run for hours and looks at no latch; one that commits this itself is not to cancel what it does next */
	if (slot->handler[0] && slot->pid != MyProcPid && pg_atomic_read_u64(&slot->running_event) != 0)
		kill(slot->pid, SIGINT);
}

/*
 * After the commit, so nothing here may fail: it takes the lock, raises flags, and
 * allocates nothing.
 */
static void
wake_now(void)
{
	ListCell   *cell;

	if (!mcs_shared)
		return;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	foreach(cell, wake_ups)
	{
		WakeUp	   *wake_up = lfirst(cell);

		if (wake_up->gone)
		{
			mcs_numbers_begin_anew(wake_up->stream, wake_up->handler, true);
			continue;
		}
		for (int i = 0; i < mcs_shared->max_slots; i++)
		{
			StreamSlot *slot = &mcs_shared->slots[i];

			if (slot->in_use && slot->database == MyDatabaseId && strcmp(slot->stream, wake_up->stream) == 0 &&
				(wake_up->handler ? strcmp(slot->handler, wake_up->handler) == 0 : slot->handler[0] != '\0'))
				wake_slot(slot);
		}
	}
	mcs_slot_forget_sources(MyDatabaseId);
	/* streams that have no slot yet are found by a prober */
	mcs_shared_note_change(MyDatabaseId);
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (wake_ups == NIL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			/* the process that commits it would not know whom to wake */
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that has made or changed a change stream")));
			break;
		case XACT_EVENT_COMMIT:
			wake_now();
			wake_ups = NIL;
			break;
		case XACT_EVENT_ABORT:
			/* the list's memory goes with the transaction */
			wake_ups = NIL;
			break;
		default:
			break;
	}
}

/* Without preloading nothing is remembered, so nothing is to be done at commit. */
void
mcs_wake_init(void)
{
	if (process_shared_preload_libraries_in_progress)
		RegisterXactCallback(at_transaction_end, NULL);
}
