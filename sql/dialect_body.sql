-- PL/pgSQL blocks in which "change" is an event: what they become, and that they run

\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
CREATE SCHEMA dialect_test;
SET search_path = dialect_test, public;
CREATE TABLE orders (full_document document);
CREATE TABLE notification_queue (recipient text, type text, message text, data jsonb);
CREATE TABLE log (id bigint, status text);
CREATE TABLE metrics (stream_name text, events_processed bigint, last_processed_at timestamptz);
CREATE PROCEDURE process_new_order(d document) LANGUAGE sql AS 'INSERT INTO log VALUES (0, document_text(d[''status'']))';
CREATE PROCEDURE process_status_change(d document, s text) LANGUAGE sql AS 'INSERT INTO log VALUES (1, s)';
CREATE PROCEDURE process_payment_status_change(d jsonb, s text) LANGUAGE sql AS 'INSERT INTO log VALUES (2, s)';
CREATE TABLE blocks (body text);
INSERT INTO blocks VALUES ($q$<<outer>>
DECLARE
  v_status text := change.full_document.status;
  v_total numeric;
  v_n int = 0; r record; v_row orders%ROWTYPE; v_op change_stream_events.operation_type%TYPE;
  c CURSOR FOR SELECT full_document.x FROM orders WHERE full_document.id = change.full_document.id;
BEGIN
  -- Route
  CASE change.operation_type
    WHEN 'insert', 'replace' THEN
      CALL process_new_order(change.full_document);
      INSERT INTO notification_queue (recipient, type, message, data)
      VALUES (change.full_document.customer.email, 'order_confirmation', 'Your order', change.full_document);
    WHEN 'update' THEN
      IF change.changed_fields CONTAINS 'status' THEN
        CALL process_status_change(change.full_document, change.update_description.updated_fields.status);
      ELSIF change.changed_fields CONTAINS 'payment.status' AND change.full_document.total > 5 THEN
        CALL process_payment_status_change(change.full_document, change.update_description.updated_fields['payment.status']);
      END IF;
    ELSE NULL;
  END CASE;
  CASE change.full_document.status WHEN 'paid' THEN v_total := change.full_document.total; ELSE v_total := CASE WHEN change.full_document.a = 'x' THEN 1 ELSE 2 END; END CASE;
  SELECT full_document.status, full_document.n INTO STRICT v_status, v_n FROM orders WHERE full_document.id = change.full_document.id;
  FOR r IN SELECT full_document.item AS item, 1 AS one FROM orders LOOP
    IF r.item.sku = 'x' AND r.one = 1 THEN RAISE NOTICE 'item % of %', r.item.name, change.ns.coll; END IF;
    CONTINUE WHEN r.item = 'y';
  END LOOP;
  FOR i IN 1 .. change.full_document.n LOOP PERFORM pg_notify('x', change.full_document.status || i); END LOOP;
  UPDATE metrics SET events_processed = events_processed + 1, last_processed_at = CURRENT_TIMESTAMP WHERE stream_name = 'order_status_changes';
  BEGIN
    INSERT INTO log VALUES (change.event_id, v_status);
  EXCEPTION WHEN unique_violation OR others THEN
    RAISE EXCEPTION 'x %', change.full_document._id USING HINT = change.full_document.hint, ERRCODE = 'P0001';
  END;
  WHILE v_n < change.full_document.n LOOP v_n := v_n + 1; END LOOP;
  EXECUTE 'SELECT $1' INTO v_status USING change.full_document.a, v_n;
  RETURN;
END outer;$q$);

SELECT change_stream_translate_body(body) FROM blocks;
SELECT change_stream_translate_body(change_stream_translate_body(body)) = change_stream_translate_body(body) FROM blocks;
SELECT format('CREATE FUNCTION handle(change change_stream_events) RETURNS void LANGUAGE plpgsql AS %L', change_stream_translate_body(body)) FROM blocks
\gexec
SET client_min_messages = notice;
INSERT INTO orders VALUES ('{"id": 7, "status": "paid", "n": 2, "item": {"sku": "x", "name": "bolt"}}');
CREATE FUNCTION event(operation text, changed text[], image document, description document) RETURNS change_stream_events LANGUAGE plpgsql AS $$
DECLARE
  e change_stream_events;
BEGIN
  e.operation_type := operation;
  e.changed_fields := changed;
  e.full_document := image;
  e.update_description := description;
  e.collection_name := 'orders';
  e.event_id := 5;
  RETURN e;
END $$;
SELECT handle(event('insert', NULL, '{"_id": 1, "id": 7, "status": "new", "customer": {"email": "a@b"}, "n": 1, "total": 5, "a": "x"}', '{}'));
SELECT handle(event('update', '{payment.status}', '{"_id": 1, "id": 7, "status": "paid", "n": 1, "total": 7, "a": "x"}', '{"updatedFields": {"payment.status": "captured"}}'));
SELECT * FROM log;
SELECT recipient, type, message, data->>'status' FROM notification_queue;

-- PL/pgSQL's own variables
SELECT change_stream_translate_body('BEGIN IF FOUND AND change.full_document.a THEN NULL; END IF;
  EXCEPTION WHEN OTHERS THEN INSERT INTO log VALUES (1, SQLSTATE || SQLERRM || change.full_document.a); END');

-- what is plain stays
SELECT change_stream_translate_body(b) = b FROM (VALUES ('BEGIN END'), ('BEGIN NULL; END;'), ('DECLARE x int; BEGIN x := 1; PERFORM nosuch(x); END'),
  ('BEGIN INSERT INTO log VALUES (change.event_id, change.operation_type); END'), ('BEGIN IF x THEN y; END IF; END'), (''), ('no block at all'),
  ('BEGIN RAISE NOTICE ''%'', change.full_document[''a'']; END')) AS v(b);

-- on a batch of events
SELECT change_stream_translate_body('DECLARE n int; c record;
BEGIN
  PERFORM c.event_id, c.full_document.customer.email FROM changes c WHERE c.full_document.status = ''new'';
  SELECT count(*) INTO n FROM changes WHERE changed_fields CONTAINS ''status'';
  FOR c IN SELECT * FROM changes ORDER BY event_id LOOP PERFORM c.full_document.a.b; END LOOP;
END', of_batch => true);
SELECT change_stream_translate_body('BEGIN PERFORM c.full_document.a.b FROM changes c; END');

-- errors point into the block
SELECT change_stream_translate_body('BEGIN
  INSERT INTO nosuch VALUES (change.full_document.a.b);
END');
SELECT change_stream_translate_body('BEGIN
  IF change.operation_type CONTAINS ''a'' THEN NULL; END IF;
END');
SET client_min_messages = error;
DROP SCHEMA dialect_test CASCADE;
