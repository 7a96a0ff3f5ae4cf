/*
 * fdw/analyze.c
 *	  ANALYZE of a foreign table: reads the history once and samples it.
 *
 * Only on command: autovacuum leaves foreign tables alone.
 */
#include "mongo_change_stream.h"

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "fdw/fdw.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/sampling.h"

/* The event at hand as a row of the table. */
static HeapTuple
make_row(Relation relation, const FdwTable *table, FdwRead *read)
{
	Datum	   *values = palloc0(sizeof(Datum) * table->natts);
	bool	   *nulls = palloc(sizeof(bool) * table->natts);
	ChangeEvent event;

	mcs_read_event(read, &event);
	memset(nulls, true, sizeof(bool) * table->natts);
	for (int i = 0; i < table->natts; i++)
		if (table->columns[i] >= 0)
			values[i] = mcs_event_column(&event, (EventColumn) table->columns[i], mcs_fdw_looks_up(table), &nulls[i]);
	return heap_form_tuple(RelationGetDescr(relation), values, nulls);
}

/* Samples the rows, each with the same chance; returns how many. */
static int
sample_rows(Relation relation, int elevel, HeapTuple *rows, int wanted, double *total, double *dead)
{
	FdwTable   *table = mcs_fdw_table(relation);
	FdwRequest	request = {0};
	uint64		until = 0;
	FdwLessons	lessons = {.until = &until};
	ReservoirStateData state;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext row_context = AllocSetContextCreate(context, "row of a sample", ALLOCSET_DEFAULT_SIZES);
	Bitmapset  *columns = NULL;
	FdwRead    *read;
	double		skip = -1;
	int			count = 0;

	/* a sample needs every column, images included */
	for (int i = 0; i < table->natts; i++)
		if (table->columns[i] >= 0)
			columns = bms_add_member(columns, table->columns[i]);
	request.table = table;
	request.target = mcs_mongo_target_of_table(table->serverid, GetUserId());
	mcs_fdw_range_all(&request.range);
	request.used = columns;
	request.asked = columns;
	/* as the table's owner, whom ANALYZE has made the current user */
	read = mcs_read_begin(&request, &lessons);
	reservoir_init_selection_state(&state, wanted);
	*total = 0;
	*dead = 0;
	while (mcs_read_next(read))
	{
		int			place = count;

		CHECK_FOR_INTERRUPTS();
		*total += 1;
		/* as in acquire_sample_rows: Vitter's algorithm, with no block to choose first */
		if (count == wanted)
		{
			if (skip < 0)
				skip = reservoir_get_next_S(&state, *total - 1, wanted);
			if (skip-- > 0)
				continue;
			place = (int) (wanted * sampler_random_fract(&state.randstate));
			heap_freetuple(rows[place]);
			skip = -1;
		}
		else
			count++;
		MemoryContextSwitchTo(row_context);
		rows[place] = make_row(relation, table, read);
		MemoryContextSwitchTo(context);
		rows[place] = heap_copytuple(rows[place]);
		MemoryContextReset(row_context);
	}
	mcs_read_end(read);
	MemoryContextDelete(row_context);
	ereport(elevel,
			(errmsg("\"%s\": table contains %.0f rows, %d rows in sample", table->name, *total, count)));
	return count;
}

bool
mcs_fdw_analyze(Relation relation, AcquireSampleRowsFunc *function, BlockNumber *pages)
{
	*function = sample_rows;
	/* MongoDB's oplog has no pages of ours; 0 would mean that the table is empty */
	*pages = 1;
	return true;
}
