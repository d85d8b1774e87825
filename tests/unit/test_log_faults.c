/*
 * test_log_faults.c -- a life of journal and of feed in which every call to the file system fails once.
 *
 * The directory is in memory, so that each call of a few hundred can be the one that fails.  Whatever fails: it is said,
 * no descriptor is left open, what was called durable is found at the next opening, and a full disk is only waited for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "feed/feed.h"
#include "journal/journal.h"
#include "journal/journal_private.h"
#include "memory_fs.h"
#include "wire_put.h"

/* ---- the call that fails ---------------------------------------------------------------------- */

static int calls_left = -1; /* -1: none fails */
static int fault_errno;
static bool fault_met;
static FsOps ops;

static bool
fails(void)
{
	if (calls_left < 0 || calls_left-- > 0)
		return false;
	fault_met = true;
	errno = fault_errno;
	return true;
}

static int
faulty_open(int dirfd, const char *name, int flags, mode_t mode)
{
	return fails() ? -1 : memory_open(dirfd, name, flags, mode);
}

static ssize_t
faulty_pread(int fd, void *data, size_t len, off_t offset)
{
	return fails() ? -1 : memory_pread(fd, data, len, offset);
}

/* Half of it got there, as on a real disk. */
static ssize_t
faulty_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	if (!fails())
		return memory_pwrite(fd, data, len, offset);
	memory_pwrite(fd, data, len / 2, offset);
	errno = fault_errno;
	return -1;
}

static int
faulty_sync(int fd)
{
	return fails() ? -1 : 0;
}

static int
faulty_ftruncate(int fd, off_t len)
{
	return fails() ? -1 : memory_ftruncate(fd, len);
}

static int
faulty_renameat(int dirfd, const char *from, const char *to)
{
	return fails() ? -1 : memory_renameat(dirfd, from, to);
}

static int
faulty_unlinkat(int dirfd, const char *name)
{
	return fails() ? -1 : memory_unlinkat(dirfd, name);
}

static int
faulty_dup(int fd)
{
	return fails() ? -1 : memory_dup(fd);
}

static off_t
faulty_size(int fd)
{
	return fails() ? -1 : memory_size(fd);
}

static int
faulty_list(int dirfd, void (*seen)(void *context, const char *name), void *context)
{
	return fails() ? -1 : memory_list(dirfd, seen, context);
}

static int
setup(void **state)
{
	ops = memory_fs;
	ops.open = faulty_open;
	ops.pread = faulty_pread;
	ops.pwrite = faulty_pwrite;
	ops.fdatasync = ops.fsync = faulty_sync;
	ops.ftruncate = faulty_ftruncate;
	ops.renameat = faulty_renameat;
	ops.unlinkat = faulty_unlinkat;
	ops.dup = faulty_dup;
	ops.size = faulty_size;
	ops.list = faulty_list;
	fs = &ops;
	return 0;
}

static int
teardown(void **state)
{
	calls_left = -1;
	fs = &fs_system;
	return 0;
}

/* ---- journal ---------------------------------------------------------------------------------- */

#define UNITS 36

static const JournalSettings small = {.segment_bytes = 1500};
static const JournalIdentity identity = {.stream_id = {{7, 1}},
										 .system_identifier = 7,
										 .database_oid = 5,
										 .database = "shop",
										 .slot = "walrank",
										 .plugin = "walrank",
										 .server_lsn = 0x1000,
										 .start_lsn = 0x2000,
										 .complete = true};

/* What the caller of a life has been told. */
typedef struct Told
{
	bool complete; /* the identity says so */
	uint64_t durable;
	uint64_t trimmed;
	Error err;
} Told;

static Buffer
relation_entry(const char *table, uint64_t *fingerprint)
{
	Buffer rest = {0};
	Buffer body = {0};
	Buffer entry = {0};

	put_text(&rest, RELATION_SCHEMA, "public");
	put_text(&rest, RELATION_TABLE, table);
	*fingerprint = wire_fingerprint(buffer_slice(&rest));
	put_varint(&body, WIRE_TAG(RELATION_FINGERPRINT, WIRE_FIXED64));
	buffer_append_u64(&body, *fingerprint);
	buffer_append_slice(&body, buffer_slice(&rest));
	put_bytes(&entry, ENTRY_RELATION, buffer_slice(&body));
	buffer_free(&rest);
	buffer_free(&body);
	return entry;
}

static Slice
content(uint64_t seq, uint8_t data[40])
{
	memset(data, (int) seq, 40);
	return slice_make(data, 10 + seq % 30);
}

/* One attempt; nothing of it is left when it failed. */
static bool
try_unit(Journal *journal, uint64_t seq, Error *err)
{
	Unit unit = {.kind = UNIT_TXN, .commit_lsn = 0x2000 + seq * 16, .end_lsn = 0x2008 + seq * 16};
	uint8_t data[40];
	Error ignored;

	if (!journal_begin(journal, &unit, err))
		return false;
	assert_int_equal(unit.seq, seq);
	if (journal_part(journal, PART_FRAME, content(seq, data), err) &&
		(seq % 2 == 0 || journal_part(journal, PART_FRAME, content(seq, data), err)) &&
		journal_end(journal, err))
		return true;
	journal_abandon(journal, &ignored);
	return false;
}

static bool
no_space(const Error *err)
{
	return err->class == ERR_SPACE && fault_errno == ENOSPC;
}

static bool
append_unit(Journal *journal, uint64_t seq, Error *err)
{
	Unit progress = {.kind = UNIT_PROGRESS, .end_lsn = 0x2008 + seq * 16};

	if (seq % 9 == 0)
		return journal_append(journal, &progress, PART_DETAIL, slice_make(NULL, 0), false, err) ||
			   (no_space(err) &&
				journal_append(journal, &progress, PART_DETAIL, slice_make(NULL, 0), false, err));
	return try_unit(journal, seq, err) || (no_space(err) && try_unit(journal, seq, err));
}

static bool
flush_journal(Journal *journal, Error *err)
{
	return journal_flush(journal, err) || (no_space(err) && journal_flush(journal, err));
}

/* A unit too large for the buffer is given up when half of it is in the file. */
static bool
give_up_half(Journal *journal, uint64_t seq, Error *err)
{
	static const uint8_t zeros[600000];
	Unit unit = {.kind = UNIT_TXN, .commit_lsn = 0x2000 + seq * 16, .end_lsn = 0x2008 + seq * 16};
	bool ok = true;

	if (!journal_begin(journal, &unit, err))
		return no_space(err);
	for (int i = 0; ok && i < 3; i++)
		ok = journal_part(journal, PART_FRAME, slice_make(zeros, sizeof(zeros)), err);
	ok = ok || no_space(err);
	return journal_abandon(journal, err) && ok;
}

static bool
write_units(Journal *journal, uint64_t from, uint64_t to, Told *told)
{
	uint64_t fingerprint;
	Lsn lsn;

	for (uint64_t seq = from; seq <= to; seq++)
	{
		if (seq % 10 == 3)
		{
			Buffer entry = relation_entry(seq == 3 ? "item" : "shop", &fingerprint);

			journal_keep_relation(journal, fingerprint, buffer_slice(&entry));
			buffer_free(&entry);
		}
		if ((seq == 20 && !give_up_half(journal, seq, &told->err)) ||
			!append_unit(journal, seq, &told->err) || (seq % 3 == 0 && !flush_journal(journal, &told->err)) ||
			(seq % 7 == 0 && !journal_sync_step(journal, 0, &told->err)))
			return false;
		if (seq == 24)
		{
			if (!journal_trim(journal, 9, &told->err))
				return false;
			told->trimmed = 9;
		}
		journal_durable(journal, &told->durable, &lsn);
		if (told->durable > 0)
			assert_int_equal(lsn, 0x2008 + told->durable * 16);
	}
	return flush_journal(journal, &told->err);
}

/* Units from..: dense, whole, as they were written. Returns the last one. */
static bool
read_units(JournalReader *reader, uint64_t from, uint64_t *last, Error *err)
{
	JournalEvent event;
	PartType type;
	Slice bytes;
	Unit unit;
	uint8_t data[40];

	for (*last = from - 1;
		 (event = journal_reader_next(reader, &unit, &type, &bytes, err)) != JOURNAL_NOTHING;)
	{
		if (event == JOURNAL_ERROR)
			break;
		if (event == JOURNAL_UNIT)
			assert_int_equal(unit.seq, ++*last);
		if (event == JOURNAL_PART)
			assert_true(slice_equal(bytes, content(*last, data)));
	}
	journal_reader_close(reader);
	return event == JOURNAL_NOTHING;
}

static bool
create_journal(Journal **journal, Told *told)
{
	if (!journal_create(MEMORY_DIR, &small, &identity, journal, &told->err))
		return false;
	if (journal_identity_write(MEMORY_DIR, &identity, &told->err))
		return told->complete = true;
	journal_close(*journal);
	return false;
}

static void
tear_newest(void)
{
	for (int i = 9; i > 0; i--)
	{
		char name[32];
		MemoryFile *file;

		snprintf(name, sizeof(name), "%010d.seg", i);
		file = memory_find(name);
		if (file == NULL)
			continue;
		file->bytes.len -= 9;
		return;
	}
}

static bool
journal_life(Told *told)
{
	Journal *journal;
	JournalReader *reader;
	JournalVerify report;
	JournalHead head;
	uint64_t last;
	bool ok;

	if (!create_journal(&journal, told))
		return false;
	ok = write_units(journal, 1, UNITS, told) && journal_reader_open(journal, 12, &reader, &told->err) &&
		 read_units(reader, 12, &last, &told->err);
	journal_close(journal);
	if (!ok)
		return false;
	assert_int_equal(last, UNITS);
	tear_newest(); /* of the last, unsynced unit */
	if (!journal_open(MEMORY_DIR, &small, &journal, &told->err))
		return false;
	journal_appended(journal, &head);
	assert_int_equal(head.seq, UNITS - 1);
	told->durable = head.seq;
	ok = write_units(journal, UNITS, UNITS + 4, told);
	journal_close(journal);
	if (!ok || !journal_verify(MEMORY_DIR, &report, &told->err))
		return false;
	assert_int_equal(report.last_seq, UNITS + 4);
	assert_false(report.torn_tail);
	return journal_reader_open_dir(MEMORY_DIR, 30, &reader, &told->err) &&
		   read_units(reader, 30, &last, &told->err);
}

/* The disk is well again. */
static void
journal_is_found(Told *told)
{
	Journal *journal;
	JournalReader *reader;
	JournalHead head;
	uint64_t last;
	uint64_t first;
	Error err;

	if (!told->complete)
	{
		/* the identity file may have been replaced before the call that failed: then the log is there as well */
		if (!journal_open(MEMORY_DIR, &small, &journal, &err))
			assert_true(create_journal(&journal, told));
	}
	else if (!journal_open(MEMORY_DIR, &small, &journal, &err))
		fail_msg("%s", err.message);
	journal_appended(journal, &head);
	first = journal_first_seq(journal);
	assert_true(head.seq >= told->durable);
	assert_true(first <= (told->trimmed > 0 ? told->trimmed : 9));
	assert_true(journal_reader_open(journal, first, &reader, &err));
	assert_true(read_units(reader, first, &last, &err));
	assert_int_equal(last, head.seq);
	journal_close(journal);
}

static int
sweep(bool (*life)(Told *told), void (*found)(Told *told), int error)
{
	int n;

	fault_errno = error;
	fault_met = true;
	for (n = 0; fault_met && n < 5000; n++)
	{
		Told told = {.err = {.class = ERR_NONE}};
		bool ok;

		memory_clear();
		fault_met = false;
		calls_left = n;
		ok = life(&told);
		calls_left = -1;
		if (!ok)
		{
			assert_true(fault_met);
			assert_true(told.err.message[0] != '\0');
			assert_true(told.err.class == ERR_DISK || told.err.class == ERR_SPACE ||
						told.err.class == ERR_RETRY);
		}
		found(&told);
	}
	assert_false(fault_met); /* the last one went through undisturbed */
	memory_clear();			 /* and nobody left a descriptor open */
	return n;
}

static void
a_journal_outlives_any_call_that_fails(void **state)
{
	assert_true(sweep(journal_life, journal_is_found, EIO) > 150);
}

static void
a_journal_waits_for_space_at_any_call(void **state)
{
	assert_true(sweep(journal_life, journal_is_found, ENOSPC) > 150);
}

/* ---- feed ------------------------------------------------------------------------------------- */

static void
no_dictionary(void *context, Buffer *out)
{
}

static const FeedSettings feed_settings = {
	.segment_bytes = 1200, .stream_id = {{7, 1}}, .dictionary = no_dictionary};

/* The scorer's last position that the store has committed. */
static uint64_t committed;

static bool
feed_unit(Feed *feed, uint64_t seq, Error *err)
{
	RecordHeader header = {.kind = UNIT_PROGRESS, .seq = seq, .end_lsn = seq * 16, .last = true};
	Buffer record = {0};
	bool ok;

	record_begin(&record);
	record_finish(&record, 0, &header);
	ok = feed_append(feed, &header, buffer_slice(&record), err) ||
		 (no_space(err) && feed_append(feed, &header, buffer_slice(&record), err));
	buffer_free(&record);
	return ok;
}

static bool
write_feed(Feed *feed, uint64_t from, uint64_t to, Told *told)
{
	for (uint64_t seq = from; seq <= to; seq++)
	{
		if (!feed_unit(feed, seq, &told->err))
			return false;
		if (seq % 4 != 0)
			continue;
		if (!feed_flush(feed, &told->err) && !(no_space(&told->err) && feed_flush(feed, &told->err)))
			return false;
		committed = seq; /* R3: only then */
		if (seq % 8 == 0 && !feed_sync(feed, &told->err))
			return false;
	}
	return feed_trim(feed, 7, &told->err);
}

static bool
read_feed(FeedReader *reader, uint64_t from, uint64_t to, Error *err)
{
	RecordReader record;
	FeedEvent event;

	while ((event = feed_reader_next(reader, &record, err)) == FEED_RECORD)
		assert_int_equal(record.header.seq, from++);
	feed_reader_close(reader);
	if (event == FEED_NOTHING)
		assert_int_equal(from, to + 1);
	return event == FEED_NOTHING;
}

static bool
feed_life(Told *told)
{
	SegVerify report;
	FeedReader *reader;
	Feed *feed;
	bool ok;

	committed = 0;
	if (!feed_create(MEMORY_DIR, &feed_settings, &feed, &told->err))
		return false;
	told->complete = true;
	ok = write_feed(feed, 1, 40, told);
	if (ok)
	{
		feed_set_durable(feed, 38);
		ok = feed_reader_open(feed, 9, &reader, &told->err) && read_feed(reader, 9, 38, &told->err);
	}
	feed_close(feed);
	if (!ok)
		return false;
	committed = 36; /* the store came back from a snapshot */
	if (!feed_open(MEMORY_DIR, &feed_settings, committed, 0, &feed, &told->err))
		return false;
	ok = write_feed(feed, 37, 44, told);
	feed_close(feed);
	return ok && feed_verify(MEMORY_DIR, &report, &told->err) &&
		   feed_reader_open_dir(MEMORY_DIR, 30, &reader, &told->err) && read_feed(reader, 30, 44, &told->err);
}

static void
feed_is_found(Told *told)
{
	FeedReader *reader;
	Feed *feed;
	Error err;

	if (!told->complete)
	{
		assert_true(feed_create(MEMORY_DIR, &feed_settings, &feed, &err));
		feed_close(feed);
		return;
	}
	if (!feed_open(MEMORY_DIR, &feed_settings, committed, 0, &feed, &err))
		fail_msg("%s", err.message);
	feed_set_durable(feed, UINT64_MAX);
	assert_true(feed_reader_open(feed, feed_first_seq(feed), &reader, &err));
	assert_true(read_feed(reader, feed_first_seq(feed), committed, &err));
	feed_close(feed);
}

static void
a_feed_outlives_any_call_that_fails(void **state)
{
	assert_true(sweep(feed_life, feed_is_found, EIO) > 100);
}

static void
a_feed_waits_for_space_at_any_call(void **state)
{
	assert_true(sweep(feed_life, feed_is_found, ENOSPC) > 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_journal_outlives_any_call_that_fails),
		TEST(a_journal_waits_for_space_at_any_call),
		TEST(a_feed_outlives_any_call_that_fails),
		TEST(a_feed_waits_for_space_at_any_call),
	};

	log_init(LOG_FATAL, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
