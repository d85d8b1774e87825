-- Which tables are captured.

-- Why a table cannot be watched, or NULL: the reason and the SQL that cures it.
CREATE FUNCTION walrank.watch_obstacle(relation regclass, map text, OUT reason text, OUT cure text)
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	class record;
	key record;
	kind text;
	map_type regtype;
	map_number int2;
	listed int2[]; -- the columns that are published; NULL for all
BEGIN
	SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS name INTO STRICT class
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;

	kind := CASE class.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
		WHEN 'S' THEN 'a sequence' WHEN 'r' THEN NULL WHEN 'p' THEN NULL ELSE 'not a table' END;
	IF kind IS NOT NULL THEN
		reason := 'it is ' || kind;
		cure := 'Watch the tables behind it.';
	ELSIF class.nspname ~ '^pg_' AND class.relpersistence <> 't' OR class.nspname = 'information_schema' THEN
		reason := 'it belongs to the system';
		cure := 'Watch a table of your own.';
	ELSIF class.nspname IN ('walrank', 'walrank_out') THEN
		reason := format('schema "%s" is ours', class.nspname);
		cure := 'Watch a table of another schema.';
	ELSIF class.relpersistence = 't' THEN
		reason := 'it is temporary, and not in the write-ahead log';
		cure := 'Make it with CREATE TABLE instead of CREATE TEMPORARY TABLE.';
	ELSIF class.relkind = 'p' THEN
		reason := 'it is partitioned, which is not supported yet';
		cure := 'Watch its partitions one by one.';
	ELSIF class.relpersistence = 'u' THEN
		reason := 'it is unlogged, and not in the write-ahead log';
		cure := format('ALTER TABLE %s SET LOGGED;', class.name);
	END IF;
	IF reason IS NOT NULL THEN
		RETURN;
	END IF;

	SELECT r.prattrs::int2[] INTO listed FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		WHERE p.pubname = 'walrank' AND r.prrelid = relation;
	SELECT i.indimmediate, k.conname, (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns INTO key FROM pg_index i LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype = 'p'
		WHERE i.indrelid = relation AND i.indisprimary;
	IF NOT FOUND THEN
		reason := 'it has no primary key';
		cure := format('ALTER TABLE %s ADD PRIMARY KEY (%s);', class.name,
			coalesce((SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = relation AND attname = 'id' AND NOT attisdropped), '...'));
	ELSIF NOT key.indimmediate THEN
		reason := 'its primary key is deferrable, and so not logged as the identity of a row';
		cure := format('ALTER TABLE %s DROP CONSTRAINT %I, ADD %s;', class.name, key.conname,
			(SELECT replace(replace(pg_get_constraintdef(oid), ' INITIALLY DEFERRED', ''), ' DEFERRABLE', '') FROM pg_constraint
			 WHERE conrelid = relation AND contype = 'p'));
	ELSIF class.relreplident IN ('n', 'i') THEN
		reason := CASE class.relreplident WHEN 'n' THEN 'its replica identity is nothing: updates and deletes would come without a key'
			ELSE 'its replica identity is another index than the primary key' END;
		cure := format('ALTER TABLE %s REPLICA IDENTITY DEFAULT;', class.name);
	ELSIF NOT key.columns <@ listed THEN
		reason := 'publication "walrank" has it without some of its primary key';
		cure := format('ALTER PUBLICATION walrank DROP TABLE ONLY %s;', class.name);
	ELSIF map IS NOT NULL THEN
		SELECT atttypid, attnum INTO map_type, map_number FROM pg_attribute
			WHERE attrelid = relation AND attname = map AND attnum > 0 AND NOT attisdropped;
		IF NOT FOUND THEN
			reason := format('it has no column "%s" for the map', map);
			cure := format('ALTER TABLE %s ADD COLUMN %I jsonb;', class.name, map);
		ELSIF map_type <> 'jsonb'::regtype THEN
			reason := format('its map column "%s" is of type %s, not jsonb', map, map_type);
			cure := format('ALTER TABLE %s ALTER COLUMN %I TYPE jsonb USING to_jsonb(%I);', class.name, map, map);
		ELSIF NOT map_number = ANY (listed) THEN
			reason := format('publication "walrank" has it without its map column "%s"', map);
			cure := format('ALTER PUBLICATION walrank DROP TABLE ONLY %s;', class.name);
		END IF;
	END IF;
END
$$;

-- Owner of the table and member of walrank_admin, or an error.
CREATE FUNCTION walrank.watch_rights(relation regclass) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS
$$
BEGIN
	IF NOT pg_has_role(current_user, 'walrank_admin', 'USAGE') THEN
		RAISE EXCEPTION 'role "%" may not decide what is watched', current_user
			USING ERRCODE = 'insufficient_privilege', HINT = format('GRANT walrank_admin TO %I;', current_user);
	END IF;
	IF NOT (SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = relation) THEN
		RAISE EXCEPTION 'must be owner of table %', relation
			USING ERRCODE = 'insufficient_privilege',
			HINT = format('Run this as "%s".', (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = relation));
	END IF;
END
$$;

-- Let walrank_reader read the table; what the caller cannot grant is said, not refused.
CREATE FUNCTION walrank.watch_grants(relation regclass) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS
$$
DECLARE
	class record;
BEGIN
	SELECT n.oid AS schema, n.nspname, c.relrowsecurity INTO STRICT class
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
	EXECUTE format('GRANT SELECT ON TABLE %s TO walrank_reader', relation);

	IF NOT has_schema_privilege('walrank_reader', class.schema, 'USAGE') THEN
		IF has_schema_privilege(class.schema, 'USAGE WITH GRANT OPTION') THEN
			EXECUTE format('GRANT USAGE ON SCHEMA %I TO walrank_reader', class.nspname);
		ELSE
			RAISE WARNING 'walrank_reader cannot use schema "%"', class.nspname
				USING HINT = format('Its owner should run: GRANT USAGE ON SCHEMA %I TO walrank_reader;', class.nspname);
		END IF;
	END IF;
	IF class.relrowsecurity THEN
		RAISE WARNING 'table % has row level security, which refuses a backfill', relation
			USING HINT = 'Give the daemon''s role BYPASSRLS.';
	END IF;
END
$$;

CREATE FUNCTION walrank.watch(relation regclass, map text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS
$$
#variable_conflict use_variable
DECLARE
	watched_name text;
	obstacle record;
	map_before text;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'no table was named' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT format('%I.%I', n.nspname, c.relname) INTO watched_name
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no table with OID %', relation::oid USING ERRCODE = 'undefined_table';
	END IF;
	PERFORM walrank.watch_rights(relation);
	SELECT * INTO obstacle FROM walrank.watch_obstacle(relation, map);
	IF obstacle.reason IS NOT NULL THEN
		RAISE EXCEPTION 'cannot watch %: %', watched_name, obstacle.reason
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = obstacle.cure;
	END IF;

	IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'walrank') THEN
		IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
			RAISE EXCEPTION 'publication "walrank" does not exist'
				USING ERRCODE = 'undefined_object', HINT = 'As a superuser: SELECT walrank.setup();';
		END IF;
		PERFORM walrank.setup();
	END IF;
	IF NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
				   WHERE p.pubname = 'walrank' AND r.prrelid = relation) THEN
		EXECUTE format('ALTER PUBLICATION walrank ADD TABLE ONLY %s', relation);
	END IF;
	PERFORM walrank.watch_grants(relation);

	SELECT w.map INTO map_before FROM walrank.watched w WHERE w.relation = watched_name FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO walrank.watched (relation, map) VALUES (watched_name, map);
	ELSIF map_before IS DISTINCT FROM map THEN
		UPDATE walrank.watched w SET map = watch.map WHERE w.relation = watched_name;
		-- its rankings read other attributes now: checked again, and new versions
		UPDATE walrank.ranking r SET version = r.version + 1 WHERE r.relation = watched_name;
	END IF;
	RETURN watched_name;
END
$$;
COMMENT ON FUNCTION walrank.watch(regclass, text) IS
	'capture a table; map names its jsonb column of {"key": [value, "time"]}; may be repeated, also with another map';

CREATE FUNCTION walrank.unwatch(relation regclass) RETURNS text
	LANGUAGE plpgsql SECURITY INVOKER SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS
$$
#variable_conflict use_variable
DECLARE
	watched_name text;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'no table was named' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT format('%I.%I', n.nspname, c.relname) INTO watched_name
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = relation;
	PERFORM walrank.watch_rights(relation);
	DELETE FROM walrank.watched w WHERE w.relation = watched_name;
	IF EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
			   WHERE p.pubname = 'walrank' AND r.prrelid = relation) THEN
		EXECUTE format('ALTER PUBLICATION walrank DROP TABLE ONLY %s', relation);
		EXECUTE format('REVOKE SELECT ON TABLE %s FROM walrank_reader', relation);
	END IF;
	RETURN watched_name;
END
$$;
COMMENT ON FUNCTION walrank.unwatch(regclass) IS
	'capture a table no longer; its rankings stay, without items, and come back with the table';
