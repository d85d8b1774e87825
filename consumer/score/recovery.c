/*
 * recovery.c -- see recovery.h.
 */
#include "score/recovery.h"

#include <inttypes.h>
#include <stdio.h>

/* A piece of a unit needs the whole unit to be there. */
static bool
within(StorePosition position, uint64_t last)
{
	return position.seq < last || (position.seq == last && position.part == 0);
}

static bool
header_fits(const Recovery *recovery, const RecoveryFile *file, Error *err)
{
	const StoreHeader *header = &file->header;
	char ours[STREAM_ID_TEXT_BYTES];
	char theirs[STREAM_ID_TEXT_BYTES];

	if (header->format != STORE_FORMAT)
	{
		error_set(err, ERR_REFUSE, "rule R6: store file \"%s\" has format %u, this version knows %u",
				  file->name, header->format, STORE_FORMAT);
		return error_hint(
			err, "It was written by another version of walrankd: start that version.  Or \"walrank rebuild\" "
				 "makes a new stream and fills it from the tables; sinks go along.");
	}
	if (stream_id_equal(&header->stream_id, &recovery->stream_id))
		return true;
	stream_id_text(&recovery->stream_id, ours);
	stream_id_text(&header->stream_id, theirs);
	error_set(err, ERR_REFUSE, "rule R6: store file \"%s\" belongs to stream %s, the journal to %s",
			  file->name, theirs, ours);
	return error_hint(err,
					  "Journal, store and feed of one state directory belong together: put back the one that "
					  "was exchanged.");
}

/* ---- the live store --------------------------------------------------------------------------- */

/* Without syncs the file is whole as long as the kernel that took the writes is alive. */
static const char *
mark_objects(const RecoveryMark *mark)
{
	if (!mark->file)
		return "its file is missing";
	if (!mark->marked)
		return "its mark is missing or cannot be read";
	if (mark->state == MARK_TORN)
		return "damage was found in it";
	if (mark->state == MARK_CLEAN)
		return NULL;
	if (!mark->same_boot)
		return "the machine restarted while it was open";
	return mark->same_file ? NULL : "it is not the file that was open, but a copy";
}

RecoveryAction
recovery_begin(Recovery *recovery, const StreamId *stream_id, uint64_t journal_last, uint64_t durable,
			   const RecoveryMark *mark)
{
	*recovery = (Recovery){.stream_id = *stream_id, .journal_last = journal_last, .durable = durable};
	recovery->reason = mark_objects(mark);
	return recovery->reason == NULL ? RECOVERY_LIVE : RECOVERY_LIST;
}

RecoveryAction
recovery_live(Recovery *recovery, const RecoveryFile *live, const char *damage, Error *err)
{
	if (!live->sound)
		recovery->reason = damage;
	else if (!header_fits(recovery, live, err))
		return RECOVERY_REFUSE;
	else if (!within(live->position, recovery->journal_last))
		recovery->reason = "it is beyond the end of the journal";
	else if (live->unreached != NULL)
	{
		/* what a failing disk took of the feed is made again from a snapshot that it still reaches */
		snprintf(recovery->unreached, sizeof(recovery->unreached), "rule R7: %s", live->unreached);
		recovery->reason = recovery->unreached;
	}
	return recovery->reason == NULL ? RECOVERY_USE : RECOVERY_LIST;
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static RecoveryAction
next_snapshot(Recovery *recovery, Error *err)
{
	while (recovery->left > 0)
	{
		recovery->snapshot = recovery->snapshots[--recovery->left];
		if (recovery->snapshot <= recovery->durable)
			return RECOVERY_LOOK;
	}
	error_set(
		err, ERR_REFUSE,
		"rule R6: the store cannot be used (%s) and there is no snapshot of it at or below unit %" PRIu64,
		recovery->reason, recovery->durable);
	error_hint(err,
			   "To start over: \"walrank rebuild\" makes a new stream and fills it from the tables; sinks go "
			   "along.");
	return RECOVERY_REFUSE;
}

RecoveryAction
recovery_list(Recovery *recovery, const uint64_t *seqs, int count, Error *err)
{
	recovery->left = count < SNAPSHOTS_MAX ? count : SNAPSHOTS_MAX;
	memcpy(recovery->snapshots, seqs + (count - recovery->left), (size_t) recovery->left * sizeof(*seqs));
	return next_snapshot(recovery, err);
}

RecoveryAction
recovery_look(Recovery *recovery, const RecoveryFile *snapshot, Error *err)
{
	if (snapshot->sound && !header_fits(recovery, snapshot, err))
		return RECOVERY_REFUSE;
	if (snapshot->sound && within(snapshot->position, recovery->durable) && snapshot->unreached == NULL)
		return RECOVERY_RESTORE;
	return next_snapshot(recovery, err);
}

/* ---- does it fit? ----------------------------------------------------------------------------- */

bool
recovery_reaches(StorePosition position, uint64_t first, uint64_t last, Error *err)
{
	if (position.seq <= last && (first == 0 || first <= position.seq + 1))
		return true;
	error_set(err, ERR_REFUSE,
			  "rule R7: the store is at unit %" PRIu64 ", the journal holds %" PRIu64 " to %" PRIu64,
			  position.seq, first, last);
	return error_hint(
		err, "Journal and store are not of one history: was one of them restored or deleted? To start over: "
			 "\"walrank rebuild\" makes a new stream and fills it from the tables; sinks go along.");
}

RecoveryEngine
recovery_engine(const StoreHeader *header, StorePosition position, uint64_t last, uint32_t engine,
				uint64_t libm)
{
	if (header->engine == engine && header->libm == libm)
		return ENGINE_OURS;
	if (position.part != 0)
		return ENGINE_OTHER;
	return position.seq == last ? ENGINE_ANNOUNCE : ENGINE_LOOK;
}

bool
recovery_engine_refuse(const StoreHeader *header, Error *err)
{
	error_set(err, ERR_REFUSE,
			  "rule R6: the store was made by scoring engine %u and math library 0x%016" PRIx64
			  ", which are not ours, and is not at the journal's end",
			  header->engine, header->libm);
	return error_hint(err, "Start the previous version once, stop it cleanly, then start this one.");
}
