/*
 * dialect/path.c
 *	  What a dotted name means: a column where SQL finds one, else a path into
 *	  a document.
 *
 * PostgreSQL's parse analysis asks here for each reference that it cannot
 * resolve.  In this order, a.b.c is
 *	  - column a, or column b of relation a, and a path into it;
 *	  - an output column that the same SELECT has computed before;
 *	  - MongoDB's name for a column of events: ns.coll, ns.db, _id, operationType;
 *	  - a name that the surroundings know: a variable, an added field;
 *	  - a path into the column full_document.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "dialect/dialect.h"
#include "event/event.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define IMAGE "full_document"

/* One step of a path. */
typedef struct PathStep
{
	char	   *key;			/* as the document has it; NULL: an expression */
	bool		bracket;
	bool		number;			/* a position in brackets */
	Node	   *node;			/* in brackets */
	int			from;			/* text in brackets */
	int			to;
} PathStep;

/* A path that is being resolved. */
typedef struct Path
{
	Node	   *base;			/* document, jsonb or json */
	List	   *base_text;		/* of DialectPiece; how the translation writes it */
	List	   *steps;			/* of PathStep */
} Path;

/* Whether paths lead into values of a type. */
static bool
has_paths(const Dialect *dialect, Oid type)
{
	return type == dialect->document || type == JSONBOID || type == JSONOID;
}

static Node *
if_has_paths(const Dialect *dialect, Node *node)
{
	return node && has_paths(dialect, getBaseType(exprType(node))) ? node : NULL;
}

/* The token of a reference's n-th name. */
static DialectToken *
reference_token(Dialect *dialect, ColumnRef *ref, int n)
{
	return &dialect->tokens[mcs_dialect_token_at(dialect, ref->location) + 2 * n];
}

/* A name of a reference as it was written, since fields of documents are not folded. */
static char *
written(Dialect *dialect, ColumnRef *ref, int n)
{
	DialectToken *token = reference_token(dialect, ref, n);

	if (token->type == TOKEN_WORD && dialect->text[token->at] != '"')
		return pnstrdup(dialect->text + token->at, token->length);
	return token->value ? pstrdup(token->value) : pstrdup("");
}

static char *
field_name(ColumnRef *ref, int n)
{
	return strVal(list_nth(ref->fields, n));
}

/* The names of a reference from one on, as steps. */
static List *
steps_from(Dialect *dialect, ColumnRef *ref, int first, int count)
{
	List	   *steps = NIL;

	for (int i = first; i < count; i++)
	{
		PathStep   *step = palloc0(sizeof(PathStep));

		step->key = written(dialect, ref, i);
		steps = lappend(steps, step);
	}
	return steps;
}

/* ---- how a path is written ---- */

/* Whether document_get would look for a step in camelCase, too. */
static bool
has_underscore(const char *key)
{
	for (int i = 1; key[i - 1] && key[i] && key[i + 1]; i++)
		if (key[i] == '_' && isalnum((unsigned char) key[i - 1]) && isalnum((unsigned char) key[i + 1]) &&
			!IS_HIGHBIT_SET(key[i - 1]) && !IS_HIGHBIT_SET(key[i + 1]))
			return true;
	return false;
}

/* Whether a path needs document_get; subscripts are plainer. */
static bool
needs_get(const Path *path)
{
	ListCell   *cell;
	bool		dotted = false;
	int			behind = -1;	/* steps behind updatedFields; -1 before it */

	foreach(cell, path->steps)
	{
		PathStep   *step = lfirst(cell);

		/* there a.b can be b in a, or one key with a dot in it */
		if (behind >= 0 && ++behind >= 2 && !step->bracket)
			return true;
		if (step->key && strcmp(step->key, "updatedFields") == 0)
			behind = Max(behind, 0);
		if (step->key && !step->bracket && has_underscore(step->key))
			return true;
		if (step->bracket && dotted && step->key && strchr(step->key, '.'))
			return true;
		dotted |= !step->bracket;
	}
	return false;
}

static List *
add_text(List *pieces, const char *text)
{
	return lappend(pieces, mcs_dialect_piece(text));
}

/* A step as an argument of type text. */
static List *
add_argument(List *pieces, const PathStep *step)
{
	if (step->key)
		return add_text(pieces, quote_literal_cstr(step->key));
	pieces = add_text(pieces, "(");
	pieces = lappend(pieces, mcs_dialect_range(step->from, step->to));
	return add_text(pieces, ")::text");
}

static List *
document_pieces(const Dialect *dialect, const Path *path)
{
	bool		get = needs_get(path);
	List	   *pieces = NIL;
	ListCell   *cell;

	if (get)
		pieces = add_text(pieces, psprintf("%s(", mcs_dialect_qualified(dialect, "document_get")));
	pieces = list_concat(pieces, path->base_text);
	foreach(cell, path->steps)
	{
		const PathStep *step = lfirst(cell);

		if (get)
			pieces = add_argument(add_text(pieces, ", "), step);
		else if (step->bracket)
		{
			pieces = add_text(pieces, "[");
			pieces = lappend(pieces, mcs_dialect_range(step->from, step->to));
			pieces = add_text(pieces, "]");
		}
		else
			pieces = add_text(pieces, psprintf("[%s]", quote_literal_cstr(step->key)));
	}
	return get ? add_text(pieces, ")") : pieces;
}

static bool
is_simple_key(const char *key)
{
	return *key && strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$-") == strlen(key) &&
		pg_strcasecmp(key, "null") != 0;
}

/* (j #> '{a,b}')::document */
static List *
json_pieces(const Dialect *dialect, const Path *path)
{
	bool		simple = true;
	List	   *pieces = list_concat(list_make1(mcs_dialect_piece("(")), path->base_text);
	ListCell   *cell;

	foreach(cell, path->steps)
	{
		const PathStep *step = lfirst(cell);

		simple &= step->key && is_simple_key(step->key);
	}
	pieces = add_text(pieces, simple ? " #> '{" : " #> ARRAY[");
	foreach(cell, path->steps)
	{
		const PathStep *step = lfirst(cell);

		if (foreach_current_index(cell) > 0)
			pieces = add_text(pieces, simple ? "," : ", ");
		pieces = simple ? add_text(pieces, step->key) : add_argument(pieces, step);
	}
	pieces = add_text(pieces, simple ? "}')::" : "])::");
	return add_text(pieces, format_type_be(dialect->document));
}

/* document_get(base, VARIADIC ARRAY[...]) */
static Node *
make_get(const Dialect *dialect, Node *base, List *steps)
{
	ArrayExpr  *array = makeNode(ArrayExpr);
	FuncExpr   *get;

	array->array_typeid = TEXTARRAYOID;
	array->array_collid = DEFAULT_COLLATION_OID;
	array->element_typeid = TEXTOID;
	array->elements = steps;
	array->location = -1;
	get = makeFuncExpr(dialect->get_function, dialect->document, list_make2(base, array), InvalidOid,
					   DEFAULT_COLLATION_OID, COERCE_EXPLICIT_CALL);
	get->funcvariadic = true;
	return (Node *) get;
}

/* The analysed form of a path: the same for the same path, whatever way it was written. */
static Node *
path_node(ParseState *pstate, Dialect *dialect, const Path *path)
{
	Node	   *base = path->base;
	List	   *args = NIL;
	ListCell   *cell;

	if (getBaseType(exprType(base)) != dialect->document)
	{
		TypeCast   *cast = makeNode(TypeCast);

		cast->arg = mcs_dialect_hold(dialect, base, -1);
		cast->typeName = makeTypeNameFromOid(dialect->document, -1);
		cast->location = -1;
		base = transformExpr(pstate, (Node *) cast, pstate->p_expr_kind);
	}
	foreach(cell, path->steps)
	{
		const PathStep *step = lfirst(cell);

		if (step->key)
			args = lappend(args, makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1, CStringGetTextDatum(step->key), false, false));
		else
			args = lappend(args, coerce_to_target_type(pstate, step->node, exprType(step->node), TEXTOID, -1,
													   COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1));
	}
	return make_get(dialect, base, args);
}

/* Writes a path in the place of what named it, and returns its analysed form. */
static Node *
finish(ParseState *pstate, Dialect *dialect, Path *path, int from, int to)
{
	bool		is_document = getBaseType(exprType(path->base)) == dialect->document;

	dialect->found_form = true;
	mcs_dialect_edit_pieces(dialect, EDIT_REPLACE, from, to,
							is_document ? document_pieces(dialect, path) : json_pieces(dialect, path));
	return path_node(pstate, dialect, path);
}

/* ---- where names are looked for ---- */

/* All relations, one of them, or the record "change". */
typedef struct Scope
{
	ParseNamespaceItem *item;	/* of one relation */
	int			levels;
	bool		change;
	char	   *prefix;			/* how the translation names it, with a dot; "" for all */
} Scope;

/* A column, NULL where there is none. */
static Node *
scope_column(ParseState *pstate, Dialect *dialect, const Scope *scope, const char *name, int location)
{
	if (scope->change)
	{
		Param	   *change = makeNode(Param);

		change->paramkind = PARAM_EXTERN;
		change->paramid = 1;
		change->paramtype = dialect->change_type;
		change->paramtypmod = -1;
		change->location = -1;
		return ParseFuncOrColumn(pstate, list_make1(makeString(pstrdup(name))), list_make1(change), NULL, NULL, false, location);
	}
	if (scope->item)
		return scanNSItemForColumn(pstate, scope->item, scope->levels, name, location);
	return colNameToVar(pstate, name, false, location);
}

/* Whether a name is a column's in camelCase: fullDocument is, FullDocument is not. */
static bool
is_camel_case(const char *name, const char *column)
{
	for (; *column; column++)
	{
		bool		capital = *column == '_';

		if (capital)
			column++;
		if (*name++ != (capital ? pg_ascii_toupper((unsigned char) *column) : *column))
			return false;
	}
	return *name == '\0';
}

/* The column of events that a name is in MongoDB's spelling, or in the columns' own in camelCase; NULL if none. */
static const char *
event_column(const char *name)
{
	for (int i = 0; i < EVENT_COLUMNS; i++)
	{
		const EventColumnInfo *column = &mcs_event_columns[i];

		if (is_camel_case(name, column->name) || (column->path && strcmp(name, column->path) == 0))
			return column->name;
	}
	return NULL;
}

/*
 * What a name is in MongoDB's words: ns.coll, ns.db, _id, operationType.
 * Returns the column, and how many names it took.
 */
static const char *
mongo_column(Dialect *dialect, ColumnRef *ref, int first, int count, int *taken)
{
	const char *name = written(dialect, ref, first);

	*taken = 1;
	if (strcmp(name, "ns") == 0 && first + 1 < count)
	{
		const char *part = field_name(ref, first + 1);

		*taken = 2;
		return strcmp(part, "coll") == 0 ? mcs_event_columns[EVENT_COLLECTION_NAME].name :
			strcmp(part, "db") == 0 ? mcs_event_columns[EVENT_DATABASE_NAME].name : NULL;
	}
	if (strcmp(name, "_id") == 0)
	{
		if (first + 1 < count && strcmp(field_name(ref, first + 1), "_data") == 0)
			*taken = 2;
		return mcs_event_columns[EVENT_RESUME_TOKEN].name;
	}
	return event_column(name);
}

/* Looks in a scope for what names from one on may be, except for fields of the image. */
static bool
find_in_scope(ParseState *pstate, Dialect *dialect, const Scope *scope, ColumnRef *ref, int first, int count, Path *path)
{
	Node	   *column = scope_column(pstate, dialect, scope, field_name(ref, first), ref->location);
	const char *name = field_name(ref, first);
	int			taken = 1;

	if (column && first + 1 < count)
		column = if_has_paths(dialect, column);
	if (!column)
	{
		name = mongo_column(dialect, ref, first, count, &taken);
		column = name ? scope_column(pstate, dialect, scope, name, ref->location) : NULL;
		if (column && first + taken < count)
			column = if_has_paths(dialect, column);
	}
	if (!column)
		return false;
	path->base = column;
	path->base_text = list_make1(mcs_dialect_piece(psprintf("%s%s", scope->prefix, quote_identifier(name))));
	path->steps = steps_from(dialect, ref, first + taken, count);
	return true;
}

/* Takes names from one on as fields of the scope's full_document. */
static bool
find_in_image(ParseState *pstate, Dialect *dialect, const Scope *scope, ColumnRef *ref, int first, int count, Path *path)
{
	Node	   *image = if_has_paths(dialect, scope_column(pstate, dialect, scope, IMAGE, ref->location));

	if (!image)
		return false;
	path->base = image;
	path->base_text = list_make1(mcs_dialect_piece(psprintf("%s" IMAGE, scope->prefix)));
	path->steps = steps_from(dialect, ref, first, count);
	return true;
}

/* Takes names behind that of a function in FROM as fields of the one value it gives. */
static bool
find_in_only_column(ParseState *pstate, Dialect *dialect, const Scope *scope, ColumnRef *ref, int count, Path *path)
{
	RangeTblEntry *entry = scope->item->p_rte;
	char	   *name;

	if (entry->rtekind != RTE_FUNCTION || list_length(entry->eref->colnames) != 1)
		return false;
	name = strVal(linitial(entry->eref->colnames));
	path->base = if_has_paths(dialect, scope_column(pstate, dialect, scope, name, ref->location));
	path->base_text = list_make1(mcs_dialect_piece(psprintf("%s%s", scope->prefix, quote_identifier(name))));
	path->steps = steps_from(dialect, ref, 1, count);
	return path->base != NULL;
}

/* ---- output columns ---- */

/* The SELECT that a reference stands in. */
static SelectStmt *
home_of(const Dialect *dialect, const ColumnRef *ref)
{
	return dialect->places ? dialect->places[ref->location].home : NULL;
}

typedef struct Mention
{
	const Dialect *dialect;
	const char *name;
} Mention;

/* Whether an expression uses a bare name. */
static bool
mentions(Node *node, Mention *mention)
{
	if (node == NULL)
		return false;
	node = mcs_dialect_original(mention->dialect, node);
	if (IsA(node, ColumnRef))
	{
		List	   *fields = ((ColumnRef *) node)->fields;

		return IsA(linitial(fields), String) && strcmp(strVal(linitial(fields)), mention->name) == 0;
	}
	if (IsA(node, SubLink))
		return mentions(((SubLink *) node)->testexpr, mention);
	return raw_expression_tree_walker(node, mentions, mention);
}

/* An output column of the same SELECT that stands before the reference. */
static bool
find_output(ParseState *pstate, Dialect *dialect, ColumnRef *ref, int count, Path *path)
{
	SelectStmt *select = home_of(dialect, ref);
	Mention		mention = {dialect, NULL};
	ListCell   *cell;

	foreach(cell, select ? select->targetList : NIL)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		int			from;
		int			to;

		if (!target->name || strcmp(target->name, field_name(ref, 0)) != 0 ||
			!mcs_dialect_extent(dialect, target->val, &from, &to) || to > ref->location)
			continue;
		/* SUM(price) AS price: elsewhere, too, price is what is summed */
		mention.name = target->name;
		if (mentions(target->val, &mention))
			continue;
		path->base = transformExpr(pstate, copyObject(target->val), pstate->p_expr_kind);
		if (count > 1 && !if_has_paths(dialect, path->base))
			return false;
		path->base_text = list_make3(mcs_dialect_piece("("), mcs_dialect_range(from, to), mcs_dialect_piece(")"));
		path->steps = steps_from(dialect, ref, 1, count);
		return true;
	}
	return false;
}

/* ---- names of the surroundings ---- */

/* A variable of the block, or a field that the pipeline has added. */
static bool
find_name(ParseState *pstate, Dialect *dialect, ColumnRef *ref, int count, Path *path)
{
	for (int i = list_length(dialect->names) - 1; i >= 0; i--)
	{
		DialectName *name = list_nth(dialect->names, i);

		if (strcmp(name->name, field_name(ref, 0)) != 0)
			continue;
		/* what an added field stands for has to be put in its place */
		if (name->text && dialect->plain)
			return false;
		name->number = dialect->first_name + i + 1;
		path->base = mcs_dialect_name_value(pstate, name, ref, &count);
		if (path->base == NULL)
			return false;
		if (count < list_length(ref->fields) && IsA(llast(ref->fields), String) && !if_has_paths(dialect, path->base))
			return false;
		path->base_text = NIL;
		if (name->text)
			path->base_text = list_make1(mcs_dialect_piece(name->text));
		else
		{
			DialectToken *last = reference_token(dialect, ref, count - 1);

			path->base_text = list_make1(mcs_dialect_piece(pnstrdup(dialect->text + ref->location,
																	 mcs_dialect_token_end(last) - ref->location)));
		}
		path->steps = steps_from(dialect, ref, count, list_length(ref->fields));
		return true;
	}
	return false;
}

/* ---- hooks ---- */

/* How many of a reference's fields are names, not the star. */
static int
name_count(const ColumnRef *ref)
{
	return list_length(ref->fields) - (IsA(llast(ref->fields), A_Star) ? 1 : 0);
}

/* Finds what a reference means in the dialect. */
static bool
resolve(ParseState *pstate, Dialect *dialect, ColumnRef *ref, Path *path)
{
	int			count = name_count(ref);
	Scope		all = {NULL, 0, false, ""};
	Scope		one = {NULL, 0, false, NULL};

	if (count == 0 || ref->location < 0 || ref->location >= dialect->size)
		return false;
	one.prefix = psprintf("%s.", quote_identifier(field_name(ref, 0)));
	if (dialect->change_is_row && count > 1 && strcmp(field_name(ref, 0), "change") == 0)
		return find_in_scope(pstate, dialect, &all, ref, 1, count, path) ||
			find_in_image(pstate, dialect, &all, ref, 1, count, path);
	if (dialect->mode != DIALECT_FILTER && count == 1 && find_output(pstate, dialect, ref, count, path))
		return true;
	if (find_in_scope(pstate, dialect, &all, ref, 0, count, path))
		return true;
	if (count > 1)
	{
		one.item = refnameNamespaceItem(pstate, NULL, field_name(ref, 0), ref->location, &one.levels);
		if (one.item)
			return find_in_scope(pstate, dialect, &one, ref, 1, count, path) ||
				find_in_image(pstate, dialect, &one, ref, 1, count, path) ||
				find_in_only_column(pstate, dialect, &one, ref, count, path);
		if (find_output(pstate, dialect, ref, count, path))
			return true;
	}
	if (find_name(pstate, dialect, ref, count, path))
		return true;
	return (dialect->bare_names || count > 1) && find_in_image(pstate, dialect, &all, ref, 0, count, path);
}

/* Where a reference ends in the text, without its star. */
static int
reference_end(Dialect *dialect, ColumnRef *ref)
{
	return mcs_dialect_token_end(reference_token(dialect, ref, name_count(ref) - 1));
}

/* Writes what a reference was found to be; a plain column stays where it has that name already. */
static Node *
write_reference(ParseState *pstate, Dialect *dialect, ColumnRef *ref, Path *path)
{
	int			end = reference_end(dialect, ref);

	if (path->steps)
		return finish(pstate, dialect, path, ref->location, end);
	if (list_length(path->base_text) != 1 ||
		pg_strncasecmp(((DialectPiece *) linitial(path->base_text))->text, dialect->text + ref->location, end - ref->location) != 0 ||
		strlen(((DialectPiece *) linitial(path->base_text))->text) != end - ref->location)
	{
		dialect->found_form = true;
		mcs_dialect_edit_pieces(dialect, EDIT_REPLACE, ref->location, end, path->base_text);
	}
	return path->base;
}

/* d.*: the document goes on as one column */
static Node *
whole_document(ParseState *pstate, Dialect *dialect, ColumnRef *ref, Path *path)
{
	RowExpr    *row = makeNode(RowExpr);
	DialectToken *last = reference_token(dialect, ref, name_count(ref) - 1);
	DialectToken *star = last + 2;

	dialect->found_form = true;
	row->args = list_make1(write_reference(pstate, dialect, ref, path));
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	row->colnames = list_make1(makeString(pstrdup(field_name(ref, name_count(ref) - 1))));
	row->location = -1;
	mcs_dialect_edit(dialect, EDIT_REPLACE, (last + 1)->at, mcs_dialect_token_end(star),
					 (star + 1)->at == mcs_dialect_token_end(star) && (star + 1)->value ? " " : "");
	if (path->steps)
		mcs_dialect_edit(dialect, EDIT_AFTER, mcs_dialect_token_end(star), mcs_dialect_token_end(star),
						 psprintf(" AS %.*s", last->length, dialect->text + last->at));
	return (Node *) row;
}

/* Asked for each reference, with what SQL has found for it. */
Node *
mcs_dialect_post_columnref(ParseState *pstate, ColumnRef *ref, Node *found)
{
	Dialect    *dialect = mcs_dialect_current;
	Path		path = {NULL, NIL, NIL};

	CHECK_FOR_INTERRUPTS();
	if (found)
		return NULL;
	if (dialect->plain ? !find_name(pstate, dialect, ref, name_count(ref), &path) || path.steps : !resolve(pstate, dialect, ref, &path))
		return NULL;
	if (dialect->plain)
		return path.base;
	if (!IsA(llast(ref->fields), A_Star))
		return write_reference(pstate, dialect, ref, &path);
	if (!if_has_paths(dialect, path.base))
		return NULL;
	return whole_document(pstate, dialect, ref, &path);
}

/* Asked before columns are looked for: "change" comes first in the body of a handler. */
Node *
mcs_dialect_pre_columnref(ParseState *pstate, ColumnRef *ref)
{
	Dialect    *dialect = mcs_dialect_current;
	Scope		change = {NULL, 0, true, "change."};
	Path		path = {NULL, NIL, NIL};
	int			count = name_count(ref);

	if (!OidIsValid(dialect->change_type) || count == 0 || !IsA(linitial(ref->fields), String) ||
		strcmp(field_name(ref, 0), "change") != 0)
		return NULL;
	if (count == 1)
	{
		Param	   *whole = makeNode(Param);

		whole->paramkind = PARAM_EXTERN;
		whole->paramid = 1;
		whole->paramtype = dialect->change_type;
		whole->paramtypmod = -1;
		whole->location = ref->location;
		return (Node *) whole;
	}
	if (dialect->plain)
		return count == 2 ? scope_column(pstate, dialect, &change, field_name(ref, 1), ref->location) : NULL;
	if (!find_in_scope(pstate, dialect, &change, ref, 1, count, &path) &&
		!find_in_image(pstate, dialect, &change, ref, 1, count, &path))
		return NULL;
	return write_reference(pstate, dialect, ref, &path);
}

/* ---- steps in brackets, and behind brackets ---- */

/* A step in brackets: a key, a position, or an expression. */
static PathStep *
bracket_step(ParseState *pstate, Dialect *dialect, A_Indices *indices, int open, int close)
{
	PathStep   *step = palloc0(sizeof(PathStep));
	A_Const    *constant = (A_Const *) mcs_dialect_original(dialect, indices->uidx);

	if (indices->is_slice)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a path cannot take a slice of an array"),
				 mcs_dialect_error_at(dialect, dialect->tokens[open].at)));
	step->bracket = true;
	step->from = mcs_dialect_token_end(&dialect->tokens[open]);
	step->to = dialect->tokens[close].at;
	if (IsA(constant, A_Const) && !constant->isnull && IsA(&constant->val, String))
		step->key = strVal(&constant->val);
	else if (IsA(constant, A_Const) && !constant->isnull && IsA(&constant->val, Integer))
	{
		step->key = psprintf("%d", intVal(&constant->val));
		step->number = true;
	}
	else
		step->node = transformExpr(pstate, copyObject(indices->uidx), pstate->p_expr_kind);
	return step;
}

/* The steps of an indirection; i is the token behind which they stand.  False where one is a star. */
static bool
add_steps(ParseState *pstate, Dialect *dialect, List *indirection, int *i, Path *path)
{
	ListCell   *cell;

	foreach(cell, indirection)
	{
		PathStep   *step;

		if (IsA(lfirst(cell), A_Indices))
		{
			int			close = mcs_dialect_matching(dialect->tokens, *i + 1);

			step = bracket_step(pstate, dialect, lfirst(cell), *i + 1, close);
			*i = close;
		}
		else if (IsA(lfirst(cell), String))
		{
			DialectToken *token = &dialect->tokens[*i + 2];

			step = palloc0(sizeof(PathStep));
			step->key = token->type == TOKEN_WORD && dialect->text[token->at] != '"' ?
				pnstrdup(dialect->text + token->at, token->length) : pstrdup(strVal(lfirst(cell)));
			*i += 2;
		}
		else
			return false;
		path->steps = lappend(path->steps, step);
	}
	return true;
}

static bool
has_dotted_step(List *indirection)
{
	ListCell   *cell;

	foreach(cell, indirection)
		if (IsA(lfirst(cell), String))
			return true;
	return false;
}

/* PostgreSQL's own reading of an indirection, over what is analysed already. */
static Node *
plain_indirection(ParseState *pstate, Dialect *dialect, A_Indirection *node, Node *base)
{
	A_Indirection *plain = copyObject(node);

	plain->arg = mcs_dialect_hold(dialect, base, exprLocation(base));
	return transformExpr(pstate, (Node *) plain, pstate->p_expr_kind);
}

/* The base of an indirection that is a reference; *held is what it is if it is no path. */
static bool
indirection_base(ParseState *pstate, Dialect *dialect, ColumnRef *ref, Path *path, Node **held)
{
	int			edits = list_length(dialect->edits);

	*held = transformExpr(pstate, copyObject((Node *) ref), pstate->p_expr_kind);
	if (!if_has_paths(dialect, *held))
		return false;
	if (list_length(dialect->edits) == edits && !mcs_dialect_edited(dialect, ref->location, reference_end(dialect, ref)))
	{
		path->base = *held;
		path->base_text = list_make1(mcs_dialect_piece(pnstrdup(dialect->text + ref->location,
																 reference_end(dialect, ref) - ref->location)));
		return true;
	}
	if (IsA(linitial(ref->fields), String) && OidIsValid(dialect->change_type) && strcmp(field_name(ref, 0), "change") == 0)
	{
		Scope		change = {NULL, 0, true, "change."};

		return find_in_scope(pstate, dialect, &change, ref, 1, name_count(ref), path) ||
			find_in_image(pstate, dialect, &change, ref, 1, name_count(ref), path);
	}
	return resolve(pstate, dialect, ref, path);
}

/* d.a['b'].c, (d).a, d['a'].b, and the subscripts of SQL, which stay */
Node *
mcs_dialect_indirection(ParseState *pstate, A_Indirection *node)
{
	Dialect    *dialect = mcs_dialect_current;
	Path		path = {NULL, NIL, NIL};
	Node	   *original = mcs_dialect_original(dialect, node->arg);
	Node	   *held = NULL;
	bool		is_path;
	int			from;
	int			to;
	int			i;

	if (!mcs_dialect_extent(dialect, (Node *) node, &from, &to))
		return transformExpr(pstate, (Node *) node, pstate->p_expr_kind);
	if (IsA(original, ColumnRef))
	{
		is_path = indirection_base(pstate, dialect, (ColumnRef *) original, &path, &held);
		i = mcs_dialect_token_at(dialect, reference_end(dialect, (ColumnRef *) original)) - 1;
		while (dialect->tokens[i + 1].type == ')')
			i++;
	}
	else
	{
		int			inner_from;
		int			inner_to;

		held = transformExpr(pstate, copyObject(node->arg), pstate->p_expr_kind);
		is_path = if_has_paths(dialect, held) && mcs_dialect_extent(dialect, original, &inner_from, &inner_to);
		if (is_path)
		{
			i = mcs_dialect_token_at(dialect, inner_to) - 1;
			while (dialect->tokens[i + 1].type == ')')
				i++;
			path.base = held;
			path.base_text = list_make1(mcs_dialect_range(from, mcs_dialect_token_end(&dialect->tokens[i])));
		}
	}
	if (!is_path || (!has_dotted_step(node->indirection) && path.steps == NIL && !mcs_dialect_edited(dialect, from, from + 1)))
		return plain_indirection(pstate, dialect, node, held);
	if (IsA(original, ColumnRef) && dialect->text[from] == '(')
		path.base_text = lcons(mcs_dialect_piece("("), lappend(path.base_text, mcs_dialect_piece(")")));
	if (!add_steps(pstate, dialect, node->indirection, &i, &path))
		return plain_indirection(pstate, dialect, node, held);
	return finish(pstate, dialect, &path, from, to);
}
