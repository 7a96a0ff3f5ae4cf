/*
 * mongo_change_stream.h
 *	  What every file of the extension includes first: PostgreSQL's base headers,
 *	  names and limits that users see, and shims between PostgreSQL versions.
 *
 * Each folder has a header of its own name, which says what the folder is for
 * and which others it may use.
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

/* Names of streams and handlers are in bytes; NAMEDATALEN - 1, as they are notification channels, too. */
#define MCS_NAME_MAX (NAMEDATALEN - 1)

#endif							/* MONGO_CHANGE_STREAM_H */
