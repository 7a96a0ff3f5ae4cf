-- What the first start of the tour makes: a copy of the shop's orders, the events, and revenue by customer.
CREATE EXTENSION mongo_change_stream;
CREATE SERVER mongo FOREIGN DATA WRAPPER mongo_change_stream
  OPTIONS (uri 'mongodb://mongo:27017/?replicaSet=rs0', database 'shop');
SELECT create_change_mirror('orders', columns => 'status text = status, customer text = customer.name, total int = total');
SELECT create_change_stream('order_events', collection => 'orders', full_document => 'updateLookup');
CREATE TABLE revenue (customer text PRIMARY KEY, total numeric NOT NULL);
SELECT create_change_handler('revenue', 'order_events', condition => $$operation_type = 'insert'$$, body => $$
BEGIN
  INSERT INTO revenue AS r VALUES (change.full_document.customer.name, change.full_document.total)
  ON CONFLICT (customer) DO UPDATE SET total = r.total + excluded.total;
END $$);
