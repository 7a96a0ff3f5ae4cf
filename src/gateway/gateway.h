/*
 * gateway/gateway.h
 *	  The gateway: a second port of the server, on loopback only, on which the
 *	  dialect is understood.
 *
 * It passes PostgreSQL's protocol through to the server's own port, and has the
 * text of Query and Parse translated by change_stream_translate in the client's
 * own session.  It is a process of its own; gateway_internal.h says how.
 *
 * Uses shared, for the setting of its port.
 */
#ifndef MCS_GATEWAY_H
#define MCS_GATEWAY_H

/* At load: the background worker, where there shall be one. */
extern void mcs_gateway_init(void);

#endif							/* MCS_GATEWAY_H */
