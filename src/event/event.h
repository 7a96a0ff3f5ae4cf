/*
 * event/event.h
 *	  One change stream event of MongoDB and its columns, the same for the
 *	  events table and for foreign tables.
 *
 * An event is one BSON document, or several where the server split a large one
 * into fragments; it is read in place.  No field may be relied on but _id.
 * Of the events table all is here that is below SQL: what its columns are, and how
 * its rows are read and written; statements on it are the folder tables' affair.
 *
 * Uses base, document and mongo; fdw, match, stream and all above build on it.
 */
#ifndef MCS_EVENT_H
#define MCS_EVENT_H

#include "mongo_change_stream.h"

#include "base/base.h"
#include "catalog/pg_type_d.h"
#include "datatype/timestamp.h"
#include "document/document.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

/* ---- columns.c: the columns of events ---- */

/*
 * The columns of change_stream_events, in the order in which the extension made
 * them.  No other list of them is kept: enums, tables, names and statements
 * are made of this one by a macro for each kind of row.
 *
 *	EVENT(SYMBOL, name, type, declaration, has_fields, path, fields...)
 *		a column of the event itself, which foreign tables have, too; see
 *		EventColumnInfo.  What computes it is in mcs_event_column.
 *	ROW(SYMBOL, name, type, declaration)
 *		a column that only the table has.
 *
 * The type document is InvalidOid and "@.document", since it has another OID in
 * each database and stands in the extension's schema.
 */
#define EVENT_COLUMN_LIST(ROW, EVENT) \
	ROW(STREAM_NAME, stream_name, TEXTOID, "text COLLATE \"C\"") \
	ROW(EVENT_ID, event_id, INT8OID, "bigint") \
	EVENT(OPERATION_TYPE, operation_type, TEXTOID, "text", false, "operationType", "operationType") \
	EVENT(DATABASE_NAME, database_name, TEXTOID, "text", false, "ns.db", "ns") \
	EVENT(COLLECTION_NAME, collection_name, TEXTOID, "text", false, "ns.coll", "ns") \
	EVENT(DOCUMENT_KEY, document_key, InvalidOid, "@.document", false, "documentKey", "documentKey") \
	EVENT(FULL_DOCUMENT, full_document, InvalidOid, "@.document", true, "fullDocument", "fullDocument") \
	EVENT(FULL_DOCUMENT_BEFORE_CHANGE, full_document_before_change, InvalidOid, "@.document", true, \
		  "fullDocumentBeforeChange", "fullDocumentBeforeChange") \
	EVENT(UPDATE_DESCRIPTION, update_description, InvalidOid, "@.document", true, "updateDescription", "updateDescription") \
	EVENT(CHANGED_FIELDS, changed_fields, TEXTARRAYOID, "text[]", true, \
		  NULL, "operationType", "fullDocument", "updateDescription") \
	EVENT(CLUSTER_TIME, cluster_time, TIMESTAMPTZOID, "timestamptz", false, "clusterTime", "clusterTime") \
	EVENT(CHANGE_TIMESTAMP, change_timestamp, TIMESTAMPTZOID, "timestamptz", false, "wallTime", "wallTime", "clusterTime") \
	EVENT(RESUME_TOKEN, resume_token, TEXTOID, "text COLLATE \"C\"", false, "_id._data", "_id") \
	/* whether there is a document, as whose sign its _id is enough */ \
	EVENT(FULL_DOCUMENT_SOURCE, full_document_source, TEXTOID, "text", false, NULL, "operationType", "fullDocument._id") \
	/* of all the fields that no other column shows */ \
	EVENT(EXTRA, extra, InvalidOid, "@.document", true, NULL, NULL) \
	ROW(RECEIVED_AT, received_at, TIMESTAMPTZOID, "timestamptz") \
	ROW(PROCESSING_STATUS, processing_status, TEXTOID, "text") \
	ROW(PROCESSING_TIME_MS, processing_time_ms, NUMERICOID, "numeric") \
	ROW(PROCESSING_ATTEMPTS, processing_attempts, INT4OID, "int") \
	ROW(PROCESSING_ERROR, processing_error, TEXTOID, "text")

#define EVENT_COLUMN_LEFT_OUT(...)

/* EVENT_OPERATION_TYPE and so on: the columns of an event. */
typedef enum EventColumn
{
#define EVENT_COLUMN_SYMBOL(symbol, ...) EVENT_##symbol,
	EVENT_COLUMN_LIST(EVENT_COLUMN_LEFT_OUT, EVENT_COLUMN_SYMBOL)
#undef EVENT_COLUMN_SYMBOL
	EVENT_COLUMNS
} EventColumn;

/* ROW_STREAM_NAME and so on: all columns of the table. */
typedef enum RowColumn
{
#define ROW_COLUMN_SYMBOL(symbol, ...) ROW_##symbol,
	EVENT_COLUMN_LIST(ROW_COLUMN_SYMBOL, ROW_COLUMN_SYMBOL)
#undef ROW_COLUMN_SYMBOL
	ROW_COLUMNS,
	ROW_EVENT = ROW_OPERATION_TYPE	/* the first event column; the others follow as in EventColumn */
} RowColumn;

/* Fields that one column may be made of, and a NULL behind them. */
#define EVENT_COLUMN_FIELDS 4

typedef struct EventColumnInfo
{
	const char *name;
	Oid			type;			/* InvalidOid: document */
	bool		has_fields;		/* shows fields of the document beside its key: masks are about it, a too large event lacks it */
	const char *path;			/* where a change event of MongoDB's has the value itself; NULL: it is computed */
	const char *fields[EVENT_COLUMN_FIELDS];	/* what of such an event it is made of, ended by NULL */
} EventColumnInfo;

typedef struct RowColumnInfo
{
	const char *name;
	Oid			type;
	const char *declaration;	/* the type as CREATE TABLE has it, "@" for the extension's schema */
} RowColumnInfo;

extern const EventColumnInfo mcs_event_columns[EVENT_COLUMNS];
extern const RowColumnInfo mcs_event_row_columns[ROW_COLUMNS];

/* The names in SQL, each behind a comma: of the event columns, of all columns. */
#define EVENT_COLUMN_NAME(symbol, name, ...) ", " #name
#define EVENT_COLUMN_NAMES EVENT_COLUMN_LIST(EVENT_COLUMN_LEFT_OUT, EVENT_COLUMN_NAME)
#define ROW_COLUMN_NAMES EVENT_COLUMN_LIST(EVENT_COLUMN_NAME, EVENT_COLUMN_NAME)

/* "operation_type, ..., extra", to be shown or selected. */
extern const char *mcs_event_column_names(void);

/* The OID of a column's type in this database, given that in the list. */
extern Oid	mcs_event_column_type(Oid listed);

/* Whether a field on the top of MongoDB's change events is shown by a column of its own. */
extern bool mcs_event_has_column_for(const char *field);

/* ---- event.c: one event ---- */

/* Borrowed text, not terminated; data NULL where there is none. */
typedef struct EventText
{
	const char *data;
	uint32		length;
} EventText;

extern bool mcs_event_text_is(const EventText *text, const char *string);

/* Takes a string as it is, to compare it with others; what is no string changes nothing. */
extern void mcs_event_borrow_text(const DocumentValue *value, EventText *text);

/* Where an event splits: fragment i of n, both 0 for a whole one. */
typedef struct EventFragment
{
	int			number;
	int			of;
} EventFragment;

/* An event taken apart: everything points into the bytes of its fragments. */
typedef struct ChangeEvent
{
	EventText	token;			/* of the last fragment */
	EventText	operation_type;
	EventText	database;
	EventText	collection;
	EventText	to_database;	/* of a rename */
	EventText	to_collection;
	DocumentValue document_key; /* type 0 where missing */
	DocumentValue full_document;
	DocumentValue full_document_before_change;
	DocumentValue update_description;
	DocumentValue disambiguated_paths;	/* where a server has them beside the description; they are put into it */
	uint64		cluster_time;	/* seconds << 32 | ordinal; 0 where missing */
	int64		wall_time;		/* ms since 1970 */
	bool		has_wall_time;
	EventFragment fragment;		/* which of an event's fragments this is, if it was taken apart alone */
	bool		has_fragment;	/* a splitEvent was there; the first one counts */
	bool		too_large;		/* read without its images, since it was too large with them */
	List	   *others;			/* of EventField: every field without a column */
} ChangeEvent;

typedef struct EventField
{
	const char *key;			/* terminated, in place */
	DocumentValue value;
} EventField;

extern EventFragment mcs_event_fragment(const uint8 *event, uint32 size);

/* A list of fragments with a copy of one more, which outlives the reply it came in. */
extern List *mcs_event_keep_fragment(List *fragments, const DocumentValue *fragment, MemoryContext context);
extern void mcs_event_parse(ChangeEvent *event, const DocumentValue *fragments, int count);

/*
 * Whether an error can be an event's doing: false for what comes from outside
 * of it, as a cancel, a deadlock, a lock, a lack of memory or disk.
 */
extern bool mcs_event_is_cause(const ErrorData *error);

/* ---- columns.c: what the columns show of an event ---- */

/* looks_up: an update's full document was looked up later (updateLookup), not kept as an image of its time. */
extern Datum mcs_event_column(const ChangeEvent *event, EventColumn column, bool looks_up, bool *isnull);

/*
 * Values of the event before, which are taken once more where the next event has
 * the same: most have.  Begins as all zero; lives as long as the memory context
 * in which values are made.
 */
typedef struct EventRepeats
{
	Datum		texts[EVENT_COLUMNS];	/* of columns that are texts; 0: none yet */
	StringInfoData keys;		/* of the whole document that changed_fields is of, each with its zero; data NULL: none */
	Datum		changed_fields;
} EventRepeats;

extern void mcs_event_values(const ChangeEvent *event, bool looks_up, EventRepeats *repeats, Datum *values, bool *nulls);
extern TimestampTz mcs_event_timestamp(uint64 cluster_time);
extern TimestampTz mcs_event_second(uint64 cluster_time);

/* ---- mask.c: what is not to be stored ---- */

typedef struct EventMask EventMask;

extern EventMask *mcs_event_mask_make(List *exclude, List *replace);
extern const char *mcs_event_mask_problem(const char *path);
extern void mcs_event_mask(const EventMask *mask, ChangeEvent *event);

/* The same of a document that is no event's; its _id stays. */
extern void mcs_event_mask_document(const EventMask *mask, DocumentValue *document);

/* ---- events_map.c: our columns in the events table as it is now ---- */

/* A row as we make it, in the types that the extension gave its columns; it borrows what it points to. */
typedef struct EventRow
{
	Datum		values[ROW_COLUMNS];
	bool		nulls[ROW_COLUMNS];
} EventRow;

/* Where our columns are in the table as it is now. */
typedef struct EventsMap
{
	AttrNumber	attributes[ROW_COLUMNS];
	bool		is_document[ROW_COLUMNS];	/* of the columns that hold documents: not altered to another type */
} EventsMap;

/*
 * Finds our columns by name and checks their types; raises what is wrong, with
 * the command that mends it.  What was found may be read as it is: columns
 * that hold documents where is_document says so, all others in any case.
 */
extern void mcs_events_map(Relation relation, EventsMap *map);

/* Whether a look at the table would raise nothing, and its primary key is there. */
extern bool mcs_events_map_fits(Relation relation);

/* Whether the newest error is one that mcs_events_map, or opening the table for inserts, has raised; asked once. */
extern bool mcs_events_map_take_misfit(void);

/* An error if the table is not one whose rows a crash would leave. */
extern void mcs_events_map_check_logged(Relation relation);

/* Opens the table's primary key, (stream_name, event_id). */
extern Relation mcs_events_map_open_key(Relation relation);

/* Makes our values those of columns whose types have been altered. */
typedef struct EventsConversion EventsConversion;

/* Makes conversions ready in the current memory context; NULL where no column needs one. */
extern EventsConversion *mcs_events_map_conversion(Relation relation, const EventsMap *map);

extern bool mcs_events_map_converts(const EventsConversion *conversion, RowColumn column);

/* A value as the column has it, in the current memory context; conversion may be NULL.  Raises what the types raise. */
extern Datum mcs_events_map_convert(EventsConversion *conversion, RowColumn column, Datum value, bool *isnull);

/* Frees what conversions have left beside their results. */
extern void mcs_events_map_reset_conversion(EventsConversion *conversion);

/* ---- events_table.c: writing the events table ---- */

/* The table as the executor wants it. */
typedef struct EventsTable
{
	CmdType		command;
	Relation	relation;
	EventsMap	map;
	EState	   *estate;
	ResultRelInfo *result;
	EventsConversion *conversion;	/* for inserts and updates; NULL: none is needed */

	/* for inserts */
	TupleDesc	desc;			/* a copy, not counted: pinning it for each slot would cost more than the slot */
	ExprState **defaults;		/* of columns that are not ours, by attribute; NULL for none */
	TupleTableSlot **slots;
	int			slot_count;
	MemoryContext values;		/* of what the slots hold and the rows do not */

	/* for updates */
	const RowColumn *updated;
	int			updated_count;
	TupleTableSlot *new_row;

	/* for deletes */
	TupleTableSlot *newest;		/* the newest version of a row */
} EventsTable;

/* Opens the table for one kind of command, as whoever the session is; updated: columns of ours, for an UPDATE. */
extern EventsTable *mcs_events_table_open(CmdType command, const RowColumn *updated, int updated_count);
extern void mcs_events_table_close(EventsTable *table);

/*
 * Inserts rows as one statement would, with all that the table's owner has hung
 * on it.  The rights of the table are not asked.
 */
extern void mcs_events_table_insert(EventsTable *table, const EventRow *rows, int count);

/* Between these, rows are updated or deleted, as by one statement. */
extern void mcs_events_table_begin_command(EventsTable *table, Snapshot snapshot);
extern void mcs_events_table_end_command(EventsTable *table);

/* Writes a row again with other values in the updated columns; they are converted where they stand. */
extern void mcs_events_table_update_row(EventsTable *table, TupleTableSlot *old, Datum *values, bool *nulls);

/*
 * Deletes the row at a place, in its newest version: somebody may be writing how
 * its processing went.  False where somebody has it locked and wait is not allowed.
 */
extern bool mcs_events_table_delete_row(EventsTable *table, ItemPointer place, bool wait);

/* Checks what is deferred to the end of the transaction, and lets nothing more be deferred in it. */
extern void mcs_events_table_check_deferred(void);

/* ---- events_scan.c: reading one stream's rows ---- */

typedef struct EventsScan
{
	Relation	relation;
	EventsMap	map;
	Relation	index;
	struct IndexScanDescData *scan;
	TupleTableSlot *slot;		/* the row that the scan stands on */
	Snapshot	snapshot;
	Datum		stream;			/* its name */
	MemoryContext context;
} EventsScan;

/* Begins at the first row behind an event; table: what the rows are to be written by, or NULL. */
extern void mcs_events_scan_begin(EventsScan *scan, const EventsTable *table, const char *stream, int64 after);

/* The same by a snapshot of the caller's, which lives as long. */
extern void mcs_events_scan_begin_snapshot(EventsScan *scan, Snapshot snapshot, const char *stream, int64 after);

/* Goes on at the first row behind an event. */
extern void mcs_events_scan_seek(EventsScan *scan, int64 after);

/* Goes to the next row and returns its event_id; 0 at the end. */
extern int64 mcs_events_scan_next(EventsScan *scan);
extern Datum mcs_events_scan_get(const EventsScan *scan, RowColumn column, bool *isnull);
extern void mcs_events_scan_end(EventsScan *scan);

#endif							/* MCS_EVENT_H */
