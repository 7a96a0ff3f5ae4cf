/*
 * dialect/result.c
 *	  Runs a translated statement, and takes its rows to where they belong.
 *
 * A DO that is the client's own command sends them, each statement's as a result
 * of its own with its own command tag, as if the statement had been sent alone.
 * The simple protocol allows that; in the extended one the client has been told
 * already that DO returns no rows.  There the last SELECT's rows are kept as a
 * cursor.  It is held: the statements behind it may drop what it reads.  Only
 * where nothing can come behind it, in a transaction of the client's, it is one
 * that reads as it is fetched from.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "access/printtup.h"
#include "miscadmin.h"
#include "tcop/cmdtag.h"
#include "utils/builtins.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

#define CURSOR_NAME "change_stream_result"

/* The source of a plan of one statement that returns rows; NULL for any other plan. */
static CachedPlanSource *
source_with_rows(SPIPlanPtr plan)
{
	List	   *sources = SPI_plan_get_plan_sources(plan);
	CachedPlanSource *source;

	if (list_length(sources) != 1)
		return NULL;
	source = linitial(sources);
	return source->resultDesc ? source : NULL;
}

/* Whether a statement only reads, so that it can be a cursor. */
static bool
is_plain_select(const CachedPlanSource *source)
{
	Query	   *query = list_length(source->query_list) == 1 ? linitial_node(Query, source->query_list) : NULL;

	return query && query->commandType == CMD_SELECT && !query->hasModifyingCTE && !query->utilityStmt;
}

/* Complains of what SPI does not run: COMMIT, ROLLBACK, COPY to and from the client. */
static void
check(int result, const char *translated)
{
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this statement cannot run in DO"),
				 errdetail("%s.", SPI_result_code_string(result)),
				 errcontext("statement %s", translated)));
}

/* Runs a plan whose rows go to a receiver, in a shape; description (or NULL) is set to what they are then. */
static uint64
run_into(ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated, DestReceiver *inner,
		 TupleDesc *description)
{
	SPIExecuteOptions options = {0};
	DocumentDifferences differences;
	DocumentDifferences *before = mcs_document_watch(NULL);
	uint64		count;

	options.dest = mcs_receiver_make(target->namespace, inner, target->shape, target->set ? target->set->expectedDesc : NULL);
	PG_TRY();
	{
		if (is_plain_select(source))
		{
			uint32	   *columns = mcs_duration_columns(linitial_node(Query, source->query_list), &differences);

			mcs_receiver_set_durations(options.dest, &differences, columns);
			if (columns)
				(void) mcs_document_watch(&differences);
		}
		check(SPI_execute_plan_extended(plan, &options), translated);
	}
	PG_FINALLY();
	{
		(void) mcs_document_watch(before);
	}
	PG_END_TRY();
	count = mcs_receiver_count(options.dest);
	if (description)
		*description = mcs_receiver_description(options.dest);
	options.dest->rDestroy(options.dest);
	return count;
}

/* Rows for the client, as a result of their own. */
static void
run_for_client(ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated)
{
	DestReceiver *client = CreateDestReceiver(DestRemote);
	CommandTag	tag = source->commandTag;
	QueryCompletion completion;

	SetRemoteDestReceiverParams(client, target->portal);
	SetQueryCompletion(&completion, tag, run_into(target, plan, source, translated, client, NULL));
	client->rDestroy(client);
	EndCommand(&completion, DestRemote, false);
}

/* Rows for a function that returns them; those of a statement before this one are gone. */
static void
run_for_set(ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated)
{
	ReturnSetInfo *set = target->set;
	DestReceiver *store = CreateDestReceiver(DestTuplestore);

	tuplestore_clear(set->setResult);
	SetTuplestoreDestReceiverParams(store, set->setResult, set->econtext->ecxt_per_query_memory, false, NULL, NULL);
	(void) run_into(target, plan, source, translated, store, NULL);
	store->rDestroy(store);
}

/* The plan of a SELECT with its documents as plain text; the same one where there are none. */
static SPIPlanPtr
with_plain_text(const ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated)
{
	TupleDesc	row = source->resultDesc;
	Oid			document = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"), ObjectIdGetDatum(target->namespace));
	StringInfoData columns;
	StringInfoData names;
	bool		found = false;

	initStringInfo(&columns);
	initStringInfo(&names);
	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(row, i);
		bool		is_document = attribute->atttypid == document;

		found |= is_document;
		/* numbered, as two columns may be called the same */
		appendStringInfo(&names, "%sc%d", i ? ", " : "", i);
		appendStringInfo(&columns, is_document ? "%s%s(c%d) AS %s" : "%s%sc%d AS %s", i ? ", " : "",
						 is_document ? mcs_dialect_function_name(target->namespace, "document_text") : "", i,
						 quote_identifier(NameStr(attribute->attname)));
	}
	if (!found)
		return plan;
	/* a line's end, as a comment may stand at the end of the text */
	return SPI_prepare(psprintf("SELECT %s FROM (%s\n) AS result(%s)", columns.data, translated, names.data), 0, NULL);
}

/* Holds the cursor now, not at the end: that pinned cursors are held before a procedure commits is what lets us. */
static void
hold(Portal portal)
{
	PinPortal(portal);
	HoldPinnedPortals();
	UnpinPortal(portal);
}

/*
 * Opens the cursor for a SELECT with columns that may be differences of dates,
 * which show only while it runs and we watch.  So it runs at once, and the cursor
 * reads what came.
 */
static void
open_cursor_of_rows(ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated)
{
	EphemeralNamedRelation rows = palloc0(sizeof(EphemeralNamedRelationData));
	Tuplestorestate *kept = tuplestore_begin_heap(true, false, work_mem);
	DestReceiver *store = CreateDestReceiver(DestTuplestore);

	SetTuplestoreDestReceiverParams(store, kept, CurrentMemoryContext, false, NULL, NULL);
	rows->md.name = CURSOR_NAME;
	rows->md.enrtuples = run_into(target, plan, source, translated, store, &rows->md.tupdesc);
	rows->md.enrtype = ENR_NAMED_TUPLESTORE;
	rows->reldata = kept;
	store->rDestroy(store);
	if (SPI_register_relation(rows) != SPI_OK_REL_REGISTER)
		elog(ERROR, "the rows are there already");
	/* as of any SELECT, one can go back in it */
	plan = SPI_prepare_cursor("SELECT * FROM " CURSOR_NAME, 0, NULL, CURSOR_OPT_SCROLL);
	target->cursor = SPI_cursor_open(CURSOR_NAME, plan, NULL, NULL, false);
	/* until we are done, an error drops it */
	hold(target->cursor);
	SPI_freeplan(plan);
	(void) SPI_unregister_relation(CURSOR_NAME);
	tuplestore_end(kept);
}

/* Whether a SELECT has columns that may be differences of dates. */
static bool
has_durations(const CachedPlanSource *source)
{
	DocumentDifferences differences;

	return mcs_duration_columns(linitial_node(Query, source->query_list), &differences) != NULL;
}

/* Opens the cursor for a SELECT; the one of the SELECT before it is gone. */
static void
open_cursor(ResultTarget *target, SPIPlanPtr plan, const CachedPlanSource *source, const char *translated, bool is_last)
{
	Portal		portal = SPI_cursor_find(CURSOR_NAME);

	if (portal)
		SPI_cursor_close(portal);
	if (has_durations(source))
	{
		open_cursor_of_rows(target, plan, source, translated);
		return;
	}
	portal = SPI_cursor_open(CURSOR_NAME, with_plain_text(target, plan, source, translated), NULL, NULL, false);
	target->cursor = portal;
	if (is_last && IsTransactionBlock())
		return;
	/* until we are done, an error drops it */
	hold(portal);
}

/* Runs what returns no rows, or rows that go nowhere. */
static void
run_for_nobody(SPIPlanPtr plan, const char *translated, bool is_call)
{
	SPIExecuteOptions options = {0};

	check(SPI_execute_plan_extended(plan, &options), translated);
	if (!is_call && SPI_tuptable != NULL && SPI_processed > 0)
		ereport(NOTICE,
				(errmsg_plural("%llu row is discarded", "%llu rows are discarded",
							   (unsigned long) SPI_processed, (unsigned long long) SPI_processed),
				 errhint("Rows are sent where DO is a command of its own; change_stream_query() returns them.")));
	SPI_freetuptable(SPI_tuptable);
}

/* Runs a translated statement; is_call: its rows, if any, tell nothing. */
void
mcs_result_run(ResultTarget *target, const char *translated, bool is_call, bool is_last)
{
	SPIPlanPtr	plan;
	CachedPlanSource *source;

	/* several statements in one see what those before them make, which a plan of all would not */
	if (is_call)
	{
		check(SPI_execute(translated, false, 0), translated);
		SPI_freetuptable(SPI_tuptable);
		return;
	}
	plan = SPI_prepare(translated, 0, NULL);
	if (plan == NULL)
		check(SPI_result, translated);
	source = source_with_rows(plan);
	if (source)
		target->results++;
	if (source && target->kind == RESULT_CLIENT)
		run_for_client(target, plan, source, translated);
	else if (source && target->kind == RESULT_SET)
		run_for_set(target, plan, source, translated);
	else if (source && target->kind == RESULT_CURSOR && is_plain_select(source))
		open_cursor(target, plan, source, translated, is_last);
	else
		run_for_nobody(plan, translated, false);
	SPI_freeplan(plan);
}

/* Behind the last statement. */
void
mcs_result_end(ResultTarget *target)
{
	/* a statement behind it may have closed it */
	if (!target->cursor || SPI_cursor_find(CURSOR_NAME) != target->cursor)
		return;
	/* from now on it is like one that was declared WITH HOLD, which errors leave open */
	if (target->cursor->autoHeld)
	{
		target->cursor->autoHeld = false;
		target->cursor->cursorOptions |= CURSOR_OPT_HOLD;
	}
	ereport(NOTICE,
			(errmsg("the rows of the last SELECT are in the cursor \"%s\"", CURSOR_NAME),
			 errdetail("DO returns no rows over the extended query protocol."),
			 errhint("FETCH ALL FROM %s; or have rows returned by change_stream_query().", CURSOR_NAME)));
}
