"""Why a stream does not run, or moves no further: the status says it, whatever the cause, with the setting or command that helps."""
import psycopg
import pytest

from handlers import handler
from handlers import status as handler_status
from harness.machine import wait_until
from streams import create, error_of, resume, status, sync, wait_state, worker

OURS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mongo_change_stream%' AND backend_type NOT LIKE '%launcher'"


def wait_reason(db, stream, *words, timeout=30):
    """Waits until the reason holds all the words; returns the status' row."""
    def told():
        return all(word in status(db, stream)["reason"] for word in words)

    try:
        wait_until(told, timeout)
    except TimeoutError:
        raise AssertionError(f"{words} not in {status(db, stream)}") from None
    return status(db, stream)


@pytest.fixture
def owned(linked, mdb):
    """A stream of the role rita."""
    linked.execute("CREATE ROLE rita LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO rita")
    linked.execute("SET ROLE rita")
    create(linked, "orders", collection="c")
    linked.execute("RESET ROLE")
    sync(linked, "orders")
    yield linked
    linked.execute(f"GRANT CONNECT ON DATABASE {linked.name} TO PUBLIC")
    linked.execute("DROP OWNED BY rita CASCADE")
    linked.execute("DROP ROLE rita")


def test_owner_may_not_connect(owned):
    owned.execute(f"REVOKE CONNECT ON DATABASE {owned.name} FROM PUBLIC")
    owned.execute("SELECT pg_terminate_backend(%s, 5000)", worker(owned, "orders"))
    shown = wait_reason(owned, "orders", "may not connect to this database: GRANT CONNECT ON DATABASE", "rita")
    assert shown["pid"] is None
    owned.execute(f"GRANT CONNECT ON DATABASE {owned.name} TO PUBLIC")
    wait_state(owned, "orders", "active")


def test_owner_may_not_log_in(owned, postgres):
    if postgres.installation.major >= 17:
        pytest.skip("processes need no LOGIN from 17 on")
    owned.execute("ALTER ROLE rita NOLOGIN")
    owned.execute("SELECT pg_terminate_backend(%s, 5000)", worker(owned, "orders"))
    wait_reason(owned, "orders", "may not log in", "ALTER ROLE rita LOGIN")
    owned.execute("ALTER ROLE rita LOGIN")
    wait_state(owned, "orders", "active")


def test_process_that_ended_by_an_error(owned):
    """The words of the error, not that there was one."""
    # twice, so that the pause is longer
    for _ in range(2):
        owned.execute("SELECT pg_terminate_backend(%s, 5000)", worker(owned, "orders"))
        shown = wait_reason(owned, "orders", "its process ended and will be started again: terminating background worker")
        assert shown["state"] == "retrying" and shown["next_retry_at"] and "terminating" in shown["last_error"]
    wait_state(owned, "orders", "active")


def test_lock(linked, mdb):
    """What holds up a commit is named while it does, and the state goes back to normal after it."""
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    locker = linked.connect(autocommit=False)
    locker.execute("LOCK TABLE change_stream_events IN ACCESS EXCLUSIVE MODE")
    mdb.c.insert_one({"_id": 1})
    other = linked.connect()
    # the view itself reads other tables only
    wait_reason(linked, "orders", "waits for a lock on change_stream_events", f"process {locker.info.backend_pid}")
    locker.rollback()
    locker.close()
    other.close()
    sync(linked, "orders")
    assert "waits" not in status(linked, "orders")["reason"]


def test_old_schema(postgres, mongo, mdb):
    db = postgres.create_database("reasons_old", extension=False)
    db.execute("CREATE EXTENSION mongo_change_stream VERSION '1.0'")
    db.create_server(mongo.uri, mdb.name)
    create(db, "orders", collection="c")
    wait_state(db, "orders", "active")
    assert "ALTER EXTENSION mongo_change_stream UPDATE" in status(db, "orders")["reason"]
    db.execute("ALTER EXTENSION mongo_change_stream UPDATE")
    sync(db, "orders")
    assert "ALTER EXTENSION" not in status(db, "orders")["reason"]
    db.close()
    postgres.drop_database("reasons_old")


@pytest.mark.timeout(120)
def test_limits_reserve_and_turns(new_cluster, mongo, mdb):
    """One role's limit, a reserve for others, and a process for each role, however many streams another has."""
    cluster = new_cluster(settings={"max_worker_processes": 8, "max_logical_replication_workers": 0,
                                    "mongo_change_stream.reserved_worker_processes": 2,
                                    "mongo_change_stream.max_streams_per_role": 7, "mongo_change_stream.max_streams": 9,
                                    "mongo_change_stream.max_databases": 4})
    db = cluster.create_database("shared")
    db.create_server(mongo.uri, mdb.name, password_required="false", share_cursor="false")
    for role in ("greedy", "modest", "last"):
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT USAGE ON FOREIGN SERVER mongo TO {role}")

    def streams_of(role, count):
        with db.connect(role) as connection:
            for number in range(count):
                create(connection, f"{role}{number}")

    streams_of("greedy", 8)
    # 8, less the launcher and two for others
    db.wait_for(OURS.replace("%", "%%"), expect=5)
    db.wait_for("SELECT count(*) FROM change_stream_status WHERE state = 'active'", expect=5)
    db.wait_for("SELECT count(*) FROM change_stream_status WHERE reason LIKE '%%max_worker_processes, which is 8%%'"
                " AND reason LIKE '%%reserved_worker_processes%%'", expect=2)
    db.wait_for("SELECT count(*) FROM change_stream_status WHERE reason LIKE '%%max_streams_per_role%%'", expect=1)
    # another role gets processes at once, and no more than its part
    streams_of("modest", 1)
    wait_state(db, "modest0", "active")
    assert db.value(OURS) == 5
    db.wait_for("SELECT count(*) FROM change_stream_status WHERE state = 'active' AND stream_name LIKE 'greedy%%'", expect=4)
    # all slots are taken: nine of them
    streams_of("last", 2)
    wait_state(db, "last0", "active")
    wait_reason(db, "last1", "mongo_change_stream.max_streams ")
    # four databases: template1, postgres, shared, and one more
    for name in ("fourth", "fifth"):
        cluster.create_database(name).close()
    other = cluster.create_database("sixth")
    assert other.value("SELECT reason FROM change_stream_absence(10, false)")


@pytest.mark.timeout(120)
def test_switched_off(new_cluster, mongo, mdb):
    """A copy of a server that is started with enabled = off follows nothing, and says so, until it is switched on."""
    cluster = new_cluster(settings={"mongo_change_stream.enabled": "off"})
    db = cluster.create_database("copy")
    db.create_server(mongo.uri, mdb.name)
    create(db, "orders", collection="c")
    handler(db, "h", stream="orders", body="BEGIN NULL; END")
    for shown in (status(db, "orders"), handler_status(db, "h")):
        assert shown["state"] == "paused" and "mongo_change_stream.enabled is off" in shown["reason"]
    assert db.value(OURS) == 0
    cluster.configure(mongo_change_stream__enabled="on")
    cluster.reload()
    sync(db, "orders")
    mdb.c.insert_one({"_id": 1})
    sync(db, "orders")
    cluster.configure(mongo_change_stream__enabled="off")
    cluster.reload()
    db.wait_for(OURS.replace("%", "%%"), expect=0)
    wait_reason(db, "orders", "mongo_change_stream.enabled is off")
    assert status(db, "orders")["state"] == "paused"
    cluster.configure(mongo_change_stream__enabled="on", synchronous_standby_names="nobody")
    cluster.reload()
    # a commit waits for a standby that is not there
    mdb.c.insert_one({"_id": 2})
    wait_reason(db, "orders", "waits for a synchronous standby", "synchronous_standby_names")
    cluster.configure(synchronous_standby_names="")
    cluster.reload()
    sync(db, "orders")


def test_not_preloaded(new_cluster, mongo, mdb):
    cluster = new_cluster(settings={"shared_preload_libraries": ""})
    db = cluster.create_database("plain")
    db.create_server(mongo.uri, mdb.name)
    create(db, "orders", collection="c")
    assert "add mongo_change_stream to shared_preload_libraries" in status(db, "orders")["reason"]
    assert isinstance(error_of(db, "SELECT change_stream_absence(0, NULL, 1)"), psycopg.Error)


def test_words_of_mongodb(linked, mongo, mdb):
    """What MongoDB says of a stream that it refuses, or of a role, is in the reason, before what helps."""
    create(linked, "orders", collection="c")
    wait_state(linked, "orders", "active")
    mongo.fail_command(["getMore", "aggregate"], errorCode=73)
    shown = wait_state(linked, "orders", "error")
    assert "MongoDB error 73" in shown["reason"] and "failCommand" in shown["reason"], shown
    mongo.stop_failing()
    resume(linked, "orders")
    sync(linked, "orders")
    mongo.fail_command(["getMore", "aggregate"], errorCode=18)
    reason = wait_state(linked, "orders", "error")["reason"]
    assert "MongoDB error 18" in reason and reason.index("MongoDB error 18") < reason.index("USER MAPPING")
