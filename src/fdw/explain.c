/*
 * fdw/explain.c
 *	  EXPLAIN of a foreign scan: what is sent to MongoDB, where the read begins
 *	  and ends, and how it went.
 *
 * The pipeline is made by the code that makes the one that is sent.  EXPLAIN
 * alone does not contact MongoDB, so it takes it for one that keeps images.
 */
#include "mongo_change_stream.h"

#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif
#include "fdw/fdw.h"
#include "utils/timestamp.h"

/* $changeStream as it is sent, but for the start. */
static void
append_change_stream(DocumentBuilder *builder, const FdwScan *scan)
{
	const char *mode;

	mcs_document_begin_object(builder, NULL);
	mcs_document_begin_object(builder, "$changeStream");
	mode = mcs_fdw_full_document(scan->table, scan->asked, !scan->lessons.without_images);
	if (mode)
		mcs_document_append_string(builder, "fullDocument", mode);
	mode = mcs_fdw_before_change(scan->table, scan->asked, !scan->lessons.without_images);
	if (mode)
		mcs_document_append_string(builder, "fullDocumentBeforeChange", mode);
	if (scan->table->show_expanded_events)
		mcs_document_append_bool(builder, "showExpandedEvents", true);
	/* that is how a whole deployment is watched: on the database admin */
	if (scan->table->database == NULL)
		mcs_document_append_bool(builder, "allChangesForCluster", true);
	mcs_document_end(builder);
	mcs_document_end(builder);
}

/* The pipeline that is sent. */
static char *
pipeline_text(const FdwScan *scan)
{
	Document   *stages = mcs_fdw_stages(scan->table, scan->match, scan->used);
	DocumentBuilder builder;
	DocumentIterator it;

	mcs_document_build(&builder);
	mcs_document_begin_array(&builder, NULL);
	/* in front of the stages, as where the cursor is opened */
	append_change_stream(&builder, scan);
	mcs_document_iterate(&it, DOCUMENT_VALUE(stages), DOCUMENT_VALUE_SIZE(stages));
	while (mcs_document_next(&it))
		mcs_document_append_value(&builder, NULL, &it.value);
	mcs_document_end(&builder);
	return mcs_document_out_text(mcs_document_finish(&builder));
}

/* A cluster time as cluster_time shows it. */
static char *
time_text(uint64 time)
{
	return pstrdup(timestamptz_to_str(mcs_event_timestamp(time)));
}

/* Where the read begins, by the query or the table. */
static char *
start_text(const FdwScan *scan)
{
	const FdwTable *table = scan->table;

	if (!scan->range_known)
		return "by parameters";
	if (scan->range.empty)
		return "none, as the conditions exclude every time";
	if (scan->range.from > 0)
		return time_text(scan->range.from);
	if (table->resume_after)
		return psprintf("after token %s", table->resume_after);
	if (table->start_at && mcs_token_read(table->start_at))
		return psprintf("after token %s", mcs_token_read(table->start_at));
	return table->start_at ? table->start_at : "earliest";
}

/* Where it ends. */
static char *
end_text(const FdwScan *scan)
{
	if (!scan->range_known)
		return "by parameters";
	return scan->range.to == PG_UINT64_MAX ? "now" : time_text(scan->range.to);
}

/* Whether events that a stream keeps are read. */
static void
explain_kept(ForeignScanState *node, ExplainState *es)
{
	FdwScan    *scan = node->fdw_state;
	FdwKeptChoice *choice = &scan->choice;

	if (!mcs_fdw_wants_kept(node) || scan->range.empty)
		return;
	if (choice->text == NULL)
	{
		mcs_fdw_look_for_kept(node);
		mcs_fdw_kept_choose(scan->kept, &scan->range, false, choice);
	}
	ExplainPropertyText("Kept Events", choice->kept ? psprintf("%s%s, then MongoDB's history", choice->text,
															   !scan->range_known ? " if parameters allow"
															   : choice->open ? " if MongoDB's history begins later" : "")
						: psprintf("none, as %s", choice->text), es);
	if (es->analyze && es->verbose)
		ExplainPropertyInteger("Kept Rows", NULL, scan->kept_rows, es);
}

/* How the reads went. */
static void
explain_statistics(const FdwScan *scan, ExplainState *es)
{
	/* the last read may not have ended yet */
	FdwReadStatistics statistics = scan->statistics;

	if (scan->read)
		mcs_read_statistics(scan->read, &statistics);
	if (statistics.from > 0)
		ExplainPropertyText("MongoDB Read From", time_text(statistics.from), es);
	if (statistics.to > 0)
		ExplainPropertyText("MongoDB Read To", time_text(statistics.to), es);
	ExplainPropertyInteger("MongoDB Reads", NULL, statistics.reads, es);
	ExplainPropertyInteger("MongoDB Batches", NULL, statistics.batches, es);
	ExplainPropertyInteger("MongoDB Events", NULL, statistics.events, es);
	ExplainPropertyInteger("MongoDB Bytes", NULL, statistics.bytes, es);
}

void
mcs_fdw_explain(ForeignScanState *node, ExplainState *es)
{
	FdwScan    *scan = node->fdw_state;

	/* what was executed is known */
	if (!scan->begun && scan->statistics.reads == 0 && scan->choice.text == NULL)
		mcs_fdw_evaluate(node, true);
	explain_kept(node, es);
	/* as text: EXPLAIN knows no documents, and this can be pasted into mongosh */
	ExplainPropertyText("MongoDB Pipeline", pipeline_text(scan), es);
	if (es->verbose || !scan->range_known || scan->range.empty || scan->range.from > 0)
		ExplainPropertyText("MongoDB Start", start_text(scan), es);
	if (!scan->range.empty && (es->verbose || !scan->range_known || scan->range.to != PG_UINT64_MAX))
		ExplainPropertyText("MongoDB End", end_text(scan), es);
	if (es->analyze && es->verbose)
		explain_statistics(scan, es);
}
