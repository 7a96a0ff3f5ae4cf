/*
 * mongo_change_stream.c
 *	  Module magic, and the list of what each folder does at load: its settings,
 *	  hooks and callbacks, which are registered where they are used.
 */
#include "mongo_change_stream.h"

#include "dialect/dialect.h"
#include "gateway/gateway.h"
#include "handler/handler.h"
#include "mongo/mongo.h"
#include "shared/shared.h"
#include "stream/stream.h"
#include "tables/tables.h"
#include "utils/guc.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	mcs_mongo_init();
	mcs_guc_init();
	mcs_kept_init();
	mcs_shared_init();
	mcs_wake_init();
	mcs_launcher_init();
	mcs_stream_hook_init();
	mcs_token_table_init();
	mcs_handler_init();
	mcs_dialect_init();
	mcs_gateway_init();
	MarkGUCPrefixReserved(MCS_EXTENSION);
}
