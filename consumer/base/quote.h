/*
 * quote.h -- identifiers as the server's quote_ident() writes them.
 */
#ifndef WALRANK_QUOTE_H
#define WALRANK_QUOTE_H

#include <stdbool.h>

#include "base/buffer.h"

extern void quote_identifier(Buffer *out, const char *name);
/* schema.table, each quoted where it has to be; cut to size, and terminated. */
extern void quote_table(char *out, size_t size, Slice schema, Slice table);

#endif /* WALRANK_QUOTE_H */
