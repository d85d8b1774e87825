/*
 * ndjson.h -- output records as lines of JSON (design.md 2.7): one writer for the file sink, the
 * tool and every other place that shows them.
 *
 * A line depends on the record and the dictionary alone: the same feed gives the same bytes.
 *
 *   change   pos lsn ts xid kind relation op key attributes times changed removed [oversized]
 *   score    pos lsn ts xid kind ranking key score tier pin blocked version at
 *   remove   pos lsn ts xid kind ranking key at          key null: all items of the ranking
 *   truncate pos lsn ts xid kind=change relation op=truncate key=null
 *   gap      pos lsn ts xid kind from reason
 *
 * Columns of the key stand in "key" only.  xid is null where no transaction of the source made the
 * record; ts is then the unit's now.  A jsonb column other than the map is one object under its
 * name, and its keys are named column.key in changed, removed and oversized.
 */
#ifndef WALRANK_NDJSON_H
#define WALRANK_NDJSON_H

#include "feed/feed.h"

/* Keeps escaped names per relation and ranking; for one thread and one feed. */
typedef struct NdjsonWriter NdjsonWriter;

extern NdjsonWriter *ndjson_create(void);
extern void ndjson_destroy(NdjsonWriter *writer);

/* Appends one line with its newline. Entries that are no output (dictionary, quarantine) append nothing.
 * False with ERR_DATA when the entry names a relation the dictionary lacks, or holds malformed values;
 * nothing is appended then. */
extern bool ndjson_write(NdjsonWriter *writer, Buffer *out, const FeedReader *reader,
						 const RecordHeader *header, const RecordEntry *entry, Error *err);
/* The same without a writer to keep, for the odd line. */
extern bool ndjson_entry(Buffer *out, const FeedReader *reader, const RecordHeader *header,
						 const RecordEntry *entry, Error *err);
/* {"id":17}: the key object of an item. */
extern bool ndjson_key(Buffer *out, const FeedRelation *relation, Slice key, Error *err);

#endif /* WALRANK_NDJSON_H */
