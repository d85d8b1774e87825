/*
 * rules_export.c -- `walrank rules export DIR`: every ranking as a file, so that applying them changes nothing.
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json.h"
#include "cli/definition_files.h"
#include "cli/ranking_rows.h"

static const CliOption options[] = {{0}};

typedef struct Export
{
	const Cli *cli;
	const char *directory;
	int dirfd; /* -1: it is not there yet, and this is a dry run */
	RankingRows rows;
	int written, unchanged;
	Buffer json;
	Error err;
} Export;

/* ---- one file --------------------------------------------------------------------------------- */

/* The header says what the row says, whatever stood above its text. */
static void
ranking_text(const RankingRow *row, Buffer *text)
{
	Slice definition = slice_string(row->definition);
	DefinitionHeader header;
	RuleError ignored;

	if (!definition_header(definition, &header, &ignored))
		header.body = definition;
	definition_header_print(text, row->name, row->relation, row->enabled);
	buffer_append_slice(text, header.body);
	if (text->data[text->len - 1] != '\n')
		buffer_append_byte(text, '\n');
}

static void
library_text(const LibraryRow *row, Buffer *text)
{
	buffer_append_slice(text, slice_string(row->definition));
	if (text->len == 0 || text->data[text->len - 1] != '\n')
		buffer_append_byte(text, '\n');
}

static bool
is_same(Export *export, const char *name, Slice text, bool *same)
{
	uint8_t *held = xmalloc(text.len + 1);
	size_t len = 0;
	bool found = false;
	bool ok = export->dirfd < 0 ||
			  fs_read_file(export->dirfd, name, text.len + 1, held, &len, &found, &export->err);

	/* a longer one is another one */
	if (!ok && export->err.class == ERR_DATA)
		ok = found = true;
	*same = found && len == text.len && memcmp(held, text.data, len) == 0;
	free(held);
	return ok;
}

static void
tell(Export *export, const char *name, bool same)
{
	const bool dry_run = export->cli->dry_run;

	export->written += !same;
	export->unchanged += same;
	if (export->cli->json)
	{
		buffer_printf(&export->json, "%s{\"file\":", export->json.len > 0 ? "," : "");
		json_string(&export->json, slice_string(name));
		buffer_printf(&export->json, ",\"action\":\"%s\"}", same ? "keep" : "write");
	}
	else if (!same)
		cli_print("%s %s/%s\n", dry_run ? "would write" : "wrote", export->directory, name);
}

/* It is no secret, and belongs into version control: as readable as what else is made there. */
static void
let_read(int dirfd, const char *name)
{
	mode_t mask = umask(0);

	umask(mask);
	fchmodat(dirfd, name, 0666 & ~mask, 0);
}

static bool
write_file(Export *export, const char *row_name, const char *suffix, const Buffer *text)
{
	char name[DEFINITION_NAME_BYTES + 16];
	bool same;

	snprintf(name, sizeof(name), "%s%s", row_name, suffix);
	if (!is_same(export, name, buffer_slice(text), &same))
		return false;
	if (!same && !export->cli->dry_run && !fs_replace(export->dirfd, name, buffer_slice(text), &export->err))
		return error_wrap(&export->err, "could not write \"%s/%s\"", export->directory, name);
	if (!same && !export->cli->dry_run)
		let_read(export->dirfd, name);
	tell(export, name, same);
	return true;
}

/* ---- all of them ------------------------------------------------------------------------------ */

static bool
open_directory(Export *export)
{
	const char *path = export->directory;

	if (!export->cli->dry_run && mkdir(path, 0777) != 0 && errno != EEXIST)
		return error_set(&export->err, ERR_CONFIG, "could not create directory \"%s\": %s", path,
						 strerror(errno));
	export->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (export->dirfd >= 0 || (export->cli->dry_run && errno == ENOENT))
		return true;
	return error_set(&export->err, ERR_CONFIG, "could not open directory \"%s\": %s", path, strerror(errno));
}

static bool
export_all(Export *export)
{
	const RankingRows *rows = &export->rows;
	Buffer text = {0};
	bool ok = true;

	for (int i = 0; ok && i < rows->nlibraries; i++)
	{
		buffer_reset(&text);
		library_text(&rows->libraries[i], &text);
		ok = write_file(export, rows->libraries[i].name, LIBRARY_SUFFIX, &text);
	}
	for (int i = 0; ok && i < rows->count; i++)
	{
		buffer_reset(&text);
		ranking_text(&rows->list[i], &text);
		ok = write_file(export, rows->list[i].name, DEFINITION_SUFFIX, &text);
	}
	buffer_free(&text);
	return ok;
}

/* Files of rankings that are not there: apply would insert them. */
static void
name_others(const Export *export)
{
	const char *const paths[] = {export->directory, NULL};
	DefinitionFiles files;
	Error ignored;

	if (export->dirfd < 0 || !definition_files_read(paths, &files, &ignored))
		return;
	for (int i = 0; i < files.count; i++)
	{
		const DefinitionFile *file = &files.list[i];
		const char *name = file->definition.name;

		if (file->library ? library_rows_find(&export->rows, name) == NULL
						  : ranking_rows_find(&export->rows, name) == NULL)
			fprintf(stderr, "walrank: WARNING:  \"%s\" is not in the database, and was left alone\n",
					file->definition.path);
	}
	definition_files_free(&files);
}

static void
summary(const Export *export)
{
	if (export->cli->json)
		cli_print("{\"dry_run\":%s,\"files\":[%.*s]}\n", export->cli->dry_run ? "true" : "false",
				  (int) export->json.len, export->json.len > 0 ? (char *) export->json.data : "");
	else
		cli_print("%d written, %d unchanged\n", export->cli->dry_run ? 0 : export->written,
				  export->unchanged);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	Export export = {.cli = cli, .directory = operands[0], .dirfd = -1};
	PGconn *conn = NULL;
	bool ok;

	if (operands[0] == NULL || operands[1] != NULL)
		return cli_usage("rules export needs a directory");
	ok = ranking_rows_connect(cli, &conn, &export.err) &&
		 ranking_rows_read(conn, false, &export.rows, &export.err) && open_directory(&export) &&
		 export_all(&export);
	if (ok)
	{
		name_others(&export);
		summary(&export);
	}
	if (export.dirfd >= 0)
		close(export.dirfd);
	PQfinish(conn);
	ranking_rows_free(&export.rows);
	buffer_free(&export.json);
	return ok ? EXIT_DONE : cli_fail(&export.err);
}

const CliCommand cli_rules_export = {
	.name = "rules export",
	.summary = "write every ranking as a file NAME.rules that rules apply takes",
	.options = options,
	.operands = "DIR",
	.run = run,
};
