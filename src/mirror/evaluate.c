/*
 * mirror/evaluate.c
 *	  The filter and the columns of a mirror, of one document after the other.
 *
 * An error of a value costs that value alone: it is null, counted and named.  So
 * values are evaluated in a subtransaction, which is begun again after an
 * error; one for many documents, as one for each would cost more than the
 * values do.  Nothing else is done in it, since that would be lost with them.
 *
 * A document is masked first: neither the table nor an expression gets to see
 * what is not to be stored.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "mirror/mirror_internal.h"
#include "utils/memutils.h"

/* Does what evaluates values, in a context; what is no value's doing is raised. */
void
mcs_evaluate(void (*action) (void *), void *arg, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ErrorData  *error = mcs_attempt(action, arg);

	if (error)
		ReThrowError(error);
	MemoryContextSwitchTo(old);
}

/* Counts a value that does not fit, and says of what. */
static void
count_error(MirrorTable *table, const char *name, const char *message)
{
	MirrorResult *result = table->result;
	MemoryContext old = MemoryContextSwitchTo(table->result_context);

	result->column_errors++;
	if (result->column_error)
		pfree(result->column_error);
	result->column_error = psprintf("%s: %s", name, message);
	MemoryContextSwitchTo(old);
}

/*
 * Takes an error of a value, in the subtransaction that is begun again.  One that
 * says nothing about the value, as a full disk or a cancel, is raised.
 */
const char *
mcs_evaluate_take_error(MemoryContext context)
{
	ErrorData  *error = mcs_attempt_renew(context);

	if (!mcs_event_is_cause(error))
		ReThrowError(error);
	return error->message ? error->message : "unknown error";
}

/* What of a document is stored; the expressions are evaluated of it until the next one. */
Document *
mcs_evaluate_show(MirrorTable *table, const DocumentValue *document)
{
	DocumentValue shown = *document;
	Document   *result;

	ResetExprContext(table->econtext);
	if (table->mask)
		mcs_event_mask_document(table->mask, &shown);
	result = mcs_document_make(shown.type, shown.data, shown.size);
	if (table->expressions)
		mcs_expression_set_document(table->expressions, result);
	return result;
}

/* Whether the filter lets the document through; unknown is not, nor is an error. */
bool
mcs_evaluate_passes(MirrorTable *table)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = false;

	PG_TRY();
	{
		result = mcs_expression_passes(table->expressions);
	}
	PG_CATCH();
	{
		count_error(table, "filter", mcs_evaluate_take_error(context));
	}
	PG_END_TRY();
	return result;
}

/* A value of the document's for a column; null where it does not fit. */
Datum
mcs_evaluate_field(MirrorTable *table, const TableColumn *column, bool *isnull)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Datum result = (Datum) 0;
	volatile bool null = true;

	PG_TRY();
	{
		bool		value_isnull;
		Datum		value = mcs_expression_value(table->expressions, column->field, &value_isnull);

		result = mcs_mirror_value_convert(table, column, value, &value_isnull);
		null = value_isnull;
	}
	PG_CATCH();
	{
		count_error(table, column->name, mcs_evaluate_take_error(context));
		null = true;
	}
	PG_END_TRY();
	*isnull = null;
	return result;
}

/* The _id of a document as the column has it; false where it does not fit. */
bool
mcs_evaluate_id(MirrorTable *table, const DocumentValue *id, Datum *key)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool fits = true;

	PG_TRY();
	{
		*key = mcs_mirror_value_of_id(table, id);
	}
	PG_CATCH();
	{
		(void) mcs_evaluate_take_error(context);
		fits = false;
	}
	PG_END_TRY();
	return fits;
}
