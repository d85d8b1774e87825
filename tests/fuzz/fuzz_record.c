/*
 * fuzz_record.c -- the reader of feed records on arbitrary bytes: it never reads beyond them, and
 * what it reads, written again, reads the same.
 */
#include <stdlib.h>

#include "score/record.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	RecordReader reader;
	RecordEntry entry;
	Error err;
	Buffer again = {0};
	bool done = false;
	bool ok;

	if (!record_open(slice_make(data, size), &reader, &err))
		return 0;
	record_begin(&again);
	while ((ok = record_next(&reader, &entry, &done, &err)) && !done)
	{
		record_entry(&again, &entry);
		/* bits of any index may be asked for */
		if (entry.kind == RECORD_CHANGE)
			(void) record_changed(&entry, (uint32_t) size * 8);
	}
	record_finish(&again, 0, &reader.header);
	if (ok)
	{
		RecordReader second;
		RecordEntry same;
		int left = 0;

		if (!record_open(buffer_slice(&again), &second, &err) || second.header.total != reader.header.total)
			abort();
		while (record_next(&second, &same, &done, &err) && !done)
			left++;
		if (!done)
			abort();
	}
	buffer_free(&again);
	return 0;
}
