/*
 * diff.c -- see diff.h.
 */
#include "diff.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "miscadmin.h"

#include "fixed.h"
#include "jsonb.h"
#include "object.h"
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
	const ChangeStyle *style;
	WireOp op;
	bool has_old;	/* the old row holds at least what the identity says */
	bool old_whole; /* it holds all columns */
	bool compare;	/* both rows do */
	bool differs;	/* some chosen attribute, or the key, is not known to be unchanged */
} Diff;

/* ---- attributes -------------------------------------------------------------------------- */

/* Whether a key of an object is among the chosen attributes. */
static bool
wants_key(const Diff *diff, int column, const JsonItem *key)
{
	const RelColumn *c = &diff->meta->columns[column];
	StringInfoData name;
	bool wanted;

	if (likely(c->choice == CHOICE_ALL))
		return true;
	initStringInfo(&name);
	appendStringInfo(&name, "%s.", NameStr(TupleDescAttr(diff->meta->descriptor, c->index)->attname));
	appendBinaryStringInfo(&name, key->data, (int) key->len);
	wanted = patterns_match(diff->style->attributes, slice_make(name.data, (size_t) name.len));
	pfree(name.data);
	return wanted;
}

/* Tag and length of the attribute, column, tag and length of the key, state, changed. */
#define OPENING_BYTES_MAX (6 + 4 + 6 + 2 + 2)

static uint8 *
put_small(uint8 *at, uint32 field, uint32 v)
{
	*at++ = WIRE_TAG(field, WIRE_VARINT);
	return wire_put_varint(at, v);
}

static EncodeMark
open_attribute(Diff *diff, int column, const JsonItem *key, WireState state, WireChanged changed,
			   size_t guess)
{
	EncodeMark mark = {.width = guess < 0x80 ? 1 : (int) wire_varint_size(guess)};
	Slice utf8 = slice_make(NULL, 0);
	uint8 *start;
	uint8 *at;

	if (key != NULL && !text_convert(slice_make(key->data, key->len), &utf8))
		diff->writer->flags |= FLAG_TEXT_INVALID;
	encode_reserve(diff->out, OPENING_BYTES_MAX + (int) utf8.len);
	start = at = (uint8 *) diff->out->data + diff->out->len;
	*at = WIRE_TAG(CHANGE_ATTRIBUTES, WIRE_BYTES);
	at += 1 + mark.width;
	mark.body = diff->out->len + 1 + mark.width;
	if (column != 0)
		at = put_small(at, ATTRIBUTE_COLUMN, (uint32) column);
	if (key != NULL)
	{
		*at++ = WIRE_TAG(ATTRIBUTE_KEY, WIRE_BYTES);
		at = wire_put_varint(at, utf8.len);
		memcpy(at, utf8.data, utf8.len);
		at += utf8.len;
	}
	if (state != STATE_SET)
		at = put_small(at, ATTRIBUTE_STATE, state);
	if (changed != CHANGED_UNKNOWN)
		at = put_small(at, ATTRIBUTE_CHANGED, changed);
	diff->out->len += (int) (at - start);
	diff->differs |= changed != CHANGED_NO;
	return mark;
}

static void
put_null(Diff *diff, uint32 field)
{
	EncodeMark mark = encode_open(diff->out, field, 2);

	value_write_null(diff->out);
	encode_close(diff->out, mark);
}

/* A Value field; false, with nothing written, when it does not fit or cannot be sent. */
static bool
put_datum(Diff *diff, uint32 field, int column, Datum datum, uint64 size)
{
	EncodeMark mark = encode_open(diff->out, field, size + 4);

	value_begin(diff->writer);
	if (!value_write(diff->writer, &diff->meta->columns[column].type, datum))
	{
		encode_cancel(diff->out, mark);
		return false;
	}
	encode_close(diff->out, mark);
	return true;
}

static bool
put_item(Diff *diff, uint32 field, const JsonItem *item)
{
	EncodeMark mark = encode_open(diff->out, field, item->len);

	value_begin(diff->writer);
	if (!json_write(diff->writer, item, false))
	{
		encode_cancel(diff->out, mark);
		return false;
	}
	encode_close(diff->out, mark);
	return true;
}

static void
put_oversized(Diff *diff, int column, const JsonItem *key, WireChanged changed, uint64 size)
{
	EncodeMark mark = open_attribute(diff, column, key, STATE_OVERSIZED, changed, 8);

	encode_varint_field(diff->out, ATTRIBUTE_SIZE, size);
	encode_close(diff->out, mark);
}

/* The old datum of a column, readable in place; false when it is not known or too large. */
static bool
old_datum(Diff *diff, int column, Datum *datum, uint64 *size)
{
	const RelColumn *c = &diff->meta->columns[column];

	*datum = diff->meta->old_row.values[c->index];
	return value_resolve(diff->writer, &c->type, datum, size) == FATE_READY;
}

static bool
old_is_null(const Diff *diff, int column)
{
	return diff->meta->old_row.nulls[diff->meta->columns[column].index];
}

static bool
is_object(const Diff *diff, int column, Datum datum)
{
	return diff->meta->columns[column].type.form == FORM_JSONB &&
		   object_has_keys((const Jsonb *) DatumGetPointer(datum));
}

/* What a column held as a whole; the keys of an object are attributes of their own. */
static void
put_old_value(Diff *diff, int column, WireChanged changed)
{
	uint64 size;
	Datum old;

	if (!diff->style->old_values || changed != CHANGED_YES || diff->op == OP_INSERT)
		return;
	if (old_is_null(diff, column))
		put_null(diff, ATTRIBUTE_OLD_VALUE);
	else if (old_datum(diff, column, &old, &size) && !is_object(diff, column, old))
		put_datum(diff, ATTRIBUTE_OLD_VALUE, column, old, size);
}

static void
put_old_item(Diff *diff, const JsonItem *item, WireChanged changed)
{
	if (diff->style->old_values && changed == CHANGED_YES)
		put_item(diff, ATTRIBUTE_OLD_VALUE, item);
}

/* ---- one column as a whole ----------------------------------------------------------------- */

static inline bool
leaves_out(const Diff *diff, WireChanged changed)
{
	return diff->style->delta && changed == CHANGED_NO;
}

static void
put_set(Diff *diff, int column, Datum datum, WireChanged changed, uint64 size)
{
	EncodeMark mark;

	if (leaves_out(diff, changed))
		return;
	mark = open_attribute(diff, column, NULL, STATE_SET, changed, size + 8);
	if (!put_datum(diff, ATTRIBUTE_VALUE, column, datum, size))
	{
		encode_cancel(diff->out, mark);
		put_oversized(diff, column, NULL, changed, size);
		return;
	}
	put_old_value(diff, column, changed);
	encode_close(diff->out, mark);
}

static void
put_unchanged_toast(Diff *diff, int column)
{
	encode_close(diff->out, open_attribute(diff, column, NULL, STATE_UNCHANGED_TOAST, CHANGED_NO, 8));
}

/* ---- columns of a fixed size, and nulls ----------------------------------------------------- */

/* Tag and length of the attribute, column, changed, tag and length of the value. */
#define SHORT_BYTES_MAX (2 + 4 + 2 + 2 + FIXED_BYTES_MAX)

/* The attribute as a whole, all its lengths being below 128. */
static void
put_short(Diff *diff, int column, WireChanged changed, bool null, Datum datum)
{
	uint8 *start;
	uint8 *value;
	uint8 *at;

	encode_reserve(diff->out, SHORT_BYTES_MAX);
	start = at = (uint8 *) diff->out->data + diff->out->len;
	*at = WIRE_TAG(CHANGE_ATTRIBUTES, WIRE_BYTES);
	at += 2;
	if (column != 0)
		at = put_small(at, ATTRIBUTE_COLUMN, (uint32) column);
	if (changed != CHANGED_UNKNOWN)
		at = put_small(at, ATTRIBUTE_CHANGED, changed);
	*at++ = WIRE_TAG(ATTRIBUTE_VALUE, WIRE_BYTES);
	value = at++;
	if (null)
	{
		*at++ = WIRE_TAG(VALUE_NULL, WIRE_VARINT);
		*at++ = 1;
	}
	else
		at = fixed_put(at, diff->meta->columns[column].type.form, datum);
	*value = (uint8) (at - value - 1);
	start[1] = (uint8) (at - start - 2);
	diff->out->len += (int) (at - start);
	diff->differs |= changed != CHANGED_NO;
}

static void
put_set_null(Diff *diff, int column, WireChanged changed)
{
	EncodeMark mark;

	if (leaves_out(diff, changed))
		return;
	if (!diff->style->old_values)
	{
		put_short(diff, column, changed, true, 0);
		return;
	}
	mark = open_attribute(diff, column, NULL, STATE_SET, changed, 8);
	put_null(diff, ATTRIBUTE_VALUE);
	put_old_value(diff, column, changed);
	encode_close(diff->out, mark);
}

static WireChanged
compare_fixed(const Diff *diff, int column, Datum new)
{
	const RelColumn *c = &diff->meta->columns[column];

	if (!diff->compare)
		return diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN;
	if (old_is_null(diff, column))
		return CHANGED_YES;
	return value_same(&c->type, new, diff->meta->old_row.values[c->index]) ? CHANGED_NO : CHANGED_YES;
}

/* ---- jsonb columns ----------------------------------------------------------------------- */

/* Tag and length of the attribute, column, tag and length of the key, the key, changed, tag and length of the value. */
#define SMALL_KEY_BYTES 32
#define SMALL_BYTES_MAX (2 + 4 + 2 + SMALL_KEY_BYTES + 2 + 2 + JSON_SMALL_ROOM)
StaticAssertDecl(SMALL_BYTES_MAX < 0x80 + 2, "the length of a small attribute takes one byte");

/* The attribute as a whole, all its lengths being below 128, as most are; false, with nothing written, if it is not one. */
static bool
put_small_item(Diff *diff, int column, const ObjectWalk *walk, WireChanged changed)
{
	const JsonItem *key = &walk->key;
	uint8 *start;
	uint8 *value;
	uint8 *at;

	if (key->len > SMALL_KEY_BYTES || walk->value.len > JSON_SMALL_BYTES || !text_is_utf8() ||
		diff->out->len > diff->writer->end_max - SMALL_BYTES_MAX)
		return false;
	encode_reserve(diff->out, SMALL_BYTES_MAX);
	start = at = (uint8 *) diff->out->data + diff->out->len;
	*at = WIRE_TAG(CHANGE_ATTRIBUTES, WIRE_BYTES);
	at += 2;
	if (column != 0)
		at = put_small(at, ATTRIBUTE_COLUMN, (uint32) column);
	*at++ = WIRE_TAG(ATTRIBUTE_KEY, WIRE_BYTES);
	*at++ = (uint8) key->len;
	memcpy(at, key->data, key->len);
	at += key->len;
	if (changed != CHANGED_UNKNOWN)
		at = put_small(at, ATTRIBUTE_CHANGED, changed);
	*at++ = WIRE_TAG(ATTRIBUTE_VALUE, WIRE_BYTES);
	value = at;
	at = json_put_small(at + 1, &walk->value);
	if (at == NULL)
		return false;
	*value = (uint8) (at - value - 1);
	start[1] = (uint8) (at - start - 2);
	diff->out->len += (int) (at - start);
	diff->differs |= changed != CHANGED_NO;
	return true;
}

static void
put_set_item(Diff *diff, int column, const ObjectWalk *walk, WireChanged changed)
{
	EncodeMark mark;

	if (!diff->style->old_values && put_small_item(diff, column, walk, changed))
		return;
	mark = open_attribute(diff, column, &walk->key, STATE_SET, changed, walk->key.len + walk->value.len);
	if (!put_item(diff, ATTRIBUTE_VALUE, &walk->value))
	{
		encode_cancel(diff->out, mark);
		put_oversized(diff, column, &walk->key, changed, walk->value.len);
		return;
	}
	if (walk->step == OBJECT_CHANGED)
		put_old_item(diff, &walk->before, changed);
	encode_close(diff->out, mark);
}

static void
put_removed_item(Diff *diff, int column, const ObjectWalk *walk)
{
	EncodeMark mark = open_attribute(diff, column, &walk->key, STATE_REMOVED, CHANGED_YES, 8);

	put_old_item(diff, &walk->before, CHANGED_YES);
	encode_close(diff->out, mark);
}

/* Key by key; old is NULL when there is no old object or it is not known, added then says which. */
static void
put_object(Diff *diff, int column, const Jsonb *new, const Jsonb *old, WireChanged added)
{
	const WireChanged changed[] = {
		[OBJECT_SAME] = CHANGED_NO, [OBJECT_CHANGED] = CHANGED_YES, [OBJECT_ADDED] = added};
	ObjectWalk walk;

	object_begin(&walk, new, old, diff->style->delta);
	while (object_next(&walk) && diff->out->len <= diff->writer->end_max)
	{
		if (!wants_key(diff, column, &walk.key))
			continue;
		if (walk.step == OBJECT_REMOVED)
			put_removed_item(diff, column, &walk);
		else
			put_set_item(diff, column, &walk, changed[walk.step]);
	}
}

static WireChanged
compare_roots(const Jsonb *new, const Jsonb *old)
{
	if (old == NULL || VARSIZE(new) != VARSIZE(old))
		return CHANGED_YES;
	return memcmp(new, old, VARSIZE(new)) == 0 ? CHANGED_NO : CHANGED_YES;
}

/* A jsonb column that is set.  known: the old image is known, old being NULL for SQL null. */
static void
put_jsonb(Diff *diff, int column, const Jsonb *new, bool known, const Jsonb *old)
{
	WireChanged added = known || diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN;
	uint64 size = VARSIZE(new) - VARHDRSZ;
	int start = diff->out->len;

	if (!object_has_keys(new) && diff->meta->columns[column].choice == CHOICE_ALL)
		put_set(diff, column, PointerGetDatum(new), known ? compare_roots(new, old) : added, size);
	put_object(diff, column, new, old, added);
	if (diff->out->len > diff->writer->end_max)
	{
		/* the change as a whole has a limit too: this column is what breaks it */
		diff->out->len = start;
		put_oversized(diff, column, NULL, CHANGED_UNKNOWN, size);
	}
}

static void
put_jsonb_column(Diff *diff, int column, Datum new)
{
	const Jsonb *old = NULL;
	bool known = diff->compare;
	uint64 size;
	Datum datum;

	if (known && !old_is_null(diff, column))
	{
		known = old_datum(diff, column, &datum, &size);
		old = known ? (const Jsonb *) DatumGetPointer(datum) : NULL;
	}
	put_jsonb(diff, column, (const Jsonb *) DatumGetPointer(new), known, old);
}

/* ---- columns ----------------------------------------------------------------------------- */

static void
put_null_column(Diff *diff, int column)
{
	WireChanged changed = CHANGED_UNKNOWN;
	uint64 size;
	Datum old;

	if (diff->compare)
		changed = old_is_null(diff, column) ? CHANGED_NO : CHANGED_YES;
	else if (diff->op == OP_INSERT)
		changed = CHANGED_YES;
	if (diff->meta->columns[column].choice == CHOICE_ALL)
		put_set_null(diff, column, changed);
	if (diff->compare && changed == CHANGED_YES && diff->meta->columns[column].type.form == FORM_JSONB &&
		old_datum(diff, column, &old, &size))
		put_object(diff, column, NULL, (const Jsonb *) DatumGetPointer(old), CHANGED_YES);
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
	uint64 size;
	Datum old;

	if (!diff->compare)
		return diff->op == OP_INSERT ? CHANGED_YES : CHANGED_UNKNOWN;
	if (old_is_null(diff, column))
		return CHANGED_YES;
	if (value_same(&c->type, new, diff->meta->old_row.values[c->index]))
		return CHANGED_NO;
	if (c->type.typlen != -1)
		return CHANGED_YES;
	if (!old_datum(diff, column, &old, &size))
		return size_differs(old, new) ? CHANGED_YES : CHANGED_UNKNOWN;
	return value_same(&c->type, new, old) ? CHANGED_NO : CHANGED_YES;
}

static void
put_column(Diff *diff, int column)
{
	const RelColumn *c = &diff->meta->columns[column];
	Datum stored = diff->meta->new_row.values[c->index];
	Datum datum = stored;
	WireChanged changed;
	ValueFate fate;
	uint64 size;

	if (diff->meta->new_row.nulls[c->index])
	{
		put_null_column(diff, column);
		return;
	}
	if (fixed_form(c->type.form) && !diff->style->old_values)
	{
		changed = compare_fixed(diff, column, datum);
		if (!leaves_out(diff, changed))
			put_short(diff, column, changed, false, datum);
		return;
	}
	/* equal before anything is fetched or decompressed: most columns of most updates */
	if (diff->style->delta && diff->compare && !old_is_null(diff, column) && c->type.form != FORM_NONE &&
		value_same(&c->type, stored, diff->meta->old_row.values[c->index]))
		return;
	fate = value_resolve(diff->writer, &c->type, &datum, &size);
	if (fate == FATE_UNCHANGED_TOAST)
	{
		/* the old image of an untouched value holds it, if there is one */
		if (!diff->compare || old_is_null(diff, column) || c->type.form == FORM_NONE)
		{
			put_unchanged_toast(diff, column);
			return;
		}
		if (diff->style->delta)
			return;
		stored = datum = diff->meta->old_row.values[c->index];
		fate = value_resolve(diff->writer, &c->type, &datum, &size);
	}
	if (fate == FATE_UNCHANGED_TOAST)
		put_unchanged_toast(diff, column);
	else if (fate == FATE_OVERSIZED)
	{
		changed = compare_oversized(diff, column, stored);
		if (!leaves_out(diff, changed))
			put_oversized(diff, column, NULL, changed, size);
	}
	else if (c->type.form == FORM_JSONB)
		put_jsonb_column(diff, column, datum);
	else
		put_set(diff, column, datum, compare_resolved(diff, column, datum), size);
}

/* What a deleted row held. */
static void
put_deleted_column(Diff *diff, int column)
{
	EncodeMark mark;
	uint64 size;
	Datum old;

	if (!old_is_null(diff, column) && old_datum(diff, column, &old, &size) && is_object(diff, column, old))
	{
		put_object(diff, column, NULL, (const Jsonb *) DatumGetPointer(old), CHANGED_YES);
		return;
	}
	if (diff->meta->columns[column].choice != CHOICE_ALL)
		return;
	mark = open_attribute(diff, column, NULL, STATE_REMOVED, CHANGED_YES, 8);
	put_old_value(diff, column, CHANGED_YES);
	encode_close(diff->out, mark);
}

static void
put_columns(Diff *diff, void (*put)(Diff *diff, int column))
{
	for (int i = 0; i < diff->meta->ncolumns; i++)
		if (!diff->meta->columns[i].key && diff->meta->columns[i].choice != CHOICE_NONE)
		{
			put(diff, i);
			value_release(diff->writer);
		}
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
		if (fixed_form(c->type.form) && !row->nulls[c->index])
		{
			fixed_put_field(diff->out, field, c->type.form, row->values[c->index]);
			continue;
		}
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
		Datum new = diff->meta->new_row.values[c->index];
		Datum old = diff->meta->old_row.values[c->index];

		if (!c->key || (c->type.typbyval && new == old))
			continue;
		if (key_datum(diff, c, &diff->meta->new_row, &new) &&
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

/* An update whose old row is not logged says nothing of what changed, unless only some attributes are asked for. */
static bool
says_something(const Diff *diff)
{
	return diff->op != OP_UPDATE || diff->differs || (!diff->compare && diff->style->attributes == NULL);
}

/* The beginning of a Change, its key included. */
static Diff
begin_change(ValueWriter *writer, RelMeta *meta, const ChangeStyle *style, WireOp op, HeapTuple new_tuple,
			 HeapTuple old_tuple)
{
	Diff diff = {.writer = writer,
				 .out = writer->out,
				 .meta = meta,
				 .style = style,
				 .op = op,
				 .has_old = old_tuple != NULL};

	diff.old_whole = diff.has_old && meta->identity == IDENTITY_FULL;
	diff.compare = op == OP_UPDATE && diff.old_whole;
	if (new_tuple != NULL)
		heap_deform_tuple(new_tuple, meta->descriptor, meta->new_row.values, meta->new_row.nulls);
	if (diff.has_old)
		heap_deform_tuple(old_tuple, meta->descriptor, meta->old_row.values, meta->old_row.nulls);

	writer->flags = 0;
	encode_fixed64_field(diff.out, CHANGE_RELATION, meta->fingerprint);
	encode_small_field(diff.out, CHANGE_OP, op);
	write_keys(&diff);
	return diff;
}

bool
change_write(ValueWriter *writer, RelMeta *meta, const ChangeStyle *style, WireOp op, HeapTuple new_tuple,
			 HeapTuple old_tuple)
{
	Diff diff = begin_change(writer, meta, style, op, new_tuple, old_tuple);
	int values_bytes_max = writer->value_bytes_max * (style->old_values ? 2 : 1);

	writer->end_max = diff.out->len + values_bytes_max + OVERHEAD_BYTES;
	if (op != OP_DELETE)
		put_columns(&diff, put_column);
	else if (style->old_values && diff.old_whole)
		put_columns(&diff, put_deleted_column);
	if (writer->flags != 0)
		encode_varint_field(diff.out, CHANGE_FLAGS, writer->flags);
	return says_something(&diff);
}

void
change_write_key(ValueWriter *writer, RelMeta *meta, WireOp op, HeapTuple new_tuple, HeapTuple old_tuple,
				 uint32 flag)
{
	static const ChangeStyle style;
	Diff diff = begin_change(writer, meta, &style, op, new_tuple, old_tuple);

	encode_varint_field(diff.out, CHANGE_FLAGS, writer->flags | flag);
}
