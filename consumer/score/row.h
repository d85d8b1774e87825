/*
 * row.h -- a row of one of our own tables, read by the names of its columns.
 */
#ifndef WALRANK_ROW_H
#define WALRANK_ROW_H

#include "score/step.h"

typedef struct Row Row;
struct Row
{
	const Version *version;
	Slice key;
	Slice image;
};

/* A column's value, be it part of the key or not. False: no such column, or not known. */
extern bool row_value(const Row *row, const char *name, WireValue *value);
/* SQL NULL reads as empty. */
extern bool row_text(const Row *row, const char *name, Slice *text);
/* For people to look at: nothing is made of the row. */
extern void row_quarantine(Scorer *scorer, Relation *relation, const Row *row, const char *attribute,
						   const char *reason);

#endif /* WALRANK_ROW_H */
