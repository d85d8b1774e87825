/*
 * whatif.c -- see whatif.h.
 */
#include "cli/whatif.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool
define(WhatIf *whatif, const Definition *definition, Error *err)
{
	Slice text = buffer_slice(&definition->text);
	const RuleProgram *program;
	RuleError error;

	if (trial_define(whatif->trial, text, &program, &error))
		return true;
	if (program != NULL)
		definition_locate(text, program, whatif->info.relation, slice_string(whatif->info.map), &error);
	return definition_error(err, definition->path, &error);
}

bool
whatif_open(WhatIf *whatif, Store *store, const Definition *definition, const char *name, Error *err)
{
	*whatif = (WhatIf){0};
	comparison_begin(&whatif->comparison);
	if (!trial_create(store, name, definition->relation, &whatif->trial, err))
		return error_wrap(err, "%s", definition->path);
	trial_info(whatif->trial, &whatif->info);
	return define(whatif, definition, err);
}

void
whatif_close(WhatIf *whatif)
{
	comparison_free(&whatif->comparison);
	trial_destroy(whatif->trial);
	*whatif = (WhatIf){0};
}

static bool
take_item(WhatIf *whatif, const TrialItem *item, Error *err)
{
	Standing standing[TRIAL_SIDES];

	whatif->items++;
	whatif->incomplete += !item->known;
	for (int side = 0; side < TRIAL_SIDES; side++)
	{
		const TrialStanding *stands = &item->standing[side];

		whatif->quarantined[side] += stands->quarantined;
		standing[side] = (Standing){stands->score, stands->tier, stands->pin};
	}
	return comparison_add(&whatif->comparison, item->key,
						  item->standing[TRIAL_BEFORE].shown ? &standing[TRIAL_BEFORE] : NULL,
						  item->standing[TRIAL_AFTER].shown ? &standing[TRIAL_AFTER] : NULL) ||
		   error_set(err, ERR_REFUSE, "there are too many items to compare");
}

bool
whatif_run(WhatIf *whatif, int64_t at_us, Error *err)
{
	TrialItem item;
	bool done;

	whatif->at_us = at_us;
	trial_begin(whatif->trial, at_us);
	for (;;)
	{
		if (!trial_next(whatif->trial, &item, &done, err))
			return false;
		if (done)
			break;
		if (!take_item(whatif, &item, err))
			return false;
	}
	comparison_finish(&whatif->comparison);
	return true;
}

/* ---- which statement -------------------------------------------------------------------------- */

/* What a statement does to the score, as a number of points of it. */
typedef struct Effect
{
	char name[80];
	RuleLineKind kind;
	double by[TRIAL_SIDES];
} Effect;

/* Statements of both sides; one that has the same kind and name on both is the same. */
typedef struct Effects
{
	Effect *list;
	size_t count;
	TrialSide side;
	bool outside[TRIAL_SIDES]; /* `where` does not hold */
} Effects;

static Effect *
effect_of(Effects *effects, const RuleLine *line)
{
	Effect *effect;

	for (size_t i = 0; i < effects->count; i++)
	{
		effect = &effects->list[i];
		/* the second boost meets the second one of the other side */
		if (effect->kind == line->kind && strcmp(effect->name, line->name) == 0 &&
			isnan(effect->by[effects->side]))
			return effect;
	}
	effects->list = xrealloc(effects->list, (effects->count + 1) * sizeof(*effects->list));
	effect = &effects->list[effects->count++];
	*effect = (Effect){.kind = line->kind, .by = {NAN, NAN}};
	snprintf(effect->name, sizeof(effect->name), "%s", line->name);
	return effect;
}

static void
take_line(void *context, const RuleLine *line)
{
	Effects *effects = context;

	if (line->kind == RULE_LINE_WHERE)
		effects->outside[effects->side] = !line->counts;
	if (line->kind == RULE_LINE_WHERE || line->kind == RULE_LINE_TIER)
		return;
	effect_of(effects, line)->by[effects->side] =
		line->kind == RULE_LINE_FACTOR ? (line->counts ? line->contribution : 1) : line->contribution;
}

/* Now that all is known: a term counts times the factors, a factor for what it adds to the sum of the others. */
static void
take_totals(void *context, const RuleTotals *totals, const RuleResult *result)
{
	Effects *effects = context;
	const double sum = totals->terms + totals->boosts;

	for (size_t i = 0; i < effects->count; i++)
	{
		Effect *effect = &effects->list[i];
		double *by = &effect->by[effects->side];

		if (isnan(*by))
			continue;
		if (effect->kind == RULE_LINE_FACTOR)
			*by = *by != 0 ? sum * totals->factors * (1 - 1 / *by) : -sum;
		else if (effect->kind == RULE_LINE_TERM || effect->kind == RULE_LINE_BOOST)
			*by *= totals->factors;
	}
}

static bool
explain(WhatIf *whatif, Slice key, TrialSide side, Effects *effects, Error *err)
{
	const RuleExplainer explainer = {take_line, take_totals, effects};
	bool found;

	effects->side = side;
	return trial_explain(whatif->trial, side, key, &explainer, &found, err);
}

static void
greatest(const Effects *effects, Responsible *responsible)
{
	for (size_t i = 0; i < effects->count; i++)
	{
		const Effect *effect = &effects->list[i];
		double by = (isnan(effect->by[TRIAL_AFTER]) ? 0 : effect->by[TRIAL_AFTER]) -
					(isnan(effect->by[TRIAL_BEFORE]) ? 0 : effect->by[TRIAL_BEFORE]);

		if (!isfinite(by) || fabs(by) <= fabs(responsible->by))
			continue;
		responsible->by = by;
		snprintf(responsible->name, sizeof(responsible->name), "%s", effect->name);
	}
}

bool
whatif_responsible(WhatIf *whatif, const ComparedItem *item, Responsible *responsible, Error *err)
{
	Effects effects = {0};
	bool ok = explain(whatif, item->key, TRIAL_BEFORE, &effects, err) &&
			  explain(whatif, item->key, TRIAL_AFTER, &effects, err);

	*responsible = (Responsible){0};
	if (ok && effects.outside[TRIAL_BEFORE] != effects.outside[TRIAL_AFTER])
		snprintf(responsible->name, sizeof(responsible->name), "where");
	else if (ok && item->place_before > 0 && item->place_after > 0 && item->before.tier != item->after.tier)
		snprintf(responsible->name, sizeof(responsible->name), "tier");
	else if (ok)
		greatest(&effects, responsible);
	free(effects.list);
	return ok;
}
