/*
 * dialect/dialect_internal.h
 *	  What the files of the dialect share.
 *
 * The top of translate.c says which way a text goes through the files.  What is
 * new goes
 *
 *	a statement						into the table of statement.c, and a statement_*.c
 *	a clause of CREATE CHANGE STREAM	into the table of statement_clause.c
 *	an option in WITH				into the lists of tables/, see statement_option.c
 *	a word that PostgreSQL's grammar does not know
 *									into replace_words of fragment.c
 *	an operator						into patch_operator of operator.c
 *	a function						into the table of call.c
 *	another kind of expression		into transform_original of transform.c
 *	a meaning of names				into resolve of reference.c
 *	a statement of PL/pgSQL			into the table of body.c
 *	what all of them call when they run
 *									into runtime.c
 */
#ifndef MCS_DIALECT_INTERNAL_H
#define MCS_DIALECT_INTERNAL_H

#ifndef MCS_INSIDE_dialect
#error "dialect/dialect_internal.h is for the files of its folder only"
#endif

#include "dialect/dialect.h"
#include "document/document.h"
#include "lib/stringinfo.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "parser/parse_node.h"
#include "tables/tables.h"
#include "tcop/dest.h"
#include "utils/portal.h"

/*
 * Token codes of PostgreSQL's scanner, those PL/pgSQL's grammar relies on, too.
 * A character that is a token by itself has its own code.  The scanner is
 * given no keywords, so each word is an identifier.
 */
typedef enum DialectTokenType
{
	TOKEN_END = 0,
	TOKEN_WORD = 258,
	TOKEN_UNICODE_WORD,
	TOKEN_FLOAT,
	TOKEN_STRING,
	TOKEN_UNICODE_STRING,
	TOKEN_BITS,
	TOKEN_HEX,
	TOKEN_OPERATOR,
	TOKEN_INTEGER,
	TOKEN_PARAMETER,
	TOKEN_CAST,
	TOKEN_DOTS,
	TOKEN_ASSIGN,
	TOKEN_ARROW
} DialectTokenType;

typedef struct DialectToken
{
	int			type;
	int			at;				/* byte offset */
	int			length;
	char	   *value;			/* of words (folded, without quotes) and strings, else NULL */
} DialectToken;

/* Where an edit stands beside others of the same place. */
typedef enum DialectEditKind
{
	EDIT_CLOSE,					/* text behind what ends here; the outer one is added later */
	EDIT_AFTER,					/* text behind all of these, and no part of what ends here */
	EDIT_OPEN,					/* text in front of what begins here */
	EDIT_MOVE,					/* text instead of what stands here, which goes elsewhere as a range of its own */
	EDIT_REPLACE				/* text instead of what stands here */
} DialectEditKind;

/* A piece of what an edit puts in: text, or what a range of the source becomes. */
typedef struct DialectPiece
{
	const char *text;			/* NULL: the range */
	int			from;
	int			to;
} DialectPiece;

/* A change of the text: its pieces instead of what stands there, which for some kinds is nothing. */
typedef struct DialectEdit
{
	DialectEditKind kind;
	int			from;
	int			to;
	int			order;			/* of being added */
	List	   *pieces;
	const char *key;			/* tells edits of one place and text apart */
	struct DialectEdit *next;	/* of those that begin at the same place */
} DialectEdit;

/* What is known of one byte of a fragment. */
typedef struct DialectOffset
{
	DialectEdit *edits;			/* that begin here */
	SelectStmt *select;			/* the SELECT of the reference that begins here */
} DialectOffset;

/* What the context of an expression needs it to be. */
typedef enum DialectTarget
{
	TARGET_ANY,
	TARGET_BOOLEAN,
	TARGET_ASSIGNED,			/* of a column or variable that it is assigned to */
	TARGET_SHOWN				/* what a client reads */
} DialectTarget;

/* What is known of the columns of a UNION and its like; kept from one attempt to the next. */
typedef struct DialectSetColumns
{
	uint64		document;		/* bits of columns that are documents */
	uint64		other;			/* bits of columns that some branch has otherwise */
} DialectSetColumns;

/* A node that is analysed once the types of its parts are known; a ParamRef stands in its place. */
typedef struct DialectDeferred
{
	Node	   *original;
	DialectTarget target;
	Oid			target_type;	/* for TARGET_ASSIGNED */
	int			set;			/* 1 + number of the set operation whose column it is; 0 if none */
	int			column;			/* there */
} DialectDeferred;

/* A name that stands for a value: a variable of a block, a field that a pipeline has added. */
typedef struct DialectVariable
{
	const char *name;
	Oid			type;			/* InvalidOid: not known */
	const char *text;			/* what is put in its place; NULL: it stays */
	int			number;			/* of the parameter that stands for it */
	TupleDesc	fields;			/* of a record; NULL if not known */
} DialectVariable;

/* One item of a select list that has no alias. */
typedef struct DialectUnnamedTarget
{
	int			from;			/* begin of the item */
	Node	   *value;			/* as it was written */
	char	   *name;			/* the column's name */
	bool		is_reference;
} DialectUnnamedTarget;

/* What a fragment is. */
typedef enum DialectMode
{
	DIALECT_STATEMENT,
	DIALECT_EXPRESSION,			/* parsed as PL/pgSQL's expressions are */
	DIALECT_FILTER,				/* an expression over the columns of an event */
	DIALECT_DOCUMENT			/* an expression over the fields of one document, the column "document" */
} DialectMode;

/* One fragment of text on its way to plain SQL. */
typedef struct Fragment
{
	/* the user's text, and where in it the fragment begins */
	const char *source;
	int			source_offset;

	/* the fragment, and what is parsed: the same with the dialect's words replaced, byte for byte as long */
	char	   *text;
	char	   *parsed;
	int			size;
	DialectToken *tokens;
	int			token_count;	/* without the last one, TOKEN_END */
	DialectMode mode;
	bool		has_words;		/* a word of the dialect was found */
	bool		has_change_path;	/* a path that begins with "change" was */

	/* names that the text may use beside columns */
	List	   *variables;		/* of DialectVariable; the last of several of one name counts */
	Oid			change_type;	/* row type of "change", or InvalidOid */
	Oid			changes;		/* the relation whose rows "changes" has, or InvalidOid */
	List	   *into_types;		/* of Oid: types that a select list is assigned to; NIL: not known */
	bool		is_condition;	/* the text is an expression that a boolean is needed of */
	bool		lenient;		/* who takes the text says what is wrong with it */
	bool		shown;			/* documents in rows that the client gets shall be plain text */
	bool		makes_columns;	/* the columns are those of a view or a table */
	bool		document_joins; /* a view joins documents by USING or NATURAL; known after an attempt */
	bool		is_view;		/* of a view, materialized or not, which PostgreSQL prints */
	bool		one_event;		/* CHANGE_STREAM stands for the row "change" */
	bool		has_aggregates;
	bool		change_is_row;	/* "change." in front of a column goes */
	bool		bare_names;		/* a name alone can be a field of the document */
	List	   *result;			/* the analysed query's columns */
	Oid			result_type;	/* of the first one */

	/* names of catalogs */
	Oid			namespace;		/* the extension's */
	Oid			document;		/* the type */
	Oid			get_function;	/* document_get */

	/* one attempt, in memory of its own */
	MemoryContext attempt;
	List	   *edits;
	DialectOffset *offsets;		/* by byte of the fragment; NULL while nothing is known of any */
	List	   *word_edits;		/* those of them that the words made; outlives an attempt, as edits does not */
	List	   *deferred;
	List	   *analysed;		/* expressions that ParamRefs stand for */
	List	   *unnamed_targets;	/* of DialectUnnamedTarget */
	List	   *change_streams;	/* of DialectRelation: what stands where CHANGE_STREAM did */
	List	   *number_literals;	/* of char *: numbers in quotes that are compared with documents */
	List	   *written_joins;	/* of RangeTblEntry: joins by USING or NATURAL that are written by ON */
	bool		unprintable;	/* a view has a comparison of documents that a dump does not bring back */
	List	   *intervals;		/* of TargetEntry: columns of the result that are cast to interval in the text */
	List	   *maybe_durations;	/* of TargetEntry: columns that may be differences of dates */
	List	   *set_columns;	/* of DialectSetColumns; survives attempts */
	int			set_count;		/* of set operations seen */
	bool		retry;			/* another attempt knows more */
	bool		plain;			/* no meanings of the dialect */
	bool		found_dialect;	/* a path or another form was found */
	FuncCall   *call;			/* of CALL */
	int			outputs_used;	/* how often an output column was analysed in another place */
	int			window_count;	/* of window functions moved into a sub-select */
	Oid		   *param_types;	/* of PREPARE's parameters, then of names */
	int			param_count;
	int			first_variable; /* how many are PREPARE's */
	ParseParamRefHook param_hook;	/* PostgreSQL's own for them */
} Fragment;

/* One step of a path into a document. */
typedef struct FieldStep
{
	char	   *key;			/* as the document has it; NULL: an expression */
	bool		bracket;
	bool		number;			/* a position in brackets */
	Node	   *node;			/* in brackets */
	int			from;			/* text in brackets */
	int			to;
} FieldStep;

/* A path into a document that is being resolved. */
typedef struct FieldPath
{
	Node	   *base;			/* document, jsonb or json */
	List	   *base_text;		/* of DialectPiece; how the translation writes it */
	List	   *steps;			/* of FieldStep */
} FieldPath;

/* A place where CHANGE_STREAM(...) stands for a relation. */
typedef struct DialectRelation
{
	int			token;			/* the word CHANGE_STREAM */
	int			name;			/* the token that is replaced by the relation */
	char	   *collection;		/* as it was written; NULL: a database */
	char	   *folded;			/* as SQL folds it */
	char	   *database;		/* or NULL */
	Oid			relid;			/* what was found */
	bool		filtered;		/* rows of all_changes */
	bool		history;		/* CHANGE_STREAM(orders, 'history'): what streams keep is not meant */
	bool		used;			/* a relation stands there */
} DialectRelation;

/* How a name begins that stands for CHANGE_STREAM in what is parsed; its number follows, in six digits. */
#define DIALECT_PLACEHOLDER "mcs_cs_"
#define DIALECT_MAX_STREAMS 1000

/* So often may output columns be used by others, each with those that it uses itself. */
#define DIALECT_MAX_OUTPUTS_USED 20000

/* Operators that CONTAINS becomes in what is parsed, as long as the word; no others may be called so. */
#define DIALECT_CONTAINS		"<@@@@@@>"
#define DIALECT_NOT_CONTAINS	"<!@@@@@>"

/* What makes text of a document in a row that a client reads: of any, as no row is to be lost for it. */
#define DIALECT_SHOWN_TEXT	"document_text_lenient"

/* Numbers of ParamRefs that are the user's, as many as the protocol can pass, and that are ours. */
#define DIALECT_MAX_PARAMETER	65535
#define DIALECT_FIRST_DEFERRED	10000000
#define DIALECT_FIRST_ANALYSED		20000000

/* The RETURNING list of a statement. */
#if PG_VERSION_NUM >= 180000
#define mcs_dialect_returning_list(statement) ((statement)->returningClause ? (statement)->returningClause->exprs : NIL)
#else
#define mcs_dialect_returning_list(statement) ((statement)->returningList)
#endif

extern Fragment *mcs_dialect_current;	/* what the hooks work on */

/* dialect/lex.c */
extern DialectToken *mcs_dialect_lex(const char *text, int *count);
extern bool mcs_dialect_token_is(const char *text, const DialectToken *token, const char *word);
extern bool mcs_dialect_token_is_any(const char *text, const DialectToken *token, const char *const *words);
extern bool mcs_dialect_token_is_reserved(const char *text, const DialectToken *token);
extern char *mcs_dialect_spelling(const char *text, const DialectToken *token);
extern int	mcs_dialect_find_token(const DialectToken *tokens, int i, int count, int type);
extern int	mcs_dialect_closing_bracket(const DialectToken *tokens, int open);
extern int	mcs_dialect_statement_end(const char *text, const DialectToken *tokens, int first);
extern bool mcs_dialect_word_is(const Fragment *fragment, int i, const char *word);
extern int	mcs_dialect_token_at(const Fragment *fragment, int at);
extern int	mcs_dialect_token_end(const DialectToken *token);
extern DialectToken *mcs_dialect_slice(const DialectToken *tokens, int first, int end);

/* dialect/edit.c */
extern DialectPiece *mcs_dialect_text_piece(const char *text);
extern DialectPiece *mcs_dialect_range_piece(int from, int to);
extern void mcs_dialect_edit_pieces(Fragment *fragment, DialectEditKind kind, int from, int to, List *pieces);
extern void mcs_dialect_edit(Fragment *fragment, DialectEditKind kind, int from, int to, const char *text);
extern void mcs_dialect_wrap(Fragment *fragment, int from, int to, const char *before, const char *behind);
extern void mcs_dialect_remove_tokens(Fragment *fragment, int from, int to);
extern bool mcs_dialect_edited(const Fragment *fragment, int from, int to);
extern char *mcs_dialect_render(Fragment *fragment, int from, int to);
extern void mcs_dialect_too_long(void) pg_attribute_noreturn();
extern DialectOffset *mcs_dialect_offset(Fragment *fragment, int at);
extern void mcs_dialect_forget_edits(Fragment *fragment);

/* dialect/fragment.c */
extern Fragment *mcs_dialect_begin_fragment(Oid namespace, const char *source, int from, int to, DialectMode mode);
extern DialectToken *mcs_dialect_lex_text(const char *text, int *count);
extern int	mcs_dialect_error_at(const Fragment *fragment, int at);
extern void mcs_dialect_error_callback(void *arg);
extern void mcs_dialect_raise(const Fragment *fragment, ErrorData *error) pg_attribute_noreturn();
extern bool mcs_dialect_is_result(const Fragment *fragment);
extern void mcs_dialect_rethrow_urgent(ErrorData *error);

/* dialect/stand_in.c */
extern Node *mcs_dialect_original(const Fragment *fragment, Node *node);
extern bool mcs_dialect_has_star(Node *node);
extern DialectDeferred *mcs_dialect_defer(Fragment *fragment, Node *node);
extern void mcs_dialect_set_target(Fragment *fragment, Node *node, DialectTarget target, Oid type);
extern Node *mcs_dialect_analysed_param(Fragment *fragment, Node *expression, int location);

/* dialect/relation.c */
extern Node *mcs_dialect_transform_relation(Fragment *fragment, RangeVar *placeholder);
extern void mcs_dialect_check_relations(const Fragment *fragment);
extern DialectRelation *mcs_dialect_find_placeholder(const Fragment *fragment, const RangeVar *name);

/* dialect/name.c */
extern Oid	mcs_dialect_function(Oid namespace, const char *name, int nargs, const Oid *types);
extern char *mcs_dialect_function_name(Oid namespace, const char *function);
extern char *mcs_dialect_relation_name(Oid relid);
extern Oid	mcs_dialect_row_type(Oid namespace, const char *relation);
extern char *mcs_dialect_snake_case(const char *name);
extern char *mcs_dialect_dollar_quote(const char *text, const char *tag);

/* dialect/extent.c */
extern bool mcs_dialect_extent(const Fragment *fragment, Node *node, int *from, int *to);
extern int	mcs_dialect_item_end(const Fragment *fragment, int from, int to);
extern bool mcs_dialect_operator_extent(const Fragment *fragment, Node *left, Node *right, int before, int behind, int *from, int *end);

/* dialect/field_path.c */
extern bool mcs_dialect_has_other_spelling(const char *key);
extern Node *mcs_dialect_if_has_paths(const Fragment *fragment, Node *node);
extern Node *mcs_dialect_write_path(ParseState *pstate, Fragment *fragment, FieldPath *path, int from, int to);

/* dialect/origin.c */

/* Where a column of documents comes from; NULL: not known. */
typedef struct DocumentOrigin
{
	Oid			table;			/* an ordinary one, or InvalidOid; else */
	const char *stream;			/* its kept events, or */
	const char *server;			/* MongoDB itself */
	const char *database;
	const char *collection;
} DocumentOrigin;

extern bool mcs_dialect_origin(ParseState *pstate, const Fragment *fragment, const SelectStmt *select, const Var *column, DocumentOrigin *origin);

extern bool mcs_dialect_origin_in(const Query *query, const Var *column, DocumentOrigin *origin);

/* dialect/field_type.c */
extern Oid	mcs_field_type(const Query *query, Node *path);

/* dialect/star.c */
extern List *mcs_star_mirrors(const DocumentOrigin *origin);

/* A column that full_document.* is made into. */
typedef struct DialectStarColumn
{
	char	   *name;
	char	   *text;
	Node	   *value;
} DialectStarColumn;

extern List *mcs_dialect_star_columns(ParseState *pstate, Fragment *fragment, const SelectStmt *select, Node *document, const char *text);

/* dialect/reference.c */
extern Node *mcs_dialect_post_columnref_hook(ParseState *pstate, ColumnRef *ref, Node *found);
extern Node *mcs_dialect_pre_columnref_hook(ParseState *pstate, ColumnRef *ref);
extern bool mcs_dialect_resolve(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path);
extern int	mcs_dialect_reference_end(Fragment *fragment, ColumnRef *ref);

/* dialect/indirection.c */
extern Node *mcs_dialect_transform_indirection(ParseState *pstate, A_Indirection *node);

/* dialect/prepare.c */
extern void mcs_dialect_prepare(Fragment *fragment, Node *query);
extern void mcs_dialect_prepare_call(Fragment *fragment, FuncCall *call);

/* dialect/window.c */
extern void mcs_dialect_move_windows(Fragment *fragment, SelectStmt *select);

/* dialect/operand.c */
extern Node *mcs_dialect_transform_operand(ParseState *pstate, Node **slot);
extern bool mcs_dialect_is_literal(const Fragment *fragment, Node *node);
extern void mcs_dialect_type_literal(Fragment *fragment, Node *raw, Node **slot, const char *type);
extern Node *mcs_dialect_as_document(ParseState *pstate, Node *raw, Node *expression);
extern Node *mcs_dialect_cast_document(ParseState *pstate, Node *raw, Node *expression, Oid type);
extern Node *mcs_dialect_show_document(ParseState *pstate, Node *raw, Node *expression);
extern void mcs_dialect_unify(ParseState *pstate, List *slots);
extern const Oid mcs_dialect_cast_types[];

/* dialect/either.c */
extern bool mcs_either_is_date(const Fragment *fragment, Node *raw);
extern bool mcs_either_is_meant(const Fragment *fragment, Node *raw, Oid type);
extern Node *mcs_either_compare(ParseState *pstate, A_Expr *e, Node *left, Node *right, bool document_left);
extern Node *mcs_either_between_dates(ParseState *pstate, A_Expr *e);
extern Node *mcs_either_in_list(Node *raw);

/* dialect/join.c */
extern bool mcs_join_is_of_documents(const Fragment *fragment, const RangeTblEntry *rte);
extern char *mcs_join_column(ParseState *pstate, const Fragment *fragment, const Node *column, const char *name);
extern void mcs_join_write(Fragment *fragment, Query *query);

/* dialect/unprintable.c */
extern void mcs_unprintable_find(Fragment *fragment, Query *query);
extern void mcs_unprintable_tell(const Fragment *fragment);

/* dialect/printable.c */
extern void mcs_printable_case(ParseState *pstate, CaseExpr *c);
extern Node *mcs_printable_operator(ParseState *pstate, A_Expr *e);

/* dialect/operator.c, dialect/call.c, dialect/transform.c */
extern const char *mcs_dialect_fit_comparison(ParseState *pstate, A_Expr *e, Node *left_raw);
extern Node *mcs_dialect_transform_operator(ParseState *pstate, A_Expr *e);
extern Node *mcs_dialect_transform_call(ParseState *pstate, FuncCall *node);
extern void mcs_dialect_transform_call_arguments(ParseState *pstate, FuncCall *node);
extern Node *mcs_dialect_paramref_hook(ParseState *pstate, ParamRef *ref);

/* dialect/analyse.c */
extern char *mcs_dialect_translate_fragment(Fragment *fragment);

/* dialect/shown.c */
extern void mcs_shown_init(void);
extern bool mcs_shown_wanted(void);
extern void mcs_shown_wrap(Fragment *fragment, const Query *query);

/* dialect/event_expression.c */
extern char *mcs_dialect_event_expression(Oid namespace, const char *source, int from, int to, List *names, bool bare_names, bool condition);
extern bool mcs_dialect_event_fields(Oid namespace, const char *source, const DialectToken *tokens, int first, int end, bool bare_names,
							   List **names, StringInfo out, int *at);

/* dialect/document_expression.c */
extern char *mcs_dialect_document_expression(Oid namespace, const char *source, int from, int to, bool condition);

/* ---- going over tokens: statements, PL/pgSQL blocks ---- */

/* Tokens that are gone over; they and their places are of the user's whole text. */
typedef struct TokenReader
{
	Oid			namespace;		/* the extension's */
	const char *source;
	DialectToken *tokens;
	int			current;
	int			end;			/* the one behind the last */
} TokenReader;

/* dialect/reader.c */
extern bool mcs_reader_at_end(const TokenReader *reader);
extern bool mcs_reader_at(const TokenReader *reader, int type);
extern bool mcs_reader_is(const TokenReader *reader, const char *word);
extern bool mcs_reader_is_any(const TokenReader *reader, const char *const *words);
extern bool mcs_reader_next_is(const TokenReader *reader, const char *word);
extern void mcs_reader_advance(TokenReader *reader, int count);
extern bool mcs_reader_skip_type(TokenReader *reader, int type);
extern bool mcs_reader_skip(TokenReader *reader, const char *word);
extern bool mcs_reader_skip_pair(TokenReader *reader, const char *first, const char *second);
extern bool mcs_reader_skip_if_exists(TokenReader *reader);
extern void mcs_reader_expect(TokenReader *reader, const char *word);
extern void mcs_reader_expect_end(TokenReader *reader, const char *hint);
extern char *mcs_reader_name(TokenReader *reader, const char *what);
extern int	mcs_reader_error_position(const TokenReader *reader, int token);
extern void mcs_reader_syntax_error(const TokenReader *reader, const char *hint) pg_attribute_noreturn();

/* ---- PL/pgSQL blocks ---- */

/* A block that is being translated. */
typedef struct Body
{
	TokenReader reader;			/* of the block; places are in the user's whole text */
	StringInfoData out;
	int			at;				/* up to here the text is in out */
	List	   *variables;		/* of DialectVariable; the innermost last */
	Oid			change_type;	/* row type of "change" */
	Oid			changes;		/* the relation whose rows "changes" has; one of the two, the other is InvalidOid */
	Oid			document;		/* the type */
	MemoryContext scratch;		/* of one fragment, until the next */
} Body;

/* dialect/variable.c */
extern void mcs_variable_declare(Body *body, const char *name, Oid type, TupleDesc fields);
extern void mcs_variable_declare_record(Body *body, const char *name, List *targets);
extern Oid	mcs_variable_named_type(const Body *body, int first, int end);
extern Oid	mcs_variable_target_type(const Body *body, int first, int end);
extern List *mcs_variable_into_types(const Body *body, int first, int end);
extern void mcs_variable_hide_into(const Body *body, Fragment *fragment);

/* dialect/body_fragment.c */
extern const char *const mcs_dialect_no_words[];
extern void mcs_dialect_body_find(Body *body, const char *const *words, int character);
extern void mcs_dialect_body_skip_statement(Body *body);
extern void mcs_dialect_body_put(Body *body, int from, int to, const char *text);
extern Fragment *mcs_dialect_body_fragment(Body *body, int first, DialectMode mode, Oid target_type, List *into);
extern Fragment *mcs_dialect_body_expression(Body *body, const char *const *words, int character, Oid target_type);
extern void mcs_dialect_body_expressions(Body *body, const char *const *words, Oid target_type);
extern Fragment *mcs_dialect_body_query(Body *body, const char *const *words);

/* dialect/body.c */
extern char *mcs_body_translate(Oid namespace, const char *source, int from, int to, bool of_batch);

/* ---- statements of the dialect ---- */

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
	List	   *added;			/* of DialectVariable: the fields up to here */
	List	   *options;		/* of StatementOption */
	List	   *reset;			/* of char * */
} StreamClauses;

#define DIALECT_CREATE_CLAUSES	"The clauses are WHERE, WITH, FILTER and PIPELINE."
#define DIALECT_ALTER_CLAUSES	"The clauses are WHERE, FILTER, PIPELINE, SET and RESET."

/* dialect/statement_option.c */
extern bool mcs_dialect_option_is_alterable(const char *name);
extern void mcs_dialect_check_new_option(const TokenReader *reader, const char *name, int token);
extern void mcs_dialect_read_option(TokenReader *reader, const OptionList *list, List **options);
extern void mcs_dialect_read_options(TokenReader *reader, List **options, bool handler);
extern char *mcs_dialect_read_option_name(TokenReader *reader);

/* dialect/statement_clause.c */
extern void mcs_dialect_read_target(TokenReader *reader, StreamClauses *clauses);
extern void mcs_dialect_read_clauses(TokenReader *reader, StreamClauses *clauses, bool alter);
extern void mcs_dialect_write_arguments(StringInfo out, const StreamClauses *clauses, bool create);

/* dialect/statement_stream.c */
extern char *mcs_dialect_create_stream(TokenReader *reader);
extern char *mcs_dialect_replace_stream(TokenReader *reader);
extern char *mcs_dialect_alter_stream(TokenReader *reader);
extern char *mcs_dialect_drop_stream(TokenReader *reader);
extern char *mcs_dialect_pause_stream(TokenReader *reader);
extern char *mcs_dialect_resume_stream(TokenReader *reader);
extern char *mcs_dialect_show_streams(TokenReader *reader);

/* dialect/statement_trigger.c, dialect/statement_store.c */
extern char *mcs_dialect_create_trigger(TokenReader *reader);
extern char *mcs_dialect_replace_trigger(TokenReader *reader);
extern char *mcs_dialect_drop_trigger(TokenReader *reader);
extern char *mcs_dialect_create_event_store(TokenReader *reader);

/* dialect/statement_view.c */
extern char *mcs_dialect_create_materialized_view(TokenReader *reader);

/* dialect/statement.c */
extern char *mcs_statement_translate(Oid namespace, const char *source, DialectToken *tokens, int first, int end, bool *is_call);

/* ---- texts of several statements ---- */

/* A text, and the statement of it that is worked on. */
typedef struct Script
{
	Oid			namespace;		/* the extension's */
	const char *text;
	DialectToken *tokens;
	int			count;
	int			statements;		/* in the text */
	bool		shown;			/* documents in rows that the client gets shall be plain text */
	int			next;			/* the token where the next statement begins */

	/* the statement */
	int			number;			/* from 1 */
	int			from;			/* its bytes */
	int			to;
	int			line;			/* of the text */
	char	   *statement;		/* its own text, in memory that the next one takes back */
	DialectToken *statement_tokens;
	int			statement_count;
	MemoryContext scratch;
	ErrorContextCallback callback;
} Script;

/* dialect/script.c */
extern void mcs_script_begin(Script *script, Oid namespace, const char *text);
extern bool mcs_script_next(Script *script);
extern bool mcs_script_is_last(const Script *script);
extern char *mcs_script_translate(Script *script, bool *is_call);
extern void mcs_script_end(Script *script);

/* dialect/preview.c */
extern bool mcs_preview_allowed(void);
extern void mcs_preview_statement(const char *sql);

/* dialect/hint.c */
extern bool mcs_dialect_is_likely(const char *text);

/* ---- running them ---- */

/* What becomes of rows that a statement returns. */
typedef enum ResultKind
{
	RESULT_NOWHERE,				/* they are discarded, and a NOTICE says so */
	RESULT_CLIENT,				/* they go to the client, each statement's as a result of its own */
	RESULT_CURSOR,				/* the last SELECT's stay open as a cursor */
	RESULT_SET					/* the last statement's are what a function returns */
} ResultKind;

/* What a receiver makes of rows. */
typedef enum ReceiverShape
{
	RECEIVER_PLAIN,				/* their columns, documents as plain text */
	RECEIVER_DOCUMENT,			/* one column, the row as a document */
	RECEIVER_LISTED				/* the columns that a caller has listed */
} ReceiverShape;

typedef struct ResultTarget
{
	ResultKind	kind;
	Oid			namespace;		/* the extension's */
	Portal		portal;			/* RESULT_CLIENT: whose client it is */
	ReturnSetInfo *set;			/* RESULT_SET: where they go, and as what */
	ReceiverShape shape;
	int			results;		/* statements that have returned rows */
	Portal		cursor;			/* RESULT_CURSOR: the last SELECT's */
} ResultTarget;

/* dialect/receiver.c */
extern DestReceiver *mcs_receiver_make(Oid namespace, DestReceiver *inner, ReceiverShape shape, TupleDesc listed);
extern TupleDesc mcs_receiver_description(const DestReceiver *receiver);
extern void mcs_receiver_set_durations(DestReceiver *receiver, const DocumentDifferences *differences, const uint32 *columns);
extern uint64 mcs_receiver_count(const DestReceiver *receiver);

/* dialect/duration.c */

/* What is known of a column before it runs. */
typedef enum DurationKind
{
	DURATION_NONE,				/* no difference of dates, or other values, too */
	DURATION_MAYBE,				/* of dates or of numbers */
	DURATION_SURE				/* of dates */
} DurationKind;

extern uint32 *mcs_duration_columns(const Query *query, DocumentDifferences *differences);
extern void mcs_duration_places(const Query *query, Node *expression, DocumentDifferences *differences);
extern char *mcs_duration_text(Datum milliseconds);
extern DurationKind mcs_duration_kind(const Query *query, const TargetEntry *target);

/* dialect/interval_column.c */
extern void mcs_interval_column_cast(Fragment *fragment, const SelectStmt *select, const Query *query);
extern void mcs_interval_column_tell(const Fragment *fragment);

/* dialect/result.c */
extern void mcs_result_run(ResultTarget *target, const char *translated, bool is_call, bool is_last);
extern void mcs_result_end(ResultTarget *target);

#endif							/* MCS_DIALECT_INTERNAL_H */
