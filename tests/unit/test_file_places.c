/*
 * test_file_places.c -- what the lines of a file come to in the end: the last word about each item and ranking counts, over
 * several files, and however few items fit into one pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* the code itself, with room for few: the library's then is not linked */
#define PASS_PLACES 16
#include "../../consumer/sinks/file_places.c"

#include "sink_drive.h"

#define KEYS 100
#define UNITS 200

static const FixtureColumn columns[] = {{"id", "text", true}, {NULL, NULL, false}};

static FeedFixture f;
static char path[128];
static FileOptions options;
static unsigned seed;

/* What is to be there: by ranking and key. NAN-free, so 0 says that nothing is. */
static double expected[3][KEYS];

static unsigned
dice(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

/* Keys with all that could confuse who looks for the end of a value. */
static Slice
key_of(unsigned id)
{
	static char text[64];

	snprintf(text, sizeof(text), "\"kind\":\"remove\"}, {[ \\ %u \xc3\xa9", id);
	return key_text(text);
}

static void
put_output(uint32_t change)
{
	const uint32_t ranking = 1 + dice(2);
	const unsigned id = dice(KEYS);

	if (dice(300) == 0)
	{
		fixture_remove(&f, change, 1, ranking, slice_make(NULL, 0));
		memset(expected[ranking], 0, sizeof(expected[ranking]));
	}
	else if (dice(3) == 0)
	{
		fixture_remove(&f, change, 1, ranking, key_of(id));
		expected[ranking][id] = 0;
	}
	else
	{
		expected[ranking][id] = 1 + dice(1000) / 8.0;
		fixture_score(&f, change, 1, ranking, key_of(id), expected[ranking][id]);
	}
}

static int
setup(void **state)
{
	fixture_open(&f);
	snprintf(path, sizeof(path), "%s/out.ndjson", f.dir);
	options = (FileOptions){.path = path, .rotate_bytes = 8192};
	memset(expected, 0, sizeof(expected));
	seed = 4711;
	for (int n = 0; n < UNITS; n++)
	{
		fixture_begin(&f, UNIT_TXN);
		if (n == 0)
		{
			fixture_relation(&f, 1, "public", "item", "", columns);
			fixture_ranking(&f, 1, 1, "home");
			fixture_ranking(&f, 2, 1, "away");
		}
		for (uint32_t change = 1; change <= 4; change++)
			put_output(change);
		fixture_end(&f, true);
	}
	return 0;
}

static int
teardown(void **state)
{
	fixture_close(&f);
	return 0;
}

static int visited;

static bool
visit(void *context, const SinkPlace *place, Error *err)
{
	const uint32_t ranking = slice_equal(place->ranking, slice_string("home")) ? 1 : 2;
	double(*left)[KEYS] = context;
	char key[128];
	unsigned id;

	snprintf(key, sizeof(key), "%.*s", (int) place->key.len, (const char *) place->key.data);
	assert_int_equal(sscanf(key, "{\"id\":\"\\\"kind\\\":\\\"remove\\\"}, {[ \\\\ %u ", &id), 1);
	assert_true(left[ranking][id] == place->score);
	assert_int_equal(place->tier, 0);
	assert_int_equal(place->pin, 0);
	assert_true(place->at.len > 20);
	left[ranking][id] = 0; /* each once */
	visited++;
	return true;
}

static void
all_places_are_visited_once_however_few_fit_into_a_pass(void **state)
{
	double left[3][KEYS];
	double none[3][KEYS] = {{0}};
	SinkPosition position;
	char second[160];
	Drive d;

	drive_create(&d, &sink_file, "lines", &options, &f);
	MUST(drive_open(&d));
	while (d.position.seq < UNITS)
		MUST(drive_all(&d, &f));
	snprintf(second, sizeof(second), "%s.2", path);
	assert_int_equal(access(second, R_OK), 0); /* it takes several files */

	memcpy(left, expected, sizeof(left));
	visited = 0;
	if (!file_places(d.sink, visit, left, &position, &d.err))
		fail_msg("%s", d.err.message);
	assert_memory_equal(left, none, sizeof(left));
	assert_true(visited > 4 * PASS_PLACES);
	assert_int_equal(position.seq, UNITS);
	assert_int_equal(position.applied, 4 * UNITS);
	drive_destroy(&d);
}

static void
what_has_no_checkpoint_or_lacks_a_file_is_refused(void **state)
{
	SinkPosition position;
	double left[3][KEYS];
	Drive d;

	memcpy(left, expected, sizeof(left));
	drive_create(&d, &sink_file, "lines", &options, &f);
	assert_false(file_places(d.sink, visit, left, &position, &d.err));
	assert_int_equal(d.err.class, ERR_CONFIG);
	assert_non_null(strstr(d.err.message, "no checkpoint"));
	MUST(drive_open(&d));
	MUST(drive_all(&d, &f));
	assert_int_equal(unlink(path), 0);
	assert_false(file_places(d.sink, visit, left, &position, &d.err));
	assert_int_equal(d.err.class, ERR_REFUSE);
	drive_destroy(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_places_are_visited_once_however_few_fit_into_a_pass, setup,
										teardown),
		cmocka_unit_test_setup_teardown(what_has_no_checkpoint_or_lacks_a_file_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
