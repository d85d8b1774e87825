/*
 * memory.c -- what attributes were before they last changed: old(), delta(), changed() and "missing last known" read it.
 *
 * Kept with the item, for attributes that some live ranking asks for, from the first change on that comes after it asked.
 * An insert, a new key and an altered table begin without a memory.
 */
#include "score/step.h"

static bool
is_asked_for(const void *context, const WireAttribute *attribute)
{
	const Relation *relation = context;

	for (int i = 0; i < relation->nrankings; i++)
	{
		const Ranking *ranking = relation->rankings[i];

		if (ranking->binding != NULL && ranking->remembers &&
			rules_remembers(ranking->binding, attribute->column, attribute->has_key, attribute->key))
			return true;
	}
	return false;
}

static bool
any_asks(const Relation *relation)
{
	for (int i = 0; i < relation->nrankings; i++)
		if (relation->rankings[i]->remembers)
			return true;
	return false;
}

/* What is known longer, and this change has not replaced. */
static bool
append_older(Buffer *out, const Relation *relation, Slice memory)
{
	const size_t fresh = out->len;
	WireCursor cursor = wire_cursor(memory);
	WireAttribute a;

	while (!wire_done(&cursor))
	{
		const uint8_t *from = cursor.at;

		if (!image_next(&cursor, &a))
			return false;
		if (is_asked_for(relation, &a) && !image_names(slice_make(out->data, fresh), &a))
			buffer_append(out, from, (size_t) (cursor.at - from));
	}
	return true;
}

bool
memory_make(Scorer *scorer, const Relation *relation, bool changed)
{
	const Image *image = &scorer->image;

	if (!any_asks(relation) || !scorer->had_whole || !scorer->same_version || !image->bits_known)
	{
		scorer->memory = (ItemMemory){0};
		return true;
	}
	if (!changed || (image->nchanged == 0 && image->removed.len == 0))
		return true;
	buffer_reset(&scorer->remembered);
	if (!image_replaced(&scorer->remembered, image, scorer->stored, is_asked_for, relation))
		return false;
	scorer->memory.fresh = scorer->remembered.len;
	if (!append_older(&scorer->remembered, relation, scorer->memory.all))
		return false;
	scorer->memory.all = buffer_slice(&scorer->remembered);
	scorer->memory.there = true;
	return true;
}
