/*
 * patterns.h -- lists of names in which * stands for any characters.
 *
 * Options name attributes and message prefixes with them.  A list comes from whoever may replicate,
 * so its size is limited, and matching a name costs at most the product of both lengths.
 */
#ifndef WALRANK_PATTERNS_H
#define WALRANK_PATTERNS_H

#include "postgres.h"

#include "wire.h"

/* Patterns of one list, and bytes of one pattern. */
#define PATTERNS_MAX 256
#define PATTERN_BYTES_MAX 1024

typedef struct Patterns Patterns;

/*
 * Patterns separated by commas, spaces around them left out; one that needs such characters stands
 * in double quotes.  Nothing is folded to lower case.  NULL when the list is empty, too long, or a
 * quote is not closed.  Allocates in the current context.
 */
extern Patterns *patterns_parse(const char *list);

extern bool patterns_match(const Patterns *patterns, Slice name);

/* Whether some name that begins with prefix can match. */
extern bool patterns_may_begin(const Patterns *patterns, Slice prefix);

#endif /* WALRANK_PATTERNS_H */
