/*
 * tables/tables.h
 *	  The extension's own tables: what their rows mean, and every statement on
 *	  them.  They say what shall be; shared memory says what is.  Uses base,
 *	  document, mongo, event and shared; stream, worker, handler and dialect use
 *	  it, the dialect for the names of options only.
 */
#ifndef MCS_TABLES_H
#define MCS_TABLES_H

#include "base/base.h"
#include "document/document.h"
#include "event/event.h"
#include "shared/shared.h"

/* ---- tables/options.c: what can be said of streams and handlers ---- */

/* How an option is kept: as a member of struct Stream or Handler, and in its column. */
typedef enum OptionKind
{
	OPTION_TEXT,				/* char *; text */
	OPTION_WORD,				/* an enum; text */
	OPTION_TEXTS,				/* List of char *; text[] */
	OPTION_BOOL,				/* bool; boolean */
	OPTION_INT,					/* int; integer */
	OPTION_INTERVAL,			/* Interval *; interval */
	OPTION_DOCUMENT				/* Document *; document */
} OptionKind;

/* One of the words that an option may be. */
typedef struct OptionWord
{
	const char *text;			/* as it is kept, where MongoDB knows it in MongoDB's spelling; NULL ends a list */
	const char *sql;			/* as SQL would spell it, where that differs */
	int			value;			/* of the enum, for OPTION_WORD */
} OptionWord;

#define OPTION_CREATE_ONLY	0x01	/* alter_change_... does not change it */
#define OPTION_NO_RESET		0x02	/* reset of alter_change_... does not know it */
#define OPTION_NEW			0x04	/* 1.0's schema has neither argument nor column */
#define OPTION_FOR_MONGODB	0x08	/* a part of what MongoDB is asked */
#define OPTION_CLAUSE		0x10	/* in the dialect a clause of its own, and no name in WITH (...) */
#define OPTION_MILLISECONDS	0x20	/* in the dialect a bare number is one of milliseconds */

typedef struct Option
{
	const char *name;			/* of the argument, the column and the member */
	OptionKind	kind;
	const OptionWord *words;	/* what it may be; NULL: not one of some words */
	const char *fallback;		/* the default, as SQL's text; NULL: null, which is 0, NULL or NIL in the member */
	int			flags;
	size_t		offset;			/* of the member */
	size_t		size;
} Option;

typedef struct OptionList
{
	const Option *options;
	int			count;
} OptionList;

/*
 * The options of streams.  A new one is a row here, a member of struct Stream
 * and its meaning: the check in stream/definition.c that the row names, which
 * raises or returns what is kept, or NULL where any value of its type will do.
 * Its argument and its column are made in schema/.
 *
 *		name, kind, words, default, flags, check
 */
#define STREAM_OPTION_LIST(ROW) \
	ROW(filter, OPTION_TEXT, NULL, NULL, OPTION_FOR_MONGODB | OPTION_CLAUSE, check_filter) \
	ROW(add_fields, OPTION_TEXT, NULL, NULL, OPTION_CLAUSE, check_add_fields) \
	ROW(operations, OPTION_TEXTS, NULL, NULL, OPTION_FOR_MONGODB, check_operations) \
	ROW(pipeline, OPTION_DOCUMENT, NULL, NULL, OPTION_FOR_MONGODB, check_pipeline) \
	ROW(full_document, OPTION_TEXT, full_document_words, "default", OPTION_FOR_MONGODB, NULL) \
	ROW(full_document_before_change, OPTION_TEXT, before_change_words, "off", OPTION_FOR_MONGODB, NULL) \
	ROW(show_expanded_events, OPTION_BOOL, NULL, "false", OPTION_FOR_MONGODB, NULL) \
	ROW(max_await_time, OPTION_INTERVAL, NULL, "1 second", OPTION_MILLISECONDS, check_max_await_time) \
	ROW(batch_size, OPTION_INT, NULL, NULL, 0, check_batch_size) \
	ROW(resume_after, OPTION_TEXT, NULL, NULL, OPTION_CREATE_ONLY, NULL) \
	ROW(start_after, OPTION_TEXT, NULL, NULL, OPTION_CREATE_ONLY, NULL) \
	ROW(start_at, OPTION_TEXT, NULL, NULL, OPTION_CREATE_ONLY, NULL) \
	ROW(initial_snapshot, OPTION_BOOL, NULL, "false", OPTION_CREATE_ONLY, NULL) \
	ROW(retention, OPTION_INTERVAL, NULL, NULL, 0, check_retention) \
	ROW(notify, OPTION_WORD, notify_words, "ids", 0, NULL) \
	ROW(exclude_fields, OPTION_TEXTS, NULL, NULL, OPTION_NEW, check_hidden_fields) \
	ROW(mask_fields, OPTION_TEXTS, NULL, NULL, OPTION_NEW, check_hidden_fields) \
	ROW(on_error, OPTION_WORD, on_error_words, "stop", OPTION_NEW, NULL) \
	ROW(keep_events, OPTION_BOOL, NULL, "true", OPTION_NEW, NULL) \
	ROW(paused, OPTION_BOOL, NULL, "false", OPTION_CREATE_ONLY, NULL) \
	ROW(server, OPTION_TEXT, NULL, NULL, OPTION_CREATE_ONLY, NULL)

/* The options of handlers, in the same way: struct Handler and handler/definition.c. */
#define HANDLER_OPTION_LIST(ROW) \
	ROW(body, OPTION_TEXT, NULL, NULL, OPTION_NO_RESET | OPTION_CLAUSE, check_text) \
	ROW(procedure, OPTION_TEXT, NULL, NULL, OPTION_NO_RESET | OPTION_CLAUSE, check_text) \
	ROW(condition, OPTION_TEXT, NULL, NULL, 0, check_text) \
	ROW(start_at, OPTION_TEXT, NULL, "now", OPTION_CREATE_ONLY, NULL) \
	ROW(retry_attempts, OPTION_INT, NULL, "5", 0, check_retry_attempts) \
	ROW(retry_delay, OPTION_INTERVAL, NULL, "1 second", 0, check_delay) \
	ROW(max_retry_delay, OPTION_INTERVAL, NULL, "1 minute", 0, check_delay) \
	ROW(timeout, OPTION_INTERVAL, NULL, "1 minute", 0, check_timeout) \
	ROW(on_failure, OPTION_WORD, on_failure_words, "dead_letter", 0, NULL) \
	ROW(workers, OPTION_INT, NULL, "1", 0, check_workers) \
	ROW(each, OPTION_WORD, each_words, "event", OPTION_NEW | OPTION_CLAUSE, NULL) \
	ROW(batch_size, OPTION_INT, NULL, "1000", OPTION_NEW, check_batch_size) \
	ROW(paused, OPTION_BOOL, NULL, "false", OPTION_CREATE_ONLY, NULL)

/* The options of projections, in the same way: struct ChangeProjection and projection/definition.c. */
#define PROJECTION_OPTION_LIST(ROW) \
	ROW(refresh, OPTION_TEXT, NULL, "on change", OPTION_NEW, check_refresh) \
	ROW(min_interval, OPTION_INTERVAL, NULL, "1 second", OPTION_NEW, check_min_interval) \
	ROW(timeout, OPTION_INTERVAL, NULL, "10 minutes", OPTION_NEW, check_timeout) \
	ROW(window_length, OPTION_INTERVAL, NULL, NULL, OPTION_NEW, check_window_length) \
	ROW(streams, OPTION_TEXTS, NULL, NULL, OPTION_NEW, check_streams) \
	ROW(paused, OPTION_BOOL, NULL, "false", OPTION_CREATE_ONLY | OPTION_NEW, NULL)

extern const OptionList mcs_options_stream;
extern const OptionList mcs_options_handler;
extern const OptionList mcs_options_projection;

/* An option by its name; NULL where there is none. */
extern const Option *mcs_options_find(const OptionList *list, const char *name);

/* The names of those that have none of some flags, as a hint lists them. */
extern char *mcs_options_names(const OptionList *list, int without);

/* The type of its argument and column. */
extern Oid	mcs_options_type(const Option *option);

/* Gives an option of a definition a value, which is not null, or its default; what is none of its words is refused. */
extern void mcs_options_set(const Option *option, void *definition, Datum value);
extern void mcs_options_reset(const Option *option, void *definition);

/* The word that a text is, in either spelling; anything else is an error about the option. */
extern const OptionWord *mcs_options_word(const OptionWord *words, const char *text, const char *option);

/* ---- tables/streams.c: change_streams, and the events that dropped streams have left ---- */

typedef enum StreamNotify
{
	STREAM_NOTIFY_OFF,
	STREAM_NOTIFY_IDS,
	STREAM_NOTIFY_HEADS
} StreamNotify;

/* What becomes of an event that cannot be written. */
typedef enum StreamOnError
{
	STREAM_ON_ERROR_STOP,
	STREAM_ON_ERROR_SKIP,
	STREAM_ON_ERROR_PARK
} StreamOnError;

/* One row of change_streams and of change_stream_progress, palloc'ed; NULL pointers stand for SQL NULL. */
typedef struct Stream
{
	char	   *name;
	Oid			owner;
	char	   *database;		/* "*": every database */
	char	   *collection;

	/* options */
	char	   *filter;
	char	   *add_fields;
	List	   *operations;		/* of char *, NIL: all */
	Document   *pipeline;		/* an array, or NULL */
	char	   *full_document;	/* MongoDB's spelling */
	char	   *full_document_before_change;
	bool		show_expanded_events;
	Interval   *max_await_time;
	int			batch_size;		/* 0: ours to choose */
	char	   *resume_after;	/* where create_change_stream was told to start; only noted */
	char	   *start_after;
	char	   *start_at;
	bool		initial_snapshot;
	Interval   *retention;
	StreamNotify notify;
	List	   *exclude_fields; /* of char *, dotted paths */
	List	   *mask_fields;
	StreamOnError on_error;
	bool		keep_events;
	bool		paused;
	char	   *server;

	/* what follows from them, and what has become of the stream */
	int			max_await_ms;	/* max_await_time in milliseconds */
	Document   *pushed_filter;	/* a $match condition, or NULL */
	char	   *local_filter;
	List	   *settings;		/* of char *, "name=value" */
	char	   *stopped_state;	/* "history_lost", "error" or NULL */
	char	   *stopped_token;	/* of the event that it stopped at, or NULL */
	char	   *skip_token;		/* of one event to leave out, or NULL */
	bool		restored;		/* made in another cluster or database than this one */
	bool		has_handlers;
	int			definition_version;

	/* progress */
	char	   *resume_token;	/* to start after; NULL: start at now */
	int64		last_event_id;
	int64		events_processed;
	int			restarts;
	int			consecutive_errors;
	TimestampTz created_at;		/* another one, if a stream of the name was dropped and made again */
	bool		never_ran;		/* no position was saved since it was made */
	bool		keeps_history;	/* the schema has what follows, as 1.0's has not */
	char	   *last_event_token;	/* of the last event that can be looked for, or NULL */
	Document   *deployment;		/* what MongoDB said of itself, or NULL */
} Stream;

/* The stream, or NULL where there is none and missing_ok; for_update locks its row until the transaction's end. */
extern Stream *mcs_streams_load(const char *name, bool for_update, bool missing_ok);

/* What shall run: StreamListed of shared/shared.h. */
extern List *mcs_streams_list(void);
extern bool mcs_streams_is_uncommitted(const char *stream);

extern bool mcs_streams_kept_events(const char *stream, Oid *owner, int64 *last_event_id);
extern void mcs_streams_forget_kept_events(const char *stream);
extern bool mcs_streams_insert(const Stream *stream);
extern void mcs_streams_update(const Stream *stream);
extern void mcs_streams_pause(const char *stream);
extern void mcs_streams_resume(const char *stream, const char *skip_token);
extern void mcs_streams_forget_stop(const char *stream);
extern void mcs_streams_delete(const Stream *stream, bool keep_events);

extern void mcs_streams_stop(const char *stream, StreamState state, const char *reason, const char *token);
extern void mcs_streams_pause_restored(const char *stream);
extern void mcs_streams_forget_skip(const char *stream);

/* ---- tables/progress.c: change_stream_progress, the positions of streams ---- */

/* Everything one batch changes there. */
typedef struct StreamProgress
{
	const char *token;
	int64		last_event_id;
	int64		events;			/* written by this batch */
	TimestampTz last_event_at;	/* 0: no event */
	int64		filter_errors;	/* of this batch */
	const char *event_token;	/* of the last event read, NULL for none */
} StreamProgress;

/*
 * Saves a position.  expected_event_id and expected_token are those that the
 * caller believes are stored: false where others are, or where the definition is
 * no longer the one that the stream was loaded with, and nothing is changed.
 */
extern bool mcs_progress_save(const Stream *stream, int64 expected_event_id, const char *expected_token,
							  const StreamProgress *progress);
/*
 * The same for many streams that have moved without events, in one statement, and
 * without waiting for who has locked one of them.  Tells which were saved.
 */
typedef struct QuietProgress
{
	const Stream *stream;
	const char *token;
	bool		saved;
} QuietProgress;

extern void mcs_progress_save_quiet(QuietProgress *quiet, int count);
extern void mcs_progress_redefine(const char *stream);
extern void mcs_progress_set_position(const char *stream, const char *token);

/* From where on all events are kept, none missing, by the definition of now: from a position, or from the stream's own. */
extern void mcs_progress_keep_from(const char *stream, const char *token, int64 event_id);
extern void mcs_progress_keep_from_here(const char *stream);
extern void mcs_progress_error(const char *stream, const char *message);
extern void mcs_progress_deployment(const char *stream, const Document *deployment);
extern void mcs_progress_restart(const char *stream);

/*
 * The time of a position, seconds << 32 | ordinal: all that MongoDB has changed up
 * to then, itself included, lies before it.
 */
extern uint64 mcs_progress_time(const char *token);

/* Where a stream was when its events went. */
typedef struct TruncatedStream
{
	char	   *name;
	int64		last_event_id;
	char	   *token;			/* NULL where it has none yet */
} TruncatedStream;

extern List *mcs_progress_truncated(void);

/* ---- tables/deaths.c: processes that may die ---- */
extern bool mcs_deaths_begin(const char *stream, bool first, int *starts);
extern int	mcs_deaths_announce(const char *stream, const char *token);
extern void mcs_deaths_survive(const char *stream);
extern void mcs_deaths_end(const char *stream);

/* ---- tables/oplog.c: how much of MongoDB's oplog is left to a position ---- */

/* An oplog that holds a century is none that anybody needs to hear of. */
#define OPLOG_HOLDS_MAX		(100 * INT64CONST(366) * USECS_PER_DAY)

typedef struct OplogUse
{
	char	   *stream;
	char	   *token;
	int64		holds_s;		/* seconds that the oplog holds when it is full, as of the last look */
	int			told;			/* the percentage that was told of: 0, 50, 90 */
} OplogUse;

/* Notes how far back the oplog reached, and would when full; both in microseconds. */
extern void mcs_oplog_keep_window(const char *stream, int64 window, int64 holds);
extern List *mcs_oplog_uses(void);
extern void mcs_oplog_told(const char *stream, int level);

/* ---- tables/kept.c: events that are kept in place of MongoDB's history ---- */

/* A stream that keeps events of a collection, as a snapshot shows it; NULL pointers stand for SQL NULL. */
typedef struct KeptStream
{
	char	   *name;
	Oid			owner;
	bool		told;			/* the current user may know of it */
	bool		of_database;	/* not of the collection alone */

	/* what its rows are */
	char	   *leaves_out;		/* options by which events are missing or other ones; NULL: none */
	const char *hides;			/* one by which fields are */
	char	   *full_document;
	char	   *full_document_before_change;
	bool		show_expanded_events;
	bool		restored;		/* made in another cluster or database than this one */
	bool		history_lost;	/* it has stopped so */
	char	   *uri;			/* of the server, by which MongoDB was last seen to be the one that is followed */

	/* which there are: those with numbers behind kept_from_event, none missing unless somebody has deleted it */
	char	   *token;			/* its position */
	int64		last_event_id;
	char	   *kept_from;		/* the position behind which they are all there; NULL: not known */
	int64		kept_from_event;
} KeptStream;

/* Of which collection or database a foreign table is: NULL for every one. */
typedef struct KeptPlace
{
	const char *server;
	const char *database;
	const char *collection;
} KeptPlace;

/* Those whose events a role may read: a List of KeptStream, the collection's own first. */
extern List *mcs_kept_streams(const KeptPlace *place, Oid userid, Snapshot snapshot);

/* Whether there is one that could be read for a table, whatever it is asked for. */
extern bool mcs_kept_exist(Oid foreign_table, Oid userid);

/* The setting mongo_change_stream.kept_events. */
extern bool mcs_kept_enabled;
extern void mcs_kept_init(void);

/* ---- tables/restore.c: what a restore may have left of a stream in part ---- */

/* What is left of a stream that is not there. */
typedef struct StreamRemains
{
	int64		last_event_id;	/* 0: nothing */
	char	   *token;			/* the position behind it, NULL where that is not known */
} StreamRemains;

extern bool mcs_restore_mend_stream(const char *stream);
extern void mcs_restore_mend_dependents(const char *stream);
extern bool mcs_restore_remains(const char *stream, StreamRemains *remains);
extern int64 mcs_restore_pause_handlers(const char *stream);
extern int64 mcs_restore_pause_mirrors(const char *stream);

/* ---- tables/events.c: change_stream_events ---- */

/* How a round of deletions goes, in which each event that is too old is looked at once. */
typedef struct EventExpiry
{
	int64		begin;			/* a round begins behind this event: up to it all were deleted */
	int64		after;			/* the next chunk is behind this event; 0: the round is over, or has not begun */
	int			limit;			/* how many are tried at once; 0: not known yet */
	int64		kept;			/* that could not be deleted in this round */
	char		reason[256];	/* why the last of them */
} EventExpiry;

/*
 * Deletes a chunk of the events that were received longer ago than retention,
 * oldest first, and never the last; no more are begun with when it is until.  One
 * that something refers to (a foreign key) stays, and does not keep the others.
 * The caller is the stream's owner: triggers on the table run.
 */
extern void mcs_events_expire(const char *stream, const Interval *retention, TimestampTz until, EventExpiry *expiry);

/* Deletes all events of a stream, as its owner. */
extern void mcs_events_delete_all(const char *stream, Oid owner);

/*
 * Takes a gap row out of the events table and keeps its processing_* for the
 * event that comes in its place; false where there is no such row.  As the
 * stream's owner.
 */
extern bool mcs_events_take_gap(const char *stream, int64 event_id, EventRow *row);

/* ---- tables/parked.c: change_stream_parked_events, those that could not be written ---- */

/* An error as the table keeps it; NULL for what it does not say. */
typedef struct ParkedError
{
	const char *sqlstate;
	const char *message;
	const char *detail;
	const char *context;
	const char *constraint;
} ParkedError;

extern void mcs_parked_insert(const EventRow *row, const ParkedError *error);

/* Locks the first parked events behind an event, at most limit of them: a list of EventRow without processing_*. */
extern List *mcs_parked_lock(const char *stream, int64 after, int limit);
extern void mcs_parked_delete(const char *stream, int64 event_id);
extern void mcs_parked_failed_again(const char *stream, int64 event_id, const ParkedError *error);
extern int64 mcs_parked_discard(const char *stream);
extern List *mcs_parked_passed(const char *stream, int64 event_id);

/* ---- tables/snapshots.c: change_stream_snapshots, copies of collections, finished or not ---- */

/* One row: a collection as a stream, or a mirror, copies it; palloc'ed, NULL pointers stand for SQL NULL. */
typedef struct CopyProgress
{
	int64		number;			/* another one when the copy is begun again; by it they are in order */
	char	   *stream;
	char	   *database;
	char	   *collection;
	char	   *mirror;			/* NULL: for the stream, whose events the documents become */
	int64		documents_done;
	int64		documents_estimated;	/* -1: not known yet */
	Document   *last_key;		/* _id of the last document copied; NULL: none */
	bool		sweep;			/* first, rows of the table that MongoDB does not have are to go */
	Document   *swept_key;		/* _id of the last row that was looked for; NULL: none */
	bool		finished;		/* all documents are copied */
	int64		busy;			/* microseconds of work that it has taken; only read */

	/*
	 * The newest time at which MongoDB was read where it could not be read at the
	 * position's: exact again when the position has passed it.  0: exact.
	 */
	uint64		inexact_until;
	TimestampTz exact_since;	/* of MongoDB; 0: it is not, or has not been finished */
} CopyProgress;

/* All of a stream, its mirrors' too, in the order in which they are made. */
extern List *mcs_snapshots_load(const char *stream);

/*
 * Begins a copy, or begins it again: what was known of an earlier one is forgotten,
 * and its number is another.  With the stream's rows locked; redefines the stream.
 */
extern void mcs_snapshots_begin(const CopyProgress *copy);

/*
 * Saves how far it is; in the transaction that writes what was copied.  False
 * where it was begun again or forgotten since it was loaded: the caller must abort.
 */
extern bool mcs_snapshots_save(const CopyProgress *copy);

/* Notes that a chunk is written next, flushed by the commit; returns how many processes have done so without one that was saved. */
extern int	mcs_snapshots_announce(const CopyProgress *copy);

/*
 * The stream's position was moved, or is not certain: begins those again that
 * are not finished, and all of mirrors.  As mcs_snapshots_begin.
 */
extern void mcs_snapshots_begin_again(const char *stream);
/* Of a stream that was restored: begins those of mirrors again whose tables, or partitions of them, came back without a row. */
extern void mcs_snapshots_begin_emptied(const char *stream);

/* Forgets those of a stream (mirror NULL: all, its mirrors' too), or of a mirror. */
extern void mcs_snapshots_forget(const char *stream, const char *mirror);

/* ---- tables/mirrors.c: change_mirrors and change_mirror_progress ---- */

typedef enum MirrorOnDelete
{
	MIRROR_ON_DELETE_DELETE,
	MIRROR_ON_DELETE_MARK
} MirrorOnDelete;

/* One row of change_mirrors, palloc'ed; NULL pointers stand for SQL NULL. */
typedef struct Mirror
{
	char	   *name;
	char	   *stream;
	Oid			owner;			/* of the stream, and so of the mirror */
	char	   *database;
	char	   *collection;
	char	   *table;			/* qualified with its schema and quoted, as SQL has it */
	char	   *columns;		/* as they were given */
	char	   *filter;
	MirrorOnDelete on_delete;
	bool		paused;
	bool		owns_stream;	/* the stream was made for it, and goes with it */
	char	   *translated_columns; /* in plain SQL over the column "document"; what runs */
	char	   *translated_filter;
	List	   *settings;		/* of char *, "name=value" */
	char	   *stopped_reason; /* NULL: it has not */
} Mirror;

/* The stream's rows are locked before the mirror's: see tables/mirrors.c. */
extern Mirror *mcs_mirrors_load(const char *name, bool for_update, bool missing_ok);

/* How a mirror stands, as of the active snapshot, by which its table can be read, too. */
typedef struct MirrorStanding
{
	bool		paused;
	char	   *stopped_reason; /* NULL: it has not */
	bool		copied;
	bool		exact;			/* the table equals the collection as of the position's time */
	int64		documents_done;
	int64		documents_estimated;	/* -1: not known */
	char	   *token;			/* the stream's position; NULL: it has none yet */
} MirrorStanding;

/* NULL where there is no such mirror any more. */
extern MirrorStanding *mcs_mirrors_standing(const char *name);

/* Those that hang on a stream, by name, stopped and paused ones, too: List of Mirror. */
extern List *mcs_mirrors_of_stream(const char *stream);

/* With the stream's rows locked; these redefine the stream. */
/* The mirror that fills a table, by the table's name as in Mirror, other than one; NULL where there is none. */
extern char *mcs_mirrors_of_table(const char *table, const char *but_mirror);
extern bool mcs_mirrors_insert(const Mirror *mirror);
extern void mcs_mirrors_update(const Mirror *mirror);
extern void mcs_mirrors_pause(const char *name);
extern void mcs_mirrors_resume(const char *name);	/* also after it has stopped */
extern void mcs_mirrors_delete(const char *name);

/* Begins a mirror's copy, which the stream's process makes as soon as it sees it; sweep: rows may be there already. */
extern void mcs_snapshots_begin_mirror(const Mirror *mirror, bool sweep);

/*
 * The table that a mirror's rows have been written into since its copy was begun,
 * or since it was restored; given, and from now on this one, where none has yet.
 */
extern Oid	mcs_mirrors_written_table(const char *name, Oid table);

/* Those of a table that are written now, and that fill a column (NULL: whichever): a list of Mirror. */
extern List *mcs_mirrors_at_table(const char *schema, const char *table, Oid owner, const char *column);

/* Behind ALTER TABLE and ALTER SCHEMA: table NULL is each of the schema's, whoever owns it. */
extern void mcs_mirrors_rename_table(const char *schema, const char *table, Oid owner, const char *new_schema, const char *new_table);

/*
 * In the worker, which goes on without it: why, with the command that helps, and
 * the error that it was.  In a transaction that has saved the position, or in one
 * of its own: then false where somebody has changed the stream or its mirrors
 * since it was loaded, so that the reason may not be true any more.
 */
extern bool mcs_mirrors_stop(const Stream *stream, const char *name, const char *reason, const char *error);

/* Adds to what it has done; column_error names columns and says why the newest value did not fit, or is NULL. */
extern void mcs_mirrors_count(const char *name, int64 rows_written, int64 column_errors, const char *column_error);

/* ---- tables/mirror_fields.c: what mirrors say of fields ---- */

typedef struct MirrorFields
{
	char	   *table;			/* as in Mirror */
	char	   *columns;		/* as translated_columns there */
	bool		own;			/* the caller himself owns it */
} MirrorFields;

/*
 * Those with columns that the caller sees, the likeliest first, of a collection, of
 * the kept events of a stream (server NULL), or of their own table (as in Mirror;
 * NULL: none): List of MirrorFields.  Raises what reading the tables raises.
 */
extern List *mcs_mirror_fields_seen(const char *stream, const char *server, const char *database, const char *collection, const char *table);

/* ---- tables/roles.c: the streams that a server or a role stands behind ---- */

/* Their names: List of char *. */
extern List *mcs_roles_streams_of_server(const char *server, int *others);
extern void mcs_roles_rename_server(const char *from, const char *to);
extern List *mcs_roles_streams(Oid role);
extern void mcs_roles_drop_streams(Oid role);
extern void mcs_roles_reassign(Oid from, Oid to);

/* ---- tables/grants.c: change_stream_grants ---- */

/* Which streams of others the current user may see. */
typedef struct StreamsSeen
{
	bool		all;
	List	   *granted;		/* of String nodes */
} StreamsSeen;

extern StreamsSeen mcs_grants_load(void);
extern bool mcs_grants_allow(const StreamsSeen *seen, const char *stream, Oid owner);
extern void mcs_grants_add(const char *stream, Oid reader);
extern void mcs_grants_remove(const char *stream, Oid reader);
extern void mcs_grants_forget_stream(const char *stream);
extern void mcs_grants_forget_role(Oid role);
extern void mcs_grants_forget_missing(void);

/* ---- tables/handlers.c: change_handlers and change_handler_progress ---- */

#define HANDLER_MAX_WORKERS 64

/* What a handler's code runs on: one event after the other, or the events of a transaction at once. */
typedef enum HandlerEach
{
	HANDLER_EACH_EVENT,
	HANDLER_EACH_BATCH
} HandlerEach;

/* What becomes of an event on which the last attempt has failed. */
typedef enum HandlerOnFailure
{
	HANDLER_ON_FAILURE_DEAD_LETTER,
	HANDLER_ON_FAILURE_STOP
} HandlerOnFailure;

/* One row of change_handlers with what it needs of its stream, palloc'ed; NULL pointers stand for SQL NULL. */
typedef struct Handler
{
	char	   *name;
	char	   *stream;
	Oid			owner;			/* of the stream, and so of the handler */

	/* options */
	char	   *body;
	char	   *procedure;
	char	   *condition;
	char	   *start_at;
	int			retry_attempts;
	Interval   *retry_delay;
	Interval   *max_retry_delay;
	Interval   *timeout;
	HandlerOnFailure on_failure;
	int			workers;
	HandlerEach each;
	int			batch_size;
	bool		paused;

	/* what follows from them, and what has become of the handler */
	char	   *translated_body;
	char	   *translated_condition;
	List	   *settings;		/* of char *, "name=value" */
	char	   *stopped_reason;
	bool		restored;		/* the stream was made in another cluster or database */
} Handler;

/* An error as a dead letter keeps it. */
typedef struct HandlerError
{
	char	   *sqlstate;
	char	   *message;
	char	   *detail;
	char	   *context;
} HandlerError;

/* Where one worker of a handler is: its row of change_handler_progress. */
typedef struct HandlerPosition
{
	int64		last_event_id;	/* everything up to here that is this worker's is done */
	int64		definition_version; /* of the handler; to be read before its definition is */
	int64		failed_event;	/* failed and not done yet; 0: none */
	int			attempts;		/* that have failed on it */
	TimestampTz next_retry_at;
	HandlerError error;
} HandlerPosition;

extern Handler *mcs_handlers_load(const char *name, bool for_update, bool missing_ok);
extern bool mcs_handlers_insert(const Handler *handler, int64 last_event_id);
extern void mcs_handlers_update(const Handler *handler);
extern void mcs_handlers_pause(const char *name);
extern void mcs_handlers_resume(const char *name);
extern void mcs_handlers_stop(const char *name, const char *reason);
extern void mcs_handlers_delete(const char *name);

/* The position of a worker in palloc'ed memory; NULL where it has none. */
extern HandlerPosition *mcs_handlers_position(const char *name, int worker);

/* Locks all positions of a handler; false where they differ.  *least and *greatest may be NULL. */
extern bool mcs_handlers_lock_positions(const char *name, int64 *least, int64 *greatest);
extern void mcs_handlers_set_workers(const char *name, int workers, int64 last_event_id);

/* With the positions locked: an event that has failed is due at once, with all its attempts before it. */
extern void mcs_handlers_forget_attempts(const char *name);

/* With the handler's row and the positions locked: what its workers have made and not committed is not to be. */
extern void mcs_handlers_redefine(const char *name);

/*
 * Moves a worker from a position to an event; false where it is not there any
 * more, or somebody else has changed the definition under which it came there.
 */
extern bool mcs_handlers_save(const char *name, int worker, const HandlerPosition *from, int64 to, int64 events);

/* Notes a failed attempt at an event, or with next_retry_at 0 the last one; false as above. */
extern bool mcs_handlers_save_failure(const char *name, int worker, const HandlerPosition *position);

/* What is noted about the process itself, for those that die: see handler/run.c. */
extern bool mcs_handlers_begin(const char *name, int worker, bool first, int64 *running_event, int *repeats, int *starts);
extern void mcs_handlers_ready(const char *name, int worker);
extern void mcs_handlers_announce(const char *name, int worker, int64 event_id);
extern void mcs_handlers_end(const char *name, int worker);

/* Of all handlers of a stream. */
extern bool mcs_handlers_are_behind(const char *stream, int64 event_id);
extern void mcs_handlers_lock_all(const char *stream);

/* Where another handler of a stream is, by worker: what decides an event's status. */
typedef struct HandlerReached
{
	char	   *handler;
	int			worker;
	int			workers;
	int64		last_event_id;
	int64		failed_event;
	bool		gave_up;		/* it has stopped at failed_event */
} HandlerReached;

extern List *mcs_handlers_reached(const char *stream, const char *but_handler);

/* ---- tables/dead_letters.c: change_handler_dead_letters ---- */

typedef struct DeadLetter
{
	int64		event_id;
	Datum		event;			/* of type change_stream_events */
	int			attempts;
} DeadLetter;

extern void mcs_dead_letters_insert(const Handler *handler, int64 event_id, const HandlerError *error, int attempts);
extern bool mcs_dead_letters_exist(const char *stream, int64 event_id, const char *but_handler);
extern int64 mcs_dead_letters_count(const char *stream);

/* How many wait, of a handler or, where it is NULL, of events that the stream has parked. */
typedef struct DeadLetterCount
{
	char	   *stream;
	Oid			owner;			/* of the stream */
	char	   *handler;
	int64		waiting;
} DeadLetterCount;

extern List *mcs_dead_letters_counts(void);

/* Locks the first dead letters behind an event, at most limit of them: a list of DeadLetter. */
extern List *mcs_dead_letters_lock(const char *handler, int64 after, int limit);
extern void mcs_dead_letters_delete(const char *handler, int64 event_id);
extern void mcs_dead_letters_failed_again(const char *handler, int64 event_id, const HandlerError *error);
extern int64 mcs_dead_letters_discard(const char *handler);

/* ---- tables/projections.c: change_projections and what belongs to it ---- */

/* One row of change_projections, palloc'ed; NULL pointers stand for SQL NULL. */
typedef struct ChangeProjection
{
	char	   *name;			/* the view, qualified with its schema and quoted, as SQL has it */

	/* options */
	char	   *refresh;
	Interval   *min_interval;
	Interval   *timeout;
	Interval   *window_length;
	List	   *streams;		/* of char *; NIL: those that the definition shows */
	bool		paused;

	/* what follows from them, and what has become of it */
	Interval   *every;			/* NULL: on change */
	List	   *settings;		/* of char *, "name=value" */
	char	   *stopped_reason;
} ChangeProjection;

/* A projection that shall run, as its process looks at it. */
typedef struct ProjectionStanding
{
	ChangeProjection *projection;
	char	   *seen;			/* where its sources are; NULL: it has none */
	int64		reached;
	TimestampTz closed_until;	/* end of the last window that is over; 0: none, or it has no windows */
	TimestampTz told_until;		/* of the last that was told of; 0: none yet */
	bool		concurrently;
	int			failures;		/* in a row */
	TimestampTz due_at;			/* 0: not before something happens */
	TimestampTz look_at;		/* when there may be something to do; 0: the same */
} ProjectionStanding;

/* How a refresh went, as its transaction saves it. */
typedef struct ProjectionRefresh
{
	TimestampTz began;
	int64		took;			/* microseconds */
	TimestampTz next_at;
} ProjectionRefresh;

extern ChangeProjection *mcs_projections_load(const char *name, bool for_update, bool missing_ok);
extern bool mcs_projections_insert(const ChangeProjection *projection);
extern void mcs_projections_update(const ChangeProjection *projection);
extern void mcs_projections_pause(const char *name);
extern void mcs_projections_resume(const char *name);
extern void mcs_projections_forget_failures(const char *name);
extern void mcs_projections_stop(const char *name, const char *reason);
extern void mcs_projections_delete(const char *name);

/* Looks again at what a projection, or (NULL) each of an owner's, shows; how many sources the one has. */
extern int	mcs_projections_find_sources(const char *name, Oid owner);

/* The names of the streams among them; List of char *. */
extern List *mcs_projections_source_streams(const char *name);

/* The same of all projections of an owner, and "" where one shows another projection. */
extern List *mcs_projections_followed_streams(Oid owner);

/* In the process of an owner's projections: those that shall run, the one that is due first in front; and what it notes of a refresh. */
extern List *mcs_projections_standings(Oid owner);
extern int	mcs_projections_begin(Oid owner, bool first);
extern List *mcs_projections_died(Oid owner, int deaths);
extern bool mcs_projections_announce(const char *name);
extern void mcs_projections_save(const ProjectionStanding *standing, const ProjectionRefresh *refresh);
extern void mcs_projections_failed(const char *name, const HandlerError *error, TimestampTz next_at);

/* Behind DROP, and ALTER ... RENAME or SET SCHEMA: as mcs_mirrors_rename_table. */
extern void mcs_projections_forget_missing(void);
extern void mcs_projections_rename_view(const char *schema, const char *view, const char *new_schema, const char *new_view);

#endif							/* MCS_TABLES_H */
