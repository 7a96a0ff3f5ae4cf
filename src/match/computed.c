/*
 * match/computed.c
 *	  Conditions on resume_token and full_document_source.
 *
 * The token that MongoDB has when it decides is not always the one that it
 * sends: a split event's say which fragment they are of.  But they have their
 * time in common, the first 18 digits, so tokens are compared as far as that.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/builtins.h"

#define TIME_DIGITS		18
#define MAX_TOKENS		100

/* Tokens from the first of a time to the last of one; NULL: from the beginning, to the end. */
static MatchFilter *
token_range(const char *from, const char *to)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "_id._data");
	if (from)
		mcs_document_append_string(&builder, "$gte", from);
	/* behind every digit */
	if (to)
		mcs_document_append_string(&builder, "$lt", psprintf("%sG", to));
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* resume_token beside texts. */
MatchFilter *
mcs_match_token(const MatchComparison *comparison, bool truth)
{
	MatchOperator operator = truth ? comparison->operator : mcs_match_negate(comparison->operator);
	MatchFilter *filter = mcs_match_none();

	if (operator == MATCH_NO_OPERATOR || operator == MATCH_NE || comparison->items[0].type != TEXTOID ||
		!comparison->items[0].known || comparison->count > MAX_TOKENS ||
		!mcs_match_same_order(comparison->operator, comparison->collation))
		return mcs_match_unknown();
	for (int i = 0; i < comparison->count; i++)
	{
		char	   *token = TextDatumGetCString(comparison->items[i].value);
		const char *from = operator == MATCH_LT || operator == MATCH_LE ? NULL : token;
		const char *to = operator == MATCH_GT || operator == MATCH_GE ? NULL : token;

		/* as far as the time only */
		if (strlen(token) > TIME_DIGITS)
			token[TIME_DIGITS] = '\0';
		/* what is no beginning of a token is left alone */
		if (strspn(token, "0123456789ABCDEF") != strlen(token))
			return mcs_match_unknown();
		filter = mcs_match_or(filter, token_range(from, to));
	}
	return filter;
}

/* Events with a word in full_document_source, as far as their operation tells. */
static MatchFilter *
source_test(const char *word)
{
	/* two of the words are operations; the others stand where an update has its document beside it */
	bool		is_operation = strcmp(word, "insert") == 0 || strcmp(word, "replace") == 0;
	DocumentBuilder builder;

	if (!is_operation && strcmp(word, "lookup") != 0 && strcmp(word, "post_image") != 0)
		return mcs_match_unknown();
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (is_operation)
		mcs_document_append_string(&builder, "operationType", word);
	else
	{
		mcs_document_begin_object(&builder, "fullDocument");
		mcs_document_append_string(&builder, "$type", "object");
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* full_document_source beside texts. */
MatchFilter *
mcs_match_source(const MatchComparison *comparison, bool truth)
{
	MatchFilter *filter = mcs_match_none();

	if (comparison->operator != (truth ? MATCH_EQ : MATCH_NE) || comparison->items[0].type != TEXTOID ||
		!comparison->items[0].known || comparison->count > MAX_TOKENS ||
		!mcs_match_same_order(MATCH_EQ, comparison->collation))
		return mcs_match_unknown();
	for (int i = 0; i < comparison->count; i++)
		filter = mcs_match_or(filter, source_test(TextDatumGetCString(comparison->items[i].value)));
	return filter;
}
