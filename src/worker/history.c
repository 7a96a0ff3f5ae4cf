/*
 * worker/history.c
 *	  Whether MongoDB's history is still the one that a stream has followed.
 *
 * A position means something in one history only.  Behind a server's uri may
 * stand another replica set tomorrow, or the same one restored from a backup
 * that is older than the position: MongoDB goes on from a time in either without
 * a word.  So before a worker opens the change stream in a new process, with a
 * new session or after a failure, it asks, with no more rights than following
 * takes:
 *
 * 1. Is the last event that it has had (change_stream_progress.last_event_token)
 *    in MongoDB's history?  A change stream that is opened at the event's time has
 *    to begin with an event of that time and collection.  This decides, where the
 *    oplog still holds that time.
 * 2. hello, which everybody may ask: the name of the replica set and its members'
 *    host names; and replSetGetConfig, where that is allowed: the set's id.  They
 *    are kept in change_stream_progress.deployment.  Another id is another set.
 * 3. Is MongoDB's time behind that of the last event, and does it stay there?
 *    A member that has not heard of its successor catches up soon.
 *
 * What is certain ends the stream as history_lost.  What is only likely (another
 * name of the set, or none of the known hosts, where the last event can't be
 * looked for any more) leaves a gap row, and the stream goes on: a set may be
 * moved to other machines.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* How long MongoDB's time may be behind that of an event that it has sent. */
#define BEHIND_MS		30000

/* What MongoDB says of itself, or what it said. */
typedef struct Deployment
{
	DocumentValue set_name;		/* type 0 where it is not known */
	DocumentValue set_id;
	DocumentValue hosts;
	DocumentValue uri;			/* by which it was asked */
} Deployment;

/* ---- what MongoDB says of itself ---- */

static MongoReply *
ask(StreamWorker *worker, const char *command, MongoError *error)
{
	Document   *document = mcs_document_in_text(command);

	memset(error, 0, sizeof(*error));
	return mcs_session_command(worker->mongo.session, "admin", DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document),
							   "identify MongoDB", error);
}

/* A field of a document, if it has the type; else type 0. */
static DocumentValue
field(const DocumentValue *object, const char *key, uint8 type)
{
	DocumentValue value;
	DocumentValue none = {0};

	if (object->type != DOCUMENT_OBJECT || !mcs_document_find(object->data, object->size, key, &value) || value.type != type)
		return none;
	return value;
}

/* The id of the replica set; type 0 where that may not be asked. */
static DocumentValue
set_id(const MongoReply *reply)
{
	DocumentValue value = {DOCUMENT_OBJECT, reply->data, reply->size};

	value = field(&value, "config", DOCUMENT_OBJECT);
	value = field(&value, "settings", DOCUMENT_OBJECT);
	return field(&value, "replicaSetId", DOCUMENT_OBJECT_ID);
}

/*
 * Asks who MongoDB is, as a document to keep; NULL with *error filled where it
 * can't be asked.  *time is its operationTime, 0 where a member that is no
 * primary has answered.
 */
static Document *
identify(StreamWorker *worker, uint64 *time, MongoError *error)
{
	MongoReply *reply = ask(worker, "{\"hello\": 1}", error);
	MongoReply *config;
	MongoError	ignored;
	DocumentValue hello;
	DocumentValue value;
	DocumentBuilder builder;
	bool		primary = false;

	if (reply == NULL)
		return NULL;
	hello.type = DOCUMENT_OBJECT;
	hello.data = reply->data;
	hello.size = reply->size;
	value = field(&hello, "isWritablePrimary", DOCUMENT_BOOL);
	*time = value.type && mcs_document_get_bool(&value, &primary) && primary ? mcs_session_operation_time(reply) : 0;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	value = field(&hello, "setName", DOCUMENT_STRING);
	if (value.type)
	{
		mcs_document_append_value(&builder, "set_name", &value);
		value = field(&hello, "hosts", DOCUMENT_ARRAY);
		if (value.type)
			mcs_document_append_value(&builder, "hosts", &value);
		config = ask(worker, "{\"replSetGetConfig\": 1}", &ignored);
		value = config ? set_id(config) : value;
		if (config && value.type)
			mcs_document_append_value(&builder, "set_id", &value);
		if (config)
			mcs_session_free_reply(config);
	}
	/* whose events are kept is known to who reads them only as long as the server leads there */
	mcs_document_append_string(&builder, "uri", mcs_session_uri(worker->mongo.session));
	mcs_document_end(&builder);
	mcs_session_free_reply(reply);
	return mcs_document_finish(&builder);
}

/* ---- comparing it with what it said before ---- */

static Deployment
read_deployment(const Document *document)
{
	DocumentValue value = {DOCUMENT_TYPE(document), DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document)};
	Deployment	deployment;

	deployment.set_name = field(&value, "set_name", DOCUMENT_STRING);
	deployment.set_id = field(&value, "set_id", DOCUMENT_OBJECT_ID);
	deployment.hosts = field(&value, "hosts", DOCUMENT_ARRAY);
	deployment.uri = field(&value, "uri", DOCUMENT_STRING);
	return deployment;
}

static bool
both_known_differ(const DocumentValue *a, const DocumentValue *b)
{
	return a->type && b->type && mcs_document_compare(a, b) != 0;
}

/* Whether two lists of hosts, of which MongoDB allows 50, have none in common. */
static bool
no_common_host(const DocumentValue *a, const DocumentValue *b)
{
	DocumentIterator x;
	DocumentIterator y;

	if (!a->type || !b->type)
		return false;
	mcs_document_iterate(&x, a->data, a->size);
	while (mcs_document_next(&x))
	{
		CHECK_FOR_INTERRUPTS();
		mcs_document_iterate(&y, b->data, b->size);
		while (mcs_document_next(&y))
			if (mcs_document_compare(&x.value, &y.value) == 0)
				return false;
	}
	return true;
}

static char *
plain(const DocumentValue *value)
{
	StringInfoData text;
	bool		bad;

	initStringInfo(&text);
	(void) mcs_document_write_plain(&text, value, &bad);
	return text.data;
}

/* What makes it likely that another deployment answers than before; NULL where nothing does. */
static char *
suspicion(const Deployment *was, const Deployment *is)
{
	if (both_known_differ(&was->set_name, &is->set_name))
		return psprintf("the replica set is named %s, it was %s", plain(&is->set_name), plain(&was->set_name));
	if (no_common_host(&was->hosts, &is->hosts))
		return psprintf("the replica set's members are %s, they were %s", plain(&is->hosts), plain(&was->hosts));
	return NULL;
}

/* ---- what follows ---- */

static char *
lost_reason(const StreamWorker *worker, const char *why)
{
	const char *name = quote_literal_cstr(worker->process.name);

	/* the position is good again once the server's uri leads back, so that comes first */
	return psprintf("MongoDB's history is not the one that was followed, %s; if it is the wrong one, mend the server's uri and "
					"SELECT resume_change_stream(%s), else SELECT resume_change_stream(%s, start_at => 'earliest') or 'now' "
					"goes on there and leaves a gap row", why, name, name);
}

/* Keeps what MongoDB says of itself; with a doubt, tells of it in a row of the events. */
static void
keep(StreamWorker *worker, Document *deployment, const char *doubt)
{
	const Stream *stream = worker->stream;

	/* row and identity together: the same doubt is not to leave a second row */
	mcs_process_begin(&worker->process);
	if (doubt)
	{
		mcs_writer_leave_gap(worker->process.name, stream->resume_token, stream->resume_token,
					  psprintf("%s, and whether it is another deployment can't be seen any more: events may be missing here or have no meaning there",
							   doubt));
		/* what mirrors show may be of the other one */
		mcs_snapshots_begin_again(worker->process.name);
		/* the row has taken an event_id */
		worker->process.reload = true;
	}
	mcs_progress_deployment(worker->process.name, deployment);
	mcs_process_commit(&worker->process);
}

/* Whether MongoDB's time is before that of an event, long enough to be certain; else *passing tells. */
static bool
is_behind(StreamWorker *worker, uint64 time, const char *event, bool *passing)
{
	*passing = false;
	if (time == 0 || event == NULL || time >= mcs_token_time(event))
	{
		worker->history.behind_since = 0;
		return false;
	}
	if (worker->history.behind_since == 0)
		worker->history.behind_since = GetCurrentTimestamp();
	*passing = !TimestampDifferenceExceeds(worker->history.behind_since, GetCurrentTimestamp(), BEHIND_MS);
	return !*passing;
}

/* A failure that can pass, by which the stream tries again. */
static void
fail(StreamWorker *worker, const MongoError *error)
{
	worker->mongo.failure = *error;
	worker->mongo.failure.at_open = true;
}

/*
 * Compares what MongoDB says of itself with what it said, in view of what its
 * history answered; returns why it is another deployment, or NULL.
 */
static char *
compare(StreamWorker *worker, Document *found, uint64 time, HistoryAnswer answer)
{
	const Stream *stream = worker->stream;
	const char *event = stream->last_event_token;
	Deployment	was;
	Deployment	is = read_deployment(found);
	char	   *doubt;
	bool		passing;

	memset(&was, 0, sizeof(was));
	if (stream->deployment)
		was = read_deployment(stream->deployment);
	if (answer == HISTORY_UNKNOWN && is_behind(worker, time, event, &passing))
		return psprintf("MongoDB's time is before that of the last event, %s", event);
	if (answer == HISTORY_UNKNOWN && passing)
	{
		MongoError	error = {.class = MONGO_ERROR_TRANSIENT,.sqlstate = ERRCODE_CONNECTION_EXCEPTION};

		mcs_text_copy(error.message, sizeof(error.message), "MongoDB's time is before that of the last event");
		fail(worker, &error);
		return NULL;
	}
	if (both_known_differ(&was.set_id, &is.set_id))
		return psprintf("the replica set's id is %s, it was %s", plain(&is.set_id), plain(&was.set_id));
	doubt = answer == HISTORY_HAS ? NULL : suspicion(&was, &is);
	if (doubt || stream->deployment == NULL || both_known_differ(&was.hosts, &is.hosts) ||
		(is.set_id.type && !was.set_id.type) || !was.uri.type || both_known_differ(&was.uri, &is.uri))
		keep(worker, found, doubt);
	worker->history.verified = true;
	return NULL;
}

/*
 * Looks whether MongoDB's history is the one that the stream has followed: NULL,
 * or why it is not, in definition_context.  Else worker->history.verified, or worker->mongo.failure
 * says that MongoDB could not be asked, or worker->process.reload that a row was written.
 * Outside of a transaction.
 */
char *
mcs_history_verify(StreamWorker *worker)
{
	const Stream *stream = worker->stream;
	const char *event = stream->last_event_token;
	MemoryContext old;
	Document   *found;
	HistoryAnswer answer = HISTORY_UNKNOWN;
	MongoError	error;
	uint64		time;
	char	   *why;

	/* nothing to be compared with, as in version 1.0, or nothing has been followed yet */
	if (!stream->keeps_history || stream->resume_token == NULL)
	{
		worker->history.verified = true;
		return NULL;
	}
	old = MemoryContextSwitchTo(worker->process.definition_context);
	found = identify(worker, &time, &error);
	if (found || error.class == MONGO_ERROR_TRANSIENT)
		memset(&error, 0, sizeof(error));
	if (error.class == MONGO_ERROR_NONE && event)
		answer = mcs_mongo_history_has(worker->mongo.session, strcmp(stream->database, "*") == 0 ? NULL : stream->database,
									   mcs_worker_watches_collection(worker) ? stream->collection : NULL, event, &error);
	if (answer == HISTORY_HAS_NOT)
		why = psprintf("the last event, %s, is not in it", event);
	else if (error.class == MONGO_ERROR_TRANSIENT || error.class == MONGO_ERROR_DRIVER_ENDED)
	{
		fail(worker, &error);
		why = NULL;
	}
	else if (found)
		why = compare(worker, found, time, answer);
	else
	{
		/* there is no primary to be asked: that is no reason not to read from others */
		worker->history.verified = true;
		why = NULL;
	}
	if (why)
	{
		MemoryContextSwitchTo(worker->process.definition_context);
		why = lost_reason(worker, why);
	}
	MemoryContextSwitchTo(old);
	return why;
}
