/*
 * listener.c -- the client of the trigger + NOTIFY design: LISTEN, and drain whatever comes.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
	PGconn *conn = PQconnectdb(argc > 1 ? argv[1] : "");
	PGnotify *notify;
	struct pollfd pfd = {.events = POLLIN};

	if (PQstatus(conn) != CONNECTION_OK)
	{
		fprintf(stderr, "%s", PQerrorMessage(conn));
		return 1;
	}
	PQclear(PQexec(conn, "LISTEN a"));
	pfd.fd = PQsocket(conn);
	while (poll(&pfd, 1, 60000) > 0 && PQconsumeInput(conn))
		while ((notify = PQnotifies(conn)) != NULL)
			PQfreemem(notify);
	PQfinish(conn);
	return 0;
}
