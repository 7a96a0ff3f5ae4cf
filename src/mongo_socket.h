/*
 * mongo_socket.h
 *	  The transport that mongo_driver.c puts below libmongoc.  Included by
 *	  mongo_driver.c, mongo_socket.c and mongo_frame.c only; it alone, of our
 *	  headers, knows mongoc's types.
 */
#ifndef MCS_MONGO_SOCKET_H
#define MCS_MONGO_SOCKET_H

#include "mongo_thread.h"

#include <mongoc/mongoc.h>

/* What the initiator needs to know; lives as long as the client. */
typedef struct SocketContext
{
	SocketGuard *guard;
	int			connect_timeout_ms;
	bool		use_tls;
	mongoc_ssl_opt_t tls;		/* its strings belong to the client's URI */
} SocketContext;

extern void mcs_socket_context_init(SocketContext *context, const mongoc_uri_t *uri, SocketGuard *guard);

/* A mongoc_stream_initiator_t; user_data is a SocketContext. */
extern mongoc_stream_t *mcs_socket_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host,
											void *user_data, bson_error_t *error);

/* ---- mongo_frame.c ---- */
extern mongoc_stream_t *mcs_frame_check(mongoc_stream_t *below);

#endif							/* MCS_MONGO_SOCKET_H */
