/*
 * json_list.h -- a list that comes as JSON text, read in place.
 *
 * The wire carries an array that holds more than scalars as the text jsonb has: in a map that is
 * every [["a", "b"], "time"].  Nothing is copied; what is not as jsonb writes it is no list.
 */
#ifndef WALRANK_RULES_JSON_LIST_H
#define WALRANK_RULES_JSON_LIST_H

#include "rules.h"

/* kind: RULE_MISSING (null), RULE_BOOL, RULE_NUMBER or RULE_TEXT. */
typedef struct RuleJson
{
	RuleKind kind;
	bool boolean;
	double number;
	Slice text; /* between the quotes, escapes as they stand */
} RuleJson;

/* [first, "time"]: both parts, the time without its quotes. */
extern bool rule_json_pair(Slice text, Slice *first, Slice *time);
/* *elements: what is inside the brackets, if that is scalars alone. */
extern bool rule_json_list(Slice text, Slice *elements);
/* The next element, taken off *elements. False: no more. */
extern bool rule_json_next(Slice *elements, RuleJson *element);
extern bool rule_json_text_equal(Slice escaped, Slice text);

#endif /* WALRANK_RULES_JSON_LIST_H */
