"""Large values: each function of the extension ends soon after it is cancelled, and the cost of the common ones grows with the size only."""
import os

import psycopg
import pytest

# more than a document of MongoDB has, and so much that what is quadratic would take minutes
SIZE = 200_000

# made of the rows g of generate_series
COLUMNS = {
    "o": """('{' || string_agg(format('"key%s": %s', g, g), ',') || '}')::document""",
    "a": """('[' || string_agg(format('"s%s"', g), ',') || ']')::document""",
    "n": """('[' || string_agg(format('{"k": [%s]}', g), ',') FILTER (WHERE g % 20 = 0) || ']')::document""",
    "w": "to_document(repeat('0', count(*)::int * 10))",
    "s": "array_agg('key' || g)",
    "m": "array_agg('none' || g)",
    "p": "repeat('0.', count(*)::int) || 'x'",
    "t": "repeat('x', count(*)::int * 10)",
    "q": "repeat('SELECT d.a.b + d.c FROM paths;', count(*)::int / 40)",
    "b": "'BEGIN ' || repeat('PERFORM change.full_document.a.b;', count(*)::int / 40) || ' END'",
    "y": "decode(repeat('00', count(*)::int * 10), 'hex')",
}
# what a function gets for an argument of a type, one after the other
VALUES = {
    "document": ["o", "a", "n", "w"],
    "text": ["p", "t", "q", "b"],
    "character": ["p::bpchar", "t::bpchar"],
    "text[]": ["s", "m", "ARRAY[p]"],
    "character[]": ["s::bpchar[]", "m::bpchar[]"],
    "bytea": ["y", "document_to_bson(o)"],
    "jsonb": ["o::jsonb", "a::jsonb"],
    "json": ["o::json", "w::json"],
    "cstring": ["textout(o::text)", "textout(t)", "textout(repeat('9', 2000000))",
                """textout('{"$binary": {"base64": "' || repeat('AAAA', 500000) || '", "subType": "00"}}')"""],
    "anyelement": ["o", "s", "ROW(o, s)"],
    '"any"': ["text 'k', o", "text 'k', s"],
    "record": ["ROW(o, s)"],
}
OTHERS = {"boolean": "true", "integer": "5", "bigint": "5", "numeric": "1.5", "double precision": "1.5", "real": "1.5", "smallint": "5", "interval": "interval '1 s'",
          "timestamp with time zone": "now()", "timestamp without time zone": "localtimestamp", "date": "current_date", "uuid": "gen_random_uuid()", "oid": "0", "name": "'x'"}
FUNCTIONS = """
SELECT p.oid::regproc::text, p.prokind::text, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(t, n) ORDER BY n)
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream'
 WHERE (p.prokind = 'a' OR p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')) AND p.prorettype <> 'trigger'::regtype
 ORDER BY 1, p.oid
"""
# what a call may take beyond its time: memory is copied
PATIENCE = 1


@pytest.fixture(scope="module")
def large(shared_cluster):
    cluster = shared_cluster.get()
    database = cluster.create_database("large")
    database.execute("CREATE TABLE paths (d document)")
    database.execute("CREATE VIEW changes AS SELECT * FROM change_stream_events")
    made = ", ".join(f"{value} AS {name}" for name, value in COLUMNS.items())
    database.execute(f"CREATE TABLE large AS SELECT {made} FROM generate_series(1, 100) g LIMIT 0")
    # not compressed, which would take most of the time
    database.execute("ALTER TABLE large " + ", ".join(f"ALTER {name} SET STORAGE external" for name in COLUMNS))
    database.execute(f"INSERT INTO large SELECT {made} FROM generate_series(1, {SIZE}) g")
    yield database
    database.close()
    cluster.drop_database("large")


def seconds_of(connection):
    """How long a backend has been at work; the clock would count what else the machine does."""
    with open(f"/proc/{connection.info.backend_pid}/stat") as status:
        fields = status.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def calls(function, types):
    """Calls of a function with large arguments; none where it takes none."""
    if "internal" in types or not any(name in VALUES for name in types):
        return
    for variant in range(max(len(VALUES.get(name, "")) for name in types)):
        arguments = [VALUES[name][variant % len(VALUES[name])] if name in VALUES else OTHERS.get(name, f"NULL::{name}") for name in types]
        yield f"{function}({', '.join(arguments)})"


def test_every_function_can_be_cancelled(large):
    """From the catalog, so that a new function is tried, too."""
    connection = large.connect(autocommit=False)
    tried, cancelled, slow = 0, 0, []
    for function, kind, types in large.execute(FUNCTIONS):
        for call in calls(function, types):
            connection.execute("SET LOCAL statement_timeout = 100")
            connection.execute("SET LOCAL client_min_messages = error")
            begin = seconds_of(connection)
            try:
                connection.execute(f"SELECT count(v) FROM (SELECT {call} AS v FROM large OFFSET 0) s" if kind == "a" else
                                   f"SELECT count(s) FROM large, LATERAL (SELECT {call} OFFSET 0) s")
            except psycopg.Error as refused:
                cancelled += refused.sqlstate == "57014"
            took = seconds_of(connection) - begin
            connection.rollback()
            tried += 1
            if took > 0.1 + PATIENCE:
                slow.append(f"{call}: {took:.1f} s")
    connection.close()
    assert tried > 300 and cancelled > 0
    assert not slow


# what is made of rows g, and what takes time for it
GROWTH = {
    "object @> object": (COLUMNS["o"], "v @> v"),
    "array @> array": (COLUMNS["a"], "v @> v"),
    "?&": (COLUMNS["o"], "v ?& ARRAY(SELECT document_keys(v))::bpchar[]"),
    "?|": (COLUMNS["a"], "v ?| ARRAY(SELECT 'n' || document_text(e) FROM document_elements(v) e)::bpchar[]"),
    "to jsonb": (COLUMNS["o"], "v::jsonb"),
    "written path": (COLUMNS["p"], "change_stream_wrote(ARRAY[v || 'a'], v || 'b')"),
    "statements": (COLUMNS["q"], "change_stream_translate(v)"),
    "block": (COLUMNS["b"], "change_stream_translate_body(v)"),
    "disjunction": ("'SELECT 1 FROM paths WHERE ' || string_agg('d.a.b = ''x''', ' OR ') FILTER (WHERE g % 50 = 0)", "change_stream_translate(v)"),
    "contains": ("'SELECT 1 FROM paths WHERE ' || string_agg('d.a CONTAINS ''x''', ' AND ') FILTER (WHERE g % 100 = 0)", "change_stream_translate(v)"),
    "streams": ("'SELECT 1 FROM ' || string_agg('CHANGE_STREAM(changes) AS a' || g, ', ') FILTER (WHERE g % 200 = 0)", "change_stream_translate(v)"),
    "union": ("string_agg('SELECT d.a.b FROM paths', ' UNION ALL ') FILTER (WHERE g % 100 = 0)", "change_stream_translate(v)"),
    "condition": ("string_agg('a.b = ''x''', ' AND ') FILTER (WHERE g % 50 = 0)", "change_stream_translate_expression(v)"),
}


@pytest.mark.parametrize("what", GROWTH)
def test_cost_grows_with_the_size(large, what):
    make, call = GROWTH[what]

    def seconds(size):
        large.execute("DROP TABLE IF EXISTS one")
        large.execute(f"CREATE TABLE one AS SELECT {make} AS v FROM generate_series(1, {size}) g")
        best = None
        for _ in range(2):
            begin = seconds_of(large.connection)
            large.execute(f"SELECT pg_column_size(({call})) FROM one")
            best = min(best or 1e9, seconds_of(large.connection) - begin)
        return best

    small, big = seconds(SIZE // 10), seconds(SIZE // 2)
    # five times as much takes about five times as long; what is quadratic would take 25 times
    assert big < max(13 * small, 0.3), (small, big)


def test_memory_of_a_long_text(large):
    """What a statement needed is gone when the next one is translated."""
    connection = large.connect()
    peaks = []
    for count in (500, 8000):
        connection.execute("SELECT length(change_stream_translate_body(%s))", ("BEGIN " + "PERFORM change.full_document.a.b;" * count + " END",))
        connection.execute("SELECT length(change_stream_translate(%s))", ("SELECT d.a.b FROM paths;" * count,))
        with open(f"/proc/{connection.info.backend_pid}/status") as status:
            peaks.append(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
    connection.close()
    assert peaks[1] - peaks[0] < 50_000


def test_short_texts_stay_small(large):
    """A parameter's number says how large PostgreSQL makes a table of types."""
    for text in ("CREATE CHANGE STREAM s ON orders WHERE status =$10000000 a$filter", "SELECT $10000000, d.a FROM paths", "SELECT d.a, $99999999999 FROM paths"):
        with pytest.raises(psycopg.errors.UndefinedParameter, match="out of range"):
            large.execute("SELECT change_stream_translate(%s)", text)
    doubling = "y0 = a.b, " + ", ".join(f"y{n + 1} = y{n} || y{n}" for n in range(40))
    with pytest.raises(psycopg.errors.StatementTooComplex, match="becomes too long"):
        large.execute("SELECT change_stream_translate_fields(%s)", doubling)
