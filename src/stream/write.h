/*
 * stream/write.h
 *	  A batch of rows while it is gathered and written, for stream/write.c and
 *	  worker/culprit.c.
 */
#ifndef MCS_STREAM_WRITE_H
#define MCS_STREAM_WRITE_H

#include "lib/stringinfo.h"
#include "event/table.h"
#include "worker/worker_internal.h"

struct StreamWriter
{
	const Stream *stream;
	EventsTable *table;
	EventRow   *rows;
	int			count;
	int			room;

	const char **positions;		/* careful: the token before each row */
	const char *position;		/* before the next one */

	Datum		stream_name;	/* the same in each row */
	Datum		status;
	TimestampTz received_at;	/* of the newest row, with its processing_time_ms */
	Datum		processing_time_ms;

	StringInfoData heads;		/* of the notification; data NULL where not wanted */
	int			heads_max;		/* how much of a payload they may take */
	bool		heads_full;
};

/* What a gap row says of an event that could not be written, beside its reason. */
typedef struct GapCause
{
	const char *sqlstate;
	const char *error;
	const char *constraint;		/* NULL: none */
} GapCause;

/* The event columns of a gap row; cause may be NULL. */
extern void mcs_gap_values(const Stream *stream, const char *token, const char *from, const char *to, const char *reason,
						   const GapCause *cause, Datum *values, bool *nulls);

/* After the rows: what follows from them in the same transaction. */
extern void mcs_writer_announce(StreamWriter *writer, const StreamProgress *progress);

#endif							/* MCS_STREAM_WRITE_H */
