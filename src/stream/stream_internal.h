/*
 * stream/stream_internal.h
 *	  What the files of this folder share: arguments, checks, positions, and the
 *	  insides of expressions.
 */
#ifndef MCS_STREAM_INTERNAL_H
#define MCS_STREAM_INTERNAL_H

#ifndef MCS_INSIDE_stream
#error "stream/stream_internal.h is for the files of its folder only"
#endif

#include "stream/stream.h"

/* The channel on which every stream notifies, besides the one of its own name. */
#define MCS_CHANNEL "change_stream"

/* The channel on which it is told what a person should hear of. */
#define MCS_ALERT_CHANNEL "change_stream_alert"

/* ---- definition.c ---- */

/* Puts what a call says of options into a definition. */
extern void mcs_stream_change_options(Stream *stream, const OptionChanges *changes);

extern void mcs_stream_check_name(const char *name);

/* What depends on more than one field; raises or, unless it is to be silent, gives NOTICEs, and fills the parts of the filter. */
extern void mcs_stream_check_definition(Stream *stream, bool silent);

/* What hangs on the stream, whose rows are locked, and is not as its definition, which changes, was: raises, or makes it so. */
extern void mcs_stream_check_dependents(const Stream *stream, const Stream *before);

/* ---- snapshot.c ---- */
extern void mcs_stream_check_snapshot(const Stream *stream, bool silent);
extern List *mcs_stream_plan_snapshot(const Stream *stream, const MongoTarget *target, const char *position);
extern void mcs_stream_begin_snapshot(const Stream *stream, List *collections);

/* ---- start.c ---- */

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
	bool		new_texts;		/* what its filter and added fields read is looked at */
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

/* ---- namespace.c ---- */

/* What a new stream watches, from a token on: raises, or gives NOTICEs, about what has no events, or none yet. */
extern void mcs_namespace_check(const Stream *stream, const MongoTarget *target, MongoSession *session, const char *token);

/* ---- guess.c ---- */

/* Tells of fields that a stream's filter or add_fields read and no document has; the session is to be closed then. */
extern void mcs_guess_of_stream(const Stream *stream, MongoSession *session);

/* ---- status.c: how streams are ---- */

/* Microseconds as an interval. */
extern Datum mcs_status_interval(int64 microseconds);

/* ---- reason.c: palloc'ed, or NULL where there is none ---- */

#define MCS_REASON_DISABLED "mongo_change_stream.enabled is off on this server, so no change stream or handler runs"

extern char *mcs_reason_of_owner(Oid owner);
extern char *mcs_reason_of_wait(int pid, uint32 wait_event, bool long_ago);

/* ---- alert.c ---- */

#define MCS_OPLOG_HINT "Let the stream run and catch up, or give MongoDB a larger oplog: db.adminCommand({replSetResizeOplog: 1, size: ...}) in megabytes."

/* Seconds behind that are nothing to speak of, however small an oplog is. */
#define OPLOG_BEHIND_MIN_S	15

/* Whether PostgreSQL's queue of notifications is so full that the rest is to be left to others. */
extern bool mcs_alert_queue_is_full(void);

/* ---- pipeline.c, pipeline_check.c ---- */

extern Document *mcs_pipeline_pushed_filter(const Stream *stream, const Document *match);
extern void mcs_pipeline_check(const Document *pipeline);

/* ---- expression_compile.c, expression.c ---- */

typedef struct AddedField
{
	char	   *name;
	Oid			type;
	ExprState  *state;
} AddedField;

struct StreamExpressions
{
	MemoryContext context;
	MemoryContextCallback forget;	/* frees what is cached outside of context */
	List	   *cached;			/* of CachedExpression */
	bool		of_events;		/* over the columns of an event; else, of a mirror, over one document */
	EventsMap	map;			/* of the events table */
	EventsConversion *conversion;
	uint32		columns;		/* that any expression reads: bits by EventColumn */
	TupleTableSlot *slot;
	ExprContext *econtext;
	ExprState  *filter;			/* NULL: none */
	Expr	   *condition;		/* the same as an expression */
	bool		has_user_functions; /* in filter */
	uint32		filter_columns; /* bits by EventColumn */
	int			field_count;
	AddedField *fields;
};

/* The part of the filter that MongoDB can evaluate, or NULL; whether that is all of it. */
extern Document *mcs_expression_match(const StreamExpressions *expressions, bool looks_up, bool *exact);

/* ---- token_statement.c ---- */

/* What the rows of one transaction, or a change of state, mean for one stream. */
typedef struct TokenUpdate
{
	char	   *stream;
	Oid			user;			/* who wrote the rows, and writes this */
	SubTransactionId subtransaction;	/* that the rows are of */
	Oid			table;			/* InvalidOid: none found */
	int64		events;			/* inserted */
	char	   *token;			/* of the latest of them */
	TimestampTz time;			/* its change_timestamp, 0 without */
	const char *state;			/* NULL: not known here */
	const char *error;
} TokenUpdate;

/* Writes an update into the table, as the current user. */
extern void mcs_token_statement_execute(const TokenUpdate *update, Relation table);

/* ---- argument.c ---- */
extern char *mcs_argument_text(const Arguments *arguments, const char *name);
extern bool mcs_argument_changes(const OptionChanges *changes, int flag);

/* ---- command.c ---- */

/* The argument stream_name, which is the first. */
extern char *mcs_stream_name_argument(FunctionCallInfo fcinfo);

#endif							/* MCS_STREAM_INTERNAL_H */
