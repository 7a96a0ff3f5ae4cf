/*
 * projection/worker.c
 *	  The process that refreshes all projections of a role in a database, one after
 *	  the other.
 *
 * It looks at the tables, which say where each projection's sources are and where
 * they were at its last refresh, refreshes what is due, and sleeps until the next is
 * due or somebody tells that events were written: the processes of streams and
 * handlers do that after each commit, where one of the projections may show it.  So
 * it looks no more often than its looks are cheap.  Where its sources
 * are is read in a transaction before the refresh and saved by it: what comes in
 * between is shown already, and makes the projection due once more, at worst for
 * nothing; nothing is missed.  It all stands in tables, so a process may end at any
 * time.
 *
 * A refresh that fails is tried again, each time later, for as long as it takes: the
 * view still has its last rows, and the status says which error.  One that a
 * process dies of is counted before it begins, as dying takes all other processes
 * along; the third time in a row is the last.
 *
 * No transaction is open while it waits.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "projection/projection_internal.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Between two looks at the tables, at least; more where they take long, but not too much, as that may be because others work. */
#define LOOK_MS				250
#define LOOK_MAX_MS			2000
#define LOOK_FACTOR			4

/* A process without anything to do ends after so long, which leaves its place to others; the prober looks as often. */
#define REST_AFTER_MS		60000

/* The definitions of views, and the streams that there are, are looked at again. */
#define SOURCES_MS			60000

/* What is over by the clock, but not yet by MongoDB's. */
#define WINDOW_MS			1000

#define RETRY_FIRST_MS		1000

/* So many refreshes in a row have failed when a person is told. */
#define ALERT_FAILURES		3

/* Processes in a row that may die of a refresh. */
#define MAX_CRASHES			3

typedef struct ProjectionWorker
{
	WorkerProcess process;
	MemoryContext look_context; /* of what was read at the last look */
	List	   *due;			/* of ProjectionStanding: what is left of it to do */
	ProjectionStanding *running;	/* the one whose refresh an error is of; NULL: of none */
	TimestampTz began;			/* it */
	TimestampTz sources_at;		/* when they were last looked for */
	TimestampTz next_look_at;	/* not before */
	TimestampTz wake_at;		/* when there may be something to do; 0: when something happens */
	TimestampTz idle_since;		/* 0: something to do */
	int64		newest;			/* the slot's at the last look */
	bool		begun;			/* noted what has become of earlier processes */
} ProjectionWorker;

static void
set_state(ProjectionWorker *worker, StreamState state, const char *reason)
{
	if (worker->process.report.state != state || strcmp(worker->process.report.reason, reason) != 0)
		mcs_process_report(&worker->process, state, reason, NULL, 0);
}

/* ---- what is to be done ---- */

/* Stops projections of whose refreshes processes have died; once in a process. */
static void
note_deaths(ProjectionWorker *worker)
{
	ListCell   *cell;

	if (worker->begun)
		return;
	worker->begun = true;
	(void) mcs_projections_begin(GetSessionUserId(), mcs_slot_is_first());
	foreach(cell, mcs_projections_died(GetSessionUserId(), MAX_CRASHES))
	{
		char	   *reason = psprintf("%d processes in a row died while they refreshed it; the server's log says which signal they died of", MAX_CRASHES);
		Alert		alert = {.of_projection = true,.name = lfirst(cell),.from = mcs_shared_state_name(STREAM_RETRYING),
		.to = mcs_shared_state_name(STREAM_ERROR),.reason = reason,
		.hint = psprintf("SELECT resume_change_projection(%s) when it is mended", quote_literal_cstr(lfirst(cell)))};

		mcs_projections_stop(lfirst(cell), reason);
		mcs_alert(&alert);
	}
}

/* Looks for what the views show; leaves where the extension has gone. */
static void
load(ProjectionWorker *worker)
{
	mcs_process_forget_definition(&worker->process);
	mcs_process_begin(&worker->process);
	if (!OidIsValid(mcs_extension_schema()) || mcs_extension_is_old())
	{
		mcs_process_commit(&worker->process);
		mcs_process_leave();
	}
	note_deaths(worker);
	mcs_slot_find_sources();
	(void) mcs_projections_find_sources(NULL, GetSessionUserId());
	mcs_slot_found_sources(mcs_projections_followed_streams(GetSessionUserId()));
	mcs_process_commit(&worker->process);
	worker->sources_at = GetCurrentTimestamp();
	/* whatever was known of them */
	worker->due = NIL;
	worker->next_look_at = worker->wake_at = worker->sources_at;
}

/* When one that is not due may be, after a look, be it that a window is over; 0: when something happens. */
static TimestampTz
may_be_due_at(const ProjectionStanding *standing, TimestampTz now)
{
	return standing->look_at == 0 ? 0 : Max(standing->look_at, standing->look_at == standing->due_at ? 0 : TimestampTzPlusMilliseconds(now, WINDOW_MS));
}

/* Looks at all projections: which are due, and when the next will be. */
static void
look(ProjectionWorker *worker)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		pause;
	List	   *standings;
	ListCell   *cell;
	MemoryContext old;

	/* before the tables are looked into: what comes after that is news */
	worker->newest = mcs_handler_slot_newest();
	MemoryContextReset(worker->look_context);
	worker->due = NIL;
	worker->wake_at = 0;
	mcs_process_begin(&worker->process);
	old = MemoryContextSwitchTo(worker->look_context);
	standings = mcs_projections_standings(GetSessionUserId());
	foreach(cell, standings)
	{
		ProjectionStanding *standing = lfirst(cell);
		TimestampTz at = may_be_due_at(standing, now);

		if (standing->due_at != 0 && standing->due_at <= now)
			worker->due = lappend(worker->due, standing);
		else if (at != 0 && (worker->wake_at == 0 || at < worker->wake_at))
			worker->wake_at = at;
	}
	MemoryContextSwitchTo(old);
	mcs_process_commit(&worker->process);
	/* all are paused, have stopped or are gone */
	if (standings == NIL)
		mcs_process_leave();
	pause = (GetCurrentTimestamp() - now) * LOOK_FACTOR / 1000;
	worker->next_look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(Max(pause, LOOK_MS), LOOK_MAX_MS));
}

/* ---- refreshing ---- */

/* Tells of the way back from what was told of. */
static void
alert_of_success(const ProjectionStanding *standing)
{
	Alert		alert = {.of_projection = true,.name = standing->projection->name,.from = mcs_shared_state_name(STREAM_RETRYING),
	.to = mcs_shared_state_name(STREAM_ACTIVE),.reason = "a refresh has succeeded"};

	if (standing->failures >= ALERT_FAILURES)
		mcs_alert(&alert);
}

/* Refreshes the first of those that are due. */
static void
refresh(ProjectionWorker *worker)
{
	ProjectionStanding *standing = linitial(worker->due);
	ProjectionRefresh done;
	bool		wanted;

	worker->due = list_delete_first(worker->due);
	worker->idle_since = 0;
	set_state(worker, STREAM_ACTIVE, "refreshing");
	mcs_process_begin(&worker->process);
	wanted = mcs_projections_announce(standing->projection->name);
	mcs_process_commit(&worker->process);
	if (!wanted)
		return;
	worker->running = standing;
	worker->began = done.began = GetCurrentTimestamp();
	mcs_process_begin(&worker->process);
	mcs_projection_refresh(standing);
	done.took = GetCurrentTimestamp() - done.began;
	done.next_at = mcs_projection_next(standing->projection, done.took);
	mcs_projections_save(standing, &done);
	alert_of_success(standing);
	mcs_process_commit(&worker->process);
	worker->running = NULL;
	worker->process.failures = 0;
	mcs_slot_trusted();
	if (worker->due == NIL)
	{
		/* other projections may read these; and whoever waits for them looks again */
		mcs_handler_slot_moved(0);
		worker->wake_at = worker->next_look_at;
	}
}

/* What is wrong, in words. */
static char *
error_message(const ProjectionWorker *worker, const ErrorData *error)
{
	const ChangeProjection *projection = worker->running->projection;

	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		GetCurrentTimestamp() - worker->began >= mcs_convert_interval(projection->timeout))
		return psprintf("the refresh was cancelled because it ran longer than its timeout; SELECT alter_change_projection(%s, timeout => ...) gives it more",
						quote_literal_cstr(projection->name));
	return error->message ? error->message : "";
}

/* A refresh has failed: notes it, and when it is tried again. */
static void
note_failure(ProjectionWorker *worker, const ErrorData *error)
{
	const ProjectionStanding *standing = worker->running;
	const char *name = standing->projection->name;
	/* to wait for who reads the view costs nothing */
	int64		took = error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ? 0 : GetCurrentTimestamp() - worker->began;
	HandlerError noted = {.sqlstate = unpack_sql_state(error->sqlerrcode),.message = error_message(worker, error),.detail = error->detail};

	worker->running = NULL;
	/* the others of this role have their turns meanwhile */
	mcs_process_begin(&worker->process);
	mcs_projections_failed(name, &noted, Max(mcs_projection_next(standing->projection, took),
											 mcs_process_backoff(standing->failures, RETRY_FIRST_MS)));
	if (standing->failures + 1 == ALERT_FAILURES)
	{
		Alert		alert = {.of_projection = true,.name = name,.from = mcs_shared_state_name(STREAM_ACTIVE),
		.to = mcs_shared_state_name(STREAM_RETRYING),.reason = psprintf("%d refreshes in a row have failed, with SQLSTATE %s", ALERT_FAILURES, noted.sqlstate),
		.hint = "change_projection_status shows the error"};

		mcs_alert(&alert);
	}
	if (standing->failures == 0)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("materialized view %s was not refreshed, and will be tried again: %s", name, noted.message),
				 error->detail ? errdetail("%s", error->detail) : 0));
	mcs_process_commit(&worker->process);
	worker->wake_at = worker->next_look_at;
}

/* ---- errors ---- */

/* Rolls back and returns the error, which lives in the batch's memory. */
static ErrorData *
clean_up(void *arg, bool log)
{
	ProjectionWorker *worker = arg;
	ErrorData  *error;

	HOLD_INTERRUPTS();
	/* nobody cancels from here on what has ended already */
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
	error = mcs_process_clean_up(&worker->process, worker->process.batch_context, log);
	RESUME_INTERRUPTS();
	return error;
}

/* What failed is no refresh: our own side, which is tried again later. */
static void
back_off(void *arg, const char *message)
{
	ProjectionWorker *worker = arg;
	TimestampTz until = mcs_process_backoff(worker->process.failures++, RETRY_FIRST_MS);
	char		reason[sizeof(worker->process.report.reason)];

	worker->process.reload = true;
	worker->running = NULL;
	mcs_text_format(reason, sizeof(reason), "an error in PostgreSQL interrupted the projections: %s", message);
	mcs_process_report(&worker->process, STREAM_RETRYING, reason, NULL, until);
	while (GetCurrentTimestamp() < until && !mcs_slot_is_changed())
	{
		mcs_process_check_signals();
		mcs_process_sleep(GetCurrentTimestamp(), until, REST_AFTER_MS);
	}
}

/* Decides what an error means. */
static void
recover(void *arg, ErrorData *error)
{
	ProjectionWorker *worker = arg;
	char		message[512];

	if (worker->running)
	{
		note_failure(worker, error);
		return;
	}
	mcs_text_copy(message, sizeof(message), error->message ? error->message : "");
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("the refreshing of materialized views was interrupted: %s", message),
			 error->detail ? errdetail("%s", error->detail) : 0));
	back_off(worker, message);
}

/* ---- waiting ---- */

/* Whether the next look is due. */
static bool
is_time_to_look(ProjectionWorker *worker, TimestampTz now)
{
	if (now < worker->next_look_at)
		return false;
	return (worker->wake_at != 0 && worker->wake_at <= now) || mcs_handler_slot_has_news(worker->newest);
}

/* When it is, as far as is known. */
static TimestampTz
next_time(ProjectionWorker *worker, TimestampTz now)
{
	TimestampTz at = worker->wake_at != 0 ? worker->wake_at : TimestampTzPlusMilliseconds(now, REST_AFTER_MS / 2);

	if (mcs_handler_slot_has_news(worker->newest))
		at = worker->next_look_at;
	return Max(at, worker->next_look_at);
}

/* Nothing is due: waits, and ends after a while, or where another waits for this process. */
static void
idle(ProjectionWorker *worker, TimestampTz now)
{
	bool		soon = worker->wake_at != 0 && !TimestampDifferenceExceeds(now, worker->wake_at, REST_AFTER_MS);

	if (!worker->idle_since)
	{
		worker->idle_since = now;
		mcs_slot_trusted();
	}
	set_state(worker, STREAM_IDLE, "waiting for events");
	if (mcs_handler_slot_gives_way() || (!soon && TimestampDifferenceExceeds(worker->idle_since, now, REST_AFTER_MS)))
	{
		/* what is due later than that, the prober sees in time */
		if (mcs_handler_slot_rest(worker->newest, soon ? worker->wake_at : 0))
			proc_exit(0);
		worker->idle_since = now;
	}
	mcs_process_sleep(now, next_time(worker, now), REST_AFTER_MS / 2);
}

/* ---- main loop ---- */

/* From one look at what is to be done to the next. */
static void
run(void *arg)
{
	ProjectionWorker *worker = arg;
	TimestampTz now;

	mcs_process_check_signals();
	now = GetCurrentTimestamp();
	if (worker->process.reload || mcs_slot_is_changed() || TimestampDifferenceExceeds(worker->sources_at, now, SOURCES_MS))
		load(worker);
	if (worker->due != NIL)
	{
		/* to go on with them when it is its turn again */
		if (mcs_handler_slot_gives_way() && mcs_handler_slot_leave(-1, 0, 0))
			proc_exit(0);
		refresh(worker);
	}
	else if (is_time_to_look(worker, now))
		look(worker);
	else
		idle(worker, now);
}

/* Entry of the process. */
void
mcs_projection_main(Datum arg)
{
	static const ProcessSteps steps = {run, clean_up, recover, back_off};
	char		stream[NAMEDATALEN];
	ProjectionWorker *worker;

	mcs_process_connect(stream);
	worker = MemoryContextAllocZero(TopMemoryContext, sizeof(ProjectionWorker));
	mcs_process_init(&worker->process, "projections", ALLOCSET_DEFAULT_INITSIZE);
	worker->look_context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream projections", ALLOCSET_DEFAULT_SIZES);
	worker->process.reload = true;
	mcs_process_run(&steps, worker);
}
