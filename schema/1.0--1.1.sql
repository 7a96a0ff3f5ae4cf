/* mongo_change_stream--1.0--1.1.sql: what 1.1 changed, made by make of schema/1.0--1.1.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION mongo_change_stream UPDATE TO '1.1'" to load this file. \quit

-- Objects stand in the files of the current schema; here is what becomes of those that 1.0 made.
-- Columns can only be added at the end of a table, so the current schema has them there, too.

-- type document

-- none of them raises an error for any value, so conditions with them reach indexes under row-level security
ALTER FUNCTION bigint_eq_document(bigint, document) LEAKPROOF;
ALTER FUNCTION bigint_ge_document(bigint, document) LEAKPROOF;
ALTER FUNCTION bigint_gt_document(bigint, document) LEAKPROOF;
ALTER FUNCTION bigint_le_document(bigint, document) LEAKPROOF;
ALTER FUNCTION bigint_lt_document(bigint, document) LEAKPROOF;
ALTER FUNCTION bigint_ne_document(bigint, document) LEAKPROOF;
ALTER FUNCTION boolean_eq_document(boolean, document) LEAKPROOF;
ALTER FUNCTION boolean_ge_document(boolean, document) LEAKPROOF;
ALTER FUNCTION boolean_gt_document(boolean, document) LEAKPROOF;
ALTER FUNCTION boolean_le_document(boolean, document) LEAKPROOF;
ALTER FUNCTION boolean_lt_document(boolean, document) LEAKPROOF;
ALTER FUNCTION boolean_ne_document(boolean, document) LEAKPROOF;
ALTER FUNCTION document_cmp(document, document) LEAKPROOF;
ALTER FUNCTION document_contained(document, document) LEAKPROOF;
ALTER FUNCTION document_contains(document, document) LEAKPROOF;
ALTER FUNCTION document_element(document, integer) LEAKPROOF;
ALTER FUNCTION document_eq(document, document) LEAKPROOF;
ALTER FUNCTION document_eq_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_eq_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_eq_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_eq_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_eq_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_eq_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_eq_text(document, text) LEAKPROOF;
ALTER FUNCTION document_eq_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_exists(document, bpchar) LEAKPROOF;
ALTER FUNCTION document_exists_all(document, bpchar[]) LEAKPROOF;
ALTER FUNCTION document_exists_any(document, bpchar[]) LEAKPROOF;
ALTER FUNCTION document_field(document, text) LEAKPROOF;
ALTER FUNCTION document_ge(document, document) LEAKPROOF;
ALTER FUNCTION document_ge_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_ge_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_ge_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_ge_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_ge_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_ge_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_ge_text(document, text) LEAKPROOF;
ALTER FUNCTION document_ge_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_get(document, VARIADIC text[]) LEAKPROOF;
ALTER FUNCTION document_gt(document, document) LEAKPROOF;
ALTER FUNCTION document_gt_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_gt_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_gt_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_gt_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_gt_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_gt_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_gt_text(document, text) LEAKPROOF;
ALTER FUNCTION document_gt_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_le(document, document) LEAKPROOF;
ALTER FUNCTION document_le_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_le_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_le_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_le_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_le_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_le_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_le_text(document, text) LEAKPROOF;
ALTER FUNCTION document_le_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_lt(document, document) LEAKPROOF;
ALTER FUNCTION document_lt_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_lt_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_lt_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_lt_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_lt_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_lt_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_lt_text(document, text) LEAKPROOF;
ALTER FUNCTION document_lt_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_ne(document, document) LEAKPROOF;
ALTER FUNCTION document_ne_bigint(document, bigint) LEAKPROOF;
ALTER FUNCTION document_ne_boolean(document, boolean) LEAKPROOF;
ALTER FUNCTION document_ne_double(document, double precision) LEAKPROOF;
ALTER FUNCTION document_ne_integer(document, integer) LEAKPROOF;
ALTER FUNCTION document_ne_interval(document, interval) LEAKPROOF;
ALTER FUNCTION document_ne_numeric(document, numeric) LEAKPROOF;
ALTER FUNCTION document_ne_text(document, text) LEAKPROOF;
ALTER FUNCTION document_ne_timestamptz(document, timestamptz) LEAKPROOF;
ALTER FUNCTION document_path(document, text[]) LEAKPROOF;
ALTER FUNCTION double_eq_document(double precision, document) LEAKPROOF;
ALTER FUNCTION double_ge_document(double precision, document) LEAKPROOF;
ALTER FUNCTION double_gt_document(double precision, document) LEAKPROOF;
ALTER FUNCTION double_le_document(double precision, document) LEAKPROOF;
ALTER FUNCTION double_lt_document(double precision, document) LEAKPROOF;
ALTER FUNCTION double_ne_document(double precision, document) LEAKPROOF;
ALTER FUNCTION integer_eq_document(integer, document) LEAKPROOF;
ALTER FUNCTION integer_ge_document(integer, document) LEAKPROOF;
ALTER FUNCTION integer_gt_document(integer, document) LEAKPROOF;
ALTER FUNCTION integer_le_document(integer, document) LEAKPROOF;
ALTER FUNCTION integer_lt_document(integer, document) LEAKPROOF;
ALTER FUNCTION integer_ne_document(integer, document) LEAKPROOF;
ALTER FUNCTION interval_eq_document(interval, document) LEAKPROOF;
ALTER FUNCTION interval_ge_document(interval, document) LEAKPROOF;
ALTER FUNCTION interval_gt_document(interval, document) LEAKPROOF;
ALTER FUNCTION interval_le_document(interval, document) LEAKPROOF;
ALTER FUNCTION interval_lt_document(interval, document) LEAKPROOF;
ALTER FUNCTION interval_ne_document(interval, document) LEAKPROOF;
ALTER FUNCTION numeric_eq_document(numeric, document) LEAKPROOF;
ALTER FUNCTION numeric_ge_document(numeric, document) LEAKPROOF;
ALTER FUNCTION numeric_gt_document(numeric, document) LEAKPROOF;
ALTER FUNCTION numeric_le_document(numeric, document) LEAKPROOF;
ALTER FUNCTION numeric_lt_document(numeric, document) LEAKPROOF;
ALTER FUNCTION numeric_ne_document(numeric, document) LEAKPROOF;
ALTER FUNCTION text_eq_document(text, document) LEAKPROOF;
ALTER FUNCTION text_ge_document(text, document) LEAKPROOF;
ALTER FUNCTION text_gt_document(text, document) LEAKPROOF;
ALTER FUNCTION text_le_document(text, document) LEAKPROOF;
ALTER FUNCTION text_lt_document(text, document) LEAKPROOF;
ALTER FUNCTION text_ne_document(text, document) LEAKPROOF;
ALTER FUNCTION timestamptz_eq_document(timestamptz, document) LEAKPROOF;
ALTER FUNCTION timestamptz_ge_document(timestamptz, document) LEAKPROOF;
ALTER FUNCTION timestamptz_gt_document(timestamptz, document) LEAKPROOF;
ALTER FUNCTION timestamptz_le_document(timestamptz, document) LEAKPROOF;
ALTER FUNCTION timestamptz_lt_document(timestamptz, document) LEAKPROOF;
ALTER FUNCTION timestamptz_ne_document(timestamptz, document) LEAKPROOF;

-- @create document.sql document_text_lenient
-- @create document_cast.sql document_to_jsonb_lenient
-- @replace document_cast.sql document_from_text_array

-- foreign data wrapper

REVOKE EXECUTE ON FUNCTION mongo_change_stream_validator(text[], oid) FROM PUBLIC;

-- streams: tables and rights

REVOKE UPDATE ON change_stream_metrics FROM PUBLIC;
GRANT UPDATE (events_processed, last_processed_at) ON change_stream_metrics TO PUBLIC;

ALTER TABLE change_streams ADD COLUMN exclude_fields text[], ADD COLUMN mask_fields text[];
COMMENT ON COLUMN change_streams.exclude_fields IS 'paths of fields that are left out of everything that is stored of an event';
COMMENT ON COLUMN change_streams.mask_fields IS 'paths of fields that are stored with *** in place of their value';

-- data is restored in any order
ALTER TABLE change_stream_progress DROP CONSTRAINT change_stream_progress_stream_name_fkey;
ALTER TABLE change_stream_metrics DROP CONSTRAINT change_stream_metrics_stream_name_fkey;

-- @create stream_tables.sql change_stream_grants
SELECT pg_catalog.pg_extension_config_dump('change_stream_grants', '');
ALTER TABLE change_stream_grants ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON change_stream_grants TO PUBLIC;
ALTER TABLE change_streams ADD on_error text NOT NULL DEFAULT 'stop' CHECK (on_error OPERATOR(pg_catalog.=) ANY (ARRAY['stop', 'skip', 'park']));
ALTER TABLE change_streams ADD stopped_token text COLLATE "C";
COMMENT ON COLUMN change_streams.on_error IS 'what becomes of an event that cannot be written: stop before it, skip it, or park it in change_stream_dead_letters';
COMMENT ON COLUMN change_streams.stopped_token IS 'resume token of the event that the stream stopped at, as it cannot be written';

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
COMMENT ON COLUMN change_stream_progress.alive IS 'a process follows the change stream, or did and has not ended in order';
COMMENT ON COLUMN change_stream_progress.running_token IS 'after such an end: the event that is written now, noted before it is';
COMMENT ON COLUMN change_stream_progress.crashes IS 'how many times more it was noted, since who wrote it had died';
COMMENT ON COLUMN change_stream_progress.starts IS 'how many processes in a row have died before they had written an event or followed for some seconds';
COMMENT ON COLUMN change_stream_progress.definition_version IS 'how often the definition was changed; a process saves nothing that it made under another';
COMMENT ON COLUMN change_stream_progress.oplog_window IS 'how far back MongoDB''s oplog reached when a process last looked';
COMMENT ON COLUMN change_stream_progress.oplog_told IS 'the part of it, in percent, that lay behind the position when change_stream_alert was told of it';
ALTER TABLE change_stream_progress ADD COLUMN last_event_token text COLLATE "C", ADD COLUMN deployment document;
COMMENT ON COLUMN change_stream_progress.last_event_token IS 'an event that MongoDB''s history must have, or it is not the one that was followed';
COMMENT ON COLUMN change_stream_progress.deployment IS 'what MongoDB said of itself: name, id and hosts of the replica set';

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
COMMENT ON COLUMN change_handler_progress.starts IS 'how many processes in a row have died before they had come to an event';
ALTER TABLE change_handler_progress ADD definition_version bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN change_handler_progress.definition_version IS 'the transaction that last changed the definition; a process saves nothing that it made under another';

-- handlers: functions

DROP FUNCTION retry_dead_letters(text);
-- @create handler_functions.sql retry_dead_letters
DROP FUNCTION discard_dead_letters(text);
-- @create handler_functions.sql discard_dead_letters

-- handlers: views

-- @create handler_views.sql change_stream_parked_event
-- @replace handler_views.sql change_stream_dead_letters

-- @replace handler_views.sql change_handler_status

-- the dialect

-- user objects

-- @replace user_objects.sql change_stream_user_objects
