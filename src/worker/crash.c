/*
 * worker/crash.c
 *	  A worker that comes after others which have died: what it notes, how
 *	  careful it is, and when it gives up.  The notes are explained in
 *	  tables/deaths.c.
 */
#include "mongo_change_stream.h"

#include "shared/shared.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/*
 * Processes that may die of one event: in a batch with others, then when it was
 * noted; one more where others of its time were written with it.
 */
#define MAX_CRASHES			3

/* Processes that may die in a row without having written an event. */
#define MAX_STARTS			12

/*
 * Events after a death that are noted: what a transaction holds, of which the
 * last may be the cause, but for more of its time.
 */
#define SINGLE_EVENTS		1000

/* So long a process has to live until its predecessors' deaths are forgotten. */
#define SURVIVAL_MS			3000

/*
 * Ends the stream, since one process after the other has died of it: of an event,
 * or before there was any (token NULL).  Nothing else is done that may kill this
 * one, too.
 */
static void
stop_after_deaths(StreamWorker *worker, const char *token)
{
	char	   *name = quote_literal_cstr(worker->process.name);
	char	   *reason = token ?
		psprintf("%d processes in a row died when they came to the event with the token %s; "
				 "SELECT resume_change_stream(%s, skip => '%s') leaves it out, SELECT resume_change_stream(%s) tries it again; "
				 "the server's log says which signal they died of", MAX_CRASHES, token, name, token, name) :
		psprintf("%d processes in a row died before they had written an event; SELECT resume_change_stream(%s) tries again; "
				 "the server's log says which signal they died of", worker->crash.starts, name);

	/* the commit empties the batch context, and the definition has not been read */
	reason = MemoryContextStrdup(TopMemoryContext, reason);
	mcs_process_begin(&worker->process);
	mcs_streams_stop(worker->process.name, STREAM_ERROR, reason, NULL);
	mcs_progress_error(worker->process.name, "the process that followed the change stream died");
	mcs_deaths_end(worker->process.name);
	mcs_alert_of_stream(worker->process.name, mcs_shared_state_name(STREAM_RETRYING), mcs_shared_state_name(STREAM_ERROR), reason, NULL);
	mcs_process_commit(&worker->process);
	mcs_process_report(&worker->process, STREAM_ERROR, reason, NULL, 0);
	ereport(LOG,
			(errmsg("change stream \"%s\" is error: %s", worker->process.name, reason)));
	mcs_process_leave();
}

/* Notes that this process is alive, before it does anything else; where its predecessors have died, it is careful. */
void
mcs_crash_begin(StreamWorker *worker)
{
	worker->crash.began_at = GetCurrentTimestamp();
	mcs_process_begin(&worker->process);
	if (OidIsValid(mcs_extension_schema()))
		worker->crash.after_death = mcs_deaths_begin(worker->process.name, mcs_slot_is_first(), &worker->crash.starts);
	mcs_process_commit(&worker->process);
	worker->crash.begun = true;
	if (worker->crash.starts >= MAX_STARTS)
		stop_after_deaths(worker, NULL);
	worker->crash.singly = worker->crash.after_death ? SINGLE_EVENTS : 0;
}

/*
 * Notes which event is written next, in a transaction of its own; does not return
 * where too many have died of it.  The events of one time, which are a transaction
 * of MongoDB's, go together behind the first of them, so that it stays whole;
 * where a process dies of them nevertheless, the next finds out of which.
 */
static void
announce(StreamWorker *worker, const char *token)
{
	int			crashes;

	mcs_process_begin(&worker->process);
	crashes = mcs_deaths_announce(worker->process.name, token);
	mcs_process_commit(&worker->process);
	/* a group has no streams of which that is known; what was not written comes again, and is no death */
	if (worker->inbox)
		return;
	if (crashes >= MAX_CRASHES - 1)
		stop_after_deaths(worker, token);
	if (crashes > 0)
		worker->crash.single_time = mcs_token_time(token);
}

/* The same with what comes next of a reply.  Only its token is read before. */
void
mcs_crash_announce_next(StreamWorker *worker, DocumentIterator events)
{
	DocumentValue token;
	TokenParts	parts;
	StringInfoData text;
	MemoryContext old;

	if (!mcs_document_next(&events) || events.value.type != DOCUMENT_OBJECT ||
		!mcs_document_find(events.value.data, events.value.size, "_id", &token) || !mcs_token_parts(&token, &parts))
		return;
	/* announcing ends a transaction, and with it what is in the batch's memory */
	old = MemoryContextSwitchTo(worker->process.definition_context);
	initStringInfo(&text);
	mcs_token_append(&text, &parts);
	MemoryContextSwitchTo(old);
	announce(worker, text.data);
	pfree(text.data);
}

/* After some time of work the predecessors' deaths are forgotten, and this process is as any other again. */
void
mcs_crash_survive(StreamWorker *worker, TimestampTz now)
{
	if (!worker->crash.after_death || !TimestampDifferenceExceeds(worker->crash.began_at, now, SURVIVAL_MS))
		return;
	if (worker->crash.starts > 0)
	{
		mcs_process_begin(&worker->process);
		mcs_deaths_survive(worker->process.name);
		mcs_process_commit(&worker->process);
	}
	worker->crash.starts = 0;
	mcs_slot_trusted();
	/* in a backlog the event that killed them may still be to come */
	if (worker->read.drained)
	{
		worker->crash.singly = 0;
		worker->crash.noted = false;
	}
	worker->crash.after_death = worker->crash.singly > 0 || worker->crash.noted;
}
