/*
 * mirror/write.c
 *	  What a transaction changes in a mirror's table.
 *
 * Of each document only the last state counts.  Those that are gone are deleted
 * first, together with those that went and came again, as what came is another
 * document and its _id may have other bytes (1 and 1.0 are one key).  Then those
 * that are there are inserted, or take the place of their row if they differ.
 *
 * Statements get their rows as arrays of about a megabyte: larger ones fall out
 * of the processor's cache and are slower, and no number of documents gets near
 * the bounds of memory.  While there are only new documents, as in a copy, a
 * plain INSERT does with a third less time; where it meets a row that is there
 * it is undone, and the statement that looks for such rows goes in its place.
 *
 * All runs as the owner, who is the current user, under the settings of who
 * defined the mirror.  The values of a statement are evaluated before it, in a
 * subtransaction that is begun again when one of them fails, so that nothing
 * but values is lost.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "mirror/mirror_internal.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* What one statement takes: that many bytes of values, or the row that alone has more. */
#define STATEMENT_BYTES		(1024 * 1024)
#define STATEMENT_ROWS		1000

/* From how many rows on it is worth while to try whether all are new, and how many statements are left out behind failures. */
#define TRY_ROWS			32
#define TRY_PAUSE_MAX		4096

/* ---- the changes ---- */

/* What becomes of one document. */
typedef struct Change
{
	DocumentValue id;
	DocumentValue document;		/* type 0: it is gone */
	uint64		time;
	bool		went;			/* it was gone before it came (again) */
	bool		hidden;			/* the filter does not let it through */
} Change;

typedef struct ChangeEntry
{
	DocumentValue id;
	int			number;			/* of the change */
	uint32		hash;
	char		status;
} ChangeEntry;

static inline uint32
hash_id(DocumentValue id)
{
	uint64		hash = mcs_document_hash_value(&id, 0);

	return (uint32) (hash ^ (hash >> 32));
}

#define SH_PREFIX		changes
#define SH_ELEMENT_TYPE	ChangeEntry
#define SH_KEY_TYPE		DocumentValue
#define SH_KEY			id
#define SH_HASH_KEY(tb, key)	hash_id(key)
#define SH_EQUAL(tb, a, b)		(mcs_document_compare(&(a), &(b)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a)		(a)->hash
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct MirrorChanges
{
	MirrorTable *table;
	MemoryContext context;		/* that it was begun in */
	changes_hash *by_id;
	Change	   *changes;
	int			count;
	int			room;
	bool		emptied;		/* before all of them, no document existed */
	uint64		emptied_at;

	/* while it is written */
	MirrorResult *result;
	MemoryContext scratch;		/* of one statement */
};

MirrorChanges *
mcs_mirror_begin(MirrorTable *table)
{
	MirrorChanges *changes = palloc0(sizeof(MirrorChanges));

	changes->table = table;
	changes->context = CurrentMemoryContext;
	changes->by_id = changes_create(CurrentMemoryContext, 256, NULL);
	return changes;
}

/* The change of an _id, made if there is none. */
static Change *
change_of(MirrorChanges *changes, const DocumentValue *id)
{
	bool		found;
	ChangeEntry *entry = changes_insert(changes->by_id, *id, &found);
	Change	   *change;

	if (!found)
	{
		if (changes->count == changes->room)
		{
			changes->room = Max(changes->room * 2, 256);
			changes->changes = changes->changes ? repalloc_huge(changes->changes, sizeof(Change) * changes->room)
				: MemoryContextAllocHuge(changes->context, sizeof(Change) * changes->room);
		}
		entry->number = changes->count++;
		memset(&changes->changes[entry->number], 0, sizeof(Change));
	}
	change = &changes->changes[entry->number];
	/* an _id that is gone and one that came may be equal and of other bytes */
	change->id = *id;
	return change;
}

void
mcs_mirror_put(MirrorChanges *changes, const DocumentValue *document, uint64 time)
{
	DocumentValue id;
	Change	   *change;

	if (document->type != DOCUMENT_OBJECT)
		mcs_document_malformed();
	if (!mcs_document_find(document->data, document->size, MIRROR_ID, &id))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("a document came without an _id")));
	change = change_of(changes, &id);
	change->document = *document;
	change->time = time;
}

void
mcs_mirror_remove(MirrorChanges *changes, const DocumentValue *id, uint64 time)
{
	Change	   *change = change_of(changes, id);

	change->document.type = 0;
	change->went = true;
	change->time = time;
}

void
mcs_mirror_empty(MirrorChanges *changes, uint64 time)
{
	changes_reset(changes->by_id);
	changes->count = 0;
	changes->emptied = true;
	changes->emptied_at = time;
}

/* ---- evaluating ---- */

/* Counts a value that does not fit, and says of what; name NULL: the filter. */
static void
count_error(MirrorChanges *changes, const char *name, const char *message)
{
	MirrorResult *result = changes->result;
	MemoryContext old = MemoryContextSwitchTo(changes->context);

	result->column_errors++;
	if (result->column_error)
		pfree(result->column_error);
	result->column_error = psprintf("%s: %s", name ? name : "filter", message);
	MemoryContextSwitchTo(old);
}

/*
 * Takes an error of a value, in a subtransaction that is begun again.  One that
 * says nothing about the value, as a full disk or a cancel, is raised.
 */
static char *
take_error(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	if (!mcs_event_is_cause(error))
		ReThrowError(error);
	return error->message ? error->message : "unknown error";
}

/* Whether the filter lets the document through that is set; unknown is not, nor is an error. */
static bool
passes(MirrorChanges *changes)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = false;

	PG_TRY();
	{
		result = mcs_expression_passes(changes->table->expressions);
	}
	PG_CATCH();
	{
		count_error(changes, NULL, take_error(context));
	}
	PG_END_TRY();
	return result;
}

/* A value of the definition's, of the document that is set; null where it does not fit. */
static Datum
field_value(MirrorChanges *changes, const TableColumn *column, bool *isnull)
{
	MirrorTable *table = changes->table;
	MemoryContext context = CurrentMemoryContext;
	volatile Datum result = (Datum) 0;
	volatile bool null = true;

	PG_TRY();
	{
		bool		value_isnull;
		Datum		value = mcs_expression_value(table->expressions, column->field, &value_isnull);

		result = mcs_value_convert(table, column, value, &value_isnull);
		null = value_isnull;
	}
	PG_CATCH();
	{
		count_error(changes, column->name, take_error(context));
		null = true;
	}
	PG_END_TRY();
	*isnull = null;
	return result;
}

/* What of a document is stored. */
static DocumentValue
shown(MirrorChanges *changes, const Change *change)
{
	DocumentValue document = change->document;

	if (changes->table->mask)
		mcs_event_mask_document(changes->table->mask, &document);
	return document;
}

/* A subtransaction in which values are evaluated; it is none where none of them can fail. */
typedef struct Evaluation
{
	bool		begun;
	MemoryContext context;
	ResourceOwner owner;
} Evaluation;

static void
begin_evaluation(Evaluation *evaluation, bool needed)
{
	evaluation->begun = needed;
	evaluation->context = CurrentMemoryContext;
	evaluation->owner = CurrentResourceOwner;
	if (needed)
		BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(evaluation->context);
}

static void
end_evaluation(const Evaluation *evaluation)
{
	if (evaluation->begun)
		ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(evaluation->context);
	CurrentResourceOwner = evaluation->owner;
}

/* Finds out which documents the filter does not let through: they are gone, for the mirror. */
static void
filter(MirrorChanges *changes)
{
	Evaluation	evaluation;
	MemoryContext old;

	if (changes->table->definition.translated_filter == NULL)
		return;
	old = MemoryContextSwitchTo(changes->scratch);
	begin_evaluation(&evaluation, true);
	for (int i = 0; i < changes->count; i++)
	{
		Change	   *change = &changes->changes[i];
		DocumentValue document;

		CHECK_FOR_INTERRUPTS();
		if (change->document.type == 0)
			continue;
		document = shown(changes, change);
		mcs_expression_set_document(changes->table->expressions,
									mcs_document_make(document.type, document.data, document.size));
		change->hidden = !passes(changes);
		MemoryContextReset(changes->scratch);
	}
	end_evaluation(&evaluation);
	MemoryContextSwitchTo(old);
}

/* ---- statements ---- */

static void
execute(MirrorChanges *changes, TableStatement statement, Datum *values)
{
	SPIPlanPtr	plan = mcs_table_plan(changes->table, statement);
	int			result = SPI_execute_plan(plan, values, NULL, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", changes->table->sql[statement], SPI_result_code_string(result));
	if (statement != STATEMENT_STORED)
		changes->result->rows_written += SPI_processed;
}

/* The _id of a change, for an error. */
static char *
id_text(const DocumentValue *id)
{
	char	   *text = mcs_document_out_text(mcs_document_make(id->type, id->data, id->size));

	return pnstrdup(text, pg_mbcliplen(text, strlen(text), 200));
}

/* Says which _id it was that did not fit. */
static void
id_context(void *arg)
{
	errcontext("_id %s", id_text(arg));
}

/* The value of an _id as the column has it; false where it has none, and none may be needed. */
static bool
id_value(MirrorChanges *changes, const Change *change, bool needed, Datum *value)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = id_context,.arg = unconstify(DocumentValue *, &change->id)};
	volatile bool has = true;

	if (changes->table->id_is_document || needed)
	{
		error_context_stack = &callback;
		*value = mcs_value_of_id(changes->table, &change->id);
		error_context_stack = callback.previous;
		return true;
	}
	/* a document whose _id does not fit has no row */
	PG_TRY();
	{
		*value = mcs_value_of_id(changes->table, &change->id);
	}
	PG_CATCH();
	{
		(void) take_error(context);
		has = false;
	}
	PG_END_TRY();
	return has;
}

/* The rows of one statement while they are gathered: changes, and the values of each column. */
typedef struct Rows
{
	int			count;
	Size		bytes;
	const Change *changes[STATEMENT_ROWS];
	Datum	  **values;			/* by column */
	bool	  **nulls;
} Rows;

static void
begin_rows(Rows *rows, int columns)
{
	rows->count = 0;
	rows->bytes = 0;
	rows->values = palloc(sizeof(Datum *) * columns);
	rows->nulls = palloc(sizeof(bool *) * columns);
	for (int i = 0; i < columns; i++)
	{
		rows->values[i] = palloc(sizeof(Datum) * STATEMENT_ROWS);
		rows->nulls[i] = palloc0(sizeof(bool) * STATEMENT_ROWS);
	}
}

static bool
is_full(const Rows *rows)
{
	return rows->count == STATEMENT_ROWS || rows->bytes >= STATEMENT_BYTES;
}

/* Whether values are evaluated that may fail. */
static bool
evaluates(const MirrorTable *table)
{
	return !table->id_is_document || table->definition.translated_columns;
}

/* Adds a row with its _id; false where the column has no value for that. */
static bool
add_row(MirrorChanges *changes, Rows *rows, const Change *change, bool needed)
{
	if (!id_value(changes, change, needed, &rows->values[0][rows->count]))
		return false;
	rows->changes[rows->count] = change;
	rows->bytes += change->id.size;
	return true;
}

/* ---- _ids of other types ---- */

/* Raises that two documents would be one row. */
static void pg_attribute_noreturn()
refuse_other(MirrorChanges *changes, const Change *change, const DocumentValue *other)
{
	const TableColumn *id = &changes->table->columns[0];

	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("two documents would be the same row of %s", changes->table->definition.table),
			 errdetail("Their _ids are %s and %s, which are one value of type %s.",
					   id_text(other), id_text(&change->id), format_type_be(id->type)),
			 errhint("Let column \"%s\" have type document.", MIRROR_ID)));
}

/*
 * Where _id has another type than document, the row of a value may be that of
 * another document.  One that is to be removed has no row then; one that is
 * to be written must not take the other's.
 */
static void
check_stored(MirrorChanges *changes, Rows *rows, bool removes)
{
	Datum	   *numbers;
	bool	   *others;
	Datum		values[2];
	int			count = 0;

	if (changes->table->sql[STATEMENT_STORED] == NULL)
		return;
	numbers = palloc(sizeof(Datum) * rows->count);
	others = palloc0(sizeof(bool) * rows->count);
	for (int i = 0; i < rows->count; i++)
		numbers[i] = Int32GetDatum(i);
	values[0] = mcs_value_array(&changes->table->columns[0], rows->values[0], NULL, rows->count);
	values[1] = PointerGetDatum(construct_array(numbers, rows->count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	execute(changes, STATEMENT_STORED, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int			number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		Datum		stored = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		DocumentValue id;

		/* no document: a row that somebody else has made */
		if (isnull)
			continue;
		id = mcs_document_take(DatumGetDocumentP(stored));
		if (mcs_document_compare(&id, &rows->changes[number]->id) == 0)
			continue;
		if (!removes)
			refuse_other(changes, rows->changes[number], &id);
		others[number] = true;
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < rows->count; i++)
	{
		if (others[i])
			continue;
		rows->values[0][count] = rows->values[0][i];
		rows->changes[count++] = rows->changes[i];
	}
	if (removes)
		rows->count = count;
}

/* ---- rows that go ---- */

/* Whether the row of a document goes, or is marked. */
static bool
goes(const MirrorChanges *changes, const Change *change)
{
	if (change->document.type == 0 || change->hidden)
		return true;
	/* one that came again: a mark is taken away when it is written */
	return change->went && changes->table->definition.on_delete == MIRROR_ON_DELETE_DELETE;
}

/* Deletes or marks the rows that were gathered. */
static void
write_gone(MirrorChanges *changes, Rows *rows)
{
	MirrorTable *table = changes->table;
	Datum		values[2];

	check_stored(changes, rows, true);
	if (rows->count == 0)
		return;
	values[0] = mcs_value_array(&table->columns[0], rows->values[0], NULL, rows->count);
	if (table->definition.on_delete == MIRROR_ON_DELETE_MARK)
	{
		Datum	   *times = palloc(sizeof(Datum) * rows->count);

		for (int i = 0; i < rows->count; i++)
			times[i] = TimestampTzGetDatum(mcs_event_timestamp(rows->changes[i]->time));
		values[1] = PointerGetDatum(construct_array(times, rows->count, TIMESTAMPTZOID, sizeof(int64),
													FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		execute(changes, STATEMENT_MARK, values);
	}
	else
		execute(changes, STATEMENT_DELETE, values);
}

/* The next statement of those rows, from a change on; returns the change behind. */
static int
write_next_gone(MirrorChanges *changes, int at)
{
	Evaluation	evaluation;
	Rows		rows;

	begin_rows(&rows, 1);
	begin_evaluation(&evaluation, evaluates(changes->table));
	for (; at < changes->count && !is_full(&rows); at++)
		if (goes(changes, &changes->changes[at]) && add_row(changes, &rows, &changes->changes[at], false))
			rows.count++;
	end_evaluation(&evaluation);
	if (rows.count > 0)
		write_gone(changes, &rows);
	return at;
}

/* All rows, where no document exists any more. */
static void
write_emptied(MirrorChanges *changes)
{
	Datum		time = TimestampTzGetDatum(mcs_event_timestamp(changes->emptied_at));

	if (changes->table->definition.on_delete == MIRROR_ON_DELETE_MARK)
		execute(changes, STATEMENT_MARK_ALL, &time);
	else
		execute(changes, STATEMENT_DELETE_ALL, NULL);
}

/* ---- rows that come ---- */

/* Keeps a value of a row. */
static void
set_value(Rows *rows, int column, Datum value, bool isnull, bool by_reference)
{
	rows->values[column][rows->count] = value;
	rows->nulls[column][rows->count] = isnull;
	if (by_reference && !isnull)
		rows->bytes += VARSIZE_ANY(DatumGetPointer(value));
}

/* The values of a document's row. */
static void
add_document(MirrorChanges *changes, Rows *rows, const Change *change)
{
	MirrorTable *table = changes->table;
	DocumentValue value = shown(changes, change);
	Document   *document = NULL;

	(void) add_row(changes, rows, change, true);
	if (table->document || table->expressions)
		document = mcs_document_make(value.type, value.data, value.size);
	if (table->expressions)
		mcs_expression_set_document(table->expressions, document);
	for (int i = 1; i < table->column_count; i++)
	{
		TableColumn *column = &table->columns[i];
		bool		isnull;
		Datum		field;

		if (column == table->document)
			set_value(rows, i, DocumentPGetDatum(document), false, true);
		else if (column == table->changed_at)
			set_value(rows, i, TimestampTzGetDatum(mcs_event_timestamp(change->time)), false, false);
		else
		{
			field = field_value(changes, column, &isnull);
			set_value(rows, i, field, isnull, column->as_text || column->length == -1);
		}
	}
	ResetExprContext(table->econtext);
	rows->count++;
}

/* The statement that takes all rows for new ones. */
typedef struct Attempt
{
	MirrorChanges *changes;
	Datum	   *values;
} Attempt;

static void
insert_new(void *arg)
{
	Attempt    *attempt = arg;

	execute(attempt->changes, STATEMENT_INSERT, attempt->values);
}

/* Tries that; false where it has met a row that is there. */
static bool
try_new(MirrorChanges *changes, Datum *values, int count)
{
	MirrorTable *table = changes->table;
	Attempt		attempt = {changes, values};
	ErrorData  *error;

	if (count < TRY_ROWS)
		return false;
	if (table->tries_left_out > 0)
	{
		table->tries_left_out--;
		return false;
	}
	error = mcs_attempt(insert_new, &attempt);
	if (error == NULL)
	{
		table->tries_pause = 1;
		return true;
	}
	/* of which index, is for the other statement to find out */
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);
	FreeErrorData(error);
	table->tries_left_out = table->tries_pause;
	table->tries_pause = Min(table->tries_pause * 4, TRY_PAUSE_MAX);
	return false;
}

/* Writes the rows that were gathered. */
static void
write_rows(MirrorChanges *changes, Rows *rows)
{
	MirrorTable *table = changes->table;
	Datum	   *values = palloc(sizeof(Datum) * table->column_count);

	check_stored(changes, rows, false);
	for (int i = 0; i < table->column_count; i++)
		values[i] = mcs_value_array(&table->columns[i], rows->values[i], rows->nulls[i], rows->count);
	if (!try_new(changes, values, rows->count))
		execute(changes, STATEMENT_UPSERT, values);
}

/* The next statement of those rows, from a change on; returns the change behind. */
static int
write_next_rows(MirrorChanges *changes, int at)
{
	Evaluation	evaluation;
	Rows		rows;

	begin_rows(&rows, changes->table->column_count);
	begin_evaluation(&evaluation, evaluates(changes->table));
	for (; at < changes->count && !is_full(&rows); at++)
	{
		const Change *change = &changes->changes[at];

		CHECK_FOR_INTERRUPTS();
		if (change->document.type != 0 && !change->hidden)
			add_document(changes, &rows, change);
	}
	end_evaluation(&evaluation);
	if (rows.count > 0)
		write_rows(changes, &rows);
	return at;
}

/* ---- all of it ---- */

/* Says which mirror it was, and more where PostgreSQL's own words say nothing of it. */
static void
write_context(void *arg)
{
	const MirrorTable *table = arg;

	if (geterrcode() == ERRCODE_CARDINALITY_VIOLATION && !table->id_is_document)
		errhint("The _ids of two documents are one value of the type of column \"%s\".  Let it have type document.", MIRROR_ID);
	errcontext("mirror \"%s\"", table->definition.name);
}

/* Goes through the changes, one statement after the other. */
static void
write_all(MirrorChanges *changes, int (*write_next) (MirrorChanges *changes, int at))
{
	for (int at = 0; at < changes->count;)
	{
		MemoryContext old = MemoryContextSwitchTo(changes->scratch);

		CHECK_FOR_INTERRUPTS();
		at = write_next(changes, at);
		MemoryContextSwitchTo(old);
		MemoryContextReset(changes->scratch);
	}
}

void
mcs_mirror_write(MirrorChanges *changes, MirrorResult *result)
{
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = write_context,.arg = changes->table};
	int			level = mcs_owner_begin_settings(changes->table->definition.settings);

	error_context_stack = &callback;
	memset(result, 0, sizeof(*result));
	changes->result = result;
	changes->scratch = AllocSetContextCreate(changes->context, "mirror rows", ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	filter(changes);
	if (changes->emptied)
		write_emptied(changes);
	else
		write_all(changes, write_next_gone);
	write_all(changes, write_next_rows);
	PopActiveSnapshot();
	SPI_finish();
	MemoryContextDelete(changes->scratch);
	changes->scratch = NULL;
	error_context_stack = callback.previous;
	mcs_owner_end_settings(level);
}

/* ---- reading ---- */

List *
mcs_mirror_next_ids(MirrorTable *table, const Document *after, int limit)
{
	MemoryContext context = CurrentMemoryContext;
	TableStatement statement = after ? STATEMENT_NEXT_IDS : STATEMENT_FIRST_IDS;
	Datum		value = DocumentPGetDatum(after);
	List	   *ids = NIL;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute_plan(mcs_table_plan(table, statement), &value, NULL, false, limit);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", table->sql[statement], SPI_result_code_string(result));
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);

		/* a unique column may be null, in rows that are not the mirror's */
		if (!isnull)
			ids = lappend(ids, PG_DETOAST_DATUM_COPY(id));
	}
	PopActiveSnapshot();
	SPI_finish();
	return ids;
}
