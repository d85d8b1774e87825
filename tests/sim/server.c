/*
 * server.c -- see server.h.
 */
#include "server.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "report.h"
#include "wire_put.h"

/* ---- life ------------------------------------------------------------------------------------- */

Server *
server_create(uint64_t seed, const StreamId *stream_id)
{
	Server *server = xcalloc(1, sizeof(*server));

	server->random.state = seed;
	server->stream_id = *stream_id;
	server->system_identifier = UINT64_C(7000000000000000000) + random_below(&server->random, 1000000);
	server->timeline = 1;
	server->flushed = SERVER_START;
	server->next_xid = UINT64_C(0x1fffffff0); /* about to pass 2^33: 64 bits are needed */
	server->slot_found = true;
	server->confirmed = server->confirmed_saved = SERVER_START;
	server->timestamps = random_chance(&server->random, 1, 2);
	server->up = true;
	return server;
}

Server *
server_copy(const Server *server, uint64_t seed)
{
	Server *copy = xcalloc(1, sizeof(*copy));

	*copy = *server;
	copy->random.state = seed;
	copy->txns = xcalloc((size_t) server->capacity + 1, sizeof(Txn));
	if (server->ntxns > 0)
		memcpy(copy->txns, server->txns, (size_t) server->ntxns * sizeof(Txn));
	copy->sender = (Sender){.streaming = false};
	copy->nopen = 0;
	return copy;
}

void
server_destroy(Server *server)
{
	if (server == NULL)
		return;
	free(server->txns);
	free(server);
}

/* ---- rows as frames carry them ---------------------------------------------------------------- */

static const char *const tables[2] = {"item", "control"};
static const char *const schemas[2] = {"public", "walrank"};
static const char *const columns[2][6] = {{"id", "price", NULL},
										  {"stream_id", "slot", "state", "owner_epoch", "beat", NULL}};

static void
put_fixed64(Buffer *out, uint32_t field, uint64_t v)
{
	put_varint(out, WIRE_TAG(field, WIRE_FIXED64));
	buffer_append_u64(out, v);
}

static void
put_fixed32(Buffer *out, uint32_t field, uint32_t v)
{
	put_varint(out, WIRE_TAG(field, WIRE_FIXED32));
	buffer_append_u32(out, v);
}

static uint64_t
put_relation(Buffer *body, int table)
{
	Buffer rest = {0};
	Buffer column = {0};
	uint64_t fingerprint;

	put_text(&rest, RELATION_SCHEMA, schemas[table]);
	put_text(&rest, RELATION_TABLE, tables[table]);
	put_number(&rest, RELATION_OID, 4711 + (uint64_t) table);
	for (int i = 0; columns[table][i] != NULL; i++)
	{
		buffer_reset(&column);
		put_text(&column, COLUMN_NAME, columns[table][i]);
		put_number(&column, COLUMN_TYPE_OID, 20);
		if (i == 0)
			put_number(&column, COLUMN_KEY, 1);
		put_bytes(&rest, RELATION_COLUMNS, buffer_slice(&column));
	}
	fingerprint = wire_fingerprint(buffer_slice(&rest));
	put_fixed64(body, RELATION_FINGERPRINT, fingerprint);
	buffer_append_slice(body, buffer_slice(&rest));
	buffer_free(&rest);
	buffer_free(&column);
	return fingerprint;
}

static uint64_t
fingerprint_of(int table)
{
	static uint64_t known[2];
	Buffer body = {0};

	if (known[table] == 0)
		known[table] = put_relation(&body, table);
	buffer_free(&body);
	return known[table];
}

static void
put_attribute(Buffer *body, uint32_t column, int64_t v)
{
	Buffer attribute = {0};
	Buffer value = {0};

	put_number(&attribute, ATTRIBUTE_COLUMN, column);
	put_bytes(&attribute, ATTRIBUTE_VALUE, value_int(&value, v));
	put_bytes(body, CHANGE_ATTRIBUTES, buffer_slice(&attribute));
	buffer_free(&attribute);
	buffer_free(&value);
}

static void
put_change(const Server *server, const Txn *txn, uint32_t i, Buffer *body)
{
	uint64_t row = mix(txn->seed, i);
	char text[STREAM_ID_TEXT_BYTES];
	Buffer value = {0};

	buffer_reset(body);
	put_fixed64(body, CHANGE_RELATION, fingerprint_of(txn->control));
	put_number(body, CHANGE_OP, OP_UPDATE);
	if (txn->control)
	{
		stream_id_text(&server->stream_id, text);
		put_bytes(body, CHANGE_KEY, value_text(&value, text));
		put_attribute(body, 3, (int64_t) txn->epoch);
		put_attribute(body, 4, (int64_t) txn->beat);
	}
	else
	{
		put_bytes(body, CHANGE_KEY, value_int(&value, (int64_t) (row % 16)));
		put_attribute(body, 1, (int64_t) (row >> 40));
	}
	buffer_free(&value);
}

/* ---- writers ---------------------------------------------------------------------------------- */

static void
append_txn(Server *server, Txn txn, int64_t wall_us)
{
	Random *random = &server->random;
	Buffer body = {0};

	/* a commit record may begin where the one before ended */
	if (random_chance(random, 1, 2) && server->ntxns > 0)
		server->flushed += 8 * random_between(random, 1, 20);
	else
		tally(TXN_TOUCHING);
	txn.commit = server->flushed;
	txn.end = txn.commit + 8 * random_between(random, 4, 8);
	txn.commit_time_us = wall_us + (int64_t) random_below(random, 3);
	if (!txn.control && random_chance(random, 1, 20))
	{
		tally(TXN_ORIGIN);
		txn.commit_time_us += ((int64_t) random_below(random, 7) - 3) * INT64_C(86400000000);
	}
	txn.seed = random_next(random);
	for (uint32_t i = 0; i < txn.changes; i++)
	{
		put_change(server, &txn, i, &body);
		txn.hash = mix(txn.hash, wire_fingerprint(buffer_slice(&body)));
	}
	buffer_free(&body);
	server->flushed = txn.end;
	if (server->ntxns == server->capacity)
	{
		server->capacity = server->capacity > 0 ? 2 * server->capacity : 64;
		server->txns = xrealloc(server->txns, (size_t) server->capacity * sizeof(Txn));
	}
	server->txns[server->ntxns++] = txn;
	trace("server: commit of %llu at " LSN_FORMAT " .. " LSN_FORMAT ", %u changes%s",
		  (unsigned long long) txn.xid, LSN_ARGS(txn.commit), LSN_ARGS(txn.end), txn.changes,
		  txn.control ? " (control)" : "");
}

/* Any of those that are open, not the oldest first. */
static void
commit_open(Server *server, int64_t wall_us)
{
	Random *random = &server->random;
	int i = (int) random_below(random, (uint64_t) server->nopen);
	Txn txn = {.xid = server->open[i], .changes = 1, .per_frame = 100};

	for (int other = 0; other < server->nopen; other++)
		if (server->open[other] < txn.xid)
		{
			tally(COMMIT_OVERTAKES);
			break;
		}
	server->open[i] = server->open[--server->nopen];
	if (random_chance(random, 1, 10))
		return; /* aborted: nobody hears of it */
	if (random_chance(random, 1, 3))
		txn.changes = (uint32_t) random_between(random, 2, 14);
	if (random_chance(random, 1, 2))
		txn.per_frame = (uint32_t) random_between(random, 1, 4);
	append_txn(server, txn, wall_us);
}

void
server_commit(Server *server, uint32_t changes, int64_t wall_us)
{
	append_txn(server, (Txn){.xid = server->next_xid++, .changes = changes, .per_frame = 2}, wall_us);
}

void
server_commit_control(Server *server, int64_t wall_us)
{
	append_txn(server,
			   (Txn){.xid = server->next_xid++,
					 .changes = 1,
					 .per_frame = 1,
					 .control = true,
					 .epoch = server->epoch,
					 .beat = server->beat},
			   wall_us);
}

void
server_work(Server *server, int64_t wall_us)
{
	Random *random = &server->random;

	if (!server->up || server->stopping)
		return;
	switch (random_below(random, 12))
	{
		case 0:
		case 1:
		case 2:
		case 3:
			if (server->nopen < SERVER_OPEN_MAX)
				server->open[server->nopen++] = server->next_xid++;
			break;
		case 4:
		case 5:
		case 6:
		case 7:
			if (server->nopen > 0)
				commit_open(server, wall_us);
			break;
		case 8:
			/* nothing of this is published; now and then as much as makes a PROGRESS due at once */
			tally(WAL_JUMP);
			server->flushed += 8 * random_between(random, 1, random_chance(random, 1, 8) ? 3 << 20 : 1000);
			break;
		case 9:
			server->beat++;
			server_commit_control(server, wall_us);
			break;
		case 10:
			server->confirmed_saved = server->confirmed;
			break;
		default:
			break;
	}
}

void
server_crash(Server *server)
{
	tally(SERVER_CRASH);
	if (server->confirmed_saved < server->confirmed)
		tally(CONFIRMED_BACK);
	server->confirmed = server->confirmed_saved;
	server->nopen = 0;
	server->stopping = false;
	server->up = true;
	server_disconnect(server);
	trace("server: crashed, confirmed_flush is " LSN_FORMAT " again", LSN_ARGS(server->confirmed));
}

/* ---- walsender -------------------------------------------------------------------------------- */

void
server_start(Server *server, Lsn start)
{
	Lsn from = start > server->confirmed ? start : server->confirmed;
	int next = 0;

	while (next < server->ntxns && server->txns[next].commit < from)
		next++;
	/* more than it has to: J2 is there for it */
	if (next > 0 && random_chance(&server->random, 1, 12))
	{
		tally(TXN_AGAIN);
		next--;
	}
	tallies[TALLY_TXN_RESENT] += server->sent > next ? (uint64_t) (server->sent - next) : 0;
	server->sender = (Sender){.streaming = true,
							  .next = next,
							  .first = true,
							  .sent = from,
							  .floor = server->confirmed,
							  .limit = server->flushed,
							  .flush = server->confirmed};
}

void
server_disconnect(Server *server)
{
	if (server->sender.streaming && server->sender.frame > 0)
		tally(TXN_CUT);
	server->sender.streaming = false;
}

static void
put_be64(Buffer *out, uint64_t v)
{
	buffer_append_u64(out, htobe64(v));
}

static void
put_entry(Buffer *frame, uint32_t kind, const Buffer *body)
{
	Buffer entry = {0};

	put_bytes(&entry, kind, buffer_slice(body));
	put_bytes(frame, FRAME_ENTRIES, buffer_slice(&entry));
	buffer_free(&entry);
}

static void
put_head(Buffer *frame, const Txn *txn, uint32_t part)
{
	Buffer head = {0};

	put_fixed64(&head, HEAD_COMMIT_LSN, txn->commit);
	put_fixed64(&head, HEAD_END_LSN, txn->end);
	put_fixed64(&head, HEAD_COMMIT_TIME, (uint64_t) txn->commit_time_us);
	put_fixed64(&head, HEAD_XID, txn->xid);
	put_fixed32(&head, HEAD_PART, part);
	put_bytes(frame, FRAME_HEAD, buffer_slice(&head));
	buffer_free(&head);
}

static void
put_tail(Buffer *frame, const Txn *txn, uint32_t frames, uint32_t crc)
{
	Buffer tail = {0};

	put_fixed32(&tail, TAIL_FRAMES, frames);
	put_fixed32(&tail, TAIL_CHANGES, txn->changes);
	put_fixed32(&tail, TAIL_CRC32C, crc);
	put_bytes(frame, FRAME_TAIL, buffer_slice(&tail));
	buffer_free(&tail);
}

static void
put_frame(Server *server, Buffer *frame)
{
	Sender *sender = &server->sender;
	const Txn *txn = &server->txns[sender->next];
	uint32_t from = sender->frame * txn->per_frame;
	uint32_t to = from + txn->per_frame < txn->changes ? from + txn->per_frame : txn->changes;
	Buffer body = {0};

	put_head(frame, txn, sender->frame);
	if (!sender->announced[txn->control])
	{
		put_relation(&body, txn->control);
		put_entry(frame, ENTRY_RELATION, &body);
		sender->announced[txn->control] = true;
	}
	for (uint32_t i = from; i < to; i++)
	{
		put_change(server, txn, i, &body);
		put_entry(frame, ENTRY_CHANGE, &body);
	}
	buffer_free(&body);
	sender->crc = crc32c(sender->frame == 0 ? 0 : sender->crc, frame->data, frame->len);
	sender->frame++;
	if (to < txn->changes)
		return;
	put_tail(frame, txn, sender->frame, sender->crc);
	if (sender->frame > 1)
		tally(TXN_FRAMES);
	else
		tally(TXN_SMALL);
	sender->frame = 0;
	sender->next++;
	server->sent = sender->next > server->sent ? sender->next : server->sent;
}

static void
send_frame(Server *server, Buffer *message)
{
	const Txn *txn = &server->txns[server->sender.next];
	/* what a data message names is of no order: its own commit, or what came before */
	Lsn named = random_chance(&server->random, 1, 2) ? txn->commit : txn->commit - 8;
	Buffer frame = {0};

	put_frame(server, &frame);
	buffer_append_byte(message, 'w');
	put_be64(message, named);
	put_be64(message, named);
	put_be64(message, 0);
	buffer_append_slice(message, buffer_slice(&frame));
	buffer_free(&frame);
	if (txn->end > server->sender.sent && server->sender.frame == 0)
		server->sender.sent = txn->end;
}

/* W: everything with commit_lsn < W has been sent. */
static Lsn
wal_end(Server *server)
{
	Sender *sender = &server->sender;

	if (sender->first)
		return server->confirmed;
	if (random_chance(&server->random, 1, 16))
	{
		tally(KEEPALIVE_BACK);
		return sender->sent - sender->sent / 4;
	}
	if (sender->next == server->ntxns)
		return server->flushed;
	if (sender->frame > 0)
		tally(KEEPALIVE_INSIDE);
	return server->txns[sender->next].commit;
}

static void
send_keepalive(Server *server, bool ask, Buffer *message)
{
	Lsn end = wal_end(server);

	tally(KEEPALIVE);
	if (ask)
		tally(KEEPALIVE_ASKED);
	buffer_append_byte(message, 'k');
	put_be64(message, end);
	put_be64(message, 0);
	buffer_append_byte(message, ask);
	server->sender.first = false;
	if (end > server->sender.sent)
		server->sender.sent = end;
	trace("server: keepalive " LSN_FORMAT "%s", LSN_ARGS(end), ask ? ", asks" : "");
}

bool
server_send(Server *server, int64_t now_us, Buffer *message)
{
	Sender *sender = &server->sender;
	Random *random = &server->random;
	bool data = sender->next < server->ntxns;

	if (!sender->streaming || !server->up)
		return false;
	if (sender->first)
	{
		send_keepalive(server, false, message);
		return true;
	}
	if (data && !random_chance(random, 1, 12))
	{
		send_frame(server, message);
		return true;
	}
	/* a server that stops asks again after every answer; any other now and then */
	if (server->stopping && !data && sender->flush < server->flushed)
	{
		if (now_us - sender->asked_us < 20000)
			return false;
		sender->asked_us = now_us;
		send_keepalive(server, true, message);
		return true;
	}
	if (!random_chance(random, 1, data ? 2 : 6))
		return false;
	send_keepalive(server, random_chance(random, 1, 2), message);
	return true;
}

void
server_status(Server *server, Lsn flush)
{
	Sender *sender = &server->sender;

	/* the server itself checks nothing */
	if (flush < sender->flush || flush < sender->floor)
		broken("J1", "a status of " LSN_FORMAT " comes after " LSN_FORMAT, LSN_ARGS(flush),
			   LSN_ARGS(sender->flush > sender->floor ? sender->flush : sender->floor));
	if (flush > sender->sent && flush > sender->limit)
		broken("J1", LSN_FORMAT " is acknowledged, the server has named " LSN_FORMAT, LSN_ARGS(flush),
			   LSN_ARGS(sender->sent > sender->limit ? sender->sent : sender->limit));
	sender->flush = flush;
	if (flush > server->confirmed)
		server->confirmed = flush;
}

/* ---- what a session reads --------------------------------------------------------------------- */

void
server_identity(const Server *server, SourceIdentity *identity)
{
	*identity = (SourceIdentity){.system_identifier = server->system_identifier,
								 .timeline = server->timeline,
								 .flushed = server->flushed,
								 .database = SERVER_DATABASE,
								 .database_oid = SERVER_DATABASE_OID,
								 .server_version = 150020,
								 .wal_sender_timeout_ms = 60000};
}

void
server_slot(const Server *server, SourceSlot *slot)
{
	*slot = (SourceSlot){.found = server->slot_found,
						 .logical = true,
						 .plugin = SOURCE_PLUGIN,
						 .database = SERVER_DATABASE,
						 .confirmed_flush = server->confirmed,
						 .restart_lsn = server->confirmed};
	snprintf(slot->wal_status, sizeof(slot->wal_status), "%s", server->slot_lost ? "lost" : "reserved");
}

void
server_xid(const Server *server, uint64_t xid, SourceXid *out)
{
	*out = (SourceXid){.status = XID_NONE};
	if (xid == 0)
		return;
	out->status = xid >= server->next_xid ? XID_FUTURE : XID_ABORTED;
	for (int i = 0; i < server->nopen; i++)
		if (server->open[i] == xid)
			out->status = XID_IN_PROGRESS;
	for (int i = server->ntxns - 1; i >= 0; i--)
		if (server->txns[i].xid == xid)
		{
			out->status = XID_COMMITTED;
			out->timed = server->timestamps;
			out->commit_time_us = server->txns[i].commit_time_us;
			return;
		}
}
