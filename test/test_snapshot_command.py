"""Copies of what exists before a stream: which collections, what is refused, what becomes of them when the stream is moved, altered or dropped."""
import json
import threading

import psycopg
import pytest

from streams import call, create, drop, error_of, operations, pause, resume, sync
from harness.machine import wait_until

COPIES = """SELECT database_name, collection_name, documents_done, finished_at IS NOT NULL FROM change_stream_snapshots
            WHERE stream_name = %s AND mirror_name IS NULL ORDER BY copy_number"""


def copied(db, stream):
    """Waits until all copies of a stream are finished."""
    wait_until(lambda: not db.value("SELECT EXISTS (SELECT FROM change_stream_snapshots WHERE stream_name = %s AND finished_at IS NULL)", stream))


def test_collection_is_copied(linked, mdb):
    """Each document is one row, before the events that follow."""
    mdb.orders.insert_many({"_id": number, "total": number} for number in range(10))
    create(linked, "orders", collection="orders", initial_snapshot=True)
    copied(linked, "orders")
    mdb.orders.insert_one({"_id": 10})
    sync(linked, "orders")
    assert operations(linked, "orders") == ["snapshot"] * 10 + ["insert"]
    assert linked.row("SELECT count(DISTINCT document_key), count(full_document), array_agg(DISTINCT full_document_source ORDER BY full_document_source) FROM change_stream_events") \
        == (11, 11, ["insert", "snapshot"])
    assert linked.execute(COPIES, "orders") == [(mdb.name, "orders", 10, True)]
    assert linked.value("SELECT exact_since IS NOT NULL AND exact_since <= (SELECT max(cluster_time) FROM change_stream_events) FROM change_stream_snapshots")


def test_database_is_copied(linked, mdb):
    """Collection after collection; of views and time series a NOTICE tells, of MongoDB's own nothing."""
    mdb.orders.insert_one({"_id": 1})
    mdb.items.insert_many({"_id": number} for number in range(3))
    mdb.create_collection("busy", viewOn="orders")
    mdb.create_collection("weather", timeseries={"timeField": "t"})
    notices = []
    linked.connection.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_detail)))
    create(linked, "all", initial_snapshot=True)
    told, = [detail for message, detail in notices if "left out" in message]
    assert f"{mdb.name}.busy" in told and f"{mdb.name}.weather" in told
    copied(linked, "all")
    assert sorted(name for _, name, _, _ in linked.execute(COPIES, "all")) == ["items", "orders"]
    assert sorted(linked.execute("SELECT operation_type, collection_name FROM change_stream_events")) == [("snapshot", "items")] * 3 + [("snapshot", "orders")]


def test_database_in_a_paused_stream(linked, mdb):
    """What is to be copied is asked for when the position is known: a collection that was made before is copied, too."""
    mdb.orders.insert_one({"_id": 1})
    create(linked, "all", initial_snapshot=True, paused=True)
    assert linked.execute(COPIES, "all") == []
    mdb.items.insert_one({"_id": 2})
    resume(linked, "all")
    copied(linked, "all")
    mdb.items.insert_one({"_id": 3})
    sync(linked, "all")
    assert sorted(linked.execute("SELECT operation_type, (document_key->'_id')::int FROM change_stream_events")) == [("insert", 3), ("snapshot", 1), ("snapshot", 2)]
    # once: a pause later changes nothing
    pause(linked, "all")
    resume(linked, "all")
    sync(linked, "all")
    assert len(operations(linked, "all")) == 3


def test_collection_that_does_not_exist(linked, mdb):
    create(linked, "none", collection="none", initial_snapshot=True)
    copied(linked, "none")
    mdb.none.insert_one({"_id": 1})
    sync(linked, "none")
    assert operations(linked, "none") == ["insert"]
    assert linked.execute(COPIES, "none") == [(mdb.name, "none", 0, True)]


def test_expressions_decide_over_documents(linked, mdb):
    """filter, add_fields and handlers take the rows of a copy as they take others; operations may leave them out."""
    mdb.orders.insert_many({"_id": number, "total": number} for number in range(10))
    linked.execute("CREATE TABLE handled (id int, twice int)")
    create(linked, "large", collection="orders", filter="full_document.total >= 7", add_fields="twice = full_document.total::int * 2", initial_snapshot=True, paused=True)
    linked.execute("""SELECT create_change_handler('h', 'large', body => $$ BEGIN
        INSERT INTO handled VALUES ((change.document_key->'_id')::int, (change.extra->'twice')::int); END $$)""")
    resume(linked, "large")
    create(linked, "inserts", collection="orders", operations=["insert"], initial_snapshot=True)
    copied(linked, "large")
    copied(linked, "inserts")
    mdb.orders.insert_one({"_id": 10, "total": 5})
    for stream in ("large", "inserts"):
        sync(linked, stream)
    linked.value("SELECT sync_change_stream('large', handlers => true)")
    assert linked.execute("SELECT id, twice FROM handled ORDER BY id") == [(7, 14), (8, 16), (9, 18)]
    assert operations(linked, "large") == ["snapshot"] * 3
    assert operations(linked, "inserts") == ["insert"]


def test_second_snapshot(linked, mdb):
    """A gap row stands before its rows; the stream goes on where it was."""
    mdb.orders.insert_many({"_id": number} for number in range(3))
    create(linked, "orders", collection="orders", initial_snapshot=True)
    copied(linked, "orders")
    mdb.orders.delete_one({"_id": 0})
    sync(linked, "orders")
    resume(linked, "orders", initial_snapshot=True)
    copied(linked, "orders")
    mdb.orders.insert_one({"_id": 3})
    sync(linked, "orders")
    assert operations(linked, "orders") == ["snapshot"] * 3 + ["delete", "gap"] + ["snapshot"] * 2 + ["insert"]
    assert "the documents that exist follow" in linked.value("SELECT extra->>'reason' FROM change_stream_events WHERE operation_type = 'gap'")
    assert linked.value("SELECT array_agg(event_id ORDER BY event_id) = array_agg(event_id ORDER BY received_at, event_id) AND max(event_id) = count(*) FROM change_stream_events")


def test_snapshot_after_a_loss(linked, mdb):
    """A stream whose history is lost goes on at now, with all that exists and one gap row."""
    create(linked, "orders", collection="orders")
    mdb.orders.insert_one({"_id": 1})
    sync(linked, "orders")
    pause(linked, "orders")
    mdb.orders.insert_one({"_id": 2})
    linked.execute("UPDATE change_streams SET paused = false, stopped_state = 'history_lost', stopped_reason = 'as a test has it'")
    resume(linked, "orders", initial_snapshot=True)
    copied(linked, "orders")
    mdb.orders.insert_one({"_id": 3})
    sync(linked, "orders")
    assert operations(linked, "orders") == ["insert", "gap", "snapshot", "snapshot", "insert"]
    reason, = linked.column("SELECT extra->>'reason' FROM change_stream_events WHERE operation_type = 'gap'")
    assert reason.startswith("history lost; ") and "follow" in reason


def test_snapshot_of_the_future(linked, mdb):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no snapshot of the future"):
        create(linked, "orders", collection="orders", initial_snapshot=True, start_at="2099-01-01")
    assert linked.value("SELECT count(*) FROM change_streams") == 0


def test_a_view_in_its_place(linked, mdb):
    """A view under the name of a stream's collection, made later, is not copied."""
    mdb.orders.insert_one({"_id": 1})
    create(linked, "busy", collection="busy")
    sync(linked, "busy")
    mdb.create_collection("busy", viewOn="orders")
    resume(linked, "busy", initial_snapshot=True)
    sync(linked, "busy")
    assert linked.execute(COPIES, "busy") == []


def test_stream_without_events(linked, mdb):
    """Numbers and notifications go on, rows are not made; kept again, a gap row tells from where."""
    listener = linked.connect()
    listener.execute("LISTEN orders")
    create(linked, "orders", collection="orders", keep_events=False, notify="heads", full_document="updateLookup")
    mdb.orders.insert_many({"_id": number} for number in range(5))
    mdb.orders.update_one({"_id": 0}, {"$set": {"a": 1}})
    sync(linked, "orders")
    assert operations(linked, "orders") == []
    assert linked.row("SELECT last_event_id, events_processed FROM change_stream_progress") == (6, 6)
    heads = []
    for note in listener.notifies(timeout=10, stop_after=1):
        heads += json.loads(note.payload)["events"]
    while len(heads) < 6:
        heads += json.loads(next(listener.notifies(timeout=10, stop_after=1)).payload)["events"]
    assert [(head["event_id"], head["operation_type"]) for head in heads] == [(number, "insert") for number in range(1, 6)] + [(6, "update")]
    listener.close()
    call(linked, "alter_change_stream", "orders", keep_events=True)
    mdb.orders.insert_one({"_id": 5})
    sync(linked, "orders")
    assert linked.execute("SELECT event_id, operation_type FROM change_stream_events ORDER BY 1") == [(7, "gap"), (8, "insert")]
    call(linked, "alter_change_stream", "orders", keep_events=False, notify="ids")
    mdb.orders.insert_one({"_id": 6})
    sync(linked, "orders")
    assert linked.value("SELECT last_event_id FROM change_stream_progress") == 9
    linked.execute("TRUNCATE change_stream_events")
    assert operations(linked, "orders") == []
    drop(linked, "orders")


def test_keep_events_and_handlers_at_once(linked, mdb):
    """Whoever comes second is refused, also where he had to wait for the first."""
    create(linked, "orders", collection="orders", paused=True)
    for first, second in (("alter_change_stream('orders', keep_events => false)", "create_change_handler('h', 'orders', body => 'BEGIN END')"),
                          ("create_change_handler('h', 'orders', body => 'BEGIN END')", "alter_change_stream('orders', keep_events => false)")):
        with linked.connect() as one:
            with one.transaction():
                one.execute(f"SELECT {first}")
                other = linked.connect()
                waiting = threading.Thread(target=lambda: outcome.append(error_of(other, f"SELECT {second}")))
                outcome = []
                waiting.start()
                linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", other.info.backend_pid, expect=1)
            waiting.join()
            other.close()
        assert outcome[0].sqlstate == "55000", second
        linked.execute("SELECT alter_change_stream('orders', keep_events => true)")
