/*
 * json.h -- JSON is written by hand: no library can hold 1e131000.
 */
#ifndef WALRANK_JSON_H
#define WALRANK_JSON_H

#include "base/buffer.h"

/* A quoted, escaped string.  Bytes that are not UTF-8 become U+FFFD. */
extern void json_string(Buffer *out, Slice text);
/* The shortest text that reads back as the same double; never exponentless beyond 1e21. NaN and
 * infinities as the strings "NaN", "Infinity", "-Infinity". */
extern void json_double(Buffer *out, double number);
extern void json_float(Buffer *out, float number);
extern void json_int(Buffer *out, int64_t number);
/* JSON the server has checked, on one line. */
extern void json_text(Buffer *out, Slice text);
/* One wire Value: every digit is kept (plain, or as 1e131000 where that takes more than 20 zeros); bytes
 * as "\\x.." hex text; times as ISO 8601, a timestamp without time zone without Z, years outside 0000 to
 * 9999 with a sign and six digits or more (-000043 is 44 BC); "infinity" and "-infinity".  False: malformed. */
extern bool json_value(Buffer *out, Slice value);
/* "2026-11-20T14:46:29.174215Z" from microseconds since 1970-01-01 UTC, with its quotes. */
extern void json_time(Buffer *out, int64_t unix_us);

#endif /* WALRANK_JSON_H */
