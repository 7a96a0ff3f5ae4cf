/*
 * dialect/reader.c
 *	  Going over tokens: what the parsers of statements and of PL/pgSQL blocks
 *	  stand on.
 *
 * A reader never goes beyond its end, which is the semicolon of a statement or
 * the end of the text; there no word and no character is found.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "mb/pg_wchar.h"

/* Whether nothing is left. */
bool
mcs_reader_at_end(const TokenReader *reader)
{
	return reader->current >= reader->end;
}

/* Whether the current token is of a type, which for most characters is the character. */
bool
mcs_reader_at(const TokenReader *reader, int type)
{
	return !mcs_reader_at_end(reader) && reader->tokens[reader->current].type == type;
}

/* Whether the current token is an unquoted word. */
bool
mcs_reader_is(const TokenReader *reader, const char *word)
{
	return !mcs_reader_at_end(reader) && mcs_dialect_token_is(reader->source, &reader->tokens[reader->current], word);
}

/* Whether the current token is one of some words; the list ends with NULL. */
bool
mcs_reader_is_any(const TokenReader *reader, const char *const *words)
{
	return !mcs_reader_at_end(reader) && mcs_dialect_token_is_any(reader->source, &reader->tokens[reader->current], words);
}

/* Whether the token behind the current one is a word. */
bool
mcs_reader_next_is(const TokenReader *reader, const char *word)
{
	return !mcs_reader_at_end(reader) && mcs_dialect_token_is(reader->source, &reader->tokens[reader->current + 1], word);
}

/* Goes on by some tokens, not beyond the end. */
void
mcs_reader_advance(TokenReader *reader, int count)
{
	reader->current = Min(reader->current + count, reader->end);
}

/* Goes over a character if it is there. */
bool
mcs_reader_skip_type(TokenReader *reader, int type)
{
	if (!mcs_reader_at(reader, type))
		return false;
	reader->current++;
	return true;
}

/* Goes over a word if it is there. */
bool
mcs_reader_skip(TokenReader *reader, const char *word)
{
	if (!mcs_reader_is(reader, word))
		return false;
	reader->current++;
	return true;
}

/* Goes over two words if they are there, or over both as one with an underscore: CHANGE STREAM, CHANGE_STREAM. */
bool
mcs_reader_skip_pair(TokenReader *reader, const char *first, const char *second)
{
	if (mcs_reader_skip(reader, psprintf("%s_%s", first, second)))
		return true;
	if (!mcs_reader_is(reader, first) || !mcs_reader_next_is(reader, second))
		return false;
	reader->current += 2;
	return true;
}

/* Goes over IF EXISTS if it is there. */
bool
mcs_reader_skip_if_exists(TokenReader *reader)
{
	if (!mcs_reader_skip(reader, "IF"))
		return false;
	mcs_reader_expect(reader, "EXISTS");
	return true;
}

/* For ereport: where in the user's text a token stands. */
int
mcs_reader_error_position(const TokenReader *reader, int token)
{
	/* not errposition: the text is an argument of a function, not the statement that runs */
	internalerrposition(pg_mbstrlen_with_len(reader->source, reader->tokens[token].at) + 1);
	internalerrquery(reader->source);
	return 0;
}

/* Says that the current token cannot stand there. */
void
mcs_reader_syntax_error(const TokenReader *reader, const char *hint)
{
	const DialectToken *token = &reader->tokens[reader->current];

	if (mcs_reader_at_end(reader))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("syntax error at end of statement"),
				 hint ? errhint("%s", hint) : 0,
				 mcs_reader_error_position(reader, reader->current)));
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("syntax error at or near \"%.*s\"", token->length, reader->source + token->at),
			 hint ? errhint("%s", hint) : 0,
			 mcs_reader_error_position(reader, reader->current)));
}

/* Goes over a word, or a character, that must be there. */
void
mcs_reader_expect(TokenReader *reader, const char *word)
{
	bool		there = word[1] == '\0' && !isalpha((unsigned char) *word) ?
		mcs_reader_at(reader, *word) : mcs_reader_is(reader, word);

	if (!there)
		mcs_reader_syntax_error(reader, psprintf("%s is expected here.", word));
	reader->current++;
}

/* Complains of what follows the end of a statement, with how it is written. */
void
mcs_reader_expect_end(TokenReader *reader, const char *hint)
{
	if (!mcs_reader_at_end(reader))
		mcs_reader_syntax_error(reader, hint);
}

/* A name of SQL: folded unless it is quoted. */
char *
mcs_reader_name(TokenReader *reader, const char *what)
{
	const DialectToken *token = &reader->tokens[reader->current];

	if (mcs_reader_at_end(reader) || token->value == NULL || token->type == TOKEN_STRING ||
		mcs_dialect_token_is_reserved(reader->source, token))
		mcs_reader_syntax_error(reader, psprintf("The name of %s is expected here.", what));
	reader->current++;
	return token->value;
}
