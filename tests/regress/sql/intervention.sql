-- Interventions: what is refused, what is kept, what is logged, where items stand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DROP ROLE IF EXISTS regress_walrank_search, regress_walrank_looks;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset null (null)
CREATE SCHEMA iv;
CREATE DOMAIN iv.never AS int NOT NULL;
CREATE TABLE iv.item (id bigint PRIMARY KEY, att jsonb, title text, n iv.never DEFAULT 1, listed_at timestamptz);
CREATE TABLE iv.pair ("Id" uuid, at timestamptz, n numeric(8,2), title text NOT NULL, PRIMARY KEY (n, "Id", at));
CREATE TABLE iv.unwatched (id int PRIMARY KEY);
SELECT walrank.watch('iv.item', 'att'), walrank.watch('iv.pair');
INSERT INTO walrank.ranking (name, relation, definition) VALUES
	('home', 'iv.item', E'where views > 10\nterm t weight 1 views'),
	('other', 'iv.item', 'term t weight 2 views'),
	('pairs', 'iv.pair', 'term t 1');

-- tried: what is said of a row, "kept" or the error, its detail and its hint
CREATE FUNCTION iv.tried(given jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	row walrank.intervention;
	message text; detail text; hint text;
BEGIN
	row := jsonb_populate_record(NULL::walrank.intervention,
		'{"relation": "iv.item", "reason": "because", "author": "me", "priority": 0, "valid_from": "2026-01-01", "created_at": "2026-01-01"}' || given);
	row.id := nextval('walrank.intervention_id_seq');
	INSERT INTO walrank.intervention SELECT row.*;
	RETURN 'kept';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', message, nullif(detail, ''), nullif(hint, ''));
END $$;
\pset format unaligned
\pset tuples_only on

-- what_it_is_about: a key or a condition, of a watched table and a ranking of it
SELECT iv.tried('{"action": "block"}');
SELECT iv.tried('{"action": "block", "key": 1, "condition": "views > 1"}');
SELECT iv.tried('{"action": "block", "key": 1, "relation": "item"}');
SELECT iv.tried('{"action": "block", "key": 1, "relation": "iv.unwatched"}');
SELECT iv.tried('{"action": "block", "key": 1, "ranking": "nothing"}');
SELECT iv.tried('{"action": "block", "key": 1, "ranking": "pairs"}');
SELECT iv.tried('{"action": "block", "key": 1, "relation": null}');
SELECT iv.tried('{"key": 1, "action": null}');
SELECT iv.tried('{"action": "hide", "key": 1}');
SELECT iv.tried('{"action": "block", "key": 1, "ranking": "home"}');

-- actions_have_their_columns_and_no_others
SELECT action || ' ' || (c.given - 'action' - 'key') || text ': ' || iv.tried(c.given) FROM
	unnest('{pin,tier,top,bottom,boost,bury,block,allow,freeze}'::text[]) action,
	unnest(ARRAY['{}', '{"position": 1}', '{"tier": 1}', '{"factor": 0.5}', '{"addend": 1}', '{"score": 1}', '{"factor": 0.5, "addend": 1}', '{"factor": 0.5, "tier": -2}']::jsonb[]) g,
	LATERAL (SELECT g || jsonb_build_object('action', action, 'key', 1) AS given) c;
SELECT iv.tried('{"action": "pin", "condition": "views > 1", "position": 1}');

-- values_have_their_ranges
SELECT v || text ': ' || iv.tried(v || '{"key": 1}') FROM unnest(ARRAY[
	'{"action": "pin", "position": 0}', '{"action": "pin", "position": -1}', '{"action": "pin", "position": 10000}', '{"action": "pin", "position": 10001}',
	'{"action": "tier", "tier": 4000}', '{"action": "tier", "tier": 4001}', '{"action": "tier", "tier": -4000}', '{"action": "bury", "tier": -4001}',
	'{"action": "boost", "factor": 0}', '{"action": "boost", "factor": -1}', '{"action": "boost", "factor": "NaN"}', '{"action": "boost", "factor": "Infinity"}',
	'{"action": "boost", "addend": "-Infinity"}', '{"action": "boost", "factor": 1e9, "addend": -1e9}', '{"action": "freeze", "score": "NaN"}', '{"action": "freeze", "score": -3}',
	'{"action": "bury", "factor": 1}', '{"action": "bury", "factor": 0.999}', '{"action": "bury", "factor": 0}',
	'{"action": "top", "valid_until": "2026-01-01"}', '{"action": "top", "valid_until": "2025-01-01"}', '{"action": "top", "valid_until": "infinity"}',
	'{"action": "top", "valid_from": "infinity"}', '{"action": "top", "valid_from": "-infinity"}', '{"action": "top", "valid_from": "-infinity", "valid_until": "-infinity"}',
	'{"action": "top", "reason": " "}', '{"action": "top", "reason": null}', '{"action": "top", "author": ""}', '{"action": "top", "author": "\n\t"}']::jsonb[]) v;
SELECT iv.tried(jsonb_build_object('action', 'top', 'key', 1, 'reason', repeat('x', 1024)));
SELECT iv.tried(jsonb_build_object('action', 'top', 'key', 1, 'reason', repeat('x', 1025)));
SELECT iv.tried(jsonb_build_object('action', 'top', 'key', 1, 'author', repeat('x', 1025)));
SELECT iv.tried(jsonb_build_object('action', 'top', 'key', repeat('x', 5000)));

-- conditions_are_compiled, and the place of an error is one in the condition
SELECT c || text ': ' || iv.tried(jsonb_build_object('action', 'block', 'condition', c)) FROM unnest(ARRAY[
	'views > 10', 'price >', 'views >> 1', 'views > 10 and (', 'view''s > 1', ' ', '(views > 1', 'views > ''x', 'äö > ! 1', 'views + 1',
	E'views > 10\nround 5', E'views > 1\nand views < 5', E'(views > 1\nand views < 5)', E'(views > 1\n or ))', E'views > 1)\nround 5\nterm b (1',
	'views > 1 on_error quarantine', 'views > 1 # many', 'title = ''x''', 'age(listed_at) > 7d', 'exists(x.y)']) c;
SELECT iv.tried('{"relation": "iv.pair", "action": "block", "condition": "views > 1"}');
SELECT iv.tried(jsonb_build_object('action', 'block', 'condition', 'views > 1' || repeat(' ', 4087)));
SELECT iv.tried(jsonb_build_object('action', 'block', 'condition', 'views > 1' || repeat(' ', 4088)));
SELECT iv.tried(jsonb_build_object('action', 'block', 'condition', repeat('(', 31) || 'views > 1' || repeat(')', 31)));

-- keys_are_those_of_the_table
SELECT k || text ': ' || iv.tried(jsonb_build_object('action', 'top', 'key', k)) FROM
	unnest(ARRAY['17', '"18"', '{"id": 19}', '"x"', 'null', '[1]', '{}', '{"id": 1, "x": 2}', '{"x": 2}', 'true', '1.5', '99999999999999999999', '{"id": null}']::jsonb[]) k;
SELECT k || text ': ' || iv.tried(jsonb_build_object('relation', 'iv.pair', 'action', 'top', 'key', k)) FROM unnest(ARRAY['7', '{"n": 1, "Id": "00000000-0000-0000-0000-000000000001"}',
	'{"n": 1, "Id": "00000000-0000-0000-0000-000000000001", "at": "2026-01-01", "title": "x"}', '{"n": 1, "Id": "x", "at": "2026-01-01"}', '{"n": 1, "Id": "00000000-0000-0000-0000-000000000001", "At": "2026-01-01"}',
	'{"n": 1, "Id": "00000000-0000-0000-0000-00000000000A", "at": "2026-01-01"}']::jsonb[]) k;
SELECT key, item_key FROM walrank.intervention WHERE action = 'top' AND key NOT IN ('1') ORDER BY id;
\pset tuples_only off
\pset format aligned

-- item_key_is_what_the_stream_carries, for types of all kinds, as equal values are written in the row
CREATE TABLE iv.kinds (kind text PRIMARY KEY, written text);
INSERT INTO iv.kinds VALUES ('smallint', '-5'), ('int', '2147483647'), ('bigint', '9223372036854775807'), ('numeric', '1.500'), ('numeric', '1e100') ON CONFLICT DO NOTHING;
INSERT INTO iv.kinds VALUES ('numeric(10,3)', '-2.5'), ('real', '0.1'), ('float8', '-1e-300'), ('text', 'ä"\n'), ('varchar(5)', 'abc'), ('char(6)', 'ab'), ('bool', 't'),
	('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), ('date', '2026-02-28'), ('timestamp', '2026-02-28 10:00'), ('timestamptz', '2026-02-28 10:00-08'), ('bytea', '\x00ff'),
	('inet', '10.0.0.1/8'), ('interval', '1 day'), ('money', '1.50'), ('int[]', '{1,2}'), ('jsonb', '{"a": 1.0}'), ('iv.never', '3'), ('oid', '4000000000'), ('bit(3)', '101');
SET client_min_messages = warning;
DO $$
DECLARE
	k record; key jsonb; found bytea; encoded bytea;
BEGIN
	FOR k IN SELECT * FROM iv.kinds ORDER BY kind COLLATE "C" LOOP
		EXECUTE format('CREATE TABLE iv.of_kind (note text NOT NULL, k %s PRIMARY KEY)', k.kind);
		EXECUTE format('INSERT INTO iv.of_kind VALUES (''x'', %L)', k.written);
		PERFORM walrank.watch('iv.of_kind');
		EXECUTE 'SELECT to_jsonb(k), walrank.encode(t) FROM iv.of_kind t' INTO key, encoded;
		INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('iv.of_kind', key, 'top', 'r') RETURNING item_key INTO found;
		IF position(found IN encoded) = 0 OR length(found) < 3 OR NOT walrank.has_item('iv.of_kind', key) THEN
			RAISE WARNING '%: % is not in %', k.kind, found, encoded;
		END IF;
		-- the same without the row, where the type has but one way to write it
		DELETE FROM iv.of_kind;
		IF walrank.has_item('iv.of_kind', key) THEN
			RAISE WARNING '%: an item that is not there', k.kind;
		END IF;
		UPDATE walrank.intervention SET priority = 1 WHERE relation = 'iv.of_kind' RETURNING item_key INTO found;
		IF position(found IN encoded) = 0 THEN
			RAISE WARNING '% without its row: % is not in %', k.kind, found, encoded;
		END IF;
		DELETE FROM walrank.intervention WHERE relation = 'iv.of_kind';
		PERFORM walrank.unwatch('iv.of_kind');
		DROP TABLE iv.of_kind;
	END LOOP;
END $$;
RESET client_min_messages;
CREATE TABLE iv.number (n numeric PRIMARY KEY);
INSERT INTO iv.number VALUES (1.50);
SELECT walrank.watch('iv.number');
INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('iv.number', '1.5', 'top', 'r'), ('iv.number', '2.5', 'top', 'r') RETURNING key;

-- users_do_not_write_item_key
INSERT INTO walrank.intervention (relation, key, action, reason, item_key) VALUES ('iv.item', '5', 'top', 'r', '\xff') RETURNING item_key;
UPDATE walrank.intervention SET item_key = '\xff' WHERE key = '5' RETURNING item_key;
INSERT INTO walrank.intervention (relation, condition, action, reason, item_key) VALUES ('iv.item', 'views > 5', 'top', 'r', '\xff') RETURNING item_key;
-- updates are checked as well; the id stays
UPDATE walrank.intervention SET key = '6' WHERE key = '5' RETURNING key, item_key;
UPDATE walrank.intervention SET action = 'tier' WHERE key = '6';
UPDATE walrank.intervention SET id = 4000000 WHERE key = '6';
-- one_whose_table_is_gone_can_be_ended, and nothing else
DROP TABLE iv.number;
UPDATE walrank.intervention SET valid_until = 'tomorrow' WHERE relation = 'iv.number' AND key = '2.5' RETURNING key, item_key;
UPDATE walrank.intervention SET key = '3' WHERE relation = 'iv.number' AND key = '2.5';
DELETE FROM walrank.watched WHERE relation = 'iv.number';
UPDATE walrank.intervention SET valid_until = now() + '1h' WHERE relation = 'iv.number' AND key = '2.5' RETURNING key;
DELETE FROM walrank.intervention;

-- the_log_names_who_it_was, not who the row says
TRUNCATE walrank.intervention_log;
CREATE ROLE regress_walrank_search IN ROLE walrank_admin;
CREATE ROLE regress_walrank_looks IN ROLE walrank_reader;
GRANT USAGE ON SCHEMA iv TO PUBLIC;
SET SESSION AUTHORIZATION regress_walrank_search;
INSERT INTO walrank.intervention (relation, key, action, reason, author) VALUES ('iv.item', '7', 'block', 'spam', 'somebody else') RETURNING key, author;
INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('iv.item', '8', 'top', 'good') RETURNING author;
UPDATE walrank.intervention SET valid_until = '2100-01-01' WHERE key = '7';
DELETE FROM walrank.intervention WHERE key = '7';
SELECT who, op, before ->> 'author' AS author_before, after ->> 'author' AS author_after, after ->> 'valid_until' AS until FROM walrank.intervention_log ORDER BY id;
INSERT INTO walrank.intervention_log (op, intervention) VALUES ('insert', 1);
UPDATE walrank.intervention_log SET who = 'x';
DELETE FROM walrank.intervention_log;
TRUNCATE walrank.intervention_log;
-- nor by pretending to restore a dump
SET check_function_bodies = off;
INSERT INTO walrank.intervention (relation, key, action, reason, item_key) VALUES ('iv.item', '9', 'top', 'hidden', '\xff') RETURNING item_key;
RESET check_function_bodies;
SELECT count(*) FROM walrank.intervention_log WHERE after ->> 'reason' = 'hidden';
CREATE TEMPORARY TABLE intervention (id bigint);
CREATE TRIGGER forge AFTER INSERT ON intervention FOR EACH ROW EXECUTE FUNCTION walrank.intervention_write_log();
SET SESSION AUTHORIZATION regress_walrank_looks;
SELECT count(*) FROM walrank.intervention;
SELECT count(*) FROM walrank.intervention_log;
SELECT count(*) FROM walrank.audit;
INSERT INTO walrank.intervention (relation, key, action, reason) VALUES ('iv.item', '8', 'top', 'good');
RESET SESSION AUTHORIZATION;
DROP TABLE pg_temp.intervention;
-- the triggers are nothing else
CREATE TRIGGER misuse AFTER INSERT ON iv.unwatched FOR EACH ROW EXECUTE FUNCTION walrank.intervention_write_log();
INSERT INTO iv.unwatched VALUES (1);
DROP TRIGGER misuse ON iv.unwatched;
CREATE TRIGGER misuse BEFORE DELETE ON iv.unwatched FOR EACH ROW EXECUTE FUNCTION walrank.intervention_check();
INSERT INTO iv.unwatched VALUES (1);
DELETE FROM iv.unwatched;
-- a_dump_is_restored as pg_dump loads data: before the tables, their keys, and the log
DELETE FROM walrank.intervention;
TRUNCATE walrank.intervention_log;
BEGIN;
SET LOCAL check_function_bodies = off;
COPY walrank.intervention (id, relation, key, action, reason, item_key) FROM stdin;
900	iv.later	3	top	restored	\\x1a021806
\.
SELECT key, item_key FROM walrank.intervention;
SELECT count(*) FROM walrank.intervention_log;
COPY walrank.intervention (id, relation, key, action, reason, item_key) FROM stdin;
901	iv.later	3	hide	restored	\\x1a021806
\.
ROLLBACK;

-- standing: score and interventions, of which those in force count
INSERT INTO iv.item SELECT n, jsonb_build_object('views', jsonb_build_array(n * 10, '2026-01-01')) FROM generate_series(1, 6) n;
CREATE FUNCTION iv.stand(VARIADIC actions text[]) RETURNS TABLE (id bigint, shown bool, blocked bool, score float8, tier int, pin int, organic float8) LANGUAGE plpgsql AS $$
DECLARE
	one text;
BEGIN
	DELETE FROM walrank.intervention;
	FOREACH one IN ARRAY actions LOOP
		EXECUTE 'INSERT INTO walrank.intervention (relation, reason, ' || split_part(one, ' := ', 1) || ') VALUES (''iv.item'', ''r'', ' || split_part(one, ' := ', 2) || ')';
	END LOOP;
	RETURN QUERY SELECT i.id, s.* FROM iv.item i, LATERAL walrank.standing('home', i, '2026-06-01') s ORDER BY s.pin, s.tier DESC, s.score DESC, i.id;
END $$;
ALTER TABLE walrank.intervention ALTER valid_from SET DEFAULT '2026-01-01';
SELECT * FROM iv.stand(VARIADIC '{}');
-- equal priority: the later one; higher priority before all of it
SELECT * FROM iv.stand('key, action, tier := ''2'', ''tier'', 3', 'key, action, tier := ''2'', ''tier'', 5', 'key, action, tier, priority := ''3'', ''tier'', 3, 1', 'key, action, tier := ''3'', ''tier'', 5');
-- boosts and buries one after the other, in order, also by condition
SELECT * FROM iv.stand('condition, action, factor, addend := ''views >= 50'', ''boost'', 2, 1', 'key, action, factor, priority := ''6'', ''bury'', 0.5, 1', 'key, action := ''5'', ''bury''', 'condition, action := ''views < 30'', ''top''');
-- block, freeze, allow: an item outside comes in allowed or frozen, never against a block
SELECT * FROM iv.stand('key, action := ''1'', ''allow''', 'key, action, score := ''2'', ''freeze'', 1000', 'key, action := ''2'', ''top''', 'condition, action := ''views = 30'', ''block''', 'key, action, score, priority := ''3'', ''freeze'', 9, 100');
-- one position, several pins: higher priority keeps it, the next takes the following one; an item's first pin alone counts
SELECT * FROM iv.stand('key, action, position := ''2'', ''pin'', 1', 'key, action, position := ''3'', ''pin'', 1', 'key, action, position, priority := ''4'', ''pin'', 1, 5', 'key, action, position := ''5'', ''pin'', 2', 'key, action, position, priority := ''5'', ''pin'', 4, 1');
-- a pin takes its position though its item is blocked, or outside
SELECT * FROM iv.stand('key, action, position, priority := ''1'', ''pin'', 1, 1', 'key, action, position := ''3'', ''pin'', 1', 'key, action, position, priority := ''4'', ''pin'', 2, 3', 'key, action := ''4'', ''block''');
-- time: from valid_from on, until valid_until, not at it
SELECT * FROM iv.stand('key, action, valid_from, valid_until := ''2'', ''top'', ''2026-05-31'', ''2026-06-01''', 'key, action, valid_from, valid_until := ''3'', ''top'', ''2026-06-01'', ''2026-06-01 00:00:00.000001''', 'key, action, valid_from := ''4'', ''top'', ''2026-06-01 00:00:00.000001''', 'key, action, valid_until := ''5'', ''top'', ''infinity''');
SELECT at, s.tier FROM unnest('{2025-12-31,2026-05-31,2026-06-01}'::timestamptz[]) at, iv.item i, LATERAL walrank.standing('home', i, at) s WHERE i.id = 2;
-- of this ranking, or of all
SELECT * FROM iv.stand('key, action, ranking := ''2'', ''top'', ''other''', 'key, action, ranking := ''3'', ''top'', ''home''', 'key, action := ''4'', ''top''');
SELECT i.id, s.score, s.tier FROM iv.item i, LATERAL walrank.standing('other', i, '2026-06-01') s ORDER BY i.id;
-- by key; without one of them; an item that is not there; a ranking that is not
SELECT * FROM walrank.standing_of('home', '4', '2026-06-01');
SELECT * FROM walrank.standing_of('home', '{"id": 4}', '2026-06-01', (SELECT max(id) FROM walrank.intervention));
SELECT * FROM walrank.standing_of('home', '40', '2026-06-01');
SELECT * FROM walrank.standing_of('nothing', '4', '2026-06-01');
SELECT * FROM walrank.standing_of('home', '"x"', '2026-06-01');
SELECT walrank.standing(NULL, i), walrank.standing('home', NULL) FROM iv.item i WHERE id = 1;
SELECT walrank.standing('home', i, 'infinity') FROM iv.item i WHERE id = 1;
SELECT walrank.standing('pairs', i) FROM iv.item i WHERE id = 1;
-- a score that is not finite is none
SELECT * FROM iv.stand('key, action, factor := ''2'', ''boost'', 1e308', 'key, action, factor := ''2'', ''boost'', 1e308') WHERE id = 2;
-- a disabled ranking has no items, and its interventions wait
UPDATE walrank.ranking SET enabled = false WHERE name = 'other';
SELECT s.* FROM iv.item i, LATERAL walrank.standing('other', i, '2026-06-01') s WHERE i.id = 2;
-- what is written between two calls of one statement's function is seen
CREATE FUNCTION iv.twice() RETURNS SETOF int LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	DELETE FROM walrank.intervention;
	FOR n IN 1 .. 3 LOOP
		SELECT i INTO r FROM iv.item i WHERE i.id = 2;
		RETURN NEXT (walrank.standing('home', r.i, '2026-06-01')).tier;
		BEGIN
			INSERT INTO walrank.intervention (relation, key, action, tier, reason) VALUES ('iv.item', '2', 'tier', n, 'r');
			RETURN NEXT (walrank.standing('home', r.i, '2026-06-01')).tier;
			IF n = 2 THEN
				RAISE EXCEPTION 'undo';
			END IF;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
END $$;
SELECT iv.twice();
-- a condition that can no longer be used has no effect, which is said; another shape of the table is looked at again
ALTER SEQUENCE walrank.intervention_id_seq RESTART;
DELETE FROM walrank.intervention;
INSERT INTO iv.pair VALUES ('00000000-0000-0000-0000-000000000001', '2026-01-01', 1, 'x');
INSERT INTO walrank.intervention (relation, condition, action, reason) VALUES ('iv.pair', 'n = 1', 'top', 'r'), ('iv.pair', 'title = ''x''', 'bottom', 'r');
SELECT s.tier FROM iv.pair i, LATERAL walrank.standing('pairs', i, '2026-06-01') s;
ALTER TABLE iv.pair RENAME title TO subject;
SELECT s.tier FROM iv.pair i, LATERAL walrank.standing('pairs', i, '2026-06-01') s;
DELETE FROM walrank.intervention WHERE condition ~ 'title';
SELECT s.tier FROM iv.pair i, LATERAL walrank.standing('pairs', i, '2026-06-01') s;

-- holds, matched, audit, moved
DELETE FROM walrank.intervention;
TRUNCATE walrank.intervention_log;
ALTER SEQUENCE walrank.intervention_id_seq RESTART;
UPDATE walrank.ranking SET enabled = false WHERE name = 'other';
ALTER TABLE walrank.intervention ALTER valid_from SET DEFAULT now();
SELECT id, walrank.holds('views > 30 and views < 60', i) FROM iv.item i ORDER BY id;
SELECT walrank.holds('views >', i) FROM iv.item i;
SELECT walrank.holds('age(listed_at) > 1d', ROW(1, '{}', '', 1, '2026-01-01')::iv.item, '2026-01-01 23:59'), walrank.holds('age(listed_at) > 1d', ROW(1, '{}', '', 1, '2026-01-01')::iv.item, '2026-01-03');
INSERT INTO walrank.intervention (relation, ranking, key, condition, action, factor, position, reason, valid_until) VALUES
	('iv.item', 'home', '3', NULL, 'boost', 1.5, NULL, 'campaign', '2100-01-01'),
	('iv.item', 'home', NULL, 'views > 30', 'bury', NULL, NULL, 'sold out', NULL),
	('iv.item', NULL, '1', NULL, 'pin', NULL, 1, 'must be seen', NULL),
	('iv.item', 'home', '1', NULL, 'allow', NULL, NULL, 'must be seen', NULL),
	('iv.item', NULL, '77', NULL, 'block', NULL, NULL, 'will come', NULL);
UPDATE walrank.intervention SET valid_until = clock_timestamp() WHERE action = 'bury';
SELECT id, action, walrank.matched(id) FROM walrank.intervention ORDER BY id;
SELECT walrank.matched(4000000);
SELECT op, intervention AS id, relation, ranking, key, condition, action, value, reason, valid_until = '2100-01-01' AS until, in_force, moved FROM walrank.audit ORDER BY entry;

-- a table may call its columns as we call tables
CREATE TABLE iv.aliases (t text PRIMARY KEY, i int, r text, k text);
SELECT walrank.watch('iv.aliases');
INSERT INTO iv.aliases VALUES ('x', 5, 'r', 'k');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('aliases', 'iv.aliases', 'term i weight 1 i');
INSERT INTO walrank.intervention (relation, key, condition, action, factor, reason) VALUES
	('iv.aliases', '"x"', NULL, 'boost', 2, 'by key'), ('iv.aliases', NULL, 'i > 4', 'top', NULL, 'by condition');
SELECT walrank.has_item('iv.aliases', '"x"'), walrank.has_item('iv.aliases', '{"t": "y"}');
SELECT shown, score, tier FROM walrank.standing_of('aliases', '"x"');
SELECT v.reason, walrank.matched(v.id) FROM walrank.intervention v WHERE v.relation = 'iv.aliases' ORDER BY 1;

SET client_min_messages = warning;
DROP SCHEMA iv CASCADE;
DELETE FROM walrank.intervention;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
DROP ROLE regress_walrank_search, regress_walrank_looks;
