/*
 * tables/mirror_fields.c
 *	  What mirrors say of the fields that documents have, as the caller sees it.
 *
 * Unlike all else in this folder it is read with the rights of whoever asks: a
 * role learns of mirrors what it may see of their streams, by the policies of the
 * tables.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Runs a query with texts as its parameters, NULL for null; "%s" are the extension's schema. */
static uint64
query(const char *sql, int count, const char *const *arguments)
{
	const char *schema = quote_identifier(mcs_extension_objects()->schema_name);
	Oid			types[CATALOG_MAX_ARGS];
	Datum		values[CATALOG_MAX_ARGS];
	char		nulls[CATALOG_MAX_ARGS];

	for (int i = 0; i < count; i++)
	{
		types[i] = TEXTOID;
		values[i] = arguments[i] ? CStringGetTextDatum(arguments[i]) : (Datum) 0;
		nulls[i] = arguments[i] ? ' ' : 'n';
	}
	if (SPI_execute_with_args(psprintf(sql, schema, schema), count, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what mirrors say of fields");
	return SPI_processed;
}

/* A text of the result, which outlives SPI; NULL for null. */
static char *
result_text(MemoryContext context, uint64 row, int column)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return text ? MemoryContextStrdup(context, text) : NULL;
}

List *
mcs_mirror_fields_seen(const char *stream, const char *server, const char *database, const char *collection, const char *table)
{
	const char *source[] = {server, database, collection, table};
	MemoryContext context = CurrentMemoryContext;
	List	   *mirrors = NIL;
	uint64		count;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (stream && query("SELECT server, database_name, collection_name FROM %s.change_streams WHERE stream_name OPERATOR(pg_catalog.=) $1",
						1, &stream) > 0)
		for (int i = 0; i < 3; i++)
			if (!source[i])
				source[i] = result_text(context, 0, i + 1);
	count = query("SELECT m.table_name, m.translated_columns, s.owner::pg_catalog.oid OPERATOR(pg_catalog.=) r.oid AS own"
				  " FROM %s.change_mirrors m JOIN %s.change_streams s ON s.stream_name OPERATOR(pg_catalog.=) m.stream_name"
				  " LEFT JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) current_user"
				  " WHERE m.translated_columns IS NOT NULL AND (m.table_name OPERATOR(pg_catalog.=) $4 OR (s.server OPERATOR(pg_catalog.=) $1"
				  " AND m.database_name OPERATOR(pg_catalog.=) $2 AND m.collection_name OPERATOR(pg_catalog.=) $3))"
				  " ORDER BY own DESC, m.mirror_name OPERATOR(pg_catalog.=) m.collection_name DESC, m.mirror_name COLLATE \"C\"", 4, source);
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		MirrorFields *mirror = palloc(sizeof(MirrorFields));
		bool		isnull;
		Datum		own = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3, &isnull);

		mirror->table = result_text(context, i, 1);
		mirror->columns = result_text(context, i, 2);
		mirror->own = !isnull && DatumGetBool(own);
		mirrors = lappend(mirrors, mirror);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return mirrors;
}
