/*
 * library.h -- the rule libraries in the stream: texts that definitions take names from (`use NAME`).
 *
 * A row of walrank.rule_library from its change on.  One that rankings in force could not go on with is
 * not taken: they stay, and so does the library they were made with.
 */
#ifndef WALRANK_LIBRARY_H
#define WALRANK_LIBRARY_H

#include "base/buffer.h"
#include "rules.h"
#include "score/store.h"

typedef struct Libraries
{
	Store *store;
	struct LibraryText *list;
	int count;
} Libraries;

extern bool libraries_load(Libraries *libraries, Store *store, Error *err);
extern void libraries_free(Libraries *libraries);
/* False: there is none of that name. */
extern bool libraries_find(const Libraries *libraries, Slice name, Slice *text);
/* An empty text: the library is gone. */
extern void libraries_set(Libraries *libraries, Slice name, Slice text);
extern bool libraries_save(Libraries *libraries, Slice name, Error *err);
/* How the compiler asks. */
extern RuleLibrary libraries_for_rules(const Libraries *libraries);

#endif /* WALRANK_LIBRARY_H */
