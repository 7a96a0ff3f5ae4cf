/*
 * tables/streams.c
 *	  The rows of streams: what shall run, and what was asked for.
 */
#include "mongo_change_stream.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tables/tables_internal.h"
#include "utils/builtins.h"

/* ---- reading ---- */

/* A stream from its row and its position's; everything in the row's target context. */
static Stream *
stream_from_row(const CatalogRow *row, const char *name)
{
	Stream	   *stream = MemoryContextAllocZero(row->target, sizeof(Stream));

	stream->name = MemoryContextStrdup(row->target, name);
	stream->owner = mcs_catalog_get_oid(row, "owner");
	stream->database = mcs_catalog_get_text(row, "database_name");
	stream->collection = mcs_catalog_get_text(row, "collection_name");

	/* the definition, and what was made of it when it was given */
	mcs_options_read(&mcs_options_stream, row, stream);
	stream->max_await_ms = (int) (mcs_convert_interval(stream->max_await_time) / 1000);
	stream->pushed_filter = mcs_catalog_get_document(row, "pushed_filter");
	stream->local_filter = mcs_catalog_get_text(row, "local_filter");
	stream->settings = mcs_catalog_get_texts(row, "settings");

	/* whether it shall run, and here */
	stream->stopped_state = mcs_catalog_get_text(row, "stopped_state");
	stream->stopped_token = mcs_catalog_get_text(row, "stopped_token");
	stream->skip_token = mcs_catalog_get_text(row, "skip_token");
	stream->restored = mcs_catalog_is_from_elsewhere(row);
	stream->has_handlers = mcs_catalog_get_bool(row, "has_handlers");

	/* how far it is; of a stream whose position a restore has not brought, all of this is null */
	stream->definition_version = mcs_catalog_get_int32(row, "definition_version");
	stream->resume_token = mcs_catalog_get_text(row, "resume_token");
	stream->last_event_id = mcs_catalog_get_int64(row, "last_event_id");
	stream->events_processed = mcs_catalog_get_int64(row, "events_processed");
	stream->restarts = mcs_catalog_get_int32(row, "restarts");
	stream->consecutive_errors = mcs_catalog_get_int32(row, "consecutive_errors");
	stream->created_at = mcs_catalog_get_int64(row, "created_at");
	stream->never_ran = mcs_catalog_get_bool(row, "never_ran");
	stream->keeps_history = !mcs_extension_is_old();
	stream->last_event_token = mcs_catalog_get_text(row, "last_event_token");
	stream->deployment = mcs_catalog_get_document(row, "deployment");
	return stream;
}

/*
 * Rows are read by the names of their columns: 1.0's, which lack some, need no
 * statements of their own.
 */
#define HAS_HANDLERS	"EXISTS (SELECT FROM @.change_handlers h WHERE h.stream_name = $1) AS has_handlers"
#define STREAM_QUERY(join) \
	"SELECT s.*, p.*, p.updated_at = s.created_at AS never_ran, " HAS_HANDLERS " " \
	"FROM @.change_streams s " join " @.change_stream_progress p USING (stream_name) WHERE s.stream_name = $1"

/*
 * Whether a stream whose rows are locked has handlers, which nobody gives it or
 * takes from it without those locks.  By a statement of its own: that which
 * locked the rows shows what there was before it waited for them.
 */
static bool
has_handlers_now(const CatalogScope *scope, const char *name)
{
	static CatalogStatement find = CATALOG_STATEMENT("SELECT " HAS_HANDLERS, TEXTOID);
	Datum		values[1] = {CStringGetTextDatum(name)};
	CatalogRow	row;

	(void) mcs_catalog_execute(&find, values, NULL);
	row = mcs_catalog_row(scope, 0);
	return mcs_catalog_get_bool(&row, "has_handlers");
}

Stream *
mcs_streams_load(const char *name, bool for_update, bool missing_ok)
{
	/* without a lock a stream is shown even where a restore has not brought its position */
	static CatalogStatement load = CATALOG_STATEMENT(STREAM_QUERY("LEFT JOIN"), TEXTOID);
	static CatalogStatement load_locked = CATALOG_STATEMENT(STREAM_QUERY("JOIN") " FOR UPDATE OF s, p", TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(name)};
	Stream	   *stream = NULL;
	bool		found;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(for_update ? &load_locked : &load, values, NULL) > 0;
	if (!found && for_update)
	{
		/* a position that a restore has not brought is made when somebody is about to change the stream, perhaps by another */
		(void) mcs_restore_mend_progress(name);
		found = mcs_catalog_execute(&load_locked, values, NULL) > 0;
	}
	if (found)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		stream = stream_from_row(&row, name);
		if (for_update)
			stream->has_handlers = has_handlers_now(&scope, name);
	}
	mcs_catalog_end(&scope);
	if (stream == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("change stream \"%s\" does not exist", name)));
	return stream;
}

/*
 * What streams have in common that one cursor can serve, as a number that is not 0
 * by more than chance; 0: it follows alone, by what it is or as its server has it.
 */
#define GROUP_KEY \
	"CASE WHEN s.pipeline IS NULL AND s.database_name OPERATOR(pg_catalog.<>) '*' AND NOT EXISTS (SELECT FROM pg_catalog.pg_foreign_server f, " \
	"pg_catalog.pg_options_to_table(f.srvoptions) o WHERE f.srvname OPERATOR(pg_catalog.=) s.server::pg_catalog.name " \
	"AND CASE WHEN o.option_name OPERATOR(pg_catalog.=) 'share_cursor' THEN NOT o.option_value::pg_catalog.bool ELSE false END) " \
	"THEN pg_catalog.hashtextextended(pg_catalog.concat_ws(E'\\n', s.server, s.database_name, s.owner::pg_catalog.oid, s.full_document, " \
	"s.full_document_before_change, s.show_expanded_events, s.batch_size), 0) ELSE 0 END"

/*
 * Every stream, and every worker of every handler, with whether it shall run
 * here.  Its deaths in a row count a process that is noted as alive: the caller
 * knows whether one is, or shared memory was made anew since (tables/deaths.c).
 */
List *
mcs_streams_list(void)
{
	static CatalogStatement list = CATALOG_STATEMENT(
		"SELECT s.stream_name, s.owner, "
		"NOT s.paused AND s.stopped_state IS NULL AND s.system_identifier = $1 AND s.database_oid = $2 AS runnable, "
		"NULL AS handler_name, 0 AS worker, false AS work, "
		"{coalesce((SELECT 1 + greatest(p.crashes, p.starts, (p.running_token IS NOT NULL)::pg_catalog.int4) FROM @.change_stream_progress p WHERE p.stream_name = s.stream_name AND p.alive), 0)|0} AS deaths, "
		"{" GROUP_KEY "|0} AS group_key "
		"FROM @.change_streams s "
		"UNION ALL SELECT s.stream_name, s.owner, "
		"NOT h.paused AND h.stopped_reason IS NULL AND s.system_identifier = $1 AND s.database_oid = $2, "
		"h.handler_name, hp.worker, hp.last_event_id < sp.last_event_id, "
		"CASE WHEN hp.alive THEN 1 + {greatest(hp.crashes, hp.starts)|hp.crashes} ELSE 0 END, 0 "
		"FROM @.change_streams s JOIN @.change_stream_progress sp USING (stream_name) "
		"JOIN @.change_handlers h USING (stream_name) JOIN @.change_handler_progress hp USING (handler_name) "
		/* projections, one row an owner: it has work where one is due before the next look */
		"{UNION ALL SELECT '', t.owner::regrole, true, '" SHARED_PROJECTIONS "', t.owner::int, coalesce(bool_or(t.look_at <= now() + '1 minute'), false), "
		"max(CASE WHEN g.running THEN 1 + g.crashes ELSE 0 END), 0 FROM @.change_projection_standings t "
		"LEFT JOIN @.change_projection_progress g USING (view_name) WHERE t.runs GROUP BY t.owner |}ORDER BY stream_name, handler_name, worker",
		INT8OID, OIDOID);
	CatalogScope scope;
	Datum		values[2] = {Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId)};
	List	   *streams = NIL;
	uint64		count;

	mcs_catalog_begin(&scope);
	count = mcs_catalog_execute(&list, values, NULL);
	for (uint64 i = 0; i < count; i++)
	{
		CatalogRow	row = mcs_catalog_row(&scope, i);
		StreamListed *listed = MemoryContextAlloc(scope.caller, sizeof(StreamListed));

		listed->name = mcs_catalog_get_text(&row, "stream_name");
		listed->owner = mcs_catalog_get_oid(&row, "owner");
		listed->runnable = mcs_catalog_get_bool(&row, "runnable");
		listed->handler = mcs_catalog_get_text(&row, "handler_name");
		listed->worker = mcs_catalog_get_int32(&row, "worker");
		listed->work = mcs_catalog_get_bool(&row, "work");
		listed->deaths = mcs_catalog_get_int32(&row, "deaths");
		listed->group_key = listed->handler ? 0 : mcs_catalog_get_int64(&row, "group_key");
		streams = mcs_catalog_append(&row, streams, listed);
	}
	mcs_catalog_end(&scope);
	return streams;
}

/* ---- what functions of users write: who may call them has been asked before ---- */

/* Whose the events are that a dropped stream of this name left; false where there are none. */
bool
mcs_streams_kept_events(const char *stream, Oid *owner, int64 *last_event_id)
{
	/* locked, so that two who make a stream of that name do not both go on numbering */
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT owner, last_event_id FROM @.change_stream_kept_events WHERE stream_name = $1 FOR UPDATE",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		found;

	mcs_catalog_begin(&scope);
	found = mcs_catalog_execute(&find, values, NULL) > 0;
	if (found)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);

		*owner = mcs_catalog_get_oid(&row, "owner");
		*last_event_id = mcs_catalog_get_int64(&row, "last_event_id");
	}
	mcs_catalog_end(&scope);
	return found;
}

void
mcs_streams_forget_kept_events(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"DELETE FROM @.change_stream_kept_events WHERE stream_name = $1",
		TEXTOID);

	(void) mcs_catalog_run_for(&forget, stream);
}

/* The columns of change_streams that create_change_stream and alter_change_stream have in common, behind the key. */
static void
set_definition(CatalogColumns *columns, const Stream *stream, bool update)
{
	mcs_options_write(&mcs_options_stream, stream, update, columns);
	mcs_catalog_set(columns, "pushed_filter", mcs_extension_document(), PointerGetDatum(stream->pushed_filter),
					stream->pushed_filter == NULL);
	mcs_catalog_set_text(columns, "local_filter", stream->local_filter);
	/* what events before were made by another definition, or by none */
	mcs_catalog_set(columns, "changed_at_event", INT8OID, Int64GetDatum(stream->last_event_id), false);
}

/* The rows of a new stream; false where there is one of that name already. */
bool
mcs_streams_insert(const Stream *stream)
{
	/* a restore may have left a position without its stream: what the caller has made of it is in last_event_id */
	static CatalogStatement insert_progress = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_progress (stream_name, resume_token, last_event_id{, kept_from, kept_from_event|}) "
		"VALUES ($1, $2, $3{, $2, $3|}) "
		"ON CONFLICT (stream_name) DO UPDATE SET resume_token = excluded.resume_token, last_event_id = excluded.last_event_id, updated_at = now()"
		"{, kept_from = excluded.kept_from, kept_from_event = excluded.kept_from_event|}",
		TEXTOID, TEXTOID, INT8OID);
	static CatalogStatement insert_metrics = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_metrics (stream_name) VALUES ($1) ON CONFLICT DO NOTHING",
		TEXTOID);
	CatalogColumns columns = {0};
	CatalogValues values = {0};

	/* change_streams first, whose key decides between two who make a stream of one name */
	mcs_catalog_set_text(&columns, "stream_name", stream->name);
	/* as a regrole, of which a dump has the role's name and not its number */
	mcs_catalog_set(&columns, "owner", REGROLEOID, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_set_text(&columns, "database_name", stream->database);
	mcs_catalog_set_text(&columns, "collection_name", stream->collection);
	set_definition(&columns, stream, false);
	mcs_catalog_set_texts(&columns, "settings", stream->settings, false);
	mcs_catalog_set(&columns, "system_identifier", INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_set(&columns, "database_oid", OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	if (!mcs_catalog_insert("change_streams", &columns))
		return false;
	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_text(&values, stream->resume_token);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	(void) mcs_catalog_run(&insert_progress, values.values, values.nulls);
	(void) mcs_catalog_run(&insert_metrics, values.values, NULL);
	return true;
}

/* Writes an altered definition; it holds for the events after last_event_id. */
void
mcs_streams_update(const Stream *stream)
{
	CatalogColumns columns = {0};

	mcs_catalog_set_text(&columns, "stream_name", stream->name);
	set_definition(&columns, stream, true);
	mcs_catalog_update("change_streams", &columns);
	mcs_progress_redefine(stream->name);
}

/* A stream that is paused for another reason is paused by the caller from now on. */
void
mcs_streams_pause(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = NULL, state_since = now() "
		"WHERE stream_name = $1 AND NOT paused",
		TEXTOID);

	(void) mcs_catalog_run_for(&pause, stream);
	mcs_progress_redefine(stream);
}

/* The stream shall run, here; skip_token NULL leaves the one that is there. */
void
mcs_streams_resume(const char *stream, const char *skip_token)
{
	static CatalogStatement resume = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = false, paused_reason = NULL, stopped_state = NULL, stopped_reason = NULL, "
		"{stopped_token = NULL, |}"
		"state_since = CASE WHEN paused OR stopped_state IS NOT NULL THEN now() ELSE state_since END, "
		"skip_token = coalesce($2, skip_token), system_identifier = $3, database_oid = $4 WHERE stream_name = $1",
		TEXTOID, TEXTOID, INT8OID, OIDOID);
	CatalogValues values = {0};

	/* whoever resumes a restored stream says with that that it shall run in this cluster and database */
	mcs_catalog_add_text(&values, stream);
	mcs_catalog_add_text(&values, skip_token);
	mcs_catalog_add_value(&values, Int64GetDatum((int64) GetSystemIdentifier()), false);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(MyDatabaseId), false);
	(void) mcs_catalog_run(&resume, values.values, values.nulls);
	mcs_progress_redefine(stream);
}

/* A stream that stopped at an event shall run again, unless it is paused. */
void
mcs_streams_forget_stop(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = NULL, stopped_reason = NULL, {stopped_token = NULL, |}state_since = now() "
		"WHERE stream_name = $1",
		TEXTOID);

	(void) mcs_catalog_run_for(&forget, stream);
}

/* Everything of a stream but its events, of which a note is left where they are kept; its rows and its handlers' are locked. */
void
mcs_streams_delete(const Stream *stream, bool keep_events)
{
	static CatalogStatement delete[] = {
		CATALOG_STATEMENT("DELETE FROM @.change_handler_dead_letters WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handler_progress WHERE handler_name IN "
						  "(SELECT h.handler_name FROM @.change_handlers h WHERE h.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_handlers WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_metrics WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_progress WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_streams WHERE stream_name = $1", TEXTOID)
	};
	static CatalogStatement delete_new[] = {	/* of tables that 1.0's schema has not */
		CATALOG_STATEMENT("DELETE FROM @.change_stream_snapshots WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_mirror_progress WHERE mirror_name IN "
						  "(SELECT m.mirror_name FROM @.change_mirrors m WHERE m.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_mirror_tables WHERE mirror_name IN "
						  "(SELECT m.mirror_name FROM @.change_mirrors m WHERE m.stream_name = $1)", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_mirrors WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_grants WHERE stream_name = $1", TEXTOID),
		CATALOG_STATEMENT("DELETE FROM @.change_stream_parked_events WHERE stream_name = $1", TEXTOID)
	};
	static CatalogStatement keep = CATALOG_STATEMENT(
		"INSERT INTO @.change_stream_kept_events (stream_name, owner, last_event_id) "
		"VALUES ($1, $2::pg_catalog.regrole, $3)",
		TEXTOID, OIDOID, INT8OID);
	CatalogValues values = {0};

	mcs_catalog_add_text(&values, stream->name);
	mcs_catalog_add_value(&values, ObjectIdGetDatum(stream->owner), false);
	mcs_catalog_add_value(&values, Int64GetDatum(stream->last_event_id), false);
	/* one array for all of them: SPI looks at as many values as a statement has parameters */
	/* what refers to others before what it refers to: 1.0's tables have foreign keys */
	for (int i = 0; i < lengthof(delete); i++)
		(void) mcs_catalog_run(&delete[i], values.values, NULL);
	for (int i = 0; i < lengthof(delete_new) && !mcs_extension_is_old(); i++)
		(void) mcs_catalog_run(&delete_new[i], values.values, NULL);
	/* their processes end when they see that there is no such handler */
	mcs_wake_handlers_at_commit(stream->name, NULL);
	if (keep_events)
		(void) mcs_catalog_run(&keep, values.values, NULL);
}

/* Whether this transaction itself made or changed the stream, so that nobody else sees that yet. */
bool
mcs_streams_is_uncommitted(const char *stream)
{
	static CatalogStatement find = CATALOG_STATEMENT(
		"SELECT xmin FROM @.change_streams WHERE stream_name = $1",
		TEXTOID);
	CatalogScope scope;
	Datum		values[1] = {CStringGetTextDatum(stream)};
	bool		own = false;

	mcs_catalog_begin(&scope);
	if (mcs_catalog_execute(&find, values, NULL) > 0)
	{
		CatalogRow	row = mcs_catalog_row(&scope, 0);
		bool		isnull;

		/* who wrote this version, or a subtransaction of his; a lock, which is in xmax, does not count */
		own = TransactionIdIsCurrentTransactionId(DatumGetTransactionId(mcs_catalog_get_datum(&row, "xmin", &isnull)));
	}
	mcs_catalog_end(&scope);
	return own;
}

/* ---- what workers write ---- */

/*
 * Ends a stream until it is resumed; token is of the event that it stops at, or
 * NULL.  Locks the row of change_streams, so a transaction that calls
 * mcs_progress_error, too, calls this first: functions lock in that order.
 */
void
mcs_streams_stop(const char *stream, StreamState state, const char *reason, const char *token)
{
	static CatalogStatement stop = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET stopped_state = $2, stopped_reason = $3, {stopped_token = $4, |}"
		"state_since = clock_timestamp() WHERE stream_name = $1",
		TEXTOID, TEXTOID, TEXTOID, TEXTOID);
	Datum		values[4] = {CStringGetTextDatum(stream)};
	char		nulls[4] = {' ', ' ', ' ', token ? ' ' : 'n'};

	/* the time by clock_timestamp(), as a worker's transaction may have begun long before */
	/* the others are told by shared memory, and end with the process */
	Assert(state == STREAM_HISTORY_LOST || state == STREAM_ERROR);
	values[1] = CStringGetTextDatum(state == STREAM_HISTORY_LOST ? "history_lost" : "error");
	values[2] = CStringGetTextDatum(reason);
	values[3] = token ? CStringGetTextDatum(token) : (Datum) 0;
	(void) mcs_catalog_run(&stop, values, nulls);
}

/* Pauses a stream that was made in another cluster or database, unless it is paused, or was resumed here a moment ago. */
void
mcs_streams_pause_restored(const char *stream)
{
	static CatalogStatement pause = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET paused = true, paused_reason = 'restored', state_since = clock_timestamp() "
		"WHERE stream_name = $1 AND paused_reason IS DISTINCT FROM 'restored' AND (system_identifier <> $2 OR database_oid <> $3)",
		TEXTOID, INT8OID, OIDOID);
	Datum		values[3] = {CStringGetTextDatum(stream), Int64GetDatum((int64) GetSystemIdentifier()),
		ObjectIdGetDatum(MyDatabaseId)};

	(void) mcs_catalog_run(&pause, values, NULL);
}

/* Forgets the event that a stream was to leave out, once it has. */
void
mcs_streams_forget_skip(const char *stream)
{
	static CatalogStatement forget = CATALOG_STATEMENT(
		"UPDATE @.change_streams SET skip_token = NULL WHERE stream_name = $1 AND skip_token IS NOT NULL",
		TEXTOID);

	(void) mcs_catalog_run_for(&forget, stream);
}
