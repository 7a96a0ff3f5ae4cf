/*
 * mongo/check.c
 *	  What SQL function check_mongo_server asks of MongoDB: one row for each thing
 *	  that a change stream needs of it, with the command that brings it about where it
 *	  is missing.
 *
 * What may be watched is found out by trying, not by reading roles: that holds
 * for every version and for whatever gives the privilege.
 */
#include "mongo/mongo.h"

#include "base/base.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define OLDEST_MAJOR		4	/* MongoDB 4.2 */
#define OLDEST_MINOR		2
#define IMAGES_MAJOR		6	/* changeStreamPreAndPostImages */
#define WINDOW_WANTED_S		(24 * 3600)
#define CLOCK_LIMIT_MS		5000
#define NAMES_SHOWN			10
#define COLLECTIONS_TRIED	100

/* A check under way. */
typedef struct Check
{
	ReturnSetInfo *result;
	const MongoTarget *target;
	MongoSession *session;
	char	   *user;			/* JavaScript strings, quoted; as MongoDB knows us */
	char	   *user_database;
	int			major;			/* of the server's version */
	bool		refused;		/* MongoDB wants a user, and has got none */
	bool		may_watch_database;
	char	   *watched;		/* a collection that may be watched where the database may not */
	uint64		now;			/* the server's operationTime */
} Check;

/* Adds a row; hint may be NULL. */
void
mcs_mongo_check_row(ReturnSetInfo *result, const char *name, bool ok, const char *detail, const char *hint)
{
	Datum		values[4];
	bool		nulls[4] = {false};

	values[0] = CStringGetTextDatum(name);
	values[1] = BoolGetDatum(ok);
	values[2] = CStringGetTextDatum(detail);
	nulls[3] = hint == NULL;
	values[3] = hint == NULL ? (Datum) 0 : CStringGetTextDatum(hint);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
add_row(Check *check, const char *name, bool ok, const char *detail, const char *hint)
{
	mcs_mongo_check_row(check->result, name, ok, detail, hint);
}

/* A failure in one line. */
static char *
error_line(const MongoError *error)
{
	return error->code == 0 ? pstrdup(error->message)
		: psprintf("%s (%d %s)", error->message, error->code, error->code_name);
}

/* The command that gives our user a role or privilege. */
static char *
grant(const Check *check, const char *roles)
{
	return psprintf("db.getSiblingDB(%s).grantRolesToUser(%s, [%s])", check->user_database, check->user, roles);
}

/* Runs a command given as JSON; NULL with *error filled where it fails. */
static MongoReply *
run_json(Check *check, const char *database, const char *json, MongoError *error)
{
	Document   *command = mcs_document_in_text(json);

	return mcs_session_command(check->session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
							   "check the server", error);
}

/* A string field of an object, palloc'ed; NULL where there is none. */
static char *
find_string(const uint8 *object, uint32 size, const char *key)
{
	DocumentValue value;
	const char *string;
	uint32		length;

	if (!mcs_document_find(object, size, key, &value) || !mcs_document_get_string(&value, &string, &length))
		return NULL;
	return mcs_document_is_utf8(string, length) ? pnstrdup(string, length) : NULL;
}

/* ---- the single checks ---- */

/* Nobody for MongoDB: whether it lets us in like that, which it says at the first question that needs a right. */
static void
check_without_user(Check *check)
{
	MongoError	error = {0};
	MongoReply *reply = run_json(check, "admin", "{\"listDatabases\": 1, \"nameOnly\": true}", &error);

	check->refused = reply == NULL && error.code == MONGO_CODE_UNAUTHORIZED &&
		strstr(error.message, "requires authentication") != NULL;
	if (check->refused)
		add_row(check, "authentication", false, "MongoDB asks for a user, and there is none", mcs_mongo_hint(&error));
	else
		add_row(check, "authentication", true, "without a user", NULL);
	if (reply != NULL)
		mcs_session_free_reply(reply);
}

/* Who we are for MongoDB; later hints name that user. */
static void
check_authentication(Check *check)
{
	MongoError	error;
	MongoReply *reply = run_json(check, "admin", "{\"connectionStatus\": 1}", &error);
	DocumentValue value;
	char	   *user = NULL;
	char	   *database = NULL;

	/* placeholders, for hints that are given before we are anybody */
	check->user = "\"user\"";
	check->user_database = "\"admin\"";
	if (reply == NULL)
	{
		add_row(check, "authentication", false, error_line(&error), mcs_mongo_hint(&error));
		return;
	}
	/* the first user, by the key "0": arrays in BSON are documents whose keys are 0, 1, ... */
	if (mcs_document_find(reply->data, reply->size, "authInfo", &value) && value.type == DOCUMENT_OBJECT &&
		mcs_document_find(value.data, value.size, "authenticatedUsers", &value) && value.type == DOCUMENT_ARRAY &&
		mcs_document_find(value.data, value.size, "0", &value) && value.type == DOCUMENT_OBJECT)
	{
		user = find_string(value.data, value.size, "user");
		database = find_string(value.data, value.size, "db");
	}
	mcs_session_free_reply(reply);
	if (user != NULL && database != NULL)
	{
		check->user = mcs_mongo_js_string(user);
		check->user_database = mcs_mongo_js_string(database);
		add_row(check, "authentication", true, psprintf("user \"%s\" of database \"%s\"", user, database), NULL);
	}
	else
		check_without_user(check);
}

/* The server's version. */
static void
check_version(Check *check)
{
	MongoError	error;
	MongoReply *reply = run_json(check, "admin", "{\"buildInfo\": 1}", &error);
	char	   *version;
	int			minor = 0;
	bool		ok;

	if (reply == NULL)
	{
		add_row(check, "version", false, error_line(&error), mcs_mongo_hint(&error));
		return;
	}
	version = find_string(reply->data, reply->size, "version");
	mcs_session_free_reply(reply);
	/* "7.0.12"; development versions have more behind it */
	if (version == NULL || sscanf(version, "%d.%d", &check->major, &minor) < 1)
	{
		add_row(check, "version", false, "the server does not tell its version", NULL);
		return;
	}
	ok = check->major > OLDEST_MAJOR || (check->major == OLDEST_MAJOR && minor >= OLDEST_MINOR);
	add_row(check, "version", ok, psprintf("MongoDB %s", version), ok ? NULL : "MongoDB 4.2 or later is needed.");
}

/* Replica set or mongos: a single server keeps no oplog.  Also compares the clocks. */
static void
check_hello(Check *check, const MongoReply *hello, int64 our_ms)
{
	char	   *set = find_string(hello->data, hello->size, "setName");
	char	   *message = find_string(hello->data, hello->size, "msg");
	char	   *me = find_string(hello->data, hello->size, "me");
	DocumentValue value;

	/* how a mongos says that it is one */
	if (message != NULL && strcmp(message, "isdbgrid") == 0)
		add_row(check, "replica_set", true, "mongos of a sharded cluster", NULL);
	else if (set != NULL)
		add_row(check, "replica_set", true,
				psprintf("replica set \"%s\"%s%s", set, me == NULL ? "" : ", answered by ", me == NULL ? "" : me), NULL);
	else
		add_row(check, "replica_set", false, "a single server, which has no oplog",
				"Start mongod with --replSet rs0 and run rs.initiate(); one member is enough.");

	if (mcs_document_find(hello->data, hello->size, "localTime", &value) && value.type == DOCUMENT_DATE)
	{
		int64		ahead = mcs_document_read_int64(value.data) - our_ms;
		bool		ok = ahead < CLOCK_LIMIT_MS && ahead > -CLOCK_LIMIT_MS;

		add_row(check, "clock", ok,
				psprintf("MongoDB's clock is %.1f s %s", (ahead >= 0 ? ahead : -ahead) / 1000.0, ahead >= 0 ? "ahead" : "behind"),
				ok ? NULL : "Let both machines follow one clock (NTP); cluster_time and received_at can't be compared until then.");
	}
}

/* Fills in what trying to watch a database or collection takes. */
static ChangeStreamSpec
spec_for(const char *database, const char *collection)
{
	ChangeStreamSpec spec = {0};

	spec.database = database;
	spec.collection = collection;
	spec.comment = "mongo_change_stream: check_mongo_server";
	return spec;
}

/* Whether the whole deployment may be watched. */
static void
check_deployment(Check *check)
{
	ChangeStreamSpec spec = spec_for(NULL, NULL);
	MongoError	error;

	if (mcs_mongo_try_stream(check->session, &spec, NULL, &check->now, NULL, &error))
		add_row(check, "stream_of_deployment", true, "allowed", NULL);
	else if (error.class == MONGO_ERROR_AUTHENTICATION)
		add_row(check, "stream_of_deployment", false,
				psprintf("refused, which matters for database => '*' only: %s", error_line(&error)),
				psprintf("db.getSiblingDB(\"admin\").runCommand({createRole: \"watchAll\", privileges: "
						 "[{resource: {db: \"\", collection: \"\"}, actions: [\"find\", \"changeStream\"]}], roles: []}); %s",
						 grant(check, "{role: \"watchAll\", db: \"admin\"}")));
	else
		add_row(check, "stream_of_deployment", false, error_line(&error), mcs_mongo_hint(&error));
}

/* Names of the database's collections, from listCollections; NULL with *error filled. */
static List *
list_collections(Check *check, const char *extra, MongoReply **kept, MongoError *error)
{
	MongoReply *reply = run_json(check, check->target->database,
								 psprintf("{\"listCollections\": 1, \"cursor\": {\"batchSize\": 100000}%s}", extra), error);
	DocumentValue value;
	DocumentIterator it;
	List	   *found = NIL;

	*kept = reply;				/* what is found points into it */
	if (reply == NULL)
		return NIL;
	if (!mcs_session_reply_batch(reply, &value, NULL))
		return NIL;
	mcs_document_iterate(&it, value.data, value.size);
	while (mcs_document_next(&it))
	{
		char	   *type = it.value.type == DOCUMENT_OBJECT ? find_string(it.value.data, it.value.size, "type") : NULL;
		char	   *name = it.value.type == DOCUMENT_OBJECT ? find_string(it.value.data, it.value.size, "name") : NULL;

		/* views and time series have no change streams; system collections are hidden from them */
		if (name != NULL && (type == NULL || strcmp(type, "collection") == 0) && strncmp(name, "system.", 7) != 0)
		{
			DocumentValue *collection = palloc(sizeof(DocumentValue));

			*collection = it.value;
			found = lappend(found, collection);
		}
	}
	return found;
}

/* Adds a name to a list in words, up to a limit. */
static void
add_name(StringInfo names, int count, const char *name)
{
	if (count < NAMES_SHOWN)
		appendStringInfo(names, "%s%s", count > 0 ? ", " : "", name);
	else if (count == NAMES_SHOWN)
		appendStringInfoString(names, ", ...");
}

/* Which collections may be watched, where the database may not. */
static void
check_collections(Check *check)
{
	MongoError	error;
	MongoReply *reply;
	List	   *collections = list_collections(check, ", \"nameOnly\": true, \"authorizedCollections\": true", &reply, &error);
	StringInfoData allowed;
	StringInfoData refused;
	int			allowed_count = 0;
	int			refused_count = 0;
	ListCell   *cell;

	initStringInfo(&allowed);
	initStringInfo(&refused);
	foreach(cell, collections)
	{
		DocumentValue *collection = lfirst(cell);
		char	   *name = find_string(collection->data, collection->size, "name");
		ChangeStreamSpec spec = spec_for(check->target->database, name);

		/* each is a round trip */
		if (allowed_count + refused_count >= COLLECTIONS_TRIED)
			break;
		if (mcs_mongo_try_stream(check->session, &spec, NULL, &check->now, NULL, &error))
		{
			check->watched = name;
			add_name(&allowed, allowed_count++, name);
		}
		else
			add_name(&refused, refused_count++, name);
	}
	if (reply == NULL)
		add_row(check, "stream_of_collections", false, error_line(&error), mcs_mongo_hint(&error));
	else if (allowed_count + refused_count == 0)
		add_row(check, "stream_of_collections", false, "no collection may be read", NULL);
	else
		add_row(check, "stream_of_collections", refused_count == 0,
				psprintf("allowed: %s; refused: %s", allowed_count == 0 ? "none" : allowed.data,
						 refused_count == 0 ? "none" : refused.data),
				refused_count == 0 ? NULL :
				psprintf("db.getSiblingDB(\"admin\").runCommand({createRole: \"watchCollection\", privileges: "
						 "[{resource: {db: %s, collection: \"...\"}, actions: [\"find\", \"changeStream\"]}], roles: []}); %s",
						 mcs_mongo_js_string(check->target->database), grant(check, "{role: \"watchCollection\", db: \"admin\"}")));
	if (reply != NULL)
		mcs_session_free_reply(reply);
}

/* Whether the server's database may be watched; otherwise, which of its collections. */
static void
check_database(Check *check)
{
	const char *database = check->target->database;
	ChangeStreamSpec spec = spec_for(database, NULL);
	MongoError	error;
	bool		splits;

	/* by opening a change stream; how it is refused says what to do */
	check->may_watch_database = mcs_mongo_try_stream(check->session, &spec, NULL, &check->now, &splits, &error);
	if (check->may_watch_database)
	{
		add_row(check, "stream_of_database", true, psprintf("allowed on \"%s\"", database), NULL);
		add_row(check, "large_events", splits, splits ? "split into fragments" : "events over 16 MB can't be read whole",
				splits ? NULL : "MongoDB 6.0.9 or later has $changeStreamSplitLargeEvent.");
		return;
	}
	if (error.class != MONGO_ERROR_AUTHENTICATION)
	{
		add_row(check, "stream_of_database", false, error_line(&error), mcs_mongo_hint(&error));
		return;
	}
	add_row(check, "stream_of_database", false,
			psprintf("refused on \"%s\": %s", database, error_line(&error)),
			grant(check, psprintf("{role: \"read\", db: %s}", mcs_mongo_js_string(database))));
	check_collections(check);
}

/* Which collections keep the images that full_document 'required' and before-images need. */
static void
check_images(Check *check)
{
	MongoError	error;
	MongoReply *reply;
	List	   *collections;
	StringInfoData missing;
	char	   *first = NULL;
	int			missing_count = 0;
	ListCell   *cell;

	/* no images in any collection: it need not be asked for them */
	if (check->major > 0 && check->major < IMAGES_MAJOR)
	{
		add_row(check, "images", false, "this MongoDB keeps no images of documents",
				"MongoDB 6.0 or later does; until then full_document 'updateLookup' reads the document as it is then.");
		return;
	}
	collections = list_collections(check, "", &reply, &error);
	if (reply == NULL)
	{
		add_row(check, "images", false, error_line(&error),
				grant(check, psprintf("{role: \"read\", db: %s}", mcs_mongo_js_string(check->target->database))));
		return;
	}
	initStringInfo(&missing);
	foreach(cell, collections)
	{
		DocumentValue *collection = lfirst(cell);
		DocumentValue value;
		bool		enabled = false;

		if (!(mcs_document_find(collection->data, collection->size, "options", &value) && value.type == DOCUMENT_OBJECT &&
			  mcs_document_find(value.data, value.size, "changeStreamPreAndPostImages", &value) && value.type == DOCUMENT_OBJECT &&
			  mcs_document_find(value.data, value.size, "enabled", &value) && mcs_document_get_bool(&value, &enabled) && enabled))
		{
			char	   *name = find_string(collection->data, collection->size, "name");

			if (first == NULL)
				first = name;
			add_name(&missing, missing_count++, name);
		}
	}
	if (missing_count == 0)
		add_row(check, "images", true, psprintf("kept by all %d collections", list_length(collections)), NULL);
	else
		add_row(check, "images", false,
				psprintf("not kept by %d of %d collections: %s", missing_count, list_length(collections), missing.data),
				psprintf("db.getSiblingDB(%s).runCommand({collMod: %s, changeStreamPreAndPostImages: {enabled: true}})",
						 mcs_mongo_js_string(check->target->database), mcs_mongo_js_string(first)));
	mcs_session_free_reply(reply);
}

/* A span of seconds in words. */
static char *
span(int64 seconds)
{
	if (seconds < 2 * 3600)
		return psprintf(INT64_FORMAT " minutes", seconds / 60);
	if (seconds < 72 * 3600)
		return psprintf(INT64_FORMAT " hours", seconds / 3600);
	return psprintf(INT64_FORMAT " days", seconds / (24 * 3600));
}

/* How long a stream may be away before its place is lost. */
static void
check_oplog(Check *check)
{
	const char *database = check->may_watch_database || check->watched != NULL ? check->target->database : NULL;
	MongoError	error;
	uint64		oldest;
	int64		window;
	bool		ok;
	bool		young = false;

	if (!mcs_mongo_oplog_oldest(check->session, database, check->watched, &oldest, &error))
	{
		add_row(check, "oplog_window", false, error_line(&error),
				grant(check, "{role: \"clusterMonitor\", db: \"admin\"}"));
		return;
	}
	/* see mcs_mongo_oplog_oldest */
	if (oldest == 0)
	{
		add_row(check, "oplog_window", true, "all since the server was set up", NULL);
		return;
	}
	/* seconds between its first entry and now */
	window = Max((int64) (check->now >> 32) - (int64) (oldest >> 32), 0);
	/* a young server has a short oplog that has lost nothing yet */
	if (window < WINDOW_WANTED_S)
		young = mcs_mongo_oplog_reaches(check->session, database, check->watched, UINT64CONST(1) << 32, &error);
	if (young)
	{
		add_row(check, "oplog_window", true, psprintf("%s, all since the server was set up", span(window)), NULL);
		return;
	}
	/* what MongoDB could not answer now is not that something is lost */
	if (window < WINDOW_WANTED_S && error.class != MONGO_ERROR_HISTORY_LOST)
	{
		add_row(check, "oplog_window", false, psprintf("%s; whether that is all since the server was set up is not known: %s",
													   span(window), error_line(&error)), NULL);
		return;
	}
	ok = window >= WINDOW_WANTED_S;
	add_row(check, "oplog_window", ok, psprintf("%s: a stream that is away longer loses its place", span(window)),
			ok ? NULL : "db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24})");
}

void
mcs_mongo_check(ReturnSetInfo *result, const MongoTarget *target)
{
	Check		check = {.result = result,.target = target};
	MongoError	error;
	MongoReply *hello;
	int64		before;
	int64		after;

	/* a session of its own: how MongoDB receives a new connection is what is asked */
	check.session = mcs_session_open(check.target, "check_mongo_server");

	/* where it returns without closing the session, that ends with its memory context, as after an error */
	hello = run_json(&check, "admin", "{\"hello\": 1}", &error);
	if (hello == NULL)
	{
		bool		refused = error.sqlstate == ERRCODE_INVALID_PASSWORD;

		/* MongoDB answers, but does not know us */
		if (refused)
			add_row(&check, "connection", true, "the server answers", NULL);
		add_row(&check, refused ? "authentication" : "connection", false, error_line(&error), mcs_mongo_hint(&error));
		return;
	}
	mcs_session_free_reply(hello);

	/* again, on a connection that stands, to compare the clocks */
	before = GetCurrentTimestamp();
	hello = run_json(&check, "admin", "{\"hello\": 1}", &error);
	after = GetCurrentTimestamp();
	add_row(&check, "connection", hello != NULL, hello != NULL ? "the server answers" : error_line(&error), NULL);
	if (hello == NULL)
		return;
	check.now = mcs_session_operation_time(hello);

	/* in this order: what a check has found out is used by those that follow */
	check_authentication(&check);
	check_version(&check);
	/* MongoDB looked at its clock about half way between our two looks */
	check_hello(&check, hello,
				((before + after) / 2) / 1000 + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * INT64CONST(86400000));
	mcs_session_free_reply(hello);
	/* who is nobody may do nothing; that is said already */
	if (check.refused)
	{
		mcs_session_close(check.session);
		return;
	}
	check_deployment(&check);
	if (check.target->database != NULL)
	{
		check_database(&check);
		check_images(&check);
	}
	check_oplog(&check);
	mcs_session_close(check.session);
}
