/*
 * mirror/table.c
 *	  A mirror's table as it is now: whether a mirror can fill it, where its
 *	  columns are.
 *
 * The table is the owner's, an ordinary one, and everything may hang on it.  So
 * it is written by plain SQL, as the owner; each name and operator in a statement
 * is qualified, since it runs under any search_path.  Whatever may have changed
 * the table makes it suspect, and it is opened anew: mcs_mirror_is_valid has locked
 * it by then, so that nothing changes it any more in that transaction.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "mirror/mirror_internal.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteDefine.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

/* Those that are open. */
static dlist_head tables = DLIST_STATIC_INIT(tables);

/* ---- what makes a table suspect ---- */

static void
relation_changed(Datum arg, Oid relation)
{
	dlist_iter	iter;

	dlist_foreach(iter, &tables)
	{
		MirrorTable *table = dlist_container(MirrorTable, node, iter.cur);

		if (!OidIsValid(relation) || relation == table->relation || relation == table->index)
			table->suspect = true;
	}
}

/* A schema or type got another name, or a domain another constraint. */
static void
name_changed(Datum arg, int cache, uint32 hash)
{
	relation_changed(arg, InvalidOid);
}

/* Asks to be told of changes, once a process. */
static void
watch(void)
{
	static bool watching = false;

	if (watching)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, name_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, name_changed, (Datum) 0);
	watching = true;
}

/* ---- the table ---- */

static char *
qualified(Oid namespace, const char *name)
{
	return quote_qualified_identifier(get_namespace_name(namespace), name);
}

static char *
table_name(Relation relation)
{
	return qualified(RelationGetNamespace(relation), RelationGetRelationName(relation));
}

/* Rules make other statements of those that write it, so that rows would be missing, or stay, and nobody would know. */
static void
check_rules(Relation relation)
{
	for (int i = 0; relation->rd_rules && i < relation->rd_rules->numLocks; i++)
	{
		const RewriteRule *rule = relation->rd_rules->rules[i];
		ObjectAddress address;

		if (rule->enabled == RULE_DISABLED)
			continue;
		ObjectAddressSet(address, RewriteRelationId, rule->ruleId);
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s has rules for the statements that write it", table_name(relation)),
				 errdetail("A mirror's rows are written as they are; a trigger may act on them."),
				 errhint("DROP RULE %s;", getObjectIdentity(&address, false))));
	}
}

/* What kind of relation a mirror can be, and why not. */
static void
check_kind(Relation relation)
{
	char		kind = relation->rd_rel->relkind;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is not a table", table_name(relation)),
				 errdetail("A mirror writes the rows of an ordinary or a partitioned table.")));
	if (IsSystemRelation(relation) ||
		getExtensionOfObject(RelationRelationId, RelationGetRelid(relation)) == get_extension_oid(MCS_EXTENSION, true))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is a table of the system's, which no mirror writes", table_name(relation))));
	if (relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("%s is %s", table_name(relation),
						relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP ? "a temporary table" : "an unlogged table"),
				 relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP
				 ? errdetail("Only the session that made it can write it.")
				 : errdetail("A crash would empty it, and the mirror would go on as if its rows were there."),
				 relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP ? 0
				 : errhint("ALTER TABLE %s SET LOGGED;", table_name(relation))));
}

/* Who writes it must be its owner, who sees all of its rows. */
static void
check_rights(Relation relation, Oid owner)
{
	if (relation->rd_rel->relowner != owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("%s belongs to role \"%s\"", table_name(relation), GetUserNameFromId(relation->rd_rel->relowner, true)),
				 errdetail("A mirror is written by the owner of its stream, role \"%s\".", GetUserNameFromId(owner, true)),
				 errhint("ALTER TABLE %s OWNER TO %s;", table_name(relation),
						 quote_identifier(GetUserNameFromId(owner, false)))));
	if (check_enable_rls(RelationGetRelid(relation), owner, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s forces its policies on its owner, too", table_name(relation)),
				 errdetail("A row that they hide from role \"%s\" would stay when MongoDB has deleted its document.",
						   GetUserNameFromId(owner, true)),
				 errhint("ALTER TABLE %s NO FORCE ROW LEVEL SECURITY; others stay bound by the policies.", table_name(relation))));
}

/* Writing it; on a standby it can only be compared. */
static LOCKMODE
table_lock(void)
{
	return RecoveryInProgress() ? AccessShareLock : RowExclusiveLock;
}

/* The name that the definition has. */
static RangeVar *
table_range(const Mirror *mirror)
{
	return makeRangeVarFromNameList(stringToQualifiedNameList(mirror->table
#if PG_VERSION_NUM >= 160000
															  ,NULL
#endif
															  ));
}

Oid
mcs_mirror_table_now(const Mirror *mirror)
{
	RangeVar   *range = table_range(mirror);
	Oid			schema = get_namespace_oid(range->schemaname, true);

	return OidIsValid(schema) ? get_relname_relid(range->relname, schema) : InvalidOid;
}

/* The relation by that name, locked. */
static Relation
open_relation(const Mirror *mirror)
{
	Oid			oid = RangeVarGetRelid(table_range(mirror), table_lock(), true);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s does not exist", mirror->table),
				 errdetail("It was dropped, or has got another name.")));
	return table_open(oid, NoLock);
}

/* Whether an index says that no two rows have one _id. */
static bool
is_unique(Relation index, AttrNumber id)
{
	Form_pg_index form = index->rd_index;

	return form->indisunique && form->indimmediate && form->indisvalid && form->indnkeyatts == 1 &&
		form->indkey.values[0] == id && RelationGetIndexPredicate(index) == NIL;
}

/* The index on _id that conflicts are found by. */
static Oid
find_index(Relation relation, AttrNumber id)
{
	List	   *indexes = RelationGetIndexList(relation);
	Oid			found = InvalidOid;
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (!OidIsValid(found) && is_unique(index, id))
			found = RelationGetRelid(index);
		index_close(index, NoLock);
	}
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" of %s has no unique index of its own", MIRROR_ID, table_name(relation)),
				 errdetail("Rows are found by it.  An index of more columns, a partial one, or a constraint that is deferrable does not do."),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (\"%s\");", table_name(relation), MIRROR_ID)));
	return found;
}

/*
 * Whether rows may be written in another order than that of their events: a
 * unique value that moves finds room only in that one, and triggers see it.
 */
static bool
may_reorder(const MirrorTable *table, Relation relation)
{
	List	   *indexes;
	ListCell   *cell;
	bool		may = relation->rd_rel->relkind == RELKIND_RELATION && relation->trigdesc == NULL;

	indexes = RelationGetIndexList(relation);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (lfirst_oid(cell) != table->index && (index->rd_index->indisunique || index->rd_index->indisexclusion))
			may = false;
		index_close(index, NoLock);
	}
	return may;
}

/* ---- its columns ---- */

/* A column by its name; NULL where there is none and missing_ok. */
static Form_pg_attribute
find_column(Relation relation, const char *name, bool missing_ok)
{
	TupleDesc	desc = RelationGetDescr(relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		if (attribute->attgenerated || attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("column \"%s\" of %s fills itself", name, table_name(relation)),
					 errdetail("It is one that the mirror fills, and it is a generated or an identity column.")));
		return attribute;
	}
	if (!missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\"", table_name(relation), name),
				 strcmp(name, MIRROR_ID) == 0
				 ? errhint("ALTER TABLE %s ADD COLUMN \"%s\" %s PRIMARY KEY;", table_name(relation), name,
						   qualified(mcs_extension_schema(), "document"))
				 : errhint("ALTER TABLE %s ADD COLUMN %s with the type that it is to have.", table_name(relation),
						   quote_identifier(name))));
	return NULL;
}

/* A column that must be of one type, as its name is the mirror's. */
static Form_pg_attribute
find_typed(Relation relation, const char *name, Oid type, const char *type_name)
{
	Form_pg_attribute attribute = find_column(relation, name, true);

	if (attribute && getBaseType(attribute->atttypid) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of %s is not of type %s", name, table_name(relation), type_name),
				 errdetail("The mirror fills a column of that name, and its type is %s.", format_type_be(attribute->atttypid)),
				 errhint("ALTER TABLE %s RENAME COLUMN %s TO ..., or give it that type.", table_name(relation),
						 quote_identifier(name))));
	return attribute;
}

/* Adds a column to those that are filled. */
static TableColumn *
add_column(MirrorTable *table, Form_pg_attribute attribute)
{
	TableColumn *column = &table->columns[table->column_count++];
	Oid			output;
	bool		varlena;

	column->name = pstrdup(NameStr(attribute->attname));
	column->attribute = attribute->attnum;
	column->type = attribute->atttypid;
	column->typmod = attribute->atttypmod;
	column->collation = attribute->attcollation;
	column->base = getBaseType(column->type);
	column->field = -1;
	get_typlenbyvalalign(column->base, &column->length, &column->by_value, &column->align);
	/* an array of arrays would be one of more dimensions, whose elements nobody could tell apart */
	column->array = OidIsValid(get_element_type(column->base)) ? InvalidOid : get_array_type(column->base);
	column->as_text = !OidIsValid(column->array);
	if (column->as_text)
	{
		column->array = TEXTARRAYOID;
		getTypeOutputInfo(column->base, &output, &varlena);
		fmgr_info_cxt(output, &column->out, table->context);
	}
	return column;
}

/* The columns of the definition, which must not be those that are filled anyway. */
static void
add_fields(MirrorTable *table, Relation relation)
{
	for (int i = 0; i < mcs_expression_fields(table->expressions); i++)
	{
		Oid			type;
		const char *name = mcs_expression_field(table->expressions, i, &type);
		TableColumn *column;

		if (strcmp(name, MIRROR_ID) == 0 || strcmp(name, MIRROR_DOCUMENT) == 0 ||
			strcmp(name, MIRROR_CHANGED_AT) == 0 || strcmp(name, MIRROR_DELETED_AT) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" is filled by the mirror", name),
					 errhint("Leave it out of columns: where the table has it, it is filled without being named.")));
		column = add_column(table, find_column(relation, name, false));
		column->field = i;
		mcs_mirror_value_prepare(table, column, type);
	}
}

static void
find_columns(MirrorTable *table, Relation relation)
{
	Oid			document = mcs_extension_document();
	Form_pg_attribute attribute;
	TableColumn *id;

	table->columns = palloc0(sizeof(TableColumn) * (3 + (table->expressions ? mcs_expression_fields(table->expressions) : 0)));
	attribute = find_column(relation, MIRROR_ID, false);
	table->index = find_index(relation, attribute->attnum);
	id = add_column(table, attribute);
	table->id_is_document = id->base == document;
	if (id->as_text)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of %s cannot be of type %s", MIRROR_ID, table_name(relation), format_type_be(id->type))));
	mcs_mirror_value_prepare(table, id, document);
	if ((attribute = find_typed(relation, MIRROR_DOCUMENT, document, "document")) != NULL)
		table->document = add_column(table, attribute);
	if (table->expressions)
		add_fields(table, relation);
	if ((attribute = find_typed(relation, MIRROR_CHANGED_AT, TIMESTAMPTZOID, "timestamptz")) != NULL)
		table->changed_at = add_column(table, attribute);
	table->has_deleted_at = find_typed(relation, MIRROR_DELETED_AT, TIMESTAMPTZOID, "timestamptz") != NULL;
	if (table->definition.on_delete == MIRROR_ON_DELETE_MARK && !table->has_deleted_at)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s has no column \"%s\"", table_name(relation), MIRROR_DELETED_AT),
				 errdetail("With on_delete => 'mark' it says which documents do not exist any more."),
				 errhint("ALTER TABLE %s ADD COLUMN %s timestamptz;", table_name(relation), MIRROR_DELETED_AT)));
}

/* ---- opening and closing ---- */

/* What is kept outside of the context. */
static void
forget(void *arg)
{
	MirrorTable *table = arg;

	dlist_delete(&table->node);
	for (int i = 0; i < STATEMENTS; i++)
		if (table->plans[i])
			SPI_freeplan(table->plans[i]);
}

static char *
copy_text(const char *text)
{
	return text ? pstrdup(text) : NULL;
}

/* Copies what is asked for later, since the definition may be loaded anew. */
static void
copy_definition(MirrorTable *table, const Mirror *mirror)
{
	Mirror	   *copy = &table->definition;
	ListCell   *cell;

	*copy = *mirror;
	copy->name = copy_text(mirror->name);
	copy->stream = copy_text(mirror->stream);
	copy->database = copy_text(mirror->database);
	copy->collection = copy_text(mirror->collection);
	copy->table = copy_text(mirror->table);
	copy->columns = copy_text(mirror->columns);
	copy->filter = copy_text(mirror->filter);
	copy->translated_columns = copy_text(mirror->translated_columns);
	copy->translated_filter = copy_text(mirror->translated_filter);
	copy->stopped_reason = copy_text(mirror->stopped_reason);
	copy->settings = NIL;
	foreach(cell, mirror->settings)
		copy->settings = lappend(copy->settings, pstrdup(lfirst(cell)));
}

/* All that is looked up and compiled; the settings are those of who wrote the expressions. */
static void
look(MirrorTable *table)
{
	const Mirror *mirror = &table->definition;
	Relation	relation = open_relation(mirror);
	int			level;

	table->relation = RelationGetRelid(relation);
	check_kind(relation);
	check_rights(relation, mirror->owner);
	check_rules(relation);
	level = mcs_owner_begin_settings(mirror->settings);
	if (mirror->translated_columns || mirror->translated_filter)
		table->expressions = mcs_expression_compile_mirror(mirror->translated_columns, mirror->translated_filter);
	find_columns(table, relation);
	mcs_owner_end_settings(level);
	mcs_mirror_make_statements(table, relation);
	table->may_insert = mcs_mirror_may_insert(table, relation);
	table->any_order = may_reorder(table, relation);
	table_close(relation, NoLock);
}

MirrorTable *
mcs_mirror_open(const Mirror *mirror, const EventMask *mask)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "mirror", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MirrorTable *table = palloc0(sizeof(MirrorTable));

	watch();
	table->context = context;
	table->mask = mask;
	table->tries_pause = 1;
	copy_definition(table, mirror);
	/* before anything is kept: an error deletes the context with the caller's, and with it what was */
	dlist_push_head(&tables, &table->node);
	table->forget.func = forget;
	table->forget.arg = table;
	MemoryContextRegisterResetCallback(context, &table->forget);
	table->econtext = CreateStandaloneExprContext();
	look(table);
	MemoryContextSwitchTo(old);
	return table;
}

bool
mcs_mirror_is_valid(const MirrorTable *table)
{
	/* what others have done to it is heard of when it is locked, and then they can't any more */
	LockRelationOid(table->relation, table_lock());
	return !table->suspect && (table->expressions == NULL || mcs_expression_valid(table->expressions));
}

void
mcs_mirror_close(MirrorTable *table)
{
	MemoryContextDelete(table->context);
}

void
mcs_mirror_check_same(const Mirror *mirror, Oid table, Oid before)
{
	if (table != before)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is not the one that was written before", mirror->table),
				 errdetail("It was dropped and made again, or restored by itself, and so without what has changed since.")));
}

MirrorTable *
mcs_mirror_reopen(MirrorTable *table, const Mirror *mirror, const EventMask *mask)
{
	Oid			before = table->relation;
	MirrorTable *again;

	mcs_mirror_close(table);
	again = mcs_mirror_open(mirror, mask);
	mcs_mirror_check_same(mirror, again->relation, before);
	return again;
}

Oid
mcs_mirror_relation(const MirrorTable *table)
{
	return table->relation;
}

const Mirror *
mcs_mirror_definition(const MirrorTable *table)
{
	return &table->definition;
}
