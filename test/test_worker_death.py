"""Processes that die by a signal, each of which restarts PostgreSQL: what one event can do to it is bounded."""
import os
import re
import signal

import pytest

from handlers import SEEN, handler, make_seen
from handlers import status as handler_status
from harness.machine import wait_until
from mirrors import mirror, stopped, synced
from streams import create, gaps, ids, patiently, pause, resume, status, sync, unexpected_deaths, wait_state, worker

DIE = ("CREATE FUNCTION die() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
       " EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || pg_backend_pid()); PERFORM pg_sleep(60); END $$")


def poison(db, condition):
    """A trigger that kills the process that writes certain events, as a library's crash would."""
    db.execute(DIE)
    db.execute("CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
               f" IF {condition} THEN PERFORM public.die(); END IF; RETURN NEW; END $$")
    db.execute("CREATE TRIGGER poison BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION poison()")


def state(db, stream):
    return patiently(lambda: status(db, stream))


def kills(postgres):
    return len([line for line in postgres.new_deaths(keep=True) if "signal 9" in line])


def only_kills(postgres):
    """Nothing has died but who was killed."""
    return unexpected_deaths(postgres.new_deaths(), 1000) == []


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_an_event_that_kills(apart, postgres, mdb):
    """After three deaths at one event the stream stops and names it; what came before is there, and skip leads on."""
    poison(apart, "NEW.document_key::text LIKE '%bad%'")
    create(apart, "orders", collection="c")
    create(apart, "other", collection="d")
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}, {"_id": "bad"}, {"_id": 3}])
    wait_until(lambda: state(apart, "orders")["state"] == "error", 60, "the stream stops")
    # one in the batch, then two at the event itself, those before it being written
    dead = kills(postgres)
    assert dead == 3
    shown = state(apart, "orders")
    token = re.search(r"skip => '([0-9A-F]+)'", shown["reason"]).group(1)
    assert "processes in a row died" in shown["reason"] and shown["last_error"] and shown["pid"] is None
    assert patiently(lambda: ids(apart, "orders")) == [1, 2]
    # nobody else is kept
    mdb.d.insert_one({"_id": 1})
    patiently(lambda: sync(apart, "other"))
    assert state(apart, "other")["state"] == "active"
    resume(apart, "orders", skip=token)
    sync(apart, "orders")
    assert ids(apart, "orders") == [1, 2, None, 3] and len(gaps(apart, "orders")) == 1
    assert kills(postgres) == dead and only_kills(postgres)


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_the_first_event_kills(linked, postgres, mdb):
    """Between deaths there are pauses, told by the status; a resume forgets all of it."""
    poison(linked, "true")
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    mdb.c.insert_one({"_id": 1})
    seen = set()

    def look():
        shown = state(linked, "orders")
        if shown["next_retry_at"] and "started soon" in shown["reason"]:
            seen.add(shown["reason"])
        return shown["state"] == "error"

    wait_until(look, 60, "the stream stops")
    assert kills(postgres) == 3
    assert any("2 processes" in reason for reason in seen)
    linked.execute("DROP TRIGGER poison ON change_stream_events")
    resume(linked, "orders")
    sync(linked, "orders")
    assert ids(linked, "orders") == [1]
    assert linked.row("SELECT alive, running_token, crashes, starts FROM change_stream_progress") == (True, None, 0, 0)
    pause(linked, "orders")
    linked.wait_for("SELECT NOT alive FROM change_stream_progress")
    assert only_kills(postgres)


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_deaths_before_any_event(linked, postgres, mdb):
    """Processes that die before they have written anything are counted, the pauses grow, and the twelfth was the last."""
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    linked.execute("UPDATE change_stream_progress SET starts = 11")
    begin = postgres.log_position()
    os.kill(worker(linked, "orders"), signal.SIGKILL)
    wait_until(lambda: "was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
    wait_until(lambda: "12 processes in a row" in state(linked, "orders")["reason"], 20, "the death is told")
    assert linked.value("SELECT next_retry_at - now() FROM change_stream_status").total_seconds() > 15
    # what waits starts at once when everything is switched off and on
    for value in ("off", "on"):
        linked.execute(f"ALTER SYSTEM SET mongo_change_stream.enabled = {value}")
        postgres.reload()
        linked.wait_for("SELECT reason LIKE '%%enabled is off%%' FROM change_stream_status", expect=value == "off")
    linked.execute("ALTER SYSTEM RESET mongo_change_stream.enabled")
    shown = wait_state(linked, "orders", "error")
    assert "12 processes in a row died before they had written an event" in shown["reason"]
    resume(linked, "orders")
    sync(linked, "orders")
    assert only_kills(postgres)


@pytest.mark.crashes
@pytest.mark.timeout(180)
def test_kills_with_progress_stop_nothing(linked, postgres, mdb):
    """Ordinary deaths, with an event written between each two: as many as come."""
    create(linked, "orders", collection="c")
    for number in range(6):
        mdb.c.insert_one({"_id": number})
        patiently(lambda: sync(linked, "orders"))
        pid = patiently(lambda: worker(linked, "orders"))
        begin = postgres.log_position()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
    patiently(lambda: sync(linked, "orders"))
    assert ids(linked, "orders") == list(range(6))
    assert unexpected_deaths(postgres.new_deaths(), 6) == []


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_replies_that_are_at_hand_after_a_death(linked, postgres, mdb):
    """Events that go singly leave none of the replies that were gathered with theirs."""
    create(linked, "orders", collection="c", batch_size=1)
    mdb.c.insert_one({"_id": 0})
    sync(linked, "orders")
    pid = worker(linked, "orders")
    begin = postgres.log_position()
    os.kill(pid, signal.SIGKILL)
    mdb.c.insert_many({"_id": number} for number in range(1, 60))
    wait_until(lambda: "was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
    patiently(lambda: sync(linked, "orders"))
    assert ids(linked, "orders") == list(range(60))
    assert only_kills(postgres)


def test_no_careful_start_after_orderly_ends(linked, postgres, mdb):
    """Who was terminated, or shut down with PostgreSQL, has not died."""
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    linked.execute("SELECT pg_terminate_backend(%s, 5000)", worker(linked, "orders"))
    sync(linked, "orders")
    linked.close()
    postgres.restart()
    sync(linked, "orders")
    assert linked.row("SELECT alive, crashes, starts FROM change_stream_progress") == (True, 0, 0)


END_ITSELF = ("CREATE FUNCTION end_itself() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
              " IF to_jsonb(NEW)::text LIKE '%bad%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW; END $$")


def test_a_mirror_whose_trigger_ends_its_process(linked, mdb):
    """Such a mirror stops alone, with a reason; the process lives, and others are told to end by whoever may."""
    linked.execute(END_ITSELF)
    create(linked, "s", keep_events=False)
    for name in "cd":
        mirror(linked, name, stream_name="s")
    linked.execute("CREATE TRIGGER end_itself AFTER INSERT ON c FOR EACH ROW EXECUTE FUNCTION end_itself()")
    mdb.c.insert_one({"_id": 1})
    synced(linked, "s", "c", "d")
    pid = worker(linked, "s")
    mdb.c.insert_many([{"_id": 2}, {"_id": "bad"}, {"_id": 3}])
    mdb.d.insert_one({"_id": 4})
    assert "told its own process to end" in stopped(linked, "c")["reason"]
    synced(linked, "s", "d")
    assert linked.column("SELECT _id::int FROM d") == [4] and worker(linked, "s") == pid
    linked.execute("DROP TRIGGER end_itself ON c; SELECT resync_change_mirror('c')")
    linked.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
    synced(linked, "s", "c", "d")
    assert linked.value("SELECT count(*) FROM c") == 4 and worker(linked, "s") != pid


def test_events_and_handlers_that_end_their_process(linked, mdb):
    """An error of the event, which stops the stream before it and is named; of a handler, the last attempt is a dead letter."""
    make_seen(linked)
    linked.execute(END_ITSELF)
    create(linked, "s", collection="c")
    handler(linked, "h", stream="s", retry_attempts=1, retry_delay="0.1 s",
            body="BEGIN IF change.document_key::text LIKE '%2%' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; " + SEEN + " END")
    linked.execute("CREATE TRIGGER end_itself BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION end_itself()")
    mdb.c.insert_many([{"_id": 1}, {"_id": 2}, {"_id": "bad"}, {"_id": 3}])
    reason = wait_state(linked, "s", "error")["reason"]
    assert "told its own process to end" in reason
    resume(linked, "s", skip=re.search(r"skip => '([0-9A-F]+)'", reason).group(1))
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert ids(linked, "s") == [1, 2, None, 3] and linked.column("SELECT event_id FROM seen ORDER BY 1") == [1, 3, 4]
    assert linked.row("SELECT event_id, sqlstate FROM change_stream_dead_letters") == (2, "09000")


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_a_handler_that_kills_before_any_event(linked, postgres, mdb):
    """A handler whose process dies while it is made ready stops, too."""
    linked.execute(DIE)
    linked.execute("CREATE TABLE armed (yes boolean)")
    # an immutable function is called when the condition is made ready
    linked.execute("CREATE FUNCTION trap() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
                   " IF EXISTS (SELECT FROM public.armed) AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid()"
                   " AND backend_type = 'mongo_change_stream handler') THEN PERFORM public.die(); END IF; RETURN true; END $$")
    make_seen(linked)
    create(linked, "orders", collection="c")
    handler(linked, "h", stream="orders", condition="public.trap()", body="BEGIN " + SEEN + " END")
    linked.execute("INSERT INTO armed VALUES (true)")
    linked.execute("SELECT alter_change_handler('h', retry_attempts => 1)")
    wait_until(lambda: patiently(lambda: handler_status(linked, "h"))["state"] == "error", 60, "the handler stops")
    shown = handler_status(linked, "h")
    assert "before they had come to an event" in shown["reason"] and kills(postgres) == 3 and only_kills(postgres)


def transaction(mongo, collection, documents):
    with mongo.client.start_session() as session, session.start_transaction():
        collection.insert_many(documents, session=session)


@pytest.mark.crashes
@pytest.mark.timeout(120)
def test_transactions_stay_whole_after_a_death(linked, postgres, mongo, mdb):
    """Who comes after a process that died notes what it writes, and yet commits no part of a transaction of MongoDB's."""
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": "first"})
    sync(linked, "orders")
    begin = postgres.log_position()
    os.kill(worker(linked, "orders"), signal.SIGKILL)
    wait_until(lambda: "was terminated by signal 9" in postgres.log_text(begin), 20, "the kill is noticed")
    transaction(mongo, mdb.c, [{"_id": number} for number in range(40)])
    mdb.c.insert_many([{"_id": number} for number in range(40, 44)])
    transaction(mongo, mdb.c, [{"_id": number} for number in range(44, 60)])
    patiently(lambda: sync(linked, "orders"))
    assert ids(linked, "orders") == ["first", *range(60)]
    parts = linked.execute("SELECT cluster_time, count(*), count(DISTINCT xmin::text) FROM change_stream_events GROUP BY 1 ORDER BY 1")
    assert [(count, commits) for _, count, commits in parts] == [(1, 1), (40, 1), *[(1, 1)] * 4, (16, 1)]
    assert only_kills(postgres)


@pytest.mark.crashes
@pytest.mark.timeout(180)
def test_an_event_of_a_transaction_that_kills(linked, postgres, mongo, mdb):
    """Found among the others of its transaction, and named."""
    poison(linked, "NEW.document_key::text LIKE '%bad%'")
    create(linked, "orders", collection="c")
    sync(linked, "orders")
    transaction(mongo, mdb.c, [{"_id": 1}, {"_id": 2}, {"_id": "bad"}, {"_id": 3}])
    wait_until(lambda: state(linked, "orders")["state"] == "error", 120, "the stream stops")
    # in the batch, with its transaction alone, then twice by itself
    assert kills(postgres) == 4
    assert patiently(lambda: ids(linked, "orders")) == [1, 2]
    token = re.search(r"skip => '([0-9A-F]+)'", state(linked, "orders")["reason"]).group(1)
    resume(linked, "orders", skip=token)
    sync(linked, "orders")
    assert ids(linked, "orders") == [1, 2, None, 3] and only_kills(postgres)
