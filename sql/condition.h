/*
 * condition.h -- the condition of an intervention, made ready to be asked of rows of its table.
 *
 * A condition is what may follow "where" in a ranking, and is compiled as that, with a term that is
 * always 0: the item is in this ranking exactly if the condition holds.  The daemon does the same
 * with the same text.
 */
#ifndef WALRANK_CONDITION_H
#define WALRANK_CONDITION_H

#include "postgres.h"

#include "rules.h"

#define CONDITION_BYTES_MAX 4096

typedef struct Condition
{
	const RuleProgram *program;
	const RuleBinding *binding;
	RuleValue *values; /* room for what the program reads */
} Condition;

/* Line and column of the error are those in the condition.  Allocated in the current memory context. */
extern bool condition_compile(Condition *condition, const char *text, RuleError *error);

/* relation: body of a Relation message, which has to live as long as the condition; map: column, or NULL. */
extern bool condition_bind(Condition *condition, Slice relation, const char *map, RuleError *error);

/* Both; what is wrong is reported as an error of the server. */
extern void condition_make(Condition *condition, const char *text, Slice relation, const char *map);

/* Whether it holds for the item with these Value and Attribute fields at that time; unknown does not. */
extern bool condition_holds(const Condition *condition, Slice key, Slice attributes, int64 now_us);

#endif /* WALRANK_CONDITION_H */
