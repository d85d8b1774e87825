-- Full text search in the order of a ranking, against an oracle that reads everything and places one item after the other.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DROP SCHEMA IF EXISTS walrank_out CASCADE;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset null (null)
CREATE SCHEMA se;
CREATE SCHEMA walrank_out;
CREATE TABLE se.doc (id int PRIMARY KEY, title text, words tsvector GENERATED ALWAYS AS (to_tsvector('simple', title)) STORED);
-- as sink postgres makes them
CREATE TABLE walrank_out.score_se_doc (id int, ranking text, tier int NOT NULL, pin int, score float8 NOT NULL, blocked bool NOT NULL, version int NOT NULL, seq bigint NOT NULL,
	commit_lsn pg_lsn, evaluated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, ranking)) WITH (fillfactor = 70);
CREATE TABLE walrank_out.owner (table_name text PRIMARY KEY, sink_id text NOT NULL, relation text NOT NULL);
INSERT INTO walrank_out.owner VALUES ('score_se_doc', 'search', 'se.doc');
SELECT walrank.watch('se.doc');
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'se.doc', 'term t 1'), ('odd-one', 'se.doc', 'term t 1');

-- the_statements: text alone, to be looked at
\pset format unaligned
\pset tuples_only on
SELECT walrank.search_function('home', 'se.doc', 'words');
\pset tuples_only off
\pset format aligned
SELECT walrank.search_function('home', 'se.doc', 'words') \gexec
-- they may be run again
SET client_min_messages = warning;
SELECT walrank.search_function('home', 'se.doc', 'words') \gexec
RESET client_min_messages;
SELECT indexdef FROM pg_indexes WHERE schemaname IN ('se', 'walrank_out') AND indexname !~ '_pkey$' ORDER BY 1;

-- what it takes
SELECT walrank.search_function('home', 'se.doc', NULL);
SELECT walrank.search_function('nothing', 'se.doc', 'words');
SELECT walrank.search_function('nothing', 'se.doc', 'words', scores => 'se.doc');
CREATE TABLE se.copy (id int, title text);
SELECT walrank.search_function('home', 'se.copy', 'to_tsvector(''simple'', title)');

-- an expression, names that need quotes, keys of several columns, a table of documents beside the items
CREATE TABLE se."Odd Docs" ("K 1" text, n int, score text, "query" text, PRIMARY KEY ("K 1", n));
CREATE TABLE walrank_out."score_se_Odd" ("K 1" text, n int, ranking text, tier int NOT NULL, pin int, score float8 NOT NULL, blocked bool NOT NULL, version int NOT NULL, seq bigint NOT NULL, PRIMARY KEY ("K 1", n, ranking));
SELECT walrank.search_function('odd-one', 'se."Odd Docs"', 'to_tsvector(''simple'', coalesce(score, '''') || '' '' || "query")', scores => 'walrank_out."score_se_Odd"') \gexec
INSERT INTO se."Odd Docs" SELECT 'k' || i % 3, i, 'w' || i % 2, 'all' FROM generate_series(1, 9) i;
INSERT INTO walrank_out."score_se_Odd" SELECT "K 1", n, 'odd-one', n % 2, CASE n WHEN 6 THEN 2 END, n, n = 3, 1, 1 FROM se."Odd Docs" WHERE n <> 5;
SELECT * FROM se."search_odd-one"('all');
SELECT "position", (item).n FROM se."search_odd-one"('w1', 2, 1);
SELECT count(*), count(*) FILTER (WHERE s ~ 'FUNCTION se."Find it"\(') AS named FROM walrank.search_function('home', 'se.doc', 'words', 'Find it') s;

-- as_the_oracle: all matches read and sorted; then position by position the item pinned there, else the next of the others
CREATE FUNCTION se.oracle(asked tsquery) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
	others int[]; pins record; result int[] := '{}'; next_pin int := 1; pin_ids int[]; pin_places int[];
BEGIN
	SELECT array_agg(s.id ORDER BY s.tier DESC, s.score DESC, s.id) INTO others FROM se.doc d, walrank_out.score_se_doc s
		WHERE s.id = d.id AND to_tsvector('simple', d.title) @@ asked AND s.ranking = 'home' AND NOT s.blocked AND s.pin IS NULL;
	SELECT array_agg(s.id ORDER BY s.pin), array_agg(s.pin ORDER BY s.pin) INTO pin_ids, pin_places FROM se.doc d, walrank_out.score_se_doc s
		WHERE s.id = d.id AND to_tsvector('simple', d.title) @@ asked AND s.ranking = 'home' AND NOT s.blocked AND s.pin IS NOT NULL;
	LOOP
		IF next_pin <= coalesce(cardinality(pin_ids), 0) AND (pin_places[next_pin] <= cardinality(result) + 1 OR coalesce(cardinality(others), 0) = 0) THEN
			result := result || pin_ids[next_pin];
			next_pin := next_pin + 1;
		ELSIF coalesce(cardinality(others), 0) > 0 THEN
			result := result || others[1];
			others := others[2:];
		ELSE
			RETURN result;
		END IF;
	END LOOP;
END $$;
-- a case is a number: documents of some of twelve words, scores with many ties, a few pins, blocked and missing ones
CREATE FUNCTION se.make(n int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE se.doc, walrank_out.score_se_doc;
	PERFORM setseed((n % 1000) / 1000.0);
	INSERT INTO se.doc SELECT i, (SELECT string_agg('w' || w, ' ') FROM generate_series(1, 12) w WHERE random() < 1.0 / sqrt(w + i * 0)) FROM generate_series(1, (random() * 120)::int) i;
	INSERT INTO walrank_out.score_se_doc (id, ranking, tier, pin, score, blocked, version, seq)
		SELECT id, r, (random() * 4)::int - 2, NULL, (random() * 10)::int, random() < 0.05, 1, 1 FROM se.doc, unnest('{home,other}'::text[]) r WHERE random() < 0.9;
	UPDATE walrank_out.score_se_doc s SET pin = p.place FROM (SELECT DISTINCT ON (place) id, place FROM (SELECT id, 1 + (random() * random() * (CASE n % 3 WHEN 0 THEN 10 ELSE 60 END))::int AS place FROM se.doc WHERE random() < 0.12) q) p
		WHERE s.id = p.id AND s.ranking = 'home';
	ANALYZE se.doc, walrank_out.score_se_doc;
END $$;
CREATE FUNCTION se.check_case(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	asked tsquery := ('w' || 1 + n % 12)::tsquery; expected int[]; got int[]; paged int[] := '{}'; page int[]; size int := 1 + n % 9; at int := 0; wrong int;
BEGIN
	IF n % 4 = 1 THEN asked := asked || 'w2'::tsquery; ELSIF n % 4 = 2 THEN asked := asked && '!w3'::tsquery; END IF;
	expected := se.oracle(asked);
	SELECT coalesce(array_agg((item).id ORDER BY "position"), '{}'), count(*) FILTER (WHERE pin IS NOT NULL AND "position" <> pin AND "position" < cardinality(expected) - (SELECT count(*) FROM walrank_out.score_se_doc WHERE pin IS NOT NULL))
		INTO got, wrong FROM se.search_home(asked, 1000);
	LOOP
		SELECT coalesce(array_agg((item).id), '{}') INTO page FROM se.search_home(asked, size, at);
		EXIT WHEN page = '{}';
		paged := paged || page;
		at := at + size;
	END LOOP;
	RETURN CASE WHEN got IS DISTINCT FROM expected THEN format('case %s: %s: %s, expected %s', n, asked, got, expected)
		WHEN paged IS DISTINCT FROM expected THEN format('case %s: %s in pages of %s: %s, expected %s', n, asked, size, paged, expected)
		WHEN wrong > 0 THEN format('case %s: %s pins are not in their place', n, wrong) END;
END $$;
CREATE FUNCTION se.check_all(n_from int, n_to int, OUT cases int, OUT rows bigint, OUT pinned bigint, OUT wrong text) LANGUAGE plpgsql AS $$
DECLARE
	said text; counted record;
BEGIN
	cases := 0; rows := 0; pinned := 0;
	FOR n IN n_from .. n_to LOOP
		PERFORM se.make(n);
		said := se.check_case(n);
		wrong := coalesce(wrong, said);
		SELECT count(*) AS rows, count(pin) AS pins INTO counted FROM se.search_home(('w' || 1 + n % 12)::tsquery, 1000);
		cases := cases + 1; rows := rows + counted.rows; pinned := pinned + counted.pins;
	END LOOP;
END $$;
SET jit = off; -- plans that are switched off below are only made dear, which would set the compiler to work
SELECT cases, rows > 2500 AS many, pinned > 250 AS with_pins, wrong FROM se.check_all(1, 120);
-- whichever plan it takes
SET enable_seqscan = off;
SELECT wrong FROM se.check_all(121, 150);
SET enable_bitmapscan = off;
SET enable_sort = off;
SET enable_hashjoin = off;
SELECT wrong FROM se.check_all(151, 180);
RESET ALL;
-- nothing asked, nothing wanted
SELECT se.make(7);
SELECT count(*) FROM se.search_home(NULL);
SELECT count(*) FROM se.search_home('w1', 0);
SELECT count(*) FROM se.search_home('w1', -5, -5);
SELECT count(*) = count(*) FILTER (WHERE "position" BETWEEN 1 AND 20) FROM se.search_home('w1', skip => -3);
SELECT count(*) = (SELECT cardinality(se.oracle('w1'))) FROM se.search_home('w1', 2147483647, 0);

SET client_min_messages = warning;
DROP SCHEMA se, walrank_out CASCADE;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
