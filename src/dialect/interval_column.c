/*
 * dialect/interval_column.c
 *	  Columns of a statement's result that are differences of dates, as intervals.
 *
 * What is a difference of dates for certain is cast to interval.  Of two documents
 * it is not known, and a view's column has one type for all rows: who makes one is
 * told what to write.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "utils/builtins.h"

/* The item of a select list that has no name of its own; NULL: it has one. */
static DialectUnnamedTarget *
unnamed_target(const Fragment *fragment, const ResTarget *target)
{
	ListCell   *cell;

	foreach(cell, fragment->unnamed_targets)
		if (((DialectUnnamedTarget *) lfirst(cell))->value == target->val)
			return lfirst(cell);
	return NULL;
}

/* Casts an item of the select list, which keeps its name. */
static void
cast_item(Fragment *fragment, const ResTarget *target, TargetEntry *column)
{
	DialectUnnamedTarget *unnamed = unnamed_target(fragment, target);
	int			from;
	int			to;
	int			first;
	bool		bracketed;

	if (target->location < 0 || !mcs_dialect_extent(fragment, target->val, &from, &to))
		return;
	from = target->location;
	to = mcs_dialect_item_end(fragment, from, to);
	first = mcs_dialect_token_at(fragment, from);
	bracketed = fragment->tokens[first].type == '(' &&
		mcs_dialect_token_end(&fragment->tokens[mcs_dialect_closing_bracket(fragment->tokens, first)]) == to;
	/* younger than all others, so it is around the item and in no place that the item is repeated in */
	mcs_dialect_wrap(fragment, from, to, bracketed ? "" : "(", bracketed ? "::interval" : ")::interval");
	fragment->intervals = lappend(fragment->intervals, column);
	/* a cast would call it interval */
	if (unnamed && strcmp(unnamed->name, "?column?") == 0)
		mcs_dialect_edit(fragment, EDIT_AFTER, to, to, psprintf(" AS %s", quote_identifier(unnamed->name)));
	fragment->found_dialect = true;
}

/* The analysed column of an item; NULL where it is not known which one, between two stars. */
static TargetEntry *
analysed_column(const List *items, int number, const List *columns)
{
	int			behind = list_length(items) - 1 - number;
	bool		star_before = false;
	bool		star_behind = false;
	int			last = -1;
	ListCell   *cell;

	foreach(cell, items)
	{
		if (!mcs_dialect_has_star(lfirst_node(ResTarget, cell)->val))
			continue;
		star_before |= foreach_current_index(cell) < number;
		star_behind |= foreach_current_index(cell) > number;
	}
	if (!star_before)
		return list_nth(columns, number);
	foreach(cell, columns)
		if (!lfirst_node(TargetEntry, cell)->resjunk)
			last = foreach_current_index(cell);
	return star_behind ? NULL : list_nth(columns, last - behind);
}

void
mcs_interval_column_cast(Fragment *fragment, const SelectStmt *select, const Query *query)
{
	ListCell   *cell;

	/* SELECT INTO: the query stands within a statement that makes a table */
	if (query->commandType == CMD_UTILITY && IsA(query->utilityStmt, CreateTableAsStmt))
	{
		fragment->makes_columns = true;
		query = castNode(Query, castNode(CreateTableAsStmt, query->utilityStmt)->query);
	}
	if (query->commandType != CMD_SELECT)
		return;
	/* of DISTINCT, ORDER BY needs the same expressions */
	if (select->op != SETOP_NONE || query->setOperations || (select->distinctClause && select->sortClause))
		return;
	foreach(cell, select->targetList)
	{
		ResTarget  *target = lfirst_node(ResTarget, cell);
		TargetEntry *column;
		DurationKind kind;

		if (mcs_dialect_has_star(target->val))
			continue;
		column = analysed_column(select->targetList, foreach_current_index(cell), query->targetList);
		kind = column ? mcs_duration_kind(query, column) : DURATION_NONE;
		if (kind == DURATION_SURE)
			cast_item(fragment, target, column);
		else if (kind == DURATION_MAYBE)
			fragment->maybe_durations = lappend(fragment->maybe_durations, column);
	}
}

/* Says it where a column that lasts may be a difference of dates. */
void
mcs_interval_column_tell(const Fragment *fragment)
{
	ListCell   *cell;

	foreach(cell, fragment->makes_columns ? fragment->maybe_durations : NIL)
		ereport(NOTICE,
				(errmsg("column \"%s\" is a document, and may be a number of milliseconds", lfirst_node(TargetEntry, cell)->resname),
				 errdetail("Whether two documents are dates or numbers is known only when they are subtracted."),
				 errhint("If they are dates, write (a - b)::interval.")));
}
