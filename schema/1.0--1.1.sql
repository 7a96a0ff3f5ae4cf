/* mongo_change_stream--1.0--1.1.sql: what 1.1 changed, made by make of schema/1.0--1.1.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION mongo_change_stream UPDATE TO '1.1'" to load this file. \quit

-- Objects stand in the files of the current schema; here is what becomes of those that 1.0 made.
-- Columns can only be added at the end of a table, so the current schema has them there, too.

-- First, and in the order in which processes that run meanwhile come to them: neither they nor this end in a deadlock.
LOCK TABLE change_stream_events, change_streams, change_stream_progress, change_stream_metrics,
  change_handlers, change_handler_progress, change_handler_dead_letters;

-- type document

-- none of them raises an error for any value, so conditions with them reach indexes under row-level security
-- @for word
--      eq
--      ne
--      lt
--      le
--      gt
--      ge
ALTER FUNCTION document_{word}(document, document) LEAKPROOF;
-- @end
-- @for name        | type
--      text        | text
--      boolean     | boolean
--      integer     | integer
--      bigint      | bigint
--      numeric     | numeric
--      double      | double precision
--      timestamptz | timestamptz
--      interval    | interval
-- @for word
--      eq
--      ne
--      lt
--      le
--      gt
--      ge
ALTER FUNCTION document_{word}_{name}(document, {type}) LEAKPROOF;
ALTER FUNCTION {name}_{word}_document({type}, document) LEAKPROOF;
-- @end
ALTER FUNCTION document_cmp(document, document) LEAKPROOF;
ALTER FUNCTION document_contained(document, document) LEAKPROOF;
ALTER FUNCTION document_contains(document, document) LEAKPROOF;
ALTER FUNCTION document_element(document, integer) LEAKPROOF;
ALTER FUNCTION document_exists(document, bpchar) LEAKPROOF;
ALTER FUNCTION document_exists_all(document, bpchar[]) LEAKPROOF;
ALTER FUNCTION document_exists_any(document, bpchar[]) LEAKPROOF;
ALTER FUNCTION document_field(document, text) LEAKPROOF;
ALTER FUNCTION document_get(document, VARIADIC text[]) LEAKPROOF;
ALTER FUNCTION document_path(document, text[]) LEAKPROOF;

-- @create document.sql document_text_lenient
-- @create document_cast.sql document_to_jsonb_lenient
-- @replace document_cast.sql document_from_text_array
-- @create document_cast.sql document_to_text
-- @create document_cast.sql document_to_varchar
-- @create document_cast.sql document_to_bpchar
-- @create document_build.sql document_id
-- @create document_cross.sql document_eq_uuid
-- @create document_cross.sql uuid_eq_document
-- @create document_cross.sql document_ne_uuid
-- @create document_cross.sql uuid_ne_document
-- @create document_cross.sql document_lt_uuid
-- @create document_cross.sql uuid_lt_document
-- @create document_cross.sql document_le_uuid
-- @create document_cross.sql uuid_le_document
-- @create document_cross.sql document_gt_uuid
-- @create document_cross.sql uuid_gt_document
-- @create document_cross.sql document_ge_uuid
-- @create document_cross.sql uuid_ge_document

-- foreign data wrapper

REVOKE EXECUTE ON FUNCTION mongo_change_stream_validator(text[], oid) FROM PUBLIC;
-- @create foreign.sql change_stream_kept

-- streams: tables and rights

REVOKE UPDATE ON change_stream_metrics FROM PUBLIC;
GRANT UPDATE (events_processed, last_processed_at) ON change_stream_metrics TO PUBLIC;

ALTER TABLE change_streams ADD COLUMN exclude_fields text[], ADD COLUMN mask_fields text[];

-- data is restored in any order
ALTER TABLE change_stream_progress DROP CONSTRAINT change_stream_progress_stream_name_fkey;
ALTER TABLE change_stream_metrics DROP CONSTRAINT change_stream_metrics_stream_name_fkey;

-- @create stream_tables.sql change_stream_grants
SELECT pg_catalog.pg_extension_config_dump('change_stream_grants', '');
ALTER TABLE change_stream_grants ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON change_stream_grants TO PUBLIC;
ALTER TABLE change_streams ADD on_error text NOT NULL DEFAULT 'stop' CHECK (on_error OPERATOR(pg_catalog.=) ANY (ARRAY['stop', 'skip', 'park']));
ALTER TABLE change_streams ADD stopped_token text COLLATE "C";
ALTER TABLE change_streams ADD keep_events boolean NOT NULL DEFAULT true;

-- @create stream_tables.sql change_stream_parked_events
SELECT pg_catalog.pg_extension_config_dump('change_stream_parked_events', '');
ALTER TABLE change_stream_parked_events ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON change_stream_parked_events TO PUBLIC;
-- @create stream_tables.sql change_stream_is_own
-- @create stream_tables.sql own_parked_events
-- @create stream_tables.sql own_grants
-- @create stream_tables.sql granted_streams
-- @create stream_tables.sql read_all
DROP POLICY own_events ON change_stream_events;
-- @create stream_tables.sql own_events
DROP POLICY own_metrics ON change_stream_metrics;
-- @create stream_tables.sql own_metrics
ALTER TABLE change_stream_progress
  ADD alive boolean NOT NULL DEFAULT false,
  ADD running_token text COLLATE "C",
  ADD crashes int NOT NULL DEFAULT 0,
  ADD starts int NOT NULL DEFAULT 0,
  ADD definition_version int NOT NULL DEFAULT 0,
  ADD oplog_window interval,
  ADD oplog_told int NOT NULL DEFAULT 0;
ALTER TABLE change_stream_progress ADD COLUMN last_event_token text COLLATE "C", ADD COLUMN deployment document, ADD COLUMN oplog_holds interval;
-- not known of 1.0's streams: from the position on that is saved next
ALTER TABLE change_stream_progress ADD COLUMN kept_from text COLLATE "C", ADD COLUMN kept_from_event bigint NOT NULL DEFAULT 0;
ALTER TABLE change_stream_progress ADD COLUMN longest_outage interval;

-- the function, and the trigger of the same name that calls it
-- @create stream_tables.sql change_stream_events_truncated

-- streams: functions

DROP FUNCTION create_change_stream(text, text, text, text, text, text, text[], document, text, text, boolean, interval, int, text, text, text, boolean, interval, text, boolean);
-- @create stream_functions.sql create_change_stream
DROP FUNCTION alter_change_stream(text, text, text, text[], document, text, text, boolean, interval, int, interval, text, text[]);
-- @create stream_functions.sql alter_change_stream

-- @create stream_functions.sql grant_change_stream
-- @create stream_functions.sql revoke_change_stream

DROP FUNCTION drop_change_stream(text, boolean);
-- @create stream_functions.sql drop_change_stream
DROP FUNCTION sync_change_stream(text, interval, boolean);
-- @create stream_functions.sql sync_change_stream
REVOKE EXECUTE ON FUNCTION update_stream_resume_token() FROM PUBLIC;

-- streams: views

-- made anew, since 1.0 looked up names in them that somebody may have planted in the schema
-- @create stream_views.sql change_stream_absence
-- @replace stream_views.sql change_stream_status

-- handlers: tables and rights

-- data is restored in any order
ALTER TABLE change_handlers DROP CONSTRAINT change_handlers_stream_name_fkey;
ALTER TABLE change_handler_progress DROP CONSTRAINT change_handler_progress_handler_name_fkey;
ALTER TABLE change_handler_dead_letters DROP CONSTRAINT change_handler_dead_letters_handler_name_fkey;

DROP POLICY own_dead_letters ON change_handler_dead_letters;
-- @create handler_tables.sql own_dead_letters
-- @create handler_tables.sql read_all
ALTER TABLE change_handler_progress ADD starts int NOT NULL DEFAULT 0;
ALTER TABLE change_handler_progress ADD definition_version bigint NOT NULL DEFAULT 0;
ALTER TABLE change_handlers
  ADD each text NOT NULL DEFAULT 'event' CHECK (each OPERATOR(pg_catalog.=) ANY (ARRAY['event', 'batch'])),
  ADD batch_size int NOT NULL DEFAULT 1000 CHECK (batch_size OPERATOR(pg_catalog.>) 0);

-- handlers: functions

DROP FUNCTION create_change_handler(text, text, text, text, text, text, int, interval, interval, interval, text, int, boolean);
-- @create handler_functions.sql create_change_handler
DROP FUNCTION alter_change_handler(text, text, text, text, int, interval, interval, interval, text, int, text[]);
-- @create handler_functions.sql alter_change_handler
DROP FUNCTION retry_dead_letters(text);
-- @create handler_functions.sql retry_dead_letters
DROP FUNCTION discard_dead_letters(text);
-- @create handler_functions.sql discard_dead_letters

-- handlers: views

-- @create handler_views.sql change_stream_parked_event
-- @replace handler_views.sql change_stream_dead_letters
-- @create handler_views.sql change_stream_dead_letter_list
GRANT SELECT ON change_stream_dead_letter_list TO PUBLIC;
-- @create handler_views.sql change_stream_dead_letter
-- @create handler_views.sql change_stream_dead_letter_counts

-- @replace handler_views.sql change_handler_status

-- snapshots and mirrors

-- @create mirror_tables.sql change_stream_snapshots
-- @create mirror_tables.sql change_mirrors
-- @create mirror_tables.sql change_mirrors_stream_name_idx
-- @create mirror_tables.sql change_mirror_progress
-- @create mirror_tables.sql change_mirror_tables
SELECT pg_catalog.pg_extension_config_dump('change_stream_snapshots', '');
SELECT pg_catalog.pg_extension_config_dump('change_mirrors', '');
SELECT pg_catalog.pg_extension_config_dump('change_mirror_progress', '');
ALTER TABLE change_stream_snapshots ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_mirrors ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_mirror_progress ENABLE ROW LEVEL SECURITY;
-- @create mirror_tables.sql own_snapshots
-- @create mirror_tables.sql own_mirrors
-- @create mirror_tables.sql own_mirror_progress
-- @create mirror_tables.sql read_all
GRANT SELECT ON change_stream_snapshots, change_mirrors, change_mirror_progress TO PUBLIC;
-- @create mirror_views.sql change_stream_position_time
-- @create mirror_views.sql change_stream_copy_reason
-- @create mirror_views.sql change_mirror_status
GRANT SELECT ON change_mirror_status TO PUBLIC;

-- @create mirror_functions.sql create_change_mirror
-- @create mirror_functions.sql drop_change_mirror
-- @create mirror_functions.sql pause_change_mirror
-- @create mirror_functions.sql resume_change_mirror
-- @create mirror_functions.sql alter_change_mirror
-- @create mirror_functions.sql resync_change_mirror
-- @create mirror_functions.sql propose_mirror_columns
-- @create mirror_functions.sql create_change_mirrors
-- @create mirror_check.sql check_change_mirror

-- numbers, and advice

-- @create stats.sql change_stream_numbers
-- @create stats.sql change_handler_numbers
-- @create stats.sql reset_change_stream_stats
-- @create stats.sql change_stream_stats
GRANT SELECT ON change_stream_stats TO PUBLIC;
-- @create stats.sql change_handler_stats
GRANT SELECT ON change_handler_stats TO PUBLIC;
-- @create stats.sql change_stream_advice

-- the dialect

-- @create dialect.sql change_stream_translate_for_gateway
-- @create dialect.sql change_stream_shown
DROP FUNCTION change_stream_translate_body(text);
-- @create dialect.sql change_stream_translate_body
-- @create dialect.sql change_stream_query
-- @create dialect.sql change_stream_query_as
-- @create dialect.sql change_mirror_translate_filter
-- @create dialect.sql change_mirror_translate_columns

-- projections

-- @create projection_tables.sql change_projections
-- @create projection_tables.sql change_projection_progress
-- @create projection_tables.sql change_projection_sources
SELECT pg_catalog.pg_extension_config_dump('change_projections', '');
SELECT pg_catalog.pg_extension_config_dump('change_projection_progress', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('change_projection_sources', 'WHERE false');
ALTER TABLE change_projections ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_projection_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_projection_sources ENABLE ROW LEVEL SECURITY;
-- @create projection_tables.sql change_projection_view
-- @create projection_tables.sql own_projections
-- @create projection_tables.sql own_projection_progress
-- @create projection_tables.sql own_projection_sources
-- @create projection_tables.sql read_all
GRANT SELECT ON change_projections, change_projection_progress, change_projection_sources TO PUBLIC;

-- @create projection_functions.sql create_change_projection
-- @create projection_functions.sql alter_change_projection
-- @create projection_functions.sql pause_change_projection
-- @create projection_functions.sql resume_change_projection
-- @create projection_functions.sql drop_change_projection
-- @create projection_functions.sql change_projection_follow
-- @create projection_functions.sql change_projection_exists
-- @create projection_functions.sql change_stream_is_read_by
-- @create projection_functions.sql change_projection_find_sources
-- @create projection_functions.sql change_projection_event_time
-- @create projection_functions.sql change_stream_closed_windows
-- @create projection_views.sql change_projection_workers
-- @create projection_views.sql change_projection_standings
GRANT SELECT ON change_projection_standings TO PUBLIC;
-- @create projection_views.sql change_projection_status
GRANT SELECT ON change_projection_status TO PUBLIC;

-- user objects

-- @replace user_objects.sql change_stream_user_objects

-- comments, for \d+ and its like

-- @comments 1.1.sql
