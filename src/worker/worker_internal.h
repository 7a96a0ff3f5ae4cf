/*
 * worker/worker_internal.h
 *	  The process that follows one stream, for the files it is made of.
 *
 * Each uses those below it:
 *
 *	worker.c	the loop: definition, session, change stream, and again
 *	failure.c	what becomes of the stream when MongoDB fails
 *	history.c	whether MongoDB is still the one that was followed
 *	chores.c	retention, the oplog's reach, what may be watched
 *	follow.c	one transaction after the other
 *	take.c		events out of replies: what is a row
 *	connect.c	opens and closes the session and the change stream
 *	gather.c	the replies of one transaction
 *	on_error.c	events that cannot be written
 *	crash.c		care after processes that have died
 *	retry.c		when to try again
 *	state.c		what others see of the stream
 *	process.c	what is alike in the process of a handler (worker/worker.h)
 */
#ifndef MCS_WORKER_INTERNAL_H
#define MCS_WORKER_INTERNAL_H

#ifndef MCS_INSIDE_worker
#error "worker/worker_internal.h is for the files of its folder only"
#endif

#include "shared/shared.h"
#include "worker/worker.h"

/*
 * How an event that is too large even for the server is read: alone, since the
 * events before it went down with it and are to come whole; then with less and
 * less of it.  What is left out goes after all of the stream's own stages, which
 * see the whole event and let through what they let through before: so the next
 * event that comes is the one that was too large, and no other.
 */
typedef enum TooLarge
{
	TOO_LARGE_NO,
	TOO_LARGE_ALONE,
	TOO_LARGE_NO_IMAGES,
	TOO_LARGE_KEY_ONLY
} TooLarge;

/*
 * What a batch that goes row by row has found; token and reason are set where
 * the stream is to stop, progress->token being before that event.
 */
typedef struct StreamCulprit
{
	int			count;			/* events that could not be written */
	const char *message;		/* of the last of them */
	const char *token;
	const char *reason;
} StreamCulprit;

/* The way to MongoDB: connect.c opens and closes, failure.c decides how. */
typedef struct StreamMongo
{
	MongoSession *session;
	MemoryContext session_context;	/* of it, its target, its cursor and the replies */
	MongoCursor *cursor;		/* NULL: no change stream is open */
	int			batch_size;		/* events that MongoDB was asked for at a time */
	bool		opened;			/* a change stream has been open in this process before */
	MongoError	failure;		/* class not NONE: what ended the cursor, to be dealt with after the write */

	/* how the change stream is opened beside what the definition says */
	bool		from_time;		/* the token was not found: started at its time, events up to it are left out */
	TooLarge	too_large;		/* reading the one event that is */
	bool		at_collection;	/* may not watch the database, so watches the collection */
	bool		was_wide;		/* has watched the database in this process */
	int			refusals;		/* of the database, in a row */
} StreamMongo;

/* Whether MongoDB's history is the one that was followed: history.c. */
typedef struct StreamHistory
{
	bool		verified;		/* it is, for the session that is open */
	TimestampTz behind_since;	/* since when MongoDB's time is before the last event's; 0: it is not */
} StreamHistory;

/* Where reading is: gather.c takes replies, take.c the events out of them. */
typedef struct StreamReading
{
	/* replies; all in session_context */
	MongoBatch	batch;			/* at hand, if have_batch */
	bool		have_batch;
	List	   *replies;		/* of MongoBatch *: read behind it, for the same transaction */
	DocumentIterator events;	/* in the batch at hand */
	TimestampTz received_at;	/* of the newest reply */
	uint64		operation_time; /* the newest that was heard of */
	TimestampTz held_since;		/* the last of them may be continued by the next, which is waited for; 0: no */
	uint64		held_time;		/* events of this time are left for another cursor; 0: none */

	/* the event that is not whole yet */
	List	   *fragments;		/* of DocumentValue * */
	MemoryContext fragment_context;

	/* tokens, in buffers that are used again: an event costs no allocation; empty for none */
	StringInfoData token;		/* the position that reading has reached */
	StringInfoData newest;		/* of the newest event of this cursor */
	bool		repeat_logged;	/* that the server repeats events */

	bool		moved;			/* since the change stream was opened */
	bool		drained;		/* nothing was behind the position, nor at its time */
	int64		asked_at;		/* when MongoDB was asked for the newest empty reply; 0: events came since */
	bool		waiting;		/* published that there is nothing at hand and MongoDB is asked for more */
	bool		closed;			/* the server ended the cursor with the last reply */
} StreamReading;

/* The transaction at work, and the trouble with those before it: follow.c. */
typedef struct StreamWriting
{
	TimestampTz saved_at;		/* when the position was */
	StringInfoData last_event;	/* token of the last event that MongoDB's history must have; empty for none */
	bool		skipped;		/* the event of skip_token was left out */
	int64		filter_errors;	/* of filter and add_fields */
	bool		filter_error_logged;	/* one of them, since the definition was read */

	bool		in_progress;	/* rows are written, of which one may be what fails */
	int			failures;		/* that may be a row's, since the last commit */
	bool		careful;		/* that was enough: rows go one by one */
	StreamCulprit culprit;		/* what they found; its reason, if any, ends the worker */
} StreamWriting;

/* After processes that have died: crash.c. */
typedef struct StreamCrash
{
	bool		begun;			/* noted that this process is alive */
	TimestampTz began_at;
	int			starts;			/* how many did in a row, without progress since */
	bool		after_death;	/* this process has still to show that it lives */
	int			singly;			/* so many events more are noted before they are written, all of a time by its first; 0: none */
	uint64		single_time;	/* processes have died of an event of this time, which go each alone; 0: of none */
} StreamCrash;

/* Failures, as retry.c and state.c count them. */
typedef struct StreamRetry
{
	TimestampTz failed_at;		/* the latest */
	TimestampTz since;			/* not following since; 0: not retrying */
	bool		alerted;		/* a person was told that the stream does not follow */
	bool		misfit;			/* the events table is not as it must be: wait until it is altered */
} StreamRetry;

/* What is done now and then: chores.c. */
typedef struct StreamChores
{
	TimestampTz expire_at;		/* next look at retention */
	EventExpiry expiry;			/* the round of it */
	int64		kept;			/* by the one before, as the status says, and why */
	char		kept_reason[256];
	TimestampTz window_at;		/* next look at the oplog's reach */
	double		oplog_fill;		/* how much of its room was taken at the last look that was answered */
	TimestampTz widen_at;		/* at_collection: when to see whether the database may be watched after all */
	int64		widen_ms;		/* until the look after that */
} StreamChores;

/* A worker: one stream, one session, one cursor. */
typedef struct StreamWorker
{
	WorkerProcess process;

	/* all in process.definition_context */
	Stream	   *stream;			/* the definition and the stored position; NULL until they were read */
	StreamExpressions *expressions; /* NULL without filter and add_fields, and before the first event */
	EventMask  *mask;			/* what is not to be stored, or NULL */

	StreamMongo mongo;
	StreamHistory history;
	StreamReading read;
	StreamWriting write;
	StreamCrash crash;
	StreamRetry retry;
	StreamChores chores;
} StreamWorker;

/* ---- state.c: what the stream is, as others see it ---- */

/*
 * Publishes a state, with the error that led to it or NULL; a change of state
 * is one line in the log and shows in the user's own table.
 */
extern void mcs_worker_set_state(StreamWorker *worker, StreamState state, const char *reason, const char *error,
								 TimestampTz next_retry_at);

/* Publishes that all is well, with what is to be said beside. */
extern void mcs_worker_show_active(StreamWorker *worker);

/* The change stream is open: counts it where it was open before. */
extern void mcs_worker_opened(StreamWorker *worker);

/* Writes a state that only a person can end, with the event that it stopped at or NULL, and leaves. */
extern void mcs_worker_stop(StreamWorker *worker, StreamState state, const char *reason, const char *error, const char *token)
			pg_attribute_noreturn();

/* ---- retry.c: when to try again, and what ends a wait ---- */

/* Notes from now on what changes under the worker. */
extern void mcs_worker_watch_changes(void);

/* Whether something waits for the worker that is more than a chore. */
extern bool mcs_worker_has_news(void);

/* Whether the session may no longer be the right one, since this was last asked. */
extern bool mcs_worker_take_connection_changed(void);

/*
 * The events table, whose alteration ends a wait for it to be mended (misfit);
 * alterations before the second are forgotten.
 */
extern void mcs_worker_set_events_table(Oid events);
extern void mcs_worker_forget_alteration(void);

/* When to try again after the worker's latest failure; publishes a state and waits until then. */
extern TimestampTz mcs_worker_next_retry(StreamWorker *worker);
extern void mcs_worker_retry(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz at);

/* ---- crash.c: after processes that have died ---- */
extern void mcs_crash_begin(StreamWorker *worker);
extern void mcs_crash_survive(StreamWorker *worker, TimestampTz now);
extern void mcs_crash_announce(StreamWorker *worker, const char *token);

/* ---- gather.c: the replies of one transaction ---- */

/* Bounds of one transaction: whichever comes first, and then at the end of a time. */
#define BATCH_EVENTS	1000
#define BATCH_BYTES		(8 * 1024 * 1024)

/* Takes a reply, if one comes in time; false where none did.  A failure is kept for later. */
extern bool mcs_gather_first(StreamWorker *worker, long timeout_ms);
extern bool mcs_gather(StreamWorker *worker);

/* Takes the next of the replies that were gathered; false where there is none. */
extern bool mcs_gather_next(StreamWorker *worker);
extern bool mcs_gather_goes_on(const StreamWorker *worker, uint64 time);
extern bool mcs_gather_is_held_back(const StreamWorker *worker);

/* Frees the reply at hand; the fragments of an event; forgets all that was read and not written. */
extern void mcs_gather_free_batch(StreamWorker *worker);
extern void mcs_gather_forget_fragments(StreamWorker *worker);
extern void mcs_gather_forget(StreamWorker *worker);

/* ---- connect.c: sessions and change streams ---- */

/* Opens a session with the options as they are now, unless there is one; closes it and what it has open. */
extern void mcs_worker_open_session(StreamWorker *worker);
extern void mcs_worker_close_session(StreamWorker *worker);

/* Opens the change stream at the stored position; ends it and forgets what was read and not written. */
extern void mcs_worker_open_stream(StreamWorker *worker);
extern void mcs_worker_close_stream(StreamWorker *worker);

/* ---- take.c: events out of replies ---- */

/* Moves events to the writer, up to the bounds of a transaction. */
extern void mcs_take_events(StreamWorker *worker, StreamWriter *writer);

/* At the end of a reply: the position is its post-batch token. */
extern void mcs_take_end_reply(StreamWorker *worker);

/* Puts a token into one of the buffers of StreamReading and StreamWriting. */
static inline void
set_token(StringInfo buffer, const char *token, int length)
{
	resetStringInfo(buffer);
	appendBinaryStringInfo(buffer, token, length);
}

/* What a buffer holds, or NULL. */
static inline const char *
get_token(const StringInfoData *buffer)
{
	return buffer->len > 0 ? buffer->data : NULL;
}

/* ---- follow.c: transactions ---- */

/*
 * Reads and writes what has come, waiting at most timeout_ms for it; false
 * where failure, closed or reload says why it cannot go on.
 */
extern bool mcs_follow_step(StreamWorker *worker, long timeout_ms);

/* ---- failure.c ---- */

/* Deals with worker->mongo.failure: what ended the change stream or kept it from opening. */
extern void mcs_worker_handle_failure(StreamWorker *worker);

/* ---- history.c: whether the position means anything ---- */
extern char *mcs_history_verify(StreamWorker *worker);

/* ---- chores.c ---- */
extern void mcs_chores_do(StreamWorker *worker);

/* ---- on_error.c: the events that cannot be written ---- */
extern bool mcs_on_error_write(StreamWriter *writer, StreamProgress *progress, StreamCulprit *culprit);

#endif							/* MCS_WORKER_INTERNAL_H */
