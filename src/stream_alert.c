/*
 * stream_alert.c
 *	  What a person should hear of: notifications on the channel
 *	  change_stream_alert, and the look at how much of MongoDB's oplog is left.
 *
 * A worker tells of changes of its state.  How far a position is behind, as a
 * part of what the oplog held when a worker last looked, is asked by the prober,
 * each minute and in all databases: so it is also told of a stream that is
 * paused, waits for a lock, or has no process.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "lib/stringinfo.h"
#include "stream_shmem.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

/* So full a queue of notifications is left to others: a full one keeps transactions from committing. */
#define QUEUE_USAGE_MAX 0.5

static void
append_member(StringInfo payload, const char *name, const char *value)
{
	appendStringInfo(payload, "%c\"%s\": ", payload->len ? ',' : '{', name);
	if (value)
		escape_json(payload, value);
	else
		appendStringInfoString(payload, "null");
}

/*
 * Tells of a stream, at the commit of the caller's transaction.  Listeners need
 * no rights, so this holds names and reasons, nothing of documents.
 */
void
mcs_alert(const char *stream, const char *from, const char *to, const char *reason, const char *hint)
{
	StringInfoData payload;
	char		bounded[1024];

	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > QUEUE_USAGE_MAX)
	{
		ereport(LOG,
				(errmsg("an alert of change stream \"%s\" was not sent, since the queue of notifications is more than half full", stream),
				 errdetail("%s", reason)));
		return;
	}
	initStringInfo(&payload);
	append_member(&payload, "stream", stream);
	append_member(&payload, "from", from);
	append_member(&payload, "to", to);
	mcs_text_copy(bounded, sizeof(bounded), reason);
	append_member(&payload, "reason", bounded);
	append_member(&payload, "hint", hint);
	appendStringInfoChar(&payload, '}');
	Async_Notify(MCS_ALERT_CHANNEL, payload.data);
}

/* How much of the oplog lies between a position and now: 90, 50 or 0 percent at least; back to 0 below 40. */
static int
level_of(double used, int told)
{
	if (used >= 0.9)
		return 90;
	if (used >= 0.5)
		return told == 90 && used >= 0.8 ? 90 : 50;
	return told > 0 && used >= 0.4 ? 50 : 0;
}

/* Tells of a stream whose position is about to be lost, or is no longer. */
static void
tell(const OplogUse *use, int level, double used)
{
	char	   *reason = psprintf("%d %% of the time that MongoDB's oplog held when it was last looked at lies behind the position",
								  (int) (used * 100));

	if (level > use->told)
		ereport(WARNING,
				(errmsg("change stream \"%s\" may lose its history: %s", use->stream, reason),
				 errhint("%s", MCS_OPLOG_HINT)));
	mcs_alert(use->stream, use->told > 0 ? psprintf("oplog %d %%", use->told) : NULL,
			  level > 0 ? psprintf("oplog %d %%", level) : NULL, reason, level > 0 ? MCS_OPLOG_HINT : NULL);
}

/* In a prober's transaction: looks at all streams of the database. */
void
mcs_alert_of_oplogs(void)
{
	ListCell   *cell;
	int64		now = (int64) (GetCurrentTimestamp() / USECS_PER_SEC) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	foreach(cell, mcs_oplog_uses())
	{
		OplogUse   *use = lfirst(cell);
		int64		behind = now - (int64) (mcs_token_time(use->token) >> 32);
		double		used = (double) behind / (double) Max(use->window, 1);
		int			level = behind < OPLOG_BEHIND_MIN_S ? 0 : level_of(used, use->told);

		if (level == use->told)
			continue;
		mcs_oplog_told(use->stream, level);
		tell(use, level, used);
	}
}
