"""Many streams at once over a bad network, for as long as SOAK_SECONDS says."""
import os
import random
import threading
import time

import pytest

import oracle
from harness.machine import wait_until
from streams import Writers, create, pause, patiently, resume, status, sync

SECONDS = float(os.environ.get("SOAK_SECONDS", "180"))

# their options, and which of the database's events they hold; None: all
STREAMS = {
    "whole": ({}, None),
    "small_batches": (dict(batch_size=3), None),
    "with_images": (dict(full_document="updateLookup"), None),
    "only_a": (dict(collection="a"), lambda row: row["collection_name"] == "a"),
    "only_b": (dict(collection="b", batch_size=7), lambda row: row["collection_name"] == "b"),
    "inserts": (dict(operations=["insert"]), lambda row: row["operation_type"] == "insert"),
    "deletes_of_c": (dict(collection="c", operations=["delete"]),
                     lambda row: row["collection_name"] == "c" and row["operation_type"] == "delete"),
}


class Trouble(threading.Thread):
    """Cuts, silences, slows and refuses connections, ends processes and pauses streams, at random, until stopped."""

    def __init__(self, proxy, db, mongo, seed):
        super().__init__(daemon=True)
        self.proxy, self.db, self.mongo, self.luck = proxy, db.connect(), mongo, random.Random(seed)
        self.done = {}
        self.problem = None
        self._ended = threading.Event()

    def run(self):
        try:
            while not self._ended.wait(self.luck.random() * 2):
                kind = self.luck.choice(["cut", "cut", "cut", "slow", "silence", "refuse", "stop_in", "damage", "end", "pause", "cursors"])
                getattr(self, kind)()
                self.done[kind] = self.done.get(kind, 0) + 1
        except Exception as problem:
            self.problem = problem

    def stop(self):
        self._ended.set()
        self.join(30)
        self.proxy.delay, self.proxy.piece, self.proxy.refuse, self.proxy.stop_in, self.proxy.damage = 0.0, 1 << 16, False, None, []
        self.proxy.reset()
        self.db.close()
        if self.problem:
            raise self.problem

    def cut(self):
        self.proxy.reset()

    def slow(self):
        self.proxy.delay, self.proxy.piece = 0.05, 997
        self._ended.wait(2)
        self.proxy.delay, self.proxy.piece = 0.0, 1 << 16

    def silence(self):
        self.proxy.silence()

    def refuse(self):
        self.proxy.refuse = True
        self.proxy.reset()
        self._ended.wait(self.luck.random() * 3)
        self.proxy.refuse = False

    def stop_in(self):
        self.proxy.stop_in = self.luck.randrange(1, 2000)

    def damage(self):
        self.proxy.damage = [self.luck.randrange(0, 16)]

    def cursors(self):
        self.mongo.kill_cursors_of()

    def end(self):
        self.db.execute("SELECT pg_terminate_backend(pid) FROM change_stream_status WHERE stream_name = %s", (self.luck.choice(list(STREAMS)),))

    def pause(self):
        stream = self.luck.choice(list(STREAMS))
        pause(self.db, stream)
        self._ended.wait(self.luck.random())
        resume(self.db, stream)


@pytest.mark.faults
@pytest.mark.timeout(SECONDS + 600)
def test_soak(db, postgres, mongo, mdb, proxy):
    """Seven streams and three handlers: each event once, in order, in each; each handler runs once for each event."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    db.create_server(mongo.direct_uri(proxy.port), mdb.name, password_required="false")
    since = oracle.mark(mongo)
    for stream, (options, _) in STREAMS.items():
        create(db, stream, **options)
    for handler, stream in (("h1", "whole"), ("h2", "only_a"), ("h3", "inserts")):
        db.execute(f"CREATE TABLE {handler}_seen (seq bigserial, event_id bigint PRIMARY KEY)")
        db.execute("SELECT create_change_handler(%s, %s, body => %s)", handler, stream,
                   f"INSERT INTO {handler}_seen (event_id) VALUES (change.event_id)")
    trouble = Trouble(proxy, db, mongo, seed)
    with Writers(mongo, mdb.name, pause=0.01, seed=seed) as writers:
        trouble.start()
        time.sleep(SECONDS)
        trouble.stop()
        print(f"{writers.writes} writes, {trouble.done}")
    for stream in STREAMS:
        wait_until(lambda: status(db, stream)["state"] == "active", 120, f"{stream}: {status(db, stream)}")
        patiently(lambda: sync(db, stream, "120 seconds"))
    for stream, (options, where) in STREAMS.items():
        if "full_document" in options:
            # what was looked up depends on when: the order and the tokens don't
            expected = [oracle.columns(raw)["resume_token"] for raw in oracle.history(mongo, since, mdb.name)]
            assert db.column("SELECT resume_token FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream) == expected
            continue
        count = oracle.compare(db, stream, mongo, since, mdb.name, where=where)
        print(f"{stream}: {count} events")
        assert count > 20
    for handler, stream in (("h1", "whole"), ("h2", "only_a"), ("h3", "inserts")):
        assert db.value("SELECT sync_change_stream(%s, '120 seconds', handlers => true)", stream)
        last = db.value("SELECT last_event_id FROM change_stream_progress WHERE stream_name = %s", stream)
        assert db.column(f"SELECT event_id FROM {handler}_seen ORDER BY seq") == list(range(1, last + 1))
    assert db.value("SELECT count(*) FROM change_stream_dead_letters") == 0
    assert db.value("SELECT max(lag) < '10 s' FROM change_stream_status")


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_twenty_streams(new_cluster, mongo, mdb):
    """One stream with a flood and nineteen with a trickle: nobody waits long for his turn, and all end with what they should have."""
    cluster = new_cluster()
    db = cluster.create_database("many")
    db.create_server(mongo.uri, mdb.name)
    since = oracle.mark(mongo)
    create(db, "flood", collection="flood")
    for number in range(19):
        create(db, f"s{number}", collection=f"c{number}", max_await_time="1 second")
    db.wait_for("SELECT count(*) FROM change_stream_status WHERE state = 'active'", expect=20, timeout=60)
    stop = threading.Event()

    def flood():
        count = 0
        while not stop.is_set():
            mdb.flood.insert_many([{"pad": "x" * 500} for _ in range(500)])
            count += 500
        counts.append(count)

    counts, waits = [], []
    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        for turn in range(3):
            begin = time.monotonic()
            for number in range(19):
                mdb[f"c{number}"].insert_one({"_id": turn})
            db.wait_for("SELECT count(*) FROM change_stream_events WHERE stream_name <> 'flood' AND (document_key->'_id')::int = %s",
                        turn, expect=19, timeout=60)
            waits.append(time.monotonic() - begin)
    finally:
        stop.set()
        thread.join(30)
    print(f"{counts[0]} documents in the flood; turns took {waits}")
    assert max(waits) < 20
    for number in range(19):
        sync(db, f"s{number}", "60 seconds")
        assert oracle.compare(db, f"s{number}", mongo, since, mdb.name, pipeline=[{"$match": {"ns.coll": f"c{number}"}}]) == 3
    sync(db, "flood", "120 seconds")
    assert db.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'flood'") == counts[0]
    db.close()
