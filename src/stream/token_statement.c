/*
 * stream/token_statement.c
 *	  The statement that writes the user's table change_stream_resume_tokens, and
 *	  its parameters.
 *
 * The table's shape is the user's: columns are filled by name, those that are
 * not there are skipped, and a value is cast to the column's type.
 */
#include "mongo_change_stream.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "stream/stream_internal.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* The statement for one table, kept as long as it comes out the same. */
typedef struct TokenPlan
{
	char	   *statement;
	SPIPlanPtr	plan;
} TokenPlan;

/* Parameters of the statement; those that no column uses are declared all the same. */
typedef enum TokenParameter
{
	PARAM_STREAM,
	PARAM_TOKEN,				/* hex */
	PARAM_TOKEN_DOCUMENT,		/* {"_data": hex} */
	PARAM_TIME,
	PARAM_EVENTS,
	PARAM_STATE,
	PARAM_ERROR,
	PARAM_ERRORS,
	PARAM_RESTARTS,
	PARAM_COLLECTION,
	PARAM_DATABASE,
	PARAM_DEFINITION,
	PARAM_COUNT
} TokenParameter;

static const Oid parameter_types[PARAM_COUNT] = {
	TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID, TEXTOID, TEXTOID, INT4OID, INT4OID, TEXTOID, TEXTOID, TEXTOID
};

/* What each column that we know gets, from which parameter. */
typedef struct TokenColumn
{
	const char *name;
	TokenParameter parameter;
	enum
	{
		SET_VALUE,				/* the value, always */
		SET_KNOWN,				/* the value unless it is NULL */
		SET_SUM,				/* the value added to what is there */
		SET_TOKEN,				/* the value unless what is there is greater */
		SET_NOW,				/* the time */
		SET_ERROR_TIME,			/* the time, if there is an error */
		SET_LATENCY				/* mean of processing_time_ms */
	}			kind;
} TokenColumn;

static const TokenColumn token_columns[] = {
	{"resume_token", PARAM_TOKEN, SET_TOKEN},
	{"last_updated", PARAM_STREAM, SET_NOW},
	{"last_event_timestamp", PARAM_TIME, SET_KNOWN},
	{"last_event_time", PARAM_TIME, SET_KNOWN},
	{"events_processed", PARAM_EVENTS, SET_SUM},
	{"stream_status", PARAM_STATE, SET_KNOWN},
	{"consecutive_errors", PARAM_ERRORS, SET_VALUE},
	{"error_count", PARAM_ERRORS, SET_VALUE},
	{"restart_count", PARAM_RESTARTS, SET_VALUE},
	{"last_error_message", PARAM_ERROR, SET_KNOWN},
	{"last_error_timestamp", PARAM_ERROR, SET_ERROR_TIME},
	{"avg_processing_latency_ms", PARAM_STREAM, SET_LATENCY},
	{"collection_name", PARAM_COLLECTION, SET_VALUE},
	{"database_name", PARAM_DATABASE, SET_VALUE},
	{"filter_pipeline", PARAM_DEFINITION, SET_VALUE},
	{"stream_config", PARAM_DEFINITION, SET_VALUE},
};

/* What we know of a column of that name; NULL for one of the user's own, which is left alone. */
static const TokenColumn *
known_column(const char *name)
{
	for (int i = 0; i < lengthof(token_columns); i++)
		if (strcmp(token_columns[i].name, name) == 0)
			return &token_columns[i];
	return NULL;
}

/* The value of a column for a new row, as SQL. */
static char *
value_expression(const TokenColumn *column, Form_pg_attribute attribute)
{
	/* with its schema unless that is pg_catalog, which alone is in the search_path (stream/token_table.c) */
	const char *type = format_type_with_typemod(attribute->atttypid, attribute->atttypmod);
	int			parameter = column->parameter;

	switch (column->kind)
	{
		/* not now(), which is when the transaction began */
		case SET_NOW:
			return psprintf("CAST(pg_catalog.clock_timestamp() AS %s)", type);
		case SET_ERROR_TIME:
			return psprintf("CASE WHEN $%d IS NOT NULL THEN CAST(pg_catalog.clock_timestamp() AS %s) END", parameter + 1, type);
		/* of the last hundred, which the primary key of the events finds without a sort */
		case SET_LATENCY:
			return psprintf("CAST((SELECT pg_catalog.avg(l.processing_time_ms) FROM (SELECT e.processing_time_ms FROM %s e "
							"WHERE e.stream_name OPERATOR(pg_catalog.=) $1 ORDER BY e.event_id DESC LIMIT 100) l) AS %s)",
							quote_qualified_identifier(get_namespace_name(mcs_extension_schema()),
													   get_rel_name(mcs_extension_events())), type);
		/* as MongoDB's drivers keep it, where the column holds a document */
		case SET_TOKEN:
			if (attribute->atttypid == mcs_extension_document())
				parameter = PARAM_TOKEN_DOCUMENT;
			break;
		default:
			break;
	}
	return psprintf("CAST($%d AS %s)", parameter + 1, type);
}

/* The value of a column for the row that is there, given the one for a new row. */
static char *
update_expression(const TokenColumn *column, Form_pg_attribute attribute, const char *value)
{
	const char *name = quote_identifier(NameStr(attribute->attname));

	switch (column->kind)
	{
		case SET_VALUE:
		case SET_NOW:
			break;
		case SET_KNOWN:
		case SET_ERROR_TIME:
		case SET_LATENCY:
			return psprintf("coalesce(%s, t.%s)", value, name);
		case SET_SUM:
			return psprintf("coalesce(t.%s, 0) OPERATOR(pg_catalog.+) %s", name, value);
		case SET_TOKEN:
			/* never back: tokens sort as text, and so do documents that differ in the token only */
			return psprintf("CASE WHEN $%d IS NULL OR CAST(t.%s AS pg_catalog.text) COLLATE \"C\" OPERATOR(pg_catalog.>) "
							"CAST(%s AS pg_catalog.text) THEN t.%s ELSE %s END",
							PARAM_TOKEN + 1, name, value, name, value);
	}
	return pstrdup(value);
}

/* The upsert, or without events the update, for a table. */
static char *
build_statement(Relation table, bool upsert)
{
	TupleDesc	desc = RelationGetDescr(table);
	StringInfoData names,
				values,
				sets;
	char	   *relation = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
													  RelationGetRelationName(table));

	initStringInfo(&names);
	initStringInfo(&values);
	initStringInfo(&sets);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		const TokenColumn *column;
		char	   *value;

		/* generated columns take no value of ours */
		if (attribute->attisdropped || attribute->attgenerated ||
			(column = known_column(NameStr(attribute->attname))) == NULL)
			continue;
		value = value_expression(column, attribute);
		appendStringInfo(&names, ", %s", quote_identifier(NameStr(attribute->attname)));
		appendStringInfo(&values, ", %s", value);
		appendStringInfo(&sets, "%s%s = %s", sets.len ? ", " : "", quote_identifier(NameStr(attribute->attname)),
						 update_expression(column, attribute, value));
	}
	/* a table with none of our columns has nothing to be told */
	if (sets.len == 0)
		return NULL;
	/* a change of state makes no row: a stream without events has none */
	if (upsert)
		return psprintf("INSERT INTO %s AS t (stream_name%s) VALUES ($1%s) ON CONFLICT (stream_name) DO UPDATE SET %s",
						relation, names.data, values.data, sets.data);
	return psprintf("UPDATE %s AS t SET %s WHERE t.stream_name OPERATOR(pg_catalog.=) $1", relation, sets.data);
}

/*
 * The plan of a statement, prepared once: it is the same for all streams of a
 * table, and a session rarely writes two tables.  And for all users: rights are
 * asked for when it is executed, and PostgreSQL plans anew where row security
 * makes a difference between them.
 */
static SPIPlanPtr
plan_for(const char *statement, bool upsert)
{
	static TokenPlan plans[2];
	TokenPlan  *kept = &plans[upsert];

	if (kept->statement && strcmp(kept->statement, statement) == 0)
		return kept->plan;
	if (kept->plan)
	{
		SPIPlanPtr	old = kept->plan;

		/* forgotten before it is freed, so that no error leaves a pointer to nothing */
		kept->plan = NULL;
		pfree(kept->statement);
		kept->statement = NULL;
		SPI_freeplan(old);
	}
	kept->plan = SPI_prepare(statement, PARAM_COUNT, (Oid *) parameter_types);
	if (!kept->plan)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(kept->plan);
	kept->statement = MemoryContextStrdup(TopMemoryContext, statement);
	return kept->plan;
}

/* A stream's definition as JSON text. */
static char *
definition_text(const Stream *stream)
{
	DocumentBuilder builder;
	ListCell   *cell;

	mcs_document_build(&builder);
	mcs_document_begin_object(&builder, NULL);
	mcs_document_append_string(&builder, "server", stream->server);
	mcs_document_append_string(&builder, "database", stream->database);
	if (stream->collection)
		mcs_document_append_string(&builder, "collection", stream->collection);
	if (stream->filter)
		mcs_document_append_string(&builder, "filter", stream->filter);
	if (stream->add_fields)
		mcs_document_append_string(&builder, "add_fields", stream->add_fields);
	if (stream->operations)
	{
		mcs_document_begin_array(&builder, "operations");
		foreach(cell, stream->operations)
			mcs_document_append_string(&builder, NULL, lfirst(cell));
		mcs_document_end(&builder);
	}
	if (stream->pipeline)
		mcs_document_append_document(&builder, "pipeline", stream->pipeline);
	mcs_document_append_string(&builder, "full_document", stream->full_document);
	mcs_document_append_string(&builder, "full_document_before_change", stream->full_document_before_change);
	mcs_document_append_bool(&builder, "show_expanded_events", stream->show_expanded_events);
	mcs_document_end(&builder);
	return mcs_document_out_text(mcs_document_finish(&builder));
}

/* The parameters, in the order of TokenParameter; stream is NULL where its definition may not be shown. */
static void
fill_parameters(const TokenUpdate *update, const Stream *stream, Datum *values, char *nulls)
{
	const char *texts[PARAM_COUNT] = {NULL};

	texts[PARAM_STREAM] = update->stream;
	texts[PARAM_TOKEN] = update->token;
	texts[PARAM_TOKEN_DOCUMENT] = update->token ? mcs_token_document(update->token) : NULL;
	texts[PARAM_STATE] = update->state;
	texts[PARAM_ERROR] = update->error;
	texts[PARAM_COLLECTION] = stream ? stream->collection : NULL;
	texts[PARAM_DATABASE] = stream ? stream->database : NULL;
	texts[PARAM_DEFINITION] = stream ? definition_text(stream) : NULL;
	for (int i = 0; i < PARAM_COUNT; i++)
	{
		nulls[i] = texts[i] ? ' ' : 'n';
		values[i] = texts[i] ? CStringGetTextDatum(texts[i]) : (Datum) 0;
	}
	if (update->time)
	{
		values[PARAM_TIME] = TimestampTzGetDatum(update->time);
		nulls[PARAM_TIME] = ' ';
	}
	/* the numbers are never null */
	values[PARAM_EVENTS] = Int64GetDatum(update->events);
	nulls[PARAM_EVENTS] = ' ';
	/* an event that came ends a row of errors */
	values[PARAM_ERRORS] = Int32GetDatum(stream && update->events == 0 ? stream->consecutive_errors : 0);
	nulls[PARAM_ERRORS] = ' ';
	values[PARAM_RESTARTS] = Int32GetDatum(stream ? stream->restarts : 0);
	nulls[PARAM_RESTARTS] = ' ';
}

/* Runs the statement for one stream's update. */
void
mcs_token_statement_execute(const TokenUpdate *update, Relation table)
{
	Stream	   *stream;
	Datum		values[PARAM_COUNT];
	char		nulls[PARAM_COUNT];
	char	   *statement;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* the stream and the statement are in SPI's memory, and go with SPI_finish */
	/* NULL where it is gone, or was never there: the row is written all the same, without its definition */
	stream = mcs_streams_load(update->stream, false, true);
	/* the tables' owner may insert any name: it opens no view on a stream of somebody else */
	if (stream && !has_privs_of_role(GetUserId(), stream->owner))
		stream = NULL;
	statement = build_statement(table, update->events > 0);
	if (statement)
	{
		fill_parameters(update, stream, values, nulls);
		result = SPI_execute_plan(plan_for(statement, update->events > 0), values, nulls, false, 0);
		if (result < 0)
			elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(result));
	}
	SPI_finish();
}
