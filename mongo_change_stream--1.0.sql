/* mongo_change_stream--1.0.sql: the whole schema, readable from top to bottom */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mongo_change_stream" to load this file. \quit

DO LANGUAGE plpgsql $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp;
  IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
    RAISE feature_not_supported USING
      MESSAGE = 'extension "mongo_change_stream" needs a database with encoding UTF8',
      DETAIL = pg_catalog.format('The encoding of database "%s" is %s; BSON''s text is UTF-8.',
                                 pg_catalog.current_database(), pg_catalog.getdatabaseencoding()),
      HINT = 'CREATE DATABASE name TEMPLATE template0 ENCODING ''UTF8''';
  END IF;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;

---------------------------------------------------------------------------
-- 1. Type document: one BSON value of any type
---------------------------------------------------------------------------

CREATE TYPE document;

CREATE FUNCTION document_in(cstring) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_out(document) RETURNS cstring
  AS 'MODULE_PATHNAME', 'mcs_document_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_recv(internal) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_send(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_subscript_handler(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_subscript_handler' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;

COMMENT ON FUNCTION document_in(cstring) IS 'I/O';
COMMENT ON FUNCTION document_out(document) IS 'I/O';
COMMENT ON FUNCTION document_recv(internal) IS 'I/O';
COMMENT ON FUNCTION document_send(document) IS 'I/O';
COMMENT ON FUNCTION document_subscript_handler(internal) IS 'subscripting of type document';

CREATE TYPE document (
  INPUT = document_in,
  OUTPUT = document_out,
  RECEIVE = document_recv,
  SEND = document_send,
  SUBSCRIPT = document_subscript_handler,
  INTERNALLENGTH = VARIABLE,
  ALIGNMENT = int4,
  STORAGE = extended
);
COMMENT ON TYPE document IS 'one BSON value of any type; its text is Extended JSON';

-- in and out of BSON, text

CREATE FUNCTION document_from_bson(bytea) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_from_bson' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_from_bson(bytea) IS 'a document from the bytes of a whole BSON document, which are checked';

CREATE FUNCTION document_to_bson(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_to_bson' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_bson(document) IS 'the bytes of a whole document';

CREATE FUNCTION document_text(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_text(document) IS 'a value as plain text: a string without quotes, an ObjectId''s hex, a date in ISO 8601';

CREATE FUNCTION document_typeof(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_typeof' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_typeof(document) IS 'the type of a value, named as MongoDB''s $type names it';

-- access

CREATE FUNCTION document_field(document, text) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_field' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_field_text(document, text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_field_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_element(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_element' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_element_text(document, integer) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_element_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_path(document, text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_path' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_path_text(document, text[]) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_path_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;

COMMENT ON FUNCTION document_field(document, text) IS 'implementation of -> operator';
COMMENT ON FUNCTION document_field_text(document, text) IS 'implementation of ->> operator';
COMMENT ON FUNCTION document_element(document, integer) IS 'implementation of -> operator';
COMMENT ON FUNCTION document_element_text(document, integer) IS 'implementation of ->> operator';
COMMENT ON FUNCTION document_path(document, text[]) IS 'implementation of #> operator';
COMMENT ON FUNCTION document_path_text(document, text[]) IS 'implementation of #>> operator';

CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field);
CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field_text);
CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element);
CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element_text);
CREATE OPERATOR #> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path);
CREATE OPERATOR #>> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path_text);

COMMENT ON OPERATOR -> (document, text) IS 'a field of an object';
COMMENT ON OPERATOR ->> (document, text) IS 'a field of an object, as text';
COMMENT ON OPERATOR -> (document, integer) IS 'an element of an array, from 0; from its end if negative';
COMMENT ON OPERATOR ->> (document, integer) IS 'an element of an array, as text';
COMMENT ON OPERATOR #> (document, text[]) IS 'the value at a path';
COMMENT ON OPERATOR #>> (document, text[]) IS 'the value at a path, as text';

CREATE FUNCTION document_get(document, VARIADIC text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_get' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_get(document, VARIADIC text[]) IS 'the value at a path as the dialect reads paths: user_id also finds userId, a dotted step also a literal key';

-- existence and containment

-- bpchar, as which a text is taken unchanged: with text, as jsonb has it, '{...}' ? 'a' would be ambiguous for everybody
CREATE FUNCTION document_exists(document, bpchar) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists(document, bpchar) IS 'implementation of ? operator';
CREATE OPERATOR ? (LEFTARG = document, RIGHTARG = bpchar, FUNCTION = document_exists, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ? (document, bpchar) IS 'is it a key of the object, or a string of the array?';
CREATE FUNCTION document_exists_any(document, bpchar[]) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists_any' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists_any(document, bpchar[]) IS 'implementation of ?| operator';
CREATE OPERATOR ?| (LEFTARG = document, RIGHTARG = bpchar[], FUNCTION = document_exists_any, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ?| (document, bpchar[]) IS 'is one of them a key?';
CREATE FUNCTION document_exists_all(document, bpchar[]) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists_all' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists_all(document, bpchar[]) IS 'implementation of ?& operator';
CREATE OPERATOR ?& (LEFTARG = document, RIGHTARG = bpchar[], FUNCTION = document_exists_all, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ?& (document, bpchar[]) IS 'are all of them keys?';
CREATE FUNCTION document_contains(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_contains' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_contains(document, document) IS 'implementation of @> operator';
CREATE FUNCTION document_contained(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_contained' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_contained(document, document) IS 'implementation of <@ operator';
CREATE OPERATOR @> (LEFTARG = document, RIGHTARG = document, FUNCTION = document_contains, COMMUTATOR = <@,
  RESTRICT = matchingsel, JOIN = matchingjoinsel);
CREATE OPERATOR <@ (LEFTARG = document, RIGHTARG = document, FUNCTION = document_contained, COMMUTATOR = @>,
  RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR @> (document, document) IS 'contains';
COMMENT ON OPERATOR <@ (document, document) IS 'is contained in';

-- the parts as rows

CREATE FUNCTION document_keys(document) RETURNS SETOF text
  AS 'MODULE_PATHNAME', 'mcs_document_keys' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 ROWS 20;
COMMENT ON FUNCTION document_keys(document) IS 'the keys of an object, in its order';
CREATE FUNCTION document_each(document, OUT key text, OUT value document) RETURNS SETOF record
  AS 'MODULE_PATHNAME', 'mcs_document_each' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 ROWS 20;
COMMENT ON FUNCTION document_each(document) IS 'the members of an object, in its order';
CREATE FUNCTION document_elements(document) RETURNS SETOF document
  AS 'MODULE_PATHNAME', 'mcs_document_elements' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 ROWS 20;
COMMENT ON FUNCTION document_elements(document) IS 'the elements of an array';
CREATE FUNCTION array_length(document, integer) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_array_length' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION array_length(document, integer) IS 'the length of an array; null if it is none or empty';

-- order, equality, hash

CREATE FUNCTION document_eq(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_eq(document, document) IS 'implementation of = operator';
CREATE FUNCTION document_ne(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_ne(document, document) IS 'implementation of <> operator';
CREATE FUNCTION document_lt(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_lt(document, document) IS 'implementation of < operator';
CREATE FUNCTION document_le(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_le(document, document) IS 'implementation of <= operator';
CREATE FUNCTION document_gt(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gt(document, document) IS 'implementation of > operator';
CREATE FUNCTION document_ge(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_ge(document, document) IS 'implementation of >= operator';
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = document, FUNCTION = document_eq, COMMUTATOR = =, NEGATOR = <>,
  RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES);
COMMENT ON OPERATOR = (document, document) IS 'equal, in the order of BSON values';
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = document, FUNCTION = document_ne, COMMUTATOR = <>, NEGATOR = =,
  RESTRICT = neqsel, JOIN = neqjoinsel);
COMMENT ON OPERATOR <> (document, document) IS 'not equal, in the order of BSON values';
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = document, FUNCTION = document_lt, COMMUTATOR = >, NEGATOR = >=,
  RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
COMMENT ON OPERATOR < (document, document) IS 'less than, in the order of BSON values';
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = document, FUNCTION = document_le, COMMUTATOR = >=, NEGATOR = >,
  RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
COMMENT ON OPERATOR <= (document, document) IS 'less than or equal, in the order of BSON values';
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = document, FUNCTION = document_gt, COMMUTATOR = <, NEGATOR = <=,
  RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
COMMENT ON OPERATOR > (document, document) IS 'greater than, in the order of BSON values';
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = document, FUNCTION = document_ge, COMMUTATOR = <=, NEGATOR = <,
  RESTRICT = scalargesel, JOIN = scalargejoinsel);
COMMENT ON OPERATOR >= (document, document) IS 'greater than or equal, in the order of BSON values';
CREATE FUNCTION document_cmp(document, document) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_cmp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_cmp(document, document) IS 'less-equal-greater';
CREATE FUNCTION document_sortsupport(internal) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_document_sortsupport' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sortsupport(internal) IS 'sort support';
CREATE FUNCTION document_hash(document) RETURNS integer
  AS 'MODULE_PATHNAME', 'mcs_document_hash' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_hash(document) IS 'hash';
CREATE FUNCTION document_hash_extended(document, bigint) RETURNS bigint
  AS 'MODULE_PATHNAME', 'mcs_document_hash_extended' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_hash_extended(document, bigint) IS 'hash with a seed';

-- no function 4: equal documents may have different bytes (1 and 1.0), so a btree must not merge them
CREATE OPERATOR CLASS document_ops DEFAULT FOR TYPE document USING btree AS
  OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
  FUNCTION 1 document_cmp(document, document),
  FUNCTION 2 document_sortsupport(internal);
CREATE OPERATOR CLASS document_ops DEFAULT FOR TYPE document USING hash AS
  OPERATOR 1 =,
  FUNCTION 1 document_hash(document),
  FUNCTION 2 document_hash_extended(document, bigint);

-- GIN

CREATE FUNCTION document_gin_extract(document, internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_gin_extract' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_extract(document, internal) IS 'GIN support';
CREATE FUNCTION document_gin_query(document, internal, smallint, internal, internal, internal, internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_gin_query' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_query(document, internal, smallint, internal, internal, internal, internal) IS 'GIN support';
CREATE FUNCTION document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gin_consistent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal) IS 'GIN support';
CREATE FUNCTION document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal) RETURNS "char"
  AS 'MODULE_PATHNAME', 'mcs_document_gin_triconsistent' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal) IS 'GIN support';
CREATE OPERATOR CLASS document_gin_ops DEFAULT FOR TYPE document USING gin AS
  OPERATOR 7 @>(document, document),
  OPERATOR 9 ?(document, bpchar),
  OPERATOR 10 ?|(document, bpchar[]),
  OPERATOR 11 ?&(document, bpchar[]),
  FUNCTION 1 btint4cmp(integer, integer),
  FUNCTION 2 document_gin_extract(document, internal),
  FUNCTION 3 document_gin_query(document, internal, smallint, internal, internal, internal, internal),
  FUNCTION 4 document_gin_consistent(internal, smallint, document, integer, internal, internal, internal, internal),
  FUNCTION 6 document_gin_triconsistent(internal, smallint, document, integer, internal, internal, internal),
  STORAGE integer;

-- comparison with other types: a document of another kind is unequal, and neither less nor greater

CREATE FUNCTION document_cross_support(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_cross_support' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_cross_support(internal) IS 'lets an index on documents serve comparisons with other types';
CREATE FUNCTION document_index_bound("any", boolean) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_index_bound' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_index_bound("any", boolean) IS 'a bound that an index on documents is asked with';

CREATE FUNCTION document_eq_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_eq_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_ne_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_lt_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_le_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_gt_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_text(document, text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION text_ge_document(text, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_text_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = text, FUNCTION = document_eq_text, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = document, FUNCTION = text_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_ne_text, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = document, FUNCTION = text_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = text, FUNCTION = document_lt_text, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = text, RIGHTARG = document, FUNCTION = text_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = text, FUNCTION = document_le_text, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = text, RIGHTARG = document, FUNCTION = text_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = text, FUNCTION = document_gt_text, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = text, RIGHTARG = document, FUNCTION = text_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = text, FUNCTION = document_ge_text, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = text, RIGHTARG = document, FUNCTION = text_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_eq_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_ne_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_lt_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_le_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_gt_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_boolean(document, boolean) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_boolean' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION boolean_ge_document(boolean, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_boolean_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_eq_boolean, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_ne_boolean, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_lt_boolean, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_le_boolean, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_gt_boolean, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = boolean, FUNCTION = document_ge_boolean, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = boolean, RIGHTARG = document, FUNCTION = boolean_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_eq_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_ne_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_lt_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_le_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_gt_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_integer(document, integer) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION integer_ge_document(integer, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_integer_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_eq_integer, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_ne_integer, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_lt_integer, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_le_integer, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_gt_integer, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_ge_integer, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_eq_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_ne_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_lt_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_le_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_gt_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_bigint(document, bigint) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION bigint_ge_document(bigint, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_bigint_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_eq_bigint, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_ne_bigint, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_lt_bigint, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_le_bigint, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_gt_bigint, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_ge_bigint, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_eq_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_ne_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_lt_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_le_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_gt_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_numeric(document, numeric) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION numeric_ge_document(numeric, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_numeric_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_eq_numeric, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_ne_numeric, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_lt_numeric, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_le_numeric, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_gt_numeric, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_ge_numeric, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_eq_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_ne_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_lt_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_le_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_gt_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_double(document, double precision) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION double_ge_document(double precision, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_double_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_eq_double, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_ne_double, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_lt_double, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_le_double, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_gt_double, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_ge_double, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_eq_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_ne_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_lt_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_le_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_gt_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_timestamptz(document, timestamptz) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION timestamptz_ge_document(timestamptz, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_eq_timestamptz, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_ne_timestamptz, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_lt_timestamptz, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_le_timestamptz, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_gt_timestamptz, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_ge_timestamptz, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

CREATE FUNCTION document_eq_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_eq_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_eq_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_eq_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ne_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ne_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_ne_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_ne_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_lt_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_lt_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_lt_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_lt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_le_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_le_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_le_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_le_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_gt_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_gt_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_gt_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_gt_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION document_ge_interval(document, interval) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_ge_interval' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE FUNCTION interval_ge_document(interval, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_interval_ge_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1 SUPPORT document_cross_support;
CREATE OPERATOR = (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_eq_interval, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR = (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_eq_document, COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel);
CREATE OPERATOR <> (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_ne_interval, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR <> (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_ne_document, COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel);
CREATE OPERATOR < (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_lt_interval, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR < (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_lt_document, COMMUTATOR = >, RESTRICT = scalarltsel, JOIN = scalarltjoinsel);
CREATE OPERATOR <= (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_le_interval, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR <= (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_le_document, COMMUTATOR = >=, RESTRICT = scalarlesel, JOIN = scalarlejoinsel);
CREATE OPERATOR > (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_gt_interval, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR > (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_gt_document, COMMUTATOR = <, RESTRICT = scalargtsel, JOIN = scalargtjoinsel);
CREATE OPERATOR >= (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_ge_interval, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);
CREATE OPERATOR >= (LEFTARG = interval, RIGHTARG = document, FUNCTION = interval_ge_document, COMMUTATOR = <=, RESTRICT = scalargesel, JOIN = scalargejoinsel);

-- SQL values to documents

CREATE FUNCTION to_document(anyelement) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION to_document(anyelement) IS 'any value as a document: rows become objects, arrays arrays, numerics Decimal128';
CREATE FUNCTION document_build_object(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object' LANGUAGE C STABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_object() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_object_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_array(VARIADIC "any") RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array' LANGUAGE C STABLE PARALLEL SAFE COST 1;
CREATE FUNCTION document_build_array() RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_build_array_empty' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_build_object("any") IS 'an object from keys and values in turn';
COMMENT ON FUNCTION document_build_object() IS 'an empty object';
COMMENT ON FUNCTION document_build_array("any") IS 'an array from its elements';
COMMENT ON FUNCTION document_build_array() IS 'an empty array';
CREATE FUNCTION document_agg_transition(internal, anyelement) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_agg_transition' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_agg_transition(internal, anyelement) IS 'aggregate transition function';
CREATE FUNCTION document_agg_final(internal, anyelement) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_agg_final' LANGUAGE C STABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_agg_final(internal, anyelement) IS 'aggregate final function';
CREATE AGGREGATE document_agg(anyelement) (
  SFUNC = document_agg_transition, STYPE = internal,
  FINALFUNC = document_agg_final, FINALFUNC_EXTRA,
  PARALLEL = SAFE
);
COMMENT ON AGGREGATE document_agg(anyelement) IS 'the values as an array';

-- casts

CREATE FUNCTION document_to_jsonb(document) RETURNS jsonb
  AS 'MODULE_PATHNAME', 'mcs_document_to_jsonb' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_to_jsonb(document) IS 'cast of a document to jsonb';
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
CREATE FUNCTION document_from_text_array(text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_to_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
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

-- arithmetic, with MongoDB's result types

CREATE FUNCTION document_plus(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_plus_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_minus_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_times_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_integer(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_integer' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION integer_divided_document(integer, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_integer_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_plus_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_minus_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_times_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_bigint(document, bigint) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_bigint' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION bigint_divided_document(bigint, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_bigint_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_plus_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_minus_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_times_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_numeric(document, numeric) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_numeric' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION numeric_divided_document(numeric, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_numeric_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_plus_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_plus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_minus_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_times_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_times_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_times_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_times_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_divided_double(document, double precision) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_divided_double' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION double_divided_document(double precision, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_double_divided_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_timestamptz(document, timestamptz) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_timestamptz' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION timestamptz_minus_document(timestamptz, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_timestamptz_minus_document' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_plus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_plus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
CREATE FUNCTION document_minus_interval(document, interval) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_minus_interval' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;

CREATE OPERATOR + (LEFTARG = document, RIGHTARG = document, FUNCTION = document_plus, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = document, FUNCTION = document_minus);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = document, FUNCTION = document_times, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = document, FUNCTION = document_divided);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_plus_integer, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_minus_integer);
CREATE OPERATOR - (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_times_integer, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_divided_integer);
CREATE OPERATOR / (LEFTARG = integer, RIGHTARG = document, FUNCTION = integer_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_plus_bigint, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_minus_bigint);
CREATE OPERATOR - (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_times_bigint, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = bigint, FUNCTION = document_divided_bigint);
CREATE OPERATOR / (LEFTARG = bigint, RIGHTARG = document, FUNCTION = bigint_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_plus_numeric, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_minus_numeric);
CREATE OPERATOR - (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_times_numeric, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = numeric, FUNCTION = document_divided_numeric);
CREATE OPERATOR / (LEFTARG = numeric, RIGHTARG = document, FUNCTION = numeric_divided_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_plus_double, COMMUTATOR = +);
CREATE OPERATOR + (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_plus_document, COMMUTATOR = +);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_minus_double);
CREATE OPERATOR - (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_minus_document);
CREATE OPERATOR * (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_times_double, COMMUTATOR = *);
CREATE OPERATOR * (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_times_document, COMMUTATOR = *);
CREATE OPERATOR / (LEFTARG = document, RIGHTARG = double precision, FUNCTION = document_divided_double);
CREATE OPERATOR / (LEFTARG = double precision, RIGHTARG = document, FUNCTION = double_divided_document);
-- Nothing with a document on the right of a type that has no such operator with itself (timestamptz +, interval *):
-- it would make now() + '1 day' ambiguous for everybody.
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = timestamptz, FUNCTION = document_minus_timestamptz);
CREATE OPERATOR - (LEFTARG = timestamptz, RIGHTARG = document, FUNCTION = timestamptz_minus_document);
CREATE OPERATOR + (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_plus_interval);
CREATE OPERATOR - (LEFTARG = document, RIGHTARG = interval, FUNCTION = document_minus_interval);

DO $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
  op record;
  words jsonb := '{"+": "add", "-": "subtract", "*": "multiply", "/": "divide", "=": "equal", "<>": "not equal", "<": "less than", "<=": "less than or equal", ">": "greater than", ">=": "greater than or equal"}';
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp;
  -- a comment for each of the operators that differ only in their types, and for its function
  FOR op IN
    SELECT o.oprname, o.oprnamespace::regnamespace AS s, o.oprleft::regtype AS l, o.oprright::regtype AS r, o.oprcode::regprocedure AS f
    FROM pg_operator o JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
    WHERE d.refclassid = 'pg_extension'::regclass
      AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'mongo_change_stream')
      AND obj_description(o.oid, 'pg_operator') IS NULL
  LOOP
    EXECUTE format('COMMENT ON OPERATOR %s.%s (%s, %s) IS %L', op.s, op.oprname, op.l, op.r, words ->> op.oprname::text);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', op.f, 'implementation of ' || op.oprname || ' operator');
  END LOOP;
  PERFORM set_config('search_path', path, true);
END $$;

-- aggregates

CREATE FUNCTION document_sum_transition(internal, document) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_sum_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sum_transition(internal, document) IS 'aggregate transition function';
CREATE FUNCTION document_sum_inverse(internal, document) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_sum_inverse' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_sum_inverse(internal, document) IS 'aggregate inverse transition function';
CREATE FUNCTION document_larger(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_larger' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_larger(document, document) IS 'larger of two';
CREATE FUNCTION document_smaller(document, document) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_smaller' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_smaller(document, document) IS 'smaller of two';
CREATE AGGREGATE sum(document) (
  SFUNC = document_sum_transition, STYPE = internal, SSPACE = 128, FINALFUNC = numeric_sum,
  COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize,
  MSFUNC = document_sum_transition, MINVFUNC = document_sum_inverse, MSTYPE = internal, MSSPACE = 128, MFINALFUNC = numeric_sum,
  PARALLEL = SAFE
);
CREATE AGGREGATE avg(document) (
  SFUNC = document_sum_transition, STYPE = internal, SSPACE = 128, FINALFUNC = numeric_avg,
  COMBINEFUNC = numeric_avg_combine, SERIALFUNC = numeric_avg_serialize, DESERIALFUNC = numeric_avg_deserialize,
  MSFUNC = document_sum_transition, MINVFUNC = document_sum_inverse, MSTYPE = internal, MSSPACE = 128, MFINALFUNC = numeric_avg,
  PARALLEL = SAFE
);
CREATE AGGREGATE max(document) (
  SFUNC = document_larger, STYPE = document, SORTOP = >, COMBINEFUNC = document_larger, PARALLEL = SAFE
);
CREATE AGGREGATE min(document) (
  SFUNC = document_smaller, STYPE = document, SORTOP = <, COMBINEFUNC = document_smaller, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(document) IS 'sum of the numbers; exact';
COMMENT ON AGGREGATE avg(document) IS 'mean of the numbers';
COMMENT ON AGGREGATE max(document) IS 'the last in the order of BSON values';
COMMENT ON AGGREGATE min(document) IS 'the first in the order of BSON values';
CREATE FUNCTION date_part(text, document) RETURNS numeric
  AS 'MODULE_PATHNAME', 'mcs_document_date_part' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION date_part(text, document) IS 'a field of a date, or of a number of milliseconds as an interval';

-- (section 1 ends)

---------------------------------------------------------------------------
-- 2. Foreign data wrapper
---------------------------------------------------------------------------

CREATE FUNCTION mongo_change_stream_validator(options text[], catalog oid)
RETURNS void
AS 'MODULE_PATHNAME', 'mcs_mongo_change_stream_validator'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 1;
COMMENT ON FUNCTION mongo_change_stream_validator(text[], oid) IS
	'checks the options of servers, user mappings and foreign tables';

CREATE FUNCTION mongo_change_stream_handler()
RETURNS fdw_handler
AS 'MODULE_PATHNAME', 'mcs_mongo_change_stream_handler'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION mongo_change_stream_handler() IS
	'how foreign tables are planned and read';

CREATE FOREIGN DATA WRAPPER mongo_change_stream
HANDLER mongo_change_stream_handler
VALIDATOR mongo_change_stream_validator;
COMMENT ON FOREIGN DATA WRAPPER mongo_change_stream IS
	'MongoDB deployments and the history of their changes';

CREATE FUNCTION mongo_command(command document, database text = NULL, server text = NULL)
RETURNS document
AS 'MODULE_PATHNAME', 'mcs_mongo_command'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 10000;
COMMENT ON FUNCTION mongo_command(document, text, text) IS
	'runs a command of MongoDB with the caller''s user mapping and returns its reply';

CREATE FUNCTION check_mongo_server(server text = NULL)
RETURNS TABLE (check_name text, ok boolean, detail text, hint text)
AS 'MODULE_PATHNAME', 'mcs_check_mongo_server'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL RESTRICTED COST 100000 ROWS 12;
COMMENT ON FUNCTION check_mongo_server(text) IS
	'tells what change streams need of MongoDB and lack, with the commands that help';

-- (section 2 ends)

---------------------------------------------------------------------------
-- 3. Streams: tables, functions, views
---------------------------------------------------------------------------

-- 3.1 Tables.  Names of roles are kept as regrole, of servers as text, so that a dump can be restored anywhere.

CREATE TABLE change_streams (
  stream_name text PRIMARY KEY CHECK (pg_catalog.octet_length(stream_name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.octet_length(stream_name) OPERATOR(pg_catalog.<=) 63
    AND stream_name OPERATOR(pg_catalog.<>) 'change_stream'),
  owner regrole NOT NULL,
  server text NOT NULL,
  database_name text NOT NULL,
  collection_name text,
  filter text,
  add_fields text,
  operations text[],
  pipeline document,
  full_document text NOT NULL,
  full_document_before_change text NOT NULL,
  show_expanded_events boolean NOT NULL,
  max_await_time interval NOT NULL,
  batch_size int,
  resume_after text,
  start_after text,
  start_at text,
  initial_snapshot boolean NOT NULL,
  retention interval,
  notify text NOT NULL,
  paused boolean NOT NULL,
  pushed_filter document,
  local_filter text,
  changed_at_event bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  paused_reason text,
  stopped_state text CHECK (stopped_state OPERATOR(pg_catalog.=) ANY (ARRAY['history_lost', 'error'])),
  stopped_reason text,
  skip_token text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  settings text[] NOT NULL DEFAULT '{}',
  system_identifier bigint NOT NULL,
  database_oid oid NOT NULL
);
COMMENT ON TABLE change_streams IS 'definition of each change stream; written only by the functions of the extension';
COMMENT ON COLUMN change_streams.database_name IS 'watched database, * for every database of the deployment';
COMMENT ON COLUMN change_streams.changed_at_event IS 'the last event_id that the definition before the last change produced';
COMMENT ON COLUMN change_streams.pushed_filter IS 'the part of filter and operations that MongoDB evaluates';
COMMENT ON COLUMN change_streams.local_filter IS 'the part of filter that the worker evaluates';
COMMENT ON COLUMN change_streams.skip_token IS 'resume token of one event that the stream leaves out, as resume_change_stream was told';
COMMENT ON COLUMN change_streams.settings IS 'settings of the creator under which filter and add_fields are evaluated';
COMMENT ON COLUMN change_streams.system_identifier IS 'the database cluster in which the stream was made; elsewhere it is paused as restored';

CREATE TABLE change_stream_progress (
  stream_name text PRIMARY KEY REFERENCES change_streams ON DELETE CASCADE,
  resume_token text COLLATE "C",
  last_event_id bigint NOT NULL DEFAULT 0,
  events_processed bigint NOT NULL DEFAULT 0,
  last_event_at timestamptz,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  restarts int NOT NULL DEFAULT 0,
  consecutive_errors int NOT NULL DEFAULT 0,
  last_error text,
  last_error_at timestamptz,
  filter_errors bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_stream_progress IS 'position and counters of each change stream, committed with the events they count';

CREATE TABLE change_stream_events (
  stream_name text COLLATE "C" NOT NULL,
  event_id bigint NOT NULL,
  operation_type text,
  database_name text,
  collection_name text,
  document_key document,
  full_document document,
  full_document_before_change document,
  update_description document,
  changed_fields text[],
  cluster_time timestamptz,
  change_timestamp timestamptz,
  resume_token text COLLATE "C",
  full_document_source text,
  extra document,
  received_at timestamptz,
  processing_status text,
  processing_time_ms numeric,
  processing_attempts int,
  processing_error text,
  PRIMARY KEY (stream_name, event_id)
);
CREATE INDEX change_stream_events_cluster_time_idx ON change_stream_events USING brin (cluster_time) WITH (pages_per_range = 32);
-- tokens sort as bytes, and names need no more
COMMENT ON TABLE change_stream_events IS 'the events of all change streams, each exactly once, numbered within its stream in commit order';

CREATE TABLE change_stream_kept_events (
  stream_name text PRIMARY KEY,
  owner regrole NOT NULL,
  last_event_id bigint NOT NULL
);
COMMENT ON TABLE change_stream_kept_events IS 'whose the events are that dropped change streams left behind (keep_events)';

CREATE TABLE change_stream_metrics (
  stream_name text PRIMARY KEY REFERENCES change_streams ON DELETE CASCADE,
  events_processed bigint NOT NULL DEFAULT 0,
  last_processed_at timestamptz
);
COMMENT ON TABLE change_stream_metrics IS 'a row a change stream for its owner''s handlers to update; the extension never writes it after making it';

SELECT pg_catalog.pg_extension_config_dump('change_streams', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_kept_events', '');
SELECT pg_catalog.pg_extension_config_dump('change_stream_metrics', '');

-- 3.2 Rights.  Everybody may look; row-level security shows a role what belongs to it or to a role whose privileges it has.

ALTER TABLE change_streams ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_kept_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_stream_metrics ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_streams ON change_streams FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own_kept_events ON change_stream_kept_events FOR SELECT USING (pg_catalog.pg_has_role(owner, 'USAGE'));
CREATE POLICY own_progress ON change_stream_progress FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
CREATE POLICY own_events ON change_stream_events FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s
                                  UNION ALL SELECT k.stream_name FROM @extschema@.change_stream_kept_events k)));
CREATE POLICY own_metrics ON change_stream_metrics
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));

GRANT SELECT ON change_streams, change_stream_progress, change_stream_events, change_stream_kept_events, change_stream_metrics TO PUBLIC;
GRANT UPDATE ON change_stream_metrics TO PUBLIC;

-- 3.3 Functions on streams

CREATE FUNCTION create_change_stream(stream_name text, collection text = NULL, database text = NULL, server text = NULL,
  filter text = NULL, add_fields text = NULL, operations text[] = NULL, pipeline document = NULL,
  full_document text = 'default', full_document_before_change text = 'off', show_expanded_events boolean = false,
  max_await_time interval = '1 second', batch_size int = NULL,
  resume_after text = NULL, start_after text = NULL, start_at text = NULL, initial_snapshot boolean = false,
  retention interval = NULL, notify text = 'ids', paused boolean = false)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_create_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_stream(text, text, text, text, text, text, text[], document, text, text, boolean, interval, int, text, text, text, boolean, interval, text, boolean)
  IS 'follow the changes of a collection, of a database, or (database *) of every database into change_stream_events';

CREATE FUNCTION alter_change_stream(stream_name text, filter text = NULL, add_fields text = NULL, operations text[] = NULL,
  pipeline document = NULL, full_document text = NULL, full_document_before_change text = NULL,
  show_expanded_events boolean = NULL, max_await_time interval = NULL, batch_size int = NULL, retention interval = NULL,
  notify text = NULL, reset text[] = NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_alter_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_stream(text, text, text, text[], document, text, text, boolean, interval, int, interval, text, text[])
  IS 'change what a change stream takes from the next event on; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_stream(stream_name text)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_pause_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_stream(text) IS 'stop following until resume_change_stream';

CREATE FUNCTION resume_change_stream(stream_name text, start_at text = NULL, initial_snapshot boolean = false, skip text = NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_resume_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION resume_change_stream(text, text, boolean, text)
  IS 'follow again, from where the change stream stopped or from another position; skip is the token of one event to leave out';

CREATE FUNCTION drop_change_stream(stream_name text, keep_events boolean = false)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_drop_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION drop_change_stream(text, boolean) IS 'end a change stream and delete its events, or keep them';

CREATE FUNCTION sync_change_stream(stream_name text, timeout interval = '30 seconds', handlers boolean = false)
RETURNS boolean AS 'MODULE_PATHNAME', 'mcs_sync_change_stream'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION sync_change_stream(text, interval, boolean)
  IS 'wait until every write that MongoDB had acknowledged before the call is in change_stream_events; false after timeout';

-- (section 3.3 ends)

-- 3.4 Views and what they read

CREATE FUNCTION change_stream_workers(OUT stream_name text, OUT state text, OUT reason text, OUT state_since timestamptz, OUT pid int,
  OUT events_per_second double precision, OUT lag interval, OUT oplog_window interval, OUT last_error text, OUT next_retry_at timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'mcs_change_stream_workers'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_stream_workers() IS 'what shared memory knows of the current database''s streams that the caller may see';

CREATE VIEW change_stream_status WITH (security_invoker = true) AS
SELECT s.stream_name,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_state
            WHEN s.paused OR s.restored THEN 'paused'
            ELSE coalesce(w.state, 'starting') END AS state,
       CASE WHEN s.stopped_state IS NOT NULL THEN s.stopped_reason
            WHEN s.paused THEN coalesce(s.paused_reason, 'paused by its owner')
            WHEN s.restored THEN 'restored'
            ELSE coalesce(w.reason, 'waiting for the launcher') END AS reason,
       CASE WHEN s.stopped_state IS NOT NULL OR s.paused OR s.restored THEN s.state_since
            ELSE coalesce(w.state_since, s.state_since) END AS state_since,
       w.pid,
       p.events_processed,
       CASE WHEN s.stopped_state IS NULL AND NOT s.paused AND NOT s.restored THEN coalesce(w.events_per_second, 0) ELSE 0 END AS events_per_second,
       w.lag,
       p.last_event_at,
       w.oplog_window,
       coalesce(w.last_error, p.last_error) AS last_error,
       w.next_retry_at
FROM (SELECT *, system_identifier OPERATOR(pg_catalog.<>) (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c)
                OR database_oid OPERATOR(pg_catalog.<>) (SELECT d.oid FROM pg_catalog.pg_database d
                                    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS restored
      FROM @extschema@.change_streams) s
     JOIN @extschema@.change_stream_progress p USING (stream_name)
     LEFT JOIN @extschema@.change_stream_workers() w USING (stream_name);
COMMENT ON VIEW change_stream_status IS 'state, reason, lag and rate of each change stream';
GRANT SELECT ON change_stream_status TO PUBLIC;

CREATE FUNCTION event_cluster_timestamp(resume_token text) RETURNS document AS 'MODULE_PATHNAME', 'mcs_event_cluster_timestamp'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION event_cluster_timestamp(text) IS 'the exact cluster time in a resume token, as a BSON timestamp';

-- 3.5 The trigger function for a table of the user's own

CREATE FUNCTION update_stream_resume_token() RETURNS trigger AS 'MODULE_PATHNAME', 'mcs_update_stream_resume_token'
LANGUAGE C;
COMMENT ON FUNCTION update_stream_resume_token() IS 'keeps tokens and counters in the user''s own table change_stream_resume_tokens';

-- 3.6 What a dump leaves out

CREATE FUNCTION change_stream_user_objects() RETURNS SETOF text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH tables AS (
    SELECT c.oid
    FROM pg_catalog.pg_depend d
         JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid AND e.extname OPERATOR(pg_catalog.=) 'mongo_change_stream'
         JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid AND c.relkind OPERATOR(pg_catalog.=) 'r'
    WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype OPERATOR(pg_catalog.=) 'e')
  SELECT pg_catalog.pg_get_indexdef(i.indexrelid) OPERATOR(pg_catalog.||) ';'
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
  WHERE i.indrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM tables)
    AND c.relname OPERATOR(pg_catalog.<>) ALL (ARRAY['change_stream_events_cluster_time_idx', 'change_handlers_stream_name_idx', 'change_handler_dead_letters_event_idx'])
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid OPERATOR(pg_catalog.=) i.indexrelid AND k.conrelid OPERATOR(pg_catalog.=) i.indrelid)
  UNION ALL
  SELECT pg_catalog.pg_get_triggerdef(t.oid) OPERATOR(pg_catalog.||) ';'
  FROM pg_catalog.pg_trigger t
  WHERE t.tgrelid OPERATOR(pg_catalog.=) ANY (SELECT oid FROM tables) AND NOT t.tgisinternal;
END;
COMMENT ON FUNCTION change_stream_user_objects() IS 'commands that make the users'' indexes and triggers on the extension''s tables again, which pg_dump leaves out';

-- (section 3 ends)

---------------------------------------------------------------------------
-- 4. Handlers: SQL that runs once for each event
---------------------------------------------------------------------------

-- 4.1 Tables

CREATE TABLE change_handlers (
  handler_name text PRIMARY KEY CHECK (pg_catalog.octet_length(handler_name) OPERATOR(pg_catalog.>=) 1 AND pg_catalog.octet_length(handler_name) OPERATOR(pg_catalog.<=) 63),
  stream_name text NOT NULL REFERENCES change_streams ON DELETE CASCADE,
  body text,
  procedure text,
  condition text,
  start_at text NOT NULL,
  retry_attempts int NOT NULL CHECK (retry_attempts OPERATOR(pg_catalog.>=) 0),
  retry_delay interval NOT NULL,
  max_retry_delay interval NOT NULL,
  timeout interval NOT NULL,
  on_failure text NOT NULL CHECK (on_failure OPERATOR(pg_catalog.=) ANY (ARRAY['dead_letter', 'stop'])),
  workers int NOT NULL CHECK (workers OPERATOR(pg_catalog.>) 0),
  paused boolean NOT NULL,
  translated_body text,
  translated_condition text,
  stopped_reason text,
  state_since timestamptz NOT NULL DEFAULT pg_catalog.now(),
  created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  settings text[] NOT NULL DEFAULT '{}',
  CHECK ((body IS NULL) OPERATOR(pg_catalog.<>) (procedure IS NULL))
);
CREATE INDEX change_handlers_stream_name_idx ON change_handlers (stream_name);
COMMENT ON TABLE change_handlers IS 'definition of each handler; written only by the functions of the extension';
COMMENT ON COLUMN change_handlers.translated_body IS 'body in plain PL/pgSQL, where it uses the dialect; this is what runs';
COMMENT ON COLUMN change_handlers.translated_condition IS 'condition in plain SQL, where it uses the dialect; this is what runs';
COMMENT ON COLUMN change_handlers.stopped_reason IS 'why the handler has stopped until resume_change_handler; null: it has not';
COMMENT ON COLUMN change_handlers.settings IS 'settings of the creator under which the handler runs';

CREATE TABLE change_handler_progress (
  handler_name text REFERENCES change_handlers ON DELETE CASCADE,
  worker int NOT NULL,
  last_event_id bigint NOT NULL,
  events_processed bigint NOT NULL DEFAULT 0,
  failures bigint NOT NULL DEFAULT 0,
  updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
  failed_event bigint,
  attempts int NOT NULL DEFAULT 0,
  next_retry_at timestamptz,
  sqlstate text,
  error text,
  detail text,
  context text,
  alive boolean NOT NULL DEFAULT false,
  running_event bigint,
  crashes int NOT NULL DEFAULT 0,
  PRIMARY KEY (handler_name, worker)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE change_handler_progress IS 'how far each worker of each handler is, committed with what the handler did';
COMMENT ON COLUMN change_handler_progress.last_event_id IS 'every event up to here that is this worker''s is done';
COMMENT ON COLUMN change_handler_progress.failures IS 'how many attempts have failed';
COMMENT ON COLUMN change_handler_progress.alive IS 'a process works here, or did and has not ended in order';
COMMENT ON COLUMN change_handler_progress.running_event IS 'after such an end: the event that is run now, noted before it is';
COMMENT ON COLUMN change_handler_progress.crashes IS 'how many times more it was noted, since who ran it had died';
COMMENT ON COLUMN change_handler_progress.failed_event IS 'the event that failed and is not done yet, with its attempts and error in the columns after it';

-- The event's columns one by one: a column of the row type would keep the owner of change_stream_events from adding columns to it.
CREATE TABLE change_handler_dead_letters (
  handler_name text NOT NULL REFERENCES change_handlers ON DELETE CASCADE,
  stream_name text NOT NULL,
  event_id bigint NOT NULL,
  operation_type text,
  database_name text,
  collection_name text,
  document_key document,
  full_document document,
  full_document_before_change document,
  update_description document,
  changed_fields text[],
  cluster_time timestamptz,
  change_timestamp timestamptz,
  resume_token text,
  full_document_source text,
  extra document,
  received_at timestamptz,
  processing_status text,
  processing_time_ms numeric,
  processing_attempts int,
  processing_error text,
  sqlstate text,
  error text,
  detail text,
  context text,
  attempts int NOT NULL,
  failed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
  PRIMARY KEY (handler_name, event_id)
);
CREATE INDEX change_handler_dead_letters_event_idx ON change_handler_dead_letters (stream_name, event_id);
COMMENT ON TABLE change_handler_dead_letters IS 'what change_stream_dead_letters shows';

SELECT pg_catalog.pg_extension_config_dump('change_handlers', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_progress', '');
SELECT pg_catalog.pg_extension_config_dump('change_handler_dead_letters', '');

-- 4.2 Rights: those of the stream

ALTER TABLE change_handlers ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE change_handler_dead_letters ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_handlers ON change_handlers FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));
CREATE POLICY own_handler_progress ON change_handler_progress FOR SELECT
  USING (handler_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.handler_name FROM @extschema@.change_handlers h)));
CREATE POLICY own_dead_letters ON change_handler_dead_letters FOR SELECT
  USING (stream_name OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT s.stream_name FROM @extschema@.change_streams s)));

GRANT SELECT ON change_handlers, change_handler_progress, change_handler_dead_letters TO PUBLIC;

-- 4.3 Functions on handlers

CREATE FUNCTION create_change_handler(handler_name text, stream_name text, body text = NULL, procedure text = NULL,
  condition text = NULL, start_at text = 'now', retry_attempts int = 5, retry_delay interval = '1 second',
  max_retry_delay interval = '1 minute', timeout interval = '1 minute', on_failure text = 'dead_letter',
  workers int = 1, paused boolean = false)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_create_change_handler'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION create_change_handler(text, text, text, text, text, text, int, interval, interval, interval, text, int, boolean)
  IS 'run a PL/pgSQL block, a procedure or a function once for each event of a change stream';

CREATE FUNCTION alter_change_handler(handler_name text, body text = NULL, procedure text = NULL, condition text = NULL,
  retry_attempts int = NULL, retry_delay interval = NULL, max_retry_delay interval = NULL, timeout interval = NULL,
  on_failure text = NULL, workers int = NULL, reset text[] = NULL)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_alter_change_handler'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION alter_change_handler(text, text, text, text, int, interval, interval, interval, text, int, text[])
  IS 'change a handler from the next event on; null leaves, reset puts back to the default';

CREATE FUNCTION pause_change_handler(handler_name text)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_pause_change_handler'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION pause_change_handler(text) IS 'run a handler on no event until resume_change_handler';

CREATE FUNCTION resume_change_handler(handler_name text)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_resume_change_handler'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION resume_change_handler(text) IS 'let a handler go on where it was paused or has stopped';

CREATE FUNCTION drop_change_handler(handler_name text)
RETURNS void AS 'MODULE_PATHNAME', 'mcs_drop_change_handler'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION drop_change_handler(text) IS 'end a handler and delete its dead letters';

CREATE FUNCTION retry_dead_letters(handler_name text)
RETURNS bigint AS 'MODULE_PATHNAME', 'mcs_retry_dead_letters'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000;
COMMENT ON FUNCTION retry_dead_letters(text)
  IS 'run a handler on the events that it gave up; those that succeed, whose number is returned, are dead letters no more';

CREATE FUNCTION discard_dead_letters(handler_name text)
RETURNS bigint AS 'MODULE_PATHNAME', 'mcs_discard_dead_letters'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION discard_dead_letters(text) IS 'delete a handler''s dead letters and return how many there were';

CREATE FUNCTION replay_changes(handler_name text, from_event bigint, to_event bigint, dry_run boolean = false)
RETURNS TABLE (event_id bigint, sqlstate text, error text, detail text, context text)
AS 'MODULE_PATHNAME', 'mcs_replay_changes'
LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE COST 100000 ROWS 10;
COMMENT ON FUNCTION replay_changes(text, bigint, bigint, boolean)
  IS 'run a handler again on kept events and return those that failed; dry_run undoes what it did';

-- 4.4 Views and what they read

-- By a function, since a ROW(...) of that type in the view would keep the owner of change_stream_events from adding columns, too.
CREATE FUNCTION change_handler_dead_letter_event(letter change_handler_dead_letters) RETURNS change_stream_events
AS 'MODULE_PATHNAME', 'mcs_change_handler_dead_letter_event' LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION change_handler_dead_letter_event(change_handler_dead_letters) IS 'the event of a dead letter as a row of change_stream_events';

CREATE VIEW change_stream_dead_letters WITH (security_invoker = true) AS
SELECT handler_name, stream_name, event_id, @extschema@.change_handler_dead_letter_event(l) AS event,
       sqlstate, error, detail, context, attempts, failed_at
FROM @extschema@.change_handler_dead_letters l;
COMMENT ON VIEW change_stream_dead_letters IS 'events that a handler has given up, until retry_dead_letters or discard_dead_letters';
GRANT SELECT ON change_stream_dead_letters TO PUBLIC;

CREATE FUNCTION change_handler_workers(OUT handler_name text, OUT worker int, OUT state text, OUT reason text, OUT pid int,
  OUT events_per_second double precision, OUT running_event bigint, OUT running_since timestamptz)
RETURNS SETOF record AS 'MODULE_PATHNAME', 'mcs_change_handler_workers'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION change_handler_workers() IS 'what shared memory knows of the current database''s handlers that the caller may see';

CREATE VIEW change_handler_status WITH (security_invoker = true) AS
SELECT h.handler_name,
       h.stream_name,
       CASE WHEN h.stopped_reason IS NOT NULL THEN 'error'
            WHEN h.paused OR s.restored THEN 'paused'
            ELSE coalesce(w.state, 'starting') END AS state,
       CASE WHEN h.stopped_reason IS NOT NULL THEN h.stopped_reason
            WHEN h.paused THEN 'paused by its owner'
            WHEN s.restored THEN 'its change stream is restored and was not resumed'
            ELSE coalesce(w.reason, 'waiting for the launcher') END AS reason,
       w.pid,
       p.last_event_id,
       greatest(s.last_event_id OPERATOR(pg_catalog.-) p.last_event_id, 0) AS behind,
       CASE WHEN h.stopped_reason IS NULL AND NOT h.paused THEN coalesce(w.events_per_second, 0) ELSE 0 END AS events_per_second,
       p.failures,
       w.running_event,
       w.running_since
FROM @extschema@.change_handlers h
     JOIN (SELECT c.stream_name, q.last_event_id,
                  c.system_identifier OPERATOR(pg_catalog.<>) (SELECT k.system_identifier FROM pg_catalog.pg_control_system() k)
                  OR c.database_oid OPERATOR(pg_catalog.<>) (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AS restored
           FROM @extschema@.change_streams c JOIN @extschema@.change_stream_progress q USING (stream_name)) s USING (stream_name)
     JOIN (SELECT handler_name, pg_catalog.min(last_event_id) AS last_event_id, pg_catalog.sum(failures)::bigint AS failures
           FROM @extschema@.change_handler_progress GROUP BY handler_name) p USING (handler_name)
     LEFT JOIN (SELECT handler_name, (pg_catalog.array_agg(state ORDER BY rank))[1] AS state, (pg_catalog.array_agg(reason ORDER BY rank))[1] AS reason,
                       (pg_catalog.array_agg(pid ORDER BY rank))[1] AS pid, pg_catalog.sum(events_per_second) AS events_per_second,
                       (pg_catalog.array_agg(running_event ORDER BY rank))[1] AS running_event,
                       (pg_catalog.array_agg(running_since ORDER BY rank))[1] AS running_since
                FROM (SELECT *, pg_catalog.array_position('{retrying,starting,active,idle}', state) AS rank FROM @extschema@.change_handler_workers()) r
                GROUP BY handler_name) w USING (handler_name);
COMMENT ON VIEW change_handler_status IS 'state, reason, position and rate of each handler';
GRANT SELECT ON change_handler_status TO PUBLIC;

-- (section 4 ends)

---------------------------------------------------------------------------
-- 5. The dialect: text to plain SQL, and what the plain SQL calls
---------------------------------------------------------------------------

CREATE FUNCTION change_stream_wrote(changed_fields text[], path text) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_change_stream_wrote' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION change_stream_wrote(text[], text)
  IS 'did the event write this field, a document that holds it, or a field inside it? positions in arrays may be left out';

CREATE FUNCTION change_stream_translate(sql text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate(text) IS 'statements with document paths and change streams as plain SQL; plain SQL comes back as it is';

CREATE FUNCTION change_stream_translate_expression(expression text, bare_names boolean = true) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_expression' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_expression(text, boolean)
  IS 'a condition over the columns of an event, with document paths, as plain SQL; bare_names: other names are fields of full_document';

CREATE FUNCTION change_stream_translate_fields(fields text, bare_names boolean = true) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_fields' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_fields(text, boolean)
  IS 'added fields, name = expression, ..., over the columns of an event, with document paths, as plain SQL';

CREATE FUNCTION change_stream_translate_body(body text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_change_stream_translate_body' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION change_stream_translate_body(text) IS 'a PL/pgSQL block in which "change" is a row of change_stream_events, with document paths, as plain PL/pgSQL';

-- what statements become calls of

CREATE FUNCTION change_stream_exists(stream_name text) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_streams s WHERE s.stream_name OPERATOR(pg_catalog.=) $1);
END;
COMMENT ON FUNCTION change_stream_exists(text) IS 'does the caller see a change stream of this name?';

CREATE FUNCTION change_stream_follows(stream_name text, collection text, database text) RETURNS boolean
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_streams s
                 WHERE s.stream_name OPERATOR(pg_catalog.=) $1 AND s.collection_name IS NOT DISTINCT FROM $2
                   AND ($3 IS NULL OR s.database_name OPERATOR(pg_catalog.=) $3));
END;
COMMENT ON FUNCTION change_stream_follows(text, text, text) IS 'does a change stream of this name follow this collection?';

CREATE FUNCTION change_handler_exists(handler_name text) RETURNS boolean
LANGUAGE sql STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT EXISTS (SELECT FROM @extschema@.change_handlers h WHERE h.handler_name OPERATOR(pg_catalog.=) $1);
END;
COMMENT ON FUNCTION change_handler_exists(text) IS 'does the caller see a handler of this name?';

CREATE FUNCTION change_stream_append_only() RETURNS trigger
  AS 'MODULE_PATHNAME', 'mcs_change_stream_append_only' LANGUAGE C;
COMMENT ON FUNCTION change_stream_append_only() IS 'refuses to change or delete rows of an event store';

CREATE FUNCTION change_stream_call_handler() RETURNS language_handler
  AS 'MODULE_PATHNAME', 'mcs_change_stream_call_handler' LANGUAGE C;
CREATE FUNCTION change_stream_inline_handler(internal) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_change_stream_inline_handler' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
CREATE FUNCTION change_stream_validator(oid) RETURNS void
  AS 'MODULE_PATHNAME', 'mcs_change_stream_validator' LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION change_stream_call_handler() IS 'of the language change_stream, which has no functions';
COMMENT ON FUNCTION change_stream_inline_handler(internal) IS 'runs DO LANGUAGE change_stream';
COMMENT ON FUNCTION change_stream_validator(oid) IS 'refuses functions in the language change_stream';
CREATE TRUSTED LANGUAGE change_stream HANDLER change_stream_call_handler
  INLINE change_stream_inline_handler VALIDATOR change_stream_validator;
COMMENT ON LANGUAGE change_stream IS 'statements with document paths and change streams, for DO';

CREATE FUNCTION string_agg_elements_transition(internal, text[], text) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_string_agg_elements_transition' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
CREATE FUNCTION string_agg_elements_final(internal) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_string_agg_elements_final' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
CREATE FUNCTION string_agg_distinct_elements_final(internal) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_string_agg_distinct_elements_final' LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE COST 1;
CREATE AGGREGATE string_agg_elements(text[], text) (
  SFUNC = string_agg_elements_transition, STYPE = internal, FINALFUNC = string_agg_elements_final, PARALLEL = SAFE);
CREATE AGGREGATE string_agg_distinct_elements(text[], text) (
  SFUNC = string_agg_elements_transition, STYPE = internal, FINALFUNC = string_agg_distinct_elements_final, PARALLEL = SAFE);
COMMENT ON FUNCTION string_agg_elements_transition(internal, text[], text) IS 'of the aggregate string_agg_elements';
COMMENT ON FUNCTION string_agg_elements_final(internal) IS 'of the aggregate string_agg_elements';
COMMENT ON FUNCTION string_agg_distinct_elements_final(internal) IS 'of the aggregate string_agg_distinct_elements';
COMMENT ON AGGREGATE string_agg_elements(text[], text) IS 'the elements of arrays, joined by a delimiter';
COMMENT ON AGGREGATE string_agg_distinct_elements(text[], text) IS 'the different elements of arrays, sorted, joined by a delimiter';

-- (section 5 ends)
