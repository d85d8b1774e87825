-- The extension's objects; walrank.setup(), watch() and unwatch().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
DROP PUBLICATION IF EXISTS walrank, walrank_config;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
RESET client_min_messages;
\pset null (null)
\set SHOW_CONTEXT never
CREATE SCHEMA ext;
CREATE SCHEMA "Odd ""Schema";

-- every_function_is_pinned: no function of ours resolves names along the caller's search path
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE pronamespace = 'walrank'::regnamespace AND lanname IN ('sql', 'plpgsql')
	AND NOT coalesce(proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}';
-- nothing_for_public, and nothing runs with its owner's rights
SELECT p.oid::regprocedure FROM pg_proc p WHERE pronamespace = 'walrank'::regnamespace
	AND (prosecdef OR EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0));
SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'walrank'::regnamespace
	AND EXISTS (SELECT FROM aclexplode(coalesce(relacl, acldefault('r', relowner))) WHERE grantee = 0);
-- schema_belongs_to_the_extension
SELECT count(*) FROM pg_depend WHERE classid = 'pg_namespace'::regclass AND objid = 'walrank'::regnamespace AND deptype = 'e';
-- a schema of the same name, made first by somebody else, is refused
BEGIN;
DROP EXTENSION walrank;
CREATE SCHEMA walrank;
CREATE EXTENSION walrank;
ROLLBACK;

-- watch_makes_the_publications for a superuser; setup may be repeated
CREATE TABLE ext.item (id bigint PRIMARY KEY, att jsonb, title text);
SELECT walrank.watch('ext.item', 'att');
SELECT walrank.setup();
SELECT pubname, pubowner::regrole, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname ~ '^walrank' ORDER BY 1;
SELECT pubname, schemaname, tablename FROM pg_publication_tables WHERE pubname ~ '^walrank' ORDER BY 1, 2, 3;
SELECT relation, map FROM walrank.watched;
SELECT has_table_privilege('walrank_reader', 'ext.item', 'SELECT'), has_schema_privilege('walrank_reader', 'ext', 'USAGE');
-- watch_is_idempotent
SELECT walrank.watch('ext.item', 'att');
SELECT relation, map FROM walrank.watched;
-- another map
SELECT walrank.watch('ext.item');
SELECT relation, map FROM walrank.watched;
-- setup_repairs what a restore forgets
ALTER PUBLICATION walrank_config DROP TABLE walrank.control;
SELECT walrank.setup();
SELECT count(*) FROM pg_publication_tables WHERE pubname = 'walrank_config';
-- setup_refuses_what_is_not_ours
CREATE ROLE regress_walrank_other SUPERUSER;
DROP PUBLICATION walrank;
CREATE PUBLICATION walrank FOR ALL TABLES;
ALTER PUBLICATION walrank OWNER TO regress_walrank_other;
SELECT walrank.setup();
ALTER PUBLICATION walrank OWNER TO walrank_admin;
SET client_min_messages = error;
ALTER PUBLICATION walrank OWNER TO CURRENT_USER;
DROP PUBLICATION walrank;
DROP ROLE regress_walrank_other;
CREATE PUBLICATION walrank WITH (publish = 'insert');
ALTER PUBLICATION walrank OWNER TO walrank_admin;
RESET client_min_messages;
SELECT walrank.setup();
DROP PUBLICATION walrank;
SELECT walrank.setup();
SELECT walrank.watch('ext.item', 'att');

-- odd_names, keys of all kinds
CREATE TABLE "Odd ""Schema"."Ta.ble'; --" ("Id" uuid, n int, "My Map" jsonb, PRIMARY KEY ("Id", n));
SELECT walrank.watch('"Odd ""Schema"."Ta.ble''; --"', 'My Map');
SELECT * FROM pg_publication_tables WHERE pubname = 'walrank' ORDER BY 2, 3;
SELECT walrank.unwatch('"Odd ""Schema"."Ta.ble''; --"');

-- refusals_name_the_cure, and nothing remains of them
CREATE TABLE ext.no_key (id int, a int);
CREATE TABLE ext.no_key_at_all (a int);
CREATE UNLOGGED TABLE ext.unlogged (id int PRIMARY KEY);
CREATE TEMPORARY TABLE temporary (id int PRIMARY KEY);
CREATE TABLE ext.partitioned (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE ext.partition PARTITION OF ext.partitioned DEFAULT;
CREATE VIEW ext.view AS SELECT 1 AS id;
CREATE MATERIALIZED VIEW ext.matview AS SELECT 1 AS id;
CREATE SEQUENCE ext.sequence;
CREATE FOREIGN DATA WRAPPER ext_wrapper;
CREATE SERVER ext_server FOREIGN DATA WRAPPER ext_wrapper;
CREATE FOREIGN TABLE ext.foreign_table (id int) SERVER ext_server;
CREATE TABLE ext.identity_nothing (id int PRIMARY KEY);
ALTER TABLE ext.identity_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE ext.identity_index (id int PRIMARY KEY, other int NOT NULL UNIQUE);
ALTER TABLE ext.identity_index REPLICA IDENTITY USING INDEX identity_index_other_key;
CREATE TABLE ext.identity_full (id int PRIMARY KEY);
ALTER TABLE ext.identity_full REPLICA IDENTITY FULL;
CREATE TABLE ext."deferrable" (a int, "B" int, PRIMARY KEY (a, "B") DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE ext.filtered (id int PRIMARY KEY, j json);
ALTER PUBLICATION walrank ADD TABLE ext.filtered (j) WHERE (id > 0);
SELECT walrank.watch('ext.no_key');
SELECT walrank.watch('ext.no_key_at_all');
SELECT walrank.watch('ext.unlogged');
DO $$ BEGIN
	PERFORM walrank.watch('temporary');
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RAISE NOTICE '%', regexp_replace(sqlerrm, 'pg_temp_[0-9]+', 'pg_temp');
END $$;
SELECT walrank.watch('ext.partitioned');
SELECT walrank.watch('ext.partition');
SELECT walrank.watch('ext.view');
SELECT walrank.watch('ext.matview');
SELECT walrank.watch('ext.sequence');
SELECT walrank.watch('ext.foreign_table');
SELECT walrank.watch('ext.no_key_pkey');
SELECT walrank.watch('ext.item_pkey');
SELECT walrank.watch('pg_class');
SELECT walrank.watch('information_schema.sql_features');
SELECT walrank.watch('walrank.ranking');
SELECT walrank.watch('ext.identity_nothing');
SELECT walrank.watch('ext.identity_index');
SELECT walrank.watch('ext.identity_full');
SELECT walrank.watch('ext."deferrable"');
SELECT walrank.watch('ext.filtered');
ALTER PUBLICATION walrank DROP TABLE ONLY ext.filtered;
SELECT walrank.watch('ext.filtered', 'absent');
SELECT walrank.watch('ext.filtered', 'j');
SELECT walrank.watch(NULL);
SELECT walrank.watch(1);
SELECT relation FROM walrank.watched ORDER BY 1;
-- the cures cure
ALTER TABLE ext.no_key ADD PRIMARY KEY (id);
ALTER TABLE ext."deferrable" DROP CONSTRAINT deferrable_pkey, ADD PRIMARY KEY (a, "B");
ALTER TABLE ext.filtered ALTER COLUMN j TYPE jsonb USING to_jsonb(j);
SELECT walrank.watch('ext.no_key'), walrank.watch('ext."deferrable"'), walrank.watch('ext.filtered', 'j');
-- children of an inheritance tree are tables of their own
CREATE TABLE ext.parent (id int PRIMARY KEY);
CREATE TABLE ext.child () INHERITS (ext.parent);
SELECT walrank.watch('ext.parent');
SELECT tablename FROM pg_publication_tables WHERE pubname = 'walrank' AND tablename IN ('parent', 'child');
-- row level security is allowed, and said
CREATE TABLE ext.secured (id int PRIMARY KEY);
ALTER TABLE ext.secured ENABLE ROW LEVEL SECURITY;
SELECT walrank.watch('ext.secured');

-- unwatch_undoes_watch, and may be repeated
SELECT walrank.unwatch('ext.secured'), walrank.unwatch('ext.secured');
SELECT count(*) FROM walrank.watched WHERE relation = 'ext.secured';
SELECT count(*) FROM pg_publication_tables WHERE pubname = 'walrank' AND tablename = 'secured';
SELECT has_table_privilege('walrank_reader', 'ext.secured', 'SELECT');

-- a failed watch changes nothing
CREATE TABLE ext.late (id int PRIMARY KEY);
BEGIN;
SELECT walrank.watch('ext.late');
ROLLBACK;
SELECT count(*) FROM pg_publication_tables WHERE tablename = 'late';

-- hostile_search_path: objects of the same names, in front of everything
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.bad() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hostile code was run'; END $$;
CREATE FUNCTION hostile.text_eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bad()';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.text_eq);
CREATE FUNCTION hostile.name_eq(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bad()';
CREATE OPERATOR hostile.= (LEFTARG = name, RIGHTARG = name, FUNCTION = hostile.name_eq);
CREATE FUNCTION hostile.format(text, VARIADIC "any") RETURNS text LANGUAGE internal AS 'text_format';
CREATE FUNCTION hostile.to_regclass(text) RETURNS regclass LANGUAGE sql AS 'SELECT hostile.bad()::text::regclass';
CREATE FUNCTION hostile.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT hostile.bad()::text::timestamptz';
CREATE FUNCTION hostile.pg_has_role(name, name, text) RETURNS boolean LANGUAGE sql AS 'SELECT hostile.bad()';
CREATE VIEW hostile.pg_class AS SELECT hostile.bad();
CREATE VIEW hostile.pg_publication AS SELECT hostile.bad();
SET search_path = hostile, pg_catalog, ext;
SELECT walrank.setup();
SELECT walrank.watch('ext.late'), walrank.unwatch('ext.late'), walrank.watch('ext.item', 'att');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('hostile', 'ext.item', 'term t weight 1 price');
UPDATE walrank.ranking SET enabled = true;
SELECT walrank.score('hostile', i) FROM (SELECT i FROM (VALUES (ROW(1, '{"price": [3, "2020-01-01"]}', 'x')::ext.item)) v(i)) x;
RESET search_path;
DELETE FROM walrank.ranking WHERE name = 'hostile';

-- configuration is in a dump, the stream's own state is not
SELECT unnest(extconfig)::regclass FROM pg_extension WHERE extname = 'walrank' ORDER BY 1;
-- watch and its publications do not outlive their locks for ever
SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'walrank'::regnamespace AND proname IN ('watch', 'unwatch', 'setup') ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA ext CASCADE;
DROP SCHEMA hostile CASCADE;
DROP SCHEMA "Odd ""Schema" CASCADE;
DROP FOREIGN DATA WRAPPER ext_wrapper CASCADE;
DELETE FROM walrank.watched;
