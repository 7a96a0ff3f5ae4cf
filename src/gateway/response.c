/*
 * gateway/response.c
 *	  Messages of the server: they go to the client, but for those that answer us.
 *
 * Notices that come with a translation are the client's where there was something
 * to translate; notifications and parameters always are.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <stdlib.h>
#include <string.h>

/* Notices and the like beyond this go through as they are. */
#define NOTICE_MAX	(1024 * 1024)

/* A row for us beyond this is not taken; and an error must be, or it would not be known what the server skips. */
#define ROW_MAX		(4 * (uint32_t) GATEWAY_TEXT_MAX)

/* A message as a whole; its body. */
typedef struct Message
{
	char		type;
	const char *body;
	size_t		size;			/* of the body */
} Message;

/* The client gets it, as it is. */
static void
pass(Link *link, const Message *message)
{
	link->server.passing = message->size + 5;
}

/* It was for us. */
static void
swallow(Link *link, const Message *message)
{
	link->server.dropping = message->size + 5;
}

/* An answer of ours is complete. */
static void
finish(Link *link, ExchangeResult result)
{
	link->exchange.result = result;
}

/* An error. */
static void
take_error(Link *link, const Message *message)
{
	Exchange   *exchange = &link->exchange;
	char		kind = mcs_gateway_next_awaited(&link->awaited);
	const char *severity = mcs_gateway_field(message->body, message->size, 'V');
	bool		fatal = severity && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
	bool		ours = false;

	if (AWAITED_OURS(kind) && !fatal)
	{
		mcs_gateway_clear(&exchange->error);
		mcs_gateway_add(&exchange->error, message->body, message->size);
		if (!mcs_gateway_skip_to_sync(&link->awaited, &ours))
		{
			link->skipping = true;
			finish(link, RESULT_ERROR);
		}
		swallow(link, message);
		return;
	}
	if (kind && strchr("PpBDECH", kind))
	{
		if (link->copying && kind == 'E')
			mcs_gateway_end_copy(&link->awaited);
		link->skipping |= !mcs_gateway_skip_to_sync(&link->awaited, &ours);
		if (ours)
			finish(link, RESULT_LOST);
	}
	link->copying = false;
	if ((kind == 'p' || kind == 'q') && mcs_gateway_field(message->body, message->size, 'P'))
	{
		long		position = strtol(mcs_gateway_field(message->body, message->size, 'P'), NULL, 10);

		mcs_gateway_put_error(&link->client.out, 'E', message->body, message->size, "P",
							  mcs_gateway_made_position(&link->translated, position, link->utf8));
		swallow(link, message);
	}
	else
		pass(link, message);
}

/* ReadyForQuery. */
static void
take_ready(Link *link, const Message *message)
{
	static const char enders[] = {'S', 'Q', 'q', 'F', AWAITED_OUR_SYNC, 0};
	char		kind = mcs_gateway_take_awaited(&link->awaited, enders);

	link->status = message->size > 0 ? message->body[0] : 'I';
	link->copying = false;
	if (kind == 0)
		link->skipping = false;
	if (kind != AWAITED_OUR_SYNC)
	{
		mcs_gateway_forget_translated(&link->translated);
		pass(link, message);
		return;
	}
	finish(link, mcs_gateway_size(&link->exchange.error) > 0 ? RESULT_ERROR : mcs_gateway_size(&link->exchange.row) > 0 ? RESULT_ROW : RESULT_EMPTY);
	swallow(link, message);
}

/* An answer that ends one of some messages, and nothing else. */
static void
take_answer(Link *link, const Message *message, const char *kinds)
{
	char		kind = mcs_gateway_take_awaited(&link->awaited, kinds);

	if (!AWAITED_OURS(kind))
	{
		pass(link, message);
		return;
	}
	/* nothing of the client's is sent behind ours */
	if (!link->exchange.synced && mcs_gateway_next_awaited(&link->awaited) == 0)
		finish(link, mcs_gateway_size(&link->exchange.row) > 0 ? RESULT_ROW : RESULT_EMPTY);
	swallow(link, message);
}

/* What ends an Execute; in a simple query it ends nothing. */
static void
take_completion(Link *link, const Message *message)
{
	static const char kinds[] = {'E', AWAITED_OUR_EXECUTE, 0};
	char		kind = mcs_gateway_next_awaited(&link->awaited);

	if (kind && strchr("QqF", kind))
	{
		link->copying = false;
		pass(link, message);
		return;
	}
	if (link->copying && kind == 'E')
		mcs_gateway_end_copy(&link->awaited);
	link->copying = false;
	take_answer(link, message, kinds);
}

/* A parameter of the session that matters here. */
static void
take_parameter(Link *link, const Message *message)
{
	const char *value = message->size > 0 ? memchr(message->body, 0, message->size) : NULL;
	const char *end = message->body + message->size;

	if (value && ++value < end && memchr(value, 0, end - value))
	{
		if (strcmp(message->body, "client_encoding") == 0)
		{
			link->utf8 = strcmp(value, "UTF8") == 0;
			/* what is known is in the one before */
			link->names_until = 0;
		}
		else if (strcmp(message->body, "standard_conforming_strings") == 0)
			link->escapes = strcmp(value, "off") == 0;
	}
	pass(link, message);
}

/* A message that came as a whole. */
static void
take_whole(Link *link, const Message *message)
{
	static const char parses[] = {'P', 'p', AWAITED_OUR_PARSE, 0};
	static const char binds[] = {'B', AWAITED_OUR_BIND, 0};
	static const char closes[] = {'C', AWAITED_OUR_CLOSE, 0};
	bool		ours = AWAITED_OURS(mcs_gateway_next_awaited(&link->awaited));

	switch (message->type)
	{
		case 'E':
			take_error(link, message);
			break;
		case 'Z':
			take_ready(link, message);
			break;
		case 'S':
			take_parameter(link, message);
			break;
		case '1':
			take_answer(link, message, parses);
			break;
		case '2':
			take_answer(link, message, binds);
			break;
		case '3':
			take_answer(link, message, closes);
			break;
		case 'C':
		case 'I':
		case 's':
			take_completion(link, message);
			break;
		case 'D':
			mcs_gateway_clear(&link->exchange.row);
			mcs_gateway_add(&link->exchange.row, message->body, message->size);
			swallow(link, message);
			break;
		case 'N':
			if (ours && mcs_gateway_size(&link->exchange.notices) < NOTICE_MAX)
			{
				mcs_gateway_add(&link->exchange.notices, message->body - 5, message->size + 5);
				swallow(link, message);
			}
			else
				pass(link, message);
			break;
	}
}

/* A message of which only the type matters, whatever it is as long as. */
static void
note_message(Link *link, const Message *message)
{
	char		kind = mcs_gateway_next_awaited(&link->awaited);

	if ((message->type == 'T' || message->type == 'n') && kind && !strchr("QqF", kind))
		(void) mcs_gateway_take_awaited(&link->awaited, "D");
	else if (message->type == 'G' || message->type == 'W')
		link->copying = true;
	if (message->type == 'D' && AWAITED_OURS(kind))
		swallow(link, message);
	else
		pass(link, message);
}

/* A message before the session is ready. */
static bool
take_login(Link *link, const Message *message)
{
	size_t		came = mcs_gateway_size(&link->server.in);

	if (message->type == 'R')
	{
		uint32_t	code;

		if (came < 9)
			return false;
		code = message->size >= 4 ? mcs_gateway_number(message->body) : 0;
		/* all but AuthenticationOk and the last word of SASL want an answer */
		link->asked = code != 0 && code != 12;
	}
	else if (message->type == 'Z')
	{
		link->phase = link->replication ? LINK_RAW : LINK_SESSION;
		link->status = 'I';
	}
	else if (message->type == 'S' && came >= message->size + 5)
	{
		take_parameter(link, message);
		return true;
	}
	pass(link, message);
	return true;
}

/* Deals with the next message; false where more of it must come. */
static bool
take_message(Link *link)
{
	Side	   *server = &link->server;
	size_t		came = mcs_gateway_size(&server->in);
	Message		message;
	uint32_t	length;
	bool		for_us;

	if (came < 5)
		return false;
	length = mcs_gateway_number(mcs_gateway_at(&server->in) + 1);
	if (length < 4)
	{
		mcs_gateway_refuse(link, "08P01", "the server sent a message of an invalid length", NULL);
		return false;
	}
	message.type = mcs_gateway_at(&server->in)[0];
	message.body = mcs_gateway_at(&server->in) + 5;
	message.size = length - 4;
	if (link->phase != LINK_SESSION)
	{
		/* a parameter may come in pieces */
		if (message.type == 'S' && message.size < GATEWAY_PACKET_MAX && came < message.size + 5)
		{
			server->wanted = message.size + 5;
			return false;
		}
		server->wanted = 0;
		return take_login(link, &message);
	}
	for_us = AWAITED_OURS(mcs_gateway_next_awaited(&link->awaited));
	server->wanted = 0;
	if ((message.type && strchr("EZS123CIsN", message.type) && message.size < (message.type == 'E' ? ROW_MAX : NOTICE_MAX)) ||
		(message.type == 'D' && for_us && message.size < ROW_MAX &&
		 (came >= message.size + 5 || mcs_gateway_held() + message.size <= GATEWAY_HELD_MAX)))
	{
		if (came < message.size + 5)
		{
			server->wanted = message.size + 5;
			return false;
		}
		take_whole(link, &message);
	}
	else
		note_message(link, &message);
	return true;
}

bool
mcs_gateway_step_server(Link *link)
{
	Side	   *server = &link->server;
	size_t		size = mcs_gateway_size(&server->in);

	if (link->dead || link->phase == LINK_CLOSING)
	{
		mcs_gateway_drop(&server->in, size);
		return false;
	}
	if (server->dropping > 0)
	{
		if (size > server->dropping)
			size = server->dropping;
		mcs_gateway_drop(&server->in, size);
		server->dropping -= size;
		return size > 0;
	}
	if (mcs_gateway_size(&link->client.out) > GATEWAY_OUT_MAX)
		return false;
	if (link->phase == LINK_RAW && server->passing == 0)
		server->passing = size;
	if (server->passing > 0)
	{
		if (size > server->passing)
			size = server->passing;
		if (size > GATEWAY_OUT_MAX)
			size = GATEWAY_OUT_MAX;
		mcs_gateway_add(&link->client.out, mcs_gateway_at(&server->in), size);
		mcs_gateway_drop(&server->in, size);
		server->passing -= size;
		return size > 0;
	}
	return take_message(link);
}
