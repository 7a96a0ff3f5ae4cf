-- Six services, routed by what happened.
--
-- Each service is a handler of one stream: it sees the events that its condition lets through, in order, once; it has its
-- own position and its own dead letters, and waits for no other.

CREATE TABLE inventory_reservations (order_id text, sku text, quantity int, PRIMARY KEY (order_id, sku));
CREATE TABLE payment_attempts (order_id text, state text, at timestamptz, PRIMARY KEY (order_id, state));
CREATE TABLE shipments (order_id text PRIMARY KEY, method text, packed_at timestamptz);
CREATE TABLE notification_queue (id bigserial PRIMARY KEY, recipient text, kind text, order_id text);
CREATE TABLE order_statistics (day date, operation text, events bigint, PRIMARY KEY (day, operation));
CREATE TABLE customers (customer text PRIMARY KEY, orders int, spent numeric);

-- updateLookup: updates, too, come with the order as a whole
SELECT create_change_stream('orders', collection => 'orders', full_document => 'updateLookup');

-- inventory: new orders reserve, cancelled and deleted ones release
SELECT create_change_handler('inventory', 'orders',
  condition => $$ operation_type IN ('insert', 'delete') OR 'status' = ANY (changed_fields) $$,
  body => $$
  BEGIN
    IF change.operation_type = 'insert' THEN
      INSERT INTO inventory_reservations
      SELECT change.document_key ->> '_id', item ->> 'sku', (item -> 'quantity')::int
      FROM document_elements(change.full_document['items']) AS item;
    ELSIF change.operation_type = 'delete' OR change.full_document ->> 'status' = 'cancelled' THEN
      DELETE FROM inventory_reservations WHERE order_id = change.document_key ->> '_id';
    END IF;
  END $$);

-- payment: whatever happens to payment.state; patient, since somebody else's service may be down
SELECT create_change_handler('payment', 'orders',
  condition => $$ operation_type = 'insert' OR 'payment.state' = ANY (changed_fields) $$,
  retry_attempts => 20, max_retry_delay => '10 minutes',
  body => $$
    INSERT INTO payment_attempts
    VALUES (change.document_key ->> '_id', change.full_document['payment'] ->> 'state', change.change_timestamp)
    ON CONFLICT DO NOTHING $$);

-- fulfilment: orders that are paid now
SELECT create_change_handler('fulfilment', 'orders',
  condition => $$ 'payment.state' = ANY (changed_fields) AND full_document['payment'] ->> 'state' = 'captured' $$,
  body => $$
    INSERT INTO shipments VALUES (change.document_key ->> '_id', change.full_document['shipping'] ->> 'method', now())
    ON CONFLICT DO NOTHING $$);

-- notification: a message for each step that the customer sees; one without an address is not worth another try
SELECT create_change_handler('notification', 'orders', retry_attempts => 0,
  condition => $$ operation_type = 'insert' OR 'status' = ANY (changed_fields) $$,
  body => $$
  BEGIN
    IF change.full_document['customer'] ->> 'email' IS NULL THEN
      RAISE EXCEPTION 'order % has no address to write to', change.document_key ->> '_id';
    END IF;
    INSERT INTO notification_queue (recipient, kind, order_id)
    VALUES (change.full_document['customer'] ->> 'email', 'order_' || (change.full_document ->> 'status'), change.document_key ->> '_id');
  END $$);

-- analytics: everything
SELECT create_change_handler('analytics', 'orders',
  body => $$
    INSERT INTO order_statistics VALUES (change.cluster_time::date, change.operation_type, 1)
    ON CONFLICT (day, operation) DO UPDATE SET events = order_statistics.events + 1 $$);

-- customer: a procedure that was there before; several processes, since customers do not depend on each other's orders
CREATE PROCEDURE note_customer(change change_stream_events) LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO customers
  VALUES (change.full_document['customer'] ->> 'name', 1, (change.full_document['total'])::numeric)
  ON CONFLICT (customer) DO UPDATE SET orders = customers.orders + 1, spent = customers.spent + excluded.spent;
END $$;
SELECT create_change_handler('customer', 'orders', procedure => 'note_customer', condition => $$ operation_type = 'insert' $$, workers => 2);

-- how they are doing
SELECT handler_name, state, reason, behind FROM change_handler_status ORDER BY handler_name;
