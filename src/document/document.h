/*
 * document/document.h
 *	  The SQL type document: one BSON value of any type.
 *
 * On disk a document is a varlena whose payload is
 *
 *		byte 0		the BSON type of the value (0x01 double ... 0xFF min key)
 *		byte 1...	the value's bytes, exactly as BSON has them in an element
 *					(for type 0x03 a whole BSON document with its length and
 *					final zero; nothing at all for null, min key, max key and
 *					undefined)
 *
 * so what MongoDB sent is kept bit for bit and never re-encoded, and a whole
 * document needs one memcpy on its way in.  Payloads that come from a client
 * are validated when they enter (input, recv, document_from_bson); payloads that
 * come from MongoDB are stored as they are, so every reader of a payload
 * checks bounds and never trusts a length.
 *
 * Memory comes from palloc only; the walkers (mcs_document_find, the iterator,
 * the readers) allocate nothing and raise nothing, so they may be used where
 * PostgreSQL's functions may not.
 *
 * Uses base; every folder above may use it.  What only this folder needs to
 * know stands in document_internal.h.
 */
#ifndef MCS_DOCUMENT_H
#define MCS_DOCUMENT_H

#include "mongo_change_stream.h"

#include "access/stratnum.h"
#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "utils/numeric.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#ifndef HAVE_INT128
#error "type document needs a compiler with 128 bit integers"
#endif

/* BSON's type codes, by the names of its specification. */
#define DOCUMENT_DOUBLE			0x01
#define DOCUMENT_STRING			0x02
#define DOCUMENT_OBJECT			0x03
#define DOCUMENT_ARRAY			0x04
#define DOCUMENT_BINARY			0x05
#define DOCUMENT_UNDEFINED		0x06
#define DOCUMENT_OBJECT_ID		0x07
#define DOCUMENT_BOOL			0x08
#define DOCUMENT_DATE			0x09
#define DOCUMENT_NULL			0x0A
#define DOCUMENT_REGEX			0x0B
#define DOCUMENT_DB_POINTER		0x0C
#define DOCUMENT_CODE			0x0D
#define DOCUMENT_SYMBOL			0x0E
#define DOCUMENT_CODE_W_SCOPE	0x0F
#define DOCUMENT_INT32			0x10
#define DOCUMENT_TIMESTAMP		0x11
#define DOCUMENT_INT64			0x12
#define DOCUMENT_DECIMAL128		0x13
#define DOCUMENT_MIN_KEY		0xFF
#define DOCUMENT_MAX_KEY		0x7F

/* How many bytes of a document are fetched into the cache before a walk. */
#define DOCUMENT_PREFETCH		2048

typedef struct varlena Document;

/* packed: the header may be short and the payload unaligned */
#define DatumGetDocumentP(X)	((Document *) PG_DETOAST_DATUM_PACKED(X))
#define PG_GETARG_DOCUMENT_P(n)	DatumGetDocumentP(PG_GETARG_DATUM(n))
#define DocumentPGetDatum(X)	PointerGetDatum(X)

#define DOCUMENT_TYPE(d)		(((const uint8 *) VARDATA_ANY(d))[0])
#define DOCUMENT_VALUE(d)		(((const uint8 *) VARDATA_ANY(d)) + 1)
#define DOCUMENT_VALUE_SIZE(d)	(VARSIZE_ANY_EXHDR(d) - 1)

/* One value somewhere in memory: what the walkers and builders pass around. */
typedef struct DocumentValue
{
	uint8		type;			/* BSON type */
	const uint8 *data;			/* the value's bytes */
	uint32		size;			/* how many */
} DocumentValue;

/* A walk over the elements of an object or an array; see mcs_document_next. */
typedef struct DocumentIterator
{
	const uint8 *at;			/* the next element */
	const uint8 *end;			/* the final zero byte */
	const char *key;			/* current element: its key, followed by a zero */
	uint32		key_size;		/* without the zero */
	DocumentValue value;		/* current element: its value */
	bool		malformed;		/* the walk ended at bytes that are no BSON */
} DocumentIterator;

/* One step of a path: a key, or a position in digits. */
typedef struct DocumentStep
{
	const char *key;
	uint32		size;
} DocumentStep;

/* An open object or array of a builder. */
typedef struct DocumentLevel
{
	int			start;			/* offset of its length word */
	int			next_index;		/* of an array: its next key; -1 in an object */
} DocumentLevel;

/*
 * Writes one value.  The first append (or begin) at the top makes the value
 * itself and takes no key; inside an array the key is NULL, too.
 */
typedef struct DocumentBuilder
{
	StringInfoData buf;			/* varlena header, type byte, value */
	DocumentLevel *levels;
	int			depth;			/* open levels */
	int			max_depth;		/* room in levels */
} DocumentBuilder;

/* BSON is little endian, and nothing in it is aligned. */
static inline int32
mcs_document_read_int32(const uint8 *data)
{
	uint32		value;

	memcpy(&value, data, sizeof(value));
#ifdef WORDS_BIGENDIAN
	value = pg_bswap32(value);
#endif
	return (int32) value;
}

static inline int64
mcs_document_read_int64(const uint8 *data)
{
	uint64		value;

	memcpy(&value, data, sizeof(value));
#ifdef WORDS_BIGENDIAN
	value = pg_bswap64(value);
#endif
	return (int64) value;
}

static inline double
mcs_document_read_double(const uint8 *data)
{
	int64		bits = mcs_document_read_int64(data);
	double		value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline void
mcs_document_write_int32(uint8 *data, int32 value)
{
#ifdef WORDS_BIGENDIAN
	value = (int32) pg_bswap32((uint32) value);
#endif
	memcpy(data, &value, sizeof(value));
}

static inline void
mcs_document_write_int64(uint8 *data, int64 value)
{
#ifdef WORDS_BIGENDIAN
	value = (int64) pg_bswap64((uint64) value);
#endif
	memcpy(data, &value, sizeof(value));
}

/* The value of a document, in place. */
static inline DocumentValue
mcs_document_value(const Document *document)
{
	DocumentValue value;

	value.type = DOCUMENT_TYPE(document);
	value.data = DOCUMENT_VALUE(document);
	value.size = DOCUMENT_VALUE_SIZE(document);
	return value;
}

/* Whether two values are the same to the byte, which 1 and 1.0 are not. */
static inline bool
mcs_document_is_same(const DocumentValue *a, const DocumentValue *b)
{
	return a->type == b->type && a->size == b->size && memcmp(a->data, b->data, a->size) == 0;
}

static inline bool
mcs_document_is_container(uint8 type)
{
	return type == DOCUMENT_OBJECT || type == DOCUMENT_ARRAY;
}

/* value.c: walking bytes; nothing here allocates or raises, but mcs_document_make */
extern Document *mcs_document_make(uint8 type, const void *value, Size size);
extern bool mcs_document_value_size(uint8 type, const uint8 *data, uint32 available, uint32 *size);
extern void mcs_document_iterate(DocumentIterator *it, const uint8 *object, uint32 size);
extern bool mcs_document_next(DocumentIterator *it);
extern bool mcs_document_find(const uint8 *object, uint32 size, const char *key, DocumentValue *found);
extern bool mcs_document_find_index(const uint8 *array, uint32 size, int64 index, DocumentValue *found);
extern bool mcs_document_get_string(const DocumentValue *value, const char **string, uint32 *size);
extern bool mcs_document_get_int64(const DocumentValue *value, int64 *number);
extern bool mcs_document_get_bool(const DocumentValue *value, bool *truth);
extern bool mcs_document_get_timestamp(const DocumentValue *value, uint32 *seconds, uint32 *ordinal);
extern const char *mcs_document_type_name(uint8 type);

/* validate.c */
extern bool mcs_document_is_utf8(const char *string, uint32 size);
extern char *mcs_document_find_text(const DocumentValue *object, const char *key);
extern void mcs_document_malformed(void) pg_attribute_noreturn();

/* The value of a stored document, whose bytes may have come from anywhere; raises where they are no value. */
static inline DocumentValue
mcs_document_take(const Document *document)
{
	DocumentValue value = mcs_document_value(document);
	uint32		size;

#if defined(__GNUC__)
	/* a walk waits for one cache line after the other, as each element says where the next is; so fetch them ahead */
	for (uint32 i = 0; i < Min(value.size, DOCUMENT_PREFETCH); i += 64)
		__builtin_prefetch(value.data + i);
#endif
	if (VARSIZE_ANY_EXHDR(document) < 1 ||
		!mcs_document_value_size(value.type, value.data, value.size, &size) || size != value.size)
		mcs_document_malformed();
	return value;
}

/* compare.c: the order of all values, also of damaged ones; 0 is equal */
extern int	mcs_document_compare(const DocumentValue *a, const DocumentValue *b);
extern uint64 mcs_document_hash_value(const DocumentValue *value, uint64 seed);

/* build.c: keys are zero-terminated, or NULL in arrays and at the top */
extern void mcs_document_build(DocumentBuilder *builder);
extern Document *mcs_document_finish(DocumentBuilder *builder);
extern void mcs_document_begin_object(DocumentBuilder *builder, const char *key);
extern void mcs_document_begin_array(DocumentBuilder *builder, const char *key);
extern void mcs_document_end(DocumentBuilder *builder);
extern void mcs_document_append_null(DocumentBuilder *builder, const char *key);
extern void mcs_document_append_bool(DocumentBuilder *builder, const char *key, bool value);
extern void mcs_document_append_int32(DocumentBuilder *builder, const char *key, int32 value);
extern void mcs_document_append_int64(DocumentBuilder *builder, const char *key, int64 value);
extern void mcs_document_append_double(DocumentBuilder *builder, const char *key, double value);
extern void mcs_document_append_string(DocumentBuilder *builder, const char *key, const char *value);
extern void mcs_document_append_string_sized(DocumentBuilder *builder, const char *key, const char *value, uint32 size);
extern void mcs_document_append_date(DocumentBuilder *builder, const char *key, int64 milliseconds);
extern void mcs_document_append_timestamp(DocumentBuilder *builder, const char *key, uint32 seconds, uint32 ordinal);
extern void mcs_document_append_binary(DocumentBuilder *builder, const char *key, uint8 subtype, const void *data, uint32 size);
extern void mcs_document_append_document(DocumentBuilder *builder, const char *key, const Document *document);
extern void mcs_document_append_value(DocumentBuilder *builder, const char *key, const DocumentValue *value);

/* build.c: keys by their size, and values whose bytes the caller writes */
extern uint8 *mcs_document_append_raw(DocumentBuilder *builder, const char *key, uint32 key_size, uint8 type, uint32 size);
extern void mcs_document_open(DocumentBuilder *builder, const char *key, uint32 key_size, uint8 type);

/* from_sql.c: an SQL value of any type; document_type is the OID of document, or InvalidOid where it cannot be one */
extern void mcs_document_append_datum(DocumentBuilder *builder, const char *key, Datum datum, bool isnull, Oid type, Oid document_type);

/* json_in.c, json_out.c: text, as mcs_document_in and mcs_document_out have it */
extern Document *mcs_document_in_text(const char *text);
extern char *mcs_document_out_text(const Document *document);
extern bool mcs_document_write_plain(StringInfo out, const DocumentValue *value, bool *bad_text);

/* codec.c: hexadecimal digits as bytes */
extern bool mcs_document_read_hex(const char *text, uint32 size, uint8 *data);

/* date.c: BSON's dates, which are milliseconds since 1970 */
extern bool mcs_document_date_in(const char *text, uint32 size, int64 *milliseconds);
extern int64 mcs_document_timestamptz_to_ms(TimestampTz time);

/* A Decimal128 taken apart; the number is coefficient * 10^exponent. */
typedef enum DecimalKind
{
	DECIMAL_FINITE,
	DECIMAL_INFINITE,
	DECIMAL_NAN
} DecimalKind;

typedef struct DocumentDecimal
{
	DecimalKind kind;
	bool		negative;
	int			exponent;
	uint128		coefficient;
} DocumentDecimal;

typedef enum DecimalResult
{
	DECIMAL_OK,
	DECIMAL_SYNTAX,				/* the text is no number */
	DECIMAL_INEXACT,			/* more than 34 digits */
	DECIMAL_OUT_OF_RANGE
} DecimalResult;

/* decimal.c, numeric.c, number.c: numbers of any type */
extern void mcs_document_decimal_write(const DocumentDecimal *decimal, uint8 *data);
extern DecimalResult mcs_document_decimal_in(const char *text, uint32 size, DocumentDecimal *decimal);
extern DecimalResult mcs_document_numeric_to_decimal(Numeric numeric, DocumentDecimal *decimal);
extern int	mcs_document_compare_numbers(const DocumentValue *a, const DocumentValue *b);

/*
 * SQL functions that others recognise in expressions, as they are found by
 * mcs_extension_function.  cross.c: the comparisons have the numbers of btree's
 * strategies, and the one that btree has not.
 */
#define DOCUMENT_NE_STRATEGY	(BTMaxStrategyNumber + 1)
extern StrategyNumber mcs_document_comparison(PGFunction function);

/* Subtractions, by the places of their operators in a query's text, that are watched while it runs. */
#define DOCUMENT_MAX_DIFFERENCES 32

typedef struct DocumentDifferences
{
	int			count;
	int			locations[DOCUMENT_MAX_DIFFERENCES];
	bool		seen[DOCUMENT_MAX_DIFFERENCES];	/* it has subtracted dates */
} DocumentDifferences;

/* arithmetic.c: what is watched from now on, NULL for nothing; returns what was.  Who watches puts that back, also after an error. */
extern DocumentDifferences *mcs_document_watch(DocumentDifferences *differences);

/* arithmetic.c: is told of each subtraction of dates whose place is known; NULL: nobody is. */
extern PGDLLIMPORT void (*mcs_document_on_difference) (int location);

/* arithmetic.c, path.c, contain.c, cast.c, io.c */
extern PGDLLEXPORT Datum mcs_document_minus(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_minus_timestamptz(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_timestamptz_minus_document(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_interval(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_text_lenient(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_field(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_field_text(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_element(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_element_text(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_path(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_path_text(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_get(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_text(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_contains(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_contained(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_exists(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_boolean(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_smallint(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_integer(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_bigint(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_numeric(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_real(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_double(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_timestamptz(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_timestamp(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_to_date(PG_FUNCTION_ARGS);

#endif							/* MCS_DOCUMENT_H */
