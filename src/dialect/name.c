/*
 * dialect/name.c
 *	  Names of catalogs, as a translation writes them: without a schema where
 *	  the session finds them, else with it.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A function of the extension, InvalidOid where there is none; nargs -1: of any arguments. */
Oid
mcs_dialect_function(const Dialect *dialect, const char *name, int nargs, const Oid *types)
{
	List	   *names = list_make2(makeString(get_namespace_name(dialect->namespace)), makeString(pstrdup(name)));

	if (nargs < 0)
	{
		FuncCandidateList found = FuncnameGetCandidates(names, -1, NIL, false, false, false, true);

		return found ? found->oid : InvalidOid;
	}
	return LookupFuncName(names, nargs, types, true);
}

/* How the session calls a function of the extension. */
char *
mcs_dialect_qualified(const Dialect *dialect, const char *function)
{
	Oid			oid = mcs_dialect_function(dialect, function, -1, NULL);

	if (OidIsValid(oid) && FunctionIsVisible(oid))
		return pstrdup(quote_identifier(function));
	return quote_qualified_identifier(get_namespace_name(dialect->namespace), function);
}

/* The row type of a relation of the extension, InvalidOid where there is none. */
Oid
mcs_dialect_row_type(const Dialect *dialect, const char *relation)
{
	Oid			relid = get_relname_relid(relation, dialect->namespace);

	return OidIsValid(relid) ? get_rel_type_id(relid) : InvalidOid;
}

/* Turns userId into user_id. */
char *
mcs_dialect_snake_case(const char *name, int size)
{
	StringInfoData snake;

	initStringInfo(&snake);
	for (int i = 0; i < size; i++)
	{
		if (name[i] >= 'A' && name[i] <= 'Z')
		{
			/* maxAwaitTimeMS: capitals in a row are one word */
			bool		starts = i > 0 && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z') && name[i - 1] != '_';

			if (starts)
				appendStringInfoChar(&snake, '_');
			appendStringInfoChar(&snake, pg_ascii_tolower((unsigned char) name[i]));
		}
		else
			appendStringInfoChar(&snake, name[i]);
	}
	return snake.data;
}
