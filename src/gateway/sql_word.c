/*
 * gateway/sql_word.c
 *	  The words of a text of SQL, as far as it takes to look at it: what is in
 *	  comments and strings is none.
 *
 * PostgreSQL's own scanner is not for a process outside of it.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
begins_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char) c >= 0x80;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char
upper(char c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
}

/* The byte at a place, 0 behind the end. */
static char
peek(const WordReader *reader, size_t ahead)
{
	return ahead < (size_t) (reader->end - reader->at) ? reader->at[ahead] : 0;
}

/* Behind a comment that begins here, which may hold others. */
static void
skip_block_comment(WordReader *reader)
{
	int			depth = 0;

	while (reader->at < reader->end)
	{
		if (peek(reader, 0) == '/' && peek(reader, 1) == '*')
			depth++, reader->at += 2;
		else if (peek(reader, 0) == '*' && peek(reader, 1) == '/')
		{
			reader->at += 2;
			if (--depth == 0)
				return;
		}
		else
			reader->at++;
	}
}

/* Behind blanks and comments. */
static void
skip_blanks(WordReader *reader)
{
	while (reader->at < reader->end)
	{
		if (is_blank(*reader->at))
			reader->at++;
		else if (peek(reader, 0) == '-' && peek(reader, 1) == '-')
		{
			while (reader->at < reader->end && *reader->at != '\n' && *reader->at != '\r')
				reader->at++;
		}
		else if (peek(reader, 0) == '/' && peek(reader, 1) == '*')
			skip_block_comment(reader);
		else
			return;
	}
}

/* Behind what begins with a quote, which is doubled inside. */
static void
skip_quoted(WordReader *reader, bool escapes)
{
	char		quote = *reader->at++;

	while (reader->at < reader->end)
	{
		char		c = *reader->at++;

		if (c == '\\' && escapes && reader->at < reader->end)
			reader->at++;
		else if (c == quote)
		{
			if (peek(reader, 0) != quote)
				return;
			reader->at++;
		}
	}
}

/* Behind a string in dollars, if one begins here. */
static bool
skip_dollars(WordReader *reader)
{
	size_t		size = 1;
	const char *tag = reader->at;
	const char *at;

	if (!is_digit(peek(reader, 1)))
		while (begins_word(peek(reader, size)) || is_digit(peek(reader, size)))
			size++;
	if (peek(reader, size) != '$')
		return false;
	size++;
	for (at = tag + size; at < reader->end; at++)
	{
		at = memchr(at, '$', reader->end - at);
		if (!at)
			break;
		if ((size_t) (reader->end - at) >= size && memcmp(at, tag, size) == 0)
		{
			reader->at = at + size;
			return true;
		}
	}
	reader->at = reader->end;
	return true;
}

/* Behind a number. */
static void
skip_number(WordReader *reader)
{
	while (is_digit(peek(reader, 0)) || begins_word(peek(reader, 0)) || (peek(reader, 0) == '.' && peek(reader, 1) != '.'))
		reader->at++;
}

/* The next word. */
Word
mcs_gateway_next_word(WordReader *reader)
{
	Word		word = {WORD_END, NULL, 0};
	char		c;

	skip_blanks(reader);
	word.at = reader->at;
	if (reader->at >= reader->end)
		return word;
	c = *reader->at;
	word.kind = WORD_OTHER;
	if (c == '\'' || (peek(reader, 1) == '\'' && strchr("EeBbXxNn", c)))
	{
		word.kind = WORD_STRING;
		reader->at += c != '\'';
		skip_quoted(reader, upper(c) == 'E' || (reader->escapes && (c == '\'' || upper(c) == 'N')));
	}
	else if (c == '"' || (upper(c) == 'U' && peek(reader, 1) == '&' && (peek(reader, 2) == '"' || peek(reader, 2) == '\'')))
	{
		reader->at += c == '"' ? 0 : 2;
		word.kind = *reader->at == '"' ? WORD_QUOTED : WORD_STRING;
		skip_quoted(reader, false);
	}
	else if (begins_word(c))
	{
		word.kind = WORD_PLAIN;
		while (begins_word(peek(reader, 0)) || is_digit(peek(reader, 0)) || peek(reader, 0) == '$')
			reader->at++;
	}
	else if (is_digit(c) || (c == '.' && is_digit(peek(reader, 1))))
		skip_number(reader);
	else if (c == '$' && skip_dollars(reader))
		word.kind = WORD_STRING;
	else
		reader->at++;
	word.size = reader->at - word.at;
	return word;
}

/* Whether it is a word without quotes, in any letter case. */
bool
mcs_gateway_word_is(const Word *word, const char *expected)
{
	/* nearly every word begins with another letter, and a text has millions */
	if (word->kind != WORD_PLAIN || upper(*word->at) != *expected || strlen(expected) != word->size)
		return false;
	for (size_t i = 0; i < word->size; i++)
		if (upper(word->at[i]) != expected[i])
			return false;
	return true;
}

/* Whether it is one of some; the list ends with NULL. */
bool
mcs_gateway_word_in(const Word *word, const char *const *list)
{
	if (word->kind != WORD_PLAIN)
		return false;
	for (; *list; list++)
		if (mcs_gateway_word_is(word, *list))
			return true;
	return false;
}

bool
mcs_gateway_sign_is(const Word *word, char sign)
{
	return word->kind == WORD_OTHER && word->size == 1 && *word->at == sign;
}

int
mcs_gateway_count_statements(const char *text, size_t size, bool escapes)
{
	WordReader	reader = {text, text + size, escapes};
	bool		begun = false;
	int			depth = 0;
	int			count = 0;
	Word		word;

	while ((word = mcs_gateway_next_word(&reader)).kind != WORD_END)
	{
		depth += mcs_gateway_sign_is(&word, '(') - mcs_gateway_sign_is(&word, ')');
		if (depth <= 0 && mcs_gateway_sign_is(&word, ';'))
			begun = false;
		else if (!begun)
		{
			begun = true;
			count++;
		}
	}
	return count;
}
