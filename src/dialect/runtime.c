/*
 * dialect/runtime.c
 *	  What translated statements call when they run.
 *
 * STRING_AGG over arrays of text aggregates their elements: each of them, or
 * each different one once, sorted.
 *
 * The trigger of an event store refuses to change its rows.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mcs_string_agg_elements_transition);
PG_FUNCTION_INFO_V1(mcs_string_agg_elements_final);
PG_FUNCTION_INFO_V1(mcs_string_agg_distinct_elements_final);
PG_FUNCTION_INFO_V1(mcs_change_stream_append_only);

/* ---- STRING_AGG over arrays ---- */

typedef text *Element;

typedef struct ElementState
{
	Element    *elements;
	int64		count;
	int64		room;
	char	   *delimiter;		/* the last one given */
} ElementState;

/* Adds the elements of one array. */
static void
add_elements(ElementState *state, ArrayType *array)
{
	ArrayIterator iterator = array_create_iterator(array, 0, NULL);
	Datum		element;
	bool		isnull;

	while (array_iterate(iterator, &element, &isnull))
	{
		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		if (state->count == state->room)
		{
			state->room *= 2;
			state->elements = repalloc_huge(state->elements, sizeof(Element) * state->room);
		}
		state->elements[state->count++] = DatumGetTextPCopy(element);
	}
	array_free_iterator(iterator);
}

/* string_agg_elements_transition(internal, text[], text) */
Datum
mcs_string_agg_elements_transition(PG_FUNCTION_ARGS)
{
	ElementState *state = PG_ARGISNULL(0) ? NULL : (ElementState *) PG_GETARG_POINTER(0);
	MemoryContext context;
	MemoryContext old;

	/* the state must live as long as the group, and only the executor knows how long */
	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(1))
	{
		if (state == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(state);
	}
	old = MemoryContextSwitchTo(context);
	if (state == NULL)
	{
		state = palloc0(sizeof(ElementState));
		/* from now on it doubles */
		state->room = 16;
		state->elements = palloc(sizeof(Element) * state->room);
		state->delimiter = PG_ARGISNULL(2) ? pstrdup("") : text_to_cstring(PG_GETARG_TEXT_PP(2));
	}
	add_elements(state, PG_GETARG_ARRAYTYPE_P(1));
	MemoryContextSwitchTo(old);
	PG_RETURN_POINTER(state);
}

/* Orders elements by their bytes. */
static int
compare_elements(const text *x, const text *y)
{
	int			size = Min(VARSIZE_ANY_EXHDR(x), VARSIZE_ANY_EXHDR(y));
	int			order = memcmp(VARDATA_ANY(x), VARDATA_ANY(y), size);

	if (order != 0)
		return order;
	return (int) VARSIZE_ANY_EXHDR(x) - (int) VARSIZE_ANY_EXHDR(y);
}

/* qsort would not be to be cancelled */
#define ST_SORT sort_elements
#define ST_ELEMENT_TYPE Element
#define ST_COMPARE(a, b) compare_elements(*(a), *(b))
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* The elements, joined. */
static Datum
join_elements(FunctionCallInfo fcinfo, bool distinct)
{
	ElementState *state = PG_ARGISNULL(0) ? NULL : (ElementState *) PG_GETARG_POINTER(0);
	StringInfoData out;
	Element    *elements;
	bool		first = true;

	if (state == NULL || state->count == 0)
		PG_RETURN_NULL();
	elements = state->elements;
	if (distinct)
	{
		/* a window may ask again, with more rows: leave the order of the state */
		elements = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Element) * state->count);
		memcpy(elements, state->elements, sizeof(Element) * state->count);
		sort_elements(elements, state->count);
	}
	initStringInfo(&out);
	for (int64 i = 0; i < state->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* sorted, so that equal ones are neighbours */
		if (distinct && i > 0 && compare_elements(elements[i - 1], elements[i]) == 0)
			continue;
		if (!first)
			appendStringInfoString(&out, state->delimiter);
		appendBinaryStringInfo(&out, VARDATA_ANY(elements[i]), VARSIZE_ANY_EXHDR(elements[i]));
		first = false;
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* string_agg_elements(text[], text): all elements */
Datum
mcs_string_agg_elements_final(PG_FUNCTION_ARGS)
{
	return join_elements(fcinfo, false);
}

/* string_agg_distinct_elements(text[], text): each element once, sorted */
Datum
mcs_string_agg_distinct_elements_final(PG_FUNCTION_ARGS)
{
	return join_elements(fcinfo, true);
}

/* ---- event stores ---- */

/* The trigger that keeps the rows of an event store */
Datum
mcs_change_stream_append_only(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("change_stream_append_only can be called by a trigger only")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("event store \"%s\" is append-only", RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)),
			 errhint("DROP TRIGGER append_only ON %s makes it a table like any other.",
					 quote_identifier(RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)))));
	PG_RETURN_NULL();
}
