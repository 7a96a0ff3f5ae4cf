/*
 * stream/parked.h
 *	  Events that could not be written: told from failures that are not theirs,
 *	  put aside, and written later.
 */
#ifndef MCS_STREAM_PARKED_H
#define MCS_STREAM_PARKED_H

#include "event/table.h"

/* An error as the table keeps it; NULL for what it does not say. */
typedef struct ParkedError
{
	const char *sqlstate;
	const char *message;
	const char *detail;
	const char *context;
	const char *constraint;
} ParkedError;

/* ---- worker/culprit.c ---- */

/*
 * Whether an error can be an event's doing: false for what comes from outside
 * of it, as a cancel, a deadlock, a lock, a lack of memory or disk.
 */
extern bool mcs_error_is_events(const ErrorData *error);

/* Writes the parked events of a stream, which the caller may do, in place of their gap rows; returns how many. */
extern int64 mcs_parked_retry(const char *stream);

/* ---- tables/parked.c ---- */
extern void mcs_parked_insert(const char *stream, const EventRow *row, const ParkedError *error);

/* Locks the first parked events behind an event, at most limit of them: a list of EventRow without processing_*. */
extern List *mcs_parked_lock(const char *stream, int64 after, int limit);
extern void mcs_parked_delete(const char *stream, int64 event_id);
extern void mcs_parked_failed_again(const char *stream, int64 event_id, const ParkedError *error);
extern int64 mcs_parked_discard(const char *stream);
extern List *mcs_parked_passed(const char *stream, int64 event_id);

/* ---- tables/events.c ---- */

/*
 * Takes a gap row out of the events table and keeps its processing_* for the
 * event that comes in its place; false where there is no such row.  As the
 * stream's owner.
 */
extern bool mcs_events_take_gap(const char *stream, int64 event_id, EventRow *row);

#endif							/* MCS_STREAM_PARKED_H */
