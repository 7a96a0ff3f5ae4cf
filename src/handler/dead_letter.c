/*
 * handler/dead_letter.c
 *	  The event of a dead letter as a row of the events table.
 *
 * Dead letters keep an event's columns one by one.  The row is put together by
 * their names, since the owner of the events table may have added columns, which
 * are null here, and dropped and added again some of ours, as a hint of ours says.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* The first column of a dead letter that is no longer the event's. */
#define BEHIND_EVENT "sqlstate"

PG_FUNCTION_INFO_V1(mcs_change_handler_dead_letter_event);

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
	HeapTupleHeader letter = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	letters = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(letter), HeapTupleHeaderGetTypMod(letter));
	TupleDesc	events;
	Datum	   *values;
	bool	   *nulls;
	int			behind = SPI_fnumber(letters, BEHIND_EVENT);

	if (get_call_result_type(fcinfo, NULL, &events) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the type of events is not a row type");
	BlessTupleDesc(events);
	values = palloc0(sizeof(Datum) * events->natts);
	nulls = palloc(sizeof(bool) * events->natts);
	for (int i = 0; i < events->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(events, i);
		int			number = attribute->attisdropped ? 0 : SPI_fnumber(letters, NameStr(attribute->attname));

		nulls[i] = true;
		if (number <= 0 || number >= behind)
			continue;
		values[i] = GetAttributeByNum(letter, number, &nulls[i]);
		if (!nulls[i])
			values[i] = convert(values[i], TupleDescAttr(letters, number - 1)->atttypid, attribute->atttypid);
	}
	ReleaseTupleDesc(letters);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(events, values, nulls)));
}
