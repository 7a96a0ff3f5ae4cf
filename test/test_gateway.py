"""The gateway: the dialect as it stands, on a port of its own, and PostgreSQL's protocol with all that it can be used for."""
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time

import psycopg
import pytest

import fuzz_gateway
import wire
from harness import Cluster
from harness.machine import free_ports, wait_until
from wire import Wire

PAGE = """
CREATE TABLE things (thing document, note jsonb);
INSERT INTO things VALUES ('{"name": "lamp", "size": {"height": 40}, "parts": ["bulb", "foot"]}', '{"by": {"name": "ann"}}'),
                          ('{"name": "table", "size": {"height": 75}}', '{"by": {"name": "bob"}}');
"""


class Gateway:
    """A cluster with a gateway."""

    def __init__(self, machine, installation, **options):
        self.port = free_ports()[0]
        settings = {"listen_addresses": "127.0.0.1", "max_connections": "260", "mongo_change_stream.gateway_port": self.port, **options.pop("settings", {})}
        self.cluster = Cluster(machine, installation, name="gateway", tcp=True, settings=settings, **options)

    def connect(self, dbname="postgres", autocommit=True, **options):
        return psycopg.connect(**{"host": "127.0.0.1", "port": self.port, "dbname": dbname, "user": "postgres", "autocommit": autocommit, **options})

    def supervisor(self):
        """Its process and that of the gateway; None while there is none."""
        with self.cluster.connect() as connection:
            row = connection.execute("SELECT pid, query FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream gateway'").fetchone()
        found = row and re.search(r"process (\d+)", row[1] or "")
        return (row[0], int(found[1])) if found else None

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True

    def psql(self, text, dbname, *options):
        """What psql prints, and what it complains of."""
        return subprocess.run([self.cluster.installation.program("psql"), "-X", "-q", "-At", *options], input=text, text=True, capture_output=True,
                              env={**self.cluster.client_environment(dbname), "PGHOST": "127.0.0.1", "PGPORT": str(self.port)})

    def wire(self, dbname, **options):
        return Wire(self.port, **options).login(database=dbname)


@pytest.fixture(scope="module")
def one(machine, installation):
    gateway = Gateway(machine, installation)
    wait_until(gateway.listens, 30, "the gateway listens")
    yield gateway
    gateway.cluster.discard()


@pytest.fixture
def gateway(one, request):
    one.cluster.new_deaths()
    process = one.supervisor()
    yield one
    if request.node.get_closest_marker("crashes"):
        return
    assert one.cluster.new_deaths() == []
    assert one.supervisor() == process


@pytest.fixture(scope="module")
def shop(one):
    """A database with documents in it."""
    database = one.cluster.create_database("shop")
    database.execute(PAGE)
    yield database
    database.close()


@pytest.fixture
def new_gateway(machine, installation):
    made = []

    def make(**options):
        made.append(Gateway(machine, installation, **options))
        return made[-1]

    yield make
    for gateway in made:
        gateway.cluster.discard()


def test_off_there_is_nothing(db):
    assert db.execute("SELECT 1 FROM pg_stat_activity WHERE backend_type ~ 'gateway'") == []
    assert db.row("SELECT setting, context FROM pg_settings WHERE name = 'mongo_change_stream.gateway_port'") == ("0", "postmaster")
    with pytest.raises(psycopg.errors.UndefinedObject):
        db.execute("SHOW mongo_change_stream.through_gateway")


# ---------------------------------------------------------------- the dialect

def test_own_names_are_asked_about(gateway, shop):
    """What reads tables of the extension's, or named like them, is in the dialect also where it names no document."""
    with gateway.connect("shop") as connection:
        connection.execute("CREATE TABLE change_stream_states (stream text, state text)")
        connection.execute("INSERT INTO change_stream_states VALUES ('a', 'fine'), ('b', 'odd')")
        assert connection.execute("SELECT stream, upper(state) AS shown FROM change_stream_states ORDER BY CASE shown WHEN 'ODD' THEN 1 ELSE 2 END").fetchall() == \
            [("b", "ODD"), ("a", "FINE")]
        connection.execute("DROP TABLE change_stream_states")


@pytest.mark.parametrize("how", [{}, {"binary": True}, {"prepare": True}])
def test_dialect_by_psycopg(gateway, shop, how):
    """psycopg sends texts without parameters by Query, others by Parse."""
    with gateway.connect("shop") as connection:
        for _ in range(3):
            rows = connection.execute("SELECT thing.name::text AS thing, note.by.name::text FROM things WHERE thing.size.height > 50", **how).fetchall()
            assert rows == [("table", "bob")]
            rows = connection.execute("SELECT thing.name::text FROM things WHERE thing.name = %s::text", ["lamp"], **how).fetchall()
            assert rows == [("lamp",)]
    with gateway.connect("shop", cursor_factory=psycopg.ServerCursor) as connection, connection.transaction(), connection.cursor("c") as cursor:
        assert cursor.execute("SELECT thing.size.height::int FROM things ORDER BY 1").fetchall() == [(40,), (75,)]


def test_several_statements_in_one_text(gateway, shop):
    with gateway.connect("shop") as connection:
        cursor = connection.execute("SELECT 1; SELECT thing.name::text FROM things WHERE thing.size.height = 40; SELECT 'a;b'")
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        assert found == [[(1,)], [("lamp",)], [("a;b",)]]


def test_literals_beside_documents(gateway, shop):
    """A relation that holds documents makes a statement one of the dialect, whatever is in it, and so does one that this session makes."""
    with gateway.connect("shop") as connection:
        connection.execute("CREATE OR REPLACE VIEW names AS SELECT thing['name'] AS name FROM things")
        assert connection.execute("SELECT count(*) FROM names WHERE name = 'lamp'").fetchone() == (1,)
        connection.execute("DROP VIEW names")


def test_pipelines(gateway, shop):
    """A pipeline is translated within; an error skips what is behind it, rolls back what is before it, and nothing else."""
    dialect = "SELECT thing.name::text FROM things WHERE thing.size.height > %s"
    with gateway.connect("shop") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        with connection.pipeline():
            cursors = [connection.execute(dialect, [height]) for height in (50, 60, 70)]
        assert [cursor.fetchall() for cursor in cursors] == [[("table",)]] * 3
    parse, bind, run = wire.parse, wire.bind, wire.execute
    with gateway.wire("shop") as link:
        good = parse("SELECT thing.name::text FROM things WHERE thing.size.height = 40") + bind() + run()
        for broken, state in (("SELECT 1/0", "22012"), ("SELECT thing.name FROM nowhere", "42P01"), ("SELECT thing.nix + FROM things", "42601")):
            link.send(parse("INSERT INTO kept VALUES (1)"), bind(), run(), good, parse(broken), bind(), run(), good, wire.SYNC, good, wire.SYNC)
            first, second = link.until_ready(), link.until_ready()
            assert wire.kinds(first)[-2:] == "EZ" and wire.fields(first[-2][1])["C"] == state
            assert wire.kinds(first).startswith("12C12DC")
            assert wire.kinds(second) == "12DCZ" and wire.columns(second[2][1]) == ["lamp"]
        assert wire.columns(link.answers(wire.query("SELECT count(*) FROM kept"))[1][1]) == ["0"]
        # Flush in the place of Sync, and the client's own statement without a name stays
        link.send(parse("SELECT 7"), parse("SELECT thing.name::text FROM things WHERE thing.size.height = 75", name="s"), bind(), run(), bind(name="s"), run(), wire.FLUSH)
        found = [link.message() for _ in range(8)]
        assert wire.kinds(found) == "112DC2DC" and [wire.columns(body) for kind, body in found if kind == b"D"] == [["7"], ["table"]]
        assert wire.kinds(link.answers(wire.SYNC)) == "Z"
        # nothing of the gateway's is left in the session
        assert wire.kinds(link.answers(wire.query("SELECT name FROM pg_prepared_statements WHERE name <> 's'"))) == "TCZ"
        assert wire.kinds(link.answers(wire.query("SELECT name FROM pg_cursors"))) == "TCZ"


def test_random_pipelines_as_directly(gateway, shop):
    """Pieces put together at random have the answers that the same, translated before, has on the server's own port."""
    fuzz_gateway.compare_pipelines(gateway.port, gateway.cluster.port, "shop", seconds=10, seed=4711)


@pytest.mark.parametrize("text, marked", [
    ("SELECT thing.name, nix FROM things", "nix"),
    ("SELECT 'ä', thing.name FROM things WHERE thing.size.height = 1 AND nix = 2", "nix"),
    ("SELECT thing.name FROM things WHERE thing.size.height = 1 ORDER BY thing.name, nix", "nix"),
    ("SELECT thing.name FROM things WHERE thing.name = 'a' GROUP BY FROM", "FROM"),
    ("SELECT 'ä'; SELECT thing.name FROM things WHERE thing.name = 'a' GROUP BY FROM; SELECT 2", "FROM"),
    ("SELECT thing.name FROM nowhere", "nowhere"),
    ("CREATE CHANGE STREAM s ON things WITH (nix = 1)", "nix"),
    ("CREATE CHANGE STREAM s ON things WITH (batch_size = 1) nix", "nix"),
])
def test_positions_of_errors(gateway, shop, text, marked):
    at = str(text.rindex(marked) + 1)
    with gateway.wire("shop") as link:
        for messages in ([wire.query(text)], [wire.parse(text), wire.SYNC]):
            found = link.answers(*messages)
            assert wire.kinds(found) == "EZ" and wire.fields(found[0][1]).get("P") == at, wire.fields(found[0][1])


def test_failed_transactions(gateway, shop):
    """Nothing is asked in a transaction that has failed: the server says what it says of any text."""
    with gateway.connect("shop", autocommit=False) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT thing.name FROM things WHERE 1/0 = 1")
        for parameters in (None, ["lamp"]):
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                connection.execute("SELECT thing.name FROM things" + (" WHERE thing.name = %s" if parameters else ""), parameters)
        connection.rollback()
        # what fails in translation fails the transaction, as a statement of it does
        connection.execute("CREATE TEMP TABLE t (n int)")
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SELECT thing.name FROM things WHERE thing.name CONTAINS")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT to_regclass('pg_temp.t')").fetchone() == (None,)
        connection.rollback()
        # a savepoint goes on
        connection.execute("SAVEPOINT s")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT nix, thing.name FROM things")
        connection.execute("ROLLBACK TO s")
        assert connection.execute("SELECT thing.name::text FROM things WHERE thing.size.height = 40").fetchall() == [("lamp",)]


@pytest.fixture
def followed(gateway, mongo, mdb):
    """A database with a MongoDB, and a page in the dialect."""
    database = gateway.cluster.create_database("followed")
    database.create_server(mongo.uri, mdb.name, password_required="false")
    mdb.create_collection("orders")
    yield database
    database.execute("SELECT drop_change_stream(stream_name) FROM change_streams")
    database.close()
    gateway.cluster.drop_database("followed")


TRIGGER = """
-- psql cuts this at each semicolon
CREATE TRIGGER sort ON CHANGE STREAM orders_seen
FOR EACH CHANGE AS
DECLARE
  many int := 10;
BEGIN
  CASE change.operation_type
    WHEN 'insert' THEN
      -- ; in a comment
      INSERT INTO sorted VALUES (change.full_document.customer, 'new; and fresh');
    WHEN 'update' THEN
      IF change.changed_fields CONTAINS 'state' AND change.full_document.total > many THEN
        INSERT INTO sorted VALUES (change.full_document.customer, change.full_document.state);
      END IF;
    ELSE
      NULL;
  END CASE;
END;
"""


def test_a_page_by_psql(gateway, followed, mdb, tmp_path):
    """Statements of the dialect in a file, the block of a trigger among them, which comes to the server in six pieces."""
    page = tmp_path / "page.sql"
    page.write_text("\\set ON_ERROR_STOP on\nCREATE TABLE sorted (customer text, what text);\n"
                    "CREATE CHANGE STREAM orders_seen ON orders WITH (full_document = 'updateLookup', start_at = 'now');\n"
                    f"{TRIGGER}\\echo made\nSELECT handler_name FROM change_handlers;\nSHOW CHANGE STREAMS;\n")
    done = gateway.psql("", "followed", "-f", str(page))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert "made" in lines and lines.index("sort") > lines.index("made"), done.stdout
    mdb.orders.insert_one({"_id": 1, "customer": "ann", "total": 50, "state": "new"})
    mdb.orders.update_one({"_id": 1}, {"$set": {"state": "paid"}})
    followed.wait_for("SELECT count(*) FROM sorted", expect=2)
    assert followed.execute("SELECT * FROM sorted") == [("ann", "new; and fresh"), ("ann", "paid")]


def test_errors_in_a_cut_block(gateway, followed):
    """An error is reported with the last piece; a block that does not end is given up when it must be, and said so."""
    pieces = [piece + ";" for piece in TRIGGER.strip().split(";")[:-1]]
    with gateway.wire("followed", timeout=60) as link:
        texts = ["CREATE TRIGGER t ON CHANGE STREAM nowhere AS BEGIN PERFORM 1;", "PERFORM 2;", "END;"]
        found = [link.answers(wire.query(text)) for text in texts]
        # who is not psql is told what happens
        assert [wire.kinds(answers) for answers in found] == ["NIZ", "NIZ", "TEZ"]
        assert "nowhere" in wire.fields(found[2][1][1])["M"]
        # a position is in the last piece, or there is none
        for piece, field in (("INSERT INTO nowhere VALUES (change.full_document.a);", "p"), ("PERFORM 1;", "P")):
            last = "INSERT INTO nowhere VALUES (change.full_document.a); END;"
            found = [link.answers(wire.query(text)) for text in (texts[0], piece, last)]
            error = wire.fields(found[2][-2][1])
            assert wire.kinds(found[2]) == "EZ" and error["C"] == "42P01" and {"p", "P"} & set(error) == {field}, error
            assert (error["q"] if field == "p" else last)[int(error[field]) - 1:].startswith("nowhere VALUES"), error
        for text, answers in (("ROLLBACK", "NNCZ"), ("SELECT 1;", "NIZ")):
            link.answers(wire.query(texts[0]))
            assert wire.kinds(link.answers(wire.query(text))) == answers
            link.answers(wire.query("ROLLBACK"))
        link.answers(wire.query(texts[0]))
        found = link.answers(wire.parse("SELECT 5"), wire.bind(), wire.execute(), wire.SYNC)
        assert wire.kinds(found) == "N12DCZ" and "not complete" in wire.fields(found[0][1])["M"]
    assert len(pieces) > 5
    done = gateway.psql("BEGIN;\nCREATE TRIGGER t ON CHANGE STREAM nowhere AS BEGIN PERFORM 1; END;\nCOMMIT;\nSELECT 'goes on';", "followed")
    assert "goes on" in done.stdout and done.stderr.count("ERROR") == 1, done.stderr


def test_an_event_store_by_parse(gateway, followed):
    """What a statement becomes may be several, which a prepared statement is not: then DO runs them."""
    with gateway.wire("followed") as link:
        text = "CREATE EVENT_STORE seen WITH (start_at = 'now') AS SELECT document_key._id AS thing, full_document.state FROM CHANGE_STREAM(orders)"
        link.answers(wire.query("CREATE VIEW orders AS SELECT * FROM change_stream_events"))
        found = link.answers(wire.parse(text), wire.bind(), wire.execute(), wire.SYNC)
        assert wire.kinds(found).replace("N", "") == "12CZ", found
    assert followed.value("SELECT count(*) FROM change_handlers WHERE handler_name = 'seen'") == 1
    followed.execute("SELECT drop_change_handler(handler_name) FROM change_handlers")


# ---------------------------------------------------------------- what documents look like

ODD = """
CREATE TABLE odd (n int, d document);
INSERT INTO odd VALUES (1, '{"v": "paid"}'), (2, '{"v": 10}'), (3, '{"v": 9}'), (4, '{"v": {"$date": "2026-01-31T12:00:00Z"}}'), (5, '{"v": {"$oid": "65f0c1d2e3a4b5c6d7e8f901"}}'),
                       (6, '{"v": null}'), (7, '{"v": {"a": "b"}}'), (8, '{"v": ["x", 1]}'), (9, '{"v": "a\\u0000b"}'), (10, '{"v": true}');
"""
SHOWN = ["paid", "10", "9", "2026-01-31T12:00:00Z", "65f0c1d2e3a4b5c6d7e8f901", None, '{"a": "b"}', '["x", 1]', "a\ufffdb", "true"]


@pytest.fixture(scope="module")
def odd(shop):
    shop.execute(ODD)
    return SHOWN


def test_documents_are_plain_text(gateway, shop, odd):
    """In rows of what is in the dialect, by either protocol and format; they still sort, group and join as documents."""
    with gateway.connect("shop") as connection:
        for how in ({}, {"prepare": True}, {"binary": True}, {"binary": True, "prepare": True}):
            cursor = connection.execute("SELECT d.v AS v, n FROM odd ORDER BY n", **how)
            assert [row[0] for row in cursor.fetchall()] == odd and cursor.description[0].type_code == psycopg.adapters.types["text"].oid, how
        assert [row[0] for row in connection.execute("SELECT d.v FROM odd WHERE d.v > %s ORDER BY v", [8]).fetchall()] == ["9", "10"]
        assert connection.execute("SELECT DISTINCT d.v AS v FROM odd WHERE n IN (2, 3) UNION SELECT 9 ORDER BY v LIMIT 1").fetchall() == [("9",)]
        assert connection.execute("SELECT d.v, count(*) FROM odd GROUP BY d.v HAVING d.v = 'paid'").fetchall() == [("paid", 1)]
        assert connection.execute("WITH a AS (SELECT d.v AS v FROM odd WHERE n < 4) (SELECT max(v) FROM a) -- behind").fetchall() == [("paid",)]
        # the columns' names, two of one name and one that has none among them
        cursor = connection.execute("SELECT d.v, n AS v, d.v = 'paid', d.v AS \"A b\" FROM odd WHERE n = 1")
        assert [column.name for column in cursor.description] == ["v", "v", "?column?", "A b"] and cursor.fetchall() == [("paid", 1, True, "paid")]
        assert connection.execute("INSERT INTO odd VALUES (100, document_build_object('v', 'new')) RETURNING d.v").fetchall() == [("new",)]
        assert connection.execute("UPDATE odd SET n = 101 WHERE d.v = 'new' RETURNING n, d.v AS w, d").fetchall() == [(101, "new", '{"v": "new"}')]
        assert connection.execute("DELETE FROM odd WHERE d.v = 'new' RETURNING d.v").fetchall() == [("new",)]
        connection.execute("PREPARE p (text) AS SELECT d.v FROM odd WHERE d.v = $1")
        assert connection.execute("EXECUTE p('paid')").fetchall() == [("paid",)]
        connection.execute("DEALLOCATE p")
        with connection.transaction():
            connection.execute("DECLARE c CURSOR FOR SELECT d.v FROM odd ORDER BY n")
            assert connection.execute("FETCH ALL FROM c").fetchall() == [(text,) for text in odd]
        # one that is read to be changed stays on its table
        with connection.transaction(force_rollback=True):
            connection.execute("DECLARE c CURSOR FOR SELECT d.v FROM odd WHERE d.v = 'paid' FOR UPDATE")
            connection.execute("FETCH c")
            assert connection.execute("UPDATE odd SET n = 0 WHERE CURRENT OF c").rowcount == 1
            assert connection.execute("SELECT n FROM odd WHERE d.v = 'paid' FOR UPDATE").fetchall() == [(0,)]


def test_documents_that_are_kept_are_documents(gateway, shop, odd):
    """A table, a view, COPY, plain SQL: nothing that goes somewhere else loses its types; nor does what a session has set so."""
    exact = shop.execute("SELECT d['v']::text FROM odd ORDER BY n")
    kinds = "SELECT DISTINCT attrelid::regclass::text, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid::regclass::text ~ '^kept_' AND attname = 'v' ORDER BY 1"
    with gateway.connect("shop") as connection:
        connection.execute("CREATE TABLE kept_table AS SELECT d.v FROM odd WHERE d.v = 'paid'")
        connection.execute("CREATE VIEW kept_view AS SELECT d.v FROM odd WHERE d.v = 'paid'")
        connection.execute("SELECT d.v INTO kept_into FROM odd WHERE d.v = 'paid'")
        assert connection.execute(kinds).fetchall() == [("kept_into", "document"), ("kept_table", "document"), ("kept_view", "document")]
        connection.execute("DROP VIEW kept_view; DROP TABLE kept_table, kept_into")
        with connection.cursor().copy("COPY (SELECT d.v FROM odd WHERE d.v = 'paid') TO STDOUT") as copy:
            assert b"".join(copy) == b'"paid"\n'
        assert [row for row in connection.execute("SELECT (d['v'])::text FROM odd ORDER BY n").fetchall()] == exact
        assert connection.execute("SELECT d['v'] FROM odd WHERE n = 1").fetchall() == [('"paid"',)]
        connection.execute("SET mongo_change_stream.gateway_documents = document")
        assert connection.execute("SELECT d.v FROM odd WHERE d.v = 'paid'").fetchall() == [('"paid"',)]
    with gateway.connect("shop", options="-c mongo_change_stream.gateway_documents=document") as connection:
        assert connection.execute("SELECT d.v FROM odd WHERE d.v = 'paid'").fetchall() == [('"paid"',)]
    # a dump by way of the gateway is one that the server's own port gives
    dumps = []
    for port in (gateway.port, gateway.cluster.port):
        for how in ([], ["--inserts"]):
            done = subprocess.run([gateway.cluster.installation.program("pg_dump"), "-h", "127.0.0.1", "-p", str(port), "-t", "odd", *how, "shop"],
                                  env=gateway.cluster.client_environment("shop"), capture_output=True, text=True, check=True)
            dumps.append(re.sub(r"(?m)^\\(un)?restrict .*$", "", done.stdout))
    assert dumps[:2] == dumps[2:] and '{"v": "paid"}' in dumps[0] and "$oid" in dumps[1]


def test_who_plants_a_translation(gateway):
    """Where the extension is of 1.0, and has no function for the gateway, nobody else's is called."""
    database = gateway.cluster.create_database("planted")
    database.execute("""ALTER EXTENSION mongo_change_stream DROP FUNCTION change_stream_translate_for_gateway; DROP FUNCTION change_stream_translate_for_gateway;
                        CREATE FUNCTION public.change_stream_translate_for_gateway(text) RETURNS text LANGUAGE sql AS $$ SELECT 'SELECT 666' $$;
                        CREATE TABLE t (d document); INSERT INTO t VALUES ('{"a": "b"}')""")
    with gateway.connect("planted") as connection:
        assert connection.execute("SELECT d.a FROM t WHERE d.a = 'b'").fetchall() == [('"b"',)]
    database.close()
    gateway.cluster.drop_database("planted")


@pytest.mark.parametrize("kind", ["VOLATILE", "IMMUTABLE"])
def test_who_plants_a_translation_later(gateway, kind):
    """Where the extension goes while a session knows of it, what somebody puts into the place of its function is not called, nor when it is planned."""
    database = gateway.cluster.create_database("planted")
    database.execute("CREATE TABLE t (d document); INSERT INTO t VALUES ('{\"a\": \"b\"}')")
    with gateway.connect("planted") as connection:
        assert connection.execute("SELECT d.a FROM t WHERE d.a = 'b'").fetchall() == [("b",)]
        database.execute(f"""DROP EXTENSION mongo_change_stream CASCADE;
                             CREATE FUNCTION public.change_stream_translate_for_gateway(text) RETURNS text LANGUAGE sql {kind} AS $$ SELECT 'SELECT 666' $$""")
        with pytest.raises(psycopg.errors.UndefinedTable, match='missing FROM-clause entry for table "d"'):
            connection.execute("SELECT d.a FROM t WHERE d.a = 'b'")
    database.close()
    gateway.cluster.drop_database("planted")


# ---------------------------------------------------------------- plain SQL and the protocol

def test_plain_sql_is_let_alone(gateway, shop):
    """What is not in the dialect is sent as it came, and nothing else is run for it."""
    texts = ["SELECT 1 AS one", "SELECT a.b FROM (VALUES (1)) AS a(b)", "SELECT 'thing.name CONTAINS' AS s", "SELECT count(*) FROM pg_class AS c WHERE c.oid > 0"]
    with gateway.connect("shop", client_encoding="UTF8") as connection:
        connection.execute("SET log_statement = 'all'")
        connection.execute(texts[0])
        begin = gateway.cluster.log_position()
        pid = connection.info.backend_pid
        for text in texts:
            connection.execute(text)
        log = [line for line in gateway.cluster.log_text(begin).splitlines() if f"[{pid}]" in line]
    assert [line.rpartition("statement: ")[2] for line in log] == texts


@pytest.mark.faults
def test_names_are_asked_for_once(gateway, shop):
    """Sessions of one role in one database share what they were told; another role's asks itself, and so does one that may have made tables of its own."""
    shop.execute("CREATE ROLE other LOGIN; GRANT SELECT ON things TO other; ALTER DATABASE shop SET log_statement = 'all'")
    lamp = "SELECT thing.name FROM things WHERE thing.size.height = 40"
    try:
        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(gateway.connect("shop", user=user)) for user in ("postgres", "postgres", "postgres", "postgres", "other")]
            for session in sessions:
                assert session.execute(lamp).fetchone() == ("lamp",)
            sessions[2].execute("CREATE TEMP TABLE mine (d document)")
            sessions[3].execute("DO $$ BEGIN CREATE TEMP TABLE mine (d document); END $$")
            latin = stack.enter_context(gateway.connect("shop", client_encoding="LATIN1"))
            shop.execute("CREATE TABLE since (d document); GRANT SELECT ON since TO other; INSERT INTO since VALUES ('{\"a\": 1}')")
            shop.execute("CREATE TABLE maße (LIKE since); INSERT INTO maße SELECT * FROM since")
            time.sleep(31)
            begin = gateway.cluster.log_position()
            # whose names are in another encoding
            for session, encoding in ((latin, "LATIN1"), (sessions[0], "UTF8"), (latin, "UTF8"), (latin, "LATIN1")):
                session.execute(f"SET client_encoding = {encoding}")
                assert session.execute("SELECT d.a FROM maße").fetchone() == ("1",)
            for session in sessions:
                assert session.execute(lamp).fetchone() == ("lamp",)
                assert session.execute("SELECT d.a FROM since").fetchone() == ("1",)
            for session in sessions[2:4]:
                session.execute("INSERT INTO mine VALUES ('{\"a\": 2}')")
                assert session.execute("SELECT d.a FROM mine").fetchone() == ("2",)
            lines = [line for line in gateway.cluster.log_text(begin).splitlines() if "FROM pg_catalog.pg_extension AS e" in line]
            assert [sum(f"[{session.info.backend_pid}]" in line for line in lines) for session in sessions] == [1, 0, 1, 1, 1]
    finally:
        shop.execute("ALTER DATABASE shop RESET log_statement; DROP TABLE since, maße; DROP OWNED BY other; DROP ROLE other")


def test_nothing_is_asked_before_set_transaction(gateway, shop):
    """The gateway's own questions take a snapshot, behind which the isolation level can't be set."""
    with gateway.wire("shop") as link:
        for text in ("BEGIN", "SHOW transaction_isolation", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SHOW transaction_isolation"):
            answers = link.answers(wire.query(text))
            assert "E" not in wire.kinds(answers), text
        assert wire.columns(answers[1][1]) == ["serializable"]


def test_a_database_without_the_extension(gateway):
    """Nothing that somebody has planted there is taken for the translation."""
    database = gateway.cluster.create_database("plain", extension=False)
    database.execute("""CREATE FUNCTION public.change_stream_translate(text) RETURNS text LANGUAGE sql AS $$ SELECT 'SELECT 666' $$;
                        CREATE DOMAIN public.document AS text; CREATE TABLE orders (full_document document)""")
    with gateway.connect("plain") as connection:
        assert connection.execute("SELECT full_document FROM orders").fetchall() == []
        with pytest.raises(psycopg.errors.SyntaxError):
            connection.execute("SHOW CHANGE STREAMS")
        # who makes it goes on with it in the same session
        connection.execute("DROP TABLE orders; DROP DOMAIN document; DROP FUNCTION change_stream_translate")
        connection.execute("CREATE EXTENSION mongo_change_stream")
        assert connection.execute("SHOW CHANGE STREAMS").fetchall() == []
    database.close()
    gateway.cluster.drop_database("plain")


def test_rights_to_the_translation(gateway, shop):
    """A role that may not use it writes plain SQL."""
    shop.execute("CREATE ROLE bare LOGIN; REVOKE EXECUTE ON FUNCTION change_stream_translate FROM public; GRANT SELECT ON things TO bare")
    try:
        with gateway.connect("shop", user="bare") as connection:
            assert connection.execute("SELECT count(thing) FROM things").fetchone() == (2,)
            with pytest.raises(psycopg.errors.UndefinedTable):
                connection.execute("SELECT thing.name FROM things")
    finally:
        shop.execute("GRANT EXECUTE ON FUNCTION change_stream_translate TO public; DROP OWNED BY bare; DROP ROLE bare")


def test_copy(gateway, shop):
    lines = [f"{n}\t{'x' * 1000}\n" for n in range(5000)]
    with gateway.connect("shop") as connection:
        connection.execute("CREATE TEMP TABLE copied (n int, t text)")
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for line in lines:
                copy.write(line)
        with connection.cursor().copy("COPY (SELECT * FROM copied ORDER BY n) TO STDOUT") as copy:
            assert b"".join(copy).decode() == "".join(lines)
        with connection.cursor().copy("COPY (SELECT thing.name::text FROM things ORDER BY thing.size.height) TO STDOUT") as copy:
            assert b"".join(copy) == b"lamp\ntable\n"
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            with connection.cursor().copy("COPY copied FROM STDIN") as copy:
                copy.write("a\tb\n")
        with pytest.raises(ZeroDivisionError):
            with connection.cursor().copy("COPY copied FROM STDIN"):
                raise ZeroDivisionError
    done = gateway.psql("CREATE TEMP TABLE c (n int);\n\\copy c from program 'seq 3'\nSELECT thing.name FROM things ORDER BY thing.size.height;\nSELECT sum(n) FROM c;\n", "shop")
    assert done.stdout.split() == ["lamp", "table", "6"], done


def test_copy_by_the_extended_protocol(gateway, shop):
    """A Sync that comes while the server reads the data of COPY has no answer."""
    with gateway.wire("shop") as link:
        link.answers(wire.query("CREATE TEMP TABLE c (n int)"))
        for data, answers in ((b"1\n", "CZ"), (b"a\n", "EZ")):
            link.send(wire.parse("COPY c FROM STDIN"), wire.bind(), wire.describe(), wire.execute(), wire.SYNC)
            assert wire.kinds([link.message() for _ in range(4)]) == "12nG"
            link.send(wire.message(b"d", data), wire.message(b"c"), wire.SYNC)
            assert wire.kinds(link.until_ready()) == answers
            found = link.answers(wire.parse("SELECT thing.name::text FROM things WHERE thing.size.height = 40"), wire.bind(), wire.execute(), wire.SYNC)
            assert wire.kinds(found) == "12DCZ" and wire.columns(found[2][1]) == ["lamp"]


def test_notifications(gateway, shop):
    with gateway.connect("shop") as listener, gateway.connect("shop") as teller:
        listener.execute("LISTEN news")
        for n in range(3):
            teller.execute("SELECT pg_notify('news', thing.name::text) FROM things WHERE thing.size.height = 40")
            # one that comes beside a translation is not lost
            listener.execute("SELECT thing.name FROM things")
        assert [notification.payload for notification in listener.notifies(timeout=5, stop_after=3)] == ["lamp"] * 3


def test_cancel(gateway, shop):
    """A cancel request goes through the gateway, too, and hits a translation as it hits anything."""
    with gateway.connect("shop") as connection:
        timer = threading.Timer(0.5, connection.cancel_safe)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30), thing.name FROM things")
        assert time.monotonic() - begin < 10
        assert connection.execute("SELECT thing.name::text FROM things WHERE thing.size.height = 40").fetchall() == [("lamp",)]
        # while the translation waits for a lock
        with gateway.cluster.connect("shop") as blocker, blocker.transaction():
            blocker.execute("LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
            for how in ({}, {"prepare": True}):
                timer = threading.Timer(0.5, connection.cancel_safe)
                timer.start()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    connection.execute("SELECT thing.name FROM things", **how)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_two_hundred_connections(gateway, shop):
    """All of them at once, each with its own answers."""
    connections = [gateway.connect("shop") for _ in range(200)]
    try:
        failed = []

        def work(numbered):
            try:
                for n, connection in numbered:
                    assert connection.execute("SELECT thing.size.height + %s::int AS h FROM things WHERE thing.name = 'lamp'", [n]).fetchone() == (str(40 + n),)
            except Exception as error:
                failed.append(error)

        numbered = list(enumerate(connections))
        threads = [threading.Thread(target=work, args=(numbered[at::10],)) for at in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed, failed[0]
    finally:
        for connection in connections:
            connection.close()


def test_more_clients_than_the_server_takes(gateway, shop):
    """The server's own answer comes through."""
    with contextlib.ExitStack() as stack:
        with pytest.raises(psycopg.OperationalError, match="too many clients|reserved"):
            for _ in range(300):
                stack.enter_context(gateway.connect("shop", user="postgres"))


def test_large_texts_and_rows(gateway, shop):
    """Texts and rows of many megabytes, translated and not."""
    large = "x" * 20_000_000
    with gateway.connect("shop") as connection:
        assert connection.execute("SELECT length(%s::text)", [large]).fetchone() == (len(large),)
        assert connection.execute(f"SELECT length('{large}')").fetchone() == (len(large),)
        rows = connection.execute(f"SELECT thing.name::text, '{large}' FROM things WHERE thing.size.height = 40").fetchall()
        assert rows == [("lamp", large)]


LONG = {
    "words": "SELECT 1 WHERE 0 IN (" + "0, " * 10_000_000 + "0 /* thing",
    "a comment": "SELECT 1 /* " + "-/" * 25_000_000 + " */",
    "dollars": "SELECT length($a$" + "$b$ " * 12_000_000 + "$a$)",
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_text_holds_up_nobody(gateway, shop, kind):
    """It is looked at in turns: while one client sends many megabytes, no statement of another's waits for that."""
    message = wire.query(LONG[kind])
    with gateway.wire("shop", timeout=60) as link, gateway.connect("shop") as other:
        def longest(goes_on):
            took = []
            while goes_on() or len(took) < 200:
                begin = time.monotonic()
                other.execute("SELECT 1")
                took.append(time.monotonic() - begin)
            return max(took)

        link.answers(wire.query("SET statement_timeout = 100"))
        # a machine with more to do may hold one up, but not each time
        for attempt in range(3):
            idle = longest(lambda: False)
            thread = threading.Thread(target=link.answers, args=[message])
            thread.start()
            busy = longest(thread.is_alive)
            thread.join()
            if busy < 0.1 + 3 * idle:
                return
        raise AssertionError(f"{1000 * busy:.0f} ms, and {1000 * idle:.0f} ms where nobody else is")


# ---------------------------------------------------------------- who connects

def test_long_errors(gateway, shop):
    """An error of any length tells what the server skips: in a pipeline, where the next text is asked for, and of a translation."""
    with gateway.wire("shop") as link:
        link.answers(wire.query("SELECT thing.name FROM things"))
        failing = wire.parse("DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 2000000); END $$") + wire.bind() + wire.execute()
        answers = link.answers(failing, wire.parse("SELECT thing.name FROM things"), wire.bind(), wire.execute(), wire.SYNC)
        assert wire.kinds(answers) == "12EZ"
        long = "SELECT thing.name FROM things '" + "x" * 2000000 + "'"
        assert wire.kinds(link.answers(wire.parse(long), wire.bind(), wire.execute(), wire.SYNC)) == "EZ"
        assert wire.kinds(link.answers(wire.query(long))) == "EZ"
        assert wire.kinds(link.answers(wire.query("SELECT thing.name::text FROM things"))) == "TDDCZ"


def test_encryption_is_refused_and_the_client_goes_on(gateway):
    with Wire(gateway.port) as link:
        for packet in (wire.GSS, wire.TLS):
            link.send(packet)
            assert link.bytes(1) == b"N"
        link.login()
        assert wire.columns(link.answers(wire.query("SHOW mongo_change_stream.through_gateway"))[1][1]) == ["on"]
    with pytest.raises(psycopg.OperationalError, match="SSL"):
        gateway.connect(sslmode="require")
    # the server takes such a packet with more in it, and a startup packet behind it: no session may begin unmarked
    for code in (80877103, 80877104):
        with Wire(gateway.port) as link:
            link.send(wire.message(b"", struct.pack("!II", code, 0)))
            assert link.bytes(1) == b"N"
            link.login()
            assert wire.columns(link.answers(wire.query("SHOW mongo_change_stream.through_gateway"))[1][1]) == ["on"]
    for code in (1 << 16, 80877105):
        with Wire(gateway.port) as link:
            found = link.send(wire.message(b"", struct.pack("!II", code, 0)), wire.startup()).rest()
            assert found[:1] == b"E" and b"server_version" not in found
    # a session that comes otherwise is not marked
    with gateway.cluster.connect() as connection:
        assert connection.execute("SHOW mongo_change_stream.through_gateway").fetchone() == ("off",)


def test_it_listens_on_loopback_only(gateway):
    addresses = []
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in open(name).read().splitlines()[1:]:
                address, port = line.split()[1].split(":")
                if int(port, 16) == gateway.port and line.split()[3] == "0A":
                    addresses.append(address)
    assert set(addresses) <= {"0100007F", "00000000000000000000000001000000"} and "0100007F" in addresses


def test_pg_hba_decides(new_gateway):
    """Passwords, refusals, and the method that asks whose the connection is."""
    gateway = new_gateway()
    cluster = gateway.cluster
    with cluster.connect() as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'open'; CREATE ROLE banned LOGIN; CREATE ROLE known LOGIN; CREATE ROLE plain LOGIN PASSWORD 'open'")
    (cluster.data / "pg_hba.conf").write_text("local all all trust\nhost all guest 127.0.0.1/32 scram-sha-256\nhost all plain 127.0.0.1/32 password\n"
                                              "host all banned 127.0.0.1/32 reject\nhost all known 127.0.0.1/32 ident\nhost all banned all trust\n")
    cluster.reload()
    wait_until(gateway.listens, 30, "the gateway listens")

    def refused(**options):
        try:
            gateway.connect(**options).close()
        except psycopg.OperationalError as error:
            return str(error)

    wait_until(lambda: refused(user="postgres"), 10, "the settings are read")
    assert "pg_hba.conf rejects" in refused(user="banned")
    assert "no pg_hba.conf entry" in refused(user="postgres")
    for user in ("guest", "plain"):
        assert "password authentication failed" in refused(user=user, password="wrong")
        with gateway.connect(user=user, password="open") as connection:
            assert connection.execute("SELECT current_user, inet_client_addr()::text").fetchone() == (user, "127.0.0.1/32")
    # with no ident server it fails anyway: one that says what it would say here
    with fuzz_gateway.ident_server("known") as served:
        error = refused(user="known")
        assert error and (not served or "ident cannot be used through the gateway" in error), error


def test_what_a_startup_packet_may_say(gateway, shop):
    """Nothing in it unmarks a session or gets more than directly."""
    def marked(link):
        return wire.columns(link.answers(wire.query("SHOW mongo_change_stream.through_gateway"))[1][1]) == ["on"]

    for options in ({"options": "-c mongo_change_stream.through_gateway=off"}, {"mongo_change_stream.through_gateway": "off"}, {"_pq_.unknown": "x"}, {"application_name": "x" * 9000}):
        with Wire(gateway.port) as link:
            assert marked(link.login(**options)), options
    # with our setting it is longer than the server takes
    with Wire(gateway.port) as link:
        packet = wire.startup(application_name="x")
        link.send(wire.startup(application_name="x" * (9990 - len(packet))))
        found = link.rest()
        assert b"08P01" in found and b"too long for the gateway" in found
    # a session that replicates speaks another language
    with Wire(gateway.port) as link:
        link.login(database="shop", replication="database")
        assert wire.kinds(link.answers(wire.query("IDENTIFY_SYSTEM"))) == "TDCZ"
        assert wire.kinds(link.answers(wire.query("SELECT thing.name FROM things"))) == "EZ"
    # SCRAM's channel binding needs TLS, and who insists gets none without
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        gateway.connect(channel_binding="require")


def test_cancel_keys_are_the_servers(gateway):
    """Who does not know a session's key cancels nothing."""
    with gateway.connect() as connection:
        timer = threading.Timer(0.3, lambda: Wire(gateway.port).send(wire.message(b"", struct.pack("!III", 80877102, connection.info.backend_pid, 4711))).rest())
        timer.start()
        assert connection.execute("SELECT 1 FROM pg_sleep(1)").fetchone() == (1,)
        timer.join()


def test_ipv6(new_gateway):
    """A client of ::1 is one of ::1 for the server, too, where that listens there, and else of 127.0.0.1, as it could be itself."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no ::1")
    for addresses, seen in (("127.0.0.1,::1", "::1/128"), ("127.0.0.1", "127.0.0.1/32")):
        gateway = new_gateway(start=False)
        gateway.cluster.configure(listen_addresses=addresses)
        gateway.cluster.start()
        wait_until(lambda: "listens on ::1" in gateway.cluster.log_text(), 20, "it listens on ::1")
        with gateway.connect(host="::1") as connection:
            assert connection.execute("SELECT inet_client_addr()::text").fetchone() == (seen,)
        with gateway.connect() as connection:
            assert connection.execute("SELECT inet_client_addr()::text").fetchone() == ("127.0.0.1/32",)


def test_nothing_garbage_and_lengths(gateway):
    with Wire(gateway.port) as link:
        link.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert link.rest() == b""
    for packet in (struct.pack("!I", 7), struct.pack("!I", 10001), struct.pack("!II", 0xFFFFFFFF, 1), b"\0" * 8):
        with Wire(gateway.port) as link:
            link.send(packet)
            assert link.rest() == b""
    for packet in (struct.pack("!II", 8, 196608), struct.pack("!II", 9, 131072) + b"\0", struct.pack("!II", 13, 196608) + b"user\0", wire.startup()[:-1] + b"x"):
        with Wire(gateway.port) as link:
            link.send(struct.pack("!I", len(packet)) + packet[4:])
            assert link.rest()[:1] == b"E"
    for kind in b"QPBdX\0z":
        for length in (0x7FFFFFFF, 0xFFFFFFFF, 0x40000000, 3, 0):
            with gateway.wire("postgres") as link:
                link.send(bytes([kind]) + struct.pack("!I", length))
                found = link.rest()
                assert found[:1] == b"E" and b"08P01" in found and b"invalid message length" in found
    # a type that there is not is the server's to refuse
    with gateway.wire("postgres") as link:
        link.send(wire.message(b"!", b"abc"))
        assert b"invalid frontend message type" in link.rest()


def test_who_says_nothing_has_the_servers_time(new_gateway):
    gateway = new_gateway(settings={"authentication_timeout": "2s"})
    wait_until(gateway.listens, 30, "the gateway listens")
    for data in (b"", b"\0\0", wire.startup()[:20]):
        begin = time.monotonic()
        with Wire(gateway.port) as link:
            link.send(data)
            link.rest()
        assert 1 < time.monotonic() - begin < 15


def test_byte_by_byte(gateway, shop):
    with Wire(gateway.port) as link:
        data = wire.TLS + wire.startup(database="shop") + wire.query("SELECT thing.name::text FROM things WHERE thing.size.height = 40") + \
            wire.parse("SELECT thing.name::text FROM things WHERE thing.size.height = 75") + wire.bind() + wire.execute() + wire.SYNC
        for at in range(len(data)):
            link.send(data[at:at + 1])
        assert link.bytes(1) == b"N"
        link.until_ready()
        assert wire.columns(link.until_ready()[1][1]) == ["lamp"]
        assert wire.columns(link.until_ready()[2][1]) == ["table"]


def test_slow_readers_are_waited_for(gateway, shop):
    """What a client does not read is not piled up here."""
    process = gateway.supervisor()[1]

    def memory():
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{process}/status").read())[1])

    before = memory()
    with gateway.wire("shop") as link:
        link.send(wire.query("SELECT repeat('x', 1000000) FROM generate_series(1, 300)"))
        time.sleep(1)
        assert memory() < before + 50_000
        assert wire.kinds(link.until_ready()).count("D") == 300
        assert memory() < before + 50_000


def test_disconnects(gateway, shop):
    """Either side may go at any moment; the other one goes with it."""
    def sessions():
        return shop.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")

    before = sessions()
    whole = wire.parse("SELECT thing.name FROM things") + wire.bind() + wire.execute() + wire.SYNC
    for at in range(0, len(whole), 3):
        link = gateway.wire("shop")
        link.send(whole[:at])
        if at % 2:
            # by a reset
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.socket.close()
    wait_until(lambda: sessions() <= before, 20, "the server's sessions end with their clients")
    # the server ends a session: the client is told why
    with gateway.wire("shop") as link:
        pid = wire.columns(link.answers(wire.query("SELECT pg_backend_pid()"))[1][1])[0]
        shop.execute(f"SELECT pg_terminate_backend({pid})")
        assert b"57P01" in link.rest()
    # in the middle of a translation, too
    with gateway.wire("shop") as link, gateway.cluster.connect("shop") as blocker, blocker.transaction():
        pid = wire.columns(link.answers(wire.query("SELECT pg_backend_pid()"))[1][1])[0]
        blocker.execute("LOCK TABLE things IN ACCESS EXCLUSIVE MODE")
        link.send(wire.query("SELECT thing.name FROM things"))
        shop.wait_for("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", int(pid), expect="Lock")
        shop.execute(f"SELECT pg_terminate_backend({pid})")
        assert b"57P01" in link.rest()


def test_half_closed(gateway, shop):
    """A client that sends no more still gets its answers."""
    with gateway.wire("shop") as link:
        link.send(wire.query("SELECT pg_sleep(0.5)"), wire.query("SELECT thing.name::text FROM things WHERE thing.size.height = 40"))
        link.socket.shutdown(socket.SHUT_WR)
        link.until_ready()
        assert wire.columns(link.until_ready()[1][1]) == ["lamp"]
        assert link.rest() == b""


# ---------------------------------------------------------------- its life

@pytest.mark.crashes
def test_kill_restarts_nothing_else(gateway, shop):
    supervisor, process = gateway.supervisor()
    with gateway.cluster.connect() as direct, gateway.connect("shop") as connection:
        os.kill(process, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            for _ in range(100):
                connection.execute("SELECT 1")
        # nobody else notices, its supervisor being the same
        wait_until(gateway.listens, 20, "the gateway listens again")
        assert direct.execute("SELECT 1").fetchone() == (1,)
    again = wait_until(gateway.supervisor, 10, "its process is seen")
    assert again[0] == supervisor and again[1] != process
    assert [line for line in gateway.cluster.new_deaths() if "signal 9" not in line] == []
    with gateway.connect("shop") as connection:
        assert connection.execute("SELECT thing.name::text FROM things WHERE thing.size.height = 40").fetchall() == [("lamp",)]


@pytest.mark.crashes
@pytest.mark.faults
def test_pauses_between_deaths_grow(new_gateway):
    gateway = new_gateway()
    pauses = []
    for _ in range(4):
        wait_until(gateway.listens, 30, "the gateway listens")
        _, process = wait_until(gateway.supervisor, 10, "its process is seen")
        os.kill(process, signal.SIGKILL)
        begin = time.monotonic()
        wait_until(lambda: (gateway.supervisor() or (0, process))[1] != process, 30, "it is started again")
        pauses.append(time.monotonic() - begin)
    assert all(pause > least for pause, least in zip(pauses, (0.9, 1.9, 3.9, 7.9))), pauses


@pytest.mark.crashes
def test_its_end_is_the_servers(new_gateway):
    gateway = new_gateway()
    cluster = gateway.cluster
    wait_until(gateway.listens, 30, "the gateway listens")

    def gone(process):
        return not os.path.exists(f"/proc/{process}") or open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0] == "Z"

    for end in ("fast", "smart", "immediate", "kill", "supervisor", "crash"):
        wait_until(gateway.listens, 30, "the gateway listens")
        supervisor, process = wait_until(gateway.supervisor, 10, "its process is seen")
        # it has nothing of shared memory, and no file of the server's
        assert not [line for line in open(f"/proc/{process}/maps") if re.search(r" .w.s ", line)]
        assert not [name for name in os.listdir(f"/proc/{process}/fd") if str(cluster.data) in os.readlink(f"/proc/{process}/fd/{name}")]
        link = gateway.wire("postgres")
        if end == "kill":
            cluster.kill()
        elif end == "supervisor":
            os.kill(supervisor, signal.SIGTERM)
        elif end == "crash":
            with cluster.connect() as victim:
                os.kill(victim.info.backend_pid, signal.SIGSEGV)
        elif end == "smart":
            cluster.signal(signal.SIGTERM)
            # it waits for its clients
            time.sleep(0.5)
            assert not gone(process)
            link.send(wire.TERMINATE)
            assert cluster.stop("fast") < 10
        else:
            assert cluster.stop(end) < 10
            if end == "fast":
                assert b"57P01" in link.rest()
        wait_until(lambda: gone(process), 5, f"its process ends after {end}")
        link.socket.close()
        if not cluster.running:
            cluster.start()


def test_a_port_in_use(new_gateway):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway = new_gateway(settings={"mongo_change_stream.gateway_port": taken.getsockname()[1]})
        gateway.port = taken.getsockname()[1]
        wait_until(lambda: "could not listen on 127.0.0.1" in gateway.cluster.log_text(), 20, "the log says so")
        process = gateway.supervisor()
        time.sleep(6)
    wait_until(lambda: "listens on 127.0.0.1" in gateway.cluster.log_text(), 20, "it listens when the port is free")
    with gateway.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    log = gateway.cluster.log_text()
    assert log.count("could not listen on 127.0.0.1") == 1 and "Another process has that port" in log
    assert gateway.supervisor() == process


def test_settings_that_cannot_work(new_gateway):
    gateway = new_gateway(start=False)
    gateway.cluster.configure(listen_addresses="")
    gateway.cluster.start()
    wait_until(lambda: "the server does not listen on loopback" in gateway.cluster.log_text(), 20, "the log says so")
    assert gateway.supervisor() is None and not gateway.listens()
    assert "Add localhost to listen_addresses" in gateway.cluster.log_text()
    port = gateway.cluster.port
    gateway.cluster.stop()
    gateway.cluster.configure(listen_addresses="127.0.0.1", mongo_change_stream__gateway_port=port)
    gateway.cluster.start()
    wait_until(lambda: "gateway_port is the server's own port" in gateway.cluster.log_text(), 20, "the log says so")


class FewFiles:
    """An installation whose server may open a hundred files."""

    def __init__(self, installation, folder):
        self.installation = installation
        self.script = folder / "postgres-with-few-files"
        self.script.write_text(f'#!/bin/sh\nulimit -n 100\nexec {installation.program("postgres")} "$@"\n')
        self.script.chmod(0o755)

    def __getattr__(self, name):
        return getattr(self.installation, name)

    def program(self, name):
        return str(self.script) if name == "postgres" else self.installation.program(name)


def test_out_of_files(machine, installation):
    """Clients that are too many are told so, and the others go on."""
    gateway = Gateway(machine, FewFiles(installation, machine.new_folder("few")))
    try:
        wait_until(gateway.listens, 30, "the gateway listens")
        _, process = wait_until(gateway.supervisor, 10, "its process is seen")
        open_files = len(os.listdir(f"/proc/{process}/fd"))
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(gateway.connect())
            with pytest.raises(psycopg.OperationalError, match="the gateway has too many clients|error response during SSL exchange"):
                for _ in range(60):
                    stack.enter_context(gateway.connect())
            assert first.execute("SELECT 1").fetchone() == (1,)
        wait_until(lambda: "no file descriptors left" in gateway.cluster.log_text(), 10, "the log says so")
        wait_until(lambda: len(os.listdir(f"/proc/{process}/fd")) <= open_files + 1, 10, "files are given back")
        with gateway.connect() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        gateway.cluster.discard()


def test_on_a_standby(new_gateway, machine, installation):
    """It reads there, in the dialect, too."""
    gateway = new_gateway()
    database = gateway.cluster.create_database("shop")
    database.execute(PAGE)
    database.close()
    standby = Gateway(machine, installation, standby_of=gateway.cluster)
    try:
        wait_until(standby.listens, 30, "the standby's gateway listens")
        with standby.connect("shop") as connection:
            assert connection.execute("SELECT thing.name::text FROM things WHERE thing.size.height = 40").fetchall() == [("lamp",)]
    finally:
        standby.cluster.discard()


def test_random_messages(gateway, shop):
    """The fuzzer of `make fuzz`, for a while."""
    fuzz_gateway.attack(gateway.port, "shop", seconds=30, seed=int(time.time()))
    with gateway.connect("shop") as connection:
        assert connection.execute("SELECT thing.name::text FROM things WHERE thing.size.height = 40").fetchall() == [("lamp",)]


def test_pgbench(gateway):
    """No error by any of the protocols."""
    bindir = gateway.cluster.installation
    gateway.cluster.create_database("bench").close()
    environment = {**gateway.cluster.client_environment("bench"), "PGHOST": "127.0.0.1", "PGPORT": str(gateway.port)}
    assert subprocess.run([bindir.program("pgbench"), "-i", "-q", "-s", "2"], env=environment, capture_output=True).returncode == 0
    for mode in ("simple", "extended", "prepared"):
        done = subprocess.run([bindir.program("pgbench"), "-n", "-c", "4", "-T", "3", "-M", mode], env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "number of failed transactions: 0 " in done.stdout, done
    gateway.cluster.drop_database("bench")
