/*
 * mirror/source.c
 *	  The stream that feeds a mirror: whether one that there is can, and the
 *	  functions on streams, called for one that was made for the mirror.
 *
 * Those functions are called as the caller would call them, with his rights.
 * They are found by the code that they run: a name in SQL could lead to a
 * function that somebody has put beside them.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- calling functions on streams ---- */

/* The function of a name in the extension's schema that runs some code of this library. */
static Oid
find_function(const char *name, PGFunction code)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	Oid			found = InvalidOid;

	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (form->pronamespace == mcs_extension_schema() && mcs_extension_function(form->oid) == code)
			found = form->oid;
	}
	ReleaseSysCacheList(list);
	if (!OidIsValid(found))
		elog(ERROR, "the extension's schema has no function %s", name);
	return found;
}

/* Raises unless the caller may call a function himself. */
static void
check_execute(Oid function, const char *name)
{
#if PG_VERSION_NUM >= 160000
	AclResult	result = object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE);
#else
	AclResult	result = pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE);
#endif

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FUNCTION, name);
}

/* Some arguments of a call; the others are null, which for these functions is their default. */
typedef struct NamedArgument
{
	const char *name;
	Datum		value;
	bool		isnull;
} NamedArgument;

static NamedArgument
text_argument(const char *name, const char *text)
{
	NamedArgument argument = {name, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL};

	return argument;
}

static void
call(const char *function, PGFunction code, const NamedArgument *arguments, int count)
{
	Oid			oid = find_function(function, code);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
	LOCAL_FCINFO(fcinfo, FUNC_MAX_ARGS);
	FmgrInfo	flinfo;
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			number;

	check_execute(oid, function);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", oid);
	number = get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);
	fmgr_info(oid, &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, number, InvalidOid, NULL, NULL);
	for (int i = 0; i < number; i++)
	{
		fcinfo->args[i].isnull = true;
		fcinfo->args[i].value = (Datum) 0;
		for (int j = 0; names && j < count; j++)
			if (strcmp(names[i], arguments[j].name) == 0)
			{
				fcinfo->args[i].value = arguments[j].value;
				fcinfo->args[i].isnull = arguments[j].isnull;
			}
	}
	(void) FunctionCallInvoke(fcinfo);
}

void
mcs_mirror_pause_stream(const char *stream)
{
	NamedArgument arguments[] = {text_argument("stream_name", stream)};

	call("pause_change_stream", mcs_pause_change_stream, arguments, lengthof(arguments));
}

void
mcs_mirror_resume_stream(const char *stream, const char *start_at)
{
	NamedArgument arguments[] = {text_argument("stream_name", stream), text_argument("start_at", start_at)};

	call("resume_change_stream", mcs_resume_change_stream, arguments, lengthof(arguments));
}

void
mcs_mirror_drop_stream(const char *stream)
{
	NamedArgument arguments[] = {text_argument("stream_name", stream)};

	call("drop_change_stream", mcs_drop_change_stream, arguments, lengthof(arguments));
}

/* A stream of the mirror's name, which keeps no events. */
static void
make_stream(Mirror *mirror, const MirrorRequest *request)
{
	NamedArgument arguments[] = {
		text_argument("stream_name", mirror->stream),
		text_argument("collection", mirror->collection),
		text_argument("database", request->database),
		text_argument("server", request->server),
		{"keep_events", BoolGetDatum(false), false}
	};

	call("create_change_stream", mcs_create_change_stream, arguments, lengthof(arguments));
	/* the server's, where the request names none */
	mirror->database = mcs_streams_load(mirror->stream, false, false)->database;
}

/* ---- whether a stream can feed a mirror ---- */

static void
check_options(const Stream *stream)
{
	char	   *names = mcs_stream_partial_options(stream);

	if (names)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" has %s, so it cannot feed a mirror", stream->name, names),
				 errdetail("A mirror needs every event of its collection as it is."),
				 errhint("SELECT alter_change_stream(%s, reset => '{%s}'); or leave out stream_name, and the mirror gets a stream of its own.",
						 quote_literal_cstr(stream->name), names)));
}

/* Raises that a request does not go with its stream. */
static void
refuse_argument(const Stream *stream, const char *argument, const char *given, const char *has)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("change stream \"%s\" does not follow %s \"%s\"", stream->name, argument, given),
			 errdetail("Its %s is \"%s\".", argument, has),
			 errhint("Add the argument %s => %s, or name another stream.", argument, quote_literal_cstr(has))));
}

/* The database of a collection: that of the stream, or of one that follows all of them the one that is said. */
static void
take_database(Mirror *mirror, const Stream *stream, const MirrorRequest *request)
{
	const MongoTarget *target;

	if (strcmp(stream->database, "*") != 0)
	{
		if (request->database && strcmp(request->database, stream->database) != 0)
			refuse_argument(stream, "database", request->database, stream->database);
		mirror->database = stream->database;
		return;
	}
	mirror->database = request->database;
	if (mirror->database == NULL)
	{
		target = mcs_mongo_target(stream->server, stream->owner);
		mirror->database = target->database;
	}
	if (mirror->database == NULL || strcmp(mirror->database, "*") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("change stream \"%s\" follows every database, and a mirror is of one collection", stream->name),
				 errhint("Add the argument database => '...'.")));
}

/* Sees that a stream's events are all that the mirror needs. */
static void
take_stream(Mirror *mirror, const Stream *stream, const MirrorRequest *request)
{
	check_options(stream);
	if (request->server && strcmp(request->server, stream->server) != 0)
		refuse_argument(stream, "server", request->server, stream->server);
	take_database(mirror, stream, request);
	if (stream->collection && strcmp(stream->collection, mirror->collection) != 0)
		refuse_argument(stream, "collection", mirror->collection, stream->collection);
	mcs_stream_check_database_name(mirror->database);
	mcs_stream_check_collection_name(mirror->collection, mirror->database);
	mirror->owner = stream->owner;
}

void
mcs_mirror_recheck_source(const Mirror *mirror, const Stream *stream)
{
	check_options(stream);
	if (stream->owner != mirror->owner)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("change stream \"%s\" has got another owner meanwhile", stream->name),
				 errhint("Try again.")));
}

/* The stream of the mirror's name is still to be made: whether it can be is seen before anything else is done. */
static void
check_new_stream(const Mirror *mirror)
{
	Stream	   *stream = mcs_streams_load(mirror->stream, false, true);

	if (stream)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("change stream \"%s\" already exists", stream->name),
				 errdetail("A mirror without stream_name gets a change stream of its own name."),
				 has_privs_of_role(GetUserId(), stream->owner) ?
				 errhint("Add the argument stream_name => %s to hang the mirror on it, or choose another name.",
						 quote_literal_cstr(stream->name)) :
				 errhint("Choose another name, and say the collection by the argument collection => %s.",
						 quote_literal_cstr(mirror->collection))));
}

void
mcs_mirror_find_source(Mirror *mirror, const MirrorRequest *request)
{
	mirror->collection = request->collection ? request->collection : mirror->name;
	mirror->owns_stream = request->stream == NULL;
	if (mirror->owns_stream)
	{
		mirror->stream = mirror->name;
		/* not the session's user: a mirror that a SECURITY DEFINER function makes is its owner's, as its stream is */
		mirror->owner = GetUserId();
		/* raises where the caller may not use the server */
		(void) mcs_mongo_target(request->server, mirror->owner);
		check_new_stream(mirror);
		return;
	}
	mirror->stream = request->stream;
	/* the right first; the rows are locked when all else is done */
	take_stream(mirror, mcs_stream_load_own(mirror->stream, false), request);
}

/* ---- what MongoDB has ---- */

/* MongoDB has views and time series, but no changes of them. */
static void
refuse_type(const Mirror *mirror, const char *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s.%s\" is a %s", mirror->database, mirror->collection, strcmp(type, "timeseries") == 0 ? "time series" : type),
			 errdetail("MongoDB has no change streams of it, so no table can be kept equal to it."),
			 strcmp(type, "view") == 0 ? errhint("Mirror the collection that the view reads, and make a view of its table.") : 0));
}

/* Looks at the collection of a stream that follows more than this one; where MongoDB does not answer, nothing is said. */
static void
look_at_collection(const Mirror *mirror, const Stream *stream)
{
	const MongoTarget *target = mcs_mongo_target(stream->server, stream->owner);
	char	   *type;
	char	   *other_case;
	char	   *near;

	if (!mcs_namespace_look(mcs_cache_session(target), mirror->database, mirror->collection, &type, &other_case))
		return;
	if (type && strcmp(type, "collection") != 0)
		refuse_type(mirror, type);
	if (type)
		return;
	near = other_case ? NULL : mcs_guess_collection(mcs_cache_session(target), mirror->database, mirror->collection);
	ereport(NOTICE,
			(errmsg("MongoDB has no collection \"%s.%s\" yet", mirror->database, mirror->collection),
			 other_case ? errdetail("It has \"%s.%s\", which is another.", mirror->database, other_case) :
			 errdetail("The mirror waits for it."),
			 near ? errhint("Perhaps %s is meant: then drop the mirror and make it anew.", near) : 0));
}

/* Tells of fields that the mirror's texts read and no document has. */
static void
look_at_fields(const Mirror *mirror, const Stream *stream)
{
	MongoSession *session;
	List	   *documents;
	char	   *of;

	if (!mirror->translated_columns && !mirror->translated_filter)
		return;
	session = mcs_session_open(mcs_mongo_target(stream->server, stream->owner), mirror->name);
	mcs_guess_limit(session);
	documents = mcs_guess_sample(session, mirror->database, mirror->collection);
	mcs_session_close(session);
	of = psprintf("documents of collection \"%s.%s\" that were looked at", mirror->database, mirror->collection);
	mcs_guess_tell_fields("columns", mirror->translated_columns, "document", documents, of);
	mcs_guess_tell_fields("filter", mirror->translated_filter, "document", documents, of);
}

void
mcs_mirror_open_source(Mirror *mirror, const MirrorRequest *request)
{
	Stream	   *stream;

	if (mirror->owns_stream)
		make_stream(mirror, request);
	stream = mcs_stream_load_own(mirror->stream, false);
	/* one that is paused may be so since MongoDB is away */
	if (stream->paused || stream->stopped_state)
		return;
	if (!request->known && !mirror->owns_stream)
		look_at_collection(mirror, stream);
	if (!request->known)
		look_at_fields(mirror, stream);
}

void
mcs_mirror_tell_if_waiting(const Stream *stream)
{
	const char *name = quote_literal_cstr(stream->name);

	if (stream->stopped_state && strcmp(stream->stopped_state, "history_lost") == 0)
		ereport(NOTICE,
				(errmsg("change stream \"%s\" has stopped, and nothing is copied until it runs", stream->name),
				 errdetail("MongoDB no longer has the history that it would go on with."),
				 errhint("SELECT resume_change_stream(%s, start_at => 'now'); after that its mirrors are copied again.", name)));
	else if (stream->paused || stream->stopped_state || stream->restored)
		ereport(NOTICE,
				(errmsg("change stream \"%s\" %s, and nothing is copied until it runs", stream->name,
						stream->stopped_state ? "has stopped" : "is paused"),
				 errhint("SELECT resume_change_stream(%s);", name)));
}
