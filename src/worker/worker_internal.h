/*
 * worker/worker_internal.h
 *	  The process that follows one stream, for the files it is made of.
 *
 * Each uses those below it:
 *
 *	group.c		the loop of a process that follows several streams by one cursor
 *	group_failure.c	what becomes of them when MongoDB fails
 *	group_cursor.c	their session and their cursor
 *	worker.c	the loop: definition, session, change stream, and again
 *	member.c	a stream of a group: what it does with what the group has read for it
 *	route.c		which streams of a group an event is for
 *	failure.c	what becomes of the stream when MongoDB fails
 *	history.c	whether MongoDB is still the one that was followed
 *	chores.c	retention, the oplog's reach, what may be watched
 *	copy.c		documents that exist: chunks of collections between transactions of events
 *	sweep.c		rows of a mirror whose documents do not
 *	follow.c	one transaction after the other
 *	take.c		events out of replies: what is a row
 *	plan.c		how far the next transaction goes, and the one behind it
 *	lookups.c	documents that their updates need
 *	mirroring.c	the stream's mirrors: what events mean for their tables
 *	documents.c	the second session, in which documents are read, and at which time
 *	connect.c	opens and closes the session and the change stream
 *	gather.c	the replies of one transaction
 *	on_error.c	events that cannot be written
 *	crash.c		care after processes that have died
 *	retry.c		when to try again
 *	commit.c	the end of a transaction
 *	state.c		what others see of the stream
 *	process.c	what is alike in the process of a handler (worker/worker.h)
 */
#ifndef MCS_WORKER_INTERNAL_H
#define MCS_WORKER_INTERNAL_H

#ifndef MCS_INSIDE_worker
#error "worker/worker_internal.h is for the files of its folder only"
#endif

#include "mirror/mirror.h"
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
	bool		needs_database;	/* MongoDB does not follow what has the collection's name, as a view */
	bool		at_collection;	/* needs to watch the database and may not, so watches the collection */
	bool		was_wide;		/* has watched the database in this process, or seen that it may */
	bool		joins_if_wide;	/* would be followed together with others if it may watch the database */
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
	List	   *replies;		/* of MongoBatch *: read behind it, for the same transaction or the next */
	List	   *spent;			/* the same, before it: events of the transaction at work lie in them */
	int			enough_events;	/* at hand for the next transaction, or bytes */
	Size		enough_bytes;
	int			taken;			/* events of the transaction at work */
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
	bool		noted;			/* a group's member: what is read for it is noted before anything is made of it */
	uint64		single_time;	/* processes have died of an event of this time, which go each alone; 0: of none */
} StreamCrash;

/* What a group has read for one of its streams, which has no cursor of its own: route.c fills it, gather.c empties it. */
typedef struct StreamInbox
{
	struct StreamWorker *reader;	/* the group's, whose second session (documents.c) its streams share */
	bool		full;
	MongoBatch	batch;			/* its bytes are the group's */
	TimestampTz received_at;
	uint64		operation_time;
	TimestampTz heard_at;		/* when that was MongoDB's time, 0: not known */
	const char *passed;			/* the position at which the cursor was opened, sorting before the events behind it whatever version they are of */
	bool		goes_on;		/* its last transaction is not the end of the work: there is much to do, or another stream of the group is next */
} StreamInbox;

/* Failures, as retry.c and state.c count them. */
typedef struct StreamRetry
{
	TimestampTz failed_at;		/* the latest */
	TimestampTz since;			/* not following since; 0: not retrying */
	bool		alerted;		/* a person was told that the stream does not follow */
	bool		misfit;			/* the events table is not as it must be: wait until it is altered */
	char		mirror[NAMEDATALEN];	/* whose table the error at hand came from; empty: none's */
	int			mirror_failures;	/* such errors since a transaction with mirrors was last written */
	TimestampTz mirror_since;	/* the first of them */
} StreamRetry;

/* When a stream that could not watch the database, or not yet, first looks again whether it may. */
#define WIDEN_MIN_MS	60000

/* What is done now and then: chores.c. */
typedef struct StreamChores
{
	TimestampTz expire_at;		/* next look at retention */
	TimestampTz expired_at;		/* the last one was over */
	TimestampTz expire_all_at;	/* when to begin again with the oldest event that there is */
	EventExpiry expiry;			/* the round of it */
	int64		kept;			/* by the one before, as the status says, and why */
	char		kept_reason[256];
	TimestampTz window_at;		/* next look at the oplog's reach */
	double		oplog_fill;		/* how much of its room was taken at the last look that was answered */
	TimestampTz widen_at;		/* when to see whether the database may be watched */
	int64		widen_ms;		/* until the look after that */
} StreamChores;

/* Where documents are read, beside the change stream: documents.c. */
typedef struct StreamDocuments
{
	MongoSession *session;		/* NULL: none is open */
	MemoryContext context;		/* of it, and of what it has open */
	bool		looks_up;		/* by the definition, documents of updates may be looked up here */
	bool		leaves_lookups; /* the role may not find: MongoDB looks up itself what events want */
	uint32		failed;			/* the collection of the latest read that failed, as a number */
	uint32		refused;		/* the same where the user was refused, until it can be read; 0: none */
	bool		at_times_failed;	/* MongoDB could not read at a time when it was last asked to */
	TimestampTz at_times_again; /* when that is tried again */
	bool		now_next;		/* the next find is not to try it */
	List	   *kinds;			/* of CollectionKind: what is known of collections */
	Size		usual_size;		/* of the documents that were last looked up; 0: none were */
} StreamDocuments;

/*
 * How far a transaction goes: so many whole events of those at hand, which end at
 * a time; and what was looked up for them.  plan.c.
 */
typedef struct StreamPlan
{
	int			events;			/* 0: nothing is planned */
	uint64		time;			/* of the last of them */
	bool		parts_time;		/* more events of that time follow, or may */
	DocumentIterator end;		/* behind them, in the reply with these events */
	const uint8 *end_reply;
	struct LookupTable *documents;
	MemoryContext context;		/* of them */
} StreamPlan;

/* A mirror that is written: mirroring.c. */
typedef struct StreamMirror
{
	Mirror	   *definition;
	CopyProgress *copy;			/* NULL only where its row was taken away */
	MirrorTable *table;			/* NULL until it is needed */
	MirrorChanges *changes;		/* of the transaction at work; NULL: none */
	bool		begins_copy;	/* in it, once more; the definition is to be read again then */
	ErrorData  *failure;		/* its table could not be opened, in the transaction at work */
	bool		stopped;		/* in this process, which has written so */
} StreamMirror;

/* Copying: copy.c. */
typedef struct StreamCopy
{
	List	   *copies;			/* of CopyProgress *, the unfinished ones first to last; in definition_context */
	CopyProgress *current;		/* the one at work, or NULL */
	MongoCursor *cursor;		/* reads it, or NULL */
	FindSpec	spec;			/* what it reads */
	uint64		time;			/* as of when, if it can */
	int64		read;			/* documents that came by it */
	bool		empty;			/* nothing of it has been written yet */
	TimestampTz began_at;		/* when it was opened */
	int			batch_size;		/* documents that a reply shall have */
	TimestampTz events_since;	/* events wait, or have their turn, since; 0: none do */
	TimestampTz events_at;		/* when some last did */
	TimestampTz told_at;		/* how far it is */
	char		words[400];		/* the same as the status says it; empty: nothing is copied */
	bool		of_stream;		/* that is for the stream, and not a mirror */
	TimestampTz started_at;		/* the current one in this process, and how far it was then */
	int64		started_with;
	MemoryContext context;		/* of the cursor and its replies */
} StreamCopy;

/* A worker: one stream, one session, one cursor. */
typedef struct StreamWorker
{
	WorkerProcess process;

	/* all in process.definition_context */
	Stream	   *stream;			/* the definition and the stored position; NULL until they were read */
	StreamExpressions *expressions; /* NULL without filter and add_fields, and before the first event */
	EventMask  *mask;			/* what is not to be stored, or NULL */

	StreamMirror *mirrors;		/* ordered by what they watch */
	int			mirror_count;

	StreamMongo mongo;
	StreamHistory history;
	StreamReading read;
	StreamDocuments documents;
	StreamPlan	plan;
	StreamPlan	next_plan;		/* of the transaction behind that */
	uint64		one_time_until; /* a mirror has failed: up to this time each time goes alone; 0: no */
	StreamCopy	copy;
	StreamWriting write;
	StreamCrash crash;
	StreamRetry retry;
	StreamChores chores;
	TimestampTz created_at;		/* of the stream that it last read, 0: of none yet */
	TimestampTz ready_since;	/* the change stream was opened */
	TimestampTz offer_at;		/* when to see next whether others are there to join */
	StreamInbox *inbox;			/* of a stream that a group follows; NULL: it has its own process */
} StreamWorker;

/* One of the streams that a process follows together: a worker without a cursor. */
typedef struct GroupMember
{
	StreamWorker *worker;
	int			slot;
	StreamInbox inbox;
	StringInfoData passed;
	bool		reading;		/* the cursor that is open is open for it, too */
	bool		gone;			/* its slot is given up */
	bool		fresh;			/* no cursor has been opened for it here yet */
	int64		backlog_events; /* what the cursor has brought for it since it was last at MongoDB's time */
	Size		backlog_bytes;
	bool		unproven;		/* its last group parted, perhaps by its doing, and this one has not caught up with it yet */
	long		took_ms;		/* by the last turn; -1: there was nothing to do */
	long		slow_ms;		/* that its last rounds have taken, where each took long */

	/* while a round's events are handed out: route.c */
	DocumentBuilder builder;
	int			count;
	int64		newest;			/* the number of the newest */
} GroupMember;

/* Streams that are followed together. */
typedef struct StreamGroup
{
	int64		key;
	List	   *members;		/* of GroupMember * */
	GroupMember *current;		/* whose work is done now, and whose doing an error is; NULL: nobody's */
	StreamWorker *reader;		/* session, cursor and replies; of no stream */
	MemoryContext batch_context;	/* of all members' transactions */
	bool		reopen;			/* who is to be served has changed */
	bool		closed;			/* the server has ended the cursor */
	bool		moved;			/* something has come since it was opened */
	int			refusals;		/* by MongoDB, in a row; -1 until something has come */
	bool		at_time;		/* the event to begin behind was not found: begins at its time, until something has come */
	TimestampTz alone_since;	/* there is only one member; 0: there are more */
	TimestampTz tick_at;
	TimestampTz save_at;

	/* what the last round says to those for whom nothing was in it */
	StringInfoData quiet_token; /* empty: nothing */
	int64		quiet_asked_at;
	TimestampTz heard_at;

	MemoryContext common_context;	/* of the reader's definition */

	/* route.c */
	MemoryContext route_context;
	HTAB	   *routes;			/* by collection */
	List	   *whole;			/* members that watch the whole database */
	MemoryContext round_context;	/* of what is in inboxes */
} StreamGroup;

/* Whether the stream is followed, whatever else is done beside. */
static inline bool
mcs_worker_is_following(const StreamWorker *worker)
{
	return worker->process.report.state == STREAM_ACTIVE || worker->process.report.state == STREAM_SNAPSHOT;
}

/* ---- worker.c ---- */

/* As long as the process lives, and nothing of it in a context that is reset. */
extern StreamWorker *mcs_worker_make(const char *name, Size batch_block);

/*
 * Lets malloc keep memory for the next reply, in a process that follows.  By default
 * glibc gives what a reply of some megabytes took back to the kernel and gets it
 * anew, page by page: more work than all else that the driver's thread does with it.
 */
extern void mcs_worker_keep_memory(void);

/* Reads definition and position; false where the stream is gone, paused or stopped. */
extern bool mcs_worker_load(StreamWorker *worker);

/* Whether it may be followed together with others: nothing is to be done for it but to follow. */
extern bool mcs_worker_fits_group(const StreamWorker *worker);

/* ---- state.c: what the stream is, as others see it ---- */

/*
 * Publishes a state, with the error that led to it or NULL; a change of state
 * is one line in the log and shows in the user's own table.
 */
extern void mcs_worker_set_state(StreamWorker *worker, StreamState state, const char *reason, const char *error,
								 TimestampTz next_retry_at);

/* Publishes that all is well, with what is to be said beside. */
extern void mcs_worker_show_active(StreamWorker *worker);

/*
 * Whether it watches the collection itself, and not the database of it: since
 * that is all that the stream wants, or all that the role may.
 */
extern bool mcs_worker_watches_collection(const StreamWorker *worker);

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
extern bool mcs_worker_connection_is_changed(void);

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
extern void mcs_crash_announce_next(StreamWorker *worker, DocumentIterator events);

/* ---- gather.c: the replies of one transaction ---- */

/*
 * Bounds of one transaction: whichever comes first, and then at the end of a time.
 * Who keeps no events takes more of them: of a document that changes often only
 * the last state counts, and statements and lookups of many are cheaper.
 */
#define BATCH_EVENTS		1000
#define BATCH_EVENTS_MOST	4000
#define BATCH_BYTES			(8 * 1024 * 1024)

extern int	mcs_gather_most_events(const StreamWorker *worker);

/* Takes a reply, if one comes in time; false where none did.  A failure is kept for later. */
extern bool mcs_gather_first(StreamWorker *worker, long timeout_ms);
extern bool mcs_gather(StreamWorker *worker);

/* Takes the next of the replies that were gathered; false where there is none. */
extern bool mcs_gather_next(StreamWorker *worker);
/* Sees to it that there is more than the transaction at work takes, if it has come; from which time on it is not complete, 0: it is. */
extern bool mcs_gather_ahead(StreamWorker *worker, uint64 *before);
extern bool mcs_gather_goes_on(const StreamWorker *worker, uint64 time);

/* Whether more events of the last reply's last time may follow, which are not waited for: it is larger than what is held. */
extern bool mcs_gather_is_open(const StreamWorker *worker);
extern bool mcs_gather_is_held_back(const StreamWorker *worker);

/*
 * Ends with the reply at hand, which is freed, or kept while a plan is about its
 * events; frees those, the fragments of an event; forgets all that was read and
 * not written.
 */
extern void mcs_gather_end_batch(StreamWorker *worker);
extern void mcs_gather_free_spent(StreamWorker *worker);
extern void mcs_gather_forget_fragments(StreamWorker *worker);
extern void mcs_gather_forget(StreamWorker *worker);

/* ---- connect.c: sessions and change streams ---- */

/* Opens a session with the options as they are now, unless there is one; closes it and what it has open. */
extern void mcs_worker_open_session(StreamWorker *worker);
extern void mcs_worker_close_session(StreamWorker *worker);

/* Opens the change stream at the stored position; ends it and forgets what was read and not written. */
extern void mcs_worker_open_stream(StreamWorker *worker);

/* Without a cursor: reading begins at the stored position. */
extern void mcs_worker_begin_reading(StreamWorker *worker);
extern void mcs_worker_close_stream(StreamWorker *worker);

/* ---- take.c: events out of replies ---- */

/* Moves events to the writer, up to the bounds of a transaction. */
extern void mcs_take_events(StreamWorker *worker, StreamWriter *writer);

/*
 * Moves documents of a collection to the writer, as events of their own that say
 * how they were at a time; index_of gets, for each row, which of them it is.
 */
typedef struct TakenDocuments
{
	const char *database;
	const char *collection;
	const DocumentValue *documents;
	const DocumentValue *ids;
	int			count;
	uint64		time;
	int		   *index_of;
} TakenDocuments;

extern void mcs_take_documents(StreamWorker *worker, StreamWriter *writer, TakenDocuments *documents);

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

/* ---- documents.c: reading documents, in no transaction ---- */

typedef enum ReadOutcome
{
	READ_REPLY,
	READ_AGAIN,					/* not at that time: another find reads what the majority has */
	READ_INTERRUPTED,			/* something else is to be done first */
	READ_FAILED					/* *error is filled */
} ReadOutcome;

/* Opens a find as of a time, or where that cannot be as of now; fills at_time, after_time and comment of the spec. */
extern MongoCursor *mcs_documents_find(StreamWorker *worker, FindSpec *spec, uint64 time);
extern ReadOutcome mcs_documents_next(StreamWorker *worker, MongoCursor *cursor, const FindSpec *spec, MongoBatch *batch, MongoError *error);

/* Whether the last read was as of its time. */
extern bool mcs_documents_read_at_times(const StreamWorker *worker);

/* Whether a failure was left to mcs_worker_handle_failure. */
extern bool mcs_documents_failure_passes(StreamWorker *worker, const MongoError *error);
/* Whether documents of a collection are better looked up one by one; asks MongoDB once, between two finds. */
extern bool mcs_documents_go_singly(StreamWorker *worker, const char *database, const char *collection);
extern int64 mcs_documents_estimate(StreamWorker *worker, const char *database, const char *collection);
extern void mcs_documents_close(StreamWorker *worker);

/* ---- lookups.c: documents that events do not hold ---- */

/* In a memory context, which ends it. */
extern struct LookupTable *mcs_lookups_begin(MemoryContext context);
extern void mcs_lookups_want(struct LookupTable *table, const EventText *database, const EventText *collection_name, const DocumentValue *id);
extern void mcs_lookups_start(StreamWorker *worker, struct LookupTable *table, uint64 time);
extern ReadOutcome mcs_lookups_finish(StreamWorker *worker, struct LookupTable *table, Size most, MongoError *error);
extern Size mcs_lookups_bytes(const struct LookupTable *table);
extern Size mcs_lookups_expected_bytes(const struct LookupTable *table, Size usual_size);
extern void mcs_lookups_note_size(const struct LookupTable *table, Size *usual_size);

/* Not 0: documents are as of this time, which is after that of the events. */
extern uint64 mcs_lookups_inexact_until(const struct LookupTable *table);
extern void mcs_lookups_failed(const struct LookupTable *table, EventText *database, EventText *collection);

/* What was found of an event of the transaction at work; *document is filled where it was found, and else left. */
typedef enum LookupAnswer
{
	LOOKUP_NOT_ASKED,
	LOOKUP_GONE,
	LOOKUP_FOUND
} LookupAnswer;

extern LookupAnswer mcs_lookups_get(const StreamWorker *worker, const ChangeEvent *event, DocumentValue *document);

/* ---- plan.c: before a transaction ---- */

/*
 * Plans the next transaction of what is at hand, and reads the documents that its
 * updates need; false where something else is to be done first, or mongo.failure
 * is set.
 */
extern bool mcs_worker_plan_prepare(StreamWorker *worker);

/* That transaction has taken so many events; what was planned is of no use any more. */
extern void mcs_worker_plan_done(StreamWorker *worker, int taken);
extern void mcs_worker_plan_forget(StreamWorker *worker);

/* Whether documents of updates are looked up here for the stream's events. */
extern bool mcs_worker_plan_looks_up(const StreamWorker *worker);

/* ---- mirroring.c: in a transaction, but for the first ---- */

/* After the definition was read; in its transaction and memory. */
extern void mcs_mirroring_attach(StreamWorker *worker);
extern void mcs_mirroring_detach(StreamWorker *worker);

/* The first of those that watch a collection, and how many there are; 0: none. */
extern int	mcs_mirroring_find(const StreamWorker *worker, const EventText *database, const EventText *collection, StreamMirror **first);

/*
 * Notes what an event means for the tables; writes all that was noted; notes which
 * copies are exact with a position.  False where the transaction is to be rolled back.
 */
extern void mcs_mirroring_take(StreamWorker *worker, const ChangeEvent *event, bool skipped);
extern bool mcs_mirroring_write(StreamWorker *worker);
extern bool mcs_mirroring_reached(StreamWorker *worker, const char *token);

/* Whether one begins its copy again in the transaction at work. */
extern bool mcs_mirroring_begin_copies(const StreamWorker *worker);

/* Writes a chunk of a copy, or what a sweep has found. */
extern MirrorChanges *mcs_mirroring_changes(StreamWorker *worker, StreamMirror *mirror);
extern StreamMirror *mcs_mirroring_of_copy(const StreamWorker *worker, const CopyProgress *copy);

/* Those whose tables are others now stop at once, not with their next events; in a transaction of its own. */
extern void mcs_mirroring_verify(StreamWorker *worker);

/* Stops those whose table could not be opened. */
extern void mcs_mirroring_stop_failed(StreamWorker *worker);

/* Stops one that processes have died of. */
extern void mcs_mirroring_give_up(StreamWorker *worker, StreamMirror *mirror, const char *reason);

/* Ends one, in no transaction: MongoDB does not let its collection be read; or as the reason says. */
extern void mcs_mirroring_refused(StreamWorker *worker, StreamMirror *mirror, const MongoError *error);

/* ---- group_failure.c ---- */

/* Deals with what ended the group's cursor or kept it from opening. */
extern void mcs_group_failure_handle(StreamGroup *group);

/* The same with an error of our own side that is no member's; in definition_context. */
extern void mcs_group_failure_of_ours(StreamGroup *group, ErrorData *error);

/* All of them, or those of whom that may be the doing, go on alone, for a reason that the log tells; or all just are given back. */
extern void mcs_group_failure_dissolve(StreamGroup *group, const char *why);
extern void mcs_group_failure_give_all(StreamGroup *group, GroupEnd end);

/* Those go on alone who have something in their inboxes, as what was read is too large to be handed out as a whole. */
extern void mcs_group_failure_too_large(StreamGroup *group);

/* ---- group_cursor.c ---- */

/* Opens session and cursor for those that are to be followed; false where something else is to be done first, or mongo.failure of the reader is set. */
extern bool mcs_group_cursor_open(StreamGroup *group);

/* Ends the cursor, what was read and not written will come again; and the session, too. */
extern void mcs_group_cursor_close(StreamGroup *group);
extern void mcs_group_cursor_close_session(StreamGroup *group);

/* ---- route.c: which streams of a group events are for ---- */

/* For the members that there are; to be called again whenever one comes, goes or is another. */
extern void mcs_route_prepare(StreamGroup *group);

/* Hands the replies that the reader has gathered out to the members' inboxes, which are empty; false where they end within an event. */
extern bool mcs_route_round(StreamGroup *group);

/* ---- member.c: a stream of a group ---- */

/* The next one that joins becomes a member, or is given back at once; false where there is none. */
extern bool mcs_member_take(StreamGroup *group, bool first);

/* From now on what is done is a member's, and so is an error; ends with it. */
extern void mcs_member_use(StreamGroup *group, GroupMember *member);
extern void mcs_member_done(StreamGroup *group);

/* Calls a function for each member in turn, with it in use. */
extern void mcs_member_each(StreamGroup *group, void (*function) (StreamGroup *group, void *arg), void *arg);

/* Deletes old events of one, of whom they are to be deleted; how long may be waited for events then. */
extern long mcs_member_expire_next(StreamGroup *group);

/* Of the one in use: reads its definition again; writes what is in its inbox; what is to be done now and then; gives it up. */
extern void mcs_member_reload(StreamGroup *group);
extern void mcs_member_step(StreamGroup *group);
extern void mcs_member_chores(StreamGroup *group);
extern void mcs_member_give(StreamGroup *group, GroupEnd end);

/* Of any: reading begins at its position. */
extern void mcs_member_begin(GroupMember *member);

/* Of any: what was read for it and not written is forgotten. */
extern void mcs_member_forget(GroupMember *member);

/* Whether something is in its inbox, or was taken from it and is not written yet. */
extern bool mcs_member_has_work(const GroupMember *member);

/* After a turn of all: gives up those that keep the others waiting. */
extern void mcs_member_part_slow(StreamGroup *group);

/* Saves how far those have come for whom nothing was there. */
extern void mcs_member_save_quiet(StreamGroup *group);

/* Forgets those that were given up. */
extern void mcs_member_sweep(StreamGroup *group);

/* ---- commit.c ---- */

/* Commits what was written with a position; or rolls back where that, or the definition, is another by now. */
extern void mcs_worker_commit(StreamWorker *worker, const StreamProgress *progress, bool saved);

/* After a commit: what is stored is what was read. */
extern void mcs_worker_published(StreamWorker *worker, const StreamProgress *progress);

/* ---- copy.c: between transactions ---- */
extern bool mcs_copy_is_wanted(const StreamWorker *worker);
extern bool mcs_copy_has_turn(StreamWorker *worker);

/* Does a part of it; false where mongo.failure, reload or a culprit says why it cannot go on. */
extern bool mcs_copy_step(StreamWorker *worker);

/* After the definition was read, in its transaction and memory: with the mirrors; and before it is read again. */
extern void mcs_copy_attach(StreamWorker *worker);
extern void mcs_copy_forget(StreamWorker *worker);

/* Events are written next, behind which what was read for it is worth nothing. */
extern void mcs_copy_interrupt(StreamWorker *worker);

/* ---- sweep.c ---- */

/* Looks for some of a mirror's rows in MongoDB, and takes away those that are not there. */
extern ReadOutcome mcs_sweep_step(StreamWorker *worker, StreamMirror *mirror, MongoError *error);

/* ---- follow.c: transactions ---- */


/*
 * Reads and writes what has come, waiting at most timeout_ms for it; false
 * where failure, closed or reload says why it cannot go on.
 */
extern bool mcs_follow_step(StreamWorker *worker, long timeout_ms);

/* ---- failure.c ---- */

/* Deals with worker->mongo.failure: what ended the change stream or kept it from opening. */
extern void mcs_worker_handle_failure(StreamWorker *worker);

/* Counts a failure, if there is one, among the errors of the stream whose slot is in use. */
extern void mcs_failure_count(const MongoError *failure);

/* A failure in one line, MongoDB's words and its code; what the state says of one that may pass, or of a refusal. */
extern char *mcs_failure_line(const MongoError *failure);
extern const char *mcs_failure_passing_reason(const MongoError *failure);
extern char *mcs_failure_refusal_reason(const MongoError *failure, const char *what);

/*
 * Whether only the owner can end an error of our own side, who may not connect so,
 * or not use the server: as when MongoDB refuses the role.  And what the state says
 * of one that he can end, with the command that helps.
 */
extern bool mcs_failure_is_of_owner(const ErrorData *error, bool writing);
extern char *mcs_failure_owner_reason(const ErrorData *error);

/* The driver can't be used any more in this process; the next one begins with all that is fresh. */
extern void mcs_failure_leave_driver(const MongoError *failure);

/* ---- history.c: whether the position means anything ---- */
extern char *mcs_history_verify(StreamWorker *worker);

/* ---- chores.c ---- */
extern void mcs_chores_do(StreamWorker *worker);

/* How long may be waited for events: less than usual while there are old ones to be deleted. */
extern long mcs_chores_wait_ms(const StreamWorker *worker);

/* Whether it is time to delete old events; deletes a chunk, which takes about as long as all else has taken since another was deleted. */
extern bool mcs_chores_expiry_is_due(const StreamWorker *worker, TimestampTz now);
extern void mcs_chores_expire(StreamWorker *worker, TimestampTz now, TimestampTz *expired_at);

/* Whether it was time to ask how far the oplog reaches back, and there was an answer; publishes it for a stream. */
extern bool mcs_chores_look_at_oplog(StreamWorker *worker, TimestampTz now, int64 *window, int64 *holds);
extern void mcs_chores_tell_oplog(StreamWorker *worker, int64 window, int64 holds);


/* ---- on_error.c: the events that cannot be written ---- */
extern bool mcs_on_error_write(StreamWriter *writer, StreamProgress *progress, StreamCulprit *culprit);

#endif							/* MCS_WORKER_INTERNAL_H */
