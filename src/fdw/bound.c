/*
 * fdw/bound.c
 *	  Where a read begins and ends: where conditions on the time of events
 *	  say, else where the table's options say, else at the start of the oplog
 *	  and now.
 *
 * cluster_time shows an event's cluster time (seconds, ordinal) with the ordinal
 * as microseconds, 999999 at most.  So a comparison with it is the same as one
 * of cluster times, exactly, if .999999 stands for every ordinal from there on.
 *
 * An expression that stays near one of these times (fdw/shift.c) bounds the
 * read, too, by as much less as it may be away, and has to be evaluated.
 *
 * change_timestamp is another clock, that of the member which was primary.  It
 * can only say where to start: some minutes earlier, and the condition has to
 * be evaluated as well.
 *
 * resume_token begins with the cluster time in hex digits, so tokens that are
 * compared as text bound the read, too; where in that time an event stands
 * has to be evaluated.
 */
#include "mongo_change_stream.h"

#include "access/stratnum.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fdw/fdw.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

/* How far wall clocks of a replica set's members are taken to differ. */
#define CLOCKS_DIFFER_S		600

#define ORDINAL_MAX			PG_UINT32_MAX

/* A time before any that MongoDB has; 0 would not do as one. */
#define BEFORE_EVERYTHING	(UINT64CONST(1) << 32)

/* The event column that an expression is, or -1. */
static int
column_of(const FdwTable *table, Index varno, Node *node)
{
	Var		   *var;

	if (node == NULL || !IsA(node, Var))
		return -1;
	var = (Var *) node;
	/* system columns have negative numbers, whole rows 0 */
	if (var->varno != varno || var->varlevelsup != 0 || var->varattno <= 0 || var->varattno > table->natts)
		return -1;
	return table->columns[var->varattno - 1];
}

/* Whether an expression depends on the events that are read, or may. */
static bool
reads_event(Node *node, Index *varno)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == *varno;
	/* what a PlaceHolderVar is made of need not be looked for: it may be of this relation */
	return IsA(node, PlaceHolderVar) || expression_tree_walker(node, reads_event, varno);
}

/* Whether an expression has one value for a whole read. */
static bool
is_value(Index varno, Node *node)
{
	/* evaluated once when the read begins, so it must be the same for every row */
	return !reads_event(node, &varno) && !contain_volatile_functions(node) && !contain_subplans(node);
}

/* A condition taken apart: what shows a column, operator, value, or ANY (value). */
typedef struct Comparison
{
	int			column;
	FdwShift	shift;
	Oid			type;			/* of what shows the column */
	Oid			operator;
	Oid			collation;
	Node	   *value;
	bool		array;
} Comparison;

/* Takes one side of a condition for what shows a column. */
static bool
take_column(const FdwTable *table, Index varno, Node *node, Comparison *comparison)
{
	comparison->column = column_of(table, varno, mcs_fdw_unshift(node, &comparison->shift));
	comparison->type = exprType(node);
	return comparison->column >= 0;
}

static bool
take_comparison(const FdwTable *table, Index varno, Expr *clause, Comparison *comparison)
{
	List	   *args;

	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		args = ((OpExpr *) clause)->args;
		comparison->operator = ((OpExpr *) clause)->opno;
		comparison->collation = ((OpExpr *) clause)->inputcollid;
		comparison->array = false;
	}
	else if (IsA(clause, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) clause)->useOr)
	{
		args = ((ScalarArrayOpExpr *) clause)->args;
		comparison->operator = ((ScalarArrayOpExpr *) clause)->opno;
		comparison->collation = ((ScalarArrayOpExpr *) clause)->inputcollid;
		comparison->array = true;
	}
	else
		return false;

	comparison->value = lsecond(args);
	if (!take_column(table, varno, linitial(args), comparison))
	{
		if (comparison->array || !take_column(table, varno, lsecond(args), comparison))
			return false;
		comparison->value = linitial(args);
		/* as if the column were on the left; not for ANY, which has its array on the right */
		comparison->operator = get_commutator(comparison->operator);
	}
	return OidIsValid(comparison->operator) && is_value(varno, comparison->value);
}

/* A comparison of times. */
static bool
bound_by_time(const Comparison *comparison, FdwBound *bound)
{
	Oid			family = lookup_type_cache(comparison->type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;

	bound->type = exprType(comparison->value);
	if (comparison->array)
		bound->type = get_element_type(bound->type);
	if (!mcs_fdw_shift_compares(&bound->shift, comparison->type, bound->type))
		return false;
	bound->strategy = get_op_opfamily_strategy(comparison->operator, family);
	/* else the condition is evaluated as well */
	bound->exact = comparison->column == EVENT_CLUSTER_TIME && !comparison->array && !bound->shift.shifted;
	if (comparison->array)
		return bound->strategy == BTEqualStrategyNumber;
	/* only a lower bound says anything of the other clock */
	return bound->strategy != 0 &&
		(comparison->column == EVENT_CLUSTER_TIME || bound->strategy >= BTEqualStrategyNumber);
}

/* A comparison of tokens, where their order is that of their digits. */
static bool
bound_by_token(const Comparison *comparison, FdwBound *bound)
{
	Oid			family = lookup_type_cache(TEXTOID, TYPECACHE_BTREE_OPFAMILY)->btree_opf;

	bound->type = TEXTOID;
	/* a time has many tokens */
	bound->exact = false;
	if (comparison->array || exprType(comparison->value) != TEXTOID ||
		(comparison->collation != DEFAULT_COLLATION_OID && comparison->collation != C_COLLATION_OID))
		return false;
	bound->strategy = get_op_opfamily_strategy(comparison->operator, family);
	return bound->strategy != 0;
}

/* Whether a condition bounds a read; then *bound says how. */
bool
mcs_fdw_bound(const FdwTable *table, Index varno, Expr *clause, FdwBound *bound)
{
	Comparison	comparison;

	/* a pipeline that changes the times shows others than those MongoDB reads by */
	if (!table->keeps_times || !take_comparison(table, varno, clause, &comparison))
		return false;
	bound->column = comparison.column;
	bound->array = comparison.array;
	bound->shift = comparison.shift;
	bound->value = (Expr *) comparison.value;
	switch (comparison.column)
	{
		case EVENT_CLUSTER_TIME:
		case EVENT_CHANGE_TIMESTAMP:
			return bound_by_time(&comparison, bound);
		case EVENT_RESUME_TOKEN:
			return bound_by_token(&comparison, bound);
		default:
			return false;
	}
}

/* A bound for a plan, but for its value; and back. */
List *
mcs_fdw_bound_numbers(const FdwBound *bound)
{
	List	   *numbers = list_make4_int(bound->column, bound->strategy, bound->array, (int) bound->type);

	return list_concat(numbers, list_make4_int(bound->shift.shifted, bound->shift.up, bound->shift.down, bound->shift.zones));
}

void
mcs_fdw_bound_of_numbers(FdwBound *bound, const List *numbers)
{
	memset(bound, 0, sizeof(*bound));
	bound->column = list_nth_int(numbers, 0);
	bound->strategy = list_nth_int(numbers, 1);
	bound->array = list_nth_int(numbers, 2);
	bound->type = (Oid) list_nth_int(numbers, 3);
	bound->shift.shifted = list_nth_int(numbers, 4);
	bound->shift.up = list_nth_int(numbers, 5);
	bound->shift.down = list_nth_int(numbers, 6);
	bound->shift.zones = list_nth_int(numbers, 7);
}

/* The largest range. */
void
mcs_fdw_range_all(FdwRange *range)
{
	range->from = 0;
	range->to = PG_UINT64_MAX;
	range->empty = false;
}

/* Only from some cluster time on. */
static void
not_before(FdwRange *range, int64 seconds, int64 ordinal)
{
	if (seconds > PG_UINT32_MAX)
		range->empty = true;
	/* 0 stands for no condition at all */
	else if (seconds < 1)
		range->from = Max(range->from, BEFORE_EVERYTHING);
	else
		range->from = Max(range->from, (uint64) seconds << 32 | (uint64) ordinal);
}

/* Only up to some cluster time. */
static void
not_after(FdwRange *range, int64 seconds, int64 ordinal)
{
	if (seconds < 0)
		range->empty = true;
	/* later than any time of MongoDB's bounds nothing */
	else if (seconds <= PG_UINT32_MAX)
		range->to = Min(range->to, (uint64) seconds << 32 | (uint64) ordinal);
}

/* Whether a strategy bounds from below, or from above. */
static bool
is_lower(int strategy)
{
	return strategy >= BTEqualStrategyNumber;
}

static bool
is_upper(int strategy)
{
	return strategy <= BTEqualStrategyNumber;
}

/* cluster_time compared with a finite time. */
static void
bound_cluster_time(FdwRange *range, int strategy, int64 seconds, int64 us)
{
	bool		last = us == USECS_PER_SEC - 1;

	if (strategy == BTGreaterStrategyNumber)
	{
		/* .999999 stands for all ordinals from there on */
		if (last)
			not_before(range, seconds + 1, 0);
		else
			not_before(range, seconds, us + 1);
	}
	else if (is_lower(strategy))
		not_before(range, seconds, us);

	if (strategy == BTLessStrategyNumber)
	{
		if (us == 0)
			not_after(range, seconds - 1, ORDINAL_MAX);
		else
			not_after(range, seconds, us - 1);
	}
	else if (is_upper(strategy))
		not_after(range, seconds, last ? ORDINAL_MAX : us);
}

/* What may be some seconds later or earlier than a time compared with a finite one. */
static void
bound_shifted_time(FdwRange *range, const FdwBound *bound, int strategy, int64 seconds)
{
	int64		clocks = bound->column == EVENT_CLUSTER_TIME ? 0 : CLOCKS_DIFFER_S;

	if (is_lower(strategy))
		not_before(range, seconds - mcs_fdw_shift_up(&bound->shift) - clocks, 0);
	if (is_upper(strategy) && bound->column == EVENT_CLUSTER_TIME)
		not_after(range, seconds + mcs_fdw_shift_down(&bound->shift), ORDINAL_MAX);
}

/* Narrows a range by one comparison with a time. */
static void
bound_time(FdwRange *range, const FdwBound *bound, int strategy, TimestampTz time)
{
	int64		seconds;

	if (TIMESTAMP_NOT_FINITE(time))
	{
		/* nothing is equal to or beyond it, everything is on this side of it */
		if (TIMESTAMP_IS_NOBEGIN(time) ? is_upper(strategy) : is_lower(strategy))
			range->empty = true;
		return;
	}
	/* rounded down before 2000, too, where C's division goes towards zero */
	seconds = time / USECS_PER_SEC - (time % USECS_PER_SEC < 0 ? 1 : 0);
	if (bound->shift.shifted)
		bound_shifted_time(range, bound, strategy, seconds + UNIX_EPOCH_OFFSET_S);
	else if (bound->column == EVENT_CLUSTER_TIME)
		bound_cluster_time(range, strategy, seconds + UNIX_EPOCH_OFFSET_S, time - seconds * USECS_PER_SEC);
	else if (is_lower(strategy))
		not_before(range, seconds + UNIX_EPOCH_OFFSET_S - CLOCKS_DIFFER_S, 0);
}

/* A value of one of the types that compare with a timestamptz, or with what is shifted. */
static TimestampTz
to_timestamptz(const FdwBound *bound, Datum value)
{
	int			overflow;

	if (bound->shift.shifted)
		return mcs_fdw_shift_value(bound->type, value);
	switch (bound->type)
	{
		/* what overflows becomes infinite, which bound_time knows */
		case DATEOID:
			return date2timestamptz_opt_overflow(DatumGetDateADT(value), &overflow);
		case TIMESTAMPOID:
			return timestamp2timestamptz_opt_overflow(DatumGetTimestamp(value), &overflow);
		default:
			return DatumGetTimestampTz(value);
	}
}

/* Narrows a range by = ANY (array): from its earliest to its latest. */
static void
bound_array(FdwRange *range, const FdwBound *bound, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	TimestampTz low = DT_NOEND,
				high = DT_NOBEGIN;
	Datum	   *items;
	bool	   *nulls;
	int			count;
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(bound->type, &length, &by_value, &align);
	deconstruct_array(array, bound->type, length, by_value, align, &items, &nulls, &count);
	for (int i = 0; i < count; i++)
	{
		TimestampTz time;

		if (nulls[i])
			continue;
		time = to_timestamptz(bound, items[i]);
		low = Min(low, time);
		high = Max(high, time);
	}
	if (low > high)
	{
		range->empty = true;
		return;
	}
	/* an infinite one among them equals nothing */
	if (!TIMESTAMP_IS_NOBEGIN(low))
		bound_time(range, bound, BTGreaterEqualStrategyNumber, low);
	if (!TIMESTAMP_IS_NOEND(high))
		bound_time(range, bound, BTLessEqualStrategyNumber, high);
}

/* Narrows a range by the time in a token; what is none, or not written as tokens are, says nothing. */
static void
bound_token(FdwRange *range, int strategy, const char *token)
{
	uint64		time;

	if (!mcs_token_valid(token) || token[strspn(token, "0123456789ABCDEF.")] != '\0')
		return;
	time = mcs_token_time(token);
	if (is_lower(strategy))
		not_before(range, time >> 32, time & PG_UINT32_MAX);
	if (is_upper(strategy))
		not_after(range, time >> 32, time & PG_UINT32_MAX);
}

/* Narrows a range by one bound, whose value is known. */
void
mcs_fdw_narrow(FdwRange *range, const FdwBound *bound, Datum value, bool isnull)
{
	/* a comparison with null is true for no event */
	if (isnull)
		range->empty = true;
	else if (bound->column == EVENT_RESUME_TOKEN)
		bound_token(range, bound->strategy, TextDatumGetCString(value));
	else if (bound->array)
		bound_array(range, bound, value);
	else
		bound_time(range, bound, bound->strategy, to_timestamptz(bound, value));
	if (range->from > range->to)
		range->empty = true;
}

/* ---- the start ---- */

/* The cluster time of a point in time, to the microsecond as cluster_time shows it. */
static uint64
time_of_timestamp(TimestampTz time)
{
	int64		seconds = time / USECS_PER_SEC - (time % USECS_PER_SEC < 0 ? 1 : 0);
	int64		ordinal = time - seconds * USECS_PER_SEC;

	seconds += UNIX_EPOCH_OFFSET_S;
	if (TIMESTAMP_IS_NOBEGIN(time) || seconds < 1)
		return BEFORE_EVERYTHING;
	if (TIMESTAMP_IS_NOEND(time) || seconds > PG_UINT32_MAX)
		return PG_UINT64_MAX;
	return (uint64) seconds << 32 | (uint64) ordinal;
}

/* A start after a token. */
void
mcs_fdw_start_after(FdwStart *start, const char *token)
{
	start->kind = CHANGE_STREAM_START_AFTER;
	start->token = token;
	start->time = mcs_token_time(token);
	start->asked = true;
}

/* Reads start_at: a word, a token or a time. */
static void
parse_start(FdwStart *start, const char *text)
{
	char	   *token;

	start->asked = strcmp(text, "earliest") != 0;
	if (!start->asked)
		return;
	if (strcmp(text, "now") == 0)
		start->kind = CHANGE_STREAM_NOW;
	else if ((token = mcs_token_read(text)) != NULL)
		mcs_fdw_start_after(start, token);
	else
		start->time = time_of_timestamp(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(text),
																				ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/* The start of a read of a table, whose conditions leave a range; allocates in the current memory context. */
void
mcs_fdw_start(const FdwTable *table, const FdwRange *range, FdwStart *start)
{
	start->kind = CHANGE_STREAM_AT_TIME;
	start->token = NULL;
	start->time = BEFORE_EVERYTHING;
	start->asked = true;
	/* conditions before options: an earlier start would only be read in vain */
	if (range->from > 0)
		start->time = range->from;
	else if (table->resume_after)
		mcs_fdw_start_after(start, table->resume_after);
	else if (table->start_at)
		parse_start(start, table->start_at);
	else
		start->asked = false;
}
