/*
 * handler/command.c
 *	  The functions that make, change and end handlers.
 *
 * Who may do so is who may do it with the stream.  Each locks the stream's rows
 * or the handler's and the positions of its workers, so that a worker which is
 * about to commit waits, then sees that something has changed, and rolls back:
 * when a function has returned, nothing is done by the old definition any more.
 */
#include "mongo_change_stream.h"

#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "stream/stream.h"
#include "tables/tables.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_create_change_handler);
PG_FUNCTION_INFO_V1(mcs_alter_change_handler);
PG_FUNCTION_INFO_V1(mcs_pause_change_handler);
PG_FUNCTION_INFO_V1(mcs_resume_change_handler);
PG_FUNCTION_INFO_V1(mcs_drop_change_handler);

/* ---- arguments and rights ---- */

/* The handler that the first argument names, of whose stream the caller must be an owner. */
Handler *
mcs_handler_load_own(FunctionCallInfo fcinfo, bool for_update)
{
	Handler    *handler;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("handler_name must not be null")));
	handler = mcs_handlers_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), for_update, false);
	mcs_stream_check_owner(handler->owner, "change handler", handler->name);
	return handler;
}

/* ---- create_change_handler ---- */

static void
refuse_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("change handler \"%s\" already exists", name)));
}

/* Checks a definition as the owner, whose code it compiles, under its own settings; in the owner's own session unrestricted. */
static void
check_as_owner(Handler *handler)
{
	OwnerScope	scope;

	mcs_owner_begin(&scope, handler->owner, handler->settings, true);
	mcs_handler_check(handler);
	mcs_look_for_tables(handler);
	mcs_owner_end(&scope);
}

Datum
mcs_create_change_handler(PG_FUNCTION_ARGS)
{
	Handler    *handler = palloc0(sizeof(Handler));
	Arguments	arguments;
	OptionChanges *options;
	Stream	   *stream;
	int64		last_event_id;

	/* now, rather than when the first statement writes: code of the owner is compiled before */
	PreventCommandIfReadOnly("create_change_handler()");
	mcs_argument_begin(&arguments, fcinfo);
	handler->name = mcs_argument_required(&arguments, "handler_name");
	mcs_handler_check_name(handler->name);
	handler->stream = mcs_argument_required(&arguments, "stream_name");
	/* not locked yet: while the dialect is translated and code is compiled, the stream's worker need not wait */
	handler->owner = mcs_stream_load_own(handler->stream, false)->owner;
	options = mcs_argument_options(&arguments, &mcs_options_handler);
	mcs_argument_reset_others(options);
	mcs_handler_change_options(handler, options);
	handler->settings = mcs_owner_capture_settings();
	check_as_owner(handler);

	/* for the message's sake; the insertion decides between two at the same time */
	if (mcs_handlers_load(handler->name, false, true))
		refuse_duplicate(handler->name);
	/*
	 * The stream's worker, which says of new events whether they wait for handlers,
	 * is held up from here on.  And the right is asked for again: the stream may be
	 * somebody else's by now.
	 */
	stream = mcs_stream_load_own(handler->stream, true);
	if (!stream->keep_events)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" keeps no events, which a handler needs", stream->name),
				 errhint("SELECT alter_change_stream(%s, keep_events => true);", quote_literal_cstr(stream->name))));
	last_event_id = mcs_handler_start(handler, stream);
	if (!mcs_handlers_insert(handler, last_event_id))
		refuse_duplicate(handler->name);
	mcs_handler_tell_of_absent_documents(handler, stream);
	mcs_look_for_fields(handler, stream);
	/* events are written as waiting for handlers from now on, also by a batch that has begun */
	if (!stream->has_handlers)
	{
		mcs_progress_redefine(handler->stream);
		mcs_wake_at_commit(handler->stream);
	}
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	PG_RETURN_VOID();
}

/* ---- alter_change_handler ---- */

/* Another number of workers divides the events differently, so all must stand at one event. */
static void
change_workers(const Handler *handler)
{
	int64		least,
				greatest;

	if (!mcs_handlers_lock_positions(handler->name, &least, &greatest))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the workers of change handler \"%s\" are at different events", handler->name),
				 errdetail("The first is at event " INT64_FORMAT ", the last at event " INT64_FORMAT ".", least, greatest),
				 errhint("Let them catch up, with the change stream paused: SELECT pause_change_stream(%s);",
						 quote_literal_cstr(handler->stream))));
	mcs_handlers_set_workers(handler->name, handler->workers, least);
}

Datum
mcs_alter_change_handler(PG_FUNCTION_ARGS)
{
	Arguments	arguments;
	OptionChanges *options;
	Handler    *handler;
	int			workers;

	PreventCommandIfReadOnly("alter_change_handler()");
	handler = mcs_handler_load_own(fcinfo, true);
	/* locked at once, since MongoDB is not asked; the stream's rows are not, as nothing changes in them */
	workers = handler->workers;
	mcs_argument_begin(&arguments, fcinfo);
	options = mcs_argument_options(&arguments, &mcs_options_handler);
	mcs_argument_reset(&arguments, options);
	mcs_handler_change_options(handler, options);
	/* one of the two takes the place of the other */
	if (mcs_argument_gives(options, "body") && !mcs_argument_gives(options, "procedure"))
		handler->procedure = NULL;
	else if (mcs_argument_gives(options, "procedure") && !mcs_argument_gives(options, "body"))
		handler->body = NULL;
	check_as_owner(handler);
	if (mcs_argument_gives(options, "body") || mcs_argument_gives(options, "condition"))
	{
		Stream	   *stream = mcs_streams_load(handler->stream, false, false);

		mcs_handler_tell_of_absent_documents(handler, stream);
		mcs_look_for_fields(handler, stream);
	}
	mcs_handlers_update(handler);
	/* the positions are locked in either case, and a worker that saves meanwhile waits, and finds another definition */
	if (handler->workers != workers)
		change_workers(handler);
	else
		(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	mcs_handlers_redefine(handler->name);
	/* what has failed was another definition */
	mcs_handlers_forget_attempts(handler->name);
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	PG_RETURN_VOID();
}

/* ---- pause_change_handler, resume_change_handler, drop_change_handler ---- */

Datum
mcs_pause_change_handler(PG_FUNCTION_ARGS)
{
	Handler    *handler;

	PreventCommandIfReadOnly("pause_change_handler()");
	handler = mcs_handler_load_own(fcinfo, true);
	(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	mcs_handlers_redefine(handler->name);
	mcs_handlers_pause(handler->name);
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	PG_RETURN_VOID();
}

/* Tells of the way back from a state that was told of. */
static void
alert_of_resume(const Handler *handler)
{
	Alert		alert = {.of_handler = true,.name = handler->name,.from = mcs_shared_state_name(STREAM_ERROR),
	.to = mcs_shared_state_name(STREAM_STARTING),.reason = "resume_change_handler() was called"};

	mcs_alert(&alert);
}

Datum
mcs_resume_change_handler(PG_FUNCTION_ARGS)
{
	Handler    *handler;

	PreventCommandIfReadOnly("resume_change_handler()");
	handler = mcs_handler_load_own(fcinfo, true);
	(void) mcs_handlers_lock_positions(handler->name, NULL, NULL);
	mcs_handlers_redefine(handler->name);
	mcs_handlers_resume(handler->name);
	if (handler->stopped_reason)
		alert_of_resume(handler);
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	PG_RETURN_VOID();
}

Datum
mcs_drop_change_handler(PG_FUNCTION_ARGS)
{
	Handler    *handler;
	int64		least;
	OwnerScope	scope;

	PreventCommandIfReadOnly("drop_change_handler()");
	handler = mcs_handler_load_own(fcinfo, true);
	(void) mcs_handlers_lock_positions(handler->name, &least, NULL);

	/*
	 * Events that waited for this handler get the status that the others give them.
	 * That may be many, so it is done before the stream is locked; and as the owner,
	 * since triggers on the events table run.
	 */
	mcs_owner_begin(&scope, handler->owner, handler->settings, true);
	least = mcs_processing_release(handler->stream, handler->name, least);
	mcs_owner_end(&scope);
	/* held up for the events that have come meanwhile only: the stream's worker learns whether there are handlers yet */
	(void) mcs_streams_load(handler->stream, true, false);
	mcs_handlers_delete(handler->name);
	mcs_wake_forget_numbers_at_commit(handler->stream, handler->name);
	mcs_progress_redefine(handler->stream);
	mcs_wake_at_commit(handler->stream);
	mcs_wake_handlers_at_commit(handler->stream, handler->name);
	mcs_owner_begin(&scope, handler->owner, handler->settings, true);
	(void) mcs_processing_release(handler->stream, handler->name, least);
	mcs_owner_end(&scope);
	PG_RETURN_VOID();
}
