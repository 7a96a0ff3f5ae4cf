/*
 * base/attempt.c
 *	  Doing what may fail in a subtransaction, and getting the error to look at.
 *
 * What an attempt opened and locked, and what it wrote, goes with the
 * subtransaction.  Things that a subtransaction does not know of are the
 * action's own affair: settings, static variables, memory it did not let go.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "base/base.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Both kinds of attempt; keep: what succeeds stays. */
static ErrorData *
attempt(void (*action) (void *), void *arg, bool keep)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	/* the begin switches to a context that ends with the subtransaction, and results are to outlive that */
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		action(arg);
		/* its end may raise an error, too */
		if (keep)
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		/* out of ErrorContext, which the flush resets */
		MemoryContextSwitchTo(context);
		error = mcs_end_copy_error();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error || !keep)
		RollbackAndReleaseCurrentSubTransaction();
	/* either end leaves the parent transaction's context and resource owner, not the caller's */
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* What succeeds stays; of what fails nothing does. */
ErrorData *
mcs_attempt(void (*action) (void *), void *arg)
{
	return attempt(action, arg, true);
}

/* Nothing stays, whether it succeeds or fails. */
ErrorData *
mcs_attempt_undone(void (*action) (void *), void *arg)
{
	return attempt(action, arg, false);
}

ErrorData *
mcs_attempt_renew(MemoryContext context)
{
	ErrorData  *error;

	/* out of ErrorContext, which the flush resets */
	MemoryContextSwitchTo(context);
	error = mcs_end_copy_error();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	return error;
}
