/*
 * step.h -- one step of the scorer: what its rooms share while a unit becomes a record.
 *
 * Nobody outside consumer/score includes this.  The rooms, in the order a change goes through them:
 *
 *   scorer.c    units, pieces, entries              change.c    live changes
 *   fill.c      rows of a backfill, touches     rescore.c   jobs
 *   show.c      an item's image becomes output      config.c    watched and ranking rows, what they cause
 *   emit.c      the record, its dictionary         lost.c      publications lost, tables in doubt
 *   repeat.c    fills of a sink
 *   list.c      keys that have to be read again
 *   memory.c    what attributes were
 *   timer.c     items to be evaluated at a time       steer.c     rows of interventions, what is in force
 *
 * A function returns false on an error of the store (err is set), or on malformed bytes: then
 * `malformed` is set, err is not, and scorer.c ends the unit with a quarantine entry and a gap.
 */
#ifndef WALRANK_STEP_H
#define WALRANK_STEP_H

#include "base/clock.h"
#include "score/image.h"
#include "score/intervention.h"
#include "score/item.h"
#include "score/ranking.h"
#include "score/scorer.h"
#include "score/watch.h"

/* Items of a relation whose number has this bit are its touches (fill.c). */
#define TOUCH_BIT UINT32_C(0x80000000)
/* And with this one: items whose key another has taken already (change.c). */
#define DISPLACED_BIT UINT32_C(0x40000000)

/* And with this one: keys whose items only a row of a later point can complete (list.c). */
#define LISTED_BIT UINT32_C(0x20000000)
/* Of a job's id: it clears what no reading has named (lost.c); the rest is the backfill's id. */
#define CLEARING_BIT (UINT64_C(1) << 63)

/* Rescoring that is under way: at most one per relation; or the fill of a sink: one per sink. */
typedef struct Job
{
	uint64_t id;
	uint32_t relation; /* of a fill: the one it has come to */
	uint32_t chunk;	   /* next one */
	uint64_t items;	   /* that it has met */
	StoreCursor cursor;
	char sink[RECORD_SINK_BYTES_MAX + 1]; /* of a fill, else empty */
	uint64_t from;						  /* unit that began the fill */
} Job;

/* The newest fill of a sink, ended or not. */
typedef struct SinkFill
{
	char sink[RECORD_SINK_BYTES_MAX + 1];
	uint64_t from;
} SinkFill;

/* While a table is read: when live changes last settled a key, and each of its columns. */
typedef struct Touch
{
	bool found;
	Lsn key_lsn; /* deleted, inserted, or brought here by a key change */
	Lsn columns[WIRE_COLUMNS_MAX];
} Touch;

typedef enum
{
	TIMER_AT_ONCE = 0, /* numbers that are stored */
	TIMER_BOUNDARY = 1,
	TIMER_CLOCK = 2,
	TIMER_KINDS
} TimerKind;

/* The interventions that are about the item at hand, whatever the time, in order of precedence. */
typedef struct ItemSteering
{
	const Intervention **list;
	int count;
	int capacity;
	int64_t clock_us; /* a condition over ages may hold, or not, from then on */
	/* of them, those in force in a ranking */
	RuleIntervention *rules;
	const RuleIntervention **active;
	int nactive;
} ItemSteering;

struct Scorer
{
	Store *store;
	Relations relations;
	Rankings rankings;
	Watches watches;
	Interventions interventions;
	Job *jobs; /* by id */
	int njobs;
	uint64_t last_job;
	SinkFill *fills;
	int nfills;
	bool filled; /* the first backfill of all tables has ended */
	uint32_t part_changes;
	ScorerCounters counters;
	ScorerGap lost;					/* publications lost, not yet told by a GAP unit */
	bool timers_known[TIMER_KINDS]; /* timers_next holds */
	int64_t timers_next[TIMER_KINDS];

	/* the unit */
	Unit unit;
	bool in_unit;
	uint32_t change; /* ordinal of the last change begun */
	uint32_t piece;	 /* ordinal after which the current piece begins */
	uint32_t part;	 /* its number */
	uint32_t skip;	 /* pieces at the unit's beginning that the store already has */
	size_t resume;	 /* offset in the current part, when a piece was cut inside it */
	bool malformed;	 /* set by whoever sees it */
	bool ended;		 /* nothing more is taken from this unit */
	Buffer detail;	 /* text of PART_DETAIL */
	uint64_t begins; /* BACKFILL BEGIN: fingerprint of its PART_RELATION */

	/* the record */
	Buffer record;
	RecordHeader header;
	bool ready; /* and not yet followed by another call */

	/* the item at hand */
	Image image;
	EmittedList emitted; /* what stood */
	EmittedList next;	 /* what will stand */
	bool postponed;		 /* a ranking was passed over: a job has to come back to the item */
	Slice show;			 /* image being evaluated */
	Slice stored;		 /* image as it was loaded; until the next write */
	ItemMemory memory;	 /* of the item; until the next write, or in remembered */
	Buffer remembered;
	bool had;		/* it was stored.. */
	bool had_whole; /* ..and complete.. */
	bool had_told;	/* ..and readers hold it, perhaps as it was */
	bool same_version;
	size_t had_bytes; /* of its image */
	Buffer remapped;  /* stored image under the current version */
	Buffer remapped_row;
	Buffer spliced;
	Buffer bits;
	Buffer value;
	Buffer key;
	RuleValue values[RULES_ATTRIBUTES_MAX];
	RuleValue previous[RULES_ATTRIBUTES_MAX];
	RuleChange changes[RULES_ATTRIBUTES_MAX];
	ItemSteering steering;
	Touch touch;
	bool settled[WIRE_COLUMNS_MAX];
};

static inline bool
malformed(Scorer *scorer)
{
	scorer->malformed = true;
	return false;
}

/* ---- emit.c ------------------------------------------------------------------------------- */

extern void emit_begin(Scorer *scorer);
extern bool emit_finish(Scorer *scorer, bool last, Error *err);
extern void emit_change(Scorer *scorer, Relation *relation, Slice key, WireOp op);
/* What readers hold already, image and all; no change. */
extern void emit_repeat(Scorer *scorer, Relation *relation, Slice key, Slice image);
/* RECORD_FILL, RECORD_FILLED */
extern void emit_fill(Scorer *scorer, RecordKind kind, const char *sink, uint64_t from);
extern void emit_score(Scorer *scorer, Ranking *ranking, Slice key, const Emitted *score);
extern void emit_remove(Scorer *scorer, Ranking *ranking, Slice key);
extern void emit_truncate(Scorer *scorer, Relation *relation);
extern void emit_gap(Scorer *scorer, Lsn from, Slice reason);
extern void emit_quarantine(Scorer *scorer, Relation *relation, Slice key, Slice attribute, Slice reason,
							Slice offending);
/* All items of a live ranking go: one removal, told in its turn (emit_endings) at this change. */
extern void emit_end(Scorer *scorer, Ranking *ranking);
/* The removals of rankings with a lower number; 0 = of all. */
extern void emit_endings(Scorer *scorer, uint32_t below);
extern void emit_dictionary(const Scorer *scorer, Buffer *out);

/* ---- show.c ------------------------------------------------------------------------------- */

/* What is stored under the key: into had.., emitted; *image is the stored image under the current
 * version, valid until the next write or load. */
extern bool show_load(Scorer *scorer, Relation *relation, Slice key, Slice *image, Error *err);
/* scorer->image, complete or not, becomes the item: output, effects, store. */
extern bool show_item(Scorer *scorer, Relation *relation, Slice key, WireOp op, Error *err);
/* The item (loaded before) goes, and with it all that was emitted for it. */
extern bool show_delete(Scorer *scorer, Relation *relation, Slice key, Error *err);
/* Evaluate what has not been evaluated under the present revisions; nothing else changed. */
extern bool show_stale(Scorer *scorer, Relation *relation, Slice key, Slice image, bool *modified,
					   Error *err);
/* Evaluate all of it once more, because of the time or of an intervention. */
extern bool show_again(Scorer *scorer, Relation *relation, Slice key, Slice image, Error *err);
/* What a ranking is evaluated on: values are filled, interventions applied. */
extern void show_input(Scorer *scorer, const Ranking *ranking, RuleInput *input);
/* The item (loaded before, complete) once more, and what stands of it in rankings. */
extern void show_repeat(Scorer *scorer, Relation *relation, Slice key, Slice image);
/* Whether every live ranking has been evaluated under its present revision (scorer->emitted). */
extern bool show_fresh(const Scorer *scorer, const Relation *relation);
extern bool show_put(Scorer *scorer, Relation *relation, Slice key, Slice image, bool whole,
					 const EmittedList *list, Error *err);

/* ---- change.c ----------------------------------------------------------------------------- */

/* body: the change as it came, for the digest of what is quarantined. */
extern bool change_apply(Scorer *scorer, const WireChange *change, Slice body, Error *err);
/* A transaction is over: no key is held twice any more. */
extern bool change_settle_keys(Scorer *scorer, Error *err);
extern bool change_truncate(Scorer *scorer, uint64_t fingerprint, Error *err);
/*
 * The version a change names, current from here on if it is not older. *relation NULL: not stored.
 * live: of the stream, and not a row that is read.
 */
extern bool change_relation(Scorer *scorer, uint64_t fingerprint, Lsn lsn, bool live, Version **version,
							Relation **relation, Error *err);
/* A key of the right number of sound values. */
extern bool change_key_sound(const Version *version, Slice key, uint32_t values);

/* ---- config.c ----------------------------------------------------------------------------- */

/* A watched or ranking row with this key now has scorer->image, or is gone. */
extern bool config_row(Scorer *scorer, Relation *relation, Slice key, Error *err);
extern bool config_row_gone(Scorer *scorer, Relation *relation, Slice key, Error *err);
/* A relation was used for the first time (before == NULL), or under another version. */
extern bool config_link(Scorer *scorer, Relation *relation, const Version *before, Error *err);
extern bool config_settings(Scorer *scorer, Slice text, Error *err);
extern bool config_load(Scorer *scorer, Error *err);

/* ---- timer.c ------------------------------------------------------------------------------ */

extern bool timer_at_once(Scorer *scorer, const Relation *relation, Slice key, Error *err);
/* What is emitted of an item is no longer `before`, but `now`; so are its timers. */
extern bool timer_settle(Scorer *scorer, const Relation *relation, Slice key, const EmittedList *before,
						 const EmittedList *now, Error *err);
extern bool timer_chunk(Scorer *scorer, Error *err);
/* *time_us: of the first one; EMITTED_NEVER. */
extern bool timer_next(Scorer *scorer, TimerKind kind, int64_t *time_us, Error *err);
extern bool timer_forget(Scorer *scorer, const Relation *relation, Error *err);

/* ---- memory.c ----------------------------------------------------------------------------- */

/* scorer->memory of the item loaded becomes that of the item changed: `changed` by scorer->image.  False: malformed. */
extern bool memory_make(Scorer *scorer, const Relation *relation, bool changed);

/* ---- steer.c ------------------------------------------------------------------------------ */

struct Row; /* row.h */
extern bool steer_row(Scorer *scorer, Relation *relation, const struct Row *row, Error *err);
extern bool steer_row_gone(Scorer *scorer, const struct Row *row, Error *err);
/* A watched relation appeared, went, or has another version. */
extern bool steer_relink(Scorer *scorer, Error *err);
extern void steer_load(Scorer *scorer);
extern void steer_free(ItemSteering *steering);
/* scorer->steering: all that is about the item. */
extern bool steer_collect(Scorer *scorer, const Relation *relation, Slice key, Slice image);
/* steering.active: what is in force in the ranking now. *boundary_us: when that changes. */
extern void steer_apply(Scorer *scorer, const Ranking *ranking, int64_t *boundary_us);

/* ---- fill.c ------------------------------------------------------------------------------- */

extern bool fill_begin(Scorer *scorer, Error *err);
extern bool fill_row(Scorer *scorer, Slice body, Error *err);
extern bool fill_end(Scorer *scorer, Error *err);
extern bool fill_abort(Scorer *scorer, Error *err);
/* The relation's items are cleared: so is all that a reading of it has left. */
extern bool fill_forget(Scorer *scorer, Relation *relation, Error *err);
/* Live changes, while a table is read (relation->touching). */
extern bool touch_key(Scorer *scorer, Relation *relation, Slice key, Error *err);
extern bool touch_columns(Scorer *scorer, Relation *relation, Slice key, Error *err);
extern bool touch_clear(Scorer *scorer, Relation *relation, Error *err);
extern bool touch_key_lsn(Scorer *scorer, Relation *relation, Slice key, Error *err); /* of scorer->touch */

/* ---- lost.c ------------------------------------------------------------------------------- */

extern bool lost_load(Scorer *scorer, Error *err);
extern void lost_selection(Relation *relation);
extern bool lost_publication(Scorer *scorer, Slice name, Error *err);
extern bool lost_told(Scorer *scorer, Slice detail, Error *err);
extern bool lost_any(const Scorer *scorer); /* some table is in doubt */
/* A row that was merged: scorer->touch is what was read of its key. */
extern bool lost_named(Scorer *scorer, Relation *relation, Slice key, Error *err);
/* All of the table has been read. *done: and what nobody has named is removed; else a job goes on with it. */
extern bool lost_end(Scorer *scorer, Relation *relation, bool *done, Error *err);
extern bool lost_chunk(Scorer *scorer, Error *err); /* of such a job: a RESCORE unit with CLEARING_BIT */
extern void lost_next(const Scorer *scorer, uint64_t *job, uint32_t *chunk);

/* ---- list.c ------------------------------------------------------------------------------- */

/* A live key change brought scorer->image here: listed, if only a later row can complete it. */
extern bool list_moved(Scorer *scorer, Relation *relation, Slice key, Error *err);
/* At a last END: what is complete or gone leaves the list; after a round of it, all that the round has read. */
extern bool list_settle(Scorer *scorer, Relation *relation, bool round, Error *err);
extern bool list_clear(Scorer *scorer, Relation *relation, Error *err);
extern bool list_keys(Scorer *scorer, const Relation *relation, Buffer *keys, Error *err);

/* ---- rescore.c ---------------------------------------------------------------------------- */

/* All items of a relation are to be evaluated; a job for it that is under way begins anew. */
extern bool rescore_want(Scorer *scorer, Relation *relation, Error *err);
/* The items of all relations are to be repeated for a sink; an earlier fill of it begins anew. */
extern bool rescore_want_fill(Scorer *scorer, const SinkFill *fill, Error *err);
extern bool rescore_drop(Scorer *scorer, Relation *relation, Error *err);
/* A RESCORE unit of no job: what somebody asked for. */
extern bool rescore_asked(Scorer *scorer, Error *err);
extern bool rescore_chunk(Scorer *scorer, Error *err);
extern bool rescore_load(Scorer *scorer, Error *err);
extern void rescore_next(const Scorer *scorer, ScorerRescore *rescore);

/* ---- repeat.c ----------------------------------------------------------------------------- */

extern bool repeat_load(Scorer *scorer, Error *err);
extern bool repeat_begin(Scorer *scorer, Error *err);
extern bool repeat_chunk(Scorer *scorer, Job *job, uint32_t limit, bool *done, Error *err);
extern bool repeat_first_filled(Scorer *scorer, Error *err); /* at the end of a unit */

#endif /* WALRANK_STEP_H */
