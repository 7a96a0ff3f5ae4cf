/*
 * event/event.h
 *	  One change stream event of MongoDB and its columns, the same for the
 *	  events table and for foreign tables.
 *
 * An event is one BSON document, or several where the server split a large one
 * into fragments; it is read in place.  No field may be relied on but _id.
 * Uses the document family.
 */
#ifndef MCS_EVENT_H
#define MCS_EVENT_H

#include "mongo_change_stream.h"

#include "datatype/timestamp.h"
#include "base/base.h"
#include "document/document.h"
#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

/* The event columns, in the order in which tables have them. */
typedef enum EventColumn
{
	EVENT_OPERATION_TYPE,
	EVENT_DATABASE_NAME,
	EVENT_COLLECTION_NAME,
	EVENT_DOCUMENT_KEY,
	EVENT_FULL_DOCUMENT,
	EVENT_FULL_DOCUMENT_BEFORE_CHANGE,
	EVENT_UPDATE_DESCRIPTION,
	EVENT_CHANGED_FIELDS,
	EVENT_CLUSTER_TIME,
	EVENT_CHANGE_TIMESTAMP,
	EVENT_RESUME_TOKEN,
	EVENT_FULL_DOCUMENT_SOURCE,
	EVENT_EXTRA,
	EVENT_COLUMNS
} EventColumn;

/* Borrowed text, not terminated; data NULL where there is none. */
typedef struct EventText
{
	const char *data;
	uint32		length;
} EventText;

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
extern Datum mcs_event_column(const ChangeEvent *event, EventColumn column, bool looks_up, bool *isnull);
extern void mcs_event_values(const ChangeEvent *event, bool looks_up, Datum *values, bool *nulls);
extern TimestampTz mcs_event_timestamp(uint64 cluster_time);

/* ---- event/mask.c: what is not to be stored ---- */

typedef struct EventMask EventMask;

extern EventMask *mcs_event_mask_make(List *exclude, List *replace);
extern const char *mcs_event_mask_problem(const char *path);
extern void mcs_event_mask(const EventMask *mask, ChangeEvent *event);

/* ---- table.c: the events table below SQL ---- */

/* The columns of change_stream_events; those of EventColumn stand between the first two and received_at. */
typedef enum RowColumn
{
	ROW_STREAM_NAME,
	ROW_EVENT_ID,
	ROW_EVENT,					/* the first event column */
	ROW_RECEIVED_AT = ROW_EVENT + EVENT_COLUMNS,
	ROW_PROCESSING_STATUS,
	ROW_PROCESSING_TIME_MS,
	ROW_PROCESSING_ATTEMPTS,
	ROW_PROCESSING_ERROR,
	ROW_COLUMNS
} RowColumn;

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
extern void mcs_events_table_map(Relation relation, EventsMap *map);

/* Whether the newest error is one that mcs_events_table_map, or opening the table for inserts, has raised; asked once. */
extern bool mcs_events_table_take_misfit(void);

extern const char *mcs_events_table_column_name(RowColumn column);

/* ---- values of ours for columns whose types may have been altered ---- */

typedef struct EventsConversion EventsConversion;

/* Makes conversions ready in the current memory context; NULL where no column needs one. */
extern EventsConversion *mcs_events_table_conversion(Relation relation, const EventsMap *map);

extern bool mcs_events_table_converts(const EventsConversion *conversion, RowColumn column);

/* A value as the column has it, in the current memory context; conversion may be NULL.  Raises what the types raise. */
extern Datum mcs_events_table_convert(EventsConversion *conversion, RowColumn column, Datum value, bool *isnull);

/* ---- writing ---- */

/* The table as the executor wants it. */
typedef struct EventsTable
{
	CmdType		command;
	Relation	relation;
	EventsMap	map;
	EState	   *estate;
	ResultRelInfo *result;

	/* for inserts */
	EventsConversion *conversion;
	TupleDesc	desc;			/* a copy, not counted: pinning it for each slot would cost more than the slot */
	ExprState **defaults;		/* of columns that are not ours, by attribute; NULL for none */
	TupleTableSlot **slots;
	int			slot_count;
	MemoryContext values;		/* of what the slots hold and the rows do not */
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
extern void mcs_events_table_update_row(EventsTable *table, TupleTableSlot *old, TupleTableSlot *new);
extern void mcs_events_table_delete_row(EventsTable *table, TupleTableSlot *row);
extern void mcs_events_table_end_command(EventsTable *table);

/* Checks what is deferred to the end of the transaction, and lets nothing more be deferred in it. */
extern void mcs_events_table_check_deferred(void);

/* Opens the table's primary key, (stream_name, event_id). */
extern Relation mcs_events_table_open_key(Relation relation);

/*
 * Whether an error can be an event's doing: false for what comes from outside
 * of it, as a cancel, a deadlock, a lock, a lack of memory or disk.
 */
extern bool mcs_event_is_cause(const ErrorData *error);

#endif							/* MCS_EVENT_H */
