/*
 * stream.c -- `walrank stream`: see what goes by, without touching what the daemon does.
 *
 * From the server through a TEMPORARY slot: what the plugin sends, frame by frame (json: the Frame as
 * proto3 JSON; pb: a varint length before each).  With --from, from the local feed: completed changes and
 * scores as NDJSON.  A slot that belongs to a daemon is refused.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "feed/ndjson.h"
#include "stream/peek.h"

static volatile sig_atomic_t stopped;

static void
stop(int signal_number)
{
	stopped = signal_number;
}

enum
{
	STREAM_SLOT,
	STREAM_PUBLICATIONS,
	STREAM_MODE,
	STREAM_ATTRIBUTES,
	STREAM_OLD_VALUES,
	STREAM_MESSAGES,
	STREAM_ORIGIN,
	STREAM_FORMAT,
	STREAM_STARTPOS,
	STREAM_ENDPOS,
	STREAM_FROM,
	STREAM_LIMIT,
	STREAM_NO_LOOP,
};

static const CliOption options[] = {
	{"--slot", "NAME", "an existing slot of plugin walrank instead of a temporary one"},
	{"--publications", "LIST", "publications to follow (default: all tables)"},
	{"--mode", "row|delta", "whole rows (default), or what changed where the server knows"},
	{"--attributes", "LIST",
	 "only these columns, or column.key of jsonb objects; * stands for any characters"},
	{"--old-values", NULL, "with the old values of what changed, where the server knows them"},
	{"--messages", "LIST", "also logical messages of these prefixes"},
	{"--origin", "any|none", "none: only what was not replicated to the server (default: any)"},
	{"--format", "json|pb", "one JSON line per frame (default), or length-delimited protobuf"},
	{"--startpos", "LSN", "where an existing slot starts"},
	{"--endpos", "LSN", "stop after the first transaction that ends at or after LSN"},
	{"--from", "SEQ", "read completed changes and scores from the local feed instead, from this unit on"},
	{"--limit", "N", "stop after N frames or lines"},
	{"--no-loop", NULL, "stop when the feed ends (--from), or when nothing came for a second"},
	{0},
};

static bool
write_out(Slice bytes)
{
	return fwrite(bytes.data, 1, bytes.len, stdout) == bytes.len && fflush(stdout) == 0;
}

static bool
write_frame(Slice frame, bool protobuf)
{
	uint8_t length[10];

	if (protobuf)
		return write_out(slice_make(length, (size_t) (wire_put_varint(length, frame.len) - length))) &&
			   write_out(frame);
	return write_out(frame) && write_out(slice_string("\n"));
}

/* ---- from the server -------------------------------------------------------------------------- */

static int
stream_server(const Cli *cli, const char *const *values, uint64_t limit)
{
	Peek *peek = NULL;
	PeekSettings settings = {.slot = values[STREAM_SLOT],
							 .options = {[PEEK_PUBLICATIONS] = values[STREAM_PUBLICATIONS],
										 [PEEK_MODE] = values[STREAM_MODE],
										 [PEEK_ATTRIBUTES] = values[STREAM_ATTRIBUTES],
										 [PEEK_OLD_VALUES] = values[STREAM_OLD_VALUES] != NULL ? "on" : NULL,
										 [PEEK_MESSAGES] = values[STREAM_MESSAGES],
										 [PEEK_ORIGIN] = values[STREAM_ORIGIN]}};
	Buffer conninfo = {0};
	Error err = {0};
	uint64_t n = 0;
	int64_t quiet_since_us = clock_monotonic_us();
	bool ok;

	settings.protobuf = values[STREAM_FORMAT] != NULL && strcmp(values[STREAM_FORMAT], "pb") == 0;
	if (values[STREAM_FORMAT] != NULL && !settings.protobuf && strcmp(values[STREAM_FORMAT], "json") != 0)
		return cli_usage("unknown format \"%s\": json or pb", values[STREAM_FORMAT]);
	if (values[STREAM_STARTPOS] != NULL && !lsn_parse(values[STREAM_STARTPOS], &settings.start))
		return cli_usage("\"%s\" is not an LSN", values[STREAM_STARTPOS]);
	if (values[STREAM_ENDPOS] != NULL && !lsn_parse(values[STREAM_ENDPOS], &settings.end))
		return cli_usage("\"%s\" is not an LSN", values[STREAM_ENDPOS]);
	ok = cli_conninfo(cli, &conninfo, &err);
	settings.conninfo = (char *) conninfo.data;
	ok = ok && peek_open(&settings, &peek, &err);
	while (ok && !stopped && (limit == 0 || n < limit))
	{
		Slice frame;
		PeekEvent event = peek_next(peek, 200, &frame, &err);

		if (event == PEEK_FRAME)
		{
			if (!write_frame(frame, settings.protobuf))
				break; /* nobody reads any more */
			n++;
			quiet_since_us = clock_monotonic_us();
		}
		else if (event == PEEK_ERROR)
			ok = false;
		else if (event == PEEK_END ||
				 (values[STREAM_NO_LOOP] != NULL && clock_monotonic_us() - quiet_since_us > 1000000))
			break;
	}
	peek_close(peek);
	buffer_free(&conninfo);
	return ok ? EXIT_DONE : cli_fail(&err);
}

/* ---- from the local feed ----------------------------------------------------------------------- */

static bool
write_record(NdjsonWriter *writer, const FeedReader *reader, RecordReader *record, uint64_t limit,
			 Buffer *lines, uint64_t *n, Error *err)
{
	RecordEntry entry;
	bool done = false;
	bool fill;

	buffer_reset(lines);
	if (!record_fill(record, &fill, &entry, err))
		return false;
	if (fill)
		return true; /* repeats what was told, for one sink alone */
	while (record_next(record, &entry, &done, err) && !done)
	{
		size_t before = lines->len;

		if (!ndjson_write(writer, lines, reader, &record->header, &entry, err))
			return false;
		*n += lines->len > before;
		if (limit != 0 && *n >= limit)
			return true;
	}
	return done;
}

static bool
follow_feed(FeedReader *reader, uint64_t limit, bool loop, Error *err)
{
	NdjsonWriter *writer = ndjson_create();
	Buffer lines = {0};
	uint64_t n = 0;
	bool ok = true;

	while (ok && !stopped && (limit == 0 || n < limit))
	{
		RecordReader record;
		FeedEvent event = feed_reader_next(reader, &record, err);

		if (event == FEED_RECORD)
			ok = write_record(writer, reader, &record, limit, &lines, &n, err) &&
				 write_out(buffer_slice(&lines));
		else if (event == FEED_ERROR)
			ok = false;
		else if (!loop)
			break;
		else
			poll(NULL, 0, 50);
	}
	ndjson_destroy(writer);
	buffer_free(&lines);
	return ok;
}

/* A plain number from 1 up, in full. */
static bool
parse_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && *number > 0;
}

static int
stream_feed(const Cli *cli, const char *const *values, uint64_t limit)
{
	Config *config;
	FeedReader *reader = NULL;
	Buffer path = {0};
	int dirfd = -1;
	uint64_t seq;
	Error err = {0};
	bool ok;

	if (!parse_number(values[STREAM_FROM], &seq))
		return cli_usage("\"%s\" is no unit number", values[STREAM_FROM]);
	ok = cli_config(cli, &config, &err);
	if (!ok)
		return cli_fail(&err);
	buffer_printf(&path, "%s/feed", config->state.directory);
	config_free(config);
	ok = fs_open_dir((char *) path.data, false, &dirfd, &err) &&
		 feed_reader_open_dir(dirfd, seq, &reader, &err);
	if (ok)
	{
		ok = follow_feed(reader, limit, values[STREAM_NO_LOOP] == NULL, &err);
		feed_reader_close(reader);
	}
	if (dirfd >= 0)
		close(dirfd);
	buffer_free(&path);
	return ok ? EXIT_DONE : cli_fail(&err);
}

static int
run(const Cli *cli, const char *const *values, const char *const *operands)
{
	uint64_t limit = 0;

	if (values[STREAM_LIMIT] != NULL && !parse_number(values[STREAM_LIMIT], &limit))
		return cli_usage("--limit needs a number above 0, not \"%s\"", values[STREAM_LIMIT]);
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	signal(SIGPIPE, SIG_IGN);
	return values[STREAM_FROM] != NULL ? stream_feed(cli, values, limit) : stream_server(cli, values, limit);
}

const CliCommand cli_stream = {
	.name = "stream",
	.summary = "changes as they go by: from the server (temporary slot), or with --from from the local feed",
	.options = options,
	.run = run,
};
