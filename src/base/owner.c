/*
 * base/owner.c
 *	  Doing something as a stream's owner in a session that may be anybody's.
 *
 * Code of the owner, and of whoever hung triggers on the events table, runs by
 * that.  It gets nothing of who called: the session is restricted as for
 * maintenance commands, so there is no way back to the caller, nothing is left
 * for his commit, and what the code has set is put back, since a search_path that
 * stayed would choose the functions of the caller's next statement.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "miscadmin.h"

/*
 * From here to mcs_owner_end, or an error, the session is the owner's.  Where free
 * is true, his own session is as free as his worker.  One that was somebody
 * else's and may become so again, by SET ROLE or behind a SECURITY DEFINER
 * function, is not his own: what code defers to the commit would be done by whom
 * the session is then.
 */
void
mcs_owner_begin(OwnerScope *scope, Oid owner, List *settings, bool free)
{
	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	if (!free || scope->userid != owner || GetAuthenticatedUserId() != owner)
		SetUserIdAndSecContext(owner, scope->sec_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	scope->guc_level = mcs_owner_begin_settings(settings);
}

void
mcs_owner_end(const OwnerScope *scope)
{
	mcs_owner_end_settings(scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}
