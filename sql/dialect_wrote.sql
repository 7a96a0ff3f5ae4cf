-- changed_fields CONTAINS path

SELECT fields, path, change_stream_wrote(fields::text[], path)
FROM (VALUES ('{status}', 'status'),
             ('{status,payment.status}', 'payment'),
             ('{payment}', 'payment.status'),
             ('{payment.status}', 'payment.status'),
             ('{payment.method}', 'payment.status'),
             ('{paymentstatus}', 'payment'),
             ('{items.0.qty}', 'items.qty'),
             ('{items.0}', 'items.qty'),
             ('{items}', 'items.0.qty'),
             ('{items.10.qty}', 'items.1.qty'),
             ('{items.1.qty}', 'items.1.qty'),
             ('{grid.1.2.x}', 'grid.x'),
             ('{grid.1.2.x}', 'grid.2.x'),
             ('{2024.total}', 'total'),
             ('{}', 'status'),
             ('{NULL,status}', 'status'),
             ('{""}', ''),
             ('{status}', ''),
             ('{a.}', 'a'),
             (NULL, 'status'),
             ('{status}', NULL)) AS t (fields, path);
