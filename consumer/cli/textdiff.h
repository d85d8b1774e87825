/*
 * textdiff.h -- what changes from one text to another, as `diff -u` shows it.
 */
#ifndef WALRANK_TEXTDIFF_H
#define WALRANK_TEXTDIFF_H

#include "base/buffer.h"

/*
 * Appends a unified diff with three lines of context, which patch(1) takes; nothing when the texts are equal.
 * The least number of lines, but where more than some thousand lines differ on both sides they count as
 * replaced altogether.
 */
extern void text_diff(Buffer *out, const char *before_name, const char *after_name, Slice before,
					  Slice after);

#endif /* WALRANK_TEXTDIFF_H */
