/*
 * stream/command.c
 *	  The functions that make, change and end streams.
 *
 * Each checks the caller's rights, then its arguments, then asks MongoDB where
 * that is needed, all without a lock; then it locks the stream's rows, those of
 * change_streams and change_stream_progress in this order, looks again, and
 * writes.  The lock on the progress row holds up the worker's batch, which then
 * finds that the row is of another definition and is thrown away
 * (tables/progress.c); the wake-up at commit only makes the worker look sooner.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "stream/stream_internal.h"
#include "tables/tables.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* A batch may hold up who changes the stream for so long. */
#define BATCH_PATIENCE_MS	1000

/* How many tables a NOTICE names. */
#define TABLES_SHOWN		10

PG_FUNCTION_INFO_V1(mcs_create_change_stream);
PG_FUNCTION_INFO_V1(mcs_alter_change_stream);
PG_FUNCTION_INFO_V1(mcs_pause_change_stream);
PG_FUNCTION_INFO_V1(mcs_resume_change_stream);
PG_FUNCTION_INFO_V1(mcs_drop_change_stream);

/* ---- arguments and rights ---- */

/* An argument of type boolean, of which null is false. */
static bool
bool_argument(FunctionCallInfo fcinfo, int number)
{
	return !PG_ARGISNULL(number) && PG_GETARG_BOOL(number);
}

char *
mcs_stream_name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("stream_name must not be null")));
	return mcs_convert_text_argument(fcinfo, 0);
}

/* Raises unless the caller is an owner; whose it is, is told to those who can become that role only. */
void
mcs_stream_check_owner(Oid owner, const char *what, const char *name)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of %s \"%s\"", what, name),
				 is_member_of_role(GetUserId(), owner) ?
				 errhint("SET ROLE %s;", quote_identifier(GetUserNameFromId(owner, false))) : 0));
}

/* A stream that is to be locked. */
typedef struct LockedStream
{
	const char *name;
	Stream	   *stream;
} LockedStream;

static void
lock_stream(void *arg)
{
	LockedStream *locked = arg;

	locked->stream = mcs_streams_load(locked->name, true, false);
}

/*
 * Locks a stream's rows.  Its worker holds them while it writes a batch, which may
 * take long where a trigger of the owner's does, or somebody has locked a row of
 * his; then the batch is cancelled, since whatever the caller is about comes first.
 */
static Stream *
load_locked(const char *name)
{
	LockedStream locked = {name, NULL};
	ErrorData  *error;
	int			level;

	/* the caller does not wait so long himself */
	if (LockTimeout > 0 && LockTimeout <= BATCH_PATIENCE_MS)
		return mcs_streams_load(name, true, false);
	level = NewGUCNestLevel();
	(void) set_config_option("lock_timeout", CppAsString2(BATCH_PATIENCE_MS), PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	error = mcs_attempt(lock_stream, &locked);
	AtEOXact_GUC(true, level);
	if (error == NULL)
		return locked.stream;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	FreeErrorData(error);
	mcs_blockers_cancel_worker(name);
	return mcs_streams_load(name, true, false);
}

/* The stream, of which the caller must be an owner. */
Stream *
mcs_stream_load_own(const char *name, bool for_update)
{
	Stream	   *stream = mcs_streams_load(name, false, false);

	mcs_stream_check_owner(stream->owner, "change stream", name);
	if (!for_update)
		return stream;
	/* whose it is, is asked before anything is held up, and again when nobody else can change it */
	stream = load_locked(name);
	mcs_stream_check_owner(stream->owner, "change stream", name);
	return stream;
}

/* Before 17 a background worker cannot be a role that may not log in. */
static void
check_owner_can_login(Oid role)
{
#if PG_VERSION_NUM < 170000
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		can_login = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!can_login)
	{
		char	   *name = GetUserNameFromId(role, false);

		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot own a change stream, as it may not log in", name),
				 errdetail("A stream's worker runs as the stream's owner, and before PostgreSQL 17 that takes the right to log in."),
				 errhint("ALTER ROLE %s LOGIN;", quote_identifier(name))));
	}
#endif
}

/* Shared memory and the launcher are there only where the library was preloaded; the stream is kept for when it is. */
static void
tell_if_not_preloaded(const Stream *stream)
{
	if (!mcs_shared_ready())
		ereport(WARNING,
				(errmsg("change stream \"%s\" will not run", stream->name),
				 errdetail("Its worker needs the library to be loaded when the server starts."),
				 errhint("Add '%s' to shared_preload_libraries and restart the server.", MCS_EXTENSION)));
}

/* ---- create_change_stream ---- */

char *
mcs_stream_database(const MongoTarget *target, char *named)
{
	if (named == NULL && target->database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no database is given, and server \"%s\" has no option \"database\"", target->server_name),
				 errhint("Add the argument database => '...', or ALTER SERVER %s OPTIONS (ADD database '...');",
						 quote_identifier(target->server_name))));
	return named ? named : target->database;
}

/* Server, database and collection, of which the first two have defaults. */
static MongoTarget *
take_place(Stream *stream, const Arguments *arguments)
{
	MongoTarget *target = mcs_mongo_target(stream->server, stream->owner);

	stream->server = target->server_name;
	stream->database = mcs_stream_database(target, mcs_argument_text(arguments, "database"));
	mcs_stream_check_database_name(stream->database);
	stream->collection = mcs_argument_text(arguments, "collection");
	if (stream->collection && strcmp(stream->database, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a stream on every database cannot be on one collection"),
				 errhint("Leave out collection and add the argument filter => %s.",
						 quote_literal_cstr(psprintf("collection_name = %s", quote_literal_cstr(stream->collection))))));
	if (stream->collection)
		mcs_stream_check_collection_name(stream->collection, stream->database);
	return target;
}

/* Where the stream starts, by the one of three options that says so. */
static void
take_start(StreamStart *start, const Stream *stream)
{
	if ((stream->resume_after != NULL) + (stream->start_after != NULL) + (stream->start_at != NULL) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only one of resume_after, start_after and start_at can be given")));
	start->kind = START_TOKEN;
	if (stream->resume_after)
		start->token = mcs_stream_check_token(stream->resume_after, "resume_after");
	else if (stream->start_after)
		start->token = mcs_stream_check_token(stream->start_after, "start_after");
	else
		mcs_stream_start_parse(start, stream->start_at ? stream->start_at : "now");
}

static void
refuse_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("change stream \"%s\" already exists", name)));
}

/*
 * Goes on numbering after what a restore has left of a stream of that name, if
 * the caller may: it is nobody's, and becomes his.
 */
static void
take_remains(Stream *stream)
{
	StreamRemains remains;

	if (!mcs_restore_remains(stream->name, &remains))
		return;
	if (!has_privs_of_role(GetUserId(), mcs_extension_objects()->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("there are events or positions of a change stream \"%s\" that does not exist", stream->name),
				 errdetail("They are nobody's, as after a restore without the stream's definition."),
				 errhint("Restore the rest, choose another name, or have a superuser say whose they are: INSERT INTO %s VALUES (%s, %s, " INT64_FORMAT ");",
						 quote_qualified_identifier(get_namespace_name(mcs_extension_schema()), "change_stream_kept_events"),
						 quote_literal_cstr(stream->name),
						 quote_literal_cstr(quote_identifier(GetUserNameFromId(GetUserId(), false))), remains.last_event_id)));
	stream->last_event_id = remains.last_event_id;
	ereport(NOTICE,
			(errmsg("change stream \"%s\" goes on numbering after event " INT64_FORMAT, stream->name, remains.last_event_id),
			 remains.token ? errhint("What was there before ended at the position %s: resume_change_stream(%s, start_at => ...).",
									 remains.token, quote_literal_cstr(stream->name)) : 0));
}

/* Goes on numbering after the events that a dropped stream of the name has left, if the caller may. */
static void
take_kept_events(Stream *stream)
{
	Oid			owner;

	if (!mcs_streams_kept_events(stream->name, &owner, &stream->last_event_id))
	{
		take_remains(stream);
		return;
	}
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("events of a dropped change stream \"%s\" belong to another role", stream->name),
				 errhint("Choose another name.")));
	mcs_streams_forget_kept_events(stream->name);
}

/* What a restore has left beside the events is not to act in the name of the new stream's owner. */
static void
forget_remains(const Stream *stream)
{
	int64		handlers = mcs_restore_pause_handlers(stream->name);
	int64		mirrors = mcs_restore_pause_mirrors(stream->name);

	mcs_grants_forget_stream(stream->name);
	if (mirrors > 0)
		ereport(NOTICE,
				(errmsg("mirrors that an earlier change stream \"%s\" has left are paused", stream->name),
				 errdetail("They would be written with the rights of the new one's owner."),
				 errhint("See change_mirrors, and resume_change_mirror or drop_change_mirror.")));
	if (handlers > 0)
		ereport(NOTICE,
				(errmsg("handlers that an earlier change stream \"%s\" has left are paused", stream->name),
				 errdetail("They would run with the rights of the new one's owner."),
				 errhint("See change_handlers, and resume_change_handler or drop_change_handler.")));
}

/* Fixes the position; a paused stream may do without MongoDB, unless only that knows the position. */
static void
fix_start(Stream *stream, const MongoTarget *target, const StreamStart *start)
{
	if (stream->paused && start->kind != START_EARLIEST)
		stream->resume_token = start->token;
	else
		stream->resume_token = mcs_stream_start_resolve(stream, target, start);
}

Datum
mcs_create_change_stream(PG_FUNCTION_ARGS)
{
	Stream	   *stream = palloc0(sizeof(Stream));
	Arguments	arguments;
	OptionChanges *options;
	StreamStart start = {START_NONE, NULL, true, true};
	MongoTarget *target;
	List	   *collections = NIL;

	/* now, rather than when the first statement writes: MongoDB is asked before */
	PreventCommandIfReadOnly("create_change_stream()");
	stream->name = mcs_stream_name_argument(fcinfo);
	mcs_stream_check_name(stream->name);
	/* not the session's user: a stream that a SECURITY DEFINER function makes is its owner's */
	stream->owner = GetUserId();
	check_owner_can_login(stream->owner);
	mcs_argument_begin(&arguments, fcinfo);
	options = mcs_argument_options(&arguments, &mcs_options_stream);
	mcs_argument_reset_others(options);
	mcs_stream_change_options(stream, options);
	target = take_place(stream, &arguments);
	take_start(&start, stream);
	if (stream->initial_snapshot)
		mcs_stream_check_snapshot(stream, false);
	stream->settings = mcs_owner_capture_settings();
	/* without the scope of check_as_owner: the caller is the owner, and the settings are those that he has now */
	mcs_stream_check_definition(stream, false);

	/* before MongoDB is asked, which may take long; the insertion decides */
	if (mcs_streams_load(stream->name, false, true))
		refuse_duplicate(stream->name);
	fix_start(stream, target, &start);
	/* behind the position, so that what comes in between is an event; of one that is paused when it is resumed */
	if (stream->initial_snapshot && !stream->paused)
		collections = mcs_stream_plan_snapshot(stream, target, stream->resume_token);
	/* before the insertion, which wants the number to go on from; if that is refused, the error takes this back */
	take_kept_events(stream);
	forget_remains(stream);
	if (!mcs_streams_insert(stream))
		refuse_duplicate(stream->name);
	mcs_stream_begin_snapshot(stream, collections);
	mcs_wake_at_commit(stream->name);
	tell_if_not_preloaded(stream);
	PG_RETURN_VOID();
}

/* ---- alter_change_stream ---- */

/* Checks a definition as its owner, whose functions it may call, under its own settings. */
static void
check_as_owner(Stream *stream, bool silent)
{
	OwnerScope	scope;

	mcs_owner_begin(&scope, stream->owner, stream->settings, false);
	mcs_stream_check_definition(stream, silent);
	mcs_owner_end(&scope);
}

Datum
mcs_alter_change_stream(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_stream_name_argument(fcinfo);
	Arguments	arguments;
	OptionChanges *options;
	Stream	   *stream;
	Stream		before;

	PreventCommandIfReadOnly("alter_change_stream()");
	stream = mcs_stream_load_own(name, false);
	mcs_argument_begin(&arguments, fcinfo);
	options = mcs_argument_options(&arguments, &mcs_options_stream);
	mcs_argument_reset(&arguments, options);
	mcs_stream_change_options(stream, options);
	if (mcs_argument_changes(options, OPTION_FOR_MONGODB) && !stream->paused && !stream->stopped_state && !stream->restored)
	{
		StreamStart start = {stream->resume_token ? START_TOKEN : START_NOW, stream->resume_token, false,
		mcs_argument_gives(options, "filter") || mcs_argument_gives(options, "add_fields")};

		/* a trial, so that what MongoDB refuses is not stored; silent, as the notices come below */
		check_as_owner(stream, true);
		(void) mcs_stream_start_resolve(stream, mcs_mongo_target(stream->server, stream->owner), &start);
	}

	/* from here on with the rows locked: what was looked at above may have been changed meanwhile */
	stream = mcs_stream_load_own(name, true);
	before = *stream;
	mcs_stream_change_options(stream, options);
	check_as_owner(stream, false);
	mcs_stream_check_dependents(stream, &before);
	mcs_streams_update(stream);
	if (mcs_stream_rows_differ(stream, &before))
		mcs_progress_keep_from_here(name);
	/* who reads by number misses what was not kept, and shall be told why */
	if (stream->keep_events && !before.keep_events && stream->last_event_id > 0)
		mcs_writer_leave_gap(name, NULL, stream->resume_token, "events up to here were not kept (keep_events was false)");
	/* the event that it stopped at is dealt with otherwise now */
	if (stream->stopped_token && stream->on_error != STREAM_ON_ERROR_STOP)
		mcs_streams_forget_stop(name);
	mcs_wake_at_commit(name);
	PG_RETURN_VOID();
}

/* ---- pause_change_stream, resume_change_stream ---- */

Datum
mcs_pause_change_stream(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_stream_name_argument(fcinfo);

	PreventCommandIfReadOnly("pause_change_stream()");
	/* for the right and for the locks */
	(void) mcs_stream_load_own(name, true);
	mcs_streams_pause(name);
	mcs_wake_at_commit(name);
	PG_RETURN_VOID();
}

/*
 * The position to resume at, NULL where the stored one stays.  A stream that
 * was made paused and has none yet starts now; where MongoDB can't be reached
 * that is when it can.
 */
static char *
resume_position(const Stream *stream, const char *start_at)
{
	StreamStart start = {START_NONE, NULL, stream->resume_token == NULL, false};
	char	   *token;

	if (start_at)
	{
		mcs_stream_start_parse(&start, start_at);
		return mcs_stream_start_resolve(stream, mcs_mongo_target(stream->server, stream->owner), &start);
	}
	/* the usual case: where it is, without asking MongoDB, which may not be there */
	if (stream->resume_token)
		return NULL;
	token = mcs_stream_start_resolve_now(stream, mcs_mongo_target(stream->server, stream->owner));
	if (token == NULL)
		ereport(NOTICE,
				(errmsg("change stream \"%s\" will start when MongoDB can be reached", stream->name),
				 errdetail("It has no position yet, and MongoDB could not be asked for one.")));
	return token;
}

/* Where a position lies from another one: of different forms only the times can be compared. */
static int
compare_positions(const char *a, const char *b)
{
	if (mcs_token_time(a) != mcs_token_time(b))
		return mcs_token_time(a) < mcs_token_time(b) ? -1 : 1;
	if (mcs_token_of_split_stream(a) != mcs_token_of_split_stream(b))
		return 0;
	return mcs_token_compare(a, strlen(a), b, strlen(b));
}

/* What a gap row says of a move from the stored position to another; NULL where it is no move. */
static const char *
move_reason(const Stream *stream, const char *token)
{
	int			compared = compare_positions(stream->resume_token, token);

	if (stream->stopped_state && strcmp(stream->stopped_state, "history_lost") == 0)
		return "history lost";
	if (compared < 0)
		return "resume_change_stream was told to start there";
	if (compared > 0)
		return "resume_change_stream was told to go back: from here on events repeat that the stream has had";
	return NULL;
}

/*
 * A row for what lies between the stored position and the new one (NULL: it
 * stays), or that events repeat from there; and one before a snapshot, which
 * says what exists, whatever the rows before it say.
 */
static void
leave_gap(const Stream *stream, const char *token, bool snapshot)
{
	const char *reason = token && stream->resume_token ? move_reason(stream, token) : NULL;
	const char *follows = "the documents that exist follow as rows of operation_type snapshot";

	if (snapshot && stream->last_event_id > 0)
		reason = reason ? psprintf("%s; %s", reason, follows) : psprintf("resume_change_stream was told to copy: %s", follows);
	if (reason)
		mcs_writer_leave_gap(stream->name, stream->resume_token, token ? token : stream->resume_token, reason);
}

/* The token of the event to leave out, if it can be the one that is in the way; moved: the position is not the stored one. */
static char *
check_skip(const Stream *stream, const char *text, const char *position, bool moved)
{
	char	   *token = mcs_stream_check_token(text, "skip");

	if (!mcs_token_of_event(token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("skip is no event's token: \"%s\"", text),
				 errdetail("It stands for a time, as those do that MongoDB sends between events."),
				 errhint("Take the token of the event that change stream \"%s\" stopped at from its reason or last_error in change_stream_status.",
						 stream->name)));
	if (position && (mcs_token_same_event(token, position) || compare_positions(token, position) < 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("change stream \"%s\" has passed the event to skip", stream->name),
				 errdetail("The event is %s, the position %s.", token, position),
				 errhint("Take the token of the event that it stopped at from its reason or last_error in change_stream_status.")));
	if (stream->stopped_token && !moved && !mcs_token_same_event(token, stream->stopped_token))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("skip is not the event that change stream \"%s\" stopped at", stream->name),
				 errdetail("It stopped at %s.", stream->stopped_token),
				 errhint("SELECT resume_change_stream(%s, skip => %s);", quote_literal_cstr(stream->name),
						 quote_literal_cstr(stream->stopped_token))));
	return token;
}

Datum
mcs_resume_change_stream(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_stream_name_argument(fcinfo);
	char	   *start_at = mcs_convert_text_argument(fcinfo, 1);
	char	   *skip = mcs_convert_text_argument(fcinfo, 3);
	bool		snapshot = bool_argument(fcinfo, 2);
	List	   *collections = NIL;
	Stream	   *stream;
	char	   *token;

	PreventCommandIfReadOnly("resume_change_stream()");
	stream = mcs_stream_load_own(name, false);
	/* what create_change_stream was asked for and, as it was to be paused, has left */
	snapshot |= stream->initial_snapshot && stream->paused && stream->never_ran;
	if (snapshot)
		mcs_stream_check_snapshot(stream, false);
	/* a position that is lost says nothing; the documents of now say all, and need MongoDB */
	if (snapshot && !start_at &&
		(!stream->resume_token || (stream->stopped_state && strcmp(stream->stopped_state, "history_lost") == 0)))
		start_at = "now";
	/* its form before MongoDB is asked; whether it fits the position is seen below */
	if (skip)
		(void) mcs_stream_check_token(skip, "skip");
	token = resume_position(stream, start_at);
	if (snapshot)
		collections = mcs_stream_plan_snapshot(stream, mcs_mongo_target(stream->server, stream->owner),
											   token ? token : stream->resume_token);

	/* locked, and as it is now: somebody else may have moved it while MongoDB was asked */
	stream = mcs_stream_load_own(name, true);
	if (skip)
		skip = check_skip(stream, skip, start_at ? token : stream->resume_token, start_at != NULL);
	if (stream->resume_token && !start_at)
		token = NULL;
	if (snapshot)
		mcs_stream_check_snapshot(stream, true);
	leave_gap(stream, token, snapshot);
	if (token)
	{
		mcs_progress_set_position(name, token);
		mcs_snapshots_begin_again(name);
	}
	else if (stream->restored)
		mcs_snapshots_begin_emptied(name);
	mcs_stream_begin_snapshot(stream, collections);
	/* whoever resumes a stream that was restored in part has seen what there is of it */
	mcs_restore_mend_dependents(name);
	mcs_streams_resume(name, skip);
	if (stream->stopped_state)
		mcs_alert_of_stream(name, stream->stopped_state, mcs_shared_state_name(STREAM_STARTING),
							"resume_change_stream() was called", NULL);
	mcs_wake_at_commit(name);
	tell_if_not_preloaded(stream);
	PG_RETURN_VOID();
}

/* ---- drop_change_stream ---- */

/* Of a stream that is gone only the events can be left. */
static bool
drop_kept_events(const char *name)
{
	Oid			owner;
	int64		last_event_id;

	if (!mcs_streams_kept_events(name, &owner, &last_event_id))
		return false;
	mcs_stream_check_owner(owner, "change stream", name);
	mcs_events_delete_all(name, owner);
	mcs_streams_forget_kept_events(name);
	return true;
}

/* What handlers have given up is work left to somebody, which a drop shall not take away without being told to. */
static void
refuse_dead_letters(const char *name)
{
	int64		count = mcs_dead_letters_count(name);

	if (count > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("change stream \"%s\" has dead letters", name),
				 errdetail_plural(INT64_FORMAT " event, which a handler has given up or which could not be written, would be deleted.",
								  INT64_FORMAT " events, which handlers have given up or which could not be written, would be deleted.", count, count),
				 errhint("change_stream_dead_letter_list shows them; SELECT drop_change_stream(%s, discard_dead_letters => true);",
						 quote_literal_cstr(name))));
}

/* A mirror is no more without its stream; its table is the user's. */
static void
tell_of_mirrors(const char *name)
{
	List	   *mirrors = mcs_mirrors_of_stream(name);
	int			count = list_length(mirrors);
	StringInfoData tables;

	if (mirrors == NIL)
		return;
	initStringInfo(&tables);
	for (int i = 0; i < Min(count, TABLES_SHOWN); i++)
		appendStringInfo(&tables, "%s%s", i ? ", " : "", ((Mirror *) list_nth(mirrors, i))->table);
	if (count > TABLES_SHOWN)
		appendStringInfo(&tables, ", and %d more", count - TABLES_SHOWN);
	ereport(NOTICE,
			(errmsg("mirrors of change stream \"%s\" are dropped with it", name),
			 errdetail("Their tables stay as they are: %s.", tables.data)));
}

Datum
mcs_drop_change_stream(PG_FUNCTION_ARGS)
{
	char	   *name = mcs_stream_name_argument(fcinfo);
	bool		keep_events = bool_argument(fcinfo, 1);
	/* in version 1.0 there was no such argument */
	bool		discard = PG_NARGS() < 3 || bool_argument(fcinfo, 2);
	Stream	   *stream;

	PreventCommandIfReadOnly("drop_change_stream()");
	stream = mcs_streams_load(name, false, true);
	if (stream == NULL && !keep_events && drop_kept_events(name))
		PG_RETURN_VOID();
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change stream \"%s\" does not exist", name)));
	/* before anything is locked, or anybody could hold up the stream's processes */
	mcs_stream_check_owner(stream->owner, "change stream", name);
	/* handlers before the stream; those that are made meanwhile are locked behind it */
	mcs_handlers_lock_all(name);
	stream = mcs_stream_load_own(name, true);
	mcs_handlers_lock_all(name);
	/* with everything locked, so that none is added that was not counted */
	if (!discard)
		refuse_dead_letters(name);
	/* events before the stream: triggers on them may still look it up */
	if (!keep_events)
		mcs_events_delete_all(name, stream->owner);
	tell_of_mirrors(name);
	mcs_streams_delete(stream, keep_events);
	mcs_wake_forget_numbers_at_commit(name, NULL);
	mcs_wake_at_commit(name);
	PG_RETURN_VOID();
}
