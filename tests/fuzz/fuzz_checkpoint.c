/*
 * fuzz_checkpoint.c -- arbitrary text as the small files that say where we stand: the file sink's NAME.ckpt, the
 * journal's identity, the store's mark.  Whatever is understood is understood the same after it was written again.
 *
 * The first byte chooses the file, and whether its last line, the CRC, is made to fit.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "journal/journal.h"
#include "../unit/memory_fs.h"
#include "score/store_internal.h"
#include "sinks/file.h"

static const SinkHistory history = {.stream_id = {{0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a,
												   0x5a, 0x5a, 0x5a, 0x5a, 0x5a, 0x5a}}};
static Sink *sink;

extern int LLVMFuzzerInitialize(int *argc, char ***argv);
int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static char path[] = "/out.ndjson";
	static const FileOptions options = {.path = path};
	Error err;

	log_init(LOG_FATAL, false);
	fs = &memory_fs;
	if (!sink_file.create("lines", &options, &history, "/", &sink, &err))
		abort();
	return 0;
}

static void
checkpoint(void)
{
	FileCheckpoint first;
	FileCheckpoint second;
	Error err = {0};
	bool found;

	if (!file_checkpoint_read(sink, MEMORY_DIR, &first, &found, &err))
	{
		if (err.class != ERR_REFUSE && err.class != ERR_DISK)
			abort(); /* a person has to look: it is never tried again by itself */
		return;
	}
	if (!found)
		abort();
	file_active(&first)->offset = 0; /* there is no tail to be hashed again */
	if (!file_checkpoint_write(sink, &first, &err) ||
		!file_checkpoint_read(sink, MEMORY_DIR, &second, &found, &err) || !found)
		abort();
	if (!stream_id_equal(&first.position.stream_id, &second.position.stream_id) ||
		first.position.seq != second.position.seq || first.position.part != second.position.part ||
		first.position.end_lsn != second.position.end_lsn ||
		first.position.owner_epoch != second.position.owner_epoch ||
		first.position.applied != second.position.applied ||
		first.position.total_start != second.position.total_start ||
		first.position.phase != second.position.phase || first.shown.file != second.shown.file ||
		first.shown.first != second.shown.first || first.shown.offset != second.shown.offset ||
		first.fill.file != second.fill.file || first.old != second.old ||
		first.quarantine_offset != second.quarantine_offset)
		abort();
}

static void
identity(void)
{
	JournalIdentity first;
	JournalIdentity second;
	Error err;
	bool found;

	if (!journal_identity_read(MEMORY_DIR, &first, &found, &err) || !found)
		return;
	if (!journal_identity_write(MEMORY_DIR, &first, &err) ||
		!journal_identity_read(MEMORY_DIR, &second, &found, &err) || !found)
		abort();
	if (!stream_id_equal(&first.stream_id, &second.stream_id) || first.start_lsn != second.start_lsn ||
		first.complete != second.complete || first.system_identifier != second.system_identifier ||
		strcmp(first.slot, second.slot) != 0 || strcmp(first.database, second.database) != 0)
		abort();
}

static void
mark(void)
{
	Buffer before = {0};
	Buffer after = {0};
	Mark seen;
	Error err;
	bool found;

	if (store_mark_read(MEMORY_DIR, &seen, &found, &err) && found)
	{
		memory_get("mark", &before);
		if (!store_mark_write(MEMORY_DIR, &seen, &err))
			abort();
		memory_get("mark", &after);
		if (!slice_equal(buffer_slice(&before), buffer_slice(&after)))
			abort();
	}
	buffer_free(&before);
	buffer_free(&after);
}

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"out.ndjson.ckpt", "identity", "mark"};
	static const char *const lines[] = {NULL, "crc32c=%08x\n", "crc %08x\n"};
	Buffer text = {0};
	int file;

	if (size == 0)
		return 0;
	file = data[0] % 3;
	buffer_append(&text, data + 1, size - 1);
	if (data[0] >= 128 && lines[file] != NULL)
	{
		char line[32];

		snprintf(line, sizeof(line), lines[file], crc32c(0, text.data, text.len));
		buffer_append(&text, line, strlen(line));
	}
	memory_clear();
	memory_put(names[file], buffer_slice(&text));
	buffer_free(&text);
	if (file == 0)
		checkpoint();
	else if (file == 1)
		identity();
	else
		mark();
	return 0;
}
