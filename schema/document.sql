-- Type document, one BSON value of any type: in and out, access, containment.

CREATE TYPE document;

CREATE FUNCTION document_in(cstring) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_in(cstring) IS 'I/O';

CREATE FUNCTION document_out(document) RETURNS cstring
  AS 'MODULE_PATHNAME', 'mcs_document_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_out(document) IS 'I/O';

CREATE FUNCTION document_recv(internal) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_recv(internal) IS 'I/O';

CREATE FUNCTION document_send(document) RETURNS bytea
  AS 'MODULE_PATHNAME', 'mcs_document_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_send(document) IS 'I/O';

CREATE FUNCTION document_subscript_handler(internal) RETURNS internal
  AS 'MODULE_PATHNAME', 'mcs_document_subscript_handler' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_subscript_handler(internal) IS 'subscripts: d[''a''][0]';

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

CREATE FUNCTION document_text_lenient(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_text_lenient' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_text_lenient(document) IS 'any value as plain text: as document_text, with U+FFFD for characters that no text holds';

CREATE FUNCTION document_typeof(document) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_typeof' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_typeof(document) IS 'the type of a value, named as MongoDB''s $type names it';

-- access

CREATE FUNCTION document_field(document, text) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_field' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_field(document, text) IS 'implementation of -> operator';

CREATE FUNCTION document_field_text(document, text) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_field_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_field_text(document, text) IS 'implementation of ->> operator';

CREATE FUNCTION document_element(document, integer) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_element' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_element(document, integer) IS 'implementation of -> operator';

CREATE FUNCTION document_element_text(document, integer) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_element_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_element_text(document, integer) IS 'implementation of ->> operator';

CREATE FUNCTION document_path(document, text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_path' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_path(document, text[]) IS 'implementation of #> operator';

CREATE FUNCTION document_path_text(document, text[]) RETURNS text
  AS 'MODULE_PATHNAME', 'mcs_document_path_text' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_path_text(document, text[]) IS 'implementation of #>> operator';

CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field);
COMMENT ON OPERATOR -> (document, text) IS 'a field of an object; null if it is not there';

CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = text, FUNCTION = document_field_text);
COMMENT ON OPERATOR ->> (document, text) IS 'a field of an object, as plain text; null if it is not there';

CREATE OPERATOR -> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element);
COMMENT ON OPERATOR -> (document, integer) IS 'an element of an array, from 0; from its end if negative';

CREATE OPERATOR ->> (LEFTARG = document, RIGHTARG = integer, FUNCTION = document_element_text);
COMMENT ON OPERATOR ->> (document, integer) IS 'an element of an array, as plain text; from 0, from its end if negative';

CREATE OPERATOR #> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path);
COMMENT ON OPERATOR #> (document, text[]) IS 'the value at a path; null if there is none';

CREATE OPERATOR #>> (LEFTARG = document, RIGHTARG = text[], FUNCTION = document_path_text);
COMMENT ON OPERATOR #>> (document, text[]) IS 'the value at a path, as plain text; null if there is none';

CREATE FUNCTION document_get(document, VARIADIC text[]) RETURNS document
  AS 'MODULE_PATHNAME', 'mcs_document_get' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_get(document, VARIADIC text[])
  IS 'the value at a path as the dialect reads paths: user_id also finds userId, a dotted step also a literal key';

-- existence and containment

-- bpchar, as which a text is taken unchanged: with text, as jsonb has it, '{...}' ? 'a' would be ambiguous for everybody
CREATE FUNCTION document_exists(document, bpchar) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists(document, bpchar) IS 'implementation of ? operator';

CREATE OPERATOR ? (LEFTARG = document, RIGHTARG = bpchar, FUNCTION = document_exists, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ? (document, bpchar) IS 'is it a key of the object, or a string of the array?';

CREATE FUNCTION document_exists_any(document, bpchar[]) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists_any' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists_any(document, bpchar[]) IS 'implementation of ?| operator';

CREATE OPERATOR ?| (LEFTARG = document, RIGHTARG = bpchar[], FUNCTION = document_exists_any, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ?| (document, bpchar[]) IS 'is one of them a key of the object, or a string of the array?';

CREATE FUNCTION document_exists_all(document, bpchar[]) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_exists_all' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_exists_all(document, bpchar[]) IS 'implementation of ?& operator';

CREATE OPERATOR ?& (LEFTARG = document, RIGHTARG = bpchar[], FUNCTION = document_exists_all, RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR ?& (document, bpchar[]) IS 'are all of them keys of the object, or strings of the array?';

CREATE FUNCTION document_contains(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_contains' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_contains(document, document) IS 'implementation of @> operator';

CREATE FUNCTION document_contained(document, document) RETURNS boolean
  AS 'MODULE_PATHNAME', 'mcs_document_contained' LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE COST 1;
COMMENT ON FUNCTION document_contained(document, document) IS 'implementation of <@ operator';

CREATE OPERATOR @> (LEFTARG = document, RIGHTARG = document, FUNCTION = document_contains, COMMUTATOR = <@,
  RESTRICT = matchingsel, JOIN = matchingjoinsel);
COMMENT ON OPERATOR @> (document, document) IS 'contains';

CREATE OPERATOR <@ (LEFTARG = document, RIGHTARG = document, FUNCTION = document_contained, COMMUTATOR = @>,
  RESTRICT = matchingsel, JOIN = matchingjoinsel);
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
