/*
 * ask.c -- see ask.h.
 */
#include "cli/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "daemon/control.h"

#define DOCUMENT_BYTES_MAX (4 * 1024 * 1024)
#define ANSWER_TIMEOUT_S 60 /* a sink that has to end first may take its time */

static bool
reach(const char *directory, int *fd, Error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {ANSWER_TIMEOUT_S, 0};
	int dirfd;
	bool ok;

	if (!fs_open_dir(directory, false, &dirfd, err))
	{
		err->class = ERR_RETRY;
		return error_wrap(err, "walrankd is not running");
	}
	/* through the descriptor: a socket's path may not be longer than 107 bytes */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" CONTROL_SOCKET, dirfd);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	ok = *fd >= 0 && connect(*fd, (struct sockaddr *) &address, sizeof(address)) == 0;
	if (!ok)
	{
		error_set(err, ERR_RETRY, "could not reach walrankd at \"%s/" CONTROL_SOCKET "\": %s", directory,
				  strerror(errno));
		error_hint(err, "Is it running, and is this its configuration?");
		if (*fd >= 0)
			close(*fd);
	}
	close(dirfd);
	return ok;
}

static bool
exchange(int fd, const char *command, Buffer *document, Error *err)
{
	ssize_t got = -1;
	Buffer line = {0};

	buffer_printf(&line, "%s\n", command);
	if (send(fd, line.data, line.len, MSG_NOSIGNAL) == (ssize_t) line.len)
		while (document->len < DOCUMENT_BYTES_MAX &&
			   (got = read(fd, buffer_reserve(document, 65536), 65536)) > 0)
			document->len += (size_t) got;
	buffer_free(&line);
	return (got == 0 && document->len > 0) || error_set(err, ERR_RETRY, "walrankd did not answer in full");
}

/* A refusal is an object with "error" and "class". */
static bool
understand(const Buffer *document, json_t **answer, Error *err)
{
	json_error_t where;
	json_t *root = json_loadb((const char *) document->data, document->len, 0, &where);
	const char *message;
	const char *hint;

	if (root == NULL) /* 1e20 written out is an integer to jansson, and too large a one */
		root = json_loadb((const char *) document->data, document->len, JSON_DECODE_INT_AS_REAL, &where);
	if (root == NULL)
		return error_set(err, ERR_DATA, "walrankd answered something unreadable: %s", where.text);
	message = json_string_value(json_object_get(root, "error"));
	hint = json_string_value(json_object_get(root, "hint"));
	if (message == NULL)
	{
		*answer = root;
		return true;
	}
	error_set(err, control_class(json_string_value(json_object_get(root, "class"))), "%s", message);
	if (hint != NULL && hint[0] != '\0')
		error_hint(err, "%s", hint);
	json_decref(root);
	return false;
}

bool
cli_ask(const Config *config, const char *command, json_t **answer, Error *err)
{
	Buffer document = {0};
	int fd;
	bool ok;

	error_clear(err);
	if (!reach(config->state.directory, &fd, err))
		return false;
	ok = exchange(fd, command, &document, err) && understand(&document, answer, err);
	buffer_free(&document);
	close(fd);
	return ok;
}

bool
cli_is_running(const Config *config)
{
	Error ignored;
	int fd;

	if (!reach(config->state.directory, &fd, &ignored))
		return false;
	close(fd);
	return true;
}

/* ---- documents as they came ----------------------------------------------------------------------- */

/* The shortest that reads back as the same double, as the daemon wrote it: jansson gives it 17 digits. */
static void
put_real(Buffer *out, double number)
{
	char text[32];

	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(text, sizeof(text), "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	buffer_printf(out, "%s", text);
}

static void
put_text(Buffer *out, const char *text)
{
	json_t *string = json_stringn(text, strlen(text));
	char *quoted = json_dumps(string, JSON_ENCODE_ANY);

	buffer_printf(out, "%s", quoted);
	free(quoted);
	json_decref(string);
}

static void
put_json(Buffer *out, const json_t *value)
{
	const char *separator = "";
	const char *name;
	const json_t *element;
	char *text;
	size_t i;

	if (json_is_object(value))
	{
		json_object_foreach((json_t *) value, name, element)
		{
			buffer_printf(out, "%s", separator[0] == '\0' ? "{" : ",");
			put_text(out, name);
			buffer_printf(out, ":");
			put_json(out, element);
			separator = ",";
		}
		buffer_printf(out, separator[0] == '\0' ? "{}" : "}");
	}
	else if (json_is_array(value))
	{
		buffer_printf(out, "[");
		json_array_foreach(value, i, element)
		{
			buffer_printf(out, i > 0 ? "," : "");
			put_json(out, element);
		}
		buffer_printf(out, "]");
	}
	else if (json_is_real(value))
		put_real(out, json_real_value(value));
	else
	{
		text = json_dumps(value, JSON_ENCODE_ANY);
		buffer_printf(out, "%s", text);
		free(text);
	}
}

void
cli_print_json(const json_t *document)
{
	Buffer out = {0};

	put_json(&out, document);
	cli_print("%.*s\n", (int) out.len, (char *) out.data);
	buffer_free(&out);
}
