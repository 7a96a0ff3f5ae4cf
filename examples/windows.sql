-- Sums over windows of five minutes, and an alert above a threshold.
--
-- Windows follow the time of the change in MongoDB, which never goes back within a stream; so a window that a later event
-- has passed is complete.  LISTEN order_alerts shows each alert once: NOTIFY is part of the transaction that counts.

CREATE TABLE order_windows (
  window_start timestamptz,
  country text,
  orders bigint NOT NULL,
  total numeric NOT NULL,
  alerted boolean NOT NULL DEFAULT false,
  PRIMARY KEY (window_start, country)
);
CREATE TABLE window_thresholds (country text PRIMARY KEY, total numeric NOT NULL);

SELECT create_change_stream('orders', collection => 'orders', operations => '{insert}');

SELECT create_change_handler('order_windows', 'orders', body => $$
DECLARE
  w order_windows;
BEGIN
  INSERT INTO order_windows VALUES (date_bin('5 minutes', change.cluster_time, 'epoch'), change.full_document ->> 'country', 1,
                                    (change.full_document['total'])::numeric)
  ON CONFLICT (window_start, country) DO UPDATE
  SET orders = order_windows.orders + 1, total = order_windows.total + excluded.total
  RETURNING * INTO w;
  IF NOT w.alerted AND EXISTS (SELECT FROM window_thresholds t WHERE t.country = w.country AND w.total > t.total) THEN
    UPDATE order_windows SET alerted = true WHERE (window_start, country) = (w.window_start, w.country);
    PERFORM pg_notify('order_alerts', json_build_object('window', w.window_start, 'country', w.country, 'orders', w.orders,
                                                        'total', w.total, 'event_id', change.event_id)::text);
  END IF;
END $$);

-- the windows that are complete
CREATE VIEW complete_windows AS
SELECT * FROM order_windows
WHERE window_start < (SELECT date_bin('5 minutes', max(cluster_time), 'epoch') FROM change_stream_events WHERE stream_name = 'orders');
