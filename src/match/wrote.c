/*
 * match/wrote.c
 *	  What CONTAINS means for changed_fields, where PostgreSQL evaluates it: did
 *	  the event write this field?  What MongoDB is asked instead is in fields.c.
 *
 * A written path counts where it is the field itself, a document that holds
 * it, or a field inside it, so where one path is a prefix of the other, step
 * by step.  Positions in arrays may be left out of the path that is asked for:
 * items.qty finds items.0.qty.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_wrote);

/* A dotted path, or the rest of one. */
typedef struct DottedPath
{
	const char *at;				/* NULL: nothing is left */
	const char *end;
} DottedPath;

/* Takes the next step off a path; returns its size. */
static Size
next_step(DottedPath *path, const char **step)
{
	const char *dot = memchr(path->at, '.', path->end - path->at);
	Size		size = (dot ? dot : path->end) - path->at;

	*step = path->at;
	path->at = dot ? dot + 1 : NULL;
	return size;
}

/* Whether a step is a position in an array. */
static bool
is_position(const char *step, Size size)
{
	for (Size i = 0; i < size; i++)
		if (step[i] < '0' || step[i] > '9')
			return false;
	return size > 0;
}

/* Whether one path is the beginning of the other, positions below the top of the written one being optional. */
static bool
paths_meet(DottedPath written, DottedPath asked)
{
	const char *step;
	const char *other;
	Size		size;
	Size		other_size;
	bool		at_top = true;

	/*
	 * A step that is the one asked for is taken as such.  That is never wrong:
	 * had it been left out, as a position, for the sake of a later one like
	 * it, then that one can be left out instead.
	 */
	while (written.at != NULL && asked.at != NULL)
	{
		DottedPath	rest = asked;

		CHECK_FOR_INTERRUPTS();
		size = next_step(&written, &step);
		other_size = next_step(&rest, &other);
		if (size == other_size && memcmp(step, other, size) == 0)
			asked = rest;
		else if (at_top || !is_position(step, size))
			return false;
		at_top = false;
	}
	return true;
}

/* change_stream_wrote(changed_fields text[], path text): did the event write that field? */
Datum
mcs_change_stream_wrote(PG_FUNCTION_ARGS)
{
	ArrayType  *fields = PG_GETARG_ARRAYTYPE_P(0);
	text	   *path = PG_GETARG_TEXT_PP(1);
	DottedPath	asked = {VARDATA_ANY(path), VARDATA_ANY(path) + VARSIZE_ANY_EXHDR(path)};
	ArrayIterator iterator = array_create_iterator(fields, 0, NULL);
	Datum		element;
	bool		isnull;
	bool		found = false;

	while (!found && array_iterate(iterator, &element, &isnull))
	{
		DottedPath	written;

		CHECK_FOR_INTERRUPTS();
		if (isnull)
			continue;
		written.at = VARDATA_ANY(DatumGetPointer(element));
		written.end = written.at + VARSIZE_ANY_EXHDR(DatumGetPointer(element));
		found = paths_meet(written, asked);
	}
	array_free_iterator(iterator);
	PG_RETURN_BOOL(found);
}
