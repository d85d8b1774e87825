/*
 * library.c -- see library.h.
 */
#include "score/library.h"

#include <stdlib.h>

#define LIBRARY_META "library "

typedef struct LibraryText
{
	Buffer name;
	Buffer text;
} LibraryText;

static LibraryText *
find(const Libraries *libraries, Slice name)
{
	for (int i = 0; i < libraries->count; i++)
		if (slice_equal(buffer_slice(&libraries->list[i].name), name))
			return &libraries->list[i];
	return NULL;
}

bool
libraries_find(const Libraries *libraries, Slice name, Slice *text)
{
	const LibraryText *library = find(libraries, name);

	if (library == NULL || library->text.len == 0)
		return false;
	*text = buffer_slice(&library->text);
	return true;
}

void
libraries_set(Libraries *libraries, Slice name, Slice text)
{
	LibraryText *library = find(libraries, name);

	if (library == NULL)
	{
		libraries->list = xrealloc(libraries->list, (size_t) (libraries->count + 1) * sizeof(LibraryText));
		library = &libraries->list[libraries->count++];
		memset(library, 0, sizeof(*library));
		buffer_append_slice(&library->name, name);
	}
	buffer_reset(&library->text);
	buffer_append_slice(&library->text, text);
}

bool
libraries_save(Libraries *libraries, Slice name, Error *err)
{
	Buffer key = {0};
	Slice text;
	bool found;
	bool ok;

	buffer_printf(&key, LIBRARY_META);
	buffer_append_slice(&key, name);
	ok = libraries_find(libraries, name, &text)
			 ? store_put(libraries->store, STORE_META, buffer_slice(&key), text, err)
			 : store_delete(libraries->store, STORE_META, buffer_slice(&key), &found, err);
	buffer_free(&key);
	return ok || error_wrap(err, "rule library");
}

bool
libraries_load(Libraries *libraries, Store *store, Error *err)
{
	const size_t prefix = strlen(LIBRARY_META);
	Buffer from = {0};
	bool ok;

	memset(libraries, 0, sizeof(*libraries));
	libraries->store = store;
	buffer_printf(&from, LIBRARY_META);
	for (;;)
	{
		Slice key;
		Slice value;
		bool found;

		ok = store_seek(store, STORE_META, buffer_slice(&from), true, &key, &value, &found, err);
		if (!ok || !found || key.len <= prefix || memcmp(key.data, LIBRARY_META, prefix) != 0)
			break;
		buffer_reset(&from);
		buffer_append_slice(&from, key);
		libraries_set(libraries, slice_make(from.data + prefix, from.len - prefix), value);
	}
	buffer_free(&from);
	return ok || error_wrap(err, "rule libraries");
}

void
libraries_free(Libraries *libraries)
{
	for (int i = 0; i < libraries->count; i++)
	{
		buffer_free(&libraries->list[i].name);
		buffer_free(&libraries->list[i].text);
	}
	free(libraries->list);
}

static bool
find_for_rules(void *context, Slice name, Slice *text)
{
	return libraries_find(context, name, text);
}

RuleLibrary
libraries_for_rules(const Libraries *libraries)
{
	return (RuleLibrary){find_for_rules, (void *) (uintptr_t) libraries};
}
