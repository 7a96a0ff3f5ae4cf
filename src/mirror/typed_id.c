/*
 * mirror/typed_id.c
 *	  A column _id of another type than document.
 *
 * Then two documents may have one value, as an ObjectId and the string of its
 * digits do in a text.  They cannot both have a row, so neither may take the
 * other's: within a transaction values are compared with each other, and with
 * the table's rows where these have their documents.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "mirror/mirror_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* How much of an _id is shown. */
#define SHOWN_BYTES 200

char *
mcs_typed_id_text(const DocumentValue *id)
{
	char	   *text = mcs_document_out_text(mcs_document_make(id->type, id->data, id->size));

	return pnstrdup(text, pg_mbcliplen(text, strlen(text), SHOWN_BYTES));
}

static void pg_attribute_noreturn()
refuse(const MirrorTable *table, const DocumentValue *one, const DocumentValue *other)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("two documents would be one row of %s", table->definition.table),
			 errdetail("Their _ids are %s and %s, which are one value of type %s.",
					   mcs_typed_id_text(one), mcs_typed_id_text(other), format_type_be(table->columns[0].type)),
			 errhint("A column \"%s\" of type document tells all of them apart.", MIRROR_ID)));
}

/* A value, and whose it is. */
typedef struct TypedId
{
	Datum		value;
	const DocumentValue *id;
} TypedId;

typedef struct TypedOrder
{
	FmgrInfo   *compare;
	Oid			collation;
} TypedOrder;

static int
compare(const void *a, const void *b, void *arg)
{
	const TypedOrder *order = arg;

	return DatumGetInt32(FunctionCall2Coll(order->compare, order->collation,
										   ((const TypedId *) a)->value, ((const TypedId *) b)->value));
}

/* The order of the column's index: there is a btree on it. */
static TypedOrder
column_order(const MirrorTable *table)
{
	TypedOrder	order;

	order.compare = &lookup_type_cache(table->columns[0].base, TYPECACHE_CMP_PROC_FINFO)->cmp_proc_finfo;
	order.collation = table->columns[0].collation;
	return order;
}

bool
mcs_typed_id_is_same(const MirrorTable *table, Datum a, Datum b)
{
	TypedOrder	order = column_order(table);
	TypedId		one = {.value = a};
	TypedId		other = {.value = b};

	return compare(&one, &other, &order) == 0;
}

void
mcs_typed_id_check_distinct(const MirrorTable *table, const Datum *values, const DocumentValue *const *ids, int count)
{
	TypedId    *all = palloc(sizeof(TypedId) * Max(count, 1));
	TypedOrder	order = column_order(table);

	for (int i = 0; i < count; i++)
	{
		all[i].value = values[i];
		all[i].id = ids[i];
	}
	qsort_arg(all, count, sizeof(TypedId), compare, &order);
	for (int i = 1; i < count; i++)
		if (compare(&all[i - 1], &all[i], &order) == 0)
			refuse(table, all[i - 1].id, all[i].id);
	pfree(all);
}

/* Whether an _id has a value of the column. */
typedef struct Conversion
{
	MirrorTable *table;
	const DocumentValue *id;
	Datum		value;
	bool		same;
} Conversion;

static void
convert(void *arg)
{
	Conversion *conversion = arg;
	Datum		value;

	conversion->same = mcs_evaluate_id(conversion->table, conversion->id, &value) &&
		mcs_typed_id_is_same(conversion->table, value, conversion->value);
	ResetExprContext(conversion->table->econtext);
}

/* Whether the _id in a row's document is that of another document, and not one that somebody has written there, which leads to another row. */
static bool
is_other(MirrorTable *table, Datum value, const DocumentValue *stored, const DocumentValue *id)
{
	Conversion	conversion = {table, stored, value, false};

	if (mcs_document_compare(stored, id) == 0)
		return false;
	mcs_evaluate(convert, &conversion, CurrentMemoryContext);
	return conversion.same;
}

/*
 * Which of some values have rows of other documents; refuses them where they are
 * to be written.  Inside of SPI.
 */
bool *
mcs_typed_id_find_others(MirrorTable *table, Datum *values, const DocumentValue *const *ids, int count, bool refuses)
{
	bool	   *others = palloc0(sizeof(bool) * count);
	Datum	   *numbers = palloc(sizeof(Datum) * count);
	Datum		arguments[2];

	for (int i = 0; i < count; i++)
		numbers[i] = Int32GetDatum(i);
	arguments[0] = mcs_mirror_value_array(&table->columns[0], values, NULL, count);
	arguments[1] = PointerGetDatum(construct_array(numbers, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	if (SPI_execute_plan(mcs_mirror_plan(table, STATEMENT_STORED), arguments, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", table->sql[STATEMENT_STORED]);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int			number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		Datum		stored = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull);
		DocumentValue id;

		/* without a document it is a row that somebody else has made */
		if (isnull)
			continue;
		id = mcs_document_take(DatumGetDocumentP(stored));
		if (!is_other(table, values[number], &id, ids[number]))
			continue;
		if (refuses)
			refuse(table, &id, ids[number]);
		others[number] = true;
	}
	SPI_freetuptable(SPI_tuptable);
	return others;
}
