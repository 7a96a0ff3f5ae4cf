/*
 * stream/argument.c
 *	  The arguments of the functions that make and change streams and handlers.
 *
 * They are found by their names, which are the options' names: a function can
 * get one without any place here to be told, and one of version 1.0's schema,
 * which lacks some, is called as it is.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "stream/stream_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

/* ---- by name ---- */

/* Reads the names and types of the arguments of the function that is called. */
void
mcs_argument_begin(Arguments *arguments, FunctionCallInfo fcinfo)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	char	   *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	arguments->fcinfo = fcinfo;
	arguments->count = Min(get_func_arg_info(tuple, &arguments->types, &arguments->names, &modes), PG_NARGS());
	ReleaseSysCache(tuple);
	if (arguments->names == NULL)
		elog(ERROR, "the arguments of function %u have no names", fcinfo->flinfo->fn_oid);
}

/* The number of an argument of some type; -1 where the function has none of that name. */
static int
argument_number(const Arguments *arguments, const char *name, Oid type)
{
	for (int i = 0; i < arguments->count; i++)
		if (strcmp(arguments->names[i], name) == 0)
		{
			/* whoever has declared the function otherwise shall not have us take one thing for another */
			if (arguments->types[i] != type)
				elog(ERROR, "argument %s has another type than %s", name, format_type_be(type));
			return i;
		}
	return -1;
}

/* Whether there is such an argument, and not null; its value, which may be NULL to be asked for. */
static bool
get_argument(const Arguments *arguments, const char *name, Oid type, Datum *value)
{
	FunctionCallInfo fcinfo = arguments->fcinfo;
	int			number = argument_number(arguments, name, type);

	if (number < 0 || PG_ARGISNULL(number))
		return false;
	*value = PG_GETARG_DATUM(number);
	return true;
}

/* NULL for null. */
char *
mcs_argument_text(const Arguments *arguments, const char *name)
{
	Datum		value;

	return get_argument(arguments, name, TEXTOID, &value) ? TextDatumGetCString(value) : NULL;
}

char *
mcs_argument_required(const Arguments *arguments, const char *name)
{
	char	   *text = mcs_argument_text(arguments, name);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text;
}

/* ---- options ---- */

/* What a call says of each option of a list: of those that it does not mention, nothing is to change. */
OptionChanges *
mcs_argument_options(const Arguments *arguments, const OptionList *list)
{
	OptionChanges *changes = palloc(sizeof(OptionChanges));

	changes->list = list;
	changes->given = palloc0(sizeof(bool) * list->count);
	changes->reset = palloc0(sizeof(bool) * list->count);
	changes->values = palloc0(sizeof(Datum) * list->count);
	for (int i = 0; i < list->count; i++)
	{
		const Option *option = &list->options[i];

		changes->given[i] = get_argument(arguments, option->name, mcs_options_type(option), &changes->values[i]);
	}
	return changes;
}

/* Those that a call does not mention get their defaults. */
void
mcs_argument_reset_others(OptionChanges *changes)
{
	for (int i = 0; i < changes->list->count; i++)
		changes->reset[i] = !changes->given[i];
}

/* Those that the argument reset names get their defaults. */
void
mcs_argument_reset(const Arguments *arguments, OptionChanges *changes)
{
	const OptionList *list = changes->list;
	Datum		names;
	ListCell   *cell;

	if (!get_argument(arguments, "reset", TEXTARRAYOID, &names))
		return;
	foreach(cell, mcs_convert_text_array(DatumGetArrayTypeP(names)))
	{
		const char *name = lfirst(cell);
		const Option *option = mcs_options_find(list, name);

		if (option == NULL || (option->flags & (OPTION_CREATE_ONLY | OPTION_NO_RESET)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value \"%s\" for reset", name),
					 errhint("Valid values: %s.", mcs_options_names(list, OPTION_CREATE_ONLY | OPTION_NO_RESET))));
		if (changes->given[option - list->options])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s is both given and named in reset", name)));
		changes->reset[option - list->options] = true;
	}
}

/* Whether a call gives an option. */
bool
mcs_argument_gives(const OptionChanges *changes, const char *name)
{
	return changes->given[mcs_options_find(changes->list, name) - changes->list->options];
}

/* Whether a call changes an option that has a flag. */
bool
mcs_argument_changes(const OptionChanges *changes, int flag)
{
	for (int i = 0; i < changes->list->count; i++)
		if ((changes->given[i] || changes->reset[i]) && (changes->list->options[i].flags & flag))
			return true;
	return false;
}

/* Puts all of that into a definition, values as the checks, one for each option of the list, return them. */
void
mcs_argument_apply(const OptionChanges *changes, const OptionCheck *checks, void *definition)
{
	for (int i = 0; i < changes->list->count; i++)
	{
		const Option *option = &changes->list->options[i];

		if (changes->reset[i])
			mcs_options_reset(option, definition);
		else if (changes->given[i])
			mcs_options_set(option, definition, checks[i] ? checks[i](option, changes->values[i]) : changes->values[i]);
	}
}
