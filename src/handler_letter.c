/*
 * handler_letter.c
 *	  The event of a dead letter as a row of the events table.
 *
 * Dead letters keep an event's columns one by one.  The row is put together by
 * their names: columns that the owner of the events table has added are null.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "funcapi.h"

/* Columns that the events table has from us; those of its owner come behind them. */
#define OWN_COLUMNS 20

PG_FUNCTION_INFO_V1(mcs_change_handler_dead_letter_event);

/* change_handler_dead_letter_event(change_handler_dead_letters) -> change_stream_events */
Datum
mcs_change_handler_dead_letter_event(PG_FUNCTION_ARGS)
{
	HeapTupleHeader letter = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	events;
	Datum	   *values;
	bool	   *nulls;

	if (get_call_result_type(fcinfo, NULL, &events) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the type of events is not a row type");
	BlessTupleDesc(events);
	values = palloc0(sizeof(Datum) * events->natts);
	nulls = palloc(sizeof(bool) * events->natts);
	for (int i = 0; i < events->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(events, i);

		nulls[i] = true;
		if (i < OWN_COLUMNS)
			values[i] = GetAttributeByName(letter, NameStr(attribute->attname), &nulls[i]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(events, values, nulls)));
}
