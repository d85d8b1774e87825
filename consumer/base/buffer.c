/*
 * buffer.c -- see buffer.h.
 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file formats are written for little-endian machines"
#endif

static void *
checked(void *p)
{
	static const char message[] = "FATAL:  out of memory\n";

	if (p == NULL)
	{
		ssize_t ignored = write(STDERR_FILENO, message, sizeof(message) - 1);

		(void) ignored;
		_exit(75);
	}
	return p;
}

void *
xmalloc(size_t bytes)
{
	return checked(malloc(bytes > 0 ? bytes : 1));
}

void *
xcalloc(size_t count, size_t bytes)
{
	return checked(calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1));
}

void *
xrealloc(void *p, size_t bytes)
{
	return checked(realloc(p, bytes > 0 ? bytes : 1));
}

char *
xstrdup(const char *s)
{
	return checked(strdup(s));
}

void
buffer_grow(Buffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity < 256 ? 256 : buffer->capacity;

	while (capacity - buffer->len < more)
		capacity *= 2;
	buffer->data = xrealloc(buffer->data, capacity);
	buffer->capacity = capacity;
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	*buffer = (Buffer){0};
}

void
buffer_printf(Buffer *buffer, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	buffer_reserve(buffer, (size_t) len + 1);
	va_start(args, format);
	vsnprintf((char *) buffer->data + buffer->len, (size_t) len + 1, format, args);
	va_end(args);
	buffer->len += (size_t) len;
}
