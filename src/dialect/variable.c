/*
 * dialect/variable.c
 *	  The variables of a PL/pgSQL block: their types, and what is assigned to
 *	  them by INTO.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#endif
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Adds a variable; the type InvalidOid is not known. */
void
mcs_variable_declare(Body *body, const char *name, Oid type, TupleDesc fields)
{
	DialectVariable *variable;

	if (name == NULL)
		return;
	/* appended, so that it hides an outer one of the name */
	variable = palloc0(sizeof(DialectVariable));
	variable->name = name;
	variable->type = type;
	variable->fields = fields;
	body->variables = lappend(body->variables, variable);
}

/* Gives a record the fields of a query; a variable that is no record keeps its type. */
void
mcs_variable_declare_record(Body *body, const char *name, List *targets)
{
	TupleDesc	fields = CreateTemplateTupleDesc(list_length(targets));
	ListCell   *cell;

	foreach(cell, body->variables)
	{
		DialectVariable *variable = lfirst(cell);

		/* declared with a type of rows: it says more than the query does */
		if (name && strcmp(variable->name, name) == 0 && OidIsValid(variable->type))
			return;
	}
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Oid			type = exprType((Node *) target->expr);

		TupleDescInitEntry(fields, foreach_current_index(cell) + 1, target->resname ? target->resname : "?column?",
						   type == UNKNOWNOID ? TEXTOID : type, -1, 0);
	}
	mcs_variable_declare(body, name, InvalidOid, fields);
}

/* A variable of the block; the innermost of a name. */
static const DialectVariable *
find_variable(const Body *body, const char *name)
{
	for (int i = list_length(body->variables) - 1; i >= 0; i--)
	{
		DialectVariable *variable = list_nth(body->variables, i);

		if (strcmp(variable->name, name) == 0)
			return variable;
	}
	return NULL;
}

/* The type of a relation's column, or of a variable: name%TYPE */
static Oid
type_of(const Body *body, int first, int end)
{
	const DialectVariable *variable;
	List	   *names = NIL;
	Oid			relid;
	AttrNumber	number;

	for (int i = first; i < end; i += 2)
		/* each second token is a dot */
		if (body->reader.tokens[i].value)
			names = lappend(names, makeString(body->reader.tokens[i].value));
	/* variable%TYPE */
	if (list_length(names) == 1)
	{
		variable = find_variable(body, strVal(linitial(names)));
		return variable ? variable->type : InvalidOid;
	}
	/* relation.column%TYPE, schema.relation.column%TYPE */
	if (names == NIL || list_length(names) > 3)
		return InvalidOid;
	/* no lock: the type is a guess that PL/pgSQL will make anew */
	relid = RangeVarGetRelid(makeRangeVarFromNameList(list_copy_head(names, list_length(names) - 1)), NoLock, true);
	number = OidIsValid(relid) ? get_attnum(relid, strVal(llast(names))) : InvalidAttrNumber;
	return number == InvalidAttrNumber ? InvalidOid : get_atttype(relid, number);
}

/* The type that tokens name; InvalidOid where it is a record's, or not known. */
Oid
mcs_variable_named_type(const Body *body, int first, int end)
{
	int			from = body->reader.tokens[first].at;
	Oid			type = InvalidOid;
	int32		typmod;
	char	   *name;

	if (end <= first || mcs_dialect_token_is(body->reader.source, &body->reader.tokens[first], "RECORD"))
		return InvalidOid;
	if (end - first >= 3 && body->reader.tokens[end - 2].type == '%')
	{
		if (mcs_dialect_token_is(body->reader.source, &body->reader.tokens[end - 1], "TYPE"))
			return type_of(body, first, end - 2);
		end -= 2;				/* ROWTYPE */
	}
	name = pnstrdup(body->reader.source + from, mcs_dialect_token_end(&body->reader.tokens[end - 1]) - from);
	/* a name that is no type is no error here, PL/pgSQL will say so */
#if PG_VERSION_NUM >= 160000
	(void) parseTypeString(name, &type, &typmod, (Node *) &(ErrorSaveContext) {.type = T_ErrorSaveContext});
#else
	parseTypeString(name, &type, &typmod, true);
#endif
	return type;
}

/* The type of what an assignment goes to: tokens first..end. */
Oid
mcs_variable_target_type(const Body *body, int first, int end)
{
	const DialectVariable *variable = body->reader.tokens[first].value ? find_variable(body, body->reader.tokens[first].value) : NULL;

	if (!variable)
		return InvalidOid;
	if (end == first + 1)
		return variable->type;
	/* a field of a variable whose type is one of rows */
	if (end == first + 3 && body->reader.tokens[first + 1].type == '.' && body->reader.tokens[first + 2].value)
	{
		Oid			relid = OidIsValid(variable->type) ? get_typ_typrelid(variable->type) : InvalidOid;
		AttrNumber	number = OidIsValid(relid) ? get_attnum(relid, body->reader.tokens[first + 2].value) : InvalidAttrNumber;

		if (number != InvalidAttrNumber)
			return get_atttype(relid, number);
	}
	return InvalidOid;
}

/* Finds INTO and its targets among tokens; false where there is none. */
static bool
find_into(const char *text, const DialectToken *tokens, int first, int end, int *into, int *behind)
{
	for (int i = first; i < end; i++)
	{
		if (tokens[i].type == '(')
			i = mcs_dialect_closing_bracket(tokens, i);
		/* INSERT INTO and MERGE INTO are SQL's own */
		if (i == first || !mcs_dialect_token_is(text, &tokens[i], "INTO") || tokens[i - 1].type == '.' ||
			mcs_dialect_token_is(text, &tokens[i - 1], "INSERT") || mcs_dialect_token_is(text, &tokens[i - 1], "MERGE"))
			continue;
		*into = i++;
		if (mcs_dialect_token_is(text, &tokens[i], "STRICT"))
			i++;
		/* name, name.field, name[i], with commas between them */
		for (;;)
		{
			i++;
			while ((tokens[i].type == '.' || tokens[i].type == '[') && i < end)
				i = tokens[i].type == '.' ? i + 2 : mcs_dialect_closing_bracket(tokens, i) + 1;
			if (tokens[i].type != ',' || i >= end)
				break;
			i++;
		}
		*behind = Min(i, end);
		return true;
	}
	return false;
}

/* The types of what the columns of a statement go INTO; NIL where they are not known. */
List *
mcs_variable_into_types(const Body *body, int first, int end)
{
	int			into;
	int			behind;
	List	   *types = NIL;

	if (!find_into(body->reader.source, body->reader.tokens, first, end, &into, &behind))
		return NIL;
	/* over INTO [STRICT] */
	into += mcs_dialect_token_is(body->reader.source, &body->reader.tokens[into + 1], "STRICT") ? 2 : 1;
	/* targets between commas */
	while (into < behind)
	{
		int			next = into;

		while (next < behind && body->reader.tokens[next].type != ',')
			next++;
		types = lappend_oid(types, mcs_variable_target_type(body, into, next));
		into = next + 1;
	}
	/* one row variable takes all columns */
	if (list_length(types) == 1 && (!OidIsValid(linitial_oid(types)) || type_is_rowtype(linitial_oid(types))))
		return NIL;
	return types;
}

/* Blanks out INTO in what is parsed, as SQL has another meaning for it. */
void
mcs_variable_hide_into(const Body *body, Fragment *fragment)
{
	int			into;
	int			behind;

	if (find_into(fragment->text, fragment->tokens, 0, fragment->token_count, &into, &behind) && behind > into)
	{
		int			from = fragment->tokens[into].at;

		/* blanks, so that places stay what they are */
		memset(fragment->parsed + from, ' ', mcs_dialect_token_end(&fragment->tokens[behind - 1]) - from);
	}
}
