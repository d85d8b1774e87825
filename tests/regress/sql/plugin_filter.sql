-- Row filters and column lists of publications.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE TABLE item (id int PRIMARY KEY, gone int, v int, note text);
ALTER TABLE item DROP COLUMN gone;
CREATE TABLE whole (id int PRIMARY KEY, v int, note text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE SCHEMA flt;
CREATE TABLE flt.s (id int PRIMARY KEY, v int);
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_filter', 'walrank');

-- rows_enter_and_leave_the_filter
SET client_min_messages = error;
CREATE PUBLICATION p FOR TABLE item WHERE (id > 10), whole WHERE (v > 10);
INSERT INTO item VALUES (1, 1, 'out'), (11, 1, 'in');
UPDATE item SET v = 2;
UPDATE item SET id = 12 WHERE id = 11;
UPDATE item SET id = 2 WHERE id = 12;
UPDATE item SET id = 13 WHERE id = 1;
DELETE FROM item;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');
INSERT INTO whole VALUES (1, 1, 'out'), (2, 11, 'in'), (3, NULL, 'null is out');
UPDATE whole SET note = 'changed';
UPDATE whole SET v = 12;
UPDATE whole SET v = 1 WHERE id = 1;
UPDATE whole SET v = NULL WHERE id = 2;
UPDATE whole SET id = 4, v = 5 WHERE id = 3;
UPDATE whole SET id = 5, v = 15 WHERE id = 4;
DELETE FROM whole;
TRUNCATE whole, item;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');

-- filters_of_several_publications_are_ored_per_operation
CREATE PUBLICATION low FOR TABLE whole WHERE (v < 3) WITH (publish = 'insert, delete');
CREATE PUBLICATION plain FOR TABLE whole WITH (publish = 'delete');
CREATE PROCEDURE work() LANGUAGE sql AS $$
	INSERT INTO whole VALUES (1, 1), (5, 5), (11, 11);
	UPDATE whole SET note = 'x';
	DELETE FROM whole;
$$;
CALL work();
SELECT c FROM changes('walrank_filter', 'publication_names', 'p, low') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_filter', 'publication_names', 'p, plain') c WHERE c !~ '^    ';
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'insert');
CALL work();
SELECT c FROM changes('walrank_filter', 'publication_names', 'p, everything') c WHERE c !~ '^    ';
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA flt, TABLE whole WHERE (v = 5);
CREATE PUBLICATION by_table FOR TABLE flt.s WHERE (v = 5);
INSERT INTO flt.s VALUES (4, 4), (5, 5);
CALL work();
SELECT c FROM changes('walrank_filter', 'publication_names', 'by_schema, by_table') c WHERE c !~ '^    ';
INSERT INTO flt.s VALUES (6, 4), (7, 5);
SELECT c FROM changes('walrank_filter', 'publication_names', 'by_table') c WHERE c !~ '^    ';

-- filter_that_fails_sends_the_key_flagged_and_the_slot_goes_on
ALTER PUBLICATION p SET TABLE whole WHERE (100 / v > 1), item WHERE (100 / id > 1);
INSERT INTO whole VALUES (1, 0, 'a user''s row'), (2, 1, 'in'), (3, 100, 'out');
BEGIN;
INSERT INTO whole VALUES (4, 0, 'aborted');
SAVEPOINT s;
INSERT INTO whole VALUES (5, 0, 'aborted too');
ROLLBACK TO s;
INSERT INTO whole VALUES (6, 0, 'kept'), (7, 1, 'in');
COMMIT;
UPDATE whole SET v = 1 WHERE id = 1;
UPDATE whole SET v = 0 WHERE id = 2;
UPDATE whole SET id = 20 WHERE id = 2;
DELETE FROM whole;
INSERT INTO item VALUES (0, 1, 'zero');
UPDATE item SET v = 2;
UPDATE item SET id = 1;
DELETE FROM item;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');
-- a constant that cannot be computed; a function that is gone; back again
ALTER PUBLICATION p SET TABLE whole WHERE (v > 1 / 0);
INSERT INTO whole VALUES (1, 0, 'x'), (2, 0, 'x');
ALTER PUBLICATION p SET TABLE whole WHERE (gcd(v, 10) = 5);
INSERT INTO whole VALUES (3, 3, 'out'), (4, 5, 'in');
CREATE TEMPORARY TABLE saved AS SELECT * FROM pg_proc WHERE oid = 'gcd(int, int)'::regprocedure;
DELETE FROM pg_proc WHERE oid = (SELECT oid FROM saved);
INSERT INTO whole VALUES (5, 5, 'in, and nobody can tell');
ALTER PUBLICATION p ADD TABLE item;
INSERT INTO whole VALUES (6, 5, 'in, and nobody can tell');
INSERT INTO pg_proc SELECT * FROM saved;
DROP TABLE saved;
INSERT INTO whole VALUES (7, 5, 'in');
DELETE FROM whole;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');

-- values_stored_out_of_line
CREATE FUNCTION long(seed text) RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(md5(seed || i), '') FROM generate_series(1, 300) i $$;
ALTER PUBLICATION p SET TABLE whole WHERE (length(note) > 9000 AND v > 1);
INSERT INTO whole VALUES (1, 1, long('a'));
UPDATE whole SET v = 2;
UPDATE whole SET v = 3;
UPDATE whole SET v = 1;
DELETE FROM whole;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');
-- what the filter reads may be no part of the identity where only inserts are sent
CREATE PUBLICATION inserts FOR TABLE item WHERE (length(note) > 9000) WITH (publish = 'insert');
INSERT INTO item VALUES (1, 1, 'short'), (2, 1, long('b'));
UPDATE item SET v = 2;
DELETE FROM item;
SELECT * FROM changes('walrank_filter', 'publication_names', 'inserts');

-- filter_whose_text_is_itself_stored_out_of_line
DO $$ BEGIN EXECUTE 'ALTER PUBLICATION p SET TABLE whole WHERE (note IN (' ||
	(SELECT string_agg(quote_literal(md5(i::text)), ', ') FROM generate_series(1, 2000) i) || '))'; END $$;
SELECT pg_column_size(prqual) > 3000 AS long FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid WHERE pubname = 'p';
INSERT INTO whole VALUES (1, 1, md5('1999')), (2, 1, md5('2001'));
DELETE FROM whole;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');

-- column_lists
CREATE TABLE wide (gone int, a int, b int, id int PRIMARY KEY, c text, d jsonb, g int GENERATED ALWAYS AS (a + 1) STORED);
ALTER TABLE wide DROP COLUMN gone;
CREATE PUBLICATION l1 FOR TABLE wide (id, b);
CREATE PUBLICATION l2 FOR TABLE wide (d, id);
CREATE PUBLICATION keyless FOR TABLE wide (a) WITH (publish = 'insert');
CREATE PROCEDURE wide() LANGUAGE sql AS $$
	INSERT INTO wide VALUES (1, 2, 3, 'c', '{"k": 1}');
	UPDATE wide SET a = 5, c = long('c');
	UPDATE wide SET id = 4, b = 7;
	DELETE FROM wide;
$$;
CALL wide();
SELECT * FROM changes('walrank_filter', 'publication_names', 'l1');
CALL wide();
SELECT * FROM changes('walrank_filter', 'publication_names', 'l1, l2');
CALL wide();
SELECT * FROM changes('walrank_filter', 'publication_names', 'keyless');
CALL wide();
SELECT * FROM changes('walrank_filter', 'publication_names', 'keyless, l1');
-- listed columns renamed, retyped; unlisted ones come and go
BEGIN;
INSERT INTO wide VALUES (1, 2, 10);
ALTER TABLE wide RENAME b TO bb;
INSERT INTO wide VALUES (1, 2, 11);
ALTER TABLE wide DROP COLUMN c;
ALTER TABLE wide ADD COLUMN e int DEFAULT 3;
INSERT INTO wide VALUES (1, 2, 12);
ALTER PUBLICATION l1 SET TABLE wide (id, bb, e);
INSERT INTO wide VALUES (1, 2, 13);
SAVEPOINT s;
ALTER PUBLICATION l1 SET TABLE wide (id);
ALTER TABLE wide ALTER e TYPE text;
INSERT INTO wide VALUES (1, 2, 14);
ROLLBACK TO s;
INSERT INTO wide VALUES (1, 2, 15);
COMMIT;
SELECT * FROM changes('walrank_filter', 'publication_names', 'l1');

-- rows_read_are_encoded_as_the_stream_sends_them
CREATE FUNCTION enc(record, int, text[]) RETURNS bytea LANGUAGE c AS 'walrank', 'walrank_encode';
CREATE FUNCTION descr(regclass, text[]) RETURNS bytea LANGUAGE c AS 'walrank', 'walrank_describe';
ALTER PUBLICATION l1 SET TABLE wide (id, bb, e) WHERE (100 / (id - 13) > 30);
TRUNCATE wide;
INSERT INTO wide (a, bb, id) VALUES (1, 2, 14), (2, 3, 15), (3, 4, 16), (4, 5, 17), (5, 6, 1), (6, 7, 13);
CREATE TEMPORARY TABLE sent AS SELECT data FROM pg_logical_slot_get_binary_changes('walrank_filter', NULL, NULL, 'publication_names', 'l1');
SELECT id, octet_length(e) > 0 AS sent, (SELECT count(*) FROM sent WHERE position(e IN data) > 0) AS same
  FROM (SELECT id, enc(w, 10000, '{l1}') AS e FROM wide w) x ORDER BY id;
SELECT count(*) FROM sent WHERE position(descr('wide', '{l1}') IN data) > 0;
-- another list, no list, and back
SELECT count(enc(w, 10000, '{l1,l2}')), count(enc(w, 10000, '{l2}')), count(enc(w, 10000, NULL)), count(enc(w, NULL, '{absent,l1}')) FROM wide w;
SELECT descr('wide', '{l1}') = descr('wide', '{l1,absent}') AS same, descr('wide', '{l1}') = descr('wide', '{l2}') AS other, descr('wide', NULL) IS NULL AS whole, descr(NULL, NULL) IS NULL AS none;
-- seen at once when it changes
BEGIN;
ALTER PUBLICATION l1 SET TABLE wide WHERE (id > 16);
SELECT count(enc(w, 10000, '{l1}')) FROM wide w;
ROLLBACK;
SELECT count(enc(w, 10000, '{l1}')) FROM wide w;
SELECT enc(i, 10000, '{l1}') FROM (VALUES (1)) v, LATERAL (SELECT ROW(1, 1, 'x')::item AS i) x;
SELECT descr('item', '{l1,l2}');
SELECT descr('item', '{}');
SELECT descr('item', '{NULL}');
DROP FUNCTION enc(record, int, text[]), descr(regclass, text[]);

-- identity_that_comes_and_goes_under_a_filter
TRUNCATE whole, item;
DROP PUBLICATION low, plain, by_schema, inserts, everything;
ALTER PUBLICATION p SET TABLE whole WHERE (v > 10);
INSERT INTO whole VALUES (1, 11), (2, 1);
BEGIN;
ALTER PUBLICATION p SET (publish = 'insert');
ALTER TABLE whole REPLICA IDENTITY NOTHING;
UPDATE whole SET v = v + 1;
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER PUBLICATION p SET (publish = 'insert, update, delete');
UPDATE whole SET v = v + 10;
ALTER TABLE whole DROP CONSTRAINT whole_pkey;
UPDATE whole SET v = v + 1;
DELETE FROM whole WHERE id = 1;
ALTER TABLE whole ADD PRIMARY KEY (id);
UPDATE whole SET v = 0;
COMMIT;
SELECT * FROM changes('walrank_filter', 'publication_names', 'p');

SELECT pg_drop_replication_slot('walrank_filter');
DROP PUBLICATION p, by_table, l1, l2, keyless;
DROP PROCEDURE work(), wide();
DROP FUNCTION long(text);
DROP TABLE item, whole, wide;
DROP SCHEMA flt CASCADE;
