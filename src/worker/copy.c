/*
 * worker/copy.c
 *	  Copies collections, for the stream (initial_snapshot) or into a mirror's
 *	  table, while the stream is followed.
 *
 * MongoDB can give a collection's documents as they were at a time T some minutes
 * ago.  Between two transactions of events everything up to the position is
 * written and nothing behind it; so what is read as of the position's time, and
 * written before the next event, stands where it belongs in the order of events.
 * No event that came before can be newer, none that comes after older.  Hence
 * events are applied throughout a copy whatever document they are of, and no
 * document is missed or resurrected.
 *
 * It is read by the second session (documents.c) in the order of the index on _id,
 * in chunks: each is a reply, of some 8 MB, and a transaction, which also notes
 * the last _id; after whatever end the copy goes on behind it.  A find at T is of
 * use until events are written; then another begins at the new position.
 * Events wait for a few chunks, chunks for events as long as some are there, but
 * not for ever.
 *
 * Before a mirror's table is filled that may have rows already, it is swept: rows
 * whose documents MongoDB does not have go.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/worker_internal.h"

/* A chunk; before anything is known of the documents, so many. */
#define CHUNK_BYTES			(8 * 1024 * 1024)
#define FIRST_DOCUMENTS		1000
#define MAX_DOCUMENTS		50000

/* How long events that wait give way to chunks, and then chunks to events. */
#define BURST_MS			200
#define EVENTS_MS			1000

/* A find that goes on without events is renewed, before its time is one that MongoDB forgets. */
#define FIND_MS				60000

/* Chunks that one find reads while events come all the time. */
#define BURST_CHUNKS		3

/* Processes that may die of a chunk. */
#define MAX_DEATHS			3

#define WORDS_INTERVAL_MS	1000
#define REFUSED_RETRY_MS	60000

/* ---- which, and when ---- */

/* Whether a copy is this process's to make now. */
static bool
is_at_work(const StreamWorker *worker, const CopyProgress *copy)
{
	return !copy->finished && (!copy->mirror || mcs_mirroring_of_copy(worker, copy));
}

/* The copy to go on with; NULL: none. */
static CopyProgress *
next_copy(const StreamWorker *worker)
{
	ListCell   *cell;

	foreach(cell, worker->copy.copies)
		if (is_at_work(worker, lfirst(cell)))
			return lfirst(cell);
	return NULL;
}

bool
mcs_copy_is_wanted(const StreamWorker *worker)
{
	/* behind a position, which may lie in the future, and while the stream is followed */
	return worker->stream->resume_token && worker->copy.copies != NIL && mcs_worker_is_following(worker) &&
		mcs_progress_time(worker->stream->resume_token) <= worker->read.operation_time && next_copy(worker) != NULL;
}

/* Forgets the find; and what of it is here. */
void
mcs_copy_interrupt(StreamWorker *worker)
{
	StreamCopy *copy = &worker->copy;

	if (copy->cursor)
		mcs_cursor_close(copy->cursor);
	copy->cursor = NULL;
	if (copy->context)
		MemoryContextReset(copy->context);
}

void
mcs_copy_forget(StreamWorker *worker)
{
	mcs_copy_interrupt(worker);
	worker->copy.copies = NIL;
	worker->copy.current = NULL;
	worker->copy.events_since = 0;
	worker->copy.words[0] = '\0';
}

/* Whether it is a chunk's turn, and not that of events which wait. */
bool
mcs_copy_has_turn(StreamWorker *worker)
{
	StreamCopy *copy = &worker->copy;
	TimestampTz now = GetCurrentTimestamp();

	if (!mcs_copy_is_wanted(worker))
		return false;
	if (!worker->read.have_batch && !mcs_gather_first(worker, 0))
	{
		copy->events_since = 0;
		return worker->mongo.failure.class == MONGO_ERROR_NONE;
	}
	/* an empty reply takes no time */
	if (worker->read.batch.event_count == 0)
		return false;
	if (copy->events_since == 0)
		copy->events_since = now;
	copy->events_at = now;
	if (copy->cursor)
	{
		if (copy->empty || !TimestampDifferenceExceeds(copy->began_at, now, BURST_MS))
			return true;
		mcs_copy_interrupt(worker);
		copy->events_since = now;
		return false;
	}
	return TimestampDifferenceExceeds(copy->events_since, now, EVENTS_MS);
}

/* ---- what is told of it ---- */

/* Puts into words how far it is. */
static void
find_words(StreamWorker *worker)
{
	StreamCopy *copy = &worker->copy;
	const CopyProgress *progress = next_copy(worker);
	const StreamMirror *mirror;
	CopyProgress now;

	copy->words[0] = '\0';
	if (!progress)
		return;
	copy->of_stream = progress->mirror == NULL;
	now = *progress;
	if (copy->current == progress)
		now.busy += GetCurrentTimestamp() - copy->started_at;
	mirror = mcs_mirroring_of_copy(worker, progress);
	mcs_text_format(copy->words, sizeof(copy->words), "%s.%s%s%s: %s%s", progress->database, progress->collection,
					mirror ? " into " : "", mirror ? mirror->definition->table : "", mcs_stream_copy_reason(&now, 0),
					mcs_documents_read_at_times(worker) ? "" : "; MongoDB cannot be read as of the stream's position, "
					"so the copy is exact when the stream has passed the time of reading");
}

void
mcs_copy_attach(StreamWorker *worker)
{
	worker->copy.copies = mcs_snapshots_load(worker->process.name);
	mcs_mirroring_attach(worker);
	find_words(worker);
}

/* Shows how far it is, now and then. */
static void
tell(StreamWorker *worker, bool at_once)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!at_once && !TimestampDifferenceExceeds(worker->copy.told_at, now, WORDS_INTERVAL_MS))
		return;
	worker->copy.told_at = now;
	find_words(worker);
	mcs_worker_show_active(worker);
}

/* ---- failures ---- */

/* MongoDB refuses to give the documents, for good or until somebody does something. */
static bool
handle_refusal(StreamWorker *worker, CopyProgress *progress, const MongoError *error)
{
	StreamMirror *mirror = mcs_mirroring_of_copy(worker, progress);
	const char *hint = mcs_mongo_hint_for_all(error);

	mcs_copy_interrupt(worker);
	if (mirror)
	{
		mcs_mirroring_refused(worker, mirror, error);
		return true;
	}
	MemoryContextSwitchTo(worker->process.definition_context);
	mcs_worker_retry(worker, STREAM_ERROR,
					 psprintf("MongoDB does not let documents of %s.%s be read, which is tried again each minute: %s%s%s",
							  progress->database, progress->collection, error->message, hint ? "; " : "", hint ? hint : ""),
					 error->message, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), REFUSED_RETRY_MS));
	worker->process.reload = true;
	return false;
}

/* What follows from a reply that is none; false where following cannot go on. */
static bool
handle_no_reply(StreamWorker *worker, CopyProgress *progress, ReadOutcome outcome, const MongoError *error)
{
	mcs_copy_interrupt(worker);
	if (outcome != READ_FAILED)
		return true;
	if (mcs_documents_failure_passes(worker, error))
		return false;
	return handle_refusal(worker, progress, error);
}

/* ---- reading ---- */

/* Opens a find behind the last document that is copied. */
static void
open_find(StreamWorker *worker, CopyProgress *progress)
{
	StreamCopy *copy = &worker->copy;
	MemoryContext old = MemoryContextSwitchTo(copy->context);
	FindSpec   *spec = &copy->spec;

	memset(spec, 0, sizeof(*spec));
	spec->database = progress->database;
	spec->collection = progress->collection;
	spec->by_id = true;
	spec->min = progress->last_key;
	spec->batch_size = copy->batch_size;
	spec->queue_bytes = CHUNK_BYTES;
	copy->began_at = GetCurrentTimestamp();
	/*
	 * Where events come all the time it is not to read ahead what they make
	 * worthless, and they are not to wait for long.
	 */
	if (copy->events_at != 0 && !TimestampDifferenceExceeds(copy->events_at, copy->began_at, EVENTS_MS))
	{
		spec->batch_size = Max(copy->batch_size / 2, 1);
		spec->limit = (int64) spec->batch_size * BURST_CHUNKS;
	}
	copy->time = mcs_progress_time(worker->stream->resume_token);
	copy->cursor = mcs_documents_find(worker, spec, copy->time);
	copy->empty = true;
	copy->read = 0;
	MemoryContextSwitchTo(old);
}

/* So many documents as make a chunk, by those of the last one. */
static int
chunk_documents(const MongoBatch *batch)
{
	Size		average = batch->events_size / Max(batch->event_count, 1) + 1;

	return (int) Max(1, Min(CHUNK_BYTES / average, MAX_DOCUMENTS));
}

/* Begins a copy, or goes on with one, in this process. */
static void
begin_copy(StreamWorker *worker, CopyProgress *progress)
{
	StreamCopy *copy = &worker->copy;
	MemoryContext old;

	mcs_copy_interrupt(worker);
	if (!copy->context)
		copy->context = AllocSetContextCreate(TopMemoryContext, "mongo_change_stream copy", ALLOCSET_DEFAULT_SIZES);
	copy->current = progress;
	copy->batch_size = FIRST_DOCUMENTS;
	old = MemoryContextSwitchTo(copy->context);
	progress->documents_estimated = mcs_documents_estimate(worker, progress->database, progress->collection);
	MemoryContextSwitchTo(old);
	copy->started_at = GetCurrentTimestamp();
	tell(worker, true);
}

/* ---- writing ---- */

/* What a transaction of a copy is about to save. */
static void
begin_progress(StreamWorker *worker, StreamProgress *progress)
{
	memset(progress, 0, sizeof(*progress));
	/* nothing is between the stored position and what reading has reached: events are not written ahead of their turn */
	progress->token = get_token(&worker->read.token);
	progress->last_event_id = worker->stream->last_event_id;
}

/* Notes the last document of those copied; in the definition's memory. */
static void
note_last(StreamWorker *worker, CopyProgress *progress, const DocumentValue *id, int count)
{
	MemoryContext old = MemoryContextSwitchTo(worker->process.definition_context);
	Document   *before = progress->last_key;

	progress->last_key = mcs_document_make(id->type, id->data, id->size);
	if (before)
		pfree(before);
	progress->documents_done += count;
	MemoryContextSwitchTo(old);
}

/* Saves a copy with what was written for it; false where it was begun again meanwhile. */
static bool
save_copy(StreamWorker *worker, CopyProgress *progress, uint64 inexact_until)
{
	if (inexact_until > progress->inexact_until)
		progress->inexact_until = inexact_until;
	if (!mcs_snapshots_save(progress))
		return false;
	return mcs_mirroring_reached(worker, get_token(&worker->read.token));
}

/* A chunk's documents, behind the one that is copied already. */
typedef struct Chunk
{
	DocumentValue *documents;
	DocumentValue *ids;
	int			count;
	bool		last;			/* no document is behind them */
} Chunk;

/* Whether a document is the one that the copy goes on behind. */
static bool
is_last_key(const CopyProgress *progress, const DocumentValue *id)
{
	DocumentValue last;

	if (!progress->last_key)
		return false;
	last = mcs_document_value(progress->last_key);
	return mcs_document_is_same(&last, id);
}

static void
read_chunk(const CopyProgress *progress, const MongoBatch *batch, Chunk *chunk)
{
	DocumentIterator it;

	chunk->count = 0;
	chunk->documents = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DocumentValue) * (batch->event_count + 1));
	chunk->ids = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(DocumentValue) * (batch->event_count + 1));
	mcs_document_iterate(&it, batch->events, batch->events_size);
	while (mcs_document_next(&it))
	{
		DocumentValue id;

		if (it.value.type != DOCUMENT_OBJECT || !mcs_document_find(it.value.data, it.value.size, "_id", &id))
			mcs_document_malformed();
		if (chunk->count == 0 && is_last_key(progress, &id))
			continue;
		chunk->documents[chunk->count] = it.value;
		chunk->ids[chunk->count++] = id;
	}
	if (it.malformed)
		mcs_document_malformed();
}

/* Says why the stream stops at a document that cannot be written. */
static void
stop_at_document(StreamWorker *worker, const CopyProgress *progress, const DocumentValue *id, StreamCulprit *culprit)
{
	MemoryContext old = MemoryContextSwitchTo(worker->process.definition_context);
	const char *name = quote_literal_cstr(worker->process.name);

	culprit->message = pstrdup(culprit->message);
	culprit->reason = psprintf("the document with _id %s of %s.%s cannot be written: %s; mend that and SELECT resume_change_stream(%s), "
							   "or put such documents aside: SELECT alter_change_stream(%s, on_error => 'park')",
							   mcs_document_out_text(mcs_document_make(id->type, id->data, id->size)),
							   progress->database, progress->collection, culprit->message, name, name);
	culprit->token = NULL;
	MemoryContextSwitchTo(old);
}

/* A chunk as events of the stream. */
static void
write_events(StreamWorker *worker, CopyProgress *progress, const Chunk *chunk, uint64 inexact_until)
{
	StreamWriter *writer = mcs_writer_begin(worker->stream);
	StreamCulprit culprit = {0};
	StreamProgress stream_progress;
	TakenDocuments taken = {progress->database, progress->collection, chunk->documents, chunk->ids, chunk->count, worker->copy.time, NULL};
	int			copied = chunk->count;
	bool		saved;

	taken.index_of = palloc(sizeof(int) * (chunk->count + 1));
	begin_progress(worker, &stream_progress);
	worker->read.received_at = GetCurrentTimestamp();
	worker->write.filter_errors = 0;
	if (worker->write.careful)
		mcs_writer_be_careful(writer);
	mcs_take_documents(worker, writer, &taken);
	stream_progress.last_event_at = mcs_writer_count(writer) > 0 ? GetCurrentTimestamp() : 0;
	stream_progress.filter_errors = worker->write.filter_errors;
	worker->write.in_progress = true;
	if (worker->write.careful)
		saved = mcs_on_error_write(writer, &stream_progress, &culprit);
	else
		saved = mcs_writer_finish(writer, &stream_progress);
	if (culprit.reason)
	{
		copied = taken.index_of[stream_progress.events];
		stop_at_document(worker, progress, &chunk->ids[copied], &culprit);
		stream_progress.token = get_token(&worker->read.token);
	}
	if (saved && copied > 0)
		note_last(worker, progress, &chunk->ids[copied - 1], copied);
	progress->finished = chunk->last && copied == chunk->count;
	if (saved)
		saved = save_copy(worker, progress, inexact_until);
	mcs_worker_commit(worker, &stream_progress, saved);
	worker->write.in_progress = false;
	worker->write.careful = culprit.count > 0;
	if (!worker->process.reload)
		worker->write.culprit = culprit;
}

/* A chunk as rows of a mirror. */
static void
write_rows(StreamWorker *worker, CopyProgress *progress, const Chunk *chunk, uint64 inexact_until)
{
	StreamMirror *mirror = mcs_mirroring_of_copy(worker, progress);
	StreamProgress stream_progress;
	MirrorChanges *changes = mcs_mirroring_changes(worker, mirror);
	bool		saved;

	begin_progress(worker, &stream_progress);
	saved = mcs_progress_save(worker->stream, worker->stream->last_event_id, worker->stream->resume_token, &stream_progress);
	for (int i = 0; saved && changes && i < chunk->count; i++)
		mcs_mirror_put(changes, &chunk->documents[i], worker->copy.time);
	worker->write.in_progress = true;
	if (saved)
		(void) mcs_mirroring_write(worker);
	/*
	 * While the disk works the next chunk is written.  A crash takes rows and the
	 * place behind them away together, and they are copied again; not so for
	 * events, which somebody may have seen under their numbers.
	 */
	if (!chunk->last)
		mcs_process_commit_lazily();
	if (saved && !mirror->stopped)
	{
		if (chunk->count > 0)
			note_last(worker, progress, &chunk->ids[chunk->count - 1], chunk->count);
		progress->finished = chunk->last;
		saved = save_copy(worker, progress, inexact_until);
	}
	mcs_worker_commit(worker, &stream_progress, saved);
	worker->write.in_progress = false;
	worker->write.careful = false;
}

/*
 * Processes have died, perhaps of what is copied: notes that before it is written,
 * and gives the copy up where it has happened again and again.
 */
static bool
announce(StreamWorker *worker, CopyProgress *progress)
{
	StreamMirror *mirror = mcs_mirroring_of_copy(worker, progress);
	int			deaths;
	char	   *reason;
	const char *name;

	if (!worker->crash.after_death)
		return true;
	mcs_process_begin(&worker->process);
	deaths = mcs_snapshots_announce(progress);
	mcs_process_commit(&worker->process);
	if (deaths < MAX_DEATHS)
		return true;
	MemoryContextSwitchTo(worker->process.definition_context);
	name = quote_literal_cstr(mirror ? mirror->definition->name : worker->process.name);
	reason = psprintf("%d processes in a row died when they copied documents of %s.%s behind _id %s; "
					  "the server's log says which signal they died of; SELECT %s(%s) tries again",
					  MAX_DEATHS, progress->database, progress->collection,
					  progress->last_key ? mcs_document_out_text(progress->last_key) : "MinKey",
					  mirror ? "resync_change_mirror" : "resume_change_stream", name);
	MemoryContextSwitchTo(worker->process.batch_context);
	if (mirror)
		mcs_mirroring_give_up(worker, mirror, reason);
	else
		mcs_worker_stop(worker, STREAM_ERROR, reason, "the process that followed the change stream died", NULL);
	return false;
}

/* Reads a chunk and writes it; false where following cannot go on. */
static bool
copy_chunk(StreamWorker *worker, CopyProgress *progress)
{
	StreamCopy *copy = &worker->copy;
	MongoBatch	batch;
	MongoError	error;
	ReadOutcome outcome;
	Chunk		chunk;
	MemoryContext old;

	if (copy->cursor && TimestampDifferenceExceeds(copy->began_at, GetCurrentTimestamp(), FIND_MS))
		mcs_copy_interrupt(worker);
	if (!copy->cursor)
		open_find(worker, progress);
	old = MemoryContextSwitchTo(copy->context);
	outcome = mcs_documents_next(worker, copy->cursor, &copy->spec, &batch, &error);
	MemoryContextSwitchTo(old);
	if (outcome != READ_REPLY)
		return handle_no_reply(worker, progress, outcome, &error);
	if (!announce(worker, progress))
		return true;

	copy->read += batch.event_count;
	mcs_process_begin(&worker->process);
	read_chunk(progress, &batch, &chunk);
	/* one that ends at its limit does not say what is behind */
	chunk.last = batch.closed && (copy->spec.limit == 0 || copy->read < copy->spec.limit);
	if (chunk.count == 0 && !chunk.last)
		mcs_process_commit(&worker->process);
	else if (progress->mirror)
		write_rows(worker, progress, &chunk, copy->spec.at_time ? 0 : batch.operation_time);
	else
		write_events(worker, progress, &chunk, copy->spec.at_time ? 0 : batch.operation_time);
	if (worker->process.reload)
		return false;
	if (progress->finished)
		ereport(LOG,
				(errmsg("change stream \"%s\" has copied " INT64_FORMAT " documents of %s.%s%s%s", worker->process.name,
						progress->documents_done, progress->database, progress->collection,
						progress->mirror ? " for change mirror " : "", progress->mirror ? progress->mirror : "")));
	if (batch.event_count > 0)
		copy->batch_size = chunk_documents(&batch);
	copy->empty = false;
	mcs_cursor_free_batch(&batch);
	if (batch.closed)
		mcs_copy_interrupt(worker);
	/* the first replies are small, as nothing was known of the documents */
	else if (copy->spec.batch_size * 4 < copy->batch_size || copy->spec.batch_size > copy->batch_size * 2)
		mcs_copy_interrupt(worker);
	return true;
}

bool
mcs_copy_step(StreamWorker *worker)
{
	CopyProgress *progress = next_copy(worker);
	bool		goes_on;

	if (progress == NULL)
		return true;
	/* lookups for events that wait are read by the same session */
	mcs_worker_plan_forget(worker);
	if (worker->copy.current != progress)
		begin_copy(worker, progress);
	if (progress->sweep)
	{
		MongoError	error;
		ReadOutcome outcome = mcs_sweep_step(worker, mcs_mirroring_of_copy(worker, progress), &error);

		goes_on = outcome == READ_REPLY ? !worker->process.reload : handle_no_reply(worker, progress, outcome, &error);
	}
	else
		goes_on = copy_chunk(worker, progress);
	if (goes_on)
		tell(worker, next_copy(worker) != progress);
	return goes_on && !worker->write.culprit.reason && !worker->process.reload;
}
