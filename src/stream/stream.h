/*
 * stream/stream.h
 *	  Streams: their rows in the catalog tables, their slots in shared memory,
 *	  the launcher and the workers that follow them, and what they write.
 *
 * The catalog tables say what shall be; shared memory says what is.  Functions
 * change the tables and, at commit, tell the launcher; the launcher compares
 * and starts workers; a worker follows one stream and reads its row again when
 * told to.  Uses the document, mongo and event families.
 */
#ifndef MCS_STREAM_H
#define MCS_STREAM_H

#include "mongo_change_stream.h"

#include "access/htup.h"
#include "document/document.h"
#include "event/event.h"
#include "mongo/mongo.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

/* The channel on which every stream notifies, besides the one of its own name. */
#define MCS_CHANNEL "change_stream"

/* The channel on which it is told what a person should hear of. */
#define MCS_ALERT_CHANNEL "change_stream_alert"

typedef enum StreamState
{
	STREAM_STARTING,
	STREAM_SNAPSHOT,
	STREAM_ACTIVE,
	STREAM_RETRYING,
	STREAM_IDLE,				/* of handlers only: nothing to do, so no worker either after a while */
	STREAM_PAUSED,
	STREAM_HISTORY_LOST,
	STREAM_ERROR
} StreamState;

typedef enum StreamNotify
{
	STREAM_NOTIFY_OFF,
	STREAM_NOTIFY_IDS,
	STREAM_NOTIFY_HEADS
} StreamNotify;

/* What becomes of an event that cannot be written. */
typedef enum StreamOnError
{
	STREAM_ON_ERROR_STOP,
	STREAM_ON_ERROR_SKIP,
	STREAM_ON_ERROR_PARK
} StreamOnError;

/* One row of change_streams and of change_stream_progress, palloc'ed; NULL pointers stand for SQL NULL. */
typedef struct Stream
{
	char	   *name;
	Oid			owner;
	char	   *server;
	char	   *database;		/* "*": every database */
	char	   *collection;
	char	   *filter;
	char	   *add_fields;
	List	   *operations;		/* of char *, NIL: all */
	Document   *pipeline;		/* an array, or NULL */
	char	   *full_document;	/* MongoDB's spelling */
	char	   *full_document_before_change;
	bool		show_expanded_events;
	Interval   *max_await_time;
	int			max_await_ms;	/* the same in milliseconds */
	int			batch_size;		/* 0: ours to choose */
	Interval   *retention;
	StreamNotify notify;
	bool		paused;
	char	   *stopped_state;	/* "history_lost", "error" or NULL */
	char	   *skip_token;		/* of one event to leave out, or NULL */
	StreamOnError on_error;
	char	   *stopped_token;	/* of the event that it stopped at, or NULL */
	bool		restored;		/* made in another cluster or database than this one */
	Document   *pushed_filter;	/* a $match condition, or NULL */
	char	   *local_filter;
	List	   *settings;		/* of char *, "name=value" */
	bool		has_handlers;
	List	   *exclude_fields; /* of char *, dotted paths */
	List	   *mask_fields;
	int			definition_version;

	/* progress */
	char	   *resume_token;	/* to start after; NULL: start at now */
	int64		last_event_id;
	int64		events_processed;
	int			restarts;
	int			consecutive_errors;
	bool		keeps_history;	/* the schema has what follows, as 1.0's has not */
	char	   *last_event_token;	/* of the last event that can be looked for, or NULL */
	Document   *deployment;		/* what MongoDB said of itself, or NULL */
} Stream;

/* ---- the files of tables/: every query on the catalog tables ---- */

/* The extension's schema in the current database, InvalidOid where the extension is not installed. */
extern Oid	mcs_extension_schema(void);
extern Oid	mcs_events_relation(void);
extern Oid	mcs_document_type(void);
extern bool mcs_schema_is_old(void);

/* The stream, or NULL where there is none and missing_ok; for_update locks its row until the transaction's end. */
extern Stream *mcs_stream_load(const char *name, bool for_update, bool missing_ok);

/* Names, owners and whether each shall run, of every stream of the current database and of every worker of a handler. */
typedef struct StreamListed
{
	char	   *name;
	char	   *handler;		/* of the stream; NULL for the stream itself */
	int			worker;			/* of the handler */
	Oid			owner;
	bool		runnable;		/* not paused, stopped or restored */
	bool		work;			/* events wait for the handler */
	int			deaths;			/* of processes in a row, if the one that was there last has died; 0: it is there, or left in order */
} StreamListed;
extern List *mcs_stream_list(void);

/* Everything one batch changes in change_stream_progress. */
typedef struct StreamProgress
{
	const char *token;
	int64		last_event_id;
	int64		events;			/* written by this batch */
	TimestampTz last_event_at;	/* 0: no event */
	int64		filter_errors;	/* of this batch */
	const char *event_token;	/* of the last event read, NULL for none */
} StreamProgress;

/*
 * Saves a position.  expected_event_id and expected_token are those that the
 * caller believes are stored: false where others are, or where the definition is
 * no longer the one that the stream was loaded with, and nothing is changed.
 */
extern bool mcs_progress_save(const Stream *stream, int64 expected_event_id, const char *expected_token,
							  const StreamProgress *progress);
extern void mcs_progress_error(const char *stream, const char *message);
extern void mcs_progress_deployment(const char *stream, const Document *deployment);
extern void mcs_progress_restart(const char *stream);

/* ---- how much of MongoDB's oplog is left to a position (stream/alert.c) ---- */

#define MCS_OPLOG_HINT "Let the stream run and catch up, or give MongoDB a larger oplog: db.adminCommand({replSetResizeOplog: 1, size: ...}) in megabytes."

/* Seconds behind that are nothing to speak of, however small an oplog is. */
#define OPLOG_BEHIND_MIN_S	15

typedef struct OplogUse
{
	char	   *stream;
	char	   *token;
	int64		window;			/* seconds that the oplog held at the last look */
	int			told;			/* the percentage that was told of: 0, 50, 90 */
} OplogUse;

extern List *mcs_oplog_uses(void);
extern void mcs_oplog_told(const char *stream, int level);
extern void mcs_progress_window(const char *stream, int64 microseconds);

/* ---- stream/alert.c ---- */

/* What a person is told of a stream or handler; from, to and hint may be NULL, count 0. */
typedef struct Alert
{
	bool		of_handler;
	const char *name;
	const char *from;
	const char *to;
	const char *reason;
	const char *hint;
	int64		count;
} Alert;

extern void mcs_alert(const Alert *alert);
extern void mcs_alert_of_stream(const char *stream, const char *from, const char *to, const char *reason, const char *hint);
extern void mcs_alert_of_oplogs(void);

/* ---- tables/life.c: processes that may die ---- */
extern void mcs_life_flush(void);
extern bool mcs_progress_begins(const char *stream, bool first, int *starts);
extern int	mcs_progress_announce(const char *stream, const char *token);
extern void mcs_progress_survives(const char *stream);
extern void mcs_progress_ends(const char *stream);
extern void mcs_stream_stop(const char *stream, StreamState state, const char *reason, const char *token);
extern void mcs_stream_pause_restored(const char *stream);
extern void mcs_stream_skipped(const char *stream);

/* How a round of deletions goes, in which each event that is too old is looked at once. */
typedef struct EventExpiry
{
	int64		after;			/* the next chunk is behind this event; 0: the round is over, or has not begun */
	int64		kept;			/* that could not be deleted in this round */
	char		reason[256];	/* why the last of them */
} EventExpiry;

/*
 * Deletes a chunk of the events that were received longer ago than retention,
 * oldest first, and never the last.  One that something refers to (a foreign key)
 * stays, and does not keep the others.  The caller is the stream's owner: triggers
 * on the table run.
 */
extern void mcs_events_expire(const char *stream, const Interval *retention, EventExpiry *expiry);

/* ---- stream/definition.c: arguments of functions, and small conversions ---- */
extern int64 mcs_interval_microseconds(const Interval *interval);
extern List *mcs_texts_from_array(struct ArrayType *array);

/* ---- base/settings.c: the creator's settings ---- */

/* Puts a stream's settings in force until mcs_settings_end, which takes what this returned, or an error. */
extern int	mcs_settings_begin(List *settings);
extern void mcs_settings_end(int level);

/* ---- base/owner.c ---- */

/* What mcs_owner_begin changes and mcs_owner_end restores. */
typedef struct OwnerScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} OwnerScope;

/* As an owner, under the settings given; free: with all that he may do where the session is his own. */
extern void mcs_owner_begin(OwnerScope *scope, Oid owner, List *settings, bool free);
extern void mcs_owner_end(const OwnerScope *scope);

/*
 * ---- stream/expression.c: filter and add_fields ----
 *
 * All of these as the stream's owner and between mcs_settings_begin and
 * mcs_settings_end.
 */

typedef struct StreamExpressions StreamExpressions;

/* Parses and checks both (either may be NULL); raises what PostgreSQL's parser raises, with a hint. */
extern StreamExpressions *mcs_expressions_compile(Relation events, const char *filter, const char *add_fields);

/* They live in the memory context of the compilation, or in another one from now on, or no longer. */
extern void mcs_expressions_keep(StreamExpressions *expressions, MemoryContext parent);
extern void mcs_expressions_free(StreamExpressions *expressions);

/* True where the event shall be kept.  Runs user code: only in a (sub)transaction that may fail. */
extern bool mcs_expressions_filter(StreamExpressions *expressions, const Datum *values, const bool *nulls);

/* A handler's condition, which may also call the event "change", and its evaluation on a row of the events table. */
extern StreamExpressions *mcs_condition_compile(Relation events, const char *condition);
extern bool mcs_condition_holds(StreamExpressions *expressions, HeapTuple event);

/* The event's extra with the added fields behind its own; Datum of a document, or NULL (isnull). */
extern Datum mcs_expressions_extra(StreamExpressions *expressions, const Datum *values, const bool *nulls, bool *isnull);
extern bool mcs_expressions_has_fields(const StreamExpressions *expressions);
extern bool mcs_expressions_filter_reads(const StreamExpressions *expressions, EventColumn column);

/* The part of the filter that MongoDB can evaluate, or NULL; whether that is all of it. */
extern Document *mcs_expressions_match(const StreamExpressions *expressions, bool looks_up, bool *exact);

/* False when something that they depend on has changed, a function for example: compile them again. */
extern bool mcs_expressions_valid(const StreamExpressions *expressions);

/* ---- stream/pipeline.c: a stream's definition as what MongoDB is asked ---- */

/*
 * Fills a spec from a definition (all but start, token, time and comment).
 * at_collection: watch the collection itself, as the role may not watch the
 * database.
 */
extern void mcs_stream_spec(const Stream *stream, bool at_collection, ChangeStreamSpec *spec);

/* Whether an event may have come for the worker's sake, though the filter does not let it through. */
extern bool mcs_worker_must_see(const ChangeEvent *event);

/* Whether an event that MongoDB sent is a row, a gap row, or only for the worker to know. */
typedef enum StreamVerdict
{
	STREAM_STORE,
	STREAM_GAP,
	STREAM_SKIP
} StreamVerdict;
extern StreamVerdict mcs_stream_verdict(const Stream *stream, const ChangeEvent *event);

/* ---- shared/memory.c: slots; the only place that touches shared memory ---- */

/* What a worker publishes, and what others ask of it. */
typedef struct StreamReport
{
	StreamState state;
	char		reason[512];
	char		last_error[512];
	TimestampTz next_retry_at;	/* 0: none */
} StreamReport;

extern void mcs_shmem_init(void);
extern bool mcs_shmem_ready(void);	/* preloaded */

/* from any backend */
extern void mcs_wake_at_commit(const char *stream);	/* launcher and the stream's worker look again */
extern void mcs_wake_handlers_at_commit(const char *stream, const char *handler);	/* NULL: all of the stream's */
extern bool mcs_wakes_at_commit(const char *stream, const char *handler);	/* has this transaction changed it? */

/*
 * Waits until the stream's saved position has passed time (see design of sync
 * in stream/command.c), or until the timeout; answers to interrupts.
 */
extern bool mcs_slot_wait_synced(const char *stream, uint64 time, TimestampTz until);

/* Waits between two looks at what is committed: until some position moves, for a second, or to a time. */
extern void mcs_slot_begin_wait(void);
extern void mcs_slot_wait(TimestampTz until);
extern void mcs_slot_end_wait(void);

/* ---- worker/launcher.c, worker/worker.c, stream/hook.c ---- */
extern void mcs_launcher_init(void);
extern void mcs_stream_hook_init(void);

extern const char *mcs_state_name(StreamState state);

/* ---- tables/roles.c: the streams that a server or a role stands behind ---- */

/* Their names: List of char *. */
extern List *mcs_streams_of_server(const char *server, int *others);
extern void mcs_streams_rename_server(const char *from, const char *to);
extern List *mcs_streams_of_role(Oid role);

/* A time of MongoDB, by the second (stream/namespace.c). */
extern TimestampTz mcs_time_from_mongo(uint64 time);

/* Raises unless the caller is an owner of something; strangers are not told whose it is (stream/command.c). */
extern void mcs_check_owner(Oid owner, const char *what, const char *name);
extern void mcs_streams_drop_of_role(Oid role);
extern void mcs_streams_reassign(Oid from, Oid to);

/* ---- stream/write.c ---- */

/*
 * Leaves a gap row for a span of history that the stream did not see, in the
 * caller's transaction.  from and to are tokens, either may be NULL.
 */
extern void mcs_write_gap(const char *stream, const char *from, const char *to, const char *reason);

/* ---- tables/restore.c ---- */
extern bool mcs_stream_mend(const char *stream);

/* ---- tables/grants.c ---- */

/* Which streams of others the current user may see. */
typedef struct StreamsSeen
{
	bool		all;
	List	   *granted;		/* of String nodes */
} StreamsSeen;

extern StreamsSeen mcs_streams_seen(void);
extern bool mcs_stream_seen(const StreamsSeen *seen, const char *stream, Oid owner);
extern void mcs_grants_forget_stream(const char *stream);
extern void mcs_grants_forget_role(Oid role);
extern void mcs_grants_forget_missing(void);

#endif							/* MCS_STREAM_H */
