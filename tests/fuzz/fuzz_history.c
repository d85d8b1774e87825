/*
 * fuzz_history.c -- the answer to TIMELINE_HISTORY: any bytes give a position of an older timeline, or an error.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "stream/history.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	SourceTimeline out;
	Error err;
	uint32_t timeline;

	if (size < 1)
		return 0;
	timeline = data[0] % 8;
	if (history_timeline(slice_make(data + 1, size - 1), 8, timeline, &out, &err))
	{
		if ((out.found && timeline == 0) || (!out.found && out.left != 0))
			abort();
	}
	else if (err.class != ERR_DATA || err.message[0] == '\0')
		abort();
	return 0;
}
