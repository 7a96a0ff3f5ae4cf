/*
 * match/path.c
 *	  Whether there is a value at a path.
 *
 * As MongoDB looks into arrays, {"a.b": {$exists: true}} also finds b in an
 * element of an array a; and {a: {$type: "null"}} finds [null].  That cannot
 * be undone where a step may be the position in an array, since such a path is
 * meant to enter it: then only tests are made that more than the right values
 * pass.  A key that cannot stand in a dotted path is asked for by $getField,
 * which enters no array.
 */
#include "mongo_change_stream.h"

#include "match/match_internal.h"

/* The first steps of a path with dots between them. */
static char *
dotted(const MatchPath *path, int count)
{
	StringInfoData key;
	ListCell   *cell;

	initStringInfo(&key);
	foreach(cell, path->steps)
	{
		if (foreach_current_index(cell) >= count)
			break;
		appendStringInfo(&key, "%s%s", foreach_current_index(cell) == 0 ? "" : ".", (char *) lfirst(cell));
	}
	return key.data;
}

/* The whole path. */
char *
mcs_match_dotted(const MatchPath *path)
{
	return dotted(path, list_length(path->steps));
}

/* {key: {$type: type}}, or its contrary. */
static MatchFilter *
type_test(const char *key, const char *type, bool is)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	if (!is)
		mcs_document_begin_object(&builder, "$not");
	mcs_document_append_string(&builder, "$type", type);
	if (!is)
		mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/*
 * A test of a path together with those that no array is on the way to its value
 * and, if leaf, that the value itself is none.
 */
MatchFilter *
mcs_match_guarded(const MatchPath *path, bool leaf, MatchFilter *filter)
{
	int			count = list_length(path->steps);

	/* the array may be just what the path is to enter */
	if (path->has_index)
		return mcs_match_wider(filter);
	/* a column's own field is no array */
	for (int i = path->column_steps ? path->column_steps + 1 : 1; i < count + leaf; i++)
		filter = mcs_match_and(filter, type_test(dotted(path, i), "array", false));
	return filter;
}

/* The value at a path as an expression of MongoDB's. */
static void
append_get_field(DocumentBuilder *builder, const char *key, const MatchPath *path, int count)
{
	const char *step = list_nth(path->steps, count - 1);

	mcs_document_begin_object(builder, key);
	mcs_document_begin_object(builder, "$getField");
	mcs_document_begin_object(builder, "field");
	mcs_document_append_string(builder, "$literal", step);
	mcs_document_end(builder);
	if (count > 1)
		append_get_field(builder, "input", path, count - 1);
	else
		mcs_document_append_string(builder, "input", "$$ROOT");
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* {$expr: {$in: [{$type: value}, ["missing", "null", "undefined"]]}}, as many of them as asked for */
static MatchFilter *
literal_types(const MatchPath *path, bool null_too, bool undefined_too)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "$expr");
	mcs_document_begin_array(&builder, "$in");
	mcs_document_begin_object(&builder, NULL);
	append_get_field(&builder, "$type", path, list_length(path->steps));
	mcs_document_end(&builder);
	mcs_document_begin_array(&builder, NULL);
	mcs_document_append_string(&builder, NULL, "missing");
	if (null_too)
		mcs_document_append_string(&builder, NULL, "null");
	if (undefined_too)
		mcs_document_append_string(&builder, NULL, "undefined");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* Whether there is anything at a path of literal keys. */
MatchFilter *
mcs_match_literal_exists(const MatchPath *path)
{
	return mcs_match_not(literal_types(path, false, false));
}

/* $type: the types that are SQL NULL */
static void
append_null_types(DocumentBuilder *builder, bool undefined_too)
{
	if (!undefined_too)
	{
		mcs_document_append_string(builder, "$type", "null");
		return;
	}
	mcs_document_begin_array(builder, "$type");
	mcs_document_append_string(builder, NULL, "null");
	mcs_document_append_string(builder, NULL, "undefined");
	mcs_document_end(builder);
}

/* {key: {$exists: true, $not: {$type: "null"}}} */
static MatchFilter *
exists_test(const char *key, bool undefined_too, bool exact)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_bool(&builder, "$exists", true);
	if (exact)
	{
		mcs_document_begin_object(&builder, "$not");
		append_null_types(&builder, undefined_too);
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), exact);
}

/* {key: {$exists: false}} or {key: {$type: "null", $not: {$type: "array"}}} */
static MatchFilter *
absent_test(const char *key, bool undefined_too)
{
	DocumentBuilder builder;
	MatchFilter *missing;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_bool(&builder, "$exists", false);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	missing = mcs_match_test(mcs_document_finish(&builder), true);

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	append_null_types(&builder, undefined_too);
	mcs_document_begin_object(&builder, "$not");
	mcs_document_append_string(&builder, "$type", "array");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_or(missing, mcs_match_test(mcs_document_finish(&builder), true));
}

/* Whether the value at a path is SQL NULL.  As text, undefined is NULL, too. */
MatchFilter *
mcs_match_one_path_null(const MatchPath *path, bool undefined_too, bool isnull)
{
	char	   *key = mcs_match_dotted(path);
	MatchFilter *filter;

	/* a whole column: an object or nothing */
	if (path->column_steps == list_length(path->steps))
		return type_test(key, "object", !isnull);
	if (path->literal)
	{
		filter = literal_types(path, true, undefined_too);
		return isnull ? filter : mcs_match_not(filter);
	}
	if (path->has_index)
		return isnull ? mcs_match_unknown() : exists_test(key, undefined_too, false);
	if (!isnull)
		return mcs_match_guarded(path, false,
								 mcs_match_or(type_test(key, "array", true), exists_test(key, undefined_too, true)));
	filter = absent_test(key, undefined_too);
	for (int i = path->column_steps ? path->column_steps + 1 : 1; i < list_length(path->steps); i++)
		filter = mcs_match_or(type_test(dotted(path, i), "array", true), filter);
	return filter;
}

/* {key: {$type: [types]}} */
MatchFilter *
mcs_match_types(const char *key, const char *const *types)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_begin_array(&builder, "$type");
	for (int i = 0; types[i]; i++)
		mcs_document_append_string(&builder, NULL, types[i]);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* Values at a path that are there and not of some types. */
MatchFilter *
mcs_match_other_types(const MatchPath *path, const char *type)
{
	static const char *const array[] = {"array", NULL};
	char	   *key = mcs_match_dotted(path);
	DocumentBuilder builder;

	if (path->has_index || path->literal || path->column_steps == list_length(path->steps))
		return mcs_match_wider(mcs_match_one_path_null(path, true, false));
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_bool(&builder, "$exists", true);
	mcs_document_begin_object(&builder, "$not");
	mcs_document_begin_array(&builder, "$type");
	mcs_document_append_string(&builder, NULL, type);
	mcs_document_append_string(&builder, NULL, "null");
	mcs_document_append_string(&builder, NULL, "undefined");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	/* of an array, an element's type would count */
	return mcs_match_or(mcs_match_types(key, array), mcs_match_test(mcs_document_finish(&builder), false));
}

/* operand IS NULL, or IS NOT NULL. */
MatchFilter *
mcs_match_path_null(const MatchOperand *operand, bool isnull)
{
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	foreach(cell, operand->paths)
		filter = mcs_match_or(filter, mcs_match_one_path_null(lfirst(cell), operand->kind != OPERAND_DOCUMENT, isnull));
	/* a text or a cast may raise an error */
	return list_length(operand->paths) == 1 && operand->kind == OPERAND_DOCUMENT ? filter : mcs_match_wider(filter);
}
