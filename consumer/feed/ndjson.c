/*
 * ndjson.c -- see ndjson.h.
 *
 * The hot path of the file sink: names are escaped once per version of a relation, what all lines
 * of a unit share is made once per unit, and a line is written in one pass over its image.
 */
#include "feed/ndjson.h"

#include <stdlib.h>

#include "base/json.h"
#include "rules.h"

typedef struct Column
{
	Slice name;
	Slice member; /* "name": */
	bool key;
} Column;

/* One version of a relation as lines name it. */
typedef struct Relation
{
	uint64_t fingerprint;
	int map;
	int ncolumns;	/* 0 = not seen yet */
	uint64_t bloom; /* of column names: most keys of a map are no column's name */
	Column *columns;
	Buffer text; /* what names and members point into */
	Buffer head; /* change","relation":"public.item","op":" */
} Relation;

typedef struct Ranking
{
	Buffer name; /* ","ranking":"home","key": */
	char *plain;
} Ranking;

struct NdjsonWriter
{
	Relation *relations;
	uint32_t nrelations;
	Ranking *rankings;
	uint32_t nrankings;
	/* the change whose scores follow: their key is that of its version of the relation */
	struct
	{
		uint64_t seq;
		uint32_t part;
		uint32_t change;
		uint32_t relation;
		uint64_t fingerprint;
	} row;
	RecordHeader unit;
	Buffer unit_head; /* ","lsn":..,"kind":" */
	Buffer unit_at;	  /* ,"at":"..."} and the newline */
	/* of the line being written */
	Buffer times;
	Buffer changed;
	Buffer oversized;
	Buffer name;
};

static const char *const op_names[] = {
	[OP_INSERT] = "insert", [OP_UPDATE] = "update", [OP_DELETE] = "delete"};

#define PUT(out, literal) buffer_append((out), (literal), sizeof(literal) - 1)

static void
put_comma(Buffer *list)
{
	if (list->len > 0)
		buffer_append_byte(list, ',');
}

/* ---- dictionary ------------------------------------------------------------------------------ */

static uint64_t
bloom_bit(Slice name)
{
	if (name.len == 0)
		return 1;
	return UINT64_C(1) << ((name.data[0] * 5u + name.data[name.len - 1] * 11u + name.len * 7u) & 63);
}

static void
relation_free(Relation *relation)
{
	free(relation->columns);
	buffer_free(&relation->text);
	buffer_free(&relation->head);
	*relation = (Relation){0};
}

static void
relation_fill(Relation *relation, const FeedRelation *from)
{
	size_t *ends = xcalloc((size_t) from->ncolumns, 2 * sizeof(size_t));
	const uint8_t *text;
	size_t at = 0;

	relation->fingerprint = from->fingerprint;
	relation->map = from->map;
	relation->ncolumns = from->ncolumns;
	relation->columns = xcalloc((size_t) from->ncolumns, sizeof(Column));
	for (int i = 0; i < from->ncolumns; i++)
	{
		buffer_append_slice(&relation->text, slice_string(from->columns[i].name));
		ends[2 * i] = relation->text.len;
		json_string(&relation->text, slice_string(from->columns[i].name));
		buffer_append_byte(&relation->text, ':');
		ends[2 * i + 1] = relation->text.len;
	}
	/* only now does the text stay where it is */
	text = relation->text.data;
	for (int i = 0; i < from->ncolumns; i++)
	{
		Column *column = &relation->columns[i];

		column->name = slice_make(text + at, ends[2 * i] - at);
		column->member = slice_make(text + ends[2 * i], ends[2 * i + 1] - ends[2 * i]);
		column->key = from->columns[i].key;
		relation->bloom |= bloom_bit(column->name);
		at = ends[2 * i + 1];
	}
	free(ends);
	PUT(&relation->head, "change\",\"relation\":");
	json_string(&relation->head, slice_string(from->qualified));
	PUT(&relation->head, ",\"op\":\"");
}

/* Numbers are small and dense, so they index a table. */
static void *
table_at(void *table, uint32_t *n, uint32_t number, size_t bytes)
{
	if (number >= *n)
	{
		uint32_t more = (number + 16) & ~UINT32_C(15);

		table = xrealloc(table, more * bytes);
		memset((char *) table + *n * bytes, 0, (more - *n) * bytes);
		*n = more;
	}
	return table;
}

#define NUMBER_MAX (UINT32_C(1) << 24)

/* fingerprint 0: the newest version */
static Relation *
relation_get(NdjsonWriter *writer, const FeedReader *reader, uint32_t number, uint64_t fingerprint,
			 Error *err)
{
	const FeedRelation *from = NULL;
	Relation *relation;

	if (number < NUMBER_MAX)
		from = fingerprint == 0 ? feed_relation(reader, number)
								: feed_relation_version(reader, number, fingerprint);
	if (from == NULL || from->ncolumns <= 0)
	{
		error_set(err, ERR_DATA, "relation %u is not in the feed's dictionary", number);
		return NULL;
	}
	writer->relations = table_at(writer->relations, &writer->nrelations, number, sizeof(Relation));
	relation = &writer->relations[number];
	if (relation->ncolumns == 0 || relation->fingerprint != from->fingerprint || relation->map != from->map)
	{
		relation_free(relation);
		relation_fill(relation, from);
	}
	return relation;
}

static const Ranking *
ranking_get(NdjsonWriter *writer, const FeedReader *reader, uint32_t number, Error *err)
{
	const FeedRanking *from = number < NUMBER_MAX ? feed_ranking(reader, number) : NULL;
	Ranking *ranking;

	if (from == NULL)
	{
		error_set(err, ERR_DATA, "ranking %u is not in the feed's dictionary", number);
		return NULL;
	}
	writer->rankings = table_at(writer->rankings, &writer->nrankings, number, sizeof(Ranking));
	ranking = &writer->rankings[number];
	if (ranking->plain == NULL || strcmp(ranking->plain, from->name) != 0)
	{
		free(ranking->plain);
		ranking->plain = xstrdup(from->name);
		buffer_reset(&ranking->name);
		PUT(&ranking->name, "\"ranking\":");
		json_string(&ranking->name, slice_string(from->name));
		PUT(&ranking->name, ",\"key\":");
	}
	return ranking;
}

/* ---- what all lines have --------------------------------------------------------------------- */

static bool
same_unit(const RecordHeader *a, const RecordHeader *b)
{
	return a->seq == b->seq && a->end_lsn == b->end_lsn && a->kind == b->kind && a->xid == b->xid &&
		   a->commit_time_us == b->commit_time_us && a->now_us == b->now_us;
}

static void
unit_prepare(NdjsonWriter *writer, const RecordHeader *header)
{
	const bool transaction = header->kind == UNIT_TXN;
	Buffer *head = &writer->unit_head;

	if (head->len > 0 && same_unit(&writer->unit, header))
		return;
	writer->unit = *header;
	buffer_reset(head);
	buffer_printf(head, "\",\"lsn\":\"" LSN_FORMAT "\",\"ts\":", LSN_ARGS(header->end_lsn));
	json_time(head, transaction ? header->commit_time_us : header->now_us);
	PUT(head, ",\"xid\":");
	if (transaction)
		json_int(head, (int64_t) header->xid);
	else
		PUT(head, "null");
	PUT(head, ",\"kind\":\"");
	buffer_reset(&writer->unit_at);
	PUT(&writer->unit_at, ",\"at\":");
	json_time(&writer->unit_at, header->now_us);
	PUT(&writer->unit_at, "}\n");
}

static void
put_head(NdjsonWriter *writer, Buffer *out, const RecordHeader *header, const RecordEntry *entry)
{
	unit_prepare(writer, header);
	PUT(out, "{\"pos\":\"");
	json_int(out, (int64_t) header->seq);
	buffer_append_byte(out, '.');
	json_int(out, entry->change);
	buffer_append_byte(out, '.');
	json_int(out, entry->out);
	buffer_append(out, writer->unit_head.data, writer->unit_head.len);
}

static bool
put_key(Buffer *out, const Relation *relation, Slice key)
{
	WireCursor cursor = wire_cursor(key);
	Slice value;
	char separator = '{';

	for (int i = 0; i < relation->ncolumns; i++)
	{
		if (!relation->columns[i].key)
			continue;
		buffer_append_byte(out, (uint8_t) separator);
		buffer_append_slice(out, relation->columns[i].member);
		if (!wire_value_next(&cursor, &value) || !json_value(out, value))
			return false;
		separator = ',';
	}
	if (separator == '{')
		return false;
	buffer_append_byte(out, '}');
	return wire_done(&cursor);
}

static bool
bad_key(Error *err, uint32_t number)
{
	return error_set(err, ERR_DATA, "the key of an item of relation %u does not fit its columns", number);
}

/* ---- attributes ------------------------------------------------------------------------------ */

static bool
is_column(const Relation *relation, Slice name)
{
	if ((relation->bloom & bloom_bit(name)) == 0)
		return false;
	for (int i = 0; i < relation->ncolumns; i++)
		if (slice_equal(relation->columns[i].name, name))
			return true;
	return false;
}

/* "column.key" */
static void
put_qualified(NdjsonWriter *writer, Buffer *out, const Column *column, Slice key)
{
	buffer_reset(&writer->name);
	buffer_append_slice(&writer->name, column->name);
	buffer_append_byte(&writer->name, '.');
	buffer_append_slice(&writer->name, key);
	json_string(out, buffer_slice(&writer->name));
}

/* The attribute's name as changed, removed and oversized spell it, and times. */
static void
put_name(NdjsonWriter *writer, Buffer *out, const Relation *relation, const WireAttribute *attribute)
{
	const Column *column = &relation->columns[attribute->column];

	if (!attribute->has_key)
		buffer_append(out, column->member.data, column->member.len - 1); /* without its colon */
	else if ((int) attribute->column == relation->map && !is_column(relation, attribute->key))
		json_string(out, attribute->key);
	else
		put_qualified(writer, out, column, attribute->key);
}

static void
add_name(NdjsonWriter *writer, Buffer *list, const Relation *relation, const WireAttribute *attribute)
{
	put_comma(list);
	put_name(writer, list, relation, attribute);
}

/* No comma outside of strings and brackets; the text is JSON the server has made. */
static bool
is_one_element(Slice json)
{
	int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < json.len; i++)
	{
		const uint8_t c = json.data[i];

		if (quoted && c == '\\')
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (quoted)
			continue;
		else if (c == '[' || c == '{')
			depth++;
		else if (c == ']' || c == '}')
			depth--;
		else if (c == ',' && depth == 0)
			return false;
	}
	return depth == 0 && !quoted;
}

/* The same where the value is an object or array, which the wire carries as JSON text. */
static bool
split_json(Slice json, Slice *value, Slice *time)
{
	const uint8_t *end = json.data + json.len - 1;
	const uint8_t *open;
	int64_t ignored;

	if (json.len < 8 || json.data[0] != '[' || *end != ']' || end[-1] != '"')
		return false;
	/* a time has no quote in it, and jsonb puts ", " before an element: the last element or nothing */
	open = memrchr(json.data, '"', (size_t) (end - 1 - json.data));
	if (open == NULL || open - json.data < 4 || memcmp(open - 2, ", ", 2) != 0)
		return false;
	*time = slice_make(open + 1, (size_t) (end - 1 - open - 1));
	*value = slice_make(json.data + 1, (size_t) (open - 2 - json.data - 1));
	if (!rules_parse_time(*time, &ignored))
		return false;
	return is_one_element(*value);
}

/* The value of a key of the map; a time it brings goes to times. */
static bool
put_map_value(NdjsonWriter *writer, Buffer *out, const Relation *relation, const WireAttribute *attribute)
{
	WireValue value;
	Slice inner;
	Slice time;
	int64_t ignored;
	bool list = wire_timed(attribute->value, &inner, &time) && rules_parse_time(time, &ignored);

	if (!list && (!wire_value(attribute->value, &value) || value.kind != VALUE_JSON ||
				  !split_json(value.bytes, &inner, &time)))
		return json_value(out, attribute->value);
	put_comma(&writer->times);
	put_name(writer, &writer->times, relation, attribute);
	buffer_append_byte(&writer->times, ':');
	json_string(&writer->times, time);
	if (list)
		return json_value(out, inner);
	json_text(out, inner);
	return true;
}

/* {} in the map column: a map without keys, which adds nothing. */
static bool
is_empty_map(const Relation *relation, const WireAttribute *attribute)
{
	WireValue value;

	return (int) attribute->column == relation->map && !attribute->has_key && attribute->state == STATE_SET &&
		   wire_value(attribute->value, &value) && value.kind == VALUE_JSON && value.bytes.len == 2 &&
		   memcmp(value.bytes.data, "{}", 2) == 0;
}

/* Where the pass over an image stands in "attributes". */
typedef struct Members
{
	bool any;
	int object; /* the column whose object is open, -1 = none */
} Members;

/* Everything before an attribute's value: commas, the column's object, the name. */
static void
put_member(NdjsonWriter *writer, Buffer *out, const Relation *relation, const WireAttribute *attribute,
		   Members *members)
{
	const Column *column = &relation->columns[attribute->column];
	const bool inside = attribute->has_key && (int) attribute->column != relation->map;

	if (inside && members->object == (int) attribute->column)
		buffer_append_byte(out, ',');
	else
	{
		if (members->object >= 0)
			buffer_append_byte(out, '}');
		if (members->any)
			buffer_append_byte(out, ',');
		members->object = inside ? (int) attribute->column : -1;
		if (inside)
		{
			buffer_append_slice(out, column->member);
			buffer_append_byte(out, '{');
		}
	}
	members->any = true;
	if (!attribute->has_key)
		buffer_append_slice(out, column->member);
	else
	{
		if (inside)
			json_string(out, attribute->key);
		else
			put_name(writer, out, relation, attribute);
		buffer_append_byte(out, ':');
	}
}

static bool
put_attribute(NdjsonWriter *writer, Buffer *out, const Relation *relation, const WireAttribute *attribute,
			  Members *members)
{
	if (attribute->state == STATE_REMOVED || attribute->state == STATE_UNCHANGED_TOAST ||
		is_empty_map(relation, attribute))
		return true;
	put_member(writer, out, relation, attribute, members);
	if (attribute->state == STATE_OVERSIZED)
	{
		PUT(out, "null");
		add_name(writer, &writer->oversized, relation, attribute);
		return true;
	}
	if (attribute->has_key && (int) attribute->column == relation->map)
		return put_map_value(writer, out, relation, attribute);
	return json_value(out, attribute->value);
}

static bool
bit(Slice bits, uint32_t n)
{
	return n / 8 < bits.len && (bits.data[n / 8] >> (n % 8) & 1) != 0;
}

static bool
put_image(NdjsonWriter *writer, Buffer *out, const Relation *relation, const RecordEntry *entry)
{
	WireCursor cursor = wire_cursor(entry->row.image);
	Members members = {false, -1};
	WireAttribute attribute;

	for (uint32_t n = 0; !wire_done(&cursor); n++)
	{
		if (!wire_attribute_next(&cursor, &attribute) || attribute.column >= (uint32_t) relation->ncolumns)
			return false;
		if (relation->columns[attribute.column].key)
			continue;
		if (!put_attribute(writer, out, relation, &attribute, &members))
			return false;
		if (bit(entry->row.changed, n))
			add_name(writer, &writer->changed, relation, &attribute);
	}
	if (members.object >= 0)
		buffer_append_byte(out, '}');
	return true;
}

static bool
put_removed(NdjsonWriter *writer, Buffer *out, const Relation *relation, Slice removed)
{
	WireCursor cursor = wire_cursor(removed);
	WireAttribute attribute;

	for (bool first = true; !wire_done(&cursor); first = false)
	{
		if (!wire_attribute_next(&cursor, &attribute) || attribute.column >= (uint32_t) relation->ncolumns)
			return false;
		if (!first)
			buffer_append_byte(out, ',');
		put_name(writer, out, relation, &attribute);
	}
	return true;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool
put_row(NdjsonWriter *writer, Buffer *out, const Relation *relation, const RecordEntry *entry)
{
	buffer_reset(&writer->times);
	buffer_reset(&writer->changed);
	buffer_reset(&writer->oversized);
	PUT(out, ",\"attributes\":{");
	if (!put_image(writer, out, relation, entry))
		return false;
	PUT(out, "},\"times\":{");
	buffer_append_slice(out, buffer_slice(&writer->times));
	PUT(out, "},\"changed\":");
	if (entry->row.changed_known)
	{
		buffer_append_byte(out, '[');
		buffer_append_slice(out, buffer_slice(&writer->changed));
		buffer_append_byte(out, ']');
	}
	else
		PUT(out, "null");
	PUT(out, ",\"removed\":[");
	if (!put_removed(writer, out, relation, entry->row.removed))
		return false;
	buffer_append_byte(out, ']');
	if (writer->oversized.len > 0)
	{
		PUT(out, ",\"oversized\":[");
		buffer_append_slice(out, buffer_slice(&writer->oversized));
		buffer_append_byte(out, ']');
	}
	return true;
}

static bool
write_change(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
			 const RecordEntry *entry, Error *err)
{
	/* names of another version would be other names */
	const Relation *relation = relation_get(writer, reader, entry->relation, entry->row.fingerprint, err);

	if (relation == NULL)
		return false;
	writer->row.seq = header->seq;
	writer->row.part = header->part;
	writer->row.change = entry->change;
	writer->row.relation = entry->relation;
	writer->row.fingerprint = entry->row.fingerprint;
	if (entry->row.op < OP_INSERT || entry->row.op > OP_DELETE)
		return error_set(err, ERR_DATA, "unknown operation %d", (int) entry->row.op);
	put_head(writer, out, header, entry);
	buffer_append_slice(out, buffer_slice(&relation->head));
	buffer_append_slice(out, slice_string(op_names[entry->row.op]));
	PUT(out, "\",\"key\":");
	if (!put_key(out, relation, entry->key))
		return bad_key(err, entry->relation);
	if (!put_row(writer, out, relation, entry))
		return error_set(err, ERR_DATA, "malformed image of an item of relation %u", entry->relation);
	PUT(out, "}\n");
	return true;
}

/* Scores follow the change they come from; those of other units have no change, and one version. */
static uint64_t
version_of(const NdjsonWriter *writer, const RecordHeader *header, const RecordEntry *entry)
{
	return writer->row.seq == header->seq && writer->row.part == header->part &&
				   writer->row.change == entry->change && writer->row.relation == entry->relation
			   ? writer->row.fingerprint
			   : 0;
}

static bool
put_item(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
		 const RecordEntry *entry, Error *err)
{
	const Ranking *ranking = ranking_get(writer, reader, entry->out, err);
	const Relation *relation;

	if (ranking == NULL)
		return false;
	buffer_append_slice(out, buffer_slice(&ranking->name));
	if (entry->key.len == 0)
	{
		PUT(out, "null");
		return true;
	}
	relation = relation_get(writer, reader, entry->relation, version_of(writer, header, entry), err);
	if (relation == NULL)
		return false;
	return put_key(out, relation, entry->key) || bad_key(err, entry->relation);
}

static bool
write_score(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
			const RecordEntry *entry, Error *err)
{
	put_head(writer, out, header, entry);
	PUT(out, "score\",");
	if (!put_item(writer, out, reader, header, entry, err))
		return false;
	PUT(out, ",\"score\":");
	json_double(out, entry->score.score);
	PUT(out, ",\"tier\":");
	json_int(out, entry->score.tier);
	PUT(out, ",\"pin\":");
	if (entry->score.pin == 0)
		PUT(out, "null");
	else
		json_int(out, entry->score.pin);
	if (entry->score.blocked)
		PUT(out, ",\"blocked\":true,\"version\":");
	else
		PUT(out, ",\"blocked\":false,\"version\":");
	json_int(out, entry->score.version);
	buffer_append_slice(out, buffer_slice(&writer->unit_at));
	return true;
}

static bool
write_remove(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
			 const RecordEntry *entry, Error *err)
{
	put_head(writer, out, header, entry);
	PUT(out, "remove\",");
	if (!put_item(writer, out, reader, header, entry, err))
		return false;
	buffer_append_slice(out, buffer_slice(&writer->unit_at));
	return true;
}

static bool
write_truncate(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
			   const RecordEntry *entry, Error *err)
{
	const Relation *relation = relation_get(writer, reader, entry->relation, 0, err);

	if (relation == NULL)
		return false;
	put_head(writer, out, header, entry);
	buffer_append_slice(out, buffer_slice(&relation->head));
	PUT(out, "truncate\",\"key\":null}\n");
	return true;
}

static bool
write_gap(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
		  const RecordEntry *entry, Error *err)
{
	put_head(writer, out, header, entry);
	buffer_printf(out, "gap\",\"from\":\"" LSN_FORMAT "\",\"reason\":", LSN_ARGS(entry->gap.from));
	json_string(out, entry->gap.reason);
	PUT(out, "}\n");
	return true;
}

typedef bool (*LineWriter)(NdjsonWriter *, Buffer *, const FeedReader *, const RecordHeader *,
						   const RecordEntry *, Error *);

/* By RecordKind; what is no output has none. */
static const LineWriter line_writers[] = {
	[RECORD_CHANGE] = write_change, [RECORD_SCORE] = write_score,
	[RECORD_REMOVE] = write_remove, [RECORD_TRUNCATE] = write_truncate,
	[RECORD_GAP] = write_gap,		[RECORD_QUARANTINE] = NULL,
	[RECORD_FILL] = NULL,			[RECORD_FILLED] = NULL,
};

bool
ndjson_write(NdjsonWriter *writer, Buffer *out, const FeedReader *reader, const RecordHeader *header,
			 const RecordEntry *entry, Error *err)
{
	const size_t start = out->len;

	if ((unsigned) entry->kind > RECORD_FILLED)
		return error_set(err, ERR_DATA, "unknown kind of feed entry: %d", (int) entry->kind);
	if (line_writers[entry->kind] == NULL ||
		line_writers[entry->kind](writer, out, reader, header, entry, err))
		return true;
	out->len = start;
	return error_wrap(err, "record %llu.%u.%u", (unsigned long long) header->seq, entry->change, entry->out);
}

bool
ndjson_entry(Buffer *out, const FeedReader *reader, const RecordHeader *header, const RecordEntry *entry,
			 Error *err)
{
	NdjsonWriter *writer = ndjson_create();
	bool ok = ndjson_write(writer, out, reader, header, entry, err);

	ndjson_destroy(writer);
	return ok;
}

bool
ndjson_key(Buffer *out, const FeedRelation *from, Slice key, Error *err)
{
	const size_t start = out->len;
	Relation relation = {0};
	bool ok;

	relation_fill(&relation, from);
	ok = put_key(out, &relation, key);
	relation_free(&relation);
	if (ok)
		return true;
	out->len = start;
	return bad_key(err, from->number);
}

NdjsonWriter *
ndjson_create(void)
{
	return xcalloc(1, sizeof(NdjsonWriter));
}

void
ndjson_destroy(NdjsonWriter *writer)
{
	if (writer == NULL)
		return;
	for (uint32_t i = 0; i < writer->nrelations; i++)
		relation_free(&writer->relations[i]);
	for (uint32_t i = 0; i < writer->nrankings; i++)
	{
		free(writer->rankings[i].plain);
		buffer_free(&writer->rankings[i].name);
	}
	free(writer->relations);
	free(writer->rankings);
	buffer_free(&writer->unit_head);
	buffer_free(&writer->unit_at);
	buffer_free(&writer->times);
	buffer_free(&writer->changed);
	buffer_free(&writer->oversized);
	buffer_free(&writer->name);
	free(writer);
}
