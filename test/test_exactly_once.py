"""Each event once, in order, with the same number, whatever is killed in between."""
import os
import random
import signal
import time

import pytest

import oracle
from harness.machine import wait_until
from streams import Consumer, Writers, create, patiently, status, sync, unexpected_deaths, wait_state, worker

EVENTS = "SELECT count(*) FROM change_stream_events"
LAUNCHER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream launcher'"


def make_streams(db, mongo, mdb):
    """One stream of the whole database and one of a collection; returns the mark before both."""
    since = oracle.mark(mongo)
    # by one transaction, so that they are followed together from the begin, where streams share a cursor
    with db.connection.transaction():
        create(db, "whole")
        create(db, "part", collection="b", operations=["insert", "update", "replace"])
    return since


def check_streams(db, mongo, mdb, since):
    """Waits for both, compares both, and returns how many events there are in all."""
    for stream in ("whole", "part"):
        patiently(lambda: sync(db, stream, "60 seconds"), 90)
    count = oracle.compare(db, "whole", mongo, since, mdb.name)
    return count + oracle.compare(db, "part", mongo, since, mdb.name,
                                  where=lambda row: row["collection_name"] == "b" and row["operation_type"] != "delete"
                                  and row["operation_type"] in ("insert", "update", "replace"))


def check_consumer(db, consumer):
    """What the consumer has read is the whole stream, each event once, under the numbers it has now."""
    last = db.value("SELECT last_event_id FROM change_stream_progress WHERE stream_name = %s", consumer.stream)
    consumer.wait_for(last)
    assert [number for number, _ in consumer.seen] == list(range(1, last + 1))
    assert consumer.seen == db.execute("SELECT event_id, resume_token FROM change_stream_events"
                                       " WHERE stream_name = %s ORDER BY event_id", consumer.stream)
    return last


def test_notifications_add_up(linked, mongo, mdb):
    """Without trouble each event is notified once, in order, and the numbers tell which."""
    since = make_streams(linked, mongo, mdb)
    with Consumer(linked, "whole") as consumer:
        with Writers(mongo, mdb.name) as writers:
            writers.wait(600)
        check_streams(linked, mongo, mdb, since)
        last = check_consumer(linked, consumer)
        wait_until(lambda: consumer.notified >= last, 10, "the last notification")
        assert consumer.notified == last and consumer.connections == 1


def forgive(db):
    """A stream stops where three kills in a row have come by chance right after the same event was begun; then somebody looks, and goes on."""
    for stream, in db.execute("SELECT stream_name FROM change_stream_status WHERE state = 'error' AND reason ~ '^3 processes in a row died'"):
        db.execute("SELECT resume_change_stream(%s)", stream)


@pytest.mark.crashes
@pytest.mark.timeout(240)
def test_kill_worker(linked, postgres, mongo, mdb):
    """kill -9 of a worker at random moments, 32 times, each of which restarts the whole cluster."""
    luck = random.Random()
    since = make_streams(linked, mongo, mdb)
    begin = postgres.log_position()
    killed = 0
    with Consumer(linked, "whole") as consumer:
        with Writers(mongo, mdb.name) as writers:
            while killed < 32:
                patiently(lambda: forgive(linked))
                pid = patiently(lambda: worker(linked, luck.choice(("whole", "whole", "part"))))
                # mostly while it writes, now and then while it starts
                if killed % 4:
                    stream = luck.choice(("whole", "part"))
                    wait_until(lambda: patiently(lambda: forgive(linked) or status(linked, stream)["state"] == "active"), 60, f"{stream} is active")
                time.sleep(luck.random() ** 2 / 2)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
                killed += 1
                wait_until(lambda: f"({pid}) was terminated by signal 9" in postgres.log_text(begin)
                           or f"(PID {pid}) was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
            writers.wait(50)
        patiently(lambda: forgive(linked))
        events = check_streams(linked, mongo, mdb, since)
        assert events > 500
        check_consumer(linked, consumer)
        assert consumer.connections > 5
    assert unexpected_deaths(postgres.new_deaths(), killed) == []


@pytest.mark.crashes
def test_immediate_stop(linked, postgres, mongo, mdb):
    """An immediate stop loses what was committed asynchronously: events and position together."""
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {linked.name} SET synchronous_commit = off")
    since = make_streams(linked, mongo, mdb)
    numbers = {}
    with Writers(mongo, mdb.name) as writers:
        for _ in range(6):
            writers.wait(random.randrange(20, 150))
            for number, token in patiently(lambda: linked.execute(
                    "SELECT event_id, resume_token FROM change_stream_events WHERE stream_name = 'whole'")):
                assert numbers.setdefault(number, token) == token, f"event {number} has become another"
            postgres.stop("immediate")
            postgres.start()
    check_streams(linked, mongo, mdb, since)
    after = dict(linked.execute("SELECT event_id, resume_token FROM change_stream_events WHERE stream_name = 'whole'"))
    assert {number: after.get(number) for number in numbers} == numbers
    assert unexpected_deaths(postgres.new_deaths(), 0) == []


def test_kill_postmaster(linked, new_cluster, mongo, mdb):
    """kill -9 of the postmaster: the workers notice, leave, and nothing is written twice."""
    cluster = new_cluster()
    db = cluster.create_database("killed")
    db.create_server(mongo.uri, mdb.name)
    since = make_streams(db, mongo, mdb)
    with Writers(mongo, mdb.name) as writers:
        for _ in range(3):
            writers.wait(100)
            cluster.kill()
            cluster.start()
    check_streams(db, mongo, mdb, since)


@pytest.mark.timeout(300)
def test_terminate_workers_and_launcher(linked, postgres, mongo, mdb):
    """pg_terminate_backend, 12 times: nobody else is disturbed, and each comes back; after ever longer pauses, so not oftener."""
    luck = random.Random()
    since = make_streams(linked, mongo, mdb)
    with Consumer(linked, "whole") as consumer:
        with Writers(mongo, mdb.name) as writers:
            for round in range(12):
                pid = worker(linked, luck.choice(("whole", "part"))) if round % 4 else \
                    wait_until(lambda: linked.value(LAUNCHER), 20, "a launcher")
                time.sleep(luck.random() / 10)
                linked.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
            writers.wait(20)
        check_streams(linked, mongo, mdb, since)
        check_consumer(linked, consumer)
        assert consumer.connections == 1
    assert wait_until(lambda: linked.value(LAUNCHER), 20)


def test_kill_mongod(linked, mongo, mdb):
    """kill -9 of mongod and its restart: retried until it is back, then nothing is missing or repeated."""
    since = make_streams(linked, mongo, mdb)
    with Writers(mongo, mdb.name) as writers:
        for _ in range(2):
            writers.wait(100)
            mongo.members[0].kill()
            wait_state(linked, "whole", "retrying")
            mongo.members[0].start()
            mongo.wait_primary()
            wait_state(linked, "whole", "active")
    check_streams(linked, mongo, mdb, since)
    assert linked.value("SELECT consecutive_errors FROM change_stream_progress WHERE stream_name = 'whole'") == 0


def test_transaction_larger_than_a_batch(linked, mongo, mdb):
    """A transaction of 3,000 operations, the worker stopped in its midst: whole, in order, once."""
    since = make_streams(linked, mongo, mdb)
    mdb.create_collection("b")
    with mongo.client.start_session() as session, session.start_transaction():
        for first in range(0, 3000, 500):
            mdb.b.insert_many([{"_id": first + number, "pad": "x" * 500} for number in range(500)], session=session)
    wait_until(lambda: linked.value(EVENTS) > 0, 20, "the first events")
    linked.execute("SELECT pg_terminate_backend(%s, 5000)", worker(linked, "whole"))
    assert check_streams(linked, mongo, mdb, since) == 6000
    assert linked.value("SELECT count(DISTINCT cluster_time) FROM change_stream_events WHERE stream_name = 'part'") == 1
    assert linked.value("SELECT count(DISTINCT extra->>'txnNumber') FROM change_stream_events WHERE stream_name = 'part'") == 1


def test_token_not_found_within_a_transaction(linked, mongo, mdb):
    """A token that MongoDB does not find is replaced by its time; a large transaction's events all have that time."""
    create(linked, "all")
    with mongo.client.start_session() as session, session.start_transaction():
        mdb.c.insert_many([{"_id": number} for number in range(3500)], session=session)
    sync(linked, "all")
    token = linked.value("SELECT resume_token FROM change_stream_events WHERE event_id = 2500")
    create(linked, "part", resume_after=token, batch_size=100, paused=True)
    linked.execute("SELECT pause_change_stream('all')")
    mongo.fail_command(["aggregate"], times=1, errorCode=280)
    try:
        linked.execute("SELECT resume_change_stream('part')")
        sync(linked, "part")
    finally:
        mongo.stop_failing()
    assert linked.row("SELECT count(*), count(DISTINCT resume_token), min(resume_token) > %s FROM change_stream_events"
                      " WHERE stream_name = 'part'", token) == (1000, 1000, True)


def test_columns_and_triggers_of_the_owner(linked, postgres, mdb):
    """Columns with defaults and triggers before and after, all at once: nothing is lost, no memory mixed up, nothing left open."""
    position = postgres.log_position()
    linked.execute("ALTER TABLE change_stream_events ADD marked text DEFAULT 'mark ' || random()::text, ADD day date DEFAULT now()")
    linked.execute("CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " IF TG_WHEN = 'BEFORE' THEN NEW.processing_error := 'seen'; END IF; RETURN NEW; END $$")
    for when in ("BEFORE", "AFTER"):
        linked.execute(f"CREATE TRIGGER {when.lower()} {when} INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION look()")
    create(linked, "s", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(500)])
    sync(linked, "s")
    assert linked.row("SELECT count(*), count(DISTINCT marked), bool_and(marked ~ '^mark [0-9.e-]+$'), bool_and(processing_error = 'seen')"
                      " FROM change_stream_events") == (500, 500, True, True)
    assert "WARNING" not in postgres.log_text(position)
