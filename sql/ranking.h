/*
 * ranking.h -- a ranking's definition made ready to score rows of its table.
 *
 * Errors of the definition are reported as the server's errors: line and column, what was expected,
 * and how to cure it.
 */
#ifndef WALRANK_RANKING_H
#define WALRANK_RANKING_H

#include "postgres.h"

#include "rules.h"

typedef struct Ranking
{
	const RuleProgram *program;
	const RuleBinding *binding;
	RuleValue *values;	/* room for what the program reads */
	uint64 fingerprint; /* of the table's description that the binding belongs to */
} Ranking;

/* Everything is allocated in the current memory context. name is for messages. */
extern void ranking_compile(Ranking *ranking, const char *name, const char *definition);

/* After ranking_compile(). relation: body of a Relation message; map: column, or NULL. */
extern void ranking_bind(Ranking *ranking, const char *name, Slice relation, const char *map);

#endif /* WALRANK_RANKING_H */
