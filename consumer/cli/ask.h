/*
 * ask.h -- one command to the running daemon, one document back.
 */
#ifndef WALRANK_ASK_H
#define WALRANK_ASK_H

#include <jansson.h>

#include "cli/cli.h"

/*
 * command: a line of daemon/verbs.c.  *answer belongs to the caller.  ERR_RETRY: no daemon runs there, or it
 * does not answer; any other class is the daemon's own refusal.
 */
extern bool cli_ask(const Config *config, const char *command, json_t **answer, Error *err);
/* Whether a daemon answers at all. */
extern bool cli_is_running(const Config *config);
/* On one line. */
extern void cli_print_json(const json_t *document);

#endif /* WALRANK_ASK_H */
