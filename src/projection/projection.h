/*
 * projection/projection.h
 *	  Projections: materialized views that are refreshed after the events that
 *	  they show, or at intervals.
 *
 * Functions of users write definitions into change_projections; the launcher
 * starts one process for all projections of a role in a database, when one of them
 * may be due; the process refreshes one after the other, and leaves when nothing
 * comes.  Uses base, shared, tables, stream and worker; nothing uses this one.
 */
#ifndef MCS_PROJECTION_H
#define MCS_PROJECTION_H

/* Entry of the process, which the launcher names. */
PGDLLEXPORT extern void mcs_projection_main(Datum arg);

#endif							/* MCS_PROJECTION_H */
