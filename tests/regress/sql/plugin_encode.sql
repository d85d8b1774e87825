-- encode() and describe(): the stream's own bytes, from SQL.
\pset format unaligned
\pset tuples_only on
CREATE FUNCTION enc(record) RETURNS bytea LANGUAGE c STRICT AS 'walrank', 'walrank_encode';
CREATE FUNCTION descr(regclass) RETURNS bytea LANGUAGE c STRICT AS 'walrank', 'walrank_describe';
CREATE TYPE mood AS ENUM ('sad');
CREATE TYPE pair AS (a int, at timestamptz);
CREATE TABLE item (id int, k text, gone int, att jsonb, n numeric, big text, m mood, iv interval, p pair, b bytea, PRIMARY KEY (k, id));
ALTER TABLE item ALTER COLUMN big SET STORAGE EXTERNAL;
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_encode', 'walrank');
SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'German'; SET quote_all_identifiers = on;
INSERT INTO item VALUES
	(1, 'one', 1, '{"a": [1, "x"], "b": {"c": 1e131000}}', 1.50, repeat('x', 5000), 'sad', '1 day 02:03', '(1,2020-01-01)', '\x00'),
	(2, 'two', 1, '{}', NULL, NULL, NULL, NULL, NULL, NULL);
ALTER TABLE item DROP COLUMN gone, ADD COLUMN fast int DEFAULT 5, ADD COLUMN j jsonb DEFAULT '{"new": 1}';
INSERT INTO item VALUES (3, 'three', (SELECT jsonb_object_agg('key' || i, md5(i::text)) FROM generate_series(1, 200) i), 7, repeat('y', 3000));

-- encode_gives_the_change_and_describe_the_relation_of_the_stream
CREATE TEMP TABLE stream AS SELECT data FROM pg_logical_slot_get_binary_changes('walrank_encode', NULL, NULL);
SELECT count(*) FROM stream;
SELECT id, position(enc(i) IN data) > 0 AS same FROM item i, (SELECT data FROM stream OFFSET 1) s WHERE id = 3;
SELECT position(descr('item') IN data) > 0 AS same FROM (SELECT data FROM stream OFFSET 1) s;

-- rows_older_than_a_column_read_its_default
CREATE TEMP TABLE encoded AS SELECT id, enc(i) AS e FROM item i;
TRUNCATE item;
INSERT INTO item (id, k, att, n, big, m, iv, p, b)
	VALUES (1, 'one', '{"a": [1, "x"], "b": {"c": 1e131000}}', 1.50, repeat('x', 5000), 'sad', '1 day 02:03', '(1,01.01.2020)', '\x00'),
	(2, 'two', '{}', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT id, position(e IN data) > 0 AS same
  FROM encoded, (SELECT data FROM pg_logical_slot_get_binary_changes('walrank_encode', NULL, NULL) OFFSET 1) s
 WHERE id < 3 ORDER BY id;

-- every_way_to_name_a_row
SELECT count(DISTINCT e) FROM (
	SELECT enc(i) AS e FROM item i WHERE id = 1
	UNION ALL SELECT enc(i) FROM ONLY item i WHERE id = 1
	UNION ALL SELECT enc(ROW(1, 'one', '{"a": [1, "x"], "b": {"c": 1e131000}}', 1.50, repeat('x', 5000), 'sad', '1 day 02:03', '(1,01.01.2020)', '\x00', 5, '{"new": 1}')::item)
) x;
COPY (SELECT length(enc(i)) > 100 FROM item i) TO STDOUT;

-- parallel_queries_encode_composites_too
ALTER FUNCTION enc(record) PARALLEL SAFE;
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(DISTINCT enc(i)) FROM item i;
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');

-- records_that_are_no_rows_of_a_table_are_refused
SELECT enc(ROW(1, 2));
SELECT enc(x) FROM (SELECT 1 AS a) x;
SELECT enc(ROW(1, now())::pair);
SELECT descr('item_pkey');
CREATE VIEW v AS SELECT * FROM item;
SELECT enc(v) FROM v;
SELECT descr('v');
SELECT descr(0);
SELECT enc(NULL) IS NULL;

-- table_changed_in_the_session_is_seen
SELECT encode(enc(i), 'escape') ~ 'later' AS before FROM item i WHERE id = 2;
ALTER TABLE item ADD COLUMN extra text DEFAULT 'later';
SELECT encode(enc(i), 'escape') ~ 'later' AS after FROM item i WHERE id = 2;
SELECT encode(descr('item'), 'escape') ~ 'extra';
ALTER TABLE item RENAME TO renamed;
SELECT encode(descr('renamed'), 'escape') ~ 'renamed';

-- nothing_stays_behind: settings of the session, and memory over many rows
SELECT '1 day'::interval, '2020-02-03 04:05:06+00'::timestamptz;
SELECT sum(length(enc(i))) > 0 FROM renamed i, generate_series(1, 20000) g;
SELECT sum(total_bytes) < 300000 AS bounded FROM pg_backend_memory_contexts WHERE name ~ 'walrank';

-- a_value_too_large_for_the_stream_is_too_large_here
CREATE FUNCTION enc(record, int) RETURNS bytea LANGUAGE c STRICT AS 'walrank', 'walrank_encode';
CREATE TABLE large (id int PRIMARY KEY, t text);
SELECT count(*) >= 0 FROM pg_logical_slot_get_binary_changes('walrank_encode', NULL, NULL);
INSERT INTO large VALUES (1, repeat('z', 900));
SELECT position(enc(l, 300) IN data) > 0 AS same, position(enc(l) IN data) > 0 AS other
  FROM large l, (SELECT data FROM pg_logical_slot_get_binary_changes('walrank_encode', NULL, NULL, 'max_value_bytes', '300')) s;
SELECT length(enc(l, 300)) < 300 AS left_out, enc(l, 900) = enc(l) AS kept FROM large l;
SELECT enc(l, 1) FROM large l;
SELECT enc(l, 67108865) FROM large l;
DROP TABLE large;

SELECT pg_drop_replication_slot('walrank_encode');
DROP VIEW v;
DROP TABLE renamed;
DROP FUNCTION enc(record), enc(record, int), descr(regclass);
DROP TYPE mood, pair;
