/*
 * projection/refresh.c
 *	  One REFRESH MATERIALIZED VIEW.
 *
 * It runs in a session that is the view's owner's and nobody else's, and REFRESH
 * itself restricts it as all maintenance commands are: what the view calls leaves
 * no temporary table, cursor or role behind.  Names in what it calls are looked up as
 * they were for who made the projection (from PostgreSQL 17 on as REFRESH itself
 * has it, in pg_catalog).
 *
 * CONCURRENTLY, where the view has what that needs: readers go on, and rows that
 * are the same stay.  Else nobody can read the view meanwhile, and whoever wants to
 * waits behind the refresh already while it waits for those that read; so it does not
 * wait for long.
 */
#include "mongo_change_stream.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "projection/projection_internal.h"
#include "utils/guc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define LOCK_TIMEOUT		"5s"

/* Of a process's time a view gets this part at most, so that views which take long leave something to others. */
#define PAUSE_FACTOR		10

void
mcs_projection_refresh(const ProjectionStanding *standing)
{
	const ChangeProjection *projection = standing->projection;
	OwnerScope	scope;
	int			result;

	mcs_owner_begin(&scope, GetUserId(), projection->settings, true);
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	enable_timeout_after(STATEMENT_TIMEOUT, (int) (mcs_convert_interval(projection->timeout) / 1000));
	result = SPI_execute(psprintf("REFRESH MATERIALIZED VIEW %s%s", standing->concurrently ? "CONCURRENTLY " : "", projection->name),
						 false, 0);
	disable_timeout(STATEMENT_TIMEOUT, false);
	if (result < 0)
		elog(ERROR, "could not refresh %s: %s", projection->name, SPI_result_code_string(result));
	SPI_finish();
	mcs_owner_end(&scope);
}

TimestampTz
mcs_projection_next(const ChangeProjection *projection, int64 took)
{
	return GetCurrentTimestamp() + Max(mcs_convert_interval(projection->min_interval), took * PAUSE_FACTOR);
}
