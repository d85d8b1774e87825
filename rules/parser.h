/*
 * parser.h -- a definition's text as a tree.
 *
 * Statements in their order, expressions below them.  The tree is as deep as the text nests
 * (RULES_DEPTH_MAX), however long a line is: a sum of a thousand operands is one node.  Names are
 * not resolved and types not looked at; that is the checker's part.
 */
#ifndef WALRANK_RULES_PARSER_H
#define WALRANK_RULES_PARSER_H

#include "functions.h"
#include "lexer.h"

/* A value written out. */
typedef struct RuleLiteral
{
	RuleKind kind; /* RULE_BOOL, RULE_NUMBER, RULE_TEXT */
	bool boolean;
	bool has_time; /* RULE_TEXT that also reads as a time */
	double number;
	int64_t time_us;
	Slice text;
} RuleLiteral;

typedef struct RuleEntry
{
	RulePosition at;
	RuleLiteral key;
	double value;
} RuleEntry;

/*
 * Entries of steps and interp (as written), enum, in and overlap (sorted by the checker); keys are of
 * one kind.  What a macro is used for twice shares the entries, and has an `other` of its own.
 */
typedef struct RuleTable
{
	RuleKind kind;
	int n;
	bool has_other;
	double other; /* below, else */
	RuleEntry *entries;
} RuleTable;

typedef enum
{
	NODE_LITERAL,
	NODE_ATTRIBUTE,
	NODE_CALL,
	NODE_CHAIN, /* + - * / of one precedence, left to right */
	NODE_NEGATE,
	NODE_COMPARE,
	NODE_IN_TABLE,
	NODE_IN_LIST, /* second operand: an attribute */
	NODE_BETWEEN, /* three operands */
	NODE_LIKE,	  /* the pattern is `literal` */
	NODE_PREFIX,  /* alike */
	NODE_IS_NULL,
	NODE_AND,
	NODE_OR,
	NODE_NOT,
	NODE_STEPS, /* only as an argument; alike the next ones */
	NODE_ENUM,
	NODE_SET,
	NODE_USE,		/* of a let or macro, with its arguments: expand.c puts what it stands for there */
	NODE_PARAMETER, /* inside a macro: `parameter` */
} RuleNodeKind;

typedef struct RuleName RuleName;

typedef struct RuleNode RuleNode;
struct RuleNode
{
	RuleNodeKind kind;
	RulePosition at;
	int depth;		   /* of the brackets around it: 1 is the outermost */
	RuleNode *first;   /* operands or arguments */
	RuleNode *next;	   /* brother */
	int count;		   /* operands or arguments */
	RuleSymbol symbol; /* NODE_COMPARE: the operator; below NODE_CHAIN: the one before this operand */
	RuleLiteral literal;
	RuleAttribute attribute;
	int attribute_index; /* set by the checker */
	RuleTable *table;
	const RuleFunction *function;
	const RuleName *name; /* NODE_USE */
	int parameter;
	Slice argument;						  /* below NODE_CALL: the name before "=", or empty */
	RuleNode *bound[RULES_ARGUMENTS_MAX]; /* set by the checker; NULL: the default */
};

typedef struct RulePolicy
{
	enum
	{
		POLICY_UNSET = 0,
		POLICY_SKIP,
		POLICY_VALUE,
		POLICY_QUARANTINE, /* on_error alone */
		POLICY_LAST_KNOWN, /* missing alone; alike the next one */
		POLICY_REJECT,
	} action;
	double value;
} RulePolicy;

typedef enum
{
	COMBINE_SUM,
	COMBINE_MULTIPLY,
	COMBINE_AVERAGE,
	COMBINE_GREATEST,
	COMBINE_LEAST,
	COMBINE_FIRST,
} RuleCombine;

typedef enum
{
	STATEMENT_WHERE,
	STATEMENT_TERM,
	STATEMENT_BOOST,
	STATEMENT_FACTOR,
	STATEMENT_TIER,
} RuleStatementKind;

typedef struct RuleStatement RuleStatement;
struct RuleStatement
{
	RuleStatementKind kind;
	RulePosition at;
	Slice name; /* of a term; else the statement's word */
	double weight;
	int tier;
	RuleNode *value; /* NULL: a tier has none */
	RuleNode *when;	 /* NULL: always */
	RulePolicy missing;
	RulePolicy on_error;
	RuleStatement *next;
};

typedef struct RuleDefinition
{
	RuleStatement *first; /* where, term, boost, factor, tier as written */
	int nstatements;
	RuleName *names[RULES_NAMES_MAX]; /* const, let and macro, each after what it may use */
	int nnames;
	int nnodes; /* of all trees */
	Slice libraries[RULES_LIBRARIES_MAX];
	int nlibraries;
	RuleCombine combine;
	RulePolicy missing;
	RulePolicy on_error;
	bool has_clamp;
	double clamp_low;
	double clamp_high;
	double round;
	double min_change;
	double refresh_seconds;
	Slice scene;
} RuleDefinition;

/* text is borrowed by the tree; libraries: where to look for those it uses, or NULL. */
extern bool rule_parse(RuleDefinition *definition, Slice text, const RuleLibrary *libraries,
					   const RuleMemory *memory, RuleError *error);

/* The same for the text of a library: nothing but names. */
extern bool rule_parse_library(RuleDefinition *definition, Slice text, const RuleMemory *memory,
							   RuleError *error);

#endif /* WALRANK_RULES_PARSER_H */
