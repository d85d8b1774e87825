/*
 * test_store.c -- the store keeps what was committed, and says so when it cannot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "score/store_internal.h"

#define FULL_HASH (~UINT64_C(0))

static const StreamId stream = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static StoreSettings settings;
static char path[64];
static int dirfd;
static Error err;

/* ---- helpers ---------------------------------------------------------------------------------- */

static int
setup(void **state)
{
	settings = (StoreSettings){UINT64_C(1) << 20, UINT64_C(256) << 20, 2, 0, FULL_HASH, NULL, NULL};
	strcpy(path, "/tmp/test_store.XXXXXX");
	if (mkdtemp(path) == NULL)
		return -1;
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error_clear(&err);
	return dirfd < 0;
}

static int
teardown(void **state)
{
	char command[128];

	fs = &fs_system;
	close(dirfd);
	snprintf(command, sizeof(command), "rm -rf %s", path);
	return system(command);
}

#define assert_ok(call)                                                                                      \
	do                                                                                                       \
	{                                                                                                        \
		if (!(call))                                                                                         \
			fail_msg("%s: %s", #call, err.message);                                                          \
	} while (0)

static void
assert_fails(bool ok, ErrorClass class, const char *part)
{
	assert_false(ok);
	if (err.class != class || strstr(err.message, part) == NULL)
		fail_msg("class %d \"%s\" instead of class %d \"..%s..\"", err.class, err.message, class, part);
}

static Store *
create(void)
{
	StoreHeader header = {stream, STORE_FORMAT, 1, 42};
	Store *store;

	assert_ok(store_create(dirfd, &settings, &header, &store, &err));
	return store;
}

static bool
try_open(uint64_t last_seq, uint64_t durable_seq, Store **store)
{
	error_clear(&err);
	return store_open(dirfd, &settings, &stream, last_seq, durable_seq, store, &err);
}

static Store *
open_store(uint64_t last_seq)
{
	Store *store;

	assert_ok(try_open(last_seq, last_seq, &store));
	return store;
}

static Slice
text(const char *s)
{
	return slice_string(s);
}

static void
put(Store *store, uint32_t relation, Slice key, Slice value)
{
	assert_ok(store_item_put(store, relation, key, value, &err));
}

static void
put_number(Store *store, uint32_t relation, uint64_t number, uint64_t value)
{
	uint8_t bytes[200] = {0};

	memcpy(bytes, &value, 8);
	put(store, relation, slice_make(&number, 8), slice_make(bytes, sizeof(bytes)));
}

static bool
get_number(Store *store, uint32_t relation, uint64_t number, uint64_t *value)
{
	Slice found_value;
	bool found;

	assert_ok(store_item_get(store, relation, slice_make(&number, 8), &found_value, &found, &err));
	if (found)
		memcpy(value, found_value.data, 8);
	return found;
}

static void
expect(Store *store, uint32_t relation, Slice key, const char *value)
{
	Slice got;
	bool found;

	assert_ok(store_item_get(store, relation, key, &got, &found, &err));
	assert_int_equal(found, value != NULL);
	if (value != NULL)
		assert_true(slice_equal(got, text(value)));
}

static void
commit_at(Store *store, uint64_t seq)
{
	store_set_position(store, (StorePosition){.seq = seq, .total = seq * 10});
	assert_ok(store_commit(store, &err));
}

static void
close_clean(Store *store)
{
	assert_ok(store_close_clean(store, &err));
}

static uint64_t
snapshot(Store *store)
{
	uint64_t seq;

	assert_ok(store_snapshot(store, &seq, &err));
	return seq;
}

/* As after a power cut: another boot. */
static void
mark_other_boot(void)
{
	Mark mark;

	assert_ok(store_mark_now(dirfd, MARK_OPEN, &mark, &err));
	strcpy(mark.boot_id, "00000000-0000-0000-0000-000000000000");
	assert_ok(store_mark_write(dirfd, &mark, &err));
}

static MarkState
mark_state(void)
{
	Mark mark;
	bool found;

	assert_ok(store_mark_read(dirfd, &mark, &found, &err));
	assert_true(found);
	return mark.state;
}

/* Overwrites part of every page but the first two, from offset in the page on. */
static void
overwrite_pages(off_t from, size_t len, int byte)
{
	int fd = openat(dirfd, "data.mdb", O_RDWR);
	uint8_t bytes[4096];
	struct stat st;

	assert_true(fd >= 0);
	memset(bytes, byte, sizeof(bytes));
	assert_int_equal(fstat(fd, &st), 0);
	for (off_t at = 2 * 4096; at + 4096 <= st.st_size; at += 4096)
		assert_int_equal(pwrite(fd, bytes, len, at + from), (ssize_t) len);
	close(fd);
}

/* ---- items ------------------------------------------------------------------------------------ */

static void
item_is_read_before_and_after_its_commit(void **state)
{
	Store *store = create();
	bool found;

	put(store, 1, text("a"), text("one"));
	put(store, 2, text("a"), text("two"));
	expect(store, 1, text("a"), "one");
	commit_at(store, 1);
	expect(store, 1, text("a"), "one");
	expect(store, 2, text("a"), "two");
	expect(store, 3, text("a"), NULL);
	put(store, 1, text("a"), text("a longer value than before"));
	assert_ok(store_item_delete(store, 2, text("a"), &found, &err));
	assert_true(found);
	assert_ok(store_item_delete(store, 2, text("a"), &found, &err));
	assert_false(found);
	commit_at(store, 2);
	assert_int_equal(store_items(store), 1);
	expect(store, 1, text("a"), "a longer value than before");
	expect(store, 2, text("a"), NULL);
	close_clean(store);
	store = open_store(2);
	expect(store, 1, text("a"), "a longer value than before");
	assert_int_equal(store_position(store).seq, 2);
	assert_int_equal(store_position(store).total, 20);
	assert_int_equal(store_header(store)->libm, 42);
	close_clean(store);
}

static void
item_value_may_be_what_was_just_read(void **state)
{
	Store *store = create();
	Slice value;
	bool found;

	put(store, 1, text("k"), text("0123456789"));
	assert_ok(store_item_get(store, 1, text("k"), &value, &found, &err));
	put(store, 1, text("k"), slice_make(value.data + 3, 5));
	expect(store, 1, text("k"), "34567");
	commit_at(store, 1);
	assert_ok(store_item_get(store, 1, text("k"), &value, &found, &err));
	put(store, 1, text("k"), slice_make(value.data + 1, 3));
	expect(store, 1, text("k"), "456");
	close_clean(store);
}

static void
keys_equal_in_their_first_511_bytes_are_two_items(void **state)
{
	Store *store = create();
	char a[2048];
	char b[2048];

	memset(a, 'x', sizeof(a));
	memcpy(b, a, sizeof(a));
	b[2047] = 'y';
	put(store, 1, slice_make(a, sizeof(a)), text("a"));
	put(store, 1, slice_make(b, sizeof(b)), text("b"));
	commit_at(store, 1);
	expect(store, 1, slice_make(a, sizeof(a)), "a");
	expect(store, 1, slice_make(b, sizeof(b)), "b");
	expect(store, 1, slice_make(a, 511), NULL);
	close_clean(store);
}

#define MODEL_KEYS 300

/* Random puts and deletes against an array, with chains of many keys. */
static void
chains_under_colliding_hashes(void **state)
{
	uint64_t model[MODEL_KEYS] = {0};
	uint64_t walked;
	Store *store;
	uint64_t value;
	bool found;

	settings.hash_mask = UINT64_C(0x8000000000000003); /* 8 hashes */
	store = create();
	srandom(1);
	for (uint64_t step = 1; step <= 6000; step++)
	{
		uint64_t key = (uint64_t) random() % MODEL_KEYS;

		if (random() % 3 == 0)
		{
			assert_ok(store_item_delete(store, 7, slice_make(&key, 8), &found, &err));
			assert_int_equal(found, model[key] != 0);
			model[key] = 0;
		}
		else
			put_number(store, 7, key, model[key] = step);
		key = (uint64_t) random() % MODEL_KEYS;
		assert_int_equal(get_number(store, 7, key, &value), model[key] != 0);
		if (model[key] != 0)
			assert_int_equal(value, model[key]);
		if (random() % 40 == 0)
			commit_at(store, step);
	}
	commit_at(store, 6000);
	walked = 0;
	for (uint64_t key = 0; key < MODEL_KEYS; key++)
	{
		assert_int_equal(get_number(store, 7, key, &value), model[key] != 0);
		walked += model[key] != 0;
	}
	assert_int_equal(store_items(store), walked);
	close_clean(store);
}

/* The keys of a relation in the order of a walk; deletes every item it comes to that is divisible by `remove`. */
static size_t
walk(Store *store, uint32_t relation, uint64_t *keys, uint64_t remove)
{
	StoreCursor cursor = {0};
	size_t count = 0;

	for (;;)
	{
		Slice key;
		Slice value;
		bool done;
		bool found;

		assert_ok(store_item_next(store, relation, &cursor, &key, &value, &done, &err));
		if (done)
			return count;
		memcpy(&keys[count], key.data, 8);
		if (remove != 0 && keys[count] % remove == 0)
			assert_ok(store_item_delete(store, relation, slice_make(&keys[count], 8), &found, &err));
		else if (remove != 0)
			put_number(store, relation, keys[count], 1);
		count++;
	}
}

static void
walk_order_does_not_depend_on_commits(void **state)
{
	uint64_t orders[2][400];
	size_t counts[2];

	for (int mask = 0; mask < 2; mask++)
	{
		settings.hash_mask = mask == 0 ? FULL_HASH : UINT64_C(0xc000000000000000);
		for (int run = 0; run < 2; run++)
		{
			Store *store = create();
			bool found;

			put_number(store, 1, 5, 5);
			put_number(store, 3, 5, 5);
			for (uint64_t i = 0; i < 400; i++)
			{
				put_number(store, 2, i, i);
				if (i % 3 == 0)
				{
					uint64_t gone = i / 2;

					assert_ok(store_item_delete(store, 2, slice_make(&gone, 8), &found, &err));
				}
				if (run == 1 && i % 7 == 0)
					commit_at(store, i);
			}
			counts[run] = walk(store, 2, orders[run], 0);
			close_clean(store);
			unlinkat(dirfd, "mark", 0);
		}
		assert_int_equal(counts[0], counts[1]);
		assert_memory_equal(orders[0], orders[1], counts[0] * 8);
	}
}

static void
walk_meets_every_item_while_it_deletes_and_writes_them(void **state)
{
	uint64_t keys[1000];
	uint64_t seen[500];

	for (int run = 0; run < 4; run++)
	{
		Store *store;

		settings.hash_mask = run % 2 == 0 ? FULL_HASH : UINT64_C(0xe000000000000000);
		store = create();
		for (uint64_t i = 0; i < 500; i++)
		{
			put_number(store, 1, i, i);
			if (run < 2 && i == 250)
				commit_at(store, 1);
		}
		if (run >= 2)
			commit_at(store, 1);
		assert_int_equal(walk(store, 1, keys, 3), 500);
		memset(seen, 0, sizeof(seen));
		for (int i = 0; i < 500; i++)
			seen[keys[i]]++;
		for (int i = 0; i < 500; i++)
			assert_int_equal(seen[i], 1);
		assert_int_equal(walk(store, 1, keys, 0), 333);
		commit_at(store, 2);
		assert_int_equal(walk(store, 1, keys, 0), 333);
		assert_int_equal(store_items(store), 333);
		close_clean(store);
		unlinkat(dirfd, "mark", 0);
	}
}

static void
clearing_a_relation_leaves_the_others(void **state)
{
	Store *store = create();
	uint64_t count;
	uint64_t value;
	bool found;
	uint64_t one = 1;

	for (uint64_t i = 0; i < 1000; i++)
		for (uint32_t relation = 1; relation <= 3; relation++)
			put_number(store, relation, i, i);
	commit_at(store, 1);
	put_number(store, 2, 5000, 1);
	put_number(store, 2, 2, 7);
	assert_ok(store_item_delete(store, 2, slice_make(&one, 8), &found, &err));
	assert_ok(store_items_clear(store, 2, &count, &err));
	assert_int_equal(count, 1000);
	assert_false(get_number(store, 2, 2, &value));
	put_number(store, 2, 2, 8);
	assert_ok(store_items_clear(store, 2, &count, &err));
	assert_int_equal(count, 1);
	put_number(store, 2, 3, 9);
	assert_false(get_number(store, 2, 2, &value));
	commit_at(store, 2);
	assert_false(get_number(store, 2, 2, &value));
	assert_true(get_number(store, 2, 3, &value));
	assert_int_equal(value, 9);
	assert_true(get_number(store, 1, 999, &value));
	assert_true(get_number(store, 3, 0, &value));
	assert_int_equal(store_items(store), 2001);
	close_clean(store);
}

/* ---- small tables ----------------------------------------------------------------------------- */

static void
tables_are_walked_in_order_with_what_waits(void **state)
{
	Store *store = create();
	bool model[200] = {false};
	char name[16];
	bool found;

	srandom(3);
	for (int step = 0; step < 3000; step++)
	{
		int i = (int) (random() % 200);

		snprintf(name, sizeof(name), "k%03d", i);
		if (random() % 2 == 0)
		{
			assert_ok(store_put(store, STORE_JOB, text(name), text(name), &err));
			model[i] = true;
		}
		else
		{
			assert_ok(store_delete(store, STORE_JOB, text(name), &found, &err));
			assert_int_equal(found, model[i]);
			model[i] = false;
		}
		if (step % 50 == 0)
			commit_at(store, (uint64_t) step + 1);
		if (step % 100 == 49)
		{
			Slice key = slice_make(NULL, 0);
			Slice value;
			int at = 0;

			for (;;)
			{
				assert_ok(store_seek(store, STORE_JOB, key, key.len > 0, &key, &value, &found, &err));
				while (at < 200 && !model[at])
					at++;
				assert_int_equal(found, at < 200);
				if (!found)
					break;
				snprintf(name, sizeof(name), "k%03d", at++);
				assert_true(slice_equal(key, text(name)));
				assert_true(slice_equal(value, text(name)));
			}
		}
	}
	assert_ok(store_get(store, STORE_TIMER, text("k001"), &(Slice){0}, &found, &err));
	assert_false(found);
	close_clean(store);
}

static void
table_key_too_long_is_refused(void **state)
{
	Store *store = create();
	char key[501] = {0};

	assert_fails(store_put(store, STORE_META, slice_make(key, 501), text("v"), &err), ERR_DATA, "501 bytes");
	assert_fails(store_put(store, STORE_META, slice_make(key, 0), text("v"), &err), ERR_DATA, "0 bytes");
	assert_ok(store_put(store, STORE_META, slice_make(key, 500), text("v"), &err));
	close_clean(store);
}

/* ---- kill ------------------------------------------------------------------------------------- */

/* Writes unit n: items n .. n+9 mod 500 get the value n; tells n after its commit. */
static void
write_units(int told, uint64_t seq)
{
	Store *store = open_store(UINT64_MAX);

	for (;; seq++)
	{
		for (uint64_t i = 0; i < 10; i++)
			put_number(store, 1, (seq + i) % 500, seq);
		commit_at(store, seq);
		if (write(told, &seq, sizeof(seq)) != sizeof(seq))
			_exit(1);
	}
}

static void
kill_in_the_middle_of_commits_loses_nothing_committed(void **state)
{
	uint64_t seq = 0;

	close_clean(create());
	for (int round = 0; round < 20; round++)
	{
		uint64_t told = seq;
		uint64_t value;
		Store *store;
		int fds[2];
		pid_t child;

		assert_int_equal(pipe(fds), 0);
		child = fork();
		if (child == 0)
		{
			close(fds[0]);
			write_units(fds[1], seq + 1);
		}
		close(fds[1]);
		/* at least some, then a moment that differs */
		for (int i = 0; i < 5 + round; i++)
			assert_int_equal(read(fds[0], &told, sizeof(told)), sizeof(told));
		usleep((useconds_t) (round * 137));
		kill(child, SIGKILL);
		while (read(fds[0], &told, sizeof(told)) == sizeof(told))
			;
		close(fds[0]);
		waitpid(child, NULL, 0);

		store = open_store(UINT64_MAX);
		seq = store_position(store).seq;
		assert_true(seq == told || seq == told + 1);
		for (uint64_t i = 0; i < 500 && seq > 500; i++)
		{
			/* the last unit n <= seq with i in n .. n+9 */
			uint64_t back = (seq + 500 - i) % 500;
			uint64_t want = seq - back;

			if (seq % 500 + 9 >= 500 && i <= seq % 500 + 9 - 500)
				want = seq;
			else if (i > seq % 500 && i <= seq % 500 + 9)
				want = seq;
			assert_true(get_number(store, 1, i, &value));
			assert_int_equal(value, want);
		}
		assert_true(get_number(store, 1, seq % 500, &value));
		assert_int_equal(value, seq);
		store_abort(store);
	}
	assert_true(seq > 100);
}

/* ---- which store is used ---------------------------------------------------------------------- */

/* A snapshot at 1 (item 1 has value 1), then unit 2. */
static Store *
two_units(void)
{
	Store *store = create();

	for (uint64_t i = 0; i < 2000; i++)
		put_number(store, 1, i, 1);
	commit_at(store, 1);
	assert_int_equal(snapshot(store), 1);
	assert_int_equal(store_oldest_snapshot(store), 1);
	for (uint64_t i = 0; i < 2000; i++)
		put_number(store, 1, i, 2);
	commit_at(store, 2);
	return store;
}

static void
expect_units(Store *store, uint64_t seq)
{
	uint64_t value;

	assert_int_equal(store_position(store).seq, seq);
	for (uint64_t i = 0; i < 2000; i++)
	{
		assert_true(get_number(store, 1, i, &value));
		assert_int_equal(value, seq);
	}
}

static void
killed_store_is_used_on_the_same_boot(void **state)
{
	Store *store = two_units();

	assert_int_equal(mark_state(), MARK_OPEN);
	store_abort(store);
	store = open_store(2);
	expect_units(store, 2);
	close_clean(store);
	assert_int_equal(mark_state(), MARK_CLEAN);
	store = open_store(2);
	assert_int_equal(mark_state(), MARK_OPEN);
	close_clean(store);
}

static void
clean_store_is_used_after_a_reboot(void **state)
{
	Store *store = two_units();
	Mark mark;

	close_clean(store);
	assert_ok(store_mark_now(dirfd, MARK_CLEAN, &mark, &err));
	strcpy(mark.boot_id, "another");
	mark.inode++;
	assert_ok(store_mark_write(dirfd, &mark, &err));
	store = open_store(2);
	expect_units(store, 2);
	close_clean(store);
}

static void
open_store_after_a_reboot_gives_way_to_its_snapshot(void **state)
{
	Store *store = two_units();

	store_abort(store);
	overwrite_pages(0, 4096, 0xa5);
	mark_other_boot();
	store = open_store(2);
	expect_units(store, 1);
	/* and it goes on from there */
	put_number(store, 1, 1, 3);
	commit_at(store, 2);
	store_abort(store);
	store = open_store(2);
	assert_int_equal(store_position(store).seq, 2);
	assert_int_equal(store_oldest_snapshot(store), 1);
	close_clean(store);
}

static void
damage_on_the_same_boot_is_found_marked_and_replaced(void **state)
{
	struct
	{
		off_t from;
		size_t len;
		int byte;
	} damage[] = {{2000, 600, 0x5a}, {0, 4096, 0}, {4000, 96, 0xff}, {16, 64, 0x77}};

	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++)
	{
		Store *store = two_units();
		bool failed = false;

		store_abort(store);
		overwrite_pages(damage[i].from, damage[i].len, damage[i].byte);
		/* either the header is hit and the snapshot used at once, or the values show it */
		if (try_open(2, 2, &store) && store_position(store).seq == 2)
		{
			for (uint64_t key = 0; key < 2000 && !failed; key++)
			{
				Slice value;
				bool found;

				failed = !store_item_get(store, 1, slice_make(&key, 8), &value, &found, &err);
				assert_true(failed || found); /* never taken for an item that does not exist */
			}
			assert_true(failed);
			assert_int_equal(err.class, ERR_RESTART);
			assert_int_equal(mark_state(), MARK_TORN);
			assert_false(store_commit(store, &err) && store_snapshot(store, &(uint64_t){0}, &err));
			store_abort(store);
			store = open_store(2);
		}
		expect_units(store, 1);
		close_clean(store);
		unlinkat(dirfd, "mark", 0);
		unlinkat(dirfd, "snapshot-1.mdb", 0);
	}
}

static void
one_flipped_bit_in_a_value_is_not_returned(void **state)
{
	static uint8_t file[1 << 20];
	const char *value = "a value that is easily found in the file";
	Store *store = two_units();
	uint8_t *at;
	uint8_t byte;
	ssize_t len;
	Slice got;
	bool found;
	int fd;

	put(store, 4, text("k"), text(value));
	commit_at(store, 3);
	store_abort(store);
	fd = openat(dirfd, "data.mdb", O_RDWR);
	assert_true(fd >= 0);
	len = pread(fd, file, sizeof(file), 0);
	at = memmem(file, (size_t) len, value, strlen(value));
	assert_non_null(at);
	byte = at[5] ^ 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at + 5 - file), 1);
	close(fd);

	store = open_store(3);
	assert_fails(store_item_get(store, 4, text("k"), &got, &found, &err), ERR_RESTART, "damaged");
	assert_int_equal(mark_state(), MARK_TORN);
	store_abort(store);
	store = open_store(3);
	expect_units(store, 1);
	close_clean(store);
}

static void
marked_torn_is_not_used(void **state)
{
	Store *store = two_units();

	store_mark_torn(store);
	assert_fails(store_commit(store, &err), ERR_RESTART, "damaged");
	assert_false(store_close_clean(store, &err));
	assert_int_equal(mark_state(), MARK_TORN);
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

static void
copied_store_gives_way_to_its_snapshot(void **state)
{
	char command[256];
	Store *store = two_units();

	store_abort(store);
	snprintf(command, sizeof(command), "cd %s && cp data.mdb x && mv x data.mdb", path);
	assert_int_equal(system(command), 0);
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

static void
store_beyond_the_journal_gives_way_to_its_snapshot(void **state)
{
	Store *store = two_units();

	close_clean(store);
	store = open_store(1);
	expect_units(store, 1);
	/* a piece of unit 2 needs all of unit 2 */
	store_set_position(store, (StorePosition){.seq = 1, .part = 1});
	assert_ok(store_commit(store, &err));
	close_clean(store);
	store = open_store(1);
	assert_int_equal(store_position(store).part, 0);
	store_set_position(store, (StorePosition){.seq = 1, .part = 1});
	assert_ok(store_commit(store, &err));
	close_clean(store);
	store = open_store(2);
	assert_int_equal(store_position(store).part, 1);
	close_clean(store);
}

/* A feed that ends at *arg. */
static bool
feed_ends(void *arg, uint64_t seq, uint32_t part, Error *error)
{
	return seq <= *(const uint64_t *) arg || error_set(error, ERR_REFUSE, "the feed ends");
}

static bool
feed_unreadable(void *arg, uint64_t seq, uint32_t part, Error *error)
{
	return error_set(error, ERR_DISK, "the feed cannot be read");
}

static void
store_beyond_the_feed_gives_way_to_a_snapshot_it_reaches(void **state)
{
	Store *store = two_units();
	uint64_t end = 1;

	close_clean(store);
	settings.reaches = feed_unreadable; /* that says nothing of where it ends */
	assert_fails(try_open(2, 2, &store), ERR_DISK, "cannot be read");
	settings.reaches = feed_ends;
	settings.reaches_arg = &end;
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
	end = 0;
	assert_fails(try_open(2, 2, &store), ERR_REFUSE, "rule R7: the feed ends");
	end = 1; /* the refusal has touched nothing */
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

static void
snapshot_beyond_what_is_durable_is_not_used(void **state)
{
	Store *store = two_units();

	assert_int_equal(snapshot(store), 2);
	close_clean(store);
	mark_other_boot();
	assert_ok(try_open(2, 1, &store));
	expect_units(store, 1);
	close_clean(store);
	mark_other_boot();
	assert_ok(try_open(2, 2, &store));
	expect_units(store, 2);
	close_clean(store);
}

static void
damaged_snapshot_gives_way_to_the_one_before(void **state)
{
	Store *store = two_units();
	uint8_t byte = 0;
	int fd;

	snapshot(store);
	close_clean(store);
	mark_other_boot();
	fd = openat(dirfd, "snapshot-2.mdb", O_RDWR);
	assert_true(fd >= 0);
	for (off_t at = 40960 + 1000; at < 40960 + 1300;
		 at++) /* more than one item's worth: no free byte alone */
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

static void
without_a_snapshot_nothing_is_opened(void **state)
{
	Store *store = create();

	put_number(store, 1, 1, 1);
	commit_at(store, 1);
	store_abort(store);
	mark_other_boot();
	assert_fails(try_open(1, 1, &store), ERR_REFUSE, "restarted while it was open");
	assert_non_null(strstr(err.hint, "walrank rebuild"));
	unlinkat(dirfd, "mark", 0);
	assert_fails(try_open(1, 1, &store), ERR_REFUSE, "mark is missing");
	unlinkat(dirfd, "data.mdb", 0);
	assert_fails(try_open(1, 1, &store), ERR_REFUSE, "file is missing");
	assert_int_equal(faccessat(dirfd, "data.mdb", F_OK, 0), -1); /* and none was made */
}

static void
another_streams_store_is_refused(void **state)
{
	StreamId other = {{9}};
	Store *store = two_units();

	close_clean(store);
	assert_fails(store_open(dirfd, &settings, &other, 2, 2, &store, &err), ERR_REFUSE, "belongs to stream");
	mark_other_boot();
	assert_fails(store_open(dirfd, &settings, &other, 2, 2, &store, &err), ERR_REFUSE, "belongs to stream");
}

static void
newer_format_is_refused(void **state)
{
	Store *store = two_units();
	StoreHeader header = *store_header(store);

	header.format = STORE_FORMAT + 1;
	assert_ok(store_set_header(store, &header, &err));
	commit_at(store, 3);
	close_clean(store);
	assert_fails(try_open(3, 3, &store), ERR_REFUSE, "has format 4, this version knows 3");
}

static void
header_changes_with_the_commit(void **state)
{
	Store *store = two_units();
	StoreHeader header = *store_header(store);

	header.engine = 7;
	assert_ok(store_set_header(store, &header, &err));
	store_abort(store);
	store = open_store(2);
	assert_int_equal(store_header(store)->engine, 1);
	assert_ok(store_set_header(store, &header, &err));
	commit_at(store, 2);
	store_abort(store);
	store = open_store(2);
	assert_int_equal(store_header(store)->engine, 7);
	close_clean(store);
}

/* What cannot be looked at is no place for a store; one that is fleeting is said to be, and taken. */
static void
place_that_cannot_be_looked_at_is_refused(void **state)
{
	Store first = {.dirfd = dirfd};
	Store second = {.dirfd = -1};
	int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_false(store_place_check(-1, &err));
	assert_non_null(strstr(err.message, "file system of the store"));
	assert_true(shm < 0 || store_place_check(shm, &err));
	if (shm >= 0)
		close(shm);
	assert_false(store_place_take(&second, &err));
	assert_non_null(strstr(err.message, "could not stat"));
	store_place_release(&second); /* it holds nothing: the other one stays */
	assert_true(store_place_take(&first, &err));
	second.dirfd = dirfd;
	assert_false(store_place_take(&second, &err));
	store_place_release(&second);
	second.dirfd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(store_place_take(&second, &err));
	store_place_release(&first); /* not the newest */
	store_place_release(&second);
	assert_true(store_place_take(&first, &err));
	store_place_release(&first);
	close(second.dirfd);
}

static void
second_handle_in_one_process_is_refused(void **state)
{
	Store *store = create();
	StoreHeader header = *store_header(store);
	Store *second;

	assert_fails(try_open(0, 0, &second), ERR_REFUSE, "already open in this process");
	assert_fails(store_create(dirfd, &settings, &header, &second, &err), ERR_REFUSE, "already open");
	close_clean(store);
	assert_fails(store_create(dirfd, &settings, &header, &second, &err), ERR_REFUSE,
				 "there is a store already");
	close_clean(open_store(0));
}

static void
handle_does_not_commit_after_a_fork(void **state)
{
	Store *store = create();
	pid_t child;
	int status;

	put_number(store, 1, 1, 1);
	child = fork();
	if (child == 0)
	{
		bool refused = !store_commit(store, &err) && err.class == ERR_REFUSE;

		execl(refused ? "/bin/true" : "/bin/false", "child", NULL);
		_exit(1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close_clean(store);
}

/* ---- room ------------------------------------------------------------------------------------- */

static void
tiny_map_grows_a_hundred_times(void **state)
{
	uint64_t growth = UINT64_C(64) << 10;
	uint64_t first;
	uint64_t number = 0;
	uint64_t value;
	Store *store;

	settings.map_bytes_initial = growth;
	store = create();
	first = store->map_bytes;
	for (uint64_t seq = 1; store->map_bytes < first + 100 * growth; seq++)
	{
		assert_true(seq < 10000);
		for (int i = 0; i < 50; i++, number++)
			put_number(store, 1, number, number);
		commit_at(store, seq);
	}
	for (uint64_t i = 0; i < number; i++)
	{
		assert_true(get_number(store, 1, i, &value));
		assert_int_equal(value, i);
	}
	close_clean(store);
}

static void
at_its_limit_nothing_is_half_applied(void **state)
{
	uint64_t seq = 0;
	uint64_t value;
	uint64_t committed;
	Store *store;

	settings.map_bytes_initial = UINT64_C(128) << 10;
	settings.map_bytes_max = UINT64_C(1) << 20;
	store = create();
	do
	{
		seq++;
		for (uint64_t i = 0; i < 100; i++)
			put_number(store, 1, seq * 100 + i, seq);
		put_number(store, 1, 1, seq);
		store_set_position(store, (StorePosition){.seq = seq});
	} while (store_commit(store, &err) && seq < 1000);
	assert_fails(false, ERR_SPACE, "reached its limit of 1024 kB");
	assert_true(strlen(err.hint) > 0);
	/* again, and the writes still wait */
	assert_fails(store_commit(store, &err), ERR_SPACE, "reached its limit");
	assert_true(get_number(store, 1, 1, &value));
	assert_int_equal(value, seq);
	committed = store_items(store);
	store_abort(store);

	store = open_store(seq);
	assert_int_equal(store_position(store).seq, seq - 1);
	assert_int_equal(store_items(store), committed);
	assert_true(get_number(store, 1, 1, &value));
	assert_int_equal(value, seq - 1);
	assert_false(get_number(store, 1, seq * 100, &value));
	store_abort(store);

	/* with a higher limit the same unit goes in */
	settings.map_bytes_max = UINT64_C(8) << 20;
	store = open_store(seq);
	for (uint64_t i = 0; i < 100; i++)
		put_number(store, 1, seq * 100 + i, seq);
	commit_at(store, seq);
	close_clean(store);
}

static void
reserve_commits_before_memory_fills(void **state)
{
	Store *store = create();

	put_number(store, 1, 1, 1);
	store_set_position(store, (StorePosition){.seq = 1});
	assert_ok(store_reserve(store, 1000, &err));
	assert_true(store_pending(store) > 0);
	assert_ok(store_reserve(store, UINT64_C(1) << 30, &err));
	assert_int_equal(store_pending(store), 0);
	assert_int_equal(store_items(store), 1);
	close_clean(store);
}

/* ---- snapshots -------------------------------------------------------------------------------- */

static atomic_bool snapshots_stop;
static atomic_int snapshots_made;

static void *
snapshots_run(void *arg)
{
	Error error;
	uint64_t seq;

	while (!snapshots_stop)
	{
		if (!store_snapshot(arg, &seq, &error))
		{
			log_error(LOG_ERROR, &error, "snapshot");
			return arg;
		}
		snapshots_made++;
	}
	return NULL;
}

/* Every unit moves 1 from one of two sums to the other, in many items; the map grows meanwhile. */
static void
snapshot_under_concurrent_writes_is_consistent(void **state)
{
	uint64_t counters[100] = {0};
	pthread_t thread;
	void *failed;
	uint64_t seq;
	uint64_t seqs[SNAPSHOTS_MAX];
	int count;
	Store *store;

	settings.map_bytes_initial = UINT64_C(256) << 10;
	store = create();
	for (uint64_t i = 0; i < 3000; i++)
		put_number(store, 1, i, 0);
	commit_at(store, 1);
	snapshots_stop = false;
	snapshots_made = 0;
	pthread_create(&thread, NULL, snapshots_run, store);
	for (seq = 2; seq < 20000 && snapshots_made < 12; seq++)
	{
		uint64_t from = seq % 100;
		uint64_t to = seq * 7 % 100;

		counters[from]--;
		counters[to]++;
		put_number(store, 1, from, counters[from]);
		put_number(store, 1, to, counters[to]);
		put_number(store, 1, 1000000, seq);
		put_number(store, 2, seq, seq); /* grows */
		commit_at(store, seq);
	}
	snapshots_stop = true;
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_true(snapshots_made >= 3);
	assert_ok(store_snapshot_list(dirfd, seqs, &count, &err));
	assert_int_equal(count, 2);
	assert_int_equal(store_oldest_snapshot(store), seqs[0]);
	store_abort(store);

	for (int i = 1; i >= 0; i--)
	{
		uint64_t sum = 0;
		uint64_t value;

		mark_other_boot();
		assert_ok(try_open(seq, seqs[i], &store));
		assert_int_equal(store_position(store).seq, seqs[i]);
		for (uint64_t k = 0; k < 100; k++)
		{
			assert_true(get_number(store, 1, k, &value));
			sum += value;
		}
		assert_int_equal(sum, 0);
		if (seqs[i] > 1)
		{
			assert_true(get_number(store, 1, 1000000, &value));
			assert_int_equal(value, seqs[i]);
			assert_true(get_number(store, 2, seqs[i], &value));
		}
		assert_false(get_number(store, 2, seqs[i] + 1, &value));
		store_abort(store);
	}
}

static bool
copying(Store *store)
{
	bool is;

	pthread_mutex_lock(&store->gate);
	is = store->copying;
	pthread_mutex_unlock(&store->gate);
	return is;
}

static void
slow_snapshot_yields_to_a_growing_map_and_to_cancel(void **state)
{
	pthread_t thread;
	void *failed;
	uint64_t number = 0;
	uint64_t grown;
	Store *store;

	settings.map_bytes_initial = UINT64_C(512) << 10;
	settings.snapshot_bytes_per_s = 200000; /* the copy takes seconds */
	store = create();
	for (; number < 4000; number++)
		put_number(store, 1, number, 1);
	commit_at(store, 1);
	snapshots_stop = false;
	pthread_create(&thread, NULL, snapshots_run, store);
	for (int i = 0; i < 2000 && !copying(store); i++)
		usleep(1000);
	assert_true(copying(store));
	grown = store->map_bytes;
	for (uint64_t seq = 2; store->map_bytes == grown; seq++)
	{
		assert_true(seq < 1000);
		for (int i = 0; i < 100; i++, number++)
			put_number(store, 1, number, seq);
		commit_at(store, seq);
	}
	store_snapshot_cancel(store);
	pthread_join(thread, &failed);
	assert_non_null(failed);
	assert_fails(store_snapshot(store, &number, &err), ERR_RETRY, "cancelled");
	assert_int_equal(faccessat(dirfd, SNAPSHOT_TMP, F_OK, 0), -1);
	close_clean(store);
}

static uint64_t barrier_seq;
static bool barrier_ok;

static bool
barrier(void *arg, uint64_t seq, Error *error)
{
	barrier_seq = seq;
	/* nothing counts yet */
	assert_int_equal(faccessat(dirfd, "snapshot-5.mdb", F_OK, 0), -1);
	return barrier_ok || error_set(error, ERR_DISK, "journal sync failed");
}

static void
snapshot_counts_only_after_the_barrier(void **state)
{
	Store *store = create();
	uint64_t seq;

	store_set_barrier(store, barrier, NULL);
	store_set_position(store, (StorePosition){.seq = 5, .part = 1});
	assert_ok(store_commit(store, &err));
	barrier_ok = false;
	assert_fails(store_snapshot(store, &seq, &err), ERR_DISK, "journal sync failed");
	assert_int_equal(barrier_seq, 6); /* the unit that is partly in */
	assert_int_equal(store_oldest_snapshot(store), 0);
	barrier_ok = true;
	assert_int_equal(snapshot(store), 5);
	close_clean(store);
}

/* ---- every durable write that fails ----------------------------------------------------------- */

static FsOps failing;
static int calls_left;

static bool
fails_now(void)
{
	if (calls_left-- != 0)
		return false;
	errno = EIO;
	return true;
}

static int
failing_fdatasync(int fd)
{
	return fails_now() ? -1 : fs_system.fdatasync(fd);
}

static int
failing_fsync(int fd)
{
	return fails_now() ? -1 : fs_system.fsync(fd);
}

static int
failing_renameat(int at, const char *from, const char *to)
{
	return fails_now() ? -1 : fs_system.renameat(at, from, to);
}

static ssize_t
failing_pwrite(int fd, const void *data, size_t len, off_t offset)
{
	return fails_now() ? -1 : fs_system.pwrite(fd, data, len, offset);
}

static void
fail_call(int n)
{
	failing = fs_system;
	failing.fdatasync = failing_fdatasync;
	failing.fsync = failing_fsync;
	failing.renameat = failing_renameat;
	failing.pwrite = failing_pwrite;
	calls_left = n;
	fs = &failing;
}

static void
snapshot_whose_write_fails_does_not_count(void **state)
{
	bool ok = false;
	int n;

	for (n = 0; n < 50 && !ok; n++)
	{
		Store *store = two_units();
		uint64_t seqs[SNAPSHOTS_MAX];
		uint64_t seq;
		int count;

		fail_call(n);
		ok = store_snapshot(store, &seq, &err);
		fs = &fs_system;
		if (!ok)
		{
			assert_int_equal(err.class, ERR_DISK);
			assert_ok(store_snapshot_list(dirfd, seqs, &count, &err));
			assert_true(count >= 1 && seqs[0] == 1);
		}
		store_abort(store);
		unlinkat(dirfd, "mark", 0);
		unlinkat(dirfd, "snapshot-1.mdb", 0);
		unlinkat(dirfd, "snapshot-2.mdb", 0);
	}
	assert_true(ok && n > 4);
}

static char order[1000];

static void
note(const char *what)
{
	if (strlen(order) + strlen(what) + 2 < sizeof(order))
		strcat(strcat(order, what), " ");
}

static int
noting_fdatasync(int fd)
{
	note("live-sync");
	return fs_system.fdatasync(fd);
}

static int
noting_fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	note(S_ISDIR(st.st_mode) ? "sync-directory" : "sync");
	return fs_system.fsync(fd);
}

static int
noting_renameat(int at, const char *from, const char *to)
{
	note("rename");
	return fs_system.renameat(at, from, to);
}

static int
noting_unlinkat(int at, const char *name)
{
	note("unlink");
	return fs_system.unlinkat(at, name);
}

static bool
noting_barrier(void *arg, uint64_t seq, Error *error)
{
	note("barrier");
	return true;
}

static void
snapshot_is_durable_before_an_older_one_goes(void **state)
{
	Store *store;

	settings.snapshots = 1;
	store = two_units();
	failing = fs_system;
	failing.fdatasync = noting_fdatasync;
	failing.fsync = noting_fsync;
	failing.renameat = noting_renameat;
	failing.unlinkat = noting_unlinkat;
	fs = &failing;
	store_set_barrier(store, noting_barrier, NULL);
	order[0] = '\0';
	assert_int_equal(snapshot(store), 2);
	assert_string_equal(order, "barrier live-sync sync rename sync-directory unlink ");
	order[0] = '\0';
	close_clean(store);
	assert_string_equal(order, "live-sync sync rename sync-directory ");
	fs = &fs_system;
	mark_other_boot();
	order[0] = '\0';
	fs = &failing;
	store = open_store(2);
	fs = &fs_system;
	assert_string_equal(order, "sync rename sync-directory sync rename sync-directory ");
	close_clean(store);
}

static void
failed_sync_of_the_live_store_marks_it_torn(void **state)
{
	Store *store = two_units();
	uint64_t seq;

	failing = fs_system;
	failing.fdatasync = failing_fdatasync; /* only the live store is synced that way */
	calls_left = 0;
	fs = &failing;
	assert_fails(store_snapshot(store, &seq, &err), ERR_DISK, "could not sync the store");
	fs = &fs_system;
	assert_int_equal(mark_state(), MARK_TORN);
	assert_false(store_commit(store, &err));
	store_abort(store);
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

static void
clean_stop_whose_write_fails_is_not_marked_clean(void **state)
{
	bool ok = false;
	int n;

	for (n = 0; n < 20 && !ok; n++)
	{
		Store *store = two_units();

		fail_call(n);
		ok = store_close_clean(store, &err);
		fs = &fs_system;
		if (!ok)
		{
			assert_int_equal(err.class, ERR_DISK);
			/* once renamed the mark says what is true, whether its name is durable or not */
			if (n == 0)
				assert_int_equal(mark_state(), MARK_TORN);
		}
		store = open_store(2);
		expect_units(store, n == 0 ? 1 : 2);
		store_abort(store);
		unlinkat(dirfd, "mark", 0);
	}
	assert_true(ok && n > 3);
}

static void
restore_whose_write_fails_is_done_again(void **state)
{
	bool ok = false;
	int n;

	store_abort(two_units());
	mark_other_boot();
	for (n = 0; n < 50 && !ok; n++)
	{
		Store *store;

		fail_call(n);
		ok = try_open(2, 2, &store);
		fs = &fs_system;
		if (ok)
		{
			expect_units(store, 1);
			close_clean(store);
		}
		else
			assert_int_equal(err.class, ERR_DISK);
	}
	assert_true(ok && n > 4);
}

static void
unreadable_mark_is_no_mark(void **state)
{
	Store *store = two_units();
	int fd;

	close_clean(store);
	fd = openat(dirfd, "mark", O_WRONLY);
	assert_int_equal(pwrite(fd, "5", 1, 30), 1); /* a digit of the boot id */
	close(fd);
	store = open_store(2);
	expect_units(store, 1);
	close_clean(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(item_is_read_before_and_after_its_commit),
		TEST(item_value_may_be_what_was_just_read),
		TEST(keys_equal_in_their_first_511_bytes_are_two_items),
		TEST(chains_under_colliding_hashes),
		TEST(walk_order_does_not_depend_on_commits),
		TEST(walk_meets_every_item_while_it_deletes_and_writes_them),
		TEST(clearing_a_relation_leaves_the_others),
		TEST(tables_are_walked_in_order_with_what_waits),
		TEST(table_key_too_long_is_refused),
		TEST(kill_in_the_middle_of_commits_loses_nothing_committed),
		TEST(killed_store_is_used_on_the_same_boot),
		TEST(clean_store_is_used_after_a_reboot),
		TEST(open_store_after_a_reboot_gives_way_to_its_snapshot),
		TEST(damage_on_the_same_boot_is_found_marked_and_replaced),
		TEST(one_flipped_bit_in_a_value_is_not_returned),
		TEST(marked_torn_is_not_used),
		TEST(copied_store_gives_way_to_its_snapshot),
		TEST(store_beyond_the_journal_gives_way_to_its_snapshot),
		TEST(store_beyond_the_feed_gives_way_to_a_snapshot_it_reaches),
		TEST(snapshot_beyond_what_is_durable_is_not_used),
		TEST(damaged_snapshot_gives_way_to_the_one_before),
		TEST(without_a_snapshot_nothing_is_opened),
		TEST(another_streams_store_is_refused),
		TEST(newer_format_is_refused),
		TEST(header_changes_with_the_commit),
		TEST(place_that_cannot_be_looked_at_is_refused),
		TEST(second_handle_in_one_process_is_refused),
		TEST(handle_does_not_commit_after_a_fork),
		TEST(tiny_map_grows_a_hundred_times),
		TEST(at_its_limit_nothing_is_half_applied),
		TEST(reserve_commits_before_memory_fills),
		TEST(snapshot_under_concurrent_writes_is_consistent),
		TEST(slow_snapshot_yields_to_a_growing_map_and_to_cancel),
		TEST(snapshot_counts_only_after_the_barrier),
		TEST(snapshot_whose_write_fails_does_not_count),
		TEST(snapshot_is_durable_before_an_older_one_goes),
		TEST(failed_sync_of_the_live_store_marks_it_torn),
		TEST(clean_stop_whose_write_fails_is_not_marked_clean),
		TEST(restore_whose_write_fails_is_done_again),
		TEST(unreadable_mark_is_no_mark),
	};

	log_init(LOG_FATAL, false);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
