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

/* ---- what there is ---- */

/* A string field of an object, palloc'ed; NULL where there is none that is text. */
static char *
string_field(const DocumentValue *object, const char *key)
{
	DocumentValue value;
	const char *string;
	uint32		size;

	if (object->type != DOCUMENT_OBJECT || !mcs_document_find(object->data, object->size, key, &value) ||
		!mcs_document_get_string(&value, &string, &size) || !mcs_document_is_utf8(string, size) || memchr(string, '\0', size))
		return NULL;
	return pnstrdup(string, size);
}

/* Collections as MongoDB lists them. */
typedef struct Collections
{
	List	   *names;			/* of char *: those that have changes */
	StringInfoData others;		/* the others, for a message */
} Collections;

/* What an element of listCollections says. */
static void
take_collection(Collections *collections, const DocumentValue *element)
{
	char	   *name = string_field(element, "name");
	char	   *type = string_field(element, "type");

	/* a name that is no text cannot be that of a stream's collection either */
	if (name == NULL)
		return;
	if (strncmp(name, "system.", 7) == 0)
		type = "of MongoDB's own";
	else if (type == NULL || strcmp(type, "collection") == 0)
	{
		collections->names = lappend(collections->names, name);
		return;
	}
	else if (strcmp(type, "timeseries") == 0)
		type = "time series";
	appendStringInfo(&collections->others, "%s%s (%s)", collections->others.len > 0 ? ", " : "", name, type);
}

/* What a reply holds; the cursor's id, 0 at the end. */
static int64
take_reply(Collections *collections, const MongoReply *reply, const char *batch)
{
	DocumentValue cursor;
	DocumentValue elements;
	DocumentValue value;
	DocumentIterator it;
	int64		id = 0;

	if (!mcs_document_find(reply->data, reply->size, "cursor", &cursor) || cursor.type != DOCUMENT_OBJECT ||
		!mcs_document_find(cursor.data, cursor.size, batch, &elements) || elements.type != DOCUMENT_ARRAY)
		return 0;
	mcs_document_iterate(&it, elements.data, elements.size);
	while (mcs_document_next(&it))
		take_collection(collections, &it.value);
	if (mcs_document_find(cursor.data, cursor.size, "id", &value))
		(void) mcs_document_get_int64(&value, &id);
	return id;
}

/* listCollections, of what the role may read, or (cursor not 0) what follows. */
static Document *
command(int64 cursor)
{
	DocumentBuilder builder;

	if (cursor == 0)
		return mcs_document_in_text("{\"listCollections\": 1, \"nameOnly\": true, \"authorizedCollections\": true}");
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_int64(&builder, "getMore", cursor);
	mcs_document_append_string(&builder, "collection", "$cmd.listCollections");
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

static int
compare_collections(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

/* The collections of a stream's database, by name; those without changes are told of. */
static List *
list_collections(const Stream *stream, const MongoTarget *target)
{
	MongoSession *session = mcs_cache_session(target);
	Collections collections = {NIL};
	const char *batch = "firstBatch";
	int64		cursor = 0;

	initStringInfo(&collections.others);
	do
	{
		Document   *question = command(cursor);
		MongoReply *reply = mcs_session_command(session, stream->database, DOCUMENT_VALUE(question),
												DOCUMENT_VALUE_SIZE(question), "list collections", NULL);

		cursor = take_reply(&collections, reply, batch);
		mcs_session_free_reply(reply);
		batch = "nextBatch";
	}
	while (cursor != 0);
	if (collections.others.len > 0)
		ereport(NOTICE,
				(errmsg("what has no changes in MongoDB gets no mirror"),
				 errdetail("Database \"%s\" has: %s.", stream->database, collections.others.data)));
	list_sort(collections.names, compare_collections);
	return collections.names;
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
has_mirror(List *mirrors, const Stream *stream, const char *collection)
{
	ListCell   *cell;

	foreach(cell, mirrors)
	{
		Mirror	   *mirror = lfirst(cell);

		if (strcmp(mirror->collection, collection) == 0 && strcmp(mirror->database, stream->database) == 0)
			return true;
	}
	return false;
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
	MirrorRequest request = {.collection = collection,.stream = stream->name,.database = stream->database,.known = listed};
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
		return stream->collection ? list_make1(stream->collection) : list_collections(stream, target);
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
	foreach(cell, collections)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);
		char	   *collection = lfirst(cell);
		Datum		value;
		bool		isnull = false;

		CHECK_FOR_INTERRUPTS();
		/* one that is named twice, too, has it the second time */
		if (!has_mirror(mcs_mirrors_of_stream(name), stream, collection))
		{
			value = CStringGetTextDatum(create_one(stream, target, collection, schema, PG_ARGISNULL(2), propose));
			tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	PG_RETURN_NULL();
}
