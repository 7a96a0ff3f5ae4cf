/*
 * match/column.c
 *	  Conditions on the columns that are text.
 *
 * MongoDB applies what it can of a $match to its oplog, before there are events.
 * For the namespace of a command it looks there at fields that the command may
 * not have, and takes each of these for an empty string (seen on 6.0: $nor of
 * {"ns.coll": /^$/} leaves out create and createIndexes).  So a test of a
 * namespace that an empty string passes must not be negated, and is not called
 * exact.
 */
#include "mongo_change_stream.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "match/match_internal.h"

/* Whether all values may be sent. */
static bool
fit(const MatchComparison *comparison)
{
	for (int i = 0; i < comparison->count; i++)
		if (comparison->items[i].known &&
			toast_raw_datum_size(comparison->items[i].value) - VARHDRSZ > MATCH_MAX_BYTES)
			return false;
	return true;
}

/* Whether an empty text is, or may be, among the values. */
static bool
has_empty(const MatchComparison *comparison)
{
	for (int i = 0; i < comparison->count; i++)
		if (!comparison->items[i].known ||
			toast_raw_datum_size(comparison->items[i].value) - VARHDRSZ == 0)
			return true;
	return false;
}

static bool
is_namespace(const MatchComparison *comparison)
{
	return comparison->operand.column != EVENT_OPERATION_TYPE;
}

/* Whether an empty text passes. */
static bool
empty_passes(MatchOperator operator, const MatchComparison *comparison)
{
	switch (operator)
	{
		case MATCH_EQ:
		case MATCH_GE:
			return has_empty(comparison);
		case MATCH_GT:
			return false;
		default:
			return true;
	}
}

/* {key: {$op: value}}, or $in or $nin for several. */
static Document *
text_test(const char *key, MatchOperator operator, const MatchComparison *comparison)
{
	DocumentBuilder builder;
	bool		many = comparison->count != 1 || comparison->is_list;
	bool		negative = operator == MATCH_NE;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (operator == MATCH_EQ && !many)
		mcs_match_append(&builder, key, &comparison->items[0]);
	else
	{
		mcs_document_begin_object(&builder, key);
		/* $ne and $nin also match what is not there */
		if (negative)
			mcs_document_append_bool(&builder, "$exists", true);
		if (many && !comparison->is_list)
		{
			mcs_document_begin_array(&builder, negative ? "$nin" : "$in");
			for (int i = 0; i < comparison->count; i++)
				mcs_match_append(&builder, NULL, &comparison->items[i]);
			mcs_document_end(&builder);
		}
		else
			mcs_match_append(&builder, !many ? mcs_match_word(operator) : negative ? "$nin" : "$in",
							 &comparison->items[0]);
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* operation_type, database_name, collection_name beside texts. */
MatchFilter *
mcs_match_text_column(const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = truth ? comparison->operator : mcs_match_negate(comparison->operator);
	const char *key = mcs_event_columns[comparison->operand.column].path;
	bool		negated = false;
	MatchFilter *filter;

	/* what is computed from an event has a file of its own */
	if (comparison->operand.column == EVENT_RESUME_TOKEN)
		return mcs_match_token(comparison, truth);
	if (comparison->operand.column == EVENT_FULL_DOCUMENT_SOURCE)
		return mcs_match_source(comparison, truth);
	if (operator == MATCH_NO_OPERATOR)
	{
		filter = mcs_match_pattern(comparison, key, &negated);
		if (!filter)
			return mcs_match_wider(mcs_match_column_null(&comparison->operand, false));
		if (is_namespace(comparison))
			filter = mcs_match_wider(filter);
		/* what matches is asked for as it is; what does not, beside that there is a value, as null is neither */
		if (truth != negated)
			return filter;
		return mcs_match_and(mcs_match_column_null(&comparison->operand, false), mcs_match_not(filter));
	}
	/* $ne or $nin of an empty string would leave out commands; see above */
	if (operator == MATCH_NE && is_namespace(comparison) && has_empty(comparison))
		return mcs_match_wider(mcs_match_column_null(&comparison->operand, false));
	if (comparison->items[0].type != TEXTOID ||
		!mcs_match_same_order(comparison->operator, comparison->collation) || !fit(comparison))
		return mcs_match_unknown();
	/* a value that is not known may turn out to be too long */
	return mcs_match_test(text_test(key, operator, comparison),
						  comparison->items[0].known && !(is_namespace(comparison) && empty_passes(operator, comparison)));
}

/* column IS NULL, IS NOT NULL. */
MatchFilter *
mcs_match_column_null(const MatchOperand *operand, bool isnull)
{
	const char *key = mcs_event_columns[operand->column].path;
	DocumentBuilder builder;

	/* every event has them */
	if (operand->column == EVENT_RESUME_TOKEN || operand->column == EVENT_FULL_DOCUMENT_SOURCE)
		return mcs_match_unknown();
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_bool(&builder, "$exists", !isnull);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}
