-- The encoding that the stream has, and scores computed from it.

-- With publications: what of the row or table a stream of those would carry; encode is then NULL for a row that their
-- filters leave out, and both are an error for a table that none of them has.
CREATE FUNCTION walrank.encode(item record, max_value_bytes int DEFAULT 16777216, publications text[] DEFAULT NULL) RETURNS bytea
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_encode';
COMMENT ON FUNCTION walrank.encode(record, int, text[]) IS
	'a row as a stream with that max_value_bytes would carry its insert: one Entry of walrank.proto';

CREATE FUNCTION walrank.describe(relation regclass, publications text[] DEFAULT NULL) RETURNS bytea
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_describe';
COMMENT ON FUNCTION walrank.describe(regclass, text[]) IS 'a table as the stream would describe it: one Entry of walrank.proto';

CREATE FUNCTION walrank.score(ranking text, item record, at timestamptz DEFAULT pg_catalog.now(), previous record DEFAULT NULL)
	RETURNS double precision
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_score';
COMMENT ON FUNCTION walrank.score(text, record, timestamptz, record) IS
	'the score of a row of the ranking''s table: SELECT walrank.score(''home'', i) FROM item i; NULL when it is not in the ranking; previous: the row before its last change';
