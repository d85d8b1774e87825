-- walrank.rule_library: names that rankings share.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DELETE FROM walrank.ranking;
DELETE FROM walrank.rule_library;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set VERBOSITY default
SET extra_float_digits = 1;
CREATE SCHEMA lib;
CREATE TABLE lib.item (id bigint PRIMARY KEY, price float8, cost float8, tags text[], seen timestamptz, att jsonb);
SELECT walrank.watch('lib.item', 'att');
INSERT INTO lib.item VALUES (1, 8, 6, '{new,sale}', '2020-01-01', '{"views": [150, "2020-01-01T11:00:00Z"]}');

-- a library is names alone, each right by itself
INSERT INTO walrank.rule_library VALUES ('shop', E'const VAT = 0.25\nmacro margin(a, b) = (a - b) / a\nlet cheap = price < 10');
INSERT INTO walrank.rule_library VALUES ('bad', 'term t 1');
INSERT INTO walrank.rule_library VALUES ('bad', E'const A = 1\nlet b = log1p(''x'')');
INSERT INTO walrank.rule_library VALUES ('Bad', '');
INSERT INTO walrank.rule_library VALUES ('none', NULL);

-- rankings use it
INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('uses', 'lib.item', E'use shop\nterm m margin(price, cost)\nboost VAT when cheap'),
	('plain', 'lib.item', 'term t price');
SELECT walrank.score('uses', i) FROM lib.item i;
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('lost', 'lib.item', E'use nothing\nterm t 1');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('wrong', 'lib.item', E'use shop\nterm t 1 + cheap');
-- what it reads through the library must be there as well
INSERT INTO walrank.rule_library VALUES ('elsewhere', 'let there = "no".such');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('wrong', 'lib.item', E'use elsewhere\nterm t there');

-- a change of the library is one of the ranking, at once and by its version
SELECT name, version FROM walrank.ranking ORDER BY name;
UPDATE walrank.rule_library SET definition = replace(definition, '0.25', '0.5') WHERE name = 'shop';
SELECT name, version FROM walrank.ranking ORDER BY name;
SELECT walrank.score('uses', i) FROM lib.item i;
UPDATE walrank.rule_library SET definition = definition WHERE name = 'shop';
SELECT name, version FROM walrank.ranking ORDER BY name;
-- also within one statement's life
CREATE FUNCTION lib.twice() RETURNS SETOF float8 LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR n IN 1 .. 2 LOOP
		SELECT i INTO r FROM lib.item i;
		RETURN NEXT walrank.score('uses', r.i);
		UPDATE walrank.rule_library SET definition = replace(definition, '0.5', '0.125') WHERE name = 'shop';
	END LOOP;
END $$;
SELECT lib.twice();

-- no change that a ranking could not go on with
UPDATE walrank.rule_library SET definition = 'const VAT = 0.5' WHERE name = 'shop';
UPDATE walrank.rule_library SET definition = 'let VAT' WHERE name = 'shop';
UPDATE walrank.rule_library SET definition = replace(definition, 'VAT', 'TAX') WHERE name = 'shop';
UPDATE walrank.rule_library SET name = 'shop2' WHERE name = 'shop';
DELETE FROM walrank.rule_library WHERE name = 'shop';
TRUNCATE walrank.rule_library;
SELECT walrank.score('uses', i) FROM lib.item i;
-- both at once, in the right order
BEGIN;
UPDATE walrank.ranking SET definition = E'use shop\nterm t VAT' WHERE name = 'uses';
UPDATE walrank.rule_library SET definition = 'const VAT = 0.75' WHERE name = 'shop';
SELECT walrank.score('uses', i) FROM lib.item i;
COMMIT;
-- nobody needs the other, nor this one in the end
DELETE FROM walrank.rule_library WHERE name = 'elsewhere';
UPDATE walrank.ranking SET definition = 'term t 1' WHERE name = 'uses';
DELETE FROM walrank.rule_library;

-- as in a restored dump: the ranking first, the library after it
SET check_function_bodies = off;
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('early', 'lib.item', E'use later\nterm t L');
INSERT INTO walrank.rule_library VALUES ('later', 'const L = 3');
INSERT INTO walrank.rule_library VALUES ('bad', 'term t 1');
RESET check_function_bodies;
SELECT walrank.score('early', i) FROM lib.item i;
-- what does not work anyway does not stand in the way
SET check_function_bodies = off;
UPDATE walrank.rule_library SET definition = 'const M = 3' WHERE name = 'later';
RESET check_function_bodies;
UPDATE walrank.rule_library SET definition = 'const N = 3' WHERE name = 'later';
SELECT walrank.score('early', i) FROM lib.item i;
DELETE FROM walrank.ranking WHERE name = 'early';
DELETE FROM walrank.rule_library;

-- walrank.score() with the row before
INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('delta', 'lib.item', 'term t delta(price) missing 99'),
	('rate', 'lib.item', 'term t rate(views, 1d) missing 99'),
	('known', 'lib.item', 'term t price missing last known'),
	('facts', 'lib.item', E'term price 1 when changed(price)\nterm same 10 when not changed(cost)\nterm tags 100 when contains(old(tags), ''old'')\nterm seen 1000 when changed(seen)\nterm unknown 10000 when changed(att) is null');
CREATE TABLE lib.before (LIKE lib.item);
INSERT INTO lib.before VALUES (1, 10, 6, '{old}', '2020-01-01', '{"views": [100, "2020-01-01T09:00:00Z"]}');
SELECT name, walrank.score(name, i, now(), previous => ROW(b.*)::lib.item), walrank.score(name, i, now(), NULL) AS without
FROM walrank.ranking, lib.item i, lib.before b WHERE name IN ('delta', 'rate', 'known', 'facts') ORDER BY name;
SELECT walrank.score('known', ROW(1, NULL, NULL, NULL, NULL, NULL)::lib.item, previous => ROW(1, 7, NULL, NULL, NULL, NULL)::lib.item);
SELECT walrank.score('delta', ROW(1, 5, NULL, NULL, NULL, NULL)::lib.item, previous => ROW(1, 5, NULL, NULL, NULL, NULL)::lib.item);
SELECT walrank.score('delta', i, now(), b) FROM lib.item i, lib.before b;

SET client_min_messages = warning;
DELETE FROM walrank.ranking;
DROP SCHEMA lib CASCADE;
