/*
 * rules_apply.c -- `walrank rules apply FILE...|DIR`: rankings from files under version control.
 *
 * All files are read and compiled before anything is done; one transaction brings walrank.ranking (and
 * walrank.rule_library) to what they say, or nothing.  What says the same already is left alone, so applying
 * twice changes nothing and no version rises without need.
 */
#include "cli/cli.h"

#include <stdlib.h>

#include "base/json.h"
#include "cli/library_source.h"
#include "cli/textdiff.h"

#define ARENA_BYTES (64 * 1024)

enum
{
	APPLY_DELETE
};

static const CliOption options[] = {
	{"--delete", NULL, "also delete rankings and libraries that have no file in the directory"},
	{0},
};

typedef enum
{
	ACTION_KEEP,
	ACTION_INSERT,
	ACTION_UPDATE,
	ACTION_DELETE,
	ACTIONS
} ActionKind;

typedef struct Action
{
	ActionKind kind;
	bool library;
	const char *name;
	const Definition *file; /* NULL: to be deleted */
	const RankingRow *ranking;
	const LibraryRow *stored_library;
} Action;

typedef struct Plan
{
	Action *list; /* in the order it is carried out */
	int count;
	int counts[ACTIONS];
} Plan;

typedef struct Apply
{
	const Cli *cli;
	bool delete;
	DefinitionFiles files;
	PGconn *conn;
	RankingRows rows;
	Plan plan;
	Error err;
} Apply;

/* ---- are the files what they should be? -------------------------------------------------------- */

static bool
compiles(const Apply *apply, const DefinitionFile *file, Arena *arena, RuleError *error)
{
	/* with --delete the database's own libraries go */
	LibrarySource source = {
		.files = &apply->files, .rows = apply->delete ? NULL : &apply->rows, .arena = arena};
	RuleLibrary library = library_source(&source);
	Slice text = buffer_slice(&file->definition.text);

	return file->library ? definition_check_library(text, arena, error)
						 : definition_compile(text, &library, arena, error) != NULL;
}

static bool
check_file(const Apply *apply, const DefinitionFile *file, Error *err)
{
	const Definition *definition = &file->definition;
	Arena *arena;
	RuleError error;
	bool ok;

	if (!file->library && definition->relation == NULL)
	{
		error_set(err, ERR_CONFIG, "%s:1:1: the first line does not say which table it ranks",
				  definition->path);
		return error_hint(err, "Begin it with: # ranking \"%s\" over schema.table", definition->name);
	}
	arena = arena_create(ARENA_BYTES);
	ok = compiles(apply, file, arena, &error) || definition_error(err, definition->path, &error);
	arena_destroy(arena);
	return ok;
}

/* All that is wrong is said, not only the first. */
static bool
check_files(Apply *apply)
{
	bool ok = true;

	for (int i = 0; i < apply->files.count; i++)
	{
		Error err = {0};

		if (check_file(apply, &apply->files.list[i], &err))
			continue;
		if (!ok)
			cli_fail(&apply->err);
		apply->err = err;
		ok = false;
	}
	return ok;
}

/* ---- what is to be done ----------------------------------------------------------------------- */

static void
plan_add(Plan *plan, Action action)
{
	plan->list = xrealloc(plan->list, (size_t) (plan->count + 1) * sizeof(*plan->list));
	plan->list[plan->count++] = action;
	plan->counts[action.kind]++;
}

static bool
same_ranking(const Definition *file, const RankingRow *row)
{
	return strcmp(file->relation, row->relation) == 0 && file->disabled == !row->enabled &&
		   definition_same(buffer_slice(&file->text), slice_string(row->definition));
}

static void
plan_file(Apply *apply, const DefinitionFile *file)
{
	const Definition *definition = &file->definition;
	Action action = {.library = file->library, .name = definition->name, .file = definition};
	bool same;

	if (file->library)
	{
		action.stored_library = library_rows_find(&apply->rows, action.name);
		same =
			action.stored_library != NULL &&
			definition_same(buffer_slice(&definition->text), slice_string(action.stored_library->definition));
	}
	else
	{
		action.ranking = ranking_rows_find(&apply->rows, action.name);
		same = action.ranking != NULL && same_ranking(definition, action.ranking);
	}
	action.kind = same														? ACTION_KEEP
				  : action.ranking != NULL || action.stored_library != NULL ? ACTION_UPDATE
																			: ACTION_INSERT;
	plan_add(&apply->plan, action);
}

/* Rankings before the libraries they may use. */
static void
plan_deletions(Apply *apply)
{
	const RankingRows *rows = &apply->rows;

	for (int i = 0; i < rows->count; i++)
		if (definition_files_find(&apply->files, rows->list[i].name, false) == NULL)
			plan_add(&apply->plan,
					 (Action){ACTION_DELETE, false, rows->list[i].name, NULL, &rows->list[i], NULL});
	for (int i = 0; i < rows->nlibraries; i++)
		if (definition_files_find(&apply->files, rows->libraries[i].name, true) == NULL)
			plan_add(&apply->plan,
					 (Action){ACTION_DELETE, true, rows->libraries[i].name, NULL, NULL, &rows->libraries[i]});
}

static bool
plan_make(Apply *apply)
{
	const DefinitionFiles *files = &apply->files;

	if (files->count > 0 && files->list[0].library && !apply->rows.has_libraries)
		return error_set(&apply->err, ERR_CONFIG,
						 "\"%s\" is a library, and the server's walrank has none: there is no table "
						 "walrank.rule_library",
						 files->list[0].definition.path);
	for (int i = 0; i < files->count; i++)
		plan_file(apply, &files->list[i]);
	if (apply->delete)
		plan_deletions(apply);
	return true;
}

/* ---- doing it --------------------------------------------------------------------------------- */

static bool
act(PGconn *conn, const Action *action, Error *err)
{
	const Definition *file = action->file;
	const char *params[] = {action->name, file != NULL ? (const char *) file->text.data : NULL,
							file != NULL ? file->relation : NULL,
							file != NULL && file->disabled ? "false" : "true"};
	static const char *const sql[2][ACTIONS] = {
		{[ACTION_INSERT] = "INSERT INTO walrank.ranking (name, definition, relation, enabled) VALUES ($1, "
						   "$2, $3, $4)",
		 [ACTION_UPDATE] = "UPDATE walrank.ranking SET definition = $2, relation = $3, enabled = $4 WHERE "
						   "name = $1",
		 [ACTION_DELETE] = "DELETE FROM walrank.ranking WHERE name = $1"},
		{[ACTION_INSERT] = "INSERT INTO walrank.rule_library (name, definition) VALUES ($1, $2)",
		 [ACTION_UPDATE] = "UPDATE walrank.rule_library SET definition = $2 WHERE name = $1",
		 [ACTION_DELETE] = "DELETE FROM walrank.rule_library WHERE name = $1"},
	};
	int nparams = action->kind == ACTION_DELETE ? 1 : action->library ? 2 : 4;
	char what[DEFINITION_NAME_BYTES + 32];

	if (action->kind == ACTION_KEEP)
		return true;
	snprintf(what, sizeof(what), "%s \"%s\"", action->library ? "library" : "ranking", action->name);
	return ranking_rows_execute(conn, err, file != NULL ? file->path : what,
								sql[action->library][action->kind], nparams, params);
}

/* What the server would say of a name that means nothing in the table. */
static bool
try_binding(const Apply *apply, const Definition *file, Error *err)
{
	LibrarySource source = {.files = &apply->files, .rows = &apply->rows};
	RuleLibrary library = library_source(&source);
	Arena *arena = arena_create(ARENA_BYTES);
	Slice text = buffer_slice(&file->text);
	RuleError error;
	RankedTable table = {0};
	RuleProgram *program;
	bool ok;

	source.arena = arena;
	program = definition_compile(text, &library, arena, &error);
	ok = program != NULL || definition_error(err, file->path, &error);
	ok = ok &&
		 (ranked_table_read(apply->conn, file->relation, &table, err) || error_wrap(err, "%s", file->path));
	if (ok && strcmp(table.name, file->relation) != 0)
	{
		error_set(err, ERR_CONFIG, "%s: table \"%s\" is not watched", file->path, file->relation);
		error_hint(err, "Write it as walrank.watched has it: %s.", table.name);
		ok = false;
	}
	if (ok && definition_bind(text, program, &table.relation, slice_string(table.map), arena, &error) == NULL)
		ok = definition_error(err, file->path, &error);
	ranked_table_free(&table);
	arena_destroy(arena);
	return ok;
}

static bool
try_all(Apply *apply)
{
	for (int i = 0; i < apply->plan.count; i++)
	{
		const Action *action = &apply->plan.list[i];

		if (action->file != NULL && action->kind != ACTION_KEEP && !action->library &&
			!try_binding(apply, action->file, &apply->err))
			return false;
	}
	return true;
}

/* In a savepoint of its own. *refused: for now; the server may take it when something else is done. */
static bool
try_act(PGconn *conn, const Action *action, bool *refused, Error *err)
{
	*refused = false;
	if (!ranking_rows_execute(conn, err, "could not set a savepoint", "SAVEPOINT one", 0, NULL))
		return false;
	if (act(conn, action, err))
		return ranking_rows_execute(conn, err, "could not release a savepoint", "RELEASE one", 0, NULL);
	*refused = err->class == ERR_CONFIG;
	return *refused && source_execute(conn, err, "could not roll back", "ROLLBACK TO one", 0, NULL);
}

/*
 * A library cannot lose what a ranking uses before that ranking has changed, nor a ranking use what its library does
 * not have yet: what the server refuses is tried again after the rest, as long as anything goes.
 */
static bool
act_all(Apply *apply)
{
	bool *done = xcalloc((size_t) apply->plan.count + 1, sizeof(*done));
	Error first = {0};
	bool ok = true;
	int left;
	int before;

	do
	{
		before = left = 0;
		for (int i = 0; ok && i < apply->plan.count; i++)
		{
			Error err = {0};
			bool refused;

			if (done[i])
				continue;
			before++;
			ok = try_act(apply->conn, &apply->plan.list[i], &refused, &err);
			done[i] = ok && !refused;
			left += refused;
			if (!ok || (refused && left == 1))
				first = err;
		}
	} while (ok && left > 0 && left < before);
	free(done);
	if (!ok || left > 0)
		apply->err = first;
	return ok && left == 0;
}

static bool
transaction(Apply *apply)
{
	const bool dry_run = apply->cli->dry_run;
	PGconn *conn = apply->conn;
	Error *err = &apply->err;

	if (!ranking_rows_execute(conn, err, "could not begin", dry_run ? "BEGIN READ ONLY" : "BEGIN", 0, NULL) ||
		!ranking_rows_execute(conn, err, "could not set lock_timeout", "SET LOCAL lock_timeout = '5s'", 0,
							  NULL) ||
		!ranking_rows_read(conn, !dry_run, &apply->rows, err) || !check_files(apply) || !plan_make(apply))
		return false;
	if (dry_run)
		return try_all(apply);
	return act_all(apply) && ranking_rows_execute(conn, err, "could not commit", "COMMIT", 0, NULL);
}

/* ---- telling it ------------------------------------------------------------------------------- */

static void
put_difference(const Action *action, Buffer *out)
{
	const char *before = action->library
							 ? (action->stored_library != NULL ? action->stored_library->definition : NULL)
							 : (action->ranking != NULL ? action->ranking->definition : NULL);
	const char *after = action->file != NULL ? (const char *) action->file->text.data : NULL;
	char label[DEFINITION_NAME_BYTES + 32];

	snprintf(label, sizeof(label), "walrank.%s/%s", action->library ? "rule_library" : "ranking",
			 action->name);
	text_diff(out, before != NULL ? label : "/dev/null", after != NULL ? action->file->path : "/dev/null",
			  slice_string(before != NULL ? before : ""), slice_string(after != NULL ? after : ""));
}

/* What of an update the text does not show. */
static void
put_details(const Action *action, Buffer *out)
{
	const Definition *file = action->file;
	const RankingRow *row = action->ranking;

	if (action->library || file == NULL)
		return;
	if (row == NULL || strcmp(row->relation, file->relation) != 0)
		buffer_printf(out, " over %s", file->relation);
	if (row == NULL ? file->disabled : row->enabled == file->disabled)
		buffer_printf(out, ", %s", file->disabled ? "disabled" : "enabled");
}

static void
print_human(const Apply *apply)
{
	static const char *const done[] = {"unchanged", "inserted", "updated", "deleted"};
	static const char *const would[] = {"unchanged", "would insert", "would update", "would delete"};
	const char *const *words = apply->cli->dry_run ? would : done;
	Buffer out = {0};

	for (int i = 0; i < apply->plan.count; i++)
	{
		const Action *action = &apply->plan.list[i];

		if (action->kind == ACTION_KEEP)
			continue;
		buffer_printf(&out, "%s %s \"%s\"", words[action->kind], action->library ? "library" : "ranking",
					  action->name);
		put_details(action, &out);
		buffer_append_byte(&out, '\n');
		if (apply->cli->dry_run)
			put_difference(action, &out);
	}
	cli_print("%.*s%d unchanged\n", (int) out.len, out.len > 0 ? (char *) out.data : "",
			  apply->plan.counts[ACTION_KEEP]);
	buffer_free(&out);
}

static void
print_json(const Apply *apply)
{
	static const char *const words[] = {"keep", "insert", "update", "delete"};
	Buffer out = {0};
	Buffer difference = {0};

	for (int i = 0; i < apply->plan.count; i++)
	{
		const Action *action = &apply->plan.list[i];

		buffer_printf(&out, "%s{\"action\":\"%s\",\"kind\":\"%s\",\"name\":\"%s\"", i > 0 ? "," : "",
					  words[action->kind], action->library ? "library" : "ranking", action->name);
		buffer_reset(&difference);
		put_difference(action, &difference);
		buffer_printf(&out, ",\"diff\":");
		json_string(&out, action->kind != ACTION_KEEP ? buffer_slice(&difference) : slice_make("", 0));
		buffer_append_byte(&out, '}');
	}
	cli_print("{\"dry_run\":%s,\"actions\":[%.*s]}\n", apply->cli->dry_run ? "true" : "false", (int) out.len,
			  out.len > 0 ? (char *) out.data : "");
	buffer_free(&out);
	buffer_free(&difference);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Apply apply = {.cli = cli, .delete = values[APPLY_DELETE] != NULL};
	bool ok;

	if (operands[0] == NULL)
		return cli_usage("rules apply needs files or a directory");
	if (!definition_files_read(operands, &apply.files, &apply.err))
		return cli_fail(&apply.err);
	if (apply.delete &&!apply.files.directory)
	{
		definition_files_free(&apply.files);
		return cli_usage("--delete needs one directory, which holds all that is to stay");
	}
	ok = ranking_rows_connect(cli, &apply.conn, &apply.err) && transaction(&apply);
	if (ok && cli->json)
		print_json(&apply);
	else if (ok)
		print_human(&apply);
	PQfinish(apply.conn); /* what was not committed is taken back */
	ranking_rows_free(&apply.rows);
	definition_files_free(&apply.files);
	free(apply.plan.list);
	return ok ? EXIT_DONE : cli_fail(&apply.err);
}

const CliCommand cli_rules_apply = {
	.name = "rules apply",
	.summary = "insert and update rankings from files NAME.rules, in one transaction",
	.options = options,
	.operands = "FILE...|DIR",
	.run = run,
};
