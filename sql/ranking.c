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

RuleMemory
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

static bool
compile(Ranking *ranking, const char *definition, LibrariesMode mode, RuleError *error)
{
	RuleMemory memory = context_memory();
	RuleLibrary library;
	const RuleAttribute *attributes;
	int count;

	*ranking = (Ranking){0};
	library = libraries_begin(&ranking->libraries, mode);
	ranking->program = rules_compile_with(definition, strlen(definition), &library, &memory, error);
	if (ranking->program == NULL)
		return false;
	count = Max(rules_attributes(ranking->program, &attributes), 1);
	ranking->values = palloc0(sizeof(RuleValue) * count);
	ranking->previous = palloc0(sizeof(RuleValue) * count);
	ranking->changes = palloc0(sizeof(RuleChange) * count);
	return true;
}

void
ranking_compile(Ranking *ranking, const char *name, const char *definition, LibrariesMode mode)
{
	RuleError error;

	if (!compile(ranking, definition, mode, &error))
		definition_error(name, &error);
}

bool
ranking_compile_if_whole(Ranking *ranking, const char *name, const char *definition)
{
	RuleError error;

	if (compile(ranking, definition, LIBRARIES_LOCKED, &error))
		return true;
	if (!ranking->libraries.lacking)
		definition_error(name, &error);
	return false;
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
