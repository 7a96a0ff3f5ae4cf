/*
 * mongo_driver.c
 *	  What is asked of libmongoc.  All but the set-up at the end runs in the
 *	  driver's thread and reports by value.
 *
 * Commands are sent raw: libmongoc's own change stream object resumes in a loop
 * of its own that nothing can end, and builds the $changeStream stage itself.
 * Each cursor stays with the server that opened it (serverId) and has a session
 * of its own, whose lsid keeps it alive while nobody reads.
 *
 * The client is the single-threaded one: libmongoc starts no thread of its own,
 * and looks at the members of the set only when one of ours asks.
 */
#include "mongo_socket.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mongo_far_side.h"

#define CONNECT_TIMEOUT_MS		10000
#define SELECTION_TIMEOUT_MS	10000
#define SELECTION_RETRY_MS		500 /* libmongoc looks at a set no more often */
#define PATIENCE_MS				10000	/* silence of a server, beyond what was asked of it */
#define PROBE_TIMEOUT_MS		5000

#define SPLIT_STAGE				"$changeStreamSplitLargeEvent"

/* error codes of servers */
#define UNKNOWN_STAGE				40324
#define NOT_WRITABLE_PRIMARY		10107
#define NOT_PRIMARY_NO_SECONDARY_OK 13435

struct Driver
{
	const DriverConfig *config;
	SocketGuard *guard;
	SocketContext socket;
	mongoc_uri_t *uri;
	mongoc_client_t *client;	/* NULL until the first request */
	int			selection_timeout_ms;
	int			patience_ms;
	uint32		server_id;		/* selected last */
	char		server_host[BSON_HOST_NAME_MAX + 8];	/* the same, host:port */

	/* the change stream, if one is open */
	mongoc_client_session_t *session;	/* NULL where the server knows no sessions */
	int64		cursor_id;		/* 0: none */
	bool		cut;			/* the connection was lost during a getMore */
	uint32		cursor_server;
	char	   *cursor_database;
	char	   *cursor_collection;
	int			batch_size;
	int			max_await_ms;

	bool		split_asked;	/* whether splits is known */
	bool		splits;			/* the server has $changeStreamSplitLargeEvent */
};

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct
{
	bool		serious;
	char		message[256];
}			log_ring[16];
static int	log_first,
			log_count;

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

/* Whether a server that does not answer on its connection answers on a new one. */
static bool
server_alive(void *arg)
{
	Driver	   *driver = arg;
	SocketGuard *guard = driver->guard;
	mongoc_uri_t *uri = mongoc_uri_copy(driver->uri);
	mongoc_client_t *client;
	mongoc_read_prefs_t *nearest = mongoc_read_prefs_new(MONGOC_READ_NEAREST);
	mongoc_server_description_t *selected;
	bson_error_t ignored;
	bool		alive = false;

	guard->alive = NULL;		/* the probe itself has plain timeouts */
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, PROBE_TIMEOUT_MS);
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PROBE_TIMEOUT_MS);
	client = new_client(driver, uri, &ignored);
	if (client != NULL)
	{
		mongoc_server_description_t **known;
		size_t		count;

		selected = mongoc_client_select_server(client, false, nearest, &ignored);
		mongoc_server_description_destroy(selected);
		known = mongoc_client_get_server_descriptions(client, &count);
		for (size_t i = 0; i < count; i++)
			if (strcmp(mongoc_server_description_host(known[i])->host_and_port, driver->server_host) == 0 &&
				strcmp(mongoc_server_description_type(known[i]), "Unknown") != 0)
				alive = true;
		mongoc_server_descriptions_destroy_all(known, count);
		mongoc_client_destroy(client);
	}
	mongoc_read_prefs_destroy(nearest);
	mongoc_uri_destroy(uri);
	guard->alive = server_alive;
	return alive;
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
		mcs_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE, reason.message);
		return false;
	}
	if (!set_credentials(uri, config))
	{
		mongoc_uri_destroy(uri);
		mcs_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE,
					  "the driver does not accept the options of the user mapping");
		return false;
	}
	if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
		mongoc_uri_set_appname(uri, config->app_name);
	default_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_TIMEOUT_MS);
	default_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);
	driver->selection_timeout_ms =
		mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);

	/* a slow reply is not an error; see mongo_socket.c */
	driver->patience_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PATIENCE_MS);
	if (driver->patience_ms <= 0)
		driver->patience_ms = PATIENCE_MS;
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PG_INT32_MAX);

	mcs_socket_context_init(&driver->socket, uri, driver->guard);
	driver->uri = uri;
	driver->guard->alive_arg = driver;
	driver->guard->alive = server_alive;
	return true;
}

/* Makes the client that the thread works with, unless there is one. */
static bool
make_client(Driver *driver, MongoError *error)
{
	bson_error_t reason;

	if (driver->client != NULL)
		return true;
	if (driver->uri == NULL && !make_uri(driver, error))
		return false;
	driver->client = new_client(driver, driver->uri, &reason);
	if (driver->client == NULL)
		mcs_error_from_driver(error, reason.domain, reason.code, reason.message, NULL, false);
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
	for (;;)
	{
		mongoc_server_description_t *server = mongoc_client_select_server(driver->client, false, prefs, &reason);

		if (server != NULL)
		{
			driver->server_id = mongoc_server_description_id(server);
			bson_strncpy(driver->server_host, mongoc_server_description_host(server)->host_and_port,
						 sizeof(driver->server_host));
			mongoc_server_description_destroy(server);
			return true;
		}
		if (bson_get_monotonic_time() >= deadline || !any_server_known(driver->client) ||
			!mcs_guard_sleep(driver->guard, SELECTION_RETRY_MS))
			break;
	}
	mcs_error_from_driver(error, reason.domain, reason.code, reason.message, NULL, false);

	/* this client would not try again for some seconds; a new one does at once */
	mongoc_client_destroy(driver->client);
	driver->client = NULL;
	return false;
}

/* ---- commands ---- */

/* Runs a command on a server; a reply, or NULL with error filled.  session may be NULL. */
static DriverReply *
run(mongoc_client_t *client, const mongoc_client_session_t *session, uint32 server_id, const char *database,
	const bson_t *command, const mongoc_read_prefs_t *prefs, bool at_open, MongoError *error)
{
	bson_t		opts = BSON_INITIALIZER;
	bson_t		body;
	bson_error_t reason;
	DriverReply *reply = NULL;

	if (session != NULL && !mongoc_client_session_append(session, &opts, &reason))
	{
		mcs_error_from_driver(error, reason.domain, reason.code, reason.message, NULL, at_open);
		bson_destroy(&opts);
		return NULL;
	}
	BSON_APPEND_INT32(&opts, "serverId", server_id);
	if (mongoc_client_command_with_opts(client, database, command, prefs, &opts, &body, &reason))
	{
		reply = bson_malloc0(sizeof(DriverReply));
		reply->data = bson_destroy_with_steal(&body, true, &reply->size);
		reply->opened = at_open;
	}
	else
	{
		mcs_error_from_driver(error, reason.domain, reason.code, reason.message, &body, at_open);
		bson_destroy(&body);
	}
	bson_destroy(&opts);
	return reply;
}

void
mcs_reply_discard(DriverReply *reply)
{
	if (reply != NULL)
	{
		bson_free(reply->data);
		bson_free(reply);
	}
}

/* Runs a user's command, on the primary. */
DriverReply *
mcs_driver_command(Driver *driver, const DriverRequest *request, MongoError *error)
{
	bson_t		command;
	DriverReply *reply = NULL;

	if (!bson_init_static(&command, request->command, request->command_size))
	{
		mcs_error_set(error, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE,
					  "the command is not a BSON document");
		return NULL;
	}
	for (int try = 0; reply == NULL && try < 2; try++)
	{
		if (!make_client(driver, error) || !select_server(driver, NULL, error))
			break;
		driver->guard->patience_ms = driver->patience_ms;
		reply = run(driver->client, NULL, driver->server_id, request->database, &command, NULL, false, error);

		/* a server that is no longer primary has refused the command before doing anything */
		if (reply == NULL && error->code != NOT_WRITABLE_PRIMARY && error->code != NOT_PRIMARY_NO_SECONDARY_OK)
			break;
	}
	return reply;
}

/* ---- change streams ---- */

/* Appends {_data: token}. */
static void
append_token(bson_t *to, const char *key, const char *token)
{
	bson_t		child;

	BSON_APPEND_DOCUMENT_BEGIN(to, key, &child);
	BSON_APPEND_UTF8(&child, "_data", token);
	bson_append_document_end(to, &child);
}

/* Appends the $changeStream stage as element 0 of a pipeline. */
static void
append_change_stream(bson_t *pipeline, const ChangeStreamSpec *spec)
{
	bson_t		stage;
	bson_t		options;

	BSON_APPEND_DOCUMENT_BEGIN(pipeline, "0", &stage);
	BSON_APPEND_DOCUMENT_BEGIN(&stage, "$changeStream", &options);
	if (spec->full_document != NULL)
		BSON_APPEND_UTF8(&options, "fullDocument", spec->full_document);
	if (spec->full_document_before_change != NULL)
		BSON_APPEND_UTF8(&options, "fullDocumentBeforeChange", spec->full_document_before_change);
	if (spec->show_expanded_events)
		BSON_APPEND_BOOL(&options, "showExpandedEvents", true);
	if (spec->database == NULL)
		BSON_APPEND_BOOL(&options, "allChangesForCluster", true);
	switch (spec->start)
	{
		case CHANGE_STREAM_NOW:
			break;
		case CHANGE_STREAM_RESUME_AFTER:
			append_token(&options, "resumeAfter", spec->token);
			break;
		case CHANGE_STREAM_START_AFTER:
			append_token(&options, "startAfter", spec->token);
			break;
		case CHANGE_STREAM_AT_TIME:
			BSON_APPEND_TIMESTAMP(&options, "startAtOperationTime", (uint32) (spec->time >> 32), (uint32) spec->time);
			break;
	}
	bson_append_document_end(&stage, &options);
	bson_append_document_end(pipeline, &stage);
}

/* Builds the aggregate that opens a change stream. */
static void
build_aggregate(bson_t *command, const ChangeStreamSpec *spec, bool split)
{
	bson_t		pipeline;
	bson_t		child;
	bson_t		stages;
	bson_iter_t iter;
	const char *key;
	char		buffer[16];
	uint32		n = 1;

	if (spec->database == NULL || spec->collection == NULL)
		BSON_APPEND_INT32(command, "aggregate", 1);
	else
		BSON_APPEND_UTF8(command, "aggregate", spec->collection);
	BSON_APPEND_ARRAY_BEGIN(command, "pipeline", &pipeline);
	append_change_stream(&pipeline, spec);
	if (spec->stages != NULL && bson_init_static(&stages, spec->stages, spec->stages_size) &&
		bson_iter_init(&iter, &stages))
	{
		while (bson_iter_next(&iter))
		{
			bson_uint32_to_string(n++, &key, buffer, sizeof(buffer));
			bson_append_iter(&pipeline, key, -1, &iter);
		}
	}
	if (split)
	{
		bson_uint32_to_string(n++, &key, buffer, sizeof(buffer));
		BSON_APPEND_DOCUMENT_BEGIN(&pipeline, key, &child);
		BSON_APPEND_DOCUMENT(&child, SPLIT_STAGE, &(bson_t) BSON_INITIALIZER);
		bson_append_document_end(&pipeline, &child);
	}
	bson_append_array_end(command, &pipeline);

	/* no events with the reply: it comes at once, and what comes late comes from a getMore */
	BSON_APPEND_DOCUMENT_BEGIN(command, "cursor", &child);
	BSON_APPEND_INT32(&child, "batchSize", 0);
	bson_append_document_end(command, &child);
	if (spec->comment != NULL)
		BSON_APPEND_UTF8(command, "comment", spec->comment);
}

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
				const char *dot = strchr(bson_iter_utf8(&cursor, NULL), '.');

				if (dot != NULL)
					driver->cursor_collection = bson_strdup(dot + 1);
			}
		}
	}
	if (!found || driver->cursor_collection == NULL)
	{
		mcs_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION,
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
	driver->session = NULL;
	driver->cursor_database = NULL;
	driver->cursor_collection = NULL;
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
	driver->batch_size = spec->batch_size;
	driver->max_await_ms = spec->max_await_ms;
	driver->guard->patience_ms = driver->patience_ms;

	while (reply == NULL)
	{
		bool		split = !driver->split_asked || driver->splits;
		bson_t		command = BSON_INITIALIZER;

		build_aggregate(&command, spec, split);
		reply = run(driver->client, driver->session, driver->cursor_server, request->database, &command, prefs, true, error);
		bson_destroy(&command);
		if (reply != NULL)
		{
			driver->split_asked = true;
			driver->splits = split;
		}
		else if (split && error->code == UNKNOWN_STAGE && strstr(error->message, SPLIT_STAGE) != NULL)
		{
			driver->split_asked = true;
			driver->splits = false;
		}
		else
			break;
	}
	if (reply != NULL && !read_cursor(driver, reply, error))
	{
		mcs_reply_discard(reply);
		reply = NULL;
	}
	if (reply == NULL)
	{
		error->at_open = true;
		forget_cursor(driver);
	}
	return reply;
}

/* The next reply of the change stream. */
DriverReply *
mcs_driver_more(Driver *driver, MongoError *error)
{
	bson_t		command = BSON_INITIALIZER;
	DriverReply *reply;

	BSON_APPEND_INT64(&command, "getMore", driver->cursor_id);
	BSON_APPEND_UTF8(&command, "collection", driver->cursor_collection);
	if (driver->batch_size > 0)
		BSON_APPEND_INT32(&command, "batchSize", driver->batch_size);
	if (driver->max_await_ms > 0)
		BSON_APPEND_INT32(&command, "maxTimeMS", driver->max_await_ms);
	driver->guard->patience_ms = driver->patience_ms + driver->max_await_ms;
	reply = run(driver->client, driver->session, driver->cursor_server, driver->cursor_database, &command,
				mongoc_uri_get_read_prefs_t(driver->uri), false, error);
	bson_destroy(&command);

	if (reply == NULL)
	{
		/* a server that answers with an error has closed the cursor itself */
		if (error->code != 0)
			forget_cursor(driver);
		else
			driver->cut = true;
	}
	else if (!read_cursor(driver, reply, error))
	{
		mcs_reply_discard(reply);
		reply = NULL;
	}
	else if (driver->cursor_id == 0)
		forget_cursor(driver);
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
		bson_t		cursors;
		MongoError	ignored;

		BSON_APPEND_UTF8(&command, "killCursors", driver->cursor_collection);
		BSON_APPEND_ARRAY_BEGIN(&command, "cursors", &cursors);
		BSON_APPEND_INT64(&cursors, "0", driver->cursor_id);
		bson_append_array_end(&command, &cursors);
		driver->guard->patience_ms = driver->patience_ms;
		if (server_id != 0)
			mcs_reply_discard(run(client, fresh != NULL ? NULL : driver->session, server_id, driver->cursor_database,
								  &command, mongoc_uri_get_read_prefs_t(driver->uri), false, &ignored));
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
	bson_free(driver);
}

/* ---- set-up of the process ---- */

/*
 * libbson calls abort() when it gets no memory, which in a backend takes the
 * whole cluster down.  A driver's thread is parked instead.  Other libraries of
 * the process keep libbson's behaviour; so does our near side, which lets
 * libbson allocate nothing but the few bytes of a URI that it checks.
 */
static void *
checked(void *memory)
{
	if (unlikely(memory == NULL))
		mcs_thread_out_of_memory();
	return memory;
}

static void *
driver_malloc(size_t size)
{
	return checked(malloc(size));
}

static void *
driver_calloc(size_t count, size_t size)
{
	return checked(calloc(count, size));
}

static void *
driver_realloc(void *memory, size_t size)
{
	return checked(realloc(memory, size));
}

static void *
driver_aligned_alloc(size_t alignment, size_t size)
{
	return checked(aligned_alloc(alignment, size));
}

/* Keeps what libmongoc logs until the near side asks; what is too much is dropped. */
static void
log_message(mongoc_log_level_t level, const char *domain, const char *message, void *arg)
{
	if (level == MONGOC_LOG_LEVEL_TRACE)
		return;
	pthread_mutex_lock(&log_mutex);
	if (log_count < lengthof(log_ring))
	{
		int			place = (log_first + log_count++) % lengthof(log_ring);

		/* that a session could not be ended is no news after its connection was broken off */
		log_ring[place].serious = level <= MONGOC_LOG_LEVEL_WARNING && strstr(message, "endSessions") == NULL;
		bson_snprintf(log_ring[place].message, sizeof(log_ring[place].message), "%s: %s", domain, message);
		for (char *c = log_ring[place].message; *c; c++)
			if ((unsigned char) *c >= 0x80 || (unsigned char) *c < 0x20)
				*c = '?';
	}
	pthread_mutex_unlock(&log_mutex);
}

/* Takes the oldest message out of the log; false if there is none. */
bool
mcs_driver_log_take(bool *serious, char *message, Size size)
{
	bool		found;

	pthread_mutex_lock(&log_mutex);
	found = log_count > 0;
	if (found)
	{
		*serious = log_ring[log_first].serious;
		bson_strncpy(message, log_ring[log_first].message, size);
		log_first = (log_first + 1) % lengthof(log_ring);
		log_count--;
	}
	pthread_mutex_unlock(&log_mutex);
	return found;
}

/*
 * libmongoc keeps counters in a file of shared memory named after the process,
 * for a monitor that nobody here runs.  A process that is killed would leave
 * it behind, so its name goes at once; the mapping stays.
 */
static void
unlink_counters(void)
{
	char		name[32];

	bson_snprintf(name, sizeof(name), "/mongoc-%d", (int) getpid());
	(void) shm_unlink(name);
}

/* At load of the library: nothing of libmongoc has been used yet but its constructor. */
void
mcs_driver_load(void)
{
	static const bson_mem_vtable_t vtable = {
		.malloc = driver_malloc,
		.calloc = driver_calloc,
		.realloc = driver_realloc,
		.free = free,
		.aligned_alloc = driver_aligned_alloc,
	};

	bson_mem_set_vtable(&vtable);
	mongoc_log_set_handler(log_message, NULL);
	unlink_counters();
}

/* Before the first thread of a process: platform tells MongoDB's log what we are. */
void
mcs_driver_prepare(const char *platform)
{
	mongoc_init();				/* done already up to 1.30, up to us from 2.0 on */
	unlink_counters();
	(void) mongoc_handshake_data_append("mongo_change_stream", "1.0", platform);
}
