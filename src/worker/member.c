/*
 * worker/member.c
 *	  A stream of a group: a worker as any other (worker_internal.h), which reads
 *	  from an inbox instead of a cursor.
 *
 * It writes its own transactions, with its own position, and ignores events up to
 * that position, as a worker does that was opened at a time (take.c).  So whatever
 * the group's cursor begins with, nothing is written twice; and as the cursor
 * begins at the least of the members' positions, nothing is left out.
 *
 * Only what is simple is done here.  At the first error, at a definition that
 * changes what kind of stream it is, at a copy to be made, when several processes
 * have died in a row: it is given back, its stored position being right at any moment,
 * and an ordinary worker does the rest.
 *
 * After one death, which may have been any member's doing or nobody's, each round
 * of a member is noted before anything is made of it, until the member has shown that
 * it lives: so after a second death it is known with which of them it came.  It costs
 * one write a round, not one an event as with an ordinary worker (crash.c), and one
 * death more may be needed to know the event.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/*
 * Who takes longer for a round, and several times what others take, is slow, and so
 * much in rounds that are, one behind the other, is too much for the others.  Where
 * most take long it is the machine: they would be no faster alone, if there were
 * processes for all of them.
 */
#define SLOW_MS			1000
#define SLOW_FACTOR		4
#define TOO_SLOW_MS		3000

/* What an answer may take beyond the time that MongoDB was told to hold it back for. */
#define AWAIT_MARGIN_MS	1000

/* ---- coming and going ---- */

/* Frees what a worker has, which is none of a process's any more. */
static void
free_worker(StreamWorker *worker)
{
	mcs_copy_forget(worker);
	mcs_worker_plan_forget(worker);
	mcs_mirroring_detach(worker);
	if (worker->plan.context)
		MemoryContextDelete(worker->plan.context);
	if (worker->next_plan.context)
		MemoryContextDelete(worker->next_plan.context);
	if (worker->copy.context)
		MemoryContextDelete(worker->copy.context);
	MemoryContextDelete(worker->mongo.session_context);
	MemoryContextDelete(worker->read.fragment_context);
	MemoryContextDelete(worker->process.definition_context);
	pfree(worker->read.token.data);
	pfree(worker->read.newest.data);
	pfree(worker->write.last_event.data);
	pfree(worker);
}

void
mcs_member_use(StreamGroup *group, GroupMember *member)
{
	group->current = member;
	mcs_group_slot_use(member->slot, true);
}

void
mcs_member_done(StreamGroup *group)
{
	mcs_group_slot_use(group->current->slot, false);
	group->current = NULL;
}

void
mcs_member_each(StreamGroup *group, void (*function) (StreamGroup *group, void *arg), void *arg)
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

void
mcs_member_forget(GroupMember *member)
{
	/* a plan, too, and what it has begun to look up */
	mcs_worker_close_stream(member->worker);
	member->inbox.full = false;
	member->reading = false;
}

void
mcs_member_begin(GroupMember *member)
{
	StreamWorker *worker = member->worker;
	const char *position = worker->stream->resume_token;
	const char *passed = mcs_token_of_event(position) ? position : mcs_token_from_time(mcs_token_time(position));

	set_token(&member->passed, passed, strlen(passed));
	member->inbox.passed = member->passed.data;
	mcs_worker_begin_reading(worker);
	/* what is up to its own position it leaves out */
	worker->mongo.from_time = true;
	member->reading = true;
}

void
mcs_member_give(StreamGroup *group, GroupEnd end)
{
	GroupMember *member = group->current;

	mcs_member_forget(member);
	mcs_group_slot_give(end);
	member->gone = true;
	group->current = NULL;
}

void
mcs_member_sweep(StreamGroup *group)
{
	bool		gone = false;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		if (!member->gone)
			continue;
		group->members = foreach_delete_current(group->members, cell);
		free_worker(member->worker);
		pfree(member->passed.data);
		pfree(member);
		gone = true;
	}
	/* routes name it; those that stay are served on */
	if (gone)
		mcs_route_prepare(group);
}

/* Whether a member is what the group follows: its key is a number that others may have by chance. */
static bool
is_alike(const StreamGroup *group, const Stream *stream)
{
	const Stream *common = group->reader->stream;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		const GroupMember *member = lfirst(cell);

		if (!common && !member->gone && member != group->current)
			common = member->worker->stream;
	}
	return !common ||
		(strcmp(stream->server, common->server) == 0 && strcmp(stream->database, common->database) == 0 &&
		 strcmp(stream->full_document, common->full_document) == 0 &&
		 strcmp(stream->full_document_before_change, common->full_document_before_change) == 0 &&
		 stream->show_expanded_events == common->show_expanded_events && stream->batch_size == common->batch_size);
}

/* Reads what the one in use is; gives it up where that is not for a group. */
static void
load(StreamGroup *group)
{
	StreamWorker *worker = group->current->worker;
	bool		runs = mcs_worker_load(worker);

	if (!runs)
		mcs_member_give(group, GROUP_END_STOPPED);
	else if (!is_alike(group, worker->stream))
		mcs_member_give(group, GROUP_END_ALONE);
	else if (worker->stream->owner != GetSessionUserId() || mcs_group_slot_is_foreign() || !mcs_worker_fits_group(worker))
		mcs_member_give(group, GROUP_END_BEHIND);
	else
		group->reopen = true;
}

/* Notes that a process follows it; gives it up where others have died of it. */
static void
note_alive(StreamGroup *group, bool after_crash)
{
	StreamWorker *worker = group->current->worker;
	StreamCrash *crash = &worker->crash;

	crash->began_at = GetCurrentTimestamp();
	crash->begun = true;
	mcs_process_begin(&worker->process);
	crash->after_death = mcs_deaths_begin(worker->process.name, after_crash, &crash->starts);
	mcs_process_commit(&worker->process);
	crash->noted = crash->after_death;
	if (crash->starts > 1)
		mcs_member_give(group, GROUP_END_ALONE);
}

/*
 * Notes that what has been read for a member is at work.  That it could be read has
 * shown that no reply kills the process; who dies from here on is known, so what was
 * counted for the others is forgotten.
 */
static void
note_at_work(StreamGroup *group, GroupMember *member)
{
	StreamWorker *worker = member->worker;
	DocumentIterator events;
	ListCell   *cell;

	mcs_document_iterate(&events, member->inbox.batch.events, member->inbox.batch.events_size);
	mcs_crash_announce_next(worker, events);
	foreach(cell, group->members)
	{
		StreamWorker *other = ((GroupMember *) lfirst(cell))->worker;

		if (other == worker || other->crash.starts == 0)
			continue;
		mcs_process_begin(&worker->process);
		mcs_deaths_survive(other->process.name);
		mcs_process_commit(&worker->process);
		other->crash.starts = 0;
	}
}

bool
mcs_member_take(StreamGroup *group, bool first)
{
	char		name[NAMEDATALEN];
	StreamReport report;
	bool		after_crash;
	bool		parted;
	int			slot = mcs_group_slot_take(name, &report, first, &after_crash, &parted);
	MemoryContext old;
	GroupMember *member;
	StreamWorker *worker;

	if (slot < 0)
		return false;
	old = MemoryContextSwitchTo(TopMemoryContext);
	member = palloc0(sizeof(GroupMember));
	worker = mcs_worker_make(name, ALLOCSET_SMALL_INITSIZE);
	/* members write one after the other */
	MemoryContextDelete(worker->process.batch_context);
	worker->process.batch_context = group->batch_context;
	worker->process.report = report;
	/* what its own process has followed until now goes on, and does not begin again */
	worker->mongo.opened = mcs_worker_is_following(worker);
	initStringInfo(&member->passed);
	worker->inbox = &member->inbox;
	member->inbox.reader = group->reader;
	member->worker = worker;
	member->slot = slot;
	member->unproven = parted;
	member->fresh = true;
	group->members = lappend(group->members, member);
	MemoryContextSwitchTo(old);

	mcs_member_use(group, member);
	load(group);
	if (!member->gone)
		note_alive(group, after_crash);
	if (!member->gone)
		mcs_member_done(group);
	return true;
}

void
mcs_member_reload(StreamGroup *group)
{
	mcs_member_forget(group->current);
	load(group);
}

/* ---- work ---- */

bool
mcs_member_has_work(const GroupMember *member)
{
	return member->inbox.full || member->worker->read.have_batch || member->worker->read.replies != NIL;
}

/* Reading of one for whom nothing came is as far as the group's. */
static void
move_quietly(StreamGroup *group, StreamWorker *worker)
{
	StreamReading *read = &worker->read;

	if (group->quiet_token.len == 0 || strcmp(group->quiet_token.data, read->token.data) <= 0)
		return;
	set_token(&read->token, group->quiet_token.data, group->quiet_token.len);
	read->moved = true;
}

/* Whether it is for its own process to go on. */
static bool
is_in_trouble(const StreamWorker *worker)
{
	return worker->mongo.failure.class != MONGO_ERROR_NONE || worker->write.culprit.reason || worker->read.closed ||
		worker->read.fragments != NIL;
}

void
mcs_member_step(StreamGroup *group)
{
	GroupMember *member = group->current;
	StreamWorker *worker = member->worker;
	TimestampTz began = GetCurrentTimestamp();
	bool		goes_on = true;

	if (worker->crash.noted && member->inbox.full)
		note_at_work(group, member);
	while (goes_on && mcs_member_has_work(member) && !mcs_worker_has_news())
	{
		mcs_process_check_signals();
		goes_on = mcs_follow_step(worker, 0);
	}
	/* what it has begun to look up would be in the next one's way */
	if (mcs_member_has_work(member))
		mcs_worker_plan_forget(worker);
	member->took_ms = TimestampDifferenceMilliseconds(began, GetCurrentTimestamp());
	if (worker->process.reload)
		mcs_member_reload(group);
	else if (is_in_trouble(worker))
		mcs_member_give(group, GROUP_END_ALONE);
}

static int
compare_long(const void *a, const void *b)
{
	return *(const long *) a < *(const long *) b ? -1 : *(const long *) a > *(const long *) b;
}

/* Gives up the one in use if it is slow, others taking so long. */
static void
part_if_slow(StreamGroup *group, void *usual)
{
	GroupMember *member = group->current;
	bool		slow = member->took_ms >= SLOW_MS && member->took_ms >= SLOW_FACTOR * *(long *) usual;

	if (member->took_ms < 0)
		return;
	member->slow_ms = slow ? member->slow_ms + Min(member->took_ms, TOO_SLOW_MS) : 0;
	if (member->slow_ms < TOO_SLOW_MS)
		return;
	ereport(LOG,
			(errmsg("change stream \"%s\" is followed alone for a while, as its transactions take long", member->worker->process.name)));
	mcs_member_give(group, GROUP_END_ALONE);
}

void
mcs_member_part_slow(StreamGroup *group)
{
	long	   *times = palloc(sizeof(long) * list_length(group->members));
	int			count = 0;
	bool		any = false;
	long		usual;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		const GroupMember *member = lfirst(cell);

		times[count++] = Max(member->took_ms, 0);
		any |= member->took_ms >= SLOW_MS || member->slow_ms > 0;
	}
	/* of four members one has to be as fast as others are that have little to do */
	qsort(times, count, sizeof(long), compare_long);
	usual = times[count / 4];
	if (any)
		mcs_member_each(group, part_if_slow, &usual);
	pfree(times);
}

/* MongoDB's time is told of, also for one for whom nothing came. */
static void
hear(StreamGroup *group, StreamWorker *worker)
{
	worker->read.operation_time = Max(worker->read.operation_time, group->reader->read.operation_time);
	mcs_slot_heard(worker->read.operation_time, group->heard_at);
}

void
mcs_member_chores(StreamGroup *group)
{
	StreamWorker *worker = group->current->worker;

	mcs_chores_do(worker);
	if (!group->current->reading)
		return;
	hear(group, worker);
	mcs_slot_waiting(group->reader->stream->max_await_ms + AWAIT_MARGIN_MS);
}

long
mcs_member_expire_next(StreamGroup *group)
{
	TimestampTz now = GetCurrentTimestamp();
	GroupMember *next = NULL;
	long		wait_ms = CHORE_INTERVAL_MS;
	ListCell   *cell;

	/* who has waited longest */
	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		if (!member->gone && mcs_chores_expiry_is_due(member->worker, now) &&
			(next == NULL || member->worker->chores.expired_at < next->worker->chores.expired_at))
			next = member;
	}
	if (next)
	{
		mcs_member_use(group, next);
		mcs_chores_expire(next->worker, now, &group->reader->chores.expired_at);
		next->worker->chores.expired_at = group->reader->chores.expired_at;
		mcs_member_done(group);
	}
	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);

		if (!member->gone)
			wait_ms = Min(wait_ms, mcs_chores_wait_ms(member->worker));
	}
	return wait_ms;
}

/* ---- positions that move without events ---- */

/* Tells where a member is whose position is saved. */
static void
tell(StreamWorker *worker)
{
	mcs_slot_saved(mcs_token_time(worker->stream->resume_token), worker->read.drained, worker->read.asked_at, worker->process.rate);
}

/* Those for whom nothing is at hand, with what there is to save of them; those that have nothing to save are told of. */
static int
gather_quiet(StreamGroup *group, GroupMember **quiet, QuietProgress *progress)
{
	int			count = 0;
	ListCell   *cell;

	foreach(cell, group->members)
	{
		GroupMember *member = lfirst(cell);
		StreamWorker *worker = member->worker;

		if (!member->reading || mcs_member_has_work(member))
			continue;
		move_quietly(group, worker);
		/* an empty reply says that MongoDB had no more when it was asked */
		worker->read.asked_at = group->quiet_asked_at;
		worker->read.drained = worker->read.asked_at != 0 && worker->read.moved;
		if (strcmp(worker->read.token.data, worker->stream->resume_token) == 0)
		{
			mcs_group_slot_use(member->slot, false);
			tell(worker);
			continue;
		}
		quiet[count] = member;
		progress[count].stream = worker->stream;
		progress[count].token = worker->read.token.data;
		count++;
	}
	return count;
}

void
mcs_member_save_quiet(StreamGroup *group)
{
	int			most = list_length(group->members);
	MemoryContext old = MemoryContextSwitchTo(group->round_context);
	GroupMember **quiet = palloc(sizeof(GroupMember *) * most);
	QuietProgress *progress = palloc(sizeof(QuietProgress) * most);
	int			count = gather_quiet(group, quiet, progress);

	MemoryContextSwitchTo(old);
	if (count == 0)
		return;
	mcs_process_begin(&group->reader->process);
	mcs_progress_save_quiet(progress, count);
	mcs_process_commit(&group->reader->process);
	for (int i = 0; i < count; i++)
	{
		StreamWorker *worker = quiet[i]->worker;
		StreamProgress saved = {.token = worker->read.token.data,.last_event_id = worker->stream->last_event_id};

		/* one that was not is locked by somebody, or changed, of which it is told */
		if (!progress[i].saved)
			continue;
		mcs_group_slot_use(quiet[i]->slot, false);
		hear(group, worker);
		worker->write.skipped = false;
		mcs_worker_published(worker, &saved);
	}
}
