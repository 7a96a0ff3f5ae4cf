/*
 * gateway/bytes.c
 *	  Buffers.
 *
 * Memory may be missing: a buffer for which there was none is broken and takes
 * nothing more, and the client for which that was is disconnected before anything
 * is written, as half a message might be.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdlib.h>
#include <string.h>

/* An empty buffer keeps so much. */
#define KEPT_ROOM	(8 * 1024)

static size_t held = 0;
static bool missing = false;

/* How much all buffers hold. */
size_t
mcs_gateway_held(void)
{
	return held;
}

/* Whether there was no memory for something since this was asked. */
bool
mcs_gateway_take_missing(void)
{
	bool		was = missing;

	missing = false;
	return was;
}

size_t
mcs_gateway_size(const Bytes *bytes)
{
	return bytes->end - bytes->begin;
}

/* Its first byte. */
char *
mcs_gateway_at(const Bytes *bytes)
{
	return bytes->data + bytes->begin;
}

/* Makes room for more bytes at its end. */
bool
mcs_gateway_reserve(Bytes *bytes, size_t more)
{
	size_t		size = mcs_gateway_size(bytes);
	size_t		room = bytes->room ? bytes->room : 1024;
	char	   *data;

	if (bytes->broken)
		return false;
	if (bytes->room - bytes->end >= more)
		return true;
	while (room - size < more)
		room *= 2;
	/* what is gone at the begin is room, too */
	if (bytes->begin > 0)
	{
		memmove(bytes->data, bytes->data + bytes->begin, size);
		bytes->begin = 0;
		bytes->end = size;
	}
	if (room == bytes->room)
		return true;
	/* large ones grow without being copied */
	data = realloc(bytes->data, room);
	if (!data)
	{
		bytes->broken = missing = true;
		return false;
	}
	held += room - bytes->room;
	bytes->data = data;
	bytes->room = room;
	return true;
}

void
mcs_gateway_add(Bytes *bytes, const void *data, size_t size)
{
	if (size == 0 || !mcs_gateway_reserve(bytes, size))
		return;
	memcpy(bytes->data + bytes->end, data, size);
	bytes->end += size;
}

/* Adds a number in network order, of 2 or 4 bytes. */
void
mcs_gateway_add_number(Bytes *bytes, uint32_t number, int width)
{
	unsigned char data[4] = {number >> 24, number >> 16, number >> 8, number};

	mcs_gateway_add(bytes, data + 4 - width, width);
}

/* Adds a string with its zero. */
void
mcs_gateway_add_string(Bytes *bytes, const char *string)
{
	mcs_gateway_add(bytes, string, strlen(string) + 1);
}

/* Takes bytes from its begin. */
void
mcs_gateway_drop(Bytes *bytes, size_t size)
{
	bytes->begin += size;
	if (bytes->begin < bytes->end)
		return;
	if (bytes->room > KEPT_ROOM)
		mcs_gateway_clear(bytes);
	bytes->begin = bytes->end = 0;
}

/* Gives its memory up. */
void
mcs_gateway_clear(Bytes *bytes)
{
	free(bytes->data);
	held -= bytes->room;
	memset(bytes, 0, sizeof(*bytes));
}

/* The four bytes at a place. */
uint32_t
mcs_gateway_number(const char *data)
{
	const unsigned char *bytes = (const unsigned char *) data;

	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 | bytes[3];
}
