-- walrank.score(): the daemon's score, in SQL.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DELETE FROM walrank.ranking;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset null (null)
SET extra_float_digits = 1;
CREATE SCHEMA sc;
CREATE TABLE sc.item (id bigint PRIMARY KEY, att jsonb, title text, listed_at timestamptz, tags text[], rate numeric);
CREATE TABLE sc.other (id bigint PRIMARY KEY, views int);
SELECT walrank.watch('sc.item', 'att'), walrank.watch('sc.other');
INSERT INTO sc.item VALUES
	(1, '{"views": [100, "2020-01-01"], "price": [50, "2020-01-01"], "status": ["on_sale", "2020-01-01"]}', 'one', '2020-01-01', '{new,verified}', 1.5),
	(2, '{"views": [0, "2020-01-01"], "price": [1500.5, "2020-01-01"], "status": ["on_sale", "2020-01-01"]}', 'two', '2020-01-02', '{}', NULL),
	(3, '{"views": [7, "2020-01-01"], "status": ["sold", "2020-01-01"]}', 'three', NULL, NULL, 3),
	(4, NULL, NULL, NULL, NULL, NULL),
	(5, '{"views": ["many", "2020-01-01"], "price": [0, "2020-01-01"], "status": ["on_sale", "2020-01-01"]}', 'five', '2020-01-03', '{verified}', 0),
	(6, '"no object"', 'six', NULL, NULL, 1e131000);
INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('plain', 'sc.item', 'term views weight 0.5 log1p(views) missing 0'),
	('home', 'sc.item', E'where status = \'on_sale\'\nterm views weight 0.6 log1p(views) missing 0\nterm price weight 0.1 steps(price, [(0, 1.0), (100, 0.8), (1000, 0.3)], below = 0)\nboost +0.05 when \'verified\' in tags\nround 0.0001'),
	('fresh', 'sc.item', 'term age weight 1 half_life(age(listed_at), 1d) missing skip'),
	('strict', 'sc.item', E'term inverse weight 1 1 / rate\non_error quarantine');

-- score_equals_the_formula
SELECT id, walrank.score('plain', i), round((0.5 * ln(1 + v)) / 1e-9) * 1e-9 AS expected
FROM sc.item i, LATERAL (SELECT CASE WHEN id IN (1, 2, 3) THEN (att -> 'views' ->> 0)::float8 ELSE 0 END AS v) v ORDER BY id;
-- null_is_outside: where does not hold, or is not known
SELECT id, walrank.score('home', i) FROM sc.item i ORDER BY id;
-- time is an argument; now by default
SELECT id, walrank.score('fresh', i, '2020-01-03') FROM sc.item i ORDER BY id;
SELECT count(*) FROM sc.item i WHERE walrank.score('fresh', i) IS DISTINCT FROM walrank.score('fresh', i, now())
	OR walrank.score('fresh', i) IS DISTINCT FROM walrank.score('fresh', i, NULL);
SELECT walrank.score('fresh', i, 'infinity') FROM sc.item i WHERE id = 1;
-- quarantine_is_said, and costs no other row its score
SELECT id, walrank.score('strict', i) FROM sc.item i ORDER BY id;

-- an edit within one statement's life is seen by the next
CREATE FUNCTION sc.twice() RETURNS SETOF float8 LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	FOR n IN 1 .. 2 LOOP
		SELECT i INTO r FROM sc.item i WHERE id = 1;
		RETURN NEXT walrank.score('plain', r.i);
		UPDATE walrank.ranking SET definition = 'term views weight 2 views missing 0' WHERE name = 'plain';
	END LOOP;
END $$;
SELECT sc.twice();
-- so is another ranking for every row, and another shape of the table
SELECT id, name, walrank.score(name, i) FROM sc.item i, walrank.ranking WHERE id < 3 AND name IN ('plain', 'home') ORDER BY id, name;
ALTER TABLE sc.item ADD COLUMN views int DEFAULT 9, DROP COLUMN title;
SELECT id, walrank.score('plain', i) FROM sc.item i ORDER BY id;
-- disabled rankings have no scores
UPDATE walrank.ranking SET enabled = false WHERE name = 'plain';
SELECT id, walrank.score('plain', i) FROM sc.item i WHERE id = 1;

-- misuse
SELECT walrank.score('nothing', i) FROM sc.item i WHERE id = 1;
SELECT walrank.score('home', o) FROM (SELECT (ROW(1, 2)::sc.other) AS o) o;
SELECT walrank.score('home', o.o) FROM (SELECT (ROW(1, 2)::sc.other) AS o) o;
SELECT walrank.score('home', ROW(1, 2));
SELECT walrank.score(NULL, i), walrank.score('home', NULL) FROM sc.item i WHERE id = 1;

-- one_encoding: what score() reads is what the stream carries
SELECT length(walrank.encode(i)) > 20 AS row, length(walrank.describe('sc.item')) > 20 AS relation FROM sc.item i WHERE id = 1;

SET client_min_messages = warning;
DROP SCHEMA sc CASCADE;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
