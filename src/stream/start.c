/*
 * stream/start.c
 *	  Where a stream starts, and asking MongoDB about it while the user waits.
 *
 * Every position is stored as a token to start after.  A time becomes the
 * token that sorts before all events of its second, so it is inclusive; one of
 * MongoDB's own times, which count within the second, that before its events.  Now
 * becomes the token of the reply that opens the stream: what was
 * acknowledged before the call is behind it, what is acknowledged after the
 * call is ahead of it.  Where the stream is read from a member that may be
 * behind, it becomes the token behind the primary's time instead.
 */
#include "mongo_change_stream.h"

#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* A time before any that MongoDB has; 0 would not do as one. */
#define BEFORE_EVERYTHING	(UINT64CONST(1) << 32)

/* Raises, unless a text is a resume token; returns it as MongoDB writes it. */
char *
mcs_stream_check_token(const char *token, const char *argument)
{
	char	   *read = mcs_token_read(token);

	if (read == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a resume token: \"%s\"", argument, token),
				 errdetail("A resume token is the hexadecimal text in _data of an event's _id, and the column resume_token here."),
				 errhint("Take the column resume_token of an event, or {\"_data\": \"...\"} with the \"_typeBits\" that MongoDB may have put beside it.")));
	return read;
}

/*
 * Reads a time by PostgreSQL's rules; what is no time gets a message of ours.
 * The error is caught without a subtransaction, which is right only because the
 * input function holds nothing that an abort would release, and a new one is
 * raised.
 */
static TimestampTz
parse_time(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	volatile TimestampTz time = 0;

	PG_TRY();
	{
		time = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
													   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start_at is no position: \"%s\"", text),
				 errdetail("As a time: %s.", error->message),
				 errhint("Valid are 'now', 'earliest', a time such as '2026-01-31 12:00+00', an operationTime of MongoDB such as 'Timestamp(1700000000, 1)', and a resume token.")));
	}
	PG_END_TRY();
	return time;
}

/* The token before all events of a time's second. */
static char *
token_of_time(TimestampTz time, const char *text)
{
	int64		seconds;

	if (TIMESTAMP_NOT_FINITE(time))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start_at must be a finite time"),
				 errhint("Use 'earliest' for the start of MongoDB's history, 'now' for its end.")));
	/* rounded down also before 2000, where a timestamptz is negative */
	seconds = time / USECS_PER_SEC - (time % USECS_PER_SEC < 0 ? 1 : 0) +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	seconds = Max(seconds, 1);	/* MongoDB's history begins later, and 0 stands for no time */
	if (seconds > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("start_at is out of range: \"%s\"", text),
				 errdetail("MongoDB's times end in 2106.")));
	return mcs_token_from_time((uint64) seconds << 32);
}

/* The decimal digits of an unsigned int; false where it is larger. */
static bool
read_uint32(const char *digits, uint32 *number)
{
	unsigned long long value = strtoull(digits, NULL, 10);

	*number = (uint32) value;
	return value <= PG_UINT32_MAX;
}

/* A time of MongoDB's: as Extended JSON, or as its shells and drivers print it. */
static bool
read_timestamp(const char *text, uint32 *seconds, uint32 *ordinal)
{
	static const char *const forms[] = {
		" Timestamp ( { t : %10[0-9] , i : %10[0-9] } ) %n",
		" Timestamp ( %10[0-9] , %10[0-9] ) %n"
	};

	if (text[strspn(text, " \t\r\n")] == '{')
	{
		DocumentValue value = mcs_document_value(mcs_document_in_text(text));

		return mcs_document_get_timestamp(&value, seconds, ordinal);
	}
	for (int i = 0; i < lengthof(forms); i++)
	{
		char		t[11];
		char		n[11];
		int			end = 0;

		/* what matches to its end has set end, which is not counted */
		if (sscanf(text, forms[i], t, n, &end) == 2 && end > 0 && text[end] == '\0')
			return read_uint32(t, seconds) && read_uint32(n, ordinal);
	}
	return false;
}

void
mcs_stream_start_parse(StreamStart *start, const char *text)
{
	uint32		seconds;
	uint32		ordinal;

	start->token = NULL;
	if (pg_strcasecmp(text, "now") == 0)
		start->kind = START_NOW;
	else if (pg_strcasecmp(text, "earliest") == 0)
		start->kind = START_EARLIEST;
	else
	{
		start->kind = START_TOKEN;
		start->token = mcs_token_read(text);
		if (start->token == NULL && read_timestamp(text, &seconds, &ordinal))
			start->token = mcs_token_from_time(Max((uint64) seconds << 32 | ordinal, BEFORE_EVERYTHING));
		else if (start->token == NULL)
			start->token = token_of_time(parse_time(text), text);
	}
}

/* ---- asking MongoDB ---- */

/* Whether a token only stands for a time. */
static bool
is_time(const char *token)
{
	return strcmp(token, mcs_token_from_time(mcs_token_time(token))) == 0;
}

/*
 * Opens a stream once, after a token or (NULL) now, as its worker will: on the
 * database first, and on the collection where that is forbidden.
 */
static char *
try_open(const Stream *stream, MongoSession *session, const char *after, MongoError *error)
{
	bool		at_collection = false;
	bool		at_time = after && is_time(after);

	for (;;)
	{
		ChangeStreamSpec spec;
		char	   *token;

		mcs_stream_spec(stream, at_collection, &spec);
		spec.start = after ? at_time ? CHANGE_STREAM_AT_TIME : CHANGE_STREAM_START_AFTER : CHANGE_STREAM_NOW;
		spec.token = after;
		spec.time = after ? mcs_token_time(after) : 0;
		spec.comment = stream->name;
		if (mcs_mongo_try_stream(session, &spec, &token, NULL, NULL, error))
		{
			if (token == NULL)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("MongoDB of server \"%s\" is too old", stream->server),
						 errdetail("It sends no token with an empty batch, as MongoDB does from 4.0.7 on.")));
			return token;
		}
		/* a role that may watch no more than the collection does that, and so will the worker */
		if (error->code != MONGO_CODE_UNAUTHORIZED || stream->collection == NULL || at_collection)
			return NULL;
		at_collection = true;
	}
}

/* Does it all, in the current memory context; NULL with *error filled where MongoDB refuses. */
static char *
resolve(const Stream *stream, MongoSession *session, bool elsewhere, const StreamStart *start, MongoError *error)
{
	const char *after = start->token;
	char	   *token;
	uint64		oldest;

	if (start->kind == START_EARLIEST)
	{
		if (!mcs_mongo_oplog_oldest(session, strcmp(stream->database, "*") == 0 ? NULL : stream->database,
									stream->collection, &oldest, error))
			return NULL;
		after = mcs_token_from_time(Max(oldest, BEFORE_EVERYTHING));
	}
	/* a secondary's now may be before what the caller has just had acknowledged */
	if (start->kind == START_NOW && elsewhere)
	{
		uint64		now;

		if (!mcs_mongo_primary_time(session, &now, error))
			return NULL;
		after = mcs_token_from_time(now + 1);
	}
	token = try_open(stream, session, after, error);
	if (after == NULL)
		return token;
	/* that the oplog no longer has it is for the stream's state to say, here as at any later time */
	if (token == NULL && error->class != MONGO_ERROR_HISTORY_LOST && !mcs_token_lacks_type_bits(after, error))
		return NULL;
	/* the server's own token of a time: what follows has tokens of the form that it has after now */
	if (token && is_time(after) && mcs_token_time(token) == mcs_token_time(after))
		return token;
	return pstrdup(after);
}

/* How much of what MongoDB's oplog can hold lies behind a position, in percent; -1 where that is not known, or nothing to speak of. */
static int
oplog_behind(const Stream *stream, MongoSession *session, const char *token)
{
	const char *database = strcmp(stream->database, "*") == 0 ? NULL : stream->database;
	MongoError	ignored;
	uint64		now;
	uint64		oldest;
	int64		behind;
	int64		window;
	double		fill;

	if (!mcs_mongo_primary_time(session, &now, &ignored))
		return -1;
	behind = (int64) (now >> 32) - (int64) (mcs_token_time(token) >> 32);
	if (behind < OPLOG_BEHIND_MIN_S || !mcs_mongo_oplog_oldest(session, database, stream->collection, &oldest, &ignored) || oldest == 0)
		return -1;
	/* one that is not full loses nothing yet: what counts is how far it will reach at its pace so far */
	fill = mcs_mongo_oplog_fill(session);
	window = Max((int64) (now >> 32) - (int64) (oldest >> 32), 1);
	return fill > 0 ? (int) Min(behind * 100 * fill / window, 999) : -1;
}

/*
 * Warns of a position that the oplog may soon reach back to no more.  By a session
 * of its own, which is not worth a wait: the stream will look, too.
 */
static void
tell_of_oplog(const Stream *stream, const MongoTarget *target, const char *token)
{
	MongoSession *session = mcs_session_open(target, stream->name);
	int			behind;

	mcs_guess_limit(session);
	behind = oplog_behind(stream, session, token);
	mcs_session_close(session);
	if (behind >= 50)
		ereport(WARNING,
				(errmsg("change stream \"%s\" starts where it may lose its history before it has caught up", stream->name),
				 errdetail("%d %% of the time that MongoDB's oplog can hold lies behind the position.", behind),
				 errhint("%s", MCS_OPLOG_HINT)));
}

/*
 * The same with a session of its own, which is gone afterwards: an error leaves
 * it to the reset of the memory context that it lives in.
 */
static char *
resolve_in_session(const Stream *stream, const MongoTarget *target, const StreamStart *start, MongoError *error)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "start of a change stream",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MongoSession *session = mcs_session_open(target, stream->name);
	char	   *token = resolve(stream, session, mcs_mongo_reads_elsewhere(target), start, error);

	if (token && start->first)
		mcs_namespace_check(stream, target, session, token);
	/* not of where it is anyway */
	if (token && start->kind != START_NOW && (start->first || start->token != stream->resume_token))
		tell_of_oplog(stream, target, token);
	/* the last that the session is asked, and in little time */
	if (token && start->new_texts)
		mcs_guess_of_stream(stream, session);
	MemoryContextSwitchTo(old);
	if (token)
		token = pstrdup(token);
	mcs_session_close(session);
	MemoryContextDelete(context);
	return token;
}

char *
mcs_stream_start_resolve(const Stream *stream, const MongoTarget *target, const StreamStart *start)
{
	MongoError	error = {0};
	char	   *token = resolve_in_session(stream, target, start, &error);

	if (token == NULL)
		mcs_mongo_raise(&error, psprintf("open change stream \"%s\"", stream->name));
	return token;
}

char *
mcs_stream_start_resolve_now(const Stream *stream, const MongoTarget *target)
{
	StreamStart start = {START_NOW, NULL, true, false};
	MongoError	error = {0};
	char	   *token = resolve_in_session(stream, target, &start, &error);

	if (token == NULL && error.class != MONGO_ERROR_TRANSIENT)
		mcs_mongo_raise(&error, psprintf("open change stream \"%s\"", stream->name));
	return token;
}
