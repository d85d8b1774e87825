/*
 * first.c -- preloaded after libasan: starts it before any other library is initialized.
 *
 * Otherwise it starts in the middle of p11-kit's bindtextdomain(), asks the C library for an error
 * message that is to be translated, and leaves a lock behind that nobody opens again.
 */
extern void __asan_init(void);

static void __attribute__((constructor)) first(void)
{
	__asan_init();
}
