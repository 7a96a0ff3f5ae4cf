/*
 * fdw/read.c
 *	  One bounded read of MongoDB's history.
 *
 * The end.  The reply that opens the change stream tells the server's
 * operationTime T; everything up to T is committed and visible.  The read is
 * over when the change stream has passed T (or an earlier end that the query
 * names): at an event of a later time, at a post-batch token of a later time, or
 * at a token of just that time after an empty reply.  That token after a reply
 * with events is not the end: all events of a transaction have one time, and
 * more of them may come.  So a read never waits for something to happen.  T
 * stays when the same scan reads again, so that it sees the same.
 *
 * Going on.  A change stream that MongoDB closes (its collection or database
 * was dropped or renamed at that point of the history) is opened again after its
 * post-batch token; so is one that fails for a reason that can pass.  The
 * position is that token, or, while fragments of a large event wait for the rest
 * of it, the token of the event before.
 */
#include "mongo_change_stream.h"

#include "fdw/fdw.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Events a getMore asks for where the user leaves it to us: more is slower. */
#define FASTEST_BATCH_SIZE	1000

/* How long MongoDB may wait for news: those that are to be had are there already. */
#define AWAIT_MS			1

/* How often in a row a read goes on after failures, and how long it waits before. */
#define RETRIES				5
#define RETRY_WAIT_MS		200

/* The oplog may lose its first entries between our asking for them and reading on. */
#define OLDEST_TRIES		5

struct FdwRead
{
	MemoryContext context;		/* the read's own */
	MemoryContext fragment_context;
	FdwRequest	request;
	MongoSession *session;		/* while a cursor is open */
	MongoCursor *cursor;

	FdwStart	start;			/* where it begins */
	const char *behind;			/* begun at its time: events up to it are left out */
	int			oldest_tries;

	/* where it is */
	FdwLessons *lessons;
	uint64		end;			/* the earlier of the server's time and the query's end */
	bool		splits;			/* large events come in fragments */
	char	   *position;		/* token to go on after; NULL before the first reply */
	bool		opened;			/* MongoDB has answered once */
	bool		delivered;		/* a getMore has been answered */
	int			retries;
	bool		done;

	/* the reply at hand */
	bool		have_batch;
	MongoBatch	batch;
	DocumentIterator events;
	DocumentValue event;		/* where no fragments are kept */
	StringInfoData token;		/* of the element at hand */
	EventText	last_token;		/* of the last whole event in the reply */
	StringInfoData last_token_text;
	List	   *fragments;		/* of DocumentValue *, copies */
	bool		whole;			/* the fragments are a whole event */

	FdwReadStatistics statistics;
};

/* A cluster time in words. */
static const char *
time_text(uint64 time)
{
	return timestamptz_to_str(mcs_event_second(time));
}

/* ---- opening ---- */

/* Whether tokens are to be of the kind that streams with images have: those differ, and rows show them. */
static bool
whole_events(const FdwRead *read, const ChangeStreamSpec *spec)
{
	const FdwTable *table = read->request.table;
	Bitmapset  *images = NULL;

	if (read->lessons->split)
		return false;
	/* tokens can be compared with those of their version only */
	if (read->behind)
		return !mcs_token_of_split_stream(read->behind);
	if (!bms_is_member(EVENT_RESUME_TOKEN, read->request.used))
		return spec->full_document == NULL && spec->full_document_before_change == NULL;
	images = bms_add_member(images, EVENT_FULL_DOCUMENT);
	images = bms_add_member(images, EVENT_FULL_DOCUMENT_BEFORE_CHANGE);
	return mcs_fdw_full_document(table, images, !read->lessons->without_images) == NULL &&
		mcs_fdw_before_change(table, images, !read->lessons->without_images) == NULL;
}

/* Opens the change stream, at the start or at the position; its reply comes later. */
static void
open_cursor(FdwRead *read)
{
	const FdwRequest *request = &read->request;
	const FdwTable *table = request->table;
	MemoryContext old = MemoryContextSwitchTo(read->context);
	Document   *stages = mcs_fdw_stages(table, request->match, request->used);
	ChangeStreamSpec spec = {0};

	spec.database = table->database;
	/* a collection is watched by itself: that takes the fewest rights, and MongoDB the least time */
	spec.collection = table->database ? table->collection : NULL;
	spec.full_document = mcs_fdw_full_document(table, request->asked, !read->lessons->without_images);
	spec.full_document_before_change = mcs_fdw_before_change(table, request->asked, !read->lessons->without_images);
	spec.show_expanded_events = table->show_expanded_events;
	spec.start = read->start.kind;
	spec.token = read->start.token;
	spec.time = read->start.time;
	if (read->position)
	{
		spec.start = CHANGE_STREAM_START_AFTER;
		spec.token = read->position;
	}
	spec.stages = DOCUMENT_VALUE(stages);
	spec.stages_size = DOCUMENT_VALUE_SIZE(stages);
	spec.batch_size = request->batch_size ? request->batch_size : table->batch_size ? table->batch_size : FASTEST_BATCH_SIZE;
	spec.max_await_ms = AWAIT_MS;
	spec.whole_events = whole_events(read, &spec);
	spec.comment = psprintf("mongo_change_stream: foreign table %s", table->name);
	spec.queue_bytes = MONGO_QUEUE_BYTES;

	/* a member that is behind does not know what its set has acknowledged */
	if (*read->lessons->until == 0 && mcs_mongo_reads_elsewhere(request->target))
		*read->lessons->until = mcs_mongo_time_now(request->target, psprintf("read foreign table \"%s\"", table->name));
	/* never one that was used before and left: the cache may have closed it since */
	read->session = mcs_cache_session(request->target);
	read->cursor = mcs_cursor_open(read->session, &spec);
	read->splits = !spec.whole_events;
	pfree(stages);
	MemoryContextSwitchTo(old);
}

/* Forgets a large event of which not all has come. */
static void
forget_fragments(FdwRead *read)
{
	read->fragments = NIL;
	read->whole = false;
	MemoryContextReset(read->fragment_context);
}

static void
free_batch(FdwRead *read)
{
	if (read->have_batch)
		mcs_cursor_free_batch(&read->batch);
	read->have_batch = false;
	read->last_token.data = NULL;
}

static void
close_cursor(FdwRead *read)
{
	free_batch(read);
	forget_fragments(read);
	if (read->cursor)
		mcs_cursor_close(read->cursor);
	read->cursor = NULL;
	read->session = NULL;
}

/* ---- failures ---- */

/* Raises a failure; what MongoDB does not accept may be an option's fault, where it has no better hint. */
static void
raise_failure(const FdwRead *read, const MongoError *error)
{
	const FdwTable *table = read->request.table;
	const char *option = table->pipeline ? "pipeline" : read->request.after ? NULL :
		read->start.kind == CHANGE_STREAM_START_AFTER ? (table->resume_after ? "resume_after" : "start_at") : NULL;

	/* MongoDB has many codes for a start or stages that it cannot read, so those that nobody knows count, too */
	if ((error->class == MONGO_ERROR_CONFIGURATION || error->class == MONGO_ERROR_REFUSED ||
		 (error->code != 0 && error->sqlstate == ERRCODE_FDW_ERROR)) &&
		error->at_open && option && mcs_mongo_hint(error) == NULL)
		ereport(ERROR,
				(errcode(error->sqlstate),
				 errmsg("could not read foreign table \"%s\"", table->name),
				 errdetail("MongoDB error %d (%s): %s.", error->code, error->code_name, error->message),
				 errhint("Check what it does not like in ALTER FOREIGN TABLE %s OPTIONS (SET %s '...').",
						 quote_identifier(table->name), option)));
	mcs_mongo_raise(error, psprintf("read foreign table \"%s\"", table->name));
}

/* Whether MongoDB has refused an image mode that the user did not ask for. */
static bool
knows_no_images(const FdwRead *read, const MongoError *error)
{
	const FdwTable *table = read->request.table;

	return error->at_open && error->code != 0 && !read->lessons->without_images &&
		(strstr(error->message, "whenAvailable") || strstr(error->message, "fullDocumentBeforeChange")) &&
		(table->full_document == NULL || table->full_document_before_change == NULL);
}

/* The oplog does not reach back to the start: says so, and begins where it does. */
static void
start_is_lost(FdwRead *read, const MongoError *reason)
{
	const FdwTable *table = read->request.table;
	MemoryContext old = MemoryContextSwitchTo(read->context);
	bool		tell = read->start.asked && !(read->lessons->told_lost && !table->strict);
	const char *asked = tell ? pstrdup(time_text(read->start.time)) : NULL;
	MongoError	error;
	uint64		oldest;

	if (!mcs_mongo_oplog_oldest(mcs_cache_session(read->request.target), table->database,
								table->database ? table->collection : NULL, &oldest, &error))
		mcs_mongo_raise(&error, psprintf("find the start of MongoDB's history for foreign table \"%s\"", table->name));
	MemoryContextSwitchTo(old);
	if (oldest == 0 || ++read->oldest_tries > OLDEST_TRIES)
		raise_failure(read, reason);

	if (tell)
		ereport(table->strict ? ERROR : WARNING,
				(errcode(table->strict ? ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION : ERRCODE_WARNING),
				 errmsg("MongoDB's history begins at %s, after the start of the scan of foreign table \"%s\"",
						time_text(oldest), table->name),
				 errdetail("The scan should begin at %s; the oplog no longer holds what was before.", asked),
				 errhint("db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 24}) keeps more from now on.")));
	read->start.kind = CHANGE_STREAM_AT_TIME;
	read->start.time = oldest;
	read->start.token = NULL;
	read->start.asked = false;
	read->lessons->told_lost |= tell;
	read->statistics.from = oldest;
	read->position = NULL;
}

/* Waits a little before another try. */
static void
wait_before_retry(FdwRead *read)
{
	int64		until = mcs_session_clock() + RETRY_WAIT_MS * read->retries * INT64CONST(1000);
	int64		left;

	while ((left = until - mcs_session_clock()) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 (long) (left / 1000 + 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Whether to go on after a failure.  A session of the cache may have lost its
 * connection long ago, which is noticed only now: that is no failure of
 * MongoDB's, and a new one is tried.
 */
static bool
may_pass(const FdwRead *read, const MongoError *error)
{
	if (error->class != MONGO_ERROR_TRANSIENT)
		return false;
	if (read->opened)
		return read->retries < RETRIES;
	return read->retries == 0 && error->sqlstate == ERRCODE_CONNECTION_FAILURE;
}

/* The change stream has failed: opens it again where that can help, else raises. */
static void
recover(FdwRead *read, const MongoError *error)
{
	MongoSession *session = read->session;

	close_cursor(read);
	/* where no server answered, the driver would wait before it tries again */
	if (error->class == MONGO_ERROR_DRIVER_ENDED || error->class == MONGO_ERROR_HANGING ||
		(error->class == MONGO_ERROR_TRANSIENT && error->code == 0))
		mcs_session_close(session);
	if (knows_no_images(read, error))
		read->lessons->without_images = true;
	else if (error->class == MONGO_ERROR_HISTORY_LOST && !read->delivered)
		start_is_lost(read, error);
	else if (error->class == MONGO_ERROR_TOO_LARGE && !read->lessons->split)
		read->lessons->split = true;
	else if (may_pass(read, error))
	{
		if (read->opened)
			wait_before_retry(read);
		read->retries++;
	}
	else
		raise_failure(read, error);
	open_cursor(read);
}

/* ---- replies ---- */

static void
set_position(FdwRead *read, const char *token, Size length)
{
	char	   *copy = MemoryContextAlloc(read->context, length + 1);

	memcpy(copy, token, length);
	copy[length] = '\0';
	/* failures in a row are those without progress in between */
	if (read->position == NULL || strcmp(read->position, copy) != 0)
		read->retries = 0;
	if (read->position)
		pfree(read->position);
	read->position = copy;
}

/* What the first reply tells: how far this read goes. */
static void
take_opening(FdwRead *read)
{
	if (read->batch.token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("MongoDB of server \"%s\" is too old", read->request.table->server_name),
				 errdetail("It sends no token with an empty batch, as MongoDB does from 4.0.7 on.")));
	if (read->batch.closed)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("MongoDB closed a change stream when it was opened")));
	read->opened = true;
	read->splits = read->splits && mcs_cursor_splits(read->cursor);
	if (*read->lessons->until == 0)
		*read->lessons->until = read->batch.operation_time;
	read->end = Min(*read->lessons->until, read->request.range.to);
	/* from here on failures go on at a token; the start itself is known to be good only with the next reply */
	if (read->position == NULL && read->start.kind == CHANGE_STREAM_NOW)
		set_position(read, read->batch.token, strlen(read->batch.token));
	if (read->start.time > read->end || read->start.kind == CHANGE_STREAM_NOW)
		read->done = true;
}

/* Waits for the next reply. */
static void
next_batch(FdwRead *read)
{
	MemoryContext old = MemoryContextSwitchTo(read->context);
	MongoError	error;

	for (;;)
	{
		MongoCursorResult result = mcs_cursor_next(read->cursor, -1, &read->batch, &error);

		if (result == MONGO_CURSOR_FAILED)
			recover(read, &error);
		else if (result == MONGO_CURSOR_BATCH)
			break;
	}
	MemoryContextSwitchTo(old);
	read->have_batch = true;
	read->statistics.bytes += read->batch.reply->size;
	mcs_document_iterate(&read->events, read->batch.events, read->batch.events_size);
	if (read->batch.opened)
		take_opening(read);
	else
	{
		read->statistics.batches++;
		read->delivered = true;
	}
}

/* At the end of a reply: is it the end of all? */
static void
end_batch(FdwRead *read)
{
	MongoBatch *batch = &read->batch;
	bool		closed = batch->closed;
	uint64		time;

	if (read->events.malformed)
		mcs_document_malformed();
	if (batch->token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a reply of MongoDB came without a resume token")));
	time = mcs_token_time(batch->token);
	if (!batch->opened && read->fragments == NIL)
	{
		set_position(read, batch->token, strlen(batch->token));
		if (time > read->end || (time == read->end && batch->event_count == 0))
			read->done = true;
	}
	else if (read->last_token.data)
		set_position(read, read->last_token.data, read->last_token.length);
	free_batch(read);
	if (closed && !read->done)
	{
		close_cursor(read);
		open_cursor(read);
	}
}

/* ---- events ---- */

/* Takes the token of an event or a fragment. */
static void
take_token(FdwRead *read, const DocumentValue *event)
{
	DocumentValue value;
	TokenParts	parts;

	if (event->type != DOCUMENT_OBJECT || !mcs_document_find(event->data, event->size, "_id", &value) ||
		!mcs_token_parts(&value, &parts))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("an event came without a resume token"),
				 errdetail("Its _id is missing or was changed by option \"pipeline\".")));
	resetStringInfo(&read->token);
	mcs_token_append(&read->token, &parts);
}

/* The token at hand is that of a whole event, to go on after. */
static void
keep_token(FdwRead *read)
{
	resetStringInfo(&read->last_token_text);
	appendBinaryStringInfo(&read->last_token_text, read->token.data, read->token.len);
	read->last_token.data = read->last_token_text.data;
	read->last_token.length = read->last_token_text.len;
}

/* Takes an element of the reply; whether a whole event is at hand now. */
static bool
take_element(FdwRead *read, const DocumentValue *value)
{
	EventFragment fragment = {0, 0};

	if (read->splits)
		fragment = mcs_event_fragment(value->data, value->size);
	if (fragment.of == 0 && read->fragments == NIL)
	{
		read->event = *value;
		return true;
	}
	if (fragment.number != list_length(read->fragments) + 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("fragments of a large event came out of order"),
				 errdetail("Fragment %d of %d follows %d others.", fragment.number, fragment.of, list_length(read->fragments))));
	read->fragments = mcs_event_keep_fragment(read->fragments, value, read->fragment_context);
	read->whole = fragment.number == fragment.of;
	return read->whole;
}

/* At the end of a read of the whole history that has shown nothing: the collection's name may be a slip. */
static void
check_collection(FdwRead *read)
{
	const FdwTable *table = read->request.table;

	if (read->statistics.events > 0 || read->start.asked || read->request.range.to != PG_UINT64_MAX ||
		!table->collection || !table->database || read->lessons->told_missing ||
		!mcs_fdw_collection_missing(table, read->request.target))
		return;
	read->lessons->told_missing = true;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("MongoDB has no collection \"%s.%s\", and its history nothing of one", table->database, table->collection),
			 errhint("If that is not its name: ALTER FOREIGN TABLE %s OPTIONS (SET collection '...').", quote_identifier(table->name))));
}

/* Goes to the next event; false at the end.  It stays at hand until the next call. */
bool
mcs_read_next(FdwRead *read)
{
	if (read->whole)
		forget_fragments(read);
	while (!read->done)
	{
		if (!read->have_batch)
			next_batch(read);
		while (!read->done && mcs_document_next(&read->events))
		{
			take_token(read, &read->events.value);
			if (mcs_token_time(read->token.data) > read->end)
				read->done = true;
			else if (take_element(read, &read->events.value))
			{
				keep_token(read);
				if (read->behind &&
					mcs_token_compare(read->token.data, read->token.len, read->behind, strlen(read->behind)) <= 0)
				{
					forget_fragments(read);
					continue;
				}
				read->statistics.events++;
				return true;
			}
		}
		if (!read->done)
			end_batch(read);
	}
	/* nothing more is wanted of MongoDB */
	if (read->cursor)
	{
		close_cursor(read);
		check_collection(read);
	}
	return false;
}

/* Takes the event at hand apart, into the current memory context. */
void
mcs_read_event(FdwRead *read, ChangeEvent *event)
{
	DocumentValue *parts;
	ListCell   *cell;
	int			count = 0;

	if (read->fragments == NIL)
	{
		mcs_event_parse(event, &read->event, 1);
		return;
	}
	parts = palloc(sizeof(DocumentValue) * list_length(read->fragments));
	foreach(cell, read->fragments)
		parts[count++] = *(DocumentValue *) lfirst(cell);
	mcs_event_parse(event, parts, count);
}

/*
 * Begins after a token at the time of its event, where it is one's: MongoDB does
 * not find an event again that is of another collection, or that the conditions
 * which it evaluates leave out, nor read a token without type bits, as 1.0 kept it.
 */
static void
start_behind(FdwRead *read)
{
	if (!mcs_token_of_event(read->start.token))
		return;
	read->behind = read->start.token;
	read->start.token = NULL;
	read->start.kind = CHANGE_STREAM_AT_TIME;
}

/*
 * Begins a read, in a context below the current one.  What the request points to
 * must live as long, and so must lessons.
 */
FdwRead *
mcs_read_begin(const FdwRequest *request, FdwLessons *lessons)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "read of MongoDB's history", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FdwRead    *read = palloc0(sizeof(FdwRead));

	read->context = context;
	read->fragment_context = AllocSetContextCreate(context, "fragments of a large event", ALLOCSET_SMALL_SIZES);
	initStringInfo(&read->token);
	initStringInfo(&read->last_token_text);
	read->request = *request;
	read->lessons = lessons;
	if (request->after)
		mcs_fdw_start_after(&read->start, request->after);
	else
		mcs_fdw_start(request->table, &request->range, &read->start);
	if (read->start.token)
		start_behind(read);
	read->statistics.from = read->start.asked ? read->start.time : 0;
	if (request->range.empty || read->start.time == PG_UINT64_MAX || (*lessons->until && read->start.time > *lessons->until))
		read->done = true;
	else
		open_cursor(read);
	MemoryContextSwitchTo(old);
	return read;
}

/* Adds up how a read goes. */
void
mcs_read_statistics(const FdwRead *read, FdwReadStatistics *statistics)
{
	statistics->from = read->statistics.from;
	statistics->to = *read->lessons->until == 0 ? 0 : Min(*read->lessons->until, read->request.range.to);
	statistics->reads++;
	statistics->batches += read->statistics.batches;
	statistics->events += read->statistics.events;
	statistics->bytes += read->statistics.bytes;
}

/* Ends a read, wherever it is. */
void
mcs_read_end(FdwRead *read)
{
	close_cursor(read);
	MemoryContextDelete(read->context);
}
