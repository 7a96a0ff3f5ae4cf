"""What the owner of the events table may do with it: types, domains, constraints, defaults, triggers, indexes."""
import pytest

from streams import create, error_of, operations, status, sync, wait_state


def alter(db, *changes):
    db.execute("ALTER TABLE change_stream_events " + ", ".join(changes))


DOCUMENTS = ("document_key", "full_document", "full_document_before_change", "update_description", "extra")


@pytest.mark.parametrize("kind", ["jsonb", "json", "text", "varchar(2000)"])
def test_documents_as_another_type(linked, mdb, kind):
    """What a document column is altered to gets proper values of that type, from events, filters and gap rows."""
    alter(linked, *(f"ALTER {column} TYPE {kind} USING {column}::{kind}" for column in DOCUMENTS))
    create(linked, "s", collection="c", filter="(full_document::jsonb->>'n')::int <> 2", add_fields="twice = 2 * (full_document::jsonb->>'n')::int")
    mdb.c.insert_many([{"_id": number, "n": number, "text": "é\u2028\"\\"} for number in range(5)])
    sync(linked, "s")
    assert linked.column("SELECT document_key::jsonb->'_id' FROM change_stream_events ORDER BY event_id") == [0, 1, 3, 4]
    assert linked.column("SELECT full_document::jsonb FROM change_stream_events WHERE event_id = 2") == [{"_id": 1, "n": 1, "text": "é\u2028\"\\"}]
    assert linked.value("SELECT extra::jsonb->>'twice' FROM change_stream_events WHERE event_id = 3") == "6"
    assert linked.value("SELECT pg_typeof(full_document)::text FROM change_stream_events LIMIT 1").startswith(kind[:4].replace("varc", "char"))


def test_the_type_is_altered_while_a_stream_runs(linked, mdb):
    """A filter that reads the column is compiled anew, and handlers see the rows as they are."""
    linked.execute("CREATE TABLE seen (event_id bigint, n int)")
    create(linked, "s", collection="c", filter="full_document IS NOT NULL AND document_key IS NOT NULL")
    linked.execute("SELECT create_change_handler('h', 's', condition => 'change.full_document IS NOT NULL', body =>"
                   " 'BEGIN INSERT INTO seen VALUES (change.event_id, (change.full_document::jsonb->>''n'')::int); END')")
    for number, kind in enumerate(("document", "jsonb", "text", "document")):
        alter(linked, f"ALTER full_document TYPE {kind} USING full_document::text::{kind}")
        mdb.c.insert_one({"_id": number, "n": number})
        sync(linked, "s")
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert linked.execute("SELECT event_id, n FROM seen ORDER BY 1") == [(number + 1, number) for number in range(4)]


@pytest.mark.parametrize("column, kind", [("full_document", "tsvector"), ("processing_attempts", "text"), ("received_at", "text"),
                                          ("changed_fields", "text"), ("event_id", "text"), ("cluster_time", "date"),
                                          ("processing_time_ms", "double precision")])
def test_a_type_that_does_not_fit(linked, mdb, column, kind):
    """State error with the command that helps; after it the stream goes on by itself, and nothing is lost."""
    linked.execute("SELECT create_change_stream('s', collection => 'c')")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "s")
    alter(linked, f"ALTER {column} TYPE {kind} USING " + ("NULL" if kind in ("tsvector", "date") else f"{column}::text::{kind}"))
    mdb.c.insert_one({"_id": 2})
    reason = wait_state(linked, "s", "error")["reason"]
    assert column in reason and "ALTER TABLE" in reason
    linked.execute(linked.value("SELECT substring(stopped FROM 'ALTER TABLE.*;') FROM (SELECT %s AS stopped) r", reason))
    mdb.c.insert_one({"_id": 3})
    sync(linked, "s")
    assert linked.column("SELECT event_id FROM change_stream_events ORDER BY 1") == [1, 2, 3]


def test_a_column_that_is_missing(linked, mdb):
    create(linked, "s", collection="c")
    alter(linked, "DROP extra")
    mdb.c.insert_one({"_id": 1})
    reason = wait_state(linked, "s", "error")["reason"]
    linked.execute(linked.value("SELECT substring(stopped FROM 'ALTER TABLE.*;') FROM (SELECT %s AS stopped) r", reason))
    sync(linked, "s")
    assert operations(linked, "s") == ["insert"]


def test_unlogged(linked, mdb):
    """A crash would empty the table behind the position: nothing is written, and the status says so."""
    create(linked, "s", collection="c")
    alter(linked, "SET UNLOGGED")
    mdb.c.insert_one({"_id": 1})
    assert "SET LOGGED" in wait_state(linked, "s", "error")["reason"]
    alter(linked, "SET LOGGED")
    sync(linked, "s")
    assert operations(linked, "s") == ["insert"]


def test_all_that_a_table_can_have(linked, mdb):
    """Domains, generated and identity columns, defaults, constraints, foreign keys: each does its part, none a crash."""
    linked.execute("CREATE DOMAIN word AS varchar(20) CHECK (value <> 'drop')")
    linked.execute("CREATE TABLE places (name text PRIMARY KEY)")
    linked.execute("INSERT INTO places VALUES ('c')")
    alter(linked, "ALTER operation_type TYPE word", "ALTER processing_time_ms TYPE numeric(10, 1)",
          "ADD double bigint GENERATED ALWAYS AS (event_id * 2) STORED", "ADD number int GENERATED ALWAYS AS IDENTITY",
          "ADD day date DEFAULT now() NOT NULL", "ADD CHECK (event_id > 0)", "ALTER resume_token SET NOT NULL",
          "ADD FOREIGN KEY (collection_name) REFERENCES places DEFERRABLE INITIALLY DEFERRED",
          "ADD EXCLUDE USING btree (number WITH =)")
    create(linked, "s", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(2500)])
    sync(linked, "s")
    assert linked.row("SELECT count(*), count(DISTINCT number), bool_and(double = 2 * event_id), max(scale(processing_time_ms)) FROM change_stream_events") \
        == (2500, 2500, True, 1)


def test_a_constraint_against_a_gap_row(linked, mdb):
    """In a session of the user's own it is an error, not a crash."""
    create(linked, "s", collection="c")
    linked.execute("SELECT pause_change_stream('s')")
    alter(linked, "ADD CONSTRAINT no_gaps CHECK (operation_type <> 'gap')")
    mdb.c.insert_one({"_id": 1})
    error = error_of(linked, "SELECT resume_change_stream('s', start_at => 'now')")
    assert error.sqlstate == "23514" and "no_gaps" in str(error)
    assert status(linked, "s")["state"] == "paused"


def test_a_dead_letter_of_another_type(linked, mdb):
    """What a handler gave up while a column had another type is kept, shown and run again, whichever type the column has by then."""
    linked.execute("CREATE TABLE seen (n int)")
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', retry_attempts => 0, body => 'BEGIN INSERT INTO seen"
                   " SELECT (change.full_document::jsonb->>''n'')::int; END')")
    alter(linked, "ALTER full_document TYPE jsonb USING full_document::jsonb")
    mdb.c.insert_many([{"_id": 1, "n": "one"}, {"_id": 2, "n": 2}])
    sync(linked, "s")
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert linked.column("SELECT (event).full_document->>'n' FROM change_stream_dead_letters") == ["one"]
    linked.execute("UPDATE change_stream_events SET full_document = '{\"n\": 1}' WHERE event_id = 1")
    alter(linked, "ALTER full_document TYPE document USING full_document::document")
    assert linked.value("SELECT retry_dead_letters('h')") == 1
    assert sorted(linked.column("SELECT n FROM seen")) == [1, 2]


def test_workers_and_another_type(linked, mdb):
    """Several workers divide events by the key: of another type it would be divided otherwise."""
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', workers => 2, body => 'BEGIN END')")
    alter(linked, "ALTER document_key TYPE jsonb USING document_key::jsonb")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    linked.wait_for("SELECT reason LIKE '%several workers%' FROM change_handler_status", timeout=20)
    alter(linked, "ALTER document_key TYPE document USING document_key::document")
    linked.wait_for("SELECT min(last_event_id) FROM change_handler_progress", expect=10)


def test_retention_and_a_foreign_key(linked, mdb):
    """Old events that something refers to stay, the others go; the stream goes on, and its status says so."""
    create(linked, "s", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(20)])
    sync(linked, "s")
    linked.execute("CREATE TABLE notes (stream_name text, event_id bigint, FOREIGN KEY (stream_name, event_id) REFERENCES change_stream_events)")
    linked.execute("INSERT INTO notes VALUES ('s', 1), ('s', 2), ('s', 9)")
    linked.execute("SELECT alter_change_stream('s', retention => '1 millisecond')")
    linked.wait_for("SELECT array_agg(event_id ORDER BY event_id) FROM change_stream_events", expect=[1, 2, 9, 20], timeout=30)
    linked.wait_for("SELECT reason LIKE '%%(3)%%notes%%' FROM change_stream_status", expect=True, timeout=30)
    mdb.c.insert_one({"_id": "next"})
    sync(linked, "s")
    assert status(linked, "s")["state"] == "active" and linked.value("SELECT consecutive_errors FROM change_stream_progress") == 0
