-- Mirrors: functions.

CREATE FUNCTION create_change_mirror(mirror_name text, collection text = NULL, stream_name text = NULL, table_name text = NULL,
  columns text = NULL, filter text = NULL, on_delete text = 'delete', database text = NULL, server text = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_create_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_mirror(text, text, text, text, text, text, text, text, text)
  IS 'keep a table equal to a collection, which is copied first; the table and, without stream_name, a change stream are made';

CREATE FUNCTION drop_change_mirror(mirror_name text, drop_table boolean = false) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_drop_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION drop_change_mirror(text, boolean) IS 'end a mirror, with the change stream that was made for it; its table stays unless it is to be dropped';

CREATE FUNCTION pause_change_mirror(mirror_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_pause_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_mirror(text) IS 'leave a mirror''s table as it is until resume_change_mirror';

CREATE FUNCTION resume_change_mirror(mirror_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_resume_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION resume_change_mirror(text) IS 'keep a mirror''s table equal again, also after it has stopped; what has changed meanwhile is copied';

CREATE FUNCTION alter_change_mirror(mirror_name text, columns text = NULL, filter text = NULL, on_delete text = NULL) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_alter_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_mirror(text, text, text, text)
  IS 'change what a mirror''s table has; null leaves; new columns are filled from the stored documents, else by a new copy';

CREATE FUNCTION resync_change_mirror(mirror_name text) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_resync_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION resync_change_mirror(text) IS 'copy the collection again while the mirror runs; rows that MongoDB does not have go';
