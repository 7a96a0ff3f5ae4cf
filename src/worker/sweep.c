/*
 * worker/sweep.c
 *	  Before a mirror's table is filled (worker/copy.c) that may have rows already:
 *	  takes away those whose documents MongoDB does not have.
 *
 * The table's rows are gone through by _id, some at a time; MongoDB is asked
 * which of these it has as of the position's time, and the others go in a
 * transaction like that of a chunk.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "tables/tables.h"
#include "utils/memutils.h"
#include "worker/worker_internal.h"

/* Rows that are looked for at once. */
#define SWEEP_ROWS			1000

/* What one step of a sweep goes through. */
typedef struct Sweep
{
	List	   *rows;			/* of MirrorRow; NIL at the end */
	uint64		time;
	uint64		inexact_until;
} Sweep;

/* The next rows, in a transaction of its own. */
static bool
next_rows(StreamWorker *worker, StreamMirror *mirror, Sweep *sweep)
{
	MirrorChanges *changes;

	mcs_process_begin(&worker->process);
	changes = mcs_mirroring_changes(worker, mirror);
	if (changes)
	{
		mirror->changes = NULL;
		MemoryContextSwitchTo(worker->copy.context);
		sweep->rows = mcs_mirror_next_rows(mirror->table, mirror->copy->swept_key, SWEEP_ROWS);
	}
	mcs_mirroring_stop_failed(worker);
	mcs_process_commit(&worker->process);
	return changes != NULL;
}

/* Notes which documents a reply has. */
static void
mark_found(MirrorAsked *asked, const MongoBatch *batch)
{
	DocumentIterator it;

	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		DocumentValue id;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, "_id", &id))
			mcs_document_malformed();
		mcs_mirror_note_found(asked, &id);
	}
}

/* Asks MongoDB for the rows. */
static ReadOutcome
look_for_rows(StreamWorker *worker, const StreamMirror *mirror, Sweep *sweep, MongoError *error)
{
	FindSpec	spec = {0};
	Document   *filter;
	MirrorAsked *asked = mcs_mirror_ask(sweep->rows, &filter);
	MongoCursor *cursor;
	MongoBatch	batch;
	ReadOutcome outcome;

	spec.database = mirror->definition->database;
	spec.collection = mirror->definition->collection;
	spec.filter = filter;
	spec.ids_only = true;
	spec.queue_bytes = 1;
	cursor = mcs_documents_find(worker, &spec, sweep->time);
	while ((outcome = mcs_documents_next(worker, cursor, &spec, &batch, error)) == READ_REPLY)
	{
		mark_found(asked, &batch);
		if (spec.at_time == 0)
			sweep->inexact_until = Max(sweep->inexact_until, batch.operation_time);
		if (batch.closed)
			break;
	}
	mcs_cursor_close(cursor);
	return outcome;
}

/* Takes away what was not found, and notes how far the sweep is. */
static void
remove_rows(StreamWorker *worker, StreamMirror *mirror, const Sweep *sweep)
{
	CopyProgress *copy = mirror->copy;
	StreamProgress progress = {.token = get_token(&worker->read.token),.last_event_id = worker->stream->last_event_id};
	MirrorChanges *changes;
	ListCell   *cell;
	bool		saved;

	mcs_process_begin(&worker->process);
	/* the table is locked before the stream's rows, as by whoever alters one or the other */
	changes = mcs_mirroring_changes(worker, mirror);
	saved = mcs_progress_save(worker->stream, worker->stream->last_event_id, worker->stream->resume_token, &progress);
	if (!saved)
		changes = NULL;
	if (changes)
		mcs_mirror_settle(mirror->table, sweep->rows);
	foreach(cell, sweep->rows)
		if (changes && !((MirrorRow *) lfirst(cell))->found)
			mcs_mirror_remove_row(changes, lfirst(cell), sweep->time);
	/* an error of the commit may be the table's: see on_error.c */
	worker->write.in_progress = true;
	if (saved)
		(void) mcs_mirroring_write(worker);
	if (saved && !mirror->stopped)
	{
		copy->sweep = sweep->rows != NIL;
		if (sweep->rows != NIL)
		{
			DocumentValue id = mcs_document_value(((MirrorRow *) llast(sweep->rows))->key);
			MemoryContext old = MemoryContextSwitchTo(worker->process.definition_context);

			copy->swept_key = mcs_document_make(id.type, id.data, id.size);
			MemoryContextSwitchTo(old);
		}
		copy->inexact_until = Max(copy->inexact_until, sweep->inexact_until);
		saved = mcs_snapshots_save(copy);
	}
	mcs_worker_commit(worker, &progress, saved);
	worker->write.in_progress = false;
	worker->write.careful = false;
}

ReadOutcome
mcs_sweep_step(StreamWorker *worker, StreamMirror *mirror, MongoError *error)
{
	Sweep		sweep = {.time = mcs_progress_time(worker->stream->resume_token)};
	ReadOutcome outcome = READ_REPLY;

	MemoryContextReset(worker->copy.context);
	if (!next_rows(worker, mirror, &sweep))
		return READ_REPLY;
	if (sweep.rows != NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(worker->copy.context);

		outcome = look_for_rows(worker, mirror, &sweep, error);
		MemoryContextSwitchTo(old);
	}
	if (outcome == READ_REPLY)
		remove_rows(worker, mirror, &sweep);
	return outcome;
}
