/*
 * shared/shared.h
 *	  What launcher, workers and functions tell each other through shared memory.
 *	  Uses the folder base; tables, stream, worker and handler use it.
 *
 * A slot exists for each stream that shall run, from the launcher's first look
 * at it until it is paused, stopped or dropped, and for each worker of a handler
 * that shall run; a process attaches to it and detaches at its exit.  Beside the
 * slots there is a note on each database.  The protocol of the locks is in
 * shared/memory.c.
 *
 * Who may call what is said at the head of each section: any backend, the
 * launcher, a prober (the process that the launcher sends into a database), or
 * the process that is attached to a slot.  The functions take the lock
 * themselves and raise nothing.
 */
#ifndef MCS_SHARED_H
#define MCS_SHARED_H

#include "base/base.h"
#include "utils/timestamp.h"

typedef enum StreamState
{
	STREAM_STARTING,
	STREAM_SNAPSHOT,
	STREAM_ACTIVE,
	STREAM_RETRYING,
	STREAM_IDLE,				/* of handlers only: nothing to do, so no process either after a while */
	STREAM_PAUSED,
	STREAM_HISTORY_LOST,
	STREAM_ERROR
} StreamState;

/* What the process of a slot says of itself. */
typedef struct StreamReport
{
	StreamState state;
	char		reason[512];
	char		last_error[512];
	TimestampTz next_retry_at;	/* 0: none */
} StreamReport;

/*
 * An owner's projections have one slot in a database, among those of handlers: it is
 * of no stream, whose name is empty, of the handler of this name, and its worker's
 * number is the owner.
 */
#define SHARED_PROJECTIONS	"projections"

/* A slot as bgw_main_arg and back: the index; the generation rides in bgw_extra. */
typedef struct SlotTicket
{
	int			index;
	uint32		generation;
} SlotTicket;

/* Milliseconds until a time, at least 0. */
static inline long
mcs_shared_ms_until(TimestampTz now, TimestampTz then)
{
	return then <= now ? 0 : (long) ((then - now + 999) / 1000);
}

/*
 * Whether a time has come until which something waits, which is never for more
 * than a minute: what lies farther ahead was set before the clock was set back.
 */
static inline bool
mcs_shared_time_has_come(TimestampTz at, TimestampTz now)
{
	return at <= now || at > TimestampTzPlusMilliseconds(now, 61000);
}

/* ---- guc.c: settings, read by any backend, defined at load ---- */

extern bool mcs_shared_enabled;
extern int	mcs_shared_max_streams_per_role;	/* 0: no limit */
extern int	mcs_shared_max_handlers;
extern int	mcs_shared_max_handlers_per_role;	/* 0: no limit */
extern int	mcs_shared_max_databases;
extern int	mcs_shared_gateway_port;
extern int	mcs_shared_reserved_processes;	/* -1: ours to choose */

extern void mcs_guc_init(void);

/* ---- memory.c: any backend ---- */

extern void mcs_shared_init(void);

/* Whether the library was preloaded, so that there is shared memory. */
extern bool mcs_shared_ready(void);

extern const char *mcs_shared_state_name(StreamState state);

/* ---- wake.c: any backend, in a transaction that changes a stream or handler ---- */

extern void mcs_wake_init(void);

/* At commit the stream's process reads its definition again, and the launcher looks at the database; "" is no stream's name. */
extern void mcs_wake_at_commit(const char *stream);

/* The same for a handler of a stream, or (NULL) for all of them: what they are running is cancelled. */
extern void mcs_wake_handlers_at_commit(const char *stream, const char *handler);

/* The same for the processes that refresh projections; what they are at goes on. */
extern void mcs_wake_projections_at_commit(void);

/* At commit the numbers of a stream that is dropped and all its handlers, or of a handler of it, are forgotten: one of that name begins at nothing. */
extern void mcs_wake_forget_numbers_at_commit(const char *stream, const char *handler);

/* Whether this transaction has asked for that, so has itself changed or dropped the handler. */
extern bool mcs_wake_is_due(const char *stream, const char *handler);

/* ---- database.c ---- */

/* In the launcher: which databases there are. */
extern bool mcs_shared_add_database(Oid database);
extern void mcs_shared_remove_databases_but(List *databases);

/* In any backend: keeps our processes out of a database, and lets them in again; each call of the one needs the other. */
extern void mcs_shared_block_database(Oid database, long timeout_ms);
extern void mcs_shared_unblock_database(Oid database, bool dropped);

/* In any backend: the launcher looks at the database's streams soon. */
extern void mcs_shared_look_again(void);

/* ---- probe.c ---- */

/* A stream of the current database, a worker of a handler, or the projections of an owner, as the tables have it. */
typedef struct StreamListed
{
	char	   *name;			/* empty: projections */
	char	   *handler;		/* of the stream; NULL for the stream itself */
	int			worker;			/* of the handler */
	Oid			owner;
	bool		runnable;		/* not paused, stopped or restored */
	bool		work;			/* events wait for the handler */
	int			deaths;			/* of processes in a row, if the one that was there last has died; 0: it is there, or left in order */
	int64		group_key;		/* of a stream: equal where one cursor may serve several; 0: it follows alone */
} StreamListed;

/* In a prober, in this order: before it connects, before it reads the tables, when it has (a list of StreamListed). */
extern bool mcs_shared_attach_prober(Oid database);
extern void mcs_shared_probing(Oid database);
extern void mcs_shared_probed(Oid database, bool installed, List *streams);

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

/* In any backend. */
extern void mcs_shared_count(Oid database, Oid owner, bool handler, SlotCount *count);

/* ---- queue.c: the launcher ---- */

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
	bool		group;			/* one that follows it together with others */
} Launch;

extern void mcs_shared_attach_launcher(void);
extern Launch mcs_shared_next_launch(long *wait_ms);
extern void mcs_shared_launch_failed(const Launch *launch);

/* The setting "enabled" went off, or on. */
extern void mcs_shared_stop_all(void);
extern void mcs_shared_start_all(void);

/* ---- blockers.c ---- */

/* In the launcher. */
extern bool mcs_blockers_look(void);

/* In any backend: the processes that one waits for. */
extern int	mcs_blockers_of(int pid, int32 **blockers);

/* In any backend, for who may change the stream: ends what its worker is at, as a cancel does. */
extern void mcs_blockers_cancel_worker(const char *stream);

/* ---- slot.c: the process of a stream or handler, about its own slot ---- */

/* Takes the slot of a ticket; false where it is no longer this process's, which then leaves. */
extern bool mcs_slot_attach(SlotTicket ticket, char *stream, Oid *database, Oid *owner);

/* Whether the definition may have changed; take: and it is read next. */
extern bool mcs_slot_is_changed(void);
extern bool mcs_slot_take_changed(void);

/* What it says of itself. */
extern void mcs_slot_report(const StreamReport *report);
extern void mcs_slot_forget_error(void);
extern void mcs_slot_suppressed(void);

/* Where it is. */
extern void mcs_slot_heard(uint64 operation_time, TimestampTz heard_at);
extern void mcs_slot_waiting(int await_ms);
extern void mcs_slot_saved(uint64 saved_time, bool drained, int64 asked_at, double events_per_second);
extern bool mcs_slot_sync_wanted(void);
extern void mcs_slot_oplog_window(int64 window, int64 holds);
extern void mcs_slot_wake_handlers(int64 last_event_id);

/* That it comes after others that have died, and how it ends. */
extern bool mcs_slot_is_first(void);
extern void mcs_slot_trusted(void);
extern void mcs_slot_release(void);

/* In the process of projections: it looks for the streams that they show, List of char *, before and after which it says so; then it is told of those alone. */
extern void mcs_slot_find_sources(void);
extern void mcs_slot_found_sources(List *streams);

/* ---- slot.c: any backend, about the slots of others ---- */

/*
 * Waits until the stream's saved position has passed a time of MongoDB's (see
 * stream/sync.c), at most until a time; answers to interrupts.
 */
extern bool mcs_slot_wait_synced(const char *stream, uint64 time, int64 since, TimestampTz until);

/* Waits between two looks at what is committed: until some position moves, for a second, or to a time. */
extern void mcs_slot_begin_wait(void);
extern void mcs_slot_wait(TimestampTz until);
extern void mcs_slot_end_wait(void);

/* So long after a notification was left out the status tells of it. */
#define SLOT_SUPPRESSED_MS	60000

/* What a slot says, copied. */
typedef struct SlotView
{
	char		stream[NAMEDATALEN];
	char		handler[NAMEDATALEN];	/* empty: the stream's own */
	int			worker;
	Oid			owner;
	int			pid;			/* 0: no process */
	uint32		wait_event;		/* of it */
	StreamReport report;
	TimestampTz state_since;
	uint64		saved_time;		/* of MongoDB; 0: none yet */
	uint64		operation_time; /* the newest that was heard of, and when */
	TimestampTz heard_at;
	TimestampTz replied_at;		/* when the process last said anything */
	int			await_ms;		/* silence that means nothing */
	double		events_per_second;
	int64		oplog_window;	/* microseconds, -1: unknown */
	int64		oplog_holds;	/* when it is full */
	TimestampTz suppressed_at;	/* a notification was left out; 0: none */
	TimestampTz alone_until;	/* something went wrong while it was followed with others, and it is not before; 0: nothing did */
	int64		running_event;	/* of a handler; 0: none */
	TimestampTz running_since;
} SlotView;

/* Copies of this database's slots: of streams, or of handlers that shall run. */
extern SlotView *mcs_slot_views(bool of_handlers, int *count);

/* Names of a role's streams that run in other databases than this one. */
extern List *mcs_slot_streams_of_role(Oid role);

/* ---- numbers.c: what was done and waited for ---- */

/* Counters of a stream, or of a worker of a handler. */
typedef enum NumbersCounter
{
	NUMBER_EVENTS,
	NUMBER_BYTES,				/* of events as MongoDB sent them */
	NUMBER_BATCHES,				/* replies with events */
	NUMBER_TRANSACTIONS,
	NUMBER_WAIT_MONGODB,		/* microseconds, as all times */
	NUMBER_WAIT_COMMIT,
	NUMBER_WAIT_WRITE,
	NUMBER_RUN,					/* of a handler's code */
	NUMBER_FILTER_ERRORS,
	NUMBER_COLUMN_ERRORS,
	NUMBERS_COUNTERS
} NumbersCounter;

#define NUMBERS_ERRORS		12	/* kinds of errors that are told apart */
#define NUMBERS_LATENCIES	112	/* steps, up to about three days */

typedef struct NumbersError
{
	char		kind[20];
	int64		count;
} NumbersError;

typedef struct Numbers
{
	TimestampTz since;
	int64		counters[NUMBERS_COUNTERS];
	NumbersError errors[NUMBERS_ERRORS];
	int64		latencies[NUMBERS_LATENCIES];
} Numbers;

/* What a process has done since it last said so. */
typedef struct NumbersDone
{
	int64		events;
	int64		counters[NUMBERS_COUNTERS]; /* all others */
	int64		first_ms;		/* when the first and the last event happened, since 1970; 0: not known */
	int64		last_ms;
} NumbersDone;

/* In a process that has attached to a slot, after a commit: adds it, and makes it nothing; an error of a kind. */
extern void mcs_numbers_add(NumbersDone *done);
extern void mcs_numbers_error(const char *kind);

typedef struct NumbersView
{
	char		stream[NAMEDATALEN];
	char		handler[NAMEDATALEN];	/* empty: of the stream itself */
	Oid			owner;
	Numbers		numbers;
} NumbersView;

/* In any backend: copies of this database's, sums, parts, and beginning anew. */
extern NumbersView *mcs_numbers_views(bool of_handlers, int *count);
extern void mcs_numbers_merge(Numbers *to, const Numbers *from);
extern int64 mcs_numbers_latency(const Numbers *numbers, double part);
extern void mcs_numbers_reset(const char *stream);

/* ---- group_slot.c: streams that one process follows by one cursor ---- */

/* Whether there are other streams that the same group could follow. */
extern bool mcs_group_slot_has_others(void);

/*
 * In a stream's own process, now and then: whether it would give the stream to a
 * group.  True where others are there that fit: it is to leave then, and a
 * group's process comes.
 */
extern bool mcs_group_slot_offer(bool offers);

/* What becomes of a stream that a group's process does not follow any more. */
typedef enum GroupEnd
{
	GROUP_END_STOPPED,			/* it shall not run */
	GROUP_END_BEHIND,			/* it follows alone, and may come back as soon as it has caught up */
	GROUP_END_PARTED,			/* the same, with others, which may be the cause as well; where that comes again soon, not within a minute */
	GROUP_END_ALONE				/* the same, but not within a minute */
} GroupEnd;

/* In a group's process, which has attached to the first of its slots: from now on that is a group's. */
extern int64 mcs_group_slot_attach(void);

/*
 * The next slot that is to join, which becomes this process's, with what it said
 * before; -1: none does.  first: the one it has attached to.  *after_crash is what
 * mcs_slot_is_first says of an ordinary process; *parted: it comes from a group
 * that parted, and has not been seen to work alone since.
 */
extern int	mcs_group_slot_take(char *stream, StreamReport *report, bool first, bool *after_crash, bool *parted);

/* From now on "its own slot" is this one; at_work: what is done is that stream's. */
extern void mcs_group_slot_use(int slot, bool at_work);

/* The one in use is given up; whether its key is not that of this group any more. */
extern void mcs_group_slot_give(GroupEnd end);
extern bool mcs_group_slot_is_foreign(void);

/* Whether one is there that wants to join, one that has changed, one that somebody waits for. */
typedef struct GroupNews
{
	bool		joins;
	bool		changed;
	bool		sync;
} GroupNews;

extern GroupNews mcs_group_slot_news(void);

/* ---- handler_slot.c: the process of a handler, about its own slot ---- */

/* Which handler, and which of its workers, this is; after mcs_slot_attach. */
extern bool mcs_handler_slot_attach(char *handler, int *worker);

/* The event whose code is running, 0: none; a position was committed. */
extern void mcs_handler_slot_running(int64 event_id, TimestampTz since);
extern void mcs_handler_slot_moved(double events_per_second);

/* Whether what ran was cancelled because it held up its change stream. */
extern bool mcs_handler_slot_take_obstructs(void);

/* Notes that an event became a dead letter. */
extern void mcs_handler_slot_add_dead_letter(int64 event_id);

/*
 * How many events the handler has given up of which nobody was told, and the last
 * of them; 0 while it is too early to tell again, unless at_once, and then
 * *tell_at is when it is not.
 */
extern int64 mcs_handler_slot_take_dead_letters(bool at_once, int64 *last, TimestampTz *tell_at);

/* The stream's last event of which the slot was told, and whether more has come since that was asked. */
extern int64 mcs_handler_slot_newest(void);
extern bool mcs_handler_slot_has_news(int64 newest);

/*
 * Says that there is nothing to do before some time (0: before events come), as the
 * process ends; false where something has come since mcs_handler_slot_newest returned
 * this.
 */
extern bool mcs_handler_slot_rest(int64 newest, TimestampTz look_at);

/* Whether another waits for this process, which is to leave between two transactions. */
extern bool mcs_handler_slot_gives_way(void);

/*
 * Says that the process ends for that reason, having come to a position, and when it
 * is to be started again (0: when its turn comes), and when if nothing is left to do
 * (0: before events come); false where nobody waits any more.
 */
extern bool mcs_handler_slot_leave(int64 position, TimestampTz again_at, TimestampTz look_at);

#endif							/* MCS_SHARED_H */
