/*
 * kept.c -- relation descriptors the journal knows, so that each of its segments can be read alone.
 *
 * The plugin sends a relation once per connection before its first use, so what a segment's units use was sent in an
 * earlier segment perhaps.  Old versions go: the newest few of a table are enough, as a connection that begins later
 * sends what it uses again.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "journal/journal_private.h"

typedef struct KeptRelation
{
	UT_hash_handle hh;
	uint64_t fingerprint;
	uint32_t oid;
	KeptState state;
	uint32_t len;
	uint8_t entry[];
} KeptRelation;

struct Kept
{
	KeptRelation *relations; /* uthash keeps the order of insertion */
	uint32_t fresh;			 /* NEW ones */
};

Kept *
kept_create(void)
{
	return xcalloc(1, sizeof(Kept));
}

static void
drop(Kept *kept, KeptRelation *relation)
{
	kept->fresh -= relation->state == KEPT_NEW;
	HASH_DEL(kept->relations, relation);
	free(relation);
}

void
kept_clear(Kept *kept)
{
	while (kept->relations != NULL)
		drop(kept, kept->relations);
}

void
kept_destroy(Kept *kept)
{
	if (kept == NULL)
		return;
	kept_clear(kept);
	free(kept);
}

static KeptRelation *
find(const Kept *kept, uint64_t fingerprint)
{
	KeptRelation *relation;

	HASH_FIND(hh, kept->relations, &fingerprint, sizeof(fingerprint), relation);
	return relation;
}

bool
kept_known(const Kept *kept, uint64_t fingerprint)
{
	return find(kept, fingerprint) != NULL;
}

uint32_t
kept_count(const Kept *kept)
{
	return HASH_COUNT(kept->relations);
}

/* Called before one of this table is added. */
static void
make_room(Kept *kept, uint32_t oid)
{
	KeptRelation *oldest = NULL;
	KeptRelation *relation;
	int versions = 0;

	for (relation = kept->relations; relation != NULL; relation = relation->hh.next)
	{
		if (relation->oid != oid)
			continue;
		if (versions++ == 0)
			oldest = relation;
	}
	if (versions < KEPT_PER_TABLE_MAX)
		oldest = kept_count(kept) < KEPT_TOTAL_MAX ? NULL : kept->relations;
	if (oldest != NULL)
		drop(kept, oldest);
}

bool
kept_add(Kept *kept, Slice entry, KeptState state)
{
	KeptRelation *relation;
	WireRelation wire;
	WireEntry split;

	if (!wire_entry(entry, &split) || split.kind != ENTRY_RELATION || !wire_relation(split.body, &wire))
		return false;
	relation = find(kept, wire.fingerprint);
	if (relation != NULL && slice_equal(slice_make(relation->entry, relation->len), entry))
	{
		/* sent again: it is the newest now */
		HASH_DEL(kept->relations, relation);
		HASH_ADD(hh, kept->relations, fingerprint, sizeof(relation->fingerprint), relation);
		return true;
	}
	if (relation != NULL)
		drop(kept, relation);
	make_room(kept, wire.oid);
	relation = xcalloc(1, sizeof(*relation) + entry.len);
	relation->fingerprint = wire.fingerprint;
	relation->oid = wire.oid;
	relation->state = state;
	relation->len = (uint32_t) entry.len;
	memcpy(relation->entry, entry.data, entry.len);
	HASH_ADD(hh, kept->relations, fingerprint, sizeof(relation->fingerprint), relation);
	kept->fresh += state == KEPT_NEW;
	return true;
}

bool
kept_take_new(Kept *kept, Slice *entry)
{
	if (kept->fresh == 0)
		return false;
	for (KeptRelation *relation = kept->relations; relation != NULL; relation = relation->hh.next)
	{
		if (relation->state != KEPT_NEW)
			continue;
		relation->state = KEPT_WRITING;
		kept->fresh--;
		*entry = slice_make(relation->entry, relation->len);
		return true;
	}
	return false;
}

void
kept_settle(Kept *kept, KeptState state)
{
	for (KeptRelation *relation = kept->relations; relation != NULL; relation = relation->hh.next)
	{
		if (relation->state != KEPT_WRITING)
			continue;
		relation->state = state;
		kept->fresh += state == KEPT_NEW;
	}
}

void
kept_forget_written(Kept *kept)
{
	kept->fresh = 0;
	for (KeptRelation *relation = kept->relations; relation != NULL; relation = relation->hh.next)
	{
		relation->state = KEPT_NEW;
		kept->fresh++;
	}
}

void
kept_put(const Kept *kept, Buffer *out)
{
	for (const KeptRelation *relation = kept->relations; relation != NULL; relation = relation->hh.next)
	{
		buffer_append_u32(out, relation->len);
		buffer_append(out, relation->entry, relation->len);
	}
}

/* ---- SNAPSHOT --------------------------------------------------------------------------------- */

#define SNAPSHOT_VERSION 1
#define SNAPSHOT_BYTES 68

void
snapshot_put(Buffer *out, const JournalHead *head, const Kept *kept)
{
	buffer_append_u32(out, SNAPSHOT_VERSION);
	buffer_append_u32(out, kept_count(kept));
	buffer_append_u64(out, head->seq);
	buffer_append_u64(out, head->end_lsn);
	buffer_append_u64(out, (uint64_t) head->now_us);
	buffer_append_u64(out, head->xid);
	buffer_append_u64(out, (uint64_t) head->commit_time_us);
	buffer_append_u64(out, head->owner_epoch);
	buffer_append_u64(out, head->beat);
	buffer_append_u32(out, head->timeline);
	kept_put(kept, out);
}

bool
snapshot_get(Slice payload, JournalHead *head, uint32_t *relations, Slice *rest, Error *err)
{
	uint64_t numbers[7];
	uint32_t version;

	if (payload.len < SNAPSHOT_BYTES)
		return error_set(err, ERR_DATA, "SNAPSHOT of %zu bytes is too short", payload.len);
	memcpy(&version, payload.data, 4);
	if (version != SNAPSHOT_VERSION)
		return error_set(err, ERR_REFUSE, "SNAPSHOT of unknown version %u", version);
	memcpy(relations, payload.data + 4, 4);
	memcpy(numbers, payload.data + 8, sizeof(numbers));
	*head = (JournalHead){.seq = numbers[0],
						  .end_lsn = numbers[1],
						  .now_us = (int64_t) numbers[2],
						  .xid = numbers[3],
						  .commit_time_us = (int64_t) numbers[4],
						  .owner_epoch = numbers[5],
						  .beat = numbers[6]};
	memcpy(&head->timeline, payload.data + 64, 4);
	*rest = slice_make(payload.data + SNAPSHOT_BYTES, payload.len - SNAPSHOT_BYTES);
	return true;
}

bool
snapshot_relation(Slice *rest, Slice *entry, Error *err)
{
	uint32_t len;

	if (rest->len < 4)
		return error_set(err, ERR_DATA, "SNAPSHOT ends in the middle");
	memcpy(&len, rest->data, 4);
	if (len > rest->len - 4)
		return error_set(err, ERR_DATA, "SNAPSHOT ends in the middle");
	*entry = slice_make(rest->data + 4, len);
	*rest = slice_make(rest->data + 4 + len, rest->len - 4 - len);
	return true;
}
