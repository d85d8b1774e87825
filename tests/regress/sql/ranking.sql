-- Rankings: what is compiled, refused and versioned when a row of walrank.ranking is written.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DELETE FROM walrank.ranking;
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE SCHEMA rank;
CREATE TABLE rank.item (id bigint PRIMARY KEY, att jsonb, title text, views int);
CREATE TABLE rank.flat (id bigint PRIMARY KEY, views int);

-- only_watched_tables_have_rankings
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'rank.item', 'term t weight 1 views');
SELECT walrank.watch('rank.item', 'att'), walrank.watch('rank.flat');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'item', 'term t weight 1 views');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'rank.item', 'term t weight 1 views');

-- names are safe to put anywhere
INSERT INTO walrank.ranking (name, relation, definition) SELECT n, 'rank.item', 'term t weight 1 views' FROM (VALUES ('')) t(n);
INSERT INTO walrank.ranking (name, relation, definition) SELECT n, 'rank.item', 'term t weight 1 views' FROM (VALUES ('../x')) t(n);
INSERT INTO walrank.ranking (name, relation, definition) SELECT n, 'rank.item', 'term t weight 1 views' FROM (VALUES (repeat('x', 64))) t(n);
INSERT INTO walrank.ranking (name, relation, definition) VALUES (NULL, 'rank.item', 'term t weight 1 views');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('null', NULL, 'term t weight 1 views');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('null', 'rank.item', NULL);

-- bad_definitions_are_refused_with_line_and_column
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', E'# a comment\nterm a weight 1 views\nterm b weight 1 lgo1p(views)');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', E'term a weight 1 (views + 1');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', E'term ä weight x views');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', E'tern a weight 1 views');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', E'\n\n  where title = \'x');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', '');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('bad', 'rank.item', repeat(' ', 70000));
-- an attribute that can mean nothing: no such column, and no map
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('flat', 'rank.flat', 'term t weight 1 price');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('flat', 'rank.flat', 'term t weight 1 views');
UPDATE walrank.ranking SET definition = 'term t weight 1 price' WHERE name = 'flat';
UPDATE walrank.ranking SET relation = 'rank.nothing' WHERE name = 'flat';
SELECT name, relation, definition, enabled, version FROM walrank.ranking ORDER BY name;

-- version_rises_with_what_is_computed and never falls
UPDATE walrank.ranking SET definition = definition WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET definition = 'term t weight 2 views' WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET enabled = false WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET enabled = true WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET relation = 'rank.flat' WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET relation = 'rank.item', version = 1 WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET version = 1 WHERE name = 'home' RETURNING version;
UPDATE walrank.ranking SET version = 40 WHERE name = 'home' RETURNING version;
INSERT INTO walrank.ranking VALUES ('home', 'rank.item', 'term t weight 3 views') ON CONFLICT (name) DO UPDATE SET definition = excluded.definition RETURNING version;
INSERT INTO walrank.ranking (name, relation, definition, version) VALUES ('zero', 'rank.item', 'term t weight 1 views', 0);

-- another_map_checks_the_rankings_again, and makes new versions of them
UPDATE walrank.ranking SET definition = 'term t weight 1 price' WHERE name = 'home' RETURNING version;
SELECT walrank.watch('rank.item');
SELECT map FROM walrank.watched WHERE relation = 'rank.item';
UPDATE walrank.ranking SET definition = 'term t weight 1 views' WHERE name = 'home' RETURNING version;
SELECT walrank.watch('rank.item');
SELECT version FROM walrank.ranking WHERE name = 'home';
SELECT walrank.watch('rank.item', 'att');

-- rankings_outlive_unwatch
SELECT walrank.unwatch('rank.item');
SELECT name, version FROM walrank.ranking WHERE relation = 'rank.item';
UPDATE walrank.ranking SET definition = 'term t weight 5 views' WHERE name = 'home';
DROP TABLE rank.flat;
UPDATE walrank.ranking SET definition = 'term t weight 5 views' WHERE name = 'flat';

-- a_dump_is_restored_in_any_order: as pg_dump loads data, before the list of tables
BEGIN;
SET LOCAL check_function_bodies = off;
COPY walrank.ranking (name, relation, definition, enabled, version) FROM stdin;
restored	rank.item	term t weight 1 price	t	17
\.
COPY walrank.ranking (name, relation, definition, enabled, version) FROM stdin;
broken	rank.item	term t weight	t	1
\.
ROLLBACK;

-- the trigger is nothing else
SELECT walrank.ranking_check();
CREATE TRIGGER misuse BEFORE INSERT ON rank.item FOR EACH ROW EXECUTE FUNCTION walrank.ranking_check();
INSERT INTO rank.item VALUES (1);

SET client_min_messages = warning;
DROP SCHEMA rank CASCADE;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
