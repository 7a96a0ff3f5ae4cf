"""A shop that places, pays, ships and cancels orders in MongoDB, and counts what it wrote."""
import datetime
import random
import threading

CUSTOMERS = [("Ada Lovelace", "gold"), ("Alan Turing", "silver"), ("Grace Hopper", "platinum"), ("Edsger Dijkstra", "bronze"),
             ("Barbara Liskov", "gold"), ("Donald Knuth", "silver"), ("Radia Perlman", "bronze")]
GOODS = [("TEA-01", 7.90), ("MUG-02", 12.50), ("POT-03", 34.00), ("CAKE-04", 4.20), ("TRAY-05", 21.00)]


class Shop:
    """Writes at a given rate in a thread of its own, until told to stop."""

    def __init__(self):
        self.orders = None  # the collection
        self.random = random.Random(7)
        self.next_number = 1001
        self.placed, self.paid, self.cancelled = [], [], []
        self.writes = 0
        self._rest = threading.Event()
        self._thread = None

    def _order(self, status):
        name, tier = self.random.choice(CUSTOMERS)
        items = [{"sku": sku, "price": price, "quantity": self.random.randint(1, 3)}
                 for sku, price in self.random.sample(GOODS, self.random.randint(1, 3))]
        total = round(sum(item["price"] * item["quantity"] for item in items), 2)
        self.next_number += 1
        return {"_id": self.next_number - 1, "customer": {"name": name, "tier": tier}, "items": items, "total": total, "status": status,
                "createdAt": datetime.datetime.now(datetime.timezone.utc)}

    def fill(self, count):
        """Orders from before; the last of them are still in work."""
        open_ones = 300
        self.orders.insert_many([self._order("shipped") for _ in range(count - open_ones)])
        last = [self._order("paid") for _ in range(open_ones)]
        self.orders.insert_many(last)
        self.paid += [order["_id"] for order in last]

    def _place(self):
        order = self._order("placed")
        self.orders.insert_one(order)
        self.placed.append(order["_id"])

    def _move(self, source, target, status):
        number = source.pop(self.random.randrange(len(source)))
        self.orders.update_one({"_id": number}, {"$set": {"status": status}})
        target.append(number)

    def _forget(self):
        self.orders.delete_one({"_id": self.cancelled.pop(0)})

    def write(self):
        """One change: an order is placed, paid, shipped or cancelled, or a cancelled one is deleted."""
        dice = self.random.random()
        if dice < 0.40 or not self.placed:
            self._place()
        elif dice < 0.65:
            self._move(self.placed, self.paid, "paid")
        elif dice < 0.85 and self.paid:
            self._move(self.paid, [], "shipped")
        elif dice < 0.95 or not self.cancelled:
            self._move(self.placed, self.cancelled, "cancelled")
        else:
            self._forget()
        self.writes += 1

    def open(self, rate):
        """Begins to write, so many changes a second."""
        def work():
            while not self._rest.wait(1 / rate):
                self.write()

        self._rest.clear()
        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def close(self):
        """Stops writing; returns the number of changes so far."""
        self._rest.set()
        if self._thread is not None:
            self._thread.join()
        return self.writes
