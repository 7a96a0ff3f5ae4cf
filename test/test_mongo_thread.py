"""The driver's thread where it can't be woken and where it gets no memory."""
import os
import re
import resource
import subprocess
import time

import psycopg
import pytest

from harness.machine import as_server_user, wait_until
from streams import gone, plain_end

PING = "SELECT mongo_command('{\"ping\": 1}')"

# name resolution that hangs, for names that end with .slow
SLOW_NAMES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int
getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");

	if (name != NULL && strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".slow") == 0)
	{
		for (int i = 0; i < 60; i++)
			sleep(1);
		return EAI_AGAIN;
	}
	return real(name, service, hints, found);
}
"""


@pytest.fixture
def slow_names(new_cluster, machine, monkeypatch):
    """A cluster whose name resolution hangs where the test wants it, with a server of such a name."""
    source = os.path.join(machine.folder, "slow_names.c")
    library = source[:-1] + "so"
    with open(source, "w") as file:
        file.write(SLOW_NAMES)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    cluster = new_cluster(start=False)
    monkeypatch.setenv("LD_PRELOAD", library)
    cluster.start()
    monkeypatch.delenv("LD_PRELOAD")
    database = cluster.create_database("slow")
    database.create_server("mongodb://mongo.slow:27017/", "admin")
    yield database
    database.close()
    assert not cluster.new_deaths()


def test_name_resolution_is_not_waited_for(slow_names):
    """A cancel takes effect at once, and so does the end of the process, without a crash."""
    for turn in range(10):
        connection = slow_names.connect()
        pid = connection.info.backend_pid
        connection.execute("SET statement_timeout = '50ms'")
        for _ in range(3):
            begin = time.monotonic()
            with pytest.raises(psycopg.errors.QueryCanceled):
                connection.execute(PING)
            took = time.monotonic() - begin
            assert took < 0.5 + plain_end(slow_names)
        connection.execute("SELECT 1")
        if turn % 2:
            slow_names.execute("SELECT pg_terminate_backend(%s)", pid)
        begin = time.monotonic()
        connection.close()
        wait_until(lambda: gone(pid), 5, "the backend ends")
        took = time.monotonic() - begin
        assert took < 1.2 + plain_end(slow_names)


def test_shutdown_during_name_resolution(slow_names):
    connection = slow_names.connect()
    connection.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(PING)
    assert slow_names.cluster.stop("fast") < 2


def test_threads_left(slow_names):
    """A backend whose threads do not end starts no more of them."""
    connection = slow_names.connect()
    connection.execute("SET statement_timeout = '50ms'")
    for _ in range(8):
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(PING)
    with pytest.raises(psycopg.errors.InsufficientResources) as failure:
        connection.execute(PING)
    assert "8 sessions" in failure.value.diag.message_detail and "Reconnect" in failure.value.diag.message_hint
    connection.close()


def limit_memory(pid, more):
    """Lets a process map so many bytes more than it has, or (None) any number."""
    with open(f"/proc/{pid}/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limit = "unlimited" if more is None else now + more
    subprocess.run(as_server_user(["prlimit", f"--pid={pid}", f"--as={limit}:"]), check=True)


def test_out_of_memory(new_cluster, mongo, mdb, monkeypatch):
    """A driver without memory costs a statement, not the cluster."""
    mdb.big.insert_many({"_id": number, "text": "x" * 1_000_000} for number in range(15))
    cluster = new_cluster(start=False)
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")     # else the thread has 64 MB reserved
    cluster.start()
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    database = cluster.create_database("memory")
    database.create_server(mongo.uri, mdb.name)
    connection = database.connect()
    pid = connection.info.backend_pid
    connection.execute(PING)
    find = "SELECT length(mongo_command('{\"find\": \"big\", \"batchSize\": 100}')::text)"
    for _ in range(3):
        limit_memory(pid, 4_000_000)
        with pytest.raises(psycopg.errors.OutOfMemory) as failure:
            connection.execute(find)
        assert failure.value.diag.message_detail.startswith("Failed in MongoDB's driver")
        assert connection.execute("SELECT 1").fetchone() == (1,)
        limit_memory(pid, None)
        connection.execute(PING)
    assert connection.execute(find).fetchone()[0] > 15_000_000
    connection.close()
    wait_until(lambda: gone(pid), 5, "the backend ends")
    assert not cluster.new_deaths()


def test_reads_ahead_up_to_its_bound(linked, mdb, postgres):
    """While the worker can't write, MongoDB is asked for more until 16 MB are there; only then it waits for us."""
    linked.execute(f"ALTER DATABASE {linked.name} SET log_min_messages = debug1")

    def waits(size, inserts, locked):
        """Microseconds for which nothing was asked, with room and without, while the events table was locked for some seconds."""
        begin = postgres.log_position()
        linked.execute("SELECT create_change_stream('ahead', collection => 'ahead')")
        mdb.ahead.insert_one({})
        linked.execute("SELECT sync_change_stream('ahead')")
        with linked.connect(autocommit=False) as session:
            session.execute("LOCK TABLE change_stream_events IN EXCLUSIVE MODE")
            until = time.monotonic() + locked
            for _ in range(inserts):
                mdb.ahead.insert_one({"filler": "x" * size})
            time.sleep(max(0, until - time.monotonic()))
        linked.execute("SELECT sync_change_stream('ahead')")
        linked.execute("SELECT drop_change_stream('ahead')")
        told = wait_until(lambda: re.search(r'change stream "ahead" has read (\d+) replies; between them MongoDB was asked nothing'
                                            r" for (\d+) us, and for (\d+) us", postgres.log_text(begin)), 10, "the worker tells")
        return int(told[2]), int(told[3])

    with_room, without = waits(10, 20, 2)
    assert with_room < 500_000 and without == 0
    with_room, without = waits(1_000_000, 25, 3)
    assert with_room < 500_000 and without > 200_000
