"""Type document beside jsonb: the same documents, the same server, the same run.

    python3 bench/document.py [documents]

Each statement runs in turn on both types, five rounds; the figures are medians of its time in
the server, and the ratio is jsonb's time over document's: above 1, document is faster.
"""
import pathlib
import random
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "test"))

import bson
from bson import json_util

from harness import Cluster, Installation, Machine, build, install, packages

ROUNDS = 5
SETTINGS = {"shared_preload_libraries": "", "shared_buffers": "512MB", "work_mem": "256MB", "max_wal_size": "4GB", "jit": "off",
            "max_parallel_workers_per_gather": 0, "autovacuum": "off", "synchronous_commit": "off"}
CITIES = ["Aachen", "Bremen", "Celle", "Dortmund", "Essen", "Fulda", "Gera", "Hamm", "Ilmenau", "Jena"]


def order(chooser, number):
    """An order of about 1 KB, as a shop would store it."""
    items = [{"sku": f"SKU-{chooser.randrange(100000):06}", "name": chooser.choice(["widget", "gadget", "sprocket", "flange"]),
              "quantity": chooser.randrange(1, 9), "price": round(chooser.uniform(1, 300), 2)} for _ in range(5)]
    return {
        "_id": bson.ObjectId(number.to_bytes(12, "big")),
        "orderNumber": f"ORD-{number:08}",
        "status": chooser.choice(["created", "confirmed", "shipped", "delivered", "cancelled"]),
        "createdAt": bson.datetime_ms.DatetimeMS(1700000000000 + number * 1000),
        "updatedAt": bson.datetime_ms.DatetimeMS(1700000100000 + number * 1000),
        "customer": {"customerId": f"C{chooser.randrange(5000):05}", "name": "Erika Mustermann", "loyaltyTier": chooser.choice(["gold", "silver", "none"]),
                     "address": {"street": "Hauptstrasse 1", "city": chooser.choice(CITIES), "zip": f"{chooser.randrange(99999):05}", "country": "DE"}},
        "items": items,
        "financial": {"subtotal": round(sum(i["price"] * i["quantity"] for i in items), 2), "tax": 19.5, "shipping": 4.99, "discount": 0,
                      "total": round(sum(i["price"] * i["quantity"] for i in items) + 24.49, 2), "currency": "EUR"},
        "payment": {"method": "card", "status": "captured", "attempts": chooser.randrange(1, 4)},
        "notes": "please leave the parcel with the neighbours",
        "tags": ["web", "returning"],
        "version": chooser.randrange(1, 50),
        "flag": chooser.random() < 0.5,
    }


# what is measured: on documents, on jsonb
QUERIES = [
    ("access, 3 levels deep, subscripts", "SELECT count({d}['customer']['address']['city']) FROM {t}"),
    ("access, 3 levels deep, -> -> ->>", "SELECT count({d} -> 'customer' -> 'address' ->> 'city') FROM {t}"),
    ("access, 3 levels deep, #>>", "SELECT count({d} #>> '{{customer,address,city}}') FROM {t}"),
    ("access, top, last field", "SELECT count({d}['flag']) FROM {t}"),
    ("access, array element", "SELECT count({d}['items'][2]['sku']) FROM {t}"),
    ("number of a field", "SELECT sum(({d}['financial']['total'])::float8) FROM {t}"),
    ("contains", "SELECT count(*) FROM {t} WHERE {d} @> '{{\"status\": \"shipped\"}}'"),
    ("group by a field", "SELECT count(*) FROM (SELECT {d}['customer']['customerId'], count(*) FROM {t} GROUP BY 1) g"),
    ("comparison of two values", "SELECT count(*) FROM {v} a WHERE v < '{{\"customerId\": \"C02500\"}}'"),
    ("equality of two values", "SELECT count(*) FROM {v} a WHERE v = '{{\"customerId\": \"C02500\"}}'"),
    ("sort of strings", "SELECT count(*) FROM (SELECT s FROM {v} ORDER BY s OFFSET 0) o"),
    ("sort of numbers", "SELECT count(*) FROM (SELECT n FROM {v} ORDER BY n OFFSET 0) o"),
    ("sort of objects", "SELECT count(*) FROM (SELECT v FROM {v} ORDER BY v OFFSET 0) o"),
    ("distinct strings", "SELECT count(*) FROM (SELECT DISTINCT s FROM {v}) o"),
    ("text out", "SELECT sum(length({d}::text)) FROM {t}"),
]


class Bench:
    def __init__(self, cluster, count):
        self.connection = cluster.connect("bench")
        self.count = count

    def run(self, statement):
        return self.connection.execute(statement)

    def time(self, statement):
        """Milliseconds in the server."""
        plan = self.run(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}").fetchone()[0][0]
        return plan["Execution Time"]

    def load(self):
        chooser = random.Random(1)
        documents = [order(chooser, number) for number in range(self.count)]
        print(f"{self.count} documents of {sum(len(bson.encode(d)) for d in documents[:1000]) / 1000:.0f} bytes of BSON")
        self.run("CREATE UNLOGGED TABLE raw (b bytea, t text)")
        with self.connection.cursor().copy("COPY raw FROM STDIN") as copy:
            for document in documents:
                copy.write_row((bson.encode(document), json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS)))
        self.run("CREATE UNLOGGED TABLE d (x document)")
        self.run("CREATE UNLOGGED TABLE j (x jsonb)")

    def insert(self):
        """Milliseconds of an insert from BSON bytes, into a table of each type; and from JSON text into jsonb."""
        figures = {}
        for name, table, expression in (("document", "d", "document_from_bson(b)"), ("jsonb from BSON", "j", "document_from_bson(b)::jsonb"),
                                        ("jsonb from text", "j", "t::jsonb")):
            times = []
            for _ in range(3):
                self.run(f"TRUNCATE {table}")
                times.append(self.time(f"INSERT INTO {table} SELECT {expression} FROM raw"))
            figures[name] = statistics.median(times)
        base = figures["document"]
        for name, took in figures.items():
            print(f"insert, {name:30} {took:9.0f} ms {took / base:7.2f}")
        self.run("TRUNCATE j")
        # the same content: the conversion turns ObjectIds and dates into strings, as people do who have jsonb
        self.run("INSERT INTO j SELECT document_from_bson(b)::jsonb FROM raw")

    def sizes(self):
        self.run("VACUUM ANALYZE d")
        self.run("VACUUM ANALYZE j")
        sizes = [self.run(f"SELECT pg_total_relation_size('{table}'), sum(pg_column_size(x)) FROM {table}").fetchone() for table in "dj"]
        print(f"size: table {sizes[0][0]} and {sizes[1][0]} bytes, {sizes[0][0] / sizes[1][0]:.2f} of jsonb's;"
              f" values {sizes[0][1] / sizes[1][1]:.2f} of jsonb's")

    def values(self):
        """Tables of small values, for comparisons."""
        for table, kind in (("vd", "document"), ("vj", "jsonb")):
            self.run(f"CREATE UNLOGGED TABLE {table} (v {kind}, s {kind}, n {kind})")
        # 200,000 values: an object, a string, a number each
        source = "SELECT jsonb_build_object('customerId', 'C' || lpad((i * 7919 % 5000)::text, 5, '0'), 'n', i) AS v," \
            " to_jsonb(md5(i::text)) AS s, to_jsonb(i * 7919 % 200003 / 7.0::float8) AS n FROM generate_series(1, 200000) i"
        self.run(f"INSERT INTO vj {source}")
        self.run("INSERT INTO vd SELECT v::document, s::document, n::document FROM vj")
        self.run("ANALYZE vd")
        self.run("ANALYZE vj")

    def queries(self):
        print(f"{'':34} {'document':>9} {'jsonb':>9}   jsonb / document")
        for name, query in QUERIES:
            times = {"d": [], "j": []}
            for _ in range(ROUNDS):
                for table in "dj":
                    times[table].append(self.time(query.format(d="x", t=table, v="v" + table)))
            ours, theirs = (statistics.median(times[table]) for table in "dj")
            print(f"{name:34} {ours:6.1f} ms {theirs:6.1f} ms {theirs / ours:8.2f}", flush=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    with Machine() as machine:
        original = Installation(packages.pg_config())
        private = original.private_copy(machine.folder / "postgresql")
        install(build(original), private)
        cluster = Cluster(machine, private, settings=SETTINGS)
        print(private.version)
        cluster.create_database("bench")
        bench = Bench(cluster, count)
        bench.load()
        bench.insert()
        bench.sizes()
        bench.values()
        bench.queries()


if __name__ == "__main__":
    main()
