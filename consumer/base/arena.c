/*
 * arena.c -- see arena.h.  A list of blocks; what does not fit a block gets one of its own.
 */
#include "base/arena.h"

#include <stdlib.h>

#include "base/buffer.h"

typedef struct Block
{
	struct Block *next;
	size_t used;
	size_t capacity;
	_Alignas(16) uint8_t data[];
} Block;

struct Arena
{
	Block *blocks; /* the current one first */
	size_t block_bytes;
};

static Block *
block_create(size_t capacity, Block *next)
{
	Block *block = xmalloc(sizeof(Block) + capacity);

	block->next = next;
	block->used = 0;
	block->capacity = capacity;
	return block;
}

Arena *
arena_create(size_t block_bytes)
{
	Arena *arena = xmalloc(sizeof(*arena));

	arena->block_bytes = block_bytes;
	arena->blocks = block_create(block_bytes, NULL);
	return arena;
}

void *
arena_alloc(Arena *arena, size_t bytes)
{
	Block *block = arena->blocks;
	void *p;

	bytes = (bytes + 15) & ~(size_t) 15;
	if (block->capacity - block->used < bytes)
	{
		block = block_create(bytes > arena->block_bytes ? bytes : arena->block_bytes, block);
		arena->blocks = block;
	}
	p = block->data + block->used;
	block->used += bytes;
	return p;
}

Slice
arena_copy(Arena *arena, Slice bytes)
{
	void *p = arena_alloc(arena, bytes.len);

	if (bytes.len > 0)
		memcpy(p, bytes.data, bytes.len);
	return slice_make(p, bytes.len);
}

char *
arena_string(Arena *arena, Slice bytes)
{
	char *p = arena_alloc(arena, bytes.len + 1);

	if (bytes.len > 0)
		memcpy(p, bytes.data, bytes.len);
	p[bytes.len] = '\0';
	return p;
}

void
arena_reset(Arena *arena)
{
	while (arena->blocks->next != NULL)
	{
		Block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	arena->blocks->used = 0;
}

void
arena_destroy(Arena *arena)
{
	if (arena == NULL)
		return;
	arena_reset(arena);
	free(arena->blocks);
	free(arena);
}
