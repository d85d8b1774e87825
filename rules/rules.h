/*
 * rules.h -- the scoring language (scoring.md section f): text in, program out, score out.
 *
 * Pure C on libc and libm: no I/O, no clock, no locale, no global state.  Memory comes from the
 * caller's allocator and is never freed here (an arena in the daemon, a memory context in the
 * server).  Errors are values.  The same program and the same input give the same bits: left to
 * right IEEE doubles, compiled with -ffp-contract=off.
 *
 * Times are int64 microseconds since 2000-01-01 UTC (PostgreSQL's epoch).
 */
#ifndef WALRANK_RULES_H
#define WALRANK_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

/* Limits: what a definition may cost is known when it is loaded. */
#define RULES_TEXT_BYTES_MAX (64 * 1024)
#define RULES_STATEMENTS_MAX 256
#define RULES_ATTRIBUTES_MAX 128
#define RULES_DEPTH_MAX 32	   /* nesting of an expression */
#define RULES_TABLE_MAX 256	   /* entries of steps, enum, in */
#define RULES_PROGRAM_MAX 8192 /* instructions; what is expanded counts where it is used */
#define RULES_NAMES_MAX 256	   /* const, let and macro in sight, those of libraries included */
#define RULES_PARAMETERS_MAX 8 /* of a macro */
#define RULES_LIBRARIES_MAX 16
#define RULES_LIBRARY_NAME_MAX 63
#define RULES_PATTERN_BYTES_MAX 256			  /* of like; with the next one it bounds what a match costs */
#define RULES_LIKE_TEXT_BYTES_MAX (64 * 1024) /* a longer text is an error of like */
#define RULES_SCENE_BYTES_MAX 63
#define RULES_TIER_MAX 4000 /* tiers are -4000 .. 4000 */
#define RULES_REFRESH_DEFAULT_US INT64_C(60000000)
#define RULES_REFRESH_SECONDS_MAX 31536000 /* a year */
#define RULES_ROUND_DEFAULT 1e-9

typedef struct RuleMemory
{
	void *(*alloc)(void *context, size_t bytes); /* never returns NULL; need not zero */
	void *context;
} RuleMemory;

typedef struct RuleError
{
	int line;		   /* from 1 */
	int column;		   /* from 1, in characters; of the definition, also where a library is to blame */
	char message[256]; /* what is wrong, and what was expected */
	char hint[256];	   /* how to fix it; may be empty */
} RuleError;

/* What a rule sees of one attribute. */
typedef enum
{
	RULE_MISSING = 0, /* absent, or JSON/SQL null */
	RULE_BOOL,
	RULE_NUMBER,
	RULE_TEXT,
	RULE_TIME, /* timestamp, timestamptz, date */
	RULE_LIST, /* scalars, read lazily from wire bytes */
	RULE_OTHER /* bytes, nested json, oversized: exists, but is an operand of the wrong type */
} RuleKind;

typedef struct RuleValue
{
	RuleKind kind;
	union
	{
		bool boolean;
		double number;
		int64_t time_us; /* INT64_MIN, INT64_MAX: -infinity, infinity */
		Slice bytes;	 /* RULE_TEXT: UTF-8; RULE_LIST: payload of a wire List, or JSON (list_is_json) */
	};
	bool list_is_json; /* RULE_LIST: bytes are what stands inside the brackets of a JSON array */
	bool has_own_time; /* the value came from a map as [value, "time"] */
	int64_t own_time_us;
} RuleValue;

typedef struct RuleProgram RuleProgram;

typedef enum
{
	RULE_SCORE = 0,	 /* result->score is finite and rounded */
	RULE_OUTSIDE,	 /* `where` does not hold, or `missing reject item`: the item is not in the ranking */
	RULE_QUARANTINE, /* an error whose on_error says quarantine: no score */
} RuleOutcome;

typedef struct RuleResult
{
	RuleOutcome outcome;
	double score;
	int tier;			   /* RULE_SCORE: the greatest of those that hold; 0 if there is none */
	const char *statement; /* RULE_QUARANTINE: name of the term, or "where", "boost", "factor", "tier";
							* "score" when all statements were well and what they come to is not finite */
	const char *reason;	   /* RULE_QUARANTINE: constant text, e.g. "division by zero" */
} RuleResult;

/* NULL, and *error filled, when the text is not a valid definition. */
extern RuleProgram *rules_compile(const char *text, size_t len, const RuleMemory *memory, RuleError *error);

/* Where `use NAME` finds the text of a library.  False: there is none of that name. */
typedef struct RuleLibrary
{
	bool (*find)(void *context, Slice name, Slice *text); /* the text is copied */
	void *context;
} RuleLibrary;

/* The same with libraries; NULL: without.  An error inside a library says its name, line and column
 * in the message; line and column of the error are those of the definition that uses it. */
extern RuleProgram *rules_compile_with(const char *text, size_t len, const RuleLibrary *library,
									   const RuleMemory *memory, RuleError *error);

/* The libraries the program was made with, i = 0, 1, ..; false behind the last. */
extern bool rules_uses(const RuleProgram *program, int i, Slice *library);

/* Whether a text is a library: const, let and macro alone, each right by itself.  False and *error. */
extern bool rules_check_library(const char *text, size_t len, const RuleMemory *memory, RuleError *error);

/* The names a library lends, in their order; NULL if it is not right.  *n is their number. */
extern const Slice *rules_library_names(const char *text, size_t len, const RuleMemory *memory, int *n);

/* False: no name a library can have, which is the one of a ranking: [a-z0-9_-]{1,63}. */
extern bool rules_library_name(Slice name);

/*
 * The attributes the program reads, in order of first appearance, each once.  A name is as written:
 * "price", or "att.price" / "\"odd name\".x" split into column and key by rules_attribute().
 */
typedef struct RuleAttribute
{
	Slice column; /* empty when the name has no qualifier */
	Slice name;	  /* unquoted */
} RuleAttribute;

extern int rules_attributes(const RuleProgram *program, const RuleAttribute **attributes);

/* Moves of the score that are smaller are not told; 0: all are. */
extern double rules_min_change(const RuleProgram *program);
/* A score that drifts with the clock is not told again by the clock alone before so many us have passed. */
extern int64_t rules_refresh_us(const RuleProgram *program);

/* True when a score may change with time alone (age is used). */
extern bool rules_use_clock(const RuleProgram *program);

/* True when the program asks what attribute i was, or whether it has changed: old, delta, rate,
 * changed, missing last known.  Its `previous` and `changes` matter then, and of no other. */
extern bool rules_reads_previous(const RuleProgram *program, int attribute);

/* True when it does so of any. */
extern bool rules_use_previous(const RuleProgram *program);

/* A change of the score that is smaller is not worth emitting; 0: each is. */
extern double rules_min_change(const RuleProgram *program);

/* A score that moves with the clock alone is not emitted again within this time. */
extern int64_t rules_refresh_us(const RuleProgram *program);

/* The label of the ranking, empty if it has none. */
extern Slice rules_scene(const RuleProgram *program);

/* What is known of an attribute's last change. */
typedef enum
{
	RULE_CHANGE_UNKNOWN = 0, /* also: the item has not changed since anybody remembers */
	RULE_UNCHANGED,			 /* the item's last change left it alone */
	RULE_CHANGED,
} RuleChange;

/* An item at a time. values[i] belongs to attribute i of rules_attributes(). */
typedef struct RuleInput
{
	const RuleValue *values;
	const RuleValue *previous; /* what each was before it last changed; NULL: nothing is remembered */
	const RuleChange *changes; /* NULL: alike */
	int64_t now_us;
	bool allowed; /* somebody let the item in: `where` is not asked */
} RuleInput;

/* Never allocates. */
extern void rules_evaluate(const RuleProgram *program, const RuleInput *input, RuleResult *result);

/* ---- clock.c: when a score moves with time alone ------------------------------------------------ */

#define RULES_NEVER INT64_MAX
#define RULES_HORIZON_US (INT64_C(3653) * 86400 * 1000000) /* ten years: how far ahead is looked */

/*
 * Whether `result` has to be emitted although `stands` is what was: another outcome, or a score that
 * differs by at least min_change (at all: 0).  A difference that misses min_change by no more than
 * decimal fractions lose as doubles counts: from 1 to 0.9 it is 0.1.
 */
extern bool rules_differ(const RuleResult *stands, const RuleResult *result, double min_change);

/*
 * The first microsecond after input->now_us at which rules_evaluate() of the same values gives what
 * differs (rules_differ) from what `stands`.  Jumps (comparisons with age, steps, enum, flag, when, clamp) are
 * met exactly.  It may be too early: then nothing differs at that time, and the caller asks again
 * with it as now_us.  It is never too late.  When the search is given up, the time is a second ahead
 * or more, unless not even that second could be shown to hold no change (a score that sits on the
 * edge of rounding to its last bits).  RULES_NEVER is proven; what is not proven is asked
 * again after RULES_HORIZON_US at the latest.  Never allocates; takes a bounded number of steps
 * (RULES_CLOCK_STEPS_MAX in clock.c); depends on nothing but its arguments.
 */
extern int64_t rules_next_change(const RuleProgram *program, const RuleInput *input, const RuleResult *stands,
								 double min_change);

/*
 * True when age() reaches the score through something continuous, so that the score drifts all the
 * time; false when it only jumps (comparisons, steps, round(), or no age() at all).
 */
extern bool rules_drifts(const RuleProgram *program);

/* ---- explain.c: how a score came about ----------------------------------------------------------- */

typedef enum
{
	RULE_LINE_WHERE = 0,
	RULE_LINE_TERM,
	RULE_LINE_BOOST,
	RULE_LINE_FACTOR,
	RULE_LINE_CLAMP,
	RULE_LINE_ROUND,
	RULE_LINE_TIER,
} RuleLineKind;

/* Why a statement counts, or does not. */
typedef enum
{
	RULE_COUNTS = 0,	   /* with what its expression gives; `where`: it holds */
	RULE_COUNTS_MISSING,   /* with the number after `missing` */
	RULE_COUNTS_ERROR,	   /* with the number after `on_error`; reason says which error */
	RULE_OUT_FALSE,		   /* `when` (or `where`) is false */
	RULE_OUT_UNKNOWN,	   /* `when` (or `where`) is unknown: something it needs is missing */
	RULE_OUT_MISSING,	   /* its value is missing, and `missing` says skip */
	RULE_OUT_REJECTED,	   /* its value is missing, and `missing` says reject item: the item is outside */
	RULE_OUT_ERROR,		   /* an error, and `on_error` says skip */
	RULE_OUT_QUARANTINE,   /* an error, and `on_error` says quarantine: there is no score */
	RULE_OUT_NOT_COMPUTED, /* the item is outside, or quarantined, before it came to this */
} RuleWhy;

typedef struct RuleLine
{
	RuleLineKind kind;
	const char *name; /* of a term; else the statement's word */
	Slice text;		  /* the statement as written, without comment; in memory of the program */
	int line;		  /* where it begins in the definition, from 1 */
	bool counts;
	RuleWhy why;
	const char *reason; /* RULE_COUNTS_ERROR, RULE_OUT_ERROR, RULE_OUT_QUARANTINE: constant text; else NULL */
	double weight;		/* of a term; else 1 */
	bool has_value;		/* it was computed: counts, and not `where` */
	double value;		/* of the expression or its policy; clamp, round: the score after it; tier: which */
	double contribution;		/* term: weight * value; boost, factor: value; clamp, round: by how much the
						  * score moved; 0 when it does not count */
	const uint16_t *attributes; /* what it reads: indexes of rules_attributes(), each once, rising */
	int nattributes;
} RuleLine;

/*
 * What the contributions that count came to, in the order of the lines, as doubles: terms as
 * `combine` says (sum: added up from 0; avg: the same, over the sum of their weights; mult, max, min,
 * first: from the first one on), boosts added up from 0, factors multiplied from 1.  (terms + boosts)
 * * factors is before_clamp, or on_error's number where that is not finite.  All 0 when the result is
 * no score.
 */
typedef struct RuleTotals
{
	const char *combine; /* as it is written; sum, where it is not */
	double terms;
	double boosts;
	double factors;
	double before_clamp;
	double after_clamp;
	double rounded;
} RuleTotals;

/* Lines are lent for the time of the call. */
typedef struct RuleExplainer
{
	void (*line)(void *context, const RuleLine *line);
	void (*totals)(void *context, const RuleTotals *totals, const RuleResult *result);
	void *context;
} RuleExplainer;

/*
 * Evaluate, and tell every statement in the order it is computed: where, then terms, boosts, factors
 * and tiers as written (a tier counts where it holds; the greatest of these is the result's), then clamp and round where the definition has them; at last the totals and
 * the result, which is rules_evaluate()'s to the bit.  Never allocates.
 */
extern void rules_explain(const RuleProgram *program, const RuleInput *input, const RuleExplainer *explainer);

/* ISO 8601 / RFC 3339 date or timestamp, "T" or space, optional fraction and zone (none = UTC). */
extern bool rules_parse_time(Slice text, int64_t *time_us);

/*
 * CRC-like fingerprint of this libm: FNV-1a 64 over the bits of 1,000 values of the functions the
 * language uses.  Two hosts with the same value compute the same scores to the bit.
 */
extern uint64_t rules_libm_fingerprint(void);

/* ---- item.c: an item's attributes as a program wants them ------------------------------------ */

/*
 * Which attribute of a relation each name of a program means.  A name without qualifier is the
 * column of that name, else the key of that name in the relation's map column; a qualified one is a
 * key of that jsonb column.  Made once per (program, relation descriptor).
 */
typedef struct RuleBinding RuleBinding;

/* map_column: name of the map column, empty if none. Returns NULL and *error (line 0) when a name
 * can mean nothing: no such column, and no map column to look in. */
extern RuleBinding *rules_bind(const RuleProgram *program, const WireRelation *relation, Slice map_column,
							   const RuleMemory *memory, RuleError *error);

/*
 * Fill values[0 .. n-1] for the program from an image: key = Value fields of the key columns,
 * attributes = Attribute fields (WireChange.attributes).  Never allocates.  In the map column a
 * list of two elements whose second is text is [value, "time"]: the value counts as the first, and
 * its own time is the second if that parses; anything else is a bare value.  Such a pair whose first
 * is an array of scalars is a list, whose first is another array or an object is RULE_OTHER.
 * False when the bytes are malformed.
 */
extern bool rules_fill(const RuleBinding *binding, Slice key, Slice attributes, RuleValue *values);

/* Whether a value of the map column (a Value message) is [value, "time"]; *time is its text. */
extern bool rules_map_time(Slice value, Slice *time);

/*
 * What is remembered of an item: `fresh`, Attribute fields with the values that its last change replaced (state REMOVED:
 * there was none), and in `all` behind them those that earlier changes replaced.  Fills previous and changes.
 */
extern bool rules_fill_previous(const RuleBinding *binding, Slice fresh, Slice all, RuleValue *previous,
								RuleChange *changes);

/* Whether the program reads what (column, key) was before it changed. */
extern bool rules_remembers(const RuleBinding *binding, uint32_t column, bool has_key, Slice key);

/* Whether a change of (column, key) touches what the program reads. */
extern bool rules_reads(const RuleBinding *binding, uint32_t column, bool has_key, Slice key);

#endif /* WALRANK_RULES_H */
