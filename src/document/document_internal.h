/*
 * document/document_internal.h
 *	  What the files of the type document share with each other and with no other
 *	  folder: damaged values, the order of kinds, lookups, numbers taken apart,
 *	  and the parser of text.
 */
#ifndef MCS_DOCUMENT_INTERNAL_H
#define MCS_DOCUMENT_INTERNAL_H

#ifndef MCS_INSIDE_document
#error "document/document_internal.h is for the files of its folder only"
#endif

#include "document/document.h"

/* None of BSON's: stands for bytes that are no value, where a function must have a result for any. */
#define DOCUMENT_DAMAGED		0x00

/* MongoDB nests at most 100 levels (its server adds some for its own wrapping). */
#define DOCUMENT_MAX_DEPTH		200

/* The letters of a regular expression's options that its Extended JSON takes. */
#define REGEX_MAX_OPTIONS		21

/* What is wrong with a value, and where: filled by mcs_document_validate. */
typedef struct DocumentFault
{
	const char *problem;		/* a clause such as "a string is not UTF-8" */
	int			sqlstate;
	char		path[256];		/* dotted path of the value, empty at the top */
} DocumentFault;

/* As mcs_document_take, but raises nothing: bytes that are no value are one that is DOCUMENT_DAMAGED, as a whole. */
static inline DocumentValue
mcs_document_take_any(const Document *document)
{
	DocumentValue value;
	uint32		size;

	if (VARSIZE_ANY_EXHDR(document) >= 1)
	{
		value = mcs_document_value(document);
		if (mcs_document_value_size(value.type, value.data, value.size, &size) && size == value.size)
			return value;
	}
	value.type = DOCUMENT_DAMAGED;
	value.data = (const uint8 *) VARDATA_ANY(document);
	value.size = VARSIZE_ANY_EXHDR(document);
	return value;
}

/* value.c */
extern bool mcs_document_find_sized(const uint8 *object, uint32 size, const char *key, uint32 key_size, DocumentValue *found);

/* validate.c */
extern bool mcs_document_validate(const DocumentValue *value, bool strict, int depth, DocumentFault *fault);
extern const char *mcs_document_mend_text(const char *string, uint32 *size);

/* json_in.c, json_out.c */
extern Document *mcs_document_from_text(const char *text, uint32 size, struct Node *escontext);
extern void mcs_document_write_json(StringInfo out, const DocumentValue *value);

#define DECIMAL_TEXT_SIZE		48
#define DECIMAL_MIN_EXPONENT	(-6176)
#define DECIMAL_MAX_EXPONENT	6111

/* Where a walk is, for error messages: the keys from a value up to the top, which is NULL. */
typedef struct DocumentPlace
{
	const struct DocumentPlace *parent;
	const char *key;
	uint32		key_size;
} DocumentPlace;

/* set.c */
extern Document *mcs_document_set(const DocumentValue *old, const DocumentStep *steps, const bool *is_integer, int count, const DocumentValue *replacement);

/* jsonb.c */
struct JsonbContainer;
extern void mcs_document_append_jsonb(DocumentBuilder *builder, const char *key, struct JsonbContainer *container);

/* path.c */
struct ArrayType;
extern bool mcs_document_walk(const DocumentValue *value, const DocumentStep *steps, int count, DocumentValue *found);
extern void mcs_document_write_place(StringInfo out, const DocumentPlace *place);
extern text *mcs_document_plain_text(const DocumentValue *value, const DocumentStep *steps, int count);

/* Kinds that code has to name; see mcs_document_kind. */
#define DOCUMENT_KIND_NUMBER	4
#define DOCUMENT_KIND_STRING	5

/* compare.c */
extern PGDLLEXPORT Datum mcs_document_lt(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_le(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_eq(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_ge(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_gt(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum mcs_document_ne(PG_FUNCTION_ARGS);
extern uint8 mcs_document_kind(uint8 type);
extern bool mcs_document_next_any(DocumentIterator *it);

/* A member of an object, an element of an array. */
typedef struct DocumentMember
{
	const char *key;			/* in an array: the string that the element is */
	uint32		key_size;
	DocumentValue value;
} DocumentMember;

/* Lookups in one object or array. */
typedef struct DocumentLookup
{
	DocumentValue whole;
	bool		by_value;		/* of elements, not of keys */
	int			asked;			/* lookups so far */
	DocumentMember *members;	/* sorted; NULL while there were few lookups */
	Size		count;
} DocumentLookup;

/* lookup.c */
extern void mcs_document_lookup_begin(DocumentLookup *lookup, const DocumentValue *whole, bool by_value);
extern void mcs_document_lookup_end(DocumentLookup *lookup);
extern bool mcs_document_lookup_key(DocumentLookup *lookup, const char *key, uint32 key_size, DocumentValue *found);
extern bool mcs_document_lookup_value(DocumentLookup *lookup, const DocumentValue *value);

/* number.c */
extern bool mcs_document_is_nan(const DocumentValue *value);
extern double mcs_document_number_to_double(const DocumentValue *value);
extern uint64 mcs_document_hash_number(const DocumentValue *value, uint64 seed);

/* decimal.c */
extern void mcs_document_decimal_read(const uint8 *data, DocumentDecimal *decimal);
extern int	mcs_document_decimal_digits(uint128 coefficient, char *digits);
extern void mcs_document_decimal_out(const DocumentDecimal *decimal, char *text);
extern DecimalResult mcs_document_decimal_fit(DocumentDecimal *decimal);

/* numeric.c */
extern Numeric mcs_document_double_to_numeric(double number);
extern Numeric mcs_document_number_to_numeric(const DocumentValue *value);
extern bool mcs_document_numeric_to_int64(Numeric numeric, int64 *number);
extern void mcs_document_decimal_from_numeric(Numeric numeric, DocumentDecimal *decimal);
extern void mcs_document_decimal_round(Numeric numeric, DocumentDecimal *decimal);
extern void mcs_document_decimal_divide(Numeric a, Numeric b, DocumentDecimal *result);

/* date.c */
extern bool mcs_document_date_out(StringInfo out, int64 milliseconds);
extern int64 mcs_document_date_from_timestamptz(TimestampTz time);
extern TimestampTz mcs_document_date_to_timestamptz(int64 milliseconds);
extern int128 mcs_document_interval_to_us(const Interval *interval);
extern int64 mcs_document_interval_to_ms(const Interval *interval);
extern Interval *mcs_document_interval_from_us(int64 microseconds);

/* codec.c */
extern void mcs_document_write_hex(StringInfo out, const uint8 *data, uint32 size);
extern void mcs_document_write_base64(StringInfo out, const uint8 *data, uint32 size);
extern bool mcs_document_decode_base64(StringInfo text);

/* json_out.c */
extern void mcs_document_write_quoted(StringInfo out, const char *string, uint32 size);
extern void mcs_document_write_whole(StringInfo out, const DocumentValue *value, uint32 limit);

/* The state of reading text. */
typedef struct DocumentParser DocumentParser;

struct DocumentParser
{
	const char *start;
	const char *at;
	const char *end;
	DocumentBuilder builder;
	int			depth;			/* values around the current one */
	struct Node *escontext;		/* where errors go, if they are not raised */
	bool		failed;

	/* reads a value into the builder: json_in.c's, for the values inside typed ones */
	bool		(*parse_value) (DocumentParser *parser, const char *key, uint32 key_size);
};

/* json_scan.c */
extern bool mcs_document_parse_fail(DocumentParser *parser, const char *at, const char *problem);
extern bool mcs_document_parse_token(DocumentParser *parser, char token);
extern bool mcs_document_parse_string(DocumentParser *parser, StringInfo string);
extern bool mcs_document_parse_double(const char *digits, uint32 size, double *number);
extern bool mcs_document_parse_int64(const char *digits, uint32 size, int64 *number);

/* Skips white space and shows the next character; 0 at the end. */
static inline char
mcs_document_parse_peek(DocumentParser *parser)
{
	while (parser->at < parser->end &&
		   (*parser->at == ' ' || *parser->at == '\t' || *parser->at == '\n' || *parser->at == '\r'))
		parser->at++;
	return parser->at < parser->end ? *parser->at : '\0';
}

/* json_typed.c */
extern bool mcs_document_is_type_key(const char *key, uint32 key_size);
extern bool mcs_document_parse_typed(DocumentParser *parser, const char *key, uint32 key_size, StringInfo type_key);

#endif							/* MCS_DOCUMENT_INTERNAL_H */
