/*
 * explain.c -- how a score came about: see rules_explain() in rules.h.
 *
 * It listens to the machine while that evaluates, and adds to what it hears only what is written.
 */
#include "machine.h"
#include "traits.h"

typedef struct Explanation
{
	RuleTrace trace; /* first, so that the machine's pointer to it is one to this */
	const RuleProgram *program;
	const RuleExplainer *explainer;
	int told;	/* blocks */
	int source; /* the next one to look at */
	uint16_t attributes[RULES_ATTRIBUTES_MAX];
} Explanation;

static const struct
{
	const char *word;
	RuleLineKind kind;
} kinds[] = {
	[STATEMENT_WHERE] = {"where", RULE_LINE_WHERE}, [STATEMENT_TERM] = {"term", RULE_LINE_TERM},
	[STATEMENT_BOOST] = {"boost", RULE_LINE_BOOST}, [STATEMENT_FACTOR] = {"factor", RULE_LINE_FACTOR},
	[STATEMENT_TIER] = {"tier", RULE_LINE_TIER},
};

static const char *const combines[] = {
	[COMBINE_SUM] = "sum",		[COMBINE_MULTIPLY] = "mult", [COMBINE_AVERAGE] = "avg",
	[COMBINE_GREATEST] = "max", [COMBINE_LEAST] = "min",	 [COMBINE_FIRST] = "first",
};

/* ---- what is written ------------------------------------------------------------------------- */

static const RuleSource *
find_word(const RuleProgram *program, int from, const char *word)
{
	for (int i = from; i < program->nsources; i++)
		if (slice_equal(program->sources[i].word, slice_string(word)))
			return &program->sources[i];
	return NULL;
}

static void
set_source(RuleLine *line, const RuleSource *source)
{
	line->text = source != NULL ? source->text : slice_make(NULL, 0);
	line->line = source != NULL ? source->line : 0;
}

/* Blocks are in the order of their statements, where aside, of which there is one. */
static void
set_block_source(Explanation *explanation, RuleLine *line, const RuleBlock *block)
{
	const RuleProgram *program = explanation->program;
	const RuleSource *source =
		find_word(program, block == program->where ? 0 : explanation->source, kinds[block->kind].word);

	if (block != program->where && source != NULL)
		explanation->source = (int) (source - program->sources) + 1;
	set_source(line, source);
}

static void
set_attributes(Explanation *explanation, RuleLine *line, const RuleBlock *block)
{
	const RuleProgram *program = explanation->program;
	bool read[RULES_ATTRIBUTES_MAX] = {false};

	for (int i = block->when; i < block->end; i++)
		if (rule_op_traits((RuleOp) program->instructions[i].op)->reads_attribute)
			read[program->instructions[i].index & OPERAND_ATTRIBUTE] = true;
	line->nattributes = 0;
	for (int i = 0; i < program->nattributes; i++)
		if (read[i])
			explanation->attributes[line->nattributes++] = (uint16_t) i;
	line->attributes = explanation->attributes;
}

/* ---- what is heard --------------------------------------------------------------------------- */

static bool
has_reason(RuleWhy why)
{
	return why == RULE_COUNTS_ERROR || why == RULE_OUT_ERROR || why == RULE_OUT_QUARANTINE;
}

static void
tell_block(Explanation *explanation, const RuleBlock *block, RuleWhy why, const char *reason, bool counts,
		   double value)
{
	RuleLine line = {.kind = kinds[block->kind].kind, .name = block->name, .counts = counts, .why = why};

	line.weight = block->weight;
	line.reason = has_reason(why) ? reason : NULL;
	line.has_value = counts && block->kind != STATEMENT_WHERE;
	line.value = !line.has_value ? 0 : block->kind == STATEMENT_TIER ? block->tier : value;
	line.contribution = block->kind == STATEMENT_TERM && counts ? block->weight * value
						: block->kind == STATEMENT_TIER			? 0
																: line.value;
	set_block_source(explanation, &line, block);
	set_attributes(explanation, &line, block);
	explanation->explainer->line(explanation->explainer->context, &line);
}

static void
hear_block(RuleTrace *trace, const Machine *machine, const RuleBlock *block, bool counts, double value)
{
	Explanation *explanation = (Explanation *) trace;

	if (block != explanation->program->where)
		explanation->told++;
	tell_block(explanation, block, machine->why, machine->reason, counts, value);
}

/* clamp and round, where they are written: by how much they moved the score. */
static void
tell_setting(Explanation *explanation, const char *word, RuleLineKind kind, bool computed, double before,
			 double after)
{
	const RuleSource *source = find_word(explanation->program, 0, word);
	RuleLine line = {.kind = kind, .name = word, .weight = 1, .counts = computed, .has_value = computed};

	if (source == NULL)
		return;
	line.why = computed ? RULE_COUNTS : RULE_OUT_NOT_COMPUTED;
	line.value = computed ? after : 0;
	line.contribution = computed ? after - before : 0;
	set_source(&line, source);
	explanation->explainer->line(explanation->explainer->context, &line);
}

void
rules_explain(const RuleProgram *program, const RuleInput *input, const RuleExplainer *explainer)
{
	Explanation explanation = {
		.trace = {.block = hear_block}, .program = program, .explainer = explainer, .told = 0, .source = 0};
	RuleTotals *totals = &explanation.trace.totals;
	RuleResult result;
	bool scored;

	rule_evaluate_traced(program, input, &result, &explanation.trace);
	scored = result.outcome == RULE_SCORE;
	if (!scored)
		*totals = (RuleTotals){.terms = 0};
	totals->combine = combines[program->combine];
	for (int i = explanation.told; i < program->nblocks; i++)
		tell_block(&explanation, &program->blocks[i], RULE_OUT_NOT_COMPUTED, NULL, false, 0);
	tell_setting(&explanation, "clamp", RULE_LINE_CLAMP, scored, totals->before_clamp, totals->after_clamp);
	tell_setting(&explanation, "round", RULE_LINE_ROUND, scored, totals->after_clamp, totals->rounded);
	explainer->totals(explainer->context, totals, &result);
}
