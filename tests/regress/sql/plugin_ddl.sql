-- Tables that change while they are decoded.
\getenv abs_srcdir PG_ABS_SRCDIR
\set decode :abs_srcdir '/../data/decode.sql'
\set ECHO none
\i :decode
\set ECHO all
\pset format unaligned
\pset tuples_only on
SELECT 'slot' FROM pg_create_logical_replication_slot('walrank_ddl', 'walrank');

-- ddl_in_the_middle_of_a_transaction_is_seen_in_order
CREATE TABLE t (id int PRIMARY KEY, a int, b text);
BEGIN;
INSERT INTO t VALUES (1, 10, 'one');
ALTER TABLE t ADD COLUMN c jsonb DEFAULT '{"x": 1}';
INSERT INTO t VALUES (2, 20, 'two');
ALTER TABLE t DROP COLUMN a;
INSERT INTO t VALUES (3, 'three', '{"x": 3}');
ALTER TABLE t RENAME COLUMN b TO name;
UPDATE t SET name = 'uno' WHERE id = 1;
SAVEPOINT s;
ALTER TABLE t ADD COLUMN gone int;
INSERT INTO t VALUES (4, 'four', NULL, 4);
ROLLBACK TO s;
INSERT INTO t VALUES (5, 'five', NULL);
ALTER TABLE t ALTER COLUMN id TYPE bigint;
INSERT INTO t VALUES (6, 'six', NULL);
ALTER TABLE t RENAME TO u;
INSERT INTO u VALUES (7, 'seven', NULL);
COMMIT;
SELECT * FROM changes('walrank_ddl');

-- column_added_with_a_default_is_in_old_images
CREATE TABLE fast (id int PRIMARY KEY, a int);
ALTER TABLE fast REPLICA IDENTITY FULL;
INSERT INTO fast VALUES (1, 1);
ALTER TABLE fast ADD COLUMN b text DEFAULT 'new', ADD COLUMN j jsonb DEFAULT '{"k": [1, "x"]}', DROP COLUMN a, ADD COLUMN a int;
UPDATE fast SET a = 5;
UPDATE fast SET j = j || '{"l": 1}';
SELECT * FROM changes('walrank_ddl');

-- identity_changed_between_updates_of_one_transaction
BEGIN;
UPDATE fast SET a = 6;
ALTER TABLE fast REPLICA IDENTITY DEFAULT;
UPDATE fast SET a = 7;
ALTER TABLE fast DROP CONSTRAINT fast_pkey;
INSERT INTO fast VALUES (9, 'nine', NULL, 9);
ALTER TABLE fast ADD PRIMARY KEY (id, b);
UPDATE fast SET a = 8 WHERE id = 9;
COMMIT;
SELECT * FROM changes('walrank_ddl');

-- relation_is_sent_again_only_when_its_content_changed
ALTER TABLE fast ALTER COLUMN a SET STATISTICS 100;
INSERT INTO fast VALUES (10, 'ten', NULL, 10);
ALTER TABLE fast SET (fillfactor = 50);
INSERT INTO fast VALUES (11, 'eleven', NULL, 11);
ALTER TABLE fast ADD COLUMN d int;
INSERT INTO fast VALUES (12, 'twelve', NULL, 12, 12);
SELECT c FROM changes('walrank_ddl') c WHERE c ~ '^table|INSERT';

-- types_and_schemas_renamed
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE SCHEMA one;
CREATE TABLE one.typed (id int PRIMARY KEY, c colour);
INSERT INTO one.typed VALUES (1, 'red');
BEGIN;
INSERT INTO one.typed VALUES (2, 'red');
ALTER TYPE colour RENAME VALUE 'red' TO 'crimson';
INSERT INTO one.typed VALUES (3, 'crimson');
ALTER TYPE colour RENAME TO color;
INSERT INTO one.typed VALUES (4, 'green');
ALTER SCHEMA one RENAME TO two;
INSERT INTO two.typed VALUES (5, 'green');
ALTER TABLE two.typed SET SCHEMA public;
INSERT INTO public.typed VALUES (6, 'green');
COMMIT;
DROP TABLE typed;
DROP TYPE color;
SELECT * FROM changes('walrank_ddl');

-- rewrites_are_not_changes
ALTER TABLE u ALTER COLUMN name TYPE varchar(100), ALTER COLUMN id TYPE int;
CLUSTER u USING t_pkey;
VACUUM FULL u;
CREATE TABLE copy_of_u AS SELECT * FROM u WHERE id = 1;
SELECT * FROM changes('walrank_ddl');

-- schema_of_the_sinks_by_renaming
CREATE SCHEMA walrank_later;
CREATE TABLE walrank_later.x (id int PRIMARY KEY);
INSERT INTO walrank_later.x VALUES (1);
ALTER SCHEMA walrank_later RENAME TO walrank_out;
INSERT INTO walrank_out.x VALUES (2);
ALTER SCHEMA walrank_out RENAME TO walrank_later;
INSERT INTO walrank_later.x VALUES (3);
SELECT * FROM changes('walrank_ddl');

-- partitions_are_tables_of_their_own
CREATE TABLE part (id int, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 (v text, id int NOT NULL);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
INSERT INTO part VALUES (1, 'a'), (11, 'b');
UPDATE part SET id = 12 WHERE id = 1;
TRUNCATE part;
SELECT * FROM changes('walrank_ddl');

-- table_without_columns_and_with_many
CREATE TABLE none ();
INSERT INTO none DEFAULT VALUES;
\set columns 1500
\getenv columns WALRANK_COLUMNS
SELECT set_config('test.columns', :'columns', false) = :'columns';
DO $$ BEGIN EXECUTE 'CREATE TABLE many (id int PRIMARY KEY, ' || (SELECT string_agg('c' || i || ' int DEFAULT ' || i, ', ') FROM generate_series(2, current_setting('test.columns')::int - 1) i) || ', final int DEFAULT 77)'; END $$;
INSERT INTO many VALUES (1);
SELECT c FROM changes('walrank_ddl') c WHERE length(c) < 100 AND (c !~ '^    ' OR c ~ 'final');

SELECT pg_drop_replication_slot('walrank_ddl');
DROP TABLE u, fast, copy_of_u, part, none, many;
DROP SCHEMA walrank_later, two CASCADE;
