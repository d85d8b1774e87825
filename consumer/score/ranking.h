/*
 * ranking.h -- the rankings: permanent numbers, the definition in force, its compiled program.
 *
 * A ranking is live while it is enabled, compiles, and binds to a watched relation.  Its revision
 * grows whenever items have to be evaluated anew; what was emitted before `void_before` has been
 * withdrawn as a whole.
 */
#ifndef WALRANK_RANKING_H
#define WALRANK_RANKING_H

#include "base/arena.h"
#include "rules.h"
#include "score/library.h"
#include "score/relation.h"

typedef struct Ranking
{
	uint32_t number;
	char *name;
	/* the definition in force */
	char *schema; /* of the relation it ranks */
	char *table;
	char *definition;
	bool enabled;
	uint32_t version; /* the user's number for it */
	uint32_t revision;
	uint32_t void_before;
	Arena *program_memory;
	RuleProgram *program; /* NULL: does not compile here */
	bool clock;
	bool remembers;		/* it reads what attributes were */
	double min_change;	/* smaller moves of a score are not told */
	int64_t refresh_us; /* moves by the clock alone are told this often at most; 0: whenever */
	/* while live */
	Relation *relation; /* NULL = not live */
	Arena *binding_memory;
	RuleBinding *binding;
	/* as last told to the readers of records */
	bool announced;
	uint32_t announced_version;
	uint32_t announced_relation;
	/* its end has to be told with the current change */
	bool ending;
	uint32_t ended_relation;
	bool broken; /* its newest definition does not compile or bind here; the one before stays in force */
	bool dirty;
} Ranking;

typedef struct Rankings
{
	Store *store;
	Ranking **list; /* list[i] has number i + 1 */
	uint32_t count;
	int ending; /* how many */
	Libraries libraries;
} Rankings;

/* A definition that was compiled but is not in force yet. */
typedef struct RankingProgram
{
	Arena *memory;
	RuleProgram *program;
} RankingProgram;

typedef struct RankingBinding
{
	Arena *memory;
	RuleBinding *binding;
} RankingBinding;

extern bool rankings_load(Rankings *rankings, Store *store, Relations *relations, Error *err);
extern void rankings_free(Rankings *rankings);
extern bool rankings_save(Rankings *rankings, Error *err);
extern Ranking *rankings_by_name(const Rankings *rankings, Slice name); /* NULL: none */
extern Ranking *rankings_add(Rankings *rankings, Slice name);

/* libraries: NULL, it may use none. */
extern bool ranking_compile(Slice definition, const Libraries *libraries, RankingProgram *program,
							RuleError *error);
extern bool ranking_uses(const Ranking *ranking, Slice library);
extern bool ranking_bind(const RuleProgram *program, const Relation *relation, RankingBinding *binding,
						 RuleError *error);
/* These take over what they are given. */
extern void ranking_set_program(Ranking *ranking, RankingProgram program);
extern void ranking_set_binding(Ranking *ranking, Relation *relation, RankingBinding binding);
extern void ranking_unbind(Ranking *ranking);
extern void ranking_set_definition(Ranking *ranking, Slice schema, Slice table, Slice definition);

#endif /* WALRANK_RANKING_H */
