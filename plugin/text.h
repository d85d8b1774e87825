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

/* Give back what text_convert allocated. */
static inline void
text_release(Slice input, Slice result)
{
	if (result.data != input.data)
		pfree(unconstify(uint8_t *, result.data));
}

/* False when text cannot fit into room once converted: no encoding of the server shrinks by half. */
static inline bool
text_may_fit(Slice text, int room)
{
	return (int64) text.len <= 2 * (int64) room;
}

/* True when the bytes are UTF-8, whoever made them. */
extern bool text_is_valid(Slice text);

/* A name: always valid UTF-8, with U+FFFD in place of bytes that do not convert. */
extern Slice text_identifier(const char *name);

#endif /* WALRANK_TEXT_H */
