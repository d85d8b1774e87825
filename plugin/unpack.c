/*
 * unpack.c -- see unpack.h.
 */
#include "unpack.h"

#include "access/detoast.h"
#include "access/toast_compression.h"

#include "compat.h"
#include "pglz.h"

/* In decoding, what was out of line is in memory behind a pointer. */
static const struct varlena *
follow(const struct varlena *stored)
{
	struct varatt_indirect indirect;

	if (!VARATT_IS_EXTERNAL_INDIRECT(stored))
		return stored;
	VARATT_EXTERNAL_GET_POINTER(indirect, stored);
	return indirect.pointer;
}

/* NULL when the data is damaged. */
static struct varlena *
unpack_pglz(const struct varlena *packed)
{
	Size len = VARDATA_COMPRESSED_GET_EXTSIZE(packed);
	struct varlena *value = palloc(VARHDRSZ + len + PGLZ_SLACK_BYTES);

	SET_VARSIZE(value, VARHDRSZ + len);
	if (pglz_unpack((const uint8 *) packed + VARHDRSZ_COMPRESSED, VARSIZE(packed) - VARHDRSZ_COMPRESSED,
					(uint8 *) VARDATA(value), len))
		return value;
	pfree(value);
	return NULL;
}

struct varlena *
unpack_value(struct varlena *stored)
{
	const struct varlena *packed = follow(stored);
	struct varlena *value = NULL;

	if (VARATT_IS_COMPRESSED(packed) && VARSIZE(packed) > VARHDRSZ_COMPRESSED &&
		VARDATA_COMPRESSED_GET_COMPRESS_METHOD(packed) == TOAST_PGLZ_COMPRESSION_ID)
		value = unpack_pglz(packed);
	/* of damage the server has to complain itself */
	return value != NULL ? value : detoast_attr(stored);
}
