-- walrank 0.1.0: everything of ours lives in schema walrank.
\echo Use "CREATE EXTENSION walrank" to load this file. \quit

-- Fails when somebody made a schema of that name first: its owner could replace what is in it.
CREATE SCHEMA walrank;
COMMENT ON SCHEMA walrank IS 'live rankings from the write-ahead log';

-- Roles belong to the whole cluster: another database of it may have made them already.  One that
-- carries rights of its own was not made by us, and membership in it would hand them out.
DO $$
DECLARE
	wanted name;
	existing pg_catalog.pg_roles;
BEGIN
	FOREACH wanted IN ARRAY '{walrank_admin,walrank_ingest,walrank_reader}'::pg_catalog.name[] LOOP
		SELECT * INTO existing FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) wanted;
		IF NOT FOUND THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
		ELSIF existing.rolsuper OR existing.rolcreaterole OR existing.rolcreatedb OR existing.rolreplication
			OR existing.rolbypassrls OR existing.rolcanlogin THEN
			RAISE EXCEPTION 'role "%" exists and is more than a group', wanted
				USING ERRCODE = 'duplicate_object',
				HINT = pg_catalog.format('Rename it, or ALTER ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;', wanted);
		END IF;
	END LOOP;
END
$$;
