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

    def __init__(self, shop):
        environment = {**shop.cluster.client_environment(shop.name), "PGOPTIONS": "-c statement_timeout=60s"}
        self.psql = subprocess.Popen([shop.cluster.installation.program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-At"], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment)

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


def trade(shop):
    """Four orders, of which one is paid and one taken back; the third customer left no address."""
    orders = shop.mongo.client.shop.orders
    begin = orders.count_documents({})
    orders.insert_many({"_id": begin + number, "status": "placed", "total": 10 * number,
                        "customer": {"name": "ab"[number % 2], **({"email": f"{number}@example.com"} if number != 3 else {})}} for number in range(1, 5))
    orders.update_one({"_id": begin + 1}, {"$set": {"status": "paid"}})
    orders.delete_one({"_id": begin + 4})
    assert shop.value("SELECT sync_change_stream('orders')")


def first_orders(shop, printed):
    trade(shop)


def what_first_orders_show(shop, printed):
    rows = [line.split("|")[:4] for line in printed]
    assert rows == [[str(number), "insert", str(number), "placed"] for number in range(1, 5)] + [["5", "update", "1", "paid"], ["6", "delete", "4", ""]]


def all_is_well(shop, printed):
    assert shop.value("SELECT state FROM change_stream_status") == "active"
    assert [line.split("|")[0] for line in printed if "|f|" in line] == ["images"], printed


def revenue(shop, printed):
    trade(shop)
    sync(shop, "orders")
    assert shop.execute("SELECT * FROM revenue ORDER BY 1") == [("a", 60), ("b", 40)]


def spent(shop, printed):
    assert dict(shop.execute("SELECT document_text(name), total::int FROM spent")) == {"a": 120, "b": 80}


def one_letter(shop, printed):
    trade(shop)
    sync(shop, "orders")
    assert shop.column("SELECT handler_name FROM change_stream_dead_letters") == ["new_orders"]
    assert shop.value("SELECT count(*) FROM notification_queue") == 3


def no_letter(shop, printed):
    assert shop.column("SELECT recipient FROM notification_queue ORDER BY 1") == ["1@example.com", "2@example.com", "4@example.com", "office@example.com"]
    assert shop.value("SELECT count(*) FROM change_stream_dead_letters") == 0


def rebuilt(shop, printed):
    assert dict(shop.execute("SELECT id, status FROM order_status")) == {str(order["_id"]): order["status"] for order in shop.mongo.client.shop.orders.find()}


def tokens(shop, printed):
    trade(shop)
    assert shop.value("SELECT r.resume_token = p.resume_token FROM change_stream_resume_tokens r JOIN change_stream_progress p USING (stream_name)"
                      " WHERE stream_name = 'orders'") is not None


def stopped(shop, printed):
    shop.wait_for("SELECT state FROM change_stream_status WHERE stream_name = 'orders'", expect="error")
    reason = shop.value("SELECT reason FROM change_stream_status WHERE stream_name = 'orders'")
    assert "plausible" in reason and "skip" in reason


def parked(shop, printed):
    shop.wait_for("SELECT count(*) FROM change_stream_dead_letters WHERE handler_name IS NULL", expect=1)
    assert shop.value("SELECT sync_change_stream('orders')")


def written(shop, printed):
    assert shop.value("SELECT count(*) FROM change_stream_dead_letters WHERE handler_name IS NULL") == 0
    assert shop.value("SELECT count(*) FROM change_stream_events WHERE stream_name = 'orders' AND full_document['total'] = -5") == 1


# Behind the block of a page in which this stands: what happens in MongoDB then, and what is to be seen.
MEANWHILE = {
    ("README.md", "SELECT create_change_stream('orders'"): first_orders,
    ("README.md", "full_document ->> 'status' AS status"): what_first_orders_show,
    ("README.md", "SELECT * FROM check_mongo_server()"): all_is_well,
    ("README.md", "create_change_handler('revenue'"): revenue,
    ("README.md", "CREATE VIEW spent"): spent,
    ("README.md", "CREATE TRIGGER keep_tokens"): tokens,
    ("docs/handlers.md", "create_change_handler('order_status'"): one_letter,
    ("docs/handlers.md", "discard_dead_letters('new_orders')"): no_letter,
    ("docs/handlers.md", "TRUNCATE order_status"): rebuilt,
    ("docs/events.md", '"total": -5'): stopped,
    ("docs/events.md", "on_error => 'park'"): parked,
    ("docs/events.md", "retry_dead_letters(stream_name => 'orders')"): written,
}


def test_every_page_in_order(shop, repository):
    order = pages(repository)
    assert sorted(order[1:]) == sorted(f"docs/{path.name}" for path in (repository / "docs").glob("*.md")), "a page that the README does not name"
    seen = set()
    for page in order:
        reader = Reader(shop)
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


def test_all_sql_is_typed(repository):
    """An example stands in a fence, where it is typed; indented are only commands of a shell, what is printed, and what is translated."""
    for page in pages(repository):
        text = FENCE.sub("", (repository / page).read_text())
        indented = re.findall(r"^    [A-Z]{2,} .*\n(?!    \N{RIGHTWARDS ARROW} )", text, re.M)
        assert not indented, page


def test_consumer_of_the_readme(shop, repository, tmp_path):
    """It prints what comes, goes on by another connection when the first breaks, and no document ends it."""
    reader = Reader(shop)
    reader.types(blocks(repository, "README.md")[0].replace(MINE, shop.mongo.uri))
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
