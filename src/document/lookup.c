/*
 * document/lookup.c
 *	  Many lookups in one object or array.
 *
 * A lookup walks over the elements, which is the fastest for a few.  Who asks
 * a large object for many keys, or a large array for many values, would walk
 * over all of them again and again; so after some lookups the elements are
 * sorted, once, and then searched by halves.  Everything here can be
 * cancelled, and nothing raises an error because of a value: where memory is
 * short it goes on without the sorted elements.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"

/* So many lookups, and so many bytes to look in, before the elements are sorted. */
#define LOOKUPS_BEFORE_SORT	16
#define BYTES_WORTH_SORTING	512

/* Orders members by the length of the key, and then its bytes. */
static int
compare_keys(const DocumentMember *a, const DocumentMember *b)
{
	if (a->key_size != b->key_size)
		return a->key_size < b->key_size ? -1 : 1;
	return memcmp(a->key, b->key, a->key_size);
}

/* The same, and those of one key by their place, so that a search finds the first. */
static int
compare_keys_and_places(const DocumentMember *a, const DocumentMember *b)
{
	int			order = compare_keys(a, b);

	return order != 0 ? order : a->key < b->key ? -1 : a->key > b->key;
}

/* Orders elements by their values. */
static int
compare_values(const DocumentMember *a, const DocumentMember *b)
{
	return mcs_document_compare(&a->value, &b->value);
}

#define ST_SORT sort_by_key
#define ST_ELEMENT_TYPE DocumentMember
#define ST_COMPARE(a, b) compare_keys_and_places(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_by_value
#define ST_ELEMENT_TYPE DocumentMember
#define ST_COMPARE(a, b) compare_values(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/* Is this value a string that says this? */
static bool
is_string(const DocumentValue *value, const char *key, uint32 key_size)
{
	return mcs_document_kind(value->type) == DOCUMENT_KIND_STRING &&
		value->size - 5 == key_size && memcmp(value->data + 4, key, key_size) == 0;
}

/* Makes a member of an element; false for an element of an array that has no key to be found by. */
static bool
make_member(const DocumentLookup *lookup, const DocumentIterator *it, DocumentMember *member)
{
	member->value = it->value;
	member->key = it->key;
	member->key_size = it->key_size;
	if (lookup->whole.type == DOCUMENT_OBJECT || lookup->by_value)
		return true;
	if (mcs_document_kind(it->value.type) != DOCUMENT_KIND_STRING)
		return false;
	member->key = (const char *) it->value.data + 4;
	member->key_size = it->value.size - 5;
	return true;
}

/* Collects the elements and sorts them; leaves that if there is no memory for it. */
static void
sort_members(DocumentLookup *lookup)
{
	DocumentIterator it;
	Size		count = 0;

	mcs_document_iterate(&it, lookup->whole.data, lookup->whole.size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		count++;
	}
	/* the operators are leakproof, so no error may tell how large the value is */
	lookup->members = palloc_extended(Max(count, 1) * sizeof(DocumentMember), MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (lookup->members == NULL)
		return;
	mcs_document_iterate(&it, lookup->whole.data, lookup->whole.size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (make_member(lookup, &it, &lookup->members[lookup->count]))
			lookup->count++;
	}
	if (lookup->by_value)
		sort_by_value(lookup->members, lookup->count);
	else
		sort_by_key(lookup->members, lookup->count);
}

/* Begins lookups in a value: of keys (strings, in an array), or of the values of an array's elements. */
void
mcs_document_lookup_begin(DocumentLookup *lookup, const DocumentValue *whole, bool by_value)
{
	lookup->whole = *whole;
	lookup->by_value = by_value;
	lookup->asked = 0;
	lookup->members = NULL;
	lookup->count = 0;
}

/* Ends lookups. */
void
mcs_document_lookup_end(DocumentLookup *lookup)
{
	if (lookup->members != NULL)
		pfree(lookup->members);
	lookup->members = NULL;
}

/* Counts a lookup; are the elements sorted? */
static bool
is_sorted(DocumentLookup *lookup)
{
	CHECK_FOR_INTERRUPTS();
	if (lookup->members == NULL && lookup->whole.size >= BYTES_WORTH_SORTING && lookup->asked++ == LOOKUPS_BEFORE_SORT)
		sort_members(lookup);
	return lookup->members != NULL;
}

/* The first member that does not stand before another one. */
static const DocumentMember *
search(const DocumentLookup *lookup, const DocumentMember *wanted)
{
	Size		low = 0;
	Size		high = lookup->count;

	while (low < high)
	{
		Size		middle = low + (high - low) / 2;
		const DocumentMember *member = &lookup->members[middle];

		if ((lookup->by_value ? compare_values(member, wanted) : compare_keys(member, wanted)) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < lookup->count ? &lookup->members[low] : NULL;
}

/* Finds a string in an array, by a walk. */
static bool
walk_to_string(const DocumentValue *array, const char *key, uint32 key_size)
{
	DocumentIterator it;

	mcs_document_iterate(&it, array->data, array->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (is_string(&it.value, key, key_size))
			return true;
	}
	return false;
}

/* Finds the first member of an object with a key; in an array, a string that says it; another value may be that string. */
bool
mcs_document_lookup_key(DocumentLookup *lookup, const char *key, uint32 key_size, DocumentValue *found)
{
	const DocumentMember *member;
	DocumentMember wanted = {key, key_size, {0}};

	if (!mcs_document_is_container(lookup->whole.type))
		return is_string(&lookup->whole, key, key_size);
	if (!is_sorted(lookup))
		return lookup->whole.type == DOCUMENT_OBJECT ?
			mcs_document_find_sized(lookup->whole.data, lookup->whole.size, key, key_size, found) :
			walk_to_string(&lookup->whole, key, key_size);
	member = search(lookup, &wanted);
	if (member == NULL || compare_keys(member, &wanted) != 0)
		return false;
	*found = member->value;
	return true;
}

/* Does an array have an element that equals a value? */
bool
mcs_document_lookup_value(DocumentLookup *lookup, const DocumentValue *value)
{
	const DocumentMember *member;
	DocumentMember wanted = {NULL, 0, *value};
	DocumentIterator it;

	if (is_sorted(lookup))
	{
		member = search(lookup, &wanted);
		return member != NULL && mcs_document_compare(&member->value, value) == 0;
	}
	mcs_document_iterate(&it, lookup->whole.data, lookup->whole.size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (mcs_document_compare(&it.value, value) == 0)
			return true;
	}
	return false;
}
