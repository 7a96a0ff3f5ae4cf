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

#define LONG_WORD	1000

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

/* Whether it is time for a pause. */
static bool
is_late(const WordReader *reader)
{
	return reader->pause && reader->at >= reader->pause;
}

/* Up to where is read before the next pause. */
static const char *
stop_of(const WordReader *reader)
{
	return reader->pause && reader->pause < reader->end ? reader->pause : reader->end;
}

/* Whether a word is so long that it is none, and goes on as another one behind a pause. */
static bool
is_endless(const WordReader *reader)
{
	return is_late(reader) && reader->at - reader->begin > LONG_WORD;
}

/* Goes on in a comment up to the line's end. */
static void
skip_line_comment(WordReader *reader)
{
	for (; reader->at < reader->end && !is_late(reader); reader->at++)
		if (*reader->at == '\n' || *reader->at == '\r')
		{
			reader->inside = INSIDE_NOTHING;
			return;
		}
}

/* Goes on in a comment in brackets, which may hold others. */
static void
skip_block_comment(WordReader *reader)
{
	while (reader->at < reader->end && !is_late(reader))
	{
		if (peek(reader, 0) == '/' && peek(reader, 1) == '*')
			reader->depth++, reader->at += 2;
		else if (peek(reader, 0) == '*' && peek(reader, 1) == '/')
		{
			reader->at += 2;
			if (--reader->depth == 0)
			{
				reader->inside = INSIDE_NOTHING;
				return;
			}
		}
		else
			reader->at++;
	}
}

/* Goes on in what began with a quote, which is doubled inside. */
static void
skip_quoted(WordReader *reader)
{
	while (reader->at < reader->end && !is_late(reader))
	{
		const char *stop = stop_of(reader);
		const char *quote = reader->quote_escapes ? reader->at : memchr(reader->at, reader->quote, stop - reader->at);
		char		c;

		reader->at = quote ? quote : stop;
		if (!quote)
			continue;
		c = *reader->at++;
		if (c == '\\' && reader->quote_escapes && reader->at < reader->end)
			reader->at++;
		else if (c == reader->quote)
		{
			if (peek(reader, 0) != reader->quote)
			{
				reader->inside = INSIDE_NOTHING;
				return;
			}
			reader->at++;
		}
	}
}

/* Goes on in a string in dollars. */
static void
skip_dollars(WordReader *reader)
{
	while (reader->at < reader->end && !is_late(reader))
	{
		const char *stop = stop_of(reader);
		const char *dollar = memchr(reader->at, '$', stop - reader->at);

		reader->at = dollar ? dollar : stop;
		if (!dollar)
			continue;
		if ((size_t) (reader->end - dollar) >= reader->tag && memcmp(dollar, reader->begin, reader->tag) == 0)
		{
			reader->at += reader->tag;
			reader->inside = INSIDE_NOTHING;
			return;
		}
		reader->at++;
	}
}

/* Goes on in what it is inside of; false where that is left for a pause. */
static bool
finish_inside(WordReader *reader)
{
	switch (reader->inside)
	{
		case INSIDE_NOTHING:
			break;
		case INSIDE_LINE_COMMENT:
			skip_line_comment(reader);
			break;
		case INSIDE_BLOCK_COMMENT:
			skip_block_comment(reader);
			break;
		case INSIDE_QUOTES:
			skip_quoted(reader);
			break;
		case INSIDE_DOLLARS:
			skip_dollars(reader);
			break;
	}
	if (reader->inside == INSIDE_NOTHING)
		return true;
	if (reader->at < reader->end)
		return false;
	/* it has no end, or the text's */
	reader->inside = INSIDE_NOTHING;
	return true;
}

/* Goes behind blanks and comments; false where they are left for a pause. */
static bool
skip_blanks(WordReader *reader)
{
	while (reader->at < reader->end)
	{
		if (is_late(reader))
			return false;
		if (is_blank(*reader->at))
		{
			reader->at++;
			continue;
		}
		if (peek(reader, 0) == '-' && peek(reader, 1) == '-')
			reader->inside = INSIDE_LINE_COMMENT;
		else if (peek(reader, 0) == '/' && peek(reader, 1) == '*')
			reader->inside = INSIDE_BLOCK_COMMENT;
		else
			return true;
		reader->depth = 0;
		if (!finish_inside(reader))
			return false;
	}
	return true;
}

/* Begins what a quote begins, which is here. */
static void
begin_quotes(WordReader *reader, WordKind kind, bool escapes)
{
	reader->kind = kind;
	reader->inside = INSIDE_QUOTES;
	reader->quote = *reader->at++;
	reader->quote_escapes = escapes;
}

/* Begins a string in dollars, if one does here. */
static bool
begin_dollars(WordReader *reader)
{
	size_t		size = 1;

	if (!is_digit(peek(reader, 1)))
		while (begins_word(peek(reader, size)) || is_digit(peek(reader, size)))
			size++;
	if (peek(reader, size) != '$')
		return false;
	reader->kind = WORD_STRING;
	reader->inside = INSIDE_DOLLARS;
	reader->tag = size + 1;
	reader->at += size + 1;
	return true;
}

/* Behind a number. */
static void
skip_number(WordReader *reader)
{
	while ((is_digit(peek(reader, 0)) || begins_word(peek(reader, 0)) || (peek(reader, 0) == '.' && peek(reader, 1) != '.')) && !is_endless(reader))
		reader->at++;
}

/* Begins a word; false where that has ended, too. */
static bool
begin_word(WordReader *reader)
{
	char		c = *reader->at;

	reader->begin = reader->at;
	reader->kind = WORD_OTHER;
	if (c == '\'' || (peek(reader, 1) == '\'' && strchr("EeBbXxNn", c)))
	{
		reader->at += c != '\'';
		begin_quotes(reader, WORD_STRING, upper(c) == 'E' || (reader->escapes && (c == '\'' || upper(c) == 'N')));
	}
	else if (c == '"' || (upper(c) == 'U' && peek(reader, 1) == '&' && (peek(reader, 2) == '"' || peek(reader, 2) == '\'')))
	{
		reader->at += c == '"' ? 0 : 2;
		begin_quotes(reader, *reader->at == '"' ? WORD_QUOTED : WORD_STRING, false);
	}
	else if (begins_word(c))
	{
		reader->kind = WORD_PLAIN;
		while ((begins_word(peek(reader, 0)) || is_digit(peek(reader, 0)) || peek(reader, 0) == '$') && !is_endless(reader))
			reader->at++;
	}
	else if (is_digit(c) || (c == '.' && is_digit(peek(reader, 1))))
		skip_number(reader);
	else if (c != '$' || !begin_dollars(reader))
		reader->at++;
	return reader->inside != INSIDE_NOTHING;
}

/* The next word; WORD_PAUSE where the reader makes one, and goes on when it is called again. */
Word
mcs_gateway_next_word(WordReader *reader)
{
	Word		word = {WORD_PAUSE, NULL, 0};

	if (reader->inside == INSIDE_NOTHING || reader->inside == INSIDE_LINE_COMMENT || reader->inside == INSIDE_BLOCK_COMMENT)
	{
		if (!finish_inside(reader) || !skip_blanks(reader))
			return word;
		word.at = reader->at;
		word.kind = WORD_END;
		if (reader->at >= reader->end)
			return word;
		word.kind = WORD_PAUSE;
		if (begin_word(reader) && !finish_inside(reader))
			return word;
	}
	else if (!finish_inside(reader))
		return word;
	word.kind = reader->kind;
	word.at = reader->begin;
	word.size = reader->at - reader->begin;
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
	WordReader	reader = {.at = text,.end = text + size,.escapes = escapes};
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
