/*
 * mongo/driver.c
 *	  What a session asks of MongoDB: a user's command, or a cursor (of a change
 *	  stream, or of a find) reply by reply.  Runs in the driver's thread and reports
 *	  by value.
 *
 * Commands are sent raw: libmongoc's own change stream object resumes in a loop
 * of its own that nothing can end, and builds the $changeStream stage itself.
 * Each cursor stays with the server that opened it (serverId) and has a session
 * of its own, whose lsid keeps it alive while nobody reads.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define NAMESPACE_MAX			1024	/* MongoDB's own limit is 255 */

/* ---- the client ---- */

/* Forgets the cursor; the server may or may not have it still. */
static void
forget_cursor(Driver *driver)
{
	if (driver->session != NULL)
		mongoc_client_session_destroy(driver->session);
	bson_free(driver->cursor_database);
	bson_free(driver->cursor_collection);
	bson_free(driver->cursor_comment);
	driver->session = NULL;
	driver->cursor_database = NULL;
	driver->cursor_collection = NULL;
	driver->cursor_comment = NULL;
	driver->cursor_id = 0;
	driver->connection_lost = false;
}

/* Sees to it that there is a client that can be worked with. */
static bool
prepare_client(Driver *driver, MongoError *error)
{
	if (driver->renew && driver->client != NULL)
	{
		/* the session first: it belongs to the client */
		forget_cursor(driver);
		mcs_client_drop(driver);
	}
	driver->renew = false;
	return mcs_client_make(driver, error);
}

/* ---- commands ---- */

/* Whether the driver takes the URI and the credentials: an empty reply, or NULL with error filled.  Contacts nobody. */
DriverReply *
mcs_driver_check_uri(Driver *driver, MongoError *error)
{
	if (driver->uri == NULL && !mcs_client_set_uri(driver, error))
		return NULL;
	return bson_malloc0(sizeof(DriverReply));
}

/* Runs a user's command, on the primary. */
DriverReply *
mcs_driver_command(Driver *driver, const DriverRequest *request, MongoError *error)
{
	bson_t		command;
	DriverReply *reply = NULL;

	if (!bson_init_static(&command, request->command, request->command_size))
	{
		mcs_mongo_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE,
							"the command is not a BSON document");
		return NULL;
	}
	for (int try = 0; reply == NULL && try < 2; try++)
	{
		if (!prepare_client(driver, error) || !mcs_client_select(driver, NULL, error))
			break;
		driver->guard->patience_ms = driver->patience_ms;
		reply = mcs_client_run(driver, driver->client, NULL, driver->server_id, request->database, &command, NULL, false, error);

		/* only a server that is no longer primary is known to have refused the command before doing anything */
		if (reply == NULL && error->code != MONGO_CODE_NOT_WRITABLE_PRIMARY && error->code != MONGO_CODE_NOT_PRIMARY_NO_SECONDARY_OK)
			break;
	}
	return reply;
}

/* ---- cursors ---- */

/* Notes what a reply says of the cursor: its id, which is 0 when it is closed, and at first its namespace. */
static bool
read_cursor(Driver *driver, const DriverReply *reply, MongoError *error)
{
	bson_t		body;
	bson_iter_t iter;
	bson_iter_t cursor;
	bool		found = false;

	if (bson_init_static(&body, reply->data, reply->size) &&
		bson_iter_init_find(&iter, &body, "cursor") && BSON_ITER_HOLDS_DOCUMENT(&iter) &&
		bson_iter_recurse(&iter, &cursor))
	{
		while (bson_iter_next(&cursor))
		{
			if (strcmp(bson_iter_key(&cursor), "id") == 0 && BSON_ITER_HOLDS_INT64(&cursor))
			{
				driver->cursor_id = bson_iter_int64(&cursor);
				found = true;
			}
			else if (strcmp(bson_iter_key(&cursor), "ns") == 0 && BSON_ITER_HOLDS_UTF8(&cursor) &&
					 driver->cursor_collection == NULL)
			{
				/* the collection may be named $cmd.aggregate; a database's name has no dot */
				uint32		length;
				const char *dot = strchr(bson_iter_utf8(&cursor, &length), '.');

				if (dot != NULL && length <= NAMESPACE_MAX)
					driver->cursor_collection = bson_strdup(dot + 1);
			}
		}
	}
	if (!found || driver->cursor_collection == NULL)
	{
		mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION,
							"the server's reply describes no cursor");
		return false;
	}
	return true;
}

/* Starts the session of a cursor; servers without sessions do without. */
static void
start_session(Driver *driver)
{
	mongoc_session_opt_t *opts = mongoc_session_opts_new();
	bson_error_t ignored;

	/* a cursor reads what the majority has, or says what it reads; to wait for anything more would be for nothing */
	mongoc_session_opts_set_causal_consistency(opts, false);
	driver->session = mongoc_client_start_session(driver->client, opts, &ignored);
	mongoc_session_opts_destroy(opts);
}

/*
 * Runs the aggregate that opens a change stream.  Whether the server has the stage
 * that splits large events is found out by trying, once a session: to ask for its
 * version would cost a round trip each time it has.
 */
static DriverReply *
run_aggregate(Driver *driver, const DriverRequest *request, MongoError *error)
{
	const ChangeStreamSpec *spec = &request->spec;
	DriverReply *reply;

	for (;;)
	{
		bool		split = !spec->whole_events && (!driver->split_asked || driver->splits);
		bson_t		command = BSON_INITIALIZER;

		mcs_mongo_build_aggregate(&command, spec, split);
		reply = mcs_client_run(driver, driver->client, driver->session, driver->cursor_server, request->database,
							   &command, mongoc_uri_get_read_prefs_t(driver->uri), true, error);
		bson_destroy(&command);
		if (reply == NULL && split && error->code == MONGO_CODE_UNKNOWN_PIPELINE_STAGE &&
			strstr(error->message, SPLIT_STAGE) != NULL)
		{
			driver->split_asked = true;
			driver->splits = false;
			continue;
		}
		/* a stream that wants whole events has found out nothing for the next one */
		if (reply != NULL && !spec->whole_events)
		{
			driver->split_asked = true;
			driver->splits = split;
		}
		return reply;
	}
}

/* Runs the find that opens a cursor. */
static DriverReply *
run_find(Driver *driver, const DriverRequest *request, MongoError *error)
{
	bson_t		command;

	if (!bson_init_static(&command, request->command, request->command_size))
	{
		mcs_mongo_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE,
							"the command is not a BSON document");
		return NULL;
	}
	return mcs_client_run(driver, driver->client, driver->session, driver->cursor_server, request->database, &command,
						  mongoc_uri_get_read_prefs_t(driver->uri), true, error);
}

/* Opens a cursor; the reply to its aggregate or find. */
DriverReply *
mcs_driver_open(Driver *driver, const DriverRequest *request, MongoError *error)
{
	const ChangeStreamSpec *spec = &request->spec;
	DriverReply *reply;

	if (!prepare_client(driver, error))
		return NULL;
	/* by the user's read preference, unlike commands */
	if (!mcs_client_select(driver, mongoc_uri_get_read_prefs_t(driver->uri), error))
	{
		error->at_open = true;
		return NULL;
	}

	/* what the getMores will need; request is freed by then */
	start_session(driver);
	driver->cursor_server = driver->server_id;
	driver->cursor_database = bson_strdup(request->database);
	driver->cursor_comment = spec->sole ? bson_strdup(spec->comment) : NULL;
	driver->batch_size = spec->batch_size;
	driver->max_await_ms = spec->max_await_ms;
	driver->guard->patience_ms = driver->patience_ms;

	reply = request->kind == REQUEST_FIND ? run_find(driver, request, error) : run_aggregate(driver, request, error);
	if (reply != NULL && !read_cursor(driver, reply, error))
	{
		mcs_client_discard_reply(reply);
		reply = NULL;
	}
	if (reply == NULL)
	{
		error->at_open = true;
		forget_cursor(driver);
		return NULL;
	}
	mcs_monitor_begin(driver);
	mcs_monitor_reply(driver, reply);
	/* all that a find has found may have come with this reply */
	if (driver->cursor_id == 0)
		forget_cursor(driver);
	return reply;
}

/* The next reply of the cursor. */
DriverReply *
mcs_driver_more(Driver *driver, MongoError *error)
{
	bson_t		command = BSON_INITIALIZER;
	DriverReply *reply;

	if (!mcs_monitor_server(driver, error))
	{
		driver->renew = true;	/* what the client knows of the set is no longer true */
		/* a server that has told us it is unfit has answered: its connection is good for killCursors */
		driver->connection_lost = error->sqlstate != ERRCODE_CANNOT_CONNECT_NOW;
		return NULL;
	}
	BSON_APPEND_INT64(&command, "getMore", driver->cursor_id);
	BSON_APPEND_UTF8(&command, "collection", driver->cursor_collection);
	if (driver->batch_size > 0)
		BSON_APPEND_INT32(&command, "batchSize", driver->batch_size);
	if (driver->max_await_ms > 0)
		BSON_APPEND_INT32(&command, "maxTimeMS", driver->max_await_ms);
	/* silence while the server waits for events, as it was told, means nothing; a find is told no time */
	driver->guard->patience_ms = driver->patience_ms + driver->max_await_ms;
	driver->in_get_more = true;
	reply = mcs_client_run(driver, driver->client, driver->session, driver->cursor_server, driver->cursor_database,
						   &command, mongoc_uri_get_read_prefs_t(driver->uri), false, error);
	driver->in_get_more = false;
	bson_destroy(&command);

	if (reply == NULL)
	{
		/* after any other error the server may still have the cursor, and mcs_driver_kill_cursor closes it */
		if (error->code == MONGO_CODE_CURSOR_NOT_FOUND || error->code == MONGO_CODE_CURSOR_KILLED)
			forget_cursor(driver);
		driver->connection_lost = error->code == 0;
	}
	else if (!read_cursor(driver, reply, error))
	{
		mcs_client_discard_reply(reply);
		reply = NULL;
	}
	else
	{
		mcs_monitor_reply(driver, reply);
		/* id 0: the server has closed it with this reply (invalidate, or a find's end) */
		if (driver->cursor_id == 0)
			forget_cursor(driver);
	}

	/* nothing more can be read from that connection: the next request takes a new client */
	if (reply == NULL && (driver->hurry || error->sqlstate == ERRCODE_PROTOCOL_VIOLATION))
		driver->renew = true;
	return reply;
}

/* The id of the cursor's server in a fresh client, which has to find it first; 0 where it does not. */
static uint32
find_cursor_server(Driver *driver, mongoc_client_t *client)
{
	bson_error_t ignored;

	/* to select any server makes the client look at the set */
	mongoc_server_description_destroy(
		mongoc_client_select_server(client, false, mongoc_uri_get_read_prefs_t(driver->uri), &ignored));
	return mcs_client_find_host(client, driver->server_host, false);
}

/*
 * Closes the server's cursor, as well as that can be done in the time that the
 * guard leaves.  Where a getMore failed on the way (driver->connection_lost), its connection
 * is lost, the server may go on with it until its maxTimeMS, and the client
 * would wait before it connects again: a fresh one does so at once.
 */
void
mcs_driver_kill_cursor(Driver *driver)
{
	if (driver->cursor_id != 0)
	{
		mongoc_client_t *fresh = driver->connection_lost ? mcs_client_new(driver, driver->uri, NULL) : NULL;
		mongoc_client_t *client = fresh != NULL ? fresh : driver->client;
		uint32		server_id = fresh != NULL ? find_cursor_server(driver, fresh) : driver->cursor_server;
		bson_t		command = BSON_INITIALIZER;
		bson_t		cursors = BSON_INITIALIZER;
		MongoError	ignored;

		BSON_APPEND_UTF8(&command, "killCursors", driver->cursor_collection);
		BSON_APPEND_INT64(&cursors, "0", driver->cursor_id);
		BSON_APPEND_ARRAY(&command, "cursors", &cursors);
		bson_destroy(&cursors);
		driver->guard->patience_ms = driver->patience_ms;
		/* the cursor's session belongs to the old client; MongoDB lets a user kill its own cursors without */
		if (server_id != 0)
			mcs_client_discard_reply(mcs_client_run(driver, client, fresh != NULL ? NULL : driver->session, server_id,
													driver->cursor_database, &command,
													mongoc_uri_get_read_prefs_t(driver->uri), false, &ignored));
		bson_destroy(&command);
		if (fresh != NULL)
			mongoc_client_destroy(fresh);
	}
	forget_cursor(driver);
}

/* ---- a driver's life ---- */

/* config and guard must outlive the driver. */
Driver *
mcs_driver_new(const DriverConfig *config, SocketGuard *guard)
{
	Driver	   *driver = bson_malloc0(sizeof(Driver));

	driver->config = config;
	driver->guard = guard;
	driver->silent_limit_ms = SILENT_LIMIT_MS;
	guard->alive_arg = driver;
	guard->alive = mcs_monitor_alive;
	return driver;
}

/* Ends the session with the server, as well as the guard's time allows. */
void
mcs_driver_free(Driver *driver)
{
	forget_cursor(driver);
	mcs_client_drop(driver);
	if (driver->uri != NULL)
		mongoc_uri_destroy(driver->uri);
	mcs_socket_context_free(&driver->socket);
	bson_free(driver);
}
