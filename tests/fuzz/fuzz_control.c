/*
 * fuzz_control.c -- any bytes as a line to the control socket: understood, or refused in one JSON document.
 */
#include <jansson.h>
#include <stdlib.h>

#include "daemon/verbs.h"

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a verb does is not asked here: only that it got the words it needs. */
static bool
heard(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	size_t len = 0;

	for (int i = 0; i < CONTROL_ARGUMENTS_MAX && arguments[i] != NULL; i++)
		len += strlen(arguments[i]);
	buffer_printf(answer, "{\"bytes\":%zu}", len);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ControlVerb verbs[32] = {{0}};
	char line[CONTROL_LINE_BYTES_MAX + 1];
	Buffer answer = {0};
	json_t *root;

	for (int i = 0; i < 31 && steering_verbs[i].name != NULL; i++)
	{
		verbs[i] = steering_verbs[i];
		verbs[i].run = heard;
	}
	size = size < CONTROL_LINE_BYTES_MAX ? size : CONTROL_LINE_BYTES_MAX;
	memcpy(line, data, size);
	line[size] = '\0';
	control_answer(verbs, NULL, line, &answer);
	root = json_loadb((const char *) answer.data, answer.len, 0, NULL);
	if (!json_is_object(root))
		abort(); /* whatever comes, a client gets a document */
	json_decref(root);
	buffer_free(&answer);
	return 0;
}
