/*
 * document/sort.c
 *	  Faster sorting: comparisons without the function manager, and
 *	  abbreviated keys.
 *
 * An abbreviated key is the first eight bytes of a byte string that sorts as
 * the values do: the kind, then what decides within the kind (a number as the
 * double next to it, the first bytes of a string, for an object the kind and
 * key of its first element and then its value ...).  It may make unequal values
 * equal, in which case they are compared in full, but never swaps two.
 */
#include "mongo_change_stream.h"

#include <math.h>

#include "common/hashfn.h"
#include "document/document_internal.h"
#include "lib/hyperloglog.h"
#include "utils/sortsupport.h"

PG_FUNCTION_INFO_V1(mcs_document_sortsupport);

/* How many different keys there are so far; few of them are not worth their making. */
typedef struct AbbreviationState
{
	int64		input_count;
	bool		estimating;
	hyperLogLogState keys;
} AbbreviationState;

/* An abbreviated key while it is written. */
typedef struct KeyWriter
{
	uint8		bytes[SIZEOF_DATUM];
	int			size;
} KeyWriter;

static void write_value(KeyWriter *key, const DocumentValue *value);

/* Compares two documents, as sorts call it. */
static int
compare_full(Datum a, Datum b, SortSupport ssup)
{
	Document   *x = DatumGetDocumentP(a);
	Document   *y = DatumGetDocumentP(b);
	DocumentValue x_value = mcs_document_take_any(x);
	DocumentValue y_value = mcs_document_take_any(y);
	int			order = mcs_document_compare(&x_value, &y_value);

	if ((Pointer) x != DatumGetPointer(a))
		pfree(x);
	if ((Pointer) y != DatumGetPointer(b))
		pfree(y);
	return order;
}

/* Appends bytes as far as there is room. */
static void
write_bytes(KeyWriter *key, const void *bytes, uint32 size)
{
	int			count = Min(size, sizeof(key->bytes) - key->size);

	memcpy(key->bytes + key->size, bytes, count);
	key->size += count;
}

/* Appends a number so that its bytes compare as unsigned numbers do. */
static void
write_uint64(KeyWriter *key, uint64 number)
{
	number = pg_hton64(number);
	write_bytes(key, &number, sizeof(number));
}

/* Appends a double: the bits, turned so that they sort; NaN, the lowest, is zero. */
static void
write_double(KeyWriter *key, double number)
{
	uint64		bits;

	if (isnan(number))
		bits = 0;
	else
	{
		if (number == 0)
			number = 0;			/* -0 is no less than 0 */
		memcpy(&bits, &number, sizeof(bits));
		bits = (bits >> 63) ? ~bits : bits | (UINT64CONST(1) << 63);
	}
	write_uint64(key, bits);
}

/* Appends an object or an array: its first element. */
static void
write_container(KeyWriter *key, const DocumentValue *value)
{
	DocumentIterator it;
	uint8		kind = 0;

	mcs_document_iterate(&it, value->data, value->size);
	if (mcs_document_next_any(&it))
		kind = mcs_document_kind(it.value.type);
	write_bytes(key, &kind, 1);
	if (kind == 0)
		return;
	if (value->type == DOCUMENT_OBJECT)
		/* with the zero, so that a key sorts before one that it begins */
		write_bytes(key, it.key, it.key_size + 1);
	write_value(key, &it.value);
}

/* Appends what decides between values of one kind. */
static void
write_value(KeyWriter *key, const DocumentValue *value)
{
	uint8		truth;

	if (key->size >= (int) sizeof(key->bytes))
		return;
	switch (value->type)
	{
		case DOCUMENT_INT32:
		case DOCUMENT_INT64:
		case DOCUMENT_DOUBLE:
		case DOCUMENT_DECIMAL128:
			write_double(key, mcs_document_number_to_double(value));
			break;
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			write_bytes(key, value->data + 4, value->size - 5);
			break;
		case DOCUMENT_OBJECT:
		case DOCUMENT_ARRAY:
			write_container(key, value);
			break;
		case DOCUMENT_BINARY:
			write_uint64(key, ((uint64) value->size << 32) | ((uint64) value->data[4] << 24));
			break;
		case DOCUMENT_OBJECT_ID:
			write_bytes(key, value->data, 12);
			break;
		case DOCUMENT_BOOL:
			truth = value->data[0] != 0;
			write_bytes(key, &truth, 1);
			break;
		case DOCUMENT_DATE:
			write_uint64(key, (uint64) mcs_document_read_int64(value->data) ^ (UINT64CONST(1) << 63));
			break;
		case DOCUMENT_TIMESTAMP:
			write_uint64(key, (uint64) mcs_document_read_int64(value->data));
			break;
		case DOCUMENT_REGEX:
			write_bytes(key, value->data, strlen((const char *) value->data));
			break;
		default:
			break;				/* the others are rare: the kind must do */
	}
}

/* Makes the abbreviated key of a document. */
static Datum
abbreviate(Datum original, SortSupport ssup)
{
	AbbreviationState *state = ssup->ssup_extra;
	Document   *document = DatumGetDocumentP(original);
	DocumentValue value = mcs_document_take_any(document);
	KeyWriter	writer;
	Datum		key;
	uint8		kind = mcs_document_kind(value.type);

	memset(&writer, 0, sizeof(writer));
	write_bytes(&writer, &kind, 1);
	write_value(&writer, &value);
	if ((Pointer) document != DatumGetPointer(original))
		pfree(document);

	/* bytes that sort as memcmp does, read as big endian, sort as unsigned numbers */
	memcpy(&key, writer.bytes, sizeof(key));
	key = DatumBigEndianToNative(key);
	state->input_count++;
	if (state->estimating)
		addHyperLogLog(&state->keys, hash_bytes((const unsigned char *) &key, sizeof(key)));
	return key;
}

/* Is it better to give abbreviated keys up?  Asked now and then while a sort takes its input. */
static bool
give_up(int memtupcount, SortSupport ssup)
{
	AbbreviationState *state = ssup->ssup_extra;
	double		different;

	if (memtupcount < 10000 || state->input_count < 10000 || !state->estimating)
		return false;
	different = estimateHyperLogLog(&state->keys);
	if (different > 100000)
		state->estimating = false;	/* enough for any sort; stop counting */
	/* a key of its own for one row in two thousand still saves comparisons */
	return different < state->input_count / 2000.0 + 0.5;
}

/* document_sortsupport(internal): btree support */
Datum
mcs_document_sortsupport(PG_FUNCTION_ARGS)
{
	SortSupport ssup = (SortSupport) PG_GETARG_POINTER(0);

	ssup->comparator = compare_full;
	ssup->ssup_extra = NULL;
#if SIZEOF_DATUM == 8
	if (ssup->abbreviate)
	{
		MemoryContext caller = MemoryContextSwitchTo(ssup->ssup_cxt);
		AbbreviationState *state = palloc0(sizeof(AbbreviationState));

		state->estimating = true;
		initHyperLogLog(&state->keys, 10);
		ssup->ssup_extra = state;
		ssup->comparator = ssup_datum_unsigned_cmp;
		ssup->abbrev_converter = abbreviate;
		ssup->abbrev_abort = give_up;
		ssup->abbrev_full_comparator = compare_full;
		MemoryContextSwitchTo(caller);
	}
#endif
	PG_RETURN_VOID();
}
