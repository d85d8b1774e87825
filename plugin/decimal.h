/*
 * decimal.h -- the server's numeric, read where it lies.
 *
 * Exact for every value, and bounded by the digits that are stored: 1e131000 is ten bytes here,
 * where the server's own output makes 131,001 characters of it.
 */
#ifndef WALRANK_DECIMAL_H
#define WALRANK_DECIMAL_H

#include "postgres.h"

#include "lib/stringinfo.h"

/*
 * num, len: the numeric after its varlena header, at any alignment.
 */

/* Write the body of a Value: an int when there are no fraction digits and it fits, else a decimal. */
extern void decimal_encode(StringInfo out, const char *num, size_t len);

/* The same where there is room; the end, or NULL for what is no int. */
#define DECIMAL_INTEGER_BYTES_MAX 11
extern uint8 *decimal_put_integer(uint8 *at, const char *num, size_t len);

/* Write a JSON number; short ones as people write them, others in exponent form, NaN and infinities as strings. */
extern void decimal_json(StringInfo out, const char *num, size_t len);

/* The same for a number of hundredths. */
extern void decimal_hundredths(StringInfo out, int64 hundredths);
extern void decimal_hundredths_json(StringInfo out, int64 hundredths);

#endif /* WALRANK_DECIMAL_H */
