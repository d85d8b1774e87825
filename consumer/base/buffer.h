/*
 * buffer.h -- bytes that grow.  Out of memory ends the process: journal and store are safe by design.
 */
#ifndef WALRANK_BUFFER_H
#define WALRANK_BUFFER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

typedef struct Buffer
{
	uint8_t *data;
	size_t len;		 /* bytes in use */
	size_t capacity; /* bytes allocated */
} Buffer;

extern void buffer_grow(Buffer *buffer, size_t more);
extern void buffer_free(Buffer *buffer);
extern void buffer_printf(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void
buffer_reset(Buffer *buffer)
{
	buffer->len = 0;
}

/* Room for more bytes; returns where they go.  Add what was used to len. */
static inline uint8_t *
buffer_reserve(Buffer *buffer, size_t more)
{
	if (buffer->capacity - buffer->len < more)
		buffer_grow(buffer, more);
	return buffer->data + buffer->len;
}

static inline void
buffer_append(Buffer *buffer, const void *data, size_t len)
{
	if (len == 0)
		return;
	memcpy(buffer_reserve(buffer, len), data, len);
	buffer->len += len;
}

static inline void
buffer_append_slice(Buffer *buffer, Slice slice)
{
	buffer_append(buffer, slice.data, slice.len);
}

static inline void
buffer_append_byte(Buffer *buffer, uint8_t byte)
{
	*buffer_reserve(buffer, 1) = byte;
	buffer->len++;
}

static inline Slice
buffer_slice(const Buffer *buffer)
{
	return slice_make(buffer->data, buffer->len);
}

/* Little-endian, fixed width: the project's own file formats use nothing else. */
static inline void
buffer_append_u32(Buffer *buffer, uint32_t v)
{
	buffer_append(buffer, &v, sizeof(v));
}

static inline void
buffer_append_u64(Buffer *buffer, uint64_t v)
{
	buffer_append(buffer, &v, sizeof(v));
}

/* malloc and realloc that do not return NULL. */
extern void *xmalloc(size_t bytes);
extern void *xcalloc(size_t count, size_t bytes);
extern void *xrealloc(void *p, size_t bytes);
extern char *xstrdup(const char *s);

#endif /* WALRANK_BUFFER_H */
