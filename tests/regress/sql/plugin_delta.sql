-- What of a row is sent: mode delta, old values, chosen attributes; and messages.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE TABLE item (id bigint PRIMARY KEY, att jsonb, price numeric(10,2), note text);
ALTER TABLE item REPLICA IDENTITY FULL;
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_delta', 'walrank');

-- delta_sends_what_changed_where_an_old_image_proves_the_rest
INSERT INTO item VALUES (1, '{"views": [100, "2018-01-04"], "brand": "x", "sold": 12.50}', 9.90, 'n');
UPDATE item SET att = att || '{"views": [101, "2018-01-05"]}';
UPDATE item SET price = 10;
UPDATE item SET price = NULL, note = NULL;
UPDATE item SET price = NULL, note = 'm', att = att - 'brand' || '{"colour": null}';
UPDATE item SET id = 2;
UPDATE item SET id = 3, note = 'o';
UPDATE item SET note = 'o';
DELETE FROM item;
SELECT * FROM changes('walrank_delta', 'mode', 'delta');

-- delta_is_row_where_there_is_no_old_image
CREATE TABLE plain (id int PRIMARY KEY, att jsonb, n int);
INSERT INTO plain VALUES (1, '{"a": 1, "b": 2}', 3);
UPDATE plain SET n = 4;
UPDATE plain SET id = 2;
DELETE FROM plain;
SELECT * FROM changes('walrank_delta', 'mode', 'delta');

-- delta_of_objects_with_the_same_offsets_the_same_keys_and_neither
INSERT INTO item (id, att) VALUES (1, '{"a": 1, "b": "xyz", "c": [1, 2], "d": {"e": true}, "f": null}');
UPDATE item SET att = att || '{"a": 2}';
UPDATE item SET att = att || '{"b": "xyw", "d": {"e": 1}}';
UPDATE item SET att = att || '{"b": "longer than before", "c": [2, 2]}';
UPDATE item SET att = att || '{"f": false}';
UPDATE item SET att = att || '{"f": 0, "a": "0"}';
UPDATE item SET att = att - 'c' || '{"cc": 1, "b": "xyw"}';
UPDATE item SET att = att || '{"a": 2.0}';
UPDATE item SET att = att || '{"a": 2.00}';
SELECT * FROM changes('walrank_delta', 'mode', 'delta');

-- delta_of_a_column_that_becomes_an_object_or_ceases_to_be_one
UPDATE item SET att = '[1]';
UPDATE item SET att = '[1]', note = 'p';
UPDATE item SET att = '{}';
UPDATE item SET att = '{"a": 1}';
UPDATE item SET att = '{}';
UPDATE item SET att = NULL;
UPDATE item SET att = '{"a": 1, "b": 2}';
UPDATE item SET att = NULL;
UPDATE item SET att = 'null';
UPDATE item SET att = '"x"';
SELECT * FROM changes('walrank_delta', 'mode', 'delta');

-- old_values_stand_beside_what_changed
UPDATE item SET att = '{"a": 1, "b": {"c": 2}}', price = 1.5, note = 'old';
UPDATE item SET att = '{"a": 2, "d": 1}', price = 2.5, note = NULL;
UPDATE item SET att = '[1]', note = 'new';
UPDATE item SET att = NULL;
UPDATE item SET att = '{"a": 1, "b": [1, [2]]}', id = 9;
DELETE FROM item;
SELECT * FROM changes('walrank_delta', 'mode', 'delta', 'old_values', 'on');
INSERT INTO item VALUES (1, '{"a": 1, "b": 2}', 3, 'x');
UPDATE item SET att = '{"a": 1, "b": 3}', price = 4;
UPDATE item SET att = NULL;
DELETE FROM item;
INSERT INTO plain VALUES (1, '{"a": 1, "b": 2}', 3);
UPDATE plain SET n = 4;
DELETE FROM plain;
SELECT * FROM changes('walrank_delta', 'mode', 'row', 'old_values', 'on');

-- attributes_are_chosen_by_column_or_by_key
INSERT INTO item VALUES (1, '{"a": 1, "ab": 2, "b": 3}', 4, 'x');
UPDATE item SET att = att || '{"b": 4}';
UPDATE item SET price = 5;
UPDATE item SET att = att || '{"ab": 5}';
UPDATE item SET att = (att || '{"a": 0}') - 'ab', note = 'y';
UPDATE item SET att = '[]', note = 'z';
UPDATE item SET att = NULL;
UPDATE item SET id = 2;
DELETE FROM item;
SELECT * FROM changes('walrank_delta', 'mode', 'delta', 'attributes', ' att.a* , "note"');
-- also_without_an_old_image_and_in_mode_row
INSERT INTO plain VALUES (1, '{"a": 1, "b": 2}', 3);
UPDATE plain SET n = 4;
DELETE FROM plain;
INSERT INTO item VALUES (1, '{"a": 1, "ab": 2, "b": 3}', 4, 'x');
UPDATE item SET price = 5;
UPDATE item SET att = att || '{"ab": 5}';
DELETE FROM item;
SELECT * FROM changes('walrank_delta', 'attributes', 'att.ab');
INSERT INTO plain VALUES (1, '{"a": 1, "b": 2}', 3);
UPDATE plain SET n = 4;
SELECT * FROM changes('walrank_delta', 'attributes', '*.b,n*');
-- old values of chosen attributes only
INSERT INTO item VALUES (1, '{"a": 1, "b": 3}', 4, 'x');
UPDATE item SET price = 5, att = '{"a": 2, "b": 4}';
DELETE FROM item;
SELECT * FROM changes('walrank_delta', 'attributes', 'att.b', 'old_values', 'on');
-- names_with_quotes_commas_stars_and_capitals
CREATE TABLE odd (id int PRIMARY KEY, "a,b" int, "A" int, a int, "x.y" jsonb, x jsonb);
INSERT INTO odd VALUES (1, 2, 3, 4, '{"z": 1, "": 2}', '{"y.z": 3, "y": 4, "q\"": 5}');
SELECT * FROM changes('walrank_delta', 'attributes', '"a,b",A, x.y.z,"x.q""","x.y."');

-- what_is_out_of_line_and_untouched_is_left_out_where_it_is_known
CREATE TABLE wide (id int PRIMARY KEY, t text, j jsonb, n int);
ALTER TABLE wide REPLICA IDENTITY FULL;
ALTER TABLE wide ALTER t SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL;
INSERT INTO wide VALUES (1, repeat('x', 5000), jsonb_build_object('a', repeat('y', 5000), 'b', 1), 1);
UPDATE wide SET n = 2;
UPDATE wide SET j = j || '{"b": 2}';
UPDATE wide SET t = repeat('z', 5000);
SELECT * FROM changes('walrank_delta', 'mode', 'delta', 'old_values', 'on');
ALTER TABLE wide REPLICA IDENTITY DEFAULT;
UPDATE wide SET n = 3;
SELECT * FROM changes('walrank_delta', 'mode', 'delta');
-- too large values keep their sizes, and old ones that are too large are left out
ALTER TABLE wide REPLICA IDENTITY FULL;
UPDATE wide SET t = 'short', j = '{"b": 3}';
UPDATE wide SET t = repeat('w', 3000), j = jsonb_build_object('a', repeat('w', 3000), 'b', 3);
UPDATE wide SET n = 4;
SELECT * FROM changes('walrank_delta', 'mode', 'delta', 'old_values', 'on', 'max_value_bytes', '1kB');

-- messages_of_the_chosen_prefixes_stand_among_the_rows
BEGIN;
SELECT 'sent' FROM pg_logical_emit_message(true, 'app', 'first');
INSERT INTO plain VALUES (7, NULL, 1);
SELECT 'sent' FROM pg_logical_emit_message(true, 'application', 'second'::bytea);
SELECT 'sent' FROM pg_logical_emit_message(true, 'other', 'third');
SELECT 'sent' FROM pg_logical_emit_message(true, repeat('app', 1000), 'a prefix that is no name');
SELECT 'sent' FROM pg_logical_emit_message(false, 'app', 'out of order');
DELETE FROM plain WHERE id = 7;
SELECT 'sent' FROM pg_logical_emit_message(true, 'app', repeat('x', 2000));
COMMIT;
BEGIN;
SELECT 'sent' FROM pg_logical_emit_message(true, 'app', 'aborted');
ROLLBACK;
SELECT 'sent' FROM pg_logical_emit_message(true, 'app', '');
SELECT * FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'messages', 'none', 'publication_names', 'x', 'missing_ok', 'on', 'format', 'json');
SELECT * FROM changes('walrank_delta', 'messages', 'app*', 'max_value_bytes', '1kB');

-- options_that_cannot_be_honoured_are_refused
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'mode', 'diff');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'attributes', '');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'attributes', 'a,,b');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'attributes', '"a');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'attributes', '"a" b');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'attributes', repeat('a,', 256) || 'a');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'messages', '');
SELECT 1 FROM pg_logical_slot_peek_changes('walrank_delta', NULL, NULL, 'old_values', 'maybe');
SELECT 'dropped' FROM pg_drop_replication_slot('walrank_delta');
