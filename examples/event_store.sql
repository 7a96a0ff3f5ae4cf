-- An event store, and a projection of it.
--
-- The store is a table that is only ever appended to; the projection can be thrown away at any time and built again from
-- the events that are kept.

CREATE TABLE account_events (
  event_id bigint PRIMARY KEY,
  account text NOT NULL,
  version bigint NOT NULL,
  kind text NOT NULL,
  data document,
  at timestamptz NOT NULL,
  UNIQUE (account, version)
);
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'account_events is only appended to'; END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON account_events EXECUTE FUNCTION append_only();

CREATE TABLE account_balances (account text PRIMARY KEY, balance numeric NOT NULL, movements bigint NOT NULL, last_event bigint NOT NULL);

-- one document a movement: {account: 'a', kind: 'deposited', amount: 10}
SELECT create_change_stream('movements', collection => 'movements', operations => '{insert}');

SELECT create_change_handler('account_store', 'movements', body => $$
  INSERT INTO account_events
  SELECT change.event_id, change.full_document ->> 'account', coalesce(max(version), 0) + 1, change.full_document ->> 'kind',
         change.full_document, change.cluster_time
  FROM account_events WHERE account = change.full_document ->> 'account' $$);

SELECT create_change_handler('account_projection', 'movements', body => $$
DECLARE
  signed numeric := (change.full_document['amount'])::numeric * CASE change.full_document ->> 'kind' WHEN 'withdrawn' THEN -1 ELSE 1 END;
BEGIN
  INSERT INTO account_balances VALUES (change.full_document ->> 'account', signed, 1, change.event_id)
  ON CONFLICT (account) DO UPDATE
  SET balance = account_balances.balance + excluded.balance, movements = account_balances.movements + 1, last_event = excluded.last_event;
END $$);

-- Builds the projection again, in one transaction: readers see the old one until the new one is complete, and the handler
-- goes on behind it.  An event that fails is left out, and is an error here.
CREATE PROCEDURE rebuild_balances() LANGUAGE plpgsql AS $$
DECLARE
  failed record;
BEGIN
  DELETE FROM account_balances;
  SELECT r.event_id, r.error INTO failed
  FROM change_handler_status s, replay_changes('account_projection', 1, s.last_event_id) r
  WHERE s.handler_name = 'account_projection' LIMIT 1;
  IF FOUND THEN
    RAISE 'event % cannot be replayed: %', failed.event_id, failed.error;
  END IF;
END $$;
