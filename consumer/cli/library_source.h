/*
 * library_source.h -- where `use NAME` of a definition finds its library: in files, or in the database.
 */
#ifndef WALRANK_LIBRARY_SOURCE_H
#define WALRANK_LIBRARY_SOURCE_H

#include "cli/definition_files.h"
#include "cli/ranking_rows.h"

/* Looked into in this order; NULL: not there. */
typedef struct LibrarySource
{
	const DefinitionFiles *files;
	const char *beside;	   /* path of a definition: NAME.library in its directory */
	const char *directory; /* the same, by the directory's own name */
	const RankingRows *rows;
	Arena *arena; /* what is read from a file stays here */
} LibrarySource;

extern RuleLibrary library_source(LibrarySource *source);

#endif /* WALRANK_LIBRARY_SOURCE_H */
