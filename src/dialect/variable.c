/*
 * dialect/variable.c
 *	  Names that are no columns: variables of a PL/pgSQL block, and fields that
 *	  a pipeline has added.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect.h"
#include "nodes/makefuncs.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "utils/lsyscache.h"

static Node *
parameter(int number, Oid type, int location)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = location;
	return (Node *) param;
}

/* The expression that gave an added field its value. */
static Node *
added_field(ParseState *pstate, const DialectName *name)
{
	RawStmt    *statement = linitial_node(RawStmt, raw_parser(name->text, RAW_PARSE_PLPGSQL_EXPR));
	ResTarget  *target = linitial_node(ResTarget, ((SelectStmt *) statement->stmt)->targetList);

	return transformExpr(pstate, target->val, pstate->p_expr_kind);
}

/* The type of a record's field, InvalidOid where it has none or is not known. */
static Oid
field_type(const DialectName *name, const char *field)
{
	for (int i = 0; name->fields && i < name->fields->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(name->fields, i)->attname), field) == 0)
			return TupleDescAttr(name->fields, i)->atttypid;
	return InvalidOid;
}

/*
 * The value a reference's first name stands for, or its first two where they
 * are a record and a field; taken is how many.  What has no known type becomes
 * a parameter that takes one from what is around it.
 */
Node *
mcs_dialect_name_value(ParseState *pstate, DialectName *name, ColumnRef *ref, int *taken)
{
	Dialect    *dialect = mcs_dialect_current;
	int			count = *taken;
	Oid			type;

	*taken = 1;
	if (name->text)
		return added_field(pstate, name);
	if (OidIsValid(name->type) && (count == 1 || !type_is_rowtype(name->type)))
		return parameter(name->number, name->type, ref->location);
	if (count > 1)
	{
		char	   *field = strVal(lsecond(ref->fields));

		*taken = 2;
		if (OidIsValid(name->type) && name->type != RECORDOID)
			return ParseFuncOrColumn(pstate, list_make1(makeString(field)),
									 list_make1(parameter(name->number, name->type, ref->location)), NULL, NULL, false, ref->location);
		type = field_type(name, field);
		if (OidIsValid(type))
			return parameter(name->number, type, ref->location);
	}
	*taken = count;
	if (dialect->param_hook)
	{
		ParamRef   *unknown = makeNode(ParamRef);

		unknown->number = name->number;
		unknown->location = ref->location;
		return dialect->param_hook(pstate, unknown);
	}
	return NULL;
}
