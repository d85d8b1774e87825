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

-- the session's settings are as before
SELECT '2020-02-03 04:05:06+00'::timestamptz, '1 day'::interval, 0.1::float8, '\x00ff'::bytea;
SELECT pg_drop_replication_slot('walrank_types');
DROP TABLE nums, decs, jnums, texts, times, arrays, others, keys, gen;
DROP TYPE pair, mood;
DROP DOMAIN shorter, short_text;
