/*
 * fdw/fdw.h
 *	  Foreign tables: the history of changes that MongoDB's oplog holds, as
 *	  relations.
 *
 * A scan is a bounded read of a change stream, from a start that the query or
 * the table names to the time at which MongoDB answers the read's opening.
 * What the planner finds out goes to the executor as FdwPrivate; what a read
 * asks of MongoDB is a FdwRequest.
 *
 * Uses base, document, mongo, event, match and tables; nothing uses it but PostgreSQL.
 */
#ifndef MCS_FDW_H
#define MCS_FDW_H

#ifndef MCS_INSIDE_fdw
#error "fdw/fdw.h is for the files of its folder only"
#endif

#include "mongo_change_stream.h"

#include "event/event.h"
#include "foreign/fdwapi.h"
#include "mongo/mongo.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "nodes/pathnodes.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

/* Seconds from 1970, where MongoDB's times begin, to where PostgreSQL's do. */
#define UNIX_EPOCH_OFFSET_S ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY)

/* ---- a table and its options (fdw/table.c) ---- */

/* A foreign table: its options over those of its server, and which columns show what. */
typedef struct FdwTable
{
	Oid			relid;
	Oid			serverid;
	char	   *name;			/* as messages have it */
	char	   *server_name;
	char	   *database;		/* NULL: every database of the deployment */
	char	   *collection;		/* NULL: every collection of the database */
	const char *full_document;	/* MongoDB's spelling; NULL: where the user left it to us */
	const char *full_document_before_change;	/* the same */
	bool		show_expanded_events;
	Document   *pipeline;		/* array of stages, or NULL */
	bool		keeps_times;	/* the pipeline leaves clusterTime and wallTime as they are */
	char	   *start_at;
	char	   *resume_after;
	int			batch_size;		/* 0: the fastest */
	bool		strict;			/* a start older than the oplog is an error */
	int			natts;
	int8	   *columns;		/* by attribute number - 1: an EventColumn, or -1 for a dropped one */
} FdwTable;

extern FdwTable *mcs_fdw_table(Relation relation);

/* Appends the definitions of all event columns, as CREATE FOREIGN TABLE has them. */
extern void mcs_fdw_column_definitions(StringInfo command);

/* What of the table's images a read of these columns needs; NULL: nothing to ask for. */
extern const char *mcs_fdw_full_document(const FdwTable *table, const Bitmapset *columns, bool server_keeps_images);
extern const char *mcs_fdw_before_change(const FdwTable *table, const Bitmapset *columns, bool server_keeps_images);

/* Whether an update's full document is that of now. */
extern bool mcs_fdw_looks_up(const FdwTable *table);

/* ---- where a read begins and ends (fdw/bound.c) ---- */

/* Cluster times, seconds << 32 | ordinal, both inclusive. */
typedef struct FdwRange
{
	uint64		from;			/* 0: no condition says */
	uint64		to;				/* UINT64_MAX: no condition says */
	bool		empty;			/* no event can be meant */
} FdwRange;

/* How far an expression over a time lies from it (fdw/shift.c). */
typedef struct FdwShift
{
	bool		shifted;		/* false: it is the time itself */
	int			up;				/* hours later, at most */
	int			down;			/* hours earlier, at most */
	int			zones;			/* how often a time zone adds to both */
} FdwShift;

extern Node *mcs_fdw_unshift(Node *node, FdwShift *shift);
extern bool mcs_fdw_shift_compares(FdwShift *shift, Oid expression, Oid value);
extern Timestamp mcs_fdw_shift_value(Oid type, Datum value);
extern int64 mcs_fdw_shift_up(const FdwShift *shift);
extern int64 mcs_fdw_shift_down(const FdwShift *shift);

/* A condition that bounds a read: a time or a token compared with a value. */
typedef struct FdwBound
{
	int			column;			/* EVENT_CLUSTER_TIME, EVENT_CHANGE_TIMESTAMP or EVENT_RESUME_TOKEN */
	int			strategy;		/* of btree: column strategy value */
	bool		array;			/* column = ANY (value) */
	Oid			type;			/* of the value, or of the array's elements */
	bool		exact;			/* says all that the condition says */
	FdwShift	shift;			/* what of the column is compared */
	Expr	   *value;			/* while planning */
} FdwBound;

extern bool mcs_fdw_bound(const FdwTable *table, Index varno, Expr *clause, FdwBound *bound);
extern List *mcs_fdw_bound_numbers(const FdwBound *bound);
extern void mcs_fdw_bound_of_numbers(FdwBound *bound, const List *numbers);
extern void mcs_fdw_range_all(FdwRange *range);
extern void mcs_fdw_narrow(FdwRange *range, const FdwBound *bound, Datum value, bool isnull);

/* Where a read begins. */
typedef struct FdwStart
{
	ChangeStreamStart kind;
	const char *token;			/* to start after, or NULL */
	uint64		time;			/* to start at, or that of the token; UINT64_MAX: after all time */
	bool		asked;			/* by the query or an option; else the oplog's start is meant */
} FdwStart;

extern void mcs_fdw_start_after(FdwStart *start, const char *token);
extern void mcs_fdw_start(const FdwTable *table, const FdwRange *range, FdwStart *start);

/* ---- the stages after $changeStream (fdw/stages.c) ---- */

/*
 * What MongoDB is to filter and to send.  used are the columns that the query
 * shows or that it checks here, as EventColumns.
 */
extern Document *mcs_fdw_stages(const FdwTable *table, const Document *match, const Bitmapset *used);

/* ---- one read (fdw/read.c) ---- */

/* How a read went, for EXPLAIN. */
typedef struct FdwReadStatistics
{
	uint64		from;			/* cluster time it began at, 0: the start of the oplog */
	uint64		to;				/* the last cluster time it could see */
	int64		reads;
	int64		batches;
	int64		events;
	int64		bytes;
} FdwReadStatistics;

typedef struct FdwRequest
{
	const FdwTable *table;
	const MongoTarget *target;
	FdwRange	range;
	const Bitmapset *used;		/* columns that rows need */
	const Bitmapset *asked;		/* those and what the conditions need that MongoDB evaluates */
	const Document *match;		/* condition for MongoDB, or NULL */
	int			batch_size;		/* 0: the table's */
	const char *after;			/* token to start after, whatever the table and the range say; NULL: they do */
} FdwRequest;

/* What a read passes on to one that repeats it; zeroes before the first, but for until. */
typedef struct FdwLessons
{
	uint64	   *until;			/* the last cluster time that can be seen, 0 as long as it is not known */
	bool		without_images; /* MongoDB knows no whenAvailable */
	bool		split;			/* an event was too large to come whole */
	bool		told_lost;		/* the user was told that history begins later */
	bool		told_missing;	/* or that there is no such collection */
} FdwLessons;

typedef struct FdwRead FdwRead;

extern FdwRead *mcs_read_begin(const FdwRequest *request, FdwLessons *lessons);
extern bool mcs_read_next(FdwRead *read);
extern void mcs_read_event(FdwRead *read, ChangeEvent *event);
extern void mcs_read_statistics(const FdwRead *read, FdwReadStatistics *statistics);
extern void mcs_read_end(FdwRead *read);

/* ---- events that a stream keeps (fdw/kept_read.c) ---- */

/* A scan that may be of them. */
typedef struct FdwKeptRequest
{
	const FdwTable *table;
	const MongoTarget *target;
	const Bitmapset *asked;		/* columns that rows and conditions need */
	Oid			user;			/* as whom the table is read */
	Snapshot	snapshot;
} FdwKeptRequest;

/* What a read is of. */
typedef struct FdwKeptChoice
{
	bool		kept;			/* events that a stream keeps, and then the history; else that alone */
	bool		open;			/* if MongoDB's history begins later, which was not asked */
	char	   *text;			/* whose events, or why none are */
	char	   *hint;			/* what would help, or NULL */
} FdwKeptChoice;

typedef enum FdwKeptNext
{
	KEPT_ROW,
	KEPT_HISTORY,				/* the history goes on from here */
	KEPT_DONE					/* nothing more can be meant */
} FdwKeptNext;

typedef struct FdwKept FdwKept;

extern bool mcs_fdw_kept_is_mark(const Node *clause);
extern FdwKept *mcs_fdw_kept_begin(const FdwKeptRequest *request);
extern void mcs_fdw_kept_choose(FdwKept *kept, const FdwRange *range, bool may_ask, FdwKeptChoice *choice);
extern FdwKeptNext mcs_fdw_kept_next(FdwKept *kept, uint64 until);
extern void mcs_fdw_kept_row(const FdwKept *kept, TupleTableSlot *slot);
extern const char *mcs_fdw_kept_position(const FdwKept *kept);
extern void mcs_fdw_kept_end(FdwKept *kept);

/* ---- from the planner to the executor (fdw/plan.c) ---- */

/*
 * What stands in a plan's fdw_private.  Its fdw_exprs are the values of the
 * bounds, then those of the conditions that are sent; the executor has other
 * copies of the latter than the conditions, in which Vars became Params, so
 * they are paired by their place in the lists.
 */
typedef enum FdwPrivate
{
	FDW_USED,					/* event columns that rows need, list of int */
	FDW_ASKED,					/* those and what conditions need that are sent, list of int */
	FDW_BOUNDS,					/* of lists of int, see mcs_fdw_bound_numbers */
	FDW_KEPT,					/* columns that all conditions need, too, list of int; NIL: kept events may not be read */
	FDW_NUMBERS,				/* list of int: range table index, small limit */
	FDW_SENT,					/* conditions that MongoDB evaluates */
	FDW_SENT_VALUES				/* the expressions in them whose values are needed */
} FdwPrivate;

/* ---- the executor's part (fdw/scan.c) ---- */

/* A scan at work. */
typedef struct FdwScan
{
	FdwTable   *table;
	MongoTarget *target;		/* NULL in EXPLAIN alone */
	Oid			user;			/* as whom the table is read */
	Bitmapset  *used;			/* event columns that rows need */
	Bitmapset  *asked;			/* those and what conditions need that are sent */
	List	   *values;			/* of ExprState: fdw_exprs */
	MemoryContext value_context;	/* what depends on values, until they change */
	FdwRange	range;
	bool		range_known;	/* false: EXPLAIN alone, and it depends on parameters */
	Document   *match;			/* condition for MongoDB, or NULL */
	bool		begun;			/* one of the two is being read, or is read to its end */
	FdwKept    *kept;			/* NULL: not asked for, or not looked for yet */
	bool		reads_kept;		/* rows are of what is kept */
	FdwKeptChoice choice;
	bool		told;
	int64		kept_rows;
	FdwRead    *read;			/* NULL: none */
	FdwLessons	lessons;
	FdwReadStatistics statistics;
} FdwScan;

extern void mcs_fdw_begin(ForeignScanState *node, int flags);
extern TupleTableSlot *mcs_fdw_iterate(ForeignScanState *node);
extern void mcs_fdw_rescan(ForeignScanState *node);
extern void mcs_fdw_end(ForeignScanState *node);
extern void mcs_fdw_evaluate(ForeignScanState *node, bool explain);
extern bool mcs_fdw_wants_kept(const ForeignScanState *node);
extern void mcs_fdw_look_for_kept(ForeignScanState *node);

/* ---- IMPORT FOREIGN SCHEMA (fdw/import.c) ---- */

extern bool mcs_fdw_collection_missing(const FdwTable *table, const MongoTarget *target);
extern List *mcs_fdw_import(ImportForeignSchemaStmt *statement, Oid serverid);

/* ---- ANALYZE (fdw/analyze.c) ---- */

extern bool mcs_fdw_analyze(Relation relation, AcquireSampleRowsFunc *function, BlockNumber *pages);

/* ---- EXPLAIN (fdw/explain.c) ---- */

struct ExplainState;
extern void mcs_fdw_explain(ForeignScanState *node, struct ExplainState *es);

#endif							/* MCS_FDW_H */
