"""What a person should hear of is told on change_stream_alert."""
import json
import time

import pytest

from handlers import handler, stream_with
from handlers import sync as sync_handlers
from streams import alter, create, error_of, resume, status, sync, wait_state


def alerts(listener, expect, timeout=30):
    """Waits for that many alerts and returns them."""
    got = [json.loads(notice.payload) for notice in listener.notifies(timeout=timeout, stop_after=expect)]
    assert len(got) >= expect, got
    return got


def token_at(seconds):
    """A high-water mark of a time."""
    return f"82{int(seconds):08X}000000002B0229296E04"


def test_a_stream_that_stops(linked, mongo, mdb):
    """One alert for an error that no try mends, with names and words and no content."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    create(linked, "orders", collection="c")
    wait_state(linked, "orders", "active")
    mongo.fail_command(["getMore", "aggregate"], errorCode=280)
    wait_state(linked, "orders", "error")
    mongo.stop_failing()
    (told,) = alerts(listener, 1)
    assert told["stream"] == "orders" and told["from"] in ("active", "retrying") and told["to"] == "error"
    assert told["reason"] and set(told) == {"stream", "from", "to", "reason", "hint"}
    resume(linked, "orders")
    (told,) = alerts(listener, 1)
    assert (told["from"], told["to"]) == ("error", "starting")
    sync(linked, "orders")
    listener.close()


def test_what_an_event_holds_is_not_told(linked, mdb):
    """Everybody may listen: why an event could not be written, in whichever words, is not said there."""
    linked.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no place for %', new.full_document; END $$")
    linked.execute("CREATE TRIGGER t BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()")
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1, "card": "4111"})
    assert "4111" in wait_state(linked, "orders", "error")["reason"]
    (told,) = alerts(listener, 1)
    assert told["to"] == "error" and told["reason"] and "4111" not in json.dumps(told)
    listener.close()


def test_a_start_far_back(linked, new_replica_set):
    """Who starts behind half of an oplog that is full is warned at once; who starts now, or on a young one, is not."""
    small = new_replica_set(oplog_mb=1)
    linked.execute("DROP SERVER mongo CASCADE")
    linked.create_server(small.uri, "shop", password_required="false")
    told = []
    linked.connection.add_notice_handler(lambda diag: told.append((diag.severity, diag.message_primary, diag.message_detail, diag.message_hint)))

    def warnings():
        return [one for one in told if one[0] == "WARNING"]

    begin = time.time()
    small.client.shop.c.insert_one({})
    time.sleep(17)
    create(linked, "young", collection="c", start_at="earliest")
    assert warnings() == []
    small.client.shop.c.insert_many([{"text": "x" * 100000} for _ in range(15)])
    create(linked, "now", collection="c")
    assert warnings() == []
    linked.execute("SELECT create_change_stream('far', collection => 'c', start_at => %s)", token_at(begin))
    ((severity, message, detail, hint),) = warnings()
    assert message == 'change stream "far" starts where it may lose its history before it has caught up'
    assert "% of the time that MongoDB's oplog can hold lies behind the position." in detail and "replSetResizeOplog" in hint
    # it is no error, and the events come
    sync(linked, "far")
    assert linked.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'far'") == 16


def test_oplog_nearly_outrun(linked, postgres, mdb):
    """A paused stream whose position falls behind half, then nine tenths of the oplog, and one that has caught up again."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    create(linked, "orders", collection="c", paused=True)
    begin = postgres.log_position()
    for behind, expected in ((10, None), (600, "oplog 50 %"), (950, "oplog 90 %"), (850, None), (5, None)):
        linked.execute("UPDATE change_stream_progress SET oplog_window = '1000 seconds', resume_token = %s",
                       token_at(time.time() - behind))
        # whoever changes a stream sends a prober
        before = linked.value("SELECT oplog_told FROM change_stream_progress")
        alter(linked, "orders", batch_size=behind)
        if expected:
            (told,) = alerts(listener, 1)
            assert (told["stream"], told["to"]) == ("orders", expected) and "larger oplog" in told["hint"]
        elif before and behind < 100:
            (told,) = alerts(listener, 1)
            assert told["to"] is None and told["from"] == "oplog 90 %"
    linked.wait_for("SELECT oplog_told FROM change_stream_progress", expect=0)
    assert postgres.log_text(begin).count("may lose its history") == 2
    assert status(linked, "orders")["oplog_window"].total_seconds() == 1000
    listener.close()


def test_young_oplog(linked, mdb):
    """One that is not full has lost nothing: a position that is older than all it holds is none to tell of."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    create(linked, "young", collection="c")
    linked.wait_for("SELECT oplog_holds >= oplog_window FROM change_stream_progress")
    linked.execute("SELECT pause_change_stream('young')")
    linked.wait_for("SELECT pid IS NULL FROM change_stream_status")
    holds = linked.value("SELECT extract(epoch FROM least(oplog_holds, '10 days'))::int FROM change_stream_progress")
    linked.execute("UPDATE change_stream_progress SET oplog_window = make_interval(secs => %s), resume_token = %s",
                   holds / 20, token_at(time.time() - holds / 5))
    create(linked, "old", collection="c", paused=True)
    linked.execute("UPDATE change_stream_progress SET oplog_window = '1000 seconds', resume_token = %s WHERE stream_name = 'old'",
                   token_at(time.time() - 600))
    alter(linked, "old", batch_size=10)
    (told,) = alerts(listener, 1)
    assert told["stream"] == "old"
    assert linked.value("SELECT oplog_told FROM change_stream_progress WHERE stream_name = 'young'") == 0
    listener.close()


def test_window_of_a_running_stream(linked, mdb):
    """The oplog's reach is looked at by who follows, and kept for when nobody does."""
    create(linked, "orders", collection="c")
    linked.wait_for("SELECT oplog_window IS NOT NULL FROM change_stream_progress")
    linked.execute("SELECT pause_change_stream('orders')")
    linked.wait_for("SELECT pid IS NULL AND oplog_window IS NOT NULL FROM change_stream_status")


def test_name_of_the_channel(linked):
    assert error_of(linked, "SELECT create_change_stream('change_stream_alert', paused => true)").sqlstate == "22023"


def test_dead_letters_of_a_handler(linked, mdb):
    """The first at once, those of the minute after it together; names and numbers, nothing of what failed."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="BEGIN RAISE 'secret %', change.full_document->>'n'; END")
    mdb.c.insert_one({"_id": 0, "n": "secret"})
    (told,) = alerts(listener, 1)
    assert (told["handler"], told["from"], told["to"], told["count"]) == ("h", None, "dead_letter", 1)
    assert told["reason"] == '1 event of change stream "s" became a dead letter, the last of them event 1'
    assert "change_stream_dead_letter(1, 'h')" in told["hint"] and "secret" not in json.dumps(told)
    mdb.c.insert_many([{"_id": number, "n": "secret"} for number in range(1, 5)])
    sync_handlers(linked)
    assert not list(listener.notifies(timeout=1))
    # who leaves does not wait for the minute to end
    linked.execute("SELECT pause_change_handler('h')")
    (told,) = alerts(listener, 1)
    assert told["count"] == 4 and "the last of them event 5" in told["reason"]
    listener.close()


@pytest.mark.faults
def test_dead_letters_when_the_minute_is_over(linked, mdb):
    """An idle handler tells of them, too."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, workers=2, body="BEGIN RAISE 'no'; END")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync_handlers(linked)
    told = alerts(listener, 2, timeout=90)
    assert sum(one["count"] for one in told) == 10
    listener.close()


def test_a_handler_that_stops(linked, mdb):
    """Its error, and the way back."""
    listener = linked.connect()
    listener.execute("LISTEN change_stream_alert")
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, on_failure="stop", body="BEGIN RAISE 'secret'; END")
    mdb.c.insert_one({"_id": 0})
    (told,) = alerts(listener, 1)
    assert (told["handler"], told["to"]) == ("h", "error") and "SQLSTATE P0001" in told["reason"] and "secret" not in told["reason"]
    assert told["hint"] == "SELECT resume_change_handler('h');"
    linked.execute("SELECT alter_change_handler('h', on_failure => 'dead_letter')")
    linked.execute("SELECT resume_change_handler('h')")
    back, letter = alerts(listener, 2)
    assert (back["handler"], back["from"], back["to"]) == ("h", "error", "starting") and letter["to"] == "dead_letter"
    listener.close()
