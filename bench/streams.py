"""What do many streams cost?  Each of a collection of its own, by cursors of their own and by one that they share.

quiet    inserts into another collection: MongoDB's CPU for one of them, beside so many streams
behind   one stream has a backlog of the last seconds: how long the events of others wait for it
busy     inserts into all of the streams' collections, followed from before them: our CPU, and the time, beside one stream of the database
"""
import argparse
import sys
import time

from common import Databases, cpu_of, servers, table, token_of
from harness import Machine
from harness.machine import exit_on_signals, wait_until

COUNT = "SELECT count(*) FROM change_stream_status WHERE state = 'active'"
GROUPED = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'mongo_change_stream group' AND datname = current_database()"
OURS = "SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^mongo_change_stream (worker|group)$' AND datname = current_database()"


class Bench(Databases):
    def __init__(self, machine):
        self.cluster, self.mongo = servers(machine)
        self.database_of_mongo = self.mongo.client.ecommerce

    def database(self, share):
        self.number += 1
        database = self.cluster.create_database(f"bench_{self.number}", extension=True)
        database.create_server(self.mongo.uri, "ecommerce", share_cursor=str(share).lower())
        return database

    def mongod(self):
        return cpu_of(self.mongo.members[0].process.pid)

    def make(self, database, streams, **options):
        named = "".join(f", {name} => {value}" for name, value in options.items())
        for number in range(streams):
            database.execute(f"SELECT create_change_stream('s{number}', collection => 'c{number}'{named})")

    def insert(self, names, each, size=200):
        """Inserts in turn into collections, by batches."""
        for first in range(0, each, 100):
            for name in names:
                self.database_of_mongo[name].insert_many([{"n": first + number, "text": "x" * size} for number in range(min(100, each - first))])

    def quiet(self, streams, share, inserts):
        """MongoDB's CPU for an insert into a collection that nobody watches, and how many processes are ours."""
        database = self.database(share)
        try:
            self.make(database, streams)
            if streams:
                wait_until(lambda: database.value(COUNT) == streams, 300, "all streams are active")
                if share and streams > 1:
                    wait_until(lambda: len(set(database.column("SELECT pid FROM change_stream_status"))) == 1 and database.value(GROUPED) == 1, 300, "all are together")
            before, began = self.mongod(), time.monotonic()
            self.insert(["other"], inserts)
            took = time.monotonic() - began
            return (self.mongod() - before) / inserts * 1e6, len(database.column(OURS)), took
        finally:
            self.drop(database)

    def busy(self, streams, kind, each):
        """Seconds, our CPU and MongoDB's for an event, until all streams have all that was inserted before they run."""
        database = self.database(kind == "shared")
        names = [f"c{number}" for number in range(streams)]
        try:
            since = token_of(self.mongo.client.admin.command("appendOplogNote", data={"mark": 1})["operationTime"])
            self.insert(names, each)
            if kind == "database":
                database.execute("SELECT create_change_stream('all', start_at => %s, paused => true)", since)
            else:
                self.make(database, streams, start_at=f"'{since}'", paused="true")
            before, began = self.mongod(), time.monotonic()
            database.execute("SELECT resume_change_stream(stream_name) FROM change_streams")
            wait_until(lambda: database.value("SELECT sum(events_processed) FROM change_stream_progress") >= streams * each, 600, "all is there", pause=0.02)
            took = time.monotonic() - began
            ours = sum(cpu_of(pid) for pid in database.column(OURS))
            return took, ours / (streams * each) * 1e6, (self.mongod() - before) / (streams * each) * 1e6
        finally:
            self.drop(database)


    def behind(self, streams, backlog):
        """The longest that an event of another stream has waited, in seconds, while one has a backlog; that took so long to be written."""
        database = self.database(True)
        try:
            self.make(database, streams)
            wait_until(lambda: len(set(database.column("SELECT pid FROM change_stream_status"))) == 1 and database.value(GROUPED) == 1, 300, "all are together")
            database.execute("SELECT pause_change_stream('s0')")
            began = time.monotonic()
            # fast, so that it is much in a short time
            for first in range(0, backlog, 10_000):
                self.database_of_mongo.c0.insert_many([{} for _ in range(10_000)], ordered=False)
            inserted, began = time.monotonic() - began, time.monotonic()
            database.execute("SELECT resume_change_stream('s0')")
            done = "SELECT events_processed FROM change_stream_progress WHERE stream_name = 's0'"
            while database.value(done) < backlog // 10_000 * 10_000:
                self.database_of_mongo.c1.insert_one({})
                time.sleep(0.05)
            took = time.monotonic() - began
            database.execute("SELECT sync_change_stream('s1')")
            waited = database.value("SELECT max(received_at - change_timestamp) FROM change_stream_events WHERE stream_name = 's1'").total_seconds()
            return inserted, took, waited
        finally:
            self.drop(database)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,10,40,100")
    parser.add_argument("--inserts", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=2_000, help="events of each busy stream")
    parser.add_argument("--busy", type=int, default=40, help="busy streams")
    parser.add_argument("--backlog", type=int, default=300_000, help="events of the stream that is behind")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--apart", type=int, default=6, help="the most streams to try with cursors of their own")
    chosen = parser.parse_args()
    exit_on_signals()
    with Machine() as machine:
        bench = Bench(machine)
        for number in range(max(int(number) for number in chosen.streams.split(","))):
            bench.database_of_mongo.create_collection(f"c{number}")
        rows = []
        for _ in range(chosen.rounds):
            for streams in [0, *map(int, chosen.streams.split(","))]:
                for share in (False, True):
                    if (share and streams < 2) or (not share and streams > chosen.apart):
                        continue
                    cpu, processes, took = bench.quiet(streams, share, chosen.inserts)
                    rows.append((streams, "shared" if share else "apart", f"{cpu:.1f}", processes, f"{chosen.inserts / took:,.0f}"))
                    print("quiet", *rows[-1], flush=True)
        waits = []
        for _ in range(chosen.rounds):
            inserted, took, waited = bench.behind(10, chosen.backlog)
            waits.append((f"{chosen.backlog:,}", f"{inserted:.1f}", f"{took:.1f}", f"{waited:.1f}"))
            print("behind", *waits[-1], flush=True)
        busy = []
        for _ in range(chosen.rounds):
            for kind in ("database", "shared"):
                took, ours, mongods = bench.busy(chosen.busy, kind, chosen.each)
                busy.append((kind, f"{chosen.busy * chosen.each / took:,.0f}", f"{ours:.1f}", f"{mongods:.1f}"))
                print("busy", *busy[-1], flush=True)
    table(("quiet streams", "cursors", "mongod's CPU µs/insert", "our processes", "inserts/s"), rows)
    print()
    table(("backlog of one of 10 streams", "inserted in, s", "caught up in, s", "events of others waited, s"), waits)
    print()
    table((f"{chosen.busy} busy streams", "events/s", "our CPU µs/event", "mongod's CPU µs/event"), busy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
