/*
 * definition.h -- a ranking as a file under version control: NAME.rules.
 *
 * Its first line that is not empty is the header, a comment that names what the text alone does not say:
 *
 *	# ranking "home" over public.item
 *	# ranking "home" over public.item disabled
 *
 * The whole file, header included, is what stands in walrank.ranking.definition, so that lines and columns
 * of an error are those of the file.  Two texts mean the same ranking if they agree without header and
 * without empty lines at the end.
 */
#ifndef WALRANK_DEFINITION_H
#define WALRANK_DEFINITION_H

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "rules.h"

#define DEFINITION_SUFFIX ".rules"
#define DEFINITION_NAME_BYTES 64 /* of a name and its end; the table allows no longer one */

typedef struct DefinitionHeader
{
	bool found;
	Slice name; /* of the text given */
	Slice relation;
	bool disabled;
	int line; /* the one after it, from 1 */
	Slice body;
} DefinitionHeader;

/* False, with where and why, when there is a header that is none: "# ranking .." and then something else. */
extern bool definition_header(Slice text, DefinitionHeader *header, RuleError *error);
extern void definition_header_print(Buffer *out, const char *name, const char *relation, bool enabled);
/* Whether two texts differ at most in their headers and in empty lines at the end. */
extern bool definition_same(Slice a, Slice b);

typedef struct Definition
{
	char *path;						  /* as given */
	char name[DEFINITION_NAME_BYTES]; /* as its header has it, else that of the file */
	char *relation;					  /* as its header has it; NULL: no header */
	bool disabled;
	Buffer text;	  /* all of it, with a zero behind */
	RuleError header; /* what is wrong with its header; line 0: nothing */
} Definition;

/* "-" is standard input. ERR_CONFIG: it cannot be read. */
extern bool definition_read(const char *path, Definition *definition, Error *err);
/* The same where a header that is wrong is an error, too, with path, line and column. */
extern bool definition_open(const char *path, Definition *definition, Error *err);
extern void definition_free(Definition *definition);

/* Compiled in the arena, which it may point into. NULL, and *error filled. library may be NULL. */
extern RuleProgram *definition_compile(Slice text, const RuleLibrary *library, Arena *arena,
									   RuleError *error);
/* Whether a text is a library. */
extern bool definition_check_library(Slice text, Arena *arena, RuleError *error);
/* Bound to a table; what a name cannot mean is found in the text, so that error->line is never 0. */
extern RuleBinding *definition_bind(Slice text, const RuleProgram *program, const WireRelation *relation,
									Slice map, Arena *arena, RuleError *error);

/* Line and column of what cannot be bound, for an error without them. */
extern void definition_locate(Slice text, const RuleProgram *program, const WireRelation *relation, Slice map,
							  RuleError *error);

/* The attributes a program reads, as people write them: price, att.price; json: as elements of an array. */
extern void definition_attributes(Buffer *out, const RuleProgram *program, bool json);
/* FILE:line:column: message, and the hint on a line of its own; or one JSON object. */
extern void definition_error_print(Buffer *out, const char *path, const RuleError *error, bool json);
/* The same as an error of class ERR_CONFIG. Returns false. */
extern bool definition_error(Error *err, const char *path, const RuleError *error);

#endif /* WALRANK_DEFINITION_H */
