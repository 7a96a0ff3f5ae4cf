/*
 * tables/restore.c
 *	  What a restore may have left of a stream in part, and how it is made whole.
 *
 * A dump holds each table by itself, and nothing keeps its parts together: data
 * may come back without a table that could not be restored, for one because a
 * role is missing that a row of it names.
 *
 * A stream without its row in change_stream_progress goes on from the last event
 * that is there: its number and its token are what the row would say, but for
 * what has moved without events.  A handler without positions goes on from the
 * first event whose row says that it waits.  Events, positions and handlers
 * without their stream are nobody's; a stream of that name that is made again by
 * who may read all of it anyway goes on numbering after them, and its handlers
 * wait until they are resumed: they would run with the rights of the new owner.
 *
 * What mirrors show was written with a position.  Where that has not come back
 * they are copied again, as are those whose copy's row, or table's rows, have not;
 * and of a stream that is not there they wait, as handlers do.
 *
 * Nothing is made while a restore may still be about to bring it: a restored
 * stream is left alone until somebody resumes or changes it.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/*
 * Makes the missing row of a stream's position; false where none is missing.
 * For use between mcs_catalog_begin and mcs_catalog_end.
 */
bool
mcs_restore_mend_progress(const char *stream)
{
	static CatalogStatement mend = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_progress (stream_name, resume_token, last_event_id) "
		"SELECT s.stream_name, e.resume_token, coalesce(e.event_id, 0) FROM @.change_streams s "
		"LEFT JOIN LATERAL (SELECT l.event_id, l.resume_token FROM @.change_stream_events l "
		"WHERE l.stream_name = s.stream_name ORDER BY l.event_id DESC LIMIT 1) e ON true "
		"WHERE s.stream_name = $1 AND NOT EXISTS "
		"(SELECT FROM @.change_stream_progress p WHERE p.stream_name = s.stream_name) ON CONFLICT DO NOTHING", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	if (mcs_catalog_execute(&mend, values, NULL) == 0)
		return false;
	/* the position is that of the last event that is there: mirrors may have been ahead of it */
	mcs_snapshots_begin_again(stream);
	return true;
}

/* All of that, for a worker that begins; true where the stream's own position was missing. */
bool
mcs_restore_mend_stream(const char *stream)
{
	CatalogScope scope;
	bool		mended;

	mcs_catalog_begin(&scope);
	mended = mcs_restore_mend_progress(stream);
	mcs_catalog_end(&scope);
	mcs_restore_mend_dependents(stream);
	return mended;
}

/* Makes the missing positions of a stream's handlers, its row for the owner's metrics, and the copies that its mirrors lack. */
void
mcs_restore_mend_dependents(const char *stream)
{
	static CatalogStatement mend = CATALOG_STATEMENT(
		"INSERT INTO @.change_handler_progress (handler_name, worker, last_event_id) "
		"SELECT h.handler_name, n, coalesce((SELECT min(e.event_id) - 1 FROM @.change_stream_events e "
		"WHERE e.stream_name = h.stream_name AND e.processing_status IN ('pending', 'retry')), p.last_event_id) "
		"FROM @.change_handlers h JOIN @.change_stream_progress p USING (stream_name), generate_series(0, h.workers - 1) n "
		"WHERE h.stream_name = $1 AND NOT EXISTS (SELECT FROM @.change_handler_progress o WHERE o.handler_name = h.handler_name) "
		"ON CONFLICT DO NOTHING", TEXTOID);
	static CatalogStatement metrics = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_metrics (stream_name) VALUES ($1) ON CONFLICT DO NOTHING", TEXTOID);
	static CatalogStatement copies = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_snapshots (stream_name, database_name, collection_name, mirror_name, sweep, copy_number) "
		"SELECT m.stream_name, m.database_name, m.collection_name, m.mirror_name, true, row_number() OVER (ORDER BY m.mirror_name) "
		"+ (SELECT coalesce(max(o.copy_number), 0) FROM @.change_stream_snapshots o WHERE o.stream_name = $1) "
		"FROM @.change_mirrors m WHERE m.stream_name = $1 AND NOT EXISTS "
		"(SELECT FROM @.change_stream_snapshots c WHERE c.stream_name = m.stream_name AND c.mirror_name = m.mirror_name) "
		"ON CONFLICT DO NOTHING", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(stream)};

	(void) mcs_catalog_run(&mend, values, NULL);
	(void) mcs_catalog_run(&metrics, values, NULL);
	if (!mcs_extension_is_old())
		(void) mcs_catalog_run(&copies, values, NULL);
}

/* Whether there are events, be they given up or put aside, or a position of a stream that is not there. */
bool
mcs_restore_remains(const char *stream, StreamRemains *remains)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT r.event_id, r.resume_token FROM ("
		"(SELECT e.event_id, e.resume_token, 0 AS rank FROM @.change_stream_events e WHERE e.stream_name = $1 ORDER BY e.event_id DESC LIMIT 1) "
		"UNION ALL SELECT p.last_event_id, p.resume_token, 1 FROM @.change_stream_progress p WHERE p.stream_name = $1 "
		"UNION ALL SELECT d.event_id, d.resume_token, 0 FROM @.change_handler_dead_letters d WHERE d.stream_name = $1 "
		"{UNION ALL SELECT d.event_id, d.resume_token, 0 FROM @.change_stream_parked_events d WHERE d.stream_name = $1|}) r "
		"ORDER BY r.event_id DESC, r.rank DESC LIMIT 1", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		found;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(&find, values, NULL) > 0;
	if (found)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		remains->last_event_id = mcs_catalog_get_int64(&row, "event_id");
		remains->token = mcs_catalog_get_text(&row, "resume_token");
	}
	mcs_catalog_end(&scope);
	return found;
}

/* Pauses handlers, or mirrors, whose stream is not there; how many there are. */
int64
mcs_restore_pause_handlers(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_handlers SET paused = true, state_since = now() WHERE stream_name = $1", TEXTOID);

	return (int64) mcs_catalog_run_for(&pause, stream);
}

int64
mcs_restore_pause_mirrors(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_mirrors SET paused = true, state_since = now() WHERE stream_name = $1", TEXTOID);

	/* a copy that was under way would go on into the new stream's events */
	mcs_snapshots_forget(stream, NULL);
	return mcs_extension_is_old() ? 0 : (int64) mcs_catalog_run_for(&pause, stream);
}
