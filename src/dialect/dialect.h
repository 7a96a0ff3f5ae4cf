/*
 * dialect/dialect.h
 *	  The dialect: SQL with paths into documents, CONTAINS, CHANGE_STREAM(...),
 *	  and statements on change streams, as text that becomes plain SQL.
 *
 * Text goes in and text comes out.  What the text is about (streams, handlers,
 * foreign tables) is reached by the plain SQL that is made, and by the names
 * in the catalogs.  Of other folders it uses base and document, and of two the
 * lists: the columns of events (event/event.h), and the options of streams,
 * handlers and projections (tables/tables.h).  They reach the dialect by its SQL functions,
 * change_stream_translate and the like, so there is little here.
 */
#ifndef MCS_DIALECT_H
#define MCS_DIALECT_H

/* Registers what adds hints to errors, and the setting. */
extern void mcs_dialect_init(void);

#endif							/* MCS_DIALECT_H */
