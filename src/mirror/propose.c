/*
 * mirror/propose.c
 *	  Columns for a mirror, by what a sample of the documents holds.
 *
 * The text is one that create_change_mirror takes as it is, whatever the fields
 * are called: a path that cannot be written as names is written in brackets,
 * which the dialect leaves alone.  Types are the narrowest that hold everything
 * that was seen; what is of several gets one that holds all of them.
 */
#include "mongo_change_stream.h"

#include "common/keywords.h"
#include "mb/pg_wchar.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#define MAX_SAMPLE	100000

/* A table has up to 1,600 columns, and nobody reads more than these. */
#define MAX_COLUMNS	300

/* So many fields that few of the objects have make no columns. */
#define MAX_RARE_FIELDS	8

PG_FUNCTION_INFO_V1(mcs_propose_mirror_columns);

/* ---- types ---- */

#define FIELD_NUMBERS	(FIELD_INT32 | FIELD_INT64 | FIELD_LARGE | FIELD_DOUBLE | FIELD_DECIMAL)

/* What has a plain text. */
#define FIELD_SCALARS	(FIELD_NUMBERS | FIELD_BOOL | FIELD_DATE | FIELD_TEXT | FIELD_OBJECT_ID | FIELD_UUID)

/* Whether all that was seen is one of some kinds. */
static bool
is_only(uint32 kinds, uint32 of)
{
	return (kinds & ~of) == 0;
}

static const char *
number_type(uint32 kinds)
{
	if (kinds & FIELD_DECIMAL)
		return "numeric";
	/* a double would round them */
	if (kinds & FIELD_DOUBLE)
		return kinds & FIELD_LARGE ? "numeric" : "double precision";
	return kinds & FIELD_INT64 ? "bigint" : "integer";
}

static const char *
field_type(const SampledField *field)
{
	uint32		kinds = field->kinds;

	/* nothing but nulls tells nothing, and a text holds most */
	if (kinds == 0 || is_only(kinds, FIELD_TEXT | FIELD_OBJECT_ID))
		return "text";
	if (is_only(kinds, FIELD_NUMBERS))
		return number_type(kinds);
	if (is_only(kinds, FIELD_BOOL))
		return "boolean";
	if (is_only(kinds, FIELD_DATE))
		return "timestamptz";
	if (is_only(kinds, FIELD_UUID))
		return "uuid";
	if (is_only(kinds, FIELD_UUID | FIELD_BINARY))
		return "bytea";
	if (is_only(kinds, FIELD_OBJECT | FIELD_ARRAY))
		return "jsonb";
	if (is_only(kinds, FIELD_SCALARS))
		return "text";
	return mcs_mirror_type_name(mcs_extension_document(), -1, false);
}

/* ---- names ---- */

/* customer.zipCode becomes customer_zip_code. */
static void
append_name(StringInfo name, const SampledField *field)
{
	if (field->depth > 1)
	{
		append_name(name, field->parent);
		appendStringInfoChar(name, '_');
	}
	for (const char *c = field->key; *c; c++)
	{
		bool		capital = *c >= 'A' && *c <= 'Z';

		/* capitals in a row are one word: maxAwaitTimeMS */
		if (capital && c > field->key && !(c[-1] >= 'A' && c[-1] <= 'Z') && name->len > 0 && name->data[name->len - 1] != '_')
			appendStringInfoChar(name, '_');
		if (capital || IS_HIGHBIT_SET(*c) || (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9'))
			appendStringInfoChar(name, capital ? pg_ascii_tolower((unsigned char) *c) : *c);
		else
			appendStringInfoChar(name, '_');
	}
}

/* Whether a name is that of a column that every table has, or that a mirror fills by itself. */
static bool
is_reserved(const char *name)
{
	static const char *const names[] = {MIRROR_ID, MIRROR_DOCUMENT, MIRROR_CHANGED_AT, MIRROR_DELETED_AT,
	"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"};

	for (int i = 0; i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool
is_taken(List *names, const char *name)
{
	ListCell   *cell;

	foreach(cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return is_reserved(name);
}

/* A name as long as PostgreSQL has it, with a number behind it where it is taken. */
static char *
column_name(const SampledField *field, List *names)
{
	StringInfoData name;
	char	   *result;

	initStringInfo(&name);
	append_name(&name, field);
	if (name.len == 0)
		appendStringInfoString(&name, "field");
	result = pnstrdup(name.data, pg_mbcliplen(name.data, name.len, NAMEDATALEN - 1));
	for (int number = 2; is_taken(names, result); number++)
	{
		char	   *suffix = psprintf("_%d", number);

		result = psprintf("%.*s%s", pg_mbcliplen(name.data, name.len, NAMEDATALEN - 1 - (int) strlen(suffix)), name.data, suffix);
	}
	return result;
}

/* ---- paths ---- */

/* Whether a name is a word that stands for something else in SQL, or in the dialect, unless it is in quotes. */
static bool
is_word(const char *key)
{
	static const char *const words[] = {"contains", "change_stream", "time_window", "user"};
	int			keyword = ScanKeywordLookup(key, &ScanKeywords);

	if (keyword >= 0 && ScanKeywordCategories[keyword] != UNRESERVED_KEYWORD)
		return true;
	for (int i = 0; i < lengthof(words); i++)
		if (pg_strcasecmp(key, words[i]) == 0)
			return true;
	return false;
}

/* Whether a name alone finds its field, and no other that is spelled in camelCase. */
static bool
is_plain(const SampledField *field)
{
	const char *key = field->key;
	ListCell   *cell;

	if (key[0] == '\0' || (key[0] >= '0' && key[0] <= '9') || strlen(key) >= NAMEDATALEN ||
		key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] != '\0')
		return false;
	if (field->depth == 1 && pg_strcasecmp(key, MIRROR_DOCUMENT) == 0)
		return false;
	/* user_id also finds userId, where there is no user_id */
	if (strchr(key, '_') == NULL)
		return true;
	foreach(cell, field->parent->fields)
	{
		StringInfoData snake;
		SampledField *other = lfirst(cell);
		SampledField alone = {.key = other->key,.depth = 1};

		initStringInfo(&snake);
		append_name(&snake, &alone);
		if (other != field && strcmp(snake.data, key) == 0)
			return false;
	}
	return true;
}

static bool
is_plain_path(const SampledField *field)
{
	return field->depth == 0 || (is_plain(field) && is_plain_path(field->parent));
}

static void
append_path(StringInfo text, const SampledField *field, bool plain)
{
	if (field->depth > 1)
		append_path(text, field->parent, plain);
	else if (!plain)
		appendStringInfoString(text, MIRROR_DOCUMENT);
	if (!plain)
		appendStringInfo(text, "[%s]", quote_literal_cstr(field->key));
	else
		appendStringInfo(text, is_word(field->key) ? "%s\"%s\"" : "%s%s", field->depth > 1 ? "." : "", field->key);
}

/* ---- the text ---- */

/* Whether an object is rather a map, by customer or by day, than one with fields: it has many keys, and none of them often. */
static bool
is_map(const SampledField *object)
{
	ListCell   *cell;

	if (object->many)
		return true;
	foreach(cell, object->fields)
		if (((SampledField *) lfirst(cell))->seen * 2 >= object->seen)
			return false;
	return list_length(object->fields) > MAX_RARE_FIELDS;
}

/* The fields that become columns: those that are values, in the tree's order. */
static List *
gather(const SampledField *parent, List *fields)
{
	ListCell   *cell;

	foreach(cell, parent->fields)
	{
		SampledField *field = lfirst(cell);

		if (field->kinds == FIELD_OBJECT && field->fields != NIL && !is_map(field))
			fields = gather(field, fields);
		else
			fields = lappend(fields, field);
	}
	return fields;
}

static int
compare_seen(const ListCell *a, const ListCell *b)
{
	int64		left = ((SampledField *) lfirst(a))->seen;
	int64		right = ((SampledField *) lfirst(b))->seen;

	return left > right ? -1 : left < right;
}

/* How many documents have a field at least, for it to be among the most frequent. */
static int64
least_seen(List *fields)
{
	List	   *sorted = list_copy(fields);

	if (list_length(fields) <= MAX_COLUMNS)
		return 0;
	list_sort(sorted, compare_seen);
	return ((SampledField *) list_nth(sorted, MAX_COLUMNS - 1))->seen;
}

/* Never 100 % where one lacks it. */
static char *
share(int64 seen, int64 documents)
{
	double		percent = 100.0 * seen / Max(documents, 1);

	if (seen == documents)
		return pstrdup("100 %");
	return percent >= 1 || seen == 0 ? psprintf("%d %%", (int) percent) : pstrdup("< 1 %");
}

static char *
column_text(const SampledField *field, const char *name)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "%s %s = ", quote_identifier(name), field_type(field));
	append_path(&text, field, is_plain_path(field));
	return text.data;
}

static char *
proposal(const Sample *sample)
{
	List	   *fields = gather(&sample->root, NIL);
	int64		least = least_seen(fields);
	List	   *names = NIL;
	StringInfoData text;
	char	   *comment = NULL;
	ListCell   *cell;

	initStringInfo(&text);
	foreach(cell, fields)
	{
		SampledField *field = lfirst(cell);
		char	   *name;

		CHECK_FOR_INTERRUPTS();
		if (field->seen < least || list_length(names) == MAX_COLUMNS)
			continue;
		name = column_name(field, names);
		names = lappend(names, name);
		/* the comma of the one before stands before its comment */
		if (comment)
			appendStringInfo(&text, ", -- %s\n", comment);
		appendStringInfoString(&text, column_text(field, name));
		comment = share(field->seen, sample->documents);
	}
	if (comment)
		appendStringInfo(&text, " -- %s\n", comment);
	if (list_length(fields) > list_length(names) || sample->root.many)
		appendStringInfo(&text, "-- further fields of documents are rarer, and are left out\n");
	return text.data;
}

char *
mcs_mirror_propose(const MongoTarget *target, const char *database, const char *collection, int documents)
{
	return proposal(mcs_mirror_sample(target, database, collection, documents));
}

/* propose_mirror_columns(collection text, database text, server text, sample int) returns text */
Datum
mcs_propose_mirror_columns(PG_FUNCTION_ARGS)
{
	MongoTarget *target;
	char	   *collection;
	char	   *database;
	int			documents = PG_ARGISNULL(3) ? MIRROR_SAMPLE : PG_GETARG_INT32(3);

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("collection must not be null")));
	if (documents < 1 || documents > MAX_SAMPLE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sample must be between 1 and %d", MAX_SAMPLE)));
	collection = text_to_cstring(PG_GETARG_TEXT_PP(0));
	target = mcs_mongo_target(mcs_convert_text_argument(fcinfo, 2), GetUserId());
	database = mcs_stream_database(target, mcs_convert_text_argument(fcinfo, 1));
	PG_RETURN_TEXT_P(cstring_to_text(mcs_mirror_propose(target, database, collection, documents)));
}
