/*
 * match/match.h
 *	  SQL conditions over the columns of change events as conditions of
 *	  MongoDB's $match.
 *
 * What is sent lets through every event for which the condition is true; where
 * it lets through no other, the condition is sent exactly and need not be
 * evaluated again.  The rules by which that is decided stand in
 * match/match_internal.h.
 *
 * A condition is about the events that come out of the pipeline, so its
 * $match belongs behind the stages of a user, and in front of a $project of
 * ours.  MongoDB evaluates it on the very event that it would send, a document
 * that is looked up included.
 *
 * Errors: an event that MongoDB leaves out is not evaluated here, so it raises
 * none of the errors that a cast in the condition might raise on it.
 *
 * Uses base, document and event; stream and fdw use it.
 */
#ifndef MCS_MATCH_H
#define MCS_MATCH_H

#include "document/document.h"
#include "event/event.h"
#include "nodes/primnodes.h"

/* The relation whose Vars are event columns. */
typedef struct MatchRelation
{
	Index		varno;
	int			natts;
	const int8 *columns;		/* by attribute number - 1: an EventColumn, or -1 */
	bool		images_change;	/* full_document of an update is looked up when it is read; no condition depends on that */
} MatchRelation;

/* How much of a condition MongoDB can decide, whatever the values of its parameters. */
typedef enum MatchResult
{
	MATCH_NOT,					/* nothing */
	MATCH_WIDER,				/* what is sent lets through more: evaluate the condition again */
	MATCH_EXACT					/* all of it */
} MatchResult;

/* The value of an expression of mcs_match_values. */
typedef struct MatchValue
{
	Expr	   *expr;			/* found by equal() */
	bool		known;			/* false: EXPLAIN shows {"$param": n} in its place, and it cannot be sent */
	bool		isnull;
	Datum		value;
} MatchValue;

extern MatchResult mcs_match_check(const MatchRelation *relation, Expr *condition);

/* The expressions inside of conditions whose values are needed: no Const, no Var, nothing volatile. */
extern List *mcs_match_values(const MatchRelation *relation, List *conditions);

/*
 * What is sent for conditions that are joined by AND; NULL where nothing can
 * be.  values: of MatchValue; without one for it, a condition that needs a
 * value is not sent.  May send less than mcs_match_check said for a condition
 * that it called wider, where a value is large or null.
 */
extern Document *mcs_match_write(const MatchRelation *relation, List *conditions, List *values);

/* The same for one condition, without any values but its constants; whether that is all of it. */
extern Document *mcs_match_constant(const MatchRelation *relation, Expr *condition, bool *exact);

#endif							/* MCS_MATCH_H */
