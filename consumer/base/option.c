/*
 * option.c -- see option.h.  Whatever is refused is refused with what would have been right.
 */
#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Names longer than this are compared by their beginning. */
#define NAME_BYTES_MAX 64
/* A name further away than this is no misspelling. */
#define DISTANCE_MAX 3

typedef struct Unit
{
	const char *name;
	int64_t factor;
} Unit;

static const Unit byte_units[] = {
	{"B", 1}, {"kB", INT64_C(1) << 10}, {"MB", INT64_C(1) << 20}, {"GB", INT64_C(1) << 30}, {NULL, 0}};
static const Unit ms_units[] = {
	{"ms", 1}, {"s", 1000}, {"min", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}, {NULL, 0}};
static const Unit no_units[] = {{NULL, 0}};

static const struct
{
	const char *name;
	bool value;
} booleans[] = {{"on", true},  {"off", false}, {"true", true}, {"false", false},
				{"yes", true}, {"no", false},  {"1", true},	   {"0", false}};

static void *
member(const OptionDef *def, void *target)
{
	return (char *) target + def->offset;
}

static const void *
member_const(const OptionDef *def, const void *target)
{
	return (const char *) target + def->offset;
}

int
option_distance(const char *a, const char *b)
{
	size_t alen = strnlen(a, NAME_BYTES_MAX);
	size_t blen = strnlen(b, NAME_BYTES_MAX);
	int row[NAME_BYTES_MAX + 1];

	for (size_t j = 0; j <= blen; j++)
		row[j] = (int) j;
	for (size_t i = 1; i <= alen; i++)
	{
		int diagonal = row[0];

		row[0] = (int) i;
		for (size_t j = 1; j <= blen; j++)
		{
			int best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[blen];
}

/* ---- numbers --------------------------------------------------------------------------------- */

static const Unit *
units_of(OptionType type)
{
	return type == OPT_BYTES ? byte_units : type == OPT_MS ? ms_units : no_units;
}

/* As people write it: 64MB, 10s, 250. */
static void
print_number(OptionType type, int64_t number, char *text, size_t len)
{
	const Unit *best = NULL;

	for (const Unit *unit = units_of(type); unit->name != NULL; unit++)
		if (number != 0 && number % unit->factor == 0)
			best = unit;
	if (best == NULL)
		snprintf(text, len, "%lld", (long long) number);
	else
		snprintf(text, len, "%lld%s", (long long) (number / best->factor), best->name);
}

static bool
parse_number(OptionType type, const char *text, int64_t *number)
{
	char *end;
	long long v;
	const Unit *unit = units_of(type);

	if (!isdigit((unsigned char) *text) && *text != '-')
		return false;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno != 0 || end == text)
		return false;
	while (*end == ' ')
		end++;
	if (*end == '\0')
	{
		*number = v;
		return true;
	}
	/* units are told apart by case in the server too, but MB can only be meant one way */
	for (; unit->name != NULL; unit++)
		if (strcasecmp(unit->name, end) == 0)
			return !__builtin_mul_overflow((int64_t) v, unit->factor, number);
	return false;
}

static bool
range_error(const OptionDef *def, const char *value, Error *err)
{
	char min[32];
	char max[32];

	print_number(def->type, def->min, min, sizeof(min));
	print_number(def->type, def->max, max, sizeof(max));
	error_set(err, ERR_CONFIG, "\"%s\" is out of range for \"%s\"", value, def->name);
	if (def->max == INT64_MAX)
		return error_hint(err, "It must be at least %s.", min);
	return error_hint(err, "It must be between %s and %s.", min, max);
}

static bool
set_number(const OptionDef *def, void *target, const char *value, Error *err)
{
	int64_t number;

	if (!parse_number(def->type, value, &number))
	{
		error_set(err, ERR_CONFIG, "invalid value for \"%s\": \"%s\"", def->name, value);
		if (def->type == OPT_BYTES)
			return error_hint(err, "A size is a whole number followed by B, kB, MB or GB; without a unit it "
								   "counts bytes.");
		if (def->type == OPT_MS)
			return error_hint(err, "A time is a whole number followed by ms, s, min, h or d; without a unit "
								   "it counts milliseconds.");
		return error_hint(err, "It must be a whole number.");
	}
	if (def->max > def->min && (number < def->min || number > def->max))
		return range_error(def, value, err);
	*(int64_t *) member(def, target) = number;
	return true;
}

/* ---- the other types ------------------------------------------------------------------------- */

static bool
set_string(const OptionDef *def, void *target, const char *value, Error *err)
{
	char **text = member(def, target);

	free(*text);
	*text = xstrdup(value);
	return true;
}

static bool
set_bool(const OptionDef *def, void *target, const char *value, Error *err)
{
	for (size_t i = 0; i < sizeof(booleans) / sizeof(booleans[0]); i++)
		if (strcasecmp(booleans[i].name, value) == 0)
		{
			*(bool *) member(def, target) = booleans[i].value;
			return true;
		}
	error_set(err, ERR_CONFIG, "invalid value for \"%s\": \"%s\"", def->name, value);
	return error_hint(err, "It must be on or off.");
}

static void
list_choices(const OptionDef *def, Buffer *out)
{
	for (int i = 0; def->choices[i] != NULL; i++)
		buffer_printf(out, "%s%s",
					  i == 0						? ""
					  : def->choices[i + 1] == NULL ? " or "
													: ", ",
					  def->choices[i]);
}

static bool
set_enum(const OptionDef *def, void *target, const char *value, Error *err)
{
	Buffer list = {0};

	for (int i = 0; def->choices[i] != NULL; i++)
		if (strcasecmp(def->choices[i], value) == 0)
		{
			*(int *) member(def, target) = i;
			return true;
		}
	list_choices(def, &list);
	error_set(err, ERR_CONFIG, "invalid value for \"%s\": \"%s\"", def->name, value);
	error_hint(err, "It must be %.*s.", (int) list.len, (const char *) list.data);
	buffer_free(&list);
	return false;
}

static bool
set(const OptionDef *def, void *target, const char *value, Error *err)
{
	switch (def->type)
	{
		case OPT_STRING:
			return set_string(def, target, value, err);
		case OPT_BOOL:
			return set_bool(def, target, value, err);
		case OPT_ENUM:
			return set_enum(def, target, value, err);
		case OPT_INT:
		case OPT_BYTES:
		case OPT_MS:
			break;
	}
	return set_number(def, target, value, err);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static bool
unknown(const OptionDef *table, const char *name, Error *err)
{
	Buffer list = {0};
	const char *nearest = NULL;
	int best = DISTANCE_MAX + 1;

	for (const OptionDef *def = table; def->name != NULL; def++)
	{
		int distance = option_distance(def->name, name);

		if (distance < best && distance < (int) strlen(def->name))
		{
			best = distance;
			nearest = def->name;
		}
		buffer_printf(&list, "%s%s", def == table ? "" : ", ", def->name);
	}
	error_set(err, ERR_CONFIG, "unknown key \"%s\"", name);
	if (nearest != NULL)
		error_hint(err, "Did you mean \"%s\"?", nearest);
	else if (list.len > 0)
		error_hint(err, "Known keys are: %.*s.", (int) list.len, (const char *) list.data);
	buffer_free(&list);
	return false;
}

bool
option_defaults(const OptionDef *table, void *target, Error *err)
{
	for (const OptionDef *def = table; def->name != NULL; def++)
	{
		if (def->type == OPT_STRING)
			*(char **) member(def, target) = NULL;
		if (def->initial != NULL && !set(def, target, def->initial, err))
			return error_wrap(err, "default");
	}
	return true;
}

bool
option_set(const OptionDef *table, void *target, const char *name, const char *value, Error *err)
{
	for (const OptionDef *def = table; def->name != NULL; def++)
		if (strcmp(def->name, name) == 0)
			return set(def, target, value, err);
	return unknown(table, name, err);
}

/* Only strings can be without a default: they show whether they were given. */
bool
option_missing(const OptionDef *table, const void *target, Error *err)
{
	for (const OptionDef *def = table; def->name != NULL; def++)
	{
		if (def->type != OPT_STRING || def->initial != NULL)
			continue;
		if (*(char *const *) member_const(def, target) == NULL)
		{
			error_set(err, ERR_CONFIG, "key \"%s\" must be given", def->name);
			return error_hint(err, "%s = ..: %s.", def->name, def->help);
		}
	}
	return true;
}

void
option_free(const OptionDef *table, void *target)
{
	for (const OptionDef *def = table; def->name != NULL; def++)
		if (def->type == OPT_STRING)
		{
			char **text = member(def, target);

			free(*text);
			*text = NULL;
		}
}

void
option_help(const OptionDef *table, Buffer *out)
{
	for (const OptionDef *def = table; def->name != NULL; def++)
	{
		buffer_printf(out, "  %-20s %s", def->name, def->help);
		if (def->type == OPT_ENUM)
		{
			buffer_printf(out, ": ");
			list_choices(def, out);
		}
		if (def->initial == NULL)
			buffer_printf(out, " (required");
		else
			buffer_printf(out, " (default %s", def->initial[0] != '\0' ? def->initial : "none");
		buffer_printf(out, "%s)\n", def->reloadable ? ", reloadable" : "");
	}
}
