/*
 * relation.h -- the tables the scorer knows: their permanent numbers, versions and state.
 *
 * A version is one descriptor, found by its fingerprint; descriptors may be learned at any time and
 * mean nothing by themselves.  A relation gets its number when a unit first uses one of its versions,
 * so numbers depend on the units alone.  What is in memory is written back by relations_save(), at
 * the end of each record.
 */
#ifndef WALRANK_RELATION_H
#define WALRANK_RELATION_H

#include "base/hash.h"
#include "score/store.h"

typedef struct Relation Relation;
struct Ranking;
struct Intervention;

/* In order of precedence. */
typedef struct InterventionList
{
	struct Intervention **list;
	int count;
	int capacity;
} InterventionList;

typedef struct Version
{
	uint64_t fingerprint;
	WireRelation head;
	Slice body; /* the Relation message; owned */
	WireColumn *columns;
	Relation *relation; /* NULL until a unit uses the relation */
	/* columns_from[i]: column of version `from` that has the name of column i; -1 = none */
	const struct Version *from;
	int16_t *columns_from;
	UT_hash_handle hh;
} Version;

/* What the rows of a relation are for us. */
typedef enum
{
	ROLE_ITEMS,			/* a user's table: stored only while watched */
	ROLE_WATCHED,		/* walrank.watched */
	ROLE_RANKINGS,		/* walrank.ranking */
	ROLE_LIBRARIES,		/* walrank.rule_library */
	ROLE_INTERVENTIONS, /* walrank.intervention */
} RelationRole;

/* Of its backfill; the numbers of ScorerTable.state. */
typedef enum
{
	FILL_PENDING = 0,
	FILL_OPEN = 1,
	FILL_DONE = 2,
} RelationFill;

struct Relation
{
	uint32_t number;
	uint32_t oid;
	RelationRole role;
	bool watched; /* ROLE_ITEMS: a watched row names it */
	RelationFill fill;
	bool
		touching; /* from the first BEGIN to the last END, or the end of its clearing: live changes leave touches */
	uint64_t backfill; /* id of its last BEGIN */
	uint32_t chunk;	   /* the next one to begin */
	uint64_t begun;	   /* seq of its last BEGIN */
	Buffer resume;	   /* what its last END said: the next chunk begins after that key */
	bool scanned;	   /* all ranges have been read; what is listed has not */
	bool stopped;	   /* a rescoring was cancelled: some items stand under older revisions */
	bool redo;		   /* .. and it was not told which item moved: the table is to be read once more */
	uint64_t listed;   /* keys whose items only a row of a later point can complete */
	bool whole;		   /* a reading has ended: an item that is not stored is not there, unless .. */
	bool lost;		   /* .. changes may be missing, until a reading begun from now on has ended (lost.c) */
	bool mending;	   /* the reading under way began after the last loss */
	bool naming;	   /* .. and there were items at its first BEGIN: rows leave touches as well */
	struct
	{
		uint64_t job; /* that removes what has not been named; 0 = none */
		uint32_t chunk;
		StoreCursor cursor;
	} clearing;
	Version *current; /* the newest version used; all images are shown under it */
	Lsn current_lsn;
	Lsn truncate_lsn; /* while touching */
	char *map;		  /* name of the map column, "" = none */
	uint64_t items;
	uint32_t displaced; /* items whose key another holds, inside a transaction */
	/* as last told to the readers of records */
	const Version *announced; /* NULL = not at all */
	char *announced_map;
	bool dirty;
	/* live rankings, by number */
	struct Ranking **rankings;
	int nrankings;
	/* interventions about its items (intervention.c) */
	int nsteered; /* all of them, those by key too */
	InterventionList conditions;
	InterventionList pins;
};

typedef struct Relations
{
	Store *store;
	Version *versions; /* hash; never walked */
	Version *last;	   /* found last */
	Relation **list;   /* list[i] has number i + 1 */
	uint32_t count;
} Relations;

extern bool relations_load(Relations *relations, Store *store, Error *err);
extern void relations_free(Relations *relations);
extern bool relations_save(Relations *relations, Error *err);

/* Keep a descriptor. *ok is false when the bytes are not a sound one. */
extern bool relations_learn(Relations *relations, Slice body, bool *ok, Error *err);
/* *version is NULL when no such descriptor is known. */
extern bool relations_version(Relations *relations, uint64_t fingerprint, Version **version, Error *err);
/* The relation of a version: made, with the next number, when it is new. */
extern Relation *relations_use(Relations *relations, Version *version);
extern Relation *relations_by_number(const Relations *relations, uint32_t number);
extern Relation *relations_by_oid(const Relations *relations, uint32_t oid);
/* By the names in the current version; the most recently used of several. */
extern Relation *relations_by_name(const Relations *relations, Slice schema, Slice table);
extern Relation *relations_by_role(const Relations *relations, RelationRole role);

/* Whether its items are kept. */
static inline bool
relation_stored(const Relation *relation)
{
	return relation->watched || relation->role != ROLE_ITEMS;
}

extern void relation_set_map(Relation *relation, const char *map);
extern void relation_set_current(Relation *relation, Version *version, Lsn lsn);

/* For each column of `to` the column of `from` with its name, or -1. Valid until the next call for `to`. */
extern const int16_t *version_columns(Version *to, const Version *from);
extern int version_column(const Version *version, Slice name); /* -1 = none */

#endif /* WALRANK_RELATION_H */
