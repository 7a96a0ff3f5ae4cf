"""What a person should hear of is told on change_stream_alert."""
import json
import time

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
    sync(linked, "orders")
    listener.close()


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


def test_window_of_a_running_stream(linked, mdb):
    """The oplog's reach is looked at by who follows, and kept for when nobody does."""
    create(linked, "orders", collection="c")
    linked.wait_for("SELECT oplog_window IS NOT NULL FROM change_stream_progress")
    linked.execute("SELECT pause_change_stream('orders')")
    linked.wait_for("SELECT pid IS NULL AND oplog_window IS NOT NULL FROM change_stream_status")


def test_name_of_the_channel(linked):
    assert error_of(linked, "SELECT create_change_stream('change_stream_alert', paused => true)").sqlstate == "22023"
