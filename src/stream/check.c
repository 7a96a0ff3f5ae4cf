/*
 * stream/check.c
 *	  SQL function check_mongo_server: one row for each thing that a change stream
 *	  needs, with the command that brings it about where it is missing.  Here
 *	  what it needs of PostgreSQL, which is told first, since it takes no time; what
 *	  it needs of MongoDB is asked in mongo/check.c.
 */
#include "mongo_change_stream.h"

#include <sys/statvfs.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_tablespace.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "stream/stream_internal.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A disk with less room than this is about to be full. */
#define DISK_FREE_BYTES		(INT64CONST(1) << 30)
#define DISK_FREE_PERCENT	5

PG_FUNCTION_INFO_V1(mcs_check_mongo_server);

/* Whose credentials are used. */
static void
check_mapping(ReturnSetInfo *result, const MongoTarget *target)
{
	const char *role = quote_identifier(GetUserNameFromId(target->userid, false));

	if (OidIsValid(target->umid))
		mcs_mongo_check_row(result, "user_mapping", true,
							psprintf("of %s, %s", target->public_mapping ? "PUBLIC" : role,
									 target->username ? "with a username" : "without a username"), NULL);
	else
		mcs_mongo_check_row(result, "user_mapping", true, psprintf("%s has none, and connects without a user", role), NULL);
}

/* Whether there can be processes at all. */
static void
check_preload(ReturnSetInfo *result)
{
	if (!mcs_shared_ready())
		mcs_mongo_check_row(result, "preload", false, "the library was not loaded at PostgreSQL's start, so no change stream runs",
							"Add '" MCS_EXTENSION "' to shared_preload_libraries, as by ALTER SYSTEM SET shared_preload_libraries = '" MCS_EXTENSION "', and restart PostgreSQL.");
	else if (!mcs_shared_enabled)
		mcs_mongo_check_row(result, "preload", false, MCS_REASON_DISABLED,
							"ALTER SYSTEM RESET mongo_change_stream.enabled; SELECT pg_reload_conf();");
	else
		mcs_mongo_check_row(result, "preload", true, "the library was loaded at PostgreSQL's start", NULL);
}

/* How many background workers there are, of whatever kind. */
static int
count_workers(void)
{
	int			count = 0;

	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
#if PG_VERSION_NUM >= 160000
		LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(i);
#else
		LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(i);
#endif

		if (local && local->backendStatus.st_procpid > 0 && local->backendStatus.st_backendType == B_BG_WORKER)
			count++;
	}
	return count;
}

/* Whether a further stream or handler would get a process. */
static void
check_workers(ReturnSetInfo *result)
{
	int			used = count_workers();
	int			reserved = mcs_shared_reserved_processes >= 0 ? mcs_shared_reserved_processes : Min(max_worker_processes / 8, 4);
	int			left = max_worker_processes - reserved - used;

	mcs_mongo_check_row(result, "worker_processes", left > 0,
						psprintf("%d of %d are in use, %d are reserved for others", used, max_worker_processes, reserved),
						left > 0 ? NULL :
						psprintf("ALTER SYSTEM SET max_worker_processes = %d; and restart PostgreSQL.", max_worker_processes * 2));
}

/* What is known of a whole server, or of this database. */
static void
check_server(ReturnSetInfo *result)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	bool		standby = RecoveryInProgress();

	mcs_mongo_check_row(result, "encoding", utf8, psprintf("this database has %s", GetDatabaseEncodingName()),
						utf8 ? NULL : "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0;");
	mcs_mongo_check_row(result, "standby", !standby,
						standby ? "this server is a standby: change streams run where it is not, and here after a promotion"
						: "this server is no standby", NULL);
}

/* Whether a folder's file system has room; figures are for who may see how the server is. */
static void
check_disk(ReturnSetInfo *result, const char *name, const char *folder, const char *what)
{
	struct statvfs room;
	int64		available;
	int64		size;
	int			percent;
	bool		ok;

	/* not to be had, as on a file system that does not say */
	if (statvfs(folder, &room) != 0 || room.f_blocks == 0)
		return;
	available = (int64) room.f_bavail * (int64) room.f_frsize;
	size = (int64) room.f_blocks * (int64) room.f_frsize;
	percent = (int) (available / (size / 100.0));
	ok = available >= DISK_FREE_BYTES && percent >= DISK_FREE_PERCENT;
	mcs_mongo_check_row(result, name, ok,
						has_privs_of_role(GetUserId(), ROLE_PG_MONITOR)
						? psprintf("%.1f GB are free for %s, %d %%", available / 1e9, what, percent)
						: psprintf("%s is free for %s", ok ? "enough" : "little", what),
						ok ? NULL : "Make room, or give streams a retention: SELECT alter_change_stream('...', retention => '30 days');");
}

/* check_mongo_server(server text) returns table (check_name, ok, detail, hint) */
Datum
mcs_check_mongo_server(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			events = mcs_extension_objects()->events;
	Oid			tablespace;
	MongoTarget *target;

	/* all rows in one call: no session shall stay open while the caller fetches them */
	InitMaterializedSRF(fcinfo, 0);
	target = mcs_mongo_target(mcs_convert_text_argument(fcinfo, 0), GetUserId());
	check_preload(result);
	check_workers(result);
	check_server(result);
	check_disk(result, "disk", DataDir, "the data directory");
	check_disk(result, "wal_disk", XLOGDIR, "WAL");
	tablespace = OidIsValid(events) ? get_rel_tablespace(events) : InvalidOid;
	if (!OidIsValid(tablespace))
		tablespace = MyDatabaseTableSpace;
	if (tablespace != DEFAULTTABLESPACE_OID)
		check_disk(result, "events_disk", psprintf("pg_tblspc/%u", tablespace), "the tablespace of change_stream_events");
	check_mapping(result, target);
	mcs_mongo_check(result, target);
	return (Datum) 0;
}
