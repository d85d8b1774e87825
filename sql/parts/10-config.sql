-- What the daemon does, as rows: captured like any other change, in force from their place in the
-- stream on.

CREATE TABLE walrank.watched (
	relation text PRIMARY KEY,
	map text,
	since timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE walrank.watched IS 'tables whose changes are captured; written by walrank.watch() and walrank.unwatch()';
COMMENT ON COLUMN walrank.watched.relation IS 'schema.table, each quoted where it needs to be: format(''%I.%I'')';
COMMENT ON COLUMN walrank.watched.map IS 'jsonb column that holds {"key": [value, "time"]}, if there is one';

CREATE TABLE walrank.ranking (
	name text PRIMARY KEY CHECK (name OPERATOR(pg_catalog.~) '^[a-z0-9_-]{1,63}$'),
	relation text NOT NULL,
	definition text NOT NULL,
	enabled boolean NOT NULL DEFAULT true,
	version integer NOT NULL DEFAULT 1 CHECK (version OPERATOR(pg_catalog.>) 0)
);
COMMENT ON TABLE walrank.ranking IS 'rankings: insert, update and delete rows; a definition is compiled before it is stored';
COMMENT ON COLUMN walrank.ranking.relation IS 'the watched table, as walrank.watched.relation';
COMMENT ON COLUMN walrank.ranking.definition IS 'rules, one statement a line';
COMMENT ON COLUMN walrank.ranking.version IS 'rises by itself with every change of what is computed; never falls';

CREATE TABLE walrank.rule_library (
	name text PRIMARY KEY CHECK (name OPERATOR(pg_catalog.~) '^[a-z0-9_-]{1,63}$'),
	definition text NOT NULL
);
COMMENT ON TABLE walrank.rule_library IS 'names that rankings share: what a definition takes by "use name"';
COMMENT ON COLUMN walrank.rule_library.definition IS 'const, let and macro, one statement a line';

CREATE TABLE walrank.control (
	stream_id uuid PRIMARY KEY,
	slot text NOT NULL,
	state text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['creating', 'ready', 'replaced'])),
	owner_epoch bigint NOT NULL DEFAULT 0,
	beat bigint NOT NULL DEFAULT 0,
	beat_at timestamptz
);
COMMENT ON TABLE walrank.control IS 'one row per stream, written only by its daemon';

-- Not captured: what runs for a long time, as its daemon saw it with its last beat.
CREATE TABLE walrank.progress (
	stream_id uuid NOT NULL REFERENCES walrank.control ON DELETE CASCADE,
	relation text NOT NULL,
	kind text NOT NULL CHECK (kind OPERATOR(pg_catalog.=) ANY (ARRAY['rescore', 'backfill'])),
	items bigint NOT NULL,
	items_all bigint NOT NULL,
	started_at timestamptz NOT NULL,
	updated_at timestamptz NOT NULL,
	PRIMARY KEY (stream_id, relation, kind)
);
COMMENT ON TABLE walrank.progress IS 'rescorings and backfills that are under way; written by the daemon with its beat, gone when they have ended';
COMMENT ON COLUMN walrank.progress.items IS 'items that have been evaluated anew, or rows that have been read, ..';
COMMENT ON COLUMN walrank.progress.items_all IS '.. of so many; of a backfill this is an estimate';
COMMENT ON COLUMN walrank.progress.updated_at IS 'the beat that wrote the row: one that is old was left by a daemon that does not run';

-- Never control: a stream that was restored from a dump would be somebody else's.
SELECT pg_catalog.pg_extension_config_dump('walrank.watched', '');
SELECT pg_catalog.pg_extension_config_dump('walrank.ranking', '');
SELECT pg_catalog.pg_extension_config_dump('walrank.rule_library', '');

CREATE FUNCTION walrank.ranking_check() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'walrank_ranking_check';
COMMENT ON FUNCTION walrank.ranking_check() IS 'refuses a definition that cannot be loaded, and keeps the version';

CREATE TRIGGER ranking_check BEFORE INSERT OR UPDATE ON walrank.ranking
	FOR EACH ROW EXECUTE FUNCTION walrank.ranking_check();

CREATE FUNCTION walrank.library_check() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'walrank_library_check';
COMMENT ON FUNCTION walrank.library_check() IS 'refuses a library that cannot be loaded, and a change that a ranking could not go on with';
CREATE FUNCTION walrank.library_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'walrank_library_changed';
COMMENT ON FUNCTION walrank.library_changed() IS 'raises the version of the rankings that use the library';

CREATE TRIGGER library_check BEFORE INSERT OR UPDATE OR DELETE ON walrank.rule_library
	FOR EACH ROW EXECUTE FUNCTION walrank.library_check();
CREATE TRIGGER library_check_truncate BEFORE TRUNCATE ON walrank.rule_library
	FOR EACH STATEMENT EXECUTE FUNCTION walrank.library_check();
CREATE TRIGGER library_changed AFTER UPDATE ON walrank.rule_library
	FOR EACH ROW EXECUTE FUNCTION walrank.library_changed();
