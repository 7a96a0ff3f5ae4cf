/*
 * mongo/socket.h
 *	  The transport that mongo/driver.c puts below libmongoc.  Included by
 *	  mongo/driver.c, mongo/socket.c, mongo/frame.c, mongo/reply.c,
 *	  mongo/bson.c and mongo/unpack.c only; it alone, of our headers, knows mongoc's types.
 */
#ifndef MCS_MONGO_SOCKET_H
#define MCS_MONGO_SOCKET_H

#include "mongo/thread.h"

#include <mongoc/mongoc.h>

/* MongoDB allows a set 50 members. */
#define MAX_REFUSED			50

/* Why a host could not even be tried. */
typedef struct RefusedHost
{
	char		host[BSON_HOST_NAME_MAX + 8];	/* host:port */
	bool		unresolved;		/* its name leads nowhere */
	char		message[256];
} RefusedHost;

/* What the initiator needs to know; lives as long as the client. */
typedef struct SocketContext
{
	SocketGuard *guard;
	int			connect_timeout_ms;
	bool		use_tls;
	uint32		compressors;	/* those of the URI that we can unpack: bits, by their numbers in a message */
	mongoc_ssl_opt_t tls;		/* its strings belong to the client's URI */
	RefusedHost *refused;		/* of the hosts that could not be tried when they were last to be */
	int			refused_count;
} SocketContext;

/* Takes compressors that we can't unpack out of the URI, which must outlive context. */
extern void mcs_socket_context_init(SocketContext *context, mongoc_uri_t *uri, SocketGuard *guard);
extern void mcs_socket_context_free(SocketContext *context);

/* Puts into a message of the driver why hosts could not be tried; lists the names that lead nowhere. */
extern void mcs_socket_explain(const SocketContext *context, char *message, size_t size,
							   char *unresolved, size_t unresolved_size);

/* A mongoc_stream_initiator_t; user_data is a SocketContext. */
extern mongoc_stream_t *mcs_socket_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
											void *user_data, bson_error_t *error);

/* ---- mongo/frame.c ---- */

/* Puts the check of replies on top of a stream, which it then owns. */
extern mongoc_stream_t *mcs_frame_check(mongoc_stream_t *below, SocketContext *context);

/* ---- mongo/reply.c ---- */

/* What was asked, as far as that decides what the driver reads of the reply. */
typedef struct MongoQuestion
{
	enum
	{
		QUESTION_OTHER,
		QUESTION_HELLO,
		QUESTION_SASL_START,
		QUESTION_SASL_CONTINUE
	}			kind;
	bool		speculative;	/* a hello that begins authentication */
	enum
	{
		MECHANISM_OTHER,
		MECHANISM_SCRAM,
		MECHANISM_BSON			/* whose payload is a document */
	}			mechanism;		/* of the authentication begun last */
} MongoQuestion;

extern void mcs_reply_question(MongoQuestion *question, const uint8 *data, uint32 size);
extern bool mcs_reply_check(const MongoQuestion *question, const uint8 *data, uint32 size, char *complaint);

/* ---- mongo/bson.c ---- */
extern bool mcs_bson_valid(const uint8 *data, uint32 size);

/* ---- mongo/unpack.c ---- */
extern uint32 mcs_unpack_offer(mongoc_uri_t *uri);
extern const char *mcs_unpack(uint32 offered, uint8 compressor, const uint8 *packed, uint32 packed_size,
							  uint8 *plain, uint32 size);

#endif							/* MCS_MONGO_SOCKET_H */
