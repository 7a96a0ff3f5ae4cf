/*
 * dialect/do.c
 *	  DO LANGUAGE change_stream: statements are translated and run, one after
 *	  the other, each with what those before it have made.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_call_handler);
PG_FUNCTION_INFO_V1(mcs_change_stream_inline_handler);
PG_FUNCTION_INFO_V1(mcs_change_stream_validator);

/* The statement that runs, for errors. */
typedef struct Running
{
	const char *source;			/* the user's text */
	int			at;				/* where in it the statement begins */
	const char *translated;
	bool		unchanged;
} Running;

/*
 * Errors of a statement that is run point into the user's text: exactly where
 * it was not translated, else at its begin.
 */
static void
running_error_callback(void *arg)
{
	const Running *running = arg;
	int			position = getinternalerrposition();

	/* only what SPI says of the statement itself, not what a function in it has met */
	if (position > 0)
	{
		internalerrposition(pg_mbstrlen_with_len(running->source, running->at) + (running->unchanged ? position : 1));
		internalerrquery(running->source);
	}
}

/* Runs a translated statement; rows go nowhere. */
static void
run(const Running *running, bool is_call)
{
	ErrorContextCallback callback = {error_context_stack, running_error_callback, (void *) running};
	int			result;

	error_context_stack = &callback;
	result = SPI_execute(running->translated, false, 0);
	error_context_stack = callback.previous;
	/* COMMIT, ROLLBACK and COPY, which SPI does not run */
	if (result < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this statement cannot run in DO"),
				 errdetail("%s.", SPI_result_code_string(result)),
				 errcontext("statement %s", running->translated)));
	if (!is_call && SPI_tuptable != NULL && SPI_processed > 0)
		ereport(NOTICE,
				(errmsg_plural("%llu row of a SELECT is discarded", "%llu rows of a SELECT are discarded",
							   (unsigned long) SPI_processed, (unsigned long long) SPI_processed),
				 errhint("To see rows, run what change_stream_translate gives, in psql by \\gexec.")));
	SPI_freetuptable(SPI_tuptable);
}

/* Translates and runs the statements of a text. */
static void
run_text(Oid namespace, const char *text)
{
	int			count;
	DialectToken *tokens = mcs_dialect_lex_text(text, &count);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(context, "dialect statement", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < count;)
	{
		int			end = mcs_dialect_statement_end(text, tokens, i);

		CHECK_FOR_INTERRUPTS();
		if (end > i)
		{
			Running		running = {text, tokens[i].at, NULL, false};
			int			size = mcs_dialect_token_end(&tokens[end - 1]) - running.at;
			bool		is_call;

			/* a translation is needed until its statement has run */
			MemoryContextReset(scratch);
			MemoryContextSwitchTo(scratch);
			running.translated = mcs_translate_statement(namespace, text, tokens, i, end, &is_call);
			running.unchanged = strlen(running.translated) == size && strncmp(running.translated, text + running.at, size) == 0;
			MemoryContextSwitchTo(context);
			run(&running, is_call);
			/* the next statement may name what this one has made */
			CommandCounterIncrement();
		}
		i = end + 1;
	}
}

/* DO LANGUAGE change_stream */
Datum
mcs_change_stream_inline_handler(PG_FUNCTION_ARGS)
{
	InlineCodeBlock *block = castNode(InlineCodeBlock, PG_GETARG_POINTER(0));

	/* a call at the top level lets procedures commit */
	if (SPI_connect_ext(block->atomic ? 0 : SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	run_text(get_func_namespace(fcinfo->flinfo->fn_oid), block->source_text);
	SPI_finish();
	PG_RETURN_VOID();
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
