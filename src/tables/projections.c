/*
 * tables/projections.c
 *	  The rows of projections: materialized views that a process of ours
 *	  refreshes.
 *
 * A projection is known by the view's name, as a mirror by its table's: a dump
 * brings names, and no OIDs.  Whose it is, is the view's own affair; so neither
 * ALTER ... OWNER TO nor REASSIGN OWNED is to be followed here.  What is found from
 * the catalog (change_projection_sources) and what becomes of refreshes
 * (change_projection_progress) is not dumped: a projection without such rows is
 * one that was not refreshed yet.
 *
 * Locks are taken in this order: the view's, which REFRESH and DROP have, then the
 * rows here, the definition's first.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- definitions ---- */

static ChangeProjection *
projection_from_row(const CatalogRow *row)
{
	ChangeProjection *projection = MemoryContextAllocZero(row->target, sizeof(ChangeProjection));
	bool		isnull;
	Datum		every = mcs_catalog_get_datum(row, "every", &isnull);

	projection->name = mcs_catalog_get_text(row, "view_name");
	mcs_options_read(&mcs_options_projection, row, projection);
	if (!isnull)
	{
		projection->every = MemoryContextAlloc(row->target, sizeof(Interval));
		*projection->every = *DatumGetIntervalP(every);
	}
	projection->settings = mcs_catalog_get_texts(row, "settings");
	projection->stopped_reason = mcs_catalog_get_text(row, "stopped_reason");
	return projection;
}

/* The projection, or NULL where there is none and missing_ok; for_update locks its row until the transaction's end. */
ChangeProjection *
mcs_projections_load(const char *name, bool for_update, bool missing_ok)
{
	static CatalogStatement load = CATALOG_STATEMENT("SELECT * FROM @.change_projections WHERE view_name = $1", TEXTOID);
	static CatalogStatement load_locked = CATALOG_STATEMENT("SELECT * FROM @.change_projections WHERE view_name = $1 FOR UPDATE", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	ChangeProjection *projection = NULL;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(for_update ? &load_locked : &load, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		projection = projection_from_row(&row);
	}
	mcs_catalog_end(&scope);
	if (projection == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("materialized view %s is no projection", name),
				 errhint("SELECT create_change_projection(%s);", quote_literal_cstr(name))));
	return projection;
}

/* What create_change_projection and alter_change_projection write, behind the key. */
static void
set_definition(CatalogColumns *columns, const ChangeProjection *projection, bool update)
{
	mcs_options_write(&mcs_options_projection, projection, update, columns);
	mcs_catalog_set(columns, "every", INTERVALOID, PointerGetDatum(projection->every), projection->every == NULL);
}

/* The rows of a new projection; false where the view is one already. */
bool
mcs_projections_insert(const ChangeProjection *projection)
{
	/* also before the first refresh: by this row it is known to be made here, and not restored */
	static CatalogStatement note = CATALOG_STATEMENT(
		"INSERT INTO @.change_projection_progress (view_name) VALUES ($1) ON CONFLICT DO NOTHING", TEXTOID);
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "view_name", projection->name);
	set_definition(&columns, projection, false);
	mcs_catalog_set_texts(&columns, "settings", projection->settings, false);
	if (!mcs_catalog_insert("change_projections", &columns))
		return false;
	(void) mcs_catalog_run_for(&note, projection->name);
	return true;
}

void
mcs_projections_update(const ChangeProjection *projection)
{
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "view_name", projection->name);
	set_definition(&columns, projection, true);
	mcs_catalog_update("change_projections", &columns);
}

void
mcs_projections_pause(const char *name)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_projections SET paused = true, state_since = now() WHERE view_name = $1 AND NOT paused", TEXTOID);

	(void) mcs_catalog_run_for(&pause, name);
}

void
mcs_projections_resume(const char *name)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_projections SET paused = false, stopped_reason = NULL, state_since = now() "
		"WHERE view_name = $1 AND (paused OR stopped_reason IS NOT NULL)", TEXTOID);

	(void) mcs_catalog_run_for(&resume, name);
}

/* What has failed is tried again at once. */
void
mcs_projections_forget_failures(const char *name)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_projection_progress SET next_refresh_at = now(), crashes = 0 WHERE view_name = $1 AND (failures > 0 OR crashes > 0)", TEXTOID);

	(void) mcs_catalog_run_for(&forget, name);
}

void
mcs_projections_stop(const char *name, const char *reason)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_projections SET stopped_reason = $2, state_since = clock_timestamp() WHERE view_name = $1", TEXTOID, TEXTOID);
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(reason)};

	(void) mcs_catalog_run(&stop, values, NULL);
}

void
mcs_projections_delete(const char *name)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_projections WHERE view_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_projection_progress WHERE view_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_projection_sources WHERE view_name = $1", TEXTOID)
	};

	for (int i = 0; i < lengthof(delete); i++)
		(void) mcs_catalog_run_for(&delete[i], name);
}

/* ---- sources ---- */

int
mcs_projections_find_sources(const char *name, Oid owner)
{
	/* rows that stay are left alone: this is looked at each minute, and changes seldom */
#define THESE "(SELECT q.view_name FROM @.change_projections q WHERE q.view_name = $1 OR ($1 IS NULL AND " \
		"(SELECT c.relowner FROM pg_class c WHERE c.oid = @.change_projection_view(q.view_name)) = $2))"
	static CatalogStatement delete = CATALOG_STATEMENT(
		"DELETE FROM @.change_projection_sources s WHERE s.view_name IN " THESE " AND NOT EXISTS "
		"(SELECT FROM @.change_projection_find_sources(s.view_name) f WHERE f.stream_name IS NOT DISTINCT FROM s.stream_name "
		"AND f.handler_name IS NOT DISTINCT FROM s.handler_name AND f.source_view IS NOT DISTINCT FROM s.source_view)",
		TEXTOID, OIDOID);
	static CatalogStatement insert = CATALOG_STATEMENT(
		"INSERT INTO @.change_projection_sources SELECT p.view_name, f.* FROM " THESE " p "
		"CROSS JOIN LATERAL @.change_projection_find_sources(p.view_name) f ON CONFLICT DO NOTHING", TEXTOID, OIDOID);
	static CatalogStatement count = CATALOG_STATEMENT(
		"SELECT FROM @.change_projection_sources WHERE view_name = $1", TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(owner), false);
	(void) mcs_catalog_run(&delete, values.values, values.nulls);
	(void) mcs_catalog_run(&insert, values.values, values.nulls);
	return name ? (int) mcs_catalog_run_for(&count, name) : 0;
}

List *
mcs_projections_source_streams(const char *name)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT DISTINCT stream_name FROM @.change_projection_sources WHERE view_name = $1 AND stream_name IS NOT NULL ORDER BY 1", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(name)};

	return mcs_catalog_names(&find, values, "stream_name");
}

List *
mcs_projections_followed_streams(Oid owner)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT DISTINCT coalesce(s.stream_name, '') AS stream_name FROM @.change_projection_sources s "
		"JOIN pg_class c ON c.oid = @.change_projection_view(s.view_name) WHERE c.relowner = $1", OIDOID);
	Datum		values[1] = {ObjectIdGetDatum(owner)};

	return mcs_catalog_names(&find, values, "stream_name");
}

/* ---- what the process looks at ---- */

List *
mcs_projections_standings(Oid owner)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT p.*, s.seen, s.reached, s.closed_until, s.concurrently, s.due_at, s.look_at, g.told_until, coalesce(g.failures, 0) AS failures "
		"FROM @.change_projection_standings s JOIN @.change_projections p USING (view_name) "
		"LEFT JOIN @.change_projection_progress g USING (view_name) WHERE s.owner = $1 AND s.runs ORDER BY s.due_at NULLS LAST",
		OIDOID);
	CatalogScope scope;
	Datum		values[1] = {ObjectIdGetDatum(owner)};
	List	   *standings = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&find, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		ProjectionStanding *standing = MemoryContextAllocZero(scope.caller, sizeof(ProjectionStanding));

		standing->projection = projection_from_row(&row);
		standing->seen = mcs_catalog_get_text(&row, "seen");
		standing->reached = mcs_catalog_get_int64(&row, "reached");
		standing->closed_until = mcs_catalog_get_int64(&row, "closed_until");
		standing->told_until = mcs_catalog_get_int64(&row, "told_until");
		standing->concurrently = mcs_catalog_get_bool(&row, "concurrently");
		standing->failures = mcs_catalog_get_int32(&row, "failures");
		standing->due_at = mcs_catalog_get_int64(&row, "due_at");
		standing->look_at = mcs_catalog_get_int64(&row, "look_at");
		standings = mcs_catalog_append(&row, standings, standing);
	}
	mcs_catalog_end(&scope);
	return standings;
}

/* ---- what becomes of refreshes ---- */

/*
 * As a process begins: refreshes that others have begun did not end.  first says
 * that they have died of that, of which some are borne, since it also comes by chance:
 * who dies takes all others with him.
 */
int
mcs_projections_begin(Oid owner, bool first)
{
	static CatalogStatement begin = CATALOG_STATEMENT(
		"UPDATE @.change_projection_progress g SET running = false, crashes = CASE WHEN $2 THEN g.crashes + 1 ELSE g.crashes END "
		"FROM pg_class c WHERE c.oid = @.change_projection_view(g.view_name) AND c.relowner = $1 AND g.running", OIDOID, BOOLOID);
	Datum		values[2] = {ObjectIdGetDatum(owner), BoolGetDatum(first)};

	/* worth nothing if the next crash can take it back: see tables/deaths.c */
	mcs_deaths_flush();
	return (int) mcs_catalog_run(&begin, values, NULL);
}

/* The names of those at whose refresh so many processes in a row have died. */
List *
mcs_projections_died(Oid owner, int deaths)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT g.view_name FROM @.change_projection_progress g JOIN @.change_projections p USING (view_name), pg_class c "
		"WHERE c.oid = @.change_projection_view(g.view_name) AND c.relowner = $1 AND g.crashes >= $2 AND p.stopped_reason IS NULL",
		OIDOID, INT4OID);
	Datum		values[2] = {ObjectIdGetDatum(owner), Int32GetDatum(deaths)};

	return mcs_catalog_names(&find, values, "view_name");
}

/* Notes that a refresh is begun next; false where the projection is not to be refreshed any more. */
bool
mcs_projections_announce(const char *name)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"INSERT INTO @.change_projection_progress AS g (view_name, running) "
		"SELECT p.view_name, true FROM @.change_projections p WHERE p.view_name = $1 AND NOT p.paused AND p.stopped_reason IS NULL "
		"ON CONFLICT (view_name) DO UPDATE SET running = true", TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(name)};

	mcs_deaths_flush();
	return mcs_catalog_run(&note, values, NULL) > 0;
}

void
mcs_projections_save(const ProjectionStanding *standing, const ProjectionRefresh *refresh)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_projection_progress SET refreshes = refreshes + 1, last_refresh_at = $2, "
		"refresh_time = make_interval(secs => $3::double precision / 1000000), next_refresh_at = $4, seen = $5, reached = $6, "
		"told_until = coalesce($7, told_until), failures = 0, running = false, crashes = 0 WHERE view_name = $1",
		TEXTOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, TEXTOID, INT8OID, TIMESTAMPTZOID);
	/* one notification, however many windows are over; the queue must not be filled, which makes every NOTIFY's commit fail */
	static CatalogStatement tell = CATALOG_STATEMENT(
		"SELECT pg_notify('change_stream_window', json_build_object('projection', $1, 'window_start', $2, 'window_end', $3, "
		"'windows', floor(extract(epoch FROM $3 - $2) / extract(epoch FROM $4))::bigint)::text) WHERE pg_notification_queue_usage() < 0.5",
		TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID);
	const ChangeProjection *projection = standing->projection;
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, projection->name);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(refresh->began), false);
	mcs_catalog_add_int64(&values, refresh->took);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(refresh->next_at), false);
	mcs_catalog_add_text(&values, standing->seen);
	mcs_catalog_add_value(&values, Int64GetDatum(standing->reached), standing->seen == NULL);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(standing->closed_until), standing->closed_until == 0);
	(void) mcs_catalog_run(&save, values.values, values.nulls);
	if (standing->told_until != 0 && standing->closed_until > standing->told_until)
	{
		Datum		told[4] = {CStringGetTextDatum(projection->name), TimestampTzGetDatum(standing->told_until),
		TimestampTzGetDatum(standing->closed_until), IntervalPGetDatum(projection->window_length)};

		(void) mcs_catalog_run(&tell, told, NULL);
	}
}

void
mcs_projections_failed(const char *name, const HandlerError *error, TimestampTz next_at)
{
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_projection_progress SET failures = failures + 1, next_refresh_at = $2, sqlstate = $3, error = $4, detail = $5, "
		"running = false, crashes = 0 WHERE view_name = $1",
		TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, name);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(next_at), false);
	mcs_catalog_add_text(&values, error->sqlstate);
	mcs_catalog_add_text(&values, error->message);
	mcs_catalog_add_text(&values, error->detail);
	(void) mcs_catalog_run(&save, values.values, values.nulls);
}

/* ---- views that go, or get another name ---- */

/* Forgets those whose materialized views are not there any more; one that a restore has brought may still come. */
void
mcs_projections_forget_missing(void)
{
	static CatalogStatement find = {.sql = "SELECT p.view_name FROM @.change_projections p JOIN @.change_projection_progress g USING (view_name) "
	"WHERE @.change_projection_view(p.view_name) IS NULL"};
	ListCell   *cell;

	/* without an owner nothing of ours can be read, which is no reason for the statement to fail */
	if (mcs_extension_is_old() || !OidIsValid(mcs_extension_objects()->owner))
		return;
	foreach(cell, mcs_catalog_names(&find, NULL, "view_name"))
		mcs_projections_delete(lfirst(cell));
}

void
mcs_projections_rename_view(const char *schema, const char *view, const char *new_schema, const char *new_view)
{
#define RENAME(table, column) CATALOG_STATEMENT( \
		"UPDATE @." table " SET " column " = format('%I.%I', $3, coalesce($4, (parse_ident(" column "))[2])) " \
		"WHERE (parse_ident(" column "))[1] = $1 AND ($2 IS NULL OR (parse_ident(" column "))[2] = $2)", TEXTOID, TEXTOID, TEXTOID, TEXTOID)
	static CatalogStatement rename[] = {
		RENAME("change_projections", "view_name"),
		RENAME("change_projection_progress", "view_name"),
		RENAME("change_projection_sources", "view_name"),
		RENAME("change_projection_sources", "source_view")
	};
	CatalogValues values = {0};

	if (mcs_extension_is_old() || !OidIsValid(mcs_extension_objects()->owner))
		return;
	mcs_catalog_add_text(&values, schema);
	mcs_catalog_add_text(&values, view);
	mcs_catalog_add_text(&values, new_schema);
	mcs_catalog_add_text(&values, new_view);
	for (int i = 0; i < lengthof(rename); i++)
		if (mcs_catalog_run(&rename[i], values.values, values.nulls) > 0 && i == 0)
			mcs_wake_projections_at_commit();
}
