/*
 * base/convert.c
 *	  SQL values as C has them.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/pg_type.h"
#include "common/int128.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* An interval's length, a day being 24 hours and a month 30 days, as intervals compare. */
int64
mcs_convert_interval(const Interval *interval)
{
	/* wider than int64, which the longest interval, of 178 million years, does not fit */
	int128		length = (int128) interval->month * DAYS_PER_MONTH + interval->day;

	length = length * USECS_PER_DAY + interval->time;
	return (int64) Min(Max(length, (int128) PG_INT64_MIN), (int128) PG_INT64_MAX);
}

/* The strings of a text[] without nulls. */
List *
mcs_convert_text_array(ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	List	   *texts = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			texts = lappend(texts, TextDatumGetCString(elements[i]));
	return texts;
}

char *
mcs_convert_text_argument(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}
