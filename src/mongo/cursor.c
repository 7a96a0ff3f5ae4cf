/*
 * mongo/cursor.c
 *	  A change stream as PostgreSQL's side sees it: opened, read reply by reply,
 *	  ended.  What is asked of MongoDB is in mongo/driver.c.
 */
#include "mongo/session.h"

#include "utils/memutils.h"

struct MongoCursor
{
	MemoryContext context;		/* the cursor's own */
	MemoryContextCallback callback;
	MongoSession *session;		/* NULL when that went first */
	bool		finished;		/* failed, or the server closed it */
};

/* Ends the thread's part, when the cursor is closed or its memory goes. */
static void
cursor_callback(void *arg)
{
	MongoCursor *cursor = arg;
	MongoSession *session = cursor->session;

	if (session == NULL)
		return;
	session->cursor = NULL;
	if (session->thread != NULL)
		mcs_thread_end_cursor(session->thread);
}

/* Puts a string into the block behind a request. */
static const char *
put_string(char **place, const char *string)
{
	char	   *copy = *place;
	Size		size;

	if (string == NULL)
		return NULL;
	size = strlen(string) + 1;
	memcpy(copy, string, size);
	*place += size;
	return copy;
}

static Size
string_size(const char *string)
{
	return string == NULL ? 0 : strlen(string) + 1;
}

/* A change stream's description for the thread, in one block. */
static DriverRequest *
change_stream_request(const ChangeStreamSpec *spec)
{
	const char *database = spec->database == NULL ? "admin" : spec->database;
	Size		size = sizeof(DriverRequest);
	DriverRequest *request;
	char	   *place;

	size += string_size(database) + string_size(spec->database) + string_size(spec->collection) +
		string_size(spec->full_document) + string_size(spec->full_document_before_change) +
		string_size(spec->token) + string_size(spec->comment) + spec->stages_size;
	request = calloc(1, size);
	if (request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	place = (char *) (request + 1);
	request->spec = *spec;
	if (spec->stages != NULL)
	{
		memcpy(place, spec->stages, spec->stages_size);
		request->spec.stages = (uint8 *) place;
		place += spec->stages_size;
	}
	request->database = put_string(&place, database);
	request->spec.database = put_string(&place, spec->database);
	request->spec.collection = put_string(&place, spec->collection);
	request->spec.full_document = put_string(&place, spec->full_document);
	request->spec.full_document_before_change = put_string(&place, spec->full_document_before_change);
	request->spec.token = put_string(&place, spec->token);
	request->spec.comment = put_string(&place, spec->comment);
	return request;
}

/* Opens a change stream in the session's thread and lets it run ahead. */
MongoCursor *
mcs_cursor_open(MongoSession *session, const ChangeStreamSpec *spec)
{
	MemoryContext context;
	MongoCursor *cursor;

	mcs_session_check_idle(session);
	context = AllocSetContextCreate(CurrentMemoryContext, "MongoDB cursor", ALLOCSET_SMALL_SIZES);
	cursor = MemoryContextAllocZero(context, sizeof(MongoCursor));
	cursor->context = context;
	cursor->callback.func = cursor_callback;
	cursor->callback.arg = cursor;
	mcs_thread_request(session->thread, change_stream_request(spec));
	cursor->session = session;
	session->cursor = cursor;
	MemoryContextRegisterResetCallback(context, &cursor->callback);
	return cursor;
}

/* Ends the cursor; the server's cursor is killed by the thread, without waiting for it. */
void
mcs_cursor_close(MongoCursor *cursor)
{
	MemoryContextDelete(cursor->context);
}

/* Forgets the cursor when its session goes first. */
void
mcs_cursor_orphan(MongoCursor *cursor)
{
	cursor->session = NULL;
	cursor->finished = true;
}

/* Whether large events come in fragments; known after the opening reply. */
bool
mcs_cursor_splits(const MongoCursor *cursor)
{
	return cursor->session != NULL && mcs_thread_splits(cursor->session->thread);
}

/* How many elements an array of documents has. */
static int
count_elements(const bson_iter_t *array)
{
	bson_iter_t element;
	int			count = 0;

	if (bson_iter_recurse(array, &element))
		while (bson_iter_next(&element))
			count++;
	return count;
}

/* A token as text; NULL where it is none. */
static char *
token_text(const bson_iter_t *iter, MemoryContext context)
{
	DocumentValue value = {DOCUMENT_OBJECT, NULL, 0};
	TokenParts	parts;
	StringInfoData text;
	MemoryContext old;

	bson_iter_document(iter, &value.size, &value.data);
	if (value.data == NULL || !mcs_token_parts(&value, &parts))
		return NULL;
	old = MemoryContextSwitchTo(context);
	initStringInfo(&text);
	mcs_token_append(&text, &parts);
	MemoryContextSwitchTo(old);
	return text.data;
}

/* Fills *batch from a reply; false if it is not what a cursor's reply must be. */
static bool
read_batch(MongoBatch *batch, MemoryContext context)
{
	bson_t		body;
	bson_iter_t iter;
	bson_iter_t cursor;

	if (!bson_init_static(&body, batch->reply->data, batch->reply->size) ||
		!bson_iter_init_find(&iter, &body, "cursor") || !BSON_ITER_HOLDS_DOCUMENT(&iter) ||
		!bson_iter_recurse(&iter, &cursor))
		return false;
	while (bson_iter_next(&cursor))
	{
		const char *key = bson_iter_key(&cursor);

		if (strcmp(key, "id") == 0 && BSON_ITER_HOLDS_INT64(&cursor))
			batch->closed = bson_iter_int64(&cursor) == 0;
		else if ((strcmp(key, "firstBatch") == 0 || strcmp(key, "nextBatch") == 0) && BSON_ITER_HOLDS_ARRAY(&cursor))
		{
			bson_iter_array(&cursor, &batch->events_size, &batch->events);
			batch->event_count = count_elements(&cursor);
		}
		else if (strcmp(key, "postBatchResumeToken") == 0)
		{
			batch->token = BSON_ITER_HOLDS_DOCUMENT(&cursor) ? token_text(&cursor, context) : NULL;
			if (batch->token == NULL)
				return false;
		}
	}
	return batch->events != NULL;
}

/* The next reply. */
MongoCursorResult
mcs_cursor_next(MongoCursor *cursor, long timeout_ms, MongoBatch *batch, MongoError *error)
{
	DriverReply *reply;
	MemoryContext context;

	if (cursor->finished)
		elog(ERROR, "change stream has ended");

	switch (mcs_session_wait(cursor->session, timeout_ms, true, &reply, error))
	{
		case SESSION_TIMEOUT:
			return MONGO_CURSOR_TIMEOUT;
		case SESSION_LATCH:
			return MONGO_CURSOR_LATCH;
		case SESSION_FAILED:
			cursor->finished = true;
			return MONGO_CURSOR_FAILED;
		case SESSION_REPLY:
			break;
	}

	memset(batch, 0, sizeof(*batch));
	batch->opened = reply->opened;
	batch->asked_at = reply->asked_at;
	batch->came_at = reply->came_at;
	batch->set_time = reply->set_time;
	batch->current = reply->current;
	batch->reply = mcs_session_hold_reply(reply, &context);
	if (!read_batch(batch, context))
	{
		mcs_session_free_reply(batch->reply);
		memset(error, 0, sizeof(*error));
		error->class = MONGO_ERROR_TRANSIENT;
		error->sqlstate = ERRCODE_PROTOCOL_VIOLATION;
		strlcpy(error->message, "the server's reply holds no events", sizeof(error->message));
		cursor->finished = true;
		return MONGO_CURSOR_FAILED;
	}
	batch->operation_time = mcs_session_operation_time(batch->reply);
	cursor->finished = batch->closed;
	return MONGO_CURSOR_BATCH;
}

void
mcs_cursor_free_batch(MongoBatch *batch)
{
	mcs_session_free_reply(batch->reply);
	batch->reply = NULL;
	batch->events = NULL;
	batch->token = NULL;
}
