/*
 * mongo/classify.c
 *	  What a failure of MongoDB or of its driver means: SQLSTATE and class.  Runs in
 *	  the driver's thread.
 *
 * SQLSTATEs are chosen so that a program finds the standard one where there is
 * one:
 *
 *		08001	no connection could be made		08006	a connection was lost
 *		28P01	user or password are wrong		42501	the user lacks a privilege
 *		57P03	the server can't serve now		57014	time limit or killOp
 *		22023	MongoDB refuses an argument		0A000	this server can't do it
 *		54000	larger than BSON can be			53200	out of memory
 *		55000	the oplog or the images are gone; retrying without a change is vain
 *
 * and those with an evident twin (23505, 42P01 ...).  The rest is HV000, the
 * foreign data wrapper's own "error".
 *
 * Classes follow MongoDB's specification of resumable change stream errors:
 * whatever is not a server's answer is a network error and passes, a server's
 * answer passes if it carries the label ResumableChangeStreamError or a code of
 * the specification's list.  Servers that refuse us are a class of their own,
 * because that is mended by somebody elsewhere, without our noticing.  What is
 * known to be for good is CONFIGURATION or HISTORY_LOST.  REFUSED is for good
 * only where the request has never worked: a server that is restarted alone for
 * maintenance, or upgraded, says such things for a while.  NO_SNAPSHOT stops
 * nothing: it is of one find, as of one time.  And what is not
 * listed (a full disk, a bug, a server of tomorrow) is taken to pass.
 */
#include "mongo/mongo.h"

#define MCS_DRIVER_THREAD
#include "mongo/mongo_internal.h"

typedef struct ErrorCode
{
	int32		code;
	MongoErrorClass class;
	int			sqlstate;
} ErrorCode;

/* Answers of servers, by code; what is not listed is TRANSIENT and ERRCODE_FDW_ERROR. */
static const ErrorCode server_codes[] = {
	{MONGO_CODE_INTERNAL_ERROR, MONGO_ERROR_TRANSIENT, ERRCODE_FDW_ERROR},
	{MONGO_CODE_BAD_VALUE, MONGO_ERROR_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_HOST_UNREACHABLE, MONGO_ERROR_TRANSIENT, ERRCODE_CONNECTION_FAILURE},
	{MONGO_CODE_HOST_NOT_FOUND, MONGO_ERROR_TRANSIENT, ERRCODE_CONNECTION_FAILURE},
	{MONGO_CODE_FAILED_TO_PARSE, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_USER_NOT_FOUND, MONGO_ERROR_AUTHENTICATION, ERRCODE_INVALID_PASSWORD},
	{MONGO_CODE_UNAUTHORIZED, MONGO_ERROR_AUTHENTICATION, ERRCODE_INSUFFICIENT_PRIVILEGE},
	{MONGO_CODE_TYPE_MISMATCH, MONGO_ERROR_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_OVERFLOW, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_AUTHENTICATION_FAILED, MONGO_ERROR_AUTHENTICATION, ERRCODE_INVALID_PASSWORD},
	{MONGO_CODE_ILLEGAL_OPERATION, MONGO_ERROR_CONFIGURATION, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_LOCK_TIMEOUT, MONGO_ERROR_TRANSIENT, ERRCODE_LOCK_NOT_AVAILABLE},
	{MONGO_CODE_NAMESPACE_NOT_FOUND, MONGO_ERROR_REFUSED, ERRCODE_UNDEFINED_TABLE},
	{MONGO_CODE_CURSOR_NOT_FOUND, MONGO_ERROR_TRANSIENT, ERRCODE_INVALID_CURSOR_STATE},
	{MONGO_CODE_NO_MATCHING_DOCUMENT, MONGO_ERROR_CONFIGURATION, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_NAMESPACE_EXISTS, MONGO_ERROR_REFUSED, ERRCODE_DUPLICATE_TABLE},
	{MONGO_CODE_MAX_TIME_MS_EXPIRED, MONGO_ERROR_TRANSIENT, ERRCODE_QUERY_CANCELED},
	{MONGO_CODE_COMMAND_NOT_FOUND, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_STALE_SHARD_VERSION, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_INVALID_OPTIONS, MONGO_ERROR_REFUSED, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_INVALID_NAMESPACE, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_NETWORK_TIMEOUT, MONGO_ERROR_TRANSIENT, ERRCODE_CONNECTION_FAILURE},
	{MONGO_CODE_SHUTDOWN_IN_PROGRESS, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_WRITE_CONFLICT, MONGO_ERROR_TRANSIENT, ERRCODE_T_R_SERIALIZATION_FAILURE},
	{MONGO_CODE_COMMAND_NOT_SUPPORTED, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_DOCUMENT_VALIDATION_FAILURE, MONGO_ERROR_REFUSED, ERRCODE_CHECK_VIOLATION},
	{MONGO_CODE_NOT_A_REPLICA_SET, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_FAILED_TO_SATISFY_READ_PREFERENCE, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_READ_CONCERN_MAJORITY_NOT_AVAILABLE_YET, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_CAPPED_POSITION_LOST, MONGO_ERROR_HISTORY_LOST, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_READ_CONCERN_MAJORITY_NOT_ENABLED, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_STALE_EPOCH, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_COMMAND_NOT_SUPPORTED_ON_VIEW, MONGO_ERROR_CONFIGURATION, ERRCODE_WRONG_OBJECT_TYPE},
	{MONGO_CODE_INVALID_PIPELINE_OPERATOR, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_QUERY_PLAN_KILLED, MONGO_ERROR_TRANSIENT, ERRCODE_INVALID_CURSOR_STATE},
	{MONGO_CODE_PRIMARY_STEPPED_DOWN, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_NETWORK_INTERFACE_EXCEEDED_TIME_LIMIT, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_INVALID_UUID, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_RETRY_CHANGE_STREAM, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_CURSOR_KILLED, MONGO_ERROR_TRANSIENT, ERRCODE_INVALID_CURSOR_STATE},
	{MONGO_CODE_SNAPSHOT_TOO_OLD, MONGO_ERROR_NO_SNAPSHOT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_SNAPSHOT_UNAVAILABLE, MONGO_ERROR_NO_SNAPSHOT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_INVALID_RESUME_TOKEN, MONGO_ERROR_HISTORY_LOST, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_EXCEEDED_TIME_LIMIT, MONGO_ERROR_TRANSIENT, ERRCODE_QUERY_CANCELED},
	{MONGO_CODE_CHANGE_STREAM_FATAL_ERROR, MONGO_ERROR_CONFIGURATION, ERRCODE_INVALID_PARAMETER_VALUE},
	{MONGO_CODE_CHANGE_STREAM_HISTORY_LOST, MONGO_ERROR_HISTORY_LOST, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{MONGO_CODE_OBJECT_IS_BUSY, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_INTERNAL_TRANSACTION_NOT_SUPPORTED, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_REAUTHENTICATION_REQUIRED, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_ATLAS_ERROR, MONGO_ERROR_AUTHENTICATION, ERRCODE_INVALID_PASSWORD},
	{MONGO_CODE_SOCKET_EXCEPTION, MONGO_ERROR_TRANSIENT, ERRCODE_CONNECTION_FAILURE},
	{MONGO_CODE_NOT_WRITABLE_PRIMARY, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_BSON_OBJECT_TOO_LARGE, MONGO_ERROR_TOO_LARGE, ERRCODE_PROGRAM_LIMIT_EXCEEDED},
	{MONGO_CODE_DUPLICATE_KEY, MONGO_ERROR_REFUSED, ERRCODE_UNIQUE_VIOLATION},
	{MONGO_CODE_INTERRUPTED_AT_SHUTDOWN, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_INTERRUPTED, MONGO_ERROR_TRANSIENT, ERRCODE_QUERY_CANCELED},
	{MONGO_CODE_INTERRUPTED_DUE_TO_REPL_STATE_CHANGE, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_STALE_CONFIG, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_NOT_PRIMARY_NO_SECONDARY_OK, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_NOT_PRIMARY_OR_SECONDARY, MONGO_ERROR_TRANSIENT, ERRCODE_CANNOT_CONNECT_NOW},
	{MONGO_CODE_UNKNOWN_PIPELINE_STAGE, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_UNKNOWN_FIELD, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
	{MONGO_CODE_STREAM_NEEDS_REPLICA_SET, MONGO_ERROR_REFUSED, ERRCODE_FEATURE_NOT_SUPPORTED},
};

/* Copies words of unknown origin: valid UTF-8, cut at a character's end. */
void
mcs_mongo_copy_words(char *to, size_t size, const char *from)
{
	size_t		length = strlen(from);

	if (length >= size)
	{
		length = size - 1;
		while (length > 0 && ((unsigned char) from[length] & 0xC0) == 0x80)
			length--;
	}
	memcpy(to, from, length);
	to[length] = '\0';
	if (!bson_utf8_validate(to, length, false))
		for (char *c = to; *c; c++)
			if ((unsigned char) *c >= 0x80)
				*c = '?';
}

/* Keeps of which collection the event is that the server shows: event: {operationType: "update", ns: {db: "shop", coll: "orders"}, ... */
static void
keep_namespace(MongoError *error, const char *words)
{
	static const char begin[] = "db: \"";
	static const char middle[] = "\", coll: \"";
	const char *event = strstr(words, "event: {");
	const char *space = event == NULL ? NULL : strstr(event, "ns: {");
	const char *database = space == NULL ? NULL : strstr(space, begin);
	const char *collection = database == NULL ? NULL : strstr(database, middle);
	const char *end = collection == NULL ? NULL : strchr(collection + strlen(middle), '"');
	char	   *namespace;

	if (end == NULL)
		return;
	database += strlen(begin);
	namespace = bson_strdup_printf("%.*s.%.*s", (int) (collection - database), database,
								   (int) (end - collection - strlen(middle)), collection + strlen(middle));
	mcs_mongo_copy_words(error->found, sizeof(error->found), namespace);
	bson_free(namespace);
}

/* Takes documents out of the server's words: they say what the user stored. */
static void
strip_documents(MongoError *error)
{
	static const char command[] = " to execute command { ";
	char	   *place;

	/* not authorized on db to execute command { aggregate: "orders", ... */
	place = strstr(error->message, command);
	if (place != NULL)
	{
		/* only the command's name stays, without the brace */
		char	   *name = place + sizeof(command) - 3;
		size_t		length = strcspn(name + 2, ":");

		memmove(name, name + 2, length);
		name[length] = '\0';
		return;
	}

	/* ... was not found for event: { _id: ... */
	place = strstr(error->message, "event: {");
	if (place != NULL)
	{
		place[5] = '\0';
		return;
	}
}

/* Fills in a failure that is not the server's. */
void
mcs_mongo_error_set(MongoError *error, MongoErrorClass class, int sqlstate, const char *message)
{
	size_t		length;

	memset(error, 0, sizeof(*error));
	error->class = class;
	error->sqlstate = sqlstate;
	mcs_mongo_copy_words(error->message, sizeof(error->message), message);

	/* whoever shows it ends the sentence */
	length = strlen(error->message);
	while (length > 0 && (error->message[length - 1] == '.' || error->message[length - 1] == ' '))
		error->message[--length] = '\0';
}

/* Whether the array of labels at iter has one. */
static bool
holds_label(const bson_iter_t *iter, const char *label)
{
	bson_iter_t labels;

	if (!BSON_ITER_HOLDS_ARRAY(iter) || !bson_iter_recurse(iter, &labels))
		return false;
	while (bson_iter_next(&labels))
		if (BSON_ITER_HOLDS_UTF8(&labels) && strcmp(bson_iter_utf8(&labels, NULL), label) == 0)
			return true;
	return false;
}

/*
 * Whether a reply carries a label of its error.  mongoc_error_has_label() aborts
 * where writeConcernError is no document.
 */
static bool
has_label(const bson_t *reply, const char *label)
{
	bson_iter_t iter;
	bson_iter_t child;

	return (bson_iter_init_find(&iter, reply, "errorLabels") && holds_label(&iter, label)) ||
		(bson_iter_init_find(&iter, reply, "writeConcernError") && BSON_ITER_HOLDS_DOCUMENT(&iter) &&
		 bson_iter_recurse(&iter, &child) && bson_iter_find(&child, "errorLabels") && holds_label(&child, label));
}

/* Class and SQLSTATE of a server's answer. */
static void
classify_server(MongoError *error, const bson_t *reply)
{
	error->class = MONGO_ERROR_TRANSIENT;
	error->sqlstate = ERRCODE_FDW_ERROR;
	for (size_t i = 0; i < lengthof(server_codes); i++)
	{
		if (server_codes[i].code == error->code)
		{
			error->class = server_codes[i].class;
			error->sqlstate = server_codes[i].sqlstate;
			break;
		}
	}
	/* a time that this member has not heard of yet, as another has told it to us */
	if (error->code == MONGO_CODE_INVALID_OPTIONS && strstr(error->message, "greater than the current clusterTime") != NULL)
	{
		error->class = MONGO_ERROR_TRANSIENT;
		error->sqlstate = ERRCODE_CANNOT_CONNECT_NOW;
	}
	/* the server itself says that it is worth trying again */
	if ((error->class == MONGO_ERROR_CONFIGURATION || error->class == MONGO_ERROR_REFUSED) && reply != NULL &&
		(has_label(reply, "ResumableChangeStreamError") || has_label(reply, "RetryableError")))
	{
		error->class = MONGO_ERROR_TRANSIENT;
		error->sqlstate = ERRCODE_CANNOT_CONNECT_NOW;
	}
}

/* Whether the words tell of a TLS handshake that one of the sides refused. */
bool
mcs_mongo_tls_refused(const char *message)
{
	const char *place = strstr(message, "TLS handshake failed");

	return place != NULL &&
		(strstr(place, "certif") != NULL || strstr(place, "error:") != NULL || strstr(place, "OCSP") != NULL);
}

/* Class and SQLSTATE of a failure in the driver or on the way. */
static void
classify_driver(MongoError *error, uint32 domain, uint32 code)
{
	const char *message = error->message;

	/* the driver's domains and codes are coarse, so its words have to be looked at, too */
	error->class = MONGO_ERROR_TRANSIENT;
	error->sqlstate = ERRCODE_CONNECTION_FAILURE;

	if (strstr(message, "Failed to initialize TLS") != NULL)
	{
		error->class = MONGO_ERROR_CONFIGURATION;
		error->sqlstate = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	}
	else if (mcs_mongo_tls_refused(message))
	{
		error->class = MONGO_ERROR_AUTHENTICATION;
		error->sqlstate = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	}
	else if (code == MONGOC_ERROR_PROTOCOL_BAD_WIRE_VERSION)
	{
		error->class = MONGO_ERROR_CONFIGURATION;
		error->sqlstate = ERRCODE_FEATURE_NOT_SUPPORTED;
	}
	else if (domain == MONGOC_ERROR_SCRAM || domain == MONGOC_ERROR_SASL ||
			 (domain == MONGOC_ERROR_CLIENT && code == MONGOC_ERROR_CLIENT_AUTHENTICATE))
	{
		/* the driver calls a connection lost amid authentication by the same name */
		if (strstr(message, "socket error or timeout") == NULL &&
			strstr(message, "Failure during socket") == NULL)
		{
			error->class = MONGO_ERROR_AUTHENTICATION;
			error->sqlstate = ERRCODE_INVALID_PASSWORD;
		}
	}
	else if (domain == MONGOC_ERROR_SERVER_SELECTION ||
			 (domain == MONGOC_ERROR_STREAM && code != MONGOC_ERROR_STREAM_SOCKET))
		error->sqlstate = ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION;
	else if (domain == MONGOC_ERROR_PROTOCOL)
		error->sqlstate = ERRCODE_PROTOCOL_VIOLATION;
	else if (domain == MONGOC_ERROR_COMMAND || domain == MONGOC_ERROR_BSON ||
			 domain == MONGOC_ERROR_NAMESPACE)
	{
		error->class = MONGO_ERROR_CONFIGURATION;
		error->sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
	}
}

/* Fills in what the driver reported; reply is the server's answer or NULL. */
void
mcs_mongo_error_from_driver(MongoError *error, uint32 domain, uint32 code, const char *message,
					  const bson_t *reply, bool at_open)
{
	bson_iter_t iter;

	mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_CONNECTION_FAILURE, message);
	error->at_open = at_open;
	if (domain == MONGOC_ERROR_SERVER || domain == MONGOC_ERROR_WRITE_CONCERN)
	{
		error->code = code;
		if (reply != NULL && bson_iter_init_find(&iter, reply, "codeName") && BSON_ITER_HOLDS_UTF8(&iter))
			mcs_mongo_copy_words(error->code_name, sizeof(error->code_name), bson_iter_utf8(&iter, NULL));
		classify_server(error, reply);
		/* what the driver has room for may end before it */
		if (error->code == MONGO_CODE_NO_MATCHING_DOCUMENT && reply != NULL &&
			bson_iter_init_find(&iter, reply, "errmsg") && BSON_ITER_HOLDS_UTF8(&iter))
			keep_namespace(error, bson_iter_utf8(&iter, NULL));
	}
	else
		classify_driver(error, domain, code);
	/* last, as classifying looks at the words */
	strip_documents(error);
}
