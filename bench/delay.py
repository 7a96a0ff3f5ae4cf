"""How long after MongoDB has acknowledged a write is it told of?  Inserts with w: majority, a hundred a second.

raw client   pymongo: a change stream on the collection, an event received
stream       psycopg: LISTEN, the notification of a stream of the collection received, its row committed
one of ten   the same of one of ten streams that share a cursor

Each has a turn of its own, round by round, with nothing beside it but the writer.  Times are from the
acknowledgement, so that one is below zero where the event was there before the writer had its answer.
"""
import argparse
import json
import multiprocessing
import random
import sys
import time

import psycopg
import pymongo

from common import Databases, order, servers, table
from harness import Machine
from harness.machine import exit_on_signals, wait_until

CONSUMERS = ("raw client", "stream", "one of ten")
GROUPED = "SELECT count(DISTINCT pid) = 1 AND bool_and(state = 'active') FROM change_stream_status WHERE pid IS NOT NULL HAVING count(*) = 10"


def receive_events(uri, count, parent):
    """A raw client: when each event was there."""
    with pymongo.MongoClient(uri) as client, client.ecommerce.orders.watch() as stream:
        parent.send("ready")
        parent.send([(stream.next(), time.monotonic())[1] for _ in range(count)])


def receive_notifications(dsn, count, parent):
    """A client that listens: when it was told of each event."""
    times = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute('LISTEN "s0"')
        parent.send("ready")
        for told in connection.notifies():
            now = time.monotonic()
            times += [now] * json.loads(told.payload)["count"]
            if len(times) >= count:
                parent.send(times)
                return


class Bench(Databases):
    def __init__(self, machine, inserts, rate):
        self.inserts, self.rate = inserts, rate
        self.cluster, self.mongo = servers(machine)
        for number in range(10):
            self.mongo.client.ecommerce.create_collection("orders" if number == 0 else f"c{number}")

    def write(self):
        """Inserts at the rate; when each was acknowledged."""
        orders = self.mongo.client.ecommerce.get_collection("orders", write_concern=pymongo.WriteConcern("majority"))
        dice = random.Random(7)
        times = []
        began = time.monotonic()
        for number in range(self.inserts):
            document = order(number, dice)
            time.sleep(max(began + number / self.rate - time.monotonic(), 0))
            orders.insert_one(document)
            times.append(time.monotonic())
        return times

    def measure(self, receive, source):
        """Milliseconds from each acknowledgement to its receipt by a process of its own."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=receive, args=(source, self.inserts, there), daemon=True)
        process.start()
        try:
            if here.recv() != "ready":
                raise SystemExit("the consumer did not begin")
            acknowledged = self.write()
            if not here.poll(60):
                raise SystemExit("not all events were told of within a minute")
            return [(received - written) * 1000 for written, received in zip(acknowledged, here.recv())]
        finally:
            process.kill()
            process.join()

    def raw_client(self):
        return self.measure(receive_events, self.mongo.uri)

    def follow(self, streams):
        """Streams of as many collections; the first of them, of the one that is written to, is listened to."""
        self.number += 1
        database = self.cluster.create_database(f"bench_{self.number}", extension=True)
        try:
            database.create_server(self.mongo.uri, "ecommerce", share_cursor=str(streams > 1).lower())
            for number in range(streams):
                database.execute("SELECT create_change_stream(%s, collection => %s)", f"s{number}", "orders" if number == 0 else f"c{number}")
            together = GROUPED if streams > 1 else "SELECT state = 'active' FROM change_stream_status"
            wait_until(lambda: database.value(together), 60, "all streams are followed")
            return self.measure(receive_notifications, f"host={self.cluster.folder} port={self.cluster.port} user=postgres dbname={database.name}")
        finally:
            self.drop(database)

    def stream(self):
        return self.follow(1)

    def one_of_ten(self):
        return self.follow(10)

    def turn(self, name):
        return getattr(self, name.replace(" ", "_"))()


def row(name, delays):
    """A row of the table, of delays in milliseconds."""
    delays = sorted(delays)
    return (name, *(f"{delays[min(int(len(delays) * share), len(delays) - 1)]:.2f}" for share in (0.5, 0.9, 0.99, 1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inserts", type=int, default=1000, help="in each turn")
    parser.add_argument("--rate", type=float, default=100, help="inserts a second")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    exit_on_signals()
    seen = {name: [] for name in CONSUMERS}
    with Machine() as machine:
        bench = Bench(machine, chosen.inserts, chosen.rate)
        for number in range(chosen.rounds):
            for name in CONSUMERS:
                delays = bench.turn(name)
                seen[name] += delays
                print(f"round {number + 1} ", *row(name, delays), flush=True)
    print()
    table(("consumer", "p50 ms", "p90 ms", "p99 ms", "max ms"), [row(name, delays) for name, delays in seen.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
