/*
 * error.c -- see error.h.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool
error_set(Error *err, ErrorClass class, const char *format, ...)
{
	va_list args;

	err->class = class;
	err->hint[0] = '\0';
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	return false;
}

bool
error_errno(Error *err, const char *format, ...)
{
	int saved = errno;
	va_list args;
	size_t len;

	err->class = saved == ENOSPC || saved == EDQUOT ? ERR_SPACE : ERR_DISK;
	err->hint[0] = '\0';
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	len = strlen(err->message);
	snprintf(err->message + len, sizeof(err->message) - len, ": %s", strerror(saved));
	return false;
}

bool
error_wrap(Error *err, const char *format, ...)
{
	char inner[sizeof(err->message)];
	va_list args;
	size_t len;

	memcpy(inner, err->message, sizeof(inner));
	va_start(args, format);
	vsnprintf(err->message, sizeof(err->message), format, args);
	va_end(args);
	len = strlen(err->message);
	snprintf(err->message + len, sizeof(err->message) - len, ": %.*s", (int) (sizeof(inner) - 1), inner);
	return false;
}

bool
error_hint(Error *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
	return false;
}

void
error_clear(Error *err)
{
	err->class = ERR_NONE;
	err->message[0] = '\0';
	err->hint[0] = '\0';
}
