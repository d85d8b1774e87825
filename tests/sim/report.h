/*
 * report.h -- what a run says: how often each fault and branch was exercised, the trace of one seed, and
 * the one failure that ends it.
 */
#ifndef WALRANK_SIM_REPORT_H
#define WALRANK_SIM_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* Each has to be met in a run of many seeds: what is never exercised is not tested. */
#define TALLIES(X)                                                                                           \
	X(STEPS, "steps of the world")                                                                           \
	X(TXN_SMALL, "transactions of one frame")                                                                \
	X(TXN_FRAMES, "transactions of several frames")                                                          \
	X(TXN_TOUCHING, "transactions that begin where the one before ended")                                    \
	X(TXN_ORIGIN, "commit times that lie far off")                                                           \
	X(COMMIT_OVERTAKES, "transactions that commit before one that began earlier")                            \
	X(TXN_CUT, "transactions cut in the middle by a lost connection")                                        \
	X(TXN_RESENT, "transactions sent again")                                                                 \
	X(TXN_AGAIN, "connections that begin with a transaction that is in already")                             \
	X(FRAME_GARBLED, "frames garbled on the way")                                                            \
	X(KEEPALIVE, "keepalives")                                                                               \
	X(KEEPALIVE_ASKED, "keepalives that ask for a reply")                                                    \
	X(KEEPALIVE_BACK, "keepalives that go backwards")                                                        \
	X(KEEPALIVE_INSIDE, "keepalives inside a transaction, at its commit")                                    \
	X(WAL_JUMP, "stretches of WAL that concern nobody")                                                      \
	X(STATUS, "status updates")                                                                              \
	X(STATUS_LOST, "status updates lost with their connection")                                              \
	X(PROGRESS, "PROGRESS units")                                                                            \
	X(RESCORE, "RESCORE units")                                                                              \
	X(BACKFILL, "BACKFILL units")                                                                            \
	X(CONFIG, "CONFIG units")                                                                                \
	X(CONNECT, "connections")                                                                                \
	X(CONFIRM_SINKS, "connections that confirm what the sinks have")                                         \
	X(CONNECTION_LOST, "connections lost")                                                                   \
	X(SERVER_CRASH, "crashes of the server")                                                                 \
	X(CONFIRMED_BACK, "confirmed_flush falling back in a crash")                                             \
	X(SERVER_SHUTDOWN, "fast shutdowns of the server")                                                       \
	X(PROMOTION, "promotions followed")                                                                      \
	X(DAEMON_STOP, "clean stops of the daemon")                                                              \
	X(DAEMON_KILL, "kills of the daemon")                                                                    \
	X(KILL_IN_CALL, "kills at a file operation")                                                             \
	X(POWER_CUT, "power cuts")                                                                               \
	X(CUT_IN_CALL, "power cuts at a file operation")                                                         \
	X(CUT_AT_START, "deaths while starting")                                                                 \
	X(CREATE_AGAIN, "creations cut short and repeated")                                                      \
	X(SECTORS_LOST, "sectors that a power cut took")                                                         \
	X(NAMES_LOST, "directory entries that a power cut took")                                                 \
	X(WRITEBACK, "sectors written back early")                                                               \
	X(DURING_SYNC, "steps of others during an fsync")                                                        \
	X(EIO_WRITE, "writes failed by EIO")                                                                     \
	X(EIO_SYNC, "syncs failed by EIO")                                                                       \
	X(ENOSPC, "calls failed by ENOSPC")                                                                      \
	X(HELD, "frames that waited for space")                                                                  \
	X(SHORT_WRITE, "short writes")                                                                           \
	X(JOURNAL_CUT, "journals whose tail was cut")                                                            \
	X(JOURNAL_TRIM, "journal segments trimmed")                                                              \
	X(FEED_TRIM, "feed segments trimmed")                                                                    \
	X(PACKED, "segments compressed")                                                                         \
	X(FEED_CUT, "feeds cut and derived again")                                                               \
	X(STORE_LIVE, "starts with the live store")                                                              \
	X(STORE_SNAPSHOT, "starts with a snapshot")                                                              \
	X(FEED_SHORT, "stores or snapshots that the feed no longer reached")                                     \
	X(FEED_DAMAGED, "feeds with a hole, made again after the mark was removed")                              \
	X(STORE_PART, "starts inside a unit of several pieces")                                                  \
	X(ENGINE_CHANGED, "scoring engines that took over")                                                      \
	X(ENGINE_REFUSED, "upgrades cut short by a power cut, refused and begun again")                          \
	X(SNAPSHOT, "store snapshots")                                                                           \
	X(PIECES, "units cut into pieces")                                                                       \
	X(SINK_COMMIT, "batches committed by sinks")                                                             \
	X(SINK_FAILED, "batches that failed")                                                                    \
	X(SINK_UNKNOWN_DONE, "batches of unknown outcome that were in")                                          \
	X(SINK_UNKNOWN_NOT, "batches of unknown outcome that were not")                                          \
	X(SINK_ZOMBIE, "late batches of an earlier writer, refused")                                             \
	X(SINK_FALLBACK, "sinks that fell back to an older state")                                               \
	X(HISTORY_ADVANCED, "refused: slot advanced by others")                                                  \
	X(HISTORY_RECREATED, "refused: slot recreated")                                                          \
	X(HISTORY_DROPPED, "refused: slot gone")                                                                 \
	X(HISTORY_LOST, "refused: slot lost its WAL")                                                            \
	X(HISTORY_RESTORED, "refused: server restored from a backup")                                            \
	X(HISTORY_PROMOTED, "refused: standby promoted behind us")                                               \
	X(HISTORY_CLUSTER, "refused: another cluster")                                                           \
	X(HISTORY_YESTERDAY, "refused: yesterday's state directory")                                             \
	X(HISTORY_FLIP, "found: a flipped bit in the journal")                                                   \
	X(HISTORY_FEED_FLIP, "found: a flipped bit in the feed")                                                 \
	X(HISTORY_SECOND, "refused: a second daemon")                                                            \
	X(RECORD_GAP, "refused: a record that leaves a gap")                                                     \
	X(RECORD_AGAIN, "skipped: a record that is in")                                                          \
	X(SINK_AHEAD, "refused: a sink ahead of the journal")                                                    \
	X(SINK_FOREIGN, "refused: a sink of another stream")                                                     \
	X(SINK_BEHIND, "refused: a sink older than the feed")                                                    \
	X(SINK_EMPTIED, "refused: a sink that was emptied")

typedef enum
{
#define X(name, text) TALLY_##name,
	TALLIES(X)
#undef X
		TALLY_COUNT
} Tally;

extern uint64_t tallies[TALLY_COUNT];
#define tally(name) (tallies[TALLY_##name]++)

extern bool tracing;
extern uint64_t seed_now; /* of this run */
extern const int64_t *trace_clock;

/* A line of the trace; costs nothing when there is none. */
#define trace(...)                                                                                           \
	do                                                                                                       \
	{                                                                                                        \
		if (tracing)                                                                                         \
			trace_line(__VA_ARGS__);                                                                         \
	} while (0)
extern void trace_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A rule is broken: says so, with the seed, and ends the process.  kind: "lost", "doubled", "reordered" or a rule. */
extern void broken(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
/* False when something was never exercised. */
extern bool report_tallies(bool demand);

#endif /* WALRANK_SIM_REPORT_H */
