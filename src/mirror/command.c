/*
 * mirror/command.c
 *	  The functions that make, change and end mirrors.
 *
 * Who may do so is who may do it with the stream.  The table is locked before
 * the stream's rows, as the stream's process comes to them; with the rows locked
 * its batch waits, finds that the definition is another (tables/mirrors.c), and
 * is thrown away.  So when a function has returned, nothing is written by the
 * old definition any more.
 */
#include "mongo_change_stream.h"

#include "catalog/namespace.h"
#include "mirror/mirror_internal.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(mcs_create_change_mirror);
PG_FUNCTION_INFO_V1(mcs_alter_change_mirror);
PG_FUNCTION_INFO_V1(mcs_pause_change_mirror);
PG_FUNCTION_INFO_V1(mcs_resume_change_mirror);
PG_FUNCTION_INFO_V1(mcs_resync_change_mirror);
PG_FUNCTION_INFO_V1(mcs_drop_change_mirror);

/* ---- arguments and rights ---- */

static char *
name_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("mirror_name must not be null")));
	return mcs_convert_text_argument(fcinfo, 0);
}

/* The mirror, of whose stream the caller must be an owner. */
static Mirror *
load_own(const char *name)
{
	Mirror	   *mirror = mcs_mirrors_load(name, false, false);

	mcs_stream_check_owner(mirror->owner, "change mirror", name);
	return mirror;
}

/*
 * The same with its rows locked, those of its stream before its own.  Somebody
 * else may have dropped and made it anew meanwhile, on another stream: then
 * the caller's view of it is of no use.
 */
static Mirror *
lock_own(const Mirror *seen, Stream **stream)
{
	Mirror	   *mirror;

	*stream = mcs_stream_load_own(seen->stream, true);
	mirror = mcs_mirrors_load(seen->name, true, false);
	if (strcmp(mirror->stream, seen->stream) != 0 || strcmp(mirror->table, seen->table) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("change mirror \"%s\" was changed meanwhile", seen->name),
				 errhint("Try again.")));
	return mirror;
}

/* Whether the stream is there for this mirror only: it was made for it, nothing else hangs on it, and it keeps no events. */
static bool
has_stream_alone(const Mirror *mirror, const Stream *stream)
{
	return mirror->owns_stream && !stream->keep_events && list_length(mcs_mirrors_of_stream(stream->name)) == 1;
}

/* ---- create_change_mirror ---- */

Datum
mcs_create_change_mirror(PG_FUNCTION_ARGS)
{
	MirrorRequest request = {0};
	char	   *table;

	/* now, rather than when the first statement writes: MongoDB is asked before */
	PreventCommandIfReadOnly("create_change_mirror()");
	request.name = name_argument(fcinfo);
	request.collection = mcs_convert_text_argument(fcinfo, 1);
	request.stream = mcs_convert_text_argument(fcinfo, 2);
	table = mcs_convert_text_argument(fcinfo, 3);
	request.columns = mcs_convert_text_argument(fcinfo, 4);
	request.filter = mcs_convert_text_argument(fcinfo, 5);
	request.on_delete = mcs_convert_text_argument(fcinfo, 6);
	request.database = mcs_convert_text_argument(fcinfo, 7);
	request.server = mcs_convert_text_argument(fcinfo, 8);
	/* a mirror's name is one as it is written, a table's name is SQL */
	request.table = table ? makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(table))) :
		makeRangeVar(NULL, request.name, -1);
	mcs_mirror_create(&request);
	PG_RETURN_VOID();
}

/* ---- pause_change_mirror, resume_change_mirror, resync_change_mirror ---- */

/*
 * A stream that is there for this mirror only is paused as a whole: it goes on
 * where it was.  What is left out of a stream that runs is copied again later.
 */
Datum
mcs_pause_change_mirror(PG_FUNCTION_ARGS)
{
	Mirror	   *mirror;
	Stream	   *stream;

	PreventCommandIfReadOnly("pause_change_mirror()");
	mirror = lock_own(load_own(name_argument(fcinfo)), &stream);
	if (has_stream_alone(mirror, stream) && !mirror->stopped_reason)
		mcs_mirror_pause_stream(stream->name);
	else
	{
		mcs_mirrors_pause(mirror->name);
		mcs_wake_at_commit(stream->name);
	}
	PG_RETURN_VOID();
}

/* Columns as the mirror has them, or is to have them: names in them are looked up where its creator's were. */
static List *
read_columns(const Mirror *mirror, const char *text)
{
	OwnerScope	scope;
	List	   *columns;

	mcs_owner_begin(&scope, mirror->owner, mirror->settings, false);
	columns = mcs_mirror_read_columns(text);
	mcs_owner_end(&scope);
	return columns;
}

/* Raises where the mirror's table cannot be filled; makes it again where it is gone.  Before the stream's rows are locked. */
static void
prepare_table(Mirror *mirror)
{
	Oid			table = mcs_mirror_find_again(mirror);
	List	   *columns = read_columns(mirror, mirror->columns);

	if (OidIsValid(table))
		mcs_mirror_check_table(mirror, table, columns, false);
	else
	{
		mcs_mirror_make_table(mirror, columns);
		ereport(NOTICE,
				(errmsg("table %s did not exist, so it is made again", mirror->table)));
	}
	mcs_mirror_check_as_owner(mirror);
}

/*
 * Copies again, which begins where the mirror is what it is now.  A stream of
 * its own that has lost its history goes on from now, as the copy brings all that
 * was missed.
 */
static void
copy_again(const Mirror *mirror, Stream *stream)
{
	if (has_stream_alone(mirror, stream) && stream->stopped_state && strcmp(stream->stopped_state, "history_lost") == 0)
	{
		mcs_mirror_resume_stream(stream->name, "now");
		stream = mcs_streams_load(stream->name, false, false);
	}
	mcs_mirrors_resume(mirror->name);
	mcs_snapshots_begin_mirror(mirror, true);
	mcs_mirror_tell_if_waiting(stream);
}

Datum
mcs_resume_change_mirror(PG_FUNCTION_ARGS)
{
	Mirror	   *seen;
	Mirror	   *mirror;
	Stream	   *stream;

	PreventCommandIfReadOnly("resume_change_mirror()");
	seen = load_own(name_argument(fcinfo));
	if (seen->paused || seen->stopped_reason)
		prepare_table(seen);
	mirror = lock_own(seen, &stream);
	/* what pause_change_mirror has paused, also where another mirror hangs on it since; whatever else keeps a stream is about this mirror only if it is alone */
	if ((mirror->owns_stream && !stream->keep_events && stream->paused && !stream->restored && !stream->stopped_state) ||
		(has_stream_alone(mirror, stream) && (stream->paused || stream->restored || stream->stopped_state) &&
		 !(stream->stopped_state && strcmp(stream->stopped_state, "history_lost") == 0)))
	{
		mcs_mirror_resume_stream(stream->name, NULL);
		stream = mcs_streams_load(stream->name, false, false);
	}
	if (mirror->paused || mirror->stopped_reason || (stream->stopped_state && has_stream_alone(mirror, stream)))
		copy_again(mirror, stream);
	else
	{
		/* a stream that waits for its next try, since MongoDB refused it, tries now */
		mcs_wake_at_commit(stream->name);
		mcs_mirror_tell_if_waiting(stream);
	}
	PG_RETURN_VOID();
}

Datum
mcs_resync_change_mirror(PG_FUNCTION_ARGS)
{
	Mirror	   *seen;
	Mirror	   *mirror;
	Stream	   *stream;

	PreventCommandIfReadOnly("resync_change_mirror()");
	seen = load_own(name_argument(fcinfo));
	prepare_table(seen);
	mirror = lock_own(seen, &stream);
	if (mirror->paused)
		ereport(NOTICE,
				(errmsg("change mirror \"%s\" is paused, and is copied again when it goes on", mirror->name),
				 errhint("SELECT resume_change_mirror(%s);", quote_literal_cstr(mirror->name))));
	else
		copy_again(mirror, stream);
	PG_RETURN_VOID();
}

/* ---- alter_change_mirror ---- */

/* What is to be changed; NULL stays as it is. */
typedef struct MirrorChange
{
	char	   *columns;
	char	   *filter;
	char	   *on_delete;
} MirrorChange;

/* Puts a change into a definition, as its owner; blank texts are none. */
static void
apply_change(Mirror *mirror, const MirrorChange *change, List *columns)
{
	OwnerScope	scope;

	if (change->columns)
	{
		mirror->columns = columns ? change->columns : NULL;
		mirror->translated_columns = mcs_mirror_plain_columns(columns);
	}
	if (change->on_delete)
		mirror->on_delete = mcs_mirror_read_on_delete(change->on_delete);
	if (change->filter == NULL)
		return;
	mcs_owner_begin(&scope, mirror->owner, mirror->settings, false);
	mirror->translated_filter = mcs_mirror_plain_filter(change->filter);
	mcs_owner_end(&scope);
	mirror->filter = mirror->translated_filter ? change->filter : NULL;
}

static bool
has_column(List *columns, const char *name)
{
	ListCell   *cell;

	foreach(cell, columns)
		if (strcmp(((MirrorColumn *) lfirst(cell))->name, name) == 0)
			return true;
	return false;
}

/* Columns that the definition no longer has keep what they have, which is soon old. */
static void
tell_of_left_columns(const Mirror *mirror, List *before, List *after)
{
	StringInfoData names;
	StringInfoData drops;
	ListCell   *cell;

	initStringInfo(&names);
	initStringInfo(&drops);
	foreach(cell, before)
	{
		const char *name = quote_identifier(((MirrorColumn *) lfirst(cell))->name);

		if (has_column(after, ((MirrorColumn *) lfirst(cell))->name))
			continue;
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", name);
		appendStringInfo(&drops, "%sDROP COLUMN %s", drops.len > 0 ? ", " : "", name);
	}
	if (names.len > 0)
		ereport(NOTICE,
				(errmsg("columns of table %s are no longer filled: %s", mirror->table, names.data),
				 errhint("ALTER TABLE %s %s;", mirror->table, drops.data)));
}

/* Whether rows that are there are not as a new definition has them. */
static bool
needs_copy(const Mirror *mirror, const MirrorChange *change)
{
	/* rows that were marked go; those that went before do not come back to be marked */
	bool		unmarks = change->on_delete && mirror->on_delete == MIRROR_ON_DELETE_DELETE;

	return (change->columns || change->filter || unmarks) && !mirror->paused;
}

Datum
mcs_alter_change_mirror(PG_FUNCTION_ARGS)
{
	MirrorChange change;
	Mirror	   *seen;
	Mirror	   *mirror;
	Stream	   *stream;
	List	   *before;
	List	   *after;
	Oid			table;

	PreventCommandIfReadOnly("alter_change_mirror()");
	seen = load_own(name_argument(fcinfo));
	change.columns = mcs_convert_text_argument(fcinfo, 1);
	change.filter = mcs_convert_text_argument(fcinfo, 2);
	change.on_delete = mcs_convert_text_argument(fcinfo, 3);
	before = read_columns(seen, seen->columns);
	after = change.columns ? read_columns(seen, change.columns) : before;
	apply_change(seen, &change, after);
	table = mcs_mirror_find_again(seen);
	if (OidIsValid(table))
		mcs_mirror_check_table(seen, table, after, true);
	else
		mcs_mirror_make_table(seen, after);
	mcs_mirror_check_as_owner(seen);
	tell_of_left_columns(seen, before, after);

	/* locked, and as it is now, but for what was read above */
	mirror = lock_own(seen, &stream);
	mirror->columns = change.columns ? seen->columns : mirror->columns;
	mirror->translated_columns = change.columns ? seen->translated_columns : mirror->translated_columns;
	mirror->filter = change.filter ? seen->filter : mirror->filter;
	mirror->translated_filter = change.filter ? seen->translated_filter : mirror->translated_filter;
	mirror->on_delete = change.on_delete ? seen->on_delete : mirror->on_delete;
	mcs_mirrors_update(mirror);
	mcs_wake_at_commit(mirror->stream);
	if (needs_copy(mirror, &change))
	{
		ereport(NOTICE,
				(errmsg("change mirror \"%s\" copies its collection again", mirror->name),
				 errdetail("The table is kept up meanwhile, and only rows that differ are written.")));
		copy_again(mirror, stream);
	}
	PG_RETURN_VOID();
}

/* ---- drop_change_mirror ---- */

/* The stream goes with the mirror that it was made for, unless somebody else needs it. */
static void
leave_stream(const Mirror *mirror, const Stream *stream)
{
	List	   *others = mcs_mirrors_of_stream(stream->name);
	Mirror	   *heir;

	if (!mirror->owns_stream)
		return;
	if (others == NIL && !stream->keep_events)
	{
		mcs_mirror_drop_stream(stream->name);
		return;
	}
	if (others == NIL)
	{
		ereport(NOTICE,
				(errmsg("change stream \"%s\" stays, as it keeps events", stream->name),
				 errhint("SELECT drop_change_stream(%s);", quote_literal_cstr(stream->name))));
		return;
	}
	/* the last of its mirrors takes it along */
	heir = linitial(others);
	heir->owns_stream = true;
	mcs_mirrors_update(heir);
	ereport(NOTICE,
			(errmsg("change stream \"%s\" stays, as other mirrors hang on it", stream->name),
			 errdetail("It now goes with mirror \"%s\".", heir->name)));
}

Datum
mcs_drop_change_mirror(PG_FUNCTION_ARGS)
{
	bool		drop_table = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	Mirror	   *mirror;
	Stream	   *stream;

	PreventCommandIfReadOnly("drop_change_mirror()");
	mirror = load_own(name_argument(fcinfo));
	if (drop_table)
		mcs_mirror_drop_table(mirror);
	mirror = lock_own(mirror, &stream);
	mcs_mirrors_delete(mirror->name);
	mcs_wake_at_commit(stream->name);
	leave_stream(mirror, stream);
	PG_RETURN_VOID();
}
