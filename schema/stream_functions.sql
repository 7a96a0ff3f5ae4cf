-- Streams: functions.

CREATE FUNCTION create_change_stream(stream_name text, collection text = NULL, database text = NULL, server text = NULL,
  filter text = NULL, add_fields text = NULL, operations text[] = NULL, pipeline document = NULL,
  full_document text = 'default', full_document_before_change text = 'off', show_expanded_events boolean = false,
  max_await_time interval = '1 second', batch_size int = NULL,
  resume_after text = NULL, start_after text = NULL, start_at text = NULL, initial_snapshot boolean = false,
  retention interval = NULL, notify text = 'ids', paused boolean = false,
  exclude_fields text[] = NULL, mask_fields text[] = NULL, on_error text = 'stop', keep_events boolean = true) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_create_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_stream(text, text, text, text, text, text, text[], document, text, text, boolean, interval, int, text, text, text, boolean, interval, text, boolean, text[], text[], text, boolean)
  IS 'follow the changes of a collection, of a database, or (database *) of every database into change_stream_events';

CREATE FUNCTION alter_change_stream(stream_name text, filter text = NULL, add_fields text = NULL, operations text[] = NULL,
  pipeline document = NULL, full_document text = NULL, full_document_before_change text = NULL,
  show_expanded_events boolean = NULL, max_await_time interval = NULL, batch_size int = NULL, retention interval = NULL,
  notify text = NULL, reset text[] = NULL, exclude_fields text[] = NULL, mask_fields text[] = NULL, on_error text = NULL,
  keep_events boolean = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_alter_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_stream(text, text, text, text[], document, text, text, boolean, interval, int, interval, text, text[], text[], text[], text, boolean)
  IS 'change what a change stream takes from the next event on; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_stream(stream_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_pause_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_stream(text) IS 'stop following until resume_change_stream';

CREATE FUNCTION resume_change_stream(stream_name text, start_at text = NULL, initial_snapshot boolean = false, skip text = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_resume_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION resume_change_stream(text, text, boolean, text)
  IS 'follow again, from where the change stream stopped or from another position; skip is the token of one event to leave out';

CREATE FUNCTION drop_change_stream(stream_name text, keep_events boolean = false, discard_dead_letters boolean = false) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_drop_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION drop_change_stream(text, boolean, boolean)
  IS 'end a change stream and delete its events, or keep them; refused where its handlers left dead letters, unless those are to be discarded';

CREATE FUNCTION sync_change_stream(stream_name text, timeout interval = '30 seconds', handlers boolean = false,
  operation_time document = NULL) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_sync_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION sync_change_stream(text, interval, boolean, document)
  IS 'wait until every write that MongoDB had acknowledged before the call, or up to an operationTime of MongoDB, is in change_stream_events; false after timeout';

CREATE FUNCTION grant_change_stream(stream_name text, reader regrole) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_grant_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION grant_change_stream(text, regrole)
  IS 'let a role and its members read a change stream: definition, status, events, dead letters; nothing else';

CREATE FUNCTION revoke_change_stream(stream_name text, reader regrole) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_revoke_change_stream' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION revoke_change_stream(text, regrole) IS 'end what grant_change_stream let a role do';
