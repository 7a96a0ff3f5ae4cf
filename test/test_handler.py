"""Handlers: what they see, in which order, what becomes of failures, and what the status says."""
import threading
import time

import pytest

from handlers import SEEN, call, handler, make_seen, seen, status, stream_with, sync, wait_state
from streams import drop

EVENT = "SELECT processing_status, processing_attempts, processing_error, processing_time_ms IS NOT NULL FROM change_stream_events WHERE event_id = %s"


def test_each_event_once_in_order(linked, mdb):
    """A body with a path into the document; effects, position and status."""
    make_seen(linked)
    linked.execute("CREATE TABLE orders (id int PRIMARY KEY, n int)")
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN INSERT INTO orders VALUES ((change.full_document->>'_id')::int, (change.full_document['n'])::int);"
                              " " + SEEN + " END")
    mdb.c.insert_many([{"_id": number, "n": number * 2} for number in range(1, 1501)])
    sync(linked)
    assert seen(linked) == list(range(1, 1501))
    assert linked.row("SELECT count(*), sum(n) FROM orders") == (1500, 1500 * 1501)
    assert linked.execute("SELECT DISTINCT processing_status, processing_attempts, processing_error FROM change_stream_events") == \
        [("processed", 1, None)]
    assert linked.value("SELECT bool_and(processing_time_ms > 0) FROM change_stream_events")
    one = status(linked, "h")
    assert (one["last_event_id"], one["behind"], one["failures"], one["running_event"]) == (1500, 0, 0, None)
    assert one["state"] in ("active", "idle")


def letters(db, name="h"):
    return db.execute("SELECT event_id, attempts, sqlstate, error FROM change_stream_dead_letters WHERE handler_name = %s ORDER BY event_id", name)


def test_dead_letters(linked, mdb):
    """What always fails becomes a dead letter after its attempts; all else is done once, in order."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=2, body="BEGIN " + SEEN + " IF (change.full_document->>'n')::int % 10 = 0 THEN"
            " RAISE EXCEPTION 'number %', change.full_document->>'n' USING ERRCODE = 'MC001', DETAIL = 'it is round'; END IF; END")
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(1, 101)])
    sync(linked)
    assert seen(linked) == [number for number in range(1, 101) if number % 10]
    assert letters(linked) == [(number, 3, "MC001", f"number {number}") for number in range(10, 101, 10)]
    assert linked.row("SELECT (event).full_document->>'n', (event).event_id, detail, context LIKE '%%RAISE%%', stream_name"
                      " FROM change_stream_dead_letters WHERE event_id = 20") == ("20", 20, "it is round", True, "s")
    assert linked.row(EVENT, 20) == ("error", 3, "number 20", True)
    assert linked.row(EVENT, 21) == ("processed", 1, None, True)
    assert status(linked, "h")["failures"] == 30


def test_retries_succeed(linked, mdb):
    """An event that fails twice and then does not: done once, with three attempts."""
    make_seen(linked)
    linked.execute("CREATE SEQUENCE tries")
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN " + SEEN + " IF change.event_id = 5 AND nextval('tries') < 3 THEN RAISE 'not yet'; END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 11)])
    sync(linked)
    assert seen(linked) == list(range(1, 11))
    assert linked.value("SELECT last_value FROM tries") == 3
    assert linked.row(EVENT, 5) == ("processed", 3, None, True)
    assert letters(linked) == []


def test_retry_is_shown(linked, mdb):
    """While an event is retried, the view, the event and its successors say so; a pause ends it at once."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_delay="1 hour", max_retry_delay="1 hour",
            body="BEGIN " + SEEN + " IF change.event_id = 2 AND NOT EXISTS (SELECT FROM allowed) THEN RAISE 'not allowed'; END IF; END")
    linked.execute("CREATE TABLE allowed ()")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    one = wait_state(linked, "h", "retrying")
    assert "event 2" in one["reason"] and "not allowed" in one["reason"]
    linked.wait_for("SELECT last_event_id FROM change_handler_status", expect=1)
    assert linked.row(EVENT, 2)[:3] == ("retry", 1, "not allowed")
    assert linked.row(EVENT, 3)[:2] == ("pending", 0)
    call(linked, "pause_change_handler", "h")
    assert status(linked, "h")["state"] == "paused"
    linked.execute("INSERT INTO allowed DEFAULT VALUES")
    call(linked, "resume_change_handler", "h")
    sync(linked)
    assert seen(linked) == [1, 2, 3]


def test_on_failure_stop(linked, mdb):
    """The handler stops before the event that failed; resumed, it tries it anew."""
    make_seen(linked)
    linked.execute("CREATE TABLE allowed ()")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=1, on_failure="stop",
            body="BEGIN " + SEEN + " IF change.event_id = 2 AND NOT EXISTS (SELECT FROM allowed) THEN RAISE 'not allowed'; END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 4)])
    one = wait_state(linked, "h", "error")
    assert "event 2 failed 2 times: not allowed" in one["reason"] and one["last_event_id"] == 1
    assert linked.row(EVENT, 2)[0] == "error"
    linked.wait_for("SELECT pid IS NULL FROM change_handler_status")
    linked.execute("INSERT INTO allowed DEFAULT VALUES")
    call(linked, "resume_change_handler", "h")
    sync(linked)
    assert seen(linked) == [1, 2, 3] and letters(linked) == []
    assert linked.row(EVENT, 2)[:3] == ("processed", 3, None)


def test_retry_and_discard_dead_letters(linked, mdb):
    """Retried in the caller's transaction; twice at the same time, each is done once."""
    make_seen(linked)
    linked.execute("CREATE TABLE allowed (low int)")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0,
            body="BEGIN IF NOT EXISTS (SELECT FROM allowed WHERE change.event_id > low) THEN RAISE 'not allowed'; END IF; " + SEEN + " END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 21)])
    sync(linked)
    assert len(letters(linked)) == 20 and call(linked, "retry_dead_letters", "h") == 0
    assert {row[1] for row in letters(linked)} == {2}
    linked.execute("INSERT INTO allowed VALUES (10)")
    first, second = linked.connect(autocommit=False), linked.connect(autocommit=False)
    assert call(first, "retry_dead_letters", "h") == 10
    counts = []
    thread = threading.Thread(target=lambda: counts.append(call(second, "retry_dead_letters", "h")))
    thread.start()
    linked.wait_for("SELECT count(*) FROM pg_locks WHERE NOT granted", expect=1)
    first.commit()
    thread.join()
    second.commit()
    assert counts == [0]
    assert seen(linked) == list(range(11, 21)) and [row[0] for row in letters(linked)] == list(range(1, 11))
    assert linked.row(EVENT, 11)[::2] == ("processed", None) and linked.row(EVENT, 1)[0] == "error"
    assert call(linked, "discard_dead_letters", "h") == 10 and letters(linked) == []


def test_start_at(linked, mdb):
    stream_with(linked, mdb, 5)
    linked.value("SELECT sync_change_stream('s')")
    for name, start in (("now", "now"), ("first", "earliest"), ("third", "3"), ("later", "8")):
        make_seen(linked, name)
        handler(linked, name, start_at=start, body=SEEN.replace("seen", name))
    mdb.c.insert_many([{"_id": number} for number in range(6, 11)])
    sync(linked)
    assert [seen(linked, name) for name in ("now", "first", "third", "later")] == \
        [list(range(6, 11)), list(range(1, 11)), list(range(3, 11)), list(range(8, 11))]


def test_condition_and_procedure(linked, mdb):
    """A condition over the event's columns; a procedure and a function; what the condition leaves out is processed."""
    make_seen(linked)
    make_seen(linked, "called")
    linked.execute("CREATE PROCEDURE note(e change_stream_events) LANGUAGE sql AS $$ INSERT INTO called (event_id) VALUES ((e).event_id) $$")
    linked.execute("CREATE FUNCTION noted(e change_stream_events) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO seen (event_id) VALUES (e.event_id); RETURN 'x'; END $$")
    stream_with(linked, mdb)
    handler(linked, "p", procedure="note", condition="operation_type = 'delete'")
    handler(linked, "f", procedure="public.noted", condition="(change.document_key->>'_id')::int > 2")
    mdb.c.insert_many([{"_id": number} for number in range(1, 5)])
    mdb.c.delete_one({"_id": 1})
    sync(linked)
    assert seen(linked, "called") == [5] and seen(linked) == [3, 4], (status(linked, "f"), linked.execute("SELECT * FROM change_handlers"))
    assert linked.execute("SELECT event_id, processing_status, processing_attempts FROM change_stream_events ORDER BY 1") == \
        [(1, "processed", 0), (2, "processed", 0), (3, "processed", 1), (4, "processed", 1), (5, "processed", 1)]
    # replaced, and gone: the first is called at once, the second stops the handler
    linked.execute("CREATE OR REPLACE FUNCTION noted(e change_stream_events) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO seen (event_id) VALUES (e.event_id + 1000); RETURN 'x'; END $$")
    mdb.c.insert_one({"_id": 6})
    sync(linked)
    assert seen(linked) == [3, 4, 1006]
    linked.execute("DROP PROCEDURE note")
    mdb.c.delete_one({"_id": 6})
    assert "note" in wait_state(linked, "p", "error")["reason"]
    linked.execute("CREATE PROCEDURE note(e change_stream_events) LANGUAGE sql AS $$ INSERT INTO called (event_id) VALUES ((e).event_id) $$")
    call(linked, "resume_change_handler", "p")
    sync(linked)
    assert seen(linked, "called") == [5, 7]


def test_two_handlers_share_a_status(linked, mdb):
    """Pending while one has still to see an event; the sums of both; no lock on events while one sleeps."""
    make_seen(linked)
    make_seen(linked, "slow")
    linked.execute("CREATE TABLE gate (open boolean)")
    linked.execute("INSERT INTO gate VALUES (false)")
    stream_with(linked, mdb)
    handler(linked, "quick", body=SEEN)
    handler(linked, "sleepy", body="BEGIN INSERT INTO slow (event_id) VALUES (change.event_id);"
                                   " WHILE change.event_id = 50 AND NOT (SELECT open FROM gate) LOOP PERFORM pg_sleep(0.05); END LOOP; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 101)])
    linked.wait_for("SELECT running_event FROM change_handler_status WHERE handler_name = 'sleepy'", expect=50)
    linked.wait_for("SELECT last_event_id FROM change_handler_status WHERE handler_name = 'quick'", expect=100)
    assert len(seen(linked)) == 100 and seen(linked, "slow") == []
    assert linked.row(EVENT, 100)[:2] == ("pending", 1)
    assert linked.execute("SELECT event_id FROM change_stream_events FOR UPDATE NOWAIT")
    begin = time.monotonic()
    for number in range(101, 151):
        mdb.c.insert_one({"_id": number})
        assert linked.value("SELECT sync_change_stream('s')")
    assert time.monotonic() - begin < 20
    assert status(linked, "sleepy")["running_event"] == 50
    linked.execute("UPDATE gate SET open = true")
    sync(linked)
    assert len(seen(linked, "slow")) == 150
    assert linked.execute("SELECT DISTINCT processing_status, processing_attempts FROM change_stream_events") == [("processed", 2)]
    # one fails for good, the other does not
    call(linked, "alter_change_handler", "sleepy", body="BEGIN RAISE 'no'; END", retry_attempts=0)
    mdb.c.insert_one({"_id": 151})
    sync(linked)
    assert linked.row(EVENT, 151)[:3] == ("error", 2, "no"), status(linked, "sleepy")


def test_nothing_stays_behind(linked, postgres, mdb):
    """A body's function hangs on nothing, so that it hinders neither DROP EXTENSION nor DROP ROLE."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body=SEEN)
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    function = linked.value("SELECT oid FROM pg_proc WHERE proname = 'change_handler_h'")
    assert function
    assert linked.value("SELECT count(*) FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = %s"
                        " AND refclassid <> 'pg_namespace'::regclass", function) == 0
    assert linked.value("SELECT count(*) FROM pg_shdepend WHERE classid = 'pg_proc'::regclass AND objid = %s", function) == 0
    linked.execute("DROP EXTENSION mongo_change_stream CASCADE")
    linked.wait_for("SELECT count(*) FROM pg_proc WHERE proname = 'change_handler_h'", expect=0)


def test_drop(linked, mdb):
    """A dropped handler leaves nothing; what waited for it alone is processed; a dropped stream takes its handlers."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", body=SEEN)
    handler(linked, "never", body="BEGIN RAISE 'never'; END", retry_attempts=0)
    mdb.c.insert_many([{"_id": number} for number in range(1, 6)])
    sync(linked)
    call(linked, "pause_change_handler", "h")
    call(linked, "pause_change_handler", "never")
    mdb.c.insert_many([{"_id": number} for number in range(6, 11)])
    assert linked.value("SELECT sync_change_stream('s')")
    statuses = "SELECT processing_status, count(*) FROM change_stream_events GROUP BY 1 ORDER BY 1"
    assert linked.execute(statuses) == [("error", 5), ("pending", 5)]
    call(linked, "drop_change_handler", "never")
    assert linked.execute(statuses) == [("error", 5), ("pending", 5)]
    assert linked.value("SELECT count(*) FROM change_stream_dead_letters") == 0
    call(linked, "drop_change_handler", "h")
    assert linked.execute(statuses) == [("error", 5), ("processed", 5)]
    mdb.c.insert_one({"_id": 11})
    assert linked.value("SELECT sync_change_stream('s')")
    assert linked.row(EVENT, 11) == ("processed", 0, None, True)
    handler(linked, "h", body=SEEN)
    drop(linked, "s")
    assert linked.row("SELECT (SELECT count(*) FROM change_handlers), (SELECT count(*) FROM change_handler_progress)") == (0, 0)
    linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream handler' AND datname = current_database()", expect=0)
    assert seen(linked) == [1, 2, 3, 4, 5]


def test_replay(linked, mdb):
    """A projection is built again in one transaction; a dry run tells what would fail and changes nothing."""
    linked.execute("CREATE TABLE totals (customer text PRIMARY KEY, total numeric)")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="""
        INSERT INTO totals VALUES (change.full_document->>'customer', (change.full_document->>'amount')::numeric)
        ON CONFLICT (customer) DO UPDATE SET total = totals.total + excluded.total""")
    mdb.c.insert_many([{"customer": "ab"[number % 2], "amount": number} for number in range(1, 11)] + [{"customer": "a", "amount": "x"}])
    sync(linked)
    assert linked.execute("SELECT * FROM totals ORDER BY 1") == [("a", 30), ("b", 25)]
    failed = linked.execute("SELECT event_id, sqlstate, error FROM replay_changes('h', 1, 11, dry_run => true)")
    assert failed == [(11, "22P02", 'invalid input syntax for type numeric: "x"')]
    assert linked.execute("SELECT * FROM totals ORDER BY 1") == [("a", 30), ("b", 25)]
    with linked.connect(autocommit=False) as connection:
        connection.execute("TRUNCATE totals")
        assert len(connection.execute("SELECT * FROM replay_changes('h', 2, 11)").fetchall()) == 1
    assert linked.execute("SELECT * FROM totals ORDER BY 1") == [("a", 30), ("b", 24)]
    assert linked.value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'change%_h' AND pronamespace = pg_my_temp_schema()") == 0


def test_code_that_retries_its_own_dead_letters(linked, mdb):
    """Running a handler again from within it takes nothing from the run that is under way."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="BEGIN " + SEEN + " PERFORM retry_dead_letters('h'); END")
    mdb.c.insert_many([{"n": number} for number in range(10)])
    sync(linked)
    assert letters(linked) == []
    assert seen(linked) == list(range(1, 11))


@pytest.mark.parametrize("workers", [3])
def test_workers(linked, mdb, workers):
    """Parts of the events in parallel: each once, and in order within a document."""
    linked.execute("CREATE TABLE seen (seq bigserial, event_id bigint PRIMARY KEY, key int, pid int DEFAULT pg_backend_pid())")
    stream_with(linked, mdb)
    handler(linked, "h", workers=workers, body="BEGIN INSERT INTO seen (event_id, key) VALUES (change.event_id, (change.document_key->>'_id')::int);"
                                                " IF change.event_id % 50 = 7 THEN RAISE 'no'; END IF; END", retry_attempts=1)
    mdb.c.insert_many([{"_id": number, "n": 0} for number in range(20)])
    for round in range(20):
        for number in range(20):
            mdb.c.update_one({"_id": number}, {"$inc": {"n": 1}})
    sync(linked)
    bad = [number for number in range(1, 421) if number % 50 == 7]
    assert sorted(linked.column("SELECT event_id FROM seen")) == [number for number in range(1, 421) if number not in bad]
    assert [row[0] for row in letters(linked)] == bad
    assert linked.value("SELECT count(*) FROM (SELECT event_id < lag(event_id) OVER (PARTITION BY key ORDER BY seq) AS late FROM seen) x WHERE late") == 0
    assert linked.value("SELECT count(DISTINCT pid) FROM seen") == workers
    assert linked.value("SELECT max(n) FROM (SELECT count(DISTINCT pid) AS n FROM seen GROUP BY key) x") == 1
    assert linked.execute("SELECT processing_status, count(*) FROM change_stream_events GROUP BY 1 ORDER BY 1") == \
        [("error", len(bad)), ("processed", 420 - len(bad))]
    call(linked, "alter_change_handler", "h", workers=1)
    mdb.c.insert_many([{"_id": number} for number in range(100, 110)])
    sync(linked)
    assert linked.value("SELECT count(*) FROM seen WHERE key >= 100") == 10


def test_the_last_handler_finishes_an_event(linked, mdb):
    """Handlers that come to the same events at the same time, and do nothing with them: none is left pending."""
    stream_with(linked, mdb)
    for number in range(4):
        handler(linked, f"h{number}", body="NULL", condition="full_document IS NULL")
    for number in range(400):
        mdb.c.insert_one({"_id": number})
    sync(linked)
    assert linked.execute("SELECT processing_status, count(*) FROM change_stream_events GROUP BY 1") == [("processed", 400)]
