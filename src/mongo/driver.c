/*
 * mongo/driver.c
 *	  What is asked of libmongoc.  Runs in the driver's thread and reports by
 *	  value.
 *
 * Commands are sent raw: libmongoc's own change stream object resumes in a loop
 * of its own that nothing can end, and builds the $changeStream stage itself.
 * Each cursor stays with the server that opened it (serverId) and has a session
 * of its own, whose lsid keeps it alive while nobody reads.
 *
 * The client is the single-threaded one: libmongoc starts no thread of its own,
 * and looks at the members of the set only when one of ours asks.
 */
#include "mongo/driver.h"

#include "mongo/far_side.h"

#define CONNECT_TIMEOUT_MS		10000
#define SELECTION_TIMEOUT_MS	10000
#define SELECTION_RETRY_MS		500 /* libmongoc looks at a set no more often */
#define PATIENCE_MS				5000	/* silence of a server, beyond what was asked of it, until it is looked at */
#define AVOID_TRIES				8
#define HURRY_MS				3000	/* for a set in which a member has just been silent */
#define NAMESPACE_MAX			1024	/* MongoDB's own limit is 255 */

static void forget_cursor(Driver *driver);

/* ---- failures ---- */

/* Fills in what the driver reported, and what it did not know of it: why hosts were not tried, and silence. */
static void
report_plain(Driver *driver, const bson_error_t *reason, const bson_t *reply, bool at_open, MongoError *error)
{
	char		message[sizeof(error->message)];
	char		unresolved[sizeof(error->unresolved)];

	bson_strncpy(message, reason->message, sizeof(message));
	mcs_socket_explain(&driver->socket, message, sizeof(message), unresolved, sizeof(unresolved));
	if (driver->guard->silence_s > 0 && reason->domain == MONGOC_ERROR_STREAM)
	{
		bson_snprintf(message, sizeof(message), "%s was silent for %d s, so the connection is taken for dead",
					  driver->server_host, driver->guard->silence_s);
		driver->hurry = true;
	}
	mcs_mongo_error_from_driver(error, reason->domain, reason->code, message, reply, at_open);
	bson_strncpy(error->unresolved, unresolved, sizeof(error->unresolved));
}

/*
 * Fills in what the driver reported; reply is the server's answer or NULL.  Where
 * a reply was kept from the driver, that is why: it only saw a connection end.
 */
static void
report(Driver *driver, const bson_error_t *reason, const bson_t *reply, bool at_open, MongoError *error)
{
	char	   *complaint = driver->guard->complaint;
	char		words[MONGO_COMPLAINT_SIZE + 64];

	if (complaint[0] == '\0')
	{
		report_plain(driver, reason, reply, at_open, error);
		return;
	}
	bson_snprintf(words, sizeof(words), "MongoDB's answer breaks its protocol: %s", complaint);
	mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, words);
	error->at_open = at_open;
	driver->garbled = true;
}

/* ---- connecting ---- */

/* Sets an option of the URI that the user left open. */
static void
default_int32(mongoc_uri_t *uri, const char *option, int32 value)
{
	if (!mongoc_uri_has_option(uri, option))
		mongoc_uri_set_option_as_int32(uri, option, value);
}

/* Puts the credentials into the URI. */
static bool
set_credentials(mongoc_uri_t *uri, const DriverConfig *config)
{
	const char *mechanism = config->auth_mechanism;
	const char *source = config->auth_source;

	/* these mechanisms know users of the deployment as a whole only */
	if (source == NULL && mechanism != NULL &&
		(strcmp(mechanism, "MONGODB-X509") == 0 || strcmp(mechanism, "GSSAPI") == 0 ||
		 strcmp(mechanism, "PLAIN") == 0 || strcmp(mechanism, "MONGODB-AWS") == 0))
		source = "$external";

	return (mechanism == NULL || mongoc_uri_set_auth_mechanism(uri, mechanism)) &&
		(config->username == NULL || mongoc_uri_set_username(uri, config->username)) &&
		(config->password == NULL || mongoc_uri_set_password(uri, config->password)) &&
		(source == NULL || mongoc_uri_set_auth_source(uri, source));
}

/* A client whose sockets obey the guard, or NULL; DNS may be asked, for mongodb+srv. */
static mongoc_client_t *
new_client(Driver *driver, const mongoc_uri_t *uri, bson_error_t *error)
{
	mongoc_client_t *client = mongoc_client_new_from_uri_with_error(uri, error);

	if (client != NULL)
	{
		mongoc_client_set_error_api(client, 2);
		mongoc_client_set_stream_initiator(client, mcs_socket_initiate, &driver->socket);
	}
	return client;
}

/* A client of its own, whose connecting and replies take at most a time. */
mongoc_client_t *
mcs_driver_probe(Driver *driver, int timeout_ms)
{
	mongoc_uri_t *uri = mongoc_uri_copy(driver->uri);
	mongoc_client_t *client;
	bson_error_t ignored;

	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, timeout_ms);
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, timeout_ms);
	/* another name than the URI's: what is asked for by that name must not find the one who asks */
	mongoc_uri_set_appname(uri, "mongo_change_stream looks");
	client = new_client(driver, uri, &ignored);
	mongoc_uri_destroy(uri);
	return client;
}

/* Whether a URI names the one server to talk to, so that the driver looks for no others. */
static bool
is_direct(const mongoc_uri_t *uri)
{
	const mongoc_host_list_t *hosts = mongoc_uri_get_hosts(uri);

	return mongoc_uri_get_option_as_bool(uri, MONGOC_URI_DIRECTCONNECTION,
										 hosts != NULL && hosts->next == NULL && mongoc_uri_get_replica_set(uri) == NULL);
}

/* Sets up driver->uri: the user's, with credentials and what the user left open. */
static bool
make_uri(Driver *driver, MongoError *error)
{
	const DriverConfig *config = driver->config;
	bson_error_t reason;
	mongoc_uri_t *uri = mongoc_uri_new_with_error(config->uri, &reason);

	if (uri == NULL)
	{
		mcs_mongo_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE, reason.message);
		return false;
	}
	if (!set_credentials(uri, config))
	{
		mongoc_uri_destroy(uri);
		mcs_mongo_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE,
					  "the driver does not accept the options of the user mapping");
		return false;
	}
	if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
		mongoc_uri_set_appname(uri, config->app_name);
	default_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_TIMEOUT_MS);
	default_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);
	driver->selection_timeout_ms =
		mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);

	driver->connect_timeout_ms =
		mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_TIMEOUT_MS);
	driver->direct = is_direct(uri);

	/* a slow reply is not an error; see mongo/watch.c */
	driver->patience_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PATIENCE_MS);
	if (driver->patience_ms <= 0)
		driver->patience_ms = PATIENCE_MS;
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PG_INT32_MAX);

	mcs_socket_context_init(&driver->socket, uri, driver->guard);
	driver->uri = uri;
	driver->guard->alive_arg = driver;
	driver->guard->alive = mcs_watch_alive;
	__atomic_store_n(&driver->guard->hang_ms,
					 Max(driver->selection_timeout_ms, driver->connect_timeout_ms) + MCS_HANG_MARGIN_MS, __ATOMIC_SEQ_CST);
	return true;
}

/* Whether the driver takes the URI and the credentials: an empty reply, or NULL with error filled. */
DriverReply *
mcs_driver_check_uri(Driver *driver, MongoError *error)
{
	if (driver->uri == NULL && !make_uri(driver, error))
		return NULL;
	return bson_malloc0(sizeof(DriverReply));
}

/* Makes the client that the thread works with, unless there is one. */
static bool
make_client(Driver *driver, MongoError *error)
{
	bson_error_t reason;

	if (driver->garbled && driver->client != NULL)
	{
		forget_cursor(driver);
		mongoc_client_destroy(driver->client);
		driver->client = NULL;
	}
	driver->garbled = false;
	driver->guard->complaint[0] = '\0';
	if (driver->client != NULL)
		return true;
	if (driver->uri == NULL && !make_uri(driver, error))
		return false;
	/* a look at the set lasts until each member has answered, or has had its time */
	driver->socket.connect_timeout_ms =
		driver->hurry ? Min(driver->connect_timeout_ms, HURRY_MS) : driver->connect_timeout_ms;
	mongoc_uri_set_option_as_int32(driver->uri, MONGOC_URI_CONNECTTIMEOUTMS, driver->socket.connect_timeout_ms);
	driver->hurry = false;
	driver->client = new_client(driver, driver->uri, &reason);
	if (driver->client == NULL)
		report(driver, &reason, NULL, false, error);
	return driver->client != NULL;
}

/* Whether any member of the set answers. */
static bool
any_server_known(mongoc_client_t *client)
{
	size_t		count;
	mongoc_server_description_t **servers = mongoc_client_get_server_descriptions(client, &count);
	bool		known = false;

	for (size_t i = 0; i < count; i++)
		known |= strcmp(mongoc_server_description_type(servers[i]), "Unknown") != 0;
	mongoc_server_descriptions_destroy_all(servers, count);
	return known;
}

/*
 * Chooses the server to talk to.  When nothing answers it fails after one look,
 * so that a wrong address is told at once; when members answer but none is fit,
 * as during an election, it waits for one.
 */
static bool
select_server(Driver *driver, const mongoc_read_prefs_t *prefs, MongoError *error)
{
	int64		deadline = bson_get_monotonic_time() + driver->selection_timeout_ms * INT64CONST(1000);
	bson_error_t reason;

	driver->server_host[0] = '\0';
	for (int try = 0;; try++)
	{
		mongoc_server_description_t *server = mongoc_client_select_server(driver->client, false, prefs, &reason);

		/* among several that fit, the choice is by chance */
		if (server != NULL && try < AVOID_TRIES &&
			strcmp(mongoc_server_description_host(server)->host_and_port, driver->avoid) == 0)
		{
			mongoc_server_description_destroy(server);
			continue;
		}
		if (server != NULL)
		{
			driver->server_id = mongoc_server_description_id(server);
			bson_strncpy(driver->server_host, mongoc_server_description_host(server)->host_and_port,
						 sizeof(driver->server_host));
			mongoc_server_description_destroy(server);
			driver->guard->complaint[0] = '\0';	/* of a member that is not needed */
			return true;
		}
		if (bson_get_monotonic_time() >= deadline || !any_server_known(driver->client) ||
			!mcs_guard_sleep(driver->guard, SELECTION_RETRY_MS))
			break;
	}
	report(driver, &reason, NULL, false, error);

	/* this client would not try again for some seconds; a new one does at once */
	mongoc_client_destroy(driver->client);
	driver->client = NULL;
	return false;
}

/* ---- commands ---- */

void
mcs_driver_discard_reply(DriverReply *reply)
{
	if (reply != NULL)
	{
		bson_free(reply->data);
		bson_free(reply);
	}
}

/* Runs a command on a server; a reply, or NULL with error filled.  session may be NULL. */
DriverReply *
mcs_driver_run(Driver *driver, mongoc_client_t *client, const mongoc_client_session_t *session, uint32 server_id,
			   const char *database, const bson_t *command, const mongoc_read_prefs_t *prefs, bool at_open,
			   MongoError *error)
{
	bson_t		opts = BSON_INITIALIZER;
	bson_t		body;
	bson_error_t reason;
	DriverReply *reply = NULL;
	int64		asked_at = bson_get_monotonic_time();

	driver->guard->complaint[0] = '\0';
	if (session != NULL && !mongoc_client_session_append(session, &opts, &reason))
	{
		report(driver, &reason, NULL, at_open, error);
		bson_destroy(&opts);
		return NULL;
	}
	BSON_APPEND_INT32(&opts, "serverId", server_id);
	if (driver->guard->alive != NULL)
	{
		/* not a question that is asked because another waits */
		driver->guard->silence_s = 0;
		driver->missed = false;
		driver->silent_ms = 0;
	}
	if (mongoc_client_command_with_opts(client, database, command, prefs, &opts, &body, &reason))
	{
		reply = bson_malloc0(sizeof(DriverReply));
		reply->data = bson_destroy_with_steal(&body, true, &reply->size);
		reply->opened = at_open;
		reply->asked_at = asked_at;
		reply->came_at = bson_get_monotonic_time();
		if (reply->data == NULL)
		{
			/* the driver takes a body that it can't read for a success, and leaves nothing of it */
			mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, "the server's reply is not a BSON document");
			error->at_open = at_open;
			mcs_driver_discard_reply(reply);
			reply = NULL;
		}
	}
	else
	{
		report(driver, &reason, &body, at_open, error);
		bson_destroy(&body);
	}
	bson_destroy(&opts);
	return reply;
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
		if (!make_client(driver, error) || !select_server(driver, NULL, error))
			break;
		driver->guard->patience_ms = driver->patience_ms;
		reply = mcs_driver_run(driver, driver->client, NULL, driver->server_id, request->database, &command, NULL, false, error);

		/* a server that is no longer primary has refused the command before doing anything */
		if (reply == NULL && error->code != MONGO_CODE_NOT_WRITABLE_PRIMARY && error->code != MONGO_CODE_NOT_PRIMARY_NO_SECONDARY_OK)
			break;
	}
	return reply;
}

/* ---- change streams ---- */

/* Notes what a reply says of the cursor. */
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
	driver->cut = false;
}

/* Starts the session of a cursor; servers without sessions do without. */
static void
start_session(Driver *driver)
{
	mongoc_session_opt_t *opts = mongoc_session_opts_new();
	bson_error_t ignored;

	/* a change stream reads what the majority has; to wait for anything more would be for nothing */
	mongoc_session_opts_set_causal_consistency(opts, false);
	driver->session = mongoc_client_start_session(driver->client, opts, &ignored);
	mongoc_session_opts_destroy(opts);
}

/* Opens a change stream; the reply to its aggregate. */
DriverReply *
mcs_driver_open(Driver *driver, const DriverRequest *request, MongoError *error)
{
	const ChangeStreamSpec *spec = &request->spec;
	const mongoc_read_prefs_t *prefs;
	DriverReply *reply = NULL;

	if (!make_client(driver, error))
		return NULL;
	prefs = mongoc_uri_get_read_prefs_t(driver->uri);
	if (!select_server(driver, prefs, error))
	{
		error->at_open = true;
		return NULL;
	}
	start_session(driver);
	driver->cursor_server = driver->server_id;
	driver->cursor_database = bson_strdup(request->database);
	driver->cursor_comment = spec->sole ? bson_strdup(spec->comment) : NULL;
	driver->batch_size = spec->batch_size;
	driver->max_await_ms = spec->max_await_ms;
	driver->guard->patience_ms = driver->patience_ms;

	while (reply == NULL)
	{
		bool		split = !spec->whole_events && (!driver->split_asked || driver->splits);
		bson_t		command = BSON_INITIALIZER;

		mcs_mongo_build_aggregate(&command, spec, split);
		reply = mcs_driver_run(driver, driver->client, driver->session, driver->cursor_server, request->database,
							   &command, prefs, true, error);
		bson_destroy(&command);
		if (reply != NULL)
		{
			if (!spec->whole_events)
			{
				driver->split_asked = true;
				driver->splits = split;
			}
		}
		else if (split && error->code == MONGO_CODE_UNKNOWN_PIPELINE_STAGE && strstr(error->message, MCS_SPLIT_STAGE) != NULL)
		{
			driver->split_asked = true;
			driver->splits = false;
		}
		else
			break;
	}
	if (reply != NULL && !read_cursor(driver, reply, error))
	{
		mcs_driver_discard_reply(reply);
		reply = NULL;
	}
	if (reply == NULL)
	{
		error->at_open = true;
		forget_cursor(driver);
		return NULL;
	}
	mcs_watch_begin(driver);
	mcs_watch_reply(driver, reply);
	return reply;
}

/* The next reply of the change stream. */
DriverReply *
mcs_driver_more(Driver *driver, MongoError *error)
{
	bson_t		command = BSON_INITIALIZER;
	DriverReply *reply;

	if (!mcs_watch_server(driver, error))
	{
		driver->garbled = true; /* what the client knows of the set is no longer true */
		driver->cut = error->sqlstate != ERRCODE_CANNOT_CONNECT_NOW;
		return NULL;
	}
	BSON_APPEND_INT64(&command, "getMore", driver->cursor_id);
	BSON_APPEND_UTF8(&command, "collection", driver->cursor_collection);
	if (driver->batch_size > 0)
		BSON_APPEND_INT32(&command, "batchSize", driver->batch_size);
	if (driver->max_await_ms > 0)
		BSON_APPEND_INT32(&command, "maxTimeMS", driver->max_await_ms);
	driver->guard->patience_ms = driver->patience_ms + driver->max_await_ms;
	driver->in_more = true;
	reply = mcs_driver_run(driver, driver->client, driver->session, driver->cursor_server, driver->cursor_database,
						   &command, mongoc_uri_get_read_prefs_t(driver->uri), false, error);
	driver->in_more = false;
	bson_destroy(&command);

	if (reply == NULL)
	{
		/* a server that refuses a getMore may keep the cursor; mcs_driver_kill_cursor is for that */
		if (error->code == MONGO_CODE_CURSOR_NOT_FOUND || error->code == MONGO_CODE_CURSOR_KILLED)
			forget_cursor(driver);
		driver->cut = error->code == 0;
	}
	else if (!read_cursor(driver, reply, error))
	{
		mcs_driver_discard_reply(reply);
		reply = NULL;
	}
	else
	{
		mcs_watch_reply(driver, reply);
		if (driver->cursor_id == 0)
			forget_cursor(driver);
	}
	if (reply == NULL && (driver->hurry || error->sqlstate == ERRCODE_PROTOCOL_VIOLATION))
		driver->garbled = true;
	return reply;
}

bool
mcs_driver_has_cursor(const Driver *driver)
{
	return driver->cursor_id != 0;
}

bool
mcs_driver_splits(const Driver *driver)
{
	return driver->splits;
}

/* The id of the cursor's server in another client; 0 where it does not answer. */
static uint32
find_cursor_server(Driver *driver, mongoc_client_t *client)
{
	bson_error_t ignored;
	mongoc_server_description_t **known;
	size_t		count;
	uint32		id = 0;

	mongoc_server_description_destroy(
		mongoc_client_select_server(client, false, mongoc_uri_get_read_prefs_t(driver->uri), &ignored));
	known = mongoc_client_get_server_descriptions(client, &count);
	for (size_t i = 0; i < count; i++)
		if (strcmp(mongoc_server_description_host(known[i])->host_and_port, driver->server_host) == 0)
			id = mongoc_server_description_id(known[i]);
	mongoc_server_descriptions_destroy_all(known, count);
	return id;
}

/*
 * Closes the server's cursor, as well as that can be done in the time that the
 * guard leaves.  Where a getMore was broken off its connection is lost, and the
 * server may not notice before the getMore's time is over; a fresh client tells
 * it, since a client that has lost its connection waits before it tries again.
 */
void
mcs_driver_kill_cursor(Driver *driver)
{
	if (driver->cursor_id != 0)
	{
		mongoc_client_t *fresh = driver->cut ? new_client(driver, driver->uri, NULL) : NULL;
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
		if (server_id != 0)
			mcs_driver_discard_reply(mcs_driver_run(driver, client, fresh != NULL ? NULL : driver->session, server_id,
											 driver->cursor_database, &command,
											 mongoc_uri_get_read_prefs_t(driver->uri), false, &ignored));
		bson_destroy(&command);
		if (fresh != NULL)
			mongoc_client_destroy(fresh);
	}
	forget_cursor(driver);
}

/* config and guard must outlive the driver. */
Driver *
mcs_driver_new(const DriverConfig *config, SocketGuard *guard)
{
	Driver	   *driver = bson_malloc0(sizeof(Driver));

	driver->config = config;
	driver->guard = guard;
	driver->silent_limit_ms = MCS_SILENT_LIMIT_MS;
	return driver;
}

/* Ends the session with the server, as well as the guard's time allows. */
void
mcs_driver_free(Driver *driver)
{
	forget_cursor(driver);
	if (driver->client != NULL)
		mongoc_client_destroy(driver->client);
	if (driver->uri != NULL)
		mongoc_uri_destroy(driver->uri);
	mcs_socket_context_free(&driver->socket);
	bson_free(driver);
}
