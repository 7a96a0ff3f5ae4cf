/*
 * dialect/do.c
 *	  Texts that are run: DO LANGUAGE change_stream, and change_stream_query.
 *	  Statements are translated and run one after the other, each with what those
 *	  before it have made.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect_internal.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_call_handler);
PG_FUNCTION_INFO_V1(mcs_change_stream_inline_handler);
PG_FUNCTION_INFO_V1(mcs_change_stream_validator);
PG_FUNCTION_INFO_V1(mcs_change_stream_query);

/* The statement that runs, for errors. */
typedef struct Running
{
	const char *source;			/* as the user wrote it */
	bool		unchanged;
} Running;

/*
 * Errors of a statement that is run point into the user's statement: exactly
 * where it was not translated, else at its begin.
 */
static void
running_error_callback(void *arg)
{
	const Running *running = arg;
	int			position = getinternalerrposition();

	/* only what SPI says of the statement itself, not what a function in it has met */
	if (position > 0)
	{
		internalerrposition(running->unchanged ? position : 1);
		internalerrquery(running->source);
	}
}

/* Translates and runs the statements of a text. */
static void
run_text(ResultTarget *target, const char *text)
{
	Script		script;

	mcs_script_begin(&script, target->namespace, text);
	while (mcs_script_next(&script))
	{
		bool		is_call;
		char	   *translated = mcs_script_translate(&script, &is_call);
		Running		running = {script.statement, strcmp(script.statement, translated) == 0};
		ErrorContextCallback callback = {error_context_stack, running_error_callback, &running};

		error_context_stack = &callback;
		mcs_result_run(target, translated, is_call, mcs_script_is_last(&script));
		error_context_stack = callback.previous;
		/* the next statement may name what this one has made */
		CommandCounterIncrement();
	}
	mcs_script_end(&script);
	mcs_result_end(target);
}

/* Whether a DO is the client's own command, and not one that a function runs. */
static bool
is_clients_command(const InlineCodeBlock *block)
{
	PlannedStmt *statement;
	ListCell   *cell;

	if (whereToSendOutput != DestRemote || ActivePortal == NULL || list_length(ActivePortal->stmts) != 1)
		return false;
	statement = linitial_node(PlannedStmt, ActivePortal->stmts);
	if (statement->commandType != CMD_UTILITY || !IsA(statement->utilityStmt, DoStmt))
		return false;
	/* no text holds itself, so a DO within this one is another */
	foreach(cell, ((DoStmt *) statement->utilityStmt)->args)
	{
		DefElem    *element = lfirst_node(DefElem, cell);

		if (strcmp(element->defname, "as") == 0)
			return strcmp(strVal(element->arg), block->source_text) == 0;
	}
	return false;
}

/* DO LANGUAGE change_stream */
Datum
mcs_change_stream_inline_handler(PG_FUNCTION_ARGS)
{
	static int	depth = 0;
	InlineCodeBlock *block = castNode(InlineCodeBlock, PG_GETARG_POINTER(0));
	ResultTarget target = {0};

	target.namespace = get_func_namespace(fcinfo->flinfo->fn_oid);
	/* a function in the text may run the same text again */
	if (depth == 0 && is_clients_command(block))
	{
		/* only what the extended protocol runs has a cached plan */
		target.kind = ActivePortal->cplan ? RESULT_CURSOR : RESULT_CLIENT;
		target.portal = ActivePortal;
	}
	/* a call at the top level lets procedures commit */
	if (SPI_connect_ext(block->atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	depth++;
	PG_TRY();
	{
		run_text(&target, block->source_text);
	}
	PG_FINALLY();
	{
		depth--;
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * change_stream_query(text): each row of the last statement that returns rows as
 * a document; change_stream_query_as(text): its columns, as the caller lists them
 */
Datum
mcs_change_stream_query(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ResultTarget target = {0};

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	target.kind = RESULT_SET;
	target.namespace = get_func_namespace(fcinfo->flinfo->fn_oid);
	target.set = (ReturnSetInfo *) fcinfo->resultinfo;
	target.shape = get_func_rettype(fcinfo->flinfo->fn_oid) == RECORDOID ? RECEIVER_LISTED : RECEIVER_DOCUMENT;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run_text(&target, source);
	SPI_finish();
	return (Datum) 0;
}

/* There is nothing to call. */
Datum
mcs_change_stream_call_handler(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("language change_stream has no functions")));
	PG_RETURN_NULL();
}

/* CREATE FUNCTION ... LANGUAGE change_stream */
Datum
mcs_change_stream_validator(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("functions cannot be written in language change_stream"),
			 errhint("Use DO LANGUAGE change_stream, or write the function in SQL or PL/pgSQL with what change_stream_translate gives.")));
	PG_RETURN_VOID();
}
