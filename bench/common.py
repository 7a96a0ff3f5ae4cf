"""What the benchmarks share: servers set up as one would run them, a work load, timing, tables."""
import datetime
import functools
import os
import pathlib
import random
import statistics
import subprocess
import sys

import bson

ROOT = pathlib.Path(__file__).resolve().parents[1]
# behind this folder, of which some files have the names of others there
sys.path.insert(1, str(ROOT / "test"))

from harness import Cluster, Installation, ReplicaSet, build, install, packages  # noqa: E402

# Unlike the tests' servers these keep their promises on power cuts, too.
SETTINGS = {"fsync": "on", "shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "2GB", "checkpoint_timeout": "30min"}

CITIES = [("Lyon", "FR", "69001"), ("Austin", "US", "73301"), ("Osaka", "JP", "530-0001"), ("Graz", "AT", "8010")]


@functools.cache
def servers(machine):
    """A cluster with the extension and a replica set: the same for all that ask for them in one run."""
    original = Installation(packages.pg_config())
    private = original.private_copy(machine.folder / "postgresql")
    install(build(original), private)
    cluster = Cluster(machine, private, settings=SETTINGS)
    mongo = ReplicaSet(machine, oplog_mb=2048, cache_gb=1)
    print(versions(cluster, mongo), flush=True)
    return cluster, mongo


def versions(cluster, mongo):
    return f"{cluster.installation.version}, MongoDB {mongo.client.server_info()['version']}, {os.cpu_count()} cores"


def wal_position(database):
    """In bytes, from an origin of its own."""
    return float(database.value("SELECT pg_current_wal_insert_lsn() - '0/0'"))


class Databases:
    """The databases of a benchmark that has a cluster and a mongo."""

    number = 0

    def database(self, extension=True):
        """A new database, so that every turn writes into new tables."""
        self.number += 1
        database = self.cluster.create_database(f"bench_{self.number}", extension=extension)
        if extension:
            database.create_server(self.mongo.uri, "ecommerce", share_cursor="false")
        return database

    def drop(self, database):
        database.close()
        self.cluster.drop_database(database.name)
        self.cluster.psql("CHECKPOINT")


def compile_drain(machine):
    """The raw drain's program."""
    program = machine.folder / "drain"
    name = "libmongoc-1.0" if not subprocess.call(["pkg-config", "--exists", "libmongoc-1.0"]) else "mongoc2"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", name], capture_output=True, text=True, check=True).stdout
    packages.run(["cc", "-O2", "-o", program, ROOT / "bench/drain.c", *flags.split()])
    return program


def order(number, dice):
    """An order of about a kilobyte."""
    city, country, postcode = dice.choice(CITIES)
    placed = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=number)
    items = [{"productId": bson.ObjectId(), "sku": f"SKU-{dice.randrange(100000):05d}", "title": f"Article {dice.randrange(9999)}",
              "quantity": dice.randint(1, 5), "price": round(dice.uniform(3, 400), 2)} for _ in range(3)]
    total = round(sum(item["quantity"] * item["price"] for item in items), 2)
    return {
        "number": f"ORD-{number:09d}", "status": "placed", "createdAt": placed, "updatedAt": placed, "version": 1,
        "customer": {"customerId": bson.ObjectId(), "name": f"Customer {dice.randrange(50000)}", "segment": "retail",
                     "email": f"customer{dice.randrange(50000)}@example.com", "tier": dice.choice(["bronze", "silver", "gold"])},
        "items": items,
        "financial": {"net": total, "tax": round(total / 5, 2), "total": round(total * 1.2, 2), "currency": "EUR"},
        "payment": {"method": dice.choice(["card", "transfer"]), "state": "open", "reference": f"{dice.getrandbits(64):016x}"},
        "shipping": {"method": "standard", "expected": placed + datetime.timedelta(days=4),
                     "address": {"street": f"{dice.randint(1, 999)} Long Street", "city": city, "country": country,
                                 "postcode": postcode}},
    }


def load(collection, count, more=lambda number: {}):
    """Inserts that many orders, with more fields if wanted; returns the cluster time before the first."""
    client = collection.database.client
    collection.drop()
    collection.database.create_collection(collection.name)
    since = client.admin.command("ping")["operationTime"]
    dice = random.Random(42)
    for first in range(0, count, 1000):
        collection.insert_many((order(number, dice) | more(number) for number in range(first, min(first + 1000, count))), ordered=False)
    return since


def token_of(time):
    """The resume token that stands before every event of a cluster time."""
    return f"82{time.time:08X}{time.inc:08X}2B0229296E04"


def cpu_of(pid):
    """CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(values):
    return statistics.median(values)


def table(names, rows):
    """Prints rows, the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(name), *(len(row[at]) for row in rows)) for at, name in enumerate(names)]
    for row in [list(names), *rows]:
        print(row[0].ljust(widths[0]) + "".join(f"   {cell:>{width}}" for cell, width in zip(row[1:], widths[1:])))
