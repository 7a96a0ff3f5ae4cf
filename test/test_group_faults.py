"""Streams that are followed together, when what they rest on fails or is changed: owners, rights, servers, processes."""
import os
import random
import signal
import time

import pytest

import oracle
from groups import GROUPS, TOGETHER, compare, make, wait_together
from harness import Proxy, ReplicaSet
from harness.machine import wait_until
from streams import Writers, create, operations, patiently, resume, status, sync, unexpected_deaths, wait_state

WORKERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream worker' AND datname = current_database()"
PIDS = "SELECT DISTINCT pid FROM change_stream_status WHERE pid IS NOT NULL"

# ------------------------------------------------------------ processes that die


def group_pid(db):
    return db.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream group' AND datname = current_database()")


def make_many(db, mdb, count):
    """Streams s0, s1 … by one transaction, so that they begin together."""
    for number in range(count):
        mdb.create_collection(f"c{number}")
    with db.connection.transaction():
        for number in range(count):
            create(db, f"s{number}", collection=f"c{number}")


@pytest.mark.crashes
@pytest.mark.parametrize("how", ("crash", "restart"))
def test_they_begin_together(shared, postgres, mongo, mdb, how):
    """After a crash of PostgreSQL, as after a restart, streams are followed together at once, and none has a process of its own."""
    since = oracle.mark(mongo)
    count = int(os.environ.get("STREAMS", "20"))
    make_many(shared, mdb, count)
    wait_together(shared, count)
    mdb.c1.insert_one({"_id": 1})
    sync(shared, "s1")
    pid = group_pid(shared)
    mdb.c2.insert_many([{"_id": number} for number in range(500)])
    if how == "crash":
        os.kill(pid, signal.SIGKILL)
    else:
        postgres.stop()
        postgres.start()
    begin = time.monotonic()
    seen = []

    def together():
        seen.append(patiently(lambda: shared.value(WORKERS)))
        return patiently(lambda: group_pid(shared)) not in (None, pid) and patiently(lambda: shared.value(TOGETHER)) == count

    wait_until(together, 30, "all are followed together", pause=0.05)
    print(f"after {time.monotonic() - begin:.1f} s")
    assert set(seen) == {0}
    assert patiently(lambda: shared.value(GROUPS)) == 1
    mdb.c3.insert_one({"_id": 1})
    assert compare(shared, mongo, mdb, since, range(count)) == 502
    # what was counted is forgotten when they have lived for a while
    shared.wait_for("SELECT max(starts) FROM change_stream_progress", expect=0)
    assert unexpected_deaths(postgres.new_deaths(), 1) == []


def test_many_with_few_processes(new_cluster, mongo, mdb):
    """Made one by one, more streams than there are processes: each is followed within some seconds, and again after a crash."""
    count = int(os.environ.get("STREAMS", "40"))
    cluster = new_cluster(settings={"max_worker_processes": 8})
    db = cluster.create_database("many")
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="true")
    since = oracle.mark(mongo)
    make(db, mdb, count)
    begin = time.monotonic()
    wait_together(db, count)
    print(f"{count} together {time.monotonic() - begin:.1f} s after the last was made")
    for number in range(count):
        mdb[f"c{number}"].insert_one({"_id": 1})
    pid = group_pid(db)
    os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    wait_until(lambda: patiently(lambda: group_pid(db)) not in (None, pid) and patiently(lambda: db.value(TOGETHER)) == count, 30, "all are there again")
    print(f"and {time.monotonic() - begin:.1f} s after a crash")
    assert compare(db, mongo, mdb, since, range(count)) == count
    assert db.value(WORKERS) == 0


def test_many_part_with_few_processes(new_cluster, mongo, mdb):
    """When what MongoDB says sends all of a group to try alone, they need not all find a process: they follow those that have found that it works."""
    count = 40
    cluster = new_cluster(settings={"max_worker_processes": 8})
    db = cluster.create_database("many")
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="true")
    since = oracle.mark(mongo)
    make_many(db, mdb, count)
    wait_together(db, count)
    pid = group_pid(db)
    position = cluster.log_position()
    # 10334: an event is too large
    mongo.fail_command(["getMore"], times=1, errorCode=10334)
    begin = time.monotonic()
    wait_until(lambda: group_pid(db) not in (None, pid), 30, "there is a group again")
    print(f"a group again {time.monotonic() - begin:.1f} s after the one before")
    wait_together(db, count)
    print(f"{count} together {time.monotonic() - begin:.1f} s after they parted")
    alone = [line for line in cluster.log_text(position).splitlines() if line.endswith("is active: following the change stream")]
    print(f"{len(alone)} had a process of their own")
    assert 2 <= len(alone) < count / 2
    for number in range(count):
        mdb[f"c{number}"].insert_one({"_id": 1})
    assert compare(db, mongo, mdb, since, range(count)) == count


@pytest.mark.crashes
@pytest.mark.timeout(180)
def test_one_that_kills(shared, postgres, mongo, mdb):
    """A stream whose event kills the process is found after the second death, stops after at most four, and the others go on together."""
    since = oracle.mark(mongo)
    make(shared, mdb, 4)
    wait_together(shared, 4)
    shared.execute("CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || pg_backend_pid()); PERFORM pg_sleep(60); RETURN NEW; END $$")
    shared.execute("CREATE TRIGGER die BEFORE INSERT ON change_stream_events FOR EACH ROW"
                   " WHEN (NEW.stream_name = 's2' AND NEW.document_key::text LIKE '%%bad%%') EXECUTE FUNCTION die()")
    with Writers(mongo, mdb.name, ["c0", "c1", "c3"], pause=0.02) as writers:
        mdb.c2.insert_many([{"_id": 1}, {"_id": "bad"}, {"_id": 2}])
        wait_until(lambda: patiently(lambda: status(shared, "s2"))["state"] == "error", 90, "the stream stops")
        writers.wait(20)
    assert "processes in a row died when they came to the event" in status(shared, "s2")["reason"]
    shared.wait_for(TOGETHER, expect=3, timeout=40)
    compare(shared, mongo, mdb, since, (0, 1, 3))
    shared.execute("DROP TRIGGER die ON change_stream_events")
    resume(shared, "s2")
    compare(shared, mongo, mdb, since, range(4))
    deaths = postgres.new_deaths()
    assert 3 <= len([line for line in deaths if "signal 9" in line]) <= 4
    assert unexpected_deaths(deaths, 4) == []

# ------------------------------------------------------------ rights and servers


def test_owner_is_another(shared, mongo, mdb):
    """REASSIGN OWNED takes a role's streams to another's group, and DROP OWNED away; the server's owner is no matter."""
    since = oracle.mark(mongo)
    for number in range(4):
        mdb.create_collection(f"c{number}")
    try:
        for role, numbers in (("erin", (0, 1)), ("frank", (2, 3))):
            shared.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO {role}")
            with shared.connect(role) as connection, connection.transaction():
                for number in numbers:
                    create(connection, f"s{number}", collection=f"c{number}")
        shared.wait_for(TOGETHER, expect=4)
        assert shared.value(GROUPS) == 2
        with Writers(mongo, mdb.name, [f"c{number}" for number in range(4)]) as writers:
            writers.wait(50)
            shared.execute("REASSIGN OWNED BY erin TO frank")
            shared.execute("ALTER SERVER mongo OWNER TO frank")
            writers.wait(50)
            wait_together(shared, 4)
            writers.wait(50)
        compare(shared, mongo, mdb, since, range(4))
        assert shared.value("SELECT usename::text FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream group'"
                            " AND datname = current_database()") == "frank"
        shared.execute("ALTER SERVER mongo OWNER TO postgres")
        shared.execute("DROP OWNED BY frank")
        shared.wait_for(GROUPS, expect=0, timeout=5)
        assert shared.value("SELECT count(*) FROM change_stream_status") == 0
    finally:
        for role in ("erin", "frank"):
            shared.execute(f"DO $$ BEGIN DROP OWNED BY {role}; DROP ROLE {role}; EXCEPTION WHEN undefined_object THEN END $$")


def test_usage_is_revoked(shared, mongo, mdb):
    """Streams whose owner may not use the server any more say so, and go on when he may."""
    since = oracle.mark(mongo)
    for number in range(3):
        mdb.create_collection(f"c{number}")
    shared.execute("CREATE ROLE gina LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO gina")
    with shared.connect("gina") as connection, connection.transaction():
        for number in range(3):
            create(connection, f"s{number}", collection=f"c{number}")
    wait_together(shared, 3)
    shared.execute("REVOKE USAGE ON FOREIGN SERVER mongo FROM gina")
    for number in range(3):
        told = wait_state(shared, f"s{number}", "error")
        assert "USAGE" in told["reason"] and "gina" in told["reason"] and told["next_retry_at"], told
    mdb.c0.insert_one({"_id": 1})
    shared.execute("GRANT USAGE ON FOREIGN SERVER mongo TO gina")
    assert compare(shared, mongo, mdb, since, range(3)) == 1


def test_uri_is_changed(shared, mongo, mdb):
    """A running group goes over to where the server leads now; a URI that leads nowhere is told by each stream."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with Writers(mongo, mdb.name, ["c0", "c1", "c2"]) as writers, Proxy(mongo.members[0].port) as proxy:
        shared.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.direct_uri(proxy.port)}')")
        writers.wait(50)
        for number in range(3):
            sync(shared, f"s{number}")
        assert shared.value(TOGETHER) == 3
        shared.execute("ALTER SERVER mongo OPTIONS (SET uri 'mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500')")
        for number in range(3):
            told = wait_state(shared, f"s{number}", "retrying")
            assert told["reason"].startswith("MongoDB cannot be reached") and told["last_error"] and told["next_retry_at"], told
        writers.wait(50)
        shared.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.uri}')")
        shared.wait_for(TOGETHER, expect=3)
    compare(shared, mongo, mdb, since, range(3))


@pytest.fixture(scope="module")
def guarded(machine):
    """A replica set that asks for credentials."""
    replica_set = ReplicaSet(machine, name="guarded_group", auth=True)
    admin = replica_set.client.admin
    admin.command("createUser", "reader", pwd="secret", roles=[{"role": "read", "db": "shop"}])
    admin.command("createUser", "other", pwd="secret", roles=[{"role": "read", "db": "shop"}])
    yield replica_set
    replica_set.discard()


def test_mapping_is_changed(db, guarded):
    """Another user in the mapping, a wrong password, a user without rights: each is told by each stream, and mended by the mapping or a grant."""
    shop = guarded.client.shop
    shop.client.drop_database("shop")
    since = oracle.mark(guarded)
    db.create_server(guarded.uri, "shop", share_cursor="true")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'reader', password 'secret', auth_source 'admin')")
    make(db, shop, 3)
    wait_together(db, 3)
    shop.c0.insert_one({"_id": 1})
    sync(db, "s0")
    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password 'wrong')")
    for number in range(3):
        told = wait_state(db, f"s{number}", "error")
        assert "MongoDB refuses the connection" in told["reason"] and "Authentication failed" in told["last_error"] and told["next_retry_at"], told
    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password 'secret')")
    shop.c1.insert_one({"_id": 1})
    for number in range(3):
        sync(db, f"s{number}")
    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET username 'other')")
    shop.c2.insert_one({"_id": 1})
    for number in range(3):
        sync(db, f"s{number}")
    # as it is for a stream that follows alone: who may not watch the database nor the collection
    guarded.client.admin.command("revokeRolesFromUser", "other", roles=[{"role": "read", "db": "shop"}])
    guarded.kill_cursors_of()
    for number in range(3):
        told = wait_state(db, f"s{number}", "error", 60)
        assert "not authorized" in told["last_error"] and told["next_retry_at"], told
        # readers see it, too, who are not to learn of the mapping
        assert "check_mongo_server('mongo')" in told["reason"] and '"other"' not in told["reason"], told
    shop.c2.insert_one({"_id": 2})
    guarded.client.admin.command("grantRolesToUser", "other", roles=[{"role": "read", "db": "shop"}])
    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET username 'other')")
    assert compare(db, guarded, shop, since, range(3)) == 4


def test_refused_for_once(shared, mongo, mdb):
    """A refusal that passes, as a whim of the server's does, parts nobody; one that comes twice sends all to try alone, and they come together again."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    # that a cursor is opened again is no restart before the stream has had a position
    for number in range(3):
        mdb[f"c{number}"].insert_one({})
    for number in range(3):
        sync(shared, f"s{number}")
    pid = group_pid(shared)
    with Writers(mongo, mdb.name, ["c0", "c1", "c2"], pause=0.01) as writers:
        for times, code in enumerate((13, 2, 9)):
            mongo.fail_command(["getMore"], times=1, errorCode=code)
            writers.wait(30)
            shared.wait_for("SELECT bool_and(restarts > %s) FROM change_stream_progress", times)
            wait_together(shared, 3)
            assert group_pid(shared) == pid
        # more than once, as who asks for the history of each stream is refused, too
        mongo.fail_command(["aggregate", "getMore"], times=5, errorCode=13)
        shared.wait_for("SELECT bool_and(pid IS DISTINCT FROM %s) FROM change_stream_status", pid)
        writers.wait(30)
    compare(shared, mongo, mdb, since, range(3))
    for number in range(3):
        assert status(shared, f"s{number}")["state"] == "active"


def test_collection_made_again(shared, mongo, mdb):
    """A collection that is dropped and made again under a group, many times and while all are written to; then the database."""
    since = oracle.mark(mongo)
    make(shared, mdb, 3)
    wait_together(shared, 3)
    with Writers(mongo, mdb.name, ["c0", "c1"]) as writers:
        for number in range(10):
            mdb.drop_collection("c2")
            mdb.c2.insert_one({"_id": number})
            writers.wait(5)
    compare(shared, mongo, mdb, since, range(3))
    assert operations(shared, "s2") == ["drop", "insert"] * 10
    mongo.client.drop_database(mdb.name)
    mdb.c0.insert_one({"_id": "new"})
    for number in range(3):
        sync(shared, f"s{number}", "60 seconds")
    assert operations(shared, "s0")[-2:] == ["drop", "insert"] and operations(shared, "s1")[-1] == "drop"
    shared.wait_for(TOGETHER, expect=3, timeout=60)
    assert shared.value("SELECT count(*) FROM change_stream_status WHERE state <> 'active'") == 0

# ------------------------------------------------------------ all of it at random


class Life:
    """What happens to streams of c0, c1 … while all are busy: chosen at random, with what the oracle must know of it."""

    def __init__(self, db, mongo, mdb, count, seed):
        self.db, self.mongo, self.mdb, self.count = db, mongo, mdb, count
        self.luck = random.Random(seed)
        self.killed = 0
        self.made = {number: oracle.mark(mongo) for number in range(count)}     # since when the stream is there

    DROP = "SELECT drop_change_stream(stream_name) FROM change_streams WHERE stream_name = %s"

    def one(self):
        return f"s{self.luck.randrange(self.count)}"

    def kill(self):
        pids = patiently(lambda: self.db.column(PIDS))
        if pids:
            os.kill(self.luck.choice(pids), signal.SIGKILL)
            self.killed += 1

    def terminate(self):
        stream = self.one()
        patiently(lambda: self.db.execute("SELECT pg_terminate_backend(pid) FROM change_stream_status WHERE stream_name = %s", stream))

    def pause(self):
        stream = self.one()
        patiently(lambda: self.db.execute("SELECT pause_change_stream(%s)", stream))
        time.sleep(self.luck.random())
        patiently(lambda: self.db.execute("SELECT resume_change_stream(%s)", stream))

    def alter(self):
        stream = self.one()
        patiently(lambda: self.db.execute("SELECT alter_change_stream(%s, notify => %s)", stream, self.luck.choice(("ids", "heads", "off"))))

    def make_anew(self):
        number = self.luck.randrange(self.count)
        self.made[number] = patiently(lambda: self.make(number))

    def make(self, number):
        """The time at which the stream begins; one of a try of which nobody heard that it was committed goes, too."""
        self.db.execute(self.DROP, f"s{number}")
        since = oracle.mark(self.mongo)
        create(self.db, f"s{number}", collection=f"c{number}", start_at=oracle.time_token(since))
        return since

    def apart(self):
        patiently(lambda: self.db.execute("ALTER SERVER mongo OPTIONS (SET share_cursor %s)" % self.luck.choice(("'true'", "'false'"))))

    def live(self, seconds, kills):
        until = time.monotonic() + seconds
        choices = [self.terminate, self.pause, self.pause, self.alter, self.make_anew, self.apart]
        while time.monotonic() < until:
            self.kill() if kills and self.luck.random() < kills else self.luck.choice(choices)()
            time.sleep(self.luck.random() * 2)
        patiently(lambda: self.db.execute("ALTER SERVER mongo OPTIONS (SET share_cursor 'true')"))

    def settle(self):
        """Every stream holds what happened since it was made."""
        for stream, in patiently(lambda: self.db.execute("SELECT stream_name FROM change_stream_status WHERE state = 'error'")):
            resume(self.db, stream)
        events = 0
        for number, since in self.made.items():
            patiently(lambda: sync(self.db, f"s{number}", "60 seconds"), 90)
            events += oracle.compare(self.db, f"s{number}", self.mongo, since, self.mdb.name, where=oracle.in_collection(f"c{number}"))
        return events


def trouble_makers(db, mongo, mdb, since):
    """Beside the others: one whose trigger fails now and then, one whose filter is slow, one that begins far behind."""
    for name in ("failing", "slow", "behind"):
        mdb.create_collection(name)
    db.execute("CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
               " IF random() < 0.2 THEN RAISE 'now and then'; END IF; RETURN NEW; END $$")
    db.execute("CREATE TRIGGER fail BEFORE INSERT ON change_stream_events FOR EACH ROW"
               " WHEN (NEW.stream_name = 'failing') EXECUTE FUNCTION fail()")
    mdb.behind.insert_many([{"_id": f"old {number}", "text": "x" * 200} for number in range(3000)])
    create(db, "failing", collection="failing")
    create(db, "slow", collection="slow", filter="pg_sleep(0.01) IS NOT NULL")
    create(db, "behind", collection="behind", start_at=oracle.time_token(since))


def random_life(db, postgres, mongo, mdb, count, seconds, kills):
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    since = oracle.mark(mongo)
    make(db, mdb, count)
    life = Life(db, mongo, mdb, count, seed)
    life.made = {number: since for number in range(count)}
    trouble_makers(db, mongo, mdb, since)
    names = [f"c{number}" for number in range(count)] + ["failing", "slow", "behind"]
    with Writers(mongo, mdb.name, names, pause=0.01) as writers:
        life.live(seconds, kills)
        writers.wait(20)
    patiently(lambda: db.execute("DROP TRIGGER fail ON change_stream_events"))
    assert life.settle() > 50
    for name in ("failing", "slow", "behind"):
        if patiently(lambda: status(db, name))["state"] == "error":
            resume(db, name)
        patiently(lambda: sync(db, name, "60 seconds"), 90)
        oracle.compare(db, name, mongo, since, mdb.name, where=oracle.in_collection(name))
    assert unexpected_deaths(postgres.new_deaths(), life.killed) == []
    return life


@pytest.mark.crashes
@pytest.mark.timeout(240)
def test_random_life(shared, postgres, mongo, mdb):
    """Kills, terminations, pauses, alterations, drops at random, beside streams that fail and are slow: each stream's rows are the oracle's."""
    random_life(shared, postgres, mongo, mdb, count=8, seconds=25, kills=0.08)


@pytest.mark.crashes
@pytest.mark.faults
@pytest.mark.timeout(900)
def test_long_random_life(shared, postgres, mongo, mdb):
    """The same with 40 streams, for longer; in the end all are together."""
    random_life(shared, postgres, mongo, mdb, count=40, seconds=240, kills=0.06)
    wait_together(shared, 43, 150)
