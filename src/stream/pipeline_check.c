/*
 * stream/pipeline_check.c
 *	  What a user's pipeline may hold.
 *
 * MongoDB takes a few stages only after $changeStream, and it notices a
 * pipeline that removes an event's _id with the first event, not when the
 * stream is opened; a pipeline that changes the other fields by which events
 * are told apart it does not notice at all.  So that is looked for here, by the
 * form of the stages: what can't be seen to leave those fields alone is refused.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"

static const char *const allowed_stages[] = {
	"$addFields", "$match", "$project", "$redact", "$replaceRoot", "$replaceWith", "$set", "$unset"
};

/* Fields of an event that must come through as they are. */
static const char *const kept_fields[] = {"_id", "operationType", "ns", "clusterTime", "documentKey"};

/* A stage while it is checked. */
typedef struct StageCheck
{
	int			number;			/* from 1 */
	const char *name;
} StageCheck;

/* Raises that a stage does something to a field that must come through. */
static void
refuse(const StageCheck *stage, const char *what, const char *field, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("stage %d of pipeline, %s, %s \"%s\"", stage->number, stage->name, what, field),
			 errdetail("Fields that every event must keep as they are: _id, operationType, ns, clusterTime, documentKey."),
			 errhint("%s", hint)));
}

static void
refuse_change(const StageCheck *stage, const char *field)
{
	refuse(stage, "changes", field, "Put what is computed into a field of another name.");
}

static void
refuse_drop(const StageCheck *stage, const char *field)
{
	refuse(stage, "drops", field, "Name what may go, by $unset, rather than what shall stay.");
}

/* Raises that a stage has not the form by which it could be seen what it does. */
static void
refuse_form(const StageCheck *stage, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("stage %d of pipeline, %s, %s", stage->number, stage->name, why),
			 hint ? errhint("%s", hint) : 0));
}

/* The field that must be kept and that a path begins with, or NULL. */
static const char *
kept_field(const char *path, uint32 size)
{
	for (int i = 0; i < lengthof(kept_fields); i++)
	{
		uint32		length = strlen(kept_fields[i]);

		if (size >= length && memcmp(path, kept_fields[i], length) == 0 && (size == length || path[length] == '.'))
			return kept_fields[i];
	}
	return NULL;
}

/* Whether an expression is a field of the event itself: "$documentKey", "$$ROOT.documentKey". */
static bool
is_field(const DocumentValue *value, const char *field)
{
	static const char *const prefixes[] = {"$", "$$ROOT.", "$$CURRENT."};
	const char *string;
	uint32		size;

	if (!mcs_document_get_string(value, &string, &size))
		return false;
	for (int i = 0; i < lengthof(prefixes); i++)
	{
		uint32		length = strlen(prefixes[i]);

		if (size == length + strlen(field) && memcmp(string, prefixes[i], length) == 0 &&
			memcmp(string + length, field, size - length) == 0)
			return true;
	}
	return false;
}

/* $addFields and $set, and objects merged into the event. */
static void
check_assignments(const StageCheck *stage, const DocumentValue *fields)
{
	DocumentIterator it;

	if (fields->type != DOCUMENT_OBJECT)
		refuse_form(stage, "must have an object", NULL);
	mcs_document_iterate(&it, fields->data, fields->size);
	while (mcs_document_next(&it))
	{
		const char *kept = kept_field(it.key, it.key_size);

		/* a field that is given its own value stays what it is */
		if (kept && !(strlen(kept) == it.key_size && is_field(&it.value, kept)))
			refuse_change(stage, kept);
	}
}

/* One path of an $unset: neither a field that must come through nor anything in it. */
static void
check_unset_path(const StageCheck *stage, const DocumentValue *value)
{
	const char *path;
	uint32		size;
	const char *kept;

	if (!mcs_document_get_string(value, &path, &size))
		refuse_form(stage, "must have a string or an array of strings", NULL);
	kept = kept_field(path, size);
	if (kept)
		refuse_drop(stage, kept);
}

/* $unset: a path or an array of paths. */
static void
check_unset(const StageCheck *stage, const DocumentValue *value)
{
	DocumentIterator it;

	if (value->type != DOCUMENT_ARRAY)
	{
		check_unset_path(stage, value);
		return;
	}
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
		check_unset_path(stage, &it.value);
}

/* What a $project does with one path. */
typedef enum Projection
{
	PROJECT_EXCLUDE,
	PROJECT_INCLUDE,
	PROJECT_COMPUTE,
	PROJECT_NESTED
} Projection;

/* {"$op": ...} is computed; {"a": ...} names fields inside.  {} is a value, too. */
static bool
is_operator_object(const DocumentValue *value)
{
	DocumentIterator it;

	mcs_document_iterate(&it, value->data, value->size);
	return !mcs_document_next(&it) || it.key[0] == '$';
}

/* As MongoDB decides it: numbers and booleans by their truth, anything else is an expression. */
static Projection
projection_of(const DocumentValue *value)
{
	static const DocumentValue zero = {.type = DOCUMENT_INT32,.data = (const uint8 *) "\0\0\0",.size = sizeof(int32)};
	bool		truth;
	int64		number;

	if (value->type == DOCUMENT_OBJECT)
		return is_operator_object(value) ? PROJECT_COMPUTE : PROJECT_NESTED;
	if (mcs_document_get_bool(value, &truth))
		return truth ? PROJECT_INCLUDE : PROJECT_EXCLUDE;
	if (mcs_document_get_int64(value, &number))
		return number != 0 ? PROJECT_INCLUDE : PROJECT_EXCLUDE;
	if (value->type == DOCUMENT_DOUBLE)
		return mcs_document_read_double(value->data) != 0 ? PROJECT_INCLUDE : PROJECT_EXCLUDE;
	if (value->type == DOCUMENT_DECIMAL128)
		return mcs_document_compare(value, &zero) != 0 ? PROJECT_INCLUDE : PROJECT_EXCLUDE;
	return PROJECT_COMPUTE;
}

/* Whether an object of a $project excludes everything that it names; _id may be told apart. */
static bool
only_excludes(const DocumentValue *fields, bool top)
{
	DocumentIterator it;
	bool		excludes = false;

	/* nested as deep as the user likes */
	check_stack_depth();
	mcs_document_iterate(&it, fields->data, fields->size);
	while (mcs_document_next(&it))
	{
		/* an including $project may exclude _id, so that says nothing of the others */
		if (top && strcmp(it.key, "_id") == 0)
			continue;
		excludes = true;
		switch (projection_of(&it.value))
		{
			case PROJECT_EXCLUDE:
				break;
			case PROJECT_NESTED:
				if (!only_excludes(&it.value, false))
					return false;
				break;
			case PROJECT_INCLUDE:
			case PROJECT_COMPUTE:
				return false;
		}
	}
	return excludes;
}

/* An including $project must name what is to be kept; an excluding one must not. */
static void
check_project(const StageCheck *stage, const DocumentValue *fields)
{
	bool		excludes;
	bool		seen[lengthof(kept_fields)] = {false};
	DocumentIterator it;

	if (fields->type != DOCUMENT_OBJECT)
		refuse_form(stage, "must have an object", NULL);
	/* MongoDB allows no mixture of both, and says so itself when the stream is opened */
	excludes = only_excludes(fields, true);
	mcs_document_iterate(&it, fields->data, fields->size);
	while (mcs_document_next(&it))
	{
		const char *kept = kept_field(it.key, it.key_size);

		/* others may come through, go or be made anew */
		if (!kept)
			continue;
		if (projection_of(&it.value) == PROJECT_EXCLUDE)
			refuse_drop(stage, kept);
		/* a part of it, or something else under its name */
		if (strlen(kept) != it.key_size || (projection_of(&it.value) != PROJECT_INCLUDE && !is_field(&it.value, kept)))
			refuse_change(stage, kept);
		for (int i = 0; i < lengthof(kept_fields); i++)
			seen[i] = seen[i] || kept == kept_fields[i];
	}
	seen[0] = true;				/* _id stays unless it is excluded */
	for (int i = 0; !excludes && i < lengthof(kept_fields); i++)
		if (!seen[i])
			refuse_drop(stage, kept_fields[i]);
}

/* Whether an expression is the event as a whole. */
static bool
is_root(const DocumentValue *value)
{
	const char *string;
	uint32		size;

	if (!mcs_document_get_string(value, &string, &size))
		return false;
	return (size == 6 && memcmp(string, "$$ROOT", 6) == 0) || (size == 9 && memcmp(string, "$$CURRENT", 9) == 0);
}

/* A new root is the event itself, with literal fields merged into it after it. */
static void
check_root(const StageCheck *stage, const DocumentValue *root)
{
	const char *hint = "Use $addFields, or {\"$mergeObjects\": [\"$$ROOT\", {\"field\": expression}]}.";
	DocumentValue merged;
	DocumentIterator it;
	bool		after_root = false;

	if (is_root(root))
		return;
	/* any other expression is known only when the event comes */
	if (root->type != DOCUMENT_OBJECT || !mcs_document_find(root->data, root->size, "$mergeObjects", &merged) ||
		merged.type != DOCUMENT_ARRAY)
		refuse_form(stage, "does not keep the event's own fields", hint);
	mcs_document_iterate(&it, merged.data, merged.size);
	while (mcs_document_next(&it))
	{
		if (is_root(&it.value))
			after_root = true;
		/* what comes before the event is overwritten by it */
		else if (after_root)
		{
			if (it.value.type != DOCUMENT_OBJECT || is_operator_object(&it.value))
				refuse_form(stage, "merges into the event what is known only when it comes", hint);
			check_assignments(stage, &it.value);
		}
	}
	if (!after_root)
		refuse_form(stage, "does not keep the event's own fields", hint);
}

/* Whether a string occurs anywhere in a value. */
static bool
mentions(const DocumentValue *value, const char *wanted)
{
	const char *string;
	uint32		size;
	DocumentIterator it;

	check_stack_depth();
	if (mcs_document_get_string(value, &string, &size))
		return size == strlen(wanted) && memcmp(string, wanted, size) == 0;
	if (!mcs_document_is_container(value->type))
		return false;
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
		if (mentions(&it.value, wanted))
			return true;
	return false;
}

/* What a stage of an allowed name holds. */
static void
check_stage(const StageCheck *stage, const DocumentValue *value)
{
	const char *name = stage->name;
	DocumentValue root;

	if (strcmp(name, "$match") == 0)
	{
		if (value->type != DOCUMENT_OBJECT)
			refuse_form(stage, "must have an object", NULL);
	}
	else if (strcmp(name, "$addFields") == 0 || strcmp(name, "$set") == 0)
		check_assignments(stage, value);
	else if (strcmp(name, "$unset") == 0)
		check_unset(stage, value);
	else if (strcmp(name, "$project") == 0)
		check_project(stage, value);
	else if (strcmp(name, "$replaceWith") == 0)
		check_root(stage, value);
	else if (strcmp(name, "$replaceRoot") == 0)
	{
		if (value->type != DOCUMENT_OBJECT || !mcs_document_find(value->data, value->size, "newRoot", &root))
			refuse_form(stage, "must have an object with newRoot", NULL);
		check_root(stage, &root);
	}
	/*
	 * $redact: keeps or prunes the event as a whole, unless it looks into it.  That it
	 * does by a variable, which stands in the text, since no expression can compute
	 * the name of one; a literal of that name is refused with it.
	 */
	else if (mentions(value, "$$DESCEND"))
		refuse_form(stage, "descends into fields that every event must keep",
					"Decide by $$KEEP and $$PRUNE for the event as a whole, or drop fields by $unset.");
}

/* A stage that MongoDB takes in change streams, by its name. */
static void
check_stage_name(const StageCheck *stage)
{
	StringInfoData list;

	for (int i = 0; i < lengthof(allowed_stages); i++)
		if (strcmp(stage->name, allowed_stages[i]) == 0)
			return;
	initStringInfo(&list);
	for (int i = 0; i < lengthof(allowed_stages); i++)
		appendStringInfo(&list, "%s%s", i == 0 ? "" : ", ", allowed_stages[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("stage %d of pipeline, \"%s\", is not allowed in a change stream", stage->number, stage->name),
			 strcmp(stage->name, "$changeStreamSplitLargeEvent") == 0 ?
			 errdetail("Large events are split without it, where the server can.") :
			 errdetail("Allowed stages: %s.", list.data)));
}

/* Raises what is wrong with a pipeline, an argument of create_change_stream. */
void
mcs_pipeline_check(const Document *pipeline)
{
	DocumentIterator stages;
	StageCheck	stage = {0};

	if (DOCUMENT_TYPE(pipeline) != DOCUMENT_ARRAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("pipeline must be an array of stages"),
				 errdetail("It is of type %s.", mcs_document_type_name(DOCUMENT_TYPE(pipeline))),
				 errhint("A pipeline is written as '[{\"$match\": {\"fullDocument.status\": \"paid\"}}]'.")));
	mcs_document_iterate(&stages, DOCUMENT_VALUE(pipeline), DOCUMENT_VALUE_SIZE(pipeline));
	while (mcs_document_next(&stages))
	{
		DocumentIterator it;
		DocumentValue value;

		/* one key, the stage's name, in an object of its own */
		stage.number++;
		stage.name = "?";
		if (stages.value.type == DOCUMENT_OBJECT)
			mcs_document_iterate(&it, stages.value.data, stages.value.size);
		if (stages.value.type != DOCUMENT_OBJECT || !mcs_document_next(&it))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stage %d of pipeline must be an object with one key, the stage's name", stage.number)));
		stage.name = it.key;
		value = it.value;
		if (mcs_document_next(&it))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stage %d of pipeline must have one key", stage.number),
					 errdetail("It has \"%s\" and \"%s\".", stage.name, it.key)));
		check_stage_name(&stage);
		check_stage(&stage, &value);
	}
	/* the iterator ends at bytes that are no document, too */
	if (stages.malformed)
		mcs_document_malformed();
}
