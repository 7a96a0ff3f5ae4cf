/*
 * dialect/receiver.c
 *	  Rows on their way to somebody else's receiver, with their columns made into
 *	  something else.
 *
 * For people documents are plain text: "gold" without its quotes, a number as
 * digits.  For a function they are what it returns: each row as one document, or
 * the columns that the caller has listed.  Either is a list of expressions over
 * the row that comes, which the executor evaluates.
 *
 * Before that, a difference of dates becomes the text of the interval that it is,
 * where a text is wanted or nothing else is said; and so does an interval that
 * goes into a document.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

typedef struct Receiver
{
	DestReceiver pub;
	Oid			namespace;		/* the extension's */
	Oid			document;		/* its type */
	DestReceiver *inner;
	ReceiverShape shape;
	TupleDesc	listed;			/* for RECEIVER_LISTED */
	const DocumentDifferences *differences; /* subtractions that are watched, and */
	const uint32 *durations;	/* for each column, which of them it comes from; NULL: none */
	TupleDesc	description;	/* of the rows that it hands on */
	MemoryContext context;		/* it was made in */
	uint64		count;			/* of rows */

	/* between startup and shutdown */
	EState	   *estate;
	ExprContext *econtext;
	ProjectionInfo *projection;
	TupleTableSlot *shown;		/* a row with its intervals and durations as texts; NULL: as it comes */
} Receiver;

/* Calls a function of the extension with one argument. */
static Expr *
call(Oid namespace, const char *name, Oid argument_type, Expr *argument, Oid type)
{
	Oid			function = mcs_dialect_function(namespace, name, 1, &argument_type);

	if (!OidIsValid(function))
		elog(ERROR, "the extension has no function %s", name);
	return (Expr *) makeFuncExpr(function, type, list_make1(argument), InvalidOid,
								 type == TEXTOID ? DEFAULT_COLLATION_OID : InvalidOid, COERCE_EXPLICIT_CALL);
}

/* A column that comes, as a type that the caller has listed. */
static Expr *
as_listed(Var *column, const Form_pg_attribute wanted)
{
	Node	   *node = (Node *) column;
	Oid			type = column->vartype;
	Node	   *result;

	/* as if it were put into a column of a table, which makes plain text of a document; else as a cast does */
	result = coerce_to_target_type(NULL, node, type, wanted->atttypid, wanted->atttypmod, COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		result = coerce_to_target_type(NULL, node, type, wanted->atttypid, wanted->atttypmod, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" is listed as %s", NameStr(wanted->attname), format_type_be(wanted->atttypid)),
				 errdetail("The statement has %s there, which is not cast to that.", format_type_be(type))));
	return (Expr *) result;
}

/* The column of a row that comes. */
static Var *
column_var(const Form_pg_attribute attribute)
{
	return makeVar(OUTER_VAR, attribute->attnum, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0);
}

/* The columns that come, with documents as text. */
static List *
plain_columns(Oid namespace, Oid document, TupleDesc row)
{
	List	   *targets = NIL;

	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(row, i);
		Expr	   *value = (Expr *) column_var(attribute);

		if (attribute->atttypid == document)
			value = call(namespace, "document_text", document, value, TEXTOID);
		targets = lappend(targets, makeTargetEntry(value, i + 1, pstrdup(NameStr(attribute->attname)), false));
	}
	return targets;
}

/* The columns that are listed. */
static List *
listed_columns(TupleDesc row, TupleDesc wanted)
{
	List	   *targets = NIL;

	if (row->natts != wanted->natts)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the list has another number of columns than the statement"),
				 errdetail("The list has %d, the statement %d.", wanted->natts, row->natts)));
	for (int i = 0; i < row->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(wanted, i);

		targets = lappend(targets, makeTargetEntry(as_listed(column_var(TupleDescAttr(row, i)), attribute), i + 1,
												   pstrdup(NameStr(attribute->attname)), false));
	}
	return targets;
}

/* The row as one document. */
static List *
whole_row(Oid namespace, Oid document)
{
	Var		   *row = makeVar(OUTER_VAR, InvalidAttrNumber, RECORDOID, -1, InvalidOid, 0);

	return list_make1(makeTargetEntry(call(namespace, "to_document", ANYELEMENTOID, (Expr *) row, document), 1, pstrdup("document"), false));
}

/* What a row becomes. */
static List *
target_list(const Receiver *receiver, TupleDesc row)
{
	switch (receiver->shape)
	{
		case RECEIVER_DOCUMENT:
			return whole_row(receiver->namespace, receiver->document);
		case RECEIVER_LISTED:
			return listed_columns(row, receiver->listed);
		default:
			return plain_columns(receiver->namespace, receiver->document, row);
	}
}

/* ---- durations ---- */

/* Whether a column of a row that becomes something else may be shown as an interval. */
static bool
may_be_duration(const Receiver *receiver, TupleDesc row, int column)
{
	/* a count of differences comes from them, too, and is no document */
	if (!receiver->durations || !receiver->durations[column] || TupleDescAttr(row, column)->atttypid != receiver->document)
		return false;
	/* what is listed as anything but text is cast from the number of milliseconds */
	return receiver->shape != RECEIVER_LISTED || TypeCategory(TupleDescAttr(receiver->listed, column)->atttypid) == TYPCATEGORY_STRING;
}

/* Whether a column comes from a subtraction that has been one of dates. */
static bool
is_duration(const Receiver *receiver, int column)
{
	for (int i = 0; i < receiver->differences->count; i++)
		if (receiver->differences->seen[i] && receiver->durations[column] & ((uint32) 1 << i))
			return true;
	return false;
}

/* Whether a column is an interval that goes into a document, which has none. */
static bool
is_interval(const Receiver *receiver, TupleDesc row, int column)
{
	return receiver->shape == RECEIVER_DOCUMENT && TupleDescAttr(row, column)->atttypid == INTERVALOID;
}

/* The slot for rows in which intervals and durations are texts; NULL where there are none. */
static TupleTableSlot *
shown_slot(const Receiver *receiver, TupleDesc row)
{
	TupleDesc	shown = CreateTupleDescCopy(row);
	bool		found = false;

	for (int i = 0; i < row->natts; i++)
	{
		found |= may_be_duration(receiver, row, i) || is_interval(receiver, row, i);
		if (is_interval(receiver, row, i))
			TupleDescInitEntry(shown, i + 1, NameStr(TupleDescAttr(row, i)->attname), TEXTOID, -1, 0);
	}
	if (!found)
		return NULL;
	return MakeSingleTupleTableSlot(BlessTupleDesc(shown), &TTSOpsVirtual);
}

/* A number of milliseconds as the document that the text of its interval is. */
static Datum
duration_document(Datum milliseconds)
{
	char	   *text = mcs_duration_text(milliseconds);
	int32		size = strlen(text) + 1;
	uint8	   *data = palloc(sizeof(int32) + size);

	mcs_document_write_int32(data, size);
	memcpy(data + sizeof(int32), text, size);
	return PointerGetDatum(mcs_document_make(DOCUMENT_STRING, data, sizeof(int32) + size));
}

/* The row with its intervals and durations as texts: a difference of dates is a long. */
static TupleTableSlot *
show(Receiver *receiver, TupleTableSlot *row)
{
	TupleTableSlot *shown = receiver->shown;
	MemoryContext old = MemoryContextSwitchTo(receiver->econtext->ecxt_per_tuple_memory);
	int			count = shown->tts_tupleDescriptor->natts;

	slot_getallattrs(row);
	ExecClearTuple(shown);
	memcpy(shown->tts_values, row->tts_values, sizeof(Datum) * count);
	memcpy(shown->tts_isnull, row->tts_isnull, sizeof(bool) * count);
	for (int i = 0; i < count; i++)
	{
		Datum		value = row->tts_values[i];

		if (row->tts_isnull[i])
			continue;
		if (is_interval(receiver, row->tts_tupleDescriptor, i))
			shown->tts_values[i] = CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(interval_out, value)));
		else if (may_be_duration(receiver, row->tts_tupleDescriptor, i) && is_duration(receiver, i) &&
				 DOCUMENT_TYPE(DatumGetDocumentP(value)) == DOCUMENT_INT64)
			shown->tts_values[i] = duration_document(value);
	}
	MemoryContextSwitchTo(old);
	return ExecStoreVirtualTuple(shown);
}

/* ---- rows ---- */

/* Rows of a description will come. */
static void
startup(DestReceiver *self, int operation, TupleDesc row)
{
	Receiver   *receiver = (Receiver *) self;
	TupleTableSlot *slot;
	List	   *targets;
	MemoryContext old;
	ListCell   *cell;

	receiver->estate = CreateExecutorState();
	receiver->econtext = CreateExprContext(receiver->estate);
	receiver->shown = shown_slot(receiver, row);
	if (receiver->shown)
		row = receiver->shown->tts_tupleDescriptor;
	targets = target_list(receiver, row);
	foreach(cell, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);

		target->expr = expression_planner(target->expr);
	}
	slot = MakeSingleTupleTableSlot(ExecTypeFromTL(targets), &TTSOpsVirtual);
	receiver->projection = ExecBuildProjectionInfo(targets, receiver->econtext, slot, NULL, row);
	old = MemoryContextSwitchTo(receiver->context);
	receiver->description = CreateTupleDescCopy(slot->tts_tupleDescriptor);
	MemoryContextSwitchTo(old);
	receiver->inner->rStartup(receiver->inner, operation, slot->tts_tupleDescriptor);
}

/* A row has come. */
static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	receiver->count++;
	ResetExprContext(receiver->econtext);
	receiver->econtext->ecxt_outertuple = receiver->shown ? show(receiver, slot) : slot;
	return receiver->inner->receiveSlot(ExecProject(receiver->projection), receiver->inner);
}

/* No more rows will come. */
static void
shut_down(DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;

	receiver->inner->rShutdown(receiver->inner);
	ExecDropSingleTupleTableSlot(receiver->projection->pi_state.resultslot);
	if (receiver->shown)
		ExecDropSingleTupleTableSlot(receiver->shown);
	FreeExecutorState(receiver->estate);
	receiver->estate = NULL;
}

static void
destroy(DestReceiver *self)
{
	pfree(self);
}

/* A receiver that hands on to another one what it makes of rows; the other one stays its owner's. */
DestReceiver *
mcs_receiver_make(Oid namespace, DestReceiver *inner, ReceiverShape shape, TupleDesc listed)
{
	Receiver   *receiver = palloc0(sizeof(Receiver));

	receiver->pub.receiveSlot = receive;
	receiver->pub.rStartup = startup;
	receiver->pub.rShutdown = shut_down;
	receiver->pub.rDestroy = destroy;
	receiver->pub.mydest = inner->mydest;
	receiver->namespace = namespace;
	receiver->document = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("document"), ObjectIdGetDatum(namespace));
	receiver->inner = inner;
	receiver->shape = shape;
	receiver->listed = listed;
	receiver->context = CurrentMemoryContext;
	return &receiver->pub;
}

/* Tells a receiver which columns may be durations; what is pointed to must last. */
void
mcs_receiver_set_durations(DestReceiver *self, const DocumentDifferences *differences, const uint32 *columns)
{
	Receiver   *receiver = (Receiver *) self;

	receiver->differences = differences;
	receiver->durations = columns;
}

/* How many rows have come. */
uint64
mcs_receiver_count(const DestReceiver *receiver)
{
	return ((const Receiver *) receiver)->count;
}

/* The columns of the rows that it has handed on, in the memory that it was made in. */
TupleDesc
mcs_receiver_description(const DestReceiver *receiver)
{
	return ((const Receiver *) receiver)->description;
}
