/*
 * error.h -- an error travels up as a value and gathers context.
 *
 * A function that can fail returns bool and takes a trailing Error *.  Where the failure is seen
 * says what, each caller adds where, one place at the top logs it.  All setters return false.
 */
#ifndef WALRANK_ERROR_H
#define WALRANK_ERROR_H

#include <stdbool.h>

typedef enum
{
	ERR_NONE = 0,
	ERR_RETRY,	/* the other side is away or busy: back off and try again */
	ERR_DATA,	/* bytes that cannot be what they should be */
	ERR_CONFIG, /* the operator has to edit or run something: exit code 2 */
	ERR_REFUSE, /* histories do not fit: stop, write nothing; the message names the rule */
	ERR_DISK,	/* a write or fsync failed: nobody may claim the bytes are safe; the process stops */
	ERR_SPACE,	/* no space left: wait for it */
	ERR_RESTART /* state on disk is marked; a restart repairs it: exit code 75 */
} ErrorClass;

typedef struct Error
{
	ErrorClass class;
	char message[1024]; /* without full stop: "could not open \"x\": No such file or directory" */
	char hint[1024];	/* whole sentences; may be empty */
} Error;

#define ERROR_PRINTF(f, a) __attribute__((format(printf, f, a)))

extern bool error_set(Error *err, ErrorClass class, const char *format, ...) ERROR_PRINTF(3, 4);
/* Appends ": strerror(errno)"; class ERR_SPACE for ENOSPC and EDQUOT, else ERR_DISK. */
extern bool error_errno(Error *err, const char *format, ...) ERROR_PRINTF(2, 3);
/* Puts "context: " before the message. */
extern bool error_wrap(Error *err, const char *format, ...) ERROR_PRINTF(2, 3);
extern bool error_hint(Error *err, const char *format, ...) ERROR_PRINTF(2, 3);
extern void error_clear(Error *err);

#endif /* WALRANK_ERROR_H */
