/*
 * ranking.c -- see ranking.h.
 */
#include "postgres.h"

#include "ranking.h"

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
definition_error(const char *name, const RuleError *error)
{
	ereport(ERROR, errcode(error->line > 0 ? ERRCODE_SYNTAX_ERROR : ERRCODE_UNDEFINED_COLUMN),
			error->line > 0 ? errmsg("line %d, column %d: %s", error->line, error->column, error->message)
							: errmsg("%s", error->message),
			errdetail("The definition of ranking \"%s\" cannot be used.", name),
			error->hint[0] != '\0' ? errhint("%s", error->hint) : 0);
}

void
ranking_compile(Ranking *ranking, const char *name, const char *definition)
{
	RuleMemory memory = context_memory();
	RuleError error = {0};
	const RuleAttribute *attributes;
	int count;

	*ranking = (Ranking){0};
	ranking->program = rules_compile(definition, strlen(definition), &memory, &error);
	if (ranking->program == NULL)
		definition_error(name, &error);
	count = rules_attributes(ranking->program, &attributes);
	ranking->values = palloc0(sizeof(RuleValue) * Max(count, 1));
}

void
ranking_bind(Ranking *ranking, const char *name, Slice relation, const char *map)
{
	RuleMemory memory = context_memory();
	RuleError error = {0};
	WireRelation description;

	if (!wire_relation(relation, &description))
		elog(ERROR, "the description of the table of ranking \"%s\" is malformed", name);
	ranking->binding = rules_bind(ranking->program, &description,
								  slice_make(map ? map : "", map ? strlen(map) : 0), &memory, &error);
	if (ranking->binding == NULL)
		definition_error(name, &error);
	ranking->fingerprint = description.fingerprint;
}
