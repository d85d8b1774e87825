-- Who may do what.  Every role lacks the others' rights.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS walrank;
SELECT walrank.setup();
DELETE FROM walrank.ranking;
DROP ROLE IF EXISTS regress_walrank_nobody, regress_walrank_owner, regress_walrank_admin, regress_walrank_both,
	regress_walrank_reader, regress_walrank_ingest, regress_walrank_daemon;
RESET client_min_messages;
\set SHOW_CONTEXT never

SELECT rolname, rolcanlogin, rolsuper, rolreplication, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname ~ '^walrank_' ORDER BY 1;

CREATE ROLE regress_walrank_nobody;
CREATE ROLE regress_walrank_owner;
CREATE ROLE regress_walrank_admin IN ROLE walrank_admin;
CREATE ROLE regress_walrank_both IN ROLE walrank_admin, regress_walrank_owner;
CREATE ROLE regress_walrank_reader IN ROLE walrank_reader;
CREATE ROLE regress_walrank_ingest IN ROLE walrank_ingest;
CREATE ROLE regress_walrank_daemon;
SELECT walrank.setup(daemon => 'regress_walrank_daemon');
CREATE SCHEMA roles;
GRANT USAGE, CREATE ON SCHEMA roles TO PUBLIC;
SET ROLE regress_walrank_owner;
CREATE TABLE roles.item (id bigint PRIMARY KEY, views int);
INSERT INTO roles.item VALUES (1, 10);
RESET ROLE;

-- What each role gets as an answer, statement by statement: "yes" or the error.
CREATE FUNCTION roles.try(role name, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	BEGIN
		EXECUTE statement;
		RAISE EXCEPTION USING ERRCODE = 'UY000';
	EXCEPTION WHEN SQLSTATE 'UY000' THEN
		RESET ROLE;
		RETURN 'yes';
	WHEN OTHERS THEN
		RESET ROLE;
		RETURN sqlerrm;
	END;
END $$;
CREATE TABLE roles.statement (i serial, s text);
INSERT INTO roles.statement (s) VALUES
	('SELECT walrank.watch(''roles.item'')'),
	('SELECT walrank.unwatch(''roles.item'')'),
	('SELECT walrank.setup()'),
	('TABLE walrank.watched'),
	('INSERT INTO walrank.watched VALUES (''roles.item'')'),
	('TABLE walrank.ranking'),
	('INSERT INTO walrank.ranking (name, relation, definition) VALUES (''r'', ''roles.item'', ''term t weight 1 views'')'),
	('UPDATE walrank.ranking SET enabled = false'),
	('DELETE FROM walrank.ranking'),
	('TABLE walrank.rule_library'),
	('INSERT INTO walrank.rule_library VALUES (''shop'', ''const A = 1'')'),
	('DELETE FROM walrank.rule_library'),
	('TRUNCATE walrank.rule_library'),
	('TABLE walrank.control'),
	('INSERT INTO walrank.control VALUES (''00000000-0000-0000-0000-000000000001'', ''s'', ''creating'')'),
	('UPDATE walrank.control SET beat = beat + 1'),
	('DELETE FROM walrank.control'),
	('TRUNCATE walrank.control'),
	('TABLE roles.item'),
	('UPDATE roles.item SET views = 0'),
	('SELECT walrank.merge(''{}'', ''{}''), walrank.would_change(''{}'', ''{}'')'),
	('SELECT walrank.merge(j) FROM (SELECT ''{}''::jsonb AS j) t'),
	('SELECT walrank.score(''home'', i) FROM roles.item i'),
	('SELECT walrank.encode(ROW(1, 2)::roles.item), walrank.describe(''roles.item'')'),
	('ALTER PUBLICATION walrank ADD TABLE roles.item'),
	('ALTER PUBLICATION walrank_config DROP TABLE walrank.control'),
	('DROP PUBLICATION walrank'),
	('CREATE TABLE walrank.mine ()'),
	('ALTER TABLE walrank.ranking DISABLE TRIGGER ALL'),
	('DROP EXTENSION walrank');

-- the owner of a table in walrank_admin may watch it; either alone may not
SET ROLE regress_walrank_nobody;
SELECT walrank.watch('roles.item');
SET ROLE regress_walrank_owner;
SELECT walrank.watch('roles.item');
SET ROLE regress_walrank_admin;
SELECT walrank.watch('roles.item');
SET ROLE regress_walrank_both;
SELECT walrank.watch('roles.item');
RESET ROLE;
GRANT USAGE ON SCHEMA roles TO walrank_reader;
INSERT INTO walrank.ranking (name, relation, definition) VALUES ('home', 'roles.item', 'term t weight 1 views');
INSERT INTO walrank.control (stream_id, slot, state) VALUES ('00000000-0000-0000-0000-000000000000', 's', 'ready');

SELECT s AS statement, roles.try('regress_walrank_nobody', s) AS nobody FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_owner', s) AS owner FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_admin', s) AS admin FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_both', s) AS both FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_reader', s) AS reader FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_ingest', s) AS ingest FROM roles.statement ORDER BY i;
SELECT s AS statement, roles.try('regress_walrank_daemon', s) AS daemon FROM roles.statement ORDER BY i;

-- what the caller cannot grant is said
REVOKE USAGE ON SCHEMA roles FROM PUBLIC, walrank_reader;
GRANT USAGE, CREATE ON SCHEMA roles TO regress_walrank_owner;
SET ROLE regress_walrank_both;
SELECT walrank.watch('roles.item');
RESET ROLE;
-- without publications only a superuser may make them
DROP PUBLICATION walrank;
SET ROLE regress_walrank_both;
SELECT walrank.watch('roles.item');
RESET ROLE;
SELECT walrank.setup();
-- score() reads rankings with the caller's rights, not its owner's
GRANT USAGE ON SCHEMA walrank, roles TO regress_walrank_owner;
GRANT EXECUTE ON FUNCTION walrank.score(text, record, timestamptz, record) TO regress_walrank_owner;
SET ROLE regress_walrank_owner;
SELECT walrank.score('home', i) FROM roles.item i;
RESET ROLE;
-- a role that is more than a group is not taken for ours
BEGIN;
DROP EXTENSION walrank;
ALTER ROLE walrank_reader CREATEDB;
CREATE EXTENSION walrank;
ROLLBACK;

SET client_min_messages = warning;
DELETE FROM walrank.ranking;
DELETE FROM walrank.watched;
DELETE FROM walrank.control;
DROP SCHEMA roles CASCADE;
DROP OWNED BY regress_walrank_owner, regress_walrank_daemon;
DROP ROLE regress_walrank_nobody, regress_walrank_owner, regress_walrank_admin, regress_walrank_both,
	regress_walrank_reader, regress_walrank_ingest, regress_walrank_daemon;
