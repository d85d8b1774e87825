/*
 * config.c -- see config.h.
 */
#include "daemon/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Static_assert(sizeof(ConfigLive) == sizeof(int64_t), "options write both alike");

#define FILE_BYTES_MAX (1 << 20)
#define ENTRIES_MAX 4096
#define SINK_NAME_BYTES_MAX 40 /* libinih cuts longer section names: those must not pass */
#define LINE_BYTES_MAX 200	   /* libinih's own buffer, its end included */

static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const char *const confirms[] = {"journal", "sinks", NULL}; /* as AckConfirm */
static const char *const compressions[] = {"none", "zstd", NULL};
static const char *const at_quotas[] = {"wait", "give_up", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

#define AT(type, member) offsetof(type, member)

static const OptionDef source_options[] = {
	{"conninfo", OPT_STRING, AT(ConfigSource, conninfo), NULL,
	 .help = "libpq connection string of the source; passwords belong in ~/.pgpass"},
	{"slot", OPT_STRING, AT(ConfigSource, slot), "walrank", .help = "name of the replication slot"},
	{"publications", OPT_STRING, AT(ConfigSource, publications), "walrank,walrank_config",
	 .help = "publications to follow"},
	{"missing_ok", OPT_BOOL, AT(ConfigSource, missing_ok), "off",
	 .help = "a publication that does not exist is passed over"},
	{"status_interval", OPT_MS, AT(ConfigSource, status_interval_ms), "10s", 100, 10000,
	 .help = "unasked status at least this often"},
	{"frame_bytes", OPT_BYTES, AT(ConfigSource, frame_bytes), "64kB", 1024, 16 << 20,
	 .help = "large transactions come in frames of about this size"},
	{"max_value_bytes", OPT_BYTES, AT(ConfigSource, max_value_bytes), "16MB", 1024, 64 << 20,
	 .help = "a larger value is sent as its size only"},
	{"part_changes", OPT_INT, AT(ConfigSource, part_changes), "10000", 1, 1000000,
	 .help = "a larger transaction is scored in pieces of so many changes"},
	{"confirm", OPT_ENUM, AT(ConfigSource, confirm), "journal", .choices = confirms,
	 .help = "who must have a change before the server may forget it"},
	{.name = NULL}};

static const OptionDef state_options[] = {{"directory", OPT_STRING, AT(ConfigState, directory),
										   "/var/lib/walrank",
										   .help = "journal, store and feed live below it; mode 0700"},
										  {.name = NULL}};

static const OptionDef journal_options[] = {
	{"segment_size", OPT_BYTES, AT(ConfigJournal, segment_bytes), "64MB", 65536, INT64_C(4) << 30,
	 .help = "size of one journal file"},
	{"quota", OPT_BYTES, AT(ConfigJournal, quota_bytes), "0", 0, INT64_C(1) << 50, .reloadable = true,
	 .help = "bytes it may take; at most so much is read from the source; 0 = no limit"},
	{"retain", OPT_MS, AT(ConfigJournal, retain_ms), "0", 0, INT64_C(31536000000), .reloadable = true,
	 .help = "kept at least so long, as far as the quota allows"},
	{"compress", OPT_ENUM, AT(ConfigJournal, compress), "none", .choices = compressions,
	 .help = "what becomes of files that nobody reads any more"},
	{.name = NULL}};

static const OptionDef store_options[] = {
	{"map_size", OPT_BYTES, AT(ConfigStore, map_bytes), "1GB", 1 << 20, INT64_C(1) << 44,
	 .help = "room for the store at first; it grows"},
	{"map_size_max", OPT_BYTES, AT(ConfigStore, map_bytes_max), "64GB", 1 << 20, INT64_C(1) << 44,
	 .help = "up to this"},
	{"snapshot_interval", OPT_MS, AT(ConfigStore, snapshot_interval_ms), "15min", 1000, INT64_C(86400000),
	 .reloadable = true, .help = "a copy of the store at least this often"},
	{"snapshot_rate", OPT_BYTES, AT(ConfigStore, snapshot_rate), "100MB", 0, INT64_C(1) << 40,
	 .help = "bytes a second such a copy may write; 0 = no limit"},
	{"snapshots", OPT_INT, AT(ConfigStore, snapshots), "2", 1, 32, .help = "copies kept"},
	{"commit_time", OPT_MS, AT(ConfigStore, commit_time_ms), "1s", 1, 60000, .reloadable = true,
	 .help = "the store commits at least this often"},
	{"commit_changes", OPT_INT, AT(ConfigStore, commit_changes), "10000", 1, 10000000, .reloadable = true,
	 .help = "and after so many item changes"},
	{"rescore_rate", OPT_INT, AT(ConfigStore, rescore_rate), "0", 0, 1000000000, .reloadable = true,
	 .help = "items a second that an edited ranking may have evaluated anew; 0 = no limit"},
	{.name = NULL}};

static const OptionDef feed_options[] = {
	{"segment_size", OPT_BYTES, AT(ConfigFeed, segment_bytes), "64MB", 65536, INT64_C(4) << 30,
	 .help = "size of one feed file"},
	{"retain", OPT_MS, AT(ConfigFeed, retain_ms), "24h", 0, INT64_C(31536000000), .reloadable = true,
	 .help = "kept at least so long, beyond the slowest sink"},
	{"quota", OPT_BYTES, AT(ConfigFeed, quota_bytes), "0", 0, INT64_C(1) << 50, .reloadable = true,
	 .help = "bytes it may take; 0 = no limit"},
	{"at_quota", OPT_ENUM, AT(ConfigFeed, at_quota), "wait", .choices = at_quotas, .reloadable = true,
	 .help = "scoring waits, or the minimum time and then the slowest sink is given up"},
	{"compress", OPT_ENUM, AT(ConfigFeed, compress), "none", .choices = compressions,
	 .help = "what becomes of files that every sink is past"},
	{.name = NULL}};

static const OptionDef daemon_options[] = {
	{"shutdown_timeout", OPT_MS, AT(ConfigDaemon, shutdown_timeout_ms), "30s", 1000, 3600000,
	 .reloadable = true, .help = "a stop drains the sinks for at most this long"},
	{"beat_interval", OPT_MS, AT(ConfigDaemon, beat_interval_ms), "10s", 1000, 30000, .reloadable = true,
	 .help = "how often the control row's beat goes through the stream"},
	{"nice", OPT_INT, AT(ConfigDaemon, nice), "10", 0, 19,
	 .help = "gives way to others on the same processors: 0 not at all, 19 most"},
	{.name = NULL}};

static const OptionDef backfill_options[] = {
	{"chunk_rows", OPT_INT, AT(BackfillLimits, chunk_rows), "1000000", 1, INT64_C(1000000000),
	 .reloadable = true, .help = "rows read under one snapshot"},
	{"chunk_time", OPT_MS, AT(BackfillLimits, chunk_ms), "60s", 1000, 86400000, .reloadable = true,
	 .help = "age of a snapshot at which its chunk ends"},
	{"rate", OPT_INT, AT(BackfillLimits, rate), "0", 0, INT64_C(1000000000), .reloadable = true,
	 .help = "rows read per second; 0 = no limit"},
	{"keys_max", OPT_INT, AT(BackfillLimits, keys_max), "10000", 0, 1000000, .reloadable = true,
	 .help = "rows read again by their keys; if more have to be, the table is"},
	{.name = NULL}};

static const OptionDef log_options[] = {
	{"level", OPT_ENUM, AT(ConfigLog, level), "info", .choices = log_levels, .reloadable = true,
	 .help = "what is said at least"},
	{"format", OPT_ENUM, AT(ConfigLog, format), "text", .choices = log_formats, .reloadable = true,
	 .help = "shape of the lines"},
	{.name = NULL}};

/* Keys every sink has. */
static const OptionDef sink_options[] = {{"flush_interval", OPT_MS, AT(SinkConfig, flush_interval_ms),
										  "100ms", 1, 60000, .help = "a batch waits at most this long"},
										 {"flush_rows", OPT_INT, AT(SinkConfig, flush_rows), "10000", 1,
										  1000000, .help = "or until it has so many records"},
										 {"start", OPT_ENUM, AT(SinkConfig, start), "oldest",
										  .choices = sink_from_names,
										  .help = "where a sink begins that is new"},
										 {.name = NULL}};

typedef struct Section
{
	const char *name;
	const OptionDef *options;
	size_t offset; /* of its struct in Config */
} Section;

static const Section sections[] = {{"source", source_options, AT(Config, source)},
								   {"state", state_options, AT(Config, state)},
								   {"journal", journal_options, AT(Config, journal)},
								   {"store", store_options, AT(Config, store)},
								   {"feed", feed_options, AT(Config, feed)},
								   {"daemon", daemon_options, AT(Config, daemon)},
								   {"backfill", backfill_options, AT(Config, backfill)},
								   {"log", log_options, AT(Config, log)},
								   {.name = NULL}};

/* ---- the text, as entries ------------------------------------------------------------------- */

typedef struct Entry
{
	char *section;
	char *key;
	char *value;
	int line; /* 0: from the command line */
} Entry;

typedef struct Reading
{
	const char *file;
	Slice text;
	size_t at;
	int line;
	bool long_line;
	Entry *entries;
	int nentries;
	Error *err;
	bool failed;
} Reading;

static bool
fail_at(const char *file, int line, Error *err)
{
	return line > 0 ? error_wrap(err, "%s:%d", file, line) : error_wrap(err, "option -o");
}

/* libinih's fgets: counts lines, and takes leading blanks away, so that no line continues another. */
static char *
read_line(char *out, int len, void *stream)
{
	Reading *reading = stream;
	const uint8_t *from = reading->text.data + reading->at;
	const uint8_t *end = reading->text.data + reading->text.len;
	const uint8_t *stop;
	size_t n;

	if (from >= end || reading->failed || reading->long_line)
		return NULL;
	stop = memchr(from, '\n', (size_t) (end - from));
	stop = stop != NULL ? stop : end;
	reading->at += (size_t) (stop - from) + 1;
	reading->line++;
	while (from < stop && (*from == ' ' || *from == '\t'))
		from++;
	n = (size_t) (stop - from);
	if (n + 2 > (size_t) len)
	{
		reading->long_line = true;
		return NULL;
	}
	memcpy(out, from, n);
	for (size_t i = 0; i < n; i++)
		out[i] = out[i] == '\0' ? '?' : out[i];
	out[n] = '\n';
	out[n + 1] = '\0';
	return out;
}

static int
take_entry(void *user, const char *section, const char *name, const char *value)
{
	Reading *reading = user;

	if (reading->failed)
		return 0;
	for (int i = 0; i < reading->nentries; i++)
	{
		const Entry *other = &reading->entries[i];

		if (strcmp(other->section, section) != 0 || strcmp(other->key, name) != 0)
			continue;
		error_set(reading->err, ERR_CONFIG, "\"%s\" was set before, at line %d", name, other->line);
		reading->failed = !fail_at(reading->file, reading->line, reading->err);
		return 0;
	}
	if (reading->nentries >= ENTRIES_MAX)
	{
		error_set(reading->err, ERR_CONFIG, "more than %d settings", ENTRIES_MAX);
		reading->failed = !fail_at(reading->file, reading->line, reading->err);
		return 0;
	}
	reading->entries[reading->nentries++] =
		(Entry){xstrdup(section), xstrdup(name), xstrdup(value != NULL ? value : ""), reading->line};
	return 1;
}

static bool
read_text(Reading *reading, Error *err)
{
	int bad = ini_parse_stream(read_line, reading, take_entry, reading);

	if (reading->failed)
		return false;
	if (reading->long_line)
	{
		error_set(err, ERR_CONFIG, "line is longer than %d characters", LINE_BYTES_MAX - 2);
		error_hint(err, "A long conninfo fits into a service file: conninfo = service=NAME");
		return fail_at(reading->file, reading->line, err);
	}
	if (bad != 0)
	{
		error_set(err, ERR_CONFIG, "neither a [section], nor key = value, nor a comment");
		return fail_at(reading->file, bad > 0 ? bad : reading->line, err);
	}
	return true;
}

static char *
copy_part(const char *text, size_t len)
{
	char *copy = xmalloc(len + 1);

	memcpy(copy, text, len);
	copy[len] = '\0';
	return copy;
}

static void
entry_free(Entry *entry)
{
	free(entry->section);
	free(entry->key);
	free(entry->value);
}

/* "section.key=value"; the key is what follows the last dot before the sign. */
static bool
read_override(Reading *reading, const char *text, Error *err)
{
	const char *sign = strchr(text, '=');
	const char *dot = sign;
	Entry entry;

	while (dot != NULL && dot > text && *dot != '.')
		dot--;
	if (sign == NULL || dot == text || dot + 1 == sign)
		return error_set(err, ERR_CONFIG, "option -o wants section.key=value, not \"%s\"", text);
	entry = (Entry){copy_part(text, (size_t) (dot - text)), copy_part(dot + 1, (size_t) (sign - dot - 1)),
					xstrdup(sign + 1), 0};
	for (int i = 0; i < reading->nentries; i++)
	{
		Entry *other = &reading->entries[i];

		if (strcmp(other->section, entry.section) == 0 && strcmp(other->key, entry.key) == 0)
		{
			entry_free(other);
			*other = entry;
			return true;
		}
	}
	if (reading->nentries >= ENTRIES_MAX)
	{
		entry_free(&entry);
		return error_set(err, ERR_CONFIG, "more than %d settings", ENTRIES_MAX);
	}
	reading->entries[reading->nentries++] = entry;
	return true;
}

/* ---- entries, as settings ------------------------------------------------------------------- */

static bool
unknown_section(const char *name, Error *err)
{
	const char *best = "sink NAME";
	int best_distance = 4;

	for (const Section *s = sections; s->name != NULL; s++)
	{
		int distance = option_distance(name, s->name);

		if (distance < best_distance)
		{
			best = s->name;
			best_distance = distance;
		}
	}
	if (name[0] == '\0')
		error_set(err, ERR_CONFIG, "a setting stands before the first [section]");
	else
		error_set(err, ERR_CONFIG, "unknown section [%s]", name);
	return error_hint(
		err,
		best_distance < 4
			? "Did you mean [%s]?"
			: "Sections are [source], [state], [journal], [store], [feed], [daemon], [log] and [%s].",
		best);
}

static bool
valid_sink_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_' &&
			name[i] != '-')
			return false;
	return len >= 1 && len <= SINK_NAME_BYTES_MAX;
}

static const SinkType *
find_sink_type(const char *name)
{
	for (const SinkType *const *type = sink_types; *type != NULL; type++)
		if (strcmp((*type)->name, name) == 0)
			return *type;
	return NULL;
}

/* NULL: refused. */
static const SinkType *
sink_type(const Reading *reading, const char *section, Error *err)
{
	const Entry *type = NULL;
	const SinkType *found;

	for (int i = 0; i < reading->nentries; i++)
		if (strcmp(reading->entries[i].section, section) == 0 && strcmp(reading->entries[i].key, "type") == 0)
			type = &reading->entries[i];
	if (type == NULL)
	{
		error_set(err, ERR_CONFIG, "[%s] has no type", section);
		return NULL;
	}
	found = find_sink_type(type->value);
	if (found == NULL)
	{
		error_set(err, ERR_CONFIG, "unknown sink type \"%s\"", type->value);
		error_hint(err, "The types are file and postgres.");
	}
	return found;
}

/* The sink of a section, with its defaults: the last of config->sinks. */
static bool
make_sink(Config *config, const Reading *reading, const char *section, Error *err)
{
	const char *name = section + strlen("sink ");
	SinkConfig *sink = &config->sinks[config->nsinks];

	if (!valid_sink_name(name))
		return error_set(err, ERR_CONFIG, "sink name \"%s\" is not 1 to 40 of a-z, 0-9, _ and -", name);
	if (config->nsinks >= CONFIG_SINKS_MAX)
		return error_set(err, ERR_CONFIG, "more than %d sinks", CONFIG_SINKS_MAX);
	sink->type = sink_type(reading, section, err);
	if (sink->type == NULL)
		return false;
	sink->name = xstrdup(name);
	sink->options = xcalloc(1, sink->type->options_bytes);
	config->nsinks++;
	return option_defaults(sink_options, sink, err) &&
		   option_defaults(sink->type->options, sink->options, err);
}

static bool
has_option(const OptionDef *table, const char *name)
{
	for (; table->name != NULL; table++)
		if (strcmp(table->name, name) == 0)
			return true;
	return false;
}

static bool
apply_sink_entry(Config *config, const Reading *reading, const Entry *entry, Error *err)
{
	SinkConfig *sink;
	int at = 0;

	while (at < config->nsinks && strcmp(config->sinks[at].name, entry->section + strlen("sink ")) != 0)
		at++;
	if (at == config->nsinks && !make_sink(config, reading, entry->section, err))
		return false;
	sink = &config->sinks[at];
	if (strcmp(entry->key, "type") == 0)
		return true;
	if (has_option(sink_options, entry->key))
		return option_set(sink_options, sink, entry->key, entry->value, err);
	return option_set(sink->type->options, sink->options, entry->key, entry->value, err);
}

static bool
apply_entry(Config *config, const Reading *reading, const Entry *entry, Error *err)
{
	if (strncmp(entry->section, "sink ", 5) == 0)
		return apply_sink_entry(config, reading, entry, err);
	for (const Section *s = sections; s->name != NULL; s++)
		if (strcmp(s->name, entry->section) == 0)
			return option_set(s->options, (char *) config + s->offset, entry->key, entry->value, err);
	return unknown_section(entry->section, err);
}

static bool
valid_slot_name(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= '0' && name[i] <= '9') && name[i] != '_')
			return false;
	return len >= 1 && len <= 63;
}

static bool
check_quota(const Config *config, const char *section, int64_t quota, int64_t segment, Error *err)
{
	return quota == 0 || quota >= CONFIG_QUOTA_SEGMENTS_MIN * segment ||
		   error_set(err, ERR_CONFIG, "%s: [%s] quota is less than %d times segment_size", config->file,
					 section, CONFIG_QUOTA_SEGMENTS_MIN);
}

/* What no single key can know. */
static bool
check_whole(const Config *config, Error *err)
{
	for (const Section *s = sections; s->name != NULL; s++)
		if (!option_missing(s->options, (const char *) config + s->offset, err))
			return error_wrap(err, "%s: [%s]", config->file, s->name);
	for (int i = 0; i < config->nsinks; i++)
		if (!option_missing(config->sinks[i].type->options, config->sinks[i].options, err))
			return error_wrap(err, "%s: [sink %s]", config->file, config->sinks[i].name);
	if (!valid_slot_name(config->source.slot))
		return error_set(err, ERR_CONFIG, "%s: [source] slot \"%s\" is not 1 to 63 of a-z, 0-9 and _",
						 config->file, config->source.slot);
	if (config->state.directory[0] != '/')
		return error_set(err, ERR_CONFIG, "%s: [state] directory \"%s\" is not an absolute path",
						 config->file, config->state.directory);
	if (config->store.map_bytes > config->store.map_bytes_max)
		return error_set(err, ERR_CONFIG, "%s: [store] map_size is larger than map_size_max", config->file);
	return check_quota(config, "journal", config->journal.quota_bytes, config->journal.segment_bytes, err) &&
		   check_quota(config, "feed", config->feed.quota_bytes, config->feed.segment_bytes, err);
}

static bool
apply_all(Config *config, const Reading *reading, Error *err)
{
	for (const Section *s = sections; s->name != NULL; s++)
		if (!option_defaults(s->options, (char *) config + s->offset, err))
			return false;
	for (int i = 0; i < reading->nentries; i++)
	{
		const Entry *entry = &reading->entries[i];

		if (!apply_entry(config, reading, entry, err))
			return fail_at(reading->file, entry->line, err);
	}
	return check_whole(config, err);
}

bool
config_parse(const char *file, Slice text, const char *const *overrides, int noverrides, Config **out,
			 Error *err)
{
	Reading reading = {.file = file, .text = text, .err = err};
	Config *config = xcalloc(1, sizeof(*config));
	bool ok;

	config->file = xstrdup(file);
	reading.entries = xcalloc(ENTRIES_MAX, sizeof(Entry));
	ok = read_text(&reading, err);
	for (int i = 0; ok && i < noverrides; i++)
		ok = read_override(&reading, overrides[i], err);
	ok = ok && apply_all(config, &reading, err);
	for (int i = 0; i < reading.nentries; i++)
		entry_free(&reading.entries[i]);
	free(reading.entries);
	if (ok)
		*out = config;
	else
		config_free(config);
	return ok;
}

bool
config_read(const char *file, const char *const *overrides, int noverrides, Config **config, Error *err)
{
	Buffer text = {0};
	ssize_t got = 0;
	int fd = -1;
	bool ok;

	if (file != NULL && (fd = open(file, O_RDONLY | O_CLOEXEC)) < 0)
		return error_set(err, ERR_CONFIG, "could not open configuration file \"%s\": %s", file,
						 strerror(errno));
	while (fd >= 0 && text.len <= FILE_BYTES_MAX && (got = read(fd, buffer_reserve(&text, 65536), 65536)) > 0)
		text.len += (size_t) got;
	if (fd >= 0)
		close(fd);
	if (got < 0)
		ok =
			error_set(err, ERR_CONFIG, "could not read configuration file \"%s\": %s", file, strerror(errno));
	else if (text.len > FILE_BYTES_MAX)
		ok = error_set(err, ERR_CONFIG, "configuration file \"%s\" is larger than %d bytes", file,
					   FILE_BYTES_MAX);
	else
		ok = config_parse(file != NULL ? file : "(no file)", buffer_slice(&text), overrides, noverrides,
						  config, err);
	buffer_free(&text);
	return ok;
}

void
config_sink_free(SinkConfig *sink)
{
	option_free(sink_options, sink);
	option_free(sink->type->options, sink->options);
	free(sink->options);
	free(sink->name);
}

void
config_free(Config *config)
{
	if (config == NULL)
		return;
	for (const Section *s = sections; s->name != NULL; s++)
		option_free(s->options, (char *) config + s->offset);
	for (int i = 0; i < config->nsinks; i++)
		config_sink_free(&config->sinks[i]);
	free(config->file);
	free(config);
}

/* ---- reload --------------------------------------------------------------------------------- */

static bool
same_value(const OptionDef *def, const void *a, const void *b)
{
	const char *x = (const char *) a + def->offset;
	const char *y = (const char *) b + def->offset;

	switch (def->type)
	{
		case OPT_STRING:
			return strcmp(*(char *const *) x != NULL ? *(char *const *) x : "",
						  *(char *const *) y != NULL ? *(char *const *) y : "") == 0;
		case OPT_BOOL:
			return *(const bool *) x == *(const bool *) y;
		case OPT_ENUM:
			return *(const int *) x == *(const int *) y;
		default:
			return *(const int64_t *) x == *(const int64_t *) y;
	}
}

static void
reload_section(const Section *section, void *live, const void *fresh, Buffer *restart)
{
	for (const OptionDef *def = section->options; def->name != NULL; def++)
	{
		if (same_value(def, live, fresh))
			continue;
		/* strings are owned by their Config: none of them is reloadable */
		if (def->reloadable && def->type == OPT_ENUM)
			*(int *) ((char *) live + def->offset) = *(const int *) ((const char *) fresh + def->offset);
		else if (def->reloadable && def->type != OPT_STRING)
			atomic_store((ConfigLive *) ((char *) live + def->offset),
						 *(const int64_t *) ((const char *) fresh + def->offset));
		else
			buffer_printf(restart, "%s.%s\n", section->name, def->name);
	}
}

bool
config_sink_equal(const SinkConfig *a, const SinkConfig *b)
{
	bool same = strcmp(a->name, b->name) == 0 && a->type == b->type;

	for (const OptionDef *def = sink_options; same && def->name != NULL; def++)
		same = strcmp(def->name, "start") == 0 || same_value(def, a, b);
	for (const OptionDef *def = a->type->options; same && def->name != NULL; def++)
		same = same_value(def, a->options, b->options);
	return same;
}

void
config_reload(Config *live, const Config *fresh, Buffer *restart)
{
	for (const Section *s = sections; s->name != NULL; s++)
		reload_section(s, (char *) live + s->offset, (const char *) fresh + s->offset, restart);
}

/* ---- for people ----------------------------------------------------------------------------- */

void
config_help(Buffer *out)
{
	for (const Section *s = sections; s->name != NULL; s++)
	{
		buffer_printf(out, "\n[%s]\n", s->name);
		option_help(s->options, out);
	}
	buffer_printf(out, "\n[sink NAME]\n  type = file | postgres\n");
	option_help(sink_options, out);
	for (const SinkType *const *type = sink_types; *type != NULL; type++)
	{
		buffer_printf(out, "\n[sink NAME] of type %s\n", (*type)->name);
		option_help((*type)->options, out);
	}
}

void
config_source_settings(const Config *config, SourceSettings *settings)
{
	*settings = (SourceSettings){.conninfo = config->source.conninfo,
								 .slot = config->source.slot,
								 .publications = config->source.publications,
								 .missing_ok = config->source.missing_ok,
								 .status_interval_ms = config->source.status_interval_ms,
								 .frame_bytes = config->source.frame_bytes,
								 .max_value_bytes = config->source.max_value_bytes,
								 .part_changes = config->source.part_changes,
								 .confirm = (AckConfirm) config->source.confirm};
}
