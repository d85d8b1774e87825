/*
 * library_source.c -- see library_source.h.
 */
#include "cli/library_source.h"

#include <stdio.h>

static bool
find_in_directory(const LibrarySource *source, const char *directory, size_t len, const char *name,
				  Slice *text)
{
	char path[4096];
	Definition library;
	Error ignored;

	if ((size_t) snprintf(path, sizeof(path), "%.*s%s" LIBRARY_SUFFIX, (int) len, directory, name) >=
			sizeof(path) ||
		!definition_read(path, &library, &ignored))
		return false;
	*text = arena_copy(source->arena, buffer_slice(&library.text));
	definition_free(&library);
	return true;
}

static bool
find(void *context, Slice slice, Slice *text)
{
	const LibrarySource *source = context;
	const char *name = arena_string(source->arena, slice);
	const char *slash = source->beside != NULL ? strrchr(source->beside, '/') : NULL;
	const DefinitionFile *file;
	const LibraryRow *row;

	if (!rules_library_name(slice)) /* it is part of a path */
		return false;
	file = source->files != NULL ? definition_files_find(source->files, name, true) : NULL;
	if (file != NULL)
	{
		*text = buffer_slice(&file->definition.text);
		return true;
	}
	if (source->beside != NULL &&
		find_in_directory(source, source->beside, slash != NULL ? (size_t) (slash - source->beside) + 1 : 0,
						  name, text))
		return true;
	if (source->directory != NULL)
	{
		Buffer directory = {0};
		bool found;

		buffer_printf(&directory, "%s/", source->directory);
		found = find_in_directory(source, (const char *) directory.data, directory.len, name, text);
		buffer_free(&directory);
		if (found)
			return true;
	}
	row = source->rows != NULL ? library_rows_find(source->rows, name) : NULL;
	if (row != NULL)
		*text = slice_string(row->definition);
	return row != NULL;
}

RuleLibrary
library_source(LibrarySource *source)
{
	return (RuleLibrary){find, source};
}
