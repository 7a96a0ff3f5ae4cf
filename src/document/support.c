/*
 * document/support.c
 *	  How the planner gets an index on documents to serve a comparison with
 *	  another type.
 *
 * "d['n'] < 5" is no comparison of the index's operator class: it means the
 * numbers below 5 and nothing of another kind.  But those are one range of the
 * order, so the index can be asked for it: from the lowest number to 5.  The
 * bounds may be a little wide, and then the comparison is checked again.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "access/nbtree.h"
#include "base/base.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_type.h"
#include "document/document_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_document_cross_support);
PG_FUNCTION_INFO_V1(mcs_document_index_bound);

/* What a comparison with a type can be turned into. */
typedef struct CrossType
{
	Oid			type;
	const char *lowest;			/* the least value of the kind */
	const char *highest;		/* the greatest, or */
	const char *beyond;			/* the least of the next kind */
	bool		exact;			/* the bound of = is the value itself */
	bool		ranged;			/* = needs two bounds, which a hash index has not */
} CrossType;

static const CrossType cross_types[] = {
	{TEXTOID, "\"\"", NULL, "{}", true, false},
	{BOOLOID, "false", "true", NULL, true, false},
	{INT4OID, "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", NULL, true, false},
	{INT8OID, "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", NULL, true, false},
	{FLOAT8OID, "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", NULL, true, false},
	{NUMERICOID, "{\"$numberDouble\": \"NaN\"}", "{\"$numberDouble\": \"Infinity\"}", NULL, false, true},
	/* binary data sorts by length and subtype first, so those of UUIDs lie together */
	{UUIDOID, "{\"$uuid\": \"00000000-0000-0000-0000-000000000000\"}", "{\"$uuid\": \"ffffffff-ffff-ffff-ffff-ffffffffffff\"}", NULL, true, false},
	{TIMESTAMPTZOID, "{\"$date\": {\"$numberLong\": \"-9223372036854775808\"}}",
	"{\"$date\": {\"$numberLong\": \"9223372036854775807\"}}", NULL, false, false}
};

/* What the clause says of the index's key, whichever side that stands on; 0 for what no index can be asked. */
static StrategyNumber
key_strategy(const SupportRequestIndexCondition *request)
{
	/* by the function: an operator of any name may call it */
	StrategyNumber strategy = mcs_document_comparison(mcs_extension_function(request->funcid));

	if (strategy > BTMaxStrategyNumber)
		return InvalidStrategy;
	return request->indexarg == 0 || strategy == InvalidStrategy ? strategy : BTCommuteStrategyNumber(strategy);
}

/* Makes "key operator bound" in the index's operator family; NULL where the family has no such operator. */
static Expr *
make_condition(const SupportRequestIndexCondition *request, StrategyNumber strategy, Node *key, Expr *bound)
{
	Oid			type = exprType(key);
	Oid			operator;

	/* the callers ask a hash index for equality only */
	if (request->index->relam == HASH_AM_OID)
		strategy = HTEqualStrategyNumber;
	operator = get_opfamily_member(request->opfamily, type, type, strategy);
	if (!OidIsValid(operator))
		return NULL;
	return make_opclause(operator, BOOLOID, false, (Expr *) key, bound, InvalidOid, InvalidOid);
}

/* A document of our own as a constant. */
static Expr *
make_constant(Oid type, const char *text)
{
	return (Expr *) makeConst(type, -1, InvalidOid, -1, DocumentPGetDatum(mcs_document_in_text(text)), false, false);
}

/* The call that turns the other side into a bound; NULL where the function is not to be found. */
static Expr *
make_bound(const SupportRequestIndexCondition *request, Oid document_type, Node *other, bool upper)
{
	Oid			arguments[] = {ANYOID, BOOLOID};
	List	   *name = list_make2(makeString(get_namespace_name(get_func_namespace(request->funcid))),
								  makeString("document_index_bound"));
	Oid			function = LookupFuncName(name, lengthof(arguments), arguments, true);
	Expr	   *call;

	if (!OidIsValid(function))
		return NULL;
	call = (Expr *) makeFuncExpr(function, document_type,
								 list_make2(copyObject(other), makeBoolConst(upper, false)),
								 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	/* a constant, so that the planner can estimate with it; of a parameter the call stays */
	return (Expr *) eval_const_expressions(request->root, (Node *) call);
}

/* Makes the conditions of an equality. */
static List *
equality_conditions(SupportRequestIndexCondition *request, const CrossType *cross, Node *key, Node *other)
{
	Expr	   *low = make_bound(request, exprType(key), other, false);
	Expr	   *high;
	Expr	   *first;
	Expr	   *second;

	if (low == NULL)
		return NIL;
	/* a lossy condition is checked again on each row */
	request->lossy = !cross->exact;
	if (!cross->ranged)
	{
		first = make_condition(request, BTEqualStrategyNumber, key, low);
		return first ? list_make1(first) : NIL;
	}
	if (request->index->relam == HASH_AM_OID)
		return NIL;
	high = make_bound(request, exprType(key), other, true);
	first = make_condition(request, BTGreaterEqualStrategyNumber, key, low);
	second = make_condition(request, BTLessEqualStrategyNumber, copyObject(key), high);
	return first && second ? list_make2(first, second) : NIL;
}

/* Makes the conditions of a range: one bound is the other side's, one the end of its kind. */
static List *
range_conditions(SupportRequestIndexCondition *request, const CrossType *cross, StrategyNumber strategy, Node *key, Node *other)
{
	bool		below = strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber;
	Expr	   *bound = make_bound(request, exprType(key), other, below);
	Expr	   *first;
	Expr	   *second;

	if (bound == NULL)
		return NIL;
	request->lossy = true;
	first = make_condition(request, below ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber, key, bound);
	if (below)
		second = make_condition(request, BTGreaterEqualStrategyNumber, copyObject(key),
								make_constant(exprType(key), cross->lowest));
	else if (cross->highest != NULL)
		second = make_condition(request, BTLessEqualStrategyNumber, copyObject(key),
								make_constant(exprType(key), cross->highest));
	else
		second = make_condition(request, BTLessStrategyNumber, copyObject(key),
								make_constant(exprType(key), cross->beyond));
	return first && second ? list_make2(first, second) : NIL;
}

/* The index conditions of a comparison; NIL where an index cannot help. */
static List *
index_conditions(SupportRequestIndexCondition *request)
{
	OpExpr	   *clause = (OpExpr *) request->node;
	Node	   *key;
	Node	   *other;
	StrategyNumber strategy;

	if (!IsA(clause, OpExpr) || list_length(clause->args) != 2 ||
		(request->index->relam != BTREE_AM_OID && request->index->relam != HASH_AM_OID))
		return NIL;
	key = list_nth(clause->args, request->indexarg);
	other = list_nth(clause->args, 1 - request->indexarg);
	/* a value of the same row is none that an index can be asked for */
	if (!is_pseudo_constant_for_index(request->root, other, request->index))
		return NIL;
	strategy = key_strategy(request);
	if (strategy == InvalidStrategy ||
		(request->index->relam == HASH_AM_OID && strategy != BTEqualStrategyNumber))
		return NIL;
	for (int i = 0; i < lengthof(cross_types); i++)
	{
		if (cross_types[i].type != exprType(other))
			continue;
		if (strategy == BTEqualStrategyNumber)
			return equality_conditions(request, &cross_types[i], key, other);
		return range_conditions(request, &cross_types[i], strategy, key, other);
	}
	return NIL;
}

/* document_cross_support(internal): planner support of the comparisons with other types */
Datum
mcs_document_cross_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestIndexCondition))
		PG_RETURN_POINTER(index_conditions((SupportRequestIndexCondition *) request));
	PG_RETURN_POINTER(NULL);
}

/*
 * The bound of a numeric.  Equal to it may be the number itself and the double
 * whose shortest decimal it is; both lie between the neighbours of the nearest
 * double.
 */
static void
append_numeric_bound(DocumentBuilder *builder, Datum numeric, bool upper)
{
	double		nearest;

	if (numeric_is_nan(DatumGetNumeric(numeric)))
		nearest = get_float8_nan();
	else
		nearest = strtod(DatumGetCString(DirectFunctionCall1(numeric_out, numeric)), NULL);
	mcs_document_append_double(builder, NULL, nextafter(nearest, upper ? HUGE_VAL : -HUGE_VAL));
}

/* The bound of a timestamptz, which dates reach beyond. */
static void
append_time_bound(DocumentBuilder *builder, TimestampTz time)
{
	int64		milliseconds;

	if (TIMESTAMP_IS_NOBEGIN(time))
		milliseconds = PG_INT64_MIN;
	else if (TIMESTAMP_IS_NOEND(time))
		milliseconds = PG_INT64_MAX;
	else
		milliseconds = mcs_document_timestamptz_to_ms(time);
	mcs_document_append_date(builder, NULL, milliseconds);
}

/* document_index_bound("any", boolean): a document that bounds what can be equal to a value from above or below */
Datum
mcs_document_index_bound(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	bool		upper = PG_GETARG_BOOL(1);
	DocumentBuilder builder;

	mcs_document_build(&builder);
	switch (type)
	{
		case NUMERICOID:
			append_numeric_bound(&builder, PG_GETARG_DATUM(0), upper);
			break;
		case TIMESTAMPTZOID:
			append_time_bound(&builder, PG_GETARG_TIMESTAMPTZ(0));
			break;
		case TEXTOID:
		case BOOLOID:
		case INT4OID:
		case INT8OID:
		case FLOAT8OID:
		case UUIDOID:
			mcs_document_append_datum(&builder, NULL, PG_GETARG_DATUM(0), false, type, InvalidOid);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("no index bound for type %s", format_type_be(type))));
	}
	PG_RETURN_POINTER(mcs_document_finish(&builder));
}
