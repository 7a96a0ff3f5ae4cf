"""Positions that are older than what was: a backup that is restored, a PostgreSQL that is upgraded, clocks that differ."""
import shutil
import struct
import subprocess
import time

import pytest

import oracle
from harness import Cluster, Installation, build, install, packages
from harness.machine import as_server_user, wait_until
from streams import create, gaps, ids, resume, status, sync, wait_state

LAG = "SELECT extract(epoch FROM lag)::float8 FROM change_stream_status WHERE stream_name = 'orders'"


# ---------------------------------------------------------------- a backup of PostgreSQL

class Backup:
    """A copy of a cluster's data directory, made while it is stopped."""

    def __init__(self, cluster):
        self.cluster, self.folder = cluster, cluster.folder / "backup"
        cluster.stop()
        self._copy(cluster.data, self.folder)
        cluster.start()

    def restore(self):
        self.cluster.stop()
        shutil.rmtree(self.cluster.data)
        self._copy(self.folder, self.cluster.data)
        self.cluster.start()

    @staticmethod
    def _copy(source, target):
        subprocess.run(["cp", "-a", source, target], check=True)


def test_backup_is_restored(new_cluster, mongo, mdb):
    """PostgreSQL as it was before some events: they come again from the oplog, under the numbers that they had."""
    cluster = new_cluster()
    db = cluster.create_database("shop")
    db.create_server(mongo.uri, mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync(db, "orders")
    db.close()
    backup = Backup(cluster)
    mdb.c.insert_many([{"_id": number} for number in range(10, 30)])
    mdb.c.update_many({}, {"$set": {"n": 1}})
    sync(db, "orders")
    before = oracle.stored(db, "orders")
    db.close()
    backup.restore()
    sync(db, "orders")
    assert oracle.stored(db, "orders") == before
    mdb.c.delete_many({})
    sync(db, "orders")
    assert oracle.compare(db, "orders", mongo, since, mdb.name) == 30 + 30 + 30
    db.close()


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_backup_is_too_old(new_cluster, new_replica_set):
    """The oplog does not reach back to the backup: history_lost, and a gap row tells what is missing; nothing in silence."""
    mongo = new_replica_set(oplog_mb=1, options=["--syncdelay", "1"])
    shop = mongo.client.shop
    cluster = new_cluster()
    db = cluster.create_database("shop")
    db.create_server(mongo.uri, "shop")
    create(db, "orders", collection="c")
    shop.c.insert_one({"_id": 1})
    sync(db, "orders")
    token = db.value("SELECT resume_token FROM change_stream_progress")
    db.close()
    backup = Backup(cluster)
    shop.c.insert_one({"_id": 2})
    sync(db, "orders")
    db.close()
    cluster.stop()

    def gone():
        shop.filler.insert_many([{"pad": "x" * 100000} for _ in range(5)])
        return mongo.client.local.oplog.rs.find_one(sort=[("$natural", 1)])["ts"] > oracle.token_time(token)

    cluster.start()
    wait_until(gone, 120, "the oplog moves on", pause=0.2)
    backup.restore()
    shown = wait_state(db, "orders", "history_lost", 60)
    assert "earliest" in shown["reason"], shown
    assert ids(db, "orders") == [1]
    resume(db, "orders", start_at="earliest")
    shop.c.insert_one({"_id": 3})
    sync(db, "orders")
    assert ids(db, "orders")[0] == 1 and ids(db, "orders")[-1] == 3
    (number, low, high, reason), = gaps(db, "orders")
    assert number == 2 and low >= token[:18] and high > low and reason
    db.close()


# ---------------------------------------------------------------- pg_upgrade

def upgraded(machine, cluster, major):
    """A new cluster of a later major version that pg_upgrade has filled from one, which is stopped; started."""
    original = Installation(packages.other_postgresql(major))
    installation = original.private_copy(machine.new_folder(f"upgraded{major}") / "postgresql")
    install(build(original), installation)
    target = Cluster(machine, installation, name=f"upgraded{major}", start=False,
                     initdb=["--no-data-checksums"] if major >= 18 else [])
    cluster.stop()
    done = subprocess.run(as_server_user([
        installation.program("pg_upgrade"), "-b", cluster.installation.bindir, "-B", installation.bindir, "-d", cluster.data,
        "-D", target.data, "-U", "postgres", "-s", cluster.folder]), capture_output=True, text=True, cwd=target.folder,
        env=target.client_environment())
    if done.returncode:
        logs = [log.read_text()[-3000:] for log in target.data.glob("pg_upgrade_output.d/**/*.log")]
        raise AssertionError("\n".join([done.stdout, done.stderr, *logs]))
    target.start()
    return target


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("major", sorted(packages.POSTGRESQL))
def test_pg_upgrade(machine, mongo, mdb, major):
    """Streams, handlers and events are there, nothing runs before it is resumed, and then nothing is missing or twice."""
    oldest = min(packages.UPGRADED_FROM)
    original = Installation(packages.other_postgresql(oldest))
    installation = original.private_copy(machine.new_folder(f"upgraded{oldest}") / "postgresql")
    install(build(original), installation)
    old = Cluster(machine, installation, name=f"upgraded{oldest}from")
    db = old.create_database("shop")
    db.create_server(mongo.uri, mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders")
    create(db, "others", collection="d")
    db.execute("CREATE TABLE seen (event_id bigint PRIMARY KEY)")
    db.execute("SELECT create_change_handler('h', 'orders', body => 'INSERT INTO seen VALUES (change.event_id)')")
    mdb.c.insert_many([{"_id": number, "at": bson_date(number)} for number in range(20)])
    mdb.d.insert_one({"_id": 1})
    for stream in ("orders", "others"):
        assert db.value("SELECT sync_change_stream(%s, handlers => true)", stream)
    before = {stream: oracle.stored(db, stream) for stream in ("orders", "others")}
    db.close()
    new = upgraded(machine, old, major)
    try:
        db.cluster = new
        mdb.c.update_many({}, {"$set": {"n": 1}})
        assert db.value("SELECT current_setting('server_version_num')::int / 10000") == major
        for stream in ("orders", "others"):
            assert (status(db, stream)["state"], status(db, stream)["reason"]) == ("paused", "restored")
            assert oracle.stored(db, stream) == before[stream]
            resume(db, stream)
            assert db.value("SELECT sync_change_stream(%s, handlers => true)", stream)
        assert oracle.compare(db, "orders", mongo, since, mdb.name) == 41
        assert oracle.compare(db, "others", mongo, since, mdb.name, where=oracle.in_collection("d")) == 1
        assert db.column("SELECT event_id FROM seen ORDER BY 1") == list(range(1, 42))
        db.close()
    finally:
        new.discard()


def bson_date(number):
    """Values whose form on disk has to be the same after an upgrade."""
    import datetime
    return datetime.datetime(2026, 1, 1) + datetime.timedelta(days=number)


# ---------------------------------------------------------------- clocks

# PostgreSQL's clock is what the machine's is, and seconds that stand in a file
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *ahead;

__attribute__((constructor)) static void
begin(void)
{
	int			file = open(getenv("CLOCK_AHEAD"), O_RDONLY);
	void	   *place = mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, file, 0);

	if (place == MAP_FAILED)
		abort();
	ahead = place;
}

int
clock_gettime(clockid_t clock, struct timespec *at)
{
	static int	(*real)(clockid_t, struct timespec *);
	int			result;

	if (real == NULL)
		real = dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, at);
	if (ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		at->tv_sec += *ahead;
	return result;
}

int
gettimeofday(struct timeval *at, void *zone)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	at->tv_sec = precise.tv_sec;
	at->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec precise;

	clock_gettime(CLOCK_REALTIME, &precise);
	if (at)
		*at = precise.tv_sec;
	return precise.tv_sec;
}
"""


class Clock:
    """What a cluster's clock is ahead of MongoDB's, in seconds; may be set at any time."""

    def __init__(self, folder):
        self.file = folder / "clock_ahead"
        self.set(0)
        source = folder / "clock.c"
        source.write_text(CLOCK)
        self.library = folder / "clock.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)

    def set(self, seconds):
        # in place, since it is mapped
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("<q", seconds))


@pytest.fixture
def clocked(new_cluster, machine, mongo, mdb, monkeypatch):
    """A database with a server in a cluster whose clock can be set, and that clock."""
    clock = Clock(machine.new_folder("clock"))
    cluster = new_cluster(start=False)
    monkeypatch.setenv("LD_PRELOAD", str(clock.library))
    monkeypatch.setenv("CLOCK_AHEAD", str(clock.file))
    cluster.start()
    monkeypatch.delenv("LD_PRELOAD")
    db = cluster.create_database("clocked")
    db.create_server(mongo.uri, mdb.name)
    yield db, clock
    db.close()


def lags(db, seconds=2.0):
    """What the lag is, looked at again and again."""
    shown = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown.append(db.value(LAG))
        time.sleep(0.1)
    return [lag for lag in shown if lag is not None]


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_clock_skew(clocked, mongo, mdb, ahead):
    """PostgreSQL's clock an hour off: lag is MongoDB's own, events have MongoDB's times, and all is there."""
    db, clock = clocked
    clock.set(ahead)
    since = oracle.mark(mongo)
    create(db, "orders")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync(db, "orders")
    assert abs(db.value("SELECT extract(epoch FROM now())::float8") - time.time() - ahead) < 60
    shown = lags(db)
    assert shown and min(shown) >= 0 and max(shown) < 5, shown
    assert oracle.compare(db, "orders", mongo, since, mdb.name) == 10
    off = db.row("SELECT extract(epoch FROM min(received_at - cluster_time))::float8, min(processing_time_ms)::float8 FROM change_stream_events")
    assert abs(off[0] - ahead) < 60 and off[1] >= 0
    db.wait_for("SELECT oplog_window >= '0' FROM change_stream_status")


def test_clock_steps(clocked, mongo, mdb):
    """The clock is set forth and back under a running stream: it goes on at once, and no time becomes negative."""
    db, clock = clocked
    since = oracle.mark(mongo)
    create(db, "orders")
    written = 0
    for ahead in (3600, -3600, 0, -86400, 0):
        clock.set(ahead)
        mdb.c.insert_one({"_id": written})
        written += 1
        db.wait_for("SELECT count(*) FROM change_stream_events", expect=written, timeout=10)
        sync(db, "orders")
        # longer than a position is kept that moves without events
        shown = lags(db, 6 if ahead == -3600 else 1)
        assert shown and min(shown) >= 0 and max(shown) < 5, (ahead, shown)
        assert db.value("SELECT min(processing_time_ms) >= 0 FROM change_stream_events")
        assert status(db, "orders")["state"] == "active"
    assert oracle.compare(db, "orders", mongo, since, mdb.name) == written


def test_clock_steps_back_while_retrying(clocked, mongo, mdb):
    """A try that was due in seconds is not put off by the hour that the clock goes back."""
    db, clock = clocked
    create(db, "orders")
    wait_state(db, "orders", "active")
    mongo.fail_command(["aggregate", "getMore"], errorCode=91, errorLabels=["ResumableChangeStreamError"])
    db.wait_for("SELECT next_retry_at > now() FROM change_stream_status")
    clock.set(-3600)
    mongo.stop_failing()
    mdb.c.insert_one({"_id": 1})
    db.wait_for("SELECT count(*) FROM change_stream_events", expect=1, timeout=75)
    wait_state(db, "orders", "active")
