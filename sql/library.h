/*
 * library.h -- the rows of walrank.rule_library, where a definition that says "use" finds them.
 *
 * Read with the caller's rights.  What was read is kept, so that one can tell later whether it still
 * stands so.
 */
#ifndef WALRANK_LIBRARY_H
#define WALRANK_LIBRARY_H

#include "postgres.h"

#include "rules.h"

/* How the rows are read. */
typedef enum
{
	LIBRARIES_READ,	 /* in the snapshot of the statement that runs */
	LIBRARIES_LOCKED /* as they are, and as they stay until this transaction ends */
} LibrariesMode;

typedef struct Libraries
{
	LibrariesMode mode;
	MemoryContext context; /* of the texts read */
	int count;
	Slice names[RULES_LIBRARIES_MAX];
	Slice texts[RULES_LIBRARIES_MAX];
	bool lacking; /* one that was asked for is not there */

	/* To try what is not in the table: this library has that text; data NULL: it is not there.
	 * tried_all: of all others there is none either.  asked: its name was asked for. */
	const char *tried;
	Slice tried_text;
	bool tried_all;
	bool asked;
} Libraries;

/* Begins anew what is known of the libraries read. */
extern RuleLibrary libraries_begin(Libraries *libraries, LibrariesMode mode);

/* Whether every library read still stands as it was read, for the statement that runs. */
extern bool libraries_stand(const Libraries *libraries);

#endif /* WALRANK_LIBRARY_H */
