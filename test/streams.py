"""What tests of streams have in common: making one, waiting for it, writers that keep it busy."""
import os
import random
import re
import threading
import time

import bson
import psycopg
import pymongo
from psycopg import sql as SQL

from harness.machine import wait_until

STATE = "SELECT state FROM change_stream_status WHERE stream_name = %s"
PID = "SELECT pid FROM change_stream_status WHERE stream_name = %s"
CAST = {"pipeline": "document", "operations": "text[]", "max_await_time": "interval", "retention": "interval",
        "reset": "text[]", "command": "document"}


def call(db, function, *arguments, **named):
    """SELECT function(arguments, name => value, …); returns its value."""
    parts = [SQL.Literal(value) for value in arguments]
    parts += [SQL.SQL("{} => CAST({} AS {})").format(SQL.Identifier(name), SQL.Literal(value), SQL.SQL(CAST[name]))
              if name in CAST else SQL.SQL("{} => {}").format(SQL.Identifier(name), SQL.Literal(value))
              for name, value in named.items()]
    connection = getattr(db, "connection", db)
    return connection.execute(SQL.SQL("SELECT {}({})").format(SQL.Identifier(function), SQL.SQL(", ").join(parts))).fetchone()[0]


def create(db, stream, **options):
    """A stream that asks MongoDB often, so that sync, which waits for an empty answer, takes no second each."""
    options.setdefault("max_await_time", "100 milliseconds")
    return call(db, "create_change_stream", stream, **options)


def alter(db, stream, **options):
    return call(db, "alter_change_stream", stream, **options)


def pause(db, stream):
    return call(db, "pause_change_stream", stream)


def resume(db, stream, **options):
    return call(db, "resume_change_stream", stream, **options)


def drop(db, stream, **options):
    return call(db, "drop_change_stream", stream, **options)


def sync(db, stream, timeout="30 seconds"):
    """Waits for all that MongoDB has committed; what keeps the stream from it is in the error."""
    if not db.value("SELECT sync_change_stream(%s, %s::interval)", stream, timeout):
        status = db.row("SELECT state, reason, last_error FROM change_stream_status WHERE stream_name = %s", stream)
        raise AssertionError(f"{stream} has not caught up after {timeout}: {status}")


def wait_state(db, stream, state, timeout=30):
    """Waits for a state and returns the status' row as a dictionary."""
    try:
        db.wait_for(STATE, stream, expect=state, timeout=timeout)
    except TimeoutError as problem:
        raise TimeoutError(f"{problem} {status(db, stream)}") from None
    return status(db, stream)


def wait_event(db, pid, kind, timeout=30):
    """Waits until a backend is at a statement and waits for something of that kind: Lock, Extension (which is MongoDB), …"""
    db.wait_for("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s AND state = 'active'", pid, expect=kind, timeout=timeout)


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def plain_end(database, count=1):
    """How long as many idle backends take to end now: the machine's part of what is measured beside it."""
    connections = [database.connect() for _ in range(count)]
    pids = [connection.info.backend_pid for connection in connections]
    begin = time.monotonic()
    database.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid = ANY(%s)", pids)
    wait_until(lambda: all(gone(pid) for pid in pids), 30, "all backends end")
    took = time.monotonic() - begin
    for connection in connections:
        connection.close()
    return took


def answers(client, database):
    """The change stream cursors that a mongod has on a database, with how many answers it has given on each: {id: number}."""
    return {found["cursor"]["cursorId"]: found["cursor"]["nBatchesReturned"] for found in client.admin.aggregate([
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"cursor.originatingCommand.pipeline.0.$changeStream": {"$exists": True}}}])
        if found["ns"].startswith(database + ".")}


def status(db, stream):
    cursor = db.connection.execute("SELECT * FROM change_stream_status WHERE stream_name = %s", (stream,))
    row = cursor.fetchone()
    return row and dict(zip([column.name for column in cursor.description], row))


def worker(db, stream, timeout=70):
    """The pid of the stream's worker, waiting for one: after several that ended at once the launcher makes pauses of up to a minute."""
    return wait_until(lambda: db.value(PID, stream), timeout, f"{stream} has a worker")


def operations(db, stream):
    return db.column("SELECT operation_type FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


def ids(db, stream):
    """The _id of each event's document key."""
    return db.column("SELECT (document_key->'_id')::jsonb FROM change_stream_events WHERE stream_name = %s ORDER BY event_id", stream)


def gaps(db, stream):
    """from, to and reason of each gap row, with its number."""
    return db.execute("SELECT event_id, extra->>'from', extra->>'to', extra->>'reason' FROM change_stream_events"
                      " WHERE stream_name = %s AND operation_type = 'gap' ORDER BY event_id", stream)


def error_of(db, statement, *parameters):
    """The error that a statement raises."""
    try:
        db.execute(statement, *parameters)
    except psycopg.Error as error:
        return error
    raise AssertionError(f"no error: {statement}")


def patiently(function, timeout=60):
    """Calls a function again while the server is not there for it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return function()
        except (psycopg.OperationalError, psycopg.InterfaceError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def unexpected_deaths(deaths, killed):
    """Of the log's lines on deaths, those that the test has not caused by killing that many processes.

    The postmaster answers a kill with SIGQUIT to all others, which then end by it or with code 2.
    """
    ours = [line for line in deaths if "signal 9" in line]
    others = [line for line in deaths if line not in ours and not re.search(r"exit code 2\b|signal 3\b", line)]
    return others + ours[killed:]


class WritingThreads:
    """Threads that write while a with block lasts; what goes wrong in them fails the test at its end."""

    patience = 60

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(self.patience)
        assert kind or not self.problems, self.problems

    def wait(self, more, timeout=60):
        """Waits for that many more writes."""
        goal = self.writes + more
        wait_until(lambda: self.writes >= goal or self.problems, timeout, f"{more} more writes")


class Writers(WritingThreads):
    """Threads that insert, update, replace and delete in collections, alone and in transactions, until stopped."""

    def __init__(self, mongo, database, collections=("a", "b", "c"), threads=3, pause=0.002, seed=None):
        self.mongo, self.database, self.collections, self.pause = mongo, database, collections, pause
        self.seed = seed if seed is not None else random.randrange(1 << 30)
        self.writes = 0
        self.problems = []
        self._stop = threading.Event()
        for name in collections:
            if name not in mongo.client[database].list_collection_names():
                mongo.client[database].create_collection(name)
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def _run(self, number):
        luck = random.Random(self.seed + number)
        try:
            with pymongo.MongoClient(self.mongo.uri, w="majority", serverSelectionTimeoutMS=60000) as client:
                while not self._stop.is_set():
                    try:
                        self._write(client, luck)
                    except pymongo.errors.PyMongoError as error:
                        # in doubt or refused: MongoDB's history tells what became of it
                        if isinstance(error, pymongo.errors.OperationFailure) and error.code == 8000:
                            raise
                    self._stop.wait(luck.random() * 2 * self.pause)
        except Exception as problem:
            self.problems.append(repr(problem))

    def _write(self, client, luck):
        if luck.random() < 0.1:
            with client.start_session() as session, session.start_transaction():
                for _ in range(luck.randrange(2, 6)):
                    self._write_one(client, luck, session)
        else:
            self._write_one(client, luck, None)

    def _write_one(self, client, luck, session):
        collection = client[self.database][luck.choice(self.collections)]
        key = luck.randrange(50)
        body = {"n": luck.randrange(1 << 40), "text": "x" * luck.randrange(200), "f": luck.random(), "list": [1, 2, {"a": None}]}
        kind = luck.random()
        if kind < 0.4:
            collection.insert_one({"_id": bson.ObjectId(), **body}, session=session)
        elif kind < 0.7:
            collection.update_one({"_id": key}, {"$set": {"n": body["n"], "sub.x": body["f"]}, "$inc": {"count": 1}},
                                  upsert=True, session=session)
        elif kind < 0.85:
            collection.replace_one({"_id": key}, body, upsert=True, session=session)
        else:
            collection.delete_one({"_id": key}, session=session)
        self.writes += 1


class Consumer:
    """A listener that survives all that happens to the server: reads event_id > mine at each notification."""

    def __init__(self, db, stream):
        self.db, self.stream = db, stream
        self.mine = 0
        self.seen = []              # (event_id, resume_token)
        self.notified = 0           # the sum of the counts that notifications told
        self.connections = 0
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._listening.wait(30)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def wait_for(self, last, timeout=30):
        """Waits until the event of that number has been read."""
        wait_until(lambda: self.mine >= last, timeout, f"the consumer reads event {last}, being at {self.mine}")

    def _run(self):
        while not self._stop.is_set():
            try:
                with self.db.connect() as connection:
                    connection.execute(SQL.SQL("LISTEN {}").format(SQL.Identifier(self.stream)))
                    self.connections += 1
                    self._listening.set()
                    self._follow(connection)
            except psycopg.Error:
                time.sleep(0.02)

    def _follow(self, connection):
        while not self._stop.is_set():
            for number, token in connection.execute(
                    "SELECT event_id, resume_token FROM change_stream_events WHERE stream_name = %s AND event_id > %s"
                    " ORDER BY event_id", (self.stream, self.mine)).fetchall():
                self.seen.append((number, token))
                self.mine = number
            for notice in connection.notifies(timeout=1, stop_after=1):
                self.notified += int(re.search(r'"count": (\d+)', notice.payload).group(1))
