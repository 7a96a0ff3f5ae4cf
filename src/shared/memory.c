/*
 * shared/memory.c
 *	  Slots of streams and notes on databases in shared memory: how it is made,
 *	  and the protocol by which all files of this folder use it.
 *
 * One LWLock protects everything; it is held for a few instructions at a time,
 * never across a wait, a catalog access or an allocation that can fail half-way
 * through a change.  Two things are done without it: a handler's process
 * publishes the event that it runs by atomics, which would otherwise cost a lock
 * for each event, and whoever waits for a position sleeps on the condition
 * variable "moved", which is broadcast after the lock is released.  Numbers have
 * spinlocks of their own: shared/numbers.c.
 *
 * The launcher is level-triggered.  Whoever changes a stream marks its database
 * dirty at commit; the launcher sends a prober into a dirty database, the prober
 * reads the catalog and makes the slots match it (mcs_shared_probed), the
 * launcher starts a worker for each wanted slot without one.  Nothing is lost if
 * a process dies in between: a prober that vanishes leaves its database dirty, a
 * worker that vanishes leaves a wanted slot, and every database with the
 * extension becomes dirty again each minute.
 *
 * A slot's generation is raised when the slot is given to a stream, so a worker
 * that starts late cannot attach to a slot that has become another stream's.
 * A process that dies without running its exit callbacks makes the postmaster
 * reset shared memory, so pids here are never stale.
 *
 * "changed" is set in a slot just after the commit of the function that changed
 * the stream (shared/wake.c), so that its worker looks at the catalog again.  Nothing depends on
 * when that is seen: a worker saves its position, and with it all that it wrote,
 * only under the definition_version that it has read (mcs_progress_save), which
 * every change of a stream raises in the same row, and a handler's worker likewise
 * (mcs_handlers_save).  The schema of 1.0 has no such column: there a worker that
 * saves between that commit and the flag writes one more batch under the old
 * definition.
 *
 * Shared memory is made anew after a crash, and remembers nothing of before.
 * What it says then of processes that have died comes from the catalog
 * (tables/deaths.c), by the prober: such a slot is not started at once,
 * and slots of which several processes died in a row one by one.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/shmem.h"

SharedState *mcs_shared = NULL;
static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

/* Where the notes on databases begin, behind the slots; where the numbers do, behind those; the end. */
static Size
notes_offset(void)
{
	return add_size(MAXALIGN(offsetof(SharedState, slots)),
					MAXALIGN(mul_size(mcs_shared_max_streams + mcs_shared_max_handlers, sizeof(StreamSlot))));
}

static Size
numbers_offset(void)
{
	return add_size(notes_offset(), MAXALIGN(mul_size(mcs_shared_max_databases, sizeof(DatabaseNote))));
}

static Size
shared_size(void)
{
	return add_size(numbers_offset(), mul_size(mcs_shared_max_streams + mcs_shared_max_handlers, sizeof(NumbersPlace)));
}

/* PostgreSQL takes these requests in its hook only, from 15 on. */
static void
request_shmem(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(MCS_EXTENSION, 1);
}

/*
 * Whether PostgreSQL starts after an orderly shutdown: only then no process of
 * ours can have died before.  The state is still that of the last run here, since
 * recovery, which changes it, begins after shared memory is made.
 */
static bool
was_shut_down(void)
{
	bool		valid;
	ControlFileData *control = get_controlfile(DataDir, &valid);
	bool		result = valid && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return result;
}

/* Makes the memory, or finds it: a process that is not forked from the postmaster attaches to what is there. */
static void
startup_shmem(void)
{
	bool		found;

	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	mcs_shared = ShmemInitStruct(MCS_EXTENSION, shared_size(), &found);
	if (!found)
	{
		memset(mcs_shared, 0, shared_size());
		mcs_shared->lock = &GetNamedLWLockTranche(MCS_EXTENSION)->lock;
		mcs_shared->max_streams = mcs_shared_max_streams;
		mcs_shared->max_slots = mcs_shared_max_streams + mcs_shared_max_handlers;
		mcs_shared->max_databases = mcs_shared_max_databases;
		mcs_shared->databases = (DatabaseNote *) ((char *) mcs_shared + notes_offset());
		mcs_shared->numbers = (NumbersPlace *) ((char *) mcs_shared + numbers_offset());
		for (int i = 0; i < mcs_shared->max_slots; i++)
			SpinLockInit(&mcs_shared->numbers[i].mutex);
		mcs_shared->made_at = GetCurrentTimestamp();
		mcs_shared->after_crash = !was_shut_down();
		ConditionVariableInit(&mcs_shared->moved);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Whether the library was preloaded, so that there is shared memory. */
bool
mcs_shared_ready(void)
{
	return mcs_shared != NULL;
}

/* A state as the views show it. */
const char *
mcs_shared_state_name(StreamState state)
{
	static const char *const names[] = {
		[STREAM_STARTING] = "starting",
		[STREAM_SNAPSHOT] = "snapshot",
		[STREAM_ACTIVE] = "active",
		[STREAM_RETRYING] = "retrying",
		[STREAM_IDLE] = "idle",
		[STREAM_PAUSED] = "paused",
		[STREAM_HISTORY_LOST] = "history_lost",
		[STREAM_ERROR] = "error"
	};

	return names[state];
}

/* With the lock held, so that the launcher's PGPROC is not somebody else's by now. */
void
mcs_shared_wake_launcher(void)
{
	if (mcs_shared->launcher)
		SetLatch(&mcs_shared->launcher->procLatch);
}

/* With the lock held: the slot of a stream (handler "", worker 0) or of a worker of a handler; NULL where it has none. */
StreamSlot *
mcs_shared_find_slot(Oid database, const char *stream, const char *handler, int worker)
{
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->database == database && slot->worker == worker &&
			strcmp(slot->stream, stream) == 0 && strcmp(slot->handler, handler) == 0)
			return slot;
	}
	return NULL;
}

/* Without preloading there is no shared memory, and mcs_shared stays NULL. */
void
mcs_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}
