/*
 * arena.h -- memory with one lifetime: allocate freely, free nothing, reset in one place.
 */
#ifndef WALRANK_ARENA_H
#define WALRANK_ARENA_H

#include <stddef.h>

#include "wire.h"

typedef struct Arena Arena;

extern Arena *arena_create(size_t block_bytes);
extern void *arena_alloc(Arena *arena, size_t bytes); /* aligned to 16, never NULL, not zeroed */
extern Slice arena_copy(Arena *arena, Slice bytes);
extern char *arena_string(Arena *arena, Slice bytes); /* with its end */
extern void arena_reset(Arena *arena);				  /* keeps the first block */
extern void arena_destroy(Arena *arena);

#endif /* WALRANK_ARENA_H */
