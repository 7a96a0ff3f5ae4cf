/*
 * mongo_change_stream.c
 *	  Module magic, the list of what each family does at load, and what all of
 *	  them use.
 */
#include "mongo_change_stream.h"

#include "handler/handler.h"
#include "mb/pg_wchar.h"
#include "stream/stream.h"
#include "worker/worker_internal.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	mcs_mongo_init();
	mcs_shmem_init();
	mcs_launcher_init();
	mcs_stream_hook_init();
	mcs_token_table_init();
	mcs_handler_init();
	MarkGUCPrefixReserved(MCS_EXTENSION);
}

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
	if (length >= (int) size)
		to[clipped_length(to, size - 1, size - 1)] = '\0';
}
