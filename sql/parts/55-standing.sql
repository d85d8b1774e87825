-- Where items stand with the interventions in force, and what those move.

CREATE FUNCTION walrank.standing(ranking text, item record, at timestamptz DEFAULT pg_catalog.now(),
		OUT shown boolean, OUT blocked boolean, OUT score double precision, OUT tier integer, OUT pin integer, OUT organic double precision)
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_standing';
COMMENT ON FUNCTION walrank.standing(text, record, timestamptz) IS
	'where a row of the ranking''s table stands: SELECT i.id, s.* FROM item i, LATERAL walrank.standing(''home'', i) s; organic is its walrank.score()';

CREATE FUNCTION walrank.standing_of(ranking text, key jsonb, at timestamptz DEFAULT pg_catalog.now(), without bigint DEFAULT NULL,
		OUT shown boolean, OUT blocked boolean, OUT score double precision, OUT tier integer, OUT pin integer, OUT organic double precision)
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_standing_of';
COMMENT ON FUNCTION walrank.standing_of(text, jsonb, timestamptz, bigint) IS
	'the same by key; without: as if that intervention were not there';

CREATE FUNCTION walrank.holds(condition text, item record, at timestamptz DEFAULT pg_catalog.now()) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_holds';
COMMENT ON FUNCTION walrank.holds(text, record, timestamptz) IS
	'whether the condition of an intervention would hold for a row of a table: SELECT id FROM item i WHERE walrank.holds(''price > 100'', i)';

CREATE FUNCTION walrank.has_item(relation text, key jsonb) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_has_item';
COMMENT ON FUNCTION walrank.has_item(text, jsonb) IS 'whether a table has a row with that key; the table as in walrank.watched.relation';

CREATE FUNCTION walrank.matched(intervention bigint) RETURNS bigint
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	chosen walrank.intervention;
	count bigint;
BEGIN
	SELECT * INTO chosen FROM walrank.intervention i WHERE i.id = matched.intervention;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no intervention %', matched.intervention
			USING ERRCODE = 'undefined_object', HINT = 'SELECT id FROM walrank.intervention; lists them.';
	END IF;
	IF chosen.condition IS NULL THEN
		RETURN walrank.has_item(chosen.relation, chosen.key)::int;
	END IF;
	EXECUTE format('SELECT count(*) FROM ONLY %s t WHERE walrank.holds($1, t.*)', chosen.relation) INTO count USING chosen.condition;
	RETURN count;
END
$$;
COMMENT ON FUNCTION walrank.matched(bigint) IS 'how many items an intervention is about now; of a condition it asks the whole table';

-- What an intervention moves of its item: {"ranking": {"organic": .., "with": {..}, "without": {..}}}.  {} when the item
-- is not there; NULL for a condition, and where the caller may not read the item.
CREATE FUNCTION walrank.moved(intervention bigint, at timestamptz DEFAULT pg_catalog.now()) RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	chosen walrank.intervention;
	moves jsonb;
BEGIN
	SELECT * INTO chosen FROM walrank.intervention i WHERE i.id = moved.intervention AND i.key IS NOT NULL;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	IF NOT walrank.has_item(chosen.relation, chosen.key) THEN
		RETURN '{}';
	END IF;
	SELECT jsonb_object_agg(r.name, jsonb_build_object('organic', w.organic,
			'with', to_jsonb(w) - 'organic', 'without', to_jsonb(o) - 'organic'))
		INTO moves
		FROM walrank.ranking r, LATERAL walrank.standing_of(r.name, chosen.key, moved.at) w,
			LATERAL walrank.standing_of(r.name, chosen.key, moved.at, chosen.id) o
		WHERE r.relation = chosen.relation AND r.enabled AND (chosen.ranking IS NULL OR r.name = chosen.ranking);
	RETURN moves;
EXCEPTION WHEN insufficient_privilege OR undefined_table THEN
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION walrank.moved(bigint, timestamptz) IS 'where the item of an intervention stands with it and without, in each of its rankings';

-- The newest entry first is for the reader to ask: ORDER BY entry DESC.
CREATE VIEW walrank.audit AS
	SELECT l.id AS entry, l.at, l.who, l.op, l.intervention,
		v.relation, v.ranking, v.key, v.condition, v.action,
		pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('position', v."position", 'tier', v.tier, 'factor', v.factor,
			'addend', v.addend, 'score', v.score)) AS value,
		v.priority, v.author, v.reason, v.valid_from, v.valid_until,
		n.id IS NOT NULL AS in_force,
		CASE WHEN n.id IS NOT NULL AND NOT EXISTS (SELECT FROM walrank.intervention_log later
				WHERE later.intervention OPERATOR(pg_catalog.=) l.intervention AND later.id OPERATOR(pg_catalog.>) l.id)
			THEN walrank.moved(l.intervention) END AS moved
	FROM walrank.intervention_log l
		CROSS JOIN LATERAL pg_catalog.jsonb_populate_record(NULL::walrank.intervention, COALESCE(l.after, l.before)) v
		LEFT JOIN walrank.intervention n ON n.id OPERATOR(pg_catalog.=) l.intervention
			AND n.valid_from OPERATOR(pg_catalog.<=) pg_catalog.now()
			AND (n.valid_until IS NULL OR n.valid_until OPERATOR(pg_catalog.>) pg_catalog.now());
COMMENT ON VIEW walrank.audit IS
	'who decided what about which items, when and why; in_force: the intervention is now; moved: what it moves, at its newest entry';

CREATE FUNCTION walrank.explain(ranking text, key jsonb, at timestamptz DEFAULT pg_catalog.now()) RETURNS jsonb
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_explain';
COMMENT ON FUNCTION walrank.explain(text, jsonb, timestamptz) IS
	'why an item stands where it does: every statement of the ranking, every attribute it reads, every intervention';

CREATE FUNCTION walrank.item_key(relation text, key jsonb) RETURNS bytea
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_item_key';
COMMENT ON FUNCTION walrank.item_key(text, jsonb) IS 'the key of an item as the stream writes it, by which the daemon finds it';
