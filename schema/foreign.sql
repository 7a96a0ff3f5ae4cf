-- The foreign data wrapper, and functions on its servers.

CREATE FUNCTION mongo_change_stream_validator(options text[], catalog oid) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_mongo_change_stream_validator' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1;
COMMENT ON FUNCTION mongo_change_stream_validator(text[], oid) IS 'checks the options of servers, user mappings and foreign tables';
-- CREATE and ALTER call it whoever runs them; nobody else has to
REVOKE EXECUTE ON FUNCTION mongo_change_stream_validator(text[], oid) FROM PUBLIC;

CREATE FUNCTION mongo_change_stream_handler() RETURNS fdw_handler
  AS 'MODULE_PATHNAME', 'mcs_mongo_change_stream_handler' LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION mongo_change_stream_handler() IS 'how foreign tables are planned and read';

CREATE FOREIGN DATA WRAPPER mongo_change_stream HANDLER mongo_change_stream_handler VALIDATOR mongo_change_stream_validator;
COMMENT ON FOREIGN DATA WRAPPER mongo_change_stream IS 'MongoDB deployments and the history of their changes';

-- beside a foreign table, in CHANGE_STREAM's translation: its scan sees the call and leaves it out
CREATE FUNCTION change_stream_kept(relation oid) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_change_stream_kept' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION change_stream_kept(oid)
  IS 'true; as a condition on tableoid it lets the scan of a foreign table take events that a change stream keeps in place of MongoDB''s history';

CREATE FUNCTION mongo_command(command document, database text = NULL, server text = NULL) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_mongo_command' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION mongo_command(document, text, text) IS 'runs a command of MongoDB with the caller''s user mapping and returns its reply';

CREATE FUNCTION check_mongo_server(server text = NULL) RETURNS TABLE (check_name text, ok boolean, detail text, hint text)
  AS 'MODULE_PATHNAME', 'mcs_check_mongo_server' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000 ROWS 12;
COMMENT ON FUNCTION check_mongo_server(text) IS 'tells what change streams need of MongoDB and lack, with the commands that help';
