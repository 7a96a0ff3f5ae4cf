"""Mirrors equal their collections as of exact_at in every transaction that reads them, whatever happens meanwhile.

Writers of every kind write; readers look at random moments, each in one REPEATABLE READ transaction, and MongoDB is asked
what it had at the time that the mirror's status tells. Bytes are compared.
"""
import os
import random
import threading
import time

import psycopg
import pytest

from groups import create_beside
from harness.machine import wait_until
from mirrors import Faults, Load, Past, equal_now, mirror, moment, wait_exact
from streams import create, patiently, pause, resume, sync, unexpected_deaths

SECONDS = float(os.environ.get("MIRROR_SECONDS", "600"))
MOMENTS = 200


class Reader:
    """A thread that compares mirrors with MongoDB at random moments, through all that happens to both."""

    def __init__(self, db, mongo, database, tables, look=None, pause=0.1, seed=0):
        self.db, self.mongo, self.database, self.tables, self.look, self.pause = db, mongo, database, tables, look, pause
        self.luck = random.Random(seed)
        self.moments, self.compared, self.problems = 0, dict.fromkeys(tables, 0), []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(90)

    def wait(self, count, timeout=60):
        """Waits for that many more moments at which all mirrors were compared."""
        goal = self.moments + count
        wait_until(lambda: self.moments >= goal or self.problems, timeout, f"{count} more moments")
        self.check()

    def check(self):
        assert not self.problems, "\n".join(map(str, self.problems[:5]))

    def _run(self):
        try:
            with Past(self.mongo, self.database) as past:
                while not self._stop.is_set():
                    try:
                        with self.db.connect() as connection:
                            while not self._stop.wait(self.luck.random() * 2 * self.pause):
                                compared, problems = moment(connection, past, self.tables, self.look,
                                                            pause=self.luck.choice([0, 0, 0.05, 0.2]))
                                self.problems += problems
                                self.moments += compared == len(self.tables)
                    except (psycopg.OperationalError, psycopg.InterfaceError):
                        time.sleep(0.05)
        except Exception as problem:
            self.problems.append(repr(problem))


ALL = ["worker_killed", "worker_ended", "postgres_stopped", "mongod_killed", "stepped_down", "cursors_killed", "cut", "cut_within_a_reply", "slow"]


def settle(db, names):
    """Waits until each mirror is exact and the streams have all that MongoDB has."""
    patiently(lambda: wait_exact(db, *names), 120)
    for stream in db.column("SELECT DISTINCT stream_name FROM change_mirrors"):
        patiently(lambda: sync(db, stream, "90 seconds"), 120)
    wait_exact(db, *names)


def check_all(db, mongo, mdb, tables):
    """Nobody writes any more: each table is its collection, and check_change_mirror says so, too."""
    for name, (table, collection) in tables.items():
        assert equal_now(db, mongo, mdb.name, table, collection) > 0
        assert db.execute("SELECT difference, _id::text, here::text, there::text FROM check_change_mirror(%s)", name) == []


def prove(db, postgres, mongo, mdb, proxy, luck, moments, some_faults, **load):
    """Copies three collections while all kinds of writes and some faults happen, and goes on with both; returns what was done."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name, password_required="false")
    load = Load(mongo, mdb.name, seed=luck.randrange(1 << 30), **load)
    names = list(Load.COLLECTIONS)
    tables = {name: (f"mirrored.{name}", name) for name in names}
    db.execute("CREATE SCHEMA mirrored")
    faults = Faults(db, postgres, mongo, mdb, proxy, "s")
    done = []
    create_beside(db, "s", keep_events=luck.random() < 0.5)
    with load:
        load.wait(20)
        for name in names:
            mirror(db, name, stream_name="s", table_name=f"mirrored.{name}")
        with Reader(db, mongo, mdb.name, tables, load.sum_is_off, seed=luck.random()) as reader:
            for fault in some_faults:
                getattr(faults, fault)()
                done.append(fault)
                time.sleep(luck.random() ** 2)
                reader.check()
                # while nothing happens, now and then
                if luck.random() < 0.3:
                    patiently(lambda: wait_exact(db, *names))
                    reader.wait(2)
            patiently(lambda: wait_exact(db, *names), 120)
            while reader.moments < moments:
                reader.wait(1)
        reader.check()
    settle(db, names)
    check_all(db, mongo, mdb, tables)
    assert {kind for kind in dir(load) if kind.startswith("do_")} == load.done.keys()
    assert unexpected_deaths(postgres.new_deaths(), faults.killed) == []
    print(f"{load.writes} writes, {reader.moments} moments, {done}")


@pytest.mark.crashes
@pytest.mark.timeout(150)
def test_exact_at_every_moment(db, postgres, mongo, mdb, proxy):
    """The short version: each fault once."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    luck = random.Random(seed)
    faults = ["worker_ended", "cut", "worker_killed", "cursors_killed", "mongod_killed"]
    luck.shuffle(faults)
    prove(db, postgres, mongo, mdb, proxy, luck, moments=20, some_faults=faults, pad=3000)


@pytest.mark.faults
@pytest.mark.crashes
@pytest.mark.timeout(SECONDS * 3 + 600)
def test_exact_through_ten_minutes_of_faults(db, postgres, mongo, mdb, proxy):
    """The long version: 200 moments at least, and any fault at any time."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    luck = random.Random(seed)
    end = time.monotonic() + SECONDS

    def faults():
        while time.monotonic() < end:
            yield luck.choice(ALL)

    prove(db, postgres, mongo, mdb, proxy, luck, moments=MOMENTS, some_faults=faults(), documents=2000, pad=10000)


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_transaction_larger_than_what_is_held(db, new_replica_set):
    """More than 64 MB in one transaction of MongoDB's come in parts: between them no time is told that the table would be as of."""
    mongo = new_replica_set(cache_gb=1.5)
    shop = mongo.client.shop
    db.create_server(mongo.uri, "shop", password_required="false")
    for name in "cd":
        shop[name].insert_many([{"_id": f"old {number}"} for number in range(5)])
    create(db, "s", keep_events=False)
    for name in "cd":
        mirror(db, name, stream_name="s")
    wait_exact(db, "c", "d")
    pause(db, "s")
    db.wait_for("SELECT pid IS NULL FROM change_stream_status")
    with mongo.client.start_session() as session, session.start_transaction():
        for number in range(7):
            shop.c.insert_one({"_id": number, "pad": random.randbytes(15_000_000)}, session=session)
        for name in "cd":
            shop[name].delete_many({"_id": {"$type": "string"}}, session=session)
    resume(db, "s")
    with db.connect() as connection:
        while True:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                count, old, others = connection.execute("SELECT count(*), count(*) FILTER (WHERE _id::text LIKE '%old%'), (SELECT count(*) FROM d) FROM c").fetchone()
                times = connection.execute("SELECT array_agg(DISTINCT exact_at) FROM change_mirror_status").fetchone()[0]
            if times != [None]:
                assert (count, old, others) in ((5, 5, 5), (7, 0, 0)), (count, old, others, times)
            if times != [None] and count == 7:
                break
            time.sleep(0.02)
    sync(db, "s")
    wait_exact(db, "c", "d")
    assert equal_now(db, mongo, "shop", "c", "c") == 7


@pytest.mark.faults
@pytest.mark.timeout(SECONDS + 300)
def test_exact_while_copies_begin_again(linked, mongo, mdb):
    """Mirrors that are copied again and again, paused, resumed, dropped and made anew while writers write."""
    luck = random.Random()
    load = Load(mongo, mdb.name, documents=1000)
    names = list(Load.COLLECTIONS)
    linked.execute("CREATE SCHEMA mirrored")
    create(linked, "s", keep_events=False)
    tables = {name: (f"mirrored.{name}", name) for name in names}
    for name in names:
        mirror(linked, name, stream_name="s", table_name=f"mirrored.{name}")
    end = time.monotonic() + SECONDS / 5
    with load, Reader(linked, mongo, mdb.name, tables, load.sum_is_off) as reader:
        while time.monotonic() < end:
            name = luck.choice(names)
            choice = luck.randrange(4)
            if choice == 0:
                linked.execute("SELECT resync_change_mirror(%s)", name)
            elif choice == 1:
                linked.execute("SELECT pause_change_mirror(%s)", name)
                time.sleep(luck.random())
                linked.execute("SELECT resume_change_mirror(%s)", name)
            elif choice == 2:
                linked.execute("SELECT drop_change_mirror(%s)", name)
                mirror(linked, name, stream_name="s", table_name=f"mirrored.{name}")
            else:
                linked.execute(f"DELETE FROM mirrored.{name} WHERE random() < 0.1; SELECT resync_change_mirror('{name}')")
            if luck.random() < 0.5:
                wait_exact(linked, *names)
                reader.wait(2)
        reader.check()
    settle(linked, names)
    check_all(linked, mongo, mdb, tables)
