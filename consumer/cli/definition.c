/*
 * definition.c -- see definition.h.
 */
#include "cli/definition.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

/* ---- the header ------------------------------------------------------------------------------- */

typedef struct Line
{
	Slice text; /* without its end */
	size_t next;
} Line;

static Line
line_at(Slice text, size_t at)
{
	const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
	size_t stop = end != NULL ? (size_t) (end - text.data) : text.len;

	return (Line){slice_make(text.data + at, stop - at), end != NULL ? stop + 1 : stop};
}

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static size_t
skip_space(Slice line, size_t at)
{
	while (at < line.len && is_space(line.data[at]))
		at++;
	return at;
}

static bool
take_word(Slice line, size_t *at, const char *word)
{
	size_t from = skip_space(line, *at);
	size_t len = strlen(word);

	if (line.len - from < len || memcmp(line.data + from, word, len) != 0 ||
		(from + len < line.len && !is_space(line.data[from + len]) && line.data[from + len] != '"'))
		return false;
	*at = from + len;
	return true;
}

/* "home" */
static bool
take_name(Slice line, size_t *at, Slice *name)
{
	size_t from = skip_space(line, *at);
	const uint8_t *end;

	if (from >= line.len || line.data[from] != '"')
		return false;
	end = memchr(line.data + from + 1, '"', line.len - from - 1);
	if (end == NULL)
		return false;
	*name = slice_make(line.data + from + 1, (size_t) (end - line.data) - from - 1);
	*at = (size_t) (end - line.data) + 1;
	return name->len > 0;
}

/* schema.table: up to the next space outside quotes. */
static bool
take_relation(Slice line, size_t *at, Slice *relation)
{
	size_t from = skip_space(line, *at);
	size_t to = from;
	bool quoted = false;

	for (; to < line.len && (quoted || !is_space(line.data[to])); to++)
		quoted ^= line.data[to] == '"';
	if (to == from || quoted)
		return false;
	*relation = slice_make(line.data + from, to - from);
	*at = to;
	return true;
}

static bool
header_problem(RuleError *error, int line, size_t column, const char *message)
{
	error->line = line;
	error->column = (int) column + 1;
	snprintf(error->message, sizeof(error->message), "%s", message);
	snprintf(error->hint, sizeof(error->hint), "A header reads: # ranking \"home\" over public.item");
	return false;
}

static bool
header_parse(Slice line, DefinitionHeader *header, int number, RuleError *error)
{
	size_t at = 1;

	if (!take_word(line, &at, "ranking"))
		return true; /* some other comment */
	if (!take_name(line, &at, &header->name))
		return header_problem(error, number, at, "expected the name of the ranking in double quotes");
	if (!take_word(line, &at, "over"))
		return header_problem(error, number, at, "expected \"over\" and the table");
	if (!take_relation(line, &at, &header->relation))
		return header_problem(error, number, at, "expected the table, as schema.table");
	header->disabled = take_word(line, &at, "disabled");
	at = skip_space(line, at);
	if (at < line.len)
		return header_problem(error, number, at,
							  header->disabled ? "expected the end of the line"
											   : "expected \"disabled\" or the end of the line");
	header->found = true;
	return true;
}

bool
definition_header(Slice text, DefinitionHeader *header, RuleError *error)
{
	size_t at = 0;
	int number = 1;
	Line line = {.next = 0};

	memset(error, 0, sizeof(*error));
	*header = (DefinitionHeader){.line = 1, .body = text};
	for (; at < text.len; at = line.next, number++)
	{
		line = line_at(text, at);
		if (skip_space(line.text, 0) < line.text.len)
			break;
	}
	if (at >= text.len || line.text.data[0] != '#')
		return true;
	if (!header_parse(line.text, header, number, error))
		return false;
	if (header->found)
	{
		header->line = number + 1;
		header->body = slice_make(text.data + line.next, text.len - line.next);
	}
	return true;
}

void
definition_header_print(Buffer *out, const char *name, const char *relation, bool enabled)
{
	buffer_printf(out, "# ranking \"%s\" over %s%s\n", name, relation, enabled ? "" : " disabled");
}

static Slice
body_of(Slice text)
{
	DefinitionHeader header;
	RuleError ignored;

	if (!definition_header(text, &header, &ignored))
		header.body = text;
	while (header.body.len > 0 &&
		   (is_space(header.body.data[header.body.len - 1]) || header.body.data[header.body.len - 1] == '\n'))
		header.body.len--;
	return header.body;
}

bool
definition_same(Slice a, Slice b)
{
	return slice_equal(body_of(a), body_of(b));
}

/* ---- files ------------------------------------------------------------------------------------ */

static bool
read_text(const char *path, Buffer *text, Error *err)
{
	const bool standard = strcmp(path, "-") == 0;
	FILE *file = standard ? stdin : fopen(path, "r");
	size_t got;
	bool ok;

	if (file == NULL)
		return error_set(err, ERR_CONFIG, "could not open \"%s\": %s", path, strerror(errno));
	/* one byte above the limit is enough for the compiler to refuse it */
	while (text->len <= RULES_TEXT_BYTES_MAX && (got = fread(buffer_reserve(text, 4096), 1, 4096, file)) > 0)
		text->len += got;
	ok = !ferror(file) || error_set(err, ERR_CONFIG, "could not read \"%s\": %s", path, strerror(errno));
	if (!standard)
		fclose(file);
	buffer_append_byte(text, 0);
	text->len--;
	return ok;
}

/* dir/home.rules -> home; what it is not called is cut. */
static void
name_of_path(const char *path, char name[DEFINITION_NAME_BYTES])
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(base, '.');

	snprintf(name, DEFINITION_NAME_BYTES, "%.*s", (int) (dot != NULL ? dot - base : (ptrdiff_t) strlen(base)),
			 base);
}

static char *
slice_strdup(Slice slice)
{
	char *string = xmalloc(slice.len + 1);

	memcpy(string, slice.data, slice.len);
	string[slice.len] = '\0';
	return string;
}

static void
take_header(Definition *definition)
{
	DefinitionHeader header;

	if (strcmp(definition->path, "-") != 0)
		name_of_path(definition->path, definition->name);
	if (!definition_header(buffer_slice(&definition->text), &header, &definition->header) || !header.found)
		return;
	definition->relation = slice_strdup(header.relation);
	definition->disabled = header.disabled;
	snprintf(definition->name, sizeof(definition->name), "%.*s", (int) header.name.len,
			 (const char *) header.name.data);
}

bool
definition_read(const char *path, Definition *definition, Error *err)
{
	*definition = (Definition){.path = xstrdup(path)};
	if (!read_text(path, &definition->text, err))
	{
		definition_free(definition);
		return false;
	}
	take_header(definition);
	return true;
}

bool
definition_open(const char *path, Definition *definition, Error *err)
{
	if (!definition_read(path, definition, err))
		return false;
	if (definition->header.line == 0)
		return true;
	definition_error(err, path, &definition->header);
	definition_free(definition);
	return false;
}

void
definition_free(Definition *definition)
{
	free(definition->path);
	free(definition->relation);
	buffer_free(&definition->text);
	*definition = (Definition){0};
}

/* ---- compiling -------------------------------------------------------------------------------- */

static void *
alloc(void *context, size_t bytes)
{
	return arena_alloc(context, bytes);
}

RuleProgram *
definition_compile(Slice text, const RuleLibrary *library, Arena *arena, RuleError *error)
{
	RuleMemory memory = {alloc, arena};
	Slice copy = arena_copy(arena, text); /* the program may point into it */

	return rules_compile_with((const char *) copy.data, copy.len, library, &memory, error);
}

bool
definition_check_library(Slice text, Arena *arena, RuleError *error)
{
	RuleMemory memory = {alloc, arena};

	return rules_check_library((const char *) text.data, text.len, &memory, error);
}

#define JSONB_OID 3802
#define FIRST_USER_OID 16384 /* above it may be a domain over jsonb */

static bool
find_column(const WireRelation *relation, Slice name, WireColumn *column)
{
	WireCursor cursor = relation->columns;

	while (wire_column_next(&cursor, column))
		if (slice_equal(column->name, name))
			return true;
	return false;
}

/* Whether the name can mean something there: what rules_bind() asks of it. */
static bool
has_meaning(const RuleAttribute *attribute, const WireRelation *relation, Slice map)
{
	WireColumn column;

	if (attribute->column.len == 0)
		return map.len > 0 || find_column(relation, attribute->name, &column);
	return find_column(relation, attribute->column, &column) &&
		   (column.type_oid == JSONB_OID || column.type_oid >= FIRST_USER_OID);
}

static bool
is_word(uint8_t c)
{
	return c == '_' || c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		   (c >= 'A' && c <= 'Z');
}

/* Whether it stands there as a word, and as the column of a qualified name if that is what is looked for. */
static bool
stands_at(Slice text, size_t at, Slice name, bool qualified)
{
	size_t end = at + name.len;

	if (text.len - at < name.len || memcmp(text.data + at, name.data, name.len) != 0 ||
		(at > 0 && (is_word(text.data[at - 1]) || text.data[at - 1] == '.')) ||
		(end < text.len && is_word(text.data[end])))
		return false;
	end += end < text.len && text.data[end] == '"';
	return (end < text.len && text.data[end] == '.') == qualified;
}

/* Line and column of the first place outside comments and texts where the name stands. */
static bool
find_name(Slice text, Slice name, bool qualified, RuleError *error)
{
	int line = 1;
	int column = 1;
	uint8_t quote = 0;
	bool comment = false;

	for (size_t i = 0; i < text.len; i++, column++)
	{
		const uint8_t c = text.data[i];

		if (!comment && quote != '\'' && stands_at(text, i, name, qualified))
		{
			error->line = line;
			error->column = column;
			return true;
		}
		if (c == '\n')
		{
			line++;
			column = 0;
			comment = false;
			quote = 0;
		}
		else if (comment)
			continue;
		else if (quote != 0)
			quote = c == quote ? 0 : quote;
		else if (c == '\'' || c == '"')
			quote = c;
		else if (c == '#')
			comment = true;
		if ((c & 0xc0) == 0x80) /* columns are characters */
			column--;
	}
	return false;
}

void
definition_locate(Slice text, const RuleProgram *program, const WireRelation *relation, Slice map,
				  RuleError *error)
{
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);

	for (int i = 0; i < n && error->line == 0; i++)
	{
		const RuleAttribute *a = &attributes[i];

		if (!has_meaning(a, relation, map))
			find_name(text, a->column.len > 0 ? a->column : a->name, a->column.len > 0, error);
	}
	if (error->line == 0)
		error->line = error->column = 1;
}

RuleBinding *
definition_bind(Slice text, const RuleProgram *program, const WireRelation *relation, Slice map, Arena *arena,
				RuleError *error)
{
	RuleMemory memory = {alloc, arena};
	RuleBinding *binding = rules_bind(program, relation, arena_copy(arena, map), &memory, error);

	if (binding == NULL && error->line == 0)
		definition_locate(text, program, relation, map, error);
	return binding;
}

/* ---- for people ------------------------------------------------------------------------------- */

void
definition_attributes(Buffer *out, const RuleProgram *program, bool json)
{
	const RuleAttribute *attributes;
	int n = rules_attributes(program, &attributes);
	Buffer name = {0};

	for (int i = 0; i < n; i++)
	{
		buffer_reset(&name);
		if (attributes[i].column.len > 0)
		{
			buffer_append_slice(&name, attributes[i].column);
			buffer_append_byte(&name, '.');
		}
		buffer_append_slice(&name, attributes[i].name);
		if (i > 0)
			buffer_printf(out, json ? "," : ", ");
		if (json)
			json_string(out, buffer_slice(&name));
		else
			buffer_append_slice(out, buffer_slice(&name));
	}
	buffer_free(&name);
}

void
definition_error_print(Buffer *out, const char *path, const RuleError *error, bool json)
{
	if (!json)
	{
		buffer_printf(out, "%s:%d:%d: %s\n", path, error->line, error->column, error->message);
		if (error->hint[0] != '\0')
			buffer_printf(out, "HINT:  %s\n", error->hint);
		return;
	}
	buffer_printf(out, "{\"file\":");
	json_string(out, slice_string(path));
	buffer_printf(out, ",\"ok\":false,\"line\":%d,\"column\":%d,\"message\":", error->line, error->column);
	json_string(out, slice_string(error->message));
	buffer_printf(out, ",\"hint\":");
	json_string(out, slice_string(error->hint));
	buffer_printf(out, "}\n");
}

bool
definition_error(Error *err, const char *path, const RuleError *error)
{
	error_set(err, ERR_CONFIG, "%s:%d:%d: %s", path, error->line, error->column, error->message);
	if (error->hint[0] != '\0')
		error_hint(err, "%s", error->hint);
	return false;
}
