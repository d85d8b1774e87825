/*
 * peek.c -- see peek.h.
 */
#include "stream/peek.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "stream/source.h"

#define FEEDBACK_US 5000000
#define XLOGDATA_HEADER 25 /* 'w', start, end, time */
#define KEEPALIVE_BYTES 18 /* 'k', end, time, reply requested */

struct Peek
{
	PGconn *conn;
	Lsn end;	  /* 0: none */
	Lsn received; /* largest position the server has named with data or keepalive */
	int64_t feedback_us;
	char *copy; /* of the frame given out */
};

static uint64_t
big_endian(const char *at)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | (uint8_t) at[i];
	return v;
}

static bool
refuse_owned(const PeekSettings *settings, Error *err)
{
	PGconn *sql = NULL;
	PGresult *res = NULL;
	const char *params[] = {settings->slot};
	bool owned = false;
	bool ok = source_connect(settings->conninfo, SOURCE_SQL, &sql, err);

	/* without the extension there is no daemon */
	if (ok)
	{
		res = source_query(sql, 1, err, "control table", "SELECT pg_catalog.to_regclass('walrank.control')",
						   0, NULL);
		ok = res != NULL;
	}
	if (ok && !PQgetisnull(res, 0, 0))
	{
		PQclear(res);
		res = source_query(sql, 1, err, "control rows", "SELECT 1 FROM walrank.control WHERE slot = $1", 1,
						   params);
		ok = res != NULL;
		owned = ok && PQntuples(res) > 0;
	}
	if (owned)
	{
		ok = error_set(err, ERR_CONFIG,
					   "slot \"%s\" belongs to a daemon: reading it here would take its changes away",
					   settings->slot);
		error_hint(err, "Leave out --slot to use a temporary one, or read the daemon's feed with --from.");
	}
	PQclear(res);
	PQfinish(sql);
	return ok;
}

static bool
make_slot(PGconn *conn, const char *slot, Error *err)
{
	Buffer command = {0};
	PGresult *res;
	bool ok;

	buffer_printf(&command,
				  "CREATE_REPLICATION_SLOT \"%s\" TEMPORARY LOGICAL " SOURCE_PLUGIN " NOEXPORT_SNAPSHOT",
				  slot);
	res = PQexec(conn, (char *) command.data);
	ok = PQresultStatus(res) == PGRES_TUPLES_OK;
	if (!ok)
		source_error(conn, res, err, "could not create a temporary slot");
	PQclear(res);
	buffer_free(&command);
	return ok;
}

static void
append_options(PGconn *conn, const PeekSettings *settings, Buffer *command)
{
	static const char *const names[PEEK_OPTIONS] = {"publication_names", "mode",	 "attributes",
													"old_values",		 "messages", "origin"};

	for (int i = 0; i < PEEK_OPTIONS; i++)
	{
		char *value;

		if (settings->options[i] == NULL)
			continue;
		value = PQescapeLiteral(conn, settings->options[i], strlen(settings->options[i]));
		buffer_printf(command, ", %s %s", names[i], value);
		PQfreemem(value);
	}
}

static bool
start(PGconn *conn, const PeekSettings *settings, const char *slot, Error *err)
{
	Buffer command = {0};
	char *name = PQescapeIdentifier(conn, slot, strlen(slot));
	PGresult *res;
	bool ok;

	buffer_printf(&command, "START_REPLICATION SLOT %s LOGICAL " LSN_FORMAT " (format '%s'", name,
				  LSN_ARGS(settings->start), settings->protobuf ? "protobuf" : "json");
	append_options(conn, settings, &command);
	buffer_printf(&command, ")");
	res = PQexec(conn, (char *) command.data);
	ok = PQresultStatus(res) == PGRES_COPY_BOTH;
	if (!ok)
		source_error(conn, res, err, "could not start replication");
	PQclear(res);
	PQfreemem(name);
	buffer_free(&command);
	return ok;
}

bool
peek_open(const PeekSettings *settings, Peek **result, Error *err)
{
	Peek *peek = xcalloc(1, sizeof(*peek));
	char temporary[64];
	bool ok;

	snprintf(temporary, sizeof(temporary), "walrank_stream_%ld", (long) getpid());
	peek->end = settings->end;
	ok = settings->slot == NULL || refuse_owned(settings, err);
	ok = ok && source_connect(settings->conninfo, SOURCE_REPLICATION, &peek->conn, err);
	if (ok && settings->slot == NULL)
		ok = make_slot(peek->conn, temporary, err);
	ok = ok && start(peek->conn, settings, settings->slot != NULL ? settings->slot : temporary, err);
	if (!ok)
	{
		peek_close(peek);
		return false;
	}
	*result = peek;
	return true;
}

static bool
feedback(Peek *peek, Error *err)
{
	char message[34] = {'r'};
	uint64_t values[4] = {peek->received, peek->received, peek->received,
						  (uint64_t) (clock_wall_us() - PG_EPOCH_US)};

	for (int i = 0; i < 4; i++)
		for (int byte = 0; byte < 8; byte++)
			message[1 + 8 * i + byte] = (char) (values[i] >> (56 - 8 * byte));
	peek->feedback_us = clock_monotonic_us();
	if (PQputCopyData(peek->conn, message, sizeof(message)) == 1 && PQflush(peek->conn) == 0)
		return true;
	return source_error(peek->conn, NULL, err, "could not send feedback");
}

/* One message of the stream: PEEK_NOTHING when it was no frame. */
static PeekEvent
take(Peek *peek, int len, Slice *frame, Error *err)
{
	if (peek->copy[0] == 'k' && len >= KEEPALIVE_BYTES)
	{
		Lsn walend = big_endian(peek->copy + 1);

		peek->received = walend > peek->received ? walend : peek->received;
		if (peek->end != 0 && peek->received >= peek->end)
			return PEEK_END;
		if (peek->copy[17] != 0 && !feedback(peek, err))
			return PEEK_ERROR;
		return PEEK_NOTHING;
	}
	if (peek->copy[0] == 'w' && len >= XLOGDATA_HEADER)
	{
		Lsn begins = big_endian(peek->copy + 1);

		if (peek->end != 0 && begins >= peek->end)
			return PEEK_END;
		*frame = slice_make(peek->copy + XLOGDATA_HEADER, (size_t) len - XLOGDATA_HEADER);
		return PEEK_FRAME;
	}
	error_set(err, ERR_DATA, "unknown message in the stream");
	return PEEK_ERROR;
}

PeekEvent
peek_next(Peek *peek, int timeout_ms, Slice *frame, Error *err)
{
	int64_t deadline_us = clock_monotonic_us() + (int64_t) timeout_ms * 1000;

	for (;;)
	{
		struct pollfd pfd = {.fd = PQsocket(peek->conn), .events = POLLIN};
		PeekEvent event;
		int len;

		PQfreemem(peek->copy);
		peek->copy = NULL;
		len = PQgetCopyData(peek->conn, &peek->copy, 1);
		if (len > 0)
		{
			event = take(peek, len, frame, err);
			if (event != PEEK_NOTHING)
				return event;
			continue;
		}
		if (len == -1)
			return PEEK_END;
		if (len == -2)
		{
			source_error(peek->conn, NULL, err, "the stream broke");
			return PEEK_ERROR;
		}
		if (clock_monotonic_us() - peek->feedback_us > FEEDBACK_US && !feedback(peek, err))
			return PEEK_ERROR;
		if (clock_monotonic_us() >= deadline_us)
			return PEEK_NOTHING;
		if (poll(&pfd, 1, 50) > 0 && PQconsumeInput(peek->conn) != 1)
		{
			source_error(peek->conn, NULL, err, "the stream broke");
			return PEEK_ERROR;
		}
	}
}

void
peek_close(Peek *peek)
{
	if (peek == NULL)
		return;
	PQfreemem(peek->copy);
	PQfinish(peek->conn);
	free(peek);
}
