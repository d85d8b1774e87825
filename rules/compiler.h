/*
 * compiler.h -- a checked tree as a program.
 */
#ifndef WALRANK_RULES_COMPILER_H
#define WALRANK_RULES_COMPILER_H

#include "program.h"

/* The program borrows tables and names of the tree.  NULL: it would be too large. */
extern RuleProgram *rule_compile(const RuleDefinition *definition, const RuleChecked *checked,
								 const RuleMemory *memory, RuleError *error);

#endif /* WALRANK_RULES_COMPILER_H */
