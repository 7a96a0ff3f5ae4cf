/*
 * mongo/thread.h
 *	  The far side of the wall: what the mongo family's own files share about
 *	  the driver's thread.  No other family includes this.
 *
 * The files that run in the thread call nothing of PostgreSQL: no palloc, no
 * ereport, no elog, and none of what port.h puts in place of libc (snprintf,
 * strerror); libbson's equivalents do.  They include mongo/far_side.h, which
 * makes the compiler refuse the worst: mongo/thread.c hands over, mongo/driver.c,
 * mongo/watch.c and mongo/aggregate.c call libmongoc, mongo/socket.c and
 * mongo/guard.c are the transport below it, mongo/frame.c, mongo/unpack.c,
 * mongo/bson.c and mongo/reply.c keep from the driver what it may not see,
 * mongo/library.c has its memory, its log and its assertions.
 */
#ifndef MCS_MONGO_THREAD_H
#define MCS_MONGO_THREAD_H

#include "mongo/mongo.h"

#include <bson/bson.h>
#include <poll.h>

/* ---- waits that can be broken off (mongo/guard.c) ---- */

#define MONGO_COMPLAINT_SIZE 160

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
	char		complaint[MONGO_COMPLAINT_SIZE];	/* what was wrong with a reply that was refused; empty: none was */
	int			silence_s;		/* set when a connection was given up for being silent */

	/* for the near side, which looks whether the thread hangs; both are atomic */
	int64		left_at;		/* monotonic: since when it is beyond our reach; 0: it waits here, where every wait ends */
	int			hang_ms;		/* it may stay there for so long */
	bool		resolving;		/* it is asking for a name's addresses */
	char		name[256];		/* that name; to be read only while it hangs */
} SocketGuard;

/* What a thread may take for what can't be timed: the resolver, beyond its own patience. */
#define MCS_HANG_MARGIN_MS	10000

extern void mcs_guard_set(SocketGuard *guard, int64 give_up_at);
extern bool mcs_guard_expired(const SocketGuard *guard);
extern bool mcs_guard_sleep(SocketGuard *guard, int milliseconds);
extern int	mcs_guard_poll(SocketGuard *guard, struct pollfd *fds, int nfds, int64 expire_at);
extern void mcs_guard_leave(SocketGuard *guard);
extern void mcs_guard_return(SocketGuard *guard);
extern int64 mcs_guard_earlier(int64 a, int64 b);
extern void mcs_guard_bell_ring(int bell);
extern void mcs_guard_bell_drain(int bell);

/* ---- libmongoc (mongo/driver.c) ---- */

/* A server's reply on its way across the wall; data is bson_free'd with it. */
typedef struct DriverReply
{
	struct DriverReply *next;
	uint8	   *data;
	uint32		size;
	bool		opened;			/* the reply to the aggregate */
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

/*
 * One malloc'ed block: a command, or a change stream (then command is NULL and
 * spec is filled); all zero it asks whether the driver takes the configuration.
 */
typedef struct DriverRequest
{
	const char *database;
	const uint8 *command;
	uint32		command_size;
	ChangeStreamSpec spec;		/* its pointers lead into the block */
} DriverRequest;

typedef struct Driver Driver;

extern Driver *mcs_driver_new(const DriverConfig *config, SocketGuard *guard);
extern void mcs_driver_free(Driver *driver);
extern DriverReply *mcs_driver_command(Driver *driver, const DriverRequest *request, MongoError *error);
extern DriverReply *mcs_driver_check_uri(Driver *driver, MongoError *error);
extern DriverReply *mcs_driver_open(Driver *driver, const DriverRequest *request, MongoError *error);
extern DriverReply *mcs_driver_more(Driver *driver, MongoError *error);
extern bool mcs_driver_has_cursor(const Driver *driver);
extern bool mcs_driver_splits(const Driver *driver);
extern void mcs_driver_kill_cursor(Driver *driver);
extern void mcs_driver_discard_reply(DriverReply *reply);

/* ---- the aggregate (mongo/aggregate.c) ---- */

#define MCS_SPLIT_STAGE "$changeStreamSplitLargeEvent"

extern void mcs_mongo_build_aggregate(bson_t *command, const ChangeStreamSpec *spec, bool split);

/* ---- the libraries in this process (mongo/library.c); called from the near side ---- */

/* Once at load, and before the first thread. */
extern void mcs_library_load(void);
extern void mcs_library_prepare(const char *platform);

/* One message that the driver logged, oldest first; false when there is none. */
extern bool mcs_library_log_take(bool *serious, char *message, Size size);

/* ---- the hand-over (mongo/thread.c); called from the near side ---- */

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

/* Readable when there may be something new for mcs_thread_take. */
extern int	mcs_thread_bell(const DriverThread *thread);

/* Takes over the request. */
extern void mcs_thread_request(DriverThread *thread, DriverRequest *request);
extern ThreadState mcs_thread_take(DriverThread *thread, DriverReply **reply, MongoError *error);
extern bool mcs_thread_splits(DriverThread *thread);

/*
 * Since when the thread is somewhere where no wait of ours can end it; 0 where
 * it isn't.  *allowed_ms is how long that may be, name the host name that it
 * asks the resolver for, or empty.
 */
extern int64 mcs_thread_gone_since(DriverThread *thread, int *allowed_ms, char *name, Size size);

/* Drops queued replies and ends the change stream, if there is one. */
extern void mcs_thread_end_cursor(DriverThread *thread);

/* Tells the thread to end; it breaks off what it is doing. */
extern void mcs_thread_stop(DriverThread *thread);

/* Waits until the thread has ended, at most until a monotonic time; then drops the near side's hold on it. */
extern bool mcs_thread_join(DriverThread *thread, int64 until);

/* How many threads of this process have not ended. */
extern int	mcs_thread_count(void);

/* The calling thread can't go on; does not return if it is a driver's thread. */
extern void mcs_thread_park(int sqlstate, const char *why);

/* ---- errors (mongo/error.c); no PostgreSQL inside ---- */

extern void mcs_mongo_error_from_driver(MongoError *error, uint32 domain, uint32 code, const char *message,
								  const bson_t *reply, bool at_open);
extern void mcs_mongo_error_set(MongoError *error, MongoErrorClass class, int sqlstate, const char *message);

#endif							/* MCS_MONGO_THREAD_H */
