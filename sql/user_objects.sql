-- What users hang on the extension's tables, which pg_dump leaves out
SELECT change_stream_user_objects();

CREATE INDEX by_operation ON change_stream_events (operation_type);
CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON change_stream_events FOR EACH ROW EXECUTE FUNCTION seen();
SELECT change_stream_user_objects();

DROP TRIGGER see ON change_stream_events;
DROP FUNCTION seen();
DROP INDEX by_operation;
SELECT change_stream_user_objects();
