/*
 * match/operand.c
 *	  Which column, or which part of a document, an expression is.
 *
 * All spellings of a path end in the same: the steps from the event's top to
 * the value.  document_get tries several paths; the value, if there is one,
 * stands at one of them, so a condition holds only if it holds at one of them.
 */
#include "mongo_change_stream.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

/* Bounds of what is sent. */
#define MAX_STEPS		50
#define MAX_KEY			1000
#define MAX_PATHS		16

/*
 * Fields of an event that extra has not, beside those with columns of their own:
 * splitEvent, and two by which MongoDB tells oplog entries from each other before
 * it makes events of them, which then are not the same (6.0: any write of a
 * session has a txnNumber, only events of a transaction show it).
 */
static const char *const no_extra_fields[] = {"splitEvent", "lsid", "txnNumber"};

/* What a function of a document, its first argument, makes of it. */
typedef struct DocumentFunction
{
	PGFunction	function;
	enum
	{
		REACH_STEP,				/* the value that is one step away */
		REACH_STEPS,			/* the value at the end of a text[] */
		REACH_GET,				/* the same, as the dialect reads it */
		REACH_NOWHERE			/* the value itself */
	}			reach;
	MatchOperandKind kind;		/* as what */
} DocumentFunction;

static const DocumentFunction document_functions[] = {
	{mcs_document_field, REACH_STEP, OPERAND_DOCUMENT},
	{mcs_document_field_text, REACH_STEP, OPERAND_PLAIN_TEXT},
	{mcs_document_element, REACH_STEP, OPERAND_DOCUMENT},
	{mcs_document_element_text, REACH_STEP, OPERAND_PLAIN_TEXT},
	{mcs_document_path, REACH_STEPS, OPERAND_DOCUMENT},
	{mcs_document_path_text, REACH_STEPS, OPERAND_PLAIN_TEXT},
	{mcs_document_get, REACH_GET, OPERAND_DOCUMENT},
	{mcs_document_text, REACH_NOWHERE, OPERAND_PLAIN_TEXT},
	{mcs_document_to_boolean, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_smallint, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_integer, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_bigint, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_numeric, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_real, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_double, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_timestamptz, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_timestamp, REACH_NOWHERE, OPERAND_CAST},
	{mcs_document_to_date, REACH_NOWHERE, OPERAND_CAST}
};

/* ---- steps ---- */

/* The constants of path steps as strings: a text or an integer; false for what is none. */
static bool
constant_step(Node *node, List **steps)
{
	Const	   *constant = (Const *) node;

	if (!IsA(node, Const) || constant->constisnull)
		return false;
	if (constant->consttype == TEXTOID)
		*steps = lappend(*steps, TextDatumGetCString(constant->constvalue));
	else if (constant->consttype == INT4OID)
		*steps = lappend(*steps, psprintf("%d", DatumGetInt32(constant->constvalue)));
	else
		return false;
	return true;
}

/* The elements of a constant text[]; false where there is a null among them. */
static bool
constant_steps(Node *node, List **steps)
{
	Const	   *constant = (Const *) node;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (!IsA(node, Const) || constant->constisnull || constant->consttype != TEXTARRAYOID)
		return false;
	/* one step more than can be sent is enough for add_step to refuse them all */
	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count && i <= MAX_STEPS; i++)
	{
		if (nulls[i])
			return false;
		*steps = lappend(*steps, TextDatumGetCString(elements[i]));
	}
	return true;
}

/* A path with one more step; NULL where a step can't be sent. */
static MatchPath *
add_step(const MatchPath *path, char *key)
{
	MatchPath  *longer = palloc(sizeof(MatchPath));
	size_t		digits;
	size_t		size = strlen(key);

	if (list_length(path->steps) >= MAX_STEPS || size > MAX_KEY)
		return NULL;
	*longer = *path;
	longer->steps = lappend(list_copy(path->steps), key);
	if (key[0] == '\0' || key[0] == '$' || strchr(key, '.'))
		longer->literal = true;
	/* MongoDB reads 0, 1, 2 … as positions, but counts none from the end, and knows no 01 */
	digits = strspn(key + (key[0] == '-' || key[0] == '+'), "0123456789");
	if (digits > 0 && digits + (key[0] == '-' || key[0] == '+') == size)
	{
		if (digits != size || size > 9 || (key[0] == '0' && size > 1))
			return NULL;
		longer->has_index = true;
	}
	return longer;
}

/* Adds steps that are taken one by one. */
static MatchPath *
add_steps(const MatchPath *path, List *steps)
{
	MatchPath  *longer = (MatchPath *) path;
	ListCell   *cell;

	foreach(cell, steps)
	{
		longer = add_step(longer, lfirst(cell));
		if (!longer)
			return NULL;
	}
	return longer;
}

/* ---- the paths of document_get ---- */

static bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* user_id as userId, by the rules of document/path.c: NULL where that is the same. */
static char *
camel_case(const char *key)
{
	size_t		size = strlen(key);
	char	   *camel = palloc(size + 1);
	char	   *to = camel;

	for (size_t i = 0; i < size; i++)
	{
		if (key[i] == '_' && i > 0 && i + 1 < size && is_alphanumeric(key[i - 1]) && is_alphanumeric(key[i + 1]))
			*to++ = pg_ascii_toupper((unsigned char) key[++i]);
		else
			*to++ = key[i];
	}
	*to = '\0';
	return strlen(camel) == size ? NULL : camel;
}

/* Steps joined by dots. */
static char *
joined(List *steps)
{
	StringInfoData key;
	ListCell   *cell;

	initStringInfo(&key);
	foreach(cell, steps)
		appendStringInfo(&key, "%s%s", foreach_current_index(cell) == 0 ? "" : ".", (char *) lfirst(cell));
	return key.data;
}

/* A step that holds dots taken as a path, and the steps behind it. */
static List *
split(const char *key, List *rest)
{
	List	   *steps = NIL;
	const char *dot;

	while ((dot = strchr(key, '.')) != NULL)
	{
		steps = lappend(steps, pnstrdup(key, dot - key));
		key = dot + 1;
	}
	steps = lappend(steps, pstrdup(key));
	return list_concat(steps, list_copy(rest));
}

/* Collects the paths that document_get may follow; false where they are too many or one can't be sent. */
static bool
get_paths(const MatchPath *path, List *steps, List **paths)
{
	List	   *keys = NIL;
	char	   *first;
	ListCell   *cell;
	int			camel_at;

	check_stack_depth();
	if (steps == NIL)
	{
		*paths = lappend(*paths, (void *) path);
		return list_length(*paths) <= MAX_PATHS;
	}
	first = linitial(steps);
	/* the first step alone, then all of them as one key; each as it is and in camel case */
	/* in the order of document_get, though here only which paths there are matters */
	keys = list_make2(first, camel_case(first));
	if (list_length(steps) > 1)
	{
		keys = lappend(keys, joined(steps));
		keys = lappend(keys, camel_case(joined(steps)));
	}
	camel_at = 2;
	foreach(cell, keys)
	{
		bool		is_first = foreach_current_index(cell) < camel_at;
		MatchPath  *longer;

		if (lfirst(cell) == NULL)
			continue;
		longer = add_step(path, lfirst(cell));
		if (!longer || !get_paths(longer, is_first ? list_copy_tail(steps, 1) : NIL, paths))
			return false;
	}
	return strchr(first, '.') == NULL || get_paths(path, split(first, list_copy_tail(steps, 1)), paths);
}

/* ---- operands ---- */

static bool take_operand(const MatchRelation *relation, Expr *expr, MatchOperand *operand);

/* Takes a column of the relation. */
static bool
take_column(const MatchRelation *relation, const Var *var, MatchOperand *operand)
{
	MatchPath  *path;

	/* no system column and no whole row, nor a Var of a query around */
	if (var->varno != relation->varno || var->varlevelsup != 0 || var->varattno <= 0 ||
		var->varattno > relation->natts || relation->columns[var->varattno - 1] < 0)
		return false;
	operand->column = relation->columns[var->varattno - 1];
	operand->type = var->vartype;
	switch (mcs_event_columns[operand->column].type)
	{
		case TEXTOID:
			operand->kind = OPERAND_TEXT;
			return true;
		case TEXTARRAYOID:
			operand->kind = OPERAND_FIELDS;
			return true;
		case TIMESTAMPTZOID:
			operand->kind = OPERAND_TIME;
			return true;
		case InvalidOid:		/* document */
			operand->kind = OPERAND_DOCUMENT;
			path = palloc0(sizeof(MatchPath));
			/* extra is none of the event's fields: its own are on the top */
			if (operand->column != EVENT_EXTRA)
			{
				path->steps = list_make1((void *) mcs_event_columns[operand->column].path);
				path->column_steps = 1;
			}
			operand->paths = list_make1(path);
			return true;
		default:
			return false;
	}
}

/* Lengthens an operand's paths by constant steps. */
static bool
reach(MatchOperand *operand, List *steps, bool as_get)
{
	List	   *paths = NIL;
	ListCell   *cell;

	foreach(cell, operand->paths)
	{
		MatchPath  *longer;

		if (as_get)
		{
			if (!get_paths(lfirst(cell), steps, &paths))
				return false;
			continue;
		}
		longer = add_steps(lfirst(cell), steps);
		if (!longer)
			return false;
		paths = lappend(paths, longer);
	}
	operand->paths = paths;
	return true;
}

/* Takes a function of a document. */
static bool
take_function(const MatchRelation *relation, Oid function, List *args, Oid type, MatchOperand *operand)
{
	PGFunction	called = args == NIL ? NULL : mcs_extension_function(function);
	List	   *steps = NIL;

	for (int i = 0; called && i < lengthof(document_functions); i++)
	{
		const DocumentFunction *known = &document_functions[i];

		if (called != known->function)
			continue;
		/* a document of a column or of a path into one; text and casts end a path */
		if (!take_operand(relation, linitial(args), operand) || operand->kind != OPERAND_DOCUMENT)
			return false;
		if (known->reach == REACH_STEP ? !constant_step(lsecond(args), &steps) :
			known->reach != REACH_NOWHERE && !constant_steps(lsecond(args), &steps))
			return false;
		operand->kind = known->kind;
		operand->type = type;
		return reach(operand, steps, known->reach == REACH_GET);
	}
	return false;
}

/* Whether a cast between numbers or times only rounds, and numbers not before the point. */
static bool
only_rounds(const FuncExpr *expr)
{
	Const	   *typmod;

	/* abs(x) or ceil(x) takes and returns a number, too: what is written as a call need not be a cast */
	if (expr->funcid >= FirstNormalObjectId || expr->funcformat == COERCE_EXPLICIT_CALL)
		return false;
	/* from one type to another; else from a type to itself, with a type modifier */
	if (list_length(expr->args) == 1)
		return true;
	typmod = lsecond(expr->args);
	if (!IsA(typmod, Const) || typmod->constisnull || typmod->consttype != INT4OID)
		return false;
	/* of numeric's type modifier, the last 11 bits are the scale, and it may be negative */
	return expr->funcresulttype != NUMERICOID ||
		(((DatumGetInt32(typmod->constvalue) - VARHDRSZ) & 0x7FF) ^ 1024) >= 1024;
}

/* Takes a cast of a number or time that is itself made of a document's value. */
static bool
take_cast(const MatchRelation *relation, FuncExpr *expr, MatchOperand *operand)
{
	Oid			from = list_length(expr->args) > 0 ? exprType(linitial(expr->args)) : InvalidOid;

	if (!mcs_match_can_recast(from, expr->funcresulttype) || !only_rounds(expr) ||
		!take_operand(relation, linitial(expr->args), operand) || operand->kind != OPERAND_CAST)
		return false;
	operand->rounds = true;
	operand->type = expr->funcresulttype;
	return true;
}

/* Takes a cast of a value's plain text. */
static bool
take_text_cast(const MatchRelation *relation, CoerceViaIO *expr, MatchOperand *operand)
{
	if (!mcs_match_can_cast(expr->resulttype) || !take_operand(relation, expr->arg, operand) ||
		operand->kind != OPERAND_PLAIN_TEXT)
		return false;
	operand->kind = OPERAND_CAST;
	operand->type = expr->resulttype;
	operand->of_text = true;
	return true;
}

/* document['a']['b'] */
static bool
take_subscripts(const MatchRelation *relation, SubscriptingRef *expr, MatchOperand *operand)
{
	List	   *steps = NIL;
	ListCell   *cell;

	/* neither an assignment nor a slice */
	if (expr->refassgnexpr || expr->reflowerindexpr || !take_operand(relation, expr->refexpr, operand) ||
		operand->kind != OPERAND_DOCUMENT)
		return false;
	foreach(cell, expr->refupperindexpr)
		if (!lfirst(cell) || !constant_step(lfirst(cell), &steps))
			return false;
	return reach(operand, steps, false);
}

/* What an expression is, no matter whether it can be sent. */
static bool
take_operand(const MatchRelation *relation, Expr *expr, MatchOperand *operand)
{
	check_stack_depth();
	memset(operand, 0, sizeof(*operand));
	/* varchar and text are the same bytes */
	while (expr && IsA(expr, RelabelType))
		expr = ((RelabelType *) expr)->arg;
	if (!expr)
		return false;
	switch (nodeTag(expr))
	{
		case T_Var:
			return take_column(relation, (Var *) expr, operand);
		case T_OpExpr:
			set_opfuncid((OpExpr *) expr);
			return take_function(relation, ((OpExpr *) expr)->opfuncid, ((OpExpr *) expr)->args,
								 ((OpExpr *) expr)->opresulttype, operand);
		case T_FuncExpr:
			return take_function(relation, ((FuncExpr *) expr)->funcid, ((FuncExpr *) expr)->args,
								 ((FuncExpr *) expr)->funcresulttype, operand) ||
				take_cast(relation, (FuncExpr *) expr, operand);
		case T_CoerceViaIO:
			return take_text_cast(relation, (CoerceViaIO *) expr, operand);
		case T_SubscriptingRef:
			return take_subscripts(relation, (SubscriptingRef *) expr, operand);
		default:
			return false;
	}
}

/* Whether a path leads to what is not in extra, or can't be asked for. */
static bool
leaves_extra(const MatchPath *path)
{
	if (path->steps == NIL)
		return true;
	for (int i = 0; i < lengthof(no_extra_fields); i++)
		if (strcmp(linitial(path->steps), no_extra_fields[i]) == 0)
			return true;
	return mcs_event_has_column_for(linitial(path->steps));
}

/* Whether MongoDB can find an operand's value. */
static bool
can_reach(const MatchOperand *operand)
{
	ListCell   *cell;

	foreach(cell, operand->paths)
	{
		MatchPath  *path = lfirst(cell);

		/* what may be a position can't be told to $getField */
		if ((path->literal && path->has_index) || (operand->column == EVENT_EXTRA && leaves_extra(path)))
			return false;
	}
	return true;
}

/* What an expression is; false where it is nothing that can be sent. */
bool
mcs_match_operand(const MatchRelation *relation, Expr *expr, MatchOperand *operand)
{
	return take_operand(relation, expr, operand) && can_reach(operand);
}
