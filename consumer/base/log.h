/*
 * log.h -- what the operator reads: stderr lines shaped like the server's.
 *
 *   2026-11-20 14:46:29.174 UTC [1234] LOG:  message
 *   DETAIL, HINT on lines of their own.
 *
 * One line per change of state, never per row.  Secrets never get here: pass conninfo through
 * conninfo_redact() first.
 */
#ifndef WALRANK_LOG_H
#define WALRANK_LOG_H

#include <stdbool.h>

#include "base/error.h"

typedef enum
{
	LOG_DEBUG,
	LOG_INFO, /* printed as LOG */
	LOG_WARNING,
	LOG_ERROR,
	LOG_FATAL,
} LogLevel;

extern void log_init(LogLevel threshold, bool json);
extern void log_line(LogLevel level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The error's message after "context: ", its hint as HINT. context may be NULL. */
extern void log_error(LogLevel level, const Error *err, const char *context);

#endif /* WALRANK_LOG_H */
