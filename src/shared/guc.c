/*
 * shared/guc.c
 *	  The settings of the whole server: how many streams and handlers may run,
 *	  and whether any does.
 *
 * Those of PGC_POSTMASTER give shared memory its size, so they are read where the
 * library is preloaded; in a session that loads it by itself there is no memory
 * to size, and none of them exists.
 */
#include "mongo_change_stream.h"

#include "miscadmin.h"
#include "shared/shared_internal.h"
#include "utils/guc.h"

bool		mcs_shared_enabled = true;
int			mcs_shared_max_streams = 200;
int			mcs_shared_max_streams_per_role = 100;
int			mcs_shared_max_handlers = 400;
int			mcs_shared_max_handlers_per_role = 200;
int			mcs_shared_max_databases = 1024;
int			mcs_shared_reserved_processes = -1;
int			mcs_shared_gateway_port = 0;

void
mcs_guc_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomBoolVariable("mongo_change_stream.enabled",
							 "Lets change streams and handlers run on this server.",
							 "Off for a copy of a server that must not follow beside its original.",
							 &mcs_shared_enabled, true,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_streams",
							"Sets how many change streams can run at the same time in the whole database cluster.",
							"Each running stream needs one of max_worker_processes, too.",
							&mcs_shared_max_streams, 200, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_streams_per_role",
							"Sets how many change streams of one role can run at the same time.",
							"0 sets no limit.",
							&mcs_shared_max_streams_per_role, 100, 0, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_handlers",
							"Sets how many workers of handlers there can be in the whole database cluster.",
							"Each that has something to do needs one of max_worker_processes, too.",
							&mcs_shared_max_handlers, 400, 1, 10000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_handlers_per_role",
							"Sets how many workers the handlers of one role can have.",
							"0 sets no limit.",
							&mcs_shared_max_handlers_per_role, 200, 0, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.max_databases",
							"Sets in how many databases of the cluster change streams are looked for.",
							NULL,
							&mcs_shared_max_databases, 1024, 1, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.reserved_worker_processes",
							"Sets how many of max_worker_processes are left to others, parallel queries for example.",
							"-1 leaves an eighth of them, at most 4.",
							&mcs_shared_reserved_processes, -1, -1, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("mongo_change_stream.gateway_port",
							"Sets the port of loopback on which clients can send statements in the dialect.",
							"0 means that there is none.",
							&mcs_shared_gateway_port, 0, 0, 65535,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}
