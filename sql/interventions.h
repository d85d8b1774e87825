/*
 * interventions.h -- the interventions in force in a ranking at a time, as SQL sees them.
 *
 * Read with the caller's rights and snapshot, and read again only when the snapshot, the ranking or the time is
 * another one.  Of equal priority the greater id comes first.  One whose condition cannot be used (any more) has
 * no effect, and is warned of.
 */
#ifndef WALRANK_INTERVENTIONS_H
#define WALRANK_INTERVENTIONS_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "condition.h"
#include "intervene.h"

typedef struct InForce
{
	RuleIntervention rule; /* pin: the position it has come to */
	int64 id;
	bool outdone;		 /* a pin of an item that has another one before it: without effect */
	Slice key;			 /* of the item as the stream encodes it; empty: by condition */
	Condition condition; /* without key; its program is NULL when it cannot be used */
	const char *author;
	const char *reason;
	TimestampTz valid_from;
	TimestampTz valid_until; /* infinity: without end */
	int next;				 /* one of the same key, or of others that share its place in the table; -1 */
} InForce;

typedef struct Interventions Interventions;

/* What is kept from call to call is in context, for as long as that lives. */
extern Interventions *interventions_open(MemoryContext context);

/*
 * Bring them to what the table says.
 *   relation, ranking  names
 *   without  id of one that is left out, as if it were not there; 0: none
 */
extern void interventions_refresh(Interventions *interventions, const char *relation, const char *ranking,
								  TimestampTz at, int64 without);

/* The item whose standing is asked for. */
typedef struct InterventionItem
{
	Oid relid;
	uint64 fingerprint; /* of the table's description: conditions are bound again when it changes */
	const char *map;	/* NULL: none */
	Slice key;
	Slice attributes;
} InterventionItem;

/*
 * Those in force for the item, in order, into *active: borrowed until the next call.  rules: the same, as
 * rules_intervene() takes them.
 */
extern int interventions_of(Interventions *interventions, const InterventionItem *item,
							const InForce *const **active, const RuleIntervention *const **rules);

#endif /* WALRANK_INTERVENTIONS_H */
