"""What PostgreSQL can refuse a stream: space, locks, memory, its table, its owner's rights; retried or told, never lost."""
import os
import subprocess
import time

import pytest

import oracle
from harness import Cluster, Installation, build, install, packages
from harness.machine import give_to_server_user, wait_until
from streams import create, error_of, ids, pause, resume, status, sync, wait_state, worker

PROGRESS = "SELECT resume_token, last_event_id, consecutive_errors FROM change_stream_progress WHERE stream_name = %s"

# conditions that pass, each raised for the stream that is named like it
PASSING = {"s40001": "serialization_failure", "s40p01": "deadlock_detected", "s53000": "insufficient_resources", "s53100": "disk_full",
           "s53200": "out_of_memory", "s53300": "too_many_connections", "s55p03": "lock_not_available", "s57014": "query_canceled",
           "s58030": "io_error"}


def wait_reason(db, stream, *words, timeout=30):
    """Waits until the reason holds all the words; returns the status' row."""
    try:
        wait_until(lambda: all(word in status(db, stream)["reason"] for word in words), timeout)
    except TimeoutError:
        raise AssertionError(f"{words} not in {status(db, stream)}") from None
    return status(db, stream)


def test_errors_that_pass(linked, mongo, mdb):
    """Tried again with the same events for as long as it takes; no event is blamed, though each stream skips what cannot be written."""
    since = oracle.mark(mongo)
    for stream in PASSING:
        create(linked, stream, on_error="skip")
    mdb.c.insert_one({"_id": 0})
    for stream in PASSING:
        sync(linked, stream)
    linked.execute("CREATE TABLE trouble AS SELECT * FROM unnest(%s::text[]) AS stream_name", list(PASSING))
    linked.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$ BEGIN"
                   " IF EXISTS (SELECT FROM public.trouble t WHERE t.stream_name = NEW.stream_name AND NEW.document_key->>'_id' = '7') THEN"
                   " RAISE 'no luck' USING ERRCODE = upper(substr(NEW.stream_name, 2)); END IF; RETURN NEW; END $$")
    linked.execute("GRANT SELECT ON trouble TO PUBLIC")
    linked.execute("CREATE TRIGGER refuse BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()")
    before = {stream: linked.row(PROGRESS, stream) for stream in PASSING}
    with mongo.client.start_session() as session, session.start_transaction():
        mdb.c.insert_many([{"_id": number} for number in range(1, 20)], session=session)
    for stream, (token, last, _) in before.items():
        # after the second failure events are looked at one by one
        try:
            wait_until(lambda: linked.row(PROGRESS, stream)[2] >= 3, 20)
        except TimeoutError:
            raise AssertionError(f"{linked.row(PROGRESS, stream)} {status(linked, stream)}") from None
        shown = status(linked, stream)
        assert shown["state"] == "retrying" and "no luck" in shown["last_error"], shown
        position, number, _ = linked.row(PROGRESS, stream)
        assert number == last and oracle.token_time(position) <= oracle.token_time(oracle.token_text(
            {"_data": linked.value("SELECT max(resume_token) FROM change_stream_progress")})), (stream, position, token)
    assert linked.value("SELECT count(*) FROM change_stream_events") == len(PASSING)
    linked.execute("DELETE FROM trouble")
    for stream in PASSING:
        sync(linked, stream, "60 seconds")
        assert oracle.compare(linked, stream, mongo, since, mdb.name) == 20
        assert linked.row(PROGRESS, stream)[2] == 0


def test_deadlock(linked, mongo, mdb):
    """A deadlock with somebody's transaction, whose victim is the worker: tried again, each event once."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    linked.execute("CREATE TABLE other (n int)")
    linked.execute("CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN LOCK TABLE public.other IN EXCLUSIVE MODE; RETURN NEW; END $$")
    linked.execute("CREATE TRIGGER take BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION take()")
    pid = worker(linked, "orders")
    with linked.connect(autocommit=False) as session:
        session.execute("SET deadlock_timeout = '1min'")
        session.execute("LOCK TABLE other IN EXCLUSIVE MODE")
        mdb.c.insert_many([{"_id": number} for number in range(50)])
        wait_reason(linked, "orders", "waits for a lock on other", f"process {session.info.backend_pid}")
        session.execute("LOCK TABLE change_stream_events IN EXCLUSIVE MODE")
        linked.wait_for("SELECT last_error FROM change_stream_status", expect="deadlock detected")
    sync(linked, "orders")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == 50
    assert worker(linked, "orders") == pid


@pytest.fixture
def small_disk(linked, postgres, machine):
    """A tablespace of 4 MB, which the events table is moved to."""
    folder = machine.new_folder("small_disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        inside = folder / "space"
        inside.mkdir()
        give_to_server_user(inside)
        linked.execute(f"CREATE TABLESPACE small LOCATION '{inside}'")
        linked.execute("ALTER TABLE change_stream_events SET TABLESPACE small")
        try:
            yield folder
        finally:
            linked.execute("ALTER TABLE change_stream_events SET TABLESPACE pg_default")
            linked.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_disk_full(small_disk, linked, mongo, mdb):
    """No space for the rows: the stream waits with the words of PostgreSQL until there is, and writes each event once."""
    since = oracle.mark(mongo)
    create(linked, "orders", on_error="skip")
    # incompressible, so that it takes what it weighs
    mdb.c.insert_many([{"_id": number, "pad": os.urandom(20000)} for number in range(300)])
    linked.wait_for("SELECT consecutive_errors >= 2 FROM change_stream_progress")
    shown = wait_state(linked, "orders", "retrying")
    assert "No space left on device" in shown["last_error"] and shown["next_retry_at"], shown
    last = linked.value("SELECT last_event_id FROM change_stream_progress")
    assert linked.value("SELECT count(*) FROM change_stream_events") == last < 300
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    sync(linked, "orders", "60 seconds")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == 300


def test_lock_is_waited_for(linked, mongo, mdb):
    """However long it takes, whatever timeouts the database sets; the wait can be ended at once, and the stream paused meanwhile."""
    linked.execute(f"ALTER DATABASE {linked.name} SET lock_timeout = '300ms'")
    linked.execute(f"ALTER DATABASE {linked.name} SET statement_timeout = '300ms'")
    since = oracle.mark(mongo)
    create(linked, "orders")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    with linked.connect(autocommit=False) as session:
        session.execute("SET statement_timeout = 0")
        session.execute("ALTER TABLE change_stream_events ADD region text")
        mdb.c.insert_one({"_id": 2})
        name = f"process {session.info.backend_pid}"
        wait_reason(linked, "orders", "waits for a lock on change_stream_events", name)
        linked.wait_for("SELECT lag > '3 s' FROM change_stream_status")
        shown = status(linked, "orders")
        assert shown["state"] == "active" and shown["last_error"] is None, shown
        # MongoDB forgets the cursor of one who does not come for long
        mongo.kill_cursors_of(mdb.name)
        # the wait ends at a word
        pid = worker(linked, "orders")
        begin = time.monotonic()
        assert linked.value("SELECT pg_terminate_backend(%s, 5000)", pid)
        assert time.monotonic() - begin < 2
        linked.wait_for("SELECT pid <> %s FROM change_stream_status", pid)
        wait_reason(linked, "orders", "waits for a lock on change_stream_events", name)
        begin = time.monotonic()
        pause(linked, "orders")
        assert time.monotonic() - begin < 3
        assert status(linked, "orders")["state"] == "paused"
    # what waited when it was paused is not written
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status", timeout=10)
    assert ids(linked, "orders") == [1]
    linked.execute("SET statement_timeout = 0")
    resume(linked, "orders")
    sync(linked, "orders")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == 2


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_lock_for_minutes(linked, mongo, mdb):
    """A rewrite of the table that takes long, and MongoDB writing on meanwhile: lag grows, memory does not, no timeout strikes."""
    since = oracle.mark(mongo)
    create(linked, "orders")
    mdb.c.insert_one({"_id": "first"})
    sync(linked, "orders")
    pid = worker(linked, "orders")
    written = 0
    with linked.connect(autocommit=False) as session:
        session.execute("LOCK TABLE change_stream_events IN ACCESS EXCLUSIVE MODE")
        begin = time.monotonic()
        while time.monotonic() - begin < 240:
            mdb.c.insert_many([{"_id": written + number, "pad": os.urandom(5000)} for number in range(50)])
            written += 50
            time.sleep(0.5)
        shown = status(linked, "orders")
        assert shown["state"] == "active" and shown["pid"] == pid and shown["lag"].total_seconds() > 200, shown
        with open(f"/proc/{pid}/status") as memory:
            resident = next(int(line.split()[1]) for line in memory if line.startswith("RssAnon"))
        print(f"{written} documents of 5 KB, {resident} KB")
        assert resident < 120_000
    sync(linked, "orders", "120 seconds")
    assert oracle.compare(linked, "orders", mongo, since, mdb.name) == written + 1
    assert worker(linked, "orders") == pid


# ---------------------------------------------------------------- what somebody has taken away

@pytest.fixture
def owned(linked, mdb):
    """A stream of the role olga, of the collection c, with one event."""
    linked.execute("CREATE ROLE olga LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO olga")
    linked.execute("SET ROLE olga")
    create(linked, "orders", collection="c")
    linked.execute("RESET ROLE")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    yield linked
    linked.execute("DROP OWNED BY olga CASCADE")
    linked.execute("DROP ROLE olga")


def restarted(db):
    """Ends the stream's process, so that the next one has to begin with what is allowed now."""
    pid = worker(db, "orders")
    db.execute("SELECT pg_terminate_backend(%s, 5000)", pid)


def test_usage_is_revoked(owned, mdb):
    """The server may not be used any more: told with the command that helps, and the stream goes on after it."""
    owned.execute("REVOKE USAGE ON FOREIGN SERVER mongo FROM olga")
    restarted(owned)
    mdb.c.insert_one({"_id": 2})
    shown = wait_reason(owned, "orders", "GRANT USAGE ON FOREIGN SERVER mongo TO olga")
    assert shown["state"] == "error" and shown["next_retry_at"], shown
    owned.execute("GRANT USAGE ON FOREIGN SERVER mongo TO olga")
    resume(owned, "orders")
    sync(owned, "orders")
    assert ids(owned, "orders") == [1, 2]


def test_schema_is_closed(owned, mdb):
    """USAGE on the extension's schema and rights on its tables are nothing that a stream lives by: it goes on."""
    owned.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON change_stream_events, change_stream_progress FROM PUBLIC")
    restarted(owned)
    mdb.c.insert_one({"_id": 2})
    owned.wait_for("SELECT count(*) FROM change_stream_events", expect=2)
    assert status(owned, "orders")["state"] == "active"


def test_owner_cannot_be_dropped(owned, postgres):
    """Neither here nor from another database, and the stream is named."""
    for connection in (owned, postgres.create_database("elsewhere")):
        error = error_of(connection, "DROP ROLE olga")
        assert error.sqlstate == "2BP01", error
        assert "orders" in (error.diag.message_detail or "") or owned.name in (error.diag.message_detail or ""), error.diag.message_detail
    assert status(owned, "orders")["state"] == "active"
    connection.close()
    postgres.drop_database("elsewhere")


def test_events_table_is_dropped(linked, mongo, mdb):
    """Refused; where a superuser takes it out of the extension by force, the stream says what is missing, and nothing else breaks."""
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    token = linked.value("SELECT resume_token FROM change_stream_progress")
    error = error_of(linked, "DROP TABLE change_stream_events")
    assert error.sqlstate == "2BP01"
    linked.execute("ALTER TABLE change_stream_events RENAME TO hidden")
    mdb.c.insert_one({"_id": 2})
    shown = wait_reason(linked, "orders", "change_stream_events")
    assert shown["state"] in ("error", "retrying"), shown
    assert linked.value("SELECT last_event_id FROM change_stream_progress") == 1
    linked.execute("ALTER TABLE hidden RENAME TO change_stream_events")
    linked.wait_for("SELECT state FROM change_stream_status", expect="active", timeout=70)
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 2] and linked.value("SELECT resume_token > %s FROM change_stream_progress", token)


# ---------------------------------------------------------------- the queue of notifications

@pytest.mark.faults
@pytest.mark.timeout(600)
def test_notification_queue_full(machine, installation, new_cluster, mongo, mdb):
    """A listener that is idle in a transaction: the stream goes on without notifications, says so, and has them again after it."""
    if installation.major < 17:
        # before, the queue takes 8 GB
        original = Installation(packages.other_postgresql(17))
        other = original.private_copy(machine.folder / "notifications")
        install(build(original), other)
        cluster = Cluster(machine, other, name="notifications", settings={"max_notify_queue_pages": 64})
    else:
        cluster = new_cluster(settings={"max_notify_queue_pages": 64})
    try:
        db = cluster.create_database("shop")
        db.create_server(mongo.uri, mdb.name)
        since = oracle.mark(mongo)
        create(db, "orders")
        idle, listener = db.connect(), db.connect()
        for connection in (idle, listener):
            connection.execute("LISTEN orders")
        idle.execute("BEGIN")
        idle.execute("SELECT 1")
        while db.value("SELECT pg_notification_queue_usage() < 0.6"):
            db.execute("SELECT pg_notify('noise', repeat('x', 7000) || number) FROM generate_series(1, 5) number")
        mdb.c.insert_many([{"_id": number} for number in range(50)])
        sync(db, "orders")
        wait_reason(db, "orders", "queue", "half full")
        assert status(db, "orders")["state"] == "active"
        # full to the brim, so that a commit with a notification fails
        while db.value("SELECT pg_notification_queue_usage() < 0.95"):
            try:
                db.execute("SELECT pg_notify('noise', repeat('x', 7000) || number) FROM generate_series(1, 5) number")
            except Exception as full:
                assert "queue is full" in str(full)
                break
        mdb.c.insert_many([{"_id": number} for number in range(50, 100)])
        sync(db, "orders")
        idle.execute("COMMIT")
        list(listener.notifies(timeout=1))
        db.wait_for("SELECT pg_notification_queue_usage() < 0.5", timeout=60)
        mdb.c.insert_one({"_id": 100})
        sync(db, "orders")
        assert any('"last_event_id": 101' in notice.payload for notice in listener.notifies(timeout=10, stop_after=1))
        assert oracle.compare(db, "orders", mongo, since, mdb.name) == 101
        idle.close()
        listener.close()
        db.close()
    finally:
        cluster.discard()
