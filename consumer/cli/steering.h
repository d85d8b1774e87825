/*
 * steering.h -- what the commands about interventions share: a session with the source, names, errors.
 */
#ifndef WALRANK_STEERING_H
#define WALRANK_STEERING_H

#include "cli/cli.h"
#include "stream/connect.h"

/* An ordinary session; times come and go in UTC. */
extern bool steering_connect(const Cli *cli, PGconn **conn, Error *err);

/*
 * What the server refuses is ERR_CONFIG, with its own words and hint; ERR_RETRY is a server that cannot be reached.
 * NULL on error; parameters are text.
 */
extern PGresult *steering_query(PGconn *conn, Error *err, const char *sql, int nparams,
								const char *const *params);
extern bool steering_execute(PGconn *conn, Error *err, const char *sql);

/* The watched table that a word means, as in walrank.watched: its whole name, or that without the schema. */
extern bool steering_relation(PGconn *conn, const char *word, char **relation, Error *err);

/* The JSON of a key given as a word: JSON stays what it is, anything else is a text.  To be freed; NULL: not UTF-8. */
extern char *steering_key(const char *word);

#endif /* WALRANK_STEERING_H */
