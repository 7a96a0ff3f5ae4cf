/*
 * gateway/request.c
 *	  Messages of the client: which are passed on as they come, and which wait
 *	  for a translation.
 *
 * Only Query and Parse have texts.  One that may be in the dialect stays where it
 * came while the client's session is asked for its translation; nothing behind it
 * is looked at before.  All else goes on at once, in pieces of whatever size.
 * Looking at a long text is work, which other clients don't wait for: it is done in
 * turns (glance.c), once, unless the names that it is looked at for have changed.
 *
 * When the transaction has failed nothing can be asked, and nothing needs to: in the
 * place of a text that would be, one goes of which the server says so.  What ends
 * the transaction is plain SQL.
 */
#define MCS_GATEWAY_PROCESS
#include "gateway/gateway_internal.h"

#include <string.h>

/* A CREATE TRIGGER that comes in pieces has at most so many bytes. */
#define BLOCK_MAX	(1024 * 1024)

/* What becomes several statements is no longer, and of longer ones no positions are kept. */
#define SHORT_MAX	(1024 * 1024)

/* A message with a text, as it came. */
typedef struct Text
{
	char		type;			/* Q or P */
	size_t		message_size;
	const char *message;
	const char *text;			/* what is to be translated: in the message, or the pieces of a block */
	size_t		size;
	size_t		offset;			/* so many bytes of it came with messages before */
	const char *behind;			/* what a Parse says behind its text */
	size_t		behind_size;
} Text;

/* Notes that a message goes to the server; a Sync ends skipping.  A Query does not: it may be skipped itself. */
static void
sent(Link *link, char kind)
{
	link->in_batch = (link->in_batch || strchr("PpBDECH", kind)) && kind != 'S';
	if (kind == 'S')
		link->skipping = false;
	else if (link->skipping)
		return;
	if (!mcs_gateway_await(&link->awaited, kind))
		link->dead = true;
}

/* The message is dealt with. */
static void
consume(Link *link, const Text *text)
{
	mcs_gateway_drop(&link->client.in, text->message_size);
	mcs_gateway_clear(&link->whole);
	link->glance.begun = false;
}

/* Takes the message's parts; false where it has none, which the server may say. */
static bool
take_apart(Link *link, Text *text, char type, const char *message, size_t size)
{
	const char *at = message + 5;
	const char *end = message + size;
	const char *stop;

	memset(text, 0, sizeof(*text));
	text->type = type;
	text->message = message;
	text->message_size = size;
	/* the name of the statement */
	if (type == 'P' && (!(at = memchr(at, 0, end - at)) || ++at == end))
		return false;
	/* where its text ends is looked for once */
	stop = at >= end ? NULL : link->glance.begun ? at + link->glance.text_size : memchr(at, 0, end - at);
	if (!stop || (type == 'Q' && stop != end - 1))
		return false;
	if (!link->glance.begun)
		memset(&link->glance, 0, sizeof(link->glance));
	link->glance.text_size = stop - at;
	text->text = at;
	text->size = stop - at;
	text->behind = stop + 1;
	text->behind_size = end - stop - 1;
	if (mcs_gateway_size(&link->whole) > 0)
	{
		text->offset = mcs_gateway_size(&link->whole) - text->size;
		text->text = mcs_gateway_at(&link->whole);
		text->size = mcs_gateway_size(&link->whole);
	}
	return true;
}

/* Sends a message with a text, which may be another one. */
static void
send_text(Link *link, const Text *text, const char *made, size_t size)
{
	Bytes	   *out = &link->server.out;
	size_t		at = mcs_gateway_begin(out, text->type);

	if (text->type == 'P')
		mcs_gateway_add_string(out, text->message + 5);
	mcs_gateway_add(out, made, size);
	mcs_gateway_add(out, "", 1);
	mcs_gateway_add(out, text->behind, text->behind_size);
	mcs_gateway_end(out, at);
}

/* Notes what a text may change in what names are known for. */
static void
note_making(Link *link, const Look *look)
{
	if (look->makes)
		link->names_until = 0;
	link->own_names |= look->makes || look->runs;
}

/* The text goes as it is. */
static void
pass_text(Link *link, const Text *text, const Look *look)
{
	note_making(link, look);
	sent(link, text->type);
	/* a long one goes in pieces, as it came */
	if (mcs_gateway_size(&link->whole) == 0)
	{
		link->client.passing = text->message_size;
		link->glance.begun = false;
		return;
	}
	send_text(link, text, text->text, text->size);
	consume(link, text);
}

/* The text would have been translated, and the transaction has failed: the server would fail to parse it before it says so. */
static void
pass_failed(Link *link, const Text *text, const Look *look)
{
	if (look->exits || !(look->spoken || look->about))
	{
		pass_text(link, text, look);
		return;
	}
	sent(link, text->type);
	send_text(link, text, "SELECT", 6);
	consume(link, text);
}

/* ReadyForQuery to the client, of the server's last status. */
static void
say_ready(Link *link)
{
	size_t		at = mcs_gateway_begin(&link->client.out, 'Z');

	mcs_gateway_add(&link->client.out, &link->status, 1);
	mcs_gateway_end(&link->client.out, at);
}

/*
 * A prepared statement is one statement, and what the dialect says in one may be
 * several: then it is DO that translates and runs them.
 */
static bool
make_do(Link *link, const Text *text, Bytes *made)
{
	char		tag[] = "$gateway_a$";

	if (text->type != 'P' || text->size > SHORT_MAX || mcs_gateway_size(made) > SHORT_MAX || mcs_gateway_count_statements(text->text, text->size, link->escapes) > 1 ||
		mcs_gateway_count_statements(mcs_gateway_at(made), mcs_gateway_size(made), link->escapes) < 2)
		return true;
	mcs_gateway_clear(made);
	for (;; tag[sizeof(tag) - 3]++)
	{
		size_t		at = 0;

		while (at + sizeof(tag) - 1 <= text->size && memcmp(text->text + at, tag, sizeof(tag) - 1) != 0)
			at++;
		if (at + sizeof(tag) - 1 > text->size)
			break;
		if (tag[sizeof(tag) - 3] == 'z')
			return false;
	}
	mcs_gateway_add(made, "DO LANGUAGE change_stream ", 26);
	mcs_gateway_add(made, tag, sizeof(tag) - 1);
	mcs_gateway_add(made, text->text, text->size);
	mcs_gateway_add(made, tag, sizeof(tag) - 1);
	return true;
}

/* The translation came: it goes in the place of the text. */
static void
send_translation(Link *link, const Text *text, const Look *look)
{
	Exchange   *exchange = &link->exchange;
	size_t		size = 0;
	const char *column = mcs_gateway_column(mcs_gateway_at(&exchange->row), mcs_gateway_size(&exchange->row), 0, &size);
	Bytes		made = {0};

	/* the function has gone */
	if (!column)
	{
		link->asked_names = false;
		link->own_names = true;
	}
	mcs_gateway_add(&made, column, size);
	if (!column || (size == text->size && memcmp(column, text->text, size) == 0) || !make_do(link, text, &made))
		pass_text(link, text, look);
	else
	{
		note_making(link, look);
		mcs_gateway_add(&link->client.out, mcs_gateway_at(&exchange->notices), mcs_gateway_size(&exchange->notices));
		mcs_gateway_forget_translated(&link->translated);
		if (text->size <= SHORT_MAX && mcs_gateway_size(&made) <= SHORT_MAX)
			mcs_gateway_keep_translated(&link->translated, text->text, text->size, mcs_gateway_at(&made), mcs_gateway_size(&made), text->offset);
		/* in lower case: its errors are in the translation */
		sent(link, text->type == 'Q' ? 'q' : 'p');
		send_text(link, text, mcs_gateway_at(&made), mcs_gateway_size(&made));
		consume(link, text);
	}
	mcs_gateway_clear(&made);
	mcs_gateway_end_exchange(link);
}

/* What was asked for failed: so has the text, unless it may as well go as it is. */
static void
take_failure(Link *link, const Text *text, const Look *look)
{
	/* the transaction has failed before; the function has gone, or may not be called any more */
	static const char *const passing[] = {"25P02", "42883", "3F000", "42501", NULL};
	Exchange   *exchange = &link->exchange;
	const char *error = mcs_gateway_at(&exchange->error);
	size_t		size = mcs_gateway_size(&exchange->error);
	const char *state = mcs_gateway_field(error, size, 'C');
	const char *query = mcs_gateway_field(error, size, 'q');
	const char *position = mcs_gateway_field(error, size, 'p');
	/* where the statement that it is about begins in the text */
	const char *begin = query && position ? memmem(text->text, text->size, query, strlen(query)) : NULL;
	long		at = 0;
	int			i;

	for (i = 0; state && passing[i] && strcmp(passing[i], state) != 0; i++)
		;
	if (exchange->synced && (!state || (passing[i] && (i == 0 || link->status == 'I'))))
	{
		if (i > 0)
		{
			link->asked_names = false;
			link->own_names = true;
		}
		mcs_gateway_end_exchange(link);
		if (i == 0)
			pass_failed(link, text, look);
		else
			pass_text(link, text, look);
		return;
	}
	for (const char *digit = begin ? position : ""; *digit >= '0' && *digit <= '9' && at < GATEWAY_MESSAGE_MAX; digit++)
		at = at * 10 + *digit - '0';
	for (const char *before = text->text; begin && before < begin; before++)
		at += !link->utf8 || ((unsigned char) *before & 0xC0) != 0x80;
	at = mcs_gateway_source_position(text->text, text->size, text->offset, at, link->utf8);
	/* one that is in our own query, or in a piece that came before, stays with the text that it is in */
	mcs_gateway_put_error(&link->client.out, 'E', error, size, at > 0 ? "PpqW" : "P", at);
	/* behind a Parse that has failed, all is skipped up to a Sync: by the server, if it knows of that */
	if (text->type == 'P')
		link->failed = exchange->synced;
	else if (exchange->synced)
		say_ready(link);
	else
	{
		/* behind a Query nothing is */
		mcs_gateway_end(&link->server.out, mcs_gateway_begin(&link->server.out, 'S'));
		sent(link, 'S');
	}
	consume(link, text);
	mcs_gateway_end_exchange(link);
}

/* Whether the text is a piece of a block that goes on. */
static bool
is_piece(const Link *link, const Text *text)
{
	return text->type == 'Q' && !link->in_batch && text->size <= BLOCK_MAX &&
		mcs_gateway_block_is_open(text->text, text->size, link->escapes);
}

/* Keeps a piece; the client is told that nothing has happened yet. */
static void
keep_piece(Link *link, const Text *text)
{
	mcs_gateway_clear(&link->block);
	mcs_gateway_add(&link->block, text->text, text->size);
	mcs_gateway_add(&link->block, "\n", 1);
	/* psql alone is known to cut a text */
	if (!link->psql)
		mcs_gateway_tell(&link->client.out, 'N', "NOTICE", "00000", "the block of CREATE TRIGGER is not complete: it goes on with the next text", NULL,
						 "It is complete where each BEGIN has its END.");
	mcs_gateway_end(&link->client.out, mcs_gateway_begin(&link->client.out, 'I'));
	say_ready(link);
	consume(link, text);
}

/* A block that is not complete is given up. */
static void
give_block_up(Link *link)
{
	mcs_gateway_clear(&link->block);
	mcs_gateway_tell(&link->client.out, 'N', "WARNING", "01000", "a CREATE TRIGGER before this was not complete, and is discarded",
					 "Its block had more BEGIN, CASE, IF and LOOP than END.", NULL);
}

/* Puts the pieces that were kept in front of one that came; true where it is the next piece. */
static bool
put_together(Link *link, const Text *text)
{
	if (mcs_gateway_size(&link->block) == 0 || mcs_gateway_size(&link->whole) > 0)
		return false;
	if (text->type != 'Q' || mcs_gateway_breaks_block(text->text, text->size, link->escapes))
	{
		give_block_up(link);
		return false;
	}
	link->whole = link->block;
	memset(&link->block, 0, sizeof(link->block));
	mcs_gateway_add(&link->whole, text->text, text->size);
	return true;
}

/* Whether the session must be asked for names before it is known what a text is. */
static bool
needs_names(const Link *link, const Look *look, int64_t now)
{
	if (!link->asked_names)
		return true;
	/* where it is not there, only who uses the dialect wants to know whether it has come */
	return now >= link->names_until && (link->installed || look->spoken || link->names_until == 0);
}

/* Deals with the text of a message that is there as a whole; false where it waits. */
static bool
take_text(Link *link, char type, const char *message, size_t size, int64_t now)
{
	Exchange   *exchange = &link->exchange;
	Text		text;
	Look		look;
	bool		other_names = false;

	if (!take_apart(link, &text, type, message, size))
	{
		sent(link, type);
		mcs_gateway_add(&link->server.out, message, size);
		mcs_gateway_drop(&link->client.in, size);
		return true;
	}
	if (put_together(link, &text))
		(void) take_apart(link, &text, type, message, size);
	if (exchange->kind == EXCHANGE_NAMES && exchange->result != RESULT_ERROR && exchange->result != RESULT_LOST)
	{
		other_names = mcs_gateway_take_names(link, now);
		mcs_gateway_end_exchange(link);
	}
	if (other_names)
		link->glance = (Glance) {.text_size = link->glance.text_size};
	link->busy = !mcs_gateway_look(&link->glance, text.text, text.size, link->escapes, &link->names);
	if (link->busy)
		return false;
	look = link->glance.look;
	if (exchange->result == RESULT_ERROR)
	{
		take_failure(link, &text, &look);
		return true;
	}
	if (exchange->result == RESULT_LOST)
	{
		mcs_gateway_end_exchange(link);
		pass_text(link, &text, &look);
		return true;
	}
	if (exchange->kind == EXCHANGE_TEXT)
	{
		send_translation(link, &text, &look);
		return true;
	}
	if (link->skipping || !look.candidate)
		pass_text(link, &text, &look);
	else if (link->status == 'E' && mcs_gateway_next_awaited(&link->awaited) == 0)
		pass_failed(link, &text, &look);
	else if (needs_names(link, &look, now))
	{
		if (mcs_gateway_borrow_names(link, now))
			return true;
		mcs_gateway_ask_names(link);
		return false;
	}
	else if (!link->installed || !(look.spoken || look.about || link->all_names))
		pass_text(link, &text, &look);
	else if (!look.spoken || !is_piece(link, &text))
	{
		mcs_gateway_ask_text(link, text.text, text.size);
		return false;
	}
	else if (mcs_gateway_next_awaited(&link->awaited) != 0 || link->server.passing > 0)
		return false;			/* what was sent before is answered first, and a notification told as a whole */
	else
		keep_piece(link, &text);
	return true;
}

/* A message whose body does not matter goes on. */
static void
note_message(Link *link, char type, uint32_t length)
{
	if (mcs_gateway_size(&link->block) > 0 && type != 'X' && type != 'd')
		give_block_up(link);
	if (type && strchr("QPBDECSFcf", type))
		sent(link, type == 'f' ? 'c' : type);
	/* a Flush has an answer if it is none: an error */
	else if (type == 'H' && length != 4)
		sent(link, type);
}

/* Deals with the next message of the client's in a session; false where it must wait. */
static bool
take_message(Link *link, int64_t now)
{
	Side	   *client = &link->client;
	const char *message = mcs_gateway_at(&client->in);
	size_t		came = mcs_gateway_size(&client->in);
	uint32_t	length;
	char		type;

	/* so many answers are to come: the client may read some of them first */
	if (came < 5 || (mcs_gateway_next_awaited(&link->awaited) != 0 && link->awaited.count >= AWAITED_MAX))
		return false;
	/* it may end a block, which the client is told: not in the middle of another message */
	if (mcs_gateway_size(&link->block) > 0 && link->server.passing > 0)
		return false;
	type = message[0];
	length = mcs_gateway_number(message + 1);
	if (length < 4 || length > GATEWAY_MESSAGE_MAX)
	{
		mcs_gateway_refuse(link, "08P01", "invalid message length", NULL);
		return false;
	}
	client->wanted = 0;
	if (link->failed && type != 'S' && type != 'X')
	{
		client->dropping = (uint64_t) length + 1;
		return true;
	}
	link->failed = false;
	if ((type == 'Q' || type == 'P') && !link->copying && length <= GATEWAY_TEXT_MAX &&
		(came >= (size_t) length + 1 || mcs_gateway_held() + length <= GATEWAY_HELD_MAX))
	{
		if (came >= (size_t) length + 1)
			return take_text(link, type, message, (size_t) length + 1, now);
		client->wanted = (size_t) length + 1;
		return false;
	}
	note_message(link, type, length);
	client->passing = (uint64_t) length + 1;
	return true;
}

/* Before the session: one message for each that the server asks for. */
static bool
take_login(Link *link)
{
	Side	   *client = &link->client;
	uint32_t	length;

	if (!link->asked || mcs_gateway_size(&client->in) < 5)
		return false;
	length = mcs_gateway_number(mcs_gateway_at(&client->in) + 1);
	if (length < 4 || length > GATEWAY_MESSAGE_MAX)
	{
		mcs_gateway_refuse(link, "08P01", "invalid message length", NULL);
		return false;
	}
	link->asked = false;
	client->passing = (uint64_t) length + 1;
	return true;
}

bool
mcs_gateway_step_client(Link *link, int64_t now)
{
	Side	   *client = &link->client;
	Bytes	   *out = &link->server.out;
	size_t		size = mcs_gateway_size(&client->in);

	if (link->dead || link->phase == LINK_CLOSING)
	{
		mcs_gateway_drop(&client->in, size);
		return false;
	}
	if (client->dropping > 0)
	{
		if (size > client->dropping)
			size = client->dropping;
		mcs_gateway_drop(&client->in, size);
		client->dropping -= size;
		return size > 0;
	}
	if (mcs_gateway_size(out) > GATEWAY_OUT_MAX)
		return false;
	if (link->phase == LINK_RAW)
		client->passing = size;
	if (client->passing > 0)
	{
		if (size > client->passing)
			size = client->passing;
		if (size > GATEWAY_OUT_MAX)
			size = GATEWAY_OUT_MAX;
		mcs_gateway_add(out, mcs_gateway_at(&client->in), size);
		mcs_gateway_drop(&client->in, size);
		client->passing -= size;
		return size > 0;
	}
	if (link->phase == LINK_PACKET)
		return mcs_gateway_take_packet(link);
	if (link->phase == LINK_LOGIN)
		return take_login(link);
	/* one that waits for an answer is looked at again when that is there */
	if (link->exchange.kind != EXCHANGE_NONE && link->exchange.result == RESULT_NONE)
		return false;
	return take_message(link, now);
}
