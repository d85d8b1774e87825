/*
 * intervention.h -- the interventions in the stream: found by item, or by a condition over items.
 *
 * A row of walrank.intervention from its change on, until it goes; whether it is in force at a time is
 * between its bounds.  Order of precedence is that of rules/intervene.h; "later" is the place of the
 * row's last change in the stream.
 */
#ifndef WALRANK_INTERVENTION_H
#define WALRANK_INTERVENTION_H

#include "base/hash.h"
#include "intervene.h"
#include "score/ranking.h"

#define INTERVENTION_NEVER INT64_MAX
#define INTERVENTION_KEY_BYTES_MAX (64 * 1024) /* of an item's key */
#define INTERVENTION_POSITION_MAX 10000		   /* of a pin */

/* What a row says. Texts are borrowed where it is given. */
typedef struct InterventionRow
{
	int64_t id;
	Slice schema;
	Slice table;
	Slice ranking;	 /* empty: every ranking of the relation */
	Slice key;		 /* of the item, as the stream encodes it; empty: by condition */
	Slice condition; /* in the language of the rules */
	RuleIntervention rule;
	int64_t from_us;  /* since 1970; in force from then.. */
	int64_t until_us; /* ..until then; INTERVENTION_NEVER */
} InterventionRow;

typedef struct Intervention Intervention;
struct Intervention
{
	InterventionRow row; /* texts are its own */
	void *texts;
	Relation *relation;		   /* NULL: not watched, or not met yet; then it waits */
	RankingProgram program;	   /* of a condition.. */
	RankingBinding binding;	   /* ..NULL: it does not bind here, and is in force for nothing */
	Intervention *next_of_key; /* in order of precedence */
};

typedef struct InterventionKey InterventionKey;

typedef struct Interventions
{
	Store *store;
	Intervention **list; /* by id */
	int count;
	int capacity;
	InterventionKey *by_key;
} Interventions;

extern bool interventions_load(Interventions *interventions, Store *store, Error *err);
extern void interventions_free(Interventions *interventions);
extern Intervention *interventions_find(const Interventions *interventions, int64_t id);
/* Takes the place of the one with that id. NULL, with *error: its condition does not compile here. */
extern Intervention *interventions_set(Interventions *interventions, const InterventionRow *row,
									   RuleError *error);
extern bool intervention_save(Interventions *interventions, const Intervention *intervention, Error *err);
extern bool interventions_remove(Interventions *interventions, Intervention *intervention, Error *err);

/*
 * The relation an intervention is about is now this one (NULL: none), under its current version: it is found
 * by its items from here on.  False: its condition does not bind, *error says why.
 */
extern bool intervention_link(Interventions *interventions, Intervention *intervention, Relation *relation,
							  RuleError *error);

/* Those of an item by its key: linked by next_of_key. */
extern Intervention *interventions_of_key(const Interventions *interventions, const Relation *relation,
										  Slice key);

static inline bool
intervention_concerns(const Intervention *intervention, const Ranking *ranking)
{
	return intervention->row.ranking.len == 0 ||
		   slice_equal(intervention->row.ranking, slice_string(ranking->name));
}

static inline bool
intervention_in_force(const Intervention *intervention, int64_t now_us)
{
	return intervention->row.from_us <= now_us && now_us < intervention->row.until_us;
}

/* When that changes next; INTERVENTION_NEVER. */
static inline int64_t
intervention_boundary(const Intervention *intervention, int64_t now_us)
{
	return intervention->row.from_us > now_us	 ? intervention->row.from_us
		   : intervention->row.until_us > now_us ? intervention->row.until_us
												 : INTERVENTION_NEVER;
}

/*
 * The position a pin comes to: of the pins in force in the ranking each takes, in order of precedence, its own or the
 * next one that is free.  Of an item's pins the first alone takes one.
 */
extern int32_t intervention_position(const Interventions *interventions, const Intervention *pin,
									 const Ranking *ranking, int64_t now_us);

#endif /* WALRANK_INTERVENTION_H */
