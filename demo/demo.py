"""A shop's orders, written to MongoDB and followed into PostgreSQL, step by step on the screen.

demo.py          shows it and cleans up
demo.py --keep   leaves both servers running, to play on
demo.py --stop   ends what --keep left
"""
import argparse
import collections
import os
import pathlib
import shutil
import signal
import sys
import time

import psycopg

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test"))

import screen  # noqa: E402
from harness import Cluster, Installation, Machine, ReplicaSet, build, install, packages  # noqa: E402
from harness.machine import CACHE, end_kept, exit_on_signals, wait_until  # noqa: E402
from shop import Shop  # noqa: E402

KEPT = CACHE / "demo-kept"
ORDERS = 20_000

NEW_EVENTS = """
    SELECT event_id, cluster_time, operation_type,
           document_key->>'_id'     AS "order",
           full_document->>'status' AS status,
           (full_document->'customer')->>'name' AS customer,
           changed_fields
    FROM change_stream_events
    WHERE stream_name = 'order_events' AND event_id > {mine}
    ORDER BY event_id"""

PER_MINUTE = """
    SELECT date_bin('1 minute', cluster_time, '2000-01-01') AS minute,
           count(*) FILTER (WHERE operation_type = 'insert')               AS placed,
           count(*) FILTER (WHERE full_document->>'status' = 'paid')       AS paid,
           count(*) FILTER (WHERE full_document->>'status' = 'shipped')    AS shipped,
           count(*) FILTER (WHERE full_document->>'status' = 'cancelled')  AS cancelled,
           sum((full_document->'total')::numeric) FILTER (WHERE operation_type = 'insert') AS ordered
    FROM change_stream_events
    WHERE stream_name = 'order_events'
    GROUP BY 1 ORDER BY 1"""

PER_SECONDS = """
    SELECT date_bin('5 seconds', cluster_time, '2000-01-01') AS five_seconds,
           count(*) AS events,
           repeat('█', (count(*) / 12)::int) AS " "
    FROM change_stream_events
    WHERE stream_name = 'order_events'
    GROUP BY 1 ORDER BY 1"""


class Demo:
    def __init__(self, keep):
        self.keep = keep
        self.failures = 0
        self.mine = 0
        self.shop = Shop()

    def check(self, right, text):
        if right:
            screen.good(text)
        else:
            screen.bad(text)
            self.failures += 1

    def show(self, statement):
        """Prints a statement, runs it, and prints its rows."""
        screen.sql(statement)
        cursor = self.db.connection.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        if any(value not in (None, "") for row in rows for value in row):  # a void function's row says nothing
            screen.table([column.name for column in cursor.description], rows)

    # ------------------------------------------------------------ the steps

    def prepare(self, machine):
        original = Installation(packages.pg_config())
        packages.mongod()
        screen.note(f"compiling the extension for {original.version}")
        private = original.private_copy(machine.folder / "postgresql")
        install(build(original), private)
        self.postgres = Cluster(machine, private, tcp=True)
        screen.note(f"PostgreSQL listens on port {self.postgres.port}, with shared_preload_libraries = 'mongo_change_stream'")
        self.mongo = ReplicaSet(machine)
        version = self.mongo.client.server_info()["version"]
        screen.note(f"MongoDB {version} listens on port {self.mongo.members[0].port}, a replica set of one")
        self.db = self.postgres.create_database("shop", extension=False)
        self.shop.orders = self.mongo.client.ecommerce.orders

    def mirror(self):
        screen.heading(1, "From CREATE EXTENSION to a live copy")
        self.shop.fill(ORDERS)
        screen.prose(f"""The shop has {ORDERS:,} orders in MongoDB, and goes on writing. A server says where MongoDB is; a mirror is a table
            that equals a collection: what exists is copied by a background worker, while it follows what changes.""")
        self.show("CREATE EXTENSION mongo_change_stream")
        self.show(f"""
            CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream
              OPTIONS (uri '{self.mongo.uri}', database 'ecommerce')""")
        self.shop.open(rate=150)
        self.show("SELECT create_change_mirror('orders', columns => 'status text = status, customer text = customer.name, total numeric = total')")
        print()
        self.watch_copy()
        self.show("""
            SELECT status, count(*), round(sum(total)) AS total FROM orders GROUP BY status ORDER BY 2 DESC""")
        print()
        screen.prose("Equal to MongoDB? Compared document by document, at the very moment of MongoDB's that the table shows, while the shop writes:")
        self.show("SELECT state, exact_at, documents_done, rows_written, lag FROM change_mirror_status")
        self.check_mirror()
        self.shop.close()

    def watch_copy(self):
        """Tells how far the copy is until it is done."""
        begin, told = time.monotonic(), -1

        def exact():
            nonlocal told
            done, estimated, at = self.db.row("SELECT documents_done, documents_estimated, exact_at FROM change_mirror_status")
            if done != told and estimated:
                told = done
                screen.note(f"{time.monotonic() - begin:4.1f} s  {'█' * round(30 * min(1, done / estimated)):<30}  {done:,} of {estimated:,} orders")
            return at

        wait_until(exact, 60, "the mirror is exact", pause=0.05)

    def check_mirror(self):
        compared = "SELECT difference, _id FROM check_change_mirror('orders')"
        begin = time.monotonic()
        screen.sql(compared)
        differences = self.db.execute(compared)
        rows = self.db.value("SELECT count(*) FROM orders")
        self.check(not differences, f"{rows:,} orders, {len(differences)} differences, compared in {time.monotonic() - begin:.1f} s")

    def connect(self):
        screen.heading(2, "A stream of events")
        screen.prose("""A mirror shows what is. A stream keeps what happened: from the moment its creation returns, every change of
            the collection becomes a row. The collection keeps images, so that each event shows the document as it was then.""")
        self.show("""
            SELECT mongo_command('{"collMod": "orders", "changeStreamPreAndPostImages": {"enabled": true}}') -> 'ok' AS ok""")
        self.since = self.mongo.client.admin.command("ping")["operationTime"]
        self.earlier = self.shop.writes
        self.show("SELECT create_change_stream('order_events', collection => 'orders', full_document => 'whenAvailable')")

    def watch(self):
        screen.heading(3, "Events arrive, and listeners hear of them")
        screen.prose("""The shop begins to place, pay, ship and cancel orders in MongoDB. A client has said LISTEN order_events;
            with each notification it reads what is new to it. Ids count 1, 2, 3 … without a gap, so remembering
            the last one is all a consumer has to do.""")
        screen.sql("LISTEN order_events")
        screen.sql(NEW_EVENTS.format(mine=":mine"))
        with self.db.connect() as listener:
            listener.execute("LISTEN order_events")
            print()
            self.shop.open(rate=6)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                for told in list(listener.notifies(timeout=0.5, stop_after=1)):
                    print(f"    {screen.paint('35', f'{told.channel}: {told.payload}')}")
                    self.print_new(listener)
            self.shop.close()

    def print_new(self, connection):
        for event in connection.execute(NEW_EVENTS.format(mine=self.mine)):
            number, when, operation, order, status, customer, fields = map(screen.cell, event)
            changed = f"wrote {fields}" if operation == "update" else ""
            print(f"      {number:>4}  {when}  {operation:<7} order {order}  {status:<10} {customer:<16} {changed}".rstrip(),
                  flush=True)
            self.mine = event[0]

    def pause(self):
        screen.heading(4, "A pause, writes meanwhile, and each of them once")
        self.show("SELECT sync_change_stream('order_events')")
        before = self.db.value("SELECT last_event_id FROM change_stream_progress WHERE stream_name = 'order_events'")
        self.show("SELECT pause_change_stream('order_events')")
        written = self.shop.writes
        self.shop.open(rate=150)
        time.sleep(2)
        written = self.shop.close() - written
        self.show("SELECT stream_name, state, reason FROM change_stream_status")
        still = self.db.value("SELECT last_event_id FROM change_stream_progress WHERE stream_name = 'order_events'")
        self.check(still == before, f"the shop made {written} changes; the paused stream stayed at event {still}")
        self.show("SELECT resume_change_stream('order_events')")
        self.show("SELECT sync_change_stream('order_events')")
        after = self.db.value("SELECT last_event_id FROM change_stream_progress WHERE stream_name = 'order_events'")
        self.check(after - before == written, f"resumed: {after - before} new events for {written} changes")

    def crash(self):
        screen.heading(5, "A worker killed with -9, nothing lost, nothing twice")
        screen.prose("""Events and the position in MongoDB's history commit together, so a crash at any moment leaves
            both or neither. PostgreSQL answers a killed process by restarting all of them; the shop goes on writing.""")
        self.shop.open(rate=150)
        time.sleep(1)
        screen.sql("SELECT pid FROM change_stream_status WHERE stream_name = 'order_events'")
        worker = self.db.value("SELECT pid FROM change_stream_status WHERE stream_name = 'order_events'")
        print()
        screen.note(f"kill -9 {worker}")
        os.kill(worker, signal.SIGKILL)
        begin = time.monotonic()
        another = wait_until(lambda: self.worker_other_than(worker), 60, "the worker is started again")
        screen.note(f"after {time.monotonic() - begin:.1f} s process {another} follows the stream")
        time.sleep(1.5)
        self.shop.close()
        self.show("SELECT sync_change_stream('order_events')")
        self.compare()

    def worker_other_than(self, pid):
        """The stream's present worker, once there is a new one."""
        try:
            now = self.db.value("SELECT pid FROM change_stream_status WHERE stream_name = 'order_events' AND state = 'active'")
        except psycopg.OperationalError:
            return None
        return now if now != pid else None

    def compare(self):
        """What MongoDB's own history says, read by another program, beside what the table holds."""
        print()
        screen.prose("The same history, read from MongoDB by another driver (pymongo), beside the table:")
        history, theirs = [], collections.Counter()
        with self.mongo.client.ecommerce.orders.watch(start_at_operation_time=self.since) as changes:
            while (change := changes.try_next()) is not None:
                time_of = change["clusterTime"]
                history.append((change["operationType"], change["documentKey"]["_id"], (time_of.time, time_of.inc)))
                theirs[change["operationType"]] += 1
        counted = """
            SELECT operation_type, count(*) AS events, count(DISTINCT resume_token) AS different
            FROM change_stream_events WHERE stream_name = 'order_events'
            GROUP BY operation_type ORDER BY operation_type"""
        screen.sql(counted)
        ours = self.db.execute(counted)
        screen.table(["operation_type", "in MongoDB", "events", "different"],
                     [(operation, theirs[operation], events, different) for operation, events, different in ours])
        kept = [(operation, order, (int(token[2:10], 16), int(token[10:18], 16))) for operation, order, token in self.db.execute(
            "SELECT operation_type, (document_key->'_id')::int, resume_token FROM change_stream_events ORDER BY event_id")]
        writes = self.shop.writes - self.earlier
        self.check(kept == history and len(kept) == writes,
                   f"{writes} writes, {len(history)} changes in MongoDB's history, {len(kept)} events, in the same order")
        print()
        screen.prose("And the live copy, through the same crash:")
        self.db.execute("SELECT sync_change_stream('orders')")
        self.check_mirror()

    def analyse(self):
        screen.heading(6, "Analytics are SQL")
        screen.prose("The documents are whole and typed: a path, a cast, and what PostgreSQL can do with it.")
        self.show(PER_MINUTE)
        print()
        screen.prose("And for each five seconds, by MongoDB's clock: neither the pause nor the crash can be seen in it.")
        self.show(PER_SECONDS)

    def handle(self):
        screen.heading(7, "SQL for each change")
        screen.prose("""A handler runs for every change, exactly once: what it does, its position and the event's status commit
            together. It has a process of its own, so a slow or failing one holds up neither the stream nor another.""")
        self.show("CREATE TABLE revenue (customer text PRIMARY KEY, orders bigint NOT NULL, total numeric NOT NULL)")
        self.show("""
            SELECT create_change_handler('revenue', 'order_events', start_at => 'earliest', condition => $$operation_type = 'insert'$$, body => $$
            BEGIN
              INSERT INTO revenue AS r VALUES (change.full_document.customer.name, 1, change.full_document.total)
              ON CONFLICT (customer) DO UPDATE SET orders = r.orders + 1, total = r.total + excluded.total;
            END $$)""")
        self.show("SELECT sync_change_stream('order_events', handlers => true)")
        self.show("SELECT * FROM revenue ORDER BY total DESC LIMIT 3")
        handled = self.db.value("SELECT sum(orders)::bigint FROM revenue")
        placed = self.db.value("SELECT count(*) FROM change_stream_events WHERE operation_type = 'insert'")
        self.check(handled == placed, f"{placed} orders placed, {handled} handled")

    def scan(self):
        screen.heading(8, "MongoDB's history as a table, without a stream")
        screen.prose("""A foreign table reads the changes that MongoDB still remembers. Conditions go to MongoDB, and EXPLAIN shows
            what is sent.""")
        self.show("CREATE SCHEMA history")
        self.show("IMPORT FOREIGN SCHEMA ecommerce FROM SERVER mongo INTO history")
        self.show("SELECT operation_type, count(*) FROM history.orders GROUP BY 1 ORDER BY 1")
        self.show("EXPLAIN (COSTS OFF) SELECT count(*) FROM history.orders WHERE full_document ->> 'status' = 'cancelled'")
        changes = ORDERS + self.shop.writes
        self.check(self.db.value("SELECT count(*) FROM history.orders") == changes, f"the foreign table has all {changes:,} changes, those from before the stream, too")

    def speak(self):
        screen.heading(9, "SQL with paths into documents")
        screen.prose("""Text in the dialect is translated into plain SQL, with the types of the documents kept; a block of
            it runs as it stands.""")
        statement = """
            SELECT full_document.customer.name, ROUND(SUM(full_document.total), 2) AS spent
            FROM CHANGE_STREAM(orders)
            WHERE changed_fields CONTAINS 'status' AND full_document.status IN ('paid', 'shipped')
            GROUP BY full_document.customer.name ORDER BY spent DESC LIMIT 3"""
        self.show("SET search_path = public, history")
        screen.sql(statement)
        translated = self.db.value("SELECT change_stream_translate(%s)", statement)
        print()
        screen.prose("which change_stream_translate() makes into:")
        self.show(translated)

    def status(self):
        screen.heading(10, "How is it doing?")
        statement = "SELECT * FROM change_stream_status"
        screen.sql(statement)
        cursor = self.db.connection.execute(statement)
        for row in cursor:
            screen.record([column.name for column in cursor.description], row)

    def farewell(self, machine):
        if not self.keep:
            print("\nBoth servers are gone again. To play on with them: make demo KEEP=1\n")
            return
        psql = "psql" if shutil.which("psql") else self.postgres.installation.program("psql")
        KEPT.write_text(str(machine.folder))
        screen.heading(11, "Yours to play with")
        print(f"""
    {psql} -h 127.0.0.1 -p {self.postgres.port} -U postgres shop

  and in there, say,

    LISTEN order_events;
    SELECT mongo_command('{{"insert": "orders", "documents": [{{"_id": 0, "status": "placed", "total": 12.5, "customer": {{"name": "You"}}}}]}}') -> 'n';
    SELECT event_id, operation_type, full_document FROM change_stream_events ORDER BY event_id DESC LIMIT 3;
    SELECT * FROM revenue WHERE customer = 'You';
    SELECT * FROM orders WHERE customer = 'You';

  MongoDB itself: {self.mongo.uri}
  When you have seen enough: make demo-stop
""")


def stop():
    """Ends the servers of a demo that was kept."""
    if not KEPT.exists():
        print("There is no demo to stop.")
        return
    folder = KEPT.read_text()
    if os.path.isdir(folder):
        end_kept(folder)
    KEPT.unlink()
    print(f"The demo's servers are stopped, and {folder} is removed.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave both servers running")
    parser.add_argument("--stop", action="store_true", help="end what --keep left")
    chosen = parser.parse_args()
    if chosen.stop:
        stop()
        return 0
    if KEPT.exists():
        stop()
    exit_on_signals()
    demo = Demo(chosen.keep)
    with Machine(keep=chosen.keep) as machine:
        try:
            demo.prepare(machine)
            demo.mirror()
            demo.connect()
            demo.watch()
            demo.pause()
            demo.crash()
            demo.analyse()
            demo.handle()
            demo.scan()
            demo.speak()
            demo.status()
        except BaseException:
            demo.shop.close()
            if chosen.keep:
                end_kept(machine.folder)
            raise
    demo.farewell(machine)
    return 1 if demo.failures else 0


if __name__ == "__main__":
    sys.exit(main())
