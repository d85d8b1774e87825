/*
 * exact.c -- linked into the sanitized library: detoasted values get memory of their own.
 *
 * AddressSanitizer does not see the chunks of a memory context.  Here whatever detoast_attr returns
 * is moved to the end of a block of malloc, so that a byte read past it is found.  The last few are
 * kept, since nobody frees them.
 */
#include "postgres.h"

#include "access/detoast.h"

#define KEPT 4096

extern struct varlena *__real_detoast_attr(struct varlena *attr);
extern struct varlena *__wrap_detoast_attr(struct varlena *attr);
extern void __real_pfree(void *pointer);
extern void __wrap_pfree(void *pointer);

static void *kept[KEPT];
static unsigned next_kept;

struct varlena *
__wrap_detoast_attr(struct varlena *attr)
{
	struct varlena *value = __real_detoast_attr(attr);
	void **place = &kept[next_kept++ % KEPT];

	free(*place);
	*place = malloc(VARSIZE(value));
	if (*place == NULL)
		return value;
	memcpy(*place, value, VARSIZE(value));
	return *place;
}

void
__wrap_pfree(void *pointer)
{
	for (unsigned i = 0; i < KEPT; i++)
		if (kept[i] == pointer)
			return;
	__real_pfree(pointer);
}
