/*
 * match/match_internal.h
 *	  What the files of this folder share: filters, values, operands.
 *
 * SQL's logic has three values and MongoDB's two, so every condition has two
 * filters: one for the events on which it is true, one for those on which it is
 * false.  NOT swaps them, AND and OR combine them.  A filter may let more
 * through than it should, never less; an exact one lets through just what it
 * should, and only an exact one may be negated by $nor.
 *
 * MongoDB looks into arrays where SQL does not: {"a.b": 1} also finds 1 in
 * {a: [{b: 1}]} and in {a: {b: [1]}}.  So exact tests of a path demand that
 * none of its values is an array; where a step may be the position in an
 * array, tests are not exact.
 */
#ifndef MCS_MATCH_INTERNAL_H
#define MCS_MATCH_INTERNAL_H

#ifndef MCS_INSIDE_match
#error "match/match_internal.h is for the files of its folder only"
#endif

#include "match/match.h"

/* Beyond these, nothing is sent for a condition. */
#define MATCH_MAX_VALUES	2000	/* of a list */
#define MATCH_MAX_BYTES		(64 * 1024) /* of a value */
#define MATCH_MAX_TOTAL		(256 * 1024)	/* of what is sent */
#define MATCH_MAX_DEPTH		40

typedef enum MatchKind
{
	FILTER_ALL,					/* lets everything through */
	FILTER_NONE,
	FILTER_TEST,				/* a condition of MongoDB's query language */
	FILTER_AND,
	FILTER_OR,
	FILTER_NOR
} MatchKind;

/* Which events to let through. */
typedef struct MatchFilter
{
	MatchKind	kind;
	bool		exact;
	Document   *test;			/* of FILTER_TEST */
	List	   *parts;			/* of FILTER_AND, FILTER_OR; one part of FILTER_NOR */
} MatchFilter;

/* What a condition is translated with. */
typedef struct MatchContext
{
	const MatchRelation *relation;
	bool		checking;		/* no value is known, and all will be */
	List	   *values;			/* of MatchValue */
	int			depth;
} MatchContext;

/* The operators that values have in common. */
typedef enum MatchOperator
{
	MATCH_EQ,
	MATCH_NE,
	MATCH_LT,
	MATCH_LE,
	MATCH_GT,
	MATCH_GE,
	MATCH_NO_OPERATOR
} MatchOperator;

/* One value that an operand is compared with. */
typedef struct MatchDatum
{
	Oid			type;
	bool		known;
	bool		isnull;			/* where known */
	Datum		value;
	int			param;			/* where not known: what to show */
} MatchDatum;

/* The values on the other side of an operator. */
typedef struct MatchValues
{
	MatchDatum *items;
	int			count;
	bool		has_null;		/* there were nulls, which are left out */
	bool		is_list;		/* of an array that is not known: items is its placeholder */
} MatchValues;

/* What an expression over an event's columns is. */
typedef enum MatchOperandKind
{
	OPERAND_TEXT,				/* a text column */
	OPERAND_TIME,				/* a timestamptz column */
	OPERAND_FIELDS,				/* changed_fields */
	OPERAND_DOCUMENT,			/* a document column, or the value at a path in one */
	OPERAND_PLAIN_TEXT,			/* the text of such a value: ->>, #>>, document_text */
	OPERAND_CAST				/* such a value or text, cast to another type */
} MatchOperandKind;

/* Where a value stands in an event, and how that can be said. */
typedef struct MatchPath
{
	List	   *steps;			/* of char *, the first a field of the event */
	int			column_steps;	/* how many of them are the column itself */
	bool		has_index;		/* a step may be the position in an array */
	bool		literal;		/* a key is none of a dotted path: empty, with a dot or a $ */
} MatchPath;

typedef struct MatchOperand
{
	MatchOperandKind kind;
	EventColumn column;
	Oid			type;			/* of the expression */
	List	   *paths;			/* of MatchPath: one of them leads to the value */
	bool		of_text;		/* of a cast: it parses the value's plain text */
	bool		rounds;			/* of a cast: it, or one in it, may round */
} MatchOperand;

/* A comparison of an operand with values: all of EQ's are alternatives, none of NE's may be there. */
typedef struct MatchComparison
{
	MatchOperand operand;
	Oid			opno;
	Oid			function;
	Oid			collation;
	bool		swapped;		/* the operand is on the right */
	MatchOperator operator;		/* the operand on the left; MATCH_NO_OPERATOR for others than those six */
	const MatchDatum *items;
	int			count;
	bool		is_list;		/* items is the placeholder of an array */
} MatchComparison;

/*
 * The files use each other from the bottom of this list upwards only: match.c
 * takes a condition apart, the files of the kinds of operands translate
 * comparisons, and the last few are what all of them are made of.  Where a
 * function takes truth, its filter is for the events on which the condition has
 * that value; null is neither.
 */

/* operand.c */
extern bool mcs_match_operand(const MatchRelation *relation, Expr *expr, MatchOperand *operand);

/* column.c */
extern MatchFilter *mcs_match_text_column(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_column_null(const MatchOperand *operand, bool isnull);

/* computed.c */
extern MatchFilter *mcs_match_token(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_source(const MatchComparison *comparison, bool truth);

/* time.c */
extern MatchFilter *mcs_match_time_column(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_time_null(const MatchOperand *operand, bool isnull);

/* fields.c, wrote.c */
extern MatchFilter *mcs_match_fields(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_fields_any(const MatchComparison *comparison, bool any, bool truth);
extern MatchFilter *mcs_match_fields_null(bool isnull);
extern PGDLLEXPORT Datum mcs_change_stream_wrote(PG_FUNCTION_ARGS);

/* string.c */
extern MatchFilter *mcs_match_plain_text(const MatchComparison *comparison, bool truth);

/* cast.c */
extern bool mcs_match_can_cast(Oid type);
extern bool mcs_match_can_recast(Oid from, Oid to);
extern MatchFilter *mcs_match_cast(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_boolean(const MatchOperand *operand, bool truth);

/* document.c */
extern MatchFilter *mcs_match_document(const MatchComparison *comparison, bool truth);
extern MatchFilter *mcs_match_ordered(const char *key, MatchOperator operator, const MatchDatum *datum);

/* contain.c */
extern MatchFilter *mcs_match_contain(const MatchComparison *comparison, bool truth);

/* pattern.c */
extern MatchFilter *mcs_match_pattern(const MatchComparison *comparison, const char *key, bool *negated);

/* path.c */
extern char *mcs_match_dotted(const MatchPath *path);
extern MatchFilter *mcs_match_guarded(const MatchPath *path, bool leaf, MatchFilter *filter);
extern MatchFilter *mcs_match_literal_exists(const MatchPath *path);
extern MatchFilter *mcs_match_path_null(const MatchOperand *operand, bool isnull);
extern MatchFilter *mcs_match_one_path_null(const MatchPath *path, bool undefined_too, bool isnull);
extern MatchFilter *mcs_match_types(const char *key, const char *const *types);
extern MatchFilter *mcs_match_other_types(const MatchPath *path, const char *type);

/* value.c */
extern bool mcs_match_is_value(Expr *expr);
extern bool mcs_match_datum(MatchContext *context, Expr *expr, MatchDatum *datum);
extern bool mcs_match_array(MatchContext *context, Expr *expr, MatchValues *values);
extern void mcs_match_append(DocumentBuilder *builder, const char *key, const MatchDatum *datum);
extern MatchOperator mcs_match_operator(Oid opno, Oid type);
extern MatchOperator mcs_match_document_operator(Oid function);
extern MatchOperator mcs_match_commute(MatchOperator operator);
extern MatchOperator mcs_match_negate(MatchOperator operator);
extern const char *mcs_match_word(MatchOperator operator);
extern bool mcs_match_collation_is_bytes(Oid collation);
extern bool mcs_match_same_order(MatchOperator operator, Oid collation);

/* filter.c */
extern MatchFilter *mcs_match_unknown(void);
extern MatchFilter *mcs_match_all(void);
extern MatchFilter *mcs_match_none(void);
extern MatchFilter *mcs_match_test(Document *test, bool exact);
extern MatchFilter *mcs_match_and(MatchFilter *a, MatchFilter *b);
extern MatchFilter *mcs_match_or(MatchFilter *a, MatchFilter *b);
extern MatchFilter *mcs_match_not(MatchFilter *filter);
extern MatchFilter *mcs_match_wider(MatchFilter *filter);
extern Document *mcs_match_print(const MatchFilter *filter);

#endif							/* MCS_MATCH_INTERNAL_H */
