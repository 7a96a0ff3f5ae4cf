/*
 * gateway/glance.c
 *	  Whether a text may be in the dialect, by its words alone.
 *
 * Where it errs, it is to err by taking plain SQL for the dialect: that costs a
 * round to the server, which gives the same text back.
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
static const char *const made_of[] = {"JSON", "JSONB", "EXTENSION", "FOREIGN", "CREATE_CHANGE_MIRROR", "CREATE_CHANGE_MIRRORS", NULL};

/* Whether a word is one of the dialect's, or a name as its users have. */
static bool
is_spoken(const Word *word, const Word *before)
{
	size_t		size = sizeof(OWN_NAMES) - 1;

	return mcs_gateway_word_in(word, spoken) ||
		(word->kind == WORD_PLAIN && word->size > size && strncasecmp(word->at, OWN_NAMES, size) == 0) ||
		(mcs_gateway_word_is(before, "CHANGE") && mcs_gateway_word_in(word, streams));
}

/* Looks at one text. */
Look
mcs_gateway_look(const char *text, size_t size, bool escapes, const Names *names)
{
	WordReader	reader = {text, text + size, escapes};
	Look		look = {false, false, false, false, false};
	bool		first = true;
	Word		before = {WORD_END, NULL, 0};
	bool		begins = true;
	bool		own = false;
	bool		maker = false;
	bool		of_documents = false;
	bool		path_may_follow = false;
	Word		word;

	while ((word = mcs_gateway_next_word(&reader)).kind != WORD_END)
	{
		int			named = mcs_gateway_find_name(names, &word);

		if (begins && !mcs_gateway_sign_is(&word, '(') && !mcs_gateway_sign_is(&word, ';'))
		{
			look.candidate |= mcs_gateway_word_in(&word, beginnings);
			own |= mcs_gateway_word_in(&word, own_beginnings);
			look.exits |= first && mcs_gateway_word_in(&word, exits);
			begins = first = false;
		}
		if (mcs_gateway_sign_is(&word, ';'))
			begins = true;
		maker |= mcs_gateway_word_in(&word, makers);
		of_documents |= mcs_gateway_word_in(&word, made_of);
		look.spoken |= is_spoken(&word, &before);
		/* of json a path is wanted: data.x, and not t.data */
		look.about |= (named & NAME_RELATION) || (path_may_follow && mcs_gateway_sign_is(&word, '.'));
		path_may_follow = named & NAME_JSON;
		before = word;
	}
	look.candidate |= own && look.spoken;
	look.makes = maker && (look.spoken || look.about || of_documents);
	return look;
}
