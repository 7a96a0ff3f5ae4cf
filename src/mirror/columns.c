/*
 * mirror/columns.c
 *	  The texts of a mirror's definition: its columns and its filter.
 *
 * Both are in the dialect, over the fields of a document, and are translated
 * once: a later version of the dialect does not change what a mirror has.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "mirror/mirror_internal.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What the dialect tells of each column: name, type, expression. */
#define COLUMN_PARTS 3

bool
mcs_mirror_is_blank(const char *text)
{
	return text == NULL || text[strspn(text, " \t\n\r\f\v")] == '\0';
}

char *
mcs_mirror_type_name(Oid type, int32 typmod, bool qualified)
{
	return format_type_extended(type, typmod, FORMAT_TYPE_TYPEMOD_GIVEN | (qualified ? FORMAT_TYPE_FORCE_QUALIFY : 0));
}

/* Says in errors whose type is read. */
static void
type_error_callback(void *arg)
{
	errcontext("type of column \"%s\" of a mirror", (const char *) arg);
}

/* Reads a type, as CREATE TABLE does. */
static void
read_type(MirrorColumn *column, const char *text)
{
	ErrorContextCallback callback = {error_context_stack, type_error_callback, column->name};

	error_context_stack = &callback;
#if PG_VERSION_NUM >= 160000
	(void) parseTypeString(text, &column->type, &column->typmod, NULL);
#else
	parseTypeString(text, &column->type, &column->typmod, false);
#endif
	error_context_stack = callback.previous;
}

/* Refuses a name that the mirror fills by itself, or that is there already. */
static void
check_name(const char *name, List *columns)
{
	static const char *const own[] = {MIRROR_ID, MIRROR_DOCUMENT, MIRROR_CHANGED_AT, MIRROR_DELETED_AT};
	ListCell   *cell;

	for (int i = 0; i < lengthof(own); i++)
		if (strcmp(name, own[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("column \"%s\" cannot be named in columns", name),
					 errdetail("A mirror fills _id, document, changed_at and deleted_at by itself, where its table has them."),
					 errhint("Give the column another name.")));
	foreach(cell, columns)
		if (strcmp(((MirrorColumn *) lfirst(cell))->name, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("column \"%s\" is named more than once in columns", name)));
}

/* The text as the dialect takes it apart: an array of COLUMN_PARTS texts a column. */
static ArrayType *
take_apart(const char *text)
{
	List	   *name = list_make2(makeString(get_namespace_name(mcs_extension_schema())),
								  makeString(pstrdup("change_mirror_translate_columns")));
	Oid			argument = TEXTOID;

	/* through SQL, as the dialect is above this folder; nobody can put another function of these arguments in its place */
	return DatumGetArrayTypeP(OidFunctionCall1(LookupFuncName(name, 1, &argument, false), CStringGetTextDatum(text)));
}

List *
mcs_mirror_read_columns(const char *source)
{
	List	   *columns = NIL;
	Datum	   *parts;
	bool	   *nulls;
	int			count;

	if (mcs_mirror_is_blank(source))
		return NIL;
	deconstruct_array(take_apart(source), TEXTOID, -1, false, TYPALIGN_INT, &parts, &nulls, &count);
	for (int i = 0; i + COLUMN_PARTS <= count; i += COLUMN_PARTS)
	{
		MirrorColumn *column = palloc0(sizeof(MirrorColumn));

		column->name = TextDatumGetCString(parts[i]);
		check_name(column->name, columns);
		column->typmod = -1;
		if (!nulls[i + 1])
			read_type(column, TextDatumGetCString(parts[i + 1]));
		column->expression = TextDatumGetCString(parts[i + 2]);
		columns = lappend(columns, column);
	}
	return columns;
}

char *
mcs_mirror_plain_columns(List *columns)
{
	StringInfoData text;
	ListCell   *cell;

	if (columns == NIL)
		return NULL;
	initStringInfo(&text);
	foreach(cell, columns)
	{
		MirrorColumn *column = lfirst(cell);

		appendStringInfo(&text, "%s%s = %s", foreach_current_index(cell) > 0 ? ", " : "",
						 quote_identifier(column->name), column->expression);
	}
	return text.data;
}

char *
mcs_mirror_plain_filter(const char *text)
{
	return mcs_mirror_is_blank(text) ? NULL : mcs_stream_plain_sql(text, "change_mirror_translate_filter", 1, false);
}
