/*
 * retention.c -- see retention.h.
 */
#include "daemon/retention.h"

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t
log_bytes(const RetentionLog *log)
{
	uint64_t bytes = 0;

	for (int i = 0; i < log->n; i++)
		bytes += log->segments[i].bytes;
	return bytes;
}

/* Of the segments that begin at or after unit `seq`: what a snapshot at `seq` does not make superfluous. */
static uint64_t
bytes_after(const RetentionLog *log, uint64_t seq)
{
	uint64_t bytes = 0;

	for (int i = 0; i < log->n; i++)
		if (log->segments[i].before.seq >= seq)
			bytes += log->segments[i].bytes;
	return bytes;
}

/* Would it free something if units up to `seq` could go? The segment being written never goes. */
static bool
frees(const RetentionLog *log, uint64_t seq)
{
	return log->n > 1 && log->segments[1].before.seq <= seq;
}

/* An eighth is kept free: what is written until the next decision should not have to wait. */
static bool
crowded(const RetentionLog *log, uint64_t bytes)
{
	return log->quota > 0 && (log->full || bytes > log->quota - log->quota / 8);
}

/* Units up to `hold` may go, but those not old enough only as far as the quota demands. */
static uint64_t
below(const RetentionLog *log, uint64_t hold, bool time_gives_way)
{
	uint64_t seq = least(hold, log->aged);
	uint64_t bytes = log_bytes(log);

	for (int i = 1; i < log->n; i++)
	{
		uint64_t last = log->segments[i].before.seq; /* of the segment before this one */

		if (last > seq && (!time_gives_way || !crowded(log, bytes) || last > hold))
			break;
		if (last > seq)
			seq = last;
		bytes -= log->segments[i - 1].bytes;
	}
	return seq + 1;
}

/* The sink that is furthest behind, of those that count; -1: none. */
static int
slowest(const RetentionInput *input)
{
	int slow = -1;

	for (int i = 0; i < input->nsinks; i++)
		if (!input->sinks[i].given_up && (slow < 0 || input->sinks[i].seq < input->sinks[slow].seq))
			slow = i;
	return slow;
}

/* What keeps the feed if sink `without` did not. */
static uint64_t
feed_hold(const RetentionInput *input, uint64_t snapshot, int without)
{
	uint64_t hold = snapshot;

	for (int i = 0; i < input->nsinks; i++)
		if (i != without && !input->sinks[i].given_up)
			hold = least(hold, input->sinks[i].seq);
	return hold;
}

/* When the feed is full, and no snapshot is the reason. One at a time: the next one may be let off. */
static int
give_up(const RetentionInput *input, uint64_t hold)
{
	int slow = slowest(input);

	if (!input->give_up || !input->feed.full || slow < 0 || input->sinks[slow].starting)
		return -1;
	return !frees(&input->feed, hold) && frees(&input->feed, input->snapshot_oldest) ? slow : -1;
}

static bool
want_snapshot(const RetentionInput *input, const RetentionLog *log)
{
	int parts =
		input->snapshots + 2 > RETENTION_SNAPSHOT_PART ? input->snapshots + 2 : RETENTION_SNAPSHOT_PART;

	return log->quota > 0 && input->store_seq > input->snapshot_newest &&
		   (log->full || bytes_after(log, input->snapshot_newest) >= log->quota / (uint64_t) parts);
}

/* hold: of the oldest snapshot and the sinks; newer: the same with the newest snapshot. */
static bool
newest_only(const RetentionInput *input, const RetentionLog *log, uint64_t hold, uint64_t newer)
{
	return log->full && input->store_seq <= input->snapshot_newest && !frees(log, hold) && frees(log, newer);
}

RetentionPlan
retention_decide(const RetentionInput *input)
{
	uint64_t oldest = input->snapshot_oldest;
	uint64_t newest = input->snapshot_newest;
	uint64_t hold = feed_hold(input, oldest, -1);

	return (RetentionPlan){
		.journal_below = below(&input->journal, oldest, true),
		.feed_below = below(&input->feed, hold, input->give_up),
		.give_up = give_up(input, hold),
		.want_snapshot = want_snapshot(input, &input->journal) || want_snapshot(input, &input->feed),
		.newest_only = newest_only(input, &input->journal, oldest, newest) ||
					   newest_only(input, &input->feed, hold, feed_hold(input, newest, -1)),
	};
}
