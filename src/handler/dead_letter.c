/*
 * handler/dead_letter.c
 *	  Dead letters, which are events that a handler has given up: running it on
 *	  them again, throwing them away, and showing each as the event that it was.
 *
 * Dead letters keep an event's columns one by one.  The row is put together by
 * their names, since the owner of the events table may have added columns, which
 * are null here, and dropped and added again some of ours, as a hint of ours says.
 *
 * The functions take a stream instead of a handler, too: its dead letters are
 * the events that could not even be written (worker/on_error.c).
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* How many dead letters are taken at once. */
#define CHUNK	200

/* The first column of a dead letter that is no longer the event's. */
#define BEHIND_EVENT "sqlstate"

PG_FUNCTION_INFO_V1(mcs_retry_dead_letters);
PG_FUNCTION_INFO_V1(mcs_discard_dead_letters);
PG_FUNCTION_INFO_V1(mcs_change_handler_dead_letter_event);
PG_FUNCTION_INFO_V1(mcs_change_stream_dead_letter_counts);

/* ---- running a handler on them again ---- */

/* Runs the handler on one dead letter, keeps or deletes it, and says what came of it. */
static HandlerResult
retry_one(HandlerReplay *replay, DeadLetter *dead_letter)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(dead_letter->event);
	TimestampTz begin = GetCurrentTimestamp();
	HeapTupleData row;
	HandlerEvent event = {.event_id = dead_letter->event_id,.row = &row};
	HandlerError *failure;
	HandlerResult result;

	memset(&row, 0, sizeof(row));
	row.t_len = HeapTupleHeaderGetDatumLength(header);
	row.t_data = header;
	ItemPointerSetInvalid(&row.t_self);
	failure = mcs_replay_run(replay, &event, 1);

	memset(&result, 0, sizeof(result));
	result.event_id = dead_letter->event_id;
	result.attempts = 1;
	result.was_ours = true;
	result.microseconds = Max(GetCurrentTimestamp() - begin, 0);
	result.outcome = failure ? OUTCOME_ERROR : OUTCOME_DONE;
	if (failure)
	{
		result.error = MemoryContextStrdup(replay->context, failure->message);
		mcs_dead_letters_failed_again(replay->handler->name, dead_letter->event_id, failure);
	}
	else
		mcs_dead_letters_delete(replay->handler->name, dead_letter->event_id);
	return result;
}

/* Runs the handler on all its dead letters; the results, in event_id order, and how many. */
static HandlerResult *
retry_all(HandlerReplay *replay, int *count)
{
	MemoryContext chunk = AllocSetContextCreate(CurrentMemoryContext, "mongo_change_stream dead letters", ALLOCSET_DEFAULT_SIZES);
	HandlerResult *results = palloc(sizeof(HandlerResult) * CHUNK);
	int			room = CHUNK;
	int64		after = 0;
	List	   *dead_letters;

	*count = 0;
	do
	{
		MemoryContext old = MemoryContextSwitchTo(chunk);
		ListCell   *cell;

		dead_letters = mcs_dead_letters_lock(replay->handler->name, after, CHUNK);
		foreach(cell, dead_letters)
		{
			DeadLetter *dead_letter = lfirst(cell);

			CHECK_FOR_INTERRUPTS();
			after = dead_letter->event_id;
			if (*count == room)
				results = repalloc_huge(results, sizeof(HandlerResult) * (room *= 2));
			if (dead_letter->event)
				results[(*count)++] = retry_one(replay, dead_letter);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(chunk);
	} while (dead_letters != NIL);
	return results;
}

/* The stream whose parked events are meant, NULL where a handler is. */
static char *
stream_argument(FunctionCallInfo fcinfo)
{
	bool		is_stream = PG_NARGS() > 1 && !PG_ARGISNULL(1);

	if (is_stream != PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("one of handler_name and stream_name must be given"),
				 errdetail("A handler's dead letters are events that it gave up, a stream's are events that could not be written.")));
	return is_stream ? text_to_cstring(PG_GETARG_TEXT_PP(1)) : NULL;
}

/* retry_dead_letters(text, text) -> bigint */
Datum
mcs_retry_dead_letters(PG_FUNCTION_ARGS)
{
	HandlerReplay		replay;
	HandlerResult *results;
	int			count;
	int64		succeeded = 0;
	char	   *stream;

	PreventCommandIfReadOnly("retry_dead_letters()");
	stream = stream_argument(fcinfo);
	if (stream)
		PG_RETURN_INT64(mcs_on_error_retry_parked(stream));
	mcs_replay_begin(&replay, mcs_handler_load_own(fcinfo, false));
	results = retry_all(&replay, &count);
	for (int i = 0; i < count; i++)
		succeeded += results[i].outcome == OUTCOME_DONE;
	/* when no code runs any more: see handler/processing.c */
	mcs_processing_write(replay.handler->stream, replay.handler->name, results, count);
	mcs_replay_end(&replay);
	PG_RETURN_INT64(succeeded);
}

/* discard_dead_letters(text, text) -> bigint */
Datum
mcs_discard_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *stream;

	PreventCommandIfReadOnly("discard_dead_letters()");
	stream = stream_argument(fcinfo);
	if (stream)
		PG_RETURN_INT64(mcs_parked_discard(mcs_stream_load_own(stream, false)->name));
	PG_RETURN_INT64(mcs_dead_letters_discard(mcs_handler_load_own(fcinfo, false)->name));
}

/*
 * change_stream_dead_letter_counts() -> setof record: for all streams that the
 * caller may see.  Row-level security hides dead letters, which hold events,
 * from who sees only how a stream is; how many there are is a part of that.
 */
Datum
mcs_change_stream_dead_letter_counts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	StreamsSeen seen;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	seen = mcs_grants_load();
	foreach(cell, mcs_dead_letters_counts())
	{
		DeadLetterCount *count = lfirst(cell);
		Datum		values[3];
		bool		nulls[3] = {0};

		if (!mcs_grants_allow(&seen, count->stream, count->owner))
			continue;
		values[0] = CStringGetTextDatum(count->stream);
		nulls[1] = count->handler == NULL;
		values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(count->handler);
		values[2] = Int64GetDatum(count->waiting);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* ---- as an event ---- */

/* Puts a replacement character where JSON has a NUL, which jsonb can't hold.  It may be no JSON, and end in a backslash. */
static char *
without_nul(char *json)
{
	for (char *at = strchr(json, '\\'); at && at[1]; at = strchr(at + 2, '\\'))
		if (strncmp(at, "\\u0000", 6) == 0)
			memcpy(at, "\\ufffd", 6);
	return json;
}

/*
 * A value in the type that a column of the events table has now.  It must not
 * fail: perhaps the event is a dead letter because the column can't hold it.
 * So no domain, length or scale is asked, and what jsonb lacks is replaced.
 */
static Datum
convert(Datum value, Oid from, Oid to)
{
	Oid			base = getBaseType(to);
	Oid			output,
				input,
				param;
	bool		varlena;
	char	   *text;

	if (from == base)
		return value;
	getTypeOutputInfo(from, &output, &varlena);
	getTypeInputInfo(base, &input, &param);
	text = OidOutputFunctionCall(output, value);
	return OidInputFunctionCall(input, base == JSONBOID ? without_nul(text) : text, param, -1);
}

/* change_handler_dead_letter_event(change_handler_dead_letters) -> change_stream_events */
Datum
mcs_change_handler_dead_letter_event(PG_FUNCTION_ARGS)
{
	HeapTupleHeader dead_letter = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	from = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(dead_letter), HeapTupleHeaderGetTypMod(dead_letter));
	TupleDesc	to;
	Datum	   *values;
	bool	   *nulls;
	int			behind = SPI_fnumber(from, BEHIND_EVENT);

	if (get_call_result_type(fcinfo, NULL, &to) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the type of events is not a row type");
	BlessTupleDesc(to);
	values = palloc0(sizeof(Datum) * to->natts);
	nulls = palloc(sizeof(bool) * to->natts);
	for (int i = 0; i < to->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(to, i);
		int			number = attribute->attisdropped ? 0 : SPI_fnumber(from, NameStr(attribute->attname));

		nulls[i] = true;
		if (number <= 0 || number >= behind)
			continue;
		values[i] = GetAttributeByNum(dead_letter, number, &nulls[i]);
		if (!nulls[i])
			values[i] = convert(values[i], TupleDescAttr(from, number - 1)->atttypid, attribute->atttypid);
	}
	ReleaseTupleDesc(from);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(to, values, nulls)));
}
