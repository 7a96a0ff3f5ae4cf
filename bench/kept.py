"""How long does a look at a dashboard take?  CHANGE_STREAM of a quiet collection, beside one that is written to all day.

history           MongoDB's history: the oplog of all collections is read
kept              the events that a stream keeps, then MongoDB's history from its position on

Both are the same statement over the same time, turn by turn; a part of the events of the other collection is newer than
the stream's position where it is paused.  The ratio is the median over the rounds of each round's own.
"""
import argparse
import sys
import time

from common import load, median, servers, table
from harness import Machine
from harness.machine import exit_on_signals

DASHBOARD = """SELECT date_bin('1 minute', cluster_time, 'epoch') AS minute, operation_type, count(*) FROM CHANGE_STREAM(orders{})
 WHERE cluster_time >= {} GROUP BY 1, 2 ORDER BY 1, 2"""


def seconds(database, statement):
    began = time.monotonic()
    rows = database.execute(statement)
    return time.monotonic() - began, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="of the other collection")
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen, _ = parser.parse_known_args()
    exit_on_signals()
    with Machine() as machine:
        cluster, mongo = servers(machine)
        database = cluster.create_database("bench")
        database.create_server(mongo.uri, "ecommerce")
        database.execute("SELECT create_change_stream('orders', collection => 'orders')")
        since = load(mongo.client.ecommerce.orders, chosen.orders)
        database.execute("IMPORT FOREIGN SCHEMA ecommerce LIMIT TO (orders) FROM SERVER mongo INTO public")
        load(mongo.client.ecommerce.clicks, chosen.events)
        bound = f"to_timestamp({since.time}) + interval '1 microsecond' * {since.inc}"
        statements = {name: database.value("SELECT change_stream_translate(%s)", DASHBOARD.format(form, bound))
                      for name, form in (("history", ", 'history'"), ("kept", ""))}
        took = {}
        for state in ("follows", "is paused"):
            database.value("SELECT sync_change_stream('orders')")
            if state == "is paused":
                database.execute("SELECT pause_change_stream('orders')")
                load(mongo.client.ecommerce.later, chosen.events // 10)
            for number in range(chosen.rounds):
                answers = []
                for name, statement in statements.items():
                    one, rows = seconds(database, statement)
                    took.setdefault((state, name), []).append(one)
                    answers.append(rows)
                    print(f"round {number + 1}  the stream {state:<10} {name:<8} {one * 1000:8.1f} ms", flush=True)
                if answers[0] != answers[1] or sum(row[2] for row in answers[0]) != chosen.orders:
                    raise SystemExit(f"the two differ: {answers}")
    print()
    table(("the stream", "history, ms", "kept, ms", "ratio"),
          [(state, f"{median(took[state, 'history']) * 1000:.0f}", f"{median(took[state, 'kept']) * 1000:.1f}",
            f"{median(one / other for one, other in zip(took[state, 'history'], took[state, 'kept'])):.0f}")
           for state in ("follows", "is paused")])
    return 0


if __name__ == "__main__":
    sys.exit(main())
