/*
 * document/srf.c
 *	  The parts of a document as rows, and how many there are.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(mcs_document_keys);
PG_FUNCTION_INFO_V1(mcs_document_each);
PG_FUNCTION_INFO_V1(mcs_document_elements);
PG_FUNCTION_INFO_V1(mcs_document_array_length);

/* Takes the document that is an object or an array, whose parts are asked for. */
static DocumentValue
take_container(FunctionCallInfo fcinfo, uint8 type, const char *function)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));

	/* the name is never NULL: mcs_document_take refuses types that are none */
	if (value.type != type)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot call %s on a document of type %s", function, mcs_document_type_name(value.type))));
	return value;
}

/* A key as text. */
static Datum
key_datum(const DocumentIterator *it)
{
	if (!mcs_document_is_utf8(it->key, it->key_size))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("a key of the document is not valid UTF-8")));
	return PointerGetDatum(cstring_to_text_with_len(it->key, it->key_size));
}

/* Puts one row for each element: its key, its value, or both. */
static void
put_rows(FunctionCallInfo fcinfo, const DocumentValue *value, bool keys, bool values)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DocumentIterator it;
	MemoryContext rows;
	MemoryContext caller;

	/* a set of scalars has no row type of its own, so the descriptor that the caller expects serves */
	InitMaterializedSRF(fcinfo, keys && values ? MAT_SRF_BLESS : MAT_SRF_USE_EXPECTED_DESC);
	rows = AllocSetContextCreate(CurrentMemoryContext, "document rows", ALLOCSET_DEFAULT_SIZES);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next(&it))
	{
		Datum		columns[2];
		bool		nulls[2] = {false, false};
		int			count = 0;

		CHECK_FOR_INTERRUPTS();
		caller = MemoryContextSwitchTo(rows);
		if (keys)
			columns[count++] = key_datum(&it);
		if (values)
			columns[count++] = DocumentPGetDatum(mcs_document_make(it.value.type, it.value.data, it.value.size));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, columns, nulls);
		MemoryContextSwitchTo(caller);
		/* the tuplestore has its copy, and the document itself lies in the caller's context */
		MemoryContextReset(rows);
	}
	if (it.malformed)
		mcs_document_malformed();
	MemoryContextDelete(rows);
}

/* document_keys(document): the keys of an object, in its order */
Datum
mcs_document_keys(PG_FUNCTION_ARGS)
{
	DocumentValue value = take_container(fcinfo, DOCUMENT_OBJECT, "document_keys");

	put_rows(fcinfo, &value, true, false);
	return (Datum) 0;
}

/* document_each(document): the members of an object */
Datum
mcs_document_each(PG_FUNCTION_ARGS)
{
	DocumentValue value = take_container(fcinfo, DOCUMENT_OBJECT, "document_each");

	put_rows(fcinfo, &value, true, true);
	return (Datum) 0;
}

/* document_elements(document): the elements of an array */
Datum
mcs_document_elements(PG_FUNCTION_ARGS)
{
	DocumentValue value = take_container(fcinfo, DOCUMENT_ARRAY, "document_elements");

	put_rows(fcinfo, &value, false, true);
	return (Datum) 0;
}

/* array_length(document, integer): the length in a dimension, as for arrays; null for what is none or empty */
Datum
mcs_document_array_length(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take(PG_GETARG_DOCUMENT_P(0));
	int			dimension = PG_GETARG_INT32(1);
	DocumentIterator it;
	int			length = 0;

	if (dimension < 1)
		PG_RETURN_NULL();
	/* arrays of arrays need not be rectangular; the first element stands for all */
	for (int i = 1; i < dimension; i++)
	{
		/* value is read by then, so it may be what is written */
		if (value.type != DOCUMENT_ARRAY || !mcs_document_find_index(value.data, value.size, 0, &value))
			PG_RETURN_NULL();
	}
	if (value.type != DOCUMENT_ARRAY)
		PG_RETURN_NULL();
	mcs_document_iterate(&it, value.data, value.size);
	while (mcs_document_next(&it))
	{
		CHECK_FOR_INTERRUPTS();
		length++;
	}
	if (it.malformed)
		mcs_document_malformed();
	if (length == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(length);
}
