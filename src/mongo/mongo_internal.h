/*
 * mongo/mongo_internal.h
 *	  The wall from inside: what the files of this folder share.
 *
 * They are of two kinds, which never mix.
 *
 * The driver's thread: thread.c, driver.c, monitor.c, client.c, aggregate.c,
 * classify.c, diagnose.c, reply.c, bson.c, unpack.c, frame.c, socket.c, connect.c,
 * guard.c, library.c.  PostgreSQL is not made for a second thread: its errors are longjmps to the
 * stack of the first, its memory contexts have no locks.  So these files call
 * nothing of it: no palloc, no ereport, and nothing that port.h puts in place of
 * libc (snprintf, strerror); libbson's equivalents do.  Behind all their other
 * includes they say
 *
 *		#define MCS_DRIVER_THREAD
 *		#include "mongo/mongo_internal.h"
 *
 * and from there on the compiler refuses PostgreSQL.  What slips through by a
 * macro is found by make check-style, which looks at what their objects use.
 *
 * The backend: all others.  They run in PostgreSQL's one thread, and ask the
 * driver's thread through mcs_thread_*.  Of libmongoc and libbson they call
 * nothing that allocates, which ends badly where there is no memory, but for
 * mcs_library_prepare (see there); what they read of BSON they read as documents.
 *
 * The way of a reply, from the network up:
 *
 *		socket.c	bytes from a socket (connect.c) whose waits can be broken off (guard.c)
 *		frame.c		one message as a whole, before libmongoc sees any of it
 *		unpack.c	the same, if it came compressed
 *		reply.c		whether its fields are what libmongoc takes them for,
 *		bson.c		and its bytes BSON to the last one
 *					(libmongoc)
 *		client.c	runs the command; makes a DriverReply, or an error (classify.c)
 *		driver.c	what the command was for: a user's, or a cursor
 *		thread.c	hands it over
 *		session.c	the backend waits for it, and holds it in a memory context
 *		cursor.c	finds the events and the token in it
 *
 * and of a request, from SQL down: session.c, cursor.c or find.c, thread.c, driver.c
 * (with aggregate.c, monitor.c), client.c.
 */
#ifndef MCS_MONGO_INTERNAL_H
#define MCS_MONGO_INTERNAL_H

#ifndef MCS_INSIDE_mongo
#error "mongo/mongo_internal.h is for the files of its folder only"
#endif

#include "mongo/mongo.h"

/* ==== both sides: what crosses the wall ==== */

/* A server's reply; data is bson_free'd with it. */
typedef struct DriverReply
{
	struct DriverReply *next;
	uint8	   *data;
	uint32		size;
	bool		opened;			/* the reply to the aggregate or find */
	int64		asked_at;		/* monotonic microseconds: when its command was sent */
	int64		came_at;		/* the same: when it was there */
	bool		current;		/* its operationTime is MongoDB's now, not that of a member that stands still */
	uint64		set_time;		/* the newest operationTime that the set is known to have reached, 0: unknown */
} DriverReply;

/* Where to connect and as whom; every string is malloc'ed, all but uri and app_name may be NULL. */
typedef struct DriverConfig
{
	char	   *uri;
	char	   *app_name;
	char	   *username;
	char	   *password;
	char	   *auth_source;
	char	   *auth_mechanism;
} DriverConfig;

typedef enum RequestKind
{
	REQUEST_URI,				/* whether the driver takes the configuration */
	REQUEST_COMMAND,			/* command */
	REQUEST_CHANGE_STREAM,		/* spec */
	REQUEST_FIND				/* command; of spec what the getMores need */
} RequestKind;

/* One malloc'ed block. */
typedef struct DriverRequest
{
	RequestKind kind;
	const char *database;
	const uint8 *command;
	uint32		command_size;
	ChangeStreamSpec spec;		/* its pointers lead into the block */
} DriverRequest;

/* ---- the hand-over (thread.c); called by the backend ---- */

typedef struct DriverThread DriverThread;

typedef enum ThreadState
{
	THREAD_IDLE,				/* nothing in the queue, nothing under way */
	THREAD_BUSY,				/* nothing in the queue yet */
	THREAD_REPLY,				/* a reply was handed out */
	THREAD_FAILED				/* *error was filled; once for each failure */
} ThreadState;

/* Takes over config, unless it returns NULL with errno set. */
extern DriverThread *mcs_thread_start(DriverConfig *config);
extern void mcs_thread_free_config(DriverConfig *config);

/* Readable when there may be something new for mcs_thread_take. */
extern int	mcs_thread_bell(const DriverThread *thread);

/* Takes over the request; there must be no other. */
extern void mcs_thread_request(DriverThread *thread, DriverRequest *request);
extern ThreadState mcs_thread_take(DriverThread *thread, DriverReply **reply, MongoError *error);
extern bool mcs_thread_splits(DriverThread *thread);
extern CursorTimes mcs_thread_times(DriverThread *thread);

/*
 * Since when the thread is somewhere where no wait of ours can end it; 0 where
 * it isn't.  *allowed_ms is how long that may be, name the host name that it
 * asks the resolver for, or empty.
 */
extern int64 mcs_thread_gone_since(DriverThread *thread, int *allowed_ms, char *name, Size size);

/* Drops queued replies and ends the cursor, if there is one. */
extern void mcs_thread_end_cursor(DriverThread *thread);

/* Tells the thread to end; it breaks off what it is doing, unless that is to close a cursor. */
extern void mcs_thread_stop(DriverThread *thread);

/* Waits until the thread has ended, at most until a monotonic time; then drops the backend's hold on it. */
extern bool mcs_thread_join(DriverThread *thread, int64 until);

/* How many threads of this process have not ended. */
extern int	mcs_thread_count(void);

/* ---- the libraries in this process (library.c); called by the backend ---- */

/* Before the first thread of a process; what runs at load is mcs_mongo_init. */
extern void mcs_library_prepare(const char *platform);

/* One message that the driver logged, oldest first; false when there is none. */
extern bool mcs_library_log_take(bool *serious, char *message, Size size);

/* ---- helpers that call nothing ---- */

extern void mcs_client_discard_reply(DriverReply *reply);
extern void mcs_guard_drain_bell(int bell);

/* What a session's failures are told with, of whom it connects and the database that it asks (names.c). */
extern void mcs_names_fill(MongoNames *names, const MongoTarget *target);
extern void mcs_names_of_request(MongoNames *names, const DriverRequest *request);

/* The command that gives the user mapping of a failure a user and a password. */
extern char *mcs_names_mapping_command(const MongoNames *names);

/* Copies words of unknown origin, as valid UTF-8 (classify.c). */
extern void mcs_mongo_copy_words(char *to, size_t size, const char *from);

/* Fills in a failure that is not a server's answer (classify.c). */
extern void mcs_mongo_error_set(MongoError *error, MongoErrorClass class, int sqlstate, const char *message);

/* Whether the words of a failure tell of a TLS handshake that one of the sides refused (classify.c). */
extern bool mcs_mongo_tls_refused(const char *message);

#ifndef MCS_DRIVER_THREAD

/* ==== the backend's side ==== */

#include "lib/ilist.h"

struct MongoSession
{
	dlist_node	node;			/* in the list of all sessions of the process */
	MemoryContext context;		/* the session's own */
	MemoryContextCallback callback;
	DriverThread *thread;		/* NULL: the process exits */
	bool		in_command;
	int64		give_up_at;		/* 0: never */
	bool		(*stop) (void); /* NULL: nothing ends a wait early */
	MongoCursor *cursor;		/* NULL: none open */
	MongoNames	names;			/* for hints */
	char	   *uri;			/* of the server */

	/* looking whether the thread hangs */
	int64		gone_since;		/* as of the last look */
	int64		looked_at;
	int			gone_looks;		/* a second apart, in a row, that found it so */
	bool		hangs;			/* given up */

	/* of sessions in the backend's cache (cache.c) */
	bool		cached;
	dlist_node	cache_node;
	bool		outdated;		/* to be closed when nobody uses it */
	Oid			serverid;
	Oid			userid;
	Oid			umid;
	uint32		server_hash;
	uint32		mapping_hash;
};

struct MongoCursor
{
	MemoryContext context;		/* the cursor's own */
	MemoryContextCallback callback;
	MongoSession *session;		/* NULL when that went first */
	bool		finished;		/* failed, or the server closed it, or the session went */

	/* of a find that needs another to be complete (find.c) */
	DriverRequest *rest;		/* malloc'ed: asked when the server has closed the cursor; NULL: nothing is missing */
	int64		wanted;			/* documents that may still come */
	bool		complete;		/* the rest has come already */
};

/* ---- waits and replies (session.c) ---- */

typedef enum SessionWait
{
	SESSION_REPLY,
	SESSION_FAILED,
	SESSION_TIMEOUT,
	SESSION_LATCH
} SessionWait;

extern SessionWait mcs_session_wait(MongoSession *session, long timeout_ms, bool latch_ends,
									DriverReply **reply, MongoError *error);
extern void mcs_session_check_idle(const MongoSession *session);
extern DriverRequest *mcs_session_request(const char *database, const uint8 *command, uint32 size);
extern MongoReply *mcs_session_hold_reply(DriverReply *driver, MemoryContext *context);

/* ---- cursors of all kinds (cursor.c) ---- */

/* A cursor that is not begun, and begins it with a request that it takes over; nothing fails in the second. */
extern MongoCursor *mcs_cursor_make(MongoSession *session);
extern void mcs_cursor_begin(MongoCursor *cursor, MongoSession *session, DriverRequest *request);

#else							/* MCS_DRIVER_THREAD */

/* ==== the driver's thread ==== */

#include <mongoc/mongoc.h>
#include <poll.h>

/* MongoDB allows a set 50 members. */
#define MAX_MEMBERS			50

#define MIN_DOCUMENT		5	/* an empty BSON document: its length and a zero */

/* Room for what was wrong with a reply. */
#define COMPLAINT_SIZE		160

/* What a thread may take for what can't be timed: the resolver, beyond its own patience. */
#define HANG_MARGIN_MS		10000

/* Silence of a server that does not tell what it is doing; doubles each time that it was too short. */
#define SILENT_LIMIT_MS		60000

#define SPLIT_STAGE			"$changeStreamSplitLargeEvent"

/* ---- waits that can be broken off (guard.c) ---- */

/*
 * Every wait of the thread's sockets ends when give_up_at has come.  Others set
 * that time (atomically) and then ring bell, so a wait that has begun learns it.
 */
typedef struct SocketGuard
{
	int			bell;			/* eventfd */
	int64		give_up_at;		/* monotonic microseconds; 0: never */
	int			patience_ms;	/* a reply may take this long before the server is looked at */
	bool		(*alive) (void *arg);	/* is the server still at it, though it does not answer? */
	void	   *alive_arg;
	int			sockets;		/* that are open */
	char		complaint[COMPLAINT_SIZE];	/* what was wrong with a reply that was refused; empty: none was */
	int			silence_s;		/* set when a connection was given up for being silent */

	/* for the backend, which looks whether the thread hangs; all but the name are atomic */
	int64		left_at;		/* monotonic: since when it is beyond our reach; 0: it waits here, where every wait ends */
	int			hang_ms;		/* it may stay there for so long */
	bool		resolving;		/* it is asking for a name's addresses */
	char		name[256];		/* that name; to be read only while it hangs */
} SocketGuard;

extern void mcs_guard_set(SocketGuard *guard, int64 give_up_at);
extern bool mcs_guard_expired(const SocketGuard *guard);
extern bool mcs_guard_sleep(SocketGuard *guard, int milliseconds);
extern int	mcs_guard_poll(SocketGuard *guard, struct pollfd *fds, int nfds, int64 expire_at);
extern void mcs_guard_leave(SocketGuard *guard);
extern void mcs_guard_return(SocketGuard *guard);
extern int64 mcs_guard_earlier(int64 a, int64 b);
extern void mcs_guard_ring_bell(int bell);

/* ---- the transport below libmongoc (socket.c) ---- */

/* Why a host could not even be tried. */
typedef struct RefusedHost
{
	char		host[BSON_HOST_NAME_MAX + 8];	/* host:port */
	bool		unresolved;		/* its name leads nowhere */
	char		message[256];
} RefusedHost;

/* What the initiator needs to know; lives as long as the client. */
typedef struct SocketContext
{
	SocketGuard *guard;
	int			connect_timeout_ms;
	bool		use_tls;
	uint32		compressors;	/* those of the URI that we can unpack: bits, by their numbers in a message */
	mongoc_ssl_opt_t tls;		/* its strings belong to the client's URI */
	RefusedHost *refused;		/* MAX_MEMBERS: the hosts that could not be tried when they were last to be */
	int			refused_count;
} SocketContext;

/* Takes compressors that we can't unpack out of the URI, which must outlive context. */
extern void mcs_socket_context_init(SocketContext *context, mongoc_uri_t *uri, SocketGuard *guard);
extern void mcs_socket_context_free(SocketContext *context);

/* Puts into a message of the driver why hosts could not be tried; lists the names that lead nowhere. */
extern void mcs_socket_explain(const SocketContext *context, char *message, size_t size,
							   char *unresolved, size_t unresolved_size);

/* A socket that is, or is about to be, connected to a host; -1 with error set (connect.c). */
extern int	mcs_mongo_connect(SocketContext *context, const mongoc_host_list_t *host, bson_error_t *error);

/* A mongoc_stream_initiator_t; user_data is a SocketContext. */
extern mongoc_stream_t *mcs_socket_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
											void *user_data, bson_error_t *error);

/* ---- whole messages (frame.c), unpacked (unpack.c) ---- */

/* Puts the check of replies on top of a stream, which it then owns. */
extern mongoc_stream_t *mcs_frame_check(mongoc_stream_t *below, SocketContext *context);

extern uint32 mcs_unpack_offer(mongoc_uri_t *uri);
extern const char *mcs_unpack(uint32 offered, uint8 compressor, const uint8 *packed, uint32 packed_size,
							  uint8 *plain, uint32 size);

/* ---- what libmongoc can be given (reply.c, bson.c) ---- */

/* What was asked, as far as that decides what the driver reads of the reply. */
typedef struct ReplyQuestion
{
	enum
	{
		QUESTION_OTHER,
		QUESTION_HELLO,
		QUESTION_SASL_START,
		QUESTION_SASL_CONTINUE
	}			kind;
	bool		speculative;	/* a hello that begins authentication */
	enum
	{
		MECHANISM_OTHER,
		MECHANISM_SCRAM,
		MECHANISM_BSON			/* whose payload is a document */
	}			mechanism;		/* of the authentication begun last */
} ReplyQuestion;

extern void mcs_reply_question(ReplyQuestion *question, const uint8 *data, uint32 size);
extern bool mcs_reply_check(const ReplyQuestion *question, const uint8 *data, uint32 size, char *complaint);
extern bool mcs_bson_valid(const uint8 *data, uint32 size);
extern uint32 mcs_bson_uint32(const uint8 *place);

/* ---- libmongoc's clients (client.c) ---- */

typedef struct Driver
{
	const DriverConfig *config;
	SocketGuard *guard;
	SocketContext socket;
	mongoc_uri_t *uri;			/* NULL until it is first needed */
	mongoc_client_t *client;	/* NULL until the first request */
	int			selection_timeout_ms;
	int			connect_timeout_ms;
	int			patience_ms;
	bool		direct;			/* the URI names the one server to talk to, whatever that is */
	uint32		server_id;		/* selected last */
	char		server_host[BSON_HOST_NAME_MAX + 8];	/* the same, host:port */
	bool		renew;			/* the client is worth nothing any more: the next request takes a new one */
	bool		hurry;			/* a server was silent: the next look at the set does not wait long for it */
	MongoProblem problem;		/* what a server that said hello is for the client */
	char		problem_host[BSON_HOST_NAME_MAX + 8];	/* which, host:port */
	char		problem_set[128];	/* and its set */

	/* the cursor, if one is open (driver.c) */
	mongoc_client_session_t *session;	/* NULL where the server knows no sessions */
	int64		cursor_id;		/* 0: none */
	bool		connection_lost;	/* a getMore failed in a way that may have cost the connection */
	uint32		cursor_server;
	char	   *cursor_database;
	char	   *cursor_collection;
	char	   *cursor_comment;	/* NULL where others may give the same */
	int			batch_size;
	int			max_await_ms;
	bool		split_asked;	/* whether splits is known */
	bool		splits;			/* the server has SPLIT_STAGE */

	/* whether the cursor's server is still the one to read from (monitor.c) */
	bool		in_get_more;	/* what is waited for is a getMore's reply */
	bool		missed;			/* the last look did not find the operation that is waited for */
	int64		silent_ms;		/* how long nothing could be found out */
	int64		silent_limit_ms;	/* silence that ends a connection where nothing can be found out */
	int64		role_at;		/* next look at the server's role */
	int64		set_at;			/* next look at the other members, if nothing moves until then */
	int64		orphans_at;		/* when cursors that nobody reads are looked for; 0: not, or done */
	bool		secondary;		/* the server was one at the last look */
	bool		router;			/* it is a mongos */
	uint64		operation_time; /* of the newest reply */
	int64		moved_at;		/* when that moved last */
	uint64		set_time;		/* the newest operationTime of other members that was seen, 0: none */
	char		avoid[BSON_HOST_NAME_MAX + 8];	/* a member that stands still */
} Driver;

/* ---- why no server can be talked to (diagnose.c) ---- */

/* Lets a new client tell what servers say of themselves. */
extern void mcs_diagnose_client(Driver *driver, mongoc_client_t *client);

/* Adds to a message what the driver does not say; which problem that is. */
extern MongoProblem mcs_diagnose(const Driver *driver, const bson_error_t *reason, char *message, size_t size);

/* ---- clients, continued ---- */

/* Sets up driver->uri: the user's, with credentials and what the user left open. */
extern bool mcs_client_set_uri(Driver *driver, MongoError *error);

/* The client that the thread works with: made unless there is one, chooses a server, thrown away. */
extern bool mcs_client_make(Driver *driver, MongoError *error);
extern bool mcs_client_select(Driver *driver, const mongoc_read_prefs_t *prefs, MongoError *error);
extern void mcs_client_drop(Driver *driver);

/* Further clients, the caller's to destroy: with connections of its own, and one whose connecting and replies take at most a time. */
extern mongoc_client_t *mcs_client_new(Driver *driver, const mongoc_uri_t *uri, bson_error_t *error);
extern mongoc_client_t *mcs_client_probe(Driver *driver, int timeout_ms);

/* The id that a client has for a host that it knows, or only for one that has answered it; else 0. */
extern uint32 mcs_client_find_host(mongoc_client_t *client, const char *host, bool answering);

/* Runs a command on a server; a reply, or NULL with error filled.  session may be NULL. */
extern DriverReply *mcs_client_run(Driver *driver, mongoc_client_t *client, const mongoc_client_session_t *session,
								   uint32 server_id, const char *database, const bson_t *command,
								   const mongoc_read_prefs_t *prefs, bool at_open, MongoError *error);

/* Fills in what the driver reported; reply is the server's answer or NULL (classify.c). */
extern void mcs_mongo_error_from_driver(MongoError *error, uint32 domain, uint32 code, const char *message,
										const bson_t *reply, bool at_open);

/* ---- whether a cursor's server is still the one to read from (monitor.c) ---- */

/* For the guard: whether a server that is silent is still at what was asked of it; arg is the Driver. */
extern bool mcs_monitor_alive(void *arg);

/* A cursor was opened: what is looked at begins anew. */
extern void mcs_monitor_begin(Driver *driver);

/* Takes note of a reply of the cursor, and says in it how new MongoDB's time in it is. */
extern void mcs_monitor_reply(Driver *driver, DriverReply *reply);

/* Between two getMores: false with error filled where the cursor's server is no longer the one to read from. */
extern bool mcs_monitor_server(Driver *driver, MongoError *error);

/* ---- what is asked of MongoDB (driver.c, aggregate.c) ---- */

/* config and guard must outlive the driver. */
extern Driver *mcs_driver_new(const DriverConfig *config, SocketGuard *guard);
extern void mcs_driver_free(Driver *driver);
extern DriverReply *mcs_driver_command(Driver *driver, const DriverRequest *request, MongoError *error);
extern DriverReply *mcs_driver_check_uri(Driver *driver, MongoError *error);
extern DriverReply *mcs_driver_open(Driver *driver, const DriverRequest *request, MongoError *error);
extern DriverReply *mcs_driver_more(Driver *driver, MongoError *error);
extern void mcs_driver_kill_cursor(Driver *driver);

extern void mcs_mongo_build_aggregate(bson_t *command, const ChangeStreamSpec *spec, bool split);

/* ---- the end (thread.c) ---- */

/* The calling thread can't go on; does not return if it is a driver's thread. */
extern void mcs_thread_park(int sqlstate, const char *why);

/* ==== no PostgreSQL from here on: must be the last thing of the last header ==== */

/* macros would hide what they stand for */
#undef ereport
#undef elog
#undef PG_TRY
#undef PG_CATCH
#undef PG_FINALLY
#undef PG_RE_THROW
#undef CHECK_FOR_INTERRUPTS
#undef palloc_object
#undef palloc0_object
#undef palloc_array
#undef palloc0_array
#undef repalloc_array
#undef repalloc0_array
#undef snprintf
#undef vsnprintf
#undef sprintf
#undef vsprintf
#undef fprintf
#undef vfprintf
#undef printf
#undef vprintf
#undef strerror
#undef strerror_r
#undef PGDLLIMPORT

/* errors and interrupts */
#pragma GCC poison ereport elog errstart errstart_cold errfinish errcode errmsg errmsg_internal errdetail errhint
#pragma GCC poison PG_TRY PG_CATCH PG_FINALLY PG_RE_THROW CHECK_FOR_INTERRUPTS InterruptPending ProcessInterrupts

/* memory and all that allocates */
#pragma GCC poison palloc palloc0 palloc_extended repalloc pfree pstrdup pnstrdup psprintf pvsnprintf
#pragma GCC poison palloc_object palloc0_object palloc_array palloc0_array repalloc_array repalloc0_array
#pragma GCC poison MemoryContextAlloc MemoryContextAllocZero MemoryContextSwitchTo CurrentMemoryContext TopMemoryContext
#pragma GCC poison StringInfo StringInfoData initStringInfo appendStringInfo appendStringInfoString

/* libc as port.h has it */
#pragma GCC poison snprintf vsnprintf sprintf vsprintf fprintf vfprintf printf vprintf strerror strerror_r
#pragma GCC poison pg_snprintf pg_vsnprintf pg_sprintf pg_vsprintf pg_fprintf pg_vfprintf pg_printf pg_vprintf
#pragma GCC poison pg_strerror pg_strerror_r pg_usleep

/* the words that PostgreSQL's headers are made of: none can be included any more */
#pragma GCC poison PGDLLIMPORT Datum Oid MemoryContext Node List Relation Latch PGPROC TransactionId

#endif							/* MCS_DRIVER_THREAD */

#endif							/* MCS_MONGO_INTERNAL_H */
