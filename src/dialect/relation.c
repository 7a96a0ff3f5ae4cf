/*
 * dialect/relation.c
 *	  What CHANGE_STREAM(orders) and CHANGE_STREAM ON DATABASE stand for.
 *
 * A relation on the search path that has the columns of events: the
 * collection's foreign table, or a view over change_stream_events.  Where
 * there is none, it is all_changes with the other collections left out.
 *
 * Where a change stream keeps events of a foreign table's collection, the table
 * has a mark, by which each scan looks whether it can take these in place of
 * MongoDB's history (fdw/kept_read.c).
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "dialect/dialect_internal.h"
#include "event/event.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "mongo/mongo.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define ALL_CHANGES "all_changes"

/* The mark: as a condition on tableoid. */
#define KEPT_FUNCTION "change_stream_kept"

/* What a name in the parsed text stands for; NULL where it is just a name. */
DialectRelation *
mcs_dialect_find_placeholder(const Fragment *fragment, const RangeVar *name)
{
	DialectRelation *relation;
	unsigned long number;

	if (name->schemaname || strncmp(name->relname, DIALECT_PLACEHOLDER, strlen(DIALECT_PLACEHOLDER)) != 0)
		return NULL;
	number = strtoul(name->relname + strlen(DIALECT_PLACEHOLDER), NULL, 10);
	if (number >= list_length(fragment->change_streams))
		return NULL;
	relation = list_nth(fragment->change_streams, number);
	/* a table of the user's may be called so, too */
	return fragment->tokens[relation->token].at == name->location ? relation : NULL;
}

/* Whether a relation has the columns of events. */
static bool
has_event_columns(const Fragment *fragment, Oid relid)
{
	/* a view need not have all of them; these no other relation is likely to have */
	static const EventColumn columns[] = {
		EVENT_OPERATION_TYPE, EVENT_COLLECTION_NAME, EVENT_DOCUMENT_KEY, EVENT_FULL_DOCUMENT, EVENT_UPDATE_DESCRIPTION,
		EVENT_CLUSTER_TIME
	};

	for (int i = 0; i < lengthof(columns); i++)
	{
		const EventColumnInfo *column = &mcs_event_columns[columns[i]];
		AttrNumber	number = get_attnum(relid, column->name);

		if (number == InvalidAttrNumber ||
			get_atttype(relid, number) != (OidIsValid(column->type) ? column->type : fragment->document))
			return false;
	}
	return true;
}

/* A relation of events on the search path, InvalidOid where there is none. */
static Oid
find_relation(const Fragment *fragment, const char *name)
{
	List	   *path = fetch_search_path(true);
	ListCell   *cell;

	/* by hand, since a table of another kind of an earlier schema must not hide one of events */
	foreach(cell, path)
	{
		Oid			relid = get_relname_relid(name, lfirst_oid(cell));

		if (OidIsValid(relid) && has_event_columns(fragment, relid))
			return relid;
	}
	return InvalidOid;
}

/* The option of a foreign table, NULL where it has none. */
static char *
table_option(Oid relid, const char *name)
{
	ListCell   *cell;

	if (get_rel_relkind(relid) != RELKIND_FOREIGN_TABLE)
		return NULL;
	foreach(cell, GetForeignTable(relid)->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0)
			return defGetString(option);
	}
	return NULL;
}

/*
 * The command that makes the foreign table: in the first schema of the search
 * path where the name is free, since a mirror often has it in public; else in one
 * of its own.
 */
static char *
import_command(const char *database, const char *table)
{
	const char *server = NULL;
	const char *its_database = NULL;
	char	   *schema = NULL;
	char	   *import;
	ListCell   *cell;

	mcs_mongo_only_server(&server, &its_database);
	if (database == NULL)
		database = its_database ? its_database : "your_database";
	foreach(cell, fetch_search_path(false))
		if (!OidIsValid(get_relname_relid(table, lfirst_oid(cell))) &&
			(schema = get_namespace_name(lfirst_oid(cell))) != NULL)
			break;
	import = psprintf("IMPORT FOREIGN SCHEMA %s LIMIT TO (%s) FROM SERVER %s INTO %s;", quote_identifier(database), quote_identifier(table),
					  quote_identifier(server ? server : "mongo"), schema ? quote_identifier(schema) : "history");
	if (schema == NULL)
		import = psprintf("CREATE SCHEMA IF NOT EXISTS history; %s SET search_path = %s, history;", import, namespace_search_path);
	return import;
}

/* Says that no relation holds what CHANGE_STREAM names, and how to get one. */
static void
report_missing(const Fragment *fragment, const DialectRelation *relation)
{
	if (relation->collection)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("no relation on the search path holds the changes of collection \"%s\"", relation->collection),
				 errhint("%s or create a view of this name over change_stream_events.", import_command(relation->database, relation->collection)),
				 mcs_dialect_error_at(fragment, fragment->tokens[relation->name].at)));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("no relation \"%s\" on the search path holds the changes of the database", ALL_CHANGES),
			 errhint("%s or create a view of this name over change_stream_events.", import_command(relation->database, ALL_CHANGES)),
			 mcs_dialect_error_at(fragment, fragment->tokens[relation->token].at)));
}

/* Finds the relation, and notes whether its rows must be filtered. */
static void
find_events(const Fragment *fragment, DialectRelation *relation)
{
	char	   *database;

	relation->filtered = false;
	relation->relid = InvalidOid;
	if (relation->collection)
	{
		relation->relid = find_relation(fragment, relation->folded);
		if (!OidIsValid(relation->relid))
			relation->relid = find_relation(fragment, relation->collection);
		if (!OidIsValid(relation->relid))
			relation->relid = find_relation(fragment, mcs_dialect_snake_case(relation->collection));
	}
	if (!OidIsValid(relation->relid))
	{
		relation->relid = find_relation(fragment, ALL_CHANGES);
		relation->filtered = relation->collection != NULL;
	}
	if (!OidIsValid(relation->relid))
		report_missing(fragment, relation);
	if (relation->database)
	{
		database = table_option(relation->relid, "database");
		/* a foreign table of another database, or of all, is filtered by its column */
		relation->filtered |= !database || strcmp(database, relation->database) != 0;
	}
}

/* A relation without the events of other collections or databases, or with the mark, as a sub-select */
static char *
filtered_rows(const Fragment *fragment, const DialectRelation *relation, bool marked)
{
	StringInfoData select;
	const char *before = " WHERE ";

	initStringInfo(&select);
	appendStringInfo(&select, "(SELECT * FROM %s", mcs_dialect_relation_name(relation->relid));
	if (relation->filtered && relation->database)
	{
		appendStringInfo(&select, "%s%s = %s", before, mcs_event_columns[EVENT_DATABASE_NAME].name,
						 quote_literal_cstr(relation->database));
		before = " AND ";
	}
	if (relation->filtered && relation->collection)
	{
		appendStringInfo(&select, "%s%s = %s", before, mcs_event_columns[EVENT_COLLECTION_NAME].name,
						 quote_literal_cstr(relation->collection));
		before = " AND ";
	}
	if (marked)
		appendStringInfo(&select, "%s%s(tableoid)", before, mcs_dialect_function_name(fragment->namespace, KEPT_FUNCTION));
	appendStringInfoChar(&select, ')');
	return select.data;
}

/* Whether a scan may look for kept events; 1.0 has no such function. */
static bool
is_marked(const Fragment *fragment, const DialectRelation *relation)
{
	return !relation->history && OidIsValid(mcs_dialect_function(fragment->namespace, KEPT_FUNCTION, -1, NULL)) &&
		mcs_kept_exist(relation->relid, GetUserId());
}

/*
 * The node of FROM in place of a placeholder, and the edit that goes with it.
 * The relation keeps the name under which the statement can call it.
 */
Node *
mcs_dialect_transform_relation(Fragment *fragment, RangeVar *placeholder)
{
	DialectRelation *relation = mcs_dialect_find_placeholder(fragment, placeholder);
	DialectToken *name = &fragment->tokens[relation->name];
	const char *called = relation->folded ? relation->folded : ALL_CHANGES;
	RangeSubselect *rows;
	bool		marked = false;
	char	   *text;

	/* what stays unused stands where no relation can */
	relation->used = true;
	/* the SELECT of an event store: one row, the event */
	if (fragment->one_event)
		relation->filtered = true;
	else
	{
		find_events(fragment, relation);
		marked = is_marked(fragment, relation);
	}
	/* the relation itself, under the name that the statement may call it by */
	if (!relation->filtered && !marked)
	{
		RangeVar   *table = makeRangeVar(get_namespace_name(get_rel_namespace(relation->relid)),
										 get_rel_name(relation->relid), placeholder->location);

		text = mcs_dialect_relation_name(relation->relid);
		table->alias = placeholder->alias;
		if (!table->alias && strcmp(table->relname, called) != 0)
		{
			table->alias = makeAlias(called, NIL);
			text = psprintf("%s AS %s", text, quote_identifier(called));
		}
		mcs_dialect_edit(fragment, EDIT_REPLACE, name->at, mcs_dialect_token_end(name), text);
		return (Node *) table;
	}
	/* else a sub-select of it */
	text = fragment->one_event ? pstrdup("(SELECT change.*)") : filtered_rows(fragment, relation, marked);
	rows = makeNode(RangeSubselect);
	/* the text is ours, so it parses */
	rows->subquery = linitial_node(RawStmt, raw_parser(psprintf("%s", text), RAW_PARSE_DEFAULT))->stmt;
	rows->alias = placeholder->alias;
	if (!rows->alias)
	{
		rows->alias = makeAlias(called, NIL);
		text = psprintf("%s AS %s", text, quote_identifier(called));
	}
	mcs_dialect_edit(fragment, EDIT_REPLACE, name->at, mcs_dialect_token_end(name), text);
	return (Node *) rows;
}

/* Refuses CHANGE_STREAM where no relation can stand. */
void
mcs_dialect_check_relations(const Fragment *fragment)
{
	ListCell   *cell;

	foreach(cell, fragment->change_streams)
	{
		DialectRelation *relation = lfirst(cell);

		if (!relation->used)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("CHANGE_STREAM names a relation, and can stand only where a table can"),
					 errhint("SELECT ... FROM CHANGE_STREAM(orders);"),
					 mcs_dialect_error_at(fragment, fragment->tokens[relation->token].at)));
	}
}
