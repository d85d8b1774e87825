/*
 * rebuild.c -- see rebuild.h.
 *
 * In the state directory: (a) journal.new/ with the new identity, 'creating'; (b) journal, feed, store
 * and config go to replaced-XXXXXXXX/, named after the new stream; (c) journal.new becomes journal.
 * From there on it is a creation that was interrupted after its first step (create.c).
 */
#include "daemon/rebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "daemon/create.h"

#define NEW_JOURNAL "journal.new"
#define ASIDE_BYTES 32

typedef struct Rebuild
{
	const Config *config;
	const RebuildRequest *request;
	int dirfd; /* -1: there is no state directory */
	int lockfd;
	PGconn *sql;
	PGconn *replication;
	SourceIdentity server;
	bool prepared;			  /* journal.new is there, from an earlier attempt or from this one */
	bool begun;				  /* .. or has become the journal */
	JournalIdentity identity; /* of the new stream */
	char aside[ASIDE_BYTES];
} Rebuild;

/* ---- what is there ---------------------------------------------------------------------------- */

static bool
open_directory(Rebuild *rebuild, Error *err)
{
	const char *directory = rebuild->config->state.directory;

	if (rebuild->request->dry_run && access(directory, F_OK) != 0)
		return true;
	if (!fs_open_dir(directory, !rebuild->request->dry_run, &rebuild->dirfd, err))
		return error_wrap(err, "state directory");
	if (fs_lock(rebuild->dirfd, "lock", &rebuild->lockfd, err))
		return true;
	error_hint(err, "Stop walrankd first.");
	return error_wrap(err, "state directory \"%s\"", directory);
}

/* Of a directory below the state directory; unreadable is as good as lost. */
static void
read_identity(const Rebuild *rebuild, const char *name, JournalIdentity *identity, bool *found)
{
	char path[4096];
	int fd = -1;
	Error err;

	*found = false;
	snprintf(path, sizeof(path), "%s/%s", rebuild->config->state.directory, name);
	if (access(path, F_OK) != 0)
		return;
	if (!fs_open_dir(path, false, &fd, &err) || !journal_identity_read(fd, identity, found, &err))
		log_error(LOG_WARNING, &err, "the identity of the stream cannot be read");
	if (fd >= 0)
		close(fd);
}

static bool
connect_source(Rebuild *rebuild, Error *err)
{
	const char *conninfo = rebuild->config->source.conninfo;

	return source_connect(conninfo, SOURCE_SQL, &rebuild->sql, err) &&
		   source_connect(conninfo, SOURCE_REPLICATION, &rebuild->replication, err) &&
		   source_identify(rebuild->replication, rebuild->sql, &rebuild->server, err);
}

/* The new stream, and whom it replaces: who the journal was of, or all that the slot was of where nobody knows. */
static bool
plan(Rebuild *rebuild, const JournalIdentity *old, bool known, Error *err)
{
	JournalIdentity *identity = &rebuild->identity;

	if (!create_name(rebuild->config, &rebuild->server, !rebuild->request->new_slot, identity, err))
		return false;
	if (known)
	{
		for (uint32_t i = old->nreplaced; i > 0; i--)
			journal_identity_replace(identity, &old->replaced[i - 1]);
		journal_identity_replace(identity, &old->stream_id);
	}
	else if (!source_replace_all(rebuild->sql, identity, err))
		return false;
	if (identity->nreplaced == 0)
	{
		error_set(err, ERR_REFUSE,
				  "there is no stream to replace: neither \"%s\" nor walrank.control knows one",
				  rebuild->config->state.directory);
		return error_hint(err,
						  "\"walrankd --create\" makes the first one, \"walrankd --adopt\" one on a slot "
						  "made by hand.");
	}
	return true;
}

/* Not yet at its end: the journal says so, or its row of walrank.control. */
static bool
is_begun(const Rebuild *rebuild, const JournalIdentity *old, bool *begun, Error *err)
{
	SourceControl control;

	*begun = !old->complete;
	if (*begun)
		return true;
	if (!source_control(rebuild->sql, &old->stream_id, &control, err))
		return false;
	*begun = control.found && strcmp(control.state, "creating") == 0;
	return true;
}

static bool
find_out(Rebuild *rebuild, Error *err)
{
	JournalIdentity old = {.complete = false};
	bool known = false;

	if (!open_directory(rebuild, err) || !connect_source(rebuild, err))
		return false;
	read_identity(rebuild, NEW_JOURNAL, &rebuild->identity, &rebuild->prepared);
	if (!rebuild->prepared)
		read_identity(rebuild, "journal", &old, &known);
	if (known && !is_begun(rebuild, &old, &rebuild->begun, err))
		return false;
	if (rebuild->begun)
		rebuild->identity = old;
	else if (!rebuild->prepared && !plan(rebuild, &old, known, err))
		return false;
	if (strcmp(rebuild->identity.slot, rebuild->config->source.slot) != 0)
		return error_set(err, ERR_CONFIG, "source.slot is \"%s\", but what was begun in \"%s\" is for \"%s\"",
						 rebuild->config->source.slot, rebuild->config->state.directory,
						 rebuild->identity.slot);
	return true;
}

/* ---- the directories -------------------------------------------------------------------------- */

static bool
write_new_identity(Rebuild *rebuild, Error *err)
{
	char path[4096];
	int fd = -1;
	bool ok;

	if (rebuild->prepared)
		return true;
	snprintf(path, sizeof(path), "%s/" NEW_JOURNAL, rebuild->config->state.directory);
	ok = fs_open_dir(path, true, &fd, err) && journal_identity_write(fd, &rebuild->identity, err) &&
		 fs_sync_dir(rebuild->dirfd, err);
	if (fd >= 0)
		close(fd);
	return ok;
}

static bool
move_one(const Rebuild *rebuild, const char *name, Error *err)
{
	char to[ASIDE_BYTES + 16];

	snprintf(to, sizeof(to), "%s/%s", rebuild->aside, name);
	if (fs->renameat(rebuild->dirfd, name, to) == 0 || errno == ENOENT)
		return true;
	/* moved before, and made anew by somebody in between: nothing in it is lost */
	if ((errno == EEXIST || errno == ENOTEMPTY) && unlinkat(rebuild->dirfd, name, AT_REMOVEDIR) == 0)
		return true;
	return error_errno(err, "could not move \"%s\" to \"%s\"", name, to);
}

static bool
move_aside(const Rebuild *rebuild, Error *err)
{
	static const char *const names[] = {"journal", "feed", "store", "config"};
	char path[4096];
	int fd = -1;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", rebuild->config->state.directory, rebuild->aside);
	ok = fs_open_dir(path, true, &fd, err);
	for (size_t i = 0; ok && i < sizeof(names) / sizeof(names[0]); i++)
		ok = move_one(rebuild, names[i], err);
	ok = ok && fs_sync_dir(fd, err) && fs_sync_dir(rebuild->dirfd, err);
	if (fd >= 0)
		close(fd);
	if (ok && fs->renameat(rebuild->dirfd, NEW_JOURNAL, "journal") != 0)
		ok = error_errno(err, "could not rename \"" NEW_JOURNAL "\"");
	return ok && fs_sync_dir(rebuild->dirfd, err);
}

/* ---- all of it -------------------------------------------------------------------------------- */

static void
say(const Rebuild *rebuild, Buffer *said)
{
	const JournalIdentity *identity = &rebuild->identity;
	char id[STREAM_ID_TEXT_BYTES];

	stream_id_text(&identity->stream_id, id);
	if (rebuild->prepared || rebuild->begun)
		buffer_printf(said, "going on with what was begun before\n");
	buffer_printf(said, "new stream %s on slot \"%s\", %s\n", id, identity->slot,
				  identity->adopted ? "from where the slot stands"
									: "which is dropped if it is there, and made anew");
	for (uint32_t i = 0; i < identity->nreplaced; i++)
	{
		stream_id_text(&identity->replaced[i], id);
		buffer_printf(said, "it replaces stream %s\n", id);
	}
	if (!rebuild->begun && rebuild->dirfd >= 0)
		buffer_printf(said,
					  "journal, feed and store so far: moved to %s/%s; delete it when nobody needs it\n",
					  rebuild->config->state.directory, rebuild->aside);
	buffer_printf(said,
				  "next start of walrankd: every watched table is read, sinks are filled anew beside what "
				  "they hold\n");
}

static bool
run(Rebuild *rebuild, Buffer *said, Error *err)
{
	const uint8_t *id = rebuild->identity.stream_id.bytes;

	if (!find_out(rebuild, err))
		return false;
	snprintf(rebuild->aside, sizeof(rebuild->aside), "replaced-%02x%02x%02x%02x", id[0], id[1], id[2], id[3]);
	if (!rebuild->prepared && !rebuild->begun &&
		(!create_check_slot(rebuild->sql, &rebuild->server, &rebuild->identity, err) ||
		 !create_check_publications(rebuild->sql, rebuild->config, err)))
		return false;
	say(rebuild, said);
	if (rebuild->request->dry_run)
		return true;
	return rebuild->begun || (write_new_identity(rebuild, err) && move_aside(rebuild, err));
}

bool
rebuild_stream(const Config *config, const RebuildRequest *request, Buffer *said, Error *err)
{
	Rebuild rebuild = {.config = config, .request = request, .dirfd = -1, .lockfd = -1};
	bool ok = run(&rebuild, said, err);

	PQfinish(rebuild.sql);
	PQfinish(rebuild.replication);
	if (rebuild.dirfd >= 0)
		close(rebuild.dirfd);
	if (rebuild.lockfd >= 0)
		close(rebuild.lockfd);
	return ok && (request->dry_run || create_stream(config, CREATE_GO_ON, err));
}
