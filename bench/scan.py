"""How fast are foreign tables read?  The same events, drained raw and scanned with several queries, turn by turn.

raw drain         bare libmongoc, events thrown away: the limit of a consumer that wants all (drain.c)
count(*)          no column
few columns       operation, key and time
documents         the full document
1 %, pushed       a condition that MongoDB evaluates and that keeps one event in a hundred
1 %, not pushed   the same one, written so that PostgreSQL has to evaluate it

The columns are sums over all events: events a second of the raw drain's kind, also where few of them are
sent.  Ratios are medians over the rounds of each round's own ratio to its raw drain.
"""
import argparse
import json
import re
import sys
import time

from common import compile_drain, load, median, servers, table
from harness import Machine, packages
from harness.machine import exit_on_signals

# Orders whose number ends in 00; the second form is the same to a reader, not to the planner.
QUERIES = {
    "count(*)": "SELECT count(*) FROM orders WHERE cluster_time >= {since}",
    "few columns": "SELECT count(operation_type), count(document_key), max(cluster_time) FROM orders WHERE cluster_time >= {since}",
    "documents": "SELECT count(full_document) FROM orders WHERE cluster_time >= {since}",
    "1 %, pushed": "SELECT count(full_document) FROM orders WHERE cluster_time >= {since} AND full_document['percent'] = 7",
    "1 %, not pushed": "SELECT count(full_document) FROM orders WHERE cluster_time >= {since} AND (full_document['percent'])::numeric + random() * 0 = 7",
}


class Bench:
    def __init__(self, machine, events):
        self.machine, self.events = machine, events
        self.cluster, self.mongo = servers(machine)
        self.collection = self.mongo.client.ecommerce.orders
        self.drain = compile_drain(machine)
        began = time.monotonic()
        self.since = load(self.collection, events, more=lambda number: {"percent": number % 100})
        print(f"{events:,} inserts, loaded in {time.monotonic() - began:.0f} s", flush=True)
        self.database = self.cluster.create_database("bench")
        self.database.create_server(self.mongo.uri, "ecommerce")
        # documents as they were inserted: this collection keeps no images, and none is needed
        self.database.execute("IMPORT FOREIGN SCHEMA ecommerce LIMIT TO (orders) FROM SERVER mongo INTO public OPTIONS (full_document 'default')")

    def raw_drain(self):
        done = packages.run([self.drain, self.mongo.uri, "ecommerce", "orders", self.since.time, self.since.inc, self.events])
        result = json.loads(done.splitlines()[-1])
        return {"seconds": result["seconds"], "bytes": result["bytes"], "events": result["events"]}

    def statement(self, name):
        return QUERIES[name].format(since=f"to_timestamp({self.since.time}) + interval '1 microsecond' * {self.since.inc}")

    def query(self, name):
        began = time.monotonic()
        counted = self.database.row(self.statement(name))[0]
        took = time.monotonic() - began
        wanted = self.events // 100 if name.startswith("1 %") else self.events
        if counted != wanted:
            raise SystemExit(f"{name}: {counted} events, not {wanted}")
        return {"seconds": took}

    def moved(self, name):
        """Bytes that a query takes over the network."""
        rows = self.database.execute("EXPLAIN (ANALYZE, VERBOSE, TIMING off) " + self.statement(name))
        shown = "\n".join(row[0] for row in rows)
        return {key: int(re.search(rf"MongoDB {key}: (\d+)", shown).group(1)) for key in ("Bytes", "Events")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen, _ = parser.parse_known_args()  # those of ingest.py come along
    exit_on_signals()
    seen = {name: [] for name in ["raw drain", *QUERIES]}
    with Machine() as machine:
        bench = Bench(machine, chosen.events)
        bench.raw_drain()
        for number in range(chosen.rounds):
            for name in seen:
                seen[name].append(bench.raw_drain() if name == "raw drain" else bench.query(name))
                print(f"round {number + 1}  {name:<16} {seen[name][-1]['seconds']:7.2f} s", flush=True)
        moved = {name: bench.moved(name) for name in QUERIES}
    moved["raw drain"] = {"Bytes": seen["raw drain"][0]["bytes"], "Events": chosen.events}
    print()
    table(("read", "events/s", "slowest", "fastest", "of the raw drain", "events sent", "MB sent"),
          [(name, f"{chosen.events / median(one['seconds'] for one in runs):,.0f}", f"{chosen.events / max(one['seconds'] for one in runs):,.0f}",
            f"{chosen.events / min(one['seconds'] for one in runs):,.0f}",
            f"{median(raw['seconds'] / one['seconds'] for one, raw in zip(runs, seen['raw drain'])):.2f}",
            f"{moved[name]['Events']:,}", f"{moved[name]['Bytes'] / 1e6:.2f}")
           for name, runs in seen.items()])
    share = moved["1 %, pushed"]["Bytes"] / moved["1 %, not pushed"]["Bytes"]
    print(f"\npushed, the condition that keeps 1 % moves {share:.1%} of the bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
