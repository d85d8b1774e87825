/*
 * option.h -- a configuration key is a row that parses, checks and documents itself.
 */
#ifndef WALRANK_OPTION_H
#define WALRANK_OPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"

typedef enum
{
	OPT_STRING, /* char * (owned by the target) */
	OPT_BOOL,	/* bool: on, off, true, false, yes, no, 1, 0 */
	OPT_INT,	/* int64_t, a plain number */
	OPT_BYTES,	/* int64_t; kB MB GB, 1 kB = 1024 */
	OPT_MS,		/* int64_t milliseconds; ms s min h d; a plain number counts ms */
	OPT_ENUM	/* int: index into choices, a NULL-ended list */
} OptionType;

typedef struct OptionDef
{
	const char *name;
	OptionType type;
	size_t offset;		 /* in the target struct */
	const char *initial; /* default, as text; NULL = must be given */
	int64_t min, max;	 /* for numbers, when max > min */
	const char *const *choices;
	bool reloadable;
	const char *help;
} OptionDef;

/* Sets every default; then one key. Errors name the key, the value and what would be right; an unknown
 * key names the nearest. All return false with ERR_CONFIG. A table ends with a NULL name. */
extern bool option_defaults(const OptionDef *table, void *target, Error *err);
extern bool option_set(const OptionDef *table, void *target, const char *name, const char *value, Error *err);
extern bool option_missing(const OptionDef *table, const void *target, Error *err);
extern void option_free(const OptionDef *table, void *target);
/* For --help and the man page: one line per key. */
extern void option_help(const OptionDef *table, Buffer *out);
/* Edit distance, for "did you mean". */
extern int option_distance(const char *a, const char *b);

#endif /* WALRANK_OPTION_H */
