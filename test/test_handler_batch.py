"""Handlers whose code runs once for a batch of events, as a set."""
import pytest

from handlers import call, handler, make_seen, stream_with, sync, wait_state

INTO_SEEN = "INSERT INTO seen (event_id) SELECT event_id FROM changes"
LETTERS = "SELECT event_id, attempts, sqlstate FROM change_stream_dead_letters WHERE handler_name = 'h' ORDER BY event_id"


@pytest.fixture
def shop(linked, mdb):
    """A paused stream with documents to come, a table of what was seen, and one of how many events came at once."""
    make_seen(linked)
    linked.execute("CREATE TABLE batches (seq bigserial, n bigint, first bigint, last bigint)")
    stream_with(linked, mdb)
    return linked


def insert(db, mdb, first, last):
    """Events of these numbers, which are there before the handlers go on."""
    mdb.c.insert_many([{"_id": number, "n": number % 10} for number in range(first, last + 1)])
    db.wait_for("SELECT max(event_id) FROM change_stream_events", expect=last)


def test_set_based_sql(shop, mdb):
    """A relation that holds every event once, in order, to join, aggregate and loop over."""
    shop.execute("CREATE TABLE sums (n int PRIMARY KEY, events bigint)")
    insert(shop, mdb, 1, 3000)
    handler(shop, "h", each="batch", batch_size=700, start_at="earliest", condition="(full_document->>'n')::int <> 9", body=f"""
      DECLARE c record; before bigint := 0;
      BEGIN
        INSERT INTO batches (n, first, last) SELECT count(*), min(event_id), max(event_id) FROM changes;
        {INTO_SEEN};
        INSERT INTO sums SELECT e.full_document.n::int, count(*) FROM changes e GROUP BY 1 ON CONFLICT (n) DO UPDATE SET events = sums.events + excluded.events;
        FOR c IN SELECT * FROM changes LOOP
          IF c.event_id <= before THEN RAISE EXCEPTION 'out of order'; END IF;
          before := c.event_id;
        END LOOP;
        IF before > 2500 THEN RETURN; END IF;
        EXECUTE 'SELECT count(*) FROM changes a JOIN changes b USING (event_id)' INTO STRICT before;
      END""")
    sync(shop)
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == [n for n in range(1, 3001) if n % 10 != 9]
    assert shop.execute("SELECT * FROM sums ORDER BY n") == [(n, 300) for n in range(9)]
    assert shop.column("SELECT n FROM batches ORDER BY seq") == [630, 630, 630, 630, 180]
    # events from before the handler were processed already: no row is written anew for that
    outcome = "SELECT processing_status, processing_attempts, count(*) FROM change_stream_events GROUP BY 1, 2 ORDER BY 2"
    assert shop.execute(outcome) == [("processed", 0, 3000)]
    # in nobody's way: the name is known in this code alone
    shop.execute("CREATE TABLE changes (event_id text)")
    shop.execute("INSERT INTO changes VALUES ('a table')")
    insert(shop, mdb, 3001, 3010)
    sync(shop)
    assert shop.value("SELECT count(*) FROM seen WHERE event_id > 3000") == 9
    assert shop.execute(outcome) == [("processed", 0, 3001), ("processed", 1, 9)]
    assert shop.value("SELECT count(*) FROM changes") == 1


def test_halves_find_the_culprits(shop, mdb):
    """Those that fail alone are dead letters, and no others; the others are applied in order; both can be run again."""
    shop.execute("CREATE TABLE banned (n bigint)")
    shop.execute("INSERT INTO banned VALUES (300), (301), (777), (1000)")
    insert(shop, mdb, 1, 1000)
    handler(shop, "h", each="batch", start_at="earliest", retry_attempts=0, body=f"""
      IF EXISTS (SELECT FROM changes JOIN banned ON n = event_id) THEN RAISE EXCEPTION 'banned' USING ERRCODE = 'ZZ001'; END IF;
      INSERT INTO batches (n) SELECT count(*) FROM changes;
      {INTO_SEEN}""")
    sync(shop)
    bad = [300, 301, 777, 1000]
    assert shop.execute(LETTERS) == [(n, 1, "ZZ001") for n in bad]
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == [n for n in range(1, 1001) if n not in bad]
    assert shop.column("SELECT event_id FROM change_stream_events WHERE processing_status = 'error' ORDER BY 1") == bad
    assert shop.value("SELECT count(*) FROM batches") < 60
    assert shop.value("SELECT sum(failures)::int FROM change_handler_status") == 4
    # dead letters, one by one
    shop.execute("DELETE FROM banned WHERE n = 777")
    assert shop.value("SELECT retry_dead_letters('h')") == 1
    assert shop.execute("SELECT event_id, attempts FROM change_stream_dead_letters ORDER BY 1") == [(n, 2) for n in (300, 301, 1000)]
    assert shop.value("SELECT count(*) FROM seen WHERE event_id = 777") == 1
    # replay, as a set
    shop.execute("TRUNCATE seen")
    assert shop.column("SELECT event_id FROM replay_changes('h', 200, 900, dry_run => true)") == [300, 301]
    assert shop.value("SELECT count(*) FROM seen") == 0
    assert shop.column("SELECT event_id FROM replay_changes('h', 200, 900)") == [300, 301]
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == [n for n in range(200, 901) if n not in (300, 301)]
    # a failure that only several have together is nobody's
    shop.execute("TRUNCATE seen, batches, banned")
    shop.execute("SELECT discard_dead_letters('h')")
    call(shop, "alter_change_handler", "h", body="IF (SELECT count(*) FROM changes) > 100 THEN RAISE EXCEPTION 'too many'; END IF; " + INTO_SEEN)
    insert(shop, mdb, 1001, 2000)
    sync(shop)
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == list(range(1001, 2001))
    assert shop.execute(LETTERS) == []


def test_condition_that_fails_is_one_events(shop, mdb):
    """It is known whose it is; on_failure stop; the handler goes on where it stopped, event by event if told so."""
    insert(shop, mdb, 1, 200)
    handler(shop, "h", each="batch", start_at="earliest", retry_attempts=0, on_failure="stop",
            condition="100 / ((document_key->>'_id')::int - 150) > -1000", body=INTO_SEEN)
    assert "event 150 failed" in wait_state(shop, "h", "error")["reason"]
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == list(range(1, 150))
    call(shop, "alter_change_handler", "h", reset=["condition", "each"], body="INSERT INTO seen (event_id) VALUES (change.event_id)")
    call(shop, "resume_change_handler", "h")
    sync(shop)
    assert shop.column("SELECT event_id FROM seen ORDER BY seq") == list(range(1, 201))


def test_procedure_workers_and_timeout(shop, mdb):
    """An array of events; each worker has its own; code that takes too long for many is run on fewer."""
    shop.execute("""CREATE PROCEDURE take(changes change_stream_events[]) LANGUAGE plpgsql AS $$ BEGIN
                      PERFORM pg_sleep(0.004 * cardinality(changes));
                      INSERT INTO seen (event_id) SELECT event_id FROM unnest(changes); END $$""")
    shop.execute("ALTER TABLE seen ADD pid int DEFAULT pg_backend_pid()")
    insert(shop, mdb, 1, 400)
    handler(shop, "h", each="batch", start_at="earliest", procedure="take", workers=2, timeout="300 milliseconds", retry_attempts=0)
    sync(shop)
    assert shop.value("SELECT count(*) FROM seen") == 400
    assert shop.row("SELECT bool_and(before < event_id), count(DISTINCT pid) FROM (SELECT pid, event_id, lag(event_id, 1, 0::bigint)"
                    " OVER (PARTITION BY pid ORDER BY seq) AS before FROM seen) s") == (True, 2)
    assert shop.execute(LETTERS) == []


def test_large_documents(shop, mdb):
    """A batch is bounded in bytes, also of what is stored out of line."""
    mdb.c.insert_many([{"_id": number, "text": chr(97 + number % 26) * 1_000_000} for number in range(40)])
    shop.wait_for("SELECT max(event_id) FROM change_stream_events", expect=40)
    handler(shop, "h", each="batch", start_at="earliest", body=f"INSERT INTO batches (n) SELECT count(*) FROM changes WHERE full_document ? 'text'; {INTO_SEEN}")
    sync(shop)
    assert shop.value("SELECT count(*) FROM seen") == 40
    assert shop.value("SELECT max(n) FROM batches") <= 10
