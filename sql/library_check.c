/*
 * library_check.c -- no row of walrank.rule_library that a ranking could not go on with.
 *
 * Before insert, update and delete: the text is a library, and every ranking that asks for it still
 * compiles, without taking a name that is gone for an attribute's.  One that did not compile before is
 * left to its author.  After an update the versions of
 * the rankings that use the library rise, so that (name, version) goes on naming one behaviour, and
 * all of that commits together.  What a ranking uses is locked while it is checked (library.c), so the
 * two cannot pass each other.
 *
 * Under check_function_bodies = off, which pg_dump sets, only the text of the library is looked at.
 */
#include "export.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "ranking.h"

EXPORT_FUNCTION(walrank_library_check);
EXPORT_FUNCTION(walrank_library_changed);

typedef struct LibraryRow
{
	char *name; /* NULL: there is no row */
	char *definition;
} LibraryRow;

static LibraryRow
row_read(HeapTuple tuple, TupleDesc desc)
{
	LibraryRow row = {0};

	if (tuple != NULL)
	{
		row.name = SPI_getvalue(tuple, desc, SPI_fnumber(desc, "name"));
		row.definition = SPI_getvalue(tuple, desc, SPI_fnumber(desc, "definition"));
	}
	return row;
}

static void
check_text(const LibraryRow *row)
{
	RuleMemory memory = context_memory();
	RuleError error;

	if (!rules_check_library(row->definition, strlen(row->definition), &memory, &error))
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("line %d, column %d: %s", error.line, error.column, error.message),
				errdetail("The definition of library \"%s\" cannot be used.", row->name),
				error.hint[0] != '\0' ? errhint("%s", error.hint) : 0);
}

/* A change that is tried: what a library would say. Nothing of it is kept. */
typedef struct Trial
{
	const char *name;		 /* NULL: all libraries are gone */
	const char *text;		 /* NULL: it is not there */
	const char *text_before; /* NULL: alike */
} Trial;

/* A definition's program, as the table stands or under a trial; *asked: it asks for what is tried. */
static const RuleProgram *
compile(const char *definition, const Trial *trial, bool *asked, RuleError *error)
{
	Libraries libraries = {0};
	RuleMemory memory = context_memory();
	RuleLibrary library;
	const RuleProgram *program;

	if (trial != NULL)
	{
		libraries.tried = trial->name;
		libraries.tried_all = trial->name == NULL;
		if (trial->text != NULL)
			libraries.tried_text = slice_string(trial->text);
	}
	library = libraries_begin(&libraries, LIBRARIES_LOCKED);
	program = rules_compile_with(definition, strlen(definition), &library, &memory, error);
	if (asked != NULL)
		*asked = libraries.asked;
	return program;
}

static bool
is_among(Slice name, const Slice *names, int n)
{
	for (int i = 0; i < n; i++)
		if (slice_equal(names[i], name))
			return true;
	return false;
}

static bool
reads(const RuleProgram *program, Slice name)
{
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);

	for (int i = 0; i < n; i++)
		if (attributes[i].column.len == 0 && slice_equal(attributes[i].name, name))
			return true;
	return false;
}

/* A name the library had, which the program now reads as an attribute's. */
static bool
name_lost(const Trial *trial, const RuleProgram *before, const RuleProgram *program, Slice *name)
{
	RuleMemory memory = context_memory();
	int nold, nnew;
	const Slice *old = rules_library_names(trial->text_before, strlen(trial->text_before), &memory, &nold);
	const Slice *new = rules_library_names(trial->text, strlen(trial->text), &memory, &nnew);

	for (int i = 0; i < nold; i++)
		if (!is_among(old[i], new, nnew) && reads(program, old[i]) && !reads(before, old[i]))
		{
			*name = old[i];
			return true;
		}
	return false;
}

static void
broken(const char *ranking, const Trial *trial, const RuleError *error)
{
	ereport(ERROR, errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			trial->text == NULL
				? errmsg("ranking \"%s\" uses %s%s%s", ranking, trial->name ? "library \"" : "a library",
						 trial->name ? trial->name : "", trial->name ? "\"" : "")
				: errmsg("ranking \"%s\" could not go on with this", ranking),
			errdetail("Line %d, column %d: %s.", error->line, error->column, error->message),
			trial->text == NULL		 ? errhint("Change the ranking, or delete it, first.")
			: error->hint[0] != '\0' ? errhint("%s", error->hint)
									 : 0);
}

/* Calls visit for each ranking, in a memory that is gone with the next one. */
static void
each_ranking(void (*visit)(const char *name, const char *definition, void *context), void *context)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(caller, "walrank.ranking", ALLOCSET_DEFAULT_SIZES);
	SPITupleTable *table;
	uint64 count;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT r.name, r.definition FROM walrank.ranking r ORDER BY r.name", false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read walrank.ranking");
	table = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(each);

		visit(SPI_getvalue(table->vals[i], table->tupdesc, 1),
			  SPI_getvalue(table->vals[i], table->tupdesc, 2), context);
		MemoryContextSwitchTo(spi);
		MemoryContextReset(each);
	}
	SPI_finish();
	MemoryContextDelete(each);
}

static void
try_ranking(const char *name, const char *definition, void *context)
{
	const Trial *trial = context;
	RuleError error;
	RuleError ignored;
	bool asked;
	const RuleProgram *program = compile(definition, trial, &asked, &error);
	const RuleProgram *before = asked ? compile(definition, NULL, NULL, &ignored) : NULL;
	Slice lost;

	if (before == NULL)
		return;
	if (program == NULL)
		broken(name, trial, &error);
	if (name_lost(trial, before, program, &lost))
		ereport(ERROR, errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("ranking \"%s\" uses \"%.*s\" of library \"%s\"", name, (int) lost.len,
					   (const char *) lost.data, trial->name),
				errhint("Change the ranking, or delete it, first."));
}

static void
try_change(const char *name, const char *text, const char *text_before)
{
	Trial trial = {name, text, text_before};

	each_ranking(try_ranking, &trial);
}

static void
require_trigger(FunctionCallInfo fcinfo, bool right, const char *what)
{
	if (!CALLED_AS_TRIGGER(fcinfo) || !right)
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("%s", what));
}

/* Before: insert, update and delete of a row, or truncate. */
Datum
walrank_library_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	LibraryRow old, new;
	TupleDesc desc;

	require_trigger(fcinfo, CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_BEFORE(trigger->tg_event),
					"walrank.library_check() is a trigger before a change");
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		try_change(NULL, NULL, NULL);
		return PointerGetDatum(NULL);
	}
	desc = RelationGetDescr(trigger->tg_relation);
	old = row_read(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? NULL : trigger->tg_trigtuple, desc);
	new = row_read(TRIGGER_FIRED_BY_INSERT(trigger->tg_event)	? trigger->tg_trigtuple
				   : TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
																: NULL,
				   desc);
	if (new.name != NULL &&new.definition != NULL)
		check_text(&new);
	if (check_function_bodies)
	{
		if (old.name != NULL && (new.name == NULL || strcmp(old.name, new.name) != 0))
			try_change(old.name, NULL, old.definition);
		else if (old.name != NULL && new.definition != NULL && strcmp(old.definition, new.definition) != 0)
			try_change(new.name, new.definition, old.definition);
	}
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
																	  : trigger->tg_trigtuple);
}

typedef struct Users
{
	Trial trial;
	ArrayBuildState *names;
	MemoryContext context;
} Users;

static void
note_user(const char *name, const char *definition, void *context)
{
	Users *users = context;
	RuleError ignored;
	bool asked;

	(void) compile(definition, &users->trial, &asked, &ignored);
	if (asked)
		users->names =
			accumArrayResult(users->names, CStringGetTextDatum(name), false, TEXTOID, users->context);
}

static void
raise_versions(Datum names)
{
	Oid types[] = {TEXTARRAYOID};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("UPDATE walrank.ranking SET version = version OPERATOR(pg_catalog.+) 1"
							  " WHERE name OPERATOR(pg_catalog.=) ANY ($1)",
							  1, types, &names, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not raise the versions of rankings");
	SPI_finish();
}

/* After update of a row. */
Datum
walrank_library_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Users users = {.context = CurrentMemoryContext};
	LibraryRow old, new;

	require_trigger(fcinfo,
					CALLED_AS_TRIGGER(fcinfo) && TRIGGER_FIRED_AFTER(trigger->tg_event) &&
						TRIGGER_FIRED_FOR_ROW(trigger->tg_event) &&
						TRIGGER_FIRED_BY_UPDATE(trigger->tg_event),
					"walrank.library_changed() is a trigger after update of a row");
	old = row_read(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
	new = row_read(trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation));
	if (strcmp(old.definition, new.definition) == 0)
		return PointerGetDatum(NULL);
	users.trial = (Trial){new.name, new.definition, old.definition};
	each_ranking(note_user, &users);
	if (users.names != NULL)
		raise_versions(makeArrayResult(users.names, users.context));
	return PointerGetDatum(NULL);
}
