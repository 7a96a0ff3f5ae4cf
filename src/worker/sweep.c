/*
 * worker/sweep.c
 *	  Before a mirror's table is filled (worker/copy.c) that may have rows already:
 *	  takes away those whose documents MongoDB does not have.
 *
 * The table's rows are gone through by _id, some at a time; MongoDB is asked
 * which of these it has as of the position's time, and the others go in a
 * transaction like that of a chunk.  Where rows do not tell the _id of their
 * documents, all of them go.
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
	List	   *ids;			/* of Document *; NIL at the end */
	bool	   *found;
	bool		all;			/* rows do not tell their _id */
	uint64		time;
	uint64		inexact_until;
} Sweep;

/* Whether a value can be a document's _id, so that MongoDB may be asked for it. */
static bool
can_be_id(const DocumentValue *id)
{
	DocumentIterator it;

	if (id->type == DOCUMENT_ARRAY || id->type == DOCUMENT_REGEX || id->type == DOCUMENT_UNDEFINED)
		return false;
	if (id->type != DOCUMENT_OBJECT)
		return true;
	/* MongoDB would take it for an operator, and has no such _id */
	mcs_document_iterate(&it, id->data, id->size);
	return !mcs_document_next(&it) || it.key[0] != '$';
}

/* The next rows, in a transaction of its own. */
static bool
next_rows(StreamWorker *worker, StreamMirror *mirror, Sweep *sweep)
{
	MirrorChanges *changes;
	ListCell   *cell;
	List	   *ids = NIL;

	mcs_process_begin(&worker->process);
	changes = mcs_mirroring_changes(worker, mirror);
	if (changes)
	{
		mirror->changes = NULL;
		sweep->all = !mcs_mirror_can_sweep(mirror->table);
		if (!sweep->all)
			ids = mcs_mirror_next_ids(mirror->table, mirror->copy->swept_key, SWEEP_ROWS);
	}
	MemoryContextSwitchTo(worker->copy.context);
	foreach(cell, ids)
	{
		Document   *id = lfirst(cell);

		sweep->ids = lappend(sweep->ids, memcpy(palloc(VARSIZE_ANY(id)), id, VARSIZE_ANY(id)));
	}
	sweep->found = palloc0(sizeof(bool) * Max(list_length(ids), 1));
	mcs_mirroring_stop_failed(worker);
	mcs_process_commit(&worker->process);
	return changes != NULL;
}

/* {_id: {$in: […]}} of the rows. */
static Document *
rows_filter(const Sweep *sweep)
{
	DocumentBuilder filter;
	ListCell   *cell;

	mcs_document_build(&filter);
	mcs_document_begin_object(&filter, NULL);
	mcs_document_begin_object(&filter, "_id");
	mcs_document_begin_array(&filter, "$in");
	foreach(cell, sweep->ids)
	{
		DocumentValue id = mcs_document_value(lfirst(cell));

		if (can_be_id(&id))
			mcs_document_append_value(&filter, NULL, &id);
	}
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	return mcs_document_finish(&filter);
}

/* Marks the rows whose _id a reply has, to the byte: 1 is not 1.0 here. */
static void
mark_found(Sweep *sweep, const MongoBatch *batch)
{
	DocumentIterator it;

	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		DocumentValue id;
		ListCell   *cell;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, "_id", &id))
			mcs_document_malformed();
		foreach(cell, sweep->ids)
		{
			DocumentValue row = mcs_document_value(lfirst(cell));

			if (row.type == id.type && row.size == id.size && memcmp(row.data, id.data, id.size) == 0)
				sweep->found[foreach_current_index(cell)] = true;
		}
	}
}

/* Asks MongoDB for the rows. */
static ReadOutcome
look_for_rows(StreamWorker *worker, const StreamMirror *mirror, Sweep *sweep, MongoError *error)
{
	DocumentBuilder projection;
	FindSpec	spec = {0};
	MongoCursor *cursor;
	MongoBatch	batch;
	ReadOutcome outcome;

	mcs_document_build(&projection);
	mcs_document_begin_object(&projection, NULL);
	mcs_document_append_int32(&projection, "_id", 1);
	mcs_document_end(&projection);
	spec.database = mirror->definition->database;
	spec.collection = mirror->definition->collection;
	spec.filter = rows_filter(sweep);
	spec.projection = mcs_document_finish(&projection);
	spec.queue_bytes = 1;
	cursor = mcs_documents_find(worker, &spec, sweep->time);
	while ((outcome = mcs_documents_next(worker, cursor, &spec, &batch, error)) == READ_REPLY)
	{
		mark_found(sweep, &batch);
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
	if (changes && sweep->all)
		mcs_mirror_empty(changes, sweep->time);
	foreach(cell, sweep->ids)
	{
		DocumentValue id = mcs_document_value(lfirst(cell));

		if (changes && !sweep->found[foreach_current_index(cell)])
			mcs_mirror_remove(changes, &id, sweep->time);
	}
	/* an error of the commit may be the table's: see on_error.c */
	worker->write.in_progress = true;
	if (saved)
		(void) mcs_mirroring_write(worker);
	if (saved && !mirror->stopped)
	{
		copy->sweep = !sweep->all && sweep->ids != NIL;
		if (sweep->ids != NIL)
		{
			DocumentValue id = mcs_document_value(llast(sweep->ids));
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

	mcs_worker_plan_forget(worker);
	MemoryContextReset(worker->copy.context);
	if (!next_rows(worker, mirror, &sweep))
		return READ_REPLY;
	if (sweep.ids != NIL)
	{
		MemoryContext old = MemoryContextSwitchTo(worker->copy.context);

		outcome = look_for_rows(worker, mirror, &sweep, error);
		MemoryContextSwitchTo(old);
	}
	if (outcome == READ_REPLY)
		remove_rows(worker, mirror, &sweep);
	return outcome;
}
