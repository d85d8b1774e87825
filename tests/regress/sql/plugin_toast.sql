-- Values out of line, values that are too large, values made to kill.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_toast', 'walrank');
-- text that does not compress
CREATE FUNCTION noise(n int, seed text) RETURNS text LANGUAGE sql AS
	$$ SELECT left(string_agg(md5(seed || i), ''), n) FROM generate_series(1, n / 32 + 1) i $$;
CREATE DOMAIN big_text AS text;
CREATE TABLE doc (id int PRIMARY KEY, v int, ext text, comp text, att jsonb, arr text[], dom big_text);
ALTER TABLE doc ALTER COLUMN ext SET STORAGE EXTERNAL, ALTER COLUMN dom SET STORAGE EXTERNAL;
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
	INSERT INTO doc VALUES (1, 1, noise(5000, 'a'), repeat('x', 20000),
		(SELECT jsonb_object_agg('key' || i, noise(100, i::text)) FROM generate_series(1, 100) i),
		ARRAY[noise(3000, 'b'), NULL, 'x'], noise(4000, 'c')) $$;

-- untouched_values_are_a_state_under_default_identity
SELECT fill();
SELECT c FROM changes('walrank_toast') c WHERE c !~ 'att.key[2-9]';
UPDATE doc SET v = 2;
SELECT * FROM changes('walrank_toast');
UPDATE doc SET ext = 'short', att = '{"a": 1}';
SELECT * FROM changes('walrank_toast');
UPDATE doc SET att = (SELECT jsonb_object_agg('key' || i, noise(100, i::text)) FROM generate_series(1, 100) i), ext = noise(5000, 'e');
SELECT c FROM changes('walrank_toast') c WHERE c !~ 'att.key[2-9]';
UPDATE doc SET id = 2;
DELETE FROM doc;
SELECT * FROM changes('walrank_toast');

-- untouched_values_come_from_the_old_image_under_full_identity
ALTER TABLE doc REPLICA IDENTITY FULL;
SELECT fill();
SELECT 'drained' FROM changes('walrank_toast') HAVING count(*) > 0;
UPDATE doc SET v = 2;
SELECT c FROM changes('walrank_toast') c WHERE c !~ 'att.key[2-9]';
UPDATE doc SET att = att || '{"key50": "new", "other": 1}';
SELECT c FROM changes('walrank_toast') c WHERE c ~ 'YES|^    [^a]|att.key1 ';
UPDATE doc SET comp = repeat('y', 20000);
SELECT c FROM changes('walrank_toast') c WHERE c ~ 'YES';
-- written anew with the same value: bytes prove that nothing changed
UPDATE doc SET ext = ext || '', comp = comp || '', att = att || '{}', arr = arr || '{}'::text[];
SELECT * FROM changes('walrank_toast');
DELETE FROM doc;
SELECT * FROM changes('walrank_toast');

-- untouched_values_under_index_and_no_identity
ALTER TABLE doc ADD COLUMN code int NOT NULL DEFAULT 1, ADD UNIQUE (code);
ALTER TABLE doc REPLICA IDENTITY USING INDEX doc_code_key;
SELECT fill();
SELECT 'drained' FROM changes('walrank_toast') HAVING count(*) > 0;
UPDATE doc SET v = 3;
UPDATE doc SET code = 2;
ALTER TABLE doc REPLICA IDENTITY NOTHING;
UPDATE doc SET v = 4;
SELECT c FROM changes('walrank_toast') c WHERE c !~ 'att.key[2-9]';

-- key_out_of_line_is_found_in_the_old_tuple
CREATE TABLE longkey (k text PRIMARY KEY, v int);
ALTER TABLE longkey ALTER COLUMN k SET STORAGE EXTERNAL;
INSERT INTO longkey VALUES (noise(2500, 'key'), 1);
UPDATE longkey SET v = 2;
DELETE FROM longkey;
SELECT regexp_replace(c, '[0-9a-f]{100,}', 'noise') FROM changes('walrank_toast') c;

-- multi_insert_with_values_out_of_line
CREATE TABLE copied (id int PRIMARY KEY, t text);
ALTER TABLE copied ALTER COLUMN t SET STORAGE EXTERNAL;
INSERT INTO copied SELECT i, noise(3000, i::text) FROM generate_series(1, 3) i;
SELECT c FROM changes('walrank_toast') c;

-- oversized_values_are_a_state_with_their_size
CREATE TABLE big (id int PRIMARY KEY, t text, j jsonb, b bytea, a int[], v int);
INSERT INTO big VALUES (1, repeat('x', 2000), jsonb_build_object('small', 1, 'large', repeat('y', 900)), '\x00',
	(SELECT array_agg(i) FROM generate_series(1, 500) i), 7);
SELECT * FROM changes('walrank_toast', 'max_value_bytes', '1000');
INSERT INTO big VALUES (2, NULL, jsonb_build_object('small', 1, 'large', repeat('y', 2000)), '\x00', NULL, 7);
ALTER TABLE big REPLICA IDENTITY FULL;
UPDATE big SET v = 8 WHERE id = 1;
UPDATE big SET t = repeat('z', 2000) WHERE id = 1;
UPDATE big SET t = repeat('z', 2001) WHERE id = 1;
UPDATE big SET t = 'small' WHERE id = 1;
UPDATE big SET t = repeat('z', 2001) WHERE id = 1;
SELECT * FROM changes('walrank_toast', 'max_value_bytes', '1000');
-- a row is limited as a whole: what does not fit beside the rest is oversized
INSERT INTO big VALUES (3, repeat('x', 900), jsonb_build_object('small', 1, 'large', repeat('y', 600), 'larger', repeat('y', 600), 'zz', 5), decode(repeat('00', 900), 'hex'), NULL, 9);
SELECT * FROM changes('walrank_toast', 'max_value_bytes', '1000');

-- numbers_in_jsonb_do_not_explode: 81 kB of input, and a text of 1.2 GB by the server's own output
CREATE TYPE record_pair AS (a numeric, b numeric[]);
CREATE TABLE poison (id int PRIMARY KEY, j jsonb, n numeric[], nn numeric[], r nummultirange, c record_pair, p jsonpath);
INSERT INTO poison (id, j) VALUES (1, ('[' || repeat('1e131000,', 8999) || '1e131000]')::jsonb);
INSERT INTO poison (id, j) VALUES (2, ('{"a": [[' || repeat('1e131000,', 8999) || '1e131000]]}')::jsonb);
INSERT INTO poison (id, n) VALUES (3, array_fill(1e131000::numeric, ARRAY[9000]));
INSERT INTO poison (id, nn) VALUES (4, array_fill(1e131000::numeric, ARRAY[90, 100]));
INSERT INTO poison (id, c) VALUES (5, ROW(1, array_fill(1e131000::numeric, ARRAY[9000])));
INSERT INTO poison (id, r) SELECT 6, range_agg(numrange(i * 2 * 1e130000, (i * 2 + 1) * 1e130000)) FROM generate_series(1, 9000) i;
INSERT INTO poison (id, p) VALUES (7, ('$.a ? (' || repeat('@ == 1e131000 || ', 8000) || '@ == 1)')::jsonpath);
SELECT c FROM changes('walrank_toast') c WHERE c !~ 'null';

-- json_deeper_than_anybody_means_is_oversized
CREATE TABLE deep (id int PRIMARY KEY, j jsonb);
INSERT INTO deep VALUES (1, (repeat('[', 900) || repeat(']', 900))::jsonb), (2, (repeat('[', 3000) || repeat(']', 3000))::jsonb);
SELECT * FROM changes('walrank_toast');

-- output_function_that_fails_does_not_stop_the_stream
CREATE TYPE broken;
SET client_min_messages = error;
CREATE FUNCTION broken_in(cstring) RETURNS broken LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION broken_out(broken) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'enum_out';
RESET client_min_messages;
CREATE TYPE broken (INPUT = broken_in, OUTPUT = broken_out, LIKE = int4);
CREATE TYPE holds_broken AS (a int, b broken);
CREATE TABLE breaks (id int PRIMARY KEY, b broken, a broken[], c holds_broken, v int);
INSERT INTO breaks VALUES (1, '5', '{5,6}', '(1,5)', 7), (2, NULL, NULL, '(1,)', 8);
ALTER TABLE breaks REPLICA IDENTITY FULL;
UPDATE breaks SET v = 9 WHERE id = 1;
CREATE TABLE breaks_key (b broken, id int);
INSERT INTO breaks_key VALUES ('5', 1);
SELECT * FROM changes('walrank_toast');
DROP TABLE breaks, breaks_key;
DROP TYPE holds_broken;
SET client_min_messages = error;
DROP TYPE broken CASCADE;
RESET client_min_messages;

SELECT pg_drop_replication_slot('walrank_toast');
DROP TABLE doc, longkey, copied, big, poison, deep;
DROP TYPE record_pair;
DROP DOMAIN big_text;
DROP FUNCTION fill(), noise(int, text);
