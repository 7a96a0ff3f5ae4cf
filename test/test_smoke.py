"""One stream from end to end: what every supported version of PostgreSQL must do."""
import json


def test_stream_follows_a_collection(linked, mdb):
    """Each write is an event, once, in order, notified, and seen by sync; dropping leaves nothing."""
    listener = linked.connect()
    listener.execute("LISTEN orders")
    linked.execute("SELECT create_change_stream('orders', collection => 'orders')")

    mdb.orders.insert_many({"_id": number, "status": "new"} for number in range(50))
    mdb.orders.update_one({"_id": 7}, {"$set": {"status": "paid"}})
    mdb.orders.delete_one({"_id": 9})
    assert linked.value("SELECT sync_change_stream('orders')")

    events = linked.execute("SELECT event_id, operation_type, document_key::text FROM change_stream_events"
                            " WHERE stream_name = 'orders' ORDER BY event_id")
    assert [event[0] for event in events] == list(range(1, 53))
    assert [event[1] for event in events] == ["insert"] * 50 + ["update", "delete"]
    assert [json.loads(event[2])["_id"] for event in events] == [*range(50), 7, 9]
    assert linked.value("SELECT full_document['status'] = text 'new' FROM change_stream_events WHERE event_id = 8")

    told = [json.loads(notice.payload) for notice in listener.notifies(timeout=2, stop_after=1)]
    assert told[0]["stream"] == "orders" and told[0]["first_event_id"] == 1
    listener.close()

    assert linked.row("SELECT state, events_processed FROM change_stream_status") == ("active", 52)
    linked.wait_for("SELECT events_per_second > 0 FROM change_stream_status")
    pace = linked.value("SELECT events_per_second FROM change_stream_status")
    assert pace == round(pace, 3)
    linked.execute("SELECT drop_change_stream('orders')")
    assert linked.value("SELECT count(*) FROM change_stream_events") == 0


def test_paused_stream_goes_on_where_it_stopped(linked, mdb):
    linked.execute("SELECT create_change_stream('orders', collection => 'orders')")
    mdb.orders.insert_one({"_id": 1})
    assert linked.value("SELECT sync_change_stream('orders')")
    linked.execute("SELECT pause_change_stream('orders')")
    mdb.orders.insert_many({"_id": number} for number in range(2, 12))
    linked.execute("SELECT resume_change_stream('orders')")
    assert linked.value("SELECT sync_change_stream('orders')")
    assert linked.column("SELECT (document_key->'_id')::int FROM change_stream_events ORDER BY event_id") == list(range(1, 12))
