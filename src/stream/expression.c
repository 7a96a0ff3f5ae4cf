/*
 * stream/expression.c
 *	  A stream's filter and added fields: SQL expressions over the columns of
 *	  one event, evaluated and asked about.
 *
 * Evaluation is that of any expression over a row: a virtual slot holds the
 * event, and memory is reset with each one.
 *
 * The expressions are the owner's code.  They are analysed, simplified and
 * evaluated only while the current user is the owner; expressions that were
 * compiled as one role are never evaluated as another, for a worker whose stream
 * has got another owner begins anew.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "executor/executor.h"
#include "match/match.h"
#include "stream/stream_internal.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

void
mcs_expression_keep(StreamExpressions *expressions, MemoryContext parent)
{
	MemoryContextSetParent(expressions->context, parent);
}

/* With all that was cached for them: see forget_cached in stream/expression_compile.c. */
void
mcs_expression_free(StreamExpressions *expressions)
{
	MemoryContextDelete(expressions->context);
}

bool
mcs_expression_has_fields(const StreamExpressions *expressions)
{
	return expressions->field_count > 0;
}

bool
mcs_expression_filter_reads(const StreamExpressions *expressions, EventColumn column)
{
	return (expressions->filter_columns & (UINT32_C(1) << column)) != 0;
}

Document *
mcs_expression_match(const StreamExpressions *expressions, bool looks_up, bool *exact)
{
	int			natts = expressions->slot->tts_tupleDescriptor->natts;
	int8	   *columns = palloc(natts);
	MatchRelation relation = {.varno = 1,.natts = natts,.columns = columns,.images_change = looks_up};

	*exact = false;
	/* what a user's function was when the stream was made, it need not be for ever */
	if (!expressions->condition || expressions->has_user_functions)
		return NULL;
	/* which attribute is which event column, since the table's order is its own */
	memset(columns, -1, natts);
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		AttrNumber	attribute = expressions->map.attributes[ROW_EVENT + i];

		/* MongoDB has the value as we make it, not as the table's owner has it converted */
		if (expressions->conversion == NULL || !mcs_events_map_converts(expressions->conversion, ROW_EVENT + i))
			columns[attribute - 1] = i;
	}
	return mcs_match_constant(&relation, expressions->condition, exact);
}

/* Whether two descriptions have the same columns, as far as expressions care. */
static bool
has_same_columns(TupleDesc a, TupleDesc b)
{
	if (a->natts != b->natts)
		return false;
	for (int i = 0; i < a->natts; i++)
	{
		Form_pg_attribute one = TupleDescAttr(a, i);
		Form_pg_attribute other = TupleDescAttr(b, i);

		if (one->attisdropped != other->attisdropped || one->atttypid != other->atttypid ||
			one->atttypmod != other->atttypmod || strcmp(NameStr(one->attname), NameStr(other->attname)) != 0)
			return false;
	}
	return true;
}

bool
mcs_expression_valid(const StreamExpressions *expressions)
{
	ListCell   *cell;
	Relation	events;
	bool		same;

	foreach(cell, expressions->cached)
		if (!((CachedExpression *) lfirst(cell))->is_valid)
			return false;
	if (!expressions->of_events)
		return true;
	/* what is cached does not hear of columns */
	events = table_open(mcs_extension_events(), AccessShareLock);
	same = has_same_columns(RelationGetDescr(events), expressions->slot->tts_tupleDescriptor);
	table_close(events, NoLock);
	return same;
}

/* ---- evaluation ---- */

/* Puts an event in front of the expressions. */
static void
load_event(StreamExpressions *expressions, const Datum *values, const bool *nulls)
{
	TupleTableSlot *slot = expressions->slot;
	MemoryContext old;

	/* frees what the event before has left, converted values included */
	ResetExprContext(expressions->econtext);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	old = MemoryContextSwitchTo(expressions->econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		int			at = expressions->map.attributes[ROW_EVENT + i] - 1;

		/* a value that its column can't hold is only then an expression's affair when that reads it */
		if (nulls[i] || !(expressions->columns & (UINT32_C(1) << i)))
			continue;
		slot->tts_isnull[at] = false;
		slot->tts_values[at] = mcs_events_map_convert(expressions->conversion, ROW_EVENT + i, values[i], &slot->tts_isnull[at]);
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
}

/* Unknown is false, as in WHERE. */
bool
mcs_expression_filter(StreamExpressions *expressions, const Datum *values, const bool *nulls)
{
	if (!expressions->filter)
		return true;
	load_event(expressions, values, nulls);
	return ExecQual(expressions->filter, expressions->econtext);
}

bool
mcs_expression_condition_holds(StreamExpressions *expressions, HeapTuple event)
{
	TupleTableSlot *slot = expressions->slot;

	/* a row that is stored has the types of the table already: nothing to convert */
	ResetExprContext(expressions->econtext);
	ExecClearTuple(slot);
	heap_deform_tuple(event, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	return ExecQual(expressions->filter, expressions->econtext);
}

/* Whether a field of this name is added, and so hides the event's own. */
static bool
is_added(const StreamExpressions *expressions, const char *key)
{
	for (int i = 0; i < expressions->field_count; i++)
		if (strcmp(expressions->fields[i].name, key) == 0)
			return true;
	return false;
}

Datum
mcs_expression_extra(StreamExpressions *expressions, const Datum *values, const bool *nulls, bool *isnull)
{
	DocumentBuilder builder;
	bool		had_extra = !nulls[EVENT_EXTRA];	/* isnull may point into nulls */

	if (expressions->field_count == 0)
	{
		*isnull = !had_extra;
		return values[EVENT_EXTRA];
	}
	load_event(expressions, values, nulls);
	*isnull = false;
	/* the event's own fields first, then those that are added, which go instead of one of their name */
	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	if (had_extra)
	{
		Document   *extra = DatumGetDocumentP(values[EVENT_EXTRA]);
		DocumentIterator it;

		mcs_document_iterate(&it, DOCUMENT_VALUE(extra), DOCUMENT_VALUE_SIZE(extra));
		while (mcs_document_next(&it))
			if (!is_added(expressions, it.key))
				mcs_document_append_value(&builder, it.key, &it.value);
	}
	for (int i = 0; i < expressions->field_count; i++)
	{
		AddedField *field = &expressions->fields[i];
		bool		field_isnull;
		Datum		value = ExecEvalExprSwitchContext(field->state, expressions->econtext, &field_isnull);

		mcs_document_append_datum(&builder, field->name, value, field_isnull, field->type, mcs_extension_document());
	}
	mcs_document_end(&builder);
	return DocumentPGetDatum(mcs_document_finish(&builder));
}

/* ---- the expressions of a mirror ---- */

int
mcs_expression_fields(const StreamExpressions *expressions)
{
	return expressions->field_count;
}

const char *
mcs_expression_field(const StreamExpressions *expressions, int field, Oid *type)
{
	*type = expressions->fields[field].type;
	return expressions->fields[field].name;
}

void
mcs_expression_set_document(StreamExpressions *expressions, const Document *document)
{
	TupleTableSlot *slot = expressions->slot;

	/* frees what the document before has left */
	ResetExprContext(expressions->econtext);
	ExecClearTuple(slot);
	slot->tts_values[0] = DocumentPGetDatum(document);
	slot->tts_isnull[0] = false;
	ExecStoreVirtualTuple(slot);
}

bool
mcs_expression_passes(StreamExpressions *expressions)
{
	return expressions->filter == NULL || ExecQual(expressions->filter, expressions->econtext);
}

Datum
mcs_expression_value(StreamExpressions *expressions, int field, bool *isnull)
{
	return ExecEvalExprSwitchContext(expressions->fields[field].state, expressions->econtext, isnull);
}
