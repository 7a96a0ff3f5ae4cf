/*
 * mongo/cursor.c
 *	  A cursor as PostgreSQL's side sees it: opened, read reply by reply, ended; and
 *	  how a change stream is asked for.  What is asked of MongoDB is in
 *	  mongo/driver.c, how documents are asked for in mongo/find.c.
 *
 * Cursor and session may go in any order, as memory contexts do: each forgets the
 * other when it goes.  The replies that were read belong to neither.
 */
#include "mongo/mongo_internal.h"

#include "utils/memutils.h"

/* Ends the thread's part, when the cursor is closed or its memory goes. */
static void
cursor_callback(void *arg)
{
	MongoCursor *cursor = arg;
	MongoSession *session = cursor->session;

	free(cursor->rest);
	cursor->rest = NULL;
	/* not begun, or the session went first, and its thread ends the server's cursor */
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

/* The room that it takes. */
static Size
string_size(const char *string)
{
	return string == NULL ? 0 : strlen(string) + 1;
}

/*
 * A change stream's description for the thread, in one block: malloc'ed, since
 * whichever side is done with it frees it, and one, since no error may come
 * between its parts.
 */
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

	/* a copy, whose pointers are replaced one by one */
	place = (char *) (request + 1);
	request->kind = REQUEST_CHANGE_STREAM;
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

/* A cursor that is not begun yet. */
MongoCursor *
mcs_cursor_make(MongoSession *session)
{
	MemoryContext context;
	MongoCursor *cursor;

	mcs_session_check_idle(session);
	context = AllocSetContextCreate(CurrentMemoryContext, "MongoDB cursor", ALLOCSET_SMALL_SIZES);
	cursor = MemoryContextAllocZero(context, sizeof(MongoCursor));
	cursor->context = context;
	cursor->callback.func = cursor_callback;
	cursor->callback.arg = cursor;
	MemoryContextRegisterResetCallback(context, &cursor->callback);
	return cursor;
}

/* Begins it.  Nothing fails in here, so the thread is not left with a cursor that nobody ends. */
void
mcs_cursor_begin(MongoCursor *cursor, MongoSession *session, DriverRequest *request)
{
	mcs_names_of_request(&session->names, request);
	mcs_thread_request(session->thread, request);
	cursor->session = session;
	session->cursor = cursor;
}

/* Opens a change stream in the session's thread and lets it run ahead. */
MongoCursor *
mcs_cursor_open(MongoSession *session, const ChangeStreamSpec *spec)
{
	MongoCursor *cursor = mcs_cursor_make(session);

	mcs_cursor_begin(cursor, session, change_stream_request(spec));
	return cursor;
}

/* Ends the cursor; the server's cursor is killed by the thread, without waiting for it. */
void
mcs_cursor_close(MongoCursor *cursor)
{
	MemoryContextDelete(cursor->context);
}

/* Whether large events come in fragments; known after the opening reply. */
bool
mcs_cursor_splits(const MongoCursor *cursor)
{
	return cursor->session != NULL && mcs_thread_splits(cursor->session->thread);
}

CursorTimes
mcs_cursor_times(const MongoCursor *cursor)
{
	CursorTimes none = {0};

	return cursor->session != NULL && cursor->session->thread != NULL ? mcs_thread_times(cursor->session->thread) : none;
}

/* How many documents an array has, and which is the last; -1 where anything else is in it. */
static int
count_documents(const DocumentValue *array, DocumentValue *last)
{
	DocumentIterator it;
	int			count = 0;

	memset(last, 0, sizeof(*last));
	mcs_document_iterate(&it, array->data, array->size);
	while (mcs_document_next(&it))
	{
		if (it.value.type != DOCUMENT_OBJECT)
			return -1;
		*last = it.value;
		count++;
	}
	return it.malformed ? -1 : count;
}

/* A token as text; NULL where it is none. */
static char *
token_text(const DocumentValue *token, MemoryContext context)
{
	TokenParts	parts;
	StringInfoData text;
	MemoryContext old;

	if (!mcs_token_parts(token, &parts))
		return NULL;
	old = MemoryContextSwitchTo(context);
	initStringInfo(&text);
	mcs_token_append(&text, &parts);
	MemoryContextSwitchTo(old);
	return text.data;
}

/* A timestamp as seconds << 32 | ordinal; 0 where it is none. */
static uint64
timestamp_value(const DocumentValue *value)
{
	uint32		seconds;
	uint32		ordinal;

	return mcs_document_get_timestamp(value, &seconds, &ordinal) ? (uint64) seconds << 32 | ordinal : 0;
}

/* Fills *batch from a reply; false if it is not what a cursor's reply must be. */
static bool
read_batch(MongoBatch *batch, MemoryContext context)
{
	DocumentValue cursor;
	DocumentIterator it;

	if (!mcs_document_find(batch->reply->data, batch->reply->size, "cursor", &cursor) || cursor.type != DOCUMENT_OBJECT)
		return false;
	mcs_document_iterate(&it, cursor.data, cursor.size);
	while (mcs_document_next(&it))
	{
		if (strcmp(it.key, "id") == 0 && it.value.type == DOCUMENT_INT64)
			batch->closed = mcs_document_read_int64(it.value.data) == 0;
		else if ((strcmp(it.key, "firstBatch") == 0 || strcmp(it.key, "nextBatch") == 0) && it.value.type == DOCUMENT_ARRAY)
		{
			batch->events = it.value.data;
			batch->events_size = it.value.size;
			batch->event_count = count_documents(&it.value, &batch->last);
		}
		else if (strcmp(it.key, "atClusterTime") == 0)
			batch->read_time = timestamp_value(&it.value);
		else if (strcmp(it.key, "postBatchResumeToken") == 0)
		{
			/* a position that can't be saved must not be passed over */
			batch->token = token_text(&it.value, context);
			if (batch->token == NULL)
				return false;
		}
	}
	return batch->events != NULL && batch->event_count >= 0;
}

/*
 * A find that was begun in two parts: asks for the second once the first is at
 * its end, unless there is nothing in it that may still come.
 */
static void
ask_for_rest(MongoCursor *cursor, MongoBatch *batch)
{
	DriverRequest *rest = cursor->rest;
	const DocumentValue *last = &batch->last;
	DocumentValue id;

	cursor->wanted -= batch->event_count;
	if (last->type != 0 && mcs_document_find(last->data, last->size, "_id", &id) && id.type == DOCUMENT_MAX_KEY)
		cursor->complete = true;
	if (!batch->closed || cursor->wanted <= 0 || cursor->complete)
		return;
	/* the thread is idle: the server has closed the cursor, and that reply was the last of the queue */
	cursor->rest = NULL;
	mcs_thread_request(cursor->session->thread, rest);
	batch->closed = false;
}

/* The next reply. */
MongoCursorResult
mcs_cursor_next(MongoCursor *cursor, long timeout_ms, MongoBatch *batch, MongoError *error)
{
	DriverReply *reply;
	MemoryContext context;

	if (cursor->finished)
		elog(ERROR, "cursor has ended");

	/* with the latch: the caller has other things to wait for */
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
	/* the token goes into the reply's context, and with the batch */
	batch->reply = mcs_session_hold_reply(reply, &context);
	if (!read_batch(batch, context))
	{
		mcs_session_free_reply(batch->reply);
		mcs_mongo_error_set(error, MONGO_ERROR_TRANSIENT, ERRCODE_PROTOCOL_VIOLATION, "the server's reply holds no documents");
		cursor->finished = true;
		return MONGO_CURSOR_FAILED;
	}
	batch->operation_time = mcs_session_operation_time(batch->reply);
	if (cursor->rest != NULL)
		ask_for_rest(cursor, batch);
	cursor->finished = batch->closed;
	return MONGO_CURSOR_BATCH;
}

/* Frees a batch with its bytes and its token. */
void
mcs_cursor_free_batch(MongoBatch *batch)
{
	/* what was put together of others has none */
	if (batch->reply)
		mcs_session_free_reply(batch->reply);
	batch->reply = NULL;
	batch->events = NULL;
	batch->token = NULL;
}
