"""Calls every function of the extension with random arguments, in a server whose copy of the library has sanitizers in it.

    python3 test/fuzz_functions.py [seconds] [seed]

The functions, operators and casts are those of the catalog, so a new one is tried, too.  Arguments are valid
and damaged documents, long and odd texts, arrays, numbers at their limits, and other calls; statements are
those calls in select lists, conditions, joins, aggregates, sorts and indexes.  They run as a superuser, as a
role that owns streams, as one that may use a server, and as a stranger.  Errors are expected; a crash, a
report of AddressSanitizer or UndefinedBehaviorSanitizer, an internal error, a statement that does not end
when it is cancelled, or memory that grows are not.  No MongoDB is there: what leads to it ends at its door.
"""
import random
import time

import psycopg

from fuzz_document import memory, run

# without the library in all processes streams and handlers would be refused before they read their arguments
SETTINGS = {"autovacuum": "off", "max_parallel_workers_per_gather": 0, "jit": "off", "mongo_change_stream.max_streams": "2",
            "max_worker_processes": 4}
# internal errors; what else can be wrong with random arguments is any state of a user's error
UNEXPECTED = ("XX000", "XX002")
# raised by PostgreSQL itself for what no version of ours can help
TOLERATED = ("cache lookup failed for function 0", "cache lookup failed for type")
ROLES = ["postgres", "owner", "user_of_server", "stranger"]

SETUP = """
CREATE ROLE owner LOGIN;
CREATE ROLE user_of_server LOGIN;
CREATE ROLE stranger LOGIN;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream OPTIONS (uri 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50&connectTimeoutMS=50', database 'shop');
GRANT USAGE ON FOREIGN SERVER mongo TO owner, user_of_server;
GRANT CREATE ON SCHEMA public TO owner;
CREATE FUNCTION raw(bytea) RETURNS document LANGUAGE internal IMMUTABLE STRICT AS 'byteasend';
CREATE TABLE kept (id int, d document, e document, j jsonb, t text, a text[], n numeric, at timestamptz);
INSERT INTO kept SELECT g, to_document(g), document_build_object('a', g, 'b', ARRAY[g, 2], 'user_id', 'x' || g), jsonb_build_object('a', g), 'x' || g, ARRAY['a', 'b.' || g], g, now()
  FROM generate_series(1, 20) g;
INSERT INTO kept (d, e) VALUES (raw('\\x'), raw('\\x0301')), (raw('\\x55'), raw('\\x030c0000001061000500000001')), ('{"a": {"b": [1, {"c": "x"}]}}', '[1, [2], "a"]');
CREATE INDEX ON kept (d);
CREATE INDEX ON kept USING hash (d);
CREATE INDEX ON kept USING gin (e);
GRANT ALL ON kept TO PUBLIC;
GRANT SELECT ON pg_backend_memory_contexts TO PUBLIC;
GRANT EXECUTE ON FUNCTION pg_get_backend_memory_contexts() TO PUBLIC;
"""
FUNCTIONS = """
SELECT p.oid::regproc::text, p.prokind::text, p.proretset, format_type(p.prorettype, NULL), ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(t, n) ORDER BY n)
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream'
 ORDER BY 1, p.oid
"""
OPERATORS = """
SELECT o.oprname, format_type(o.oprleft, NULL), format_type(o.oprright, NULL), format_type(o.oprresult, NULL) FROM pg_operator o
  JOIN pg_depend d ON d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream' WHERE o.oprleft <> 0 ORDER BY 1, 2, 3
"""
CASTS = """
SELECT format_type(c.castsource, NULL), format_type(c.casttarget, NULL) FROM pg_cast c JOIN pg_depend d ON d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'mongo_change_stream' ORDER BY 1, 2
"""
TEXTS = ["", "a", "a.b", "user_id", "a.0.b", "$", ".", "..", "0", "-1", "99999999999", "mongo", "orders", "public.kept", "change", "operation_type = ''insert''", "full_document.a > 5",
         "a = b + 1, c = d", "BEGIN PERFORM change.full_document.a; END", "SELECT d.a.b FROM kept", "SELECT 1 FROM CHANGE_STREAM(orders)", "CREATE CHANGE STREAM s ON orders WHERE a = $1",
         "earliest", "now", "2024-05-01", "8265F0C1D2000000012B022C0100296E5A1004", "{\"a\": 1}", "{\"$date\": 1}", "[{\"$match\": {\"a\": 1}}]", "{\"ping\": 1}", "epoch", "month", "é", "x" * 300, "''",
         "0." * 200, "(" * 300, "skip", "paused", "default", "whenAvailable", "%", "%s%n", "\\", "NULL", "pg_catalog", "document"]
DOCUMENTS = ["{}", "[]", "null", "true", "5", "-0.0", "{\"$numberDouble\": \"NaN\"}", "{\"$numberDecimal\": \"-9.999999999999999999999999999999999E+6144\"}", "{\"$numberLong\": \"9223372036854775807\"}",
             "\"a\"", "\"\\u0000\"", "{\"a\": 1}", "{\"a\": {\"b\": [1, 2, {\"c\": null}]}}", "[1, \"a\", [2]]", "{\"user_id\": 1, \"userId\": 2, \"a.b\": 3}", "{\"$date\": {\"$numberLong\": \"-9223372036854775808\"}}",
             "{\"$oid\": \"65f0c1d2e3a4b5c6d7e8f901\"}", "{\"$binary\": {\"base64\": \"AQID\", \"subType\": \"04\"}}", "{\"$minKey\": 1}", "{\"$code\": \"x\", \"$scope\": {\"a\": 1}}",
             "{\"$regularExpression\": {\"pattern\": \"^a\", \"options\": \"i\"}}", "{\"$timestamp\": {\"t\": 4294967295, \"i\": 4294967295}}", "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]"]
NUMBERS = ["0", "1", "-1", "2147483647", "(-2147483648)", "7", "100"]


class Maker:
    """Random expressions of a type."""

    def __init__(self, chooser, functions, operators, casts):
        self.chooser, self.functions, self.operators, self.casts = chooser, functions, operators, casts
        self.giving = {}
        for name, kind, rows, result, types in functions:
            if kind == "f" and not rows and "internal" not in types and result not in ("internal", "trigger", "void", "language_handler", "fdw_handler", "cstring"):
                self.giving.setdefault(result, []).append(("function", name, types))
        for name, left, right, result in operators:
            self.giving.setdefault(result, []).append(("operator", name, [left, right]))
        for source, target in casts:
            self.giving.setdefault(target, []).append(("cast", target, [source]))

    def pick(self, *items):
        return self.chooser.choice(items)

    def text(self):
        return "'" + self.pick(*TEXTS) + "'"

    def bytes(self):
        return "'\\x" + bytes(self.chooser.choice([0, 1, 2, 3, 4, 5, 8, 0x0f, 0x61, 0x7f, 0xff, self.chooser.randrange(256)]) for _ in range(self.chooser.randrange(24))).hex() + "'"

    def document(self):
        kind = self.chooser.randrange(6)
        if kind < 3:
            return "document '" + self.pick(*DOCUMENTS) + "'"
        if kind < 5:
            return self.pick("d", "e")
        return f"raw({self.bytes()})"

    def leaf(self, wanted):
        array = f"ARRAY[{', '.join(self.pick(self.text(), self.text(), 'NULL') for _ in range(self.chooser.randrange(5)))}]::"
        leaves = {
            "document": self.document,
            "text": lambda: self.pick(self.text() + "::text", self.text() + "::text", "t"),
            "character": lambda: self.text() + "::bpchar",
            "text[]": lambda: self.pick(array + "text[]", "a"),
            "character[]": lambda: array + "bpchar[]",
            "bytea": lambda: self.bytes() + "::bytea",
            "boolean": lambda: self.pick("true", "false"),
            "smallint": lambda: self.pick("0", "1", "-1", "32767") + "::smallint",
            "integer": lambda: self.pick(*NUMBERS),
            "bigint": lambda: self.pick(*NUMBERS, "9223372036854775807", "(-9223372036854775808)") + "::bigint",
            "numeric": lambda: self.pick("0.1", "'NaN'", "'Infinity'", "1e400", "n", "123456789012345678901234567890123456789.5") + "::numeric",
            "real": lambda: self.pick("0.1", "'NaN'", "3e38") + "::real",
            "double precision": lambda: self.pick("0.1", "'NaN'", "'-Infinity'", "1e308", "5e-324") + "::float8",
            "interval": lambda: self.pick("'1 s'", "'-100000000 years'", "'1 month'", "'0'", "'178000000 years'") + "::interval",
            "timestamp with time zone": lambda: self.pick("'now'", "'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31'", "'1970-01-01'") + "::timestamptz",
            "timestamp without time zone": lambda: self.pick("'2024-05-01'", "'infinity'", "'294276-12-31'", "'4713-01-01 BC'") + "::timestamp",
            "date": lambda: self.pick("'2024-05-01'", "'infinity'", "'5874897-12-31'", "'4713-01-01 BC'") + "::date",
            "uuid": lambda: "'73ffd264-44b3-4c69-90e8-e7d1dfc035d4'::uuid",
            "jsonb": lambda: self.pick("j", "'{\"a\": [1, 1e400]}'::jsonb", "'{\"$date\": 5}'::jsonb", "'5'::jsonb"),
            "json": lambda: self.pick("'{\"a\": [1, 2.5]}'::json", "'{\"$oid\": \"x\"}'::json"),
            "cstring": lambda: self.text() + "::cstring",
            "oid": lambda: self.pick("0", "16384", "'kept'::regclass") + "::oid",
            "name": lambda: self.text() + "::name",
            "anyelement": lambda: self.pick("id", "t", "a", "d", "at", "n", "j", "ROW(id, d)"),
            '"any"': lambda: self.pick("text 'a', d", "t, n", "id", "NULL::text, a", "d, e, id, ROW(d, a)"),
            "record": lambda: "ROW(d, id)",
        }
        return leaves[wanted]() if wanted in leaves else f"NULL::{wanted}"

    def expression(self, wanted, depth):
        if self.chooser.random() < 0.03:
            return f"NULL::{wanted}" if wanted not in ("anyelement", '"any"', "internal") else "NULL::text"
        made = self.giving.get(wanted)
        if depth <= 0 or not made or self.chooser.random() < 0.3:
            return self.leaf(wanted)
        return self.call(self.pick(*made), depth - 1)

    def call(self, made, depth):
        kind, name, types = made
        arguments = [self.expression(wanted, depth) for wanted in types]
        if kind == "operator":
            return f"({arguments[0]} {name} {arguments[1]})"
        if kind == "cast":
            return f"({arguments[0]})::{name}"
        return f"{name}({', '.join(arguments)})"

    def statement(self):
        """A statement around one function, operator or cast."""
        what = self.chooser.randrange(10)
        if what < 5:
            name, kind, rows, result, types = self.pick(*self.functions)
            arguments = ", ".join(self.expression(wanted, 2) if wanted != "internal" else "NULL" for wanted in types)
            if kind == "p":
                return f"CALL {name}({arguments})"
            if kind == "a":
                return f"SELECT {name}({arguments}) {self.pick('', 'OVER (ORDER BY id)', 'OVER (PARTITION BY d ORDER BY e ROWS 2 PRECEDING)', 'FILTER (WHERE id > 3)')} FROM kept"
            return f"SELECT * FROM kept, LATERAL {name}({arguments}) f LIMIT 30" if rows else f"SELECT {name}({arguments}) FROM kept LIMIT {self.pick('1', '30')}"
        condition = self.expression("boolean", 3)
        if what == 5:
            return f"SELECT count(*) FROM kept WHERE {condition}"
        if what == 6:
            return f"SELECT {self.expression('document', 3)} AS x FROM kept ORDER BY 1 LIMIT 5"
        if what == 7:
            return f"SELECT {self.expression('document', 2)}, count(*) FROM kept WHERE id < 9 GROUP BY 1"
        if what == 8:
            return f"SELECT count(*) FROM kept x JOIN kept y ON x.d {self.pick('=', '<', '@>', '<@')} y.e"
        return f"UPDATE kept SET e = {self.expression('document', 2)}, a = {self.expression('text[]', 2)} WHERE id = {self.chooser.randrange(20)}"


def fuzz(cluster, seconds, seed):
    chooser = random.Random(seed)
    database = cluster.create_database("fuzz")
    database.connection.execute(SETUP)
    functions = [row for row in database.execute(FUNCTIONS)]
    maker = Maker(chooser, functions, database.execute(OPERATORS), database.execute(CASTS))
    assert len(functions) > 250 and len(maker.giving) >= 5
    connections = {role: database.connect(user=role, autocommit=False) for role in ROLES}
    for connection in connections.values():
        connection.execute("SET client_min_messages = error")
        connection.execute("SET statement_timeout = '2s'")
        connection.commit()
    end = time.monotonic() + seconds
    tried = succeeded = 0
    at_first = {}
    while time.monotonic() < end:
        role = chooser.choice(ROLES)
        connection = connections[role]
        statement = maker.statement()
        begin = time.monotonic()
        try:
            connection.execute(statement.encode())
            succeeded += 1
        except psycopg.Error as refused:
            if refused.sqlstate is None:
                print(f"{role}: {statement}", flush=True)
                raise
            assert not refused.sqlstate.startswith(UNEXPECTED) or str(refused).startswith(TOLERATED), f"{refused.sqlstate} {refused}\n{role}: {statement}"
        finally:
            assert time.monotonic() - begin < 20, f"too slow\n{role}: {statement}"
        connection.rollback()
        tried += 1
        if tried % 200 == 0:
            assert not cluster.reports(), f"{cluster.reports()[0]}\nat or before {role}: {statement}"
            used = memory(connection)
            connection.rollback()
            if tried >= 2000:
                # caches of catalogs and plans fill at first
                at_first.setdefault(role, used)
                assert used < at_first[role] * 1.5 + 4_000_000, f"memory of the backend of {role} grows: {at_first[role]}, {used}"
    for connection in connections.values():
        connection.close()
    deaths = cluster.new_deaths()
    assert not deaths and not cluster.reports(), (deaths, cluster.reports())
    print(f"{tried} statements, {succeeded} without an error; no crash, no report, no leak")
    assert tried > 0 and succeeded > 0


if __name__ == "__main__":
    run(fuzz, SETTINGS)
