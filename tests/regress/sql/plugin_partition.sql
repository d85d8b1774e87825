-- Partitions, sent as themselves or as their root.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE TABLE root (gone int, id int, v int, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
ALTER TABLE root DROP COLUMN gone;
CREATE TABLE leaf1 PARTITION OF root FOR VALUES FROM (0) TO (10);
-- other orders, other holes
CREATE TABLE leaf2 (note text, a int, b int, v int, id int NOT NULL);
ALTER TABLE leaf2 DROP COLUMN a, DROP COLUMN b;
ALTER TABLE root ATTACH PARTITION leaf2 FOR VALUES FROM (10) TO (20);
CREATE TABLE mid (v int, id int NOT NULL, note text) PARTITION BY RANGE (id);
CREATE TABLE leaf3 (id int NOT NULL, note text, v int);
ALTER TABLE mid ATTACH PARTITION leaf3 FOR VALUES FROM (20) TO (25);
ALTER TABLE root ATTACH PARTITION mid FOR VALUES FROM (20) TO (30);
CREATE PUBLICATION leaves FOR TABLE root;
CREATE PUBLICATION whole FOR TABLE root WITH (publish_via_partition_root);
CREATE PUBLICATION middle FOR TABLE mid WITH (publish_via_partition_root);
CREATE PUBLICATION everything FOR ALL TABLES WITH (publish_via_partition_root);
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_part', 'walrank');
CREATE PROCEDURE work() LANGUAGE sql AS $$
	INSERT INTO root VALUES (1, 1, 'one'), (11, 11, 'eleven'), (21, 21, 'twenty-one');
	UPDATE root SET v = v + 1;
	UPDATE root SET id = 2 WHERE id = 1;
	UPDATE root SET id = 12 WHERE id = 2;
	DELETE FROM root WHERE id = 21;
	TRUNCATE root;
$$;

-- partitions_are_sent_as_themselves_or_as_the_topmost_ancestor_that_is_published_so
CALL work();
SELECT * FROM changes('walrank_part', 'publication_names', 'leaves');
CALL work();
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');
CALL work();
SELECT * FROM changes('walrank_part', 'publication_names', 'middle');
CALL work();
SELECT c FROM changes('walrank_part', 'publication_names', 'leaves, middle') c WHERE c !~ '^    ';
CALL work();
SELECT c FROM changes('walrank_part', 'publication_names', 'middle, whole') c WHERE c !~ '^    ';
CALL work();
SELECT count(*) FROM changes('walrank_part', 'publication_names', 'everything') c WHERE c ~ 'root' AND c !~ '^table';
-- without publications, every table that holds rows
CALL work();
SELECT c FROM changes('walrank_part') c WHERE c !~ '^    ';

-- truncate_of_some_partitions_says_that_rows_of_the_root_are_gone
INSERT INTO root VALUES (1, 1), (11, 11), (21, 21);
TRUNCATE leaf1;
TRUNCATE leaf2, mid CASCADE;
BEGIN;
INSERT INTO root VALUES (1, 1);
TRUNCATE leaf1;
TRUNCATE root, leaf1;
COMMIT;
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');

-- filters_and_lists_are_those_of_the_table_that_rows_are_sent_as
ALTER PUBLICATION whole SET TABLE root (id, note) WHERE (id > 10 AND id < 24);
ALTER PUBLICATION leaves SET TABLE root, leaf1 (id, v) WHERE (id = 1), leaf2 (id, note);
CALL work();
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');
INSERT INTO root VALUES (1, 1, 'v'), (2, 2, 'w'), (11, 11, 'x'), (21, 21, 'y');
TRUNCATE root;
SELECT * FROM changes('walrank_part', 'publication_names', 'leaves');
INSERT INTO root VALUES (1, 1, 'v'), (2, 2, 'w'), (11, 11, 'x'), (21, 21, 'y');
TRUNCATE root;
SELECT * FROM changes('walrank_part', 'publication_names', 'leaves, whole');
-- a row moves between partitions, into and out of the filter
ALTER PUBLICATION whole SET TABLE root WHERE (id > 10 AND id < 24);
INSERT INTO root VALUES (1, 1);
UPDATE root SET id = 11;
UPDATE root SET id = 21;
UPDATE root SET id = 24;
UPDATE root SET id = 22;
UPDATE root SET id = 1;
TRUNCATE root;
SELECT c FROM changes('walrank_part', 'publication_names', 'whole') c WHERE c !~ '^    ';
ALTER PUBLICATION whole SET TABLE root WHERE (10 / (id - 5) > 0);
INSERT INTO root VALUES (5, 5), (6, 6), (21, 21);
TRUNCATE root;
SELECT c FROM changes('walrank_part', 'publication_names', 'whole') c WHERE c !~ '^    ';
ALTER PUBLICATION whole SET TABLE root;

-- attached_detached_and_altered_in_the_writing_transaction
BEGIN;
INSERT INTO root VALUES (1, 1, 'as root'), (21, 21, 'as root');
ALTER TABLE root DETACH PARTITION leaf1;
INSERT INTO leaf1 VALUES (2, 2, 'not published');
ALTER TABLE mid DETACH PARTITION leaf3;
INSERT INTO leaf3 VALUES (22, 'not published', 22);
DELETE FROM leaf3 WHERE id = 21;
ALTER TABLE mid ATTACH PARTITION leaf3 FOR VALUES FROM (20) TO (25);
INSERT INTO root VALUES (23, 23, 'as root');
ALTER TABLE root DETACH PARTITION mid;
INSERT INTO leaf3 VALUES (24, 'not published', 24);
SAVEPOINT s;
ALTER TABLE root ATTACH PARTITION mid FOR VALUES FROM (20) TO (30);
UPDATE root SET v = 0 WHERE id = 24;
ROLLBACK TO s;
UPDATE mid SET v = 1 WHERE id = 24;
ALTER TABLE root ATTACH PARTITION mid FOR VALUES FROM (20) TO (30);
ALTER TABLE root ATTACH PARTITION leaf1 FOR VALUES FROM (0) TO (10);
UPDATE root SET v = 2;
ALTER TABLE root ADD COLUMN w int DEFAULT 7;
UPDATE root SET v = 3 WHERE id IN (2, 24);
ALTER TABLE root RENAME COLUMN note TO remark;
ALTER TABLE root RENAME TO trunk;
UPDATE trunk SET v = 4 WHERE id IN (2, 24);
ALTER TABLE trunk RENAME TO root;
ALTER TABLE root RENAME COLUMN remark TO note;
CREATE SCHEMA elsewhere;
ALTER TABLE root SET SCHEMA elsewhere;
UPDATE elsewhere.root SET v = 5 WHERE id IN (2, 24);
ALTER TABLE elsewhere.root SET SCHEMA public;
ALTER TABLE root DROP CONSTRAINT root_pkey;
INSERT INTO root VALUES (3, 3), (20, 20);
ALTER TABLE root ADD PRIMARY KEY (id);
DELETE FROM root WHERE id IN (3, 20);
COMMIT;
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');

-- identity_of_a_partition_decides_what_is_known_of_its_rows
DROP PUBLICATION leaves, middle, everything;
ALTER TABLE leaf1 REPLICA IDENTITY FULL;
UPDATE root SET v = 6 WHERE id = 2;
UPDATE root SET v = 6 WHERE id = 24;
ALTER TABLE leaf1 REPLICA IDENTITY DEFAULT;
ALTER PUBLICATION whole SET (publish = 'insert');
ALTER TABLE leaf1 REPLICA IDENTITY NOTHING;
UPDATE root SET v = 7 WHERE id = 2;
ALTER PUBLICATION whole SET (publish = 'insert, update, delete, truncate');
INSERT INTO root VALUES (4, 4);
ALTER TABLE leaf1 REPLICA IDENTITY DEFAULT;
DELETE FROM root WHERE id = 4;
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');
-- a root without a key, partitions with one
CREATE TABLE bare (id int NOT NULL, v int) PARTITION BY RANGE (id);
CREATE TABLE keyed PARTITION OF bare (PRIMARY KEY (id)) FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION bare FOR TABLE bare WITH (publish_via_partition_root);
INSERT INTO bare VALUES (1, 1);
UPDATE bare SET v = 2;
DELETE FROM bare;
SELECT * FROM changes('walrank_part', 'publication_names', 'bare');
-- the root gets one: nothing is said of its partitions
BEGIN;
INSERT INTO bare VALUES (2, 2);
ALTER TABLE ONLY bare ADD PRIMARY KEY (id);
INSERT INTO bare VALUES (3, 3);
UPDATE bare SET v = 4 WHERE id = 2;
COMMIT;
SELECT * FROM changes('walrank_part', 'publication_names', 'bare');

-- publications_and_how_they_see_partitions_change
INSERT INTO root VALUES (5, 5);
ALTER PUBLICATION whole SET (publish_via_partition_root = false);
INSERT INTO root VALUES (6, 6);
ALTER PUBLICATION whole SET TABLE leaf1;
INSERT INTO root VALUES (7, 7), (17, 17);
ALTER PUBLICATION whole SET (publish_via_partition_root = true);
INSERT INTO root VALUES (8, 8), (18, 18);
ALTER PUBLICATION whole ADD TABLES IN SCHEMA public;
INSERT INTO root VALUES (9, 9), (19, 19);
ALTER PUBLICATION whole SET TABLES IN SCHEMA elsewhere;
INSERT INTO root VALUES (15, 15);
ALTER TABLE root SET SCHEMA elsewhere;
INSERT INTO elsewhere.root VALUES (16, 16);
SELECT * FROM changes('walrank_part', 'publication_names', 'whole');

SELECT pg_drop_replication_slot('walrank_part');
DROP PUBLICATION whole, bare;
DROP PROCEDURE work();
DROP TABLE elsewhere.root, bare;
DROP SCHEMA elsewhere;
