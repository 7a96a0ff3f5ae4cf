"""Events that cannot be written: the others are, and on_error decides about the culprit."""
import json

import bson
import pytest

from harness.machine import wait_until
from streams import alter, create, error_of, gaps, operations, pause, resume, status, sync, wait_state

POISON = (3, 6, 7)

TRIGGER = ("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS"
           " $$ BEGIN IF NEW.full_document->>'n' = 'poison' THEN RAISE 'it is poison'; END IF; RETURN NEW; END $$")
COLUMN = "ALTER TABLE change_stream_events ADD n text GENERATED ALWAYS AS (full_document->>'n') STORED"

# what makes events with n = 'poison' fail, and what mends it
CAUSES = {
    "check": (["ALTER TABLE change_stream_events ADD CONSTRAINT cause CHECK (full_document->>'n' <> 'poison')"],
              "ALTER TABLE change_stream_events DROP CONSTRAINT cause"),
    "not null": (["ALTER TABLE change_stream_events ADD n text GENERATED ALWAYS AS"
                  " (CASE WHEN full_document->>'n' = 'poison' THEN NULL ELSE '' END) STORED NOT NULL"],
                 "ALTER TABLE change_stream_events ALTER n DROP NOT NULL"),
    "index": (["CREATE INDEX cause ON change_stream_events (((full_document->>'n')::numeric))"], "DROP INDEX cause"),
    "unique": ([COLUMN, "INSERT INTO change_stream_events (stream_name, event_id, full_document) VALUES ('-', 1, '{\"n\": \"poison\"}')",
                "CREATE UNIQUE INDEX cause ON change_stream_events (n)"], "DROP INDEX cause"),
    "before": ([TRIGGER, "CREATE TRIGGER cause BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()"],
               "DROP TRIGGER cause ON change_stream_events"),
    "after": ([TRIGGER, "CREATE TRIGGER cause AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()"],
              "DROP TRIGGER cause ON change_stream_events"),
    "deferred": ([TRIGGER, "CREATE CONSTRAINT TRIGGER cause AFTER INSERT ON change_stream_events DEFERRABLE INITIALLY DEFERRED"
                           " FOR EACH ROW EXECUTE FUNCTION refuse()"], "DROP TRIGGER cause ON change_stream_events"),
    "suppressed": ([TRIGGER.replace("RAISE 'it is poison'", "RETURN NULL"),
                    "CREATE TRIGGER cause BEFORE INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION refuse()"],
                   "DROP TRIGGER cause ON change_stream_events"),
    "foreign key": ([COLUMN, "CREATE TABLE numbers AS SELECT i::text AS n FROM generate_series(0, 100) i",
                     "ALTER TABLE numbers ADD PRIMARY KEY (n)",
                     "ALTER TABLE change_stream_events ADD CONSTRAINT cause FOREIGN KEY (n) REFERENCES numbers"],
                    "ALTER TABLE change_stream_events DROP CONSTRAINT cause"),
    "domain": (["CREATE DOMAIN wholesome AS document CHECK (value->>'n' <> 'poison')",
                "ALTER TABLE change_stream_events ALTER full_document TYPE wholesome"],
               "ALTER TABLE change_stream_events ALTER full_document TYPE document"),
    "jsonb": (["ALTER TABLE change_stream_events ALTER full_document TYPE jsonb USING full_document::jsonb"],
              "ALTER TABLE change_stream_events ALTER full_document TYPE document USING full_document::document"),
}


def documents(count=10, poison=POISON, first=0):
    return [{"_id": first + number, "n": "poison" if number in poison else str(number),
             **({"text": "a\0b"} if number in poison else {})} for number in range(count)]


def rows(db, stream="s"):
    """Each event's number and the _id of its document, None for a gap row."""
    return [(number, key and int(key)) for number, key in db.execute(
        "SELECT event_id, document_key->>'_id' FROM change_stream_events WHERE stream_name = %s ORDER BY 1", stream)]


def letters(db):
    return db.execute("SELECT event_id, handler_name, (event).full_document->>'n' FROM change_stream_dead_letters ORDER BY 1")


@pytest.mark.parametrize("cause", CAUSES)
def test_stop_then_skip_then_park(linked, mdb, cause):
    """Stops at the culprit, by token; is told to leave it out; stops at the next; is told to put such events aside."""
    make, mend = CAUSES[cause]
    linked.execute("CREATE TABLE seen (event_id bigint, operation text)")
    create(linked, "s", collection="c", full_document="default")
    linked.execute("SELECT create_change_handler('h', 's', body => 'BEGIN INSERT INTO seen VALUES (change.event_id, change.operation_type); END')")
    pause(linked, "s")
    for statement in make:
        linked.execute(statement)
    mdb.c.insert_many(documents())
    resume(linked, "s")

    shown = wait_state(linked, "s", "error")
    assert rows(linked) == [(1, 0), (2, 1), (3, 2)]
    token = linked.value("SELECT stopped_token FROM change_streams")
    assert token in shown["reason"] and f"skip => '{token}'" in shown["reason"] and "on_error => 'park'" in shown["reason"]
    resume(linked, "s", skip=token)
    linked.wait_for("SELECT stopped_token > %s FROM change_streams", token, expect=True)
    assert rows(linked) == [(1, 0), (2, 1), (3, 2), (4, None), (5, 4), (6, 5)]

    alter(linked, "s", on_error="park")
    sync(linked, "s")
    assert rows(linked) == [(n + 1, None if n in POISON else n) for n in range(10)]
    assert letters(linked) == [(7, None, "poison"), (8, None, "poison")]
    extra = linked.value("SELECT extra::text FROM change_stream_events WHERE event_id = 7")
    assert json.loads(extra)["reason"] == "this event could not be written" and json.loads(extra)["error"]
    assert linked.value("SELECT retry_dead_letters(stream_name => 's')") == 0
    assert linked.column("SELECT attempts FROM change_stream_dead_letters") == [2, 2]

    linked.execute(mend)
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert linked.value("SELECT retry_dead_letters(stream_name => 's')") == 2
    assert rows(linked) == [(n + 1, None if n == 3 else n) for n in range(10)]
    assert linked.value("SELECT (full_document->'text')::text FROM change_stream_events WHERE event_id = 8") == '"a\\u0000b"'
    assert letters(linked) == [] and linked.value("SELECT retry_dead_letters(stream_name => 's')") == 0
    assert linked.column("SELECT event_id FROM seen ORDER BY 1") == list(range(1, 11))
    assert linked.column("SELECT DISTINCT processing_status FROM change_stream_events WHERE stream_name = 's'") == ["processed"]


def test_many_in_one_batch(linked, mdb):
    """A tenth of what comes is poison: every good event is written, in order, numbers without gaps."""
    create(linked, "s", collection="c", on_error="skip")
    pause(linked, "s")
    linked.execute(CAUSES["index"][0][0])
    poison = set(range(5, 3000, 10))
    mdb.c.insert_many(documents(3000, poison))
    resume(linked, "s")
    sync(linked, "s")
    assert rows(linked) == [(n + 1, None if n in poison else n) for n in range(3000)]
    assert linked.value("SELECT count(*) FROM change_stream_dead_letters") == 0
    told = gaps(linked, "s")[0]
    assert told[0] == 6 and told[1] < told[2] and told[3] == "this event could not be written"
    assert linked.row("SELECT extra->>'sqlstate', extra->>'error' FROM change_stream_events WHERE event_id = 6") == \
        ("22P02", 'invalid input syntax for type numeric: "poison"')


def test_errors_that_are_not_the_events(linked, mdb):
    """A serialization failure, however often, costs no event; the stream goes on when it is over."""
    create(linked, "s", collection="c", on_error="skip")
    linked.execute("CREATE TABLE mood (bad boolean)")
    linked.execute("INSERT INTO mood VALUES (true)")
    linked.execute("CREATE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
                   " IF (SELECT bad FROM public.mood) THEN RAISE 'not now' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$")
    linked.execute("CREATE TRIGGER moody AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION moody()")
    mdb.c.insert_many(documents(5, ()))
    linked.wait_for("SELECT consecutive_errors >= 3 FROM change_stream_progress", timeout=30)
    assert status(linked, "s")["state"] == "retrying"
    linked.execute("UPDATE mood SET bad = false")
    sync(linked, "s")
    assert operations(linked, "s") == ["insert"] * 5


def test_a_gap_row_that_cannot_be_written_either(linked, mdb):
    """No row in the event's place would make a hole: the stream stops and says so."""
    create(linked, "s", collection="c", on_error="skip")
    linked.execute("ALTER TABLE change_stream_events ADD CONSTRAINT strict CHECK (coalesce(full_document->>'n' <> 'poison', false))")
    mdb.c.insert_many(documents())
    reason = wait_state(linked, "s", "error")["reason"]
    assert "strict" in reason and "nor can a gap row" in reason
    assert rows(linked) == [(1, 0), (2, 1), (3, 2)]
    linked.execute("ALTER TABLE change_stream_events DROP CONSTRAINT strict")
    resume(linked, "s")
    sync(linked, "s")
    assert rows(linked) == [(n + 1, n) for n in range(10)]


def test_discard_and_rights(linked, mdb):
    """Who may not read a stream sees none of its parked events; they go with the stream, if that is told."""
    create(linked, "s", collection="c", on_error="park")
    linked.execute(CAUSES["check"][0][0])
    mdb.c.insert_many(documents())
    sync(linked, "s")
    linked.execute("CREATE ROLE stranger LOGIN")
    try:
        with linked.connect("stranger") as stranger:
            assert stranger.execute("SELECT count(*) FROM change_stream_dead_letters").fetchone() == (0,)
            assert stranger.execute("SELECT count(*) FROM change_stream_parked_events").fetchone() == (0,)
            for function in ("retry", "discard"):
                with pytest.raises(Exception, match="must be owner"):
                    stranger.execute(f"SELECT {function}_dead_letters(stream_name => 's')")
    finally:
        linked.execute("DROP ROLE stranger")
    assert error_of(linked, "SELECT drop_change_stream('s')").sqlstate == "2BP01"
    assert error_of(linked, "SELECT retry_dead_letters()").sqlstate == "22023"
    assert linked.value("SELECT discard_dead_letters(stream_name => 's')") == 3
    linked.execute("SELECT drop_change_stream('s')")


def test_the_option(linked, mdb):
    """In create, alter, reset and the dialect; anything else is refused."""
    create(linked, "s", collection="c", on_error="park")
    assert linked.value("SELECT on_error FROM change_streams") == "park"
    alter(linked, "s", reset=["on_error"])
    assert linked.value("SELECT on_error FROM change_streams") == "stop"
    alter(linked, "s", on_error="skip", notify="off")
    assert linked.row("SELECT on_error, notify FROM change_streams") == ("skip", "off")
    assert error_of(linked, "SELECT alter_change_stream('s', on_error => 'ignore')").sqlstate == "22023"
    linked.execute("DO LANGUAGE change_stream $$ CREATE CHANGE STREAM t ON c WITH (on_error = 'park') $$")
    assert linked.value("SELECT on_error FROM change_streams WHERE stream_name = 't'") == "park"
