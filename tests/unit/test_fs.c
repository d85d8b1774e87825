/*
 * test_fs.c -- file operations: loops, failures that are reported, and the order of syncs.
 */
#include "test_disk_support.h"

static void
write_goes_on_after_short_writes_and_signals(void **state)
{
	char data[1000];
	char back[1000];
	size_t got;
	Error err;
	int fd;

	memset(data, 'x', sizeof(data));
	disk_faulty(DISK_PWRITE, 2, EINTR, 3);
	disk.short_write = true;
	assert_true(fs_open(disk_dir, "a", O_CREAT | O_RDWR, &fd, &err));
	assert_true(fs_pwrite(fd, data, sizeof(data), 5, &err));
	assert_true(fs_pread(fd, back, sizeof(back), 5, &got, &err));
	assert_int_equal(got, sizeof(back));
	assert_memory_equal(data, back, sizeof(data));
	close(fd);
}

static void
no_space_and_io_error_are_told_apart(void **state)
{
	static const struct
	{
		int error;
		ErrorClass class;
	} cases[] = {{ENOSPC, ERR_SPACE}, {EDQUOT, ERR_SPACE}, {EIO, ERR_DISK}, {EFBIG, ERR_DISK}};
	Error err;
	int fd;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		disk_faulty(DISK_PWRITE, 1, cases[i].error, 1);
		assert_true(fs_open(disk_dir, "a", O_CREAT | O_RDWR, &fd, &err));
		assert_false(fs_pwrite(fd, "x", 1, 0, &err));
		assert_int_equal(err.class, cases[i].class);
		close(fd);
	}
}

static void
failed_sync_is_not_repeated_and_never_a_matter_of_space(void **state)
{
	int errors[] = {EIO, EINTR, ENOSPC};
	Error err;
	int fd;

	assert_true(fs_open(disk_dir, "a", O_CREAT | O_RDWR, &fd, &err));
	for (int i = 0; i < 3; i++)
	{
		disk_faulty(DISK_FDATASYNC | DISK_FSYNC, 1, errors[i], 1);
		assert_false(fs_datasync(fd, &err));
		assert_int_equal(err.class, ERR_DISK);
		assert_int_equal(disk.calls, 1);
		disk_faulty(DISK_FDATASYNC | DISK_FSYNC, 1, errors[i], 1);
		assert_false(fs_sync(fd, &err));
		assert_int_equal(err.class, ERR_DISK);
		assert_int_equal(disk.calls, 1);
	}
	close(fd);
}

static void
replace_syncs_file_renames_syncs_directory(void **state)
{
	Error err;

	disk_faulty(0, 0, 0, 0);
	assert_true(fs_replace(disk_dir, "mark", slice_string("new"), &err));
	buffer_append_byte(&disk.trace, 0);
	assert_string_equal((char *) disk.trace.data,
						"create mark.tmp\npwrite mark.tmp\nfsync mark.tmp\nrename mark\nfsync directory\n");
}

static void
replace_leaves_old_or_new_content_whichever_call_fails(void **state)
{
	unsigned all = DISK_OPEN | DISK_PWRITE | DISK_FSYNC | DISK_RENAME;
	bool found;
	size_t len;
	Error err;

	for (int n = 1; n <= 5; n++)
		for (uint32_t seed = 0; seed < 8; seed++)
		{
			char text[16] = {0};

			disk_heal();
			disk_clear();
			disk_faulty(0, 0, 0, 0);
			disk.tracking = true;
			assert_true(fs_replace(disk_dir, "mark", slice_string("old"), &err));
			disk_faulty(all, n, EIO, 1);
			assert_false(fs_replace(disk_dir, "mark", slice_string("newer"), &err));
			assert_int_equal(err.class, ERR_DISK);
			disk_power_cut(seed);
			disk_heal();
			assert_true(fs_read_file(disk_dir, "mark", 15, text, &len, &found, &err));
			assert_true(found);
			assert_true(strcmp(text, "old") == 0 || strcmp(text, "newer") == 0);
		}
}

static void
read_file_is_bounded_and_says_when_there_is_none(void **state)
{
	char text[4];
	size_t len;
	bool found = true;
	Error err;

	assert_true(fs_read_file(disk_dir, "none", 4, text, &len, &found, &err));
	assert_false(found);
	disk_write("four", "1234", 4);
	disk_write("five", "12345", 5);
	assert_true(fs_read_file(disk_dir, "four", 4, text, &len, &found, &err));
	assert_true(found);
	assert_int_equal(len, 4);
	assert_false(fs_read_file(disk_dir, "five", 4, text, &len, &found, &err));
	assert_int_equal(err.class, ERR_DATA);
}

static void
directory_open_to_others_is_refused(void **state)
{
	char path[128];
	struct stat st;
	Error err;
	int fd;

	snprintf(path, sizeof(path), "%s/sub", disk_path);
	assert_true(fs_open_dir(path, true, &fd, &err));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	close(fd);
	assert_true(fs_open_dir(path, true, &fd, &err));
	close(fd);
	assert_int_equal(chmod(path, 0750), 0);
	assert_false(fs_open_dir(path, true, &fd, &err));
	assert_int_equal(err.class, ERR_CONFIG);
	assert_int_equal(rmdir(path), 0);
	assert_false(fs_open_dir(path, false, &fd, &err));
}

static void
second_lock_is_refused_until_the_first_closes(void **state)
{
	int first;
	int second;
	int other;
	Error err;

	assert_true(fs_lock(disk_dir, "lock", &first, &err));
	assert_false(fs_lock(disk_dir, "lock", &second, &err));
	assert_int_equal(err.class, ERR_REFUSE);
	/* a process-wide lock would be dropped by this close */
	other = openat(disk_dir, "lock", O_RDWR);
	close(other);
	assert_false(fs_lock(disk_dir, "lock", &second, &err));
	assert_true(fcntl(first, F_GETFD) & FD_CLOEXEC);
	close(first);
	assert_true(fs_lock(disk_dir, "lock", &second, &err));
	close(second);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(write_goes_on_after_short_writes_and_signals),
		TEST(no_space_and_io_error_are_told_apart),
		TEST(failed_sync_is_not_repeated_and_never_a_matter_of_space),
		TEST(replace_syncs_file_renames_syncs_directory),
		TEST(replace_leaves_old_or_new_content_whichever_call_fails),
		TEST(read_file_is_bounded_and_says_when_there_is_none),
		TEST(directory_open_to_others_is_refused),
		TEST(second_lock_is_refused_until_the_first_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
