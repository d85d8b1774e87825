/*
 * model.h -- definitions and items as the oracle knows them.
 *
 * A generator makes a definition as a tree and writes it down as text; the text goes to rules/, the
 * tree to the oracle, which walks it naively.  The two share this header and nothing with rules/.
 */
#ifndef WALRANK_TEST_MODEL_H
#define WALRANK_TEST_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ATTRIBUTES 21
#define OPERANDS_MAX 5
#define ENTRIES_MAX 6
#define STATEMENTS_MAX 12
#define NAMES_MAX 4
#define ELEMENTS_MAX 4

/* ---- values ---------------------------------------------------------------------------------- */

typedef enum
{
	V_MISSING,
	V_BOOL,
	V_NUMBER,
	V_TEXT,
	V_TIME,
	V_LIST,
	V_OTHER,
	V_ERROR, /* of the oracle's: whatever it is computed from is an error as well */
} ValueKind;

typedef struct Value
{
	ValueKind kind;
	bool boolean;
	double number;
	const char *text;
	int64_t time_us; /* since 2000 */
	int n;			 /* of elements, which are missing, bool, number or text */
	struct Value *elements;
	bool has_own_time;
	int64_t own_time_us;
} Value;

typedef enum
{
	CHANGE_UNKNOWN,
	CHANGE_NO,
	CHANGE_YES,
} Change;

typedef struct Item
{
	Value now[ATTRIBUTES];
	Value was[ATTRIBUTES];
	Change changes[ATTRIBUTES];
	bool remembers; /* else there is no previous and no change to see */
	int64_t now_us;
} Item;

typedef struct AttributeDef
{
	const char *name;
	ValueKind kind;
	bool in_map; /* a key of the map column, with its own time */
} AttributeDef;

extern const AttributeDef attributes[ATTRIBUTES];

/* The only texts that read as a time. False: this is none of them. */
extern bool text_time(const char *text, int64_t *time_us);

/* ---- definitions ----------------------------------------------------------------------------- */

typedef enum
{
	X_NUMBER,
	X_TEXT,
	X_BOOL,
	X_ATTRIBUTE,
	X_OLD,
	X_NEGATE,
	X_CHAIN, /* ops[i] stands before operands[i] */
	X_CALL,	 /* of functions[id] */
	X_MIN,
	X_MAX,
	X_STEPS,
	X_INTERP,
	X_ENUM,
	X_FLAG,
	X_AGE,
	X_LEN,
	X_DELTA,
	X_RATE,
	X_COMPARE, /* ops[0]: = ! < > l (<=) g (>=) */
	X_IN_TABLE,
	X_IN_LIST,
	X_CONTAINS,
	X_OVERLAP,
	X_BETWEEN,
	X_LIKE,
	X_PREFIX,
	X_IS_NULL,
	X_EXISTS,
	X_CHANGED,
	X_AND,
	X_OR,
	X_NOT,
	X_CONST,
	X_LET,
	X_MACRO,
	X_PARAMETER,
} ExprKind;

typedef struct Expr Expr;

typedef struct Entry
{
	Value key;
	double value;
} Entry;

struct Expr
{
	ExprKind kind;
	int id; /* of an attribute, function, name or parameter */
	double number;
	bool boolean;
	const char *text;
	int n;
	Expr *operands[OPERANDS_MAX];
	char ops[OPERANDS_MAX];
	int nentries;
	Entry entries[ENTRIES_MAX];
	bool has_other;
	double other;
};

typedef enum
{
	F_LINEAR,
	F_LOG1P,
	F_LOG10P,
	F_LN2P,
	F_SQRT,
	F_SQUARE,
	F_POW,
	F_ABS,
	F_RECIP,
	F_SATURATION,
	F_INVERSE,
	F_SIGMOID,
	F_LOGISTIC,
	F_GAUSS,
	F_EXP_DECAY,
	F_HALF_LIFE,
	F_LINEAR_DECAY,
	F_CLAMP,
	F_ROUND,
	F_DISTANCE,
	FUNCTIONS,
} FunctionId;

typedef enum
{
	D_ANY,
	D_NOT_NEGATIVE,
	D_POSITIVE,
	D_INSIDE, /* 0 < x < 1 */
	D_WITHIN, /* 0 <= x <= 1 */
} Domain;

typedef struct FunctionDef
{
	const char *name;
	int needed; /* arguments without a default come first */
	int n;
	struct
	{
		const char *name;
		Domain domain;
		double fallback;
	} arguments[4];
} FunctionDef;

extern const FunctionDef functions[FUNCTIONS];

typedef enum
{
	P_UNSET,
	P_SKIP,
	P_NUMBER,
	P_QUARANTINE,
	P_LAST_KNOWN,
	P_REJECT,
} PolicyKind;

typedef struct Policy
{
	PolicyKind kind;
	double number;
} Policy;

typedef enum
{
	S_TERM,
	S_BOOST,
	S_FACTOR,
	S_TIER,
} StatementKind;

typedef struct Statement
{
	StatementKind kind;
	double weight;
	int tier;
	Expr *value;
	Expr *when; /* NULL: always */
	Policy missing;
	Policy on_error;
} Statement;

typedef enum
{
	C_SUM,
	C_MULTIPLY,
	C_AVERAGE,
	C_MAX,
	C_MIN,
	C_FIRST,
	COMBINES,
} Combine;

typedef struct Definition
{
	int nconsts;
	double consts[NAMES_MAX];
	int nlets;
	Expr *lets[NAMES_MAX];
	int nmacros;
	Expr *macros[NAMES_MAX]; /* of two parameters each */
	Expr *where;			 /* NULL: every item */
	Policy where_on_error;
	int n;
	Statement statements[STATEMENTS_MAX];
	Combine combine;
	Policy missing;
	Policy on_error;
	bool has_clamp;
	double low;
	double high;
	bool has_round;
	double round;
} Definition;

/* ---- generate.c ------------------------------------------------------------------------------ */

typedef struct Random
{
	uint64_t state;
} Random;

/* What comes of a seed is always the same.  Everything made lives until generate_free(). */
extern const Definition *generate_definition(Random *random);

/* wild: values of other kinds than the attribute's, and numbers no table can hold, among them. */
extern const Item *generate_item(Random *random, bool wild);
extern void generate_free(void);

/* write.c */
extern void definition_write(FILE *to, const Definition *definition);

/* ---- oracle.c -------------------------------------------------------------------------------- */

typedef enum
{
	O_SCORE,
	O_OUTSIDE,
	O_QUARANTINE,
} OutcomeKind;

typedef struct Outcome
{
	OutcomeKind kind;
	double score;
	int tier;
} Outcome;

extern Outcome oracle(const Definition *definition, const Item *item);

#endif /* WALRANK_TEST_MODEL_H */
