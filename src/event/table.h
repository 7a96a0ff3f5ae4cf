/*
 * event/table.h
 *	  The events table below SQL: where its columns are and what types they have,
 *	  and how rows are inserted, updated and deleted.
 */
#ifndef MCS_STREAM_EVENTS_TABLE_H
#define MCS_STREAM_EVENTS_TABLE_H

#include "stream/stream.h"

#include "nodes/execnodes.h"

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
extern void mcs_events_map(Relation relation, EventsMap *map);

/* Whether the newest error is one that mcs_events_map, or opening the table for inserts, has raised; asked once. */
extern bool mcs_events_take_misfit(void);

extern const char *mcs_row_column_name(RowColumn column);

/* ---- values of ours for columns whose types may have been altered ---- */

typedef struct EventsConversion EventsConversion;

/* Makes conversions ready in the current memory context; NULL where no column needs one. */
extern EventsConversion *mcs_events_conversion(Relation relation, const EventsMap *map);

extern bool mcs_events_converts(const EventsConversion *conversion, RowColumn column);

/* A value as the column has it, in the current memory context; conversion may be NULL.  Raises what the types raise. */
extern Datum mcs_events_convert(EventsConversion *conversion, RowColumn column, Datum value, bool *isnull);

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
extern void mcs_events_insert(EventsTable *table, const EventRow *rows, int count);

/* Between these, rows are updated or deleted, as by one statement. */
extern void mcs_events_begin_command(EventsTable *table, Snapshot snapshot);
extern void mcs_events_update_row(EventsTable *table, TupleTableSlot *old, TupleTableSlot *new);
extern void mcs_events_delete_row(EventsTable *table, TupleTableSlot *row);
extern void mcs_events_end_command(EventsTable *table);

/* Checks what is deferred to the end of the transaction, and lets nothing more be deferred in it. */
extern void mcs_check_deferred(void);

/* Opens the table's primary key, (stream_name, event_id). */
extern Relation mcs_events_open_key(Relation relation);

#endif							/* MCS_STREAM_EVENTS_TABLE_H */
