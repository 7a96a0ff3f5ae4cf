/*
 * worker/group.c
 *	  Several streams followed by one process, one session and one cursor.
 *
 * The group reads as an ordinary worker does (gather.c), but writes nothing: what
 * it has gathered, which ends where MongoDB's transactions do, is handed out to
 * its members (route.c), and each of them writes its own transaction (member.c).
 * The next round is read when all have: so a member waits for the others for a
 * round at most, and one that is slow goes its own way.
 *
 * The cursor is opened at the least of the members' positions, and again when one
 * joins or is changed.  One that leaves is just not served any more.  One whose
 * position is far behind the others' catches up by itself first.
 *
 * What ends the cursor and may pass is tried again for all of them, whose status
 * says so.  Whatever else goes wrong, the members are given back, and ordinary
 * workers find out, one by one, what is the matter.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "shared/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* How often a position is saved that moves without events, and what else is done now and then. */
#define TICK_MS				1000

/* One that is so far behind the others in MongoDB's time catches up alone. */
#define BEHIND_S			10

/* A member that stays alone for so long gets an ordinary worker again. */
#define ALONE_MS			10000

/* A round ends at whichever comes first, and then at the end of a time. */
#define ROUND_EVENTS		20000
#define ROUND_BYTES			(32 * 1024 * 1024)

#define REFUSED_RETRY_MS	60000

/* How long a member is waited for that waits for a lock. */
#define LOCK_TIMEOUT_TEXT	"3s"

PGDLLEXPORT void mcs_group_main(Datum arg);

/* ---- members ---- */

/* Calls a function for each member in turn, with it in use. */
static void
for_each(StreamGroup *group, void (*function) (StreamGroup *group, void *arg), void *arg)
{
	ListCell   *cell;

	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		if (member->gone)
			continue;
		mcs_member_use(group, member);
		function(group, arg);
		if (!member->gone)
			mcs_member_done(group);
	}
}

static void
give(StreamGroup *group, void *end)
{
	mcs_member_give(group, *(GroupEnd *) end);
}

static void
reload_if_changed(StreamGroup *group, void *unused)
{
	if (mcs_slot_is_changed())
		mcs_member_reload(group);
}

static void
forget(StreamGroup *group, void *unused)
{
	mcs_member_forget(group->current);
	group->current->worker->history.verified = false;
}

/* Ends the cursor; what was read and not written will come again. */
static void
close_stream(StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		mcs_member_forget(lfirst(cell));
	mcs_worker_close_stream(group->reader);
	resetStringInfo(&group->quiet_token);
	group->quiet_asked_at = 0;
	group->closed = false;
}

static void
close_session(StreamGroup *group)
{
	close_stream(group);
	for_each(group, forget, NULL);
	mcs_worker_close_session(group->reader);
}

/* All of them go on alone. */
static void
dissolve_for(StreamGroup *group, const char *why)
{
	GroupEnd	end = GROUP_END_ALONE;

	ereport(LOG,
			(errmsg("change streams that were followed together are followed alone for a while"),
			 errdetail("%s", why)));
	close_session(group);
	for_each(group, give, &end);
}

/* ---- failures ---- */

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

/* Says what is the matter, and waits; or until something changes. */
static void
wait_for_better(StreamGroup *group, Trouble *trouble)
{
	for_each(group, tell_trouble, trouble);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		GroupNews	news;

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		news = mcs_group_slot_news();
		if (mcs_shared_time_has_come(trouble->until, now) || news.changed || news.joins || mcs_worker_connection_is_changed())
			return;
		mcs_process_sleep(now, trouble->until, TICK_MS);
	}
}

/* What ended the cursor, or kept it from opening. */
static void
handle_failure(StreamGroup *group)
{
	MongoError	failure = group->reader->mongo.failure;
	Trouble		trouble = {.state = STREAM_RETRYING};
	MemoryContext context = group->reader->process.definition_context;

	group->reader->mongo.failure.class = MONGO_ERROR_NONE;
	group->reopen = true;
	close_stream(group);
	MemoryContextReset(context);
	MemoryContextSwitchTo(context);
	switch (failure.class)
	{
		case MONGO_ERROR_TRANSIENT:
		case MONGO_ERROR_NO_SNAPSHOT:
			if (failure.at_open)
				close_session(group);
			trouble.reason = mcs_failure_passing_reason(&failure);
			trouble.error = mcs_failure_line(&failure);
			trouble.until = mcs_worker_next_retry(group->reader);
			wait_for_better(group, &trouble);
			break;
		case MONGO_ERROR_AUTHENTICATION:
			/* a role that may watch only its collections does so alone */
			if (failure.code != MONGO_CODE_UNAUTHORIZED)
			{
				close_session(group);
				trouble.state = STREAM_ERROR;
				trouble.reason = mcs_failure_refusal_reason(&failure, "MongoDB refuses the connection, which is tried again each minute");
				trouble.error = mcs_failure_line(&failure);
				trouble.until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS);
				wait_for_better(group, &trouble);
				break;
			}
			dissolve_for(group, mcs_failure_line(&failure));
			break;
		case MONGO_ERROR_HANGING:
		case MONGO_ERROR_DRIVER_ENDED:
			mcs_failure_leave_driver(&failure);
			break;
		default:
			dissolve_for(group, mcs_failure_line(&failure));
	}
}

/* ---- opening ---- */

static void
verify(StreamGroup *group, void *unused)
{
	StreamWorker *worker = group->current->worker;
	char	   *lost;

	if (worker->history.verified || group->reader->mongo.failure.class != MONGO_ERROR_NONE)
		return;
	/* what it is compared with may have been read long ago */
	mcs_member_reload(group);
	if (group->current == NULL)
		return;
	/* it asks by the group's session, in which no cursor is open */
	worker->mongo.session = group->reader->mongo.session;
	lost = mcs_history_verify(worker);
	worker->mongo.session = NULL;
	if (worker->mongo.failure.class != MONGO_ERROR_NONE)
	{
		group->reader->mongo.failure = worker->mongo.failure;
		worker->mongo.failure.class = MONGO_ERROR_NONE;
	}
	else if (lost || worker->process.reload || !worker->history.verified)
		mcs_member_give(group, GROUP_END_ALONE);
}

/* The time of the member that is farthest, in seconds. */
static int64
farthest(const StreamGroup *group)
{
	int64		most = 0;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		const GroupMember *member = lfirst(cell);

		if (!member->gone)
			most = Max(most, (int64) (mcs_token_time(member->worker->stream->resume_token) >> 32));
	}
	return most;
}

static void
leave_behind(StreamGroup *group, void *arg)
{
	int64		time = (int64) (mcs_token_time(group->current->worker->stream->resume_token) >> 32);

	if (time < *(int64 *) arg - BEHIND_S)
		mcs_member_give(group, GROUP_END_BEHIND);
}

/* Whether tokens of the second version are wanted: where there are any, as any time can be named by one. */
static bool
wants_version_2(const StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		if (mcs_token_of_split_stream(((GroupMember *) lfirst(cell))->worker->stream->resume_token))
			return true;
	return false;
}

/* One whose position is an event of the other version has no order with what comes, until nothing happens for a moment. */
static void
leave_without_order(StreamGroup *group, void *arg)
{
	const char *position = group->current->worker->stream->resume_token;

	if (mcs_token_of_event(position) && mcs_token_of_split_stream(position) != *(bool *) arg)
		mcs_member_give(group, GROUP_END_ALONE);
}

/* The definition that all members have in common. */
static void
make_common(StreamGroup *group)
{
	const Stream *first = ((GroupMember *) linitial(group->members))->worker->stream;
	StreamWorker *reader = group->reader;
	MemoryContext old;
	Stream	   *common;
	const char *least = NULL;
	ListCell   *cell;

	MemoryContextReset(group->common_context);
	old = MemoryContextSwitchTo(group->common_context);
	common = palloc0(sizeof(Stream));
	common->name = pstrdup(reader->process.name);
	common->server = pstrdup(first->server);
	common->owner = first->owner;
	common->database = pstrdup(first->database);
	common->full_document = pstrdup(first->full_document);
	common->full_document_before_change = pstrdup(first->full_document_before_change);
	common->show_expanded_events = first->show_expanded_events;
	common->max_await_ms = first->max_await_ms;
	foreach(cell, group->members)
	{
		const Stream *stream = ((GroupMember *) lfirst(cell))->worker->stream;

		const char *passed = ((GroupMember *) lfirst(cell))->inbox.passed;

		common->max_await_ms = Min(common->max_await_ms, stream->max_await_ms);
		if (least == NULL || strcmp(passed, least) < 0)
			least = passed;
	}
	/* an event itself, as behind an invalidate the cursor has to begin there */
	common->resume_token = mcs_token_of_event(least) ? pstrdup(least) : mcs_token_before_time(least, wants_version_2(group));
	MemoryContextSwitchTo(old);
	reader->stream = common;
}

/* Whether MongoDB is asked for events alone, which are not too large for a reply; updates are looked up by each member. */
static bool
has_no_images(const Stream *common)
{
	return strcmp(common->full_document_before_change, "off") == 0 &&
		(strcmp(common->full_document, "default") == 0 || strcmp(common->full_document, "updateLookup") == 0);
}

/* The cursor, at the least of the members' positions. */
static void
open_stream(StreamGroup *group)
{
	StreamWorker *reader = group->reader;
	ChangeStreamSpec spec;
	List	   *collections = mcs_route_prepare(group);
	MemoryContext old;
	ListCell   *cell;

	foreach(cell, group->members)
		mcs_member_begin(lfirst(cell));
	make_common(group);
	old = MemoryContextSwitchTo(group->batch_context);
	mcs_stream_group_spec(reader->stream, collections, &spec);
	if (strcmp(reader->stream->full_document, "updateLookup") == 0)
		spec.full_document = NULL;
	spec.comment = psprintf("mongo_change_stream: group " UINT64_FORMAT " (" UINT64_FORMAT "/%u)", (uint64) group->key,
							GetSystemIdentifier(), MyDatabaseId);
	spec.sole = true;
	spec.queue_bytes = MONGO_QUEUE_BYTES;
	spec.start = CHANGE_STREAM_START_AFTER;
	spec.token = reader->stream->resume_token;
	spec.whole_events = has_no_images(reader->stream);
	reader->mongo.batch_size = spec.batch_size;
	MemoryContextSwitchTo(reader->mongo.session_context);
	reader->mongo.cursor = mcs_cursor_open(reader->mongo.session, &spec);
	MemoryContextSwitchTo(old);
	MemoryContextReset(group->batch_context);
	mcs_worker_begin_reading(reader);
	resetStringInfo(&group->quiet_token);
	group->moved = false;
	group->reopen = false;
}

/* Opens session and cursor for those that are to be followed; false where something else is to be done first. */
static bool
open_group(StreamGroup *group)
{
	bool		version_2 = wants_version_2(group);
	int64		most;
	ListCell   *cell;

	close_stream(group);
	for_each(group, leave_without_order, &version_2);
	most = farthest(group);
	for_each(group, leave_behind, &most);
	mcs_member_sweep(group);
	if (group->members == NIL)
		return false;
	foreach(cell, group->members)
		mcs_member_begin(lfirst(cell));
	make_common(group);
	mcs_worker_open_session(group->reader);
	for_each(group, verify, NULL);
	mcs_member_sweep(group);
	if (group->reader->mongo.failure.class != MONGO_ERROR_NONE)
	{
		handle_failure(group);
		return false;
	}
	if (group->members == NIL)
		return false;
	open_stream(group);
	return true;
}

/* ---- rounds ---- */

static void
tell_opened(StreamGroup *group, void *unused)
{
	mcs_worker_opened(group->current->worker);
}

static void
step(StreamGroup *group, void *unused)
{
	if (mcs_member_has_work(group->current))
		mcs_member_step(group);
}

/* Whether something of the last round is still to be written. */
static bool
has_work(const StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		if (mcs_member_has_work(lfirst(cell)))
			return true;
	return false;
}

/* Reads a round and hands it out, if one comes in time. */
static void
read_round(StreamGroup *group, long timeout_ms)
{
	StreamWorker *reader = group->reader;

	/* what a reply says of MongoDB's time is told to somebody's slot: each gets it soon */
	mcs_group_slot_use(((GroupMember *) linitial(group->members))->slot, false);
	if (!reader->read.have_batch && !mcs_gather_first(reader, timeout_ms))
		return;
	if (reader->read.batch.event_count > 0 && !mcs_gather(reader))
		return;
	group->heard_at = reader->read.batch.current ? reader->read.received_at : group->heard_at;
	if (reader->read.batch.opened)
		for_each(group, tell_opened, NULL);
	/* events of a time that broke off come again with the next cursor */
	if (reader->read.held_time != 0)
	{
		mcs_gather_forget(reader);
		return;
	}
	group->closed = (reader->read.replies == NIL ? &reader->read.batch : (MongoBatch *) llast(reader->read.replies))->closed;
	if (mcs_gather_is_open(reader) || !mcs_route_round(group))
	{
		dissolve_for(group, "A transaction of MongoDB is too large to be handed out as a whole.");
		return;
	}
	mcs_gather_forget(reader);
}

static void
chores(StreamGroup *group, void *unused)
{
	mcs_member_chores(group);
}

static void
tell_oplog(StreamGroup *group, void *arg)
{
	int64	   *found = arg;

	mcs_chores_tell_oplog(group->current->worker, found[0], found[1]);
}

/* What is done now and then. */
static void
tick(StreamGroup *group, TimestampTz now)
{
	StreamWorker *reader = group->reader;
	int64		found[2];

	group->tick_at = TimestampTzPlusMilliseconds(now, TICK_MS);
	for_each(group, chores, NULL);
	mcs_member_sweep(group);
	if (list_length(group->members) != 1)
		group->alone_since = 0;
	else if (group->alone_since == 0)
		group->alone_since = now;
	else if (TimestampDifferenceExceeds(group->alone_since, now, ALONE_MS))
	{
		GroupEnd	end = GROUP_END_BEHIND;

		for_each(group, give, &end);
		return;
	}
	if (group->members == NIL)
		return;
	/* nothing at hand: one that has much to do is not asked either */
	reader->process.report.state = STREAM_ACTIVE;
	reader->read.asked_at = group->quiet_asked_at;
	mcs_group_slot_use(((GroupMember *) linitial(group->members))->slot, false);
	if (mcs_chores_look_at_oplog(reader, now, &found[0], &found[1]))
		for_each(group, tell_oplog, found);
}

/* Who joins, and what has changed under it. */
static GroupNews
look_around(StreamGroup *group)
{
	GroupNews	news;

	mcs_process_check_signals();
	AcceptInvalidationMessages();
	if (mcs_worker_take_connection_changed())
	{
		/* share_cursor may be among it */
		mcs_shared_look_again();
		close_session(group);
	}
	news = mcs_group_slot_news();
	if (news.changed)
		for_each(group, reload_if_changed, NULL);
	while (news.joins && mcs_member_take(group, false))
		;
	mcs_member_sweep(group);
	return news;
}

/* One turn of the loop; false where there is nobody to follow any more. */
static bool
follow(StreamGroup *group)
{
	GroupNews	news = look_around(group);
	TimestampTz now = GetCurrentTimestamp();

	if (group->members == NIL)
		return false;
	if ((group->reopen || !group->reader->mongo.cursor) && !open_group(group))
		return true;
	/* before anything is read: what is handed out lies in the memory of the last round */
	for_each(group, step, NULL);
	if (now >= group->tick_at || group->tick_at > TimestampTzPlusMilliseconds(now, TICK_MS))
		tick(group, now);
	mcs_member_sweep(group);
	if (group->members == NIL)
		return false;
	/* one that is changed has left something to be read again */
	if (group->reopen || has_work(group))
		return true;
	if (news.sync || group->closed || now >= group->save_at || group->save_at > TimestampTzPlusMilliseconds(now, TICK_MS))
	{
		mcs_member_save_quiet(group);
		group->save_at = TimestampTzPlusMilliseconds(now, TICK_MS);
	}
	if (group->reader->mongo.failure.class != MONGO_ERROR_NONE)
		handle_failure(group);
	else if (group->closed)
	{
		group->reopen = true;
		/* closed before it moved: opening it at once would spin */
		if (!group->moved)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TICK_MS, PG_WAIT_EXTENSION);
	}
	else
		read_round(group, TICK_MS);
	return true;
}

/* After an error: of the member whose work was done, which goes on alone; or of all. */
static void
recover(StreamGroup *group)
{
	Trouble		trouble = {.state = STREAM_RETRYING,.reason = "an error in PostgreSQL interrupted the change streams that are followed together"};
	ErrorData  *error;
	bool		refused;

	error = mcs_process_clean_up(&group->reader->process, group->reader->process.definition_context, true);
	MemoryContextReset(group->batch_context);
	if (group->current)
	{
		ereport(LOG,
				(errmsg("change stream \"%s\" is followed alone for a while, after an error", group->current->worker->process.name)));
		mcs_member_give(group, GROUP_END_ALONE);
		/* what the driver was at is unknown, if it asked by the group's session */
		if (!group->reader->mongo.cursor)
			close_session(group);
		return;
	}
	close_session(group);
	group->reopen = true;
	/* only the owner can end it, as for a stream that is followed alone */
	refused = error->hint && error->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
	MemoryContextSwitchTo(group->reader->process.definition_context);
	if (refused)
	{
		trouble.state = STREAM_ERROR;
		trouble.reason = psprintf("%s: %s", error->message, error->hint);
	}
	trouble.error = error->message;
	trouble.until = refused ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS) : mcs_worker_next_retry(group->reader);
	wait_for_better(group, &trouble);
	MemoryContextReset(group->reader->process.definition_context);
}

static StreamGroup *
make_group(void)
{
	StreamGroup *group = MemoryContextAllocZero(TopMemoryContext, sizeof(StreamGroup));
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	group->key = mcs_group_slot_attach();
	group->reader = mcs_worker_make("group", 4 * 1024 * 1024);
	group->reader->read.enough_events = ROUND_EVENTS;
	group->reader->read.enough_bytes = ROUND_BYTES;
	group->batch_context = group->reader->process.batch_context;
	group->common_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream group", ALLOCSET_SMALL_SIZES);
	group->route_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream routes", ALLOCSET_DEFAULT_SIZES);
	group->round_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream round", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&group->quiet_token);
	MemoryContextSwitchTo(old);
	return group;
}

/* Entry of a group's process. */
void
mcs_group_main(Datum arg)
{
	char		name[NAMEDATALEN];
	StreamGroup *volatile group;
	volatile bool begun = false;
	volatile bool goes_on = true;

	mcs_process_connect(name);
	/* one that waits for somebody's lock would hold up all others: it waits alone */
	SetConfigOption("lock_timeout", LOCK_TIMEOUT_TEXT, PGC_SUSET, PGC_S_OVERRIDE);
	mcs_worker_watch_changes();
	group = make_group();
	MemoryContextSwitchTo(group->batch_context);
	while (goes_on)
	{
		PG_TRY();
		{
			if (!begun)
			{
				begun = true;
				goes_on = mcs_member_take(group, true);
			}
			goes_on = goes_on && follow(group);
		}
		PG_CATCH();
		{
			recover(group);
		}
		PG_END_TRY();
	}
	proc_exit(0);
}
