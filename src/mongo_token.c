/*
 * mongo_token.c
 *	  Resume tokens as text: what can be said of one without asking MongoDB.
 *
 * A token is MongoDB's KeyString in hex: a type byte 82 (timestamp), four bytes
 * of seconds, four of ordinal, then what tells events of one time apart.  So
 * tokens sort as text, and the one made here, which ends with the fields of a
 * high-water mark, sorts before those of all events of its time.
 */
#include "mongo.h"

#define TIMESTAMP_TYPE		"82"
#define TIME_DIGITS			16	/* seconds and ordinal, eight digits each */
#define TIME_OFFSET			2
#define HIGH_WATER_MARK		"2B0229296E04"
#define TOKEN_MAX			65536

/* A hex digit's value, or -1. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Whether a text can be a resume token. */
bool
mcs_token_valid(const char *token)
{
	size_t		length = strlen(token);

	if (length < TIME_OFFSET + TIME_DIGITS || length % 2 != 0 || length > TOKEN_MAX)
		return false;
	if (strncmp(token, TIMESTAMP_TYPE, TIME_OFFSET) != 0)
		return false;
	for (const char *c = token; *c; c++)
		if (hex_value(*c) < 0)
			return false;
	return true;
}

/* The cluster time in a valid token: seconds << 32 | ordinal. */
uint64
mcs_token_time(const char *token)
{
	uint64		time = 0;

	for (int i = TIME_OFFSET; i < TIME_OFFSET + TIME_DIGITS; i++)
	{
		int			value = hex_value(token[i]);

		if (value < 0)
			return 0;
		time = time << 4 | (uint64) value;
	}
	return time;
}

/* The token that sorts before every event of a time. */
char *
mcs_token_from_time(uint64 time)
{
	return psprintf(TIMESTAMP_TYPE "%08X%08X" HIGH_WATER_MARK, (uint32) (time >> 32), (uint32) time);
}
