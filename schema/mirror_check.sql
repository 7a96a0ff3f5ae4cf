-- Mirrors: comparing them with MongoDB.

CREATE FUNCTION check_change_mirror(mirror_name text, sample int = NULL, OUT difference text, OUT _id document, OUT here document, OUT there document)
  RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_check_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION check_change_mirror(text, int)
  IS 'compare a mirror, or a sample of it, with MongoDB at the mirror''s own cluster time; no rows: they are equal';

CREATE FUNCTION propose_mirror_columns(collection text, database text = NULL, server text = NULL, sample int = 1000) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_propose_mirror_columns' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION propose_mirror_columns(text, text, text, int)
  IS 'columns for create_change_mirror by what a collection''s documents hold: names, the narrowest types that fit, and how many have them';

CREATE FUNCTION create_change_mirrors(stream_name text, schema text, collections text[] = NULL, columns text = 'none') RETURNS SETOF text
  AS 'MODULE_PATHNAME', 'mcs_create_change_mirrors' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 30;
COMMENT ON FUNCTION create_change_mirrors(text, text, text[], text)
  IS 'one mirror for each collection of a change stream that has none, with tables in a schema; columns auto takes what propose_mirror_columns finds';
