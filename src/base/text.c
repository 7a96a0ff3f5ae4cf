/*
 * base/text.c
 *	  Texts into buffers of a fixed size.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "mb/pg_wchar.h"

/* The extension is in databases of the encoding UTF8 only; the launcher, which is in none, copies their texts, too. */
static int
clipped_length(const char *text, int length, int limit)
{
	return pg_encoding_mbcliplen(PG_UTF8, text, length, limit);
}

void
mcs_text_copy(char *to, Size size, const char *from)
{
	int			length = clipped_length(from, strlen(from), size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

void
mcs_text_format(char *to, Size size, const char *format,...)
{
	va_list		arguments;
	int			length;

	va_start(arguments, format);
	length = vsnprintf(to, size, format, arguments);
	va_end(arguments);
	/* vsnprintf cuts at any byte, also inside a character */
	if (length >= (int) size)
		to[clipped_length(to, size - 1, size - 1)] = '\0';
}
