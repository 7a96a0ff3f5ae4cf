/*
 * tables/snapshots.c
 *	  Copies of collections: how far each is, which is saved in the transaction
 *	  that writes what was copied.
 *
 * A row is made when a copy is asked for, and begun again in place: it then has
 * another number, by which a process that still works on the earlier copy finds
 * that its own is no more (mcs_snapshots_save).  That alone would do for chunks;
 * but batches of events, too, must not be of a time before a mirror was to be
 * copied, so whoever begins a copy redefines the stream (tables/progress.c).
 *
 * The caller has locked the stream's rows, which come before those here.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* A time of MongoDB as a BSON timestamp; NULL for 0. */
static Document *
time_document(uint64 time)
{
	DocumentBuilder builder;

	if (time == 0)
		return NULL;
	mcs_document_build(&builder);
	mcs_document_append_timestamp(&builder, NULL, (uint32) (time >> 32), (uint32) time);
	return mcs_document_finish(&builder);
}

/* The same back; 0 for NULL, and for what somebody else has written there. */
static uint64
document_time(const Document *document)
{
	DocumentValue value;
	uint32		seconds,
				ordinal;

	if (document == NULL)
		return 0;
	value = mcs_document_value(document);
	return mcs_document_get_timestamp(&value, &seconds, &ordinal) ? (uint64) seconds << 32 | ordinal : 0;
}

/* A copy from its row; everything in the row's target context. */
static CopyProgress *
copy_from_row(const CatalogRow *row)
{
	CopyProgress *copy = MemoryContextAllocZero(row->target, sizeof(CopyProgress));
	bool		isnull;

	copy->number = mcs_catalog_get_int64(row, "copy_number");
	copy->stream = mcs_catalog_get_text(row, "stream_name");
	copy->database = mcs_catalog_get_text(row, "database_name");
	copy->collection = mcs_catalog_get_text(row, "collection_name");
	copy->mirror = mcs_catalog_get_text(row, "mirror_name");
	copy->documents_done = mcs_catalog_get_int64(row, "documents_done");
	copy->documents_estimated = mcs_catalog_get_int64(row, "documents_estimated");
	copy->last_key = mcs_catalog_get_document(row, "last_key");
	copy->sweep = mcs_catalog_get_bool(row, "sweep");
	copy->swept_key = mcs_catalog_get_document(row, "swept_key");
	(void) mcs_catalog_get_datum(row, "finished_at", &isnull);
	copy->finished = !isnull;
	copy->busy = mcs_catalog_get_int64(row, "busy");
	copy->inexact_until = document_time(mcs_catalog_get_document(row, "inexact_until"));
	copy->exact_since = mcs_catalog_get_int64(row, "exact_since");
	return copy;
}

List *
mcs_snapshots_load(const char *stream)
{
	static CatalogStatement load = CATALOG_STATEMENT(
		"SELECT stream_name, database_name, collection_name, mirror_name, documents_done, "
		"coalesce(documents_estimated, -1) AS documents_estimated, last_key, sweep, swept_key, finished_at, inexact_until, "
		"exact_since, copy_number, (extract(epoch FROM busy) * 1000000)::bigint AS busy FROM @.change_stream_snapshots WHERE stream_name = $1 ORDER BY copy_number", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	List	   *copies = NIL;
	uint64		count;

	if (mcs_extension_is_old())
		return NIL;
	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&load, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		copies = mcs_catalog_append(&row, copies, copy_from_row(&row));
	}
	mcs_catalog_end(&scope);
	return copies;
}

/* The values that name a copy's row. */
static void
add_key(CatalogValues *values, const CopyProgress *copy)
{
	mcs_catalog_add_text(values, copy->stream);
	mcs_catalog_add_text(values, copy->database);
	mcs_catalog_add_text(values, copy->collection);
	mcs_catalog_add_text(values, copy->mirror);
}

/* What is copied anew fills whatever table is there then: of a mirror, or (NULL) of all of a stream. */
static void
forget_tables(const char *stream, const char *mirror)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_mirror_tables WHERE mirror_name = $2 OR ($2 IS NULL AND mirror_name IN "
		"(SELECT m.mirror_name FROM @.change_mirrors m WHERE m.stream_name = $1))", TEXTOID, TEXTOID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, mirror);
	(void) mcs_catalog_run(&forget, values.values, values.nulls);
}

/* What differs is decided by the caller alone: of copy only its names, the estimate and sweep are looked at. */
void
mcs_snapshots_begin(const CopyProgress *copy)
{
	/* behind all others of the stream, whose rows nobody else writes while the stream's are locked */
	static CatalogStatement begin = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_snapshots AS s "
		"(stream_name, database_name, collection_name, mirror_name, documents_estimated, sweep, copy_number) "
		"VALUES ($1, $2, $3, $4, $5, $6, "
		"(SELECT coalesce(max(o.copy_number), 0) + 1 FROM @.change_stream_snapshots o WHERE o.stream_name = $1)) "
		"ON CONFLICT (stream_name, database_name, collection_name, mirror_name) DO UPDATE SET documents_done = 0, "
		"documents_estimated = excluded.documents_estimated, last_key = NULL, exact_since = NULL, finished_at = NULL, "
		"sweep = excluded.sweep, swept_key = NULL, inexact_until = NULL, started_at = clock_timestamp(), "
		"updated_at = clock_timestamp(), busy = '0', starts = 0, copy_number = excluded.copy_number",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, BOOLOID);
	CatalogValues values = {0};

	if (mcs_extension_is_old())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension's schema is still that of 1.0, which knows no copies of collections"),
				 errhint("ALTER EXTENSION %s UPDATE;", MCS_EXTENSION)));
	add_key(&values, copy);
	mcs_catalog_add_value(&values, Int64GetDatum(copy->documents_estimated), copy->documents_estimated < 0);
	mcs_catalog_add_value(&values, BoolGetDatum(copy->sweep), false);
	(void) mcs_catalog_run(&begin, values.values, values.nulls);
	if (copy->mirror)
		forget_tables(copy->stream, copy->mirror);
	mcs_progress_redefine(copy->stream);
}

void
mcs_snapshots_begin_mirror(const Mirror *mirror, bool sweep)
{
	CopyProgress copy = {
		.stream = mirror->stream,
		.database = mirror->database,
		.collection = mirror->collection,
		.mirror = mirror->name,
		.documents_estimated = -1,
		.sweep = sweep
	};

	mcs_snapshots_begin(&copy);
	mcs_wake_at_commit(mirror->stream);
}

/* False where the copy was begun again, or forgotten, since it was loaded: the caller must abort. */
bool
mcs_snapshots_save(const CopyProgress *copy)
{
	/* what lies between two chunks is work for some seconds; for longer the stream was paused, or MongoDB away */
	static CatalogStatement save = CATALOG_STATEMENT(
		"UPDATE @.change_stream_snapshots SET documents_done = $6, documents_estimated = $7, last_key = $8, sweep = $9, "
		"swept_key = $10, finished_at = CASE WHEN $11 THEN coalesce(finished_at, clock_timestamp()) END, inexact_until = $12, "
		"exact_since = $13, busy = busy + CASE WHEN finished_at IS NULL THEN least(clock_timestamp() - updated_at, '10 s') ELSE '0' END, "
		"updated_at = clock_timestamp(), starts = 0 "
		"WHERE stream_name = $1 AND database_name = $2 AND collection_name = $3 AND mirror_name IS NOT DISTINCT FROM $4 "
		"AND copy_number = $5",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, InvalidOid, BOOLOID, InvalidOid, BOOLOID, InvalidOid,
		TIMESTAMPTZOID);
	CatalogValues values = {0};
	Document   *inexact_until = time_document(copy->inexact_until);

	add_key(&values, copy);
	mcs_catalog_add_int64(&values, copy->number);
	mcs_catalog_add_int64(&values, copy->documents_done);
	mcs_catalog_add_value(&values, Int64GetDatum(copy->documents_estimated), copy->documents_estimated < 0);
	mcs_catalog_add_value(&values, PointerGetDatum(copy->last_key), copy->last_key == NULL);
	mcs_catalog_add_value(&values, BoolGetDatum(copy->sweep), false);
	mcs_catalog_add_value(&values, PointerGetDatum(copy->swept_key), copy->swept_key == NULL);
	mcs_catalog_add_value(&values, BoolGetDatum(copy->finished), false);
	mcs_catalog_add_value(&values, PointerGetDatum(inexact_until), inexact_until == NULL);
	mcs_catalog_add_value(&values, TimestampTzGetDatum(copy->exact_since), copy->exact_since == 0);
	return mcs_catalog_run(&save, values.values, values.nulls) == 1;
}

int
mcs_snapshots_announce(const CopyProgress *copy)
{
	static CatalogStatement announce = CATALOG_STATEMENT(
		"UPDATE @.change_stream_snapshots SET starts = starts + 1 WHERE stream_name = $1 AND database_name = $2 "
		"AND collection_name = $3 AND mirror_name IS NOT DISTINCT FROM $4 RETURNING starts - 1 AS died",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	CatalogScope scope;
	CatalogValues values = {0};
	int			died = 0;

	/* worth nothing if a crash could take it back */
	mcs_deaths_flush();
	add_key(&values, copy);
	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&announce, values.values, values.nulls) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		died = mcs_catalog_get_int32(&row, "died");
	}
	mcs_catalog_end(&scope);
	return died;
}

/* Begins copies again: what is said in tables.h of either. */
static void
begin_again(const char *stream, bool emptied)
{
	static CatalogStatement begin = CATALOG_STATEMENT(
		"UPDATE @.change_stream_snapshots AS s SET documents_done = 0, documents_estimated = NULL, last_key = NULL, exact_since = NULL, "
		"finished_at = NULL, sweep = mirror_name IS NOT NULL, swept_key = NULL, inexact_until = NULL, started_at = clock_timestamp(), "
		"updated_at = clock_timestamp(), busy = '0', starts = 0, "
		"copy_number = copy_number + (SELECT max(o.copy_number) FROM @.change_stream_snapshots o WHERE o.stream_name = $1) "
		"WHERE stream_name = $1 AND CASE WHEN $2 THEN EXISTS "
		"(SELECT FROM @.change_mirrors m, to_regclass(m.table_name) AS whole LEFT JOIN LATERAL pg_partition_tree(whole) AS part ON part.isleaf "
		"WHERE m.mirror_name = s.mirror_name AND pg_relation_size(coalesce(part.relid, whole)) = 0) "
		"ELSE mirror_name IS NOT NULL OR finished_at IS NULL END", TEXTOID, BOOLOID);
	Datum		values[2] = {CStringGetTextDatum(stream), BoolGetDatum(emptied)};

	if (mcs_extension_is_old())
		return;
	(void) mcs_catalog_run(&begin, values, NULL);
	/* those that are not copied again are of a dump, as their tables are */
	forget_tables(stream, NULL);
	mcs_progress_redefine(stream);
}

/*
 * In a stream that goes on elsewhere: what was copied and not finished is of a
 * time that does not meet the new position, and what mirrors show, too.  Copies
 * of the stream's own that were finished are rows like others, and stay.
 */
void
mcs_snapshots_begin_again(const char *stream)
{
	begin_again(stream, false);
}

/* A dump may have left the rows of tables out, which are tables like others. */
void
mcs_snapshots_begin_emptied(const char *stream)
{
	begin_again(stream, true);
}

void
mcs_snapshots_forget(const char *stream, const char *mirror)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_snapshots WHERE stream_name = $1 AND ($2 IS NULL OR mirror_name = $2)", TEXTOID, TEXTOID);
	CatalogValues values = {0};

	if (mcs_extension_is_old())
		return;
	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, mirror);
	(void) mcs_catalog_run(&forget, values.values, values.nulls);
}
