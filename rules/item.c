/*
 * item.c -- an item's attributes as a program wants them: see rules.h.
 *
 * Names are resolved once, when a relation is first met.  Filling then walks an image once: a byte
 * per column tells whether anything in it is read, a small open hash finds the key, and only what
 * is read is decoded.
 */
#include "json_list.h"
#include "program.h"

#include <limits.h>

#define JSONB_OID 3802
#define FIRST_USER_OID 16384 /* FirstNormalObjectId of PostgreSQL: above it may be a domain over jsonb */
#define US_PER_DAY INT64_C(86400000000)

/* What a column is to the program. */
enum
{
	COLUMN_READ = 1,	  /* the column itself is an attribute */
	COLUMN_KEYS_READ = 2, /* keys of it are */
	COLUMN_IS_MAP = 4,	  /* its keys may hold [value, "time"] */
};

/* Where one attribute of the program lives. */
typedef struct Target
{
	uint32_t column;
	bool has_key;
	Slice key;
	int same_as; /* an earlier attribute that names the same thing, or -1 */
} Target;

struct RuleBinding
{
	int ntargets;
	Target *targets;
	uint32_t ncolumns;
	uint8_t *columns; /* COLUMN_xxx bits */
	int16_t *whole;	  /* per column: the attribute that is the column itself, or -1 */
	int nkey_columns;
	uint32_t key_columns[WIRE_KEY_COLUMNS_MAX];
	bool key_columns_read; /* else the key need not be looked at */
	bool has_aliases;
	uint32_t slot_mask;
	bool *remembered; /* per target: the program reads what it was before */
	int16_t *slots;	  /* hash of (column, key): index of a target, or -1; never full */
};

/* ---- hash of (column, key) ------------------------------------------------------------------ */

static inline uint64_t
load_8(const uint8_t *at)
{
	uint64_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

static inline uint32_t
load_4(const uint8_t *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

/* Length, head and tail tell names apart well enough; what collides is compared. */
static uint32_t
hash_key(uint32_t column, Slice key)
{
	uint64_t head = 0;
	uint64_t tail = 0;
	uint64_t h;

	if (key.len >= 8)
	{
		head = load_8(key.data);
		tail = load_8(key.data + key.len - 8);
	}
	else if (key.len >= 4)
		head = (uint64_t) load_4(key.data) << 32 | load_4(key.data + key.len - 4);
	else if (key.len > 0)
		head = (uint64_t) key.data[0] << 16 | (uint64_t) key.data[key.len / 2] << 8 | key.data[key.len - 1];
	h = (head ^ (uint64_t) key.len << 56) * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ h >> 29 ^ tail ^ (uint64_t) column << 40) * UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t) (h >> 32);
}

static int
find_key(const RuleBinding *binding, uint32_t column, Slice key)
{
	for (uint32_t i = hash_key(column, key);; i++)
	{
		int index = binding->slots[i & binding->slot_mask];

		if (index < 0)
			return -1;
		if (binding->targets[index].column == column && slice_equal(binding->targets[index].key, key))
			return index;
	}
}

/* ---- binding -------------------------------------------------------------------------------- */

typedef struct Columns
{
	const RuleProgram *program;
	const WireRelation *relation;
	Slice map_column;
} Columns;

/* The column's number, or -1. */
static int
find_column(const WireRelation *relation, Slice name, WireColumn *column)
{
	WireCursor cursor = relation->columns;

	for (int i = 0; wire_column_next(&cursor, column); i++)
		if (slice_equal(column->name, name))
			return i;
	return -1;
}

static bool
unknown_column(const Columns *columns, Slice name, RuleError *error)
{
	const WireRelation *relation = columns->relation;
	WireCursor cursor = relation->columns;
	WireColumn column;
	RuleNearest nearest;
	char list[sizeof(error->hint) - 40];
	size_t n = 0;

	rule_nearest_begin(&nearest, name);
	for (int i = 0; i < columns->program->nnames; i++)
		rule_nearest_offer(&nearest, columns->program->names[i]);
	for (list[0] = '\0'; wire_column_next(&cursor, &column);)
	{
		rule_nearest_offer(&nearest, column.name);
		if (n + column.name.len + 2 < sizeof(list))
		{
			list[n++] = ' ';
			memcpy(list + n, column.name.data, column.name.len);
			n += column.name.len;
			list[n] = '\0';
		}
	}
	rule_problem(error, (RulePosition){0, 0, NULL},
				 "the definition reads \"%.*s\", but %.*s.%.*s has no such column%s", RULE_NAME(name),
				 RULE_NAME(relation->schema), RULE_NAME(relation->table),
				 columns->map_column.len > 0 ? "" : " and no map");
	if (rule_nearest_found(&nearest))
		return rule_hint(error, "Did you mean \"%.*s\"?", RULE_NAME(nearest.best));
	return rule_hint(error, "Its columns are:%s.", list);
}

static bool
bind_key(const Columns *columns, Slice column_name, Slice key, Target *target, RuleError *error)
{
	WireColumn column;
	int number = find_column(columns->relation, column_name, &column);

	if (number < 0)
		return unknown_column(columns, column_name, error);
	if (column.type_oid != JSONB_OID && column.type_oid < FIRST_USER_OID)
	{
		rule_problem(error, (RulePosition){0, 0, NULL},
					 "the definition reads \"%.*s.%.*s\", but column \"%.*s\" is %.*s and has no keys",
					 RULE_NAME(column_name), RULE_NAME(key), RULE_NAME(column_name),
					 RULE_NAME(column.type_name));
		return rule_hint(error, "Only columns of type jsonb have keys.");
	}
	target->column = (uint32_t) number;
	target->has_key = true;
	target->key = key;
	return true;
}

static bool
bind_attribute(const Columns *columns, const RuleAttribute *attribute, Target *target, RuleError *error)
{
	WireColumn column;
	int number;

	if (attribute->column.len > 0)
		return bind_key(columns, attribute->column, attribute->name, target, error);
	number = find_column(columns->relation, attribute->name, &column);
	if (number >= 0)
	{
		target->column = (uint32_t) number;
		return true;
	}
	if (columns->map_column.len > 0)
		return bind_key(columns, columns->map_column, attribute->name, target, error);
	return unknown_column(columns, attribute->name, error);
}

static void *
allocate(const RuleMemory *memory, size_t bytes, int fill)
{
	void *bytes_made = memory->alloc(memory->context, bytes > 0 ? bytes : 1);

	return memset(bytes_made, fill, bytes);
}

static RuleBinding *
binding_make(const RuleProgram *program, const WireRelation *relation, const RuleMemory *memory)
{
	RuleBinding *binding = allocate(memory, sizeof(*binding), 0);
	uint32_t nslots = 4;

	while (nslots < 2 * (uint32_t) program->nattributes + 1)
		nslots *= 2;
	binding->slot_mask = nslots - 1;
	binding->slots = allocate(memory, nslots * sizeof(*binding->slots), 0xff);
	binding->ncolumns = relation->ncolumns;
	binding->columns = allocate(memory, relation->ncolumns, 0);
	binding->whole = allocate(memory, relation->ncolumns * sizeof(*binding->whole), 0xff);
	binding->targets = allocate(memory, (size_t) program->nattributes * sizeof(*binding->targets), 0);
	binding->remembered = allocate(memory, (size_t) program->nattributes * sizeof(bool), 0);
	return binding;
}

/* Make a target findable; one that names what an earlier one names becomes its alias. */
static void
binding_add(RuleBinding *binding, int index)
{
	Target *target = &binding->targets[index];
	int earlier =
		target->has_key ? find_key(binding, target->column, target->key) : binding->whole[target->column];

	target->same_as = earlier;
	if (earlier >= 0)
	{
		binding->has_aliases = true;
		return;
	}
	binding->columns[target->column] |= target->has_key ? COLUMN_KEYS_READ : COLUMN_READ;
	if (target->has_key)
	{
		uint32_t i = hash_key(target->column, target->key);

		while (binding->slots[i & binding->slot_mask] >= 0)
			i++;
		binding->slots[i & binding->slot_mask] = (int16_t) index;
	}
	else
		binding->whole[target->column] = (int16_t) index;
}

static void
binding_note_columns(RuleBinding *binding, const WireRelation *relation, Slice map_column)
{
	WireCursor cursor = relation->columns;
	WireColumn column;

	for (uint32_t i = 0; i < relation->ncolumns && wire_column_next(&cursor, &column); i++)
	{
		if (map_column.len > 0 && slice_equal(column.name, map_column))
			binding->columns[i] |= COLUMN_IS_MAP;
		if (!column.key || binding->nkey_columns == WIRE_KEY_COLUMNS_MAX)
			continue;
		binding->key_columns[binding->nkey_columns++] = i;
		binding->key_columns_read |= (binding->columns[i] & (COLUMN_READ | COLUMN_KEYS_READ)) != 0;
	}
}

RuleBinding *
rules_bind(const RuleProgram *program, const WireRelation *relation, Slice map_column,
		   const RuleMemory *memory, RuleError *error)
{
	Columns columns = {program, relation, map_column};
	RuleBinding *binding = binding_make(program, relation, memory);
	WireColumn column;

	memset(error, 0, sizeof(*error));
	if (map_column.len > 0 && find_column(relation, map_column, &column) < 0)
	{
		unknown_column(&columns, map_column, error);
		return NULL;
	}
	for (int i = 0; i < program->nattributes; i++)
	{
		if (!bind_attribute(&columns, &program->attributes[i], &binding->targets[i], error))
			return NULL;
		binding->ntargets++;
		binding_add(binding, i);
		binding->remembered[binding->targets[i].same_as >= 0 ? binding->targets[i].same_as : i] |=
			rules_reads_previous(program, i);
	}
	binding_note_columns(binding, relation, map_column);
	return binding;
}

/* ---- values --------------------------------------------------------------------------------- */

static int64_t
date_us(int64_t days)
{
	int64_t us;

	if (days == INT32_MIN || days == INT32_MAX) /* -infinity, infinity */
		return days < 0 ? INT64_MIN : INT64_MAX;
	if (__builtin_mul_overflow(days, US_PER_DAY, &us))
		return days < 0 ? INT64_MIN : INT64_MAX;
	return us;
}

static void
convert(const WireValue *wire, RuleValue *value)
{
	switch (wire->kind)
	{
		case VALUE_NULL:
			value->kind = RULE_MISSING;
			break;
		case VALUE_BOOL:
			value->kind = RULE_BOOL;
			value->boolean = wire->boolean;
			break;
		case VALUE_INT:
		case VALUE_DOUBLE:
		case VALUE_FLOAT:
		case VALUE_DECIMAL:
			value->kind = RULE_NUMBER;
			wire_number(wire, &value->number);
			break;
		case VALUE_TEXT:
			value->kind = RULE_TEXT;
			value->bytes = wire->bytes;
			break;
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
			value->kind = RULE_TIME;
			value->time_us = wire->integer;
			break;
		case VALUE_DATE:
			value->kind = RULE_TIME;
			value->time_us = date_us(wire->integer);
			break;
		case VALUE_LIST:
			value->kind = RULE_LIST;
			value->bytes = wire->bytes;
			value->list_is_json = false;
			break;
		default: /* bytes, nested json */
			value->kind = RULE_OTHER;
	}
}

/*
 * [value, "time"]: a list of two elements, the second one text.  Most values of a map are one, so it
 * is taken apart at once; anything else, malformed bytes too, is left to wire_value().
 */
static bool
split_timed(Slice body, WireValue *first, WireValue *second)
{
	Slice value;

	if (!wire_timed(body, &value, &second->bytes) || !wire_value(value, first) || first->kind == VALUE_LIST)
		return false;
	second->kind = VALUE_TEXT;
	return true;
}

/* The same where the value is an array or object: then the wire has the text of the whole. */
static void
split_timed_json(Slice text, RuleValue *value)
{
	Slice first;
	Slice time;

	if (!rule_json_pair(text, &first, &time))
		return;
	value->has_own_time = rules_parse_time(time, &value->own_time_us);
	if (!rule_json_list(first, &first))
		return;
	value->kind = RULE_LIST;
	value->bytes = first;
	value->list_is_json = true;
}

bool
rules_map_time(Slice body, Slice *time)
{
	WireValue first;
	WireValue second;
	Slice value;

	if (split_timed(body, &first, &second))
		*time = second.bytes;
	else if (!wire_value(body, &first) || first.kind != VALUE_JSON ||
			 !rule_json_pair(first.bytes, &value, time))
		return false;
	return true;
}

static bool
decode(Slice body, bool in_map, RuleValue *value)
{
	WireValue wire;
	WireValue time;

	if (in_map && split_timed(body, &wire, &time))
		value->has_own_time = rules_parse_time(time.bytes, &value->own_time_us);
	else if (!wire_value(body, &wire))
		return false;
	convert(&wire, value);
	if (in_map && wire.kind == VALUE_JSON)
		split_timed_json(wire.bytes, value);
	return true;
}

/* ---- filling -------------------------------------------------------------------------------- */

/* An attribute without key: the column itself; its keys are unknown when it is too large to tell. */
static bool
fill_column(const RuleBinding *binding, const WireAttribute *attribute, RuleValue *values)
{
	int index = binding->whole[attribute->column];

	if (attribute->state == STATE_OVERSIZED)
		for (int i = 0; i < binding->ntargets; i++)
			if (binding->targets[i].column == attribute->column)
				values[i].kind = RULE_OTHER;
	if (index < 0 || attribute->state != STATE_SET)
		return true;
	return decode(attribute->value, false, &values[index]);
}

/* A key of a jsonb object: of interest by itself, or because the whole column is asked for. */
static bool
fill_key(const RuleBinding *binding, const WireAttribute *attribute, RuleValue *values)
{
	uint8_t column = binding->columns[attribute->column];
	int index;

	if (attribute->state == STATE_REMOVED || attribute->state == STATE_UNCHANGED_TOAST)
		return true;
	if (column & COLUMN_READ)
		values[binding->whole[attribute->column]].kind = RULE_OTHER; /* an object */
	if ((column & COLUMN_KEYS_READ) == 0)
		return true;
	index = find_key(binding, attribute->column, attribute->key);
	if (index < 0)
		return true;
	if (attribute->state == STATE_SET)
		return decode(attribute->value, (column & COLUMN_IS_MAP) != 0, &values[index]);
	values[index].kind = RULE_OTHER;
	return true;
}

static bool
fill_from_key(const RuleBinding *binding, Slice key, RuleValue *values)
{
	WireCursor cursor = wire_cursor(key);

	for (int i = 0; !wire_done(&cursor); i++)
	{
		Slice body;
		int index;

		if (!wire_value_next(&cursor, &body) || i >= binding->nkey_columns)
			return false;
		index = binding->whole[binding->key_columns[i]];
		if (index >= 0 && !decode(body, false, &values[index]))
			return false;
	}
	return true;
}

bool
rules_fill(const RuleBinding *binding, Slice key, Slice attributes, RuleValue *values)
{
	WireCursor cursor = wire_cursor(attributes);
	WireAttribute attribute;

	for (int i = 0; i < binding->ntargets; i++)
	{
		values[i].kind = RULE_MISSING;
		values[i].has_own_time = false;
	}
	if (binding->key_columns_read && !fill_from_key(binding, key, values))
		return false;
	while (!wire_done(&cursor))
	{
		if (!wire_attribute_next(&cursor, &attribute) || attribute.column >= binding->ncolumns)
			return false;
		if ((binding->columns[attribute.column] & (COLUMN_READ | COLUMN_KEYS_READ)) == 0)
			continue;
		if (attribute.has_key ? !fill_key(binding, &attribute, values)
							  : !fill_column(binding, &attribute, values))
			return false;
	}
	for (int i = 0; binding->has_aliases && i < binding->ntargets; i++)
		if (binding->targets[i].same_as >= 0)
			values[i] = values[binding->targets[i].same_as];
	return true;
}

bool
rules_reads(const RuleBinding *binding, uint32_t column, bool has_key, Slice key)
{
	uint8_t bits;

	if (column >= binding->ncolumns)
		return false;
	bits = binding->columns[column];
	if (bits & COLUMN_READ)
		return true;
	if ((bits & COLUMN_KEYS_READ) == 0)
		return false;
	/* a change of the whole column is one of all its keys */
	return !has_key || find_key(binding, column, key) >= 0;
}

/* ---- what attributes were ---------------------------------------------------------------------- */

static int
find_target(const RuleBinding *binding, uint32_t column, bool has_key, Slice key)
{
	return has_key ? find_key(binding, column, key) : binding->whole[column];
}

bool
rules_remembers(const RuleBinding *binding, uint32_t column, bool has_key, Slice key)
{
	int index;

	if (column >= binding->ncolumns || (binding->columns[column] & (COLUMN_READ | COLUMN_KEYS_READ)) == 0)
		return false;
	index = find_target(binding, column, has_key, key);
	return index >= 0 && binding->remembered[index];
}

/* A column counts as changed when a key of it has. */
static void
mark_changed(const RuleBinding *binding, const WireAttribute *attribute, RuleChange *changes)
{
	int whole = binding->whole[attribute->column];
	int index = find_target(binding, attribute->column, attribute->has_key, attribute->key);

	if (whole >= 0)
		changes[whole] = RULE_CHANGED;
	if (index >= 0)
		changes[index] = RULE_CHANGED;
}

bool
rules_fill_previous(const RuleBinding *binding, Slice fresh, Slice all, RuleValue *previous,
					RuleChange *changes)
{
	WireCursor cursor = wire_cursor(fresh);
	WireAttribute attribute;

	for (int i = 0; i < binding->ntargets; i++)
		changes[i] = RULE_UNCHANGED;
	while (!wire_done(&cursor))
	{
		if (!wire_attribute_next(&cursor, &attribute) || attribute.column >= binding->ncolumns)
			return false;
		mark_changed(binding, &attribute, changes);
	}
	for (int i = 0; binding->has_aliases && i < binding->ntargets; i++)
		if (binding->targets[i].same_as >= 0)
			changes[i] = changes[binding->targets[i].same_as];
	return rules_fill(binding, slice_make(NULL, 0), all, previous);
}
