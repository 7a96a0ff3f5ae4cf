/*
 * tables/deaths.c
 *	  What the catalog remembers of processes that may die, and of streams that
 *	  have none: a process that is killed by a signal takes shared memory with
 *	  it, and so whatever was noted there.
 *
 * A process notes that it is alive before it does anything else, which is one
 * write in its whole life; who leaves in order takes the note away, and who is
 * told to end leaves it (shared memory, or a clean start of PostgreSQL, tells
 * then that nobody has died: mcs_slot_is_first).  A process that finds the
 * note of one that has died notes each event before it is written, so the event
 * that two more processes have died of is known, and not written a fourth time.
 * The events of one time, which are a transaction of MongoDB's, are noted by the
 * first of them and written together, and one by one only where a process has died
 * of that: nobody sees a part of the transaction for a death that was not its doing.  What kills before an event is at hand is another matter,
 * of MongoDB's replies for example: such deaths are counted before anything is
 * read, until an event has been written or the process has followed for some
 * seconds, and some more of them are borne, since they also come by chance: who
 * dies takes all others with him.
 *
 * These notes are worth nothing if a crash can take them back, so they are
 * flushed at once, whatever synchronous_commit says; a standby is not waited for.
 *
 * The schema of 1.0 has no place for them: nothing is noted nor counted there.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* Has the transaction at work flushed by its commit. */
void
mcs_deaths_flush(void)
{
	(void) set_config_option("synchronous_commit", "local", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Runs a statement with a stream's name alone, flushed by the commit. */
static void
note(CatalogStatement *statement, const char *stream)
{
	if (mcs_extension_is_old())
		return;
	mcs_deaths_flush();
	(void) mcs_catalog_run_for(statement, stream);
}

/*
 * Notes that a process begins to follow.  first says that a note which is there
 * is of a process that has died: true where it is, and then *starts have in a
 * row before they had written an event.
 */
bool
mcs_deaths_begin(const char *stream, bool first, int *starts)
{
	static CatalogStatement begin = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress p SET alive = true, starts = CASE WHEN o.alive AND $2 THEN p.starts + 1 ELSE p.starts END "
		"FROM (SELECT alive FROM @.change_stream_progress WHERE stream_name = $1 FOR UPDATE) o, @.change_streams s "
		"WHERE p.stream_name = $1 AND s.stream_name = $1 AND NOT s.paused AND s.stopped_state IS NULL "
		"RETURNING o.alive AND $2 AS died, p.starts",
		TEXTOID, BOOLOID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(stream), BoolGetDatum(first)};
	bool		died = false;

	*starts = 0;
	if (mcs_extension_is_old())
		return false;
	mcs_deaths_flush();
	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&begin, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		died = mcs_catalog_get_bool(&row, "died");
		*starts = mcs_catalog_get_int32(&row, "starts");
	}
	mcs_catalog_end(&scope);
	return died;
}

/* Notes the event that is written next; returns how often it was noted before without having been. */
int
mcs_deaths_announce(const char *stream, const char *token)
{
	static CatalogStatement announce = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET running_token = $2, crashes = CASE WHEN running_token = $2 THEN crashes + 1 ELSE 0 END "
		"WHERE stream_name = $1 RETURNING crashes",
		TEXTOID, TEXTOID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(stream), CStringGetTextDatum(token)};
	int			crashes = 0;

	if (mcs_extension_is_old())
		return 0;
	mcs_deaths_flush();
	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&announce, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		crashes = mcs_catalog_get_int32(&row, "crashes");
	}
	mcs_catalog_end(&scope);
	return crashes;
}

/* Notes that the process has worked for long enough to be trusted. */
void
mcs_deaths_survive(const char *stream)
{
	static CatalogStatement survive = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET starts = 0 WHERE stream_name = $1 AND starts > 0", TEXTOID);

	note(&survive, stream);
}

/* Notes that no process follows any more, or that somebody has looked at why one died. */
void
mcs_deaths_end(const char *stream)
{
	static CatalogStatement end = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET alive = false, running_token = NULL, crashes = 0, starts = 0 "
		"WHERE stream_name = $1 AND (alive OR starts > 0 OR running_token IS NOT NULL)", TEXTOID);

	note(&end, stream);
}
