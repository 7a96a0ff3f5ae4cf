/*
 * document/codec.c
 *	  Bytes as hexadecimal digits and as base64, both ways.
 */
#include "mongo_change_stream.h"

#include "document/document_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* So many bytes are dealt with between two looks whether to go on: a multiple of 3 and of 4, by which the loops count. */
#define BYTES_AT_A_TIME	(3 * 65536)

/* Appends bytes in hexadecimal. */
void
mcs_document_write_hex(StringInfo out, const uint8 *data, uint32 size)
{
	/* it takes an int: where the doubled size would be none, ask for what it refuses with the proper error */
	enlargeStringInfo(out, size > MaxAllocSize / 2 ? MaxAllocSize : size * 2);
	hex_encode((const char *) data, size, out->data + out->len);
	out->len += size * 2;
	out->data[out->len] = '\0';
}

/* Appends bytes in base64. */
void
mcs_document_write_base64(StringInfo out, const uint8 *data, uint32 size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (uint32 i = 0; i < size; i += 3)
	{
		uint32		left = size - i;
		uint32		group = (uint32) data[i] << 16;

		if (i % BYTES_AT_A_TIME == 0)
			CHECK_FOR_INTERRUPTS();
		if (left > 1)
			group |= (uint32) data[i + 1] << 8;
		if (left > 2)
			group |= data[i + 2];
		appendStringInfoCharMacro(out, digits[group >> 18]);
		appendStringInfoCharMacro(out, digits[(group >> 12) & 63]);
		appendStringInfoCharMacro(out, left > 1 ? digits[(group >> 6) & 63] : '=');
		appendStringInfoCharMacro(out, left > 2 ? digits[group & 63] : '=');
	}
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Reads pairs of hexadecimal digits. */
bool
mcs_document_read_hex(const char *text, uint32 size, uint8 *data)
{
	for (uint32 i = 0; i + 1 < size; i += 2)
	{
		int			high = hex_digit(text[i]);
		int			low = hex_digit(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*data++ = (uint8) (high * 16 + low);
	}
	return size % 2 == 0;
}

/* The value of a base64 digit, or -1. */
static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 in place; false where it is none.  Only one text gives the same bytes. */
bool
mcs_document_decode_base64(StringInfo text)
{
	uint8	   *to = (uint8 *) text->data;
	int			padding = 0;

	if (text->len % 4 != 0)
		return false;
	while (padding < 2 && text->len > padding && text->data[text->len - 1 - padding] == '=')
		padding++;
	for (int i = 0; i < text->len; i += 4)
	{
		/* padding is looked for at the end alone: elsewhere = is no digit */
		int			used = i + 4 < text->len ? 4 : 4 - padding;
		uint32		group = 0;

		if (i % BYTES_AT_A_TIME == 0)
			CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < 4; j++)
		{
			int			digit = j < used ? base64_digit(text->data[i + j]) : 0;

			if (digit < 0)
				return false;
			group = group << 6 | digit;
		}
		/* bits that no byte takes must be zero, or several texts would give the same bytes */
		if ((used == 2 && (group & 0xFFFF) != 0) || (used == 3 && (group & 0xFF) != 0))
			return false;
		*to++ = group >> 16;
		if (used > 2)
			*to++ = (group >> 8) & 0xFF;
		if (used > 3)
			*to++ = group & 0xFF;
	}
	text->len = to - (uint8 *) text->data;
	return true;
}
