/*
 * handler/batch.c
 *	  The events of a batch as code for each batch gets them.
 *
 * A procedure has one argument, an array.  A body has a relation, "changes", which
 * is what a trigger's transition table is to PostgreSQL: a tuplestore with a name,
 * known to one SPI connection, that which PL/pgSQL makes for a call.  PL/pgSQL
 * lets nobody in there but triggers and the plugin of debuggers.  So this is the
 * plugin, for as long as it takes to enter the function; whoever is it otherwise
 * misses nothing.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "handler/handler_internal.h"
#include "miscadmin.h"
#include "plpgsql.h"
#include "utils/array.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

/* What is kept of a batch in memory; more goes to a file. */
#define BATCH_KILOBYTES	16384

/* How many events the plans of a body are made for, which serve batches of any size. */
#define PLANNED_EVENTS	1000

/* The events on which the code runs, of which there are so many, as an array. */
Datum
mcs_batch_array(Oid event_type, const HandlerEvent *events, int count, int ran)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(event_type, -1);
	Datum	   *values = palloc(sizeof(Datum) * ran);
	int			at = 0;

	for (int i = 0; i < count; i++)
		if (events[i].ran)
			values[at++] = heap_copy_tuple_as_datum(events[i].row, desc);
	ReleaseTupleDesc(desc);
	return PointerGetDatum(construct_array(values, ran, event_type, -1, false, TYPALIGN_DOUBLE));
}

/* What waits for PL/pgSQL to enter a body: its function, the relation, and who was the plugin before. */
static PLpgSQL_plugin entry;
static Oid	entry_function;
static EphemeralNamedRelation entry_changes;
static PLpgSQL_plugin *plugin_before;

/* PL/pgSQL has connected to SPI for a function, and calls its plugin: once it is the body's, that is who it was again. */
static void
enter_body(PLpgSQL_execstate *estate, PLpgSQL_function *function)
{
	PLpgSQL_plugin **plugin = (PLpgSQL_plugin **) find_rendezvous_variable("PLpgSQL_plugin");
	int			result;

	if (function->fn_oid != entry_function)
		return;
	*plugin = plugin_before;
	if (plugin_before)
	{
		/* PL/pgSQL has told this one what it would have told that one */
		plugin_before->error_callback = entry.error_callback;
		plugin_before->assign_expr = entry.assign_expr;
		plugin_before->assign_value = entry.assign_value;
		plugin_before->eval_datum = entry.eval_datum;
		plugin_before->cast_value = entry.cast_value;
		if (plugin_before->func_setup)
			plugin_before->func_setup(estate, function);
	}
	result = SPI_register_relation(entry_changes);
	if (result != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation of a handler's events: %s", SPI_result_code_string(result));
}

/* Calls a function without arguments, which PL/pgSQL enters by enter_body. */
static void
call_body(FmgrInfo *function, EphemeralNamedRelation changes)
{
	PLpgSQL_plugin **plugin = (PLpgSQL_plugin **) find_rendezvous_variable("PLpgSQL_plugin");
	LOCAL_FCINFO(fcinfo, 0);

	InitFunctionCallInfoData(*fcinfo, function, 0, InvalidOid, NULL, NULL);
	memset(&entry, 0, sizeof(entry));
	entry.func_setup = enter_body;
	entry_function = function->fn_oid;
	entry_changes = changes;
	plugin_before = *plugin;
	*plugin = &entry;
	PG_TRY();
	{
		(void) FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		/* it was not entered: its text could not be compiled, for example */
		if (*plugin == &entry)
			*plugin = plugin_before;
	}
	PG_END_TRY();
}

/* Runs a body, which has the events on which it runs as the relation "changes". */
void
mcs_batch_run_body(FmgrInfo *function, const HandlerEvent *events, int count)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, Max(work_mem, BATCH_KILOBYTES));
	EphemeralNamedRelationData changes;

	for (int i = 0; i < count; i++)
		if (events[i].ran)
			tuplestore_puttuple(store, events[i].row);
	memset(&changes, 0, sizeof(changes));
	changes.md.name = "changes";
	changes.md.reliddesc = mcs_extension_events();
	changes.md.enrtype = ENR_NAMED_TUPLESTORE;
	changes.md.enrtuples = PLANNED_EVENTS;
	changes.reldata = store;
	call_body(function, &changes);
	tuplestore_end(store);
}
