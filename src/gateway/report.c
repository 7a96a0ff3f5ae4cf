/*
 * gateway/report.c
 *	  Lines for the supervisor, which puts them into the server's log.
 *
 * A line is "> text", with a tab before a hint.  The pipe is not waited for: what
 * it does not take is lost.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int	report_file = -1;

/* From now on lines go to a file. */
void
mcs_gateway_report_to(int file)
{
	report_file = file;
}

/* Tells the supervisor something. */
void
mcs_gateway_report(const char *hint, const char *format,...)
{
	char		line[1000];
	size_t		size;
	va_list		arguments;

	strcpy(line, "> ");
	va_start(arguments, format);
	vsnprintf(line + 2, 500, format, arguments);
	va_end(arguments);
	size = strlen(line);
	size += snprintf(line + size, sizeof(line) - size - 1, "%s%s", hint ? "\t" : "", hint ? hint : "");
	if (size > sizeof(line) - 2)
		size = sizeof(line) - 2;
	line[size++] = '\n';
	if (write(report_file, line, size) < 0)
		return;
}

/* Clients are turned away since this process may open no more files: said once a minute. */
void
mcs_gateway_report_no_files(void)
{
	static time_t told_at = 0;

	if (time(NULL) - told_at > 60)
		mcs_gateway_report("Raise the limit of open files of the server (ulimit -n).", "the gateway has no file descriptors left, and turns clients away");
	told_at = time(NULL);
}
