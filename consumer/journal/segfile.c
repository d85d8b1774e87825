/*
 * segfile.c -- see segfile.h.
 */
#include "journal/segfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/fs.h"

#define LEVEL 3
#define IN_BYTES (128 * 1024)
#define OUT_BYTES (128 * 1024)
#define SUFFIX_PACKED ".zst"
#define SUFFIX_TMP ".tmp"

struct SegFile
{
	int fd;
	bool packed;
	/* packed only */
	uint64_t bytes; /* of the plain file */
	ZSTD_DCtx *zstd;
	uint8_t *in;
	size_t in_at, in_len;
	uint64_t in_offset; /* in the compressed file, of what comes after `in` */
	uint64_t position;	/* in the plain file, of what comes out next */
	size_t left;		/* what the library expects still: 0 = the frame is complete, checksum and all */
};

/* ---- names ------------------------------------------------------------------------------------ */

void
segment_name(uint32_t number, char name[SEGMENT_NAME_BYTES])
{
	snprintf(name, SEGMENT_NAME_BYTES, "%010u.seg", number);
}

void
segment_packed_name(uint32_t number, char name[SEGMENT_NAME_BYTES])
{
	snprintf(name, SEGMENT_NAME_BYTES, "%010u.seg" SUFFIX_PACKED, number);
}

/* *rest: what follows ".seg" */
static bool
parse_name(const char *name, uint32_t *number, const char **rest)
{
	uint64_t v = 0;
	int i;

	for (i = 0; i < 10 && name[i] >= '0' && name[i] <= '9'; i++)
		v = v * 10 + (uint64_t) (name[i] - '0');
	if (i != 10 || strncmp(name + i, ".seg", 4) != 0 || v == 0 || v > UINT32_MAX)
		return false;
	*number = (uint32_t) v;
	*rest = name + i + 4;
	return true;
}

bool
segment_number(const char *name, uint32_t *number)
{
	const char *rest;

	return parse_name(name, number, &rest) && (rest[0] == '\0' || strcmp(rest, SUFFIX_PACKED) == 0);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static bool
damaged(const SegFile *file, Error *err, const char *why)
{
	return error_set(err, ERR_REFUSE, "its compressed file is damaged at or after offset %llu: %s",
					 (unsigned long long) file->position, why);
}

static void
rewind_packed(SegFile *file)
{
	ZSTD_DCtx_reset(file->zstd, ZSTD_reset_session_only);
	file->in_at = file->in_len = 0;
	file->in_offset = file->position = 0;
	file->left = 1;
}

static bool
begin_packed(SegFile *file, Error *err)
{
	unsigned long long bytes;
	size_t got;

	file->zstd = ZSTD_createDCtx();
	file->in = xmalloc(IN_BYTES);
	if (file->zstd == NULL)
		return error_set(err, ERR_RETRY, "out of memory");
	rewind_packed(file);
	if (!fs_pread(file->fd, file->in, 32, 0, &got, err))
		return false;
	bytes = ZSTD_getFrameContentSize(file->in, got);
	if (bytes == ZSTD_CONTENTSIZE_UNKNOWN || bytes == ZSTD_CONTENTSIZE_ERROR)
		return damaged(file, err, "no sound header");
	file->bytes = bytes;
	return true;
}

static bool
open_named(int dirfd, const char *name, bool packed, SegFile **result, Error *err)
{
	SegFile *file = xcalloc(1, sizeof(*file));
	int saved;

	file->packed = packed;
	if (!fs_open(dirfd, name, O_RDONLY, &file->fd, err))
	{
		saved = errno;
		free(file);
		errno = saved; /* some ask for ENOENT */
		return false;
	}
	if (packed && !begin_packed(file, err))
	{
		segfile_close(file);
		errno = 0;
		return error_wrap(err, "\"%s\"", name);
	}
	*result = file;
	return true;
}

bool
segfile_open(int dirfd, uint32_t number, SegFile **file, Error *err)
{
	char name[SEGMENT_NAME_BYTES];
	Error plain;

	*file = NULL;
	segment_name(number, name);
	if (open_named(dirfd, name, false, file, &plain))
		return true;
	if (errno == ENOENT)
	{
		segment_packed_name(number, name);
		if (open_named(dirfd, name, true, file, err))
			return true;
		if (errno != ENOENT)
			return false;
	}
	*err = plain;
	return false;
}

void
segfile_close(SegFile *file)
{
	if (file == NULL)
		return;
	fs_close(file->fd);
	ZSTD_freeDCtx(file->zstd);
	free(file->in);
	free(file);
}

bool
segfile_packed(const SegFile *file)
{
	return file->packed;
}

bool
segfile_disk_bytes(SegFile *file, uint64_t *bytes, Error *err)
{
	return fs_size(file->fd, bytes, err);
}

bool
segfile_bytes(SegFile *file, uint64_t *bytes, Error *err)
{
	*bytes = file->bytes;
	return file->packed || fs_size(file->fd, bytes, err);
}

void
segfile_forget(SegFile *file)
{
	fs_forget(file->fd);
}

bool
segfile_sync(SegFile *file, Error *err)
{
	return fs_datasync(file->fd, err);
}

/* What comes next, up to len bytes; less only at the end of the frame, whose checksum is then right. */
static bool
read_packed(SegFile *file, uint8_t *data, size_t len, size_t *got, Error *err)
{
	ZSTD_outBuffer out = {data, len, 0};

	while (out.pos < len && file->left != 0)
	{
		ZSTD_inBuffer in = {file->in, file->in_len, file->in_at};
		size_t before = out.pos;

		if (in.pos == in.size)
		{
			if (!fs_pread(file->fd, file->in, IN_BYTES, file->in_offset, &file->in_len, err))
				return false;
			file->in_offset += file->in_len;
			in = (ZSTD_inBuffer){file->in, file->in_len, 0};
			if (file->in_len == 0)
				return damaged(file, err, "it ends too early");
		}
		file->left = ZSTD_decompressStream(file->zstd, &out, &in);
		file->in_at = in.pos;
		file->position += out.pos - before;
		if (ZSTD_isError(file->left))
			return damaged(file, err, ZSTD_getErrorName(file->left));
	}
	*got = out.pos;
	if (file->left == 0 && file->position != file->bytes)
		return damaged(file, err, "it is not of the size it says");
	/* the last bytes are out, but perhaps not yet judged by the checksum behind them */
	if (file->position == file->bytes && file->left != 0 && out.pos == len && len > 0)
	{
		uint8_t none;
		size_t more;

		return read_packed(file, &none, 1, &more, err);
	}
	return true;
}

bool
segfile_read(SegFile *file, void *data, size_t len, uint64_t offset, size_t *got, Error *err)
{
	uint8_t skipped[16384];

	if (!file->packed)
		return fs_pread(file->fd, data, len, offset, got, err);
	*got = 0;
	if (offset >= file->bytes)
		return true;
	if (offset < file->position)
		rewind_packed(file);
	while (file->position < offset)
	{
		size_t want =
			offset - file->position < sizeof(skipped) ? (size_t) (offset - file->position) : sizeof(skipped);
		size_t n;

		if (!read_packed(file, skipped, want, &n, err))
			return false;
	}
	return read_packed(file, data, len, got, err);
}

/* ---- making one out of the other ---------------------------------------------------------------- */

/* Each piece is read, handed over and given back to the kernel's cache. */
static bool
compress_all(SegFile *from, uint64_t bytes, int to, const atomic_bool *stop, uint64_t *written, Error *err)
{
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	uint8_t *in = xmalloc(IN_BYTES);
	uint8_t *out = xmalloc(OUT_BYTES);
	uint64_t offset = 0;
	bool ok = zstd != NULL || error_set(err, ERR_RETRY, "out of memory");
	size_t left = 1;

	*written = 0;
	if (ok)
	{
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, LEVEL);
		ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
		ZSTD_CCtx_setPledgedSrcSize(zstd, bytes);
	}
	while (ok && left != 0)
	{
		size_t got = 0;
		ZSTD_inBuffer input;

		ok = (!atomic_load(stop) || error_set(err, ERR_RETRY, "told to stop")) &&
			 segfile_read(from, in, bytes - offset < IN_BYTES ? (size_t) (bytes - offset) : IN_BYTES, offset,
						  &got, err);
		offset += got;
		input = (ZSTD_inBuffer){in, got, 0};
		do
		{
			ZSTD_outBuffer output = {out, OUT_BYTES, 0};

			left =
				ZSTD_compressStream2(zstd, &output, &input, offset == bytes ? ZSTD_e_end : ZSTD_e_continue);
			ok = ok && (!ZSTD_isError(left) || error_set(err, ERR_DATA, "%s", ZSTD_getErrorName(left))) &&
				 fs_pwrite(to, out, output.pos, *written, err);
			*written += output.pos;
		} while (ok && (input.pos < input.size || (offset == bytes && left != 0)));
		left = offset == bytes ? left : 1;
	}
	ZSTD_freeCCtx(zstd);
	free(in);
	free(out);
	return ok;
}

static bool
same_content(SegFile *a, SegFile *b, uint64_t bytes, const atomic_bool *stop, Error *err)
{
	uint8_t *one = xmalloc(IN_BYTES);
	uint8_t *two = xmalloc(IN_BYTES);
	uint64_t at = 0;
	bool ok = true;

	while (ok && at < bytes)
	{
		size_t n = 0;
		size_t m = 0;

		ok = (!atomic_load(stop) || error_set(err, ERR_RETRY, "told to stop")) &&
			 segfile_read(a, one, IN_BYTES, at, &n, err) && segfile_read(b, two, IN_BYTES, at, &m, err);
		if (ok && (n != m || n == 0 || memcmp(one, two, n) != 0))
			ok = error_set(err, ERR_DATA, "what was compressed does not come back as it was");
		at += n;
	}
	free(one);
	free(two);
	return ok;
}

static void
tmp_name(const char *name, char out[SEGMENT_NAME_BYTES])
{
	snprintf(out, SEGMENT_NAME_BYTES, "%.24s" SUFFIX_TMP, name);
}

static bool
pack_to(int dirfd, const char *tmp, SegFile *plain, const atomic_bool *stop, uint64_t *bytes, Error *err)
{
	SegFile *back = NULL;
	uint64_t size;
	bool ok;
	int fd;

	if (!segfile_bytes(plain, &size, err) || !fs_open(dirfd, tmp, O_CREAT | O_TRUNC | O_RDWR, &fd, err))
		return false;
	ok = compress_all(plain, size, fd, stop, bytes, err) && fs_sync(fd, err);
	fs_close(fd);
	ok = ok && open_named(dirfd, tmp, true, &back, err) && same_content(plain, back, size, stop, err);
	segfile_close(back);
	return ok;
}

bool
segfile_pack(int dirfd, uint32_t number, const atomic_bool *stop, uint64_t *bytes, Error *err)
{
	char packed[SEGMENT_NAME_BYTES];
	char tmp[SEGMENT_NAME_BYTES];
	SegFile *plain;
	bool ok;

	segment_packed_name(number, packed);
	tmp_name(packed, tmp);
	if (!segfile_open(dirfd, number, &plain, err))
		return false;
	ok = pack_to(dirfd, tmp, plain, stop, bytes, err);
	segfile_forget(plain);
	segfile_close(plain);
	ok = ok && (fs->renameat(dirfd, tmp, packed) == 0 || error_errno(err, "could not rename \"%s\"", tmp));
	if (!ok)
	{
		fs->unlinkat(dirfd, tmp);
		return false;
	}
	return fs_sync_dir(dirfd, err); /* before the plain one goes */
}

static bool
unpack_to(int dirfd, const char *tmp, SegFile *packed, Error *err)
{
	uint8_t *data = xmalloc(IN_BYTES);
	uint64_t bytes;
	uint64_t at = 0;
	size_t got = 1;
	bool ok = segfile_bytes(packed, &bytes, err);
	int fd = -1;

	ok = ok && fs_open(dirfd, tmp, O_CREAT | O_TRUNC | O_RDWR, &fd, err);
	while (ok && at < bytes)
	{
		ok = segfile_read(packed, data, IN_BYTES, at, &got, err) && fs_pwrite(fd, data, got, at, err);
		at += got;
	}
	ok = ok && fs_sync(fd, err);
	if (fd >= 0)
		fs_close(fd);
	free(data);
	return ok;
}

bool
segfile_unpack(int dirfd, uint32_t number, Error *err)
{
	char name[SEGMENT_NAME_BYTES];
	char tmp[SEGMENT_NAME_BYTES];
	SegFile *file;
	bool ok;

	if (!segfile_open(dirfd, number, &file, err))
		return false;
	ok = !file->packed;
	if (!ok)
	{
		segment_name(number, name);
		tmp_name(name, tmp);
		ok = unpack_to(dirfd, tmp, file, err) &&
			 (fs->renameat(dirfd, tmp, name) == 0 || error_errno(err, "could not rename \"%s\"", tmp)) &&
			 fs_sync_dir(dirfd, err);
		segment_packed_name(number, name);
		ok = ok && (fs->unlinkat(dirfd, name) == 0 || error_errno(err, "could not remove \"%s\"", name));
	}
	segfile_close(file);
	return ok;
}

static void
collect_leftover(void *context, const char *name)
{
	const char *rest;
	uint32_t number;

	if (parse_name(name, &number, &rest) && rest[0] != '\0')
		buffer_append((Buffer *) context, name, strlen(name) + 1);
}

/* Unfinished files always; a compressed one when a plain one stands beside it. */
static bool
clean_one(int dirfd, const char *name, Error *err)
{
	char plain[SEGMENT_NAME_BYTES];
	const char *rest;
	uint32_t number;
	int fd;

	parse_name(name, &number, &rest);
	if (strcmp(rest, SUFFIX_PACKED) == 0)
	{
		segment_name(number, plain);
		if (!fs_open(dirfd, plain, O_RDONLY, &fd, err))
			return errno == ENOENT;
		fs_close(fd);
	}
	else if (strcmp(rest, SUFFIX_TMP) != 0 && strcmp(rest, SUFFIX_PACKED SUFFIX_TMP) != 0)
		return true;
	return fs->unlinkat(dirfd, name) == 0 || error_errno(err, "could not remove \"%s\"", name);
}

bool
segfile_clean(int dirfd, Error *err)
{
	Buffer names = {0};
	bool ok = fs_list(dirfd, collect_leftover, &names, err);

	for (size_t at = 0; ok && at < names.len; at += strlen((const char *) names.data + at) + 1)
		ok = clean_one(dirfd, (const char *) names.data + at, err);
	buffer_free(&names);
	return ok;
}
