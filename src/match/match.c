/*
 * match/match.c
 *	  Conditions taken apart: AND, OR, NOT, tests for null, comparisons.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

/* Comparisons with each element of a list that are spelled out. */
#define MAX_SPELLED_OUT 50

static MatchFilter *condition_filter(MatchContext *context, Expr *condition, bool truth);

/* AND and OR; what is false of one is true of the other. */
static MatchFilter *
bool_filter(MatchContext *context, BoolExpr *expr, bool truth)
{
	bool		is_and = (expr->boolop == AND_EXPR) == truth;
	MatchFilter *filter = is_and ? mcs_match_all() : mcs_match_none();
	ListCell   *cell;

	if (expr->boolop == NOT_EXPR)
		return condition_filter(context, linitial(expr->args), !truth);
	foreach(cell, expr->args)
	{
		MatchFilter *part = condition_filter(context, lfirst(cell), truth);

		filter = is_and ? mcs_match_and(filter, part) : mcs_match_or(filter, part);
	}
	return filter;
}

/* One comparison, with values that are no null. */
static MatchFilter *
comparison_filter(const MatchComparison *comparison, bool truth)
{
	switch (comparison->operand.kind)
	{
		case OPERAND_TEXT:
			return mcs_match_text_column(comparison, truth);
		case OPERAND_DOCUMENT:
			return mcs_match_document(comparison, truth);
		case OPERAND_TIME:
			return mcs_match_time_column(comparison, truth);
		case OPERAND_CAST:
			/* what may raise an error is evaluated again, here and below */
			return mcs_match_wider(mcs_match_cast(comparison, truth));
		case OPERAND_PLAIN_TEXT:
			return mcs_match_wider(mcs_match_plain_text(comparison, truth));
		case OPERAND_FIELDS:
			return mcs_match_fields(comparison, truth);
	}
	return mcs_match_unknown();
}

/* Fills in what an operator is between an operand and values of a type. */
static bool
take_operator(MatchComparison *comparison, Oid opno, Oid function, Oid collation, bool swapped)
{
	comparison->opno = opno;
	comparison->function = function;
	comparison->collation = collation;
	comparison->swapped = swapped;
	comparison->operator = comparison->operand.kind == OPERAND_DOCUMENT ?
		mcs_match_document_operator(function) : mcs_match_operator(opno, comparison->operand.type);
	if (swapped)
		comparison->operator = mcs_match_commute(comparison->operator);
	/* callers take a null on either side for neither true nor false, which is so of strict functions only */
	return func_strict(function);
}

/* operand op value, or value op operand. */
static MatchFilter *
operator_filter(MatchContext *context, Oid opno, Oid function, Oid collation, List *args, bool truth)
{
	MatchComparison comparison = {0};
	MatchDatum	datum;
	bool		swapped;

	if (list_length(args) != 2)
		return mcs_match_unknown();
	/* the operand may stand on either side */
	swapped = !mcs_match_operand(context->relation, linitial(args), &comparison.operand);
	if (swapped && !mcs_match_operand(context->relation, lsecond(args), &comparison.operand))
		return mcs_match_unknown();
	if (!mcs_match_datum(context, swapped ? linitial(args) : lsecond(args), &datum) ||
		!take_operator(&comparison, opno, function, collation, swapped))
		return mcs_match_unknown();
	if (datum.known && datum.isnull)
		return mcs_match_none();
	comparison.items = &datum;
	comparison.count = 1;
	return comparison_filter(&comparison, truth);
}

/* name op ANY (changed_fields), name op ALL (changed_fields). */
static MatchFilter *
fields_filter(MatchContext *context, ScalarArrayOpExpr *expr, bool truth)
{
	MatchComparison comparison = {0};
	MatchDatum	datum;

	if (!mcs_match_datum(context, linitial(expr->args), &datum))
		return mcs_match_unknown();
	/* the operator is one of the elements, not of the array */
	comparison.operator = mcs_match_operator(expr->opno, TEXTOID);
	comparison.collation = expr->inputcollid;
	comparison.items = &datum;
	comparison.count = 1;
	/* of an empty array the answer is known even beside null */
	if (datum.known && datum.isnull)
		return mcs_match_wider(mcs_match_fields_null(false));
	return mcs_match_fields_any(&comparison, expr->useOr, truth);
}

/* operand op ANY (array), operand op ALL (array), and so IN and NOT IN. */
static MatchFilter *
array_filter(MatchContext *context, ScalarArrayOpExpr *expr, bool truth)
{
	MatchComparison comparison = {0};
	MatchValues values;
	bool		all_of = expr->useOr != truth;	/* what is asked for holds if each element gives it */
	MatchFilter *filter = all_of ? mcs_match_all() : mcs_match_none();

	if (mcs_match_operand(context->relation, lsecond(expr->args), &comparison.operand) &&
		comparison.operand.kind == OPERAND_FIELDS)
		return fields_filter(context, expr, truth);
	if (!mcs_match_operand(context->relation, linitial(expr->args), &comparison.operand) ||
		!mcs_match_array(context, lsecond(expr->args), &values) ||
		!take_operator(&comparison, expr->opno, get_opcode(expr->opno), expr->inputcollid, false))
		return mcs_match_unknown();
	/* a null in the array leaves it open whether all of it would do */
	if (all_of && values.has_null)
		return mcs_match_none();
	/* of an empty array the answer is the same for every operand, null included, so this is exact */
	if (values.count == 0)
		return filter;

	comparison.items = values.items;
	comparison.count = values.count;
	comparison.is_list = values.is_list;
	/* IN and NOT IN go as one comparison, which can mostly be said by one $in; others as one for each value */
	if (comparison.operator == (expr->useOr ? MATCH_EQ : MATCH_NE))
		return comparison_filter(&comparison, truth);
	if (values.is_list || values.count > MAX_SPELLED_OUT)
		return mcs_match_unknown();
	comparison.count = 1;
	for (int i = 0; i < values.count; i++)
	{
		MatchFilter *part = comparison_filter(&comparison, truth);

		filter = all_of ? mcs_match_and(filter, part) : mcs_match_or(filter, part);
		comparison.items++;
	}
	return filter;
}

/* expression IS [NOT] NULL, which is never unknown. */
static MatchFilter *
null_filter(MatchContext *context, NullTest *test, bool truth)
{
	MatchOperand operand;

	if (test->argisrow || !mcs_match_operand(context->relation, test->arg, &operand))
		return mcs_match_unknown();
	if (operand.paths)
		return mcs_match_path_null(&operand, (test->nulltesttype == IS_NULL) == truth);
	if (operand.kind == OPERAND_FIELDS)
		return mcs_match_fields_null((test->nulltesttype == IS_NULL) == truth);
	if (operand.kind == OPERAND_TIME)
		return mcs_match_time_null(&operand, (test->nulltesttype == IS_NULL) == truth);
	return mcs_match_column_null(&operand, (test->nulltesttype == IS_NULL) == truth);
}

/* operand IS [NOT] DISTINCT FROM value, which is never unknown. */
static MatchFilter *
distinct_filter(MatchContext *context, DistinctExpr *expr, bool truth)
{
	NullTest	test = {.xpr = {T_NullTest},.nulltesttype = IS_NULL};
	MatchDatum	datum;
	bool		swapped = mcs_match_datum(context, linitial(expr->args), &datum);

	if (!swapped && !mcs_match_datum(context, lsecond(expr->args), &datum))
		return mcs_match_unknown();
	/* who is asked whether the value will be null can say no more than that it may be */
	if (!datum.known)
		return mcs_match_unknown();
	test.arg = swapped ? lsecond(expr->args) : linitial(expr->args);
	if (datum.isnull)
		return null_filter(context, &test, !truth);
	/* the operator of a DistinctExpr is =, and it has no answer where the operand is null */
	if (!truth)
		return operator_filter(context, expr->opno, expr->opfuncid, expr->inputcollid, expr->args, true);
	return mcs_match_or(operator_filter(context, expr->opno, expr->opfuncid, expr->inputcollid, expr->args, false),
						null_filter(context, &test, true));
}

/* condition IS [NOT] TRUE, FALSE, UNKNOWN. */
static MatchFilter *
boolean_filter(MatchContext *context, BooleanTest *test, bool truth)
{
	MatchFilter *is_true = condition_filter(context, test->arg, true);
	MatchFilter *is_false = condition_filter(context, test->arg, false);

	switch (test->booltesttype)
	{
		case IS_TRUE:
			return truth ? is_true : mcs_match_not(is_true);
		case IS_NOT_TRUE:
			return truth ? mcs_match_not(is_true) : is_true;
		case IS_FALSE:
			return truth ? is_false : mcs_match_not(is_false);
		case IS_NOT_FALSE:
			return truth ? mcs_match_not(is_false) : is_false;
		case IS_UNKNOWN:
		case IS_NOT_UNKNOWN:
			if ((test->booltesttype == IS_UNKNOWN) == truth)
				return mcs_match_and(mcs_match_not(is_true), mcs_match_not(is_false));
			return mcs_match_or(is_true, is_false);
	}
	return mcs_match_unknown();
}

/* A constant or a parameter that is a condition. */
static MatchFilter *
value_filter(MatchContext *context, Expr *expr, bool truth)
{
	MatchDatum	datum;

	if (!mcs_match_datum(context, expr, &datum) || !datum.known)
		return mcs_match_unknown();
	return !datum.isnull && DatumGetBool(datum.value) == truth ? mcs_match_all() : mcs_match_none();
}

/* A function that is a condition, or a cast to boolean. */
static MatchFilter *
function_filter(MatchContext *context, FuncExpr *expr, bool truth)
{
	MatchOperand operand;

	/* starts_with() and the like, which are told by the function alone */
	if (list_length(expr->args) == 2)
		return operator_filter(context, InvalidOid, expr->funcid, expr->inputcollid, expr->args, truth);
	return mcs_match_operand(context->relation, (Expr *) expr, &operand) ?
		mcs_match_boolean(&operand, truth) : mcs_match_unknown();
}

/* The filter for the events on which a condition is true, or those on which it is false. */
static MatchFilter *
condition_filter(MatchContext *context, Expr *condition, bool truth)
{
	MatchFilter *filter;

	check_stack_depth();
	/* MongoDB refuses conditions that nest deeper than a hundred levels, and ours become some levels each */
	if (context->depth >= MATCH_MAX_DEPTH)
		return mcs_match_unknown();
	context->depth++;
	switch (nodeTag(condition))
	{
		case T_BoolExpr:
			filter = bool_filter(context, (BoolExpr *) condition, truth);
			break;
		case T_OpExpr:
			{
				OpExpr	   *expr = (OpExpr *) condition;

				set_opfuncid(expr);
				filter = operator_filter(context, expr->opno, expr->opfuncid, expr->inputcollid, expr->args, truth);
				break;
			}
		case T_DistinctExpr:
			set_opfuncid((OpExpr *) condition);
			filter = distinct_filter(context, (DistinctExpr *) condition, truth);
			break;
		case T_FuncExpr:
			filter = function_filter(context, (FuncExpr *) condition, truth);
			break;
		case T_ScalarArrayOpExpr:
			filter = array_filter(context, (ScalarArrayOpExpr *) condition, truth);
			break;
		case T_NullTest:
			filter = null_filter(context, (NullTest *) condition, truth);
			break;
		case T_BooleanTest:
			filter = boolean_filter(context, (BooleanTest *) condition, truth);
			break;
		case T_Const:
		case T_Param:
			filter = value_filter(context, condition, truth);
			break;
		case T_RelabelType:
			filter = condition_filter(context, ((RelabelType *) condition)->arg, truth);
			break;
		default:
			{
				MatchOperand operand;

				filter = mcs_match_operand(context->relation, condition, &operand) ?
					mcs_match_boolean(&operand, truth) : mcs_match_unknown();
				break;
			}
	}
	context->depth--;
	return filter;
}

/* The filter of a whole condition, if it is not too large to be sent. */
static MatchFilter *
whole_condition(MatchContext *context, Expr *condition)
{
	/* printed to see how large it is, each by itself, as the others can be sent without it; they are few and planned once */
	MatchFilter *filter = condition_filter(context, condition, true);
	Document   *printed = mcs_match_print(filter);

	return printed && VARSIZE_ANY(printed) > MATCH_MAX_TOTAL ? mcs_match_unknown() : filter;
}

/* How much of a condition can be sent. */
MatchResult
mcs_match_check(const MatchRelation *relation, Expr *condition)
{
	MatchContext context = {.relation = relation,.checking = true};
	MatchFilter *filter = whole_condition(&context, condition);

	if (filter->exact)
		return MATCH_EXACT;
	return filter->kind == FILTER_ALL ? MATCH_NOT : MATCH_WIDER;
}

/* Collects the largest parts of an expression that are values. */
static bool
collect_values(Node *node, List **values)
{
	if (node == NULL || IsA(node, Const) || IsA(node, SubPlan) || IsA(node, AlternativeSubPlan))
		return false;
	/* the largest, since mcs_match_datum looks for a whole side of an operator; a List is no expression by itself */
	if (!IsA(node, List) && !IsA(node, NamedArgExpr) && mcs_match_is_value((Expr *) node))
	{
		*values = list_append_unique(*values, node);
		return false;
	}
	return expression_tree_walker(node, collect_values, values);
}

List *
mcs_match_values(const MatchRelation *relation, List *conditions)
{
	List	   *values = NIL;

	(void) collect_values((Node *) conditions, &values);
	return values;
}

Document *
mcs_match_write(const MatchRelation *relation, List *conditions, List *values)
{
	MatchContext context = {.relation = relation,.values = values};
	MatchFilter *filter = mcs_match_all();
	ListCell   *cell;

	foreach(cell, conditions)
		filter = mcs_match_and(filter, whole_condition(&context, lfirst(cell)));
	return mcs_match_print(filter);
}

Document *
mcs_match_constant(const MatchRelation *relation, Expr *condition, bool *exact)
{
	MatchContext context = {.relation = relation};
	MatchFilter *filter = whole_condition(&context, condition);

	*exact = filter->exact;
	return mcs_match_print(filter);
}
