/*
 * row.c -- see row.h.
 */
#include "score/row.h"

bool
row_value(const Row *row, const char *name, WireValue *value)
{
	int column = version_column(row->version, slice_string(name));
	WireCursor keys = wire_cursor(row->key);
	Slice body;

	if (column < 0)
		return false;
	if (!row->version->columns[column].key)
		return image_value(row->image, (uint32_t) column, value);
	for (int i = 0; i <= column; i++)
		if (row->version->columns[i].key && !wire_value_next(&keys, &body))
			return false;
	return wire_value(body, value);
}

bool
row_text(const Row *row, const char *name, Slice *text)
{
	WireValue value;

	if (!row_value(row, name, &value) || (value.kind != VALUE_TEXT && value.kind != VALUE_NULL))
		return false;
	*text = value.kind == VALUE_TEXT ? value.bytes : slice_make("", 0);
	return true;
}

void
row_quarantine(Scorer *scorer, Relation *relation, const Row *row, const char *attribute, const char *reason)
{
	emit_quarantine(scorer, relation, row->key, slice_string(attribute), slice_string(reason), row->image);
}
