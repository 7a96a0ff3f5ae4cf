/*
 * match/fields.c
 *	  Conditions on changed_fields, which MongoDB does not have: the names are
 *	  the keys of an inserted or replacing document, else what the description
 *	  of an update lists.
 *
 * A name that cannot stand in a dotted path, as those of fields in documents
 * within ("a.b" is one key of updatedFields), is asked for by $getField.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "match/match_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* Bounds of what is sent: names of a list, bytes of a name. */
#define MAX_NAMES	50
#define MAX_NAME	1000

/* {operationType: {$in: ["insert", "replace"]}} */
static MatchFilter *
writes_document(void)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "operationType");
	mcs_document_begin_array(&builder, "$in");
	mcs_document_append_string(&builder, NULL, "insert");
	mcs_document_append_string(&builder, NULL, "replace");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* changed_fields IS [NOT] NULL */
MatchFilter *
mcs_match_fields_null(bool isnull)
{
	DocumentBuilder builder;
	MatchFilter *filter;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "updateDescription");
	mcs_document_append_string(&builder, "$type", "object");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	filter = mcs_match_or(writes_document(), mcs_match_test(mcs_document_finish(&builder), true));
	return isnull ? mcs_match_not(filter) : filter;
}

/* {key: name} */
static MatchFilter *
string_test(const char *key, const char *name)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, key, name);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* Events in which the object at a path has a key. */
static MatchFilter *
key_test(const char *first, const char *second, const char *name)
{
	MatchPath	path = {0};
	DocumentBuilder builder;

	path.steps = second ? list_make3((void *) first, (void *) second, (void *) name) :
		list_make2((void *) first, (void *) name);
	/* which a dotted path cannot say */
	if (name[0] == '\0' || name[0] == '$' || strchr(name, '.'))
		return mcs_match_literal_exists(&path);
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, mcs_match_dotted(&path));
	mcs_document_append_bool(&builder, "$exists", true);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), true);
}

/* Events whose changed_fields has a name. */
static MatchFilter *
has_name(const char *name)
{
	MatchFilter *filter;

	/* an update may have a full document as well, whose keys it need not have written */
	filter = mcs_match_and(writes_document(), key_test("fullDocument", NULL, name));
	filter = mcs_match_or(filter, key_test("updateDescription", "updatedFields", name));
	filter = mcs_match_or(filter, string_test("updateDescription.removedFields", name));
	return mcs_match_or(filter, string_test("updateDescription.truncatedArrays.field", name));
}

/* Whether a name can be asked for: what is not UTF-8 in one shows as U+FFFD. */
static bool
can_ask(const char *name)
{
	return strlen(name) <= MAX_NAME && strstr(name, "\xEF\xBF\xBD") == NULL;
}

/* What a condition is where it is known to be true of some events: or, for what is false, of the others. */
static MatchFilter *
truth_of(MatchFilter *filter, bool truth)
{
	return mcs_match_and(mcs_match_fields_null(false), truth ? filter : mcs_match_not(filter));
}

/* name op ANY (changed_fields), name op ALL (changed_fields); there are no nulls in it. */
MatchFilter *
mcs_match_fields_any(const MatchComparison *comparison, bool any, bool truth)
{
	char	   *name;

	if (comparison->operator != (any ? MATCH_EQ : MATCH_NE) || !comparison->items[0].known ||
		comparison->items[0].type != TEXTOID || !mcs_match_same_order(MATCH_EQ, comparison->collation))
		return mcs_match_wider(mcs_match_fields_null(false));
	name = TextDatumGetCString(comparison->items[0].value);
	if (!can_ask(name))
		return mcs_match_wider(mcs_match_fields_null(false));
	/* a name that is there shows by itself that changed_fields is not null */
	return any && truth ? has_name(name) : truth_of(has_name(name), any == truth);
}

/* changed_fields @> names, changed_fields && names. */
static MatchFilter *
all_or_any(const MatchDatum *datum, bool all, bool truth)
{
	MatchFilter *filter = all ? mcs_match_all() : mcs_match_none();
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(datum->value), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count > MAX_NAMES)
		return mcs_match_wider(mcs_match_fields_null(false));
	for (int i = 0; i < count; i++)
	{
		MatchFilter *part = mcs_match_none();

		/* a null is in no array */
		if (!nulls[i])
		{
			char	   *name = TextDatumGetCString(elements[i]);

			part = can_ask(name) ? has_name(name) : mcs_match_unknown();
		}
		filter = all ? mcs_match_and(filter, part) : mcs_match_or(filter, part);
	}
	return truth_of(filter, truth);
}

/* ---- CONTAINS ---- */

/* {$eq: [{$indexOfBytes: ["$$this.k", text]}, 0]} or {$eq: ["$$this.k", text]} */
static void
append_key_condition(DocumentBuilder *builder, const char *text, bool prefix)
{
	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_array(builder, "$eq");
	if (prefix)
	{
		mcs_document_begin_object(builder, NULL);
		mcs_document_begin_array(builder, "$indexOfBytes");
	}
	mcs_document_append_string(builder, NULL, "$$this.k");
	/* an expression would take a text that begins with $ for a path */
	mcs_document_begin_object(builder, NULL);
	mcs_document_append_string(builder, "$literal", text);
	mcs_document_end(builder);
	if (prefix)
	{
		mcs_document_end(builder);
		mcs_document_end(builder);
		mcs_document_append_int32(builder, NULL, 0);
	}
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/*
 * Events in which the object at a path has the key step, or one that begins
 * with it and a dot.  A regular expression would fail on a key that is no UTF-8.
 */
static MatchFilter *
key_begins(const char *path, const char *step)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "$expr");
	mcs_document_begin_array(&builder, "$anyElementTrue");
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, "$map");
	mcs_document_begin_object(&builder, "input");
	/* which raises an error on what is no object, so that the stream would end: {} in its place */
	mcs_document_begin_object(&builder, "$objectToArray");
	mcs_document_begin_array(&builder, "$cond");
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_array(&builder, "$eq");
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "$type", path);
	mcs_document_end(&builder);
	mcs_document_append_string(&builder, NULL, "object");
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_append_string(&builder, NULL, path);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_begin_object(&builder, "in");
	mcs_document_begin_array(&builder, "$or");
	append_key_condition(&builder, step, false);
	append_key_condition(&builder, psprintf("%s.", step), true);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/*
 * {key: {$gte: step, $lt: step and what comes after a dot}}: the step, paths that
 * begin with it, and some more.  A range is enough, since the condition is
 * evaluated again, and has nothing in it to escape.
 */
static MatchFilter *
name_begins(const char *key, const char *step)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_begin_object(&builder, key);
	mcs_document_append_string(&builder, "$gte", step);
	mcs_document_append_string(&builder, "$lt", psprintf("%s%c", step, '.' + 1));
	mcs_document_end(&builder);
	mcs_document_end(&builder);
	return mcs_match_test(mcs_document_finish(&builder), false);
}

/* change_stream_wrote(changed_fields, path): a name and the path have their first step in common. */
static MatchFilter *
wrote(const MatchDatum *datum)
{
	char	   *step = TextDatumGetCString(datum->value);
	MatchFilter *filter;

	/* only the first step is sure: positions in arrays may be left out of those behind it */
	step[strcspn(step, ".")] = '\0';
	if (!can_ask(step))
		return mcs_match_fields_null(false);
	filter = mcs_match_and(writes_document(), key_begins("$fullDocument", step));
	filter = mcs_match_or(filter, key_begins("$updateDescription.updatedFields", step));
	filter = mcs_match_or(filter, name_begins("updateDescription.removedFields", step));
	return mcs_match_or(filter, name_begins("updateDescription.truncatedArrays.field", step));
}

/* changed_fields beside names, or as the argument of a function. */
MatchFilter *
mcs_match_fields(const MatchComparison *comparison, bool truth)
{
	const MatchDatum *datum = comparison->items;

	if (datum->known && datum->type == TEXTARRAYOID && mcs_match_same_order(MATCH_EQ, comparison->collation))
	{
		if (comparison->function == (comparison->swapped ? F_ARRAYCONTAINED : F_ARRAYCONTAINS))
			return all_or_any(datum, true, truth);
		if (comparison->function == F_ARRAYOVERLAP)
			return all_or_any(datum, false, truth);
	}
	/* where it is false, only that there are names is sure: what has the first step may lack the rest of the path */
	if (truth && datum->known && datum->type == TEXTOID &&
		mcs_extension_function(comparison->function) == mcs_change_stream_wrote)
		return mcs_match_wider(wrote(datum));
	return mcs_match_wider(mcs_match_fields_null(false));
}
