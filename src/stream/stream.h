/*
 * stream/stream.h
 *	  Streams as their users see them: the functions on them, what their
 *	  definitions mean, and how their events are written.
 *
 * Functions change the tables and, at commit, tell the launcher; the launcher
 * compares and starts workers; a worker follows one stream and reads its row
 * again when told to.  Uses base, document, mongo, event, match, shared and
 * tables; worker and handler use it.
 *
 * The functions that users call are in command.c (create, alter, pause, resume,
 * drop), grant.c, sync.c, status.c and reason.c (what runs, and why not), and
 * those of triggers in token_table.c and truncate.c.  They are helped by argument.c and definition.c
 * (what the options of a stream may be), start.c and namespace.c (where a stream
 * starts, and whether there is what it watches).  The other files are called by
 * workers, too.
 */
#ifndef MCS_STREAM_H
#define MCS_STREAM_H

#include "access/htup.h"
#include "lib/stringinfo.h"
#include "mongo/mongo.h"
#include "tables/tables.h"
#include "utils/relcache.h"

/* ---- argument.c: any backend, the arguments of a function that a user calls, by their names ---- */

typedef struct Arguments
{
	FunctionCallInfo fcinfo;
	int			count;
	char	  **names;
	Oid		   *types;
} Arguments;

extern void mcs_argument_begin(Arguments *arguments, FunctionCallInfo fcinfo);
extern char *mcs_argument_required(const Arguments *arguments, const char *name);

/* What a call does with the options of a list, by their numbers there. */
typedef struct OptionChanges
{
	const OptionList *list;
	bool	   *given;
	bool	   *reset;
	Datum	   *values;			/* of those that are given */
} OptionChanges;

/* What an option may be: raises, or returns of a value, which is not null, what is kept. */
typedef Datum (*OptionCheck) (const Option *option, Datum value);

extern OptionChanges *mcs_argument_options(const Arguments *arguments, const OptionList *list);
extern void mcs_argument_reset_others(OptionChanges *changes);
extern void mcs_argument_reset(const Arguments *arguments, OptionChanges *changes);
extern bool mcs_argument_gives(const OptionChanges *changes, const char *name);
extern void mcs_argument_apply(const OptionChanges *changes, const OptionCheck *checks, void *definition);

/* ---- definition.c: any backend ---- */

/* The options of a stream with which no mirror can hang on it, as reset takes them; NULL: none. */
extern char *mcs_stream_partial_options(const Stream *stream);

/* Whether two definitions make different rows of the same history, or one makes none. */
extern bool mcs_stream_rows_differ(const Stream *a, const Stream *b);

/* What is written in the dialect, as plain SQL; other text comes back as it is. */
extern char *mcs_stream_plain_sql(const char *source, const char *function, int nargs, bool flag);

/* Raise unless MongoDB can have and watch such a database, of which "*" is all, or collection. */
extern void mcs_stream_check_database_name(const char *name);
extern void mcs_stream_check_collection_name(const char *name, const char *database);

/* ---- namespace.c: any backend ---- */

/*
 * What MongoDB has of a collection's name: *type is "collection", "view" or
 * "timeseries", NULL where there is none; *other_case one that differs in nothing
 * but the case of letters, or NULL.  False where MongoDB does not say.
 */
extern bool mcs_namespace_look(MongoSession *session, const char *database, const char *collection, char **type, char **other_case);

/* ---- guess.c: any backend, names that were probably not meant ---- */

/* From here on what a session is asked is not worth a wait; it is to be closed then. */
extern void mcs_guess_limit(MongoSession *session);

/* Some documents of a collection, a list of Document; NIL also where MongoDB does not give them. */
extern List *mcs_guess_sample(MongoSession *session, const char *database, const char *collection);

/* NOTICEs of fields of a column that a text in plain SQL reads and no document has; of: what those are, in words. */
extern void mcs_guess_tell_fields(const char *argument, const char *text, const char *column, List *documents, const char *of);

/* Collections of a database whose names are near to one, in words; NULL for none. */
extern char *mcs_guess_collection(MongoSession *session, const char *database, const char *collection);

/* ---- command.c: any backend, in a function that a user calls ---- */

/* The database that a call names, or (NULL) the server's; raises where neither does. */
extern char *mcs_stream_database(const MongoTarget *target, char *named);

/* The SQL functions; for who calls them in a user's name. */
extern PGDLLEXPORT Datum mcs_create_change_stream(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_pause_change_stream(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_resume_change_stream(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_drop_change_stream(PG_FUNCTION_ARGS);

/* The stream, of which the caller must be an owner. */
extern Stream *mcs_stream_load_own(const char *name, bool for_update);

/* Raises unless the caller is an owner of something; strangers are not told whose it is. */
extern void mcs_stream_check_owner(Oid owner, const char *what, const char *name);

/* ---- alert.c: any process of ours or backend, in a transaction ---- */

/* What a person is told of a stream, or of a handler or projection; from, to and hint may be NULL, count 0. */
typedef struct Alert
{
	bool		of_handler;
	bool		of_projection;
	const char *name;
	const char *from;
	const char *to;
	const char *reason;
	const char *hint;
	int64		count;
} Alert;

extern void mcs_alert(const Alert *alert);
extern void mcs_alert_of_stream(const char *stream, const char *from, const char *to, const char *reason, const char *hint);

/* In a prober: looks at all streams of the database. */
extern void mcs_alert_of_oplogs(void);

/* ---- pipeline.c: whoever asks MongoDB for a stream's events ---- */

/*
 * Whether all that a stream wants can be had by watching its collection, which
 * costs MongoDB less than to look for the collection in all of the database.
 */
extern bool mcs_stream_fits_collection(const Stream *stream);

/*
 * Fills a spec from a definition (all but start, token, time and comment).
 * at_collection: watch the collection itself.
 */
extern void mcs_stream_spec(const Stream *stream, bool at_collection, ChangeStreamSpec *spec);

/*
 * What streams that are followed together want of a collection, or (NULL) of all of
 * the database: all of it, or what any of the conditions lets through.
 */
typedef struct StreamScope
{
	const char *collection;
	bool		all;
	List	   *conditions;		/* of Document * */
} StreamScope;

/*
 * The same for such streams: the definition is what they have in common, on a whole
 * database, and the list says what MongoDB is to let through.  What else each of
 * them wants is for its reader to see.
 */
extern void mcs_stream_group_spec(const Stream *stream, List *scopes, ChangeStreamSpec *spec);

/*
 * Whether full_document => 'updateLookup' can be done by whoever follows the
 * stream, as nothing that MongoDB evaluates needs the document.
 */
extern bool mcs_pipeline_may_look_up(const Stream *stream);

/* Whether an event may have come for the worker's sake, though the filter does not let it through. */
extern bool mcs_pipeline_must_see(const ChangeEvent *event);

/* Whether an event that MongoDB sent is a row, a gap row, or only for the worker to know. */
typedef enum StreamVerdict
{
	STREAM_STORE,
	STREAM_GAP,
	STREAM_SKIP
} StreamVerdict;
extern StreamVerdict mcs_stream_verdict(const Stream *stream, const ChangeEvent *event);

/*
 * ---- expression_compile.c, expression.c: as the stream's owner ----
 *
 * Filter, added fields and conditions are the owner's code.  All of these only
 * while he is the current user, and between mcs_owner_begin_settings and
 * mcs_owner_end_settings.
 */

typedef struct StreamExpressions StreamExpressions;

/* Parses and checks both (either may be NULL); raises what PostgreSQL's parser raises, with a hint. */
extern StreamExpressions *mcs_expression_compile(Relation events, const char *filter, const char *add_fields);

/* A handler's condition, which may also call the event "change". */
extern StreamExpressions *mcs_expression_compile_condition(Relation events, const char *condition);

/* A mirror's columns, 'name = expression, ...', and its filter, over one column "document"; either may be NULL. */
extern StreamExpressions *mcs_expression_compile_mirror(const char *columns, const char *filter);

/* They live in the memory context of the compilation, or in another one from now on, or no longer. */
extern void mcs_expression_keep(StreamExpressions *expressions, MemoryContext parent);
extern void mcs_expression_free(StreamExpressions *expressions);

/* False when something that they depend on has changed, a function for example: compile them again. */
extern bool mcs_expression_valid(const StreamExpressions *expressions);

extern bool mcs_expression_has_fields(const StreamExpressions *expressions);
extern bool mcs_expression_filter_reads(const StreamExpressions *expressions, EventColumn column);

/* These run user code: only in a (sub)transaction that may fail. */

/* True where the event shall be kept. */
extern bool mcs_expression_filter(StreamExpressions *expressions, const Datum *values, const bool *nulls);

/* The same of a condition and a row of the events table. */
extern bool mcs_expression_condition_holds(StreamExpressions *expressions, HeapTuple event);

/* The event's extra with the added fields behind its own; Datum of a document, or NULL (isnull). */
extern Datum mcs_expression_extra(StreamExpressions *expressions, const Datum *values, const bool *nulls, bool *isnull);

/*
 * Of a mirror: its columns in the order in which they were given.  A document is
 * set, which is borrowed, and then its filter and columns are asked for; a value is good
 * until the next document is set.
 */
extern int	mcs_expression_fields(const StreamExpressions *expressions);
extern const char *mcs_expression_field(const StreamExpressions *expressions, int field, Oid *type);
extern void mcs_expression_set_document(StreamExpressions *expressions, const Document *document);
extern bool mcs_expression_passes(StreamExpressions *expressions);
extern Datum mcs_expression_value(StreamExpressions *expressions, int field, bool *isnull);

/* ---- writer.c: as the stream's owner, one batch in the caller's transaction ---- */

typedef struct StreamWriter
{
	const Stream *stream;
	EventsTable *table;			/* with keep_events; else NULL, and there are no rows */
	EventRow   *rows;
	int			count;
	int			room;

	const char **positions;		/* careful: the token before each row */
	const char *position;		/* before the next one */

	EventRepeats repeats;		/* between the values of its events */
	Datum		stream_name;	/* the same in each row */
	Datum		status;
	TimestampTz received_at;	/* of the newest row, with its processing_time_ms */
	Datum		processing_time_ms;

	StringInfoData heads;		/* of the notification; data NULL where not wanted */
	int			heads_max;		/* how much of a payload they may take */
	bool		heads_full;

	int64		gap_event;		/* of the last row that stands for events that are missing; 0: none */
	const char *gap_token;
} StreamWriter;

/*
 * Begins a batch for a stream; everything lives in the current memory context,
 * which the caller resets after the transaction.
 */
extern StreamWriter *mcs_writer_begin(const Stream *stream);

/* Whether it wants to know more of an event than that there was one. */
extern bool mcs_writer_takes_values(const StreamWriter *writer);

/* Adds an event: EVENT_COLUMNS values and null flags, which the writer borrows until the end; NULL where it does not take them. */
extern void mcs_writer_add(StreamWriter *writer, const Datum *values, const bool *nulls, TimestampTz received_at);

/*
 * Adds a gap row; token is its resume_token and gives its cluster_time.  missing:
 * there are, or may be, events that no row is of.
 */
extern void mcs_writer_add_gap(StreamWriter *writer, const char *token, const char *from, const char *to, const char *reason, bool missing);

extern int	mcs_writer_count(const StreamWriter *writer);

/*
 * Writes the rows, the position and the notification.  False where the
 * position in the table is not the stream's: the caller must abort.
 * progress->last_event_id and ->events are filled in here.
 */
extern bool mcs_writer_finish(StreamWriter *writer, StreamProgress *progress);

/* After the rows: what follows from them in the same transaction.  mcs_writer_finish does it, too. */
extern void mcs_writer_announce(StreamWriter *writer, const StreamProgress *progress);

/*
 * For a batch that failed twice: its rows go one by one, and what on_error says
 * becomes of those that can't be written (worker/on_error.c).  Asked for right
 * after mcs_writer_begin; mcs_writer_at then says before each event where
 * reading is.
 */
extern void mcs_writer_be_careful(StreamWriter *writer);
extern void mcs_writer_at(StreamWriter *writer, const char *position);

/* What a gap row says of an event that could not be written, beside its reason. */
typedef struct GapCause
{
	const char *sqlstate;
	const char *error;
	const char *constraint;		/* NULL: none */
} GapCause;

/* The event columns of a gap row; cause may be NULL. */
extern void mcs_writer_gap_values(const Stream *stream, const char *token, const char *from, const char *to, const char *reason,
								  const GapCause *cause, Datum *values, bool *nulls);

/*
 * As anybody whose rights on the stream were checked: leaves a gap row for a span
 * of history that the stream did not see.  from and to are tokens, either may be
 * NULL.
 */
extern void mcs_writer_leave_gap(const char *stream, const char *from, const char *to, const char *reason);

/* ---- namespace.c: any backend ---- */

typedef struct StreamCollection
{
	char	   *database;
	char	   *collection;
} StreamCollection;

/*
 * What a stream follows and MongoDB has, in its order: a list of
 * StreamCollection.  A NOTICE names views and time series.  The collection of a
 * stream on one is there even if MongoDB does not have it.  Raises where MongoDB
 * does not answer; *now becomes its time.
 */
extern List *mcs_stream_collections(const Stream *stream, const MongoTarget *target, uint64 *now);

/* ---- snapshot.c: whoever tells how far a copy is ---- */

/* In words, palloc'ed; copies_before: unfinished ones of the stream that are made before it. */
extern char *mcs_stream_copy_reason(const CopyProgress *copy, int64 copies_before);

/* ---- token_table.c: the user's table change_stream_resume_tokens, as whoever wrote the rows ---- */

extern void mcs_token_table_init(void);

/* Writes what the trigger function has gathered in this transaction. */
extern void mcs_token_table_flush(void);

/* Writes a stream's state and error there, if the trigger is attached; in the caller's transaction. */
extern void mcs_token_table_state(const Stream *stream, StreamState state, const char *error);

/* ---- hook.c ---- */

extern void mcs_stream_hook_init(void);

#endif							/* MCS_STREAM_H */
