/*
 * mongo/driver.h
 *	  What mongo/driver.c and mongo/watch.c share: the state of a driver's
 *	  thread.  Both run in that thread only.
 */
#ifndef MCS_MONGO_DRIVER_H
#define MCS_MONGO_DRIVER_H

#include "mongo/socket.h"

/* Silence of a server that does not tell what it is doing; doubles each time that it was too short. */
#define MCS_SILENT_LIMIT_MS	60000

struct Driver
{
	const DriverConfig *config;
	SocketGuard *guard;
	SocketContext socket;
	mongoc_uri_t *uri;
	mongoc_client_t *client;	/* NULL until the first request */
	int			selection_timeout_ms;
	int			connect_timeout_ms;
	int			patience_ms;
	bool		direct;			/* the URI names the one server to talk to, whatever that is */
	uint32		server_id;		/* selected last */
	char		server_host[BSON_HOST_NAME_MAX + 8];	/* the same, host:port */

	/* the change stream, if one is open */
	mongoc_client_session_t *session;	/* NULL where the server knows no sessions */
	int64		cursor_id;		/* 0: none */
	bool		cut;			/* a getMore failed in a way that may have cost the connection */
	uint32		cursor_server;
	char	   *cursor_database;
	char	   *cursor_collection;
	char	   *cursor_comment;	/* NULL where others may give the same */
	int			batch_size;
	int			max_await_ms;

	/* whether the cursor's server is still the one to read from (mongo/watch.c) */
	bool		in_more;		/* what is waited for is a getMore's reply */
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

	bool		garbled;		/* what came could not be read: the connection is worth nothing */
	bool		hurry;			/* a server was silent: the next look at the set does not wait long for it */
	bool		split_asked;	/* whether splits is known */
	bool		splits;			/* the server has $changeStreamSplitLargeEvent */
};

/* ---- mongo/driver.c ---- */

/* A client of its own, whose connecting and replies take at most a time. */
extern mongoc_client_t *mcs_driver_probe(Driver *driver, int timeout_ms);

/* Runs a command on a server; a reply, or NULL with error filled.  session may be NULL. */
extern DriverReply *mcs_driver_run(Driver *driver, mongoc_client_t *client, const mongoc_client_session_t *session,
								   uint32 server_id, const char *database, const bson_t *command,
								   const mongoc_read_prefs_t *prefs, bool at_open, MongoError *error);

/* ---- mongo/watch.c ---- */

/* For the guard: whether a server that is silent is still at what was asked of it; arg is the Driver. */
extern bool mcs_watch_alive(void *arg);

/* A change stream was opened: what is looked at begins anew. */
extern void mcs_watch_begin(Driver *driver);

/* Takes note of a reply of the change stream, and says in it how new MongoDB's time in it is. */
extern void mcs_watch_reply(Driver *driver, DriverReply *reply);

/* Between two getMores: false with error filled where the cursor's server is no longer the one to read from. */
extern bool mcs_watch_server(Driver *driver, MongoError *error);

#endif							/* MCS_MONGO_DRIVER_H */
