/*
 * journal_private.h -- what the journal's files share: record types, SNAPSHOT, kept relations (private to this
 * directory).
 *
 * Types of records in the journal's log:
 *	PartType				 a part of the current unit
 *	JOURNAL_HEADER | part	 the unit's header, then the part's bytes; part 0: none
 *	JOURNAL_KEPT			 a relation Entry, before the header of its group
 * Payload of a segment's preamble (SNAPSHOT), little-endian: version 4, relations 4, seq of the last unit 8, end_lsn 8,
 * now_us 8, xid 8, commit_time_us 8, owner_epoch 8, beat 8, timeline 4; then per relation: length 4, Entry.
 */
#ifndef WALRANK_JOURNAL_PRIVATE_H
#define WALRANK_JOURNAL_PRIVATE_H

#include "journal/journal.h"

#define JOURNAL_MAGIC UINT32_C(0x4c4a5257) /* "WRJL" */
#define JOURNAL_WHAT "journal"
#define JOURNAL_HEADER 0x40
#define JOURNAL_KEPT 0x20
#define JOURNAL_PART_MASK 0x0f

#define KEPT_PER_TABLE_MAX 8 /* versions of one table */
#define KEPT_TOTAL_MAX 16384 /* relations; the one not sent for longest goes first */

extern void journal_identity_text(const JournalIdentity *identity, Buffer *out);

/* ---- relations that SNAPSHOTs repeat ---------------------------------------------------------- */

typedef enum
{
	KEPT_NEW,	  /* the log has it in no record of its own */
	KEPT_WRITING, /* in the group being appended */
	KEPT_WRITTEN,
} KeptState;

typedef struct Kept Kept; /* relations by fingerprint, the one sent last at the end */

extern Kept *kept_create(void);
extern void kept_destroy(Kept *kept);
extern void kept_clear(Kept *kept);
extern bool kept_add(Kept *kept, Slice entry, KeptState state); /* false: no Relation entry */
extern bool kept_known(const Kept *kept, uint64_t fingerprint);
extern uint32_t kept_count(const Kept *kept);
/* The first NEW one becomes WRITING; false: there is none. The slice is valid until the next call. */
extern bool kept_take_new(Kept *kept, Slice *entry);
extern void kept_settle(Kept *kept, KeptState state); /* all that are WRITING */
extern void kept_forget_written(Kept *kept);		  /* all become NEW */
extern void kept_put(const Kept *kept, Buffer *out);

/* ---- SNAPSHOT --------------------------------------------------------------------------------- */

extern void snapshot_put(Buffer *out, const JournalHead *head, const Kept *kept);
extern bool snapshot_get(Slice payload, JournalHead *head, uint32_t *relations, Slice *rest, Error *err);
extern bool snapshot_relation(Slice *rest, Slice *entry, Error *err);

#endif /* WALRANK_JOURNAL_PRIVATE_H */
