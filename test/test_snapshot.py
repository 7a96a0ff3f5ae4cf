"""Copies of what exists before a stream: which collections, what is refused, what becomes of them when the stream is moved, altered or dropped."""
import psycopg
import pytest

from streams import create, drop, operations, pause, resume, sync, wait_state
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
