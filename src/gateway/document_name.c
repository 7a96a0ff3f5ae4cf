/*
 * gateway/document_name.c
 *	  What relations and columns of the client's database are called that hold
 *	  documents, as hashes: a text that has none of these words is plain SQL.
 *
 * Two names of one hash cost a needless translation, and nothing else.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdlib.h>
#include <string.h>

/* No name is longer. */
#define NAME_LENGTH 63

#define KINDS	((uint64_t) (NAME_RELATION | NAME_JSON))

/* The hash of a name as it is in the catalogs. */
static uint64_t
hash_name(const char *name, size_t size, bool folds)
{
	uint64_t	hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
	{
		unsigned char c = name[i];

		if (folds && c >= 'A' && c <= 'Z')
			c += 'a' - 'A';
		hash = (hash ^ c) * UINT64_C(0x100000001b3);
	}
	/* a taken slot is never 0 */
	return (hash & ~KINDS) | UINT64_C(4);
}

/* A hash that tells one list of names from another. */
uint64_t
mcs_gateway_mark(const char *data, size_t size)
{
	return hash_name(data, size, false);
}

/* Where a hash is, or would be. */
static size_t
slot_of(const Names *names, uint64_t hash)
{
	size_t		at = (hash >> 3) & (names->room - 1);

	while (names->slots[at] && (names->slots[at] & ~KINDS) != hash)
		at = (at + 1) & (names->room - 1);
	return at;
}

/* Makes the table twice as large. */
static bool
grow(Names *names)
{
	Names		larger = {NULL, names->room ? names->room * 2 : 64, names->count};

	larger.slots = calloc(larger.room, sizeof(uint64_t));
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < names->room; i++)
		if (names->slots[i])
			larger.slots[slot_of(&larger, names->slots[i] & ~KINDS)] = names->slots[i];
	free(names->slots);
	*names = larger;
	return true;
}

bool
mcs_gateway_add_names(Names *names, const char *list, size_t size, int what)
{
	const char *end = list + size;

	while (list < end)
	{
		const char *stop = memchr(list, 1, end - list);
		uint64_t	hash = hash_name(list, (stop ? stop : end) - list, false);
		size_t		at;

		if (names->count * 2 >= names->room && !grow(names))
			return false;
		at = slot_of(names, hash);
		if (!names->slots[at])
			names->count++;
		names->slots[at] |= hash | what;
		list = stop ? stop + 1 : end;
	}
	return true;
}

/* What a word of a text names: NAME_RELATION and NAME_JSON, or 0. */
int
mcs_gateway_find_name(const Names *names, const Word *word)
{
	if (names->count == 0)
		return 0;
	/* the server cuts it where a name's length ends, which is not done here */
	if (word->size > NAME_LENGTH && (word->kind == WORD_PLAIN || word->kind == WORD_QUOTED))
		return NAME_RELATION;
	if (word->kind == WORD_PLAIN)
		return names->slots[slot_of(names, hash_name(word->at, word->size, true))] & KINDS;
	/* quotes inside of a name, and U&"", are too rare to be read exactly */
	if (word->kind == WORD_QUOTED && word->size >= 2)
		return *word->at != '"' ? NAME_RELATION : names->slots[slot_of(names, hash_name(word->at + 1, word->size - 2, false))] & KINDS;
	return 0;
}

void
mcs_gateway_forget_names(Names *names)
{
	free(names->slots);
	memset(names, 0, sizeof(*names));
}
