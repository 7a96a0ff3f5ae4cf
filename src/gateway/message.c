/*
 * gateway/message.c
 *	  Messages of our own, and errors and rows of the server taken apart.
 *
 * A message is its type, its length (which counts itself) and its body.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdio.h>
#include <string.h>

/* Begins a message; what mcs_gateway_end wants to know. */
size_t
mcs_gateway_begin(Bytes *bytes, char type)
{
	mcs_gateway_add(bytes, &type, 1);
	mcs_gateway_add_number(bytes, 0, 4);
	return mcs_gateway_size(bytes) - 4;
}

/* Ends it, by writing its length. */
void
mcs_gateway_end(Bytes *bytes, size_t at)
{
	size_t		size = mcs_gateway_size(bytes) - at;

	if (bytes->broken)
		return;
	for (int i = 0; i < 4; i++)
		mcs_gateway_at(bytes)[at + i] = (char) (size >> (24 - 8 * i));
}

/* Adds a field of an error. */
static void
add_field(Bytes *bytes, char field, const char *text)
{
	if (!text)
		return;
	mcs_gateway_add(bytes, &field, 1);
	mcs_gateway_add_string(bytes, text);
}

void
mcs_gateway_tell(Bytes *bytes, char type, const char *severity, const char *state, const char *message, const char *detail, const char *hint)
{
	size_t		at = mcs_gateway_begin(bytes, type);

	add_field(bytes, 'S', severity);
	add_field(bytes, 'V', severity);
	add_field(bytes, 'C', state);
	add_field(bytes, 'M', message);
	add_field(bytes, 'D', detail);
	add_field(bytes, 'H', hint);
	mcs_gateway_add(bytes, "", 1);
	mcs_gateway_end(bytes, at);
}

/* The zero at the end of a string in a body; NULL where there is none. */
static const char *
string_end(const char *at, const char *end)
{
	return at < end ? memchr(at, 0, end - at) : NULL;
}

const char *
mcs_gateway_field(const char *body, size_t size, char field)
{
	const char *end = body + size;
	const char *at = body;

	while (at < end && *at)
	{
		const char *stop = string_end(at + 1, end);

		if (!stop)
			return NULL;
		if (*at == field)
			return at + 1;
		at = stop + 1;
	}
	return NULL;
}

void
mcs_gateway_put_error(Bytes *bytes, char type, const char *body, size_t size, const char *leave_out, long position)
{
	size_t		begun = mcs_gateway_begin(bytes, type);
	const char *end = body + size;
	const char *at = body;
	const char *stop;

	while (at < end && *at && (stop = string_end(at + 1, end)) != NULL)
	{
		if (!strchr(leave_out, *at))
			mcs_gateway_add(bytes, at, stop + 1 - at);
		at = stop + 1;
	}
	if (position > 0)
	{
		char		number[32];

		snprintf(number, sizeof(number), "%ld", position);
		add_field(bytes, 'P', number);
	}
	mcs_gateway_add(bytes, "", 1);
	mcs_gateway_end(bytes, begun);
}

const char *
mcs_gateway_column(const char *body, size_t size, int column, size_t *length)
{
	size_t		at = 2;

	for (int i = 0; at + 4 <= size; i++)
	{
		uint32_t	width = mcs_gateway_number(body + at);

		at += 4;
		if (width == UINT32_MAX)
			width = 0;
		else if (i == column && width <= size - at)
		{
			*length = width;
			return body + at;
		}
		if (i == column || width > size - at)
			return NULL;
		at += width;
	}
	return NULL;
}

void
mcs_gateway_refuse(Link *link, const char *state, const char *message, const char *hint)
{
	/* a client that asks for TLS first must have its answer before, or would not believe the error */
	if (link->phase == LINK_PACKET)
	{
		link->refused = message;
		link->refused_state = state;
		link->refused_hint = hint;
		return;
	}
	mcs_gateway_tell(&link->client.out, 'E', "FATAL", state, message, NULL, hint);
	link->phase = LINK_CLOSING;
}
