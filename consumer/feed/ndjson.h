/*
 * ndjson.h -- output records as lines of JSON (design.md 2.7): one writer for the file sink, the
 * tool and every other place that shows them.
 */
#ifndef WALRANK_NDJSON_H
#define WALRANK_NDJSON_H

#include "feed/feed.h"

/* Appends one line with its newline. Entries that are no output (dictionary, quarantine) append nothing.
 * False with ERR_DATA when the entry names a relation the dictionary lacks, or holds malformed values. */
extern bool ndjson_entry(Buffer *out, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry, Error *err);
/* {"id":17}: the key object of an item. */
extern bool ndjson_key(Buffer *out, const FeedRelation *relation, Slice key, Error *err);

#endif /* WALRANK_NDJSON_H */
