-- The trigger function for a table of the user's own.

CREATE FUNCTION update_stream_resume_token() RETURNS trigger
  AS 'MODULE_PATHNAME', 'mcs_update_stream_resume_token' LANGUAGE C;
COMMENT ON FUNCTION update_stream_resume_token() IS 'keeps tokens and counters in the user''s own table change_stream_resume_tokens';
-- a trigger function of the events table, on which nobody but its owner makes triggers
REVOKE EXECUTE ON FUNCTION update_stream_resume_token() FROM PUBLIC;
