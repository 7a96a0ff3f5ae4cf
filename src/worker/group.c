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

/* A member that stays alone for so long gets an ordinary worker again. */
#define ALONE_MS			10000

/* A round ends at whichever comes first, and then at the end of a time. */
#define ROUND_EVENTS		20000
#define ROUND_BYTES			(32 * 1024 * 1024)

/* A position so close to MongoDB's time is at its end. */
#define CAUGHT_UP_S			1

/* For whom that part of a round is, while the cursor is behind, he has it for himself. */
#define BACKLOG_PARTS		4

/* How long a member is waited for that waits for a lock. */
#define LOCK_TIMEOUT_TEXT	"3s"

PGDLLEXPORT void mcs_group_main(Datum arg);

/* ---- rounds ---- */

static void
tell_opened(StreamGroup *group, void *unused)
{
	mcs_worker_opened(group->current->worker);
}

static void
step(StreamGroup *group, void *unused)
{
	group->current->took_ms = -1;
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

/* Whether the cursor is at MongoDB's time. */
static bool
is_caught_up(const StreamGroup *group)
{
	return group->quiet_token.len > 0 &&
		(mcs_token_time(group->quiet_token.data) >> 32) + CAUGHT_UP_S >= group->reader->read.operation_time >> 32;
}

/* What was counted for each is counted anew from here on. */
static void
forget_backlog(StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		member->backlog_events = 0;
		member->backlog_bytes = 0;
	}
}

/* What parted a group does not come again where its members have caught up together. */
static void
note_caught_up(StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
		((GroupMember *) lfirst(cell))->unproven = false;
	forget_backlog(group);
}

/* Counts what a round has brought for each, while the cursor is behind. */
static void
count_backlog(StreamGroup *group)
{
	ListCell   *cell;

	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		if (!member->inbox.full)
			continue;
		member->backlog_events += member->inbox.batch.event_count;
		member->backlog_bytes += member->inbox.batch.events_size;
	}
}

/* What the cursor has brought, for all, while it is behind; and of that what a member has to have had to be one of few. */
typedef struct Backlog
{
	int64		events;
	Size		bytes;
	int			parted;
} Backlog;

static bool
is_for_few(const GroupMember *member, const Backlog *backlog)
{
	return member->backlog_events > 0 && (member->backlog_events >= backlog->events / BACKLOG_PARTS ||
										  member->backlog_bytes >= backlog->bytes / BACKLOG_PARTS);
}

static void
part_if_for_few(StreamGroup *group, void *arg)
{
	Backlog    *backlog = arg;
	GroupMember *member = group->current;

	if (!is_for_few(member, backlog))
		return;
	ereport(LOG,
			(errmsg("change stream \"%s\" is followed alone for a while, as it has much to catch up with", member->worker->process.name)));
	backlog->parted++;
	mcs_member_give(group, GROUP_END_ALONE);
}

/*
 * Those for whom most of it is that the cursor has to bring, being behind, catch up
 * alone: what comes for the others stands behind all that.  How far behind in time
 * they are, when the cursor is opened, says nothing of how much it is.  Where it is
 * for all of them nobody would be served better.
 */
static void
part_backlog(StreamGroup *group)
{
	Backlog		backlog = {0, 0, 0};
	Backlog		of_few = {0, 0, 0};
	int			few = 0;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		backlog.events += ((GroupMember *) lfirst(cell))->backlog_events;
		backlog.bytes += ((GroupMember *) lfirst(cell))->backlog_bytes;
	}
	if (backlog.events < ROUND_EVENTS && backlog.bytes < ROUND_BYTES)
		return;
	foreach(cell, group->members)
	{
		const GroupMember *member = lfirst(cell);

		if (!is_for_few(member, &backlog))
			continue;
		few++;
		of_few.events += member->backlog_events;
		of_few.bytes += member->backlog_bytes;
	}
	if (few < list_length(group->members) && (of_few.events >= backlog.events / 2 || of_few.bytes >= backlog.bytes / 2))
		mcs_member_each(group, part_if_for_few, &backlog);
	forget_backlog(group);
	if (backlog.parted == 0)
		return;
	/* without them the cursor leaves it out; the others begin where it is now */
	mcs_member_sweep(group);
	if (group->members != NIL)
		mcs_member_save_quiet(group);
	mcs_group_cursor_close(group);
	group->reopen = true;
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
		mcs_member_each(group, tell_opened, NULL);
	/* events of a time that broke off come again with the next cursor */
	if (reader->read.held_time != 0)
	{
		mcs_gather_forget(reader);
		return;
	}
	group->closed = (reader->read.replies == NIL ? &reader->read.batch : (MongoBatch *) llast(reader->read.replies))->closed;
	/* handed out in either case: it shows for whom it is */
	if (!mcs_route_round(group) || mcs_gather_is_open(reader))
	{
		mcs_group_failure_too_large(group);
		return;
	}
	if (group->moved)
	{
		group->at_time = false;
		group->refusals = 0;
		if (is_caught_up(group))
			note_caught_up(group);
		else
			count_backlog(group);
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
	mcs_member_each(group, chores, NULL);
	mcs_member_sweep(group);
	if (list_length(group->members) != 1)
		group->alone_since = 0;
	else if (group->alone_since == 0)
		group->alone_since = now;
	else if (TimestampDifferenceExceeds(group->alone_since, now, ALONE_MS))
	{
		mcs_group_failure_give_all(group, GROUP_END_BEHIND);
		return;
	}
	if (group->members == NIL)
		return;
	/* nothing at hand: one that has much to do is not asked either */
	reader->process.report.state = STREAM_ACTIVE;
	reader->read.asked_at = group->quiet_asked_at;
	mcs_group_slot_use(((GroupMember *) linitial(group->members))->slot, false);
	if (mcs_chores_look_at_oplog(reader, now, &found[0], &found[1]))
		mcs_member_each(group, tell_oplog, found);
}

static void
reload_if_changed(StreamGroup *group, void *unused)
{
	if (mcs_slot_is_changed())
		mcs_member_reload(group);
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
		mcs_group_cursor_close_session(group);
	}
	news = mcs_group_slot_news();
	if (news.changed)
		mcs_member_each(group, reload_if_changed, NULL);
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
	long		wait_ms;

	if (group->members == NIL)
		return false;
	if ((group->reopen || !group->reader->mongo.cursor) && !mcs_group_cursor_open(group))
	{
		if (group->reader->mongo.failure.class != MONGO_ERROR_NONE)
			mcs_group_failure_handle(group);
		return true;
	}
	/* before anything is read: what is handed out lies in the memory of the last round */
	mcs_member_each(group, step, NULL);
	mcs_member_part_slow(group);
	if (now >= group->tick_at || group->tick_at > TimestampTzPlusMilliseconds(now, TICK_MS))
		tick(group, now);
	wait_ms = mcs_member_expire_next(group);
	mcs_member_sweep(group);
	if (group->members == NIL)
		return false;
	/* one that is changed has left something to be read again */
	if (group->reopen || has_work(group))
		return true;
	part_backlog(group);
	if (group->members == NIL)
		return false;
	if (group->reopen)
		return true;
	if (news.sync || group->closed || now >= group->save_at || group->save_at > TimestampTzPlusMilliseconds(now, TICK_MS))
	{
		mcs_member_save_quiet(group);
		group->save_at = TimestampTzPlusMilliseconds(now, TICK_MS);
	}
	if (group->reader->mongo.failure.class != MONGO_ERROR_NONE)
		mcs_group_failure_handle(group);
	else if (group->closed)
	{
		group->reopen = true;
		/* closed before it moved: opening it at once would spin */
		if (!group->moved)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TICK_MS, PG_WAIT_EXTENSION);
	}
	else
		read_round(group, wait_ms);
	return true;
}

/* After an error: of the member whose work was done, which goes on alone; or of all. */
static void
recover(StreamGroup *group)
{
	ErrorData  *error;

	error = mcs_process_clean_up(&group->reader->process, group->reader->process.definition_context, true);
	MemoryContextReset(group->batch_context);
	if (group->current)
	{
		mcs_numbers_error(unpack_sql_state(error->sqlerrcode));
		ereport(LOG,
				(errmsg("change stream \"%s\" is followed alone for a while, after an error", group->current->worker->process.name)));
		mcs_member_give(group, GROUP_END_ALONE);
		/* what the driver was at is unknown, if it looked documents up, or asked by the group's session */
		mcs_documents_close(group->reader);
		if (!group->reader->mongo.cursor)
			mcs_group_cursor_close_session(group);
		return;
	}
	mcs_group_failure_of_ours(group, error);
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
	group->refusals = -1;
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

	mcs_worker_keep_memory();
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
