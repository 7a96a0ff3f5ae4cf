/*
 * document/path.c
 *	  Reaching into a document: -> ->> #> #>> and document_get.
 *
 * A path is walked over the stored bytes once, whatever its length, and only
 * the value it ends at is copied.  A missing field and a BSON null both give
 * SQL NULL.
 *
 * What gives a document is leakproof: it raises no error for any value, also
 * where that is damaged.  What gives text is not, since not every string of
 * BSON can be one.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_field);
PG_FUNCTION_INFO_V1(mcs_document_field_text);
PG_FUNCTION_INFO_V1(mcs_document_element);
PG_FUNCTION_INFO_V1(mcs_document_element_text);
PG_FUNCTION_INFO_V1(mcs_document_path);
PG_FUNCTION_INFO_V1(mcs_document_path_text);
PG_FUNCTION_INFO_V1(mcs_document_get);

/* Reads a step that is an integer, as arrays want it. */
static bool
step_index(const DocumentStep *step, int64 *index)
{
	/* no int4 has more than 11 characters */
	return step->size > 0 && step->size <= 11 && mcs_document_parse_int64(step->key, step->size, index);
}

/* Takes one step: a key of an object, a position of an array. */
static bool
follow_step(const DocumentValue *value, const DocumentStep *step, DocumentValue *found)
{
	int64		index;

	/* MongoDB's paths also look into every element of an array; PostgreSQL's do not */
	if (value->type == DOCUMENT_OBJECT)
		return mcs_document_find_sized(value->data, value->size, step->key, step->size, found);
	if (value->type == DOCUMENT_ARRAY && step_index(step, &index))
		return mcs_document_find_index(value->data, value->size, index, found);
	return false;
}

/* Walks a path. */
bool
mcs_document_walk(const DocumentValue *value, const DocumentStep *steps, int count, DocumentValue *found)
{
	*found = *value;
	for (int i = 0; i < count; i++)
	{
		DocumentValue next;

		/* not into found itself, which is what is read */
		if (!follow_step(found, &steps[i], &next))
			return false;
		*found = next;
	}
	return true;
}

/* Takes a text[] apart; NULL where it holds a null, which is no step. */
static DocumentStep *
read_steps(ArrayType *array, int *count)
{
	Datum	   *elements;
	bool	   *nulls;
	DocumentStep *steps;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, count);
	steps = palloc(sizeof(DocumentStep) * Max(*count, 1));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			return NULL;
		/* an element of an array is never compressed nor out of line; the steps live as long as the array */
		steps[i].key = VARDATA_ANY(DatumGetPointer(elements[i]));
		steps[i].size = VARSIZE_ANY_EXHDR(DatumGetPointer(elements[i]));
	}
	return steps;
}

/* Appends the path of a place; a key that is no text shows as a question mark. */
void
mcs_document_write_place(StringInfo out, const DocumentPlace *place)
{
	if (place->parent != NULL)
	{
		mcs_document_write_place(out, place->parent);
		appendStringInfoChar(out, '.');
	}
	if (mcs_document_is_utf8(place->key, place->key_size))
		appendBinaryStringInfo(out, place->key, place->key_size);
	else
		appendStringInfoChar(out, '?');
}

/* Raises the error for a text that cannot be one of PostgreSQL's, with the path to it as far as that is known. */
static void
reject_text(const DocumentStep *steps, int count)
{
	StringInfoData path;

	initStringInfo(&path);
	for (int i = 0; i < count; i++)
		appendStringInfo(&path, "%s%.*s", i > 0 ? "." : "", (int) steps[i].size, steps[i].key);
	ereport(ERROR,
			(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
			 errmsg("a string in the document cannot be a text"),
			 count > 0 ?
			 errdetail("The string at \"%s\" is not valid UTF-8 or holds a zero character.", path.data) :
			 errdetail("It is not valid UTF-8 or holds a zero character."),
			 errhint("The operator -> gives the value as it is.")));
}

/* A value as plain text; NULL for null.  The steps that led to it are for the error message. */
text *
mcs_document_plain_text(const DocumentValue *value, const DocumentStep *steps, int count)
{
	StringInfoData out;
	const char *string;
	uint32		size;
	bool		bad_text = false;

	/* most are strings, which need no buffer to grow in */
	if (value->type == DOCUMENT_STRING && mcs_document_get_string(value, &string, &size))
	{
		if (memchr(string, '\0', size) != NULL || !mcs_document_is_utf8(string, size))
			reject_text(steps, count);
		return cstring_to_text_with_len(string, size);
	}
	initStringInfo(&out);
	/* room for the header, so that the buffer becomes the text */
	appendStringInfoSpaces(&out, VARHDRSZ);
	if (!mcs_document_write_plain(&out, value, &bad_text))
	{
		if (bad_text)
			reject_text(steps, count);
		return NULL;
	}
	SET_VARSIZE(out.data, out.len);
	return (text *) out.data;
}

/* A path that is the same in each call of a statement. */
typedef struct CachedPath
{
	DocumentStep *steps;
	int			count;
} CachedPath;

/* The steps of a function's path argument, taken apart once where it does not change. */
static DocumentStep *
path_argument(FunctionCallInfo fcinfo, int *count)
{
	CachedPath *cached = fcinfo->flinfo->fn_extra;
	MemoryContext caller;

	if (cached == NULL)
	{
		if (!get_fn_expr_arg_stable(fcinfo->flinfo, 1))
			return read_steps(PG_GETARG_ARRAYTYPE_P(1), count);
		caller = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
		cached = palloc(sizeof(CachedPath));
		cached->steps = read_steps(PG_GETARG_ARRAYTYPE_P_COPY(1), &cached->count);
		/* last, so that an error leaves nothing half done; the steps point into the copy */
		fcinfo->flinfo->fn_extra = cached;
		MemoryContextSwitchTo(caller);
	}
	*count = cached->count;
	return cached->steps;
}

/* The document to reach into; only what gives text says that it is damaged. */
static DocumentValue
take(FunctionCallInfo fcinfo, bool as_text)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);

	return as_text ? mcs_document_take(document) : mcs_document_take_any(document);
}

/* Returns a value that a path led to, as document or as text. */
static Datum
return_value(FunctionCallInfo fcinfo, bool found, const DocumentValue *value, bool as_text, const DocumentStep *steps, int count)
{
	text	   *plain;

	if (!found || value->type == DOCUMENT_NULL)
		PG_RETURN_NULL();
	if (!as_text)
		PG_RETURN_POINTER(mcs_document_make(value->type, value->data, value->size));
	plain = mcs_document_plain_text(value, steps, count);
	if (plain == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(plain);
}

/* A field of an object. */
static Datum
field(FunctionCallInfo fcinfo, bool as_text)
{
	DocumentValue value = take(fcinfo, as_text);
	text	   *key = PG_GETARG_TEXT_PP(1);
	DocumentStep step = {VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key)};
	DocumentValue found;

	/* as for jsonb: a text reaches into objects only, an integer into arrays only; a path into both */
	return return_value(fcinfo,
						value.type == DOCUMENT_OBJECT && follow_step(&value, &step, &found),
						&found, as_text, &step, 1);
}

/* document -> text */
Datum
mcs_document_field(PG_FUNCTION_ARGS)
{
	return field(fcinfo, false);
}

/* document ->> text */
Datum
mcs_document_field_text(PG_FUNCTION_ARGS)
{
	return field(fcinfo, true);
}

/* An element of an array. */
static Datum
element(FunctionCallInfo fcinfo, bool as_text)
{
	DocumentValue value = take(fcinfo, as_text);
	char		digits[12];
	DocumentStep step = {digits, pg_ltoa(PG_GETARG_INT32(1), digits)};
	DocumentValue found;

	return return_value(fcinfo,
						value.type == DOCUMENT_ARRAY && follow_step(&value, &step, &found),
						&found, as_text, &step, 1);
}

/* document -> integer */
Datum
mcs_document_element(PG_FUNCTION_ARGS)
{
	return element(fcinfo, false);
}

/* document ->> integer */
Datum
mcs_document_element_text(PG_FUNCTION_ARGS)
{
	return element(fcinfo, true);
}

/* The value at a path. */
static Datum
path(FunctionCallInfo fcinfo, bool as_text)
{
	DocumentValue value = take(fcinfo, as_text);
	int			count = 0;
	DocumentStep *steps = path_argument(fcinfo, &count);
	DocumentValue found;

	return return_value(fcinfo,
						steps != NULL && mcs_document_walk(&value, steps, count, &found),
						&found, as_text, steps, count);
}

/* document #> text[] */
Datum
mcs_document_path(PG_FUNCTION_ARGS)
{
	return path(fcinfo, false);
}

/* document #>> text[] */
Datum
mcs_document_path_text(PG_FUNCTION_ARGS)
{
	return path(fcinfo, true);
}

/* Is this a letter or a digit of ASCII? */
static bool
is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Turns user_id into userId: underscores between letters or digits go.  False where there is none. */
static bool
camel_case(const DocumentStep *step, DocumentStep *camel)
{
	char	   *to = palloc(step->size + 1);

	camel->key = to;
	for (uint32 i = 0; i < step->size; i++)
	{
		const char *at = &step->key[i];

		if (*at == '_' && i > 0 && i + 1 < step->size &&
			is_alphanumeric(at[-1]) && is_alphanumeric(at[1]))
		{
			i++;
			*to++ = pg_ascii_toupper((unsigned char) at[1]);
		}
		else
			*to++ = *at;
	}
	camel->size = to - camel->key;
	return camel->size != step->size;
}

/* Takes one step: as it is written, else in camelCase. */
static bool
get_step(const DocumentValue *value, const DocumentStep *step, DocumentValue *found)
{
	DocumentStep camel;
	bool		there;

	if (follow_step(value, step, found))
		return true;
	if (value->type != DOCUMENT_OBJECT || step->size > value->size || memchr(step->key, '_', step->size) == NULL)
		return false;
	there = camel_case(step, &camel) && follow_step(value, &camel, found);
	pfree(unconstify(char *, camel.key));
	return there;
}

/* What is left of a path: steps, of which the first may be used up in part. */
typedef struct PathRest
{
	const DocumentStep *steps;
	int			count;
	uint32		at;				/* where the rest of the first begins */
	bool		dotted;			/* the first is a path of its own, up to each dot a step */
} PathRest;

/* Takes the next step off a path. */
static PathRest
next_step(const PathRest *path, DocumentStep *step)
{
	PathRest	rest = *path;
	const char *dot;

	step->key = path->steps->key + path->at;
	step->size = path->steps->size - path->at;
	dot = path->dotted ? memchr(step->key, '.', step->size) : NULL;
	if (dot != NULL)
	{
		step->size = dot - step->key;
		rest.at += step->size + 1;
		return rest;
	}
	rest.steps++;
	rest.count--;
	rest.at = 0;
	rest.dotted = false;
	return rest;
}

/* Takes all that is left of a path as one key with dots in it. */
static bool
get_joined(const DocumentValue *value, const PathRest *path, DocumentValue *found)
{
	uint64		size = path->count - 1;
	StringInfoData key;
	DocumentStep joined;
	bool		there;

	for (int i = 0; i < path->count; i++)
		size += path->steps[i].size - (i == 0 ? path->at : 0);
	/* no key is longer than its object */
	if (size > value->size)
		return false;
	initStringInfo(&key);
	for (int i = 0; i < path->count; i++)
	{
		uint32		skip = i == 0 ? path->at : 0;

		if (i > 0)
			appendStringInfoChar(&key, '.');
		appendBinaryStringInfo(&key, path->steps[i].key + skip, path->steps[i].size - skip);
	}
	joined.key = key.data;
	joined.size = key.len;
	there = get_step(value, &joined, found);
	pfree(key.data);
	return there;
}

/*
 * Walks a path as the dialect reads it.  Each step is a key as written or in
 * camelCase; one with a dot is a literal key first, then a path; and where
 * nesting finds nothing, the rest of the path is tried as one literal key.
 * How deep this goes is bounded, as in mcs_document_compare.
 */
static bool
get_value(const DocumentValue *value, const PathRest *path, int depth, DocumentValue *found)
{
	DocumentValue next;
	DocumentStep step;
	PathRest	rest;
	PathRest	split = *path;

	CHECK_FOR_INTERRUPTS();
	if (path->count == 0)
	{
		*found = *value;
		return true;
	}
	if (!mcs_document_is_container(value->type) || depth > DOCUMENT_MAX_DEPTH)
		return false;
	rest = next_step(path, &step);
	if (get_step(value, &step, &next) && get_value(&next, &rest, depth + 1, found))
		return true;
	split.dotted = true;
	if (!path->dotted && memchr(step.key, '.', step.size) != NULL && get_value(value, &split, depth, found))
		return true;
	return rest.count > 0 && value->type == DOCUMENT_OBJECT && get_joined(value, path, found);
}

/* document_get(document, VARIADIC text[]): the value at a path, as the dialect reads paths */
Datum
mcs_document_get(PG_FUNCTION_ARGS)
{
	DocumentValue value = take(fcinfo, false);
	PathRest	path = {NULL, 0, 0, false};
	DocumentValue found;

	/* once, whatever the value: a leakproof function must not fail by what it finds in it */
	check_stack_depth();
	path.steps = path_argument(fcinfo, &path.count);
	return return_value(fcinfo,
						path.steps != NULL && get_value(&value, &path, 0, &found),
						&found, false, path.steps, path.count);
}
