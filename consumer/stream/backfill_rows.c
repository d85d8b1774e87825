/*
 * backfill_rows.c -- the rows of one chunk, by COPY from the reader's snapshot into ROWS units (B5).
 *
 * A chunk ends after so many rows, or when its snapshot is too old, and only at a key that SQL can go on after.
 */
#include <inttypes.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "stream/backfill_private.h"
#include "stream/cancel.h"
#include "stream/publications.h"

#define UNIT_ROWS 1000
#define UNIT_ROW_BYTES (256 << 10)
#define COPY_HEADER_BYTES 19
#define NULL_LENGTH 0xffffffff
/* However old the snapshot is when reading begins: a chunk gets somewhere. */
#define READ_US_MIN INT64_C(5000000)

/* Rows may arrive faster than they are wanted. */
static bool
keep_rate(Backfill *backfill, Error *err)
{
	int64_t rate = atomic_load(&backfill->context->limits->rate);
	int64_t due;

	if (rate <= 0)
		return true;
	due = backfill->reading_us + (int64_t) ((double) backfill->chunk_rows * 1e6 / (double) rate);
	while (clock_monotonic_us() < due)
	{
		int64_t left = due - clock_monotonic_us();

		if (backfill_stopped(backfill, err))
			return false;
		usleep((useconds_t) (left > BACKFILL_STEP_US ? BACKFILL_STEP_US : left < 1 ? 1 : left));
	}
	return true;
}

/* The key of the last row appended goes into the detail. */
static bool
note_key(Backfill *backfill, Slice row, Error *err)
{
	WireEntry entry;
	WireChange change;

	if (!wire_entry(row, &entry) || !wire_change(entry.body, &change))
		return error_set(err, ERR_CONFIG, "walrank.encode() gave what this version does not understand");
	backfill_set_key(backfill, change.key);
	return true;
}

/* Whether a chunk can end at the last key: SQL has to be told to go on after it. */
static bool
may_cut(Backfill *backfill)
{
	Buffer condition = {0};
	bool may = !backfill->round &&
			   table_key_after(&backfill->key, backfill->reader, backfill_last_key(backfill), &condition);

	buffer_free(&condition);
	return may;
}

static bool
too_old(const Backfill *backfill)
{
	int64_t now = clock_monotonic_us();

	return now - backfill->exported_us >= atomic_load(&backfill->context->limits->chunk_ms) * 1000 &&
		   now - backfill->reading_us >= READ_US_MIN;
}

static bool
append_rows(Backfill *backfill, Error *err)
{
	Unit unit;

	if (backfill->nrows == 0)
		return true;
	backfill_unit(backfill, &unit, BACKFILL_ROWS);
	if (!journal_append(backfill->context->journal, &unit, PART_ROWS, buffer_slice(&backfill->rows), false,
						err))
		return false;
	backfill->progress.rows += backfill->nrows;
	backfill->progress.bytes += backfill->rows.len;
	backfill->chunk_rows += backfill->nrows;
	if (!note_key(
			backfill,
			slice_make(backfill->rows.data + backfill->last_row, backfill->rows.len - backfill->last_row),
			err))
		return false;
	buffer_reset(&backfill->rows);
	backfill->nrows = 0;
	backfill->cut = too_old(backfill) && may_cut(backfill);
	backfill_report(backfill, "reading");
	return keep_rate(backfill, err);
}

static bool
take_row(Backfill *backfill, Slice row, Error *err)
{
	WireEntry entry;
	WireCursor cursor;
	WireField field;
	uint8_t len[10];

	if (!wire_entry(row, &entry) || entry.kind != ENTRY_CHANGE)
		return error_set(err, ERR_CONFIG, "walrank.encode() gave what this version does not understand");
	cursor = wire_cursor(entry.body);
	if (wire_done(&cursor) || !wire_field(&cursor, &field) || field.number != CHANGE_RELATION ||
		field.type != WIRE_FIXED64 || field.varint != backfill->fingerprint)
		return error_set(err, ERR_RETRY, "a row of %s is of another version of the table",
						 backfill->relation);
	buffer_append(&backfill->rows, len, (size_t) (wire_put_varint(len, row.len) - len));
	backfill->last_row = backfill->rows.len;
	buffer_append_slice(&backfill->rows, row);
	backfill->nrows++;
	if (backfill->nrows >= UNIT_ROWS || backfill->rows.len >= UNIT_ROW_BYTES)
		return append_rows(backfill, err);
	return true;
}

static uint32_t
read_be(const uint8_t *at, int bytes)
{
	uint32_t v = 0;

	for (int i = 0; i < bytes; i++)
		v = v << 8 | at[i];
	return v;
}

/*
 * PostgreSQL's binary COPY: a header before the first row, then per row a 16-bit field count and
 * 32-bit lengths; -1 as the count ends it, as a length it is NULL.  The server sends whole rows per message.
 */
static bool
take_copy_data(Backfill *backfill, Slice data, Error *err)
{
	static const uint8_t signature[] = "PGCOPY\n\377\r\n"; /* its end is part of it */
	const uint8_t *at = data.data;
	const uint8_t *end = at + data.len;

	if (!backfill->header_seen)
	{
		if (data.len < COPY_HEADER_BYTES || memcmp(at, signature, sizeof(signature)) != 0 ||
			read_be(at + 15, 4) > data.len - COPY_HEADER_BYTES)
			return error_set(err, ERR_RETRY, "the server's binary COPY begins strangely");
		at += COPY_HEADER_BYTES + read_be(at + 15, 4);
		backfill->header_seen = true;
	}
	while (at < end && !backfill->cut)
	{
		uint32_t len;

		if (end - at >= 2 && read_be(at, 2) == 0xffff)
			return true;
		if (end - at >= 6 && read_be(at, 2) == 1 && read_be(at + 2, 4) == NULL_LENGTH)
		{
			backfill->left_out++;
			at += 6;
			continue;
		}
		if (end - at < 6 || read_be(at, 2) != 1 || (len = read_be(at + 2, 4)) > (size_t) (end - at - 6))
			return error_set(err, ERR_RETRY, "the server's binary COPY cannot be read");
		if (!take_row(backfill, slice_make(at + 6, len), err))
			return false;
		at += 6 + len;
	}
	return true;
}

/* The rows of the chunk; t.* is the row also where there is a column t. */
static bool
put_query(Backfill *backfill, const Buffer *keys, Buffer *sql, Error *err)
{
	bool ok = true;

	buffer_printf(sql, "SELECT walrank.encode(t.*, %" PRId64 ", ",
				  backfill->context->settings->max_value_bytes);
	if (!publications_array(backfill->reader, backfill->context->settings->publications, backfill->relation,
							sql, err))
		return false;
	buffer_printf(sql, ") FROM ONLY %s t", backfill->relation);
	if (backfill->round)
		ok = table_key_among(&backfill->key, backfill->reader, buffer_slice(keys), sql);
	else if (backfill->first.len > 0)
	{
		buffer_printf(sql, " WHERE ");
		ok = table_key_after(&backfill->key, backfill->reader, buffer_slice(&backfill->first), sql);
	}
	if (!ok)
		return error_set(err, ERR_RETRY, "a key of %s cannot be written in SQL", backfill->relation);
	if (backfill->round || backfill->key.ncolumns == 0)
		return true;
	table_key_order_by(&backfill->key, sql);
	/* an offset where the chunk goes on because it could not end */
	buffer_printf(sql, " LIMIT %" PRIu64 " OFFSET %" PRIu64, backfill->limit,
				  backfill->chunk_rows + backfill->left_out);
	return true;
}

static bool
begin_copy(Backfill *backfill, const Buffer *keys, Error *err)
{
	Buffer command = {0};
	PGresult *res;
	bool ok;

	buffer_printf(&command, "COPY (");
	if (!put_query(backfill, keys, &command, err))
	{
		buffer_free(&command);
		return false;
	}
	buffer_printf(&command, ") TO STDOUT (FORMAT binary)");
	buffer_append_byte(&command, '\0');
	res = PQexec(backfill->reader, (const char *) command.data);
	buffer_free(&command);
	ok = PQresultStatus(res) == PGRES_COPY_OUT ||
		 source_error(backfill->reader, res, err, "could not read the table");
	PQclear(res);
	return ok;
}

static bool
end_copy(Backfill *backfill, Error *err)
{
	PGresult *res = PQgetResult(backfill->reader);
	bool ok = PQresultStatus(res) == PGRES_COMMAND_OK ||
			  source_error(backfill->reader, res, err, "could not read the table");

	PQclear(res);
	while ((res = PQgetResult(backfill->reader)) != NULL)
		PQclear(res);
	return ok;
}

/* *len: of what came; -1 = the COPY is over. */
static bool
next_data(Backfill *backfill, char **data, int *len, Error *err)
{
	struct pollfd fd = {.fd = PQsocket(backfill->reader), .events = POLLIN};

	while ((*len = PQgetCopyData(backfill->reader, data, 1)) == 0)
	{
		if (backfill_stopped(backfill, err))
			return false;
		poll(&fd, 1, 200);
		if (!PQconsumeInput(backfill->reader))
			return source_error(backfill->reader, NULL, err, "the connection was lost");
	}
	return *len != -2 || source_error(backfill->reader, NULL, err, "could not read the table");
}

/* The snapshot is too old: what is still on its way is not looked at, and the connection serves no further command. */
static bool
cut_copy(Backfill *backfill, Error *err)
{
	char *data;
	int len = 0;

	cancel_statement(backfill->reader);
	while (len >= 0)
	{
		if (!next_data(backfill, &data, &len, err))
			return len == -2; /* cancelled, as it should be */
		if (len > 0)
			PQfreemem(data);
	}
	return true;
}

static bool
read_copy(Backfill *backfill, const Buffer *keys, Error *err)
{
	char *data;
	int len;

	backfill->header_seen = false;
	if (!begin_copy(backfill, keys, err))
		return false;
	while (!backfill->cut)
	{
		bool ok;

		if (!next_data(backfill, &data, &len, err))
			return false;
		if (len < 0)
			return append_rows(backfill, err) && end_copy(backfill, err);
		ok = take_copy_data(backfill, slice_make(data, (size_t) len), err);
		PQfreemem(data);
		if (!ok)
			return false;
	}
	return cut_copy(backfill, err);
}

/*
 * One COPY, or more while none of them ends at a key that another chunk could begin after: one of which all rows were
 * left out does not either.
 */
bool
backfill_read_rows(Backfill *backfill, const Buffer *keys, Error *err)
{
	uint64_t rows;
	uint64_t left_out;
	bool full;

	backfill->reading_us = clock_monotonic_us();
	do
	{
		rows = backfill->chunk_rows;
		left_out = backfill->left_out;
		if (!read_copy(backfill, keys, err))
			return false;
		rows = backfill->chunk_rows - rows;
		full = !backfill->round && backfill->key.ncolumns > 0 && !backfill->cut &&
			   rows + backfill->left_out - left_out >= backfill->limit;
		backfill->cut = backfill->cut || (full && rows > 0 && may_cut(backfill));
	} while (full && !backfill->cut);
	return true;
}
