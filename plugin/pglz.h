/*
 * pglz.h -- the server's own compression, undone in half of the server's steps.
 *
 * With a full old image most of a large jsonb's time goes here: both images of the row are unpacked to find the few
 * bytes in which they differ.
 */
#ifndef WALRANK_PGLZ_H
#define WALRANK_PGLZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room behind the result: bytes are moved by the block, and where they end is looked at after eight matches. */
#define PGLZ_SLACK_BYTES (8 * 18 + 16)

/*
 * Unpack to out, which has room for len bytes and PGLZ_SLACK_BYTES.  False when packed is not exactly that many; the
 * server says the same of it, or knows better (src/common/pg_lzcompress.c).
 */
extern bool pglz_unpack(const uint8_t *packed, size_t packed_len, uint8_t *out, size_t len);

#endif /* WALRANK_PGLZ_H */
