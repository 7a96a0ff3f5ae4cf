/*
 * base/owner.c
 *	  Doing something as the owner of a stream or handler in a session that may be
 *	  anybody's, under the settings of who created it.
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
#include "utils/guc.h"

/* What texts of conditions and code are parsed under; the rest is the session's. */
static const char *const captured[] = {"search_path", "TimeZone", "DateStyle", "IntervalStyle"};

/* The caller's settings, "name=value" each. */
List *
mcs_owner_capture_settings(void)
{
	List	   *settings = NIL;

	for (int i = 0; i < lengthof(captured); i++)
		settings = lappend(settings, psprintf("%s=%s", captured[i], GetConfigOption(captured[i], false, false)));
	return settings;
}

int
mcs_owner_begin_settings(List *settings)
{
	int			level = NewGUCNestLevel();
	ListCell   *cell;

	foreach(cell, settings)
	{
		char	   *name = pstrdup(lfirst(cell));
		char	   *value = strchr(name, '=');

		if (value == NULL)
			continue;
		*value++ = '\0';
		for (int i = 0; i < lengthof(captured); i++)
			/* only these: the list is stored in a table, which its owner can write */
			if (strcmp(name, captured[i]) == 0)
				(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	return level;
}

void
mcs_owner_end_settings(int level)
{
	/* not as at a commit, which would let what ran between set something for the session of who called it */
	AtEOXact_GUC(false, level);
}

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
