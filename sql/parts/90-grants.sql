-- Nothing for everybody.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA walrank FROM PUBLIC;

GRANT USAGE ON SCHEMA walrank TO walrank_admin, walrank_ingest, walrank_reader;

-- walrank_admin decides what is captured and ranked.  It reads control, and never writes it.
GRANT SELECT, INSERT, UPDATE, DELETE ON walrank.watched, walrank.ranking, walrank.rule_library TO walrank_admin;
GRANT SELECT ON walrank.control TO walrank_admin;
GRANT EXECUTE ON FUNCTION walrank.watch(regclass, text), walrank.unwatch(regclass), walrank.watch_obstacle(regclass, text),
	walrank.watch_rights(regclass), walrank.watch_grants(regclass) TO walrank_admin;

-- walrank_reader sees all of it.  The daemon's own role may also write control: walrank.setup(role).
GRANT SELECT ON walrank.watched, walrank.ranking, walrank.rule_library, walrank.control TO walrank_reader;
GRANT EXECUTE ON FUNCTION walrank.encode(record, int, text[]), walrank.describe(regclass, text[]), walrank.score(text, record, timestamptz, record)
	TO walrank_admin, walrank_reader;

-- whoever writes maps merges them
GRANT EXECUTE ON FUNCTION walrank.merge(jsonb, jsonb), walrank.would_change(jsonb, jsonb), walrank.merge(jsonb)
	TO walrank_admin, walrank_ingest, walrank_reader;
