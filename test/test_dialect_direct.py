"""Texts in the dialect that are run: where their rows go, over either protocol, and what is kept of them."""
import subprocess

import psycopg
import pytest

TEXT = """DO LANGUAGE change_stream $do$
  CREATE TABLE IF NOT EXISTS parcels (id int, body document);
  DELETE FROM parcels;
  INSERT INTO parcels VALUES (1, '{"to": {"city": "Bern"}, "price": 1.5}'), (2, '{"to": {"city": "Chur"}, "price": 7}');
  SELECT 'first' AS of_two;
  SELECT id, body.to.city, body.price, body FROM parcels ORDER BY id;
  ANALYZE parcels
$do$"""
ROWS = [(1, "Bern", "1.5", '{"to": {"city": "Bern"}, "price": 1.5}'), (2, "Chur", "7", '{"to": {"city": "Chur"}, "price": 7}')]
FETCH = "FETCH ALL FROM change_stream_result"


@pytest.fixture
def session(db):
    """A connection of its own, so that nothing of the harness stands between the protocol and us; it lists what it is told."""
    with db.connect() as connection:
        connection.told = []
        connection.add_notice_handler(lambda diag: connection.told.append(diag.message_primary))
        yield connection


def extended(session, text):
    """Sends a text over the extended protocol."""
    result = session.pgconn.exec_params(text.encode(), [])
    if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        raise psycopg.DatabaseError(result.error_message.decode())
    return result


def results(cursor):
    """Each result with rows that the client was sent."""
    found = []
    while True:
        if cursor.description:
            found.append(([column.name for column in cursor.description], [column.type_code for column in cursor.description],
                          cursor.statusmessage, cursor.fetchall()))
        if not cursor.nextset():
            return found


def test_each_select_is_a_result(session):
    found = results(session.execute(TEXT))
    assert [(names, status) for names, _, status, _ in found] == \
        [(["of_two"], "SELECT 1"), (["id", "city", "price", "body"], "SELECT 2")]
    assert found[1][3] == ROWS and found[1][1][1:] == [25, 25, 25]
    assert session.told == []
    # and within a transaction, whose other statements see what was made
    with session.transaction():
        assert len(results(session.execute(TEXT))) == 2
        assert session.execute("SELECT count(*) FROM parcels").fetchone() == (2,)
    # several commands in one query message, of which DO is one
    found = results(session.execute(f"SELECT 1 AS before; {TEXT}; SELECT 2 AS behind"))
    assert [names for names, *_ in found] == [["before"], ["of_two"], ["id", "city", "price", "body"], ["behind"]]


def test_rows_come_as_they_are_made(session):
    """A result is neither collected nor counted first: half a million rows are no memory of the server's."""
    session.execute("SET work_mem = '64kB'")
    with session.cursor() as cursor:
        cursor.execute("DO LANGUAGE change_stream $$ SELECT i, to_document(i) FROM generate_series(1, 500000) i; SELECT 1 AS one $$")
        assert cursor.rowcount == 500000 and cursor.fetchone() == (1, "1")
        assert cursor.nextset() and cursor.fetchall() == [(1,)]


def test_psql_shows_them(db, session):
    shown = subprocess.run([db.cluster.installation.program("psql"), "-X", "-A", "-t", db.name], input=TEXT + ";", capture_output=True,
                           text=True, check=True, env=db.cluster.client_environment())
    assert shown.stdout.splitlines() == ["first", *("|".join(str(value) for value in row) for row in ROWS), "DO"]


def test_extended_protocol_leaves_a_cursor(session):
    extended(session, TEXT)
    assert session.told == ['the rows of the last SELECT are in the cursor "change_stream_result"']
    assert session.execute("SELECT is_holdable FROM pg_cursors").fetchall() == [(True,)]
    assert session.execute(FETCH).fetchall() == ROWS
    # an error of later leaves it, as it leaves one that was declared WITH HOLD
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.execute("SELECT 1 / 0")
    assert session.execute("FETCH BACKWARD 1 FROM change_stream_result").fetchall() == ROWS[1:]
    # the next one takes its place, also if what it reads is gone by then
    extended(session, "DO LANGUAGE change_stream $$ CREATE TABLE gone (d document); INSERT INTO gone VALUES ('5'); SELECT d.a, d FROM gone; DROP TABLE gone $$")
    assert session.execute(FETCH).fetchall() == [(None, "5")]
    session.execute("CLOSE change_stream_result")
    # no SELECT, no cursor
    extended(session, "DO LANGUAGE change_stream $$ DROP TABLE parcels $$")
    assert session.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_cursor_of_a_transaction(session):
    """In a transaction of the client's it lives as long as that, where the SELECT is the last statement."""
    session.execute(TEXT)
    session.execute("BEGIN")
    extended(session, "DO LANGUAGE change_stream $$ SELECT id, body.price FROM parcels ORDER BY id -- the last $$")
    assert session.execute("FETCH 1 FROM change_stream_result").fetchall() == [(1, "1.5")]
    session.execute("COMMIT")
    assert session.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)


def test_error_drops_the_cursor(session):
    session.execute(TEXT)
    with pytest.raises(psycopg.DatabaseError, match="division by zero"):
        extended(session, "DO LANGUAGE change_stream $$ SELECT id FROM parcels; SELECT 1 / (id - 1) FROM parcels; SELECT 2 $$")
    assert session.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)
    # rows that only a statement that writes returns are told of
    session.told.clear()
    extended(session, "DO LANGUAGE change_stream $$ DELETE FROM parcels RETURNING id $$")
    assert session.told == ["2 rows are discarded"]


def test_rights_are_the_callers(db, session):
    """Whatever a text makes for its translation, it makes by the rights of who translates."""
    session.execute("CREATE TABLE secret (d document)")
    session.execute("CREATE ROLE direct_reader; SET ROLE direct_reader")
    try:
        for statement in ("DO LANGUAGE change_stream $$ SELECT d.a FROM secret $$", "SELECT change_stream_query('SELECT d.a FROM secret')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
        text = "CREATE VIEW public.seen AS SELECT d FROM secret; DROP TABLE secret; SELECT d.a FROM public.seen"
        assert session.execute("SELECT change_stream_translate(%s)", [text]).fetchone() == (text,)
    finally:
        session.execute("RESET ROLE; DROP ROLE direct_reader")


def test_translation_waits_for_no_lock(db, session):
    """What another session holds is waited for a second, and then left out."""
    session.execute("CREATE TABLE held (d document); CREATE VIEW over_held AS SELECT d FROM held")
    with db.connect(autocommit=False) as other:
        other.execute("LOCK TABLE over_held IN ACCESS SHARE MODE")
        session.execute("SET statement_timeout = '20s'")
        text = "DROP VIEW over_held; CREATE VIEW over_held AS SELECT d, 1 AS n FROM held; SELECT d.a FROM over_held"
        assert session.execute("SELECT change_stream_translate(%s)", [text]).fetchone()[0].endswith("SELECT d['a'] AS a FROM over_held")
        assert session.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock'").fetchone() == (0,)


@pytest.mark.parametrize("column, shown", [
    ("count(body.sent - body.packed)", 1),
    ("CASE body.sent - body.packed WHEN 0 THEN 1 ELSE 2 END", 2),
    ("cardinality(array_agg(body.sent - body.packed))", 1),
    ("CASE body.sent - body.packed WHEN 0 THEN body.n ELSE body.n END", "7"),
    ("CASE WHEN body.n > 0 THEN body.sent - body.packed END", "00:00:01"),
    ("max(body.sent - body.packed)", "00:00:01"),
])
def test_only_documents_are_durations(session, column, shown):
    """What comes from a difference of dates need not be one, nor be a document."""
    session.execute("DROP TABLE IF EXISTS times; CREATE TABLE times (body document); INSERT INTO times VALUES ("
                    """'{"n": {"$numberLong": "7"}, "sent": {"$date": "2024-05-01T00:00:01Z"}, "packed": {"$date": "2024-05-01T00:00:00Z"}}')""")
    found = results(session.execute(f"DO LANGUAGE change_stream $do$ SELECT {column} AS value FROM times $do$"))
    assert found[0][3] == [(shown,)]


@pytest.mark.parametrize("closing", ["CLOSE change_stream_result", "CLOSE ALL"])
def test_a_cursor_that_the_text_closes(session, closing):
    extended(session, f"DO LANGUAGE change_stream $do$ SELECT 1 AS a; {closing}; SET search_path = public $do$")
    assert session.told == []
    assert session.execute("SELECT count(*) FROM pg_cursors WHERE name = 'change_stream_result'").fetchone() == (0,)


@pytest.mark.parametrize("table", [
    "(id int, body document) PARTITION BY RANGE ((id + counted(1)))",
    "(id int, body document, n int GENERATED ALWAYS AS (id + counted(1)) STORED)",
    "(id int, body document, EXCLUDE ((id + counted(1)) WITH =))",
    "(body document, LIKE others INCLUDING ALL)",
    "(id int PRIMARY KEY, body document, CONSTRAINT positive CHECK (id > counted(1)), FOREIGN KEY (id) REFERENCES others DEFERRABLE)",
])
def test_the_translation_runs_no_function(session, table):
    """What a text makes is made while it is translated, but nothing of it is evaluated."""
    session.execute("""
        DROP TABLE IF EXISTS others CASCADE; DROP SEQUENCE IF EXISTS calls;
        CREATE SEQUENCE calls;
        CREATE OR REPLACE FUNCTION counted(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM nextval(''calls''); RETURN n; END';
        CREATE TABLE others (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id + counted(1)) STORED)""")
    session.execute("ALTER SEQUENCE calls RESTART")
    with session.transaction():
        # with the analysis of GROUP BY, which knows that all depends on a key
        made = session.execute("SELECT change_stream_translate(%s)", [f"CREATE TABLE made {table}; SELECT body.to.city FROM made"]).fetchone()[0]
        assert "body['to']['city']" in made
        assert session.execute("SELECT last_value, is_called FROM calls").fetchone() == (1, False)
        assert session.execute("SELECT count(*) FROM pg_locks WHERE relation = 'others'::regclass AND mode = 'ShareRowExclusiveLock'").fetchone() == (0,)
    made = session.execute("SELECT change_stream_translate($$CREATE TABLE made (id int PRIMARY KEY, body document); SELECT id, body.to.city FROM made GROUP BY id$$)").fetchone()[0]
    assert "body['to']['city']" in made


def test_event_triggers_do_not_see_the_translation(session):
    """Not even those of a statement that translates: what a text would make and drop is not done by it."""
    session.execute("""
        DROP TABLE IF EXISTS seen, doomed, made; CREATE TABLE seen (what text); CREATE TABLE doomed (body document);
        CREATE FUNCTION note_commands() RETURNS event_trigger LANGUAGE plpgsql AS
          'BEGIN INSERT INTO seen SELECT command_tag FROM pg_event_trigger_ddl_commands(); END';
        CREATE FUNCTION note_drops() RETURNS event_trigger LANGUAGE plpgsql AS
          'BEGIN INSERT INTO seen SELECT object_identity FROM pg_event_trigger_dropped_objects() WHERE original; END';
        CREATE EVENT TRIGGER commands ON ddl_command_end EXECUTE FUNCTION note_commands();
        CREATE EVENT TRIGGER drops ON sql_drop EXECUTE FUNCTION note_drops()""")
    try:
        session.execute("TRUNCATE seen")
        session.execute("""CREATE TABLE made AS SELECT change_stream_translate(
                           'CREATE TABLE other (body document); DROP TABLE doomed; SELECT body.a FROM other')""")
        assert session.execute("SELECT what FROM seen").fetchall() == [("CREATE TABLE AS",)]
    finally:
        session.execute("DROP EVENT TRIGGER commands; DROP EVENT TRIGGER drops; DROP FUNCTION note_commands, note_drops; DROP TABLE seen, doomed; DROP TABLE IF EXISTS made")


DIFFERENCES = """SELECT id, body.sent - body.packed AS took, body.n - 2 AS number, max(body.sent - body.packed) OVER () AS longest, at - body.packed AS age
                 FROM times ORDER BY id"""
SHOWN = [(1, "00:00:01", "5", "30:00:00", "2 days"), (2, "30:00:00", "6", "30:00:00", "48:00:01")]


@pytest.fixture
def times(session):
    session.execute("""CREATE TABLE times (id int, at timestamptz, body document); INSERT INTO times VALUES
        (1, '2024-05-03T00:00:00Z', '{"n": {"$numberLong": "7"}, "sent": {"$date": "2024-05-01T00:00:01Z"}, "packed": {"$date": "2024-05-01T00:00:00Z"}}'),
        (2, '2024-05-03T00:00:01Z', '{"n": {"$numberLong": "8"}, "sent": {"$date": "2024-05-02T06:00:00Z"}, "packed": {"$date": "2024-05-01T00:00:00Z"}}')""")
    return session


def shown(rows):
    """A timedelta as PostgreSQL writes the interval."""
    return [tuple("2 days" if str(value) in ("2 days, 0:00:00", "48:00:00") else "48:00:01" if str(value) == "2 days, 0:00:01" else value for value in row) for row in rows]


def test_differences_of_dates_everywhere(times):
    """A difference of dates is an interval for a client of DO, in the cursor, in what the functions return, and in a view where it can be nothing else."""
    assert shown(results(times.execute(f"DO LANGUAGE change_stream $do$ {DIFFERENCES} $do$"))[0][3]) == SHOWN
    for begin, end in (("", ""), ("BEGIN", "COMMIT")):
        times.execute(begin)
        extended(times, f"DO LANGUAGE change_stream $do$ {DIFFERENCES} $do$")
        assert shown(times.execute(FETCH).fetchall()) == SHOWN
        assert shown(times.execute("FETCH BACKWARD 1 FROM change_stream_result").fetchall()) == SHOWN[1:]
        times.execute(end)
    # the rows are those of when it ran, and others take their place
    extended(times, f"DO LANGUAGE change_stream $do$ {DIFFERENCES}; DELETE FROM times WHERE id = 1; SELECT 1 AS one; {DIFFERENCES} $do$")
    assert shown(times.execute(FETCH).fetchall()) == [SHOWN[1]]
    times.execute("CLOSE change_stream_result")
    found = times.execute("SELECT change_stream_query(%s)", [DIFFERENCES]).fetchall()
    assert found == [('{"id": 2, "took": "30:00:00", "number": {"$numberLong": "6"}, "longest": "30:00:00", "age": "48:00:01"}',)]
    found = times.execute(f"SELECT * FROM change_stream_query_as($do$ {DIFFERENCES} $do$) AS t(id int, took text, number text, longest bigint, age text)").fetchall()
    assert found == [(2, "30:00:00", "6", 108000000, "48:00:01")]
    times.execute(f"DO LANGUAGE change_stream $do$ CREATE VIEW lasts AS {DIFFERENCES}; CREATE VIEW written AS SELECT (body.sent - body.packed)::interval AS took FROM times $do$")
    assert [message for message in times.told if "milliseconds" in message] == \
        [f'column "{name}" is a document, and may be a number of milliseconds' for name in ("took", "longest")]
    assert times.execute("SELECT pg_typeof(took)::text, pg_typeof(age)::text, age::text FROM lasts").fetchall() == [("document", "interval", "48:00:01")]
    assert times.execute("SELECT took::text FROM written").fetchall() == [("30:00:00",)]


def test_an_error_while_a_cursor_is_filled(times):
    times.execute("UPDATE times SET body = '5' WHERE id = 2")
    with pytest.raises(psycopg.DatabaseError, match="division by zero"):
        extended(times, "DO LANGUAGE change_stream $do$ SELECT body.sent - body.packed AS took, 1 / (2 - id) FROM times $do$")
    assert times.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)
    # nothing is watched any more
    assert times.execute("SELECT body['sent'] - body['packed'] FROM times WHERE id = 1").fetchall() == [('{"$numberLong": "1000"}',)]
