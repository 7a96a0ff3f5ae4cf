/*
 * mirror/compare.c
 *	  Documents of MongoDB's beside rows of a mirror's table, for
 *	  check_change_mirror (check.c), which sees to it that both are of one time.
 *
 * A row must be what the mirror would write now: the document without what is
 * masked, to the byte, and the columns as its expressions give them.  So the
 * same code makes both.  changed_at is not compared: a copy has its own.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Rows of one part. */
#define PART_ROWS	1000

/* ---- differences ---- */

/* Adds a row to the result; a NULL document is SQL's null. */
static void
put_difference(MirrorCheck *check, const char *difference, const Document *id, const Document *here, const Document *there)
{
	Datum		values[4] = {CStringGetTextDatum(difference), DocumentPGetDatum(id), DocumentPGetDatum(here), DocumentPGetDatum(there)};
	bool		nulls[4] = {false, id == NULL, here == NULL, there == NULL};

	tuplestore_putvalues(check->rows->setResult, check->rows->setDesc, values, nulls);
}

/* A column's value as a document. */
static Document *
value_document(const TableColumn *column, Datum value, bool isnull)
{
	DocumentBuilder builder;

	if (isnull)
		return NULL;
	mcs_document_build(&builder);
	mcs_document_append_datum(&builder, NULL, value, false, column->as_text ? TEXTOID : column->base, mcs_extension_document());
	return mcs_document_finish(&builder);
}

static bool
same_bytes(const Document *a, const Document *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) && memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* ---- what rows are to be ---- */

/* The row that a document is to have. */
typedef struct Expected
{
	const DocumentValue *document;	/* as MongoDB has it */
	DocumentValue id;
	Document   *shown;			/* as it is stored */
	bool		passes;			/* there is to be a row */
	bool		has_key;
	Datum		key;			/* _id as the column has it */
	Datum	   *values;			/* by column */
	bool	   *nulls;
	bool		found;
} Expected;

typedef struct Expectations
{
	MirrorCheck *check;
	Expected   *rows;
	int			count;
} Expectations;

static void
expect_row(MirrorTable *table, Expected *row)
{
	(void) mcs_document_find(row->document->data, row->document->size, MIRROR_ID, &row->id);
	row->shown = mcs_evaluate_show(table, row->document);
	row->passes = !table->definition.translated_filter || mcs_evaluate_passes(table);
	if (!row->passes)
		return;
	row->has_key = mcs_evaluate_id(table, &row->id, &row->key);
	row->values = palloc0(sizeof(Datum) * table->column_count);
	row->nulls = palloc0(sizeof(bool) * table->column_count);
	for (int i = 1; i < table->column_count; i++)
		if (table->columns[i].field >= 0)
			row->values[i] = mcs_evaluate_field(table, &table->columns[i], &row->nulls[i]);
}

static void
expect_rows(void *arg)
{
	Expectations *expectations = arg;
	ListCell   *cell;

	expectations->rows = palloc0(sizeof(Expected) * Max(list_length(expectations->check->documents), 1));
	foreach(cell, expectations->check->documents)
	{
		CHECK_FOR_INTERRUPTS();
		expectations->rows[expectations->count].document = lfirst(cell);
		expect_row(expectations->check->table, &expectations->rows[expectations->count++]);
	}
}

/* ---- what they are ---- */

/* Reads rows by values of _id, numbered by their places; SPI_tuptable holds them. */
static void
read_rows(MirrorCheck *check, Datum *keys, Datum *numbers, int count)
{
	Datum		values[2];

	values[0] = mcs_mirror_value_array(&check->table->columns[0], keys, NULL, count);
	values[1] = PointerGetDatum(construct_array(numbers, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	if (SPI_execute_plan(mcs_mirror_plan(check->table, STATEMENT_ROWS), values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", check->table->sql[STATEMENT_ROWS]);
}

/* The number that a row was read by, and a column of it. */
static int
row_number(uint64 row)
{
	bool		isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &isnull));
}

static Datum
row_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 2, isnull);
}

/* A column of type document of a row. */
static Document *
row_document(const MirrorTable *table, uint64 row, const TableColumn *column)
{
	bool		isnull;
	Datum		value;

	if (column == NULL)
		return NULL;
	value = row_value(row, column - table->columns, &isnull);
	return isnull ? NULL : DatumGetDocumentP(value);
}

/* Compares a column that the mirror computes. */
static void
compare_column(MirrorCheck *check, const Expected *expected, uint64 row, int number, const Document *id)
{
	const TableColumn *column = &check->table->columns[number];
	bool		isnull;
	Datum		value = row_value(row, number, &isnull);

	if (!isnull && column->as_text)
		value = CStringGetTextDatum(OutputFunctionCall(unconstify(FmgrInfo *, &column->out), value));
	if (isnull == expected->nulls[number] &&
		(isnull || datum_image_eq(value, expected->values[number], !column->as_text && column->by_value,
								  column->as_text ? -1 : column->length)))
		return;
	put_difference(check, psprintf("column %s differs", column->name), id, value_document(column, value, isnull),
				   value_document(column, expected->values[number], expected->nulls[number]));
}

/* Compares a row with what it is to be. */
static void
compare_row(MirrorCheck *check, const Expected *expected, uint64 row)
{
	MirrorTable *table = check->table;
	Document   *id = mcs_document_make(expected->id.type, expected->id.data, expected->id.size);
	Document   *here = row_document(table, row, table->document);

	if (table->id_is_document)
	{
		Document   *id_here = row_document(table, row, &table->columns[0]);

		/* equal, as it was found by it, but 1 is not 1.0 */
		if (!same_bytes(id_here, id))
			put_difference(check, "column " MIRROR_ID " differs", id, id_here, id);
	}
	if (table->document && (here == NULL || !same_bytes(here, expected->shown)))
		put_difference(check, "document differs", id, here, expected->shown);
	for (int i = 1; i < table->column_count; i++)
		if (table->columns[i].field >= 0)
			compare_column(check, expected, row, i, id);
}

/* Compares the part's documents with their rows. */
void
mcs_mirror_compare_documents(MirrorCheck *check)
{
	Expectations expectations = {check, NULL, 0};
	Datum	   *keys;
	Datum	   *numbers;
	int			count = 0;

	if (check->documents == NIL)
		return;
	mcs_evaluate(expect_rows, &expectations, CurrentMemoryContext);
	keys = palloc(sizeof(Datum) * expectations.count);
	numbers = palloc(sizeof(Datum) * expectations.count);
	for (int i = 0; i < expectations.count; i++)
	{
		if (!expectations.rows[i].passes || !expectations.rows[i].has_key)
			continue;
		keys[count] = expectations.rows[i].key;
		numbers[count++] = Int32GetDatum(i);
	}
	read_rows(check, keys, numbers, count);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Expected   *expected = &expectations.rows[row_number(row)];

		CHECK_FOR_INTERRUPTS();
		expected->found = true;
		compare_row(check, expected, row);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < expectations.count; i++)
	{
		Expected   *expected = &expectations.rows[i];

		if (expected->passes && !expected->found)
			put_difference(check, "missing here", mcs_document_make(expected->id.type, expected->id.data, expected->id.size),
						   NULL, expected->shown);
	}
}

/* ---- rows that are to have documents ---- */

/* Notes which rows have documents that are to be here. */
static void
note_found(void *arg)
{
	MirrorCheck *check = arg;
	MirrorTable *table = check->table;
	ListCell   *cell;

	foreach(cell, check->documents)
	{
		const DocumentValue *document = lfirst(cell);
		DocumentValue id;

		CHECK_FOR_INTERRUPTS();
		(void) mcs_document_find(document->data, document->size, MIRROR_ID, &id);
		if (table->definition.translated_filter)
		{
			(void) mcs_evaluate_show(table, document);
			if (!mcs_evaluate_passes(table))
				continue;
		}
		mcs_mirror_note_found(check->asked, &id);
	}
}

/* Asks MongoDB for the documents of rows; false where it is to be tried again. */
static bool
find_rows(MirrorCheck *check, List *rows)
{
	FindSpec	spec = {0};
	Document   *filter;

	check->asked = mcs_mirror_ask(rows, &filter);
	spec.filter = filter;
	/* the filter wants to see all of them */
	spec.ids_only = check->table->definition.translated_filter == NULL;
	if (!mcs_check_read(check, &spec))
		return false;
	mcs_evaluate(note_found, check, CurrentMemoryContext);
	return true;
}

/* Some rows of a list, from one on: as many as MongoDB can be asked for at once. */
static List *
rows_at_once(List *rows, int at, int most)
{
	Size		bytes = 0;
	List	   *some = NIL;

	for (; at < list_length(rows) && list_length(some) < most && bytes < MIRROR_IDS_BYTES; at++)
	{
		some = lappend(some, list_nth(rows, at));
		bytes += mcs_mirror_row_bytes(list_nth(rows, at));
	}
	return some;
}

/* Tells of documents that have one row, which shows that of them which was written last. */
static void
tell_of_shared(MirrorCheck *check, const MirrorRow *row)
{
	for (int i = 1; i < list_length(row->there); i++)
		put_difference(check, "two documents are one row", linitial(row->there), row->key, list_nth(row->there, i));
}

/* Tells which rows have no documents, or more than one; false where it is to be tried again. */
static bool
check_rows(MirrorCheck *check, List *rows)
{
	int			count = list_length(rows);
	Datum	   *keys = palloc(sizeof(Datum) * Max(count, 1));
	Datum	   *numbers = palloc(sizeof(Datum) * Max(count, 1));
	int			lonely = 0;
	int			most = count;
	List	   *some = NIL;

	/* all of them, before anything is told that a second try would tell again */
	for (int at = 0; at < count; at += check->too_many ? 0 : list_length(some))
	{
		some = rows_at_once(rows, at, most);
		if (!find_rows(check, some))
			return false;
		if (check->too_many)
			most = Max(list_length(some) / 4, 1);
	}
	mcs_mirror_settle(check->table, rows);
	for (int i = 0; i < count; i++)
	{
		MirrorRow  *row = list_nth(rows, i);

		if (!row->exact)
			tell_of_shared(check, row);
		/* one that is equal and of other bytes was told of with the documents */
		if (row->found || (row->exact && row->there != NIL))
			continue;
		keys[lonely] = row->value;
		numbers[lonely++] = Int32GetDatum(i);
	}
	if (lonely == 0)
		return true;
	read_rows(check, keys, numbers, lonely);
	for (uint64 row = 0; row < SPI_processed; row++)
		put_difference(check, "not in MongoDB", linitial(((MirrorRow *) list_nth(rows, row_number(row)))->ids),
					   row_document(check->table, row, check->table->document), NULL);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* A value of _id that outlives the part. */
static Datum
keep_key(MirrorCheck *check, Datum key)
{
	const TableColumn *id = &check->table->columns[0];
	MemoryContext old = MemoryContextSwitchTo(check->context);
	Datum		kept = id->length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(key)) : datumCopy(key, id->by_value, id->length);

	MemoryContextSwitchTo(old);
	return kept;
}

/* The next rows by _id. */
bool
mcs_mirror_compare_next_rows(MirrorCheck *check)
{
	TableStatement statement = check->has_last_key ? STATEMENT_NEXT_IDS : STATEMENT_FIRST_IDS;
	List	   *rows;

	if (SPI_execute_plan(mcs_mirror_plan(check->table, statement), &check->last_key, NULL, true, PART_ROWS) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", check->table->sql[statement]);
	rows = mcs_mirror_take_rows(check->table, NULL, SIZE_MAX);
	check->rows_read = list_length(rows);
	if (!check_rows(check, rows))
		return false;
	check->rows_done += check->rows_read;
	if (rows == NIL)
		return true;
	if (check->has_last_key && !check->table->columns[0].by_value)
		pfree(DatumGetPointer(check->last_key));
	check->last_key = keep_key(check, ((MirrorRow *) llast(rows))->value);
	check->has_last_key = true;
	return true;
}

/* ---- a sample ---- */

/* Which share of the table's blocks is to be read to find as many rows, in percent. */
static double
sample_percent(const MirrorCheck *check)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(check->table->relation));
	double		rows = HeapTupleIsValid(tuple) ? ((Form_pg_class) GETSTRUCT(tuple))->reltuples : -1;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	/* some more, as blocks are not full alike */
	return rows <= 0 ? 100 : Min(100, 150.0 * check->sample / rows);
}

/* Chooses rows, whose _ids outlive the part. */
bool
mcs_mirror_compare_choose_rows(MirrorCheck *check)
{
	char	   *sql = psprintf("SELECT m.\"%s\" FROM %s AS m TABLESAMPLE SYSTEM (%f)%s", MIRROR_ID, check->table->definition.table,
							   sample_percent(check),
							   check->table->definition.on_delete == MIRROR_ON_DELETE_MARK ? " WHERE m.\"" MIRROR_DELETED_AT "\" IS NULL" : "");

	if (SPI_execute(sql, true, check->sample) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	check->chosen = MemoryContextAllocHuge(check->context, sizeof(Datum) * Max(SPI_processed, 1));
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		Datum		key = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			check->chosen[check->chosen_count++] = keep_key(check, key);
	}
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* The next of them, if they are there still. */
bool
mcs_mirror_compare_chosen_rows(MirrorCheck *check)
{
	int			count = Min(check->chosen_count - check->chosen_at, PART_ROWS);
	Datum		keys = mcs_mirror_value_array(&check->table->columns[0], check->chosen + check->chosen_at, NULL, count);
	List	   *rows;

	if (SPI_execute_plan(mcs_mirror_plan(check->table, STATEMENT_SOME_IDS), &keys, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", check->table->sql[STATEMENT_SOME_IDS]);
	rows = mcs_mirror_take_rows(check->table, NULL, SIZE_MAX);
	check->rows_read = list_length(rows);
	if (!check_rows(check, rows))
		return false;
	check->rows_done += check->rows_read;
	return true;
}
