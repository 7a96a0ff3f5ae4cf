/*
 * mongo/find.c
 *	  The documents of a collection, by find: from an _id on, and as of a time.
 *
 * By _id.  Resuming must neither skip a document nor read again what was read, so
 * it goes by the place in the index on _id: hint and min, which know one order of
 * all types.  ({_id: {$gt: x}} finds only what is of x's type; $expr with $gt finds
 * all, but uses the index in 5.0 and later only.)  It is so for collections with a
 * collation, too, whose order of strings is not ours, and for clustered ones, which
 * have no such index and take the hint for themselves.  But where min is given and
 * max is not, an index is read to MaxKey without that: the one document whose
 * _id is MaxKey is asked for by a second find (cursor.c), unless it came, as it
 * does from a clustered collection.  Those of a collection without an index on
 * _id, which MongoDB no longer makes, can't be read so (BadValue).
 *
 * As of a time.  MongoDB 5.0 and later reads a collection as it was, as long as it
 * keeps its history (minSnapshotHistoryWindowInSeconds, 300), behind which it
 * says SnapshotTooOld, also in the middle of a cursor.  Any time will do that has
 * passed, with an ordinal of 0, too; one that the majority does not have yet is
 * waited for, and one that the server has not heard of is TRANSIENT.  It is the
 * documents that have a history, while until 7.0 collections have none themselves:
 *
 *		created since, or renamed to this name		SnapshotUnavailable, until that time
 *		dropped since, or renamed away				no documents, and no read_time
 *		capped										SnapshotUnavailable, for ever
 *
 * The second is no error, so whoever wants the documents of then has to look at
 * read_time.  New indexes and validators make no difference.  A cursor whose
 * collection is dropped or renamed fails as QueryPlanKilled, which is TRANSIENT: a
 * find from there on tells what is the matter.  Of a view all is read anew from the
 * collections below it, and min is refused (InvalidPipelineOperator).
 *
 * By many _ids, {_id: {$in: [...]}}, MongoDB goes to each; but in a clustered
 * collection it reads all from the smallest of them to the largest.
 *
 * Where no history can be read servers say so each in their own way:
 * NotAReplicaSet, InvalidOptions (up to 4.4), CommandNotSupported.
 */
#include "mongo/mongo_internal.h"

/* Appends {_id: value}, or {_id: 1} where there is no value. */
static void
append_id(DocumentBuilder *builder, const char *key, const DocumentValue *value)
{
	mcs_document_begin_object(builder, key);
	if (value != NULL)
		mcs_document_append_value(builder, "_id", value);
	else
		mcs_document_append_int32(builder, "_id", 1);
	mcs_document_end(builder);
}

/* Appends the condition, and that the _id is a value (NULL: any). */
static void
append_filter(DocumentBuilder *builder, const FindSpec *spec, const DocumentValue *id)
{
	if (spec->filter == NULL && id == NULL)
	{
		mcs_document_begin_object(builder, "filter");
		mcs_document_end(builder);
	}
	else if (spec->filter == NULL)
		append_id(builder, "filter", id);
	else if (id == NULL)
		mcs_document_append_document(builder, "filter", spec->filter);
	else
	{
		mcs_document_begin_object(builder, "filter");
		mcs_document_begin_array(builder, "$and");
		append_id(builder, NULL, id);
		mcs_document_append_document(builder, NULL, spec->filter);
		mcs_document_end(builder);
		mcs_document_end(builder);
	}
}

/* Appends as of when to read. */
static void
append_read_concern(DocumentBuilder *builder, const FindSpec *spec)
{
	mcs_document_begin_object(builder, "readConcern");
	mcs_document_append_string(builder, "level", spec->at_time != 0 ? "snapshot" : "majority");
	if (spec->at_time != 0)
		mcs_document_append_timestamp(builder, "atClusterTime", (uint32) (spec->at_time >> 32), (uint32) spec->at_time);
	else if (spec->after_time != 0)
		mcs_document_append_timestamp(builder, "afterClusterTime", (uint32) (spec->after_time >> 32), (uint32) spec->after_time);
	mcs_document_end(builder);
}

/* The command; id: only the document of that _id, wherever it stands. */
static Document *
build_find(const FindSpec *spec, const DocumentValue *id)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "find", spec->collection);
	append_filter(&builder, spec, id);
	if (spec->ids_only)
		append_id(&builder, "projection", NULL);
	if (spec->by_id && id == NULL)
	{
		append_id(&builder, "sort", NULL);
		append_id(&builder, "hint", NULL);
		if (spec->min != NULL)
		{
			DocumentValue min = mcs_document_value(spec->min);

			append_id(&builder, "min", &min);
		}
	}
	if (spec->limit > 0)
		mcs_document_append_int64(&builder, "limit", spec->limit);
	/* without it the first reply has a hundred documents, and only the next ones are full */
	mcs_document_append_int32(&builder, "batchSize", spec->batch_size > 0 ? spec->batch_size : PG_INT32_MAX);
	append_read_concern(&builder, spec);
	if (spec->comment != NULL)
		mcs_document_append_string(&builder, "comment", spec->comment);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* The same for the thread. */
static DriverRequest *
find_request(const FindSpec *spec, const DocumentValue *id)
{
	Document   *command = build_find(spec, id);
	DriverRequest *request;

	/* the database and the bytes are copied, all else that getMores need are numbers */
	request = mcs_session_request(spec->database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command));
	request->kind = REQUEST_FIND;
	request->spec.batch_size = spec->batch_size;
	request->spec.queue_bytes = spec->queue_bytes;
	pfree(command);
	return request;
}

/* Reads documents in the session's thread. */
MongoCursor *
mcs_find_open(MongoSession *session, const FindSpec *spec)
{
	const DocumentValue max_key = {.type = DOCUMENT_MAX_KEY, .data = (const uint8 *) "", .size = 0};
	bool		from_max_key = spec->min != NULL && DOCUMENT_TYPE(spec->min) == DOCUMENT_MAX_KEY;
	MongoCursor *cursor = mcs_cursor_make(session);

	/* an index that is read from MaxKey to MaxKey is an error */
	if (spec->min != NULL && !from_max_key)
	{
		cursor->rest = find_request(spec, &max_key);
		cursor->wanted = spec->limit > 0 ? spec->limit : PG_INT64_MAX;
	}
	mcs_cursor_begin(cursor, session, find_request(spec, from_max_key ? &max_key : NULL));
	return cursor;
}

/* Whether a failure says that MongoDB cannot read as of that time. */
bool
mcs_find_cannot_read_at(const MongoError *error)
{
	if (error->class == MONGO_ERROR_NO_SNAPSHOT)
		return true;
	/* who knows no such reads has a code of its own for that; whatever else is refused is so without a time, too */
	return error->code != 0 && error->at_open &&
		(error->class == MONGO_ERROR_REFUSED || error->class == MONGO_ERROR_CONFIGURATION);
}

/* Whether a word stands anywhere in a reply. */
static bool
has_word(const MongoReply *reply, const char *word)
{
	const uint8 *end = reply->data + reply->size;
	size_t		length = strlen(word);

	for (const uint8 *at = reply->data; (at = memchr(at, word[0], end - at)) != NULL; at++)
	{
		if ((size_t) (end - at) < length)
			break;
		if (memcmp(at, word, length) == 0)
			return true;
	}
	return false;
}

/* Whether a collection is clustered, which who may find can see by the plan. */
bool
mcs_find_is_clustered(MongoSession *session, const char *database, const char *collection, MongoError *error)
{
	DocumentBuilder builder;
	Document   *command;
	MongoReply *reply;
	bool		clustered;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "explain");
	mcs_document_append_string(&builder, "find", collection);
	mcs_document_begin_object(&builder, "filter");
	mcs_document_begin_object(&builder, "_id");
	mcs_document_begin_array(&builder, "$in");
	mcs_document_append_int32(&builder, NULL, 0);
	mcs_document_append_int32(&builder, NULL, 1);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_append_string(&builder, "verbosity", "queryPlanner");
	mcs_document_end(&builder);
	command = mcs_document_finish(&builder);
	memset(error, 0, sizeof(*error));
	reply = mcs_session_command(session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
								"ask how documents are found", error);
	pfree(command);
	if (reply == NULL)
		return false;
	/* wherever the plan stands in it, as that differs between versions, and between a mongod and a mongos */
	clustered = has_word(reply, "CLUSTERED_IXSCAN");
	mcs_session_free_reply(reply);
	return clustered;
}

/* How many documents a collection has, about: of no condition MongoDB counts none, but looks it up. */
int64
mcs_find_estimate(MongoSession *session, const char *database, const char *collection, MongoError *error)
{
	DocumentBuilder builder;
	Document   *command;
	MongoReply *reply;
	DocumentValue value;
	int64		count;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "count", collection);
	mcs_document_end(&builder);
	command = mcs_document_finish(&builder);
	reply = mcs_session_command(session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
								"count documents", error);
	pfree(command);
	if (reply == NULL)
		return -1;
	/* after an unclean shutdown it may be wrong, but not below 0 */
	if (!mcs_document_find(reply->data, reply->size, "n", &value) || !mcs_document_get_int64(&value, &count) || count < 0)
	{
		mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, "the server's reply holds no count");
		count = -1;
	}
	mcs_session_free_reply(reply);
	return count;
}
