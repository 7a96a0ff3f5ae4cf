/* mongo_change_stream--1.1.sql: the whole schema, made by make of the files in schema/ */

-- @file begin.sql
-- @file document.sql
-- @file document_compare.sql
-- @file document_cross.sql
-- @file document_build.sql
-- @file document_cast.sql
-- @file document_arithmetic.sql
-- @file document_aggregate.sql
-- @file foreign.sql
-- @file stream_tables.sql
-- @file stream_functions.sql
-- @file stream_views.sql
-- @file token_table.sql
-- @file user_objects.sql
-- @file handler_tables.sql
-- @file handler_functions.sql
-- @file handler_views.sql
-- @file dialect.sql
