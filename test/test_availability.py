"""MongoDB hangs, fails, refuses: PostgreSQL goes on at once, the status says why, and the stream recovers by itself."""
import threading
import time

import psycopg
import pytest

import oracle
from harness.machine import wait_until
from streams import Writers, call, create, drop, pause, resume, status, sync, wait_state, worker

SOON = 1.0          # seconds that anything may take that does not need MongoDB


def seconds(function, *arguments, **options):
    begin = time.monotonic()
    function(*arguments, **options)
    return time.monotonic() - begin


@pytest.fixture
def frozen(linked, mongo, mdb):
    """A stream that was active when mongod was stopped in its tracks."""
    create(linked, "orders", collection="orders")
    wait_state(linked, "orders", "active")
    linked.since = oracle.mark(mongo)
    mdb.orders.insert_one({"_id": 1})
    sync(linked, "orders")
    mongo.members[0].freeze()
    yield linked
    mongo.members[0].thaw()


def goes_on(db, mongo, mdb, timeout=60):
    """After the thaw: active again by itself, and nothing lost."""
    mongo.members[0].thaw()
    mdb.orders.insert_one({"_id": 2})
    wait_state(db, "orders", "active", timeout)
    sync(db, "orders")
    assert oracle.compare(db, "orders", mongo, db.since, mdb.name) == 2


def test_status_explains_and_recovers(frozen, mongo, mdb):
    now = frozen.value("SELECT now()")
    shown = wait_state(frozen, "orders", "retrying", 60)
    assert shown["reason"] and shown["last_error"] and shown["pid"]
    assert shown["next_retry_at"] > now and shown["state_since"] > now
    assert frozen.value("SELECT last_error_at > %s FROM change_stream_progress", now)
    for _ in range(15):
        # nor while it is being tried, which takes a while
        assert frozen.value("SELECT next_retry_at >= now() FROM change_stream_status")
        time.sleep(0.2)
    goes_on(frozen, mongo, mdb)
    shown = status(frozen, "orders")
    assert shown["next_retry_at"] is None and shown["lag"].total_seconds() < 20


def test_pause_while_frozen(frozen, mongo, mdb):
    assert seconds(pause, frozen, "orders") < SOON
    assert seconds(wait_until, lambda: frozen.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type ="
                                                    " 'mongo_change_stream worker' AND datname = current_database()") == 0) < SOON
    assert status(frozen, "orders")["state"] == "paused"
    # needs no MongoDB either
    assert seconds(resume, frozen, "orders") < SOON
    goes_on(frozen, mongo, mdb)


@pytest.mark.parametrize("mode", ["fast", "smart"])
def test_shutdown_while_frozen(frozen, postgres, mongo, mdb, mode):
    """Down in a second more than without that, though the worker waits for mongod; up again it waits on, then follows."""
    frozen.execute("CHECKPOINT")
    frozen.close()
    position = postgres.log_position()
    taken = postgres.stop(mode)
    postgres.start()
    assert "FATAL:  terminating background worker" in postgres.log_text(position) or mode == "smart"
    goes_on(frozen, mongo, mdb)
    frozen.execute("CHECKPOINT")
    frozen.close()
    usual = postgres.stop(mode)
    postgres.start()
    assert taken < SOON + usual, f"{mode} shutdown took {taken:.2f} s, and {usual:.2f} s without MongoDB hanging"


@pytest.mark.parametrize("how", ["cancel", "timeout", "terminate"])
def test_cancel_of_a_command(frozen, how):
    """A mongo_command that waits for a frozen mongod ends within a second of being told to."""
    connection = frozen.connect()
    told = []
    if how == "timeout":
        connection.execute("SET statement_timeout = '300ms'")
    else:
        def tell():
            frozen.wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'",
                            connection.info.backend_pid, expect=1)
            told.append(time.monotonic())
            frozen.execute("SELECT pg_cancel_backend(%s)" if how == "cancel" else "SELECT pg_terminate_backend(%s)",
                           connection.info.backend_pid)
        threading.Thread(target=tell).start()
        frozen.wait_for("SELECT true")
    begin = time.monotonic()
    with pytest.raises(psycopg.errors.AdminShutdown if how == "terminate" else psycopg.errors.QueryCanceled):
        call(connection, "mongo_command", command='{"ping": 1}')
    assert time.monotonic() - (told[0] if told else begin + 0.3) < SOON
    if how != "terminate":
        connection.execute("RESET statement_timeout")
        assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()


def test_black_hole(db, mongo, mdb, proxy):
    """The network swallows everything and closes nothing: noticed, retried, recovered."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders")
    mdb.orders.insert_one({"_id": 1})
    sync(db, "orders")
    proxy.blackhole = True
    mdb.orders.insert_one({"_id": 2})
    wait_state(db, "orders", "retrying", 60)
    assert seconds(pause, db, "orders") < SOON
    assert seconds(resume, db, "orders") < SOON
    proxy.blackhole = False
    wait_state(db, "orders", "active", 60)
    mdb.orders.insert_one({"_id": 3})
    sync(db, "orders")
    assert oracle.compare(db, "orders", mongo, since, mdb.name) == 3


def test_bad_network(db, mongo, mdb, proxy):
    """Bytes that arrive one by one, then resets in the middle of replies: no half event, none lost."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders")
    proxy.piece = 100
    with Writers(mongo, mdb.name) as writers:
        for _ in range(4):
            writers.wait(40)
            proxy.reset()
            wait_until(lambda: proxy.connections > 0, 20, "a new connection")
    proxy.piece = 1 << 16
    sync(db, "orders", "60 seconds")
    assert oracle.compare(db, "orders", mongo, since, mdb.name) > 150


# in a message's header its length and kind; then flags, the section's kind, the document's length, its first element, and the next
@pytest.mark.parametrize("offset", [0, 2, 12, 16, 20, 21, 23, 25, 30])
def test_damaged_replies(db, mongo, mdb, proxy, offset):
    """Replies that are no MongoDB messages end in a new connection, not in a crash, a hang or another event."""
    db.create_server(mongo.direct_uri(proxy.port), mdb.name)
    since = oracle.mark(mongo)
    create(db, "orders")
    mdb.orders.insert_one({"_id": 1})
    sync(db, "orders")
    proxy.damage += [offset] * 3
    for number in range(2, 20):
        mdb.orders.insert_one({"_id": number})
    wait_until(lambda: not proxy.damage, 30, "damaged replies")
    proxy.damage += [offset] * 2
    proxy.reset()
    wait_until(lambda: not proxy.damage, 60, "damaged replies to the handshake")
    mdb.orders.insert_one({"_id": 20})
    sync(db, "orders", "60 seconds")
    assert oracle.compare(db, "orders", mongo, since, mdb.name) == 20


@pytest.mark.timeout(180)
def test_step_down(db, new_replica_set):
    """The primary of three steps down, the next one is killed: the stream goes on at the third."""
    mongo = new_replica_set(members=3)
    db.create_server(mongo.uri, "shop")
    since = oracle.mark(mongo)
    create(db, "orders")
    with Writers(mongo, "shop") as writers:
        writers.wait(50)
        mongo.step_down()
        mongo.wait_primary()
        writers.wait(50)
        mongo.primary().kill()
        mongo.wait_primary()
        writers.wait(50)
    wait_state(db, "orders", "active", 60)
    sync(db, "orders", "60 seconds")
    assert oracle.compare(db, "orders", mongo, since, "shop") > 100


def test_wrong_password(db, postgres, new_replica_set):
    """A password that became wrong is state error, tried seldom; the right one is taken up without a restart."""
    mongo = new_replica_set(auth=True)
    admin = mongo.client.admin
    admin.command("createUser", "app", pwd="first secret", roles=[{"role": "read", "db": "shop"}])
    db.create_server(mongo.uri, "shop")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo"
               " OPTIONS (username 'app', password 'first secret', auth_source 'admin')")
    since = oracle.mark(mongo)
    create(db, "orders", collection="orders")
    mongo.client.shop.orders.insert_one({"_id": 1})
    sync(db, "orders")

    pause(db, "orders")
    db.wait_for("SELECT pid IS NULL FROM change_stream_status")     # or it would keep its connection
    admin.command("updateUser", "app", pwd="second secret")
    resume(db, "orders")
    now = db.value("SELECT now()")
    shown = wait_state(db, "orders", "error", 30)
    assert "uthentication" in f"{shown['reason']} {shown['last_error']}"
    assert 30 < (shown["next_retry_at"] - now).total_seconds() < 90
    mongo.client.shop.orders.insert_one({"_id": 2})
    with db.connect() as other, pytest.raises(psycopg.errors.InvalidPassword):
        call(other, "mongo_command", command='{"find": "orders"}')

    db.execute("ALTER USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (SET password 'second secret')")
    wait_state(db, "orders", "active", 30)
    sync(db, "orders")
    assert oracle.compare(db, "orders", mongo, since, "shop") == 2
    log = postgres.log_text()
    assert "first secret" not in log and "second secret" not in log.replace("OPTIONS (SET password 'second secret')", "")


def test_no_free_worker_process(new_cluster, mongo, mdb):
    """More streams than processes: the status of one names the setting, and it starts when another ends."""
    cluster = new_cluster(settings={"max_worker_processes": 4, "max_logical_replication_workers": 0})
    db = cluster.create_database("crowded")
    db.create_server(mongo.uri, mdb.name, share_cursor="false")
    streams = [f"s{number}" for number in range(4)]
    for stream in streams:
        create(db, stream)
    db.wait_for("SELECT count(*) FROM change_stream_status"
                " WHERE state = 'active' OR state = 'starting' AND reason LIKE '%%max_worker_processes%%'", expect=len(streams))
    waiting = db.column("SELECT stream_name FROM change_stream_status WHERE state = 'starting'")
    assert waiting and set(waiting) < set(streams)
    mdb.orders.insert_one({"_id": 1})
    for stream in set(streams) - set(waiting):
        wait_state(db, stream, "active")
        drop(db, stream)
    left = set(waiting)
    while left:
        stream = wait_until(lambda: next((one for one in left if status(db, one)["state"] == "active"), None), 30, f"one of {left} runs")
        sync(db, stream)
        assert db.value("SELECT count(*) FROM change_stream_events WHERE stream_name = %s", stream) == 1
        drop(db, stream)
        left.remove(stream)
    assert cluster.log_text().count("max_worker_processes") < 10


def test_errors_of_getmore_that_pass(linked, mongo, mdb, postgres):
    """Resumable errors, one after the other: each is resumed from, with no more than a line or two in the log."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    wait_state(linked, "orders", "active")
    position = postgres.log_position()
    codes = [43, 91, 11600, 189, 6]
    for number, code in enumerate(codes):
        labels = {} if code in (43, 6) else {"errorLabels": ["ResumableChangeStreamError"]}
        failing = {"closeConnection": True} if code == 6 else {"errorCode": code}
        mongo.fail_command(["getMore"], times=1, **failing, **labels)
        mdb.orders.insert_one({"_id": number})
        sync(linked, "orders")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == len(codes)
    assert postgres.log_text(position).count("LOG:  change stream") <= 2 * len(codes)
    assert status(linked, "orders")["state"] == "active"


def test_error_that_does_not_pass(linked, mongo, mdb):
    """An error that trying again cannot mend stops the stream with a reason; resume tries once more."""
    create(linked, "orders")
    wait_state(linked, "orders", "active")
    mongo.fail_command(["getMore", "aggregate"], errorCode=280)
    shown = wait_state(linked, "orders", "error")
    assert "280" in shown["last_error"] and shown["reason"]
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    mongo.stop_failing()
    mdb.orders.insert_one({"_id": 1})
    resume(linked, "orders")
    sync(linked, "orders")
    assert linked.value("SELECT count(*) FROM change_stream_events") == 1


def test_open_fails_for_a_while(linked, mongo, mdb):
    """Errors that pass while opening: backoff grows, and the stream opens when they stop."""
    create(linked, "orders", paused=True)
    mongo.fail_command(["aggregate"], errorCode=11600)
    try:
        resume(linked, "orders")
        shown = wait_state(linked, "orders", "retrying")
        assert shown["next_retry_at"] is not None
        linked.wait_for("SELECT consecutive_errors >= 2 FROM change_stream_progress", timeout=20)
    finally:
        mongo.stop_failing()
    wait_state(linked, "orders", "active")
    assert worker(linked, "orders")


def test_too_large_event(linked, mongo, mdb):
    """What went down with an event that is too large comes whole; the event itself comes without its documents."""
    create(linked, "orders")
    linked.execute("SELECT pause_change_stream('orders')")
    # before each opening a getMore of another cursor looks for the last event, once there is one
    for times, large in ((1, 0), (4, 1)):
        mdb.orders.insert_many([{"_id": times * 10 + number} for number in range(3)])
        mongo.fail_command(["getMore"], times=times, errorCode=10334)
        try:
            resume(linked, "orders")
            sync(linked, "orders")
        finally:
            mongo.stop_failing()
        linked.execute("SELECT pause_change_stream('orders')")
        sources = linked.column("SELECT full_document_source FROM change_stream_events ORDER BY event_id")[-3:]
        assert sources == ["too_large"] * large + ["insert"] * (3 - large)
    assert linked.value("SELECT count(*) FROM change_stream_events") == 6
