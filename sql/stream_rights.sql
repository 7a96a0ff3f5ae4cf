-- Whose streams are whose: rights on functions, tables and rows

\pset format unaligned
\pset tuples_only on

CREATE SERVER nowhere FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?directConnection=true');
CREATE ROLE mcs_alice LOGIN;
CREATE ROLE mcs_bob LOGIN;
CREATE ROLE mcs_deputy LOGIN IN ROLE mcs_alice;
GRANT USAGE ON FOREIGN SERVER nowhere TO mcs_alice;
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text; hint text;
BEGIN
  EXECUTE statement;
  RETURN 'not refused';
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
  RETURN concat_ws(E'\n  ', state || ' ' || message, nullif(detail, ''), nullif(hint, ''));
END $$;

SET ROLE mcs_alice;
SELECT create_change_stream('alices', 'orders', 'shop', paused => true);
SELECT owner FROM change_streams;
SELECT paused FROM change_streams;
RESET ROLE;
INSERT INTO change_stream_events (stream_name, event_id, operation_type) SELECT 'alices', n, 'insert' FROM generate_series(1, 3) AS n;
UPDATE change_stream_progress SET last_event_id = 3;

-- nobody writes the tables, whosever the rows are
SET ROLE mcs_alice;
SELECT relation, command, refused(format(command, relation))
FROM unnest('{change_streams,change_stream_progress,change_stream_events,change_stream_kept_events,change_stream_metrics}'::text[]) AS relation,
     unnest(ARRAY['INSERT INTO %s SELECT * FROM %1$s', 'DELETE FROM %s', 'TRUNCATE %s',
                  'CREATE TRIGGER t AFTER INSERT ON %s EXECUTE FUNCTION suppress_redundant_updates_trigger()']) AS command;
SELECT relation, refused(format('UPDATE %s SET stream_name = stream_name', relation))
FROM unnest('{change_streams,change_stream_progress,change_stream_events,change_stream_kept_events,change_stream_metrics}'::text[]) AS relation;
UPDATE change_stream_metrics SET events_processed = events_processed + 1 RETURNING stream_name, events_processed;

-- a stranger without USAGE sees and does nothing
SET ROLE mcs_bob;
SELECT refused($$ SELECT create_change_stream('bobs', 'orders', 'shop', paused => true) $$);
SELECT refused($$ SELECT create_change_stream('alices', 'orders', 'shop', paused => true) $$);
SELECT (SELECT count(*) FROM change_streams), (SELECT count(*) FROM change_stream_progress), (SELECT count(*) FROM change_stream_events),
  (SELECT count(*) FROM change_stream_metrics), (SELECT count(*) FROM change_stream_status), (SELECT count(*) FROM change_stream_kept_events);
UPDATE change_stream_metrics SET events_processed = 99 RETURNING *;
SELECT call, refused('SELECT ' || call) FROM unnest(ARRAY[
  $$pause_change_stream('alices')$$, $$resume_change_stream('alices')$$, $$resume_change_stream('alices', 'earliest')$$,
  $$alter_change_stream('alices', batch_size => 1)$$, $$sync_change_stream('alices')$$, $$drop_change_stream('alices')$$]) AS call;

-- a member of the owner does and sees all
SET ROLE mcs_deputy;
SELECT stream_name, state FROM change_stream_status;
SELECT count(*) FROM change_stream_events;
SELECT alter_change_stream('alices', batch_size => 5);
SELECT pause_change_stream('alices');
UPDATE change_stream_metrics SET events_processed = 7 RETURNING events_processed;
SELECT drop_change_stream('alices', keep_events => true);

-- events that a dropped stream left stay its owner's
SET ROLE mcs_bob;
SELECT (SELECT count(*) FROM change_stream_events), (SELECT count(*) FROM change_stream_kept_events);
SELECT refused($$ SELECT drop_change_stream('alices') $$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER nowhere TO mcs_bob, mcs_deputy;
SET ROLE mcs_bob;
SELECT refused($$ SELECT create_change_stream('alices', 'orders', 'shop', paused => true) $$);
SET ROLE mcs_deputy;
SELECT create_change_stream('alices', 'orders', 'shop', paused => true);
SELECT stream_name, last_event_id FROM change_stream_progress;
SELECT count(*) FROM change_stream_events;
SET ROLE mcs_alice;
SELECT count(*) FROM change_stream_events;
RESET ROLE;

-- triggers of the tables' owner run as the stream's owner when its events are deleted
CREATE TABLE seen (stream_name text, event_id bigint, by_role name);
GRANT INSERT ON seen TO mcs_deputy;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO seen VALUES (OLD.stream_name, OLD.event_id, current_user);
  RETURN NULL;
END $$;
CREATE TRIGGER note AFTER DELETE ON change_stream_events FOR EACH ROW EXECUTE FUNCTION note();
SELECT drop_change_stream('alices');
SELECT stream_name, event_id, by_role FROM seen ORDER BY event_id;
DROP TRIGGER note ON change_stream_events;

-- a caller's search path and operators do not reach into the catalog
CREATE SCHEMA mcs_evil;
GRANT USAGE, CREATE ON SCHEMA mcs_evil TO mcs_alice;
SET ROLE mcs_alice;
CREATE FUNCTION mcs_evil.equals(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
CREATE OPERATOR mcs_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mcs_evil.equals);
CREATE FUNCTION mcs_evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
SET search_path = mcs_evil, pg_catalog, public;
SELECT create_change_stream('a', 'orders', 'shop', paused => true);
SELECT pause_change_stream('a');
SELECT alter_change_stream('a', batch_size => 1);
SHOW search_path;
SELECT current_user;
SELECT alter_change_stream('a', filter => 'operation_type = ''insert''');
SELECT alter_change_stream('a', filter => 'nonsense');
SHOW search_path;
SELECT current_user;
SELECT drop_change_stream('a');
RESET search_path;
RESET ROLE;

-- what an altered stream evaluates, it evaluates as its owner, whoever alters it
SET ROLE mcs_alice;
CREATE FUNCTION mcs_evil.trap() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'planned as %', current_user; RETURN true; END $$;
SELECT create_change_stream('a', 'orders', 'shop', paused => true);
RESET ROLE;
SELECT alter_change_stream('a', filter => 'mcs_evil.trap()');
SELECT drop_change_stream('a');

SET client_min_messages = error;
DROP SCHEMA mcs_evil CASCADE;
RESET client_min_messages;
DROP FUNCTION refused, note;
DROP TABLE seen;
DROP OWNED BY mcs_alice, mcs_bob, mcs_deputy;
DROP ROLE mcs_alice, mcs_bob, mcs_deputy;
DROP SERVER nowhere;
