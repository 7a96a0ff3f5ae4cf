/*
 * event/events_map.c
 *	  Our columns in the events table as it is now: where they are, whether
 *	  their types fit, and our values as values of these types.
 *
 * The table is an ordinary one, and its owner may reorder and retype our columns.
 * So nothing knows a column by its number, and no value of ours goes into a
 * column whose type was not looked at: where the owner has chosen a type that
 * can hold the same, each value is converted as a cast in SQL would.  Any other
 * type is an error that names the command which mends it.
 */
#include "mongo_change_stream.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "event/event.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

struct EventsConversion
{
	EState	   *estate;
	ExprContext *econtext;
	ExprState  *states[ROW_COLUMNS];	/* of a CaseTestExpr that stands for our value; NULL: as it is */
};

/* Whether a look at the table's columns has begun and not ended well. */
static bool misfit = false;

/* ---- what the table has ---- */

static Oid
our_type(RowColumn column)
{
	return mcs_event_column_type(mcs_event_row_columns[column].type);
}

static bool
is_document(RowColumn column)
{
	return !OidIsValid(mcs_event_row_columns[column].type);
}

/* The type that a column of ours was made with, for an ALTER TABLE. */
static char *
our_declaration(RowColumn column)
{
	/* the extension may be in a schema that is not on the search path */
	if (is_document(column))
		return quote_qualified_identifier(get_namespace_name(mcs_extension_schema()), "document");
	return pstrdup(mcs_event_row_columns[column].declaration);
}

static char *
table_name(Relation relation)
{
	return quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation));
}

/* Whether a column of ours may have this type: the one that we gave it, or another that holds the same. */
static bool
type_fits(RowColumn column, Oid type)
{
	Oid			ours = our_type(column);

	if (type == ours)
		return true;
	/* beyond these, not every value of ours could be cast */
	if (ours == TEXTOID)
		return type == VARCHAROID;
	if (ours == mcs_extension_document())
		return type == JSONBOID || type == JSONOID || type == TEXTOID || type == VARCHAROID;
	return false;
}

static void
check_column(Relation relation, RowColumn column, Form_pg_attribute attribute)
{
	const char *name = mcs_event_row_columns[column].name;

	/* an INSERT cannot give such a column a value; neither do we */
	if (attribute->attgenerated || attribute->attidentity)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" fills itself", name,
						RelationGetRelationName(relation)),
				 errdetail("It belongs to the events, and it was made a generated or an identity column."),
				 attribute->attidentity
				 ? errhint("ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY;", table_name(relation), name)
				 : errhint("ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION;", table_name(relation), name)));
	/* of a domain, the type below it counts; its constraints are checked with each value */
	if (attribute->atttypid != our_type(column) && !type_fits(column, getBaseType(attribute->atttypid)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of relation \"%s\" has type %s, which events cannot be written into or read from",
						name, RelationGetRelationName(relation),
						format_type_with_typemod(attribute->atttypid, attribute->atttypmod)),
				 is_document(column)
				 ? errdetail("A column that holds documents may have type document, jsonb, json, text or varchar.") : 0,
				 errhint("ALTER TABLE %s ALTER COLUMN %s TYPE %s USING %s::text::%s;", table_name(relation),
						 name, our_declaration(column), name,
						 is_document(column) ? our_declaration(column) : format_type_be(mcs_event_row_columns[column].type))));
}

static Form_pg_attribute
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return attribute;
	}
	return NULL;
}

bool
mcs_events_map_take_misfit(void)
{
	bool		was = misfit;

	/* asked once, so that the next error is not taken for one of these */
	misfit = false;
	return was;
}

void
mcs_events_map(Relation relation, EventsMap *map)
{
	/* unless this comes to its end, what was raised is the table's affair and no event's */
	misfit = true;
	/* a view in its place could not be written below SQL */
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" is not an ordinary table", RelationGetRelationName(relation))));
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		const char *name = mcs_event_row_columns[column].name;
		Form_pg_attribute attribute = find_column(RelationGetDescr(relation), name);

		if (attribute == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" is missing", name,
							RelationGetRelationName(relation)),
					 errhint("ALTER TABLE %s ADD COLUMN %s %s;", table_name(relation), name,
							 our_declaration(column))));
		check_column(relation, column, attribute);
		map->attributes[column] = attribute->attnum;
		map->is_document[column] = is_document(column) &&
			(attribute->atttypid == mcs_extension_document() || getBaseType(attribute->atttypid) == mcs_extension_document());
	}
	misfit = false;
}

/* After a crash an unlogged table is empty, and the position, which is logged, would say that its events are there. */
void
mcs_events_map_check_logged(Relation relation)
{
	misfit = relation->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT;
	if (misfit)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is unlogged", RelationGetRelationName(relation)),
				 errdetail("A crash would empty it, and the streams would go on behind the events that are lost."),
				 errhint("ALTER TABLE %s SET LOGGED;", table_name(relation))));
}

/* The table's primary key, if that begins with ours; else NULL. */
static Relation
find_key(Relation relation)
{
	Relation	index;

	/* finds rd_pkindex, too; the list itself is of no use */
	list_free(RelationGetIndexList(relation));
	if (!OidIsValid(relation->rd_pkindex))
		return NULL;
	index = index_open(relation->rd_pkindex, AccessShareLock);
	/* the owner may have made another, with more columns behind ours */
	if (IndexRelationGetNumberOfKeyAttributes(index) >= 2 &&
		index->rd_index->indkey.values[0] == get_attnum(RelationGetRelid(relation), "stream_name") &&
		index->rd_index->indkey.values[1] == get_attnum(RelationGetRelid(relation), "event_id"))
		return index;
	index_close(index, NoLock);
	return NULL;
}

bool
mcs_events_map_fits(Relation relation)
{
	Relation	key;

	if (relation->rd_rel->relkind != RELKIND_RELATION)
		return false;
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		Form_pg_attribute attribute = find_column(RelationGetDescr(relation), mcs_event_row_columns[column].name);

		if (attribute == NULL || attribute->attgenerated || attribute->attidentity ||
			!type_fits(column, getBaseType(attribute->atttypid)))
			return false;
	}
	key = find_key(relation);
	if (key)
		index_close(key, NoLock);
	return key != NULL;
}

Relation
mcs_events_map_open_key(Relation relation)
{
	Relation	index = find_key(relation);

	if (!index)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" has lost its primary key", RelationGetRelationName(relation)),
				 errhint("ALTER TABLE %s ADD PRIMARY KEY (stream_name, event_id);", table_name(relation))));
	return index;
}

/* ---- our values as the table has them ---- */

/* What a cast of our value to the column's type would be; NULL for nothing. */
static ExprState *
conversion_to(EventsConversion *conversion, RowColumn column, Form_pg_attribute attribute)
{
	Oid			base = getBaseType(attribute->atttypid);
	CaseTestExpr *ours;
	Node	   *cast;

	/* varchar(10) has a length to check, text has none */
	if (attribute->atttypid == our_type(column) && attribute->atttypmod < 0)
		return NULL;
	/* stands for a value that is put into the expression context, as in CASE */
	ours = makeNode(CaseTestExpr);
	ours->typeId = our_type(column);
	ours->typeMod = -1;
	ours->collation = get_typcollation(ours->typeId);
	/* to the base type as an explicit cast, which is how documents become jsonb */
	cast = coerce_to_target_type(NULL, (Node *) ours, ours->typeId, base, -1, COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	/* as an assignment, so that what is too long is an error and not cut */
	if (cast)
		cast = coerce_to_target_type(NULL, cast, base, attribute->atttypid, attribute->atttypmod,
									 COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (cast == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast type %s to %s", format_type_be(ours->typeId), format_type_be(attribute->atttypid))));
	/* the cast was not parsed, so nobody has done it */
	assign_expr_collations(NULL, cast);
	return ExecPrepareExpr((Expr *) cast, conversion->estate);
}

EventsConversion *
mcs_events_map_conversion(Relation relation, const EventsMap *map)
{
	EventsConversion *conversion = palloc0(sizeof(EventsConversion));
	bool		any = false;

	conversion->estate = CreateExecutorState();
	conversion->econtext = GetPerTupleExprContext(conversion->estate);
	for (int column = 0; column < ROW_COLUMNS; column++)
	{
		conversion->states[column] = conversion_to(conversion, column,
												   TupleDescAttr(RelationGetDescr(relation), map->attributes[column] - 1));
		any = any || conversion->states[column] != NULL;
	}
	/* most tables are as they were made, and pay nothing for each value */
	if (any)
		return conversion;
	FreeExecutorState(conversion->estate);
	pfree(conversion);
	return NULL;
}

bool
mcs_events_map_converts(const EventsConversion *conversion, RowColumn column)
{
	return conversion->states[column] != NULL;
}

Datum
mcs_events_map_convert(EventsConversion *conversion, RowColumn column, Datum value, bool *isnull)
{
	ExprState  *state = conversion ? conversion->states[column] : NULL;

	if (state == NULL)
		return value;
	conversion->econtext->caseValue_datum = value;
	conversion->econtext->caseValue_isNull = *isnull;
	return ExecEvalExpr(state, conversion->econtext, isnull);
}

void
mcs_events_map_reset_conversion(EventsConversion *conversion)
{
	if (conversion)
		ResetExprContext(conversion->econtext);
}
