-- What the plugin sends of rows: keys, attributes, what changed, truncates, options.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE TABLE item (id bigint PRIMARY KEY, att jsonb, price numeric(10,2), tags text[]);
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_regress', 'walrank');

-- row_is_key_columns_and_keys_of_objects
INSERT INTO item VALUES (1, '{"views": [100, "2018-01-04 10:10:12"], "brand": "x", "sold": 12.50}', 9.90, '{a,b}');
SELECT * FROM changes('walrank_regress');

-- default_identity_says_unknown_and_full_says_what_changed
UPDATE item SET att = att || '{"views": [101, "2018-01-04 10:10:13"]}';
SELECT * FROM changes('walrank_regress');
ALTER TABLE item REPLICA IDENTITY FULL;
UPDATE item SET att = att || '{"views": [102, "2018-01-04 10:10:14"]}';
UPDATE item SET att = att - 'brand' || '{"colour": null, "size": 42}', price = NULL;
UPDATE item SET price = 10;
SELECT * FROM changes('walrank_regress');

-- update_that_changed_nothing_is_not_sent_where_the_old_image_proves_it
UPDATE item SET price = 10.00;
UPDATE item SET id = 1;
SELECT * FROM changes('walrank_regress');
ALTER TABLE item REPLICA IDENTITY DEFAULT;
UPDATE item SET price = 10.00;
SELECT * FROM changes('walrank_regress');

-- key_change_carries_both_keys
UPDATE item SET id = 2;
ALTER TABLE item REPLICA IDENTITY FULL;
UPDATE item SET id = 3, price = 11;
DELETE FROM item;
SELECT * FROM changes('walrank_regress');

-- jsonb_that_is_not_an_object_is_one_attribute_without_key
INSERT INTO item (id, att) VALUES (10, '{}'), (11, 'null'), (12, NULL), (13, '7'), (14, '"x"'), (15, 'true'),
	(16, '[1, "a", null, false]'), (17, '[]'), (18, '[1, [2]]'), (19, '[{"a": 1}]'),
	(20, '{"o": {"a": [1, {"b": null}]}, "e": {}, "l": [], "n": [[]], "t": [true, 1.50, "q\"\\\n\u0001"]}');
SELECT * FROM changes('walrank_regress');

-- object_to_other_and_back_removes_its_keys
UPDATE item SET att = '{"a": 1, "bb": 2}' WHERE id = 10;
UPDATE item SET att = '[1]' WHERE id = 10;
UPDATE item SET att = '{"a": 1, "bb": 2}' WHERE id = 10;
UPDATE item SET att = NULL WHERE id = 10;
UPDATE item SET att = '{"a": 1, "bb": 2}' WHERE id = 10;
UPDATE item SET att = '{}' WHERE id = 10;
UPDATE item SET att = '{"c": 1}' WHERE id = 10;
UPDATE item SET att = '{"b": 1, "cc": {"x": 1}}' WHERE id = 10;
UPDATE item SET att = '{"a": 0, "b": 1, "cc": {"x": 2}, "d": 1}' WHERE id = 10;
SELECT * FROM changes('walrank_regress');

-- many_keys_keep_their_offsets: 100 keys make jsonb store offsets among the lengths
UPDATE item SET att = (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 100) i) WHERE id = 10;
SELECT count(*) FROM changes('walrank_regress') c WHERE c ~ 'att.k[0-9]+ YES';
UPDATE item SET att = att || '{"k50": "fifty"}' WHERE id = 10;
SELECT c FROM changes('walrank_regress') c WHERE c ~ 'YES|k49|k51|k100';
UPDATE item SET att = att - 'k33' - 'k1' || '{"k70x": 1.5}' WHERE id = 10;
SELECT c FROM changes('walrank_regress') c WHERE c ~ 'YES|k32|k34|k100';

-- identity_that_cannot_tell_the_key_is_flagged
DELETE FROM item WHERE id <> 10;
ALTER TABLE item ADD COLUMN code int NOT NULL DEFAULT 5, ADD UNIQUE (code);
UPDATE item SET att = '{}';
SELECT 'drained' FROM changes('walrank_regress') HAVING count(*) > 0;
ALTER TABLE item REPLICA IDENTITY USING INDEX item_code_key;
UPDATE item SET price = 1;
UPDATE item SET code = 6;
ALTER TABLE item REPLICA IDENTITY NOTHING;
UPDATE item SET price = 2;
DELETE FROM item;
SELECT * FROM changes('walrank_regress');

-- identity_index_that_covers_the_key_is_enough
CREATE TABLE pair (a int, b text, c int NOT NULL, v text, PRIMARY KEY (b, a), UNIQUE (b, c, a));
ALTER TABLE pair REPLICA IDENTITY USING INDEX pair_b_c_a_key;
INSERT INTO pair VALUES (1, 'x', 1, 'one');
UPDATE pair SET v = 'two';
UPDATE pair SET c = 2;
UPDATE pair SET a = 2;
DELETE FROM pair;
SELECT * FROM changes('walrank_regress');

-- table_without_primary_key_sends_rows_flagged
CREATE TABLE keyless (a int, b text);
INSERT INTO keyless VALUES (1, 'x');
ALTER TABLE keyless REPLICA IDENTITY FULL;
UPDATE keyless SET b = 'y';
DELETE FROM keyless;
SELECT * FROM changes('walrank_regress');

-- deferrable_key_under_full_is_a_key: two keys swapped in one transaction
CREATE TABLE swap (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
ALTER TABLE swap REPLICA IDENTITY FULL;
INSERT INTO swap VALUES (1, 'a'), (2, 'b');
UPDATE swap SET id = 3 - id;
SELECT * FROM changes('walrank_regress');

-- truncate_is_one_entry
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent);
TRUNCATE parent, keyless CASCADE;
TRUNCATE child RESTART IDENTITY;
SELECT * FROM changes('walrank_regress');

-- empty_transactions_send_nothing
BEGIN; CREATE TABLE empty1 (id int PRIMARY KEY); COMMIT;
BEGIN; INSERT INTO parent VALUES (1); ROLLBACK;
CREATE UNLOGGED TABLE unlogged1 (id int PRIMARY KEY);
INSERT INTO unlogged1 VALUES (1);
CREATE TEMP TABLE temp1 (id int PRIMARY KEY);
INSERT INTO temp1 VALUES (1);
CREATE MATERIALIZED VIEW matview1 AS SELECT 1 AS one;
REFRESH MATERIALIZED VIEW matview1;
SELECT * FROM changes('walrank_regress');

-- savepoints_and_conflicts
BEGIN;
INSERT INTO parent VALUES (1);
SAVEPOINT a;
INSERT INTO parent VALUES (2);
ROLLBACK TO a;
INSERT INTO parent VALUES (3);
INSERT INTO parent VALUES (3) ON CONFLICT DO NOTHING;
INSERT INTO parent VALUES (3) ON CONFLICT (id) DO UPDATE SET id = 4;
COMMIT;
SELECT * FROM changes('walrank_regress');

-- sink_tables_are_never_decoded
CREATE SCHEMA walrank_out;
CREATE TABLE walrank_out.score (id int PRIMARY KEY);
INSERT INTO walrank_out.score VALUES (1);
BEGIN;
INSERT INTO walrank_out.score VALUES (2);
INSERT INTO parent VALUES (5);
TRUNCATE walrank_out.score;
COMMIT;
SELECT * FROM changes('walrank_regress');

-- large_transactions_are_runs_of_frames
INSERT INTO parent SELECT generate_series(100, 1099);
SELECT c, count(*) FROM changes('walrank_regress', 'frame_bytes', '1kB') c
 WHERE c !~ '^INSERT' GROUP BY 1 ORDER BY 1 DESC;
DELETE FROM parent WHERE id >= 100;
WITH frames AS MATERIALIZED (
	SELECT data, length(data) AS len, row_number() OVER () AS n
	  FROM pg_logical_slot_get_binary_changes('walrank_regress', NULL, NULL, 'frame_bytes', '1kB'))
SELECT count(*) > 20 AS many, max(len) <= 1024 + 64 AS short, bool_and(get_byte(data, 0) = 10) AS heads,
	   count(*) FILTER (WHERE get_byte(data, len - 17) = 26 AND get_byte(data, len - 16) = 15) AS tails
  FROM frames;

-- options_are_checked
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'frmae_bytes', '1kB');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'include-xids', '1');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, repeat('x', 1000), '1');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'frame_bytes', '12 apples');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'frame_bytes', '10');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'max_value_bytes', '1GB');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'format', 'xml');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'origin', 'here');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'missing_ok', 'maybe');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'mode', 'row', 'mode', 'row');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'publication_names', '');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL, 'publication_names', 'a,"b');
-- binary frames do not come out of the function for text
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_regress', NULL, NULL);

-- origin_none_leaves_out_what_was_replicated_here
SELECT 'drained' FROM changes('walrank_regress') HAVING count(*) >= 0;
SELECT 'origin' FROM pg_replication_origin_create('walrank_regress');
SELECT pg_replication_origin_session_setup('walrank_regress');
INSERT INTO parent VALUES (7000);
SELECT pg_replication_origin_session_reset();
INSERT INTO parent VALUES (7001);
SELECT c FROM changes('walrank_regress', 'origin', 'none') c WHERE c ~ 'INSERT';
SELECT pg_replication_origin_drop('walrank_regress');

-- the_head_names_the_transaction
CREATE TABLE head_test (id int PRIMARY KEY, xid text DEFAULT pg_current_xact_id()::text, at timestamptz DEFAULT now());
SELECT 'drained' FROM changes('walrank_regress') HAVING count(*) >= 0;
INSERT INTO head_test VALUES (1);
SELECT data::jsonb #>> '{head,xid}' = head_test.xid AS xid,
	   abs((data::jsonb #>> '{head,commitTime}')::numeric / 1e6 - extract(epoch FROM at)) < 60 AS commit_time,
	   (data::jsonb #>> '{head,endLsn}')::numeric = lsn - '0/0' AS end_lsn,
	   (data::jsonb #>> '{head,commitLsn}')::numeric < lsn - '0/0' AS commit_lsn,
	   data::jsonb #>> '{head,part}' AS part
  FROM pg_logical_slot_get_changes('walrank_regress', NULL, NULL, 'format', 'json'), head_test;

SELECT pg_drop_replication_slot('walrank_regress');
DROP TABLE item, pair, keyless, swap, parent, child, empty1, unlogged1, head_test;
DROP MATERIALIZED VIEW matview1;
DROP SCHEMA walrank_out CASCADE;
