/*
 * projection/projection_internal.h
 *	  What the files of this folder share.
 */
#ifndef MCS_PROJECTION_INTERNAL_H
#define MCS_PROJECTION_INTERNAL_H

#ifndef MCS_INSIDE_projection
#error "projection/projection_internal.h is for the files of its folder only"
#endif

#include "projection/projection.h"
#include "shared/shared.h"
#include "tables/tables.h"
#include "worker/worker.h"

/* ---- definition.c ---- */

/* Puts what a call says of options into a definition, and what follows from them. */
extern void mcs_projection_change_options(ChangeProjection *projection, const OptionChanges *changes);

/* ---- refresh.c ---- */

/* Refreshes a view in the caller's transaction, under its settings and limits. */
extern void mcs_projection_refresh(const ProjectionStanding *standing);

/* How long to leave it alone after a refresh that took so many microseconds. */
extern TimestampTz mcs_projection_next(const ChangeProjection *projection, int64 took);

#endif							/* MCS_PROJECTION_INTERNAL_H */
