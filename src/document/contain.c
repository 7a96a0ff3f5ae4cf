/*
 * document/contain.c
 *	  Containment @> and existence ? ?| ?&, with the rules of jsonb.
 *
 * An object contains another if it has each of its keys with a value that
 * contains the other's; an array contains another if each of the other's
 * elements is contained in one of its own; an array at the top also contains a
 * scalar that is among its elements.  Other values contain what they equal, so
 * 1 contains 1.0.
 *
 * The operators are leakproof: none raises an error for any value.  An object
 * or an array that is damaged has the elements before the damage.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_contains);
PG_FUNCTION_INFO_V1(mcs_document_contained);
PG_FUNCTION_INFO_V1(mcs_document_exists);
PG_FUNCTION_INFO_V1(mcs_document_exists_any);
PG_FUNCTION_INFO_V1(mcs_document_exists_all);

static bool contains(const DocumentValue *whole, const DocumentValue *part, int depth);

/* Does an object have each member of another? */
static bool
object_contains(const DocumentValue *whole, const DocumentValue *part, int depth)
{
	DocumentLookup lookup;
	DocumentIterator it;
	DocumentValue found;
	bool		all = true;

	mcs_document_lookup_begin(&lookup, whole, false);
	mcs_document_iterate(&it, part->data, part->size);
	while (all && mcs_document_next(&it))
		all = mcs_document_lookup_key(&lookup, it.key, it.key_size, &found) && contains(&found, &it.value, depth + 1);
	mcs_document_lookup_end(&lookup);
	return all;
}

/* Does an array have an element that contains a value? */
static bool
array_has(const DocumentValue *whole, const DocumentValue *part, int depth)
{
	DocumentIterator it;

	mcs_document_iterate(&it, whole->data, whole->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (contains(&it.value, part, depth + 1))
			return true;
	}
	return false;
}

/* Does an array have each element of another? */
static bool
array_contains(const DocumentValue *whole, const DocumentValue *part, int depth)
{
	DocumentLookup lookup;
	DocumentIterator it;
	bool		all = true;

	/* a scalar is looked up among many by halves; to contain a container is more than to equal it, so each element is tried */
	mcs_document_lookup_begin(&lookup, whole, true);
	mcs_document_iterate(&it, part->data, part->size);
	while (all && mcs_document_next(&it))
		all = mcs_document_is_container(it.value.type) ? array_has(whole, &it.value, depth) :
			mcs_document_lookup_value(&lookup, &it.value);
	mcs_document_lookup_end(&lookup);
	return all;
}

/* Does a value contain another, below the top?  What is nested too deeply contains what it equals. */
static bool
contains(const DocumentValue *whole, const DocumentValue *part, int depth)
{
	if (depth < DOCUMENT_MAX_DEPTH)
	{
		if (whole->type == DOCUMENT_OBJECT && part->type == DOCUMENT_OBJECT)
			return object_contains(whole, part, depth);
		if (whole->type == DOCUMENT_ARRAY && part->type == DOCUMENT_ARRAY)
			return array_contains(whole, part, depth);
	}
	return mcs_document_compare(whole, part) == 0;
}

/* Does a document contain another? */
static bool
document_contains(const DocumentValue *whole, const DocumentValue *part)
{
	/* once, whatever the values, as the depth of them is bounded */
	check_stack_depth();
	if (whole->type == DOCUMENT_ARRAY && !mcs_document_is_container(part->type))
		return array_has(whole, part, 0);
	return contains(whole, part, 0);
}

/* document @> document */
Datum
mcs_document_contains(PG_FUNCTION_ARGS)
{
	DocumentValue whole = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	DocumentValue part = mcs_document_take_any(PG_GETARG_DOCUMENT_P(1));

	PG_RETURN_BOOL(document_contains(&whole, &part));
}

/* document <@ document */
Datum
mcs_document_contained(PG_FUNCTION_ARGS)
{
	DocumentValue part = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	DocumentValue whole = mcs_document_take_any(PG_GETARG_DOCUMENT_P(1));

	PG_RETURN_BOOL(document_contains(&whole, &part));
}

/* document ? bpchar: a key of an object, a string in an array, or the string itself */
Datum
mcs_document_exists(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	text	   *key = PG_GETARG_TEXT_PP(1);
	DocumentLookup lookup;
	DocumentValue found;

	mcs_document_lookup_begin(&lookup, &value, false);
	PG_RETURN_BOOL(mcs_document_lookup_key(&lookup, VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), &found));
}

/* Is there one of some keys that exists, or that does not?  Nulls among them do not count. */
static bool
exists_one(FunctionCallInfo fcinfo, bool wanted)
{
	DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	DocumentLookup lookup;
	DocumentValue found;
	Datum	   *keys;
	bool	   *nulls;
	int			count;
	bool		hit = false;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BPCHAROID, -1, false, TYPALIGN_INT, &keys, &nulls, &count);
	mcs_document_lookup_begin(&lookup, &value, false);
	for (int i = 0; i < count && !hit; i++)
		hit = !nulls[i] &&
			mcs_document_lookup_key(&lookup, VARDATA_ANY(DatumGetPointer(keys[i])), VARSIZE_ANY_EXHDR(DatumGetPointer(keys[i])),
									&found) == wanted;
	mcs_document_lookup_end(&lookup);
	return hit;
}

/* document ?| bpchar[] */
Datum
mcs_document_exists_any(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(exists_one(fcinfo, true));
}

/* document ?& bpchar[] */
Datum
mcs_document_exists_all(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!exists_one(fcinfo, false));
}
