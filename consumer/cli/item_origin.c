/*
 * item_origin.c -- see item_origin.h.
 */
#include "cli/item_origin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "cli/history_item.h"

typedef struct AttributeOrigin
{
	char *name; /* as history_item.h names it: bare, or column.key */
	Origin origin;
} AttributeOrigin;

typedef struct ToldOrigin
{
	char *ranking;
	bool shown;
	double score;
	Origin origin;
} ToldOrigin;

struct ItemOrigins
{
	ItemPass pass;
	bool complete; /* its insert was met, or the feed begins with the stream */
	char table[264];
	char *map;	 /* column, or NULL */
	Buffer keys; /* columns of the key, each with its NUL */
	Buffer key;
	HistoryImage images[2];
	int current;
	Origin row; /* the item's own: when it came */
	bool has_row;
	AttributeOrigin *attributes;
	uint32_t nattributes;
	ToldOrigin *told;
	uint32_t ntold;
};

/* ---- noting -------------------------------------------------------------------------------------- */

static Origin
origin_of(const ItemPass *pass, const RecordEntry *entry)
{
	const RecordHeader *unit = pass->unit;
	Origin origin = {.lsn = unit->end_lsn, .xid = unit->kind == UNIT_TXN ? unit->xid : 0, .unit = unit->kind};
	Buffer time = {0};

	json_time(&time, item_unit_time(unit));
	snprintf(origin.time, sizeof(origin.time), "%.*s", (int) time.len - 2, (char *) time.data + 1);
	buffer_free(&time);
	snprintf(origin.pos, sizeof(origin.pos), "%" PRIu64 ".%u.%u", unit->seq, entry->change, entry->out);
	return origin;
}

static void
forget_attributes(ItemOrigins *origins)
{
	for (uint32_t i = 0; i < origins->nattributes; i++)
		free(origins->attributes[i].name);
	origins->nattributes = 0;
	origins->has_row = false;
	origins->images[origins->current].known = false;
}

static AttributeOrigin *
attribute_place(ItemOrigins *origins, Slice name)
{
	AttributeOrigin *place;

	for (uint32_t i = 0; i < origins->nattributes; i++)
		if (slice_equal(slice_string(origins->attributes[i].name), name))
			return &origins->attributes[i];
	origins->attributes =
		xrealloc(origins->attributes, (origins->nattributes + 1) * sizeof(*origins->attributes));
	place = &origins->attributes[origins->nattributes++];
	*place = (AttributeOrigin){.name = xcalloc(name.len + 1, 1)};
	memcpy(place->name, name.data, name.len);
	return place;
}

typedef struct Noting
{
	ItemOrigins *origins;
	const RecordEntry *entry;
} Noting;

static void
note_attribute(void *context, const HistoryChange *change)
{
	const Noting *noting = context;

	/* what it was before is not known, and the record does not say that it changed: it may have stood there for long */
	if (!change->before_known && !noting->entry->row.changed_known)
		return;
	attribute_place(noting->origins, change->name)->origin = origin_of(&noting->origins->pass, noting->entry);
}

/* Only of its newest version is anything asked. */
static void
note_table(ItemOrigins *origins, const FeedRelation *relation, Slice key)
{
	snprintf(origins->table, sizeof(origins->table), "%s", relation->qualified);
	free(origins->map);
	origins->map = relation->map >= 0 ? xstrdup(relation->columns[relation->map].name) : NULL;
	buffer_reset(&origins->keys);
	for (int i = 0; i < relation->ncolumns; i++)
		if (relation->columns[i].key)
			buffer_append(&origins->keys, relation->columns[i].name, strlen(relation->columns[i].name) + 1);
	buffer_reset(&origins->key);
	buffer_append_slice(&origins->key, key);
}

static bool
note_change(ItemOrigins *origins, const RecordEntry *entry, const FeedRelation *relation, Error *err)
{
	const HistoryImage *before = &origins->images[origins->current];
	HistoryImage *after = &origins->images[1 - origins->current];
	Noting noting = {origins, entry};

	note_table(origins, relation, entry->key);
	if (entry->row.op == OP_DELETE)
	{
		forget_attributes(origins);
		origins->complete = true; /* of what may come after it */
		return true;
	}
	if (!history_image_make(after, origins->pass.reader, entry, err))
		return false;
	if (entry->row.op == OP_INSERT)
	{
		forget_attributes(origins);
		origins->row = origin_of(&origins->pass, entry);
		origins->has_row = origins->complete = true;
	}
	history_image_compare(before, after, entry, note_attribute, &noting);
	origins->current = 1 - origins->current;
	return true;
}

static void
note_told(ItemOrigins *origins, const RecordEntry *entry)
{
	const FeedRanking *ranking = feed_ranking(origins->pass.reader, entry->out);
	ToldOrigin *told = NULL;

	for (uint32_t i = 0; ranking != NULL && i < origins->ntold; i++)
		if (strcmp(origins->told[i].ranking, ranking->name) == 0)
			told = &origins->told[i];
	if (ranking == NULL || (told == NULL && entry->key.len == 0))
		return;
	if (told == NULL)
	{
		origins->told = xrealloc(origins->told, (origins->ntold + 1) * sizeof(*origins->told));
		told = &origins->told[origins->ntold++];
		told->ranking = xstrdup(ranking->name);
	}
	told->shown = entry->kind == RECORD_SCORE;
	told->score = told->shown ? entry->score.score : 0;
	told->origin = origin_of(&origins->pass, entry);
}

static bool
note_entry(ItemPass *pass, const RecordEntry *entry, const FeedRelation *relation, Error *err)
{
	ItemOrigins *origins = pass->context;

	if (relation == NULL) /* a gap: what it was before the next change is not known */
		origins->images[origins->current].known = false;
	else if (entry->kind == RECORD_CHANGE)
		return note_change(origins, entry, relation, err);
	else if (entry->kind == RECORD_TRUNCATE)
		forget_attributes(origins);
	else if (entry->kind == RECORD_SCORE || entry->kind == RECORD_REMOVE)
	{
		if (entry->key.len > 0 && origins->key.len == 0)
			note_table(origins, relation, entry->key);
		note_told(origins, entry);
	}
	return true;
}

static bool
note_begin(ItemPass *pass, const RecordHeader *first)
{
	((ItemOrigins *) pass->context)->complete = first->seq <= 1;
	return true;
}

/* ---- asking -------------------------------------------------------------------------------------- */

bool
item_origins_read(ItemName *name, const StoppedState *stopped, uint64_t until_seq, ItemOrigins **result,
				  Error *err)
{
	ItemOrigins *origins = xcalloc(1, sizeof(*origins));

	origins->pass =
		(ItemPass){.context = origins, .until_seq = until_seq, .begin = note_begin, .entry = note_entry};
	if (item_pass(&origins->pass, name, stopped, err))
	{
		*result = origins;
		return true;
	}
	item_origins_free(origins);
	return false;
}

void
item_origins_free(ItemOrigins *origins)
{
	if (origins == NULL)
		return;
	forget_attributes(origins);
	free(origins->attributes);
	for (uint32_t i = 0; i < origins->ntold; i++)
		free(origins->told[i].ranking);
	free(origins->told);
	history_image_free(&origins->images[0]);
	history_image_free(&origins->images[1]);
	buffer_free(&origins->key);
	buffer_free(&origins->keys);
	free(origins->map);
	free(origins);
}

const char *
item_origins_table(const ItemOrigins *origins)
{
	return origins->table;
}

Slice
item_origins_key(const ItemOrigins *origins)
{
	return slice_make(origins->key.data, origins->key.len);
}

bool
item_origins_complete(const ItemOrigins *origins)
{
	return origins->complete;
}

static bool
is_key(const ItemOrigins *origins, const char *name)
{
	const char *at = (const char *) origins->keys.data;
	const char *end = at + origins->keys.len;

	for (; at < end; at += strlen(at) + 1)
		if (strcmp(at, name) == 0)
			return true;
	return false;
}

/* "att.stock" is "stock" in the feed's words where att is the map. */
static const char *
bare(const ItemOrigins *origins, const char *name)
{
	size_t len = origins->map != NULL ? strlen(origins->map) : 0;

	return len > 0 && strncmp(name, origins->map, len) == 0 && name[len] == '.' ? name + len + 1 : name;
}

static const Origin *
find(const ItemOrigins *origins, const char *name)
{
	for (uint32_t i = 0; i < origins->nattributes; i++)
		if (strcmp(origins->attributes[i].name, name) == 0)
			return &origins->attributes[i].origin;
	return NULL;
}

const Origin *
item_origin(const ItemOrigins *origins, const char *attribute)
{
	const Origin *found = find(origins, attribute);

	if (found == NULL)
		found = find(origins, bare(origins, attribute));
	if (found == NULL && origins->has_row && is_key(origins, attribute))
		found = &origins->row;
	return found;
}

static Slice
value(const HistoryImage *image, const char *name)
{
	for (uint32_t i = 0; image->known && i < image->count; i++)
	{
		const HistoryAttribute *one = &image->list[i];

		if (slice_equal(slice_make(image->text.data + one->name, one->name_len), slice_string(name)))
			return slice_make(image->text.data + one->value, one->value_len);
	}
	return slice_make(NULL, 0);
}

Slice
item_origin_value(const ItemOrigins *origins, const char *attribute)
{
	const HistoryImage *image = &origins->images[origins->current];
	const Slice found = value(image, attribute);

	return found.len > 0 ? found : value(image, bare(origins, attribute));
}

const Origin *
item_origin_told(const ItemOrigins *origins, const char *ranking, bool *shown, double *score)
{
	for (uint32_t i = 0; i < origins->ntold; i++)
		if (strcmp(origins->told[i].ranking, ranking) == 0)
		{
			*shown = origins->told[i].shown;
			*score = origins->told[i].score;
			return &origins->told[i].origin;
		}
	return NULL;
}
