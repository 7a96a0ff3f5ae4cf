/*
 * base/words.c
 *	  The words of an SQL text, one after the other, and names that are nearly the
 *	  same.
 *
 * For NOTICEs about what a text names: it is only looked at, and what it means is
 * for PostgreSQL to say.  So a word that is not understood is passed over.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#define NEAR_LETTERS	2		/* that a mistyped name may be off */
#define NEAR_NAMES		3		/* that are told */
#define NAME_BYTES		128		/* longer ones take too long to compare, and nobody types them */

static bool
begins_name(unsigned char c)
{
	return isalpha(c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
continues_name(unsigned char c)
{
	return begins_name(c) || isdigit(c) || c == '$';
}

/* Behind blanks and comments. */
static const char *
skip_blanks(const char *at)
{
	for (;;)
	{
		at += strspn(at, " \t\r\n\f\v");
		if (at[0] == '-' && at[1] == '-')
			at += strcspn(at, "\r\n");
		else if (at[0] == '/' && at[1] == '*')
		{
			/* comments in comments are rare, and what is taken for words then does no harm */
			const char *end = strstr(at + 2, "*/");

			at = end ? end + 2 : at + strlen(at);
		}
		else
			return at;
	}
}

/* What stands between two quotes of a kind, doubled ones being one. */
static const char *
take_quoted(const char *at, char quote, SqlWord *word)
{
	StringInfoData text;

	initStringInfo(&text);
	for (at++; *at; at++)
	{
		if (*at == quote && at[1] != quote)
			break;
		if (*at == quote)
			at++;
		appendStringInfoChar(&text, *at);
	}
	word->text = text.data;
	return *at ? at + 1 : at;
}

/* What stands between $tag$ and $tag$; NULL where this is no such begin. */
static const char *
take_dollars(const char *at, SqlWord *word)
{
	const char *end = at + 1;
	char	   *tag;
	const char *close;

	while (continues_name(*end) && *end != '$')
		end++;
	if (*end != '$')
		return NULL;
	tag = pnstrdup(at, end + 1 - at);
	close = strstr(end + 1, tag);
	word->text = close ? pnstrdup(end + 1, close - end - 1) : pstrdup(end + 1);
	return close ? close + strlen(tag) : at + strlen(at);
}

/* Takes the next word of a text; false at its end. */
bool
mcs_words_next(const char **place, SqlWord *word)
{
	const char *at = skip_blanks(*place);
	const char *end = NULL;

	memset(word, 0, sizeof(*word));
	if (*at == '\0')
		return false;
	if (*at == '\'' || *at == '"')
	{
		word->kind = *at == '"' ? SQL_WORD_NAME : SQL_WORD_STRING;
		end = take_quoted(at, *at, word);
	}
	else if (*at == '$' && (end = take_dollars(at, word)) != NULL)
		word->kind = SQL_WORD_STRING;
	else if (begins_name(*at))
	{
		for (end = at; continues_name(*end);)
			end++;
		word->kind = SQL_WORD_NAME;
		word->text = downcase_identifier(at, end - at, false, false);
	}
	else
	{
		/* an operator as a whole, anything else by itself */
		size_t		length = strspn(at, "+*<>=~!@#%^&|`?-/");

		end = at + Max(length, 1);
		word->kind = SQL_WORD_OTHER;
		word->text = pnstrdup(at, end - at);
	}
	*place = end;
	return true;
}

/* Whether a word is a name, not quoted or not, or an operator or a character. */
bool
mcs_words_are(const SqlWord *word, const char *text)
{
	return word->kind != SQL_WORD_STRING && word->text && strcmp(word->text, text) == 0;
}

/* How many letters two names are apart, whatever their case, up to one more than can be near. */
static int
distance(const char *a, const char *b)
{
	char	   *x = downcase_identifier(a, strlen(a), false, false);
	char	   *y = downcase_identifier(b, strlen(b), false, false);

	return varstr_levenshtein_less_equal(x, strlen(x), y, strlen(y), 1, 1, 1, NEAR_LETTERS, true);
}

/*
 * Whether a name is hardly another than the one that was wanted.  The distance
 * takes time that grows with both lengths, so they are bounded here.
 */
bool
mcs_words_are_near(const char *wanted, const char *name)
{
	size_t		wanted_size = strlen(wanted);
	size_t		size = strlen(name);

	if (wanted_size > NAME_BYTES || size > NAME_BYTES || wanted_size == 0 || size == 0)
		return false;
	/* two letters that changed places are two; of names as short all would be near */
	return distance(wanted, name) <= Min(NEAR_LETTERS, (int) Min(wanted_size, size) - 1);
}

/* Adds a name to those that may be meant, if it is near; "a" or "b". */
void
mcs_words_add_near(StringInfo list, int *count, const char *wanted, const char *name)
{
	if (*count >= NEAR_NAMES || !mcs_words_are_near(wanted, name))
		return;
	appendStringInfo(list, "%s\"%s\"", (*count)++ > 0 ? " or " : "", name);
}
