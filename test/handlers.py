"""What tests of handlers have in common."""
from psycopg import sql as SQL

from harness.machine import wait_until
from streams import create

CAST = {"retry_delay": "interval", "max_retry_delay": "interval", "timeout": "interval", "reset": "text[]"}


def call(db, function, *arguments, **named):
    """SELECT function(arguments, name => value, …); returns its value."""
    parts = [SQL.Literal(value) for value in arguments]
    parts += [SQL.SQL("{} => CAST({} AS {})").format(SQL.Identifier(name), SQL.Literal(value), SQL.SQL(CAST[name]))
              if name in CAST else SQL.SQL("{} => {}").format(SQL.Identifier(name), SQL.Literal(value))
              for name, value in named.items()]
    connection = getattr(db, "connection", db)
    return connection.execute(SQL.SQL("SELECT {}({})").format(SQL.Identifier(function), SQL.SQL(", ").join(parts))).fetchone()[0]


def handler(db, name, stream="s", **options):
    """A handler that fails fast unless told otherwise."""
    options.setdefault("retry_delay", "20 milliseconds")
    return call(db, "create_change_handler", name, stream, **options)


def sync(db, stream="s", timeout="30 seconds"):
    """Waits until the stream's handlers have seen all that MongoDB has committed."""
    if not db.value("SELECT sync_change_stream(%s, %s::interval, handlers => true)", stream, timeout):
        rows = db.execute("SELECT handler_name, state, reason, last_event_id, behind, running_event FROM change_handler_status")
        raise AssertionError(f"handlers have not caught up after {timeout}: {rows}")


def status(db, name):
    """The handler's row of the view, as a dictionary."""
    cursor = db.connection.execute("SELECT * FROM change_handler_status WHERE handler_name = %s", (name,))
    row = cursor.fetchone()
    return row and dict(zip([column.name for column in cursor.description], row))


def wait_state(db, name, state, timeout=30):
    """Waits for a handler's state and returns its row of the view."""
    try:
        wait_until(lambda: status(db, name)["state"] == state, timeout, f"{name} is {state}")
    except TimeoutError as problem:
        raise TimeoutError(f"{problem} {status(db, name)}") from None
    return status(db, name)


def stream_with(db, mdb, count=0, name="s", **options):
    """A stream on the collection c, into which so many documents with ids from 1 were inserted."""
    create(db, name, collection="c", **options)
    if count:
        mdb.c.insert_many([{"_id": number, "n": number} for number in range(1, count + 1)])


def seen(db, table="seen"):
    """What a handler has written into a table, in order."""
    return db.column(f"SELECT event_id FROM {table} ORDER BY seq")


SEEN = "INSERT INTO seen (event_id) VALUES (change.event_id);"


def make_seen(db, table="seen"):
    """A table that a handler writes events into; a second time is an error."""
    db.execute(f"CREATE TABLE {table} (seq bigserial, event_id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
