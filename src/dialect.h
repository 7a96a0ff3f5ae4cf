/*
 * dialect.h
 *	  The dialect: SQL with paths into documents, CONTAINS, CHANGE_STREAM(...),
 *	  and statements on change streams, as text that becomes plain SQL.
 *
 * Text goes in and text comes out; what the text is about (streams, handlers,
 * foreign tables) is reached by the plain SQL that is made, and by the names
 * in the catalogs, never through another family's functions.
 */
#ifndef MCS_DIALECT_H
#define MCS_DIALECT_H

#include "document.h"

#endif							/* MCS_DIALECT_H */
