/*
 * stream/guess.c
 *	  Names that were probably not meant: collections that MongoDB does not have,
 *	  and fields that no document of a sample has.
 *
 * What is not there yet may come, so this is told and never refused.  And a
 * notice for nothing teaches to pass over notices: where the sample is empty or
 * a path cannot be followed for sure, nothing is said.
 *
 * Paths are read from the text in plain SQL, as the dialect makes it: a column
 * with keys in brackets or behind arrows, and document_get() with a list of keys.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/builtins.h"

#define SAMPLE_DOCUMENTS	20
#define SAMPLE_MS			1000	/* that MongoDB may take for it */
#define PATH_KEYS			20
#define PATHS_TOLD			5
#define KEYS_COMPARED		1000	/* with the one that was wanted: a document may have a million */

/* ---- the sample ---- */

/* {find: collection, sort: {$natural: -1}, ...}: the newest documents, which MongoDB has at hand. */
static Document *
sample_command(const char *collection)
{
	DocumentBuilder builder;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "find", collection);
	mcs_document_begin_object(&builder, "sort");
	mcs_document_append_int32(&builder, "$natural", -1);
	mcs_document_end(&builder);
	mcs_document_append_int32(&builder, "limit", SAMPLE_DOCUMENTS);
	mcs_document_append_bool(&builder, "singleBatch", true);
	mcs_document_append_int32(&builder, "maxTimeMS", SAMPLE_MS);
	mcs_document_end(&builder);
	return mcs_document_finish(&builder);
}

/* Some documents of a collection, a list of Document; NIL also where MongoDB does not give them, or not at once. */
List *
mcs_guess_sample(MongoSession *session, const char *database, const char *collection)
{
	Document   *command = sample_command(collection);
	MongoError	ignored;
	MongoReply *reply = mcs_session_command(session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
											"read a sample", &ignored);
	DocumentValue batch;
	DocumentIterator it;
	List	   *documents = NIL;

	if (reply == NULL)
		return NIL;
	if (mcs_session_reply_batch(reply, &batch, NULL))
	{
		mcs_document_iterate(&it, batch.data, batch.size);
		while (mcs_document_next(&it))
			if (it.value.type == DOCUMENT_OBJECT)
				documents = lappend(documents, mcs_document_make(it.value.type, it.value.data, it.value.size));
	}
	mcs_session_free_reply(reply);
	return documents;
}

/* ---- a path in the sample ---- */

typedef struct Path
{
	bool		loose;			/* read by document_get, which also looks for other spellings */
	int			count;
	char	   *keys[PATH_KEYS];
} Path;

/* Whether a key of a document is the one of a path: document_get finds userId by user_id. */
static bool
is_key(const Path *path, const char *wanted, const char *key)
{
	if (!path->loose)
		return strcmp(wanted, key) == 0;
	for (;; wanted++, key++)
	{
		while (*wanted == '_')
			wanted++;
		while (*key == '_')
			key++;
		if (pg_tolower((unsigned char) *wanted) != pg_tolower((unsigned char) *key))
			return false;
		if (*wanted == '\0')
			return true;
	}
}

/* What one step finds in all objects. */
typedef struct Step
{
	List	   *values;			/* of DocumentValue, those that are objects */
	bool		found;			/* also of other types */
	bool		unsure;			/* an array, or a key with a dot: who knows what is meant */
	StringInfoData near;
	int			near_count;
	int			compared;
} Step;

/* Takes the step into one object. */
static void
take_step(Step *step, const Path *path, const char *wanted, const DocumentValue *object)
{
	DocumentIterator it;

	mcs_document_iterate(&it, object->data, object->size);
	while (mcs_document_next(&it))
	{
		DocumentValue *value;

		CHECK_FOR_INTERRUPTS();
		if (!mcs_document_is_utf8(it.key, it.key_size))
			continue;
		if (!is_key(path, wanted, it.key))
		{
			step->unsure |= strncmp(it.key, wanted, strlen(wanted)) == 0 && it.key[strlen(wanted)] == '.';
			/* each once, though every document has it */
			if (step->compared++ < KEYS_COMPARED && strstr(step->near.data, psprintf("\"%s\"", it.key)) == NULL)
				mcs_words_add_near(&step->near, &step->near_count, wanted, it.key);
			continue;
		}
		step->found = true;
		step->unsure |= it.value.type == DOCUMENT_ARRAY;
		if (it.value.type != DOCUMENT_OBJECT)
			continue;
		value = palloc(sizeof(DocumentValue));
		*value = it.value;
		step->values = lappend(step->values, value);
	}
}

/* The keys of a path up to some step, as they are written in words. */
static char *
path_words(const Path *path, int count)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < count; i++)
		appendStringInfo(&words, "%s%s", i > 0 ? "." : "", path->keys[i]);
	return words.data;
}

/* Follows a path through all documents; false with *unknown, and what may be meant, where none of them has it. */
static bool
follow(const Path *path, List *documents, char **unknown, char **near)
{
	List	   *objects = NIL;
	ListCell   *cell;

	foreach(cell, documents)
	{
		DocumentValue *value = palloc(sizeof(DocumentValue));

		*value = mcs_document_value(lfirst(cell));
		objects = lappend(objects, value);
	}
	/* where a step leads to no object, what follows cannot be known */
	for (int i = 0; i < path->count && objects != NIL; i++)
	{
		Step		step = {0};

		if (strchr(path->keys[i], '.') != NULL)
			return true;
		initStringInfo(&step.near);
		foreach(cell, objects)
			take_step(&step, path, path->keys[i], lfirst(cell));
		if (step.unsure)
			return true;
		if (!step.found)
		{
			*unknown = path_words(path, i + 1);
			*near = step.near_count > 0 ? step.near.data : NULL;
			return false;
		}
		objects = step.values;
	}
	return true;
}

/* ---- paths in a text ---- */

/* Takes one key behind a column: ['a'], -> 'a', ->> 'a'. */
static bool
take_key(const char **place, Path *path)
{
	const char *at = *place;
	SqlWord		word;
	SqlWord		key;
	bool		bracket;

	if (path->count >= PATH_KEYS || !mcs_words_next(&at, &word))
		return false;
	bracket = mcs_words_are(&word, "[");
	if ((!bracket && !mcs_words_are(&word, "->") && !mcs_words_are(&word, "->>")) ||
		!mcs_words_next(&at, &key) || key.kind != SQL_WORD_STRING ||
		(bracket && (!mcs_words_next(&at, &word) || !mcs_words_are(&word, "]"))))
		return false;
	path->keys[path->count++] = key.text;
	*place = at;
	return true;
}

/* Takes the keys of document_get(column, 'a', 'b'). */
static void
take_list(const char **place, Path *path)
{
	const char *at = *place;
	SqlWord		word;

	while (path->count < PATH_KEYS && mcs_words_next(&at, &word) && mcs_words_are(&word, ",") &&
		   mcs_words_next(&at, &word) && word.kind == SQL_WORD_STRING)
	{
		path->keys[path->count++] = word.text;
		*place = at;
	}
}

/* The next path of a text that begins at a column; false at the end. */
static bool
next_path(const char **place, const char *column, Path *path)
{
	SqlWord		word;
	bool		getting = false;	/* document_get( has been seen, and perhaps an alias */

	while (mcs_words_next(place, &word))
	{
		if (word.kind == SQL_WORD_NAME && strcmp(word.text, column) == 0)
		{
			path->loose = getting;
			path->count = 0;
			if (getting)
				take_list(place, path);
			else
				while (take_key(place, path))
					;
			return true;
		}
		if (mcs_words_are(&word, "document_get"))
			getting = true;
		/* document_get(change.column */
		else if (!mcs_words_are(&word, "(") && !mcs_words_are(&word, ".") && word.kind != SQL_WORD_NAME)
			getting = false;
	}
	return false;
}

void
mcs_guess_tell_fields(const char *argument, const char *text, const char *column, List *documents, const char *of)
{
	Path		path;
	List	   *told = NIL;

	if (text == NULL || documents == NIL)
		return;
	while (list_length(told) < PATHS_TOLD && next_path(&text, column, &path))
	{
		char	   *unknown;
		char	   *near;
		ListCell   *cell;
		bool		again = false;

		if (follow(&path, documents, &unknown, &near))
			continue;
		foreach(cell, told)
			again |= strcmp(lfirst(cell), unknown) == 0;
		if (again)
			continue;
		told = lappend(told, unknown);
		ereport(NOTICE,
				(errmsg("%s reads field \"%s\", which none of %d %s has", argument, unknown, list_length(documents), of),
				 near ? errhint("Perhaps %s is meant.", near) : 0));
	}
}

/* ---- collections ---- */

/* Those of a database whose names are near to one, in words; NULL for none, or where MongoDB does not tell. */
char *
mcs_guess_collection(MongoSession *session, const char *database, const char *collection)
{
	Document   *command = mcs_document_in_text("{\"listCollections\": 1, \"nameOnly\": true, \"authorizedCollections\": true}");
	MongoError	ignored;
	MongoReply *reply = mcs_session_command(session, database, DOCUMENT_VALUE(command), DOCUMENT_VALUE_SIZE(command),
											"list the collections", &ignored);
	DocumentValue batch;
	DocumentIterator it;
	StringInfoData near;
	int			count = 0;

	if (reply == NULL)
		return NULL;
	initStringInfo(&near);
	/* the first reply is enough of those that have very many */
	if (mcs_session_reply_batch(reply, &batch, NULL))
	{
		mcs_document_iterate(&it, batch.data, batch.size);
		while (mcs_document_next(&it))
		{
			char	   *name = mcs_document_find_text(&it.value, "name");

			if (name)
				mcs_words_add_near(&near, &count, collection, name);
		}
	}
	mcs_session_free_reply(reply);
	return count > 0 ? near.data : NULL;
}

/* ---- what a stream reads ---- */

static bool
never(void)
{
	return false;
}

/* From here on nothing that MongoDB is asked is worth a wait; the session is to be closed then. */
void
mcs_guess_limit(MongoSession *session)
{
	mcs_session_limit(session, SAMPLE_MS, never);
}

/* Tells of fields that a stream's filter or add_fields read and no document of its collection has. */
void
mcs_guess_of_stream(const Stream *stream, MongoSession *session)
{
	List	   *documents;
	char	   *of;

	/* what a pipeline makes of documents, only MongoDB knows */
	if (!stream->collection || stream->pipeline || (!stream->filter && !stream->add_fields))
		return;
	mcs_guess_limit(session);
	documents = mcs_guess_sample(session, stream->database, stream->collection);
	of = psprintf("documents of collection \"%s.%s\" that were looked at", stream->database, stream->collection);
	mcs_guess_tell_fields("filter", stream->filter, "full_document", documents, of);
	mcs_guess_tell_fields("add_fields", stream->add_fields, "full_document", documents, of);
}
