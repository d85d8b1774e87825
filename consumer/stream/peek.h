/*
 * peek.h -- a look at the stream that leaves no trace: a temporary slot, or a slot nobody owns.
 *
 * What was read is acknowledged (a temporary slot goes away with the connection).  A slot that has a
 * row in walrank.control belongs to a daemon and is refused.
 */
#ifndef WALRANK_PEEK_H
#define WALRANK_PEEK_H

#include "base/error.h"
#include "base/lsn.h"
#include "wire.h"

typedef struct Peek Peek;

/* Options of the plugin that a look may set; see walrank-plugin(7). */
typedef enum
{
	PEEK_PUBLICATIONS,
	PEEK_MODE,
	PEEK_ATTRIBUTES,
	PEEK_OLD_VALUES,
	PEEK_MESSAGES,
	PEEK_ORIGIN,
	PEEK_OPTIONS,
} PeekOption;

typedef struct PeekSettings
{
	const char *conninfo;
	const char *slot;				   /* NULL: a temporary one */
	const char *options[PEEK_OPTIONS]; /* NULL: the plugin's default */
	bool protobuf;					   /* else one line of JSON per frame */
	Lsn start;						   /* 0: where the slot stands */
	Lsn end;						   /* 0: none */
} PeekSettings;

typedef enum
{
	PEEK_FRAME,
	PEEK_NOTHING, /* timeout */
	PEEK_END,	  /* the end position was reached, or the server shut down */
	PEEK_ERROR,
} PeekEvent;

extern bool peek_open(const PeekSettings *settings, Peek **peek, Error *err);
/* frame: valid until the next call. */
extern PeekEvent peek_next(Peek *peek, int timeout_ms, Slice *frame, Error *err);
extern void peek_close(Peek *peek);

#endif /* WALRANK_PEEK_H */
