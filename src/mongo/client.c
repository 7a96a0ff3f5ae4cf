/*
 * mongo/client.c
 *	  libmongoc's clients: how they are set up, which server is talked to, and a
 *	  single command.  Runs in the driver's thread.
 *
 * A client is the single-threaded one: libmongoc starts no thread of its own,
 * and looks at the members of the set only when one of ours asks.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

#define CONNECT_TIMEOUT_MS		10000
#define SELECTION_TIMEOUT_MS	10000
#define SELECTION_RETRY_MS		500 /* libmongoc looks at a set no more often */
#define PATIENCE_MS				5000	/* silence of a server, beyond what was asked of it, until it is looked at */
#define AVOID_TRIES				8	/* to get another member than the one to be avoided */
#define HURRY_MS				3000	/* for a set in which a member has just been silent */

/* ---- failures ---- */

/* Fills in what the driver reported, and what it did not know of it: why hosts were not tried, and silence. */
static void
report_plain(Driver *driver, const bson_error_t *reason, const bson_t *reply, bool at_open, MongoError *error)
{
	char		message[sizeof(error->message)];
	char		unresolved[sizeof(error->unresolved)];
	MongoProblem problem;

	/* a copy, as the explanation may be longer than a bson_error_t has room for */
	bson_strncpy(message, reason->message, sizeof(message));
	mcs_socket_explain(&driver->socket, message, sizeof(message), unresolved, sizeof(unresolved));
	problem = mcs_diagnose(driver, reason, message, sizeof(message));
	/* the driver only knows that a read failed, by a timeout that is ours */
	if (driver->guard->silence_s > 0 && reason->domain == MONGOC_ERROR_STREAM)
	{
		bson_snprintf(message, sizeof(message), "%s was silent for %d s, so the connection is taken for dead",
					  driver->server_host, driver->guard->silence_s);
		driver->hurry = true;
	}
	mcs_mongo_error_from_driver(error, reason->domain, reason->code, message, reply, at_open);
	bson_strncpy(error->unresolved, unresolved, sizeof(error->unresolved));
	error->problem = problem;
	if (problem == MONGO_PROBLEM_OTHER_SET)
		mcs_mongo_copy_words(error->found, sizeof(error->found), driver->problem_set);
}

/*
 * Fills in what the driver reported; reply is the server's answer or NULL.  Where
 * a reply was kept from the driver, that is why: it only saw a connection end.
 */
static void
report(Driver *driver, const bson_error_t *reason, const bson_t *reply, bool at_open, MongoError *error)
{
	char	   *complaint = driver->guard->complaint;
	char		words[COMPLAINT_SIZE + 64];

	if (complaint[0] == '\0')
	{
		report_plain(driver, reason, reply, at_open, error);
		return;
	}
	bson_snprintf(words, sizeof(words), "MongoDB's answer breaks its protocol: %s", complaint);
	mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, words);
	error->at_open = at_open;
	driver->renew = true;		/* frame.c has ended that connection */
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
mongoc_client_t *
mcs_client_new(Driver *driver, const mongoc_uri_t *uri, bson_error_t *error)
{
	mongoc_client_t *client = mongoc_client_new_from_uri_with_error(uri, error);

	if (client != NULL)
	{
		/* version 2: errors of servers have a domain of their own, so their codes can be told from the driver's */
		mongoc_client_set_error_api(client, 2);
		mongoc_client_set_stream_initiator(client, mcs_socket_initiate, &driver->socket);
	}
	return client;
}

/* A client of its own, whose connecting and replies take at most a time. */
mongoc_client_t *
mcs_client_probe(Driver *driver, int timeout_ms)
{
	mongoc_uri_t *uri = mongoc_uri_copy(driver->uri);
	mongoc_client_t *client;
	bson_error_t ignored;

	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, timeout_ms);
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, timeout_ms);
	/* another name than the URI's: what is asked for by that name must not find the one who asks */
	mongoc_uri_set_appname(uri, "mongo_change_stream looks");
	client = mcs_client_new(driver, uri, &ignored);
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
bool
mcs_client_set_uri(Driver *driver, MongoError *error)
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
	/* each option that the user has set stays */
	if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
		mongoc_uri_set_appname(uri, config->app_name);
	default_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_TIMEOUT_MS);
	default_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);
	driver->selection_timeout_ms =
		mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS);
	driver->connect_timeout_ms =
		mongoc_uri_get_option_as_int32(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_TIMEOUT_MS);
	driver->direct = is_direct(uri);

	/* a slow reply is not an error: the time becomes how long it is waited for before the server is looked at (monitor.c) */
	driver->patience_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PATIENCE_MS);
	if (driver->patience_ms <= 0)
		driver->patience_ms = PATIENCE_MS;
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, PG_INT32_MAX);

	/* takes out of the URI what can't be had, and points into it */
	mcs_socket_context_init(&driver->socket, uri, driver->guard);
	driver->uri = uri;

	/* the backend reads it while we run: so long the thread may be where it can't be woken */
	__atomic_store_n(&driver->guard->hang_ms,
					 Max(driver->selection_timeout_ms, driver->connect_timeout_ms) + HANG_MARGIN_MS, __ATOMIC_SEQ_CST);
	return true;
}

/* Makes the client that the thread works with, unless there is one. */
bool
mcs_client_make(Driver *driver, MongoError *error)
{
	bson_error_t reason;

	driver->guard->complaint[0] = '\0';
	if (driver->client != NULL)
		return true;
	if (driver->uri == NULL && !mcs_client_set_uri(driver, error))
		return false;

	/* a look at the set lasts until each member has answered, or has had its time */
	driver->socket.connect_timeout_ms =
		driver->hurry ? Min(driver->connect_timeout_ms, HURRY_MS) : driver->connect_timeout_ms;
	mongoc_uri_set_option_as_int32(driver->uri, MONGOC_URI_CONNECTTIMEOUTMS, driver->socket.connect_timeout_ms);
	driver->hurry = false;
	driver->client = mcs_client_new(driver, driver->uri, &reason);
	if (driver->client == NULL)
		report(driver, &reason, NULL, false, error);
	else
		mcs_diagnose_client(driver, driver->client);
	return driver->client != NULL;
}

/* Throws the client away with its connections; sessions that were begun in it must be gone. */
void
mcs_client_drop(Driver *driver)
{
	if (driver->client != NULL)
		mongoc_client_destroy(driver->client);
	driver->client = NULL;
}

/* ---- servers ---- */

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

/* The id that a client has for a host that it knows, or only for one that has answered it; else 0. */
uint32
mcs_client_find_host(mongoc_client_t *client, const char *host, bool answering)
{
	size_t		count;
	mongoc_server_description_t **known = mongoc_client_get_server_descriptions(client, &count);
	uint32		id = 0;

	for (size_t i = 0; i < count; i++)
		if (strcmp(mongoc_server_description_host(known[i])->host_and_port, host) == 0 &&
			(!answering || strcmp(mongoc_server_description_type(known[i]), "Unknown") != 0))
			id = mongoc_server_description_id(known[i]);
	mongoc_server_descriptions_destroy_all(known, count);
	return id;
}

/*
 * Chooses the server to talk to.  When nothing answers it fails after one look,
 * so that a wrong address is told at once; when members answer but none is fit,
 * as during an election, it waits for one.
 */
bool
mcs_client_select(Driver *driver, const mongoc_read_prefs_t *prefs, MongoError *error)
{
	int64		deadline = bson_get_monotonic_time() + driver->selection_timeout_ms * INT64CONST(1000);
	bson_error_t reason;

	driver->server_host[0] = '\0';
	for (int try = 0;; try++)
	{
		mongoc_server_description_t *server = mongoc_client_select_server(driver->client, false, prefs, &reason);

		/* among several that fit, the driver chooses by chance: so as to avoid one, choose again */
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
	mcs_client_drop(driver);
	return false;
}

/* ---- commands ---- */

/* Frees a reply, which may be NULL; may be called by the backend, as to free allocates nothing. */
void
mcs_client_discard_reply(DriverReply *reply)
{
	if (reply != NULL)
	{
		bson_free(reply->data);
		bson_free(reply);
	}
}

/* Runs a command on a server; a reply, or NULL with error filled.  session may be NULL. */
DriverReply *
mcs_client_run(Driver *driver, mongoc_client_t *client, const mongoc_client_session_t *session, uint32 server_id,
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
	/* without it the driver would choose a server itself, for a getMore perhaps another than the cursor's */
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
		/* the bytes cross the wall as they are; nobody copies them */
		reply->data = bson_destroy_with_steal(&body, true, &reply->size);
		reply->opened = at_open;
		reply->asked_at = asked_at;
		reply->came_at = bson_get_monotonic_time();
		if (reply->data == NULL)
		{
			/* the driver takes a body that it can't read for a success, and leaves nothing of it */
			mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, "the server's reply is not a BSON document");
			error->at_open = at_open;
			mcs_client_discard_reply(reply);
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
