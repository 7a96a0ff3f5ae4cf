/*
 * stream/namespace.c
 *	  What a new stream shall watch: whether MongoDB has it, and can have changes
 *	  of it.
 *
 * MongoDB opens a change stream on whatever it is told, since what is not there
 * may come.  So a stream on a view, on a time series or with a name in another
 * case would be taken and stay empty for ever.  Two small questions show it,
 * which take no right that watching does not take: with nameOnly and
 * authorizedCollections listCollections needs no privilege of its own, and
 * listDatabases shows what the role may read.  Where they are refused all the
 * same, nothing is said.
 *
 * What can never work is an error, what may come is a NOTICE.
 *
 * And which collections there are of those that a stream follows, for copies of
 * what is in them.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* What MongoDB has of a name. */
typedef struct Found
{
	bool		exact;
	char	   *type;			/* of a collection: "collection", "view", "timeseries" */
	char	   *other_case;		/* a name that differs in nothing but the case of letters, or NULL */
} Found;

/* {$regex: "^name$", $options: "i"}: the name in any case, whatever characters are in it. */
static void
append_name(DocumentBuilder *builder, const char *name)
{
	StringInfoData pattern;

	initStringInfo(&pattern);
	appendStringInfoChar(&pattern, '^');
	for (const char *c = name; *c; c++)
	{
		if (strchr("\\^$.|?*+()[]{}", *c))
			appendStringInfoChar(&pattern, '\\');
		appendStringInfoChar(&pattern, *c);
	}
	appendStringInfoChar(&pattern, '$');
	mcs_document_begin_object(builder, "name");
	mcs_document_append_string(builder, "$regex", pattern.data);
	mcs_document_append_string(builder, "$options", "i");
	mcs_document_end(builder);
}

/* The collections of a name in a database, or (collection NULL) the databases of a name. */
static Document *
command(const char *database, const char *collection)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_int32(&builder, collection ? "listCollections" : "listDatabases", 1);
	mcs_document_begin_object(&builder, "filter");
	append_name(&builder, collection ? collection : database);
	mcs_document_end(&builder);
	mcs_document_append_bool(&builder, "nameOnly", true);
	if (collection)
		mcs_document_append_bool(&builder, "authorizedCollections", true);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* The array of what was found in a reply; false where there is none. */
static bool
found_array(const MongoReply *reply, bool collections, DocumentValue *array)
{
	if (!collections)
		return mcs_document_find(reply->data, reply->size, "databases", array) && array->type == DOCUMENT_ARRAY;
	return mcs_session_reply_batch(reply, array, NULL);
}

/* Asks for a collection, or (collection NULL) a database; false where MongoDB does not answer that. */
static bool
look_for(MongoSession *session, const char *database, const char *collection, Found *found, uint64 *now)
{
	Document   *question = command(database, collection);
	const char *wanted = collection ? collection : database;
	MongoError	error;			/* not told: watching may work all the same */
	MongoReply *reply;
	DocumentValue array;
	DocumentIterator it;

	memset(found, 0, sizeof(*found));
	reply = mcs_session_command(session, collection ? database : "admin", DOCUMENT_VALUE(question), DOCUMENT_VALUE_SIZE(question),
								"look for the stream's collection", &error);
	if (reply == NULL)
		return false;
	/* for nothing: every reply of a replica set carries its time */
	*now = Max(*now, mcs_session_operation_time(reply));
	if (!found_array(reply, collection != NULL, &array))
	{
		mcs_session_free_reply(reply);
		return false;
	}
	mcs_document_iterate(&it, array.data, array.size);
	while (mcs_document_next(&it))
	{
		char	   *name = mcs_document_find_text(&it.value, "name");

		if (name == NULL)
			continue;
		if (strcmp(name, wanted) == 0)
		{
			found->exact = true;
			found->type = mcs_document_find_text(&it.value, "type");
		}
		else
			found->other_case = name;
	}
	mcs_session_free_reply(reply);
	return true;
}

bool
mcs_namespace_look(MongoSession *session, const char *database, const char *collection, char **type, char **other_case)
{
	Found		found;
	uint64		now = 0;

	if (!look_for(session, database, collection, &found, &now))
		return false;
	/* a server that says no type has nothing but collections */
	*type = found.exact ? found.type ? found.type : pstrdup("collection") : NULL;
	*other_case = found.other_case;
	return true;
}

/* MongoDB has views and time series, but no changes of them. */
static void
refuse_type(const Stream *stream, const char *type)
{
	bool		view = strcmp(type, "view") == 0;

	if (strcmp(type, "collection") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("\"%s.%s\" is a %s", stream->database, stream->collection, view ? "view" : "time series"),
			 errdetail("MongoDB has no change streams of %s.", view ? "views" : "time series"),
			 view ? errhint("Watch the collection that the view reads, with a filter.") : 0));
}

/* The database is not there under this name: another of that name keeps it from ever being. */
static void
refuse_database(const Stream *stream, const char *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_DATABASE),
			 errmsg("MongoDB of server \"%s\" has no database \"%s\"", stream->server, stream->database),
			 errdetail("It has \"%s\", and takes no second one that differs only in the case of letters.", other),
			 errhint("Add the argument database => %s.", quote_literal_cstr(other))));
}

/* A.b may have been meant as the collection of that name in the server's own database. */
static bool
is_dotted_collection(const Stream *stream, const MongoTarget *target, MongoSession *session, uint64 *now)
{
	Found		found;

	return target->database && stream->collection && strcmp(target->database, stream->database) != 0 &&
		look_for(session, target->database, psprintf("%s.%s", stream->database, stream->collection), &found, now) &&
		found.exact;
}

/* Tells of what is not there yet. */
static void
tell_missing(const Stream *stream, const MongoTarget *target, MongoSession *session, bool has_database,
			 const char *other_case, uint64 *now)
{
	char	   *what = has_database ? psprintf("collection \"%s.%s\"", stream->database, stream->collection) :
		psprintf("database \"%s\"", stream->database);

	if (other_case)
		ereport(NOTICE,
				(errmsg("MongoDB has no %s yet", what),
				 errdetail("It has \"%s.%s\", which is another.", stream->database, other_case),
				 errhint("If that is meant, drop the stream and make it with collection => %s.", quote_literal_cstr(other_case))));
	else if (!has_database && is_dotted_collection(stream, target, session, now))
		ereport(NOTICE,
				(errmsg("MongoDB has no %s yet", what),
				 errdetail("Database \"%s\" has a collection \"%s.%s\", which is another.",
						   target->database, stream->database, stream->collection),
				 errhint("If that is meant, drop the stream and make it with collection => %s, in the dialect ON %s.",
						 quote_literal_cstr(psprintf("%s.%s", stream->database, stream->collection)),
						 quote_identifier(psprintf("%s.%s", stream->database, stream->collection)))));
	else
	{
		char	   *near = has_database ? mcs_guess_collection(session, stream->database, stream->collection) : NULL;

		ereport(NOTICE,
				(errmsg("MongoDB has no %s yet", what),
				 errdetail("The stream waits for it."),
				 near ? errhint("Perhaps %s is meant: then drop the stream and make it anew.", near) : 0));
	}
}

/* What the stream is to watch; *now becomes MongoDB's time. */
static void
check_names(const Stream *stream, const MongoTarget *target, MongoSession *session, uint64 *now)
{
	Found		collection;
	Found		database;

	/* a collection that is there needs no look for its database */
	if (stream->collection)
	{
		if (!look_for(session, stream->database, stream->collection, &collection, now))
			return;
		if (collection.exact)
		{
			if (collection.type)
				refuse_type(stream, collection.type);
			return;
		}
	}
	if (!look_for(session, stream->database, NULL, &database, now))
		return;
	/* MongoDB keeps no two databases whose names differ in case only: this one can never come */
	if (!database.exact && database.other_case)
		refuse_database(stream, database.other_case);
	if (!database.exact || stream->collection)
		tell_missing(stream, target, session, database.exact, stream->collection ? collection.other_case : NULL, now);
}

/*
 * Raises an error for what can never have events, and tells of what is not there
 * yet and of a position, to start after, that MongoDB's time has not reached.
 */
void
mcs_namespace_check(const Stream *stream, const MongoTarget *target, MongoSession *session, const char *token)
{
	Found		found;
	uint64		now = 0;

	if (strcmp(stream->database, "*") != 0)
		check_names(stream, target, session, &now);
	else
		(void) look_for(session, "admin", NULL, &found, &now);	/* asked for the time only */
	if (now != 0 && mcs_token_time(token) >> 32 > now >> 32)
		ereport(NOTICE,
				(errmsg("change stream \"%s\" starts in the future", stream->name),
				 errdetail("It waits until %s; what is written before is not part of it.",
						   timestamptz_to_str(mcs_event_second(mcs_token_time(token))))));
}

/* ---- the collections that a stream follows ---- */

/* What is known of them while replies are read. */
typedef struct Listing
{
	MongoSession *session;
	uint64		now;			/* MongoDB's time */
	List	   *collections;	/* of StreamCollection */
	List	   *others;			/* char *, of those that have no changes */
} Listing;

/* Names that a NOTICE lists. */
#define LISTED_NAMES	10

static void
add_collection(Listing *listing, const char *database, const DocumentValue *element)
{
	char	   *name = mcs_document_find_text(element, "name");
	char	   *type = mcs_document_find_text(element, "type");
	StreamCollection *collection;

	/* of MongoDB's own nobody is told: a time series has one, and a database with views */
	if (name == NULL || strncmp(name, "system.", 7) == 0)
		return;
	if (type && strcmp(type, "collection") != 0)
	{
		listing->others = lappend(listing->others, psprintf("%s.%s", database, name));
		return;
	}
	collection = palloc(sizeof(StreamCollection));
	collection->database = pstrdup(database);
	collection->collection = name;
	listing->collections = lappend(listing->collections, collection);
}

/* Adds what a reply says; the cursor's id, 0 at the end. */
static int64
add_reply(Listing *listing, const char *database, const MongoReply *reply)
{
	DocumentValue elements;
	DocumentIterator it;
	int64		id;

	listing->now = Max(listing->now, mcs_session_operation_time(reply));
	if (!mcs_session_reply_batch(reply, &elements, &id))
		return 0;
	mcs_document_iterate(&it, elements.data, elements.size);
	while (mcs_document_next(&it))
		add_collection(listing, database, &it.value);
	return id;
}

/* The first question, or with an id of a cursor the next. */
static Document *
list_command(const char *collection, int64 id)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (id != 0)
	{
		mcs_document_append_int64(&builder, "getMore", id);
		mcs_document_append_string(&builder, "collection", "$cmd.listCollections");
	}
	else
	{
		mcs_document_append_int32(&builder, "listCollections", 1);
		if (collection)
		{
			mcs_document_begin_object(&builder, "filter");
			mcs_document_append_string(&builder, "name", collection);
			mcs_document_end(&builder);
		}
		mcs_document_append_bool(&builder, "nameOnly", true);
		mcs_document_append_bool(&builder, "authorizedCollections", true);
	}
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* Those of a database, or the one of a name. */
static void
list_database(Listing *listing, const char *database, const char *collection)
{
	int64		id = 0;

	do
	{
		Document   *command = list_command(collection, id);
		MongoReply *reply;

		CHECK_FOR_INTERRUPTS();
		reply = mcs_session_command(listing->session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
									psprintf("list the collections of database \"%s\"", database), NULL);
		id = add_reply(listing, database, reply);
		mcs_session_free_reply(reply);
	} while (id != 0);
}

/* Those of every database that the role may read, but MongoDB's own. */
static void
list_deployment(Listing *listing)
{
	Document   *command = mcs_document_in_text("{\"listDatabases\": 1, \"nameOnly\": true}");
	MongoReply *reply = mcs_session_command(listing->session, "admin", DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
											"list the databases", NULL);
	List	   *names = NIL;
	DocumentValue array;
	DocumentIterator it;
	ListCell   *cell;

	if (found_array(reply, false, &array))
	{
		mcs_document_iterate(&it, array.data, array.size);
		while (mcs_document_next(&it))
		{
			char	   *name = mcs_document_find_text(&it.value, "name");

			if (name && strcmp(name, "admin") != 0 && strcmp(name, "config") != 0 && strcmp(name, "local") != 0)
				names = lappend(names, name);
		}
	}
	mcs_session_free_reply(reply);
	foreach(cell, names)
		list_database(listing, lfirst(cell), NULL);
}

/* Tells of views and time series, of which there are no changes. */
static void
tell_others(const Listing *listing)
{
	StringInfoData names;
	ListCell   *cell;
	int			count = list_length(listing->others);

	if (count == 0)
		return;
	initStringInfo(&names);
	foreach(cell, listing->others)
		if (foreach_current_index(cell) < LISTED_NAMES)
			appendStringInfo(&names, "%s%s", names.len ? ", " : "", (char *) lfirst(cell));
	if (count > LISTED_NAMES)
		appendStringInfo(&names, " and %d others", count - LISTED_NAMES);
	ereport(NOTICE,
			(errmsg_plural("a view or time series is left out", "views and time series are left out", count),
			 errdetail("MongoDB has no changes of %s.", names.data)));
}

/*
 * The collections of a stream, of which there are changes, in MongoDB's order: a
 * list of StreamCollection.  That of a stream on one collection is one of them also
 * while it does not exist.  *now becomes MongoDB's time.
 */
List *
mcs_stream_collections(const Stream *stream, const MongoTarget *target, uint64 *now)
{
	Listing		listing = {0};

	listing.session = mcs_session_open(target, stream->name);
	if (strcmp(stream->database, "*") == 0)
		list_deployment(&listing);
	else
		list_database(&listing, stream->database, stream->collection);
	mcs_session_close(listing.session);
	tell_others(&listing);
	if (stream->collection && listing.collections == NIL && listing.others == NIL)
	{
		StreamCollection *collection = palloc(sizeof(StreamCollection));

		collection->database = stream->database;
		collection->collection = stream->collection;
		listing.collections = list_make1(collection);
	}
	*now = listing.now;
	return listing.collections;
}
