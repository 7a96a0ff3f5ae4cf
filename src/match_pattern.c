/*
 * match_pattern.c
 *	  LIKE, ILIKE and regular expressions as regular expressions of MongoDB's,
 *	  which are PCRE's.
 *
 * Of a regular expression only what means the same to both is taken: letters,
 * digits, escaped punctuation, ".", simple sets, groups, "|", "*", "+", "?",
 * and "^" and "$" at the ends.  Here "." matches a line's end and "$" only the
 * end of the text, so "s" is set and "\z" written.
 *
 * Whose letters are the same but for their case depends on the collation.
 * Among ASCII's MongoDB is asked for either case, and for a text with any other
 * character it is asked to let it through.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match_filter.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#define MAX_PATTERN		500
#define MAX_WILDCARDS	8

/* What kind of pattern a function matches with. */
typedef struct PatternFunction
{
	Oid			function;
	bool		negated;
	bool		any_case;
	enum
	{
		PATTERN_LIKE,
		PATTERN_REGEX,
		PATTERN_PREFIX
	}			syntax;
} PatternFunction;

static const PatternFunction pattern_functions[] = {
	{F_TEXTLIKE, false, false, PATTERN_LIKE},
	{F_LIKE_TEXT_TEXT, false, false, PATTERN_LIKE},
	{F_TEXTNLIKE, true, false, PATTERN_LIKE},
	{F_TEXTICLIKE, false, true, PATTERN_LIKE},
	{F_TEXTICNLIKE, true, true, PATTERN_LIKE},
	{F_TEXTREGEXEQ, false, false, PATTERN_REGEX},
	{F_TEXTREGEXNE, true, false, PATTERN_REGEX},
	{F_TEXTICREGEXEQ, false, true, PATTERN_REGEX},
	{F_TEXTICREGEXNE, true, true, PATTERN_REGEX},
	{F_STARTS_WITH, false, false, PATTERN_PREFIX}
};

static bool
is_ascii_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_ascii_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Appends a character that stands for itself; false where its case is unknown. */
static bool
append_literal(StringInfo regex, char c, bool any_case)
{
	if (any_case && IS_HIGHBIT_SET(c))
		return false;
	if (any_case && is_ascii_letter(c))
		appendStringInfo(regex, "[%c%c]", pg_ascii_tolower((unsigned char) c), pg_ascii_toupper((unsigned char) c));
	else if (is_ascii_letter(c) || is_ascii_digit(c) || IS_HIGHBIT_SET(c) || c == '_' || c == ' ')
		appendStringInfoChar(regex, c);
	else if ((unsigned char) c < ' ' || c == 0x7F)
		appendStringInfo(regex, "\\x%02x", (unsigned char) c);
	else
		appendStringInfo(regex, "\\%c", c);
	return true;
}

/* A pattern of LIKE; false where it can't be said. */
static bool
translate_like(StringInfo regex, const char *pattern, bool any_case)
{
	int			wildcards = 0;

	appendStringInfoString(regex, "\\A");
	for (const char *at = pattern; *at; at++)
	{
		if (*at == '%')
		{
			if (at[1] == '\0')
				return true;
			appendStringInfoString(regex, ".*");
			wildcards++;
		}
		else if (*at == '_')
			appendStringInfoChar(regex, '.');
		else
		{
			if (*at == '\\' && *++at == '\0')
				return false;
			if (!append_literal(regex, *at, any_case))
				return false;
		}
		if (wildcards > MAX_WILDCARDS)
			return false;
	}
	appendStringInfoString(regex, "\\z");
	return true;
}

/* A set such as [a-z_]: ASCII letters, digits and a few signs; returns its last character, NULL where it is another. */
static const char *
translate_set(StringInfo regex, const char *at)
{
	const char *start = ++at;

	appendStringInfoChar(regex, '[');
	if (*at == '^')
	{
		appendStringInfoChar(regex, '^');
		start = ++at;
	}
	for (; *at && *at != ']'; at++)
	{
		if (*at == '-')
		{
			/* between two of a kind, in order */
			if (at == start || at[1] == ']' || at[-1] > at[1] || !(is_ascii_letter(at[-1]) || is_ascii_digit(at[-1])) ||
				is_ascii_digit(at[-1]) != is_ascii_digit(at[1]) || (at - start >= 2 && at[-2] == '-'))
				return NULL;
		}
		else if (!is_ascii_letter(*at) && !is_ascii_digit(*at) && *at != '_' && *at != ' ')
			return NULL;
		appendStringInfoChar(regex, *at);
	}
	if (*at != ']' || at == start)
		return NULL;
	appendStringInfoChar(regex, ']');
	return at;
}

/* A regular expression; false where it has anything that is not known to be the same. */
static bool
translate_regex(StringInfo regex, const char *pattern, bool any_case)
{
	bool		repeatable = false; /* there is something that "*" may follow */
	int			depth = 0;
	int			repeats = 0;

	for (const char *at = pattern; *at; at++)
	{
		bool		begins = at == pattern;

		switch (*at)
		{
			case '^':
				if (!begins)
					return false;
				appendStringInfoString(regex, "\\A");
				break;
			case '$':
				if (at[1] != '\0')
					return false;
				appendStringInfoString(regex, "\\z");
				break;
			case '*':
			case '+':
			case '?':
				if (!repeatable || depth > 0 || ++repeats > MAX_WILDCARDS)
					return false;
				appendStringInfoChar(regex, *at);
				repeatable = false;
				continue;
			case '(':
				if (at[1] == '?' || at[1] == '*' || at[1] == ')' || ++depth > 1)
					return false;
				appendStringInfoString(regex, "(?:");
				repeatable = false;
				continue;
			case ')':
				if (--depth < 0 || at[-1] == '|')
					return false;
				appendStringInfoChar(regex, ')');
				/* what could repeat a group is left to us */
				repeatable = false;
				continue;
			case '|':
				/* at the top, anchors would belong to one branch only: as both have it */
				if (begins || at[1] == '\0' || at[1] == '|' || at[1] == ')' || at[-1] == '(' || at[-1] == '^' ||
					at[1] == '^' || at[1] == '$')
					return false;
				appendStringInfoChar(regex, '|');
				repeatable = false;
				continue;
			case '[':
				at = any_case ? NULL : translate_set(regex, at);
				if (!at)
					return false;
				repeatable = true;
				continue;
			case '.':
				appendStringInfoChar(regex, '.');
				repeatable = true;
				continue;
			case '\\':
				at++;
				if (*at == '\0' || is_ascii_letter(*at) || is_ascii_digit(*at) || IS_HIGHBIT_SET(*at) ||
					(unsigned char) *at <= ' ' || *at == '_')
					return false;
				(void) append_literal(regex, *at, any_case);
				repeatable = true;
				continue;
			case '{':
			case '}':
			case ']':
				return false;
			default:
				/* a sign of repetition would be for the whole of a character's bytes here as there */
				if (!append_literal(regex, *at, any_case))
					return false;
				repeatable = !IS_HIGHBIT_SET(*at);
				continue;
		}
		repeatable = false;
	}
	return depth == 0;
}

/* A text of which only the beginning is given. */
static bool
translate_prefix(StringInfo regex, const char *prefix)
{
	appendStringInfoString(regex, "\\A");
	for (const char *at = prefix; *at; at++)
		(void) append_literal(regex, *at, false);
	return true;
}

/* Which of the pattern functions a comparison is, or NULL. */
static const PatternFunction *
pattern_function(const MatchComparison *comparison)
{
	if (comparison->swapped || comparison->is_list || comparison->items[0].type != TEXTOID ||
		!OidIsValid(comparison->collation) || !get_collation_isdeterministic(comparison->collation))
		return NULL;
	for (int i = 0; i < lengthof(pattern_functions); i++)
		if (comparison->function == pattern_functions[i].function)
			return &pattern_functions[i];
	return NULL;
}

/* {key: {$regex: regex, $options: "s"}} */
static MatchFilter *
regex_test(const char *key, const char *regex, bool exact)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_string(&builder, "$regex", regex);
	mcs_document_append_string(&builder, "$options", "s");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), exact);
}

/* The test of a pattern whose value comes with the scan. */
static MatchFilter *
placeholder_test(const char *key, const MatchDatum *datum)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_match_append(&builder, "$regex", datum);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/*
 * Which strings at key match a comparison's pattern (negated: do not; then the
 * filter is for those that do).  NULL where it is no pattern or can't be said.
 */
MatchFilter *
mcs_match_pattern(const MatchComparison *comparison, const char *key, bool *negated)
{
	const PatternFunction *function = pattern_function(comparison);
	StringInfoData regex;
	char	   *pattern;
	bool		translated = false;

	if (!function)
		return NULL;
	*negated = function->negated;
	if (!comparison->items[0].known)
		return placeholder_test(key, &comparison->items[0]);
	pattern = TextDatumGetCString(comparison->items[0].value);
	if (strlen(pattern) > MAX_PATTERN)
		return NULL;
	initStringInfo(&regex);
	switch (function->syntax)
	{
		case PATTERN_LIKE:
			translated = translate_like(&regex, pattern, function->any_case);
			break;
		case PATTERN_REGEX:
			translated = translate_regex(&regex, pattern, function->any_case);
			break;
		case PATTERN_PREFIX:
			translated = translate_prefix(&regex, pattern);
			break;
	}
	if (!translated)
		return NULL;
	if (!function->any_case)
		return regex_test(key, regex.data, true);
	return mcs_match_or(regex_test(key, regex.data, false), regex_test(key, "[^\\x00-\\x7F]", false));
}
