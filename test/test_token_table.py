"""update_stream_resume_token(): a user's own table of tokens, kept in step by one upsert a batch."""
import pytest

from streams import create, pause, resume, sync, wait_state, worker

TEXT_TOKENS = """
    CREATE TABLE change_stream_resume_tokens (
      stream_name varchar(255) PRIMARY KEY, resume_token text NOT NULL,
      last_updated timestamp DEFAULT now(), collection_name varchar(255), database_name varchar(255),
      filter_pipeline jsonb, events_processed bigint DEFAULT 0, last_event_timestamp timestamp,
      stream_status varchar(50) DEFAULT 'active', avg_processing_latency_ms integer,
      last_error_message text, last_error_timestamp timestamp, consecutive_errors integer DEFAULT 0, note text)"""

DOCUMENT_TOKENS = """
    CREATE TABLE change_stream_resume_tokens (
      stream_name varchar(100) PRIMARY KEY, resume_token document NOT NULL,
      last_updated timestamp DEFAULT now(), stream_config document, last_event_time timestamp,
      error_count integer DEFAULT 0, restart_count integer DEFAULT 0)"""

TRIGGER = """
    CREATE TRIGGER keep_tokens AFTER INSERT OR UPDATE ON change_stream_events
    FOR EACH ROW EXECUTE FUNCTION update_stream_resume_token({})"""

TOKEN = "SELECT resume_token FROM change_stream_events WHERE stream_name = %s ORDER BY event_id DESC LIMIT 1"


def prepare(db, table, argument=""):
    db.execute(table)
    db.execute(TRIGGER.format(argument))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_text_tokens(linked, mdb, zone):
    linked.execute(f"ALTER ROLE postgres IN DATABASE {linked.name} SET timezone = '{zone}'")
    prepare(linked, TEXT_TOKENS)
    create(linked, "orders", collection="c", filter="operation_type <> 'delete'")
    mdb.c.insert_many([{"_id": number} for number in range(100)])
    mdb.c.update_one({"_id": 1}, {"$set": {"a": 1}})
    sync(linked, "orders")
    row = linked.row("SELECT resume_token, collection_name, database_name, events_processed, stream_status, consecutive_errors,"
                     " last_error_message, note, avg_processing_latency_ms >= 0 FROM change_stream_resume_tokens"
                     " WHERE stream_name = 'orders'")
    assert row == (linked.value(TOKEN, "orders"), "c", mdb.name, 101, "active", 0, None, None, True)
    assert "operation_type" in linked.value("SELECT filter_pipeline::text FROM change_stream_resume_tokens")
    # TIMESTAMP columns are in the owner's time zone
    assert linked.value("SELECT last_event_timestamp = (SELECT change_timestamp AT TIME ZONE %s FROM change_stream_events"
                        " WHERE event_id = 101) FROM change_stream_resume_tokens", zone)
    assert abs(linked.value("SELECT extract(epoch FROM last_updated - (now() AT TIME ZONE %s))::float"
                            " FROM change_stream_resume_tokens", zone)) < 60


def test_document_tokens(linked, mdb):
    prepare(linked, DOCUMENT_TOKENS)
    create(linked, "orders", collection="c")
    mdb.c.insert_many([{"_id": number} for number in range(10)])
    sync(linked, "orders")
    row = linked.row("SELECT resume_token->>'_data', resume_token::text, stream_config->>'collection', error_count, restart_count,"
                     " last_event_time = (SELECT change_timestamp AT TIME ZONE 'UTC' FROM change_stream_events WHERE event_id = 10)"
                     " FROM change_stream_resume_tokens")
    token = linked.value(TOKEN, "orders")
    assert row == (token, f'{{"_data": "{token}"}}', "c", 0, 0, True)
    linked.execute("SELECT pg_terminate_backend(%s, 5000)", worker(linked, "orders"))
    mdb.c.insert_one({"_id": 10})
    sync(linked, "orders")
    assert linked.row("SELECT resume_token->>'_data', restart_count FROM change_stream_resume_tokens") == (linked.value(TOKEN, "orders"), 1)


def test_one_upsert_a_batch(linked, mdb):
    """Not one a row: the row's versions are as many as the stream's commits."""
    prepare(linked, TEXT_TOKENS)
    linked.execute("CREATE TABLE writes (transaction xid8)")
    linked.execute("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN INSERT INTO public.writes VALUES (pg_current_xact_id()); RETURN NULL; END $$")
    linked.execute("CREATE TRIGGER note AFTER INSERT OR UPDATE OF resume_token ON change_stream_resume_tokens"
                   " FOR EACH ROW EXECUTE FUNCTION note()")
    create(linked, "orders", collection="c", paused=True, start_at="now")
    resume(linked, "orders")
    wait_state(linked, "orders", "active")
    sync(linked, "orders")
    pause(linked, "orders")
    mdb.c.insert_many([{"_id": number} for number in range(3000)])
    resume(linked, "orders")
    sync(linked, "orders")
    batches = linked.value("SELECT count(DISTINCT xmin::text) FROM change_stream_events")
    written, transactions = linked.row("SELECT count(*), count(DISTINCT transaction) FROM writes")
    assert batches < 100 and written <= batches + 5 and written - transactions <= 3
    assert linked.row("SELECT events_processed, resume_token FROM change_stream_resume_tokens") == (3000, linked.value(TOKEN, "orders"))


def test_state_and_error(linked, mongo, mdb):
    """While the trigger is attached, states and errors show in the table, also without events."""
    prepare(linked, TEXT_TOKENS)
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    mongo.fail_command(["getMore", "aggregate"], errorCode=11600)
    try:
        linked.wait_for("SELECT stream_status = 'retrying' AND last_error_message IS NOT NULL AND last_error_timestamp IS NOT NULL"
                        " AND consecutive_errors > 0 FROM change_stream_resume_tokens")
    finally:
        mongo.stop_failing()
    linked.wait_for("SELECT stream_status FROM change_stream_resume_tokens", expect="active")
    mdb.c.insert_one({"_id": 2})
    sync(linked, "orders")
    assert linked.row("SELECT consecutive_errors, resume_token FROM change_stream_resume_tokens") == (0, linked.value(TOKEN, "orders"))
    token = linked.value(TOKEN, "orders")
    linked.execute("UPDATE change_stream_resume_tokens SET resume_token = 'FF'")
    mdb.c.insert_one({"_id": 3})
    sync(linked, "orders")
    assert linked.value("SELECT resume_token FROM change_stream_resume_tokens") == "FF" > token      # never back


def test_table_named_by_argument(linked, mdb):
    linked.execute("CREATE SCHEMA mine")
    linked.execute("CREATE TABLE mine.tokens (stream_name text PRIMARY KEY, resume_token text NOT NULL)")
    prepare(linked, TEXT_TOKENS, "'mine.tokens'")
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    assert linked.execute("SELECT * FROM mine.tokens") == [("orders", linked.value(TOKEN, "orders"))]
    assert linked.value("SELECT count(*) FROM change_stream_resume_tokens") == 0


def test_no_table(linked, postgres, mdb):
    """One line in the log, and the stream is not disturbed; a table that comes later is kept from then on."""
    position = postgres.log_position()
    linked.execute(TRIGGER.format(""))
    create(linked, "orders", collection="c")
    for number in range(5):
        mdb.c.insert_one({"_id": number})
        sync(linked, "orders")
    assert postgres.log_text(position).count("found no table") == 1
    assert linked.value("SELECT count(*) FROM change_stream_events") == 5
    linked.execute("CREATE SCHEMA elsewhere")
    linked.execute(TEXT_TOKENS.replace("TABLE change", "TABLE elsewhere.change"))
    mdb.c.insert_one({"_id": 5})
    sync(linked, "orders")
    assert linked.value("SELECT resume_token FROM elsewhere.change_stream_resume_tokens") == linked.value(TOKEN, "orders")


def test_update_of_other_columns_does_nothing(linked, mdb):
    prepare(linked, TEXT_TOKENS)
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    before = linked.row("SELECT last_updated, events_processed FROM change_stream_resume_tokens")
    linked.execute("UPDATE change_stream_events SET processing_status = 'error', processing_time_ms = 5, processing_error = 'x'")
    assert linked.row("SELECT last_updated, events_processed FROM change_stream_resume_tokens") == before


def test_table_of_somebody_else(linked, postgres, mdb):
    """A table that anybody has made under the name is not written: its triggers would run as the stream's owner."""
    position = postgres.log_position()
    linked.execute("DROP ROLE IF EXISTS mallory; CREATE ROLE mallory; CREATE SCHEMA m AUTHORIZATION mallory")
    linked.execute("SET ROLE mallory")
    linked.execute("CREATE TABLE m.change_stream_resume_tokens (stream_name text PRIMARY KEY, resume_token text, stream_config text)")
    linked.execute("GRANT ALL ON m.change_stream_resume_tokens TO PUBLIC")
    linked.execute("RESET ROLE")
    linked.execute(TRIGGER.format(""))
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    sync(linked, "orders")
    assert linked.value("SELECT count(*) FROM m.change_stream_resume_tokens") == 0
    linked.execute("DROP OWNED BY mallory; DROP ROLE mallory")
    assert "WARNING" not in postgres.log_text(position)


def test_rows_rolled_back(linked, mdb):
    """Rows of a subtransaction that was rolled back leave no token."""
    prepare(linked, "CREATE TABLE change_stream_resume_tokens (stream_name text PRIMARY KEY, resume_token text)")
    linked.execute("""DO $$ BEGIN
        INSERT INTO change_stream_events (stream_name, event_id, resume_token) VALUES ('s', 1, 'AA');
        BEGIN
            INSERT INTO change_stream_events (stream_name, event_id, resume_token) VALUES ('s', 2, 'BB');
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN NULL; END; END $$""")
    assert linked.execute("SELECT * FROM change_stream_resume_tokens") == [("s", "AA")]


def test_table_without_key(linked, mdb):
    """What is wrong with the user's table is said where one looks."""
    prepare(linked, "CREATE TABLE change_stream_resume_tokens (stream_name text, resume_token text)")
    create(linked, "orders", collection="c")
    mdb.c.insert_one({"_id": 1})
    shown = wait_state(linked, "orders", "retrying")
    assert "update_stream_resume_token()" in shown["last_error"] and "change_stream_resume_tokens" in shown["last_error"]
    linked.wait_for("SELECT last_error LIKE 'update_stream_resume_token()%%' FROM change_stream_progress")
    linked.execute("ALTER TABLE change_stream_resume_tokens ADD PRIMARY KEY (stream_name)")
    sync(linked, "orders")
    assert linked.value("SELECT count(*) FROM change_stream_events") == 1


def test_table_that_refuses(linked, mdb):
    """A constraint of the user's own table that fails holds the stream up visibly, and loses nothing."""
    prepare(linked, TEXT_TOKENS)
    linked.execute("ALTER TABLE change_stream_resume_tokens ADD CONSTRAINT small CHECK (events_processed < 3)")
    create(linked, "orders", collection="c")
    for number in range(3):
        mdb.c.insert_one({"_id": number})
    shown = wait_state(linked, "orders", "retrying")
    assert "small" in shown["last_error"]
    assert linked.value("SELECT count(*) FROM change_stream_events") == \
        linked.value("SELECT coalesce(max(events_processed), 0) FROM change_stream_resume_tokens") < 3
    linked.execute("ALTER TABLE change_stream_resume_tokens DROP CONSTRAINT small")
    wait_state(linked, "orders", "active")
    sync(linked, "orders")
    assert linked.row("SELECT count(*), max(event_id) FROM change_stream_events") == (3, 3)
