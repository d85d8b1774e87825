-- 2,000 maps of 20 attributes of an item for sale, and for each an update of two of them: always the
-- same two (incoming), or two that differ from map to map (incoming_any).
CREATE FUNCTION name(k int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT ('{price,count,views,likes,brand,status,badges,weight,volume,category,location,discount,listed_at,'
		'seller_id,popularity,clicks_7d,orders_30d,seller_level,returns_rate,title_quality}'::text[])[k]
$$;
CREATE FUNCTION map(n int, keys int[], at timestamp) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_object_agg(name(k), jsonb_build_array((n * 37 + k * 101) % 100000,
		to_char(at + (n + k) * interval '1 second', 'YYYY-MM-DD HH24:MI:SS')))
	FROM unnest(keys) k
$$;
CREATE FUNCTION all_keys() RETURNS int[] LANGUAGE sql IMMUTABLE AS 'SELECT array_agg(k) FROM generate_series(1, 20) k';

CREATE UNLOGGED TABLE classic_call AS
	SELECT map(n, all_keys(), '2026-01-01') AS stored, map(n, ARRAY[1, 3], '2026-02-01') AS incoming,
		map(n, ARRAY[1 + n % 20, 1 + (n + 7) % 20], '2026-02-01') AS incoming_any
	FROM generate_series(1, 2000) n;
CREATE UNLOGGED TABLE walrank_call AS
	SELECT walrank.merge(NULL, stored) AS stored, incoming, incoming_any FROM classic_call;
ANALYZE classic_call, walrank_call;
