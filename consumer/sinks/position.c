/*
 * position.c -- see position.h.
 */
#include "sinks/position.h"

typedef unsigned long long ull;

StreamKind
position_stream(const SinkHistory *history, const StreamId *stream_id)
{
	if (stream_id_equal(stream_id, &history->stream_id))
		return STREAM_OURS;
	for (int i = 0; i < history->nreplaced; i++)
		if (stream_id_equal(stream_id, &history->replaced[i]))
			return STREAM_REPLACED;
	return STREAM_FOREIGN;
}

/* ---- K1, K2, K9: where to go on -------------------------------------------------------------- */

static bool
fill_hint(const char *name, Error *err)
{
	return error_hint(
		err, "\"walrank sink fill %s\" brings it to the current state, also while the daemon runs.", name);
}

/* A fill whose first unit is still held brings all there is, whatever stood there before. */
static bool
can_fill(const SinkOffer *offer)
{
	return offer->fill_seq != 0 && offer->fill_seq >= offer->first_seq &&
		   offer->fill_seq <= offer->durable_seq;
}

static PositionChoice
begin_at(const SinkHistory *history, const SinkStand *stand, uint64_t seq, uint64_t total, SinkPhase phase,
		 SinkPosition *start)
{
	*start = (SinkPosition){.stream_id = history->stream_id,
							.owner_epoch = stand->position.owner_epoch,
							.seq = seq,
							.total_start = total,
							.phase = phase};
	return POSITION_BEGIN;
}

static PositionChoice
begin_fill(const SinkHistory *history, const SinkStand *stand, const SinkOffer *offer, SinkPosition *start)
{
	return begin_at(history, stand, offer->fill_seq - 1, offer->fill_total, SINK_FILLING, start);
}

/* K1: no checkpoint. */
static PositionChoice
judge_new(const char *name, const SinkHistory *history, const SinkStand *stand, const SinkOffer *offer,
		  SinkPosition *start, Error *err)
{
	if (can_fill(offer))
		return begin_fill(history, stand, offer, start);
	if (stand->empty && offer->first_seq <= 1)
		return begin_at(history, stand, 0, 0, SINK_WHOLE, start);
	if (!stand->empty)
		*err = stand->why;
	else
		error_set(err, ERR_REFUSE, "the sink has no checkpoint, and the feed begins at unit %llu (rule K1)",
				  (ull) offer->first_seq);
	if (err->hint[0] == '\0')
		fill_hint(name, err);
	return POSITION_REFUSE;
}

/* K9: the checkpoint is of a stream that ours has replaced; what stands there stays until all is there anew. */
static PositionChoice
judge_replaced(const char *name, const SinkHistory *history, const SinkStand *stand, const SinkOffer *offer,
			   SinkPosition *start, Error *err)
{
	if (can_fill(offer))
		return begin_fill(history, stand, offer, start);
	if (offer->first_seq <= 1)
		return begin_at(history, stand, 0, 0, SINK_REBUILDING, start);
	error_set(err, ERR_REFUSE,
			  "the sink was written by a stream that this one replaces, and the feed begins at unit %llu "
			  "(rule K9)",
			  (ull) offer->first_seq);
	fill_hint(name, err);
	return POSITION_REFUSE;
}

static PositionChoice
judge_foreign(const char *name, const SinkHistory *history, const SinkStand *stand, Error *err)
{
	char theirs[STREAM_ID_TEXT_BYTES];
	char ours[STREAM_ID_TEXT_BYTES];

	stream_id_text(&stand->position.stream_id, theirs);
	stream_id_text(&history->stream_id, ours);
	error_set(err, ERR_REFUSE, "the sink was written by stream %s, not by this one, %s (rule K9)", theirs,
			  ours);
	error_hint(err,
			   "Another daemon may own it. Give sink \"%s\" a target of its own, or remove what the other "
			   "stream wrote, its checkpoint included.",
			   name);
	return POSITION_REFUSE;
}

/* K2, and what the target itself says. */
static PositionChoice
judge_ours(const char *name, const SinkHistory *history, const SinkStand *stand, const SinkOffer *offer,
		   SinkPosition *start, Error *err)
{
	const uint64_t next = stand->position.seq + 1;

	if (next > offer->durable_seq + 1)
	{
		error_set(err, ERR_REFUSE,
				  "the sink stands at unit %llu, but the journal ends at unit %llu (rule K2)",
				  (ull) stand->position.seq, (ull) offer->durable_seq);
		error_hint(err, "The state directory is older than the sink: put the newer one back, or begin a new "
						"stream with \"walrank rebuild\".");
		return POSITION_REFUSE;
	}
	if (!stand->damaged && next >= offer->first_seq)
	{
		*start = stand->position;
		return POSITION_GO_ON;
	}
	if (can_fill(offer) && offer->fill_seq >= next)
		return begin_fill(history, stand, offer, start);
	if (stand->damaged)
		*err = stand->why;
	else
		error_set(err, ERR_REFUSE, "the sink stands at unit %llu, but the feed begins at unit %llu (rule K2)",
				  (ull) stand->position.seq, (ull) offer->first_seq);
	if (err->hint[0] == '\0')
		fill_hint(name, err);
	return POSITION_REFUSE;
}

PositionChoice
position_judge(const char *name, const SinkHistory *history, const SinkStand *stand, const SinkOffer *offer,
			   SinkPosition *start, Error *err)
{
	if (!stand->found)
		return judge_new(name, history, stand, offer, start, err);
	switch (position_stream(history, &stand->position.stream_id))
	{
		case STREAM_OURS:
			return judge_ours(name, history, stand, offer, start, err);
		case STREAM_REPLACED:
			return judge_replaced(name, history, stand, offer, start, err);
		case STREAM_FOREIGN:
			break;
	}
	return judge_foreign(name, history, stand, err);
}

/* ---- K3: records in order -------------------------------------------------------------------- */

PositionOrder
position_order(const SinkPosition *position, const RecordHeader *header, Error *err)
{
	if (header->seq <= position->seq || (header->seq == position->seq + 1 && header->part < position->part))
		return ORDER_APPLIED;
	if (header->seq > position->seq + 1 || header->part > position->part)
	{
		error_set(err, ERR_REFUSE,
				  "after unit %llu, piece %u, the feed goes on with unit %llu, piece %u (rule K3)",
				  (ull) position->seq, position->part, (ull) header->seq, header->part);
		return ORDER_GAP;
	}
	if (header->end_lsn < position->end_lsn)
	{
		error_set(err, ERR_REFUSE, "unit %llu ends before the unit it follows (rule K3)", (ull) header->seq);
		return ORDER_GAP;
	}
	return ORDER_NEXT;
}

/* ---- a record -------------------------------------------------------------------------------- */

void
position_begin(SinkPosition *position, const RecordHeader *header, SinkPhase phase)
{
	*position = (SinkPosition){.stream_id = position->stream_id,
							   .owner_epoch = position->owner_epoch,
							   .seq = header->seq - 1,
							   .end_lsn = position->end_lsn,
							   .commit_time_us = position->commit_time_us,
							   .total_start = header->total - header->outputs,
							   .phase = phase};
}

bool
position_begun(const SinkPosition *position, const RecordHeader *header)
{
	return position->phase == SINK_FILLING && position->seq == header->seq - 1 && position->part == 0 &&
		   position_counted(position) == 0 && position->total_start == header->total - header->outputs;
}

void
position_count(SinkPosition *position, SinkFate fate)
{
	position->applied += fate == SINK_APPLIED;
	position->filtered += fate == SINK_FILTERED;
	position->parked += fate == SINK_PARKED;
	position->quarantined += fate == SINK_QUARANTINED;
}

void
position_filled(SinkPosition *position, const char *name, Slice filled)
{
	if (slice_equal(filled, slice_string(name)) || (filled.len == 0 && position->phase == SINK_REBUILDING))
		position->phase = SINK_WHOLE;
}

uint64_t
position_counted(const SinkPosition *position)
{
	return position->applied + position->filtered + position->parked + position->quarantined;
}

/* Nothing is skipped silently. */
bool
position_advance(SinkPosition *position, const RecordHeader *header, uint32_t outputs, Error *err)
{
	const uint64_t counted = position_counted(position);

	if (outputs != header->outputs || counted != header->total - position->total_start)
		return error_set(err, ERR_REFUSE,
						 "the totals do not meet at unit %llu: %llu records counted, the feed says %llu "
						 "(rule K8)",
						 (ull) header->seq, (ull) counted, (ull) (header->total - position->total_start));
	if (!header->last)
	{
		position->part++;
		return true;
	}
	position->seq = header->seq;
	position->part = 0;
	position->end_lsn = header->end_lsn;
	if (header->kind == UNIT_TXN)
		position->commit_time_us = header->commit_time_us;
	return true;
}
