/*
 * trial.h -- a definition tried on the items of a store, beside the ranking in force: what would stand?
 *
 * The scorer's own way to judge an item, interventions and what attributes were included, without anything
 * of it being emitted or written.  The store may be one that is only looked at (store_look.h).  The same
 * store, text and time give the same answers, in the store's order.
 */
#ifndef WALRANK_TRIAL_H
#define WALRANK_TRIAL_H

#include "rules.h"
#include "score/scorer.h"

typedef struct Trial Trial;

typedef enum
{
	TRIAL_BEFORE, /* under the ranking in force */
	TRIAL_AFTER,  /* under the definition that is tried */
	TRIAL_SIDES
} TrialSide;

/* What is known of ranking and table. */
typedef struct TrialInfo
{
	bool exists;   /* there is a ranking of that name .. */
	bool in_force; /* .. and it is enabled and works */
	uint32_t version;
	uint32_t number;			  /* of the relation */
	const WireRelation *relation; /* in the version in force */
	const WireColumn *columns;
	const char *map;
	char table[264]; /* quote_ident'ed "schema.table" */
} TrialInfo;

typedef struct TrialStanding
{
	bool shown;
	bool quarantined; /* it would be, but for an error */
	double score;
	int32_t tier;
	int32_t pin; /* 0: none */
} TrialStanding;

typedef struct TrialItem
{
	Slice key;
	bool known; /* false: an attribute is not known yet, so it is in no ranking */
	TrialStanding standing[TRIAL_SIDES];
} TrialItem;

/*
 * The store is borrowed.  table: "schema.table", or NULL for that of the ranking in force.  ERR_CONFIG: there is
 * neither, they are not the same, or the store has no such items.
 */
extern bool trial_create(Store *store, const char *ranking, const char *table, Trial **trial, Error *err);
extern void trial_destroy(Trial *trial);
extern void trial_info(const Trial *trial, TrialInfo *info);
/* The definition that is tried. False, with *error; *program is what compiled, if only its binding failed. */
extern bool trial_define(Trial *trial, Slice text, const RuleProgram **program, RuleError *error);

/* Begins the walk, at a time in us since 1970. */
extern void trial_begin(Trial *trial, int64_t at_us);
/* The next item; what it points to is valid until the next call. */
extern bool trial_next(Trial *trial, TrialItem *item, bool *done, Error *err);
/* How one item's organic score comes about on one side, at the time of the walk. *found: it is there, known, and that side has rules. */
extern bool trial_explain(Trial *trial, TrialSide side, Slice key, const RuleExplainer *explainer,
						  bool *found, Error *err);

/*
 * A store of one's own, with no scorer: the definition becomes the ranking's, as if it had been written, and all other
 * rankings are taken out.  text empty: the one in force stays.  False without err: the text is wrong, *error says how.
 */
extern bool trial_install(Store *store, const char *ranking, const char *table, Slice text, RuleError *error,
						  Error *err);

/* Whether a scorer has that ranking live, and which edition of it. */
typedef struct TrialRanking
{
	uint32_t number;
	uint32_t revision;
	uint32_t version;
	bool live;
} TrialRanking;

extern bool trial_ranking(const Scorer *scorer, const char *name, TrialRanking *ranking);

#endif /* WALRANK_TRIAL_H */
