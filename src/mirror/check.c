/*
 * mirror/check.c
 *	  check_change_mirror: whether a mirror equals its collection, while both
 *	  change.
 *
 * At each commit a mirror equals its collection as of the position's time.  So
 * what one snapshot of PostgreSQL's shows of the table is compared with what
 * MongoDB had at the time that the same snapshot shows in the stream's position;
 * the time is that of the token, to the ordinal.  It is done in parts, each with
 * a snapshot and a time of its own, so that neither side has to keep history for
 * longer than a part takes: MongoDB does for 300 s.  In a transaction that keeps
 * its snapshot all parts are of one time.
 *
 * Twice: MongoDB's documents by _id, for each of which there must be such a row;
 * then the rows by _id, for each of which there must be a document.  No range of
 * one side is held against a range of the other, as their order of strings is
 * another where a collection has a collation.
 *
 * All that reads the table and evaluates expressions runs as the mirror's owner.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "funcapi.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_check_change_mirror);

/* Documents, or rows, of one part. */
#define PART_DOCUMENTS	1000

/* How long what passes is waited for, and between two tries. */
#define PATIENCE_S		30
#define AGAIN_MS		200

/* How often it is told how far it is. */
#define NOTICE_S		10

/* ---- parts ---- */

/* Raises that there is nothing to compare, where the mirror is not what it is to be. */
static void
check_standing(const Mirror *mirror, const MirrorStanding *standing)
{
	if (standing == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change mirror \"%s\" does not exist any more", mirror->name)));
	if (standing->stopped_reason)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change mirror \"%s\" has stopped, so its table is not kept equal", mirror->name),
				 errdetail("%s", standing->stopped_reason),
				 errhint("SELECT resync_change_mirror(%s);", quote_literal_cstr(mirror->name))));
	if (standing->paused)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change mirror \"%s\" is paused, so its table is not kept equal", mirror->name),
				 errhint("SELECT resume_change_mirror(%s);", quote_literal_cstr(mirror->name))));
	if (!standing->copied || standing->token == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the documents of change mirror \"%s\" are still being copied", mirror->name),
				 standing->documents_estimated < 0 ? errdetail("It has begun with none of them yet.") :
				 errdetail("%lld of about %lld are.", (long long) standing->documents_done, (long long) standing->documents_estimated),
				 errhint("SELECT state, reason FROM change_mirror_status WHERE mirror_name = %s;", quote_literal_cstr(mirror->name))));
	if (!standing->exact)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change mirror \"%s\" is catching up, and equals its collection at no time yet", mirror->name),
				 errhint("SELECT exact_at, reason FROM change_mirror_status WHERE mirror_name = %s;",
						 quote_literal_cstr(mirror->name))));
}

/* The table, which may have been changed since the part before. */
static void
open_table(MirrorCheck *check)
{
	MemoryContext old;

	if (check->table && mcs_mirror_is_valid(check->table))
		return;
	if (check->table)
		mcs_mirror_close(check->table);
	check->table = NULL;
	old = MemoryContextSwitchTo(check->context);
	check->table = mcs_mirror_open(check->mirror, check->mask);
	check->table->result = &check->evaluated;
	check->table->result_context = check->context;
	MemoryContextSwitchTo(old);
}

/* Tells how far it is, now and then. */
static void
tell(MirrorCheck *check)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(check->told_at, now, NOTICE_S * 1000))
		return;
	check->told_at = now;
	ereport(NOTICE,
			(errmsg("change mirror \"%s\": %lld documents and %lld rows of about %lld compared", check->mirror->name,
					(long long) check->documents_done, (long long) check->rows_done, (long long) check->estimated)));
}

/* Waits before a part that MongoDB could not answer is tried again; raises when that has been too long. */
static void
wait_for_next_try(MirrorCheck *check)
{
	TimestampTz now = GetCurrentTimestamp();

	if (check->failing_since == 0)
		check->failing_since = now;
	if (TimestampDifferenceExceeds(check->failing_since, now, PATIENCE_S * 1000))
		mcs_mongo_raise(&check->failure, psprintf("read collection \"%s.%s\" as of the time of change mirror \"%s\"",
												  check->mirror->database, check->mirror->collection, check->mirror->name));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, AGAIN_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Does a part, with a snapshot and its time, until MongoDB can answer. */
static void
do_part(MirrorCheck *check, bool (*part) (MirrorCheck *check))
{
	bool		done;

	do
	{
		MemoryContext old;
		MirrorStanding *standing;

		MemoryContextReset(check->part);
		check->reading = NULL;
		old = MemoryContextSwitchTo(check->part);
		PushActiveSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot());
		standing = mcs_mirrors_standing(check->mirror->name);
		check_standing(check->mirror, standing);
		check->time = mcs_progress_time(standing->token);
		open_table(check);
		done = part(check);
		PopActiveSnapshot();
		MemoryContextSwitchTo(old);
		if (!done)
			wait_for_next_try(check);
	} while (!done);
	check->failing_since = 0;
	tell(check);
}

/* ---- all of it ---- */

/* The next documents by _id. */
static bool
next_documents(MirrorCheck *check)
{
	FindSpec	spec = {.by_id = true,.min = check->last_document,.batch_size = PART_DOCUMENTS};
	const DocumentValue *last;
	DocumentValue id;

	if (!mcs_check_read(check, &spec))
		return false;
	mcs_mirror_compare_documents(check);
	if (check->documents == NIL)
		return true;
	check->documents_done += list_length(check->documents);
	last = llast(check->documents);
	(void) mcs_document_find(last->data, last->size, MIRROR_ID, &id);
	MemoryContextSwitchTo(check->context);
	if (check->last_document)
		pfree(check->last_document);
	check->last_document = mcs_document_make(id.type, id.data, id.size);
	MemoryContextSwitchTo(check->part);
	return true;
}

static void
check_all(MirrorCheck *check)
{
	MongoError	error;

	check->estimated = mcs_find_estimate(mcs_cache_session(check->target), check->mirror->database, check->mirror->collection, &error);
	if (check->estimated < 0)
		mcs_mongo_raise(&error, psprintf("count the documents of collection \"%s.%s\"", check->mirror->database, check->mirror->collection));
	do
		do_part(check, next_documents);
	while (!check->ended || check->documents != NIL);
	do
		do_part(check, mcs_mirror_compare_next_rows);
	while (check->rows_read > 0);
}

/* ---- a sample ---- */

/* The _id of documents that MongoDB has chosen: a list of Document *. */
static List *
sample_documents(MirrorCheck *check, int sample)
{
	DocumentBuilder builder;
	Document   *command;
	MongoReply *reply;
	DocumentValue batch;
	DocumentIterator it;
	List	   *ids = NIL;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "aggregate", check->mirror->collection);
	mcs_document_begin_array(&builder, "pipeline");
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "$sample");
	mcs_document_append_int32(&builder, "size", sample);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "$project");
	mcs_document_append_int32(&builder, MIRROR_ID, 1);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_begin_object(&builder, "cursor");
	mcs_document_append_int32(&builder, "batchSize", sample);
	mcs_document_end(&builder);
	mcs_document_append_string(&builder, "comment", check->mirror->name);
	mcs_document_end(&builder);
	command = mcs_document_finish(&builder);
	reply = mcs_session_command(mcs_cache_session(check->target), check->mirror->database, DOCUMENT_VALUE(command),
								DOCUMENT_VALUE_SIZE(command), "choose a sample of documents", NULL);
	if (!mcs_session_reply_batch(reply, &batch, NULL))
		mcs_document_malformed();
	mcs_document_iterate(&it, batch.data, batch.size);
	while (mcs_document_next(&it))
	{
		DocumentValue id;

		if (it.value.type == DOCUMENT_OBJECT && mcs_document_find(it.value.data, it.value.size, MIRROR_ID, &id))
			ids = lappend(ids, mcs_document_make(id.type, id.data, id.size));
	}
	mcs_session_free_reply(reply);
	return ids;
}

/* Documents by their _ids, as of the part's time. */
static bool
some_documents(MirrorCheck *check)
{
	FindSpec	spec = {.filter = mcs_mirror_ids_filter(check->some_ids)};

	if (!mcs_check_read(check, &spec))
		return false;
	/* nothing is told of a part of them, which would be told again */
	if (check->too_many)
		return true;
	mcs_mirror_compare_documents(check);
	check->documents_done += list_length(check->documents);
	return true;
}

static void
check_sample(MirrorCheck *check, int sample)
{
	MemoryContext old = MemoryContextSwitchTo(check->context);
	List	   *ids = sample_documents(check, sample);
	int			most = PART_DOCUMENTS;

	MemoryContextSwitchTo(old);
	check->estimated = sample;
	for (int at = 0; at < list_length(ids); at += check->too_many ? 0 : list_length(check->some_ids))
	{
		Size		bytes = 0;

		check->some_ids = NIL;
		for (int i = at; i < Min(at + most, list_length(ids)) && bytes < MIRROR_IDS_BYTES; i++)
		{
			check->some_ids = lappend(check->some_ids, list_nth(ids, i));
			bytes += VARSIZE_ANY(list_nth(ids, i));
		}
		do_part(check, some_documents);
		if (check->too_many)
			most = Max(list_length(check->some_ids) / 4, 1);
	}
	check->sample = sample;
	do_part(check, mcs_mirror_compare_choose_rows);
	for (check->chosen_at = 0; check->chosen_at < check->chosen_count; check->chosen_at += PART_DOCUMENTS)
		do_part(check, mcs_mirror_compare_chosen_rows);
}

/* check_change_mirror(mirror_name text, sample int) returns table (difference, _id, here, there) */
Datum
mcs_check_change_mirror(PG_FUNCTION_ARGS)
{
	MirrorCheck check = {0};
	Stream	   *stream;
	OwnerScope	scope;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("mirror_name must not be null")));
	if (!PG_ARGISNULL(1) && PG_GETARG_INT32(1) < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be at least 1")));
	check.mirror = mcs_mirrors_load(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, false);
	mcs_stream_check_owner(check.mirror->owner, "change mirror", check.mirror->name);
	stream = mcs_streams_load(check.mirror->stream, false, false);
	check.mask = mcs_event_mask_make(stream->exclude_fields, stream->mask_fields);
	check.target = mcs_mongo_target(stream->server, stream->owner);
	InitMaterializedSRF(fcinfo, 0);
	check.rows = (ReturnSetInfo *) fcinfo->resultinfo;
	check.context = CurrentMemoryContext;
	check.part = AllocSetContextCreate(CurrentMemoryContext, "check_change_mirror", ALLOCSET_DEFAULT_SIZES);
	check.told_at = GetCurrentTimestamp();
	mcs_owner_begin(&scope, check.mirror->owner, check.mirror->settings, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (PG_ARGISNULL(1))
		check_all(&check);
	else
		check_sample(&check, PG_GETARG_INT32(1));
	if (check.table)
		mcs_mirror_close(check.table);
	SPI_finish();
	mcs_owner_end(&scope);
	MemoryContextDelete(check.part);
	return (Datum) 0;
}
