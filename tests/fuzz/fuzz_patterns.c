/*
 * fuzz_patterns.c -- the lists of the plugin's options attributes and messages: any text parses or is refused, and
 * what is parsed matches as the simplest matcher says.
 *
 * The plugin's source is taken as it is.  A memory context is a list here, so that what is read or written outside a
 * chunk is seen, and an input leaves nothing behind.
 */
#include "patterns.c"

static void *chunks[4 * PATTERNS_MAX];
static int nchunks;

void *
palloc(Size size)
{
	if (nchunks == (int) lengthof(chunks))
		abort();
	return chunks[nchunks++] = malloc(size);
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *pointer, Size size)
{
	int i = 0;

	while (chunks[i] != pointer)
		i++;
	return chunks[i] = realloc(pointer, size);
}

void
pfree(void *pointer)
{
	abort(); /* nothing here frees */
}

static void
reset_context(void)
{
	while (nchunks > 0)
		free(chunks[--nchunks]);
}

volatile sig_atomic_t InterruptPending;

void
ProcessInterrupts(void)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* By recursion over both; exponential, so for short ones. */
static bool
naive(Slice pattern, Slice name)
{
	if (pattern.len == 0)
		return name.len == 0;
	if (pattern.data[0] == '*')
		return naive(slice_make(pattern.data + 1, pattern.len - 1), name) ||
			   (name.len > 0 && naive(pattern, slice_make(name.data + 1, name.len - 1)));
	return name.len > 0 && pattern.data[0] == name.data[0] &&
		   naive(slice_make(pattern.data + 1, pattern.len - 1), slice_make(name.data + 1, name.len - 1));
}

static void
compare(const Patterns *patterns, Slice name)
{
	bool any = false;
	bool small = name.len <= 8;

	for (int i = 0; i < patterns->count; i++)
	{
		if (patterns->items[i].len == 0 || patterns->items[i].len > PATTERN_BYTES_MAX)
			abort();
		small &= patterns->items[i].len <= 8;
	}
	if (patterns_match(patterns, name) && !patterns_may_begin(patterns, name))
		abort(); /* what matches as a whole may begin a name */
	for (int i = 0; small && i < patterns->count; i++)
		any |= naive(patterns->items[i], name);
	if (small && any != patterns_match(patterns, name))
		abort();
}

/* The list, a zero byte, a name. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *list = malloc(size + 1);
	size_t len;
	Patterns *patterns;

	memcpy(list, data, size);
	list[size] = '\0';
	len = strlen(list);
	patterns = patterns_parse(list);
	if (patterns != NULL)
		compare(patterns, len < size ? slice_make(data + len + 1, size - len - 1) : slice_make(data, 0));
	reset_context();
	free(list);
	return 0;
}
