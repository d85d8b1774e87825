/*
 * recovery.h -- which store a start may use, and whether it fits the journal: decisions without I/O (R6, R7).
 *
 * What was found on the disk goes in, what to do next comes out; the store and the daemon carry it out.
 * A torn or foreign store is never used, and none is ever opened empty: where nothing fits, the last word is
 * a refusal that says what to do.
 *
 *	recovery_begin --> LIVE --> recovery_live --> USE
 *	     |                        |
 *	     +--> LIST <--------------+
 *	            |
 *	            recovery_list --> LOOK --> recovery_look --> RESTORE
 *	                      |         ^----- next older -----'  |
 *	                      +--> REFUSE <-----------------------+
 */
#ifndef WALRANK_RECOVERY_H
#define WALRANK_RECOVERY_H

#include "score/store.h"

#define SNAPSHOTS_MAX 64

typedef enum
{
	MARK_OPEN,
	MARK_CLEAN,
	MARK_TORN,
} MarkState;

/* The live store's file and the mark beside it. */
typedef struct RecoveryMark
{
	bool file;	 /* the file is there */
	bool marked; /* so is a mark that can be read */
	MarkState state;
	bool same_boot; /* the mark names the boot we run in .. */
	bool same_file; /* .. and the file by device and inode */
} RecoveryMark;

/* What a store file says of itself. */
typedef struct RecoveryFile
{
	const char *name; /* for messages */
	bool sound;
	StoreHeader header;
	StorePosition position;
	const char *unreached; /* R7: why the feed does not reach its position; NULL: it does */
} RecoveryFile;

typedef enum
{
	RECOVERY_LIVE,	  /* open the live store, then recovery_live() */
	RECOVERY_LIST,	  /* list the snapshots, then recovery_list() */
	RECOVERY_LOOK,	  /* read the snapshot of unit recovery->snapshot, then recovery_look() */
	RECOVERY_RESTORE, /* that snapshot takes the live store's place */
	RECOVERY_USE,	  /* the live store is used as it is */
	RECOVERY_REFUSE,  /* err is set */
} RecoveryAction;

typedef struct Recovery
{
	StreamId stream_id;
	uint64_t journal_last; /* the journal's last unit after its recovery .. */
	uint64_t durable;	   /* .. and the last durable one */
	const char *reason;	   /* why the live store is not used */
	char unreached[256];   /* holds it */
	uint64_t snapshots[SNAPSHOTS_MAX];
	int left; /* of them not looked at yet */
	uint64_t snapshot;
} Recovery;

extern RecoveryAction recovery_begin(Recovery *recovery, const StreamId *stream_id, uint64_t journal_last,
									 uint64_t durable, const RecoveryMark *mark);
/* damage: why the file is not sound; kept, not copied. */
extern RecoveryAction recovery_live(Recovery *recovery, const RecoveryFile *live, const char *damage,
									Error *err);
/* seqs: ascending, as their names say. */
extern RecoveryAction recovery_list(Recovery *recovery, const uint64_t *seqs, int count, Error *err);
extern RecoveryAction recovery_look(Recovery *recovery, const RecoveryFile *snapshot, Error *err);

/* R7: the journal, which holds `first` (0: nothing) to `last`, must still hold what the store has not seen. */
extern bool recovery_reaches(StorePosition position, uint64_t first, uint64_t last, Error *err);

/* R6, R12: another scoring engine takes over at a CONFIG unit that names it, and there alone. */
typedef enum
{
	ENGINE_OURS,
	ENGINE_ANNOUNCE, /* that unit has yet to be appended */
	ENGINE_LOOK,  /* go on if the unit after the store's position names us, else recovery_engine_refuse() */
	ENGINE_OTHER, /* recovery_engine_refuse() */
} RecoveryEngine;

extern RecoveryEngine recovery_engine(const StoreHeader *header, StorePosition position, uint64_t last,
									  uint32_t engine, uint64_t libm);
extern bool recovery_engine_refuse(const StoreHeader *header, Error *err);

#endif /* WALRANK_RECOVERY_H */
