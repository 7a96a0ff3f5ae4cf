/*
 * document/gin.c
 *	  GIN support for @> ? ?| ?&.
 *
 * An entry is a hash of 32 bits, of one of two things:
 *
 *		a key of the object at the top, or a string that is an element of the
 *		array at the top or the value itself: what ? looks for
 *		a path of keys together with the scalar at its end; positions in arrays
 *		are no part of the path, as @> does not look at them
 *
 * Numbers hash by value, so the type of a number does not matter.  Entries do
 * not tell apart what was nested in one element of an array from what is in
 * several, and hashes collide; so every hit is checked against the document.
 * A damaged object or array has the entries of what stands before the damage.
 */
#include "mongo_change_stream.h"

#include "access/gin.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_gin_extract);
PG_FUNCTION_INFO_V1(mcs_document_gin_query);
PG_FUNCTION_INFO_V1(mcs_document_gin_consistent);
PG_FUNCTION_INFO_V1(mcs_document_gin_triconsistent);

/* The strategies of the operator class, as jsonb numbers them. */
#define CONTAINS_STRATEGY	7
#define EXISTS_STRATEGY		9
#define EXISTS_ANY_STRATEGY	10
#define EXISTS_ALL_STRATEGY	11

/* Seeds that keep the two sorts of entries apart. */
#define KEY_SEED	UINT64CONST(0x6b65)
#define PATH_SEED	UINT64CONST(0x7061)

/* Entries while they are collected. */
typedef struct Entries
{
	Datum	   *datums;
	int			count;
	int			room;
} Entries;

/* Adds an entry. */
static void
add_entry(Entries *entries, uint64 hash)
{
	if (entries->count == entries->room)
	{
		entries->room = Max(entries->room * 2, 32);
		entries->datums = entries->datums == NULL ? palloc(sizeof(Datum) * entries->room) :
			repalloc(entries->datums, sizeof(Datum) * entries->room);
	}
	entries->datums[entries->count++] = Int32GetDatum((int32) hash);
}

/* The hash of a key, or of a string that counts as one. */
static uint64
hash_key(const char *key, uint32 size)
{
	return hash_bytes_extended((const unsigned char *) key, size, KEY_SEED);
}

/* Adds the entry of a string that ? finds. */
static void
add_string(Entries *entries, const DocumentValue *value)
{
	if (mcs_document_kind(value->type) == DOCUMENT_KIND_STRING)
		add_entry(entries, hash_key((const char *) value->data + 4, value->size - 5));
}

/* Adds the entries that ? looks for. */
static void
add_keys(Entries *entries, const DocumentValue *value)
{
	DocumentIterator it;

	if (!mcs_document_is_container(value->type))
	{
		add_string(entries, value);
		return;
	}
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (value->type == DOCUMENT_OBJECT)
			add_entry(entries, hash_key(it.key, it.key_size));
		else
			add_string(entries, &it.value);
	}
}

/* Adds the entries of the scalars in a value that stands inside depth others and whose path has this hash. */
static void
add_paths(Entries *entries, const DocumentValue *value, uint64 path, int depth)
{
	DocumentIterator it;

	check_stack_depth();
	/* what is deeper is not looked into by @> either */
	if (depth > DOCUMENT_MAX_DEPTH)
		return;
	if (!mcs_document_is_container(value->type))
	{
		/* seeded with the path, so that one entry says both; equal numbers of two types hash alike */
		add_entry(entries, mcs_document_hash_value(value, path));
		return;
	}
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		add_paths(entries, &it.value, value->type == DOCUMENT_ARRAY ? path :
				  hash_combine64(path, hash_bytes_extended((const unsigned char *) it.key, it.key_size, PATH_SEED)), depth + 1);
	}
}

/* document_gin_extract(document, internal): the entries of a document */
Datum
mcs_document_gin_extract(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	int32	   *count = (int32 *) PG_GETARG_POINTER(1);
	Entries		entries = {NULL, 0, 0};

	/* GIN removes duplicates itself */
	add_keys(&entries, &value);
	add_paths(&entries, &value, PATH_SEED, 0);
	*count = entries.count;
	PG_RETURN_POINTER(entries.datums);
}

/* document_gin_query: the entries that an operator's right side asks for */
Datum
mcs_document_gin_query(PG_FUNCTION_ARGS)
{
	int32	   *count = (int32 *) PG_GETARG_POINTER(1);
	StrategyNumber strategy = PG_GETARG_UINT16(2);
	int32	   *mode = (int32 *) PG_GETARG_POINTER(6);
	Entries		entries = {NULL, 0, 0};

	if (strategy == CONTAINS_STRATEGY)
	{
		DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));

		add_paths(&entries, &value, PATH_SEED, 0);
	}
	else if (strategy == EXISTS_STRATEGY)
	{
		text	   *key = PG_GETARG_TEXT_PP(0);

		add_entry(&entries, hash_key(VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
	}
	else
	{
		Datum	   *keys;
		bool	   *nulls;
		int			keys_count;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), BPCHAROID, -1, false, TYPALIGN_INT, &keys, &nulls, &keys_count);
		for (int i = 0; i < keys_count; i++)
		{
			if (!nulls[i])
				add_entry(&entries, hash_key(VARDATA_ANY(DatumGetPointer(keys[i])), VARSIZE_ANY_EXHDR(DatumGetPointer(keys[i]))));
		}
	}
	/* {"a": {}} or ?& '{}': every document is to be looked at; ?| '{}' finds none */
	if (entries.count == 0 && strategy != EXISTS_ANY_STRATEGY)
		*mode = GIN_SEARCH_MODE_ALL;
	*count = entries.count;
	PG_RETURN_POINTER(entries.datums);
}

/* document_gin_consistent: may a document with these entries be a hit? */
Datum
mcs_document_gin_consistent(PG_FUNCTION_ARGS)
{
	bool	   *check = (bool *) PG_GETARG_POINTER(0);
	StrategyNumber strategy = PG_GETARG_UINT16(1);
	int32		count = PG_GETARG_INT32(3);
	bool	   *recheck = (bool *) PG_GETARG_POINTER(5);

	*recheck = true;
	if (strategy == EXISTS_STRATEGY || strategy == EXISTS_ANY_STRATEGY)
		PG_RETURN_BOOL(true);	/* one entry is enough, and GIN found one */
	for (int i = 0; i < count; i++)
	{
		if (!check[i])
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}

/* document_gin_triconsistent: the same while some entries are not known */
Datum
mcs_document_gin_triconsistent(PG_FUNCTION_ARGS)
{
	GinTernaryValue *check = (GinTernaryValue *) PG_GETARG_POINTER(0);
	StrategyNumber strategy = PG_GETARG_UINT16(1);
	int32		count = PG_GETARG_INT32(3);

	if (strategy == EXISTS_STRATEGY || strategy == EXISTS_ANY_STRATEGY)
	{
		for (int i = 0; i < count; i++)
		{
			if (check[i] != GIN_FALSE)
				PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
		}
		PG_RETURN_GIN_TERNARY_VALUE(GIN_FALSE);
	}
	for (int i = 0; i < count; i++)
	{
		if (check[i] == GIN_FALSE)
			PG_RETURN_GIN_TERNARY_VALUE(GIN_FALSE);
	}
	PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
}
