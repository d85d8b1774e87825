/*
 * guard.c -- see guard.h.
 */
#include "stream/guard.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* No sign, no blank, as strtoull would allow. */
static bool
take_number(const char **at, uint64_t *number)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*number = strtoull(*at, &end, 10);
	*at = end;
	return true;
}

static bool
take_char(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

bool
guard_parse(const char *text, GuardSnapshot *snapshot)
{
	const char *at = text;
	bool ok;

	*snapshot = (GuardSnapshot){0};
	ok = take_number(&at, &snapshot->xmin) && take_char(&at, ':') && take_number(&at, &snapshot->xmax) &&
		 take_char(&at, ':');
	if (!ok)
		return false;
	snapshot->xip = xcalloc(strlen(at) / 2 + 1, sizeof(uint64_t));
	while (ok && *at != '\0')
	{
		ok = (snapshot->nxip == 0 || take_char(&at, ',')) && take_number(&at, &snapshot->xip[snapshot->nxip]);
		snapshot->nxip += ok;
	}
	if (!ok)
		guard_free(snapshot);
	return ok;
}

void
guard_free(GuardSnapshot *snapshot)
{
	free(snapshot->xip);
	*snapshot = (GuardSnapshot){0};
}

static bool
contains(const GuardSnapshot *snapshot, uint64_t xid)
{
	for (size_t i = 0; i < snapshot->nxip; i++)
		if (snapshot->xip[i] == xid)
			return true;
	return false;
}

bool
guard_agrees(const GuardSnapshot *exported, const GuardSnapshot *ordinary)
{
	if (ordinary->xmax < exported->xmax)
		return false;
	/* below xmin, too: what is still running there the exported one counts as finished */
	for (size_t i = 0; i < ordinary->nxip; i++)
		if (ordinary->xip[i] < exported->xmax && !contains(exported, ordinary->xip[i]))
			return false;
	return true;
}
