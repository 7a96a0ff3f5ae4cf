/*
 * base/settings.c
 *	  Settings of a stream's creator, under which the stream's filter and added
 *	  fields are parsed and evaluated wherever that happens.
 */
#include "mongo_change_stream.h"

#include "base/base.h"
#include "utils/guc.h"

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
