/*
 * shared/database.c
 *	  Notes on databases: in which ones streams are looked for, and which our
 *	  processes are kept out of while a statement needs them empty.  The locks
 *	  are explained in shared/memory.c.
 *
 * A database is looked into by a prober when its note is dirty, and each minute
 * where the extension was found in it.
 */
#include "mongo_change_stream.h"

#include <signal.h>

#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

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

/* With the lock held: something in a database has changed, and a prober shall look at it. */
void
mcs_shared_note_change(Oid database)
{
	DatabaseNote *note = mcs_shared_note(database, true);

	if (!note)
		note = replace_empty_database(database);
	/* where there is no place at all, the launcher's next look at pg_database says so in the log */
	if (note)
	{
		note->dirty = true;
		note->only_blocked = false;
		note->not_before = 0;
	}
}

void
mcs_shared_look_again(void)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	mcs_shared_note_change(MyDatabaseId);
	mcs_shared_wake_launcher();
	LWLockRelease(mcs_shared->lock);
}

/* Notes a database to look at, unless it is known; false where there is no place for it. */
bool
mcs_shared_add_database(Oid database)
{
	DatabaseNote *note;

	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	note = mcs_shared_note(database, false);
	/* one that was noted for a statement's sake only is new here, too */
	if ((!note && (note = mcs_shared_note(database, true)) != NULL) || (note && note->only_blocked))
		note->dirty = true;
	if (note)
		note->only_blocked = false;
	LWLockRelease(mcs_shared->lock);
	return note != NULL;
}

/* Forgets databases that are not in the list of Oids, and the slots of their streams. */
void
mcs_shared_remove_databases_but(List *databases)
{
	LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < mcs_shared->max_databases; i++)
	{
		DatabaseNote *note = &mcs_shared->databases[i];

		/* who blocks it counts down later, and must find the note that he counted up */
		if (OidIsValid(note->database) && note->blocked == 0 && !list_member_oid(databases, note->database))
			note->database = InvalidOid;
	}
	for (int i = 0; i < mcs_shared->max_slots; i++)
	{
		StreamSlot *slot = &mcs_shared->slots[i];

		/* a process that is still there frees its slot itself */
		if (slot->in_use && slot->pid == 0 && !list_member_oid(databases, slot->database))
			slot->in_use = false;
	}
	LWLockRelease(mcs_shared->lock);
}

/* With the lock held. */
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
 * waits for those inside to leave, at most timeout_ms.  Who is there after that
 * is not our affair: the statement itself waits for him, or raises an error.
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
	/* before the first look, so that an exit between the look and the sleep is not missed */
	ConditionVariablePrepareToSleep(&mcs_shared->moved);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		int			running;

		/* told again at each look: a process may have attached just before the database was blocked */
		LWLockAcquire(mcs_shared->lock, LW_EXCLUSIVE);
		running = terminate_in_database(database);
		LWLockRelease(mcs_shared->lock);
		if (running == 0 || (now >= until && !first))
			break;
		first = false;
		(void) ConditionVariableTimedSleep(&mcs_shared->moved, Min(Max(mcs_shared_ms_until(now, until), 1), 100), PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
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
