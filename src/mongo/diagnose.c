/*
 * mongo/diagnose.c
 *	  Why no server can be talked to, where the driver says only that there is
 *	  none: the server is of another replica set than the URI names, or of none, or
 *	  one of the sides speaks TLS and the other does not.  Runs in the driver's
 *	  thread.
 *
 * The driver forgets a server that does not fit the URI together with what it has
 * said.  So what each says of itself is looked at when it comes.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

/* A string of a reply; NULL where it is none. */
static const char *
find_string(const bson_t *document, const char *key)
{
	bson_iter_t iter;

	return bson_iter_init_find(&iter, document, key) && BSON_ITER_HOLDS_UTF8(&iter) ? bson_iter_utf8(&iter, NULL) : NULL;
}

/* What keeps a server that has said hello from being one of the set. */
static MongoProblem
problem_of(const bson_t *hello, const char *wanted)
{
	const char *set = find_string(hello, "setName");
	const char *message = find_string(hello, "msg");
	bson_iter_t iter;

	if (set != NULL)
		return strcmp(set, wanted) == 0 ? MONGO_PROBLEM_NONE : MONGO_PROBLEM_OTHER_SET;
	if (message != NULL && strcmp(message, "isdbgrid") == 0)
		return MONGO_PROBLEM_ROUTER;
	if (bson_iter_init_find(&iter, hello, "isreplicaset") && bson_iter_as_bool(&iter))
		return MONGO_PROBLEM_NOT_INITIATED;
	return MONGO_PROBLEM_STANDALONE;
}

/* A server has said hello. */
static void
note_hello(const mongoc_apm_server_heartbeat_succeeded_t *event)
{
	Driver	   *driver = mongoc_apm_server_heartbeat_succeeded_get_context(event);
	const bson_t *hello = mongoc_apm_server_heartbeat_succeeded_get_reply(event);
	const char *wanted = mongoc_uri_get_replica_set(driver->uri);
	MongoProblem problem = wanted == NULL ? MONGO_PROBLEM_NONE : problem_of(hello, wanted);

	/* of several hosts that of any: where one fits there is no failure to explain */
	if (problem == MONGO_PROBLEM_NONE)
		return;
	driver->problem = problem;
	bson_strncpy(driver->problem_host, mongoc_apm_server_heartbeat_succeeded_get_host(event)->host_and_port,
				 sizeof(driver->problem_host));
	bson_strncpy(driver->problem_set, problem == MONGO_PROBLEM_OTHER_SET ? find_string(hello, "setName") : "",
				 sizeof(driver->problem_set));
}

/* Lets a new client tell what servers say of themselves. */
void
mcs_diagnose_client(Driver *driver, mongoc_client_t *client)
{
	mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();

	driver->problem = MONGO_PROBLEM_NONE;
	mongoc_apm_set_server_heartbeat_succeeded_cb(callbacks, note_hello);
	(void) mongoc_client_set_apm_callbacks(client, callbacks, driver);
	mongoc_apm_callbacks_destroy(callbacks);
}

/* The problem that the driver's words tell of. */
static MongoProblem
problem_in(const Driver *driver, const char *message)
{
	if (strstr(message, "TLS handshake failed") != NULL)
		return mcs_mongo_tls_refused(message) ? MONGO_PROBLEM_NONE : MONGO_PROBLEM_NO_TLS;
	/* the driver's words, and those of its asynchronous part */
	if (!driver->socket.use_tls &&
		(strstr(message, "connection closed calling hello") != NULL || strstr(message, "Server closed connection") != NULL))
		return MONGO_PROBLEM_TLS_ONLY;
	return MONGO_PROBLEM_NONE;
}

/* Adds to a message what the driver does not know, or does not say; which problem that is. */
MongoProblem
mcs_diagnose(const Driver *driver, const bson_error_t *reason, char *message, size_t size)
{
	const char *wanted = driver->uri == NULL ? NULL : mongoc_uri_get_replica_set(driver->uri);
	MongoProblem problem = driver->problem;
	char	   *words = NULL;

	if (reason->domain != MONGOC_ERROR_SERVER_SELECTION)
		return MONGO_PROBLEM_NONE;
	if (problem == MONGO_PROBLEM_NONE || wanted == NULL)
		problem = problem_in(driver, message);
	switch (problem)
	{
		case MONGO_PROBLEM_NONE:
			break;
		case MONGO_PROBLEM_OTHER_SET:
			words = bson_strdup_printf("'%s' is of replica set \"%s\", while the URI names \"%s\"",
									   driver->problem_host, driver->problem_set, wanted);
			break;
		case MONGO_PROBLEM_STANDALONE:
			words = bson_strdup_printf("mongod runs standalone: '%s' is of no replica set, while the URI names \"%s\"",
									   driver->problem_host, wanted);
			break;
		case MONGO_PROBLEM_NOT_INITIATED:
			words = bson_strdup_printf("the replica set of '%s' is not set up yet", driver->problem_host);
			break;
		case MONGO_PROBLEM_ROUTER:
			words = bson_strdup_printf("'%s' is a mongos of a sharded cluster, while the URI names replica set \"%s\"",
									   driver->problem_host, wanted);
			break;
		case MONGO_PROBLEM_NO_TLS:
			words = bson_strdup("so does a server that speaks no TLS");
			break;
		case MONGO_PROBLEM_TLS_ONLY:
			words = bson_strdup("so does a server that wants TLS");
			break;
	}
	if (words != NULL)
	{
		size_t		length = strlen(message);

		/* the driver ends its sentence */
		while (length > 0 && message[length - 1] == '.')
			length--;
		bson_snprintf(message + length, size - length, "; %s", words);
		bson_free(words);
	}
	return problem;
}
