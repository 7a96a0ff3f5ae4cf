/*
 * handler/look.c
 *	  What a new handler's code names and is not there: tables that it writes to,
 *	  and fields that none of its stream's events has.
 *
 * PL/pgSQL looks at no statement before it runs it, so what is missing would be
 * found by the first event.  But it may be made until then, by the body itself
 * perhaps: so this is told, never refused, and only of what is sure.  The text is
 * only read; nothing of it runs.
 */
#include "mongo_change_stream.h"

#include "access/detoast.h"
#include "catalog/namespace.h"
#include "event/event.h"
#include "handler/handler_internal.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* So many events, and events with a document among them, are looked at. */
#define EVENTS_LOOKED_AT	200
#define DOCUMENTS_WANTED	20

/* A document is looked at up to this size. */
#define DOCUMENT_BYTES		(1024 * 1024)

/* ---- tables ---- */

/* Takes name or name.name or name.name.name, ONLY aside; NULL where that is not what follows. */
static RangeVar *
take_relation(const char **place)
{
	SqlWord		word;
	char	   *names[3];
	int			count = 0;
	const char *behind = *place;

	if (mcs_words_next(&behind, &word) && mcs_words_are(&word, "only"))
		*place = behind;

	for (;;)
	{
		const char *ahead;

		if (count == lengthof(names) || !mcs_words_next(place, &word) || word.kind != SQL_WORD_NAME)
			return NULL;
		names[count++] = word.text;
		ahead = *place;
		if (!mcs_words_next(&ahead, &word) || !mcs_words_are(&word, "."))
			break;
		*place = ahead;
	}
	return makeRangeVar(count > 1 ? names[count - 2] : NULL, names[count - 1], -1);
}

/* Whether a text makes a relation, which is then not there yet. */
static bool
makes_relations(const char *text)
{
	SqlWord		word;

	while (mcs_words_next(&text, &word))
		if (word.kind == SQL_WORD_NAME && strcmp(word.text, "create") == 0)
			return true;
	return false;
}

/* Whether a word begins the name of a table that is written to, as the one before it says. */
static bool
is_target(const SqlWord *before, const SqlWord *word)
{
	static const char *const begins[][2] = {{"insert", "into"}, {"merge", "into"}, {"delete", "from"}};

	for (int i = 0; i < lengthof(begins); i++)
		if (mcs_words_are(before, begins[i][0]) && mcs_words_are(word, begins[i][1]))
			return true;
	return false;
}

/* The same of UPDATE, which is a word of other statements, too: UPDATE [ONLY] name [AS alias] SET. */
static RangeVar *
take_update(const char *place)
{
	RangeVar   *relation = take_relation(&place);
	SqlWord		word;

	for (int i = 0; i < 3 && relation && mcs_words_next(&place, &word); i++)
		if (mcs_words_are(&word, "set"))
			return relation;
	return NULL;
}

/* Whether there is such a relation; rights are not asked, as what they refuse has its own error. */
static bool
exists(const RangeVar *relation)
{
	Oid			schema;

	if (!relation->schemaname)
		return OidIsValid(RelnameGetRelid(relation->relname));
	/* the session's own, which is not known by that name */
	if (strcmp(relation->schemaname, "pg_temp") == 0)
		return true;
	schema = get_namespace_oid(relation->schemaname, true);
	return OidIsValid(schema) && OidIsValid(get_relname_relid(relation->relname, schema));
}

/* Tells of a table that a body writes to and that cannot be found. */
static void
tell_relation(const Handler *handler, const RangeVar *relation)
{
	if (relation == NULL || exists(relation))
		return;
	ereport(NOTICE,
			(errmsg("the body of change handler \"%s\" writes to table \"%s%s%s\", which does not exist", handler->name,
					relation->schemaname ? relation->schemaname : "", relation->schemaname ? "." : "", relation->relname),
			 errdetail("Each event will fail until it does."),
			 errhint("CREATE TABLE %s%s%s (...); or SELECT alter_change_handler(%s, body => ...);",
					 relation->schemaname ? quote_identifier(relation->schemaname) : "", relation->schemaname ? "." : "",
					 quote_identifier(relation->relname), quote_literal_cstr(handler->name))));
}

void
mcs_look_for_tables(const Handler *handler)
{
	const char *text = handler->translated_body ? handler->translated_body : handler->body;
	SqlWord		before = {0};
	SqlWord		word;

	if (text == NULL || makes_relations(text))
		return;
	while (mcs_words_next(&text, &word))
	{
		if (is_target(&before, &word))
			tell_relation(handler, take_relation(&text));
		else if (mcs_words_are(&word, "update"))
			tell_relation(handler, take_update(text));
		before = word;
	}
}

/* ---- fields ---- */

/* Documents of the stream's newest events. */
static List *
sample(const Handler *handler, int64 last_event_id)
{
	EventsScan	scan;
	List	   *documents = NIL;

	mcs_events_scan_begin(&scan, NULL, handler->stream, Max(last_event_id - EVENTS_LOOKED_AT, 0));
	while (list_length(documents) < DOCUMENTS_WANTED && mcs_events_scan_next(&scan) != 0)
	{
		bool		isnull;
		Datum		value = mcs_events_scan_get(&scan, ROW_FULL_DOCUMENT, &isnull);

		if (!isnull && scan.map.is_document[ROW_FULL_DOCUMENT] && toast_raw_datum_size(value) <= DOCUMENT_BYTES)
			documents = lappend(documents, PG_DETOAST_DATUM_COPY(value));
	}
	mcs_events_scan_end(&scan);
	return documents;
}

void
mcs_look_for_fields(const Handler *handler, const Stream *stream)
{
	const char *body = handler->translated_body ? handler->translated_body : handler->body;
	const char *condition = handler->translated_condition ? handler->translated_condition : handler->condition;
	List	   *documents;

	/* documents of several collections have little in common */
	if (!stream->collection || (body == NULL && condition == NULL))
		return;
	documents = sample(handler, stream->last_event_id);
	mcs_guess_tell_fields("the body", body, "full_document", documents, "documents of the stream's last events");
	mcs_guess_tell_fields("condition", condition, "full_document", documents, "documents of the stream's last events");
}
