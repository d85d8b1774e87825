/*
 * test_daemon_config.c -- a configuration is whole and valid, or names place, key and cure.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "score/store_internal.h"

static const char good[] = "; walrank.conf\n"
						   "[source]\n"
						   "conninfo = host=db user=walrankd dbname=shop   ; inline comment\n"
						   "slot = shop\n"
						   "status_interval = 5s\n"
						   "[state]\n"
						   "directory = /srv/walrank\n"
						   "[store]\n"
						   "map_size = 2GB\n"
						   "commit_time = 250ms\n"
						   "[sink out]\n"
						   "type = file\n"
						   "path = /srv/out.ndjson\n"
						   "flush_interval = 20ms\n"
						   "[sink scores]\n"
						   "conninfo = service=search\n"
						   "type = postgres\n";

static Config *
parse(const char *text)
{
	Config *config;
	Error err = {0};

	if (!config_parse("walrank.conf", slice_string(text), NULL, 0, &config, &err))
		fail_msg("%s", err.message);
	return config;
}

static void
refused(const char *text, const char *message, const char *hint)
{
	Config *config;
	Error err = {0};

	assert_false(config_parse("walrank.conf", slice_string(text), NULL, 0, &config, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	if (strstr(err.message, message) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.message, message);
	if (strstr(err.hint, hint) == NULL)
		fail_msg("\"%s\" does not hint \"%s\"", err.hint, hint);
}

static void
a_good_file_sets_what_it_says_and_defaults_the_rest(void **state)
{
	Config *config = parse(good);

	assert_string_equal(config->source.conninfo, "host=db user=walrankd dbname=shop");
	assert_string_equal(config->source.slot, "shop");
	assert_string_equal(config->source.publications, "walrank,walrank_config");
	assert_int_equal(config->source.status_interval_ms, 5000);
	assert_string_equal(config->state.directory, "/srv/walrank");
	assert_true(config->store.map_bytes == INT64_C(2) << 30);
	assert_int_equal(config->store.commit_time_ms, 250);
	assert_int_equal(config->store.commit_changes, 10000);
	assert_int_equal(config->nsinks, 2);
	assert_string_equal(config->sinks[0].name, "out");
	assert_ptr_equal(config->sinks[0].type, &sink_file);
	assert_int_equal(config->sinks[0].flush_interval_ms, 20);
	assert_int_equal(config->sinks[0].flush_rows, 10000);
	assert_ptr_equal(config->sinks[1].type, &sink_postgres); /* type may stand after other keys */
	config_free(config);
}

#define BASE "[source]\nconninfo = dbname=x\n"

static void
what_is_wrong_is_named_with_file_line_and_cure(void **state)
{
	refused(BASE "slto = x\n", "walrank.conf:3: unknown key \"slto\"", "Did you mean \"slot\"?");
	refused(BASE "[journal]\nsegment_size = 1MB\nquota = 7MB\n",
			"walrank.conf: [journal] quota is less than 8 times segment_size", "");
	refused(BASE "[jornal]\nsegment_size = 1MB\n", "walrank.conf:4: unknown section [jornal]",
			"Did you mean [journal]?");
	refused(BASE "[store]\nmap_size = 2 zebras\n", "walrank.conf:4: invalid value for \"map_size\"",
			"kB, MB or GB");
	refused(BASE "[store]\ncommit_time = 0\n", "out of range", "between");
	refused(BASE "[log]\nlevel = loud\n", "walrank.conf:4", "debug");
	refused("slot = x\n", "walrank.conf:1: a setting stands before", "");
	refused("[source]\nslot = x\n", "conninfo", "");
	refused(BASE "slot = Shop-1\n", "slot \"Shop-1\"", "");
	refused(BASE "conninfo = dbname=y\n", "walrank.conf:3: \"conninfo\" was set before, at line 2", "");
	refused(BASE "[state]\ndirectory = here\n", "not an absolute path", "");
	refused(BASE "what is this\n", "walrank.conf:3", "");
	refused(BASE "[sink a]\npath = /x\n", "[sink a] has no type", "");
	refused(BASE "[sink a]\ntype = kafka\n", "unknown sink type \"kafka\"", "file and postgres");
	refused(BASE "[sink A/../b]\ntype = file\n", "sink name", "");
	refused(BASE "[sink a]\ntype = file\n", "[sink a]", "path");
	refused(BASE "[sink a]\ntype = file\npath = /x\npth = /y\n", "walrank.conf:6: unknown key \"pth\"",
			"\"path\"");
	refused(BASE "[store]\nmap_size = 2GB\nmap_size_max = 1GB\n", "map_size is larger", "");
}

static void
no_limit_exceeds_what_plugin_and_store_can_do(void **state)
{
	Config *config = parse(BASE "max_value_bytes = 64MB\n[store]\nsnapshots = 32\n");

	assert_int_equal(config->source.max_value_bytes, 64 << 20);
	assert_true(config->store.snapshots < SNAPSHOTS_MAX); /* one more is there while the oldest goes */
	config_free(config);
	refused(BASE "max_value_bytes = 65MB\n", "out of range for \"max_value_bytes\"", "between 1kB and 64MB");
	refused(BASE "[store]\nsnapshots = 33\n", "out of range for \"snapshots\"", "between 1 and 32");
}

static void
an_indented_line_is_a_line_of_its_own(void **state)
{
	Config *config = parse("[source]\n  conninfo = dbname=x\n\tslot = y\n");

	assert_string_equal(config->source.conninfo, "dbname=x");
	assert_string_equal(config->source.slot, "y");
	config_free(config);
}

static void
a_line_too_long_to_be_read_is_refused_not_cut(void **state)
{
	char text[1024];

	snprintf(text, sizeof(text), "[source]\nconninfo = %0300d\n", 1);
	refused(text, "walrank.conf:2: line is longer", "service=");
	/* libinih cuts section names at 49 characters: two sinks must not become one */
	refused(BASE "[sink aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\ntype = file\npath = /x\n",
			"sink name", "");
}

static void
the_command_line_wins(void **state)
{
	const char *overrides[] = {"source.slot=other", "sink out.path=/tmp/x", "store.commit_changes=7"};
	const char *bad[] = {"source.slto=other"};
	const char *shapeless[] = {"slot"};
	Config *config;
	Error err;

	assert_true(config_parse("f", slice_string(good), overrides, 3, &config, &err));
	assert_string_equal(config->source.slot, "other");
	assert_int_equal(config->store.commit_changes, 7);
	config_free(config);
	assert_false(config_parse("f", slice_string(good), bad, 1, &config, &err));
	assert_non_null(strstr(err.message, "option -o: unknown key"));
	assert_false(config_parse("f", slice_string(good), shapeless, 1, &config, &err));
	assert_non_null(strstr(err.message, "section.key=value"));
}

static void
an_override_too_many_is_refused_not_ignored(void **state)
{
	enum
	{
		MANY = 5000
	};
	static char texts[MANY][32];
	static const char *overrides[MANY];
	Config *config;
	Error err;

	for (int i = 0; i < MANY; i++)
	{
		snprintf(texts[i], sizeof(texts[i]), "log.key%d=1", i);
		overrides[i] = texts[i];
	}
	assert_false(config_parse("f", slice_string(good), overrides, MANY, &config, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_non_null(strstr(err.message, "more than 4096 settings"));
}

static void
a_missing_file_is_named(void **state)
{
	Config *config;
	Error err;

	assert_false(config_read("/nonexistent/walrank.conf", NULL, 0, &config, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_non_null(strstr(err.message, "/nonexistent/walrank.conf"));
}

static void
reload_takes_what_may_change_and_names_the_rest(void **state)
{
	Config *live = parse(good);
	const char *overrides[] = {"log.level=debug", "store.commit_time=2s", "source.slot=z",
							   "sink out.flush_rows=5"};
	Config *fresh;
	Buffer restart = {0};
	Error err;

	assert_true(config_parse("f", slice_string(good), overrides, 4, &fresh, &err));
	config_reload(live, fresh, &restart);
	assert_int_equal(live->log.level, 0);
	assert_int_equal(live->store.commit_time_ms, 2000);
	assert_string_equal(live->source.slot, "shop");
	assert_int_equal(live->sinks[0].flush_rows, 10000); /* sinks are not this function's */
	assert_false(config_sink_equal(&live->sinks[0], &fresh->sinks[0]));
	assert_true(config_sink_equal(&live->sinks[1], &fresh->sinks[1]));
	assert_false(config_sink_equal(&live->sinks[0], &live->sinks[1]));
	assert_true(slice_equal(buffer_slice(&restart), slice_string("source.slot\n")));
	buffer_free(&restart);
	config_free(live);
	config_free(fresh);
}

static void
the_sample_in_the_documentation_is_valid(void **state)
{
	Config *config;
	Error err;

	if (!config_read("doc/walrank.conf.sample", NULL, 0, &config, &err))
		fail_msg("%s", err.message);
	assert_true(config->nsinks >= 1);
	config_free(config);
}

static void
ten_thousand_mutated_files_are_read_or_refused(void **state)
{
	char text[sizeof(good)];
	int accepted = 0;

	srand(7);
	for (int run = 0; run < 10000; run++)
	{
		size_t len = sizeof(good) - 1;
		Config *config;
		Error err = {0};

		memcpy(text, good, sizeof(good));
		for (int n = 1 + rand() % 8; n > 0; n--)
			text[(size_t) rand() % len] = (char) rand();
		if (rand() % 4 == 0)
			len = (size_t) rand() % len;
		if (config_parse("f", slice_make(text, len), NULL, 0, &config, &err))
		{
			assert_non_null(config->source.conninfo);
			config_free(config);
			accepted++;
		}
		else
		{
			assert_int_equal(err.class, ERR_CONFIG);
			assert_true(strlen(err.message) > 5);
		}
	}
	assert_in_range(accepted, 100, 9900);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_file_sets_what_it_says_and_defaults_the_rest),
		cmocka_unit_test(what_is_wrong_is_named_with_file_line_and_cure),
		cmocka_unit_test(no_limit_exceeds_what_plugin_and_store_can_do),
		cmocka_unit_test(an_indented_line_is_a_line_of_its_own),
		cmocka_unit_test(a_line_too_long_to_be_read_is_refused_not_cut),
		cmocka_unit_test(the_command_line_wins),
		cmocka_unit_test(an_override_too_many_is_refused_not_ignored),
		cmocka_unit_test(a_missing_file_is_named),
		cmocka_unit_test(reload_takes_what_may_change_and_names_the_rest),
		cmocka_unit_test(the_sample_in_the_documentation_is_valid),
		cmocka_unit_test(ten_thousand_mutated_files_are_read_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
