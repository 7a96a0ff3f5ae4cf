-- Mirrors: comparing them with MongoDB.

CREATE FUNCTION check_change_mirror(mirror_name text, sample int = NULL, OUT difference text, OUT _id document, OUT here document, OUT there document)
  RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_check_change_mirror' LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION check_change_mirror(text, int)
  IS 'compare a mirror, or a sample of it, with MongoDB at the mirror''s own cluster time; no rows: they are equal';
