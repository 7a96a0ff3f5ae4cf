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

CREATE FUNCTION propose_mirror_columns(collection text, database text = NULL, server text = NULL, sample int = 1000) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_propose_mirror_columns' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION propose_mirror_columns(text, text, text, int)
  IS 'columns for create_change_mirror by what a collection''s documents hold: names, the narrowest types that fit, and how many have them';

CREATE FUNCTION create_change_mirrors(stream_name text, schema text, collections text[] = NULL, columns text = 'none') RETURNS SETOF text
  AS 'MODULE_PATHNAME', 'mcs_create_change_mirrors' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 30;
COMMENT ON FUNCTION create_change_mirrors(text, text, text[], text)
  IS 'one mirror for each collection of a change stream that has none, with tables in a schema; columns auto takes what propose_mirror_columns finds';
