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

static void
count_unproven(StreamGroup *group, void *count)
{
	*(int *) count += group->current->unproven;
}

static void
leave_unproven(StreamGroup *group, void *unused)
{
	if (group->current->unproven)
		mcs_member_give(group, GROUP_END_PARTED);
}

void
mcs_group_failure_dissolve(StreamGroup *group, const char *why)
{
	int			unproven = 0;

	ereport(LOG,
			(errmsg("change streams that were followed together are followed alone for a while"),
			 errdetail("%s", why)));
	mcs_group_cursor_close_session(group);
	mcs_member_each(group, count_unproven, &unproven);
	if (unproven == 0 || unproven == list_length(group->members))
	{
		mcs_group_failure_give_all(group, GROUP_END_PARTED);
		return;
	}
	/* the others have worked alone since it came before: it is one of these */
	mcs_member_each(group, leave_unproven, NULL);
	group->refusals = 0;
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

/* One for whom there is something in what cannot be handed out as a whole. */
static void
leave_concerned(StreamGroup *group, void *concerned)
{
	if (!group->current->inbox.full)
		return;
	(*(int *) concerned)++;
	mcs_member_give(group, GROUP_END_BEHIND);
}

void
mcs_group_failure_too_large(StreamGroup *group)
{
	int			concerned = 0;

	mcs_member_each(group, leave_concerned, &concerned);
	if (concerned == 0)
	{
		mcs_group_failure_dissolve(group, "A transaction of MongoDB is too large to be handed out as a whole.");
		return;
	}
	ereport(LOG,
			(errmsg_plural("%d change stream of those that are followed together is followed alone for a while",
						   "%d change streams of those that are followed together are followed alone for a while", concerned, concerned),
			 errdetail("A transaction of MongoDB in which they have a part is too large to be handed out as a whole.")));
	/* the others go on behind it: without its streams the cursor leaves it out */
	mcs_group_cursor_close(group);
	group->reopen = true;
}

/* Tries again what may pass. */
static void
retry_passing(StreamGroup *group, const MongoError *failure)
{
	Trouble		trouble = {.state = STREAM_RETRYING};

	if (failure->at_open || failure->class == MONGO_ERROR_AUTHENTICATION)
		mcs_group_cursor_close_session(group);
	trouble.reason = mcs_failure_passing_reason(failure);
	trouble.error = mcs_failure_line(failure);
	trouble.until = mcs_worker_next_retry(group->reader);
	wait_for_better(group, &trouble);
}

/* The user is refused, whom somebody has to mend. */
static void
wait_for_user(StreamGroup *group, const MongoError *failure)
{
	Trouble		trouble = {.state = STREAM_ERROR};

	mcs_group_cursor_close_session(group);
	trouble.reason = mcs_failure_refusal_reason(failure, "MongoDB refuses the connection, which is tried again each minute");
	trouble.error = mcs_failure_line(failure);
	trouble.until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS);
	wait_for_better(group, &trouble);
}

/* What worked before may be refused by a whim of the server, once; what is refused again each tries alone, with what it may and asks for. */
static void
retry_refused(StreamGroup *group, const MongoError *failure)
{
	if (group->refusals++ == 0)
		retry_passing(group, failure);
	else
		mcs_group_failure_dissolve(group, mcs_failure_line(failure));
}

static void
leave_oldest(StreamGroup *group, void *oldest)
{
	if ((mcs_token_time(group->current->worker->stream->resume_token) >> 32) <= *(uint64 *) oldest + 1)
		mcs_member_give(group, GROUP_END_ALONE);
}

/* The oplog has lost what follows the position of those that are farthest back: they tell of it, and the others go on. */
static void
leave_lost(StreamGroup *group)
{
	uint64		oldest = PG_UINT64_MAX - 1;
	ListCell   *cell;

	foreach(cell, group->members)
		oldest = Min(oldest, mcs_token_time(((GroupMember *) lfirst(cell))->worker->stream->resume_token) >> 32);
	mcs_member_each(group, leave_oldest, &oldest);
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
			retry_passing(group, &failure);
			break;
		case MONGO_ERROR_AUTHENTICATION:
			/* a role that may watch only its collections does so alone */
			if (failure.code == MONGO_CODE_UNAUTHORIZED)
				retry_refused(group, &failure);
			else
				wait_for_user(group, &failure);
			break;
		case MONGO_ERROR_REFUSED:
			retry_refused(group, &failure);
			break;
		case MONGO_ERROR_HISTORY_LOST:
			leave_lost(group);
			break;
		case MONGO_ERROR_CONFIGURATION:
			/* see the top of group_cursor.c */
			if (failure.code == MONGO_CODE_CHANGE_STREAM_FATAL_ERROR && !group->at_time)
				group->at_time = true;
			else
				retry_refused(group, &failure);
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
