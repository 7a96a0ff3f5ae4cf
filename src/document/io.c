/*
 * document/io.c
 *	  Type document's doors: text, binary, and BSON in a bytea.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(mcs_document_in);
PG_FUNCTION_INFO_V1(mcs_document_out);
PG_FUNCTION_INFO_V1(mcs_document_recv);
PG_FUNCTION_INFO_V1(mcs_document_send);
PG_FUNCTION_INFO_V1(mcs_document_from_bson);
PG_FUNCTION_INFO_V1(mcs_document_to_bson);
PG_FUNCTION_INFO_V1(mcs_document_text);
PG_FUNCTION_INFO_V1(mcs_document_text_lenient);
PG_FUNCTION_INFO_V1(mcs_document_typeof);

/* So large a document always has a text: twelve bytes of it for one of BSON are the worst. */
#define MAX_LENIENT_BYTES	(MaxAllocSize / 12)

/* Raises the error for bytes that a client gave us and that are no BSON. */
static void
reject(const DocumentFault *fault)
{
	ereport(ERROR,
			(errcode(fault->sqlstate),
			 errmsg("invalid BSON"),
			 fault->path[0] ?
			 errdetail("At \"%s\": %s.", fault->path, fault->problem) :
			 errdetail("At the top: %s.", fault->problem)));
}

/* document_in(cstring): Extended JSON to a document */
Datum
mcs_document_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	/* the context is an ErrorSaveContext where soft errors are asked for; errsave ignores any other */
	Document   *document = mcs_document_from_text(text, strlen(text), fcinfo->context);

	/* nobody looks at the result after a soft error */
	if (document == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(document);
}

/* A document as Extended JSON. */
char *
mcs_document_out_text(const Document *document)
{
	DocumentValue value = mcs_document_take(document);
	StringInfoData out;

	initStringInfo(&out);
	mcs_document_write_json(&out, &value);
	return out.data;
}

/* document_out(document): a document as Extended JSON */
Datum
mcs_document_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(mcs_document_out_text(PG_GETARG_DOCUMENT_P(0)));
}

/* document_recv(internal): the type byte and the value */
Datum
mcs_document_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	DocumentValue value;
	DocumentFault fault;

	/* pqformat raises the error where there is not even a type; the rest of the message is the value */
	value.type = pq_getmsgbyte(buf);
	value.size = buf->len - buf->cursor;
	value.data = (const uint8 *) pq_getmsgbytes(buf, value.size);
	/* a client may send anything */
	if (!mcs_document_validate(&value, true, 0, &fault))
		reject(&fault);
	PG_RETURN_POINTER(mcs_document_make(value.type, value.data, value.size));
}

/* document_send(document): the payload as it is stored */
Datum
mcs_document_send(PG_FUNCTION_ARGS)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	StringInfoData buf;

	/* unchecked; recv is strict, so a value that is not quite well-formed travels as text only, in $bson */
	pq_begintypsend(&buf);
	pq_sendbytes(&buf, VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* document_from_bson(bytea): a whole BSON document, as a driver or mongodump has it */
Datum
mcs_document_from_bson(PG_FUNCTION_ARGS)
{
	bytea	   *bytes = PG_GETARG_BYTEA_PP(0);
	DocumentValue value;
	DocumentFault fault;

	value.type = DOCUMENT_OBJECT;
	value.data = (const uint8 *) VARDATA_ANY(bytes);
	value.size = VARSIZE_ANY_EXHDR(bytes);
	if (!mcs_document_validate(&value, true, 0, &fault))
		reject(&fault);
	PG_RETURN_POINTER(mcs_document_make(value.type, value.data, value.size));
}

/* document_to_bson(document): the bytes of a whole document */
Datum
mcs_document_to_bson(PG_FUNCTION_ARGS)
{
	/* not taken by mcs_document_take, as this is what shows bytes that are damaged */
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	bytea	   *bytes;

	/* an array is a document with other keys, but its type would be lost */
	if (DOCUMENT_TYPE(document) != DOCUMENT_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a value of type %s is no BSON document", mcs_document_type_name(DOCUMENT_TYPE(document))),
				 errdetail("Only an object can stand alone in BSON."),
				 errhint("Wrap it: document_to_bson(document_build_object('value', ...)).")));
	bytes = (bytea *) palloc(VARHDRSZ + DOCUMENT_VALUE_SIZE(document));
	SET_VARSIZE(bytes, VARHDRSZ + DOCUMENT_VALUE_SIZE(document));
	memcpy(VARDATA(bytes), DOCUMENT_VALUE(document), DOCUMENT_VALUE_SIZE(document));
	PG_RETURN_BYTEA_P(bytes);
}

/* document_text(document): plain text, as ->> gives it */
Datum
mcs_document_text(PG_FUNCTION_ARGS)
{
	Document   *document = PG_GETARG_DOCUMENT_P(0);
	DocumentValue value = mcs_document_take(document);
	text	   *result = mcs_document_plain_text(&value, NULL, 0);

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/* document_text_lenient(document): plain text of any document, with U+FFFD for what no text holds */
Datum
mcs_document_text_lenient(PG_FUNCTION_ARGS)
{
	DocumentValue value = mcs_document_take_any(PG_GETARG_DOCUMENT_P(0));
	DocumentFault fault;
	const char *string;
	uint32		size;
	StringInfoData out;
	bool		bad_text;

	/* strings first: they are mended, where write_plain refuses them */
	if (mcs_document_get_string(&value, &string, &size))
	{
		string = mcs_document_mend_text(string, &size);
		PG_RETURN_TEXT_P(cstring_to_text_with_len(string, size));
	}
	initStringInfo(&out);
	if (!mcs_document_validate(&value, false, 0, &fault) || value.size > MAX_LENIENT_BYTES)
		mcs_document_write_whole(&out, &value, MaxAllocSize);
	else if (!mcs_document_write_plain(&out, &value, &bad_text))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* document_typeof(document): the type's name, as MongoDB's $type has it */
Datum
mcs_document_typeof(PG_FUNCTION_ARGS)
{
	const char *name = mcs_document_type_name(DOCUMENT_TYPE(PG_GETARG_DOCUMENT_P(0)));

	/* stored bytes may come from a server that is broken */
	if (name == NULL)
		mcs_document_malformed();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
