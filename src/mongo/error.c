/*
 * mongo/error.c
 *	  A failure of MongoDB or of its driver as PostgreSQL's error: its words, and
 *	  the hint that says what the user can do about it.  What a failure means is
 *	  found out in mongo/classify.c.
 */
#include "mongo/mongo_internal.h"

#include "utils/builtins.h"

#define MONGO_STANDALONE_HINT "Change streams need a replica set: start mongod with --replSet and run rs.initiate(); one member is enough."

/* "MongoDB's user x" where its name is known. */
static const char *
user_words(const MongoNames *names)
{
	return names->user[0] == '\0' ? "the MongoDB user" : psprintf("MongoDB's user %s", mcs_mongo_js_string(names->user));
}

/* The check that tells the rest. */
static const char *
check_command(const MongoNames *names)
{
	return names->server[0] == '\0' ? "SELECT * FROM check_mongo_server()"
		: psprintf("SELECT * FROM check_mongo_server(%s)", quote_literal_cstr(names->server_name));
}

/* A user that MongoDB does not take, by name, password or certificate. */
static const char *
password_hint(const MongoNames *names)
{
	if (names->server[0] == '\0')
		return "Check username, password and auth_source of the user mapping.";
	return psprintf("Check username, password, auth_source and auth_mechanism: %s", mcs_names_mapping_command(names));
}

/* No user, or one that lacks a role. */
static const char *
unauthorized_hint(const MongoError *error)
{
	const MongoNames *names = &error->names;
	const char *database = names->database;

	if (strstr(error->message, "requires authentication") != NULL)
	{
		if (names->has_username)
			return psprintf("MongoDB has dropped %s, who was connected; it may have been removed. If it is back: %s",
							user_words(names), mcs_names_mapping_command(names));
		return psprintf("MongoDB asks for a user: %s", names->server[0] == '\0' ? "CREATE USER MAPPING" : mcs_names_mapping_command(names));
	}
	/* of these databases a role to read them says nothing of what is followed */
	if (names->user[0] == '\0')
		return psprintf("%s tells which role %s lacks, and has the grantRolesToUser that gives it.", check_command(names), user_words(names));
	if (database[0] == '\0' ||
		strcmp(database, "admin") == 0 || strcmp(database, "config") == 0 || strcmp(database, "local") == 0)
		return psprintf("%s tells which role %s lacks.", check_command(names), user_words(names));
	return psprintf("db.getSiblingDB(%s).grantRolesToUser(%s, [{role: \"read\", db: %s}]); %s tells what a change stream needs.",
					mcs_mongo_js_string(names->user_database), mcs_mongo_js_string(names->user), mcs_mongo_js_string(database),
					check_command(names));
}

/* An image that a stream requires is missing. */
static const char *
image_hint(const MongoError *error)
{
	const char *dot = strchr(error->found, '.');
	const char *database = dot == NULL ? error->names.database : pnstrdup(error->found, dot - error->found);

	return psprintf("Let the collection keep images: db.getSiblingDB(%s).runCommand({collMod: %s, changeStreamPreAndPostImages: {enabled: true}}), or ask for them with whenAvailable instead of required.",
					mcs_mongo_js_string(database), dot == NULL ? "\"...\"" : mcs_mongo_js_string(dot + 1));
}

/* What the user can do about a server's answer, or NULL. */
static const char *
server_hint(const MongoError *error)
{
	switch (error->code)
	{
		case MONGO_CODE_USER_NOT_FOUND:
		case MONGO_CODE_AUTHENTICATION_FAILED:
		case MONGO_CODE_ATLAS_ERROR:
			return password_hint(&error->names);
		case MONGO_CODE_UNAUTHORIZED:
			return unauthorized_hint(error);
		case MONGO_CODE_NO_MATCHING_DOCUMENT:
			return image_hint(error);
		case MONGO_CODE_CAPPED_POSITION_LOST:
		case MONGO_CODE_INVALID_RESUME_TOKEN:
		case MONGO_CODE_CHANGE_STREAM_HISTORY_LOST:
			return "Start from a later point, such as 'earliest' or 'now', and make the oplog larger if this happens again: db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24}).";
		case MONGO_CODE_CHANGE_STREAM_FATAL_ERROR:
			return "The pipeline must leave _id, operationType, ns, clusterTime and documentKey as they are.";
		case MONGO_CODE_BSON_OBJECT_TOO_LARGE:
			return "Leave large fields out with a $project stage in pipeline, or use a MongoDB that has $changeStreamSplitLargeEvent (6.0.9 or later).";
		case MONGO_CODE_STREAM_NEEDS_REPLICA_SET:
			return MONGO_STANDALONE_HINT;
		default:
			return NULL;
	}
}

/* The command that sets another URI. */
static char *
uri_command(const MongoNames *names, const char *option)
{
	return psprintf("ALTER SERVER %s OPTIONS (SET uri 'mongodb://...%s%s');",
					names->server[0] == '\0' ? "..." : names->server, option[0] == '\0' ? "" : "/?", option);
}

/* What the user can do about what was found out beyond the driver's words; NULL where nothing was. */
static const char *
problem_hint(const MongoError *error)
{
	const MongoNames *names = &error->names;

	switch (error->problem)
	{
		case MONGO_PROBLEM_NONE:
			return NULL;
		case MONGO_PROBLEM_OTHER_SET:
			return psprintf("If that is the server that is meant: %s", uri_command(names, psprintf("replicaSet=%s", error->found)));
		case MONGO_PROBLEM_STANDALONE:
			return MONGO_STANDALONE_HINT;
		case MONGO_PROBLEM_NOT_INITIATED:
			return "Run rs.initiate() there; one member is enough.";
		case MONGO_PROBLEM_ROUTER:
			return psprintf("Leave replicaSet out: %s", uri_command(names, ""));
		case MONGO_PROBLEM_NO_TLS:
			return psprintf("If that server is without TLS, leave tls=true out or write tls=false: %s", uri_command(names, "tls=false"));
		case MONGO_PROBLEM_TLS_ONLY:
			return psprintf("If it is, %s", uri_command(names, "tls=true"));
	}
	return NULL;
}

/* The hint that mcs_mongo_raise would give, or NULL. */
const char *
mcs_mongo_hint(const MongoError *error)
{
	const char *hint;

	if (error->code != 0)
		return server_hint(error);

	/* no server answered: the most certain cause first */
	if (error->class == MONGO_ERROR_DRIVER_ENDED)
		return "Reconnect: this process may no longer reach MongoDB.";
	if (error->sqlstate == ERRCODE_PROTOCOL_VIOLATION)
		return "Check what the server's uri leads to: it does not behave as a MongoDB does.";
	hint = problem_hint(error);
	if (hint != NULL)
		return hint;
	if (error->unresolved[0] != '\0')
		return "Clients use the host names that the replica set announces: make them resolvable on the database server, by DNS or in /etc/hosts, or talk to the one member that the uri names by adding directConnection=true to it.";
	if (mcs_mongo_tls_refused(error->message))
		return "Check tlsCAFile, tlsCertificateKeyFile and the host names in the server's uri against the certificate of MongoDB.";
	if (error->class == MONGO_ERROR_AUTHENTICATION)
		return password_hint(&error->names);
	if (error->sqlstate == ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION)
		return psprintf("Check that MongoDB runs and that the server's uri leads to it: %s", uri_command(&error->names, ""));
	return NULL;
}

const char *
mcs_mongo_hint_for_all(const MongoError *error)
{
	MongoError	nameless = *error;

	nameless.names.user[0] = '\0';
	return mcs_mongo_hint(&nameless);
}

/* Raises error: "could not <action>", the message as DETAIL, a hint where the user can act. */
void
mcs_mongo_raise(const MongoError *error, const char *action)
{
	const char *hint = mcs_mongo_hint(error);

	/* PostgreSQL's own words for it, which programs know */
	if (error->class == MONGO_ERROR_DRIVER_ENDED && error->sqlstate == ERRCODE_OUT_OF_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed in MongoDB's driver, to %s.", action),
				 errhint("This session can no longer reach MongoDB; reconnect.")));

	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("could not %s", action),
			 error->code == 0
			 ? errdetail("%s.", error->message)
			 : error->code_name[0] == '\0'
			 ? errdetail("MongoDB error %d: %s.", error->code, error->message)
			 : errdetail("MongoDB error %d (%s): %s.", error->code, error->code_name, error->message),
			 hint == NULL ? 0 : errhint("%s", hint)));
	pg_unreachable();
}
