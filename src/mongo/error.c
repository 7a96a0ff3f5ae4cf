/*
 * mongo/error.c
 *	  A failure of MongoDB or of its driver as PostgreSQL's error: its words, and
 *	  the hint that says what the user can do about it.  What a failure means is
 *	  found out in mongo/classify.c.
 */
#include "mongo/mongo_internal.h"

/* What the user can do about a server's answer, or NULL. */
static const char *
server_hint(const MongoError *error)
{
	switch (error->code)
	{
		case MONGO_CODE_USER_NOT_FOUND:
		case MONGO_CODE_AUTHENTICATION_FAILED:
		case MONGO_CODE_ATLAS_ERROR:
			return "Check username, password and auth_source: ALTER USER MAPPING FOR role SERVER server OPTIONS (SET password '...').";
		case MONGO_CODE_UNAUTHORIZED:
			if (strstr(error->message, "requires authentication") != NULL)
				return "MongoDB asks for a user, or has dropped the one that was connected: CREATE or ALTER USER MAPPING FOR role SERVER server OPTIONS (username '...', password '...', auth_source 'admin').";
			return "Grant the MongoDB user what is missing, for example db.grantRolesToUser(\"user\", [{role: \"read\", db: \"database\"}]); SELECT * FROM check_mongo_server() tells what a change stream needs.";
		case MONGO_CODE_NO_MATCHING_DOCUMENT:
			return "Let the collection keep images: db.runCommand({collMod: \"collection\", changeStreamPreAndPostImages: {enabled: true}}), or ask for them with whenAvailable instead of required.";
		case MONGO_CODE_CAPPED_POSITION_LOST:
		case MONGO_CODE_INVALID_RESUME_TOKEN:
		case MONGO_CODE_CHANGE_STREAM_HISTORY_LOST:
			return "Start from a later point, such as 'earliest' or 'now', and make the oplog larger if this happens again: db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24}).";
		case MONGO_CODE_CHANGE_STREAM_FATAL_ERROR:
			return "The pipeline must leave _id, operationType, ns, clusterTime and documentKey as they are.";
		case MONGO_CODE_BSON_OBJECT_TOO_LARGE:
			return "Leave large fields out with a $project stage in pipeline, or use a MongoDB that has $changeStreamSplitLargeEvent (6.0.9 or later).";
		case MONGO_CODE_STREAM_NEEDS_REPLICA_SET:
			return "Change streams need a replica set: start mongod with --replSet and run rs.initiate(); one member is enough.";
		default:
			return NULL;
	}
}

/* The hint that mcs_mongo_raise would give, or NULL. */
const char *
mcs_mongo_hint(const MongoError *error)
{
	if (error->code != 0)
		return server_hint(error);

	/* no server answered: the most certain cause first */
	if (error->class == MONGO_ERROR_DRIVER_ENDED)
		return "Reconnect: this process may no longer reach MongoDB.";
	if (error->sqlstate == ERRCODE_PROTOCOL_VIOLATION)
		return "Check what the server's uri leads to: it does not behave as a MongoDB does.";
	if (error->unresolved[0] != '\0')
		return "Clients use the host names that the replica set announces: make them resolvable on the database server, by DNS or in /etc/hosts, or talk to the one member that the uri names by adding directConnection=true to it.";
	if (mcs_mongo_tls_refused(error->message))
		return "Check tlsCAFile, tlsCertificateKeyFile and the host names in the server's uri against the certificate of MongoDB.";
	if (error->class == MONGO_ERROR_AUTHENTICATION)
		return "Check username, password, auth_source and auth_mechanism of the user mapping: ALTER USER MAPPING FOR role SERVER server OPTIONS (SET password '...').";
	if (error->sqlstate == ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION)
		return "Check that MongoDB runs and that the server's uri leads to it: ALTER SERVER server OPTIONS (SET uri 'mongodb://...').";
	return NULL;
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
