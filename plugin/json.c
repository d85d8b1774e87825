/*
 * json.c -- see json.h.
 *
 * Made by walking the encoded frame along tables that mirror walrank.proto, so it shows what was
 * sent and nothing else.  The mapping is protobuf's: lowerCamelCase names, 64-bit integers as
 * strings, bytes in base64, defaults left out where the wire leaves them out.
 */
#include "json.h"

#include <math.h>

#include "common/base64.h"
#include "common/shortest_dec.h"
#include "mb/pg_wchar.h"

#include "text.h"

typedef enum FieldType
{
	TYPE_MESSAGE,
	TYPE_STRING,
	TYPE_BYTES,
	TYPE_BOOL,
	TYPE_ENUM,
	TYPE_UINT32,
	TYPE_UINT64, /* also fixed64 */
	TYPE_SFIXED64,
	TYPE_SINT32,
	TYPE_SINT64,
	TYPE_DOUBLE,
	TYPE_FLOAT,
	TYPE_PACKED64,
} FieldType;

typedef struct Message Message;

typedef struct Field
{
	uint32 number;
	const char *name;
	FieldType type;
	bool repeated;
	const Message *message;
	const char *const *names; /* of an enum, NULL at the end */
} Field;

struct Message
{
	const Field *fields; /* ends with number 0 */
};

static const char *const op_names[] = {"NONE", "INSERT", "UPDATE", "DELETE", NULL};
static const char *const state_names[] = {"SET", "REMOVED", "UNCHANGED_TOAST", "OVERSIZED", NULL};
static const char *const changed_names[] = {"UNKNOWN", "YES", "NO", NULL};
static const char *const special_names[] = {"FINITE", "NAN", "INFINITY", "NEGATIVE_INFINITY", NULL};

static const Message value_message;

static const Message head_message = {(const Field[]){
	{HEAD_COMMIT_LSN, "commitLsn", TYPE_UINT64},
	{HEAD_END_LSN, "endLsn", TYPE_UINT64},
	{HEAD_COMMIT_TIME, "commitTime", TYPE_SFIXED64},
	{HEAD_XID, "xid", TYPE_UINT64},
	{HEAD_PART, "part", TYPE_UINT32},
	{0},
}};

static const Message tail_message = {(const Field[]){
	{TAIL_FRAMES, "frames", TYPE_UINT32},
	{TAIL_CHANGES, "changes", TYPE_UINT32},
	{TAIL_CRC32C, "crc32c", TYPE_UINT32},
	{0},
}};

static const Message column_message = {(const Field[]){
	{COLUMN_NAME, "name", TYPE_STRING},
	{COLUMN_TYPE_OID, "typeOid", TYPE_UINT32},
	{COLUMN_TYPE_NAME, "typeName", TYPE_STRING},
	{COLUMN_TYPMOD, "typmod", TYPE_SINT32},
	{COLUMN_KEY, "key", TYPE_BOOL},
	{COLUMN_GENERATED, "generated", TYPE_BOOL},
	{0},
}};

static const Message relation_message = {(const Field[]){
	{RELATION_FINGERPRINT, "fingerprint", TYPE_UINT64},
	{RELATION_SCHEMA, "schema", TYPE_STRING},
	{RELATION_TABLE, "table", TYPE_STRING},
	{RELATION_OID, "oid", TYPE_UINT32},
	{RELATION_COLUMNS, "columns", TYPE_MESSAGE, true, &column_message},
	{RELATION_SELECTION, "selection", TYPE_UINT64},
	{0},
}};

static const Message decimal_message = {(const Field[]){
	{DECIMAL_DIGITS, "digits", TYPE_STRING},
	{DECIMAL_EXPONENT, "exponent", TYPE_SINT32},
	{DECIMAL_NEGATIVE, "negative", TYPE_BOOL},
	{DECIMAL_SPECIAL, "special", TYPE_ENUM, .names = special_names},
	{0},
}};

static const Message list_message = {(const Field[]){
	{LIST_VALUES, "values", TYPE_MESSAGE, true, &value_message},
	{0},
}};

static const Message value_message = {(const Field[]){
	{VALUE_NULL, "null", TYPE_BOOL},
	{VALUE_BOOL, "bool", TYPE_BOOL},
	{VALUE_INT, "int", TYPE_SINT64},
	{VALUE_DOUBLE, "double", TYPE_DOUBLE},
	{VALUE_FLOAT, "float", TYPE_FLOAT},
	{VALUE_TEXT, "text", TYPE_STRING},
	{VALUE_BYTES, "bytes", TYPE_BYTES},
	{VALUE_DECIMAL, "decimal", TYPE_MESSAGE, .message = &decimal_message},
	{VALUE_TIMESTAMP, "timestamp", TYPE_SINT64},
	{VALUE_TIMESTAMPTZ, "timestamptz", TYPE_SINT64},
	{VALUE_DATE, "date", TYPE_SINT32},
	{VALUE_LIST, "list", TYPE_MESSAGE, .message = &list_message},
	{VALUE_JSON, "json", TYPE_STRING},
	{0},
}};

static const Message attribute_message = {(const Field[]){
	{ATTRIBUTE_COLUMN, "column", TYPE_UINT32},
	{ATTRIBUTE_KEY, "key", TYPE_BYTES},
	{ATTRIBUTE_STATE, "state", TYPE_ENUM, .names = state_names},
	{ATTRIBUTE_CHANGED, "changed", TYPE_ENUM, .names = changed_names},
	{ATTRIBUTE_VALUE, "value", TYPE_MESSAGE, .message = &value_message},
	{ATTRIBUTE_OLD_VALUE, "oldValue", TYPE_MESSAGE, .message = &value_message},
	{ATTRIBUTE_SIZE, "size", TYPE_UINT64},
	{0},
}};

static const Message change_message = {(const Field[]){
	{CHANGE_RELATION, "relation", TYPE_UINT64},
	{CHANGE_OP, "op", TYPE_ENUM, .names = op_names},
	{CHANGE_KEY, "key", TYPE_MESSAGE, true, &value_message},
	{CHANGE_OLD_KEY, "oldKey", TYPE_MESSAGE, true, &value_message},
	{CHANGE_ATTRIBUTES, "attributes", TYPE_MESSAGE, true, &attribute_message},
	{CHANGE_FLAGS, "flags", TYPE_UINT32},
	{0},
}};

static const Message truncate_message = {(const Field[]){
	{TRUNCATE_RELATIONS, "relations", TYPE_PACKED64},
	{TRUNCATE_CASCADE, "cascade", TYPE_BOOL},
	{TRUNCATE_RESTART_IDENTITY, "restartIdentity", TYPE_BOOL},
	{TRUNCATE_THINNED, "thinned", TYPE_PACKED64},
	{0},
}};

static const Message message_message = {(const Field[]){
	{MESSAGE_PREFIX, "prefix", TYPE_STRING},
	{MESSAGE_CONTENT, "content", TYPE_BYTES},
	{MESSAGE_SIZE, "size", TYPE_UINT64},
	{0},
}};

static const Message entry_message = {(const Field[]){
	{ENTRY_RELATION, "relation", TYPE_MESSAGE, .message = &relation_message},
	{ENTRY_CHANGE, "change", TYPE_MESSAGE, .message = &change_message},
	{ENTRY_TRUNCATE, "truncate", TYPE_MESSAGE, .message = &truncate_message},
	{ENTRY_MESSAGE, "message", TYPE_MESSAGE, .message = &message_message},
	{ENTRY_PUBLICATION_LOST, "publicationLost", TYPE_STRING},
	{0},
}};

static const Message frame_message = {(const Field[]){
	{FRAME_HEAD, "head", TYPE_MESSAGE, .message = &head_message},
	{FRAME_ENTRIES, "entries", TYPE_MESSAGE, true, &entry_message},
	{FRAME_TAIL, "tail", TYPE_MESSAGE, .message = &tail_message},
	{0},
}};

/* ---- scalars ----------------------------------------------------------------------------- */

static void
put_codepoint(StringInfo out, pg_wchar c)
{
	if (c >= 0x10000)
		appendStringInfo(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
						 0xdc00 + ((c - 0x10000) & 0x3ff));
	else
		appendStringInfo(out, "\\u%04x", c);
}

/* The bytes of the character at the start, which the server may have stored without checking it. */
static int
character_bytes(const uint8_t *at, const uint8_t *end)
{
	int len = pg_utf_mblen(at);

	return len <= end - at && pg_utf8_islegal(at, len) ? len : 0;
}

static void
put_string(StringInfo out, Slice s)
{
	bool ascii = !text_is_utf8();
	const uint8_t *end = s.data + s.len;

	appendStringInfoChar(out, '"');
	for (const uint8_t *at = s.data; at < end;)
	{
		int len = character_bytes(at, end);

		if (len == 0)
		{
			put_codepoint(out, 0xfffd);
			len = 1;
		}
		else if (*at == '"' || *at == '\\')
			appendStringInfo(out, "\\%c", *at);
		else if (*at < 0x20 || (ascii && *at >= 0x80))
			put_codepoint(out, utf8_to_unicode(at));
		else
			appendBinaryStringInfo(out, (const char *) at, len);
		at += len;
	}
	appendStringInfoChar(out, '"');
}

static void
put_base64(StringInfo out, Slice s)
{
	int room = pg_b64_enc_len((int) s.len) + 1;
	int len;

	appendStringInfoChar(out, '"');
	enlargeStringInfo(out, room);
	len = pg_b64_encode((const void *) s.data, (int) s.len, out->data + out->len, room);
	out->len += Max(len, 0);
	appendStringInfoChar(out, '"');
}

static void
put_double(StringInfo out, uint64 bits)
{
	double number;
	char text[DOUBLE_SHORTEST_DECIMAL_LEN];

	memcpy(&number, &bits, sizeof(number));
	double_to_shortest_decimal_buf(number, text);
	appendStringInfo(out, isfinite(number) ? "%s" : "\"%s\"", text);
}

static void
put_float(StringInfo out, uint32 bits)
{
	float number;
	char text[FLOAT_SHORTEST_DECIMAL_LEN];

	memcpy(&number, &bits, sizeof(number));
	float_to_shortest_decimal_buf(number, text);
	appendStringInfo(out, isfinite(number) ? "%s" : "\"%s\"", text);
}

static void
put_enum(StringInfo out, const char *const *names, uint64 v)
{
	for (uint64 i = 0; names[i] != NULL; i++)
		if (i == v)
		{
			appendStringInfo(out, "\"%s\"", names[i]);
			return;
		}
	appendStringInfo(out, UINT64_FORMAT, v);
}

static void
put_packed64(StringInfo out, Slice s)
{
	WireTruncate list = {.relations = s};

	appendStringInfoChar(out, '[');
	for (uint32 i = 0; i < s.len / 8; i++)
		appendStringInfo(out, "%s\"" UINT64_FORMAT "\"", i > 0 ? "," : "", wire_truncate_relation(&list, i));
	appendStringInfoChar(out, ']');
}

/* ---- messages ---------------------------------------------------------------------------- */

static void put_message(StringInfo out, const Message *message, Slice body);

static void
put_value(StringInfo out, const Field *field, const WireField *wire)
{
	switch (field->type)
	{
		case TYPE_MESSAGE:
			put_message(out, field->message, wire->bytes);
			break;
		case TYPE_STRING:
			put_string(out, wire->bytes);
			break;
		case TYPE_BYTES:
			put_base64(out, wire->bytes);
			break;
		case TYPE_BOOL:
			appendStringInfoString(out, wire->varint ? "true" : "false");
			break;
		case TYPE_ENUM:
			put_enum(out, field->names, wire->varint);
			break;
		case TYPE_UINT32:
			appendStringInfo(out, UINT64_FORMAT, (uint64) wire->varint);
			break;
		case TYPE_UINT64:
			appendStringInfo(out, "\"" UINT64_FORMAT "\"", (uint64) wire->varint);
			break;
		case TYPE_SFIXED64:
			appendStringInfo(out, "\"" INT64_FORMAT "\"", (int64) wire->varint);
			break;
		case TYPE_SINT32:
			appendStringInfo(out, INT64_FORMAT, (int64) wire_unzigzag(wire->varint));
			break;
		case TYPE_SINT64:
			appendStringInfo(out, "\"" INT64_FORMAT "\"", (int64) wire_unzigzag(wire->varint));
			break;
		case TYPE_DOUBLE:
			put_double(out, wire->varint);
			break;
		case TYPE_FLOAT:
			put_float(out, (uint32) wire->varint);
			break;
		case TYPE_PACKED64:
			put_packed64(out, wire->bytes);
			break;
	}
}

static const Field *
find_field(const Message *message, uint32 number)
{
	for (const Field *field = message->fields; field->number != 0; field++)
		if (field->number == number)
			return field;
	return NULL;
}

/* Elements of a repeated field stand together: our encoder writes fields in runs. */
static void
put_message(StringInfo out, const Message *message, Slice body)
{
	WireCursor cursor = wire_cursor(body);
	const Field *run = NULL; /* the repeated field whose array is open */
	bool first = true;

	appendStringInfoChar(out, '{');
	while (!wire_done(&cursor))
	{
		WireField wire;
		const Field *field;

		if (!wire_field(&cursor, &wire))
			elog(ERROR, "malformed frame");
		field = find_field(message, wire.number);
		if (field == NULL)
			continue;
		if (run != NULL && field != run)
			appendStringInfoChar(out, ']');
		if (!first)
			appendStringInfoChar(out, ',');
		first = false;
		if (field != run)
			appendStringInfo(out, "\"%s\":%s", field->name, field->repeated ? "[" : "");
		run = field->repeated ? field : NULL;
		put_value(out, field, &wire);
	}
	if (run != NULL)
		appendStringInfoChar(out, ']');
	appendStringInfoChar(out, '}');
}

void
json_frame(StringInfo out, Slice frame)
{
	put_message(out, &frame_message, frame);
}
