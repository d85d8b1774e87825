/*
 * limits.c -- what no output plugin can pass: one that does nothing, and one empty message per transaction.
 *
 * The option message = on makes it the second.  Both are beside us in bench/decode and tests/callgrind.
 */
#include "postgres.h"

#include "commands/defrem.h"
#include "fmgr.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"

PG_MODULE_MAGIC;
extern void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static bool message;

static void
startup(LogicalDecodingContext *ctx, OutputPluginOptions *options, bool is_init)
{
	ListCell *cell;

	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	message = false;
	foreach(cell, ctx->output_plugin_options)
	{
		DefElem *option = lfirst(cell);

		if (strcmp(option->defname, "message") != 0)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized option \"%s\"", option->defname));
		message = defGetBoolean(option);
	}
}

static void
begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
}

static void
change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation, ReorderBufferChange *c)
{
}

static void
commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	if (!message)
		return;
	OutputPluginPrepareWrite(ctx, true);
	OutputPluginWrite(ctx, true);
}

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = startup;
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->commit_cb = commit;
}
