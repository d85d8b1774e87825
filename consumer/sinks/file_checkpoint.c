/*
 * file_checkpoint.c -- NAME.ckpt of sink "file": one key=value a line, replaced as a whole.
 */
#include "sinks/file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define CHECKPOINT_FORMAT 2 /* 1 had one file and no fills: it is read as what it was */
#define CHECKPOINT_BYTES_MAX 8192

static const char *const phases[] = {"whole", "filling", "rebuilding"};

/* ---- names -------------------------------------------------------------------------------------- */

void
file_sibling(const Sink *sink, const char *suffix, char name[NAME_MAX + 1])
{
	snprintf(name, NAME_MAX + 1, "%s%s", sink->name, suffix);
}

void
file_number_name(const Sink *sink, uint64_t number, char name[NAME_MAX + 1])
{
	if (number <= 1)
		snprintf(name, NAME_MAX + 1, "%s", sink->name);
	else
		snprintf(name, NAME_MAX + 1, "%s.%" PRIu64, sink->name, number);
}

uint64_t
file_name_number(const Sink *sink, const char *name)
{
	const size_t len = strlen(sink->name);
	uint64_t number;
	char *end;

	if (strcmp(name, sink->name) == 0)
		return 1;
	if (strncmp(name, sink->name, len) != 0 || name[len] != '.' || name[len + 1] < '1' || name[len + 1] > '9')
		return 0;
	errno = 0;
	number = strtoull(name + len + 1, &end, 10);
	return errno == 0 && *end == '\0' && number > 1 && number <= INT64_MAX ? number : 0;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static void
print_run(const Sink *sink, const FileRun *run, const char *prefix, Buffer *out)
{
	char name[NAME_MAX + 1];

	file_number_name(sink, run->file, name);
	buffer_printf(out, "%sfile=%s\n%soffset=%" PRIu64 "\n%stail_xxh3=%016" PRIx64 "\n", prefix, name, prefix,
				  run->offset, prefix, run->tail_hash);
	file_number_name(sink, run->first, name);
	buffer_printf(out, "%sfirst=%s\n", prefix, name);
}

static void
checkpoint_print(const Sink *sink, const FileCheckpoint *checkpoint, Buffer *out)
{
	const SinkPosition *p = &checkpoint->position;
	char stream[STREAM_ID_TEXT_BYTES];

	stream_id_text(&p->stream_id, stream);
	buffer_printf(out, "format=%d\nsink=%s\nstream_id=%s\nowner_epoch=%" PRIu64 "\n", CHECKPOINT_FORMAT,
				  sink->sink_name, stream, p->owner_epoch);
	buffer_printf(out, "seq=%" PRIu64 "\npart=%" PRIu32 "\nend_lsn=" LSN_FORMAT "\n", p->seq, p->part,
				  LSN_ARGS(p->end_lsn));
	buffer_printf(out,
				  "applied=%" PRIu64 "\nfiltered=%" PRIu64 "\nparked=%" PRIu64 "\nquarantined=%" PRIu64
				  "\ntotal_start=%" PRIu64 "\n",
				  p->applied, p->filtered, p->parked, p->quarantined, p->total_start);
	buffer_printf(out, "phase=%s\ncommit_time_us=%" PRId64 "\n", phases[p->phase], p->commit_time_us);
	print_run(sink, &checkpoint->shown, "", out);
	if (checkpoint->fill.file != 0)
		print_run(sink, &checkpoint->fill, "fill_", out);
	buffer_printf(out, "old=%" PRIu64 "\nquarantine_offset=%" PRIu64 "\n", checkpoint->old,
				  checkpoint->quarantine_offset);
}

/* The text after "PREFIXkey=" on a line of its own. */
static bool
find(const char *text, const char *prefix, const char *key, char *value, size_t value_bytes)
{
	const size_t prefix_len = strlen(prefix);
	const size_t key_len = prefix_len + strlen(key);

	for (const char *line = text; *line != '\0';)
	{
		const char *end = strchrnul(line, '\n');

		if (strncmp(line, prefix, prefix_len) == 0 &&
			strncmp(line + prefix_len, key, key_len - prefix_len) == 0 && line[key_len] == '=')
		{
			const size_t len = (size_t) (end - line) - key_len - 1;

			if (len >= value_bytes)
				return false;
			memcpy(value, line + key_len + 1, len);
			value[len] = '\0';
			return true;
		}
		line = *end == '\0' ? end : end + 1;
	}
	return false;
}

static bool
find_number(const char *text, const char *prefix, const char *key, int base, uint64_t *number)
{
	char value[32];
	char *end;

	if (!find(text, prefix, key, value, sizeof(value)) || value[0] == '\0')
		return false;
	errno = 0;
	*number = strtoull(value, &end, base);
	return errno == 0 && *end == '\0';
}

static bool
parse_phase(const char *text, SinkPhase *phase)
{
	char value[32];

	if (!find(text, "", "phase", value, sizeof(value)))
		return false;
	for (int i = 0; i < (int) (sizeof(phases) / sizeof(phases[0])); i++)
		if (strcmp(value, phases[i]) == 0)
		{
			*phase = (SinkPhase) i;
			return true;
		}
	return false;
}

static bool
parse_run(const Sink *sink, const char *text, uint64_t format, const char *prefix, FileRun *run)
{
	char name[NAME_MAX + 1];

	if (!find(text, prefix, "file", name, sizeof(name)))
		return false;
	run->file = file_name_number(sink, name);
	if (format > 1 && !find(text, prefix, "first", name, sizeof(name)))
		return false;
	run->first = file_name_number(sink, name);
	return run->first != 0 && run->file >= run->first &&
		   find_number(text, prefix, "offset", 10, &run->offset) && run->offset <= INT64_MAX &&
		   find_number(text, prefix, "tail_xxh3", 16, &run->tail_hash);
}

static bool
parse_position(const char *text, uint64_t format, SinkPosition *p)
{
	char value[64];
	uint64_t part;
	uint64_t commit_time;
	bool ok = find(text, "", "stream_id", value, sizeof(value)) && stream_id_parse(value, &p->stream_id);

	ok = ok && find(text, "", "end_lsn", value, sizeof(value)) && lsn_parse(value, &p->end_lsn);
	ok = ok && find_number(text, "", "owner_epoch", 10, &p->owner_epoch);
	ok = ok && find_number(text, "", "seq", 10, &p->seq);
	ok = ok && find_number(text, "", "part", 10, &part) && part <= UINT32_MAX;
	ok = ok && find_number(text, "", "applied", 10, &p->applied);
	ok = ok && find_number(text, "", "filtered", 10, &p->filtered);
	ok = ok && find_number(text, "", "parked", 10, &p->parked);
	ok = ok && find_number(text, "", "quarantined", 10, &p->quarantined);
	ok = ok && find_number(text, "", "total_start", 10, &p->total_start);
	ok = ok && find_number(text, "", "commit_time_us", 10, &commit_time);
	ok = ok && (format == 1 || parse_phase(text, &p->phase));
	if (ok)
	{
		p->part = (uint32_t) part;
		p->commit_time_us = (int64_t) commit_time;
	}
	return ok;
}

static bool
checkpoint_parse(const Sink *sink, const char *text, uint64_t format, FileCheckpoint *checkpoint)
{
	char name[NAME_MAX + 1];

	if (format < 1 || format > CHECKPOINT_FORMAT || !parse_position(text, format, &checkpoint->position) ||
		!parse_run(sink, text, format, "", &checkpoint->shown))
		return false;
	if (format == 1)
		return true;
	if (!find_number(text, "", "old", 10, &checkpoint->old) ||
		!find_number(text, "", "quarantine_offset", 10, &checkpoint->quarantine_offset) ||
		checkpoint->quarantine_offset > INT64_MAX)
		return false;
	return !find(text, "fill_", "file", name, sizeof(name)) ||
		   (parse_run(sink, text, format, "fill_", &checkpoint->fill) &&
			checkpoint->fill.first > checkpoint->shown.file);
}

/* ---- the file ------------------------------------------------------------------------------------- */

bool
file_damaged(const Sink *sink, Error *err)
{
	return error_hint(err,
					  "Put the file and its checkpoint back as they were, or let \"walrank sink fill %s\" "
					  "write it anew.",
					  sink->sink_name);
}

/* A name that the text does have, but not as ours. */
static bool
owned(const Sink *sink, const char *text, Error *err)
{
	char value[NAME_MAX + 1];

	if (find(text, "", "sink", value, sizeof(value)) && strcmp(value, sink->sink_name) == 0 &&
		(!find(text, "", "file", value, sizeof(value)) || file_name_number(sink, value) != 0))
		return true;
	error_set(err, ERR_REFUSE, "checkpoint \"%s.ckpt\" belongs to another sink or file", sink->path);
	return error_hint(err, "Give this sink a path of its own, or its former name back.");
}

static bool
unreadable(const Sink *sink, Error *err)
{
	error_set(err, ERR_REFUSE,
			  "checkpoint \"%s.ckpt\" is not readable, or of a later version: where the sink stands is not "
			  "known (rule K1)",
			  sink->path);
	return error_hint(err,
					  "Put it back as it was.  Or move it and the sink's files away: the sink then begins "
					  "again, or is filled by \"walrank sink fill %s\".",
					  sink->sink_name);
}

bool
file_checkpoint_read(const Sink *sink, int dirfd, FileCheckpoint *checkpoint, bool *found, Error *err)
{
	char name[NAME_MAX + 1];
	char text[CHECKPOINT_BYTES_MAX + 1];
	size_t len = 0;
	uint64_t format;

	memset(checkpoint, 0, sizeof(*checkpoint));
	file_sibling(sink, ".ckpt", name);
	if (!fs_read_file(dirfd, name, CHECKPOINT_BYTES_MAX, text, &len, found, err))
		return false;
	if (!*found)
		return true;
	text[len] = '\0';
	if (!find_number(text, "", "format", 10, &format))
		return unreadable(sink, err);
	if (!owned(sink, text, err))
		return false;
	return checkpoint_parse(sink, text, format, checkpoint) || unreadable(sink, err);
}

bool
file_tail_hash(const Sink *sink, int fd, uint64_t offset, uint64_t *hash, Error *err)
{
	uint8_t tail[FILE_TAIL_BYTES];
	const size_t len = offset < FILE_TAIL_BYTES ? (size_t) offset : FILE_TAIL_BYTES;
	size_t got = 0;

	if (len > 0 && !fs_pread(fd, tail, len, offset - len, &got, err))
		return false;
	if (got != len)
		return error_set(err, ERR_REFUSE, "file \"%s\" is shorter than what was written to it", sink->path);
	*hash = XXH3_64bits(tail, len);
	return true;
}

bool
file_checkpoint_write(Sink *sink, const FileCheckpoint *checkpoint, Error *err)
{
	FileCheckpoint next = *checkpoint;
	FileRun *run = file_active(&next);
	char name[NAME_MAX + 1];
	Buffer text = {0};
	bool ok;

	if (!file_tail_hash(sink, sink->fd, run->offset, &run->tail_hash, err))
		return false;
	file_sibling(sink, ".ckpt", name);
	checkpoint_print(sink, &next, &text);
	ok = fs_replace(sink->dirfd, name, buffer_slice(&text), err);
	buffer_free(&text);
	if (ok)
		sink->last = next;
	return ok;
}
