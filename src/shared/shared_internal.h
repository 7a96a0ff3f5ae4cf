/*
 * shared/shared_internal.h
 *	  What launcher, workers and functions tell each other through shared
 *	  memory.  Only stream_*.c files of the running side include it.
 *
 * A slot exists for each stream that shall run, from the launcher's first look
 * at it until it is paused, stopped or dropped; a worker attaches to it and
 * detaches at its exit.  The protocol of the locks is in shared/memory.c.
 */
#ifndef MCS_STREAM_SHMEM_H
#define MCS_STREAM_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "stream/stream.h"

/* ---- the shared memory itself: for shared/memory.c and shared/slot.c only ---- */

typedef struct DatabaseNote
{
	Oid			database;		/* InvalidOid: free */
	bool		dirty;
	bool		installed;		/* the extension was there at the last look */
	int			blocked;		/* how many statements want it without our processes */
	bool		only_blocked;	/* nothing else is known of it; it may be one that nobody can connect to */
	TimestampTz probed_at;
	TimestampTz launched_at;	/* the last prober, whether it came or not: it was the database's turn */
	TimestampTz not_before;		/* a prober could not be started or failed */
} DatabaseNote;

typedef struct StreamSlot
{
	bool		in_use;
	bool		wanted;			/* shall have a worker */
	bool		changed;		/* the worker must read its definition again */
	uint32		generation;
	Oid			database;
	Oid			owner;
	char		stream[NAMEDATALEN];
	char		handler[NAMEDATALEN];	/* of the stream; empty: the slot is the stream's own */
	int			worker;			/* of the handler */

	pid_t		pid;			/* of the worker, 0 without one */
	PGPROC	   *proc;
	bool		launching;		/* asked of the postmaster, not attached yet */
	TimestampTz launched_at;
	int			quick_exits;	/* exits in a row soon after the start, for the throttle */
	bool		attached;		/* a process has been here since shared memory was made */
	int			deaths;			/* of processes in a row that were here last, until the next has shown that it lives */
	TimestampTz not_before;

	StreamReport report;
	TimestampTz state_since;
	uint64		saved_time;		/* cluster time of the saved token, 0: none yet */
	bool		drained;		/* nothing of that time was behind the saved token */
	int64		asked_at;		/* nor anything else when MongoDB was asked then; monotonic, 0: unknown */
	uint64		operation_time; /* the newest that was heard of */
	TimestampTz heard_at;		/* when that was MongoDB's time */
	TimestampTz replied_at;		/* when the process last said anything of that or of its position */
	int			await_ms;		/* silence that means nothing, as MongoDB is asked for more than there is; 0: it is not */
	double		events_per_second;
	int64		oplog_window;	/* microseconds, -1: unknown */
	TimestampTz sync_until;		/* somebody waits for the position to be saved */
	bool		waited;			/* for a lock, at the guard's last look */
	TimestampTz suppressed_at;	/* a notification was left out */
	bool		yields;			/* was told to end, so that another role gets its process */

	/* of a handler */
	bool		work;			/* shall be started though idle: events may wait for it */
	int64		newest_event;	/* the stream's last that is known here */
	bool		obstructs;		/* was cancelled because its change stream waited for a lock that it held */
	int64		letters;		/* events given up of which nobody was told yet, and the last of them */
	int64		last_letter;
	TimestampTz letters_told_at;
	pg_atomic_uint64 running_event; /* written by the worker without the lock; 0: none */
	pg_atomic_uint64 running_since;
} StreamSlot;

typedef struct SharedState
{
	LWLock	   *lock;
	pid_t		launcher_pid;
	PGPROC	   *launcher;
	Oid			prober_database;	/* where a prober is, or is on its way */
	pid_t		prober_pid;
	TimestampTz prober_launched_at;
	ConditionVariable moved;	/* a position was saved, or a process left */
	bool		after_crash;	/* processes that were there before may have died: PostgreSQL was not shut down */
	TimestampTz made_at;
	int			max_databases;
	DatabaseNote *databases;	/* behind the slots */
	int			max_streams;	/* the first slots are for streams, the others for handlers */
	int			max_slots;
	StreamSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

extern SharedState *mcs_shared;

/* With the lock held. */
extern void mcs_shmem_wake_launcher(void);
extern bool mcs_shmem_is_blocked(Oid database);
extern DatabaseNote *mcs_shmem_note(Oid database, bool make);
extern StreamSlot *mcs_shmem_find_slot(Oid database, const char *stream, const char *handler, int worker);

/* Milliseconds until a time, at least 0. */
static inline long
mcs_ms_until(TimestampTz now, TimestampTz then)
{
	return then <= now ? 0 : (long) ((then - now + 999) / 1000);
}

/*
 * Whether a time has come until which something waits, which is never for more
 * than a minute: what lies farther ahead was set before the clock was set back.
 */
static inline bool
mcs_time_has_come(TimestampTz at, TimestampTz now)
{
	return at <= now || at > TimestampTzPlusMilliseconds(now, 61000);
}

/* A slot as bgw_main_arg and back: the index; the generation rides in bgw_extra. */
typedef struct SlotTicket
{
	int			index;
	uint32		generation;
} SlotTicket;

/* What the launcher shall do next. */
typedef enum LaunchKind
{
	LAUNCH_NOTHING,
	LAUNCH_PROBER,				/* look at a database's streams */
	LAUNCH_WORKER
} LaunchKind;

typedef struct Launch
{
	LaunchKind	kind;
	Oid			database;
	SlotTicket	ticket;			/* of a worker */
	char		stream[NAMEDATALEN];
	char		handler[NAMEDATALEN];	/* empty for a stream's worker */
} Launch;

/* ---- launcher and prober ---- */
extern void mcs_shmem_attach_launcher(void);
extern bool mcs_shmem_add_database(Oid database);
extern void mcs_shmem_stop_all(void);
extern void mcs_shmem_start_all(void);
extern void mcs_shmem_remove_databases_but(List *databases);
extern Launch mcs_shmem_next_launch(long *wait_ms);
extern void mcs_shmem_launch_failed(const Launch *launch);
extern bool mcs_shmem_attach_prober(Oid database);
extern void mcs_shmem_probing(Oid database);
extern void mcs_shmem_probed(Oid database, bool installed, List *streams);

/* ---- workers ---- */
extern StreamSlot *mcs_my_slot; /* NULL in other processes */
extern bool mcs_slot_attach(SlotTicket ticket, char *stream, Oid *database, Oid *owner);
extern bool mcs_slot_take_changed(void);
extern bool mcs_slot_is_changed(void);
extern void mcs_slot_report(const StreamReport *report);
extern void mcs_slot_suppressed(void);
extern bool mcs_slot_is_first(void);
extern void mcs_slot_forget_error(void);
extern void mcs_slot_correct(StreamSlot *slot);
extern void mcs_slot_trusted(void);
extern void mcs_slot_saved(uint64 saved_time, bool drained, int64 asked_at, double events_per_second);
extern void mcs_slot_heard(uint64 operation_time, TimestampTz heard_at);
extern void mcs_slot_waiting(int await_ms);
extern bool mcs_slot_sync_wanted(void);
extern void mcs_slot_oplog_window(int64 microseconds);
extern void mcs_slot_wake_handlers(int64 last_event_id);
extern void mcs_slot_release(void);

/* How far the slots are taken, for who has none. */
typedef struct SlotCount
{
	bool		launcher;		/* runs */
	bool		database;		/* is one that the launcher looks at */
	bool		databases_full;
	int			max_databases;
	int			slots;
	int			taken;
	int			of_owner;
	int			limit;			/* of an owner; 0: none */
} SlotCount;
extern void mcs_shmem_count(Oid database, Oid owner, bool handler, SlotCount *count);

/* Settings. */
extern bool mcs_enabled;
extern int	mcs_max_streams_per_role;
extern int	mcs_max_handlers_per_role;
extern int	mcs_reserved_processes;

#define MCS_REASON_DISABLED "mongo_change_stream.enabled is off on this server, so no change stream or handler runs"

/* ---- stream/reason.c ---- */
extern char *mcs_reason_of_owner(Oid owner);
extern char *mcs_reason_of_wait(int pid, uint32 wait_event, bool long_ago);

/* ---- shared/guard.c ---- */
extern int	mcs_guard_blockers(int pid, int32 **blockers);
extern bool mcs_guard_look(void);

/* ---- DDL that needs a database without our processes ---- */
extern void mcs_shmem_block_database(Oid database, long timeout_ms);
extern void mcs_shmem_unblock_database(Oid database, bool dropped);
extern List *mcs_shmem_streams_of_role(Oid role);


#endif							/* MCS_STREAM_SHMEM_H */
