/*
 * problem.h -- what is wrong with a definition, said so that a stranger can mend it.
 *
 * Every message names what was expected; a hint offers the nearest known name.  Both are always
 * terminated and whole UTF-8, however long the names in them are.
 */
#ifndef WALRANK_RULES_PROBLEM_H
#define WALRANK_RULES_PROBLEM_H

#include "rules.h"

typedef struct RuleUse RuleUse;

typedef struct RulePosition
{
	int line;			/* from 1 */
	int column;			/* from 1, in characters */
	const RuleUse *use; /* who brought the text this is a place of; NULL: it is the definition */
} RulePosition;

/* A library that is used, or a name that stands for an expression written elsewhere. */
struct RuleUse
{
	RulePosition at; /* where it is used */
	Slice name;		 /* of a let or macro; empty: the library as such */
	Slice library;	 /* where the name is from; empty: from the definition itself */
};

/*
 * Set message and position, clear the hint.  Where the place is inside what is used, line and column
 * are those of the outermost use, in the text its author sees, and the message ends in the place
 * itself.  Returns false, so that a caller can return it.
 */
extern bool rule_problem(RuleError *error, RulePosition at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Set the hint.  Returns false as well. */
extern bool rule_hint(RuleError *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For "%.*s": a name of at most 60 bytes, cut between characters. */
extern int rule_clip(Slice name);
#define RULE_NAME(name) rule_clip(name), (const char *) (name).data

/*
 * The known name nearest to a misspelt one: offer all candidates, then ask.  A name is near when
 * about a third of its letters or fewer are wrong, case and swapped neighbours aside.
 */
typedef struct RuleNearest
{
	Slice word;
	Slice best;
	int distance;
} RuleNearest;

extern void rule_nearest_begin(RuleNearest *nearest, Slice word);
extern void rule_nearest_offer(RuleNearest *nearest, Slice candidate);
extern bool rule_nearest_found(const RuleNearest *nearest);

#endif /* WALRANK_RULES_PROBLEM_H */
