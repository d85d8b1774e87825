/*
 * whatif.c -- see whatif.h.
 */
#include "cli/whatif.h"

#include "base/clock.h"
#include "score/image.h"
#include "score/item.h"
#include "score/watch.h"

#define ARENA_BYTES (64 * 1024)

/* ---- which ranking, over what ------------------------------------------------------------------ */

static bool
no_relation(const WhatIf *whatif, const Definition *definition, const char *name, Error *err)
{
	Buffer known = {0};

	for (uint32_t i = 0; i < whatif->rankings.count; i++)
		buffer_printf(&known, "%s%s", known.len > 0 ? ", " : "", whatif->rankings.list[i]->name);
	error_set(err, ERR_CONFIG, "there is no ranking \"%.63s\", and %s does not say which table it would rank",
			  name, definition->path);
	error_hint(
		err, "Name one with --ranking (%.*s), or begin the file with: # ranking \"%.63s\" over schema.table",
		(int) known.len, known.len > 0 ? (char *) known.data : "there is none", name);
	buffer_free(&known);
	return false;
}

static bool
find_relation(WhatIf *whatif, const Definition *definition, const char *name, Error *err)
{
	char schema[IDENTIFIER_BYTES] = "";
	char table[IDENTIFIER_BYTES] = "";
	const Ranking *live = whatif->live;

	if (definition->relation == NULL && live == NULL)
		return no_relation(whatif, definition, name, err);
	if (definition->relation != NULL && !watch_parse(slice_string(definition->relation), schema, table))
		return error_set(err, ERR_CONFIG, "%s: \"%s\" is no name of a table", definition->path,
						 definition->relation);
	if (definition->relation != NULL && live != NULL &&
		(strcmp(schema, live->schema) != 0 || strcmp(table, live->table) != 0))
	{
		error_set(err, ERR_CONFIG, "ranking \"%s\" is over %s.%s, and %s is over %s", live->name,
				  live->schema, live->table, definition->path, definition->relation);
		return error_hint(err, "Two rankings of different tables have nothing in common to compare.");
	}
	whatif->relation =
		relations_by_name(&whatif->relations, slice_string(live != NULL ? live->schema : schema),
						  slice_string(live != NULL ? live->table : table));
	if (whatif->relation != NULL && whatif->relation->watched && whatif->relation->current != NULL)
		return true;
	error_set(err, ERR_CONFIG, "the store has no items of %s.%s", live != NULL ? live->schema : schema,
			  live != NULL ? live->table : table);
	return error_hint(err, "Is the table watched, and was the snapshot made since?");
}

static RuleValue *
values_for(const RuleProgram *program, Arena *arena)
{
	const RuleAttribute *attributes;

	return arena_alloc(arena, ((size_t) rules_attributes(program, &attributes) + 1) * sizeof(RuleValue));
}

static bool
compile(WhatIf *whatif, const Definition *definition, Error *err)
{
	Slice text = buffer_slice(&definition->text);
	RuleError error;

	whatif->after.program = definition_compile(text, whatif->memory, &error);
	if (whatif->after.program != NULL)
		whatif->after.binding = definition_bind(text, whatif->after.program, &whatif->relation->current->head,
												slice_string(whatif->relation->map), whatif->memory, &error);
	if (whatif->after.binding == NULL)
		return definition_error(err, definition->path, &error);
	whatif->after.values = values_for(whatif->after.program, whatif->memory);
	return true;
}

bool
whatif_open(WhatIf *whatif, Store *store, const Definition *definition, const char *name, Error *err)
{
	*whatif = (WhatIf){.store = store, .memory = arena_create(ARENA_BYTES)};
	comparison_begin(&whatif->comparison);
	if (!relations_load(&whatif->relations, store, err) ||
		!rankings_load(&whatif->rankings, store, &whatif->relations, err))
		return false;
	whatif->live = rankings_by_name(&whatif->rankings, slice_string(name));
	if (whatif->live != NULL && whatif->live->relation == NULL && whatif->live->schema[0] == '\0')
		whatif->live = NULL; /* it never worked */
	if (!find_relation(whatif, definition, name, err) || !compile(whatif, definition, err))
		return false;
	if (whatif->live != NULL && whatif->live->binding != NULL)
		whatif->before = (WhatIfSide){.program = whatif->live->program,
									  .binding = whatif->live->binding,
									  .values = values_for(whatif->live->program, whatif->memory)};
	return true;
}

void
whatif_close(WhatIf *whatif)
{
	comparison_free(&whatif->comparison);
	rankings_free(&whatif->rankings);
	relations_free(&whatif->relations);
	if (whatif->memory != NULL)
		arena_destroy(whatif->memory);
	buffer_free(&whatif->remapped);
	buffer_free(&whatif->spare);
	*whatif = (WhatIf){0};
}

/* ---- items ------------------------------------------------------------------------------------ */

bool
whatif_image(WhatIf *whatif, Slice value, Slice *image, bool *known, Error *err)
{
	Relation *relation = whatif->relation;
	Version *from;
	Item item;

	*known = false;
	if (!item_open(value, &item))
		return error_set(err, ERR_REFUSE, "unreadable item of relation %u", relation->number);
	*image = item.image;
	*known = item.whole;
	if (!item.whole || item.fingerprint == relation->current->fingerprint)
		return true;
	/* reading a descriptor may move what was read before it */
	buffer_reset(&whatif->spare);
	buffer_append_slice(&whatif->spare, item.image);
	if (!relations_version(&whatif->relations, item.fingerprint, &from, err))
		return false;
	if (from == NULL ||
		!image_remap(&whatif->remapped, buffer_slice(&whatif->spare), from, relation->current))
		return error_set(err, ERR_REFUSE, "unreadable item of relation %u", relation->number);
	*image = buffer_slice(&whatif->remapped);
	*known = image_unknown(*image) < 0;
	return true;
}

RuleResult
whatif_evaluate(const WhatIfSide *side, Slice key, Slice image, int64_t at_us)
{
	RuleResult result = {.outcome = RULE_OUTSIDE};

	if (side->program == NULL)
		return result;
	if (!rules_fill(side->binding, key, image, side->values))
		return (RuleResult){.outcome = RULE_QUARANTINE, .statement = "", .reason = "undecodable"};
	rules_evaluate(side->program, &(RuleInput){.values = side->values, .now_us = at_us - PG_EPOCH_US},
				   &result);
	return result;
}

bool
whatif_find(WhatIf *whatif, Slice key, Slice *image, bool *found, Error *err)
{
	Slice value;

	if (!store_item_get(whatif->store, whatif->relation->number, key, &value, found, err))
		return false;
	return !*found || whatif_image(whatif, value, image, found, err);
}

static bool
take_item(WhatIf *whatif, Slice key, Slice value, Error *err)
{
	RuleResult before;
	RuleResult after;
	Slice image;
	bool known;

	whatif->items++;
	if (!whatif_image(whatif, value, &image, &known, err))
		return false;
	whatif->incomplete += !known;
	if (!known)
		return true;
	before = whatif_evaluate(&whatif->before, key, image, whatif->at_us);
	after = whatif_evaluate(&whatif->after, key, image, whatif->at_us);
	whatif->before.quarantined += before.outcome == RULE_QUARANTINE;
	whatif->after.quarantined += after.outcome == RULE_QUARANTINE;
	return comparison_add(&whatif->comparison, key, before.outcome == RULE_SCORE ? &before.score : NULL,
						  after.outcome == RULE_SCORE ? &after.score : NULL) ||
		   error_set(err, ERR_REFUSE, "there are too many items to compare");
}

bool
whatif_run(WhatIf *whatif, int64_t at_us, Error *err)
{
	StoreCursor cursor = {0};
	Slice key;
	Slice value;
	bool done;

	whatif->at_us = at_us;
	for (;;)
	{
		if (!store_item_next(whatif->store, whatif->relation->number, &cursor, &key, &value, &done, err))
			return false;
		if (done)
			break;
		if (!take_item(whatif, key, value, err))
			return false;
	}
	comparison_finish(&whatif->comparison);
	return true;
}
