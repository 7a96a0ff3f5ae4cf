/*
 * document_contain.c
 *	  Containment @> and existence ? ?| ?&, with the rules of jsonb.
 *
 * An object contains another if it has each of its keys with a value that
 * contains the other's; an array contains another if each of the other's
 * elements is contained in one of its own; an array at the top also contains a
 * scalar that is among its elements.  Other values contain what they equal, so
 * 1 contains 1.0.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "document.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_contains);
PG_FUNCTION_INFO_V1(mcs_document_contained);
PG_FUNCTION_INFO_V1(mcs_document_exists);
PG_FUNCTION_INFO_V1(mcs_document_exists_any);
PG_FUNCTION_INFO_V1(mcs_document_exists_all);

static bool contains(const DocumentValue *whole, const DocumentValue *part);

/* Does an object have each member of another? */
static bool
object_contains(const DocumentValue *whole, const DocumentValue *part)
{
	DocumentIterator it;
	DocumentValue found;

	mcs_document_iterate(&it, part->data, part->size);
	while (mcs_document_next(&it))
	{
		if (!mcs_document_find_sized(whole->data, whole->size, it.key, it.key_size, &found) ||
			!contains(&found, &it.value))
			return false;
	}
	return true;
}

/* Does an array have an element that contains a value? */
static bool
array_has(const DocumentValue *whole, const DocumentValue *part)
{
	DocumentIterator it;

	mcs_document_iterate(&it, whole->data, whole->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (contains(&it.value, part))
			return true;
	}
	return false;
}

/* Does an array have each element of another? */
static bool
array_contains(const DocumentValue *whole, const DocumentValue *part)
{
	DocumentIterator it;

	mcs_document_iterate(&it, part->data, part->size);
	while (mcs_document_next(&it))
	{
		if (!array_has(whole, &it.value))
			return false;
	}
	return true;
}

/* Does a value contain another, below the top? */
static bool
contains(const DocumentValue *whole, const DocumentValue *part)
{
	check_stack_depth();
	if (whole->type == DOCUMENT_OBJECT && part->type == DOCUMENT_OBJECT)
		return object_contains(whole, part);
	if (whole->type == DOCUMENT_ARRAY && part->type == DOCUMENT_ARRAY)
		return array_contains(whole, part);
	return mcs_document_compare(whole, part) == 0;
}

/* Does a document contain another? */
static bool
document_contains(const DocumentValue *whole, const DocumentValue *part)
{
	if (whole->type == DOCUMENT_ARRAY && !mcs_document_is_container(part->type))
		return array_has(whole, part);
	return contains(whole, part);
}

/* document @> document */
Datum
mcs_document_contains(PG_FUNCTION_ARGS)
{
	DocumentValue whole = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	DocumentValue part = mcs_document_take(PG_GETARG_DOCUMENT_P(1));

	PG_RETURN_BOOL(document_contains(&whole, &part));
}

/* document <@ document */
Datum
mcs_document_contained(PG_FUNCTION_ARGS)
{
	DocumentValue part = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	DocumentValue whole = mcs_document_take(PG_GETARG_DOCUMENT_P(1));

	PG_RETURN_BOOL(document_contains(&whole, &part));
}

/* Is this value a string that says this? */
static bool
is_string(const DocumentValue *value, const char *key, uint32 key_size)
{
	return mcs_document_kind(value->type) == DOCUMENT_KIND_STRING &&
		value->size - 5 == key_size && memcmp(value->data + 4, key, key_size) == 0;
}

/* Is this a key of an object, a string in an array, or the string itself? */
static bool
exists(const DocumentValue *value, const char *key, uint32 key_size)
{
	DocumentIterator it;
	DocumentValue found;

	if (value->type == DOCUMENT_OBJECT)
		return mcs_document_find_sized(value->data, value->size, key, key_size, &found);
	if (value->type != DOCUMENT_ARRAY)
		return is_string(value, key, key_size);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		if (is_string(&it.value, key, key_size))
			return true;
	}
	return false;
}

/* document ? bpchar */
Datum
mcs_document_exists(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	text	   *key = PG_GETARG_TEXT_PP(1);

	PG_RETURN_BOOL(exists(&value, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)));
}

/* How many of the keys exist; nulls among them do not count, in neither figure. */
static int
count_existing(FunctionCallInfo fcinfo, int *asked)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	Datum	   *keys;
	bool	   *nulls;
	int			count;
	int			found = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BPCHAROID, -1, false, TYPALIGN_INT, &keys, &nulls, &count);
	*asked = 0;
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			continue;
		(*asked)++;
		if (exists(&value, VARDATA_ANY(DatumGetPointer(keys[i])), VARSIZE_ANY_EXHDR(DatumGetPointer(keys[i]))))
			found++;
	}
	return found;
}

/* document ?| bpchar[] */
Datum
mcs_document_exists_any(PG_FUNCTION_ARGS)
{
	int			asked;

	PG_RETURN_BOOL(count_existing(fcinfo, &asked) > 0);
}

/* document ?& bpchar[] */
Datum
mcs_document_exists_all(PG_FUNCTION_ARGS)
{
	int			asked;
	int			found = count_existing(fcinfo, &asked);

	PG_RETURN_BOOL(found == asked);
}
