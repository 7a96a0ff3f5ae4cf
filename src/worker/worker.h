/*
 * worker/worker.h
 *	  The running side: the launcher, what every background process of ours does
 *	  alike, and the process that follows one stream.  Uses base, document,
 *	  mongo, event, shared, tables and stream; handler uses it.
 */
#ifndef MCS_WORKER_H
#define MCS_WORKER_H

#include "stream/stream.h"

/* ---- launcher.c ---- */
extern void mcs_launcher_init(void);

/* ---- worker.c ---- */
PGDLLEXPORT extern void mcs_worker_main(Datum arg);
extern void mcs_worker_pin_settings(void);

/* A worker's transaction: begins one whose palloc'ed memory is the batch's; commits it and forgets the batch. */
extern void mcs_worker_step_begin(const char *activity, MemoryContext batch);
extern void mcs_worker_step_commit(MemoryContext batch);

/* ---- worker/culprit.c ---- */

/* Writes the parked events of a stream, which the caller may do, in place of their gap rows; returns how many. */
extern int64 mcs_culprit_retry_parked(const char *stream);

#endif							/* MCS_WORKER_H */
