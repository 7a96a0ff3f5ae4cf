/*
 * stream/pipeline.c
 *	  A stream's definition as what MongoDB is asked, and what of its answers
 *	  becomes a row.
 *
 * A stream on one collection watches the collection itself: MongoDB then finds
 * its events with the least work.  Such a change stream ends when the collection
 * is dropped or renamed, or another one is renamed onto it; each of that is an
 * event, with an invalidate behind it, and the worker opens the next one there.
 *
 * What does not come so, and the user's stages, which may hide why it ended, need
 * the database to be watched, if the role may; as streams do that are followed
 * together.  The first stage then lets through what happens to the collection,
 * and what happens to it without an event of its own: that another collection
 * is renamed onto it, and that the database is dropped.  So the pipeline
 * lets more through than the user asked for, and the verdict sorts it out.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"

/* Events a getMore asks for where the user leaves it to us: more is slower. */
#define FASTEST_BATCH_SIZE	1000

/*
 * So many conditions, and no larger ones; of other collections MongoDB sends all.
 * It looks at each of them for every write: about 1 µs, where an insert costs 13.
 */
#define CONDITIONS_MAX		4
#define CONDITIONS_BYTES	(1024 * 1024)

/* What the worker must know of, whichever operations the user asked for. */
static const char *const worker_operations[] = {"drop", "rename", "dropDatabase", "invalidate"};

/* Begins a stage with one operator; end it with end_stage. */
static void
begin_stage(DocumentBuilder *builder, const char *name)
{
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, name);
}

static void
end_stage(DocumentBuilder *builder)
{
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* {key: {db, coll}}, an element of an array. */
static void
append_namespace(DocumentBuilder *builder, const char *key, const char *database, const char *collection)
{
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, key);
	mcs_document_append_string(builder, "db", database);
	mcs_document_append_string(builder, "coll", collection);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* {$expr: {$in: ["$ns.coll", {$literal: collections}]}}, the same. */
static void
append_collections(DocumentBuilder *builder, List *collections)
{
	ListCell   *cell;

	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "$expr");
	mcs_document_begin_array(builder, "$in");
	mcs_document_append_string(builder, NULL, "$ns.coll");
	/* a name may begin with a dollar */
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_array(builder, "$literal");
	foreach(cell, collections)
		mcs_document_append_string(builder, NULL, lfirst(cell));
	mcs_document_end(builder);
	mcs_document_end(builder);
	mcs_document_end(builder);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* {ns: …, $or: conditions}, or without a collection the conditions alone, an element of an array. */
static void
append_conditions(DocumentBuilder *builder, const char *database, const StreamScope *scope)
{
	ListCell   *cell;

	mcs_document_begin_object(builder, NULL);
	if (scope->collection)
	{
		mcs_document_begin_object(builder, "ns");
		mcs_document_append_string(builder, "db", database);
		mcs_document_append_string(builder, "coll", scope->collection);
		mcs_document_end(builder);
	}
	mcs_document_begin_array(builder, "$or");
	foreach(cell, scope->conditions)
		mcs_document_append_document(builder, NULL, lfirst(cell));
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/*
 * The first stage on a database of whoever follows some of its collections.
 * MongoDB rewrites it for its oplog: a whole namespace as a comparison with each
 * kind of entry, ns.coll as a regular expression for each name, and an expression
 * as one.  So it is a namespace for one collection, and an expression for several;
 * of 40 that are busy the names themselves were seen to cost MongoDB twice as much,
 * and the namespaces ten times.  Of renames, which are few, a list lets all through.
 *
 * What of a collection only goes with conditions (those of streams that are followed
 * together, whose operations and filters MongoDB would evaluate if they were alone)
 * stands apart from those of which everything goes.
 */
static void
append_scope(DocumentBuilder *builder, const char *database, List *wholly, List *conditional)
{
	bool		one = list_length(wholly) == 1;
	bool		alone = one && conditional == NIL;
	ListCell   *cell;

	begin_stage(builder, "$match");
	mcs_document_begin_array(builder, "$or");
	if (one)
		append_namespace(builder, "ns", database, linitial(wholly));
	else if (wholly != NIL)
		append_collections(builder, wholly);
	if (alone)
		append_namespace(builder, "to", database, linitial(wholly));
	foreach(cell, conditional)
		append_conditions(builder, database, lfirst(cell));
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "operationType");
	mcs_document_begin_array(builder, "$in");
	/* these have no collection in ns */
	mcs_document_append_string(builder, NULL, "dropDatabase");
	mcs_document_append_string(builder, NULL, "invalidate");
	if (!alone)
		mcs_document_append_string(builder, NULL, "rename");
	mcs_document_end(builder);
	mcs_document_end(builder);
	mcs_document_end(builder);
	mcs_document_end(builder);
	end_stage(builder);
}

/* Whether an operation, a text that is not terminated, is asked for by name. */
static bool
has_operation(const Stream *stream, const char *operation, uint32 length)
{
	ListCell   *cell;

	foreach(cell, stream->operations)
		if (strlen(lfirst(cell)) == length && memcmp(lfirst(cell), operation, length) == 0)
			return true;
	return false;
}

bool
mcs_stream_fits_collection(const Stream *stream)
{
	/* at a collection there is no dropDatabase, and an invalidate behind a drop as well */
	return stream->collection && !stream->pipeline && !has_operation(stream, "dropDatabase", strlen("dropDatabase")) &&
		!has_operation(stream, "invalidate", strlen("invalidate"));
}

/* Whether a condition of MongoDB's has a key, or a string, that names the full document or all of the event. */
static bool
reads_full_document(const DocumentValue *value)
{
	static const char field[] = "fullDocument";
	DocumentIterator it;
	const char *string;
	uint32		size;

	check_stack_depth();
	if (mcs_document_get_string(value, &string, &size))
		return size > 1 && string[0] == '$' &&
			(string[1] == '$' || (size > strlen(field) && memcmp(string + 1, field, strlen(field)) == 0));
	if (!mcs_document_is_container(value->type))
		return false;
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
		if (strcmp(it.key, field) == 0 || strncmp(it.key, "fullDocument.", strlen("fullDocument.")) == 0 ||
			reads_full_document(&it.value))
			return true;
	return false;
}

bool
mcs_pipeline_may_look_up(const Stream *stream)
{
	DocumentValue filter;

	/* what the user's stages do with a document is not ours to guess */
	if (strcmp(stream->full_document, "updateLookup") != 0 || stream->pipeline)
		return false;
	if (!stream->pushed_filter)
		return true;
	filter = mcs_document_value(stream->pushed_filter);
	return !reads_full_document(&filter);
}

bool
mcs_pipeline_must_see(const ChangeEvent *event)
{
	for (int i = 0; i < lengthof(worker_operations); i++)
		if (mcs_event_text_is(&event->operation_type, worker_operations[i]))
			return true;
	return false;
}

/* operationType: {$in: […]}: the operations that are asked for, those that the worker needs, or both. */
static void
append_operations(DocumentBuilder *builder, const Stream *stream, bool users, bool workers)
{
	ListCell   *cell;

	mcs_document_begin_object(builder, "operationType");
	mcs_document_begin_array(builder, "$in");
	if (users)
		foreach(cell, stream->operations)
			mcs_document_append_string(builder, NULL, lfirst(cell));
	for (int i = 0; i < lengthof(worker_operations) && workers; i++)
		if (!users || !has_operation(stream, worker_operations[i], strlen(worker_operations[i])))
			mcs_document_append_string(builder, NULL, worker_operations[i]);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* The operations that are asked for as a condition; NULL for all. */
static Document *
operations_filter(const Stream *stream)
{
	DocumentBuilder builder;

	if (stream->operations == NIL)
		return NULL;
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	append_operations(&builder, stream, true, true);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/*
 * The condition that MongoDB evaluates for the user, made of the operations
 * and of what match says of the filter (NULL: nothing); NULL for none.
 */
Document *
mcs_pipeline_pushed_filter(const Stream *stream, const Document *match)
{
	DocumentBuilder builder;

	if (match == NULL)
		return operations_filter(stream);
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_array(&builder, "$or");
	if (stream->operations != NIL)
	{
		mcs_document_begin_object(&builder, NULL);
		append_operations(&builder, stream, true, false);
		/* the condition may have an operationType of its own, which would be a second key of that name */
		mcs_document_begin_array(&builder, "$and");
		mcs_document_append_document(&builder, NULL, match);
		mcs_document_end(&builder);
		mcs_document_end(&builder);
	}
	else
		mcs_document_append_document(&builder, NULL, match);
	mcs_document_begin_object(&builder, NULL);
	append_operations(&builder, stream, false, true);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/*
 * A $match of the user's pipeline.  In a collection's stream it lets a rename
 * onto the collection through: nothing else tells that its contents changed.
 */
static void
append_user_match(DocumentBuilder *builder, const DocumentValue *condition, const char *collection)
{
	begin_stage(builder, "$match");
	mcs_document_begin_array(builder, "$or");
	mcs_document_append_value(builder, NULL, condition);
	mcs_document_begin_object(builder, NULL);
	mcs_document_append_string(builder, "operationType", "rename");
	mcs_document_append_string(builder, "to.coll", collection);
	mcs_document_end(builder);
	mcs_document_end(builder);
	end_stage(builder);
}

static void
append_user_stages(DocumentBuilder *builder, const Document *pipeline, const char *collection)
{
	DocumentIterator it;

	mcs_document_iterate(&it, DOCUMENT_VALUE(pipeline), DOCUMENT_VALUE_SIZE(pipeline));
	while (mcs_document_next(&it))
	{
		DocumentValue condition;

		if (collection && mcs_document_find(it.value.data, it.value.size, "$match", &condition))
			append_user_match(builder, &condition, collection);
		else
			mcs_document_append_value(builder, NULL, &it.value);
	}
}

/* MongoDB's word, or NULL where it is what MongoDB does anyway. */
static const char *
unless_default(const char *word, const char *usual)
{
	return strcmp(word, usual) == 0 ? NULL : word;
}

void
mcs_stream_spec(const Stream *stream, bool at_collection, ChangeStreamSpec *spec)
{
	const char *filtered = at_collection ? NULL : stream->collection;
	Document   *match = stream->pushed_filter;
	DocumentBuilder builder;
	Document   *stages;

	memset(spec, 0, sizeof(*spec));
	spec->database = unless_default(stream->database, "*");
	spec->collection = at_collection ? stream->collection : NULL;
	spec->full_document = unless_default(stream->full_document, "default");
	spec->full_document_before_change = unless_default(stream->full_document_before_change, "off");
	spec->show_expanded_events = stream->show_expanded_events;
	spec->batch_size = stream->batch_size > 0 ? stream->batch_size : FASTEST_BATCH_SIZE;
	spec->max_await_ms = stream->max_await_ms;
	spec->queue_bytes = MONGO_QUEUE_BYTES;

	/* the scope first: what stands first MongoDB can apply to its oplog, before it makes events */
	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	if (filtered)
		append_scope(&builder, stream->database, list_make1(unconstify(char *, filtered)), NIL);
	/* the filter is about what the user's stages make of an event */
	if (stream->pipeline)
		append_user_stages(&builder, stream->pipeline, filtered);
	if (match)
	{
		mcs_document_begin_object(&builder, NULL);
		mcs_document_append_document(&builder, "$match", match);
		mcs_document_end(&builder);
	}
	mcs_document_end(&builder);
	stages = mcs_document_finish(&builder);
	spec->stages = DOCUMENT_VALUE(stages);
	spec->stages_size = DOCUMENT_VALUE_SIZE(stages);
}

/* Whether what is wanted of a collection is told to MongoDB by its conditions, beside so many others. */
static bool
takes_conditions(const StreamScope *scope, int *count, Size *bytes)
{
	Size		more = 0;
	ListCell   *cell;

	foreach(cell, scope->conditions)
		more += VARSIZE(lfirst(cell));
	if (scope->all || *count + list_length(scope->conditions) > CONDITIONS_MAX || *bytes + more > CONDITIONS_BYTES)
		return false;
	*count += list_length(scope->conditions);
	*bytes += more;
	return true;
}

void
mcs_stream_group_spec(const Stream *stream, List *scopes, ChangeStreamSpec *spec)
{
	DocumentBuilder builder;
	Document   *stages;
	List	   *wholly = NIL;
	List	   *conditional = NIL;
	int			count = 0;
	Size		bytes = 0;
	ListCell   *cell;

	mcs_stream_spec(stream, false, spec);
	foreach(cell, scopes)
	{
		StreamScope *scope = lfirst(cell);
		bool		conditions = takes_conditions(scope, &count, &bytes);

		if (!scope->collection && !conditions)
			return;
		if (conditions)
			conditional = lappend(conditional, scope);
		else
			wholly = lappend(wholly, unconstify(char *, scope->collection));
	}
	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	append_scope(&builder, stream->database, wholly, conditional);
	mcs_document_end(&builder);
	stages = mcs_document_finish(&builder);
	spec->stages = DOCUMENT_VALUE(stages);
	spec->stages_size = DOCUMENT_VALUE_SIZE(stages);
}

StreamVerdict
mcs_stream_verdict(const Stream *stream, const ChangeEvent *event)
{
	const EventText *operation = &event->operation_type;
	bool		named = operation->data && has_operation(stream, operation->data, operation->length);

	/* of another collection, or of none: it came by the scope of the first stage */
	if (stream->collection && !mcs_event_text_is(&event->collection, stream->collection))
	{
		if (mcs_event_text_is(operation, "rename") && mcs_event_text_is(&event->to_collection, stream->collection))
			return STREAM_GAP;
		if (mcs_event_text_is(operation, "dropDatabase") || mcs_event_text_is(operation, "invalidate"))
			return named ? STREAM_STORE : STREAM_SKIP;
		return STREAM_SKIP;
	}
	return stream->operations == NIL || named ? STREAM_STORE : STREAM_SKIP;
}
