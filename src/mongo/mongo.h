/*
 * mongo/mongo.h
 *	  The wall around MongoDB's driver.  On this side: PostgreSQL, errors by
 *	  ereport, memory by palloc, waits on latches.  On the other side: one
 *	  thread for each session, which calls nothing of PostgreSQL and alone calls
 *	  libmongoc, but for questions about options that allocate nothing.  What crosses the wall are plain structs and the bytes of
 *	  BSON documents.  How it is built says mongo/mongo_internal.h.
 *
 * A session is opened for a server and a role.  It runs one thing at a time: a
 * command (mcs_session_command), a change stream or the documents of a
 * collection (mcs_cursor_*).  Opening a session does not contact MongoDB; the first command does, in the thread.
 *
 * Sessions, cursors and replies belong to the memory context that was current
 * when they were made, and go with it (a reset callback ends what is not
 * palloc'ed), so an error anywhere leaves nothing behind.
 *
 * Uses base and document; all folders above use it.  The only header through which others reach
 * MongoDB; mongoc types never appear in it, and threads are nowhere else.
 */
#ifndef MCS_MONGO_H
#define MCS_MONGO_H

#include "mongo_change_stream.h"

#include "document/document.h"

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

/* ---- errors (mongo/error.c) ---- */

/*
 * MongoDB's error codes, by MongoDB's names; what each means for us is said in
 * mongo/classify.c.
 */
typedef enum MongoCode
{
	MONGO_CODE_INTERNAL_ERROR = 1,
	MONGO_CODE_BAD_VALUE = 2,
	MONGO_CODE_HOST_UNREACHABLE = 6,
	MONGO_CODE_HOST_NOT_FOUND = 7,
	MONGO_CODE_FAILED_TO_PARSE = 9,
	MONGO_CODE_USER_NOT_FOUND = 11,
	MONGO_CODE_UNAUTHORIZED = 13,
	MONGO_CODE_TYPE_MISMATCH = 14,
	MONGO_CODE_OVERFLOW = 15,	/* a malformed token */
	MONGO_CODE_AUTHENTICATION_FAILED = 18,
	MONGO_CODE_ILLEGAL_OPERATION = 20,
	MONGO_CODE_LOCK_TIMEOUT = 24,
	MONGO_CODE_NAMESPACE_NOT_FOUND = 26,
	MONGO_CODE_CURSOR_NOT_FOUND = 43,
	MONGO_CODE_NO_MATCHING_DOCUMENT = 47,
	MONGO_CODE_NAMESPACE_EXISTS = 48,
	MONGO_CODE_MAX_TIME_MS_EXPIRED = 50,
	MONGO_CODE_COMMAND_NOT_FOUND = 59,
	MONGO_CODE_STALE_SHARD_VERSION = 63,
	MONGO_CODE_INVALID_OPTIONS = 72,
	MONGO_CODE_INVALID_NAMESPACE = 73,
	MONGO_CODE_NETWORK_TIMEOUT = 89,
	MONGO_CODE_SHUTDOWN_IN_PROGRESS = 91,
	MONGO_CODE_WRITE_CONFLICT = 112,
	MONGO_CODE_COMMAND_NOT_SUPPORTED = 115,
	MONGO_CODE_DOCUMENT_VALIDATION_FAILURE = 121,
	MONGO_CODE_NOT_A_REPLICA_SET = 123,
	MONGO_CODE_FAILED_TO_SATISFY_READ_PREFERENCE = 133,
	MONGO_CODE_READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET = 134,
	MONGO_CODE_CAPPED_POSITION_LOST = 136,
	MONGO_CODE_READ_CONCERN_MAJORITY_NOT_ENABLED = 148,
	MONGO_CODE_STALE_EPOCH = 150,
	MONGO_CODE_COMMAND_NOT_SUPPORTED_ON_VIEW = 166,
	MONGO_CODE_INVALID_PIPELINE_OPERATOR = 168,
	MONGO_CODE_QUERY_PLAN_KILLED = 175,
	MONGO_CODE_PRIMARY_STEPPED_DOWN = 189,
	MONGO_CODE_NETWORK_INTERFACE_EXCEEDED_TIME_LIMIT = 202,
	MONGO_CODE_INVALID_UUID = 207,	/* a malformed token */
	MONGO_CODE_RETRY_CHANGE_STREAM = 234,
	MONGO_CODE_CURSOR_KILLED = 237,
	MONGO_CODE_INVALID_RESUME_TOKEN = 260,
	MONGO_CODE_SNAPSHOT_TOO_OLD = 239,
	MONGO_CODE_SNAPSHOT_UNAVAILABLE = 246,
	MONGO_CODE_EXCEEDED_TIME_LIMIT = 262,
	MONGO_CODE_CHANGE_STREAM_FATAL_ERROR = 280,
	MONGO_CODE_CHANGE_STREAM_HISTORY_LOST = 286,
	MONGO_CODE_OBJECT_IS_BUSY = 314,
	MONGO_CODE_INTERNAL_TRANSACTION_NOT_SUPPORTED = 358,
	MONGO_CODE_REAUTHENTICATION_REQUIRED = 391,
	MONGO_CODE_ATLAS_ERROR = 8000,	/* bad auth */
	MONGO_CODE_SOCKET_EXCEPTION = 9001,
	MONGO_CODE_NOT_WRITABLE_PRIMARY = 10107,
	MONGO_CODE_BSON_OBJECT_TOO_LARGE = 10334,
	MONGO_CODE_DUPLICATE_KEY = 11000,
	MONGO_CODE_INTERRUPTED_AT_SHUTDOWN = 11600,
	MONGO_CODE_INTERRUPTED = 11601,
	MONGO_CODE_INTERRUPTED_DUE_TO_REPL_STATE_CHANGE = 11602,
	MONGO_CODE_STALE_CONFIG = 13388,
	MONGO_CODE_NOT_PRIMARY_NO_SECONDARY_OK = 13435,
	MONGO_CODE_NOT_PRIMARY_OR_SECONDARY = 13436,

	/* without a name in MongoDB */
	MONGO_CODE_UNKNOWN_PIPELINE_STAGE = 40324,
	MONGO_CODE_UNKNOWN_FIELD = 40415,
	MONGO_CODE_STREAM_NEEDS_REPLICA_SET = 40573
} MongoCode;

/* What a failure means for somebody who would try again. */
typedef enum MongoErrorClass
{
	MONGO_ERROR_NONE = 0,
	MONGO_ERROR_TRANSIENT,		/* network, failover, cursor gone: again from the last token */
	MONGO_ERROR_HISTORY_LOST,	/* the oplog no longer reaches back to the token or time */
	MONGO_ERROR_CONFIGURATION,	/* the same request can never work */
	MONGO_ERROR_AUTHENTICATION, /* who we are or what we may do: again later, or when it was mended */
	MONGO_ERROR_TOO_LARGE,		/* an event over 16 MB, and no way to split it */
	MONGO_ERROR_NO_SNAPSHOT,	/* MongoDB cannot read as of the time that was asked for; as of another it can */
	MONGO_ERROR_DRIVER_ENDED,			/* the driver's thread can't go on: no memory, or an assertion; the process must end */
	MONGO_ERROR_HANGING,		/* the driver's thread does not come back; the session is worth nothing */
	MONGO_ERROR_REFUSED			/* the request can't work here and now: for good, unless it has worked before */
} MongoErrorClass;

/* What is known of why a server cannot be talked to, beyond the driver's words. */
typedef enum MongoProblem
{
	MONGO_PROBLEM_NONE = 0,
	MONGO_PROBLEM_OTHER_SET,	/* the server is of another replica set than the URI's: of that in found */
	MONGO_PROBLEM_STANDALONE,	/* of none, though the URI names one */
	MONGO_PROBLEM_NOT_INITIATED,	/* of one that has not been set up yet */
	MONGO_PROBLEM_ROUTER,		/* a mongos, though the URI names a set */
	MONGO_PROBLEM_NO_TLS,		/* does not answer to TLS */
	MONGO_PROBLEM_TLS_ONLY		/* closes connections without TLS */
} MongoProblem;

/* Who asked whom, for commands in hints; names as SQL has them. */
typedef struct MongoNames
{
	char		server_name[NAMEDATALEN];	/* as it is written; empty: none is known */
	char		server[2 * NAMEDATALEN + 2];
	char		role[2 * NAMEDATALEN + 2];
	char		mapping[2 * NAMEDATALEN + 2];	/* whose user mapping was used, the role or PUBLIC; empty: there is none */
	bool		has_username;	/* in that mapping */
	bool		has_password;
	char		user[128];		/* MongoDB's user, as it is written, and the database that knows it */
	char		user_database[64];
	char		database[64];	/* that was asked */
} MongoNames;

/* A failure by value; it never holds a password, a URI or a document. */
typedef struct MongoError
{
	MongoErrorClass class;
	int			sqlstate;
	int32		code;			/* MongoDB's error code (MongoCode), 0 where no server answered */
	bool		at_open;		/* the failing command opened the cursor (aggregate, find), not a getMore */
	char		code_name[64];	/* "ChangeStreamHistoryLost"; empty where the server gave none */
	char		message[1024];	/* the server's or the driver's own words */
	char		unresolved[256];	/* hosts whose names lead nowhere here, separated by commas */
	MongoProblem problem;
	char		found[256];		/* the set's name, of MONGO_PROBLEM_OTHER_SET; database.collection, of a missing image */
	MongoNames	names;			/* filled in by the session */
} MongoError;

/* Raises error: "could not <action>", the message as DETAIL, a hint where the user can act. */
extern void mcs_mongo_raise(const MongoError *error, const char *action) pg_attribute_noreturn();

/* The hint that mcs_mongo_raise would give, palloc'ed, or NULL; for status views. */
extern const char *mcs_mongo_hint(const MongoError *error);

/* The same without the name of MongoDB's user, which a user mapping hides from others: for what more people read than its owner. */
extern const char *mcs_mongo_hint_for_all(const MongoError *error);

/* ---- servers, mappings and their options (mongo/option.c) ---- */

/* Where and as whom to connect: server and user mapping merged, palloc'ed. */
typedef struct MongoTarget
{
	Oid			serverid;
	Oid			userid;			/* whose mapping */
	Oid			umid;			/* InvalidOid where the role has none: connect without credentials */
	char	   *server_name;
	char	   *uri;			/* never with credentials */
	char	   *database;		/* option of the server, or NULL */
	char	   *username;		/* NULL without credentials */
	char	   *password;
	char	   *auth_source;
	char	   *auth_mechanism;
	bool		password_required;	/* false where a superuser lets everybody do without */
	bool		password_option;	/* whether the server has that option */
	const char *role_name;		/* of userid */
	bool		public_mapping;	/* the mapping is that of all roles */
	const char *refused_role;	/* the role's name, if it must not connect so: see mongo/identity.c */
	const char *refused_mechanism;	/* what would lend it the database server's identity; NULL: it has no password */
} MongoTarget;

/*
 * The target for a role.  server NULL: the only server of this wrapper.  Raises
 * 42704 (no such server), 42P08-like 22023 (several), 42501 (no USAGE).
 */
extern MongoTarget *mcs_mongo_target(const char *server, Oid userid);

/* The same for a foreign table's server: who may read the table needs no right on the server. */
extern MongoTarget *mcs_mongo_target_of_table(Oid serverid, Oid userid);

/* Whether the URI's read preference is another than primary. */
extern bool mcs_mongo_reads_elsewhere(const MongoTarget *target);

/* The name of the only server of this wrapper, and its option "database", for hints; NULL where there is none, several, or no such option. */
extern void mcs_mongo_only_server(const char **name, const char **database);

/* The value of an option in a list of DefElem, or NULL. */
extern char *mcs_mongo_option(List *options, const char *name);

/* Which database ("*": every one; NULL: none is said) and collection (NULL: all) a foreign table with these options shows. */
extern void mcs_mongo_table_place(List *table, List *server, char **database, char **collection);

/* MongoDB's spelling of a mode of fullDocument or (before) fullDocumentBeforeChange; NULL if it is none. */
extern const char *mcs_mongo_image_mode(const char *mode, bool before);

/* ---- connection strings (mongo/uri.c) ---- */

/* Raises an error unless a text is one that the current user may set as an option of that name. */
extern void mcs_mongo_uri_check(const char *option, const char *uri);

/* The mechanism that one asks for, palloc'ed; NULL where it does not. */
extern char *mcs_mongo_uri_mechanism(const char *uri);

/* ---- whose identity a connection has (mongo/identity.c) ---- */

/* Raises an error if the current user must not lend the database server's files and identity to connections. */
extern void mcs_mongo_check_server_access(const char *what);

/* Raises an error unless the current user may ask for a mechanism, with a mapping's name and password; what says where. */
extern void mcs_mongo_check_mechanism(const char *what, const char *mechanism, const char *username, const char *password);
/* Raises an error unless the current user may let connections do without a password of the mapping's. */
extern void mcs_mongo_check_password_required(const char *option, bool required);
/* Fills in refused_role and refused_mechanism of a target whose role must not connect so. */
extern void mcs_mongo_note_identity(MongoTarget *target, const char *mechanism);
/* Raises an error where they are filled in; needs no transaction. */
extern void mcs_mongo_check_identity(const MongoTarget *target);

/* ---- sessions (mongo/session.c; the thread is in mongo/thread.c) ---- */

typedef struct MongoSession MongoSession;

/* A reply of a command: bytes of the driver, good until freed or its context is reset. */
typedef struct MongoReply
{
	const uint8 *data;			/* the reply document */
	uint32		size;
} MongoReply;

/*
 * A session of one's own.  Raises 28000 where the target's role must not connect
 * as what only the database server is.  purpose goes into appName and
 * is seen in currentOp (a stream's name).
 */
extern MongoSession *mcs_session_open(const MongoTarget *target, const char *purpose);

/* Which uri it was opened by; nothing secret stands in one. */
extern const char *mcs_session_uri(const MongoSession *session);

/*
 * From now on waits of a session fail after timeout_ms altogether, and as soon
 * as stop, which is asked when the latch was set, says so.  It is to be closed
 * then.  For questions that are not worth holding up anything.
 */
extern void mcs_session_limit(MongoSession *session, long timeout_ms, bool (*stop) (void));

/* Tells the thread to stop and wakes its socket; waits for its end if that comes soon (0.1 s). */
extern void mcs_session_close(MongoSession *session);

/*
 * A session of the backend's cache (mongo/cache.c), keyed by user mapping (or server and role
 * without one), for functions; dropped when server or mapping change.  Not to
 * be closed by the caller; after an error inside a command it is dropped.
 */
extern MongoSession *mcs_cache_session(const MongoTarget *target);

/*
 * Runs one command and waits for its reply, answering to interrupts.  With
 * error NULL a failure is raised (action as for mcs_mongo_raise); else it
 * returns NULL and fills *error.  Runs on the primary; it is repeated only where
 * a server refused it for no longer being that.
 */
extern MongoReply *mcs_session_command(MongoSession *session, const char *database, const uint8 *command, uint32 size,
									   const char *action, MongoError *error);

/* Frees a reply before its context goes; its bytes are libbson's. */
extern void mcs_session_free_reply(MongoReply *reply);

/* The monotonic clock in microseconds, by which replies say when they were asked for. */
extern int64 mcs_session_clock(void);

/*
 * The documents of a cursor, an array, in the reply that opened it or brought more
 * of it; false where it holds none.  *cursor (may be NULL) is its id, 0 at its end.
 */
extern bool mcs_session_reply_batch(const MongoReply *reply, DocumentValue *batch, int64 *cursor);

/* operationTime of a reply as seconds << 32 | ordinal, 0 where it has none. */
extern uint64 mcs_session_operation_time(const MongoReply *reply);

/* ---- change streams (mongo/cursor.c) ---- */

typedef enum ChangeStreamStart
{
	CHANGE_STREAM_NOW,
	CHANGE_STREAM_RESUME_AFTER, /* token */
	CHANGE_STREAM_START_AFTER,	/* token */
	CHANGE_STREAM_AT_TIME		/* time, inclusive */
} ChangeStreamStart;

/* Replies that the driver's thread keeps ahead of whoever reads a stream in bulk. */
#define MONGO_QUEUE_BYTES	(16 * 1024 * 1024)

/* What to watch.  Strings and bytes are borrowed for the call of mcs_cursor_open only. */
typedef struct ChangeStreamSpec
{
	const char *database;		/* NULL: every database of the deployment */
	const char *collection;		/* NULL: every collection of the database */
	const char *full_document;	/* MongoDB's spelling; NULL: not sent */
	const char *full_document_before_change;	/* the same */
	bool		show_expanded_events;
	ChangeStreamStart start;
	const char *token;			/* as text */
	uint64		time;			/* seconds << 32 | ordinal */
	const uint8 *stages;		/* BSON array of the stages after $changeStream, or NULL */
	uint32		stages_size;
	int			batch_size;		/* events a getMore asks for, 0: MongoDB's own */
	int			max_await_ms;	/* how long MongoDB holds a getMore without events */
	bool		whole_events;	/* do without the split stage, which costs MongoDB a sixth of its time */
	const char *comment;		/* seen in currentOp and the profiler */
	bool		sole;			/* nobody else gives that comment: cursors of it that nobody reads are ended */
	Size		queue_bytes;	/* replies kept ahead: at least one, then up to this many bytes */
	bool		open_only;		/* no getMore at all: there is only the reply that opened the stream */
} ChangeStreamSpec;

/* One reply of a cursor.  Events are read in place; the batch is good until freed. */
typedef struct MongoBatch
{
	const uint8 *events;		/* BSON array of event documents (firstBatch or nextBatch); a find's documents */
	uint32		events_size;
	int			event_count;
	DocumentValue last;			/* the last of them; type 0 where there is none */
	const char *token;			/* post-batch token as text, palloc'ed; NULL where the server sent none */
	uint64		operation_time;
	uint64		read_time;		/* of a find: the time that its documents are as of; 0: MongoDB tells none (see FindSpec) */
	int64		asked_at;		/* when MongoDB was asked for it, by mcs_session_clock */
	uint64		set_time;		/* the newest that the set is known to have reached, 0: unknown; for a member that is behind */
	int64		came_at;		/* when the reply was there, by the same clock */
	bool		current;		/* these are MongoDB's time now, not that of a member that stands still */
	bool		opened;			/* the reply of the aggregate or find that opened the cursor */
	bool		closed;			/* nothing comes behind this reply: the server closed the cursor (id 0) */
	MongoReply *reply;			/* owns the bytes */
} MongoBatch;

typedef enum MongoCursorResult
{
	MONGO_CURSOR_BATCH,			/* *batch is filled */
	MONGO_CURSOR_TIMEOUT,		/* nothing within timeout_ms */
	MONGO_CURSOR_LATCH,			/* MyLatch was set (and reset); the caller looks why */
	MONGO_CURSOR_FAILED			/* *error is filled; the cursor is finished */
} MongoCursorResult;

typedef struct MongoCursor MongoCursor;

/*
 * Opens a change stream in the session's thread and lets it run ahead: the
 * aggregate with batchSize 0, then getMore after getMore into a queue bounded
 * by queue_bytes.  Returns at once.  $changeStreamSplitLargeEvent is added as
 * the last stage where the server knows it (asked once a session), unless the
 * spec wants whole events.
 */
extern MongoCursor *mcs_cursor_open(MongoSession *session, const ChangeStreamSpec *spec);

/*
 * The next reply.  timeout_ms 0 only looks whether one is there, -1 waits
 * without end; interrupts are processed while it waits.
 */
extern MongoCursorResult mcs_cursor_next(MongoCursor *cursor, long timeout_ms, MongoBatch *batch, MongoError *error);
extern void mcs_cursor_free_batch(MongoBatch *batch);

/* Whether large events come in fragments; known after the opening reply. */
extern bool mcs_cursor_splits(const MongoCursor *cursor);

/*
 * How long, between its replies, nothing was asked of MongoDB, which then does
 * nothing for the cursor: idle, so that there was room for a reply, and full, so
 * that there was none.
 */
typedef struct CursorTimes
{
	int64		replies;		/* to getMores */
	int64		idle_us;
	int64		full_us;
} CursorTimes;

extern CursorTimes mcs_cursor_times(const MongoCursor *cursor);

/* Ends the cursor; the server's cursor is killed by the thread, without waiting for it. */
extern void mcs_cursor_close(MongoCursor *cursor);

/* ---- documents (mongo/find.c) ---- */

/*
 * Which documents of a collection, and as of when.  Strings and documents are
 * borrowed for the call of mcs_find_open only.
 */
typedef struct FindSpec
{
	const char *database;
	const char *collection;
	const Document *filter;		/* a condition; NULL: all */
	bool		ids_only;		/* of each document its _id alone */

	/*
	 * In the order of the index on _id, beginning with the document of this _id if
	 * it is there still, else behind its place; NULL: in any order.
	 */
	bool		by_id;
	const Document *min;		/* the _id itself; needs by_id; NULL: from the first */

	/*
	 * Read concern: at_time (seconds << 32 | ordinal) as MongoDB was then, which
	 * 5.0 and later know for some minutes; else what a majority has, and nothing
	 * older than after_time (0: whatever).  What at_time cannot do, and how that
	 * shows: the top of mongo/find.c.
	 */
	uint64		at_time;
	uint64		after_time;
	int			batch_size;		/* documents in a reply at most; 0: as many as a reply holds (16 MB) */
	int64		limit;			/* documents altogether; 0: all */
	Size		queue_bytes;	/* replies kept ahead: at least one, then up to this many bytes */
	const char *comment;
} FindSpec;

/*
 * Reads documents in the session's thread, which runs ahead as for a change
 * stream: mcs_cursor_next gives replies, whose "events" are the documents, and
 * mcs_cursor_close ends it.  Read from where change streams are (the URI's read
 * preference).
 */
extern MongoCursor *mcs_find_open(MongoSession *session, const FindSpec *spec);

/*
 * Whether a failure of a find with at_time says that MongoDB cannot read as of
 * that time: not any more (SnapshotTooOld), not before the collection's own
 * beginning (SnapshotUnavailable), or never.  A time that the server has not
 * reached yet is TRANSIENT: it will.
 */
extern bool mcs_find_cannot_read_at(const MongoError *error);

/*
 * Whether a collection is clustered: then a find by many _ids reads all between
 * them, and one by one is faster.  False also with error->class set.
 */
extern bool mcs_find_is_clustered(MongoSession *session, const char *database, const char *collection, MongoError *error);

/* How many documents a collection has, about, by its metadata; -1 with *error filled. */
extern int64 mcs_find_estimate(MongoSession *session, const char *database, const char *collection, MongoError *error);

/* ---- questions answered by trying (mongo/probe.c) ---- */

/*
 * Opens a change stream and ends it, waiting for the reply: may this be watched,
 * and which is the token and the operationTime of now?  *token (may be NULL) is
 * palloc'ed; false with *error filled.
 */
extern bool mcs_mongo_try_stream(MongoSession *session, const ChangeStreamSpec *spec,
								 char **token, uint64 *operation_time, bool *splits, MongoError *error);

/*
 * The primary's operationTime now, which is not before any write that was
 * acknowledged to anybody; 0 where it tells none.  A change stream that is read
 * from another member (mcs_mongo_reads_elsewhere) is bounded by it, as that
 * member's own time may be far behind.
 */
extern bool mcs_mongo_primary_time(MongoSession *session, uint64 *time, MongoError *error);

/* The same with a session of the backend's cache; raises. */
extern uint64 mcs_mongo_time_now(const MongoTarget *target, const char *action);

/*
 * The time of the oldest entry of the oplog; 0 where it could not be read and is
 * known only to hold the server's whole life.  Who may not read the oplog finds
 * its start by trying change streams of database and collection (as in
 * ChangeStreamSpec).  False with *error filled.
 */
extern bool mcs_mongo_oplog_oldest(MongoSession *session, const char *database, const char *collection,
								   uint64 *oldest, MongoError *error);

/* Whether a change stream of database and collection can still start at a time; false also with error->class set. */
extern bool mcs_mongo_history_begins_behind(MongoSession *session, const char *database, const char *collection,
											uint64 time, MongoError *error);
extern bool mcs_mongo_oplog_reaches(MongoSession *session, const char *database, const char *collection,
									uint64 time, MongoError *error);

/* How much of the room that the oplog may take is taken, up to 1; 1, too, where that may not be asked. */
extern double mcs_mongo_oplog_fill(MongoSession *session);

/*
 * Whether MongoDB's history has the event of a token: UNKNOWN where the oplog no
 * longer reaches back to it, or MongoDB can't be asked.
 */
typedef enum HistoryAnswer
{
	HISTORY_UNKNOWN,
	HISTORY_HAS,
	HISTORY_HAS_NOT
} HistoryAnswer;

extern HistoryAnswer mcs_mongo_history_has(MongoSession *session, const char *database, const char *collection,
										   const char *token, MongoError *error);

/* ---- names in hints (mongo/names.c) ---- */

/* A string as JavaScript has it. */
extern char *mcs_mongo_js_string(const char *string);

/* ---- what is missing (mongo/check.c) ---- */

/* Adds a row of check_mongo_server(), of which hint may be NULL; and those that MongoDB is asked for. */
extern void mcs_mongo_check_row(ReturnSetInfo *result, const char *name, bool ok, const char *detail, const char *hint);
extern void mcs_mongo_check(ReturnSetInfo *result, const MongoTarget *target);

/* ---- tokens and times (mongo/token.c) ---- */

/*
 * A token is MongoDB's _data (hex digits that begin with a timestamp, 82) and,
 * where it has _typeBits, a dot and their hex: see mongo/token.c.
 */

/* A token as MongoDB sends it, in place. */
typedef struct TokenParts
{
	const char *data;
	uint32		length;
	const uint8 *bits;
	uint32		bits_size;
} TokenParts;

/* From MongoDB's form, from what users write, back to MongoDB's form; is a text one? */
extern bool mcs_token_parts(const DocumentValue *token, TokenParts *parts);
extern void mcs_token_append(StringInfo text, const TokenParts *parts);
extern char *mcs_token_read(const char *text);
extern char *mcs_token_document(const char *token);
extern bool mcs_token_valid(const char *token);

/* Its time, or the token that sorts before all events of a time: seconds << 32 | ordinal. */
extern uint64 mcs_token_time(const char *token);
extern char *mcs_token_from_time(uint64 time);
extern char *mcs_token_before_time(const char *token, bool version_2);

/* What else a valid token says. */
extern bool mcs_token_of_event(const char *token);
extern bool mcs_token_of_split_stream(const char *token);
extern bool mcs_token_within_transaction(const char *data, size_t length);
extern bool mcs_token_lacks_type_bits(const char *token, const MongoError *error);

/* What two tokens say of each other. */
extern int	mcs_token_compare(const char *a, size_t a_length, const char *b, size_t b_length);
extern bool mcs_token_is_of_version(const char *token, const char *other);
extern bool mcs_token_same_event(const char *a, const char *b);
extern bool mcs_token_same_collection(const char *a, const char *b);

/* ---- set-up (mongo/library.c) ---- */

/* At load of the library. */
extern void mcs_mongo_init(void);

#endif							/* MCS_MONGO_H */
