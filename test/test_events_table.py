"""What the owner of the events table may do with it: types, domains, constraints, defaults, triggers, indexes."""
import psycopg
import pytest

from streams import create, error_of, gaps, operations, status, sync, wait_state


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


def test_truncate(linked, mdb):
    """Who has not read all of the events is told in the place of the last one; who has is not; numbers go on."""
    create(linked, "s", collection="c")
    create(linked, "empty", collection="nothing")
    linked.execute("CREATE TABLE seen (handler text, event_id bigint, operation text)")
    body = "BEGIN INSERT INTO public.seen VALUES ('{}', change.event_id, change.operation_type); END"
    for name in ("late", "early"):
        linked.execute("SELECT create_change_handler(%s, 's', body => %s, paused => %s)", name, body.format(name), name == "late")
    mdb.c.insert_many([{"_id": number} for number in range(3)])
    linked.wait_for("SELECT count(*) FROM seen", expect=3)
    with linked.connect(autocommit=False) as other:
        other.execute("TRUNCATE change_stream_events, seen")
        other.rollback()
    assert linked.column("SELECT event_id FROM change_stream_events ORDER BY 1") == [1, 2, 3]
    linked.execute("TRUNCATE change_stream_events")
    position = linked.value("SELECT resume_token FROM change_stream_progress WHERE stream_name = 's'")
    (number, came_from, leads_to, reason), = gaps(linked, "s")
    assert (number, came_from, leads_to) == (3, None, position) and "truncated" in reason
    assert linked.value("SELECT count(*) FROM change_stream_events") == 1
    linked.execute("SELECT resume_change_handler('late')")
    linked.wait_for("SELECT array_agg(event_id || operation) FROM seen WHERE handler = 'late'", expect=["3gap"])
    mdb.c.insert_one({"_id": "next"})
    linked.wait_for("SELECT array_agg(event_id || operation ORDER BY event_id) FROM seen WHERE handler = 'early'",
                    expect=["1insert", "2insert", "3insert", "4insert"])
    # with the positions there is nothing to tell of, and an old snapshot does not tell of an old position
    with linked.connect(autocommit=False) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM change_streams")
        mdb.c.insert_one({"_id": "later"})
        sync(linked, "s")
        other.execute("TRUNCATE change_stream_events")
        other.commit()
    assert [gap[0] for gap in gaps(linked, "s")] == [5]


def test_truncate_while_streams_are_busy(linked, mdb):
    """No deadlock, nothing lost behind the last gap row, no number twice."""
    create(linked, "s", collection="c")
    linked.execute("SELECT create_change_handler('h', 's', body => 'BEGIN END')")
    for turn in range(5):
        mdb.c.insert_many([{"_id": turn * 1000 + number} for number in range(1000)])
        linked.execute("TRUNCATE change_stream_events")
    assert linked.value("SELECT sync_change_stream('s', handlers => true)")
    assert linked.value("SELECT last_event_id FROM change_stream_progress") == 5000
    first, last, count = linked.row("SELECT min(event_id), max(event_id), count(*) FROM change_stream_events")
    assert last == 5000 and count == last - first + 1
    assert [gap[0] for gap in gaps(linked, "s")] in ([], [first])
    assert linked.value("SELECT consecutive_errors FROM change_stream_progress") == 0


def test_truncate_by_another_role(linked, mdb):
    """What the row sets off runs as the owner of its stream, not as who truncates; and the function works nowhere else."""
    linked.execute("CREATE ROLE ann LOGIN; CREATE ROLE cleaner LOGIN; GRANT USAGE ON FOREIGN SERVER mongo TO ann;"
                   " GRANT TRUNCATE ON change_stream_events TO cleaner; GRANT CREATE ON SCHEMA public TO ann, cleaner")
    try:
        with linked.connect("ann") as ann:
            create(ann, "s", collection="c")
        linked.execute("CREATE TABLE who (role text); GRANT INSERT ON who TO PUBLIC")
        linked.execute("CREATE FUNCTION who() RETURNS trigger LANGUAGE plpgsql AS"
                       " $$ BEGIN INSERT INTO public.who VALUES (current_user); RETURN NULL; END $$")
        mdb.c.insert_one({"_id": 1})
        sync(linked, "s")
        linked.execute("CREATE TRIGGER who AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION who()")
        with linked.connect("cleaner") as cleaner:
            cleaner.execute("TRUNCATE change_stream_events")
            assert linked.column("SELECT role FROM who") == ["ann"]
            cleaner.execute("CREATE TABLE mine (n int)")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                cleaner.execute("CREATE TRIGGER t AFTER TRUNCATE ON mine EXECUTE FUNCTION change_stream_events_truncated()")
        linked.execute("CREATE TABLE ours (n int);"
                       " CREATE TRIGGER t AFTER TRUNCATE ON ours EXECUTE FUNCTION change_stream_events_truncated()")
        with pytest.raises(psycopg.errors.TriggerProtocolViolated):
            linked.execute("TRUNCATE ours")
    finally:
        linked.execute("DROP OWNED BY ann, cleaner CASCADE; DROP ROLE ann, cleaner")
