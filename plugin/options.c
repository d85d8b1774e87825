/*
 * options.c -- see options.h.
 */
#include "options.h"

#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

/* A frame this small still holds a change; one this large is one message of the protocol. */
#define FRAME_BYTES_MIN 256
#define FRAME_BYTES_MAX (64 * 1024 * 1024)

/* Longer words are not compared with the known names. */
#define NAME_BYTES_MAX 64

typedef struct OptionDef OptionDef;
typedef void (*OptionParser)(const OptionDef *def, PluginOptions *options, const char *value);

struct OptionDef
{
	const char *name;
	OptionParser parse;
	const char *initial; /* NULL: not set unless given */
	bool may_lack_value; /* a bare name means on */
	size_t offset;		 /* of an int, bool or list of patterns in PluginOptions */
	int min;
	int max;
};

static void
invalid_value(const OptionDef *def, const char *value, const char *hint)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for option \"%s\": \"%s\"", def->name, value), errhint("%s", hint));
}

static void
parse_size(const OptionDef *def, PluginOptions *options, const char *value)
{
	int bytes;

	if (!parse_int(value, &bytes, GUC_UNIT_BYTE, NULL))
		invalid_value(def, value, "A size is a number followed by B, kB, MB or GB.");
	if (bytes < def->min || bytes > def->max)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("option \"%s\" is out of range: \"%s\"", def->name, value),
				errhint("It must be between %d and %d bytes.", def->min, def->max));
	*(int *) ((char *) options + def->offset) = bytes;
}

static void
parse_switch(const OptionDef *def, PluginOptions *options, const char *value)
{
	if (!parse_bool(value, (bool *) ((char *) options + def->offset)))
		invalid_value(def, value, "It is either on or off.");
}

static void
parse_publications(const OptionDef *def, PluginOptions *options, const char *value)
{
	if (!SplitIdentifierString(pstrdup(value), ',', &options->publication_names) ||
		options->publication_names == NIL)
		invalid_value(def, value, "It is a list of names separated by commas, quoted like identifiers.");
}

static void
parse_mode(const OptionDef *def, PluginOptions *options, const char *value)
{
	if (strcmp(value, "row") != 0 && strcmp(value, "delta") != 0)
		invalid_value(def, value, "It is either \"row\" or \"delta\".");
	options->style.delta = strcmp(value, "delta") == 0;
}

static void
parse_format(const OptionDef *def, PluginOptions *options, const char *value)
{
	if (strcmp(value, "protobuf") == 0)
		options->format = FORMAT_PROTOBUF;
	else if (strcmp(value, "json") == 0)
		options->format = FORMAT_JSON;
	else
		invalid_value(def, value, "Available formats are \"protobuf\" and \"json\".");
}

static void
parse_origin(const OptionDef *def, PluginOptions *options, const char *value)
{
	if (strcmp(value, "any") != 0 && strcmp(value, "none") != 0)
		invalid_value(def, value, "It is either \"any\" or \"none\".");
	options->only_local = strcmp(value, "none") == 0;
}

static void
parse_patterns(const OptionDef *def, PluginOptions *options, const char *value)
{
	Patterns *patterns = patterns_parse(value);

	if (patterns == NULL)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("invalid value for option \"%s\": \"%s\"", def->name, value),
			errhint("It is a list of up to %d names separated by commas, in double quotes where need be, in "
					"which * stands for any characters.",
					PATTERNS_MAX));
	*(const Patterns **) ((char *) options + def->offset) = patterns;
}

static const OptionDef defs[] = {
	{"publication_names", parse_publications},
	{"mode", parse_mode, "row"},
	{"frame_bytes", parse_size, "64kB", false, offsetof(PluginOptions, frame_bytes), FRAME_BYTES_MIN,
	 FRAME_BYTES_MAX},
	{"max_value_bytes", parse_size, "16MB", false, offsetof(PluginOptions, max_value_bytes), VALUE_BYTES_MIN,
	 VALUE_BYTES_MAX},
	{"missing_ok", parse_switch, "off", true, offsetof(PluginOptions, missing_ok)},
	{"format", parse_format, "protobuf"},
	{"origin", parse_origin, "any"},
	{"attributes", parse_patterns, NULL, false, offsetof(PluginOptions, style.attributes)},
	{"old_values", parse_switch, "off", true, offsetof(PluginOptions, style.old_values)},
	{"messages", parse_patterns, NULL, false, offsetof(PluginOptions, messages)},
};

static const OptionDef *
nearest(const char *name)
{
	const OptionDef *best = NULL;
	int best_distance = 4; /* further off it is another word */

	if (strlen(name) > NAME_BYTES_MAX)
		return NULL;
	for (size_t i = 0; i < lengthof(defs); i++)
	{
		int distance = varstr_levenshtein(name, (int) strlen(name), defs[i].name, (int) strlen(defs[i].name),
										  1, 1, 1, true);

		if (distance < best_distance)
		{
			best = &defs[i];
			best_distance = distance;
		}
	}
	return best;
}

static void
unknown_option(const char *name)
{
	const OptionDef *near = nearest(name);
	StringInfoData known;

	initStringInfo(&known);
	for (size_t i = 0; i < lengthof(defs); i++)
		appendStringInfo(&known, "%s%s", i > 0 ? ", " : "", defs[i].name);
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized option \"%s\"", name),
			near != NULL ? errhint("Perhaps you meant \"%s\".", near->name)
						 : errhint("Known options are %s.", known.data));
}

static const OptionDef *
find(const char *name)
{
	for (size_t i = 0; i < lengthof(defs); i++)
		if (strcmp(defs[i].name, name) == 0)
			return &defs[i];
	unknown_option(name);
	return NULL;
}

void
options_parse(PluginOptions *options, List *given)
{
	uint32 seen = 0;
	ListCell *cell;

	memset(options, 0, sizeof(*options));
	for (size_t i = 0; i < lengthof(defs); i++)
		if (defs[i].initial != NULL)
			defs[i].parse(&defs[i], options, defs[i].initial);
	foreach(cell, given)
	{
		DefElem *element = lfirst(cell);
		const OptionDef *def = find(element->defname);
		uint32 bit = 1u << (def - defs);

		if (seen & bit)
			ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
					errmsg("option \"%s\" is given more than once", def->name));
		seen |= bit;
		if (element->arg == NULL && !def->may_lack_value)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("option \"%s\" needs a value", def->name));
		def->parse(def, options, element->arg == NULL ? "on" : strVal(element->arg));
	}
}
