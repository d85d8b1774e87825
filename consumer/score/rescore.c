/*
 * rescore.c -- what one config row means for many items, done in bounded chunks.
 *
 * A job walks the items of one relation in the store's order and evaluates what has not been evaluated
 * under the rankings' present revisions; so a live change that came first has done the work, and one
 * job serves however many rankings were edited.  A newer edit replaces the job.  The cursor is part of
 * the job's row.
 *
 * Fills of sinks (repeat.c) are jobs as well: same rows, same chunks.
 */
#include "score/step.h"

#include <stdlib.h>

#include "base/quote.h"
#include "score/pack.h"

#define JOB_COUNTER "job"
#define JOB_ROW_BYTES (8 + 4 + 1 + 16 + 8)
#define FILL_ROW_BYTES (JOB_ROW_BYTES + 4 + 8)
#define JOB_KEY_BYTES_MAX (4 + RECORD_SINK_BYTES_MAX)

/* ---- rows --------------------------------------------------------------------------------- */

/* The relation's number, big-endian; of a fill 0 and the sink's name. */
static Slice
job_key(const Job *job, uint8_t bytes[JOB_KEY_BYTES_MAX])
{
	const size_t len = strlen(job->sink);

	for (int i = 0; i < 4; i++)
		bytes[i] = len > 0 ? 0 : (uint8_t) (job->relation >> (24 - 8 * i));
	memcpy(bytes + 4, job->sink, len);
	return slice_make(bytes, 4 + len);
}

static bool
job_save(Scorer *scorer, const Job *job, Error *err)
{
	uint8_t key[JOB_KEY_BYTES_MAX];
	uint8_t row[FILL_ROW_BYTES];
	const size_t len = job->sink[0] != '\0' ? FILL_ROW_BYTES : JOB_ROW_BYTES;

	memcpy(row, &job->id, 8);
	memcpy(row + 8, &job->chunk, 4);
	row[12] = job->cursor.started;
	memcpy(row + 13, job->cursor.bytes, 16);
	memcpy(row + 29, &job->items, 8);
	memcpy(row + JOB_ROW_BYTES, &job->relation, 4);
	memcpy(row + JOB_ROW_BYTES + 4, &job->from, 8);
	if (!store_put(scorer->store, STORE_JOB, job_key(job, key), slice_make(row, len), err))
		return error_wrap(err, "rescoring job");
	return true;
}

static bool
job_restore(Scorer *scorer, Slice key, Slice row)
{
	Job job = {0};

	if (key.len < 4 || key.len > JOB_KEY_BYTES_MAX ||
		row.len != (key.len > 4 ? FILL_ROW_BYTES : JOB_ROW_BYTES))
		return false;
	for (int i = 0; i < 4; i++)
		job.relation = job.relation << 8 | key.data[i];
	memcpy(&job.id, row.data, 8);
	memcpy(&job.chunk, row.data + 8, 4);
	job.cursor.started = row.data[12] != 0;
	memcpy(job.cursor.bytes, row.data + 13, 16);
	memcpy(&job.items, row.data + 29, 8);
	if (key.len > 4)
	{
		memcpy(job.sink, key.data + 4, key.len - 4);
		memcpy(&job.relation, row.data + JOB_ROW_BYTES, 4);
		memcpy(&job.from, row.data + JOB_ROW_BYTES + 4, 8);
	}
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
	uint8_t from[JOB_KEY_BYTES_MAX] = {0};
	size_t from_len = 4;
	Slice key;
	Slice value;
	bool found;

	if (!store_get(scorer->store, STORE_META, slice_string(JOB_COUNTER), &value, &found, err))
		return false;
	if (found && value.len == 8)
		memcpy(&scorer->last_job, value.data, 8);
	for (;;)
	{
		if (!store_seek(scorer->store, STORE_JOB, slice_make(from, from_len), true, &key, &value, &found,
						err))
			return false;
		if (!found)
			break;
		if (!job_restore(scorer, key, value))
			return error_set(err, ERR_REFUSE, "unreadable store row of a rescoring job");
		from_len = key.len;
		memcpy(from, key.data, key.len);
	}
	if (scorer->njobs > 1)
		qsort(scorer->jobs, (size_t) scorer->njobs, sizeof(Job), compare_jobs);
	return true;
}

/* ---- jobs --------------------------------------------------------------------------------- */

static void
tell_progress(const Scorer *scorer, const Job *job, ScorerRescore *rescore)
{
	const Relation *relation = relations_by_number(&scorer->relations, job->relation);

	if (job->sink[0] != '\0' || relation == NULL || relation->current == NULL)
		return;
	quote_table(rescore->relation, sizeof(rescore->relation), relation->current->head.schema,
				relation->current->head.table);
	rescore->items = job->items;
	rescore->items_all = relation->items;
}

/* A sink that is filled before all tables are would be shown what lacks some. */
void
rescore_next(const Scorer *scorer, ScorerRescore *rescore)
{
	*rescore = (ScorerRescore){0};
	for (int i = 0; i < scorer->njobs && rescore->job == 0; i++)
	{
		const Job *job = &scorer->jobs[i];

		if (job->sink[0] != '\0' && !scorer->filled)
			continue;
		rescore->job = job->id;
		rescore->chunk = job->chunk;
		tell_progress(scorer, job, rescore);
	}
}

static bool
job_drop(Scorer *scorer, const Job *job, Error *err)
{
	const Job gone = *job;
	uint8_t key[JOB_KEY_BYTES_MAX];
	int kept = 0;
	bool found;

	for (int i = 0; i < scorer->njobs; i++)
		if (scorer->jobs[i].id != gone.id)
			scorer->jobs[kept++] = scorer->jobs[i];
	scorer->njobs = kept;
	return store_delete(scorer->store, STORE_JOB, job_key(&gone, key), &found, err);
}

static bool
job_add(Scorer *scorer, Job *job, Error *err)
{
	job->id = ++scorer->last_job;
	scorer->jobs = xrealloc(scorer->jobs, (size_t) (scorer->njobs + 1) * sizeof(Job));
	scorer->jobs[scorer->njobs++] = *job;
	return store_put(scorer->store, STORE_META, slice_string(JOB_COUNTER), slice_make(&job->id, 8), err) &&
		   job_save(scorer, job, err);
}

bool
rescore_drop(Scorer *scorer, Relation *relation, Error *err)
{
	for (int i = 0; i < scorer->njobs; i++)
		if (scorer->jobs[i].sink[0] == '\0' && scorer->jobs[i].relation == relation->number)
			return job_drop(scorer, &scorer->jobs[i], err);
	return true;
}

bool
rescore_want(Scorer *scorer, Relation *relation, Error *err)
{
	Job job = {.relation = relation->number};

	if (!rescore_drop(scorer, relation, err))
		return false;
	relation->dirty |= relation->stopped;
	relation->stopped = false;
	return relation->items == 0 || job_add(scorer, &job, err);
}

bool
rescore_want_fill(Scorer *scorer, const SinkFill *fill, Error *err)
{
	Job job = {.relation = 1, .from = fill->from};

	memcpy(job.sink, fill->sink, sizeof(job.sink));
	for (int i = 0; i < scorer->njobs; i++)
		if (strcmp(scorer->jobs[i].sink, fill->sink) == 0)
		{
			if (!job_drop(scorer, &scorer->jobs[i], err))
				return false;
			break;
		}
	return job_add(scorer, &job, err);
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
		job->items++;
		buffer_reset(&scorer->key);
		buffer_append_slice(&scorer->key, key);
		if (!rescore_item(scorer, relation, buffer_slice(&scorer->key), err))
			return false;
	}
	return true;
}

static bool
job_chunk(Scorer *scorer, Job *job, bool *done, Error *err)
{
	const uint32_t limit = scorer->unit.limit > 0 ? scorer->unit.limit : scorer->part_changes;
	Relation *relation;

	if (job->sink[0] != '\0')
		return repeat_chunk(scorer, job, limit, done, err);
	relation = relations_by_number(&scorer->relations, job->relation);
	*done = relation == NULL || relation->current == NULL;
	return *done || rescore_items(scorer, relation, job, limit, done, err);
}

/* ---- what somebody asks for ------------------------------------------------------------------ */

/* "WORD relation=TABLE" about a watched table; NULL: it is something else. */
static Relation *
asked_about(const Scorer *scorer, const char *word)
{
	const Slice detail = buffer_slice(&scorer->detail);
	const size_t len = strlen(word);
	char schema[IDENTIFIER_BYTES];
	char table[IDENTIFIER_BYTES];
	const Watch *watch;

	if (detail.len <= len || memcmp(detail.data, word, len) != 0 ||
		!watch_parse(slice_make(detail.data + len, detail.len - len), schema, table))
		return NULL;
	watch = watches_by_name(&scorer->watches, slice_string(schema), slice_string(table));
	return watch != NULL ? watch->relation : NULL;
}

/*
 * Cancelled: items that have not been met keep what they have until something touches them, and the table says so until
 * the next edit, or until somebody asks for all of it once more.
 */
bool
rescore_asked(Scorer *scorer, Error *err)
{
	Relation *relation = asked_about(scorer, RESCORE_CANCEL);

	if (relation != NULL)
	{
		const int before = scorer->njobs;

		if (!rescore_drop(scorer, relation, err))
			return false;
		relation->stopped |= scorer->njobs < before;
		relation->dirty = true;
		return true;
	}
	relation = asked_about(scorer, RESCORE_START);
	if (relation == NULL)
		return true;
	for (int i = 0; i < relation->nrankings; i++)
	{
		relation->rankings[i]->revision++;
		relation->rankings[i]->dirty = true;
	}
	return relation->nrankings == 0 || rescore_want(scorer, relation, err);
}

/* A chunk of a job replaced meanwhile, or one that came already, does nothing. */
bool
rescore_chunk(Scorer *scorer, Error *err)
{
	const Unit *unit = &scorer->unit;
	Job *job = NULL;
	bool done;

	if (unit->id == 0)
		return rescore_asked(scorer, err) && repeat_begin(scorer, err);
	for (int i = 0; i < scorer->njobs; i++)
		if (scorer->jobs[i].id == unit->id)
			job = &scorer->jobs[i];
	if (job == NULL || job->chunk != unit->chunk)
		return true;
	if (!job_chunk(scorer, job, &done, err))
		return false;
	if (done)
		return job_drop(scorer, job, err);
	job->chunk++;
	return job_save(scorer, job, err);
}
