"""How fast are documents copied, and how fast do mirrors follow?  Three parts.

copy: a collection as it is, turn by turn

raw find     bare libmongoc, documents thrown away: the limit (drain.c)
mirror       create_change_mirror, until all documents are in the table
snapshot     create_change_stream(…, initial_snapshot => true): the documents as events
script       pymongo's find and psycopg's COPY of jsonb (mirror_script.py)

and once more a mirror, while a writer writes into the collection: how late its events are meanwhile, from MongoDB's
acknowledgement to our commit, as another session sees it.

updates: a consumer that had stopped catches up with updates of a collection, turn by turn

raw drain    bare libmongoc, events thrown away, without documents
raw lookup   the same with MongoDB's fullDocument: updateLookup
mirror       a mirror that was paused with its stream
handler      a stream with updateLookup and a handler that upserts the document
script       pymongo's watch with updateLookup, and upserts (mirror_script.py); the first quarter of the updates, as it is slow

database: thirty collections, mirrored by one call: processes and cursors.

Ratios are medians over the rounds of each round's own ratios, so that a machine that is now faster, now slower, does
not move them much.
"""
import argparse
import json
import random
import sys
import threading
import time

import pymongo

from common import ROOT, Databases, compile_drain, cpu_of, load, median, servers, table, token_of, wal_position
from harness import Machine, packages
from harness.machine import exit_on_signals, wait_until

UPSERT = """INSERT INTO by_handler VALUES (change.document_key['_id'], change.full_document)
 ON CONFLICT (_id) DO UPDATE SET document = excluded.document"""


class Memory:
    """Samples how much memory of its own a process has, in MB, until told to end: the shared buffers are not its own."""

    def __init__(self, pid):
        self.pid, self.seen, self._end = pid, [], threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._end.wait(0.1):
            with open(f"/proc/{self.pid}/status") as status:
                fields = dict(line.split(":", 1) for line in status)
            self.seen.append(sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024)

    def close(self):
        """As it was after a quarter, a half and all of the time, and the most that it was."""
        self._end.set()
        self._thread.join()
        return [self.seen[int((len(self.seen) - 1) * part)] for part in (0.25, 0.5, 1)] + [max(self.seen)] if self.seen else [0.0] * 4


class Writer:
    """Inserts and updates by turns, so many a second, in a thread of its own; knows when each was acknowledged."""

    def __init__(self, collection, rate):
        self.collection, self.rate, self.acknowledged = collection, rate, []
        self.ids = [one["_id"] for one in collection.find({}, {"_id": 1}).limit(10_000)]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        begin, dice = time.time(), random.Random(3)
        while not self._end.is_set():
            number = len(self.acknowledged)
            time.sleep(max(0, begin + number / self.rate - time.time()))
            if number % 2:
                self.collection.update_one({"_id": dice.choice(self.ids)}, {"$set": {"written": number}})
            else:
                self.collection.insert_one({"written": number})
            self.acknowledged.append(time.time())

    def close(self):
        self._end.set()
        self._thread.join()


class Bench(Databases):
    def __init__(self, machine):
        self.cluster, self.mongo = servers(machine)
        self.client = self.mongo.client
        self.orders = self.client.ecommerce.orders
        self.drain_program = compile_drain(machine)
        self.mongod = self.mongo.members[0].process.pid

    # ------------------------------------------------------------ what all turns do

    def conninfo(self, database):
        return f"host={self.cluster.folder} port={self.cluster.port} user=postgres dbname={database.name}"

    def drain(self, *more):
        return json.loads(packages.run([self.drain_program, self.mongo.uri, "ecommerce", "orders", *more]).splitlines()[-1])

    def script(self, what, database, *more):
        return json.loads(packages.run([sys.executable, ROOT / "bench/mirror_script.py", what, self.mongo.uri, "ecommerce", "orders",
                                        self.conninfo(database), *more]).splitlines()[-1])

    def worker(self, database, stream="orders"):
        return wait_until(lambda: database.value("SELECT pid FROM change_stream_status WHERE stream_name = %s", stream), 30, "the stream has a process",
                          pause=0.005)

    # ------------------------------------------------------------ copies

    def raw_find(self):
        return self.drain()

    def copied(self, statement, counted):
        """Copies by a statement that makes a stream; until all documents are there."""
        database = self.database()
        try:
            position, began = wal_position(database), time.monotonic()
            database.execute(statement)
            worker = self.worker(database)
            memory = Memory(worker)
            wait_until(lambda: database.value("SELECT finished_at FROM change_stream_snapshots"), 1200, "all documents are copied", pause=0.01)
            took = time.monotonic() - began
            sizes, used, wal = memory.close(), cpu_of(worker), wal_position(database) - position
            if database.value(counted) != self.documents:
                raise SystemExit(f"{database.value(counted)} rows of {self.documents} documents")
            return {"events": self.documents, "seconds": took, "cpu": used, "wal": wal, "memory": sizes}
        finally:
            self.drop(database)

    def mirror(self):
        return self.copied("SELECT create_change_mirror('orders')", "SELECT count(*) FROM orders")

    def snapshot(self):
        return self.copied("SELECT create_change_stream('orders', collection => 'orders', initial_snapshot => true)",
                           "SELECT count(*) FROM change_stream_events WHERE operation_type = 'snapshot'")

    def copy_script(self):
        database = self.database(extension=False)
        try:
            return self.script("copy", database)
        finally:
            self.drop(database)

    def beside_a_writer(self, rate):
        """Milliseconds from each acknowledgement to our commit, sorted, while a mirror is copied."""
        database = self.database()
        committed, copying = [], True
        try:
            database.execute("SELECT create_change_mirror('orders')")
            writer = Writer(self.orders, rate)
            with database.connect() as connection:
                while copying or len(committed) < len(writer.acknowledged):
                    events, finished = connection.execute("""
                        SELECT (SELECT last_event_id FROM change_stream_progress), (SELECT finished_at IS NOT NULL FROM change_stream_snapshots)""").fetchone()
                    committed += [time.time()] * (events - len(committed))
                    if copying and finished:
                        copying = False
                        writer.close()
                    time.sleep(0.001)
            different = database.execute("SELECT * FROM check_change_mirror('orders')")
            if different:
                raise SystemExit(f"the mirror differs from the collection: {different[:3]}")
            return sorted((ours - theirs) * 1000 for ours, theirs in zip(committed, writer.acknowledged))
        finally:
            self.drop(database)

    def copies(self, documents, rounds, rate):
        began = time.monotonic()
        self.documents = documents
        load(self.orders, documents)
        size = self.client.ecommerce.command("collStats", "orders")["avgObjSize"]
        print(f"{documents:,} documents of {size} bytes on average, loaded in {time.monotonic() - began:.0f} s", flush=True)
        turns = {"raw find": self.raw_find, "mirror": self.mirror, "snapshot": self.snapshot, "script": self.copy_script}
        seen = {name: [] for name in turns}
        # warms the cache of mongod, and gives PostgreSQL segments of WAL to recycle, as it has on any server that is in use
        self.raw_find()
        self.mirror()
        for number in range(rounds):
            for name, turn in turns.items():
                seen[name].append(turn())
                print(f"round {number + 1}  {name:<10} {seen[name][-1]['seconds']:7.2f} s", flush=True)
        late = self.beside_a_writer(rate)
        print()
        table(("copy", "documents/s", "slowest", "fastest", "MB/s", "CPU µs/document", "of the raw find", "times the script"),
              [(name, *rates(runs), f"{median(map(rate_of, runs)) * size / 1e6:.0f}",
                f"{median(one['cpu'] / one['events'] for one in runs) * 1e6:.1f}",
                f"{ratio(runs, seen['raw find']):.2f}", f"{ratio(runs, seen['script']):.1f}") for name, runs in seen.items()])
        print()
        table(("MB of the process's own", "after 1/4", "1/2", "all", "most"),
              [(name, *(f"{value:.0f}" for value in one["memory"])) for name in ("mirror", "snapshot") for one in seen[name][-1:]])
        print()
        table((f"ms from acknowledgement to commit, {rate} writes/s beside a copy", "writes", "median", "p99", "max"),
              [("mirror", len(late), *(f"{late[min(int(len(late) * part), len(late) - 1)]:.0f}" for part in (0.5, 0.99, 1)))])

    # ------------------------------------------------------------ updates

    def update(self, ids, updates):
        """Updates in bulk; returns the time before the first."""
        since = self.client.admin.command("ping")["operationTime"]
        dice = random.Random(updates)
        for first in range(0, updates, 1000):
            self.orders.bulk_write([pymongo.UpdateOne(
                {"_id": dice.choice(ids)},
                {"$set": {"status": dice.choice(["paid", "shipped"]), "payment.state": "captured", "payment.number": number}, "$inc": {"version": 1}})
                for number in range(first, min(first + 1000, updates))], ordered=False)
        return since

    def caught_up(self, database, stream, what, value):
        """Resumes a stream and waits for what comes of its events."""
        position, began = wal_position(database), time.monotonic()
        database.execute("SELECT resume_change_stream(%s)", stream)
        wait_until(lambda: (database.value(what, stream) or 0) >= value, 600, f"{stream} has caught up", pause=0.01)
        took = time.monotonic() - began
        processes = database.column("SELECT pid FROM change_stream_status WHERE stream_name = %s UNION ALL SELECT pid FROM change_handler_status"
                                    " WHERE stream_name = %s AND pid IS NOT NULL", stream, stream)
        return {"events": self.updates, "seconds": took, "cpu": sum(map(cpu_of, processes)), "wal": wal_position(database) - position}

    def update_round(self, ids):
        """One result of each consumer, for the same updates of the same documents."""
        database = self.database()
        events = "SELECT last_event_id FROM change_stream_progress WHERE stream_name = %s"
        try:
            database.execute("SELECT create_change_mirror('orders')")
            wait_until(lambda: database.value("SELECT finished_at FROM change_stream_snapshots"), 600, "the mirror is copied", pause=0.05)
            database.execute("SELECT pause_change_stream('orders')")
            before = database.value(events, "orders")
            database.execute("CREATE TABLE by_handler AS SELECT _id, document FROM orders")
            database.execute("ALTER TABLE by_handler ADD PRIMARY KEY (_id)")
            database.execute("CREATE TABLE by_script AS SELECT document_text(_id) AS id, document::jsonb AS document FROM orders")
            database.execute("ALTER TABLE by_script ADD PRIMARY KEY (id)")
            since = self.update(ids, self.updates)
            database.execute("SELECT create_change_stream('by_handler', collection => 'orders', full_document => 'updateLookup', start_at => %s,"
                             " paused => true)", token_of(since))
            database.execute("SELECT create_change_handler('by_handler', 'by_handler', body => %s)", UPSERT)
            database.execute("SELECT create_change_stream('looked_up', collection => 'orders', full_document => 'updateLookup', start_at => %s,"
                             " paused => true)", token_of(since))
            arguments = (since.time, since.inc, self.updates)
            turns = {
                "raw drain": lambda: self.drain(*arguments),
                "raw lookup": lambda: self.drain(*arguments, "updateLookup"),
                "stream, lookup": lambda: self.caught_up(database, "looked_up", events, self.updates),
                "mirror": lambda: self.caught_up(database, "orders", events, before + self.updates),
                "handler": lambda: self.caught_up(database, "by_handler", "SELECT last_event_id FROM change_handler_progress WHERE handler_name = %s",
                                                  self.updates),
                "script": lambda: self.script("follow", database, since.time, since.inc, self.updates // 4),
            }
            results = {}
            for name, turn in turns.items():
                self.cluster.psql("CHECKPOINT")
                used = cpu_of(self.mongod)
                results[name] = turn()
                results[name]["mongod"] = cpu_of(self.mongod) - used
            different = database.execute("SELECT difference, _id FROM check_change_mirror('orders')")
            wrong = database.value("SELECT count(*) FROM orders FULL JOIN by_handler h USING (_id) WHERE orders.document IS DISTINCT FROM h.document")
            if different or wrong:
                raise SystemExit(f"the mirror differs from the collection: {different[:3]}, the handler's table from the mirror in {wrong} rows")
            return results
        finally:
            self.drop(database)

    def catching_up(self, documents, updates, rounds):
        self.updates = updates
        load(self.orders, documents)
        ids = [one["_id"] for one in self.orders.find({}, {"_id": 1})]
        print(f"\n{updates:,} updates of {documents:,} documents", flush=True)
        seen = {}
        for number in range(rounds):
            for name, result in self.update_round(ids).items():
                seen.setdefault(name, []).append(result)
                print(f"round {number + 1}  {name:<14} {result['seconds']:7.2f} s", flush=True)
        print()

        def cost(name):
            return [one["mongod"] / one["events"] * 1e6 for one in seen[name]]

        table(("updates", "updates/s", "slowest", "fastest", "CPU µs/update", "times the handler", "times the script", "mongod µs/update", "more than plain"),
              [(name, *rates(runs), f"{median(one['cpu'] / one['events'] for one in runs) * 1e6:.1f}",
                f"{ratio(runs, seen['handler']):.1f}", f"{ratio(runs, seen['script']):.1f}", f"{median(cost(name)):.1f}",
                f"{median(one - plain for one, plain in zip(cost(name), cost('raw drain'))):.1f}") for name, runs in seen.items()])

    # ------------------------------------------------------------ a database

    def cursors(self, database):
        """Cursors of change streams that are open on a database of MongoDB."""
        return sum(one.get("ns", "").startswith(f"{database}.") and "$changeStream" in str(one.get("cursor", {}).get("originatingCommand", ""))
                   for one in self.client.admin.aggregate([{"$currentOp": {"idleCursors": True, "allUsers": True}}]))

    def whole_database(self, collections=30, documents=1000):
        shop = self.client.thirty
        for number in range(collections):
            shop[f"c{number:02}"].insert_many({"_id": one, "n": number} for one in range(documents))
        database = self.database()
        database.execute("ALTER SERVER mongo OPTIONS (SET database 'thirty')")
        database.execute("SELECT create_change_stream('thirty', keep_events => false)")
        database.execute("CREATE SCHEMA thirty")
        began = time.monotonic()
        database.execute("SELECT create_change_mirrors('thirty', 'thirty')")
        wait_until(lambda: database.value("SELECT count(*) FROM change_stream_snapshots WHERE finished_at IS NOT NULL") == collections, 120,
                   "all collections are copied", pause=0.01)
        took = time.monotonic() - began
        processes = database.value("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mongo_change_stream%' AND datname = current_database()")
        print()
        table(("mirrors of a database", "collections", "documents", "seconds", "processes", "cursors"),
              [("one call", collections, collections * documents, f"{took:.1f}", processes, self.cursors("thirty"))])
        self.drop(database)


def rate_of(one):
    return one["events"] / one["seconds"]


def rates(runs):
    values = [rate_of(one) for one in runs]
    return f"{median(values):,.0f}", f"{min(values):,.0f}", f"{max(values):,.0f}"


def ratio(runs, others):
    return median(rate_of(one) / rate_of(other) for one, other in zip(runs, others))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000, help="documents of a kilobyte that are copied")
    parser.add_argument("--updates", type=int, default=200_000)
    parser.add_argument("--updated", type=int, default=100_000, help="documents that are updated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=500, help="writes a second beside a copy")
    parser.add_argument("--parts", default="copy,updates,database")
    chosen = parser.parse_args()
    parts = chosen.parts.split(",")
    exit_on_signals()
    with Machine() as machine:
        bench = Bench(machine)
        if "copy" in parts:
            bench.copies(chosen.documents, chosen.rounds, chosen.rate)
        if "updates" in parts:
            bench.catching_up(chosen.updated, chosen.updates, chosen.rounds)
        if "database" in parts:
            bench.whole_database()
    return 0


if __name__ == "__main__":
    sys.exit(main())
