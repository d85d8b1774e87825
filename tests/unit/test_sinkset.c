/*
 * test_sinkset.c -- sinks come, go, pause and resume; what is new begins where it was told to, what was emptied does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/from.h"
#include "daemon/sinkset.h"
#include "feed_fixture.h"

#define UNITS 400
#define WAIT_US INT64_C(10000000)

static const FixtureColumn columns[] = {{"id", "bigint", true}, {NULL, NULL, false}};
static FeedFixture f;
static SinkSet *set;
static Error err;

static void
unit(void)
{
	fixture_begin(&f, UNIT_TXN);
	fixture_score(&f, 1, 1, 1, key_int((int64_t) f.header.seq), 1);
	fixture_end(&f, true);
}

static void
set_start(void)
{
	const SinkSetParts parts = {
		.feed = f.feed, .history = {.stream_id = f.stream}, .state_dir = f.dir, .state_dirfd = f.dirfd};

	if (!sinkset_create(&parts, &set, &err))
		fail_msg("%s", err.message);
}

/* As after a rebuild. */
static void
set_start_in_another_stream(void)
{
	const StreamId other = {{9}};
	const SinkSetParts parts = {.feed = f.feed,
								.history = {.stream_id = other, .replaced = &f.stream, .nreplaced = 1},
								.state_dir = f.dir,
								.state_dirfd = f.dirfd};

	assert_true(sinkset_create(&parts, &set, &err));
}

static void
set_end(void)
{
	if (set != NULL)
		sinkset_stop(set, clock_monotonic_us() + WAIT_US);
	set = NULL;
}

static int
setup(void **state)
{
	fixture_segment_bytes = 4096;
	fixture_open(&f);
	fixture_begin(&f, UNIT_TXN);
	fixture_relation(&f, 1, "public", "item", "", columns);
	fixture_ranking(&f, 1, 1, "home");
	fixture_end(&f, true);
	for (int i = 1; i < UNITS; i++)
		unit();
	set_start();
	return 0;
}

static int
teardown(void **state)
{
	set_end();
	fixture_close(&f);
	return 0;
}

/* "a", "b start=now": a file sink each. */
static Config *
config_of(const char *const *sinks)
{
	Buffer text = {0};
	Config *config;

	buffer_printf(&text, "[source]\nconninfo = host=nowhere\n[state]\ndirectory = %s\n", f.dir);
	for (int i = 0; sinks[i] != NULL; i++)
	{
		const char *more = strchrnul(sinks[i], ' ');
		const int len = (int) (more - sinks[i]);

		if (strstr(more, "path") != NULL)
		{
			buffer_printf(&text, "[sink %.*s]\ntype = file\n%s\n", len, sinks[i], more + 1);
			continue;
		}
		buffer_printf(&text, "[sink %.*s]\ntype = file\npath = %s/%.*s.out\nflush_interval = 1ms\n%s\n", len,
					  sinks[i], f.dir, len, sinks[i], *more != '\0' ? more + 1 : "");
	}
	if (!config_parse("test", buffer_slice(&text), NULL, 0, &config, &err))
		fail_msg("%s", err.message);
	buffer_free(&text);
	return config;
}

/* As a reload does it; what changed, in words. */
static const char *
apply(const char *const *sinks)
{
	static char words[512];
	Config *config = config_of(sinks);
	Buffer said = {0};

	words[0] = '\0';
	if (!sinkset_admit(set, config, &err) || !sinkset_apply(set, config, &said, &err))
		snprintf(words, sizeof(words), "refused: %.400s", err.message);
	else
		snprintf(words, sizeof(words), "%.*s", (int) said.len, said.len > 0 ? (const char *) said.data : "");
	buffer_free(&said);
	config_free(config);
	return words;
}

#define APPLY(...) apply((const char *const[]){__VA_ARGS__, NULL})

static bool
view_of(const char *name, SinkView *view)
{
	for (int i = 0; sinkset_view(set, i, view); i++)
		if (strcmp(view->name, name) == 0)
			return true;
	return false;
}

static void
reaches(const char *name, uint64_t seq)
{
	const int64_t deadline_us = clock_monotonic_us() + WAIT_US;
	SinkView view;

	while (clock_monotonic_us() < deadline_us)
	{
		assert_true(view_of(name, &view));
		if (view.status.position.seq >= seq)
			return;
		usleep(1000);
	}
	fail_msg("sink %s is at %llu: %s", name, (unsigned long long) view.status.position.seq, view.status.note);
}

static SinkStatus
stopped(const char *name)
{
	const int64_t deadline_us = clock_monotonic_us() + WAIT_US;
	SinkView view = {0};

	while (clock_monotonic_us() < deadline_us && view_of(name, &view) && view.status.state != SINK_STOPPED)
		usleep(1000);
	assert_int_equal(view.status.state, SINK_STOPPED);
	return view.status;
}

/* The unit of the first line, and how many there are. */
static uint64_t
first_line(const char *name, int *lines)
{
	char path[128];
	char line[4096];
	uint64_t first = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.out", f.dir, name);
	file = fopen(path, "r");
	*lines = 0;
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if ((*lines)++ == 0)
			first = strtoull(strchr(line, ':') + 2, NULL, 10);
	if (file != NULL)
		fclose(file);
	return first;
}

static void
empty(const char *name)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -f '%s/%s.out' '%s/%s.out.ckpt'", f.dir, name, f.dir, name);
	assert_int_equal(system(command), 0);
}

static void
trimmed(void)
{
	MUST(feed_sync(f.feed, &fixture_error)); /* only what is synced is given up */
	MUST(feed_trim(f.feed, 300, &fixture_error));
	assert_true(feed_first_seq(f.feed) > 2);
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void
the_set_becomes_what_the_configuration_says(void **state)
{
	SinkView view;

	assert_string_equal(APPLY("a", "b"), "sink a added\nsink b added\n");
	reaches("a", UNITS);
	reaches("b", UNITS);
	assert_string_equal(APPLY("a", "b"), "");
	assert_string_equal(APPLY("b flush_rows=7", "c", "a"), "sink b changed\nsink c added\n");
	assert_true(sinkset_view(set, 0, &view));
	assert_string_equal(view.name, "b"); /* in the order of the configuration */
	assert_string_equal(APPLY("c"), "sink b removed\nsink a removed\n");
	assert_false(view_of("a", &view));
	reaches("c", UNITS);
}

static void
one_that_cannot_be_made_keeps_all_as_it_was(void **state)
{
	SinkView view;

	APPLY("a");
	assert_non_null(strstr(APPLY("b", "c path=/"), "refused: sink \"c\""));
	assert_true(view_of("a", &view));
	assert_false(view_of("b", &view));
}

static void
a_new_sink_begins_where_its_section_says(void **state)
{
	int lines;

	APPLY("a", "now start=now");
	reaches("a", UNITS);
	reaches("now", UNITS);
	unit();
	reaches("now", UNITS + 1);
	assert_int_equal(first_line("now", &lines), UNITS + 1);
	assert_int_equal(lines, 1);
	reaches("a", UNITS + 1);
	assert_int_equal(first_line("a", &lines), 2);
	assert_int_equal(lines, UNITS);
}

static void
oldest_is_the_oldest_record_that_is_still_there(void **state)
{
	uint64_t first;
	int lines;

	trimmed();
	first = feed_first_seq(f.feed);
	assert_string_equal(APPLY("late"), "sink late added\n");
	reaches("late", UNITS);
	assert_int_equal(first_line("late", &lines), first);
	assert_int_equal(lines, UNITS - first + 1);
}

/* K1: nothing but a person may say that what is missing does not matter. */
static void
an_emptied_sink_is_not_a_new_one(void **state)
{
	APPLY("a start=now");
	reaches("a", UNITS);
	trimmed();
	empty("a");
	assert_true(sinkset_pause(set, "a", &err));
	assert_true(sinkset_resume(set, "a", &err));
	assert_non_null(strstr(stopped("a").note, "rule K1"));
	/* until its section has gone and come back: then somebody says it is new */
	assert_string_equal(APPLY("b"), "sink a removed\nsink b added\n");
	assert_string_equal(APPLY("b", "a start=now"), "sink a added\n");
	reaches("a", UNITS);
}

static void
an_emptied_sink_is_refused_after_a_restart(void **state)
{
	APPLY("a");
	reaches("a", UNITS);
	trimmed();
	set_end();
	empty("a");
	set_start();
	APPLY("a");
	assert_non_null(strstr(stopped("a").note, "rule K1"));
}

static void
a_pause_lasts_across_restarts_and_holds_the_feed(void **state)
{
	SinkView view;

	APPLY("a", "b");
	reaches("a", UNITS);
	assert_true(sinkset_pause(set, "a", &err));
	unit();
	reaches("b", UNITS + 1);
	assert_true(view_of("a", &view));
	assert_int_equal(view.status.state, SINK_PAUSED);
	assert_int_equal(view.status.position.seq, UNITS);
	assert_false(sinkset_pause(set, "a", &err));
	assert_int_equal(err.class, ERR_CONFIG);
	set_end();
	set_start();
	APPLY("a", "b flush_rows=9");
	assert_true(view_of("a", &view));
	assert_int_equal(view.status.state, SINK_PAUSED);
	assert_int_equal(view.status.position.seq, UNITS);
	assert_string_equal(APPLY("a flush_rows=9", "b flush_rows=9"),
						"sink a changed\n"); /* also when it changes */
	assert_true(view_of("a", &view));
	assert_int_equal(view.status.state, SINK_PAUSED);
	assert_true(sinkset_resume(set, "a", &err));
	reaches("a", UNITS + 1);
	assert_false(sinkset_resume(set, "a", &err));
	assert_non_null(strstr(err.message, "is not paused"));
	assert_false(sinkset_pause(set, "none", &err));
	assert_non_null(strstr(err.hint, "a, b"));
}

/* Its units have the same numbers, and none of them is in the sink. */
static void
where_it_paused_in_a_replaced_stream_lets_nothing_go(void **state)
{
	SinkView view;

	APPLY("a");
	reaches("a", UNITS);
	assert_true(sinkset_pause(set, "a", &err));
	set_end();
	set_start_in_another_stream();
	APPLY("a");
	assert_true(view_of("a", &view));
	assert_int_equal(view.status.state, SINK_PAUSED);
	assert_int_equal(view.status.position.seq, 0);
	assert_int_equal(sinkset_lowest(set), 0);
}

static bool
look_at(void *context, const SinkConfig *config, Error *why)
{
	SinkView view;

	assert_true(view_of("a", &view)); /* who looks does not wait */
	assert_int_equal(view.status.state, SINK_STARTING);
	*(int *) context += 1;
	return error_set(why, ERR_DATA, "as it may happen");
}

static void
what_is_done_to_a_held_sink_ends_with_it_running(void **state)
{
	int calls = 0;

	APPLY("a");
	reaches("a", UNITS);
	assert_false(sinkset_hold(set, "a", look_at, &calls, &err));
	assert_string_equal(err.message, "as it may happen");
	assert_int_equal(calls, 1);
	unit();
	reaches("a", UNITS + 1);
	assert_false(sinkset_hold(set, "none", look_at, &calls, &err));
	assert_int_equal(calls, 1);
}

static bool
set_back(void *context, const SinkConfig *config, Error *why)
{
	const SinkHistory history = {.stream_id = f.stream};
	SinkView view;

	/* meanwhile nothing may be let go that it may need */
	assert_true(view_of("a", &view));
	assert_int_equal(view.status.position.seq, 0);
	return sink_replay(config, &history, f.dir, (SinkSource){.feed = f.feed, .dirfd = -1}, 10, why);
}

static void
a_paused_sink_that_is_set_back_holds_what_it_needs(void **state)
{
	SinkView view;

	APPLY("a");
	reaches("a", UNITS);
	assert_true(sinkset_pause(set, "a", &err));
	if (!sinkset_hold(set, "a", set_back, NULL, &err))
		fail_msg("%s", err.message);
	for (int restart = 0; restart <= 1; restart++)
	{
		assert_true(view_of("a", &view));
		assert_int_equal(view.status.state, SINK_PAUSED);
		assert_int_equal(view.status.position.seq, 9);
		set_end();
		set_start();
		APPLY("a");
	}
	assert_true(sinkset_resume(set, "a", &err));
	reaches("a", UNITS);
	assert_true(sinkset_hold(set, "a", set_back, NULL, &err));
	reaches("a", UNITS);
}

static bool
look_for_lowest(void *context, const SinkConfig *config, Error *why)
{
	assert_int_equal(sinkset_lowest(set), 0);
	return error_set(why, ERR_DATA, "as it may happen");
}

/* ---- who decides by them ------------------------------------------------------------------------------- */

static atomic_bool looked_enough;
static atomic_bool refused;

static void *
come_and_go(void *argument)
{
	Config *configs[200];

	for (int i = 0; i < 200; i++)
		configs[i] = i % 2 == 0 ? config_of((const char *const[]){"b", NULL})
								: config_of((const char *const[]){"a", "b", NULL});
	for (int i = 0; i < 200; i++)
	{
		Buffer said = {0};
		Error ignored;

		if (!sinkset_apply(set, configs[i], &said, &ignored))
			refused = true;
		buffer_free(&said);
		config_free(configs[i]);
	}
	atomic_store(&looked_enough, true);
	return NULL;
}

/* What b needs was once let go when a, before it, went between two looks. */
static void
no_sink_is_missed_while_others_come_and_go(void **state)
{
	static SinkView views[CONFIG_SINKS_MAX];
	pthread_t thread;
	uint64_t missed = 0;
	Lsn least;

	APPLY("a", "b");
	reaches("a", UNITS);
	reaches("b", UNITS);
	assert_true(sinkset_pause(set, "b", &err));
	least = sinkset_lowest(set);
	assert_true(least != 0 && least != UINT64_MAX);
	unit();
	reaches("a", UNITS + 1);
	assert_int_equal(sinkset_lowest(set), least);
	atomic_store(&looked_enough, false);
	pthread_create(&thread, NULL, come_and_go, NULL);
	while (!atomic_load(&looked_enough))
	{
		const int n = sinkset_views(set, views);

		missed += n < 1 || strcmp(views[n - 1].name, "b") != 0 || views[n - 1].status.position.seq != UNITS ||
				  sinkset_lowest(set) > least;
	}
	pthread_join(thread, NULL);
	assert_int_equal(missed, 0);
	assert_false(atomic_load(&refused));
}

/* Whoever may stand anywhere holds all; who was given up, nothing. */
static void
a_sink_not_heard_of_yet_holds_the_acknowledgement(void **state)
{
	assert_true(sinkset_lowest(set) == UINT64_MAX);
	APPLY("a");
	reaches("a", UNITS);
	assert_true(sinkset_lowest(set) > 0 && sinkset_lowest(set) < UINT64_MAX);
	assert_false(sinkset_hold(set, "a", look_for_lowest, NULL, &err));
	assert_true(sinkset_give_up(set, "a", &err));
	assert_true(sinkset_lowest(set) == UINT64_MAX);
}

/* ---- where --from is ---------------------------------------------------------------------------------- */

static void
from(const char *text, uint64_t wanted)
{
	const SinkSource source = {.feed = f.feed, .dirfd = -1};
	uint64_t seq = 0;

	if (!from_unit(source, text, &seq, &err))
		fail_msg("%s: %s", text, err.message);
	assert_int_equal(seq, wanted);
}

static void
not_from(const char *text, ErrorClass class, const char *words)
{
	const SinkSource source = {.feed = f.feed, .dirfd = -1};
	uint64_t seq;

	assert_false(from_unit(source, text, &seq, &err));
	assert_int_equal(err.class, class);
	if (strstr(err.message, words) == NULL && strstr(err.hint, words) == NULL)
		fail_msg("%s: %s. %s", text, err.message, err.hint);
}

/* Unit n begins at 0x1000000 + n * 0x100 and ends 0x80 later. */
static void
an_lsn_is_the_first_unit_that_ends_after_it(void **state)
{
	from("1", 1);
	from("17", 17);
	from("0/0", 1);
	from("0/1000500", 5);
	from("0/100057F", 5);
	from("0/1000580", 6);
	from("0/10005FF", 6);
	not_from("0/F000000", ERR_CONFIG, "the feed ends before");
	not_from("0", ERR_CONFIG, "neither an LSN nor");
	not_from("-1", ERR_CONFIG, "neither an LSN nor");
	not_from("1x", ERR_CONFIG, "neither an LSN nor");
	not_from("99999999999999999999", ERR_CONFIG, "neither an LSN nor");
}

static void
what_the_feed_has_let_go_is_refused_with_the_first_it_has(void **state)
{
	char first[32];
	char lsn[32];
	char hint[64];
	uint64_t seq;

	trimmed();
	seq = feed_first_seq(f.feed);
	snprintf(first, sizeof(first), "%llu", (unsigned long long) seq);
	snprintf(hint, sizeof(hint), "--from %llu", (unsigned long long) seq);
	from(first, seq);
	not_from("1", ERR_REFUSE, hint);
	not_from("0/1000500", ERR_REFUSE, hint);
	/* just before its commit record something else may have ended; at it, nothing that is missing */
	snprintf(lsn, sizeof(lsn), "0/%llX", 0x1000000ULL + seq * 0x100 - 1);
	not_from(lsn, ERR_REFUSE, hint);
	snprintf(lsn, sizeof(lsn), "0/%llX", 0x1000000ULL + seq * 0x100);
	from(lsn, seq);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_set_becomes_what_the_configuration_says, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_cannot_be_made_keeps_all_as_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_sink_begins_where_its_section_says, setup, teardown),
		cmocka_unit_test_setup_teardown(oldest_is_the_oldest_record_that_is_still_there, setup, teardown),
		cmocka_unit_test_setup_teardown(an_emptied_sink_is_not_a_new_one, setup, teardown),
		cmocka_unit_test_setup_teardown(an_emptied_sink_is_refused_after_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pause_lasts_across_restarts_and_holds_the_feed, setup, teardown),
		cmocka_unit_test_setup_teardown(where_it_paused_in_a_replaced_stream_lets_nothing_go, setup,
										teardown),
		cmocka_unit_test_setup_teardown(what_is_done_to_a_held_sink_ends_with_it_running, setup, teardown),
		cmocka_unit_test_setup_teardown(a_paused_sink_that_is_set_back_holds_what_it_needs, setup, teardown),
		cmocka_unit_test_setup_teardown(no_sink_is_missed_while_others_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(a_sink_not_heard_of_yet_holds_the_acknowledgement, setup, teardown),
		cmocka_unit_test_setup_teardown(an_lsn_is_the_first_unit_that_ends_after_it, setup, teardown),
		cmocka_unit_test_setup_teardown(what_the_feed_has_let_go_is_refused_with_the_first_it_has, setup,
										teardown),
	};

	log_init(LOG_FATAL, false); /* what is said is tested through the views */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
