"""A stream on what can never have events is refused; on what is not there yet, or a start to come, it says so."""
import datetime
import time

import psycopg
import pytest

from streams import create, error_of, pause, resume, status, sync, wait_state


@pytest.fixture
def told(linked):
    """A function that runs a statement and returns what NOTICEs told of it."""
    messages = []
    linked.connection.add_notice_handler(lambda diag: messages.append(
        "\n".join(filter(None, (diag.message_primary, diag.message_detail, diag.message_hint)))))

    def run(statement, *parameters):
        messages.clear()
        linked.execute(statement, *parameters)
        return "\n".join(messages)

    return run


def test_views_and_time_series(linked, mdb):
    mdb.orders.insert_one({"_id": 1})
    mdb.command("create", "some", viewOn="orders", pipeline=[{"$match": {"a": 1}}])
    mdb.create_collection("weather", timeseries={"timeField": "t"})
    for collection, kind in (("some", "view"), ("weather", "time series")):
        error = error_of(linked, "SELECT create_change_stream('s', collection => %s)", collection)
        assert error.sqlstate == "42809" and kind in error.diag.message_primary
        # one that was made without asking is told when it is to begin
        create(linked, "later", collection=collection, paused=True)
        assert error_of(linked, "SELECT resume_change_stream('later')").sqlstate == "42809"
        linked.execute("SELECT drop_change_stream('later')")
    assert linked.value("SELECT count(*) FROM change_streams") == 0


def test_what_is_not_there_yet(linked, mdb, told):
    mdb.Orders.insert_one({"_id": 1})
    mdb["a.b*c"].insert_one({"_id": 1})
    assert told("SELECT create_change_stream('exact', collection => 'Orders')") == ""
    assert told("SELECT create_change_stream('odd', collection => 'a.b*c')") == ""
    assert told("SELECT create_change_stream('whole')") == ""
    assert told("SELECT create_change_stream('all', database => '*')") == ""
    text = told("SELECT create_change_stream('cased', collection => 'orders')")
    assert f'no collection "{mdb.name}.orders" yet' in text and "collection => 'Orders'" in text
    text = told("SELECT create_change_stream('missing', collection => 'aXb*c')")
    assert f'no collection "{mdb.name}.aXb*c" yet' in text and "Orders" not in text
    text = told("SELECT create_change_stream('nowhere', database => 'nowhere_at_all')")
    assert 'no database "nowhere_at_all" yet' in text
    # it is only a NOTICE: what comes is followed
    mdb["aXb*c"].insert_one({"_id": 1})
    sync(linked, "missing")
    assert linked.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'missing'") == 1


def test_database_in_another_case(linked, mdb):
    """MongoDB never takes two databases that differ in case only."""
    mdb.orders.insert_one({"_id": 1})
    for arguments in ("", ", collection => 'orders'"):
        error = error_of(linked, f"SELECT create_change_stream('s', database => '{mdb.name.upper()}'{arguments})")
        assert error.sqlstate == "3D000" and f"database => '{mdb.name}'" in error.diag.message_hint


def test_collections_with_dots(linked, mdb, told):
    """fs.chunks is collection chunks of database fs; that the other was meant is seen, and how to write it is told."""
    mdb["fs.chunks"].insert_one({"_id": 1})
    text = told("DO LANGUAGE change_stream $$ CREATE CHANGE STREAM files ON fs.chunks $$")
    assert 'no database "fs" yet' in text and "collection => 'fs.chunks'" in text and 'ON "fs.chunks"' in text
    assert linked.row("SELECT database_name, collection_name FROM change_streams WHERE stream_name = 'files'") == ("fs", "chunks")
    linked.execute("SELECT drop_change_stream('files')")
    assert told('DO LANGUAGE change_stream $$ CREATE CHANGE STREAM files ON "fs.chunks" $$') == ""
    mdb["fs.chunks"].insert_one({"_id": 2})
    sync(linked, "files")
    assert linked.value("SELECT count(*) FROM change_stream_events") == 1


def test_start_in_the_future(linked, mdb, told):
    """Such a stream says until when it waits, and sync is not true before."""
    mdb.c.insert_one({"_id": 0})
    far = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    assert "starts in the future" in told("SELECT create_change_stream('far', collection => 'c', start_at => %s)", far.isoformat())
    mdb.c.insert_one({"_id": 1})
    begin = time.monotonic()
    assert linked.value("SELECT sync_change_stream('far', '20 s')") is False
    assert time.monotonic() - begin < 10
    now = wait_state(linked, "far", "active")
    linked.wait_for("SELECT reason = 'waits until ' || %s || ', when it is to start' FROM change_stream_status WHERE stream_name = 'far'",
                    far.strftime("%Y-%m-%d %H:%M:%S+00"))
    assert now["lag"].total_seconds() < 5
    linked.execute("SELECT drop_change_stream('far')")

    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=4)
    told("SELECT create_change_stream('soon', collection => 'c', start_at => %s, max_await_time => '100 ms')", soon.isoformat())
    mdb.c.insert_one({"_id": 2})
    assert linked.value("SELECT sync_change_stream('soon', '1 s')") is False
    assert linked.value("SELECT sync_change_stream('soon', '40 s')") is True
    mdb.c.insert_one({"_id": 3})
    sync(linked, "soon")
    assert linked.column("SELECT (document_key->'_id')::int FROM change_stream_events WHERE stream_name = 'soon'") == [3]
    assert "waits until" not in status(linked, "soon")["reason"]


def test_role_without_rights_to_list(db, new_replica_set):
    """Who may watch a collection and nothing else gets a stream, and no word of what cannot be known."""
    mongo = new_replica_set(auth=True)
    admin = mongo.client.admin
    mongo.client.shop.orders.insert_one({"_id": 1})
    admin.command("createRole", "watch_orders", roles=[], privileges=[
        {"resource": {"db": "shop", "collection": "orders"}, "actions": ["changeStream", "find"]},
        {"resource": {"db": "shop", "collection": "later"}, "actions": ["changeStream", "find"]}])
    admin.command("createUser", "watcher", pwd="x", roles=["watch_orders"])
    db.create_server(mongo.uri, "shop")
    db.execute("CREATE USER MAPPING FOR CURRENT_USER SERVER mongo OPTIONS (username 'watcher', password 'x', auth_source 'admin')")
    create(db, "orders", collection="orders")
    create(db, "later", collection="later")
    with pytest.raises(psycopg.Error) as error:
        create(db, "other", collection="other")
    assert error.value.sqlstate == "42501"
    mongo.client.shop.orders.insert_one({"_id": 2})
    sync(db, "orders")
    pause(db, "orders")
    resume(db, "orders")
    sync(db, "orders")
    assert db.value("SELECT count(*) FROM change_stream_events") == 1
