/*
 * identity.c -- the journal's identity file: key=value lines, a CRC in the last one, replaced as a whole.
 *
 *	format=1
 *	state=creating|complete
 *	stream_id=...
 *	...
 *	adopted=yes			only where it is so
 *	timeline=1			only where it is known
 *	replaces=...		a line for each stream, the newest first
 *	crc32c=%08x of all lines before it
 *
 * Names of databases may hold any byte: controls, '%' and bytes above 126 are written as %XX.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/fs.h"
#include "journal/journal_private.h"

#define FILE_NAME "identity"
#define FILE_BYTES_MAX 4096

static void
put_name(Buffer *out, const char *key, const char *name)
{
	buffer_printf(out, "%s=", key);
	for (const unsigned char *c = (const unsigned char *) name; *c != '\0'; c++)
	{
		if (*c < 32 || *c > 126 || *c == '%')
			buffer_printf(out, "%%%02X", *c);
		else
			buffer_append_byte(out, *c);
	}
	buffer_append_byte(out, '\n');
}

void
journal_identity_text(const JournalIdentity *identity, Buffer *out)
{
	char stream_id[STREAM_ID_TEXT_BYTES];

	stream_id_text(&identity->stream_id, stream_id);
	buffer_printf(out, "format=1\nstate=%s\nstream_id=%s\n", identity->complete ? "complete" : "creating",
				  stream_id);
	buffer_printf(out, "system_identifier=%" PRIu64 "\ndatabase_oid=%u\n", identity->system_identifier,
				  identity->database_oid);
	put_name(out, "database", identity->database);
	put_name(out, "slot", identity->slot);
	put_name(out, "plugin", identity->plugin);
	buffer_printf(out, "server_lsn=" LSN_FORMAT "\nstart_lsn=" LSN_FORMAT "\n",
				  LSN_ARGS(identity->server_lsn), LSN_ARGS(identity->start_lsn));
	if (identity->adopted)
		buffer_printf(out, "adopted=yes\n");
	if (identity->timeline != 0)
		buffer_printf(out, "timeline=%u\n", identity->timeline);
	for (uint32_t i = 0; i < identity->nreplaced; i++)
	{
		stream_id_text(&identity->replaced[i], stream_id);
		buffer_printf(out, "replaces=%s\n", stream_id);
	}
	buffer_printf(out, "crc32c=%08x\n", crc32c(0, out->data, out->len));
}

bool
journal_identity_write(int dirfd, const JournalIdentity *identity, Error *err)
{
	Buffer text = {0};
	bool ok;

	journal_identity_text(identity, &text);
	ok = fs_replace(dirfd, FILE_NAME, buffer_slice(&text), err);
	buffer_free(&text);
	return ok || error_wrap(err, "identity of the journal");
}

/* ---- replaced streams -------------------------------------------------------------------------- */

bool
journal_identity_replaces(const JournalIdentity *identity, const StreamId *stream_id)
{
	for (uint32_t i = 0; i < identity->nreplaced; i++)
		if (stream_id_equal(&identity->replaced[i], stream_id))
			return true;
	return false;
}

void
journal_identity_replace(JournalIdentity *identity, const StreamId *stream_id)
{
	if (journal_identity_replaces(identity, stream_id) || stream_id_equal(&identity->stream_id, stream_id))
		return;
	if (identity->nreplaced == JOURNAL_REPLACED_MAX)
		identity->nreplaced--;
	memmove(identity->replaced + 1, identity->replaced, identity->nreplaced * sizeof(StreamId));
	identity->replaced[0] = *stream_id;
	identity->nreplaced++;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static bool
get_name(const char *text, char name[64])
{
	size_t len = 0;

	while (*text != '\0')
	{
		char hex[3] = {0};
		char *end;
		char c = *text++;

		if (c == '%')
		{
			if (text[0] == '\0' || text[1] == '\0')
				return false;
			memcpy(hex, text, 2);
			c = (char) strtol(hex, &end, 16);
			if (end != hex + 2)
				return false;
			text += 2;
		}
		if (c == '\0' || len == 63)
			return false;
		name[len++] = c;
	}
	name[len] = '\0';
	return true;
}

static bool
get_number(const char *text, uint64_t max, uint64_t *number)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*number = strtoull(text, &end, 10);
	return *end == '\0' && *number <= max;
}

enum
{
	SEEN_ALL = 0x3ff
};

/* Lines that not every identity has. */
static bool
take_optional(JournalIdentity *identity, const char *key, const char *value)
{
	uint64_t number = 0;

	if (strcmp(key, "adopted") == 0)
		return identity->adopted = strcmp(value, "yes") == 0;
	if (strcmp(key, "timeline") == 0)
	{
		if (identity->timeline != 0 || !get_number(value, UINT32_MAX, &number))
			return false;
		identity->timeline = (uint32_t) number;
		return number != 0;
	}
	return strcmp(key, "replaces") == 0 && identity->nreplaced < JOURNAL_REPLACED_MAX &&
		   stream_id_parse(value, &identity->replaced[identity->nreplaced++]);
}

/* One line; *seen collects which of them were there. */
static bool
take_line(JournalIdentity *identity, const char *key, const char *value, unsigned *seen)
{
	static const char *const keys[] = {"format",   "state", "stream_id", "system_identifier", "database_oid",
									   "database", "slot",	"plugin",	 "server_lsn",		  "start_lsn"};
	uint64_t number = 0;
	unsigned i = 0;

	while (i < sizeof(keys) / sizeof(keys[0]) && strcmp(keys[i], key) != 0)
		i++;
	if (i == sizeof(keys) / sizeof(keys[0]))
		return take_optional(identity, key, value);
	if ((*seen & 1U << i) != 0)
		return false;
	*seen |= 1U << i;
	switch (i)
	{
		case 0:
			return strcmp(value, "1") == 0;
		case 1:
			identity->complete = strcmp(value, "complete") == 0;
			return identity->complete || strcmp(value, "creating") == 0;
		case 2:
			return stream_id_parse(value, &identity->stream_id);
		case 3:
			return get_number(value, UINT64_MAX, &identity->system_identifier);
		case 4:
			if (!get_number(value, UINT32_MAX, &number))
				return false;
			identity->database_oid = (uint32_t) number;
			return true;
		case 5:
			return get_name(value, identity->database);
		case 6:
			return get_name(value, identity->slot);
		case 7:
			return get_name(value, identity->plugin);
		case 8:
			return lsn_parse(value, &identity->server_lsn);
		default:
			return lsn_parse(value, &identity->start_lsn);
	}
}

/* text: writable, with its end. */
static bool
parse(char *text, JournalIdentity *identity, Error *err)
{
	char *crc = strstr(text, "\ncrc32c=");
	unsigned seen = 0;
	char expected[32];
	char *rest = NULL;

	*identity = (JournalIdentity){.complete = false};
	if (strncmp(text, "format=1\n", 9) != 0)
		return error_set(err, ERR_REFUSE,
						 "the journal's identity file is damaged, or of a newer version of walrank");
	if (crc != NULL)
		snprintf(expected, sizeof(expected), "crc32c=%08x\n", crc32c(0, text, (size_t) (crc + 1 - text)));
	if (crc == NULL || strcmp(crc + 1, expected) != 0)
		return error_set(err, ERR_REFUSE, "the journal's identity file is damaged");
	crc[1] = '\0';
	for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
	{
		char *equals = strchr(line, '=');

		if (equals != NULL)
			*equals = '\0';
		if (equals == NULL || !take_line(identity, line, equals + 1, &seen))
			return error_set(
				err, ERR_REFUSE,
				"the journal's identity file has a line this version does not understand: \"%s\"", line);
	}
	return seen == SEEN_ALL || error_set(err, ERR_REFUSE, "the journal's identity file is incomplete");
}

bool
journal_identity_read(int dirfd, JournalIdentity *identity, bool *found, Error *err)
{
	char text[FILE_BYTES_MAX + 1];
	size_t len;

	if (!fs_read_file(dirfd, FILE_NAME, FILE_BYTES_MAX, text, &len, found, err))
		return error_wrap(err, "identity of the journal");
	text[len] = '\0';
	return !*found || parse(text, identity, err);
}
