/*
 * match/string.c
 *	  Conditions on the plain text of a value in a document: ->>, #>>,
 *	  document_text.
 *
 * Every value has such a text: 5 is '5', and so are "5", 5.0 as an int64, and
 * the code 5.  So equality asks for each value whose text may be the one that
 * is looked for, and where they can't be listed for their type.  Any other
 * comparison is decided by MongoDB for strings; what is no string comes
 * through.
 *
 * A string that can't be a text raises an error here, and MongoDB would let it
 * through: that a condition is false is never left to it alone.
 */
#include "mongo_change_stream.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/builtins.h"

/* ---- what may have a text ---- */

/* Appends an ObjectId whose hex a text is. */
static void
append_object_id(DocumentBuilder *list, const char *text, uint32 size)
{
	uint8		id[12];
	DocumentValue value = {DOCUMENT_OBJECT_ID, id, sizeof(id)};

	if (size == 2 * sizeof(id) && strspn(text, "0123456789abcdef") == size && mcs_document_read_hex(text, size, id))
		mcs_document_append_value(list, NULL, &value);
}

/* Appends the numbers that a text says, which have other texts, too; whether there are any. */
static bool
append_numbers(DocumentBuilder *list, const char *text, uint32 size)
{
	DocumentDecimal decimal;
	uint8		bytes[16];
	DocumentValue value = {DOCUMENT_DECIMAL128, bytes, sizeof(bytes)};

	if (strcspn(text, "0123456789NI") > 1 || mcs_document_decimal_in(text, size, &decimal) != DECIMAL_OK)
		return false;
	mcs_document_decimal_write(&decimal, bytes);
	mcs_document_append_value(list, NULL, &value);
	mcs_document_append_double(list, NULL, strtod(text, NULL));
	return true;
}

/* Whether binary data may have a text: a UUID, or base64. */
static bool
may_be_binary(const char *text, uint32 size)
{
	if (size == 36 && strspn(text, "0123456789abcdef-") == size)
		return true;
	return size % 4 == 0 &&
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") == size;
}

/* Appends the values of one text; returns the types that are let through as a whole, in an array of names. */
static const char *const *
append_values_of_text(DocumentBuilder *list, Datum datum, bool *exact)
{
	static const char *const binary[] = {"binData", NULL};
	static const char *const date[] = {"date", NULL};
	static const char *const json[] = {"object", "array", "regex", "timestamp", "dbPointer", "minKey", "maxKey",
	"javascriptWithScope", NULL};
	text	   *string = DatumGetTextPP(datum);
	uint32		size = VARSIZE_ANY_EXHDR(string);
	char	   *text = pnstrdup(VARDATA_ANY(string), size);
	DocumentBuilder code;
	Document   *made;
	int64		milliseconds;

	mcs_document_append_string_sized(list, NULL, text, size);
	/* code has its own text, too; a symbol is a string to MongoDB */
	mcs_document_build(&code);
	mcs_document_append_string_sized(&code, NULL, text, size);
	/* code has the bytes of a string: only the type differs */
	made = mcs_document_finish(&code);
	made = mcs_document_make(DOCUMENT_CODE, DOCUMENT_VALUE(made), DOCUMENT_VALUE_SIZE(made));
	mcs_document_append_document(list, NULL, made);

	append_object_id(list, text, size);
	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
		mcs_document_append_bool(list, NULL, text[0] == 't');
	if (mcs_document_date_in(text, size, &milliseconds))
	{
		mcs_document_append_date(list, NULL, milliseconds);
		*exact = false;
	}
	if (append_numbers(list, text, size))
		*exact = false;
	if ((text[0] == '+' || text[0] == '-') && strchr(text, 'T'))
		return date;
	if (text[0] == '{' || text[0] == '[')
		return json;
	return may_be_binary(text, size) ? binary : NULL;
}

/* ---- tests ---- */

/* The texts at a path that are one of the values. */
static MatchFilter *
equal_test(const MatchPath *path, const MatchComparison *comparison)
{
	char	   *key = mcs_match_dotted(path);
	MatchFilter *types = mcs_match_none();
	bool		exact = true;
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	if (comparison->is_list)
		mcs_match_append(&builder, "$in", comparison->items);
	else
		mcs_document_begin_array(&builder, "$in");
	for (int i = 0; i < comparison->count && !comparison->is_list; i++)
	{
		const char *const *names;

		if (!comparison->items[i].known)
		{
			mcs_match_append(&builder, NULL, &comparison->items[i]);
			continue;
		}
		if (toast_raw_datum_size(comparison->items[i].value) > MATCH_MAX_BYTES)
			return mcs_match_wider(mcs_match_one_path_null(path, true, false));
		names = append_values_of_text(&builder, comparison->items[i].value, &exact);
		if (names)
			types = mcs_match_or(types, mcs_match_types(key, names));
	}
	if (!comparison->is_list)
		mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	/* whole types that come through, and values not known yet, leave something to be evaluated */
	if (types->kind != FILTER_NONE || !comparison->items[0].known)
		exact = false;
	return mcs_match_or(mcs_match_guarded(path, true, mcs_match_test(mcs_document_finish(&builder), exact)), types);
}

/* {key: {$lt: text}} for strings; everything else may be. */
static MatchFilter *
order_test(const MatchPath *path, MatchOperator operator, const MatchComparison *comparison)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, mcs_match_dotted(path));
	mcs_match_append(&builder, mcs_match_word(operator), &comparison->items[0]);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_or(mcs_match_test(mcs_document_finish(&builder), false), mcs_match_other_types(path, "string"));
}

/* One path beside texts. */
static MatchFilter *
one_path(const MatchPath *path, const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = truth ? comparison->operator : mcs_match_negate(comparison->operator);
	MatchFilter *present = mcs_match_wider(mcs_match_one_path_null(path, true, false));
	bool		negated = false;
	MatchFilter *filter;

	if (path->literal || path->column_steps == list_length(path->steps) || comparison->items[0].type != TEXTOID)
		return present;
	if (operator == MATCH_EQ || operator == MATCH_NE)
	{
		if (!mcs_match_same_order(operator, comparison->collation))
			return present;
		filter = equal_test(path, comparison);
		return operator == MATCH_EQ ? filter : mcs_match_and(present, mcs_match_not(filter));
	}
	if (operator != MATCH_NO_OPERATOR)
		return path->has_index || !mcs_match_collation_is_bytes(comparison->collation) ||
			(comparison->items[0].known && toast_raw_datum_size(comparison->items[0].value) > MATCH_MAX_BYTES) ?
			present : order_test(path, operator, comparison);
	filter = path->has_index ? NULL : mcs_match_pattern(comparison, mcs_match_dotted(path), &negated);
	if (!filter)
		return present;
	filter = mcs_match_wider(filter);
	if (truth != negated)
		return mcs_match_or(filter, mcs_match_other_types(path, "string"));
	return present;
}

/* The text of a value in a document beside texts. */
MatchFilter *
mcs_match_plain_text(const MatchComparison *comparison, bool truth)
{
	MatchFilter *filter = mcs_match_none();
	ListCell   *cell;

	foreach(cell, comparison->operand.paths)
		filter = mcs_match_or(filter, one_path(lfirst(cell), comparison, truth));
	return list_length(comparison->operand.paths) == 1 ? filter : mcs_match_wider(filter);
}
