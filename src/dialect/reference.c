/*
 * dialect/reference.c
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
 * a.* is the document a as one column, or as those that star.c finds for it.
 * In an expression over one document it is a path into the column "document",
 * or begins with that column.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "dialect/dialect_internal.h"
#include "event/event.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_expr.h"
#include "parser/parse_func.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The column whose fields names alone may be. */
static const char *
image_column(const Fragment *fragment)
{
	return fragment->mode == DIALECT_DOCUMENT ? "document" : "full_document";
}

/* The token of a reference's n-th name. */
static DialectToken *
reference_token(Fragment *fragment, ColumnRef *ref, int n)
{
	return &fragment->tokens[mcs_dialect_token_at(fragment, ref->location) + 2 * n];
}

/* A name of a reference as it was written, since fields of documents are not folded. */
static char *
written(Fragment *fragment, ColumnRef *ref, int n)
{
	char	   *name = mcs_dialect_spelling(fragment->text, reference_token(fragment, ref, n));

	return name ? name : pstrdup("");
}

/* The n-th name of a reference, folded. */
static char *
field_name(ColumnRef *ref, int n)
{
	return strVal(list_nth(ref->fields, n));
}

/* The names of a reference from one on, as steps. */
static List *
steps_from(Fragment *fragment, ColumnRef *ref, int first, int count)
{
	List	   *steps = NIL;

	for (int i = first; i < count; i++)
	{
		FieldStep  *step = palloc0(sizeof(FieldStep));

		step->key = written(fragment, ref, i);
		steps = lappend(steps, step);
	}
	return steps;
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
scope_column(ParseState *pstate, Fragment *fragment, const Scope *scope, const char *name, int location)
{
	if (scope->change)
	{
		Param	   *change = makeNode(Param);

		change->paramkind = PARAM_EXTERN;
		change->paramid = 1;
		change->paramtype = fragment->change_type;
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
mongo_column(Fragment *fragment, ColumnRef *ref, int first, int count, int *taken)
{
	const char *name = written(fragment, ref, first);

	*taken = 1;
	/* there are no events, and ns is a field like any other */
	if (fragment->mode == DIALECT_DOCUMENT)
		return NULL;
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
find_in_scope(ParseState *pstate, Fragment *fragment, const Scope *scope, ColumnRef *ref, int first, int count, FieldPath *path)
{
	Node	   *column = scope_column(pstate, fragment, scope, field_name(ref, first), ref->location);
	const char *name = field_name(ref, first);
	int			taken = 1;
	char	   *text;

	/* a column that has no fields is not what a.b means */
	if (column && first + 1 < count)
		column = mcs_dialect_if_has_paths(fragment, column);
	if (!column)
	{
		name = mongo_column(fragment, ref, first, count, &taken);
		column = name ? scope_column(pstate, fragment, scope, name, ref->location) : NULL;
		if (column && first + taken < count)
			column = mcs_dialect_if_has_paths(fragment, column);
	}
	if (!column)
		return false;
	path->base = column;
	text = scope->item || scope->change ? NULL : mcs_join_column(pstate, fragment, column, name);
	path->base_text = list_make1(mcs_dialect_text_piece(text ? text : psprintf("%s%s", scope->prefix, quote_identifier(name))));
	path->steps = steps_from(fragment, ref, first + taken, count);
	return true;
}

/* Takes names from one on as fields of the scope's document. */
static bool
find_in_image(ParseState *pstate, Fragment *fragment, const Scope *scope, ColumnRef *ref, int first, int count, FieldPath *path)
{
	const char *column = image_column(fragment);
	Node	   *image = mcs_dialect_if_has_paths(fragment, scope_column(pstate, fragment, scope, column, ref->location));
	char	   *text;

	/* no relation here holds events */
	if (!image)
		return false;
	path->base = image;
	text = scope->item || scope->change ? NULL : mcs_join_column(pstate, fragment, image, column);
	path->base_text = list_make1(mcs_dialect_text_piece(text ? text : psprintf("%s%s", scope->prefix, column)));
	path->steps = steps_from(fragment, ref, first, count);
	return true;
}

/* Takes names behind that of a function in FROM as fields of the one value it gives. */
static bool
find_in_only_column(ParseState *pstate, Fragment *fragment, const Scope *scope, ColumnRef *ref, int count, FieldPath *path)
{
	RangeTblEntry *entry = scope->item->p_rte;
	char	   *name;

	/* unnest(d.items) AS item: item.qty is a field of the one column, which PostgreSQL calls item.item */
	if (entry->rtekind != RTE_FUNCTION || list_length(entry->eref->colnames) != 1)
		return false;
	name = strVal(linitial(entry->eref->colnames));
	path->base = mcs_dialect_if_has_paths(fragment, scope_column(pstate, fragment, scope, name, ref->location));
	path->base_text = list_make1(mcs_dialect_text_piece(psprintf("%s%s", scope->prefix, quote_identifier(name))));
	path->steps = steps_from(fragment, ref, 1, count);
	return path->base != NULL;
}

/* ---- output columns ---- */

/* The SELECT that a reference stands in. */
static SelectStmt *
select_of(const Fragment *fragment, const ColumnRef *ref)
{
	return fragment->offsets ? fragment->offsets[ref->location].select : NULL;
}

typedef struct Mention
{
	const Fragment *fragment;
	const char *name;
} Mention;

/* Whether an expression uses a bare name. */
static bool
mentions(Node *node, Mention *mention)
{
	if (node == NULL)
		return false;
	node = mcs_dialect_original(mention->fragment, node);
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
find_output(ParseState *pstate, Fragment *fragment, ColumnRef *ref, int count, FieldPath *path)
{
	SelectStmt *select = select_of(fragment, ref);
	Mention		mention = {fragment, NULL};
	ListCell   *cell;

	foreach(cell, select ? select->targetList : NIL)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		int			from;
		int			to;

		/* only what stands before it: analysis has not come to later ones, and they could mean each other */
		if (!target->name || strcmp(target->name, field_name(ref, 0)) != 0 ||
			!mcs_dialect_extent(fragment, target->val, &from, &to) || to > ref->location)
			continue;
		/* SUM(price) AS price: elsewhere, too, price is what is summed */
		mention.name = target->name;
		if (mentions(target->val, &mention))
			continue;
		if (++fragment->outputs_used > DIALECT_MAX_OUTPUTS_USED)
			mcs_dialect_too_long();
		/* analysed once more, in this place; the text has it once more, too */
		path->base = transformExpr(pstate, copyObject(target->val), pstate->p_expr_kind);
		if (count > 1 && !mcs_dialect_if_has_paths(fragment, path->base))
			return false;
		path->base_text = list_make3(mcs_dialect_text_piece("("), mcs_dialect_range_piece(from, to), mcs_dialect_text_piece(")"));
		path->steps = steps_from(fragment, ref, 1, count);
		return true;
	}
	return false;
}

/* ---- names of the surroundings ---- */

/* A parameter that stands for a variable. */
static Node *
parameter(int number, Oid type, int location)
{
	Param	   *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = number;
	param->paramtype = type;
	param->paramtypmod = -1;
	param->paramcollid = get_typcollation(type);
	param->location = location;
	return (Node *) param;
}

/* The expression that gave an added field its value. */
static Node *
added_field(ParseState *pstate, const DialectVariable *name)
{
	RawStmt    *statement = linitial_node(RawStmt, raw_parser(name->text, RAW_PARSE_PLPGSQL_EXPR));
	ResTarget  *target = linitial_node(ResTarget, ((SelectStmt *) statement->stmt)->targetList);

	return transformExpr(pstate, target->val, pstate->p_expr_kind);
}

/* The type of a record's field, InvalidOid where it has none or is not known. */
static Oid
field_type(const DialectVariable *name, const char *field)
{
	for (int i = 0; name->fields && i < name->fields->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(name->fields, i)->attname), field) == 0)
			return TupleDescAttr(name->fields, i)->atttypid;
	return InvalidOid;
}

/*
 * The value a reference's first name stands for, or its first two where they
 * are a record and a field; taken is how many.  What has no known type becomes
 * a parameter that takes one from what is around it.
 */
static Node *
variable_value(ParseState *pstate, DialectVariable *name, ColumnRef *ref, int *taken)
{
	Fragment   *fragment = mcs_dialect_current;
	int			count = *taken;
	Oid			type;

	*taken = 1;
	if (name->text)
		return added_field(pstate, name);
	if (OidIsValid(name->type) && (count == 1 || !type_is_rowtype(name->type)))
		return parameter(name->number, name->type, ref->location);
	if (count > 1)
	{
		char	   *field = strVal(lsecond(ref->fields));

		*taken = 2;
		if (OidIsValid(name->type) && name->type != RECORDOID)
			return ParseFuncOrColumn(pstate, list_make1(makeString(field)),
									 list_make1(parameter(name->number, name->type, ref->location)), NULL, NULL, false, ref->location);
		type = field_type(name, field);
		if (OidIsValid(type))
			return parameter(name->number, type, ref->location);
	}
	*taken = count;
	/* as for $1: the type is what is around it needs */
	if (fragment->param_hook)
	{
		ParamRef   *unknown = makeNode(ParamRef);

		unknown->number = name->number;
		unknown->location = ref->location;
		return fragment->param_hook(pstate, unknown);
	}
	return NULL;
}

/* A variable of the block, or a field that the pipeline has added. */
static bool
find_variable(ParseState *pstate, Fragment *fragment, ColumnRef *ref, int count, FieldPath *path)
{
	for (int i = list_length(fragment->variables) - 1; i >= 0; i--)
	{
		DialectVariable *name = list_nth(fragment->variables, i);

		if (strcmp(name->name, field_name(ref, 0)) != 0)
			continue;
		/* what an added field stands for has to be put in its place */
		if (name->text && fragment->plain)
			return false;
		name->number = fragment->first_variable + i + 1;
		path->base = variable_value(pstate, name, ref, &count);
		if (path->base == NULL)
			return false;
		if (count < list_length(ref->fields) && IsA(llast(ref->fields), String) && !mcs_dialect_if_has_paths(fragment, path->base))
			return false;
		path->base_text = NIL;
		if (name->text)
			path->base_text = list_make1(mcs_dialect_text_piece(name->text));
		else
		{
			DialectToken *last = reference_token(fragment, ref, count - 1);

			path->base_text = list_make1(mcs_dialect_text_piece(pnstrdup(fragment->text + ref->location,
																	 mcs_dialect_token_end(last) - ref->location)));
		}
		path->steps = steps_from(fragment, ref, count, list_length(ref->fields));
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
resolve(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	int			count = name_count(ref);
	Scope		all = {NULL, 0, false, ""};
	Scope		one = {NULL, 0, false, NULL};

	if (count == 0 || ref->location < 0 || ref->location >= fragment->size)
		return false;
	one.prefix = psprintf("%s.", quote_identifier(field_name(ref, 0)));
	/* in WHEN of a trigger there is nothing else that change. could mean */
	if (fragment->change_is_row && count > 1 && strcmp(field_name(ref, 0), "change") == 0)
		return find_in_scope(pstate, fragment, &all, ref, 1, count, path) ||
			find_in_image(pstate, fragment, &all, ref, 1, count, path);
	/* an expression over a row has no output columns */
	if (fragment->mode != DIALECT_FILTER && fragment->mode != DIALECT_DOCUMENT && count == 1 && find_output(pstate, fragment, ref, count, path))
		return true;
	if (find_in_scope(pstate, fragment, &all, ref, 0, count, path))
		return true;
	if (count > 1)
	{
		/* a relation by its name, before fields of documents: it is what SQL would mean */
		one.item = refnameNamespaceItem(pstate, NULL, field_name(ref, 0), ref->location, &one.levels);
		if (one.item)
			return find_in_scope(pstate, fragment, &one, ref, 1, count, path) ||
				find_in_image(pstate, fragment, &one, ref, 1, count, path) ||
				find_in_only_column(pstate, fragment, &one, ref, count, path);
		if (find_output(pstate, fragment, ref, count, path))
			return true;
	}
	/* then what the surroundings know */
	if (find_variable(pstate, fragment, ref, count, path))
		return true;
	/* at last a field of the document, which any name may be */
	return (fragment->bare_names || count > 1) && find_in_image(pstate, fragment, &all, ref, 0, count, path);
}

/* Whether a reference begins with the row "change" of a handler's body. */
static bool
is_change(const Fragment *fragment, ColumnRef *ref)
{
	return OidIsValid(fragment->change_type) && IsA(linitial(ref->fields), String) && strcmp(field_name(ref, 0), "change") == 0;
}

/* Finds what a reference that begins with "change" means. */
static bool
resolve_change(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	Scope		change = {NULL, 0, true, "change."};

	return find_in_scope(pstate, fragment, &change, ref, 1, name_count(ref), path) ||
		find_in_image(pstate, fragment, &change, ref, 1, name_count(ref), path);
}

/* Finds the path that a reference means; false where it is none. */
bool
mcs_dialect_resolve(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	return is_change(fragment, ref) ? resolve_change(pstate, fragment, ref, path) : resolve(pstate, fragment, ref, path);
}

/* Where a reference ends in the text, without its star. */
int
mcs_dialect_reference_end(Fragment *fragment, ColumnRef *ref)
{
	return mcs_dialect_token_end(reference_token(fragment, ref, name_count(ref) - 1));
}

/* Writes what a reference was found to be; a plain column stays where it has that name already. */
static Node *
write_reference(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	int			end = mcs_dialect_reference_end(fragment, ref);

	if (path->steps)
		return mcs_dialect_write_path(pstate, fragment, path, ref->location, end);
	if (list_length(path->base_text) != 1 ||
		pg_strncasecmp(((DialectPiece *) linitial(path->base_text))->text, fragment->text + ref->location, end - ref->location) != 0 ||
		strlen(((DialectPiece *) linitial(path->base_text))->text) != end - ref->location)
	{
		fragment->found_dialect = true;
		mcs_dialect_edit_pieces(fragment, EDIT_REPLACE, ref->location, end, path->base_text);
	}
	return path->base;
}

/* d.* where a mirror says which fields there are: the mirror's columns; NULL where none does */
static Node *
mirrored_star(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	RowExpr    *row = makeNode(RowExpr);
	DialectToken *star = reference_token(fragment, ref, name_count(ref));
	List	   *columns = NIL;
	StringInfoData text;
	ListCell   *cell;

	if (path->steps == NIL && list_length(path->base_text) == 1 && ((DialectPiece *) linitial(path->base_text))->text)
		columns = mcs_dialect_star_columns(pstate, fragment, select_of(fragment, ref), path->base,
										   ((DialectPiece *) linitial(path->base_text))->text);
	if (columns == NIL)
		return NULL;
	initStringInfo(&text);
	foreach(cell, columns)
	{
		DialectStarColumn *column = lfirst(cell);

		appendStringInfo(&text, "%s%s AS %s", foreach_current_index(cell) ? ", " : "", column->text, quote_identifier(column->name));
		/* analysis copies the row for each of its columns; for what it says of the document's own column, one of them is enough */
		row->args = lappend(row->args, row->args ? (Node *) makeNullConst(exprType(column->value), exprTypmod(column->value), get_typcollation(exprType(column->value))) : column->value);
		row->colnames = lappend(row->colnames, makeString(column->name));
	}
	if ((star + 1)->at == mcs_dialect_token_end(star) && (star + 1)->value)
		appendStringInfoChar(&text, ' ');
	fragment->found_dialect = true;
	mcs_dialect_edit(fragment, EDIT_REPLACE, ref->location, mcs_dialect_token_end(star), text.data);
	row->row_typeid = RECORDOID;
	row->row_format = COERCE_EXPLICIT_CALL;
	row->location = -1;
	return (Node *) row;
}

/* d.*: the document goes on as one column */
static Node *
document_star(ParseState *pstate, Fragment *fragment, ColumnRef *ref, FieldPath *path)
{
	RowExpr    *row = makeNode(RowExpr);
	DialectToken *last = reference_token(fragment, ref, name_count(ref) - 1);
	DialectToken *star = last + 2;

	fragment->found_dialect = true;
	row->args = list_make1(write_reference(pstate, fragment, ref, path));
	row->row_typeid = RECORDOID;
	/* analysis expands the star of a row into its columns, here one */
	row->row_format = COERCE_EXPLICIT_CALL;
	row->colnames = list_make1(makeString(pstrdup(field_name(ref, name_count(ref) - 1))));
	row->location = -1;
	mcs_dialect_edit(fragment, EDIT_REPLACE, (last + 1)->at, mcs_dialect_token_end(star),
					 (star + 1)->at == mcs_dialect_token_end(star) && (star + 1)->value ? " " : "");
	if (path->steps)
		mcs_dialect_edit(fragment, EDIT_AFTER, mcs_dialect_token_end(star), mcs_dialect_token_end(star),
						 psprintf(" AS %.*s", last->length, fragment->text + last->at));
	return (Node *) row;
}

/* Asked for each reference, with what SQL has found for it. */
Node *
mcs_dialect_post_columnref_hook(ParseState *pstate, ColumnRef *ref, Node *found)
{
	Fragment   *fragment = mcs_dialect_current;
	FieldPath	path = {NULL, NIL, NIL};
	Node	   *row;
	char	   *text;

	CHECK_FOR_INTERRUPTS();
	/* SQL comes first: what it finds keeps its meaning, if not its text */
	if (found)
	{
		text = list_length(ref->fields) > 1 || ref->location < 0 || ref->location >= fragment->size ? NULL :
			mcs_join_column(pstate, fragment, found, field_name(ref, 0));
		if (text)
			mcs_dialect_edit(fragment, EDIT_REPLACE, ref->location, mcs_dialect_reference_end(fragment, ref), text);
		return NULL;
	}
	if (fragment->plain ? !find_variable(pstate, fragment, ref, name_count(ref), &path) || path.steps : !resolve(pstate, fragment, ref, &path))
		return NULL;
	if (fragment->plain)
		return path.base;
	if (!IsA(llast(ref->fields), A_Star))
		return write_reference(pstate, fragment, ref, &path);
	if (!mcs_dialect_if_has_paths(fragment, path.base))
		return NULL;
	row = mirrored_star(pstate, fragment, ref, &path);
	return row ? row : document_star(pstate, fragment, ref, &path);
}

/* Asked before columns are looked for: "change" comes first in the body of a handler. */
Node *
mcs_dialect_pre_columnref_hook(ParseState *pstate, ColumnRef *ref)
{
	Fragment   *fragment = mcs_dialect_current;
	Scope		change = {NULL, 0, true, "change."};
	FieldPath	path = {NULL, NIL, NIL};
	int			count = name_count(ref);

	if (count == 0 || !is_change(fragment, ref))
		return NULL;
	if (count == 1)
	{
		Param	   *row = makeNode(Param);

		row->paramkind = PARAM_EXTERN;
		row->paramid = 1;
		row->paramtype = fragment->change_type;
		row->paramtypmod = -1;
		row->location = ref->location;
		return (Node *) row;
	}
	if (fragment->plain)
		return count == 2 ? scope_column(pstate, fragment, &change, field_name(ref, 1), ref->location) : NULL;
	if (!resolve_change(pstate, fragment, ref, &path))
		return NULL;
	return write_reference(pstate, fragment, ref, &path);
}
