/*
 * mirror/row.c
 *	  Which documents the rows of a mirror's table are of, for who looks whether
 *	  MongoDB has them.
 *
 * A column _id of type document tells.  One of another type has lost what the
 * _id was: there the row's document tells, if the table has a column for it and
 * the row was not made by somebody else.  Else MongoDB is asked for all that
 * the value may have been.  Of numbers that is one, as MongoDB compares them by
 * their values.
 */
#include "mongo_change_stream.h"

#include "executor/executor.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

/* No document of MongoDB's is larger, nor is an _id. */
#define MOST_ID_BYTES	(16 * 1024 * 1024)

/* Whether a value can be an _id, so that MongoDB may be asked for it. */
static bool
can_be_id(const DocumentValue *id)
{
	DocumentIterator it;
	uint32		size;

	/* whoever can write the table can have put there what is no value */
	if (!mcs_document_value_size(id->type, id->data, id->size, &size) || size != id->size || size > MOST_ID_BYTES)
		return false;
	if (id->type == DOCUMENT_ARRAY || id->type == DOCUMENT_REGEX || id->type == DOCUMENT_UNDEFINED)
		return false;
	if (id->type != DOCUMENT_OBJECT)
		return true;
	/* MongoDB would take it for an operator, and has no such _id */
	mcs_document_iterate(&it, id->data, id->size);
	return !mcs_document_next(&it) || it.key[0] != '$';
}

/* {_id: {$in: [...]}} of a list of Document *. */
Document *
mcs_mirror_ids_filter(List *ids)
{
	DocumentBuilder filter;
	ListCell   *cell;

	mcs_document_build(&filter);
	mcs_document_begin_object(&filter, NULL);
	mcs_document_begin_object(&filter, MIRROR_ID);
	mcs_document_begin_array(&filter, "$in");
	foreach(cell, ids)
	{
		DocumentValue id = mcs_document_value(lfirst(cell));

		if (can_be_id(&id))
			mcs_document_append_value(&filter, NULL, &id);
	}
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	mcs_document_end(&filter);
	return mcs_document_finish(&filter);
}

/* How long the text of a UUID is. */
#define UUID_TEXT	36

/* A UUID, if a text is one. */
static List *
uuid_candidates(char *text)
{
	uint8		binary[sizeof(int32) + 1 + UUID_LEN];
	int			digits = 0;
	char		hex[UUID_LEN * 2];

	for (const char *c = text; *c; c++)
		if (*c != '-' && digits < UUID_LEN * 2)
			hex[digits++] = *c;
	if (digits != UUID_LEN * 2 || !mcs_document_read_hex(hex, digits, binary + sizeof(int32) + 1))
		return NIL;
	mcs_document_write_int32(binary, UUID_LEN);
	/* BSON's subtype of UUIDs */
	binary[sizeof(int32)] = 4;
	return list_make1(mcs_document_make(DOCUMENT_BINARY, binary, sizeof(binary)));
}

/* What a text may be the plain text of, beside a string: a list of Document *. */
static List *
text_candidates(const DocumentValue *string)
{
	const char *text;
	uint32		size;
	uint8		bytes[UUID_LEN];
	int64		milliseconds;
	DocumentDecimal decimal;
	List	   *candidates = NIL;

	if (!mcs_document_get_string(string, &text, &size))
		return NIL;
	if (size == 4 && memcmp(text, "true", size) == 0)
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_BOOL, "\1", 1));
	if (size == 5 && memcmp(text, "false", size) == 0)
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_BOOL, "\0", 1));
	if (size == UUID_TEXT)
		candidates = list_concat(candidates, uuid_candidates(pnstrdup(text, size)));
	if (size == 24 && mcs_document_read_hex(text, size, bytes))
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_OBJECT_ID, bytes, 12));
	if (mcs_document_date_in(text, size, &milliseconds))
	{
		uint8		date[sizeof(int64)];

		mcs_document_write_int64(date, milliseconds);
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_DATE, date, sizeof(date)));
	}
	if (mcs_document_decimal_in(text, size, &decimal) == DECIMAL_OK)
	{
		uint8		number[16];
		uint8		binary[sizeof(double)];
		double		value = strtod(pnstrdup(text, size), NULL);
		int64		bits;

		mcs_document_decimal_write(&decimal, number);
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_DECIMAL128, number, sizeof(number)));
		/* a double is not the decimal that it is written as */
		memcpy(&bits, &value, sizeof(bits));
		mcs_document_write_int64(binary, bits);
		candidates = lappend(candidates, mcs_document_make(DOCUMENT_DOUBLE, binary, sizeof(binary)));
	}
	return candidates;
}

/* All _ids that a value of the column may be of. */
static List *
candidates(const MirrorRow *row)
{
	DocumentValue key = mcs_document_value(row->key);

	return row->exact ? list_make1(row->key) : list_concat(list_make1(row->key), text_candidates(&key));
}

/* A row that one of the statements has found; false where it has no _id. */
static bool
take(const MirrorTable *table, HeapTuple tuple, TupleDesc desc, MirrorRow *row)
{
	const TableColumn *id = &table->columns[0];
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, 1, &isnull);
	Datum		document;

	/* a unique column may be null, in rows that are not the mirror's */
	if (isnull)
		return false;
	row->type = id->base;
	row->value = id->length == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, id->by_value, id->length);
	document = SPI_getbinval(tuple, desc, 2, &isnull);
	row->key = (Document *) PG_DETOAST_DATUM_COPY(document);
	row->exact = table->id_is_document;
	document = SPI_getbinval(tuple, desc, 3, &isnull);
	row->told = !isnull;
	row->ids = row->told ? list_make1(PG_DETOAST_DATUM_COPY(document)) : candidates(row);
	return true;
}

/* Whether the mirror gives the document of an _id the value that is the row's. */
static bool
has_id(MirrorTable *table, const MirrorRow *row, const Document *document)
{
	DocumentValue id = mcs_document_value(document);
	Datum		value;
	bool		same = mcs_evaluate_id(table, &id, &value) && mcs_typed_id_is_same(table, value, row->value);

	ResetExprContext(table->econtext);
	return same;
}

/* Rows, and the table that they are of. */
typedef struct TableRows
{
	MirrorTable *table;
	List	   *rows;
} TableRows;

/* Somebody may have written the document of another _id into a row, which tells nothing of it then. */
static void
doubt(void *arg)
{
	TableRows  *all = arg;
	ListCell   *cell;

	foreach(cell, all->rows)
	{
		MirrorRow  *row = lfirst(cell);

		CHECK_FOR_INTERRUPTS();
		if (!row->told || has_id(all->table, row, linitial(row->ids)))
			continue;
		row->told = false;
		row->ids = candidates(row);
	}
}

Size
mcs_mirror_row_bytes(const MirrorRow *row)
{
	Size		bytes = 0;
	ListCell   *cell;

	foreach(cell, row->ids)
		bytes += VARSIZE_ANY(lfirst(cell));
	return bytes;
}

/* One _id that a row's document may have, and the next that is equal to it. */
typedef struct Candidate
{
	MirrorRow  *row;
	int			next;			/* -1: none */
} Candidate;

struct MirrorAsked
{
	ids_hash   *by_id;			/* number: the first candidate of an _id */
	Candidate  *candidates;
};

MirrorAsked *
mcs_mirror_ask(List *rows, Document **filter)
{
	MirrorAsked *asked = palloc(sizeof(MirrorAsked));
	List	   *ids = NIL;
	ListCell   *cell;
	int			count = 0;

	foreach(cell, rows)
		count += list_length(((MirrorRow *) lfirst(cell))->ids);
	asked->by_id = ids_create(CurrentMemoryContext, Max(count * 2, 1), NULL);
	asked->candidates = palloc(sizeof(Candidate) * Max(count, 1));
	count = 0;
	foreach(cell, rows)
	{
		MirrorRow  *row = lfirst(cell);
		ListCell   *id;

		foreach(id, row->ids)
		{
			bool		found;
			IdEntry    *entry = ids_insert(asked->by_id, mcs_document_value(lfirst(id)), &found);

			asked->candidates[count].row = row;
			asked->candidates[count].next = found ? entry->number : -1;
			entry->number = count++;
			ids = lappend(ids, lfirst(id));
		}
	}
	*filter = mcs_mirror_ids_filter(ids);
	return asked;
}

/* An _id that MongoDB has and that is equal to one that the row's document may have. */
static void
note(MirrorRow *row, const DocumentValue *id)
{
	ListCell   *cell;

	if (row->exact)
	{
		DocumentValue own = mcs_document_value(linitial(row->ids));

		row->found = row->found || mcs_document_is_same(&own, id);
	}
	/* MongoDB may be asked twice */
	foreach(cell, row->there)
	{
		DocumentValue other = mcs_document_value(lfirst(cell));

		if (mcs_document_compare(&other, id) == 0)
			return;
	}
	row->there = lappend(row->there, mcs_document_make(id->type, id->data, id->size));
}

void
mcs_mirror_note_found(MirrorAsked *asked, const DocumentValue *id)
{
	IdEntry    *entry = ids_lookup(asked->by_id, *id);

	/* MongoDB finds more where strings are compared by a collation */
	for (int i = entry ? entry->number : -1; i >= 0; i = asked->candidates[i].next)
		note(asked->candidates[i].row, id);
}

/* The rows of mcs_mirror_settle. */
typedef struct Settlement
{
	MirrorTable *table;
	List	   *rows;
} Settlement;

/*
 * A row is that of a document if the mirror would give that document this _id.
 * 0 and -0.0 are equal, and not as texts.
 */
static void
settle(void *arg)
{
	TableRows  *all = arg;
	MirrorTable *table = all->table;
	ListCell   *cell;

	foreach(cell, all->rows)
	{
		MirrorRow  *row = lfirst(cell);
		ListCell   *id;

		CHECK_FOR_INTERRUPTS();
		if (row->exact)
			continue;
		/* of a column that has got another type meanwhile nothing can be said */
		row->found = row->type != table->columns[0].base;
		if (row->found)
			continue;
		foreach(id, row->there)
			if (!has_id(table, row, lfirst(id)))
				row->there = foreach_delete_current(row->there, id);
		row->found = row->there != NIL;
	}
}

void
mcs_mirror_settle(MirrorTable *table, List *rows)
{
	TableRows	all = {table, rows};

	if (!table->id_is_document)
		mcs_evaluate(settle, &all, CurrentMemoryContext);
}

/* A key as the column has it, which may have come from there by a document that holds less of it. */
static bool
is_key(const MirrorRow *row, const Document *after)
{
	DocumentValue a = mcs_document_value(row->key);
	DocumentValue b;

	if (after == NULL || row->exact)
		return false;
	b = mcs_document_value(after);
	return mcs_document_compare(&a, &b) == 0;
}

List *
mcs_mirror_take_rows(MirrorTable *table, const Document *after, Size most)
{
	TableRows	all = {table, NIL};
	Size		bytes = 0;

	for (uint64 i = 0; i < SPI_processed && bytes < most; i++)
	{
		MirrorRow  *row = palloc0(sizeof(MirrorRow));

		/* what the document of a key does not hold, as microseconds, must not bring the same row again */
		if (!take(table, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row) || is_key(row, after))
			continue;
		all.rows = lappend(all.rows, row);
		bytes += mcs_mirror_row_bytes(row);
	}
	SPI_freetuptable(SPI_tuptable);
	if (!table->id_is_document && table->document)
		mcs_evaluate(doubt, &all, CurrentMemoryContext);
	return all.rows;
}

List *
mcs_mirror_next_rows(MirrorTable *table, const Document *after, int limit)
{
	MemoryContext context = CurrentMemoryContext;
	TableStatement statement = after ? STATEMENT_NEXT_IDS : STATEMENT_FIRST_IDS;
	Datum		value = (Datum) 0;
	List	   *rows;
	int			result;

	if (after)
	{
		DocumentValue id = mcs_document_value(after);

		value = mcs_mirror_value_of_id(table, &id);
	}
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	result = SPI_execute_plan(mcs_mirror_plan(table, statement), &value, NULL, false, limit);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\": %s", table->sql[statement], SPI_result_code_string(result));
	MemoryContextSwitchTo(context);
	rows = mcs_mirror_take_rows(table, after, MIRROR_IDS_BYTES);
	PopActiveSnapshot();
	SPI_finish();
	return rows;
}
