/*
 * tables/catalog.c
 *	  How statements on the catalog tables run.
 *
 * Statements run as the tables' owner, below the rights and the row-level
 * security of the caller, who was asked for his rights before.  While that
 * lasts, names are looked up in pg_catalog only and the session is restricted
 * as for maintenance commands.  No code of users runs there: the tables'
 * owner alone can hang triggers on them.  Events, on whose table the owner is
 * invited to hang triggers, are deleted by other means (tables/events.c).
 *
 * Plans are kept for the session.  They are bound to the schema's name, so they
 * are made again when the cache of names says that something moved.
 */
#include "mongo_change_stream.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* ---- the arguments of a statement ---- */

/* SPI has nulls as characters, 'n' for null. */
void
mcs_catalog_add_value(CatalogValues *values, Datum value, bool isnull)
{
	Assert(values->count < CATALOG_MAX_ARGS);
	values->values[values->count] = value;
	values->nulls[values->count++] = isnull ? 'n' : ' ';
}

void
mcs_catalog_add_int64(CatalogValues *values, int64 value)
{
	mcs_catalog_add_value(values, Int64GetDatum(value), false);
}

void
mcs_catalog_add_text(CatalogValues *values, const char *text)
{
	mcs_catalog_add_value(values, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

/* An error as our tables keep it, in the order of their columns; NULL for what it does not say. */
void
mcs_catalog_add_error(CatalogValues *values, const char *sqlstate, const char *message, const char *detail, const char *context)
{
	mcs_catalog_add_text(values, sqlstate);
	mcs_catalog_add_text(values, message);
	mcs_catalog_add_text(values, detail);
	mcs_catalog_add_text(values, context);
}

/* A list of strings as text[]; NIL as null, or as an empty array. */
static void
add_texts(CatalogValues *values, List *texts, bool empty_is_null)
{
	Datum	   *elements;
	int			count = 0;
	ListCell   *cell;

	if (texts == NIL && empty_is_null)
	{
		mcs_catalog_add_value(values, (Datum) 0, true);
		return;
	}
	elements = palloc(sizeof(Datum) * Max(list_length(texts), 1));
	foreach(cell, texts)
		elements[count++] = CStringGetTextDatum(lfirst(cell));
	mcs_catalog_add_value(values, PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT)), false);
}

/* ---- how statements run ---- */

/* Names one of the tables that are not of one role, and the command that makes it so: all that are found in this way. */
static void
refuse_owners(const ExtensionObjects *objects)
{
	char	   *table = get_rel_name(objects->stray);
	char	   *owner = GetUserNameFromId(mcs_base_relation_owner(objects->streams), true);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the tables of the extension have different owners"),
			 errdetail("Statements on them run as their owner, and with them triggers and index expressions."),
			 table && owner ? errhint("ALTER TABLE %s OWNER TO %s;", quote_qualified_identifier(objects->schema_name, table),
									  quote_identifier(owner)) : 0));
}

void
mcs_catalog_begin(CatalogScope *scope)
{
	const ExtensionObjects *objects = mcs_extension_objects();

	if (OidIsValid(objects->streams) && !OidIsValid(objects->owner))
		refuse_owners(objects);
	if (!OidIsValid(objects->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the tables of the extension are missing from this database"),
				 errhint("CREATE EXTENSION %s;", MCS_EXTENSION)));
	/* what is kept of a result must outlive SPI_finish */
	scope->caller = CurrentMemoryContext;
	/*
	 * A restricted operation, so that a trigger of the tables' owner leaves no
	 * temporary tables, cursors or prepared statements in the caller's session.
	 * No PG_TRY is needed: the abort of the transaction or subtransaction puts
	 * back the user, the settings and SPI's stack.
	 */
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(objects->owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	/* pg_temp last, or a temporary table of the caller's would be found before a name that is not qualified */
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	/* names that are kept are compared as texts: see mcs_base_kept_name */
	if (quote_all_identifiers)
		(void) set_config_option("quote_all_identifiers", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
mcs_catalog_end(CatalogScope *scope)
{
	SPI_finish();
	/* not as at a commit: what a trigger of the tables' owner has set is not for the caller's session */
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/*
 * The statement's text for the schema that is installed: "@" is its name, "{new|old}"
 * what its version knows; "$*" is $1, $2, ...  Nothing is quoted: statements use
 * these characters for nothing else.
 */
static char *
statement_text(const CatalogStatement *statement)
{
	const char *sql = statement->sql;
	const ExtensionObjects *objects = mcs_extension_objects();
	const char *schema = quote_identifier(objects->schema_name);
	StringInfoData text;

	initStringInfo(&text);
	while (*sql)
	{
		if (*sql == '{')
		{
			const char *bar = strchr(sql, '|');
			const char *end = strchr(sql, '}');
			const char *chosen = objects->old ? bar + 1 : sql + 1;

			Assert(bar && end && bar < end);
			while (chosen < (objects->old ? end : bar))
			{
				if (*chosen == '@')
					appendStringInfoString(&text, schema);
				else
					appendStringInfoChar(&text, *chosen);
				chosen++;
			}
			sql = end;
		}
		else if (*sql == '@')
			appendStringInfoString(&text, schema);
		else if (sql[0] == '$' && sql[1] == '*')
		{
			for (int i = 1; i <= statement->nargs; i++)
				appendStringInfo(&text, "%s$%d", i > 1 ? ", " : "", i);
			sql++;
		}
		else
			appendStringInfoChar(&text, *sql);
		sql++;
	}
	return text.data;
}

/* Plans a statement, for the session. */
static void
prepare(CatalogStatement *statement)
{
	Oid			types[CATALOG_MAX_ARGS];
	SPIPlanPtr	plan;
	/* read before: planning takes invalidations in, after which the names that it was given may be old */
	uint64		version = mcs_extension_objects()->version;

	/* forgotten before it is replaced: planning may fail, and then nobody shall find what was freed */
	if (statement->plan)
	{
		SPI_freeplan(statement->plan);
		statement->plan = NULL;
	}
	/* the document's type has another OID in each database, and after each CREATE EXTENSION */
	for (int i = 0; i < statement->nargs; i++)
		types[i] = OidIsValid(statement->types[i]) ? statement->types[i] : mcs_extension_document();
	plan = SPI_prepare(statement_text(statement), statement->nargs, types);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql, SPI_result_code_string(SPI_result));
	/* kept by now: until then it was in SPI's memory, and an error took it away */
	statement->plan = plan;
	statement->planned_for = version;
}

/* Runs a plan; snapshot NULL: as the transaction's isolation has it. */
static uint64
execute(CatalogStatement *statement, const Datum *values, const char *nulls, Snapshot snapshot)
{
	int			result;

	if (statement->plan == NULL || statement->planned_for != mcs_extension_objects()->version)
		prepare(statement);
	/*
	 * With a snapshot read only, so that SPI takes it as it is.  Else not: SPI then
	 * counts the commands and takes a snapshot for each statement, which so sees
	 * what was written before it in this transaction and, at READ COMMITTED, what
	 * others have committed since the caller's query began.
	 */
	if (snapshot)
		result = SPI_execute_snapshot(statement->plan, unconstify(Datum *, values), nulls, snapshot, InvalidSnapshot, true, false, 0);
	else
		result = SPI_execute_plan(statement->plan, unconstify(Datum *, values), nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", statement->sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
mcs_catalog_execute(CatalogStatement *statement, const Datum *values, const char *nulls)
{
	return execute(statement, values, nulls, NULL);
}

uint64
mcs_catalog_execute_latest(CatalogStatement *statement)
{
	return execute(statement, NULL, NULL, GetLatestSnapshot());
}

uint64
mcs_catalog_execute_active(CatalogStatement *statement, const Datum *values)
{
	return execute(statement, values, NULL, GetActiveSnapshot());
}

uint64
mcs_catalog_execute_snapshot(CatalogStatement *statement, const Datum *values, const char *nulls, Snapshot snapshot)
{
	return execute(statement, values, nulls, snapshot);
}

uint64
mcs_catalog_run(CatalogStatement *statement, const Datum *values, const char *nulls)
{
	CatalogScope scope;
	uint64		rows;

	mcs_catalog_begin(&scope);
	rows = mcs_catalog_execute(statement, values, nulls);
	mcs_catalog_end(&scope);
	return rows;
}

uint64
mcs_catalog_run_for(CatalogStatement *statement, const char *name)
{
	Datum		values[1] = {CStringGetTextDatum(name)};

	return mcs_catalog_run(statement, values, NULL);
}

/* ---- what a statement has returned ---- */

CatalogRow
mcs_catalog_row(const CatalogScope *scope, uint64 number)
{
	CatalogRow	row = {SPI_tuptable->vals[number], SPI_tuptable->tupdesc, scope->caller};

	return row;
}

List *
mcs_catalog_append(const CatalogRow *row, List *list, void *item)
{
	MemoryContext old = MemoryContextSwitchTo(row->target);

	list = lappend(list, item);
	MemoryContextSwitchTo(old);
	return list;
}

Datum
mcs_catalog_get_datum(const CatalogRow *row, const char *column, bool *isnull)
{
	int			number = SPI_fnumber(row->desc, column);

	/* only 1.0's tables lack columns; elsewhere the name is misspelt */
	if (number == SPI_ERROR_NOATTRIBUTE && mcs_extension_is_old())
	{
		*isnull = true;
		return (Datum) 0;
	}
	if (number == SPI_ERROR_NOATTRIBUTE)
		elog(ERROR, "column \"%s\" was not asked for", column);
	return SPI_getbinval(row->tuple, row->desc, number, isnull);
}

char *
mcs_catalog_get_text(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);

	/* made in SPI's context first, which may also hold what it takes to detoast it */
	return isnull ? NULL : MemoryContextStrdup(row->target, TextDatumGetCString(value));
}

int64
mcs_catalog_get_int64(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

Oid
mcs_catalog_get_oid(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

int32
mcs_catalog_get_int32(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
mcs_catalog_get_bool(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);

	return !isnull && DatumGetBool(value);
}

Document *
mcs_catalog_get_document(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);
	MemoryContext old;
	Document   *document;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(row->target);
	document = (Document *) PG_DETOAST_DATUM_COPY(value);
	MemoryContextSwitchTo(old);
	return document;
}

List *
mcs_catalog_get_texts(const CatalogRow *row, const char *column)
{
	bool		isnull;
	Datum		value = mcs_catalog_get_datum(row, column, &isnull);
	MemoryContext old;
	List	   *texts;

	if (isnull)
		return NIL;
	old = MemoryContextSwitchTo(row->target);
	texts = mcs_convert_text_array(DatumGetArrayTypeP(value));
	MemoryContextSwitchTo(old);
	return texts;
}

bool
mcs_catalog_is_from_elsewhere(const CatalogRow *row)
{
	return mcs_catalog_get_int64(row, "system_identifier") != (int64) GetSystemIdentifier() ||
		mcs_catalog_get_oid(row, "database_oid") != MyDatabaseId;
}

/* ---- one row by its columns ---- */

void
mcs_catalog_set(CatalogColumns *columns, const char *name, Oid type, Datum value, bool isnull)
{
	columns->names[columns->values.count] = name;
	columns->types[columns->values.count] = type;
	mcs_catalog_add_value(&columns->values, value, isnull);
}

void
mcs_catalog_set_text(CatalogColumns *columns, const char *name, const char *text)
{
	columns->names[columns->values.count] = name;
	columns->types[columns->values.count] = TEXTOID;
	mcs_catalog_add_text(&columns->values, text);
}

void
mcs_catalog_set_texts(CatalogColumns *columns, const char *name, List *texts, bool empty_is_null)
{
	columns->names[columns->values.count] = name;
	columns->types[columns->values.count] = TEXTARRAYOID;
	add_texts(&columns->values, texts, empty_is_null);
}

/* Begins a statement on a table whose name follows. */
static void
begin_statement(StringInfo sql, const char *verb, const char *table)
{
	initStringInfo(sql);
	appendStringInfo(sql, "%s %s", verb, quote_qualified_identifier(mcs_extension_objects()->schema_name, table));
}

/* These are run once in the life of a definition, so their plans are not worth keeping. */
static uint64
run_once(const char *sql, CatalogColumns *columns)
{
	CatalogScope scope;
	uint64		rows;
	int			result;

	mcs_catalog_begin(&scope);
	result = SPI_execute_with_args(sql, columns->values.count, columns->types, columns->values.values, columns->values.nulls,
								   false, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	rows = SPI_processed;
	mcs_catalog_end(&scope);
	return rows;
}

bool
mcs_catalog_insert(const char *table, CatalogColumns *columns)
{
	StringInfoData sql;

	begin_statement(&sql, "INSERT INTO", table);
	for (int i = 0; i < columns->values.count; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : " (", quote_identifier(columns->names[i]));
	for (int i = 0; i < columns->values.count; i++)
		appendStringInfo(&sql, "%s$%d", i ? ", " : ") VALUES (", i + 1);
	/*
	 * Whoever makes the same at the same time is waited for, and then told of by
	 * false; from REPEATABLE READ on by a serialization failure.
	 */
	appendStringInfoString(&sql, ") ON CONFLICT DO NOTHING");
	return run_once(sql.data, columns) == 1;
}

void
mcs_catalog_update(const char *table, CatalogColumns *columns)
{
	StringInfoData sql;

	begin_statement(&sql, "UPDATE", table);
	for (int i = 1; i < columns->values.count; i++)
		appendStringInfo(&sql, "%s%s = $%d", i > 1 ? ", " : " SET ", quote_identifier(columns->names[i]), i + 1);
	appendStringInfo(&sql, " WHERE %s = $1", quote_identifier(columns->names[0]));
	(void) run_once(sql.data, columns);
}

List *
mcs_catalog_names(CatalogStatement *statement, Datum *values, const char *column)
{
	CatalogScope scope;
	List	   *names = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(statement, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);

		names = mcs_catalog_append(&row, names, mcs_catalog_get_text(&row, column));
	}
	mcs_catalog_end(&scope);
	return names;
}
