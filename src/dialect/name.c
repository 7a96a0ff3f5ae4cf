/*
 * dialect/name.c
 *	  Names and texts as a translation writes them.
 *
 * Functions and relations have no schema where the session finds them without
 * one, else they have it.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A function of the extension, InvalidOid where there is none; nargs -1: of any arguments. */
Oid
mcs_dialect_function(Oid namespace, const char *name, int nargs, const Oid *types)
{
	List	   *names = list_make2(makeString(get_namespace_name(namespace)), makeString(pstrdup(name)));

	if (nargs < 0)
	{
		FuncCandidateList found = FuncnameGetCandidates(names, -1, NIL, false, false, false, true);

		return found ? found->oid : InvalidOid;
	}
	return LookupFuncName(names, nargs, types, true);
}

/* How the session calls a function of the extension. */
char *
mcs_dialect_function_name(Oid namespace, const char *function)
{
	Oid			oid = mcs_dialect_function(namespace, function, -1, NULL);

	/* any of the name: those of one name stand in one schema */
	if (OidIsValid(oid) && FunctionIsVisible(oid))
		return pstrdup(quote_identifier(function));
	return quote_qualified_identifier(get_namespace_name(namespace), function);
}

/* How the session calls a relation. */
char *
mcs_dialect_relation_name(Oid relid)
{
	if (RelationIsVisible(relid))
		return pstrdup(quote_identifier(get_rel_name(relid)));
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* The row type of a relation of the extension, InvalidOid where there is none. */
Oid
mcs_dialect_row_type(Oid namespace, const char *relation)
{
	Oid			relid = get_relname_relid(relation, namespace);

	return OidIsValid(relid) ? get_rel_type_id(relid) : InvalidOid;
}

/* Turns userId into user_id. */
char *
mcs_dialect_snake_case(const char *name)
{
	StringInfoData snake;

	initStringInfo(&snake);
	for (int i = 0; name[i]; i++)
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

/* A text in dollar quotes, which leave it as it is. */
char *
mcs_dialect_dollar_quote(const char *text, const char *tag)
{
	char	   *mark = psprintf("$%s", tag);

	/* its last dollar would be taken for the first of the mark behind it */
	if (*text && text[strlen(text) - 1] == '$')
		return quote_literal_cstr(text);
	/* a mark that is not in the text: its last dollar is left out of the search, as it could be the first of the mark behind */
	for (int n = 1; strstr(text, mark) != NULL; n++)
	{
		if (n > 1000)
			return quote_literal_cstr(text);
		mark = psprintf("$%s_%d", tag, n);
	}
	return psprintf("%s$%s%s$", mark, text, mark);
}
