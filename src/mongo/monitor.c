/*
 * mongo/monitor.c
 *	  Whether the server that a cursor is read from is still there, and still the
 *	  one to read from.  Runs in the driver's thread.
 *
 * Silence.  A change stream's getMore is answered within its maxTimeMS, unless the server has
 * much of the oplog to pass over, which may take hours and must not be begun
 * anew for ever.  A connection whose other end is gone is silent, too, and may
 * lead through something that lets new connections pass.  So after some
 * seconds of silence the server is asked on a new connection what it is doing
 * for us: a server that does not answer, or no longer knows of the operation,
 * has nothing more to say on the old one.  Where it doesn't tell, silence ends
 * the connection after a minute, the next time after two, and so on.
 *
 * Role.  A server keeps cursors when it is no longer primary, and goes on
 * answering when it is cut off from the set: with nothing, for ever.  So every
 * few seconds it is asked, on the cursor's own connection, what it is, and a
 * cursor on a server that no longer fits the read preference is given up.
 *
 * Standing still.  Every member's operationTime moves at least each ten seconds
 * by the primary's no-ops.  Where it does not, the members are looked at with a
 * client of its own; a cursor is given up if the set has moved on and another
 * member can be read.
 *
 * Cursors left behind.  A process that was killed leaves its cursor on the
 * server until its session ends there, half an hour later.  A stream that has a
 * comment of its own ends such cursors some time after it was opened.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define PROBE_MS			3000	/* what connecting to a server and asking it may take */
#define SECOND_LOOK_MS		1000
#define SILENT_LIMIT_MAX_MS	3600000
#define ROLE_EVERY_MS		10000
#define STILL_MS			15000	/* longer than the primary's no-ops are apart */
#define BEHIND_S			10	/* a member that stands still and is so far behind is left */
#define ORPHANS_AFTER_MS	15000
#define IDLE_MS				10000	/* a cursor not read for so long is nobody's, unless a getMore is under way */

/* The monotonic time that is some milliseconds away. */
static int64
from_now(int64 milliseconds)
{
	return bson_get_monotonic_time() + milliseconds * INT64CONST(1000);
}

/* A timestamp at a dotted path of a document as seconds << 32 | ordinal; 0 where there is none. */
static uint64
find_time(const bson_t *document, const char *path)
{
	bson_iter_t iter;
	bson_iter_t found;
	uint32		seconds;
	uint32		ordinal;

	if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, path, &found) ||
		!BSON_ITER_HOLDS_TIMESTAMP(&found))
		return 0;
	bson_iter_timestamp(&found, &seconds, &ordinal);
	return (uint64) seconds << 32 | ordinal;
}

/* Whether a document has a field that is true. */
static bool
is_true(const bson_t *document, const char *key)
{
	bson_iter_t iter;

	return bson_iter_init_find(&iter, document, key) && bson_iter_as_bool(&iter);
}

/* ---- silence ---- */

typedef enum OperationState
{
	OPERATION_RUNS,
	OPERATION_GONE,
	OPERATION_UNKNOWN
} OperationState;

/*
 * Appends how what is waited for is known in currentOp.  Not by the command, of
 * which large ones are cut there.  By appName only where there is no session: a
 * process may have several connections, and what goes on on another is no answer.
 */
static void
append_operation(const Driver *driver, bson_t *command)
{
	bson_iter_t iter;

	if (driver->in_get_more)
		BSON_APPEND_INT64(command, "command.getMore", driver->cursor_id);
	else if (driver->session != NULL &&
			 bson_iter_init_find(&iter, mongoc_client_session_get_lsid(driver->session), "id"))
		bson_append_iter(command, "lsid.id", -1, &iter);
	else
		BSON_APPEND_UTF8(command, "appName", mongoc_uri_get_appname(driver->uri));
}

/* Whether a server is at work on what is waited for. */
static OperationState
find_operation(Driver *driver, mongoc_client_t *client, uint32 server_id, const mongoc_read_prefs_t *prefs)
{
	bson_t		command = BSON_INITIALIZER;
	bson_t		body;
	bson_iter_t iter;
	bson_iter_t operations;
	DriverReply *reply;
	MongoError	ignored;
	OperationState state = OPERATION_UNKNOWN;

	/* $ownOps takes no privilege: a user may always see its own operations */
	BSON_APPEND_INT32(&command, "currentOp", 1);
	BSON_APPEND_BOOL(&command, "$ownOps", true);
	append_operation(driver, &command);
	reply = mcs_client_run(driver, client, NULL, server_id, "admin", &command, prefs, false, &ignored);
	bson_destroy(&command);
	if (reply == NULL)
		return OPERATION_UNKNOWN;
	if (bson_init_static(&body, reply->data, reply->size) && bson_iter_init_find(&iter, &body, "inprog") &&
		BSON_ITER_HOLDS_ARRAY(&iter) && bson_iter_recurse(&iter, &operations))
		state = bson_iter_next(&operations) ? OPERATION_RUNS : OPERATION_GONE;
	mcs_client_discard_reply(reply);
	return state;
}

/* What a server that does not answer on its connection does, seen from a new one. */
static OperationState
look_for_operation(Driver *driver)
{
	mongoc_client_t *client = mcs_client_probe(driver, PROBE_MS);
	mongoc_read_prefs_t *nearest = mongoc_read_prefs_new(MONGOC_READ_NEAREST);
	bson_error_t ignored;
	uint32		server_id = 0;
	OperationState state = OPERATION_GONE;

	/* to select any server makes the client look at the set; nearest, as the one wanted may be of either kind */
	if (client != NULL)
	{
		mongoc_server_description_destroy(mongoc_client_select_server(client, false, nearest, &ignored));
		server_id = mcs_client_find_host(client, driver->server_host, true);
	}
	if (server_id != 0)
		state = find_operation(driver, client, server_id, nearest);
	else
		driver->missed = true;	/* gone, whatever it was doing */
	if (client != NULL)
		mongoc_client_destroy(client);
	mongoc_read_prefs_destroy(nearest);
	return state;
}

/*
 * Called when a connection has been silent for guard->patience_ms.  It works with
 * a client of its own, whose sockets call it in turn, but for alive being NULL.
 */
bool
mcs_monitor_alive(void *arg)
{
	Driver	   *driver = arg;
	SocketGuard *guard = driver->guard;
	OperationState state;

	guard->alive = NULL;		/* the look itself has plain timeouts */
	state = look_for_operation(driver);
	guard->alive = mcs_monitor_alive;
	guard->complaint[0] = '\0'; /* about the new connection, and must not be taken for the old one's */

	switch (state)
	{
		case OPERATION_RUNS:
			driver->missed = false;
			return true;
		case OPERATION_GONE:
			/* its reply may have been on the way just then: it is here by the next look */
			if (driver->missed)
				return false;
			driver->missed = true;
			guard->patience_ms = Min(guard->patience_ms, SECOND_LOOK_MS);
			return true;
		case OPERATION_UNKNOWN:
			break;
	}
	/* a server that does not tell: only time does */
	driver->silent_ms += guard->patience_ms;
	if (driver->silent_ms < driver->silent_limit_ms)
		return true;
	/* it may have been at work all the same, and shall not be begun anew for ever */
	driver->silent_limit_ms = Min(2 * driver->silent_limit_ms, SILENT_LIMIT_MAX_MS);
	return false;
}

/* ---- the role ---- */

/* A change stream was opened: what is looked at begins anew. */
void
mcs_monitor_begin(Driver *driver)
{
	/* a stream that stays knows from the beginning; a scan is over before it matters */
	driver->role_at = driver->cursor_comment != NULL ? 0 : from_now(ROLE_EVERY_MS);
	driver->set_at = from_now(STILL_MS);
	driver->orphans_at = driver->cursor_comment != NULL ? from_now(ORPHANS_AFTER_MS) : 0;
	driver->moved_at = bson_get_monotonic_time();
	driver->operation_time = 0;
	driver->set_time = 0;
	driver->secondary = false;
	driver->router = false;
}

/* Takes note of a reply of the change stream, and says in it how new MongoDB's time in it is. */
void
mcs_monitor_reply(Driver *driver, DriverReply *reply)
{
	bson_t		body;
	uint64		time;

	driver->silent_limit_ms = SILENT_LIMIT_MS;
	if (!bson_init_static(&body, reply->data, reply->size))
		return;
	/* a member that moves needs no look at the others */
	time = find_time(&body, "operationTime");
	if (time > driver->operation_time)
	{
		driver->operation_time = time;
		driver->moved_at = bson_get_monotonic_time();
		driver->set_at = from_now(STILL_MS);
	}
	/* what a secondary has heard of the others */
	if (driver->secondary)
		driver->set_time = Max(driver->set_time, find_time(&body, "$clusterTime.clusterTime"));
	reply->set_time = driver->set_time;
	reply->current = !driver->secondary || bson_get_monotonic_time() < driver->moved_at + STILL_MS * INT64CONST(1000);
}

/* Fills in why a member is no longer to be read from; the SQLSTATE tells it from a connection that failed. */
static void
unfit(MongoError *error, const char *message)
{
	mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW, message);
}

/* Whether what a server says of itself fits the read preference. */
static bool
fits(Driver *driver, const bson_t *hello, MongoError *error)
{
	bool		primary = is_true(hello, "ismaster");
	bson_iter_t iter;

	/* a router reads where it is told, and who names one server wants that one */
	if (driver->router || driver->direct)
		return true;
	switch (mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(driver->uri)))
	{
		case MONGOC_READ_PRIMARY:
			if (!primary)
				unfit(error, "the member that was read from is no longer the primary");
			return primary;
		case MONGOC_READ_PRIMARY_PREFERRED:
			if (primary || !bson_iter_init_find(&iter, hello, "primary"))
				return true;
			unfit(error, "there is a primary again to read from");
			return false;
		case MONGOC_READ_SECONDARY:
			if (primary)
				unfit(error, "the member that was read from has become the primary");
			return !primary;
		default:
			return true;
	}
}

/* Asks the cursor's server what it is. */
static bool
look_at_role(Driver *driver, MongoError *error)
{
	bson_t		command = BSON_INITIALIZER;
	bson_t		body;
	bson_iter_t iter;
	DriverReply *reply;
	bool		fit = true;

	/* the client has one connection to each server, so this goes over the cursor's */
	BSON_APPEND_INT32(&command, "isMaster", 1); /* hello is not known to every server */
	driver->guard->patience_ms = driver->patience_ms;
	reply = mcs_client_run(driver, driver->client, NULL, driver->cursor_server, "admin", &command, NULL, false, error);
	bson_destroy(&command);
	if (reply == NULL)
		return error->code != 0;	/* a connection that failed will fail again; an answer is an answer */
	if (bson_init_static(&body, reply->data, reply->size))
	{
		driver->router = bson_iter_init_find(&iter, &body, "msg");
		driver->secondary = !driver->router && is_true(&body, "secondary");
		fit = fits(driver, &body, error);
	}
	mcs_client_discard_reply(reply);
	return fit;
}

/* ---- standing still ---- */

/* The newest write that any member of a set says it has, as a client has seen it. */
static uint64
newest_write(mongoc_client_t *client)
{
	size_t		count;
	mongoc_server_description_t **known = mongoc_client_get_server_descriptions(client, &count);
	uint64		newest = 0;

	for (size_t i = 0; i < count; i++)
		newest = Max(newest, find_time(mongoc_server_description_hello_response(known[i]), "lastWrite.opTime.ts"));
	mongoc_server_descriptions_destroy_all(known, count);
	return newest;
}

/* Looks at the whole set, since the cursor's server stands still. */
static bool
look_at_set(Driver *driver, MongoError *error)
{
	const mongoc_read_prefs_t *prefs = mongoc_uri_get_read_prefs_t(driver->uri);
	mongoc_client_t *client = mcs_client_probe(driver, PROBE_MS);
	mongoc_server_description_t *other;
	bson_error_t ignored;
	bool		fit = true;

	/* what can't be found out is no reason to give up a cursor that may be all right */
	if (client == NULL)
		return true;
	other = mongoc_client_select_server(client, false, prefs, &ignored);
	driver->set_time = Max(driver->set_time, newest_write(client));

	/* among several that fit, the choice is by chance */
	for (int try = 0; try < 8 && other != NULL &&
		 strcmp(mongoc_server_description_host(other)->host_and_port, driver->server_host) == 0; try++)
	{
		mongoc_server_description_destroy(other);
		other = mongoc_client_select_server(client, false, prefs, &ignored);
	}
	if (other != NULL && strcmp(mongoc_server_description_host(other)->host_and_port, driver->server_host) != 0 &&
		(driver->set_time >> 32) > (driver->operation_time >> 32) + BEHIND_S)
	{
		bson_strncpy(driver->avoid, driver->server_host, sizeof(driver->avoid));
		unfit(error, "the member that was read from stands still while others go on");
		fit = false;
	}
	mongoc_server_description_destroy(other);
	mongoc_client_destroy(client);
	return fit;
}

/* ---- cursors left behind ---- */

/* The question for our own cursors with the stream's comment that nobody has read for a while. */
static bson_t *
build_orphans(const Driver *driver)
{
	/* by the server's clock, as that is the one it notes times by; a find may be the stream's own, in its other session */
	return BCON_NEW("aggregate", BCON_INT32(1),
					"pipeline", "[",
					"{", "$currentOp", "{",
					"allUsers", BCON_BOOL(false), "idleCursors", BCON_BOOL(true), "localOps", BCON_BOOL(driver->router), "}", "}",
					"{", "$match", "{",
					"type", BCON_UTF8("idleCursor"),
					"cursor.originatingCommand.comment", BCON_UTF8(driver->cursor_comment),
					"cursor.originatingCommand.find", "{", "$exists", BCON_BOOL(false), "}",
					"cursor.cursorId", "{", "$ne", BCON_INT64(driver->cursor_id), "}",
					"$expr", "{", "$lt", "[", BCON_UTF8("$cursor.lastAccessDate"),
					"{", "$subtract", "[", BCON_UTF8("$$NOW"), BCON_INT32(IDLE_MS), "]", "}", "]", "}",
					"}", "}",
					"]",
					"cursor", "{", "}");
}

/* Ends a cursor that a reply to build_orphans describes. */
static void
end_orphan(Driver *driver, const bson_iter_t *described)
{
	bson_iter_t field;
	bson_iter_t cursor;
	const char *dot;
	char	   *database;
	bson_t	   *command;
	MongoError	ignored;

	if (!bson_iter_recurse(described, &field) || !bson_iter_find(&field, "ns") || !BSON_ITER_HOLDS_UTF8(&field) ||
		(dot = strchr(bson_iter_utf8(&field, NULL), '.')) == NULL ||
		!bson_iter_recurse(described, &cursor) || !bson_iter_find_descendant(&cursor, "cursor.cursorId", &cursor) ||
		!BSON_ITER_HOLDS_INT64(&cursor))
		return;
	database = bson_strndup(bson_iter_utf8(&field, NULL), dot - bson_iter_utf8(&field, NULL));
	command = BCON_NEW("killCursors", BCON_UTF8(dot + 1), "cursors", "[", BCON_INT64(bson_iter_int64(&cursor)), "]");
	mcs_client_discard_reply(mcs_client_run(driver, driver->client, NULL, driver->cursor_server, database, command,
									 mongoc_uri_get_read_prefs_t(driver->uri), false, &ignored));
	bson_destroy(command);
	bson_free(database);
}

/*
 * Ends the cursors that killed processes have left on the cursor's server.  Where
 * that can't be done, MongoDB ends them later, so nothing is said of it.
 */
static void
end_orphans(Driver *driver)
{
	bson_t	   *command = build_orphans(driver);
	bson_t		body;
	bson_iter_t iter;
	bson_iter_t found;
	DriverReply *reply;
	MongoError	ignored;

	driver->guard->patience_ms = driver->patience_ms;
	reply = mcs_client_run(driver, driver->client, NULL, driver->cursor_server, "admin", command,
						   mongoc_uri_get_read_prefs_t(driver->uri), false, &ignored);
	bson_destroy(command);
	if (reply == NULL)
		return;
	if (bson_init_static(&body, reply->data, reply->size) && bson_iter_init(&iter, &body) &&
		bson_iter_find_descendant(&iter, "cursor.firstBatch", &found) && BSON_ITER_HOLDS_ARRAY(&found) &&
		bson_iter_recurse(&found, &iter))
		while (bson_iter_next(&iter))
			end_orphan(driver, &iter);
	mcs_client_discard_reply(reply);
}

/* ---- all of it ---- */

/* Between two getMores, each look in its own time; those with news for the caller first. */
bool
mcs_monitor_server(Driver *driver, MongoError *error)
{
	int64		now = bson_get_monotonic_time();

	if (now >= driver->role_at)
	{
		driver->role_at = from_now(ROLE_EVERY_MS);
		if (!look_at_role(driver, error))
			return false;
	}
	if (now >= driver->set_at)
	{
		driver->set_at = from_now(STILL_MS);
		if (!driver->direct && !driver->router && !look_at_set(driver, error))
			return false;
	}
	if (driver->orphans_at != 0 && now >= driver->orphans_at)
	{
		driver->orphans_at = 0;
		end_orphans(driver);
	}
	return true;
}
