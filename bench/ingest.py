"""How fast are change events taken in?  Three consumers drain the same events, turn by turn.

raw drain    bare libmongoc, events thrown away: the limit (drain.c)
exhaust      the same by one getMore that MongoDB answers batch after batch, which no driver offers
extension    a stream of mongo_change_stream on the collection: events in a table, position in the same transaction
database     the same, on the whole database
script       pymongo and psycopg: COPY of jsonb, position in the same transaction, commit each thousand (script.py)

Ratios are medians over the rounds of each round's own ratio to its raw drain, so that a machine
that is now faster, now slower, does not move them much.
"""
import argparse
import json
import sys
import time

from common import ROOT, Databases, compile_drain, cpu_of, load, median, servers, table, token_of, wal_position
from harness import Machine, packages
from harness.machine import exit_on_signals, wait_until

CONSUMERS = ("raw drain", "exhaust", "extension", "database", "script")


class Bench(Databases):
    def __init__(self, machine, events):
        self.machine, self.events = machine, events
        self.cluster, self.mongo = servers(machine)
        self.collection = self.mongo.client.ecommerce.orders
        self.drain = compile_drain(machine)
        began = time.monotonic()
        self.since = load(self.collection, events)
        size = self.mongo.client.ecommerce.command("collStats", "orders")["avgObjSize"]
        print(f"{events:,} inserts of {size} bytes on average, loaded in {time.monotonic() - began:.0f} s", flush=True)

    def database(self, extension=False):
        """A new database, so that every turn writes into new tables."""
        self.number += 1
        return self.cluster.create_database(f"bench_{self.number}", extension=extension)

    def arguments(self):
        return [self.mongo.uri, "ecommerce", "orders", self.since.time, self.since.inc, self.events]

    def program(self, *command):
        done = packages.run(command)
        return json.loads(done.splitlines()[-1])

    def raw_drain(self):
        return self.program(self.drain, *self.arguments())

    def exhaust(self):
        return self.program(self.drain, *self.arguments(), "exhaust")

    def script(self):
        database = self.database()
        try:
            return self.program(sys.executable, ROOT / "bench/script.py", *self.arguments(),
                                f"host={self.cluster.folder} port={self.cluster.port} user=postgres dbname={database.name}")
        finally:
            self.drop(database)

    def database_stream(self):
        return self.extension(None)

    def extension(self, collection="orders"):
        database = self.database(extension=True)
        try:
            database.create_server(self.mongo.uri, "ecommerce", share_cursor="false")
            database.execute("SELECT create_change_stream('orders', collection => %s, start_at => %s, paused => true)", collection, token_of(self.since))
            progress = "SELECT events_processed FROM change_stream_progress"
            position = wal_position(database)
            began = time.monotonic()
            database.execute("SELECT resume_change_stream('orders')")
            wait_until(lambda: database.value(progress) >= self.events, 300, "all events are in the table", pause=0.01)
            took = time.monotonic() - began
            worker = database.value("SELECT pid FROM change_stream_status")
            used, wal = cpu_of(worker), wal_position(database) - position
            count, different = database.row("SELECT count(*), count(DISTINCT resume_token) FROM change_stream_events")
            if (count, different) != (self.events, self.events):
                raise SystemExit(f"{count} rows, {different} different ones, of {self.events} events")
            return {"events": count, "seconds": took, "cpu": used, "wal": wal}
        finally:
            self.drop(database)

    def turn(self, name):
        """One consumer's turn; with what MongoDB spent on it."""
        before = cpu_of(self.mongo.primary().process.pid)
        result = getattr(self, "database_stream" if name == "database" else name.replace(" ", "_"))()
        return {**result, "mongod": cpu_of(self.mongo.primary().process.pid) - before}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help=f"consumers beside the raw drain, of {', '.join(CONSUMERS[1:])}")
    chosen = parser.parse_args()
    consumers = [name for name in CONSUMERS if not chosen.only or name == "raw drain" or name in chosen.only.split(",")]
    exit_on_signals()
    seen = {name: [] for name in consumers}
    with Machine() as machine:
        bench = Bench(machine, chosen.events)
        # warms the cache of mongod, and gives PostgreSQL segments of WAL to recycle, as it has on any server that is in use
        bench.raw_drain()
        bench.turn(consumers[-1])
        for number in range(chosen.rounds):
            for name in consumers:
                result = bench.turn(name)
                seen[name].append(result)
                print(f"round {number + 1}  {name:<10} {result['seconds']:7.2f} s", flush=True)
    size = median(one["bytes"] / one["events"] for one in seen["raw drain"])
    print(f"\nan event has {size:.0f} bytes on the wire\n")

    def rate(one):
        return one["events"] / one["seconds"]

    table(("consumer", "events/s", "slowest", "fastest", "MB/s", "CPU µs/event", "mongod's", "of the raw drain", "mongod's"),
          [(name, f"{median(map(rate, runs)):,.0f}", f"{min(map(rate, runs)):,.0f}", f"{max(map(rate, runs)):,.0f}",
            f"{median(map(rate, runs)) * size / 1e6:.0f}", f"{median(one['cpu'] / one['events'] for one in runs) * 1e6:.1f}",
            f"{median(one['mongod'] / one['events'] for one in runs) * 1e6:.1f}",
            f"{median(rate(one) / rate(raw) for one, raw in zip(runs, seen['raw drain'])):.2f}",
            f"{median(one['mongod'] / one['events'] for one in runs) / median(raw['mongod'] / raw['events'] for raw in seen['raw drain']):.2f}")
           for name, runs in seen.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
