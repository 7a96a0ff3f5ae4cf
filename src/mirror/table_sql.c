/*
 * mirror/table_sql.c
 *	  The statements that write and read a mirror's table, and their plans.
 *
 * They are plain SQL, made once for a table as it is; a distributed table takes
 * them, too.  Each name and operator is qualified.  Plans are kept as long as the
 * table stays open, and are made without sequential scans, since a table that was
 * empty when a statement was first planned may have a million rows the next
 * minute, and nothing would tell.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "mirror/mirror_internal.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"

/* A name with its schema. */
static char *
qualified(Oid namespace, const char *name)
{
	return quote_qualified_identifier(get_namespace_name(namespace), name);
}

/* ---- parts ---- */

/* What arrays of a column's values are unnested to. */
static void
append_unnest(StringInfo sql, const TableColumn *column, int parameter)
{
	appendStringInfo(sql, "pg_catalog.unnest($%d)", parameter);
	if (column->as_text)
		appendStringInfo(sql, "::%s", format_type_extended(column->base, -1, FORMAT_TYPE_FORCE_QUALIFY));
}

/*
 * Whether the row of a document that is there again gets its _id, too, which is
 * equal and may have other bytes.  Without marks it was deleted before.
 */
static bool
sets_id(const MirrorTable *table)
{
	return table->id_is_document && table->definition.on_delete == MIRROR_ON_DELETE_MARK;
}

/* Whether rows are compared at all: else _id and the time are all that there is. */
static bool
compares(const MirrorTable *table)
{
	return table->column_count > (table->changed_at ? 2 : 1) || sets_id(table);
}

/* A column of the row that is to be: of a conflict's, or of the arrays. */
static char *
new_column(const MirrorTable *table, int number, bool excluded)
{
	return excluded ? psprintf("excluded.%s", quote_identifier(table->columns[number].name)) : psprintf("u.c%d", number);
}

/* That a row differs: the bytes, as 1 equals 1.0. */
static void
append_differs(StringInfo sql, const MirrorTable *table, bool excluded)
{
	StringInfoData here,
				there;
	const char *comma = "";

	initStringInfo(&here);
	initStringInfo(&there);
	for (int i = sets_id(table) ? 0 : 1; i < table->column_count; i++)
	{
		const TableColumn *column = &table->columns[i];

		/* the time alone is no difference */
		if (column == table->changed_at)
			continue;
		appendStringInfo(&here, "%sm.%s", comma, quote_identifier(column->name));
		/* images are compared of one type only */
		if (!excluded && column->type != column->base)
			appendStringInfo(&here, "::%s", format_type_extended(column->base, -1, FORMAT_TYPE_FORCE_QUALIFY));
		appendStringInfo(&there, "%s%s", comma, new_column(table, i, excluded));
		comma = ", ";
	}
	if (compares(table))
		appendStringInfo(sql, "ROW(%s)::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(%s)::pg_catalog.record", here.data, there.data);
	if (table->has_deleted_at)
		appendStringInfo(sql, "%sm.\"%s\" IS NOT NULL", compares(table) ? " OR " : "", MIRROR_DELETED_AT);
}

/* What a row that is there becomes. */
static void
append_set(StringInfo sql, const MirrorTable *table, bool excluded)
{
	const char *comma = "";

	for (int i = sets_id(table) ? 0 : 1; i < table->column_count; i++)
	{
		appendStringInfo(sql, "%s%s = %s", comma, quote_identifier(table->columns[i].name), new_column(table, i, excluded));
		comma = ", ";
	}
	if (table->has_deleted_at)
		appendStringInfo(sql, "%s\"%s\" = NULL", comma, MIRROR_DELETED_AT);
}

/* What happens to rows that are there. */
static void
append_conflict(StringInfo sql, const MirrorTable *table)
{
	appendStringInfo(sql, " ON CONFLICT (\"%s\") DO ", MIRROR_ID);
	if (!compares(table) && !table->has_deleted_at)
	{
		appendStringInfoString(sql, "NOTHING");
		return;
	}
	appendStringInfoString(sql, "UPDATE SET ");
	append_set(sql, table, true);
	appendStringInfoString(sql, " WHERE ");
	append_differs(sql, table, true);
}

/* ---- statements ---- */

/* INSERT ... SELECT unnest: without a FROM the rows are not gathered before they are inserted. */
static char *
insert_sql(const MirrorTable *table, const char *name, bool upsert)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s AS m (", name);
	for (int i = 0; i < table->column_count; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_identifier(table->columns[i].name));
	appendStringInfoString(&sql, ") SELECT ");
	for (int i = 0; i < table->column_count; i++)
	{
		if (i)
			appendStringInfoString(&sql, ", ");
		append_unnest(&sql, &table->columns[i], i + 1);
	}
	if (upsert)
		append_conflict(&sql, table);
	return sql.data;
}

/* An operator on _id, by its number in btree, as the unique index has it. */
static char *
id_operator(const MirrorTable *table, StrategyNumber strategy)
{
	Relation	index = index_open(table->index, AccessShareLock);
	Oid			type = index->rd_opcintype[0];
	Oid			operator = get_opfamily_member(index->rd_opfamily[0], type, type, strategy);
	char	   *result;

	index_close(index, NoLock);
	if (!OidIsValid(operator))
		elog(ERROR, "the index on _id has no operator %d", strategy);
	result = get_opname(operator);
	return psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(get_func_namespace(get_opcode(operator)))), result);
}

/* What tells of a row: _id as the column has it, the same as a document, and the _id of the row's document. */
static char *
row_ids(const MirrorTable *table)
{
	char	   *key = psprintf("m.\"%s\"", MIRROR_ID);
	char	   *key_document = table->id_is_document ? key
		: psprintf("%s(%s)", qualified(mcs_extension_schema(), "to_document"), key);

	return psprintf("%s, %s, %s", key, key_document,
					!table->id_is_document && table->document ? psprintf("(m.\"%s\")['%s']", MIRROR_DOCUMENT, MIRROR_ID) : "NULL");
}

/* Rows by _id, for who compares them. */
static char *
rows_sql(const MirrorTable *table, const char *own, const char *equal)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT u.n");
	for (int i = 0; i < table->column_count; i++)
		appendStringInfo(&sql, ", m.%s", quote_identifier(table->columns[i].name));
	appendStringInfo(&sql, " FROM (SELECT pg_catalog.unnest($1) AS i, pg_catalog.unnest($2) AS n) AS u, %s AS m "
					 "WHERE m.\"%s\" %s u.i", own, MIRROR_ID, equal);
	if (table->definition.on_delete == MIRROR_ON_DELETE_MARK)
		appendStringInfo(&sql, " AND m.\"%s\" IS NULL", MIRROR_DELETED_AT);
	return sql.data;
}

/*
 * Of rows that are all there: less work than an INSERT that finds each of them in
 * its way.  Not of those that a trigger may change before they are written, which
 * would differ for ever.
 */
static char *
update_sql(const MirrorTable *table, Relation relation, const char *own, const char *equal)
{
	StringInfoData sql;
	TriggerDesc *triggers = relation->trigdesc;

	if (relation->rd_rel->relkind != RELKIND_RELATION || relation->rd_rules || (!compares(table) && !table->has_deleted_at) ||
		(triggers && (triggers->trig_insert_before_row || triggers->trig_update_before_row)))
		return NULL;
	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s AS m SET ", own);
	append_set(&sql, table, false);
	appendStringInfoString(&sql, " FROM (SELECT ");
	for (int i = 0; i < table->column_count; i++)
	{
		if (i)
			appendStringInfoString(&sql, ", ");
		append_unnest(&sql, &table->columns[i], i + 1);
		appendStringInfo(&sql, " AS c%d", i);
	}
	appendStringInfo(&sql, ") AS u WHERE m.\"%s\" %s u.c0 AND (", MIRROR_ID, equal);
	append_differs(&sql, table, false);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* All of them. */
void
mcs_mirror_make_statements(MirrorTable *table, Relation relation)
{
	const char *name = qualified(RelationGetNamespace(relation), RelationGetRelationName(relation));
	bool		has_children = relation->rd_rel->relkind == RELKIND_RELATION && has_subclass(RelationGetRelid(relation)) &&
		find_inheritance_children(RelationGetRelid(relation), NoLock) != NIL;

	/* rows of tables that inherit from it are not the mirror's, of partitions they are */
	const char *own = has_children ? psprintf("ONLY %s", name) : name;
	const char *equal = id_operator(table, BTEqualStrategyNumber);
	const char *greater = id_operator(table, BTGreaterStrategyNumber);
	const char *less = id_operator(table, BTLessStrategyNumber);
	bool		marks = table->definition.on_delete == MIRROR_ON_DELETE_MARK;

	table->sql[STATEMENT_INSERT] = insert_sql(table, name, false);
	table->sql[STATEMENT_UPSERT] = insert_sql(table, name, true);
	table->sql[STATEMENT_UPDATE] = update_sql(table, relation, own, equal);
	table->sql[STATEMENT_DELETE] = psprintf("DELETE FROM %s AS m WHERE m.\"%s\" %s ANY ($1)", own, MIRROR_ID, equal);
	table->sql[STATEMENT_DELETE_ALL] = psprintf("DELETE FROM %s", own);
	if (table->has_deleted_at)
	{
		table->sql[STATEMENT_MARK] =
			psprintf("UPDATE %s AS m SET \"%s\" = u.t FROM (SELECT pg_catalog.unnest($1) AS i, pg_catalog.unnest($2) AS t) AS u "
					 "WHERE m.\"%s\" %s u.i AND m.\"%s\" IS NULL",
					 own, MIRROR_DELETED_AT, MIRROR_ID, equal, MIRROR_DELETED_AT);
		table->sql[STATEMENT_MARK_ALL] = psprintf("UPDATE %s SET \"%s\" = $1 WHERE \"%s\" IS NULL",
												  own, MIRROR_DELETED_AT, MIRROR_DELETED_AT);
	}
	if (!table->id_is_document && table->document)
		table->sql[STATEMENT_STORED] =
			psprintf("SELECT u.n, (m.\"%s\")['%s'] FROM (SELECT pg_catalog.unnest($1) AS i, pg_catalog.unnest($2) AS n) AS u, %s AS m "
					 "WHERE m.\"%s\" %s u.i%s", MIRROR_DOCUMENT, MIRROR_ID, own, MIRROR_ID, equal,
					 table->has_deleted_at ? psprintf(" AND m.\"%s\" IS NULL", MIRROR_DELETED_AT) : "");
	table->sql[STATEMENT_ROWS] = rows_sql(table, own, equal);
	table->sql[STATEMENT_SOME_IDS] = psprintf("SELECT %s FROM %s AS m WHERE m.\"%s\" %s ANY ($1)%s",
											  row_ids(table), own, MIRROR_ID, equal,
											  marks ? psprintf(" AND m.\"%s\" IS NULL", MIRROR_DELETED_AT) : "");
	for (TableStatement i = STATEMENT_FIRST_IDS; i <= STATEMENT_NEXT_IDS; i++)
		table->sql[i] = psprintf("SELECT %s FROM %s AS m WHERE %s%s ORDER BY m.\"%s\" USING %s", row_ids(table), own,
								 i == STATEMENT_FIRST_IDS ? "true" : psprintf("m.\"%s\" %s $1", MIRROR_ID, greater),
								 marks ? psprintf(" AND m.\"%s\" IS NULL", MIRROR_DELETED_AT) : "", MIRROR_ID, less);
}

/* The types of a statement's parameters. */
static int
parameter_types(const MirrorTable *table, TableStatement statement, Oid *types)
{
	switch (statement)
	{
		case STATEMENT_INSERT:
		case STATEMENT_UPDATE:
		case STATEMENT_UPSERT:
			for (int i = 0; i < table->column_count; i++)
				types[i] = table->columns[i].array;
			return table->column_count;
		case STATEMENT_MARK:
			types[0] = table->columns[0].array;
			types[1] = TIMESTAMPTZARRAYOID;
			return 2;
		case STATEMENT_STORED:
		case STATEMENT_ROWS:
			types[0] = table->columns[0].array;
			types[1] = INT4ARRAYOID;
			return 2;
		case STATEMENT_DELETE:
		case STATEMENT_SOME_IDS:
			types[0] = table->columns[0].array;
			return 1;
		case STATEMENT_MARK_ALL:
			types[0] = TIMESTAMPTZOID;
			return 1;
		case STATEMENT_NEXT_IDS:
			types[0] = table->columns[0].base;
			return 1;
		default:
			return 0;
	}
}

/* Has the plan made now, unless it is there still, by settings that are not to hold while it runs. */
static void
plan_by_index(SPIPlanPtr plan)
{
	int			level = NewGUCNestLevel();
	CachedPlan *cached;

	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_hashjoin", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("enable_mergejoin", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	/* NULL where a rule has made several statements of it: those are planned when they run */
	if (cached)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
	AtEOXact_GUC(false, level);
}

/* The plan of a statement, inside of SPI. */
SPIPlanPtr
mcs_mirror_plan(MirrorTable *table, TableStatement statement)
{
	if (table->plans[statement] == NULL)
	{
		Oid		   *types = palloc(sizeof(Oid) * (table->column_count + 1));
		int			count = parameter_types(table, statement, types);
		/* by no values, as an array's length says nothing that a plan should follow */
		SPIPlanPtr	plan = SPI_prepare_cursor(table->sql[statement], count, types, CURSOR_OPT_GENERIC_PLAN);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", table->sql[statement], SPI_result_code_string(SPI_result));
		table->plans[statement] = plan;
		pfree(types);
	}
	plan_by_index(table->plans[statement]);
	return table->plans[statement];
}
