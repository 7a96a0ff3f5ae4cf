"""More handlers than processes: who is idle leaves, who is busy takes turns, streams come first."""
import time

import pytest

from handlers import call, handler, status, sync
from streams import create, wait_state

HANDLERS = [f"h{number}" for number in range(6)]
# what one waits for a process is less than a second; beside other tests, what it does then takes its time, too
SOON = 2.5


@pytest.fixture
def crowded(new_cluster, mongo, mdb):
    """PostgreSQL's own eight processes: less both launchers and one in reserve, five are for a stream and six handlers."""
    cluster = new_cluster(settings={"max_worker_processes": 8})
    db = cluster.create_database("crowded")
    db.create_server(mongo.uri, mdb.name)
    create(db, "s", collection="c")
    wait_state(db, "s", "active")
    db.execute("CREATE TABLE seen (handler text, event_id bigint, received_at timestamptz, at timestamptz DEFAULT clock_timestamp(),"
               " pid int DEFAULT pg_backend_pid(), PRIMARY KEY (handler, event_id))")
    return db


def body(name):
    return f"INSERT INTO seen VALUES ('{name}', change.event_id, change.received_at);"


def six(db, work=""):
    """Six handlers that write down when they had an event, beside other work; from the first event on."""
    db.execute("SELECT drop_change_handler(handler_name) FROM change_handlers")
    db.execute("TRUNCATE seen")
    for name in HANDLERS:
        handler(db, name, start_at="1", retry_delay="10 minutes", body=work + body(name))


def test_idle_ones_leave(crowded, mdb):
    """To who has something to do, which is not worth a process for each event; those that wait for a retry do, too."""
    six(crowded)
    for number in range(40):
        mdb.c.insert_one({"_id": number})
        time.sleep(0.05)
    sync(crowded, timeout="20 seconds")
    assert crowded.row("SELECT count(*), max(extract(epoch FROM at - received_at))::float8 < %s FROM seen WHERE event_id > 5", SOON) == (210, True)
    assert crowded.value("SELECT count(DISTINCT pid) FROM seen") < 40
    for name in HANDLERS[:5]:
        call(crowded, "alter_change_handler", name, body=f"PERFORM 1 / (change.event_id - 41); {body(name)}")
    mdb.c.insert_one({"_id": 40})
    crowded.wait_for("SELECT count(*) FROM change_handler_status WHERE state = 'retrying'", expect=5)
    crowded.wait_for("SELECT extract(epoch FROM at - received_at)::float8 < %s FROM seen WHERE event_id = 41", SOON, expect=True)
    # nor does one that has left miss the repair
    for name in HANDLERS[:5]:
        call(crowded, "alter_change_handler", name, body=body(name))
    sync(crowded, timeout="20 seconds")
    assert crowded.value("SELECT count(*) FROM seen") == 41 * 6


def test_busy_ones_take_turns(crowded, mdb):
    """None has a moment's rest: 120 events for each, of which a turn takes some 20."""
    db = crowded
    mdb.c.insert_many([{"_id": number} for number in range(120)])
    db.wait_for("SELECT count(*) FROM change_stream_events", expect=120)
    began = db.value("SELECT clock_timestamp()")
    six(db, "PERFORM pg_sleep(0.02); ")
    db.wait_for("SELECT count(*) > 0 FROM change_handler_status WHERE state = 'starting' AND reason LIKE 'no free worker process, so handlers take turns%%'",
                expect=True)
    # a stream is not asked to wait
    create(db, "other", collection="other")
    at = time.monotonic()
    wait_state(db, "other", "active")
    assert time.monotonic() - at < SOON
    sync(db, timeout="60 seconds")
    gaps = db.execute("SELECT handler, max(gap)::float8, count(DISTINCT pid) FROM (SELECT handler, pid, extract(epoch FROM"
                      " at - lag(at, 1, %s) OVER (PARTITION BY handler ORDER BY event_id)) AS gap FROM seen) s GROUP BY 1", began)
    assert max(gap for _, gap, _ in gaps) < SOON, gaps
    assert all(1 < pids < 20 for _, _, pids in gaps), gaps
    # and what each did was done once, in order
    assert db.value("SELECT count(*) FROM seen") == 120 * 6
    assert db.value("SELECT bool_and(right_order) FROM (SELECT at >= lag(at, 1, at) OVER (PARTITION BY handler ORDER BY event_id) AS right_order"
                    " FROM seen) s")
    assert all(status(db, name)["failures"] == 0 for name in HANDLERS)
