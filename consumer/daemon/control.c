/*
 * control.c -- see control.h.
 */
#include "daemon/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"

#define BACKLOG 16
#define CLIENTS_MAX 8 /* more wait to be accepted */
/* A client that says nothing asks for the status, but may also be slow. */
#define FIRST_BYTE_US INT64_C(1000000)
#define LINE_US_MAX INT64_C(1000000)
#define ANSWER_US_MAX INT64_C(2000000)

struct Control
{
	const ControlVerb *verbs;
	void *context;
	int listen_fd;
	int event_fd; /* a client has gone, or stop */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t gone;
	int clients; /* under lock, as the next */
	bool stopping;
};

/* One client, or a posted line (fd -1). */
typedef struct Client
{
	Control *control;
	int fd;
	char line[CONTROL_LINE_BYTES_MAX + 1];
} Client;

/* ---- the line -------------------------------------------------------------------------------- */

static const char *const class_names[] = {"none",	"retry", "data",  "config",
										  "refuse", "disk",	 "space", "restart"};
#define CLASSES (sizeof(class_names) / sizeof(class_names[0]))

const char *
control_class_name(ErrorClass class)
{
	return (size_t) class < CLASSES ? class_names[class] : "refuse";
}

ErrorClass
control_class(const char *name)
{
	for (size_t i = 1; name != NULL && i < CLASSES; i++)
		if (strcmp(name, class_names[i]) == 0)
			return (ErrorClass) i;
	return ERR_REFUSE;
}

/* Where the arguments of a verb begin, if the line begins with its name. */
static char *
after_name(const ControlVerb *verb, char *line)
{
	size_t len = strlen(verb->name);

	if (strncmp(line, verb->name, len) != 0 || (line[len] != ' ' && line[len] != '\0'))
		return NULL;
	return line + len;
}

static int
count_arguments(const ControlVerb *verb, int *needed)
{
	int n = 0;

	*needed = 0;
	for (const char *at = verb->arguments; *at != '\0';)
	{
		const char *blank = strchrnul(at, ' ');

		*needed += *at != '[';
		n++;
		at = *blank == ' ' ? blank + 1 : blank;
	}
	return n;
}

static bool
take_arguments(const ControlVerb *verb, char *at, const char **arguments, Error *err)
{
	int needed;
	const int n = count_arguments(verb, &needed);
	int given = 0;

	for (int i = 0; i < CONTROL_ARGUMENTS_MAX; i++)
		arguments[i] = NULL;
	while (*at == ' ')
		*at++ = '\0';
	while (*at != '\0' && given < n)
	{
		arguments[given++] = at;
		at = given < n ? strchrnul(at, ' ') : at + strlen(at);
		while (*at == ' ')
			*at++ = '\0';
	}
	if (*at == '\0' && given >= needed)
		return true;
	error_set(err, ERR_CONFIG, "\"%s\" has %s", verb->name,
			  given < needed ? "too few words" : "too many words");
	return error_hint(err, "Write: %s %s", verb->name, verb->arguments);
}

static void
list_verbs(const ControlVerb *verbs, Error *err)
{
	Buffer names = {0};

	for (const ControlVerb *verb = verbs; verb->name != NULL; verb++)
		buffer_printf(&names, "%s%s", names.len > 0 ? ", " : "", verb->name);
	error_hint(err, "This daemon knows: %.*s.", (int) names.len, (const char *) names.data);
	buffer_free(&names);
}

const ControlVerb *
control_parse(const ControlVerb *verbs, char *line, const char **arguments, Error *err)
{
	size_t len = strlen(line);

	while (len > 0 && line[len - 1] == ' ')
		line[--len] = '\0';
	for (size_t i = 0; i < len; i++)
	{
		if ((unsigned char) line[i] >= ' ' && line[i] != 0x7f)
			continue;
		error_set(err, ERR_CONFIG, "the line has a control character at byte %zu", i);
		return NULL;
	}
	for (const ControlVerb *verb = verbs; verb->name != NULL; verb++)
	{
		char *rest = after_name(verb, line);

		if (rest != NULL)
			return take_arguments(verb, rest, arguments, err) ? verb : NULL;
	}
	error_set(err, ERR_CONFIG, "unknown command \"%.80s\"", line);
	list_verbs(verbs, err);
	return NULL;
}

static void
put_refusal(Buffer *answer, const Error *err)
{
	buffer_reset(answer);
	buffer_printf(answer, "{\"error\":");
	json_string(answer, slice_string(err->message));
	buffer_printf(answer, ",\"hint\":");
	json_string(answer, slice_string(err->hint));
	buffer_printf(answer, ",\"class\":\"%s\"}", control_class_name(err->class));
}

void
control_answer(const ControlVerb *verbs, void *context, char *line, Buffer *answer)
{
	static char status[] = "status";
	const char *arguments[CONTROL_ARGUMENTS_MAX];
	Error err = {0};
	const ControlVerb *verb = control_parse(verbs, line[0] != '\0' ? line : status, arguments, &err);

	if (verb == NULL || !verb->run(context, arguments, answer, &err))
		put_refusal(answer, &err);
	if (answer->len == 0)
		buffer_printf(answer, "{}");
	if (answer->data[answer->len - 1] != '\n')
		buffer_append_byte(answer, '\n');
}

/* ---- one client -------------------------------------------------------------------------------- */

static bool
wait_for(int fd, short events, int64_t deadline_us)
{
	int64_t left_us = deadline_us - clock_monotonic_us();
	struct pollfd pfd = {.fd = fd, .events = events};

	return left_us > 0 && poll(&pfd, 1, (int) (left_us / 1000 + 1)) > 0;
}

/* The line without its newline.  False: too long, too slow, or zero bytes in it; *err says which. */
static bool
read_line(Client *client, Error *err)
{
	const int64_t began_us = clock_monotonic_us();
	size_t len = 0;
	ssize_t n = 0;

	while (wait_for(client->fd, POLLIN, began_us + (len == 0 ? FIRST_BYTE_US : LINE_US_MAX)))
	{
		char *end;

		n = recv(client->fd, client->line + len, CONTROL_LINE_BYTES_MAX - len, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return error_set(err, ERR_CONFIG, "the line could not be read");
		end = memchr(client->line + len, '\n', (size_t) n);
		len = end != NULL ? (size_t) (end - client->line) : len + (size_t) n;
		if (memchr(client->line, '\0', len) != NULL)
			return error_set(err, ERR_CONFIG, "the line has a control character");
		client->line[len] = '\0';
		if (end != NULL || n == 0)
			return true;
		if (len >= CONTROL_LINE_BYTES_MAX)
			return error_set(err, ERR_CONFIG, "the line is longer than %d bytes", CONTROL_LINE_BYTES_MAX - 1);
	}
	return len == 0 || error_set(err, ERR_CONFIG, "the line did not end within a second");
}

static void
send_answer(int fd, const Buffer *answer)
{
	const int64_t deadline_us = clock_monotonic_us() + ANSWER_US_MAX;
	size_t sent = 0;

	while (sent < answer->len && wait_for(fd, POLLOUT, deadline_us))
	{
		ssize_t n = send(fd, answer->data + sent, answer->len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
		sent += n > 0 ? (size_t) n : 0;
	}
}

static void
client_gone(Client *client)
{
	Control *control = client->control;
	uint64_t one = 1;
	ssize_t ignored;

	if (client->fd >= 0)
		close(client->fd);
	free(client);
	pthread_mutex_lock(&control->lock);
	control->clients--;
	ignored = write(control->event_fd, &one, sizeof(one));
	pthread_cond_broadcast(&control->gone);
	pthread_mutex_unlock(&control->lock);
	(void) ignored;
}

static void *
client_main(void *argument)
{
	Client *client = argument;
	Control *control = client->control;
	Buffer answer = {0};
	Error err;

	pthread_setname_np(pthread_self(), "control client");
	if (client->fd >= 0 && !read_line(client, &err))
	{
		put_refusal(&answer, &err);
		buffer_append_byte(&answer, '\n');
	}
	else
		control_answer(control->verbs, control->context, client->line, &answer);
	if (client->fd >= 0)
		send_answer(client->fd, &answer);
	buffer_free(&answer);
	client_gone(client);
	return NULL;
}

static void
client_start(Control *control, int fd, const char *line)
{
	Client *client = xcalloc(1, sizeof(*client));
	pthread_t thread;

	client->control = control;
	client->fd = fd;
	snprintf(client->line, sizeof(client->line), "%s", line);
	pthread_mutex_lock(&control->lock);
	control->clients++;
	pthread_mutex_unlock(&control->lock);
	if (pthread_create(&thread, NULL, client_main, client) == 0)
		pthread_detach(thread);
	else
	{
		log_line(LOG_WARNING, "no thread for a client of the control socket");
		client_gone(client);
	}
}

/* ---- all of them --------------------------------------------------------------------------------- */

static bool
look_around(Control *control, bool *room)
{
	bool stopping;

	pthread_mutex_lock(&control->lock);
	*room = control->clients < CLIENTS_MAX;
	stopping = control->stopping;
	pthread_mutex_unlock(&control->lock);
	return !stopping;
}

static void *
control_main(void *argument)
{
	Control *control = argument;
	bool room;

	pthread_setname_np(pthread_self(), "control");
	while (look_around(control, &room))
	{
		struct pollfd fds[] = {{.fd = control->event_fd, .events = POLLIN},
							   {.fd = control->listen_fd, .events = POLLIN}};
		uint64_t events;
		int fd;

		poll(fds, room ? 2 : 1, -1);
		if (fds[0].revents != 0 && read(control->event_fd, &events, sizeof(events)) < 0)
			continue;
		if (!room || fds[1].revents == 0)
			continue;
		fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			client_start(control, fd, "");
		else if (errno == EMFILE || errno == ENFILE)
			usleep(100000); /* it stays readable: no spinning while descriptors are scarce */
	}
	return NULL;
}

static bool
listen_at(int state_dirfd, int *fd, Error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" CONTROL_SOCKET, state_dirfd);
	unlinkat(state_dirfd, CONTROL_SOCKET, 0); /* of an earlier life: we hold the lock */
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* the mode before listen: nobody connects to a socket that does not listen */
	if (*fd >= 0 && bind(*fd, (struct sockaddr *) &address, sizeof(address)) == 0 &&
		fchmodat(state_dirfd, CONTROL_SOCKET, 0600, 0) == 0 && listen(*fd, BACKLOG) == 0)
		return true;
	error_errno(err, "could not listen on \"" CONTROL_SOCKET "\" in the state directory");
	if (*fd >= 0)
		close(*fd);
	return false;
}

bool
control_start(int state_dirfd, const ControlVerb *verbs, void *context, Control **started, Error *err)
{
	Control *control = xcalloc(1, sizeof(*control));

	control->verbs = verbs;
	control->context = context;
	if (!listen_at(state_dirfd, &control->listen_fd, err))
	{
		free(control);
		return false;
	}
	pthread_mutex_init(&control->lock, NULL);
	pthread_cond_init(&control->gone, NULL);
	control->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	errno = control->event_fd < 0 ? errno : pthread_create(&control->thread, NULL, control_main, control);
	if (control->event_fd < 0 || errno != 0)
		return error_errno(err, "could not start the control socket's thread");
	*started = control;
	return true;
}

void
control_post(Control *control, const char *line)
{
	client_start(control, -1, line);
}

void
control_stop(Control *control)
{
	uint64_t one = 1;
	ssize_t ignored;

	pthread_mutex_lock(&control->lock);
	control->stopping = true;
	ignored = write(control->event_fd, &one, sizeof(one));
	pthread_mutex_unlock(&control->lock);
	pthread_join(control->thread, NULL);
	pthread_mutex_lock(&control->lock);
	while (control->clients > 0)
		pthread_cond_wait(&control->gone, &control->lock);
	pthread_mutex_unlock(&control->lock);
	close(control->listen_fd);
	close(control->event_fd);
	pthread_cond_destroy(&control->gone);
	pthread_mutex_destroy(&control->lock);
	free(control);
	(void) ignored;
}
