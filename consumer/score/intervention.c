/*
 * intervention.c -- see intervention.h.
 *
 * A relation keeps lists of those by condition and of its pins; those by key are hashed.  All lists are in order of
 * precedence, so what is collected for an item needs no sorting but a merge.
 */
#include "score/intervention.h"

#include <stdlib.h>

#include "score/pack.h"

#define ROW_FORMAT 1

struct InterventionKey
{
	Intervention *first;
	UT_hash_handle hh;
	uint8_t key[]; /* number of the relation, key of the item */
};

static int
compare(const Intervention *a, const Intervention *b)
{
	const int order = rules_intervention_order(&a->row.rule, &b->row.rule);

	return order != 0 ? order : a->row.id > b->row.id ? -1 : a->row.id < b->row.id;
}

/* ---- by key ------------------------------------------------------------------------------- */

static InterventionKey *
key_find(const Interventions *interventions, const uint8_t *key, size_t len)
{
	InterventionKey *node;

	HASH_FIND(hh, interventions->by_key, key, len, node);
	return node;
}

static uint8_t *
key_make(uint32_t relation, Slice key)
{
	uint8_t *made = xmalloc(sizeof(relation) + key.len);

	memcpy(made, &relation, sizeof(relation));
	memcpy(made + sizeof(relation), key.data, key.len);
	return made;
}

Intervention *
interventions_of_key(const Interventions *interventions, const Relation *relation, Slice key)
{
	InterventionKey *node;
	uint8_t *made;

	if (interventions->by_key == NULL || relation->nsteered == 0 || key.len > INTERVENTION_KEY_BYTES_MAX)
		return NULL;
	made = key_make(relation->number, key);
	node = key_find(interventions, made, sizeof(relation->number) + key.len);
	free(made);
	return node != NULL ? node->first : NULL;
}

static void
key_add(Interventions *interventions, Intervention *one)
{
	const size_t len = sizeof(one->relation->number) + one->row.key.len;
	uint8_t *made = key_make(one->relation->number, one->row.key);
	InterventionKey *node = key_find(interventions, made, len);
	Intervention **at;

	if (node == NULL)
	{
		node = xmalloc(sizeof(*node) + len);
		node->first = NULL;
		memcpy(node->key, made, len);
		HASH_ADD_KEYPTR(hh, interventions->by_key, node->key, len, node);
	}
	free(made);
	for (at = &node->first; *at != NULL && compare(*at, one) < 0; at = &(*at)->next_of_key)
		;
	one->next_of_key = *at;
	*at = one;
}

static void
key_drop(Interventions *interventions, Intervention *one)
{
	uint8_t *made = key_make(one->relation->number, one->row.key);
	InterventionKey *node = key_find(interventions, made, sizeof(one->relation->number) + one->row.key.len);
	Intervention **at;

	free(made);
	for (at = &node->first; *at != one; at = &(*at)->next_of_key)
		;
	*at = one->next_of_key;
	one->next_of_key = NULL;
	if (node->first != NULL)
		return;
	HASH_DEL(interventions->by_key, node);
	free(node);
}

/* ---- lists of a relation ------------------------------------------------------------------- */

static void
list_add(InterventionList *list, Intervention *one)
{
	int at = list->count;

	if (list->count == list->capacity)
	{
		list->capacity = list->capacity * 2 + 8;
		list->list = xrealloc(list->list, (size_t) list->capacity * sizeof(Intervention *));
	}
	for (; at > 0 && compare(one, list->list[at - 1]) < 0; at--)
		list->list[at] = list->list[at - 1];
	list->list[at] = one;
	list->count++;
}

static void
list_drop(InterventionList *list, const Intervention *one)
{
	int kept = 0;

	for (int i = 0; i < list->count; i++)
		if (list->list[i] != one)
			list->list[kept++] = list->list[i];
	list->count = kept;
}

static void
unlink_relation(Interventions *interventions, Intervention *one)
{
	if (one->relation == NULL)
		return;
	one->relation->nsteered--;
	if (one->row.key.len > 0)
		key_drop(interventions, one);
	else
		list_drop(&one->relation->conditions, one);
	if (one->row.rule.action == INTERVENE_PIN)
		list_drop(&one->relation->pins, one);
	if (one->binding.memory != NULL)
		arena_destroy(one->binding.memory);
	one->binding = (RankingBinding){0};
	one->relation = NULL;
}

bool
intervention_link(Interventions *interventions, Intervention *one, Relation *relation, RuleError *error)
{
	bool bound = true;

	unlink_relation(interventions, one);
	if (relation == NULL)
		return true;
	one->relation = relation;
	relation->nsteered++;
	if (one->row.key.len > 0)
		key_add(interventions, one);
	else
	{
		bound = ranking_bind(one->program.program, relation, &one->binding, error);
		if (!bound)
			one->binding = (RankingBinding){0};
		list_add(&relation->conditions, one);
	}
	if (one->row.rule.action == INTERVENE_PIN)
		list_add(&relation->pins, one);
	return bound;
}

/* ---- the registry ------------------------------------------------------------------------- */

/* The first with that id or a greater one. */
static int
find_place(const Interventions *interventions, int64_t id)
{
	int low = 0;
	int high = interventions->count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (interventions->list[middle]->row.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

Intervention *
interventions_find(const Interventions *interventions, int64_t id)
{
	int at = find_place(interventions, id);

	return at < interventions->count && interventions->list[at]->row.id == id ? interventions->list[at]
																			  : NULL;
}

static void
registry_add(Interventions *interventions, Intervention *one)
{
	int at = find_place(interventions, one->row.id);

	if (interventions->count == interventions->capacity)
	{
		interventions->capacity = interventions->capacity * 2 + 16;
		interventions->list =
			xrealloc(interventions->list, (size_t) interventions->capacity * sizeof(Intervention *));
	}
	memmove(interventions->list + at + 1, interventions->list + at,
			(size_t) (interventions->count - at) * sizeof(Intervention *));
	interventions->list[at] = one;
	interventions->count++;
}

static void
registry_drop(Interventions *interventions, const Intervention *one)
{
	int at = find_place(interventions, one->row.id);

	interventions->count--;
	memmove(interventions->list + at, interventions->list + at + 1,
			(size_t) (interventions->count - at) * sizeof(Intervention *));
}

static void
intervention_free(Intervention *one)
{
	if (one->program.memory != NULL)
		arena_destroy(one->program.memory);
	free(one->texts);
	free(one);
}

/* One block holds all texts. */
static Slice
keep_text(uint8_t **at, Slice text)
{
	Slice kept = slice_make(*at, text.len);

	if (text.len > 0)
		memcpy(*at, text.data, text.len);
	*at += text.len;
	return kept;
}

static void
keep_texts(Intervention *one)
{
	InterventionRow *row = &one->row;
	uint8_t *at =
		xmalloc(row->schema.len + row->table.len + row->ranking.len + row->key.len + row->condition.len + 1);

	one->texts = at;
	row->schema = keep_text(&at, row->schema);
	row->table = keep_text(&at, row->table);
	row->ranking = keep_text(&at, row->ranking);
	row->key = keep_text(&at, row->key);
	row->condition = keep_text(&at, row->condition);
}

/* A condition is the `where` of a ranking that has nothing else. */
static bool
compile_condition(Slice condition, RankingProgram *program, RuleError *error)
{
	Buffer text = {0};
	bool ok;

	buffer_printf(&text, "where ");
	buffer_append_slice(&text, condition);
	buffer_printf(&text, "\nterm it 0\n");
	ok = ranking_compile(buffer_slice(&text), NULL, program, error);
	buffer_free(&text);
	return ok;
}

static void
forget(Interventions *interventions, Intervention *one)
{
	unlink_relation(interventions, one);
	registry_drop(interventions, one);
	intervention_free(one);
}

Intervention *
interventions_set(Interventions *interventions, const InterventionRow *row, RuleError *error)
{
	Intervention *before = interventions_find(interventions, row->id);
	Intervention *one = xcalloc(1, sizeof(*one));

	one->row = *row;
	if (row->key.len == 0 && !compile_condition(row->condition, &one->program, error))
	{
		intervention_free(one);
		return NULL;
	}
	keep_texts(one);
	if (before != NULL)
		forget(interventions, before);
	registry_add(interventions, one);
	return one;
}

static Slice
id_key(int64_t id, uint8_t bytes[8])
{
	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t) ((uint64_t) id >> (56 - 8 * i));
	return slice_make(bytes, 8);
}

bool
interventions_remove(Interventions *interventions, Intervention *one, Error *err)
{
	uint8_t key[8];
	bool found;

	if (!store_delete(interventions->store, STORE_INTERVENTION, id_key(one->row.id, key), &found, err))
		return error_wrap(err, "intervention %lld", (long long) one->row.id);
	forget(interventions, one);
	return true;
}

void
interventions_free(Interventions *interventions)
{
	while (interventions->count > 0)
		forget(interventions, interventions->list[interventions->count - 1]);
	free(interventions->list);
}

/* ---- pins --------------------------------------------------------------------------------- */

/* Whether the item has a pin in force in the ranking that comes before this one. */
static bool
is_outdone(const Intervention *pin, const Interventions *interventions, const Ranking *ranking,
		   int64_t now_us)
{
	for (const Intervention *one = interventions_of_key(interventions, pin->relation, pin->row.key);
		 one != NULL && one != pin; one = one->next_of_key)
		if (one->row.rule.action == INTERVENE_PIN && intervention_concerns(one, ranking) &&
			intervention_in_force(one, now_us))
			return true;
	return false;
}

/* The first position from `wish` on that nobody has, which is taken by that. */
static int32_t
take_position(uint8_t *taken, int32_t positions, int32_t wish)
{
	int32_t position = wish;

	while (position < positions && (taken[position / 8] >> position % 8 & 1))
		position++;
	if (position < positions)
		taken[position / 8] |= (uint8_t) (1u << position % 8);
	return position;
}

int32_t
intervention_position(const Interventions *interventions, const Intervention *pin, const Ranking *ranking,
					  int64_t now_us)
{
	const InterventionList *pins = &pin->relation->pins;
	const int32_t positions = INTERVENTION_POSITION_MAX + 1 + pins->count;
	uint8_t *taken = xcalloc((size_t) positions / 8 + 1, 1);
	int32_t position = pin->row.rule.pin;

	for (int i = 0; i < pins->count; i++)
	{
		const Intervention *one = pins->list[i];

		if (intervention_concerns(one, ranking) && intervention_in_force(one, now_us) &&
			!is_outdone(one, interventions, ranking, now_us))
			position = take_position(taken, positions, one->row.rule.pin);
		if (one == pin)
			break;
	}
	free(taken);
	return position;
}

/* ---- rows --------------------------------------------------------------------------------- */

static void
intervention_pack(const InterventionRow *row, Buffer *out)
{
	pack_number(out, ROW_FORMAT);
	pack_number(out, wire_zigzag(row->id));
	pack_bytes(out, row->schema);
	pack_bytes(out, row->table);
	pack_bytes(out, row->ranking);
	pack_bytes(out, row->key);
	pack_bytes(out, row->condition);
	pack_number(out, row->rule.action);
	pack_number(out, row->rule.has_tier);
	pack_number(out, wire_zigzag(row->rule.tier));
	pack_number(out, wire_zigzag(row->rule.pin));
	pack_number(out, wire_zigzag(row->rule.priority));
	buffer_append(out, &row->rule.factor, sizeof(double));
	buffer_append(out, &row->rule.addend, sizeof(double));
	buffer_append(out, &row->rule.score, sizeof(double));
	buffer_append_u64(out, row->rule.order);
	buffer_append_u64(out, (uint64_t) row->from_us);
	buffer_append_u64(out, (uint64_t) row->until_us);
}

static bool
unpack_signed(WireCursor *cursor, int32_t *number)
{
	uint64_t wide;

	if (!unpack_number(cursor, &wide))
		return false;
	*number = (int32_t) wire_unzigzag(wide);
	return true;
}

static bool
unpack_bits(WireCursor *cursor, void *eight)
{
	uint64_t bits;

	if (!unpack_u64(cursor, &bits))
		return false;
	memcpy(eight, &bits, sizeof(bits));
	return true;
}

static bool
intervention_unpack(Slice value, InterventionRow *row)
{
	WireCursor cursor = wire_cursor(value);
	uint64_t id;
	uint32_t format;
	uint32_t action;
	uint32_t has_tier;

	if (!unpack_small(&cursor, ROW_FORMAT, &format) || !unpack_number(&cursor, &id) ||
		!unpack_bytes(&cursor, &row->schema) || !unpack_bytes(&cursor, &row->table) ||
		!unpack_bytes(&cursor, &row->ranking) || !unpack_bytes(&cursor, &row->key) ||
		!unpack_bytes(&cursor, &row->condition) || !unpack_small(&cursor, INTERVENE_ACTIONS - 1, &action) ||
		!unpack_small(&cursor, 1, &has_tier) || !unpack_signed(&cursor, &row->rule.tier) ||
		!unpack_signed(&cursor, &row->rule.pin) || !unpack_signed(&cursor, &row->rule.priority) ||
		!unpack_bits(&cursor, &row->rule.factor) || !unpack_bits(&cursor, &row->rule.addend) ||
		!unpack_bits(&cursor, &row->rule.score) || !unpack_bits(&cursor, &row->rule.order) ||
		!unpack_bits(&cursor, &row->from_us) || !unpack_bits(&cursor, &row->until_us))
		return false;
	row->id = wire_unzigzag(id);
	row->rule.action = (RuleAction) action;
	row->rule.has_tier = has_tier;
	return true;
}

bool
intervention_save(Interventions *interventions, const Intervention *one, Error *err)
{
	Buffer value = {0};
	uint8_t key[8];
	bool ok;

	intervention_pack(&one->row, &value);
	ok = store_put(interventions->store, STORE_INTERVENTION, id_key(one->row.id, key), buffer_slice(&value),
				   err);
	buffer_free(&value);
	return ok || error_wrap(err, "intervention %lld", (long long) one->row.id);
}

/*
 * One that does not compile any more (another engine) is left out of everything; its row is still there for the unit
 * that names the engine.
 */
bool
interventions_load(Interventions *interventions, Store *store, Error *err)
{
	uint8_t from[8];
	bool first = true;
	RuleError error;

	memset(interventions, 0, sizeof(*interventions));
	interventions->store = store;
	for (;;)
	{
		InterventionRow row = {0};
		Slice key;
		Slice value;
		bool found;

		if (!store_seek(store, STORE_INTERVENTION, slice_make(from, first ? 0 : 8), !first, &key, &value,
						&found, err))
			return error_wrap(err, "interventions");
		if (!found)
			return true;
		if (key.len != sizeof(from) || !intervention_unpack(value, &row))
			return error_set(err, ERR_REFUSE, "unreadable store row of an intervention");
		memcpy(from, key.data, sizeof(from));
		first = false;
		(void) interventions_set(interventions, &row, &error);
	}
}
