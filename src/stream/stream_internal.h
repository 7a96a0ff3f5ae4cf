/*
 * stream/stream_internal.h
 *	  What the files behind the functions on streams share: arguments, checks,
 *	  positions.
 */
#ifndef MCS_STREAM_INTERNAL_H
#define MCS_STREAM_INTERNAL_H

#ifndef MCS_INSIDE_stream
#error "stream/stream_internal.h is for the files of its folder only"
#endif

#include "stream/stream.h"

/* ---- stream/definition.c ---- */

/* Puts what a call says of options into a definition. */
extern void mcs_stream_change_options(Stream *stream, const OptionChanges *changes);

extern void mcs_stream_refuse_snapshot(bool initial_snapshot);
extern void mcs_stream_check_name(const char *name);
extern void mcs_stream_check_database_name(const char *name);
extern void mcs_stream_check_collection_name(const char *name, const char *database);

/* What depends on more than one field; raises or, unless it is to be silent, gives NOTICEs, and fills the parts of the filter. */
extern void mcs_stream_check_definition(Stream *stream, bool silent);

/* ---- stream/start.c ---- */

typedef enum StartKind
{
	START_NONE,					/* nothing said */
	START_NOW,
	START_EARLIEST,
	START_TOKEN
} StartKind;

typedef struct StreamStart
{
	StartKind	kind;
	char	   *token;			/* of START_TOKEN: to start after */
	bool		first;			/* the stream begins: what it is to watch is looked at, too */
} StreamStart;

/* Reads a position as users write it: 'now', 'earliest', a time, or a token. */
extern void mcs_stream_start_parse(StreamStart *start, const char *text);
extern char *mcs_stream_check_token(const char *token, const char *argument);

/*
 * Asks MongoDB: opens the stream once where the position says, so that all that
 * can be refused is refused now, and returns the token to start after.
 */
extern char *mcs_stream_start_resolve(const Stream *stream, const MongoTarget *target, const StreamStart *start);

/* The same, but NULL where MongoDB can't be reached. */
extern char *mcs_stream_start_resolve_now(const Stream *stream, const MongoTarget *target);

/* ---- stream/namespace.c ---- */

/* What a new stream watches, from a token on: raises, or gives NOTICEs, about what has no events, or none yet. */
extern void mcs_namespace_check(const Stream *stream, const MongoTarget *target, MongoSession *session, const char *token);

/* ---- stream/pipeline.c, stream/pipeline_check.c ---- */
extern Document *mcs_pipeline_pushed_filter(const Stream *stream, const Document *match);
extern void mcs_pipeline_check(const Document *pipeline);

#endif							/* MCS_STREAM_INTERNAL_H */
