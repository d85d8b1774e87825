-- Frames as lines that do not depend on LSNs, transaction numbers, times or oids.
-- Included by the plugin tests: \i :abs_srcdir/../data/decode.sql
SET client_min_messages = warning;
DROP FUNCTION IF EXISTS changes(name, text[]);
RESET client_min_messages;

-- All changes of a slot, consumed; options as name, value, ...
CREATE FUNCTION changes(slot name, VARIADIC options text[] DEFAULT '{}') RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	frame jsonb;
	entry jsonb;
	attribute jsonb;
	known jsonb := '{}';
	rel jsonb;
	line text;
	parts int := 0;
BEGIN
	FOR frame IN
		SELECT data::jsonb FROM pg_logical_slot_get_changes(slot, NULL, NULL,
			VARIADIC options || ARRAY['format', 'json'])
	LOOP
		IF (frame #>> '{head,part}')::int <> parts THEN
			RETURN NEXT 'frame out of order';
		END IF;
		parts := parts + 1;
		FOR entry IN SELECT * FROM jsonb_array_elements(frame -> 'entries')
		LOOP
			IF entry ? 'relation' THEN
				rel := entry -> 'relation';
				known := known || jsonb_build_object(rel ->> 'fingerprint', rel);
				RETURN NEXT format('table %s.%s (%s)%s', rel ->> 'schema', rel ->> 'table',
					(SELECT string_agg(c ->> 'name' || ' ' || (c ->> 'typeName')
							|| CASE WHEN (c ->> 'typmod')::int <> -1 THEN ' ' || (c ->> 'typmod') ELSE '' END
							|| CASE WHEN c ? 'key' THEN ' key' ELSE '' END
							|| CASE WHEN c ? 'generated' THEN ' generated' ELSE '' END, ', ' ORDER BY i)
					   FROM jsonb_array_elements(rel -> 'columns') WITH ORDINALITY AS x(c, i)),
					CASE WHEN rel ? 'selection' THEN ' selected' ELSE '' END);
			ELSIF entry ? 'change' THEN
				entry := entry -> 'change';
				rel := known -> (entry ->> 'relation');
				RETURN NEXT format('%s %s %s%s%s', entry ->> 'op', rel ->> 'table', entry -> 'key',
					CASE WHEN entry ? 'oldKey' THEN ' was ' || (entry ->> 'oldKey') ELSE '' END,
					CASE WHEN entry ? 'flags' THEN ' flags ' || (entry ->> 'flags') ELSE '' END);
				FOR attribute IN SELECT * FROM jsonb_array_elements(entry -> 'attributes')
				LOOP
					line := '    ' || (rel #>> ARRAY['columns', coalesce(attribute ->> 'column', '0'), 'name']);
					IF attribute ? 'key' THEN
						line := line || '.' || encode(decode(attribute ->> 'key', 'base64'), 'escape');
					END IF;
					line := line || ' ' || coalesce(attribute ->> 'changed', 'UNKNOWN');
					IF attribute ? 'state' THEN
						line := line || ' ' || (attribute ->> 'state');
					END IF;
					IF attribute ? 'size' THEN
						line := line || ' ' || (attribute ->> 'size');
					END IF;
					IF attribute ? 'value' THEN
						line := line || ' ' || CASE WHEN length(attribute ->> 'value') > 300
							THEN 'value of ' || length(attribute ->> 'value') || ' characters'
							ELSE attribute ->> 'value' END;
					END IF;
					IF attribute ? 'oldValue' THEN
						line := line || ' was ' || CASE WHEN length(attribute ->> 'oldValue') > 300
							THEN 'value of ' || length(attribute ->> 'oldValue') || ' characters'
							ELSE attribute ->> 'oldValue' END;
					END IF;
					RETURN NEXT line;
				END LOOP;
			ELSIF entry ? 'truncate' THEN
				RETURN NEXT format('TRUNCATE %s%s%s%s',
					(SELECT string_agg(known #>> ARRAY[f, 'table'], ', ' ORDER BY i)
					   FROM jsonb_array_elements_text(entry #> '{truncate,relations}') WITH ORDINALITY AS x(f, i)),
					CASE WHEN entry -> 'truncate' ? 'cascade' THEN ' cascade' ELSE '' END,
					CASE WHEN entry -> 'truncate' ? 'restartIdentity' THEN ' restart identity' ELSE '' END,
					(SELECT ' partly ' || string_agg(known #>> ARRAY[f, 'table'], ', ' ORDER BY i)
					   FROM jsonb_array_elements_text(entry #> '{truncate,thinned}') WITH ORDINALITY AS x(f, i)));
			ELSE
				RETURN NEXT entry::text;
			END IF;
		END LOOP;
		IF frame ? 'tail' THEN
			IF (frame #>> '{tail,frames}')::int <> parts THEN
				RETURN NEXT 'wrong number of frames';
			END IF;
			RETURN NEXT format('-- %s changes%s', frame #>> '{tail,changes}',
				CASE WHEN parts > 1 THEN ' in ' || parts || ' frames' ELSE '' END);
			parts := 0;
		END IF;
	END LOOP;
END $$;
