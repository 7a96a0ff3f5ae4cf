"""The examples do what they say."""
import subprocess
import sys

import pytest

from handlers import sync
from harness.machine import wait_until


@pytest.fixture
def example(linked, postgres, repository):
    """Runs an example's SQL as psql would."""
    return lambda name: postgres.psql((repository / "examples" / name).read_text(), linked.name)


def test_mirror(linked, mdb, example):
    mdb.customers.insert_many({"_id": name, "name": name.title(), "address": {"country": "AT"}} for name in ("ann", "bob"))
    mdb.orders.insert_many({"_id": number, "customerId": ("ann", "bob")[number % 2], "status": "placed", "total": 10 * number,
                            "items": [{"sku": f"s{number}", "quantity": number, "price": 10}]} for number in range(1, 5))
    example("mirror.sql")
    for mirror in ("customers", "orders"):
        linked.wait_for("SELECT exact_at IS NOT NULL FROM change_mirror_status WHERE mirror_name = %s", mirror)
    linked.execute("UPDATE customers SET credit = 50 WHERE _id = 'bob'")
    with mdb.client.start_session() as session:
        mdb.orders.update_one({"_id": 2}, {"$set": {"status": "cancelled"}}, session=session)
        mdb.customers.update_one({"_id": "bob"}, {"$set": {"address.country": "FR"}}, session=session)
        written = session.operation_time
    assert linked.value("SELECT sync_change_stream('shop', operation_time => %s)", f'{{"$timestamp": {{"t": {written.time}, "i": {written.inc}}}}}')
    assert linked.execute("SELECT _id, country, orders, ordered, over_credit FROM customer_accounts ORDER BY 1") == \
        [("ann", "AT", 1, 40, True), ("bob", "FR", 2, 40, False)]
    assert linked.execute("SELECT sku, quantity, price FROM order_items ORDER BY 1") == [("s1", 1, 10), ("s3", 3, 10), ("s4", 4, 10)]
    for mirror in ("customers", "orders"):
        assert linked.execute("SELECT * FROM check_change_mirror(%s)", mirror) == []


def test_services(linked, mdb, example):
    example("services.sql")
    for number in range(1, 6):
        customer = {"name": "ab"[number % 2], **({"email": f"{number}@example.com"} if number != 3 else {})}
        mdb.orders.insert_one({"_id": number, "status": "placed", "customer": customer, "total": number * 10.5, "payment": {"state": "open"},
                               "shipping": {"method": "express"}, "items": [{"sku": "x", "quantity": number}, {"sku": "y", "quantity": 1}]})
    # one after the other: the order of now comes with each update
    for change in ({"payment.state": "captured"}, {"status": "shipped"}):
        mdb.orders.update_one({"_id": 1}, {"$set": change})
        assert linked.value("SELECT sync_change_stream('orders')")
    mdb.orders.update_one({"_id": 2}, {"$set": {"status": "cancelled"}})
    assert linked.value("SELECT sync_change_stream('orders')")
    mdb.orders.delete_one({"_id": 5})
    sync(linked, "orders")
    assert linked.execute("SELECT DISTINCT order_id FROM inventory_reservations ORDER BY 1") == [("1",), ("3",), ("4",)]
    assert linked.value("SELECT quantity FROM inventory_reservations WHERE (order_id, sku) = ('4', 'x')") == 4
    assert linked.execute("SELECT order_id, state FROM payment_attempts WHERE order_id = '1' ORDER BY at") == [("1", "open"), ("1", "captured")]
    assert linked.execute("SELECT order_id, method FROM shipments") == [("1", "express")]
    assert linked.execute("SELECT recipient, kind FROM notification_queue ORDER BY id") == \
        [(f"{number}@example.com", "order_placed") for number in (1, 2, 4, 5)] + [("1@example.com", "order_shipped"), ("2@example.com", "order_cancelled")]
    assert linked.execute("SELECT handler_name, event_id FROM change_stream_dead_letters") == [("notification", 3)]
    assert linked.execute("SELECT operation, events FROM order_statistics ORDER BY 1") == [("delete", 1), ("insert", 5), ("update", 3)]
    assert linked.execute("SELECT customer, orders, spent FROM customers ORDER BY 1") == [("a", 2, 63), ("b", 3, 94.5)]


def test_event_store(linked, mdb, example):
    example("event_store.sql")
    mdb.movements.insert_many([{"account": "ab"[number % 2], "kind": ("deposited", "withdrawn")[number % 3 == 0], "amount": number}
                               for number in range(1, 31)])
    sync(linked, "movements")
    balances = linked.execute("SELECT * FROM account_balances ORDER BY account")
    assert [row[:3] for row in balances] == [("a", 60, 15), ("b", 75, 15)]
    assert linked.row("SELECT count(*), max(version) FROM account_events") == (30, 15)
    linked.execute("UPDATE account_balances SET balance = 0")
    linked.execute("CALL rebuild_balances()")
    assert linked.execute("SELECT * FROM account_balances ORDER BY account") == balances
    mdb.movements.insert_one({"account": "a", "kind": "deposited", "amount": 1})
    sync(linked, "movements")
    assert linked.value("SELECT balance FROM account_balances WHERE account = 'a'") == 61
    assert linked.value("SELECT count(*) FROM account_events") == 31


def test_saga(linked, mdb, example):
    example("saga.sql")
    linked.execute("INSERT INTO balances VALUES ('ann', 100), ('bob', 10)")
    linked.execute("INSERT INTO stock VALUES ('chair', 3)")
    orders = [(1, "ann", 2, 40), (2, "ann", 2, 50), (3, "bob", 1, 20), (4, "ann", 1, 30)]
    for number, customer, quantity, amount in orders:
        mdb.orders.insert_one({"_id": number, "customer": customer, "sku": "chair", "quantity": quantity, "amount": amount, "saga": {"state": "new"}})
        expected = {1: "packed", 2: "compensated", 3: "refused", 4: "packed"}[number]
        wait_until(lambda: mdb.orders.find_one({"_id": number})["saga"]["state"] == expected, 20, f"order {number} is {expected}")
    sync(linked, "orders")
    assert linked.execute("SELECT * FROM balances ORDER BY 1") == [("ann", 30), ("bob", 10)]
    assert linked.value("SELECT on_hand FROM stock") == 0
    assert linked.execute("SELECT order_id, step, state FROM saga_log ORDER BY at") == [
        ("1", "pay", "paid"), ("1", "pack", "packed"), ("2", "pay", "paid"), ("2", "pack", "unavailable"), ("2", "pay_back", "compensated"),
        ("3", "pay", "refused"), ("4", "pay", "paid"), ("4", "pack", "packed")]
    assert linked.value("SELECT count(*) FROM change_stream_dead_letters") == 0


def test_windows(linked, mdb, example):
    example("windows.sql")
    linked.execute("INSERT INTO window_thresholds VALUES ('DE', 50)")
    with linked.connect() as listener:
        listener.execute("LISTEN order_alerts")
        for number in range(1, 11):
            mdb.orders.insert_one({"country": "DE" if number % 2 else "FR", "total": number * 5})
        sync(linked, "orders")
        alerts = [notice.payload for notice in listener.notifies(timeout=2)]
    # the sum of the odd ones passes 50 with the fourth; unless five minutes were just over
    windows = linked.execute("SELECT country, sum(orders), sum(total) FROM order_windows GROUP BY 1 ORDER BY 1")
    assert windows == [("DE", 5, 125), ("FR", 5, 150)]
    assert len(alerts) == linked.value("SELECT count(*) FROM order_windows WHERE alerted") and 1 <= len(alerts) <= 2
    assert '"country" : "DE"' in alerts[0]


def test_consumer(linked, postgres, mdb, repository):
    linked.execute("SELECT create_change_stream('orders', collection => 'c')")
    command = [sys.executable, repository / "examples" / "consumer.py", f"host={postgres.folder} port={postgres.port} user=postgres dbname={linked.name}",
               "orders"]
    mdb.c.insert_many([{"_id": number} for number in range(1, 801)])
    assert linked.value("SELECT sync_change_stream('orders')")
    said = subprocess.run([*command, "--once"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f"{number} insert {number}" for number in range(1, 801)]
    waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        mdb.c.delete_one({"_id": 7})
        assert waiting.stdout.readline() == "801 delete 7\n"
        linked.wait_for("SELECT max(event_id) FROM consumed", expect=801)
        # its connection breaks, and a key comes that no text can hold
        assert linked.value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                            " WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid()") == 1
        mdb.c.insert_one({"_id": "zero\0character", "n": float("nan")})
        assert waiting.stdout.readline() == "802 insert zero\ufffdcharacter\n"
        linked.wait_for("SELECT count(*) FROM consumed", expect=802)
    finally:
        waiting.kill()
        waiting.wait()
    # as README's consumer reads it, which the cast could not
    assert linked.value("SELECT document_to_jsonb_lenient(full_document) FROM change_stream_events WHERE event_id = 802") == \
        {"_id": "zero\ufffdcharacter", "n": {"$numberDouble": "NaN"}}
