/*
 * exact.c -- linked into the sanitized library: unpacked values get memory of their own.
 *
 * AddressSanitizer does not see the chunks of a memory context.  Here whatever unpack_value returns
 * is moved to the end of a block of malloc, so that a byte read past it is found.  The last few are
 * kept, since nobody frees them.
 */
#include "postgres.h"

#include "unpack.h"

#define KEPT 4096

extern struct varlena *__real_unpack_value(struct varlena *attr);
extern struct varlena *__wrap_unpack_value(struct varlena *attr);
extern void __real_pfree(void *pointer);
extern void __wrap_pfree(void *pointer);

static void *kept[KEPT];
static unsigned next_kept;

struct varlena *
__wrap_unpack_value(struct varlena *attr)
{
	struct varlena *value = __real_unpack_value(attr);
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
