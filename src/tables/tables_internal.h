/*
 * tables/tables_internal.h
 *	  Access to the catalog tables, for the files the files of tables/, and the
 *	  changes to them that the functions of users make.
 */
#ifndef MCS_STREAM_CATALOG_H
#define MCS_STREAM_CATALOG_H

#include "stream/stream.h"

#include "executor/spi.h"

/* ---- tables/stream.c: for the files of tables/ only ---- */

#define CATALOG_MAX_ARGS	40

/* One statement on the catalog tables, planned once a session. */
typedef struct CatalogStatement
{
	const char *sql;			/* "@." stands for the extension's schema, "{new|old}" for what is different in version 1.0's */
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

/* A statement alone, with all that it needs around it. */
extern uint64 mcs_catalog_run(CatalogStatement *statement, const Datum *values, const char *nulls);

/* ---- tables/change.c: for the functions of users ---- */

/* What create_change_stream was told and nothing but the table remembers. */
typedef struct StreamOrigin
{
	const char *resume_after;
	const char *start_after;
	const char *start_at;
} StreamOrigin;

extern bool mcs_catalog_kept_events(const char *stream, Oid *owner, int64 *last_event_id);
extern bool mcs_catalog_insert_stream(const Stream *stream, const StreamOrigin *origin);
extern void mcs_catalog_update_definition(const Stream *stream);
extern void mcs_catalog_redefined(const char *stream);
extern void mcs_catalog_pause(const char *stream);
extern void mcs_catalog_resume(const char *stream, const char *skip_token);
extern void mcs_catalog_forget_stop(const char *stream);
extern void mcs_catalog_set_position(const char *stream, const char *token);
extern void mcs_catalog_delete_stream(const Stream *stream, bool keep_events);
extern void mcs_catalog_forget_kept_events(const char *stream);
extern bool mcs_catalog_is_own_change(const char *stream);

/* ---- tables/progress.c ---- */
extern bool mcs_handlers_behind(const char *stream, int64 event_id);
extern void mcs_handlers_lock(const char *stream);
extern void mcs_handlers_redefined(const char *stream);

/* ---- tables/restore.c ---- */

/* What a restore has left of a stream that is not there. */
typedef struct StreamRemains
{
	int64		last_event_id;	/* 0: nothing */
	char	   *token;			/* the position behind it, NULL where that is not known */
} StreamRemains;

extern bool mcs_progress_mend(const char *stream);
extern void mcs_handlers_mend(const char *stream);
extern bool mcs_stream_remains(const char *stream, StreamRemains *remains);
extern int64 mcs_handlers_pause_remaining(const char *stream);
extern Oid	mcs_catalog_owner(void);
extern int64 mcs_stream_dead_letters(const char *stream);

/* ---- tables/events.c ---- */

/* Deletes all events of a stream, as its owner. */
extern void mcs_events_delete_all(const char *stream, Oid owner);

/* The arguments of a statement while they are gathered. */
typedef struct CatalogValues
{
	int			count;
	Datum		values[CATALOG_MAX_ARGS];
	char		nulls[CATALOG_MAX_ARGS];
} CatalogValues;

extern void mcs_values_add(CatalogValues *values, Datum value, bool isnull);
extern void mcs_values_add_text(CatalogValues *values, const char *text);
extern void mcs_values_add_texts(CatalogValues *values, List *texts, bool empty_is_null);

#endif							/* MCS_STREAM_CATALOG_H */
