-- Databases that are not UTF-8: text is converted, what does not convert is bytes, flagged.
\pset format unaligned
\pset tuples_only on
CREATE DATABASE walrank_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
CREATE DATABASE walrank_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
CREATE DATABASE walrank_euc ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;
\c walrank_latin1
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET client_encoding = 'UTF8';
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_latin1', 'walrank');
CREATE TYPE größe AS ENUM ('größe');
CREATE TABLE naïve (clé text PRIMARY KEY, v text, j jsonb, e größe, a text[], js json);
INSERT INTO naïve VALUES ('café', 'ÿ', '{"clé": "é", "nested": {"é": ["ü"]}}', 'größe', '{é,x}', '{"é":1}');
SELECT * FROM changes('walrank_latin1');
-- names and texts inside composite values and arrays of several dimensions
CREATE TYPE zusammengesetzt AS (schlüssel text, wert größe);
CREATE TABLE innen (id int PRIMARY KEY, z zusammengesetzt, zz zusammengesetzt[], m text[][], h bytea);
INSERT INTO innen VALUES (1, ('ä"', 'größe'), ARRAY[('ö', NULL)]::zusammengesetzt[], '{{é,x},{ü,"ÿ"}}', '\xff');
SELECT * FROM changes('walrank_latin1');
-- a conversion that a user made the default is not run: this one makes nothing of everything
CREATE FUNCTION loses(int, int, cstring, internal, int, bool) RETURNS int LANGUAGE internal STRICT AS 'int4and';
CREATE DEFAULT CONVERSION public.first FOR 'LATIN1' TO 'UTF8' FROM loses;
SET search_path = public, pg_catalog;
INSERT INTO innen VALUES (2, ('é', NULL), NULL, NULL, NULL);
SELECT * FROM changes('walrank_latin1');
RESET search_path;
INSERT INTO naïve VALUES ('café2', 'é');
SELECT data !~ '[^ -~]' FROM pg_logical_slot_peek_changes('walrank_latin1', NULL, NULL, 'format', 'json');
SELECT position('\x636166c3a9'::bytea IN data) > 0 AS utf8
  FROM pg_logical_slot_get_binary_changes('walrank_latin1', NULL, NULL);
SELECT pg_drop_replication_slot('walrank_latin1');
\c walrank_ascii
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_ascii', 'walrank');
CREATE TABLE raw (id int PRIMARY KEY, t text, j jsonb, a text[]);
INSERT INTO raw VALUES (1, E'\xc3\xa9', jsonb_build_object('a', E'\xc3\xa9'), ARRAY['x', E'\xc3\xa9']);
INSERT INTO raw VALUES (2, E'\xff', NULL, NULL);
INSERT INTO raw VALUES (3, 'fine', jsonb_build_object('a', E'\xff', E'\xfe', 1), NULL);
INSERT INTO raw VALUES (4, 'fine', jsonb_build_object('nested', jsonb_build_object('a', E'\xff')), ARRAY['x', E'\xff']);
CREATE TYPE pair AS (a text, b text);
DO $$ BEGIN EXECUTE E'CREATE TYPE "mood\xff" AS ENUM (''sad\xfe'', ''fine'')'; EXECUTE E'CREATE TYPE odd AS ("f\xff" text, m "mood\xff")'; END $$;
DO $$ BEGIN EXECUTE E'CREATE TABLE inner_raw (id int PRIMARY KEY, p pair, o odd, e "mood\xff", m text[][])'; END $$;
INSERT INTO inner_raw VALUES (1, ('fine', E'\xc3\xa9'), (E'\xc3\xa9', 'fine'), 'fine', ARRAY[['x'], [E'\xc3\xa9']]);
INSERT INTO inner_raw VALUES (2, (E'\xff', 'x'), ('fine', E'sad\xfe'), E'sad\xfe', ARRAY[['x'], [E'\xff']]);
-- the server cannot read the escapes of its own JSON in this encoding, so the lines are cut out as text
SELECT substring(x FROM '"key".*') FROM pg_logical_slot_get_changes('walrank_ascii', NULL, NULL, 'format', 'json'),
	regexp_split_to_table(regexp_replace(data, ',"tail":.*', ''), '"change":') x WHERE x ~ '"op"';
CREATE TABLE rawkey (k text PRIMARY KEY);
INSERT INTO rawkey VALUES (E'\xff');
SELECT * FROM changes('walrank_ascii');
DO $$ BEGIN EXECUTE E'CREATE TABLE "t\xff" (id int PRIMARY KEY)'; EXECUTE E'INSERT INTO "t\xff" VALUES (1)'; END $$;
SELECT position('\x74efbfbd'::bytea IN data) > 0 AS replacement
  FROM pg_logical_slot_get_binary_changes('walrank_ascii', NULL, NULL);
SELECT pg_drop_replication_slot('walrank_ascii');
\c walrank_euc
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET client_encoding = 'UTF8';
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_euc', 'walrank');
CREATE TABLE kana (id int PRIMARY KEY, t text, j jsonb);
INSERT INTO kana VALUES (1, 'かな漢字', '{"漢字": "かな"}');
INSERT INTO kana VALUES (2, 'ascii only', '{"k": "ascii"}');
CREATE TYPE 組 AS (名前 text);
CREATE TABLE innen (id int PRIMARY KEY, k 組, m text[][]);
INSERT INTO innen VALUES (1, ROW('かな'), '{{漢},{字}}');
SELECT * FROM changes('walrank_euc');
SELECT pg_drop_replication_slot('walrank_euc');
\c postgres
DROP DATABASE walrank_latin1;
DROP DATABASE walrank_ascii;
DROP DATABASE walrank_euc;
