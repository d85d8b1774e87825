/*
 * pattern.h -- the patterns of like: % is any text, _ any character, \ takes the next one literally.
 *
 * As in SQL, byte for byte: there is no locale.  Patterns and texts are UTF-8.
 */
#ifndef WALRANK_RULES_PATTERN_H
#define WALRANK_RULES_PATTERN_H

#include "rules.h"

/* False: it ends in a backslash that escapes nothing. */
extern bool rule_pattern_valid(Slice pattern);

/* At most text.len * pattern.len steps. */
extern bool rule_pattern_matches(Slice pattern, Slice text);

/* How many characters a text has. */
extern size_t rule_characters(Slice text);

#endif /* WALRANK_RULES_PATTERN_H */
