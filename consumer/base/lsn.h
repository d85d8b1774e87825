/*
 * lsn.h -- positions in the write-ahead log, and the stream's identity.
 *
 * An LSN is compared as a number, never as text: server 19 pads the text with zeros.
 */
#ifndef WALRANK_LSN_H
#define WALRANK_LSN_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t Lsn; /* a WAL byte position; 0 = none */

#define LSN_FORMAT "%X/%X"
#define LSN_ARGS(lsn) (unsigned) ((lsn) >> 32), (unsigned) (lsn)
#define LSN_TEXT_BYTES 20

/* Both "0/1A" and "0/0000001A"; the whole string must be one LSN. */
extern bool lsn_parse(const char *text, Lsn *lsn);

/* 128 random bits: one history of one slot. */
typedef struct StreamId
{
	uint8_t bytes[16];
} StreamId;

#define STREAM_ID_TEXT_BYTES 37 /* as a uuid, with its end */

extern void stream_id_text(const StreamId *id, char text[STREAM_ID_TEXT_BYTES]);
extern bool stream_id_parse(const char *text, StreamId *id);
extern bool stream_id_equal(const StreamId *a, const StreamId *b);
extern bool stream_id_random(StreamId *id);

#endif /* WALRANK_LSN_H */
