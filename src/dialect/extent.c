/*
 * dialect/extent.c
 *	  Where in the text an expression begins and ends.
 *
 * PostgreSQL's nodes know one place each: where they begin, or where their
 * operator stands.  The extent of an expression is that of the tokens of all
 * nodes in it, closed at both ends where brackets stand half inside.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/nodeFuncs.h"

typedef struct Extent
{
	const Fragment *fragment;
	int			first;			/* tokens; first is -1 while there is none */
	int			last;
} Extent;

static bool extend_over(Node *node, Extent *extent);

/* Widens an extent by tokens. */
static void
extend(Extent *extent, int first, int last)
{
	if (extent->first < 0 || first < extent->first)
		extent->first = first;
	if (last > extent->last)
		extent->last = last;
}

/* The last token of a dotted name. */
static int
name_end(const Fragment *fragment, int i)
{
	while (fragment->tokens[i + 1].type == '.' && fragment->tokens[i + 2].type != TOKEN_END)
		i += 2;
	return i;
}

/* The last token of what begins with a name: its arguments and the clauses behind them. */
static int
call_end(const Fragment *fragment, int i)
{
	i = name_end(fragment, i);
	if (fragment->tokens[i + 1].type != '(')
		return i;
	/* f(...) WITHIN GROUP (...) FILTER (...) OVER (...) */
	i = mcs_dialect_closing_bracket(fragment->tokens, i + 1);
	if (mcs_dialect_word_is(fragment, i + 1, "WITHIN") && mcs_dialect_word_is(fragment, i + 2, "GROUP"))
		i = mcs_dialect_closing_bracket(fragment->tokens, i + 3);
	if (mcs_dialect_word_is(fragment, i + 1, "FILTER") && fragment->tokens[i + 2].type == '(')
		i = mcs_dialect_closing_bracket(fragment->tokens, i + 2);
	if (mcs_dialect_word_is(fragment, i + 1, "OVER"))
		i = fragment->tokens[i + 2].type == '(' ? mcs_dialect_closing_bracket(fragment->tokens, i + 2) : i + 2;
	return i;
}

/* The END of a CASE. */
static int
case_end(const Fragment *fragment, int i)
{
	int			depth = 0;

	for (; fragment->tokens[i].type != TOKEN_END; i++)
	{
		/* a field that is called end */
		if (i > 0 && fragment->tokens[i - 1].type == '.')
			continue;
		if (mcs_dialect_word_is(fragment, i, "CASE"))
			depth++;
		else if (mcs_dialect_word_is(fragment, i, "END") && --depth == 0)
			break;
	}
	return i;
}

/* The last token of a type's name: more words, modifiers, dimensions. */
static int
type_end(const Fragment *fragment, int i)
{
	static const char *const more[] = {"PRECISION", "VARYING", "WITH", "WITHOUT", "TIME", "ZONE", "YEAR", "MONTH", "DAY",
	"HOUR", "MINUTE", "SECOND", "TO", NULL};

	i = name_end(fragment, i);
	for (;;)
	{
		if (fragment->tokens[i + 1].type == '(' || fragment->tokens[i + 1].type == '[')
			i = mcs_dialect_closing_bracket(fragment->tokens, i + 1);
		else if (mcs_dialect_token_is_any(fragment->text, &fragment->tokens[i + 1], more))
			i++;
		else
			return i;
	}
}

/* The last token of steps behind an expression: [..], .name */
static int
steps_end(const Fragment *fragment, int i)
{
	for (;;)
	{
		if (fragment->tokens[i + 1].type == '[')
			i = mcs_dialect_closing_bracket(fragment->tokens, i + 1);
		else if (fragment->tokens[i + 1].type == '.')
			i += 2;
		else
			return i;
	}
}

/* The last token of IS NOT NULL and its like. */
static int
test_end(const Fragment *fragment, int i)
{
	static const char *const words[] = {"IS", "NOT", "NULL", "ISNULL", "NOTNULL", "TRUE", "FALSE", "UNKNOWN", NULL};

	while (i + 1 < fragment->token_count && mcs_dialect_token_is_any(fragment->text, &fragment->tokens[i + 1], words))
		i++;
	return i;
}

/* SubLinks stand at their word, their operator or their bracket: the sub-select's bracket comes next. */
static int
sublink_end(const Fragment *fragment, int i)
{
	while (fragment->tokens[i].type != '(' && fragment->tokens[i].type != TOKEN_END)
		i++;
	return mcs_dialect_closing_bracket(fragment->tokens, i);
}

/* The last token that belongs to a node by itself; i is the token it stands at. */
static int
own_end(const Fragment *fragment, Node *node, int i)
{
	switch (nodeTag(node))
	{
		case T_ColumnRef:
			return name_end(fragment, i);
		case T_CaseExpr:
			return case_end(fragment, i);
		case T_TypeName:
			return type_end(fragment, i);
		case T_SubLink:
			return sublink_end(fragment, i);
		case T_NullTest:
		case T_BooleanTest:
			return test_end(fragment, i);
		case T_A_Const:
			return fragment->tokens[i].type == '-' ? i + 1 : i;
		case T_A_ArrayExpr:
			return mcs_dialect_closing_bracket(fragment->tokens, fragment->tokens[i].type == '[' ? i : i + 1);
		case T_RowExpr:
			return fragment->tokens[i].type == '(' ? mcs_dialect_closing_bracket(fragment->tokens, i) : call_end(fragment, i);
		case T_CollateClause:
			return name_end(fragment, i + 1);
		case T_TypeCast:
			return fragment->tokens[i].type == TOKEN_CAST ? i : call_end(fragment, i);
		case T_A_Expr:
		case T_BoolExpr:
		case T_ParamRef:
			return i;
		default:
			return call_end(fragment, i);
	}
}

/* Widens an extent by steps and what they lead into, with the brackets around it. */
static void
extend_over_indirection(A_Indirection *node, Extent *extent)
{
	const Fragment *fragment = extent->fragment;
	Extent		inner = {fragment, -1, -1};
	int			opens = 0;

	(void) extend_over(node->arg, &inner);
	/* (d).a: over the brackets around it */
	while (inner.first > 0 && fragment->tokens[inner.first - 1].type == '(' && fragment->tokens[inner.last + 1].type == ')' &&
		   (fragment->tokens[inner.last + 2].type == '.' || fragment->tokens[inner.last + 2].type == '[' ||
			fragment->tokens[inner.last + 2].type == ')') && opens++ < 10)
	{
		inner.first--;
		inner.last++;
		if (fragment->tokens[inner.last + 1].type != ')')
			break;
	}
	if (inner.first >= 0)
		extend(extent, inner.first, steps_end(fragment, inner.last));
}

/*
 * The byte at which a node itself stands, -1 where it stands nowhere.  Not
 * exprLocation for all, which takes the leftmost place of some nodes' parts.
 */
static int
own_location(Node *node)
{
	switch (nodeTag(node))
	{
		case T_A_Expr:
			return ((A_Expr *) node)->location;
		case T_BoolExpr:
			return ((BoolExpr *) node)->location;
		case T_TypeCast:
			return ((TypeCast *) node)->location;
		case T_FuncCall:
			return ((FuncCall *) node)->location;
		case T_NullTest:
			return ((NullTest *) node)->location;
		case T_BooleanTest:
			return ((BooleanTest *) node)->location;
		case T_CollateClause:
			return ((CollateClause *) node)->location;
		case T_SubLink:
			return ((SubLink *) node)->location;
		case T_ResTarget:
		case T_List:
		case T_CaseWhen:
		case T_WindowDef:
		case T_SortBy:
			/* only what is in them counts */
			return -1;
		default:
			return exprLocation(node);
	}
}

/* Widens an extent by a node and all in it. */
static bool
extend_over(Node *node, Extent *extent)
{
	const Fragment *fragment = extent->fragment;
	int			location;

	if (node == NULL)
		return false;
	/* a stand-in is as large as what it stands for */
	node = mcs_dialect_original(fragment, node);
	/* a sub-select is over at its bracket, and a window's name may stand elsewhere */
	if (IsA(node, SelectStmt))
		return false;
	if (IsA(node, A_Indirection))
	{
		extend_over_indirection((A_Indirection *) node, extent);
		return false;
	}
	location = own_location(node);
	if (location >= 0 && location < fragment->size)
	{
		int			i = mcs_dialect_token_at(fragment, location);

		/* an operator that is written as words stands at its first one */
		if (fragment->tokens[i].at == location)
			extend(extent, i, own_end(fragment, node, i));
	}
	/* analysis may have put its own tree in the place of a sub-select */
	if (IsA(node, SubLink))
		return extend_over(((SubLink *) node)->testexpr, extent);
	/* then by all in it, wherever it stands */
	return raw_expression_tree_walker(node, extend_over, extent);
}

/* Whether a token opens (1) or closes (-1) a bracket. */
static int
bracket(const Fragment *fragment, int i)
{
	int			type = fragment->tokens[i].type;

	return type == '(' || type == '[' ? 1 : type == ')' || type == ']' ? -1 : 0;
}

/* Where an expression begins and ends, in bytes; false where it stands nowhere. */
bool
mcs_dialect_extent(const Fragment *fragment, Node *node, int *from, int *to)
{
	Extent		extent = {fragment, -1, -1};
	int			depth = 0;
	int			lowest = 0;

	(void) extend_over(node, &extent);
	if (extent.first < 0)
		return false;
	/* text that is no SQL may lack a bracket, and its token is the end then */
	extent.last = Min(extent.last, fragment->token_count - 1);
	for (int i = extent.first; i <= extent.last; i++)
	{
		depth += bracket(fragment, i);
		lowest = Min(lowest, depth);
	}
	/* brackets that close something from before, then those that are open still */
	for (int missing = -lowest; missing > 0 && extent.first > 0;)
		missing -= bracket(fragment, --extent.first);
	for (int missing = depth - lowest; missing > 0 && extent.last < fragment->token_count - 1;)
		missing += bracket(fragment, ++extent.last);
	*from = fragment->tokens[extent.first].at;
	*to = mcs_dialect_token_end(&fragment->tokens[extent.last]);
	return true;
}

/*
 * Where the operands of a binary operator begin and end, with the brackets
 * around them; the operator's tokens stand between before and behind.
 */
bool
mcs_dialect_operator_extent(const Fragment *fragment, Node *left, Node *right, int before, int behind, int *from, int *end)
{
	int			i;
	int			to;
	int			first;
	int			last;

	/* the extents leave out brackets around an operand, which belong to it here */
	if (!mcs_dialect_extent(fragment, left, from, &to) || !mcs_dialect_extent(fragment, right, &first, end))
		return false;
	for (i = mcs_dialect_token_at(fragment, to); i <= before; i++)
	{
		first = mcs_dialect_token_at(fragment, *from) - 1;
		if (fragment->tokens[i].type != ')' || first < 0)
			break;
		*from = fragment->tokens[first].at;
	}
	(void) mcs_dialect_extent(fragment, right, &first, end);
	for (; fragment->tokens[behind].at < first && fragment->tokens[behind].type == '('; behind++)
	{
		last = mcs_dialect_token_at(fragment, *end);
		*end = mcs_dialect_token_end(&fragment->tokens[last]);
	}
	return true;
}

/* Where a select item ends, with the brackets around what it holds. */
int
mcs_dialect_item_end(const Fragment *fragment, int from, int to)
{
	int			depth = 0;
	int			i;

	for (i = mcs_dialect_token_at(fragment, from); fragment->tokens[i].at < to && i < fragment->token_count; i++)
	{
		int			type = fragment->tokens[i].type;

		depth += type == '(' || type == '[' ? 1 : type == ')' || type == ']' ? -1 : 0;
	}
	for (; depth > 0 && i < fragment->token_count && fragment->tokens[i].type == ')'; depth--)
		to = mcs_dialect_token_end(&fragment->tokens[i++]);
	return to;
}
