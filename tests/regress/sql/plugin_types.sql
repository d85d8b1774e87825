-- Every type with its edge values; settings of the session must not show.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -10;
SET bytea_output = 'escape'; SET TimeZone = 'Asia/Kolkata'; SET quote_all_identifiers = on;
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_types', 'walrank');

-- integers_and_floats
CREATE TABLE nums (id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8);
INSERT INTO nums VALUES
	(1, true, -32768, -2147483648, -9223372036854775808, 'NaN', 'NaN'),
	(2, false, 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity'),
	(3, NULL, 0, -1, 9007199254740993, 0.1, 0.1),
	(4, NULL, NULL, NULL, NULL, '1e-45', '5e-324'),
	(5, NULL, NULL, NULL, NULL, '-0', '-0'),
	(6, NULL, NULL, NULL, NULL, 3.4028235e38, 1.7976931348623157e308);
SELECT * FROM changes('walrank_types');

-- numerics_are_exact_and_never_expanded
CREATE TABLE decs (id int PRIMARY KEY, n numeric, m numeric(12,4));
INSERT INTO decs SELECT row_number() OVER (), v::numeric, NULL FROM unnest(ARRAY[
	'0', '0.00', '-0.0', '1', '-1', '10', '10000', '100000000', '9999', '9007199254740993',
	'9223372036854775807', '-9223372036854775808', '9223372036854775808', '-9223372036854775809',
	'18446744073709551616', '99999999999999999999', '1.5', '1.50', '-12.3456789', '0.0001', '0.00010', '1e-20', '1.000000000000',
	'1.0000000000000', '10000.00', '123456789012345678901234567890.123456789', '1e20', '12e22', '1e131000', '-1e131000', '1e-16000',
	'NaN', 'Infinity', '-Infinity']) v;
INSERT INTO decs VALUES (100, NULL, 12.3), (101, NULL, -12345678), (102, NULL, 0);
SELECT * FROM changes('walrank_types');
-- the same numbers inside jsonb, as values and in nested text
CREATE TABLE jnums (id int PRIMARY KEY, j jsonb);
INSERT INTO jnums VALUES (1, '{"a": 1e131000, "b": [1e131000, -1.50, 9223372036854775808], "c": {"x": [1e131000, 1e-16000, -1.50, 0.0, 0.00001, 100000, 1e25, 12345.678, 1e-30]}}');
SELECT * FROM changes('walrank_types');

-- texts_and_bytes
CREATE DOMAIN short_text AS varchar(10);
CREATE DOMAIN shorter AS short_text CHECK (length(VALUE) < 5);
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'größe');
CREATE TABLE texts (id int PRIMARY KEY, t text, v varchar(20), c char(5), n name, ch "char", b bytea, u uuid,
	d short_text, e shorter, m mood, x xml, j json);
INSERT INTO texts VALUES
	(1, '', 'é€𝄞', 'ab', 'Name', 'x', '', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'dom', 'sub', 'it''s "ok"', '<a/>', '{"b":1,  "a":[1]}'),
	(2, E'tab\t"quote"\\ \x01', NULL, '', '', '', '\x00ff80', '00000000-0000-0000-0000-000000000000', NULL, NULL, 'größe', NULL, '1'),
	(3, NULL, NULL, NULL, NULL, '\351', NULL, NULL, NULL, NULL, NULL, NULL, 'null');
SELECT * FROM changes('walrank_types');

-- times_are_numbers_with_infinities
CREATE TABLE times (id int PRIMARY KEY, d date, t timestamp, z timestamptz);
INSERT INTO times VALUES
	(1, '2000-01-01', '2000-01-01', '2000-01-01 00:00:00+00'),
	(2, 'infinity', 'infinity', 'infinity'),
	(3, '-infinity', '-infinity', '-infinity'),
	(4, '4713-01-01 BC', '4713-01-01 00:00:00 BC', '4713-01-02 00:00:00+00 BC'),
	(5, '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00'),
	(6, '1999-12-31', '1999-12-31 23:59:59.999999', '1970-01-01 00:00:00+05:30');
SELECT * FROM changes('walrank_types');

-- one_dimensional_arrays_are_lists
CREATE TABLE arrays (id int PRIMARY KEY, i int[], t text[], n numeric[], d date[], b bool[], f float8[], j jsonb[],
	m mood[], s short_text[], u uuid[], c "char"[], ba bytea[]);
INSERT INTO arrays VALUES
	(1, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}'),
	(2, '{1,NULL,-3}', '{NULL,"",a b,"x,y"}', '{1e131000,1.50,NaN,NULL}', '{infinity,2000-01-02}', '{t,f,NULL}',
		'{NaN,0.1}', ARRAY['{"a": 1}', '[1, 2]', '"s"', '1.5', 'null', NULL]::jsonb[], '{sad,NULL}', '{a,NULL}',
		'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{a,b}', '{"\\x00ff",NULL}'),
	(3, '[5:6]={1,2}', NULL, NULL, NULL, (SELECT array_agg(i % 3 = 0) FROM generate_series(1, 20) i), NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT * FROM changes('walrank_types');

-- everything_else_is_text_with_pinned_settings
CREATE TYPE pair AS (a int, b text, at timestamptz);
CREATE TABLE others (id int PRIMARY KEY, iv interval, ti time, tz timetz, mo money, ip inet, po point, r tstzrange, mr int4multirange,
	c pair, pa pair[], ii int[], tt text[][], ts tsvector, bi bit varying, rc regclass, rt regtype, o oid, p path, jp jsonpath, l pg_lsn, ia interval[]);
INSERT INTO others VALUES (1, '1 year 2 mons -3 days 04:05:06.789', '12:34:56.789', '12:34:56+05:30', 12.34, '10.0.0.0/8', '(0.1,1e300)',
	'[2020-01-01 00:00:00+00,infinity)', '{[1,3),[5,6)}', '(1,"a ""b""",2020-01-01 00:00:00+00)',
	ARRAY['(1,x,)']::pair[], '{{1,2},{3,4}}', '{{a,NULL},{"c,d",""}}', 'fat:1A cat', '10101', 'pg_class', 'text', 42, '((0,0),(0.1,1))',
	'$.a ? (@ > 1)', '16B37480/16B37488', '{1 day}');
SELECT * FROM changes('walrank_types');

-- key_types
CREATE TABLE keys (u uuid, t text, n numeric, d date, z timestamptz, b bytea, m mood, PRIMARY KEY (m, u, t, n, d, z, b));
INSERT INTO keys VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'é', 1.50, '2000-01-02', 'infinity', '\x00', 'sad');
ALTER TABLE keys REPLICA IDENTITY FULL;
UPDATE keys SET n = 1.5;
UPDATE keys SET t = 'f';
DELETE FROM keys;
SELECT * FROM changes('walrank_types');

-- generated_columns_are_flagged
CREATE TABLE gen (id int PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, i int GENERATED ALWAYS AS IDENTITY);
INSERT INTO gen (id, a) VALUES (1, 21);
SELECT * FROM changes('walrank_types');

-- enum_labels_are_those_of_the_moment_and_types_may_be_gone_when_rows_are_decoded
CREATE TYPE colour AS ENUM ('red');
CREATE TABLE painted (id int PRIMARY KEY, c colour, cs colour[]);
BEGIN;
INSERT INTO painted VALUES (1, 'red', '{red}');
ALTER TYPE colour RENAME VALUE 'red' TO 'crimson';
UPDATE painted SET cs = '{crimson,crimson}';
COMMIT;
ALTER TYPE colour ADD VALUE 'blue';
INSERT INTO painted VALUES (2, 'blue', '{crimson,blue}');
BEGIN;
CREATE TYPE fresh AS ENUM ('a', 'b');
ALTER TABLE painted ADD f fresh;
INSERT INTO painted VALUES (3, 'blue', NULL, 'b');
COMMIT;
CREATE FUNCTION doomed() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE ROLE regress_walrank_doomed;
CREATE TABLE refers (id int PRIMARY KEY, c regclass, p regprocedure, t regtype, r regrole);
INSERT INTO refers VALUES (1, 'painted', 'doomed()', 'colour', 'regress_walrank_doomed'), (2, 'refers', 'now()', 'int', NULL);
DROP TABLE painted;
DROP TYPE colour, fresh;
DROP FUNCTION doomed();
DROP ROLE regress_walrank_doomed;
SELECT regexp_replace(c, '"\d{3,}"', '"an oid"') FROM changes('walrank_types') c;

-- composite_types_change_and_values_are_read_as_they_were_written
CREATE TYPE part AS (a int, b text);
CREATE TYPE whole AS (p part, n int);
CREATE TABLE composed (id int PRIMARY KEY, w whole, ps part[]);
INSERT INTO composed VALUES (1, ROW(ROW(1, 'x'), 2), ARRAY[ROW(1, 'y')]::part[]);
ALTER TYPE part ADD ATTRIBUTE c int;
INSERT INTO composed VALUES (2, ROW(ROW(1, 'x', 3), 2), NULL);
UPDATE composed SET id = 3 WHERE id = 1;
ALTER TYPE part RENAME ATTRIBUTE b TO "B";
ALTER TYPE part DROP ATTRIBUTE a;
INSERT INTO composed VALUES (4, ROW(ROW('z', 3), 2), NULL);
UPDATE composed SET id = id + 10;
BEGIN;
ALTER TYPE part ADD ATTRIBUTE d numeric;
INSERT INTO composed VALUES (5, ROW(ROW('z', 3, 1.50), 2), NULL);
ALTER TYPE whole ADD ATTRIBUTE later jsonb;
UPDATE composed SET id = 6 WHERE id = 5;
COMMIT;
ALTER TABLE composed REPLICA IDENTITY FULL;
UPDATE composed SET id = id + 10 WHERE id = 6;
SELECT * FROM changes('walrank_types');
-- not even a transaction that holds the type for itself is waited for
INSERT INTO composed VALUES (7, ROW(ROW('z', 3, 1.50), 2, '{}'), NULL);
BEGIN;
ALTER TYPE part ADD ATTRIBUTE e int;
PREPARE TRANSACTION 'walrank_types';
\c
SET lock_timeout = '10s';
SELECT * FROM changes('walrank_types');
ROLLBACK PREPARED 'walrank_types';

-- output_functions_of_extensions_and_users_may_do_what_they_like
SET client_min_messages = error;
CREATE TYPE unchecked;
CREATE FUNCTION unchecked_in(cstring) RETURNS unchecked LANGUAGE internal IMMUTABLE STRICT AS 'byteain';
CREATE FUNCTION unchecked_out(unchecked) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE unchecked (INPUT = unchecked_in, OUTPUT = unchecked_out, LIKE = bytea);
CREATE TYPE nothing;
CREATE FUNCTION nothing_in(cstring) RETURNS nothing LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION nothing_out(nothing) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'pg_stat_get_backend_pid';
CREATE TYPE nothing (INPUT = nothing_in, OUTPUT = nothing_out, LIKE = int4);
RESET client_min_messages;
CREATE TYPE odd AS (u unchecked, n int);
CREATE TABLE oddities (id int PRIMARY KEY, u unchecked, us unchecked[], o odd, n nothing, ns nothing[], v int);
INSERT INTO oddities VALUES (1, 'fine', '{fine,"\\xff"}', '(fine,1)', '-1', '{-1}', 7), (2, '\xff', NULL, '("\\xff",1)', NULL, '{NULL}', 8);
SELECT * FROM changes('walrank_types');
DROP TABLE refers, composed, oddities;
DROP TYPE whole, part, odd;
SET client_min_messages = error;
DROP TYPE unchecked CASCADE;
DROP TYPE nothing CASCADE;
RESET client_min_messages;

-- the session's settings are as before
SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -10;
SET bytea_output = 'escape'; SET TimeZone = 'Asia/Kolkata'; SET quote_all_identifiers = on;
INSERT INTO times VALUES (7, '2000-01-01', NULL, NULL);
SELECT * FROM changes('walrank_types');
SELECT '2020-02-03 04:05:06+00'::timestamptz, '1 day'::interval, 0.1::float8, '\x00ff'::bytea;
SELECT pg_drop_replication_slot('walrank_types');
DROP TABLE nums, decs, jnums, texts, times, arrays, others, keys, gen;
DROP TYPE pair, mood;
DROP DOMAIN shorter, short_text;
