/*
 * oracle.c -- what must hold, told from the outside: the server's list of commits, and a second scorer.
 *
 * Units are taken in as soon as the journal says they are durable.  From then on they are for ever: each later
 * look at journal, feed and sinks is compared with them.
 */
#include <stdlib.h>

#include "random.h"
#include "world.h"

typedef unsigned long long ull;

/* ---- J1..J3: the journal is the server's list --------------------------------------------------- */

static void
check_txn(const ModelUnit *unit)
{
	Oracle *oracle = &world.oracle;
	const Server *server = world.server;
	const Unit *u = &unit->unit;
	const Txn *txn;

	for (int i = 0; i < oracle->next; i++)
		if (server->txns[i].commit == u->commit_lsn && u->commit_lsn != 0)
			broken("doubled", "unit %llu is the transaction at " LSN_FORMAT ", which is in already (J2)",
				   (ull) u->seq, LSN_ARGS(u->commit_lsn));
	if (oracle->next == server->ntxns)
		broken("J2", "unit %llu is a transaction the server never had", (ull) u->seq);
	txn = &server->txns[oracle->next];
	if (u->commit_lsn > txn->commit)
		broken("lost", "unit %llu is the transaction at " LSN_FORMAT ", the one at " LSN_FORMAT " is missing",
			   (ull) u->seq, LSN_ARGS(u->commit_lsn), LSN_ARGS(txn->commit));
	if (u->commit_lsn != txn->commit || u->end_lsn != txn->end || u->xid != txn->xid ||
		u->commit_time_us != txn->commit_time_us)
		broken("reordered", "unit %llu is not the transaction at " LSN_FORMAT, (ull) u->seq,
			   LSN_ARGS(txn->commit));
	if ((uint32_t) unit->n != txn->changes || unit->txn_hash != txn->hash)
		broken("J3", "unit %llu has other rows than the transaction at " LSN_FORMAT, (ull) u->seq,
			   LSN_ARGS(txn->commit));
	oracle->next++;
}

static void
check_unit(const ModelUnit *unit)
{
	Oracle *oracle = &world.oracle;
	const Server *server = world.server;
	const Unit *u = &unit->unit;

	if (u->end_lsn < oracle->end_lsn)
		broken("J2", "unit %llu ends before the one before it", (ull) u->seq);
	if (u->kind == UNIT_TXN)
		check_txn(unit);
	else if (oracle->next < server->ntxns && u->end_lsn > server->txns[oracle->next].commit)
		broken("lost",
			   "unit %llu (%s) reaches " LSN_FORMAT ", but the transaction at " LSN_FORMAT " is not in",
			   (ull) u->seq, unit_kind_name(u->kind), LSN_ARGS(u->end_lsn),
			   LSN_ARGS(server->txns[oracle->next].commit));
	if (u->now_us < oracle->unit_now_us)
		broken("R1", "the clock of unit %llu goes back", (ull) u->seq);
	if (u->now_us > oracle->unit_now_us && u->now_us > wall_now() + INT64_C(60000000))
		broken("R1", "the clock of unit %llu is ahead of its receipt", (ull) u->seq);
	oracle->unit_now_us = u->now_us;
	if (u->kind == UNIT_PROGRESS)
		tally(PROGRESS);
	oracle->end_lsn = u->end_lsn;
}

void
oracle_status(Lsn lsn)
{
	const Oracle *oracle = &world.oracle;
	const Server *server = world.server;

	if (world.confirm == ACK_SINKS && lsn > world.sinks_reached && lsn > server->sender.floor)
		broken("lost", "confirm = sinks: " LSN_FORMAT " is acknowledged, some sink is at " LSN_FORMAT,
			   LSN_ARGS(lsn), LSN_ARGS(world.sinks_reached));
	if (oracle->next < server->ntxns && lsn > server->txns[oracle->next].commit)
		broken("lost",
			   "J1: " LSN_FORMAT " is acknowledged, but the transaction at " LSN_FORMAT " is not durable",
			   LSN_ARGS(lsn), LSN_ARGS(server->txns[oracle->next].commit));
}

/* ---- R1: the second scorer -------------------------------------------------------------------- */

static void
derive(const ModelUnit *unit)
{
	Oracle *oracle = &world.oracle;
	Buffer bytes = {0};

	for (int i = model_pieces(unit); i > 0; i--)
	{
		uint64_t chain = oracle->n > 0 ? oracle->records[oracle->n - 1].chain : 0;
		RecordHeader header;
		RecordReader record;
		Reference *reference;
		Error err;

		model_step(&oracle->state, unit, model_engine(&oracle->state, unit), &bytes, &header);
		if (!record_open(buffer_slice(&bytes), &record, &err))
			broken("R1", "%s", err.message);
		if (oracle->n == oracle->capacity)
		{
			oracle->capacity = oracle->capacity > 0 ? 2 * oracle->capacity : 256;
			oracle->records = xrealloc(oracle->records, oracle->capacity * sizeof(Reference));
		}
		reference = &oracle->records[oracle->n++];
		*reference =
			(Reference){header.seq, header.part, header.last, model_record_hash(&record), 0, header.total};
		reference->chain = mix(chain, reference->hash);
	}
	buffer_free(&bytes);
}

static void
take_unit(const ModelUnit *unit)
{
	Oracle *oracle = &world.oracle;

	if (unit->unit.seq != oracle->seq + 1)
		broken("J2", "unit %llu follows unit %llu", (ull) unit->unit.seq, (ull) oracle->seq);
	check_unit(unit);
	derive(unit);
	if (oracle->seq + 2 > oracle->units_capacity)
	{
		oracle->units_capacity = 2 * oracle->units_capacity + 256;
		oracle->units = xrealloc(oracle->units, oracle->units_capacity * sizeof(uint64_t));
	}
	oracle->units[++oracle->seq] = unit->hash;
}

void
oracle_look(void)
{
	Oracle *oracle = &world.oracle;
	uint64_t durable;
	ModelUnit unit;
	Error err;
	Lsn lsn;

	if (oracle->reader == NULL)
		return;
	journal_durable(world.daemon.journal, &durable, &lsn);
	while (oracle->seq < durable)
	{
		JournalEvent event = model_read(oracle->reader, &oracle->known, &unit, &err);

		if (event == JOURNAL_ERROR && disk_dead() != DISK_LIVES)
			return; /* nobody can read any more */
		if (event != JOURNAL_UNIT)
			broken("J1", "unit %llu is said to be durable and cannot be read: %s", (ull) oracle->seq + 1,
				   event == JOURNAL_ERROR ? err.message : "it is not there");
		take_unit(&unit);
	}
	if (lsn != (oracle->seq == 0 ? SERVER_START : oracle->end_lsn))
		broken("J1", "H is " LSN_FORMAT ", the last durable unit ends at " LSN_FORMAT, LSN_ARGS(lsn),
			   LSN_ARGS(oracle->end_lsn));
}

/* ---- what was once durable stays ---------------------------------------------------------------- */

void
oracle_walk_journal(void)
{
	Oracle *oracle = &world.oracle;
	Journal *journal = world.daemon.journal;
	ModelRelations known = {.n = 0};
	JournalReader *reader;
	ModelUnit unit;
	Error err;
	uint64_t seq = journal_first_seq(journal);

	if (seq > oracle->seq + 1)
		broken("lost", "the journal begins at unit %llu, after %llu", (ull) seq, (ull) oracle->seq);
	if (!journal_reader_open(journal, seq, &reader, &err))
		broken("lost", "the journal cannot be read from unit %llu: %s", (ull) seq, err.message);
	for (; seq <= oracle->seq; seq++)
	{
		JournalEvent event = model_read(reader, &known, &unit, &err);

		if (event != JOURNAL_UNIT)
			broken("lost", "unit %llu was durable and is gone: %s", (ull) seq,
				   event == JOURNAL_ERROR ? err.message : "the journal ends before it");
		if (unit.hash != oracle->units[seq])
			broken("J1", "unit %llu was durable and is another one now", (ull) seq);
	}
	journal_reader_close(reader);
}

void
oracle_attach(void)
{
	Oracle *oracle = &world.oracle;
	Error err;

	oracle_walk_journal();
	oracle->known.n = 0;
	if (!journal_reader_open(world.daemon.journal, oracle->seq + 1, &oracle->reader, &err))
		broken("J1", "no reader: %s", err.message);
	oracle_look();
}

void
oracle_detach(void)
{
	journal_reader_close(world.oracle.reader);
	world.oracle.reader = NULL;
}

/* ---- feed and sinks ------------------------------------------------------------------------------ */

/* Records before (seq, part): how many. */
static size_t
records_before(uint64_t seq, uint32_t part)
{
	const Oracle *oracle = &world.oracle;
	size_t low = 0;
	size_t high = oracle->n;

	while (low < high)
	{
		size_t mid = (low + high) / 2;
		const Reference *r = &oracle->records[mid];

		if (r->seq <= seq || (r->seq == seq + 1 && r->part < part))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void
check_record(const RecordReader *record, const char *who)
{
	const RecordHeader *header = &record->header;
	const Oracle *oracle = &world.oracle;
	size_t at = records_before(header->seq - 1, header->part);

	if (header->seq > oracle->seq)
		broken("R5", "%s reads unit %llu, but only %llu are durable", who, (ull) header->seq,
			   (ull) oracle->seq);
	if (oracle->records[at].seq != header->seq || oracle->records[at].part != header->part)
		broken("R1", "%s reads record %llu.%u, which no scorer would make", who, (ull) header->seq,
			   header->part);
	if (oracle->records[at].hash != model_record_hash(record))
		broken("R1", "%s reads another record %llu.%u than the journal gives", who, (ull) header->seq,
			   header->part);
}

void
oracle_read_by_sink(const RecordReader *record)
{
	check_record(record, "a sink");
}

bool
oracle_walk_feed(void)
{
	Feed *feed = world.daemon.feed;
	uint64_t first = feed_first_seq(feed);
	uint64_t expected = first;
	FeedReader *reader;
	RecordReader record;
	FeedEvent event;
	Error err;

	if (!feed_reader_open(feed, first, &reader, &err))
		broken("R1", "the feed cannot be read: %s", err.message);
	while ((event = feed_reader_next(reader, &record, &err)) == FEED_RECORD)
	{
		check_record(&record, "the feed");
		if (record.header.seq != expected)
			broken("R1", "the feed goes on with %llu instead of %llu", (ull) record.header.seq,
				   (ull) expected);
		expected += record.header.last;
	}
	if (event == FEED_ERROR && disk_dead() == DISK_LIVES && disk_lost() == 0)
		broken("R1", "the feed cannot be read: %s", err.message);
	feed_reader_close(reader);
	return event != FEED_ERROR;
}

void
oracle_sink(const Far *far)
{
	const Oracle *oracle = &world.oracle;
	const SinkPosition *p = &far->now.position;
	size_t n = records_before(p->seq, p->part);
	uint64_t total = n > 0 ? oracle->records[n - 1].total : 0;

	if (!far->now.found)
		return;
	if (p->seq > oracle->seq || (p->seq == oracle->seq && p->part > 0))
		broken("R5", "sink %s stands at unit %llu.%u, only %llu are durable", far->name, (ull) p->seq,
			   p->part, (ull) oracle->seq);
	if (n > 0 && (oracle->records[n - 1].seq != p->seq + (p->part > 0) ||
				  (p->part > 0 && oracle->records[n - 1].part != p->part - 1)))
		broken("K3", "sink %s stands at %llu.%u, which is no record's end", far->name, (ull) p->seq, p->part);
	if (far->now.chain != (n > 0 ? oracle->records[n - 1].chain : 0))
		broken("K4", "sink %s stands at unit %llu.%u and holds something else than the records up to there",
			   far->name, (ull) p->seq, p->part);
	if (position_counted(p) != total - p->total_start)
		broken("K8", "sink %s at unit %llu accounts for %llu records of %llu", far->name, (ull) p->seq,
			   (ull) position_counted(p), (ull) (total - p->total_start));
}

void
oracle_destroy(void)
{
	free(world.oracle.units);
	free(world.oracle.records);
}
