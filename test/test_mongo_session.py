"""Sessions with MongoDB: they work, they stop at once, and nothing of them stays."""
import json
import os
import pathlib
import signal
import socket
import threading
import time

import psycopg
import pytest

from harness.machine import wait_until
from streams import gone, plain_end, wait_event

SLEEP = "SELECT mongo_command('{\"sleep\": 1, \"millis\": 60000, \"lock\": \"none\"}', 'admin')"
PING = "SELECT mongo_command('{\"ping\": 1}')"


def open_cursors(mongo):
    return mongo.client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]


def counter_file(pid):
    """What libmongoc makes in shared memory for a process."""
    return pathlib.Path(f"/dev/shm/mongoc-{pid}")


def timed(function, *arguments):
    """How long a call takes that has to fail, and its error."""
    begin = time.monotonic()
    with pytest.raises(psycopg.Error) as failure:
        function(*arguments)
    return time.monotonic() - begin, failure.value


class Running:
    """A statement that runs on a connection of its own while the test does something else."""

    def __init__(self, database, statement):
        self.connection = database.connect()
        self.pid = self.connection.info.backend_pid
        self.error = None
        self.thread = threading.Thread(target=self._run, args=(statement,))
        self.thread.start()
        database.wait_for("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s AND state = 'active'",
                          self.pid, expect="Extension", timeout=10)

    def _run(self, statement):
        try:
            self.connection.execute(statement)
        except psycopg.Error as error:
            self.error = error
        self.ended = time.monotonic()

    def end(self, database, function):
        """Calls pg_cancel_backend or pg_terminate_backend; how long the statement went on, the machine's part not counted."""
        begin = time.monotonic()
        database.execute(f"SELECT {function}(%s)", self.pid)
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.ended - begin - plain_end(database)


# ---------------------------------------------------------------- what works

def test_command(linked, mdb):
    """Commands of every kind run as the caller, in the server's database or another."""
    linked.execute("SELECT mongo_command('{\"insert\": \"orders\", \"documents\": [{\"_id\": 1, \"total\": {\"$numberDecimal\": \"12.50\"}}]}')")
    assert mdb.orders.count_documents({}) == 1
    reply = linked.value("SELECT (mongo_command('{\"find\": \"orders\"}'))['cursor']['firstBatch']::text")
    assert json.loads(reply) == [{"_id": 1, "total": {"$numberDecimal": "12.50"}}]
    assert linked.value("SELECT mongo_command('{\"dbStats\": 1}', 'admin') ->> 'db'") == "admin"
    assert linked.value("SELECT mongo_command('{\"dbStats\": 1}') ->> 'db'") == mdb.name


def test_command_on_cursor(linked, mdb):
    """A cursor of one command goes on in the next, as both have one session."""
    mdb.orders.insert_many({"_id": number} for number in range(10))
    cursor = linked.value("SELECT (mongo_command('{\"find\": \"orders\", \"batchSize\": 3}'))['cursor'] ->> 'id'")
    more = linked.value("SELECT (mongo_command(%s::document))['cursor']['nextBatch']::text",
                        json.dumps({"getMore": {"$numberLong": cursor}, "collection": "orders"}))
    assert [row["_id"] for row in json.loads(more)] == list(range(3, 10))


def test_command_fails(linked):
    """MongoDB's errors come with a SQLSTATE, MongoDB's words and code."""
    with pytest.raises(psycopg.errors.FeatureNotSupported) as failure:
        linked.execute("SELECT mongo_command('{\"pingg\": 1}')")
    assert failure.value.diag.message_primary == 'could not run command "pingg" in MongoDB'
    assert failure.value.diag.message_detail == "MongoDB error 59 (CommandNotFound): no such command: 'pingg'."
    linked.execute(PING)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        linked.execute("SELECT mongo_command('{\"find\": \"a\", \"filter\": {\"$x\": 1}}')")
    linked.execute("SELECT mongo_command('{\"create\": \"a\"}')")
    with pytest.raises(psycopg.errors.DuplicateTable):
        linked.execute("SELECT mongo_command('{\"create\": \"a\"}')")


def test_connection_is_kept(linked, mongo):
    """One backend keeps one connection; ALTER SERVER and ALTER USER MAPPING take another."""
    client = "SELECT mongo_command('{\"whatsmyuri\": 1}') ->> 'you'"
    first = linked.value(client)
    assert linked.value(client) == first
    linked.execute("ALTER SERVER mongo OPTIONS (ADD batch_size '7')")
    second = linked.value(client)
    assert second != first
    linked.execute("CREATE USER MAPPING FOR public SERVER mongo OPTIONS (auth_source 'admin')")
    third = linked.value(client)
    assert third not in (first, second)
    linked.execute("ALTER USER MAPPING FOR public SERVER mongo OPTIONS (SET auth_source 'other')")
    assert linked.value(client) not in (first, second, third)


def test_connection_survives_its_loss(linked, mongo, proxy):
    """A connection that was lost while nobody used it is made anew."""
    linked.execute("DROP SERVER mongo")
    linked.create_server(mongo.direct_uri(proxy.port), "admin")
    linked.execute(PING)
    proxy.reset()
    time.sleep(1.1)   # libmongoc looks at a connection that was idle for a second
    linked.execute(PING)


def test_name_in_mongodb(linked, mongo):
    """An operator of MongoDB sees who we are."""
    running = Running(linked, SLEEP)

    def ours():
        return [op for op in mongo.client.admin.command("currentOp")["inprog"]
                if op.get("appName", "").startswith("mongo_change_stream: ")]

    found = wait_until(ours, 10, "our command shows in currentOp")
    assert found[0]["clientMetadata"]["driver"]["name"] == "mongoc / mongo_change_stream"
    running.end(linked, "pg_cancel_backend")
    running.connection.close()


def test_election_is_waited_for(db, new_replica_set):
    """While members answer but none is primary, a command waits for one."""
    replica_set = new_replica_set(members=1)
    db.create_server(replica_set.uri, "admin")
    db.execute(PING)
    replica_set.step_down(4)
    begin = time.monotonic()
    db.execute("SELECT mongo_command('{\"insert\": \"x\", \"documents\": [{}]}', 'test')")
    assert time.monotonic() - begin > 0.3


# ---------------------------------------------------------------- what stops

@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
def test_cancel_long_command(linked, mongo, mdb, end):
    """The command ends at once here, and in MongoDB, too."""
    mdb.orders.insert_many({} for _ in range(1000))
    slow = {"$function": {"body": "function() {sleep(60); return true}", "args": [], "lang": "js"}}
    command = json.dumps({"count": "orders", "query": {"$expr": slow}})
    running = Running(linked, f"SELECT mongo_command('{command}')")
    assert running.end(linked, end) < 0.5
    assert running.error.sqlstate == ("57014" if end == "pg_cancel_backend" else "57P01")
    wait_until(lambda: not [op for op in mongo.client.admin.command("currentOp")["inprog"] if "count" in op.get("command", {})],
               10, "MongoDB notices")
    if end == "pg_cancel_backend":
        running.connection.execute(PING)
    running.connection.close()
    wait_until(lambda: gone(running.pid), 5, "the backend ends")


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend"])
def test_frozen_mongod(linked, mongo, connected, end):
    """A server that hangs holds nobody up."""
    linked.connect().close()
    if connected:
        linked.execute(PING)
    mongo.members[0].freeze()
    running = Running(linked, PING)
    assert running.end(linked, end) < 0.5
    running.connection.close()
    begin = time.monotonic()
    wait_until(lambda: gone(running.pid), 5, "the backend ends")
    took = time.monotonic() - begin
    assert took < 0.7 + plain_end(linked)
    linked.execute("SET statement_timeout = '300ms'")
    took, error = timed(linked.execute, PING)
    linked.execute("SET statement_timeout = 0")
    assert error.sqlstate == "57014" and took < 0.8 + plain_end(linked)
    linked.execute("RESET statement_timeout")
    mongo.members[0].thaw()
    linked.execute(PING)


def test_black_hole(linked, mongo, proxy):
    """A network that swallows everything: cancelled at once, and noticed in seconds if nobody cancels."""
    linked.execute("DROP SERVER mongo")
    linked.create_server(mongo.direct_uri(proxy.port) + "&connectTimeoutMS=1500", "admin")
    linked.execute(PING)
    proxy.blackhole = True
    running = Running(linked, PING)
    assert running.end(linked, "pg_cancel_backend") < 0.5
    running.connection.close()
    took, error = timed(linked.connect().execute, PING)
    assert error.sqlstate == "08001" and 1 < took < 4
    proxy.blackhole = False
    linked.execute(PING)


def test_dead_server_is_told_from_a_slow_one(linked, mongo, proxy):
    """A command may take as long as it likes while its server lives, and fails soon when it does not."""
    linked.execute("DROP SERVER mongo")
    linked.create_server(mongo.direct_uri(proxy.port) + "&socketTimeoutMS=700", "admin")
    begin = time.monotonic()
    linked.execute("SELECT mongo_command('{\"sleep\": 1, \"millis\": 3000, \"lock\": \"none\"}', 'admin')")
    assert time.monotonic() - begin > 2.9
    # of a length of its own, as MongoDB goes on with the sleeps of other tests
    running = Running(linked, SLEEP.replace("60000", "61234"))
    wait_until(lambda: [op for op in mongo.client.admin.command("currentOp")["inprog"]
                        if op.get("command", {}).get("millis") == 61234], 10, "MongoDB has begun")
    proxy.blackhole = True
    running.thread.join(20)
    assert not running.thread.is_alive()
    assert running.error.sqlstate == "08006"
    running.connection.close()


def test_nobody_listens(db):
    """A wrong address is told at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        db.create_server(f"mongodb://127.0.0.1:{taken.getsockname()[1]}/", "admin")
        took, error = timed(db.execute, PING)
    assert took < 1 + plain_end(db)
    assert error.sqlstate == "08001"
    assert "connection refused" in error.diag.message_detail
    assert "ALTER SERVER" in error.diag.message_hint


def test_unknown_host(db):
    db.create_server("mongodb://nowhere.invalid/", "admin")
    running_since = time.monotonic()
    with pytest.raises(psycopg.errors.SqlclientUnableToEstablishSqlconnection) as failure:
        db.execute(PING)
    assert "nowhere.invalid" in failure.value.diag.message_detail
    assert time.monotonic() - running_since < 15


# ---------------------------------------------------------------- what stays

def test_no_cursor_stays(db, new_replica_set):
    """Change streams opened to try something are closed in MongoDB as well."""
    replica_set = new_replica_set(members=1)
    replica_set.client.shop.orders.insert_one({})
    db.create_server(replica_set.uri, "shop")
    wait_until(lambda: open_cursors(replica_set) == 0, 15, "no cursor is open before")
    db.execute("SELECT * FROM check_mongo_server()")
    wait_until(lambda: open_cursors(replica_set) == 0, 5, "no cursor is open after")


@pytest.mark.parametrize("preloaded", [True, False])
def test_nothing_in_shared_memory(new_cluster, mongo, preloaded):
    """libmongoc's counters leave no file, not even of a process that is killed."""
    cluster = new_cluster(settings={} if preloaded else {"shared_preload_libraries": ""})
    database = cluster.create_database("counters")
    database.create_server(mongo.uri, "admin")
    database.execute(PING)
    pid = database.connection.info.backend_pid
    assert not counter_file(pid).exists() and not counter_file(cluster.process.pid).exists()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: gone(pid), 10, "the backend ends")
    assert not counter_file(pid).exists()
    cluster.stop("immediate")
    assert not counter_file(cluster.process.pid).exists()


def test_many_backends_end(linked, postgres, mongo):
    """Backends end with sessions open, idle and busy, and none crashes on its way."""
    pids = []
    for round_ in range(20):
        connections = [linked.connect() for _ in range(10)]
        for connection in connections:
            connection.execute(PING)
            pids.append(connection.info.backend_pid)
        if round_ % 2:
            linked.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = ANY(%s)", pids[-10:])
        for connection in connections:
            connection.close()
    wait_until(lambda: all(gone(pid) for pid in pids), 10, "all backends end")
    assert not postgres.new_deaths()


def test_frozen_mongod_at_exit(linked, postgres, mongo):
    """The same while MongoDB hangs, with threads that wait for it."""
    # none gives up before all of them wait
    linked.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.uri}&connectTimeoutMS=60000&serverSelectionTimeoutMS=60000&socketTimeoutMS=60000')")
    connections = [linked.connect() for _ in range(10)]
    pids = [connection.info.backend_pid for connection in connections]
    for connection in connections[:5]:
        connection.execute(PING)
    mongo.members[0].freeze()
    threads = []
    try:
        for connection in connections:
            threads.append(threading.Thread(target=lambda one=connection: pytest.raises(psycopg.Error, one.execute, PING)))
            threads[-1].start()
        for pid in pids:
            wait_event(linked, pid, "Extension")
        begin = time.monotonic()
        linked.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = ANY(%s)", pids)
        wait_until(lambda: all(gone(pid) for pid in pids), 30, "all backends end")
        took = time.monotonic() - begin
        assert took < 1.5 + plain_end(linked, 10)
    finally:
        mongo.members[0].thaw()
        for thread in threads:
            thread.join(5)
    assert not postgres.new_deaths()


def test_shutdown_is_fast(new_cluster, mongo):
    """A fast shutdown does not wait for MongoDB."""
    cluster = new_cluster()
    database = cluster.create_database("shutdown")
    database.create_server(mongo.uri, "admin")
    running = Running(database, SLEEP)
    mongo.members[0].freeze()
    assert cluster.stop("fast") < 2
    running.thread.join(5)
    mongo.members[0].thaw()
