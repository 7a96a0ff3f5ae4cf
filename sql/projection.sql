-- Projections: what is refused, what a definition becomes, what is found in it; no MongoDB is needed for that.
SET client_min_messages = warning;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
SELECT create_change_stream('orders', collection => 'orders', paused => true);
SELECT create_change_stream('users', collection => 'users', paused => true);
DO LANGUAGE change_stream $$
CREATE EVENT_STORE kept WITH (paused = true) AS SELECT document_key._id AS id, operation_type FROM CHANGE_STREAM ON DATABASE
$$;
CREATE VIEW between AS SELECT * FROM kept;
CREATE TABLE t (n int);
CREATE MATERIALIZED VIEW plain AS SELECT count(*) AS n FROM t;
CREATE MATERIALIZED VIEW events AS SELECT stream_name, count(*) AS n FROM change_stream_events GROUP BY 1;
CREATE MATERIALIZED VIEW store AS SELECT operation_type, count(*) AS n FROM between GROUP BY 1;
CREATE MATERIALIZED VIEW "of Both" AS SELECT e.stream_name, s.operation_type FROM events e, store s;

-- Bad input: an error each, and nothing is left.
SELECT create_change_projection(NULL);
SELECT create_change_projection('t');
SELECT create_change_projection('between');
SELECT create_change_projection(1);
SELECT create_change_projection('plain');
SELECT create_change_projection('plain', refresh => 'often');
SELECT create_change_projection('plain', refresh => '1 ms');
SELECT create_change_projection('plain', streams => '{orders,nothing}');
SELECT create_change_projection('events', min_interval => '-1 s');
SELECT create_change_projection('events', timeout => '0');
SELECT create_change_projection('events', window_length => '1 month');
SELECT create_change_projection('events', window_length => '0.5 s');
SELECT alter_change_projection('events');
SELECT pause_change_projection('events');
SELECT count(*) FROM change_projections;

-- Good input, and what is found.
SELECT create_change_projection('events', paused => true);
SELECT create_change_projection('events');
SELECT create_change_projection('store', refresh => 'ON_CHANGE', min_interval => '5 s', timeout => '1 min', window_length => '5 min', paused => true);
SELECT create_change_projection('plain', refresh => '90 s', paused => true);
SELECT create_change_projection('"of Both"', paused => true);
SELECT view_name, refresh, every, streams, min_interval, timeout, window_length, paused FROM change_projections ORDER BY 1;
SELECT * FROM change_projection_sources ORDER BY 1, 2, 3, 4;
SELECT view_name, streams, state, reason, behind, failures FROM change_projection_status ORDER BY 1;
SELECT alter_change_projection('plain', refresh => 'on change');
SELECT alter_change_projection('plain', streams => '{users}', refresh => 'on change');
SELECT alter_change_projection('store', reset => '{refresh,min_interval,window_length}');
SELECT alter_change_projection('store', reset => '{paused}');
SELECT alter_change_projection('events', streams => '{users}');
SELECT view_name, refresh, every, streams, min_interval, window_length FROM change_projections WHERE view_name <> 'public."of Both"' ORDER BY 1;
SELECT * FROM change_projection_sources WHERE view_name IN ('public.plain', 'public.events') ORDER BY 1, 2, 3;

-- It is the owner's.
CREATE ROLE projection_reader;
GRANT SELECT ON events, store TO projection_reader;
SET ROLE projection_reader;
SELECT view_name FROM change_projections;
SELECT view_name FROM change_projection_status;
SELECT count(*) FROM change_projection_sources;
SELECT drop_change_projection('events');
SELECT create_change_projection('events');
RESET ROLE;
DROP OWNED BY projection_reader;
DROP ROLE projection_reader;

-- The dialect.
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (refresh = ''5 minutes'') AS SELECT id.x FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW IF NOT EXISTS public."V" USING heap WITH (fillfactor = 70, refresh = ''on change'', minInterval = INTERVAL ''2 s'', streams = [''users'']) AS SELECT 1 AS x');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (window_length = ''1 hour'') AS SELECT count(*) AS n FROM kept WITH NO DATA');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (refresh = ''manual'') AS SELECT id.x FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v AS SELECT id.x FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v AS SELECT id FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (refresh) AS SELECT id FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (refresh = ''1 s'', refresh = ''2 s'') AS SELECT id FROM kept');
SELECT change_stream_translate('CREATE MATERIALIZED VIEW v WITH (refresh = ''1 s'') AS SELECT id.x FROM nothing.there WHERE ( ');
DO LANGUAGE change_stream 'CREATE MATERIALIZED VIEW v WITH (refresh = ''1 hour'') AS SELECT id.x FROM kept';
DO LANGUAGE change_stream 'CREATE MATERIALIZED VIEW IF NOT EXISTS v WITH (refresh = ''1 hour'') AS SELECT id.x FROM kept';
SELECT refresh FROM change_projections WHERE view_name = 'public.v';

-- Closed windows of a stream that has no events yet.
SELECT * FROM change_stream_closed_windows('orders', '5 minutes');
SELECT * FROM change_stream_closed_windows('nothing', '5 minutes');
SELECT * FROM change_stream_closed_windows('orders', '1 month');

-- A view that goes takes its projection along; but for one that a restore has brought, whose view comes behind the data.
INSERT INTO change_projections (view_name, refresh, min_interval, timeout, paused) VALUES ('public.later', 'on change', '1 s', '1 min', false);
DROP MATERIALIZED VIEW v, "of Both";
DROP TABLE t CASCADE;
SELECT view_name FROM change_projections ORDER BY 1;
SELECT drop_change_projection('events');
DROP MATERIALIZED VIEW events;
DROP TABLE kept CASCADE;
SELECT view_name, state, reason FROM change_projection_status;
DELETE FROM change_projections WHERE view_name = 'public.later';
SELECT (SELECT count(*) FROM change_projections) + (SELECT count(*) FROM change_projection_progress) + (SELECT count(*) FROM change_projection_sources) AS "left";
SELECT drop_change_stream(stream_name) FROM change_streams;
DROP SERVER mongo;
