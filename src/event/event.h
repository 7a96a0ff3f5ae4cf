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
#include "document/document.h"
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

#endif							/* MCS_EVENT_H */
