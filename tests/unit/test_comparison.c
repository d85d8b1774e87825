/*
 * test_comparison.c -- two orders of the same items are compared as their definitions say, fast or slow.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/buffer.h"
#include "cli/comparison.h"

static uint64_t seed = 88172645463325252ULL;

static uint64_t
draw(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

/* ---- Kendall's tau, by its definition ---------------------------------------------------------- */

static double
tau_by_definition(const double *x, const double *y, size_t n)
{
	double same = 0;
	double opposite = 0;
	double only_x = 0;
	double only_y = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t j = i + 1; j < n; j++)
		{
			int a = (x[i] > x[j]) - (x[i] < x[j]);
			int b = (y[i] > y[j]) - (y[i] < y[j]);

			same += a * b > 0;
			opposite += a * b < 0;
			only_x += a == 0 && b != 0;
			only_y += a != 0 && b == 0;
		}
	return (same - opposite) / sqrt((same + opposite + only_x) * (same + opposite + only_y));
}

static void
tau_is_what_its_definition_says(void **state)
{
	double x[200];
	double y[200];

	for (int round = 0; round < 3000; round++)
	{
		size_t n = draw(200) + 1;
		uint64_t values_x = draw(3) == 0 ? 1000000 : draw(n) + 1; /* many ties, few, none */
		uint64_t values_y = draw(3) == 0 ? 1000000 : draw(n) + 1;
		double slow;
		double fast;

		for (size_t i = 0; i < n; i++)
		{
			x[i] = (double) draw(values_x) - 3;
			y[i] = draw(2) == 0 ? x[i] : (double) draw(values_y) / 7;
		}
		slow = tau_by_definition(x, y, n);
		fast = kendall_tau_b(x, y, n);
		assert_int_equal(isnan(slow), isnan(fast));
		if (!isnan(slow))
			assert_true(fabs(slow - fast) < 1e-12);
	}
}

static void
tau_of_known_orders(void **state)
{
	const double up[] = {1, 2, 3, 4};
	const double down[] = {9, 8, 7, 6};
	const double tied[] = {5, 5, 5, 5};
	/* the example of Kendall's ties: 4 of 6 pairs differ in both, one only in x, one only in y */
	const double x[] = {1, 1, 2, 3};
	const double y[] = {1, 2, 2, 3};

	assert_true(kendall_tau_b(up, up, 4) == 1);
	assert_true(kendall_tau_b(up, down, 4) == -1);
	assert_true(isnan(kendall_tau_b(up, tied, 4)));
	assert_true(isnan(kendall_tau_b(tied, tied, 4)));
	assert_true(isnan(kendall_tau_b(up, up, 1)));
	assert_true(isnan(kendall_tau_b(up, up, 0)));
	assert_true(fabs(kendall_tau_b(x, y, 4) - 0.8) < 1e-15);
}

/* ---- comparisons ------------------------------------------------------------------------------ */

/* A key of one number. */
static Slice
key_of(uint64_t number, uint8_t bytes[16])
{
	uint8_t *at = bytes + 2;

	*at++ = WIRE_TAG(VALUE_INT, WIRE_VARINT);
	at = wire_put_varint(at, number << 1); /* zigzag */
	bytes[0] = WIRE_TAG(CHANGE_KEY, WIRE_BYTES);
	bytes[1] = (uint8_t) (at - bytes - 2);
	return slice_make(bytes, (size_t) (at - bytes));
}

static void
add(Comparison *comparison, uint64_t key, double before, double after)
{
	const Standing old = {.score = before};
	const Standing new = {.score = after};
	uint8_t bytes[16];

	assert_true(comparison_add(comparison, key_of(key, bytes), isnan(before) ? NULL : &old,
							   isnan(after) ? NULL : &new));
}

static void
numbers_are_ordered_as_numbers(void **state)
{
	uint8_t a[16];
	uint8_t b[16];

	for (int i = 0; i < 1000; i++)
	{
		uint64_t x = draw(100000);
		uint64_t y = draw(100000);
		int c = comparison_key(key_of(x, a), key_of(y, b));

		assert_true((c > 0) - (c < 0) == (x > y) - (x < y));
	}
}

static void
what_enters_leaves_moves_and_stays_is_counted(void **state)
{
	Comparison comparison;
	const ComparedItem *movers[10];

	comparison_begin(&comparison);
	add(&comparison, 1, 0.9, 0.9);
	add(&comparison, 2, 0.8, 0.1);
	add(&comparison, 3, 0.7, NAN);
	add(&comparison, 4, NAN, 0.95);
	add(&comparison, 5, 0.5, 0.5);
	add(&comparison, 6, NAN, NAN); /* in neither */
	comparison_finish(&comparison);
	assert_int_equal(comparison.before, 4);
	assert_int_equal(comparison.after, 4);
	assert_int_equal(comparison.entered, 1);
	assert_int_equal(comparison.left, 1);
	assert_int_equal(comparison.moved, 1);
	assert_int_equal(comparison.same, 2);
	assert_int_equal(comparison.top[0], 4);
	assert_int_equal(comparison.overlap[0], 3);
	/* of 1, 2 and 5: 0.9 0.8 0.5 became 0.9 0.1 0.5 */
	assert_true(fabs(comparison.tau - 1.0 / 3) < 1e-12);

	/* 4 enters at the first place from behind the last one; then 2, from 2 to 4; 3 leaves from 3 to 5; then 1 */
	assert_int_equal(comparison_movers(&comparison, movers, 10), 5);
	assert_int_equal(movers[0]->place_before, 0);
	assert_int_equal(movers[0]->place_after, 1);
	assert_int_equal(movers[1]->place_before, 2);
	assert_int_equal(movers[1]->place_after, 4);
	assert_int_equal(movers[2]->place_before, 3);
	assert_int_equal(movers[2]->place_after, 0);
	assert_int_equal(comparison_movers(&comparison, movers, 2), 2);
	assert_int_equal(movers[1]->place_before, 2);
	assert_int_equal(comparison_movers(&comparison, movers, 0), 0);
	comparison_free(&comparison);
}

static void
equal_scores_are_ordered_by_key_so_nothing_moves(void **state)
{
	Comparison comparison;
	const ComparedItem *movers[10];

	comparison_begin(&comparison);
	for (uint64_t i = 0; i < 5000; i++)
		add(&comparison, draw(1000000000), 1, 1);
	comparison_finish(&comparison);
	assert_int_equal(comparison.same, 5000);
	assert_true(isnan(comparison.tau));
	assert_int_equal(comparison.overlap[2], 1000);
	assert_int_equal(comparison_movers(&comparison, movers, 10), 0);
	comparison_free(&comparison);
}

static void
pins_come_first_then_tiers_then_scores(void **state)
{
	const Standing standing[] = {{0.1, 0, 1}, {0.9, 9, 3}, {0.1, 2, 0},
								 {0.9, 1, 0}, {0.8, 1, 0}, {0.7, -1, 0}};
	const Standing nowhere = {0, 0, 0};
	Comparison comparison;
	uint8_t bytes[16];

	comparison_begin(&comparison);
	for (uint64_t i = 0; i < 6; i++)
		assert_true(comparison_add(&comparison, key_of(6 - i, bytes), &nowhere, &standing[i]));
	comparison_finish(&comparison);
	for (uint32_t i = 0; i < 6; i++)
	{
		assert_int_equal(comparison.items[i].place_after, i + 1);
		assert_int_equal(comparison.items[i].place_before, 6 - i);
	}
	assert_int_equal(comparison.moved, 6);
	assert_true(isnan(comparison.tau));
	comparison_free(&comparison);
}

static void
the_tops_are_counted_as_sets(void **state)
{
	Comparison comparison;
	size_t expected[COMPARISON_TOPS] = {0};

	comparison_begin(&comparison);
	for (uint64_t i = 0; i < 3000; i++)
		add(&comparison, i, (double) (3000 - i), (double) ((i * 7919) % 3000));
	comparison_finish(&comparison);
	for (uint64_t i = 0; i < 3000; i++)
		for (int top = 0; top < COMPARISON_TOPS; top++)
			expected[top] +=
				i < comparison_tops[top] && (i * 7919) % 3000 >= 3000 - (uint64_t) comparison_tops[top];
	for (int top = 0; top < COMPARISON_TOPS; top++)
		assert_int_equal(comparison.overlap[top], expected[top]);
	comparison_free(&comparison);
}

static void
the_order_of_adding_does_not_matter(void **state)
{
	Comparison forward;
	Comparison backward;
	const ComparedItem *a[50];
	const ComparedItem *b[50];

	comparison_begin(&forward);
	comparison_begin(&backward);
	for (uint64_t i = 0; i < 2000; i++)
		add(&forward, i, (double) ((i * 31) % 97), (double) ((i * 17) % 89));
	for (uint64_t i = 2000; i-- > 0;)
		add(&backward, i, (double) ((i * 31) % 97), (double) ((i * 17) % 89));
	comparison_finish(&forward);
	comparison_finish(&backward);
	assert_true(forward.tau == backward.tau);
	assert_int_equal(comparison_movers(&forward, a, 50), 50);
	assert_int_equal(comparison_movers(&backward, b, 50), 50);
	for (int i = 0; i < 50; i++)
		assert_true(slice_equal(a[i]->key, b[i]->key));
	comparison_free(&forward);
	comparison_free(&backward);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tau_is_what_its_definition_says),
		cmocka_unit_test(tau_of_known_orders),
		cmocka_unit_test(numbers_are_ordered_as_numbers),
		cmocka_unit_test(what_enters_leaves_moves_and_stays_is_counted),
		cmocka_unit_test(equal_scores_are_ordered_by_key_so_nothing_moves),
		cmocka_unit_test(pins_come_first_then_tiers_then_scores),
		cmocka_unit_test(the_tops_are_counted_as_sets),
		cmocka_unit_test(the_order_of_adding_does_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
