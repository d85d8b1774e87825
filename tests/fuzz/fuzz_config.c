/*
 * fuzz_config.c -- any bytes as walrank.conf: read, or refused with a message; never a crash or a leak.
 */
#include <stdlib.h>

#include "daemon/config.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Config *config;
	Error err = {0};

	if (config_parse("fuzz.conf", slice_make(data, size), NULL, 0, &config, &err))
	{
		Buffer restart = {0};

		config_reload(config, config, &restart);
		if (restart.len != 0)
			abort(); /* nothing differs from itself */
		buffer_free(&restart);
		config_free(config);
	}
	else if (err.class != ERR_CONFIG || err.message[0] == '\0')
		abort();
	return 0;
}
