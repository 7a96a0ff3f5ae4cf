/*
 * dialect/lex.c
 *	  Tokens of SQL text, by PostgreSQL's own scanner.
 *
 * The scanner is given an empty list of keywords, so each word is an
 * identifier and nothing depends on the numbers of a version's grammar.  The
 * user's spelling stands in the text.
 */
#include "mongo_change_stream.h"

#include "common/keywords.h"
#include "dialect/dialect_internal.h"
#include "miscadmin.h"
#include "parser/scanner.h"

/* So many TOKEN_END stand behind the last token, so that looking ahead needs no care. */
#define END_TOKENS 8

/* Cuts text into tokens; those at the end, which count leaves out, are TOKEN_END. */
DialectToken *
mcs_dialect_lex(const char *text, int *count)
{
	static const ScanKeywordList no_keywords = {.num_keywords = 0,.max_kw_len = 0};
	static const uint16 no_tokens[1] = {0};
	core_yy_extra_type extra;
	core_yyscan_t scanner = scanner_init(text, &extra, &no_keywords, no_tokens);
	int			room = 64;
	DialectToken *tokens = palloc(sizeof(DialectToken) * room);
	int			n = 0;

	for (;; n++)
	{
		core_YYSTYPE value;
		YYLTYPE		at;
		int			type = core_yylex(&value, &at, scanner);

		/* a text may have millions of tokens */
		CHECK_FOR_INTERRUPTS();
		if (n + END_TOKENS > room)
		{
			room *= 2;
			tokens = repalloc_huge(tokens, sizeof(DialectToken) * room);
		}
		tokens[n].type = type;
		tokens[n].value = NULL;
		tokens[n].length = 0;
		if (type == TOKEN_END)
		{
			tokens[n].at = strlen(text);
			for (int i = 1; i < END_TOKENS; i++)
				tokens[n + i] = tokens[n];
			break;
		}
		/* PostgreSQL makes a table of so many types of it, and ours begin further up */
		if (type == TOKEN_PARAMETER && (value.ival < 0 || value.ival > DIALECT_MAX_PARAMETER))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_PARAMETER),
					 errmsg("parameter number is out of range"),
					 errdetail("The largest is $%d.", DIALECT_MAX_PARAMETER),
					 scanner_errposition(at, scanner)));
		tokens[n].at = at;
		/* the scanner ends the current token with a zero in its buffer */
		tokens[n].length = strlen(extra.scanbuf + at);
		if (type == TOKEN_WORD || type == TOKEN_UNICODE_WORD || type == TOKEN_STRING || type == TOKEN_UNICODE_STRING)
			tokens[n].value = pstrdup(value.str);
	}
	scanner_finish(scanner);
	*count = n;
	return tokens;
}

/* The tokens first..end as those of a text of their own, which begins with the first; TOKEN_END behind them. */
DialectToken *
mcs_dialect_slice(const DialectToken *tokens, int first, int end)
{
	int			count = end - first;
	int			from = tokens[first].at;
	DialectToken *slice = palloc_extended(sizeof(DialectToken) * (count + END_TOKENS), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int i = 0; i < count; i++)
	{
		slice[i] = tokens[first + i];
		slice[i].at -= from;
	}
	/* TOKEN_END is zero */
	for (int i = count; i < count + END_TOKENS; i++)
		slice[i].at = mcs_dialect_token_end(&tokens[end - 1]) - from;
	return slice;
}

/* The byte behind a token. */
int
mcs_dialect_token_end(const DialectToken *token)
{
	return token->at + token->length;
}

/* Whether a token is an unquoted word, in any letter case. */
bool
mcs_dialect_token_is(const char *text, const DialectToken *token, const char *word)
{
	return token->type == TOKEN_WORD && token->length == strlen(word) &&
		pg_strncasecmp(text + token->at, word, token->length) == 0;
}

/* Whether a token is one of some words; the list ends with NULL. */
bool
mcs_dialect_token_is_any(const char *text, const DialectToken *token, const char *const *words)
{
	for (; *words; words++)
		if (mcs_dialect_token_is(text, token, *words))
			return true;
	return false;
}

/* Whether a token is a word that can be no name, as FROM. */
bool
mcs_dialect_token_is_reserved(const char *text, const DialectToken *token)
{
	int			keyword;

	if (token->type != TOKEN_WORD || text[token->at] == '"')
		return false;
	/* this once by PostgreSQL's keywords, as the server that runs has them */
	keyword = ScanKeywordLookup(token->value, &ScanKeywords);
	return keyword >= 0 && ScanKeywordCategories[keyword] == RESERVED_KEYWORD;
}

/* A name as it was written, since MongoDB's names are not folded; NULL for what is no word and no string. */
char *
mcs_dialect_spelling(const char *text, const DialectToken *token)
{
	if (token->type == TOKEN_WORD && text[token->at] != '"')
		return pnstrdup(text + token->at, token->length);
	return token->value ? pstrdup(token->value) : NULL;
}

/* The bracket that closes the one at a token, or TOKEN_END. */
int
mcs_dialect_closing_bracket(const DialectToken *tokens, int open)
{
	int			depth = 0;
	int			i;

	for (i = open; tokens[i].type != TOKEN_END; i++)
	{
		if (tokens[i].type == '(' || tokens[i].type == '[')
			depth++;
		else if ((tokens[i].type == ')' || tokens[i].type == ']') && --depth == 0)
			break;
	}
	return i;
}

/* The first token of some kind, outside of brackets, from one on; count where there is none. */
int
mcs_dialect_find_token(const DialectToken *tokens, int i, int count, int type)
{
	for (; i < count && tokens[i].type != type; i++)
		if (tokens[i].type == '(' || tokens[i].type == '[')
			i = mcs_dialect_closing_bracket(tokens, i);
	return Min(i, count);
}

/*
 * Whether a statement has bodies with semicolons in them: CREATE FUNCTION
 * ... BEGIN ATOMIC, and the dialect's CREATE TRIGGER ... AS BEGIN.
 */
static bool
may_hold_blocks(const char *text, const DialectToken *tokens, int first)
{
	static const char *const makers[] = {"FUNCTION", "PROCEDURE", "TRIGGER", NULL};
	int			i = first + 1;

	if (!mcs_dialect_token_is(text, &tokens[first], "CREATE"))
		return false;
	if (mcs_dialect_token_is(text, &tokens[i], "OR"))
		i += tokens[i + 1].type == TOKEN_END ? 1 : 2;
	return mcs_dialect_token_is_any(text, &tokens[i], makers);
}

/* How a word changes how many blocks are open. */
static int
block_change(const char *text, const DialectToken *tokens, int i, int blocks)
{
	static const char *const starts[] = {"IF", "LOOP", "CASE", NULL};
	const DialectToken *token = &tokens[i];
	bool		after_end = i > 0 && mcs_dialect_token_is(text, &tokens[i - 1], "END");

	/* a column that is called like one of the words */
	if (i > 0 && tokens[i - 1].type == '.')
		return 0;
	if (mcs_dialect_token_is(text, token, "BEGIN"))
		return 1;
	if (blocks == 0)
		return 0;
	if (mcs_dialect_token_is(text, token, "END"))
		return -1;
	/* IF EXISTS and the like begin nothing; IF begins a statement behind a semicolon or a word that opens */
	if (!mcs_dialect_token_is_any(text, token, starts) || after_end)
		return 0;
	if (mcs_dialect_token_is(text, token, "IF"))
	{
		static const char *const openers[] = {"BEGIN", "THEN", "ELSE", "LOOP", NULL};

		return tokens[i - 1].type == ';' || mcs_dialect_token_is_any(text, &tokens[i - 1], openers) ||
			(tokens[i - 1].type == TOKEN_OPERATOR && strncmp(text + tokens[i - 1].at, ">>", 2) == 0);
	}
	return 1;
}

/* The token behind a statement that begins at one: its semicolon, or TOKEN_END. */
int
mcs_dialect_statement_end(const char *text, const DialectToken *tokens, int first)
{
	bool		with_blocks = may_hold_blocks(text, tokens, first);
	bool		declares = false;
	int			depth = 0;
	int			blocks = 0;
	int			i;

	for (i = first; tokens[i].type != TOKEN_END; i++)
	{
		if (tokens[i].type == '(')
			depth++;
		else if (tokens[i].type == ')')
			depth--;
		else if (with_blocks && depth <= 0)
		{
			/* its semicolons come before BEGIN */
			if (mcs_dialect_token_is(text, &tokens[i], "DECLARE"))
				declares = true;
			if (mcs_dialect_token_is(text, &tokens[i], "BEGIN"))
				declares = false;
			blocks += block_change(text, tokens, i, blocks);
		}
		if (tokens[i].type == ';' && depth <= 0 && blocks <= 0 && !declares)
			break;
	}
	return i;
}

/* Whether a fragment's i-th token is an unquoted word, in any letter case. */
bool
mcs_dialect_word_is(const Fragment *fragment, int i, const char *word)
{
	return mcs_dialect_token_is(fragment->text, &fragment->tokens[i], word);
}

/* The token that begins at a byte of the fragment, or the next one. */
int
mcs_dialect_token_at(const Fragment *fragment, int at)
{
	int			low = 0;
	int			high = fragment->token_count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (fragment->tokens[middle].at < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}
