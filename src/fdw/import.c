/*
 * fdw/import.c
 *	  IMPORT FOREIGN SCHEMA database FROM SERVER server: a foreign table for each
 *	  collection, and all_changes for the whole database.
 *
 * What cannot be followed (views, time series, MongoDB's own collections), may
 * not be, or is followed without images of documents is told by a NOTICE.
 */
#include "mongo_change_stream.h"

#include "fdw/fdw.h"
#include "foreign/fdwapi.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* The table of all the database's collections. */
#define ALL_CHANGES			"all_changes"

/* The wire protocol's version with which images of documents came (6.0). */
#define IMAGES_WIRE_VERSION 17

/* Where the database may not be watched, this many collections are tried. */
#define COLLECTIONS_TRIED	100

/* One answer of listCollections. */
typedef struct Collection
{
	char	   *name;
	char	   *type;			/* "collection", "view", "timeseries" */
	bool		keeps_images;
} Collection;

typedef struct Import
{
	ImportForeignSchemaStmt *statement;
	Oid			serverid;
	const char *database;
	MongoTarget *target;
	MongoSession *session;
	List	   *collections;	/* of Collection */
	bool		options_known;	/* whether they keep images could be read */
	bool		server_keeps_images;
	List	   *taken;			/* names of tables that are made */
	List	   *commands;		/* CREATE FOREIGN TABLE ... */
} Import;

/* ---- asking MongoDB ---- */

/* An object or an array in an object. */
static bool
find_object(const DocumentValue *object, const char *key, DocumentValue *found)
{
	return mcs_document_find(object->data, object->size, key, found) && mcs_document_is_container(found->type);
}

/* Runs a command on the database that is imported; NULL with *error where it fails. */
static MongoReply *
run(Import *import, const Document *command, MongoError *error)
{
	return mcs_session_command(import->session, import->database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
							   "list collections", error);
}

/* Adds what one element of a reply says. */
static void
add_collection(Import *import, const DocumentValue *element)
{
	Collection *collection = palloc0(sizeof(Collection));
	DocumentValue value;

	/* names become identifiers, so they must be text in every respect */
	collection->name = mcs_document_find_text(element, "name");
	collection->type = mcs_document_find_text(element, "type");
	if (collection->name == NULL)
		return;
	if (find_object(element, "options", &value) && find_object(&value, "changeStreamPreAndPostImages", &value) &&
		mcs_document_find(value.data, value.size, "enabled", &value))
		(void) mcs_document_get_bool(&value, &collection->keeps_images);
	import->collections = lappend(import->collections, collection);
}

/* Adds what a reply says; the cursor's id, 0 at the end. */
static int64
add_reply(Import *import, const MongoReply *reply)
{
	DocumentValue elements;
	DocumentIterator it;
	int64		id;

	if (!mcs_session_reply_batch(reply, &elements, &id))
		return 0;
	mcs_document_iterate(&it, elements.data, elements.size);
	while (mcs_document_next(&it))
		if (it.value.type == DOCUMENT_OBJECT)
			add_collection(import, &it.value);
	return id;
}

/* Lists the collections; names_only: those that the user may read, without their options. */
static bool
list_collections(Import *import, bool names_only, MongoError *error)
{
	Document   *command = mcs_document_in_text(names_only ?
											   "{\"listCollections\": 1, \"nameOnly\": true, \"authorizedCollections\": true}" :
											   "{\"listCollections\": 1}");
	MongoReply *reply = run(import, command, error);
	int64		id;

	if (reply == NULL)
		return false;
	id = add_reply(import, reply);
	/* a database of many collections answers in several replies */
	while (id != 0)
	{
		DocumentBuilder builder;

		mcs_session_free_reply(reply);
		mcs_document_build(&builder);
		mcs_document_begin_object(&builder, NULL);
		mcs_document_append_int64(&builder, "getMore", id);
		mcs_document_append_string(&builder, "collection", "$cmd.listCollections");
		mcs_document_end(&builder);
		reply = run(import, mcs_document_finish(&builder), error);
		if (reply == NULL)
			return false;
		id = add_reply(import, reply);
	}
	mcs_session_free_reply(reply);
	return true;
}

/* Whether MongoDB says that it has no collection of the table's name; false also where that cannot be known. */
bool
mcs_fdw_collection_missing(const FdwTable *table, const MongoTarget *target)
{
	DocumentBuilder builder;
	Document   *command;
	DocumentValue value;
	MongoReply *reply;
	MongoError	error;
	bool		missing;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_int32(&builder, "listCollections", 1);
	mcs_document_begin_object(&builder, "filter");
	mcs_document_append_string(&builder, "name", table->collection);
	mcs_document_end(&builder);
	mcs_document_append_bool(&builder, "nameOnly", true);
	mcs_document_append_bool(&builder, "authorizedCollections", true);
	mcs_document_end(&builder);
	command = mcs_document_finish(&builder);
	/* asked only where the scan has shown nothing, so that it costs nothing else */
	reply = mcs_session_command(mcs_cache_session(target), table->database, DOCUMENT_VALUE(command),
								DOCUMENT_VALUE_SIZE(command), "list collections", &error);
	if (reply == NULL)
		return false;
	/* an empty batch: no element "0" */
	missing = mcs_session_reply_batch(reply, &value, NULL) && !mcs_document_find(value.data, value.size, "0", &value);
	mcs_session_free_reply(reply);
	return missing;
}

/* Whether MongoDB knows images at all. */
static bool
server_keeps_images(Import *import)
{
	MongoError	error;
	MongoReply *reply = run(import, mcs_document_in_text("{\"hello\": 1}"), &error);
	DocumentValue value;
	int64		version = 0;

	if (reply == NULL)
		return false;
	if (mcs_document_find(reply->data, reply->size, "maxWireVersion", &value))
		(void) mcs_document_get_int64(&value, &version);
	mcs_session_free_reply(reply);
	return version >= IMAGES_WIRE_VERSION;
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(((Collection *) lfirst(a))->name, ((Collection *) lfirst(b))->name);
}

/* Learns which collections there are. */
static void
ask_collections(Import *import)
{
	MongoError	error;

	import->session = mcs_cache_session(import->target);
	/* with options, which say whether images are kept; that takes a right on the database */
	import->options_known = list_collections(import, false, &error);
	if (!import->options_known && error.sqlstate == ERRCODE_CONNECTION_FAILURE)
	{
		/* the session may have lost its connection long ago */
		mcs_session_close(import->session);
		import->session = mcs_cache_session(import->target);
		import->collections = NIL;	/* what the first replies have said */
		import->options_known = list_collections(import, false, &error);
	}
	if (!import->options_known)
	{
		/* a later reply may have failed, behind the first ones */
		import->collections = NIL;
		if (error.code != MONGO_CODE_UNAUTHORIZED || !list_collections(import, true, &error))
			mcs_mongo_raise(&error, psprintf("list the collections of database \"%s\"", import->database));
		ereport(NOTICE,
				(errmsg("only the collections of database \"%s\" that may be read are imported", import->database),
				 errdetail("The MongoDB user lacks the action listCollections on the database, so it is not known either whether they keep images."),
				 errhint("db.getSiblingDB(\"admin\").grantRolesToUser(\"user\", [{role: \"read\", db: %s}])", mcs_mongo_js_string(import->database))));
	}
	import->server_keeps_images = server_keeps_images(import);
	/* in the order of names, so that an import is the same each time */
	list_sort(import->collections, compare_names);
}

/* Whether a collection, or (NULL) the database, may be watched; a NOTICE names the privilege that is missing. */
static bool
may_watch(Import *import, const char *collection, bool quiet)
{
	ChangeStreamSpec spec = {0};
	MongoError	error;
	char	   *resource;

	spec.database = import->database;
	spec.collection = collection;
	spec.comment = "mongo_change_stream: IMPORT FOREIGN SCHEMA";
	/* rights are asked by trying: which roles grant the actions, MongoDB knows best */
	if (mcs_mongo_try_stream(import->session, &spec, NULL, NULL, NULL, &error))
		return true;
	if (error.code != MONGO_CODE_UNAUTHORIZED)
		mcs_mongo_raise(&error, psprintf("open a change stream of database \"%s\"", import->database));
	resource = psprintf("{db: %s, collection: %s}", mcs_mongo_js_string(import->database), mcs_mongo_js_string(collection ? collection : ""));
	if (!quiet)
		ereport(NOTICE,
				(collection ? errmsg("the MongoDB user may not watch collection \"%s.%s\"", import->database, collection)
				 : errmsg("foreign table \"%s\" is not made, since the MongoDB user may not watch database \"%s\"", ALL_CHANGES, import->database),
				 errdetail("It lacks the actions find and changeStream on %s.", resource),
				 errhint("db.getSiblingDB(\"admin\").runCommand({createRole: \"watch\", privileges: [{resource: %s, actions: [\"find\", \"changeStream\"]}], roles: []}), then grantRolesToUser.",
						 resource)));
	return false;
}

/* ---- making commands ---- */

/* A name as PostgreSQL will have it. */
static char *
table_name(const char *name)
{
	char	   *clipped = pstrdup(name);

	/* as PostgreSQL will cut it, but not inside a character */
	clipped[pg_mbcliplen(clipped, strlen(clipped), NAMEDATALEN - 1)] = '\0';
	return clipped;
}

/*
 * Whether LIMIT TO or EXCEPT leave a collection in.  PostgreSQL asks the same of
 * each command that it is given, by the name the table has; here it spares the
 * questions to MongoDB and the NOTICEs.
 */
static bool
is_wanted(const Import *import, const char *name)
{
	return IsImportableForeignTable(table_name(name), import->statement);
}

/* Whether a name is in a list of names. */
static bool
contains(const List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/* Adds the command for a table; collection NULL: of the whole database. */
static void
add_table(Import *import, const char *collection)
{
	char	   *name = table_name(collection ? collection : ALL_CHANGES);
	StringInfoData command;
	ListCell   *cell;

	/* two names of MongoDB may be cut to the same */
	if (contains(import->taken, name))
	{
		ereport(NOTICE,
				(errmsg("%s is not imported, since another has the name \"%s\"",
						collection ? psprintf("collection \"%s\"", collection) : psprintf("the whole database \"%s\"", import->database), name),
				 errhint("CREATE FOREIGN TABLE name (...) SERVER %s OPTIONS (database %s%s).",
						 quote_identifier(import->statement->server_name), quote_literal_cstr(import->database),
						 collection ? psprintf(", collection %s", quote_literal_cstr(collection)) : "")));
		return;
	}
	import->taken = lappend(import->taken, name);

	initStringInfo(&command);
	/* without a schema: PostgreSQL puts it into that of INTO */
	appendStringInfo(&command, "CREATE FOREIGN TABLE %s (", quote_identifier(name));
	mcs_fdw_column_definitions(&command);
	appendStringInfo(&command, ") SERVER %s OPTIONS (database %s", quote_identifier(import->statement->server_name),
					 quote_literal_cstr(import->database));
	if (collection)
		appendStringInfo(&command, ", collection %s", quote_literal_cstr(collection));
	/* options of the import are given to each table */
	foreach(cell, import->statement->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		appendStringInfo(&command, ", %s %s", quote_identifier(option->defname), quote_literal_cstr(mcs_mongo_option(import->statement->options, option->defname)));
	}
	appendStringInfoChar(&command, ')');
	import->commands = lappend(import->commands, command.data);
}

/* What a collection is that has no changes to show; NULL where it has. */
static const char *
why_not(const Collection *collection)
{
	if (strncmp(collection->name, "system.", strlen("system.")) == 0)
		return "it is MongoDB's own";
	if (collection->type && strcmp(collection->type, "view") == 0)
		return "it is a view";
	if (collection->type && strcmp(collection->type, "collection") != 0)
		return strcmp(collection->type, "timeseries") == 0 ? "it is a time series" : psprintf("it is a %s", collection->type);
	return NULL;
}

/* Makes a table for a collection, or says why not. */
static void
import_collection(Import *import, const Collection *collection, bool check_watch)
{
	const char *reason = why_not(collection);

	if (reason)
	{
		ereport(NOTICE,
				(errmsg("\"%s.%s\" is not imported, since %s, which has no change stream", import->database, collection->name, reason)));
		return;
	}
	/* the table is made in any case: the privilege may be granted later */
	if (check_watch)
		(void) may_watch(import, collection->name, false);
	if (import->options_known && import->server_keeps_images && !collection->keeps_images)
		ereport(NOTICE,
				(errmsg("collection \"%s.%s\" keeps no images of its documents", import->database, collection->name),
				 errdetail("full_document of updates and full_document_before_change will be null."),
				 errhint("db.getSiblingDB(%s).runCommand({collMod: %s, changeStreamPreAndPostImages: {enabled: true}})",
						 mcs_mongo_js_string(import->database), mcs_mongo_js_string(collection->name))));
	add_table(import, collection->name);
}

/* Says which names of LIMIT TO there are not. */
static void
report_missing(const Import *import)
{
	ListCell   *cell;

	if (import->statement->list_type != FDW_IMPORT_SCHEMA_LIMIT_TO)
		return;
	foreach(cell, import->statement->table_list)
	{
		const char *name = lfirst_node(RangeVar, cell)->relname;
		bool		found = strcmp(name, ALL_CHANGES) == 0;
		ListCell   *other;

		foreach(other, import->collections)
			found |= strcmp(table_name(((Collection *) lfirst(other))->name), name) == 0;
		if (!found)
			ereport(NOTICE,
					(errmsg("database \"%s\" has no collection \"%s\"", import->database, name)));
	}
}

/* Refuses options that the import gives each table itself. */
static void
check_options(const ImportForeignSchemaStmt *statement)
{
	ListCell   *cell;

	foreach(cell, statement->options)
	{
		const char *name = lfirst_node(DefElem, cell)->defname;

		if (strcmp(name, "database") == 0 || strcmp(name, "collection") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("option \"%s\" cannot be set for an import", name),
					 errhint("IMPORT FOREIGN SCHEMA names the database, LIMIT TO the collections.")));
	}
}

List *
mcs_fdw_import(ImportForeignSchemaStmt *statement, Oid serverid)
{
	Import		import = {0};
	bool		check_watch = false;
	bool		all_changes = IsImportableForeignTable(ALL_CHANGES, statement);
	ListCell   *cell;
	int			tried = 0;

	check_options(statement);
	import.statement = statement;
	import.serverid = serverid;
	import.database = statement->remote_schema;
	import.target = mcs_mongo_target_of_table(serverid, GetUserId());
	ask_collections(&import);
	/* one try for all: who may watch the database may watch its collections */
	if (!may_watch(&import, NULL, !all_changes))
	{
		all_changes = false;
		check_watch = true;
	}
	foreach(cell, import.collections)
	{
		Collection *collection = lfirst(cell);

		if (!is_wanted(&import, collection->name))
			continue;
		/* each try opens a change stream, so there is an end to them */
		check_watch &= tried++ < COLLECTIONS_TRIED;
		import_collection(&import, collection, check_watch);
	}
	/* last, so that a collection of that name keeps it */
	if (all_changes)
		add_table(&import, NULL);
	report_missing(&import);
	if (import.collections == NIL)
		ereport(NOTICE,
				(errmsg("database \"%s\" has no collections", import.database)));
	return import.commands;
}
