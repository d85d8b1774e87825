/*
 * crc32c.h -- CRC-32C (Castagnoli), as the plugin's Tail and all our files carry it.
 *
 * crc = crc32c(0, a, n) and then crc32c(crc, b, m) is the CRC of both.  Of no bytes it is 0, so no
 * file format may accept a header whose bytes are all zero.
 */
#ifndef WALRANK_CRC32C_H
#define WALRANK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

extern uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif /* WALRANK_CRC32C_H */
