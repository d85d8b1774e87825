/*
 * test_unit.c -- a unit's header says back what was put in, and one that nobody can have written is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "journal/unit.h"

static const Unit whole = {.seq = 7,
						   .kind = UNIT_BACKFILL,
						   .step = BACKFILL_END,
						   .last_chunk = true,
						   .timeline = 2,
						   .commit_lsn = 3,
						   .end_lsn = 4,
						   .commit_time_us = -5,
						   .now_us = 6,
						   .xid = UINT64_C(1) << 40,
						   .owner_epoch = 8,
						   .beat = 9,
						   .id = 10,
						   .chunk = 11,
						   .limit = 12,
						   .oid = 13,
						   .point = 14};

static void
every_field_comes_back(void **state)
{
	uint8_t bytes[UNIT_BYTES];
	uint8_t again[UNIT_BYTES];
	Unit unit;
	Error err;

	unit_encode(&whole, bytes);
	assert_true(unit_decode(slice_make(bytes, sizeof(bytes)), &unit, &err));
	assert_int_equal(unit.kind, whole.kind);
	assert_int_equal(unit.step, whole.step);
	assert_true(unit.last_chunk);
	assert_int_equal(unit.commit_time_us, -5);
	assert_int_equal(unit.xid, UINT64_C(1) << 40);
	unit_encode(&unit, again);
	assert_memory_equal(again, bytes, UNIT_BYTES);
}

/* The header of `whole` with one byte changed, or cut short. */
static void
refused(size_t at, uint8_t value, size_t len, const char *why)
{
	uint8_t bytes[UNIT_BYTES];
	Unit unit;
	Error err = {0};

	unit_encode(&whole, bytes);
	bytes[at] = value;
	assert_false(unit_decode(slice_make(bytes, len), &unit, &err));
	assert_int_equal(err.class, ERR_DATA);
	if (strstr(err.message, why) == NULL)
		fail_msg("%s", err.message);
}

static void
what_nobody_can_have_written_is_refused(void **state)
{
	refused(0, 7, UNIT_BYTES - 1, "too short");
	refused(0, 7, 0, "too short");
	refused(0, 0, UNIT_BYTES, "without a number");
	refused(8, UNIT_NONE, UNIT_BYTES, "unknown kind 0");
	refused(8, UNIT_CONFIG + 1, UNIT_BYTES, "unknown kind");
	refused(8, UNIT_TXN, UNIT_BYTES, "malformed"); /* a step, and no backfill */
	refused(9, BACKFILL_NONE, UNIT_BYTES, "malformed");
	refused(9, BACKFILL_ABORT + 1, UNIT_BYTES, "malformed");
	refused(10, 2, UNIT_BYTES, "malformed");
}

static void
every_kind_has_a_name(void **state)
{
	for (UnitKind kind = UNIT_NONE; kind <= UNIT_CONFIG; kind++)
		assert_string_not_equal(unit_kind_name(kind), "unknown");
	assert_string_equal(unit_kind_name(UNIT_CONFIG), "config");
	assert_string_equal(unit_kind_name((UnitKind) (UNIT_CONFIG + 1)), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(what_nobody_can_have_written_is_refused),
		cmocka_unit_test(every_kind_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
