/*
 * match/contain.c
 *	  Containment and existence of keys: @> and ?.
 *
 * What a document contains it has at the same place, or an array there has it
 * among its elements, and {"a.b": value} asks for no more than that.
 */
#include "mongo_change_stream.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Tests that are made of one contained document. */
#define MAX_TESTS	50

/* {key: {$eq: value}}, or that there is something where equality is not MongoDB's. */
static MatchFilter *
value_test(const char *key, const DocumentValue *value)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	switch (value->type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_OBJECT_ID:
		case DOCUMENT_BOOL:
		case DOCUMENT_DATE:
		case DOCUMENT_INT32:
		case DOCUMENT_INT64:
		case DOCUMENT_DOUBLE:
		case DOCUMENT_DECIMAL128:
			mcs_document_append_value(&builder, "$eq", value);
			break;
		default:
			mcs_document_append_bool(&builder, "$exists", true);
			break;
	}
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* Tests that all pass which contain a value at key. */
static MatchFilter *
contains_test(const char *key, const DocumentValue *part, int *tests)
{
	MatchFilter *filter = mcs_match_all();
	DocumentIterator it;

	check_stack_depth();
	/* what is left out of an $and only lets more through */
	if (++*tests > MAX_TESTS)
		return mcs_match_unknown();
	if (!mcs_document_is_container(part->type))
		return value_test(key, part);
	mcs_document_iterate(&it, part->data, part->size);
	while (mcs_document_next(&it))
	{
		if (part->type == DOCUMENT_ARRAY)
		{
			/* an element that is an array or an object would need $elemMatch */
			if (!mcs_document_is_container(it.value.type))
				filter = mcs_match_and(filter, contains_test(key, &it.value, tests));
		}
		/* what no dotted path can say is left out, as above */
		else if (it.key[0] != '\0' && it.key[0] != '$' && !strchr(it.key, '.') && mcs_document_is_utf8(it.key, it.key_size))
			filter = mcs_match_and(filter, contains_test(psprintf("%s.%s", key, it.key), &it.value, tests));
	}
	return filter;
}

/* {key: {$exists: true}} */
static MatchFilter *
exists_test(const char *key, bool exact)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_bool(&builder, "$exists", true);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), exact);
}

/* The value at a path ? key: exact for a whole document, which has no elements that might be the key. */
static MatchFilter *
has_key(const MatchPath *path, const MatchDatum *datum)
{
	char	   *key = TextDatumGetCString(datum->value);
	char	   *dotted = mcs_match_dotted(path);
	DocumentBuilder builder;

	/* these cannot stand in a dotted path */
	if (key[0] == '\0' || key[0] == '$' || strchr(key, '.'))
		return mcs_match_wider(mcs_match_one_path_null(path, false, false));
	if (path->column_steps == list_length(path->steps))
		return exists_test(psprintf("%s.%s", dotted, key), true);
	/* the key of an object, or a string that is in an array or is the value, as jsonb's ? has it */
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, dotted, key);
	mcs_document_end(&builder);
	return mcs_match_or(exists_test(psprintf("%s.%s", dotted, key), false),
						mcs_match_test(mcs_document_finish(&builder), false));
}

/* One path beside the value, for what is true. */
static MatchFilter *
one_path(const MatchPath *path, const MatchComparison *comparison, PGFunction function)
{
	const MatchDatum *datum = &comparison->items[0];
	MatchFilter *present = mcs_match_wider(mcs_match_one_path_null(path, false, false));
	DocumentValue value;
	int			tests = 0;

	/* any strict function of anybody's comes here, with values of any type, whose Datum may be no pointer */
	if (path->literal || !datum->known || get_typlen(datum->type) != -1 ||
		toast_raw_datum_size(datum->value) > MATCH_MAX_BYTES)
		return present;
	/* a @> b and b <@ a are two functions; the other way round, what the operand is contained in says little of it */
	if (function == (comparison->swapped ? mcs_document_contained : mcs_document_contains) &&
		datum->type == comparison->operand.type)
	{
		value = mcs_document_take(DatumGetDocumentP(datum->value));
		return mcs_match_and(present, contains_test(mcs_match_dotted(path), &value, &tests));
	}
	if (function == mcs_document_exists && !comparison->swapped &&
		(datum->type == BPCHAROID || datum->type == TEXTOID))
		return has_key(path, datum);
	return present;
}

/* A document, or a value in one, beside a value, by an operator that is no comparison. */
MatchFilter *
mcs_match_contain(const MatchComparison *comparison, bool truth)
{
	PGFunction	function = mcs_extension_function(comparison->function);
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	foreach(cell, comparison->operand.paths)
	{
		const MatchPath *path = lfirst(cell);
		MatchFilter *part = one_path(path, comparison, function);

		/* false of what is there only; where the part is not exact, that is all that can be said */
		if (!truth)
			part = mcs_match_and(mcs_match_one_path_null(path, false, false), mcs_match_not(part));
		filter = mcs_match_or(filter, part);
	}
	/* of several paths that have a value, document_get takes the first, and here any will do */
	return list_length(comparison->operand.paths) == 1 ? filter : mcs_match_wider(filter);
}
