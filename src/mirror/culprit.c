/*
 * mirror/culprit.c
 *	  Which document it is that a mirror's table refuses.
 *
 * A statement writes many rows, and PostgreSQL says of one that breaks a
 * constraint what is in it, but not which document that is.  So when a mirror
 * stops, its changes are written once more, in halves: what goes in stays until
 * the refused one stands alone, and then all of it is undone.
 */
#include "mongo_change_stream.h"

#include "mirror/mirror_internal.h"
#include "miscadmin.h"

typedef struct Search
{
	const MirrorChanges *changes;
	bool		check_deferred;
	MirrorChanges *part;
	DocumentValue id;			/* of the part's first change; at the end, of the culprit */
	bool		found;
} Search;

/* Whether an error can be one document's doing: that of a value, a constraint, a trigger, a row too large for an index. */
static bool
is_of_document(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_PLPGSQL_ERROR:
			return true;
		default:
			return false;
	}
}

static void
write_part(void *arg)
{
	Search	   *search = arg;
	MirrorResult result;

	mcs_mirror_write(search->part, &result);
	if (search->check_deferred)
		mcs_events_table_check_deferred();
	CommandCounterIncrement();
}

static void
search_all(void *arg)
{
	Search	   *search = arg;
	int			low = 0;
	int			high = mcs_mirror_count(search->changes);

	while (low < high && !search->found)
	{
		int			size = Max((high - low) / 2, 1);
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		search->part = mcs_mirror_part(search->changes, low, size, &search->id);
		error = mcs_attempt(write_part, search);
		/* one that may pass is not what is looked for */
		if (error && !mcs_event_is_cause(error))
			ReThrowError(error);
		if (error == NULL)
			low += size;
		else if (size > 1)
			high = low + size;
		else
			search->found = true;
	}
}

char *
mcs_mirror_culprit(const MirrorChanges *changes, const ErrorData *error, bool check_deferred)
{
	Search		search = {.changes = changes,.check_deferred = check_deferred};
	ErrorData  *problem;

	if (!is_of_document(error))
		return NULL;
	problem = mcs_attempt_undone(search_all, &search);
	if (problem)
		ReThrowError(problem);
	return search.found ? mcs_typed_id_text(&search.id) : NULL;
}
