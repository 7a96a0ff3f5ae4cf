"""A MongoDB transaction is visible whole: no commit falls between the events of one time."""
import os
import signal
import threading
import time

import pytest

import oracle
from groups import create_beside
from harness.machine import freeze
from streams import patiently, resume, sync, worker

# events of each time that a reader sees at a moment
TIMES = "SELECT cluster_time, count(*) FROM change_stream_events WHERE stream_name = 's' GROUP BY 1"


class Reader:
    """Looks at random moments whether it sees part of a transaction: each writes its size into its documents."""

    def __init__(self, db):
        self.db, self.partial, self.looks = db, [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def _run(self):
        with self.db.connect() as connection:
            while not self._stop.is_set():
                self.partial += connection.execute(
                    "SELECT full_document->>'txn', count(*) FROM change_stream_events WHERE stream_name = 's' AND full_document->>'txn' IS NOT NULL"
                    " GROUP BY 1 HAVING count(*) <> max((full_document->>'size')::int)").fetchall()
                self.looks += 1


def transaction(mongo, mdb, number, size, pad=0):
    with mongo.client.start_session() as session, session.start_transaction():
        for first in range(0, size, 500):
            mdb.c.insert_many([{"txn": number, "size": size, "pad": "x" * pad} for _ in range(min(500, size - first))], session=session)


@pytest.mark.parametrize("options", [{}, {"batch_size": 7}, {"batch_size": 1},
                                     {"pipeline": '[{"$project": {"lsid": 0, "txnNumber": 0}}]'}])
def test_transactions_while_somebody_reads(linked, mongo, mdb, options):
    """Of all sizes, between single writes, from replies of all sizes."""
    mdb.create_collection("c")
    since = oracle.mark(mongo)
    create_beside(linked, "s", collection="c", **options)
    sizes = (1, 2, 999, 1000, 1001, 2500, 30, 3) if not options else (2, 40, 7, 14, 300)
    with Reader(linked) as reader:
        for number, size in enumerate(sizes):
            transaction(mongo, mdb, number, size)
            mdb.c.insert_one({"alone": number})
        sync(linked, "s")
    assert reader.partial == [] and reader.looks > 3
    assert linked.value("SELECT count(*) FROM change_stream_events") == sum(sizes) + len(sizes)
    if "pipeline" not in options:
        assert oracle.compare(linked, "s", mongo, since, mdb.name) == sum(sizes) + len(sizes)


@pytest.mark.timeout(180)
def test_a_large_transaction(linked, mongo, mdb):
    """More than one reply holds, and the worker stopped in the middle of it."""
    mdb.create_collection("c")
    create_beside(linked, "s", collection="c")
    with Reader(linked) as reader:
        transaction(mongo, mdb, 1, 2000, pad=10_000)
        linked.execute("SELECT pg_terminate_backend(%s)", worker(linked, "s"))
        transaction(mongo, mdb, 2, 1000, pad=10_000)
        sync(linked, "s", timeout="60 seconds")
    assert reader.partial == []
    assert linked.value("SELECT count(*) FROM change_stream_events") == 3000


def test_connection_lost_within_one(linked, mongo, mdb):
    """What is open when the cursor fails is left for the next one."""
    mdb.create_collection("c")
    create_beside(linked, "s", collection="c", batch_size=10, paused=True)
    resume(linked, "s")
    with Reader(linked) as reader:
        for number in range(3):
            mongo.fail_command(["getMore"], times=1, errorCode=11600)
            transaction(mongo, mdb, number, 200)
        mongo.stop_failing()
        sync(linked, "s", timeout="60 seconds")
    assert reader.partial == []
    assert linked.value("SELECT count(*) FROM change_stream_events") == 600


def test_single_writes_do_not_wait(linked, mongo, mdb):
    """On an idle server an event that is of no transaction is there at once, one of a transaction soon."""
    mdb.create_collection("c")
    create_beside(linked, "s", collection="c", max_await_time="5 seconds")
    mdb.c.insert_one({"_id": -1})
    sync(linked, "s")
    expected = 1
    for number in range(4):
        begin = time.monotonic()
        expected += 3 if number % 2 else 1
        if number % 2:
            transaction(mongo, mdb, number, 3)
        else:
            mdb.c.insert_one({"_id": number})
        linked.wait_for("SELECT count(*) FROM change_stream_events", expect=expected)
        assert time.monotonic() - begin < 2


@pytest.mark.crashes
def test_after_a_death_within_one(linked, mongo, mdb):
    """A worker that follows one that was killed takes events singly: in order, though a transaction's come in many replies."""
    mdb.create_collection("c")
    since = oracle.mark(mongo)
    create_beside(linked, "s", collection="c", batch_size=3)
    mdb.c.insert_one({"alone": 0})
    sync(linked, "s")
    pid = worker(linked, "s")
    freeze(pid)
    transaction(mongo, mdb, 1, 40)
    mdb.c.insert_one({"alone": 1})
    os.kill(pid, signal.SIGKILL)
    patiently(lambda: linked.wait_for("SELECT pid IS DISTINCT FROM %s FROM change_stream_status WHERE stream_name = 's'", pid))
    mdb.c.insert_one({"alone": 2})
    patiently(lambda: sync(linked, "s", timeout="60 seconds"))
    assert oracle.compare(linked, "s", mongo, since, mdb.name) == 43
