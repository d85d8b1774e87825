/*
 * test_rules_item.c -- names bound to a relation, values taken from an image's wire bytes.
 */
#include "test_rules_support.h"

#include <math.h>

/* ---- writing wire bytes ---------------------------------------------------------------------- */

typedef struct Bytes
{
	uint8_t data[16384];
	size_t len;
} Bytes;

static void
put_varint(Bytes *b, uint64_t v)
{
	b->len = (size_t) (wire_put_varint(b->data + b->len, v) - b->data);
}

static void
put_field_varint(Bytes *b, uint32_t field, uint64_t v)
{
	put_varint(b, WIRE_TAG(field, WIRE_VARINT));
	put_varint(b, v);
}

static void
put_field_bytes(Bytes *b, uint32_t field, const void *data, size_t len)
{
	put_varint(b, WIRE_TAG(field, WIRE_BYTES));
	put_varint(b, len);
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

static void
put_message(Bytes *b, uint32_t field, const Bytes *inner)
{
	put_field_bytes(b, field, inner->data, inner->len);
}

/* Value messages. */
static Bytes
value_varint(uint32_t kind, uint64_t v)
{
	Bytes b = {.len = 0};

	put_field_varint(&b, kind, v);
	return b;
}

static Bytes
value_int(int64_t v)
{
	return value_varint(VALUE_INT, wire_zigzag(v));
}

static Bytes
value_bytes(uint32_t kind, const char *text)
{
	Bytes b = {.len = 0};

	put_field_bytes(&b, kind, text, strlen(text));
	return b;
}

static Bytes
value_text(const char *text)
{
	return value_bytes(VALUE_TEXT, text);
}

static Bytes
value_double(double number)
{
	Bytes b = {.len = 0};

	put_varint(&b, WIRE_TAG(VALUE_DOUBLE, WIRE_FIXED64));
	memcpy(b.data + b.len, &number, 8);
	b.len += 8;
	return b;
}

static Bytes
value_decimal(const char *digits, int32_t exponent, uint32_t special)
{
	Bytes decimal = {.len = 0};
	Bytes b = {.len = 0};

	put_field_bytes(&decimal, DECIMAL_DIGITS, digits, strlen(digits));
	put_field_varint(&decimal, DECIMAL_EXPONENT, wire_zigzag(exponent));
	if (special)
		put_field_varint(&decimal, DECIMAL_SPECIAL, special);
	put_message(&b, VALUE_DECIMAL, &decimal);
	return b;
}

static Bytes
value_list(int n, const Bytes *values)
{
	Bytes list = {.len = 0};
	Bytes b = {.len = 0};

	for (int i = 0; i < n; i++)
		put_message(&list, LIST_VALUES, &values[i]);
	put_message(&b, VALUE_LIST, &list);
	return b;
}

static Bytes
timed(Bytes value, const char *time)
{
	return value_list(2, (Bytes[]){value, value_text(time)});
}

/* One Attribute field. */
static void
put_attribute(Bytes *image, uint32_t column, const char *key, WireState state, const Bytes *value)
{
	Bytes b = {.len = 0};

	if (column > 0)
		put_field_varint(&b, ATTRIBUTE_COLUMN, column);
	if (key != NULL)
		put_field_bytes(&b, ATTRIBUTE_KEY, key, strlen(key));
	if (state != STATE_SET)
		put_field_varint(&b, ATTRIBUTE_STATE, state);
	if (value != NULL)
		put_message(&b, ATTRIBUTE_VALUE, value);
	put_message(image, CHANGE_ATTRIBUTES, &b);
}

static void
put_set(Bytes *image, uint32_t column, const char *key, Bytes value)
{
	put_attribute(image, column, key, STATE_SET, &value);
}

/* ---- the relation of these tests -------------------------------------------------------------- */

enum
{
	SHOP,
	ID,
	TITLE,
	PRICE,
	ATT,
	EXTRA,
	LISTED,
	NCOLUMNS
};

static Bytes relation_bytes;

static WireRelation
relation_make(void)
{
	static const struct
	{
		const char *name;
		uint32_t type_oid;
		const char *type;
		bool key;
	} columns[NCOLUMNS] = {{"shop", 23, "int4", true},
						   {"id", 25, "text", true},
						   {"title", 25, "text", false},
						   {"price", 1700, "numeric", false},
						   {"att", 3802, "jsonb", false},
						   {"extra", 3802, "jsonb", false},
						   {"listed", 1184, "timestamptz", false}};
	Bytes rest = {.len = 0};
	WireRelation relation;
	uint64_t fingerprint;

	put_field_bytes(&rest, RELATION_SCHEMA, "public", 6);
	put_field_bytes(&rest, RELATION_TABLE, "item", 4);
	for (int i = 0; i < NCOLUMNS; i++)
	{
		Bytes b = {.len = 0};

		put_field_bytes(&b, COLUMN_NAME, columns[i].name, strlen(columns[i].name));
		put_field_varint(&b, COLUMN_TYPE_OID, columns[i].type_oid);
		put_field_bytes(&b, COLUMN_TYPE_NAME, columns[i].type, strlen(columns[i].type));
		if (columns[i].key)
			put_field_varint(&b, COLUMN_KEY, 1);
		put_message(&rest, RELATION_COLUMNS, &b);
	}
	fingerprint = wire_fingerprint(slice_make(rest.data, rest.len));
	relation_bytes.len = 0;
	put_varint(&relation_bytes, WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64));
	memcpy(relation_bytes.data + relation_bytes.len, &fingerprint, 8);
	relation_bytes.len += 8;
	memcpy(relation_bytes.data + relation_bytes.len, rest.data, rest.len);
	relation_bytes.len += rest.len;
	assert_true(wire_relation(slice_make(relation_bytes.data, relation_bytes.len), &relation));
	return relation;
}

static RuleBinding *
bind_with(const RuleProgram *program, const char *map)
{
	WireRelation relation = relation_make();
	RuleError error;
	RuleBinding *binding = rules_bind(program, &relation, slice_string(map), &memory, &error);

	if (binding == NULL)
		fail_msg("%s | %s", error.message, error.hint);
	return binding;
}

/* A program that reads exactly these attributes, in order. */
static RuleBinding *
bind_names(const char *names)
{
	char text[400];

	snprintf(text, sizeof(text), "term t max(0, %s)", names);
	return bind_with(compile(text), "att");
}

static void
fill(const RuleBinding *binding, const Bytes *image, RuleValue *values)
{
	Bytes key = {.len = 0};
	Bytes shop = value_int(7);
	Bytes id = value_text("x1");

	put_message(&key, CHANGE_KEY, &shop);
	put_message(&key, CHANGE_KEY, &id);
	memset(values, 0xff, sizeof(*values)); /* fill leaves nothing of what was there */
	assert_true(
		rules_fill(binding, slice_make(key.data, key.len), slice_make(image->data, image->len), values));
}

/* ---- binding ----------------------------------------------------------------------------------- */

static void
names_that_can_mean_nothing_are_refused_with_the_nearest(void **state)
{
	static const struct
	{
		const char *expression;
		const char *map;
		const char *message;
		const char *hint;
	} cases[] = {
		{"pricee", "", "reads \"pricee\", but public.item has no such column and no map", "\"price\""},
		{"views", "", "reads \"views\"", "Its columns are: shop id title price att extra listed."},
		{"1\nlet cheapest = 1\nterm u cheapst", "", "reads \"cheapst\"", "\"cheapest\""},
		{"attt.views", "att", "reads \"attt\"", "\"att\""},
		{"price.views", "att", "column \"price\" is numeric and has no keys", "jsonb"},
		{"price", "nothing", "reads \"nothing\"", NULL},
	};
	WireRelation relation = relation_make();

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[100];
		RuleError error;

		snprintf(text, sizeof(text), "term t %s", cases[i].expression);
		assert_null(rules_bind(compile(text), &relation, slice_string(cases[i].map), &memory, &error));
		assert_int_equal(error.line, 0);
		if (strstr(error.message, cases[i].message) == NULL ||
			(cases[i].hint != NULL && strstr(error.hint, cases[i].hint) == NULL))
			fail_msg("%s | %s", error.message, error.hint);
	}
}

static void
change_is_read_only_if_the_program_reads_it(void **state)
{
	RuleBinding *binding = bind_names("price, views, extra.clicks, id");
	static const char odd[] = "clicks\0x";

	assert_true(rules_reads(binding, PRICE, false, slice_make(NULL, 0)));
	assert_true(rules_reads(binding, ID, false, slice_make(NULL, 0)));
	assert_false(rules_reads(binding, TITLE, false, slice_make(NULL, 0)));
	assert_true(rules_reads(binding, ATT, true, slice_string("views")));
	assert_false(rules_reads(binding, ATT, true, slice_string("clicks")));
	assert_false(rules_reads(binding, ATT, true, slice_string("")));
	assert_true(rules_reads(binding, EXTRA, true, slice_string("clicks")));
	assert_false(rules_reads(binding, EXTRA, true, slice_make(odd, 8)));
	assert_false(rules_reads(binding, EXTRA, true, slice_string("views")));
	assert_true(rules_reads(binding, ATT, false, slice_make(NULL, 0))); /* all keys at once */
	assert_false(rules_reads(binding, 99, false, slice_make(NULL, 0)));
	binding = bind_names("extra");
	assert_true(rules_reads(binding, EXTRA, true, slice_string("anything")));
}

/* ---- filling ----------------------------------------------------------------------------------- */

static void
columns_come_first_then_keys_of_the_map(void **state)
{
	RuleBinding *binding = bind_names("price, att.price, views, extra.views, shop, id, title");
	Bytes image = {.len = 0};
	RuleValue v[7];

	put_set(&image, TITLE, NULL, value_text("t"));
	put_set(&image, PRICE, NULL, value_decimal("150", -2, 0));
	put_set(&image, ATT, "price", value_int(3));
	put_set(&image, ATT, "views", value_double(4.5));
	put_set(&image, EXTRA, "other", value_int(6));
	put_set(&image, EXTRA, "views", value_int(5));
	fill(binding, &image, v);
	assert_true(v[0].kind == RULE_NUMBER && v[0].number == 1.5);
	assert_true(v[1].kind == RULE_NUMBER && v[1].number == 3);
	assert_true(v[2].kind == RULE_NUMBER && v[2].number == 4.5);
	assert_true(v[3].kind == RULE_NUMBER && v[3].number == 5);
	assert_true(v[4].kind == RULE_NUMBER && v[4].number == 7);
	assert_true(v[5].kind == RULE_TEXT && slice_equal(v[5].bytes, slice_string("x1")));
	assert_true(v[6].kind == RULE_TEXT && slice_equal(v[6].bytes, slice_string("t")));
}

static void
two_names_of_one_attribute_get_the_same_value(void **state)
{
	RuleBinding *binding = bind_names("views, att.views, \"views\"");
	Bytes image = {.len = 0};
	RuleValue v[2];

	put_set(&image, ATT, "views", timed(value_int(3), "2000-01-01"));
	fill(binding, &image, v);
	assert_true(v[0].kind == RULE_NUMBER && v[0].number == 3 && v[0].has_own_time);
	assert_true(v[1].kind == RULE_NUMBER && v[1].number == 3 && v[1].has_own_time);
}

static void
every_kind_of_value_becomes_what_rules_see(void **state)
{
	RuleBinding *binding = bind_names("extra.a");
	const struct
	{
		Bytes value;
		RuleKind kind;
		double number;
		int64_t time_us;
	} cases[] = {
		{value_varint(VALUE_NULL, 1), RULE_MISSING, 0, 0},
		{value_varint(VALUE_BOOL, 1), RULE_BOOL, 0, 0},
		{value_int(-5), RULE_NUMBER, -5, 0},
		{value_int(INT64_MAX), RULE_NUMBER, 9223372036854775808.0, 0},
		{value_double(0.1), RULE_NUMBER, 0.1, 0},
		{value_decimal("1", 131000, 0), RULE_NUMBER, INFINITY, 0},
		{value_decimal("1", -131000, 0), RULE_NUMBER, 0, 0},
		{value_decimal("90071992547409931", -1, 0), RULE_NUMBER, 9007199254740994,
		 0}, /* ..993.1, rounded once */
		{value_decimal("0", 0, DECIMAL_INFINITY), RULE_NUMBER, INFINITY, 0},
		{value_text("x"), RULE_TEXT, 0, 0},
		{value_bytes(VALUE_BYTES, "x"), RULE_OTHER, 0, 0},
		{value_bytes(VALUE_JSON, "{\"a\": 1}"), RULE_OTHER, 0, 0},
		{value_varint(VALUE_TIMESTAMP, wire_zigzag(5)), RULE_TIME, 0, 5},
		{value_varint(VALUE_TIMESTAMPTZ, wire_zigzag(INT64_MIN)), RULE_TIME, 0, INT64_MIN},
		{value_varint(VALUE_DATE, wire_zigzag(-2)), RULE_TIME, 0, INT64_C(-172800000000)},
		{value_varint(VALUE_DATE, wire_zigzag(INT32_MAX)), RULE_TIME, 0, INT64_MAX},
		{value_varint(VALUE_DATE, wire_zigzag(INT32_MIN)), RULE_TIME, 0, INT64_MIN},
		{value_varint(VALUE_DATE, wire_zigzag(INT32_MAX - 1)), RULE_TIME, 0, INT64_MAX},
		{value_list(0, NULL), RULE_LIST, 0, 0},
		{timed(value_int(1), "2000-01-01"), RULE_LIST, 0, 0}, /* extra is no map */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Bytes image = {.len = 0};
		RuleValue v[1];

		put_set(&image, EXTRA, "a", cases[i].value);
		fill(binding, &image, v);
		if (v[0].kind != cases[i].kind)
			fail_msg("case %zu: kind %d", i, v[0].kind);
		if (v[0].kind == RULE_NUMBER)
			assert_true(v[0].number == cases[i].number);
		if (v[0].kind == RULE_TIME)
			assert_true(v[0].time_us == cases[i].time_us);
		assert_false(v[0].has_own_time);
	}
}

static void
map_values_carry_their_own_time(void **state)
{
	RuleBinding *binding = bind_names("a");
	const struct
	{
		Bytes value;
		RuleKind kind;
		bool has_own_time;
	} cases[] = {
		{timed(value_int(3), "2000-01-01T00:00:02Z"), RULE_NUMBER, true},
		{timed(value_varint(VALUE_NULL, 1), "2000-01-01T00:00:02Z"), RULE_MISSING, true},
		{timed(value_text("x"), "2000-01-01T00:00:02Z"), RULE_TEXT, true},
		{timed(value_int(3), "soon"), RULE_NUMBER, false},
		{value_int(3), RULE_NUMBER, false},
		{value_list(1, (Bytes[]){value_int(3)}), RULE_LIST, false},
		{value_list(2, (Bytes[]){value_int(3), value_int(4)}), RULE_LIST, false},
		{value_list(3, (Bytes[]){value_int(3), value_text("2000-01-01"), value_int(3)}), RULE_LIST, false},
		{value_list(0, NULL), RULE_LIST, false},
		{value_bytes(VALUE_JSON, "[{}, \"2000-01-01T00:00:02Z\"]"), RULE_OTHER, true},
		{value_bytes(VALUE_JSON, "[[\"x\"], \"2000-01-01T00:00:02Z\"]"), RULE_LIST, true},
		{value_bytes(VALUE_JSON, "[[], \"2000-01-01T00:00:02Z\"]"), RULE_LIST, true},
		{value_bytes(VALUE_JSON, "[[\"x\", 1, null, true], \"soon\"]"), RULE_LIST, false},
		{value_bytes(VALUE_JSON, "[[[1]], \"2000-01-01T00:00:02Z\"]"), RULE_OTHER, true},
		{value_bytes(VALUE_JSON, "[[1, {\"a\": \"]\"}], \"2000-01-01T00:00:02Z\"]"), RULE_OTHER, true},
		{value_bytes(VALUE_JSON, "[{\"a\": [\"}\"]}, \"2000-01-01T00:00:02Z\"]"), RULE_OTHER, true},
		{value_bytes(VALUE_JSON, "[[1], 2]"), RULE_OTHER, false},
		{value_bytes(VALUE_JSON, "[[1], \"2000-01-01\", 3]"), RULE_OTHER, false},
		{value_bytes(VALUE_JSON, "{\"a\": [[1], \"2000-01-01\"]}"), RULE_OTHER, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Bytes image = {.len = 0};
		RuleValue v[1];

		put_set(&image, ATT, "a", cases[i].value);
		fill(binding, &image, v);
		if (v[0].kind != cases[i].kind || v[0].has_own_time != cases[i].has_own_time)
			fail_msg("case %zu: kind %d, own time %d", i, v[0].kind, v[0].has_own_time);
		if (v[0].has_own_time)
			assert_int_equal(v[0].own_time_us, 2000000);
	}
}

/* In a map an array comes as [["a", "b"], "time"], which the wire carries as text. */
static void
list_in_a_map_is_searched_like_any_other(void **state)
{
	static const char pair[] =
		"[[\"verified\", \"say \\\"x\\\"\\\\\\t\\u0021\", \"]\", \"h\xc3\xa9\", \"\", 12.50, "
		"-3, 0.1, 100000000000000000000000, true, null], \"2000-01-01T00:00:02Z\"]";
	static const struct
	{
		const char *value;
		double score;
	} cases[] = {
		{"'verified'", 1}, {"'verifie'", 0},   {"'verified2'", 0},
		{"']'", 1},		   {"'h\xc3\xa9'", 1}, {"'say \"x\"\\\t!'", 1},
		{"''", 1},		   {"12.5", 1},		   {"0 - 3", 1},
		{"3", 0},		   {"0.1", 1},		   {"100000000000000000000000", 1},
		{"true", 1},	   {"false", 0},	   {"'true'", 0},
		{"'12.50'", 0},	   {"'time'", 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char text[100];
		Bytes image = {.len = 0};
		RuleProgram *program;
		RuleBinding *binding;
		RuleResult result;
		RuleValue v[1];

		snprintf(text, sizeof(text), "term t flag(%s in a, 1)", cases[i].value);
		program = compile(text);
		binding = bind_with(program, "att");
		put_set(&image, ATT, "a", value_bytes(VALUE_JSON, pair));
		fill(binding, &image, v);
		rules_evaluate(program, &(RuleInput){.values = v, .now_us = 0}, &result);
		expect_score(text, result, cases[i].score);
	}
}

static void
time_of_a_map_value_is_found_beside_scalars_lists_and_objects(void **state)
{
	const struct
	{
		Bytes value;
		const char *time;
	} cases[] = {
		{timed(value_int(3), "soon"), "soon"},
		{value_bytes(VALUE_JSON, "[[\"x\", 1], \"later\"]"), "later"},
		{value_bytes(VALUE_JSON, "[{\"a\": [1, \"]\"]}, \"2000-01-01\"]"), "2000-01-01"},
		{value_int(3), NULL},
		{value_list(2, (Bytes[]){value_int(3), value_int(4)}), NULL},
		{value_bytes(VALUE_JSON, "[[1], 2]"), NULL},
		{value_bytes(VALUE_JSON, "{\"a\": 1}"), NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Slice value = slice_make(cases[i].value.data, cases[i].value.len);
		Slice time;

		if (rules_map_time(value, &time) != (cases[i].time != NULL) ||
			(cases[i].time != NULL && !slice_equal(time, slice_string(cases[i].time))))
			fail_msg("case %zu", i);
	}
}

static void
broken_json_in_a_map_is_neither_read_past_nor_a_list(void **state)
{
	static const char pair[] = "[[\"a\", \"b\\\"\", 1.5], \"2000-01-01\"]";
	RuleProgram *program = compile("term t flag('b' in a, 1)  on_error 2");
	RuleBinding *binding = bind_with(program, "att");

	for (size_t len = 0; len < sizeof(pair) - 1; len++)
	{
		Bytes image = {.len = 0};
		Bytes value = {.len = 0};
		RuleResult result;
		RuleValue v[1];

		put_field_bytes(&value, VALUE_JSON, pair, len);
		put_set(&image, ATT, "a", value);
		fill(binding, &image, v);
		assert_int_equal(v[0].kind, RULE_OTHER);
		rules_evaluate(program, &(RuleInput){.values = v, .now_us = 0}, &result);
		expect_score("cut", result, 2);
	}
}

static void
what_is_not_there_is_missing_and_what_is_too_large_is_not(void **state)
{
	RuleBinding *binding = bind_names("a, b, title, extra, extra.c, listed");
	Bytes image = {.len = 0};
	RuleValue v[6];

	put_attribute(&image, TITLE, NULL, STATE_OVERSIZED, NULL);
	put_attribute(&image, ATT, "a", STATE_REMOVED, NULL);
	put_attribute(&image, ATT, "b", STATE_OVERSIZED, NULL);
	put_set(&image, EXTRA, "x", value_int(1));
	put_attribute(&image, LISTED, NULL, STATE_UNCHANGED_TOAST, NULL);
	fill(binding, &image, v);
	assert_int_equal(v[0].kind, RULE_MISSING);
	assert_int_equal(v[1].kind, RULE_OTHER);
	assert_int_equal(v[2].kind, RULE_OTHER);
	assert_int_equal(v[3].kind, RULE_OTHER); /* an object is there */
	assert_int_equal(v[4].kind, RULE_MISSING);
	assert_int_equal(v[5].kind, RULE_MISSING);

	/* a map that is null, not an object, or as a whole too large to look into */
	image.len = 0;
	put_set(&image, ATT, NULL, value_varint(VALUE_NULL, 1));
	fill(binding, &image, v);
	assert_int_equal(v[0].kind, RULE_MISSING);
	assert_int_equal(v[3].kind, RULE_MISSING);
	image.len = 0;
	put_set(&image, ATT, NULL, value_list(1, (Bytes[]){value_int(1)}));
	put_set(&image, EXTRA, NULL, value_bytes(VALUE_JSON, "{}"));
	fill(binding, &image, v);
	assert_int_equal(v[0].kind, RULE_MISSING);
	assert_int_equal(v[3].kind, RULE_OTHER);
	image.len = 0;
	put_attribute(&image, ATT, NULL, STATE_OVERSIZED, NULL);
	put_attribute(&image, EXTRA, NULL, STATE_UNCHANGED_TOAST, NULL);
	fill(binding, &image, v);
	assert_int_equal(v[0].kind, RULE_OTHER);
	assert_int_equal(v[1].kind, RULE_OTHER);
	assert_int_equal(v[4].kind, RULE_MISSING);
}

static void
malformed_bytes_are_refused_not_read(void **state)
{
	RuleBinding *binding = bind_names("a, price, id");
	RuleValue v[3];
	Bytes image = {.len = 0};
	Bytes nothing = {.len = 0};
	Bytes key = {.len = 0};

	put_set(&image, PRICE, NULL, value_int(1));
	put_set(&image, ATT, "a", timed(value_int(3), "2000-01-01"));
	for (size_t len = 0; len <= image.len; len++)
	{
		uint8_t *copy = malloc(len + 1); /* its own block, watched by the sanitizer */
		bool whole = len == 0 || len == image.len || len == (size_t) image.data[1] + 2;

		memcpy(copy + 1, image.data, len);
		assert_int_equal(rules_fill(binding, slice_make(NULL, 0), slice_make(copy + 1, len), v), whole);
		free(copy);
	}
	image.len = 0;
	put_set(&image, 99, NULL, value_int(1)); /* no such column */
	assert_false(rules_fill(binding, slice_make(NULL, 0), slice_make(image.data, image.len), v));
	image.len = 0;
	put_attribute(&image, PRICE, NULL, STATE_SET, &nothing); /* a value of no kind */
	assert_false(rules_fill(binding, slice_make(NULL, 0), slice_make(image.data, image.len), v));
	for (int i = 0; i < 3; i++) /* more key values than key columns */
	{
		Bytes value = value_int(i);

		put_message(&key, CHANGE_KEY, &value);
	}
	assert_false(rules_fill(binding, slice_make(key.data, key.len), slice_make(NULL, 0), v));
}

/* The widest program finds each of its keys, and no other. */
static void
many_keys_are_told_apart(void **state)
{
	char text[4000] = "term t 0";
	RuleBinding *binding;
	Bytes image = {.len = 0};
	RuleValue v[RULES_ATTRIBUTES_MAX];

	for (int i = 0; i < RULES_ATTRIBUTES_MAX; i++)
	{
		char key[40];

		snprintf(key, sizeof(key), "attribute_%d_of_many", i * 2);
		snprintf(text + strlen(text), 50, " + %s", key);
		put_set(&image, ATT, key, value_int(i));
		snprintf(key, sizeof(key), "attribute_%d_of_many", i * 2 + 1);
		put_set(&image, ATT, key, value_int(-1));
	}
	binding = bind_with(compile(text), "att");
	fill(binding, &image, v);
	for (int i = 0; i < RULES_ATTRIBUTES_MAX; i++)
		assert_true(v[i].kind == RULE_NUMBER && v[i].number == i);
}

static void
poison_number_scores_by_on_error(void **state)
{
	static const char *const texts[] = {"term t a on_error 5", "term t flag(a > 0, 1) on_error 5",
										"term t 0 - a\nterm u 5"};

	for (int i = 0; i < 3; i++)
	{
		RuleProgram *program = compile(texts[i]);
		RuleBinding *binding = bind_with(program, "att");
		Bytes image = {.len = 0};
		RuleResult result;
		RuleValue v[1];

		put_set(&image, ATT, "a", value_decimal("1", 131000, 0));
		fill(binding, &image, v);
		rules_evaluate(program, &(RuleInput){.values = v, .now_us = 0}, &result);
		expect_score(texts[i], result, 5);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, arena_reset)
	const struct CMUnitTest tests[] = {
		TEST(names_that_can_mean_nothing_are_refused_with_the_nearest),
		TEST(change_is_read_only_if_the_program_reads_it),
		TEST(columns_come_first_then_keys_of_the_map),
		TEST(two_names_of_one_attribute_get_the_same_value),
		TEST(every_kind_of_value_becomes_what_rules_see),
		TEST(map_values_carry_their_own_time),
		TEST(list_in_a_map_is_searched_like_any_other),
		TEST(time_of_a_map_value_is_found_beside_scalars_lists_and_objects),
		TEST(broken_json_in_a_map_is_neither_read_past_nor_a_list),
		TEST(what_is_not_there_is_missing_and_what_is_too_large_is_not),
		TEST(malformed_bytes_are_refused_not_read),
		TEST(many_keys_are_told_apart),
		TEST(poison_number_scores_by_on_error),
	};

	return cmocka_run_group_tests_name("rules: items", tests, NULL, NULL);
}
