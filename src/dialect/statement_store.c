/*
 * dialect/statement_store.c
 *	  CREATE EVENT_STORE n [WITH (...)] AS SELECT ...: a table with the columns
 *	  of the SELECT that only grows, a stream, and the handler that fills it.
 *
 * The handler runs the SELECT once for each event, over the one row that
 * "change" is.  Its condition is the stream's filter, too, so that other events
 * do not come at all.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* Refuses what makes no sense for one event at a time. */
static void
refuse(const TokenReader *reader, int at, const char *what)
{
	int			token = 0;

	while (token < reader->end && reader->tokens[token].at < at)
		token++;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the SELECT of an event store cannot have %s", what),
			 errdetail("It runs once for each event."),
			 errhint("Query the event store, or a view over it."),
			 mcs_reader_error_position(reader, token)));
}

/* ORDER BY cluster_time is how events come; nothing else can be kept. */
static void
check_order(const TokenReader *reader, const SelectStmt *select, int base)
{
	ListCell   *cell;

	foreach(cell, select->sortClause)
	{
		SortBy	   *sort = lfirst_node(SortBy, cell);
		ColumnRef  *ref = (ColumnRef *) sort->node;

		if (!IsA(ref, ColumnRef) || !IsA(llast(ref->fields), String) || strcmp(strVal(llast(ref->fields)), "cluster_time") != 0 ||
			sort->sortby_dir == SORTBY_DESC)
			refuse(reader, base + Max(exprLocation(sort->node), 0), "an ORDER BY other than cluster_time");
	}
}

/* Checks what shows before analysis. */
static const SelectStmt *
check_select(const TokenReader *reader, const Fragment *fragment)
{
	List	   *parsed = raw_parser(fragment->parsed, RAW_PARSE_DEFAULT);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	Node	   *from;

	if (!IsA(select, SelectStmt))
		refuse(reader, fragment->source_offset, "anything but SELECT");
	/* none of these means anything for the one row of an event */
	if (select->op != SETOP_NONE)
		refuse(reader, fragment->source_offset, "UNION, INTERSECT or EXCEPT");
	if (select->groupClause)
		refuse(reader, fragment->source_offset + Max(exprLocation(linitial(select->groupClause)), 0), "GROUP BY");
	if (select->havingClause)
		refuse(reader, fragment->source_offset, "HAVING");
	if (select->distinctClause)
		refuse(reader, fragment->source_offset, "DISTINCT");
	if (select->limitCount || select->limitOffset)
		refuse(reader, fragment->source_offset + Max(exprLocation(select->limitCount ? select->limitCount : select->limitOffset), 0), "LIMIT");
	check_order(reader, select, fragment->source_offset);
	from = list_length(select->fromClause) == 1 ? linitial(select->fromClause) : NULL;
	if (list_length(fragment->change_streams) != 1 || !from || !IsA(from, RangeVar) || !mcs_dialect_find_placeholder(fragment, (RangeVar *) from))
		refuse(reader, fragment->source_offset, "another FROM than one CHANGE_STREAM");
	return select;
}

/* The relations that a condition calls by name. */
static bool
names_relation(Node *node, const char *name)
{
	if (node == NULL)
		return false;
	/* a sub-select may name it anywhere */
	if (IsA(node, SubLink))
		return true;
	if (IsA(node, ColumnRef))
	{
		Node	   *first = linitial(((ColumnRef *) node)->fields);

		return IsA(first, String) && list_length(((ColumnRef *) node)->fields) > 1 && strcmp(strVal(first), name) == 0;
	}
	return raw_expression_tree_walker(node, names_relation, (void *) name);
}

/* The condition of WHERE as the stream's filter; NULL where a filter cannot say it. */
static char *
where_filter(const Fragment *fragment, const SelectStmt *select)
{
	static const char *const ends[] = {"ORDER", NULL};
	const RangeVar *from = linitial(select->fromClause);
	const DialectRelation *relation = linitial(fragment->change_streams);
	int			first = 0;
	int			end;

	/* a filter is over the columns alone: it knows no name of the relation */
	if (!select->whereClause ||
		names_relation(select->whereClause, from->alias ? from->alias->aliasname : relation->folded ? relation->folded : "all_changes"))
		return NULL;
	for (int i = 0; i < fragment->token_count && !first; i++)
	{
		if (fragment->tokens[i].type == '(')
			i = mcs_dialect_closing_bracket(fragment->tokens, i);
		else if (mcs_dialect_word_is(fragment, i, "WHERE"))
			first = i + 1;
	}
	for (end = first; end < fragment->token_count && !mcs_dialect_token_is_any(fragment->text, &fragment->tokens[end], ends); end++)
		if (fragment->tokens[end].type == '(')
			end = mcs_dialect_closing_bracket(fragment->tokens, end);
	if (!first || end <= first)
		return NULL;
	return mcs_dialect_event_expression(fragment->namespace, fragment->source, fragment->source_offset + fragment->tokens[first].at,
										fragment->source_offset + mcs_dialect_token_end(&fragment->tokens[end - 1]), NIL, true, true);
}

/* The columns of the table, as the SELECT makes them. */
static char *
table_columns(const TokenReader *reader, const Fragment *fragment)
{
	StringInfoData columns;
	ListCell   *cell;

	initStringInfo(&columns);
	foreach(cell, fragment->result)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		Oid			type = exprType((Node *) target->expr);

		/* what ORDER BY needs is no column of the result */
		if (target->resjunk)
			continue;
		appendStringInfo(&columns, "%s\n  %s %s", columns.len ? "," : "", quote_identifier(target->resname),
						 type == UNKNOWNOID ? "text" : format_type_with_typemod(type, exprTypmod((Node *) target->expr)));
	}
	if (columns.len == 0)
		refuse(reader, fragment->source_offset, "no columns");
	return columns.data;
}

/* The value of an option that was given, else NULL. */
static const char *
option(const StreamClauses *clauses, const char *name)
{
	ListCell   *cell;

	foreach(cell, clauses->options)
	{
		StatementOption *given = lfirst(cell);

		if (strcmp(given->name, name) == 0)
			return given->value;
	}
	return NULL;
}

/* Adds full_document => 'updateLookup' where the SELECT reads the document and nothing else is said. */
static void
default_image(StreamClauses *clauses, const Fragment *fragment, const char *select)
{
	const char *image = "full_document";
	bool		used = false;

	/*
	 * by the translated text, where each path begins with the column's name;
	 * full_document_before_change is another
	 */
	for (const char *at = select; (at = strstr(at, image)) != NULL; at += strlen(image))
		used |= strncmp(at, "full_document_", strlen("full_document_")) != 0;
	if (used && !option(clauses, image))
	{
		StatementOption *added = palloc0(sizeof(StatementOption));

		added->name = image;
		added->value = "'updateLookup'";
		clauses->options = lappend(clauses->options, added);
	}
}

/* Tells with which changes the store begins, as that cannot be changed later. */
static void
tell_start(const StreamClauses *clauses, const char *name)
{
	static const char *const positions[] = {"start_at", "resume_after", "start_after", NULL};

	for (int i = 0; positions[i]; i++)
	{
		const char *value = option(clauses, positions[i]);

		if (value)
		{
			ereport(NOTICE, (errmsg("event store \"%s\" begins with %s %s", name, positions[i], value)));
			return;
		}
	}
	ereport(NOTICE,
			(errmsg("event store \"%s\" begins with the changes from now on", name),
			 errhint("WITH (start_at = 'earliest') begins with the oldest that MongoDB still has.")));
}

/* CREATE EVENT_STORE n [WITH (...)] AS SELECT ... */
char *
mcs_dialect_create_event_store(TokenReader *reader)
{
	StreamClauses clauses = {0};
	char	   *name = mcs_reader_name(reader, "the event store");
	Fragment   *fragment;
	const SelectStmt *select;
	DialectRelation *relation;
	char	   *filter;
	char	   *rows;
	StringInfoData out;
	ErrorContextCallback callback = {error_context_stack, mcs_dialect_error_callback, NULL};

	/* n [WITH (...)] AS SELECT */
	if (mcs_reader_skip(reader, "WITH"))
		mcs_dialect_read_options(reader, &clauses.options, false);
	mcs_reader_expect(reader, "AS");
	if (mcs_reader_at_end(reader))
		mcs_reader_syntax_error(reader, "SELECT is expected here.");
	fragment = mcs_dialect_begin_fragment(reader->namespace, reader->source, reader->tokens[reader->current].at,
								mcs_dialect_token_end(&reader->tokens[reader->end - 1]), DIALECT_STATEMENT);
	fragment->change_type = mcs_dialect_row_type(fragment->namespace, "change_stream_events");
	fragment->one_event = true;
	callback.arg = fragment;
	/* check_select parses, and may be the first to do so */
	error_context_stack = &callback;
	select = check_select(reader, fragment);
	error_context_stack = callback.previous;
	/* this analyses it, too, so that the columns are known from here on */
	rows = mcs_dialect_translate_fragment(fragment);
	/* known only after analysis, as functions look alike before */
	if (fragment->has_aggregates)
		refuse(reader, fragment->source_offset, "aggregate or window functions");
	/* what the SELECT reads from is what the stream follows */
	relation = linitial(fragment->change_streams);
	clauses.collection = relation->collection;
	clauses.database = relation->database;
	filter = where_filter(fragment, select);
	if (filter)
		clauses.filters = list_make1(filter);
	default_image(&clauses, fragment, rows);
	tell_start(&clauses, name);

	initStringInfo(&out);
	/*
	 * the table first: the handler's body is checked against it; its SELECT
	 * runs once for each event, over "change"
	 */
	appendStringInfo(&out, "CREATE TABLE %s (%s\n);\n", quote_identifier(name), table_columns(reader, fragment));
	/* events are not changed afterwards */
	appendStringInfo(&out, "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %s"
					 " FOR EACH STATEMENT EXECUTE FUNCTION %s();\n",
					 quote_identifier(name), mcs_dialect_function_name(reader->namespace, "change_stream_append_only"));
	appendStringInfo(&out, "SELECT %s(%s", mcs_dialect_function_name(reader->namespace, "create_change_stream"), quote_literal_cstr(name));
	mcs_dialect_write_arguments(&out, &clauses, true);
	appendStringInfo(&out, ");\nSELECT %s(%s, %s, body => %s, start_at => 'earliest')",
					 mcs_dialect_function_name(reader->namespace, "create_change_handler"), quote_literal_cstr(name), quote_literal_cstr(name),
					 mcs_dialect_dollar_quote(psprintf("BEGIN\nINSERT INTO %s\n%s;\nEND", quote_identifier(name), rows), "body"));
	return out.data;
}
