/*
 * test_journal_forged.c -- bytes whose checksums are right and whose content is not: refused by name, wherever they are
 * read.  Another version, a program of somebody else or a defect of ours could have written them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "journal/journal.h"
#include "journal/journal_private.h"

#include "../fuzz/segments.h"

static const JournalIdentity identity = {
	.stream_id = {{1}}, .slot = "walrank", .start_lsn = 0x100, .complete = true};
static const JournalSettings settings = {.segment_bytes = 1 << 20};

static int
setup(void **state)
{
	memory_clear();
	fs = &memory_fs;
	return 0;
}

static int
teardown(void **state)
{
	memory_clear();
	fs = &fs_system;
	return 0;
}

/* ---- units ------------------------------------------------------------------------------------ */

#define RECORDS_MAX 4
#define WHOLE (SEGMENT_FIRST | SEGMENT_LAST)

typedef struct Forged
{
	const char *what; /* part of the message */
	struct
	{
		uint64_t seq;
		uint8_t type;
		uint8_t flags;
		const Unit *unit; /* before the payload */
		const char *payload;
	} records[RECORDS_MAX];
} Forged;

static const Unit first = {.seq = 1, .kind = UNIT_TXN, .end_lsn = 0x200, .now_us = 5};
static const Unit second = {.seq = 2, .kind = UNIT_TXN, .end_lsn = 0x300, .now_us = 5};
static const Unit lower = {.seq = 2, .kind = UNIT_TXN, .end_lsn = 0x1ff, .now_us = 5};
static const Unit third = {.seq = 3, .kind = UNIT_TXN, .end_lsn = 0x300, .now_us = 5};
static const Unit unknown_kind = {.seq = 1, .kind = (UnitKind) 99};
static const Unit no_number = {.seq = 0, .kind = UNIT_TXN};
static const Unit step_of_a_txn = {.seq = 1, .kind = UNIT_TXN, .step = BACKFILL_END};
static const Unit step_unknown = {.seq = 1, .kind = UNIT_BACKFILL, .step = (BackfillStep) 9};

static void
put_log(const Forged *forged, Slice snapshot)
{
	SegmentHeader header = {.stream_id = identity.stream_id, .number = 1};
	uint32_t seed = segment_seed(&header.stream_id, JOURNAL_MAGIC, 1);
	Error err;
	Buffer bytes = {0};
	Buffer payload = {0};
	uint64_t seq = 0;
	uint32_t index = 0;

	assert_true(journal_identity_write(MEMORY_DIR, &identity, &err));
	segment_header_put(&bytes, JOURNAL_MAGIC, &header, slice_make(NULL, 0));
	segments_record(&bytes, JOURNAL_MAGIC, seed, SEGMENT_PREAMBLE, WHOLE, (SegPosition){0, 0}, 0, snapshot);
	for (int i = 0; forged != NULL && i < RECORDS_MAX && forged->records[i].type != 0; i++)
	{
		const Unit *unit = forged->records[i].unit;

		index = forged->records[i].seq == seq ? index + 1 : 0;
		seq = forged->records[i].seq;
		buffer_reset(&payload);
		if (unit != NULL)
		{
			unit_encode(unit, buffer_reserve(&payload, UNIT_BYTES));
			payload.len = UNIT_BYTES;
		}
		if (forged->records[i].payload != NULL)
			buffer_append_slice(&payload, slice_string(forged->records[i].payload));
		segments_record(&bytes, JOURNAL_MAGIC, seed, forged->records[i].type, forged->records[i].flags,
						(SegPosition){seq, 0}, index, buffer_slice(&payload));
	}
	memory_put("0000000001.seg", buffer_slice(&bytes));
	buffer_free(&bytes);
	buffer_free(&payload);
}

static Buffer
empty_snapshot(void)
{
	JournalHead head = {.end_lsn = 0x100};
	Kept *kept = kept_create();
	Buffer out = {0};

	snapshot_put(&out, &head, kept);
	kept_destroy(kept);
	return out;
}

/* Whether reading from the start ends with an error that says so. */
static bool
reader_says(const char *what)
{
	JournalReader *reader;
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	Error err = {0};

	assert_true(journal_reader_open_dir(MEMORY_DIR, 1, &reader, &err));
	for (int i = 0; i < 100; i++)
	{
		event = journal_reader_next(reader, &unit, &type, &bytes, &err);
		if (event == JOURNAL_NOTHING || event == JOURNAL_ERROR)
			break;
	}
	journal_reader_close(reader);
	return event == JOURNAL_ERROR && strstr(err.message, what) != NULL;
}

static bool
is_refused(void)
{
	Journal *journal;
	Error err = {0};

	if (journal_open(MEMORY_DIR, &settings, &journal, &err))
	{
		journal_close(journal);
		return false;
	}
	assert_int_equal(err.class, ERR_REFUSE);
	return true;
}

static bool
verify_fails(void)
{
	JournalVerify report;
	Error err = {0};

	return !journal_verify(MEMORY_DIR, &report, &err) && err.message[0] != '\0';
}

#define FRAME (JOURNAL_HEADER | PART_FRAME)

static void
records_that_form_no_unit_are_told_by_the_reader(void **state)
{
	static const Forged forged[] = {
		{"do not form a unit", {{1, PART_FRAME, WHOLE, NULL, "a part without its header"}}},
		{"do not form a unit",
		 {{1, FRAME, SEGMENT_FIRST, &first, "x"}, {1, FRAME, SEGMENT_LAST, &first, "x"}}},
		{"do not form a unit", {{1, 0x80 | FRAME, WHOLE, &first, "a bit nobody knows"}}},
		{"do not form a unit", {{1, JOURNAL_HEADER | 0x0f, WHOLE, &first, "a part nobody knows"}}},
		{"do not form a unit", {{1, JOURNAL_KEPT, WHOLE, NULL, "a relation and no unit"}}},
		{"do not form a unit",
		 {{1, FRAME, SEGMENT_FIRST, &first, "x"},
		  {1, JOURNAL_KEPT, SEGMENT_LAST, NULL, "a relation inside"}}},
		{"bad header", {{1, FRAME, WHOLE, NULL, "short"}}},
		{"bad header", {{1, FRAME, WHOLE, &unknown_kind, NULL}}},
		{"bad header", {{1, FRAME, WHOLE, &no_number, NULL}}},
		{"bad header", {{1, FRAME, WHOLE, &step_of_a_txn, NULL}}},
		{"bad header", {{1, FRAME, WHOLE, &step_unknown, NULL}}},
		{"another number", {{1, FRAME, WHOLE, &second, NULL}}},
	};
	Buffer snapshot = empty_snapshot();

	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
	{
		put_log(&forged[i], buffer_slice(&snapshot));
		if (!reader_says(forged[i].what))
			fail_msg("%zu is not said to be \"%s\"", i, forged[i].what);
	}
	buffer_free(&snapshot);
}

static void
units_that_do_not_follow_are_refused_and_found_by_verify(void **state)
{
	static const Forged forged[] = {
		{"no header at all", {{1, PART_FRAME, WHOLE, NULL, "x"}}},
		{"a short one", {{1, FRAME, WHOLE, NULL, "short"}}},
		{"another number", {{1, FRAME, WHOLE, &second, NULL}}},
		{"backwards", {{1, FRAME, WHOLE, &first, "x"}, {2, FRAME, WHOLE, &lower, "x"}}},
	};
	static const Forged sound = {"", {{1, FRAME, WHOLE, &first, "x"}, {2, FRAME, WHOLE, &second, "x"}}};
	Buffer snapshot = empty_snapshot();

	put_log(&sound, buffer_slice(&snapshot));
	assert_false(is_refused());
	assert_false(verify_fails());
	for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++)
	{
		put_log(&forged[i], buffer_slice(&snapshot));
		if (!is_refused())
			fail_msg("%s: not refused", forged[i].what);
		put_log(&forged[i], buffer_slice(&snapshot));
		if (!verify_fails())
			fail_msg("%s: not found", forged[i].what);
	}
	buffer_free(&snapshot);
}

/* Nothing valid stands behind it: for the log that is a torn tail, and C3 knows whether anybody was promised more. */
static void
a_number_that_is_missing_ends_the_log(void **state)
{
	static const Forged forged = {"", {{1, FRAME, WHOLE, &first, "x"}, {3, FRAME, WHOLE, &third, "x"}}};
	Buffer snapshot = empty_snapshot();
	JournalVerify report;
	JournalHead head;
	Journal *journal;
	Error err;

	put_log(&forged, buffer_slice(&snapshot));
	assert_true(journal_verify(MEMORY_DIR, &report, &err));
	assert_true(report.torn_tail);
	assert_int_equal(report.last_seq, 1);
	assert_true(journal_open(MEMORY_DIR, &settings, &journal, &err));
	journal_appended(journal, &head);
	assert_int_equal(head.seq, 1);
	journal_close(journal);
	buffer_free(&snapshot);
}

static void
snapshots_that_are_none_are_refused(void **state)
{
	static const Forged sound = {"", {{1, FRAME, WHOLE, &first, "x"}}};
	Buffer snapshot = empty_snapshot();
	Buffer forged = {0};

	for (int i = 0; i < 5; i++)
	{
		buffer_reset(&forged);
		buffer_append_slice(&forged, buffer_slice(&snapshot));
		switch (i)
		{
			case 0:
				forged.len--; /* too short */
				break;
			case 1:
				forged.data[0]++; /* a version to come */
				break;
			case 2:
				forged.data[4]++; /* a relation that is not there */
				break;
			case 3:
				forged.data[4]++;
				buffer_append_u32(&forged, 1000); /* one that is longer than there is */
				break;
			case 4:
				forged.data[8]++; /* of another unit than its segment says */
				break;
		}
		put_log(&sound, buffer_slice(&forged));
		if (!is_refused())
			fail_msg("%d is not refused", i);
		put_log(&sound, buffer_slice(&forged));
		if (i != 4)
		{
			assert_true(reader_says(""));
			assert_true(verify_fails());
		}
	}
	/* with nothing behind it a SNAPSHOT has to fit its segment as well */
	put_log(NULL, buffer_slice(&forged));
	assert_true(is_refused());
	buffer_free(&snapshot);
	buffer_free(&forged);
}

/* ---- the identity ----------------------------------------------------------------------------- */

static const char good[] =
	"format=1\nstate=complete\nstream_id=07070701-0203-0405-0607-080901020304\n"
	"system_identifier=7\ndatabase_oid=5\ndatabase=shop\nslot=walrank\nplugin=walrank\n"
	"server_lsn=0/1000\nstart_lsn=0/2000\n";

static bool
identity_is_read(const char *text, JournalIdentity *read)
{
	Buffer bytes = {0};
	Error err;
	bool found;
	bool ok;

	buffer_append_slice(&bytes, slice_string(text));
	buffer_printf(&bytes, "crc32c=%08x\n", crc32c(0, text, strlen(text)));
	memory_put("identity", buffer_slice(&bytes));
	buffer_free(&bytes);
	ok = journal_identity_read(MEMORY_DIR, read, &found, &err);
	if (!ok)
		assert_int_equal(err.class, ERR_REFUSE);
	return ok;
}

static void
identities_with_a_line_too_many_too_few_or_odd_are_refused(void **state)
{
	static const struct
	{
		const char *from;
		const char *to;
	} changes[] = {
		{"format=1", "format=2"},
		{"state=complete", "state=perhaps"},
		{"stream_id=07070701", "stream_id=0707070x"},
		{"system_identifier=7", "system_identifier=seven"},
		{"system_identifier=7", "system_identifier=7x"},
		{"database_oid=5", "database_oid=4294967296"},
		{"database=shop", "database=sh%0"},
		{"database=shop", "database=sh%zz"},
		{"database=shop", "database=sh%00op"},
		{"database=shop", "database=a123456789012345678901234567890123456789012345678901234567890123"},
		{"server_lsn=0/1000", "server_lsn=1000"},
		{"start_lsn=0/2000\n", ""},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\nstart_lsn=0/2000\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\nadopted=perhaps\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\ntimeline=0\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\ntimeline=1\ntimeline=1\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\nreplaces=nobody\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\nunheard_of=1\n"},
		{"start_lsn=0/2000\n", "start_lsn=0/2000\nno equals sign\n"},
	};
	JournalIdentity read;

	assert_true(identity_is_read(good, &read));
	assert_int_equal(read.start_lsn, 0x2000);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
	{
		const char *at = strstr(good, changes[i].from);
		char text[1024];

		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int) (at - good), good, changes[i].to,
				 at + strlen(changes[i].from));
		if (identity_is_read(text, &read))
			fail_msg("\"%s\" is taken", changes[i].to);
	}
}

static void
what_not_every_identity_has_comes_back(void **state)
{
	JournalIdentity written = identity;
	JournalIdentity read;
	StreamId other;
	Error err;
	bool found;

	written.adopted = true;
	written.timeline = 3;
	for (int i = 0; i < JOURNAL_REPLACED_MAX + 2; i++)
	{
		other = (StreamId){{(uint8_t) (i + 10)}};
		journal_identity_replace(&written, &other);
		journal_identity_replace(&written, &other); /* once is enough */
	}
	journal_identity_replace(&written, &written.stream_id); /* nobody replaces itself */
	assert_int_equal(written.nreplaced, JOURNAL_REPLACED_MAX);
	assert_true(journal_identity_write(MEMORY_DIR, &written, &err));
	assert_true(journal_identity_read(MEMORY_DIR, &read, &found, &err) && found);
	assert_true(read.adopted);
	assert_int_equal(read.timeline, 3);
	assert_int_equal(read.nreplaced, JOURNAL_REPLACED_MAX);
	assert_true(journal_identity_replaces(&read, &other));
	other = (StreamId){{10}}; /* the oldest was forgotten */
	assert_false(journal_identity_replaces(&read, &other));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_that_form_no_unit_are_told_by_the_reader),
		TEST(units_that_do_not_follow_are_refused_and_found_by_verify),
		TEST(a_number_that_is_missing_ends_the_log),
		TEST(snapshots_that_are_none_are_refused),
		TEST(identities_with_a_line_too_many_too_few_or_odd_are_refused),
		TEST(what_not_every_identity_has_comes_back),
	};

	log_init(LOG_FATAL, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
