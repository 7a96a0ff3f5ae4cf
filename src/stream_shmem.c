/*
 * stream_shmem.c
 *	  Slots of streams and notes on databases in shared memory.
 *
 * One LWLock protects everything here; it is held for a few instructions at a
 * time, never across a wait, a catalog access or an allocation that can fail
 * half-way through a change.
 *
 * The launcher is level-triggered.  Whoever changes a stream marks its database
 * dirty at commit; the launcher sends a prober into a dirty database, the prober
 * reads the catalog and makes the slots match it (mcs_shmem_probed), the
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
 * "changed" is set in a slot at the commit of the function that changed the
 * stream, before that transaction releases its row locks.  A worker that has
 * locked the progress row therefore sees either the flag or the definition it
 * knows (see stream_write.c).
 *
 * What a transaction leaves to its commit here are names, to find slots by:
 * whoever commits raises flags, runs nothing, and asks no rights, since the
 * function that left the name has.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "stream_shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define REPROBE_INTERVAL_MS		60000
#define LAUNCH_TIMEOUT_MS		60000	/* a worker that has not attached by then never will */
#define LAUNCH_RETRY_MS			5000	/* after a launch that could not be done */
#define LAUNCHER_NAP_MS			60000

static int	max_streams = 100;
static int	max_handlers = 200;
SharedState *mcs_shared = NULL;
static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

/* Who is to be woken at this transaction's commit. */
typedef struct WakeUp
{
	char	   *stream;
	char	   *handler;		/* of the stream; "" for the stream itself, NULL for all its handlers */
} WakeUp;

static List *wake_ups = NIL;

static Size
shared_size(void)
{
	return add_size(offsetof(SharedState, slots), mul_size(max_streams + max_handlers, sizeof(StreamSlot)));
}

static void
request_shmem(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(MCS_EXTENSION, 1);
}

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
		mcs_shared->max_streams = max_streams;
		mcs_shared->max_slots = max_streams + max_handlers;
		ConditionVariableInit(&mcs_shared->moved);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Whether the library was preloaded, so that there is shared memory. */
bool
mcs_shmem_ready(void)
{
	return mcs_shared != NULL;
}

const char *
mcs_state_name(StreamState state)
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

void
mcs_shmem_wake_launcher(void)
{
	if (mcs_shared->launcher)
		SetLatch(&mcs_shared->launcher->procLatch);
}

/* The note of a database, made where there is none; NULL where the table is full. */
static DatabaseNote *
database_note(Oid database, bool make)
{
	DatabaseNote *unused = NULL;

	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];

		if (note->database == database)
			return note;
		if (!OidIsValid(note->database) && !unused)
			unused = note;
	}
	if (!make || !unused)
		return NULL;
	memset(unused, 0, sizeof(*unused));
	unused->database = database;
	return unused;
}

StreamSlot *
mcs_shmem_find_slot(Oid database, const char *stream, const char *handler, int worker)
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

/* ---- waking at commit ---- */

static void
remember_wake_up(const char *stream, const char *handler)
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
	remember_wake_up(stream, "");
}

/* The same for a handler of a stream, or for all: what they are running is cancelled. */
void
mcs_wake_handlers_at_commit(const char *stream, const char *handler)
{
	remember_wake_up(stream, handler);
}

/* Whether this transaction has asked to wake a handler, so has itself changed or dropped it. */
bool
mcs_wakes_at_commit(const char *stream, const char *handler)
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
	slot->not_before = 0;
	slot->quick_exits = 0;
	slot->work = true;
	if (!slot->proc)
		return;
	SetLatch(&slot->proc->procLatch);
	if (slot->handler[0] && slot->pid != MyProcPid && pg_atomic_read_u64(&slot->running_event) != 0)
		kill(slot->pid, SIGINT);
}

static void
wake_now(void)
{
	ListCell   *cell;
	DatabaseNote *note;

	if (!mcs_shared)
		return;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	foreach(cell, wake_ups)
	{
		WakeUp	   *wake_up = lfirst(cell);

		for (int i = 0; i < mcs_shared->max_slots; i++)
		{
			StreamSlot *slot = &mcs_shared->slots[i];

			if (slot->in_use && slot->database == MyDatabaseId && strcmp(slot->stream, wake_up->stream) == 0 &&
				(wake_up->handler ? strcmp(slot->handler, wake_up->handler) == 0 : slot->handler[0] != '\0'))
				wake_slot(slot);
		}
	}
	note = database_note(MyDatabaseId, true);
	if (note)
	{
		note->dirty = true;
		note->only_blocked = false;
		note->not_before = 0;
	}
	mcs_shmem_wake_launcher();
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
			wake_ups = NIL;
			break;
		default:
			break;
	}
}

/* Registers settings, hooks and the transaction callback. */
void
mcs_shmem_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("mongo_change_stream.max_streams",
							"Sets how many change streams can run at the same time in the whole database cluster.",
							"Each running stream needs one of max_worker_processes, too.",
							&max_streams, 100, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_handlers",
							"Sets how many workers of handlers there can be in the whole database cluster.",
							"Each that has something to do needs one of max_worker_processes, too.",
							&max_handlers, 200, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	RegisterXactCallback(at_transaction_end, NULL);
}

/* ---- launcher ---- */

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
mcs_shmem_attach_launcher(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_shared->launcher = MyProc;
	mcs_shared->launcher_pid = MyProcPid;
	LWLockRelease(mcs_shared->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

/* Notes a database to look at, unless it is known. */
void
mcs_shmem_add_database(Oid database)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = database_note(database, false);
	if ((!note && (note = database_note(database, true)) != NULL) || (note && note->only_blocked))
		note->dirty = true;
	if (note)
		note->only_blocked = false;
	LWLockRelease(mcs_shared->lock);
}

/* Forgets databases that are not in the list of Oids, and the slots of their streams. */
void
mcs_shmem_remove_databases_but(List *databases)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];

		if (OidIsValid(note->database) && note->blocked == 0 && !list_member_oid(databases, note->database))
			note->database = InvalidOid;
	}
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->pid == 0 && !list_member_oid(databases, slot->database))
			slot->in_use = false;
	}
	LWLockRelease(mcs_shared->lock);
}

bool
mcs_shmem_is_blocked(Oid database)
{
	DatabaseNote *note = database_note(database, false);

	return note && note->blocked > 0;
}

/* The next database that a prober shall visit, or NULL. */
static DatabaseNote *
next_probe(TimestampTz now, long *wait_ms)
{
	if (OidIsValid(mcs_shared->prober_database))
	{
		if (mcs_shared->prober_pid == 0 &&
			TimestampDifferenceExceeds(mcs_shared->prober_launched_at, now, LAUNCH_TIMEOUT_MS))
			mcs_shared->prober_database = InvalidOid;
		else
			return NULL;		/* its exit wakes us */
	}
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];
		TimestampTz due;

		if (!OidIsValid(note->database) || note->blocked > 0 || !(note->dirty || note->installed))
			continue;
		due = note->dirty ? note->not_before
			: TimestampTzPlusMilliseconds(note->probed_at, REPROBE_INTERVAL_MS);
		if (due <= now)
			return note;
		*wait_ms = Min(*wait_ms, mcs_ms_until(now, due));
	}
	return NULL;
}

/* The next slot whose worker shall be started, or NULL. */
static StreamSlot *
next_worker(TimestampTz now, long *wait_ms)
{
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (!slot->in_use || !slot->wanted || slot->pid != 0 || (slot->handler[0] && !slot->work))
			continue;
		if (slot->launching && TimestampDifferenceExceeds(slot->launched_at, now, LAUNCH_TIMEOUT_MS))
			slot->launching = false;
		if (slot->launching || mcs_shmem_is_blocked(slot->database))
			continue;
		if (slot->not_before <= now)
			return slot;
		*wait_ms = Min(*wait_ms, mcs_ms_until(now, slot->not_before));
	}
	return NULL;
}

/*
 * What to start now, marked as being started; with nothing to start, *wait_ms
 * says when to ask again at the latest.
 */
Launch
mcs_shmem_next_launch(long *wait_ms)
{
	Launch		launch;
	TimestampTz now = GetCurrentTimestamp();
	DatabaseNote *note;
	StreamSlot *slot;

	memset(&launch, 0, sizeof(launch));
	*wait_ms = LAUNCHER_NAP_MS;
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if ((note = next_probe(now, wait_ms)) != NULL)
	{
		launch.kind = LAUNCH_PROBER;
		launch.database = note->database;
		mcs_shared->prober_database = note->database;
		mcs_shared->prober_launched_at = now;
	}
	else if ((slot = next_worker(now, wait_ms)) != NULL)
	{
		launch.kind = LAUNCH_WORKER;
		launch.database = slot->database;
		launch.ticket.index = (int) (slot - mcs_shared->slots);
		launch.ticket.generation = slot->generation;
		strlcpy(launch.stream, slot->stream, NAMEDATALEN);
		strlcpy(launch.handler, slot->handler, NAMEDATALEN);
		slot->launching = true;
		slot->launched_at = now;
	}
	LWLockRelease(mcs_shared->lock);
	return launch;
}

/* Takes a launch back: the postmaster had no free worker slot.  The status says so. */
void
mcs_shmem_launch_failed(const Launch *launch)
{
	TimestampTz later = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAUNCH_RETRY_MS);
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (launch->kind == LAUNCH_PROBER)
	{
		mcs_shared->prober_database = InvalidOid;
		note = database_note(launch->database, false);
		if (note)
		{
			note->dirty = true;
			note->not_before = later;
		}
	}
	else
	{
		StreamSlot *slot = &mcs_shared->slots[launch->ticket.index];

		if (slot->in_use && slot->generation == launch->ticket.generation)
		{
			slot->launching = false;
			slot->not_before = later;
			slot->report.state = STREAM_STARTING;
			strlcpy(slot->report.reason, "no free worker process: raise max_worker_processes and restart PostgreSQL",
					sizeof(slot->report.reason));
			slot->report.next_retry_at = later;
		}
	}
	LWLockRelease(mcs_shared->lock);
}

static void
detach_prober(int code, Datum arg)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	if (mcs_shared->prober_pid == MyProcPid)
	{
		DatabaseNote *note = database_note(mcs_shared->prober_database, false);

		if (note && code != 0)
		{
			note->dirty = true;
			note->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LAUNCH_RETRY_MS);
		}
		mcs_shared->prober_pid = 0;
		mcs_shared->prober_database = InvalidOid;
	}
	mcs_shmem_wake_launcher();
	LWLockRelease(mcs_shared->lock);
	ConditionVariableBroadcast(&mcs_shared->moved);
}

/* Makes this process the prober of a database; false where it is no longer wanted there. */
bool
mcs_shmem_attach_prober(Oid database)
{
	bool		wanted;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	wanted = mcs_shared->prober_database == database && mcs_shared->prober_pid == 0 && !mcs_shmem_is_blocked(database);
	if (wanted)
	{
		DatabaseNote *note = database_note(database, false);

		mcs_shared->prober_pid = MyProcPid;
		/* a change that commits from here on makes it dirty again */
		if (note)
			note->probed_at = GetCurrentTimestamp();
	}
	else if (mcs_shared->prober_database == database && mcs_shared->prober_pid == 0)
	{
		/* another database may be waiting for its turn */
		mcs_shared->prober_database = InvalidOid;
		mcs_shmem_wake_launcher();
	}
	LWLockRelease(mcs_shared->lock);
	if (wanted)
		before_shmem_exit(detach_prober, (Datum) 0);
	return wanted;
}

static bool
take_slot(Oid database, const StreamListed *stream)
{
	int			first = stream->handler ? mcs_shared->max_streams : 0;
	int			end = stream->handler ? mcs_shared->max_slots : mcs_shared->max_streams;

	for (int i = first; i < end; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];
		uint32		generation = slot->generation;

		if (slot->in_use)
			continue;
		memset(slot, 0, sizeof(*slot));
		slot->in_use = true;
		slot->wanted = true;
		slot->generation = generation + 1;
		slot->database = database;
		slot->owner = stream->owner;
		strlcpy(slot->stream, stream->name, NAMEDATALEN);
		slot->report.state = STREAM_STARTING;
		strlcpy(slot->report.reason, "the worker is being started", sizeof(slot->report.reason));
		strlcpy(slot->handler, stream->handler ? stream->handler : "", NAMEDATALEN);
		slot->worker = stream->worker;
		slot->work = true;
		pg_atomic_init_u64(&slot->running_event, 0);
		pg_atomic_init_u64(&slot->running_since, 0);
		slot->state_since = GetCurrentTimestamp();
		slot->oplog_window = -1;
		return true;
	}
	return false;
}

/*
 * Marks a database as clean before its catalog is read, so that what commits
 * meanwhile makes it dirty again.
 */
void
mcs_shmem_probing(Oid database)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = database_note(database, false);
	if (note)
		note->dirty = false;
	LWLockRelease(mcs_shared->lock);
}

/* Makes the slots of a database match its catalog: a list of StreamListed. */
void
mcs_shmem_probed(Oid database, bool installed, List *streams)
{
	DatabaseNote *note;
	ListCell   *cell;
	int			streams_without = 0;
	int			handlers_without = 0;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = database_note(database, true);
	if (note)
		note->installed = installed;
	for (int i = 0; i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].database == database)
			mcs_shared->slots[i].wanted = false;
	foreach(cell, streams)
	{
		StreamListed *stream = lfirst(cell);
		StreamSlot *slot = mcs_shmem_find_slot(database, stream->name, stream->handler ? stream->handler : "", stream->worker);

		if (!stream->runnable)
			continue;
		if (slot)
		{
			slot->wanted = true;
			slot->owner = stream->owner;
			slot->work = slot->work || stream->work;
		}
		else if (!take_slot(database, stream))
			stream->handler ? handlers_without++ : streams_without++;
	}
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
				slot->changed = true;
				SetLatch(&slot->proc->procLatch);
			}
		}
	}
	LWLockRelease(mcs_shared->lock);
	if (streams_without > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d change streams cannot run", streams_without),
				 errdetail("All %d slots for running change streams are taken.", mcs_shared->max_streams),
				 errhint("Raise mongo_change_stream.max_streams and restart PostgreSQL.")));
	if (handlers_without > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d workers of change handlers cannot run", handlers_without),
				 errdetail("All %d slots for them are taken.", mcs_shared->max_slots - mcs_shared->max_streams),
				 errhint("Raise mongo_change_stream.max_handlers and restart PostgreSQL.")));
}

/* ---- DDL that needs a database without our processes ---- */

/* Asks every process of ours in a database to end; how many are there. */
static int
terminate_in_database(Oid database)
{
	int			running = 0;

	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		if (slot->in_use && slot->database == database && slot->pid != 0)
		{
			running++;
			kill(slot->pid, SIGTERM);
		}
	}
	if (mcs_shared->prober_database == database && mcs_shared->prober_pid != 0)
	{
		running++;
		kill(mcs_shared->prober_pid, SIGTERM);
	}
	return running;
}

/*
 * Keeps our processes out of a database until mcs_shmem_unblock_database, and
 * waits for those inside to leave, at most timeout_ms.
 */
void
mcs_shmem_block_database(Oid database, long timeout_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	DatabaseNote *note;
	bool		first = true;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = database_note(database, false);
	if (!note && (note = database_note(database, true)) != NULL)
		note->only_blocked = true;
	if (note)
		note->blocked++;
	LWLockRelease(mcs_shared->lock);
	ConditionVariablePrepareToSleep(&mcs_shared->moved);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			running;

		LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
		running = terminate_in_database(database);
		LWLockRelease(mcs_shared->lock);
		if (running == 0 || (now >= until && !first))
			break;
		first = false;
		(void) ConditionVariableTimedSleep(&mcs_shared->moved, Min(Max(mcs_ms_until(now, until), 1), 100), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

/* Lets them in again, and the launcher looks at once; or forgets a database that is gone, or was never looked at. */
void
mcs_shmem_unblock_database(Oid database, bool dropped)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = database_note(database, false);
	if (note && note->blocked > 0)
		note->blocked--;
	if (note && (dropped || (note->only_blocked && note->blocked == 0)))
		note->database = InvalidOid;
	else if (note && !note->only_blocked)
	{
		note->dirty = true;
		note->not_before = 0;
	}
	for (int i = 0; dropped && i < mcs_shared->max_slots; i++)
		if (mcs_shared->slots[i].in_use && mcs_shared->slots[i].database == database && mcs_shared->slots[i].pid == 0)
			mcs_shared->slots[i].in_use = false;
	mcs_shmem_wake_launcher();
	LWLockRelease(mcs_shared->lock);
}

/* Names of a role's streams that run in other databases than this one. */
List *
mcs_shmem_streams_of_role(Oid role)
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
