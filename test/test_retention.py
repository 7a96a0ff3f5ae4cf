"""Deleting old events: how fast, how long at a time, and which stay."""
import time

import pytest

from groups import make, wait_together
from streams import create, status, sync

LEFT = "SELECT array_agg(event_id ORDER BY event_id) FROM change_stream_events WHERE stream_name = %s"
OLD = "SELECT alter_change_stream(stream_name, retention => '1 millisecond') FROM change_streams"


def fill(collection, count):
    for first in range(0, count, 10_000):
        collection.insert_many(({"_id": number} for number in range(first, min(first + 10_000, count))), ordered=False)


def test_far_behind(linked, mdb):
    """Many old events go in seconds, though nothing else happens; a few that something refers to stay, and hold up none of the others."""
    create(linked, "s", collection="c", max_await_time="1500 milliseconds")
    linked.execute("CREATE TABLE notes (stream_name text, event_id bigint, FOREIGN KEY (stream_name, event_id) REFERENCES change_stream_events)")
    fill(mdb.c, 50_000)
    sync(linked, "s", "120 seconds")
    linked.execute("INSERT INTO notes VALUES ('s', 1), ('s', 7), ('s', 30000)")
    linked.execute(OLD)
    linked.wait_for(LEFT, "s", expect=[1, 7, 30_000, 50_000], timeout=25)
    linked.wait_for("SELECT reason LIKE '%%(3)%%notes%%' FROM change_stream_status", expect=True)


def test_followed_meanwhile(linked, mdb):
    """A deletion that takes long goes by pieces of a fraction of a second, one behind the other, and events come between them."""
    create(linked, "s", collection="c", max_await_time="1500 milliseconds")
    fill(mdb.c, 5_000)
    sync(linked, "s", "60 seconds")
    linked.execute("CREATE TABLE deleted (event_id bigint, chunk xid8, at timestamptz)")
    linked.execute("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.pg_sleep(0.0005);"
                   " INSERT INTO public.deleted VALUES (OLD.event_id, pg_catalog.pg_current_xact_id(), pg_catalog.clock_timestamp()); RETURN OLD; END $$")
    linked.execute("CREATE TRIGGER note BEFORE DELETE ON change_stream_events FOR EACH ROW EXECUTE FUNCTION note()")
    linked.execute(OLD)
    linked.wait_for("SELECT count(*) > 0 FROM deleted", expect=True)
    mdb.c.insert_one({"_id": "next"})
    sync(linked, "s", "10 seconds")
    # most are still to be deleted when the event has come
    assert linked.value("SELECT count(*) FROM deleted") < 4_000
    linked.wait_for(LEFT, "s", expect=[5_001], timeout=30)
    assert linked.column("SELECT event_id FROM deleted ORDER BY 1") == list(range(1, 5_001))
    chunks, longest, pause = linked.row("SELECT count(*), max(last - first), max(first - before) FROM (SELECT min(at) AS first, max(at) AS last,"
                                        " lag(max(at)) OVER (ORDER BY min(at)) AS before FROM deleted WHERE event_id < 5000 GROUP BY chunk) AS c")
    assert chunks >= 10 and longest.total_seconds() < 0.5 and pause.total_seconds() < 0.9, (chunks, longest, pause)


def test_trigger_for_statements(linked, mdb):
    """One that refuses every deletion keeps what is old, which is told; what is not old is no matter, and nothing is tried all the time."""
    create(linked, "s", collection="c", max_await_time="1500 milliseconds")
    fill(mdb.c, 200)
    sync(linked, "s")
    linked.execute("CREATE SEQUENCE tried; GRANT USAGE ON SEQUENCE tried TO PUBLIC")
    linked.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_catalog.nextval('public.tried');"
                   " RAISE restrict_violation USING MESSAGE = 'events are kept'; END $$")
    linked.execute("CREATE TRIGGER refuse BEFORE DELETE ON change_stream_events FOR EACH STATEMENT EXECUTE FUNCTION refuse()")
    linked.execute("SELECT alter_change_stream('s', retention => '1 hour')")
    linked.wait_for("SELECT last_value > 1 FROM tried")
    sync(linked, "s")
    assert "kept" not in status(linked, "s")["reason"]
    linked.execute(OLD)
    linked.wait_for("SELECT reason LIKE '%%(199)%%events are kept%%' FROM change_stream_status", timeout=25)
    tried = linked.value("SELECT last_value FROM tried")
    linked.execute("SELECT pg_sleep(3)")
    assert linked.value("SELECT last_value FROM tried") == tried
    assert linked.value("SELECT count(*) FROM change_stream_events") == 200


def test_together(shared, mongo, mdb):
    """Of streams that one process follows, each has its turn, and all are followed meanwhile."""
    make(shared, mdb, 3, max_await_time="1500 milliseconds")
    wait_together(shared, 3)
    for number in range(3):
        fill(mdb[f"c{number}"], 20_000)
    for number in range(3):
        sync(shared, f"s{number}", "120 seconds")
    wait_together(shared, 3)
    shared.execute(OLD)
    began = time.monotonic()
    while shared.value("SELECT count(*) FROM change_stream_events") > 6:
        assert time.monotonic() - began < 40
        mdb.c0.insert_one({})
        sync(shared, "s0", "10 seconds")
    assert status(shared, "s1")["state"] == "active"


@pytest.mark.faults
def test_another_stream_of_the_name(linked, mdb):
    """One that takes the name in the transaction that drops the other has events of the same numbers, which get old in their turn."""
    create(linked, "s", collection="c")
    fill(mdb.c, 20)
    sync(linked, "s")
    linked.execute(OLD)
    linked.wait_for(LEFT, "s", expect=[20], timeout=25)
    # from the second round on it begins where the one before has ended
    mdb.c.insert_many([{"_id": f"more {number}"} for number in range(10)])
    linked.wait_for(LEFT, "s", expect=[30], timeout=25)
    linked.execute("BEGIN; SELECT drop_change_stream('s'); "
                   "SELECT create_change_stream('s', collection => 'd', max_await_time => '100 milliseconds'); COMMIT")
    fill(mdb.d, 10)
    sync(linked, "s")
    linked.execute(OLD)
    linked.wait_for(LEFT, "s", expect=[10], timeout=25)
