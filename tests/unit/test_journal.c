/*
 * test_journal.c -- the journal: units whole and in order, nothing durable is ever lost.
 */
#include "test_disk_support.h"

#include <poll.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "journal/journal.h"

static const JournalSettings small = {.segment_bytes = 2000};
static const JournalIdentity identity = {.stream_id = {{7, 7, 7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4}},
										 .system_identifier = UINT64_C(7301234567890123456),
										 .database_oid = 16384,
										 .database = "shop\n=%\xc3\xa9",
										 .slot = "walrank",
										 .plugin = "walrank",
										 .server_lsn = 0x1000,
										 .start_lsn = 0x2000,
										 .complete = true};

/* ---- units whose content follows from their number -------------------------------------------- */

static Lsn
lsn_of(uint64_t seq)
{
	return 0x2000 + seq * 0x100;
}

static uint32_t
parts_of(uint64_t seq)
{
	return (uint32_t) (seq % 4);
}

static Slice
part_of(uint64_t seq, uint32_t part, uint8_t data[64])
{
	size_t len = (size_t) (seq * 5 + part * 11) % 64;

	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t) (seq + part * 3 + i);
	return slice_make(data, len);
}

static bool
append(Journal *journal, uint64_t seq, Error *err)
{
	Unit unit = {.kind = UNIT_TXN,
				 .commit_lsn = lsn_of(seq) - 0x30,
				 .end_lsn = lsn_of(seq),
				 .commit_time_us = (int64_t) (1000 * seq),
				 .now_us = (int64_t) (1000 * seq),
				 .xid = 700 + seq};
	uint8_t data[64];
	Error ignored;
	bool ok;

	if (!journal_begin(journal, &unit, err))
		return false;
	assert_int_equal(unit.seq, seq);
	ok = true;
	for (uint32_t i = 0; ok && i < parts_of(seq); i++)
		ok = journal_part(journal, PART_FRAME, part_of(seq, i, data), err);
	if (ok && journal_end(journal, err))
		return true;
	journal_abandon(journal, &ignored);
	return false;
}

static void
append_range(Journal *journal, uint64_t from, uint64_t to)
{
	Error err;

	for (uint64_t seq = from; seq <= to; seq++)
		assert_true(append(journal, seq, &err));
	assert_true(journal_flush(journal, &err));
}

/* Reads units from..to, then nothing. */
static void
check_reader(JournalReader *reader, uint64_t from, uint64_t to)
{
	JournalEvent event;
	uint8_t data[64];
	uint32_t parts = 0;
	PartType type;
	Slice bytes;
	Unit unit = {.seq = 0};
	Error err;

	while ((event = journal_reader_next(reader, &unit, &type, &bytes, &err)) != JOURNAL_NOTHING)
	{
		if (event == JOURNAL_ERROR)
			print_error("%s\n", err.message);
		assert_int_not_equal(event, JOURNAL_ERROR);
		if (event == JOURNAL_UNIT)
		{
			assert_int_equal(unit.seq, from);
			assert_int_equal(unit.kind, UNIT_TXN);
			assert_int_equal(unit.end_lsn, lsn_of(from));
			assert_int_equal(unit.xid, 700 + from);
			parts = 0;
		}
		else if (event == JOURNAL_PART)
		{
			assert_int_equal(type, PART_FRAME);
			assert_true(slice_equal(bytes, part_of(from, parts++, data)));
		}
		else if (event == JOURNAL_UNIT_END)
		{
			assert_int_equal(parts, parts_of(from));
			from++;
		}
	}
	assert_int_equal(from, to + 1);
}

static void
check(Journal *journal, uint64_t from, uint64_t to)
{
	JournalReader *reader;
	JournalHead head;
	Error err;

	journal_appended(journal, &head);
	assert_int_equal(head.seq, to);
	assert_int_equal(head.end_lsn, lsn_of(to));
	assert_true(journal_reader_open(journal, from, &reader, &err));
	check_reader(reader, from, to);
	journal_reader_close(reader);
}

static Journal *
create(void)
{
	Journal *journal;
	Error err;

	assert_true(journal_create(disk_dir, &small, &identity, &journal, &err));
	assert_true(journal_identity_write(disk_dir, &identity, &err));
	return journal;
}

static Journal *
reopen(void)
{
	Journal *journal;
	Error err;

	if (!journal_open(disk_dir, &small, &journal, &err))
		fail_msg("%s", err.message);
	return journal;
}

/* A Relation Entry with one column, as the plugin sends it. */
static Buffer
relation_entry(uint32_t oid, const char *table, uint64_t *fingerprint)
{
	Buffer body = {0};
	Buffer relation = {0};
	Buffer entry = {0};
	uint8_t number[10];

	buffer_printf(&body, "%c%cpublic%c%c%s", WIRE_TAG(RELATION_SCHEMA, WIRE_BYTES), 6,
				  WIRE_TAG(RELATION_TABLE, WIRE_BYTES), (int) strlen(table), table);
	buffer_append_byte(&body, WIRE_TAG(RELATION_OID, WIRE_VARINT));
	buffer_append(&body, number, (size_t) (wire_put_varint(number, oid) - number));
	buffer_printf(&body, "%c%c%c%cid%c%c%c%c", WIRE_TAG(RELATION_COLUMNS, WIRE_BYTES), 8,
				  WIRE_TAG(COLUMN_NAME, WIRE_BYTES), 2, WIRE_TAG(COLUMN_TYPE_OID, WIRE_VARINT), 23,
				  WIRE_TAG(COLUMN_KEY, WIRE_VARINT), 1);
	*fingerprint = wire_fingerprint(buffer_slice(&body));
	buffer_append_byte(&relation, WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64));
	buffer_append_u64(&relation, *fingerprint);
	buffer_append_slice(&relation, buffer_slice(&body));
	buffer_append_byte(&entry, WIRE_TAG(ENTRY_RELATION, WIRE_BYTES));
	buffer_append(&entry, number, (size_t) (wire_put_varint(number, relation.len) - number));
	buffer_append_slice(&entry, buffer_slice(&relation));
	buffer_free(&body);
	buffer_free(&relation);
	return entry;
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void
identity_comes_back_and_a_damaged_one_is_refused(void **state)
{
	JournalIdentity read;
	bool found;
	Error err;
	Buffer text;

	assert_true(journal_identity_read(disk_dir, &read, &found, &err));
	assert_false(found);
	assert_true(journal_identity_write(disk_dir, &identity, &err));
	assert_true(journal_identity_read(disk_dir, &read, &found, &err));
	assert_true(found && read.complete);
	assert_memory_equal(&read.stream_id, &identity.stream_id, 16);
	assert_int_equal(read.system_identifier, identity.system_identifier);
	assert_string_equal(read.database, identity.database);
	assert_string_equal(read.slot, identity.slot);
	assert_int_equal(read.start_lsn, identity.start_lsn);
	text = disk_read("identity");
	for (size_t i = 0; i < text.len; i++)
	{
		text.data[i] ^= 1;
		disk_write("identity", text.data, text.len);
		text.data[i] ^= 1;
		assert_false(journal_identity_read(disk_dir, &read, &found, &err));
		disk_write("identity", text.data, i);
		assert_false(journal_identity_read(disk_dir, &read, &found, &err));
	}
	buffer_free(&text);
}

static void
unit_header_keeps_every_field(void **state)
{
	Unit unit = {.seq = 1,
				 .kind = UNIT_BACKFILL,
				 .step = BACKFILL_END,
				 .commit_lsn = 2,
				 .end_lsn = 3,
				 .commit_time_us = -4,
				 .now_us = 5,
				 .xid = UINT64_C(6) << 32,
				 .timeline = 7,
				 .owner_epoch = 8,
				 .beat = 9,
				 .id = 10,
				 .chunk = 11,
				 .limit = 12,
				 .oid = 13,
				 .point = 14,
				 .last_chunk = true};
	uint8_t bytes[UNIT_BYTES];
	uint8_t again[UNIT_BYTES];
	Unit back;
	Error err;

	unit_encode(&unit, bytes);
	assert_true(unit_decode(slice_make(bytes, UNIT_BYTES), &back, &err));
	unit_encode(&back, again);
	assert_memory_equal(bytes, again, UNIT_BYTES);
	assert_int_equal(back.commit_time_us, -4);
	assert_int_equal(back.xid, UINT64_C(6) << 32);
	assert_int_equal(back.point, 14);
	assert_int_equal(back.limit, 12);
	assert_true(back.last_chunk);
	assert_false(unit_decode(slice_make(bytes, UNIT_BYTES - 1), &back, &err));
	bytes[8] = 99;
	assert_false(unit_decode(slice_make(bytes, UNIT_BYTES), &back, &err));
}

static void
units_come_back_after_reopen(void **state)
{
	Journal *journal = create();
	JournalVerify report;
	Error err;

	for (uint64_t to = 0; to < 100; to += 20)
	{
		append_range(journal, to + 1, to + 20);
		check(journal, 1, to + 20);
		journal_close(journal);
		journal = reopen();
		check(journal, to / 2 + 1, to + 20);
	}
	journal_close(journal);
	assert_true(journal_verify(disk_dir, &report, &err));
	assert_int_equal(report.units, 100);
	assert_int_equal(report.first_seq, 1);
	assert_int_equal(report.last_seq, 100);
	assert_int_equal(report.end_lsn, lsn_of(100));
	assert_true(report.segments > 3 && !report.torn_tail && report.bad_segment == 0);
}

static void
header_follows_the_rules_of_its_kind(void **state)
{
	Journal *journal = create();
	Unit unit = {.kind = UNIT_CONNECT, .timeline = 3, .owner_epoch = 5, .now_us = 999999999, .end_lsn = 1};
	JournalHead head;
	Error err;

	/* an empty journal stands at its start point */
	journal_appended(journal, &head);
	assert_int_equal(head.end_lsn, 0x2000);
	assert_true(journal_append(journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err));
	assert_int_equal(unit.seq, 1);
	assert_int_equal(unit.end_lsn, 0x2000);
	assert_int_equal(unit.now_us, 0); /* not a kind that brings time */
	unit = (Unit){.kind = UNIT_TXN,
				  .end_lsn = 0x3000,
				  .now_us = 5000,
				  .commit_time_us = 9000,
				  .xid = UINT64_C(1) << 40,
				  .beat = 17};
	assert_true(journal_append(journal, &unit, PART_FRAME, slice_string("x"), false, &err));
	assert_int_equal(unit.timeline, 3);
	assert_int_equal(unit.owner_epoch, 5);
	unit = (Unit){.kind = UNIT_TXN, .end_lsn = 0x3100, .now_us = 4000, .xid = 8};
	assert_true(journal_append(journal, &unit, PART_FRAME, slice_string("x"), false, &err));
	assert_int_equal(unit.now_us, 5000); /* time never goes back */
	assert_int_equal(unit.beat, 17);
	unit = (Unit){.kind = UNIT_TIMER, .id = 7000, .now_us = 7000};
	assert_true(journal_append(journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err));
	assert_int_equal(unit.now_us, 7000);
	assert_int_equal(unit.end_lsn, 0x3100);
	unit = (Unit){.kind = UNIT_GAP};
	assert_true(journal_append(journal, &unit, PART_DETAIL, slice_string("lost"), false, &err));
	assert_int_equal(unit.end_lsn, 0x3100);
	unit = (Unit){.kind = UNIT_PROGRESS, .end_lsn = 0x4000};
	assert_true(journal_append(journal, &unit, PART_DETAIL, slice_make(NULL, 0), false, &err));
	unit = (Unit){.kind = UNIT_GAP, .end_lsn = 0x5000, .point = 0x4000};
	assert_true(journal_append(journal, &unit, PART_DETAIL, slice_string("range"), false, &err));
	journal_close(journal);
	journal = reopen();
	journal_appended(journal, &head);
	assert_int_equal(head.seq, 7);
	assert_int_equal(head.end_lsn, 0x5000);
	assert_int_equal(head.now_us, 7000);
	assert_int_equal(head.xid, 8);
	assert_int_equal(head.timeline, 3);
	assert_int_equal(head.owner_epoch, 5);
	assert_int_equal(head.beat, 17);
	journal_close(journal);
}

/* The assertions are the last line of J2: they stay in release builds. */
static void
end_lsn_that_goes_back_stops_the_process(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0)
	{
		Journal *journal;
		Unit unit = {.kind = UNIT_TXN, .end_lsn = 0x1fff};
		Error err;

		signal(SIGABRT, SIG_DFL);
		if (freopen("/dev/null", "w", stderr) == NULL ||
			!journal_create(disk_dir, &small, &identity, &journal, &err))
			_exit(1);
		journal_begin(journal, &unit, &err);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void
abandoned_unit_takes_no_number(void **state)
{
	Journal *journal = create();
	Buffer big = {0};
	Error err;

	memset(buffer_reserve(&big, 3 << 20), 'b', 3 << 20);
	big.len = 3 << 20;
	for (uint64_t seq = 1; seq <= 30; seq++)
	{
		Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of(seq)};

		assert_true(journal_begin(journal, &unit, &err));
		assert_true(journal_part(journal, PART_FRAME, slice_string("first frame of it"), &err));
		if (seq % 3 == 0)
		{
			assert_true(journal_part(journal, PART_FRAME, buffer_slice(&big), &err));
			assert_true(journal_part(journal, PART_FRAME, buffer_slice(&big), &err));
		}
		assert_true(journal_abandon(journal, &err));
		append_range(journal, seq, seq);
	}
	check(journal, 1, 30);
	journal_close(journal);
	journal = reopen();
	check(journal, 1, 30);
	journal_close(journal);
	buffer_free(&big);
}

static void
relations_reach_every_reader_of_any_segment_alone(void **state)
{
	Journal *journal = create();
	JournalReader *reader;
	uint64_t fingerprints[3];
	Buffer entries[3];
	DiskImage image;
	Error err;

	for (int i = 0; i < 3; i++)
		entries[i] = relation_entry(100 + (uint32_t) i,
									i == 0	 ? "item"
									: i == 1 ? "dropped"
											 : "shop",
									&fingerprints[i]);
	journal_keep_relation(journal, fingerprints[0], buffer_slice(&entries[0]));
	append_range(journal, 1, 30);
	/* one that came in a frame that was cut: the unit that needs it comes later */
	{
		Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of(31)};

		assert_true(journal_begin(journal, &unit, &err));
		journal_keep_relation(journal, fingerprints[1], buffer_slice(&entries[1]));
		assert_true(journal_abandon(journal, &err));
	}
	append_range(journal, 31, 60);
	journal_keep_relation(journal, fingerprints[2], buffer_slice(&entries[2]));
	append_range(journal, 61, 61);
	journal_close(journal);
	journal = reopen();
	for (int i = 0; i < 3; i++)
		assert_true(journal_relation_known(journal, fingerprints[i]));
	assert_false(journal_relation_known(journal, 12345));
	journal_close(journal);

	/* delete the oldest segments one by one: what is left is read from its first whole unit on */
	disk_save(&image);
	assert_true(image.n > 5);
	for (int gone = 0; gone < image.n - 1; gone++)
	{
		uint64_t first;
		bool seen[3] = {false};
		JournalEvent event;
		PartType type;
		Slice bytes;
		Unit unit;

		if (gone > 0)
			unlinkat(disk_dir, image.files[gone - 1].name, 0);
		journal = reopen();
		first = journal_first_seq(journal);
		assert_true(gone == 0 ? first == 1 : first > 1);
		check(journal, first, 61);
		assert_true(journal_reader_open(journal, 61, &reader, &err));
		while ((event = journal_reader_next(reader, &unit, &type, &bytes, &err)) != JOURNAL_NOTHING)
		{
			assert_int_not_equal(event, JOURNAL_ERROR);
			for (int i = 0; event == JOURNAL_RELATION && i < 3; i++)
				seen[i] |= slice_equal(bytes, buffer_slice(&entries[i]));
		}
		assert_true(seen[0] && seen[1] && seen[2]);
		journal_reader_close(reader);
		if (first > 1)
			assert_false(journal_reader_open(journal, first - 1, &reader, &err));
		assert_false(journal_reader_open(journal, 63, &reader, &err));
		journal_close(journal);
	}
	for (int i = 0; i < 3; i++)
		buffer_free(&entries[i]);
	disk_image_free(&image);
}

static void
kept_relations_are_bounded_per_table(void **state)
{
	Journal *journal = create();
	uint64_t fingerprints[40];
	Error err;
	int known = 0;

	for (int i = 0; i < 40; i++)
	{
		char table[16];
		Buffer entry;

		snprintf(table, sizeof(table), "item%d", i);
		entry = relation_entry(100, table, &fingerprints[i]);
		journal_keep_relation(journal, fingerprints[i], buffer_slice(&entry));
		append_range(journal, (uint64_t) i + 1, (uint64_t) i + 1);
		buffer_free(&entry);
	}
	for (int i = 0; i < 40; i++)
		known += journal_relation_known(journal, fingerprints[i]);
	assert_int_equal(known, 8);
	assert_true(journal_relation_known(journal, fingerprints[39]));
	journal_keep_relation(journal, 1, slice_string("no relation"));
	assert_false(journal_relation_known(journal, 1));
	assert_true(journal_flush(journal, &err));
	journal_close(journal);
}

static void
durable_moves_only_with_sync_and_says_its_lsn(void **state)
{
	Journal *journal = create();
	struct pollfd ready = {.fd = journal_durable_fd(journal), .events = POLLIN};
	uint64_t seq;
	Lsn lsn;
	Error err;

	journal_durable(journal, &seq, &lsn);
	assert_int_equal(seq, 0);
	assert_int_equal(lsn, 0x2000);
	append_range(journal, 1, 50);
	assert_true(append(journal, 51, &err)); /* not flushed */
	journal_durable(journal, &seq, &lsn);
	assert_int_equal(seq, 0);
	assert_int_equal(poll(&ready, 1, 0), 0);
	assert_false(journal_wait_durable(journal, 1, 1000));
	assert_true(journal_sync_step(journal, 0, &err));
	journal_durable(journal, &seq, &lsn);
	assert_int_equal(seq, 50);
	assert_int_equal(lsn, lsn_of(50));
	assert_int_equal(poll(&ready, 1, 0), 1);
	assert_true(journal_wait_durable(journal, 50, 0));
	journal_close(journal);
}

static void *
sync_body(void *context)
{
	Journal *journal = context;
	uint64_t seq = 0;
	Lsn lsn;
	Error err;

	while (seq < 400 && journal_sync_step(journal, 100000, &err))
		journal_durable(journal, &seq, &lsn);
	return NULL;
}

static void *
other_writer(void *context)
{
	Journal *journal = context;
	Error err;

	for (int i = 0; i < 100; i++)
	{
		Unit unit = {.kind = UNIT_TIMER, .id = (uint64_t) i, .now_us = i};

		assert_true(journal_append(journal, &unit, PART_DETAIL, slice_string("t"), i % 10 == 0, &err));
	}
	return NULL;
}

/* "TIMER appended between two frames of a transaction" */
static void
units_of_other_threads_stand_between_units_never_inside(void **state)
{
	Journal *journal = create();
	pthread_t threads[3];
	JournalReader *reader;
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	uint64_t units = 0;
	uint32_t parts = 0;
	Error err;

	pthread_create(&threads[0], NULL, sync_body, journal);
	pthread_create(&threads[1], NULL, other_writer, journal);
	pthread_create(&threads[2], NULL, other_writer, journal);
	for (uint64_t i = 1; i <= 200; i++)
	{
		unit = (Unit){.kind = UNIT_TXN, .end_lsn = lsn_of(i), .now_us = (int64_t) i};
		assert_true(journal_begin(journal, &unit, &err));
		for (int part = 0; part < 5; part++)
		{
			assert_true(journal_part(journal, PART_FRAME, slice_string("frame"), &err));
			assert_true(journal_flush(journal, &err)); /* its own holder may */
			if (i % 50 == 0)
				usleep(100);
		}
		assert_true(journal_end(journal, &err));
	}
	assert_true(journal_flush(journal, &err));
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_true(journal_reader_open(journal, 1, &reader, &err));
	while ((event = journal_reader_next(reader, &unit, &type, &bytes, &err)) != JOURNAL_NOTHING)
	{
		assert_int_not_equal(event, JOURNAL_ERROR);
		if (event == JOURNAL_UNIT)
		{
			assert_int_equal(unit.seq, ++units);
			parts = 0;
		}
		parts += event == JOURNAL_PART;
		if (event == JOURNAL_UNIT_END)
			assert_int_equal(parts, unit.kind == UNIT_TXN ? 5 : 1);
	}
	assert_int_equal(units, 400);
	journal_reader_close(reader);
	journal_close(journal);
}

static void *
try_append(void *context)
{
	Unit unit = {.kind = UNIT_GAP, .id = 1};
	Error err = {.class = ERR_NONE};

	return (
		void *) (uintptr_t) (journal_try_append(context, &unit, PART_DETAIL, slice_string("g"), 1000, &err)
								 ? ERR_NONE
								 : err.class);
}

static ErrorClass
try_in_a_thread(Journal *journal)
{
	pthread_t thread;
	void *class;

	pthread_create(&thread, NULL, try_append, journal);
	pthread_join(thread, &class);
	return (ErrorClass) (uintptr_t) class;
}

/* Who makes space was once kept waiting by the transaction that waited for it. */
static void
a_unit_of_another_thread_is_not_waited_for_longer_than_said(void **state)
{
	Journal *journal = create();
	Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of(1), .now_us = 1};
	JournalHead head;
	Error err;

	assert_true(journal_begin(journal, &unit, &err));
	assert_true(journal_part(journal, PART_FRAME, slice_string("frame"), &err));
	assert_int_equal(try_in_a_thread(journal), ERR_RETRY);
	assert_true(journal_end(journal, &err));
	assert_int_equal(try_in_a_thread(journal), ERR_NONE);
	journal_appended(journal, &head);
	assert_int_equal(head.seq, 2);
	journal_close(journal);
}

/* ---- faults ----------------------------------------------------------------------------------- */

/* Appends and syncs until done or failed. Returns what the journal has called durable. */
static uint64_t
work(Journal *journal, uint64_t from, uint64_t to, bool *failed)
{
	uint64_t durable;
	Lsn lsn;
	Error err;

	*failed = false;
	for (uint64_t seq = from; seq <= to && !*failed; seq++)
	{
		*failed = !append(journal, seq, &err) || (seq % 3 == 0 && !journal_flush(journal, &err)) ||
				  (seq % 7 == 0 && !journal_sync_step(journal, 0, &err));
		if (seq % 5 == 0 && !*failed)
		{
			/* a large one that is cut after half of it reached the file */
			Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of(seq + 1)};

			if (journal_begin(journal, &unit, &err))
			{
				static const uint8_t zeros[700000];

				for (int i = 0; i < 3; i++)
					journal_part(journal, PART_FRAME, slice_make(zeros, sizeof(zeros)), &err);
				*failed = !journal_abandon(journal, &err);
			}
		}
	}
	journal_durable(journal, &durable, &lsn);
	assert_int_equal(lsn, lsn_of(durable));
	return durable;
}

static void
power_cut_after_any_failing_call_loses_nothing_durable(void **state)
{
	unsigned all = DISK_OPEN | DISK_PWRITE | DISK_FDATASYNC | DISK_FSYNC | DISK_FTRUNCATE;
	bool failed = true;
	int runs = 0;

	for (int n = 1; failed && n < 500; n++)
		for (uint32_t seed = 0; seed < 3; seed++)
		{
			Journal *journal;
			JournalHead head;
			uint64_t durable;

			disk_heal();
			disk_clear();
			fs = &disk_ops;
			disk.tracking = true;
			journal = create();
			disk_faulty(all, n, EIO, 1);
			durable = work(journal, 1, 60, &failed);
			if (failed)
			{
				/* poisoned: it must not call anything else durable */
				Error err;
				uint64_t after;
				Lsn lsn;

				assert_false(journal_flush(journal, &err));
				assert_int_equal(err.class, ERR_DISK);
				assert_false(journal_sync_step(journal, 0, &err));
				journal_durable(journal, &after, &lsn);
				assert_int_equal(after, durable);
			}
			journal_close(journal);
			disk_power_cut(seed * 77777);
			disk_faulty(0, 0, 0, 0);
			journal = reopen();
			journal_appended(journal, &head);
			assert_true(head.seq >= durable);
			check(journal, 1, head.seq);
			append_range(journal, head.seq + 1, head.seq + 20);
			check(journal, 1, head.seq + 20);
			journal_close(journal);
			runs++;
		}
	assert_false(failed);
	assert_true(runs > 100);
}

static void
power_cut_during_recovery_loses_nothing_durable(void **state)
{
	unsigned all = DISK_PWRITE | DISK_FDATASYNC | DISK_FSYNC | DISK_FTRUNCATE | DISK_UNLINK;
	DiskImage image;
	Journal *journal;
	uint64_t durable;
	JournalHead head;
	bool failed;
	Error err;

	/* a synced half, then segments nobody synced, one of them torn */
	journal = create();
	durable = work(journal, 1, 35, &failed);
	append_range(journal, 36, 75);
	journal_close(journal);
	disk_save(&image);
	for (int n = 1; n < 20; n++)
		for (size_t torn = 0; torn < 3; torn++)
		{
			disk_restore(&image);
			disk_write(image.files[image.n - 2 - (int) torn].name,
					   image.files[image.n - 2 - (int) torn].bytes.data,
					   image.files[image.n - 2 - (int) torn].bytes.len - 50);
			disk_faulty(all, n, EIO, 1);
			if (journal_open(disk_dir, &small, &journal, &err))
				journal_close(journal);
			disk_faulty(0, 0, 0, 0);
			journal = reopen();
			journal_appended(journal, &head);
			assert_true(head.seq >= durable);
			check(journal, 1, head.seq);
			journal_close(journal);
		}
	disk_image_free(&image);
}

/* A killed process leaves its bytes in the kernel: whoever opens calls them durable, and has to make them so. */
static void
what_recovery_calls_durable_survives_a_power_cut(void **state)
{
	Journal *journal;
	JournalHead head;
	uint64_t durable;
	Lsn lsn;

	fs = &disk_ops;
	disk.tracking = true;
	journal = create();
	append_range(journal, 1, 70);
	journal_close(journal);
	journal = reopen();
	journal_durable(journal, &durable, &lsn);
	assert_int_equal(durable, 70);
	assert_int_equal(lsn, lsn_of(70));
	journal_close(journal);
	disk_power_cut(0);
	journal = reopen();
	journal_appended(journal, &head);
	assert_int_equal(head.seq, 70);
	check(journal, 1, 70);
	journal_close(journal);
}

static void
full_disk_fails_the_append_and_nothing_else(void **state)
{
	for (int n = 1; n < 40; n++)
	{
		Journal *journal;
		Error err;

		disk_heal();
		disk_clear();
		journal = create();
		disk_faulty(DISK_PWRITE | DISK_OPEN, n, ENOSPC, 2);
		disk.short_write = true;
		for (uint64_t seq = 1; seq <= 30; seq++)
		{
			Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of(seq), .now_us = (int64_t) seq, .xid = 700 + seq};
			uint8_t data[64];
			int tries = 0;

			/* failed means not appended: the same unit is tried again and gets the same number */
			if (parts_of(seq) == 1)
				while (!journal_append(journal, &unit, PART_FRAME, part_of(seq, 0, data), false, &err))
					assert_true(err.class == ERR_SPACE && tries++ < 5);
			else
				while (!append(journal, seq, &err))
					assert_true(err.class == ERR_SPACE && tries++ < 5);
			assert_true(seq != unit.seq || parts_of(seq) == 1);
			while (!journal_flush(journal, &err))
				assert_true(err.class == ERR_SPACE && tries++ < 5);
		}
		check(journal, 1, 30);
		journal_close(journal);
		disk_heal();
		journal = reopen();
		check(journal, 1, 30);
		journal_close(journal);
	}
}

static void
trim_keeps_what_is_asked_for(void **state)
{
	Journal *journal = create();
	uint64_t before;
	Error err;

	append_range(journal, 1, 100);
	assert_true(journal_sync_step(journal, 0, &err));
	before = journal_bytes(journal);
	assert_true(journal_trim(journal, 60, &err));
	assert_true(journal_first_seq(journal) > 30 && journal_first_seq(journal) <= 60);
	assert_true(journal_bytes(journal) < before);
	check(journal, 60, 100);
	journal_close(journal);
	journal = reopen();
	check(journal, 60, 100);
	append_range(journal, 101, 110);
	check(journal, 60, 110);
	assert_true(journal_sync_step(journal, 0, &err));
	/* wherever a segment ends */
	for (uint64_t below = 61; below <= 110; below++)
	{
		assert_true(journal_trim(journal, below, &err));
		assert_in_range(journal_first_seq(journal), 1, below);
		check(journal, below, 110);
	}
	journal_close(journal);
}

static void
unfinished_creation_is_no_journal(void **state)
{
	JournalIdentity creating = identity;
	Journal *journal;
	Error err;

	assert_false(journal_open(disk_dir, &small, &journal, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	creating.complete = false;
	creating.start_lsn = 0;
	assert_true(journal_identity_write(disk_dir, &creating, &err));
	assert_false(journal_open(disk_dir, &small, &journal, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	/* complete identity, journal gone */
	assert_true(journal_identity_write(disk_dir, &identity, &err));
	assert_false(journal_open(disk_dir, &small, &journal, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	journal_close(create());
	journal_close(create());
}

static int
setup(void **state)
{
	disk_open();
	return 0;
}

static int
teardown(void **state)
{
	disk_heal();
	disk_close();
	return 0;
}

/* A floor that only something quadratic, or a write per unit, falls below: sanitizers pass it too. */
static void
many_small_units_stay_cheap(void **state)
{
	JournalSettings settings = {.segment_bytes = 64 << 20};
	uint8_t frame[150] = {1};
	Journal *journal;
	int64_t start;
	int n = 400000;
	double rate;
	Error err;

	assert_true(journal_create(disk_dir, &settings, &identity, &journal, &err));
	start = clock_monotonic_us();
	for (int i = 0; i < n; i++)
	{
		Unit unit = {.kind = UNIT_TXN, .end_lsn = lsn_of((uint64_t) i + 1), .now_us = i};

		assert_true(journal_begin(journal, &unit, &err) &&
					journal_part(journal, PART_FRAME, slice_make(frame, sizeof(frame)), &err) &&
					journal_end(journal, &err));
		if (i % 100 == 99)
			assert_true(journal_flush(journal, &err));
	}
	assert_true(journal_flush(journal, &err));
	rate = n * 1e6 / (double) (clock_monotonic_us() - start);
	print_message("%.0f units/s\n", rate);
	journal_close(journal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity_comes_back_and_a_damaged_one_is_refused),
		TEST(unit_header_keeps_every_field),
		TEST(units_come_back_after_reopen),
		TEST(header_follows_the_rules_of_its_kind),
		TEST(end_lsn_that_goes_back_stops_the_process),
		TEST(abandoned_unit_takes_no_number),
		TEST(relations_reach_every_reader_of_any_segment_alone),
		TEST(kept_relations_are_bounded_per_table),
		TEST(durable_moves_only_with_sync_and_says_its_lsn),
		TEST(units_of_other_threads_stand_between_units_never_inside),
		TEST(a_unit_of_another_thread_is_not_waited_for_longer_than_said),
		TEST(power_cut_after_any_failing_call_loses_nothing_durable),
		TEST(power_cut_during_recovery_loses_nothing_durable),
		TEST(what_recovery_calls_durable_survives_a_power_cut),
		TEST(full_disk_fails_the_append_and_nothing_else),
		TEST(trim_keeps_what_is_asked_for),
		TEST(unfinished_creation_is_no_journal),
		TEST(many_small_units_stay_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
