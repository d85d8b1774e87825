/*
 * options.h -- the options of the output plugin.
 *
 * They come from whoever may replicate, so every value is checked, and an option we do not know or
 * cannot honour is an error with a hint, never ignored.
 */
#ifndef WALRANK_OPTIONS_H
#define WALRANK_OPTIONS_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "diff.h"
#include "patterns.h"

#define VALUE_BYTES_MIN 256
#define VALUE_BYTES_MAX (64 * 1024 * 1024) /* escaped in JSON six times that, below the server's 1 GB */
#define VALUE_BYTES_DEFAULT (16 * 1024 * 1024)

typedef enum OutputFormat
{
	FORMAT_PROTOBUF,
	FORMAT_JSON,
} OutputFormat;

typedef struct PluginOptions
{
	List *publication_names; /* of char *; NIL: all tables */
	int frame_bytes;
	int max_value_bytes;
	bool missing_ok;
	bool only_local; /* origin = none */
	OutputFormat format;
	ChangeStyle style;		  /* mode, old_values, attributes */
	const Patterns *messages; /* prefixes of the logical messages to send; NULL: none */
} PluginOptions;

/* Fill options from the list of DefElem given by the client, in the current context. */
extern void options_parse(PluginOptions *options, List *given);

#endif /* WALRANK_OPTIONS_H */
