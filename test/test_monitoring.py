"""What monitoring/ has for Prometheus and Grafana: it names what there is, and by the real programs every expression has data and alerts fire."""
import os
import re
import time

import pytest

import dashboard
import monitoring
from harness.machine import wait_until
from streams import create, sync, wait_state

COMPARED = re.compile(r" (?:==|>) ")


def expressions(repository):
    rules = re.findall(r"^ +expr: '(.*)'$", (repository / "monitoring/alerts.yaml").read_text(), re.M)
    return rules, [target["expr"] for panel in monitoring.panels() for target in panel["targets"]]


def test_names_of_metrics(repository):
    """Alerts, panels and the page name metrics that the queries make, and each of these is used."""
    known = monitoring.metrics()
    rules, panels = expressions(repository)
    assert len(known) > 15 and len(rules) > 10 and len(panels) > 10
    used = {name for expression in rules + panels for name in re.findall(r"\bchange_\w+", expression)}
    assert used - known == set()
    page = (repository / "docs/monitoring.md").read_text()
    assert known - set(re.findall(r"`(change_\w+)`", page)) == set()
    assert set(re.findall(r"`(Change\w+)`", page)) == set(re.findall(r"alert: (\w+)", (repository / "monitoring/alerts.yaml").read_text()))


def test_states(db, repository):
    """The queries know the states that the views have."""
    text = (repository / "monitoring/queries.yaml").read_text()
    for kind in ("stream", "handler", "mirror", "projection"):
        listed, = re.findall(rf"FROM change_{kind}_status s\n +CROSS JOIN unnest\('{{([\w,]+)}}'", text)
        said = db.value(f"SELECT col_description(attrelid, attnum) FROM pg_attribute WHERE attrelid = 'change_{kind}_status'::regclass AND attname = 'state'")
        missing = [state for state in listed.split(",") if kind != "mirror" and state not in said]
        assert not missing, (kind, said)


@pytest.fixture
def shop(linked, mongo, mdb, proxy, postgres, repository):
    """A shop with a stream, two mirrors and handlers, one of which cannot do its work; MongoDB is reached through a proxy."""
    linked.execute(f"ALTER SERVER mongo OPTIONS (SET uri '{mongo.direct_uri(proxy.port)}')")
    mdb.orders.insert_many({"_id": number, "status": "placed", "total": number % 90} for number in range(5000))
    linked.execute("SELECT create_change_mirror('orders', columns => 'status text = status, total int = total')")
    linked.execute("SELECT create_change_mirror('customers')")
    for stream in ("order_events", "customer_events"):
        create(linked, stream, collection=stream.replace("_events", "s"))
    linked.execute("CREATE TABLE revenue (total numeric); INSERT INTO revenue VALUES (0)")
    linked.execute("""SELECT create_change_handler('revenue', 'order_events', condition => $$operation_type = 'insert'$$, body => $$
        BEGIN UPDATE revenue SET total = total + (change.full_document -> 'total')::numeric; END $$)""")
    linked.execute("""SELECT create_change_handler('mails', 'customer_events', retry_attempts => 1, retry_delay => '100 ms', body => $$
        BEGIN IF change.full_document ->> 'mail' IS NULL THEN RAISE 'nobody to write to'; END IF; END $$)""")
    linked.execute("""CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM change_stream_events WHERE stream_name = 'order_events';
                      SELECT create_change_projection('totals')""")
    for stream in ("orders", "customers", "order_events", "customer_events"):
        wait_state(linked, stream, "active")
    postgres.psql((repository / "monitoring/role.sql").read_text(), linked.name)
    return linked


def trade(mdb, seconds):
    """So many seconds of orders, more and less of them."""
    begin, number = time.monotonic(), mdb.orders.count_documents({})
    while (passed := time.monotonic() - begin) < seconds:
        for _ in range(1 + int(passed * 2) % 9):
            number += 1
            mdb.orders.insert_one({"_id": number, "status": "placed", "total": number % 90})
            mdb.orders.update_one({"_id": number - 7}, {"$set": {"status": "paid"}})
        mdb.customers.replace_one({"_id": number % 20}, {"mail": f"{number}@example.com"}, upsert=True)
        time.sleep(0.1)


def fires(prometheus, alert, **labels):
    """Waits until an alert fires for these labels."""
    wait_until(lambda: any(name == alert and labels.items() <= found.items() for name, found in prometheus.firing()), 40,
               f"{alert} fires, not only {prometheus.firing()}", pause=0.3)


@pytest.mark.extras
@pytest.mark.timeout(400)
def test_real_programs(shop, mdb, machine, proxy, repository):
    prometheus = monitoring.Prometheus(machine, shop, "monitor")
    trade(mdb, 15)
    rules, panels = expressions(repository)
    assert sorted(rule["query"] for rule in prometheus.rules()) and len(prometheus.rules()) == len(rules)
    for expression in [COMPARED.split(rule)[0] for rule in rules] + [monitoring.typed(panel) for panel in panels]:
        assert wait_until(lambda: prometheus.query(expression), 10, f"{expression} has data")
    assert {name for name, _ in prometheus.firing()} == set()
    assert prometheus.query('sum(change_stream_status_in_state{state="active"})')[0][1] == 4

    # what a person is to hear of
    mdb.customers.insert_one({"_id": "nobody"})
    fires(prometheus, "ChangeDeadLetters", handler_name="mails")
    shop.execute("ALTER TABLE orders ADD CHECK (total >= 0)")
    mdb.orders.insert_one({"_id": -1, "total": -5})
    fires(prometheus, "ChangeMirrorStopped", mirror_name="orders")
    shop.execute("ALTER TABLE change_stream_events ADD CHECK (stream_name <> 'order_events' OR (full_document -> 'total')::numeric < 1000)")
    mdb.orders.insert_one({"_id": -2, "total": 5000})
    fires(prometheus, "ChangeStreamStopped", stream_name="order_events", state="error")
    shop.execute("CREATE TABLE noted (n int); CREATE MATERIALIZED VIEW broken AS SELECT 1 / count(*) FROM noted WITH NO DATA; "
                 "SELECT create_change_projection('broken', refresh => '1 second')")
    fires(prometheus, "ChangeProjectionFails", view_name="public.broken")
    shop.execute("DROP MATERIALIZED VIEW broken")
    shop.execute("SELECT pause_change_stream('customer_events')")
    fires(prometheus, "ChangeStreamPaused", stream_name="customer_events")
    trade(mdb, 8)
    proxy.refuse = True
    proxy.reset()
    fires(prometheus, "ChangeStreamRetrying", stream_name="orders")
    proxy.refuse = False

    # and that it is over
    shop.execute("SELECT resume_change_stream('customer_events')")
    shop.execute("ALTER TABLE change_stream_events DROP CONSTRAINT change_stream_events_check")
    shop.execute("SELECT resume_change_stream('order_events'); SELECT discard_dead_letters('mails')")
    shop.execute("ALTER TABLE orders DROP CONSTRAINT orders_total_check; SELECT resync_change_mirror('orders')")
    sync(shop, "order_events")
    wait_until(lambda: not prometheus.firing(), 60, "all is well again")
    trade(mdb, 8)
    if os.environ.get("PICTURE"):
        (repository / "docs/monitoring.svg").write_text(dashboard.draw(prometheus))

    # who cannot see is noticed, too
    shop.execute("REVOKE EXECUTE ON FUNCTION change_stream_dead_letter_counts() FROM PUBLIC")
    fires(prometheus, "ChangeStreamsNotSeen")


def test_rights_of_the_role(shop, mdb, postgres):
    """It sees how all of it is, counts dead letters, and reads neither events nor dead letters."""
    mdb.customers.insert_one({"_id": 1})
    shop.wait_for("SELECT count(*) FROM change_stream_dead_letters", expect=1)
    with shop.connect(user="monitor") as monitor:
        def value(statement):
            return monitor.execute(statement).fetchone()[0]

        assert value("SELECT count(*) FROM change_stream_status WHERE state = 'active'") == 4
        assert value("SELECT count(*) FROM change_stream_events") == value("SELECT count(*) FROM change_stream_dead_letters") == 0
        assert value("SELECT waiting FROM change_stream_dead_letter_counts() WHERE handler_name = 'mails'") == 1
        assert value("SELECT dead_letters FROM change_handler_status WHERE handler_name = 'mails'") == 1
    shop.execute("CREATE ROLE stranger LOGIN")
    with shop.connect(user="stranger") as stranger:
        assert stranger.execute("SELECT count(*) FROM change_stream_dead_letter_counts()").fetchone() == (0,)
