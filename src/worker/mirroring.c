/*
 * worker/mirroring.c
 *	  The mirrors of the stream: which of them an event is for, what it means
 *	  for their tables, and when each equals its collection.
 *
 * What a transaction's events mean is gathered, and written at its end, after
 * its rows: each document in the state that it has at the end of the
 * transaction, which ends at a time of MongoDB's.  So does the position, which is
 * saved in the same transaction; so at each commit a mirror equals its
 * collection as it was at that time.
 *
 * It does not where it was written with documents that MongoDB could only give
 * as they were later (inexact_until of its copy).  Events up to that time are then
 * applied once more, and when all are, the mirror is exact again: whatever
 * changed a document last before that time has come, and what it was looked up
 * as is not newer.
 *
 * A table is its owner's, who may have done anything with it.  So each is
 * written in a subtransaction, and one that fails is tried once more, with each
 * time of MongoDB's in a transaction of its own: a value that goes from one
 * document to another may collide only where both are written at once.  If that
 * fails, too, the mirror is stopped, says why, and the others go on.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* How often, and for how long, a mirror may fail by what may pass by itself. */
#define PASSING_FAILURES	5
#define PASSING_MS			20000

/* ---- which there are ---- */

/* Orders by collection, then database: what differs is seen soonest. */
static int
compare_names(const char *collection, size_t collection_length, const char *database, size_t database_length, const Mirror *mirror)
{
	size_t		length = strlen(mirror->collection);
	int			compared = memcmp(collection, mirror->collection, Min(collection_length, length));

	if (compared == 0 && collection_length != length)
		return collection_length < length ? -1 : 1;
	if (compared != 0)
		return compared;
	length = strlen(mirror->database);
	compared = memcmp(database, mirror->database, Min(database_length, length));
	if (compared == 0 && database_length != length)
		return database_length < length ? -1 : 1;
	return compared;
}

static int
compare_mirrors(const void *a, const void *b)
{
	const Mirror *mirror = ((const StreamMirror *) a)->definition;

	return compare_names(mirror->collection, strlen(mirror->collection), mirror->database, strlen(mirror->database),
						 ((const StreamMirror *) b)->definition);
}

int
mcs_mirroring_find(const StreamWorker *worker, const EventText *database, const EventText *collection, StreamMirror **first)
{
	int			low = 0;
	int			high = worker->mirror_count;
	int			count = 0;

	if (worker->mirror_count == 0 || !database->data || !collection->data)
		return 0;
	/* the first that is not before it; several may watch the same collection */
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (compare_names(collection->data, collection->length, database->data, database->length,
						  worker->mirrors[middle].definition) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	*first = &worker->mirrors[low];
	while (low + count < worker->mirror_count &&
		   compare_names(collection->data, collection->length, database->data, database->length,
						 worker->mirrors[low + count].definition) == 0)
		count++;
	return count;
}

void
mcs_mirroring_attach(StreamWorker *worker)
{
	List	   *mirrors = mcs_mirrors_of_stream(worker->process.name);
	ListCell   *cell;

	worker->mirrors = palloc0(sizeof(StreamMirror) * Max(list_length(mirrors), 1));
	worker->mirror_count = 0;
	foreach(cell, mirrors)
	{
		Mirror	   *definition = lfirst(cell);
		StreamMirror *mirror = &worker->mirrors[worker->mirror_count];
		ListCell   *other;

		if (definition->paused || definition->stopped_reason)
			continue;
		mirror->definition = definition;
		foreach(other, worker->copy.copies)
		{
			CopyProgress *copy = lfirst(other);

			if (copy->mirror && strcmp(copy->mirror, definition->name) == 0)
				mirror->copy = copy;
		}
		worker->mirror_count++;
	}
	qsort(worker->mirrors, worker->mirror_count, sizeof(StreamMirror), compare_mirrors);
}

void
mcs_mirroring_detach(StreamWorker *worker)
{
	for (int i = 0; i < worker->mirror_count; i++)
		if (worker->mirrors[i].table)
			mcs_mirror_close(worker->mirrors[i].table);
	worker->mirrors = NULL;
	worker->mirror_count = 0;
}

StreamMirror *
mcs_mirroring_of_copy(const StreamWorker *worker, const CopyProgress *copy)
{
	for (int i = 0; i < worker->mirror_count; i++)
		if (worker->mirrors[i].copy == copy && !worker->mirrors[i].stopped)
			return &worker->mirrors[i];
	return NULL;
}

/* ---- doing something with one, which may fail by its own doing ---- */

typedef struct MirrorAction
{
	StreamWorker *worker;
	StreamMirror *mirror;
	bool		check_deferred;
	MirrorResult result;
} MirrorAction;

/* While no process looked, another table may have been put in its place. */
static void
check_table(const Mirror *mirror, Oid table)
{
	mcs_mirror_check_same(mirror, table, mcs_mirrors_written_table(mirror->name, table));
}

static void
find_table(void *arg)
{
	const Mirror *mirror = ((MirrorAction *) arg)->mirror->definition;
	Oid			table = mcs_mirror_table_now(mirror);

	/* one that is gone may come back before it is needed */
	if (OidIsValid(table))
		check_table(mirror, table);
}

static void
open_table(void *arg)
{
	MirrorAction *action = arg;
	StreamWorker *worker = action->worker;
	MirrorTable *before;
	MemoryContext old;

	if (action->mirror->table && mcs_mirror_is_valid(action->mirror->table))
		return;
	before = action->mirror->table;
	action->mirror->table = NULL;
	old = MemoryContextSwitchTo(worker->process.definition_context);
	action->mirror->table = before ? mcs_mirror_reopen(before, action->mirror->definition, worker->mask) :
		mcs_mirror_open(action->mirror->definition, worker->mask);
	MemoryContextSwitchTo(old);
	if (before == NULL)
		check_table(action->mirror->definition, mcs_mirror_relation(action->mirror->table));
}

static void
write_table(void *arg)
{
	MirrorAction *action = arg;

	mcs_mirror_write(action->mirror->changes, &action->result);
	if (action->check_deferred)
		mcs_events_table_check_deferred();
	/* a cancel that its triggers have earned is its own error, not that of what follows */
	CHECK_FOR_INTERRUPTS();
	CommandCounterIncrement();
}

/* A hint behind which the sentence goes on; empty for none. */
static const char *
open_hint(const char *before, const char *hint)
{
	size_t		length = hint ? strlen(hint) : 0;

	if (length == 0)
		return "";
	if (hint[length - 1] == ';' || hint[length - 1] == '.')
		length--;
	return psprintf("%s%.*s", before, (int) length, hint);
}

/* What a person needs to know who finds a mirror stopped; culprit: the _id of the document that it stopped at, or NULL. */
static char *
stop_reason(const Mirror *mirror, const ErrorData *error, const char *culprit)
{
	return psprintf("table %s cannot be written: %s%s%s; mend that and SELECT resync_change_mirror(%s)",
					mirror->table, error->message ? error->message : "unknown error",
					culprit ? psprintf(" (the document with _id %s)", culprit) : "", open_hint(": ", error->hint),
					quote_literal_cstr(mirror->name));
}

/*
 * Stops one, in the transaction at work.  Where that saves a position, only after
 * it has: functions that change a mirror lock the stream's rows first, too.
 */
static void
stop_mirror(StreamWorker *worker, StreamMirror *mirror, const char *reason, const char *message)
{
	mirror->stopped = true;
	mirror->changes = NULL;
	mirror->failure = NULL;
	/* it may be mended already: the table that is not there was renamed, say */
	if (!mcs_mirrors_stop(worker->stream, mirror->definition->name, reason, message))
	{
		worker->process.reload = true;
		return;
	}
	mcs_alert_of_stream(worker->process.name, NULL, NULL, psprintf("change mirror \"%s\" has stopped: %s", mirror->definition->name, reason),
						psprintf("SELECT resync_change_mirror(%s);", quote_literal_cstr(mirror->definition->name)));
	ereport(LOG,
			(errmsg("change mirror \"%s\" has stopped: %s", mirror->definition->name, reason),
			 errdetail("%s", message)));
}

void
mcs_mirroring_stop_failed(StreamWorker *worker)
{
	for (int i = 0; i < worker->mirror_count; i++)
	{
		StreamMirror *mirror = &worker->mirrors[i];

		if (mirror->failure)
			stop_mirror(worker, mirror, stop_reason(mirror->definition, mirror->failure, NULL), mirror->failure->message);
	}
}

/* The same for a reason of MongoDB's, in a transaction of its own. */
void
mcs_mirroring_refused(StreamWorker *worker, StreamMirror *mirror, const MongoError *error)
{
	if (mirror->stopped)
		return;
	mcs_process_begin(&worker->process);
	stop_mirror(worker, mirror,
				psprintf("MongoDB does not let documents of %s.%s be read: %s%s; then SELECT resync_change_mirror(%s)",
						 mirror->definition->database, mirror->definition->collection, error->message,
						 open_hint("; ", mcs_mongo_hint_for_all(error)), quote_literal_cstr(mirror->definition->name)),
				error->message);
	mcs_process_commit(&worker->process);
}

void
mcs_mirroring_give_up(StreamWorker *worker, StreamMirror *mirror, const char *reason)
{
	mcs_process_begin(&worker->process);
	stop_mirror(worker, mirror, reason, "the process that wrote it died");
	mcs_process_commit(&worker->process);
}

/*
 * Whether an error that may pass by itself, as a deadlock, has come again and
 * again.  One that does not pass, as of a partition that lies on another server,
 * is not to hold up the other mirrors for ever.  Want of room and locks of others
 * are waited for: they say nothing about the mirror.
 */
static bool
stays(StreamRetry *retry, const ErrorData *error)
{
	TimestampTz now = GetCurrentTimestamp();

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return false;
	if (retry->mirror_failures++ == 0)
		retry->mirror_since = now;
	return retry->mirror_failures >= PASSING_FAILURES && TimestampDifferenceExceeds(retry->mirror_since, now, PASSING_MS);
}

/* Takes the error of an attempt, which stops the mirror; raises those that may not be its own. */
static void
rethrow_others(StreamWorker *worker, const StreamMirror *mirror, ErrorData *error)
{
	if (mcs_event_is_cause(error) || stays(&worker->retry, error))
		return;
	mcs_text_copy(worker->retry.mirror, sizeof(worker->retry.mirror), mirror->definition->name);
	ReThrowError(error);
}

void
mcs_mirroring_verify(StreamWorker *worker)
{
	if (worker->mirror_count == 0)
		return;
	mcs_process_begin(&worker->process);
	for (int i = 0; i < worker->mirror_count; i++)
	{
		StreamMirror *mirror = &worker->mirrors[i];
		MirrorAction action = {.worker = worker,.mirror = mirror};
		ErrorData  *error = mcs_attempt(find_table, &action);

		if (error)
			rethrow_others(worker, mirror, error);
		mirror->failure = error;
	}
	mcs_mirroring_stop_failed(worker);
	mcs_process_commit(&worker->process);
}

MirrorChanges *
mcs_mirroring_changes(StreamWorker *worker, StreamMirror *mirror)
{
	MirrorAction action = {.worker = worker,.mirror = mirror};
	ErrorData  *error;

	if (mirror->stopped || mirror->failure)
		return NULL;
	if (mirror->changes)
		return mirror->changes;
	error = mcs_attempt(open_table, &action);
	if (error)
	{
		rethrow_others(worker, mirror, error);
		mirror->table = NULL;
		mirror->failure = error;
		return NULL;
	}
	mirror->changes = mcs_mirror_begin(mirror->table);
	return mirror->changes;
}

/* ---- what events mean ---- */

/* Its documents were exchanged for others without events: they are copied again. */
static void
copy_again(StreamMirror *mirror)
{
	CopyProgress *copy = mirror->copy;

	copy->documents_done = 0;
	copy->documents_estimated = -1;
	copy->last_key = NULL;
	copy->sweep = true;
	copy->swept_key = NULL;
	copy->finished = false;
	copy->exact_since = 0;
	mirror->begins_copy = true;
}

/* Copies a value into memory that lasts until the transaction's end. */
static void
keep_value(DocumentValue *value)
{
	if (value->type != 0)
		value->data = memcpy(MemoryContextAllocHuge(CurrentMemoryContext, value->size + 1), value->data, value->size);
}

/* What an event of a mirror's own collection means for it. */
static void
take_event(StreamWorker *worker, StreamMirror *mirror, const ChangeEvent *event, uint64 time)
{
	MirrorChanges *changes = mcs_mirroring_changes(worker, mirror);
	const EventText *operation = &event->operation_type;
	DocumentValue document = event->full_document;
	DocumentValue id;
	bool		update;
	LookupAnswer answer;

	if (!changes)
		return;
	if (mcs_event_text_is(operation, "drop") || mcs_event_text_is(operation, "rename"))
	{
		mcs_mirror_empty(changes, time);
		return;
	}
	if (event->document_key.type != DOCUMENT_OBJECT ||
		!mcs_document_find(event->document_key.data, event->document_key.size, "_id", &id))
		return;
	/* the parts of a large event go before all is written */
	if (worker->read.fragments != NIL)
	{
		keep_value(&id);
		keep_value(&document);
	}
	if (mcs_event_text_is(operation, "delete"))
	{
		mcs_mirror_remove(changes, &id, time);
		return;
	}
	update = mcs_event_text_is(operation, "update");
	if (!update && !mcs_event_text_is(operation, "insert") && !mcs_event_text_is(operation, "replace"))
		return;
	/* one that was looked up is as of the end; one that MongoDB kept as of the event, so of the end, too, if it is the last */
	answer = mcs_lookups_get(worker, event, &document);
	if (answer == LOOKUP_FOUND || (document.type == DOCUMENT_OBJECT && !(update && answer == LOOKUP_GONE)))
		mcs_mirror_put(changes, &document, time);
	else if (answer == LOOKUP_GONE)
		mcs_mirror_remove(changes, &id, time);
	else
		elog(ERROR, "the document of an event was not looked up");
}

/* An event that is left out, perhaps since processes have died of it, leaves the mirror behind its collection. */
static void
skip_event(StreamMirror *mirror, const ChangeEvent *event)
{
	if (mirror->stopped || mirror->failure)
		return;
	mirror->changes = NULL;
	mirror->failure = palloc0(sizeof(ErrorData));
	mirror->failure->message = psprintf("event %.*s was skipped by resume_change_stream", (int) event->token.length, event->token.data);
}

void
mcs_mirroring_take(StreamWorker *worker, const ChangeEvent *event, bool skipped)
{
	static const EventText none = {NULL, 0};
	const EventText *to_database = event->to_database.data ? &event->to_database : &none;
	uint64		time = event->cluster_time ? event->cluster_time : mcs_token_time(event->token.data);
	StreamMirror *mirror;
	int			count;

	count = mcs_mirroring_find(worker, &event->database, &event->collection, &mirror);
	for (int i = 0; i < count; i++)
	{
		if (skipped)
			skip_event(&mirror[i], event);
		else
			take_event(worker, &mirror[i], event, time);
	}
	if (mcs_event_text_is(&event->operation_type, "rename"))
	{
		count = mcs_mirroring_find(worker, to_database, &event->to_collection, &mirror);
		for (int i = 0; i < count; i++)
			if (mirror[i].copy && !mirror[i].stopped)
			{
				MirrorChanges *changes = mcs_mirroring_changes(worker, &mirror[i]);

				/* none of the old documents is there any more; the new ones have no events */
				if (changes)
					mcs_mirror_empty(changes, time);
				if (changes)
					copy_again(&mirror[i]);
			}
	}
	if (mcs_event_text_is(&event->operation_type, "dropDatabase"))
		for (int i = 0; i < worker->mirror_count; i++)
			if (mcs_event_text_is(&event->database, worker->mirrors[i].definition->database))
			{
				MirrorChanges *changes = mcs_mirroring_changes(worker, &worker->mirrors[i]);

				if (changes)
					mcs_mirror_empty(changes, time);
			}
}

/* ---- writing ---- */

/* Says that documents of a transaction are those of a later time. */
static bool
note_inexact(StreamMirror *mirror, uint64 until)
{
	if (!mirror->copy || until <= mirror->copy->inexact_until)
		return true;
	mirror->copy->inexact_until = until;
	mirror->copy->exact_since = 0;
	return mcs_snapshots_save(mirror->copy);
}

/* Notes in the tables what was written for a mirror; false as below. */
static bool
note_written(StreamWorker *worker, StreamMirror *mirror, const MirrorResult *result, uint64 inexact_until)
{
	mirror->changes = NULL;
	worker->process.done.counters[NUMBER_COLUMN_ERRORS] += result->column_errors;
	if (result->rows_written > 0 || result->column_errors > 0)
		mcs_mirrors_count(mirror->definition->name, result->rows_written, result->column_errors, result->column_error);
	return mirror->begins_copy || note_inexact(mirror, inexact_until);
}

/* One of them, in a subtransaction; the error where it fails by its own doing. */
static ErrorData *
write_mirror(StreamWorker *worker, StreamMirror *mirror, MirrorResult *result)
{
	/* what is deferred belongs to nobody when it fails at the commit: once it has, it is checked here */
	MirrorAction action = {.worker = worker,.mirror = mirror,.check_deferred = worker->write.careful};
	ErrorData  *error;

	CHECK_FOR_INTERRUPTS();
	error = mcs_attempt(write_table, &action);
	if (error)
		rethrow_others(worker, mirror, error);
	*result = action.result;
	return error;
}

/*
 * Writes what was noted; false where the transaction is to be rolled back, since
 * one failed that may succeed with less at once, or since somebody has begun a
 * copy again.  Tables may refer to each other: who fails before the others are
 * written is tried once more behind them.
 */
bool
mcs_mirroring_write(StreamWorker *worker)
{
	StreamPlan *plan = &worker->plan;
	uint64		inexact_until = plan->documents ? mcs_lookups_inexact_until(plan->documents) : 0;

	mcs_mirroring_stop_failed(worker);
	for (int i = 0; i < worker->mirror_count; i++)
		/* this makes a definition of it that is to be read again */
		if (worker->mirrors[i].changes && worker->mirrors[i].begins_copy)
			mcs_snapshots_begin(worker->mirrors[i].copy);
	for (int try = 0; try < 2; try++)
		for (int i = 0; i < worker->mirror_count; i++)
		{
			StreamMirror *mirror = &worker->mirrors[i];
			MirrorResult result;
			ErrorData  *error;
			const char *culprit;

			if (!mirror->changes)
				continue;
			error = write_mirror(worker, mirror, &result);
			if (error == NULL && !note_written(worker, mirror, &result, inexact_until))
				return false;
			if (error == NULL || (try == 0 && worker->mirror_count > 1))
				continue;
			if (plan->events > 1 && worker->one_time_until < plan->time)
			{
				worker->one_time_until = plan->time;
				return false;
			}
			culprit = mcs_mirror_culprit(mirror->changes, error, worker->write.careful);
			stop_mirror(worker, mirror, stop_reason(mirror->definition, error, culprit), error->message);
		}
	/* in the midst of a transaction of MongoDB's no table is as its collection ever was, be it one that nothing was written to yet */
	for (int i = 0; plan->parts_time && i < worker->mirror_count; i++)
		if (!worker->mirrors[i].stopped && !note_inexact(&worker->mirrors[i], plan->time + 1))
			return false;
	worker->retry.mirror_failures = 0;
	return true;
}

bool
mcs_mirroring_begin_copies(const StreamWorker *worker)
{
	for (int i = 0; i < worker->mirror_count; i++)
		if (worker->mirrors[i].begins_copy)
			return true;
	return false;
}

bool
mcs_mirroring_reached(StreamWorker *worker, const char *token)
{
	uint64		time;
	ListCell   *cell;

	if (!token || worker->copy.copies == NIL)
		return true;
	time = mcs_progress_time(token);
	foreach(cell, worker->copy.copies)
	{
		CopyProgress *copy = lfirst(cell);

		if (!copy->finished || copy->exact_since != 0 || time < copy->inexact_until ||
			(copy->mirror && !mcs_mirroring_of_copy(worker, copy)))
			continue;
		copy->exact_since = mcs_event_timestamp(time);
		copy->inexact_until = 0;
		if (!mcs_snapshots_save(copy))
			return false;
	}
	return true;
}
