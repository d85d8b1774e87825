/*
 * plugin.c -- the output plugin's callbacks.
 *
 * Each committed transaction with at least one published change becomes one Frame, or a run of them
 * when it is large; a transaction without one sends nothing.  Nothing in a row can raise an error
 * here: an error would come back at every retry, and the slot would stand still for ever.
 */
#include "plugin.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "replication/walsender.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "diff.h"
#include "filter.h"
#include "json.h"
#include "text.h"
#include "value.h"

/* The library is built with hidden symbols, and servers before 16 do not mark these as visible. */
#pragma GCC visibility push(default)
COMPAT_MODULE_MAGIC;
extern void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);
#pragma GCC visibility pop

/* Changes passed over before the client hears that we are alive. */
#define PROGRESS_CHANGES 100

/* Time of commits after which the server is told again how far we are: less than the second it counts by. */
#define PROGRESS_US 500000

/* A larger buffer is given back after the transaction that needed it. */
#define KEPT_BUFFER_BYTES (1024 * 1024)

/* In so much log there is not room for the records of 2^31 transactions. */
#define XID_TRUSTED_BYTES (INT64CONST(1) << 31)

/* From PostgreSQL's epoch to Unix's. */
#define UNIX_EPOCH_US (INT64CONST(1000000) * SECS_PER_DAY * (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE))

/* ---- session ----------------------------------------------------------------------------- */

static void
new_buffer(Plugin *plugin)
{
	MemoryContext caller = MemoryContextSwitchTo(plugin->context);

	plugin->bytes = makeStringInfo();
	MemoryContextSwitchTo(caller);
}

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *output, bool is_init)
{
	MemoryContext caller;
	Plugin *plugin;

	caller = MemoryContextSwitchTo(ctx->context);
	plugin = palloc0(sizeof(Plugin));
	plugin->context = AllocSetContextCreate(ctx->context, "walrank plugin", ALLOCSET_DEFAULT_SIZES);
	plugin->work = AllocSetContextCreate(plugin->context, "walrank change", ALLOCSET_DEFAULT_SIZES);
	ctx->output_plugin_private = plugin;

	MemoryContextSwitchTo(plugin->context);
	options_parse(&plugin->options, ctx->output_plugin_options);
	output->output_type =
		plugin->options.format == FORMAT_JSON ? OUTPUT_PLUGIN_TEXTUAL_OUTPUT : OUTPUT_PLUGIN_BINARY_OUTPUT;
	output->receive_rewrites = false;

	/* whole transactions at commit, prepared ones too, whatever the slot was made with */
	ctx->streaming = false;
	ctx->twophase = false;
	/* asked of every record; where the answer is always no, it is quicker not to ask */
	if (!plugin->options.only_local)
		ctx->callbacks.filter_by_origin_cb = NULL;

	if (!is_init)
	{
		plugin->publications = publications_open(plugin->options.publication_names);
		publications_check(plugin->publications, plugin->options.missing_ok);
		plugin->tables =
			relmeta_cache(plugin->context, plugin->publications, plugin->options.style.attributes);
		new_buffer(plugin);
		if (am_walsender && !IsTransactionState())
			value_settings_keep();
	}
	MemoryContextSwitchTo(caller);
}

static void
shutdown_session(LogicalDecodingContext *ctx)
{
	Plugin *plugin = ctx->output_plugin_private;

	/* takes the table cache off the invalidation callbacks' list */
	MemoryContextDelete(plugin->context);
	ctx->output_plugin_private = NULL;
}

static bool
filter_origin(LogicalDecodingContext *ctx, CompatOriginId origin)
{
	return origin != COMPAT_INVALID_ORIGIN;
}

static bool
filter_prepare(LogicalDecodingContext *ctx, TransactionId xid, const char *gid)
{
	return true;
}

/* ---- sending ----------------------------------------------------------------------------- */

/* Send the first len bytes of the buffer as one frame. */
static void
send_frame(LogicalDecodingContext *ctx, Plugin *plugin, int len, bool last)
{
	OutputPluginPrepareWrite(ctx, last);
	if (plugin->options.format == FORMAT_JSON)
		json_frame(ctx->out, slice_make(plugin->bytes->data, (size_t) len));
	else
		appendBinaryStringInfo(ctx->out, plugin->bytes->data, len);
	OutputPluginWrite(ctx, last);
	plugin->skipped = 0;
}

static void
send_due(LogicalDecodingContext *ctx, Plugin *plugin)
{
	int due = frames_due(&plugin->frames, plugin->options.frame_bytes);

	if (due == 0)
		return;
	send_frame(ctx, plugin, due, false);
	frames_cut(&plugin->frames, due);
}

/* Up to 15 the server is silent while changes are only passed over, and the client gives up. */
static void
passed_over(LogicalDecodingContext *ctx, Plugin *plugin)
{
	if (COMPAT_CORE_REPORTS_PROGRESS || ++plugin->skipped < PROGRESS_CHANGES)
		return;
	plugin->skipped = 0;
	OutputPluginUpdateProgress(ctx, false);
}

/*
 * The 64-bit number of a transaction.  It is less than 2^31 transactions away from the one before, unless so much log
 * lies between them that those may have passed unseen: then the server is asked, which takes a lock that every
 * backend needs.
 */
static uint64
widen_xid(Plugin *plugin, TransactionId xid, XLogRecPtr end_lsn)
{
	if (plugin->xid == 0 || end_lsn - plugin->xid_lsn > XID_TRUSTED_BYTES)
	{
		uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

		plugin->xid = next - (uint32) ((uint32) next - xid);
	}
	else
		plugin->xid += (uint64) (int64) (int32) (xid - (uint32) plugin->xid);
	plugin->xid_lsn = end_lsn;
	return plugin->xid;
}

/* The transaction's first entry is about to be written. */
static void
begin_frames(Plugin *plugin, ReorderBufferTXN *txn)
{
	WireHead head;

	if (plugin->frames.open)
		return;
	head = (WireHead){.commit_lsn = txn->final_lsn,
					  .end_lsn = txn->end_lsn,
					  .commit_time_us = compat_commit_time(txn) + UNIX_EPOCH_US,
					  .xid = widen_xid(plugin, txn->xid, txn->end_lsn)};
	frames_begin(&plugin->frames, plugin->bytes, &head);
}

/* ---- entries ----------------------------------------------------------------------------- */

static void
report_lost(Plugin *plugin, ReorderBufferTXN *txn)
{
	const char *name;

	while ((name = publications_lost(plugin->publications)) != NULL)
	{
		Slice utf8 = text_identifier(name);
		EncodeMark entry;

		begin_frames(plugin, txn);
		plugin->frames.last_entry = plugin->bytes->len;
		entry = encode_open(plugin->bytes, FRAME_ENTRIES, utf8.len + 2);
		encode_bytes_field(plugin->bytes, ENTRY_PUBLICATION_LOST, utf8.data, utf8.len);
		encode_close(plugin->bytes, entry);
	}
}

/* What is known of the table; tells of publications that were lost on the way. */
static RelMeta *
find_table(Plugin *plugin, ReorderBufferTXN *txn, Relation relation)
{
	RelMeta *meta = relmeta_get(plugin->tables, relation);

	if (unlikely(meta->publication_generation != plugin->publication_generation))
	{
		report_lost(plugin, txn);
		plugin->publication_generation = meta->publication_generation;
	}
	return meta;
}

static void
announce(LogicalDecodingContext *ctx, Plugin *plugin, RelMeta *meta)
{
	RelMeta *as = meta->as;
	EntryMark mark;

	if (likely(as->announced && as->announced_fingerprint == meta->fingerprint))
		return;
	mark = frames_entry(&plugin->frames, ENTRY_RELATION, (size_t) meta->nbytes);
	appendBinaryStringInfo(plugin->bytes, meta->bytes, meta->nbytes);
	frames_entry_end(&plugin->frames, mark);
	as->announced = true;
	as->announced_fingerprint = meta->fingerprint;
	send_due(ctx, plugin);
}

/*
 * One Change.  An update that turns out to have changed nothing is taken back, and with it the
 * transaction's first frame if it began with this change.
 */
static void
put_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, RelMeta *meta, WireOp op, HeapTuple new_tuple,
		   HeapTuple old_tuple, FilterFate fate)
{
	Plugin *plugin = ctx->output_plugin_private;
	ValueWriter writer = {.out = plugin->bytes, .value_bytes_max = plugin->options.max_value_bytes};
	bool was_open = plugin->frames.open;
	RelMeta *as = meta->as;
	bool was_announced = as->announced;
	uint64 was_fingerprint = as->announced_fingerprint;
	EntryMark mark;
	bool written = true;
	int level;

	begin_frames(plugin, txn);
	announce(ctx, plugin, meta);
	mark = frames_entry(&plugin->frames, ENTRY_CHANGE, (size_t) meta->change_bytes);
	level = meta->reads_settings ? value_settings_pin() : 0;
	if (likely(fate == FILTER_SEND))
		written = change_write(&writer, meta, &plugin->options.style, op, new_tuple, old_tuple);
	else
		change_write_key(&writer, meta, op, new_tuple, old_tuple, FLAG_FILTER_ERROR);
	value_settings_unpin(level);
	if (written)
	{
		meta->change_bytes = plugin->bytes->len - mark.message.body;
		frames_entry_end(&plugin->frames, mark);
		plugin->frames.changes++;
		send_due(ctx, plugin);
		return;
	}
	frames_entry_cancel(&plugin->frames, mark);
	if (!was_open)
	{
		plugin->frames.open = false;
		as->announced = was_announced;
		as->announced_fingerprint = was_fingerprint;
	}
	passed_over(ctx, plugin);
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	Plugin *plugin = ctx->output_plugin_private;

	plugin->frames.open = false;
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *c)
{
	static const struct
	{
		uint32 publish;
		WireOp op;
	} actions[] = {
		[REORDER_BUFFER_CHANGE_INSERT] = {PUBLISH_INSERT, OP_INSERT},
		[REORDER_BUFFER_CHANGE_UPDATE] = {PUBLISH_UPDATE, OP_UPDATE},
		[REORDER_BUFFER_CHANGE_DELETE] = {PUBLISH_DELETE, OP_DELETE},
	};
	Plugin *plugin = ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(plugin->work);
	RelMeta *meta = find_table(plugin, txn, relation);
	HeapTuple new_tuple = compat_tuple(c->data.tp.newtuple);
	HeapTuple old_tuple = compat_tuple(c->data.tp.oldtuple);
	FilterFate fate = FILTER_SKIP;
	WireOp op = OP_NONE;

	/* a row whose image was not logged says nothing */
	if (c->action < lengthof(actions) && (meta->operations & actions[c->action].publish) &&
		(c->action == REORDER_BUFFER_CHANGE_DELETE || new_tuple != NULL))
	{
		op = actions[c->action].op;
		fate = likely(meta->filter == NULL) ? FILTER_SEND : filter_change(meta, &op, &new_tuple, &old_tuple);
	}
	if (fate != FILTER_SKIP)
		put_change(ctx, txn, meta, op, new_tuple, old_tuple, fate);
	else
		passed_over(ctx, plugin);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(plugin->work);
}

/* Fingerprints of what a truncate emptied, each once; *list is packed. */
static void
list_table(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, RelMeta *meta, StringInfo list)
{
	char packed[8];

	for (int byte = 0; byte < 8; byte++)
		packed[byte] = (char) (meta->fingerprint >> (8 * byte));
	for (int at = 0; at < list->len; at += 8)
		if (memcmp(list->data + at, packed, 8) == 0)
			return;
	begin_frames(ctx->output_plugin_private, txn);
	announce(ctx, ctx->output_plugin_private, meta);
	appendBinaryStringInfo(list, packed, 8);
}

static bool
is_truncated(int nrelations, Relation relations[], Oid relid)
{
	for (int i = 0; i < nrelations; i++)
		if (RelationGetRelid(relations[i]) == relid)
			return true;
	return false;
}

static void
truncate_tables(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations, Relation relations[],
				ReorderBufferChange *c)
{
	Plugin *plugin = ctx->output_plugin_private;
	MemoryContext caller = MemoryContextSwitchTo(plugin->work);
	StringInfoData emptied;
	StringInfoData thinned;
	EntryMark mark;

	initStringInfo(&emptied);
	initStringInfo(&thinned);
	for (int i = 0; i < nrelations; i++)
	{
		RelMeta *meta = find_table(plugin, txn, relations[i]);

		if (!(meta->operations & PUBLISH_TRUNCATE))
			continue;
		if (meta->as == meta)
			list_table(ctx, txn, meta, &emptied);
		/* of a table that is sent as its root, only some rows are gone, unless the root is emptied as well */
		else if (!is_truncated(nrelations, relations, meta->as->relid))
			list_table(ctx, txn, meta, &thinned);
	}
	if (emptied.len > 0 || thinned.len > 0)
	{
		mark = frames_entry(&plugin->frames, ENTRY_TRUNCATE, (size_t) (emptied.len + thinned.len) + 8);
		if (emptied.len > 0)
			encode_bytes_field(plugin->bytes, TRUNCATE_RELATIONS, emptied.data, (size_t) emptied.len);
		if (c->data.truncate.cascade)
			encode_varint_field(plugin->bytes, TRUNCATE_CASCADE, 1);
		if (c->data.truncate.restart_seqs)
			encode_varint_field(plugin->bytes, TRUNCATE_RESTART_IDENTITY, 1);
		if (thinned.len > 0)
			encode_bytes_field(plugin->bytes, TRUNCATE_THINNED, thinned.data, (size_t) thinned.len);
		frames_entry_end(&plugin->frames, mark);
		plugin->frames.changes++;
		send_due(ctx, plugin);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextReset(plugin->work);
}

/*
 * A transactional message of a chosen prefix, in its place among the rows.  The others come outside the order of
 * commits and again after a restart: no position can be given to them.  Anybody may write a prefix of up to 1 GB; one
 * longer than any pattern is no name, and would not fit into a frame for ever.
 */
static void
message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn, bool transactional,
		const char *prefix, Size size, const char *content)
{
	Plugin *plugin = ctx->output_plugin_private;
	MemoryContext caller;
	EntryMark mark;
	Slice name;

	if (!transactional || plugin->options.messages == NULL || strlen(prefix) > PATTERN_BYTES_MAX ||
		!patterns_match(plugin->options.messages, slice_string(prefix)))
		return;
	caller = MemoryContextSwitchTo(plugin->work);
	begin_frames(plugin, txn);
	name = text_identifier(prefix);
	mark = frames_entry(&plugin->frames, ENTRY_MESSAGE, name.len + size);
	encode_bytes_field(plugin->bytes, MESSAGE_PREFIX, name.data, name.len);
	if (size <= (Size) plugin->options.max_value_bytes)
		encode_bytes_field(plugin->bytes, MESSAGE_CONTENT, content, size);
	else
		encode_varint_field(plugin->bytes, MESSAGE_SIZE, size);
	frames_entry_end(&plugin->frames, mark);
	send_due(ctx, plugin);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(plugin->work);
}

/*
 * How far we are.  The server wants to know of every transaction that sends nothing; of the others it notes one a second,
 * for which it reads the clock: we go by theirs, whichever way it moves.
 */
static void
report_progress(LogicalDecodingContext *ctx, Plugin *plugin, ReorderBufferTXN *txn, bool skipped)
{
	TimestampTz time = compat_commit_time(txn);

	if (!skipped && (uint64) (time - plugin->progress_time) < PROGRESS_US)
		return;
	plugin->progress_time = time;
	OutputPluginUpdateProgress(ctx, skipped);
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	Plugin *plugin = ctx->output_plugin_private;
	bool sent = plugin->frames.open;

	report_progress(ctx, plugin, txn, !sent);
	if (sent)
	{
		frames_tail(&plugin->frames);
		send_frame(ctx, plugin, plugin->bytes->len, true);
		plugin->frames.open = false;
	}
	if (plugin->bytes->maxlen > KEPT_BUFFER_BYTES)
	{
		pfree(plugin->bytes->data);
		pfree(plugin->bytes);
		new_buffer(plugin);
	}
	plugin->skipped = 0;
	relmeta_trim(plugin->tables);
}

/* ---- what never happens: streaming and two-phase are off ---------------------------------- */

/*
 * The callbacks exist all the same, because a server may call one of them for a transaction that
 * was never streamed, and answers a missing one with an error at every retry.
 */
static void
ignore_txn(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

static void
ignore_txn_lsn(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
}

static void
ignore_rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr prepare_end_lsn,
						 TimestampTz prepare_time)
{
}

static void
refuse_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn, bool transactional,
			   const char *prefix, Size size, const char *content)
{
	elog(ERROR, "walrank: a message was streamed although streaming is off");
}

static void
refuse_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	elog(ERROR, "walrank: a prepared transaction was decoded although two-phase decoding is off");
}

static void
refuse_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *c)
{
	elog(ERROR, "walrank: a change was streamed although streaming is off");
}

static void
refuse_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn)
{
	elog(ERROR, "walrank: a transaction was streamed although streaming is off");
}

static void
refuse_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations, Relation relations[],
				ReorderBufferChange *c)
{
	elog(ERROR, "walrank: a truncate was streamed although streaming is off");
}

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_tables;
	callbacks->commit_cb = commit;
	callbacks->message_cb = message;
	callbacks->filter_by_origin_cb = filter_origin;
	callbacks->shutdown_cb = shutdown_session;

	callbacks->filter_prepare_cb = filter_prepare;
	callbacks->begin_prepare_cb = ignore_txn;
	callbacks->prepare_cb = refuse_prepared;
	callbacks->commit_prepared_cb = refuse_commit;
	callbacks->rollback_prepared_cb = ignore_rollback_prepared;

	callbacks->stream_start_cb = ignore_txn;
	callbacks->stream_stop_cb = ignore_txn;
	callbacks->stream_abort_cb = ignore_txn_lsn;
	callbacks->stream_prepare_cb = refuse_prepared;
	callbacks->stream_commit_cb = refuse_commit;
	callbacks->stream_change_cb = refuse_change;
	callbacks->stream_message_cb = refuse_message;
	callbacks->stream_truncate_cb = refuse_truncate;
}
