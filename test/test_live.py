"""Nothing waits for ever: dead connections are noticed, errors pass, the lag tells how old the table is."""
import time

import pytest

import oracle
from harness.machine import wait_until
from streams import create, ids, status, sync, wait_state

LAG = "SELECT extract(epoch FROM lag)::float8 FROM change_stream_status"


@pytest.fixture
def through_proxy(db, mongo, mdb, proxy):
    """A stream that is read through the proxy and has had an event."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name)
    db.since = oracle.mark(mongo)
    create(db, "orders")
    mdb.orders.insert_one({"_id": 1})
    sync(db, "orders")
    return db


def has_events(db, count, timeout=40):
    db.wait_for("SELECT count(*) FROM change_stream_events", expect=count, timeout=timeout)


@pytest.mark.parametrize("how", ["before a reply", "within a reply"])
def test_half_open(through_proxy, mongo, mdb, proxy, how):
    """The other end of the connection is gone without a word, while new ones can be made."""
    count = 1
    while through_proxy.value("SELECT last_error IS NULL FROM change_stream_progress"):
        assert count < 5
        if how == "before a reply":
            proxy.silence()
        else:
            # it may be the reply to a question that the worker asks beside
            proxy.stop_in = 40
            wait_until(lambda: proxy.stop_in is None, 10, "part of a reply")
        count += 1
        mdb.orders.insert_one({"_id": count})
        has_events(through_proxy, count)
    assert "silent" in through_proxy.value("SELECT last_error FROM change_stream_progress")
    wait_state(through_proxy, "orders", "active")
    assert oracle.compare(through_proxy, "orders", mongo, through_proxy.since, mdb.name) == count


def test_slow_getmore_is_waited_for(through_proxy, mongo, mdb):
    """A server that is at work on a getMore for long is no dead one: it is not asked to begin anew."""
    errors = "SELECT restarts + consecutive_errors FROM change_stream_progress"
    before = through_proxy.value(errors)
    slow = {"configureFailPoint": "waitAfterPinningCursorBeforeGetMoreBatch"}
    mongo.client.admin.command({**slow, "mode": "alwaysOn"})
    try:
        wait_until(lambda: [op for op in mongo.client.admin.command("currentOp")["inprog"]
                            if op.get("failpointMsg") == slow["configureFailPoint"]], what="a getMore that is held up")
        mdb.orders.insert_one({"_id": 2})
        time.sleep(12)
        assert through_proxy.value("SELECT count(*) FROM change_stream_events") == 1
    finally:
        mongo.client.admin.command({**slow, "mode": "off"})
    has_events(through_proxy, 2)
    assert through_proxy.value(errors) == before


def test_slow_command_is_waited_for(linked):
    """The same for a command."""
    linked.execute("SELECT mongo_command('{\"sleep\": 1, \"millis\": 9000, \"lock\": \"none\"}', 'admin')")


def test_socket_timeout(db, mongo, mdb, proxy):
    """A user's own socketTimeoutMS is the silence after which the server is asked."""
    db.create_server(mongo.direct_uri(proxy.port) + "&socketTimeoutMS=500", mdb.name)
    create(db, "orders")
    wait_state(db, "orders", "active")
    db.wait_for("SELECT oplog_window IS NOT NULL FROM change_stream_status")
    begin = time.monotonic()
    proxy.silence()
    mdb.orders.insert_one({"_id": 1})
    has_events(db, 1)
    assert time.monotonic() - begin < 5
    assert "silent" in db.value("SELECT last_error FROM change_stream_progress")


def test_errors_nobody_knows(linked, mongo, mdb):
    """Answers that are not known to be for good are no end of a stream that has worked."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    wait_state(linked, "orders", "active")
    codes = [1, 8, 211, 146, 246, 14031, 40573, 2, 4711]
    for number, code in enumerate(codes):
        mongo.fail_command(["getMore", "aggregate"], times=1, errorCode=code)
        mdb.orders.insert_one({"_id": number})
        sync(linked, "orders")
        assert f"MongoDB error {code}" in linked.value("SELECT last_error FROM change_stream_progress")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == len(codes)
    assert status(linked, "orders")["state"] == "active"


def test_errors_for_good(linked, mongo, mdb):
    """Those that are end the stream, with the words of MongoDB."""
    for code, state in ((9, "error"), (47, "error"), (166, "error"), (286, "history_lost"), (260, "history_lost")):
        create(linked, "orders")
        wait_state(linked, "orders", "active")
        mongo.fail_command(["getMore"], times=1, errorCode=code)
        shown = wait_state(linked, "orders", state)
        assert f"MongoDB error {code}" in shown["last_error"] and shown["reason"]
        linked.execute("SELECT drop_change_stream('orders')")


def test_one_refusal_does_not_narrow(linked, mongo, mdb):
    """A stream that has watched the database goes on to do so after a single Unauthorized."""
    create(linked, "orders", collection="orders")
    wait_state(linked, "orders", "active")
    mongo.fail_command(["getMore"], times=1, errorCode=13)
    linked.wait_for("SELECT last_error IS NOT NULL FROM change_stream_progress")
    wait_state(linked, "orders", "active")
    mdb.orders.insert_one({"_id": 1})
    sync(linked, "orders")
    assert status(linked, "orders")["reason"] == "following the change stream"
    mdb.orders.rename("archive")            # would end a stream that watches the collection only
    mdb.orders.insert_one({"_id": 2})
    sync(linked, "orders")
    assert ids(linked, "orders")[-1] == 2


def test_first_retry_at_once(through_proxy, mdb, proxy):
    """A connection that is cut alone is made anew without waiting: sooner than after the first pause that there is else."""
    taken = []
    # a machine that is busy may be slow about it, but not each time
    while not taken or min(taken) >= 0.45 and len(taken) < 5:
        if taken:
            time.sleep(5.5)             # so long after it, another cut is one of its own
        proxy.reset()
        begin = time.monotonic()
        number = len(taken) + 2
        mdb.orders.insert_one({"_id": number})
        has_events(through_proxy, number)
        taken.append(time.monotonic() - begin)
    assert min(taken) < 0.45, taken


def test_lag_ages(linked, mongo, mdb):
    """Near zero while nothing happens; growing while a lock holds the worker up, or MongoDB is silent."""
    create(linked, "orders", max_await_time="1 second")
    mdb.orders.insert_one({"_id": 1})
    sync(linked, "orders")
    shown = []

    def stays_small():
        """For three seconds, in which an answer of MongoDB comes each second."""
        shown[:] = [linked.value(LAG) for _ in range(15) if not time.sleep(0.2)]
        return max(shown) < 1.5

    wait_until(stays_small, what=shown)
    with linked.connect() as other:
        with other.transaction():
            other.execute("LOCK TABLE change_stream_events IN EXCLUSIVE MODE")
            mdb.orders.insert_one({"_id": 2})
            linked.wait_for(LAG.replace("::float8", " > 3"), timeout=20)
            assert status(linked, "orders")["state"] == "active"
    linked.wait_for(LAG.replace("::float8", " < 1.5"), timeout=20)
    mongo.members[0].freeze()
    linked.wait_for(LAG.replace("::float8", " > 3"), timeout=20)
    mongo.members[0].thaw()
    linked.wait_for(LAG.replace("::float8", " < 1.5"), timeout=60)
    assert ids(linked, "orders") == [1, 2]
