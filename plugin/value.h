/*
 * value.h -- one datum becomes one Value.
 *
 * No value a user can store raises an error here or grows without bound: what cannot be sent is
 * reported to the caller, which sends a state in its place.
 */
#ifndef WALRANK_VALUE_H
#define WALRANK_VALUE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"

#include "encode.h"

typedef enum ValueForm
{
	FORM_NONE = 0, /* the type is gone or half-made: nothing can be sent */
	FORM_BOOL,
	FORM_INT2,
	FORM_INT4,
	FORM_INT8,
	FORM_FLOAT4,
	FORM_FLOAT8,
	FORM_NUMERIC,
	FORM_TEXT,
	FORM_NAME,
	FORM_CHAR,
	FORM_BYTEA,
	FORM_UUID,
	FORM_DATE,
	FORM_TIMESTAMP,
	FORM_TIMESTAMPTZ,
	FORM_JSON,
	FORM_JSONB,
	FORM_ENUM,
	FORM_ARRAY,
	FORM_OUTPUT, /* by the type's output function */
} ValueForm;

/* How values of one type are written; domains are looked through. */
typedef struct ValueType
{
	ValueForm form;
	int16 typlen;
	bool typbyval;
	char typalign;
	struct ValueType *element; /* FORM_ARRAY */
	Oid output_function;	   /* FORM_OUTPUT, FORM_ARRAY (arrays of several dimensions) */
	FmgrInfo output;		   /* looked up at first use: its library may be gone */
	MemoryContext context;	   /* for output */
	bool output_guarded;	   /* the function may fail: run it in a subtransaction */
	Size output_bytes_max;	   /* stored bytes beyond which its text may explode */
} ValueType;

/* Fill type; memory that must last as long as it comes from the current context. */
extern void value_type(ValueType *type, Oid typid);

/* True when writing values of the type may run a function that reads settings. */
extern bool value_type_reads_settings(const ValueType *type);

/* Where Values of one change go. */
typedef struct ValueWriter
{
	StringInfo out;
	int value_bytes_max;
	int end_max;	/* out may not grow past this while a value is written */
	int limit;		/* of the value being written: see value_begin */
	bool may_fetch; /* out-of-line values can be read: not in logical decoding */
	uint32 flags;	/* FLAG_TEXT_INVALID is set when met */
} ValueWriter;

/* Set the limit of the value that is written next. */
extern void value_begin(ValueWriter *writer);

typedef enum ValueFate
{
	FATE_READY,
	FATE_UNCHANGED_TOAST,
	FATE_OVERSIZED,
} ValueFate;

/*
 * Make a column's datum readable in place: fetch and decompress, but only after its size is known
 * to be acceptable.  size is set to the bytes of the value, uncompressed.
 */
extern ValueFate value_resolve(const ValueWriter *writer, const ValueType *type, Datum *datum, uint64 *size);

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

/*
 * Settings that output functions read.  pin returns a level for unpin, or 0 if they have the wanted
 * values already; an error in between is undone by the transaction's abort.
 */
extern int value_settings_pin(void);
extern void value_settings_unpin(int level);

/* For a session that is ours alone. */
extern void value_settings_keep(void);

#endif /* WALRANK_VALUE_H */
