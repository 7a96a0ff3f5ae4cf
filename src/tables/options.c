/*
 * tables/options.c
 *	  The options of streams, of handlers and of projections.
 *
 * Each has one row in a list of tables.h and one name: of the argument that says
 * it, of the column that keeps it, and of the member that holds it.  All that is
 * done with every option follows from the rows: how a definition is read from its
 * table and written there (here), how the arguments of functions are taken and
 * what reset may name (stream/argument.c), and what the dialect knows (its WITH
 * (...)).  What a value must be is asked where its meaning is known, by the
 * checks that the rows name (stream/definition.c, handler/definition.c,
 * projection/definition.c).
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* ---- the lists ---- */

/* MongoDB's words for fullDocument and fullDocumentBeforeChange, and ours for what is not MongoDB's affair. */
static const OptionWord full_document_words[] = {
	{"default", NULL, 0},
	{"updateLookup", "update_lookup", 0},
	{"whenAvailable", "when_available", 0},
	{"required", NULL, 0},
	{NULL, NULL, 0}
};

static const OptionWord before_change_words[] = {
	{"off", NULL, 0},
	{"whenAvailable", "when_available", 0},
	{"required", NULL, 0},
	{NULL, NULL, 0}
};

static const OptionWord notify_words[] = {
	{"ids", NULL, STREAM_NOTIFY_IDS},
	{"heads", NULL, STREAM_NOTIFY_HEADS},
	{"off", NULL, STREAM_NOTIFY_OFF},
	{NULL, NULL, 0}
};

static const OptionWord on_error_words[] = {
	{"stop", NULL, STREAM_ON_ERROR_STOP},
	{"skip", NULL, STREAM_ON_ERROR_SKIP},
	{"park", NULL, STREAM_ON_ERROR_PARK},
	{NULL, NULL, 0}
};

static const OptionWord each_words[] = {
	{"event", NULL, HANDLER_EACH_EVENT},
	{"batch", NULL, HANDLER_EACH_BATCH},
	{NULL, NULL, 0}
};

static const OptionWord on_failure_words[] = {
	{"dead_letter", NULL, HANDLER_ON_FAILURE_DEAD_LETTER},
	{"stop", NULL, HANDLER_ON_FAILURE_STOP},
	{NULL, NULL, 0}
};

/* The rows as data.  The check is left out: it is of a folder above (stream/definition.c, handler/definition.c). */
#define ROW_OF(definition, member, kind, words, fallback, flags) \
	{#member, kind, words, fallback, flags, offsetof(definition, member), sizeof(((definition *) NULL)->member)},
#define STREAM_ROW(name, kind, words, fallback, flags, check) ROW_OF(Stream, name, kind, words, fallback, flags)
#define HANDLER_ROW(name, kind, words, fallback, flags, check) ROW_OF(Handler, name, kind, words, fallback, flags)
#define PROJECTION_ROW(name, kind, words, fallback, flags, check) ROW_OF(ChangeProjection, name, kind, words, fallback, flags)

static const Option stream_options[] = {STREAM_OPTION_LIST(STREAM_ROW)};
static const Option handler_options[] = {HANDLER_OPTION_LIST(HANDLER_ROW)};
static const Option projection_options[] = {PROJECTION_OPTION_LIST(PROJECTION_ROW)};

const OptionList mcs_options_stream = {stream_options, lengthof(stream_options)};
const OptionList mcs_options_handler = {handler_options, lengthof(handler_options)};
const OptionList mcs_options_projection = {projection_options, lengthof(projection_options)};

/* A member is as large as its kind says; enums are read and written as integers. */
#define SIZE_OF_OPTION_TEXT		sizeof(char *)
#define SIZE_OF_OPTION_WORD		sizeof(int)
#define SIZE_OF_OPTION_TEXTS	sizeof(List *)
#define SIZE_OF_OPTION_BOOL		sizeof(bool)
#define SIZE_OF_OPTION_INT		sizeof(int)
#define SIZE_OF_OPTION_INTERVAL	sizeof(Interval *)
#define SIZE_OF_OPTION_DOCUMENT	sizeof(Document *)
#define STREAM_SIZE(name, kind, words, fallback, flags, check) \
	StaticAssertDecl(sizeof(((Stream *) NULL)->name) == SIZE_OF_##kind, "size of stream option " #name);
#define HANDLER_SIZE(name, kind, words, fallback, flags, check) \
	StaticAssertDecl(sizeof(((Handler *) NULL)->name) == SIZE_OF_##kind, "size of handler option " #name);
#define PROJECTION_SIZE(name, kind, words, fallback, flags, check) \
	StaticAssertDecl(sizeof(((ChangeProjection *) NULL)->name) == SIZE_OF_##kind, "size of projection option " #name);

STREAM_OPTION_LIST(STREAM_SIZE)
HANDLER_OPTION_LIST(HANDLER_SIZE)
PROJECTION_OPTION_LIST(PROJECTION_SIZE)

const Option *
mcs_options_find(const OptionList *list, const char *name)
{
	for (int i = 0; i < list->count; i++)
		if (strcmp(list->options[i].name, name) == 0)
			return &list->options[i];
	return NULL;
}

char *
mcs_options_names(const OptionList *list, int without)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < list->count; i++)
		if (!(list->options[i].flags & without))
			appendStringInfo(&names, "%s%s", names.len ? ", " : "", list->options[i].name);
	return names.data;
}

Oid
mcs_options_type(const Option *option)
{
	switch (option->kind)
	{
		case OPTION_TEXT:
		case OPTION_WORD:
			return TEXTOID;
		case OPTION_TEXTS:
			return TEXTARRAYOID;
		case OPTION_BOOL:
			return BOOLOID;
		case OPTION_INT:
			return INT4OID;
		case OPTION_INTERVAL:
			return INTERVALOID;
		case OPTION_DOCUMENT:
			return mcs_extension_document();
	}
	return InvalidOid;			/* not reached */
}

/* ---- an option of a definition ---- */

/* The words as a hint lists them, in the spelling in which they are kept. */
static char *
list_of_words(const OptionWord *words)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const OptionWord *word = words; word->text; word++)
		appendStringInfo(&list, "%s%s", word == words ? "" : ", ", word->text);
	return list.data;
}

/* The word that a text is, or NULL. */
static const OptionWord *
find_word(const OptionWord *words, const char *text)
{
	for (const OptionWord *word = words; word->text; word++)
		if (strcmp(text, word->text) == 0 || (word->sql && strcmp(text, word->sql) == 0))
			return word;
	return NULL;
}

const OptionWord *
mcs_options_word(const OptionWord *words, const char *text, const char *option)
{
	const OptionWord *word = find_word(words, text);

	if (word)
		return word;
	/* the hint has one spelling of each, MongoDB's, by which its documentation is found */
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for %s", text, option),
			 errhint("Valid values: %s.", list_of_words(words))));
	return NULL;				/* not reached */
}

/* The value is copied, so that the definition outlives what it was made of. */
void
mcs_options_set(const Option *option, void *definition, Datum value)
{
	void	   *member = (char *) definition + option->offset;
	const OptionWord *word = option->words ? mcs_options_word(option->words, TextDatumGetCString(value), option->name) : NULL;

	switch (option->kind)
	{
		case OPTION_TEXT:
			*(char **) member = word ? pstrdup(word->text) : TextDatumGetCString(value);
			break;
		case OPTION_WORD:
			*(int *) member = word->value;
			break;
		case OPTION_TEXTS:
			*(List **) member = mcs_convert_text_array(DatumGetArrayTypeP(value));
			break;
		case OPTION_BOOL:
			*(bool *) member = DatumGetBool(value);
			break;
		case OPTION_INT:
			*(int *) member = DatumGetInt32(value);
			break;
		case OPTION_INTERVAL:
			{
				/* a value of fixed length by reference: what it points to may be the caller's tuple */
				Interval   *interval = palloc(sizeof(Interval));

				*interval = *DatumGetIntervalP(value);
				*(Interval **) member = interval;
				break;
			}
		case OPTION_DOCUMENT:
			*(Document **) member = (Document *) PG_DETOAST_DATUM_COPY(value);
			break;
	}
}

void
mcs_options_reset(const Option *option, void *definition)
{
	Oid			input;
	Oid			parameter;

	if (option->fallback == NULL)
	{
		memset((char *) definition + option->offset, 0, option->size);
		return;
	}
	/* a new value each time, not a constant that somebody could change */
	getTypeInputInfo(mcs_options_type(option), &input, &parameter);
	mcs_options_set(option, definition, OidInputFunctionCall(input, pstrdup(option->fallback), parameter, -1));
}

/* ---- a definition and its row ---- */

void
mcs_options_read(const OptionList *list, const CatalogRow *row, void *definition)
{
	MemoryContext old = MemoryContextSwitchTo(row->target);

	for (int i = 0; i < list->count; i++)
	{
		bool		isnull;
		Datum		value = mcs_catalog_get_datum(row, list->options[i].name, &isnull);

		/*
		 * A column that 1.0 does not have reads as null, too, and means what was
		 * always done there.  And a word that is none, which only the tables' owner
		 * can have put there, must not keep a stream from being altered or dropped,
		 * nor the launcher from the others.
		 */
		if (isnull || (list->options[i].words && !find_word(list->options[i].words, TextDatumGetCString(value))))
			mcs_options_reset(&list->options[i], definition);
		else
			mcs_options_set(&list->options[i], definition, value);
	}
	MemoryContextSwitchTo(old);
}

/* The text of an OPTION_WORD. */
static const char *
word_text(const Option *option, int value)
{
	for (const OptionWord *word = option->words; word->text; word++)
		if (word->value == value)
			return word->text;
	elog(ERROR, "option %s has no value %d", option->name, value);
	return NULL;				/* not reached */
}

/* Adds one option's column. */
static void
write_option(const Option *option, const void *definition, CatalogColumns *columns)
{
	const void *member = (const char *) definition + option->offset;
	const char *text;
	const void *pointer;
	int			number;

	switch (option->kind)
	{
		case OPTION_TEXT:
			mcs_catalog_set_text(columns, option->name, *(char *const *) member);
			break;
		case OPTION_WORD:
			text = word_text(option, *(const int *) member);
			mcs_catalog_set_text(columns, option->name, text);
			break;
		case OPTION_TEXTS:
			mcs_catalog_set_texts(columns, option->name, *(List *const *) member, true);
			break;
		case OPTION_BOOL:
			mcs_catalog_set(columns, option->name, BOOLOID, BoolGetDatum(*(const bool *) member), false);
			break;
		case OPTION_INT:
			/* 0 stands for null only where null is what an option without a default has */
			number = *(const int *) member;
			mcs_catalog_set(columns, option->name, INT4OID, Int32GetDatum(number), number == 0 && option->fallback == NULL);
			break;
		case OPTION_INTERVAL:
		case OPTION_DOCUMENT:
			pointer = *(void *const *) member;
			mcs_catalog_set(columns, option->name, mcs_options_type(option), PointerGetDatum(pointer), pointer == NULL);
			break;
	}
}

void
mcs_options_write(const OptionList *list, const void *definition, bool update, CatalogColumns *columns)
{
	int			without = (update ? OPTION_CREATE_ONLY : 0) | (mcs_extension_is_old() ? OPTION_NEW : 0);

	for (int i = 0; i < list->count; i++)
		if (!(list->options[i].flags & without))
			write_option(&list->options[i], definition, columns);
}
