/*
 * jsonb.c -- see jsonb.h.
 */
#include "jsonb.h"

#include "miscadmin.h"

#include "decimal.h"
#include "text.h"

/* Far below what the server's own parser accepts, and far above what anybody means. */
#define JSON_DEPTH_MAX 1000

/* Nested JSON text being written; invalid is set when some of it is not UTF-8. */
typedef struct JsonText
{
	StringInfo out;
	int limit;
	bool invalid;
} JsonText;

static void
put_escaped(StringInfo out, const uint8_t *at, const uint8_t *end)
{
	static const char hex[] = "0123456789abcdef";

	appendStringInfoChar(out, '"');
	while (at < end)
	{
		const uint8_t *run = at;
		char escape[7] = "\\u00";

		while (at < end && *at >= 0x20 && *at != '"' && *at != '\\')
			at++;
		appendBinaryStringInfo(out, (const char *) run, (int) (at - run));
		if (at == end)
			break;
		if (*at == '"' || *at == '\\')
		{
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, (char) *at);
		}
		else
		{
			escape[4] = hex[*at >> 4];
			escape[5] = hex[*at & 15];
			appendBinaryStringInfo(out, escape, 6);
		}
		at++;
	}
	appendStringInfoChar(out, '"');
}

static void
put_string(JsonText *text, const JsonItem *item)
{
	Slice string;

	if (!text_convert(slice_make(item->data, item->len), &string))
		text->invalid = true;
	put_escaped(text->out, string.data, string.data + string.len);
}

static bool put_container(JsonText *text, const JsonbContainer *container, int depth);

static bool
put_item(JsonText *text, const JsonItem *item, int depth)
{
	switch (item->type)
	{
		case JENTRY_ISSTRING:
			if (item->len > (uint32) text->limit)
				return false;
			put_string(text, item);
			break;
		case JENTRY_ISNUMERIC:
			decimal_json(text->out, VARDATA_ANY(item->data), VARSIZE_ANY_EXHDR(item->data));
			break;
		case JENTRY_ISBOOL_TRUE:
			appendBinaryStringInfo(text->out, "true", 4);
			break;
		case JENTRY_ISBOOL_FALSE:
			appendBinaryStringInfo(text->out, "false", 5);
			break;
		case JENTRY_ISCONTAINER:
			return put_container(text, (const JsonbContainer *) item->data, depth + 1);
		default:
			appendBinaryStringInfo(text->out, "null", 4);
			break;
	}
	return text->out->len <= text->limit;
}

static bool
put_container(JsonText *text, const JsonbContainer *container, int depth)
{
	bool object = JsonContainerIsObject(container);
	uint32 count = JsonContainerSize(container);
	uint32 children = object ? 2 * count : count;
	JsonWalk keys = json_walk(container, children, 0);
	JsonWalk values = object ? json_walk(container, children, count) : keys;

	if (depth > JSON_DEPTH_MAX)
		return false;
	appendStringInfoChar(text->out, object ? '{' : '[');
	for (uint32 i = 0; i < count; i++)
	{
		JsonItem item;

		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoChar(text->out, ',');
		if (object)
		{
			item = json_next(&keys);
			put_string(text, &item);
			appendStringInfoChar(text->out, ':');
		}
		item = json_next(&values);
		if (!put_item(text, &item, depth))
			return false;
	}
	appendStringInfoChar(text->out, object ? '}' : ']');
	return true;
}

static bool
write_text(ValueWriter *writer, const JsonbContainer *container, uint32 len)
{
	JsonText text = {writer->out, writer->limit, false};
	EncodeMark mark = encode_open(writer->out, VALUE_JSON, len);

	if (!put_container(&text, container, 1))
		return false;
	if (text.invalid)
	{
		/* a protobuf string must be valid UTF-8 */
		writer->out->data[mark.body - mark.width - 1] = (char) WIRE_TAG(VALUE_BYTES, WIRE_BYTES);
		writer->flags |= FLAG_TEXT_INVALID;
	}
	encode_close(writer->out, mark);
	return writer->out->len <= writer->limit;
}

static bool
is_scalar_array(const JsonbContainer *container)
{
	uint32 count = JsonContainerSize(container);

	if (!JsonContainerIsArray(container))
		return false;
	for (uint32 i = 0; i < count; i++)
		if (JBE_ISCONTAINER(container->children[i]))
			return false;
	return true;
}

static bool
write_list(ValueWriter *writer, const JsonbContainer *container, uint32 len)
{
	uint32 count = JsonContainerSize(container);
	JsonWalk walk = json_walk(container, count, 0);
	EncodeMark list = encode_open(writer->out, VALUE_LIST, len);

	for (uint32 i = 0; i < count; i++)
	{
		JsonItem item = json_next(&walk);
		EncodeMark mark = encode_open(writer->out, LIST_VALUES, item.len);

		if (i % 1024 == 1023)
			CHECK_FOR_INTERRUPTS();
		if (!json_write(writer, &item, true))
			return false;
		encode_close(writer->out, mark);
	}
	encode_close(writer->out, list);
	return true;
}

static bool
write_container(ValueWriter *writer, const JsonbContainer *container, uint32 len, bool flat)
{
	if (!flat && is_scalar_array(container))
		return write_list(writer, container, len);
	return write_text(writer, container, len);
}

bool
json_write(ValueWriter *writer, const JsonItem *item, bool flat)
{
	switch (item->type)
	{
		case JENTRY_ISSTRING:
			return value_write_text(writer, item->data, item->len);
		case JENTRY_ISNUMERIC:
			decimal_encode(writer->out, VARDATA_ANY(item->data), VARSIZE_ANY_EXHDR(item->data));
			break;
		case JENTRY_ISBOOL_TRUE:
		case JENTRY_ISBOOL_FALSE:
			encode_varint_field(writer->out, VALUE_BOOL, item->type == JENTRY_ISBOOL_TRUE);
			break;
		case JENTRY_ISCONTAINER:
			return write_container(writer, (const JsonbContainer *) item->data, item->len, flat);
		default:
			value_write_null(writer->out);
			break;
	}
	return writer->out->len <= writer->limit;
}

bool
json_write_root(ValueWriter *writer, const Jsonb *jsonb, bool flat)
{
	if (JsonContainerIsScalar(&jsonb->root))
	{
		JsonWalk walk = json_walk(&jsonb->root, 1, 0);
		JsonItem item = json_next(&walk);

		return json_write(writer, &item, flat);
	}
	return write_container(writer, &jsonb->root, VARSIZE(jsonb), flat);
}
