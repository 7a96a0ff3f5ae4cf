/*
 * match/pattern.c
 *	  LIKE, ILIKE and regular expressions as regular expressions of MongoDB's,
 *	  which are PCRE's.
 *
 * MongoDB gives up on a string, without a word, when a match takes too many
 * steps: on 6.0 /\A.*abc/ does not find the abc at the beginning of a megabyte,
 * nor a lazy ".*?" the one at the end of ten.  So nothing is sent that
 * repeats.  Of LIKE 'a%b%c' three conditions remain, that the string begins with
 * a, has b, and ends with c, which is exact only if there is but one of them; of
 * a regular expression what stands in front of the first sign of repetition.
 *
 * Of a regular expression only what means the same to both is taken: letters,
 * digits, escaped punctuation, ".", simple sets, groups, "|", and "^" and "$"
 * at the ends.  Here "." matches a line's end and "$" only the end of the text,
 * so "s" is set and "\z" written.
 *
 * Whose letters are the same but for their case depends on the collation.
 * Among ASCII's MongoDB is asked for either case, and for a text with any other
 * character it is asked to let it through.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#define MAX_PATTERN		500

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

/* Adds an expression to a list, unless it is one that every text matches. */
static List *
add_part(List *parts, const char *regex)
{
	return regex[0] == '\0' || strcmp(regex, "\\A") == 0 ? parts : lappend(parts, pstrdup(regex));
}

/* What lies between the wildcards of a pattern of LIKE, as a list of expressions; false where it can't be said. */
static bool
translate_like(List **parts, const char *pattern, bool any_case)
{
	StringInfoData regex;

	initStringInfo(&regex);
	appendStringInfoString(&regex, "\\A");
	for (const char *at = pattern; *at; at++)
	{
		if (*at == '%')
		{
			*parts = add_part(*parts, regex.data);
			resetStringInfo(&regex);
			if (at[1] == '\0')
				return true;
		}
		else if (*at == '_')
			appendStringInfoChar(&regex, '.');
		else
		{
			if (*at == '\\' && *++at == '\0')
				return false;
			if (!append_literal(&regex, *at, any_case))
				return false;
		}
	}
	appendStringInfoString(&regex, "\\z");
	*parts = add_part(*parts, regex.data);
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

/*
 * A regular expression up to the first sign of repetition (then not whole);
 * false where it has anything that is not known to be the same.
 */
static bool
translate_regex(StringInfo regex, const char *pattern, bool any_case, bool *whole)
{
	int			atom = -1;		/* where what may be repeated begins */
	int			depth = 0;

	for (const char *at = pattern; *at; at++)
	{
		int			begin = regex->len;

		switch (*at)
		{
			case '^':
				if (at != pattern)
					return false;
				appendStringInfoString(regex, "\\A");
				atom = -1;
				continue;
			case '$':
				if (at[1] != '\0')
					return false;
				appendStringInfoString(regex, "\\z");
				continue;
			case '*':
			case '+':
			case '?':
				if (atom < 0 || depth > 0 || strchr(pattern, '|'))
					return false;
				regex->len = atom;
				regex->data[atom] = '\0';
				*whole = false;
				return true;
			case '(':
				if (at[1] == '?' || at[1] == '*' || at[1] == ')' || ++depth > 1)
					return false;
				appendStringInfoString(regex, "(?:");
				atom = -1;
				continue;
			case ')':
				if (--depth < 0 || at[-1] == '|')
					return false;
				appendStringInfoChar(regex, ')');
				atom = -1;
				continue;
			case '|':
				if (at == pattern || at[1] == '\0' || at[1] == '|' || at[1] == ')' || at[-1] == '(' || at[-1] == '^' ||
					at[1] == '^' || at[1] == '$')
					return false;
				appendStringInfoChar(regex, '|');
				atom = -1;
				continue;
			case '[':
				at = any_case ? NULL : translate_set(regex, at);
				if (!at)
					return false;
				break;
			case '.':
				appendStringInfoChar(regex, '.');
				break;
			case '\\':
				at++;
				if (*at == '\0' || is_ascii_letter(*at) || is_ascii_digit(*at) || IS_HIGHBIT_SET(*at) ||
					(unsigned char) *at <= ' ' || *at == '_')
					return false;
				(void) append_literal(regex, *at, any_case);
				break;
			case '{':
			case '}':
			case ']':
				return false;
			default:
				if (!append_literal(regex, *at, any_case))
					return false;
				/* what is repeated behind such a byte is the whole character */
				if (IS_HIGHBIT_SET(*at))
					begin = -1;
				break;
		}
		atom = begin;
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
	List	   *parts = NIL;
	char	   *pattern;
	bool		translated = false;
	bool		whole = true;
	MatchFilter *filter = mcs_match_all();
	ListCell   *cell;

	if (!function)
		return NULL;
	*negated = function->negated;
	if (!comparison->items[0].known)
		return placeholder_test(key, &comparison->items[0]);
	pattern = TextDatumGetCString(comparison->items[0].value);
	/* PCRE has limits of its own, and nobody needs longer ones */
	if (strlen(pattern) > MAX_PATTERN)
		return NULL;
	initStringInfo(&regex);
	switch (function->syntax)
	{
		case PATTERN_LIKE:
			translated = translate_like(&parts, pattern, function->any_case);
			break;
		case PATTERN_REGEX:
			translated = translate_regex(&regex, pattern, function->any_case, &whole);
			parts = add_part(NIL, regex.data);
			break;
		case PATTERN_PREFIX:
			translated = translate_prefix(&regex, pattern);
			parts = add_part(NIL, regex.data);
			break;
	}
	/* what every string matches is left to the test that there is one */
	if (!translated || parts == NIL)
		return NULL;
	foreach(cell, parts)
		filter = mcs_match_and(filter, regex_test(key, lfirst(cell), whole && list_length(parts) == 1));
	/* letters beyond ASCII are the affair of the collation, which MongoDB does not have */
	if (function->any_case)
		filter = mcs_match_or(mcs_match_wider(filter), regex_test(key, "[^\\x00-\\x7F]", false));
	return filter;
}
