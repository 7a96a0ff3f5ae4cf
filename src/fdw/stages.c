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
		for (const char *const *path = mcs_event_columns[column].fields; *path; path++)
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

/* Whether a column that is used is made of a field, or of a part of it. */
static bool
needs_field(const Bitmapset *used, const char *field)
{
	size_t		length = strlen(field);
	int			column = -1;

	while ((column = bms_next_member(used, column)) >= 0)
		for (const char *const *path = mcs_event_columns[column].fields; *path; path++)
			if (strncmp(*path, field, length) == 0 && ((*path)[length] == '\0' || (*path)[length] == '.'))
				return true;
	return false;
}

/*
 * {$project: {field: 0, ...}} of the fields that hold the document or parts of
 * it and that no column needs; nothing where all are needed.  Others are too
 * small for the stage to be worth it.
 */
static void
append_exclusion(DocumentBuilder *builder, const Bitmapset *used)
{
	bool		begun = false;

	for (int column = 0; column < EVENT_COLUMNS; column++)
	{
		const EventColumnInfo *info = &mcs_event_columns[column];

		if (!info->has_fields || info->path == NULL || needs_field(used, info->path))
			continue;
		if (!begun)
		{
			mcs_document_begin_object(builder, NULL);
			mcs_document_begin_object(builder, "$project");
			begun = true;
		}
		mcs_document_append_int32(builder, info->path, 0);
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
