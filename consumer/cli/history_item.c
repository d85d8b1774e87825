/*
 * history_item.c -- see history_item.h.
 */
#include "cli/history_item.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"

void
history_image_free(HistoryImage *image)
{
	buffer_free(&image->text);
	free(image->list);
	*image = (HistoryImage){0};
}

/* ---- making one ------------------------------------------------------------------------------- */

static bool
is_column(const FeedRelation *relation, Slice name)
{
	for (int i = 0; i < relation->ncolumns; i++)
		if (slice_equal(slice_string(relation->columns[i].name), name))
			return true;
	return false;
}

/* A key of the map by its bare name unless a column has that name; of other columns as column.key. */
static void
put_name(Buffer *out, const FeedRelation *relation, const WireAttribute *attribute)
{
	const char *column = relation->columns[attribute->column].name;

	if (!attribute->has_key)
		buffer_append_slice(out, slice_string(column));
	else if ((int) attribute->column == relation->map && !is_column(relation, attribute->key))
		buffer_append_slice(out, attribute->key);
	else
	{
		buffer_printf(out, "%s.", column);
		buffer_append_slice(out, attribute->key);
	}
}

static bool
put_value(Buffer *out, const WireAttribute *attribute)
{
	if (attribute->state != STATE_OVERSIZED)
		return json_value(out, attribute->value);
	buffer_printf(out, "{\"oversized\":%" PRIu64 "}", attribute->size);
	return true;
}

static HistoryAttribute *
next_place(HistoryImage *image)
{
	if (image->count == image->capacity)
	{
		image->capacity = image->capacity * 2 + 16;
		image->list = xrealloc(image->list, image->capacity * sizeof(*image->list));
	}
	return &image->list[image->count++];
}

bool
history_image_make(HistoryImage *image, const FeedReader *reader, const RecordEntry *entry, Error *err)
{
	const FeedRelation *relation = feed_relation_version(reader, entry->relation, entry->row.fingerprint);
	WireCursor cursor = wire_cursor(entry->row.image);
	WireAttribute attribute;

	buffer_reset(&image->text);
	image->count = 0;
	image->known = true;
	if (relation == NULL)
		return error_set(err, ERR_DATA, "relation %u is not in the feed's dictionary", entry->relation);
	while (!wire_done(&cursor))
	{
		HistoryAttribute *place = next_place(image);

		if (!wire_attribute_next(&cursor, &attribute) || attribute.column >= (uint32_t) relation->ncolumns)
			return error_set(err, ERR_DATA, "malformed image of an item of relation %u", entry->relation);
		place->name = image->text.len;
		put_name(&image->text, relation, &attribute);
		place->name_len = image->text.len - place->name;
		place->value = image->text.len;
		if (!put_value(&image->text, &attribute))
			return error_set(err, ERR_DATA, "malformed value of an item of relation %u", entry->relation);
		place->value_len = image->text.len - place->value;
	}
	return true;
}

/* ---- comparing -------------------------------------------------------------------------------- */

static Slice
name_of(const HistoryImage *image, uint32_t i)
{
	return slice_make(image->text.data + image->list[i].name, image->list[i].name_len);
}

static Slice
value_of(const HistoryImage *image, uint32_t i)
{
	return slice_make(image->text.data + image->list[i].value, image->list[i].value_len);
}

/* Images have one order, so what follows is mostly where the last one was. */
static bool
find(const HistoryImage *image, Slice name, uint32_t *at)
{
	for (uint32_t n = 0; n < image->count; n++)
	{
		uint32_t i = (*at + n) % image->count;

		if (!slice_equal(name_of(image, i), name))
			continue;
		*at = i;
		return true;
	}
	return false;
}

void
history_image_compare(const HistoryImage *before, const HistoryImage *after, const RecordEntry *entry,
					  void (*changed)(void *context, const HistoryChange *change), void *context)
{
	const bool all = entry->row.op == OP_INSERT || !entry->row.changed_known;
	uint32_t at = 0;

	for (uint32_t i = 0; i < after->count; i++)
	{
		HistoryChange change = {.name = name_of(after, i), .after = value_of(after, i)};
		bool differs = all || record_changed(entry, i);

		change.before_known = before->known || entry->row.op == OP_INSERT;
		if (before->known && find(before, change.name, &at))
			change.before = value_of(before, at);
		if (before->known)
			differs = !slice_equal(change.before, change.after);
		if (differs)
			changed(context, &change);
	}
	at = 0;
	for (uint32_t i = 0; before->known && i < before->count; i++)
		if (!find(after, name_of(before, i), &at))
			changed(context, &(HistoryChange){.name = name_of(before, i),
											  .before = value_of(before, i),
											  .before_known = true});
}
