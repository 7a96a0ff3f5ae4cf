/*
 * gateway/position.c
 *	  Where in the client's own text an error is.
 *
 * A translation differs from its source by small edits.  A position before the
 * first or behind the last of them is the same place, shifted; one between them is
 * that of a word, and is found where both texts have the word equally often.
 * Positions count characters, from 1.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdlib.h>
#include <string.h>

/* Words are looked for in texts up to this. */
#define SEARCHED_MAX	(256 * 1024)

void
mcs_gateway_forget_translated(Translated *translated)
{
	free(translated->source);
	memset(translated, 0, sizeof(*translated));
}

/* Keeps both texts; without memory for them positions are not known. */
void
mcs_gateway_keep_translated(Translated *translated, const char *source, size_t source_size, const char *made, size_t made_size, size_t offset)
{
	mcs_gateway_forget_translated(translated);
	translated->source = malloc(source_size + made_size + 1);
	if (!translated->source)
		return;
	translated->made = translated->source + source_size;
	translated->source_size = source_size;
	translated->made_size = made_size;
	translated->offset = offset;
	memcpy(translated->source, source, source_size);
	memcpy(translated->made, made, made_size);
}

/* Whether a byte begins a character. */
static bool
begins_character(char c, bool utf8)
{
	return !utf8 || ((unsigned char) c & 0xC0) != 0x80;
}

/* The byte of a character, counted from 1; behind the text: its size. */
static size_t
to_byte(const char *text, size_t size, long position, bool utf8)
{
	size_t		at;

	for (at = 0; at < size; at++)
		if (begins_character(text[at], utf8) && --position == 0)
			break;
	return at;
}

/* The character of a byte. */
static long
to_position(const char *text, size_t at, bool utf8)
{
	long		position = 1;

	for (size_t i = 0; i < at; i++)
		position += begins_character(text[i], utf8);
	return position;
}

/* Whether the word stands in the text at a place. */
static bool
stands_at(const char *text, size_t size, size_t at, const Word *word)
{
	return size - at >= word->size && memcmp(text + at, word->at, word->size) == 0;
}

/* The byte of the source where a word of what was made of it stands; the source's size where that is not clear. */
static size_t
find_word(const Translated *translated, size_t at)
{
	WordReader	reader = {.at = translated->made + at,.end = translated->made + translated->made_size};
	Word		word = mcs_gateway_next_word(&reader);
	size_t		before = 0,
				total = 0,
				found = translated->source_size;

	if (word.kind == WORD_END || word.at != translated->made + at || translated->source_size + translated->made_size > SEARCHED_MAX)
		return found;
	for (size_t i = 0; i < translated->made_size; i++)
		if (stands_at(translated->made, translated->made_size, i, &word))
		{
			before += i < at;
			total++;
		}
	for (size_t i = 0; i < translated->source_size; i++)
		if (stands_at(translated->source, translated->source_size, i, &word))
		{
			if (before-- == 0)
				found = i;
			total--;
		}
	return total == 0 ? found : translated->source_size;
}

long
mcs_gateway_source_position(const char *source, size_t size, size_t offset, long position, bool utf8)
{
	size_t		at = to_byte(source, size, position, utf8);

	if (position <= 0 || at < offset)
		return 0;
	return to_position(source + offset, at - offset, utf8);
}

long
mcs_gateway_made_position(const Translated *translated, long position, bool utf8)
{
	size_t		at;
	size_t		least = translated->source_size < translated->made_size ? translated->source_size : translated->made_size;
	size_t		same = 0,
				same_at_end = 0;

	if (position <= 0 || !translated->source)
		return 0;
	at = to_byte(translated->made, translated->made_size, position, utf8);
	while (same < least && translated->source[same] == translated->made[same])
		same++;
	while (same_at_end < least - same &&
		   translated->source[translated->source_size - same_at_end - 1] == translated->made[translated->made_size - same_at_end - 1])
		same_at_end++;
	if (at >= translated->made_size - same_at_end)
		at = at - translated->made_size + translated->source_size;
	else if (at >= same)
	{
		at = find_word(translated, at);
		if (at == translated->source_size)
			return 0;
	}
	return mcs_gateway_source_position(translated->source, translated->source_size, translated->offset,
									   to_position(translated->source, at, utf8), utf8);
}
