/*
 * diff.c -- see diff.h.
 */
#include "diff.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "miscadmin.h"

#include "jsonb.h"
#include "text.h"

/* Keys are never left out for their size: an index limits what they can be, compressed. */
#define KEY_BYTES_MAX (1024 * 1024)

/* Room for names, states and lengths of a Change beside its values. */
#define OVERHEAD_BYTES 1024

typedef struct Diff
{
	ValueWriter *writer;
	StringInfo out;
	RelMeta *meta;
	WireOp op;
	bool has_new;
	bool has_old; /* the old row holds at least what the identity says */
	bool compare; /* the old row holds all columns */
	bool differs; /* some attribute is not known to be unchanged */
} Diff;

/* ---- attributes -------------------------------------------------------------------------- */

static void
put_key(Diff *diff, Slice key)
{
	Slice utf8;

	if (!text_convert(key, &utf8))
		diff->writer->flags |= FLAG_TEXT_INVALID;
	encode_bytes_field(diff->out, ATTRIBUTE_KEY, utf8.data, utf8.len);
}

static EncodeMark
open_attribute(Diff *diff, int column, const Slice *key, WireState state, WireChanged changed, size_t guess)
{
	EncodeMark mark = encode_open(diff->out, CHANGE_ATTRIBUTES, guess);

	if (column != 0)
		encode_varint_field(diff->out, ATTRIBUTE_COLUMN, (uint64) column);
	if (key != NULL)
		put_key(diff, *key);
	if (state != STATE_SET)
		encode_varint_field(diff->out, ATTRIBUTE_STATE, state);
	if (changed != CHANGED_UNKNOWN)
		encode_varint_field(diff->out, ATTRIBUTE_CHANGED, changed);
	if (changed != CHANGED_NO)
		diff->differs = true;
	return mark;
}

/* An attribute without a value. */
static void
put_state(Diff *diff, int column, const Slice *key, WireState state, WireChanged changed, uint64 size)
{
	EncodeMark mark = open_attribute(diff, column, key, state, changed, 8);

	if (state == STATE_OVERSIZED)
		encode_varint_field(diff->out, ATTRIBUTE_SIZE, size);
	encode_close(diff->out, mark);
}

static void
put_null(Diff *diff, int column, WireChanged changed)
{
	EncodeMark mark = open_attribute(diff, column, NULL, STATE_SET, changed, 8);
	EncodeMark value = encode_open(diff->out, ATTRIBUTE_VALUE, 2);

	value_write_null(diff->out);
	encode_close(diff->out, value);
	encode_close(diff->out, mark);
}

static void
put_datum(Diff *diff, int column, Datum datum, WireChanged changed, uint64 size)
{
	EncodeMark mark = open_attribute(diff, column, NULL, STATE_SET, changed, size + 8);
	EncodeMark value = encode_open(diff->out, ATTRIBUTE_VALUE, size + 4);

	value_begin(diff->writer);
	if (!value_write(diff->writer, &diff->meta->columns[column].type, datum))
	{
		encode_cancel(diff->out, mark);
		put_state(diff, column, NULL, STATE_OVERSIZED, changed, size);
		return;
	}
	encode_close(diff->out, value);
	encode_close(diff->out, mark);
}

static void
put_item(Diff *diff, int column, const JsonItem *key, const JsonItem *item, WireChanged changed)
{
	Slice name = slice_make(key->data, key->len);
	EncodeMark mark = open_attribute(diff, column, &name, STATE_SET, changed, key->len + item->len);
	EncodeMark value = encode_open(diff->out, ATTRIBUTE_VALUE, item->len);

	value_begin(diff->writer);
	if (!json_write(diff->writer, item, false))
	{
		encode_cancel(diff->out, mark);
		put_state(diff, column, &name, STATE_OVERSIZED, changed, item->len);
		return;
	}
	encode_close(diff->out, value);
	encode_close(diff->out, mark);
}

static void
put_removed(Diff *diff, int column, const JsonItem *key)
{
	Slice name = slice_make(key->data, key->len);

	put_state(diff, column, &name, STATE_REMOVED, CHANGED_YES, 0);
}

/* ---- jsonb columns ----------------------------------------------------------------------- */

static inline bool
is_object_with_keys(const Jsonb *jsonb)
{
	return jsonb != NULL && JB_ROOT_IS_OBJECT(jsonb) && JB_ROOT_COUNT(jsonb) > 0;
}

/* The order keys are stored in: by length, then by bytes. */
static inline int
compare_keys(const JsonItem *a, const JsonItem *b)
{
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->data, b->data, a->len);
}

/* Nearly every update keeps the keys: two comparisons then replace one per key. */
static bool
same_keys(const Jsonb *a, const Jsonb *b)
{
	uint32 count = JB_ROOT_COUNT(a);
	uint32 bytes;

	if (count != JB_ROOT_COUNT(b) || memcmp(a->root.children, b->root.children, count * sizeof(JEntry)) != 0)
		return false;
	bytes = getJsonbOffset(&a->root, (int) count);
	return memcmp(a->root.children + 2 * count, b->root.children + 2 * count, bytes) == 0;
}

static void
put_object_same_keys(Diff *diff, int column, const Jsonb *new, const Jsonb *old)
{
	uint32 count = JB_ROOT_COUNT(new);
	JsonWalk keys = json_walk(&new->root, 2 * count, 0);
	JsonWalk values = json_walk(&new->root, 2 * count, count);
	JsonWalk olds = json_walk(&old->root, 2 * count, count);

	for (uint32 i = 0; i < count; i++)
	{
		JsonItem key = json_next(&keys);
		JsonItem value = json_next(&values);
		JsonItem before = json_next(&olds);

		if (i % 1024 == 1023)
			CHECK_FOR_INTERRUPTS();
		put_item(diff, column, &key, &value, json_same(&value, &before) ? CHANGED_NO : CHANGED_YES);
		if (diff->out->len > diff->writer->end_max)
			return;
	}
}

/* The keys of one side of the merge, one ahead. */
typedef struct Side
{
	JsonWalk keys;
	JsonWalk values;
	uint32 left;
	JsonItem key;
	JsonItem value;
} Side;

static void
side_next(Side *side)
{
	side->key = json_next(&side->keys);
	side->value = json_next(&side->values);
	side->left--;
}

static Side
side_of(const Jsonb *jsonb)
{
	uint32 count = is_object_with_keys(jsonb) ? JB_ROOT_COUNT(jsonb) : 0;
	Side side = {.left = count};

	if (count > 0)
	{
		side.keys = json_walk(&jsonb->root, 2 * count, 0);
		side.values = json_walk(&jsonb->root, 2 * count, count);
	}
	return side;
}

/* Merge two key lists; old is NULL when there is no old object, default_changed then holds. */
static void
put_object_merged(Diff *diff, int column, const Jsonb *new, const Jsonb *old, WireChanged default_changed)
{
	Side a = side_of(new);
	Side b = side_of(old);
	bool has_a = a.left > 0;
	bool has_b = b.left > 0;

	if (has_a)
		side_next(&a);
	if (has_b)
		side_next(&b);
	for (uint32 i = 0; (has_a || has_b) && diff->out->len <= diff->writer->end_max; i++)
	{
		int order = !has_a ? 1 : !has_b ? -1 : compare_keys(&a.key, &b.key);

		if (i % 1024 == 1023)
			CHECK_FOR_INTERRUPTS();
		if (order < 0)
			put_item(diff, column, &a.key, &a.value, default_changed);
		else if (order > 0)
			put_removed(diff, column, &b.key);
		else
			put_item(diff, column, &a.key, &a.value,
					 json_same(&a.value, &b.value) ? CHANGED_NO : CHANGED_YES);
		if (order <= 0 && (has_a = a.left > 0))
			side_next(&a);
		if (order >= 0 && (has_b = b.left > 0))
			side_next(&b);
	}
}

static WireChanged
compare_roots(const Jsonb *new, const Jsonb *old)
{
	if (old == NULL || VARSIZE(new) != VARSIZE(old))
		return CHANGED_YES;
	return memcmp(new, old, VARSIZE(new)) == 0 ? CHANGED_NO : CHANGED_YES;
}

/* Something that is not an object with keys: one attribute without key. */
static void
put_whole(Diff *diff, int column, Datum datum, WireChanged changed)
{
	const Jsonb *jsonb = (const Jsonb *) DatumGetPointer(datum);

	put_datum(diff, column, datum, changed, VARSIZE(jsonb) - VARHDRSZ);
}

/*
 * A jsonb column that is set.  known: the old image is known, old being NULL for SQL null.
 */
static void
put_jsonb(Diff *diff, int column, const Jsonb *new, bool known, const Jsonb *old)
{
	int start = diff->out->len;
	bool object = is_object_with_keys(new);

	if (!object)
		put_whole(diff, column, PointerGetDatum(new),
				  known					  ? compare_roots(new, old)
				  : diff->op == OP_INSERT ? CHANGED_YES
										  : CHANGED_UNKNOWN);
	if (object && known && is_object_with_keys(old) && same_keys(new, old))
		put_object_same_keys(diff, column, new, old);
	else
		put_object_merged(diff, column, new, known ? old : NULL,
						  known || diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN);
	if (diff->out->len > diff->writer->end_max)
	{
		/* the change as a whole has a limit too: this column is what breaks it */
		diff->out->len = start;
		put_state(diff, column, NULL, STATE_OVERSIZED, CHANGED_UNKNOWN, VARSIZE(new) - VARHDRSZ);
	}
}

/* ---- columns ----------------------------------------------------------------------------- */

/* The old datum of a column, readable in place; false when it is not known or too large. */
static bool
old_datum(Diff *diff, int column, Datum *datum)
{
	const RelColumn *c = &diff->meta->columns[column];
	uint64 size;

	*datum = diff->meta->old_row.values[c->index];
	return value_resolve(diff->writer, &c->type, datum, &size) == FATE_READY;
}

static bool
old_is_null(const Diff *diff, int column)
{
	return diff->meta->old_row.nulls[diff->meta->columns[column].index];
}

static void
put_null_column(Diff *diff, int column)
{
	Datum old;

	if (!diff->compare)
		put_null(diff, column, diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN);
	else if (old_is_null(diff, column))
		put_null(diff, column, CHANGED_NO);
	else
	{
		put_null(diff, column, CHANGED_YES);
		if (diff->meta->columns[column].type.form == FORM_JSONB && old_datum(diff, column, &old))
			put_object_merged(diff, column, NULL, (const Jsonb *) DatumGetPointer(old), CHANGED_YES);
	}
}

/* Sizes tell a change even where the values are not read. */
static bool
size_differs(Datum a, Datum b)
{
	return toast_raw_datum_size(a) != toast_raw_datum_size(b);
}

/* Too large, or of a type that cannot be sent. */
static WireChanged
compare_oversized(Diff *diff, int column, Datum new)
{
	const RelColumn *c = &diff->meta->columns[column];
	Datum old = diff->meta->old_row.values[c->index];

	if (!diff->compare)
		return diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN;
	if (old_is_null(diff, column))
		return CHANGED_YES;
	if (c->type.form == FORM_NONE)
		return CHANGED_UNKNOWN;
	if (value_same(&c->type, new, old))
		return CHANGED_NO;
	return c->type.typlen == -1 && size_differs(old, new) ? CHANGED_YES : CHANGED_UNKNOWN;
}

static WireChanged
compare_resolved(Diff *diff, int column, Datum new)
{
	const RelColumn *c = &diff->meta->columns[column];
	Datum old;

	if (!diff->compare)
		return diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN;
	if (old_is_null(diff, column))
		return CHANGED_YES;
	if (value_same(&c->type, new, diff->meta->old_row.values[c->index]))
		return CHANGED_NO;
	if (c->type.typlen != -1)
		return CHANGED_YES;
	if (!old_datum(diff, column, &old))
		return size_differs(old, new) ? CHANGED_YES : CHANGED_UNKNOWN;
	return value_same(&c->type, new, old) ? CHANGED_NO : CHANGED_YES;
}

static void
put_jsonb_column(Diff *diff, int column, Datum new)
{
	const Jsonb *old = NULL;
	bool known = diff->compare;
	Datum datum;

	if (known && !old_is_null(diff, column))
	{
		known = old_datum(diff, column, &datum);
		old = (const Jsonb *) DatumGetPointer(datum);
	}
	put_jsonb(diff, column, (const Jsonb *) DatumGetPointer(new), known, old);
}

static void
put_column(Diff *diff, int column)
{
	const RelColumn *c = &diff->meta->columns[column];
	Datum stored = diff->meta->new_row.values[c->index];
	Datum datum = stored;
	ValueFate fate;
	uint64 size;

	if (diff->meta->new_row.nulls[c->index])
	{
		put_null_column(diff, column);
		return;
	}
	fate = value_resolve(diff->writer, &c->type, &datum, &size);
	if (fate == FATE_UNCHANGED_TOAST)
	{
		/* the old image of an untouched value holds it, if there is one */
		if (!diff->compare || old_is_null(diff, column) || diff->meta->columns[column].type.form == FORM_NONE)
		{
			put_state(diff, column, NULL, STATE_UNCHANGED_TOAST, CHANGED_NO, 0);
			return;
		}
		stored = datum = diff->meta->old_row.values[c->index];
		fate = value_resolve(diff->writer, &c->type, &datum, &size);
	}
	if (fate == FATE_UNCHANGED_TOAST)
		put_state(diff, column, NULL, STATE_UNCHANGED_TOAST, CHANGED_NO, 0);
	else if (fate == FATE_OVERSIZED)
		put_state(diff, column, NULL, STATE_OVERSIZED, compare_oversized(diff, column, stored), size);
	else if (c->type.form == FORM_JSONB)
		put_jsonb_column(diff, column, datum);
	else
		put_datum(diff, column, datum, compare_resolved(diff, column, datum), size);
}

/* ---- keys -------------------------------------------------------------------------------- */

/* One key column of a row; a value left out of the new row for being untouched is in the old one. */
static bool
key_datum(const Diff *diff, const RelColumn *c, const RelRow *row, Datum *datum)
{
	uint64 size;

	if (row->nulls[c->index])
		return false;
	*datum = row->values[c->index];
	switch (value_resolve(diff->writer, &c->type, datum, &size))
	{
		case FATE_READY:
			return true;
		case FATE_UNCHANGED_TOAST:
			return row != &diff->meta->old_row && diff->has_old &&
				   key_datum(diff, c, &diff->meta->old_row, datum);
		default:
			return false;
	}
}

/* The key of a row; false, with nothing written, when some of it cannot be known. */
static bool
put_keys(Diff *diff, uint32 field, const RelRow *row)
{
	int start = diff->out->len;

	if (diff->meta->nkeys == 0)
		return false;
	for (int i = 0; i < diff->meta->ncolumns; i++)
	{
		const RelColumn *c = &diff->meta->columns[i];
		EncodeMark mark;
		Datum datum;

		if (!c->key)
			continue;
		mark = encode_open(diff->out, field, 12);
		value_begin(diff->writer);
		if (!key_datum(diff, c, row, &datum) || !value_write(diff->writer, &c->type, datum))
		{
			diff->out->len = start;
			return false;
		}
		encode_close(diff->out, mark);
	}
	return true;
}

static bool
key_changed(const Diff *diff)
{
	for (int i = 0; i < diff->meta->ncolumns; i++)
	{
		const RelColumn *c = &diff->meta->columns[i];
		Datum new;
		Datum old;

		if (c->key && key_datum(diff, c, &diff->meta->new_row, &new) &&
			key_datum(diff, c, &diff->meta->old_row, &old) && !value_same(&c->type, new, old))
			return true;
	}
	return false;
}

static void
write_keys(Diff *diff)
{
	ValueWriter *writer = diff->writer;
	RelMeta *meta = diff->meta;
	int value_bytes_max = writer->value_bytes_max;
	bool covered = meta->identity != IDENTITY_NONE;
	bool known;

	writer->value_bytes_max = Max(value_bytes_max, KEY_BYTES_MAX);
	writer->end_max = diff->out->len + 2 * INDEX_MAX_KEYS * KEY_BYTES_MAX;
	if (diff->op == OP_DELETE)
		known = diff->has_old && covered && put_keys(diff, CHANGE_KEY, &meta->old_row);
	else
	{
		known = put_keys(diff, CHANGE_KEY, &meta->new_row);
		if (diff->op == OP_UPDATE)
			known = known && covered;
		if (known && diff->op == OP_UPDATE && diff->has_old && key_changed(diff))
		{
			diff->differs = true;
			known = put_keys(diff, CHANGE_OLD_KEY, &meta->old_row);
		}
	}
	if (!known)
		writer->flags |= FLAG_KEY_UNKNOWN;
	writer->value_bytes_max = value_bytes_max;
}

bool
change_write(ValueWriter *writer, RelMeta *meta, WireOp op, HeapTuple new_tuple, HeapTuple old_tuple)
{
	Diff diff = {.writer = writer,
				 .out = writer->out,
				 .meta = meta,
				 .op = op,
				 .has_new = new_tuple != NULL,
				 .has_old = old_tuple != NULL};

	diff.compare = op == OP_UPDATE && diff.has_old && meta->identity == IDENTITY_FULL;
	if (diff.has_new)
		heap_deform_tuple(new_tuple, meta->descriptor, meta->new_row.values, meta->new_row.nulls);
	if (diff.has_old)
		heap_deform_tuple(old_tuple, meta->descriptor, meta->old_row.values, meta->old_row.nulls);

	writer->flags = 0;
	encode_fixed64_field(diff.out, CHANGE_RELATION, meta->fingerprint);
	encode_varint_field(diff.out, CHANGE_OP, op);
	write_keys(&diff);
	writer->end_max = diff.out->len + writer->value_bytes_max + OVERHEAD_BYTES;
	if (op != OP_DELETE)
		for (int i = 0; i < meta->ncolumns; i++)
			if (!meta->columns[i].key)
				put_column(&diff, i);
	if (writer->flags != 0)
		encode_varint_field(diff.out, CHANGE_FLAGS, writer->flags);
	return op != OP_UPDATE || diff.differs || !diff.compare;
}
