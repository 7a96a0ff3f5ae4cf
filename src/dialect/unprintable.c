/*
 * dialect/unprintable.c
 *	  What of a view PostgreSQL prints without the operator that it compares
 *	  documents by: a dump of it cannot be restored, which its maker is told.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

/* Whether an operator is the extension's. */
static bool
is_ours(Oid operator)
{
	return OidIsValid(operator) && mcs_extension_function(get_opcode(operator)) != NULL;
}

/* Whether a node, or one in it, compares documents without an operator that is printed. */
static bool
is_unprintable(Node *node, const Fragment *fragment)
{
	ListCell   *cell;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			foreach(cell, ((Query *) node)->rtable)
				if (mcs_join_is_of_documents(fragment, lfirst(cell)) && !list_member_ptr(fragment->written_joins, lfirst(cell)))
					return true;
			return query_tree_walker((Query *) node, is_unprintable, unconstify(Fragment *, fragment), 0);
		case T_NullIfExpr:
		case T_DistinctExpr:
			if (is_ours(((OpExpr *) node)->opno))
				return true;
			break;
		case T_CaseExpr:
			foreach(cell, ((CaseExpr *) node)->arg ? ((CaseExpr *) node)->args : NIL)
			{
				CaseWhen   *when = lfirst_node(CaseWhen, cell);

				if (IsA(when->expr, OpExpr) && is_ours(((OpExpr *) when->expr)->opno))
					return true;
			}
			break;
		default:
			break;
	}
	return expression_tree_walker(node, is_unprintable, unconstify(Fragment *, fragment));
}

/* Behind the analysis of a fragment. */
void
mcs_unprintable_find(Fragment *fragment, Query *query)
{
	fragment->unprintable = fragment->is_view && is_unprintable((Node *) query, fragment);
}

void
mcs_unprintable_tell(const Fragment *fragment)
{
	if (fragment->unprintable)
		ereport(NOTICE,
				(errmsg("a dump of this view cannot be restored"),
				 errdetail("It compares documents by USING, NATURAL, CASE x WHEN, NULLIF or IS DISTINCT FROM, which PostgreSQL prints without the operator, and reads where documents have none."),
				 errhint("Write ON a.x = b.x, or CASE WHEN x = y.")));
}
