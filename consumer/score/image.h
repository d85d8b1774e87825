/*
 * image.h -- an item's attributes as we keep them: canonical, complete, in order.
 *
 * An image is a run of Attribute fields, ordered by column and, inside a jsonb column, by the
 * object's stored key order (length, then bytes).  Of each attribute it holds column, key, state
 * (when not SET), value, size (when OVERSIZED), in that order and nothing else, so equal attributes
 * are equal bytes.  State UNCHANGED_TOAST means "not known yet".
 */
#ifndef WALRANK_IMAGE_H
#define WALRANK_IMAGE_H

#include "base/buffer.h"
#include "score/relation.h"

/* What a change makes of an item. Buffers are kept from one use to the next. */
typedef struct Image
{
	Buffer bytes; /* the image */
	uint32_t count;
	Buffer bits; /* one per attribute, low bit first: changed */
	bool bits_known;
	Buffer removed; /* Attribute fields with state REMOVED */
	/* where in bytes the changed attributes begin */
	uint32_t *changed;
	uint32_t nchanged;
	uint32_t changed_capacity;
	int unknown;					/* column of the first attribute not known yet; -1 = complete */
	bool carried[WIRE_COLUMNS_MAX]; /* columns that the change itself brought */
} Image;

typedef enum
{
	IMAGE_WHOLE,	/* an insert: every attribute counts as changed, what is stored is no part of it */
	IMAGE_COMPARED, /* an update */
} ImageMode;

/*
 * Complete `attributes`, written under `version`, from the stored image (under the same version; NULL
 * when there is none) and tell what changed.  False: the bytes are not what they should be.
 */
extern bool image_make(Image *image, const Version *version, const Slice *stored, Slice attributes,
					   ImageMode mode);
/* The item is new under its key: all of it counts as changed. */
extern bool image_mark_all(Image *image);
extern void image_free(Image *image);

/* As wire_attribute_next(), quicker for the shape attributes have in an image. */
extern bool image_next(WireCursor *cursor, WireAttribute *attribute);

/* Rewrite an image or an insert's attributes from one version of a relation to another, by column
 * name.  What has another type there is not known yet. */
extern bool image_remap(Buffer *out, Slice image, const Version *from, Version *to);

/* The columns that settled[] marks from `kept`, the others from `row`; both are images' attributes. */
extern bool image_splice(Buffer *out, Slice kept, Slice row, const bool *settled, uint32_t ncolumns);

/* First column not known yet, -1 = none. */
extern int image_unknown(Slice image);

/*
 * What attributes were before the change that made `image` of `stored`, for those that `wanted` names: their stored
 * attributes, state REMOVED where there was none.
 */
typedef bool (*ImageWanted)(const void *context, const WireAttribute *attribute);
extern bool image_replaced(Buffer *out, const Image *image, Slice stored, ImageWanted wanted,
						   const void *context);
/* Whether the run has an attribute of that place. */
extern bool image_names(Slice run, const WireAttribute *attribute);

/* The value of a column, for the few tables whose columns we know: false when it has none. */
extern bool image_value(Slice image, uint32_t column, WireValue *value);

#endif /* WALRANK_IMAGE_H */
