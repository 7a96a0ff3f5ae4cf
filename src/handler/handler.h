/*
 * handler/handler.h
 *	  Handlers: SQL that runs once for each event of a stream.
 *
 * Functions of users write definitions into change_handlers; the launcher
 * starts a worker for each handler that has something to do; the worker runs
 * the handler's code on one event after the other and commits effects, position
 * and the events' status together.  Uses all folders but match, fdw and dialect;
 * nothing uses this one.
 */
#ifndef MCS_HANDLER_H
#define MCS_HANDLER_H

/* Registers settings. */
extern void mcs_handler_init(void);

/* Entry of a handler's worker, which the launcher names. */
PGDLLEXPORT extern void mcs_handler_main(Datum arg);

#endif							/* MCS_HANDLER_H */
