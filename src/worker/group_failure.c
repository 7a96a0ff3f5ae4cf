/*
 * worker/group_failure.c
 *	  What becomes of a group when MongoDB, or the way to it, fails.
 *
 * What ended the cursor and may pass is tried again for all members, whose status
 * says so.  Whatever else it is, they are given back, and ordinary workers find
 * out, one by one, what is the matter (failure.c).
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

#define REFUSED_RETRY_MS	60000

/* How long one wait for better times is, between which the group looks around. */
#define WAIT_STEP_MS		1000

static void
give(StreamGroup *group, void *end)
{
	mcs_member_give(group, *(GroupEnd *) end);
}

void
mcs_group_failure_give_all(StreamGroup *group, GroupEnd end)
{
	mcs_member_each(group, give, &end);
}

void
mcs_group_failure_dissolve(StreamGroup *group, const char *why)
{
	ereport(LOG,
			(errmsg("change streams that were followed together are followed alone for a while"),
			 errdetail("%s", why)));
	mcs_group_cursor_close_session(group);
	mcs_group_failure_give_all(group, GROUP_END_ALONE);
}

/* What all members are told. */
typedef struct Trouble
{
	StreamState state;
	const char *reason;
	const char *error;
	TimestampTz until;
} Trouble;

static void
tell_trouble(StreamGroup *group, void *arg)
{
	const Trouble *trouble = arg;
	StreamWorker *worker = group->current->worker;

	worker->history.verified = false;
	mcs_worker_set_state(worker, trouble->state, trouble->reason, trouble->error, trouble->until);
	mcs_slot_trusted();
}

static void
count_error(StreamGroup *group, void *error)
{
	mcs_numbers_error(unpack_sql_state(((ErrorData *) error)->sqlerrcode));
}

/* Says what is the matter, and waits; or until something changes. */
static void
wait_for_better(StreamGroup *group, Trouble *trouble)
{
	mcs_member_each(group, tell_trouble, trouble);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		GroupNews	news;

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		news = mcs_group_slot_news();
		if (mcs_shared_time_has_come(trouble->until, now) || news.changed || news.joins || mcs_worker_connection_is_changed())
			return;
		mcs_process_sleep(now, trouble->until, WAIT_STEP_MS);
	}
}

/* It was every stream's cursor. */
static void
count_failure(StreamGroup *group, void *failure)
{
	mcs_failure_count(failure);
}

void
mcs_group_failure_handle(StreamGroup *group)
{
	MongoError	failure = group->reader->mongo.failure;
	Trouble		trouble = {.state = STREAM_RETRYING};
	MemoryContext context = group->reader->process.definition_context;

	mcs_member_each(group, count_failure, &failure);
	group->reader->mongo.failure.class = MONGO_ERROR_NONE;
	group->reopen = true;
	mcs_group_cursor_close(group);
	MemoryContextReset(context);
	MemoryContextSwitchTo(context);
	switch (failure.class)
	{
		case MONGO_ERROR_TRANSIENT:
		case MONGO_ERROR_NO_SNAPSHOT:
			if (failure.at_open)
				mcs_group_cursor_close_session(group);
			trouble.reason = mcs_failure_passing_reason(&failure);
			trouble.error = mcs_failure_line(&failure);
			trouble.until = mcs_worker_next_retry(group->reader);
			wait_for_better(group, &trouble);
			break;
		case MONGO_ERROR_AUTHENTICATION:
			/* a role that may watch only its collections does so alone */
			if (failure.code != MONGO_CODE_UNAUTHORIZED)
			{
				mcs_group_cursor_close_session(group);
				trouble.state = STREAM_ERROR;
				trouble.reason = mcs_failure_refusal_reason(&failure, "MongoDB refuses the connection, which is tried again each minute");
				trouble.error = mcs_failure_line(&failure);
				trouble.until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS);
				wait_for_better(group, &trouble);
				break;
			}
			mcs_group_failure_dissolve(group, mcs_failure_line(&failure));
			break;
		case MONGO_ERROR_CONFIGURATION:
			/* see the top of group_cursor.c */
			if (failure.code != MONGO_CODE_CHANGE_STREAM_FATAL_ERROR || group->at_time)
				mcs_group_failure_dissolve(group, mcs_failure_line(&failure));
			group->at_time = true;
			break;
		case MONGO_ERROR_HANGING:
		case MONGO_ERROR_DRIVER_ENDED:
			mcs_failure_leave_driver(&failure);
			break;
		default:
			mcs_group_failure_dissolve(group, mcs_failure_line(&failure));
	}
}

void
mcs_group_failure_of_ours(StreamGroup *group, ErrorData *error)
{
	Trouble		trouble = {.state = STREAM_RETRYING,.reason = "an error in PostgreSQL interrupted the change streams that are followed together"};
	bool		refused = mcs_failure_is_of_owner(error, false);

	mcs_member_each(group, count_error, error);
	mcs_group_cursor_close_session(group);
	group->reopen = true;
	MemoryContextSwitchTo(group->reader->process.definition_context);
	if (refused)
	{
		trouble.state = STREAM_ERROR;
		trouble.reason = mcs_failure_owner_reason(error);
	}
	trouble.error = error->message;
	trouble.until = refused ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS) : mcs_worker_next_retry(group->reader);
	wait_for_better(group, &trouble);
	MemoryContextReset(group->reader->process.definition_context);
}
