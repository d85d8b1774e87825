/*
 * watch.c -- see watch.h.
 */
#include "score/watch.h"

#include <stdlib.h>

#include "score/pack.h"

#define WATCH_PREFIX "watch:"

/* ---- names -------------------------------------------------------------------------------- */

/* One identifier up to the point or the end. */
static bool
parse_identifier(Slice text, size_t *at, char out[IDENTIFIER_BYTES])
{
	bool quoted = *at < text.len && text.data[*at] == '"';
	size_t len = 0;

	if (quoted)
		(*at)++;
	for (; *at < text.len; (*at)++)
	{
		uint8_t byte = text.data[*at];

		if (quoted && byte == '"')
		{
			if (*at + 1 >= text.len || text.data[*at + 1] != '"')
				break;
			(*at)++;
		}
		else if (!quoted && byte == '.')
			break;
		if (byte == '\0' || len >= IDENTIFIER_BYTES - 1)
			return false;
		out[len++] = (char) byte;
	}
	out[len] = '\0';
	if (quoted && (*at)++ >= text.len)
		return false;
	return len > 0;
}

bool
watch_parse(Slice text, char schema[IDENTIFIER_BYTES], char table[IDENTIFIER_BYTES])
{
	size_t at = 0;

	if (!parse_identifier(text, &at, schema))
		return false;
	if (at == text.len)
	{
		memcpy(table, schema, IDENTIFIER_BYTES);
		memcpy(schema, "public", sizeof("public"));
		return true;
	}
	if (text.data[at++] != '.')
		return false;
	return parse_identifier(text, &at, table) && at == text.len;
}

static char *
slice_strdup(Slice slice)
{
	char *string = xmalloc(slice.len + 1);

	memcpy(string, slice.data, slice.len);
	string[slice.len] = '\0';
	return string;
}

/* ---- the list ----------------------------------------------------------------------------- */

Watch *
watches_by_text(const Watches *watches, Slice text)
{
	for (int i = 0; i < watches->count; i++)
		if (slice_equal(slice_string(watches->list[i]->text), text))
			return watches->list[i];
	return NULL;
}

Watch *
watches_by_name(const Watches *watches, Slice schema, Slice table)
{
	for (int i = 0; i < watches->count; i++)
		if (slice_equal(slice_string(watches->list[i]->schema), schema) &&
			slice_equal(slice_string(watches->list[i]->table), table))
			return watches->list[i];
	return NULL;
}

Watch *
watches_by_relation(const Watches *watches, const Relation *relation)
{
	for (int i = 0; i < watches->count; i++)
		if (watches->list[i]->relation == relation)
			return watches->list[i];
	return NULL;
}

static Watch *
watches_insert(Watches *watches, Slice text, const char *schema, const char *table)
{
	Watch *watch = xcalloc(1, sizeof(*watch));
	int at = watches->count;

	watch->text = slice_strdup(text);
	watch->schema = xstrdup(schema);
	watch->table = xstrdup(table);
	watch->map = xstrdup("");
	watches->list = xrealloc(watches->list, (size_t) (watches->count + 1) * sizeof(Watch *));
	for (; at > 0 && strcmp(watches->list[at - 1]->text, watch->text) > 0; at--)
		watches->list[at] = watches->list[at - 1];
	watches->list[at] = watch;
	watches->count++;
	return watch;
}

Watch *
watches_set(Watches *watches, Slice text, Slice map)
{
	char schema[IDENTIFIER_BYTES];
	char table[IDENTIFIER_BYTES];
	Watch *watch = watches_by_text(watches, text);

	if (watch == NULL)
	{
		if (text.len > WATCH_TEXT_MAX || !watch_parse(text, schema, table))
			return NULL;
		watch = watches_insert(watches, text, schema, table);
	}
	free(watch->map);
	watch->map = slice_strdup(map);
	return watch;
}

static void
watch_free(Watch *watch)
{
	free(watch->text);
	free(watch->schema);
	free(watch->table);
	free(watch->map);
	free(watch);
}

void
watches_free(Watches *watches)
{
	for (int i = 0; i < watches->count; i++)
		watch_free(watches->list[i]);
	free(watches->list);
}

/* ---- rows --------------------------------------------------------------------------------- */

static void
watch_key(const Watch *watch, Buffer *key)
{
	buffer_append_slice(key, slice_string(WATCH_PREFIX));
	buffer_append_slice(key, slice_string(watch->text));
}

bool
watch_save(Watches *watches, const Watch *watch, Error *err)
{
	Buffer key = {0};
	Buffer row = {0};
	bool ok;

	watch_key(watch, &key);
	pack_number(&row, watch->relation != NULL ? watch->relation->number : 0);
	pack_bytes(&row, slice_string(watch->map));
	ok = store_put(watches->store, STORE_META, buffer_slice(&key), buffer_slice(&row), err);
	buffer_free(&key);
	buffer_free(&row);
	return ok;
}

bool
watches_remove(Watches *watches, Watch *watch, Error *err)
{
	Buffer key = {0};
	int kept = 0;
	bool found;
	bool ok;

	watch_key(watch, &key);
	ok = store_delete(watches->store, STORE_META, buffer_slice(&key), &found, err);
	buffer_free(&key);
	for (int i = 0; i < watches->count; i++)
		if (watches->list[i] != watch)
			watches->list[kept++] = watches->list[i];
	watches->count = kept;
	watch_free(watch);
	return ok;
}

static bool
watch_restore(Watches *watches, const Relations *relations, Slice text, Slice value)
{
	WireCursor cursor = wire_cursor(value);
	uint32_t relation;
	Slice map;
	Watch *watch;

	if (!unpack_small(&cursor, UINT32_MAX, &relation) || !unpack_bytes(&cursor, &map))
		return false;
	watch = watches_set(watches, text, map);
	if (watch == NULL)
		return false;
	watch->relation = relations_by_number(relations, relation);
	return true;
}

bool
watches_load(Watches *watches, Store *store, const Relations *relations, Error *err)
{
	const size_t prefix = strlen(WATCH_PREFIX);
	Buffer at = {0};
	bool ok = true;

	memset(watches, 0, sizeof(*watches));
	watches->store = store;
	buffer_append(&at, WATCH_PREFIX, prefix);
	for (;;)
	{
		Slice key;
		Slice value;
		bool found;

		ok = store_seek(store, STORE_META, buffer_slice(&at), true, &key, &value, &found, err);
		if (!ok || !found || key.len < prefix || memcmp(key.data, WATCH_PREFIX, prefix) != 0)
			break;
		ok = watch_restore(watches, relations, slice_make(key.data + prefix, key.len - prefix), value) ||
			 error_set(err, ERR_REFUSE, "unreadable store row of a watched table");
		if (!ok)
			break;
		buffer_reset(&at);
		buffer_append_slice(&at, key);
	}
	buffer_free(&at);
	return ok;
}
