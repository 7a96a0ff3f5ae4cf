-- A saga: an order is paid, then packed; if it cannot be packed, the payment is given back.
--
-- Each step is a handler: it does its part in Postgres and writes the order's new state back to MongoDB, whose change event
-- starts the next step.  What a step writes comes back to it as an event, too: it carries the step's name, and the step's
-- condition leaves it out.
--
-- A command sent to MongoDB is not undone when a transaction is rolled back, and may be sent again.  So each is an update of
-- the order in the very state that it leaves: a second time it finds nothing to do.

CREATE TABLE balances (customer text PRIMARY KEY, balance numeric NOT NULL CHECK (balance >= 0));
CREATE TABLE stock (sku text PRIMARY KEY, on_hand int NOT NULL CHECK (on_hand >= 0));
CREATE TABLE saga_log (event_id bigint, order_id text, step text, state text, at timestamptz DEFAULT clock_timestamp());

-- Moves an order from one state to another; says by which step and which event.
CREATE FUNCTION move_order(change change_stream_events, step text, old_state text, new_state text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
  reply document;
BEGIN
  INSERT INTO saga_log VALUES (change.event_id, change.document_key ->> '_id', step, new_state);
  reply := mongo_command(document_build_object(
    'update', 'orders',
    'updates', document_build_array(document_build_object(
      'q', document_build_object('_id', change.document_key['_id'], 'saga.state', to_document(old_state)),
      'u', document_build_object('$set', document_build_object(
        'saga', document_build_object('state', new_state, 'by', step, 'cause', change.event_id))))),
    'writeConcern', document_build_object('w', 'majority')));
  IF reply ? 'writeErrors' THEN
    RAISE 'MongoDB refused to move order %: %', change.document_key ->> '_id', reply ->> 'writeErrors';
  END IF;
END $$;

-- orders are inserted as {customer: …, sku: …, quantity: …, amount: …, saga: {state: 'new'}}
SELECT create_change_stream('orders', collection => 'orders', full_document => 'updateLookup', operations => '{insert,update,replace}');

SELECT create_change_handler('pay', 'orders',
  condition => $$ operation_type = 'insert' AND full_document['saga'] ->> 'state' = 'new' $$,
  body => $$
  BEGIN
    UPDATE balances SET balance = balance - (change.full_document['amount'])::numeric
    WHERE customer = change.full_document ->> 'customer' AND balance >= (change.full_document['amount'])::numeric;
    PERFORM move_order(change, 'pay', 'new', CASE WHEN FOUND THEN 'paid' ELSE 'refused' END);
  END $$);

-- the state as this event wrote it, not as the order is by now
SELECT create_change_handler('pack', 'orders',
  condition => $$ update_description['updatedFields']['saga'] ->> 'state' = 'paid'
                  AND update_description['updatedFields']['saga'] ->> 'by' <> 'pack' $$,
  body => $$
  BEGIN
    UPDATE stock SET on_hand = on_hand - (change.full_document['quantity'])::int
    WHERE sku = change.full_document ->> 'sku' AND on_hand >= (change.full_document['quantity'])::int;
    PERFORM move_order(change, 'pack', 'paid', CASE WHEN FOUND THEN 'packed' ELSE 'unavailable' END);
  END $$);

-- the compensation of pay
SELECT create_change_handler('pay_back', 'orders',
  condition => $$ update_description['updatedFields']['saga'] ->> 'state' = 'unavailable' $$,
  body => $$
  BEGIN
    UPDATE balances SET balance = balance + (change.full_document['amount'])::numeric
    WHERE customer = change.full_document ->> 'customer';
    PERFORM move_order(change, 'pay_back', 'unavailable', 'compensated');
  END $$);
