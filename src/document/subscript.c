/*
 * document/subscript.c
 *	  document['a']['b'][0]: reading and, in UPDATE, writing.
 *
 * A chain of subscripts is one path, so it walks the stored bytes once.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "document/document_internal.h"
#include "executor/execExpr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/subscripting.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_subscript_handler);

/* What one SubscriptingRef needs while it runs. */
typedef struct SubscriptWorkspace
{
	bool	   *is_integer;		/* by subscript: int4, else text */
	char	  (*digits)[12];	/* by subscript: an integer's text */
	DocumentStep *steps;		/* the path, good from check to fetch or assign */
} SubscriptWorkspace;

/* Makes one subscript an integer or a text. */
static Node *
transform_subscript(ParseState *pstate, Node *subscript)
{
	Node	   *expr = transformExpr(pstate, subscript, pstate->p_expr_kind);
	Oid			type = exprType(expr);
	Oid			target = type == INT2OID || type == INT4OID || type == INT8OID ? INT4OID : TEXTOID;

	/* not by assignment to text, which takes a value of any type */
	expr = coerce_to_target_type(pstate, expr, type, target, -1,
								 target == INT4OID ? COERCION_ASSIGNMENT : COERCION_IMPLICIT,
								 COERCE_IMPLICIT_CAST, -1);
	if (expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("subscript of type %s is not supported", format_type_be(type)),
				 errhint("A document's subscript is a text (a field) or an integer (an element)."),
				 parser_errposition(pstate, exprLocation(subscript))));
	return expr;
}

/* Parse analysis of a chain of subscripts. */
static void
transform(SubscriptingRef *sbsref, List *indirection, ParseState *pstate, bool isSlice, bool isAssignment)
{
	List	   *subscripts = NIL;
	ListCell   *cell;

	foreach(cell, indirection)
	{
		A_Indices  *index = lfirst_node(A_Indices, cell);

		if (isSlice)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("a document has no slices"),
					 parser_errposition(pstate, exprLocation(index->uidx ? index->uidx : index->lidx))));
		subscripts = lappend(subscripts, transform_subscript(pstate, index->uidx));
	}
	sbsref->refupperindexpr = subscripts;
	sbsref->reflowerindexpr = NIL;
	/* a part is a document, too; the parser converts to this what is assigned */
	sbsref->refrestype = sbsref->refcontainertype;
	sbsref->reftypmod = -1;
}

/* Turns the subscripts' values into the steps of a path; false if one is null. */
static bool
check_subscripts(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *sbsrefstate = op->d.sbsref_subscript.state;
	SubscriptWorkspace *workspace = sbsrefstate->workspace;

	for (int i = 0; i < sbsrefstate->numupper; i++)
	{
		DocumentStep *step = &workspace->steps[i];
		text	   *key;

		if (sbsrefstate->upperindexnull[i])
		{
			if (sbsrefstate->isassignment)
				ereport(ERROR,
						(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						 errmsg("a document's subscript in an assignment must not be null")));
			*op->resnull = true;
			return false;
		}
		if (workspace->is_integer[i])
		{
			step->key = workspace->digits[i];
			step->size = pg_ltoa(DatumGetInt32(sbsrefstate->upperindex[i]), workspace->digits[i]);
			continue;
		}
		key = DatumGetTextPP(sbsrefstate->upperindex[i]);
		step->key = VARDATA_ANY(key);
		step->size = VARSIZE_ANY_EXHDR(key);
	}
	return true;
}

/* Walks the path from a container that is not null. */
static Datum
fetch_value(SubscriptingRefState *sbsrefstate, Datum container, bool *isnull)
{
	SubscriptWorkspace *workspace = sbsrefstate->workspace;
	/* fetch_leakproof: a damaged document has no parts, and raises no error */
	DocumentValue value = mcs_document_take_any(DatumGetDocumentP(container));
	DocumentValue found;

	*isnull = !mcs_document_walk(&value, workspace->steps, sbsrefstate->numupper, &found) ||
		found.type == DOCUMENT_NULL;
	if (*isnull)
		return (Datum) 0;
	return DocumentPGetDatum(mcs_document_make(found.type, found.data, found.size));
}

/* Reads the value that the subscripts name. */
static void
fetch(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	*op->resvalue = fetch_value(op->d.sbsref.state, *op->resvalue, op->resnull);
}

/* Reads the old value for an assignment that needs it. */
static void
fetch_old(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *sbsrefstate = op->d.sbsref.state;

	sbsrefstate->prevnull = true;
	sbsrefstate->prevvalue = (Datum) 0;
	if (!*op->resnull)
		sbsrefstate->prevvalue = fetch_value(sbsrefstate, *op->resvalue, &sbsrefstate->prevnull);
}

/* Writes the value that the subscripts name; SQL NULL becomes null, and no document a new one. */
static void
assign(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *sbsrefstate = op->d.sbsref.state;
	SubscriptWorkspace *workspace = sbsrefstate->workspace;
	DocumentValue replacement = {DOCUMENT_NULL, NULL, 0};
	DocumentValue old;

	/* store_leakproof is false, so what is damaged may raise an error here */
	if (!sbsrefstate->replacenull)
		replacement = mcs_document_take(DatumGetDocumentP(sbsrefstate->replacevalue));
	if (!*op->resnull)
		old = mcs_document_take(DatumGetDocumentP(*op->resvalue));
	*op->resvalue = DocumentPGetDatum(mcs_document_set(*op->resnull ? NULL : &old, workspace->steps, workspace->is_integer,
													   sbsrefstate->numupper, &replacement));
	*op->resnull = false;
}

/* Sets up the execution of a chain of subscripts. */
static void
exec_setup(const SubscriptingRef *sbsref, SubscriptingRefState *sbsrefstate, SubscriptExecSteps *methods)
{
	int			count = list_length(sbsref->refupperindexpr);
	SubscriptWorkspace *workspace = palloc0(sizeof(SubscriptWorkspace));
	ListCell   *cell;

	/* made once, where the expression is initialised, and as long-lived as that */
	workspace->is_integer = palloc0(sizeof(bool) * count);
	workspace->digits = palloc0(sizeof(*workspace->digits) * count);
	workspace->steps = palloc0(sizeof(DocumentStep) * count);
	foreach(cell, sbsref->refupperindexpr)
		workspace->is_integer[foreach_current_index(cell)] = exprType(lfirst(cell)) == INT4OID;
	sbsrefstate->workspace = workspace;

	methods->sbs_check_subscripts = check_subscripts;
	methods->sbs_fetch = fetch;
	methods->sbs_assign = assign;
	methods->sbs_fetch_old = fetch_old;
}

/* document_subscript_handler(internal): what PostgreSQL needs to know about subscripts of this type */
Datum
mcs_document_subscript_handler(PG_FUNCTION_ARGS)
{
	static const SubscriptRoutines routines = {
		.transform = transform,
		.exec_setup = exec_setup,
		.fetch_strict = true,	/* null in, null out */
		.fetch_leakproof = true,
		.store_leakproof = false	/* what stands there may not have such a place */
	};

	PG_RETURN_POINTER(&routines);
}
