-- The merge as it was first published for this purpose: a full outer join of the keys, the times
-- cast for every comparison, the newer one wins.
CREATE FUNCTION classic_merge(jsonb, jsonb) RETURNS jsonb LANGUAGE sql STRICT AS $$
	SELECT jsonb_object_agg(key, value) FROM (
		SELECT coalesce(a.key, b.key) AS key,
			CASE
				WHEN coalesce(jsonb_array_element(a.value, 1)::text::timestamp, '1970-01-01'::timestamp)
					> coalesce(jsonb_array_element(b.value, 1)::text::timestamp, '1970-01-01'::timestamp)
				THEN a.value
				ELSE b.value
			END AS value
		FROM jsonb_each($1) a FULL OUTER JOIN jsonb_each($2) b USING (key)
	) t
$$;
