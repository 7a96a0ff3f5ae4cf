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
 * the bounds of memory.  INSERT ... ON CONFLICT DO UPDATE does for any rows.  But
 * while all documents are new, as in a copy, a plain INSERT takes a third less
 * time, and while all have rows, as when the stream catches up, so does an UPDATE.
 * So what all rows are is guessed by what they were before; where that is wrong,
 * the statement for any rows follows.  That it is wrong the unique index on _id
 * says, whoever has made the row that is in the way; nothing has to be known of it.
 * New rows of most tables need no statement (mirror/inserter.c).
 *
 * All runs as the owner, who is the current user, under the settings of who
 * defined the mirror.  The values of a statement are evaluated before it
 * (mirror/evaluate.c).
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* What one statement takes: that many bytes of values, or the row that alone has more. */
#define STATEMENT_BYTES		(1024 * 1024)
#define STATEMENT_ROWS		1000

/* What is inserted below SQL before it counts: where the guess was wrong, so much is in vain. */
#define INSERT_BYTES		(8 * 1024 * 1024)

/* From how many rows on a guess is worth while, and how many statements are left out behind wrong ones. */
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
	bool		has_key;
	Datum		key;			/* the _id as the column has it, where that has another type than document */
} Change;

typedef struct Rows Rows;

struct MirrorChanges
{
	MirrorTable *table;
	MemoryContext context;		/* that it was begun in */
	ids_hash   *by_id;
	Change	   *changes;
	int			count;
	int			room;
	bool		of_rows;		/* rows that go, whatever document is in them, and nothing else */
	bool		emptied;		/* before all of them, no document existed */
	uint64		emptied_at;

	/* while it is written */
	MirrorResult *result;
	MemoryContext scratch;		/* of one statement */
	int			at;				/* the next change */
	Rows	   *rows;			/* those of the statement */
};

MirrorChanges *
mcs_mirror_begin(MirrorTable *table)
{
	MirrorChanges *changes = palloc0(sizeof(MirrorChanges));

	changes->table = table;
	changes->context = CurrentMemoryContext;
	changes->by_id = ids_create(CurrentMemoryContext, 256, NULL);
	return changes;
}

/* Room for one more. */
static Change *
add_change(MirrorChanges *changes)
{
	if (changes->count == changes->room)
	{
		changes->room = Max(changes->room * 2, 256);
		changes->changes = changes->changes ? repalloc_huge(changes->changes, sizeof(Change) * changes->room)
			: MemoryContextAllocHuge(changes->context, sizeof(Change) * changes->room);
	}
	return memset(&changes->changes[changes->count++], 0, sizeof(Change));
}

/* The change of an _id, made if there is none. */
static Change *
change_of(MirrorChanges *changes, const DocumentValue *id)
{
	bool		found;
	IdEntry    *entry = ids_insert(changes->by_id, *id, &found);
	Change	   *change;

	if (!found)
	{
		entry->number = changes->count;
		(void) add_change(changes);
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
mcs_mirror_remove_row(MirrorChanges *changes, const MirrorRow *row, uint64 time)
{
	Change	   *change = add_change(changes);

	change->id = mcs_document_value(row->key);
	change->went = true;
	change->time = time;
	change->has_key = true;
	change->key = row->value;
	changes->of_rows = true;
}

void
mcs_mirror_empty(MirrorChanges *changes, uint64 time)
{
	ids_reset(changes->by_id);
	changes->count = 0;
	changes->emptied = true;
	changes->emptied_at = time;
}

int
mcs_mirror_count(const MirrorChanges *changes)
{
	return changes->count;
}

MirrorChanges *
mcs_mirror_part(const MirrorChanges *changes, int first, int count, DocumentValue *id)
{
	MirrorChanges *part = mcs_mirror_begin(changes->table);
	int			number = 0;

	part->emptied = changes->emptied && first == 0;
	part->emptied_at = changes->emptied_at;
	/* those that are gone come first, as when all are written */
	for (int turn = 0; turn < 2; turn++)
		for (int i = 0; i < changes->count; i++)
		{
			const Change *change = &changes->changes[i];

			if ((change->document.type != 0) != (turn == 1))
				continue;
			if (number >= first && number < first + count)
				*change_of(part, &change->id) = *change;
			number++;
		}
	*id = part->changes[0].id;
	return part;
}

/* ---- what becomes of them ---- */

/* Finds out which documents the filter does not let through: they are gone, for the mirror. */
static void
filter(void *arg)
{
	MirrorChanges *changes = arg;

	for (int i = 0; i < changes->count; i++)
	{
		Change	   *change = &changes->changes[i];

		CHECK_FOR_INTERRUPTS();
		if (change->document.type == 0)
			continue;
		(void) mcs_evaluate_show(changes->table, &change->document);
		change->hidden = !mcs_evaluate_passes(changes->table);
		MemoryContextReset(changes->scratch);
	}
}

/* Whether a document has a row when all is written. */
static bool
comes(const Change *change)
{
	return change->document.type != 0 && !change->hidden;
}

/* Says which _id it was that did not fit. */
static void
id_context(void *arg)
{
	errcontext("_id %s", mcs_typed_id_text(arg));
}

/* The _id of a change as the column has it.  A document that is gone and whose _id does not fit has no row. */
static void
find_key(MirrorChanges *changes, Change *change)
{
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = id_context,.arg = &change->id};

	if (!comes(change))
	{
		change->has_key = mcs_evaluate_id(changes->table, &change->id, &change->key);
		return;
	}
	error_context_stack = &callback;
	change->key = mcs_mirror_value_of_id(changes->table, &change->id);
	change->has_key = true;
	error_context_stack = callback.previous;
}

/* All of them, which must be different ones. */
static void
find_keys(void *arg)
{
	MirrorChanges *changes = arg;
	Datum	   *keys;
	const DocumentValue **ids;
	int			count = 0;

	MemoryContextSwitchTo(changes->context);
	keys = palloc(sizeof(Datum) * Max(changes->count, 1));
	ids = palloc(sizeof(DocumentValue *) * Max(changes->count, 1));
	for (int i = 0; i < changes->count; i++)
	{
		Change	   *change = &changes->changes[i];

		CHECK_FOR_INTERRUPTS();
		find_key(changes, change);
		ResetExprContext(changes->table->econtext);
		if (!comes(change))
			continue;
		keys[count] = change->key;
		ids[count++] = &change->id;
	}
	mcs_typed_id_check_distinct(changes->table, keys, ids, count);
}

/* ---- statements ---- */

static void
execute(MirrorChanges *changes, TableStatement statement, Datum *values)
{
	SPIPlanPtr	plan = mcs_mirror_plan(changes->table, statement);
	int			result = SPI_execute_plan(plan, values, NULL, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", changes->table->sql[statement], SPI_result_code_string(result));
	changes->result->rows_written += SPI_processed;
}

/* The rows of one statement while they are gathered: changes, and the values of each column. */
struct Rows
{
	int			count;
	int			room;
	Size		bytes;
	Size		most;			/* bytes, behind which it is full */
	const DocumentValue **ids;
	uint64	   *times;
	Datum	  **values;			/* by column */
	bool	  **nulls;
};

/* Room for the rows that are next, up to so many and so many bytes; most transactions have but a few. */
static Rows *
make_rows(const MirrorChanges *changes, int columns, int room, Size most)
{
	Rows	   *rows = palloc(sizeof(Rows));

	rows->count = 0;
	rows->room = Min(room, changes->count - changes->at);
	rows->most = most;
	rows->ids = palloc(sizeof(DocumentValue *) * rows->room);
	rows->times = palloc(sizeof(uint64) * rows->room);
	rows->bytes = 0;
	rows->values = palloc(sizeof(Datum *) * columns);
	rows->nulls = palloc(sizeof(bool *) * columns);
	for (int i = 0; i < columns; i++)
	{
		rows->values[i] = palloc(sizeof(Datum) * rows->room);
		rows->nulls[i] = palloc0(sizeof(bool) * rows->room);
	}
	return rows;
}

static bool
is_full(const Rows *rows)
{
	return rows->count == rows->room || rows->bytes >= rows->most;
}

/* Begins a row; it counts when all of it is there. */
static void
begin_row(MirrorChanges *changes, const Change *change)
{
	Rows	   *rows = changes->rows;

	rows->values[0][rows->count] = changes->table->id_is_document
		? DocumentPGetDatum(mcs_document_make(change->id.type, change->id.data, change->id.size)) : change->key;
	rows->ids[rows->count] = &change->id;
	rows->times[rows->count] = change->time;
	rows->bytes += change->id.size;
}

/* ---- rows that go ---- */

/* Whether the row of a document goes, or is marked. */
static bool
goes(const MirrorChanges *changes, const Change *change)
{
	if (!changes->table->id_is_document && !change->has_key)
		return false;
	/* one that came again, too: a mark is taken away when it is written */
	return !comes(change) || (change->went && changes->table->definition.on_delete == MIRROR_ON_DELETE_DELETE);
}

/* Leaves out rows of other documents, whose _id is the same value of the column's type. */
static void
leave_others(MirrorTable *table, Rows *rows)
{
	bool	   *others = mcs_typed_id_find_others(table, rows->values[0], rows->ids, rows->count, false);
	int			count = 0;

	for (int i = 0; i < rows->count; i++)
	{
		if (others[i])
			continue;
		rows->values[0][count] = rows->values[0][i];
		rows->times[count++] = rows->times[i];
	}
	rows->count = count;
}

/* Deletes or marks the rows that were gathered. */
static void
write_gone(MirrorChanges *changes, Rows *rows)
{
	MirrorTable *table = changes->table;
	Datum		values[2];

	if (table->sql[STATEMENT_STORED] && !changes->of_rows)
		leave_others(table, rows);
	if (rows->count == 0)
		return;
	values[0] = mcs_mirror_value_array(&table->columns[0], rows->values[0], NULL, rows->count);
	if (table->definition.on_delete == MIRROR_ON_DELETE_MARK)
	{
		Datum	   *times = palloc(sizeof(Datum) * rows->count);

		for (int i = 0; i < rows->count; i++)
			times[i] = TimestampTzGetDatum(mcs_event_timestamp(rows->times[i]));
		values[1] = PointerGetDatum(construct_array(times, rows->count, TIMESTAMPTZOID, sizeof(int64),
													FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		execute(changes, STATEMENT_MARK, values);
	}
	else
		execute(changes, STATEMENT_DELETE, values);
}

/* The next statement of those rows. */
static void
write_next_gone(MirrorChanges *changes)
{
	Rows	   *rows = changes->rows = make_rows(changes, 1, STATEMENT_ROWS, STATEMENT_BYTES);

	for (; changes->at < changes->count && !is_full(rows); changes->at++)
	{
		const Change *change = &changes->changes[changes->at];

		if (!goes(changes, change))
			continue;
		begin_row(changes, change);
		rows->count++;
	}
	if (rows->count > 0)
		write_gone(changes, rows);
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
add_row(MirrorChanges *changes, const Change *change)
{
	MirrorTable *table = changes->table;
	Rows	   *rows = changes->rows;
	Document   *document = mcs_evaluate_show(table, &change->document);

	begin_row(changes, change);
	for (int i = 1; i < table->column_count; i++)
	{
		TableColumn *column = &table->columns[i];

		if (column == table->document)
			set_value(rows, i, DocumentPGetDatum(document), false, true);
		else if (column == table->changed_at)
			set_value(rows, i, TimestampTzGetDatum(mcs_event_timestamp(change->time)), false, false);
		else
		{
			bool		isnull;
			Datum		field = mcs_evaluate_field(table, column, &isnull);

			set_value(rows, i, field, isnull, column->as_text || column->length == -1);
		}
	}
	ResetExprContext(table->econtext);
	rows->count++;
}

/* As many as there is room for. */
static void
add_rows(void *arg)
{
	MirrorChanges *changes = arg;

	for (; changes->at < changes->count && !is_full(changes->rows); changes->at++)
	{
		CHECK_FOR_INTERRUPTS();
		if (comes(&changes->changes[changes->at]))
			add_row(changes, &changes->changes[changes->at]);
	}
}

/* Gathers the next rows, up to so many. */
static Rows *
gather_rows(MirrorChanges *changes, int room, Size most)
{
	changes->rows = make_rows(changes, changes->table->column_count, room, most);
	if (changes->table->definition.translated_columns)
		mcs_evaluate(add_rows, changes, changes->scratch);
	else
		add_rows(changes);
	return changes->rows;
}

/* ---- a guess of what they are ---- */

static void
note_right(MirrorTable *table)
{
	table->wrong_guesses = 0;
	table->tries_pause = 1;
}

/* The other one is next; where both are wrong, rows of both kinds come, and guesses cost more than they spare. */
static void
note_wrong(MirrorTable *table, bool there_is_next)
{
	table->guess_there = there_is_next;
	if (++table->wrong_guesses >= 2 || table->sql[STATEMENT_UPDATE] == NULL)
	{
		table->tries_left_out = table->tries_pause;
		table->tries_pause = Min(table->tries_pause * 4, TRY_PAUSE_MAX);
		table->wrong_guesses = 0;
	}
}

/* A statement that takes all rows for new ones, or for ones that are there. */
typedef struct Attempt
{
	MirrorChanges *changes;
	TableStatement statement;
	Datum	   *values;
	uint64		rows;			/* that it wrote */
} Attempt;

static void
attempt_all(void *arg)
{
	Attempt    *attempt = arg;

	execute(attempt->changes, attempt->statement, attempt->values);
	attempt->rows = SPI_processed;
}

/* Whether an error says no more than that the guess was wrong, or that the table does not take such a statement. */
static bool
was_wrong(MirrorTable *table, TableStatement statement, const ErrorData *error)
{
	/* of which index, is for the other statement to find out */
	if (statement == STATEMENT_INSERT)
		return error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION;
	if (error->sqlerrcode != ERRCODE_FEATURE_NOT_SUPPORTED)
		return false;
	table->sql[STATEMENT_UPDATE] = NULL;
	return true;
}

/* Tries what most likely all rows are; false where the statement for any rows is to follow. */
static bool
try_guess(MirrorChanges *changes, Datum *values, int count)
{
	MirrorTable *table = changes->table;
	Attempt		attempt = {changes, STATEMENT_INSERT, values, 0};
	ErrorData  *error;

	if (count < TRY_ROWS || (table->tries_left_out > 0 && table->tries_left_out-- > 0))
		return false;
	if (table->guess_there && table->sql[STATEMENT_UPDATE])
		attempt.statement = STATEMENT_UPDATE;
	error = mcs_attempt(attempt_all, &attempt);
	if (error && !was_wrong(table, attempt.statement, error))
		ReThrowError(error);
	if (error == NULL && (attempt.statement == STATEMENT_INSERT || attempt.rows == count))
	{
		note_right(table);
		return true;
	}
	note_wrong(table, attempt.statement == STATEMENT_INSERT);
	return false;
}

/* Writes the rows that were gathered. */
static void
write_rows(MirrorChanges *changes, Rows *rows)
{
	MirrorTable *table = changes->table;
	Datum	   *values = palloc(sizeof(Datum) * table->column_count);

	if (table->sql[STATEMENT_STORED])
		(void) mcs_typed_id_find_others(table, rows->values[0], rows->ids, rows->count, true);
	for (int i = 0; i < table->column_count; i++)
		values[i] = mcs_mirror_value_array(&table->columns[i], rows->values[i], rows->nulls[i], rows->count);
	if (!try_guess(changes, values, rows->count))
		execute(changes, STATEMENT_UPSERT, values);
}

/* The next statement of those rows. */
static void
write_next_rows(MirrorChanges *changes)
{
	Rows	   *rows = gather_rows(changes, STATEMENT_ROWS, STATEMENT_BYTES);

	if (rows->count > 0)
		write_rows(changes, rows);
}

/* ---- rows that come, below SQL ---- */

/* What is inserted in one subtransaction. */
typedef struct Insertion
{
	MirrorChanges *changes;
	MemoryContext context;
	int64		rows;
} Insertion;

static void
insert_rows(void *arg)
{
	Insertion  *insertion = arg;
	MirrorChanges *changes = insertion->changes;
	MirrorInserter *inserter = NULL;
	Size		bytes = 0;

	while (changes->at < changes->count && bytes < INSERT_BYTES)
	{
		Rows	   *rows;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(changes->scratch);
		rows = gather_rows(changes, MIRROR_INSERT_ROWS, MIRROR_INSERT_BYTES);
		MemoryContextSwitchTo(insertion->context);
		if (rows->count > 0 && inserter == NULL)
			inserter = mcs_mirror_insert_begin(changes->table);
		if (rows->count > 0)
			mcs_mirror_insert(inserter, rows->values, rows->nulls, rows->count);
		insertion->rows += rows->count;
		bytes += rows->bytes;
		MemoryContextReset(changes->scratch);
	}
	if (inserter)
		mcs_mirror_insert_end(inserter);
}

/* Takes the next rows for new ones and inserts them below SQL; false where that is not to be done, or was wrong. */
static bool
try_insert(MirrorChanges *changes)
{
	MirrorTable *table = changes->table;
	MemoryContext old;
	Insertion	insertion = {.changes = changes};
	int			from = changes->at;
	int64		column_errors = changes->result->column_errors;
	ErrorData  *error;

	if (table->guess_there || table->tries_left_out > 0 || changes->count - from < TRY_ROWS || !mcs_mirror_inserts(table))
		return false;
	insertion.context = AllocSetContextCreate(changes->context, "mirror insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(changes->context);
	error = mcs_attempt(insert_rows, &insertion);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(insertion.context);
	if (error == NULL)
	{
		note_right(table);
		changes->result->rows_written += insertion.rows;
		return true;
	}
	/* of which index, is for the statement to find out */
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
		ReThrowError(error);
	note_wrong(table, true);
	MemoryContextReset(changes->scratch);
	changes->result->column_errors = column_errors;
	changes->at = from;
	return false;
}

/* ---- all of it ---- */

/* Says which mirror it was, and of a value that is there twice what that may come from. */
static void
write_context(void *arg)
{
	const MirrorTable *table = arg;

	/* a mirror that was stopped for a while is copied row by row, and a value may have gone from one document to another */
	if (geterrcode() == ERRCODE_UNIQUE_VIOLATION)
		errhint("If MongoDB has the value once, the row that holds it is of before: DELETE it FROM %s, and the copy brings it as it is",
				table->definition.table);
	errcontext("mirror \"%s\"", table->definition.name);
}

/* Goes through the changes, one statement after the other. */
static void
write_all(MirrorChanges *changes, bool (*try_next) (MirrorChanges *changes), void (*write_next) (MirrorChanges *changes))
{
	changes->at = 0;
	while (changes->at < changes->count)
	{
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (try_next && try_next(changes))
			continue;
		old = MemoryContextSwitchTo(changes->scratch);
		write_next(changes);
		MemoryContextSwitchTo(old);
		MemoryContextReset(changes->scratch);
	}
}

static int
compare_changes(const void *a, const void *b)
{
	return mcs_document_compare(&((const Change *) a)->id, &((const Change *) b)->id);
}

/* All of it, in order: what users hang on other columns may not have room for both who goes and who comes. */
static void
write_changes(MirrorChanges *changes)
{
	/* by _id: one row after the other is found in the same pages of the index, which are in the processor's cache then */
	if (changes->table->any_order)
		qsort(changes->changes, changes->count, sizeof(Change), compare_changes);
	if (changes->table->definition.translated_filter)
		mcs_evaluate(filter, changes, changes->scratch);
	if (!changes->table->id_is_document && !changes->of_rows)
		mcs_evaluate(find_keys, changes, changes->scratch);
	if (changes->emptied)
		write_emptied(changes);
	else
		write_all(changes, NULL, write_next_gone);
	write_all(changes, try_insert, write_next_rows);
}

void
mcs_mirror_write(MirrorChanges *changes, MirrorResult *result)
{
	ErrorContextCallback callback = {.previous = error_context_stack,.callback = write_context,.arg = changes->table};
	int			level = mcs_owner_begin_settings(changes->table->definition.settings);

	error_context_stack = &callback;
	memset(result, 0, sizeof(*result));
	changes->result = result;
	changes->table->result = result;
	changes->table->result_context = changes->context;
	changes->scratch = AllocSetContextCreate(changes->context, "mirror rows", ALLOCSET_DEFAULT_SIZES);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	write_changes(changes);
	PopActiveSnapshot();
	SPI_finish();
	MemoryContextDelete(changes->scratch);
	changes->scratch = NULL;
	changes->table->result = NULL;
	error_context_stack = callback.previous;
	mcs_owner_end_settings(level);
}
