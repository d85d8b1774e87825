-- walrank.explain(): what it says is what happened, to the last bit.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset null (null)
CREATE SCHEMA ex;
CREATE TABLE ex.item (id bigint, part text, att jsonb, price numeric, tags text[], at timestamptz, PRIMARY KEY (id, part));
SELECT walrank.watch('ex.item', 'att');
INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('home', 'ex.item', E'where views > 10 # enough\nterm pop weight 0.3 sqrt(views)\nterm cheap weight 2 1 / price missing 0.5\nterm fresh linear_decay(age(at), 64d)\nterm odd price / (views - 20) on_error quarantine\n'
		'boost 0.05 when ''a'' in tags\nfactor 1.1 when not exists(color)\nclamp 0 .. 3\nround 0.0001'),
	('many', 'ex.item', E'term a weight 0.1 views missing 0\nterm b weight 0.7 log1p(price) on_error 0.3\nterm c weight 1.3 sqrt(views)\nboost 0.1\nboost -0.01 * price\nfactor 1.01\nfactor 0.97 when views > 50\nround 1e-12'),
	('off', 'ex.item', 'term a 1');
UPDATE walrank.ranking SET enabled = false WHERE name = 'off';
INSERT INTO ex.item SELECT n, 'x', jsonb_build_object('views', jsonb_build_array(n * 7, '2026-01-01T00:00:00Z')), n % 5, CASE WHEN n % 2 = 0 THEN '{a,"b c"}'::text[] END, '2026-01-01'
	FROM generate_series(1, 40) n;
UPDATE ex.item SET att = att || '{"color": "red", "views": [["q", "r"], "2026-02-03T04:05:06Z"]}' WHERE id = 5;
UPDATE ex.item SET att = att || '{"views": [20, "2026-02-03T04:05:06.5Z"]}' WHERE id = 6;

-- the whole of one
SELECT jsonb_pretty(walrank.explain('home', '{"id": 4, "part": "x"}', '2026-03-01'));
-- where it is not in the ranking, where it has no score, where it is not there, where the ranking is off
SELECT e -> 'found' AS found, e -> 'shown' AS shown, e -> 'totals' AS totals, jsonb_path_query_array(e, '$.statements[*].why') AS why, e -> 'interventions' AS interventions
	FROM unnest(ARRAY[1, 5, 6, 10, 400]) id, LATERAL walrank.explain('home', jsonb_build_object('id', id, 'part', 'x'), '2026-03-01') e;
SELECT e -> 'found' AS found, e -> 'enabled' AS enabled, e ? 'statements' AS explained FROM walrank.explain('off', '{"id": 4, "part": "x"}') e;
SELECT walrank.explain('nothing', '1');
SELECT walrank.explain('home', '4');
SELECT walrank.explain(NULL, '4'), walrank.explain('home', NULL);

-- contributions_reproduce_the_score: added up as the language says, in doubles, they are the score
CREATE FUNCTION ex.redo(e jsonb) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	s jsonb; terms float8 := 0; boosts float8 := 0; factors float8 := 1; v float8;
BEGIN
	FOR s IN SELECT * FROM jsonb_array_elements(e -> 'statements') LOOP
		CONTINUE WHEN NOT (s -> 'counts')::bool;
		v := (s -> 'contribution')::float8;
		IF s ->> 'kind' = 'term' THEN
			terms := terms + v;
			IF v <> (s -> 'weight')::float8 * (s -> 'value')::float8 THEN RAISE 'weight * value is not the contribution: %', s; END IF;
		ELSIF s ->> 'kind' = 'boost' THEN boosts := boosts + v;
		ELSIF s ->> 'kind' = 'factor' THEN factors := factors * v;
		END IF;
	END LOOP;
	RETURN (terms + boosts) * factors;
END $$;
SELECT r.name, count(*), bool_and(ex.redo(e) = (e -> 'totals' -> 'before_clamp')::float8) AS same, bool_and(walrank.score(r.name, i, '2026-03-01') = (e -> 'score')::float8) AS as_score
	FROM ex.item i, walrank.ranking r, LATERAL walrank.explain(r.name, jsonb_build_object('id', i.id, 'part', i.part), '2026-03-01') e
	WHERE r.enabled AND e -> 'totals' ->> 'outcome' = 'score' GROUP BY r.name ORDER BY r.name;
SELECT count(*), bool_and(walrank.score(r.name, i, '2026-03-01') IS NULL) AS no_score FROM ex.item i, walrank.ranking r, LATERAL walrank.explain(r.name, jsonb_build_object('id', i.id, 'part', i.part), '2026-03-01') e
	WHERE r.enabled AND e -> 'totals' ->> 'outcome' <> 'score';

-- interventions: what each did, those in force alone
INSERT INTO walrank.intervention (id, relation, ranking, key, condition, action, position, tier, factor, addend, score, priority, author, reason, valid_from, valid_until) VALUES
	(1, 'ex.item', 'home', '{"id": 4, "part": "x"}', NULL, 'boost', NULL, NULL, 1.5, NULL, NULL, 1, 'me', 'campaign', '2026-01-01', '2026-12-31'),
	(2, 'ex.item', NULL, NULL, 'views < 60', 'boost', NULL, NULL, NULL, 0.25, NULL, 0, 'you', 'small ones', '2026-01-01', NULL),
	(3, 'ex.item', NULL, '{"id": 4, "part": "x"}', NULL, 'pin', 3, NULL, NULL, NULL, NULL, 0, 'me', 'seen', '2026-01-01', NULL),
	(4, 'ex.item', NULL, '{"id": 4, "part": "x"}', NULL, 'top', NULL, NULL, NULL, NULL, NULL, 0, 'me', 'seen', '2026-01-01', NULL),
	(5, 'ex.item', NULL, '{"id": 4, "part": "x"}', NULL, 'tier', NULL, 2, NULL, NULL, NULL, -1, 'me', 'later', '2026-01-01', NULL),
	(6, 'ex.item', NULL, '{"id": 4, "part": "x"}', NULL, 'block', NULL, NULL, NULL, NULL, NULL, 0, 'me', 'over', '2026-01-01', '2026-02-01'),
	(7, 'ex.item', NULL, '{"id": 1, "part": "x"}', NULL, 'allow', NULL, NULL, NULL, NULL, NULL, 0, 'me', 'new', '2026-01-01', NULL),
	(8, 'ex.item', NULL, '{"id": 8, "part": "x"}', NULL, 'freeze', NULL, NULL, NULL, NULL, 2, 0, 'me', 'held', '2026-01-01', NULL),
	(9, 'ex.item', NULL, '{"id": 8, "part": "x"}', NULL, 'allow', NULL, NULL, NULL, NULL, NULL, 0, 'me', 'held', '2026-01-01', NULL),
	(10, 'ex.item', NULL, '{"id": 9, "part": "x"}', NULL, 'block', NULL, NULL, NULL, NULL, NULL, 0, 'me', 'out', '2026-01-01', NULL),
	(11, 'ex.item', NULL, '{"id": 9, "part": "x"}', NULL, 'boost', NULL, NULL, 2, NULL, NULL, 0, 'me', 'vain', '2026-01-01', NULL);
SELECT jsonb_pretty(walrank.explain('home', '{"id": 4, "part": "x"}', '2026-03-01') -> 'interventions' -> 0);
SELECT k AS id, e -> 'score' AS score, e -> 'tier' AS tier, e -> 'pin' AS pin, e -> 'organic' AS organic, i -> 'id' AS intervention, i ->> 'effect' AS effect, i -> 'counts' AS counts
	FROM unnest('{1,4,8,9}'::int[]) k, LATERAL walrank.explain('home', jsonb_build_object('id', k, 'part', 'x'), '2026-03-01') e, jsonb_array_elements(e -> 'interventions') WITH ORDINALITY a (i, o) ORDER BY k, o;
SELECT count(*), bool_and(s.score IS NOT DISTINCT FROM (e ->> 'score')::float8 AND s.shown = (e -> 'shown')::bool AND s.pin IS NOT DISTINCT FROM (e ->> 'pin')::int
		AND s.tier IS NOT DISTINCT FROM (e ->> 'tier')::int AND s.organic IS NOT DISTINCT FROM (e ->> 'organic')::float8) AS as_standing
	FROM ex.item i, LATERAL walrank.standing('many', i, '2026-03-01') s, LATERAL walrank.explain('many', jsonb_build_object('id', i.id, 'part', i.part), '2026-03-01') e;

-- the key as the stream writes it
SELECT walrank.item_key('ex.item', '{"part": "x", "id": 4}') = item_key AS as_interventions_have_it FROM walrank.intervention WHERE id = 6;
SELECT walrank.item_key('ex.none', '1');

SET client_min_messages = warning;
DROP SCHEMA ex CASCADE;
DELETE FROM walrank.intervention;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
