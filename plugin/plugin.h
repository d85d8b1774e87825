/*
 * plugin.h -- the state of one decoding session.
 *
 * Contexts nest: the session's holds everything here; relation metadata has its own, one per table;
 * work is reset after every change.  Only plugin.c resets them.
 */
#ifndef WALRANK_PLUGIN_H
#define WALRANK_PLUGIN_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "encode.h"
#include "options.h"
#include "publication.h"
#include "relmeta.h"

typedef struct Plugin
{
	PluginOptions options;
	Publications *publications;
	RelCache *tables;
	uint32 publication_generation; /* whose losses were reported */
	MemoryContext context;
	MemoryContext work;
	StringInfo bytes; /* the frame being written */
	Frames frames;
	uint64 xid; /* of the transaction sent last, which ended at */
	XLogRecPtr xid_lsn;
	TimestampTz progress_time; /* commit of the transaction that the server was told of last */
	uint32 skipped;			   /* changes since the last sign of life */
} Plugin;

#endif /* WALRANK_PLUGIN_H */
