/*
 * shared/memory.c
 *	  Slots of streams and notes on databases in shared memory.
 *
 * One LWLock protects everything here; it is held for a few instructions at a
 * time, never across a wait, a catalog access or an allocation that can fail
 * half-way through a change.
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
 * What a transaction leaves to its commit here are names, to find slots by:
 * whoever commits raises flags, runs nothing, and asks no rights, since the
 * function that left the name has.
 *
 * "changed" is set in a slot just after the commit of the function that changed
 * the stream, so that its worker looks at the catalog again.  Nothing depends on
 * when that is seen: a worker saves its position, and with it all that it wrote,
 * only under the definition_version that it has read (mcs_progress_save), which
 * every change of a stream raises in the same row, and a handler's worker likewise
 * (mcs_handlers_save).  The schema of 1.0 has no such
 * column: there a worker that saves between that commit and the flag writes
 * one more batch under the old definition.
 *
 * Shared memory is made anew after a crash, and remembers nothing of before.
 * What it says then of processes that have died comes from the catalog
 * (tables/deaths.c), by the prober: such a slot is not started at once,
 * and slots of which several processes died in a row one by one.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "shared/shared_internal.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static int	max_streams = 200;
static int	max_handlers = 400;
int			mcs_shared_max_streams_per_role = 100;
int			mcs_shared_max_handlers_per_role = 200;
static int	max_databases = 1024;
int			mcs_shared_reserved_processes = -1;
bool		mcs_shared_enabled = true;
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
	return add_size(add_size(MAXALIGN(offsetof(SharedState, slots)),
							 MAXALIGN(mul_size(max_streams + max_handlers, sizeof(StreamSlot)))),
					mul_size(max_databases, sizeof(DatabaseNote)));
}

static void
request_shmem(void)
{
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(MCS_EXTENSION, 1);
}

/* Whether PostgreSQL starts after an orderly shutdown: only then no process of ours can have died before. */
static bool
was_shut_down(void)
{
	bool		valid;
	ControlFileData *control = get_controlfile(DataDir, &valid);
	bool		result = valid && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);

	pfree(control);
	return result;
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
		mcs_shared->max_databases = max_databases;
		mcs_shared->databases = (DatabaseNote *) ((char *) mcs_shared + shared_size() - mul_size(max_databases, sizeof(DatabaseNote)));
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

void
mcs_shared_wake_launcher(void)
{
	if (mcs_shared->launcher)
		SetLatch(&mcs_shared->launcher->procLatch);
}

/* With the lock held: the note of a database, made where there is none; NULL where the table is full. */
DatabaseNote *
mcs_shared_note(Oid database, bool make)
{
	DatabaseNote *unused = NULL;

	for (int i = 0; i < mcs_shared->max_databases; i++)
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
	slot->not_before = 0;
	slot->quick_exits = 0;
	slot->work = true;
	if (!slot->proc)
		return;
	SetLatch(&slot->proc->procLatch);
	if (slot->handler[0] && slot->pid != MyProcPid && pg_atomic_read_u64(&slot->running_event) != 0)
		kill(slot->pid, SIGINT);
}

/* The table of databases is full: the place of one in which the extension is not, as far as is known; or NULL. */
static DatabaseNote *
replace_empty_database(Oid database)
{
	for (int i = 0; i < mcs_shared->max_databases; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];

		if (note->installed || note->dirty || note->blocked > 0 || note->database == mcs_shared->prober_database)
			continue;
		memset(note, 0, sizeof(*note));
		note->database = database;
		return note;
	}
	return NULL;
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
	note = mcs_shared_note(MyDatabaseId, true);
	if (!note)
		note = replace_empty_database(MyDatabaseId);
	if (note)
	{
		note->dirty = true;
		note->only_blocked = false;
		note->not_before = 0;
	}
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
			wake_ups = NIL;
			break;
		default:
			break;
	}
}

/* Registers settings, hooks and the transaction callback. */
void
mcs_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomIntVariable("mongo_change_stream.max_streams",
							"Sets how many change streams can run at the same time in the whole database cluster.",
							"Each running stream needs one of max_worker_processes, too.",
							&max_streams, 200, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_streams_per_role",
							"Sets how many change streams of one role can run at the same time.",
							"0 sets no limit.",
							&mcs_shared_max_streams_per_role, 100, 0, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_handlers_per_role",
							"Sets how many workers the handlers of one role can have.",
							"0 sets no limit.",
							&mcs_shared_max_handlers_per_role, 200, 0, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.reserved_worker_processes",
							"Sets how many of max_worker_processes are left to others, parallel queries for example.",
							"-1 leaves an eighth of them, at most 4.",
							&mcs_shared_reserved_processes, -1, -1, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_databases",
							"Sets in how many databases of the cluster change streams are looked for.",
							NULL,
							&max_databases, 1024, 1, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("mongo_change_stream.enabled",
							 "Lets change streams and handlers run on this server.",
							 "Off for a copy of a server that must not follow beside its original.",
							 &mcs_shared_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_handlers",
							"Sets how many workers of handlers there can be in the whole database cluster.",
							"Each that has something to do needs one of max_worker_processes, too.",
							&max_handlers, 400, 1, 10000,
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
mcs_shared_attach_launcher(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_shared->launcher = MyProc;
	mcs_shared->launcher_pid = MyProcPid;
	LWLockRelease(mcs_shared->lock);
	before_shmem_exit(detach_launcher, (Datum) 0);
}

/* Notes a database to look at, unless it is known; false where there is no place for it. */
bool
mcs_shared_add_database(Oid database)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, false);
	if ((!note && (note = mcs_shared_note(database, true)) != NULL) || (note && note->only_blocked))
		note->dirty = true;
	if (note)
		note->only_blocked = false;
	LWLockRelease(mcs_shared->lock);
	return note != NULL;
}

/* How many databases are looked at: the setting, as it was when the memory was made. */
int
mcs_shared_max_databases(void)
{
	return mcs_shared->max_databases;
}

/* Forgets databases that are not in the list of Oids, and the slots of their streams. */
void
mcs_shared_remove_databases_but(List *databases)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_databases; i++)
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
mcs_shared_is_blocked(Oid database)
{
	DatabaseNote *note = mcs_shared_note(database, false);

	return note && note->blocked > 0;
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
 * Keeps our processes out of a database until mcs_shared_unblock_database, and
 * waits for those inside to leave, at most timeout_ms.
 */
void
mcs_shared_block_database(Oid database, long timeout_ms)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	DatabaseNote *note;
	bool		first = true;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, false);
	if (!note && (note = mcs_shared_note(database, true)) != NULL)
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

/* Lets them in again, and the launcher looks at once; or forgets a database that is gone, or was never looked at. */
void
mcs_shared_unblock_database(Oid database, bool dropped)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, false);
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
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
}

/* Names of a role's streams that run in other databases than this one. */
List *
mcs_shared_streams_of_role(Oid role)
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
