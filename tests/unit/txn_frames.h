/*
 * txn_frames.h -- transactions as the plugin would send them, frame by frame, written by hand.
 */
#ifndef WALRANK_TXN_FRAMES_H
#define WALRANK_TXN_FRAMES_H

#include <stdint.h>

#include "base/lsn.h"
#include "wire_put.h"

#define FRAMES_MAX 8

/* ---- a plugin for the poor: frames as the format says, with a CRC of our own ---------------- */

static inline uint32_t
slow_crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
	crc = ~crc;
	for (size_t i = 0; i < len; i++)
	{
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static inline void
put_fixed64(Buffer *out, uint32_t field, uint64_t v)
{
	put_varint(out, WIRE_TAG(field, WIRE_FIXED64));
	buffer_append_u64(out, v);
}

static inline void
put_fixed32(Buffer *out, uint32_t field, uint32_t v)
{
	put_varint(out, WIRE_TAG(field, WIRE_FIXED32));
	buffer_append_u32(out, v);
}

typedef struct Txn
{
	Lsn commit;
	Lsn end;
	int64_t commit_time_us; /* 0 = some day in 2023 */
	uint32_t frames;
	uint32_t changes;
	uint32_t crc;
	Buffer frame[FRAMES_MAX];
} Txn;

static inline void
frame_begin(Txn *txn)
{
	Buffer head = {0};

	put_fixed64(&head, HEAD_COMMIT_LSN, txn->commit);
	put_fixed64(&head, HEAD_END_LSN, txn->end);
	put_fixed64(&head, HEAD_COMMIT_TIME,
				txn->commit_time_us != 0 ? (uint64_t) txn->commit_time_us : 1700000000000000);
	put_fixed64(&head, HEAD_XID, 77);
	put_fixed32(&head, HEAD_PART, txn->frames);
	put_bytes(&txn->frame[txn->frames], FRAME_HEAD, buffer_slice(&head));
	buffer_free(&head);
}

static inline void
put_entry(Txn *txn, uint32_t kind, const Buffer *body)
{
	Buffer entry = {0};

	put_bytes(&entry, kind, buffer_slice(body));
	put_bytes(&txn->frame[txn->frames], FRAME_ENTRIES, buffer_slice(&entry));
	buffer_free(&entry);
}

static inline void
frame_end(Txn *txn, bool last)
{
	Buffer *frame = &txn->frame[txn->frames++];
	Buffer tail = {0};

	txn->crc = slow_crc32c(txn->crc, frame->data, frame->len);
	if (!last)
		return;
	put_fixed32(&tail, TAIL_FRAMES, txn->frames);
	put_fixed32(&tail, TAIL_CHANGES, txn->changes);
	put_fixed32(&tail, TAIL_CRC32C, txn->crc);
	put_bytes(frame, FRAME_TAIL, buffer_slice(&tail));
	buffer_free(&tail);
}

static inline uint64_t
put_relation(Txn *txn, const char *schema, const char *table, const char *const *columns)
{
	Buffer rest = {0};
	Buffer body = {0};
	uint64_t fingerprint;

	put_text(&rest, RELATION_SCHEMA, schema);
	put_text(&rest, RELATION_TABLE, table);
	put_number(&rest, RELATION_OID, 4711);
	for (int i = 0; columns[i] != NULL; i++)
	{
		Buffer column = {0};

		put_text(&column, COLUMN_NAME, columns[i]);
		put_number(&column, COLUMN_TYPE_OID, 20);
		if (i == 0)
			put_number(&column, COLUMN_KEY, 1);
		put_bytes(&rest, RELATION_COLUMNS, buffer_slice(&column));
		buffer_free(&column);
	}
	fingerprint = wire_fingerprint(buffer_slice(&rest));
	if (txn != NULL)
	{
		put_fixed64(&body, RELATION_FINGERPRINT, fingerprint);
		buffer_append_slice(&body, buffer_slice(&rest));
		put_entry(txn, ENTRY_RELATION, &body);
	}
	buffer_free(&rest);
	buffer_free(&body);
	return fingerprint;
}

static const char *const item_columns[] = {"id", "price", NULL};
static const char *const control_columns[] = {"stream_id", "slot", "state", "owner_epoch", "beat", NULL};

static inline void
put_change(Txn *txn, uint64_t relation, int64_t id)
{
	Buffer body = {0};
	Buffer value = {0};

	put_fixed64(&body, CHANGE_RELATION, relation);
	put_number(&body, CHANGE_OP, OP_UPDATE);
	put_bytes(&body, CHANGE_KEY, value_int(&value, id));
	put_entry(txn, ENTRY_CHANGE, &body);
	txn->changes++;
	buffer_free(&body);
	buffer_free(&value);
}

static inline void
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

static inline void
put_control(Txn *txn, uint64_t relation, const StreamId *id, int64_t epoch, int64_t beat)
{
	Buffer body = {0};
	Buffer value = {0};
	char text[STREAM_ID_TEXT_BYTES];

	stream_id_text(id, text);
	put_fixed64(&body, CHANGE_RELATION, relation);
	put_number(&body, CHANGE_OP, OP_UPDATE);
	put_bytes(&body, CHANGE_KEY, value_text(&value, text));
	put_attribute(&body, 3, epoch);
	put_attribute(&body, 4, beat);
	put_entry(txn, ENTRY_CHANGE, &body);
	txn->changes++;
	buffer_free(&body);
	buffer_free(&value);
}

/* Three frames: relation and two changes, two changes, one change. */
static inline Txn
three_frames(Lsn commit)
{
	Txn txn = {.commit = commit, .end = commit + 48};
	uint64_t item;

	frame_begin(&txn);
	item = put_relation(&txn, "public", "item", item_columns);
	put_change(&txn, item, 1);
	put_change(&txn, item, 2);
	frame_end(&txn, false);
	frame_begin(&txn);
	put_change(&txn, item, 3);
	put_change(&txn, item, 4);
	frame_end(&txn, false);
	frame_begin(&txn);
	put_change(&txn, item, 5);
	frame_end(&txn, true);
	return txn;
}

static inline Txn
one_frame(Lsn commit)
{
	Txn txn = {.commit = commit, .end = commit + 48};

	frame_begin(&txn);
	put_change(&txn, put_relation(&txn, "public", "item", item_columns), 1);
	frame_end(&txn, true);
	return txn;
}

static inline void
txn_free(Txn *txn)
{
	for (int i = 0; i < FRAMES_MAX; i++)
		buffer_free(&txn->frame[i]);
}

#endif /* WALRANK_TXN_FRAMES_H */
