/*
 * document/set.c
 *	  Making a document that differs from another in one place.
 *
 * Only the objects and arrays on the way to that place are opened; what stands
 * before and after it in each of them is copied in one piece.  The rules are
 * those of jsonb's subscripts: a missing object or array is made (an array for
 * an integer), an array grows with nulls up to the position, and a scalar on
 * the way is an error.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"

/* The place and what goes there. */
typedef struct Setter
{
	DocumentBuilder builder;
	const DocumentStep *steps;
	const bool *is_integer;
	int			count;
	const DocumentValue *replacement;
} Setter;

/* More than a document of 16 MB could hold of nulls is a mistake, not an array. */
#define MAX_GAP 1000000

static void set_value(Setter *setter, const char *key, uint32 key_size, const DocumentValue *old, int level);

/* Copies bytes of elements. */
static void
copy_span(Setter *setter, const uint8 *from, const uint8 *to)
{
	appendBinaryStringInfo(&setter->builder.buf, (const char *) from, to - from);
}

/* Sets a member of an object, which may be missing. */
static void
set_member(Setter *setter, const char *key, uint32 key_size, const DocumentValue *old, int level)
{
	const DocumentStep *step = &setter->steps[level];
	DocumentIterator it;
	const uint8 *start;

	mcs_document_open(&setter->builder, key, key_size, DOCUMENT_OBJECT);
	mcs_document_iterate(&it, old->data, old->size);
	for (start = it.at; mcs_document_next(&it); start = it.at)
	{
		CHECK_FOR_INTERRUPTS();
		if (it.key_size == step->size && memcmp(it.key, step->key, step->size) == 0)
			break;
	}
	/* a copy of what cannot be read to its end would lose the rest */
	if (it.malformed)
		mcs_document_malformed();
	copy_span(setter, old->data + 4, start);
	set_value(setter, step->key, step->size, start < it.end ? &it.value : NULL, level + 1);
	copy_span(setter, it.at, it.end);
	mcs_document_end(&setter->builder);
}

/* The position that a step means in an array of so many elements. */
static int64
array_position(const DocumentStep *step, int length)
{
	int64		position;

	if (!mcs_document_parse_int64(step->key, step->size, &position))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("path element \"%.*s\" is not an integer", (int) step->size, step->key),
				 errdetail("The path leads into an array there.")));
	if (position < 0)
		position += length;
	if (position < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("path element \"%.*s\" is out of range", (int) step->size, step->key),
				 errdetail("The array has %d elements.", length)));
	if (position - length > MAX_GAP)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("path element \"%.*s\" is too far beyond the end of the array", (int) step->size, step->key),
				 errdetail("The array has %d elements; at most %d nulls are added.", length, MAX_GAP)));
	return position;
}

/* Sets an element of an array, which may be beyond its end. */
static void
set_element(Setter *setter, const char *key, uint32 key_size, const DocumentValue *old, int level)
{
	DocumentIterator it;
	int			opened;
	const uint8 *start;
	int			length = 0;
	int64		position;

	mcs_document_iterate(&it, old->data, old->size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		length++;
	}
	if (it.malformed)
		mcs_document_malformed();
	position = array_position(&setter->steps[level], length);

	mcs_document_open(&setter->builder, key, key_size, DOCUMENT_ARRAY);
	opened = setter->builder.depth - 1;
	mcs_document_iterate(&it, old->data, old->size);
	start = it.at;
	for (int64 i = 0; mcs_document_next(&it) && i < position; i++)
	{
		CHECK_FOR_INTERRUPTS();
		start = it.at;
	}
	copy_span(setter, old->data + 4, start);
	/* the elements were copied with their keys, so the builder has not counted them */
	setter->builder.levels[opened].next_index = Min(position, length);
	for (int64 i = length; i < position; i++)
		mcs_document_append_null(&setter->builder, NULL);
	if (position < length)
	{
		set_value(setter, NULL, 0, &it.value, level + 1);
		copy_span(setter, it.at, it.end);
	}
	else
		set_value(setter, NULL, 0, NULL, level + 1);
	mcs_document_end(&setter->builder);
}

/* Writes the new form of what stands at a level of the path; old is NULL where nothing does. */
static void
set_value(Setter *setter, const char *key, uint32 key_size, const DocumentValue *old, int level)
{
	static const uint8 empty[] = {5, 0, 0, 0, 0};
	DocumentValue made = {DOCUMENT_OBJECT, empty, sizeof(empty)};

	check_stack_depth();
	if (level == setter->count)
	{
		uint8	   *space = mcs_document_append_raw(&setter->builder, key, key_size,
													setter->replacement->type, setter->replacement->size);

		if (setter->replacement->size > 0)
			memcpy(space, setter->replacement->data, setter->replacement->size);
		return;
	}
	if (old == NULL)
	{
		if (setter->is_integer[level])
			made.type = DOCUMENT_ARRAY;
		old = &made;
	}
	if (old->type == DOCUMENT_OBJECT)
		set_member(setter, key, key_size, old, level);
	else if (old->type == DOCUMENT_ARRAY)
		set_element(setter, key, key_size, old, level);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot set \"%.*s\" in a value of type %s", (int) setter->steps[level].size, setter->steps[level].key,
						mcs_document_type_name(old->type)),
				 errdetail("The path leads through an object or an array only.")));
}

/*
 * Makes a document with the replacement at the end of a path; NULL for the old
 * document makes a new one.  is_integer says which steps were integers.
 */
Document *
mcs_document_set(const DocumentValue *old, const DocumentStep *steps, const bool *is_integer, int count,
				 const DocumentValue *replacement)
{
	Setter		setter;

	mcs_document_build(&setter.builder);
	setter.steps = steps;
	setter.is_integer = is_integer;
	setter.count = count;
	setter.replacement = replacement;
	set_value(&setter, NULL, 0, old, 0);
	return mcs_document_finish(&setter.builder);
}
