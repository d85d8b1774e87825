/*
 * item_pass.c -- see item_pass.h.
 */
#include "cli/item_pass.h"

#include <stdio.h>

#include "base/json.h"
#include "feed/ndjson.h"

/* ---- which item ------------------------------------------------------------------------------- */

bool
item_name_parse(ItemName *name, const char *table, const char *key)
{
	*name = (ItemName){0};
	history_key_parse(key, &name->key);
	/* "schema.table" or "table" */
	if (strchr(table, '.') != NULL)
		return watch_parse(slice_string(table), name->schema, name->table);
	snprintf(name->table, sizeof(name->table), "%s", table);
	return strlen(table) < sizeof(name->table);
}

void
item_name_free(ItemName *name)
{
	history_key_free(&name->key);
	buffer_free(&name->spellings[0]);
	buffer_free(&name->spellings[1]);
	buffer_free(&name->rendered);
}

static bool
is_table(ItemName *name, const FeedRelation *relation)
{
	if (relation == NULL || strcmp(relation->table, name->table) != 0 ||
		(name->schema[0] != '\0' && strcmp(relation->schema, name->schema) != 0))
		return false;
	name->known = true;
	return true;
}

/* As lines have it: a scalar once without quotes, as a number is, and once with them. */
static void
spell(const HistoryKey *key, const FeedRelation *relation, bool quoted, Buffer *out)
{
	char separator = '{';

	buffer_reset(out);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const FeedColumn *column = &relation->columns[i];
		const HistoryMember *member = history_key_member(key, column->name);
		const char *text = key->count == 0 ? key->text : member != NULL ? member->text : "";

		if (!column->key)
			continue;
		buffer_append_byte(out, (uint8_t) separator);
		json_string(out, slice_string(column->name));
		buffer_append_byte(out, ':');
		if (member != NULL ? member->is_string : quoted)
			json_string(out, slice_string(text));
		else
			buffer_append_slice(out, slice_string(text));
		separator = ',';
	}
	buffer_append_byte(out, '}');
}

static bool
is_item(ItemName *name, const FeedRelation *relation, Slice key, bool *is, Error *err)
{
	if (name->fingerprint != relation->fingerprint)
	{
		spell(&name->key, relation, false, &name->spellings[0]);
		spell(&name->key, relation, true, &name->spellings[1]);
		name->fingerprint = relation->fingerprint;
	}
	buffer_reset(&name->rendered);
	if (!ndjson_key(&name->rendered, relation, key, err))
		return false;
	*is = slice_equal(buffer_slice(&name->rendered), buffer_slice(&name->spellings[0])) ||
		  slice_equal(buffer_slice(&name->rendered), buffer_slice(&name->spellings[1]));
	return true;
}

/* ---- the pass --------------------------------------------------------------------------------- */

int64_t
item_unit_time(const RecordHeader *unit)
{
	return unit->kind == UNIT_TXN ? unit->commit_time_us : unit->now_us;
}

/* The version of the table its key is written under: that of the row where there is one. */
static const FeedRelation *
relation_of(const ItemPass *pass, const RecordEntry *entry)
{
	if (entry->kind == RECORD_CHANGE)
		return feed_relation_version(pass->reader, entry->relation, entry->row.fingerprint);
	return feed_relation(pass->reader, entry->relation);
}

static bool
take_entry(ItemPass *pass, ItemName *name, const RecordEntry *entry, Error *err)
{
	const FeedRelation *relation;
	bool is = true;

	if (entry->kind == RECORD_GAP)
		return pass->entry(pass, entry, NULL, err);
	if (entry->kind < RECORD_CHANGE || entry->kind > RECORD_QUARANTINE)
		return true;
	relation = relation_of(pass, entry);
	if (!is_table(name, relation))
		return true;
	if (entry->key.len > 0 && !is_item(name, relation, entry->key, &is, err))
		return false;
	return !is || pass->entry(pass, entry, relation, err);
}

static bool
take_record(ItemPass *pass, ItemName *name, RecordReader *record, Error *err)
{
	RecordEntry entry;
	bool done = false;
	bool fill;

	if (!record_fill(record, &fill, &entry, err))
		return false;
	if (fill)
		return true; /* repeats what was told, for one sink alone */
	pass->unit = &record->header;
	while (record_next(record, &entry, &done, err) && !done)
		if (!take_entry(pass, name, &entry, err))
			return false;
	return done;
}

static bool
open_feed(const StoppedState *stopped, FeedReader **reader, Error *err)
{
	const SinkSource source = stopped_source(stopped);
	SegVerify report;

	if (source.last_seq != 0)
		return feed_reader_open_dir(source.dirfd, source.first_seq, reader, err);
	if (feed_reader_open_dir(source.dirfd, 1, reader, err))
		return true;
	error_clear(err);
	return feed_verify(source.dirfd, &report, err) &&
		   feed_reader_open_dir(source.dirfd, report.first.seq + 1, reader, err);
}

bool
item_pass(ItemPass *pass, ItemName *name, const StoppedState *stopped, Error *err)
{
	RecordReader record;
	FeedEvent event;
	bool first = true;
	bool ok = true;

	if (!open_feed(stopped, &pass->reader, err))
		return false;
	while (ok && (event = feed_reader_next(pass->reader, &record, err)) == FEED_RECORD)
	{
		if (stopped->last_seq != 0 && record.header.seq > stopped->last_seq)
			break; /* not durable yet (R5) */
		if (pass->until_seq != 0 && record.header.seq > pass->until_seq)
			break;
		if (first && pass->begin != NULL)
			ok = pass->begin(pass, &record.header);
		first = false;
		ok = ok && take_record(pass, name, &record, err);
	}
	ok = ok && event != FEED_ERROR;
	feed_reader_close(pass->reader);
	pass->reader = NULL;
	return ok;
}
