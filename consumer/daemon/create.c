/*
 * create.c -- see create.h.
 */
#include "daemon/create.h"

#include <stdio.h>

#include "base/fs.h"
#include "base/log.h"
#include "daemon/state.h"
#include "stream/publications.h"

typedef struct Creation
{
	const Config *config;
	State state;
	PGconn *sql;
	PGconn *replication;
	SourceIdentity server;
	JournalIdentity identity;
} Creation;

static bool
connect_source(Creation *creation, Error *err)
{
	const char *conninfo = creation->config->source.conninfo;

	return source_connect(conninfo, SOURCE_SQL, &creation->sql, err) &&
		   source_connect(conninfo, SOURCE_REPLICATION, &creation->replication, err) &&
		   source_identify(creation->replication, creation->sql, &creation->server, err);
}

bool
create_check_publications(PGconn *sql, const Config *config, Error *err)
{
	SourceSettings settings;

	config_source_settings(config, &settings);
	if (publications_check(sql, &settings, err))
		return true;
	if (PQstatus(sql) == CONNECTION_OK) /* nobody waits here until it is repaired */
		err->class = ERR_CONFIG;
	if (strstr(err->message, "does not exist") != NULL)
		error_hint(err, "Run \"walrank init\" first: publications must be older than the slot.");
	return false;
}

bool
create_check_slot(PGconn *sql, const SourceIdentity *server, const JournalIdentity *identity, Error *err)
{
	const char *name = identity->slot;
	SourceSlot slot;
	bool owned;

	if (!source_slot(sql, name, &slot, err) || !source_slot_owned(sql, name, identity, &owned, err))
		return false;
	if (identity->adopted)
		return history_check_adoptable(name, server, &slot, owned, err);
	if (slot.found && identity->nreplaced > 0 && slot.active)
	{
		error_set(err, ERR_RETRY, "replication slot \"%s\" is in use by another connection", name);
		return error_hint(err, "Stop the daemon that streams from it.");
	}
	if (owned)
	{
		error_set(err, ERR_REFUSE, "walrank.control has a row of another stream for slot \"%s\"", name);
		return error_hint(err, "If that daemon is gone for good, \"walrank teardown\" removes its row.");
	}
	if (slot.found && (identity->nreplaced == 0 || !slot.logical || strcmp(slot.plugin, SOURCE_PLUGIN) != 0 ||
					   strcmp(slot.database, server->database) != 0))
	{
		error_set(err, ERR_REFUSE, "replication slot \"%s\" exists already", name);
		return error_hint(
			err,
			"Choose another source.slot, follow this one with \"walrankd --adopt\", or drop it if "
			"nobody needs it: SELECT pg_drop_replication_slot('%s');",
			name);
	}
	return true;
}

bool
create_name(const Config *config, const SourceIdentity *server, bool adopted, JournalIdentity *identity,
			Error *err)
{
	if (!stream_id_random(&identity->stream_id))
		return error_set(err, ERR_RETRY, "no random numbers");
	identity->adopted = adopted;
	identity->system_identifier = server->system_identifier;
	identity->database_oid = server->database_oid;
	identity->server_lsn = server->flushed;
	snprintf(identity->database, sizeof(identity->database), "%s", server->database);
	snprintf(identity->slot, sizeof(identity->slot), "%s", config->source.slot);
	snprintf(identity->plugin, sizeof(identity->plugin), "%s", SOURCE_PLUGIN);
	return true;
}

/* (1): our name for it all, on disk, before anything exists on the server. */
static bool
name_stream(Creation *creation, CreateHow how, Error *err)
{
	JournalIdentity *identity = &creation->identity;

	if (how == CREATE_GO_ON)
		return error_set(err, ERR_REFUSE, "nothing was begun in \"%s\"", creation->config->state.directory);
	return create_name(creation->config, &creation->server, how == CREATE_ADOPT, identity, err) &&
		   create_check_slot(creation->sql, &creation->server, identity, err) &&
		   create_check_publications(creation->sql, creation->config, err) &&
		   journal_identity_write(creation->state.journal_dirfd, identity, err);
}

static bool
same_server(const Creation *creation, Error *err)
{
	const JournalIdentity *ours = &creation->identity;

	if (ours->system_identifier == creation->server.system_identifier &&
		ours->database_oid == creation->server.database_oid &&
		strcmp(ours->slot, creation->config->source.slot) == 0)
		return true;
	error_set(err, ERR_REFUSE,
			  "the creation begun in \"%s\" was for slot \"%s\" of another server or database",
			  creation->config->state.directory, ours->slot);
	return error_hint(err, "Finish it with the settings it was begun with, or move the directory away.");
}

/*
 * A slot of our name.  With a control row of ours a crash came between slot and header: it may go only if it
 * is ours beyond doubt and never streamed, for then nobody has seen anything of it.  Without one it is that of
 * the stream we replace.
 */
static bool
drop_slot(Creation *creation, const SourceControl *control, Error *err)
{
	const JournalIdentity *ours = &creation->identity;
	SourceSlot slot;

	if (!source_slot(creation->sql, ours->slot, &slot, err))
		return false;
	if (!slot.found)
		return true;
	if (!control->found && ours->nreplaced > 0
			? !create_check_slot(creation->sql, &creation->server, ours, err)
			: !history_check_leftover(ours, &creation->server, &slot, control, err))
		return false;
	log_line(LOG_INFO, "dropping slot \"%s\" of %s", ours->slot,
			 control->found ? "an interrupted creation" : "the stream that is replaced");
	return source_drop_slot(creation->sql, ours->slot, err);
}

/* (2) for a slot that is there: its position is where we start. */
static bool
adopt_slot(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;
	SourceSlot slot;

	if (!create_check_slot(creation->sql, &creation->server, identity, err) ||
		!source_slot(creation->sql, identity->slot, &slot, err))
		return false;
	identity->start_lsn = slot.confirmed_flush;
	log_line(LOG_INFO, "taking over slot \"%s\", confirmed up to " LSN_FORMAT, identity->slot,
			 LSN_ARGS(identity->start_lsn));
	return true;
}

static bool
make_slot(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;

	if (!source_create_slot(creation->replication, identity->slot, &identity->start_lsn, err))
		return false;
	log_line(LOG_INFO, "created slot \"%s\", consistent at " LSN_FORMAT, identity->slot,
			 LSN_ARGS(identity->start_lsn));
	return true;
}

/* Control row 'creating', (2) the slot, (3) the state. */
static bool
make_slot_and_state(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;
	SourceControl control;

	if (!source_control(creation->sql, &identity->stream_id, &control, err))
		return false;
	if (identity->adopted ? !create_check_slot(creation->sql, &creation->server, identity, err)
						  : !drop_slot(creation, &control, err))
		return false;
	if (!control.found && !source_control_insert(creation->sql, identity, err))
		return false;
	if (identity->adopted ? !adopt_slot(creation, err) : !make_slot(creation, err))
		return false;
	identity->timeline = creation->server.timeline;
	identity->complete = true;
	return state_make(&creation->state, creation->config, identity, err);
}

/* A state directory that is complete: not every request means it. */
static bool
check_how(const Creation *creation, CreateHow how, Error *err)
{
	const JournalIdentity *identity = &creation->identity;

	if (how != CREATE_ADOPT || identity->adopted || !identity->complete)
		return true;
	error_set(err, ERR_REFUSE, "\"%s\" holds the stream of slot \"%s\" already",
			  creation->config->state.directory, identity->slot);
	return error_hint(err, "\"walrank rebuild\" replaces it by a new one on the slot as it is.");
}

static bool
run_creation(Creation *creation, CreateHow how, Error *err)
{
	JournalIdentity *identity = &creation->identity;
	SourceControl control;
	bool found;

	if (!state_lock(creation->config->state.directory, true, &creation->state, err) ||
		!connect_source(creation, err) ||
		!journal_identity_read(creation->state.journal_dirfd, identity, &found, err))
		return false;
	if (!found ? !name_stream(creation, how, err)
			   : !same_server(creation, err) || !check_how(creation, how, err))
		return false;
	if (!identity->complete && !make_slot_and_state(creation, err))
		return false;
	/* complete by the word of one that was killed, perhaps before that word was durable */
	if (found && !fs_sync_dir(creation->state.journal_dirfd, err))
		return false;
	if (!source_control(creation->sql, &identity->stream_id, &control, err))
		return false;
	if (control.found && strcmp(control.state, "ready") == 0)
	{
		log_line(LOG_INFO, "slot \"%s\" and \"%s\" were created before: nothing to do", identity->slot,
				 creation->config->state.directory);
		return true;
	}
	if (!control.found)
		return error_set(err, ERR_REFUSE, "walrank.control has no row for the stream in \"%s\"",
						 creation->config->state.directory);
	if (!source_control_ready(creation->sql, &identity->stream_id, err)) /* (4) */
		return false;
	log_line(LOG_INFO, "stream ready");
	return true;
}

bool
create_stream(const Config *config, CreateHow how, Error *err)
{
	Creation creation = {.config = config, .state = {-1, -1, -1, -1, -1, NULL, NULL, NULL, NULL}};
	bool ok = run_creation(&creation, how, err);

	PQfinish(creation.sql);
	PQfinish(creation.replication);
	state_abandon(&creation.state);
	return ok;
}
