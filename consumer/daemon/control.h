/*
 * control.h -- how an operator steers a running daemon: one line in, one JSON document out.
 *
 * <state>/walrankd.sock: connect, write at most one line, read to the end.  No line at all asks for
 * "status".  Who may ask is who may enter the state directory: it is 0700, the socket 0600.  A line
 * has 4 kB, a second to arrive and its answer two to leave, and clients have threads of their own:
 * one that is slow, mute or talks nonsense holds up nobody.
 *
 * What can be said is a table of verbs; a refusal is {"error":..,"hint":..,"class":..}.
 */
#ifndef WALRANK_CONTROL_H
#define WALRANK_CONTROL_H

#include "base/buffer.h"
#include "base/error.h"

#define CONTROL_SOCKET "walrankd.sock"
#define CONTROL_LINE_BYTES_MAX 16384 /* the longest: a key in hexadecimal, a ranking, a table */
#define CONTROL_ARGUMENTS_MAX 4

typedef struct ControlVerb
{
	const char *name;	   /* "sink pause"; words separated by one blank */
	const char *arguments; /* "NAME FROM [TARGET]", or "" for none; the last one takes the rest of the line */
	const char *help;
	/* arguments[i] is NULL from the first one that was left out.  Writes one JSON document, or says why not.  Called by
	 * several threads at once. */
	bool (*run)(void *context, const char *const *arguments, Buffer *answer, Error *err);
} ControlVerb;

/* A line taken apart, without running it; the arguments point into it and it is changed.  ERR_CONFIG: it is none. */
extern const ControlVerb *control_parse(const ControlVerb *verbs, char *line, const char **arguments,
										Error *err);
/* Takes a line apart and runs it: always leaves one JSON document, ended by a newline. */
extern void control_answer(const ControlVerb *verbs, void *context, char *line, Buffer *answer);
/* The "class" of a refusal, and back; what is not known is ERR_REFUSE. */
extern const char *control_class_name(ErrorClass class);
extern ErrorClass control_class(const char *name);

typedef struct Control Control;

/* Listens at once; verbs is ended by a row without a name.  The directory is known by its descriptor, so its path may be long. */
extern bool control_start(int state_dirfd, const ControlVerb *verbs, void *context, Control **control,
						  Error *err);
/* Runs a line that no client sent, in a thread of its own; its answer is dropped. */
extern void control_post(Control *control, const char *line);
/* No new clients; returns when those there are have their answers. */
extern void control_stop(Control *control);

#endif /* WALRANK_CONTROL_H */
