-- Type document: casts.

-- casts

CREATE FUNCTION document_to_jsonb(document) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'mcs_document_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_jsonb(document) IS 'cast of a document to jsonb';

CREATE FUNCTION document_to_jsonb_lenient(document) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'mcs_document_to_jsonb_lenient' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_jsonb_lenient(document)
  IS 'any document as jsonb: Extended JSON for NaN and the infinities, U+FFFD for characters that no text holds';

CREATE FUNCTION document_to_json(document) RETURNS json
  AS 'MODULE_PATHNAME', 'mcs_document_to_json' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_json(document) IS 'cast of a document to json';
CREATE FUNCTION document_to_boolean(document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_to_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_boolean(document) IS 'cast of a document to boolean';
CREATE FUNCTION document_to_smallint(document) RETURNS smallint
  AS 'MODULE_PATHNAME', 'mcs_document_to_smallint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_smallint(document) IS 'cast of a document to smallint';
CREATE FUNCTION document_to_integer(document) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_to_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_integer(document) IS 'cast of a document to integer';
CREATE FUNCTION document_to_bigint(document) RETURNS bigint
  AS 'MODULE_PATHNAME', 'mcs_document_to_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_bigint(document) IS 'cast of a document to bigint';
CREATE FUNCTION document_to_numeric(document) RETURNS numeric
  AS 'MODULE_PATHNAME', 'mcs_document_to_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_numeric(document) IS 'cast of a document to numeric';
CREATE FUNCTION document_to_real(document) RETURNS real
  AS 'MODULE_PATHNAME', 'mcs_document_to_real' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_real(document) IS 'cast of a document to real';
CREATE FUNCTION document_to_double(document) RETURNS double precision
  AS 'MODULE_PATHNAME', 'mcs_document_to_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_double(document) IS 'cast of a document to double precision';
CREATE FUNCTION document_to_timestamptz(document) RETURNS timestamptz
  AS 'MODULE_PATHNAME', 'mcs_document_to_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_timestamptz(document) IS 'cast of a document to timestamptz';
CREATE FUNCTION document_to_timestamp(document) RETURNS timestamp
  AS 'MODULE_PATHNAME', 'mcs_document_to_timestamp' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_timestamp(document) IS 'cast of a document to timestamp';
CREATE FUNCTION document_to_date(document) RETURNS date
  AS 'MODULE_PATHNAME', 'mcs_document_to_date' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_date(document) IS 'cast of a document to date';
CREATE FUNCTION document_to_uuid(document) RETURNS uuid
  AS 'MODULE_PATHNAME', 'mcs_document_to_uuid' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_uuid(document) IS 'cast of a document to uuid';
CREATE FUNCTION document_to_bytea(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_to_bytea' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_bytea(document) IS 'cast of a document to bytea';
CREATE FUNCTION document_to_text_array(document) RETURNS text[]
  AS 'MODULE_PATHNAME', 'mcs_document_to_text_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_text_array(document) IS 'cast of a document to text[]';
CREATE FUNCTION document_to_interval(document) RETURNS interval
  AS 'MODULE_PATHNAME', 'mcs_document_to_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_interval(document) IS 'cast of a document to interval';
CREATE FUNCTION document_from_boolean(boolean) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_boolean(boolean) IS 'cast of boolean to a document';
CREATE FUNCTION document_from_smallint(smallint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_smallint(smallint) IS 'cast of smallint to a document';
CREATE FUNCTION document_from_integer(integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_integer(integer) IS 'cast of integer to a document';
CREATE FUNCTION document_from_bigint(bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_bigint(bigint) IS 'cast of bigint to a document';
CREATE FUNCTION document_from_numeric(numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_numeric(numeric) IS 'cast of numeric to a document';
CREATE FUNCTION document_from_real(real) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_real(real) IS 'cast of real to a document';
CREATE FUNCTION document_from_double(double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_double(double precision) IS 'cast of double precision to a document';
CREATE FUNCTION document_from_timestamptz(timestamptz) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_timestamptz(timestamptz) IS 'cast of timestamptz to a document';
CREATE FUNCTION document_from_timestamp(timestamp) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_timestamp(timestamp) IS 'cast of timestamp to a document';
CREATE FUNCTION document_from_date(date) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_date(date) IS 'cast of date to a document';
CREATE FUNCTION document_from_uuid(uuid) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_uuid(uuid) IS 'cast of uuid to a document';
CREATE FUNCTION document_from_jsonb(jsonb) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_jsonb(jsonb) IS 'cast of jsonb to a document';
CREATE FUNCTION document_from_json(json) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_json(json) IS 'cast of json to a document';
CREATE FUNCTION document_from_bytea(bytea) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_bytea(bytea) IS 'cast of bytea to a document';

-- leakproof, for indexes on changed_fields: an array that no document is large enough for is null, not an error
CREATE FUNCTION document_from_text_array(text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_from_text_array' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_text_array(text[]) IS 'cast of text[] to a document';

CREATE FUNCTION document_from_interval(interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_interval(interval) IS 'cast of interval to a document';
CREATE CAST (document AS boolean) WITH FUNCTION document_to_boolean(document) AS ASSIGNMENT;
CREATE CAST (document AS smallint) WITH FUNCTION document_to_smallint(document) AS ASSIGNMENT;
CREATE CAST (document AS integer) WITH FUNCTION document_to_integer(document) AS ASSIGNMENT;
CREATE CAST (document AS bigint) WITH FUNCTION document_to_bigint(document) AS ASSIGNMENT;
CREATE CAST (document AS numeric) WITH FUNCTION document_to_numeric(document) AS ASSIGNMENT;
CREATE CAST (document AS real) WITH FUNCTION document_to_real(document) AS ASSIGNMENT;
CREATE CAST (document AS double precision) WITH FUNCTION document_to_double(document) AS ASSIGNMENT;
CREATE CAST (document AS timestamptz) WITH FUNCTION document_to_timestamptz(document) AS ASSIGNMENT;
CREATE CAST (document AS timestamp) WITH FUNCTION document_to_timestamp(document) AS ASSIGNMENT;
CREATE CAST (document AS date) WITH FUNCTION document_to_date(document) AS ASSIGNMENT;
CREATE CAST (document AS uuid) WITH FUNCTION document_to_uuid(document) AS ASSIGNMENT;
CREATE CAST (document AS bytea) WITH FUNCTION document_to_bytea(document);
CREATE CAST (document AS text[]) WITH FUNCTION document_to_text_array(document);
CREATE CAST (document AS interval) WITH FUNCTION document_to_interval(document);
CREATE CAST (document AS jsonb) WITH FUNCTION document_to_jsonb(document);
CREATE CAST (document AS json) WITH FUNCTION document_to_json(document);
CREATE CAST (boolean AS document) WITH FUNCTION document_from_boolean(boolean);
CREATE CAST (smallint AS document) WITH FUNCTION document_from_smallint(smallint);
CREATE CAST (integer AS document) WITH FUNCTION document_from_integer(integer);
CREATE CAST (bigint AS document) WITH FUNCTION document_from_bigint(bigint);
CREATE CAST (numeric AS document) WITH FUNCTION document_from_numeric(numeric);
CREATE CAST (real AS document) WITH FUNCTION document_from_real(real);
CREATE CAST (double precision AS document) WITH FUNCTION document_from_double(double precision);
CREATE CAST (timestamptz AS document) WITH FUNCTION document_from_timestamptz(timestamptz);
CREATE CAST (timestamp AS document) WITH FUNCTION document_from_timestamp(timestamp);
CREATE CAST (date AS document) WITH FUNCTION document_from_date(date);
CREATE CAST (uuid AS document) WITH FUNCTION document_from_uuid(uuid);
CREATE CAST (jsonb AS document) WITH FUNCTION document_from_jsonb(jsonb);
CREATE CAST (json AS document) WITH FUNCTION document_from_json(json);
CREATE CAST (bytea AS document) WITH FUNCTION document_from_bytea(bytea);
CREATE CAST (text[] AS document) WITH FUNCTION document_from_text_array(text[]);
CREATE CAST (interval AS document) WITH FUNCTION document_from_interval(interval);
