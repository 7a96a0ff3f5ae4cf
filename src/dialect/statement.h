/*
 * dialect/statement.h
 *	  The statements of the dialect: a parser's state, and what it has read of a
 *	  stream's definition.
 */
#ifndef MCS_DIALECT_STATEMENT_H
#define MCS_DIALECT_STATEMENT_H

#include "dialect/dialect.h"

/* A statement that is being read; places and tokens are of the user's whole text. */
typedef struct Statement
{
	Oid			namespace;
	const char *whole;
	DialectToken *tokens;
	int			i;				/* the current token */
	int			end;			/* the one behind the statement */
} Statement;

/* An option as it was given. */
typedef struct StatementOption
{
	const char *name;			/* as the function calls its argument */
	char	   *value;			/* SQL */
	int			token;
} StatementOption;

/* What can be said of a stream. */
typedef struct StreamClauses
{
	char	   *collection;
	char	   *database;
	List	   *filters;		/* of char *: conditions in plain SQL */
	StringInfoData fields;		/* name = expression, ... */
	List	   *added;			/* of DialectName: the fields up to here */
	List	   *options;		/* of StatementOption */
	List	   *reset;			/* of char * */
} StreamClauses;

/* dialect/statement.c */
extern bool mcs_statement_is(const Statement *statement, const char *word);
extern bool mcs_statement_skip(Statement *statement, const char *word);
extern void mcs_statement_expect(Statement *statement, const char *word);
extern bool mcs_statement_skip_stream(Statement *statement);
extern void mcs_statement_error(const Statement *statement, const char *hint) pg_attribute_noreturn();
extern int	mcs_statement_position(const Statement *statement, int token);
extern char *mcs_statement_name(Statement *statement, const char *what);
extern char *mcs_statement_quote(const char *text, const char *tag);
extern char *mcs_statement_qualified(const Statement *statement, const char *name);

/* dialect/stream.c */
extern void mcs_stream_target(Statement *statement, StreamClauses *clauses);
extern void mcs_stream_clauses(Statement *statement, StreamClauses *clauses, bool may_reset);
extern char *mcs_stream_filter(const StreamClauses *clauses);
extern void mcs_stream_arguments(StringInfo out, const StreamClauses *clauses, bool create);
extern char *mcs_create_stream(Statement *statement, bool replace);
extern char *mcs_alter_stream(Statement *statement);

/* dialect/option.c */
extern bool mcs_option_is_alterable(const char *name);
extern const char *const *mcs_option_alterable(void);
extern void mcs_statement_options(Statement *statement, List **options, bool handler);
extern char *mcs_statement_option_name(Statement *statement);

/* dialect/trigger.c, dialect/store.c */
extern char *mcs_create_trigger(Statement *statement, bool replace);
extern char *mcs_drop_trigger(Statement *statement);
extern char *mcs_create_store(Statement *statement);

#endif							/* MCS_DIALECT_STATEMENT_H */
