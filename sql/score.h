/*
 * score.h -- a row of a ranking's table made ready to be evaluated.
 *
 * The ranking is read with the caller's rights and snapshot, and compiled again only when what was
 * read has changed.
 */
#ifndef WALRANK_SCORE_H
#define WALRANK_SCORE_H

#include "postgres.h"

#include "access/htup.h"
#include "fmgr.h"

#include "rules.h"

typedef struct ScoreItem
{
	const char *relation; /* as in walrank.watched */
	const char *map;	  /* NULL: none */
	bool enabled;
	const RuleProgram *program;
	const RuleValue *values; /* what it reads of the item */
	uint64 fingerprint;		 /* of the table's description */
	Slice key;				 /* Value fields.. */
	Slice attributes;		 /* ..and Attribute fields, as the stream carries them */
} ScoreItem;

/*
 * fn_extra and fn_mcxt of function hold what is kept from call to call; nothing else of it is used.  The slices
 * are in the current memory context, the rest is borrowed until the next call.  Errors when there is no such
 * ranking, or the item is no row of its table.
 */
extern void score_item(FmgrInfo *function, const char *ranking, HeapTupleHeader item, ScoreItem *result);

#endif /* WALRANK_SCORE_H */
