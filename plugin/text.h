/*
 * text.h -- text of the database as UTF-8.
 *
 * What does not convert is never an error: the caller sends it as bytes, flagged.
 */
#ifndef WALRANK_TEXT_H
#define WALRANK_TEXT_H

#include "postgres.h"

#include "mb/pg_wchar.h"

#include "wire.h"

/* True when text of this database is UTF-8 already, checked by the server on its way in. */
static inline bool
text_is_utf8(void)
{
	return GetDatabaseEncoding() == PG_UTF8;
}

/*
 * Convert to UTF-8; the result is borrowed from the input or palloc'd.  False when the bytes are
 * not valid in the database's encoding or have no counterpart: result is then the input.
 */
extern bool text_convert_other(Slice input, Slice *result);

static inline bool
text_convert(Slice input, Slice *result)
{
	*result = input;
	return likely(text_is_utf8()) || text_convert_other(input, result);
}

/* A name: always valid UTF-8, with U+FFFD in place of bytes that do not convert. */
extern Slice text_identifier(const char *name);

#endif /* WALRANK_TEXT_H */
