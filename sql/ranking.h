/*
 * ranking.h -- a ranking's definition made ready to score rows of its table.
 *
 * Errors of the definition are reported as the server's errors: line and column, what was expected,
 * and how to cure it.
 */
#ifndef WALRANK_RANKING_H
#define WALRANK_RANKING_H

#include "postgres.h"

#include "library.h"

typedef struct Ranking
{
	const RuleProgram *program;
	const RuleBinding *binding;
	Libraries libraries; /* that it was compiled with */
	RuleValue *values;	 /* room for what the program reads; alike the next two */
	RuleValue *previous;
	RuleChange *changes;
	uint64 fingerprint; /* of the table's description that the binding belongs to */
} Ranking;

/* What the rules allocate is the current memory context's. */
extern RuleMemory context_memory(void);

/* Everything is allocated in the current memory context. name is for messages. */
extern void ranking_compile(Ranking *ranking, const char *name, const char *definition, LibrariesMode mode);

/* The same without an error: false where libraries that it uses are not there. */
extern bool ranking_compile_if_whole(Ranking *ranking, const char *name, const char *definition);

/* After ranking_compile(). relation: body of a Relation message; map: column, or NULL. */
extern void ranking_bind(Ranking *ranking, const char *name, Slice relation, const char *map);

#endif /* WALRANK_RANKING_H */
