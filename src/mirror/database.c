/*
 * mirror/database.c
 *	  Mirrors of all collections of a stream's database, by one call, which can be
 *	  repeated for those that have come since.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(mcs_create_change_mirrors);

/* ---- which collections ---- */

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* Those of a stream that MongoDB has, by name; a NOTICE says what has no changes. */
static List *
list_collections(const Stream *stream, const MongoTarget *target)
{
	uint64		now;
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, mcs_stream_collections(stream, target, &now))
		names = lappend(names, ((StreamCollection *) lfirst(cell))->collection);
	list_sort(names, compare_names);
	return names;
}

/* ---- a mirror for each ---- */

/* A name that PostgreSQL can have: one that is too long is cut, and a hash of all of it tells it from others. */
static char *
short_name(const char *collection)
{
	int			length = strlen(collection);
	int			room = MCS_NAME_MAX - 9;

	if (length <= MCS_NAME_MAX)
		return pstrdup(collection);
	return psprintf("%.*s_%08x", pg_mbcliplen(collection, length, room), collection,
					hash_bytes((const unsigned char *) collection, length));
}

static bool
is_among(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* The collections of a stream's database that have a mirror on it. */
static List *
mirrored_collections(const Stream *stream)
{
	List	   *names = NIL;
	ListCell   *cell;

	foreach(cell, mcs_mirrors_of_stream(stream->name))
	{
		Mirror	   *mirror = lfirst(cell);

		if (strcmp(mirror->database, stream->database) == 0)
			names = lappend(names, mirror->collection);
	}
	return names;
}

/* Says of an error which collection it is about, and of a name that is taken how the collection gets another. */
static void
error_callback(void *arg)
{
	const MirrorRequest *request = arg;

	if (geterrcode() == ERRCODE_DUPLICATE_OBJECT)
		errhint("SELECT create_change_mirror('another name', collection => %s, stream_name => %s); and call this once more for the others.",
				quote_literal_cstr(request->collection), quote_literal_cstr(request->stream));
	errcontext("mirror of collection \"%s\"", request->collection);
}

/* Makes the mirror of a collection; its name. */
static char *
create_one(const Stream *stream, const MongoTarget *target, char *collection, char *schema, bool listed, bool propose)
{
	MirrorRequest request = {.collection = collection,.stream = stream->name,.database = stream->database,.known = listed,.quiet = true};
	ErrorContextCallback callback = {error_context_stack, error_callback, &request};

	error_context_stack = &callback;
	request.name = short_name(collection);
	request.table = makeRangeVar(schema, request.name, -1);
	if (propose)
		request.columns = mcs_mirror_propose(target, stream->database, collection, MIRROR_SAMPLE);
	mcs_mirror_create(&request);
	error_context_stack = callback.previous;
	return request.name;
}

/* ---- the function ---- */

static char *
required_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/* Whether columns are to be proposed. */
static bool
columns_argument(FunctionCallInfo fcinfo, int number)
{
	static const OptionWord words[] = {{"none", NULL, false}, {"auto", NULL, true}, {NULL, NULL, 0}};

	return !PG_ARGISNULL(number) && mcs_options_word(words, text_to_cstring(PG_GETARG_TEXT_PP(number)), "columns")->value;
}

/* The collections that are asked for. */
static List *
collections_argument(FunctionCallInfo fcinfo, int number, const Stream *stream, const MongoTarget *target)
{
	ArrayType  *array;

	if (PG_ARGISNULL(number))
		return list_collections(stream, target);
	array = PG_GETARG_ARRAYTYPE_P(number);
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("collections must not contain nulls")));
	return mcs_convert_text_array(array);
}

/* create_change_mirrors(stream_name text, schema text, collections text[], columns text) returns setof text */
Datum
mcs_create_change_mirrors(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = required_argument(fcinfo, 0, "stream_name");
	char	   *schema = required_argument(fcinfo, 1, "schema");
	bool		propose = columns_argument(fcinfo, 3);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "mirror of a collection", ALLOCSET_DEFAULT_SIZES);
	Stream	   *stream;
	MongoTarget *target;
	List	   *collections;
	ListCell   *cell;
	List	   *mirrored;
	bool		made = false;

	PreventCommandIfReadOnly("create_change_mirrors()");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	stream = mcs_stream_load_own(name, false);
	(void) get_namespace_oid(schema, false);
	if (strcmp(stream->database, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("change stream \"%s\" follows every database, and create_change_mirrors is for one", name),
				 errhint("Make a stream for the database, or SELECT create_change_mirror('...', stream_name => %s, database => '...');",
						 quote_literal_cstr(name))));
	target = mcs_mongo_target(stream->server, stream->owner);
	collections = collections_argument(fcinfo, 2, stream, target);
	mirrored = mirrored_collections(stream);
	foreach(cell, collections)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		char	   *collection = lfirst(cell);
		Datum		value;
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (!is_among(mirrored, collection))
		{
			value = CStringGetTextDatum(create_one(stream, target, collection, schema, PG_ARGISNULL(2), propose));
			made = true;
			tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
		/* one that is named twice has it the second time */
		mirrored = lappend(mirrored, collection);
	}
	if (made)
		mcs_mirror_tell_if_waiting(stream);
	PG_RETURN_NULL();
}
