"""Handlers under kills: each one's effects are there exactly once and in order, and the dead letters are those that must be."""
import os
import random
import signal
import time

import pytest

from handlers import call, handler, status, sync
from groups import create_beside
from harness.machine import wait_until
from streams import patiently, unexpected_deaths, worker

EVENTS = int(os.environ.get("EVENTS", "2000"))
KILLS = max(EVENTS // 200, 8)
LUCKY, STRICT, PLAIN, SETS = "lucky", "strict", "plain", "sets"


def make(db):
    """Handlers: one writes, one fails at random on one event in twenty, one always on every 97th, and so does one that runs on sets."""
    for name in (LUCKY, STRICT, PLAIN, SETS):
        db.execute(f"CREATE TABLE {name} (seq bigserial, event_id bigint, n int)")
    create_beside(db, "s", collection="c")
    write = "INSERT INTO {} (event_id, n) VALUES (change.event_id, (change.full_document->>'n')::int);"
    handler(db, PLAIN, body=write.format(PLAIN))
    handler(db, LUCKY, body=f"BEGIN {write.format(LUCKY)} IF random() < 0.05 THEN RAISE 'bad luck'; END IF; END",
            retry_attempts=20, retry_delay="2 milliseconds", max_retry_delay="10 milliseconds")
    handler(db, STRICT, body=f"BEGIN {write.format(STRICT)} IF change.event_id % 97 = 0 THEN RAISE 'never'; END IF; END",
            retry_attempts=1, retry_delay="2 milliseconds")
    handler(db, SETS, each="batch", retry_attempts=1, retry_delay="2 milliseconds",
            body=f"BEGIN INSERT INTO {SETS} (event_id, n) SELECT event_id, (full_document->>'n')::int FROM changes;"
                 " IF EXISTS (SELECT FROM changes WHERE event_id % 97 = 0) THEN RAISE 'never'; END IF; END")


def check(db):
    """The oracle."""
    every = list(range(1, EVENTS + 1))
    bad = [number for number in every if number % 97 == 0]
    gave_up = db.execute("SELECT handler_name, event_id, sqlstate FROM change_stream_dead_letters WHERE handler_name NOT IN (%s, %s)", STRICT, SETS)
    assert gave_up == []
    for name, expected in ((PLAIN, every), (LUCKY, every), (STRICT, [number for number in every if number % 97]),
                           (SETS, [number for number in every if number % 97])):
        assert db.column(f"SELECT event_id FROM {name} ORDER BY seq") == expected, name
        assert db.value(f"SELECT count(*) FROM {name} JOIN change_stream_events USING (event_id) WHERE (full_document->>'n')::int <> n") == 0
    assert db.execute("SELECT handler_name, event_id FROM change_stream_dead_letters ORDER BY event_id, 1") == \
        [(name, number) for number in bad for name in (SETS, STRICT)]
    assert db.column("SELECT event_id FROM change_stream_events WHERE processing_status <> 'processed' ORDER BY 1") == bad
    assert db.value("SELECT count(*) FROM change_stream_events WHERE processing_status = 'error'") == len(bad)
    assert db.value("SELECT count(*) FROM change_stream_events WHERE processing_attempts < 3") == 0


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
        return True
    except ProcessLookupError:
        return False


def feed(mdb, first, last):
    mdb.c.insert_many([{"_id": number, "n": number} for number in range(first, last + 1)])


@pytest.mark.crashes
@pytest.mark.timeout(600)
def test_kill_workers(linked, postgres, mdb):
    """kill -9 of handlers and of the stream's worker at random moments; each restarts the whole cluster."""
    luck = random.Random()
    make(linked)
    begin = postgres.log_position()
    killed = 0
    step = EVENTS // KILLS
    for number in range(KILLS):
        feed(mdb, number * step + 1, (number + 1) * step if number < KILLS - 1 else EVENTS)
        victim = luck.choice((PLAIN, LUCKY, STRICT, SETS, "s"))
        if victim == "s":
            pid = patiently(lambda: worker(linked, "s"))
        else:
            pid = wait_until(lambda: patiently(lambda: (status(linked, victim) or {}).get("pid")), 30, f"{victim} has a worker")
        time.sleep(luck.random() ** 2 / 2)
        if kill(pid):
            killed += 1
            wait_until(lambda: f"({pid}) was terminated by signal 9" in postgres.log_text(begin)
                       or f"(PID {pid}) was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
    patiently(lambda: sync(linked, timeout="120 seconds"))
    check(linked)
    assert unexpected_deaths(postgres.new_deaths(), killed) == []


def test_kill_postmaster(new_cluster, mongo, mdb):
    cluster = new_cluster()
    db = cluster.create_database("killed")
    db.create_server(mongo.uri, mdb.name)
    make(db)
    for number in range(3):
        feed(mdb, number * EVENTS // 4 + 1, (number + 1) * EVENTS // 4)
        time.sleep(random.random())
        db.close()
        cluster.kill()
        cluster.start()
        db = type(db)(cluster, "killed")
    feed(mdb, 3 * EVENTS // 4 + 1, EVENTS)
    sync(db, timeout="120 seconds")
    check(db)
    db.close()


def test_terminate(linked, mdb):
    """pg_terminate_backend and pauses at random moments: nobody else notices."""
    luck = random.Random()
    make(linked)
    for number in range(10):
        feed(mdb, number * EVENTS // 10 + 1, (number + 1) * EVENTS // 10)
        victim = luck.choice((PLAIN, LUCKY, STRICT, SETS))
        time.sleep(luck.random() / 5)
        if number % 3 == 0:
            call(linked, "pause_change_handler", victim)
            call(linked, "resume_change_handler", victim)
        elif number % 3 == 1:
            call(linked, "alter_change_handler", victim, timeout="59 seconds")
        else:
            linked.execute("SELECT pg_terminate_backend(pid, 5000) FROM change_handler_status WHERE handler_name = %s AND pid IS NOT NULL", victim)
    sync(linked, timeout="120 seconds")
    check(linked)
