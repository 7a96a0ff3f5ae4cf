/*
 * stream/alert.c
 *	  What a person should hear of: notifications on the channel
 *	  change_stream_alert, and the look at how much of MongoDB's oplog is left.
 *
 * A worker tells of changes of its state, a handler's also of events that it has
 * given up, and who resumes what had stopped tells of that.  How far a position
 * is behind, as a part of what the oplog can hold as of a worker's last look, is
 * asked by the prober, each minute and in all databases: so it is also told of a stream
 * that is paused, waits for a lock, or has no process.
 */
#include "mongo_change_stream.h"

#include "commands/async.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

/* Beyond this part of the queue in use nothing of ours is added: a full one makes every NOTIFY's commit fail. */
#define QUEUE_USAGE_MAX 0.5

/* NOTIFY takes payloads under 8,000 bytes, and JSON may need six for one of a text. */
#define REASON_BYTES	700
#define HINT_BYTES		500

bool
mcs_alert_queue_is_full(void)
{
	return DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > QUEUE_USAGE_MAX;
}

/* A member whose text is cut after some bytes. */
static void
append_member(StringInfo payload, const char *name, const char *value, Size bytes)
{
	char		bounded[Max(REASON_BYTES, HINT_BYTES)];

	appendStringInfo(payload, "%s\"%s\": ", payload->len ? ", " : "{", name);
	if (value)
	{
		mcs_text_copy(bounded, bytes, value);
		escape_json(payload, bounded);
	}
	else
		appendStringInfoString(payload, "null");
}

/*
 * Tells of a stream, handler or projection, at the commit of the caller's transaction.
 * Listeners need no rights, so this holds names and reasons, nothing of documents.
 */
void
mcs_alert(const Alert *alert)
{
	const char *what = alert->of_projection ? "projection" : alert->of_handler ? "handler" : "stream";
	StringInfoData payload;

	/* whoever needs to know it finds it in the log then, too */
	if (mcs_alert_queue_is_full())
	{
		ereport(LOG,
				(errmsg("an alert of change %s \"%s\" was not sent, since the queue of notifications is more than half full",
						what, alert->name),
				 errdetail("%s", alert->reason)));
		return;
	}
	initStringInfo(&payload);
	append_member(&payload, what, alert->name, NAMEDATALEN);
	append_member(&payload, "from", alert->from, NAMEDATALEN);
	append_member(&payload, "to", alert->to, NAMEDATALEN);
	append_member(&payload, "reason", alert->reason, REASON_BYTES);
	append_member(&payload, "hint", alert->hint, HINT_BYTES);
	if (alert->count > 0)
		appendStringInfo(&payload, ", \"count\": " INT64_FORMAT, alert->count);
	appendStringInfoChar(&payload, '}');
	Async_Notify(MCS_ALERT_CHANNEL, payload.data);
}

/* The same for a stream, which is the usual case. */
void
mcs_alert_of_stream(const char *stream, const char *from, const char *to, const char *reason, const char *hint)
{
	Alert		alert = {.name = stream,.from = from,.to = to,.reason = reason,.hint = hint};

	mcs_alert(&alert);
}

/*
 * How much of the oplog lies between a position and now: 90, 50 or 0 percent at
 * least.  It goes back only a good way below, so that a stream at the border does
 * not alert each minute.
 */
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
	char	   *reason = psprintf("%d %% of the time that MongoDB's oplog can hold, as of the last look at it, lies behind the position",
								  (int) (used * 100));

	if (level > use->told)
		ereport(WARNING,
				(errmsg("change stream \"%s\" may lose its history: %s", use->stream, reason),
				 errhint("%s", MCS_OPLOG_HINT)));
	mcs_alert_of_stream(use->stream, use->told > 0 ? psprintf("oplog %d %%", use->told) : NULL,
						level > 0 ? psprintf("oplog %d %%", level) : NULL, reason, level > 0 ? MCS_OPLOG_HINT : NULL);
}

/* In a prober's transaction: looks at all streams of the database. */
void
mcs_alert_of_oplogs(void)
{
	ListCell   *cell;
	/* as MongoDB counts: tokens hold its seconds */
	int64		now = (int64) (GetCurrentTimestamp() / USECS_PER_SEC) +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

	foreach(cell, mcs_oplog_uses())
	{
		OplogUse   *use = lfirst(cell);
		int64		behind = now - (int64) (mcs_token_time(use->token) >> 32);
		double		used = (double) behind / (double) Max(use->holds_s, 1);
		int			level = behind < OPLOG_BEHIND_MIN_S ? 0 : level_of(used, use->told);

		if (level == use->told)
			continue;
		/* kept in the table, as the next prober is another process */
		mcs_oplog_told(use->stream, level);
		tell(use, level, used);
	}
}
