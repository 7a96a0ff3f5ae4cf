/*
 * gateway/block.c
 *	  Statements that a client has cut at the semicolons of a block.
 *
 * psql sends a text at each semicolon outside of brackets.  It knows the bodies of
 * functions, and not the dialect's CREATE TRIGGER ... ON CHANGE STREAM ... AS
 * BEGIN ... END.  So its pieces come one by one, and each is to be answered before
 * the next one comes: link by link they are kept until the block is closed.
 * Blocks are counted as the translation does it (dialect/lex.c).
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

/* Behind CREATE [OR REPLACE] TRIGGER name ON CHANGE STREAM, if the text begins so. */
static bool
skip_head(WordReader *reader)
{
	Word		word = mcs_gateway_next_word(reader);

	if (!mcs_gateway_word_is(&word, "CREATE"))
		return false;
	word = mcs_gateway_next_word(reader);
	if (mcs_gateway_word_is(&word, "OR"))
	{
		(void) mcs_gateway_next_word(reader);
		word = mcs_gateway_next_word(reader);
	}
	if (!mcs_gateway_word_is(&word, "TRIGGER"))
		return false;
	(void) mcs_gateway_next_word(reader);
	word = mcs_gateway_next_word(reader);
	if (!mcs_gateway_word_is(&word, "ON"))
		return false;
	word = mcs_gateway_next_word(reader);
	if (mcs_gateway_word_is(&word, "CHANGE_STREAM"))
		return true;
	if (!mcs_gateway_word_is(&word, "CHANGE"))
		return false;
	word = mcs_gateway_next_word(reader);
	return mcs_gateway_word_is(&word, "STREAM");
}

/* How a word changes how many blocks are open. */
static int
block_change(const Word *before, const Word *word, bool label, int blocks)
{
	static const char *const openers[] = {"BEGIN", "THEN", "ELSE", "LOOP", NULL};

	if (mcs_gateway_sign_is(before, '.'))
		return 0;
	if (mcs_gateway_word_is(word, "BEGIN"))
		return 1;
	if (blocks == 0)
		return 0;
	if (mcs_gateway_word_is(word, "END"))
		return -1;
	if (mcs_gateway_word_is(before, "END"))
		return 0;
	if (mcs_gateway_word_is(word, "LOOP") || mcs_gateway_word_is(word, "CASE"))
		return 1;
	/* IF begins a statement, or is a part of IF EXISTS and its like */
	return mcs_gateway_word_is(word, "IF") &&
		(label || mcs_gateway_sign_is(before, ';') || mcs_gateway_word_in(before, openers));
}

bool
mcs_gateway_block_is_open(const char *text, size_t size, bool escapes)
{
	WordReader	reader = {.at = text,.end = text + size,.escapes = escapes};
	Word		before = {WORD_END, NULL, 0};
	bool		declares = false;
	bool		label = false;	/* << name >> stands before */
	int			depth = 0;
	int			blocks = 0;
	Word		word;

	/* who sends texts whole needs no semicolon at their end, and who cuts them leaves one there */
	while (size > 0 && strchr(" \t\r\n", text[size - 1]))
		size--;
	if (size == 0 || text[size - 1] != ';' || !skip_head(&reader))
		return false;
	while ((word = mcs_gateway_next_word(&reader)).kind != WORD_END)
	{
		if (mcs_gateway_sign_is(&word, '('))
			depth++;
		else if (mcs_gateway_sign_is(&word, ')'))
			depth--;
		else if (depth <= 0)
		{
			if (mcs_gateway_word_is(&word, "DECLARE"))
				declares = true;
			if (mcs_gateway_word_is(&word, "BEGIN"))
				declares = false;
			blocks += block_change(&before, &word, label, blocks);
		}
		if (mcs_gateway_sign_is(&word, ';') && depth <= 0 && blocks <= 0 && !declares)
			return false;
		label = mcs_gateway_sign_is(&word, '>') && mcs_gateway_sign_is(&before, '>');
		before = word;
	}
	return blocks > 0 || declares;
}

bool
mcs_gateway_breaks_block(const char *text, size_t size, bool escapes)
{
	static const char *const ends[] = {"COMMIT", "ROLLBACK", "ABORT", "START", NULL};
	static const char *const made[] = {"TRIGGER", "CHANGE", "CHANGE_STREAM", "EVENT_STORE", "REPLACE", "EXTENSION", NULL};
	static const char *const begun[] = {"WORK", "TRANSACTION", "ISOLATION", NULL};
	WordReader	reader = {.at = text,.end = text + size,.escapes = escapes};
	Word		first = mcs_gateway_next_word(&reader);
	Word		second = mcs_gateway_next_word(&reader);

	if (mcs_gateway_word_is(&first, "CREATE") && mcs_gateway_word_is(&second, "OR"))
		second = mcs_gateway_next_word(&reader);
	return mcs_gateway_word_in(&first, ends) ||
		((mcs_gateway_word_is(&first, "CREATE") || mcs_gateway_word_is(&first, "DROP")) && mcs_gateway_word_in(&second, made)) ||
		(mcs_gateway_word_is(&first, "BEGIN") && (second.kind == WORD_END || mcs_gateway_sign_is(&second, ';') || mcs_gateway_word_in(&second, begun)));
}
