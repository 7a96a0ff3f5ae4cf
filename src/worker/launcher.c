/*
 * worker/launcher.c
 *	  The launcher, one for the whole cluster, and the prober that it sends into
 *	  a database to see which streams shall run there.
 *
 * The launcher itself is connected to no database: it reads pg_database and
 * shared memory only, starts probers and workers, and sleeps on its latch.  It
 * starts after recovery, so nothing of ours runs on a standby.
 */
#include "mongo_change_stream.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "shared/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker/worker_internal.h"

/* Databases come and go without telling anybody: looked for so often. */
#define DATABASE_SCAN_MS	60000

/* Between two looks at what handlers' processes hold up. */
#define GUARD_MS			200

#define PROBER_LOCK_TIMEOUT "5s"

PGDLLEXPORT void mcs_launcher_main(Datum arg);
PGDLLEXPORT void mcs_launcher_prober_main(Datum arg);

/* Notes every database that can be connected to, and forgets those that are gone. */
static void
scan_databases(void)
{
	static int	told_left_out = 0;
	List	   *databases = NIL;
	int			left_out = 0;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	ListCell   *cell;

	/* without a database there is no SQL, but shared catalogs can be scanned; a transaction and a snapshot are asked for */
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datallowconn && database->datconnlimit != DATCONNLIMIT_INVALID_DB)
			databases = lappend_oid(databases, database->oid);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	/* before others are added: it makes room */
	mcs_shared_remove_databases_but(databases);
	foreach(cell, databases)
		left_out += !mcs_shared_add_database(lfirst_oid(cell));
	CommitTransactionCommand();
	/* once, not with each scan */
	if (left_out > 0 && left_out != told_left_out)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("change streams are not looked for in %d databases", left_out),
				 errdetail("mongo_change_stream.max_databases is %d.", mcs_shared_max_databases),
				 errhint("Raise it and restart PostgreSQL.")));
	told_left_out = left_out;
}

/* What all background workers of ours have alike. */
static void
fill_worker(BackgroundWorker *worker, const char *function, const char *type)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* a standby can store nothing */
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	/* when one is started again is the launcher's to say, which knows how the last one ended */
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, MCS_EXTENSION, sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
}

/* Starts one prober or worker; what cannot be started now is tried again. */
static void
start(const Launch *launch)
{
	BackgroundWorker worker;

	if (launch->kind == LAUNCH_PROBER)
	{
		fill_worker(&worker, "mcs_launcher_prober_main", "mongo_change_stream prober");
		strlcpy(worker.bgw_name, "mongo_change_stream prober", BGW_MAXLEN);
		worker.bgw_main_arg = ObjectIdGetDatum(launch->database);
	}
	else
	{
		StaticAssertStmt(sizeof(launch->ticket) <= BGW_EXTRALEN, "ticket too large for bgw_extra");
		if (launch->handler[0] && !launch->stream[0])
		{
			fill_worker(&worker, "mcs_projection_main", "mongo_change_stream projection");
			strlcpy(worker.bgw_name, "mongo_change_stream projections", BGW_MAXLEN);
		}
		else if (launch->handler[0])
		{
			fill_worker(&worker, "mcs_handler_main", "mongo_change_stream handler");
			snprintf(worker.bgw_name, BGW_MAXLEN, "mongo_change_stream handler: %s", launch->handler);
		}
		else if (launch->group)
		{
			fill_worker(&worker, "mcs_group_main", "mongo_change_stream group");
			snprintf(worker.bgw_name, BGW_MAXLEN, "mongo_change_stream group: %s and others", launch->stream);
		}
		else
		{
			fill_worker(&worker, "mcs_worker_main", "mongo_change_stream worker");
			snprintf(worker.bgw_name, BGW_MAXLEN, "mongo_change_stream worker: %s", launch->stream);
		}
		/* the slot alone may be another's by the time the process starts: the ticket tells */
		worker.bgw_main_arg = Int32GetDatum(launch->ticket.index);
		memcpy(worker.bgw_extra, &launch->ticket, sizeof(launch->ticket));
	}
	/* nobody waits for it to start: it says so in shared memory, or the launcher misses it there after a while */
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		mcs_shared_launch_failed(launch);
}

/* Reads the settings again; where that turns everything off or on, it does so. */
static void
reload_settings(void)
{
	bool		enabled = mcs_shared_enabled;

	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	if (enabled && !mcs_shared_enabled)
	{
		ereport(LOG, (errmsg("change streams end, since mongo_change_stream.enabled is off")));
		mcs_shared_stop_all();
	}
	else if (!enabled && mcs_shared_enabled)
		mcs_shared_start_all();
}

/* Entry of the launcher. */
void
mcs_launcher_main(Datum arg)
{
	TimestampTz scanned_at = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* no database: one that it is connected to could not be dropped */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	mcs_shared_attach_launcher();

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		Launch		launch;
		long		wait_ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload_settings();
		if (mcs_shared_enabled && TimestampDifferenceExceeds(scanned_at, now, DATABASE_SCAN_MS))
		{
			scan_databases();
			scanned_at = now;
		}
		/* all that is due, one by one; then as long as nothing is */
		while ((launch = mcs_shared_next_launch(&wait_ms)).kind != LAUNCH_NOTHING)
			start(&launch);
		if (mcs_blockers_look())
			wait_ms = Min(wait_ms, GUARD_MS);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(wait_ms, DATABASE_SCAN_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/*
 * The streams of this database, in the long-lived context; those that came by a
 * dump, a template or pg_upgrade are marked as paused, so that a copy never
 * follows beside its original.
 */
static List *
list_streams(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	List	   *streams = mcs_streams_list();
	ListCell   *cell;

	MemoryContextSwitchTo(old);
	foreach(cell, streams)
	{
		StreamListed *listed = lfirst(cell);
		Stream	   *stream = listed->runnable || listed->handler ? NULL : mcs_streams_load(listed->name, false, true);

		if (stream && stream->restored && !stream->paused)
			mcs_streams_pause_restored(listed->name);
	}
	return streams;
}

/*
 * Entry of a prober.  It is connected as the bootstrap superuser and therefore
 * runs no user's code: it reads one table of ours and leaves.
 */
void
mcs_launcher_prober_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);
	List	   *streams = NIL;
	bool		installed;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* before it connects: a database that is to be dropped waits for those that are known to be there */
	if (!mcs_shared_attach_prober(database))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	/* before the snapshot: a change that this one misses makes the database dirty again */
	mcs_shared_probing(database);

	mcs_process_pin_settings();
	/* probers go one at a time: one that waits for a lock would hold up all databases */
	SetConfigOption("lock_timeout", PROBER_LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	installed = OidIsValid(mcs_extension_schema());
	if (installed)
	{
		streams = list_streams();
		mcs_grants_forget_missing();
		mcs_projections_forget_missing();
	}
	/* also where the extension is gone: what shared memory has of the database goes, too */
	mcs_shared_probed(database, installed, streams);
	if (installed)
		mcs_alert_of_oplogs();
	PopActiveSnapshot();
	CommitTransactionCommand();
	proc_exit(0);
}

/* Registers the launcher with the postmaster. */
void
mcs_launcher_init(void)
{
	BackgroundWorker worker;

	/* pg_upgrade wants nobody in the databases, and nothing written beside it */
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	fill_worker(&worker, "mcs_launcher_main", "mongo_change_stream launcher");
	strlcpy(worker.bgw_name, "mongo_change_stream launcher", BGW_MAXLEN);
	/* the launcher itself has nobody but the postmaster to start it again */
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}
