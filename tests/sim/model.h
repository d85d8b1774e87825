/*
 * model.h -- a scorer small enough to run twice: what it makes of a unit depends on the unit and on the state
 * before it, and on nothing else.
 *
 * Its state holds a hash over everything it has seen, and every record holds that: a unit lost, doubled,
 * changed or taken from another state shows in every byte that follows.
 */
#ifndef WALRANK_SIM_MODEL_H
#define WALRANK_SIM_MODEL_H

#include "journal/journal.h"
#include "score/record.h"

#define MODEL_PART_CHANGES 3
#define MODEL_CHANGES_MAX 64
#define MODEL_ITEMS 16

typedef struct ModelState
{
	uint64_t seq;  /* units in .. */
	uint64_t part; /* .. and pieces of the next */
	uint64_t total;
	uint64_t hash;
	uint64_t engine;
	uint64_t version; /* of the one ranking: a CONFIG edits it and orders a rescoring */
	uint64_t job;
	uint64_t chunk;
	uint64_t items[MODEL_ITEMS];
} ModelState;

/* One unit as the journal has it. */
typedef struct ModelUnit
{
	Unit unit;
	uint64_t hash;	   /* of all its bytes */
	uint64_t txn_hash; /* of its changes alone, as the server has it */
	uint64_t changes[MODEL_CHANGES_MAX];
	int n;
} ModelUnit;

/* What a reader of the journal has been told of relations: two bits. */
typedef struct ModelRelations
{
	uint64_t fingerprints[4];
	int n;
} ModelRelations;

/* JOURNAL_UNIT: *out is whole; JOURNAL_NOTHING; JOURNAL_ERROR. A change of a relation never told breaks J5, J6. */
extern JournalEvent model_read(JournalReader *reader, ModelRelations *known, ModelUnit *out, Error *err);

extern int model_pieces(const ModelUnit *unit);
/* The record of the state's next piece, which has to be one of this unit; the state moves on. */
/* engine: of whoever does it. Another one gives other bytes, so it has to be the one the units name. */
extern void model_step(ModelState *state, const ModelUnit *unit, uint64_t engine, Buffer *record,
					   RecordHeader *header);
/* The engine the units name, at this one. */
extern uint64_t model_engine(const ModelState *state, const ModelUnit *unit);
/* A segment's dictionary. */
extern void model_dictionary(const ModelState *state, Buffer *out);
/* Of header and entries, for comparing. */
extern uint64_t model_record_hash(const RecordReader *record);

#endif /* WALRANK_SIM_MODEL_H */
