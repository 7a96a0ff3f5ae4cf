/*
 * match/value.c
 *	  The values that operands are compared with, and the operators.
 *
 * A value is an expression without a column: a constant, or something whose
 * value the caller knows when the scan begins.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/*
 * Where PostgreSQL has ICU this header includes ICU's, which need not be
 * installed.  What is used of it here is the same with and without.
 */
#undef USE_ICU
#include "utils/pg_locale.h"

/* Looks for what a value can't be made of. */
static bool
depends_on_rows(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		case T_PlaceHolderVar:
		case T_Aggref:
		case T_GroupingFunc:
		case T_WindowFunc:
		case T_SubLink:
			/* a subquery that is run once is a Param by now */
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_CaseTestExpr:
		case T_CoerceToDomainValue:
		case T_SetToDefault:
		case T_CurrentOfExpr:
			return true;
		default:
			return expression_tree_walker(node, depends_on_rows, context);
	}
}

/* Whether an expression has one value during a scan; stable functions do. */
bool
mcs_match_is_value(Expr *expr)
{
	return !depends_on_rows((Node *) expr, NULL) && !contain_volatile_functions((Node *) expr) &&
		!expression_returns_set((Node *) expr);
}

/* The value of an expression that is one; false where it may not be used. */
bool
mcs_match_datum(MatchContext *context, Expr *expr, MatchDatum *datum)
{
	ListCell   *cell;

	memset(datum, 0, sizeof(*datum));
	datum->type = exprType((Node *) expr);
	datum->param = IsA(expr, Param) ? ((Param *) expr)->paramid : 0;
	if (IsA(expr, Const))
	{
		datum->known = true;
		datum->isnull = ((Const *) expr)->constisnull;
		datum->value = ((Const *) expr)->constvalue;
		return true;
	}
	if (!mcs_match_is_value(expr))
		return false;
	/* whoever asks whether it can be sent will know the value when it is */
	if (context->checking)
		return true;
	foreach(cell, context->values)
	{
		MatchValue *value = lfirst(cell);

		if (equal(value->expr, expr))
		{
			datum->known = value->known;
			datum->isnull = value->isnull;
			datum->value = value->value;
			return true;
		}
	}
	return false;
}

/* The elements of an array that is a value; false where it may not be used or is too long. */
bool
mcs_match_array(MatchContext *context, Expr *expr, MatchValues *values)
{
	MatchDatum	datum;
	ArrayType  *array;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int16		size;
	bool		by_value;
	char		align;

	memset(values, 0, sizeof(*values));
	if (!mcs_match_datum(context, expr, &datum) || (datum.known && datum.isnull))
		return false;
	/* how many it will have is not known either: one stands for all, and is shown as the list */
	if (!datum.known)
	{
		values->items = palloc(sizeof(MatchDatum));
		values->items[0] = datum;
		values->items[0].type = get_element_type(datum.type);
		values->count = 1;
		values->is_list = true;
		return OidIsValid(values->items[0].type);
	}
	array = DatumGetArrayTypeP(datum.value);
	/* counted before they are taken out, since there may be millions */
	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > MATCH_MAX_VALUES)
		return false;
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &size, &by_value, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), size, by_value, align, &elements, &nulls, &count);
	values->items = palloc0(sizeof(MatchDatum) * Max(count, 1));
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
		{
			values->has_null = true;
			continue;
		}
		values->items[values->count].type = ARR_ELEMTYPE(array);
		values->items[values->count].known = true;
		values->items[values->count++].value = elements[i];
	}
	return true;
}

/* Appends a value, or the placeholder of one that is not known. */
void
mcs_match_append(DocumentBuilder *builder, const char *key, const MatchDatum *datum)
{
	if (datum->known)
	{
		mcs_document_append_datum(builder, key, datum->value, datum->isnull, datum->type, InvalidOid);
		return;
	}
	/* what EXPLAIN shows in the place of the value */
	mcs_document_begin_object(builder, key);
	mcs_document_append_int32(builder, "$param", datum->param);
	mcs_document_end(builder);
}

/* The operator of a btree strategy. */
static MatchOperator
strategy_operator(StrategyNumber strategy)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			return MATCH_LT;
		case BTLessEqualStrategyNumber:
			return MATCH_LE;
		case BTEqualStrategyNumber:
			return MATCH_EQ;
		case BTGreaterEqualStrategyNumber:
			return MATCH_GE;
		case BTGreaterStrategyNumber:
			return MATCH_GT;
		case DOCUMENT_NE_STRATEGY:
			return MATCH_NE;
		default:
			return MATCH_NO_OPERATOR;
	}
}

/*
 * What an operator of a type's default order is.  Told by the operator family,
 * not by the name, which anybody can give an operator of his own; only a
 * superuser can add to the families of these types.
 */
MatchOperator
mcs_match_operator(Oid opno, Oid type)
{
	Oid			family = lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	MatchOperator operator;
	Oid			negator;

	if (!OidIsValid(family))
		return MATCH_NO_OPERATOR;
	operator = strategy_operator(get_op_opfamily_strategy(opno, family));
	if (operator != MATCH_NO_OPERATOR)
		return operator;
	/* <> is in no family, but it is the negator of one that is */
	negator = get_negator(opno);
	if (OidIsValid(negator) && get_op_opfamily_strategy(negator, family) == BTEqualStrategyNumber)
		return MATCH_NE;
	return MATCH_NO_OPERATOR;
}

/* What a function that compares documents, or a document and a value of another type, is the operator of. */
MatchOperator
mcs_match_document_operator(Oid function)
{
	return strategy_operator(mcs_document_comparison(mcs_extension_function(function)));
}

/* The operator with its sides exchanged. */
MatchOperator
mcs_match_commute(MatchOperator operator)
{
	switch (operator)
	{
		case MATCH_LT:
			return MATCH_GT;
		case MATCH_LE:
			return MATCH_GE;
		case MATCH_GT:
			return MATCH_LT;
		case MATCH_GE:
			return MATCH_LE;
		default:
			return operator;
	}
}

/* The operator that is true where this one is false, among values of one order. */
MatchOperator
mcs_match_negate(MatchOperator operator)
{
	switch (operator)
	{
		case MATCH_EQ:
			return MATCH_NE;
		case MATCH_NE:
			return MATCH_EQ;
		case MATCH_LT:
			return MATCH_GE;
		case MATCH_LE:
			return MATCH_GT;
		case MATCH_GT:
			return MATCH_LE;
		case MATCH_GE:
			return MATCH_LT;
		case MATCH_NO_OPERATOR:
			break;
	}
	return MATCH_NO_OPERATOR;
}

/* MongoDB's word for an operator. */
const char *
mcs_match_word(MatchOperator operator)
{
	static const char *const words[] = {"$eq", "$ne", "$lt", "$lte", "$gt", "$gte"};

	return operator == MATCH_NO_OPERATOR ? NULL : words[operator];
}

/* Whether texts compare byte by byte under a collation, as MongoDB's do. */
bool
mcs_match_collation_is_bytes(Oid collation)
{
	/* none could be derived: PostgreSQL raises an error when it compares, so it has to */
	if (!OidIsValid(collation))
		return false;
#if PG_VERSION_NUM >= 180000
	return pg_newlocale_from_collation(collation)->collate_is_c;
#else
	return lc_collate_is_c(collation);
#endif
}

/* Whether an operator orders or equates texts under a collation as MongoDB does. */
bool
mcs_match_same_order(MatchOperator operator, Oid collation)
{
	/* a deterministic collation breaks ties by bytes, so only the same bytes are equal in it */
	if (operator == MATCH_EQ || operator == MATCH_NE)
		return OidIsValid(collation) && get_collation_isdeterministic(collation);
	return mcs_match_collation_is_bytes(collation);
}
