/*
 * mongo/probe.c
 *	  Questions to MongoDB that are answered by trying: may this be watched, what
 *	  time is it there, how far back does the oplog reach.
 *
 * By trying, since to read roles, the oplog or the configuration takes privileges
 * that who may watch a collection need not have.
 */
#include "mongo/mongo.h"

#define HISTORY_PROBE_MS	500 /* a stream that has not failed by then reaches back to its start */
#define AGE_BITS			31	/* ages are below 2^31 seconds */
#define AGE_STEPS			10	/* halvings after the magnitude is known */

/* Waits for the next reply, whatever the latch says. */
static MongoCursorResult
next_reply(MongoCursor *cursor, long timeout_ms, MongoBatch *batch, MongoError *error)
{
	MongoCursorResult result;

	do
		result = mcs_cursor_next(cursor, timeout_ms, batch, error);
	while (result == MONGO_CURSOR_LATCH);
	return result;
}

/* Opens a change stream and ends it. */
bool
mcs_mongo_try_stream(MongoSession *session, const ChangeStreamSpec *spec,
					 char **token, uint64 *operation_time, bool *splits, MongoError *error)
{
	ChangeStreamSpec only = *spec;
	MongoCursor *cursor;
	MongoBatch	batch;
	bool		opened;

	/* no getMore: it would be broken off, and cost the connection */
	only.open_only = true;
	cursor = mcs_cursor_open(session, &only);
	opened = next_reply(cursor, -1, &batch, error) == MONGO_CURSOR_BATCH;
	if (opened)
	{
		if (token != NULL)
			*token = batch.token == NULL ? NULL : pstrdup(batch.token);
		if (operation_time != NULL)
			*operation_time = batch.operation_time;
		if (splits != NULL)
			*splits = mcs_cursor_splits(cursor);
		mcs_cursor_free_batch(&batch);
	}
	mcs_cursor_close(cursor);
	return opened;
}

/* ---- what time it is ---- */

/* Whether the URI's read preference is another than primary; the last one counts. */
bool
mcs_mongo_reads_elsewhere(const MongoTarget *target)
{
	static const char option[] = "readPreference=";
	const char *place = strchr(target->uri, '?');
	bool		elsewhere = false;

	/* names are never encoded (mongo/uri.c); primary in another spelling counts as another, which does no harm */
	for (; place != NULL; place = strchr(place, '&'))
	{
		place++;
		if (pg_strncasecmp(place, option, strlen(option)) == 0)
		{
			place += strlen(option);
			elsewhere = strcspn(place, "&") != strlen("primary") ||
				pg_strncasecmp(place, "primary", strlen("primary")) != 0;
		}
	}
	return elsewhere;
}

/* operationTime of the primary's reply to a ping; false with *error filled where there was none. */
static bool
ask_time(MongoSession *session, uint64 *time, const char *action, MongoError *error)
{
	Document   *command = mcs_document_in_text("{\"ping\": 1}");
	MongoReply *reply = mcs_session_command(session, "admin", DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
											action, error);

	if (reply == NULL)
		return false;
	*time = mcs_session_operation_time(reply);
	mcs_session_free_reply(reply);
	return true;
}

/* The primary's operationTime now. */
bool
mcs_mongo_primary_time(MongoSession *session, uint64 *time, MongoError *error)
{
	return ask_time(session, time, "ask the primary for its time", error);
}

/*
 * The same with a session of the cache.  Its connection may have been cut while
 * nobody used it, which shows only when it is used; so a second one is tried.
 */
uint64
mcs_mongo_time_now(const MongoTarget *target, const char *action)
{
	MongoError	error;
	uint64		time;

	if (ask_time(mcs_cache_session(target), &time, action, &error))
		return time;
	if (error.class != MONGO_ERROR_TRANSIENT)
		mcs_mongo_raise(&error, action);
	(void) ask_time(mcs_cache_session(target), &time, action, NULL);
	return time;
}

/* ---- how far back the oplog reaches ---- */

/* Reads the first entry of the oplog; false where that is not allowed or there is none to be seen. */
static bool
read_first_entry(MongoSession *session, uint64 *oldest, MongoError *error)
{
	Document   *command = mcs_document_in_text("{\"find\": \"oplog.rs\", \"sort\": {\"$natural\": 1}, \"limit\": 1, "
											   "\"singleBatch\": true, \"projection\": {\"ts\": 1}}");
	MongoReply *reply;
	DocumentValue value;
	uint32		seconds;
	uint32		ordinal;
	bool		found;

	/* $natural: the oplog is a capped collection, whose order is that of insertion */
	memset(error, 0, sizeof(*error));
	reply = mcs_session_command(session, "local", DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
								"read the oplog", error);
	if (reply == NULL)
		return false;
	found = mcs_session_reply_batch(reply, &value, NULL) &&
		mcs_document_find(value.data, value.size, "0", &value) && value.type == DOCUMENT_OBJECT &&
		mcs_document_find(value.data, value.size, "ts", &value) &&
		mcs_document_get_timestamp(&value, &seconds, &ordinal);
	if (found)
		*oldest = (uint64) seconds << 32 | ordinal;
	mcs_session_free_reply(reply);
	return found;
}

/* A number of a reply, whichever type it has. */
static bool
reply_number(const MongoReply *reply, const char *key, double *number)
{
	DocumentValue value;
	int64		whole;

	if (!mcs_document_find(reply->data, reply->size, key, &value))
		return false;
	if (mcs_document_get_int64(&value, &whole))
		*number = (double) whole;
	else if (value.type == DOCUMENT_DOUBLE)
		*number = mcs_document_read_double(value.data);
	else
		return false;
	return true;
}

/*
 * How much of the room that the oplog may take is taken, above 0 and up to 1; -1
 * where that may not be asked, or MongoDB did not tell in time.
 */
double
mcs_mongo_oplog_fill(MongoSession *session)
{
	Document   *command = mcs_document_in_text("{\"collStats\": \"oplog.rs\"}");
	MongoError	error;			/* not told: it is a question of ours, not of the user's */
	MongoReply *reply;
	double		size;
	double		most;
	double		fill = -1;

	reply = mcs_session_command(session, "local", DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
								"ask for the size of the oplog", &error);
	if (reply == NULL)
		return fill;
	if (reply_number(reply, "size", &size) && reply_number(reply, "maxSize", &most) && size > 0 && most > 0)
		fill = Min(size / most, 1);
	mcs_session_free_reply(reply);
	return fill;
}

/* What trying a time has shown. */
typedef enum Reach
{
	REACH_YES,
	REACH_NO,
	REACH_FAILED
} Reach;

/* Whether a change stream can start at a time: MongoDB tells with its first getMore. */
static Reach
reaches(MongoSession *session, ChangeStreamSpec *spec, uint64 time, MongoError *error)
{
	MongoCursor *cursor;
	MongoBatch	batch;
	MongoCursorResult result;
	Reach		reach = REACH_YES;

	spec->time = time;
	/* the aggregate succeeds in any case; the first getMore fails at once, or finds nothing or something */
	cursor = mcs_cursor_open(session, spec);
	result = next_reply(cursor, -1, &batch, error);
	if (result == MONGO_CURSOR_BATCH)
	{
		mcs_cursor_free_batch(&batch);
		result = next_reply(cursor, HISTORY_PROBE_MS, &batch, error);
		if (result == MONGO_CURSOR_BATCH)
			mcs_cursor_free_batch(&batch);
	}
	if (result == MONGO_CURSOR_FAILED)
		reach = error->class == MONGO_ERROR_HISTORY_LOST ? REACH_NO : REACH_FAILED;
	mcs_cursor_close(cursor);
	return reach;
}

/* Whether one can start some seconds before now. */
static Reach
reaches_age(MongoSession *session, ChangeStreamSpec *spec, uint64 now, int64 age, MongoError *error)
{
	int64		seconds = (int64) (now >> 32) - age;

	return reaches(session, spec, (uint64) Max(seconds, 1) << 32, error);
}

/* Finds the start of the oplog in 16 tries: whether it ever lost anything, its age's magnitude, its age. */
static bool
search_oldest(MongoSession *session, ChangeStreamSpec *spec, uint64 *oldest, MongoError *error)
{
	uint64		now;
	int			low_bit = 0;
	int			high_bit = AGE_BITS;
	int64		reached;
	int64		lost;
	Reach		reach;

	if (!mcs_mongo_try_stream(session, spec, NULL, &now, NULL, error))
		return false;

	/* second 1: reached only where the oplog still has its first entry */
	spec->start = CHANGE_STREAM_AT_TIME;
	reach = reaches(session, spec, UINT64CONST(1) << 32, error);
	if (reach != REACH_NO)
	{
		*oldest = 0;
		return reach == REACH_YES;
	}

	/* the magnitude of its age: by halving the exponent */
	while (high_bit - low_bit > 1)
	{
		int			bit = (low_bit + high_bit) / 2;

		reach = reaches_age(session, spec, now, INT64CONST(1) << bit, error);
		if (reach == REACH_FAILED)
			return false;
		if (reach == REACH_YES)
			low_bit = bit;
		else
			high_bit = bit;
	}

	/* and the age: by halving between two powers of two, to a thousandth */
	reached = low_bit == 0 ? 0 : INT64CONST(1) << low_bit;
	lost = INT64CONST(1) << high_bit;
	for (int i = 0; i < AGE_STEPS && lost - reached > 1; i++)
	{
		int64		age = (reached + lost) / 2;

		reach = reaches_age(session, spec, now, age, error);
		if (reach == REACH_FAILED)
			return false;
		if (reach == REACH_YES)
			reached = age;
		else
			lost = age;
	}
	*oldest = (uint64) ((int64) (now >> 32) - reached) << 32;
	return true;
}

/* A description of a stream that is opened only to see whether it can be. */
static ChangeStreamSpec
probe_spec(const char *database, const char *collection)
{
	ChangeStreamSpec spec = {0};

	spec.database = database;
	spec.collection = collection;
	spec.batch_size = 1;
	spec.max_await_ms = 1;
	spec.comment = "mongo_change_stream: how far back the oplog reaches";
	return spec;
}

/* Whether a change stream can still start at a time. */
bool
mcs_mongo_oplog_reaches(MongoSession *session, const char *database, const char *collection,
						uint64 time, MongoError *error)
{
	ChangeStreamSpec spec = probe_spec(database, collection);

	memset(error, 0, sizeof(*error));
	spec.start = CHANGE_STREAM_AT_TIME;
	return reaches(session, &spec, time, error) == REACH_YES;
}

/* The time of the oldest entry of the oplog; see mongo/mongo.h. */
bool
mcs_mongo_oplog_oldest(MongoSession *session, const char *database, const char *collection,
					   uint64 *oldest, MongoError *error)
{
	ChangeStreamSpec spec = probe_spec(database, collection);

	if (read_first_entry(session, oldest, error))
		return true;
	/* refused, or it showed nothing: by trying; who can't be reached at all would not answer that either */
	if (error->class == MONGO_ERROR_TRANSIENT || error->class == MONGO_ERROR_DRIVER_ENDED)
		return false;

	return search_oldest(session, &spec, oldest, error);
}

/*
 * Whether the oplog no longer holds anything of a time or before: by its first
 * entry, or where that may not be read by trying to start there.  False with
 * *error filled where MongoDB can't be asked.
 */
bool
mcs_mongo_history_begins_behind(MongoSession *session, const char *database, const char *collection,
								uint64 time, MongoError *error)
{
	ChangeStreamSpec spec = probe_spec(database, collection);
	uint64		oldest;

	if (read_first_entry(session, &oldest, error))
		return oldest > time;
	if (error->class == MONGO_ERROR_TRANSIENT || error->class == MONGO_ERROR_DRIVER_ENDED)
		return false;
	memset(error, 0, sizeof(*error));
	spec.start = CHANGE_STREAM_AT_TIME;
	return reaches(session, &spec, time, error) == REACH_NO;
}

/* ---- whether an event is still in the history ---- */

/* How long to look for it; MongoDB has it at hand if it is there. */
#define EVENT_PROBE_MS		10000

/* What the events of a reply say of one of a token's time and collection. */
static HistoryAnswer
look_for_event(const MongoBatch *batch, const char *token)
{
	DocumentIterator it;

	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		DocumentValue id;
		TokenParts	parts;
		StringInfoData text;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, "_id", &id) ||
			!mcs_token_parts(&id, &parts))
			return HISTORY_UNKNOWN;
		initStringInfo(&text);
		mcs_token_append(&text, &parts);
		/* any event of that time and collection: the token itself may have another form (mcs_token_same_event) */
		if (mcs_token_same_collection(text.data, token))
			return HISTORY_HAS;
		if (mcs_token_time(text.data) > mcs_token_time(token))
			return HISTORY_HAS_NOT;
		pfree(text.data);
	}
	/* at its end the history has passed the time without it */
	return batch->token && mcs_token_time(batch->token) > mcs_token_time(token) && !batch->opened ? HISTORY_HAS_NOT
		: HISTORY_UNKNOWN;
}

/*
 * Whether MongoDB's history has an event: a change stream that begins at its
 * time has to show one of that time and collection.
 */
HistoryAnswer
mcs_mongo_history_has(MongoSession *session, const char *database, const char *collection, const char *token,
					  MongoError *error)
{
	Document   *stages = mcs_document_in_text("[{\"$project\": {\"_id\": 1}}]");
	ChangeStreamSpec spec = probe_spec(database, collection);
	int64		until = mcs_session_clock() + EVENT_PROBE_MS * INT64CONST(1000);
	HistoryAnswer answer = HISTORY_UNKNOWN;
	MongoCursor *cursor;

	spec.start = CHANGE_STREAM_AT_TIME;
	spec.time = mcs_token_time(token);
	spec.stages = DOCUMENT_VALUE(stages);
	spec.stages_size = DOCUMENT_VALUE_SIZE(stages);
	spec.batch_size = 100;
	spec.max_await_ms = 100;
	spec.whole_events = true;
	spec.comment = "mongo_change_stream: whether the history is the same";
	memset(error, 0, sizeof(*error));
	cursor = mcs_cursor_open(session, &spec);
	while (answer == HISTORY_UNKNOWN)
	{
		int64		left = (until - mcs_session_clock()) / 1000;
		MongoBatch	batch;
		bool		closed;

		if (left <= 0 || next_reply(cursor, left, &batch, error) != MONGO_CURSOR_BATCH)
			break;
		answer = look_for_event(&batch, token);
		closed = batch.closed;
		mcs_cursor_free_batch(&batch);
		if (closed)
			break;
	}
	mcs_cursor_close(cursor);
	return answer;
}
