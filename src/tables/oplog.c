/*
 * tables/oplog.c
 *	  How much of MongoDB's oplog is left to the position of each stream.
 *
 * A worker notes how far back the oplog reaches, and how far it would if it were
 * full: a young one that has lost nothing yet holds all there ever was, and what
 * is behind its begin is not lost.  Who tells a person that a position is about to
 * be lost (stream/alert.c) compares, and notes that he has.
 *
 * The schema of 1.0 has no place for it: nothing is noted nor told there.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* When a process has looked. */
void
mcs_oplog_keep_window(const char *stream, int64 window, int64 holds)
{
	static CatalogStatement keep = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET oplog_window = $2, oplog_holds = $3 WHERE stream_name = $1",
		TEXTOID, INTERVALOID, INTERVALOID);
	Interval	reaches = {.time = window};
	Interval	may_reach = {.time = holds};
	Datum		values[3] = {CStringGetTextDatum(stream), IntervalPGetDatum(&reaches), IntervalPGetDatum(&may_reach)};

	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&keep, values, NULL);
}

/* The streams of this database that have a position to lose: List of OplogUse, in the caller's memory. */
List *
mcs_oplog_uses(void)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT p.stream_name, p.resume_token, extract(epoch FROM coalesce(p.oplog_holds, p.oplog_window))::bigint AS oplog_seconds, "
		"p.oplog_told "
		"FROM @.change_stream_progress p JOIN @.change_streams s USING (stream_name) "
		"WHERE p.oplog_window IS NOT NULL AND p.resume_token IS NOT NULL "
		"AND s.stopped_state IS NULL AND s.paused_reason IS DISTINCT FROM 'restored'");
	CatalogScope scope;
	List	   *uses = NIL;
	uint64		count;

	if (mcs_extension_is_old())
		return NIL;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, NULL, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		OplogUse   *use = MemoryContextAlloc(scope.caller, sizeof(OplogUse));

		use->stream = mcs_catalog_get_text(&row, "stream_name");
		use->token = mcs_catalog_get_text(&row, "resume_token");
		use->holds_s = mcs_catalog_get_int64(&row, "oplog_seconds");
		use->told = mcs_catalog_get_int32(&row, "oplog_told");
		uses = mcs_catalog_append(&row, uses, use);
	}
	mcs_catalog_end(&scope);
	return uses;
}

void
mcs_oplog_told(const char *stream, int level)
{
	static CatalogStatement keep = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress SET oplog_told = $2 WHERE stream_name = $1", TEXTOID, INT4OID);
	Datum		values[2] = {CStringGetTextDatum(stream), Int32GetDatum(level)};

	(void) mcs_catalog_run(&keep, values, NULL);
}
