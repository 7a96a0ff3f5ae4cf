/*
 * document/compare.c
 *	  The order of all values, equality and hashing; btree and hash support.
 *
 * The order is MongoDB's for values inside documents: first the kind of value
 * (all numbers are one kind, strings and symbols another), then within the
 * kind.  Objects compare element by element: the kinds, then the keys, then
 * the values; arrays the same without keys.  Equal values need not be the same
 * bytes (1 and 1.0), so the operator classes allow no deduplication.
 *
 * Everything here has a result for any bytes, so that the operators are
 * leakproof: what is no BSON (a server may have sent it so) comes after all
 * values, by its bytes, and what is nested deeper than MongoDB nests compares
 * by its bytes, too.
 */
#include "mongo_change_stream.h"

#include "common/hashfn.h"
#include "document/document_internal.h"
#include "miscadmin.h"

#define OBJECT_ID_BYTES	12

PG_FUNCTION_INFO_V1(mcs_document_lt);
PG_FUNCTION_INFO_V1(mcs_document_le);
PG_FUNCTION_INFO_V1(mcs_document_eq);
PG_FUNCTION_INFO_V1(mcs_document_ne);
PG_FUNCTION_INFO_V1(mcs_document_ge);
PG_FUNCTION_INFO_V1(mcs_document_gt);
PG_FUNCTION_INFO_V1(mcs_document_cmp);
PG_FUNCTION_INFO_V1(mcs_document_hash);
PG_FUNCTION_INFO_V1(mcs_document_hash_extended);

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

static int	compare_values(const DocumentValue *a, const DocumentValue *b, int depth);
static uint64 hash_value(const DocumentValue *value, uint64 seed, int depth);

/* The kinds of values in their order; 0 is the end of an object or an array. */
static const uint8 kinds[256] = {
	[DOCUMENT_MIN_KEY] = 1,
	[DOCUMENT_UNDEFINED] = 2,
	[DOCUMENT_NULL] = 3,
	[DOCUMENT_DOUBLE] = DOCUMENT_KIND_NUMBER,
	[DOCUMENT_INT32] = DOCUMENT_KIND_NUMBER,
	[DOCUMENT_INT64] = DOCUMENT_KIND_NUMBER,
	[DOCUMENT_DECIMAL128] = DOCUMENT_KIND_NUMBER,
	[DOCUMENT_STRING] = DOCUMENT_KIND_STRING,
	[DOCUMENT_SYMBOL] = DOCUMENT_KIND_STRING,
	[DOCUMENT_OBJECT] = 6,
	[DOCUMENT_ARRAY] = 7,
	[DOCUMENT_BINARY] = 8,
	[DOCUMENT_OBJECT_ID] = 9,
	[DOCUMENT_BOOL] = 10,
	[DOCUMENT_DATE] = 11,
	[DOCUMENT_TIMESTAMP] = 12,
	[DOCUMENT_REGEX] = 13,
	[DOCUMENT_DB_POINTER] = 14,
	[DOCUMENT_CODE] = 15,
	[DOCUMENT_CODE_W_SCOPE] = 16,
	[DOCUMENT_MAX_KEY] = 17,
	[DOCUMENT_DAMAGED] = 18
};

/* The kind of a type. */
uint8
mcs_document_kind(uint8 type)
{
	return kinds[type];
}

/* Goes to the next element, as mcs_document_next; bytes that are no BSON are one more element, the last. */
bool
mcs_document_next_any(DocumentIterator *it)
{
	const uint8 *at = it->at;

	if (it->malformed)
		return false;
	if (mcs_document_next(it))
		return true;
	if (!it->malformed)
		return false;
	it->key = "";
	it->key_size = 0;
	it->value.type = DOCUMENT_DAMAGED;
	it->value.data = at;
	it->value.size = it->end - at;
	return true;
}

/* Compares bytes as memcmp does; what is longer comes later. */
static int
compare_bytes(const void *a, uint32 a_size, const void *b, uint32 b_size)
{
	int			order = memcmp(a, b, Min(a_size, b_size));

	return order != 0 ? order : COMPARE(a_size, b_size);
}

/* Compares the string that begins each value; sizes are those of the strings with their length and zero. */
static int
compare_strings(const uint8 *a, uint32 a_size, const uint8 *b, uint32 b_size)
{
	return compare_bytes(a + 4, a_size - 5, b + 4, b_size - 5);
}

/* Compares the elements of two objects or two arrays that stand inside depth others. */
static int
compare_elements(const DocumentValue *a, const DocumentValue *b, bool keys, int depth)
{
	DocumentIterator x;
	DocumentIterator y;

	if (depth >= DOCUMENT_MAX_DEPTH)
		return compare_bytes(a->data, a->size, b->data, b->size);
	mcs_document_iterate(&x, a->data, a->size);
	mcs_document_iterate(&y, b->data, b->size);
	for (;;)
	{
		bool		more_x = mcs_document_next_any(&x);
		bool		more_y = mcs_document_next_any(&y);
		int			order;

		CHECK_FOR_INTERRUPTS();
		if (!more_x || !more_y)
			return COMPARE(more_x, more_y);
		order = COMPARE(kinds[x.value.type], kinds[y.value.type]);
		/* the kinds come before the keys, as in MongoDB */
		if (order == 0 && keys)
			order = compare_bytes(x.key, x.key_size, y.key, y.key_size);
		if (order == 0)
			order = compare_values(&x.value, &y.value, depth + 1);
		if (order != 0)
			return order;
	}
}

/* Compares binary data: by length, subtype, bytes. */
static int
compare_binary(const DocumentValue *a, const DocumentValue *b)
{
	/* the subtype stands before the bytes, so that one memcmp compares both */
	if (a->size != b->size)
		return COMPARE(a->size, b->size);
	return memcmp(a->data + 4, b->data + 4, a->size - 4);
}

/* Compares regular expressions: the patterns, then the options. */
static int
compare_regex(const DocumentValue *a, const DocumentValue *b)
{
	const char *x = (const char *) a->data;
	const char *y = (const char *) b->data;
	int			order = strcmp(x, y);

	return order != 0 ? order : strcmp(x + strlen(x) + 1, y + strlen(y) + 1);
}

/*
 * Compares pointers into collections: by length and id as the server's sort()
 * does, which leaves it at that; then by namespace, so that only the same are
 * equal.
 */
static int
compare_db_pointers(const DocumentValue *a, const DocumentValue *b)
{
	int			order;

	if (a->size != b->size)
		return COMPARE(a->size, b->size);
	order = memcmp(a->data + a->size - 12, b->data + b->size - 12, 12);
	return order != 0 ? order : memcmp(a->data, b->data, a->size - 12);
}

/* Takes code with scope apart; false where it is not made of both. */
static bool
split_code_w_scope(const DocumentValue *value, DocumentValue *code, DocumentValue *scope)
{
	code->type = DOCUMENT_CODE;
	code->data = value->data + 4;
	scope->type = DOCUMENT_OBJECT;
	if (!mcs_document_value_size(code->type, code->data, value->size - 4, &code->size))
		return false;
	scope->data = code->data + code->size;
	scope->size = value->size - 4 - code->size;
	return mcs_document_value_size(scope->type, scope->data, scope->size, &scope->size);
}

/* Compares code with scope: the code, then the scope; what is not made of both comes first. */
static int
compare_code_w_scope(const DocumentValue *a, const DocumentValue *b, int depth)
{
	bool		a_whole;
	bool		b_whole;
	DocumentValue a_code;
	DocumentValue a_scope;
	DocumentValue b_code;
	DocumentValue b_scope;
	int			order;

	a_whole = split_code_w_scope(a, &a_code, &a_scope);
	b_whole = split_code_w_scope(b, &b_code, &b_scope);
	if (!a_whole || !b_whole)
		return a_whole != b_whole ? COMPARE(a_whole, b_whole) : compare_bytes(a->data, a->size, b->data, b->size);
	order = compare_strings(a_code.data, a_code.size, b_code.data, b_code.size);
	return order != 0 ? order : compare_elements(&a_scope, &b_scope, true, depth + 1);
}

/* Compares two values of one kind that are not numbers. */
static int
compare_same_kind(const DocumentValue *a, const DocumentValue *b, int depth)
{
	switch (a->type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			return compare_strings(a->data, a->size, b->data, b->size);
		case DOCUMENT_OBJECT:
			return compare_elements(a, b, true, depth);
		case DOCUMENT_ARRAY:
			return compare_elements(a, b, false, depth);
		case DOCUMENT_BINARY:
			return compare_binary(a, b);
		case DOCUMENT_OBJECT_ID:
			return memcmp(a->data, b->data, OBJECT_ID_BYTES);
		case DOCUMENT_BOOL:
			return COMPARE(a->data[0] != 0, b->data[0] != 0);
		case DOCUMENT_DATE:
			return COMPARE(mcs_document_read_int64(a->data), mcs_document_read_int64(b->data));
		case DOCUMENT_TIMESTAMP:
			return COMPARE((uint64) mcs_document_read_int64(a->data), (uint64) mcs_document_read_int64(b->data));
		case DOCUMENT_REGEX:
			return compare_regex(a, b);
		case DOCUMENT_DB_POINTER:
			return compare_db_pointers(a, b);
		case DOCUMENT_CODE_W_SCOPE:
			return compare_code_w_scope(a, b, depth);
		case DOCUMENT_DAMAGED:
			return compare_bytes(a->data, a->size, b->data, b->size);
		default:
			return 0;			/* kinds of one value: null, min key ... */
	}
}

/* Compares two values that stand inside depth others. */
static int
compare_values(const DocumentValue *a, const DocumentValue *b, int depth)
{
	uint8		kind = kinds[a->type];

	if (kind != kinds[b->type])
		return COMPARE(kind, kinds[b->type]);
	if (kind == DOCUMENT_KIND_NUMBER)
		return mcs_document_compare_numbers(a, b);
	return compare_same_kind(a, b, depth);
}

/* Compares any two values: negative, 0 or positive. */
int
mcs_document_compare(const DocumentValue *a, const DocumentValue *b)
{
	/* once, whatever the values: how deep this can go is bounded, and there is that much of stack beyond the limit */
	check_stack_depth();
	return compare_values(a, b, 0);
}

/* Are two values equal?  Mostly the bytes tell. */
static bool
same_value(const DocumentValue *a, const DocumentValue *b)
{
	/* equal bytes of one type are equal values in this order, NaN included */
	if (mcs_document_is_same(a, b))
		return true;
	return mcs_document_compare(a, b) == 0;
}

/* Hashes the elements of an object or an array, with or without the keys. */
static uint64
hash_elements(const DocumentValue *value, bool keys, uint64 seed, int depth)
{
	DocumentIterator it;
	uint64		hash = seed;

	if (depth >= DOCUMENT_MAX_DEPTH)
		return hash_bytes_extended(value->data, value->size, seed);
	mcs_document_iterate(&it, value->data, value->size);
	while (mcs_document_next_any(&it))
	{
		CHECK_FOR_INTERRUPTS();
		if (keys)
			hash = hash_combine64(hash, hash_bytes_extended((const unsigned char *) it.key, it.key_size, seed));
		hash = hash_combine64(hash, hash_value(&it.value, seed, depth + 1));
	}
	return hash;
}

/* Hashes what is within a kind. */
static uint64
hash_same_kind(const DocumentValue *value, uint64 seed, int depth)
{
	DocumentValue code;
	DocumentValue scope;
	unsigned char truth;

	switch (value->type)
	{
		case DOCUMENT_STRING:
		case DOCUMENT_SYMBOL:
		case DOCUMENT_CODE:
			return hash_bytes_extended(value->data + 4, value->size - 5, seed);
		case DOCUMENT_OBJECT:
			return hash_elements(value, true, seed, depth);
		case DOCUMENT_ARRAY:
			return hash_elements(value, false, seed, depth);
		case DOCUMENT_BOOL:
			truth = value->data[0] != 0;
			return hash_bytes_extended(&truth, 1, seed);
		case DOCUMENT_CODE_W_SCOPE:
			if (!split_code_w_scope(value, &code, &scope))
				return hash_bytes_extended(value->data, value->size, seed);
			return hash_combine64(hash_same_kind(&code, seed, depth), hash_elements(&scope, true, seed, depth + 1));
		default:
			return hash_bytes_extended(value->data, value->size, seed);
	}
}

/* Hashes a value that stands inside depth others. */
static uint64
hash_value(const DocumentValue *value, uint64 seed, int depth)
{
	uint8		kind = kinds[value->type];

	/* numbers of different types may be equal, so nothing of the type may get in */
	if (kind == DOCUMENT_KIND_NUMBER)
		return mcs_document_hash_number(value, seed);
	return hash_combine64(hash_same_kind(value, seed, depth), kind);
}

/* Hashes a value; equal values hash alike. */
uint64
mcs_document_hash_value(const DocumentValue *value, uint64 seed)
{
	check_stack_depth();
	return hash_value(value, seed, 0);
}

/* Whether a document is an ObjectId, as most _ids are. */
static inline bool
is_object_id(const Document *document)
{
	return VARSIZE_ANY_EXHDR(document) == 1 + OBJECT_ID_BYTES && DOCUMENT_TYPE(document) == DOCUMENT_OBJECT_ID;
}

/* Compares any two documents. */
static int
compare_documents(const Document *a, const Document *b)
{
	DocumentValue x = mcs_document_take_any(a);
	DocumentValue y = mcs_document_take_any(b);

	return mcs_document_compare(&x, &y);
}

/* Compares the two arguments of a function. */
static int
compare_arguments(FunctionCallInfo fcinfo)
{
	Document   *a = PG_GETARG_DOCUMENT_P(0);
	Document   *b = PG_GETARG_DOCUMENT_P(1);
	int			order;

	/* an index does little else when rows go into it */
	if (is_object_id(a) && is_object_id(b))
		order = memcmp(DOCUMENT_VALUE(a), DOCUMENT_VALUE(b), OBJECT_ID_BYTES);
	else
		order = compare_documents(a, b);
	/* index builds call this many times in one context */
	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

/* Are the two arguments of a function equal? */
static bool
equal_arguments(FunctionCallInfo fcinfo)
{
	Document   *a = PG_GETARG_DOCUMENT_P(0);
	Document   *b = PG_GETARG_DOCUMENT_P(1);
	DocumentValue x = mcs_document_take_any(a);
	DocumentValue y = mcs_document_take_any(b);
	bool		same = same_value(&x, &y);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return same;
}

/* document < document */
Datum
mcs_document_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) < 0);
}

/* document <= document */
Datum
mcs_document_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) <= 0);
}

/* document = document */
Datum
mcs_document_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(equal_arguments(fcinfo));
}

/* document <> document */
Datum
mcs_document_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!equal_arguments(fcinfo));
}

/* document >= document */
Datum
mcs_document_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) >= 0);
}

/* document > document */
Datum
mcs_document_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_arguments(fcinfo) > 0);
}

/* document_cmp(document, document): btree support */
Datum
mcs_document_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare_arguments(fcinfo));
}

/* document_hash(document): hash support */
Datum
mcs_document_hash(PG_FUNCTION_ARGS)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	DocumentValue value = mcs_document_take_any(document);
	uint64		hash = mcs_document_hash_value(&value, 0);

	PG_FREE_IF_COPY(document, 0);
	PG_RETURN_UINT32((uint32) hash);
}

/* document_hash_extended(document, bigint): hash support with a seed; seed 0 agrees with the other */
Datum
mcs_document_hash_extended(PG_FUNCTION_ARGS)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	DocumentValue value = mcs_document_take_any(document);
	uint64		hash = mcs_document_hash_value(&value, PG_GETARG_INT64(1));

	PG_FREE_IF_COPY(document, 0);
	PG_RETURN_UINT64(hash);
}
