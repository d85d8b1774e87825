/*
 * unit.c -- see unit.h.
 *
 * Byte 8 is the kind, 9 the step, 10 last_chunk; the other fields stand where the table says.
 */
#include "journal/unit.h"

#include <stddef.h>

/* Fixed places; what no field covers is zero. */
static const struct
{
	uint8_t at;
	uint8_t bytes;
	uint16_t member;
} fields[] = {
	{0, 8, offsetof(Unit, seq)},
	{12, 4, offsetof(Unit, timeline)},
	{16, 8, offsetof(Unit, commit_lsn)},
	{24, 8, offsetof(Unit, end_lsn)},
	{32, 8, offsetof(Unit, commit_time_us)},
	{40, 8, offsetof(Unit, now_us)},
	{48, 8, offsetof(Unit, xid)},
	{56, 8, offsetof(Unit, owner_epoch)},
	{64, 8, offsetof(Unit, beat)},
	{72, 8, offsetof(Unit, id)},
	{80, 4, offsetof(Unit, chunk)},
	{84, 4, offsetof(Unit, limit)},
	{88, 4, offsetof(Unit, oid)},
	{96, 8, offsetof(Unit, point)},
};
#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

void
unit_encode(const Unit *unit, uint8_t bytes[UNIT_BYTES])
{
	memset(bytes, 0, UNIT_BYTES);
	for (size_t i = 0; i < NFIELDS; i++)
		memcpy(bytes + fields[i].at, (const char *) unit + fields[i].member, fields[i].bytes);
	bytes[8] = (uint8_t) unit->kind;
	bytes[9] = (uint8_t) unit->step;
	bytes[10] = unit->last_chunk;
}

bool
unit_decode(Slice bytes, Unit *unit, Error *err)
{
	if (bytes.len < UNIT_BYTES)
		return error_set(err, ERR_DATA, "unit header of %zu bytes is too short", bytes.len);
	*unit = (Unit){.kind = (UnitKind) bytes.data[8],
				   .step = (BackfillStep) bytes.data[9],
				   .last_chunk = bytes.data[10] == 1};
	for (size_t i = 0; i < NFIELDS; i++)
		memcpy((char *) unit + fields[i].member, bytes.data + fields[i].at, fields[i].bytes);
	if (unit->seq == 0)
		return error_set(err, ERR_DATA, "unit without a number");
	if (unit->kind == UNIT_NONE || unit->kind > UNIT_CONFIG)
		return error_set(err, ERR_DATA, "unit of unknown kind %d", (int) unit->kind);
	if (unit->step > BACKFILL_ABORT || (unit->step != BACKFILL_NONE) != (unit->kind == UNIT_BACKFILL) ||
		bytes.data[10] > 1)
		return error_set(err, ERR_DATA, "unit header is malformed");
	return true;
}

const char *
unit_kind_name(UnitKind kind)
{
	static const char *const names[] = {"none", "txn",		"backfill", "timer", "rescore",
										"gap",	"progress", "connect",	"config"};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
