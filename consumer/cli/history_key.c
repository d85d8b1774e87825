/*
 * history_key.c -- see history_key.h.
 */
#include "cli/history_key.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

static char *
member_text(const json_t *value)
{
	char *dumped;
	char *text;

	if (json_is_string(value))
		return xstrdup(json_string_value(value));
	dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
	text = xstrdup(dumped != NULL ? dumped : "");
	free(dumped);
	return text;
}

void
history_key_parse(const char *text, HistoryKey *key)
{
	json_t *json = json_loads(text, 0, NULL);
	const char *name;
	json_t *value;

	*key = (HistoryKey){.text = text};
	if (json_is_object(json) && json_object_size(json) > 0)
	{
		key->members = xcalloc(json_object_size(json), sizeof(*key->members));
		json_object_foreach(json, name, value)
		{
			key->members[key->count++] = (HistoryMember){
				.name = xstrdup(name), .text = member_text(value), .is_string = json_is_string(value)};
		}
	}
	json_decref(json);
}

void
history_key_free(HistoryKey *key)
{
	for (int i = 0; i < key->count; i++)
	{
		free(key->members[i].name);
		free(key->members[i].text);
	}
	free(key->members);
	*key = (HistoryKey){0};
}

const HistoryMember *
history_key_member(const HistoryKey *key, const char *name)
{
	for (int i = 0; i < key->count; i++)
		if (strcmp(key->members[i].name, name) == 0)
			return &key->members[i];
	return NULL;
}
