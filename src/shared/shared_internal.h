/*
 * shared/shared_internal.h
 *	  The shared memory itself, for the files of this folder.
 */
#ifndef MCS_SHARED_INTERNAL_H
#define MCS_SHARED_INTERNAL_H

#ifndef MCS_INSIDE_shared
#error "shared/shared_internal.h is for the files of its folder only"
#endif

#include "port/atomics.h"
#include "shared/shared.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/spin.h"

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
	int			refused;		/* probers in a row for which the postmaster had no process */
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
	char		handler[NAMEDATALEN];	/* of the stream; empty: the slot is the stream's own; see SHARED_PROJECTIONS */
	int			worker;			/* of the handler */

	pid_t		pid;			/* of the worker, 0 without one */
	PGPROC	   *proc;
	bool		launching;		/* asked of the postmaster, not attached yet */
	TimestampTz launched_at;
	int			quick_exits;	/* exits in a row soon after the start, for the throttle */
	bool		attached;		/* a process has been here since shared memory was made */
	int			deaths;			/* of processes in a row that were here last, until the next has shown that it lives */
	TimestampTz not_before;
	TimestampTz waits_since;	/* shall have a process, of which none was free; 0: none was wanted in vain */
	int			refused;		/* launches in a row for which the postmaster had none */

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
	int64		oplog_holds;	/* when it is full, at its pace so far */
	TimestampTz sync_until;		/* somebody waits for the position to be saved */
	bool		waited;			/* for a lock, at the last look of blockers.c */
	int			numbers;		/* which place of them is its own: shared/numbers.c */
	TimestampTz suppressed_at;	/* a notification was left out */
	bool		yields;			/* was told to end, so that another role gets its process */

	/* of a stream that may be followed together with others: shared/group_slot.c */
	int64		group_key;		/* equal where that may be; 0: it follows alone */
	TimestampTz offered_at;		/* its own process would give it to a group; 0: not */
	bool		joins;			/* waits for a group's process */
	bool		grouped;		/* the process that is here is a group's */
	bool		leads;			/* of a group's slots the one that counts for its process */
	bool		at_work;		/* what the group's process does just now is this stream's */
	bool		follows_on;		/* a group has just given it back */
	TimestampTz alone_until;	/* joins no group before */
	TimestampTz parted_at;		/* its group could follow nobody any more */
	bool		parted;			/* and it has had no process since */

	/* of a handler */
	bool		work;			/* shall be started though idle: events may wait for it */
	TimestampTz look_at;		/* shall be started then, also without work; 0: it need not */
	pg_atomic_uint32 gives_way; /* another waits for its process: it leaves between two transactions; read by the worker without the lock */
	TimestampTz told_at;		/* when it was told so */
	int64		newest_event;	/* the stream's last that is known here */
	TimestampTz news_at;		/* when that was told */
	uint64		sources;		/* of projections: streams whose events they show, a bit each (bit_of_stream) */
	TimestampTz sources_until;	/* that holds until then; 0: it is not known */
	bool		finds_sources;	/* their process looks for them, and no stream or handler was made, changed or dropped since it began */
	bool		obstructs;		/* was cancelled because its change stream waited for a lock that it held */
	int64		dead_letters;	/* events given up of which nobody was told yet, and the last of them */
	int64		last_dead_letter;
	TimestampTz dead_letters_told_at;
	pg_atomic_uint64 running_event; /* written by the worker without the lock; 0: none */
	pg_atomic_uint64 running_since;
} StreamSlot;

/* Numbers and whose they are. */
typedef struct NumbersPlace
{
	slock_t		mutex;			/* for the numbers */
	bool		used;
	Oid			database;
	Oid			owner;
	char		stream[NAMEDATALEN];
	char		handler[NAMEDATALEN];
	int			worker;
	Numbers		numbers;
} NumbersPlace;

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
	NumbersPlace *numbers;		/* behind those, as many as slots */
	int			max_streams;	/* the first slots are for streams, the others for handlers */
	int			max_slots;
	StreamSlot	slots[FLEXIBLE_ARRAY_MEMBER];
} SharedState;

extern SharedState *mcs_shared;

/* The slot of this process; NULL in any that is no worker. */
extern StreamSlot *mcs_slot_mine;

/* A pace as a status shows it. */
extern double mcs_slot_shown_pace(double events_per_second);

/* How long a stream that a group could not follow is left alone. */
#define SLOT_ALONE_MS	60000

/* A group that could follow nobody so soon after the one before will not fare better the next time. */
#define SLOT_PARTED_MS	300000

/* By then all of a group have left it that leave together. */
#define SLOT_PARTING_MS	1000

/* ---- slot.c, with the lock held ---- */
extern void mcs_slot_begin(StreamSlot *slot);
extern void mcs_slot_end(StreamSlot *slot, int code, TimestampTz now);
extern bool mcs_slot_tell(StreamSlot *slot, int64 newest_event, TimestampTz now);
extern bool mcs_slot_is_of_projections(const StreamSlot *slot);
extern bool mcs_slot_tell_projections(Oid database, const char *stream, TimestampTz now);
extern void mcs_slot_forget_sources(Oid database);

/* ---- group_slot.c, with the lock held ---- */
extern bool mcs_group_slot_is_served(const StreamSlot *slot);
extern bool mcs_group_slot_counts(const StreamSlot *slot);
extern void mcs_group_slot_lead(void);
extern void mcs_group_slot_begin_together(Oid database);

/* ---- numbers.c, with the lock held ---- */
extern int	mcs_numbers_find(Oid database, Oid owner, const char *stream, const char *handler, int worker);
extern void mcs_numbers_give(int number, Oid owner);
extern void mcs_numbers_begin_anew(const char *stream, const char *handler, bool gone);

/* ---- memory.c, with the lock held ---- */
extern void mcs_shared_wake_launcher(void);
extern StreamSlot *mcs_shared_find_slot(Oid database, const char *stream, const char *handler, int worker);

/* ---- database.c, with the lock held ---- */
extern DatabaseNote *mcs_shared_note(Oid database, bool make);
extern void mcs_shared_note_change(Oid database);
extern bool mcs_shared_is_blocked(Oid database);

/* ---- ? ---- */
extern int	mcs_shared_max_streams;

#endif							/* MCS_SHARED_INTERNAL_H */
