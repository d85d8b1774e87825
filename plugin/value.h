/*
 * value.h -- one datum becomes one Value.
 *
 * No value a user can store raises an error here or grows without bound: what cannot be sent is
 * reported to the caller, which sends a state in its place.
 */
#ifndef WALRANK_VALUE_H
#define WALRANK_VALUE_H

#include "postgres.h"

#include "compat.h"
#include "encode.h"
#include "type.h"

/* Where Values of one change go. */
typedef struct ValueWriter
{
	StringInfo out;
	int value_bytes_max;
	int end_max;		 /* out may not grow past this while a value is written */
	int limit;			 /* of the value being written: see value_begin */
	bool may_fetch;		 /* out-of-line values can be read: not in logical decoding */
	uint32 flags;		 /* FLAG_TEXT_INVALID is set when met */
	MemoryContext large; /* NULL until needed; see value_release */
} ValueWriter;

/* Set the limit of the value that is written next. */
extern void value_begin(ValueWriter *writer);

typedef enum ValueFate
{
	FATE_READY,
	FATE_UNCHANGED_TOAST,
	FATE_OVERSIZED,
} ValueFate;

/* What value_resolve does not do itself. */
extern ValueFate value_resolve_stored(ValueWriter *writer, const ValueType *type, Datum *datum, uint64 *size);

/*
 * Make a column's datum readable in place: fetch and decompress, but only after its size is known
 * to be acceptable.  size is set to the bytes of the value, uncompressed.
 */
static inline ValueFate
value_resolve(ValueWriter *writer, const ValueType *type, Datum *datum, uint64 *size)
{
	const struct varlena *stored = (const struct varlena *) DatumGetPointer(*datum);

	/* as it lies in the row: most of what is not short */
	if (type->typlen == -1 && likely(VARATT_IS_4B_U(stored)) && type->form != FORM_NONE)
	{
		*size = VARSIZE(stored) - VARHDRSZ;
		return *size > (uint64) writer->value_bytes_max ? FATE_OVERSIZED : FATE_READY;
	}
	return value_resolve_stored(writer, type, datum, size);
}

/* Give back what large values took in memory; nothing that value_resolve made may be in use. */
extern void value_release_large(ValueWriter *writer);

static inline void
value_release(ValueWriter *writer)
{
	if (unlikely(writer->large != NULL))
		value_release_large(writer);
}

/* Write the body of a Value.  False: it does not fit or cannot be sent; out is then to be rewound. */
extern bool value_write(ValueWriter *writer, const ValueType *type, Datum datum);

extern bool value_write_text(ValueWriter *writer, const char *data, size_t len);

static inline void
value_write_null(StringInfo out)
{
	encode_varint_field(out, VALUE_NULL, 1);
}

/* True when both are stored as the same bytes; does not read out-of-line values. */
extern bool value_same(const ValueType *type, Datum a, Datum b);

/* True for what is not the value's fault: out of memory, a cancelled query, a concurrent abort. */
extern bool value_error_passes(int sqlerrcode);

/*
 * Settings that output functions read.  pin returns a level for unpin, or 0 if they have the wanted
 * values already; an error in between is undone by the transaction's abort.
 */
extern int value_settings_pin(void);
extern void value_settings_unpin(int level);

/* For a session that is ours alone. */
extern void value_settings_keep(void);

#endif /* WALRANK_VALUE_H */
