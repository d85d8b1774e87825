-- Publications: what is sent, and what happens when one is gone.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE TABLE a (id int PRIMARY KEY, v int);
CREATE TABLE b (id int PRIMARY KEY, v int);
CREATE SCHEMA pubs;
CREATE TABLE pubs.c (id int PRIMARY KEY, v int);
CREATE TABLE root (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (100);
SET client_min_messages = error;
CREATE PUBLICATION only_a FOR TABLE a;
CREATE PUBLICATION "Odd, name" FOR TABLE b WITH (publish = 'insert');
CREATE PUBLICATION b_too FOR TABLE b WITH (publish = 'delete, truncate');
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA pubs;
CREATE PUBLICATION by_root FOR TABLE root;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_pub', 'walrank');
CREATE PROCEDURE work() LANGUAGE sql AS $$
	INSERT INTO a VALUES (1, 1); UPDATE a SET v = 2; DELETE FROM a; TRUNCATE a;
	INSERT INTO b VALUES (1, 1); UPDATE b SET v = 2; DELETE FROM b; TRUNCATE b;
	INSERT INTO pubs.c VALUES (1, 1); UPDATE pubs.c SET v = 2; DELETE FROM pubs.c; TRUNCATE pubs.c;
	INSERT INTO root VALUES (1, 1); UPDATE root SET v = 2; DELETE FROM root; TRUNCATE root;
$$;

-- membership_and_operations_are_honoured
CALL work();
SELECT c FROM changes('walrank_pub', 'publication_names', 'only_a') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_pub', 'publication_names', '"Odd, name"') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_pub', 'publication_names', 'b_too, "Odd, name"') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_pub', 'publication_names', 'BY_SCHEMA') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_pub', 'publication_names', 'by_root') c WHERE c !~ '^    ';
CALL work();
SELECT count(*) FROM changes('walrank_pub', 'publication_names', 'everything') c WHERE c !~ '^    ';

-- publication_that_does_not_exist_is_refused_at_the_start
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a, missing');
-- missing_ok: not an error; what never existed is not lost, what goes later is
INSERT INTO a VALUES (1, 1);
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a, missing', 'missing_ok', 'on');
SET client_min_messages = error;
CREATE PUBLICATION missing FOR TABLE b;
INSERT INTO b VALUES (1, 1);
DROP PUBLICATION missing;
RESET client_min_messages;
INSERT INTO a VALUES (1001, 1);
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a, missing', 'missing_ok', 'on');

-- publication_that_goes_is_reported_once_and_comes_back
SET client_min_messages = error;
BEGIN;
INSERT INTO a VALUES (2, 1);
DROP PUBLICATION only_a;
INSERT INTO a VALUES (3, 1);
INSERT INTO b VALUES (3, 1);
COMMIT;
INSERT INTO a VALUES (4, 1);
INSERT INTO b VALUES (4, 1);
CREATE PUBLICATION only_a FOR TABLE a;
INSERT INTO a VALUES (5, 1);
DROP PUBLICATION only_a;
INSERT INTO b VALUES (5, 1);
CREATE PUBLICATION only_a FOR TABLE a;
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a, "Odd, name"');

-- loss_is_reported_in_the_next_transaction_even_if_it_says_nothing_else
DROP PUBLICATION only_a;
INSERT INTO b VALUES (6, 1);
CREATE PUBLICATION only_a FOR TABLE a;
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a');

-- filter_or_list_set_later_holds_from_there_on
ALTER PUBLICATION only_a SET TABLE a WHERE (id > 100);
INSERT INTO a VALUES (7, 1), (107, 1);
ALTER PUBLICATION only_a SET TABLE a;
INSERT INTO a VALUES (8, 1);
ALTER PUBLICATION only_a SET TABLE a (id);
INSERT INTO a VALUES (9, 1);
BEGIN;
INSERT INTO a VALUES (10, 1);
ALTER PUBLICATION only_a SET TABLE a WHERE (v > 1);
INSERT INTO a VALUES (12, 1), (13, 2);
SAVEPOINT s;
ALTER PUBLICATION only_a SET TABLE a (v);
INSERT INTO a VALUES (14, 1);
ROLLBACK TO s;
INSERT INTO a VALUES (15, 1), (16, 2);
COMMIT;
ALTER PUBLICATION only_a SET TABLE a;
INSERT INTO a VALUES (11, 1);
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a');

-- tables_and_operations_changed_later
ALTER PUBLICATION only_a ADD TABLE b;
INSERT INTO b VALUES (20, 1);
ALTER PUBLICATION only_a SET (publish = 'delete');
INSERT INTO b VALUES (21, 1);
DELETE FROM b WHERE id = 20;
ALTER PUBLICATION only_a DROP TABLE b;
DELETE FROM b WHERE id = 21;
ALTER PUBLICATION only_a SET (publish = 'insert, update, delete, truncate');
ALTER PUBLICATION only_a RENAME TO renamed;
INSERT INTO a VALUES (30, 1);
ALTER PUBLICATION renamed RENAME TO only_a;
INSERT INTO a VALUES (31, 1);
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a');

-- publication_recreated_in_one_transaction_is_another_one
BEGIN;
INSERT INTO a VALUES (33, 1);
DROP PUBLICATION only_a;
CREATE PUBLICATION only_a FOR TABLE a WHERE (id > 34);
INSERT INTO a VALUES (34, 1), (35, 1);
COMMIT;
SELECT * FROM changes('walrank_pub', 'publication_names', 'only_a');

-- publication_younger_than_the_change_does_not_stop_the_slot
INSERT INTO a VALUES (40, 1);
CREATE PUBLICATION young FOR TABLE a;
INSERT INTO a VALUES (41, 1);
SELECT * FROM changes('walrank_pub', 'publication_names', 'young');

SELECT pg_drop_replication_slot('walrank_pub');
DROP PUBLICATION only_a, "Odd, name", b_too, by_schema, by_root, everything, young;
DROP PROCEDURE work();
DROP TABLE a, b, root;
DROP SCHEMA pubs CASCADE;
