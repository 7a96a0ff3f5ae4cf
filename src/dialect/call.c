/*
 * dialect/call.c
 *	  Function calls with documents among their arguments.
 *
 * A function that takes documents gets them.  For any other, the candidate of
 * its name that needs the likeliest casts is chosen, text before numbers
 * before times, and the documents are cast to what it takes.
 *
 * Some functions have a meaning of their own in the dialect.  A new one is a
 * row of the table meanings, and a function that changes the call: the text by
 * edits, and the node for the analysis that follows.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* One argument, given by position or by name, or as ORDER BY of an ordered-set aggregate. */
typedef struct Argument
{
	Node	  **slot;
	Node	   *raw;
	Node	   *expression;
	Oid			type;
	bool		document;
} Argument;

typedef struct Call
{
	ParseState *pstate;
	Fragment   *fragment;
	FuncCall   *node;
	const char *name;			/* of a function that is not of a user's schema, else NULL */
	int			token;			/* where the name stands */
	int			count;
	Argument   *arguments;
	List	   *names;			/* of the last arguments */
	bool		documents;		/* among the arguments */
} Call;

/* Analyses the arguments and holds them. */
static void
transform_arguments(Call *call)
{
	FuncCall   *node = call->node;
	int			room = list_length(node->args) + list_length(node->agg_order);
	ListCell   *cell;

	call->arguments = palloc0(sizeof(Argument) * (room + 1));
	foreach(cell, node->args)
	{
		Argument   *argument = &call->arguments[call->count++];

		argument->slot = (Node **) &lfirst(cell);
		if (IsA(lfirst(cell), NamedArgExpr))
		{
			NamedArgExpr *named = lfirst(cell);

			argument->slot = (Node **) &named->arg;
			call->names = lappend(call->names, named->name);
		}
	}
	/* percentile_cont(...) WITHIN GROUP (ORDER BY x): x is an argument for the choice of the function */
	if (node->agg_within_group)
		foreach(cell, node->agg_order)
			call->arguments[call->count++].slot = &lfirst_node(SortBy, cell)->node;
	for (int i = 0; i < call->count; i++)
	{
		Argument   *argument = &call->arguments[i];

		/* the raw node is kept, as edits go by the place where it stands */
		argument->raw = *argument->slot;
		argument->expression = mcs_dialect_transform_operand(call->pstate, argument->slot);
		argument->type = argument->expression ? exprType(argument->expression) : InvalidOid;
		argument->document = argument->type == call->fragment->document;
		call->documents |= argument->document;
	}
}

/* Puts another expression in the place of an argument. */
static void
set_argument(Call *call, Argument *argument, Node *expression)
{
	argument->expression = expression;
	argument->type = exprType(expression);
	argument->document = argument->type == call->fragment->document;
	*argument->slot = mcs_dialect_analysed_param(call->fragment, expression, -1);
}

/* Casts an argument that is a document, in the text and in the tree. */
static void
cast_argument(Call *call, Argument *argument, Oid type)
{
	set_argument(call, argument, mcs_dialect_cast_document(call->pstate, argument->raw, argument->expression, type));
}

/*
 * Analyses what OVER partitions and orders by.  PostgreSQL looks at the second
 * of two equal windows no more, but both have to be translated.
 */
static void
transform_window(ParseState *pstate, WindowDef *window)
{
	ParseExprKind kind = pstate->p_expr_kind;
	ListCell   *cell;

	if (!window)
		return;
	pstate->p_expr_kind = EXPR_KIND_WINDOW_PARTITION;
	foreach(cell, window->partitionClause)
		(void) mcs_dialect_transform_operand(pstate, (Node **) &lfirst(cell));
	pstate->p_expr_kind = EXPR_KIND_WINDOW_ORDER;
	foreach(cell, window->orderClause)
		(void) mcs_dialect_transform_operand(pstate, &lfirst_node(SortBy, cell)->node);
	pstate->p_expr_kind = kind;
}

/* Gives the call another function of the extension. */
static void
rename_call(Call *call, const char *name)
{
	DialectToken *first = &call->fragment->tokens[call->token];
	DialectToken *last = first;

	while ((last + 1)->type == '.')
		last += 2;
	mcs_dialect_edit(call->fragment, EDIT_REPLACE, first->at, mcs_dialect_token_end(last), mcs_dialect_function_name(call->fragment->namespace, name));
	call->node->funcname = list_make2(makeString(get_namespace_name(call->fragment->namespace)), makeString(pstrdup(name)));
	call->node->funcformat = COERCE_EXPLICIT_CALL;
}

/* ---- choosing a candidate ---- */

/* How unlikely it is that a document is meant as a type; -1: it cannot be. */
static int
document_rank(const Call *call, Oid type)
{
	if (type == call->fragment->document)
		return 0;
	if (type == ANYOID || type == ANYELEMENTOID || type == ANYNONARRAYOID || type == ANYCOMPATIBLEOID || type == ANYCOMPATIBLENONARRAYOID)
		return 1;
	/* text itself is likelier than its relatives */
	if (type == VARCHAROID || type == BPCHAROID || type == NAMEOID)
		return 25;
	/* apart by ten, so that one unlikely cast weighs more than many arguments that need none */
	for (int i = 0; OidIsValid(mcs_dialect_cast_types[i]); i++)
		if (mcs_dialect_cast_types[i] == type)
			return 20 + 10 * i;
	return -1;
}

/* How much a candidate asks for; -1: it does not take these arguments. */
static int
candidate_rank(const Call *call, FuncCandidateList candidate)
{
	int			rank = 0;
	Oid			common = InvalidOid;

	if (candidate->nargs < call->count)
		return -1;
	for (int i = 0; i < call->count; i++)
	{
		const Argument *argument = &call->arguments[i];
		Oid			declared = candidate->args[i];
		int			part;

		if (argument->document)
		{
			part = document_rank(call, declared);
			if (part < 0)
				return -1;
			rank += part;
		}
		else if (OidIsValid(argument->type) && argument->type != declared)
		{
			if (!can_coerce_type(1, &argument->type, &declared, COERCION_IMPLICIT))
				return -1;
			rank += argument->type == UNKNOWNOID ? 0 : 1;
		}
		/* all anycompatible are of one type */
		if (declared == ANYCOMPATIBLEOID || declared == ANYELEMENTOID)
		{
			if (OidIsValid(common) && argument->type != common && argument->type != UNKNOWNOID)
				return -1;
			if (argument->type != UNKNOWNOID)
				common = argument->type;
		}
	}
	return rank;
}

/* The candidate that asks for the least; the first of several, so that the order of the search path decides. */
static FuncCandidateList
best_candidate(const Call *call, FuncCandidateList candidates)
{
	FuncCandidateList best = NULL;
	int			best_rank = -1;

	for (; candidates; candidates = candidates->next)
	{
		int			rank;

		/* several that differ in their defaults only, which PostgreSQL does not choose among */
		if (!OidIsValid(candidates->oid))
			continue;
		rank = candidate_rank(call, candidates);
		if (rank >= 0 && (best == NULL || rank < best_rank))
		{
			best = candidates;
			best_rank = rank;
		}
	}
	return best;
}

/* Finds the function's best candidate, in the extension's schema where the session finds none. */
static FuncCandidateList
find_candidate(Call *call)
{
	List	   *name = call->node->funcname;
	char	   *schema = get_namespace_name(call->fragment->namespace);
	FuncCandidateList best = best_candidate(call, FuncnameGetCandidates(name, call->count, call->names, true, true, false, true));
	FuncCandidateList ours;

	/* a schema that is given says which function is meant */
	if (list_length(name) != 1)
		return best;
	/* sum(document) of a schema that is not on the search path */
	name = list_make2(makeString(schema), linitial(name));
	ours = best_candidate(call, FuncnameGetCandidates(name, call->count, call->names, true, true, false, true));
	/* on a par PostgreSQL's own wins, as the text need not change for it */
	if (!ours || (best && candidate_rank(call, best) <= candidate_rank(call, ours)))
		return best;
	mcs_dialect_edit(call->fragment, EDIT_OPEN, call->fragment->tokens[call->token].at, call->fragment->tokens[call->token].at,
					 psprintf("%s.", quote_identifier(schema)));
	call->node->funcname = name;
	return ours;
}

/* Casts documents to what the chosen candidate takes. */
static void
cast_arguments(Call *call)
{
	FuncCandidateList candidate = find_candidate(call);

	/* no function takes these: analysis says so better than we could */
	if (!candidate)
		return;
	for (int i = 0; i < call->count; i++)
	{
		Oid			declared = candidate->args[i];

		if (call->arguments[i].document && document_rank(call, declared) > 1)
			cast_argument(call, &call->arguments[i], declared);
	}
}

/* ---- functions with a meaning of their own ---- */

/* EXTRACT(f FROM document) */
static void
extract(Call *call)
{
	Fragment   *fragment = call->fragment;
	DialectToken *field = &fragment->tokens[call->token + 2];
	char	   *name;

	if (call->count != 2 || !call->arguments[1].document || !mcs_dialect_word_is(fragment, call->token + 3, "FROM"))
		return;
	/* by the token: the grammar has made a constant of it, folded */
	name = field->value ? pstrdup(field->value) : pnstrdup(fragment->text + field->at, field->length);
	mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[call->token].at, fragment->tokens[call->token + 4].at,
					 psprintf("%s(%s, ", mcs_dialect_function_name(fragment->namespace, "date_part"), quote_literal_cstr(name)));
	call->node->funcname = list_make2(makeString(get_namespace_name(fragment->namespace)), makeString("date_part"));
	call->node->funcformat = COERCE_EXPLICIT_CALL;
}

/* TIME_WINDOW('5 minutes', t): date_bin, aligned to the epoch */
static void
time_window(Call *call)
{
	Fragment   *fragment = call->fragment;
	int			close = mcs_dialect_closing_bracket(fragment->tokens, call->token + 1);
	TypeCast   *origin = makeNode(TypeCast);
	A_Const    *epoch = makeNode(A_Const);

	if (call->count != 2)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("TIME_WINDOW takes a length and a time"),
				 errhint("For example TIME_WINDOW('5 minutes', cluster_time)."),
				 mcs_dialect_error_at(fragment, fragment->tokens[call->token].at)));
	if (call->arguments[1].document)
		cast_argument(call, &call->arguments[1], TIMESTAMPTZOID);
	if (call->arguments[0].document)
		cast_argument(call, &call->arguments[0], INTERVALOID);
	mcs_dialect_edit(fragment, EDIT_REPLACE, fragment->tokens[call->token].at, mcs_dialect_token_end(&fragment->tokens[call->token]), "date_bin");
	mcs_dialect_edit(fragment, EDIT_CLOSE, fragment->tokens[close].at, fragment->tokens[close].at, ", timestamptz 'epoch'");
	/* the same in the tree, for the columns of what is around */
	epoch->val.sval.type = T_String;
	epoch->val.sval.sval = "epoch";
	epoch->location = -1;
	origin->arg = (Node *) epoch;
	origin->typeName = SystemTypeName("timestamptz");
	origin->location = -1;
	call->node->funcname = list_make1(makeString("date_bin"));
	call->node->args = list_make3(linitial(call->node->args), lsecond(call->node->args), origin);
}

/* ROUND(x, n) of a double precision */
static void
round_double(Call *call)
{
	Oid			type = call->arguments[0].type;

	if (call->count != 2 || (type != FLOAT8OID && type != FLOAT4OID))
		return;
	cast_argument(call, &call->arguments[0], NUMERICOID);
}

/* STRING_AGG over a text array */
static void
string_agg(Call *call)
{
	Fragment   *fragment = call->fragment;
	Oid			type = call->count == 2 ? call->arguments[0].type : InvalidOid;

	if (type != TEXTARRAYOID && type != get_array_type(VARCHAROID))
		return;
	if (call->arguments[1].document)
		cast_argument(call, &call->arguments[1], TEXTOID);
	rename_call(call, call->node->agg_distinct ? "string_agg_distinct_elements" : "string_agg_elements");
	if (!call->node->agg_distinct)
		return;
	/* our aggregate drops duplicates itself: DISTINCT would compare whole arrays */
	call->node->agg_distinct = false;
	for (int i = call->token + 1; i < fragment->token_count; i++)
	{
		if (!mcs_dialect_word_is(fragment, i, "DISTINCT"))
			continue;
		mcs_dialect_remove_tokens(fragment, i, i + 1);
		break;
	}
}

/* LAG(document, 1, 0): the value and its stand-in are of one type */
static void
lag_default(Call *call)
{
	if (call->count != 3 || call->arguments[0].document == call->arguments[2].document)
		return;
	/* PostgreSQL's lag() takes one type for both, and casts neither */
	for (int i = 0; i < 3; i += 2)
		if (!call->arguments[i].document)
			set_argument(call, &call->arguments[i],
						 mcs_dialect_as_document(call->pstate, call->arguments[i].raw, call->arguments[i].expression));
}

/* TO_CHAR(document, format): what it is can be seen by the format */
static void
to_char(Call *call)
{
	static const char *const dates[] = {"YY", "MM", "DD", "HH", "MI", "SS", "Mon", "MON", "mon", "Day", "day", "DAY", "yy", "mm", "dd",
	"hh", "mi", "ss", "IW", "WW", "TZ", "Q", NULL};
	A_Const    *format = call->count == 2 ? (A_Const *) mcs_dialect_original(call->fragment, call->arguments[1].raw) : NULL;
	Oid			type = TIMESTAMPTZOID;

	if (!format || !call->arguments[0].document)
		return;
	/* a format that is not known before it runs is taken for one of times */
	if (mcs_dialect_is_literal(call->fragment, (Node *) format))
	{
		const char *text = strVal(&format->val);

		type = NUMERICOID;
		for (int i = 0; dates[i]; i++)
			if (strstr(text, dates[i]))
				type = TIMESTAMPTZOID;
	}
	cast_argument(call, &call->arguments[0], type);
}

/* Functions that print what they get: plain text of documents */
static void
plain_text(Call *call)
{
	for (int i = 0; i < call->count; i++)
		if (call->arguments[i].document)
			cast_argument(call, &call->arguments[i], TEXTOID);
}

/* Whether a call goes to PostgreSQL's function of a name, in any case of letters. */
static const char *
builtin_name(FuncCall *node)
{
	if (list_length(node->funcname) == 1)
		return strVal(linitial(node->funcname));
	if (list_length(node->funcname) == 2 && strcmp(strVal(linitial(node->funcname)), "pg_catalog") == 0)
		return strVal(lsecond(node->funcname));
	return NULL;
}

/* JSON_BUILD_OBJECT(...): a document, as PostgreSQL's would write documents as text in quotes */
static void
build_object(Call *call)
{
	rename_call(call, "document_build_object");
}

/* UNNEST(document): the elements of an array in it */
static void
unnest(Call *call)
{
	if (call->count == 1)
		rename_call(call, "document_elements");
	else
		cast_arguments(call);
}

/* What the dialect makes of PostgreSQL's functions, and of its own. */
static const struct
{
	const char *name;
	void		(*change) (Call *call);
	bool		of_documents;	/* only where one is among the arguments */
	bool		casts;			/* documents are cast as for any other function, too */
}			meanings[] = {
	{"concat", plain_text, true, false},
	{"concat_ws", plain_text, true, false},
	{"extract", extract, true, false},
	{"format", plain_text, true, false},
	{"json_build_object", build_object, false, false},
	{"lag", lag_default, true, false},
	{"lead", lag_default, true, false},
	{"round", round_double, false, true},
	{"string_agg", string_agg, false, true},
	{"time_window", time_window, false, false},
	{"to_char", to_char, true, false},
	{"unnest", unnest, true, false},
};

/* Changes a call whose arguments are analysed into what it means. */
static void
patch_call(Call *call)
{
	bool		casts = true;

	for (int i = 0; call->name && i < lengthof(meanings); i++)
	{
		if (strcmp(call->name, meanings[i].name) != 0)
			continue;
		casts = meanings[i].casts;
		if (call->documents || !meanings[i].of_documents)
			meanings[i].change(call);
		break;
	}
	if (casts && call->documents)
		cast_arguments(call);
}

/* Analyses what is in a call, of which the meaning depends. */
static void
begin_call(Call *call, ParseState *pstate, FuncCall *node)
{
	memset(call, 0, sizeof(Call));
	call->pstate = pstate;
	call->fragment = mcs_dialect_current;
	call->node = node;
	call->name = builtin_name(node);
	/* a call of ours has no place in the text */
	call->token = node->location >= 0 && node->location < call->fragment->size ? mcs_dialect_token_at(call->fragment, node->location) : 0;
	transform_arguments(call);
	transform_window(pstate, node->over);
}

/* The arguments of CALL, which is not analysed as an expression. */
void
mcs_dialect_transform_call_arguments(ParseState *pstate, FuncCall *node)
{
	Call		call;

	begin_call(&call, pstate, node);
	if (call.documents)
		cast_arguments(&call);
}

/* Analyses a function call whose arguments may be documents. */
Node *
mcs_dialect_transform_call(ParseState *pstate, FuncCall *node)
{
	Call		call;

	begin_call(&call, pstate, node);
	patch_call(&call);
	return transformExpr(pstate, (Node *) node, pstate->p_expr_kind);
}
