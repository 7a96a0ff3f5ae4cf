"""Handlers that do what they should not: ingest keeps its pace, and the status says what happened."""
import threading
import time

import pytest

from handlers import SEEN, call, handler, make_seen, seen, status, stream_with, sync, wait_state
from harness.machine import wait_until
from streams import patiently, unexpected_deaths

LETTERS = "SELECT event_id, sqlstate, error FROM change_stream_dead_letters ORDER BY event_id"


def keeps_pace(db, mdb, first, count=40):
    """Inserts documents one by one and waits for each of them in the table; the slowest of them, in seconds."""
    slowest = 0
    for number in range(first, first + count):
        begin = time.monotonic()
        mdb.c.insert_one({"_id": number})
        db.wait_for("SELECT count(*) FROM change_stream_events WHERE document_key->>'_id' = %s", str(number), expect=1)
        slowest = max(slowest, time.monotonic() - begin)
    return slowest


@pytest.mark.parametrize("what", ["sleeps", "loops", "loops and catches"])
def test_timeout(linked, mdb, what):
    """What takes longer than its timeout is cancelled, again and again if need be, and given up."""
    body = {"sleeps": "BEGIN PERFORM pg_sleep(1000); END", "loops": "BEGIN LOOP NULL; END LOOP; END",
            "loops and catches": "DECLARE tries int := 0; BEGIN BEGIN PERFORM pg_sleep(1000); EXCEPTION WHEN query_canceled THEN NULL; END;"
                                 " PERFORM pg_sleep(1000); END"}[what]
    stream_with(linked, mdb)
    handler(linked, "h", body=body, timeout="300 milliseconds", retry_attempts=1)
    assert keeps_pace(linked, mdb, 1, 3) < 1
    sync(linked)
    rows = linked.execute(LETTERS)
    assert [row[0] for row in rows] == [1, 2, 3] and {row[1] for row in rows} == {"57014"}
    assert linked.value("SELECT DISTINCT detail FROM change_stream_dead_letters") == "The handler ran longer than its timeout."


def test_pause_cancels(linked, mdb):
    """Pause, alter and drop do not wait for code that runs."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " PERFORM pg_sleep(50); END")
    mdb.c.insert_one({"_id": 1})
    for function, arguments in (("pause_change_handler", {}), ("alter_change_handler", {"timeout": "49 seconds"}), ("drop_change_handler", {})):
        if function != "pause_change_handler":
            call(linked, "resume_change_handler", "h")
        linked.wait_for("SELECT running_event FROM change_handler_status", expect=1)
        since = status(linked, "h")["running_since"]
        begin = time.monotonic()
        call(linked, function, "h", **arguments)
        if function == "alter_change_handler":
            wait_until(lambda: (status(linked, "h")["running_since"] or since) > since, 5, "it runs anew")
        else:
            linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream handler'"
                            " AND datname = current_database() AND state = 'active'", expect=0, timeout=5)
        assert time.monotonic() - begin < 2
    assert seen(linked) == [] and linked.value("SELECT count(*) FROM change_stream_dead_letters") == 0


def test_shutdown_while_code_runs(linked, new_cluster, mongo, mdb):
    cluster = new_cluster()
    db = cluster.create_database("stopped")
    db.create_server(mongo.uri, mdb.name)
    make_seen(db)
    stream_with(db, mdb)
    db.execute("CREATE TABLE gate ()")
    handler(db, "h", body="BEGIN " + SEEN + " IF change.event_id = 2 AND NOT EXISTS (SELECT FROM gate) THEN PERFORM pg_sleep(50); END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    db.wait_for("SELECT running_event FROM change_handler_status", expect=2)
    db.close()
    assert cluster.stop("fast") < 2
    cluster.start()
    db = type(db)(cluster, "stopped")
    db.wait_for("SELECT running_event FROM change_handler_status", expect=2)
    db.execute("INSERT INTO gate DEFAULT VALUES")
    call(db, "pause_change_handler", "h")
    call(db, "resume_change_handler", "h")
    sync(db)
    assert seen(db) == [1, 2, 3]
    db.close()


def test_memory(linked, postgres, mdb):
    """Code without measure gets an error, and the process lives on."""
    make_seen(linked)
    linked.execute("ALTER SYSTEM SET mongo_change_stream.handler_memory = '100MB'")
    linked.execute("SELECT pg_reload_conf()")
    try:
        stream_with(linked, mdb)
        handler(linked, "h", retry_attempts=0, body="DECLARE a text[] := '{}'; BEGIN IF change.event_id = 2 THEN LOOP"
                " a := a || repeat(md5(random()::text), 100000); END LOOP; END IF; " + SEEN + " END")
        mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
        sync(linked)
        assert seen(linked) == [1, 3]
        assert [row[:2] for row in linked.execute(LETTERS)] == [(2, "53200")]
    finally:
        linked.execute("ALTER SYSTEM RESET mongo_change_stream.handler_memory")
        linked.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("statement, sqlstate", [
    ("COMMIT;", "2D000"), ("ROLLBACK;", "2D000"),
    ("BEGIN RAISE division_by_zero; EXCEPTION WHEN others THEN RAISE 'again'; END;", "P0001"),
    ("EXECUTE 'LISTEN x';", "0A000"), ("UPDATE change_stream_progress SET last_event_id = 0; PERFORM 1/0;", "22012")])
def test_statements(linked, mdb, statement, sqlstate):
    """Each becomes a dead letter; the events around it are done."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="BEGIN " + SEEN + " IF change.event_id = 2 THEN " + statement + " END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    sync(linked)
    assert seen(linked) == [1, 3]
    assert [row[:2] for row in linked.execute(LETTERS)] == [(2, sqlstate)]


def test_procedure_that_commits(linked, mdb):
    make_seen(linked)
    linked.execute("CREATE PROCEDURE commits(e change_stream_events) LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO seen (event_id) VALUES (e.event_id); COMMIT; END $$")
    stream_with(linked, mdb)
    handler(linked, "h", procedure="commits", retry_attempts=1)
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    assert linked.execute(LETTERS) == [(1, "2D000", "invalid transaction termination")] and seen(linked) == []


def test_caught_errors_are_no_failures(linked, mdb):
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN BEGIN " + SEEN + " RAISE 'x'; EXCEPTION WHEN others THEN NULL; END; " + SEEN + " END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    sync(linked)
    assert seen(linked) == [1, 2, 3] and status(linked, "h")["failures"] == 0


def test_deferred_constraint(linked, mdb):
    """What is checked at the end of a transaction is the event's failure, too."""
    linked.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    linked.execute("CREATE TABLE seen (seq bigserial, event_id bigint, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    linked.execute("INSERT INTO parent VALUES (1), (3)")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=1, body="INSERT INTO seen (event_id, parent) VALUES (change.event_id, change.event_id)")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    sync(linked)
    assert seen(linked) == [1, 3] and [row[:2] for row in linked.execute(LETTERS)] == [(2, "23503")]


def test_settings_do_not_leak(linked, mdb):
    """What code sets is put back after its event, and a role that it takes on."""
    linked.execute("CREATE TABLE seen (seq bigserial, event_id bigint, path text, role text, zone text)")
    linked.execute("CREATE ROLE handler_guest")
    linked.execute("GRANT ALL ON seen, seen_seq_seq TO handler_guest")
    try:
        stream_with(linked, mdb)
        linked.execute("SET timezone = 'Asia/Tokyo'")
        handler(linked, "h", body="BEGIN INSERT INTO public.seen (event_id, path, role, zone) VALUES (change.event_id, current_setting('search_path'),"
                " current_user, current_setting('timezone')); SET search_path = pg_catalog; SET ROLE handler_guest; SET timezone = 'UTC'; END")
        mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
        sync(linked)
        assert linked.execute("SELECT DISTINCT path, role, zone FROM seen") == [('"$user", public', "postgres", "Asia/Tokyo")]
        assert linked.row(LETTERS) is None
    finally:
        linked.execute("DROP OWNED BY handler_guest")
        linked.execute("DROP ROLE handler_guest")


@pytest.mark.parametrize("lock", ["LOCK TABLE change_stream_events IN ACCESS EXCLUSIVE MODE;",
                                  "PERFORM FROM change_stream_progress WHERE stream_name = 's' FOR UPDATE;"])
def test_locks_against_ingest(linked, mdb, lock):
    """Code that holds what its stream's worker waits for is cancelled."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=1, body="BEGIN " + SEEN + " IF change.event_id = 1 THEN " + lock + " PERFORM pg_sleep(30); END IF; END")
    mdb.c.insert_one({"_id": 1})
    linked.wait_for("SELECT running_event FROM change_handler_status", expect=1)
    begin = time.monotonic()
    mdb.c.insert_one({"_id": 2})
    linked.wait_for("SELECT last_event_id FROM change_stream_progress", expect=2, timeout=10)
    assert time.monotonic() - begin < 3
    wait_until(lambda: (mdb.c.insert_one({}), seen(linked) != [])[1], 20, "the handler goes on", pause=0.2)
    sync(linked)
    (event, sqlstate, error), = linked.execute(LETTERS)
    assert (event, sqlstate) == (1, "55P03") and "waited for a lock" in error


def test_alter_table_beside_code_that_sleeps(linked, mdb):
    """DDL on the events' table waits for the code, and the stream would wait for the DDL: the code gives way."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " IF nextval('tries') = 1 THEN PERFORM pg_sleep(30); END IF; END")
    linked.execute("CREATE SEQUENCE tries")
    mdb.c.insert_one({"_id": 1})
    linked.wait_for("SELECT running_event FROM change_handler_status", expect=1)
    begin = time.monotonic()
    thread = threading.Thread(target=lambda: linked.connect().execute("ALTER TABLE change_stream_events ALTER processing_error SET STORAGE EXTENDED"))
    thread.start()
    linked.wait_for("SELECT count(*) FROM pg_locks WHERE NOT granted", expect=1)
    mdb.c.insert_one({"_id": 2})
    linked.wait_for("SELECT last_event_id FROM change_stream_progress", expect=2, timeout=10)
    thread.join()
    assert time.monotonic() - begin < 3
    sync(linked)
    assert seen(linked) == [1, 2]


def test_drops_its_own_stream(linked, mdb):
    """It may: what it did commits, and nothing of stream and handler is left."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " IF change.event_id = 2 THEN PERFORM drop_change_stream('s'); END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 3)])
    linked.wait_for("SELECT count(*) FROM change_streams", expect=0)
    assert seen(linked) == [1, 2]
    assert linked.row("SELECT (SELECT count(*) FROM change_handlers), (SELECT count(*) FROM change_stream_events)") == (0, 0)
    linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mongo_change_stream %%er' AND datname = current_database()", expect=0)


def test_pauses_itself(linked, mdb):
    """The event that pauses its handler is done, and the last."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " IF change.event_id = 2 THEN PERFORM pause_change_handler('h'); END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    wait_state(linked, "h", "paused")
    linked.wait_for("SELECT count(*) FROM seen", expect=3)
    assert status(linked, "h")["last_event_id"] == 3


def test_cancel_of_an_operator(linked, mdb):
    """pg_cancel_backend ends the attempt, pg_terminate_backend the process; neither loses the event."""
    make_seen(linked)
    linked.execute("CREATE SEQUENCE tries")
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " IF nextval('tries') < 3 THEN PERFORM pg_sleep(60); END IF; END")
    mdb.c.insert_one({"_id": 1})
    for number, function in enumerate(("pg_cancel_backend", "pg_terminate_backend"), 1):
        linked.wait_for("SELECT running_event IS NOT NULL AND (SELECT last_value FROM tries) = %s FROM change_handler_status", number)
        linked.execute(f"SELECT {function}((SELECT pid FROM change_handler_status))")
    sync(linked)
    assert seen(linked) == [1] and linked.row("SELECT failures FROM change_handler_status") == (1,)


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_kills_its_process(linked, postgres, mdb):
    """Code that kills its own process on one event: after some restarts of the cluster that event is given up, alone."""
    make_seen(linked)
    linked.execute("CREATE TABLE deaths (n int)")
    stream_with(linked, mdb)
    # what a crash of a library would do
    linked.execute("CREATE FUNCTION die() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
                   " EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || pg_backend_pid()); END $$")
    handler(linked, "h", body="BEGIN " + SEEN + " IF change.event_id = 20 THEN PERFORM die(); PERFORM pg_sleep(60); END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 41)])
    wait_until(lambda: patiently(lambda: linked.value("SELECT count(*) FROM change_stream_dead_letters")) == 1, 60, "it is given up")
    patiently(lambda: sync(linked))
    assert seen(linked) == [number for number in range(1, 41) if number != 20]
    assert [row[:2] for row in linked.execute(LETTERS)] == [(20, "57P02")]
    deaths = postgres.new_deaths()
    kills = [line for line in deaths if "signal 9" in line]
    assert 3 <= len(kills) <= 7 and unexpected_deaths(deaths, len(kills)) == []
