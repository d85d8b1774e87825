/*
 * test_control.c -- lines to the control socket: taken apart, refused, answered; and clients that misbehave.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/control.h"

#define MANY 24

static bool
echo(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	buffer_printf(answer, "{\"echo\":\"%s|%s|%s\"}", arguments[0] ? arguments[0] : "-",
				  arguments[1] ? arguments[1] : "-", arguments[2] ? arguments[2] : "-");
	return true;
}

static bool
refuse(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	buffer_printf(answer, "half an ans");
	error_set(err, ERR_REFUSE, "not \"so\"");
	return error_hint(err, "Otherwise.");
}

static bool
large(void *context, const char *const *arguments, Buffer *answer, Error *err)
{
	buffer_printf(answer, "\"%*s\"", 8 << 20, "");
	return true;
}

static const ControlVerb verbs[] = {
	{"status", "", "", echo},	{"sink pause", "NAME", "", echo}, {"replay", "NAME FROM [TARGET]", "", echo},
	{"refuse", "", "", refuse}, {"large", "", "", large},		  {NULL, NULL, NULL, NULL},
};

static void
answers(const char *given, const char *wanted)
{
	char line[CONTROL_LINE_BYTES_MAX + 1];
	Buffer answer = {0};

	snprintf(line, sizeof(line), "%s", given);
	control_answer(verbs, NULL, line, &answer);
	buffer_append_byte(&answer, '\0');
	if (strstr((const char *) answer.data, wanted) == NULL)
		fail_msg("\"%s\" gives %s, not %s", given, (const char *) answer.data, wanted);
	assert_int_equal(answer.data[answer.len - 2], '\n');
	buffer_free(&answer);
}

static void
a_line_is_a_verb_and_its_words(void **state)
{
	answers("", "{\"echo\":\"-|-|-\"}");
	answers("status", "{\"echo\":\"-|-|-\"}");
	answers("status  ", "{\"echo\":\"-|-|-\"}");
	answers("sink pause a", "{\"echo\":\"a|-|-\"}");
	answers("sink pause   a  ", "{\"echo\":\"a|-|-\"}");
	answers("replay a 0/5", "{\"echo\":\"a|0/5|-\"}");
	answers("replay  a  0/5  public.My table", "{\"echo\":\"a|0/5|public.My table\"}");
}

static void
what_is_no_verb_is_refused_with_what_would_be(void **state)
{
	answers("stat", "unknown command \\\"stat\\\"");
	answers("statusx", "This daemon knows: status, sink pause, replay");
	answers("sink", "unknown command");
	answers("sink pause", "\\\"sink pause\\\" has too few words");
	answers("replay a", "Write: replay NAME FROM [TARGET]");
	answers("status now", "\\\"status\\\" has too many words");
	answers("sink\tpause a", "control character at byte 4");
	answers("refuse", "{\"error\":\"not \\\"so\\\"\",\"hint\":\"Otherwise.\",\"class\":\"refuse\"}");
}

static void
classes_survive_the_journey(void **state)
{
	for (int class = ERR_RETRY; class <= ERR_RESTART; class ++)
		assert_int_equal(control_class(control_class_name((ErrorClass) class)), class);
	assert_int_equal(control_class("nonsense"), ERR_REFUSE);
	assert_int_equal(control_class(NULL), ERR_REFUSE);
}

/* ---- the socket --------------------------------------------------------------------------------- */

typedef struct World
{
	char path[64];
	int dirfd;
	Control *control;
} World;

static int
set_up(void **state)
{
	World *world = calloc(1, sizeof(*world));
	Error err;

	snprintf(world->path, sizeof(world->path), "/tmp/walrank.control.XXXXXX");
	assert_non_null(mkdtemp(world->path));
	world->dirfd = open(world->path, O_RDONLY | O_DIRECTORY);
	if (!control_start(world->dirfd, verbs, NULL, &world->control, &err))
		fail_msg("%s", err.message);
	*state = world;
	return 0;
}

static int
tear_down(void **state)
{
	World *world = *state;

	control_stop(world->control);
	unlinkat(world->dirfd, CONTROL_SOCKET, 0);
	rmdir(world->path);
	close(world->dirfd);
	free(world);
	return 0;
}

static int
client(const World *world)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {10, 0};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.60s/" CONTROL_SOCKET, world->path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
	return fd;
}

/* Sends, reads to the end, closes. */
static void
exchange(const World *world, const char *line, size_t len, char *answer, size_t answer_bytes)
{
	int fd = client(world);
	size_t got = 0;
	ssize_t n;

	assert_int_equal(send(fd, line, len, MSG_NOSIGNAL), len);
	while (got < answer_bytes - 1 && (n = recv(fd, answer + got, answer_bytes - 1 - got, 0)) > 0)
		got += (size_t) n;
	answer[got] = '\0';
	close(fd);
}

static void
a_client_without_a_word_gets_the_status(void **state)
{
	char answer[256];

	exchange(*state, "", 0, answer, sizeof(answer));
	assert_string_equal(answer, "{\"echo\":\"-|-|-\"}\n");
	exchange(*state, "\n", 1, answer, sizeof(answer));
	assert_string_equal(answer, "{\"echo\":\"-|-|-\"}\n");
}

static void
nobody_else_may_connect(void **state)
{
	World *world = *state;
	struct stat st;

	assert_int_equal(fstatat(world->dirfd, CONTROL_SOCKET, &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void
garbage_is_refused(void **state)
{
	static char line[2 * CONTROL_LINE_BYTES_MAX];
	char answer[256];

	memset(line, 'x', sizeof(line));
	exchange(*state, line, CONTROL_LINE_BYTES_MAX, answer, sizeof(answer));
	assert_non_null(strstr(answer, "longer than"));
	exchange(*state, "sta\0tus\n", 8, answer, sizeof(answer));
	assert_non_null(strstr(answer, "control character"));
	exchange(*state, "status", 6, answer, sizeof(answer)); /* no end of line, and the client waits */
	assert_non_null(strstr(answer, "did not end"));
	for (size_t i = 0; i < sizeof(line) / 2; i++)
		line[i] = (char) (i * 31 + 128);
	exchange(*state, line, 512, answer, sizeof(answer));
	assert_non_null(strstr(answer, "\"class\":\"config\""));
}

/* Clients that only connect, that never end their line, that do not read: the next one has its answer all the same. */
static void
slow_clients_hold_up_nobody_for_long(void **state)
{
	World *world = *state;
	int fds[MANY];
	char answer[256];

	for (int i = 0; i < MANY; i++)
	{
		fds[i] = client(world);
		/* on a busy machine one may be gone before it has said anything */
		if (i % 3 == 1)
			(void) !send(fds[i], "stat", 4, MSG_NOSIGNAL);
		if (i % 3 == 2)
			(void) !send(fds[i], "large\n", 6, MSG_NOSIGNAL);
	}
	/* each of the 8 that are served at once is rid of in 2 s at most; who is not would be waited for without end */
	alarm(170);
	exchange(world, "sink pause a\n", 13, answer, sizeof(answer));
	alarm(0);
	assert_string_equal(answer, "{\"echo\":\"a|-|-\"}\n");
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
}

static void
a_posted_line_needs_no_client(void **state)
{
	World *world = *state;

	control_post(world->control, "sink pause a"); /* tear_down waits for its end */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_a_verb_and_its_words),
		cmocka_unit_test(what_is_no_verb_is_refused_with_what_would_be),
		cmocka_unit_test(classes_survive_the_journey),
		cmocka_unit_test_setup_teardown(a_client_without_a_word_gets_the_status, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nobody_else_may_connect, set_up, tear_down),
		cmocka_unit_test_setup_teardown(garbage_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(slow_clients_hold_up_nobody_for_long, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_posted_line_needs_no_client, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
