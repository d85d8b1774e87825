/*
 * jsonb.c -- see jsonb.h.
 */
#include "jsonb.h"

#include "miscadmin.h"

#include "decimal.h"
#include "text.h"

static void
put_escape(StringInfo out, uint8_t c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[7] = "\\u00";

	escape[4] = hex[c >> 4];
	escape[5] = hex[c & 15];
	if (c == '"' || c == '\\')
	{
		escape[1] = (char) c;
		appendBinaryStringInfo(out, escape, 2);
	}
	else
		appendBinaryStringInfo(out, escape, 6);
}

bool
json_text_string(JsonText *text, Slice string, bool valid)
{
	StringInfo out = text->out;
	const uint8_t *at = string.data;
	const uint8_t *end = at + string.len;

	text->invalid |= !valid;
	if ((int64) string.len > (int64) text->limit - out->len)
		return false;
	appendStringInfoChar(out, '"');
	while (at < end)
	{
		const uint8_t *run = at;

		while (at < end && *at >= 0x20 && *at != '"' && *at != '\\')
			at++;
		appendBinaryStringInfo(out, (const char *) run, (int) (at - run));
		if (at == end)
			break;
		put_escape(out, *at++);
		if (out->len > text->limit)
			return false;
	}
	appendStringInfoChar(out, '"');
	return out->len <= text->limit;
}

static bool
put_string(JsonText *text, const JsonItem *item)
{
	Slice stored = slice_make(item->data, item->len);
	Slice string;
	bool valid;
	bool sent;

	if (!text_may_fit(stored, text->limit - text->out->len))
		return false;
	valid = text_convert(stored, &string);
	sent = json_text_string(text, string, valid);
	text_release(stored, string);
	return sent;
}

bool
json_text_json(JsonText *text, Slice json)
{
	Slice string;
	bool sent;

	if (!text_may_fit(json, text->limit - text->out->len))
		return false;
	if (!text_convert(json, &string))
		text->invalid = true;
	sent = (int64) string.len <= (int64) text->limit - text->out->len;
	if (sent)
		appendBinaryStringInfo(text->out, (const char *) string.data, (int) string.len);
	text_release(json, string);
	return sent;
}

static bool put_container(JsonText *text, const JsonbContainer *container);

static bool
put_item(JsonText *text, const JsonItem *item)
{
	switch (item->type)
	{
		case JENTRY_ISSTRING:
			return put_string(text, item);
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
			return put_container(text, (const JsonbContainer *) item->data);
		default:
			appendBinaryStringInfo(text->out, "null", 4);
			break;
	}
	return text->out->len <= text->limit;
}

static bool
put_container(JsonText *text, const JsonbContainer *container)
{
	bool object = JsonContainerIsObject(container);
	uint32 count = JsonContainerSize(container);
	uint32 children = object ? 2 * count : count;
	JsonWalk keys = json_walk(container, children, 0);
	JsonWalk values = object ? json_walk(container, children, count) : keys;

	if (++text->depth > JSON_DEPTH_MAX)
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
			if (!put_string(text, &item))
				return false;
			appendStringInfoChar(text->out, ':');
		}
		item = json_next(&values);
		if (!put_item(text, &item))
			return false;
	}
	appendStringInfoChar(text->out, object ? '}' : ']');
	text->depth--;
	return true;
}

bool
json_text_root(JsonText *text, const Jsonb *jsonb)
{
	JsonWalk walk;
	JsonItem item;

	if (!JsonContainerIsScalar(&jsonb->root))
		return put_container(text, &jsonb->root);
	walk = json_walk(&jsonb->root, 1, 0);
	item = json_next(&walk);
	return put_item(text, &item);
}

JsonText
json_text_begin(ValueWriter *writer, size_t guess)
{
	return (JsonText){.writer = writer,
					  .out = writer->out,
					  .mark = encode_open(writer->out, VALUE_JSON, guess),
					  .limit = writer->limit};
}

bool
json_text_end(JsonText *text)
{
	EncodeMark mark = text->mark;

	if (text->invalid)
	{
		/* a protobuf string must be valid UTF-8 */
		text->out->data[mark.body - mark.width - 1] = (char) WIRE_TAG(VALUE_BYTES, WIRE_BYTES);
		text->writer->flags |= FLAG_TEXT_INVALID;
	}
	encode_close(text->out, mark);
	return text->out->len <= text->limit;
}

static bool
write_text(ValueWriter *writer, const JsonbContainer *container, uint32 len)
{
	JsonText text = json_text_begin(writer, len);

	return put_container(&text, container) && json_text_end(&text);
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

/* ---- small items, whose lengths take one byte ------------------------------------------------- */

static inline uint8 *
put_small_scalar(uint8 *at, const JsonItem *item)
{
	switch (item->type)
	{
		case JENTRY_ISSTRING:
			*at++ = WIRE_TAG(VALUE_TEXT, WIRE_BYTES);
			*at++ = (uint8) item->len;
			memcpy(at, item->data, item->len);
			return at + item->len;
		case JENTRY_ISNUMERIC:
			return decimal_put_integer(at, VARDATA_ANY(item->data), VARSIZE_ANY_EXHDR(item->data));
		case JENTRY_ISBOOL_TRUE:
		case JENTRY_ISBOOL_FALSE:
			*at++ = WIRE_TAG(VALUE_BOOL, WIRE_VARINT);
			*at++ = item->type == JENTRY_ISBOOL_TRUE;
			return at;
		case JENTRY_ISNULL:
			*at++ = WIRE_TAG(VALUE_NULL, WIRE_VARINT);
			*at++ = 1;
			return at;
		default:
			return NULL;
	}
}

/* What is stored of an element, its entry of four bytes included, is no shorter than its Value but for one byte. */
uint8 *
json_put_small(uint8 *at, const JsonItem *item)
{
	const JsonbContainer *container = (const JsonbContainer *) item->data;
	JsonWalk walk;
	uint8 *list;

	if (item->type != JENTRY_ISCONTAINER)
		return put_small_scalar(at, item);
	if (!JsonContainerIsArray(container))
		return NULL;
	walk = json_walk(container, JsonContainerSize(container), 0);
	*at++ = WIRE_TAG(VALUE_LIST, WIRE_BYTES);
	list = at++;
	for (uint32 left = JsonContainerSize(container); left > 0; left--)
	{
		JsonItem element = json_next(&walk);
		uint8 *value;

		*at++ = WIRE_TAG(LIST_VALUES, WIRE_BYTES);
		value = at++;
		at = put_small_scalar(at, &element);
		if (at == NULL)
			return NULL;
		*value = (uint8) (at - value - 1);
	}
	*list = (uint8) (at - list - 1);
	return at;
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
