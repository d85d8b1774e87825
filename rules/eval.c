/*
 * eval.c -- a program and an item's values as a score.
 *
 * A value that is missing makes what is computed from it missing, and a condition unknown.  An
 * error ends its statement; the statement's policy says what then.  Nothing is allocated, nothing
 * recurses, and no cell ever holds a number that is not finite.
 */
#include "fast.h"
#include "json_list.h"
#include "machine.h"
#include "pattern.h"

#include <math.h>

static bool
fail(Machine *machine, const char *reason)
{
	machine->reason = reason;
	return false;
}

static inline void
set_missing(Cell *cell)
{
	cell->kind = RULE_MISSING;
}

static inline void
set_bool(Cell *cell, bool boolean)
{
	cell->kind = RULE_BOOL;
	cell->boolean = boolean;
}

static inline bool
set_number(Machine *machine, Cell *cell, double number)
{
	cell->kind = RULE_NUMBER;
	cell->number = number;
	if (__builtin_expect(isfinite(number), true))
		return true;
	return fail(machine, isnan(number) ? "the result is not a number" : "overflow");
}

/* ---- loading ------------------------------------------------------------------------------- */

static void
load_literal(Cell *cell, const RuleLiteral *literal)
{
	cell->kind = literal->kind;
	if (literal->kind == RULE_NUMBER)
		cell->number = literal->number;
	else if (literal->kind == RULE_BOOL)
		cell->boolean = literal->boolean;
	else
	{
		cell->bytes = literal->text;
		cell->has_time = literal->has_time;
		cell->text_time_us = literal->time_us;
	}
}

static const RuleValue nothing = {.kind = RULE_MISSING};

static inline const RuleValue *
previous_value(const Machine *machine, int attribute)
{
	return machine->previous != NULL ? &machine->previous[attribute] : &nothing;
}

static inline const RuleValue *
operand(const Machine *machine, int index)
{
	const RuleValue *value = &machine->values[index & OPERAND_ATTRIBUTE];

	if (__builtin_expect(index <= OPERAND_ATTRIBUTE, true))
		return value;
	if ((index & OPERAND_LAST_KNOWN) && value->kind != RULE_MISSING)
		return value;
	return previous_value(machine, index & OPERAND_ATTRIBUTE);
}

static bool
load_other(Machine *machine, Cell *cell, const RuleValue *value)
{
	cell->kind = value->kind;
	switch (value->kind)
	{
		case RULE_NUMBER:
			return fail(machine, "a number is not finite, or too large for double precision");
		case RULE_BOOL:
			cell->boolean = value->boolean;
			return true;
		case RULE_TIME:
			cell->time_us = value->time_us;
			return true;
		case RULE_TEXT:
		case RULE_LIST:
			cell->bytes = value->bytes;
			cell->has_time = false;
			return true;
		default:
			return true;
	}
}

static inline bool
load_value(Machine *machine, Cell *cell, const RuleValue *value)
{
	if (__builtin_expect(value->kind != RULE_NUMBER || !isfinite(value->number), false))
		return load_other(machine, cell, value);
	cell->kind = RULE_NUMBER;
	cell->number = value->number;
	return true;
}

/* ---- numbers ------------------------------------------------------------------------------- */

typedef enum
{
	OPERANDS_READY,
	OPERANDS_MISSING,
	OPERANDS_WRONG,
} Operands;

static Operands
check_numbers(Machine *machine, const Cell *cells, int n)
{
	Operands operands = OPERANDS_READY;

	for (int i = 0; i < n; i++)
	{
		if (cells[i].kind == RULE_NUMBER)
			continue;
		if (cells[i].kind != RULE_MISSING)
		{
			fail(machine, "wrong type: expected a number");
			return OPERANDS_WRONG;
		}
		operands = OPERANDS_MISSING;
	}
	return operands;
}

static inline __attribute__((always_inline)) bool /* into the machine's loop: a fifth of it is this */
arithmetic(Machine *machine, Cell *cells, RuleOp op)
{
	double a = cells[0].number;
	double b = cells[1].number;

	if (cells[0].kind != RULE_NUMBER || cells[1].kind != RULE_NUMBER)
	{
		if (check_numbers(machine, cells, 2) == OPERANDS_WRONG)
			return false;
		set_missing(cells);
		return true;
	}
	switch (op)
	{
		case OP_ADD:
			return set_number(machine, cells, a + b);
		case OP_SUBTRACT:
			return set_number(machine, cells, a - b);
		case OP_MULTIPLY:
			return set_number(machine, cells, a * b);
		case OP_DIVIDE:
			if (b == 0)
				return fail(machine, "division by zero");
			return set_number(machine, cells, a / b);
		case OP_LEAST:
			return set_number(machine, cells, b < a ? b : a);
		default:
			return set_number(machine, cells, b > a ? b : a);
	}
}

static bool
negate(Machine *machine, Cell *cell)
{
	switch (check_numbers(machine, cell, 1))
	{
		case OPERANDS_READY:
			cell->number = -cell->number;
			return true;
		case OPERANDS_MISSING:
			return true;
		default:
			return false;
	}
}

static const char *
domain_reason(RuleDomain domain)
{
	switch (domain)
	{
		case DOMAIN_NOT_NEGATIVE:
			return "an argument is negative";
		case DOMAIN_POSITIVE:
			return "an argument is not greater than 0";
		default:
			return "an argument is not between 0 and 1";
	}
}

static bool
call(Machine *machine, Cell *cells, const RuleFunction *function)
{
	double arguments[RULES_ARGUMENTS_MAX];

	for (int i = 0; i < function->narguments; i++)
	{
		RuleDomain domain = function->arguments[i].domain;

		if (cells[i].kind != RULE_NUMBER)
		{
			if (check_numbers(machine, cells + i, function->narguments - i) == OPERANDS_WRONG)
				return false;
			set_missing(cells);
			return true;
		}
		arguments[i] = cells[i].number;
		if (!rule_domain_has(domain, arguments[i]))
			return fail(machine, domain_reason(domain));
	}
	return set_number(machine, cells, function->compute(arguments));
}

const RuleValue *
rule_operand(const Machine *machine, int index)
{
	return operand(machine, index);
}

static bool
age(Machine *machine, Cell *cell, const RuleValue *value)
{
	int64_t time_us;

	if (value->kind == RULE_TIME)
		time_us = value->time_us;
	else if (value->kind == RULE_TEXT && rules_parse_time(value->bytes, &time_us))
		;
	else if (value->has_own_time)
		time_us = value->own_time_us;
	else
	{
		set_missing(cell);
		return true;
	}
	if (time_us == INT64_MIN)
		return fail(machine, "the time is infinitely long ago");
	if (time_us >= machine->now_us)
		return set_number(machine, cell, 0);
	/* unsigned, because the difference of two int64 may need 64 bits */
	return set_number(machine, cell, (double) ((uint64_t) machine->now_us - (uint64_t) time_us) / 1e6);
}

/* ---- what an attribute was ------------------------------------------------------------------ */

static void
changed(const Machine *machine, Cell *cell, int attribute)
{
	RuleChange change = machine->changes != NULL ? machine->changes[attribute] : RULE_CHANGE_UNKNOWN;

	if (change == RULE_CHANGE_UNKNOWN)
		set_missing(cell);
	else
		set_bool(cell, change == RULE_CHANGED);
}

/* present - previous into cells[0]; cells[1] is needed for it. */
static bool
delta(Machine *machine, Cell *cells, int attribute)
{
	return load_value(machine, &cells[0], &machine->values[attribute]) &&
		   load_value(machine, &cells[1], previous_value(machine, attribute)) &&
		   arithmetic(machine, cells, OP_SUBTRACT);
}

static bool
delta_of(Machine *machine, Cell *cell, int attribute)
{
	Cell cells[2];

	if (!delta(machine, cells, attribute))
		return false;
	*cell = cells[0];
	return true;
}

/* Seconds from one time to another; unsigned, because the difference of two int64 may need 64 bits. */
static double
seconds_between(int64_t from_us, int64_t to_us)
{
	return to_us >= from_us ? (double) ((uint64_t) to_us - (uint64_t) from_us) / 1e6
							: -((double) ((uint64_t) from_us - (uint64_t) to_us) / 1e6);
}

/* *cell is the window, and becomes delta * window / seconds. */
static bool
rate(Machine *machine, Cell *cell, int attribute)
{
	const RuleValue *now = &machine->values[attribute];
	const RuleValue *then = previous_value(machine, attribute);
	Operands window = check_numbers(machine, cell, 1);
	Cell change[2];

	if (window == OPERANDS_WRONG || !delta(machine, change, attribute))
		return false;
	if (window == OPERANDS_MISSING || change[0].kind == RULE_MISSING || !now->has_own_time ||
		!then->has_own_time)
	{
		set_missing(cell);
		return true;
	}
	if (!(cell->number > 0))
		return fail(machine, domain_reason(DOMAIN_POSITIVE));
	if (now->own_time_us == then->own_time_us)
		return fail(machine, "the value and the one before it are of the same time");
	return set_number(machine, cell,
					  change[0].number * cell->number / seconds_between(then->own_time_us, now->own_time_us));
}

/* ---- comparisons --------------------------------------------------------------------------- */

static bool
text_time(const Cell *text, int64_t *time_us)
{
	if (!text->has_time)
		return rules_parse_time(text->bytes, time_us);
	*time_us = text->text_time_us;
	return true;
}

static int
time_order(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static bool
order_time_text(Machine *machine, const Cell *time, const Cell *text, int *order)
{
	int64_t time_us;

	if (!text_time(text, &time_us))
		return fail(machine, "a time is compared with text that is no time");
	*order = time_order(time->time_us, time_us);
	return true;
}

static bool
order_cells(Machine *machine, const Cell *a, const Cell *b, int *order)
{
	if (a->kind == RULE_TIME && b->kind == RULE_TEXT)
		return order_time_text(machine, a, b, order);
	if (a->kind == RULE_TEXT && b->kind == RULE_TIME)
	{
		bool ok = order_time_text(machine, b, a, order);

		*order = -*order;
		return ok;
	}
	if (a->kind != b->kind)
		return fail(machine, "wrong type: two values of different kinds are compared");
	switch (a->kind)
	{
		case RULE_NUMBER:
			*order = a->number < b->number ? -1 : a->number > b->number;
			return true;
		case RULE_TEXT:
			*order = rule_text_order(a->bytes, b->bytes);
			return true;
		case RULE_BOOL:
			*order = (int) a->boolean - (int) b->boolean;
			return true;
		case RULE_TIME:
			*order = time_order(a->time_us, b->time_us);
			return true;
		default:
			return fail(machine, "wrong type: a value that cannot be compared");
	}
}

static bool
compare(Machine *machine, Cell *cells, RuleSymbol symbol)
{
	int order = 0;
	RuleKind kind = cells[0].kind;

	if (kind == RULE_NUMBER && cells[1].kind == RULE_NUMBER)
		order = cells[0].number < cells[1].number ? -1 : cells[0].number > cells[1].number;
	else if (kind == RULE_MISSING || cells[1].kind == RULE_MISSING)
	{
		set_missing(cells);
		return true;
	}
	else if (!order_cells(machine, &cells[0], &cells[1], &order))
		return false;
	switch (symbol)
	{
		case SYMBOL_EQUAL:
			set_bool(cells, order == 0);
			return true;
		case SYMBOL_NOT_EQUAL:
			set_bool(cells, order != 0);
			return true;
		default:
			break;
	}
	if (kind == RULE_BOOL)
		return fail(machine, "wrong type: true and false have no order");
	set_bool(cells, symbol == SYMBOL_LESS		  ? order < 0
					: symbol == SYMBOL_LESS_EQUAL ? order <= 0
					: symbol == SYMBOL_GREATER	  ? order > 0
												  : order >= 0);
	return true;
}

/* ---- text -------------------------------------------------------------------------------------- */

static bool
match(Machine *machine, Cell *cell, RuleOp op, Slice pattern)
{
	Slice text = cell->bytes;

	if (cell->kind == RULE_MISSING)
		return true;
	if (cell->kind != RULE_TEXT)
		return fail(machine, "wrong type: expected text");
	if (op == OP_PREFIX)
		set_bool(cell, text.len >= pattern.len && memcmp(text.data, pattern.data, pattern.len) == 0);
	else if (text.len > RULES_LIKE_TEXT_BYTES_MAX)
		return fail(machine, "the text is too long for like");
	else
		set_bool(cell, rule_pattern_matches(pattern, text));
	return true;
}

/* ---- tables -------------------------------------------------------------------------------- */

static RuleLiteral
cell_literal(const Cell *cell)
{
	RuleLiteral literal = {.kind = cell->kind};

	if (cell->kind == RULE_NUMBER)
		literal.number = cell->number;
	else if (cell->kind == RULE_TEXT)
		literal.text = cell->bytes;
	else
		literal.boolean = cell->boolean;
	return literal;
}

/* The last entry that is not above the key, or -1. Tables are sorted. */
static int
table_find(const RuleTable *table, const RuleLiteral *key)
{
	int low = 0;
	int high = table->n;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (rule_literal_order(&table->entries[middle].key, key) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low - 1;
}

int
rule_table_find(const RuleTable *table, double number)
{
	return table_find(table, &(RuleLiteral){.kind = RULE_NUMBER, .number = number});
}

static const RuleEntry *
table_exact(const RuleTable *table, const RuleLiteral *key)
{
	int i = table_find(table, key);

	return i >= 0 && rule_literal_order(&table->entries[i].key, key) == 0 ? &table->entries[i] : NULL;
}

static bool
time_in_table(const RuleTable *table, int64_t time_us)
{
	for (int i = 0; i < table->n; i++)
		if (table->entries[i].key.has_time && table->entries[i].key.time_us == time_us)
			return true;
	return false;
}

static bool
in_table(Machine *machine, Cell *cell, const RuleTable *table)
{
	RuleLiteral key;

	if (cell->kind == RULE_MISSING)
		return true;
	if (cell->kind == RULE_TIME && table->kind == RULE_TEXT)
	{
		set_bool(cell, time_in_table(table, cell->time_us));
		return true;
	}
	if (cell->kind != table->kind)
		return fail(machine, "wrong type: the value and the list are of different kinds");
	key = cell_literal(cell);
	set_bool(cell, table_exact(table, &key) != NULL);
	return true;
}

static void
set_table_value(Cell *cell, const RuleTable *table, const RuleEntry *entry)
{
	cell->kind = entry != NULL || table->has_other ? RULE_NUMBER : RULE_MISSING;
	cell->number = entry != NULL ? entry->value : table->other;
}

static bool
steps(Machine *machine, Cell *cell, const RuleTable *table)
{
	Operands operands = check_numbers(machine, cell, 1);
	RuleLiteral key;
	int i;

	if (operands != OPERANDS_READY)
		return operands == OPERANDS_MISSING;
	key = cell_literal(cell);
	i = table_find(table, &key);
	set_table_value(cell, table, i >= 0 ? &table->entries[i] : NULL);
	return true;
}

/* Straight from point to point; as at the ends outside them. */
double
rule_interpolate(const RuleTable *table, double x)
{
	int i = rule_table_find(table, x);
	const RuleEntry *from;
	const RuleEntry *to;

	if (i < 0 || i == table->n - 1)
		return table->entries[i < 0 ? 0 : i].value;
	from = &table->entries[i];
	to = from + 1;
	return from->value +
		   (to->value - from->value) * ((x - from->key.number) / (to->key.number - from->key.number));
}

static bool
interpolate(Machine *machine, Cell *cell, const RuleTable *table)
{
	Operands operands = check_numbers(machine, cell, 1);

	if (operands != OPERANDS_READY)
		return operands == OPERANDS_MISSING;
	return set_number(machine, cell, rule_interpolate(table, cell->number));
}

static bool
enumerate(Machine *machine, Cell *cell, const RuleTable *table)
{
	RuleLiteral key;

	if (cell->kind == RULE_MISSING)
		return true;
	if (cell->kind != table->kind)
		return fail(machine, "wrong type: the value and the keys of enum are of different kinds");
	key = cell_literal(cell);
	set_table_value(cell, table, table_exact(table, &key));
	return true;
}

/* ---- list attributes ----------------------------------------------------------------------- */

static bool
element_equals(const Cell *cell, const WireValue *element)
{
	double number;

	switch (cell->kind)
	{
		case RULE_TEXT:
			return element->kind == VALUE_TEXT && slice_equal(element->bytes, cell->bytes);
		case RULE_NUMBER:
			return wire_number(element, &number) && number == cell->number;
		case RULE_BOOL:
			return element->kind == VALUE_BOOL && element->boolean == cell->boolean;
		default:
			return false;
	}
}

/* Elements of another kind, null among them, are merely unequal: lists may be mixed. */
static bool
list_contains(const Cell *cell, Slice list)
{
	WireCursor cursor = wire_cursor(list);
	WireValue element;
	Slice body;

	while (wire_value_next(&cursor, &body))
		if (wire_value(body, &element) && element_equals(cell, &element))
			return true;
	return false;
}

static bool
json_equals(const Cell *cell, const RuleJson *element)
{
	if (cell->kind != element->kind)
		return false;
	return cell->kind == RULE_TEXT	   ? rule_json_text_equal(element->text, cell->bytes)
		   : cell->kind == RULE_NUMBER ? element->number == cell->number
									   : element->boolean == cell->boolean;
}

static bool
json_contains(const Cell *cell, Slice elements)
{
	RuleJson element;

	while (rule_json_next(&elements, &element))
		if (json_equals(cell, &element))
			return true;
	return false;
}

static bool
in_list(Machine *machine, Cell *cell, const RuleValue *list)
{
	if (cell->kind != RULE_MISSING && cell->kind != RULE_TEXT && cell->kind != RULE_NUMBER &&
		cell->kind != RULE_BOOL)
		return fail(machine, "wrong type: a value that no list can hold");
	if (list->kind != RULE_LIST && list->kind != RULE_MISSING)
		return fail(machine, "wrong type: expected a list");
	if (cell->kind == RULE_MISSING || list->kind == RULE_MISSING)
		set_missing(cell);
	else
		set_bool(cell,
				 list->list_is_json ? json_contains(cell, list->bytes) : list_contains(cell, list->bytes));
	return true;
}

/* An element of a list as a key of a table; RULE_OTHER: no table has it. */
static RuleLiteral
element_key(const WireValue *element)
{
	RuleLiteral key = {.kind = RULE_OTHER};

	if (element->kind == VALUE_TEXT)
	{
		key.kind = RULE_TEXT;
		key.text = element->bytes;
	}
	else if (element->kind == VALUE_BOOL)
	{
		key.kind = RULE_BOOL;
		key.boolean = element->boolean;
	}
	else if (wire_number(element, &key.number))
		key.kind = RULE_NUMBER;
	return key;
}

static bool
list_overlaps(const RuleTable *table, Slice list)
{
	WireCursor cursor = wire_cursor(list);
	WireValue element;
	Slice body;

	while (wire_value_next(&cursor, &body))
		if (wire_value(body, &element))
		{
			RuleLiteral key = element_key(&element);

			if (key.kind == table->kind && table_exact(table, &key) != NULL)
				return true;
		}
	return false;
}

/* Text is compared as it stands in JSON: with each, for it has no order there. */
static bool
json_overlaps(const RuleTable *table, Slice elements)
{
	for (int i = 0; i < table->n; i++)
	{
		Cell cell;

		load_literal(&cell, &table->entries[i].key);
		if (json_contains(&cell, elements))
			return true;
	}
	return false;
}

static bool
overlap(Machine *machine, Cell *cell, const RuleValue *list, const RuleTable *table)
{
	if (list->kind != RULE_LIST && list->kind != RULE_MISSING)
		return fail(machine, "wrong type: expected a list");
	if (list->kind == RULE_MISSING)
		set_missing(cell);
	else
		set_bool(cell,
				 list->list_is_json ? json_overlaps(table, list->bytes) : list_overlaps(table, list->bytes));
	return true;
}

static double
list_length(const RuleValue *list)
{
	WireCursor cursor = wire_cursor(list->bytes);
	Slice elements = list->bytes;
	RuleJson element;
	Slice body;
	double n = 0;

	if (list->list_is_json)
		while (rule_json_next(&elements, &element))
			n++;
	else
		while (wire_value_next(&cursor, &body))
			n++;
	return n;
}

static bool
length(Machine *machine, Cell *cell, const RuleValue *value)
{
	switch (value->kind)
	{
		case RULE_MISSING:
			set_missing(cell);
			return true;
		case RULE_TEXT:
			return set_number(machine, cell, (double) rule_characters(value->bytes));
		case RULE_LIST:
			return set_number(machine, cell, list_length(value));
		default:
			return fail(machine, "wrong type: expected a list or text");
	}
}

/* ---- three-valued logic: missing is unknown ------------------------------------------------- */

static inline bool
check_condition(Machine *machine, const Cell *cell)
{
	if (cell->kind == RULE_BOOL || cell->kind == RULE_MISSING)
		return true;
	return fail(machine, "wrong type: expected true or false");
}

static inline bool
is(const Cell *cell, bool boolean)
{
	return cell->kind == RULE_BOOL && cell->boolean == boolean;
}

/* decisive: false for "and", true for "or". */
static bool
join(Machine *machine, Cell *cells, bool decisive)
{
	if (!check_condition(machine, &cells[0]) || !check_condition(machine, &cells[1]))
		return false;
	if (is(&cells[0], decisive) || is(&cells[1], decisive))
		set_bool(cells, decisive);
	else if (cells[0].kind == RULE_MISSING || cells[1].kind == RULE_MISSING)
		set_missing(cells);
	else
		set_bool(cells, !decisive);
	return true;
}

/* a between low and high, which is a >= low and a <= high with all of them computed. */
static bool
between(Machine *machine, Cell *cells)
{
	Cell at_most[2] = {cells[0], cells[2]};

	if (!compare(machine, cells, SYMBOL_GREATER_EQUAL) || !compare(machine, at_most, SYMBOL_LESS_EQUAL))
		return false;
	cells[1] = at_most[0];
	return join(machine, cells, false);
}

static bool
negate_condition(Machine *machine, Cell *cell)
{
	if (!check_condition(machine, cell))
		return false;
	if (cell->kind == RULE_BOOL)
		cell->boolean = !cell->boolean;
	return true;
}

/* ---- the machine --------------------------------------------------------------------------- */

/*
 * Execute from *start up to `to`.  False: machine->reason says why.  That the stack neither overflows
 * nor runs dry is the compiler's promise (RULES_STACK_MAX).
 */
static inline __attribute__((always_inline)) bool
execute(Machine *machine, const RuleProgram *program, int *start, int to, Cell **first_free)
{
	Cell *top = *first_free;
	const RuleInstruction *next = &program->instructions[*start];
	const RuleInstruction *end = &program->instructions[to];

	while (next < end)
	{
		const RuleInstruction *i = next++;
		bool ok = true;

		switch ((RuleOp) i->op)
		{
			case OP_LITERAL:
				load_literal(top++, i->literal);
				break;
			case OP_LOAD:
				ok = load_value(machine, top++, &machine->values[i->index]);
				break;
			case OP_RECALL:
				ok = load_value(machine, top++, operand(machine, i->index));
				break;
			case OP_ADD:
				ok = arithmetic(machine, --top - 1, OP_ADD);
				break;
			case OP_SUBTRACT:
				ok = arithmetic(machine, --top - 1, OP_SUBTRACT);
				break;
			case OP_MULTIPLY:
				ok = arithmetic(machine, --top - 1, OP_MULTIPLY);
				break;
			case OP_DIVIDE:
				ok = arithmetic(machine, --top - 1, OP_DIVIDE);
				break;
			case OP_LEAST:
				ok = arithmetic(machine, --top - 1, OP_LEAST);
				break;
			case OP_GREATEST:
				ok = arithmetic(machine, --top - 1, OP_GREATEST);
				break;
			case OP_NEGATE:
				ok = negate(machine, top - 1);
				break;
			case OP_COMPARE:
				ok = compare(machine, --top - 1, (RuleSymbol) i->index);
				break;
			case OP_IN_TABLE:
				ok = in_table(machine, top - 1, i->table);
				break;
			case OP_IN_LIST:
				ok = in_list(machine, top - 1, operand(machine, i->index));
				break;
			case OP_OVERLAP:
				ok = overlap(machine, top++, operand(machine, i->index), i->table);
				break;
			case OP_BETWEEN:
				top -= 2;
				ok = between(machine, top - 1);
				break;
			case OP_LIKE:
			case OP_PREFIX:
				ok = match(machine, top - 1, (RuleOp) i->op, i->literal->text);
				break;
			case OP_IS_NULL:
				set_bool(top - 1, top[-1].kind == RULE_MISSING);
				break;
			case OP_NOT:
				ok = negate_condition(machine, top - 1);
				break;
			case OP_AND:
			case OP_OR:
				ok = join(machine, --top - 1, i->op == OP_OR);
				break;
			case OP_UNLESS_FALSE:
			case OP_UNLESS_TRUE:
				ok = check_condition(machine, top - 1);
				if (is(top - 1, i->op == OP_UNLESS_TRUE))
					next = &program->instructions[i->index];
				break;
			case OP_BRANCH:
				ok = check_condition(machine, --top);
				if (!is(top, true))
					next = &program->instructions[i->index];
				break;
			case OP_JUMP:
				next = &program->instructions[i->index];
				break;
			case OP_CALL:
				top -= i->index - 1;
				ok = call(machine, top - 1, i->function);
				break;
			case OP_EXISTS:
				set_bool(top++, operand(machine, i->index)->kind != RULE_MISSING);
				break;
			case OP_AGE:
				ok = age(machine, top++, operand(machine, i->index));
				break;
			case OP_LENGTH:
				ok = length(machine, top++, operand(machine, i->index));
				break;
			case OP_CHANGED:
				changed(machine, top++, i->index);
				break;
			case OP_DELTA:
				ok = delta_of(machine, top++, i->index);
				break;
			case OP_RATE:
				ok = rate(machine, top - 1, i->index);
				break;
			case OP_INTERP:
				ok = interpolate(machine, top - 1, i->table);
				break;
			case OP_STEPS:
				ok = steps(machine, top - 1, i->table);
				break;
			case OP_ENUM:
				ok = enumerate(machine, top - 1, i->table);
				break;
		}
		if (!ok)
			return false;
	}
	*start = (int) (next - program->instructions);
	*first_free = top;
	return true;
}

bool
rule_execute(Machine *machine, const RuleProgram *program, int *at, Cell **top)
{
	return execute(machine, program, at, *at + 1, top);
}

/* Run [from, to); its value is left in *result. */
static bool
run(Machine *machine, const RuleProgram *program, int from, int to, Cell *result)
{
	Cell *top = machine->stack;

	if (!execute(machine, program, &from, to, &top))
		return false;
	*result = top[-1];
	return true;
}

/* Whether a condition holds: unknown does not. */
static bool
run_condition(Machine *machine, const RuleProgram *program, int from, int to, bool *holds)
{
	Cell cell;

	if (!run(machine, program, from, to, &cell) || !check_condition(machine, &cell))
		return false;
	*holds = is(&cell, true);
	if (!*holds)
		machine->why = cell.kind == RULE_MISSING ? RULE_OUT_UNKNOWN : RULE_OUT_FALSE;
	return true;
}

/* ---- statements ---------------------------------------------------------------------------- */

BlockOutcome
rule_policy(const RulePolicy *policy, double *value)
{
	*value = policy->value;
	switch (policy->action)
	{
		case POLICY_VALUE:
			return BLOCK_VALUE;
		case POLICY_QUARANTINE:
			return BLOCK_QUARANTINE;
		case POLICY_REJECT:
			return BLOCK_REJECTED;
		default: /* what was known last is missing as well */
			return BLOCK_LEFT_OUT;
	}
}

static BlockOutcome
after_error(Machine *machine, const RuleBlock *block, double *value)
{
	BlockOutcome outcome = rule_policy(&block->on_error, value);

	machine->why = outcome == BLOCK_VALUE		 ? RULE_COUNTS_ERROR
				   : outcome == BLOCK_QUARANTINE ? RULE_OUT_QUARANTINE
												 : RULE_OUT_ERROR;
	return outcome;
}

static BlockOutcome
after_missing(Machine *machine, const RuleBlock *block, double *value)
{
	BlockOutcome outcome = rule_policy(&block->missing, value);

	machine->why = outcome == BLOCK_VALUE	   ? RULE_COUNTS_MISSING
				   : outcome == BLOCK_REJECTED ? RULE_OUT_REJECTED
											   : RULE_OUT_MISSING;
	return outcome;
}

static BlockOutcome
block_evaluate(Machine *machine, const RuleProgram *program, const RuleBlock *block, double *value)
{
	bool holds = true;
	Cell cell;

	if (block->when < block->value && !run_condition(machine, program, block->when, block->value, &holds))
		return after_error(machine, block, value);
	if (!holds)
		return BLOCK_LEFT_OUT;
	if (!run(machine, program, block->value, block->end, &cell))
		return after_error(machine, block, value);
	switch (check_numbers(machine, &cell, 1))
	{
		case OPERANDS_READY:
			machine->why = RULE_COUNTS;
			*value = cell.number;
			return BLOCK_VALUE;
		case OPERANDS_MISSING:
			return after_missing(machine, block, value);
		default:
			return after_error(machine, block, value);
	}
}

static void
quarantine(RuleResult *result, const char *statement, const char *reason)
{
	result->outcome = RULE_QUARANTINE;
	result->score = 0;
	result->statement = statement;
	result->reason = reason;
}

/* True: go on; the item is in the ranking. An item of which `where` cannot be told is not. */
static inline bool
where_holds(Machine *machine, const RuleProgram *program, RuleResult *result, RuleTrace *trace)
{
	const RuleBlock *where = program->where;
	bool holds = false;

	if (where == NULL || machine->allowed)
		return true;
	machine->why = RULE_COUNTS;
	if (!run_condition(machine, program, where->value, where->end, &holds))
	{
		bool stop = where->on_error.action == POLICY_QUARANTINE;

		machine->why = stop ? RULE_OUT_QUARANTINE : RULE_OUT_ERROR;
		if (stop)
			quarantine(result, where->name, machine->reason);
	}
	if (trace != NULL)
		trace->block(trace, machine, where, holds, 0);
	return holds;
}

double
rule_clamp(const RuleProgram *program, double score)
{
	if (!program->has_clamp)
		return score;
	return score < program->clamp_low	 ? program->clamp_low
		   : score > program->clamp_high ? program->clamp_high
										 : score;
}

/* Clamp and round; a sum that is not finite has nothing to leave out, so only a number helps it. */
static inline void
finish_score(const RuleProgram *program, double score, RuleResult *result, RuleTrace *trace)
{
	double clamped;
	double rounded;

	if (!isfinite(score))
	{
		if (program->on_error.action != POLICY_VALUE)
		{
			quarantine(result, "score", isnan(score) ? "the result is not a number" : "overflow");
			return;
		}
		score = program->on_error.value;
	}
	clamped = rule_clamp(program, score);
	rounded = rule_round_by(clamped, program->round, program->round_units);
	result->outcome = RULE_SCORE;
	result->score = rounded == 0 ? 0 : rounded; /* -0 and 0 are one score */
	if (trace != NULL)
	{
		trace->totals.before_clamp = score;
		trace->totals.after_clamp = clamped;
		trace->totals.rounded = result->score;
	}
}

/* What the statements so far come to. */
typedef struct Totals
{
	double terms;
	double weights; /* COMBINE_AVERAGE */
	bool any;		/* a term counted */
	bool overflow;	/* in a way that the result does not show */
	double boosts;
	double factors;
	bool has_tier;
	int tier;
} Totals;

/* Every way but the sum, which is most of all and has no first term. */
static void
combine_term(RuleCombine combine, Totals *totals, double weight, double value)
{
	double weighted = weight * value;

	totals->overflow |= !isfinite(weighted);
	totals->weights += weight;
	if (!totals->any)
		totals->terms = weighted;
	else if (combine == COMBINE_MULTIPLY)
		totals->terms *= weighted;
	else if (combine == COMBINE_AVERAGE)
		totals->terms += weighted;
	else if (combine == COMBINE_GREATEST ? weighted > totals->terms
										 : combine == COMBINE_LEAST && weighted < totals->terms)
		totals->terms = weighted;
	totals->any = true;
}

static inline void
add_block(RuleCombine combine, Totals *totals, const RuleBlock *block, double value)
{
	switch (block->kind)
	{
		case STATEMENT_TERM:
			if (combine == COMBINE_SUM)
				totals->terms += block->weight * value;
			else
				combine_term(combine, totals, block->weight, value);
			break;
		case STATEMENT_BOOST:
			totals->boosts += value;
			break;
		default:
			totals->factors *= value;
	}
}

/* A tier that holds counts if it is the greatest. */
static BlockOutcome
evaluate_tier(Machine *machine, const RuleProgram *program, const RuleBlock *block, Totals *totals)
{
	bool holds = true;

	if (block->when < block->value && !run_condition(machine, program, block->when, block->value, &holds))
	{
		bool stop = block->on_error.action == POLICY_QUARANTINE;

		machine->why = stop ? RULE_OUT_QUARANTINE : RULE_OUT_ERROR;
		return stop ? BLOCK_QUARANTINE : BLOCK_LEFT_OUT;
	}
	if (holds)
		machine->why = RULE_COUNTS;
	if (holds && (!totals->has_tier || block->tier > totals->tier))
	{
		totals->has_tier = true;
		totals->tier = block->tier;
	}
	return BLOCK_LEFT_OUT;
}

/* Block i. *result is filled where the item has no score.  False then. */
static inline bool
add_computed(Machine *machine, const RuleProgram *program, int i, Totals *totals, RuleResult *result,
			 RuleTrace *trace)
{
	const RuleBlock *block = &program->blocks[i];
	double value = 0;
	BlockOutcome outcome = block->kind == STATEMENT_TIER ? evaluate_tier(machine, program, block, totals)
														 : block_evaluate(machine, program, block, &value);

	if (trace != NULL)
		trace->block(trace, machine, block, machine->why <= RULE_COUNTS_ERROR, value);
	switch (outcome)
	{
		case BLOCK_VALUE:
			add_block(program->combine, totals, block, value);
			return true;
		case BLOCK_LEFT_OUT:
			return true;
		case BLOCK_REJECTED:
			return false;
		case BLOCK_QUARANTINE:
			quarantine(result, block->name, machine->reason);
			return false;
	}
	return false;
}

static inline bool
add_blocks(Machine *machine, const RuleProgram *program, Totals *totals, RuleResult *result, RuleTrace *trace)
{
	if (!where_holds(machine, program, result, trace))
		return false;
	for (int i = 0; i < program->nblocks; i++)
		if (!add_computed(machine, program, i, totals, result, trace))
			return false;
	return true;
}

static void
machine_begin(Machine *machine, const RuleProgram *program, const RuleInput *input, Cell *stack)
{
	memset(stack, 0, (size_t) program->stack_cells * sizeof(Cell));
	*machine = (Machine){.values = input->values,
						 .previous = input->previous,
						 .changes = input->changes,
						 .now_us = input->now_us,
						 .allowed = input->allowed,
						 .stack = stack};
}

/* Every block by the machine.  trace: NULL, or who hears of it. */
static __attribute__((noinline)) void
evaluate(const RuleProgram *program, const RuleInput *input, RuleResult *result, RuleTrace *trace)
{
	Cell stack[RULES_STACK_MAX];
	Machine machine;
	Totals totals = {.factors = 1};

	machine_begin(&machine, program, input, stack);
	if (!add_blocks(&machine, program, &totals, result, trace))
		return;
	if (program->combine == COMBINE_AVERAGE && totals.any)
		totals.terms /= totals.weights;
	if (totals.overflow || !isfinite(totals.weights))
		totals.terms = (double) INFINITY;
	if (trace != NULL)
		trace->totals =
			(RuleTotals){.terms = totals.terms, .boosts = totals.boosts, .factors = totals.factors};
	finish_score(program, (totals.terms + totals.boosts) * totals.factors, result, trace);
	result->tier = result->outcome == RULE_SCORE ? totals.tier : 0;
}

/* The usual course stopped before a block: the machine computes that one, and so on. */
static __attribute__((noinline)) void
evaluate_helped(const RuleProgram *program, const RuleInput *input, RuleResult *result, int block,
				const FastSums *begun)
{
	Cell stack[RULES_STACK_MAX];
	Machine machine;
	FastSums sums = *begun;
	Totals totals = {.factors = 1};
	FastOutcome outcome;

	machine_begin(&machine, program, input, stack);
	do
	{
		totals.terms = sums.terms;
		totals.boosts = sums.boosts;
		totals.factors = sums.factors;
		if (block == FAST_WHERE ? !where_holds(&machine, program, result, NULL)
								: !add_computed(&machine, program, block, &totals, result, NULL))
			return;
		sums = (FastSums){totals.terms, totals.boosts, totals.factors};
		block++;
		outcome = rule_fast_run(program->fast, input->values, input->now_us, &block, &sums);
	} while (outcome == FAST_HELP);
	if (outcome == FAST_OUTSIDE)
		return;
	finish_score(program, (sums.terms + sums.boosts) * sums.factors, result, NULL);
	result->tier = result->outcome == RULE_SCORE ? totals.tier : 0;
}

void
rules_evaluate(const RuleProgram *program, const RuleInput *input, RuleResult *result)
{
	FastSums sums = {.factors = 1};
	int block = FAST_WHERE;

	*result = (RuleResult){.outcome = RULE_OUTSIDE};
	if (program->fast == NULL || (input->allowed && program->where != NULL))
	{
		evaluate(program, input, result, NULL);
		return;
	}
	switch (rule_fast_run(program->fast, input->values, input->now_us, &block, &sums))
	{
		case FAST_END:
			finish_score(program, (sums.terms + sums.boosts) * sums.factors, result, NULL);
			return;
		case FAST_OUTSIDE:
			return;
		case FAST_HELP:
			evaluate_helped(program, input, result, block, &sums);
	}
}

void
rule_evaluate_traced(const RuleProgram *program, const RuleInput *input, RuleResult *result, RuleTrace *trace)
{
	*result = (RuleResult){.outcome = RULE_OUTSIDE};
	evaluate(program, input, result, trace);
}
