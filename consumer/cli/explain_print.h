/*
 * explain_print.h -- why an item stands where it does, in lines for people.
 *
 * The documents are those of walrank.explain() and of the daemon, which say the same in the same words; what only one of
 * them knows is printed where it is there.
 */
#ifndef WALRANK_EXPLAIN_PRINT_H
#define WALRANK_EXPLAIN_PRINT_H

#include <jansson.h>

/* A ranking as walrank.explain() has it. */
extern void explain_print_sql(const json_t *why);
/* A ranking as the daemon has it, its origins, authors and what SQL says put in; item: "public.item 17". */
extern void explain_print_daemon(const char *item, const json_t *why);

#endif /* WALRANK_EXPLAIN_PRINT_H */
