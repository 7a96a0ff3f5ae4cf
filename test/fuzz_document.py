"""Feeds damaged BSON and JSON to type document, in a server whose copy of the library has sanitizers in it.

    python3 test/fuzz_document.py [seconds] [seed]

Valid documents and texts are mutated and then go through every way in: the checks of
document_from_bson, Extended JSON, the $bson escape, and the stored form itself, as a MongoDB
server could have sent it.  What comes in is then printed, read back, compared, hashed, cast,
walked, changed and indexed.  Errors are expected; a crash, a report of AddressSanitizer or
UndefinedBehaviorSanitizer, an internal error, a text that reads back to other bytes, or memory
that grows are not.
"""
import glob
import os
import random
import struct
import subprocess
import sys
import time

import psycopg

import bson_values
from harness import Cluster, Installation, Machine, packages
from harness.build import copy_sources, make
from harness.machine import CACHE

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g"
SETTINGS = {"shared_preload_libraries": "", "autovacuum": "off", "max_parallel_workers_per_gather": 0, "jit": "off"}
# what may be wrong with a value: data exceptions, limits, casts that do not exist, damaged bytes
EXPECTED = ("22", "54", "42846", "42883", "XX001")
BATCH = 200

# byteasend gives back what it gets, so this makes a document of any bytes, unchecked
FUNCTIONS = """
CREATE FUNCTION raw(bytea) RETURNS document LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';
CREATE TABLE probes (d document);
INSERT INTO probes VALUES ('{"a": [1, {"b": "x"}], "": null}'), ('[1, "a"]'), ('"a"'), ('5'), ('1.5'), ('{"$numberDecimal": "0.1"}'),
  ('{"$date": "2024-01-01T00:00:00Z"}'), ('{"$code": "x", "$scope": {"a": 1}}');
CREATE TABLE indexed (d document);
CREATE INDEX ON indexed USING gin (d);

CREATE FUNCTION attempt(statement text, d document, OUT failure text) LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE statement USING d;
EXCEPTION WHEN OTHERS THEN
  failure := SQLSTATE || ' ' || SQLERRM || ' in ' || statement;
END $$;

-- what is wrong with a document, for each thing that can be done with it
CREATE FUNCTION exercise(d document) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  statement text;
  failure text;
BEGIN
  FOREACH statement IN ARRAY ARRAY[
    'SELECT $1::text', 'SELECT $1::jsonb', 'SELECT $1::json', 'SELECT document_text($1)', 'SELECT document_typeof($1)',
    'SELECT document_hash($1), document_hash_extended($1, 7)', 'SELECT count(*) FROM probes WHERE d < $1 OR d = $1', 'SELECT count(*) FROM probes WHERE $1 @> d OR d @> $1',
    'SELECT $1 = $1, $1 < $1', 'SELECT $1 = 5, $1 < 1.5, $1 > text ''a'', $1 = true, $1 < now(), $1 > interval ''1 s'', $1 = 0.1::float8',
    'SELECT count(*) FROM document_keys($1)', 'SELECT count(*) FROM document_each($1)', 'SELECT count(*) FROM document_elements($1)', 'SELECT array_length($1, 2)',
    'SELECT $1 -> ''a'', $1 ->> ''a'', $1 -> 0, $1 ->> -1, $1 #> ''{a,0,b}'', $1 #>> ''{"",a}'', document_get($1, ''a.b'', ''c_d''), $1[''a''][1][''b'']',
    'SELECT $1 ? ''a'', $1 ?| ''{a,b}'', $1 ?& ''{a,b}''', 'UPDATE probes SET d = $1 WHERE false', 'SELECT document_build_array($1, $1), to_document($1), document_agg($1)',
    'SELECT $1::int', 'SELECT $1::bigint', 'SELECT $1::numeric', 'SELECT $1::float8', 'SELECT $1::boolean', 'SELECT $1::timestamptz', 'SELECT $1::uuid', 'SELECT $1::bytea',
    'SELECT $1::text[]', 'SELECT $1::interval', 'SELECT $1 + 1, $1 * 1.5', 'SELECT $1 / 3.0', 'SELECT $1 - ''5''', 'SELECT sum($1), min($1), max($1)',
    'SELECT count(*) FROM (SELECT $1 AS d UNION SELECT d FROM probes ORDER BY 1) s', 'INSERT INTO indexed VALUES ($1)', 'SELECT set_at($1)'
  ] LOOP
    failure := attempt(statement, d);
    IF failure IS NOT NULL THEN RETURN NEXT failure; END IF;
  END LOOP;
END $$;
CREATE FUNCTION set_at(d document) RETURNS document LANGUAGE plpgsql AS $$
BEGIN d['a'][1]['b'] := '1'; RETURN d; END $$;

-- a valid document's text reads back to the same bytes
CREATE FUNCTION same(d document) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  IF document_send(d::text::document) <> document_send(d) THEN RETURN NEXT 'differs: ' || encode(document_send(d), 'hex'); END IF;
  IF d <> d OR document_hash(d::text::document) <> document_hash(d) THEN RETURN NEXT 'unequal: ' || encode(document_send(d), 'hex'); END IF;
EXCEPTION WHEN OTHERS THEN
  RETURN NEXT 'text: ' || SQLSTATE || ' ' || SQLERRM || ' ' || encode(document_send(d), 'hex');
END $$;

CREATE FUNCTION try_bson(b bytea, OUT taken int, OUT failures text[]) LANGUAGE plpgsql AS $$
DECLARE
  d document;
  way text;
BEGIN
  taken := 0;
  failures := '{}';
  FOREACH way IN ARRAY '{document_from_bson($1),($2)::document,raw($3)}'::text[] LOOP
    BEGIN
      EXECUTE 'SELECT ' || way INTO d USING b, '{"$bson": "03' || encode(b, 'hex') || '"}', '\\x03' || b;
      taken := taken + 1;
      IF way !~ 'raw' THEN failures := failures || ARRAY(SELECT same(d)); END IF;
      failures := failures || ARRAY(SELECT exercise(d));
    EXCEPTION WHEN OTHERS THEN
      failures := failures || (SQLSTATE || ' ' || SQLERRM || ' in ' || way);
    END;
  END LOOP;
END $$;

CREATE FUNCTION try_scalar(b bytea, OUT taken int, OUT failures text[]) LANGUAGE plpgsql AS $$
BEGIN
  taken := 1;
  failures := ARRAY(SELECT exercise(raw(b)));
END $$;

CREATE FUNCTION try_text(t text, OUT taken int, OUT failures text[]) LANGUAGE plpgsql AS $$
DECLARE
  d document;
BEGIN
  d := t::document;
  taken := 1;
  failures := ARRAY(SELECT same(d)) || ARRAY(SELECT exercise(d));
EXCEPTION WHEN OTHERS THEN
  taken := 0;
  failures := ARRAY[SQLSTATE || ' ' || SQLERRM];
END $$;
"""


def build_with_sanitizers(installation):
    folder = CACHE / "build" / f"sanitizers-pg{installation.major}"
    folder.mkdir(parents=True, exist_ok=True)
    copy_sources(folder)
    make(folder, installation, f"-j{os.cpu_count()}", "all", f"COPT={SANITIZERS}")
    return folder


class SanitizedCluster(Cluster):
    """A server that starts with AddressSanitizer in front of its libraries."""

    def _environment(self):
        runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
        return {**super()._environment(), "LD_PRELOAD": runtime,
                "ASAN_OPTIONS": f"detect_leaks=0:abort_on_error=1:log_path={self.folder}/report",
                "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={self.folder}/report"}

    def reports(self):
        return [open(path, errors="replace").read() for path in glob.glob(f"{self.folder}/report*")]


def mutate(chooser, data, tokens):
    """Damages bytes in a few places."""
    data = bytearray(data)
    for _ in range(chooser.choice([1, 1, 1, 2, 3, 8])):
        if not data:
            break
        at = chooser.randrange(len(data))
        what = chooser.randrange(7)
        if what == 0:
            data[at] ^= 1 << chooser.randrange(8)
        elif what == 1:
            data[at] = chooser.choice([0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xFF, chooser.randrange(256)])
        elif what == 2:
            del data[at:at + chooser.choice([1, 1, 4, 16])]
        elif what == 3:
            data[at:at] = chooser.choice(tokens)
        elif what == 4:
            piece = data[at:at + chooser.randrange(1, 40)]
            data[at:at] = piece
        elif what == 5:
            data[at:at + 4] = struct.pack("<i", chooser.choice([0, -1, 1, 4, 5, 1 << 30, (1 << 31) - 1, -(1 << 31), len(data), chooser.randrange(300)]))
        else:
            other = chooser.randrange(len(data))
            data[at:at + 8] = data[other:other + 8]
    return bytes(data)


def repair(data):
    """Makes the length at the top right again, so that the damage lies deeper."""
    return struct.pack("<i", len(data)) + data[4:] if len(data) >= 5 else data


BSON_TOKENS = [b"\0", b"\0\0\0\0", b"\x05\0\0\0\0", b"\x03a\0\x05\0\0\0\0", b"\x0f", b"\xff\xff\xff\xff", b"\x13", b"\x0b", b"a\0", b"\xc3", b"\x01\0\0\0\0"]
JSON_TOKENS = [b'{"$', b'"$bson": "', b'"$numberDecimal": "', b'"$date": ', b'"$binary": {"base64": "', b'"$code": "', b'"$scope": {', b'"$numberLong": "', b"[[[[", b"]", b"}",
               b"{", b"[", b",", b":", b'"', b"\\", b"\\u", b"\\ud83d", b"\\u0000", b"1e", b"-", b"0.", b"99999999999999999999", b"E+6144", b"null", b"NaN", b"Infinity", b" ", b"\xc3\xa9", b"030500000000"]


def pad(data):
    """A large first element, so that the document has a block of memory of its own whose end is watched."""
    filler = b"\x05pad\0" + struct.pack("<i", 9000) + b"\0" + bytes(9000)
    return struct.pack("<i", len(data) + len(filler)) + filler + data[4:]


def inputs(chooser, texts):
    """One batch: the function that tries them, and its arguments."""
    kind = chooser.randrange(10)
    if kind < 5:
        made = []
        while len(made) < BATCH:
            data = bson_values.document([(chooser.choice(bson_values.KEYS), bson_values.value(chooser, 4, True)) for _ in range(chooser.randrange(6))])
            data = mutate(chooser, data, BSON_TOKENS)
            data = repair(data) if chooser.random() < 0.8 else data
            made.append(pad(data) if chooser.random() < 0.3 else data)
        return "try_bson", made
    if kind < 7:
        made = []
        for _ in range(BATCH):
            number, data = bson_values.value(chooser, 2, True)
            made.append(mutate(chooser, bytes([number]) + data, BSON_TOKENS) or b"\n")
        return "try_scalar", made
    made = []
    while len(made) < BATCH:
        data = mutate(chooser, chooser.choice(texts).encode(), JSON_TOKENS)
        text = data.decode(errors="ignore").replace("\0", "")
        made.append(text)
    return "try_text", made


def texts_to_start_from(connection, chooser):
    """The texts of random values, as the type prints them."""
    found = []
    for _ in range(300):
        data = bson_values.document([("a", bson_values.value(chooser, 3, True)), ("b", bson_values.value(chooser, 2))])
        found.append(connection.execute("SELECT document_from_bson(%s)::text", (data,)).fetchone()[0])
    return found


def memory(connection):
    return int(connection.execute("SELECT sum(used_bytes) FROM pg_backend_memory_contexts").fetchone()[0])


def fuzz(cluster, seconds, seed):
    chooser = random.Random(seed)
    database = cluster.create_database("fuzz")
    connection = database.connect()
    connection.execute(FUNCTIONS)
    texts = texts_to_start_from(connection, chooser)
    end = time.monotonic() + seconds
    tried = taken = failed = batches = 0
    at_first = None
    while time.monotonic() < end:
        function, made = inputs(chooser, texts)
        kind = "text[]" if function == "try_text" else "bytea[]"
        rows = connection.execute(f"SELECT t.* FROM unnest(%s::{kind}) AS i(x), LATERAL {function}(x) AS t", (made,)).fetchall()
        assert not cluster.reports(), cluster.reports()[0]
        for source, (count, failures) in zip(made, rows):
            tried += 1
            taken += count
            failed += len(failures)
            wrong = [failure for failure in failures if not failure.startswith(EXPECTED)]
            assert not wrong, f"{wrong[0]}\n{function}: {source.hex() if isinstance(source, bytes) else source!r}"
        batches += 1
        if batches % 20 == 0:
            connection.execute("TRUNCATE indexed")
            # caches fill at first; after that what one batch needs is gone with it
            at_first = at_first or memory(connection)
            assert memory(connection) < at_first * 1.5 + 1000000, "memory of the backend grows"
    deaths = cluster.new_deaths()
    assert not deaths and not cluster.reports(), (deaths, cluster.reports())
    print(f"{tried} inputs, {taken} of them made a document, {failed} errors as expected; no crash, no report, no leak")
    assert tried > 0 and taken > 0 and failed > 0


def run(fuzz, settings):
    """Runs fuzz(cluster, seconds, seed), as the command line says, on a server with sanitizers."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    with Machine() as machine:
        # not Debian's: a server with message translation hangs under AddressSanitizer
        original = Installation(packages.other_postgresql(17))
        private = original.private_copy(machine.folder / "postgresql")
        make(build_with_sanitizers(private), private, "install")
        cluster = SanitizedCluster(machine, private, settings=settings)
        try:
            fuzz(cluster, seconds, seed)
        except psycopg.OperationalError as lost:
            # a limit that is reached, or a statement that is cancelled, is one, too
            if lost.sqlstate is not None:
                raise
            sys.exit("\n".join([f"the server was lost: {lost}", *cluster.new_deaths(), *cluster.reports()]))


if __name__ == "__main__":
    run(fuzz, SETTINGS)
