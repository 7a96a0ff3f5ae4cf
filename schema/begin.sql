-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mongo_change_stream" to load this file. \quit

-- No other encoding can hold BSON's text.  Qualified names, since the extension's schema may hold objects of others.
DO LANGUAGE plpgsql $$
DECLARE
  path text := pg_catalog.current_setting('search_path');
BEGIN
  SET LOCAL search_path = pg_catalog, pg_temp;
  IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
    RAISE feature_not_supported USING
      MESSAGE = 'extension "mongo_change_stream" needs a database with encoding UTF8',
      DETAIL = pg_catalog.format('The encoding of database "%s" is %s; BSON''s text is UTF-8.',
                                 pg_catalog.current_database(), pg_catalog.getdatabaseencoding()),
      HINT = 'CREATE DATABASE name TEMPLATE template0 ENCODING ''UTF8''';
  END IF;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$$;
