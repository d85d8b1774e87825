/*
 * comparison.c -- see comparison.h.
 */
#include "cli/comparison.h"

#include <math.h>
#include <stdlib.h>

#include "base/buffer.h"

#define KEYS_BLOCK_BYTES (1U << 20)

const size_t comparison_tops[COMPARISON_TOPS] = {10, 100, 1000};

/* ---- keys ------------------------------------------------------------------------------------- */

static int
order(double a, double b)
{
	return (a > b) - (a < b);
}

static int
bytes_order(Slice a, Slice b)
{
	size_t len = a.len < b.len ? a.len : b.len;
	int c = len > 0 ? memcmp(a.data, b.data, len) : 0;

	return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static int
value_order(Slice a, Slice b)
{
	WireValue va;
	WireValue vb;
	double na;
	double nb;

	if (!wire_value(a, &va) || !wire_value(b, &vb) || va.kind != vb.kind)
		return bytes_order(a, b);
	switch (va.kind)
	{
		case VALUE_INT:
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
		case VALUE_DATE:
			return (va.integer > vb.integer) - (va.integer < vb.integer);
		case VALUE_TEXT:
		case VALUE_BYTES:
			return bytes_order(va.bytes, vb.bytes);
		default:
			if (wire_number(&va, &na) && wire_number(&vb, &nb) && na != nb)
				return order(na, nb);
			return bytes_order(a, b);
	}
}

int
comparison_key(Slice a, Slice b)
{
	WireCursor ca = wire_cursor(a);
	WireCursor cb = wire_cursor(b);

	while (!wire_done(&ca) && !wire_done(&cb))
	{
		Slice va;
		Slice vb;
		int c;

		if (!wire_value_next(&ca, &va) || !wire_value_next(&cb, &vb))
			return bytes_order(a, b);
		c = value_order(va, vb);
		if (c != 0)
			return c;
	}
	return bytes_order(a, b);
}

/* ---- gathering -------------------------------------------------------------------------------- */

void
comparison_begin(Comparison *comparison)
{
	*comparison = (Comparison){.keys = arena_create(KEYS_BLOCK_BYTES)};
}

bool
comparison_add(Comparison *comparison, Slice key, const Standing *before, const Standing *after)
{
	ComparedItem *item;

	if (before == NULL && after == NULL)
		return true;
	if (comparison->count >= UINT32_MAX - 1)
		return false;
	if (comparison->count == comparison->capacity)
	{
		comparison->capacity = comparison->capacity > 0 ? comparison->capacity * 2 : 1024;
		comparison->items = xrealloc(comparison->items, comparison->capacity * sizeof(*comparison->items));
	}
	item = &comparison->items[comparison->count++];
	/* until the places are known: 1 for there, 0 for not */
	*item = (ComparedItem){.key = arena_copy(comparison->keys, key),
						   .before = before != NULL ? *before : (Standing){0},
						   .after = after != NULL ? *after : (Standing){0},
						   .place_before = before != NULL,
						   .place_after = after != NULL};
	return true;
}

void
comparison_free(Comparison *comparison)
{
	free(comparison->items);
	if (comparison->keys != NULL)
		arena_destroy(comparison->keys);
	*comparison = (Comparison){0};
}

/* ---- places ----------------------------------------------------------------------------------- */

static int
standing_order(const Standing *a, const Standing *b)
{
	if (a->pin != b->pin)
		return a->pin == 0 ? 1 : b->pin == 0 ? -1 : (a->pin > b->pin) - (a->pin < b->pin);
	if (a->tier != b->tier)
		return a->tier > b->tier ? -1 : 1;
	return order(b->score, a->score);
}

static int
before_order(const void *pa, const void *pb)
{
	const ComparedItem *a = *(ComparedItem *const *) pa;
	const ComparedItem *b = *(ComparedItem *const *) pb;
	int c = standing_order(&a->before, &b->before);

	return c != 0 ? c : comparison_key(a->key, b->key);
}

static int
after_order(const void *pa, const void *pb)
{
	const ComparedItem *a = *(ComparedItem *const *) pa;
	const ComparedItem *b = *(ComparedItem *const *) pb;
	int c = standing_order(&a->after, &b->after);

	return c != 0 ? c : comparison_key(a->key, b->key);
}

static void
give_ranks(ComparedItem *const *list, size_t n, bool after)
{
	uint32_t rank = 0;

	for (size_t i = 0; i < n; i++)
	{
		const ComparedItem *last = i > 0 ? list[i - 1] : NULL;

		rank += last == NULL || (after ? standing_order(&last->after, &list[i]->after)
									   : standing_order(&last->before, &list[i]->before)) != 0;
		*(after ? &list[i]->rank_after : &list[i]->rank_before) = rank;
	}
}

/* Returns how many there are. */
static size_t
give_places(Comparison *comparison, ComparedItem **list, bool after)
{
	size_t n = 0;

	for (size_t i = 0; i < comparison->count; i++)
	{
		ComparedItem *item = &comparison->items[i];

		if (after ? item->place_after > 0 : item->place_before > 0)
			list[n++] = item;
	}
	qsort(list, n, sizeof(*list), after ? after_order : before_order);
	for (size_t i = 0; i < n; i++)
		*(after ? &list[i]->place_after : &list[i]->place_before) = (uint32_t) i + 1;
	give_ranks(list, n, after);
	return n;
}

static void
count_items(Comparison *comparison)
{
	for (size_t i = 0; i < comparison->count; i++)
	{
		const ComparedItem *item = &comparison->items[i];

		if (item->place_before == 0)
			comparison->entered++;
		else if (item->place_after == 0)
			comparison->left++;
		else if (standing_order(&item->before, &item->after) != 0)
			comparison->moved++;
		else
			comparison->same++;
		for (int top = 0; top < COMPARISON_TOPS; top++)
			if (item->place_before > 0 && item->place_before <= comparison_tops[top] &&
				item->place_after > 0 && item->place_after <= comparison_tops[top])
				comparison->overlap[top]++;
	}
}

static double
tau_of_both(const Comparison *comparison)
{
	double *x = xmalloc((comparison->count + 1) * sizeof(*x));
	double *y = xmalloc((comparison->count + 1) * sizeof(*y));
	size_t n = 0;
	double tau;

	for (size_t i = 0; i < comparison->count; i++)
	{
		const ComparedItem *item = &comparison->items[i];

		if (item->place_before == 0 || item->place_after == 0)
			continue;
		x[n] = item->rank_before;
		y[n++] = item->rank_after;
	}
	tau = kendall_tau_b(x, y, n);
	free(x);
	free(y);
	return tau;
}

void
comparison_finish(Comparison *comparison)
{
	ComparedItem **list = xmalloc((comparison->count + 1) * sizeof(*list));
	size_t most;

	comparison->before = give_places(comparison, list, false);
	comparison->after = give_places(comparison, list, true);
	free(list);
	count_items(comparison);
	most = comparison->before > comparison->after ? comparison->before : comparison->after;
	for (int i = 0; i < COMPARISON_TOPS; i++)
		comparison->top[i] = most < comparison_tops[i] ? most : comparison_tops[i];
	comparison->tau = tau_of_both(comparison);
}

/* ---- movers ----------------------------------------------------------------------------------- */

typedef struct Mover
{
	const ComparedItem *item;
	uint64_t places;
	uint32_t best;
} Mover;

static Mover
mover_of(const Comparison *comparison, const ComparedItem *item)
{
	uint64_t before = item->place_before > 0 ? item->place_before : comparison->before + 1;
	uint64_t after = item->place_after > 0 ? item->place_after : comparison->after + 1;

	return (Mover){item, before > after ? before - after : after - before,
				   (uint32_t) (before < after ? before : after)};
}

/* The better mover first: what moves further, then what is shown further up, then by key. */
static int
mover_order(const Mover *a, const Mover *b)
{
	if (a->places != b->places)
		return a->places > b->places ? -1 : 1;
	if (a->best != b->best)
		return a->best < b->best ? -1 : 1;
	return comparison_key(a->item->key, b->item->key);
}

size_t
comparison_movers(const Comparison *comparison, const ComparedItem **movers, size_t max)
{
	Mover *list = xmalloc((max + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < comparison->count && max > 0; i++)
	{
		Mover mover = mover_of(comparison, &comparison->items[i]);
		size_t at = n;

		if (mover.places == 0 || (n == max && mover_order(&mover, &list[n - 1]) >= 0))
			continue;
		for (; at > 0 && mover_order(&mover, &list[at - 1]) < 0; at--)
			list[at] = list[at - 1];
		list[at] = mover;
		n += n < max;
	}
	for (size_t i = 0; i < n; i++)
		movers[i] = list[i].item;
	free(list);
	return n;
}

/* ---- Kendall's tau ---------------------------------------------------------------------------- */

typedef struct Pair
{
	double x, y;
} Pair;

static int
pair_order(const void *pa, const void *pb)
{
	const Pair *a = pa;
	const Pair *b = pb;
	int c = order(a->x, b->x);

	return c != 0 ? c : order(a->y, b->y);
}

static double
pairs_among(uint64_t n)
{
	return n < 2 ? 0 : (double) n * (double) (n - 1) / 2;
}

/* Sorted by x, then y: pairs that are tied in x, and in both. */
static void
count_ties(const Pair *pairs, size_t n, double *in_x, double *in_both)
{
	uint64_t run_x = 0;
	uint64_t run_both = 0;

	*in_x = *in_both = 0;
	for (size_t i = 0; i < n; i++)
	{
		const bool x = i > 0 && pairs[i].x == pairs[i - 1].x;
		const bool both = x && pairs[i].y == pairs[i - 1].y;

		if (!x)
		{
			*in_x += pairs_among(run_x);
			run_x = 0;
		}
		if (!both)
		{
			*in_both += pairs_among(run_both);
			run_both = 0;
		}
		run_x++;
		run_both++;
	}
	*in_x += pairs_among(run_x);
	*in_both += pairs_among(run_both);
}

/* Merges [0, mid) and [mid, n), each sorted; how many exchanges of neighbours that stands for. */
static double
merge(const double *from, double *to, size_t mid, size_t n)
{
	double exchanges = 0;
	size_t i = 0;
	size_t j = mid;

	for (size_t k = 0; k < n; k++)
		if (i < mid && (j >= n || from[i] <= from[j]))
			to[k] = from[i++];
		else
		{
			exchanges += (double) (mid - i);
			to[k] = from[j++];
		}
	return exchanges;
}

/* Sorts y; returns the exchanges of neighbours a bubble sort would need: the pairs in opposite order. */
static double
sort_exchanges(double **y, size_t n)
{
	double *from = *y;
	double *to = xmalloc((n + 1) * sizeof(*to));
	double exchanges = 0;

	for (size_t width = 1; width < n; width *= 2)
	{
		double *swap = from;

		for (size_t at = 0; at < n; at += 2 * width)
		{
			size_t left = n - at;

			exchanges +=
				merge(from + at, to + at, left < width ? left : width, left < 2 * width ? left : 2 * width);
		}
		from = to;
		to = swap;
	}
	*y = from;
	free(to);
	return exchanges;
}

double
kendall_tau_b(const double *x, const double *y, size_t n)
{
	Pair *pairs = xmalloc((n + 1) * sizeof(*pairs));
	double *sorted = xmalloc((n + 1) * sizeof(*sorted));
	double all = pairs_among(n);
	double in_x;
	double in_y = 0;
	double in_both;
	double opposite;
	uint64_t run = 0;

	for (size_t i = 0; i < n; i++)
		pairs[i] = (Pair){x[i], y[i]};
	qsort(pairs, n, sizeof(*pairs), pair_order);
	count_ties(pairs, n, &in_x, &in_both);
	for (size_t i = 0; i < n; i++)
		sorted[i] = pairs[i].y;
	free(pairs);
	opposite = sort_exchanges(&sorted, n);
	for (size_t i = 0; i < n; i++)
	{
		if (i > 0 && sorted[i] != sorted[i - 1])
		{
			in_y += pairs_among(run);
			run = 0;
		}
		run++;
	}
	in_y += pairs_among(run);
	free(sorted);
	if (all == in_x || all == in_y)
		return NAN;
	return (all - in_x - in_y + in_both - 2 * opposite) / sqrt((all - in_x) * (all - in_y));
}
