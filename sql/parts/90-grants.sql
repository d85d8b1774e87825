-- Nothing for everybody.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA walrank FROM PUBLIC;

GRANT USAGE ON SCHEMA walrank TO walrank_admin, walrank_ingest, walrank_reader;

-- walrank_admin decides what is captured and ranked.  It reads control, and never writes it.
GRANT SELECT, INSERT, UPDATE, DELETE ON walrank.watched, walrank.ranking, walrank.rule_library TO walrank_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON walrank.intervention TO walrank_admin;
-- The log of interventions is written by its trigger alone.
GRANT SELECT ON walrank.control, walrank.progress, walrank.intervention_log, walrank.audit TO walrank_admin;
GRANT EXECUTE ON FUNCTION walrank.watch(regclass, text), walrank.unwatch(regclass), walrank.watch_obstacle(regclass, text),
	walrank.watch_rights(regclass), walrank.watch_grants(regclass) TO walrank_admin;

-- walrank_reader sees all of it.  The daemon's own role may also write control and progress: walrank.setup(role).
GRANT SELECT ON walrank.watched, walrank.ranking, walrank.rule_library, walrank.intervention, walrank.control, walrank.progress TO walrank_reader;
GRANT EXECUTE ON FUNCTION walrank.encode(record, int, text[]), walrank.describe(regclass, text[]), walrank.score(text, record, timestamptz, record)
	TO walrank_admin, walrank_reader;
GRANT EXECUTE ON FUNCTION walrank.standing(text, record, timestamptz), walrank.standing_of(text, jsonb, timestamptz, bigint),
	walrank.holds(text, record, timestamptz), walrank.has_item(text, jsonb), walrank.matched(bigint), walrank.moved(bigint, timestamptz),
	walrank.explain(text, jsonb, timestamptz), walrank.item_key(text, jsonb)
	TO walrank_admin, walrank_reader;

-- whoever writes maps merges them
GRANT EXECUTE ON FUNCTION walrank.merge(jsonb, jsonb), walrank.would_change(jsonb, jsonb), walrank.merge(jsonb)
	TO walrank_admin, walrank_ingest, walrank_reader;

-- only text comes of it, which its reader has to be allowed to run
GRANT EXECUTE ON FUNCTION walrank.search_function(text, regclass, text, text, regclass), walrank.index_name(regclass, text, text),
	walrank.search_text(text, text, text, text[], text, text) TO walrank_admin, walrank_reader;
