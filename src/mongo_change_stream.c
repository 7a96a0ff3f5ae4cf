/*
 * mongo_change_stream.c
 *	  Module magic and the list of what each family does at load.
 */
#include "mongo_change_stream.h"

#include "mongo.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	mcs_mongo_init();
}
