-- walrank.merge(), walrank.would_change() and the aggregate.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
RESET client_min_messages;
\pset null (null)
CREATE SCHEMA merge_test;
SET search_path = merge_test, public;

-- the newer one wins, attribute by attribute; keys of both sides
SELECT walrank.merge('{"count": [100, "2017-01-01 10:10:00"], "price": [8880, "2018-01-04 10:10:12"], "gone": [1, "2016-01-01"]}',
					 '{"count": [101, "2017-01-02 10:10:00"], "price": [1, "2018-01-04 10:10:11"], "newatt": [120, "2020-05-05"]}');
-- equal times: the incoming one
SELECT walrank.merge('{"a": [1, "2020-01-01"]}', '{"a": [2, "2020-01-01T00:00:00Z"]}');

-- absent_side_never_wins: not against a missing time, not against 1970, not against a time before that
SELECT key, walrank.merge(value, '{"other": [1, "2020-01-01"]}')
FROM (VALUES ('no time', '{"a": 5}'::jsonb), ('null time', '{"a": [5, null]}'), ('1970', '{"a": [5, "1970-01-01"]}'),
	('1950', '{"a": [5, "1950-01-01"]}'), ('malformed', '{"a": [5, "soon"]}')) t(key, value);

-- null_is_absence: NULL, {} and what is no object
SELECT a, b, walrank.merge(a, b), walrank.would_change(a, b)
FROM (VALUES (1, NULL::jsonb), (2, '{}'), (3, 'null'), (4, '[1]'), (5, '{"a": [1, "2020-01-01"]}')) x(i, a),
	(VALUES (1, NULL::jsonb), (2, '{}'), (3, 'null'), (4, '7'), (5, '{"b": [2, "2020-01-02"]}')) y(j, b)
ORDER BY i, j;

-- null_value_is_a_value: absent, null, [null, time] are different things
SELECT walrank.merge('{"a": [1, "2020-01-01"]}', b), walrank.would_change('{"a": [1, "2020-01-01"]}', b)
FROM (VALUES ('{}'::jsonb), ('{"a": null}'), ('{"a": [null, null]}'), ('{"a": [null, "2021-01-01"]}')) t(b);

-- known_value_with_newer_time_takes_the_time_but_is_no_change
SELECT walrank.merge(a, b), walrank.would_change(a, b)
FROM (VALUES ('{"a": [1.0, "2020-01-01"]}'::jsonb, '{"a": [1.00, "2021-01-01"]}'::jsonb),
	('{"a": [{"x": [1.0, true]}, "2020-01-01"]}', '{"a": [{"x": [1.00, true]}, "2021-01-01"]}'),
	('{"a": [{"x": [1.0, true]}, "2020-01-01"]}', '{"a": [{"x": [1.01, true]}, "2021-01-01"]}'),
	('{"a": ["1", "2020-01-01"]}', '{"a": [1, "2021-01-01"]}'),
	('{"a": [true, "2020-01-01"]}', '{"a": [false, "2021-01-01"]}')) t(a, b);
-- late_value_from_between_does_not_win
SELECT walrank.merge(walrank.merge('{"a": ["A", "2020-01-01"]}', '{"a": ["A", "2020-01-03"]}'), '{"a": ["B", "2020-01-02"]}');

-- stored_datum_is_returned_when_nothing_wins, as it is
SELECT walrank.merge('{"a": [1, "2020-01-01"], "b": 7}', '{"a": [2, "2019-12-31"]}');
-- what_is_written_is_in_stored_form, also attributes nobody touched
SELECT walrank.merge('{"a": [1, "2020-01-01"], "b": 7, "c": [1, "2020-01-01T00:00:00.000000Z"], "d": [1, "9999-99-99T99:99:99.999999Z"]}',
					 '{"e": [2, "2019-12-31"]}');

-- times, read the same under any setting
CREATE TABLE times (id serial, t jsonb);
INSERT INTO times (t) SELECT to_jsonb(t) FROM unnest('{2020-02-29,2019-02-29,2020-01-01 10:11,2020-01-01 10:11:12,2020-01-01T10:11:12,2020-01-01t10:11:12z,
	2020-01-01T10:11:12Z,2020-01-01 10:11:12.5,2020-01-01 10:11:12.123456,2020-01-01 10:11:12.1234564,2020-01-01 10:11:12.1234567Z,2020-01-01 10:11:12.,
	2020-01-01T10:11:12+02,2020-01-01T10:11:12+0230,2020-01-01T10:11:12.25-05:45,2020-01-01T10:11:12+16:00,2020-01-01T10:11:12 UTC,
	2020-01-01T23:59:60Z,2020-01-01T24:00:00Z,2020-13-01,2020-00-01,2020-01-00,2020-04-31,2020-01-01T10:60:00,0000-01-01,0001-01-01,9999-12-31T23:59:59.999999Z,
	9999-12-31T23:59:59.9999999Z,9999-12-31T23:59:59-01:00,0001-01-01T00:00:00+01:00,10000-01-01,-2020-01-01,1969-12-31T23:59:59.999999Z,
	infinity,-infinity,now,today,epoch,soon,01/02/2020,20200101,2020-1-1,"2020-01-01T10:11:12.000000Z ",2020-01-01T10:11:12.000000z}'::text[]) t;
INSERT INTO times (t) SELECT t::jsonb FROM unnest('{0,1,-1,1577873472,1577873472.123456,1577873472.1234567,1577873472123,1577873472123.4,100000000000,100000000001,
	-100000000001,253402300799999,253402300800000,1e15,1e131000,-1e131000,1e-16383,-62135596800,-62135596801000,true,[1],"{}","null","\"\""}'::text[]) t;
SET TimeZone = 'Asia/Kathmandu';
SET DateStyle = 'SQL, DMY';
SELECT left(t::text, 40) AS t, walrank.merge(NULL, jsonb_build_object('a', jsonb_build_array('v', t))) ->> 'a' AS stored FROM times
WHERE length(t::text) < 1000 ORDER BY id;
SELECT count(*), min(walrank.merge(NULL, jsonb_build_object('a', jsonb_build_array('v', t))) ->> 'a') FROM times WHERE length(t::text) >= 1000;
RESET TimeZone;
RESET DateStyle;
-- infinity_does_not_win_for_ever
SELECT walrank.merge(walrank.merge('{"a": [1, "2020-01-01"]}', '{"a": [2, "infinity"]}'), '{"a": [3, "2020-01-02"]}');
-- arrays that are no pair are values without a time
SELECT walrank.merge('{}', '{"a": [], "b": [1], "c": [1, "2020-01-01", 3], "d": ["x", true], "e": [["2020-01-01", 1], "2020-01-02"]}');

-- A slow oracle that shares nothing with the library: SQL's own jsonb and timestamptz.
CREATE FUNCTION oracle_time(t jsonb) RETURNS text LANGUAGE plpgsql SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' AS $$
DECLARE
	x timestamptz;
	n numeric;
BEGIN
	IF jsonb_typeof(t) = 'string' THEN
		IF t #>> '{}' !~ '^\d{4}-\d\d-\d\d([Tt ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?([Zz]|[+-](0\d|1[0-5])(:?[0-5]\d)?)?)?$' THEN
			RETURN NULL;
		END IF;
		BEGIN
			x := (t #>> '{}')::timestamptz;
		EXCEPTION WHEN OTHERS THEN
			RETURN NULL;
		END;
	ELSIF jsonb_typeof(t) = 'number' THEN
		n := t #>> '{}';
		IF abs(n) > 1e15 THEN
			RETURN NULL;
		END IF;
		n := round(CASE WHEN abs(n) > 1e11 THEN n / 1000 ELSE n END, 6);
		IF n < -62135596800 OR n >= 253402300800 THEN
			RETURN NULL;
		END IF;
		x := 'epoch'::timestamptz + trunc(n) * interval '1 second' + (n - trunc(n)) * 1000000 * interval '1 microsecond';
	END IF;
	IF x < '0001-01-01' OR x >= '10000-01-01' THEN
		RETURN NULL;
	END IF;
	RETURN to_char(x, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
END $$;
CREATE FUNCTION oracle_pair(v jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF jsonb_typeof(v) = 'array' AND jsonb_array_length(v) = 2 AND jsonb_typeof(v -> 1) IN ('string', 'number', 'null') THEN
		RETURN jsonb_build_array(v -> 0, coalesce(oracle_time(v -> 1), '1970-01-01T00:00:00.000000Z'));
	END IF;
	RETURN jsonb_build_array(v, '1970-01-01T00:00:00.000000Z');
END $$;
CREATE FUNCTION oracle_merge(stored jsonb, incoming jsonb, OUT merged jsonb, OUT changes boolean) LANGUAGE plpgsql AS $$
DECLARE
	k text;
	s jsonb;
	i jsonb;
	wins boolean := false;
BEGIN
	changes := false;
	merged := '{}';
	FOR k IN SELECT jsonb_object_keys(stored) LOOP
		merged := merged || jsonb_build_object(k, oracle_pair(stored -> k));
	END LOOP;
	FOR k IN SELECT jsonb_object_keys(incoming) LOOP
		i := oracle_pair(incoming -> k);
		s := merged -> k;
		IF s IS NULL OR (i ->> 1) COLLATE "C" > (s ->> 1) OR i ->> 1 = s ->> 1 AND i -> 0 <> s -> 0 THEN
			wins := true;
			changes := changes OR s IS NULL OR i -> 0 <> s -> 0;
			merged := merged || jsonb_build_object(k, i);
		END IF;
	END LOOP;
	IF NOT wins THEN
		merged := stored;
	END IF;
END $$;

-- random maps: keys of all lengths, values of all types, times of all forms
CREATE FUNCTION random_of(VARIADIC text[]) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1[1 + floor(random() * cardinality($1))::int]';
CREATE FUNCTION random_time() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE floor(random() * 9)
		WHEN 0 THEN to_jsonb(to_char(t, 'YYYY-MM-DD HH24:MI:SS')) WHEN 1 THEN to_jsonb(to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
		WHEN 2 THEN to_jsonb(to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.MS+03:00')) WHEN 3 THEN to_jsonb(extract(epoch FROM t))
		WHEN 4 THEN to_jsonb(floor(extract(epoch FROM t) * 1000)) WHEN 5 THEN to_jsonb(to_char(t, 'YYYY-MM-DD'))
		WHEN 6 THEN 'null' WHEN 7 THEN '"noise"' ELSE to_jsonb(to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) END::text
	FROM (SELECT timestamp '2020-01-01' + floor(random() * 4) * interval '10:20:30.5' AS t OFFSET 0) x
$$;
CREATE FUNCTION random_value() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT random_of('1', '1.0', '1.00', '-7.25', '1e300', '123456789012345678901234567890.5', '"a"', '"abc"', '""', '"a long text that is no time"', 'true', 'false',
		'null', '[]', '{}', '[1,2]', '[1.0,"x",null]', '{"b":1,"aa":[1,{"c":2.50}]}', '{"b":1.0,"aa":[1,{"c":2.5}]}', '["2020-01-01"]', '0', '[[[[1]]]]')
$$;
CREATE FUNCTION random_map(keys int) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	o text := '';
BEGIN
	FOR n IN 1 .. floor(random() * (keys + 1)) LOOP
		o := o || CASE o WHEN '' THEN '' ELSE ',' END
			|| to_json(repeat(random_of('k', 'ä', 'zz', ''), floor(random() * 3)::int) || floor(random() * keys)::text) || ':'
			|| CASE floor(random() * 8) WHEN 0 THEN random_value() WHEN 1 THEN '[' || random_value() || ',' || random_value() || ']'
				WHEN 2 THEN '[' || random_value() || ',' || random_time() || ',1]'
				ELSE '[' || random_value() || ',' || random_time() || ']' END;
	END LOOP;
	RETURN ('{' || o || '}')::jsonb;
END $$;

-- result_is_what_the_oracle_says, and is byte for byte the jsonb that the server itself would build
\set cases 3000
\getenv cases WALRANK_CASES
CREATE TABLE maps AS
	SELECT n, random_map(size) AS a, random_map(size) AS b, random_map(size) AS c
	FROM (SELECT n, (ARRAY[1, 3, 8, 20, 70])[1 + n % 5] AS size FROM generate_series(1, :cases) n) s;
CREATE FUNCTION valid(j jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT record_image_eq(ROW(j), ROW(j::text::jsonb)) AND j = j::text::jsonb AND jsonb_hash(j) = jsonb_hash(j::text::jsonb)
		AND j @> j::text::jsonb AND j <@ j::text::jsonb AND jsonb_cmp(j, j::text::jsonb) = 0 AND jsonb_pretty(j)::jsonb = j
$$;
SELECT count(*) = :cases AS tried, count(*) FILTER (WHERE NOT valid(m)) AS invalid,
	count(*) FILTER (WHERE m <> o.merged) AS wrong, count(*) FILTER (WHERE walrank.would_change(a, b) <> o.changes) AS wrong_change,
	count(*) FILTER (WHERE NOT valid(walrank.merge(NULL, a)) OR walrank.merge(NULL, a) <> (oracle_merge('{}', a)).merged) AS wrong_first
FROM maps, LATERAL (SELECT walrank.merge(a, b) AS m OFFSET 0) m, LATERAL oracle_merge(a, b) o;

-- idempotent, associative; in any order when times differ
SELECT count(*) FILTER (WHERE walrank.merge(a, a) <> a) AS not_idempotent,
	count(*) FILTER (WHERE walrank.merge(walrank.merge(a, b), b) <> walrank.merge(a, b)) AS not_idempotent_again,
	count(*) FILTER (WHERE walrank.merge(walrank.merge(x, b), c) <> walrank.merge(x, walrank.merge(walrank.merge(NULL, b), c))) AS not_associative
FROM maps, LATERAL (SELECT walrank.merge(NULL, a) AS x) x;
WITH updates AS (
	SELECT s, i, jsonb_build_object((ARRAY['a', 'bb', 'c'])[1 + (s + i * i) % 3], jsonb_build_array((s * 7 + i) % 3, i * 1000)) AS u
	FROM generate_series(1, :cases / 15) s, generate_series(1, 6) i
), orders AS (
	SELECT s, o, walrank.merge(u ORDER BY md5(o::text || i::text)) AS m FROM updates, generate_series(1, 40) o GROUP BY s, o
)
SELECT count(*) AS depends_on_order FROM (SELECT s FROM orders GROUP BY s HAVING count(DISTINCT m) > 1) x;

-- the aggregate: order given, NULLs, nothing
SELECT walrank.merge(j ORDER BY i) FROM (VALUES (1, '{"a": [1, 10]}'::jsonb), (2, NULL), (3, '{"a": [2, 10], "b": [1, 5]}'), (4, '{"b": [2, 4]}')) t(i, j);
SELECT walrank.merge(j) FROM (SELECT NULL::jsonb AS j WHERE false) t;

-- large_maps: thousands of keys, offsets every 32 entries
CREATE TABLE large AS SELECT
	(SELECT jsonb_object_agg('key ' || k, jsonb_build_array(repeat('v', k % 7), '2020-01-01')) FROM generate_series(1, 9000) k) AS a,
	(SELECT jsonb_object_agg('key ' || k, jsonb_build_array(k, '2020-01-0' || 1 + k % 2)) FROM generate_series(3, 20000, 17) k) AS b;
SELECT valid(m) AS valid, m = o.merged AS right, (SELECT count(*) FROM jsonb_object_keys(m)) AS keys, m -> 'key 8673' AS one
FROM large, LATERAL (SELECT walrank.merge(a, b) AS m OFFSET 0) m, LATERAL (
	SELECT jsonb_object_agg(key, value) AS merged FROM (SELECT DISTINCT ON (key) key, oracle_pair(value) AS value
		FROM (SELECT 1 AS side, * FROM large, jsonb_each(a) UNION ALL SELECT 2, * FROM large, jsonb_each(b)) x
		ORDER BY key, oracle_pair(value) ->> 1 DESC, side DESC) y) o;

-- stored out of line, compressed or not, and with a short header
CREATE TABLE item (id int PRIMARY KEY, att jsonb);
ALTER TABLE item ALTER att SET STORAGE EXTERNAL;
INSERT INTO item SELECT 1, walrank.merge(NULL, a) FROM large;
ALTER TABLE item ALTER att SET STORAGE EXTENDED;
INSERT INTO item SELECT 2, walrank.merge(NULL, a) FROM large;
INSERT INTO item VALUES (3, '{"a": [1, "2020-01-01"]}'), (4, NULL);
SELECT id, pg_column_size(att) > 100000 AS plain, valid(walrank.merge(att, '{"key 5": [1, "2021-01-01"], "x": [1, 2]}')) AS valid,
	walrank.merge(att, '{"key 5": [1, "2021-01-01"]}') -> 'key 5' AS one FROM item ORDER BY id;
-- unchanged_map_keeps_its_toast: the same value out of line, not a copy of it
SELECT reltoastrelid::regclass AS toast FROM pg_class WHERE oid = 'item'::regclass \gset
SELECT array_agg(DISTINCT chunk_id) AS before FROM :toast \gset
UPDATE item SET att = walrank.merge(att, '{"key 5": [1, "2001-01-01"]}') WHERE id < 3;
SELECT array_agg(DISTINCT chunk_id) = :'before' AS same_values, count(DISTINCT chunk_id) FROM :toast;

-- upsert_writes_only_changes, and repairs a NULL
CREATE FUNCTION upsert(i int, j jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	INSERT INTO item AS t VALUES (i, j) ON CONFLICT (id) DO UPDATE SET att = walrank.merge(t.att, excluded.att)
	WHERE walrank.would_change(t.att, excluded.att);
	GET DIAGNOSTICS n = ROW_COUNT;
	RETURN n;
END $$;
SELECT upsert(3, '{"a": [1, "2020-01-02"]}') AS confirmed, upsert(3, '{"a": [2, "2019-01-02"]}') AS stale, upsert(3, '{"a": [2, "2020-01-02"]}') AS newer,
	upsert(4, '{"a": [1, 5]}') AS was_null, upsert(4, '{}') AS nothing;
SELECT * FROM item WHERE id > 2 ORDER BY id;

-- too_large_is_an_error of jsonb, not of memory
SELECT walrank.merge(jsonb_build_object('a', repeat('x', 140000000)), jsonb_build_object('b', repeat('x', 140000000)));
-- deep nesting is copied, not descended into
SELECT valid(walrank.merge('{"a": [1, 1]}', ('{"b": [' || repeat('[', 5000) || repeat(']', 5000) || ', 1]}')::jsonb));
SELECT walrank.would_change(j, j) FROM (SELECT ('{"b": [' || repeat('[', 5000) || '1.0' || repeat(']', 5000) || ', 1]}')::jsonb AS j) x;

-- parallel safe and immutable: may be indexed
SELECT proname, prokind, provolatile, proparallel, proisstrict FROM pg_proc
WHERE pronamespace = 'walrank'::regnamespace AND proname IN ('merge', 'would_change') ORDER BY 1, 2;

SET client_min_messages = warning;
DROP SCHEMA merge_test CASCADE;
