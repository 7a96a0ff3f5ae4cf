/*
 * fdw/table.c
 *	  A foreign table: its options, and which column shows what of an event.
 *
 * An option of the table overrides that of its server.  Columns are matched by
 * name, so a table may have some of the event columns, in any order.
 */
#include "mongo_change_stream.h"

#include "commands/defrem.h"
#include "fdw/fdw.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"

/* The name that means all of them. */
#define EVERY_DATABASE "*"

/* What a full document and an image of before are asked for with where the user does not say, if MongoDB keeps them. */
#define USUAL_IMAGE "whenAvailable"

/* What a column of the table shows; raises where that is nothing that an event has. */
static EventColumn
find_column(const FdwTable *table, const FormData_pg_attribute *attribute)
{
	const char *name = NameStr(attribute->attname);

	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		Oid			type = mcs_event_column_type(mcs_event_columns[i].type);

		if (strcmp(mcs_event_columns[i].name, name) != 0)
			continue;
		/* values are stored as they are, without a cast: another type would read them as something else */
		if (attribute->atttypid != type)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
					 errmsg("column \"%s\" of foreign table \"%s\" has type %s", name, table->name,
							format_type_be(attribute->atttypid)),
					 errdetail("The event column of that name has type %s.", format_type_be(type)),
					 errhint("ALTER FOREIGN TABLE %s ALTER COLUMN %s TYPE %s; or leave it and cast in queries or a view.",
							 quote_identifier(table->name), quote_identifier(name), format_type_be_qualified(type))));
		return (EventColumn) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("column \"%s\" of foreign table \"%s\" is none of a change event", name, table->name),
			 errdetail("The columns of a change event are %s.", mcs_event_column_names()),
			 errhint("ALTER FOREIGN TABLE %s DROP COLUMN %s; fields of documents are read as full_document['field'].",
					 quote_identifier(table->name), quote_identifier(name))));
	pg_unreachable();
}

/* A boolean as the options have it. */
static bool
read_boolean(const char *value)
{
	bool		result = false;

	/* the validator has seen it */
	(void) parse_bool(value, &result);
	return result;
}

/* An array of stages; raises where the text is none. */
static Document *
read_pipeline(const char *text)
{
	Document   *pipeline = mcs_document_in_text(text);

	if (DOCUMENT_TYPE(pipeline) != DOCUMENT_ARRAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"pipeline\" is no array of stages")));
	return pipeline;
}

/* Whether a path is one of the times that a read is bounded by, or within it. */
static bool
is_time_path(const char *path, uint32 size)
{
	static const EventColumn times[] = {EVENT_CLUSTER_TIME, EVENT_CHANGE_TIMESTAMP};

	for (int i = 0; i < lengthof(times); i++)
	{
		const char *field = mcs_event_columns[times[i]].path;
		uint32		length = strlen(field);

		if (size >= length && memcmp(path, field, length) == 0 && (size == length || path[length] == '.'))
			return true;
	}
	return false;
}

/* Whether none of an object's keys is a time's; exclusion: and all of them are left out. */
static bool
keys_keep_times(const DocumentValue *object, bool exclusion)
{
	DocumentIterator it;

	if (object->type != DOCUMENT_OBJECT)
		return false;
	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
	{
		int64		number = 1;
		bool		truth = true;

		if (is_time_path(it.key, it.key_size))
			return false;
		/* 0 and false leave a field out; anything else keeps it, and then all others go */
		(void) mcs_document_get_int64(&it.value, &number);
		(void) mcs_document_get_bool(&it.value, &truth);
		if (exclusion && number != 0 && truth)
			return false;
	}
	return true;
}

/* Whether $unset, of a path or an array of them, spares the times. */
static bool
unset_keeps_times(const DocumentValue *value)
{
	DocumentIterator it;
	const char *path;
	uint32		size;

	if (value->type != DOCUMENT_ARRAY)
		return mcs_document_get_string(value, &path, &size) && !is_time_path(path, size);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
		if (!unset_keeps_times(&it.value))
			return false;
	return true;
}

/*
 * Whether a user's stages can be seen to leave the times as they are.  Only then
 * can conditions on them bound what MongoDB reads, and are the events known to
 * come in the order of the times that are shown.
 */
static bool
pipeline_keeps_times(const Document *pipeline)
{
	DocumentIterator stages;

	mcs_document_iterate(&stages, DOCUMENT_VALUE(pipeline), DOCUMENT_VALUE_SIZE(pipeline));
	while (mcs_document_next(&stages))
	{
		DocumentIterator stage;
		bool		keeps;

		if (stages.value.type != DOCUMENT_OBJECT)
			return false;
		/* the first key is all of a stage: MongoDB refuses one that has more */
		mcs_document_iterate(&stage, stages.value.data, stages.value.size);
		if (!mcs_document_next(&stage))
			return false;
		/* what is not known here may change anything */
		if (strcmp(stage.key, "$match") == 0)
			keeps = true;
		else if (strcmp(stage.key, "$set") == 0 || strcmp(stage.key, "$addFields") == 0)
			keeps = keys_keep_times(&stage.value, false);
		else if (strcmp(stage.key, "$unset") == 0)
			keeps = unset_keeps_times(&stage.value);
		else
			keeps = strcmp(stage.key, "$project") == 0 && keys_keep_times(&stage.value, true);
		if (!keeps)
			return false;
	}
	return true;
}

/* Reads the options, the table's before the server's. */
static void
read_options(FdwTable *table, ForeignTable *foreign, ForeignServer *server)
{
	/* the first of a name counts */
	List	   *options = list_concat_copy(foreign->options, server->options);
	char	   *value;

	mcs_mongo_table_place(foreign->options, server->options, &table->database, &table->collection);
	if (table->database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("foreign table \"%s\" does not say which database it shows", table->name),
				 errhint("ALTER FOREIGN TABLE %s OPTIONS (ADD database '...'), or set it for all tables: ALTER SERVER %s OPTIONS (ADD database '...').",
						 quote_identifier(table->name), quote_identifier(table->server_name))));
	if (strcmp(table->database, EVERY_DATABASE) == 0)
		table->database = NULL;

	value = mcs_mongo_option(options, "full_document");
	table->full_document = value ? mcs_mongo_image_mode(value, false) : NULL;
	value = mcs_mongo_option(options, "full_document_before_change");
	table->full_document_before_change = value ? mcs_mongo_image_mode(value, true) : NULL;
	value = mcs_mongo_option(options, "show_expanded_events");
	table->show_expanded_events = value && read_boolean(value);
	value = mcs_mongo_option(options, "pipeline");
	table->pipeline = value ? read_pipeline(value) : NULL;
	table->keeps_times = table->pipeline == NULL || pipeline_keeps_times(table->pipeline);
	value = mcs_mongo_option(options, "batch_size");
	table->batch_size = value ? pg_strtoint32(value) : 0;
	value = mcs_mongo_option(options, "history");
	table->strict = value && strcmp(value, "strict") == 0;

	/* the table's own start, of whichever kind, goes before the server's */
	if (mcs_mongo_option(foreign->options, "start_at") || mcs_mongo_option(foreign->options, "resume_after"))
		options = foreign->options;
	table->start_at = mcs_mongo_option(options, "start_at");
	value = mcs_mongo_option(options, "resume_after");
	table->resume_after = value ? mcs_token_read(value) : NULL;
	if (table->start_at && table->resume_after)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("foreign table \"%s\" has two starts, start_at and resume_after", table->name),
				 errhint("ALTER FOREIGN TABLE %s OPTIONS (DROP start_at).", quote_identifier(table->name))));
}

/* The table of a relation; raises where options or columns do not fit. */
FdwTable *
mcs_fdw_table(Relation relation)
{
	FdwTable   *table = palloc0(sizeof(FdwTable));
	ForeignTable *foreign = GetForeignTable(RelationGetRelid(relation));
	ForeignServer *server = GetForeignServer(foreign->serverid);
	TupleDesc	descriptor = RelationGetDescr(relation);

	table->relid = RelationGetRelid(relation);
	table->serverid = foreign->serverid;
	table->name = pstrdup(RelationGetRelationName(relation));
	table->server_name = server->servername;
	read_options(table, foreign, server);

	table->natts = descriptor->natts;
	table->columns = palloc(Max(descriptor->natts, 1));
	for (int i = 0; i < descriptor->natts; i++)
	{
		const FormData_pg_attribute *attribute = TupleDescAttr(descriptor, i);

		table->columns[i] = attribute->attisdropped ? -1 : (int8) find_column(table, attribute);
	}
	return table;
}

/* What is asked of MongoDB, given what the user wants. */
static const char *
image_mode(const char *wanted, bool used, bool server_keeps_images)
{
	/* MongoDB looks images up one by one, which takes longer than to read the events */
	if (!used)
		return NULL;
	if (wanted == NULL)
		return server_keeps_images ? USUAL_IMAGE : NULL;
	/* what MongoDB does anyway is not said */
	return strcmp(wanted, "default") == 0 || strcmp(wanted, "off") == 0 ? NULL : wanted;
}

/* How the full document is asked for; full_document_source says where it comes from, so that takes it, too. */
const char *
mcs_fdw_full_document(const FdwTable *table, const Bitmapset *columns, bool server_keeps_images)
{
	return image_mode(table->full_document,
					  bms_is_member(EVENT_FULL_DOCUMENT, columns) || bms_is_member(EVENT_FULL_DOCUMENT_SOURCE, columns),
					  server_keeps_images);
}

const char *
mcs_fdw_before_change(const FdwTable *table, const Bitmapset *columns, bool server_keeps_images)
{
	return image_mode(table->full_document_before_change,
					  bms_is_member(EVENT_FULL_DOCUMENT_BEFORE_CHANGE, columns), server_keeps_images);
}

/* Whether an update's full document is that of now. */
bool
mcs_fdw_looks_up(const FdwTable *table)
{
	return table->full_document && strcmp(table->full_document, "updateLookup") == 0;
}

/* Appends the definitions of all event columns, as CREATE FOREIGN TABLE has them. */
void
mcs_fdw_column_definitions(StringInfo command)
{
	for (int i = 0; i < EVENT_COLUMNS; i++)
		appendStringInfo(command, "%s%s %s", i > 0 ? ", " : "", mcs_event_columns[i].name,
						 format_type_be_qualified(mcs_event_column_type(mcs_event_columns[i].type)));
}
