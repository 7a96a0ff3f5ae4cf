/*
 * stream/definition.c
 *	  The arguments of create_change_stream and alter_change_stream: what each
 *	  may be, and what they may be together.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "parser/parse_func.h"
#include "stream/stream_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_AWAIT_MICROSECONDS	USECS_PER_HOUR
#define MAX_BATCH_SIZE			100000
#define MAX_HIDDEN_FIELDS		1000

/* MongoDB's limits, in bytes: of a database's name, and of database.collection. */
#define MAX_DATABASE_NAME		63
#define MAX_NAMESPACE			255

/* A word in MongoDB's spelling and in SQL's. */
typedef struct Word
{
	const char *mongo;
	const char *sql;
	bool		expanded;		/* an operation that only show_expanded_events lets through */
} Word;

static const Word operation_words[] = {
	{"insert", "insert", false},
	{"update", "update", false},
	{"replace", "replace", false},
	{"delete", "delete", false},
	{"drop", "drop", false},
	{"rename", "rename", false},
	{"dropDatabase", "drop_database", false},
	{"invalidate", "invalidate", false},
	{"create", "create", true},
	{"createIndexes", "create_indexes", true},
	{"dropIndexes", "drop_indexes", true},
	{"modify", "modify", true},
	{"shardCollection", "shard_collection", true},
	{"refineCollectionShardKey", "refine_collection_shard_key", true},
	{"reshardCollection", "reshard_collection", true},
	{NULL, NULL, false}
};

static const Word full_document_words[] = {
	{"default", "default", false},
	{"updateLookup", "update_lookup", false},
	{"whenAvailable", "when_available", false},
	{"required", "required", false},
	{NULL, NULL, false}
};

static const Word before_change_words[] = {
	{"off", "off", false},
	{"whenAvailable", "when_available", false},
	{"required", "required", false},
	{NULL, NULL, false}
};

static const Word notify_words[] = {
	{"ids", "ids", false},
	{"heads", "heads", false},
	{"off", "off", false},
	{NULL, NULL, false}
};

static const Word on_error_words[] = {
	{"stop", "stop", false},
	{"skip", "skip", false},
	{"park", "park", false},
	{NULL, NULL, false}
};

static const char *const field_names[STREAM_FIELDS] = {
	"filter", "add_fields", "operations", "pipeline", "full_document", "full_document_before_change",
	"show_expanded_events", "max_await_time", "batch_size", "retention", "notify", "exclude_fields", "mask_fields",
	"on_error"
};

/* ---- words ---- */

static char *
list_of_words(const Word *words)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const Word *word = words; word->mongo; word++)
		appendStringInfo(&list, "%s%s", word == words ? "" : ", ", word->mongo);
	return list.data;
}

/* The word that a text is, in either spelling; anything else is an error. */
static const Word *
find_word(const Word *words, const char *text, const char *argument)
{
	for (const Word *word = words; word->mongo; word++)
		if (strcmp(text, word->mongo) == 0 || strcmp(text, word->sql) == 0)
			return word;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for %s", text, argument),
			 errhint("Valid values: %s.", list_of_words(words))));
	return NULL;				/* not reached */
}

/* ---- names ---- */

void
mcs_stream_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MCS_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream_name must have 1 to %d bytes", MCS_NAME_MAX),
				 errdetail("It has %zu.", strlen(name))));
	if (strcmp(name, MCS_CHANNEL) == 0 || strcmp(name, MCS_ALERT_CHANNEL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream_name must not be \"%s\"", name),
				 errdetail("This is the notification channel of all streams, and each stream has one of its own name.")));
}

static void
bad_name(const char *argument, const char *name, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s name \"%s\"", argument, name),
			 errdetail("%s", why)));
}

/* A database that MongoDB can have and watch; "*" stands for all. */
void
mcs_stream_check_database_name(const char *name)
{
	static const char *const unwatched[] = {"admin", "config", "local"};

	if (strcmp(name, "*") == 0)
		return;
	if (name[0] == '\0')
		bad_name("database", name, "It is empty.");
	if (strlen(name) > MAX_DATABASE_NAME)
		bad_name("database", name, psprintf("MongoDB allows %d bytes.", MAX_DATABASE_NAME));
	if (strpbrk(name, "/\\. \"$"))
		bad_name("database", name, "MongoDB allows none of the characters / \\ . \" $ and no space in it.");
	for (int i = 0; i < lengthof(unwatched); i++)
		if (strcmp(name, unwatched[i]) == 0)
			bad_name("database", name, "MongoDB has no change streams on its own databases admin, config and local.");
}

/* A collection that MongoDB can have and watch. */
void
mcs_stream_check_collection_name(const char *name, const char *database)
{
	if (name[0] == '\0')
		bad_name("collection", name, "It is empty.");
	if (strchr(name, '$'))
		bad_name("collection", name, "MongoDB allows no $ in it.");
	if (name[0] == '.')
		bad_name("collection", name, "It begins with a dot.");
	if (strncmp(name, "system.", 7) == 0)
		bad_name("collection", name, "MongoDB has no change streams on its own collections, whose names begin with \"system.\".");
	if (strlen(database) + 1 + strlen(name) > MAX_NAMESPACE)
		bad_name("collection", name, psprintf("MongoDB allows %d bytes for database.collection.", MAX_NAMESPACE));
}

/* ---- fields ---- */

const char *
mcs_stream_field_name(StreamField field)
{
	return field_names[field];
}

StreamField
mcs_stream_field_named(const char *name)
{
	StringInfoData list;

	for (int field = 0; field < STREAM_FIELDS; field++)
		if (strcmp(name, field_names[field]) == 0)
			return (StreamField) field;
	initStringInfo(&list);
	for (int field = 0; field < STREAM_FIELDS; field++)
		appendStringInfo(&list, "%s%s", field == 0 ? "" : ", ", field_names[field]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for reset", name),
			 errhint("Valid values: %s.", list.data)));
	return STREAM_FIELDS;		/* not reached */
}

/* What is written in the dialect, as plain SQL; other text comes back as it is. */
static char *
plain_sql(const char *expression, const char *function)
{
	List	   *name = list_make2(makeString(get_namespace_name(mcs_extension_schema())), makeString(pstrdup(function)));
	Oid			arguments[] = {TEXTOID, BOOLOID};
	Oid			oid = LookupFuncName(name, 2, arguments, false);

	return TextDatumGetCString(OidFunctionCall2(oid, CStringGetTextDatum(expression), BoolGetDatum(false)));
}

/* An expression's text; an empty one is a mistake, not the absence of one. */
static char *
expression_text(Datum value, StreamField field)
{
	char	   *string = TextDatumGetCString(value);

	if (string[strspn(string, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", field_names[field]),
				 errhint("Leave it out, or name it in reset of alter_change_stream, for none.")));
	return string;
}

static List *
operations_from_array(ArrayType *array)
{
	List	   *given;
	List	   *operations = NIL;
	ListCell   *cell;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("operations must not contain nulls")));
	given = mcs_convert_text_array(array);
	if (given == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operations must not be empty"),
				 errhint("Leave it out, or name it in reset of alter_change_stream, for every operation.")));
	foreach(cell, given)
	{
		const Word *word = find_word(operation_words, lfirst(cell), "operations");
		bool		there = false;
		ListCell   *other;

		foreach(other, operations)
			there = there || strcmp(lfirst(other), word->mongo) == 0;
		if (!there)
			operations = lappend(operations, pstrdup(word->mongo));
	}
	return operations;
}

static void
set_max_await_time(Stream *stream, const Interval *interval)
{
	int64		length = mcs_convert_interval(interval);

	if (length < 1000 || length > MAX_AWAIT_MICROSECONDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_await_time must be between 1 millisecond and 1 hour")));
	stream->max_await_time = palloc(sizeof(Interval));
	*stream->max_await_time = *interval;
	stream->max_await_ms = (int) (length / 1000);
}

static void
set_batch_size(Stream *stream, int batch_size)
{
	if (batch_size < 1 || batch_size > MAX_BATCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be between 1 and %d", MAX_BATCH_SIZE),
				 errhint("Leave it out for the fastest.")));
	stream->batch_size = batch_size;
}

static void
set_retention(Stream *stream, const Interval *interval)
{
	if (mcs_convert_interval(interval) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention must be more than zero"),
				 errhint("Leave it out, or name it in reset of alter_change_stream, to keep all events.")));
	stream->retention = palloc(sizeof(Interval));
	*stream->retention = *interval;
}

static void
set_notify(Stream *stream, const char *text)
{
	const Word *word = find_word(notify_words, text, "notify");

	stream->notify = strcmp(word->mongo, "off") == 0 ? STREAM_NOTIFY_OFF :
		strcmp(word->mongo, "heads") == 0 ? STREAM_NOTIFY_HEADS : STREAM_NOTIFY_IDS;
}

/* The dotted paths of exclude_fields or mask_fields. */
static List *
paths_from_array(ArrayType *array, StreamField field)
{
	List	   *paths = mcs_convert_text_array(array);
	ListCell   *cell;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not contain nulls", field_names[field])));
	if (paths == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", field_names[field]),
				 errhint("Leave it out, or name it in reset of alter_change_stream, to hide nothing.")));
	if (list_length(paths) > MAX_HIDDEN_FIELDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s names more than %d fields", field_names[field], MAX_HIDDEN_FIELDS),
				 errhint("Name the sub-document that holds them.")));
	foreach(cell, paths)
	{
		const char *problem = mcs_event_mask_problem(lfirst(cell));

		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid field \"%s\" in %s", (char *) lfirst(cell), field_names[field]),
					 errdetail("%s", problem),
					 errhint("A field is named by its path in the document, such as \"card.number\".")));
	}
	return paths;
}

static void
set_on_error(Stream *stream, const char *text)
{
	const Word *word = find_word(on_error_words, text, "on_error");

	stream->on_error = strcmp(word->mongo, "park") == 0 ? STREAM_ON_ERROR_PARK :
		strcmp(word->mongo, "skip") == 0 ? STREAM_ON_ERROR_SKIP : STREAM_ON_ERROR_STOP;
}

/* Checks a value, which is not null, and puts it into a definition. */
void
mcs_stream_field_set(Stream *stream, StreamField field, Datum value)
{
	switch (field)
	{
		case FIELD_FILTER:
			stream->filter = plain_sql(expression_text(value, field), "change_stream_translate_expression");
			break;
		case FIELD_ADD_FIELDS:
			stream->add_fields = plain_sql(expression_text(value, field), "change_stream_translate_fields");
			break;
		case FIELD_OPERATIONS:
			stream->operations = operations_from_array(DatumGetArrayTypeP(value));
			break;
		case FIELD_PIPELINE:
			stream->pipeline = DatumGetDocumentP(value);
			mcs_pipeline_check(stream->pipeline);
			break;
		case FIELD_FULL_DOCUMENT:
			stream->full_document = pstrdup(find_word(full_document_words, TextDatumGetCString(value),
													  field_names[field])->mongo);
			break;
		case FIELD_FULL_DOCUMENT_BEFORE_CHANGE:
			stream->full_document_before_change = pstrdup(find_word(before_change_words, TextDatumGetCString(value),
																	field_names[field])->mongo);
			break;
		case FIELD_SHOW_EXPANDED_EVENTS:
			stream->show_expanded_events = DatumGetBool(value);
			break;
		case FIELD_MAX_AWAIT_TIME:
			set_max_await_time(stream, DatumGetIntervalP(value));
			break;
		case FIELD_BATCH_SIZE:
			set_batch_size(stream, DatumGetInt32(value));
			break;
		case FIELD_RETENTION:
			set_retention(stream, DatumGetIntervalP(value));
			break;
		case FIELD_NOTIFY:
			set_notify(stream, TextDatumGetCString(value));
			break;
		case FIELD_EXCLUDE_FIELDS:
			stream->exclude_fields = paths_from_array(DatumGetArrayTypeP(value), field);
			break;
		case FIELD_MASK_FIELDS:
			stream->mask_fields = paths_from_array(DatumGetArrayTypeP(value), field);
			break;
		case FIELD_ON_ERROR:
			set_on_error(stream, TextDatumGetCString(value));
			break;
		case STREAM_FIELDS:
			break;
	}
}

/* Puts a field's default into a definition. */
void
mcs_stream_field_reset(Stream *stream, StreamField field)
{
	Interval	second = {.time = USECS_PER_SEC};

	switch (field)
	{
		case FIELD_FILTER:
			stream->filter = NULL;
			break;
		case FIELD_ADD_FIELDS:
			stream->add_fields = NULL;
			break;
		case FIELD_OPERATIONS:
			stream->operations = NIL;
			break;
		case FIELD_PIPELINE:
			stream->pipeline = NULL;
			break;
		case FIELD_FULL_DOCUMENT:
			stream->full_document = "default";
			break;
		case FIELD_FULL_DOCUMENT_BEFORE_CHANGE:
			stream->full_document_before_change = "off";
			break;
		case FIELD_SHOW_EXPANDED_EVENTS:
			stream->show_expanded_events = false;
			break;
		case FIELD_MAX_AWAIT_TIME:
			set_max_await_time(stream, &second);
			break;
		case FIELD_BATCH_SIZE:
			stream->batch_size = 0;
			break;
		case FIELD_RETENTION:
			stream->retention = NULL;
			break;
		case FIELD_NOTIFY:
			stream->notify = STREAM_NOTIFY_IDS;
			break;
		case FIELD_EXCLUDE_FIELDS:
			stream->exclude_fields = NIL;
			break;
		case FIELD_MASK_FIELDS:
			stream->mask_fields = NIL;
			break;
		case FIELD_ON_ERROR:
			stream->on_error = STREAM_ON_ERROR_STOP;
			break;
		case STREAM_FIELDS:
			break;
	}
}

/* ---- what depends on more than one field ---- */

/* Whether events of this operation are wanted. */
static bool
wants_operation(const Stream *stream, const char *operation)
{
	ListCell   *cell;

	if (stream->operations == NIL)
		return true;
	foreach(cell, stream->operations)
		if (strcmp(lfirst(cell), operation) == 0)
			return true;
	return false;
}

static void
check_operations(const Stream *stream, bool silent)
{
	ListCell   *cell;

	if (!stream->show_expanded_events)
		foreach(cell, stream->operations)
			if (find_word(operation_words, lfirst(cell), "operations")->expanded)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("operation \"%s\" needs show_expanded_events", (char *) lfirst(cell)),
						 errdetail("MongoDB sends events of this kind only on request."),
						 errhint("Add the argument show_expanded_events => true.")));
	if (!silent && wants_operation(stream, "update") && !wants_operation(stream, "replace"))
		ereport(NOTICE,
				(errmsg("operations has \"update\" without \"replace\""),
				 errdetail("MongoDB can record an update by pipeline or of the whole document as a replace.")));
}

/* Whether the filter may read what is hidden from it: MongoDB, which has all of it, must not evaluate that. */
static bool
reads_hidden(const Stream *stream, const StreamExpressions *expressions)
{
	if (stream->exclude_fields == NIL && stream->mask_fields == NIL)
		return false;
	for (int column = 0; column < EVENT_COLUMNS; column++)
		if (mcs_event_columns[column].has_fields && mcs_expression_filter_reads(expressions, column))
			return true;
	return false;
}

/* A filter reads full_document: which events will never pass it for having none. */
static void
tell_of_missing_documents(const Stream *stream)
{
	bool		deletes = wants_operation(stream, "delete");
	bool		updates = wants_operation(stream, "update") && strcmp(stream->full_document, "default") == 0;

	if (!deletes && !updates)
		return;
	ereport(NOTICE,
			(errmsg("filter reads full_document, which %s events do not have",
					!updates ? "delete" : deletes ? "update and delete" : "update"),
			 errdetail("A condition on it is then unknown, not true, and the event is left out."),
			 updates && deletes ?
			 errhint("Add the argument full_document => 'updateLookup' to have it in updates, and \"OR operation_type = 'delete'\" to the filter to keep deletes.") :
			 updates ? errhint("Add the argument full_document => 'updateLookup' to have it in updates.") :
			 errhint("Add \"OR operation_type = 'delete'\" to the filter to keep them.")));
}

/* Compiles both expressions, which checks them, and sees what of the filter MongoDB can evaluate. */
static Document *
check_expressions(const Stream *stream, bool silent, bool *exact)
{
	Relation	events = table_open(mcs_extension_events(), AccessShareLock);
	StreamExpressions *expressions = mcs_expression_compile(events, stream->filter, stream->add_fields);
	Document   *match = NULL;

	if (!silent && mcs_expression_filter_reads(expressions, EVENT_FULL_DOCUMENT))
		tell_of_missing_documents(stream);
	*exact = false;
	if (!reads_hidden(stream, expressions))
		match = mcs_expression_match(expressions, strcmp(stream->full_document, "updateLookup") == 0, exact);
	table_close(events, NoLock);
	return match;
}

void
mcs_stream_check_definition(Stream *stream, bool silent)
{
	Document   *match = NULL;
	bool		exact = false;

	check_operations(stream, silent);
	if (stream->filter || stream->add_fields)
		match = check_expressions(stream, silent, &exact);
	stream->pushed_filter = mcs_pipeline_pushed_filter(stream, match);
	stream->local_filter = exact ? NULL : stream->filter;
}
