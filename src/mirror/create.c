/*
 * mirror/create.c
 *	  Making a mirror.
 *
 * What is wrong with a request is found in this order: the caller's rights on
 * the stream, what the texts say, the table, what MongoDB has; then stream and
 * table are made if there are none, and at last, with the stream's rows locked,
 * the definition and its copy.  All of that is one transaction: of a request
 * that is refused nothing stays.
 */
#include "mongo_change_stream.h"

#include "mirror/mirror_internal.h"
#include "utils/builtins.h"

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MCS_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mirror_name must have 1 to %d bytes", MCS_NAME_MAX),
				 errdetail("It has %zu.", strlen(name))));
}

static void
refuse_duplicate(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("change mirror \"%s\" already exists", name)));
}

MirrorOnDelete
mcs_mirror_read_on_delete(const char *text)
{
	static const OptionWord words[] = {
		{"delete", NULL, MIRROR_ON_DELETE_DELETE},
		{"mark", NULL, MIRROR_ON_DELETE_MARK},
		{NULL, NULL, 0}
	};

	return text ? mcs_options_word(words, text, "on_delete")->value : MIRROR_ON_DELETE_DELETE;
}

void
mcs_mirror_check_as_owner(const Mirror *mirror)
{
	OwnerScope	scope;

	/* expressions are simplified, which runs functions of the owner's */
	mcs_owner_begin(&scope, mirror->owner, mirror->settings, false);
	mcs_mirror_close(mcs_mirror_open(mirror, NULL));
	mcs_owner_end(&scope);
}

/* The texts of a request as a definition has them, plain under the settings that they will run under. */
static List *
take_texts(Mirror *mirror, const MirrorRequest *request)
{
	List	   *columns = mcs_mirror_read_columns(request->columns);

	mirror->settings = mcs_owner_capture_settings();
	/* blank, as what is proposed for an empty collection, is none */
	mirror->columns = columns ? request->columns : NULL;
	mirror->translated_columns = mcs_mirror_plain_columns(columns);
	mirror->translated_filter = mcs_mirror_plain_filter(request->filter);
	mirror->filter = mirror->translated_filter ? request->filter : NULL;
	mirror->on_delete = mcs_mirror_read_on_delete(request->on_delete);
	return columns;
}

void
mcs_mirror_create(const MirrorRequest *request)
{
	Mirror	   *mirror = palloc0(sizeof(Mirror));
	List	   *columns;
	Oid			table;
	Stream	   *stream;

	check_name(request->name);
	mirror->name = request->name;
	/* for the message's sake, before anything is made; the insertion decides */
	if (mcs_mirrors_load(mirror->name, false, true))
		refuse_duplicate(mirror->name);
	mcs_mirror_find_source(mirror, request);
	mcs_mirror_lock_name(mirror->name, MIRROR_NAME);
	if (mcs_mirrors_load(mirror->name, false, true))
		refuse_duplicate(mirror->name);
	columns = take_texts(mirror, request);
	table = mcs_mirror_find_table(mirror, request->table);
	if (OidIsValid(table))
	{
		mcs_mirror_check_table(mirror, table, columns, false);
		mcs_mirror_check_as_owner(mirror);
		mcs_mirror_tell_of_table(mirror, table, columns);
	}
	mcs_mirror_open_source(mirror, request);
	if (!OidIsValid(table))
	{
		mcs_mirror_make_table(mirror, columns);
		mcs_mirror_check_as_owner(mirror);
	}

	/* with its rows locked, and the right asked for again: the stream may be somebody else's by now, or have got a filter */
	stream = mcs_stream_load_own(mirror->stream, true);
	mcs_mirror_recheck_source(mirror, stream);
	if (!mcs_mirrors_insert(mirror))
		refuse_duplicate(mirror->name);
	/* in a table that was just made there is nothing to look through */
	mcs_snapshots_begin_mirror(mirror, OidIsValid(table));
	if (!request->quiet)
		mcs_mirror_tell_if_waiting(stream);
}
