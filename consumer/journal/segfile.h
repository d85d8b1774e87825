/*
 * segfile.h -- the bytes of one segment, whether its file is plain or compressed (private to this directory).
 *
 * A segment that nobody writes any more may stand as NNNNNNNNNN.seg.zst instead: one zstd frame with its size and a
 * checksum, whose content is the plain file byte for byte.  Offsets are those of the plain file either way.  Reading
 * goes forward in bounded memory; going back begins at the start again.  Where both files stand the plain one counts:
 * it goes last when one is compressed, and comes last when it is made plain again.
 */
#ifndef WALRANK_SEGFILE_H
#define WALRANK_SEGFILE_H

#include <stdatomic.h>

#include "base/buffer.h"
#include "base/error.h"

#define SEGMENT_NAME_BYTES 32

typedef struct SegFile SegFile;

extern void segment_name(uint32_t number, char name[SEGMENT_NAME_BYTES]);
extern void segment_packed_name(uint32_t number, char name[SEGMENT_NAME_BYTES]);
/* False: neither a plain nor a compressed segment. */
extern bool segment_number(const char *name, uint32_t *number);

extern bool segfile_open(int dirfd, uint32_t number, SegFile **file, Error *err);
extern void segfile_close(SegFile *file);
extern bool segfile_packed(const SegFile *file);
/* Of the plain file. */
extern bool segfile_bytes(SegFile *file, uint64_t *bytes, Error *err);
extern bool segfile_disk_bytes(SegFile *file, uint64_t *bytes, Error *err);
/* ERR_REFUSE: what is compressed is damaged. */
extern bool segfile_read(SegFile *file, void *data, size_t len, uint64_t offset, size_t *got, Error *err);
extern void segfile_forget(SegFile *file); /* what the kernel has cached of it */
extern bool segfile_sync(SegFile *file, Error *err);

/*
 * Makes the compressed file beside the plain one: written, synced, read back and compared, renamed, and its name synced.
 * *bytes: its size.  *stop ends it with ERR_RETRY.  On any error there is none.
 */
extern bool segfile_pack(int dirfd, uint32_t number, const atomic_bool *stop, uint64_t *bytes, Error *err);
/* The plain file in the place of the compressed one, both synced; nothing to do where there is a plain one. */
extern bool segfile_unpack(int dirfd, uint32_t number, Error *err);
/* What a crash left beside plain files: compressed copies of them, and unfinished ones. */
extern bool segfile_clean(int dirfd, Error *err);

#endif /* WALRANK_SEGFILE_H */
