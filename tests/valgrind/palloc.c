/*
 * palloc.c -- memory contexts as memcheck sees them.
 *
 * To memcheck a memory context is one block: it sees neither a read past the end of a chunk nor one
 * of a chunk that was freed or never written.  This file is linked into a walrank.so made for a run
 * under valgrind (ld --wrap), and tells memcheck of each chunk the library asks for: its bytes are
 * undefined, what follows is out of bounds, and a freed chunk is out of bounds until its context is
 * reset.  Values the server detoasts for the library are copied into such chunks, so that reading
 * past the end of a value shows too.  Chunks that the server makes for itself are left alone.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "fmgr.h"
#include "utils/memutils.h"

#include <stdlib.h>
#include <valgrind/memcheck.h>

#define FENCE_BYTES 32
#define BUCKETS 65536

typedef struct Owner Owner;
typedef struct Chunk Chunk;

struct Chunk
{
	char *data;
	Size size;
	bool freed;
	Owner *owner;
	Chunk *next_in_bucket;
	Chunk *next_of_owner;
};

/* A memory context from its first chunk of ours to its next reset. */
struct Owner
{
	MemoryContext context;
	Chunk *chunks;
	Owner *next;
	MemoryContextCallback callback;
};

static Chunk *buckets[BUCKETS];
static Owner *owners;

extern void *__real_MemoryContextAlloc(MemoryContext context, Size size);
extern void *__real_MemoryContextAllocHuge(MemoryContext context, Size size);
extern void *__real_repalloc(void *data, Size size);
extern void __real_pfree(void *data);
extern struct varlena *__real_detoast_attr(struct varlena *attr);
extern struct varlena *__real_pg_detoast_datum_packed(struct varlena *attr);

extern void *__wrap_palloc(Size size);
extern void *__wrap_palloc0(Size size);
extern void *__wrap_MemoryContextAlloc(MemoryContext context, Size size);
extern void *__wrap_MemoryContextAllocZero(MemoryContext context, Size size);
extern void *__wrap_MemoryContextAllocHuge(MemoryContext context, Size size);
extern void *__wrap_repalloc(void *data, Size size);
extern void __wrap_pfree(void *data);
extern char *__wrap_pstrdup(const char *text);
extern char *__wrap_MemoryContextStrdup(MemoryContext context, const char *text);
extern struct varlena *__wrap_detoast_attr(struct varlena *attr);
extern struct varlena *__wrap_pg_detoast_datum_packed(struct varlena *attr);

static Chunk **
bucket_of(const void *data)
{
	return &buckets[((uintptr_t) data >> 4) % BUCKETS];
}

static Chunk *
find(const void *data)
{
	for (Chunk *chunk = *bucket_of(data); chunk != NULL; chunk = chunk->next_in_bucket)
		if (chunk->data == data)
			return chunk;
	return NULL;
}

static void
forget(Chunk *chunk)
{
	Chunk **at = bucket_of(chunk->data);

	while (*at != NULL && *at != chunk)
		at = &(*at)->next_in_bucket;
	if (*at != NULL)
		*at = chunk->next_in_bucket;
}

/* Before the context gives its memory back: whoever gets it may use all of it. */
static void
owner_reset(void *arg)
{
	Owner *owner = arg;
	Owner **at = &owners;
	Chunk *next;

	for (Chunk *chunk = owner->chunks; chunk != NULL; chunk = next)
	{
		next = chunk->next_of_owner;
		VALGRIND_MAKE_MEM_UNDEFINED(chunk->data, chunk->size + FENCE_BYTES);
		forget(chunk);
		free(chunk);
	}
	while (*at != owner)
		at = &(*at)->next;
	*at = owner->next;
	free(owner);
}

static Owner *
owner_of(MemoryContext context)
{
	Owner *owner;

	for (owner = owners; owner != NULL; owner = owner->next)
		if (owner->context == context)
			return owner;
	owner = calloc(1, sizeof(Owner));
	owner->context = context;
	owner->next = owners;
	owners = owner;
	owner->callback.func = owner_reset;
	owner->callback.arg = owner;
	MemoryContextRegisterResetCallback(context, &owner->callback);
	return owner;
}

static void *
track(MemoryContext context, void *data, Size size)
{
	Chunk *chunk = find(data);

	if (chunk == NULL)
	{
		chunk = calloc(1, sizeof(Chunk));
		chunk->data = data;
		chunk->owner = owner_of(context);
		chunk->next_of_owner = chunk->owner->chunks;
		chunk->owner->chunks = chunk;
		chunk->next_in_bucket = *bucket_of(data);
		*bucket_of(data) = chunk;
	}
	chunk->size = size; /* known already: the server freed it behind our back */
	chunk->freed = false;
	VALGRIND_MAKE_MEM_UNDEFINED(data, size);
	VALGRIND_MAKE_MEM_NOACCESS((char *) data + size, FENCE_BYTES);
	return data;
}

void *
__wrap_MemoryContextAlloc(MemoryContext context, Size size)
{
	return track(context, __real_MemoryContextAlloc(context, size + FENCE_BYTES), size);
}

void *
__wrap_MemoryContextAllocHuge(MemoryContext context, Size size)
{
	return track(context, __real_MemoryContextAllocHuge(context, size + FENCE_BYTES), size);
}

void *
__wrap_MemoryContextAllocZero(MemoryContext context, Size size)
{
	return memset(__wrap_MemoryContextAlloc(context, size), 0, size);
}

void *
__wrap_palloc(Size size)
{
	return __wrap_MemoryContextAlloc(CurrentMemoryContext, size);
}

void *
__wrap_palloc0(Size size)
{
	return __wrap_MemoryContextAllocZero(CurrentMemoryContext, size);
}

char *
__wrap_MemoryContextStrdup(MemoryContext context, const char *text)
{
	Size size = strlen(text) + 1;

	return memcpy(__wrap_MemoryContextAlloc(context, size), text, size);
}

char *
__wrap_pstrdup(const char *text)
{
	return __wrap_MemoryContextStrdup(CurrentMemoryContext, text);
}

void
__wrap_pfree(void *data)
{
	Chunk *chunk = find(data);

	if (chunk == NULL)
	{
		__real_pfree(data);
		return;
	}
	if (chunk->freed)
		VALGRIND_CHECK_MEM_IS_ADDRESSABLE(data, 1); /* reports freeing it twice */
	chunk->freed = true;
	VALGRIND_MAKE_MEM_NOACCESS(data, chunk->size);
}

void *
__wrap_repalloc(void *data, Size size)
{
	Chunk *chunk = find(data);
	void *moved;

	if (chunk == NULL)
		return __real_repalloc(data, size);
	moved = __wrap_MemoryContextAllocHuge(chunk->owner->context, size);
	memcpy(moved, data, Min(size, chunk->size));
	__wrap_pfree(data);
	return moved;
}

static struct varlena *
fenced(struct varlena *value)
{
	Size size = VARSIZE_ANY(value);

	return memcpy(__wrap_palloc(size), value, size);
}

struct varlena *
__wrap_detoast_attr(struct varlena *attr)
{
	return fenced(__real_detoast_attr(attr));
}

struct varlena *
__wrap_pg_detoast_datum_packed(struct varlena *attr)
{
	return fenced(__real_pg_detoast_datum_packed(attr));
}
