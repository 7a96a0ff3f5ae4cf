/*
 * worker/worker_internal.h
 *	  The process that follows one stream, for the files it is made of.
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

/* What a batch that goes row by row has found; token and reason are set where the stream is to stop, progress->token being before that event. */
typedef struct StreamCulprit
{
	int			count;			/* events that could not be written */
	const char *message;		/* of the last of them */
	const char *token;
	const char *reason;
} StreamCulprit;

/* A worker: one stream, one session, one cursor. */
typedef struct StreamWorker
{
	char		name[NAMEDATALEN];
	Stream	   *stream;			/* the definition and the stored position */
	MemoryContext stream_context;	/* of it and of the expressions */
	StreamExpressions *expressions; /* NULL without filter and add_fields */
	bool		filter_error_logged;
	EventMask  *mask;			/* what is not to be stored, or NULL; in stream_context */

	MongoSession *session;
	MemoryContext session_context;
	MongoCursor *cursor;
	bool		at_collection;	/* may not watch the database, so watches the collection */
	bool		verified;		/* MongoDB's history is the one that was followed */
	TimestampTz behind_since;	/* since when MongoDB's time is before the last event's; 0: it is not */
	bool		was_wide;		/* has watched the database in this process */
	int			refusals;		/* of the database, in a row */
	TimestampTz widen_at;		/* at_collection: when to see whether the database may be watched after all */
	int64		widen_ms;		/* until the look after that */
	bool		from_time;		/* the token was not found: started at its time, events up to it are left out */
	TooLarge	too_large;		/* reading the one event that is */

	/* reading */
	MongoBatch	batch;
	bool		have_batch;
	List	   *replies;		/* of MongoBatch *: read behind it, for the same transaction */
	int			batch_size;		/* events that MongoDB was asked for at a time */
	TimestampTz held_since;		/* the last of them may be continued by the next, which is waited for; 0: no */
	uint64		held_time;		/* events of this time are left for another cursor; 0: none */
	char	   *newest_token;	/* of the newest event of this cursor; in stream_context */
	bool		repeat_logged;
	DocumentIterator events;	/* in the batch */
	TimestampTz received_at;
	bool		waiting;		/* published that there is nothing at hand and MongoDB is asked for more */
	List	   *fragments;		/* DocumentValue * of the event that is not whole yet */
	MemoryContext fragment_context;
	char	   *read_token;		/* the position that reading has reached; in stream_context */
	bool		moved;			/* since the change stream was opened */
	bool		drained;		/* nothing was behind it, nor at its time */
	int64		asked_at;		/* when MongoDB was asked for the newest empty reply; 0: events came since */
	uint64		operation_time; /* the newest that was heard of */
	MongoError	failure;		/* class not NONE: what ended the cursor, to be dealt with after the write */
	bool		closed;			/* the server ended the cursor with the last reply */
	bool		opened;			/* it has opened in this process before */
	StringInfo	event_token;	/* of the last event in the transaction at work, empty for none */
	bool		skipped;		/* the transaction at work left out the event of skip_token */
	bool		reload;			/* definition or position were changed by another session */

	/* after processes that have died (worker/life.c) */
	bool		begun;			/* noted that this process is alive */
	int			starts;			/* how many did in a row, without progress since */
	bool		after_death;	/* this process has still to show that it lives */
	int			singly;			/* so many events more are noted before they are written, all of a time by its first; 0: none */
	uint64		single_time;	/* processes have died of an event of this time, which go each alone; 0: of none */
	TimestampTz began_at;

	/* writing */
	MemoryContext batch_context;	/* reset after each transaction */
	TimestampTz saved_at;
	int64		filter_errors;	/* of the transaction at work */

	/* state and chores */
	StreamReport report;
	bool		misfit;			/* the events table is not as it must be: wait until it is altered */
	int			failures;		/* in a row */
	TimestampTz retrying_since; /* 0: not retrying */
	bool		alerted;		/* a person was told that the stream does not follow */
	TimestampTz failed_at;		/* the latest */
	bool		writing;		/* rows, of which one may be what fails */
	int			write_failures; /* of that kind since the last commit */
	bool		careful;		/* that was enough: rows go one by one */
	StreamCulprit culprit;		/* what they found; its reason, if any, ends the worker */
	double		rate;			/* events a second, smoothed */
	int64		rate_events;
	TimestampTz rate_since;
	TimestampTz expire_at;		/* next look at retention */
	EventExpiry expiry;			/* the round of it */
	int64		kept;			/* by the one before, as the status says, and why */
	char		kept_reason[256];
	TimestampTz window_at;		/* next look at the oplog's reach */
} StreamWorker;

/* ---- worker/worker.c ---- */
extern void mcs_worker_begin(StreamWorker *worker);
extern void mcs_worker_commit(StreamWorker *worker);
extern void mcs_worker_opened(StreamWorker *worker);
extern void mcs_worker_leave(void) pg_attribute_noreturn();

/* ---- worker/life.c ---- */
extern void mcs_life_begin(StreamWorker *worker);
extern void mcs_life_go_on(StreamWorker *worker, TimestampTz now);
extern void mcs_worker_announce(StreamWorker *worker, const char *token);
extern void mcs_worker_set_state(StreamWorker *worker, StreamState state, const char *reason, const char *error,
								 TimestampTz next_retry_at);

extern void mcs_worker_close_session(StreamWorker *worker);

/* When to try again after a failure; publishes a state and waits until then; publishes one that only a person ends, and leaves. */
extern TimestampTz mcs_worker_next_retry(StreamWorker *worker);
extern void mcs_worker_retry(StreamWorker *worker, StreamState state, const char *reason, const char *error, TimestampTz at);
extern void mcs_worker_stop(StreamWorker *worker, StreamState state, const char *reason, const char *error);

/* ---- worker/failure.c ---- */

/* Deals with worker->failure: what ended the change stream or kept it from opening. */
extern void mcs_worker_handle_failure(StreamWorker *worker);
/* ---- worker/gather.c: the replies of one transaction ---- */

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
extern void mcs_gather_forget(StreamWorker *worker);

/* ---- worker/follow.c: from the cursor into transactions ---- */
extern void mcs_follow_open(StreamWorker *worker);
extern void mcs_follow_close(StreamWorker *worker);

/*
 * Reads and writes what has come, waiting at most timeout_ms for it; false
 * where failure, closed or reload says why it cannot go on.
 */
extern bool mcs_follow_step(StreamWorker *worker, long timeout_ms);

/* ---- worker/history.c: whether the position means anything ---- */
extern char *mcs_history_verify(StreamWorker *worker);

/* ---- worker/culprit.c ---- */
extern bool mcs_culprit_write(StreamWriter *writer, StreamProgress *progress, StreamCulprit *culprit);

#endif							/* MCS_WORKER_INTERNAL_H */
