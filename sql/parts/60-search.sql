-- Full text search in the order of a ranking: doc/search.md.

-- The statements that make it, one a row, to be looked at and run (psql: \gexec): indexes, and a function
--   search_RANKING(query tsquery, max_rows int, skip int) RETURNS TABLE (position, item, score, tier, pin)
-- A pinned item that matches stands exactly at its position, or last where there are fewer matches; between them all
-- others by tier, score and key.  What is not in the ranking is not in the result.
CREATE FUNCTION walrank.search_function(ranking text, documents regclass, document text, name text DEFAULT NULL, scores regclass DEFAULT NULL) RETURNS SETOF text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
#variable_conflict use_variable
DECLARE
	score_table regclass := scores;
	documents_name text; -- with its schema, as everything below
	scores_name text;
	function_name text;
	key_names text[];
	is_column bool;
	vector text;
BEGIN
	IF ranking IS NULL OR documents IS NULL OR document IS NULL THEN
		RAISE EXCEPTION 'ranking, documents and document have to be given' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'SELECT walrank.search_function(''home'', ''item'', ''to_tsvector(''''english'''', title)'')';
	END IF;
	IF score_table IS NULL AND to_regclass('walrank_out.owner') IS NOT NULL THEN
		EXECUTE 'SELECT to_regclass(format(''walrank_out.%I'', min(o.table_name))) FROM walrank_out.owner o JOIN walrank.ranking r ON r.relation = o.relation'
			' WHERE r.name = $1 HAVING count(*) = 1' INTO score_table USING ranking;
	END IF;
	IF score_table IS NULL THEN
		RAISE EXCEPTION 'it is not known which table has the scores of ranking "%"', ranking USING ERRCODE = 'undefined_table',
			HINT = 'Name the table of sink postgres: scores => ''walrank_out.score_...''.';
	END IF;

	SELECT array_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum)) INTO key_names FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
		WHERE i.indrelid = score_table AND i.indisprimary AND a.attname <> 'ranking';
	IF key_names IS NULL OR 7 <> (SELECT count(*) FROM pg_attribute WHERE attrelid = score_table AND attname IN ('ranking', 'tier', 'pin', 'score', 'blocked', 'version', 'seq') AND NOT attisdropped) THEN
		RAISE EXCEPTION '% is not a score table of sink postgres', score_table USING ERRCODE = 'wrong_object_type',
			HINT = 'They are called walrank_out.score_...';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = documents AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
				   AND (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_attribute a WHERE a.attrelid = documents AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
					   = (SELECT array_agg(k ORDER BY k) FROM unnest(key_names) k)) THEN
		RAISE EXCEPTION 'table % has no unique index on (%)', documents, array_to_string(key_names, ', ') USING ERRCODE = 'object_not_in_prerequisite_state',
			DETAIL = 'Its rows are joined to the scores by the key that items have.',
			HINT = format('CREATE UNIQUE INDEX ON %s (%s);', documents, (SELECT string_agg(quote_ident(k), ', ') FROM unnest(key_names) k));
	END IF;

	SELECT format('%I.%I', n.nspname, c.relname), format('%I.%I', n.nspname, coalesce(name, 'search_' || ranking)) INTO documents_name, function_name
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = documents;
	SELECT format('%I.%I', n.nspname, c.relname) INTO scores_name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = score_table;
	is_column := EXISTS (SELECT FROM pg_attribute WHERE attrelid = documents AND attname = document AND attnum > 0 AND NOT attisdropped);
	vector := CASE WHEN is_column THEN quote_ident(document) ELSE '(' || document || ')' END;

	RETURN NEXT format('CREATE INDEX IF NOT EXISTS %I ON %s USING gin (%s)', walrank.index_name(documents, 'document', vector), documents_name, vector);
	RETURN NEXT format('CREATE INDEX IF NOT EXISTS %I ON %s (ranking, tier DESC, score DESC, %s) WHERE pin IS NULL', walrank.index_name(score_table, 'order', ''), scores_name,
		(SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(key_names) WITH ORDINALITY u (k, n)));
	RETURN NEXT format('CREATE INDEX IF NOT EXISTS %I ON %s (ranking, pin) WHERE pin IS NOT NULL', walrank.index_name(score_table, 'pins', ''), scores_name);
	RETURN NEXT walrank.search_text(function_name, documents_name, scores_name, key_names, vector, ranking);
END
$$;
COMMENT ON FUNCTION walrank.search_function(text, regclass, text, text, regclass) IS
	'the statements that make search_RANKING(query, max_rows, skip): full text matches in the order of a ranking; document: a column or an expression that is a tsvector';

-- The same for the same table and purpose, so that CREATE INDEX IF NOT EXISTS finds it.
CREATE FUNCTION walrank.index_name(relation regclass, purpose text, vector text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS
$$
	SELECT left(c.relname, 40) || '_' || left(md5(format('%s %s %s', n.nspname, c.relname, vector)), 6) || '_' || purpose FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation
$$;

-- Pins and the rest are asked for apart, so that each finds its own plan: a few pins by their index; of the rest the
-- first of those the text index finds, or the order of the scores until enough of them match.  Pin number n of those that
-- match has pin - n of the others before it; "after" is that count, and a row's own place among the others.
CREATE FUNCTION walrank.search_text(function_name text, documents_name text, scores_name text, key_names text[], vector text, ranking text) RETURNS text
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS
$body$
	SELECT format($sql$CREATE OR REPLACE FUNCTION %1$s(query tsquery, max_rows integer DEFAULT 20, skip integer DEFAULT 0)
	RETURNS TABLE ("position" bigint, item %2$s, score double precision, tier integer, pin integer) LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 AS
$walrank$
WITH pinned AS (
	SELECT %4$s, s.score, s.tier, s.pin, s.pin - row_number() OVER (ORDER BY s.pin, %4$s) AS after
	FROM %3$s s JOIN (SELECT %5$s FROM %2$s WHERE %7$s @@ $1) d USING (%5$s)
	WHERE s.ranking = %8$L AND s.pin IS NOT NULL AND NOT s.blocked
), others AS (
	SELECT %4$s, s.score, s.tier
	FROM %3$s s JOIN (SELECT %5$s FROM %2$s WHERE %7$s @@ $1) d USING (%5$s)
	WHERE s.ranking = %8$L AND s.pin IS NULL AND NOT s.blocked
	ORDER BY s.tier DESC, s.score DESC, %4$s LIMIT greatest($2, 0)::bigint + greatest($3, 0)
), placed AS (
	SELECT %5$s, score, tier, NULL::integer AS pin, row_number() OVER (ORDER BY tier DESC, score DESC, %5$s) AS after FROM others
	UNION ALL
	SELECT %5$s, score, tier, pin, max(after) OVER (ORDER BY pin, %5$s) FROM pinned
), numbered AS (
	SELECT %5$s, score, tier, pin, row_number() OVER (ORDER BY after, pin NULLS FIRST, %5$s) AS place FROM placed
)
SELECT r.place, walrank_document, r.score, r.tier, r.pin
FROM numbered r JOIN %2$s walrank_document ON %6$s
WHERE r.place > greatest($3, 0) AND r.place <= greatest($2, 0)::bigint + greatest($3, 0)
ORDER BY r.place
$walrank$$sql$,
		function_name, documents_name, scores_name,
		string_agg(format('s.%I', k), ', ' ORDER BY n), string_agg(quote_ident(k), ', ' ORDER BY n),
		string_agg(format('walrank_document.%1$I = r.%1$I', k), ' AND ' ORDER BY n), vector, ranking)
	FROM unnest(key_names) WITH ORDINALITY u (k, n)
$body$;
