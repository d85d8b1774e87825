/*
 * sink.c -- see sink.h.  The types there are, and what is the same for all of them.
 */
#include "sinks/sink.h"

const SinkType *const sink_types[] = {&sink_file, &sink_postgres, NULL};

bool
sink_read(const SinkConfig *config, const SinkHistory *history, const char *state_dir, SinkPosition *position,
		  bool *found, Error *err)
{
	const SinkOffer none = {0};
	SinkStand stand = {0};
	Sink *sink;
	bool ok;

	*found = false;
	if (!config->type->create(config->name, config->options, history, state_dir, &sink, err))
		return error_wrap(err, "sink \"%s\"", config->name);
	ok = config->type->peek(sink, position, found, err);
	config->type->destroy(sink);
	stand.found = true;
	if (ok && *found && position_stream(history, &position->stream_id) == STREAM_FOREIGN)
	{
		stand.position = *position;
		position_judge(config->name, history, &stand, &none, position, err);
		ok = false;
	}
	return ok || error_wrap(err, "sink \"%s\"", config->name);
}

bool
sink_fill_append(Journal *journal, Feed *feed, const char *name, Error *err)
{
	Unit unit = {.kind = UNIT_RESCORE};
	Buffer detail = {0};
	bool ok;

	buffer_printf(&detail, "fill sink=%s", name);
	ok = journal_append(journal, &unit, PART_DETAIL, buffer_slice(&detail), true, err);
	buffer_free(&detail);
	/* whoever opens the sink now must not miss it, and the sync thread may not have told the feed yet */
	if (ok)
		feed_set_durable(feed, unit.seq);
	return ok || error_wrap(err, "fill of sink \"%s\"", name);
}
