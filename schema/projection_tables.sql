-- Projections: tables and the rights on them.

CREATE TABLE change_projections (
  view_name text PRIMARY KEY,
  refresh text NOT NULL,
  every interval,
  streams text[],
  min_interval interval NOT NULL,
  timeout interval NOT NULL,
  window_length interval,
  paused boolean NOT NULL,
  settings text[] NOT NULL DEFAULT '{}',
  stopped_reason text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE change_projections IS 'materialized views that are refreshed after changes, or at intervals; written only by the functions of the extension';
COMMENT ON COLUMN change_projections.view_name IS 'the materialized view, with its schema, as SQL writes it; it follows when the view is renamed';
COMMENT ON COLUMN change_projections.refresh IS 'when it is refreshed, as it was given: on change, or an interval';
COMMENT ON COLUMN change_projections.every IS 'that interval; null: it is refreshed on change';
COMMENT ON COLUMN change_projections.streams IS 'change streams after whose events it is refreshed, as they were given; null: those that its definition shows';
COMMENT ON COLUMN change_projections.min_interval IS 'time between the end of one refresh and the next, at least';
COMMENT ON COLUMN change_projections.timeout IS 'how long a refresh may take';
COMMENT ON COLUMN change_projections.window_length IS 'windows of time at whose end it is refreshed, and change_stream_window notified; null: none';
COMMENT ON COLUMN change_projections.paused IS 'whether it is paused until resume_change_projection';
COMMENT ON COLUMN change_projections.settings IS 'settings of the creator under which it is refreshed, name=value';
COMMENT ON COLUMN change_projections.stopped_reason IS 'why it has stopped until resume_change_projection; null: it has not';
COMMENT ON COLUMN change_projections.state_since IS 'when it was made, or last paused, resumed or stopped';
COMMENT ON COLUMN change_projections.created_at IS 'when it was made';

CREATE TABLE change_projection_progress (
  view_name text PRIMARY KEY,
  refreshes bigint NOT NULL DEFAULT 0,
  last_refresh_at timestamptz,
  refresh_time interval,
  seen text COLLATE "C",
  reached bigint,
  told_until timestamptz,
  next_refresh_at timestamptz,
  failures int NOT NULL DEFAULT 0,
  sqlstate text,
  error text,
  detail text,
  running boolean NOT NULL DEFAULT false,
  crashes int NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_projection_progress IS 'what became of the refreshes of each projection, committed with them; not dumped, so that a restored view is refreshed';
COMMENT ON COLUMN change_projection_progress.view_name IS 'the projection';
COMMENT ON COLUMN change_projection_progress.refreshes IS 'how often it was refreshed';
COMMENT ON COLUMN change_projection_progress.last_refresh_at IS 'when the last refresh began, whose rows show at least what was committed by then; null: there was none';
COMMENT ON COLUMN change_projection_progress.refresh_time IS 'how long that took; null: there was none';
COMMENT ON COLUMN change_projection_progress.seen IS 'where its sources were then: it is refreshed when they are elsewhere';
COMMENT ON COLUMN change_projection_progress.reached IS 'how many events of its change streams were there then, all together';
COMMENT ON COLUMN change_projection_progress.told_until IS 'windows that end up to here were told of; null: none yet';
COMMENT ON COLUMN change_projection_progress.next_refresh_at IS 'it is not refreshed before';
COMMENT ON COLUMN change_projection_progress.failures IS 'how many refreshes in a row have failed';
COMMENT ON COLUMN change_projection_progress.sqlstate IS 'SQLSTATE of the last error, which stays when it is over';
COMMENT ON COLUMN change_projection_progress.error IS 'its message';
COMMENT ON COLUMN change_projection_progress.detail IS 'its detail; null: it had none';
COMMENT ON COLUMN change_projection_progress.running IS 'whether a refresh has begun and its end was not noted yet';
COMMENT ON COLUMN change_projection_progress.crashes IS 'how many processes in a row have died in a refresh';

-- Found from the view's definition, again each minute while its process runs.  Null is a value of the key.
CREATE TABLE change_projection_sources (
  view_name text NOT NULL,
  stream_name text,
  handler_name text,
  source_view text,
  CONSTRAINT change_projection_sources_key UNIQUE NULLS NOT DISTINCT (view_name, stream_name, handler_name, source_view)
);
COMMENT ON TABLE change_projection_sources IS 'what each projection shows, as its definition says: one row a change stream, handler or other projection; not dumped, since it is found again';
COMMENT ON COLUMN change_projection_sources.view_name IS 'the projection';
COMMENT ON COLUMN change_projection_sources.stream_name IS 'change stream whose events it shows; null: source_view says what';
COMMENT ON COLUMN change_projection_sources.handler_name IS 'handler that has to have run on them, as that of an event store; null: none has to';
COMMENT ON COLUMN change_projection_sources.source_view IS 'projection that it reads; null: it reads none by this row';

SELECT pg_catalog.pg_extension_config_dump('change_projections', '');
SELECT pg_catalog.pg_extension_config_dump('change_projection_progress', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('change_projection_sources', 'WHERE false');

-- Rights: those of the materialized view's owner.

ALTER TABLE change_projections ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_projection_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_projection_sources ENABLE ROW LEVEL SECURITY;

CREATE FUNCTION change_projection_view(view_name text) RETURNS oid
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT c.oid
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid
  WHERE n.nspname OPERATOR(pg_catalog.=) (pg_catalog.parse_ident($1))[1]::pg_catalog.name
    AND c.relname OPERATOR(pg_catalog.=) (pg_catalog.parse_ident($1))[2]::pg_catalog.name AND c.relkind OPERATOR(pg_catalog.=) 'm';
END;
COMMENT ON FUNCTION change_projection_view(text) IS 'the materialized view of a projection; null: there is none of this name';

CREATE POLICY own_projections ON change_projections FOR SELECT
  USING (EXISTS (SELECT FROM pg_catalog.pg_class c
                 WHERE c.oid OPERATOR(pg_catalog.=) @extschema@.change_projection_view(view_name) AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
COMMENT ON POLICY own_projections ON change_projections IS 'a role sees those of materialized views of its own and of roles whose privileges it has';

CREATE POLICY own_projection_progress ON change_projection_progress FOR SELECT
  USING (view_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.view_name FROM @extschema@.change_projections p)));
COMMENT ON POLICY own_projection_progress ON change_projection_progress IS 'who sees the projection sees its progress';

CREATE POLICY own_projection_sources ON change_projection_sources FOR SELECT
  USING (view_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.view_name FROM @extschema@.change_projections p)));
COMMENT ON POLICY own_projection_sources ON change_projection_sources IS 'who sees the projection sees its sources';

-- @for table                      | readers
--      change_projections         | pg_read_all_data, pg_monitor
--      change_projection_progress | pg_read_all_data, pg_monitor
--      change_projection_sources  | pg_read_all_data, pg_monitor
CREATE POLICY read_all ON {table} FOR SELECT TO {readers} USING (true);
COMMENT ON POLICY read_all ON {table} IS 'members of {readers} see everything';

-- @end
GRANT SELECT ON change_projections, change_projection_progress, change_projection_sources TO PUBLIC;
