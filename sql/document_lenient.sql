-- conversions that have a result for every document, and operators that raise nothing

CREATE FUNCTION damaged(bytea) RETURNS document LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';

-- as the strict ones where those have a result
CREATE TABLE usual (d document);
INSERT INTO usual VALUES
  ('{"a": 1, "b": [1.5, "x", null, true], "c": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}, "d": {"$date": "2024-05-17T08:30:00Z"}}'),
  ('{"r": {"$regularExpression": {"pattern": "^a", "options": "i"}}, "t": {"$timestamp": {"t": 1, "i": 2}}, "m": {"$minKey": 1}}'),
  ('"x"'), ('5'), ('null'), ('[]'), ('{}'), ('{"$numberDecimal": "1.50"}'), ('{"$code": "x", "$scope": {"a": "\\u0001"}}');
SELECT count(*) FROM usual WHERE document_to_jsonb_lenient(d) = d::jsonb;
SELECT count(*) FROM usual WHERE document_text_lenient(d) IS NOT DISTINCT FROM document_text(d);

-- what JSON and text lack
SELECT document_to_jsonb_lenient('{"a": {"$numberDouble": "NaN"}, "b": [{"$numberDouble": "-Infinity"}, {"$numberDecimal": "Infinity"}], "c": "x\u0000y", "k": {"$code": "a\u0000b", "$scope": {"s": "\u0000\\u0000"}}}');
SELECT document_to_jsonb_lenient('"\u0000"'), document_to_jsonb_lenient('{"$numberDouble": "NaN"}');
SELECT document_text_lenient('"x\u0000y"'), document_text_lenient('{"$numberDouble": "NaN"}'), document_text_lenient('null');
-- not UTF-8: in a string, in a key
SELECT document_to_jsonb_lenient('{"$bson": "03110000000261000500000061ff62c30000"}');
SELECT document_to_jsonb_lenient('{"$bson": "030900000008ff000100"}');
SELECT document_text_lenient('{"$bson": "020500000061ff62c300"}');
-- damaged, and nested too deeply
SELECT document_to_jsonb_lenient(damaged('\x0301')), document_text_lenient(damaged('\x')), document_to_jsonb_lenient(damaged('\x030c0000001061000500000000'));
CREATE FUNCTION nested(levels int, inner_one bytea) RETURNS document LANGUAGE sql AS $$
  SELECT damaged('\x03' || string_agg(set_byte(set_byte(set_byte('\x00000000'::bytea, 0, size & 255), 1, (size >> 8) & 255), 2, (size >> 16) & 255)
                                      || '\x036100', ''::bytea ORDER BY size DESC) || inner_one || decode(repeat('00', levels), 'hex'))
    FROM (SELECT length(inner_one) + 8 * level AS size FROM generate_series(1, levels) level) s
$$;
SELECT left(document_to_jsonb_lenient(nested(250, '\x0500000000'))::text, 30), document_to_jsonb_lenient(nested(3, '\x0500000000'));

-- the operators that are leakproof raise nothing, whatever the bytes, and agree with each other
CREATE TABLE odd AS
  SELECT row_number() OVER () AS id, d FROM (
    VALUES (damaged('\x')), (damaged('\x00')), (damaged('\x03')), (damaged('\x0301')), (damaged('\x0305000000')), (damaged('\x55')),
      (damaged('\x030c0000001061000500000000')), (damaged('\x030c0000001061000500000001')), (damaged('\x020500000061')),
      (damaged('\x030d0000000261000900000000')), (damaged('\x04080000000230000000')), (damaged('\x0f0e00000001000000000500000000')),
      (damaged('\x0f0f000000020000006100050000000000')), (damaged('\x0f')), (damaged('\x13')), (damaged('\xff00')),
      (nested(250, '\x0500000000')), (nested(250, '\x080000001061000500000000')), (nested(20000, '\x0500000000')), (nested(250, '\x0c0000001061000500000000')),
      ('{"a": 1}'), ('{"a": 1.0}'), ('[1, 2]'), ('"a"'), ('5'), ('{}'), ('[]'), ('null'), ('{"$minKey": 1}'), ('{"$maxKey": 1}')) AS v(d);
SELECT count(*) FROM odd x, odd y WHERE (x.d < y.d)::int + (x.d = y.d)::int + (x.d > y.d)::int <> 1 OR (x.d < y.d) <> (y.d > x.d);
SELECT count(*) FROM odd x, odd y, odd z WHERE x.d <= y.d AND y.d <= z.d AND x.d > z.d;
SELECT count(*) FROM odd x, odd y WHERE x.d = y.d AND document_hash(x.d) <> document_hash(y.d);
SELECT count(*) FROM odd x, odd y WHERE document_cmp(x.d, y.d) <> -document_cmp(y.d, x.d) AND abs(document_cmp(x.d, y.d)) = 1;
SELECT count(*) FROM odd x, odd y WHERE x.d @> y.d AND x.id = y.id;
SELECT count(d = text 'a'), count(d < 5), count(d <= 5::bigint), count(d > 1.5), count(d >= 1.5::float8), count(d <> true), count(d = now()),
  count(d < interval '1 s'), count(d ? 'a'), count(d ?| '{a,b}'), count(d ?& '{a,b}'), count(text 'a' = d) FROM odd;
SELECT id, d -> 'a', d -> 0, d #> '{a,b}', d['a']['b'][0], document_get(d, 'a', 'b.c', 'd_e') FROM odd
 WHERE num_nonnulls(d -> 'a', d -> 0, d #> '{a,b}', d['a']['b'][0], document_get(d, 'a', 'b.c', 'd_e')) > 0 AND id NOT IN (17, 18, 19, 20);
-- they sort, and go into every index
SELECT count(*) FROM (SELECT d FROM odd ORDER BY d) s;
CREATE INDEX ON odd (d) WHERE id <> 19;
CREATE INDEX ON odd USING hash (d);
CREATE INDEX ON odd USING gin (d);
SET enable_seqscan = off;
SELECT id FROM odd WHERE d @> '{"a": 1}' ORDER BY id;
SELECT id FROM odd WHERE d ? 'a' AND id < 17 ORDER BY id;
SELECT count(*) FROM odd x JOIN LATERAL (SELECT 1 FROM odd y WHERE y.d = x.d) s ON true;
RESET enable_seqscan;

-- what is leakproof can be called in a condition of a view with a security barrier before the view's own
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream'
 WHERE p.proleakproof AND p.proname !~ '_(eq|ne|lt|le|gt|ge)(_|$)' ORDER BY p.oid::regprocedure::text COLLATE "C";
DROP TABLE usual, odd;
DROP FUNCTION nested(int, bytea);
DROP FUNCTION damaged(bytea);
