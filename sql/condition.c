/*
 * condition.c -- see condition.h.
 */
#include "postgres.h"

#include "condition.h"

#define BEFORE "where "
#define AFTER "\nterm it 0"

static void *
context_alloc(void *context, size_t bytes)
{
	return MemoryContextAlloc((MemoryContext) context, bytes);
}

static RuleMemory
context_memory(void)
{
	return (RuleMemory){context_alloc, CurrentMemoryContext};
}

static void
condition_error(const RuleError *error, int code)
{
	ereport(ERROR, errcode(code),
			error->line > 0 ? errmsg("line %d, column %d: %s", error->line, error->column, error->message)
							: errmsg("%s", error->message),
			errdetail("The condition of the intervention cannot be used."),
			error->hint[0] != '\0' ? errhint("%s", error->hint) : 0);
}

/* "The bracket was opened in line 1, column 7." */
static void
move_mentioned(char *words, size_t size)
{
	static const char place[] = "line 1, column ";
	char *at = strstr(words, place);
	char *rest;
	int column;
	char *moved;

	if (at == NULL)
		return;
	at += sizeof(place) - 1;
	column = (int) strtol(at, &rest, 10);
	moved = psprintf("%.*s%d%s", (int) (at - words), words, Max(column - (int) strlen(BEFORE), 1), rest);
	strlcpy(words, moved, size);
}

/* From a place in what was compiled to one in the condition: what is met behind its end is met there. */
static void
move_place(RuleError *error, const char *text)
{
	int line = 1;
	int column = 1;

	for (const char *at = text; *at != '\0'; at++)
	{
		column += (*at & 0xc0) != 0x80;
		if (*at == '\n')
		{
			line++;
			column = 1;
		}
	}
	if (error->line == 1)
		error->column = Max(error->column - (int) strlen(BEFORE), 1);
	move_mentioned(error->hint, sizeof(error->hint));
	if (error->line > line || (error->line == line && error->column >= column))
	{
		char *seen = strstr(error->message, ", not \"");

		error->line = line;
		error->column = column;
		if (seen != NULL) /* a word of ours */
			strlcpy(seen, ", but the condition ends here",
					sizeof(error->message) - (size_t) (seen - error->message));
	}
}

/*
 * In brackets a line may end anywhere, and nothing but one expression can stand: text that compiles
 * only without them is more than a condition, such as a statement of its own in a second line.
 */
static bool
is_one_expression(const char *text, const RuleMemory *memory)
{
	char *whole = psprintf("where (%s\n)" AFTER, text);
	RuleError error;

	return rules_compile(whole, strlen(whole), memory, &error) != NULL;
}

bool
condition_compile(Condition *condition, const char *text, RuleError *error)
{
	RuleMemory memory = context_memory();
	char *whole = psprintf(BEFORE "%s" AFTER, text);
	const RuleAttribute *attributes;

	*condition = (Condition){0};
	memset(error, 0, sizeof(*error));
	condition->program = rules_compile(whole, strlen(whole), &memory, error);
	if (condition->program == NULL)
	{
		move_place(error, text);
		if (strncmp(error->message, "expected where,", 15) == 0) /* a statement, which only we could begin */
		{
			strlcpy(error->message, "the condition ends with its line", sizeof(error->message));
			strlcpy(error->hint, "In brackets it may go on in the next line.", sizeof(error->hint));
		}
		return false;
	}
	if (!is_one_expression(text, &memory))
	{
		strlcpy(error->message, "this is more than one condition, or nested too deeply",
				sizeof(error->message));
		strlcpy(error->hint,
				"Write what follows \"where\" in a ranking, without clauses and further statements.",
				sizeof(error->hint));
		return false;
	}
	condition->values =
		palloc0(sizeof(RuleValue) * Max(rules_attributes(condition->program, &attributes), 1));
	return true;
}

bool
condition_bind(Condition *condition, Slice relation, const char *map, RuleError *error)
{
	RuleMemory memory = context_memory();
	WireRelation description;

	if (!wire_relation(relation, &description))
		elog(ERROR, "the description of the table of an intervention is malformed");
	memset(error, 0, sizeof(*error));
	condition->binding = rules_bind(condition->program, &description,
									slice_make(map ? map : "", map ? strlen(map) : 0), &memory, error);
	return condition->binding != NULL;
}

void
condition_make(Condition *condition, const char *text, Slice relation, const char *map)
{
	RuleError error;

	if (!condition_compile(condition, text, &error))
		condition_error(&error, ERRCODE_SYNTAX_ERROR);
	if (!condition_bind(condition, relation, map, &error))
		condition_error(&error, ERRCODE_UNDEFINED_COLUMN);
}

bool
condition_holds(const Condition *condition, Slice key, Slice attributes, int64 now_us)
{
	RuleResult result;

	if (!rules_fill(condition->binding, key, attributes, condition->values))
		elog(ERROR, "the encoding of an item is malformed");
	rules_evaluate(condition->program, &(RuleInput){.values = condition->values, .now_us = now_us}, &result);
	return result.outcome == RULE_SCORE;
}
