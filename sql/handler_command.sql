-- Handlers: what is refused, and what a definition becomes; no MongoDB is needed for that.
\set VERBOSITY default
SET client_min_messages = warning;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
SELECT create_change_stream('orders', collection => 'orders', paused => true);
CREATE TABLE seen (id bigint);
CREATE PROCEDURE take(change change_stream_events) LANGUAGE sql AS 'INSERT INTO seen VALUES (change.event_id)';
CREATE FUNCTION many(change change_stream_events) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';

-- Bad input: an error each, the session goes on, and nothing is left.
SELECT create_change_handler('h', 'nothing', body => 'BEGIN END');
SELECT create_change_handler(NULL, 'orders', body => 'BEGIN END');
SELECT create_change_handler('', 'orders', body => 'BEGIN END');
SELECT create_change_handler('h', 'orders');
SELECT create_change_handler('h', 'orders', body => 'BEGIN END', procedure => 'take');
SELECT create_change_handler('h', 'orders', body => '');
SELECT create_change_handler('h', 'orders', body => 'BEGIN SELEC 1; END');
SELECT create_change_handler('h', 'orders', procedure => 'nobody');
SELECT create_change_handler('h', 'orders', procedure => 'many');
SELECT create_change_handler('h', 'orders', procedure => 'take', condition => 'event_id + 1');
SELECT create_change_handler('h', 'orders', procedure => 'take', condition => 'no_such_column = 1');
SELECT create_change_handler('h', 'orders', procedure => 'take', start_at => 'yesterday');
SELECT create_change_handler('h', 'orders', procedure => 'take', retry_attempts => -1);
SELECT create_change_handler('h', 'orders', procedure => 'take', retry_delay => '-1 second');
SELECT create_change_handler('h', 'orders', procedure => 'take', timeout => '0');
SELECT create_change_handler('h', 'orders', procedure => 'take', on_failure => 'ignore');
SELECT create_change_handler('h', 'orders', procedure => 'take', workers => 0);
SELECT count(*) FROM change_handlers;

-- Good input.
SELECT create_change_handler('plain', 'orders', procedure => 'take');
SELECT create_change_handler('plain', 'orders', procedure => 'take');
SELECT create_change_handler('written', 'orders', body => 'INSERT INTO seen VALUES (change.event_id)', condition => $$operation_type = 'insert'$$,
  start_at => 'earliest', retry_attempts => 2, retry_delay => '2 seconds', max_retry_delay => '10 seconds', timeout => '5 seconds',
  on_failure => 'stop', workers => 3, paused => true);
SELECT handler_name, stream_name, body, procedure, condition, retry_attempts, retry_delay, max_retry_delay, timeout, on_failure, workers, paused
FROM change_handlers ORDER BY handler_name;
SELECT alter_change_handler('plain', condition => $$full_document.order.total > 5$$);
SELECT condition, translated_condition FROM change_handlers WHERE handler_name = 'plain';
SELECT alter_change_handler('plain', reset => '{condition}');
SELECT alter_change_handler('written', body => 'SELEC');
SELECT alter_change_handler('written', workers => 1, reset => '{condition}');
SELECT alter_change_handler('nobody', workers => 1);
SELECT pause_change_handler('plain');
SELECT resume_change_handler('written');
SELECT handler_name, state, last_event_id, behind, failures FROM change_handler_status ORDER BY handler_name;
SELECT retry_dead_letters('plain'), discard_dead_letters('plain');
SELECT retry_dead_letters('nobody');
SELECT * FROM replay_changes('plain', 1, 10);
SELECT * FROM replay_changes('plain', NULL, 10);
SELECT * FROM replay_changes('plain', 1, 10, dry_run => true);

-- Code for each batch: a body has the events as a relation, a procedure or function as an array.
SELECT create_change_handler('batch', 'orders', each => 'batch', batch_size => 0, body => 'BEGIN END');
SELECT create_change_handler('batch', 'orders', each => 'row', body => 'BEGIN END');
SELECT create_change_handler('batch', 'orders', each => 'batch', procedure => 'take');
SELECT create_change_handler('batch', 'orders', each => 'batch', batch_size => 50, paused => true,
  body => 'INSERT INTO seen SELECT (c.full_document.customer.age)::bigint FROM changes c WHERE c.changed_fields CONTAINS ''status''');
SELECT each, batch_size, translated_body FROM change_handlers WHERE handler_name = 'batch';
SELECT * FROM replay_changes('batch', 1, 10);
SELECT alter_change_handler('batch', reset => ARRAY['each', 'batch_size'], body => 'BEGIN END');
SELECT each, batch_size, translated_body FROM change_handlers WHERE handler_name = 'batch';
CREATE FUNCTION take_all(changes change_stream_events[]) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT alter_change_handler('batch', procedure => 'take_all');
SELECT alter_change_handler('batch', procedure => 'take_all', each => 'batch');
SELECT drop_change_handler('batch');
DROP FUNCTION take_all;

-- A role that does not own the stream sees none of it and may change nothing.
CREATE ROLE handler_stranger;
GRANT ALL ON SCHEMA public TO handler_stranger;
SET ROLE handler_stranger;
SELECT count(*) FROM change_handlers;
SELECT count(*) FROM change_handler_status;
SELECT create_change_handler('mine', 'orders', body => 'BEGIN END');
SELECT pause_change_handler('written');
SELECT drop_change_handler('written');
SELECT retry_dead_letters('written');
SELECT * FROM replay_changes('written', 1, 10);
INSERT INTO change_handlers (handler_name, stream_name) VALUES ('mine', 'orders');
RESET ROLE;

-- What a handler's owner calls can set nothing in the session of somebody else.
CREATE FUNCTION meddle() RETURNS boolean IMMUTABLE LANGUAGE sql AS $$SELECT set_config('search_path', 'elsewhere, public', false) = ''$$;
SELECT alter_change_handler('plain', condition => 'meddle()');
SELECT * FROM replay_changes('plain', 1, 10);
SELECT retry_dead_letters('plain');
SHOW search_path;
SELECT alter_change_stream('orders', filter => 'meddle()');
SHOW search_path;

-- What the caller has deferred is the caller's.
CREATE TABLE deferring (id int PRIMARY KEY, other int REFERENCES deferring DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO deferring VALUES (1, 2);
SELECT * FROM replay_changes('plain', 1, 10);
ROLLBACK;
DROP TABLE deferring;

-- Default privileges keep nobody from code of his own, nor a role that they name from being dropped.
CREATE ROLE handler_owner LOGIN;
GRANT USAGE ON FOREIGN SERVER mongo TO handler_owner;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SET ROLE handler_owner;
SELECT create_change_stream('own', collection => 'orders', paused => true);
SELECT create_change_handler('own', 'own', body => 'BEGIN END');
SELECT * FROM replay_changes('own', 1, 10);
SELECT drop_change_stream('own');
RESET ROLE;
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
REVOKE USAGE ON FOREIGN SERVER mongo FROM handler_owner;
DROP ROLE handler_owner;

SELECT drop_change_handler('plain');
SELECT drop_change_handler('plain');
SELECT drop_change_stream('orders');
SELECT count(*) FROM change_handlers;
DROP FUNCTION many, meddle;
DROP PROCEDURE take;
DROP TABLE seen;
REVOKE ALL ON SCHEMA public FROM handler_stranger;
DROP ROLE handler_stranger;
DROP SERVER mongo;
