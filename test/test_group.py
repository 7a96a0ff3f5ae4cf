"""Streams that are followed together, by one process and one cursor: who joins, who leaves, and that nothing is lost or told twice."""
import os
import random
import signal
import time

import pytest

import oracle
from harness.machine import wait_until
from streams import Writers, alter, answers, create, drop, patiently, pause, resume, status, sync, unexpected_deaths, wait_state

GROUPS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream group' AND datname = current_database()"
TOGETHER = ("SELECT count(*) FROM change_stream_status s JOIN pg_stat_activity a USING (pid)"
            " WHERE a.backend_type = 'mongo_change_stream group' AND s.state = 'active'")
ALONE = ("SELECT count(*) FROM change_stream_status s JOIN pg_stat_activity a USING (pid)"
         " WHERE a.backend_type = 'mongo_change_stream worker' AND s.stream_name = %s")


@pytest.fixture
def shared(db, mongo, mdb):
    """A new database with a server whose streams share a cursor."""
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="true")
    return db


def make(db, mdb, count, **options):
    """Streams s0, s1 … of collections c0, c1 …."""
    for number in range(count):
        mdb.create_collection(f"c{number}")
    for number in range(count):
        create(db, f"s{number}", collection=f"c{number}", **options)


def wait_together(db, count, timeout=40):
    db.wait_for(TOGETHER, expect=count, timeout=timeout)
    assert db.value(GROUPS) == 1


def compare(db, mongo, mdb, since, streams):
    """Each stream holds what the oracle says; returns how many events all have."""
    for number in streams:
        patiently(lambda: sync(db, f"s{number}", "60 seconds"), 90)
    return sum(oracle.compare(db, f"s{number}", mongo, since, mdb.name, where=oracle.in_collection(f"c{number}")) for number in streams)


def test_one_cursor(shared, mongo, mdb):
    """Streams of one kind are followed by one process and one cursor, each with what is its own; a database's stream is among them."""
    since = oracle.mark(mongo)
    make(shared, mdb, 5)
    create(shared, "all")
    wait_together(shared, 6)
    wait_until(lambda: len(answers(mongo.client, mdb.name)) == 1, 10, "one cursor")
    with Writers(mongo, mdb.name, [f"c{number}" for number in range(5)]) as writers:
        writers.wait(500)
    sync(shared, "all")
    assert compare(shared, mongo, mdb, since, range(5)) > 400
    assert oracle.compare(shared, "all", mongo, since, mdb.name) > 400
    assert shared.value(TOGETHER) == 6
    assert len(set(shared.column("SELECT pid FROM change_stream_status"))) == 1
    assert "shares" in status(shared, "s1")["reason"]


def test_option_off(shared, mongo, mdb):
    """share_cursor 'false' sends them back to processes of their own, and 'true' brings them together again."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with Writers(mongo, mdb.name, ["c0", "c1", "c2"]) as writers:
        shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'false')")
        shared.wait_for(GROUPS, expect=0)
        for number in range(3):
            shared.wait_for(ALONE, f"s{number}", expect=1)
        writers.wait(100)
        shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'true')")
        wait_together(shared, 3)
        writers.wait(100)
    compare(shared, mongo, mdb, since, range(3))


def test_come_and_go(shared, mongo, mdb):
    """One is paused, one altered, one dropped, one made while the others are followed."""
    since = oracle.mark(mongo)
    make(shared, mdb, 4)
    wait_together(shared, 4)
    with Writers(mongo, mdb.name, [f"c{number}" for number in range(5)]) as writers:
        writers.wait(50)
        pause(shared, "s0")
        assert status(shared, "s0")["state"] == "paused"
        alter(shared, "s1", notify="heads")
        drop(shared, "s2")
        writers.wait(50)
        late = oracle.mark(mongo)
        create(shared, "s4", collection="c4")
        resume(shared, "s0")
        writers.wait(100)
        wait_together(shared, 4)
        writers.wait(50)
    compare(shared, mongo, mdb, since, (0, 1, 3))
    sync(shared, "s4")
    first = shared.value("SELECT min(resume_token) FROM change_stream_events WHERE stream_name = 's4'")
    assert oracle.token_time(first) > late
    tokens = [token for token in (row["resume_token"] for row in map(oracle.columns, oracle.history(mongo, late, mdb.name))
                                  if row["collection_name"] == "c4") if token >= first]
    assert shared.column("SELECT resume_token FROM change_stream_events WHERE stream_name = 's4' ORDER BY event_id") == tokens


def test_failing_trigger(shared, mongo, mdb):
    """A stream whose user's trigger fails goes its own way; the others do not notice."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    shared.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$")
    shared.execute("CREATE TRIGGER fail BEFORE INSERT ON change_stream_events FOR EACH ROW WHEN (new.stream_name = 's1') EXECUTE FUNCTION fail()")
    for number in range(3):
        mdb[f"c{number}"].insert_one({"_id": 1})
    stopped = wait_state(shared, "s1", "error")
    assert "not this one" in (stopped["last_error"] or "") + stopped["reason"]
    for number in (0, 2):
        sync(shared, f"s{number}")
    shared.wait_for(TOGETHER, expect=2)
    shared.execute("DROP TRIGGER fail ON change_stream_events")
    resume(shared, "s1")
    compare(shared, mongo, mdb, since, range(3))


@pytest.mark.faults
def test_far_behind(shared, mongo, mdb):
    """A stream that begins in the past catches up by itself and joins then."""
    since = oracle.mark(mongo)
    mdb.c3.insert_many([{"_id": number, "text": "x" * 200} for number in range(5000)])
    time.sleep(12)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    create(shared, "s3", collection="c3", start_at=str(since.as_datetime()))
    mdb.c0.insert_one({"_id": 1})
    sync(shared, "s0")
    wait_together(shared, 4)
    assert compare(shared, mongo, mdb, since, (0, 1, 2)) == 1
    sync(shared, "s3")
    assert shared.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 's3'") >= 5000


def test_filters_and_operations(shared, mongo, mdb):
    """What MongoDB would filter for a stream alone is filtered here, to the same effect; also with fields added and updates looked up."""
    mdb.create_collection("c0")
    twins = {
        "plain": {"filter": "full_document->>'kind' = 'a'"},
        "local": {"filter": "length(full_document->>'kind') = 1 AND operation_type <> 'delete'"},
        "some": {"operations": ["update", "delete"]},
        "both": {"filter": "operation_type = 'insert' AND (full_document->'n')::int > 50", "operations": ["insert", "update"]},
        "added": {"filter": "operation_type <> 'delete'", "add_fields": "shout = upper(operation_type)"},
    }
    for name, options in twins.items():
        create(shared, name, collection="c0", **options)
    wait_together(shared, len(twins))
    shared.create_server(mongo.uri, mdb.name, name="apart", password_required="false", share_cursor="false")
    for name, options in twins.items():
        create(shared, f"{name}_alone", collection="c0", server="apart", **options)
        wait_state(shared, f"{name}_alone", "active")
    for number in range(200):
        mdb.c0.insert_one({"_id": number, "n": number % 100, "kind": "abc"[number % 3]})
    mdb.c0.update_many({"n": {"$lt": 30}}, {"$set": {"kind": "a"}})
    mdb.c0.delete_many({"n": {"$gt": 80}})
    mdb.c0.rename("d0")
    mdb.c0.insert_one({"_id": 1000, "n": 60, "kind": "a"})
    mdb.drop_collection("c0")
    columns = "event_id, operation_type, collection_name, resume_token, full_document::text, extra::text"
    for name in twins:
        sync(shared, name)
        sync(shared, f"{name}_alone")
        found = [shared.execute(f"SELECT {columns} FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)
                 for stream in (name, f"{name}_alone")]
        assert found[0] == found[1] and len(found[0]) > 20, name


def test_slow_one_leaves(shared, mongo, mdb):
    """A stream whose transactions take long does not hold up the others for longer than some of them."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    create(shared, "slow", collection="c0", filter="pg_sleep(0.05) IS NOT NULL AND operation_type = 'insert'")
    wait_together(shared, 4)
    for _ in range(8):
        mdb.c0.insert_many([{"text": "x"} for _ in range(30)])
        mdb.c1.insert_one({})
        time.sleep(0.2)
    shared.wait_for(ALONE, "slow", expect=1)
    compare(shared, mongo, mdb, since, range(3))
    sync(shared, "slow", "60 seconds")
    assert shared.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'slow'") == 240


def test_ends_of_collections(shared, mongo, mdb):
    """A collection dropped, renamed and renamed onto another, and the database dropped: each stream sees its own of that."""
    since = oracle.mark(mongo)
    make(shared, mdb, 4)
    wait_together(shared, 4)
    for number in range(4):
        mdb[f"c{number}"].insert_one({"_id": 1})
    mdb.drop_collection("c0")
    mdb.c1.rename("c2", dropTarget=True)
    mdb.c0.insert_one({"_id": 2})
    for number in range(4):
        sync(shared, f"s{number}")
    mongo.client.drop_database(mdb.name)
    mdb.c3.insert_one({"_id": 3})
    for number in range(4):
        sync(shared, f"s{number}", "60 seconds")
    told = {number: shared.column("SELECT operation_type FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", f"s{number}")
            for number in range(4)}
    assert told[0] == ["insert", "drop", "insert", "drop"]
    assert told[1] == ["insert", "rename"]
    assert told[2][0] == "insert" and "gap" in told[2]
    assert told[3] == ["insert", "drop", "insert"]


def test_transactions_are_whole(shared, mongo, mdb):
    """A transaction of MongoDB's over several collections is written for each stream in one of its own."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with mongo.client.start_session() as session:
        for _ in range(5):
            with session.start_transaction():
                for number in range(600):
                    mdb[f"c{number % 3}"].insert_one({"text": "x" * 100}, session=session)
    compare(shared, mongo, mdb, since, range(3))
    assert shared.value("SELECT max(n) FROM (SELECT count(DISTINCT xmin::text) AS n FROM change_stream_events"
                        " GROUP BY stream_name, cluster_time) t") == 1


@pytest.mark.crashes
@pytest.mark.faults
@pytest.mark.timeout(600)
def test_random_life(shared, postgres, mongo, mdb):
    """Kills, terminations, pauses and alterations at random: each stream's rows are the oracle's."""
    luck = random.Random()
    since = oracle.mark(mongo)
    count = 12
    make(shared, mdb, count)
    killed = 0
    with Writers(mongo, mdb.name, [f"c{number}" for number in range(count)]) as writers:
        for _ in range(60):
            stream = f"s{luck.randrange(count)}"
            what = luck.random()
            if what < 0.1:
                pids = patiently(lambda: shared.column("SELECT DISTINCT pid FROM change_stream_status WHERE pid IS NOT NULL"))
                if pids:
                    os.kill(luck.choice(pids), signal.SIGKILL)
                    killed += 1
            elif what < 0.3:
                patiently(lambda: shared.execute("SELECT pg_terminate_backend(pid) FROM change_stream_status WHERE stream_name = %s", stream))
            elif what < 0.6:
                patiently(lambda: shared.execute("SELECT pause_change_stream(%s)", stream))
                writers.wait(luck.randrange(30))
                patiently(lambda: shared.execute("SELECT resume_change_stream(%s)", stream))
            elif what < 0.8:
                patiently(lambda: shared.execute("SELECT alter_change_stream(%s, notify => %s)", stream, luck.choice(("ids", "heads", "off"))))
            else:
                patiently(lambda: shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor %s)" % luck.choice(("'true'", "'false'", "'true'"))))
            time.sleep(luck.random() * 3)
        patiently(lambda: shared.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'true')"))
        writers.wait(50)
    for stream, in patiently(lambda: shared.execute("SELECT stream_name FROM change_stream_status WHERE state = 'error'")):
        resume(shared, stream)
    assert compare(shared, mongo, mdb, since, range(count)) > 1000
    wait_together(shared, count, 120)
    assert unexpected_deaths(postgres.new_deaths(), killed) == []
