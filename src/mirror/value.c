/*
 * mirror/value.c
 *	  Values of documents as a mirror's columns have them.
 *
 * A value gets to the column's base type by an explicit cast, and then to its
 * length and domain by assignment, so that what is too long is an error and
 * never cut.  Documents become texts as plain text, never as Extended JSON; and
 * so they get to types that no cast of theirs leads to, as enums or inet.  BSON's
 * null is SQL's.
 *
 * Casts can be the owner's code, as expressions are: all of this runs as him.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mirror/mirror_internal.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

/* ---- casts ---- */

/* Stands for a value that is put into the expression context, as in CASE. */
static Node *
placeholder(Oid type)
{
	CaseTestExpr *test = makeNode(CaseTestExpr);

	test->typeId = type;
	test->typeMod = -1;
	test->collation = get_typcollation(type);
	return (Node *) test;
}

/* A call of one of the extension's own functions on documents, whose argument is of one type. */
static Node *
call(const char *function, Node *argument, Oid argument_type, Oid result)
{
	List	   *name = list_make2(makeString(get_namespace_name(mcs_extension_schema())), makeString(pstrdup(function)));
	Oid			oid = LookupFuncName(name, 1, &argument_type, false);

	return (Node *) makeFuncExpr(oid, result, list_make1(argument), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
cast(Node *value, Oid from, Oid to)
{
	return coerce_to_target_type(NULL, value, from, to, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
}

static bool
is_text(Oid type)
{
	return TypeCategory(type) == TYPCATEGORY_STRING || type == CHAROID;
}

/* A document as a base type; NULL where nothing leads there. */
static Node *
cast_document(Node *value, Oid to)
{
	Oid			document = mcs_extension_document();
	Node	   *result;

	if (to == document)
		return value;
	if (!is_text(to))
	{
		result = cast(value, document, to);
		/* element after element, by the text of each */
		if (result == NULL && OidIsValid(get_element_type(to)))
			result = cast(cast(value, document, TEXTARRAYOID), TEXTARRAYOID, to);
		if (result)
			return result;
	}
	return cast(call("document_text", value, document, TEXTOID), TEXTOID, to);
}

/* A value of any type as a base type; NULL where nothing leads there. */
static Node *
cast_value(Node *value, Oid from, Oid to)
{
	Oid			document = mcs_extension_document();
	Oid			element = get_base_element_type(from);

	if (getBaseType(from) == document)
		return cast_document(from == document ? value : cast(value, from, document), to);
	/* so that their elements become texts as documents do */
	if (OidIsValid(element) && getBaseType(element) == document && to != from)
		return cast_document(call("to_document", value, ANYELEMENTOID, document), to);
	return cast(value, from, to);
}

static ExprState *
compile(Node *expression)
{
	/* the cast was not parsed, so nobody has done it */
	assign_expr_collations(NULL, expression);
	return ExecInitExpr(expression_planner((Expr *) expression), NULL);
}

/* How many bytes a type holds that cuts whatever is longer; 0: it does not. */
static int
most_bytes(Oid type)
{
	return type == NAMEOID ? NAMEDATALEN - 1 : type == CHAROID ? 1 : 0;
}

void
mcs_mirror_value_prepare(MirrorTable *table, TableColumn *column, Oid from)
{
	Oid			to;
	Node	   *value = NULL;

	column->most = most_bytes(column->base);
	column->from_document = getBaseType(from) == mcs_extension_document();
	to = column->most ? TEXTOID : column->base;
	if (from == column->type && column->typmod < 0)
		return;
	value = cast_value(placeholder(from), from, to);
	/* as an assignment, so that what is too long is an error */
	if (value && !column->most)
		value = coerce_to_target_type(NULL, value, column->base, column->type, column->typmod,
									  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("column \"%s\" has type %s, to which nothing leads from %s", column->name,
						format_type_be(column->type), format_type_be(from)),
				 errhint("Let the expression of the column give a value of its type.")));
	column->conversion = compile(value);
	if (column->most)
		column->fixed = compile(coerce_to_target_type(NULL, cast(placeholder(TEXTOID), TEXTOID, column->base), column->base,
													  column->type, column->typmod,
													  COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1));
}

/* ---- values ---- */

/* Whether a document says that there is no value. */
static bool
is_null_document(Datum value)
{
	Document   *document = DatumGetDocumentP(value);

	return VARSIZE_ANY_EXHDR(document) >= 1 &&
		(DOCUMENT_TYPE(document) == DOCUMENT_NULL || DOCUMENT_TYPE(document) == DOCUMENT_UNDEFINED);
}

static Datum
evaluate(MirrorTable *table, ExprState *state, Datum value, bool *isnull)
{
	table->econtext->caseValue_datum = value;
	table->econtext->caseValue_isNull = *isnull;
	return ExecEvalExprSwitchContext(state, table->econtext, isnull);
}

/* A value that lasts in the current memory context; never one that is stored elsewhere. */
static Datum
copy_value(const TableColumn *column, Datum value)
{
	if (column->length == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, column->by_value, column->length);
}

Datum
mcs_mirror_value_convert(MirrorTable *table, const TableColumn *column, Datum value, bool *isnull)
{
	if (!*isnull && column->from_document)
		*isnull = is_null_document(value);
	if (*isnull)
		return (Datum) 0;
	if (column->conversion)
		value = evaluate(table, column->conversion, value, isnull);
	if (!*isnull && column->most)
	{
		if (VARSIZE_ANY_EXHDR(DatumGetPointer(value)) > column->most)
			ereport(ERROR,
					(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
					 errmsg("value too long for type %s", format_type_be(column->base))));
		value = evaluate(table, column->fixed, value, isnull);
	}
	if (!*isnull && column->as_text)
		value = CStringGetTextDatum(OutputFunctionCall(unconstify(FmgrInfo *, &column->out), value));
	else if (!*isnull)
		value = copy_value(column, value);
	return value;
}

/* Whether a number or a date is not the same any more as the column has it. */
static bool
has_changed(const TableColumn *column, const DocumentValue *id, Datum value)
{
	char		category = TypeCategory(column->base);
	DocumentBuilder builder;
	DocumentValue now;

	if (column->as_text || !((category == TYPCATEGORY_NUMERIC && id->type != DOCUMENT_STRING) ||
							 (category == TYPCATEGORY_DATETIME && id->type == DOCUMENT_DATE)))
		return false;
	mcs_document_build(&builder);
	mcs_document_append_datum(&builder, NULL, value, false, column->base, mcs_extension_document());
	now = mcs_document_value(mcs_document_finish(&builder));
	return mcs_document_compare(id, &now) != 0;
}

Datum
mcs_mirror_value_of_id(MirrorTable *table, const DocumentValue *id)
{
	const TableColumn *column = &table->columns[0];
	Document   *document = mcs_document_make(id->type, id->data, id->size);
	bool		isnull = false;
	Datum		value;

	if (table->id_is_document)
		return DocumentPGetDatum(document);
	value = mcs_mirror_value_convert(table, column, DocumentPGetDatum(document), &isnull);
	/* a cast may round, and then two documents would be one row */
	if (isnull || has_changed(column, id, value))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s has no value for this _id", format_type_be(column->type))));
	return value;
}

Datum
mcs_mirror_value_array(const TableColumn *column, Datum *values, bool *nulls, int count)
{
	int			low = 1;

	if (column->as_text)
		return PointerGetDatum(construct_md_array(values, nulls, 1, &count, &low, TEXTOID, -1, false, TYPALIGN_INT));
	return PointerGetDatum(construct_md_array(values, nulls, 1, &count, &low, column->base,
											  column->length, column->by_value, column->align));
}
