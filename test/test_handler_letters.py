"""What is left when a handler gives up: dead letters that can be read, are counted, and do not go unnoticed; and retries after a repair."""
import time

import psycopg
import pytest
from bson import ObjectId

from handlers import SEEN, call, handler, make_seen, seen, status, stream_with, sync, wait_state
from streams import create, drop


def notices_of(connection, statement):
    """The messages of the notices that a statement raises."""
    told = []
    connection.add_notice_handler(lambda notice: told.append(notice.message_primary))
    connection.execute(statement)
    return told


def test_status_counts_dead_letters(linked, mdb):
    """`idle` alone would look healthy."""
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="BEGIN IF change.event_id % 2 = 0 THEN RAISE 'no'; END IF; END")
    mdb.c.insert_many([{"_id": number} for number in range(1, 11)])
    sync(linked)
    one = wait_state(linked, "h", "idle")
    assert one["dead_letters"] == 5 and "5 dead letters wait in change_stream_dead_letter_list" in one["reason"]
    call(linked, "discard_dead_letters", "h")
    one = status(linked, "h")
    assert one["dead_letters"] == 0 and "dead letter" not in one["reason"]


def test_a_letter_a_line(linked, mdb, postgres):
    """psql shows the list on 120 columns, whatever the events and errors hold; the function has all of one."""
    stream_with(linked, mdb, on_error="park")
    handler(linked, "new_orders", retry_attempts=0, condition="operation_type <> 'gap'", body="BEGIN RAISE '%', repeat(E'no\nno ', 1000) USING DETAIL = 'why'; END")
    linked.execute("ALTER TABLE change_stream_events ADD CONSTRAINT named CHECK (full_document->>'n' <> '2')")
    ids = [ObjectId(), "x" * 1000 + "\n", {"a": "tab\t" * 100}, 4]
    mdb.c.insert_many([{"_id": one, "n": str(number), "text": "x" * 5000} for number, one in enumerate(ids)])
    sync(linked)
    shown = postgres.psql("SELECT * FROM change_stream_dead_letter_list ORDER BY event_id", linked.name, "-P", "format=aligned", "-P", "tuples_only=off").strip("\n").splitlines()
    assert len(shown) == 4 + 3 and max(map(len, shown)) <= 120, shown      # head, line, a line each, (4 rows)
    rows = linked.execute("SELECT handler_name, stream_name, event_id, document_key, age < '1 minute', error FROM change_stream_dead_letter_list ORDER BY 3")
    assert rows[0] == ("new_orders", "s", 1, str(ids[0]), True, rows[0][5]) and rows[0][5].startswith("no no") and len(rows[0][5]) == 38
    assert rows[1][3] == "x" * 23 + "…" and rows[3][3] == "4"
    assert rows[2][:3] == (None, "s", 3) and rows[2][5].startswith("new row for relation")
    whole = "SELECT handler_name, full_document->>'text', detail, attempts FROM change_stream_dead_letter"
    assert linked.execute(f"{whole}(1, 'new_orders')") == [("new_orders", "x" * 5000, "why", 1)]
    assert [row[:2] for row in linked.execute(f"{whole}(3, stream_name => 's')")] == [(None, "x" * 5000)]
    assert linked.execute(f"{whole}(3, 'new_orders')") == linked.execute(f"{whole}(9)") == []


def test_stream_with_dead_letters_is_not_dropped_by_the_way(linked, mdb):
    stream_with(linked, mdb)
    handler(linked, "h", retry_attempts=0, body="BEGIN RAISE 'no'; END")
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as refused:
        drop(linked, "s")
    assert "1 event," in refused.value.diag.message_detail
    assert "discard_dead_letters => true" in refused.value.diag.message_hint
    assert linked.value("SELECT count(*) FROM change_stream_dead_letters") == 1
    drop(linked, "s", discard_dead_letters=True)
    assert linked.value("SELECT count(*) FROM change_handler_dead_letters") == 0


def test_letters_after_a_column_came_back(linked, mdb):
    """A column of the events table that was dropped and added again stands behind those of its owner; letters are read by name."""
    stream_with(linked, mdb)
    linked.execute("ALTER TABLE change_stream_events ADD COLUMN tenant int, ADD COLUMN error text")
    linked.execute("ALTER TABLE change_stream_events DROP COLUMN extra, DROP COLUMN full_document_source")
    linked.execute("ALTER TABLE change_stream_events ADD COLUMN full_document_source text, ADD COLUMN extra document")
    handler(linked, "h", retry_attempts=0, body="BEGIN RAISE 'no'; END")
    mdb.c.insert_one({"_id": 1, "n": 7})
    sync(linked)
    assert linked.row("SELECT (event).full_document->>'n', (event).full_document_source, (event).tenant, (event).error, error"
                      " FROM change_stream_dead_letters") == ("7", "insert", None, None, "no")


def test_made_again_on_another_stream(linked, mdb):
    """In one transaction: the process of the old one leaves at once, and the new one's works on its own stream, alone."""
    stream_with(linked, mdb)
    create(linked, "t", collection="d")
    make_seen(linked)
    make_seen(linked, "of_t")
    handler(linked, "h", body=SEEN)
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    old = status(linked, "h")["pid"]
    assert old is not None
    linked.execute("BEGIN")
    call(linked, "drop_change_handler", "h")
    handler(linked, "h", "t", body="INSERT INTO of_t (event_id) VALUES (change.event_id);")
    linked.execute("COMMIT")
    linked.wait_for("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", old, expect=0, timeout=10)
    mdb.d.insert_many([{"_id": number} for number in range(5)])
    sync(linked, "t")
    assert seen(linked) == [1] and seen(linked, "of_t") == [1, 2, 3, 4, 5]
    assert linked.value("SELECT count(*) FROM change_handler_workers()") == 1


def test_altered_handler_retries_at_once(linked, mdb):
    """A repair does not wait for the delay that the broken one has earned."""
    make_seen(linked)
    stream_with(linked, mdb)
    handler(linked, "h", retry_delay="1 hour", max_retry_delay="1 hour", body="BEGIN RAISE 'broken'; END")
    mdb.c.insert_one({"_id": 1})
    wait_state(linked, "h", "retrying")
    began = time.monotonic()
    call(linked, "alter_change_handler", "h", body="BEGIN " + SEEN + " END")
    sync(linked)
    assert seen(linked) == [1] and time.monotonic() - began < 20


def test_replay_of_another_handler_keeps_ones_own_function(linked, mdb):
    """A procedure that is made anew is noticed also where another handler's code was at work in the same process."""
    linked.execute("CREATE TABLE told (what text)")
    stream_with(linked, mdb)
    version = "CREATE FUNCTION tell(change change_stream_events) RETURNS void LANGUAGE plpgsql AS" \
              " $$ BEGIN INSERT INTO told VALUES ('{}'); PERFORM count(*) FROM replay_changes('other', 1, 1); END $$"
    linked.execute("CREATE FUNCTION nothing(change change_stream_events) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$")
    linked.execute(version.format("old"))
    handler(linked, "other", procedure="nothing")
    handler(linked, "h", procedure="tell")
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    with linked.connect(autocommit=False) as connection:
        connection.execute("DROP FUNCTION tell")
        connection.execute(version.format("new"))
    mdb.c.insert_one({"_id": 2})
    sync(linked)
    assert linked.column("SELECT what FROM told") == ["old", "new"]


@pytest.mark.parametrize("options, body, condition, told", [
    ({}, "INSERT INTO t VALUES (change.full_document->>'n')", None, True),
    ({"full_document": "updateLookup"}, "INSERT INTO t VALUES (change.full_document->>'n')", None, True),
    ({}, "INSERT INTO t VALUES (change.full_document->>'n')", "operation_type = 'insert'", False),
    ({"operations": ["insert", "replace"]}, "INSERT INTO t VALUES (change.full_document->>'n')", None, False),
    ({}, "IF change.full_document IS NOT NULL THEN INSERT INTO t VALUES (change.full_document->>'n'); END IF", None, False),
    ({}, "INSERT INTO t VALUES (change.full_document_before_change->>'n')", None, False),
])
def test_notice_of_documents_that_can_be_missing(linked, mdb, options, body, condition, told):
    linked.execute("CREATE TABLE t (n text)")
    create(linked, "s", collection="c", **options)
    connection = linked.connect()
    messages = notices_of(connection, psycopg.sql.SQL("SELECT create_change_handler('h', 's', body => {}, condition => {})").format(
        psycopg.sql.Literal(f"BEGIN {body}; END"), psycopg.sql.Literal(condition)))
    connection.close()
    assert messages == (['the body of change handler "h" reads full_document, which can be null'] if told else [])


def test_definition_that_changed_unnoticed(linked, mdb):
    """What decides whether a transaction counts is the row that it saves, not the flag in shared memory: here nobody raises it."""
    linked.execute("CREATE TABLE told (what text, event_id bigint)")
    stream_with(linked, mdb)
    body = "BEGIN PERFORM pg_advisory_xact_lock_shared(7); INSERT INTO told VALUES ('{}', change.event_id); END"
    handler(linked, "h", body=body.format("old"))
    mdb.c.insert_one({"_id": 1})
    sync(linked)
    version = linked.value("SELECT definition_version FROM change_handler_progress")
    holder = linked.connect(autocommit=False)
    holder.execute("SELECT pg_advisory_xact_lock(7)")
    mdb.c.insert_one({"_id": 2})
    linked.wait_for("SELECT running_event FROM change_handler_status", expect=2)
    linked.execute("UPDATE change_handlers SET body = replace(body, '''old''', '''new''')")
    linked.execute("UPDATE change_handler_progress SET definition_version = %s", version + 1)
    holder.commit()
    holder.close()
    sync(linked)
    assert linked.execute("SELECT what, event_id FROM told ORDER BY 2") == [("old", 1), ("new", 2)]
    for change in ("SELECT alter_change_handler('h', retry_attempts => 2)", "SELECT pause_change_handler('h')",
                   "SELECT resume_change_handler('h')"):
        before = linked.value("SELECT definition_version FROM change_handler_progress")
        linked.execute(change)
        assert linked.value("SELECT definition_version FROM change_handler_progress") > before


def test_code_that_alters_its_own_handler(linked, mdb):
    """Its own doing does not undo it: each event once, the next ones by the new definition."""
    linked.execute("CREATE TABLE told (what text, event_id bigint)")
    stream_with(linked, mdb)
    handler(linked, "h", body="BEGIN INSERT INTO public.told VALUES ('old', change.event_id);"
                              " PERFORM public.alter_change_handler('h', body => 'BEGIN INSERT INTO public.told VALUES (''new'', change.event_id); END'); END")
    for number in (1, 2):
        mdb.c.insert_one({"_id": number})
        sync(linked)
    assert linked.execute("SELECT what, event_id FROM told ORDER BY 2") == [("old", 1), ("new", 2)]
