-- What a consumer makes of a Change, in SQL alone: an oracle that shares no code with the plugin.
-- The rules are those of doc/walrank-plugin.7.scd, "What changed".

CREATE FUNCTION wire_date(days int) RETURNS date LANGUAGE sql STABLE AS $$
	SELECT CASE days WHEN -2147483648 THEN '-infinity'::date WHEN 2147483647 THEN 'infinity' ELSE '2000-01-01'::date + days END $$;

CREATE FUNCTION wire_timestamp(us int8) RETURNS timestamp LANGUAGE sql STABLE AS $$
	SELECT CASE us WHEN -9223372036854775808 THEN '-infinity'::timestamp WHEN 9223372036854775807 THEN 'infinity'
		ELSE '2000-01-01'::timestamp + (us / 86400000000 || ' days')::interval + (us % 86400000000 || ' microseconds')::interval END $$;

-- A Value (proto3 JSON) as jsonb, numbers with every digit and trailing zero.  Lists apart, and all STABLE as
-- to_jsonb is: what has no subquery is then inlined, and many times as fast.
CREATE FUNCTION wire_scalar(v jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT CASE
		WHEN v ? 'null' THEN 'null'::jsonb
		WHEN v ? 'bool' THEN v -> 'bool'
		WHEN v ? 'int' THEN to_jsonb((v ->> 'int')::numeric)
		WHEN v ? 'double' THEN v -> 'double'
		WHEN v ? 'float' THEN v -> 'float'
		WHEN v ? 'text' THEN v -> 'text'
		WHEN v ? 'bytes' THEN to_jsonb(decode(v ->> 'bytes', 'base64'))
		WHEN v ? 'date' THEN to_jsonb(wire_date((v ->> 'date')::int))
		WHEN v ? 'timestamp' THEN to_jsonb(wire_timestamp((v ->> 'timestamp')::int8))
		WHEN v ? 'timestamptz' THEN to_jsonb(wire_timestamp((v ->> 'timestamptz')::int8) AT TIME ZONE 'UTC')
		WHEN v #> '{decimal,special}' IS NOT NULL THEN to_jsonb(CASE v #>> '{decimal,special}'
			WHEN 'NAN' THEN 'NaN' WHEN 'INFINITY' THEN 'Infinity' ELSE '-Infinity' END)
		WHEN v ? 'json' THEN (v ->> 'json')::jsonb
		WHEN v ? 'decimal' THEN to_jsonb((CASE WHEN v #>> '{decimal,negative}' = 'true' THEN '-' ELSE '' END
			|| (v #>> '{decimal,digits}') || 'e' || coalesce(v #>> '{decimal,exponent}', '0'))::numeric)
	END $$;

CREATE FUNCTION wire_list(v jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT coalesce(jsonb_agg(wire_scalar(x) ORDER BY i), '[]')
	  FROM jsonb_array_elements(v #> '{list,values}') WITH ORDINALITY AS e(x, i) $$;

CREATE FUNCTION wire_value(v jsonb) RETURNS jsonb LANGUAGE sql STABLE AS
	$$ SELECT CASE WHEN v ? 'list' THEN wire_list(v) ELSE wire_scalar(v) END $$;

CREATE FUNCTION wire_key(a jsonb) RETURNS text LANGUAGE sql STABLE AS
	$$ SELECT convert_from(decode(a ->> 'key', 'base64'), 'UTF8') $$;

-- The column after a change, from its attributes there and what it was; SQL null counts as JSON null.
CREATE FUNCTION wire_apply(old jsonb, attributes jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$
	SELECT CASE
		WHEN count(*) = 0 THEN coalesce(old, 'null')
		WHEN count(*) FILTER (WHERE keyed AND set) > 0 THEN
			(CASE WHEN bool_or(unknown) OR jsonb_typeof(old) IS DISTINCT FROM 'object' THEN '{}'::jsonb ELSE old END
				- coalesce(array_agg(key) FILTER (WHERE keyed AND removed), '{}'))
			|| jsonb_object_agg(key, wire_value(a -> 'value')) FILTER (WHERE keyed AND set)
		WHEN count(*) FILTER (WHERE NOT keyed) = 1 THEN (array_agg(wire_value(a -> 'value')) FILTER (WHERE NOT keyed))[1]
		ELSE old - array_agg(key)
	END
	FROM (SELECT a, a ? 'key' AS keyed, wire_key(a) AS key, NOT a ? 'state' AS set, a ->> 'state' = 'REMOVED' AS removed,
			NOT a ? 'changed' AS unknown
		FROM jsonb_array_elements(attributes) AS x(a)) AS s $$;

-- What is wrong with the attributes of a whole row and their old values; null when nothing is.
CREATE FUNCTION wire_wrong(old jsonb, new jsonb, attributes jsonb) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT string_agg(a::text, ' ') FROM (
		SELECT a, wire_key(a) AS key, CASE WHEN jsonb_typeof(old) = 'object' THEN old ELSE '{}' END AS o
		FROM jsonb_array_elements(attributes) AS x(a)) AS s
	WHERE CASE
		WHEN a ? 'key' THEN
			(a ->> 'changed' = 'YES') IS DISTINCT FROM ((o -> key)::text IS DISTINCT FROM (new -> key)::text)
			OR (a ->> 'state' = 'REMOVED') IS DISTINCT FROM (CASE WHEN jsonb_typeof(new) = 'object' AND new ? key THEN NULL ELSE true END) -- ? finds it in '"key"' too
			OR a ? 'oldValue' IS DISTINCT FROM (o ? key AND a ->> 'changed' = 'YES')
			OR a ? 'oldValue' AND wire_value(a -> 'oldValue')::text <> (o -> key)::text
		ELSE (a ->> 'changed' = 'YES') IS DISTINCT FROM (old::text IS DISTINCT FROM new::text)
			OR a ? 'oldValue' IS DISTINCT FROM (a ->> 'changed' = 'YES' AND (o = '{}'))
			OR a ? 'oldValue' AND wire_value(a -> 'oldValue')::text <> coalesce(old::text, 'null')
		END $$;
