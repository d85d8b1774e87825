/*
 * rescore.c -- what one config row means for many items, done in bounded chunks.
 *
 * A job walks the items of one relation in the store's order and evaluates what has not been evaluated
 * under the rankings' present revisions; so a live change that came first has done the work, and one
 * job serves however many rankings were edited.  A newer edit replaces the job.  The cursor is part of
 * the job's row.
 */
#include "score/step.h"

#include <stdlib.h>

#include "score/pack.h"

#define JOB_COUNTER "job"
#define JOB_ROW_BYTES (8 + 4 + 1 + 16)

/* ---- rows --------------------------------------------------------------------------------- */

static Slice
job_key(uint32_t relation, uint8_t bytes[4])
{
	for (int i = 0; i < 4; i++)
		bytes[i] = (uint8_t) (relation >> (24 - 8 * i));
	return slice_make(bytes, 4);
}

static bool
job_save(Scorer *scorer, const Job *job, Error *err)
{
	uint8_t key[4];
	uint8_t row[JOB_ROW_BYTES];

	memcpy(row, &job->id, 8);
	memcpy(row + 8, &job->chunk, 4);
	row[12] = job->cursor.started;
	memcpy(row + 13, job->cursor.bytes, 16);
	if (!store_put(scorer->store, STORE_JOB, job_key(job->relation, key), slice_make(row, sizeof(row)), err))
		return error_wrap(err, "rescoring job");
	return true;
}

static bool
job_restore(Scorer *scorer, Slice key, Slice row)
{
	Job job = {0};

	if (key.len != 4 || row.len != JOB_ROW_BYTES)
		return false;
	for (int i = 0; i < 4; i++)
		job.relation = job.relation << 8 | key.data[i];
	memcpy(&job.id, row.data, 8);
	memcpy(&job.chunk, row.data + 8, 4);
	job.cursor.started = row.data[12] != 0;
	memcpy(job.cursor.bytes, row.data + 13, 16);
	scorer->jobs = xrealloc(scorer->jobs, (size_t) (scorer->njobs + 1) * sizeof(Job));
	scorer->jobs[scorer->njobs++] = job;
	return true;
}

static int
compare_jobs(const void *a, const void *b)
{
	const Job *left = a;
	const Job *right = b;

	return left->id < right->id ? -1 : left->id > right->id;
}

bool
rescore_load(Scorer *scorer, Error *err)
{
	uint8_t from[4] = {0};
	Slice key;
	Slice value;
	bool found;

	if (!store_get(scorer->store, STORE_META, slice_string(JOB_COUNTER), &value, &found, err))
		return false;
	if (found && value.len == 8)
		memcpy(&scorer->last_job, value.data, 8);
	for (;;)
	{
		if (!store_seek(scorer->store, STORE_JOB, slice_make(from, 4), true, &key, &value, &found, err))
			return false;
		if (!found)
			break;
		if (!job_restore(scorer, key, value))
			return error_set(err, ERR_REFUSE, "unreadable store row of a rescoring job");
		memcpy(from, key.data, 4);
	}
	if (scorer->njobs > 1)
		qsort(scorer->jobs, (size_t) scorer->njobs, sizeof(Job), compare_jobs);
	return true;
}

/* ---- jobs --------------------------------------------------------------------------------- */

void
rescore_next(const Scorer *scorer, uint64_t *job, uint32_t *chunk)
{
	*job = scorer->njobs > 0 ? scorer->jobs[0].id : 0;
	*chunk = scorer->njobs > 0 ? scorer->jobs[0].chunk : 0;
}

bool
rescore_drop(Scorer *scorer, Relation *relation, Error *err)
{
	uint8_t key[4];
	int kept = 0;
	bool found;

	for (int i = 0; i < scorer->njobs; i++)
		if (scorer->jobs[i].relation != relation->number)
			scorer->jobs[kept++] = scorer->jobs[i];
	if (kept == scorer->njobs)
		return true;
	scorer->njobs = kept;
	return store_delete(scorer->store, STORE_JOB, job_key(relation->number, key), &found, err);
}

bool
rescore_want(Scorer *scorer, Relation *relation, Error *err)
{
	Job job = {.relation = relation->number};

	if (!rescore_drop(scorer, relation, err))
		return false;
	if (relation->items == 0)
		return true;
	job.id = ++scorer->last_job;
	scorer->jobs = xrealloc(scorer->jobs, (size_t) (scorer->njobs + 1) * sizeof(Job));
	scorer->jobs[scorer->njobs++] = job;
	return store_put(scorer->store, STORE_META, slice_string(JOB_COUNTER), slice_make(&job.id, 8), err) &&
		   job_save(scorer, &job, err);
}

/* One item; those not complete, or not evaluable under the current version, wait for their row. */
static bool
rescore_item(Scorer *scorer, Relation *relation, Slice key, Error *err)
{
	Slice image;
	bool modified;

	scorer->change++;
	if (!show_load(scorer, relation, key, &image, err))
		return false;
	if (!scorer->had || !scorer->had_whole || (!scorer->same_version && image_unknown(image) >= 0))
		return true;
	scorer->counters.rescored++;
	return show_stale(scorer, relation, key, image, &modified, err);
}

/* *done: no item is left. */
static bool
rescore_items(Scorer *scorer, Relation *relation, Job *job, uint32_t limit, bool *done, Error *err)
{
	*done = false;
	for (uint32_t i = 0; i < limit; i++)
	{
		Slice key;
		Slice value;

		if (!store_item_next(scorer->store, relation->number, &job->cursor, &key, &value, done, err))
			return error_wrap(err, "rescoring job %llu", (unsigned long long) job->id);
		if (*done)
			return true;
		buffer_reset(&scorer->key);
		buffer_append_slice(&scorer->key, key);
		if (!rescore_item(scorer, relation, buffer_slice(&scorer->key), err))
			return false;
	}
	return true;
}

/* A chunk of a job replaced meanwhile, or one that came already, does nothing. */
bool
rescore_chunk(Scorer *scorer, Error *err)
{
	const Unit *unit = &scorer->unit;
	Relation *relation;
	Job *job = NULL;
	bool done;

	for (int i = 0; i < scorer->njobs; i++)
		if (scorer->jobs[i].id == unit->id)
			job = &scorer->jobs[i];
	if (job == NULL || job->chunk != unit->chunk)
		return true;
	relation = relations_by_number(&scorer->relations, job->relation);
	if (relation == NULL || relation->current == NULL)
		return true;
	if (!rescore_items(scorer, relation, job, unit->limit > 0 ? unit->limit : scorer->part_changes, &done,
					   err))
		return false;
	if (done)
		return rescore_drop(scorer, relation, err);
	job->chunk++;
	return job_save(scorer, job, err);
}
