/*
 * quote.h -- an identifier as the server's quote_ident() writes it.
 */
#ifndef WALRANK_QUOTE_H
#define WALRANK_QUOTE_H

#include <stdbool.h>

#include "base/buffer.h"

extern void quote_identifier(Buffer *out, const char *name);

#endif /* WALRANK_QUOTE_H */
