/*
 * stream/snapshot.c
 *	  Copies of collections as their users see them: what they are asked for, and
 *	  how far they are.  The process of the stream makes them.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_position_time);
PG_FUNCTION_INFO_V1(mcs_change_stream_copy_reason);

/* ---- asking for them ---- */

/*
 * Refuses what a snapshot cannot be together with and, unless it is to be silent,
 * tells of what makes no rows of it.
 */
void
mcs_stream_check_snapshot(const Stream *stream, bool silent)
{
	ListCell   *cell;
	bool		wanted = stream->operations == NIL;

	if (mcs_extension_is_old())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("initial_snapshot needs the extension's schema of a newer version"),
				 errhint("ALTER EXTENSION %s UPDATE;", MCS_EXTENSION)));
	if (stream->pipeline)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("initial_snapshot and pipeline cannot be combined"),
				 errdetail("The stages of a pipeline are made for events, and cannot be applied to documents."),
				 errhint("Say the same by filter and add_fields, which decide over a snapshot's rows, too.")));
	if (!stream->keep_events)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("initial_snapshot needs keep_events"),
				 errdetail("A snapshot is rows of change_stream_events, which a stream with keep_events => false does not have."),
				 errhint("Leave out one of the two; a mirror copies the documents by itself: create_change_mirror.")));
	foreach(cell, stream->operations)
		wanted |= strcmp(lfirst(cell), "snapshot") == 0;
	if (!wanted && !silent)
		ereport(NOTICE,
				(errmsg("operations does not have \"snapshot\", so no document becomes a row"),
				 errhint("SELECT alter_change_stream(%s, operations => ...) with it among them.", quote_literal_cstr(stream->name))));
}

/* The collections to be copied, which MongoDB is asked for; without a lock.  The stream's position is known. */
List *
mcs_stream_plan_snapshot(const Stream *stream, const MongoTarget *target, const char *position)
{
	uint64		now;
	List	   *collections = mcs_stream_collections(stream, target, &now);

	/* documents as of a time that has not come cannot be read */
	if (position && now != 0 && mcs_token_time(position) >> 32 > now >> 32)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no snapshot of the future"),
				 errdetail("Change stream \"%s\" starts at %s, MongoDB's time is %s.", stream->name,
						   pstrdup(timestamptz_to_str(mcs_event_second(mcs_token_time(position)))),
						   pstrdup(timestamptz_to_str(mcs_event_second(now)))),
				 errhint("Leave out start_at, or initial_snapshot until then.")));
	return collections;
}

/* Begins the copies; with the stream's rows locked, or made by this transaction. */
void
mcs_stream_begin_snapshot(const Stream *stream, List *collections)
{
	ListCell   *cell;

	foreach(cell, collections)
	{
		const StreamCollection *collection = lfirst(cell);
		CopyProgress copy = {.stream = stream->name,.database = collection->database,
		.collection = collection->collection,.documents_estimated = -1};

		CHECK_FOR_INTERRUPTS();
		mcs_snapshots_begin(&copy);
	}
}

/* ---- how far they are ---- */

/* A length of time as people say it. */
static char *
duration(int64 seconds)
{
	if (seconds < 100)
		return psprintf(INT64_FORMAT " s", seconds);
	if (seconds < 100 * SECS_PER_MINUTE)
		return psprintf(INT64_FORMAT " min", seconds / SECS_PER_MINUTE);
	return psprintf(INT64_FORMAT " h", seconds / SECS_PER_HOUR);
}

/* The estimate is of the beginning, and counts may be wrong after MongoDB has crashed: nobody is told of less than nothing. */
char *
mcs_stream_copy_reason(const CopyProgress *copy, int64 copies_before)
{
	StringInfoData reason;
	int64		left = copy->documents_estimated - copy->documents_done;

	initStringInfo(&reason);
	if (copies_before > 0)
		appendStringInfo(&reason, INT64_FORMAT " other %s first; then ", copies_before,
						 copies_before == 1 ? "copy is made" : "copies are made");
	if (copy->sweep)
	{
		appendStringInfoString(&reason, "looking for rows that MongoDB does not have any more, before copying");
		return reason.data;
	}
	if (copy->documents_estimated < 0)
	{
		if (copy->documents_done > 0)
			appendStringInfo(&reason, "copying: " INT64_FORMAT " documents done", copy->documents_done);
		else
			appendStringInfoString(&reason, "copying the documents that exist");
		return reason.data;
	}
	appendStringInfo(&reason, "copying: " INT64_FORMAT " of about " INT64_FORMAT " documents done", copy->documents_done,
					 Max(copy->documents_estimated, copy->documents_done));
	/* by its pace so far, of which a moment says nothing */
	if (copy->documents_done > 0 && left > 0 && copy->busy >= USECS_PER_SEC)
		appendStringInfo(&reason, ", about %s left",
						 duration((int64) ((double) copy->busy / USECS_PER_SEC * left / copy->documents_done) + 1));
	return reason.data;
}

/*
 * change_stream_copy_reason(sweep boolean, documents_done bigint,
 * documents_estimated bigint, busy interval, copies_before bigint) -> text
 */
Datum
mcs_change_stream_copy_reason(PG_FUNCTION_ARGS)
{
	CopyProgress copy = {0};

	copy.sweep = !PG_ARGISNULL(0) && PG_GETARG_BOOL(0);
	copy.documents_done = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	copy.documents_estimated = PG_ARGISNULL(2) ? -1 : PG_GETARG_INT64(2);
	copy.busy = PG_ARGISNULL(3) ? 0 : mcs_convert_interval(PG_GETARG_INTERVAL_P(3));
	PG_RETURN_TEXT_P(cstring_to_text(mcs_stream_copy_reason(&copy, PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4))));
}

/* change_stream_position_time(resume_token text) -> timestamptz: as cluster_time is written */
Datum
mcs_change_stream_position_time(PG_FUNCTION_ARGS)
{
	/* in the form in which it is kept: the argument may be anything, a position is a token */
	char	   *token = mcs_stream_check_token(text_to_cstring(PG_GETARG_TEXT_PP(0)), "resume_token");

	PG_RETURN_TIMESTAMPTZ(mcs_event_timestamp(mcs_progress_time(token)));
}
