/*
 * definition_files.c -- see definition_files.h.
 */
#include "cli/definition_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool
ends_with(const char *text, const char *suffix)
{
	size_t len = strlen(text);
	size_t tail = strlen(suffix);

	return len > tail && strcmp(text + len - tail, suffix) == 0;
}

bool
definition_is_library(const char *path)
{
	return ends_with(path, LIBRARY_SUFFIX);
}

static bool
is_ours(const char *name)
{
	return ends_with(name, DEFINITION_SUFFIX) || ends_with(name, LIBRARY_SUFFIX);
}

/* It stands in the file of its name, which is what the tables take: ^[a-z0-9_-]{1,63}$ */
static bool
check_name(const Definition *definition, const char *suffix, Error *err)
{
	const char *slash = strrchr(definition->path, '/');
	const char *base = slash != NULL ? slash + 1 : definition->path;
	size_t len = strlen(base) - strlen(suffix);

	if (len >= DEFINITION_NAME_BYTES || strspn(base, "abcdefghijklmnopqrstuvwxyz0123456789_-") != len)
	{
		error_set(err, ERR_CONFIG, "%s: \"%.*s\" is no name for a ranking or library", definition->path,
				  (int) len, base);
		return error_hint(err, "A name has 1 to 63 of the characters a-z, 0-9, _ and -.");
	}
	if (strlen(definition->name) == len && strncmp(definition->name, base, len) == 0)
		return true;
	error_set(err, ERR_CONFIG, "%s:1:1: the header names \"%s\", but the file is \"%.*s\"", definition->path,
			  definition->name, (int) len, base);
	return error_hint(err, "It stands in the file of its name: %s%s.", definition->name, suffix);
}

static bool
add(DefinitionFiles *files, const char *path, Error *err)
{
	DefinitionFile file = {.library = definition_is_library(path)};
	const DefinitionFile *other;

	if (!is_ours(path))
	{
		error_set(err, ERR_CONFIG, "\"%s\" is neither a ranking's file nor a library's", path);
		return error_hint(err, "They are called NAME" DEFINITION_SUFFIX " and NAME" LIBRARY_SUFFIX ".");
	}
	if (!definition_open(path, &file.definition, err))
		return false;
	files->list = xrealloc(files->list, (size_t) (files->count + 1) * sizeof(*files->list));
	files->list[files->count++] = file;
	if (!check_name(&file.definition, file.library ? LIBRARY_SUFFIX : DEFINITION_SUFFIX, err))
		return false;
	other = definition_files_find(files, file.definition.name, file.library);
	return other == &files->list[files->count - 1] ||
		   error_set(err, ERR_CONFIG, "\"%s\" and \"%s\" are the same %s", other->definition.path, path,
					 file.library ? "library" : "ranking");
}

static bool
add_directory(DefinitionFiles *files, const char *path, Error *err)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	Buffer name = {0};
	bool ok = true;

	if (dir == NULL)
		return error_set(err, ERR_CONFIG, "could not read directory \"%s\": %s", path, strerror(errno));
	while (ok && (entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.' || !is_ours(entry->d_name))
			continue;
		buffer_reset(&name);
		buffer_printf(&name, "%s%s%s", path, ends_with(path, "/") ? "" : "/", entry->d_name);
		buffer_append_byte(&name, 0);
		ok = add(files, (const char *) name.data, err);
	}
	closedir(dir);
	buffer_free(&name);
	return ok;
}

static int
file_order(const void *pa, const void *pb)
{
	const DefinitionFile *a = pa;
	const DefinitionFile *b = pb;

	return a->library != b->library ? b->library - a->library
									: strcmp(a->definition.name, b->definition.name);
}

bool
definition_files_read(const char *const *paths, DefinitionFiles *files, Error *err)
{
	bool ok = true;

	*files = (DefinitionFiles){0};
	for (int i = 0; ok && paths[i] != NULL; i++)
	{
		struct stat st;
		bool directory = stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode);

		files->directory = directory && i == 0 && paths[1] == NULL;
		ok = directory ? add_directory(files, paths[i], err) : add(files, paths[i], err);
	}
	if (ok && files->count > 0)
		qsort(files->list, (size_t) files->count, sizeof(*files->list), file_order);
	if (!ok)
		definition_files_free(files);
	return ok;
}

void
definition_files_free(DefinitionFiles *files)
{
	for (int i = 0; i < files->count; i++)
		definition_free(&files->list[i].definition);
	free(files->list);
	*files = (DefinitionFiles){0};
}

const DefinitionFile *
definition_files_find(const DefinitionFiles *files, const char *name, bool library)
{
	for (int i = 0; i < files->count; i++)
		if (files->list[i].library == library && strcmp(files->list[i].definition.name, name) == 0)
			return &files->list[i];
	return NULL;
}
