/*
 * fdw/kept_read.c
 *	  Events that a change stream keeps, read in place of MongoDB's history.
 *
 * A scan whose plan has the mark of CHANGE_STREAM may take them where they are
 * the rows that MongoDB's history would give for the asked time: the stream is on
 * the same server, as the same user of MongoDB, leaves nothing out, and what is
 * asked for of its rows is as the table's options have it.  Behind the stream's
 * position the history itself is read, so nothing is missing however far behind
 * the stream is.  What cannot be seen to be so is read from MongoDB, all of it.
 *
 * From when on.  A stream's progress says behind which position and number no
 * event is missing by its own doing (tables/progress.c).  Rows that somebody has
 * deleted, retention among others, leave holes in the numbers: so the row before
 * the first that is read must be there, or the scan begins too early for what is
 * kept.  A hole farther on ends what is taken of the kept events, and the history
 * is read from there.
 *
 * All is as the snapshot of the statement shows it, the position as well as the
 * rows.  The time of rows rises with their numbers, so the first one is found by
 * halving.
 */
#include "mongo_change_stream.h"

#include "access/table.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "fdw/fdw.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "tables/tables.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(mcs_change_stream_kept);

/* A stream that could be read. */
typedef struct KeptSource
{
	const KeptStream *stream;
	char	   *misfit;			/* why it is not, whatever time is asked for; NULL: nothing */
	char	   *hint;			/* what would help */
	bool		begin_known;
	uint64		begin;			/* all events of later times are there */
} KeptSource;

struct FdwKept
{
	MemoryContext context;
	MemoryContext choice_context;	/* of the last choice: a scan may be repeated often */
	FdwKeptRequest request;
	List	   *sources;		/* of KeptSource */
	char	   *misfit;			/* of the table, which no stream could fit */
	bool		asks_fields;	/* for what is made of fields of the document */
	bool		split_tokens;	/* the history's tokens are of the form that streams with images have */
	bool		behind_known;	/* MongoDB's history is known to begin behind this */
	uint64		behind;

	/* the rows */
	bool		open;
	EventsScan	scan;
	const KeptStream *stream;	/* that is read */
	int64		next;			/* number of the row that comes next */
	StringInfoData token;		/* of the row at hand, or of the one before; empty: none was taken yet */
	StringInfoData new_token;
	FdwRange	range;
};

/* change_stream_kept(oid) -> boolean: the mark.  Where no scan has taken it out it says nothing. */
Datum
mcs_change_stream_kept(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

bool
mcs_fdw_kept_is_mark(const Node *clause)
{
	return IsA(clause, FuncExpr) && list_length(((const FuncExpr *) clause)->args) == 1 &&
		mcs_extension_function(((const FuncExpr *) clause)->funcid) == mcs_change_stream_kept;
}

/* ---- which streams fit ---- */

/* Whether a column is asked for. */
static bool
asks(const FdwKept *kept, EventColumn column)
{
	return bms_is_member(column, kept->request.asked);
}

/* ADD or SET of a table's option, for a hint. */
static void
append_option(StringInfo command, const FdwTable *table, const char *name, const char *value)
{
	appendStringInfo(command, "%s%s %s %s", command->len ? ", " : "",
					 mcs_mongo_option(GetForeignTable(table->relid)->options, name) ? "SET" : "ADD", name, quote_literal_cstr(value));
}

static char *
alter_table(const FdwTable *table, const char *options)
{
	return psprintf("ALTER FOREIGN TABLE %s OPTIONS (%s);",
					quote_qualified_identifier(get_namespace_name(get_rel_namespace(table->relid)), table->name), options);
}

/* Whether the history's tokens are of the form that streams with images have, and those of others have not. */
static bool
has_images(const char *full_document, const char *before_change)
{
	return strcmp(full_document, "default") != 0 || strcmp(before_change, "off") != 0;
}

/* What of the table's options is not as the stream has it, where that is seen in what is asked for. */
static void
check_options(const FdwKept *kept, KeptSource *source)
{
	const FdwTable *table = kept->request.table;
	const KeptStream *stream = source->stream;
	const char *full = mcs_fdw_full_document(table, kept->request.asked, true);
	const char *before = mcs_fdw_before_change(table, kept->request.asked, true);
	const char *expanded = stream->show_expanded_events ? "true" : "false";
	bool		splits = mcs_token_of_split_stream(stream->token);
	StringInfoData command;

	full = full ? full : "default";
	before = before ? before : "off";
	initStringInfo(&command);
	if (stream->show_expanded_events != table->show_expanded_events)
	{
		source->misfit = psprintf("has show_expanded_events %s and the table has not", expanded);
		append_option(&command, table, "show_expanded_events", expanded);
	}
	if (strcmp(full, stream->full_document) != 0 && (asks(kept, EVENT_FULL_DOCUMENT) || asks(kept, EVENT_FULL_DOCUMENT_SOURCE)))
	{
		source->misfit = psprintf("has full_document '%s' and the table '%s'", stream->full_document, full);
		append_option(&command, table, "full_document", stream->full_document);
	}
	if (strcmp(before, stream->full_document_before_change) != 0 && asks(kept, EVENT_FULL_DOCUMENT_BEFORE_CHANGE))
	{
		source->misfit = psprintf("has full_document_before_change '%s' and the table '%s'", stream->full_document_before_change, before);
		append_option(&command, table, "full_document_before_change", stream->full_document_before_change);
	}
	if (!asks(kept, EVENT_RESUME_TOKEN))
		splits = kept->split_tokens;
	else if (source->misfit == NULL && splits != kept->split_tokens)
		source->misfit = "has resume tokens of another form, and resume_token is asked for";
	/* only what helps */
	if (command.len > 0 && (!asks(kept, EVENT_RESUME_TOKEN) || splits == has_images(stream->full_document, stream->full_document_before_change)))
		source->hint = alter_table(table, command.data);
}

/* Whether two texts are the same, or neither is there. */
static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Whether a stream is followed as the user of MongoDB as whom the table is read: others may have other rights. */
static bool
is_same_user(const FdwKept *kept, const KeptStream *stream)
{
	const MongoTarget *ours = kept->request.target;
	const MongoTarget *theirs = mcs_mongo_target_of_table(ours->serverid, stream->owner);

	return same_text(ours->username, theirs->username) && same_text(ours->auth_source, theirs->auth_source) &&
		same_text(ours->auth_mechanism, theirs->auth_mechanism);
}

/* Why a stream's rows are others than the table's, if they are. */
static void
check_source(const FdwKept *kept, KeptSource *source)
{
	const KeptStream *stream = source->stream;
	const char *name = quote_literal_cstr(stream->name);

	if (stream->restored)
	{
		source->misfit = "was made in another database or cluster";
		source->hint = psprintf("SELECT resume_change_stream(%s);", name);
	}
	else if (stream->history_lost)
	{
		source->misfit = "has lost MongoDB's history";
		source->hint = psprintf("SELECT resume_change_stream(%s, start_at => 'earliest');", name);
	}
	else if (stream->token == NULL || stream->kept_from == NULL)
		source->misfit = "has no position yet from which on its events are known to be all";
	else if (stream->leaves_out)
		source->misfit = psprintf("has %s", stream->leaves_out);
	else if (stream->hides && kept->asks_fields)
		source->misfit = psprintf("has %s", stream->hides);
	/* not known right after a move of the position: then the next session looks */
	else if (stream->uri && !same_text(stream->uri, kept->request.target->uri))
		source->misfit = "has not followed yet by the server's uri of now";
	else if (!is_same_user(kept, stream))
		source->misfit = "is followed as another user of MongoDB";
	else
		check_options(kept, source);
}

/* The same for the table, of which no stream may be a part. */
static char *
check_table(const FdwTable *table)
{
	FdwRange	all;
	FdwStart	start;

	mcs_fdw_range_all(&all);
	if (table->pipeline)
		return "the table has a pipeline";
	mcs_fdw_start(table, &all, &start);
	/* a time of the table's is one like that of a condition */
	if (start.kind != CHANGE_STREAM_AT_TIME)
		return psprintf("the table has the option %s", table->resume_after ? "resume_after" : "start_at");
	return NULL;
}

/* Whether the events table can be read below SQL, and holds documents where they are asked for. */
static char *
check_events(FdwKept *kept, Relation events)
{
	EventsMap	map;

	if (!mcs_events_map_fits(events))
		return "columns of change_stream_events are not as the extension needs them";
	mcs_events_map(events, &map);
	for (int column = 0; column < EVENT_COLUMNS; column++)
		if (asks(kept, column) && !OidIsValid(mcs_event_columns[column].type) && !map.is_document[ROW_EVENT + column])
			return psprintf("column %s of change_stream_events has type %s", mcs_event_columns[column].name,
							format_type_be(TupleDescAttr(RelationGetDescr(events), map.attributes[ROW_EVENT + column] - 1)->atttypid));
	return NULL;
}

/* Looks for streams, and whether one fits; opens the rows where it may. */
static void
find_sources(FdwKept *kept)
{
	const FdwTable *table = kept->request.table;
	KeptPlace	place = {table->server_name, table->database, table->collection};
	bool		fits = false;
	ListCell   *cell;

	kept->misfit = check_table(table);
	if (kept->misfit)
		return;
	foreach(cell, mcs_kept_streams(&place, kept->request.user, kept->request.snapshot))
	{
		KeptSource *source = palloc0(sizeof(KeptSource));

		source->stream = lfirst(cell);
		check_source(kept, source);
		fits |= source->misfit == NULL;
		kept->sources = lappend(kept->sources, source);
	}
	if (fits)
	{
		Relation	events = table_open(mcs_extension_events(), AccessShareLock);

		kept->misfit = check_events(kept, events);
		table_close(events, NoLock);
		if (kept->misfit == NULL)
			mcs_events_scan_begin_snapshot(&kept->scan, kept->request.snapshot, "", 0);
		kept->open = kept->misfit == NULL;
	}
}

/* Begins in a context below the current one; what the request points to must live as long. */
FdwKept *
mcs_fdw_kept_begin(const FdwKeptRequest *request)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "kept events", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	FdwKept    *kept = palloc0(sizeof(FdwKept));
	Bitmapset  *images;

	kept->context = context;
	kept->choice_context = AllocSetContextCreate(context, "choice", ALLOCSET_SMALL_SIZES);
	kept->request = *request;
	initStringInfo(&kept->token);
	initStringInfo(&kept->new_token);
	images = bms_add_member(bms_make_singleton(EVENT_FULL_DOCUMENT), EVENT_FULL_DOCUMENT_BEFORE_CHANGE);
	kept->split_tokens = mcs_fdw_full_document(request->table, images, true) || mcs_fdw_before_change(request->table, images, true);
	for (int column = 0; column < EVENT_COLUMNS; column++)
		kept->asks_fields |= mcs_event_columns[column].has_fields && asks(kept, column);
	find_sources(kept);
	MemoryContextSwitchTo(old);
	return kept;
}

void
mcs_fdw_kept_end(FdwKept *kept)
{
	if (kept->open)
		mcs_events_scan_end(&kept->scan);
	MemoryContextDelete(kept->context);
}

/* ---- from which row on ---- */

/* Cluster time of the row that the scan stands on, whose token it reads; 0 where somebody has written what is no token. */
static uint64
row_time(FdwKept *kept)
{
	bool		isnull;
	Datum		value = mcs_events_scan_get(&kept->scan, ROW_RESUME_TOKEN, &isnull);
	text	   *token;

	resetStringInfo(&kept->new_token);
	if (isnull)
		return 0;
	token = DatumGetTextPP(value);
	appendBinaryStringInfo(&kept->new_token, VARDATA_ANY(token), VARSIZE_ANY_EXHDR(token));
	if ((Pointer) token != DatumGetPointer(value))
		pfree(token);
	return mcs_token_valid(kept->new_token.data) ? mcs_token_time(kept->new_token.data) : 0;
}

/* Goes to the first row of a stream from a number on; the number behind its last where there is none. */
static int64
seek(FdwKept *kept, const KeptStream *stream, int64 event_id)
{
	int64		found;

	CHECK_FOR_INTERRUPTS();
	mcs_events_scan_seek(&kept->scan, event_id - 1);
	found = mcs_events_scan_next(&kept->scan);
	return found == 0 || found > stream->last_event_id ? stream->last_event_id + 1 : found;
}

/* Goes to the first row of a time or a later one. */
static int64
seek_time(FdwKept *kept, const KeptStream *stream, uint64 time)
{
	int64		low = stream->kept_from_event + 1;
	int64		high = stream->last_event_id + 1;

	/* all before low are earlier, all from high on are not */
	while (low < high)
	{
		int64		middle = low + (high - low) / 2;
		int64		found = seek(kept, stream, middle);

		if (found >= high || row_time(kept) >= time)
			high = middle;
		else
			low = found + 1;
	}
	return seek(kept, stream, low);
}

/* The time after which all events are there, if nothing is missing farther on, where a row is the first. */
static uint64
time_before(FdwKept *kept, const KeptStream *stream, int64 first)
{
	uint64		time;

	if (first == stream->kept_from_event + 1)
		return mcs_progress_time(stream->kept_from);
	/* where the row before is gone it may have been of the time of this one, or none is left */
	if (seek(kept, stream, first - 1) != first - 1 && first > stream->last_event_id)
		return mcs_progress_time(stream->token);
	time = row_time(kept);
	return time ? time : PG_UINT64_MAX;
}

/* Goes to a source's first row for the range; true where all is there from the range's begin on. */
static bool
find_begin(FdwKept *kept, KeptSource *source, int64 *first)
{
	const KeptStream *stream = source->stream;
	uint64		from = kept->range.from;

	kept->scan.stream = CStringGetTextDatum(stream->name);
	if (!source->begin_known)
		source->begin = time_before(kept, stream, seek(kept, stream, stream->kept_from_event + 1));
	source->begin_known = true;
	*first = from > source->begin ? seek_time(kept, stream, from) : seek(kept, stream, stream->kept_from_event + 1);
	return from > source->begin && from > time_before(kept, stream, *first);
}

/* Whether MongoDB's own history begins behind a time; what can't be asked is not. */
static bool
history_begins_behind(FdwKept *kept, uint64 time)
{
	const FdwTable *table = kept->request.table;
	const char *collection = table->database ? table->collection : NULL;
	MongoError	error;

	if (kept->behind_known && kept->behind == time)
		return true;
	/* a connection of the cache may have been cut while nobody used it: then once more */
	for (int tries = 0; tries < 2; tries++)
	{
		bool		behind = mcs_mongo_history_begins_behind(mcs_cache_session(kept->request.target), table->database, collection, time, &error);

		if (error.class == MONGO_ERROR_TRANSIENT)
			continue;
		/* what it begins behind it will always; and a scan may be repeated often */
		kept->behind_known = behind;
		kept->behind = time;
		return behind;
	}
	return false;
}

/* ---- the choice ---- */

/* How a source is called: who reads a view is not told of streams that are none of his business. */
static char *
source_name(const KeptSource *source)
{
	return source->stream->told ? psprintf("change stream \"%s\"", source->stream->name) : pstrdup("a change stream");
}

/* A cluster time as cluster_time shows it. */
static char *
time_text(uint64 time)
{
	return pstrdup(timestamptz_to_str(mcs_event_timestamp(time)));
}

/* No stream is there: how to make one that keeps what is asked for. */
static void
tell_none(const FdwKept *kept, FdwKeptChoice *choice)
{
	const FdwTable *table = kept->request.table;
	const char *full = mcs_fdw_full_document(table, kept->request.asked, true);
	const char *before = mcs_fdw_before_change(table, kept->request.asked, true);
	StringInfoData command;

	choice->text = psprintf("no change stream whose events may be read follows %s", table->collection ? table->collection :
							table->database ? psprintf("database %s", table->database) : "every database");
	/* a new stream's tokens would not be those of a table without images */
	if (asks(kept, EVENT_RESUME_TOKEN) && !kept->split_tokens)
		return;
	initStringInfo(&command);
	appendStringInfo(&command, "SELECT create_change_stream(%s", quote_literal_cstr(table->name));
	if (table->collection && table->database)
		appendStringInfo(&command, ", collection => %s", quote_literal_cstr(table->collection));
	appendStringInfo(&command, ", database => %s, server => %s", quote_literal_cstr(table->database ? table->database : "*"),
					 quote_literal_cstr(table->server_name));
	if (full)
		appendStringInfo(&command, ", full_document => '%s'", full);
	if (before)
		appendStringInfo(&command, ", full_document_before_change => '%s'", before);
	if (table->show_expanded_events)
		appendStringInfoString(&command, ", show_expanded_events => true");
	/* with all that the history has, so that the same question is answered by it */
	appendStringInfoString(&command, ", start_at => 'earliest');");
	choice->hint = command.data;
}

/* The first source is as good as any to say why none is read. */
static void
tell_why_not(const FdwKept *kept, FdwKeptChoice *choice, const KeptSource *too_late)
{
	const KeptSource *source = too_late ? too_late : kept->sources ? linitial(kept->sources) : NULL;

	choice->kept = false;
	choice->hint = NULL;
	if (kept->misfit)
		choice->text = kept->misfit;
	else if (source == NULL)
		tell_none(kept, choice);
	else if (too_late && kept->range.from > too_late->begin)
		choice->text = psprintf("%s kept events of that time that are deleted", source_name(source));
	else if (too_late)
	{
		choice->text = psprintf("%s keeps all events only since %s", source_name(source), time_text(source->begin));
		choice->hint = psprintf("Add the condition cluster_time > %s.", quote_literal_cstr(time_text(source->begin)));
	}
	else
	{
		choice->text = psprintf("%s %s", source_name(source), source->misfit);
		choice->hint = source->stream->told ? source->hint : NULL;
	}
}

/* Takes a source, whose first row has that number. */
static void
take_source(FdwKept *kept, const KeptSource *source, int64 first, FdwKeptChoice *choice)
{
	choice->kept = true;
	choice->text = psprintf("%s since %s", source_name(source), time_text(source->begin));
	choice->hint = NULL;
	kept->stream = source->stream;
	kept->next = first;
	resetStringInfo(&kept->token);
	mcs_events_scan_seek(&kept->scan, first - 1);
}

/*
 * Chooses what a read of a range is to be of, and goes to the first row where it
 * is a stream's.  may_ask: else MongoDB is not asked how far its history reaches.
 */
static void
choose(FdwKept *kept, bool may_ask, FdwKeptChoice *choice)
{
	KeptSource *earliest = NULL;
	int64		first;
	ListCell   *cell;

	foreach(cell, kept->sources)
	{
		KeptSource *source = lfirst(cell);

		if (source->misfit || !kept->open)
			continue;
		if (find_begin(kept, source, &first))
		{
			take_source(kept, source, first, choice);
			return;
		}
		if (earliest == NULL || source->begin < earliest->begin)
			earliest = source;
	}
	if (earliest == NULL)
	{
		tell_why_not(kept, choice, NULL);
		return;
	}
	/* the range begins before what is kept, which is the same if MongoDB has no more than that */
	(void) find_begin(kept, earliest, &first);
	choice->open = !may_ask && kept->range.from <= earliest->begin;
	if (choice->open || (kept->range.from <= earliest->begin && history_begins_behind(kept, earliest->begin)))
		take_source(kept, earliest, first, choice);
	else
		tell_why_not(kept, choice, earliest);
}

void
mcs_fdw_kept_choose(FdwKept *kept, const FdwRange *range, bool may_ask, FdwKeptChoice *choice)
{
	MemoryContext old = MemoryContextSwitchTo(kept->choice_context);
	FdwStart	start;

	MemoryContextReset(kept->choice_context);
	memset(choice, 0, sizeof(*choice));
	kept->range = *range;
	/* the table's own start counts where no condition says another one */
	if (range->from == 0 && kept->misfit == NULL)
	{
		mcs_fdw_start(kept->request.table, range, &start);
		kept->range.from = start.asked ? start.time : 0;
	}
	choose(kept, may_ask, choice);
	MemoryContextSwitchTo(old);
}

/* ---- rows ---- */

/* A text of the row at hand compared with a word. */
static bool
row_text_is(FdwKept *kept, RowColumn column, const char *word)
{
	bool		isnull;
	Datum		value = mcs_events_scan_get(&kept->scan, column, &isnull);
	text	   *string;

	if (isnull)
		return false;
	string = DatumGetTextPP(value);
	return VARSIZE_ANY_EXHDR(string) == strlen(word) && memcmp(VARDATA_ANY(string), word, strlen(word)) == 0;
}

/* Whether it is an event of MongoDB's history. */
static bool
is_event(FdwKept *kept)
{
	return !row_text_is(kept, ROW_OPERATION_TYPE, "gap") && !row_text_is(kept, ROW_OPERATION_TYPE, "snapshot") &&
		(!kept->request.table->collection || (!kept->stream->of_database && kept->request.table->database) ||
		 row_text_is(kept, ROW_COLLECTION_NAME, kept->request.table->collection));
}

/* Whether the row is not what the history has in its place: without fields, or with a token of another form. */
static bool
differs(FdwKept *kept)
{
	return (kept->asks_fields && row_text_is(kept, ROW_FULL_DOCUMENT_SOURCE, "too_large")) ||
		(asks(kept, EVENT_RESUME_TOKEN) && mcs_token_of_split_stream(kept->new_token.data) != kept->split_tokens);
}

/*
 * Goes to the next row; until: nothing later is to be seen, 0 where that is not
 * known.  At the end of what is kept, the history goes on behind kept_position.
 */
FdwKeptNext
mcs_fdw_kept_next(FdwKept *kept, uint64 until)
{
	for (;;)
	{
		int64		found = mcs_events_scan_next(&kept->scan);
		uint64		time;

		CHECK_FOR_INTERRUPTS();
		/* at the end of all: what follows is behind the stream's position */
		if (kept->next > kept->stream->last_event_id)
		{
			resetStringInfo(&kept->token);
			appendStringInfoString(&kept->token, kept->stream->token);
			return kept->range.to < mcs_token_time(kept->stream->token) ? KEPT_DONE : KEPT_HISTORY;
		}
		/* somebody has deleted it: what follows the row before is MongoDB's to show */
		if (found != kept->next)
			return KEPT_HISTORY;
		time = row_time(kept);
		if (time == 0 || (is_event(kept) && differs(kept)))
			return KEPT_HISTORY;
		kept->next++;
		resetStringInfo(&kept->token);
		appendBinaryStringInfo(&kept->token, kept->new_token.data, kept->new_token.len);
		if (time > kept->range.to || (until && time > until))
			return KEPT_DONE;
		if (is_event(kept))
			return KEPT_ROW;
	}
}

const char *
mcs_fdw_kept_position(const FdwKept *kept)
{
	/* where no row was taken, or the range begins behind it, the history begins where it would without what is kept */
	return kept->token.len == 0 || kept->range.from > mcs_progress_time(kept->token.data) ? NULL : kept->token.data;
}

/* Puts the row into a slot, which points into it until the next one is gone to. */
void
mcs_fdw_kept_row(const FdwKept *kept, TupleTableSlot *slot)
{
	const FdwTable *table = kept->request.table;

	for (int i = 0; i < table->natts; i++)
	{
		slot->tts_isnull[i] = true;
		if (table->columns[i] >= 0 && asks(kept, table->columns[i]))
			slot->tts_values[i] = mcs_events_scan_get(&kept->scan, ROW_EVENT + table->columns[i], &slot->tts_isnull[i]);
	}
}
