/*
 * tables/mirrors.c
 *	  The rows of mirrors, and their counters.
 *
 * Locks are taken in one order: the stream's rows, then those of its mirrors.  A
 * worker, too, has saved its position before it counts or stops a mirror in the
 * same transaction; so whoever changes a mirror locks its stream first.  A mirror
 * that shall be written, or not, from some moment on is one that its stream is
 * redefined for (mcs_progress_redefine), as what a worker has made and not
 * committed is of before.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* Of a mirror whose stream a restore has not brought there is nothing to load. */
#define MIRROR_QUERY \
	"SELECT m.*, s.owner FROM @.change_mirrors m JOIN @.change_streams s USING (stream_name) "

/* A mirror from its row; everything in the row's target context. */
static Mirror *
mirror_from_row(const CatalogRow *row)
{
	Mirror	   *mirror = MemoryContextAllocZero(row->target, sizeof(Mirror));

	mirror->name = mcs_catalog_get_text(row, "mirror_name");
	mirror->stream = mcs_catalog_get_text(row, "stream_name");
	mirror->owner = mcs_catalog_get_oid(row, "owner");
	mirror->database = mcs_catalog_get_text(row, "database_name");
	mirror->collection = mcs_catalog_get_text(row, "collection_name");
	mirror->table = mcs_catalog_get_text(row, "table_name");
	mirror->columns = mcs_catalog_get_text(row, "columns");
	mirror->filter = mcs_catalog_get_text(row, "filter");
	mirror->on_delete = strcmp(mcs_catalog_get_text(row, "on_delete"), "mark") == 0 ? MIRROR_ON_DELETE_MARK : MIRROR_ON_DELETE_DELETE;
	mirror->paused = mcs_catalog_get_bool(row, "paused");
	mirror->owns_stream = mcs_catalog_get_bool(row, "owns_stream");
	/* what was made of it when it was given */
	mirror->translated_columns = mcs_catalog_get_text(row, "translated_columns");
	mirror->translated_filter = mcs_catalog_get_text(row, "translated_filter");
	mirror->settings = mcs_catalog_get_texts(row, "settings");
	mirror->stopped_reason = mcs_catalog_get_text(row, "stopped_reason");
	return mirror;
}

/* The mirror, or NULL where there is none and missing_ok; for_update locks its row alone until the transaction's end. */
Mirror *
mcs_mirrors_load(const char *name, bool for_update, bool missing_ok)
{
	static CatalogStatement load = CATALOG_STATEMENT(MIRROR_QUERY "WHERE m.mirror_name = $1", TEXTOID);
	static CatalogStatement load_locked = CATALOG_STATEMENT(MIRROR_QUERY "WHERE m.mirror_name = $1 FOR UPDATE OF m", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	Mirror	   *mirror = NULL;

	if (!mcs_extension_is_old())
	{
		mcs_catalog_begin(&scope);
		if (mcs_catalog_execute(for_update ? &load_locked : &load, values, NULL) > 0)
		{
			CatalogRow	row = mcs_catalog_row(&scope, 0);

			mirror = mirror_from_row(&row);
		}
		mcs_catalog_end(&scope);
	}
	if (mirror == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change mirror \"%s\" does not exist", name)));
	return mirror;
}

MirrorStanding *
mcs_mirrors_standing(const char *name)
{
	static CatalogStatement load = CATALOG_STATEMENT(
		"SELECT m.paused, m.stopped_reason, coalesce(c.finished_at IS NOT NULL, false) AS copied, "
		"coalesce(c.finished_at IS NOT NULL AND c.exact_since IS NOT NULL, false) AS exact, "
		"coalesce(c.documents_done, 0) AS documents_done, coalesce(c.documents_estimated, -1) AS documents_estimated, q.resume_token "
		"FROM @.change_mirrors m JOIN @.change_stream_progress q USING (stream_name) "
		"LEFT JOIN @.change_stream_snapshots c ON c.stream_name = m.stream_name AND c.mirror_name = m.mirror_name "
		"WHERE m.mirror_name = $1", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	MirrorStanding *standing = NULL;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute_active(&load, values) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		standing = MemoryContextAllocZero(row.target, sizeof(MirrorStanding));
		standing->paused = mcs_catalog_get_bool(&row, "paused");
		standing->stopped_reason = mcs_catalog_get_text(&row, "stopped_reason");
		standing->copied = mcs_catalog_get_bool(&row, "copied");
		standing->exact = mcs_catalog_get_bool(&row, "exact");
		standing->documents_done = mcs_catalog_get_int64(&row, "documents_done");
		standing->documents_estimated = mcs_catalog_get_int64(&row, "documents_estimated");
		standing->token = mcs_catalog_get_text(&row, "resume_token");
	}
	mcs_catalog_end(&scope);
	return standing;
}

List *
mcs_mirrors_of_stream(const char *stream)
{
	static CatalogStatement list = CATALOG_STATEMENT(MIRROR_QUERY "WHERE m.stream_name = $1 ORDER BY m.mirror_name", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	List	   *mirrors = NIL;
	uint64		count;

	if (mcs_extension_is_old())
		return NIL;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		mirrors = mcs_catalog_append(&row, mirrors, mirror_from_row(&row));
	}
	mcs_catalog_end(&scope);
	return mirrors;
}

char *
mcs_mirrors_of_table(const char *table, const char *but_mirror)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT mirror_name FROM @.change_mirrors WHERE table_name = $1 AND mirror_name <> $2 LIMIT 1", TEXTOID, TEXTOID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(table), CStringGetTextDatum(but_mirror)};
	char	   *name = NULL;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		name = mcs_catalog_get_text(&row, "mirror_name");
	}
	mcs_catalog_end(&scope);
	return name;
}

/* ---- what functions of users write: who may call them has been asked before ---- */

/* The columns of change_mirrors that create_change_mirror and alter_change_mirror have in common, behind the key. */
static void
set_definition(CatalogColumns *columns, const Mirror *mirror)
{
	mcs_catalog_set_text(columns, "table_name", mirror->table);
	mcs_catalog_set_text(columns, "columns", mirror->columns);
	mcs_catalog_set_text(columns, "filter", mirror->filter);
	mcs_catalog_set_text(columns, "on_delete", mirror->on_delete == MIRROR_ON_DELETE_MARK ? "mark" : "delete");
	mcs_catalog_set(columns, "owns_stream", BOOLOID, BoolGetDatum(mirror->owns_stream), false);
	mcs_catalog_set_text(columns, "translated_columns", mirror->translated_columns);
	mcs_catalog_set_text(columns, "translated_filter", mirror->translated_filter);
	mcs_catalog_set_texts(columns, "settings", mirror->settings, false);
}

/* The rows of a new mirror; false where there is one of that name already. */
bool
mcs_mirrors_insert(const Mirror *mirror)
{
	/* a restore may have left counters without their mirror */
	static CatalogStatement insert_progress = CATALOG_STATEMENT(
		"INSERT INTO @.change_mirror_progress AS p (mirror_name) VALUES ($1) ON CONFLICT (mirror_name) DO UPDATE SET "
		"rows_written = 0, column_errors = 0, column_error = NULL, last_error = NULL, last_error_at = NULL, updated_at = now()",
		TEXTOID);
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "mirror_name", mirror->name);
	mcs_catalog_set_text(&columns, "stream_name", mirror->stream);
	mcs_catalog_set_text(&columns, "database_name", mirror->database);
	mcs_catalog_set_text(&columns, "collection_name", mirror->collection);
	set_definition(&columns, mirror);
	mcs_catalog_set(&columns, "paused", BOOLOID, BoolGetDatum(mirror->paused), false);
	/* its key decides between two who make a mirror of one name */
	if (!mcs_catalog_insert("change_mirrors", &columns))
		return false;
	(void) mcs_catalog_run_for(&insert_progress, mirror->name);
	mcs_progress_redefine(mirror->stream);
	return true;
}

void
mcs_mirrors_update(const Mirror *mirror)
{
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "mirror_name", mirror->name);
	set_definition(&columns, mirror);
	mcs_catalog_update("change_mirrors", &columns);
	mcs_progress_redefine(mirror->stream);
}

/* Runs a statement that changes whether a mirror is written, and redefines its stream. */
static void
change(CatalogStatement *statement, const char *name)
{
	static CatalogStatement redefine = CATALOG_STATEMENT(
		"UPDATE @.change_stream_progress p SET definition_version = p.definition_version + 1 "
		"FROM @.change_mirrors m WHERE m.mirror_name = $1 AND p.stream_name = m.stream_name", TEXTOID);

	if (mcs_extension_is_old())
		return;
	/* the stream's row first: see the top */
	(void) mcs_catalog_run_for(&redefine, name);
	(void) mcs_catalog_run_for(statement, name);
}

void
mcs_mirrors_pause(const char *name)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_mirrors SET paused = true, state_since = now() WHERE mirror_name = $1 AND NOT paused", TEXTOID);

	change(&pause, name);
}

void
mcs_mirrors_resume(const char *name)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_mirrors SET paused = false, stopped_reason = NULL, state_since = now() "
		"WHERE mirror_name = $1 AND (paused OR stopped_reason IS NOT NULL)", TEXTOID);

	change(&resume, name);
}

/* Its copy, too; not its table. */
void
mcs_mirrors_delete(const char *name)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_stream_snapshots WHERE mirror_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_mirror_progress WHERE mirror_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_mirror_tables WHERE mirror_name = $1", TEXTOID)
	};
	static CatalogStatement delete_mirror = CATALOG_STATEMENT("DELETE FROM @.change_mirrors WHERE mirror_name = $1", TEXTOID);

	for (int i = 0; i < lengthof(delete) && !mcs_extension_is_old(); i++)
		(void) mcs_catalog_run_for(&delete[i], name);
	change(&delete_mirror, name);
}

/* ---- the table that is written ---- */

Oid
mcs_mirrors_written_table(const char *name, Oid table)
{
	static CatalogStatement note = CATALOG_STATEMENT(
		"INSERT INTO @.change_mirror_tables (mirror_name, table_oid) VALUES ($1, $2) ON CONFLICT DO NOTHING", TEXTOID, OIDOID);
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT table_oid FROM @.change_mirror_tables WHERE mirror_name = $1", TEXTOID);
	CatalogScope scope;
	Datum		values[2] = {CStringGetTextDatum(name), ObjectIdGetDatum(table)};

	if (mcs_catalog_run(&note, values, NULL) > 0)
		return table;
	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);
		bool		isnull;

		table = DatumGetObjectId(mcs_catalog_get_datum(&row, "table_oid", &isnull));
	}
	mcs_catalog_end(&scope);
	return table;
}

/* ---- statements of others ---- */

/*
 * A table of an owner's, or (NULL) each of a schema, has got another name: its
 * mirrors go on with it.  Those of others never had it, though one of this name
 * may have been theirs once.  Names are compared as SQL reads them, however they
 * were quoted.  What a worker has made and not committed may be that it found no
 * such table.
 */
void
mcs_mirrors_rename_table(const char *schema, const char *table, Oid owner, const char *new_schema, const char *new_table)
{
#define OF_TABLE \
		"FROM @.change_streams s WHERE s.stream_name = m.stream_name AND (parse_ident(m.table_name))[1] = $1 " \
		"AND ($2 IS NULL OR ((parse_ident(m.table_name))[2] = $2 AND s.owner = $3::pg_catalog.regrole))"
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT DISTINCT m.stream_name FROM @.change_mirrors m WHERE EXISTS (SELECT " OF_TABLE ")", TEXTOID, TEXTOID, OIDOID);
	static CatalogStatement rename = CATALOG_STATEMENT(
		"UPDATE @.change_mirrors m SET table_name = format('%I.%I', $4, coalesce($5, (parse_ident(m.table_name))[2])) " OF_TABLE,
		TEXTOID, TEXTOID, OIDOID, TEXTOID, TEXTOID);
	CatalogScope scope;
	CatalogValues values = {0};
	List	   *streams = NIL;
	ListCell   *cell;
	uint64		count;

	if (mcs_extension_is_old())
		return;
	mcs_catalog_add_text(&values, schema);
	mcs_catalog_add_text(&values, table);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(owner), false);
	mcs_catalog_add_text(&values, new_schema);
	mcs_catalog_add_text(&values, new_table);
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&find, values.values, values.nulls);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		streams = mcs_catalog_append(&row, streams, mcs_catalog_get_text(&row, "stream_name"));
	}
	mcs_catalog_end(&scope);
	if (streams == NIL)
		return;
	/* before the mirrors' rows: see the top */
	foreach(cell, streams)
	{
		mcs_progress_redefine(lfirst(cell));
		mcs_wake_at_commit(lfirst(cell));
	}
	(void) mcs_catalog_run(&rename, values.values, values.nulls);
}

List *
mcs_mirrors_at_table(const char *schema, const char *table, Oid owner, const char *column)
{
	/* a column by the text, in which a longer name ends like it, too: what is copied once too often does no harm */
	static CatalogStatement find = CATALOG_STATEMENT(
		MIRROR_QUERY "WHERE parse_ident(m.table_name) = ARRAY[$1, $2] AND s.owner = $3::pg_catalog.regrole AND NOT m.paused "
		"AND m.stopped_reason IS NULL AND ($4 IS NULL OR $4 = 'document' OR ($4 = 'deleted_at' AND m.on_delete = 'mark') "
		"OR strpos(m.translated_columns, quote_ident($4) || ' = ') > 0)",
		TEXTOID, TEXTOID, OIDOID, TEXTOID);
	CatalogScope scope;
	CatalogValues values = {0};
	List	   *mirrors = NIL;
	uint64		count;

	/* without an owner nothing of ours can be read, which is no reason for the statement to fail */
	if (mcs_extension_is_old() || !OidIsValid(mcs_extension_objects()->owner))
		return NIL;
	mcs_catalog_add_text(&values, schema);
	mcs_catalog_add_text(&values, table);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(owner), false);
	mcs_catalog_add_text(&values, column);
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&find, values.values, values.nulls);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		mirrors = mcs_catalog_append(&row, mirrors, mirror_from_row(&row));
	}
	mcs_catalog_end(&scope);
	return mirrors;
}

/* ---- what workers write ---- */

/*
 * Whether somebody else has changed what a stream and its mirrors are since it was
 * loaded: a table may have another name now, and what the caller has found is of
 * the old one.  This transaction itself may have redefined it, too.
 */
static bool
is_redefined(const Stream *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT xmin, definition_version FROM @.change_stream_progress WHERE stream_name = $1", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream->name)};
	bool		redefined = true;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);
		bool		isnull;

		redefined = mcs_catalog_get_int32(&row, "definition_version") != stream->definition_version &&
			!TransactionIdIsCurrentTransactionId(DatumGetTransactionId(mcs_catalog_get_datum(&row, "xmin", &isnull)));
	}
	mcs_catalog_end(&scope);
	return redefined;
}

bool
mcs_mirrors_stop(const Stream *stream, const char *name, const char *reason, const char *error)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_mirrors SET stopped_reason = $2, state_since = clock_timestamp() WHERE mirror_name = $1",
		TEXTOID, TEXTOID);
	static CatalogStatement note = CATALOG_STATEMENT(
		"INSERT INTO @.change_mirror_progress AS p (mirror_name, last_error, last_error_at) VALUES ($1, $2, clock_timestamp()) "
		"ON CONFLICT (mirror_name) DO UPDATE SET last_error = excluded.last_error, last_error_at = excluded.last_error_at",
		TEXTOID, TEXTOID);
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(reason)};

	if (is_redefined(stream))
		return false;
	/* the time by clock_timestamp(), as a worker's transaction may have begun long before */
	(void) mcs_catalog_run(&stop, values, NULL);
	values[1] = CStringGetTextDatum(error);
	(void) mcs_catalog_run(&note, values, NULL);
	return true;
}

void
mcs_mirrors_count(const char *name, int64 rows_written, int64 column_errors, const char *column_error)
{
	/* a restore may not have brought the row */
	static CatalogStatement count = CATALOG_STATEMENT(
		"INSERT INTO @.change_mirror_progress AS p (mirror_name, rows_written, column_errors, column_error) VALUES ($1, $2, $3, $4) "
		"ON CONFLICT (mirror_name) DO UPDATE SET rows_written = p.rows_written + excluded.rows_written, "
		"column_errors = p.column_errors + excluded.column_errors, "
		"column_error = coalesce(excluded.column_error, p.column_error), updated_at = clock_timestamp()",
		TEXTOID, INT8OID, INT8OID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, name);
	mcs_catalog_add_int64(&values, rows_written);
	mcs_catalog_add_int64(&values, column_errors);
	mcs_catalog_add_text(&values, column_error);
	(void) mcs_catalog_run(&count, values.values, values.nulls);
}
