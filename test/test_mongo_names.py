"""Host names that lead nowhere, cease to, or are never answered for: an error or a reason that names them, and no hanging."""
import time

import psycopg
import pymongo
import pytest

from harness import Names
from harness.machine import wait_until
from streams import create, ids, resume, status, sync, wait_state, worker

PING = "SELECT mongo_command('{\"ping\": 1}')"


@pytest.fixture
def names(machine):
    return Names(machine)


@pytest.fixture
def named(new_replica_set, names):
    """A member that calls itself mongo0.test, whatever it was reached by."""
    names.set(mongo0="127.0.0.1")
    with names.used():
        mongo = new_replica_set()
    member = mongo.members[0]
    mongo.named = f"mongo0.test:{member.port}"
    with pymongo.MongoClient(member.address, directConnection=True) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config["members"][0]["host"] = mongo.named
        config["version"] += 1
        client.admin.command("replSetReconfig", config)
        wait_until(lambda: client.admin.command("hello").get("primary") == mongo.named, 30, "the member has its new name")
    mongo.direct = pymongo.MongoClient(member.address, directConnection=True)
    yield mongo
    mongo.direct.close()


@pytest.fixture
def database(new_cluster, names):
    """A database of a cluster that asks that resolver."""
    cluster = new_cluster(start=False)
    with names.used():
        cluster.start()
    one = cluster.create_database("names")
    yield one
    one.close()
    assert not cluster.new_deaths()


def failing(database, statement, within):
    """The error of a statement that has to fail in time."""
    begin = time.monotonic()
    with pytest.raises(psycopg.Error) as failure:
        database.execute(statement)
    assert time.monotonic() - begin < within
    return failure.value


def test_set_announces_other_names(database, named, names):
    """A set that was initiated under a name that the database server does not know: every way to it says so."""
    database.create_server(named.uri, "shop")
    names.set()
    for statement in ("SELECT create_change_stream('orders')", PING, "SELECT mongo_command('{\"ping\": 1}')"):
        error = failing(database, statement, 15)
        assert error.sqlstate == "08001"
        assert "Failed to resolve 'mongo0.test'" in error.diag.message_detail
        assert "directConnection=true" in error.diag.message_hint
    begin = time.monotonic()
    try:
        said = str(database.execute("SELECT * FROM check_mongo_server()"))
    except psycopg.Error as error:
        said = error.diag.message_detail
    assert "mongo0.test" in said and time.monotonic() - begin < 15

    create(database, "orders", paused=True)
    resume(database, "orders")
    database.wait_for("SELECT state = 'retrying' AND reason LIKE %s FROM change_stream_status", f"%resolve%{named.named}%")
    for _ in range(3):
        before = status(database, "orders")["next_retry_at"]
        database.wait_for("SELECT next_retry_at > %s FROM change_stream_status", before, timeout=60)
    names.set(mongo0="127.0.0.1")
    wait_state(database, "orders", "active", 60)
    sync(database, "orders")
    database.execute(PING)


def test_names_vanish_with_their_members(database, named, names):
    """A member goes, and its name with it, as containers do: waited for, and followed again when both are back."""
    database.create_server(f"mongodb://{named.named}/?replicaSet=rs0&heartbeatFrequencyMS=500", "shop")
    create(database, "orders")
    database.execute(PING)
    named.direct.shop.orders.insert_one({"_id": 1})
    sync(database, "orders")
    names.set()
    named.members[0].kill()
    wait_state(database, "orders", "retrying")
    time.sleep(0.6)             # the session's client looks at a set it has not seen for so long
    error = failing(database, PING, 15)
    assert error.sqlstate.startswith("08") and "mongo0.test" in error.diag.message_detail
    database.wait_for("SELECT reason LIKE %s FROM change_stream_status", f"%resolve%{named.named}%")
    database.wait_for("SELECT consecutive_errors > 3 FROM change_stream_progress", timeout=60)
    names.set(mongo0="127.0.0.1")
    with names.used():
        named.members[0].start()
    wait_state(database, "orders", "active", 90)
    named.direct.shop.orders.insert_one({"_id": 2})
    sync(database, "orders")
    assert ids(database, "orders") == [1, 2]
    database.execute(PING)


def test_resolver_that_never_answers(database, named, names):
    """A driver that does not come back is given up: the statement fails, the worker starts again, each saying why."""
    names.set(mongo0="127.0.0.1", stuck="127.0.0.1")
    member = named.members[0]
    database.create_server(f"mongodb://stuck.test:{member.port}/"
                           "?directConnection=true&connectTimeoutMS=1000&serverSelectionTimeoutMS=1000", "shop")
    create(database, "orders")
    first = worker(database, "orders")
    named.direct.shop.orders.insert_one({"_id": 1})
    sync(database, "orders")
    names.set(mongo0="127.0.0.1", stuck="never")
    member.kill()
    assert failing(database, PING, 20).sqlstate.startswith("08")    # the connection that sync had is lost
    error = failing(database, PING, 20)
    assert error.sqlstate == "08001" and "'stuck.test'" in error.diag.message_detail
    database.wait_for("SELECT pid <> %s FROM change_stream_status", first, timeout=40)
    database.wait_for("SELECT state = 'retrying' AND reason LIKE '%%stuck.test%%' FROM change_stream_status", timeout=40)
    names.set(mongo0="127.0.0.1", stuck="127.0.0.1")
    with names.used():
        member.start()
    wait_state(database, "orders", "active", 60)
    named.direct.shop.orders.insert_one({"_id": 2})
    sync(database, "orders")
    assert ids(database, "orders") == [1, 2]
    database.execute(PING)
