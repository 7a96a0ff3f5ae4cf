-- A shop's collections as tables that equal them, joined with what only this database knows.
--
-- One stream feeds all mirrors of the database: one process, one cursor on MongoDB. Each table is, at every commit, its
-- collection at one moment of MongoDB's, and all of them show the same one.

SELECT create_change_stream('shop', keep_events => false);

-- A table of one's own: keys, types, constraints and columns as they are wanted. A mirror fills those that it names.
CREATE TABLE customers (
  _id text PRIMARY KEY,
  name text,
  country text,
  credit numeric NOT NULL DEFAULT 0                             -- the accountants' column: no document has it
);
SELECT create_change_mirror('customers', stream_name => 'shop', columns => 'name text = name, country text = address.country');

-- The table is made: _id, document and changed_at beside these. Cancelled orders are none of ours.
SELECT create_change_mirror('orders', stream_name => 'shop', filter => $$ status <> 'cancelled' $$,
  columns => 'customer_id text = customerId, status text = status, total numeric = total, placed_at timestamptz = createdAt');
CREATE INDEX ON orders (customer_id);

-- An array of documents, a row each; its elements keep their types.
CREATE VIEW order_items AS
SELECT o._id AS order_id, o.customer_id, item ->> 'sku' AS sku, (item -> 'quantity')::int AS quantity, (item -> 'price')::numeric AS price
FROM orders o, document_elements(o.document['items']) AS item;

CREATE VIEW customer_accounts AS
SELECT c._id, c.name, c.country, c.credit, count(o.*) AS orders, coalesce(sum(o.total), 0) AS ordered,
       coalesce(sum(o.total) FILTER (WHERE o.status = 'placed'), 0) > c.credit AS over_credit
FROM customers c LEFT JOIN orders o ON o.customer_id = c._id
GROUP BY c._id;

-- How they are, and which moment of MongoDB's the tables show.
SELECT mirror_name, state, reason, documents_done, documents_estimated, exact_at FROM change_mirror_status ORDER BY mirror_name;
