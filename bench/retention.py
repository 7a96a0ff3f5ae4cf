"""What does it cost to delete old events?  The same events are written and, when they are old, deleted again.

write        a stream takes them in
expire       its retention deletes them, all but the last
vacuum       what VACUUM has to do behind that
write again  into the room that they have left

CPU of the process at work and WAL, for each event; with what the table and its index take on the disk behind it.
And how fast both go where a stream has as many to write as to delete.
"""
import argparse
import random
import sys
import time

from common import Databases, cpu_of, load, median, order, servers, table, token_of, wal_position
from harness import Machine
from harness.machine import exit_on_signals, wait_until

DICE = random.Random(7)
PHASES = ("write", "expire", "vacuum", "write again")
EVENTS = "change_stream_events"
SIZES = f"SELECT pg_table_size('{EVENTS}') / 1e6, pg_indexes_size('{EVENTS}') / 1e6"


class Bench(Databases):
    def __init__(self, machine, events):
        self.machine, self.events = machine, events
        self.cluster, self.mongo = servers(machine)
        self.since = load(self.mongo.client.ecommerce.orders, events)

    def measured(self, database, pid, action):
        """What an action costs a process, 0 being one that it brings into being, and leaves on the disk."""
        # as it is between two checkpoints: the first change of a page puts the whole page into WAL
        database.execute("CHECKPOINT")
        position, used, began = wal_position(database), cpu_of(pid) if pid else 0, time.monotonic()
        pid = action() or pid
        took = time.monotonic() - began
        return {"events": self.events, "seconds": took, "cpu": cpu_of(pid) - used, "wal": wal_position(database) - position,
                "sizes": database.row(SIZES)}

    def write(self, database, stream):
        # VACUUM has its turn when it is measured
        database.execute(f"ALTER TABLE {EVENTS} SET (autovacuum_enabled = false)")
        database.execute("SELECT create_change_stream(%s, collection => 'orders', start_at => %s, paused => true)", stream, token_of(self.since))

        def follow():
            database.execute("SELECT resume_change_stream(%s)", stream)
            wait_until(lambda: database.value("SELECT events_processed FROM change_stream_progress WHERE stream_name = %s", stream) >= self.events,
                       300, "all events are there", pause=0.01)
            return database.value("SELECT pid FROM change_stream_status WHERE stream_name = %s", stream)

        return self.measured(database, 0, follow)

    def phases(self):
        """Each phase's result."""
        database = self.database()
        try:
            seen = {"write": self.write(database, "first")}
            worker, own = database.row("SELECT pid, pg_backend_pid() FROM change_stream_status")
            seen["expire"] = self.measured(database, worker, lambda: self.expire(database, "first"))
            seen["vacuum"] = self.measured(database, own, lambda: database.execute(f"VACUUM {EVENTS}") and None)
            seen["write again"] = self.write(database, "second")
            return seen
        finally:
            self.drop(database)

    def expire(self, database, stream):
        database.execute("SELECT alter_change_stream(%s, retention => '1 millisecond')", stream)
        wait_until(lambda: database.value(f"SELECT min(event_id) FROM {EVENTS} WHERE stream_name = %s", stream) == self.events, 600,
                   "all but the last are deleted", pause=0.2)


    def beside(self):
        """Events that are written, and old ones that are deleted, in the seconds in which a stream has much of both to do."""
        orders = self.mongo.client.ecommerce.orders
        database = self.database()
        try:
            self.write(database, "s")
            database.execute("SELECT pause_change_stream('s')")
            for first in range(0, self.events, 1000):
                orders.insert_many([order(number, DICE) for number in range(first, min(first + 1000, self.events))], ordered=False)
            # what was received a moment ago stays, so that only the first half is old
            database.execute("SELECT alter_change_stream('s', retention => '1 hour')")
            database.execute(f"UPDATE {EVENTS} SET received_at = received_at - interval '2 hours'")
            database.execute(f"VACUUM {EVENTS}")
            database.execute("CHECKPOINT")
            database.execute("SELECT resume_change_stream('s')")
            began = time.monotonic()
            took = {}

            def done():
                written, oldest = database.row(f"SELECT events_processed, (SELECT min(event_id) FROM {EVENTS}) FROM change_stream_progress")
                for what, reached in (("written", written - self.events), ("deleted", oldest - 1)):
                    if reached >= self.events:
                        took.setdefault(what, time.monotonic() - began)
                return len(took) == 2

            wait_until(done, 300, "all are written and deleted", pause=0.02)
            return took
        finally:
            self.drop(database)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    exit_on_signals()
    seen = {phase: [] for phase in PHASES}
    with Machine() as machine:
        bench = Bench(machine, chosen.events)
        for number in range(chosen.rounds):
            for phase, result in bench.phases().items():
                seen[phase].append(result)
                print(f"round {number + 1}  {phase:<12} {result['seconds']:7.2f} s", flush=True)
        beside = bench.beside()
    print()
    table(("phase", "events/s", "CPU µs/event", "WAL bytes/event", "table MB", "indexes MB"),
          [(phase, f"{median(one['events'] / one['seconds'] for one in runs):,.0f}", f"{median(one['cpu'] / one['events'] for one in runs) * 1e6:.1f}",
            f"{median(one['wal'] / one['events'] for one in runs):,.0f}", *(f"{size:,.0f}" for size in runs[-1]["sizes"]))
           for phase, runs in seen.items()])
    print()
    table(("a stream with as many to write as to delete", "seconds until all are"), [(what, f"{took:.1f}") for what, took in beside.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
