/*
 * gateway/glance.c
 *	  Whether a text may be in the dialect, by its words alone.
 *
 * Where it errs, it is to err by taking plain SQL for the dialect: that costs a
 * round to the server, which gives the same text back.
 *
 * A text may have many megabytes, and its client's are not the only ones here: it is
 * looked at in steps, each of which begins where the one before has ended.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <strings.h>

/* How statements begin that the translation knows. */
static const char *const beginnings[] = {
	"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE", "EXPLAIN", "PREPARE", "DECLARE", "COPY", "CALL",
	"CREATE", "ALTER", "DROP", "REFRESH", NULL
};

/* And by its own words alone.  Nothing is asked at SHOW x, since SET TRANSACTION may come behind it, and not behind a query. */
static const char *const own_beginnings[] = {"PAUSE", "RESUME", "SHOW", NULL};

/* How those begin that run code, which is not looked into. */
static const char *const runners[] = {"DO", "CALL", NULL};

/* How those begin that run in a transaction that has failed. */
static const char *const exits[] = {"COMMIT", "ROLLBACK", "ABORT", "END", "PREPARE", NULL};

/* The dialect's own words, and those of events. */
static const char *const spoken[] = {
	"CHANGE_STREAM", "EVENT_STORE", "TIME_WINDOW", "CONTAINS", "DOCUMENT",
	"FULL_DOCUMENT", "FULLDOCUMENT", "FULL_DOCUMENT_BEFORE_CHANGE", "FULLDOCUMENTBEFORECHANGE", "DOCUMENT_KEY", "DOCUMENTKEY",
	"UPDATE_DESCRIPTION", "UPDATEDESCRIPTION", NULL
};
static const char *const streams[] = {"STREAM", "STREAMS", NULL};

/* How the names of what it has, and of tables that people keep beside it, begin. */
#define OWN_NAMES	"CHANGE_STREAM"

/* Words of statements after which other names may hold documents. */
static const char *const makers[] = {"CREATE", "ALTER", "INTO", "IMPORT", "CREATE_CHANGE_MIRROR", "CREATE_CHANGE_MIRRORS", NULL};
static const char *const writers[] = {"INSERT", "MERGE", NULL};
static const char *const made_of[] = {"JSON", "JSONB", "EXTENSION", "FOREIGN", "CREATE_CHANGE_MIRROR", "CREATE_CHANGE_MIRRORS", NULL};

/* So many bytes are looked at in one step: a millisecond or so. */
#define STEP	(64 * 1024)

/* Whether a word is one of the dialect's, or a name as its users have. */
static bool
is_spoken(const Word *word, bool behind_change)
{
	size_t		size = sizeof(OWN_NAMES) - 1;

	return mcs_gateway_word_in(word, spoken) ||
		(word->kind == WORD_PLAIN && word->size > size && strncasecmp(word->at, OWN_NAMES, size) == 0) ||
		(behind_change && mcs_gateway_word_in(word, streams));
}

/* Takes account of what is neither a keyword nor a name, of which a long text has most. */
static void
take_other(Glance *glance, const Word *word)
{
	if (mcs_gateway_sign_is(word, ';'))
		glance->in_statement = false;
	else if (!mcs_gateway_sign_is(word, '('))
		glance->in_statement = glance->later = true;
	/* of json a path is wanted: data.x, and not t.data */
	glance->look.about |= glance->path_may_follow && mcs_gateway_sign_is(word, '.');
	glance->path_may_follow = glance->behind_change = glance->behind_writer = false;
}

/* Takes account of a word. */
static void
take_word(Glance *glance, const Word *word, const Names *names)
{
	Look	   *look = &glance->look;
	int			named = mcs_gateway_find_name(names, word);

	if (!glance->in_statement)
	{
		look->candidate |= mcs_gateway_word_in(word, beginnings);
		glance->own |= mcs_gateway_word_in(word, own_beginnings);
		look->runs |= mcs_gateway_word_in(word, runners);
		look->exits |= !glance->later && mcs_gateway_word_in(word, exits);
		glance->in_statement = glance->later = true;
	}
	/* INSERT INTO and MERGE INTO make none */
	glance->maker |= mcs_gateway_word_in(word, makers) && !(glance->behind_writer && mcs_gateway_word_is(word, "INTO"));
	glance->of_documents |= mcs_gateway_word_in(word, made_of);
	look->spoken |= is_spoken(word, glance->behind_change);
	look->about |= (named & NAME_RELATION) != 0;
	glance->path_may_follow = named & NAME_JSON;
	glance->behind_change = mcs_gateway_word_is(word, "CHANGE");
	glance->behind_writer = mcs_gateway_word_in(word, writers);
}

bool
mcs_gateway_look(Glance *glance, const char *text, size_t size, bool escapes, const Names *names)
{
	WordReader *reader = &glance->reader;
	Look	   *look = &glance->look;
	Word		word;

	if (glance->done)
		return true;
	/* the text may have moved since */
	reader->at = text + glance->at;
	reader->begin = text + glance->begin;
	reader->end = text + size;
	reader->pause = size - glance->at > STEP ? reader->at + STEP : NULL;
	if (!glance->begun)
		reader->escapes = escapes;
	glance->begun = true;
	while ((word = mcs_gateway_next_word(reader)).kind != WORD_END && word.kind != WORD_PAUSE)
		if (word.kind == WORD_PLAIN || word.kind == WORD_QUOTED)
			take_word(glance, &word, names);
		else
			take_other(glance, &word);
	glance->at = reader->at - text;
	glance->begin = reader->begin - text;
	if (word.kind == WORD_PAUSE)
		return false;
	look->candidate |= glance->own && look->spoken;
	look->makes = glance->maker && (look->spoken || look->about || glance->of_documents);
	return glance->done = true;
}
