/*
 * stream/snapshot.c
 *	  Copies of collections as their users see them: what they are asked for, and
 *	  how far they are.  The process of the stream makes them.
 */
#include "mongo_change_stream.h"

#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_position_time);
PG_FUNCTION_INFO_V1(mcs_change_stream_copy_reason);

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
