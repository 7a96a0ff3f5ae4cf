"""Feeds damaged statements to the dialect's translator, in a server whose copy of the library has sanitizers in it.

    python3 test/fuzz_dialect.py [seconds] [seed]

Statements of every form are cut, joined, repeated and littered with the dialect's words, then
translated as statements, as conditions, as added fields, and as PL/pgSQL blocks.  What comes out is
translated again, which must change nothing.  Clean errors are expected; a crash, a report of
AddressSanitizer or UndefinedBehaviorSanitizer, an internal error, a statement that runs for seconds,
a translation that changes again, or memory that grows are not.
"""
import pathlib
import random
import re
import time

import psycopg

from fuzz_document import SETTINGS, memory, run
from harness.machine import ROOT

FUNCTIONS = {
    "change_stream_translate(%s)": 6,
    "change_stream_translate_for_gateway(%s)": 4,
    "change_stream_translate_expression(%s)": 2,
    "change_stream_translate_expression(%s, false)": 1,
    "change_stream_translate_fields(%s)": 1,
    "change_stream_translate_body(%s)": 3,
}
# what may be wrong with a text; XX000 and the like may not
EXPECTED = ("0A", "22", "25", "3D", "3F", "2B", "42", "44", "54")
LITTER = ["CONTAINS", "NOT CONTAINS", "CHANGE_STREAM(", "CHANGE_STREAM(orders, 'history')", ", 'history'", "CHANGE_STREAM ON ", "ON DATABASE", "TIME_WINDOW(", "full_document.", ".a.b", ".*", "['a.b']", "[0]", "(", ")", ",", ";",
          "'", "\"", "$$", "/*", "*/", "--\n", "CASE", "WHEN", "END", "SELECT", "FROM", "WHERE", "GROUP BY", "UNION", "OVER (", "PARTITION BY", "INTO x", "change.", "change.full_document.a",
          "BEGIN", "DECLARE x int;", "EXCEPTION WHEN", "LOOP", "IF", "THEN", "ELSIF", "FOR r IN", "WITH (", "FILTER (", "PIPELINE (ADD_FIELDS (", "CREATE EVENT_STORE e AS",
          "CREATE CHANGE STREAM s ON c", "FOR EACH CHANGE AS", "::text", "::document", "= 'x'", "IN ('a', 1)", "|| ", "NULL", "ORDER BY", "EXTRACT(EPOCH FROM ", "LAG(full_document.n) OVER ()",
          "COALESCE(", "STRING_AGG(DISTINCT changed_fields, ',')", "ROUND(1.5::float8, 2)", "JSON_BUILD_OBJECT(", "ns.coll", "_id", "$1", "$20000001", "$10000000", "mcs_cs_000000", "<@@@@@@>", "é", "\\",
          "CREATE VIEW v AS ", "CREATE MATERIALIZED VIEW m AS ", "full_document.*, ", "shipments.full_document.*", "FROM shipments", "NATURAL JOIN mixed", "NATURAL FULL JOIN inventory q", "USING (d)",
          "USING (full_document, cluster_time) AS j", "JOIN inventory USING (full_document)", "- ts", "ts - d.a", "d.b - d.a AS took", "full_document.at - full_document.placedAt", "DISTINCT", "INTO t",
          "(full_document.createdAt >= '2024-01-01')", "= '2024-05-01'"]
TABLES = """
CREATE TABLE orders (operation_type text, database_name text, collection_name text, document_key document, full_document document,
  full_document_before_change document, update_description document, changed_fields text[], cluster_time timestamptz,
  change_timestamp timestamptz, resume_token text, full_document_source text, extra document);
CREATE TABLE inventory (LIKE orders);
CREATE TABLE all_changes (LIKE orders);
CREATE TABLE mixed (id int, j jsonb, k json, d document, "Weird Col" document, ts timestamptz);
CREATE TABLE notes (who text, events bigint, at timestamp);
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/', database 'shop');
CREATE FOREIGN TABLE shipments (operation_type text, database_name text, collection_name text, document_key document, full_document document, update_description document,
  cluster_time timestamptz) SERVER mongo OPTIONS (collection 'shipments');
SELECT create_change_stream('shop', paused => true);
SELECT create_change_mirror('shipments', stream_name => 'shop', table_name => 'shipments_live',
  columns => $$status text = status, placed timestamptz = placedAt, at date = at, "A b" varchar(5) = a.b_c, late boolean = at > placedAt$$);
"""


def seeds():
    """Statements to begin with: those of the SQL tests."""
    found = []
    for path in sorted(pathlib.Path(ROOT, "sql").glob("dialect*.sql")):
        text = path.read_text()
        found += re.findall(r"\$q\$(.*?)\$q\$", text, re.S)
        found += [quoted.replace("''", "'") for quoted in re.findall(r"translate\w*\('((?:[^']|'')*)'", text)]
    return found


def mutate(chooser, text, others):
    """Damages a text in a few places."""
    for _ in range(chooser.choice([1, 1, 2, 3, 6])):
        at = chooser.randrange(len(text) + 1)
        what = chooser.randrange(7)
        if what == 0:
            text = text[:at] + chooser.choice(LITTER) + text[at:]
        elif what == 1:
            text = text[:at] + " " + chooser.choice(LITTER) + " " + text[at:]
        elif what == 2:
            text = text[:at] + text[at + chooser.choice([1, 3, 10, 40]):]
        elif what == 3:
            other = chooser.choice(others)
            begin = chooser.randrange(len(other) + 1)
            text = text[:at] + other[begin:begin + chooser.randrange(80)] + text[at:]
        elif what == 4:
            words = re.split(r"(\s+)", text)
            one, two = chooser.randrange(len(words)), chooser.randrange(len(words))
            words[one], words[two] = words[two], words[one]
            text = "".join(words)
        elif what == 5:
            text = text[:at] + text[at:at + 30] * chooser.choice([1, 2, 5]) + text[at:]
        else:
            text = text[:at] + chooser.choice("()[]'\";,.:$-/*=") + text[at:]
    return text[:6000]


def attempt(connection, function, text):
    """The translation of a text, or None where it is refused."""
    begin = time.monotonic()
    try:
        return connection.execute(f"SELECT {function}", (text,)).fetchone()[0]
    except psycopg.Error as refused:
        if refused.sqlstate is None:
            print(f"{function}: {text!r}")
            raise
        assert refused.sqlstate.startswith(EXPECTED), f"{refused.sqlstate} {refused}\n{function}: {text!r}"
    finally:
        assert time.monotonic() - begin < 10, f"too slow\n{function}: {text!r}"
    return None


def fuzz(cluster, seconds, seed):
    chooser = random.Random(seed)
    connection = cluster.create_database("fuzz").connect()
    connection.execute("SET client_min_messages = error")
    connection.execute(TABLES)
    texts = seeds()
    assert len(texts) > 100
    functions = [name for name, weight in FUNCTIONS.items() for _ in range(weight)]
    end = time.monotonic() + seconds
    tried = translated = 0
    at_first = None
    while time.monotonic() < end:
        function = chooser.choice(functions)
        text = mutate(chooser, chooser.choice(texts), texts).replace("\0", "")
        made = attempt(connection, function, text)
        tried += 1
        if made is not None:
            translated += 1
            again = attempt(connection, function, made)
            assert again is None or again == made, f"changes again\n{function}: {text!r}\n{made!r}\n{again!r}"
        if tried % 200 == 0:
            assert not cluster.reports(), f"{cluster.reports()[0]}\n{function}: {text!r}"
            at_first = at_first or memory(connection)
            assert memory(connection) < at_first * 1.5 + 2000000, "memory of the backend grows"
    deaths = cluster.new_deaths()
    assert not deaths and not cluster.reports(), (deaths, cluster.reports())
    print(f"{tried} texts, {translated} of them translated; no crash, no report, no leak")
    assert tried > 0 and translated > 0


if __name__ == "__main__":
    run(fuzz, SETTINGS)
