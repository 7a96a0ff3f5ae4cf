/*
 * gateway/gateway_internal.h
 *	  What the files of the gateway share.
 *
 * There are two processes.  The supervisor (supervisor.c, with ident.c) is a
 * background worker.  It forks the gateway's process, says in the log what that
 * tells it by a pipe, and starts another when it has died.  The gateway's process
 * is detached from shared memory at its begin, as the logging collector is, so its
 * death is nobody else's.  What it is made of calls nothing of PostgreSQL; these
 * files say
 *
 *		#define MCS_GATEWAY_PROCESS
 *		#include "gateway/gateway_internal.h"
 *
 * and make check-style looks at what their objects use.  Nothing here is trusted:
 * neither lengths nor texts, of either side.
 *
 *		loop.c		listens, waits for sockets, ends
 *		link.c		one client with its server's connection: sockets, bytes to be written, half-closed ends
 *		request.c	messages of the client: which are passed on, which wait for a translation
 *		response.c	messages of the server: which are passed on, which are answers to us
 *		begin.c		the packets before the first message
 *		exchange.c	asks the client's session: for names, for a translation
 *		awaited.c	which answers of the server are to come, the client's and ours
 *		block.c		puts together what a client has cut at the semicolons of a block
 *		known_names.c	what other sessions of the same login were told of names
 *		glance.c	whether a text may be in the dialect at all, by its words (sql_word.c)
 *		document_name.c	the relations with documents, which tell that, too
 *		position.c	where in the client's own text an error is
 *		message.c	messages of our own, and errors taken apart
 *		bytes.c		buffers
 *		report.c	lines for the supervisor
 */
#ifndef MCS_GATEWAY_INTERNAL_H
#define MCS_GATEWAY_INTERNAL_H

#ifndef MCS_INSIDE_gateway
#error "gateway/gateway_internal.h is for the files of its folder only"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text longer than this goes through untranslated, and so does one while so much is held of all clients. */
#define GATEWAY_TEXT_MAX	(64 * 1024 * 1024)
#define GATEWAY_HELD_MAX	(256 * 1024 * 1024)

/* What PostgreSQL takes at most: of a message, of a startup packet. */
#define GATEWAY_MESSAGE_MAX 0x3fffffff
#define GATEWAY_PACKET_MAX	10000

/* The setting that a session has which came this way. */
#define GATEWAY_SESSION_SETTING "mongo_change_stream.through_gateway"

/* ---- ident.c ---- */

extern void mcs_gateway_ident_init(void);

/* ---- supervisor.c to loop.c ---- */

typedef struct GatewayConfig
{
	int			port;			/* to listen on */
	int			server_port;
	int			life;			/* is at its end when the supervisor is gone */
	int			report;			/* where lines for the supervisor go */
} GatewayConfig;

/* The gateway's process; returns when it is to end. */
extern void mcs_gateway_run(const GatewayConfig *config);

/* ---- report.c ---- */

extern void mcs_gateway_report_to(int file);

/* A line for the server's log, with a hint or NULL. */
extern void mcs_gateway_report(const char *hint, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void mcs_gateway_report_no_files(void);

/* ---- bytes.c ---- */

/* Bytes begin..end of data are in it. */
typedef struct Bytes
{
	char	   *data;
	size_t		begin;
	size_t		end;
	size_t		room;
	bool		broken;			/* there was no memory for something */
} Bytes;

extern size_t mcs_gateway_held(void);
extern bool mcs_gateway_take_missing(void);
extern size_t mcs_gateway_size(const Bytes *bytes);
extern char *mcs_gateway_at(const Bytes *bytes);
extern bool mcs_gateway_reserve(Bytes *bytes, size_t more);
extern void mcs_gateway_add(Bytes *bytes, const void *data, size_t size);
extern void mcs_gateway_add_number(Bytes *bytes, uint32_t number, int width);
extern void mcs_gateway_add_string(Bytes *bytes, const char *string);
extern void mcs_gateway_drop(Bytes *bytes, size_t size);
extern void mcs_gateway_clear(Bytes *bytes);
extern uint32_t mcs_gateway_number(const char *data);

/* ---- message.c ---- */

/* A message is begun, its body added, and ended. */
extern size_t mcs_gateway_begin(Bytes *bytes, char type);
extern void mcs_gateway_end(Bytes *bytes, size_t at);

/* ErrorResponse or NoticeResponse of our own; detail and hint may be NULL. */
extern void mcs_gateway_tell(Bytes *bytes, char type, const char *severity, const char *state, const char *message, const char *detail, const char *hint);

/* A field of an ErrorResponse's body, NULL where it has none. */
extern const char *mcs_gateway_field(const char *body, size_t size, char field);

/* The body again, but with a position of ours: above 0, or (0) none; the fields in leave_out are left out. */
extern void mcs_gateway_put_error(Bytes *bytes, char type, const char *body, size_t size, const char *leave_out, long position);

/* A column of a DataRow's body; NULL where it is null or not there. */
extern const char *mcs_gateway_column(const char *body, size_t size, int column, size_t *length);

/* ---- sql_word.c ---- */

typedef enum WordKind
{
	WORD_END,
	WORD_PLAIN,					/* a keyword or name */
	WORD_QUOTED,				/* a name in quotes */
	WORD_STRING,
	WORD_OTHER,					/* a number, a parameter, or one character, which is then its first */
	WORD_PAUSE					/* so much has been read that others may be served */
} WordKind;

typedef struct Word
{
	WordKind	kind;
	const char *at;
	size_t		size;
} Word;

/* What may be so long that reading it is left in its middle. */
typedef enum ReaderInside
{
	INSIDE_NOTHING,
	INSIDE_LINE_COMMENT,
	INSIDE_BLOCK_COMMENT,
	INSIDE_QUOTES,
	INSIDE_DOLLARS
} ReaderInside;

typedef struct WordReader
{
	const char *at;
	const char *end;
	bool		escapes;		/* backslashes escape in '' (standard_conforming_strings is off) */
	const char *pause;			/* where a pause is made; NULL: nowhere */

	ReaderInside inside;
	WordKind	kind;			/* of what it is inside of */
	const char *begin;			/* where that begins */
	int			depth;			/* of comments */
	char		quote;
	bool		quote_escapes;
	size_t		tag;			/* its size, with the dollars; it stands at the begin */
} WordReader;

extern Word mcs_gateway_next_word(WordReader *reader);
extern bool mcs_gateway_word_is(const Word *word, const char *upper);
extern bool mcs_gateway_word_in(const Word *word, const char *const *list);
extern bool mcs_gateway_sign_is(const Word *word, char sign);

/* How many statements a text has. */
extern int	mcs_gateway_count_statements(const char *text, size_t size, bool escapes);

/* ---- document_name.c ---- */

#define NAME_RELATION	1		/* of a relation that has documents */
#define NAME_JSON		2		/* of a column that is json or jsonb */

typedef struct Names
{
	uint64_t   *slots;			/* hashes, the lowest bits of which say what it names; 0: free */
	size_t		room;
	size_t		count;
} Names;

/* Adds names that a byte of 1 separates. */
extern uint64_t mcs_gateway_mark(const char *data, size_t size);
extern bool mcs_gateway_add_names(Names *names, const char *list, size_t size, int what);
extern int	mcs_gateway_find_name(const Names *names, const Word *word);
extern void mcs_gateway_forget_names(Names *names);

/* ---- known_names.c ---- */

extern const Bytes *mcs_gateway_known_names(const Bytes *login, int64_t now, int64_t *until);
extern void mcs_gateway_keep_names(const Bytes *login, const Bytes *row, int64_t until);

/* ---- glance.c ---- */

typedef struct Look
{
	bool		candidate;		/* has a statement of a kind that is translated */
	bool		spoken;			/* has one of the dialect's own words */
	bool		about;			/* names what may be a document */
	bool		exits;			/* begins with what ends a transaction */
	bool		makes;			/* may make or change what names are known for */
	bool		runs;			/* runs code that may do so, unseen */
} Look;

/* A look at a text that is taken in steps: zeroed, then begun. */
typedef struct Glance
{
	bool		begun;
	bool		done;
	size_t		text_size;		/* of the text in its message */
	Look		look;			/* what has been seen */

	size_t		at;				/* so far the text is read */
	size_t		begin;			/* the reader's begin */
	WordReader	reader;			/* the rest of its state */
	bool		in_statement;
	bool		later;			/* a statement was before */
	bool		own;
	bool		maker;
	bool		of_documents;
	bool		path_may_follow;
	bool		behind_change;	/* behind the word CHANGE */
	bool		behind_writer;	/* behind INSERT or MERGE */
} Glance;

/* Goes on with a look, so far that others need not wait long; true where it is done. */
extern bool mcs_gateway_look(Glance *glance, const char *text, size_t size, bool escapes, const Names *names);

/* ---- block.c ---- */

/* Whether a text is a CREATE TRIGGER ... ON CHANGE STREAM whose block is open at its end. */
extern bool mcs_gateway_block_is_open(const char *text, size_t size, bool escapes);

/* Whether a text can't go on with such a block. */
extern bool mcs_gateway_breaks_block(const char *text, size_t size, bool escapes);

/* ---- position.c ---- */

/* A text that was translated, for errors of the translation. */
typedef struct Translated
{
	char	   *source;			/* NULL: there is none */
	char	   *made;
	size_t		source_size;
	size_t		made_size;
	size_t		offset;			/* so many bytes of the source did not come with the last message */
} Translated;

extern void mcs_gateway_keep_translated(Translated *translated, const char *source, size_t source_size, const char *made, size_t made_size, size_t offset);
extern void mcs_gateway_forget_translated(Translated *translated);

/* A position in the source, or in what was made of it, as one in the client's last text; 0: none is known. */
extern long mcs_gateway_source_position(const char *source, size_t size, size_t offset, long position, bool utf8);
extern long mcs_gateway_made_position(const Translated *translated, long position, bool utf8);

/* ---- awaited.c ---- */

/* Messages to the server that it will answer: their own types, p and q for a translated Parse and Query, and of ours these. */
#define AWAITED_OUR_CLOSE	1
#define AWAITED_OUR_PARSE	2
#define AWAITED_OUR_BIND	3
#define AWAITED_OUR_EXECUTE	4
#define AWAITED_OUR_SYNC	5
#define AWAITED_OURS(kind)	((kind) >= AWAITED_OUR_CLOSE && (kind) <= AWAITED_OUR_SYNC)

#define AWAITED_MAX			(1024 * 1024)

typedef struct Awaited
{
	char	   *kinds;			/* a ring */
	size_t		first;
	size_t		count;
	size_t		room;
} Awaited;

extern bool mcs_gateway_await(Awaited *awaited, char kind);
extern char mcs_gateway_next_awaited(Awaited *awaited);
extern char mcs_gateway_take_awaited(Awaited *awaited, const char *kinds);
extern bool mcs_gateway_skip_to_sync(Awaited *awaited, bool *ours);
extern void mcs_gateway_end_copy(Awaited *awaited);

/* ---- link.c: a client, and its connection to the server ---- */

struct Link;

typedef struct Side
{
	struct Link *link;
	int			file;			/* -1: none */
	Bytes		in;				/* came, and is not dealt with */
	Bytes		out;			/* is to be written to it */
	uint64_t	passing;		/* bytes of the message under way that go to the other side as they are */
	uint64_t	dropping;		/* or nowhere */
	size_t		wanted;			/* a message of so many bytes is needed as a whole; 0: none */
	uint32_t	events;			/* asked of epoll */
	bool		registered;
	bool		connecting;
	bool		ended;			/* has ended its sending */
	bool		shut;			/* has been told that nothing more comes */
} Side;

typedef enum LinkPhase
{
	LINK_PACKET,				/* a startup packet is to come */
	LINK_LOGIN,					/* the server has not said yet that the session is ready */
	LINK_SESSION,
	LINK_RAW,					/* bytes only: a cancel request, replication */
	LINK_CLOSING				/* what is there for the client is written, and that is all */
} LinkPhase;

typedef enum ExchangeKind
{
	EXCHANGE_NONE,
	EXCHANGE_NAMES,
	EXCHANGE_TEXT
} ExchangeKind;

typedef enum ExchangeResult
{
	RESULT_NONE,				/* there is none yet */
	RESULT_ROW,
	RESULT_EMPTY,
	RESULT_LOST,				/* the server has skipped it */
	RESULT_ERROR
} ExchangeResult;

typedef struct Exchange
{
	ExchangeKind kind;
	ExchangeResult result;
	bool		synced;			/* with a Sync of its own */
	Bytes		row;			/* a DataRow's body */
	Bytes		error;			/* an ErrorResponse's body */
	Bytes		notices;		/* whole messages */
} Exchange;

typedef struct Link
{
	Side		client;
	Side		server;
	LinkPhase	phase;
	bool		asked;			/* the server waits for an answer of the client's before the session begins */
	bool		replication;
	bool		psql;			/* by its name */
	bool		on_ipv6;
	int			tried;			/* addresses of the server */
	const char *refused;		/* why, which the client is told when it can read that; NULL: it is not */
	const char *refused_state;
	const char *refused_hint;
	bool		dead;			/* is freed after this round */
	bool		busy;			/* has more to do, which waits for nothing but its turn */
	int64_t		close_at;		/* in milliseconds; 0: not known to close */
	struct Link *next;
	struct Link *previous;

	char		status;			/* of the transaction, as of the last ReadyForQuery */
	bool		in_batch;		/* messages of the extended protocol were sent, and no Sync behind them */
	bool		skipping;		/* the server skips all up to a Sync that has not been sent */
	bool		failed;			/* so do we, as its text of a Parse has failed here */
	bool		copying;		/* it reads COPY data */
	bool		utf8;			/* the client's encoding */
	bool		escapes;		/* standard_conforming_strings is off */
	Awaited		awaited;
	Exchange	exchange;

	Bytes		login;			/* the database's name and the role's */
	bool		asked_names;
	bool		own_names;		/* other sessions' names are not this one's */
	bool		installed;		/* the extension, here */
	bool		all_names;		/* there are too many names: every text is asked for */
	int64_t		names_until;	/* when they are asked for again */
	Bytes		translation;	/* the query that translates */
	Names		names;
	uint64_t	names_mark;		/* a hash of what they were made of */

	Glance		glance;			/* at the text that is next */
	Bytes		block;			/* a CREATE TRIGGER that is not complete */
	Bytes		whole;			/* what is to be translated, where that is not the last message alone */
	Translated	translated;
} Link;

/* ---- message.c ---- */

/* Ends it with an error for the client; the texts are constants. */
extern void mcs_gateway_refuse(Link *link, const char *state, const char *message, const char *hint);

/* ---- begin.c ---- */

extern bool mcs_gateway_take_packet(Link *link);

/* ---- exchange.c ---- */

extern void mcs_gateway_ask_names(Link *link);
extern bool mcs_gateway_borrow_names(Link *link, int64_t now);
extern void mcs_gateway_ask_text(Link *link, const char *text, size_t size);
extern void mcs_gateway_end_exchange(Link *link);
extern bool mcs_gateway_take_names(Link *link, int64_t now);

/* ---- request.c, response.c: true where something was done, and there may be more ---- */

extern bool mcs_gateway_step_client(Link *link, int64_t now);
extern bool mcs_gateway_step_server(Link *link);

/* ---- link.c ---- */

#define GATEWAY_OUT_MAX		(256 * 1024)	/* so much waits to be written, then no more is taken from the other side */

extern Link *mcs_gateway_open_link(int file, bool on_ipv6);
extern void mcs_gateway_connect(Link *link, int port);
extern void mcs_gateway_serve(Link *link, Side *side, uint32_t events, int port, int64_t now);
extern uint32_t mcs_gateway_wishes(Side *side);
extern void mcs_gateway_free_link(Link *link);

#endif							/* MCS_GATEWAY_INTERNAL_H */
