/*
 * hash.h -- uthash for small maps, with our allocation: out of memory ends the process as everywhere
 * else (buffer.h).
 */
#ifndef WALRANK_HASH_H
#define WALRANK_HASH_H

#include "base/buffer.h"

#define uthash_malloc(bytes) xmalloc(bytes)

#include <uthash.h>

#endif /* WALRANK_HASH_H */
