-- Maps: {"key": [value, "time"], ...}, merged attribute by attribute.

CREATE FUNCTION walrank.merge(stored jsonb, incoming jsonb) RETURNS jsonb
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_merge';
COMMENT ON FUNCTION walrank.merge(jsonb, jsonb) IS
'The newest value of every attribute of two maps {"key": [value, "time"]}.

Equal times: the incoming value.  A key that one side lacks is kept from the other.  Times are RFC
3339 or ISO, UTC where they name no zone, or numbers: seconds since 1970, milliseconds beyond 1e11.
No time, or one that cannot be read (infinity is none), counts as 1970-01-01.  The result has every
attribute as [value, "YYYY-MM-DDTHH:MM:SS.ffffffZ"], or is the stored map itself when nothing
incoming wins.  NULL and what is not an object have no attributes.

A known value with a newer time takes over the time, so that the result does not depend on the order
in which updates with distinct times arrive.  To skip writing those, ask walrank.would_change():

INSERT INTO item AS i VALUES (17, ''{"price": [8880, "2026-11-20T14:46:29Z"]}'')
ON CONFLICT (id) DO UPDATE SET att = walrank.merge(i.att, excluded.att)
WHERE walrank.would_change(i.att, excluded.att)

That statement does not remember the newer time of a value it knows: of updates that arrive out of
order, an older one may then overwrite a value that was confirmed after it.  Where that matters, write
WHERE walrank.merge(i.att, excluded.att) IS DISTINCT FROM i.att instead.';

CREATE FUNCTION walrank.would_change(stored jsonb, incoming jsonb) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'walrank_would_change';
COMMENT ON FUNCTION walrank.would_change(jsonb, jsonb) IS
	'whether walrank.merge(stored, incoming) differs from stored in the value of any attribute; never NULL';

-- Over rows in arrival order where times may tie: walrank.merge(att ORDER BY ...).
CREATE AGGREGATE walrank.merge(jsonb) (
	SFUNC = walrank.merge,
	STYPE = jsonb,
	COMBINEFUNC = walrank.merge,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE walrank.merge(jsonb) IS 'the newest value of every attribute of all maps';
