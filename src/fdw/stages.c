/*
 * fdw/stages.c
 *	  What MongoDB is asked after $changeStream: the events of the table, the
 *	  user's own stages, the query's conditions, and at last only the fields that
 *	  the query's columns are made of.
 *
 * A collection's own change stream ends where the collection was dropped or
 * renamed, with an event that says so, and is opened again behind that; it also
 * tells of another collection that is renamed onto it.  Neither is an event of
 * the collection, so the first stage leaves both out.
 */
#include "mongo_change_stream.h"

#include "fdw/fdw.h"

/* The field paths that a column is made of; "" ends them. */
static const char *const column_paths[EVENT_COLUMNS][4] = {
	[EVENT_OPERATION_TYPE] = {"operationType", ""},
	[EVENT_DATABASE_NAME] = {"ns", ""},
	[EVENT_COLLECTION_NAME] = {"ns", ""},
	[EVENT_DOCUMENT_KEY] = {"documentKey", ""},
	[EVENT_FULL_DOCUMENT] = {"fullDocument", ""},
	[EVENT_FULL_DOCUMENT_BEFORE_CHANGE] = {"fullDocumentBeforeChange", ""},
	[EVENT_UPDATE_DESCRIPTION] = {"updateDescription", ""},
	[EVENT_CHANGED_FIELDS] = {"operationType", "fullDocument", "updateDescription", ""},
	[EVENT_CLUSTER_TIME] = {"clusterTime", ""},
	[EVENT_CHANGE_TIMESTAMP] = {"wallTime", "clusterTime", ""},
	[EVENT_RESUME_TOKEN] = {"_id", ""},
	/* whether there is one; its _id stands for all of it */
	[EVENT_FULL_DOCUMENT_SOURCE] = {"operationType", "fullDocument._id", ""},
	[EVENT_EXTRA] = {""},
};

/* Fields that are worth leaving out where all others are needed, and the columns that need them. */
static const struct
{
	const char *field;
	EventColumn columns[3];
}			big_fields[] = {
	{"fullDocument", {EVENT_FULL_DOCUMENT, EVENT_CHANGED_FIELDS, EVENT_FULL_DOCUMENT_SOURCE}},
	{"fullDocumentBeforeChange", {EVENT_FULL_DOCUMENT_BEFORE_CHANGE, EVENT_FULL_DOCUMENT_BEFORE_CHANGE, EVENT_FULL_DOCUMENT_BEFORE_CHANGE}},
	{"updateDescription", {EVENT_UPDATE_DESCRIPTION, EVENT_CHANGED_FIELDS, EVENT_CHANGED_FIELDS}},
};

/* Appends a path to be sent, once; a path below one that is sent whole would be refused. */
static List *
add_path(List *paths, const char *path)
{
	ListCell   *cell;

	foreach(cell, paths)
		if (strcmp(lfirst(cell), path) == 0)
			return paths;
	return lappend(paths, unconstify(char *, path));
}

/* The paths that the columns are made of, beside _id. */
static List *
needed_paths(const Bitmapset *used)
{
	bool		whole = bms_is_member(EVENT_FULL_DOCUMENT, used) || bms_is_member(EVENT_CHANGED_FIELDS, used);
	List	   *paths = NIL;
	int			column = -1;

	while ((column = bms_next_member(used, column)) >= 0)
	{
		for (const char *const *path = column_paths[column]; **path; path++)
		{
			if (strcmp(*path, "_id") == 0 || (whole && strncmp(*path, "fullDocument.", strlen("fullDocument.")) == 0))
				continue;
			paths = add_path(paths, *path);
		}
	}
	return paths;
}

/* {$project: {path: 1, ...}}; _id comes without being named. */
static void
append_inclusion(DocumentBuilder *builder, const Bitmapset *used)
{
	List	   *paths = needed_paths(used);
	ListCell   *cell;

	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "$project");
	if (paths == NIL)
		mcs_document_append_int32(builder, "_id", 1);
	foreach(cell, paths)
		mcs_document_append_int32(builder, lfirst(cell), 1);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* {$project: {field: 0, ...}} of big fields that no column needs; nothing where all are. */
static void
append_exclusion(DocumentBuilder *builder, const Bitmapset *used)
{
	bool		begun = false;

	for (int i = 0; i < lengthof(big_fields); i++)
	{
		bool		needed = false;

		for (int j = 0; j < lengthof(big_fields[i].columns); j++)
			needed |= bms_is_member(big_fields[i].columns[j], used);
		if (needed)
			continue;
		if (!begun)
		{
			mcs_document_begin_object(builder, NULL);
			mcs_document_begin_object(builder, "$project");
			begun = true;
		}
		mcs_document_append_int32(builder, big_fields[i].field, 0);
	}
	if (begun)
	{
		mcs_document_end(builder);
		mcs_document_end(builder);
	}
}

/*
 * Sends less, where that is possible.  extra shows every field without a column
 * of its own, so with it only what is known to have one may go; and a pipeline
 * of the user's may have made anything of that.
 */
static void
append_projection(DocumentBuilder *builder, const FdwTable *table, const Bitmapset *used)
{
	if (!bms_is_member(EVENT_EXTRA, used))
		append_inclusion(builder, used);
	else if (table->pipeline == NULL)
		append_exclusion(builder, used);
}

static void
append_match(DocumentBuilder *builder, const Document *condition)
{
	mcs_document_begin_object(builder, NULL);
	mcs_document_append_document(builder, "$match", condition);
	mcs_document_end(builder);
}

/* {key: {$ne: value}}, without the outer braces. */
static void
append_not_equal(DocumentBuilder *builder, const char *key, const char *value)
{
	mcs_document_begin_object(builder, key);
	mcs_document_append_string(builder, "$ne", value);
	mcs_document_end(builder);
}

/* Only events of the table's collection. */
static void
append_scope(DocumentBuilder *builder, const FdwTable *table)
{
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "$match");
	if (table->database)
	{
		append_not_equal(builder, "operationType", "invalidate");
		append_not_equal(builder, "to.coll", table->collection);
	}
	else
		mcs_document_append_string(builder, "ns.coll", table->collection);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

Document *
mcs_fdw_stages(const FdwTable *table, const Document *match, const Bitmapset *used)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	if (table->collection)
		append_scope(&builder, table);
	if (table->pipeline)
	{
		DocumentIterator it;

		mcs_document_iterate(&it, DOCUMENT_VALUE(table->pipeline), DOCUMENT_VALUE_SIZE(table->pipeline));
		while (mcs_document_next(&it))
			mcs_document_append_value(&builder, NULL, &it.value);
	}
	/* the query's conditions are on what the user's stages made of the events */
	if (match)
		append_match(&builder, match);
	append_projection(&builder, table, used);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}
