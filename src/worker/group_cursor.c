/*
 * worker/group_cursor.c
 *	  The session and the cursor of a group: which of its members they are opened
 *	  for, and where the cursor begins.
 *
 * Before the cursor is opened, those leave that are not to be served by it: who is
 * far behind the others, whose position is of another kind of token, whose history
 * is not MongoDB's any more.  Of the others the least position counts.
 *
 * What MongoDB is asked for is the union of what they want.  Where all streams of a
 * collection have operations, or a filter that MongoDB can evaluate, these are part
 * of it: an event that nobody wants costs MongoDB, seen with 1.2 KB, about as much
 * to leave out as to send, but our side its way through the driver.  Where one of
 * them wants all, the others look at what they get.  The event behind which the
 * cursor is to begin may be one that the union of now leaves out, as a stream was
 * altered or has left: MongoDB does not find it then (280), and the cursor begins
 * at its time instead; who has that event leaves it out, as all that is up to his
 * position.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* One that is so far behind the others in MongoDB's time catches up alone; an idle MongoDB's time moves each 10 seconds. */
#define BEHIND_S			10

/*
 * So is one that comes to others, and is so far behind the time up to which they have
 * all that there was: how much that is shows when it is read, which they would have
 * to do again.  It joins when it is 2 seconds behind (worker.c), and that takes a moment.
 */
#define JOINS_BEHIND_S		5

/* ---- the end ---- */

static void
forget(StreamGroup *group, void *unused)
{
	mcs_member_forget(group->current);
	group->current->worker->history.verified = false;
}

void
mcs_group_cursor_close(StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		mcs_member_forget(lfirst(cell));
	mcs_worker_close_stream(group->reader);
	resetStringInfo(&group->quiet_token);
	group->quiet_asked_at = 0;
	group->closed = false;
}

void
mcs_group_cursor_close_session(StreamGroup *group)
{
	mcs_group_cursor_close(group);
	mcs_member_each(group, forget, NULL);
	mcs_worker_close_session(group->reader);
}

/* ---- the begin ---- */

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

/* Whether others are here for whom a cursor was open. */
static bool
has_served(const StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		if (!((GroupMember *) lfirst(cell))->fresh)
			return true;
	return false;
}

/* From when on positions are near enough, in seconds. */
typedef struct NearEnough
{
	int64		time;
	int64		fresh_time;		/* of those that come to others */
} NearEnough;

static void
leave_behind(StreamGroup *group, void *arg)
{
	const NearEnough *near_enough = arg;
	int64		time = (int64) (mcs_token_time(group->current->worker->stream->resume_token) >> 32);

	if (time < near_enough->time || (group->current->fresh && time < near_enough->fresh_time))
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
	common->batch_size = first->batch_size;
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
	common->resume_token = mcs_token_of_event(least) && !group->at_time ? pstrdup(least) : mcs_token_before_time(least, wants_version_2(group));
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

/* What of each collection is let through, in the memory of the batch: the texts are the members'. */
static List *
make_scopes(const StreamGroup *group)
{
	List	   *scopes = NIL;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		const Stream *stream = ((GroupMember *) lfirst(cell))->worker->stream;
		StreamScope *scope = NULL;
		ListCell   *other;

		foreach(other, scopes)
		{
			StreamScope *there = lfirst(other);

			if (stream->collection ? there->collection && strcmp(there->collection, stream->collection) == 0 : !there->collection)
				scope = there;
		}
		if (!scope)
		{
			scope = palloc0(sizeof(StreamScope));
			scope->collection = stream->collection;
			scopes = lappend(scopes, scope);
		}
		if (stream->pushed_filter)
			scope->conditions = lappend(scope->conditions, stream->pushed_filter);
		else
			scope->all = true;
	}
	return scopes;
}

/* The cursor, at the least of the members' positions. */
static void
open_stream(StreamGroup *group)
{
	StreamWorker *reader = group->reader;
	ChangeStreamSpec spec;
	MemoryContext old;
	ListCell   *cell;

	mcs_route_prepare(group);
	foreach(cell, group->members)
		mcs_member_begin(lfirst(cell));
	make_common(group);
	old = MemoryContextSwitchTo(group->batch_context);
	mcs_stream_group_spec(reader->stream, make_scopes(group), &spec);
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
	foreach(cell, group->members)
		((GroupMember *) lfirst(cell))->fresh = false;
	resetStringInfo(&group->quiet_token);
	group->moved = false;
	group->reopen = false;
}

bool
mcs_group_cursor_open(StreamGroup *group)
{
	bool		version_2 = wants_version_2(group);
	NearEnough	near_enough = {0, 0};
	ListCell   *cell;

	mcs_group_cursor_close(group);
	mcs_member_each(group, leave_without_order, &version_2);
	near_enough.time = farthest(group) - BEHIND_S;
	if (has_served(group))
		near_enough.fresh_time = (int64) (group->reader->read.operation_time >> 32) - JOINS_BEHIND_S;
	mcs_member_each(group, leave_behind, &near_enough);
	mcs_member_sweep(group);
	if (group->members == NIL)
		return false;
	foreach(cell, group->members)
		mcs_member_begin(lfirst(cell));
	make_common(group);
	mcs_worker_open_session(group->reader);
	mcs_member_each(group, verify, NULL);
	mcs_member_sweep(group);
	if (group->reader->mongo.failure.class != MONGO_ERROR_NONE || group->members == NIL)
		return false;
	open_stream(group);
	return true;
}
