/*
 * stream_write.c
 *	  One batch of events: rows, position, counters and notification, all in
 *	  the caller's transaction.  No loop over batches here, and no network.
 *
 * Exactly once
 * ------------
 * The stored position (resume_token with last_event_id) says which events the
 * table holds.  A batch is read from MongoDB after a position P and ends at a
 * position Q; its transaction inserts the rows with the event_ids that follow
 * P's and replaces P by Q, on the condition that P is still what is stored.  So
 * either the rows and Q are both there, or neither; after any crash the worker
 * goes on from what is stored, and MongoDB sends the same events in the same
 * order again, which get the same event_ids.  A second worker, or a function
 * that moved the position, makes the condition fail, and the batch is rolled
 * back.  A function that pauses or alters a stream locks the progress row and
 * raises the slot's flag before it lets go, so a batch that gets the row after
 * it sees the flag and is rolled back too.
 *
 * Rows are inserted below SQL, the way COPY does: multi-insert of the table
 * AM, then index entries and AFTER triggers, constraints before.  The rights of
 * the table are not asked: nobody has them, and the caller has checked whose
 * stream it is.
 *
 * Code of others that runs by this (triggers, index expressions, defaults,
 * constraints) runs as the stream's owner: in the worker the session is his; in a
 * function it is restricted as for maintenance commands, where a trigger that is
 * deferred to the caller's commit is an error.  A notification is data, which
 * nobody runs.
 */
#include "mongo_change_stream.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "stream_shmem.h"
#include "stream_worker.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* NOTIFY takes payloads under 8,000 bytes. */
#define PAYLOAD_MAX		7999

/* What a payload has beside the stream's name and the heads: field names, three numbers, punctuation. */
#define PAYLOAD_FRAME_MAX	150

/* Beyond this part of the queue in use we stop notifying: a full one would make the commit fail. */
#define QUEUE_USAGE_MAX 0.5

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

static const char *const row_columns[ROW_COLUMNS] = {
	"stream_name", "event_id",
	"operation_type", "database_name", "collection_name", "document_key", "full_document",
	"full_document_before_change", "update_description", "changed_fields", "cluster_time", "change_timestamp",
	"resume_token", "full_document_source", "extra",
	"received_at", "processing_status", "processing_time_ms", "processing_attempts", "processing_error"
};

struct StreamWriter
{
	const Stream *stream;
	Relation	relation;
	EState	   *estate;
	ResultRelInfo *result;
	TupleDesc	desc;			/* a copy, not counted: pinning it for each slot would cost more than the slot */
	AttrNumber	attributes[ROW_COLUMNS];	/* where each column is */
	ExprState **defaults;		/* of columns that are not ours, by attribute; NULL for none */
	TupleTableSlot **slots;
	int			count;
	int			room;

	Datum		stream_name;	/* the same in each row */
	Datum		status;
	TimestampTz received_at;	/* of the newest row, with its processing_time_ms */
	Datum		processing_time_ms;

	StringInfoData heads;		/* of the notification; data NULL where not wanted */
	int			heads_max;		/* how much of a payload they may take */
	bool		heads_full;
};

/* Finds our columns by name, since the owner of the table may have added or reordered some. */
static void
map_columns(StreamWriter *writer)
{
	TupleDesc	desc = RelationGetDescr(writer->relation);
	bool	   *ours = palloc0(sizeof(bool) * desc->natts);

	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		AttrNumber	attribute = get_attnum(RelationGetRelid(writer->relation), row_columns[column]);

		if (attribute == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" is missing", row_columns[column],
							RelationGetRelationName(writer->relation)),
					 errhint("Add the column again as the extension's documentation lists it; the stream goes on by itself.")));
		writer->attributes[column] = attribute;
		ours[attribute - 1] = true;
	}
	writer->defaults = palloc0(sizeof(ExprState *) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		Node	   *expression;

		if (ours[i] || attribute->attisdropped || attribute->attgenerated)
			continue;
		expression = build_column_default(writer->relation, i + 1);
		if (expression)
			writer->defaults[i] = ExecPrepareExpr((Expr *) expression, writer->estate);
	}
	pfree(ours);
}

StreamWriter *
mcs_writer_begin(const Stream *stream)
{
	StreamWriter *writer = palloc0(sizeof(StreamWriter));
	Relation	relation = table_open(mcs_events_relation(), RowExclusiveLock);
	StringInfoData name;

	initStringInfo(&name);
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" is not an ordinary table", RelationGetRelationName(relation))));
	writer->stream = stream;
	writer->relation = relation;
	writer->estate = CreateExecutorState();
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, relation, 1, NULL, 0);
	ExecOpenIndices(writer->result, false);
	/* where AFTER triggers look for it, before they open the relation once more */
	writer->estate->es_opened_result_relations = list_make1(writer->result);
	writer->desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	map_columns(writer);
	writer->stream_name = CStringGetTextDatum(stream->name);
	writer->status = CStringGetTextDatum(stream->has_handlers ? "pending" : "processed");
	if (stream->notify == STREAM_NOTIFY_HEADS)
	{
		escape_json(&name, stream->name);
		writer->heads_max = PAYLOAD_MAX - PAYLOAD_FRAME_MAX - name.len;
		initStringInfo(&writer->heads);
	}
	return writer;
}

int
mcs_writer_count(const StreamWriter *writer)
{
	return writer->count;
}

/* A fresh slot for the next row, its columns that are not ours filled. */
static TupleTableSlot *
next_slot(StreamWriter *writer)
{
	TupleDesc	desc = writer->desc;
	TupleTableSlot *slot;

	if (writer->count == writer->room)
	{
		writer->room = writer->room ? writer->room * 2 : 64;
		writer->slots = writer->slots ? repalloc(writer->slots, sizeof(*writer->slots) * writer->room)
			: palloc(sizeof(*writer->slots) * writer->room);
	}
	slot = MakeSingleTupleTableSlot(desc, table_slot_callbacks(writer->relation));
	writer->slots[writer->count++] = slot;
	memset(slot->tts_isnull, true, sizeof(bool) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
		/* in the batch's memory: all rows are made before the first is inserted */
		if (writer->defaults[i])
			slot->tts_values[i] = ExecEvalExpr(writer->defaults[i], GetPerTupleExprContext(writer->estate),
											   &slot->tts_isnull[i]);
	return slot;
}

static inline void
set_column(StreamWriter *writer, TupleTableSlot *slot, RowColumn column, Datum value)
{
	slot->tts_values[writer->attributes[column] - 1] = value;
	slot->tts_isnull[writer->attributes[column] - 1] = false;
}

/* Adds an event to the heads of the notification, as long as they fit. */
static void
add_head(StreamWriter *writer, int64 event_id, const Datum *values, const bool *nulls)
{
	StringInfo	heads = &writer->heads;
	int			before = heads->len;

	if (writer->heads_full)
		return;
	appendStringInfo(heads, "%s{\"event_id\": " INT64_FORMAT, before ? ", " : "", event_id);
	if (!nulls[EVENT_OPERATION_TYPE])
	{
		appendStringInfoString(heads, ", \"operation_type\": ");
		escape_json(heads, TextDatumGetCString(values[EVENT_OPERATION_TYPE]));
	}
	if (!nulls[EVENT_COLLECTION_NAME])
	{
		appendStringInfoString(heads, ", \"collection_name\": ");
		escape_json(heads, TextDatumGetCString(values[EVENT_COLLECTION_NAME]));
	}
	if (!nulls[EVENT_DOCUMENT_KEY] && VARSIZE_ANY(DatumGetPointer(values[EVENT_DOCUMENT_KEY])) < PAYLOAD_MAX)
		appendStringInfo(heads, ", \"document_key\": %s",
						 mcs_document_out_text(DatumGetDocumentP(values[EVENT_DOCUMENT_KEY])));
	appendStringInfoChar(heads, '}');
	if (heads->len > writer->heads_max)
	{
		heads->len = before;
		heads->data[before] = '\0';
		writer->heads_full = true;
	}
}

void
mcs_writer_add(StreamWriter *writer, const Datum *values, const bool *nulls, TimestampTz received_at)
{
	int64		event_id = writer->stream->last_event_id + writer->count + 1;
	TupleTableSlot *slot = next_slot(writer);

	set_column(writer, slot, ROW_STREAM_NAME, writer->stream_name);
	set_column(writer, slot, ROW_EVENT_ID, Int64GetDatum(event_id));
	for (int i = 0; i < EVENT_COLUMNS; i++)
		if (!nulls[i])
			set_column(writer, slot, ROW_EVENT + i, values[i]);
	if (received_at != writer->received_at)
	{
		int64		microseconds = Max(GetCurrentTimestamp() - received_at, 0);

		writer->received_at = received_at;
		writer->processing_time_ms = NumericGetDatum(int64_div_fast_to_numeric(microseconds, 3));
	}
	set_column(writer, slot, ROW_RECEIVED_AT, TimestampTzGetDatum(received_at));
	set_column(writer, slot, ROW_PROCESSING_STATUS, writer->status);
	if (!writer->stream->has_handlers)
		set_column(writer, slot, ROW_PROCESSING_TIME_MS, writer->processing_time_ms);
	set_column(writer, slot, ROW_PROCESSING_ATTEMPTS, Int32GetDatum(0));
	ExecStoreVirtualTuple(slot);
	if (writer->heads.data)
		add_head(writer, event_id, values, nulls);
}

void
mcs_writer_add_gap(StreamWriter *writer, const char *token, const char *from, const char *to, const char *reason)
{
	Datum		values[EVENT_COLUMNS];
	bool		nulls[EVENT_COLUMNS];
	DocumentBuilder extra;

	memset(nulls, true, sizeof(nulls));
	values[EVENT_OPERATION_TYPE] = CStringGetTextDatum("gap");
	nulls[EVENT_OPERATION_TYPE] = false;
	values[EVENT_DATABASE_NAME] = CStringGetTextDatum(writer->stream->database);
	nulls[EVENT_DATABASE_NAME] = strcmp(writer->stream->database, "*") == 0;
	nulls[EVENT_COLLECTION_NAME] = writer->stream->collection == NULL;
	if (writer->stream->collection)
		values[EVENT_COLLECTION_NAME] = CStringGetTextDatum(writer->stream->collection);
	nulls[EVENT_RESUME_TOKEN] = token == NULL;
	nulls[EVENT_CLUSTER_TIME] = token == NULL;
	nulls[EVENT_CHANGE_TIMESTAMP] = token == NULL;
	if (token)
	{
		uint64		time = mcs_token_time(token);

		values[EVENT_RESUME_TOKEN] = CStringGetTextDatum(token);
		values[EVENT_CLUSTER_TIME] = TimestampTzGetDatum(mcs_event_timestamp(time));
		values[EVENT_CHANGE_TIMESTAMP] = TimestampTzGetDatum(mcs_event_timestamp(time & ~UINT64CONST(0xFFFFFFFF)));
	}
	values[EVENT_FULL_DOCUMENT_SOURCE] = CStringGetTextDatum("none");
	nulls[EVENT_FULL_DOCUMENT_SOURCE] = false;

	mcs_document_build(&extra);
	mcs_document_begin_object(&extra, NULL);
	if (from)
		mcs_document_append_string(&extra, "from", from);
	else
		mcs_document_append_null(&extra, "from");
	if (to)
		mcs_document_append_string(&extra, "to", to);
	else
		mcs_document_append_null(&extra, "to");
	mcs_document_append_string(&extra, "reason", reason);
	mcs_document_end(&extra);
	values[EVENT_EXTRA] = DocumentPGetDatum(mcs_document_finish(&extra));
	nulls[EVENT_EXTRA] = false;
	mcs_writer_add(writer, values, nulls, GetCurrentTimestamp());
}

/* What must be right before a row goes into the table. */
static void
check_row(StreamWriter *writer, TupleTableSlot *slot)
{
	TupleConstr *constraints = RelationGetDescr(writer->relation)->constr;

	if (!constraints)
		return;
	if (constraints->has_generated_stored)
		ExecComputeStoredGenerated(writer->result, writer->estate, slot, CMD_INSERT);
	ExecConstraints(writer->result, slot, writer->estate);
}

/* What follows when a row is in the table: index entries and AFTER ROW triggers. */
static void
complete_row(StreamWriter *writer, TupleTableSlot *slot, TransitionCaptureState *transition)
{
	List	   *recheck = NIL;

	if (writer->result->ri_NumIndices > 0)
		recheck = ExecInsertIndexTuples(writer->result, slot, writer->estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
										,false
#endif
			);
	ExecARInsertTriggers(writer->estate, writer->result, slot, recheck, transition);
	list_free(recheck);
	ResetPerTupleExprContext(writer->estate);
}

/* A BEFORE ROW trigger may look at the rows before, so they must be there: one by one. */
static void
insert_singly(StreamWriter *writer, TransitionCaptureState *transition)
{
	for (int i = 0; i < writer->count; i++)
	{
		TupleTableSlot *slot = writer->slots[i];

		CHECK_FOR_INTERRUPTS();
		if (!ExecBRInsertTriggers(writer->estate, writer->result, slot))
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("a BEFORE trigger on relation \"%s\" suppressed an event", RelationGetRelationName(writer->relation)),
					 errdetail("Event numbers would have a gap."),
					 errhint("Leave events out by the stream's filter: SELECT alter_change_stream(%s, filter => ...).",
							 quote_literal_cstr(writer->stream->name))));
		check_row(writer, slot);
		table_tuple_insert(writer->relation, slot, GetCurrentCommandId(true), 0, NULL);
		complete_row(writer, slot, transition);
	}
}

static void
insert_together(StreamWriter *writer, TransitionCaptureState *transition)
{
	BulkInsertState bulk = GetBulkInsertState();

	for (int i = 0; i < writer->count; i++)
		check_row(writer, writer->slots[i]);
	table_multi_insert(writer->relation, writer->slots, writer->count, GetCurrentCommandId(true), 0, bulk);
	for (int i = 0; i < writer->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		complete_row(writer, writer->slots[i], transition);
	}
	FreeBulkInsertState(bulk);
}

static void
insert_rows(StreamWriter *writer)
{
	TriggerDesc *triggers = writer->result->ri_TrigDesc;
	TransitionCaptureState *transition;

	AfterTriggerBeginQuery();
	transition = MakeTransitionCaptureState(triggers, RelationGetRelid(writer->relation), CMD_INSERT);
	ExecBSInsertTriggers(writer->estate, writer->result);
	if (triggers && triggers->trig_insert_before_row)
		insert_singly(writer, transition);
	else
		insert_together(writer, transition);
	ExecASInsertTriggers(writer->estate, writer->result, transition);
	AfterTriggerEndQuery(writer->estate);
}

static void
close_table(StreamWriter *writer)
{
	for (int i = 0; i < writer->count; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	ExecCloseIndices(writer->result);
	FreeExecutorState(writer->estate);
	table_close(writer->relation, NoLock);
}

/* One notification for the batch, on the common channel and on the stream's own. */
static void
notify(StreamWriter *writer, int64 first, int64 last)
{
	StringInfoData payload;

	if (writer->stream->notify == STREAM_NOTIFY_OFF ||
		DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > QUEUE_USAGE_MAX)
		return;
	initStringInfo(&payload);
	appendStringInfoString(&payload, "{\"stream\": ");
	escape_json(&payload, writer->stream->name);
	appendStringInfo(&payload, ", \"count\": " INT64_FORMAT ", \"first_event_id\": " INT64_FORMAT
					 ", \"last_event_id\": " INT64_FORMAT, last - first + 1, first, last);
	if (writer->heads.data)
		appendStringInfo(&payload, ", \"events\": [%s]", writer->heads.data);
	appendStringInfoChar(&payload, '}');
	Async_Notify(MCS_CHANNEL, payload.data);
	Async_Notify(writer->stream->name, payload.data);
}

bool
mcs_writer_finish(StreamWriter *writer, StreamProgress *progress)
{
	const Stream *stream = writer->stream;
	int			count = writer->count;
	bool		saved;

	progress->events = count;
	progress->last_event_id = stream->last_event_id + count;

	/* first of all the progress row: whoever else numbers events has locked it, too */
	saved = mcs_progress_save(stream->name, stream->last_event_id, stream->resume_token, progress);
	if (saved && count > 0)
		insert_rows(writer);
	close_table(writer);
	if (saved && count > 0)
	{
		mcs_token_table_flush();
		notify(writer, stream->last_event_id + 1, progress->last_event_id);
	}
	return saved;
}

/*
 * In a function's transaction, with the caller's rights checked: the row is
 * written as the stream's owner, as if its worker had done it.
 */
void
mcs_write_gap(const char *name, const char *from, const char *to, const char *reason)
{
	Stream	   *stream = mcs_stream_load(name, true, false);
	StreamProgress progress = {.token = stream->resume_token,.last_event_at = GetCurrentTimestamp()};
	StreamWriter *writer;
	Oid			save_userid;
	int			save_sec_context;
	bool		saved;

	GetUserIdAndSecContext(&save_userid, &save_sec_context);
	SetUserIdAndSecContext(stream->owner, save_sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	writer = mcs_writer_begin(stream);
	mcs_writer_add_gap(writer, to ? to : stream->resume_token, from, to, reason);
	saved = mcs_writer_finish(writer, &progress);
	SetUserIdAndSecContext(save_userid, save_sec_context);
	if (!saved)
		elog(ERROR, "position of change stream \"%s\" moved under its lock", name);
}
