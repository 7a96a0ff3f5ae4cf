/*
 * stream/definition.c
 *	  The definition of a stream: what each of its options may be, and what they
 *	  may be together.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "parser/parse_func.h"
#include "stream/stream_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#define MAX_AWAIT_MICROSECONDS	USECS_PER_HOUR
#define MAX_BATCH_SIZE			100000
#define MAX_HIDDEN_FIELDS		1000

/* MongoDB's limits, in bytes: of a database's name, and of database.collection. */
#define MAX_DATABASE_NAME		63
#define MAX_NAMESPACE			255

/* MongoDB's types of events, and that of copied documents.  The value is 1 where only show_expanded_events lets the operation through. */
static const OptionWord operation_words[] = {
	{"insert", NULL, 0},
	{"update", NULL, 0},
	{"replace", NULL, 0},
	{"delete", NULL, 0},
	{"drop", NULL, 0},
	{"rename", NULL, 0},
	{"dropDatabase", "drop_database", 0},
	{"invalidate", NULL, 0},
	{"snapshot", NULL, 0},
	{"create", NULL, 1},
	{"createIndexes", "create_indexes", 1},
	{"dropIndexes", "drop_indexes", 1},
	{"modify", NULL, 1},
	{"shardCollection", "shard_collection", 1},
	{"refineCollectionShardKey", "refine_collection_shard_key", 1},
	{"reshardCollection", "reshard_collection", 1},
	{NULL, NULL, 0}
};

/* ---- names ---- */

void
mcs_stream_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MCS_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream_name must have 1 to %d bytes", MCS_NAME_MAX),
				 errdetail("It has %zu.", strlen(name))));
	/* the table refuses the first of them, too */
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
	/* what MongoDB refuses on any platform; a NUL cannot come by SQL */
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

/* ---- options: what each may be ---- */

/* By one of the dialect's translators; some have a second argument: flag. */
char *
mcs_stream_plain_sql(const char *source, const char *function, int nargs, bool flag)
{
	List	   *name = list_make2(makeString(get_namespace_name(mcs_extension_schema())), makeString(pstrdup(function)));
	Oid			arguments[] = {TEXTOID, BOOLOID};
	/* through SQL, as the dialect is above this folder; by its qualified name, in place of which nobody can put another */
	Oid			translator = LookupFuncName(name, nargs, arguments, false);
	Datum		argument = CStringGetTextDatum(source);

	return TextDatumGetCString(nargs == 1 ? OidFunctionCall1(translator, argument)
							   : OidFunctionCall2(translator, argument, BoolGetDatum(flag)));
}

/* An expression as plain SQL; an empty one is a mistake, not the absence of one. */
static Datum
plain_expression(const Option *option, Datum value, const char *translator)
{
	char	   *string = TextDatumGetCString(value);

	if (string[strspn(string, " \t\n\r\f\v")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", option->name),
				 errhint("Leave it out, or name it in reset of alter_change_stream, for none.")));
	/* bare names are columns only */
	return CStringGetTextDatum(mcs_stream_plain_sql(string, translator, 2, false));
}

static Datum
check_filter(const Option *option, Datum value)
{
	return plain_expression(option, value, "change_stream_translate_expression");
}

static Datum
check_add_fields(const Option *option, Datum value)
{
	return plain_expression(option, value, "change_stream_translate_fields");
}

/* Each operation once, in MongoDB's spelling. */
static Datum
check_operations(const Option *option, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	List	   *given;
	Datum	   *operations;
	int			count = 0;
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
	/* one that is named twice, perhaps in both spellings, is meant once */
	operations = palloc(sizeof(Datum) * list_length(given));
	foreach(cell, given)
	{
		const OptionWord *word = mcs_options_word(operation_words, lfirst(cell), option->name);
		bool		there = false;

		for (int i = 0; i < count; i++)
			there = there || strcmp(TextDatumGetCString(operations[i]), word->text) == 0;
		if (!there)
			operations[count++] = CStringGetTextDatum(word->text);
	}
	return PointerGetDatum(construct_array(operations, count, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum
check_pipeline(const Option *option, Datum value)
{
	mcs_pipeline_check(DatumGetDocumentP(value));
	return value;
}

static Datum
check_max_await_time(const Option *option, Datum value)
{
	int64		length = mcs_convert_interval(DatumGetIntervalP(value));

	/* MongoDB counts in milliseconds; a process that waits longer seems dead */
	if (length < 1000 || length > MAX_AWAIT_MICROSECONDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_await_time must be between 1 millisecond and 1 hour")));
	return value;
}

static Datum
check_batch_size(const Option *option, Datum value)
{
	if (DatumGetInt32(value) < 1 || DatumGetInt32(value) > MAX_BATCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch_size must be between 1 and %d", MAX_BATCH_SIZE),
				 errhint("Leave it out for the fastest.")));
	return value;
}

/*
 * A bare number is seconds to an interval, and mostly meant as days.  Once it is
 * an interval it can only be told by its value: a whole number of seconds, below
 * an hour, that is none of minutes.  Who means just that writes a fraction.
 */
static Datum
check_retention(const Option *option, Datum value)
{
	int64		length = mcs_convert_interval(DatumGetIntervalP(value));

	if (length <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention must be more than zero"),
				 errhint("Leave it out, or name it in reset of alter_change_stream, to keep all events.")));
	if (length < USECS_PER_HOUR && length % USECS_PER_SEC == 0 && length % USECS_PER_MINUTE != 0)
	{
		long		seconds = (long) (length / USECS_PER_SEC);

		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("retention would delete events after %ld seconds", seconds),
				 errdetail("A number without a unit is taken for seconds."),
				 errhint("Write retention => '%ld days', or with a fraction, such as '%ld.5 seconds', where so short a time is meant.",
						 seconds, seconds)));
	}
	return value;
}

/* Tells of a time that is short for events, perhaps by a unit that was forgotten. */
static void
tell_of_short_retention(const Stream *stream)
{
	int64		length = stream->retention ? mcs_convert_interval(stream->retention) : 0;

	if (length >= USECS_PER_MINUTE && length < USECS_PER_HOUR)
		ereport(NOTICE,
				(errmsg("events are deleted after %ld minutes", (long) (length / USECS_PER_MINUTE)),
				 errdetail("In retention, a number without a unit is taken for seconds."),
				 errhint("If days are meant: SELECT alter_change_stream(%s, retention => '%ld days');",
						 quote_literal_cstr(stream->name), (long) (length / USECS_PER_SEC))));
}

/* The dotted paths of exclude_fields or mask_fields. */
static Datum
check_hidden_fields(const Option *option, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	List	   *paths = mcs_convert_text_array(array);
	ListCell   *cell;

	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not contain nulls", option->name)));
	if (paths == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", option->name),
				 errhint("Leave it out, or name it in reset of alter_change_stream, to hide nothing.")));
	if (list_length(paths) > MAX_HIDDEN_FIELDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s names more than %d fields", option->name, MAX_HIDDEN_FIELDS),
				 errhint("Name the sub-document that holds them.")));
	/* a path that never matches would hide nothing, and nobody would notice */
	foreach(cell, paths)
	{
		const char *problem = mcs_event_mask_problem(lfirst(cell));

		if (problem)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid field \"%s\" in %s", (char *) lfirst(cell), option->name),
					 errdetail("%s", problem),
					 errhint("A field is named by its path in the document, such as \"card.number\".")));
	}
	return value;
}

void
mcs_stream_change_options(Stream *stream, const OptionChanges *changes)
{
#define CHECK_OF(name, kind, words, fallback, flags, check) check,
	static const OptionCheck checks[] = {STREAM_OPTION_LIST(CHECK_OF)};

	/* in the current memory context, in which the definition is */
	mcs_argument_apply(changes, checks, stream);
	stream->max_await_ms = (int) (mcs_convert_interval(stream->max_await_time) / 1000);
}

/* ---- what depends on more than one option ---- */

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

/* Refuses operations that MongoDB would never send, and tells (unless silent) of one that may come as another. */
static void
check_wanted_operations(const Stream *stream, bool silent)
{
	ListCell   *cell;

	if (!stream->show_expanded_events)
		foreach(cell, stream->operations)
			if (mcs_options_word(operation_words, lfirst(cell), "operations")->value)
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
	/* what MongoDB evaluates is not asked here again only if it means the same to it */
	*exact = false;
	if (!reads_hidden(stream, expressions))
		match = mcs_expression_match(expressions, strcmp(stream->full_document, "updateLookup") == 0, exact);
	/* the lock stays until the transaction's end: columns that the expressions use stay, too */
	table_close(events, NoLock);
	return match;
}

void
mcs_stream_check_definition(Stream *stream, bool silent)
{
	Document   *match = NULL;
	bool		exact = false;

	check_wanted_operations(stream, silent);
	if (!silent)
		tell_of_short_retention(stream);
	if (stream->filter || stream->add_fields)
		match = check_expressions(stream, silent, &exact);
	stream->pushed_filter = mcs_pipeline_pushed_filter(stream, match);
	/* what MongoDB is sent may let through more than the filter, never less (match/match.h): then all of it is asked here */
	stream->local_filter = exact ? NULL : stream->filter;
}

/* ---- what hangs on a stream ---- */

/* Whether two lists of texts are not the same. */
static bool
texts_differ(List *a, List *b)
{
	ListCell   *x,
			   *y;

	if (list_length(a) != list_length(b))
		return true;
	forboth(x, a, y, b)
		if (strcmp(lfirst(x), lfirst(y)) != 0)
			return true;
	return false;
}

/* Whether two texts are not the same; NULL is as good as any. */
static bool
text_differs(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0);
}

bool
mcs_stream_rows_differ(const Stream *a, const Stream *b)
{
	return a->keep_events != b->keep_events || a->show_expanded_events != b->show_expanded_events ||
		text_differs(a->filter, b->filter) || text_differs(a->add_fields, b->add_fields) ||
		text_differs(a->full_document, b->full_document) ||
		text_differs(a->full_document_before_change, b->full_document_before_change) ||
		texts_differ(a->operations, b->operations) || texts_differ(a->exclude_fields, b->exclude_fields) ||
		texts_differ(a->mask_fields, b->mask_fields) ||
		(a->pipeline == NULL) != (b->pipeline == NULL) ||
		(a->pipeline && !datumIsEqual(PointerGetDatum(a->pipeline), PointerGetDatum(b->pipeline), false, -1));
}

/* Their mirrors' names, as a list. */
static char *
mirror_names(List *mirrors)
{
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, mirrors)
		appendStringInfo(&names, "%s%s", names.len ? ", " : "", ((Mirror *) lfirst(cell))->name);
	return names.data;
}

/* The options of a stream that leave something out, or make something else of it, as reset takes them; NULL for none. */
char *
mcs_stream_partial_options(const Stream *stream)
{
	StringInfoData names;

	initStringInfo(&names);
	if (stream->filter)
		appendStringInfoString(&names, ", filter");
	if (stream->operations)
		appendStringInfoString(&names, ", operations");
	if (stream->pipeline)
		appendStringInfoString(&names, ", pipeline");
	if (stream->add_fields)
		appendStringInfoString(&names, ", add_fields");
	return names.len > 0 ? names.data + 2 : NULL;
}

/* A mirror is equal to its collection only if its stream has each event as MongoDB sends it. */
static void
check_mirrors(const Stream *stream, const Stream *before, List *mirrors)
{
	char	   *options = mcs_stream_partial_options(stream);

	if (options)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" feeds mirrors and cannot have %s", stream->name, options),
				 errdetail("A table is kept equal to a collection by all of its events. Mirrors: %s.", mirror_names(mirrors)),
				 errhint("Give the mirror a filter: SELECT alter_change_mirror(%s, filter => ...).",
						 quote_literal_cstr(((Mirror *) linitial(mirrors))->name))));
	if (texts_differ(stream->exclude_fields, before->exclude_fields) || texts_differ(stream->mask_fields, before->mask_fields))
	{
		mcs_snapshots_begin_again(stream->name);
		ereport(NOTICE,
				(errmsg("the mirrors of change stream \"%s\" are copied again", stream->name),
				 errdetail("Other fields are hidden now, also in the rows that are there. Mirrors: %s.", mirror_names(mirrors))));
	}
}

void
mcs_stream_check_dependents(const Stream *stream, const Stream *before)
{
	List	   *mirrors = mcs_mirrors_of_stream(stream->name);
	ListCell   *cell;

	if (!stream->keep_events && stream->has_handlers)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("change stream \"%s\" has handlers, which need its events", stream->name),
				 errhint("Drop each of them first, by drop_change_handler: change_handlers has their names.")));
	if (mirrors != NIL)
		check_mirrors(stream, before, mirrors);
	if (stream->keep_events && !stream->pipeline)
		return;
	foreach(cell, mcs_snapshots_load(stream->name))
	{
		const CopyProgress *copy = lfirst(cell);

		if (!copy->mirror && !copy->finished)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("change stream \"%s\" copies documents, and cannot have %s until that is done", stream->name,
							stream->pipeline ? "a pipeline" : "keep_events => false"),
					 errdetail("Collection \"%s.%s\" is not copied yet.", copy->database, copy->collection),
					 errhint("See change_stream_snapshots.")));
	}
}
