/*
 * tables/tables_internal.h
 *	  How the files of this folder run their statements (catalog.c).
 */
#ifndef MCS_TABLES_INTERNAL_H
#define MCS_TABLES_INTERNAL_H

#ifndef MCS_INSIDE_tables
#error "tables/tables_internal.h is for the files of its folder only"
#endif

#include "executor/spi.h"
#include "tables/tables.h"

#define CATALOG_MAX_ARGS	40

/* One statement on the catalog tables, planned once a session: a static variable of the function that runs it. */
typedef struct CatalogStatement
{
	const char *sql;			/* "@." stands for the extension's schema, "{new|old}" for what is different in version 1.0's, "$*" for all arguments */
	int			nargs;
	Oid			types[CATALOG_MAX_ARGS];	/* InvalidOid: the type document */
	SPIPlanPtr	plan;
	uint64		planned_for;	/* state of the cache of names for which it was */
} CatalogStatement;

#define CATALOG_STATEMENT(text, ...) \
	{.sql = text, .nargs = lengthof(((Oid[]) {__VA_ARGS__})), .types = {__VA_ARGS__}}

/* What mcs_catalog_begin changes and mcs_catalog_end restores. */
typedef struct CatalogScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
	MemoryContext caller;		/* whose results shall live */
} CatalogScope;

/* Between the two, statements run as the tables' owner; an error in between restores by itself. */
extern void mcs_catalog_begin(CatalogScope *scope);
extern void mcs_catalog_end(CatalogScope *scope);

/* Runs a statement, nulls by "n"; returns the number of rows, which SPI_tuptable holds. */
extern uint64 mcs_catalog_execute(CatalogStatement *statement, const Datum *values, const char *nulls);

/* The same without arguments, reading what is committed now, whatever snapshot the transaction keeps. */
extern uint64 mcs_catalog_execute_latest(CatalogStatement *statement);

/* The same with arguments, by the caller's active snapshot. */
extern uint64 mcs_catalog_execute_active(CatalogStatement *statement, const Datum *values);

/* The same by any snapshot, nulls as above. */
extern uint64 mcs_catalog_execute_snapshot(CatalogStatement *statement, const Datum *values, const char *nulls, Snapshot snapshot);

/* A statement alone, with all that it needs around it. */
extern uint64 mcs_catalog_run(CatalogStatement *statement, const Datum *values, const char *nulls);

/* The same for one whose only argument is the name of a stream or handler. */
extern uint64 mcs_catalog_run_for(CatalogStatement *statement, const char *name);

/* Runs one whose rows have a text in a column: a List of char *, in the current memory context. */
extern List *mcs_catalog_names(CatalogStatement *statement, Datum *values, const char *column);

/* The arguments of a statement while they are gathered. */
typedef struct CatalogValues
{
	int			count;
	Datum		values[CATALOG_MAX_ARGS];
	char		nulls[CATALOG_MAX_ARGS];
} CatalogValues;

extern void mcs_catalog_add_value(CatalogValues *values, Datum value, bool isnull);
extern void mcs_catalog_add_int64(CatalogValues *values, int64 value);
extern void mcs_catalog_add_text(CatalogValues *values, const char *text);
extern void mcs_catalog_add_error(CatalogValues *values, const char *sqlstate, const char *message,
								  const char *detail, const char *context);

/* What is written into one row: its columns by name, the first of them the table's key. */
typedef struct CatalogColumns
{
	const char *names[CATALOG_MAX_ARGS];
	Oid			types[CATALOG_MAX_ARGS];
	CatalogValues values;
} CatalogColumns;

extern void mcs_catalog_set(CatalogColumns *columns, const char *name, Oid type, Datum value, bool isnull);
extern void mcs_catalog_set_text(CatalogColumns *columns, const char *name, const char *text);
extern void mcs_catalog_set_texts(CatalogColumns *columns, const char *name, List *texts, bool empty_is_null);

/* Makes the row; false where there is one of that key.  Or changes it. */
extern bool mcs_catalog_insert(const char *table, CatalogColumns *columns);
extern void mcs_catalog_update(const char *table, CatalogColumns *columns);

/* A row that a statement has returned; what is read from it is copied to the memory of the scope's caller. */
typedef struct CatalogRow
{
	HeapTuple	tuple;
	TupleDesc	desc;
	MemoryContext target;
} CatalogRow;

extern CatalogRow mcs_catalog_row(const CatalogScope *scope, uint64 number);

/* Adds what was made of a row to a list that lives as long as it. */
extern List *mcs_catalog_append(const CatalogRow *row, List *list, void *item);

/*
 * Its values, by the names of its columns; 0, false, NULL or NIL for null, and for
 * a column that 1.0's tables do not have.  The datum is not copied.
 */
extern Datum mcs_catalog_get_datum(const CatalogRow *row, const char *column, bool *isnull);
extern bool mcs_catalog_get_bool(const CatalogRow *row, const char *column);
extern int32 mcs_catalog_get_int32(const CatalogRow *row, const char *column);
extern int64 mcs_catalog_get_int64(const CatalogRow *row, const char *column);
extern Oid	mcs_catalog_get_oid(const CatalogRow *row, const char *column);
extern char *mcs_catalog_get_text(const CatalogRow *row, const char *column);
extern List *mcs_catalog_get_texts(const CatalogRow *row, const char *column);
extern Document *mcs_catalog_get_document(const CatalogRow *row, const char *column);

/* Whether a stream's row says that it was made in another cluster or database. */
extern bool mcs_catalog_is_from_elsewhere(const CatalogRow *row);

/* ---- tables/options.c ---- */

/* The options of a definition from its row, and the columns of its row from them, for an update without those that create_change_... alone sets. */
extern void mcs_options_read(const OptionList *list, const CatalogRow *row, void *definition);
extern void mcs_options_write(const OptionList *list, const void *definition, bool update, CatalogColumns *columns);

/* ---- deaths.c ---- */
extern void mcs_deaths_flush(void);

/* ---- restore.c ---- */
extern bool mcs_restore_mend_progress(const char *stream);

/* ---- handlers.c ---- */
extern void mcs_handlers_redefine_all(const char *stream);

#endif							/* MCS_TABLES_INTERNAL_H */
