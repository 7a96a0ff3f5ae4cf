-- Handlers: functions.

CREATE FUNCTION create_change_handler(handler_name text, stream_name text, body text = NULL, procedure text = NULL,
  condition text = NULL, start_at text = 'now', retry_attempts int = 5, retry_delay interval = '1 second',
  max_retry_delay interval = '1 minute', timeout interval = '1 minute', on_failure text = 'dead_letter',
  workers int = 1, paused boolean = false, each text = 'event', batch_size int = 1000) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_create_change_handler' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_handler(text, text, text, text, text, text, int, interval, interval, interval, text, int, boolean, text, int)
  IS 'run a PL/pgSQL block, a procedure or a function once for each event, or each batch of events, of a change stream';

CREATE FUNCTION alter_change_handler(handler_name text, body text = NULL, procedure text = NULL, condition text = NULL,
  retry_attempts int = NULL, retry_delay interval = NULL, max_retry_delay interval = NULL, timeout interval = NULL,
  on_failure text = NULL, workers int = NULL, reset text[] = NULL, each text = NULL, batch_size int = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_alter_change_handler' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_handler(text, text, text, text, int, interval, interval, interval, text, int, text[], text, int)
  IS 'change a handler from the next event on; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_handler(handler_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_pause_change_handler' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_handler(text) IS 'run a handler on no event until resume_change_handler';

CREATE FUNCTION resume_change_handler(handler_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_resume_change_handler' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION resume_change_handler(text) IS 'let a handler go on where it was paused or has stopped';

CREATE FUNCTION drop_change_handler(handler_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_drop_change_handler' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION drop_change_handler(text) IS 'end a handler and delete its dead letters';

CREATE FUNCTION retry_dead_letters(handler_name text = NULL, stream_name text = NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'mcs_retry_dead_letters' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION retry_dead_letters(text, text)
  IS 'run a handler on the events that it gave up, or write the events that a stream has parked; those that succeed, whose number is returned, are dead letters no more';

CREATE FUNCTION discard_dead_letters(handler_name text = NULL, stream_name text = NULL) RETURNS bigint
  AS 'MODULE_PATHNAME', 'mcs_discard_dead_letters' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION discard_dead_letters(text, text)
  IS 'delete the dead letters of a handler, or the events that a stream has parked, and return how many there were';

CREATE FUNCTION replay_changes(handler_name text, from_event bigint, to_event bigint, dry_run boolean = false) RETURNS TABLE (event_id bigint, sqlstate text, error text, detail text, context text)
  AS 'MODULE_PATHNAME', 'mcs_replay_changes' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION replay_changes(text, bigint, bigint, boolean)
  IS 'run a handler again on kept events and return those that failed; dry_run undoes what it did';
