"""What the README and the pages of docs/ tell a reader to type works as it stands, in order, each on what the page before left."""
import pathlib
import re

import pytest

from handlers import sync

ROOT = pathlib.Path(__file__).resolve().parents[1]
FENCE = re.compile(r"(<!-- not run[^>]*-->\n)?^```sql\n(.*?)^```$", re.M | re.S)


def statements(page):
    """The SQL of a page, block after block, but for what it says cannot be run."""
    return [block for unable, block in FENCE.findall((ROOT / page).read_text()) if not unable]


@pytest.fixture
def shop(postgres, mongo):
    """A PostgreSQL database without the extension, and an empty MongoDB database `shop`."""
    mongo.client.drop_database("shop")
    database = postgres.create_database("mydb", extension=False)
    yield database
    database.close()
    postgres.drop_database("mydb")
    mongo.client.drop_database("shop")


def type_in(shop, postgres, mongo, text):
    """Types text into psql, which stops at the first error."""
    return postgres.psql(text.replace("mongodb://127.0.0.1:27017/?replicaSet=rs0", mongo.uri), shop.name)


def trade(mongo):
    """What happens in the shop while the reader reads."""
    orders = mongo.client.shop.orders
    begin = orders.count_documents({})
    orders.insert_many({"_id": begin + number, "status": "placed", "customer": {"name": "ab"[number % 2]}, "total": 10 * number}
                       for number in range(1, 5))
    orders.update_one({"_id": begin + 1}, {"$set": {"status": "paid"}})
    orders.delete_one({"_id": begin + 4})


def test_readme(shop, postgres, mongo):
    blocks = statements("README.md")
    assert len(blocks) >= 8
    mongo.client.shop.create_collection("orders")
    printed = []
    for number, block in enumerate(blocks):
        printed.append(type_in(shop, postgres, mongo, block))
        if number == 0:
            trade(mongo)
            assert shop.value("SELECT sync_change_stream('orders')")
            printed.append(type_in(shop, postgres, mongo, block[block.index("-- after some writes"):]))
            rows = [line.strip().split("|")[1:4] for line in printed[-1].splitlines()]
            assert rows == [["insert", str(order), "placed"] for order in range(1, 5)] + [["update", "1", "paid"], ["delete", "4", ""]]
        if "create_change_handler('revenue'" in block:
            trade(mongo)
            sync(shop, "orders")
            assert shop.execute("SELECT * FROM revenue ORDER BY 1") == [("a", 60), ("b", 40)]
        if "CREATE VIEW spent" in block:
            spent = dict(shop.execute("SELECT document_text(name), total::int FROM spent"))
            assert spent == {"a": 120, "b": 80}
