/*
 * gateway/awaited.c
 *	  Which answers of the server are to come, in the order of what it was sent:
 *	  so the answers to our own messages are known among the client's.
 *
 * Each message but Flush and COPY's has one answer that ends it: ParseComplete,
 * BindComplete, CloseComplete; for Describe RowDescription or NoData; for Execute
 * CommandComplete, EmptyQueryResponse or PortalSuspended; ReadyForQuery for Sync,
 * Query and FunctionCall.  An error ends its message, too, and where that was one
 * of the extended protocol, all that follow up to the next Sync.
 *
 * The client may do what nobody foresees, and a Sync that comes while the server
 * reads COPY data is not answered.  So an answer ends what it can end, and
 * everything before that: what has been lost is noticed with the next answer.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdlib.h>
#include <string.h>

static char
kind_at(const Awaited *awaited, size_t i)
{
	return awaited->kinds[(awaited->first + i) & (awaited->room - 1)];
}

static void
drop(Awaited *awaited, size_t count)
{
	awaited->first += count;
	awaited->count -= count;
	if (awaited->count == 0 && awaited->room > 4096)
	{
		free(awaited->kinds);
		memset(awaited, 0, sizeof(*awaited));
	}
}

/* A message was sent: its type, or AWAITED_OUR_...; 'c' stands for the end of COPY data, which has no answer.  False: no memory. */
bool
mcs_gateway_await(Awaited *awaited, char kind)
{
	if (awaited->count == awaited->room)
	{
		size_t		room = awaited->room ? awaited->room * 2 : 64;
		char	   *kinds = malloc(room);

		if (!kinds)
			return false;
		for (size_t i = 0; i < awaited->count; i++)
			kinds[i] = kind_at(awaited, i);
		free(awaited->kinds);
		awaited->kinds = kinds;
		awaited->room = room;
		awaited->first = 0;
	}
	awaited->kinds[(awaited->first + awaited->count++) & (awaited->room - 1)] = kind;
	return true;
}

/* What the next answer should be to; 0: nothing. */
char
mcs_gateway_next_awaited(Awaited *awaited)
{
	while (awaited->count > 0 && kind_at(awaited, 0) == 'c')
		drop(awaited, 1);
	return awaited->count > 0 ? kind_at(awaited, 0) : 0;
}

/* An answer came that ends one of these: the first of them, and what is before it, is awaited no more; which it was, or 0. */
char
mcs_gateway_take_awaited(Awaited *awaited, const char *kinds)
{
	for (size_t i = 0; i < awaited->count; i++)
	{
		char		kind = kind_at(awaited, i);

		if (strchr(kinds, kind))
		{
			drop(awaited, i + 1);
			return kind;
		}
	}
	return 0;
}

/* An error came to a message of the extended protocol; false where no Sync was sent yet.  *ours: something of ours is skipped with it. */
bool
mcs_gateway_skip_to_sync(Awaited *awaited, bool *ours)
{
	size_t		i;

	*ours = false;
	for (i = 0; i < awaited->count; i++)
	{
		char		kind = kind_at(awaited, i);

		if (kind == 'S' || kind == AWAITED_OUR_SYNC)
			break;
		*ours |= AWAITED_OURS(kind);
	}
	drop(awaited, i);
	return awaited->count > 0;
}

/*
 * An Execute of COPY FROM STDIN is at its end, and still awaited: what the client
 * sent up to the end of its data had no answer.
 */
void
mcs_gateway_end_copy(Awaited *awaited)
{
	size_t		gone;

	for (gone = 1; gone < awaited->count && strchr("Sc", kind_at(awaited, gone)); gone++)
		if (kind_at(awaited, gone) == 'c')
		{
			gone++;
			break;
		}
	drop(awaited, gone - 1);
	if (awaited->count > 0)
		awaited->kinds[awaited->first & (awaited->room - 1)] = 'E';
}
