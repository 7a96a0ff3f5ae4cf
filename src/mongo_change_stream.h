/*
 * mongo_change_stream.h
 *	  What every family of the extension may use: PostgreSQL's base headers,
 *	  names and limits that users see, and shims between PostgreSQL versions.
 *
 * The families and the order in which they may include each other (a family
 * uses its own header and those of the families before it):
 *
 *	  document   the type that holds one BSON value
 *	  mongo      the wall around the driver; no other family sees it
 *	  event      one change event and its columns
 *	  fdw        foreign tables: MongoDB's history as relations
 *	  match      SQL conditions as MongoDB's $match
 *	  stream     streams, their workers and their tables
 *	  handler    SQL that runs once for each event of a stream
 *
 * Symbols that are not static begin with mcs_; types are CamelCase.
 */
#ifndef MONGO_CHANGE_STREAM_H
#define MONGO_CHANGE_STREAM_H

#include "postgres.h"

#include "fmgr.h"

#if PG_VERSION_NUM < 150000
#error "mongo_change_stream needs PostgreSQL 15 or later"
#endif

/* The library is built with hidden symbols; before 16, PGDLLEXPORT does not export what it marks. */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#undef PG_FUNCTION_INFO_V1
#define PG_FUNCTION_INFO_V1(funcname) \
extern PGDLLEXPORT Datum funcname(PG_FUNCTION_ARGS); \
extern PGDLLEXPORT const Pg_finfo_record * CppConcat(pg_finfo_,funcname)(void); \
const Pg_finfo_record * \
CppConcat(pg_finfo_,funcname) (void) \
{ \
	static const Pg_finfo_record my_finfo = { 1 }; \
	return &my_finfo; \
} \
extern int no_such_variable
#endif

/* 18 has only pg_noreturn, which stands elsewhere. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

#define MCS_EXTENSION "mongo_change_stream"

/*
 * Texts into buffers of a fixed size, cut before a character that would not fit
 * whole: what is cut inside one is invalid, and a dump that holds it cannot be
 * restored.  They work in every process, also in one without a database.
 */
extern void mcs_text_copy(char *to, Size size, const char *from);
extern void mcs_text_format(char *to, Size size, const char *format,...) pg_attribute_printf(3, 4);

/* Names of streams and handlers are in bytes; NAMEDATALEN - 1, as they are notification channels, too. */
#define MCS_NAME_MAX (NAMEDATALEN - 1)

#endif							/* MONGO_CHANGE_STREAM_H */
