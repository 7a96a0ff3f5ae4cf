"""What the README and the pages of docs/ tell a reader to type works as it stands, in order, each on what the page before left.

The pages follow one another as the README first links to them.  A page is one psql session, as a reader's would be.  Meanwhile
things happen in MongoDB, and what the reader should see by then is looked at: see MEANWHILE.  In docs/dialect.md most examples
are translated only: each becomes what the line behind it says (test_dialect.py).
"""
import os
import re
import signal
import subprocess
import sys

import psycopg
import pytest

from handlers import sync
from harness.machine import wait_until

FENCE = re.compile(r"(<!-- not run: [^>]*-->\n)?^```(\w+)\n(.*?)^```$", re.M | re.S)
MINE = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
ROLES = ("app", "dashboards")
TYPED = "that was it"


def pages(repository):
    """The README and the pages that it links to, in that order."""
    linked = re.findall(r"\]\((docs/[\w-]+\.md)", (repository / "README.md").read_text())
    return ["README.md", *dict.fromkeys(linked)]


def blocks(repository, page, language="sql"):
    """A page's blocks in a language, but for what it says cannot be run."""
    return [block for unable, written_in, block in FENCE.findall((repository / page).read_text()) if written_in == language and not unable]


class Reader:
    """Types text into one psql, which stops at the first error, and no statement of which may take long."""

    def __init__(self, shop, folder):
        """In an empty folder of its own: psql writes into a file that is called as what stands behind \\g on its line, a comment, too."""
        self.folder = folder / "psql"
        self.folder.mkdir(exist_ok=True)
        environment = {**shop.cluster.client_environment(shop.name), "PGOPTIONS": "-c statement_timeout=60s"}
        self.psql = subprocess.Popen([shop.cluster.installation.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-At"], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, cwd=self.folder)

    def types(self, text):
        """Returns the lines that psql printed meanwhile; an error is one here."""
        self.psql.stdin.write(f"{text}\n\\echo {TYPED}\n")
        self.psql.stdin.flush()
        printed = []
        for line in self.psql.stdout:
            if line == TYPED + "\n":
                return printed
            printed.append(line)
        raise AssertionError(f"{text}\n{''.join(printed)}")

    def leaves(self):
        self.psql.stdin.close()
        self.psql.wait()
        self.psql.stdout.close()
        assert os.listdir(self.folder) == []


@pytest.fixture
def shop(postgres, mongo):
    """A PostgreSQL database without the extension, and an empty MongoDB database `shop`."""
    mongo.client.drop_database("shop")
    mongo.client.shop.create_collection("orders")
    database = postgres.create_database("mydb", extension=False)
    database.mongo = mongo
    yield database
    database.close()
    postgres.drop_database("mydb")
    with postgres.connect() as connection:
        for role in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {role}")
    mongo.client.drop_database("shop")


def trade(shop, stream="order_events"):
    """Four orders, of which one is paid and one taken back; the third customer left no address."""
    orders = shop.mongo.client.shop.orders
    begin = orders.count_documents({})
    orders.insert_many({"_id": begin + number, "status": "placed", "total": 10 * number,
                        "customer": {"name": "ab"[number % 2], **({"email": f"{number}@example.com"} if number != 3 else {})}} for number in range(1, 5))
    orders.update_one({"_id": begin + 1}, {"$set": {"status": "paid"}})
    orders.delete_one({"_id": begin + 4})
    assert shop.value("SELECT sync_change_stream(%s)", stream)


def equal(shop, *mirrors):
    """The mirrors are copied, and equal their collections."""
    for mirror in mirrors:
        shop.wait_for("SELECT exact_at IS NOT NULL FROM change_mirror_status WHERE mirror_name = %s", mirror)
        assert shop.execute("SELECT * FROM check_change_mirror(%s)", mirror) == []


def first_mirror(shop, printed):
    equal(shop, "orders")
    trade(shop, "orders")
    equal(shop, "orders")


def what_the_mirror_shows(shop, printed):
    assert [line.strip() for line in printed[:2]] == ["b|40", "a|20"]
    mirror, = [line.split("|") for line in printed[2:]]
    assert mirror[:2] == ["orders", "active"] and mirror[4].strip()


def live_orders(shop, printed):
    equal(shop, "live_orders")
    assert shop.execute("SELECT status, count(*), sum(total) FROM live_orders GROUP BY 1 ORDER BY 1") == \
        shop.execute("SELECT document ->> 'status', count(*), sum((document -> 'total')::numeric) FROM orders GROUP BY 1 ORDER BY 1")


def proposed(shop, printed):
    assert "status text = status" in "".join(printed)


def open_orders(shop, printed):
    equal(shop, "open_orders")
    assert shop.value("SELECT count(*) FROM open_orders") == shop.mongo.client.shop.orders.count_documents({"status": "placed"})


def paid(shop, printed):
    equal(shop, "live_orders")
    assert shop.value("SELECT bool_and(paid = (status = 'paid')) FROM live_orders")


def own_write(shop, printed):
    assert printed == ["t\n", "c|7\n"]


def whole_database(shop, printed):
    assert printed[:2] == ["2\n", "products\n"]
    equal(shop, "products")
    assert shop.execute("SELECT name, price FROM live.products ORDER BY 1") == [("Mug", 12.5), ("Tea", 7.9)]


def called(shop, printed):
    assert shop.execute("SELECT customer FROM open_orders WHERE note = 'called'") == [("c",)]


def resynced(shop, printed):
    equal(shop, "open_orders", "live_orders")
    called(shop, printed)


def partitioned(shop, printed):
    equal(shop, "orders_by_key")
    assert shop.value("SELECT count(*) FROM orders_by_key_0") > 0 and shop.value("SELECT count(*) FROM orders_by_key_1") > 0


def existing(shop, printed):
    shop.wait_for("SELECT finished_at IS NOT NULL FROM change_stream_snapshots WHERE stream_name = 'all_orders'")
    assert shop.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'all_orders' AND operation_type = 'snapshot'") == \
        shop.mongo.client.shop.orders.count_documents({})


def first_orders(shop, printed):
    trade(shop)


def what_first_orders_show(shop, printed):
    rows = [line.split("|")[:4] for line in printed]
    assert rows == [[str(number), "insert", str(number + 3), "placed"] for number in range(1, 5)] + [["5", "update", "4", "paid"], ["6", "delete", "7", ""]]


def all_is_well(shop, printed):
    assert shop.column("SELECT state FROM change_stream_status") == ["active"] * 2
    wrong = {line.split("|")[0]: line for line in printed if "|f|" in line}
    # tests before this one may have filled the small oplog that all of them share
    if "oplog_window" in wrong:
        assert "loses its place" in wrong["oplog_window"], printed
        first = next(shop.mongo.client.local.oplog.rs.find().sort("$natural", 1).limit(1))
        assert first["o"].get("msg") != "initiating set", (first, printed)
    assert wrong.keys() - {"oplog_window"} == {"images"}, printed


def revenue(shop, printed):
    trade(shop)
    sync(shop, "order_events")
    assert shop.execute("SELECT * FROM revenue ORDER BY 1") == [("a", 60), ("b", 40)]


def spent(shop, printed):
    assert dict(shop.execute("SELECT document_text(name), total::int FROM spent")) == {"a": 180, "b": 120}


def one_letter(shop, printed):
    trade(shop)
    sync(shop, "order_events")
    assert shop.column("SELECT handler_name FROM change_stream_dead_letters") == ["new_orders"]
    assert shop.value("SELECT count(*) FROM notification_queue") == 3


def no_letter(shop, printed):
    assert shop.column("SELECT recipient FROM notification_queue ORDER BY 1") == ["1@example.com", "2@example.com", "4@example.com", "office@example.com"]
    assert shop.value("SELECT count(*) FROM change_stream_dead_letters") == 0


def rebuilt(shop, printed):
    seen = shop.column("SELECT DISTINCT document_key ->> '_id' FROM change_stream_events WHERE stream_name = 'order_events'")
    assert dict(shop.execute("SELECT id, status FROM order_status")) == \
        {str(order["_id"]): order["status"] for order in shop.mongo.client.shop.orders.find() if str(order["_id"]) in seen}


def tokens(shop, printed):
    trade(shop)
    assert shop.value("SELECT r.resume_token = p.resume_token FROM change_stream_resume_tokens r JOIN change_stream_progress p USING (stream_name)"
                      " WHERE stream_name = 'order_events'") is not None


def stopped(shop, printed):
    shop.wait_for("SELECT state FROM change_stream_status WHERE stream_name = 'order_events'", expect="error")
    reason = shop.value("SELECT reason FROM change_stream_status WHERE stream_name = 'order_events'")
    assert "plausible" in reason and "skip" in reason


def parked(shop, printed):
    shop.wait_for("SELECT count(*) FROM change_stream_dead_letters WHERE handler_name IS NULL", expect=1)
    assert shop.value("SELECT sync_change_stream('order_events')")


def written(shop, printed):
    assert shop.value("SELECT count(*) FROM change_stream_dead_letters WHERE handler_name IS NULL") == 0
    assert shop.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'order_events' AND full_document['total'] = -5") == 1


# Behind the block of a page in which this stands: what happens in MongoDB then, and what is to be seen.
MEANWHILE = {
    ("README.md", "SELECT create_change_mirror('orders')"): first_mirror,
    ("README.md", "check_change_mirror('orders')"): what_the_mirror_shows,
    ("README.md", "SELECT create_change_stream('order_events'"): first_orders,
    ("README.md", "full_document ->> 'status' AS status"): what_first_orders_show,
    ("README.md", "SELECT * FROM check_mongo_server()"): all_is_well,
    ("README.md", "create_change_handler('revenue'"): revenue,
    ("README.md", "CREATE VIEW spent"): spent,
    ("README.md", "CREATE TRIGGER keep_tokens"): tokens,
    ("docs/mirrors.md", "create_change_mirror('live_orders'"): live_orders,
    ("docs/mirrors.md", "propose_mirror_columns"): proposed,
    ("docs/mirrors.md", "create_change_mirror('open_orders'"): open_orders,
    ("docs/mirrors.md", "alter_change_mirror('live_orders'"): paid,
    ("docs/mirrors.md", "AS written"): own_write,
    ("docs/mirrors.md", "create_change_mirrors("): whole_database,
    ("docs/mirrors.md", "note = 'called'"): called,
    ("docs/mirrors.md", "resync_change_mirror('live_orders')"): resynced,
    ("docs/scaling.md", "create_change_mirror('orders_by_key'"): partitioned,
    ("docs/handlers.md", "create_change_handler('order_status'"): one_letter,
    ("docs/handlers.md", "discard_dead_letters('new_orders')"): no_letter,
    ("docs/handlers.md", "TRUNCATE order_status"): rebuilt,
    ("docs/events.md", "initial_snapshot => true"): existing,
    ("docs/events.md", '"total": -5'): stopped,
    ("docs/events.md", "on_error => 'park'"): parked,
    ("docs/events.md", "retry_dead_letters(stream_name => 'order_events')"): written,
}


def test_every_page_in_order(shop, repository, tmp_path):
    order = pages(repository)
    assert sorted(order[1:]) == sorted(f"docs/{path.name}" for path in (repository / "docs").glob("*.md")), "a page that the README does not name"
    seen = set()
    for page in order:
        reader = Reader(shop, tmp_path)
        for block in blocks(repository, page):
            try:
                printed = reader.types(block.replace(MINE, shop.mongo.uri))
                for place in MEANWHILE:
                    if place[0] == page and place[1] in block:
                        MEANWHILE[place](shop, printed)
                        seen.add(place)
            except Exception as problem:
                raise AssertionError(f"{page}, at\n{block}") from problem
        reader.leaves()
    assert seen == set(MEANWHILE)


def test_first_screen(shop, repository, tmp_path):
    """Who types the README's first statements has a table of the documents that are there, and keeps it."""
    orders = shop.mongo.client.shop.orders
    orders.insert_many({"_id": number, "status": "placed", "total": number} for number in range(1, 2001))
    reader = Reader(shop, tmp_path)
    create, server, mirror, select = [statement.strip() for statement in blocks(repository, "README.md")[0].split(";")[:-1]]
    assert create == "CREATE EXTENSION mongo_change_stream" and mirror == "SELECT create_change_mirror('orders')" and select == "SELECT * FROM orders"
    for statement in (create, server.replace(MINE, shop.mongo.uri), mirror):
        reader.types(statement + ";")
    equal(shop, "orders")
    assert len(reader.types(select + ";")) == 2000
    orders.update_many({"_id": {"$lte": 10}}, {"$set": {"status": "paid"}})
    orders.delete_one({"_id": 2000})
    assert reader.types("SELECT sync_change_stream('orders');") == ["t\n"]
    assert len(reader.types(select + ";")) == 1999
    equal(shop, "orders")
    reader.leaves()


def test_all_sql_is_typed(repository):
    """An example stands in a fence, where it is typed; indented are only commands of a shell, what is printed, and what is translated."""
    for page in pages(repository):
        text = FENCE.sub("", (repository / page).read_text())
        indented = re.findall(r"^    [A-Z]{2,} .*\n(?!    \N{RIGHTWARDS ARROW} )", text, re.M)
        assert not indented, page


def test_consumer_of_the_readme(shop, repository, tmp_path):
    """It prints what comes, goes on by another connection when the first breaks, and no document ends it."""
    reader = Reader(shop, tmp_path)
    typed = blocks(repository, "README.md")
    reader.types(typed[0].replace(MINE, shop.mongo.uri))
    reader.types(next(block for block in typed if "create_change_stream('order_events'" in block))
    program, = blocks(repository, "README.md", "python")
    connection = psycopg.conninfo.make_conninfo(host=shop.cluster.folder, port=shop.cluster.port, user="postgres", dbname=shop.name,
                                                application_name="consumer")
    assert program.count('"dbname=mydb"') == 1
    (tmp_path / "consumer.py").write_text(program.replace('"dbname=mydb"', repr(connection)))
    trade(shop)
    consumer = subprocess.Popen([sys.executable, "-u", tmp_path / "consumer.py"], stdout=subprocess.PIPE, text=True)
    try:
        said = [consumer.stdout.readline() for _ in range(6)]
        assert [line.split()[:2] for line in said] == [["1", "insert"], ["2", "insert"], ["3", "insert"], ["4", "insert"], ["5", "update"], ["6", "delete"]]
        wait_until(lambda: shop.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'consumer'") == 1, 10)
        shop.mongo.client.shop.orders.insert_one({"_id": "zero\0character", "total": float("nan")})
        while not (line := consumer.stdout.readline()).startswith("7 insert"):
            assert line
        assert "{'$numberDouble': 'NaN'}" in line
    finally:
        os.kill(consumer.pid, signal.SIGKILL)
        consumer.wait()
        consumer.stdout.close()
        reader.leaves()
