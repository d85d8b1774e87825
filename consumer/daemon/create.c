/*
 * create.c -- see create.h.
 */
#include "daemon/create.h"

#include <stdio.h>

#include "base/fs.h"
#include "base/log.h"
#include "daemon/state.h"

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

/* A publication the historic catalog does not know would leave the slot stuck for ever: it must be there first. */
static bool
check_publications(Creation *creation, Error *err)
{
	const char *params[] = {creation->config->source.publications};
	PGresult *res = source_query(
		creation->sql, 1, err, "could not look up the publications",
		"SELECT pg_catalog.btrim(n) FROM pg_catalog.unnest(pg_catalog.string_to_array($1, ',')) n"
		" WHERE pg_catalog.btrim(n) NOT IN (SELECT pubname::pg_catalog.text FROM pg_catalog.pg_publication)",
		1, params);
	bool ok;

	if (res == NULL)
		return false;
	ok = PQntuples(res) == 0;
	if (!ok)
	{
		error_set(err, ERR_CONFIG, "publication \"%s\" does not exist in database \"%s\"",
				  PQgetvalue(res, 0, 0), creation->server.database);
		error_hint(err, "Run \"walrank init\" first: publications must be older than the slot.");
	}
	PQclear(res);
	return ok;
}

static bool
refuse_existing_slot(Creation *creation, Error *err)
{
	const char *name = creation->config->source.slot;
	SourceSlot slot;
	bool owned;

	if (!source_slot(creation->sql, name, &slot, err) ||
		!source_slot_owned(creation->sql, name, &creation->identity, &owned, err))
		return false;
	if (slot.found)
	{
		error_set(err, ERR_REFUSE, "replication slot \"%s\" exists already", name);
		return error_hint(err,
						  "Choose another source.slot, or drop that one if nobody needs it: SELECT "
						  "pg_drop_replication_slot('%s');",
						  name);
	}
	if (owned)
	{
		error_set(err, ERR_REFUSE, "walrank.control has a row of another stream for slot \"%s\"", name);
		return error_hint(err, "If that daemon is gone for good, \"walrank teardown\" removes its row.");
	}
	return true;
}

/* (1): our name for it all, on disk, before anything exists on the server. */
static bool
name_stream(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;

	if (!stream_id_random(&identity->stream_id))
		return error_set(err, ERR_RETRY, "no random numbers");
	if (!refuse_existing_slot(creation, err) || !check_publications(creation, err))
		return false;
	identity->system_identifier = creation->server.system_identifier;
	identity->database_oid = creation->server.database_oid;
	identity->server_lsn = creation->server.flushed;
	snprintf(identity->database, sizeof(identity->database), "%s", creation->server.database);
	snprintf(identity->slot, sizeof(identity->slot), "%s", creation->config->source.slot);
	snprintf(identity->plugin, sizeof(identity->plugin), "%s", SOURCE_PLUGIN);
	return journal_identity_write(creation->state.journal_dirfd, identity, err);
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
 * A crash came between slot and header: the slot may go only if it is ours beyond doubt and never
 * streamed, for then nobody has seen anything of it.
 */
static bool
drop_leftover_slot(Creation *creation, const SourceControl *control, Error *err)
{
	const JournalIdentity *ours = &creation->identity;
	SourceSlot slot;

	if (!source_slot(creation->sql, ours->slot, &slot, err))
		return false;
	if (!slot.found)
		return true;
	if (!control->found || strcmp(control->state, "creating") != 0 ||
		strcmp(control->slot, ours->slot) != 0 || strcmp(slot.plugin, ours->plugin) != 0 ||
		strcmp(slot.database, creation->server.database) != 0 || slot.confirmed_flush < ours->server_lsn ||
		slot.active)
	{
		error_set(err, ERR_REFUSE, "replication slot \"%s\" exists and is not the one this creation made",
				  ours->slot);
		return error_hint(err, "Choose another source.slot, or drop that one if nobody needs it.");
	}
	log_line(LOG_INFO, "dropping slot \"%s\" of an interrupted creation", ours->slot);
	return source_drop_slot(creation->sql, ours->slot, err);
}

/* Control row 'creating', (2) the slot, (3) the state. */
static bool
make_slot_and_state(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;
	SourceControl control;

	if (!source_control(creation->sql, &identity->stream_id, &control, err) ||
		!drop_leftover_slot(creation, &control, err))
		return false;
	if (!control.found && !source_control_insert(creation->sql, &identity->stream_id, identity->slot, err))
		return false;
	if (!source_create_slot(creation->replication, identity->slot, &identity->start_lsn, err))
		return false;
	log_line(LOG_INFO, "created slot \"%s\", consistent at " LSN_FORMAT, identity->slot,
			 LSN_ARGS(identity->start_lsn));
	identity->complete = true;
	return state_make(&creation->state, creation->config, identity, err);
}

static bool
run_creation(Creation *creation, Error *err)
{
	JournalIdentity *identity = &creation->identity;
	SourceControl control;
	bool found;

	if (!state_lock(creation->config->state.directory, true, &creation->state, err) ||
		!connect_source(creation, err) ||
		!journal_identity_read(creation->state.journal_dirfd, identity, &found, err))
		return false;
	if (!found ? !name_stream(creation, err) : !same_server(creation, err))
		return false;
	if (!identity->complete && !make_slot_and_state(creation, err))
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
create_stream(const Config *config, Error *err)
{
	Creation creation = {.config = config, .state = {-1, -1, -1, -1, -1, NULL, NULL, NULL, NULL}};
	bool ok = run_creation(&creation, err);

	PQfinish(creation.sql);
	PQfinish(creation.replication);
	state_abandon(&creation.state);
	return ok;
}
