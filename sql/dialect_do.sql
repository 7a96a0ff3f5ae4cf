-- DO LANGUAGE change_stream

CREATE SCHEMA dialect_test;
SET search_path = dialect_test, public;
DO LANGUAGE change_stream $$
 -- x
 CREATE TABLE dd (doc document, n int);
 INSERT INTO dd VALUES ('{"a": {"b": "x"}}', 1);
 CREATE VIEW dv AS SELECT doc.a.b FROM dd WHERE doc.a.b = 'x';
 SELECT doc.a.b FROM dd;
 SHOW CHANGE STREAMS;
$$;
SELECT * FROM dv;
DO LANGUAGE change_stream $$ SELECT doc.a.b,
   nosuch FROM dd $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT 1/(n - n) FROM dd; $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT doc.a.b::int FROM dd; $$;
CREATE FUNCTION x() RETURNS void LANGUAGE change_stream AS 'SELECT 1';
DO LANGUAGE change_stream $$ BEGIN; $$;
DO LANGUAGE change_stream $$ SELECT 1;
 SELECT full_document.a FROM CHANGE_STREAM(nosuch); $$;
DO LANGUAGE change_stream $$ $$;
SET client_min_messages = error;
DROP SCHEMA dialect_test CASCADE;
