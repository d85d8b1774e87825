-- Publications cannot belong to an extension: made by its script, they would be in a dump a second
-- time.  So they have a function of their own, which also repairs them after a restore.

CREATE FUNCTION walrank.setup(daemon name DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '5s' AS
$$
DECLARE
	wanted name;
	existing record;
	config regclass;
BEGIN
	IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
		RAISE EXCEPTION 'only a superuser may set up walrank' USING ERRCODE = 'insufficient_privilege';
	END IF;

	FOREACH wanted IN ARRAY '{walrank,walrank_config}'::name[] LOOP
		SELECT p.*, pg_get_userbyid(p.pubowner) AS owner INTO existing FROM pg_publication p WHERE p.pubname = wanted;
		IF NOT FOUND THEN
			-- 18 and later would leave generated columns out
			EXECUTE format('CREATE PUBLICATION %I', wanted) ||
				CASE WHEN current_setting('server_version_num')::int >= 180000 THEN ' WITH (publish_generated_columns = stored)' ELSE '' END;
			EXECUTE format('ALTER PUBLICATION %I OWNER TO walrank_admin', wanted);
		ELSIF existing.owner <> 'walrank_admin' THEN
			RAISE EXCEPTION 'publication "%" belongs to "%"', wanted, existing.owner
				USING ERRCODE = 'duplicate_object',
				HINT = format('See what it publishes, then ALTER PUBLICATION %I OWNER TO walrank_admin; or DROP PUBLICATION %I;', wanted, wanted);
		ELSIF existing.puballtables OR existing.pubviaroot
			OR NOT (existing.pubinsert AND existing.pubupdate AND existing.pubdelete AND existing.pubtruncate) THEN
			RAISE EXCEPTION 'publication "%" is not as walrank makes it', wanted
				USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = 'It must list its tables, publish all operations, and not publish via the partition root.',
				HINT = format('DROP PUBLICATION %I; and run walrank.setup() and walrank.watch() again.', wanted);
		END IF;
	END LOOP;

	FOREACH config IN ARRAY '{walrank.watched,walrank.rule_library,walrank.ranking,walrank.intervention,walrank.control}'::regclass[] LOOP
		IF NOT EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
					   WHERE p.pubname = 'walrank_config' AND r.prrelid = config) THEN
			EXECUTE format('ALTER PUBLICATION walrank_config ADD TABLE ONLY %s', config);
		END IF;
	END LOOP;

	IF daemon IS NOT NULL THEN
		EXECUTE format('GRANT walrank_reader TO %I', daemon);
		EXECUTE format('GRANT INSERT, UPDATE ON walrank.control TO %I', daemon);
		EXECUTE format('GRANT INSERT, UPDATE, DELETE ON walrank.progress TO %I', daemon);
	END IF;
END
$$;
COMMENT ON FUNCTION walrank.setup(name) IS
	'makes or completes the two publications (before the slot!), and gives the daemon''s role its rights; may be repeated';
