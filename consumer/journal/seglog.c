/*
 * seglog.c -- writer, sync and trim of a segmented log; see seglog.h, and segment.h for the bytes.
 *
 * Appending is memcpy and CRC into a buffer.  When the group that reaches segment_bytes is committed the preamble of
 * the next segment is taken at once, so that it shows the owner's state just after that group; the file is made by the
 * next flush.  What was flushed therefore always includes the successor of a full segment.
 */
#include "journal/seglog.h"

#undef NDEBUG /* these assertions guard the promise to the server */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fs.h"
#include "journal/seglog_private.h"

#define BUFFER_BYTES (UINT32_C(1) << 20) /* handed to the kernel when it holds this much */
#define BUFFER_KEEP_BYTES (UINT32_C(8) << 20)

/* ---- shared helpers --------------------------------------------------------------------------- */

SegLog *
seglog_alloc(int dirfd, const SegSettings *settings, Error *err)
{
	SegLog *log = xcalloc(1, sizeof(*log));
	pthread_condattr_t attr;

	assert(settings->header.len <= SEGMENT_OWNER_BYTES_MAX);
	if (!fs_dup(dirfd, &log->dirfd, err))
	{
		error_wrap(err, "%s directory", settings->what);
		free(log);
		return NULL;
	}
	log->settings = *settings;
	buffer_append_slice(&log->owner, settings->header);
	log->settings.header = buffer_slice(&log->owner);
	pthread_mutex_init(&log->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&log->moved, &attr);
	pthread_condattr_destroy(&attr);
	return log;
}

void
seglog_close(SegLog *log)
{
	if (log == NULL)
		return;
	for (int i = 0; i < log->n; i++)
		if (log->segments[i].fd >= 0)
			fs_close(log->segments[i].fd);
	free(log->segments);
	buffer_free(&log->buffer);
	buffer_free(&log->preamble);
	buffer_free(&log->owner);
	pthread_cond_destroy(&log->moved);
	pthread_mutex_destroy(&log->lock);
	fs_close(log->dirfd);
	free(log);
}

void
seglog_add_segment(SegLog *log, Segment segment)
{
	if (log->n == log->capacity)
	{
		log->capacity = log->capacity > 0 ? 2 * log->capacity : 8;
		log->segments = xrealloc(log->segments, (size_t) log->capacity * sizeof(Segment));
	}
	log->segments[log->n++] = segment;
}

bool
seglog_poison(SegLog *log, const Error *err)
{
	pthread_mutex_lock(&log->lock);
	if (!log->poisoned)
	{
		log->poisoned = true;
		log->poison = *err;
	}
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
	return false;
}

bool
seglog_healthy(SegLog *log, Error *err)
{
	bool poisoned;

	pthread_mutex_lock(&log->lock);
	poisoned = log->poisoned;
	if (poisoned)
		*err = log->poison;
	pthread_mutex_unlock(&log->lock);
	return !poisoned;
}

bool
seglog_wait(SegLog *log, int64_t deadline_us)
{
	struct timespec until = {.tv_sec = deadline_us / 1000000, .tv_nsec = deadline_us % 1000000 * 1000};

	return pthread_cond_timedwait(&log->moved, &log->lock, &until) != ETIMEDOUT;
}

static Segment *
active(SegLog *log)
{
	return &log->segments[log->n - 1];
}

static uint64_t
disk_bytes(const Segment *segment)
{
	return segment->packed > 0 ? segment->packed : segment->bytes;
}

/* Caller holds the lock or is alone. */
static void
count_older(SegLog *log)
{
	uint64_t bytes = 0;

	for (int i = 0; i < log->n - 1; i++)
		bytes += disk_bytes(&log->segments[i]);
	atomic_store(&log->older_bytes, bytes);
}

/* ---- segments --------------------------------------------------------------------------------- */

bool
seglog_make_segment(SegLog *log, uint32_t number, SegPosition prev, Slice preamble, Segment *segment,
					Error *err)
{
	SegmentHeader header = {.stream_id = log->settings.stream_id, .prev = prev, .number = number};
	uint32_t magic = log->settings.magic;
	char name[SEGMENT_NAME_BYTES];
	Buffer bytes = {0};
	size_t start;
	bool ok;

	assert(preamble.len <= SEGMENT_PAYLOAD_BYTES_MAX);
	segment_header_put(&bytes, magic, &header, log->settings.header);
	start = bytes.len;
	segment_record_begin(buffer_reserve(&bytes, SEGMENT_RECORD_BYTES), magic, SEGMENT_PREAMBLE, prev, 0);
	bytes.len += SEGMENT_RECORD_BYTES;
	buffer_append_slice(&bytes, preamble);
	segment_record_seal(bytes.data + start, preamble.len, SEGMENT_FIRST | SEGMENT_LAST,
						segment_seed(&header.stream_id, magic, number), start);
	*segment = (Segment){.number = number, .prev = prev, .bytes = bytes.len, .fd = -1};
	segment_name(number, name);
	/* O_TRUNC: an attempt that failed for want of space may have left its file */
	ok = fs_open(log->dirfd, name, O_CREAT | O_TRUNC | O_RDWR, &segment->fd, err) &&
		 fs_pwrite(segment->fd, bytes.data, bytes.len, 0, err);
	if (!ok && segment->fd >= 0)
	{
		fs_close(segment->fd);
		fs->unlinkat(log->dirfd, name);
	}
	buffer_free(&bytes);
	return ok || error_wrap(err, "%s segment %010u", log->settings.what, number);
}

void
seglog_resume(SegLog *log, SegPosition last)
{
	log->fd = active(log)->fd;
	log->number = active(log)->number;
	log->file_bytes = active(log)->bytes;
	log->seed = segment_seed(&log->settings.stream_id, log->settings.magic, active(log)->number);
	buffer_reset(&log->buffer);
	log->committed = 0;
	log->record_open = log->group_open = log->rotate = log->revocable = false;
	log->sealed = false;
	log->last = log->flushed = log->durable = log->before = last;
	log->durable_number = active(log)->number;
	log->durable_bytes = active(log)->bytes;
	count_older(log);
}

/* A creation that was cut short may have left the first segment, never a group in it. */
static bool
clear_unfinished(SegLog *log, Error *err)
{
	const char *what = log->settings.what;
	uint32_t seed = segment_seed(&log->settings.stream_id, log->settings.magic, 1);
	char name[SEGMENT_NAME_BYTES];
	SegVerify report;
	uint32_t *numbers;
	uint64_t bytes;
	SegFile *file;
	bool found = false;
	bool ok;
	int n;

	if (!segment_list(log->dirfd, &numbers, &n, err))
		return false;
	ok = n == 0 || (n == 1 && numbers[0] == 1);
	free(numbers);
	if (ok && n == 0)
		return true;
	segment_name(1, name);
	if (ok && seglog_verify(log->dirfd, what, log->settings.magic, NULL, &report, err))
		ok = report.groups == 0;
	else if (ok)
	{
		if (!segfile_open(log->dirfd, 1, &file, err))
			return false;
		ok = segfile_bytes(file, &bytes, err) &&
			 segment_find_valid(file, log->settings.magic, seed, 0, bytes, &found, err) && !found;
		segfile_close(file);
	}
	if (!ok)
		return error_set(err, ERR_REFUSE, "the %s directory already holds a log", what);
	return fs->unlinkat(log->dirfd, name) == 0 || error_errno(err, "could not remove \"%s\"", name);
}

bool
seglog_create(int dirfd, const SegSettings *settings, SegLog **result, Error *err)
{
	SegLog *log = seglog_alloc(dirfd, settings, err);
	Segment segment;
	bool ok;

	*result = NULL;
	if (log == NULL)
		return false;
	ok = clear_unfinished(log, err);
	if (ok)
	{
		settings->preamble(settings->context, &log->preamble);
		ok = seglog_make_segment(log, 1, (SegPosition){0, 0}, buffer_slice(&log->preamble), &segment, err);
	}
	if (ok)
	{
		seglog_add_segment(log, segment);
		seglog_resume(log, (SegPosition){0, 0});
		ok = fs_sync(segment.fd, err) && fs_sync_dir(log->dirfd, err);
	}
	if (!ok)
	{
		seglog_close(log);
		return false;
	}
	*result = log;
	return true;
}

/* ---- appending -------------------------------------------------------------------------------- */

/* Only the file moves on; who may see it is publish()'s matter. */
static bool
write_out(SegLog *log, Error *err)
{
	size_t len = log->record_open ? log->record : log->buffer.len;
	Error ignored;

	if (len == 0)
		return true;
	if (!fs_pwrite(log->fd, log->buffer.data, len, log->file_bytes, err))
	{
		error_wrap(err, "%s segment %010u", log->settings.what, log->number);
		/* half a record must not stand where the next one will be written after a crash */
		if (err->class != ERR_SPACE || !fs_truncate(log->fd, log->file_bytes, &ignored))
		{
			err->class = ERR_DISK;
			seglog_poison(log, err);
		}
		return false;
	}
	memmove(log->buffer.data, log->buffer.data + len, log->buffer.len - len);
	log->buffer.len -= len;
	log->file_bytes += len;
	log->record -= log->record_open ? len : 0;
	if (log->buffer.capacity > BUFFER_KEEP_BYTES && log->buffer.len == 0)
		buffer_free(&log->buffer);

	pthread_mutex_lock(&log->lock);
	active(log)->bytes = log->group_open ? log->group_start : log->file_bytes; /* whole groups only */
	log->flushed = log->last;
	log->flushed_tag = log->tag;
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
	log->committed = 0;
	return true;
}

static bool
rotate(SegLog *log, Error *err)
{
	Segment segment;

	assert(log->buffer.len == 0 && !log->group_open);
	if (!seglog_make_segment(log, log->number + 1, log->last, buffer_slice(&log->preamble), &segment, err))
	{
		if (err->class != ERR_SPACE)
			seglog_poison(log, err);
		return false;
	}
	pthread_mutex_lock(&log->lock);
	seglog_add_segment(log, segment);
	count_older(log);
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
	log->fd = segment.fd;
	log->number = segment.number;
	log->file_bytes = segment.bytes;
	log->seed = segment_seed(&log->settings.stream_id, log->settings.magic, segment.number);
	log->rotate = log->sealed = log->revocable = false;
	return true;
}

bool
seglog_flush(SegLog *log, Error *err)
{
	if (!seglog_healthy(log, err))
		return false;
	if (log->committed > 0 && !write_out(log, err))
		return false;
	return !log->rotate || rotate(log, err);
}

/* Is there room for a record of so many bytes? */
static bool
check_quota(SegLog *log, uint64_t payload, Error *err)
{
	uint64_t quota = atomic_load(&log->quota);
	uint64_t bytes = atomic_load(&log->older_bytes) + log->file_bytes + log->buffer.len;
	bool full = quota > 0 && bytes + SEGMENT_RECORD_BYTES + payload > quota;

	if (full != atomic_load(&log->full))
		atomic_store(&log->full, full);
	return !full || error_set(err, ERR_SPACE, "the %s's quota of %llu bytes is used up", log->settings.what,
							  (unsigned long long) quota);
}

bool
seglog_begin(SegLog *log, SegPosition at, Error *err)
{
	assert(!log->group_open);
	assert(seg_follows(log->last, at));
	if ((log->rotate && !seglog_flush(log, err)) || !check_quota(log, 0, err))
		return false;
	pthread_mutex_lock(&log->lock);
	log->sealed = !log->settings.derived && log->durable_number >= log->number;
	log->claim = log->sealed && log->durable_number == log->number ? log->durable_bytes : 0;
	if (log->poisoned)
	{
		*err = log->poison;
		pthread_mutex_unlock(&log->lock);
		return false;
	}
	pthread_mutex_unlock(&log->lock);
	log->group_open = true;
	log->revocable = false;
	log->group = at;
	log->index = 0;
	log->group_start = log->file_bytes + log->buffer.len;
	return true;
}

static void
seal_record(SegLog *log, bool last)
{
	uint8_t flags = (log->index == 1 ? SEGMENT_FIRST : 0) | (last ? SEGMENT_LAST : 0) |
					(log->sealed ? SEGMENT_SEALED : 0);

	if (log->claim > 0)
		segment_record_claim(log->buffer.data + log->record, log->file_bytes + log->record, log->claim);
	segment_record_seal(log->buffer.data + log->record, log->buffer.len - log->record - SEGMENT_RECORD_BYTES,
						flags, log->seed, log->file_bytes + log->record);
	log->record_open = false;
}

bool
seglog_append(SegLog *log, uint8_t type, bool last, const Slice *slices, int n, Error *err)
{
	uint64_t len = 0;

	assert(log->group_open && type != 0 && type != SEGMENT_PREAMBLE);
	for (int i = 0; i < n; i++)
		len += slices[i].len;
	if (len > SEGMENT_PAYLOAD_BYTES_MAX)
		return error_set(err, ERR_DATA, "%s record of %llu bytes is too large", log->settings.what,
						 (unsigned long long) len);
	if (!check_quota(log, len, err))
		return false;
	if ((log->record_open ? log->record : log->buffer.len) >= BUFFER_BYTES && !write_out(log, err))
		return false;
	if (log->record_open)
		seal_record(log, false);
	log->record = log->buffer.len;
	log->record_open = true;
	buffer_reserve(&log->buffer, SEGMENT_RECORD_BYTES + (size_t) len);
	segment_record_begin(log->buffer.data + log->record, log->settings.magic, type, log->group, log->index++);
	log->buffer.len += SEGMENT_RECORD_BYTES;
	for (int i = 0; i < n; i++)
		buffer_append_slice(&log->buffer, slices[i]);
	if (last)
		seglog_commit(log, 0);
	return true;
}

void
seglog_commit(SegLog *log, uint64_t tag)
{
	assert(log->group_open && log->record_open);
	seal_record(log, true);
	log->group_open = false;
	log->committed = log->buffer.len;
	log->before = log->last;
	log->revocable = true;
	pthread_mutex_lock(&log->lock);
	log->last = log->group;
	log->tag_before = log->tag;
	log->tag = tag;
	pthread_mutex_unlock(&log->lock);
	if (log->file_bytes + log->buffer.len < log->settings.segment_bytes)
		return;
	log->rotate = true;
	buffer_reset(&log->preamble);
	log->settings.preamble(log->settings.context, &log->preamble);
}

bool
seglog_abandon(SegLog *log, Error *err)
{
	if (!log->group_open)
		return true;
	log->group_open = log->record_open = false;
	if (log->group_start >= log->file_bytes)
	{
		log->buffer.len = (size_t) (log->group_start - log->file_bytes);
		return true;
	}
	log->buffer.len = 0;
	log->file_bytes = log->group_start;
	if (fs_truncate(log->fd, log->group_start, err))
		return true;
	error_wrap(err, "%s segment %010u", log->settings.what, log->number);
	return seglog_poison(log, err);
}

bool
seglog_revoke(SegLog *log)
{
	if (!log->revocable || log->group_open || log->group_start < log->file_bytes)
		return false;
	log->buffer.len = log->committed = (size_t) (log->group_start - log->file_bytes);
	log->rotate = log->revocable = false;
	pthread_mutex_lock(&log->lock);
	log->last = log->before;
	log->tag = log->tag_before;
	pthread_mutex_unlock(&log->lock);
	return true;
}

/* ---- durability ------------------------------------------------------------------------------- */

/* Descriptors of what is not synced yet, oldest first. */
static int *
unsynced(SegLog *log, int *n)
{
	int *fds = xmalloc((size_t) log->n * sizeof(int));

	*n = 0;
	for (int i = 0; i < log->n; i++)
		if (log->segments[i].fd >= 0)
			fds[(*n)++] = log->segments[i].fd;
	return fds;
}

/* Older segments will not change any more. */
static void
close_older(SegLog *log, uint32_t number)
{
	for (int i = 0; i < log->n - 1 && log->segments[i].number < number; i++)
		if (log->segments[i].fd >= 0)
		{
			fs_close(log->segments[i].fd);
			log->segments[i].fd = -1;
		}
}

bool
seglog_sync(SegLog *log, Error *err)
{
	SegPosition target;
	uint64_t tag;
	uint64_t bytes;
	uint32_t number;
	bool names;
	bool ok = true;
	int *fds;
	int n;

	pthread_mutex_lock(&log->lock);
	target = log->flushed;
	tag = log->flushed_tag;
	number = active(log)->number;
	bytes = active(log)->bytes;
	names = number > log->durable_number;
	if (log->poisoned || (!names && seg_compare(target, log->durable) <= 0))
	{
		ok = !log->poisoned;
		if (!ok)
			*err = log->poison;
		pthread_mutex_unlock(&log->lock);
		return ok;
	}
	fds = unsynced(log, &n);
	pthread_mutex_unlock(&log->lock);

	/* in the order of writing; a name counts once its directory is synced */
	for (int i = 0; ok && i < n; i++)
		ok = fs_datasync(fds[i], err);
	ok = ok && (!names || fs_sync_dir(log->dirfd, err));
	free(fds);
	if (!ok)
	{
		error_wrap(err, "%s segment %010u", log->settings.what, number);
		return seglog_poison(log, err);
	}
	pthread_mutex_lock(&log->lock);
	log->durable = target;
	log->durable_tag = tag;
	log->durable_number = number;
	log->durable_bytes = bytes;
	close_older(log, number);
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
	return true;
}

bool
seglog_wait_durable(SegLog *log, SegPosition at, int64_t timeout_us)
{
	int64_t deadline = clock_monotonic_us() + timeout_us;
	bool reached;

	pthread_mutex_lock(&log->lock);
	while (!log->poisoned && seg_compare(log->durable, at) < 0 && seglog_wait(log, deadline))
		;
	reached = !log->poisoned && seg_compare(log->durable, at) >= 0;
	pthread_mutex_unlock(&log->lock);
	return reached;
}

bool
seglog_wait_unsynced(SegLog *log, uint64_t *wakes, int64_t timeout_us)
{
	int64_t deadline = clock_monotonic_us() + timeout_us;
	bool work;

	pthread_mutex_lock(&log->lock);
	while (!log->poisoned && seg_compare(log->flushed, log->durable) <= 0 && *wakes == log->wakes &&
		   seglog_wait(log, deadline))
		;
	*wakes = log->wakes;
	work = log->poisoned || seg_compare(log->flushed, log->durable) > 0;
	pthread_mutex_unlock(&log->lock);
	return work;
}

void
seglog_wake(SegLog *log)
{
	pthread_mutex_lock(&log->lock);
	log->wakes++;
	pthread_cond_broadcast(&log->moved);
	pthread_mutex_unlock(&log->lock);
}

/* ---- marks ------------------------------------------------------------------------------------ */

static SegPosition
mark(SegLog *log, const SegPosition *at)
{
	SegPosition position;

	pthread_mutex_lock(&log->lock);
	position = *at;
	pthread_mutex_unlock(&log->lock);
	return position;
}

SegPosition
seglog_first(SegLog *log)
{
	SegPosition position;

	pthread_mutex_lock(&log->lock);
	position = (SegPosition){log->segments[0].prev.seq + 1, 0};
	pthread_mutex_unlock(&log->lock);
	return position;
}

SegPosition
seglog_last(SegLog *log)
{
	return mark(log, &log->last);
}

SegPosition
seglog_flushed(SegLog *log)
{
	return mark(log, &log->flushed);
}

SegPosition
seglog_durable(SegLog *log)
{
	return mark(log, &log->durable);
}

SegPosition
seglog_durable_tag(SegLog *log, uint64_t *tag)
{
	SegPosition position;

	pthread_mutex_lock(&log->lock);
	position = log->durable;
	*tag = log->durable_tag;
	pthread_mutex_unlock(&log->lock);
	return position;
}

void
seglog_set_tag(SegLog *log, uint64_t tag)
{
	pthread_mutex_lock(&log->lock);
	log->tag = log->flushed_tag = log->durable_tag = tag;
	pthread_mutex_unlock(&log->lock);
}

uint64_t
seglog_bytes(SegLog *log)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&log->lock);
	for (int i = 0; i < log->n; i++)
		bytes += disk_bytes(&log->segments[i]);
	pthread_mutex_unlock(&log->lock);
	return bytes;
}

int
seglog_list(SegLog *log, SegInfo **segments)
{
	int n;

	pthread_mutex_lock(&log->lock);
	n = log->n;
	*segments = xcalloc((size_t) n, sizeof(SegInfo));
	for (int i = 0; i < n; i++)
		(*segments)[i] =
			(SegInfo){log->segments[i].number, log->segments[i].prev, disk_bytes(&log->segments[i])};
	pthread_mutex_unlock(&log->lock);
	return n;
}

void
seglog_set_quota(SegLog *log, uint64_t bytes)
{
	atomic_store(&log->quota, bytes);
}

bool
seglog_full(SegLog *log)
{
	return atomic_load(&log->full);
}

int
seglog_segments(SegLog *log)
{
	int n;

	pthread_mutex_lock(&log->lock);
	n = log->n;
	pthread_mutex_unlock(&log->lock);
	return n;
}

/* Oldest first, so that a crash leaves no hole; what is not durable yet, or being compressed, stays. */
bool
seglog_trim(SegLog *log, SegPosition at, Error *err)
{
	char name[SEGMENT_NAME_BYTES];
	bool removed = false;
	bool ok = true;

	pthread_mutex_lock(&log->lock);
	while (ok && log->n > 1 && log->segments[0].fd < 0 && !log->segments[0].busy &&
		   seg_compare(log->segments[1].prev, at) < 0)
	{
		(log->segments[0].packed > 0 ? segment_packed_name : segment_name)(log->segments[0].number, name);
		ok = fs->unlinkat(log->dirfd, name) == 0 ||
			 error_errno(err, "could not remove %s segment \"%s\"", log->settings.what, name);
		if (!ok)
			break;
		memmove(log->segments, log->segments + 1, (size_t) (--log->n) * sizeof(Segment));
		removed = true;
	}
	count_older(log);
	pthread_mutex_unlock(&log->lock);
	return ok && (!removed || fs_sync_dir(log->dirfd, err) || seglog_poison(log, err));
}

/* ---- compressing ------------------------------------------------------------------------------ */

/* The oldest plain segment of groups before `below` that nobody writes or syncs any more; 0: none. */
static uint32_t
claim_packable(SegLog *log, SegPosition below)
{
	uint32_t number = 0;

	pthread_mutex_lock(&log->lock);
	for (int i = 0; i < log->n - 1 && number == 0; i++)
	{
		Segment *segment = &log->segments[i];

		if (segment[1].prev.seq >= below.seq)
			break;
		if (segment->fd >= 0 || segment->packed > 0 || segment->busy)
			continue;
		segment->busy = true; /* it is not trimmed meanwhile */
		number = segment->number;
	}
	pthread_mutex_unlock(&log->lock);
	return number;
}

static void
release_packed(SegLog *log, uint32_t number, uint64_t packed)
{
	Segment *segment;

	pthread_mutex_lock(&log->lock);
	segment = &log->segments[number - log->segments[0].number];
	segment->packed = packed;
	segment->busy = false;
	count_older(log);
	pthread_mutex_unlock(&log->lock);
}

bool
seglog_pack(SegLog *log, SegPosition below, const atomic_bool *stop, bool *packed, Error *err)
{
	uint32_t number = claim_packable(log, below);
	char name[SEGMENT_NAME_BYTES];
	uint64_t bytes = 0;

	*packed = false;
	if (number == 0)
		return true;
	if (!segfile_pack(log->dirfd, number, stop, &bytes, err))
	{
		release_packed(log, number, 0);
		return error_wrap(err, "compressing %s segment %010u", log->settings.what, number);
	}
	segment_name(number, name);
	if (fs->unlinkat(log->dirfd, name) != 0)
	{
		/* a plain file left behind would count for more than the compressed one when that is trimmed */
		error_errno(err, "could not remove %s segment \"%s\"", log->settings.what, name);
		err->class = ERR_DISK;
		return seglog_poison(log, err);
	}
	release_packed(log, number, bytes);
	*packed = true;
	return fs_sync_dir(log->dirfd, err) || seglog_poison(log, err);
}
