/*
 * stream/truncate.c
 *	  TRUNCATE of the events table: who had not read all of it yet is told.
 *
 * Handlers, and programs that read the events behind the last one that they
 * have seen, would pass over what is gone without a sign.  So the extension has a
 * trigger of its own on the table, which leaves a gap row for each stream, in the
 * place and with the number of its last event: whoever is behind comes to it, who
 * has read everything does not, and no number is used up.
 *
 * TRUNCATE has locked the table against everybody.  A stream's worker locks its
 * position first and then waits for the table, so to lock the position here would
 * be a deadlock; it is only read, as it was last committed: what the table held is
 * what was committed with it.  That is asked of the newest snapshot also in a
 * transaction that keeps an older one, since TRUNCATE itself knows no snapshots.
 *
 * Who may truncate need not be anybody's owner: a row is written as the owner of
 * its stream, restricted as for maintenance, as its worker writes it; and the
 * trigger works on the extension's own table only.  A stream whose owner is gone
 * has nobody to write it, nor anybody who follows it.
 */
#include "mongo_change_stream.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_events_truncated);

/* Puts the gap row in the place of a stream's last event. */
static void
write_gap(const TruncatedStream *truncated)
{
	Stream	   *stream = mcs_streams_load(truncated->name, false, true);
	StreamProgress progress = {.last_event_id = truncated->last_event_id};
	StreamWriter *writer;
	OwnerScope	scope;

	if (stream == NULL)
		return;					/* made behind the snapshot of the transaction */
	/* the writer numbers behind this: the row gets the number of the last event, which is gone */
	stream->last_event_id = truncated->last_event_id - 1;
	stream->resume_token = truncated->token;
	/* handlers that are past it do not come back to say that they are done */
	stream->has_handlers = stream->has_handlers && mcs_handlers_are_behind(stream->name, truncated->last_event_id);
	mcs_owner_begin(&scope, stream->owner, NIL, false);
	writer = mcs_writer_begin(stream);
	mcs_writer_add_gap(writer, truncated->token, NULL, truncated->token,
					   "the table of events was truncated: events up to here that were not read before can't be read any more", true);
	/* not mcs_writer_finish: the position stays where it is */
	mcs_events_table_insert(writer->table, writer->rows, mcs_writer_count(writer));
	mcs_events_table_close(writer->table);
	mcs_writer_announce(writer, &progress);
	mcs_owner_end(&scope);
	/* what they were about to read is gone: they look again, and come to the row */
	mcs_wake_handlers_at_commit(stream->name, NULL);
}

/* change_stream_events_truncated() -> trigger: AFTER TRUNCATE on change_stream_events */
Datum
mcs_change_stream_events_truncated(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	ListCell   *cell;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		RelationGetRelid(data->tg_relation) != mcs_extension_events())
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("change_stream_events_truncated() was not called by an AFTER TRUNCATE trigger of change_stream_events"),
				 errhint("The extension has made the only trigger that needs it.")));
	foreach(cell, mcs_progress_truncated())
	{
		CHECK_FOR_INTERRUPTS();
		write_gap(lfirst(cell));
	}
	return PointerGetDatum(NULL);
}
