/*
 * wire.h -- the bytes of walrank.proto, read without trust and without memory.
 *
 * A bounded cursor over protobuf wire format and pull readers for the messages of walrank.proto.
 * Nothing is copied or allocated: what a reader yields points into the caller's bytes.  Every
 * reader fails (returns false) on bytes that are not what walrank.proto describes; unknown fields
 * are skipped.  Pure C, libc only: used by the server's library and by the daemon alike.
 */
#ifndef WALRANK_WIRE_H
#define WALRANK_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Field numbers, as in walrank.proto. */
enum
{
	FRAME_HEAD = 1,
	FRAME_ENTRIES = 2,
	FRAME_TAIL = 3,

	HEAD_COMMIT_LSN = 1,
	HEAD_END_LSN = 2,
	HEAD_COMMIT_TIME = 3,
	HEAD_XID = 4,
	HEAD_PART = 5,

	TAIL_FRAMES = 1,
	TAIL_CHANGES = 2,
	TAIL_CRC32C = 3,

	ENTRY_RELATION = 1,
	ENTRY_CHANGE = 2,
	ENTRY_TRUNCATE = 3,
	ENTRY_MESSAGE = 4,
	ENTRY_PUBLICATION_LOST = 5,

	RELATION_FINGERPRINT = 1,
	RELATION_SCHEMA = 2,
	RELATION_TABLE = 3,
	RELATION_OID = 4,
	RELATION_COLUMNS = 5,
	RELATION_SELECTION = 6,

	COLUMN_NAME = 1,
	COLUMN_TYPE_OID = 2,
	COLUMN_TYPE_NAME = 3,
	COLUMN_TYPMOD = 4,
	COLUMN_KEY = 5,
	COLUMN_GENERATED = 6,

	CHANGE_RELATION = 1,
	CHANGE_OP = 2,
	CHANGE_KEY = 3,
	CHANGE_OLD_KEY = 4,
	CHANGE_ATTRIBUTES = 5,
	CHANGE_FLAGS = 6,

	ATTRIBUTE_COLUMN = 1,
	ATTRIBUTE_KEY = 2,
	ATTRIBUTE_STATE = 3,
	ATTRIBUTE_CHANGED = 4,
	ATTRIBUTE_VALUE = 5,
	ATTRIBUTE_OLD_VALUE = 6,
	ATTRIBUTE_SIZE = 7,

	DECIMAL_DIGITS = 1,
	DECIMAL_EXPONENT = 2,
	DECIMAL_NEGATIVE = 3,
	DECIMAL_SPECIAL = 4,

	LIST_VALUES = 1,

	TRUNCATE_RELATIONS = 1,
	TRUNCATE_CASCADE = 2,
	TRUNCATE_RESTART_IDENTITY = 3,
	TRUNCATE_THINNED = 4,

	MESSAGE_PREFIX = 1,
	MESSAGE_CONTENT = 2,
	MESSAGE_SIZE = 3,
};

/* Wire types of protobuf. */
enum
{
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_FIXED32 = 5,
};

#define WIRE_TAG(field, type) ((uint32_t) (field) << 3 | (type))

typedef enum
{
	OP_NONE = 0,
	OP_INSERT = 1,
	OP_UPDATE = 2,
	OP_DELETE = 3,
} WireOp;

enum
{
	FLAG_KEY_UNKNOWN = 1,
	FLAG_TEXT_INVALID = 2,
	FLAG_FILTER_ERROR = 4,
};

typedef enum
{
	STATE_SET = 0,
	STATE_REMOVED = 1,
	STATE_UNCHANGED_TOAST = 2,
	STATE_OVERSIZED = 3,
} WireState;

typedef enum
{
	CHANGED_UNKNOWN = 0,
	CHANGED_YES = 1,
	CHANGED_NO = 2,
} WireChanged;

/* Kinds of Value: the field numbers of its oneof. */
typedef enum
{
	VALUE_NONE = 0, /* an empty Value message: malformed */
	VALUE_NULL = 1,
	VALUE_BOOL = 2,
	VALUE_INT = 3,
	VALUE_DOUBLE = 4,
	VALUE_FLOAT = 5,
	VALUE_TEXT = 6,
	VALUE_BYTES = 7,
	VALUE_DECIMAL = 8,
	VALUE_TIMESTAMP = 9,
	VALUE_TIMESTAMPTZ = 10,
	VALUE_DATE = 11,
	VALUE_LIST = 12,
	VALUE_JSON = 13,
} WireKind;

enum
{
	DECIMAL_FINITE = 0,
	DECIMAL_NAN = 1,
	DECIMAL_INFINITY = 2,
	DECIMAL_NEGATIVE_INFINITY = 3,
};

/* Borrowed bytes; not terminated. */
typedef struct Slice
{
	const uint8_t *data;
	size_t len; /* bytes */
} Slice;

static inline Slice
slice_make(const void *data, size_t len)
{
	return (Slice){(const uint8_t *) data, len};
}

static inline Slice
slice_string(const char *string)
{
	return slice_make(string, strlen(string));
}

static inline bool
slice_equal(Slice a, Slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* A getter that fails does not move the cursor's caller any further: stop at the first false. */
typedef struct WireCursor
{
	const uint8_t *at;
	const uint8_t *end;
} WireCursor;

/* One field: its number, its wire type and either its number or its bytes. */
typedef struct WireField
{
	uint32_t number;
	uint32_t type;
	uint64_t varint; /* WIRE_VARINT, WIRE_FIXED64, WIRE_FIXED32 */
	Slice bytes;	 /* WIRE_BYTES: payload.  Other types: undefined. */
} WireField;

static inline WireCursor
wire_cursor(Slice bytes)
{
	/* an absent field is no pointer, and adding even 0 to that is not allowed */
	return (WireCursor){bytes.data, bytes.len == 0 ? bytes.data : bytes.data + bytes.len};
}

static inline bool
wire_done(const WireCursor *cursor)
{
	return cursor->at >= cursor->end;
}

static inline int64_t
wire_unzigzag(uint64_t v)
{
	return (int64_t) (v >> 1) ^ -(int64_t) (v & 1);
}

static inline uint64_t
wire_zigzag(int64_t v)
{
	return v < 0 ? ~((uint64_t) v << 1) : (uint64_t) v << 1;
}

/* Varints of up to 10 bytes; longer ones are malformed. */
extern bool wire_varint_slow(WireCursor *cursor, uint64_t *value);

static inline bool
wire_varint(WireCursor *cursor, uint64_t *value)
{
	if (cursor->at < cursor->end && cursor->at[0] < 0x80)
	{
		*value = *cursor->at++;
		return true;
	}
	return wire_varint_slow(cursor, value);
}

/* The next field.  Call only when !wire_done(). Groups and unknown wire types are malformed. */
extern bool wire_field(WireCursor *cursor, WireField *field);

/* ---- messages --------------------------------------------------------------------------- */

typedef struct WireHead
{
	uint64_t commit_lsn;
	uint64_t end_lsn;
	int64_t commit_time_us; /* since 1970-01-01 UTC */
	uint64_t xid;
	uint32_t part;
} WireHead;

typedef struct WireTail
{
	uint32_t frames;
	uint32_t changes;
	uint32_t crc32c;
} WireTail;

/*
 * Walk a Frame: begin reads the Head (which must come first), next yields one Entry after the
 * other, has_tail and tail are valid once next has returned false with error == false.
 * tail_offset is the offset of the Tail's tag in the frame, or its length if there is none.
 */
typedef struct WireFrame
{
	WireCursor cursor;
	const uint8_t *start;
	WireHead head;
	bool has_tail;
	WireTail tail;
	size_t tail_offset;
	bool error;
} WireFrame;

typedef struct WireEntry
{
	uint32_t kind; /* ENTRY_xxx; 0 = a kind this version does not know */
	Slice body;	   /* the message inside */
} WireEntry;

extern bool wire_frame_begin(WireFrame *frame, Slice bytes);
extern bool wire_frame_next(WireFrame *frame, WireEntry *entry);

/* Split one Entry message (as walrank.encode() returns it) into kind and body. */
extern bool wire_entry(Slice bytes, WireEntry *entry);

#define WIRE_COLUMNS_MAX 1664	/* MaxTupleAttributeNumber of PostgreSQL */
#define WIRE_KEY_COLUMNS_MAX 32 /* INDEX_MAX_KEYS of PostgreSQL */

typedef struct WireColumn
{
	Slice name;
	uint32_t type_oid;
	Slice type_name;
	int32_t typmod;
	bool key;
	bool generated;
} WireColumn;

/* The head of a Relation; its columns are then pulled one by one. */
typedef struct WireRelation
{
	uint64_t fingerprint;
	Slice schema;
	Slice table;
	uint32_t oid;
	uint64_t selection; /* 0: everything is published */
	WireCursor columns; /* for wire_column_next */
	uint32_t ncolumns;
	uint32_t nkeys;
} WireRelation;

/* Fails as well when the fingerprint is not that of the bytes. */
extern bool wire_relation(Slice body, WireRelation *relation);
extern bool wire_column_next(WireCursor *columns, WireColumn *column);

/* FNV-1a 64 of the bytes of a Relation after its fingerprint field (9 bytes). */
extern uint64_t wire_fingerprint(Slice bytes);

/*
 * A Change.  key and old_key are the concatenated Value FIELDS as they stand in the message
 * (tag, length, Value) if they are contiguous, which our encoder guarantees; use wire_value_next.
 */
typedef struct WireChange
{
	uint64_t relation; /* fingerprint */
	WireOp op;
	uint32_t flags;
	uint32_t nkey;
	uint32_t nold_key;
	Slice key;
	Slice old_key;
	Slice attributes; /* the Attribute fields, contiguous; for wire_attribute_next */
} WireChange;

extern bool wire_change(Slice body, WireChange *change);

typedef struct WireAttribute
{
	uint32_t column;
	bool has_key;
	Slice key;
	WireState state;
	WireChanged changed;
	bool has_value;
	bool has_old_value;
	Slice value;	 /* a Value message */
	Slice old_value; /* a Value message */
	uint64_t size;
} WireAttribute;

/* The next Attribute of WireChange.attributes (cursor made by wire_cursor). */
extern bool wire_attribute_next(WireCursor *attributes, WireAttribute *attribute);

/* The next Value body of WireChange.key, old_key or of a list's payload: skips tag and length. */
extern bool wire_value_next(WireCursor *values, Slice *value);

typedef struct WireDecimal
{
	Slice digits; /* checked: 1+ ASCII digits when special is DECIMAL_FINITE */
	int32_t exponent;
	bool negative;
	uint32_t special;
} WireDecimal;

typedef struct WireValue
{
	WireKind kind;
	union
	{
		bool boolean;
		int64_t integer; /* VALUE_INT, timestamps (us since 2000-01-01), VALUE_DATE (days) */
		double number;	 /* VALUE_DOUBLE, VALUE_FLOAT */
		Slice bytes;	 /* VALUE_TEXT, VALUE_BYTES, VALUE_JSON; VALUE_LIST: fields for wire_value_next */
		WireDecimal decimal;
	};
} WireValue;

/* Decode one Value message.  Lists inside lists are malformed. */
extern bool wire_value(Slice body, WireValue *value);

/*
 * A Value that is a list of exactly two elements, the second of them text: how a map keeps
 * [value, "time"].  value is the first element's Value message, not looked into; time the text.
 */
extern bool wire_timed(Slice body, Slice *value, Slice *time);

/* The double nearest to a number of any kind (VALUE_INT, _DOUBLE, _FLOAT, _DECIMAL): correctly
 * rounded, +-inf when too large.  False for other kinds. */
extern bool wire_number(const WireValue *value, double *number);

typedef struct WireTruncate
{
	Slice relations; /* packed little-endian 64-bit fingerprints */
	uint32_t nrelations;
	bool cascade;
	bool restart_identity;
} WireTruncate;

extern bool wire_truncate(Slice body, WireTruncate *truncate);
extern uint64_t wire_truncate_relation(const WireTruncate *truncate, uint32_t i);

/* ---- writing, for the few places outside the plugin's encoder that write wire format ------ */

static inline size_t
wire_varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >= 0x80)
	{
		v >>= 7;
		n++;
	}
	return n;
}

static inline uint8_t *
wire_put_varint(uint8_t *at, uint64_t v)
{
	while (v >= 0x80)
	{
		*at++ = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	*at++ = (uint8_t) v;
	return at;
}

#endif /* WALRANK_WIRE_H */
