/*
 * outline.c -- see outline.h.
 */
#include "outline.h"

#include "program.h"

void
rules_outline(const RuleProgram *program, RuleOutline *outline)
{
	*outline = (RuleOutline){.where = program->where != NULL};

	for (int i = 0; i < program->nblocks; i++)
	{
		const RuleStatementKind kind = program->blocks[i].kind;

		outline->terms += kind == STATEMENT_TERM;
		outline->boosts += kind == STATEMENT_BOOST;
		outline->factors += kind == STATEMENT_FACTOR;
	}
}

const char *
rules_term(const RuleProgram *program, int i, double *weight)
{
	for (int at = 0; at < program->nblocks; at++)
		if (program->blocks[at].kind == STATEMENT_TERM && i-- == 0)
		{
			*weight = program->blocks[at].weight;
			return program->blocks[at].name;
		}
	return NULL;
}
