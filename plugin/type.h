/*
 * type.h -- how the values of a type are written, decided once per type.
 *
 * Reads catalogs by the syscache alone: no lock is taken, so a transaction that holds a type for
 * itself (ALTER TYPE, left open) does not hold up the stream.
 */
#ifndef WALRANK_TYPE_H
#define WALRANK_TYPE_H

#include "postgres.h"

#include "fmgr.h"

#include "wire.h"

typedef enum ValueForm
{
	FORM_NONE = 0, /* the type is gone or half-made: nothing can be sent */
	FORM_BOOL,
	FORM_INT2,
	FORM_INT4,
	FORM_INT8,
	FORM_OID,
	FORM_FLOAT4,
	FORM_FLOAT8,
	FORM_NUMERIC,
	FORM_MONEY,
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
	FORM_ROW,	 /* a composite type */
	FORM_OUTPUT, /* by the type's output function */
} ValueForm;

/* How values of one type are written; domains are looked through. */
typedef struct ValueType
{
	ValueForm form;
	int16 typlen;
	bool typbyval;
	char typalign;
	Oid row;				   /* FORM_ROW: for row_type */
	struct ValueType *element; /* FORM_ARRAY */
	Oid output_function;	   /* FORM_OUTPUT */
	FmgrInfo output;		   /* looked up at first use: its library may be gone */
	MemoryContext context;	   /* for output */
	bool output_guarded;	   /* the function may fail: run it in a subtransaction */
	bool output_unchecked;	   /* nobody vouches for its text being valid */
	Size output_bytes_max;	   /* stored bytes beyond which its text may explode */
} ValueType;

/* Fill type; memory that must last as long as it comes from the current context. */
extern void value_type(ValueType *type, Oid typid);

/* True when writing values of the type may run a function that reads settings. */
extern bool value_type_reads_settings(const ValueType *type);

/* One field of a composite type; a dropped one takes room and has an empty name. */
typedef struct RowField
{
	Slice name; /* UTF-8 */
	ValueType type;
	int16 len;
	bool byval;
	char align;
} RowField;

typedef struct RowType
{
	Oid relid; /* hash key */
	Oid typid;
	bool complete;
	int nfields;
	RowField *fields;
} RowType;

/* Forget what has changed in the catalogs; what row_type returned before is no longer valid. */
extern void row_types_refresh(void);

/* NULL when the type is gone.  Borrowed until row_types_refresh. */
extern const RowType *row_type(Oid relid);

#endif /* WALRANK_TYPE_H */
