/*
 * history_item.h -- an item as the feed last told of it, to say what the next change changes.
 *
 * Attributes are held as people read them, name and JSON, so that a change of the table's columns in between
 * does not matter.  One item at a time: memory is that of its largest image.
 */
#ifndef WALRANK_HISTORY_ITEM_H
#define WALRANK_HISTORY_ITEM_H

#include "base/buffer.h"
#include "feed/feed.h"

typedef struct HistoryAttribute
{
	size_t name, name_len; /* in the image's text */
	size_t value, value_len;
} HistoryAttribute;

typedef struct HistoryImage
{
	bool known;
	Buffer text;
	HistoryAttribute *list;
	uint32_t count;
	uint32_t capacity;
} HistoryImage;

/* What a change did to one attribute. */
typedef struct HistoryChange
{
	Slice name;
	Slice before; /* JSON; empty: it was not there, or .. */
	Slice after;  /* JSON; empty: it is no longer there */
	bool before_known;
} HistoryChange;

/* entry: a RECORD_CHANGE that is no delete. False with ERR_DATA: malformed, or of an unknown version of the table. */
extern bool history_image_make(HistoryImage *image, const FeedReader *reader, const RecordEntry *entry,
							   Error *err);
extern void history_image_free(HistoryImage *image);
/*
 * Calls for each attribute that differs, in the order of the new image, then for those that are gone.  Without
 * an earlier image: for those the record says have changed, or for all if it does not say.
 */
extern void history_image_compare(const HistoryImage *before, const HistoryImage *after,
								  const RecordEntry *entry,
								  void (*changed)(void *context, const HistoryChange *change), void *context);

#endif /* WALRANK_HISTORY_ITEM_H */
