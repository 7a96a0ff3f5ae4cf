"""How fast do events go through a handler?

handler       a stream and a handler that inserts one row for each event: effects, position and
              the event's status in one transaction
handler alone the same, when the events are in the table already
sets alone    the same rows by INSERT ... SELECT for each batch (each => 'batch')
totals alone  counts and sums by status instead of rows, event by event
totals, sets  the same for each batch, by GROUP BY
script        the same work by hand: pymongo's watch, psycopg's INSERT, the resume token in the same
              transaction, commit each hundred events (handlers_script.py)

Then the time from MongoDB's acknowledgement of a write to what comes of it, at some writes a
second: to the handler's commit, as another session sees it, and to the event in a bare change
stream of pymongo, which is as soon as anybody can know of it.
"""
import argparse
import json
import sys
import threading
import time

import pymongo

from common import ROOT, Databases, cpu_of, load, median, servers, table, token_of, wal_position
from harness import Machine, packages
from harness.machine import exit_on_signals, wait_until

SETS = ("INSERT INTO done SELECT document_key->>'_id', full_document['status'], (full_document['financial']['total'])::numeric"
        " FROM changes")
TOTAL = ("INSERT INTO totals AS t VALUES (change.full_document['status'], 1, (change.full_document['financial']['total'])::numeric)"
         " ON CONFLICT (status) DO UPDATE SET n = t.n + 1, total = t.total + excluded.total")
TOTALS = ("INSERT INTO totals AS t SELECT full_document['status'], count(*), sum((full_document['financial']['total'])::numeric) FROM changes"
          " GROUP BY 1 ON CONFLICT (status) DO UPDATE SET n = t.n + excluded.n, total = t.total + excluded.total")
BODY = "INSERT INTO done VALUES (change.document_key->>'_id', change.full_document['status'], (change.full_document['financial']['total'])::numeric)"
DONE = "CREATE TABLE done (id text PRIMARY KEY, status text, total numeric)"
PACE = "CREATE TABLE done (id text PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())"


class Bench(Databases):
    def __init__(self, machine, events):
        self.machine, self.events = machine, events
        self.cluster, self.mongo = servers(machine)
        self.collection = self.mongo.client.ecommerce.orders
        self.since = load(self.collection, events)

    def stream(self, database, **options):
        database.execute("SELECT create_change_stream('orders', collection => 'orders', start_at => %s, paused => true,"
                         " max_await_time => '100 milliseconds')", token_of(self.since))
        database.execute(DONE)
        database.execute("CREATE TABLE totals (status text PRIMARY KEY, n bigint, total numeric)")

    def wait(self, database, began, done="(SELECT count(*) FROM done)"):
        position = "SELECT last_event_id FROM change_handler_progress"
        wait_until(lambda: database.value(position) >= self.events, 600, "the handler has seen all events", pause=0.01)
        took = time.monotonic() - began
        self.used = sum(cpu_of(pid) for pid in database.column("SELECT pid FROM change_handler_status WHERE pid IS NOT NULL"))
        right = database.row(f"SELECT {done}, (SELECT count(*) FROM change_stream_events WHERE processing_status = 'processed')")
        if right != (self.events, self.events):
            raise SystemExit(f"rows and processed events {right}, of {self.events}")
        return took

    def handler(self):
        database = self.database()
        self.stream(database)
        database.execute("SELECT create_change_handler('h', 'orders', body => %s)", BODY)
        began = time.monotonic()
        database.execute("SELECT resume_change_stream('orders')")
        took = self.wait(database, began)
        self.drop(database)
        return took

    def handler_alone(self, body=BODY, each="event", **options):
        database = self.database()
        self.stream(database)
        database.execute("SELECT resume_change_stream('orders')")
        wait_until(lambda: database.value("SELECT events_processed FROM change_stream_progress") >= self.events, 300, "the events are there", pause=0.01)
        position, began = wal_position(database), time.monotonic()
        database.execute("SELECT create_change_handler('h', 'orders', start_at => 'earliest', body => %s, each => %s)", body, each)
        took = self.wait(database, began, **options)
        self.wal = wal_position(database) - position
        self.drop(database)
        return took

    def sets_alone(self):
        return self.handler_alone(SETS, "batch")

    def totals_alone(self):
        return self.handler_alone(TOTAL, done="(SELECT sum(n)::bigint FROM totals)")

    def totals_of_sets(self):
        return self.handler_alone(TOTALS, "batch", done="(SELECT sum(n)::bigint FROM totals)")

    def script(self):
        database = self.database(extension=False)
        database.execute(DONE)
        done = packages.run([sys.executable, ROOT / "bench/handlers_script.py", self.mongo.uri, "ecommerce", "orders", self.since.time,
                             self.since.inc, self.events,
                             f"host={self.cluster.folder} port={self.cluster.port} user=postgres dbname={database.name}"])
        self.drop(database)
        return json.loads(done.splitlines()[-1])["seconds"]

    def latency(self, seconds, rate):
        """Milliseconds from each acknowledgement to the handler's commit and to a bare change stream."""
        database = self.database()
        source = self.mongo.client.ecommerce.paced
        source.drop()
        source.database.create_collection("paced")
        database.execute(PACE)
        database.execute("SELECT create_change_stream('paced', collection => 'paced')")
        database.execute("SELECT create_change_handler('h', 'paced', body => 'INSERT INTO done (id) VALUES (change.document_key->>''_id'')')")
        source.insert_one({"_id": -1})
        database.wait_for("SELECT count(*) FROM done", expect=1)
        acknowledged, committed, raw, count = {}, {}, {}, seconds * rate
        ready = threading.Event()

        def watch():
            with pymongo.MongoClient(self.mongo.uri) as client, client.ecommerce.paced.watch(max_await_time_ms=1000) as stream:
                ready.set()
                while len(raw) < count:
                    event = stream.next()
                    raw[event["documentKey"]["_id"]] = time.time()

        def poll():
            with database.connect() as connection:
                while len(committed) < count:
                    rows = connection.execute("SELECT last_event_id FROM change_handler_progress").fetchone()[0] - 1
                    now = time.time()
                    for number in range(len(committed), min(rows, count)):
                        committed[number] = now
                    time.sleep(0.0005)

        threads = [threading.Thread(target=run, daemon=True) for run in (watch, poll)]
        for thread in threads:
            thread.start()
        ready.wait(30)
        begin = time.time()
        for number in range(count):
            time.sleep(max(0, begin + number / rate - time.time()))
            source.insert_one({"_id": number})
            acknowledged[number] = time.time()
        for thread in threads:
            thread.join(30)
        self.drop(database)
        return [sorted((seen[number] - acknowledged[number]) * 1000 for number in range(count)) for seen in (committed, raw)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=100, help="writes a second while latency is measured")
    parser.add_argument("--seconds", type=int, default=20)
    chosen = parser.parse_args()
    exit_on_signals()
    names = {"handler": "handler", "handler alone": "handler_alone", "sets alone": "sets_alone",
             "totals alone": "totals_alone", "totals, sets": "totals_of_sets", "script": "script"}
    seen = {name: [] for name in names}
    with Machine() as machine:
        bench = Bench(machine, chosen.events)
        bench.handler()
        for number in range(chosen.rounds):
            for name, method in names.items():
                seen[name].append(getattr(bench, method)())
                print(f"round {number + 1}  {name:<14} {seen[name][-1]:7.2f} s", flush=True)
        latencies = bench.latency(chosen.seconds, chosen.rate)
    print()
    table(("consumer", "events/s", "times the script"),
          [(name, f"{chosen.events / median(times):,.0f}",
            f"{median(script / one for one, script in zip(times, seen['script'])):.1f}") for name, times in seen.items()])
    print()
    table((f"ms from acknowledgement, {chosen.rate} writes/s", "median", "p99", "max"),
          [(name, *(f"{values[min(int(len(values) * part), len(values) - 1)]:.1f}" for part in (0.5, 0.99, 1)))
           for name, values in zip(("to the handler's commit", "to a bare change stream"), latencies)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
