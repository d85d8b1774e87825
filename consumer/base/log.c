/*
 * log.c -- see log.h.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/json.h"

/* set again by a reload, while others log */
static atomic_int log_threshold = LOG_INFO;
static atomic_bool log_json = false;

static const char *const level_names[] = {"DEBUG", "LOG", "WARNING", "ERROR", "FATAL"};

void
log_init(LogLevel threshold, bool json)
{
	log_threshold = threshold;
	log_json = json;
}

static void
append_time(Buffer *line)
{
	struct timespec now;
	struct tm utc;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &utc);
	buffer_printf(line, "%s.%03ld UTC", text, now.tv_nsec / 1000000);
}

static void
json_member(Buffer *line, const char *name, const char *value)
{
	buffer_printf(line, ",\"%s\":", name);
	json_string(line, slice_string(value));
}

static void
emit(LogLevel level, const char *message, const char *hint)
{
	Buffer line = {0};
	ssize_t ignored;

	if ((int) level < atomic_load(&log_threshold))
		return;
	if (log_json)
	{
		buffer_printf(&line, "{\"ts\":\"");
		append_time(&line);
		buffer_printf(&line, "\",\"pid\":%d", (int) getpid());
		json_member(&line, "level", level_names[level]);
		json_member(&line, "message", message);
		if (hint[0] != '\0')
			json_member(&line, "hint", hint);
		buffer_printf(&line, "}\n");
	}
	else
	{
		append_time(&line);
		buffer_printf(&line, " [%d] %s:  %s\n", (int) getpid(), level_names[level], message);
		if (hint[0] != '\0')
		{
			append_time(&line);
			buffer_printf(&line, " [%d] HINT:  %s\n", (int) getpid(), hint);
		}
	}
	/* one write: lines of several threads do not mix */
	ignored = write(STDERR_FILENO, line.data, line.len);
	(void) ignored;
	buffer_free(&line);
}

void
log_line(LogLevel level, const char *format, ...)
{
	char message[2048];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	emit(level, message, "");
}

void
log_error(LogLevel level, const Error *err, const char *context)
{
	char message[2048];

	snprintf(message, sizeof(message), "%s%s%s", context != NULL ? context : "", context != NULL ? ": " : "",
			 err->message);
	emit(level, message, err->hint);
}
