/*
 * gateway/exchange.c
 *	  Asks the client's own session something: which names are those of documents,
 *	  or for the translation of a text.
 *
 * By messages of the extended protocol, so that no text has to be quoted, with a
 * statement and a portal of a name of ours, so that the client's unnamed ones
 * stay.  Between two of the client's statements they end with a Sync, and are a
 * transaction of their own outside of a transaction block: the client's statement
 * may be one that can't run behind others.  In the middle of a pipeline, where a
 * Sync would commit what the client has not, they end with a Flush; what fails then
 * fails as the client's own message would at that place.
 *
 * Close comes first: it succeeds in any state but one in which the server skips
 * all messages, and does away with what an earlier exchange has left that failed.
 *
 * All names are qualified, as the client's search_path is whatever it likes.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

#define OUR_NAME	"mongo_change_stream gateway"

/* Names are asked for again after so long, and where the extension is not there. */
#define NAMES_MS		30000
#define NO_NAMES_MS		5000

/* With more names than this every text is asked for. */
#define NAMES_SQL_LIMIT "20001"
#define NAMES_MAX		20000

#define CATALOG "OPERATOR(pg_catalog.=)"

/*
 * The query that translates, relations with columns of type document, columns of type json and jsonb; no row where it is not there
 * for this role.  The function for us is not in the extension's schema of 1.0; one that somebody has put there is none of the extension's.
 * Nor is one that comes there later, once the extension has gone: so the query calls the function only where its OID is still there, and
 * for a value that nobody knows when it is planned, as an immutable one would be called then.
 */
static const char names_query[] =
"SELECT pg_catalog.format('SELECT %I.%I(t.text) FROM (SELECT $1::pg_catalog.text AS text OFFSET 0) AS t"
" WHERE EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.oid " CATALOG " %s)', n.nspname, p.proname, p.oid),"
" (SELECT pg_catalog.string_agg(r.relname, pg_catalog.chr(1)) FROM"
"  (SELECT DISTINCT c.relname::pg_catalog.text AS relname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid " CATALOG " a.attrelid"
"   WHERE (a.atttypid " CATALOG " t.oid OR a.atttypid " CATALOG " t.typarray) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
"   LIMIT " NAMES_SQL_LIMIT ") AS r),"
" (SELECT pg_catalog.string_agg(j.attname, pg_catalog.chr(1)) FROM"
"  (SELECT DISTINCT a.attname::pg_catalog.text AS attname FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid " CATALOG " a.attrelid"
"   WHERE (a.atttypid " CATALOG " 'pg_catalog.json'::pg_catalog.regtype OR a.atttypid " CATALOG " 'pg_catalog.jsonb'::pg_catalog.regtype)"
"   AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND c.relnamespace OPERATOR(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace"
"   LIMIT " NAMES_SQL_LIMIT ") AS j)"
" FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid " CATALOG " e.extnamespace"
" JOIN pg_catalog.pg_type AS t ON t.typnamespace " CATALOG " n.oid AND t.typname " CATALOG " 'document'"
" JOIN LATERAL (SELECT f.oid, f.proname FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_depend AS d ON d.objid " CATALOG " f.oid AND d.refobjid " CATALOG " e.oid"
"  WHERE f.pronamespace " CATALOG " n.oid AND f.proname " CATALOG " ANY ('{change_stream_translate,change_stream_translate_for_gateway}'::pg_catalog.name[])"
"  AND d.classid " CATALOG " 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refclassid " CATALOG " 'pg_catalog.pg_extension'::pg_catalog.regclass"
"  ORDER BY f.proname DESC LIMIT 1) AS p ON true"
" WHERE e.extname " CATALOG " 'mongo_change_stream' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
" AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')"
/* who may not call that one shall have the dialect no other way */
" AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc AS f WHERE f.pronamespace " CATALOG " n.oid AND f.proname " CATALOG " 'change_stream_translate'"
"  AND NOT pg_catalog.has_function_privilege(f.oid, 'EXECUTE'))";

/* Adds a message of one string behind a letter. */
static void
add_close(Bytes *out, const char *what)
{
	size_t		at = mcs_gateway_begin(out, 'C');

	mcs_gateway_add(out, what, 1);
	mcs_gateway_add_string(out, OUR_NAME);
	mcs_gateway_end(out, at);
}

/* Runs a query with a parameter, or none (NULL), in the client's session. */
static void
ask(Link *link, ExchangeKind kind, const char *query, const char *parameter, size_t size)
{
	static const char kinds[] = {AWAITED_OUR_CLOSE, AWAITED_OUR_PARSE, AWAITED_OUR_BIND, AWAITED_OUR_EXECUTE, AWAITED_OUR_CLOSE, AWAITED_OUR_CLOSE, 0};
	Bytes	   *out = &link->server.out;
	size_t		at;

	link->exchange.kind = kind;
	link->exchange.result = RESULT_NONE;
	link->exchange.synced = !link->in_batch;

	add_close(out, "S");
	at = mcs_gateway_begin(out, 'P');
	mcs_gateway_add_string(out, OUR_NAME);
	mcs_gateway_add_string(out, query);
	mcs_gateway_add_number(out, 0, 2);
	mcs_gateway_end(out, at);
	at = mcs_gateway_begin(out, 'B');
	mcs_gateway_add_string(out, OUR_NAME);
	mcs_gateway_add_string(out, OUR_NAME);
	mcs_gateway_add_number(out, 0, 2);
	mcs_gateway_add_number(out, parameter ? 1 : 0, 2);
	if (parameter)
	{
		mcs_gateway_add_number(out, size, 4);
		mcs_gateway_add(out, parameter, size);
	}
	mcs_gateway_add_number(out, 0, 2);
	mcs_gateway_end(out, at);
	at = mcs_gateway_begin(out, 'E');
	mcs_gateway_add_string(out, OUR_NAME);
	mcs_gateway_add_number(out, 0, 4);
	mcs_gateway_end(out, at);
	add_close(out, "P");
	add_close(out, "S");
	mcs_gateway_end(out, mcs_gateway_begin(out, link->exchange.synced ? 'S' : 'H'));

	for (int i = 0; kinds[i]; i++)
		if (!mcs_gateway_await(&link->awaited, kinds[i]))
			link->dead = true;
	if (link->exchange.synced && !mcs_gateway_await(&link->awaited, AWAITED_OUR_SYNC))
		link->dead = true;
}

void
mcs_gateway_ask_names(Link *link)
{
	ask(link, EXCHANGE_NAMES, names_query, NULL, 0);
}

void
mcs_gateway_ask_text(Link *link, const char *text, size_t size)
{
	Bytes		query = {0};

	mcs_gateway_add(&query, mcs_gateway_at(&link->translation), mcs_gateway_size(&link->translation));
	mcs_gateway_add(&query, "", 1);
	if (!query.broken)
		ask(link, EXCHANGE_TEXT, mcs_gateway_at(&query), text, size);
	mcs_gateway_clear(&query);
}

/* What came is done with. */
void
mcs_gateway_end_exchange(Link *link)
{
	Exchange   *exchange = &link->exchange;

	mcs_gateway_clear(&exchange->row);
	mcs_gateway_clear(&exchange->error);
	mcs_gateway_clear(&exchange->notices);
	memset(exchange, 0, sizeof(*exchange));
}

/* Reads an answer to mcs_gateway_ask_names; whether it is another one than before. */
static bool
read_names(Link *link, const Bytes *row)
{
	size_t		length;
	const char *column;
	uint64_t	mark = mcs_gateway_mark(mcs_gateway_at(row), mcs_gateway_size(row));
	bool		known = link->asked_names && link->installed && mark == link->names_mark;

	link->asked_names = link->installed = true;
	if (known)
		return false;
	link->names_mark = mark;
	mcs_gateway_forget_names(&link->names);
	mcs_gateway_clear(&link->translation);
	for (int i = 0; i < 3; i++)
	{
		column = mcs_gateway_column(mcs_gateway_at(row), mcs_gateway_size(row), i, &length);
		if (column && i == 0)
			mcs_gateway_add(&link->translation, column, length);
		else if (column && !mcs_gateway_add_names(&link->names, column, length, i == 1 ? NAME_RELATION : NAME_JSON))
			link->dead = true;
	}
	link->all_names = link->names.count > NAMES_MAX;
	/* without it nothing can be asked */
	if (mcs_gateway_size(&link->translation) == 0)
		link->installed = false;
	return true;
}

/* Takes the answer to mcs_gateway_ask_names; whether it is another one than before. */
bool
mcs_gateway_take_names(Link *link, int64_t now)
{
	if (link->exchange.result != RESULT_ROW)
	{
		bool		known = link->asked_names && !link->installed;

		link->asked_names = true;
		link->installed = false;
		mcs_gateway_forget_names(&link->names);
		mcs_gateway_clear(&link->translation);
		link->names_until = now + NO_NAMES_MS;
		return !known;
	}
	link->names_until = now + NAMES_MS;
	/* in the client's encoding, and so not of use to one of another */
	if (link->utf8)
		mcs_gateway_keep_names(&link->login, &link->exchange.row, link->names_until);
	return read_names(link, &link->exchange.row);
}

/* Takes what another session of the same login was told a short while ago; false where there is nothing. */
bool
mcs_gateway_borrow_names(Link *link, int64_t now)
{
	int64_t		until;
	const Bytes *row = link->own_names || !link->asked_names || !link->utf8 ? NULL : mcs_gateway_known_names(&link->login, now, &until);

	if (!row)
		return false;
	link->names_until = until;
	if (read_names(link, row))
		link->glance.begun = false;
	return true;
}
