/*
 * document.h
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
 * Memory comes from palloc only.  libbson may be used to iterate and to parse
 * in place; anything it would allocate must be given a palloc'ed buffer.
 * May be used by every family; uses none.
 */
#ifndef MCS_DOCUMENT_H
#define MCS_DOCUMENT_H

#include "mongo_change_stream.h"

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

/* MongoDB nests at most 100 levels (its server adds some for its own wrapping). */
#define DOCUMENT_MAX_DEPTH		200

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

/* document_value.c */
extern Document *mcs_document_make(uint8 type, const void *value, Size size);
extern bool mcs_document_find(const uint8 *object, uint32 size, const char *key, DocumentValue *found);

#endif							/* MCS_DOCUMENT_H */
