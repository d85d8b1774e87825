/*
 * definition_files.h -- the files of a directory that hold rankings (NAME.rules) and libraries (NAME.library).
 */
#ifndef WALRANK_DEFINITION_FILES_H
#define WALRANK_DEFINITION_FILES_H

#include "cli/definition.h"

#define LIBRARY_SUFFIX ".library"

typedef struct DefinitionFile
{
	Definition definition;
	bool library;
} DefinitionFile;

typedef struct DefinitionFiles
{
	DefinitionFile *list; /* libraries first, each by name */
	int count;
	bool directory; /* what was named is one directory: the files are all there are */
} DefinitionFiles;

/* paths: NULL-ended, files and directories. ERR_CONFIG: a file of another kind, or a name that stands twice. */
extern bool definition_files_read(const char *const *paths, DefinitionFiles *files, Error *err);
/* By its name alone. */
extern bool definition_is_library(const char *path);
extern void definition_files_free(DefinitionFiles *files);
extern const DefinitionFile *definition_files_find(const DefinitionFiles *files, const char *name,
												   bool library);

#endif /* WALRANK_DEFINITION_FILES_H */
