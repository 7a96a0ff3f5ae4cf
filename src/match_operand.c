/*
 * match_operand.c
 *	  Which column, or which part of a document, an expression is.
 */
#include "mongo_change_stream.h"

#include "match_filter.h"
#include "nodes/nodeFuncs.h"

/* Where a column's value stands in an event; NULL for what is computed. */
const char *
mcs_match_key(EventColumn column)
{
	switch (column)
	{
		case EVENT_OPERATION_TYPE:
			return "operationType";
		case EVENT_DATABASE_NAME:
			return "ns.db";
		case EVENT_COLLECTION_NAME:
			return "ns.coll";
		case EVENT_DOCUMENT_KEY:
			return "documentKey";
		case EVENT_FULL_DOCUMENT:
			return "fullDocument";
		case EVENT_FULL_DOCUMENT_BEFORE_CHANGE:
			return "fullDocumentBeforeChange";
		case EVENT_UPDATE_DESCRIPTION:
			return "updateDescription";
		case EVENT_CLUSTER_TIME:
			return "clusterTime";
		case EVENT_CHANGE_TIMESTAMP:
			return "wallTime";
		case EVENT_RESUME_TOKEN:
			return "_id._data";
		case EVENT_CHANGED_FIELDS:
		case EVENT_FULL_DOCUMENT_SOURCE:
		case EVENT_EXTRA:
		case EVENT_COLUMNS:
			break;
	}
	return NULL;
}

/* Takes a column of the relation. */
static bool
take_column(const MatchRelation *relation, const Var *var, MatchOperand *operand)
{
	if (var->varno != relation->varno || var->varlevelsup != 0 || var->varattno <= 0 ||
		var->varattno > relation->natts || relation->columns[var->varattno - 1] < 0)
		return false;
	memset(operand, 0, sizeof(*operand));
	operand->column = relation->columns[var->varattno - 1];
	operand->type = var->vartype;
	switch (operand->column)
	{
		case EVENT_OPERATION_TYPE:
		case EVENT_DATABASE_NAME:
		case EVENT_COLLECTION_NAME:
			operand->kind = OPERAND_TEXT;
			return true;
		default:
			return false;
	}
}

/* What an expression is; false where it is nothing that can be sent. */
bool
mcs_match_operand(const MatchRelation *relation, Expr *expr, MatchOperand *operand)
{
	while (expr && IsA(expr, RelabelType))
		expr = ((RelabelType *) expr)->arg;
	if (expr && IsA(expr, Var))
		return take_column(relation, (Var *) expr, operand);
	return false;
}
