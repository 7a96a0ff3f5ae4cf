/*
 * dialect/body.h
 *	  A walk over a PL/pgSQL block; for dialect/body.c and dialect/declare.c.
 */
#ifndef MCS_DIALECT_BODY_H
#define MCS_DIALECT_BODY_H

#include "dialect/dialect.h"

typedef struct Body
{
	Oid			namespace;
	const char *whole;
	DialectToken *tokens;		/* of the block, places in whole */
	int			i;				/* the current one */
	StringInfoData out;
	int			at;				/* up to here whole is in out */
	List	   *names;			/* of DialectName; the innermost last */
	Oid			change_type;
	Oid			document;
	MemoryContext scratch;		/* of one fragment, until the next */
} Body;

extern bool mcs_body_is(const Body *body, const char *word);
extern void mcs_body_advance(Body *body, int count);
extern void mcs_body_block(Body *body);
extern void mcs_body_expression(Body *body, Oid wanted);
extern void mcs_body_query(Body *body);
extern void mcs_body_skip(Body *body);

/* dialect/declare.c */
extern void mcs_body_declarations(Body *body);
extern void mcs_body_declare(Body *body, const char *name, Oid type, TupleDesc fields);
extern void mcs_body_declare_record(Body *body, const char *name, List *targets);
extern Oid	mcs_body_target_type(const Body *body, int first, int end);
extern List *mcs_body_into_types(const Body *body, int first, int end);
extern void mcs_body_hide_into(const Body *body, Dialect *dialect);

#endif							/* MCS_DIALECT_BODY_H */
