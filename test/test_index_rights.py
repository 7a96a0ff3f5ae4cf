"""Indexes serve those who see their own rows only: under row-level security a condition reaches one if it is leakproof."""
import re

import pytest

from streams import create, sync

ORDERS = 300


@pytest.fixture
def owned(linked, mdb):
    """A stream of a role that owns nothing else, and a connection of that role."""
    linked.execute("DROP ROLE IF EXISTS shopkeeper")
    linked.execute("CREATE ROLE shopkeeper LOGIN")
    linked.execute("GRANT USAGE ON FOREIGN SERVER mongo TO shopkeeper")
    linked.execute("GRANT CREATE ON SCHEMA public TO shopkeeper")
    create(linked, "others", collection="others")
    owner = linked.connect(user="shopkeeper")
    owner.execute("SELECT create_change_stream('orders', server => 'mongo', collection => 'orders')")
    for collection in (mdb.orders, mdb.others):
        collection.insert_many([{"_id": n, "number": f"A-{n}", "total": n / 2, "status": "shipped" if n == 7 else "new", "placed": None,
                                 "customer": {"zipCode": str(3000 + n)}} for n in range(ORDERS)])
        collection.update_one({"_id": 7}, {"$currentDate": {"placed": True}})
        collection.update_one({"_id": 8}, {"$set": {"total": 1000}})
    sync(linked, "orders")
    sync(linked, "others")
    yield owner
    owner.close()
    linked.execute("SELECT drop_change_stream('orders')")
    linked.execute("DROP OWNED BY shopkeeper")
    linked.execute("DROP ROLE shopkeeper")


def test_the_examples_of_the_docs_reach_their_indexes(linked, owned, repository):
    page = (repository / "docs" / "document.md").read_text()
    indexes = re.findall(r"^(CREATE INDEX ON change_stream_events .*);$", page, re.M)
    asked = [(instead.replace("\\|", "|"), wanted.replace("\\|", "|")) for instead, wanted in re.findall(r"^\| `(.*?)` (?:\(the dialect's\) )?\| `(.*?)` \|$", page, re.M)
             if wanted.startswith(("full_document", "changed_fields", "document_get"))]
    assert len(indexes) == 6 and len(asked) == 7
    for index in indexes:
        linked.execute(index)
    linked.execute("ANALYZE change_stream_events")
    # so few rows are read faster without; whether an index can serve is the question
    owned.execute("SET enable_seqscan = off")
    for instead, wanted in asked:
        plan = "\n".join(row[0] for row in owned.execute(f"EXPLAIN (ANALYZE, COSTS off, TIMING off) SELECT event_id FROM change_stream_events WHERE {wanted}").fetchall())
        assert "Index Cond" in plan, plan
        assert owned.execute(f"SELECT count(*) FROM change_stream_events WHERE stream_name <> 'orders' AND {wanted}").fetchone()[0] == 0
        found = owned.execute(f"SELECT event_id FROM change_stream_events WHERE {wanted} ORDER BY 1").fetchall()
        if ".zip_code" not in instead:
            assert owned.execute(f"SELECT event_id FROM change_stream_events WHERE {instead} ORDER BY 1").fetchall() == found, wanted
        assert found or "placed" in wanted or "zip_code" in wanted, wanted
