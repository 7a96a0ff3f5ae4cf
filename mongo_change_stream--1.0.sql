/* mongo_change_stream--1.0.sql: the whole schema, readable from top to bottom */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION mongo_change_stream" to load this file. \quit

---------------------------------------------------------------------------
-- 1. Type document: one BSON value of any type
---------------------------------------------------------------------------

-- (section 1 ends)

---------------------------------------------------------------------------
-- 2. Foreign data wrapper
---------------------------------------------------------------------------

-- (section 2 ends)

---------------------------------------------------------------------------
-- 3. Streams: tables, functions, views
---------------------------------------------------------------------------

-- (section 3 ends)
