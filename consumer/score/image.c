/*
 * image.c -- see image.h.
 *
 * Completing is one walk over two sorted lists.  Nearly always the next attribute of the change is,
 * byte for byte, the next one stored: that is one memcmp, and the stored list is parsed only where
 * the two differ.
 */
#include "score/image.h"

#include <stdlib.h>

#define ATTRIBUTE_TAG WIRE_TAG(CHANGE_ATTRIBUTES, WIRE_BYTES)

/* ---- writing attributes ------------------------------------------------------------------- */

/* Bytes of an attribute's payload, at most. */
static inline size_t
attribute_bound(const WireAttribute *a)
{
	return a->key.len + a->value.len + 40;
}

/* One canonical attribute; `state` and `column` may differ from those of `a`. */
static void
put_attribute(Buffer *out, const WireAttribute *a, uint32_t column, WireState state)
{
	bool value = state == STATE_SET;
	bool size = state == STATE_OVERSIZED;
	size_t len =
		1 + wire_varint_size(column) + (a->has_key ? 1 + wire_varint_size(a->key.len) + a->key.len : 0) +
		(state != STATE_SET ? 2 : 0) + (value ? 1 + wire_varint_size(a->value.len) + a->value.len : 0) +
		(size ? 1 + wire_varint_size(a->size) : 0);
	uint8_t *start = buffer_reserve(out, attribute_bound(a));
	uint8_t *at = start;

	*at++ = ATTRIBUTE_TAG;
	at = wire_put_varint(at, len);
	*at++ = WIRE_TAG(ATTRIBUTE_COLUMN, WIRE_VARINT);
	at = wire_put_varint(at, column);
	if (a->has_key)
	{
		*at++ = WIRE_TAG(ATTRIBUTE_KEY, WIRE_BYTES);
		at = wire_put_varint(at, a->key.len);
		memcpy(at, a->key.data, a->key.len);
		at += a->key.len;
	}
	if (state != STATE_SET)
	{
		*at++ = WIRE_TAG(ATTRIBUTE_STATE, WIRE_VARINT);
		*at++ = (uint8_t) state;
	}
	if (value)
	{
		*at++ = WIRE_TAG(ATTRIBUTE_VALUE, WIRE_BYTES);
		at = wire_put_varint(at, a->value.len);
		memcpy(at, a->value.data, a->value.len);
		at += a->value.len;
	}
	if (size)
	{
		*at++ = WIRE_TAG(ATTRIBUTE_SIZE, WIRE_VARINT);
		at = wire_put_varint(at, a->size);
	}
	out->len += (size_t) (at - start);
}

/* ---- reading attributes ------------------------------------------------------------------- */

static inline bool
short_varint(const uint8_t **at, const uint8_t *end, uint32_t *v)
{
	const uint8_t *p = *at;

	if (p < end && p[0] < 0x80)
	{
		*v = p[0];
		*at = p + 1;
		return true;
	}
	if (p + 1 < end && p[1] < 0x80)
	{
		*v = (p[0] & 0x7f) | (uint32_t) p[1] << 7;
		*at = p + 2;
		return true;
	}
	return false;
}

/*
 * The shape nearly every attribute has: column, key, changed, value, small lengths, nothing else.
 * Anything else is left to wire_attribute_next(), so this decides speed only.
 */
static inline bool
next_usual(WireCursor *cursor, WireAttribute *a)
{
	const uint8_t *at = cursor->at;
	const uint8_t *end = cursor->end;
	uint32_t len;

	if (at >= end || *at++ != ATTRIBUTE_TAG || !short_varint(&at, end, &len) || len > (size_t) (end - at))
		return false;
	end = at + len;
	a->column = 0;
	if (at < end && *at == WIRE_TAG(ATTRIBUTE_COLUMN, WIRE_VARINT))
	{
		if (at + 1 >= end || at[1] >= 0x80)
			return false;
		a->column = at[1];
		at += 2;
	}
	a->has_key = at < end && *at == WIRE_TAG(ATTRIBUTE_KEY, WIRE_BYTES);
	a->key = slice_make(NULL, 0);
	if (a->has_key)
	{
		at++;
		if (!short_varint(&at, end, &len) || len > (size_t) (end - at))
			return false;
		a->key = slice_make(at, len);
		at += len;
	}
	a->changed = CHANGED_UNKNOWN;
	if (at + 1 < end && *at == WIRE_TAG(ATTRIBUTE_CHANGED, WIRE_VARINT))
	{
		if (at[1] > CHANGED_NO)
			return false;
		a->changed = (WireChanged) at[1];
		at += 2;
	}
	if (at >= end || *at++ != WIRE_TAG(ATTRIBUTE_VALUE, WIRE_BYTES) || !short_varint(&at, end, &len) ||
		len != (size_t) (end - at))
		return false;
	a->state = STATE_SET;
	a->has_value = true;
	a->value = slice_make(at, len);
	a->has_old_value = false;
	a->old_value = slice_make(NULL, 0);
	a->size = 0;
	cursor->at = end;
	return true;
}

static inline bool
next_attribute(WireCursor *cursor, WireAttribute *a)
{
	return next_usual(cursor, a) || wire_attribute_next(cursor, a);
}

/* Order of attributes: column, then the one without key, then keys as jsonb stores them. */
static inline int
compare_place(const WireAttribute *a, const WireAttribute *b)
{
	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	if (a->has_key != b->has_key)
		return a->has_key ? 1 : -1;
	if (a->key.len != b->key.len)
		return a->key.len < b->key.len ? -1 : 1;
	return a->key.len == 0 ? 0 : memcmp(a->key.data, b->key.data, a->key.len);
}

/* ---- the walk ----------------------------------------------------------------------------- */

typedef struct Walk
{
	Image *image;
	ImageMode mode;
	const Version *version;
	bool has_stored;
	WireCursor stored;
	/* the stored attribute at the cursor, when it has been looked at */
	bool peeked;
	WireAttribute next;
	const uint8_t *next_end;
	int placeholder; /* column whose stored value is not known: what it was before cannot be told */
	/* last attribute of the change, to see that they come in order */
	bool any;
	WireAttribute previous;
} Walk;

static bool
peek_stored(Walk *walk)
{
	WireCursor cursor = walk->stored;

	if (walk->peeked)
		return true;
	if (wire_done(&cursor) || !next_attribute(&cursor, &walk->next))
		return false;
	walk->next_end = cursor.at;
	walk->peeked = true;
	return true;
}

static inline void
skip_stored(Walk *walk)
{
	walk->stored.at = walk->next_end;
	walk->peeked = false;
}

static void
set_changed(Image *image, size_t offset)
{
	image->bits.data[image->count / 8] |= (uint8_t) (1u << image->count % 8);
	if (image->nchanged == image->changed_capacity)
	{
		image->changed_capacity = image->changed_capacity * 2 + 64;
		image->changed = xrealloc(image->changed, image->changed_capacity * sizeof(uint32_t));
	}
	image->changed[image->nchanged++] = (uint32_t) offset;
}

/* The attribute just written at offset counts. */
static void
count_attribute(Image *image, size_t offset, bool changed)
{
	if (image->count % 8 == 0)
		buffer_append_byte(&image->bits, 0);
	if (changed)
		set_changed(image, offset);
	image->count++;
}

/* A stored attribute that the change does not have: a removed key, or a column whose value became an object. */
static void
leave_stored(Walk *walk)
{
	if (walk->next.state == STATE_UNCHANGED_TOAST)
		walk->placeholder = (int) walk->next.column;
	else
		put_attribute(&walk->image->removed, &walk->next, walk->next.column, STATE_REMOVED);
	skip_stored(walk);
}

/* All stored attributes of a column stay as they are; if there are none it is not known. */
static bool
keep_column(Walk *walk, const WireAttribute *a)
{
	Image *image = walk->image;
	bool any = false;

	while (peek_stored(walk) && walk->next.column <= a->column)
	{
		if (walk->next.column < a->column)
		{
			leave_stored(walk);
			continue;
		}
		any = true;
		if (walk->next.state == STATE_UNCHANGED_TOAST && image->unknown < 0)
			image->unknown = (int) a->column;
		count_attribute(image, image->bytes.len, false);
		buffer_append(&image->bytes, walk->stored.at, (size_t) (walk->next_end - walk->stored.at));
		skip_stored(walk);
	}
	if (any)
		return true;
	if (image->unknown < 0)
		image->unknown = (int) a->column;
	count_attribute(image, image->bytes.len, false);
	put_attribute(&image->bytes, a, a->column, STATE_UNCHANGED_TOAST);
	return true;
}

/* Without a stored value the plugin's word counts, if it has one. */
static bool
changed_by_word(Walk *walk, const WireAttribute *a)
{
	if (walk->mode == IMAGE_WHOLE)
		return true;
	if (a->changed == CHANGED_UNKNOWN)
		walk->image->bits_known = false;
	return a->changed != CHANGED_NO;
}

/* The attribute written at offset against the stored list. */
static bool
changed_by_stored(Walk *walk, const WireAttribute *a, size_t offset)
{
	const Buffer *bytes = &walk->image->bytes;
	size_t len = bytes->len - offset;
	int order = -1;

	if (!walk->peeked && (size_t) (walk->stored.end - walk->stored.at) >= len &&
		memcmp(walk->stored.at, bytes->data + offset, len) == 0)
	{
		walk->stored.at += len;
		return false;
	}
	while (peek_stored(walk) && (order = compare_place(&walk->next, a)) < 0)
		leave_stored(walk);
	if (walk->peeked && order == 0)
	{
		size_t stored_len = (size_t) (walk->next_end - walk->stored.at);
		bool same = stored_len == len && memcmp(walk->stored.at, bytes->data + offset, len) == 0;
		bool was_known = walk->next.state != STATE_UNCHANGED_TOAST;

		skip_stored(walk);
		return was_known ? !same : changed_by_word(walk, a);
	}
	return walk->placeholder == (int) a->column ? changed_by_word(walk, a) : true;
}

static bool
take_attribute(Walk *walk, const WireAttribute *a)
{
	Image *image = walk->image;
	size_t offset = image->bytes.len;
	WireValue value;
	bool changed;

	put_attribute(&image->bytes, a, a->column, a->state);
	changed = walk->has_stored ? changed_by_stored(walk, a, offset) : changed_by_word(walk, a);
	/* what equals a stored value was checked when that was stored */
	if (changed && a->state == STATE_SET && !wire_value(a->value, &value))
		return false;
	count_attribute(image, offset, changed);
	return true;
}

static bool
walk_attribute(Walk *walk, const WireAttribute *a)
{
	if (a->column >= walk->version->head.ncolumns)
		return false;
	if (walk->any && compare_place(&walk->previous, a) >= 0)
		return false;
	walk->any = true;
	walk->previous = *a;
	if (a->state == STATE_UNCHANGED_TOAST)
		return !a->has_key && keep_column(walk, a);
	walk->image->carried[a->column] = true;
	if (a->state != STATE_REMOVED)
		return take_attribute(walk, a);
	/* where there is a stored image, what it has and the change lacks is the better list */
	if (!walk->has_stored && walk->mode == IMAGE_COMPARED)
		put_attribute(&walk->image->removed, a, a->column, STATE_REMOVED);
	return true;
}

static void
image_reset(Image *image, const Version *version)
{
	buffer_reset(&image->bytes);
	buffer_reset(&image->bits);
	buffer_reset(&image->removed);
	image->count = 0;
	image->nchanged = 0;
	image->bits_known = true;
	image->unknown = -1;
	memset(image->carried, 0, version->head.ncolumns);
}

bool
image_make(Image *image, const Version *version, const Slice *stored, Slice attributes, ImageMode mode)
{
	Walk walk = {.image = image, .version = version, .mode = mode, .placeholder = -1};
	WireCursor cursor = wire_cursor(attributes);
	WireAttribute a;

	image_reset(image, version);
	walk.has_stored = stored != NULL && mode == IMAGE_COMPARED;
	if (walk.has_stored)
		walk.stored = wire_cursor(*stored);
	while (!wire_done(&cursor))
		if (!next_attribute(&cursor, &a) || !walk_attribute(&walk, &a))
			return false;
	while (walk.has_stored && peek_stored(&walk))
		leave_stored(&walk);
	return true;
}

bool
image_mark_all(Image *image)
{
	WireCursor cursor = wire_cursor(buffer_slice(&image->bytes));
	WireAttribute a;

	buffer_reset(&image->bits);
	buffer_reset(&image->removed);
	image->count = 0;
	image->nchanged = 0;
	image->bits_known = true;
	while (!wire_done(&cursor))
	{
		size_t offset = (size_t) (cursor.at - image->bytes.data);

		if (!next_attribute(&cursor, &a))
			return false;
		count_attribute(image, offset, true);
	}
	return true;
}

void
image_free(Image *image)
{
	buffer_free(&image->bytes);
	buffer_free(&image->bits);
	buffer_free(&image->removed);
	free(image->changed);
}

/* ---- other versions, other sources -------------------------------------------------------- */

/* The run of attributes of one column that begins at the cursor. */
static bool
column_run(WireCursor *cursor, uint32_t *column, Slice *run)
{
	WireAttribute a;
	const uint8_t *start = cursor->at;

	if (wire_done(cursor) || !next_attribute(cursor, &a))
		return false;
	*column = a.column;
	for (;;)
	{
		WireCursor ahead = *cursor;

		*run = slice_make(start, (size_t) (cursor->at - start));
		if (wire_done(&ahead) || !next_attribute(&ahead, &a) || a.column != *column)
			return true;
		*cursor = ahead;
	}
}

/* Where each column's attributes are; the table is the caller's, zeroed here. */
static bool
column_runs(Slice image, Slice *runs, uint32_t ncolumns)
{
	WireCursor cursor = wire_cursor(image);
	uint32_t column;
	Slice run;

	memset(runs, 0, ncolumns * sizeof(*runs));
	while (!wire_done(&cursor))
	{
		if (!column_run(&cursor, &column, &run) || column >= ncolumns)
			return false;
		runs[column] = run;
	}
	return true;
}

static bool
renumber(Buffer *out, Slice run, uint32_t column, bool retyped)
{
	WireCursor cursor = wire_cursor(run);
	WireAttribute a;

	while (!wire_done(&cursor))
	{
		if (!next_attribute(&cursor, &a))
			return false;
		if (retyped)
		{
			WireAttribute unknown = {.column = column};

			put_attribute(out, &unknown, column, STATE_UNCHANGED_TOAST);
			return true;
		}
		if (a.state != STATE_REMOVED)
			put_attribute(out, &a, column, a.state);
	}
	return true;
}

bool
image_remap(Buffer *out, Slice image, const Version *from, Version *to)
{
	const int16_t *columns = version_columns(to, from);
	Slice *runs = xcalloc(from->head.ncolumns + 1, sizeof(Slice));
	bool ok = column_runs(image, runs, from->head.ncolumns);

	buffer_reset(out);
	for (uint32_t i = 0; ok && i < to->head.ncolumns; i++)
		if (columns[i] >= 0)
			ok = renumber(out, runs[columns[i]], i,
						  from->columns[columns[i]].type_oid != to->columns[i].type_oid);
	free(runs);
	return ok;
}

bool
image_splice(Buffer *out, Slice kept, Slice row, const bool *settled, uint32_t ncolumns)
{
	Slice *runs = xcalloc(2 * (size_t) ncolumns + 1, sizeof(Slice));
	Slice *from_row = runs + ncolumns;
	bool ok = column_runs(kept, runs, ncolumns) && column_runs(row, from_row, ncolumns);

	buffer_reset(out);
	for (uint32_t i = 0; ok && i < ncolumns; i++)
		buffer_append_slice(out, settled[i] && runs[i].len > 0 ? runs[i] : from_row[i]);
	free(runs);
	return ok;
}

int
image_unknown(Slice image)
{
	WireCursor cursor = wire_cursor(image);
	WireAttribute a;

	while (!wire_done(&cursor) && next_attribute(&cursor, &a))
		if (a.state == STATE_UNCHANGED_TOAST)
			return (int) a.column;
	return -1;
}

bool
image_next(WireCursor *cursor, WireAttribute *attribute)
{
	return next_attribute(cursor, attribute);
}

bool
image_value(Slice image, uint32_t column, WireValue *value)
{
	WireCursor cursor = wire_cursor(image);
	WireAttribute a;

	while (!wire_done(&cursor) && next_attribute(&cursor, &a))
		if (a.column == column && !a.has_key && a.state == STATE_SET)
			return wire_value(a.value, value);
	return false;
}

/* ---- what attributes were ---------------------------------------------------------------------- */

bool
image_names(Slice run, const WireAttribute *attribute)
{
	WireCursor cursor = wire_cursor(run);
	WireAttribute a;

	while (!wire_done(&cursor) && next_attribute(&cursor, &a))
		if (compare_place(&a, attribute) == 0)
			return true;
	return false;
}

/* The stored attribute of that place; the cursor only goes forward. */
static bool
find_stored(WireCursor *cursor, const WireAttribute *attribute, WireAttribute *found)
{
	WireCursor ahead = *cursor;

	while (!wire_done(&ahead) && next_attribute(&ahead, found))
	{
		int order = compare_place(found, attribute);

		if (order >= 0)
			return order == 0;
		*cursor = ahead;
	}
	return false;
}

static bool
put_replaced(Buffer *out, WireCursor *stored, const WireAttribute *attribute)
{
	WireAttribute was;

	if (!find_stored(stored, attribute, &was))
		put_attribute(out, attribute, attribute->column, STATE_REMOVED);
	else if (was.state != STATE_UNCHANGED_TOAST)
		put_attribute(out, &was, was.column, was.state);
	return true;
}

bool
image_replaced(Buffer *out, const Image *image, Slice stored, ImageWanted wanted, const void *context)
{
	WireCursor changed = wire_cursor(stored);
	WireCursor gone = wire_cursor(stored);
	WireCursor removed = wire_cursor(buffer_slice(&image->removed));
	WireAttribute a;

	buffer_reset(out);
	for (uint32_t i = 0; i < image->nchanged; i++)
	{
		WireCursor cursor = {image->bytes.data + image->changed[i], image->bytes.data + image->bytes.len};

		if (!image_next(&cursor, &a))
			return false;
		if (wanted(context, &a))
			put_replaced(out, &changed, &a);
	}
	while (!wire_done(&removed))
	{
		if (!next_attribute(&removed, &a))
			return false;
		if (wanted(context, &a))
			put_replaced(out, &gone, &a);
	}
	return true;
}
