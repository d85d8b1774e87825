/*
 * history.c -- see history.h.
 */
#include "stream/history.h"

#include <inttypes.h>
#include <stdio.h>

static const char rebuild_hint[] =
	"To start over: \"walrank rebuild\" makes a new stream on this slot and fills it by a backfill; sinks go "
	"along.";
static const char new_slot_hint[] =
	"To start over: \"walrank rebuild --new-slot\" makes a new slot and a new stream and fills it by a "
	"backfill; sinks go along.";

/* ---- C1 --------------------------------------------------------------------------------------- */

bool
history_check_server(const JournalIdentity *ours, const SourceIdentity *server, Error *err)
{
	if (server->system_identifier != ours->system_identifier)
		error_set(err, ERR_REFUSE,
				  "rule C1: the server's system identifier is %" PRIu64 ", the journal belongs to %" PRIu64,
				  server->system_identifier, ours->system_identifier);
	else if (server->database_oid != ours->database_oid)
		error_set(err, ERR_REFUSE,
				  "rule C1: database \"%s\" has OID %u, the journal belongs to OID %u (\"%s\")",
				  server->database, server->database_oid, ours->database_oid, ours->database);
	else
		return true;
	return error_hint(err,
					  "Check source.conninfo: this state directory follows another server or database. %s",
					  new_slot_hint);
}

static bool
check_slot_is_ours(const JournalIdentity *ours, const SourceSlot *slot, Error *err)
{
	if (!slot->logical || strcmp(slot->plugin, ours->plugin) != 0)
		error_set(err, ERR_REFUSE, "rule C1: slot \"%s\" uses plugin \"%s\", not \"%s\"", ours->slot,
				  slot->logical ? slot->plugin : "(physical)", ours->plugin);
	else if (strcmp(slot->database, ours->database) != 0)
		error_set(err, ERR_REFUSE, "rule C1: slot \"%s\" belongs to database \"%s\", not \"%s\"", ours->slot,
				  slot->database, ours->database);
	else
		return true;
	return error_hint(err, "Somebody else has made a slot of this name. Drop it if nobody needs it. %s",
					  new_slot_hint);
}

static bool
check_control(const JournalIdentity *ours, const SourceControl *control, Error *err)
{
	char id[STREAM_ID_TEXT_BYTES];

	stream_id_text(&ours->stream_id, id);
	if (!control->found)
		error_set(err, ERR_REFUSE, "rule C1: walrank.control has no row for stream %s", id);
	else if (strcmp(control->slot, ours->slot) != 0)
		error_set(err, ERR_REFUSE,
				  "rule C1: walrank.control names slot \"%s\" for our stream, the journal belongs to \"%s\"",
				  control->slot, ours->slot);
	else if (strcmp(control->state, "replaced") == 0)
	{
		error_set(err, ERR_REFUSE, "rule C1: stream %s was replaced by a rebuild", id);
		return error_hint(err,
						  "This is an older state directory: use the one that \"walrank rebuild\" made.");
	}
	else if (strcmp(control->state, "ready") != 0)
	{
		error_set(err, ERR_REFUSE, "rule C1: the control row of stream %s is in state \"%s\"", id,
				  control->state);
		return error_hint(err, "Run what was interrupted once more, \"walrankd --create\", \"walrankd "
							   "--adopt\" or \"walrank rebuild\": it goes on where it stopped.");
	}
	else
		return true;
	return error_hint(err,
					  "The extension was recreated, the row deleted, or the stream rebuilt from another "
					  "state directory. %s",
					  rebuild_hint);
}

/* ---- C2 --------------------------------------------------------------------------------------- */

static bool
is_lost(const SourceSlot *slot)
{
	return strcmp(slot->wal_status, "lost") == 0 || slot->invalidation[0] != '\0' || slot->restart_lsn == 0;
}

static bool
check_slot(const JournalIdentity *ours, const SourceIdentity *server, const SourceSlot *slot, Error *err)
{
	if (!slot->found)
	{
		error_set(err, ERR_REFUSE, "rule C2: replication slot \"%s\" does not exist", ours->slot);
		return error_hint(err, "A slot made by hand would lack what was written meanwhile. %s",
						  new_slot_hint);
	}
	if (!check_slot_is_ours(ours, slot, err))
		return false;
	if (is_lost(slot))
	{
		error_set(err, ERR_REFUSE, "rule C2: slot \"%s\" is lost: the server removed WAL it needed%s%s",
				  ours->slot, slot->invalidation[0] != '\0' ? ", reason " : "", slot->invalidation);
		return error_hint(err, "%s", new_slot_hint);
	}
	if (!slot->synced || !server->standby)
		return true;
	error_set(err, ERR_RETRY, "rule C2: slot \"%s\" is a standby's copy of its primary's", ours->slot);
	return error_hint(err, "It can be used once this server is promoted. Until then let source.conninfo name "
						   "the primary.");
}

/* ---- C3 --------------------------------------------------------------------------------------- */

static bool
check_confirmed(const JournalIdentity *ours, const SourceSlot *slot, Lsn h, Error *err)
{
	if (slot->confirmed_flush <= h)
		return true;
	error_set(err, ERR_REFUSE,
			  "rule C3: slot \"%s\" is confirmed up to " LSN_FORMAT ", the journal ends at " LSN_FORMAT,
			  ours->slot, LSN_ARGS(slot->confirmed_flush), LSN_ARGS(h));
	return error_hint(err,
					  "The slot was recreated or advanced by somebody else, or this is an older copy of the "
					  "state directory. If the newest one is gone: %s",
					  rebuild_hint);
}

static bool
check_flushed(const SourceIdentity *server, Lsn h, Error *err)
{
	if (h <= server->flushed)
		return true;
	error_set(err, ERR_REFUSE, "rule C3: the journal ends at " LSN_FORMAT ", the server's WAL at " LSN_FORMAT,
			  LSN_ARGS(h), LSN_ARGS(server->flushed));
	return error_hint(err, "The server lost history, as after restoring a backup. %s", rebuild_hint);
}

bool
history_check_started(const JournalIdentity *ours, const SourceSlot *slot, Lsn start, Error *err)
{
	if (slot->found && slot->confirmed_flush <= start)
		return true;
	error_set(err, ERR_REFUSE, "rule C3: slot \"%s\" %s " LSN_FORMAT " while we started at " LSN_FORMAT,
			  ours->slot, slot->found ? "moved to" : "went away at", LSN_ARGS(slot->confirmed_flush),
			  LSN_ARGS(start));
	return error_hint(err, "Somebody else works on our slot. Find out who; then: %s", rebuild_hint);
}

/* ---- C4 --------------------------------------------------------------------------------------- */

uint32_t
history_timeline_ours(const JournalIdentity *ours, const JournalHead *head)
{
	return head->timeline != 0 ? head->timeline : ours->timeline;
}

static bool
check_timeline(const History *history, Error *err)
{
	uint32_t ours = history_timeline_ours(history->ours, history->head);
	uint32_t theirs = history->server->timeline;
	Lsn h = history->head->end_lsn;

	if (ours == 0 || ours == theirs ||
		(theirs > ours && history->timeline.found && history->timeline.left >= h))
		return true;
	if (theirs < ours)
		error_set(err, ERR_REFUSE, "rule C4: the server is on timeline %u, the journal already on %u", theirs,
				  ours);
	else if (!history->timeline.found)
		error_set(err, ERR_REFUSE,
				  "rule C4: the server's timeline %u does not descend from the journal's, %u", theirs, ours);
	else
		error_set(err, ERR_REFUSE,
				  "rule C4: the server left timeline %u at " LSN_FORMAT ", the journal ends at " LSN_FORMAT
				  " of it",
				  ours, LSN_ARGS(history->timeline.left), LSN_ARGS(h));
	return error_hint(
		err,
		"The journal holds transactions that this server never had: another server was promoted "
		"than the one followed, or too early. %s",
		rebuild_hint);
}

/* One line of the text: "number<TAB>LSN<TAB>reason". Comments and empty lines are none. */
static bool
take_entry(Slice line, uint32_t *timeline, Lsn *left, Error *err)
{
	char text[64];
	size_t len = line.len < sizeof(text) - 1 ? line.len : sizeof(text) - 1;
	unsigned high;
	unsigned low;
	int used = 0;

	memcpy(text, line.data, len);
	text[len] = '\0';
	if (text[0] < '0' || text[0] > '9' || sscanf(text, "%9u\t%8X/%8X%n", timeline, &high, &low, &used) != 3 ||
		(text[used] != '\t' && text[used] != '\0') || *timeline == 0)
		return error_set(err, ERR_DATA, "the server sent a timeline history with a line \"%.40s\"", text);
	*left = (Lsn) high << 32 | low;
	return true;
}

static Slice
trimmed(Slice line)
{
	while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t'))
		line = slice_make(line.data + 1, line.len - 1);
	while (line.len > 0 && (line.data[line.len - 1] == '\r' || line.data[line.len - 1] == ' '))
		line.len--;
	return line;
}

bool
history_timeline(Slice text, uint32_t server_timeline, uint32_t timeline, SourceTimeline *out, Error *err)
{
	uint32_t last = 0;
	Lsn last_left = 0;

	*out = (SourceTimeline){0};
	while (text.len > 0)
	{
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t len = end != NULL ? (size_t) (end - text.data) : text.len;
		Slice line = trimmed(slice_make(text.data, len));
		size_t skip = end != NULL ? len + 1 : len;
		uint32_t entry = 0;
		Lsn left = 0;

		text = slice_make(text.data + skip, text.len - skip);
		if (line.len == 0 || line.data[0] == '#')
			continue;
		if (!take_entry(line, &entry, &left, err))
			return false;
		if (entry <= last || entry >= server_timeline || left < last_left)
			return error_set(err, ERR_DATA,
							 "the server sent a timeline history that is not in order at timeline %u", entry);
		last = entry;
		last_left = left;
		if (entry == timeline)
			*out = (SourceTimeline){true, left};
	}
	return true;
}

/* ---- C5 --------------------------------------------------------------------------------------- */

static bool
check_beat(const JournalHead *head, const SourceControl *control, Error *err)
{
	if (control->owner_epoch >= head->owner_epoch && control->beat >= head->beat)
		return true;
	error_set(err, control->updating ? ERR_RETRY : ERR_REFUSE,
			  "rule C5: walrank.control is at owner epoch %" PRIu64 " and beat %" PRIu64
			  ", the journal has seen %" PRIu64 " and %" PRIu64,
			  control->owner_epoch, control->beat, head->owner_epoch, head->beat);
	if (control->updating)
		return error_hint(err, "A transaction that writes the row has not ended yet.");
	return error_hint(err, "The server was restored from a backup older than the journal. %s", rebuild_hint);
}

/* ---- C6 --------------------------------------------------------------------------------------- */

#define PG_EPOCH_US INT64_C(946684800000000)

/*
 * What decoding reports is what the server notes: also of a transaction replayed from another node, both take
 * that node's time.  But where the session that replays does not say it, decoding reports none: the epoch.
 */
static bool
times_agree(const JournalHead *head, const SourceXid *xid)
{
	return !xid->timed || xid->commit_time_us == head->commit_time_us ||
		   (xid->foreign && head->commit_time_us == PG_EPOCH_US);
}

static bool
check_xid(const JournalHead *head, const SourceXid *xid, Error *err)
{
	static const char backup_hint[] = "The server was restored from a backup older than the journal. %s";

	switch (xid->status)
	{
		case XID_NONE:
		case XID_FORGOTTEN:
			return true;
		case XID_COMMITTED:
			if (times_agree(head, xid))
				return true;
			error_set(err, ERR_REFUSE,
					  "rule C6: transaction %" PRIu64
					  ", the journal's last, was committed at another time on the server (%" PRId64
					  " us apart)",
					  head->xid, xid->commit_time_us - head->commit_time_us);
			return error_hint(err, backup_hint, rebuild_hint);
		case XID_IN_PROGRESS:
			error_set(err, ERR_RETRY,
					  "rule C6: transaction %" PRIu64
					  ", the journal's last, is still in progress on the server",
					  head->xid);
			return error_hint(err, "It waits for a synchronous standby, or the server was restored from a "
								   "backup and gives the number out again: the next attempts tell.");
		case XID_ABORTED:
			error_set(err, ERR_REFUSE,
					  "rule C6: transaction %" PRIu64 ", the journal's last, is aborted on the server",
					  head->xid);
			return error_hint(err, backup_hint, rebuild_hint);
		case XID_FUTURE:
			error_set(err, ERR_REFUSE,
					  "rule C6: transaction %" PRIu64
					  ", the journal's last, lies in the future of the server",
					  head->xid);
			return error_hint(err, backup_hint, rebuild_hint);
	}
	return error_set(err, ERR_REFUSE, "rule C6: unknown state of transaction %" PRIu64, head->xid);
}

/* Ours of a moment ago, or a second daemon's: whoever comes later must not take the owner epoch from it. */
static bool
check_free(const JournalIdentity *ours, const SourceSlot *slot, Error *err)
{
	if (!slot->active)
		return true;
	error_set(err, ERR_RETRY, "rule C2: slot \"%s\" is in use by another connection", ours->slot);
	return error_hint(
		err, "If it is our own that broke, the server notices within wal_sender_timeout. Else another "
			 "daemon works with a copy of this state directory.");
}

/* ---- all of them ------------------------------------------------------------------------------ */

/* C4 before the right side of C3: it knows why the server's WAL ends too early. */
bool
history_check(const History *history, Error *err)
{
	const JournalIdentity *ours = history->ours;
	Lsn h = history->head->end_lsn;

	return history_check_server(ours, history->server, err) &&
		   check_slot(ours, history->server, history->slot, err) &&
		   check_control(ours, history->control, err) && check_confirmed(ours, history->slot, h, err) &&
		   check_timeline(history, err) && check_flushed(history->server, h, err) &&
		   check_beat(history->head, history->control, err) && check_xid(history->head, &history->xid, err) &&
		   check_free(ours, history->slot, err);
}

/* ---- creation, adoption, skipping ------------------------------------------------------------- */

bool
history_check_leftover(const JournalIdentity *ours, const SourceIdentity *server, const SourceSlot *slot,
					   const SourceControl *control, Error *err)
{
	if (control->found && strcmp(control->state, "creating") == 0 && strcmp(control->slot, ours->slot) == 0 &&
		slot->logical && strcmp(slot->plugin, ours->plugin) == 0 &&
		strcmp(slot->database, server->database) == 0 && slot->confirmed_flush >= ours->server_lsn &&
		!slot->active && !slot->synced)
		return true;
	error_set(err, ERR_REFUSE, "replication slot \"%s\" exists and is not the one this creation made",
			  ours->slot);
	return error_hint(err,
					  "If nobody needs it, drop it: SELECT pg_drop_replication_slot('%s'); then run this "
					  "again. If it is to be followed: move the state directory away and run \"walrankd "
					  "--adopt\".",
					  ours->slot);
}

bool
history_check_adoptable(const char *name, const SourceIdentity *server, const SourceSlot *slot, bool owned,
						Error *err)
{
	const char *why = NULL;

	if (!slot->found)
		why = "does not exist";
	else if (owned)
		why = "belongs to another stream in walrank.control";
	else if (!slot->logical)
		why = "is physical";
	else if (strcmp(slot->plugin, SOURCE_PLUGIN) != 0)
		why = "is of another plugin";
	else if (strcmp(slot->database, server->database) != 0)
		why = "is of another database";
	else if (slot->temporary)
		why = "is temporary";
	else if (slot->confirmed_flush == 0)
		why = "has no position yet";
	else if (is_lost(slot))
		why = "is lost: the server removed WAL it needed";
	else if (slot->synced && server->standby)
		why = "is a standby's copy of its primary's";
	else if (slot->active)
	{
		error_set(err, ERR_RETRY, "replication slot \"%s\" is in use by another connection", name);
		return error_hint(err,
						  "Stop whoever streams from it, or wait until the server notices that it went.");
	}
	if (why == NULL)
		return true;
	error_set(err, ERR_REFUSE, "replication slot \"%s\" cannot be taken over: it %s", name, why);
	return error_hint(err,
					  owned ? "If the daemon of that stream is gone for good: \"walrank rebuild\" with "
							  "its state directory, or \"walrank teardown\"."
							: "Name another in source.slot, or have a new one made: \"walrankd --create\", "
							  "or \"walrank rebuild --new-slot\" where there is a state directory.");
}

bool
history_check_skip(Lsn h, Lsn to, const SourceIdentity *server, Error *err)
{
	if (to < h)
	{
		error_set(err, ERR_REFUSE,
				  "rule C3: cannot skip to " LSN_FORMAT ": the journal is at " LSN_FORMAT " already",
				  LSN_ARGS(to), LSN_ARGS(h));
		return error_hint(err, "A start position given by hand may only move forward.");
	}
	if (to > server->flushed)
	{
		error_set(err, ERR_REFUSE,
				  "rule C3: cannot skip to " LSN_FORMAT ": the server's WAL ends at " LSN_FORMAT,
				  LSN_ARGS(to), LSN_ARGS(server->flushed));
		return error_hint(err, "What is not written yet cannot be skipped.");
	}
	return true;
}
